# Copyright (C) the ngx_ws_bus_module authors

# The master that Sentinel names: killed, replaced by hand, back as a replica;
# a standalone server beside it.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Sentinels;
use WsBusTestServers;


my $t = servers_test()->log_level('info');
my $s = Test::WsBus::Sentinels->new($t)->start();

servers_conf($t, <<'EOF');
    servers_redis fleet {
        mode sentinel bus;
        server 127.0.0.1:%%PORT_7500%%;
        server 127.0.0.1:%%PORT_7501%%;
        server 127.0.0.1:%%PORT_7502%%;
        timeout 10s;
        connect_timeout 10s;
        reconnect 20ms 200ms;
    }

    servers_redis unknown {
        mode sentinel nobody;
        server 127.0.0.1:%%PORT_7500%%;
    }

    servers_redis replica {
        server 127.0.0.1:%%PORT_7301%%;
    }

    servers fleet fleet listen;
    servers push fleet listen close=push;
    servers gone fleet listen close=gone;
    servers reply fleet close=reply;
    servers unknown unknown;
    servers replica replica listen;
EOF

$t->run();

my $state = wait_for($t, 'fleet', sub {
    return $_[0]{complete} && $_[0]{servers}[0]{listening};
});

my $first = $s->current();

ok($state, 'there is a master');
is($state->{servers}[0]{name}, '127.0.0.1:' . $s->server_port($first),
   'the right one');
is($state->{servers}[0]{replid}, $s->server($first)->info('master_replid'),
   'its replication id');
is($state->{servers}[0]{sharded}, 0, 'no shards');

is(command('fleet', ['k', 'SET', 'k', 'v']), '+OK', 'a command');
is(command('unknown', ['k', 'GET', 'k']), 'down', 'a master nobody knows');

$state = wait_for($t, 'replica', sub { $_[0]{servers}[0]{listening} });

ok($state, 'a standalone server may be a replica');
is($state->{servers}[0]{replid}, '', 'whose replication id is not used');

# closed by handlers

is(command('reply', ['k', 'GET', 'k']), '$v', 'closed by an answer');
ok(wait_for($t, 'reply', sub { $_[0]{closed} }), 'it is');

wait_for($t, 'push', sub { $_[0]{closed} || $_[0]{servers}[0]{listening} });
subscribe('push', ['c', 'SUBSCRIBE', 'c']);
ok(wait_for($t, 'push', sub { $_[0]{closed} }), 'closed by a push');

# by hand

WsBusTestServers::events('fleet');
subscribe('fleet', ['c', 'SUBSCRIBE', 'c']);

replicated($first);

my $second = $s->failover();
my $name = '127.0.0.1:' . $s->server_port($second);

ok(wait_for($t, 'fleet', sub {
    my ($server) = @{$_[0]{servers}};
    return $server->{name} eq $name && $server->{listening};
}, 30), 'another master, by hand');

my @events = WsBusTestServers::events('fleet');
my $old = '127.0.0.1:' . $s->server_port($first);

is(join(', ', grep { /^(moved|gone)/ } @events),
   "moved 0-16383, gone $old", 'all slots have moved');
ok((grep { $_ eq "down $old" } @events), 'the old one is down');
ok((grep { $_ eq "deaf $old" } @events), 'and deaf');

ok(wait_for($t, 'gone', sub { $_[0]{closed} }), 'closed by a server gone');
is(command('fleet', ['k', 'GET', 'k']), '$v', 'what was written is there');
is(command('fleet', ['k', 'SET', 'k', 'w']), '+OK', 'written');

$s->wait_ok();

# killed

# nobody follows before that is seen

$s->patience(600_000);
$s->server($second)->kill();

ok(wait_for($t, 'fleet', sub { !$_[0]{complete} }), 'no master');
is(command('fleet', ['k', 'GET', 'k']), 'down', 'no answer');

$s->patience(1000);

my $third = $s->wait_other($second);

$name = '127.0.0.1:' . $s->server_port($third);

ok(wait_for($t, 'fleet', sub {
    return $_[0]{complete} && $_[0]{servers}[0]{name} eq $name;
}, 30), 'another master, the old one killed');

is(command('fleet', ['k', 'SET', 'k', 'x']), '+OK', 'written to it');

# the old one comes back, as a master at first

$s->server($second)->start();

ok($t->wait_until(sub {
    return (eval { $s->server($second)->info('role') } // '') eq 'slave';
}, 40), 'it becomes a replica');

$state = WsBusTestServers::state('fleet');

is($state->{servers}[0]{name}, $name, 'the master is the same');
is(scalar(@{$state->{servers}}), 1, 'and the only one');

# sentinels are lost, and one is enough

$s->watcher(1)->kill();
$s->watcher(2)->kill();

is(command('fleet', ['k', 'GET', 'k']), '$x', 'two sentinels killed');

# a master that no sentinel has made a replica: READONLY

my $port = $s->server_port((grep { $_ != $third } 0 .. 2)[0]);

$s->watcher(0)->kill();
$s->server($third)->client()->command('REPLICAOF', '127.0.0.1', $port);

like(command('fleet', ['k', 'SET', 'k', 'y']), qr/^-READONLY/,
     'no master any more');
ok(wait_for($t, 'fleet', sub { !$_[0]{complete} }), 'not used any more');

$s->server($third)->client()->command('REPLICAOF', 'NO', 'ONE');

ok(wait_for($t, 'fleet', sub { $_[0]{complete} }), 'a master again');
is(command('fleet', ['k', 'SET', 'k', 'z']), '+OK', 'written again');

$t->done_testing();


# What has been written to it is there whichever follows: replicas get commands
# in order, and WAIT is for one's own.

sub replicated {
    my ($n) = @_;

    my $client = $s->server($n)->client();

    $client->command('SET', 'wait', '1');
    is($client->command('WAIT', 2, 20000), 2, 'both replicas have it');
}
