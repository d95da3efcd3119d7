#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The conformance suite's group 13: permessage-deflate by what is offered.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Conformance;
use Test::WsBus::Corpus;

my $t = Test::WsBus->new()->plan(127);

$t->time_limit($ENV{WS_BUS_TEST_FULL} ? 3600 : 600);

start_echo($t);

my $client = 'permessage-deflate; client_no_context_takeover'
    . '; client_max_window_bits';
my $server = '; server_no_context_takeover';
my $bits = '; server_max_window_bits=';

my %context = (server_no_context_takeover => 1);
my %nine = (server_max_window_bits => 9);
my %fifteen = (server_max_window_bits => 15);

my @offers = (
    [ 'usual offer', $client, {} ],
    [ 'no context takeover', $client . $server, { %context } ],
    [ 'window bits 9', $client . $bits . 9, { %nine } ],
    [ 'window bits 15', $client . $bits . 15, { %fifteen } ],
    [ 'no context takeover, window bits 9', $client . $server . $bits . 9,
        { %context, %nine } ],
    [ 'no context takeover, window bits 15', $client . $server . $bits . 15,
        { %context, %fifteen } ],
    [ 'three offers', join(', ', $client . $server . $bits . 9,
                           $client . $server, $client),
        { %context, %nine } ],
);

for my $i (0 .. $#offers) {
    my ($name, $offer, $agreed) = @{$offers[$i]};

    deflate_cases('13.' . ($i + 1), $name, 'text', corpus('json'), $offer,
        $agreed);
}


case_counts(13 => 126);
