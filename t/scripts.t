#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The Lua scripts on a Redis: places without gaps, idempotency, what expires
# and is evicted, keys of another type.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use Test::WsBus::Scripts;

use constant { PUBLISHERS => 10, EACH => 1000 };

my $t = Test::WsBus->new()->has('bin/redis-server');
my $r = Test::WsBus::Redis->new($t)->start();
my $s = Test::WsBus::Scripts->new($r);

my $EPOCH = qr/^[0-9a-f]{16}$/;

sub decode { return Test::WsBus::Scripts::decode(@_) }

# the seqs of a history's entries

sub seqs {
    my ($h) = @_;

    return join(' ', map { $_->{seq} } decode(@{ $h->{entries} }));
}

sub error_of {
    my ($code) = @_;

    eval { $code->(); 1 } and return '';
    return $@;
}

sub dump_of {
    my ($channel) = @_;

    return join("\n", map {
        my $dump = $s->command('DUMP', $s->key($channel, $_));
        unpack('H*', $dump // '');
    } qw/ :meta :log /);
}


# One message: its place, its keys, what subscribers get.

my $listener = $r->client();
$listener->command('SUBSCRIBE', $s->key('one'));

my $place = $s->publish('one', 'hello', time => 1234567890123, age => 60000);

is($place->{new}, 1, 'new');
is($place->{seq}, 1, 'the first seq');
like($place->{epoch}, $EPOCH, 'epoch');
is($place->{receivers}, 1, 'a receiver');
is($place->{replid}, '', 'the replication id is right');

my $told = $listener->reply();

is($told->[1], $s->key('one'), 'published on the channel');

my $e = decode($told->[2]);

is_deeply($e, {
    rc => 0, plain => 0, flags => 8, epoch => $place->{epoch}, seq => 1,
    prev => '0' x 16, base => 0, time => 1234567890123, age => 60000,
    payload => 'hello',
}, 'the envelope');

is_deeply($s->command('XRANGE', $s->key('one', ':log'), '-', '+'),
          [ [ '1-0', [ 'm', $told->[2] ] ] ], 'the same is in the log');

my %meta = @{ $s->command('HGETALL', $s->key('one', ':meta')) };

is($meta{epoch}, $place->{epoch}, 'meta: epoch');
is($meta{seq}, 1, 'meta: seq');
is($meta{replid}, $s->{replid}, 'meta: replid');

$place = $s->publish('one', "\xff\0", flags => 1);

is($place->{seq}, 2, 'the next seq');
is($place->{epoch}, $meta{epoch}, 'the same epoch');

$e = decode($listener->reply()->[2]);

is("$e->{flags} $e->{payload}", "9 \xff\0", 'binary');

$place = $s->publish('one', 'x', count => 0);

is("$place->{seq}:$place->{epoch}", '0:', 'not kept: no place');

$e = decode($listener->reply()->[2]);

is("$e->{flags} $e->{seq} $e->{payload}", '0 0 x', 'not kept: no seq');
is($s->command('HGET', $s->key('one', ':meta'), 'seq'), 2,
   'not kept: no seq is used');


# A seq of every length of its varint.

my @wrong;

for my $seq (1, 126, 127, 128, 16382, 16383, 16384, 2097151, 2**32 - 2,
             2**32, 2**49, 9007199254740989)
{
    $s->command('HSET', $s->key('varint', ':meta'), 'epoch', 'f' x 16,
                'seq', $seq, 'replid', $s->{replid});

    my $got = $s->publish('varint', "at $seq");
    my ($kept) = decode(@{ $s->history('varint', $seq)->{entries} });

    push @wrong, $seq
        unless $got->{seq} == $seq + 1 && $kept->{rc} == 0
            && $kept->{seq} == $seq + 1 && $kept->{epoch} eq 'f' x 16
            && $kept->{payload} eq "at $seq";
}

is("@wrong", '', 'a seq of every length');

$s->command('HSET', $s->key('varint', ':meta'), 'seq', '9007199254740991');
$place = $s->publish('varint', 'x');

is($place->{seq}, 1, 'no seq is left: from the start');
isnt($place->{epoch}, 'f' x 16, 'no seq is left: a new epoch');


# Many at once.

my $watcher = $r->client();
$watcher->command('SUBSCRIBE', $s->key('many'));

my @pids;

for my $n (1 .. PUBLISHERS) {
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        my $ok = eval { publisher($n); 1 };
        print STDERR $@ if !$ok;
        POSIX::_exit($ok ? 0 : 1);
    }

    push @pids, $pid;
}

