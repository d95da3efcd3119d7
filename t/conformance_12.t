#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The conformance suite's group 12: permessage-deflate with the usual offer,
# five kinds of data.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Conformance;
use Test::WsBus::Corpus;

my $t = Test::WsBus->new()->plan(91);

$t->time_limit($ENV{WS_BUS_TEST_FULL} ? 3600 : 600);

start_echo($t);

my $offer = 'permessage-deflate; client_no_context_takeover'
    . '; client_max_window_bits';

my @kinds = ([ prose => 'binary' ], [ bitmap => 'binary' ],
             [ document => 'binary' ], [ json => 'text' ],
             [ html => 'text' ]);

for my $i (0 .. $#kinds) {
    my ($kind, $type) = @{$kinds[$i]};

    deflate_cases('12.' . ($i + 1), $kind, $type, corpus($kind), $offer, {});
}


case_counts(12 => 90);
