# Copyright (C) the ngx_ws_bus_module authors

# Event streams and long polling over HTTP/3.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::HTTP3;
use WsBusTestStreams;


my $t = Test::WsBus->new()->has(qw/ http_v3 bin\/curl /);

if (my $missing = Test::WsBus::HTTP3::missing()) {
    plan(skip_all => $missing);
}

write_stream_confs($t);

$t->write_cert('localhost')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ssl_certificate localhost.crt;
    ssl_certificate_key localhost.key;

    include streams.conf;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443_UDP%% quic;

        include locations.conf;
    }

    server {
        listen 127.0.0.1:%%PORT_8444_UDP%% quic;

        keepalive_timeout 6s;

        location / {
            ws_bus $uri;
            ws_bus_ping 200ms;
        }
    }
}

EOC

$t->run();


# the response, and what follows it

my @streams = map { stream($_) } qw{ /ws/a /ws/a /ws/b /lean/a };

is($_->status(), 200, 'status') for @streams;
is($streams[0]->header('Content-Type'), 'text/event-stream', 'its type');
is($_->event(scale(0.1)), undef, 'no event at first') for @streams;
like($streams[0]->last_id(), qr/^[0-9a-f]{16}:0$/, 'a position');

http_post('/pub/a', 'one');
http_post('/pub/b', 'two');

is(join(' ', map { $_->events(1) } @streams),
   'message:one message:one message:two message:one', 'events');

is(status()->{connections}, 4, 'connections');

$streams[0]->cancel();
http_post('/pub/a', 'three');

ok($t->wait_until(sub { status()->{connections} == 3 }), 'one is cancelled');

is(join(' ', $streams[1]->events(1)), 'message:three', 'the others go on');

is(request('DELETE', '/pub/a')->status(), 204, 'DELETE');
ok($streams[1]->finished(), 'ends the stream in good order');
ok($streams[3]->finished(), 'and that of a lean location');


# resumed

my $resumed = stream('/ws/b?last=1');

is(join(' ', $resumed->events(1)), 'message:two', 'the last one');

my $id = $resumed->last_id();

$resumed->cancel();
http_post('/pub/b', $_) for 3 .. 5;

$resumed = stream('/ws/b', headers => [ 'Last-Event-ID' => $id ]);

is(join(' ', $resumed->events(3)), 'message:3 message:4 message:5',
   'what it missed');


# heartbeats

my $ping = stream('/ping/a');

ok($ping->comment(), 'a comment');
ok($ping->comment(), 'and another one');
$ping->cancel();
ok($t->wait_until(sub { status()->{connections} == 2 }), 'and is cancelled');


# long polling

my $poll = get('/ws/b?wait=10&last=1');

is($poll->status(), 200, 'a poll');
like($poll->body(), qr/"messages":\[\{"seq":4,"data":5\}\]/, 'its answer');

$poll = get('/ws/b?wait=10');
ok($t->wait_until(sub { status()->{connections} == 3 }), 'a poll waits');
http_post('/pub/b', '[6]');
like($poll->body(), qr/"messages":\[\{"seq":5,"data":\[6\]\}\]/,
     'a poll that waited');

is(get('/ws/b?wait=0')->status(), 204, 'a poll with nothing to say');
is(get('/off')->status(), 426, 'neither');

my $authority = '127.0.0.1:' . port(8443);

is(get('/ws/b?wait=0', headers => [ Origin => "https://$authority" ])
   ->status(), 204, 'the origin of the authority');
is(get('/ws/b?wait=0', headers => [ Origin => $_ ])->status(), 403, "not $_")
    for 'https://evil.example', 'https://127.0.0.1', "http://$authority",
        'null';

# curl makes the authority of a Host header

is(get('/ws/b?wait=0', headers => [ Host => 'bus.example',
                                    Origin => 'https://BUS.example' ])
   ->status(), 204, 'another authority');
is(get('/ws/b?wait=0', headers => [ Host => 'bus.example',
                                    Origin => "https://$authority" ])
   ->status(), 403, 'is another origin');

