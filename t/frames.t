#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Frames, byte by byte: what the conformance suite leaves out.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 96m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location /echo {
            ws_bus $connection;
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

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /silent {
            ws_bus $connection;
        }

        location /var {
            ws_bus $connection;
            ws_bus_publish $arg_publish;
        }

        location ~ ^/pub(?<channel>/.*)$ {
            ws_bus_publisher $channel;
        }
    }
}

EOF

$t->run();

my %tls = (port => port(8443), ssl => 1);


sub text_frame { return frame(TEXT, @_) }
sub binary_frame { return frame(BINARY, @_) }


# The next n messages, as "type data"; pongs on the way are left in {pongs}.

sub messages {
    my ($c, $n) = @_;

    my @got;

    while ($n--) {
        my $m = $c->message() or last;
        push @got, "$m->{type} $m->{data}";
    }

    return @got;
}


# Every split of several frames.  All connections get their first part before
# any gets its second, so that the parts do not meet on the way.

sub split_everywhere {
    my ($name, $path, $bytes, $expect, @cuts) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @clients = map { ws($path) } @cuts;
    my @bad;

    for my $part (0 .. @{$cuts[0]}) {
        for my $i (0 .. $#cuts) {
            my @ends = (0, @{$cuts[$i]}, length $bytes);
            my ($from, $to) = @ends[$part, $part + 1];

            $clients[$i]->write(substr($bytes, $from, $to - $from));
        }

        sleep(0.05);
    }

    for my $i (0 .. $#cuts) {
        my @got = eval { messages($clients[$i], scalar @$expect) };
        push @bad, "@{$cuts[$i]}" if "@got" ne "@$expect";
        $clients[$i]->disconnect();
    }

    is(join(' | ', @bad), '', "$name: " . @cuts . ' ways');
}


my @several = (
    text_frame('first'),
    binary_frame('b' x 130),
    frame(PING, 'ping 1'),
    text_frame('frag', fin => 0),
    frame(PING, ''),
    frame(CONT, 'ment', fin => 0),
    frame(CONT, 'ed'),
    text_frame(''),
    frame(PONG, 'unasked'),
    text_frame("\xe2\x82\xac"),
    text_frame('last'),
);

my @their_messages = (
    'text first', 'binary ' . 'b' x 130, 'text fragmented', 'text ',
    "text \xe2\x82\xac", 'text last'
);

my $bytes = join('', @several);
my $last = length($bytes) - 1;

split_everywhere('two parts', '/echo', $bytes, \@their_messages,
    map { [ $_ ] } 1 .. $last);

srand(20240229);

split_everywhere('three parts', '/echo', $bytes, \@their_messages,
    map { [ sort { $a <=> $b } 1 + int rand $last, 1 + int rand $last ] }
    1 .. 200);

my $long = 'long ' x 14000;

for my $case ([ 7, 'short' ], [ 16, 'x' x 300 ], [ 64, $long ]) {
    my ($form, $data) = @$case;

    my $head = { 7 => 6, 16 => 8, 64 => 14 }->{$form};
    my @cuts;

    for my $i (1 .. $head) {
        push @cuts, map { [ $i, $_ ] } $i + 1 .. $head + 1;
    }

    split_everywhere("header with a $form-bit length", '/large',
        text_frame($data), [ "text $data" ], @cuts);
}

my $c = ws('/echo');
$c->write_split($bytes, 1, pause => 0.002);
is_deeply([ messages($c, 6) ], \@their_messages, 'byte by byte');
is($c->{pongs}[-1], '', 'the last ping was answered');

$c = ws('/echo', %tls);
$c->write_split($bytes, 1, pause => 0.002);
is_deeply([ messages($c, 6) ], \@their_messages, 'byte by byte over TLS');


# Many frames at once.

