# Copyright (C) the ngx_ws_bus_module authors

# A Cluster without channels of shards, as it was before Redis 7: a user who
# may not ask for the version makes it one.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 2,
    block => 'user bus; password secret;',
    topology => 'Test::WsBus::Cluster',
    redis => { replicas => 0, config => [
        'user bus on >secret ~* &* +@all -info +info|replication',
    ] })->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

$f->host(1)->expect_log(qr/\[alert\].* exited on signal 9/);

ok($t->find_in_file('error.log',
   qr/\[error\].*server \S+ does not answer INFO: "NOPERM/, timeout => 5),
   'the version is not known');

my @channels = map { $cluster->tag($_, 'p') } 0 .. 2;
my %l = map { $_ => $f->ws(1, "/live/$_") } @channels;

for my $channel (@channels) {
    is($f->post(0, "/pub/$channel", "to $channel")->status(), 201,
       'published');
    is($l{$channel}->recv(), "to $channel", 'delivered');
}

is($cluster->node(0)->command('PUBSUB', 'NUMSUB', "ws_bus:{$channels[0]}")
   ->[1], 1, 'subscribed to at the owner of the slot');
is($cluster->node(1)->command('PUBSUB', 'NUMSUB', "ws_bus:{$channels[0]}")
   ->[1], 0, 'and there only');

# any node takes a message

$cluster->node(2)->command('PUBLISH', "ws_bus:{$channels[0]}", 'plain');
is($l{$channels[0]}->recv(), 'plain', 'a plain message by another node');

# a slot moves, under load

my $slot = $cluster->slot("{$channels[0]}");
my $c = Test::WsBus::Checker->new($f, channel => $channels[0],
                                  publishers => [ 0, 0, 1, 1 ],
                                  subscribers => [ 0, 1 ]);

$c->start();
$c->wait_published(20);
$cluster->migrate($slot, 1);
$c->wait_published(20);

my $sum = $c->finish('a slot that moves');
is($sum->{gaps}, 0, 'nobody was told of a loss');

# what is not kept is for those that are subscribed by then

ok($t->wait_until(sub {
    my $m;

    $f->post(0, "/livepub/$channels[0]", 'moved')->status() == 201 or return;
    1 while defined($m = $l{$channels[0]}->recv(1)) && $m ne 'moved';

    return defined $m;
}), 'a subscription has moved with it');

$f->post(0, "/livepub/$channels[0]", 'once');
$f->post(0, "/livepub/$channels[0]", 'end');

my @got;

for (1 .. 20000) {
    push @got, $l{$channels[0]}->recv() // last;
    last if $got[-1] eq 'end';
}

is($got[-1], 'end', 'live messages go on');
is(scalar(grep { $_ eq 'once' } @got), 1, 'each once');

# owners hand over

$c->start();
$c->wait_published(20);
ok($t->reload(), 'reload');
$c->wait_published(50);
kill('KILL', $f->owner(1));
$c->wait_published(50);
$c->finish('a reload, and an owner killed');

$f->done_testing();
