# Copyright (C) the ngx_ws_bus_module authors

# Server-sent events on a ws_bus location.

use warnings;
use strict;

use Test::More;

use Compress::Raw::Zlib;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;


my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$request_method $uri $status $ws_bus_protocol|'
                   '$ws_bus_channel|$ws_bus_messages_out|$ws_bus_bytes_out|'
                   '$ws_bus_close_code|$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 8m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 5;
        }

        location ~ ^/plain/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location /ping {
            ws_bus ping;
            ws_bus_ping 200ms;
        }

        location /off {
            ws_bus news;
            ws_bus_fallback off;
        }

        location /json {
            ws_bus;
            ws_bus_channels *;
        }

        location ~ ^/gzip/(?<chan>.*)$ {
            ws_bus $chan;
            gzip on;
            gzip_types text/event-stream;
            gzip_min_length 1;
        }

        location ~ ^/charset/(?<chan>.*)$ {
            ws_bus $chan;
            charset utf-8;
            charset_types text/event-stream;
        }

        location /slowly {
            ws_bus slowly;
            limit_rate 20k;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 100;
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


# the response

my ($e, $r) = events('/ws/news');

is($r->status(), 200, 'status');
is($r->header('Content-Type'), 'text/event-stream', 'content type');
is($r->header('Cache-Control'), 'no-store', 'not cached');
is($r->header('X-Accel-Buffering'), 'no', 'not buffered');
is($r->header('Ws-Bus-Seq'), 0, 'position in the header');
like($r->header('Ws-Bus-Epoch'), qr/^[0-9a-f]{16}$/, 'epoch in the header');
is($r->header('Ws-Bus-Recovered'), undef, 'nothing to be recovered');

my $epoch = $r->header('Ws-Bus-Epoch');

is($e->event(scale(0.5)), undef, 'no event at first');
is($e->last_id(), "$epoch:0", 'but a position');


# messages

is(publish('news', 'hello'), 201, 'publish');

my $event = $e->event();

is($event->{data}, 'hello', 'text');
is($event->{type}, 'message', 'text, type');
is($event->{id}, "$epoch:1", 'text, id');

for my $case (
    [ "a\nb", "a\nb", 'LF' ],
    [ "a\r\nb\r", "a\nb\n", 'CR and CRLF become LF' ],
    [ "\n\n", "\n\n", 'nothing but lines' ],
    [ '', '', 'empty' ],
    [ ' x', ' x', 'a space in front' ],
    [ "event: x\n\ndata: y", "event: x\n\ndata: y", 'no injection' ],
    [ "\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac", 'UTF-8' ],
    [ "nul \0 nul", "nul \0 nul", 'a null character' ],
    [ 'x' x 60_000, 'x' x 60_000, 'long' ],
    [ "xy\n" x 20_000, "xy\n" x 20_000, 'many lines' ],
) {
    my ($text, $want, $name) = @$case;

    publish('news', $text);
    $event = $e->event();

    ok($event && $event->{data} eq $want && $event->{type} eq 'message',
       "text: $name");
}

publish('news', "\0\xff\n", 'application/octet-stream');
$event = $e->event();

is($event->{type}, 'binary', 'binary, type');
is($event->{data}, 'AP8K', 'binary, base64');
is($event->{id}, "$epoch:12", 'binary, id');

is(http_post('/pub0/news', 'not kept')->status(), 201, 'not kept');
$event = $e->event();

is($event->{data}, 'not kept', 'not kept, arrives');
is($event->{id}, "$epoch:12", 'not kept, has no id');

my $c = ws('/ws/news');
publish('news', 'both');

is_message($c, 'both', 'a WebSocket beside it');
is($e->event()->{data}, 'both', 'and the stream');

is(status()->{connections}, 2, 'connections');
is(status()->{subscriptions}, 2, 'subscriptions');


# it ends with the channel, in good order, and the connection can be used on

is(request('DELETE', '/pub/news')->status(), 204, 'DELETE');
ok($e->finished(), 'DELETE, the response ends');
is_closed($c, 4004, 'DELETE, so does the WebSocket');

$r = $e->request('GET', '/status');
is($r->status(), 200, 'another request on the connection');


# other versions of HTTP

($e, $r) = events('/plain/old', http => '1.0');

is($r->status(), 200, 'HTTP/1.0');
is($r->header('Transfer-Encoding'), undef, 'HTTP/1.0, not chunked');
is($r->header('Ws-Bus-Seq'), undef, 'no position without a history');
ok($e->comment(), 'but something comes at once');

http_post('/pub0/old', 'x');
$event = $e->event();

is($event->{data}, 'x', 'HTTP/1.0, an event');
is($event->{id}, '', 'no id');

request('DELETE', '/pub/old');
http_post('/pub/old', 'kept');
request('DELETE', '/pub/old');
ok($e->at_eof(), 'HTTP/1.0, ends with the connection');

$r = request('HEAD', '/ws/news', headers => [ Accept => 'text/event-stream' ]);

is($r->status(), 200, 'HEAD');
is($r->header('Content-Type'), 'text/event-stream', 'HEAD, content type');
is($r->body(), '', 'HEAD, no body');


# a body of the request is of no interest

$e = Test::WsBus::Events->new(port => port(8080));
$r = $e->open('/plain/body', body => 'x' x 100);

http_post('/pub0/body', 'x');
is($e->event()->{data}, 'x', 'a request with a body');

$e = Test::WsBus::Events->new(port => port(8080));
$e->write("GET /plain/body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
          . "Accept: text/event-stream\r\n\r\n01234");
is($e->read_response()->status(), 400, 'a body that is late');
$e->disconnect();


# who gets a stream

is(get('/off')->status(), 426, 'ws_bus_fallback off');
is(get('/off')->header('Upgrade'), 'websocket', 'and what is needed then');
is(get('/json')->status(), 426, 'no channel');
is(get('/ws/')->status(), 404, 'empty channel');
is(get('/ws/a%20b')->status(), 404, 'invalid channel');
is(get('/ws/a?last_seq=x')->status(), 400, 'invalid position');
is(get('/ws/a?last=-1')->status(), 400, 'invalid count');
is(http_get('/ws/a')->status(), 426, 'without Accept');
is(http_get('/ws/a', headers => [ Accept => '*/*' ])->status(), 426,
   'anything');
is(http_get('/ws/a', headers => [ Accept => 'text/event-stream;q=0' ])
   ->status(), 426, 'not wanted');
is(http_post('/ws/a', 'x', headers => [ Accept => 'text/event-stream' ])
   ->status(), 405, 'POST');

$c = ws('/ws/news', headers => [ Accept => 'text/event-stream' ]);
ok($c, 'a WebSocket stays one');
$c->disconnect();

for my $accept ('TEXT/EVENT-STREAM', 'text/html, text/event-stream;q=0.5',
    'text/event-stream; charset=utf-8')
{
    $e = Test::WsBus::Events->new(port => port(8080));
    $e->write("GET /plain/a HTTP/1.1\r\nHost: x\r\nAccept: $accept\r\n\r\n");
    is($e->read_response(undef, 1)->status(), 200, "Accept: $accept");
    $e->disconnect();
}


# heartbeats, when it is silent

($e) = events('/ping');

ok($e->comment(), 'open');
ok($e->comment(), 'a ping');
ok($e->comment(), 'another one');


# through filters

($e, $r) = events('/gzip/a', headers => [ 'Accept-Encoding' => 'gzip' ]);

is($r->header('Content-Encoding'), 'gzip', 'compressed');

my $z = Compress::Raw::Zlib::Inflate->new(-WindowBits => WANT_GZIP);
my $text = '';

for my $n (1 .. 50) {
    http_post('/pub0/a', "message $n " . 'x' x (97 * $n));
    inflate($e, $z, \$text, qr/data: message $n x*\n\n\z/);
}

is(join(' ', $text =~ /message (\d+)/g), join(' ', 1 .. 50),
   'compressed, each event at once');
$e->disconnect();

($e, $r) = events('/charset/a');
is($r->header('Content-Type'), 'text/event-stream; charset=utf-8', 'charset');
http_post('/pub0/a', "\xc3\xa9");
is($e->event()->{data}, "\xc3\xa9", 'charset, an event');
$e->disconnect();

($e) = events('/slowly');
http_post('/pub0/slowly', "$_ " . 'x' x 10_000) for 1 .. 4;
is(join(' ', map { $_->{data} =~ /^(\d+) x{10000}$/ } map { $e->event() }
        1 .. 4), '1 2 3 4', 'limit_rate');
$e->disconnect();


# a client that goes

($e) = events('/plain/going');
ok($e->comment(), 'there');
$e->disconnect();

ok($t->wait_until(sub { status()->{connections} == 0 }), 'and gone');
is(status()->{subscriptions}, 0, 'the subscription too');

# one that resets the connection while something is on its way

for (1 .. 20) {
    ($e) = events('/plain/going');
    $e->abort();
    http_post('/pub0/going', 'x' x 10_000);
}

ok($t->wait_until(sub { status()->{connections} == 0 }), 'reset');


my $log = $t->read_file('bus.log');

like($log, qr!^GET /ws/news 200 sse\|news\|14\|\d+\|4004\|server$!m,
     'variables of a stream that was ended');
like($log, qr!^GET /plain/going 200 sse\|going\|0\|0\|1006\|client$!m,
     'and of one that was left');

$t->done_testing();


sub events {
    my ($uri, %opt) = @_;

    my $e = Test::WsBus::Events->new(port => port(8080));

    return ($e, $e->open($uri, %opt));
}


sub get {
    my ($uri) = @_;

    return http_get($uri, headers => [ Accept => 'text/event-stream' ]);
}


sub publish {
    my ($channel, $text, $type) = @_;

    return http_post("/pub/$channel", $text,
                     headers => [ 'Content-Type' => $type // 'text/plain' ])
           ->status();
}


sub status { return http_get('/status')->json()->{zones}{bus} }


sub inflate {
    my ($e, $z, $text, $re) = @_;

    my $deadline = time() + scale(5);

    while (${$text} !~ $re && time() < $deadline) {
        $e->_fill($deadline) or last;
        $e->_decode();

        $z->inflate(delete $e->{text}, my $out);
        $e->{text} = '';
        ${$text} .= $out;
    }
}
