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
use WsBusTestStreams;


my $t = Test::WsBus->new()->has(qw/ http_v2 /);

write_stream_confs($t);

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    include streams.conf;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% http2;

        include locations.conf;
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
is($h2->get('/off', @accept)->status(), 426, 'neither');

is($h2->get('/ws/b?wait=0', origin => 'http://localhost')->status(), 204,
   'the origin of the authority');
is($h2->get('/ws/b?wait=0', origin => $_)->status(), 403, "not $_")
    for qw{ http://evil.example https://localhost http://localhost:81 null };

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

publish('much', 300, 1000);
read_much(300, 1000, @streams);
$h2->disconnect();


# slow readers

$h2 = connection(window => 1000, grants => 0);

my $slow = $h2->get('/oldest/slow', @accept);
$slow->status();

publish('slow', 200, 1000);

$slow->grant(1_000_000);

read_gaps(200, $slow);
$h2->disconnect();

$h2 = connection(window => 1000, grants => 0);
$slow = $h2->get('/close/slow', @accept);
$slow->status();

publish('slow', 200, 1000);

$slow->grant(1_000_000);
ok($slow->finished(), 'close: ends in good order');
is($t->wait_until(sub {
    $t->read_file('bus.log') =~ m!/close/slow .*(code:1013 by:server)! && $1
   }), 'code:1013 by:server', 'close: logged');
$h2->disconnect();

$h2 = connection(window => 1000, grants => 0);
$slow = $h2->get('/dead/slow', @accept);
$slow->status();

publish('slow', 5, 1000);

ok($t->wait_until(sub { status()->{connections} == 0 }, 10),
   'dead: not waited for');
$h2->disconnect();

# a stream that is cancelled while its bytes wait in the connection

for my $grants (0, 1) {
    $h2 = connection(window => 100_000, grants => $grants, rcvbuf => 4096);
    @streams = map { $h2->get('/ws/slow', @accept) } 1 .. 5;

    publish('slow', 50, 10_000);

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
