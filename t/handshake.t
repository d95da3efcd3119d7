#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The opening handshake: what is accepted, what is refused and how.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location /echo {
            ws_bus $connection;
            ws_bus_publish on;
        }

        location /deflate {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_deflate on;
        }

        location /ws/ {
            ws_bus $uri;
        }

        location /arg {
            ws_bus $arg_channel;
        }

        location ~ ^/capture/(?<name>.*)$ {
            ws_bus $name;
        }
    }
}

EOF

$t->run();


# What is accepted.

sub accepted {
    my ($name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $c = eval { ws(delete $opt{path} // '/echo', %opt) };

    return ok(0, $name) || diag($@) unless $c;

    $c->text('hello');
    is_message($c, 'hello', $name);

    return $c;
}


my $r = ws_response('/echo', key => 'dGhlIHNhbXBsZSBub25jZQ==');

is($r->status(), 101, 'switching protocols');
is($r->version(), '1.1', 'HTTP/1.1');
is($r->header('Sec-WebSocket-Accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
    'accept key of RFC 6455, 1.3');
is(lc $r->header('Upgrade'), 'websocket', 'upgrade header');
is(lc $r->header('Connection'), 'upgrade', 'connection header');
is(scalar $r->headers('Sec-WebSocket-Accept'), 1, 'one accept header');
is($r->header('Sec-WebSocket-Protocol'), undef, 'no subprotocol');
is($r->header('Sec-WebSocket-Extensions'), undef, 'no extension');
is($r->header('Content-Length'), undef, 'no content length');
is($r->header('Transfer-Encoding'), undef, 'no transfer encoding');

for (1 .. 20) {
    my $c = ws('/echo');
    $c->accepted() or die "wrong accept key";
}

pass('accept keys of random keys');

accepted('usual request');
accepted('case of the upgrade token', upgrade => 'WebSocket');
accepted('case of the connection token', connection => 'uPGRADE');
accepted('several connection tokens', connection => 'keep-alive, Upgrade');
accepted('connection tokens without spaces',
    connection => 'keep-alive,Upgrade');
accepted('empty list elements', connection => ', ,Upgrade ,');
accepted('two connection headers', connection => undef,
    headers => [ Connection => 'keep-alive', Connection => 'Upgrade' ]);
accepted('several upgrade tokens', upgrade => 'h2c/1.0, websocket');
accepted('case of header names', upgrade => undef, connection => undef,
    key => undef, version => undef, request => join("\r\n",
        'GET /echo HTTP/1.1', 'HOST: localhost', 'uPGRADE: websocket',
        'CONNECTION: upgrade', 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
        'SEC-WEBSOCKET-VERSION: 13', '', ''));
accepted('spaces around values', request => join("\r\n",
        'GET /echo HTTP/1.1', 'Host: localhost', 'Upgrade:   websocket  ',
        'Connection:upgrade',
        'Sec-WebSocket-Key:   AAAAAAAAAAAAAAAAAAAAAA==  ',
        'Sec-WebSocket-Version:  13 ', '', ''));
accepted('an origin', headers => [ Origin => 'http://localhost' ]);
accepted('query string', path => '/echo?a=b');
accepted('over TLS', port => port(8443), ssl => 1);

accepted('split in bytes', split => 1);
accepted('split in bytes over TLS', split => 1, port => port(8443), ssl => 1);
accepted('split inside a header', split => [ 50 ], pause => 0.05);


# Extensions are answered only where they are on, and only if offered.

for my $case (
    [ 0, '/echo', 'permessage-deflate' ],
    [ 0, '/deflate', undef ],
    [ 0, '/deflate', 'x-webkit-deflate-frame' ],
    [ 1, '/deflate', 'permessage-deflate' ],
    [ 1, '/deflate', 'foo, permessage-deflate' ])
{
    my ($want, $path, $offer) = @$case;

    $r = ws_response($path, deflate => $offer);

    is($r->status(), 101, "$path " . ($offer // 'nothing'));
    is(scalar $r->headers('Sec-WebSocket-Extensions'), $want,
        "$path " . ($offer // 'nothing') . ': extensions answered');
}


# Frames right behind the handshake.

my @frames = map { frame(TEXT, "frame $_") } 1 .. 3;

for my $tls (0, 1) {
    my $over = $tls ? ' over TLS' : '';
    my %opt = $tls ? (port => port(8443), ssl => 1) : ();

    my $c = ws('/echo', %opt, data => join('', @frames));
    is_deeply([ $c->recv_n(3) ], [ map { "frame $_" } 1 .. 3 ],
        "frames in the packet of the handshake$over");

    $c = ws('/echo', %opt, data => $frames[0] . substr($frames[1], 0, 5));
    $c->write(substr($frames[1], 5));
    is_deeply([ $c->recv_n(2) ], [ 'frame 1', 'frame 2' ],
        "half a frame in the packet of the handshake$over");

    my $long = 'x' x 10000;
    $c = ws('/echo', %opt, data => frame(TEXT, $long) . $frames[0]);
    is_message($c, $long, "a long frame behind the handshake$over");
    is_message($c, 'frame 1', "another behind that$over");

    $c = ws('/echo', %opt, data => join('', @frames), split => 1);
    is_deeply([ $c->recv_n(3) ], [ map { "frame $_" } 1 .. 3 ],
        "handshake and frames split in bytes$over");

    $c = ws('/echo', %opt, data => frame(CLOSE, close_payload(1000)));
    is_closed($c, 1000, "Close in the packet of the handshake$over");

    $c = ws('/echo', %opt, data => frame(3, ''));
    is_closed($c, 1002, "a violation in the packet of the handshake$over");
}


# What is refused.

sub refused {
    my ($status, $header, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $r = ws_response(delete $opt{path} // '/echo', %opt)
        // Test::WsBus::Response->new("HTTP/1.1 000 no answer\r\n\r\n");

    is($r->status(), $status, "$name: status");
    like($r->body(), qr/\Q$header\E/i, "$name: the body names $header")
        if defined $header;

    return $r;
}


my $key = 'AAAAAAAAAAAAAAAAAAAAAA==';

refused(400, 'Sec-WebSocket-Key', 'no key', key => undef);
refused(400, 'Sec-WebSocket-Key', 'two keys',
    headers => [ 'Sec-WebSocket-Key' => $key ]);
refused(400, 'Sec-WebSocket-Key', 'the same key twice', key => $key,
    headers => [ 'Sec-WebSocket-Key' => $key ]);
refused(400, 'Sec-WebSocket-Key', 'empty key', key => '');
refused(400, 'Sec-WebSocket-Key', 'key of 15 bytes',
    key => 'AAAAAAAAAAAAAAAAAAAA');
refused(400, 'Sec-WebSocket-Key', 'key of 17 bytes',
    key => 'AAAAAAAAAAAAAAAAAAAAAAA=');
refused(400, 'Sec-WebSocket-Key', 'key without padding',
    key => 'AAAAAAAAAAAAAAAAAAAAAA');
refused(400, 'Sec-WebSocket-Key', 'key of 32 bytes', key => 'A' x 43 . '=');
refused(400, 'Sec-WebSocket-Key', 'key not base64',
    key => 'AAAAAAAAAAAAAAAAAAAAA!==');
refused(400, 'Sec-WebSocket-Key', 'key with a space',
    key => 'AAAAAAAAAA AAAAAAAAAAA==');
refused(400, 'Sec-WebSocket-Key', 'key of base64url',
    key => 'AAAAAAAAAAAAAAAAAAAA-_==');

refused(400, 'Sec-WebSocket-Version', 'no version', version => undef);
refused(400, 'Sec-WebSocket-Version', 'two versions',
    headers => [ 'Sec-WebSocket-Version' => 13 ]);
refused(400, 'Sec-WebSocket-Version', 'another version, too',
    headers => [ 'Sec-WebSocket-Version' => 8 ]);

for my $version (0, 8, 12, 14, 113, 130, 'foo') {
    $r = refused(426, 'Sec-WebSocket-Version', "version $version",
        version => $version);
    is($r->header('Sec-WebSocket-Version'), 13, "version $version: asks 13");
}

refused(400, 'Connection', 'no connection header', connection => undef);
refused(400, 'Connection', 'other connection token',
    connection => 'keep-alive');
refused(400, 'Connection', 'token that only starts so',
    connection => 'Upgraded');
refused(400, 'Connection', 'token that only ends so',
    connection => 'foo-upgrade');
refused(400, 'HTTP', 'HTTP/1.0', http => '1.0');

$r = refused(426, 'Upgrade', 'no upgrade header', upgrade => undef);
is(lc($r->header('Upgrade') // ''), 'websocket', 'no upgrade header: asks');
$r = refused(426, 'Upgrade', 'another protocol', upgrade => 'h2c');
is(lc($r->header('Upgrade') // ''), 'websocket', 'another protocol: asks');
refused(426, 'Upgrade', 'token that only starts so', upgrade => 'websocket2');
refused(426, 'Upgrade', 'a plain request', upgrade => undef, version => undef,
    key => undef, connection => 'close');

for my $method (qw/ POST PUT DELETE OPTIONS HEAD /) {
    $r = refused(405, undef, "method $method", method => $method,
        $method =~ /^P/ ? (headers => [ 'Content-Length' => 0 ]) : ());
    like($r->header('Allow') // '', qr/\bGET\b/, "method $method: allowed");
}

refused(400, 'Sec-WebSocket-Protocol', 'a subprotocol that is not served',
    protocols => [ 'chat' ]);
refused(400, 'Sec-WebSocket-Protocol', 'subprotocols that are not served',
    protocols => [ qw/ chat superchat / ]);

refused(404, undef, 'no channel', path => '/arg');
refused(404, undef, 'empty channel', path => '/arg?channel=');
refused(404, undef, 'empty capture', path => '/capture/');

for my $bad ('a%20b', 'a%01b', 'a%7fb', 'a%7Bb', 'a%7Db', 'a*b', 'a%3Fb',
             'a%C2%85b', 'a%80b', 'a%C0%AFb', 'a%ED%A0%80b', 'a%FFb',
             'a%E2%82', 'a' x 256)
{
    my $name = length $bad > 100 ? length($bad) . ' bytes' : $bad;

    refused(404, undef, "channel $name", path => "/capture/$bad");
}

for my $good ('a', 'a' x 255, 'news/2024', 'a%23b', 'a%C3%A9', 'a%E2%82%AC',
              'a%F0%9F%98%80', 'a.b:c-d_e~f', '%22quoted%22', 'a%25b',
              'a%5Cb')
{
    my $name = length $good > 100 ? length($good) . ' bytes' : $good;

    $r = ws_response("/capture/$good");
    is($r->status(), 101, "channel $name");
}

refused(400, 'Sec-WebSocket-Key', 'refused over TLS', key => undef,
    port => port(8443), ssl => 1);


# A refused handshake leaves the connection to HTTP.

my $c = Test::WsBus::Client->new(port => port(8080));

$r = $c->handshake('/echo', key => undef,
    connection => 'keep-alive, Upgrade');
is($r->status(), 400, 'refused');

if (lc($r->header('Connection') // '') eq 'close') {
    ok($c->at_eof(), 'and closed as announced');

} else {
    is($c->handshake('/echo')->status(), 101, 'and tried again');
}


$t->done_testing();
