# Copyright (C) the ngx_ws_bus_module authors

# The HTTP publisher: publishing, a channel's state, deletion.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
            ws_bus_history 100;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 100;
        }

        location ~ ^/live/(.*)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/few/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 3;
        }

        location ~ ^/aged/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 100 1s;
        }

        location ~ ^/small/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_message_max_size 100;
        }

        location ~ ^/core/(.*)$ {
            ws_bus_publisher $1;
            client_max_body_size 50;
        }

        location ~ ^/disk/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_message_max_size 500k;
            client_body_buffer_size 1k;
        }

        location ~ ^/file/(.*)$ {
            ws_bus_publisher $1;
            client_body_in_file_only clean;
        }

        location ~ ^/memory/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_message_max_size 500k;
            client_body_buffer_size 512k;
        }
    }
}

EOF

$t->run();


# the answer

my $r = http_post('/live/nobody', 'x');

is($r->status(), 201, 'published');
is($r->reason(), 'Created', 'reason phrase');
is($r->header('Content-Type'), 'application/json', 'content type');
is_deeply($r->json(), { channel => 'nobody', subscribers => 0 },
          'answer without history');
is($r->header('Content-Length'), length $r->body(), 'content length');
is($r->header('Idempotency-Replayed'), undef, 'not replayed');

is(http_get('/live/nobody')->status(), 404,
   'a message for nobody makes no channel');

my @ws = map { ws('/ws/news') } 1 .. 3;

$r = http_post('/live/news', 'hello');

is_deeply($r->json(), { channel => 'news', subscribers => 3 },
          'subscribers counted');
is_message($_, 'hello', 'delivered', type => 'text') for @ws;

$r = http_post('/pub/news', 'kept');
my $epoch = $r->json()->{epoch};

is_deeply($r->json(), { channel => 'news', subscribers => 3, seq => 1,
                        epoch => $epoch }, 'answer with history');
like($epoch, qr/^[0-9a-f]{16}$/, 'epoch');
like($r->body(), qr/"subscribers":3,"seq":1,/, 'numbers are numbers');

$r = http_post('/pub/news', 'kept');

is($r->json()->{seq}, 2, 'next seq');
is($r->json()->{epoch}, $epoch, 'same epoch');

for my $c (@ws) {
    is_message($c, 'kept', 'delivered') for 1 .. 2;
}

$r = request('PUT', '/pub/news', body => 'put');

is($r->status(), 201, 'PUT');
is($r->json()->{seq}, 3, 'PUT, seq');
is_message($ws[0], 'put', 'PUT, delivered', type => 'text');

$_->finish() for @ws;


# types

my $c = ws('/ws/types');

post_type(undef, 'text', 'no type');
post_type('text/plain', 'text', 'text/plain');
post_type('application/json', 'text', 'application/json');
post_type('application/octet-stream', 'binary', 'binary');
post_type('Application/OCTET-Stream', 'binary', 'case');
post_type('application/octet-stream;charset=x', 'binary', 'parameters');
post_type('application/octet-stream ; a=b', 'binary', 'space');
post_type('application/octet-streams', 'text', 'longer type');
post_type('application/octet', 'text', 'shorter type');

my $bytes = join '', map { chr } 0 .. 255;

is(post_bytes($bytes)->status(), 201, 'any bytes');
is_message($c, $bytes, 'any bytes, delivered', type => 'binary');

my $utf8 = "gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80";

is(http_post('/live/types', $utf8)->status(), 201, 'UTF-8');
is_message($c, $utf8, 'UTF-8, delivered', type => 'text');

for my $bad ("\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "x" x 50 . "\x80") {
    $r = http_post('/live/types', $bad);
    is($r->status(), 400, 'not UTF-8');
    is($r->body(), "text is not UTF-8\n", 'not UTF-8, text');
}

is(post_bytes("\xff")->status(), 201, 'binary need not be UTF-8');
is_message($c, "\xff", 'binary need not be UTF-8, delivered');


# empty

is(http_post('/live/types', '')->status(), 201, 'empty body');
is_message($c, '', 'empty body, delivered', type => 'text');

is(request('POST', '/live/types')->status(), 201, 'no body');
is_message($c, '', 'no body, delivered', type => 'text');

