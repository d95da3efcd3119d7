#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Everything that can happen to hosts and a Cluster, in a random order, while
# clients publish without waiting for answers.
# WS_BUS_TEST_CHAOS: seconds; WS_BUS_TEST_SEED: the order.

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


my $seconds = $ENV{WS_BUS_TEST_CHAOS} // 12;
my $seed = $ENV{WS_BUS_TEST_SEED} // 1;

srand($seed);

my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 2s;',
                                topology => 'Test::WsBus::Cluster',
                                redis => { config => [
                                    'cluster-require-full-coverage no',
                                ] })->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

for my $n (0, 1) {
    $f->host($n)->time_limit($seconds + 300);
    $f->host($n)->expect_log(qr/\[alert\].* exited on signal 9/,
        qr/\[alert\].*shared memory zone .* was locked by/);
}

my $channel = $cluster->tag(0, 'c');
my $slot = $cluster->slot("{$channel}");

sub host { return $f->host(int(rand(2))) }
sub owner { return $cluster->node($cluster->owner($slot)) }

my %action = (

    'a worker is killed' => sub {
        my @pids = host()->workers();
        kill('KILL', $pids[rand(@pids)]) if @pids;
    },

    'the owner is killed' => sub {
        my $pid = eval { $f->owner(int(rand(2))) };
        kill('KILL', $pid) if $pid;
    },

    'reload' => sub { host()->signal('HUP') },

    'connections are cut' => sub {
        my $node = owner();

        for my $client (grep { ($_->{name} // '') =~ /^ws_bus/ }
                        $node->clients())
        {
            eval { $node->command('CLIENT', 'KILL', 'ID', $client->{id}) }
                if rand() < 0.5;
        }
    },

    'scripts are forgotten' => sub { owner()->command('SCRIPT', 'FLUSH') },

    'a short stop' => sub {
        my $node = owner();

        $node->pause();
        sleep(rand(0.5));
        $node->resume();
    },

    'a slot moves' => sub {
        my @to = grep { $_ != $cluster->owner($slot) } 0 .. 2;

        $cluster->migrate($slot, $to[rand(@to)],
                          rand() < 0.5 ? undef : sub { sleep(rand(0.3)) });
    },

    'a move is given up' => sub {
        my $from = $cluster->owner($slot);
        my ($source, $target) = map { $cluster->node($_) } $from,
                                                           ($from + 1) % 3;

        $target->command('CLUSTER', 'SETSLOT', $slot, 'IMPORTING',
                         $cluster->id($from));
        $source->command('CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
                         $cluster->id(($from + 1) % 3));
        sleep(rand(0.1));
        $_->command('CLUSTER', 'SETSLOT', $slot, 'STABLE')
            for $source, $target;
    },
);

my $c = Test::WsBus::Checker->new($f, channel => $channel,
                                  publishers => [ 0, 0, 1 ],
                                  subscribers => [ 0, 1, 0, 1 ],
                                  pipeline => 50, pause => 0.1,
                                  roam => 1, deadline => $seconds + 100);
$c->start();

my $done = $c->storm($seconds, \%action);

$f->wait_up();

# no node is lost, and what comes while somebody is away is kept

my $sum = $c->finish("seed $seed");
is($sum->{gaps}, 0, 'nothing was lost');

note(join(', ', map { "$_ $done->{$_}" } sort keys %$done));

$f->done_testing();
