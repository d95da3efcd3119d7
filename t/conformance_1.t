#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The conformance suite's groups 1 to 7 and 10: framing, pings and pongs,
# reserved bits, opcodes, fragmentation, UTF-8, closing, misc.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use Test::WsBus::Conformance;

my $t = Test::WsBus->new()->plan(248);

start_echo($t);

my $hello = 'Hello, world!';


# 1 Framing

my @sizes = (0, 125, 126, 127, 128, 65535, 65536);

for my $i (1 .. 2) {
    my $type = (undef, 'text', 'binary')[$i];
    my $char = (undef, '*', "\xfe")[$i];
    my $n = 0;

    for my $size (@sizes) {
        echo_case("1.$i." . ++$n, "$type of $size bytes", $type,
            $char x $size);
    }

    echo_case("1.$i.8", "$type of 65536 bytes in chops of 997", $type,
        $char x 65536, chop => 997);
}


# 2 Pings and pongs

test_case('2.1', 'ping without payload',
    send => [ ping_frame('') ], expect => [ [ pong => '' ] ]);

test_case('2.2', 'ping with a text',
    send => [ ping_frame($hello) ], expect => [ [ pong => $hello ] ]);

my $bytes = "\x00\xff\xfe\xfd\xfc\xfb\x00\xff";

test_case('2.3', 'ping with bytes that are not UTF-8',
    send => [ ping_frame($bytes) ], expect => [ [ pong => $bytes ] ]);

test_case('2.4', 'ping of 125 bytes',
    send => [ ping_frame("\xfe" x 125) ],
    expect => [ [ pong => "\xfe" x 125 ] ]);

test_case('2.5', 'ping of 126 bytes',
    send => [ ping_frame("\xfe" x 126) ], close => [ 1002 ]);

test_case('2.6', 'ping of 125 bytes in chops of one',
    send => [ ping_frame("\xfe" x 125) ], chop => 1,
    expect => [ [ pong => "\xfe" x 125 ] ]);

test_case('2.7', 'unsolicited pong without payload',
    send => [ frame(PONG, '') ]);

test_case('2.8', 'unsolicited pong with payload',
    send => [ frame(PONG, 'unsolicited pong payload') ]);

test_case('2.9', 'unsolicited pong, then a ping',
    send => [ frame(PONG, 'unsolicited pong payload'),
              ping_frame('ping payload') ],
    expect => [ [ pong => 'ping payload' ] ]);

my @ten = map { "payload-$_" } 0 .. 9;

test_case('2.10', 'ten pings',
    send => [ join('', map { ping_frame($_) } @ten) ],
    expect => [ map { [ pong => $_ ] } @ten ]);

test_case('2.11', 'ten pings in chops of one',
    send => [ map { ping_frame($_) } @ten ], chop => 1,
    expect => [ map { [ pong => $_ ] } @ten ]);


# 3 Reserved bits

test_case('3.1', 'RSV 1',
    send => [ text_frame($hello, rsv => 1) ], close => [ 1002 ]);

for my $case (
    [ '3.2', 2, 0, 0, 'RSV 2 after a good text' ],
    [ '3.3', 3, 1, 0, 'RSV 3 after a good text, by frames' ],
    [ '3.4', 4, 0, 1, 'RSV 4 after a good text, in chops of one' ])
{
    my ($number, $rsv, $apart, $chop, $name) = @$case;

    my @frames = (text_frame($hello), text_frame($hello, rsv => $rsv),
                  ping_frame(''));

    test_case($number, $name,
        send => $apart ? [ @frames ] : [ join('', @frames) ], chop => $chop,
        expect => [ [ text => $hello ] ], or => [ [] ], close => [ 1002 ]);
}

test_case('3.5', 'RSV 5, binary',
    send => [ frame(BINARY, "\x00\xff" x 4, rsv => 5) ], close => [ 1002 ]);

test_case('3.6', 'RSV 6, ping',
    send => [ ping_frame($hello, rsv => 6) ], close => [ 1002 ]);

test_case('3.7', 'RSV 7, close',
    send => [ frame(CLOSE, close_payload(1000), rsv => 7) ],
    close => [ 1002 ]);


# 4 Opcodes

for my $case ([ '4.1', 3 ], [ '4.2', 11 ]) {
    my ($group, $opcode) = @$case;

    test_case("$group.1", "opcode $opcode, no payload",
        send => [ frame($opcode, '') ], close => [ 1002 ]);

    $opcode++;

    test_case("$group.2", "opcode $opcode, payload",
        send => [ frame($opcode, 'reserved opcode payload') ],
        close => [ 1002 ]);

    for my $n (3 .. 5) {
        $opcode++;

        my $payload = $n == 3 ? '' : $hello;
        my @frames = (text_frame($hello), frame($opcode, $payload),
                      ping_frame(''));

        test_case("$group.$n", "opcode $opcode between text and ping",
            send => \@frames, chop => $n == 5 ? 1 : 0,
            expect => [ [ text => $hello ] ], or => [ [] ], close => [ 1002 ]);
    }
}


