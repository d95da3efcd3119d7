#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Workers are killed while messages are being published: the others lose
# nothing, and what is known of the killed one heals.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

use constant KILLS => 20;

my $t = Test::WsBus->new();

$t->expect_log(qr/\[alert\].* worker process \d+ exited on signal 9/,
    qr/\[alert\].* shared memory zone "ws_bus:bus" was locked by \d+/);

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128m;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_history 1000000;
    ws_bus_buffer 64m;
    ws_bus_ping off;
    ws_bus_drain 10d;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
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


# Two clients in each worker, others that nobody publishes to, publishers whose
# messages are acknowledged, and some more noise.

my @idle = map { $_->[1] } ws_everywhere(\@pids, 1, '/ws/idle');
my @streams = map { { pid => $_->[0], client => $_->[1] } }
    ws_everywhere(\@pids, 2, '/ws/storm');

my @names = qw/ a b c /;

publisher($t, $_, '/pub/storm', pause => 0.0005) for @names;

$t->run_daemon(\&noise) for 1 .. 2;

my ($ended, $served, $told) = (0, 0, 0);

for my $i (1 .. KILLS) {

    # in the midst of it

    my $before = progress($t, @names);
    pump([ clients() ], sub { progress($t, @names) > $before + 20 });

    my $victim = $pids[$i % 4];
    $t->signal('KILL', $victim);

    my %old = map { $_ => 1 } @pids;
    my ($new) = grep { !$old{$_} } wait_workers($t, 4, $victim);

    $pids[$i % 4] = $new;

    # its clients see the end, and come back for what they missed

    for my $s (grep { $_->{pid} == $victim && !$_->{end} } @streams) {
        $ended++ if $s->{client}->at_eof();
        $s->{end} = 1;

        my $last = (follow($s->{client}))[-1];
        my $seq = $last ? $last->[0]
                        : $s->{client}->response()->header('Ws-Bus-Seq');
        my $epoch = $s->{client}->response()->header('Ws-Bus-Epoch');

        my $c = ws_at($new, "/ws/storm?last_seq=$seq&epoch=$epoch");

        $told++ if $c->response()->header('Ws-Bus-Recovered') eq 'yes';
        $served++ if $c->response()->header('Ws-Bus-Seq') == $seq;

        push @streams, { pid => $new, client => $c };
    }
}

$t->stop_daemons();

is($ended, 2 * KILLS, 'clients of a killed worker see the end');
is($told, 2 * KILLS, 'the respawned ones serve them');
is($served, 2 * KILLS, 'from where they were');


# Everybody gets everything.

my ($acks, $errors) = acked($t, @names);

is(join("\n", @$errors), '', 'every POST got its own number, or no answer');
cmp_ok(scalar(keys %$acks), '>', 20 * KILLS, 'there was a storm');
cmp_ok(http_get('/pub/noise')->json()->{seq}, '>', 20 * KILLS, 'with noise');

my $state = http_get('/pub/storm')->json();
my @live = grep { !$_->{end} } @streams;

is($state->{subscribers}, 8, 'subscribers of the channel');
is(scalar(@live), 8, 'are these');

pump([ map { $_->{client} } @live ], sub {
    return !grep { reached($_) < $state->{seq} } @live;
}, 20);

note("$state->{seq} messages");

is(join(' ', map { reached($_) } @live), join(' ', ($state->{seq}) x 8),
    'all are told everything');

my %seen;
my @faults = grep { $_ }
    map { sequence_error([ follow($_->{client}) ], $acks, \%seen) } @streams;

is(join("\n", @faults), '', 'each message once, in its place');

is(join(' ', grep { !$seen{$_} } sort { $a <=> $b } keys %$acks), '',
    'nothing acknowledged is missing');


# A publisher's messages keep their order.

for my $name (@names) {
    my @n = map { $seen{$_} =~ /^$name\.(\d+)$/ ? $1 : () }
        sort { $a <=> $b } keys %seen;

    is(join(' ', @n), join(' ', sort { $a <=> $b } @n), "order of $name");
}