for my $over ('', ' over TLS') {
    my @numbers = map { "message $_" } 1 .. 2000;

    $c = ws('/echo', $over ? %tls : ());
    $c->write(join('', map { text_frame($_) } @numbers));
    is_deeply([ $c->recv_n(2000) ], \@numbers, "2000 messages at once$over");

    my $large = join('', map { chr($_ * 7 & 255) } 1 .. 3_000_000);

    $c = ws('/large', $over ? %tls : ());
    $c->binary($large);
    is_message($c, $large, "3 megabytes$over", type => 'binary');
    $c->text('after it');
    is_message($c, 'after it', "and what follows$over");
    is($c->finish(), 1000, "and a Close$over");
}


# What is carried stays what it is.

my ($one, $two) = (ws('/ws/types'), ws('/ws/types'));

for my $case ([ 'text', '' ], [ 'binary', '' ], [ 'text', 'plain' ],
              [ 'binary', 'plain' ], [ 'text', "a\x00b" ],
              [ 'binary', "\xff\x00\xfe" ],
              [ 'text', "\xf0\x9f\x98\x80 \xc3\xa9" ])
{
    my ($type, $data) = @$case;
    my $name = "$type of " . length($data) . ' bytes';

    $one->$type($data);
    is_message($one, $data, "$name, to the publisher", type => $type);
    is_message($two, $data, "$name, to another", type => $type);
}

for my $key ("\0\0\0\0", "\xff\xff\xff\xff", "\0\0\0\1") {
    $one->text('masked', mask => $key);
    is_message($two, 'masked', 'masking key ' . unpack('H*', $key));
}


# Violations: a Close that says why, then the end.

my $half = text_frame('half', fin => 0);
my $max = 1000;

my @violations = (
    (map { [ "RSV $_", 1002, text_frame('a', rsv => $_) ] } 1 .. 7),
    [ 'RSV 1 on a ping', 1002, frame(PING, '', rsv => 4) ],
    [ 'RSV 1 on a continuation', 1002,
        $half . frame(CONT, 'a', rsv => 4) ],
    (map { [ "opcode $_", 1002, frame($_, '') ] } 3 .. 7, 11 .. 15),
    [ 'opcode 3 inside a message', 1002, $half . frame(3, '') ],
    [ 'unmasked text', 1002, text_frame('a', mask => 0) ],
    [ 'unmasked empty text', 1002, text_frame('', mask => 0) ],
    [ 'unmasked ping', 1002, frame(PING, '', mask => 0) ],
    [ 'unmasked Close', 1002, frame(CLOSE, close_payload(1000), mask => 0) ],
    [ 'unmasked continuation', 1002, $half . frame(CONT, 'a', mask => 0) ],
    (map { [ "16 bits for length $_", 1002,
             text_frame('a' x $_, form => 16) ] } 0, 1, 125),
    (map { [ "64 bits for length $_", 1002,
             text_frame('a' x $_, form => 64) ] } 0, 1, 125, 126, 999),
    [ '64 bits for length 65535', 1002,
        text_frame('a' x 65535, form => 64) ],
    [ '16 bits for a ping', 1002, frame(PING, 'a' x 5, form => 16) ],
    [ '64 bits for a ping', 1002, frame(PING, 'a' x 5, form => 64) ],
    [ 'ping of 126 bytes', 1002, frame(PING, 'a' x 126) ],
    [ 'pong of 126 bytes', 1002, frame(PONG, 'a' x 126) ],
    [ 'Close of 126 bytes', 1002,
        frame(CLOSE, close_payload(1000, 'a' x 124)) ],
    [ 'ping of 65536 bytes', 1002, frame(PING, 'a' x 65536) ],
    [ 'fragmented ping', 1002, frame(PING, 'a', fin => 0) ],
    [ 'fragmented pong', 1002, frame(PONG, 'a', fin => 0) ],
    [ 'fragmented Close', 1002, frame(CLOSE, '', fin => 0) ],
    [ 'continuation of nothing', 1002, frame(CONT, 'a') ],
    [ 'empty continuation of nothing', 1002, frame(CONT, '', fin => 0) ],
    [ 'continuation of what is finished', 1002,
        frame(TEXT, '', fin => 0) . frame(CONT, '') . frame(CONT, '') ],
    [ 'text inside a message', 1002, $half . text_frame('a') ],
    [ 'binary inside a message', 1002, $half . binary_frame('a') ],
    [ 'text inside a message, after a ping', 1002,
        $half . frame(PING, '') . text_frame('a') ],
    [ 'length with the top bit', 1002,
        text_frame('', form => 64, length => 1 << 63) ],
    [ 'greatest length', 1002,
        text_frame('', form => 64, length => ~0) ],
    [ 'text not UTF-8', 1007, text_frame("a\xffb") ],
    [ 'text ending inside a character', 1007, text_frame("a\xe2\x82") ],
    [ 'message ending inside a character', 1007,
        text_frame("\xe2", fin => 0) . frame(CONT, "\x82") ],
    [ 'character torn by a ping is fine, not this one', 1007,
        text_frame("\xe2", fin => 0) . frame(PING, "\x82\xac")
        . frame(CONT, "\x28") ],
    [ 'Close reason not UTF-8', 1007,
        frame(CLOSE, close_payload(1000, "\xff")) ],
    [ 'Close of one byte', 1002, frame(CLOSE, 'a') ],
    (map { [ "Close code $_", 1002, frame(CLOSE, close_payload($_)) ] }
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000,
        65535),
    [ 'one byte too many', 1009, text_frame('a' x ($max + 1)) ],
    [ 'declared 1 byte too many', 1009, text_frame('', length => $max + 1) ],
    [ 'declared 2 ** 31', 1009, text_frame('', length => 1 << 31) ],
    [ 'declared 2 ** 32', 1009, text_frame('', length => 1 << 32) ],
    [ 'declared 2 ** 63 - 1', 1009,
        text_frame('', form => 64, length => ~0 >> 1) ],
    [ 'too many bytes in two fragments', 1009,
        text_frame('a' x 600, fin => 0) . frame(CONT, 'a' x 401) ],
    [ 'declared too many for the message', 1009,
        text_frame('a' x 600, fin => 0) . frame(CONT, '', length => 401) ],
    [ 'declared 2 ** 63 - 1 in the second fragment', 1009,
        text_frame('a' x 600, fin => 0)
        . frame(CONT, '', form => 64, length => ~0 >> 1) ],
);

