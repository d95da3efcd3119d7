#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What a server is like: a user with no more than docs/redis.md says, one that
# evicts, one that only reads, one that tells nothing about itself.  Run with
# WS_BUS_TEST_REDIS, these are what versions of Redis and Valkey differ in.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::Redis;


my $manual = do {
    open(my $fh, '<', "$FindBin::Bin/../docs/redis.md") or die "docs: $!";
    local $/;
    <$fh>;
};

my ($acl) = $manual =~ /^ACL SETUSER bus (.*\+eval .*)$/m;

ok($acl, 'the user of docs/redis.md');

# channels are a user's only since 6.2

$acl =~ s/\S*channels|&\S+//g if Test::WsBus::Redis::version() < 6.002;

my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'user bus; password secret;',
    redis => { config => [ "user bus $acl", 'maxmemory 100mb',
                           'maxmemory-policy noeviction' ] })->start();
my $t = $f->host(0);
my $r = $f->redis();

sub logged {
    my ($re) = @_;

    return scalar(() = $t->read_file('error.log') =~ /$re/g);
}


# Nothing that a host does is refused.

my $a = $f->ws(1, '/ws/a');
my $p = $f->post(0, '/pub/a', 'one');

is($p->status(), 201, 'published') or diag($p->body());
is_message($a, 'one', 'delivered by the other host');

$p = $f->post(0, '/pub/a', 'two', headers => [ 'Idempotency-Key' => 'k' ]);
is($p->status(), 201, 'published with a key') or diag($p->body());
is_message($a, 'two', 'delivered');

my $live = $f->ws(1, '/live/l');
is($f->post(0, '/livepub/l', 'now')->status(), 201, 'without history');
is_message($live, 'now', 'delivered, too');

is($f->request(0, 'DELETE', '/pub/a')->status(), 204, 'deleted');
is_closed($a, 4004, 'its subscriber is told');

unlike($_->read_file('error.log'), qr/NOPERM|failed:|ws_bus_redis/,
       'nothing was refused') for @{$f->{hosts}};


# A server that evicts.

is(logged(qr/may evict messages/), 0, 'it does not evict');

$r->command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
$r->command('CLIENT', 'KILL', 'TYPE', 'normal');

ok($t->wait_until(sub {
    return logged(qr/\[warn].*may evict messages, .* is "allkeys-lru"/);
}, 10), 'it does, and that is told');

$r->command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');


# A server that only reads: whoever listens is served.

$f->wait_up();
is($f->post(0, '/pub/kept', 'before')->status(), 201, 'published');

$r->command('REPLICAOF', '127.0.0.1', Test::WsBus::port(6499));

is($f->post(0, '/pub/kept', 'refused')->status(), 503, 'it only reads');
ok(logged(qr/publishing "kept" failed: .*READONLY/), 'and that is told');

my $b = $f->ws(0, '/ws/new');
ok($b, 'a channel that it does not know is subscribed to');

$r->command('REPLICAOF', 'NO', 'ONE');
ok($t->wait_until(sub {
    return $f->post(0, '/pub/new', 'after')->status() == 201;
}, 10), 'it writes');
is_message($b, 'after', 'and it is delivered');


# One that does not tell about itself: without a replication id there is no
# place for a message, and everything else is as ever.

$r->command('ACL', 'SETUSER', 'bus', '-info');
$r->command('CLIENT', 'KILL', 'TYPE', 'normal');
$f->wait_up();

$live = $f->ws(1, '/live/l');
ok($t->wait_until(sub {
    return $f->post(0, '/livepub/l', 'bare')->status() == 201;
}, 10), 'without INFO and history');
is_message($live, 'bare', 'delivered');

is($f->post(0, '/pub/kept', 'x')->status(), 503, 'with history');
ok(logged(qr/publishing "kept" failed: /), 'why is told');

$r->command('ACL', 'SETUSER', 'bus', '+info');
is($f->post(0, '/pub/kept', 'x')->status(), 201, 'with INFO again');

$f->done_testing();
