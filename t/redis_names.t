#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A Cluster whose nodes have names, and sentinels that name hosts: nginx's
# resolver knows where they are, also when they move.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use Test::WsBus::Dns;
use Test::WsBus::Fleet;
use Test::WsBus::Redis;
use Test::WsBus::Sentinels;


plan(skip_all => 'names of nodes are of Redis 7')
    if Test::WsBus::Redis::version() < 7;

my ($f, $t, $a, $name);


# a Cluster

$f = Test::WsBus::Fleet->new(hosts => 1, block => 'timeout 3s;',
                             topology => 'Test::WsBus::Cluster',
                             redis => { names => 1 });
$t = $f->host(0);
$f->{opt}{http} = Test::WsBus::Dns->new($t)->resolver();

$t->time_limit(200);
$t->write_file("node$_.example", '127.0.0.1') for 0 .. 5;
$f->start();

my $cluster = $f->redis();
my @c = map { $cluster->tag($_, 'c') } 0 .. 2;
my %ws = map { $_ => $f->ws(0, "/ws/$c[$_]") } 0 .. 2;

for (0 .. 2) {
    is($f->post(0, "/pub/$c[$_]", 'hello')->status(), 201, 'published');
    is_message($ws{$_}, 'hello', 'delivered');
}

ok($t->find_in_file('error.log',
   qr/\[notice\].* redis is up, .*server: "node$_\.example:\d+"/),
   "node $_ by its name") for 0 .. 2;

# MOVED has a name, too

my $slot = $cluster->slot("{$c[0]}");

$cluster->migrate($slot, 1);
is($f->post(0, "/pub/$c[0]", 'moved')->status(), 201, 'published');
is_message($ws{0}, 'moved', 'delivered');

# a name that is not known, then it is: a replica follows

my $lost = $cluster->owner($cluster->slot("{$c[2]}"));

unlink($t->testdir() . "/node$_.example") for 3 .. 5;

# its replica has all of it: WAIT is for what this client has written

$cluster->node($lost)->command('SET', "{$c[2]}wait", '1');
is($cluster->node($lost)->command('WAIT', 1, 20000), 1, 'replicated');
$cluster->node($lost)->kill();

ok($t->wait_until(sub {
    ($cluster->owner($cluster->slot("{$c[2]}")) // $lost) != $lost
}, 30), 'a replica follows');

ok($t->find_in_file('error.log',
   qr/\[error\].*redis is down, cannot resolve the name: "Host not found"/,
   timeout => 20), 'nobody knows its name');
is($f->post(0, "/pub/$c[1]", 'others')->status(), 201, 'the others go on');
is_message($ws{1}, 'others', 'and are heard');
is($f->post(0, "/pub/$c[2]", 'no')->status(), 503, 'not this one');

$t->write_file("node$_.example", '127.0.0.1') for 3 .. 5;

ok($t->wait_until(sub {
    return $f->post(0, "/pub/$c[2]", 'known')->status() == 201;
}, 30), 'now somebody knows it');
is_message($ws{2}, 'known', 'delivered');

$t->stop();
$_->stop() for $cluster->nodes();
$t->finish();


# sentinels

$f = Test::WsBus::Fleet->new(hosts => 1, block => 'timeout 3s;',
                             topology => 'Test::WsBus::Sentinels',
                             redis => { host => 'localhost' });
$t = $f->host(0);
$f->{opt}{http} = Test::WsBus::Dns->new($t)->resolver();

$t->time_limit(200);
$t->write_file('localhost', '127.0.0.1');
$f->start();

my $s = $f->redis();

$a = $f->ws(0, '/ws/c');
is($f->post(0, '/pub/c', 'hello')->status(), 201, 'published');
is_message($a, 'hello', 'delivered');

$name = 'localhost:' . $s->server_port($s->current());
ok($t->find_in_file('error.log',
   qr/\[notice\].* redis is up, .*server: "$name"/), 'the master by its name');

my $first = $s->current();

$s->server($first)->kill();
$name = 'localhost:' . $s->server_port($s->wait_other($first));

ok($t->wait_until(sub {
    return $f->post(0, '/pub/c', 'failover')->status() == 201;
}, 30), 'another master');
ok($t->find_in_file('error.log',
   qr/\[notice\].* redis is up, .*server: "$name"/), 'by its name, too');

$f->done_testing();
