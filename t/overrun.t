#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A worker that sleeps while the log runs over its place in it.  What was kept
# is refilled, or the client is told; never is there a silent hole.

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

worker_processes 3;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_message_max_size 8k;
    ws_bus_history 100000;
    ws_bus_buffer 64m;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location ~ ^/pub-off/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history off;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my ($sleeper, $awake) = wait_workers($t, 3);

my $body = '=' x 1000;
my $h = http_at($awake);

# every publication of this test goes through the worker that is awake

my $flooded = ws_at($sleeper, '/ws/flooded');
my $witness = ws_at($awake, '/ws/flooded');
my $unkept = ws_at($sleeper, '/ws/unkept');
my $early = ws_at($sleeper, '/ws/early');
my $late = ws_at($sleeper, '/ws/late');
my $idle = ws_at($sleeper, '/ws/idle');
my $gone = ws_at($sleeper, '/ws/gone');

post('/pub/late', 1);
post('/pub/early', 1);
post('/pub/idle', 1);
post('/pub/flooded', 1);
post('/pub-off/unkept', 1);

is_message($_, 1, 'before') for $flooded, $witness, $unkept, $early, $late,
    $idle;


# It sleeps; the log runs over.

asleep($sleeper, sub {
    post('/pub/early', 2);
    post('/pub/late', 2);
    post('/pub-off/unkept', 2);

    for (2 .. 500) {
        post('/pub/flooded', "$_.$body");
        post('/pub/late', $_ - 490) if $_ > 492;
    }

    is($h->request('DELETE', '/pub/gone')->status(), 204, 'a deletion');
    post('/pub-off/unkept', 3);
    post('/pub/flooded', "$_.$body") for 501 .. 505;
});