# 5 Fragmentation

my ($one, $two) = ('fragment1', 'fragment2');
my @halves = (text_frame($one, fin => 0), frame(CONT, $two));
my @message = ([ text => $one . $two ]);

test_case('5.1', 'ping in two fragments',
    send => [ ping_frame($one, fin => 0), frame(CONT, $two) ],
    close => [ 1002 ]);

test_case('5.2', 'pong in two fragments',
    send => [ frame(PONG, $one, fin => 0), frame(CONT, $two) ],
    close => [ 1002 ]);

test_case('5.3', 'text in two fragments',
    send => [ join('', @halves) ], expect => \@message);

test_case('5.4', 'text in two fragments, by frames',
    send => [ @halves ], expect => \@message);

test_case('5.5', 'text in two fragments, in chops of one',
    send => [ @halves ], chop => 1, expect => \@message);

my @around = ($halves[0], ping_frame('ping payload'), $halves[1]);
my @answers = ([ pong => 'ping payload' ], @message);

test_case('5.6', 'ping between two fragments',
    send => [ join('', @around) ], expect => \@answers);

test_case('5.7', 'ping between two fragments, by frames',
    send => [ @around ], expect => \@answers);

test_case('5.8', 'ping between two fragments, in chops of one',
    send => [ @around ], chop => 1, expect => \@answers);

for my $case ([ 9, 1 ], [ 12, 0 ]) {
    my ($number, $fin) = @$case;

    my @frames = (frame(CONT, 'non-continuation payload', fin => $fin),
                  text_frame($hello));
    my $name = "continuation of nothing, FIN $fin";

    test_case("5.$number", $name,
        send => [ join('', @frames) ], close => [ 1002 ]);

    test_case('5.' . ($number + 1), "$name, by frames",
        send => [ @frames ], close => [ 1002 ]);

    test_case('5.' . ($number + 2), "$name, in chops of one",
        send => [ @frames ], chop => 1, close => [ 1002 ]);
}

test_case('5.15', 'fragmented text, continuation of nothing, text',
    send => [ join('', @halves, frame(CONT, 'fragment3', fin => 0),
                   text_frame('fragment4')) ],
    expect => \@message, or => [ [] ], close => [ 1002 ]);

for my $case ([ '5.16', 0 ], [ '5.17', 1 ]) {
    my ($number, $fin) = @$case;

    test_case($number, "continuation of nothing, FIN $fin, then a text, twice",
        send => [ (frame(CONT, $one, fin => $fin), text_frame($two, fin => 0),
                   frame(CONT, 'fragment3')) x 2 ],
        close => [ 1002 ]);
}

test_case('5.18', 'both fragments with the opcode of text',
    send => [ text_frame($one, fin => 0) . text_frame($two) ],
    close => [ 1002 ]);

for my $number ('5.19', '5.20') {
    my @parts = map { "fragment$_" } 1 .. 5;

    test_case($number, 'five fragments and two pings, the first answered '
        . 'before the message is whole'
        . ($number eq '5.20' ? ', by frames' : ''),
        send => sub {
            my ($c) = @_;

            my @first = (text_frame($parts[0], fin => 0),
                         frame(CONT, $parts[1], fin => 0),
                         ping_frame('pongme 1!'));
            my @second = (frame(CONT, $parts[2], fin => 0),
                          frame(CONT, $parts[3], fin => 0),
                          ping_frame('pongme 2!'), frame(CONT, $parts[4]));

            my $apart = $number eq '5.20';

            $c->write($_) for $apart ? @first : join('', @first);

            my $e = $c->read_event();
            return 'the first ping was not answered at once'
                unless $e && $e->{type} eq 'pong'
                       && $e->{data} eq 'pongme 1!';

            $c->write($_) for $apart ? @second : join('', @second);

            return '';
        },
        expect => [ [ pong => 'pongme 2!' ], [ text => join('', @parts) ] ]);
}


# 6 UTF-8

my $kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

test_case('6.1.1', 'empty text',
    send => [ text_frame('') ], expect => [ [ text => '' ] ]);

test_case('6.1.2', 'three empty fragments',
    send => [ text_frame('', fin => 0), frame(CONT, '', fin => 0),
              frame(CONT, '') ],
    expect => [ [ text => '' ] ]);

