#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Settings of a Redis that an operator should hear of.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 1, workers => 1)->start();
my ($t, $redis) = ($f->host(0), $f->redis());

my $cut = qr/\[warn\].* may cut this host off .*-limit is "(.*?)"/;
my $evict = qr/\[warn\].* may evict messages, its maxmemory-policy is "(.*?)"/;


is_deeply([ warnings() ], [ undef, undef ], 'as Redis is by default');

for my $case (
    [ '33554432 0 0', undef ],
    [ '33554431 0 0', 'pubsub 33554431 0 0' ],
    [ '0 0 0', undef ],
    [ '0 1024 10', undef ],
    [ '0 1024 9', 'pubsub 0 1024 9' ],
    [ '1gb 64mb 1', undef ],
    [ '1mb 512kb 60', 'pubsub 1048576 524288 60' ],
) {
    $redis->command('CONFIG', 'SET', 'client-output-buffer-limit',
                    "pubsub $case->[0]");

    is((connect_again())[0], $case->[1], "limits $case->[0]");
}

$redis->command('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 32mb 8mb 60');

# a policy is of no interest without a limit

$redis->command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
is((connect_again())[1], undef, 'no limit of memory');

$redis->command('CONFIG', 'SET', 'maxmemory', '100mb');
is((connect_again())[1], 'allkeys-lru', 'a limit of memory');

# another worker that takes over looks for itself, though it is connected
# already; the master process would start a new one

$f->conf(0, workers => 2);
ok($t->reload(), 'two workers');
ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'are there');
$f->wait_up();

$redis->command('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 1mb 512kb 60');

my $owner = $f->owner(0);

again();
kill('STOP', $t->master());
kill('QUIT', $owner);

ok($t->wait_until(sub { ($f->owner(0) // $owner) != $owner }, 15),
   'taken over');
ok($t->wait_until(sub { defined((warnings())[0]) }, 5), 'limits');
ok($t->wait_until(sub { defined((warnings())[1]) }, 5), 'and the policy');

kill('CONT', $t->master());
ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'two workers again');
$f->wait_up();

# whoever may not ask says nothing, and works

$redis->command('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 1mb 512kb 60');
$redis->command('ACL', 'SETUSER', 'default', '-config|get');

is((connect_again())[0], undef, 'not allowed to ask');

my $c = $f->ws(0, '/ws/c');
is($f->post(0, '/pub/c', 'message')->status(), 201, 'published');
is_message($c, 'message', 'delivered');
is($f->redis_status(0)->{errors}, 0, 'it is no error');

$f->done_testing();


# What the last connection has had logged.

sub warnings {
    my $log = $t->read_file('error.log');

    $log =~ s/.*connects again//s;

    my ($limits) = $log =~ $cut;
    my ($policy) = $log =~ $evict;

    return ($limits, $policy);
}


sub again {
    open(my $fh, '>>', $t->testdir() . '/error.log') or die $!;
    print $fh "connects again\n";
    close($fh);
}


# Both warnings come before a publication is answered.

sub connect_again {
    my $n = $f->redis_status(0)->{reconnects};

    again();

    for my $client ($redis->clients()) {
        $redis->command('CLIENT', 'KILL', 'ID', $client->{id});
    }

    $t->wait_until(sub { $f->redis_status(0)->{reconnects} > $n })
        or die 'not connected again';
    $f->wait_up();
    $t->wait_until(sub {
        return $f->post(0, '/pub/again', 'x')->status() == 201;
    }) or die 'nothing is published';

    return warnings();
}
