#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Redis is killed, stopped, emptied, and its connections are cut: messages that
# were published with success arrive, or clients are told.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my $f = Test::WsBus::Fleet->new(hosts => 2, redis => { aof => 1 },
                                block => 'timeout 2s;')->start();
my ($t, $redis) = ($f->host(0), $f->redis());
my ($sum, $a, $r);

my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 1, 1 ],
                                  subscribers => [ 0, 1, 1 ]);


# killed, with its data

$c->start();
$c->wait_published(50);
$redis->kill();
$c->wait_failed();
$f->wait_down();
$redis->start();
$f->wait_up();
$c->wait_published(50);
$sum = $c->finish('killed and started again');

cmp_ok($f->redis_status(0)->{reconnects}, '>', 0, 'it was connected again');


# stopped for longer than it is waited for

$c->start();
$c->wait_published(50);
$redis->pause();
$c->wait_failed();
sleep(1);

# a worker is not stopped with it

is($f->request(0, 'GET', '/status')->status(), 200,
   'a worker answers while Redis does not');

$redis->resume();
$f->wait_up();
$c->wait_published(50);
$sum = $c->finish('stopped and continued');


# the subscriber's connection is cut

$c->start();

for (1 .. 5) {
    $c->wait_published(20);

    my @n = map { $f->redis_status($_)->{reconnects} } 0, 1;
    my @subs;

    ok($t->wait_until(sub {
        @subs = grep { ($_->{sub} // 0) > 0 } $redis->clients();
        return @subs == 2;
    }), 'both are subscribed');

    $redis->command('CLIENT', 'KILL', 'ID', $_->{id}) for @subs;

    ok($t->wait_until(sub {
        return !grep { $f->redis_status($_)->{reconnects} <= $n[$_] } 0, 1;
    }), 'both connect again');
}

$f->wait_up();
$sum = $c->finish('subscribers cut off');
is($sum->{gaps}, 0, 'nothing was lost');


# the scripts are forgotten

$c->start();

for (1 .. 10) {
    $c->wait_published(5);
    $redis->command('SCRIPT', 'FLUSH');
}

$sum = $c->finish('scripts forgotten');
is($sum->{failed}, 0, 'nobody has noticed');
is($sum->{gaps}, 0, 'nothing was lost');


# emptied: clients are told, and go on

$c->start();
$c->wait_published(50);
$redis->restart(signal => 'KILL');
$f->wait_up();
$c->wait_published(50);
$sum = $c->finish('started anew without data');

is($sum->{gaps}, 3, 'all were told');

$c->start();
$c->wait_published(50);
$redis->command('FLUSHALL');
$c->wait_published(50);
$sum = $c->finish('emptied');

is($sum->{gaps}, 3, 'all were told');


# a key of another type

$redis->command('SET', 'ws_bus:{wrong}:meta', 'x');

$r = $f->post(0, '/pub/wrong', 'message');
is($r->status(), 503, 'a channel with a key of another type');
is($f->ws_response(0, '/ws/wrong')->status(), 503, 'nor can it be read');

$redis->command('DEL', 'ws_bus:{wrong}:meta');
is($f->post(0, '/pub/wrong', 'message')->status(), 201, 'deleted');


# nobody is there

$a = $f->ws(1, '/ws/down');
$redis->kill();

$f->wait_down();

is($f->post(0, '/pub/down', 'message')->status(), 503, 'a publication');
is($f->ws_response(1, '/ws/down')->status(), 503, 'a subscriber');
is($f->host(1)->find_in_file('error.log', qr/\[error\] .*websocket handshake /
   . 'refused: the bus is not available', timeout => 5), 1, 'which is told');
is($f->request(1, 'GET', '/ws/down', headers => [ Accept =>
   'text/event-stream' ])->status(), 503, 'an event stream');

my $j = json('/json', port => $f->port(1));

is_error($j->ask('subscribe', channel => 'down'), 'unavailable', undef,
         'a subscription');
is_error($j->ask('publish', channel => 'down', data => \1), 'unavailable',
         undef, 'a JSON publication');

$redis->start();
$f->wait_up();

is($f->post(0, '/pub/down', 'after')->status(), 201, 'it is back');
is_message($a, 'after', 'who has stayed gets what comes');
is($j->ask('subscribe', channel => 'down')->{type}, 'subscribed',
   'and others can come');

$f->done_testing();
