# Copyright (C) the ngx_ws_bus_module authors

# Event streams and long polling over HTTP/2, many on one connection.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::HTTP2;


my $t = Test::WsBus->new()->has(qw/ http_v2 /);

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$server_protocol $uri $status out:$ws_bus_messages_out '
                   'code:$ws_bus_close_code by:$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 32m;
    ws_bus_drain 1s;
    ws_bus_history 10000;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% http2;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location ~ ^/lean/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_lean on;
        }

        location ~ ^/close/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k;
        }

        location ~ ^/oldest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k oldest;
        }

        location ~ ^/dead/(?<chan>.*)$ {
            ws_bus $chan;
            send_timeout 1s;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location /off {
            ws_bus news;
            ws_bus_fallback off;
        }

        location /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my @accept = (accept => 'text/event-stream');


# many streams on one connection

my $h2 = connection();
my @streams = map { $h2->get("/ws/$_", @accept) } qw/ a a b /;
my $lean = $h2->get('/lean/a', @accept);

is($_->status(), 200, 'status') for @streams, $lean;
is($_->event(scale(0.1)), undef, 'no event at first') for @streams;
like($streams[0]->last_id(), qr/^[0-9a-f]{16}:0$/, 'a position');

http_post('/pub/a', 'one');
http_post('/pub/b', 'two');

is(join(' ', map { $_->events(1) } @streams, $lean),
   'message:one message:one message:two message:one', 'events');

is(status()->{connections}, 4, 'connections');

$streams[0]->cancel();

ok($t->wait_until(sub { status()->{connections} == 3 }), 'one is cancelled');

http_post('/pub/a', 'three');

is(($streams[1]->events(1))[0], 'message:three', 'the others go on');

is(request('DELETE', '/pub/a')->status(), 204, 'DELETE');
ok($streams[1]->finished(), 'ends the stream in good order');

my $poll = $h2->get('/ws/b?wait=10&last=1');

is($poll->status(), 200, 'a poll beside them');
like($poll->body(), qr/"messages":\[\{"seq":1,"text":"two"\}\]/, 'its answer');

$poll = $h2->get('/ws/b?wait=10');
http_post('/pub/b', '[4]');
like($poll->body(), qr/"messages":\[\{"seq":2,"data":\[4\]\}\]/,
     'a poll that waited');
is(($streams[2]->events(1))[0], 'message:[4]', 'and the stream');

is($h2->get('/ws/b?wait=0')->status(), 204, 'a poll with nothing to say');
is($h2->get('/off', @accept)->status(), 0, 'neither');

$poll = $h2->get('/ws/b?wait=60');
is($h2->get('/ws/b?wait=0')->status(), 204, 'the poll has come');
$poll->cancel();
ok($t->wait_until(sub { status()->{connections} == 1 }), 'and is cancelled');

$h2->disconnect();

ok($t->wait_until(sub { status()->{connections} == 0 }), 'all are gone');


# much at once

$h2 = connection();
@streams = map { $h2->get('/ws/much', @accept) } 1 .. 10;
$_->status() for @streams;

http_post('/pub/much', "$_ " . 'x' x 1000) for 1 .. 300;

my $wrong = 0;

for my $stream (@streams) {
    for my $n (1 .. 300) {
        my $e = $stream->event() or last;
        $wrong++ if $e->{data} ne "$n " . 'x' x 1000;
    }

    is($stream->seq(), 300, 'all of it');
}

is($wrong, 0, 'as it was published');
$h2->disconnect();


# slow readers

$h2 = connection(window => 1000, grants => 0);

my $slow = $h2->get('/oldest/slow', @accept);
$slow->status();

http_post('/pub/slow', "$_ " . 'x' x 1000) for 1 .. 200;

$slow->grant(1_000_000);

my $last = 0;
my ($gaps, $holes) = (0, 0);

$slow->until_event(sub {
    my ($from, $to) = $_[0]{data} =~ /^\{"from":(\d+),"to":(\d+)\}$/;

    $gaps++ if $from;
    $from //= $to = $slow->seq();

    $holes++ if $from != $last + 1;
    $last = $to;

    return $last == 200;
});

is($last, 200, 'oldest: the newest arrives');
cmp_ok($gaps, '>', 0, 'oldest: there is a gap');
is($holes, 0, 'oldest: every one is there or told');
$h2->disconnect();

$h2 = connection(window => 1000, grants => 0);
$slow = $h2->get('/close/slow', @accept);
$slow->status();

http_post('/pub/slow', "$_ " . 'x' x 1000) for 1 .. 200;

$slow->grant(1_000_000);
ok($slow->finished(), 'close: ends in good order');
is($t->wait_until(sub {
    $t->read_file('bus.log') =~ m!/close/slow .*(code:1013 by:server)! && $1
   }), 'code:1013 by:server', 'close: logged');
$h2->disconnect();

$h2 = connection(window => 1000, grants => 0);
$slow = $h2->get('/dead/slow', @accept);
$slow->status();

http_post('/pub/slow', "$_ " . 'x' x 1000) for 1 .. 5;

ok($t->wait_until(sub { status()->{connections} == 0 }, 10),
   'dead: not waited for');
$h2->disconnect();

# a stream that is cancelled while its bytes wait in the connection

for my $grants (0, 1) {
    $h2 = connection(window => 100_000, grants => $grants, rcvbuf => 4096);
    @streams = map { $h2->get('/ws/slow', @accept) } 1 .. 5;

    http_post('/pub/slow', "$_ " . 'x' x 10_000) for 1 .. 50;

    $_->cancel() for @streams[0 .. 2];
    http_post('/pub/slow', 'x' x 10_000);
    $h2->abort();

    ok($t->wait_until(sub { status()->{connections} == 0 }, 10),
       'cancelled and reset');
}


# a graceful shutdown

$h2 = connection();
@streams = map { $h2->get('/ws/end', @accept) } 1 .. 10;
$poll = $h2->get('/ws/end?wait=60');

$_->status() for @streams;
http_post('/pub/last', 'x');

my $begin = time();

$t->reload();

is(scalar(grep { $_->finished() } @streams), 10, 'each ends in good order');
is($poll->status(), 204, 'the poll is answered');
cmp_ok(time() - $begin, '<', scale(30), 'within ws_bus_drain');
ok($h2->went_away(), 'GOAWAY');
ok($h2->at_eof(), 'the connection ends');

is(() = $t->read_file('bus.log') =~ m!^HTTP/2.0 /ws/end 200 .*code:1001!mg,
   10, 'logged');

$t->done_testing();


sub connection {
    return Test::WsBus::HTTP2->new(port => port(8081), @_);
}


sub status { return http_get('/status')->json()->{zones}{bus} }