is(http_post('/live/types', '', chunked => 10)->status(), 201,
   'empty chunked body');
is_message($c, '', 'empty chunked body, delivered', type => 'text');


# bodies that come in pieces, and such that are put into a file

my $long = join '', map { sprintf("%09d,", $_) } 1 .. 40000;

for my $chunk (1, 7, 1000) {
    my $body = substr($long, 0, 1234);

    is(http_post('/live/types', $body, chunked => $chunk)->status(), 201,
       "chunks of $chunk");
    is_message($c, $body, "chunks of $chunk, delivered");
}

for my $where ('disk', 'memory') {

    for my $size (500, 1023, 1024, 1025, 1280, 1281, 5000, 70000, 400000) {
        my $body = substr($long, 0, $size);

        is(http_post("/$where/types", $body)->status(), 201,
           "$size bytes, $where");
        is_message($c, $body, "$size bytes, $where, delivered");
    }

    my $body = substr($long, 0, 100001);

    is(http_post("/$where/types", $body, chunked => 5000)->status(), 201,
       "chunked, $where");
    is_message($c, $body, "chunked, $where, delivered");
}

is(http_post('/file/types', 'short')->status(), 201, 'always a file');
is_message($c, 'short', 'always a file, delivered');

like($t->read_file('error.log'),
     qr/a client request body is buffered to a temporary file/,
     'bodies were in files');

my $h = client();

$h->write("POST /live/types HTTP/1.1\r\nHost: localhost\r\n"
          . "Content-Length: 9\r\n\r\nhel");
select(undef, undef, undef, 0.1);
$h->write("lo ");
select(undef, undef, undef, 0.1);
$h->write("you");

is($h->read_response()->status(), 201, 'body in pieces');
is_message($c, 'hello you', 'body in pieces, delivered');

$h->write("POST /live/types HTTP/1.1\r\nHost: localhost\r\n"
          . "Content-Length: 9\r\n\r\nhel");
$h->disconnect();

is(http_post('/live/types', 'next')->status(), 201, 'after an aborted body');
is_message($c, 'next', 'an aborted body is not published');


# one connection

$h = client();

is($h->request('POST', '/live/types', body => "m$_")->status(), 201,
   "keep-alive") for 1 .. 5;
is_message($c, "m$_", 'keep-alive, delivered') for 1 .. 5;

is($h->request('POST', '/live/types', body => "\xff")->status(), 400,
   'keep-alive, an error');
is($h->request('PATCH', '/live/types', body => 'x' x 1000)->status(), 405,
   'keep-alive, an error with a body');
is($h->request('GET', '/live/types', body => 'ignored')->status(), 200,
   'keep-alive, GET with a body');
is($h->request('POST', '/live/types', body => "after")->status(), 201,
   'keep-alive goes on');
is_message($c, 'after', 'keep-alive goes on, delivered');

$h->write(join '', map {
    Test::WsBus::HTTP::format_request('POST', '/live/types', body => "p$_")
} 1 .. 50);

is(join(' ', map { $h->read_response()->status() } 1 .. 50),
   join(' ', (201) x 50), 'pipelined');
is(join(' ', $c->recv_n(50)), join(' ', map { "p$_" } 1 .. 50),
   'pipelined, delivered in order');

$r = request('POST', '/live/types', body => 'old', http => '1.0');

is($r->status(), 201, 'HTTP/1.0');
is_message($c, 'old', 'HTTP/1.0, delivered');


# size

for my $chunked (0, 30) {
    my @opt = $chunked ? (chunked => $chunked) : ();
    my $how = $chunked ? ', chunked' : '';

    $r = http_post('/small/types', 'y' x 100, @opt);
    is($r->status(), 201, "as long as allowed$how");
    is_message($c, 'y' x 100, "as long as allowed$how, delivered");

    $r = http_post('/small/types', 'y' x 101, @opt);
    is($r->status(), 413, "too long$how");
    is($r->reason(), 'Request Entity Too Large', "too long$how, reason");
    is($r->body(), "message too big\n", "too long$how, text");

    is(http_post('/core/types', 'y' x 51, @opt)->status(), 413,
       "client_max_body_size$how");
}

$h = client();

