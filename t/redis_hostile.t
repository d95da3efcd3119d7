#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Whoever may publish in Redis may publish anything: a host neither crashes
# nor grows nor fills its log, and other channels are not disturbed.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;


use constant { MAX_SEQ => 2 ** 53 - 1, STORM => 2000 };

my $f = Test::WsBus::Fleet->new(hosts => 1, workers => 2, zone => '1m')
    ->start();
my $t = $f->host(0);
my $r = $f->redis();

my $good = $f->ws(0, '/ws/good');
my $bad = $f->ws(0, '/ws/bad');
my $count = 0;

ok($good, 'a client of another channel');

my @workers = sort $t->workers();


sub varint {
    my ($n) = @_;

    my $s = '';

    while ($n > 127) {
        $s .= chr($n % 128 + 128);
        $n = int($n / 128);
    }

    return $s . chr($n);
}

sub envelope {
    my ($flags, $place, $payload) = @_;

    return "\xffwb\x01" . chr($flags) . $place . "\x01\0" . $payload;
}

sub kept {
    my ($epoch, $seq, $payload) = @_;

    return envelope(8, pack('H16', $epoch) . varint($seq), $payload);
}

sub continued {
    my ($epoch, $seq, $prev, $base, $payload) = @_;

    return envelope(0x18, pack('H16', $epoch) . varint($seq)
                    . pack('H16', $prev) . varint($base), $payload);
}

sub random_epoch { return sprintf('%08x%08x', 1 + rand(2 ** 31), rand(2 ** 32)) }


# Publishes them in one channel; then the other one has to work.

sub attack {
    my ($what, @messages) = @_;

    my $client = $r->client();

    # the host listens, whatever the last attack has done to its clients

    $bad = $f->ws(0, '/ws/bad');
    is($r->command('PUBSUB', 'NUMSUB', 'ws_bus:{bad}')->[1], 1,
       "$what: the host listens");

    while (my @batch = splice(@messages, 0, 100)) {
        $client->send('PUBLISH', 'ws_bus:{bad}', $_) for @batch;
        $client->reply() for @batch;
    }

    $client->disconnect();
    $count++;

    my $p = $f->post(0, '/pub/good', "good $count");

    is($p->status(), 201, "$what: another channel works");
    is_message($good, "good $count", "$what: and is delivered");
}

sub logged {
    my ($re) = @_;

    return scalar(() = $t->read_file('error.log') =~ /$re/g);
}

sub memory {
    my $sum = 0;

    for my $pid ($t->workers()) {
        open(my $fh, '<', "/proc/$pid/statm") or next;
        $sum += (split / /, <$fh>)[1] * 4096;
    }

    return $sum;
}

sub position {
    my $p = $f->post(0, '/pub/bad', 'honest');

    return ($p->json()->{epoch}, $p->json()->{seq});
}


my ($epoch, $seq) = position();

is_message($bad, 'honest', 'before the attack');

my $memory = memory();


# What is no envelope is delivered to nobody.

my $before = $f->redis_status(0)->{invalid};
my @invalid = (
    "\xffwb\x02\0\0\0of another version",
    "\xffwb\x01\xc0\0\0with other flags",
    "\xffwb\x01\x03\0\0binary and JSON",
    map({ substr(kept('ab' x 8, 300, ''), 0, $_) } 3 .. 15),
    "\xffwb\x01\0" . "\xff" x 100,
    "\xffwb\x01\0\0" . "\xff" x 9 . "\x02age",
    "\xffwb\x01\0" . "\x80" x 9 . "\0time",
    envelope(8, ("\0" x 8) . "\x01", 'epoch 0'),
    envelope(8, ("\1" x 8) . "\0", 'seq 0'),
    envelope(8, ("\1" x 8) . "\xff" x 7 . "\x7f", 'seq 2^56'),
    envelope(8, ("\1" x 8) . "\xff" x 9 . "\x01", 'seq 2^64'),
    envelope(0x10, ("\1" x 8) . "\x01", 'prev alone'),
    continued('01' x 8, 5, '02' x 8, 5, 'base == seq'),
    continued('01' x 8, 5, '02' x 8, MAX_SEQ, 'base > seq'),
    envelope(0x20, '', 'deleted, with a payload'),
);

attack('invalid', @invalid);
is($f->redis_status(0)->{invalid} - $before, @invalid, 'all are invalid');

attack('a storm of what is invalid', ($invalid[0]) x STORM);
is($f->redis_status(0)->{invalid} - $before, @invalid + STORM, 'all counted');
cmp_ok(logged(qr/invalid message on "bad"/), '<', STORM / 10,
       'the log is not filled');

($epoch, $seq) = position();
is_message($bad, 'honest', 'nothing of it was delivered');


# Places that are not Redis's: the position in Redis is what counts.

attack('far ahead', kept($epoch, MAX_SEQ, 'x'), kept($epoch, $seq + 1000, 'x'));
attack('behind', kept($epoch, 1, 'x'), kept($epoch, $seq, 'x'));

my ($e2, $s2) = position();

is("$e2 $s2", "$epoch " . ($seq + 1), 'Redis counts on');

attack('epochs', map { kept(random_epoch(), 1 + int(rand(3)), 'x') }
                 1 .. STORM);
attack('epochs that continue',
       map { continued(random_epoch(), MAX_SEQ, $epoch, MAX_SEQ - 1, 'x') }
       1 .. STORM);

my $last = $epoch;

attack('a chain of epochs', map {
    my $prev = $last;
    $last = random_epoch();
    continued($last, $s2 + $_ + 1, $prev, $s2 + $_, 'x');
} 1 .. STORM);

attack('deleted', ("\xffwb\x01\x20\0\0") x 100);


# Names.

for my $name ('ws_bus:', 'ws_bus:{', 'ws_bus:{}', 'ws_bus:{bad', 'ws_bus:bad',
              "ws_bus:{\xff\xfe}", "ws_bus:{a\0b}", 'other:{bad}',
              'ws_bus:{' . 'n' x 100_000 . '}')
{
    is($r->command('PUBLISH', $name, 'x'), 0,
       'nobody listens to ' . substr($name, 0, 12) =~ s/[^ -z{}]/?/gr);
}


# What is larger than the log of the zone.

attack('too large', map { chr(97 + $_ % 26) x 2_000_000 } 1 .. 150);
attack('too large, kept', map { kept($epoch, $s2 + $_, 'x' x 2_000_000) }
                          1 .. 10);
attack('one of 16 MB', 'x' x 16_000_000);
cmp_ok(logged(qr/is larger than the log/), '>', 0, 'it is told');
cmp_ok(logged(qr/is larger than the log/), '<', 100, 'not for each of them');


# A sanitizer keeps what is freed.

SKIP: {
    skip('a sanitizer', 1) if $ENV{WS_BUS_TEST_PRELOAD};

    cmp_ok(memory() - $memory, '<', 150e6, 'the workers did not grow');
}


# The one that was attacked works again.

ok($t->wait_until(sub {
    my $client = $f->ws(0, '/ws/bad') or return;
    my ($e, $s) = position();

    $e or return;

    my $m = $client->recv(5) // '';

    return $m eq 'honest';
}, 20), 'the channel works again');

is_deeply([ sort $t->workers() ], \@workers, 'no worker was killed');

$f->done_testing();