test_case('6.1.3', 'empty, filled, empty fragment',
    send => [ text_frame('', fin => 0),
              frame(CONT, 'middle frame payload', fin => 0),
              frame(CONT, '') ],
    expect => [ [ text => 'middle frame payload' ] ]);

my $umlauts = "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1"
    . "-UTF-8!!";

echo_case('6.2.1', 'valid, one fragment', 'text', $umlauts);
test_case('6.2.2', 'valid, cut between characters',
    send => [ text_frame(substr($umlauts, 0, 12), fin => 0),
              frame(CONT, substr($umlauts, 12)) ],
    expect => [ [ text => $umlauts ] ]);
echo_case('6.2.3', 'valid, fragments of one byte', 'text', $umlauts,
    fragment => 1);
echo_case('6.2.4', 'valid, fragments of one byte', 'text', $kosme,
    fragment => 1);

my $surrogate = $kosme . "\xed\xa0\x80" . 'edited';

test_case('6.3.1', 'invalid, one fragment',
    send => [ text_frame($surrogate) ], close => [ 1007 ]);
test_case('6.3.2', 'invalid, fragments of one byte',
    send => [ Test::WsBus::Client::fragments(TEXT, $surrogate, 1) ],
    close => [ 1007 ]);

# the connection is failed as soon as the text cannot become valid any more

my $beyond = $kosme . "\xf4\x90\x80\x80" . 'edited';

for my $case ([ 1, 11, 15 ], [ 2, 12, 13 ]) {
    my ($n, $from, $to) = @$case;

    my @parts = (substr($beyond, 0, $from),
                 substr($beyond, $from, $to - $from));

    test_case("6.4.$n", "fail fast, " . ($to - $from) . " bytes in fragments",
        send => sub {
            my ($c) = @_;

            $c->write(text_frame($parts[0], fin => 0));
            return 'failed too early' unless $c->is_silent(0.2);
            $c->write(frame(CONT, $parts[1], fin => 0));

            return '';
        },
        close => [ 1007 ]);

    test_case('6.4.' . ($n + 2),
        "fail fast, " . ($to - $from) . " bytes in chops of one frame",
        send => sub {
            my ($c) = @_;

            my $bytes = text_frame($beyond);
            my $head = length($bytes) - length($beyond);

            $c->write(substr($bytes, 0, $head + $from));
            return 'failed too early' unless $c->is_silent(0.2);
            $c->write(substr($bytes, $head + $from, $to - $from));

            return '';
        },
        close => [ 1007 ]);
}

my @incomplete = ("\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80",
    "\xfc\x80\x80\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf",
    "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf");

# characters whose first bytes stand alone, each followed by a space; the
# suite leaves out the last one of each range

sub lonely {
    my ($from, $to) = @_;

    return join('', map { chr($_) . ' ' } $from .. $to - 1);
}

# U+nFFFE and U+nFFFF of every plane

my @noncharacters = ("\xef\xbf\xbe", "\xef\xbf\xbf");

for my $plane (1 .. 16) {
    push @noncharacters, map {
        my $code = $plane * 0x10000 + $_;
        pack('C4', 0xf0 | $code >> 18, 0x80 | $code >> 12 & 0x3f,
             0x80 | $code >> 6 & 0x3f, 0x80 | $code & 0x3f);
    } 0xfffe, 0xffff;
}

my @groups = (
    [ 5, 'valid sequences', 1,
        "hello\x24world", "hello\xc2\xa2world", "hello\xe2\x82\xacworld",
        "hello\xf0\xa4\xad\xa2world", $kosme ],
    [ 6, 'prefixes of a valid text',
        sub { length($_[0]) =~ /^(?:2|5|7|9|11)$/ },
        map { substr($kosme, 0, $_) } 1 .. length $kosme ],
    [ 7, 'first sequence of a length', 1,
        "\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80" ],
    [ 8, 'first sequence of length 5 and 6', 0,
        "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80" ],
    [ 9, 'last sequence of a length', 1,
        "\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf" ],
    [ 10, 'last sequence of length 4, 5 and 6', 0,
        "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf",
        "\xfd\xbf\xbf\xbf\xbf\xbf" ],
    [ 11, 'other boundaries', sub { $_[0] ne "\xf4\x90\x80\x80" },
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf",
        "\xf4\x90\x80\x80" ],
    [ 12, 'unexpected continuation bytes', 0,
        "\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf",
        "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf",
        join('', map { chr } 0x80 .. 0xbe) ],
    [ 13, 'lonely start characters', 0,
        lonely(0xc0, 0xdf), lonely(0xe0, 0xef), lonely(0xf0, 0xf7),
        lonely(0xf8, 0xfb), lonely(0xfc, 0xfd) ],
    [ 14, 'last continuation byte missing', 0, @incomplete ],
    [ 15, 'concatenation of incomplete sequences', 0,
        join('', @incomplete) ],
    [ 16, 'impossible bytes', 0, "\xfe", "\xff", "\xfe\xfe\xff\xff" ],
    [ 17, 'overlong ASCII character', 0,
        "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf",
        "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf" ],
    [ 18, 'maximum overlong sequences', 0,
        "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
        "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf" ],
    [ 19, 'overlong NUL', 0,
        "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80" ],
    [ 20, 'single UTF-16 surrogates', 0,
        "\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf",
        "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf" ],
    [ 21, 'paired UTF-16 surrogates', 0,
        map { my $high = $_; map { $high . $_ } "\xed\xb0\x80",
              "\xed\xbf\xbf" } "\xed\xa0\x80", "\xed\xad\xbf",
              "\xed\xae\x80", "\xed\xaf\xbf" ],
    [ 22, 'noncharacters', 1, @noncharacters ],
    [ 23, 'specials', 1, map { "\xef\xbf" . chr } 0xb9 .. 0xbf ],
);

