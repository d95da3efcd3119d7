# Copyright (C) the ngx_ws_bus_module authors

# Two hosts and a Redis Cluster: channels of all its nodes, slots that move and
# a node that is killed, both under load, owners that hand over.

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
                                topology => 'Test::WsBus::Cluster')
    ->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

$t->time_limit(200);
$f->host(1)->expect_log(qr/\[alert\].* exited on signal 9/);

# channels of all nodes

my @channels = map { "c$_" } 1 .. 30;
my %of = map { $_ => $cluster->owner($cluster->slot("{$_}")) } @channels;

is(join(' ', sort keys %{{ reverse %of }}), '0 1 2', 'channels of all nodes');

my %a = map { $_ => $f->ws(1, "/ws/$_") } @channels;
my %l = map { $_ => $f->ws(1, "/live/$_") } @channels;

is(scalar(grep { $f->post(0, "/pub/$_", "to $_")->status() == 201 }
          @channels), 30, 'published');
is(scalar(grep { ($a{$_}->recv() // '') eq "to $_" } @channels), 30,
   'each on the other host');
is(scalar(grep { ($l{$_}->recv() // '') eq "to $_" } @channels), 30,
   'and live');

$f->post(0, "/livepub/$_", "live $_") for @channels;

is(scalar(grep { ($l{$_}->recv() // '') eq "live $_" } @channels), 30,
   'without history');

# any client of Redis, by shard

$cluster->node($of{c1})->command('SPUBLISH', 'ws_bus:{c1}', 'plain');
is($l{c1}->recv(), 'plain', 'a plain message');

# a slot moves, under load

my ($from, $to) = ($of{c1}, ($of{c1} + 1) % 3);
my $slot = $cluster->slot('{c1}');

my $c = Test::WsBus::Checker->new($f, channel => 'c1',
                                  publishers => [ 0, 0, 1, 1 ],
                                  subscribers => [ 0, 1 ]);

$c->start();

for (1 .. 3) {
    sleep(0.3);
    $cluster->migrate($slot, $to);
    sleep(0.3);
    $cluster->migrate($slot, $from);
}

sleep(0.5);

my $sum = $c->finish('a slot that moves');
is($sum->{gaps}, 0, 'nobody was told of a loss');

# and is on its way for a while

$c->start();
sleep(0.3);
$cluster->migrate($slot, $to, sub { sleep(0.7) });
sleep(0.5);
$sum = $c->finish('a slot that moves slowly');
is($sum->{gaps}, 0, 'nobody was told of a loss');

is($f->post(0, '/livepub/c1', 'moved')->status(), 201, 'published live');

my $m;

for (1 .. 20000) {
    $m = $l{c1}->recv();
    last if !defined $m || $m eq 'moved';
}

is($m, 'moved', 'a subscription has moved with it');

# owners hand over

$c->start();
sleep(0.3);
ok($t->reload(), 'reload');
sleep(1);
kill('KILL', $f->owner(1));
sleep(2);
$sum = $c->finish('a reload, and an owner killed');

# a node is killed, and its replica follows

my ($lost) = grep { $of{$_} == $cluster->owner($cluster->slot("{$_}"))
                    && $_ ne 'c1' } @channels;
my $dead = $of{$lost};
my ($kept) = grep { $of{$_} != $dead && $_ ne 'c1' } @channels;

$c = Test::WsBus::Checker->new($f, channel => $lost,
                               publishers => [ 0, 1 ],
                               subscribers => [ 0, 1 ]);
my $other = Test::WsBus::Checker->new($f, channel => $kept,
                                      publishers => [ 0, 1 ],
                                      subscribers => [ 0, 1 ]);

$_->start() for $c, $other;
sleep(0.5);
$cluster->node($dead)->kill();

ok($t->wait_until(sub {
    return ($cluster->owner($cluster->slot("{$lost}")) // $dead) != $dead;
}, 30), 'a replica follows');

$cluster->wait_ok();

ok($t->wait_until(sub {
    return $f->post(0, "/pub/$lost", '"probe"')->status() == 201;
}, 20), 'published there');

sleep(1);
$c->finish('a node that was killed');
$other->finish('the other nodes meanwhile');

# it returns

$cluster->node($dead)->start()->wait_ready();
$cluster->wait_ok();

is($f->post(1, "/pub/$lost", '"back"')->status(), 201, 'published');

$f->done_testing();
