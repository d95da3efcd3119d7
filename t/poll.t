# Copyright (C) the ngx_ws_bus_module authors

# Long polling on a ws_bus location.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;


my $t = Test::WsBus->new()->log_level('info');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri $status $ws_bus_protocol|$ws_bus_messages_out|'
                   '$ws_bus_dropped';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 32m;
    ws_bus_drain 1s;
    ws_bus_message_max_size 1m;
    client_max_body_size 16m;
    client_body_buffer_size 2m;
    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        add_header X-Pid $pid always;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 5;
        }

        location ~ ^/long/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 100000;
            ws_bus_lean on;
        }

        location ~ ^/plain/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location /off {
            ws_bus news;
            ws_bus_fallback off;
        }

        location /json {
            ws_bus;
            ws_bus_channels *;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 100000;
        }

        location ~ ^/pub0/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();
wait_workers($t, 2);


# at once

my $r = poll('/ws/news?wait=0');

is($r->status(), 204, 'nothing there');
is($r->header('Ws-Bus-Seq'), 0, 'but a position');
is($r->header('Cache-Control'), 'no-store', 'not cached');
is($r->header('Content-Type'), undef, 'no type');

my $epoch = $r->header('Ws-Bus-Epoch');

http_post('/pub/news', $_) for 'one', '{"n": 2}', "a\n\"b\"\r";
http_post('/pub/news', "\0\xff", headers => [
    'Content-Type' => 'application/octet-stream' ]);

$r = poll("/ws/news?wait=10&last_seq=0&epoch=$epoch");

