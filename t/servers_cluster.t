# Copyright (C) the ngx_ws_bus_module authors

# The servers of a Redis Cluster by themselves: the map of slots, redirections,
# slots that move, a node that is lost and its replica that follows.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use WsBusTestServers;


my $t = servers_test()->log_level('info');
my $cluster = Test::WsBus::Cluster->new($t)->start();

servers_conf($t, <<'EOF');
    servers_redis fleet {
        mode cluster;
        server 127.0.0.1:%%PORT_7001%%;
        server 127.0.0.1:%%PORT_7000%%;
        timeout 5s;
        connect_timeout 5s;
        reconnect 20ms 200ms;
    }

    servers_redis none {
        mode cluster;
        server 127.0.0.1:%%PORT_7009%%;
        reconnect 20ms 200ms;
    }

    servers fleet fleet listen;
    servers moved fleet close=moved;
    servers up fleet close=up;
    servers none none;
EOF

$t->run();

# the map

my $state = wait_for($t, 'fleet', sub {
    return $_[0]{complete} && !grep { !$_->{listening} } @{$_[0]{servers}};
});

ok($state, 'every slot has a server');
is(scalar(@{$state->{servers}}), 3, 'three servers');

is(join(' ', sort map { $_->{name} } @{$state->{servers}}),
   join(' ', sort map { '127.0.0.1:' . $cluster->node($_)->port() } 0 .. 2),
   'the masters');
is(join(' ', sort map { $_->{slots} } @{$state->{servers}}),
   '5461 5461 5462', 'their slots');
is(scalar(grep { $_->{sharded} && $_->{version} >= 70000
                 && length $_->{replid} == 40 } @{$state->{servers}}),
   3, 'version and replication id are known');

ok(wait_for($t, 'moved', sub { $_[0]{closed} }), 'closed when slots move');
ok(wait_for($t, 'up', sub { $_[0]{closed} }), 'closed when a server is up');

is(command('none', ['k', 'GET', 'k']), 'down', 'no server');

# commands

my @keys = map { "k$_" } 1 .. 1000;
my @replies = command('fleet', map { [$_, 'SET', $_, "v$_"] } @keys);

is(scalar(grep { $_ eq '+OK' } @replies), 1000, '1000 keys of all servers');

@replies = command('fleet', map { [$_, 'GET', $_] } @keys);
is("@replies", join(' ', map { "\$v$_" } @keys), 'read again');

is(scalar(grep { /^up/ } WsBusTestServers::events('fleet')), 3,
   'each was up once');

# subscriptions, by shard

my %tag = map { $_ => $cluster->tag($_) } 0 .. 2;

like(subscribe('fleet', ["{$tag{$_}}", 'SSUBSCRIBE', "{$tag{$_}}"]),
     qr/^\[\$ssubscribe /, "subscribed to a channel of server $_")
    for 0 .. 2;

is(command('fleet', ["{$tag{2}}", 'SPUBLISH', "{$tag{2}}", 'hello']), ':1',
   'published');

my @events = wait_event($t, 'fleet', qr/\$smessage .*\$hello/);
my $address = '127.0.0.1:' . $cluster->node(2)->port();

my $channel = quotemeta("{$tag{2}}");

like($events[-1], qr/^push $address \[\$smessage \$$channel \$hello/, 'heard');

# a slot moves: ASK, then MOVED

my $slot = $cluster->slot("{$tag{0}}");

command('fleet', ["{$tag{0}}", 'SET', "{$tag{0}}old", 'old']);

$cluster->migrate($slot, 1, sub {
    is(command('fleet', ["{$tag{0}}", 'SET', "{$tag{0}}new", 'new']), '+OK',
       'a new key of a slot on its way, ASK');
    is(command('fleet', ["{$tag{0}}", 'GET', "{$tag{0}}old"]), '$old',
       'an old key of it');
    is($cluster->node(1)->client()->send('ASKING')->reply(), 'OK',
       'still on its way');

    # only one of them is there: it stays so

    like(command('fleet', ["{$tag{0}}", 'MGET', "{$tag{0}}old",
                           "{$tag{0}}new"]),
         qr/^(?:-TRYAGAIN|unsent$)/, 'keys on both sides, in the end refused');
});

is(command('fleet', ["{$tag{0}}", 'MGET', "{$tag{0}}old", "{$tag{0}}new"]),
   '[$old $new ]', 'moved, with both keys');

$channel = quotemeta("{$tag{0}}");
@events = wait_event($t, 'fleet', qr/^moved $slot-$slot$/,
                     qr/^push .* \[\$sunsubscribe \$$channel /);

ok((grep { /^moved $slot-$slot$/ } @events), 'told that it has moved');

ok((grep { /^push .* \[\$sunsubscribe \$$channel / } @events),
   'the server has ended the subscription');

like(subscribe('fleet', ["{$tag{0}}", 'SSUBSCRIBE', "{$tag{0}}"]),
     qr/^\[\$ssubscribe /, 'subscribed at its new server');

# many commands of one turn are redirected, in order

my @many = map { ["{$tag{0}}", 'RPUSH', "{$tag{0}}list", $_] } 1 .. 500;

$cluster->migrate($slot, 2);
@replies = command('fleet', @many);
is("@replies", join(' ', map { ":$_" } 1 .. 500),
   '500 commands to the old server, each done once');
is(command('fleet', ["{$tag{0}}", 'LINDEX', "{$tag{0}}list", '499']), '$500',
   'in their order');

# a server is killed, a replica follows

WsBusTestServers::events('fleet');

my $dead = $cluster->owner($cluster->slot('victim'));
my $name = '127.0.0.1:' . $cluster->node($dead)->port();

is(command('fleet', ['victim', 'SET', 'victim', '1']), '+OK', 'written');

# its replica has that: it gets commands in order, and WAIT is for one's own

$cluster->node($dead)->command('SET', '{victim}wait', '1');
is($cluster->node($dead)->command('WAIT', 1, 20000), 1, 'replicated');
$cluster->node($dead)->kill();

@events = wait_event($t, 'fleet', qr/^moved/, qr/^down $name$/,
                     qr/^deaf $name$/);

ok((grep { $_ eq "down $name" } @events), 'told that it is down');
ok((grep { $_ eq "deaf $name" } @events), 'and deaf');

ok(wait_for($t, 'fleet', sub { $_[0]{complete} }, 30),
   'every slot is served again');

$cluster->wait_ok();

is(command('fleet', ['victim', 'GET', 'victim']), '$1',
   'read from the replica that followed');

# it returns as a replica

$cluster->node($dead)->start()->wait_ready();
$cluster->wait_ok();

is(command('fleet', ['victim', 'GET', 'victim']), '$1', 'nothing changes');
@events = wait_event($t, 'fleet', qr/^gone $name$/);
ok((grep { $_ eq "gone $name" } @events), 'it is forgotten')
    or diag(join(', ', @events));

# configured ones that are not there any more do not matter

@replies = command('fleet', map { [$_, 'GET', $_] } @keys);
is(scalar(grep { /^\$vk/ } @replies), 1000, 'all keys are there');

$t->done_testing();
