#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# permessage-deflate (RFC 7692) on the wire.

use warnings;
use strict;

use Compress::Raw::Zlib;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use Test::WsBus::Corpus;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 96m;
    ws_bus_deflate on;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location /echo {
            ws_bus $connection;
            ws_bus_publish on;
        }

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /large {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_message_max_size 16m;
        }

        location /small {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_message_max_size 1000;
        }

        location /min {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_deflate on level=9 min_length=100;
        }

        location /off {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_deflate off;
        }

        location ~ ^/pub(?<channel>/.*)$ {
            ws_bus_publisher $channel;
        }
    }
}

EOF

$t->run();

my $pmd = 'permessage-deflate';
my $text = 'compress me ' x 50;


# Negotiation.  The offer, and the parameters that have to be in the answer;
# undef where there has to be none.

my @offers = (
    [ $pmd, {} ],
    [ "$pmd; client_max_window_bits", {} ],
    [ "$pmd;client_max_window_bits", {} ],
    [ "  $pmd  ;  client_max_window_bits  ", {} ],
    [ "$pmd; client_no_context_takeover",
        { client_no_context_takeover => 1 } ],
    [ "$pmd; server_no_context_takeover; client_no_context_takeover",
        { server_no_context_takeover => 1 } ],
    [ "$pmd; client_max_window_bits=15", {} ],
    [ "$pmd; client_max_window_bits=9", {} ],
    (map { [ "$pmd; server_max_window_bits=$_",
             { server_max_window_bits => $_ } ] } 9 .. 15),
    [ "$pmd; server_max_window_bits=\"10\"",
        { server_max_window_bits => 10 } ],
    [ "$pmd; server_no_context_takeover; client_no_context_takeover"
        . '; server_max_window_bits=12; client_max_window_bits=11',
        { server_max_window_bits => 12 } ],

    # not possible with zlib
    [ "$pmd; server_max_window_bits=8", undef ],
    [ "$pmd; client_max_window_bits=8", undef ],

    # not valid
    [ "$pmd; server_max_window_bits", undef ],
    [ "$pmd; server_max_window_bits=7", undef ],
    [ "$pmd; server_max_window_bits=16", undef ],
    [ "$pmd; server_max_window_bits=0", undef ],
    [ "$pmd; server_max_window_bits=010", undef ],
    [ "$pmd; server_max_window_bits=1e1", undef ],
    [ "$pmd; server_max_window_bits=4294967306", undef ],
    [ "$pmd; client_max_window_bits=7", undef ],
    [ "$pmd; client_max_window_bits=16", undef ],
    [ "$pmd; server_no_context_takeover=1", undef ],
    [ "$pmd; client_no_context_takeover=1", undef ],
    [ "$pmd; server_no_context_takeover; server_no_context_takeover", undef ],
    [ "$pmd; server_max_window_bits=10; server_max_window_bits=10", undef ],
    [ "$pmd; client_max_window_bits; client_max_window_bits=10", undef ],
    [ "$pmd; unknown", undef ],
    [ "$pmd; unknown=1", undef ],

    # the first good one of several
    [ "unknown, $pmd", {} ],
    [ "unknown; a=b; c=\"d\", $pmd", {} ],
    [ "$pmd; server_max_window_bits=8, $pmd; server_max_window_bits=12",
        { server_max_window_bits => 12 } ],
    [ "$pmd; unknown, $pmd; server_max_window_bits=13, $pmd",
        { server_max_window_bits => 13 } ],
    [ "$pmd; unknown, unknown; $pmd", undef ],

    # others
    [ 'unknown', undef ],
    [ "x-$pmd", undef ],
    [ "$pmd-x", undef ],
);

for my $case (@offers) {
    my ($offer, $want) = @$case;

    my $c = ws('/echo', deflate => $offer);
    my $got = $c->deflate_params();

    if (!$want) {
        is($got, undef, "declined: $offer");
        next;
    }

    ok($got, "accepted: $offer") or next;

    is($got->{$_}, $want->{$_}, "$_ is $want->{$_}") for sort keys %$want;
    is($got->{server_no_context_takeover}, 1, "no server context: $offer");

    # a window may only be named to a client that named it

    ok($offer =~ /server_max/ || !$got->{server_max_window_bits},
        "server window: $offer");
    ok($offer =~ /client_max/ || !$got->{client_max_window_bits},
        "client window: $offer");

    if ($offer =~ /client_max_window_bits=(\d+)/) {
        cmp_ok($got->{client_max_window_bits} // $1, '<=', $1,
            "client window no larger: $offer");
    }

    # the client inflates with the window that was agreed

    for my $data ($text, corpus('json') =~ /^(.{60000})/s) {
        $c->text($data);
        is_message($c, $data, "echo: $offer");
    }
}