is($r->status(), 200, 'messages');
is($r->header('Content-Type'), 'application/json', 'content type');
is($r->header('Content-Length'), length($r->body()), 'length');
is($r->header('Cache-Control'), 'no-store', 'messages, not cached');
is($r->header('Ws-Bus-Seq'), 4, 'the new position');
is($r->header('Ws-Bus-Recovered'), 'yes', 'recovered');
is($r->body(), qq/{"epoch":"$epoch","seq":4,"recovered":true,"messages":[/
   . '{"seq":1,"text":"one"},{"seq":2,"data":{"n": 2}},'
   . '{"seq":3,"text":"a\n\"b\"\r"},{"seq":4,"base64":"AP8="}],"more":false}'
   . "\n", 'the answer');

is(seqs(poll("/ws/news?wait=10&last_seq=2&epoch=$epoch")), '3 4', 'the rest');
is(seqs(poll('/ws/news?wait=10&last=3')), '2 3 4', 'the newest');
is(seqs(poll('/ws/news?wait=0&last=100')), '1 2 3 4', 'the newest, not so many');

$r = poll("/ws/news?wait=0&last_seq=4&epoch=$epoch");
is($r->status(), 204, 'nothing new');
is($r->header('Ws-Bus-Seq'), 4, 'nothing new, position');
is($r->header('Ws-Bus-Recovered'), 'yes', 'nothing new, recovered');

is(poll('/ws/news?wait=0')->status(), 204, 'no position: what is new');

$r = request('HEAD', '/ws/news?wait=0&last=1');
is($r->status(), 200, 'HEAD');
is($r->body(), '', 'HEAD, no body');


# waiting

my $h = waiting('/ws/news?wait=10');

http_post('/pub/news', '5');
is(seqs($h->read_response()), '5', 'the first one answers');

# the connection is used on

$h->write(Test::WsBus::HTTP::format_request('GET',
    "/ws/news?wait=10&last_seq=5&epoch=$epoch"));
is(waiters(1), 1, 'it waits');
http_post('/pub/news', '6');
is(seqs($h->read_response()), '6', 'again');

my $begin = time();
$r = $h->request('GET', "/ws/news?wait=1&last_seq=6&epoch=$epoch");

is($r->status(), 204, 'time is over');
cmp_ok(time() - $begin, '>=', 0.9, 'not too early');

$r = $h->request('GET', "/ws/news?wait=0&last_seq=6&epoch=$epoch");
is($r->status(), 204, 'again, on the same connection');

my @waiting = map { waiting('/ws/news?wait=10', $_) } 1 .. 5;
http_post('/pub/news', '7');
is(join(' ', map { seqs($_->read_response()) } @waiting), '7 7 7 7 7',
   'all who wait are answered');

is(waiters(0), 0, 'nobody waits any more');
is(status()->{subscriptions}, 0, 'nor is subscribed');


# not kept

$h = waiting('/plain/p?wait=10');
http_post('/pub0/p', 'live');
$r = $h->read_response();

is($r->json()->{messages}[0]{text}, 'live', 'without history');
ok(!exists $r->json()->{messages}[0]{seq}, 'no number');
is($r->header('Ws-Bus-Seq'), undef, 'and no position');

http_post('/pub0/p', 'missed');
is(poll('/plain/p?wait=0')->status(), 204, 'what was published before is gone');


# what cannot be had

http_post('/pub/news', $_) for 8 .. 12;

for my $case (
    [ "last_seq=3&epoch=$epoch", 'too far back' ],
    [ 'last_seq=3&epoch=0123456789abcdef', 'another epoch' ],
    [ 'last_seq=3', 'no epoch' ],
    [ "last_seq=99&epoch=$epoch", 'ahead' ],
) {
    my ($args, $name) = @$case;

    $r = poll("/ws/news?wait=10&$args");
    is($r->status(), 200, "$name: told at once");
    is($r->body(), qq/{"epoch":"$epoch","seq":12,"recovered":false,/
       . qq/"messages":[],"more":false}\n/, "$name: the answer");
    is($r->header('Ws-Bus-Recovered'), 'no', "$name: header");
}

$h = waiting("/ws/news?wait=10&last_seq=12&epoch=$epoch");

is(request('DELETE', '/pub/news')->status(), 204, 'DELETE');
$r = $h->read_response();

is($r->status(), 200, 'DELETE answers');
ok(!$r->json()->{recovered}, 'not recovered');
is($r->json()->{seq}, 0, 'position');
isnt($r->json()->{epoch}, $epoch, 'epoch');

my $new = $r->json()->{epoch};

http_post('/pub/news', 'first');
is(seqs(poll("/ws/news?wait=10&last_seq=0&epoch=$new")), '1', 'from there');


# refused

is(poll("/ws/news?wait=$_")->status(), 400, "wait=$_") for '', 'x', '-1', '1s';
is(poll('/ws/news?wait=1&last_seq=x')->status(), 400, 'invalid position');
is(poll('/off?wait=1')->status(), 426, 'ws_bus_fallback off');
is(poll('/json?wait=1')->status(), 426, 'no channel');
is(poll('/ws/?wait=1')->status(), 404, 'empty channel');
is(poll('/ws/news')->status(), 426, 'neither');
is(http_post('/ws/news?wait=1', 'x')->status(), 405, 'POST');


# long answers

http_post('/pub/large', "$_ " . 'x' x 100_000) for 1 .. 10;

my @had;
my ($seq, $answers) = (0, 0);

($epoch) = poll('/long/large?wait=0')->header('Ws-Bus-Epoch');

while ($answers++ < 20) {
    $r = poll("/long/large?wait=0&last_seq=$seq&epoch=$epoch");
    last if $r->status() != 200;

    my $answer = $r->json();

    cmp_ok(length($r->body()), '<', 400_000, 'an answer is bounded');

    push @had, map { $_->{seq} } @{$answer->{messages}};
    $seq = $answer->{seq};

    last if !$answer->{more};
}

is("@had", '1 2 3 4 5 6 7 8 9 10', 'all of it, in several answers');
cmp_ok($answers, '>', 2, 'several');

http_post('/pub/single', 'x' x 1_000_000);
is(length(poll('/long/single?wait=0&last=1')->json()->{messages}[0]{text}),
   1_000_000, 'a message larger than that');

# a reader that is slow to take its answer, and one that goes

$h = Test::WsBus::HTTP->new(port => port(8081), rcvbuf => 4096);
$h->write(Test::WsBus::HTTP::format_request('GET', '/long/single?wait=0&last=1'));
sleep(0.3);
http_post('/pub/single', 'y');
is(length($h->read_response()->json()->{messages}[0]{text}), 1_000_000,
   'slowly');

$h->write(Test::WsBus::HTTP::format_request('GET', '/long/single?wait=0&last=2'));
sleep(0.1);
$h->abort();

waiting('/ws/news?wait=60')->disconnect();
is(waiters(0), 0, 'one that goes');


# publishing at full speed, and a client that polls

publisher($t, $_, '/pub/busy') for qw/ a b /;

my $agent = Test::WsBus::HTTP->new(port => port(8080));

$r = $agent->request('GET', '/long/busy?wait=0');
($seq, $epoch) = map { $r->header($_) } 'Ws-Bus-Seq', 'Ws-Bus-Epoch';

my ($polls, $messages, @faults) = (0, 0);
my $until = time() + scale(3);

while (time() < $until || $messages <= 500) {
    $r = $agent->request('GET',
                         "/long/busy?wait=5&last_seq=$seq&epoch=$epoch");
    last if !$r || $r->status() != 200;

    my $answer = $r->json();

    push @faults, "after $seq not recovered" if !$answer->{recovered};

    for (@{$answer->{messages}}) {
        push @faults, "after $seq comes $_->{seq}" if $_->{seq} != $seq + 1;
        $seq = $_->{seq};
        $messages++;
    }

    push @faults, "$seq is not $answer->{seq}" if $seq != $answer->{seq};
    $polls++;
}

$t->stop_daemons();

is("@faults[0 .. ($#faults > 3 ? 3 : $#faults)]", '', 'without a hole');
cmp_ok($messages, '>', 500, "$messages messages in $polls polls");


# a reload answers who waits

@waiting = map { waiting('/ws/idle?wait=60', $_) } 1 .. 10;
$begin = time();

ok(reload($t), 'reload');

is(join(' ', map { $_->read_response()->status() } @waiting),
   join(' ', (204) x 10), 'each one is answered');
cmp_ok(time() - $begin, '<', scale(30), 'within ws_bus_drain');
ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'the old workers are gone');

like($t->read_file('bus.log'), qr/^\/ws\/news 200 poll\|4\|0$/m,
     'variables');

$t->done_testing();


sub poll { return http_get(@_) }


# A poll that is known to wait.

sub waiting {
    my ($uri, $n) = @_;

    my $h = Test::WsBus::HTTP->new(port => port(8080));

    $h->write(Test::WsBus::HTTP::format_request('GET', $uri));
    waiters($n // 1);

    return $h;
}


sub waiters {
    my ($n) = @_;

    $t->wait_until(sub { status()->{connections} == $n });

    return status()->{connections};
}


sub seqs {
    my ($r) = @_;

    return 'none' if !$r || $r->status() != 200;
    return join(' ', map { $_->{seq} } @{$r->json()->{messages}});
}
