#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Three hosts, ten publishers: one order for all.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 3)->start();

my $c = Test::WsBus::Checker->new($f, publishers => [ (0, 1, 2) x 3, 0 ],
                                  subscribers => [ 0 .. 2, 0 .. 2 ],
                                  pause => 0);

$c->start();
sleep(2);

my $sum = $c->finish('ten publishers');

is($sum->{failed}, 0, 'all were published');
is($sum->{gaps}, 0, 'without a gap');
is($f->redis_status($_)->{gaps}{lost}, 0, "host $_ has lost nothing")
    for 0 .. 2;

# each worker has a connection of its own, all of them are counted

for my $n (0 .. 2) {
    my ($count) = $f->request($n, 'GET', '/prometheus')->body()
        =~ /^ws_bus_redis_rtt_seconds_count\{zone="bus"} (\d+)$/m;

    cmp_ok($count, '>=', $f->status($n)->{zones}{bus}{messages_in},
           "host $n has measured each publication");
}

$f->done_testing();
