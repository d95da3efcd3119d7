# Copyright (C) the ngx_ws_bus_module authors

# Server-sent events: a client comes back, and nothing is missing, or it is
# told what is; also when workers change or are killed under it.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use WsBusTestWorkers;


my $t = Test::WsBus->new()->log_level('info');

$t->expect_log(qr/exited on signal 9/);

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 32m;
    ws_bus_drain 2s;
    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        add_header X-Pid $pid always;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 5;
        }

        location ~ ^/long/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 100000;
            ws_bus_buffer 16m;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 100000;
        }

        location /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();
wait_workers($t, 2);


# positions

http_post('/pub/news', "m$_") for 1 .. 8;

my ($e, $r) = stream('/ws/news');

is($r->header('Ws-Bus-Seq'), 8, 'without a position, it starts live');

my ($epoch) = $r->header('Ws-Bus-Epoch');

http_post('/pub/news', 'm9');
is(($e->events(1))[0], 'message:m9', 'live');
is($e->last_id(), "$epoch:9", 'id');
$e->disconnect();

http_post('/pub/news', "m$_") for 10 .. 12;

($e, $r) = stream('/ws/news', last_id => "$epoch:9");
is($r->header('Ws-Bus-Recovered'), 'yes', 'recovered');
is($r->header('Ws-Bus-Seq'), 9, 'from there');
is(join(' ', $e->events(3)), 'message:m10 message:m11 message:m12', 'replay');

http_post('/pub/news', 'm13');
is(($e->events(1))[0], 'message:m13', 'then live');

($e, $r) = stream("/ws/news?last_seq=11&epoch=$epoch");
is($r->header('Ws-Bus-Recovered'), 'yes', 'by arguments');
is(join(' ', $e->events(2)), 'message:m12 message:m13', 'by arguments, replay');

($e, $r) = stream("/ws/news?last_seq=9&epoch=$epoch",
                  last_id => "$epoch:12");
is(join(' ', $e->events(1)), 'message:m13',
   'the id is newer than the arguments');

($e, $r) = stream('/ws/news?last=3');
is($r->header('Ws-Bus-Recovered'), 'yes', 'the newest');
is(join(' ', $e->events(3)), 'message:m11 message:m12 message:m13',
   'the newest, replay');

($e, $r) = stream('/ws/news?last=3', last_id => "$epoch:12");
is(join(' ', $e->events(1)), 'message:m13', 'the newest only at first');

($e, $r) = stream('/ws/news', last_id => "$epoch:13");
is($r->header('Ws-Bus-Recovered'), 'yes', 'nothing was missed');
http_post('/pub/news', 'm14');
is(($e->events(1))[0], 'message:m14', 'nothing was missed, live');


# what cannot be had is told

for my $case (
    [ "$epoch:3", '{"from":4,"to":14}', 'too far back' ],
    [ '0123456789abcdef:3', '{"from":1,"to":14}', 'another epoch' ],
    [ "$epoch:15", '{"from":1,"to":14}', 'a position ahead' ],
    [ 'whatever', '{"from":1,"to":14}', 'an id of somebody else' ],
) {
    my ($id, $gap, $name) = @$case;

    ($e, $r) = stream('/ws/news', last_id => $id);
    is($r->header('Ws-Bus-Recovered'), 'no', "$name, not recovered");
    is(($e->events(1))[0], "gap:$gap", "$name, gap");
    is($e->last_id(), "$epoch:14", "$name, position");

    is($e->event(scale(0.1)), undef, "$name, then live");
}

is(request('DELETE', '/pub/news')->status(), 204, 'DELETE');
ok($e->finished(), 'ended');
my $old = $e->last_id();

http_post('/pub/news', 'new');

($e, $r) = stream('/ws/news', last_id => $old);
is(($e->events(1))[0], 'gap:{"from":1,"to":1}', 'a new epoch');
isnt($r->header('Ws-Bus-Epoch'), $epoch, 'which is new');


# publishing at full speed, and a client that loses its connection all the
# time

publisher($t, $_, '/pub/busy', count => 15000) for qw/ a b /;

my $id;
my @seqs;
my $rounds = 0;
my $until = time() + scale(4);

