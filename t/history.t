#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What is kept, and what a client that comes back gets of it.

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

    ws_bus_zone bus 256m;
    ws_bus_zone small 256k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_history 10000000;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location ~ ^/five/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 5;
        }

        location ~ ^/young/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 100 4s;
        }

        location ~ ^/pub-young/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 100 4s;
        }

        location ~ ^/off/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_history off;
        }

        location ~ ^/pub-off/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history off;
        }

        location ~ ^/small/(?<chan>.*)$ {
            ws_bus $chan zone=small;
        }

        location ~ ^/pub-small/(?<chan>.*)$ {
            ws_bus_publisher $chan zone=small;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my @pids = wait_workers($t, 3);


# Where a stream starts.

my $c = ws('/ws/a');
my $epoch = $c->response()->header('Ws-Bus-Epoch');

like($epoch, qr/^[0-9a-f]{16}$/, 'epoch of an empty channel');
is($c->response()->header('Ws-Bus-Seq'), 0, 'seq of an empty channel');
is($c->response()->header('Ws-Bus-Recovered'), undef,
    'nothing to recover was asked for');

for (1 .. 10) {
    my $r = http_post('/pub/a', $_)->json();

    is($r->{seq}, $_, "seq of message $_") if $_ < 3;
    is($r->{epoch}, $epoch, "epoch of message $_") if $_ < 3;
}

is(join(' ', $c->recv_n(10)), '1 2 3 4 5 6 7 8 9 10', 'live');

my $late = ws('/ws/a');
is($late->response()->header('Ws-Bus-Seq'), 10, 'seq without replay');

is_deeply([ @{http_get('/pub/a')->json()}
    { qw/ seq epoch messages oldest newest subscribers / } ],
    [ 10, $epoch, 10, 1, 10, 2 ], 'state') or diag(http_get('/pub/a')->body());


# By number: the newest N.

replay('/ws/a?last=3', 'yes', 7, '8 9 10', 'the newest three');
replay('/ws/a?last=10', 'yes', 0, '1 2 3 4 5 6 7 8 9 10', 'exactly all');
replay('/ws/a?last=1000', 'yes', 0, '1 2 3 4 5 6 7 8 9 10', 'more than all');
replay('/ws/a?last=0', 'yes', 10, '', 'the newest none');
replay('/ws/empty?last=5', 'yes', 0, '', 'of an empty channel');

# By position: everything after it.

replay("/ws/a?last_seq=7&epoch=$epoch", 'yes', 7, '8 9 10', 'after 7');
replay("/ws/a?epoch=$epoch&last_seq=9", 'yes', 9, '10', 'order of arguments');
replay("/ws/a?last_seq=0&epoch=$epoch", 'yes', 0, '1 2 3 4 5 6 7 8 9 10',
    'after 0');
replay("/ws/a?last_seq=10&epoch=$epoch", 'yes', 10, '', 'nothing missed');

# Not that position: live.

replay("/ws/a?last_seq=11&epoch=$epoch", 'no', 10, '', 'the future');
replay("/ws/a?last_seq=7&epoch=" . ($epoch =~ tr/0-9a-f/1-9a-f0/r), 'no', 10,
    '', 'another epoch');
replay("/ws/a?last_seq=7&epoch=", 'no', 10, '', 'an empty epoch');
replay("/ws/a?last_seq=7&epoch=${epoch}0", 'no', 10, '', 'too long an epoch');
replay("/ws/a?last_seq=7&epoch=xyzxyzxyzxyzxyzx", 'no', 10, '',
    'an epoch of another make');
replay("/ws/a?last_seq=7", 'no', 10, '', 'no epoch');

# Nonsense.

for my $args ('last=', 'last=x', 'last=-1', 'last=1x', 'last=%31', 'last=1.5',
    'last=99999999999999999999', 'last_seq=', 'last_seq=abc', 'last_seq=-5',
    'last_seq=7x', 'last_seq=+7', 'last_seq=99999999999999999999')
{
    my $r = ws_response("/ws/a?$args&epoch=$epoch");

    is($r->status(), 400, "?$args");
    like($r->body(), qr/invalid argument "last/, "?$args: why");
}


# What is kept is what the publisher's location keeps; what is given is what
# the subscriber's one allows.

replay('/five/a?last=1000', 'yes', 5, '6 7 8 9 10', 'limit of the location');
replay("/five/a?last_seq=5&epoch=$epoch", 'yes', 5, '6 7 8 9 10', 'within it');
replay("/five/a?last_seq=4&epoch=$epoch", 'no', 10, '', 'beyond it');

$c = ws('/off/a');
is($c->response()->header('Ws-Bus-Seq'), undef, 'no history, no headers');
is($c->response()->header('Ws-Bus-Epoch'), undef, 'no epoch either');
http_post('/pub/a', 11);
is_message($c, 11, 'but what is live');

replay("/off/a?last_seq=9&epoch=$epoch", 'no', 11, '', 'replay where none is');

$c->text('not kept');
is_message($c, 'not kept', 'own message');

my $r = http_post('/pub-off/a', 'neither');
is_deeply([ sort keys %{$r->json()} ], [ qw/ channel subscribers / ],
    'not kept, no seq');
is_message($c, 'neither', 'delivered all the same');

$c->finish();

replay('/ws/a?last=2', 'yes', 9, '10 11', 'what was not kept is not replayed');

$c = ws('/ws/from-ws');
$c->text("$_") for 1 .. 3;
$c->binary("\xff\x00");
is(join(' ', $c->recv_n(3)), '1 2 3', 'own messages');
is_message($c, "\xff\x00", 'own binary message', type => 'binary');

replay('/ws/from-ws?last=2', 'yes', 2, "3 \xff\x00",
    'kept of a WebSocket');

$c = ws('/ws/from-ws?last=1');
is_message($c, "\xff\x00", 'replayed as binary', type => 'binary');

$c = ws('/ws/nothing-kept');
http_post('/pub-off/nothing-kept', $_) for 1 .. 3;
is(join(' ', $c->recv_n(3)), '1 2 3', 'a channel without kept messages');
replay('/ws/nothing-kept?last=3', 'yes', 0, '', 'has no history');


# Age.

http_post('/pub-young/age', $_) for 1 .. 3;

ok($t->wait_until(sub {
    http_get('/pub-young/age')->json()->{messages} == 0
}), 'messages grow old');

http_post('/pub-young/age', $_) for 4 .. 5;

my $state = http_get('/pub-young/age')->json();

is_deeply([ @{$state}{ qw/ seq messages oldest newest / } ], [ 5, 2, 4, 5 ],
    'those that are young');
replay('/young/age?last=100', 'yes', 3, '4 5', 'are replayed');
replay("/young/age?last_seq=1&epoch=$state->{epoch}", 'no', 5, '',
    'not those that were too old');


# Forgotten by the zone: the log is full of others.

my $body = 'x' x 4000;

http_post('/pub-small/b', $_) for 1 .. 3;
$epoch = http_get('/pub-small/b')->json()->{epoch};
replay("/small/b?last_seq=1&epoch=$epoch", 'yes', 1, '2 3', 'still there');

http_post('/pub-small/other', $body) for 1 .. 100;

$state = http_get('/pub-small/b')->json();
is_deeply([ @{$state}{ qw/ seq epoch messages oldest newest / } ],
    [ 3, $epoch, 0, undef, undef ], 'forgotten');

replay("/small/b?last_seq=1&epoch=$epoch", 'no', 3, '', 'cannot be had');
replay("/small/b?last_seq=3&epoch=$epoch", 'yes', 3, '', 'nothing missed');

http_post('/pub-small/b', 4);
replay("/small/b?last_seq=3&epoch=$epoch", 'yes', 3, '4', 'new ones can');
replay('/small/b?last=10', 'yes', 3, '4', 'and that is all there is');


# A replay meets what is published at that moment.  However busy the machine
# is, all of that is kept.

my @names = qw/ a b c /;
publisher($t, $_, '/pub/storm', pause => 0.001) for @names;

$t->wait_until(sub { progress($t, @names) });

$epoch = http_get('/pub/storm')->json()->{epoch};

my @clients;
my @last = (0);

for my $i (0 .. 59) {
    my $path = $i % 3 == 0 ? '/ws/storm?last=' . 7 * $i
        : $i % 3 == 1 ? "/ws/storm?epoch=$epoch&last_seq="
                        . $last[rand(@last / 2)]
                      : '/ws/storm';

    push @clients, ws($path);
    push @last, $clients[-1]->response()->header('Ws-Bus-Seq');

    # it keeps on coming

    pump([ @clients ], sub { (received($clients[-1])) > 20 });
}

is(scalar(grep { ($_->response()->header('Ws-Bus-Recovered') // '') eq 'no' }
    @clients), 0, 'joined in the midst of it');

$t->stop_daemons();

my ($acks, $errors) = acked($t, @names);
my $seq = http_get('/pub/storm')->json()->{seq};

note("$seq messages");
is("@$errors", '', 'every POST succeeded');
is(scalar(keys %$acks), $seq, 'numbers without a hole');

pump(\@clients, sub { !grep { missing($_) } @clients }, 20);

is(join(' ', map { missing($_) } @clients), join(' ', (0) x 60),
    "every client has all up to $seq");

my %seen;
is(join("\n", grep { $_ }
    map { sequence_error([ follow($_) ], $acks, \%seen) } @clients), '',
    'each message once, in its place');

$_->finish() for @clients;


# Far more than a socket takes, to a client that takes its time, and others
# who keep publishing.

$body = '=' x 2000;

my $h = Test::WsBus::HTTP->new(port => port(8080));
$h->request('POST', '/pub/long', body => "1.$body");
$epoch = http_get('/pub/long')->json()->{epoch};
$h->request('POST', '/pub/long', body => "$_.$body") for 2 .. 4000;

my @slow = (port => port(8081), rcvbuf => 4096);
my $slow = ws("/ws/long?last_seq=0&epoch=$epoch", @slow);
my $fast = ws("/ws/long?last_seq=0&epoch=$epoch");

my ($n, $more) = (0, 4000);

while ($n < 5000) {
    my @data = $slow->recv_n(20) or last;

    $n += @data;
    last if $data[-1] ne "$n.$body";

    next if $more >= 5000;
    $h->request('POST', '/pub/long', body => ++$more . ".$body") for 1 .. 20;
}

is($n, 5000, 'a long replay to a slow reader, and what came meanwhile');

pump([ $fast ], sub { received($fast) >= 5000 });
is(join(' ', map { s/\.=+$//r } received($fast)), join(' ', 1 .. 5000),
    'and the same to a fast one');

http_post('/pub/long', 'live');
is_message($slow, 'live', 'the slow one is live now');
is_message($fast, 'live', 'and so is the fast one');
is(status()->{dropped}{slow} + status()->{dropped}{closed}, 0,
    'nothing was dropped');


# The log runs away from a replay: that is said.

$h->request('POST', '/pub-small/run', body => "1.$body");
$epoch = http_get('/pub-small/run')->json()->{epoch};
$h->request('POST', '/pub-small/run', body => "$_.$body") for 2 .. 60;

$slow = ws("/small/run?last_seq=1&epoch=$epoch", @slow);
is($slow->response()->header('Ws-Bus-Recovered'), 'yes', 'a replay begins');

$h->request('POST', '/pub-small/run', body => "$_.$body") for 61 .. 5000;

is_closed($slow, 1013, 'and is given up', reason => qr/messages lost/);
is(join(' ', map { $_->{data} =~ /^(\d+)/ } @{$slow->{skipped}}),
    join(' ', 2 .. 1 + @{$slow->{skipped}}), 'without a hole before the Close');


# The channel is deleted during a replay.

$slow = ws('/ws/long?last=5000', @slow);
is_message($slow, "2.$body", 'a long replay');

is(request('DELETE', '/pub/long')->status(), 204, 'deleted');
is_closed($slow, 4004, 'closed', timeout => scale(20));
is(join(' ', map { $_->{data} =~ /^(\d+|live)/ } @{$slow->{skipped}}),
    join(' ', 3 .. 2 + @{$slow->{skipped}}) =~ s/5001$/live/r,
    'without a hole before the Close');

is_closed($fast, 4004, 'a live one closed, too');

isnt(http_get('/pub/long')->json()->{epoch}, $epoch, 'a new epoch');

replay("/ws/long?last_seq=2&epoch=$epoch", 'no', 0, '', 'the old is gone');
replay('/ws/long?last=10', 'yes', 0, '', 'no history');

is(http_post('/pub/long', 'new')->json()->{seq}, 1, 'numbers start again');
replay('/ws/long?last=10', 'yes', 0, 'new', 'a new history');

$t->done_testing();


# Connects, compares the headers, gets the messages and nothing after them.

sub replay {
    my ($path, $recovered, $seq, $messages, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $c = ws($path);
    my $r = $c->response();

    my $n = () = $messages =~ /\S+/g;
    my $got = join(' ', $c->recv_n($n));

    # a ping makes sure that all there is has come

    $c->ping('end');

    while (my $e = $c->read_event()) {
        last if $e->{type} eq 'pong';
        $got .= " $e->{data}";
    }

    is(join('; ', $r->header('Ws-Bus-Recovered') // 'undef',
        $r->header('Ws-Bus-Seq') // 'undef', $got),
        "$recovered; $seq; $messages", $name);

    $c->finish();
}


# How many messages up to the newest this one has not had.

sub missing {
    my ($c) = @_;

    return $seq - $c->response()->header('Ws-Bus-Seq') - received($c);
}