is(join(' ', map { s/\.=+//r } $witness->recv_n(504)), join(' ', 2 .. 505),
    'the worker that is awake misses nothing');

is_closed($flooded, 1013, 'kept, but forgotten: told',
    reason => qr/messages lost/);
is_closed($early, 1013, 'and this, too', reason => qr/messages lost/);
is_closed($late, 1013, 'one of many forgotten: told',
    reason => qr/messages lost/);
is_closed($gone, 4004, 'a deletion that was missed');

ok($idle->is_silent(), 'where nothing was published there is no loss');

post('/pub/idle', 2);
is_message($idle, 2, 'and it goes on');

post('/pub-off/unkept', 4);

my @data = $unkept->recv_n(1);
@data = $unkept->recv_n(1) if $data[0] eq '3';
is($data[0], '4', 'not kept: at most once, the connection stays');

my $status = status();
my ($worker) = grep { $_->{pid} == $sleeper } @{$status->{workers}};

cmp_ok($worker->{overruns}, '>=', 1, 'counted for the worker');
is($status->{log}{overruns}, $worker->{overruns}, 'nobody else was lapped');
is($status->{dropped}{lost}, 3, 'three clients lost messages');
cmp_ok($t->find_in_file('error.log', qr/lapped by the log/), '>=', 1,
    'said in the log');


# What still is there is refilled.

$late = ws_at($sleeper, '/ws/late');
$flooded = ws_at($sleeper, '/ws/flooded');

my $from = $late->response()->header('Ws-Bus-Seq');
my $overruns = $worker->{overruns};

asleep($sleeper, sub {
    post('/pub-off/unkept', $body) for 1 .. 500;
    post('/pub/late', "again $_") for 1 .. 5;
    post('/pub-off/unkept', $body) for 1 .. 10;
    post('/pub/late', "again $_") for 6 .. 8;
});

is(join(' ', $late->recv_n(8)), join(' ', map { "again $_" } 1 .. 8),
    'refilled from the history');

($worker) = grep { $_->{pid} == $sleeper } @{status()->{workers}};
cmp_ok($worker->{overruns}, '>', $overruns, 'after it had been lapped');

my $r = post('/pub/late', 'now');
is($r->json()->{seq}, $from + 9, 'its number');
is_message($late, 'now', 'live again, in order');
ok($late->is_silent(), 'and only once');

post('/pub/flooded', 'now');
is_message($flooded, 'now', 'the others, too');


# One that is told comes back and knows what it lost.

my $r1 = $flooded->response();
my $back = ws('/ws/flooded?last_seq=1&epoch=' . $r1->header('Ws-Bus-Epoch'));

is($back->response()->header('Ws-Bus-Recovered'), 'no', 'not all can be had');
is($back->response()->header('Ws-Bus-Seq'), 506, 'live from here');

$_->finish() for $back, $witness, $late, $flooded, $idle, $unkept;


# A storm, and workers that fall asleep at any moment: whatever a client gets
# is without a hole, up to a Close that says so.

my @names = qw/ a b c /;
my @pids = $t->workers();

publisher($t, $names[$_], '/pub/storm', size => 300, pid => $pids[$_])
    for 0 .. 2;

my @streams = map { $_->[1] } ws_everywhere(\@pids, 2, '/ws/storm');
my ($told, $recovered) = (0, 0);

for my $round (1 .. 12) {
    my $pid = $pids[$round % 3];

    # sometimes short enough to catch up

    for my $n ($round % 4 ? 500 : 50, 200) {
        my $before = progress($t, @names);

        $t->signal($n == 200 ? 'CONT' : 'STOP', $pid);
        pump([ open_ones() ], sub { progress($t, @names) > $before + $n }, 2);
    }

    # who has been told comes back

    for my $c (open_ones()) {
        received($c);
        next unless defined $c->close_code();

        $told++ if $c->close_code() == 1013;

        my $seq = (follow($c))[-1];
        $seq = $seq ? $seq->[0] : $c->response()->header('Ws-Bus-Seq');

        push @streams, ws("/ws/storm?last_seq=$seq&epoch="
            . $c->response()->header('Ws-Bus-Epoch'));

        my $r = $streams[-1]->response();

        $recovered++ if $r->header('Ws-Bus-Recovered') eq 'yes'
            && $r->header('Ws-Bus-Seq') == $seq;
    }
}

$t->stop_daemons();

my ($acks, $errors) = acked($t, @names);
my $seq = http_get('/pub/storm')->json()->{seq};

is("@$errors", '', 'every POST succeeded');

pump([ open_ones() ], sub { !grep { missing($_) } open_ones() });

is(join(' ', map { missing($_) } open_ones()), join(' ', (0) x open_ones()),
    'whoever was not told has everything');
is(scalar(grep { ($_->close_code() // 1013) != 1013 } @streams), 0,
    'nobody was closed for another reason');

my %seen;
is(join("\n", grep { $_ }
    map { sequence_error([ follow($_) ], $acks, \%seen) } @streams), '',
    'each message once, in its place');

note("$seq messages, $told told, $recovered recovered, overruns: ",
    status()->{log}{overruns});
cmp_ok(status()->{log}{overruns}, '>', 2, 'workers were lapped');
cmp_ok($told, '>', 0, 'clients were told');

$t->done_testing();


sub post {
    my ($uri, $body) = @_;

    my $r = $h->request('POST', $uri, body => "$body");
    die "POST failed" unless $r && $r->status() == 201;

    return $r;
}


# The process sleeps while the code runs.

sub asleep {
    my ($pid, $code) = @_;

    $t->signal('STOP', $pid);

    $t->wait_until(sub {
        open(my $fh, '<', "/proc/$pid/stat") or return;
        return <$fh> =~ /^\d+ \(.*\) T/;
    }) or die "worker does not stop";

    my $done = eval { $code->(); 1 };
    my $error = $@;

    $t->signal('CONT', $pid);

    die $error unless $done;
}


# Those that have not been closed, so far as is known.

sub open_ones {
    return grep { !$_->{eof} && !defined $_->close_code() } @streams;
}


sub missing {
    my ($c) = @_;

    my $got = received($c);

    return 0 if defined $c->close_code();
    return $seq - $c->response()->header('Ws-Bus-Seq') - $got;
}