while ((time() < $until || $rounds < 25 || @seqs < 1100)
       && progress($t, 'a', 'b') < 30000)
{
    ($e, $r) = stream('/long/busy', last_id => $id);
    my $enough = 1 + int(rand(400));

    while ($enough-- && (my $event = $e->event())) {
        push @seqs, $event->{type} eq 'message' ? $e->seq() : $event->{data};
    }

    $id = $e->last_id();
    $rounds++;

    rand() < 0.5 ? $e->abort() : $e->disconnect();
}

$t->stop_daemons();

my $first = shift @seqs;

cmp_ok($rounds, '>', 20, "came back $rounds times");
cmp_ok(scalar(@seqs), '>', 1000, 'messages: ' . @seqs);
is(hole($first, @seqs), '', 'without a hole');

# and from the very beginning, all at once

my ($acks, $errors) = acked($t, 'a', 'b');
my $n = (sort { $a <=> $b } keys %$acks)[-1];

is("@$errors", '', 'all is acknowledged');

($e) = stream("/long/busy?last=100000");

my %had;
my $wrong = 0;

for (1 .. $n) {
    my $event = $e->event() or last;
    $had{$e->seq()} = $event->{data};
}

$wrong += ($had{$_} // '') ne $acks->{$_} for keys %$acks;

is(scalar(keys %had), $n, 'the whole history');
is($wrong, 0, 'each message in its place');
$e->disconnect();


# a reload: streams end in good order within ws_bus_drain, and go on in the
# new workers

publisher($t, 'c', '/pub/reloaded', pause => 0.001);

my @clients = map { { events => (stream('/long/reloaded'))[0] } } 1 .. 12;

gather($_, 5) for @clients;

my %before = map { $_->{events}->response()->header('X-Pid') => 1 } @clients;
my $begin = time();

ok(reload($t), 'reload');

my @broken = grep { !$_->{events}->finished() } @clients;
my $took = time() - $begin;

is(scalar(@broken), 0, 'each response ends in good order');
cmp_ok($took, '<', scale(30), 'within ws_bus_drain');

for my $client (@clients) {
    gather($client);

    my ($events) = stream('/long/reloaded',
                          last_id => $client->{events}->last_id());

    $client->{recovered} = $events->response()->header('Ws-Bus-Recovered');
    $client->{new} = !$before{$events->response()->header('X-Pid')};
    $client->{events} = $events;

    gather($client, 50);
}

is(scalar(grep { $_->{recovered} eq 'yes' } @clients), 12, 'recovered');
is(scalar(grep { $_->{new} } @clients), 12, 'by new workers');
is(join('', map { hole(@{$_->{seqs}}) } @clients), '', 'without a hole');

ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'the old workers are gone');


# a worker that is killed takes its streams along

my @pids = wait_workers($t, 2);

kill('KILL', $pids[0]);

my @lost = grep { $_->{events}->response()->header('X-Pid') == $pids[0] }
    @clients;

ok($_->{events}->at_eof(), 'the stream ends') for @lost;
is(scalar(grep { $_->{events}->finished(0.1) } @lost), 0,
   'but not in good order');

wait_workers($t, 2, $pids[0]);

for my $client (@lost) {
    gather($client);

    ($client->{events})
        = stream('/long/reloaded', last_id => $client->{events}->last_id());
}

gather($_, 50) for @clients;

is(join('', map { hole(@{$_->{seqs}}) } @clients), '',
   'killed: without a hole');
ok($t->wait_until(sub { status()->{connections} == 12 }),
   'the count of connections is right again');

$_->{events}->disconnect() for @clients;

ok($t->wait_until(sub { status()->{connections} == 0 }), 'and when they go');

$t->stop_daemons();
$t->done_testing();


sub stream {
    my ($uri, %opt) = @_;

    my $e = Test::WsBus::Events->new(port => port(8080));
    my $r = $e->open($uri, %opt);

    die "no stream: " . ($r ? $r->raw() : 'nothing') . "\n"
        unless $r && $r->status() == 200;

    return ($e, $r);
}


# Reads so many events, or what is there.

sub gather {
    my ($client, $n) = @_;

    my $got = 0;

    while (!$n || $got++ < $n) {
        my $e = $client->{events}->event($n ? undef : 0) or last;

        push @{$client->{seqs}}, $e->{type} eq 'message'
            ? $e->{id} =~ s/.*://r : $e->{data};
    }
}


sub hole {
    my ($last, @seqs) = @_;

    for my $seq (@seqs) {
        return "after $last comes $seq\n" if $seq ne $last + 1;
        $last = $seq;
    }

    return '';
}