# The figures heal.

my @untouched = grep { !$_->at_eof(0) } @idle;

ok($t->wait_until(sub {
    my $s = status();
    my $n = 8 + @untouched;

    return $s->{connections} == $n && $s->{subscriptions} == $n;
}, 15), 'connections and subscriptions') or diag(explain(status()));

is(http_get('/pub/idle')->json()->{subscribers}, scalar(@untouched),
    'subscribers of a channel that nobody published to');

my %by;
$by{$_->{pid}}++ for @live;

for my $worker (@{status()->{workers}}) {
    is($worker->{connections}, $by{$worker->{pid}} // 0,
        "connections of worker $worker->{pid}");
}


# A worker that drains is not respawned; what it held is given up, too.

my $keep = ws('/ws/alone');
my $holder = $keep->response()->header('X-Pid');

ok(reload($t), 'reload');
is(http_get('/pub/alone')->json()->{subscribers}, 1, 'it still counts');

$t->signal('KILL', $holder);
ok($keep->at_eof(), 'a draining worker killed');

ok($t->wait_until(sub {
    return http_get('/pub/alone')->json()->{subscribers} == 0;
}, 15), 'its subscriber is not counted any more');

ok($t->wait_until(sub {
    return !grep { $_->{pid} == $holder } @{status()->{workers}};
}, 15), 'nor is it listed');

my $again = ws('/ws/alone');
is(http_post('/pub/alone', 'hello')->json()->{subscribers}, 1, 'the channel');
is_message($again, 'hello', 'goes on');


# All at once.

@pids = grep { $_ != $holder } $t->workers();
$_->{client}->disconnect() for @streams;
$t->signal('KILL', $_) for @pids;

@pids = wait_workers($t, 4, @pids);

my @all = map { $_->[1] } ws_everywhere(\@pids, 1, '/ws/storm?last=1');

is(scalar(grep { $_->response()->header('Ws-Bus-Epoch') eq $state->{epoch} }
    @all), 4, 'the zone outlives all of its workers');
is(scalar(grep { $_->response()->header('Ws-Bus-Seq') == $state->{seq} - 1 }
    @all), 4, 'and so does the history');

received($_) for @all;
pump(\@all, sub { !grep { received($_) < 1 } @all });

http_post('/pub/storm', 'the end');

pump(\@all, sub { !grep { received($_) < 2 } @all });
is(scalar(grep { (received($_))[1] eq 'the end' } @all), 4, 'all are served');

ok($t->wait_until(sub {
    my $s = status();
    return $s->{connections} == 4 && $s->{subscriptions} == 4;
}, 15), 'connections and subscriptions');


# Nobody is busy with nothing.

my %ticks = map { $_ => cpu_ticks($_) } @pids, $t->master();
my %wakeups = map { $_ => wakeups($_) } @pids, $t->master();

sleep(1);

for my $pid (@pids, $t->master()) {
    cmp_ok(cpu_ticks($pid) - $ticks{$pid}, '<', 15, "process $pid is idle");
    cmp_ok(wakeups($pid) - $wakeups{$pid}, '<', 100, "process $pid sleeps");
}

$t->done_testing();


sub clients { return grep { !$_->{eof} } map { $_->{client} } @streams }


# Publishes as fast as it may, and does not care.

sub noise {
    Test::WsBus::Conn::disconnect_all();

    my $c;

    while (1) {
        $c = eval { ws('/ws/noise') } if !$c || $c->at_eof(0);

        if (!$c) {
            sleep(0.01);
            next;
        }

        $c->write(join('', map { $c->format_message(1, 'noise') } 1 .. 50));
        $c->{rbuf} = '';

        sleep(0.005);
    }
}


# The number of the last message that this one got.

sub reached {
    my ($s) = @_;

    my @stream = follow($s->{client});

    return @stream ? $stream[-1][0]
                   : $s->{client}->response()->header('Ws-Bus-Seq');
}
