#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Several worker processes are one bus.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

my $t = Test::WsBus->new();

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location ~ ^/pub(?<chan>/ws/.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my @pids = wait_workers($t, 4);


# Different processes.

my @held = ws_everywhere(\@pids, 1, '/ws/news');
my %at = map { $_->[0] => $_->[1] } @held;

is(join(' ', sort { $a <=> $b } keys %at), "@pids",
    'a connection in each worker');

ok($t->wait_until(sub { settled(1) }), 'each worker counts its own');


# Every direction, the publisher's own worker included.

for my $from (@pids) {
    $at{$from}->text("from $from");

    is(heard("from $from"), 4, "from worker $from to every worker");
}

for my $from (@pids) {
    my $r = http_at($from)->request('POST', '/pub/ws/news',
        body => "posted at $from");

    is($r->header('X-Pid'), $from, "posted at worker $from");
    is($r->json()->{subscribers}, 4, 'subscribers of all workers');
    is(heard("posted at $from"), 4, 'heard at every worker');
}


# What is sent stays what it is.

my $large = join('', map { chr } 0 .. 255) x 256;

$at{$pids[0]}->binary($large);
is(heard($large, 'binary'), 4, 'large binary message');

$at{$pids[1]}->text('');
is(heard('', 'text'), 4, 'empty message');

$at{$pids[2]}->binary('');
is(heard('', 'binary'), 4, 'empty binary message');


# A channel is heard by its own subscribers only.

my $other = ws_at($pids[0], '/ws/other');

$at{$pids[0]}->text('for news');
is(heard('for news'), 4, 'news, from its worker');

$at{$pids[3]}->text('for news');
is(heard('for news'), 4, 'news, from another worker');

is(http_post('/pub/ws/other', 'for other')->json()->{subscribers}, 1,
    'subscribers of the other channel');
is_message($other, 'for other', 'nothing of news before it');
ok($at{$pids[0]}->is_silent(), 'nothing of it in news');


# Everybody at once: one order for all, and of each publisher its own.

use constant EACH => 500;

my @readers = map { $_->[1] } ws_everywhere(\@pids, 2, '/ws/order');

publisher($t, 'post', '/pub/ws/order', count => EACH);

for my $n (0 .. EACH / 50 - 1) {
    for my $p (0 .. 3) {
        my $c = $readers[2 * $p];

        # several messages a segment, so that workers overlap

        $c->write(join('', map {
            $c->format_message(1, "$p." . ($n * 50 + $_))
        } 1 .. 50));
    }
}

pump(\@readers, sub {
    return !grep { received($_) < 5 * EACH } @readers;
});

$t->stop_daemons();

my @first = received($readers[0]);

is(scalar(@first), 5 * EACH, 'all messages of all publishers');

for my $p (0 .. 3, 'post') {
    is(join(' ', map { /^$p\.(\d+)$/ ? $1 : () } @first),
        join(' ', 1 .. EACH), "those of publisher $p in order");
}

for my $i (1 .. $#readers) {
    ok(join(' ', received($readers[$i])) eq "@first",
        "the same order at subscriber $i");
}

my (undef, $errors) = acked($t, 'post');
is("@$errors", '', 'every POST succeeded');


# Who has left is not counted, nor sent anything.

$_->finish() for splice(@readers, 2);

ok($t->wait_until(sub {
    http_post('/pub/ws/order', 'x')->json()->{subscribers} == 2
}), 'subscribers after most have left');

my $out = total($pids[3], 'messages_out');

http_post('/pub/ws/order', 'y');

for my $c (@readers) {
    pump([ $c ], sub { (received($c))[-1] eq 'y' });
    is((received($c))[-1], 'y', 'the rest still hears');
}

is(total($pids[3], 'messages_out'), $out, 'nobody else is sent anything');


# Deletion reaches all.

is(request('DELETE', '/pub/ws/news')->status(), 204, 'channel deleted');

for my $pid (@pids) {
    is_closed($at{$pid}, 4004, "closed at worker $pid");
}

$_->finish() for @readers, $other;

ok($t->wait_until(sub { settled(0) }), 'no connections left');

my $status = status();

is($status->{connections}, 0, 'connections in total');
is($status->{subscriptions}, 0, 'subscriptions in total');
is($status->{log}{overruns}, 0, 'nobody was lapped');

$t->done_testing();


# How many of the four get this as their next message.

sub heard {
    my ($data, $type) = @_;

    return scalar(grep {
        my $m = $_->message();
        $m && $m->{data} eq $data && $m->{type} eq ($type // 'text');
    } values %at);
}


# Each worker holds so many connections and subscriptions.

sub settled {
    my ($n) = @_;

    my $workers = status()->{workers};

    return @$workers == 4 && !grep {
        $_->{connections} != $n || $_->{subscriptions} != $n
    } @$workers;
}


sub total {
    my ($pid, $what) = @_;

    my ($worker) = grep { $_->{pid} == $pid } @{status()->{workers}};

    return $worker->{$what};
}