for my $case (@violations) {
    my ($name, $code, $frames) = @$case;

    # a reply of ours is not waited for, and what follows is not looked at

    $c = ws('/small', auto_close => 0);
    $c->write($frames);
    is_closed($c, $code, $name, reason => qr/\w/);
    is_deeply($c->{skipped} // [], [], "$name: nothing was published");

    next if length $frames > 200;

    $c = ws('/small', auto_close => 0);
    $c->write_split($frames, 1);
    is_closed($c, $code, "$name, byte by byte", reason => qr/\w/);
}

# a violation is seen as soon as its byte is there

for my $case (
    [ 'RSV', 1002, chr(0xc1) ],
    [ 'opcode', 1002, chr(0x83) ],
    [ 'fragmented control frame', 1002, chr(0x09) ],
    [ 'continuation', 1002, chr(0x80) ],
    [ 'no mask', 1002, "\x81\x05" ],
    [ 'long control frame', 1002, "\x89\xfe" ],
    [ 'top bit of the length', 1002, "\x82\xff\x80" ])
{
    my ($name, $code, $start) = @$case;

    $c = ws('/echo', auto_close => 0);
    $c->write($start);
    is_closed($c, $code, "at once: $name");
}

$c = ws('/echo');
$c->write(text_frame('good') . frame(3, '') . text_frame('bad'));
$c->wait_close();
is($c->close_code(), 1002, 'a violation behind a good message');
is(scalar(grep { $_->{data} eq 'bad' } @{$c->{skipped}}), 0,
    'what follows a violation is not published');

($one, $two) = (ws('/ws/violated', auto_close => 0), ws('/ws/violated'));
$one->send_frame(3, '');
is_closed($one, 1002, 'a violation');
$one->text('too late');
ok($two->is_silent(0.3), 'what comes after the Close is not published');


# Limits.

$c = ws('/small');
$c->text('a' x $max);
is_message($c, 'a' x $max, 'message of the greatest size');
$c->text('a' x $max, fragment => 300);
is_message($c, 'a' x $max, 'fragmented message of the greatest size');

my @pinged = map { $_ . frame(PING, 'b' x 125) }
    Test::WsBus::Client::fragments(TEXT, 'a' x $max, 100);

$c->write(join('', @pinged));
is_message($c, 'a' x $max, 'pings inside it do not count');

$c = ws('/echo');
$c->text('a' x 65536);
is_message($c, 'a' x 65536, 'message of the greatest size by default');
$c->text('a' x 65537);
is_closed($c, 1009, 'one byte more');

# what is only declared is not allocated

sub memory {
    my ($worker) = $t->workers();

    open(my $fh, '<', "/proc/$worker/status") or die "no worker: $!";
    my ($kilobytes) = map { /^VmSize:\s+(\d+)/ } <$fh>;

    return $kilobytes / 1024;
}

my $before = memory();
my @clients = map { ws('/large') } 1 .. 64;

$_->write(frame(BINARY, 'b' x 10, length => 16 << 20)) for @clients;

$c = ws('/echo');
$c->text('hello');
is_message($c, 'hello', 'after 64 clients that announced 16 megabytes each');

my $grown = memory() - $before;

cmp_ok($grown, '<', 200, 'memory was not allocated for them');

$_->disconnect() for @clients;


# Fragments.

$c = ws('/echo');

my @fragments = map { $_ . frame(PING, 'between') }
    Test::WsBus::Client::fragments(BINARY, 'x' x 100, 1);

$c->write(join('', @fragments));
is_message($c, 'x' x 100, 'a ping after each of 100 fragments',
    type => 'binary');
is($c->{pongs}[-1], 'between', 'pings were answered');

$c->write(join('', Test::WsBus::Client::fragments(TEXT, 'f' x 65536, 1)));
is_message($c, 'f' x 65536, '65536 fragments');

$c->write(frame(TEXT, '', fin => 0) . frame(CONT, '', fin => 0) x 65534
    . frame(CONT, ''));
is_message($c, '', '65536 empty fragments');

$c->write(frame(TEXT, "\xe2", fin => 0) . frame(PING, "\xff")
    . frame(CONT, "\x82", fin => 0) . frame(PONG, "\xff")
    . frame(CONT, "\xac"));
is_message($c, "\xe2\x82\xac", 'a character over three fragments',
    type => 'text');


# Pings and pongs.

$c = ws('/echo');
$c->ping('a' x 125);
is($c->read_pong(), 'a' x 125, 'pong of the greatest length');
$c->pong('unasked');
$c->pong('');
$c->text('next');
is_message($c, 'next', 'pongs are taken silently');
is(scalar @{$c->{pongs}}, 1, 'and not answered');

# of pings that wait because the client does not read, the newest counts

$c = ws('/echo', rcvbuf => 4096);

my $pings = 40000;
my $flood = join('', map { frame(PING, sprintf('%0120d', $_)) } 1 .. $pings);
my $written = $c->write($flood, no_read => 1, timeout => 2);

$c->write(substr($flood, $written));

my ($newest, $ordered, $answered) = (0, 1, 0);

while ($newest < $pings && defined(my $pong = $c->read_pong())) {
    $ordered = 0 if $pong <= $newest;
    $newest = $pong + 0;
    $answered++;
}

is($newest, $pings, "the newest of $pings pings is answered");
ok($ordered, "of the others $answered, in order");
$c->text('still here');
is_message($c, 'still here', 'and the connection goes on');


# Closing.

for my $code (1000, 1001, 1003, 1011, 1014, 3000, 4003, 4999) {
    $c = ws('/echo');
    $c->close($code, 'reason');
    is_closed($c, $code, "Close $code is echoed");
}

$c = ws('/echo');
$c->close();
is_closed($c, 1005, 'Close without a code is echoed without');

$c = ws('/echo', %tls);
$c->close(1000);
is_closed($c, 1000, 'Close over TLS');

($one, $two) = (ws('/ws/closing'), ws('/ws/closing'));
$one->write(text_frame('before') . frame(CLOSE, close_payload(1000))
    . text_frame('after'));
is_closed($one, 1000, 'Close between messages');
is_message($two, 'before', 'what came before it is published');
ok($two->is_silent(0.3), 'what came after it is not');

$one = ws('/ws/closing');
$one->write(text_frame('half of a message', fin => 0)
    . frame(CLOSE, close_payload(1000)));
is_closed($one, 1000, 'Close inside a message');
ok($two->is_silent(0.3), 'which is not published');

# the server's own Close waits for ours: 5 s, which is looked at from below

sub deleted {
    my $client = ws('/ws/deleted', auto_close => 0, @_);

    is(request('DELETE', '/pub/ws/deleted')->status(), 204, 'deleted');
    is_closed($client, 4004, 'Close 4004', open => 1);

    return $client;
}

$c = deleted();
$c->close(4004);
ok($c->at_eof(), 'the stream ends after our Close');

$c = deleted();
$c->text('too late');
$c->close(4004);
ok($c->at_eof(), 'and when a message comes before it');

$c = deleted();
ok(!$c->at_eof(2), 'our Close is waited for');
ok($c->at_eof(scale(20)), 'but not forever');

$c = deleted();
$c->shutdown_write();
ok($c->at_eof(), 'an end will do as an answer');


# Ends without a Close.

($one, $two) = (ws('/ws/ends'), ws('/ws/ends'));
$one->text('last words');
$one->shutdown_write();
is_message($two, 'last words', 'what came before a FIN is published');
ok($one->at_eof(), 'and the FIN is answered');

for my $over ('', ' over TLS') {
    my %opt = $over ? %tls : ();

    $one = ws('/ws/ends', %opt);
    $one->write(substr(text_frame('half a frame'), 0, 8));
    $one->shutdown_write();
    ok($one->at_eof(), "a FIN inside a frame$over");

    $one = ws('/ws/ends', %opt);
    $one->disconnect();

    $one = ws('/ws/ends', %opt);
    $one->write(substr(text_frame('half a frame'), 0, 8));
    $one->abort();

    $two->text("to the others$over");
    is_message($two, "to the others$over", "the others do not mind$over");
}


# A client that does not read is let go, and hinders nobody.

my $slow = ws('/ws/slow', rcvbuf => 4096, auto_pong => 0);
my $fast = ws('/ws/slow');
my $sent = 400;

my $good = 1;

for my $n (1 .. $sent) {
    my $data = sprintf('%06d', $n) . 's' x 60000;

    $fast->text($data);
    $good &&= ($fast->recv() // '') eq $data;
}

ok($good, 'the others get everything');

my $read = 0;

while (my $m = $slow->message()) {
    last if substr($m->{data}, 0, 6) != $read + 1;
    $read++;
}

cmp_ok($read, '<', $sent, 'the slow one does not');
is_closed($slow, 1013, 'but a Close that says so', reason => qr/\w/);


# Publishing may be off.

for my $case ([ '/silent', 0 ], [ '/var', 0 ], [ '/var?publish=', 0 ],
              [ '/var?publish=0', 0 ], [ '/var?publish=off', 0 ],
              [ '/var?publish=1', 1 ], [ '/var?publish=on', 1 ])
{
    my ($path, $on) = @$case;

    for my $type ('text', 'binary') {
        $c = ws($path, auto_close => 0);
        $c->ping('x');
        is($c->read_pong(), 'x', "$path: pings pass");
        $c->$type('hello');

        if ($on) {
            is_message($c, 'hello', "$path: $type is published");

        } else {
            is_closed($c, 4003, "$path: $type is forbidden",
                reason => qr/publish/);
        }
    }
}


$t->done_testing();
