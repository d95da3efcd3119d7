#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The same in a Cluster: a master that answers nothing any more, but is not
# dead, and goes on later.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;
use WsBusTestStall;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 3s;',
                             topology => 'Test::WsBus::Cluster',
                             redis => { config => [
                                 'cluster-require-full-coverage no',
                             ] })->start();
$f->host(0)->time_limit(300);

my $cluster = $f->redis();
my $channel = $cluster->tag(0, 'c');
my $other = $cluster->tag(1, 'o');

for my $n (1 .. 2) {
    my $slot = $cluster->slot("{$channel}");
    my $stalled = $cluster->owner($slot);
    my $c = load($f, $channel, $n);
    my $o = load($f, $other, $n);

    # nobody follows before the publishers have been told

    $cluster->patience(600_000);
    $cluster->node($stalled)->pause();
    $c->wait_failed();
    $cluster->patience(2000);

    my ($any) = grep { $_ != $stalled } 0 .. 2;

    ok($f->host(0)->wait_until(sub {
        my $now = $cluster->owner($slot, $cluster->node($any));
        return defined $now && $now != $stalled;
    }, 30), 'a replica follows');

    sleep(0.5);
    $cluster->node($stalled)->resume();
    $cluster->patience(2000);

    served($f, $channel);
    $c->wait_published(20);
    $c->finish("a Cluster, a master that stands still, $n");

    my $sum = $o->finish("the other masters meanwhile, $n");
    is($sum->{failed}, 0, 'all were published');
    is($sum->{gaps}, 0, 'without a gap');

    $cluster->wait_ok();
}

is(scalar($f->host($_)->workers()), 2, "host $_ has its workers") for 0, 1;

$f->done_testing();