for my $group (@groups) {
    my ($number, $name, $valid, @texts) = @$group;

    my $n = 0;

    for my $text (@texts) {
        my $good = ref $valid ? $valid->($text) : $valid;

        test_case("6.$number." . ++$n, $name . ($good ? ', good' : ', bad'),
            send => [ text_frame($text) ],
            $good ? (expect => [ [ text => $text ] ]) : (close => [ 1007 ]));
    }
}


# 7 Closing

my $close = frame(CLOSE, close_payload(1000));

test_case('7.1.1', 'text, then close',
    send => [ text_frame($hello) ], expect => [ [ text => $hello ] ]);

# what follows a Close is not looked at

for my $case (
    [ '7.1.2', 'two Closes', $close, frame(CLOSE, '') ],
    [ '7.1.3', 'ping after Close', $close, ping_frame('') ],
    [ '7.1.4', 'text after Close', $close, text_frame($hello) ],
    [ '7.1.5', 'Close inside a fragmented message',
        text_frame('fragment1', fin => 0), $close, frame(CONT, 'fragment2') ])
{
    my ($number, $name, @frames) = @$case;

    test_case($number, $name, send => [ @frames ], close => [ 1000 ]);
}

# the suite does not say which of the texts come

my $long = substr('BAsd7&jh23' x 26215, 0, 262144);

test_case('7.1.6', 'long text, text, Close, ping',
    send => [ join('', text_frame($long), text_frame($hello), $close,
                   ping_frame('')) ],
    expect => [ [ text => $long ], [ text => $hello ] ],
    or => [ [ [ text => $long ] ], [] ],
    close => [ 1000 ]);

sub close_case {
    my ($number, $name, $payload, @codes) = @_;

    return test_case($number, $name, send => [ frame(CLOSE, $payload) ],
        close => [ @codes ]);
}

close_case('7.3.1', 'Close without payload', '', 1005, 1000);
close_case('7.3.2', 'Close with a payload of one byte', 'a', 1002);
close_case('7.3.3', 'Close with a code', close_payload(1000), 1000);
close_case('7.3.4', 'Close with a reason',
    close_payload(1000, 'Hello World!'), 1000);
close_case('7.3.5', 'Close with the longest reason',
    close_payload(1000, '*' x 123), 1000);
close_case('7.3.6', 'Close with a reason too long',
    close_payload(1000, '*' x 124), 1002);

close_case('7.5.1', 'Close with a reason that is not UTF-8',
    close_payload(1000, $surrogate), 1002, 1007);

my $n = 0;

for my $code (1000, 1001, 1002, 1003, 1007 .. 1011, 3000, 3999, 4000, 4999) {
    close_case('7.7.' . ++$n, "Close with valid code $code",
        close_payload($code), $code);
}

$n = 0;

for my $code (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999) {
    close_case('7.9.' . ++$n, "Close with invalid code $code",
        close_payload($code), 1002);
}

close_case('7.13.1', 'Close with code 5000', close_payload(5000), 1002);
close_case('7.13.2', 'Close with code 65535', close_payload(65535), 1002);


# 10 Misc

echo_case('10.1.1', 'text of 65536 bytes in fragments of 1300', 'text',
    '*' x 65536, fragment => 1300);


case_counts(1 => 16, 2 => 11, 3 => 7, 4 => 10, 5 => 20, 6 => 145, 7 => 37,
    10 => 1);