$poll = get('/ws/b?wait=60', arguments => [ '--max-time', scale(2) ]);
ok($t->wait_until(sub { status()->{connections} == 3 }), 'the poll has come');
is($poll->code(), 28, 'is cancelled');
ok($t->wait_until(sub { status()->{connections} == 2 }), 'and is gone');

$_->cancel() for $streams[2], $resumed;
http_post('/pub/b', 'x');
ok($t->wait_until(sub { status()->{connections} == 0 }), 'all are gone');


# a handshake for a WebSocket has no form in HTTP/3 that nginx knows

is(get('/ws/a', headers => [ 'Sec-WebSocket-Version' => 13,
                             'Sec-WebSocket-Key' => 'A' x 22 . '==' ])
   ->status(), 426, 'no WebSocket');


# much at once

@streams = map { stream('/ws/much') } 1 .. 5;
$_->status() for @streams;

publish('much', 300, 1000);
read_much(300, 1000, @streams);
$_->cancel() for @streams;
http_post('/pub/much', 'x');


# slow readers

my $slow = stream('/oldest/slow');

$slow->status();
$slow->stop();

publish('slow', 200, 10_000);

$slow->stop('CONT');

read_gaps(200, $slow);
$slow->cancel();
http_post('/pub/slow', 'x');

$slow = stream('/close/slow');

$slow->status();
$slow->stop();

publish('slow', 200, 10_000);

$slow->stop('CONT');
ok($slow->finished(), 'close: ends in good order');
is($t->wait_until(sub {
    $t->read_file('bus.log') =~ m!/close/slow .*(code:1013 by:server)! && $1
   }), 'code:1013 by:server', 'close: logged');

$slow = stream('/dead/slow');
$slow->status();
$slow->stop();

publish('slow', 100, 10_000);

ok($t->wait_until(sub { status()->{connections} == 0 }, 10),
   'dead: not waited for');
$slow->cancel('KILL');


# a client that is not there any more, while there are heartbeats to send

$ping = stream('/gone', port => port(8444));
ok($ping->comment(), 'a comment');
$ping->cancel('KILL');
ok($t->wait_until(sub { status()->{connections} == 0 }, 15),
   'ends by the timeout of QUIC');


# a killed worker

my $stream = stream('/ws/killed');

$stream->status();
$t->expect_log(qr/exited on signal 9/);

my ($worker) = $t->workers();

kill('KILL', $worker);
ok($t->wait_until(sub {
    my ($now) = $t->workers();
    return $now && $now != $worker && http_get('/status');
}), 'the worker is replaced');

my $next = stream('/ws/killed');

is($next->status(), 200, 'a stream at the next one');
http_post('/pub/killed', 'x');
is(join(' ', $next->events(1)), 'message:x', 'goes on');
$stream->cancel('KILL');
$next->cancel();
http_post('/pub/killed', 'x');
ok($t->wait_until(sub { status()->{connections} == 0 }), 'and ends');


# A graceful shutdown.  Of what the client sends then, much reaches the new
# worker, which nginx lets read from the same socket: the old one ends by the
# timeout of QUIC.

@streams = map { stream('/end', port => port(8444)) } 1 .. 5;
$poll = get('/end?wait=60', port => port(8444));

$_->status() for @streams;
ok($t->wait_until(sub { status()->{connections} == 6 }), 'the poll has come');

ok($t->reload(), 'reload');

is(scalar(grep { $_->finished() } @streams), 5, 'each ends in good order');
is($poll->status(), 204, 'the poll is answered');

is(() = $t->read_file('bus.log') =~ m!^HTTP/3.0 /end 200 .*code:1001!mg,
   5, 'logged');

$t->done_testing();


sub get {
    my ($uri, %opt) = @_;

    return Test::WsBus::HTTP3->get($uri, port => port(8443), %opt);
}


sub stream {
    my ($uri, %opt) = @_;

    return get($uri, %opt, headers => [ Accept => 'text/event-stream',
                                  @{$opt{headers} // []} ]);
}