$h->write("POST /small/types HTTP/1.1\r\nHost: localhost\r\n"
          . "Content-Length: 101\r\nExpect: 100-continue\r\n\r\n");

my $head = $h->read_bytes(12);

is($head, 'HTTP/1.1 413', 'too long, no 100 Continue');

$h->{rbuf} = $head . $h->{rbuf};

is($h->read_response()->header('Connection'), 'close',
   'too long, the connection ends');

$h = client();

$h->write("POST /small/types HTTP/1.1\r\nHost: localhost\r\n"
          . "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");

is($h->read_bytes(25), "HTTP/1.1 100 Continue\r\n\r\n", '100 Continue');

$h->write('taken');

is($h->read_response()->status(), 201, '100 Continue, published');
is_message($c, 'taken', '100 Continue, delivered');


# content encoding

for my $encoding ('gzip', 'br', 'identity, gzip', 'deflate') {
    $r = http_post('/live/types', 'x', headers => [
        'Content-Encoding' => $encoding
    ]);
    is($r->status(), 415, "encoding $encoding");
    is($r->reason(), 'Unsupported Media Type', "encoding $encoding, reason");
    is($r->header('Accept-Encoding'), 'identity',
       "encoding $encoding, what is accepted");
    is($r->body(), "compressed body\n", "encoding $encoding, text");
}

is(http_post('/live/types', 'x', headers => [
    'content-encoding' => 'identity', 'CONTENT-ENCODING' => 'gzip'
])->status(), 415, 'repeated encoding');

for my $encoding ('identity', 'Identity', '') {
    is(http_post('/live/types', 'plain', headers => [
        'Content-Encoding' => $encoding
    ])->status(), 201, "encoding \"$encoding\"");
    is_message($c, 'plain', "encoding \"$encoding\", delivered");
}


# names

is(http_post('/pub/a%22b%5Cc%2Fd', 'x')->json()->{channel}, 'a"b\c/d',
   'a name that JSON escapes');
is(http_get('/pub/a%22b%5Cc%2Fd')->json()->{channel}, 'a"b\c/d',
   'a name that JSON escapes, GET');
is(http_post('/pub/%C3%BC', 'x')->json()->{channel}, "\xfc", 'a UTF-8 name');
is(http_post('/pub/' . 'n' x 255, 'x')->json()->{channel}, 'n' x 255,
   'the longest name');
is(http_post('/pub/' . '%22' x 255, 'x')->json()->{channel}, '"' x 255,
   'the longest name, all of it escaped');

for my $name ('', 'a%20b', 'a*', '%3F', '{a}', '%01', '%7F', '%C2%85', '%FF',
              'n' x 256)
{
    for my $method ('POST', 'PUT', 'GET', 'HEAD', 'DELETE') {
        $r = request($method, "/pub/$name");
        is($r->status(), 400, "$method, invalid name \""
           . substr($name, 0, 10) . '"');
        is($r->body(), $method eq 'HEAD' ? '' : "invalid channel name\n",
           "$method, invalid name, text");
    }
}


# methods

for my $method ('PATCH', 'OPTIONS', 'PROPFIND') {
    $r = request($method, '/pub/news');
    is($r->status(), 405, $method);
    is($r->header('Allow'), 'GET, HEAD, POST, PUT, DELETE', "$method, Allow");
    is($r->body(), "method not allowed\n", "$method, text");
}


# state

$r = http_get('/pub/state');

is($r->status(), 404, 'no channel');
is($r->body(), "no such channel\n", 'no channel, text');
is($r->header('Cache-Control'), 'no-store', 'no channel, not to be cached');
is(request('HEAD', '/pub/state')->status(), 404, 'no channel, HEAD');

my $s = ws('/ws/state');

$r = http_get('/pub/state');
$epoch = $r->json()->{epoch};

is($r->status(), 200, 'GET');
is($r->header('Content-Type'), 'application/json', 'GET, content type');
is($r->header('Cache-Control'), 'no-store', 'GET, not to be cached');
is_deeply($r->json(), {
    channel => 'state', subscribers => 1, seq => 0, epoch => $epoch,
    messages => 0, oldest => undef, newest => undef
}, 'nothing published');
like($epoch, qr/^[0-9a-f]{16}$/, 'epoch of a channel without messages');

http_post('/live/state', 'not kept');