# each with 20 in flight

sub publisher {
    my ($n) = @_;

    my $p = Test::WsBus::Scripts->new($r);
    my ($sent, $answered) = (0, 0);

    while ($answered < EACH) {
        while ($sent < EACH && $sent - $answered < 20) {
            $sent++;
            $p->{client}->send('EVALSHA', $p->{sha}{publish},
                $p->publish_command('many', "$n:$sent",
                    count => PUBLISHERS * EACH, round => int($sent / 300)));
        }

        die 'refused' if ref $p->{client}->reply() ne 'ARRAY';
        $answered++;
    }
}

my @live = map { $watcher->reply(30)->[2] } 1 .. PUBLISHERS * EACH;

my $failed = grep { waitpid($_, 0); $? } @pids;

is($failed, 0, 'all publishers are done');

my $h = $s->history('many', 0, limit => PUBLISHERS * EACH, bytes => 1 << 30);

is($h->{seq}, PUBLISHERS * EACH, 'as many seqs as messages');
is($h->{first}, 1, 'all are kept');
is(scalar(@{ $h->{entries} }), PUBLISHERS * EACH, 'all can be had');
ok(join('', @live) eq join('', @{ $h->{entries} }),
   'the order is the same for live and kept');

my (%seen, %last);
my ($disorder, $next) = (0, 1);

