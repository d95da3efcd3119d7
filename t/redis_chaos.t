#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Everything that can happen to hosts and their Redis, in a random order.
# WS_BUS_TEST_CHAOS: seconds; WS_BUS_TEST_SEED: the order.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;


my $seconds = $ENV{WS_BUS_TEST_CHAOS} // 12;
my $seed = $ENV{WS_BUS_TEST_SEED} // 1;

srand($seed);

my $f = Test::WsBus::Fleet->new(hosts => 3, workers => 2,
                                redis => { aof => 1 },
                                block => 'timeout 1s;')->start();
my $redis = $f->redis();

for my $n (0 .. 2) {
    $f->host($n)->time_limit($seconds + 300);
    $f->host($n)->expect_log(qr/\[alert\].* exited on signal 9/,
        qr/\[alert\].*shared memory zone .* was locked by/);
}

sub host { return $f->host(int(rand(3))) }

my %action = (

    'a worker is killed' => sub {
        my @pids = host()->workers();
        kill('KILL', $pids[rand(@pids)]) if @pids;
    },

    'the owner is killed' => sub {
        my $pid = eval { $f->owner(int(rand(3))) };
        kill('KILL', $pid) if $pid;
    },

    'reload' => sub { host()->signal('HUP') },

    'connections are cut' => sub {
        for my $client ($redis->clients()) {
            eval { $redis->command('CLIENT', 'KILL', 'ID', $client->{id}) }
                if rand() < 0.5;
        }
    },

    'scripts are forgotten' => sub { $redis->command('SCRIPT', 'FLUSH') },

    'a short stop' => sub {
        $redis->pause();
        sleep(rand(0.5));
        $redis->resume();
    },

    'a long stop' => sub {
        $redis->pause();
        sleep(1 + rand(2));
        $redis->resume();
    },

    'Redis is killed' => sub {
        $redis->kill();
        sleep(rand(1));
        $redis->start();
    },
);

my $c = Test::WsBus::Checker->new($f, publishers => [ 0 .. 2 ],
                                  subscribers => [ 0 .. 2, 0 .. 2 ],
                                  pause => 0.02, roam => 1,
                                  deadline => $seconds + 100);
$c->start();

my $done = $c->storm($seconds, \%action);

$f->wait_up();

my $sum = $c->finish("seed $seed");

note(join(', ', map { "$_ $done->{$_}" } sort keys %$done));

# each kill begins a new epoch, and each continues the one before

is($sum->{gaps}, 0, 'nothing was lost');

$f->done_testing();