is_deeply(http_get('/pub/state')->json(), {
    channel => 'state', subscribers => 1, seq => 0, epoch => $epoch,
    messages => 0, oldest => undef, newest => undef
}, 'nothing kept');

http_post('/pub/state', "s$_") for 1 .. 5;

is_deeply(http_get('/pub/state')->json(), {
    channel => 'state', subscribers => 1, seq => 5, epoch => $epoch,
    messages => 5, oldest => 1, newest => 5
}, 'five kept');

is_deeply(http_get('/few/state')->json(), {
    channel => 'state', subscribers => 1, seq => 5, epoch => $epoch,
    messages => 3, oldest => 3, newest => 5
}, 'a location with less history');

is_deeply(http_get('/live/state')->json(), {
    channel => 'state', subscribers => 1, seq => 5, epoch => $epoch,
    messages => 0, oldest => undef, newest => undef
}, 'a location without history');

$r = request('HEAD', '/pub/state');

is($r->status(), 200, 'HEAD');
is($r->header('Content-Length'), length http_get('/pub/state')->body(),
   'HEAD, content length');

$s->finish();

ok($t->wait_until(sub {
    http_get('/pub/state')->json()->{subscribers} == 0
}), 'subscriber left');
is(http_get('/pub/state')->json()->{messages}, 5, 'history stays');

http_post('/aged/age', 'old');
is(http_get('/aged/age')->json()->{messages}, 1, 'young enough');

ok($t->wait_until(sub {
    http_get('/aged/age')->json()->{messages} == 0
}), 'too old');

http_post('/aged/age', 'new');
my $state = http_get('/aged/age')->json();

is("$state->{messages} $state->{oldest} $state->{newest}", '1 2 2',
   'only the young one');
is(http_get('/pub/age')->json()->{messages}, 2,
   'the other one is in the log still');


# deletion

$r = request('DELETE', '/pub/gone');

is($r->status(), 404, 'DELETE, no channel');
is($r->body(), "no such channel\n", 'DELETE, no channel, text');

my @gone = map { ws('/ws/gone') } 1 .. 6;

$r = http_post('/pub/gone', 'one');
$epoch = $r->json()->{epoch};
http_post('/pub/gone', 'two');

$r = request('DELETE', '/live/gone');

is($r->status(), 204, 'DELETE');
is($r->body(), '', 'DELETE, no body');

for my $gone (@gone) {
    is_message($gone, 'one', 'what came before the deletion is delivered');
    is_message($gone, 'two', 'what came before the deletion is delivered');
    is_closed($gone, 4004, 'deleted', reason => qr/^channel deleted$/);
}

$state = http_get('/pub/gone')->json();

is($state->{messages}, 0, 'history forgotten');
is($state->{seq}, 0, 'seq starts again');
isnt($state->{epoch}, $epoch, 'new epoch');

my $again = ws('/ws/gone');
$r = http_post('/pub/gone', 'three');

is($r->json()->{seq}, 1, 'first seq of the new epoch');
is($r->json()->{epoch}, $state->{epoch}, 'published in the new epoch');
is_message($again, 'three', 'a new subscriber is served');
is(request('DELETE', '/pub/gone')->status(), 204, 'deleted again');
is_closed($again, 4004, 'deleted again');

$c->finish();


# the log tells why

my $log = $t->read_file('error.log');

for my $reason ('text is not UTF-8', 'message too big', 'compressed body',
                'invalid channel name', 'no such channel',
                'method not allowed')
{
    like($log, qr/\[info\] .* ws bus publisher: $reason,/, "logged: $reason");
}

unlike($log, qr/\[error\] .* ws bus /, 'no error of our own');

$t->done_testing();


sub client {
    return Test::WsBus::HTTP->new(port => port(8080));
}


sub post_type {
    my ($type, $expected, $name) = @_;

    my $r = http_post('/live/types', 'x', headers => [
        defined $type ? ('Content-Type' => $type) : ()
    ]);

    is($r->status(), 201, $name);
    is_message($c, 'x', "$name, delivered", type => $expected);
}


sub post_bytes {
    my ($body) = @_;

    return http_post('/live/types', $body, headers => [
        'Content-Type' => 'application/octet-stream'
    ]);
}
