#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The conformance suite's group 9: large messages, many fragments, many small
# pieces, many round trips.  What counts is that everything comes back.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Conformance;

my $t = Test::WsBus->new()->plan(55);

start_echo($t);

use constant { K => 1024, M => 1024 * 1024 };

my @types = ([ text => 'BAsd7&jh23' ], [ binary => "\x00\xfe\x23" ]);


sub payload {
    my ($pattern, $size) = @_;

    return substr($pattern x ($size / length($pattern) + 1), 0, $size);
}


for my $i (0 .. 1) {
    my ($type, $pattern) = @{$types[$i]};
    my $n = 0;

    for my $size (64 * K, 256 * K, M, 4 * M, 8 * M, 16 * M) {
        echo_case('9.' . (1 + $i) . '.' . ++$n, "$type of $size bytes",
            $type, payload($pattern, $size));
    }
}

for my $i (0 .. 1) {
    my ($type, $pattern) = @{$types[$i]};
    my $n = 0;

    for my $size (64, 256, K, 4 * K, 16 * K, 64 * K, 256 * K, M, 4 * M) {
        echo_case('9.' . (3 + $i) . '.' . ++$n,
            "$type of 4M in fragments of $size bytes",
            $type, payload($pattern, 4 * M), fragment => $size);
    }
}

for my $i (0 .. 1) {
    my ($type, $pattern) = @{$types[$i]};
    my $n = 0;

    for my $size (64, 128, 256, 512, K, 2 * K) {
        echo_case('9.' . (5 + $i) . '.' . ++$n,
            "$type of 1M in chops of $size bytes",
            $type, payload($pattern, M), chop => $size);
    }
}

for my $i (0 .. 1) {
    my ($type, $pattern) = @{$types[$i]};
    my $n = 0;

    for my $size (0, 16, 64, 256, K, 4 * K) {
        my $data = payload($pattern, $size);

        stream_case('9.' . (7 + $i) . '.' . ++$n,
            "1000 round trips of a $type of $size bytes",
            $type, 1000, sub { $data });
    }
}


case_counts(9 => 54);
