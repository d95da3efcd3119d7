#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Publishers that do not wait for answers keep their order while the slot of
# their channel moves; and nothing is refused.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 2,
                                topology => 'Test::WsBus::Cluster',
                                redis => { replicas => 0 })->start();
my $cluster = $f->redis();

$f->host(0)->time_limit(200);

my $channel = $cluster->tag(0, 'c');
my $slot = $cluster->slot("{$channel}");

my $c = Test::WsBus::Checker->new($f, channel => $channel,
                                  publishers => [ 0, 0, 1 ],
                                  subscribers => [ 0, 1 ], pipeline => 100,
                                  pause => 0.001);
$c->start();

for my $n (1 .. 30) {
    $c->wait_published(100);

    # now and then it is on its way for longer

    $cluster->migrate($slot, $n % 3, $n % 5 ? undef : sub { sleep(0.2) });
}

# a host that is slow may be told of a gap, by two moves that it has not seen

my $sum = $c->finish('a slot that moves');

is($sum->{failed}, 0, 'all were published');

# a move that is given up: some commands came back, and others were executed

$c->start();

for my $n (1 .. 30) {
    my $from = $cluster->owner($slot);
    my $to = ($from + 1) % 3;
    my ($source, $target) = ($cluster->node($from), $cluster->node($to));

    sleep(0.02);
    $target->command('CLUSTER', 'SETSLOT', $slot, 'IMPORTING',
                     $cluster->id($from));
    $source->command('CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
                     $cluster->id($to));
    sleep(0.001);
    $_->command('CLUSTER', 'SETSLOT', $slot, 'STABLE') for $source, $target;
}

$sum = $c->finish('a move that is given up');

is($sum->{gaps}, 0, 'without a gap');

# it takes longer than a publication waits: refused, and nothing is executed

$f->conf($_, block => 'timeout 300ms;') for 0, 1;
ok($f->host($_)->reload(), 'a short timeout') for 0, 1;
$f->wait_up();

$c->start();
$c->wait_published(20);
$cluster->migrate($slot, ($cluster->owner($slot) + 1) % 3,
                  sub { $c->wait_failed() });

$c->finish('a slot that takes its time');

$f->done_testing();
