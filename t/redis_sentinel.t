# Copyright (C) the ngx_ws_bus_module authors

# Two hosts whose Redis is watched by Sentinel: a failover by hand and one
# because the master is killed, both under load.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;
use Test::WsBus::Sentinels;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 2s;',
                                topology => 'Test::WsBus::Sentinels')
    ->start();
my ($t, $s) = ($f->host(0), $f->redis());

# messages of one host reach the other

my $a = $f->ws(1, '/ws/news');

is($f->post(0, '/pub/news', 'hello')->status(), 201, 'published');
is_message($a, 'hello', 'on another host');

my $l = $f->ws(1, '/live/now');

is($f->post(0, '/livepub/now', 'live')->status(), 201, 'without history');
is_message($l, 'live', 'on another host, without history');

# by hand, under load

my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 1, 1 ],
                                  subscribers => [ 0, 1, 1 ]);

$c->start();
$c->wait_published(20);

my $second = $s->failover();

$f->wait_up();
$c->wait_published(50);

$c->finish('a failover by hand');

ok($t->wait_until(sub {
    return $f->post(1, '/pub/news', 'again')->status() == 201;
}), 'published');
like($a->recv() // 'closed ' . $a->close_code(), qr/^(again|closed 1013)$/,
     'delivered, or told of a loss');

$s->wait_ok();

# the master is killed, under load, and comes back

$c->start();
$c->wait_published(20);

# nobody follows before the publishers have been told

$s->patience(600_000);
$s->server($second)->kill();
$c->wait_failed();
$s->patience(1000);
$s->wait_other($second);

ok($t->wait_until(sub {
    return $f->post(0, '/pub/probe', 'x')->status() == 201;
}, 20), 'published again');

$s->server($second)->start();
$c->wait_published(50);
$f->wait_up();

$c->finish('a master that was killed');

cmp_ok($f->redis_status(0)->{reconnects}, '>', 0, 'it was connected again');

ok($t->wait_until(sub {
    return (eval { $s->server($second)->info('role') } // '') eq 'slave';
}, 40), 'the old master is a replica now');

# a reload meanwhile changes nothing

$c->start();
ok($t->reload(), 'reload');
$c->wait_published(50);
$c->finish('a reload');

$f->done_testing();