for my $e (decode(@live)) {
    my ($n, $i) = split(/:/, $e->{payload});

    $disorder++ if $e->{seq} != $next++ || $i != ($last{$n} // 0) + 1;
    $last{$n} = $i;
    $seen{"$n:$i"}++;
}

is($disorder, 0, 'contiguous, and in order for each publisher');
is(scalar(keys %seen), PUBLISHERS * EACH, 'none twice');


# The count.

for my $round ('', 'same') {
    my $c = "count$round";

    $s->publish($c, 'x' x 100, count => 50, round => $round) for 1 .. 500;
    $h = $s->history($c, 0, limit => 1000);

    is($h->{first}, 451, "count, round '$round': the oldest that is kept");
    is(seqs($h), join(' ', 451 .. 500), "count, round '$round': no others");
    cmp_ok($s->command('XLEN', $s->key($c, ':log')), '<=', 166,
           "count, round '$round': the log is trimmed");
}

# a node of a stream has 4096 bytes

for my $size (10, 100, 2000, 5000) {
    my ($c, $max) = ("size$size", 0);

    for (1 .. 100) {
        $s->publish($c, 'x' x $size, count => 1, round => 'same');

        my $bytes = $size * $s->command('XLEN', $s->key($c, ':log'));

        $max = $bytes if $bytes > $max;
    }

    cmp_ok($max, '<=', 3 * 4096, "messages of $size bytes: the log is short");
}

$s->publish('count', 'x', count => 10);

is($s->history('count', 0)->{first}, 492, 'a smaller count');


# History: after, limit, bytes.

$s->publish('h', "message $_", count => 100) for 1 .. 100;

is(seqs($s->history('h', 90)), join(' ', 91 .. 100), 'history: after');
is(seqs($s->history('h', 0, limit => 3)), '1 2 3', 'history: limit');
is(seqs($s->history('h', -1, limit => 3)), '98 99 100', 'history: the newest');
is(seqs($s->history('h', -1, limit => 500)), join(' ', 1 .. 100),
   'history: the newest, all');
is(seqs($s->history('h', 10, limit => 80)), join(' ', 11 .. 90),
   'history: more than is read at a time');
is(seqs($s->history('h', 100)), '', 'history: nothing is missing');
is(seqs($s->history('h', 4000)), '', 'history: ahead');
is(seqs($s->history('h', 0, limit => 0)), '', 'history: the position only');
is(seqs($s->history('h', 0, bytes => 1)), '1', 'history: one at least');

my $size = length($s->history('h', 0)->{entries}[0]);

is(seqs($s->history('h', 0, bytes => 3 * $size)), '1 2 3', 'history: bytes');
is(seqs($s->history('h', 0, bytes => 3 * $size + 1)), '1 2 3 4',
   'history: one more byte');

$h = $s->history('h', 0, limit => 0);

is("$h->{seq} $h->{first} $h->{prev}/$h->{base}", '100 1 /0',
   'history: the position');


# A channel that is unknown.

is_deeply($s->history('unknown', 0),
    { epoch => '', seq => 0, prev => '', base => 0, first => 1,
      entries => [], older => [] }, 'unknown, read');
is($s->command('EXISTS', map { $s->key('unknown', $_) } ':meta', ':log'), 0,
   'unknown, read: nothing is made');

$h = $s->history('unknown', 0, epoch => 'a' x 16, meta_ttl => 5000);

is("$h->{epoch} $h->{seq} $h->{first}", ('a' x 16) . ' 0 1',
   'unknown, subscribed: a position');
cmp_ok($s->command('PTTL', $s->key('unknown', ':meta')), '>', 0,
       'unknown, subscribed: with a time to live');

is($s->history('unknown', 0, epoch => 'b' x 16)->{epoch}, 'a' x 16,
   'subscribed again: the same epoch');

$place = $s->publish('unknown', 'x');

is("$place->{epoch} $place->{seq}", ('a' x 16) . ' 1',
   'the first message is of that epoch');

is($s->command('HGET', $s->key('unknown', ':meta'), 'replid'), $s->{replid},
   'the replication id was asked for');


# Positions.

is_deeply($s->position([ 'h', 'nothing', 'unknown' ]),
    [ [ $h = $s->history('h', 0)->{epoch}, 100, '', 0 ], [ '', 0, '', 0 ],
      [ 'a' x 16, 1, '', 0 ] ], 'positions');

$s->position([ 'h', 'nothing' ], 777_000);

cmp_ok($s->command('PTTL', $s->key('h', ':meta')), '>', 700_000,
       'a position that is asked for lives on');
is($s->command('EXISTS', $s->key('nothing', ':meta')), 0,
   'an unknown one is not made');

$s->position([ 'h' ], 1000);
$s->history('h', 0, epoch => 'a' x 16, meta_ttl => 1000);

cmp_ok($s->command('PTTL', $s->key('h', ':meta')), '>', 700_000,
       'it is never made to live shorter');

$s->history('h', 0, meta_ttl => 999_000);

cmp_ok($s->command('PTTL', $s->key('h', ':meta')), '>', 900_000,
       'a history that is asked for lives on');

$s->command('PERSIST', $s->key('h', ':meta'));
$s->position([ 'h' ], 1000);

is($s->command('PTTL', $s->key('h', ':meta')), -1, 'nor is one forever');


# Idempotency.

my %once = (once => 'ab01', once_ttl => 300_000);
my $first = $s->publish('once', 'first', %once);

is($first->{new}, 1, 'once: new');

my $again = $s->publish('once', 'second', %once);

is($again->{new}, 0, 'once: again');
is("$again->{seq} $again->{epoch} $again->{receivers}",
   "$first->{seq} $first->{epoch} $first->{receivers}",
   'once: the first result');
is($s->history('once', 0)->{seq}, 1, 'once: published once');
cmp_ok($s->command('PTTL', $s->key('once', ':once:ab01')), '>', 290_000,
       'once: remembered for its time');

is($s->publish('once', 'x', once => 'ab02')->{new}, 1, 'once: another key');
is($s->publish('other', 'x', %once)->{new}, 1, 'once: another channel');

$s->command('PEXPIRE', $s->key('once', ':once:ab01'), 1);

$t->wait_until(sub {
    !$s->command('EXISTS', $s->key('once', ':once:ab01'));
});

$again = $s->publish('once', 'third', %once);

is("$again->{new} $again->{seq}", '1 3', 'once: expired');

$first = $s->publish('once-only', 'x', count => 0, %once);
$again = $s->publish('once-only', 'x', count => 0, %once);

is("$first->{new} $again->{new} $again->{seq} [$again->{epoch}]", '1 0 0 []',
   'once, without history');


# Times to live.

$s->publish('ttl', 'x', ttl => 10_000, meta_ttl => 99_000);

my ($log, $meta) = map { $s->command('PTTL', $s->key('ttl', $_)) }
    qw/ :log :meta /;

ok($log > 5_000 && $log <= 10_625, 'ttl of the log');
ok($meta > 90_000 && $meta <= 105_188, 'ttl of meta');

$s->publish('ttl', 'x', ttl => 50_000, meta_ttl => 99_000);
cmp_ok($s->command('PTTL', $s->key('ttl', ':log')), '>', 40_000,
       'ttl: set again');

$s->publish('ttl', 'x', ttl => 0, meta_ttl => 0);
is($s->command('PTTL', $s->key('ttl', $_)), -1, "ttl 0: $_ stays")
    for qw/ :log :meta /;

my %round = (round => 7, ttl => 30_000);

$s->publish('ttl', 'x', %round);
cmp_ok($s->command('PTTL', $s->key('ttl', ':log')), '>', 0, 'round: set');

for my $replid ($s->{replid}, '', 'f' x 40, substr($s->{replid}, 0, 8)) {
    $s->command('PERSIST', $s->key('ttl', ':log'));
    $place = $s->publish('ttl', 'x', %round, replid => $replid);

    is($s->command('PTTL', $s->key('ttl', ':log')), -1,
       "the same round, id '$replid': not set again");
    is($place->{replid}, $replid eq $s->{replid} ? '' : $s->{replid},
       "the same round, id '$replid': the right one is told");
}

for my $other ([ round => 8 ], [ round => '' ], [ round => '' ], [ ttl => 31_000 ],
               [ meta_ttl => 121_000 ], [ count => 99 ])
{
    $s->command('PERSIST', $s->key('ttl', ':log'));
    $s->publish('ttl', 'x', %round, @$other);
    cmp_ok($s->command('PTTL', $s->key('ttl', ':log')), '>', 0,
           "another $other->[0]: set");
}

is($s->command('HGET', $s->key('ttl', ':meta'), 'count'), 99,
   'another count: known');


# Keys that are gone.

my $before = $s->publish('gone', "m$_", %round) for 1 .. 5;
$before = $s->publish('gone', 'm6', %round);

$s->command('DEL', $s->key('gone', ':log'));

$h = $s->history('gone', 3);

is("$h->{epoch} $h->{seq} $h->{first}", "$before->{epoch} 6 7",
   'no log: the position stays, no message can be had');

$place = $s->publish('gone', 'm7', %round);

is("$place->{epoch} $place->{seq}", "$before->{epoch} 7",
   'no log: the epoch and the count go on');
cmp_ok($s->command('PTTL', $s->key('gone', ':log')), '>', 0,
       'no log: the new one has a time to live');

$h = $s->history('gone', 3);

is("$h->{first} " . seqs($h), '7 7', 'no log: what is kept since');

$s->command('DEL', $s->key('gone', ':meta'));

is($s->history('gone', 0)->{epoch}, '', 'no meta: unknown');

$place = $s->publish('gone', 'm8', %round);

is($place->{seq}, 1, 'no meta: from the start');
isnt($place->{epoch}, $before->{epoch}, 'no meta: a new epoch');
is(seqs($h = $s->history('gone', 0)), '1', 'no meta: the old log is gone');
is($h->{prev}, '', 'no meta: it does not claim to go on');

$s->command('DEL', $s->key('gone', ':meta'));
$h = $s->history('gone', 0, epoch => 'c' x 16);

is("$h->{epoch} $h->{seq} $h->{first} [" . seqs($h) . ']',
   ('c' x 16) . ' 0 1 []', 'no meta, subscribed: a new epoch, no old log');

for my $bad ([ epoch => '0123' ], [ epoch => 'g' x 16 ], [ seq => 'x' ],
             [ seq => -1 ], [ seq => 1.5 ], [ seq => 'inf' ], [ seq => 'nan' ])
{
    $before = $s->publish('bad', 'x');
    $s->command('HSET', $s->key('bad', ':meta'), @$bad);

    $place = $s->publish('bad', 'y');

    ok($place->{seq} == 1 && $place->{epoch} ne $before->{epoch},
       "meta with $bad->[0] $bad->[1]: a new epoch");
}


# Keys of another type.

for my $suffix (':meta', ':log', ':once:aa') {
    my $key = $s->key('type', $suffix);

    for my $fresh (1, 0) {
        my $name = $fresh ? "$suffix, a new channel" : $suffix;

        $s->command('DEL', map { $s->key('type', $_) }
                    ':meta', ':log', ':once:aa');
        $s->publish('type', 'x') if !$fresh;
        $s->command('DEL', $key);

        if ($suffix eq ':once:aa') {
            $s->command('LPUSH', $key, 'mine');
        } else {
            $s->command('SET', $key, 'mine');
        }

        my $dump = dump_of('type');

        like(error_of(sub { $s->publish('type', 'y', once => 'aa') }),
             qr/WRONGTYPE/, "$name: publish");
        is(dump_of('type'), $dump, "$name: nothing has changed");

        next if $suffix eq ':once:aa';

        like(error_of(sub { $s->history('type', 0, epoch => 'a' x 16) }),
             qr/WRONGTYPE/, "$name: history");
        like(error_of(sub { $s->delete('type') }), qr/WRONGTYPE/,
             "$name: delete");
        is(dump_of('type'), $dump, "$name: still nothing has changed");
    }
}

$s->command('DEL', map { $s->key('type', $_) } ':meta', ':log', ':once:aa');
$s->command('SET', $s->key('type', ':once:aa'), 'mine');
like(error_of(sub { $s->publish('type', 'y', once => 'aa') }),
     qr/not a result/, 'once: another string');
$s->command('SET', $s->key('type', ':meta'), 'mine');
is_deeply($s->position([ 'type', 'h' ])->[0], [ '', 0, '', 0 ],
          'a position of another type is none');


# Mistakes of a caller.

my $dump = dump_of('h');

for my $flags ('', 'x', '3', '8', '10', '32', '00', "\0") {
    like(error_of(sub { $s->publish('h', 'x', flags => $flags) }),
         qr/not a message/, 'no flags: ' . unpack('H*', $flags));
}

like(error_of(sub { $s->publish('h', '', rest => $_) }),
     qr/not a message/, 'no envelope: ' . unpack('H*', $_))
    for '', "\0";

for my $settings ('x', '100', '100:1:1', ':1:1::', 'x:1:1::', '100:x:1::',
                  '100:1:x::', '-1:1:1::', '1.5:1:1::', '100:1:1:1:1:',
                  '100:1:1:1:x', '0:1:1:1:')
{
    like(error_of(sub { $s->publish('h', 'x', settings => $settings) }),
         qr/not settings/, "no settings: $settings");
}

like(error_of(sub { $s->publish('h', 'x', with => 'DEL') }),
     qr/not a message/, 'no PUBLISH');
like(error_of(sub { $s->position([ 'h' ], 'x') }),
     qr/not a time to live/, 'no time, position');
like(error_of(sub { $s->history('h', 'x') }), qr/not a history/, 'no seq');
like(error_of(sub { $s->history('new', 0, epoch => 'a' x 16,
                                meta_ttl => 'x') }),
     qr/not a history/, 'no time, history');
like(error_of(sub { $s->publish('new', 'x', epoch => 'E') }),
     qr/not an epoch/, 'no epoch');
like(error_of(sub { $s->history('new', 0, epoch => 'E') }),
     qr/not an epoch/, 'no epoch, history');
like(error_of(sub {
        $s->call('publish', [ map { $s->key('h', $_) } '', ':meta', ':log' ],
                 'PUBLISH', 0, "\0\0", '');
     }), qr/not a message/, 'an argument less');

is(dump_of('h'), $dump, 'nothing has changed');
is($s->command('EXISTS', map { $s->key('new', $_) } ':meta', ':log'), 0,
   'nothing is made');


# Deletion.

$listener = $r->client();
$listener->command('SUBSCRIBE', $s->key('del'));

$before = $s->publish('del', 'x');
$listener->reply();

is_deeply($s->delete('del'), [ 1, 1 ], 'deleted');
is(decode($listener->reply()->[2])->{flags}, 32, 'subscribers are told');
is($s->command('EXISTS', map { $s->key('del', $_) } ':meta', ':log'), 0,
   'nothing is left');
is_deeply($s->delete('del'), [ 0, 1 ], 'nothing to delete');
is(decode($listener->reply()->[2])->{flags}, 32, 'they are told even so');

$place = $s->publish('del', 'x');

ok($place->{seq} == 1 && $place->{epoch} ne $before->{epoch},
   'a new epoch after it');


# Memory at its limit: refused, and nothing half done.

$s->publish('full', 'x');
$dump = dump_of('full');

$s->command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
$s->command('CONFIG', 'SET', 'maxmemory', '1mb');

like(error_of(sub { $s->publish('full', 'y') }), qr/OOM/, 'out of memory');
is(dump_of('full'), $dump, 'out of memory: nothing has changed');

$s->command('CONFIG', 'SET', 'maxmemory', 0);

is($s->publish('full', 'z')->{seq}, 2, 'memory again: the next seq');


# Scripts that the server has forgotten.

$s->command('SCRIPT', 'FLUSH');

like(error_of(sub { $s->publish('h', 'x') }), qr/NOSCRIPT/,
     'the scripts are forgotten');

is_deeply([ @{ $s->command('EVAL', Test::WsBus::Scripts::text('publish'),
                           $s->publish_command('h', 'x')) }[0, 1] ], [ 1, 101 ],
          'with its text');
is($s->publish('h', 'x')->{seq}, 102, 'known by its digest again');


# The user of docs/redis.md may do all of it, and no more.

my $manual = do {
    open(my $fh, '<', "$FindBin::Bin/../docs/redis.md") or die "docs: $!";
    local $/;
    <$fh>;
};

my ($acl) = $manual =~ /^(ACL SETUSER .*\+eval .*)$/m;

$s->command(split(/ /, $acl));

my $user = Test::WsBus::Scripts->new($r);

$user->command('AUTH', 'bus', 'secret');

my $at = $user->publish('acl', 'x', once => 'aa', replid => '');

is(seqs($user->history('acl', 0, epoch => 'a' x 16, meta_ttl => 5000)), '1',
   'the documented user: publish, history');
is($user->publish('acl', 'x', ttl => 0)->{seq}, 2, 'forever');
is($user->position([ 'acl' ], 5000)->[0][0], $at->{epoch}, 'position');
$user->history('acl2', 0, epoch => 'a' x 16);
is_deeply($user->delete('acl'), [ 1, 0 ], 'delete');
is($user->command('SUBSCRIBE', $user->key('acl'))->[2], 1, 'subscribe');

my $foreign = Test::WsBus::Scripts->new($r, prefix => 'other:');

$foreign->command('AUTH', 'bus', 'secret');
like(error_of(sub { $foreign->publish('acl', 'x') }), qr/NOPERM|permission/,
     'not another prefix');


# In a cluster: one slot, no key that is not declared, SPUBLISH.

SKIP: {
    skip('Redis before 7', 6) if $r->info('redis_version') =~ /^6/;

    my $c = Test::WsBus::Redis->new($t, name => 'cluster', port => 6381,
        config => [ 'cluster-enabled yes', 'cluster-config-file nodes',
                    'cluster-port ' . port(6382) ]);

    $c->start();

    $c->command('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
    $t->wait_until(sub {
        $c->command('CLUSTER', 'INFO') =~ /cluster_state:ok/;
    });

    my $s = Test::WsBus::Scripts->new($c);

    $listener = $c->client();
    $listener->command('SSUBSCRIBE', $s->key('news'));

    $place = $s->publish('news', 'x', with => 'SPUBLISH', once => 'aa');

    is("$place->{seq} $place->{receivers}", '1 1', 'SPUBLISH');
    is(decode($listener->reply()->[2])->{payload}, 'x', 'received');
    is($s->publish('news', 'y', with => 'SPUBLISH', once => 'aa')->{new}, 0,
       'once, in a cluster');
    is(seqs($s->history('news', 0, epoch => 'a' x 16)), '1',
       'history, in a cluster');
    is($s->position([ 'news' ])->[0][1], 1, 'position, in a cluster');
    is($s->delete('news')->[0], 1, 'delete, in a cluster');

    $c->stop();
}

$t->done_testing();