my $c = ws('/echo', headers => [
    'Sec-WebSocket-Extensions' => "$pmd; unknown",
    'Sec-WebSocket-Extensions' => "$pmd; server_max_window_bits=11" ]);
is(($c->deflate_params() // {})->{server_max_window_bits}, 11,
    'offers in two headers');

is(ws('/off', deflate => $pmd)->deflate_params(), undef, 'switched off');

for my $bad (';', '=', "$pmd;", "$pmd; =1", "$pmd; a b", "$pmd; a=\"b",
             'two words', "$pmd; a=\"b, c\"", "$pmd; server_max_window_bits=")
{
    my $r = ws_response('/echo', deflate => $bad);

    is($r->status(), 400, "malformed: $bad");
    like($r->body(), qr/Sec-WebSocket-Extensions/,
        "malformed: $bad: named in the body");
}


# What the server sends.

$c = ws('/echo', deflate => $pmd);

my @wire;

for my $n (1 .. 3) {
    $c->text($text);

    my $f = $c->read_frame();

    is($f->{opcode}, TEXT, 'a text frame');
    is($f->{rsv}, 4, 'compressed');
    ok($f->{fin}, 'in one frame');
    cmp_ok(length $f->{payload}, '<', length($text) / 4, 'and smaller');
    isnt(substr($f->{payload}, -4), "\x00\x00\xff\xff",
        'the tail of the flush is cut off');

    # with an inflater of its own

    my $fresh = Test::WsBus::Client->can('inflate');
    is($fresh->({ deflate => {} }, $f->{payload}), $text,
        'a message stands for itself');

    push @wire, $f->{payload};
}

is($wire[1], $wire[0], 'the same message, the same bytes');
is($wire[2], $wire[0], 'again');

$c->ping($text x 0 . 'ping ping ping ping');
my $f = $c->read_frame();
is($f->{opcode}, PONG, 'a pong');
is($f->{rsv}, 0, 'is never compressed');

$c->close(1000, 'reason reason reason');
$f = $c->read_frame();
is($f->{opcode}, CLOSE, 'a Close');
is($f->{rsv}, 0, 'is never compressed, either');


# What a client may send.

$c = ws('/echo', deflate => $pmd);

for my $compress (1, 0, 0, 1, 1, 0) {
    $c->text($text, compress => $compress);
    is_message($c, $text, $compress ? 'compressed' : 'not compressed',
        type => 'text');
    $c->binary("\xff" . $text, compress => $compress, fragment => 7);
    is_message($c, "\xff" . $text, 'the same in fragments',
        type => 'binary');
}

my @fragments = map { $_ . frame(PING, 'between') }
    Test::WsBus::Client::fragments(TEXT, $c->deflate($text), 5, rsv1 => 1);

$c->write_split(join('', @fragments), 1);
is_message($c, $text, 'compressed fragments with pings between, byte by byte');
is($c->{pongs}[-1], 'between', 'answered');

$c->text('', compress => 1);
is_message($c, '', 'an empty message, compressed');
$c->text('', compress => 0);
is_message($c, '', 'an empty message, not compressed');
$c->write(frame(TEXT, '', rsv1 => 1));
is_message($c, '', 'a compressed message of no bytes at all');
$c->write(frame(TEXT, '', rsv1 => 1, fin => 0) . frame(CONT, '', fin => 0)
    . frame(CONT, $c->deflate('late')));
is_message($c, 'late', 'empty fragments before compressed data');

for my $level (0 .. 9) {
    my $other = ws('/echo', deflate => $pmd, level => $level);
    $other->text($text);
    is_message($other, $text, "compression level $level");
}

# RFC 7692, 7.2.3

for my $case (
    [ '7.2.3.1', "\xf2\x48\xcd\xc9\xc9\x07\x00", 'Hello' ],
    [ '7.2.3.3', "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 'Hello' ],
    [ '7.2.3.4', "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 'Hello' ],
    [ '7.2.3.5',
        "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 'Hello' ],
    [ '7.2.3.6', "\x00", '' ])
{
    my ($section, $bytes, $data) = @$case;

    $c->write(frame(TEXT, $bytes, rsv1 => 1));
    is_message($c, $data, "example of RFC 7692, $section");

    $c->write(join('', Test::WsBus::Client::fragments(TEXT, $bytes, 1,
        rsv1 => 1)));
    is_message($c, $data, "example of RFC 7692, $section, in fragments");
}

# the client's window

for my $bits (9 .. 15) {
    my $other = ws('/echo', deflate => "$pmd; client_max_window_bits=$bits");

    $other->deflate_params()->{client_max_window_bits} //= $bits;
    $other->text($text x 90);
    is_message($other, $text x 90, "a client's window of $bits bits");
}


# What it may not.

# "context" is a message that refers to the one before

my ($context) = Compress::Raw::Zlib::Deflate->new(
    -WindowBits => -15, -AppendOutput => 1);
my @parts;

for (1 .. 2) {
    my $out = '';
    $context->deflate($text, $out);
    $context->flush($out, Z_SYNC_FLUSH);
    push @parts, substr($out, 0, -4);
}

my $whole = Test::WsBus::Client::deflate({ level => 6 }, $text);
my $invalid = Test::WsBus::Client::deflate({ level => 6 }, "$text\xff");
my $split = frame(TEXT, substr($whole, 0, 9), rsv1 => 1, fin => 0);

for my $case (
    [ 'RSV 2', 1002, frame(TEXT, $whole, rsv => 6) ],
    [ 'RSV 3', 1002, frame(TEXT, $whole, rsv => 5) ],
    [ 'RSV 2 alone', 1002, frame(TEXT, $whole, rsv => 2) ],
    [ 'RSV 1 on a ping', 1002, frame(PING, '', rsv1 => 1) ],
    [ 'RSV 1 on a pong', 1002, frame(PONG, '', rsv1 => 1) ],
    [ 'RSV 1 on a Close', 1002,
        frame(CLOSE, close_payload(1000), rsv1 => 1) ],
    [ 'RSV 1 on a continuation', 1002,
        $split . frame(CONT, substr($whole, 9), rsv1 => 1) ],
    [ 'RSV 1 first on a continuation', 1002,
        frame(TEXT, 'plain', fin => 0) . frame(CONT, $whole, rsv1 => 1) ],
    [ 'not deflate data', 1007, frame(TEXT, "\xff" x 20, rsv1 => 1) ],
    [ 'reserved block type', 1007, frame(TEXT, "\x06", rsv1 => 1) ],
    [ 'stored block with a wrong length', 1007,
        frame(TEXT, "\x00\x05\x00\xfa\xfeHello\x00", rsv1 => 1) ],
    [ 'data cut short', 1007,
        frame(TEXT, substr($whole, 0, length($whole) - 4), rsv1 => 1) ],
    [ 'stored block cut short', 1007,
        frame(TEXT, "\x00\x09\x00\xf6\xffHello", rsv1 => 1) ],
    [ 'context of the message before', 1007,
        frame(TEXT, $parts[0], rsv1 => 1)
        . frame(TEXT, $parts[1], rsv1 => 1) ],
    [ 'not UTF-8 after inflating', 1007, frame(TEXT, $invalid, rsv1 => 1) ],
    [ 'not UTF-8, not compressed', 1007, frame(TEXT, "\xff") ])
{
    my ($name, $code, $bytes) = @$case;

    $c = ws('/echo', deflate => $pmd, auto_close => 0);
    $c->write($bytes);
    is_closed($c, $code, $name, reason => qr/\w/);
}

$c = ws('/echo', deflate => $pmd);
$c->binary("$text\xff");
is_message($c, "$text\xff", 'binary need not be UTF-8');

$c = ws('/echo');
$c->write(frame(TEXT, $whole, rsv1 => 1));
is_closed($c, 1002, 'compressed without having agreed on it');


# The limit is for what comes out.

sub limit {
    my ($path, $size, $code, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $data = 'a' x $size;
    my $client = ws($path, deflate => $pmd, auto_close => 0);

    $client->text($data, %opt);

    return $code ? is_closed($client, $code, $name, reason => qr/\w/)
                 : is_message($client, $data, $name);
}

limit('/small', 1000, 0, 'inflates to the greatest size');
limit('/small', 1001, 1009, 'inflates to one byte more');
limit('/small', 1000, 0, 'inflates to the greatest size, in fragments',
    fragment => 3);
limit('/small', 1001, 1009, 'inflates to one byte more, in fragments',
    fragment => 3);
limit('/small', 1001, 1009, 'one byte more, not compressed', compress => 0);
limit('/echo', 65536, 0, 'inflates to the greatest size by default');
limit('/echo', 65537, 1009, 'inflates to one byte more than that');
limit('/large', 16 << 20, 0, 'inflates to 16 megabytes');
limit('/large', (16 << 20) + 1, 1009, 'inflates to one byte more');

my $bomb = Test::WsBus::Client::deflate({ level => 9 }, "\0" x 50_000_000);

cmp_ok(length $bomb, '<', 65536, 'a bomb is small');

for my $size (0, 1000) {
    my $frames = join('', Test::WsBus::Client::fragments(BINARY, $bomb,
        $size || length $bomb, rsv1 => 1));

    for my $path ('/echo', '/large') {
        $c = ws($path, deflate => $pmd, auto_close => 0);
        $c->write($frames);
        is_closed($c, 1009, "50 megabytes in "
            . ($size ? 'fragments' : 'one frame') . " to $path");
    }
}


# Small messages are not worth it.

$c = ws('/min', deflate => $pmd);

for my $case ([ 0, 99 ], [ 1, 100 ], [ 1, 101 ], [ 0, 1 ], [ 0, 0 ]) {
    my ($compressed, $size) = @$case;

    $c->text('a' x $size);

    my $m = $c->message();

    is($m->{data}, 'a' x $size, "$size bytes");
    is($m->{compressed}, $compressed,
        "$size bytes: " . ($compressed ? 'compressed' : 'left alone'));
}


# One channel, several agreements.

my %clients = (
    none    => ws('/ws/mixed'),
    usual   => ws('/ws/mixed', deflate => $pmd),
    nine    => ws('/ws/mixed', deflate => "$pmd; server_max_window_bits=9"),
    twelve  => ws('/ws/mixed', deflate => "$pmd; server_max_window_bits=12"),
    another => ws('/ws/mixed', deflate => "$pmd; client_max_window_bits"),
    tls     => ws('/ws/mixed', deflate => $pmd, port => port(8443), ssl => 1),
);

# repeats at a distance that 9 bits do not reach

my $far = join('', map { chr(33 + ($_ * $_ >> 3) % 90) } 1 .. 2000) x 3;

for my $from (sort keys %clients) {
    $clients{$from}->text($far);

    for my $to (sort keys %clients) {
        my $m = $clients{$to}->message();

        ok($m && $m->{data} eq $far, "from $from to $to");
        is($m->{compressed}, $to eq 'none' ? 0 : 1, "$to: compression")
            if $m;
    }
}

is(http_post('/pub/ws/mixed', $far)->status(), 201, 'published over HTTP');

for my $to (sort keys %clients) {
    is_message($clients{$to}, $far, "from HTTP to $to", type => 'text');
}


# The window that was agreed is kept to.  zlib looks only at what is in its
# window, which what it has just put out is not: so it is given little room.

sub within {
    my ($payload, $bits) = @_;

    my ($z) = Compress::Raw::Zlib::Inflate->new(-WindowBits => -$bits,
        -Bufsize => 16, -LimitOutput => 1, -AppendOutput => 1);
    my $in = "$payload\x00\x00\xff\xff";
    my $out = '';
    my $rc;

    do {
        $rc = $z->inflate($in, $out);
    } while (length $in && ($rc == Z_OK || $rc == Z_BUF_ERROR));

    return $rc == Z_OK || $rc == Z_BUF_ERROR ? $out : "error $rc";
}

for my $bits (9 .. 15) {

    # half of it is a repetition, further back than the window reaches

    my $size = (1 << $bits) + 300;
    my $data = substr(corpus('bitmap'), 60, $size) x 2;

    if ($bits < 15) {
        my $wide = Test::WsBus::Client::deflate({ level => 9 }, $data);
        isnt(within($wide, $bits), $data, "$bits bits: a check that works");
    }

    $c = ws('/large', deflate => "$pmd; server_max_window_bits=$bits");
    $c->binary($data);

    $f = $c->read_frame();
    is($f->{rsv}, 4, "$bits bits: compressed");
    ok(within($f->{payload}, $bits) eq $data, "$bits bits: not exceeded");
}


# Data of several kinds.

for my $kind (qw/ prose bitmap document json html /) {
    my $data = substr(corpus($kind), 0, 300_000);

    $c = ws('/large', deflate => $pmd);
    $c->binary($data, fragment => 10_000);
    is_message($c, $data, "300,000 bytes: $kind", type => 'binary');
}


$t->done_testing();
