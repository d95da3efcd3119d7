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
    $c->wait_published(20);
    $cluster->migrate($slot, $to);
    $c->wait_published(20);
    $cluster->migrate($slot, $from);
}

my $sum = $c->finish('a slot that moves');
is($sum->{gaps}, 0, 'nobody was told of a loss');

# and is on its way for a while

$c->start();
$c->wait_published(20);
$cluster->migrate($slot, $to, sub { sleep(0.7) });
$c->wait_published(20);
$sum = $c->finish('a slot that moves slowly');
is($sum->{gaps}, 0, 'nobody was told of a loss');

ok($t->wait_until(sub {
    my $m;

    $f->post(0, '/livepub/c1', 'moved')->status() == 201 or return;
    1 while defined($m = $l{c1}->recv(1)) && $m ne 'moved';

    return defined $m;
}), 'a subscription has moved with it');

# owners hand over

$c->start();
$c->wait_published(20);
ok($t->reload(), 'reload');
$c->wait_published(50);
kill('KILL', $f->owner(1));
$c->wait_published(50);
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
$_->wait_published(20) for $c, $other;
$cluster->node($dead)->kill();

ok($t->wait_until(sub {
    return ($cluster->owner($cluster->slot("{$lost}")) // $dead) != $dead;
}, 30), 'a replica follows');

$cluster->wait_ok();

ok($t->wait_until(sub {
    return $f->post(0, "/pub/$lost", '"probe"')->status() == 201;
}, 20), 'published there');

$_->wait_published(20) for $c, $other;
$c->finish('a node that was killed');
$other->finish('the other nodes meanwhile');

# it returns

$cluster->node($dead)->start()->wait_ready();
$cluster->wait_ok();

is($f->post(1, "/pub/$lost", '"back"')->status(), 201, 'published');

$f->done_testing();
