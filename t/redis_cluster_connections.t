#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Worker processes connect to the masters of a Cluster that they need: the
# owner of the bridge to all, another one to where it publishes, and to any one
# for the map.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


use constant MASTERS => 5;
use constant WORKERS => 3;

my $f = Test::WsBus::Fleet->new(hosts => 1, workers => WORKERS,
    topology => 'Test::WsBus::Cluster',
    redis => { masters => MASTERS, replicas => 0, config => [
        'cluster-require-full-coverage no',
    ] })->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

my $owner = $f->owner(0);
my @channels = map { $cluster->tag($_, 'c') } 0 .. MASTERS - 1;

# the seeds are given up

ok($t->wait_until(sub {
    my %n = connections();
    return $n{$owner} == 2 * MASTERS
        && !grep { $_ != 1 } map { $n{$_} // 0 } others();
}, 20), 'one is enough') or diag(explain({ connections() }));

# a worker that publishes

my ($pid, $j);

for (1 .. 50) {
    $j = json('/json', port => $f->port(0));
    is($j->ask('publish', channel => $channels[0], data => \1)->{type},
       'published', 'published') if $_ == 1;
    $j->ask('publish', channel => $channels[1], data => \1);

    my %n = connections();
    ($pid) = grep { $n{$_} > 1 } others();
    last if $pid;
}

ok($pid, 'another worker than the owner has published');

my %n = connections();

cmp_ok($n{$pid}, '<=', 3, 'it is connected to two masters, and one for the map');

is($j->ask('publish', channel => $_, data => \1)->{type}, 'published',
   'published on all') for @channels;

# the one that has the map from a master that is lost has it from another

my ($worker) = others();
my %where = where();
my ($node) = keys %{$where{$worker}};

$cluster->node($node)->kill();

ok($t->wait_until(sub {
    my %where = where();
    return !grep { !keys %{$where{$_} // {}} } $t->workers();
}, 20), 'all workers have a connection to another one');

my @left = grep { $_ != $node } 0 .. MASTERS - 1;

for my $n (1 .. 20) {
    my $r = $f->post(0, "/pub/$channels[$left[$n % @left]]", "m$n");

    is($r->status(), 201, 'published') if $n % 5 == 0 || $r->status() != 201;
}

$f->done_testing();


sub others { return grep { $_ != $owner } $t->workers() }


# pid => connections; pid => { node => connections }

sub connections {
    my %where = where();
    my %n = map { $_ => 0 } $t->workers();

    for my $pid (keys %where) {
        $n{$pid} += $_ for values %{$where{$pid}};
    }

    return %n;
}


sub where {
    my %where;

    for my $n (grep { $cluster->node($_)->pid() } 0 .. MASTERS - 1) {
        for my $client ($cluster->node($n)->clients()) {
            $where{$1}{$n}++ if ($client->{name} // '') =~ /^ws_bus:(\d+):/;
        }
    }

    return %where;
}
