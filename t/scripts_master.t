#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Another master, or one that has started again: places are never given twice
# under one epoch, and a host can tell whether messages are lost.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use Test::WsBus::Scripts;


my $t = Test::WsBus->new()->has('bin/redis-server');

my $a = Test::WsBus::Redis->new($t, name => 'a')->start();
my $b = Test::WsBus::Redis->new($t, name => 'b', port => 6381)->start();

sub decode { return Test::WsBus::Scripts::decode(@_) }

sub seqs {
    my ($h) = @_;

    return join(' ', map { "$_->{seq}" . ($_->{prev} =~ /[^0]/ ? '+' : '') }
                decode(@{ $h->{entries} }));
}

sub replicate {
    my ($master, $replica) = @_;

    $replica->command('REPLICAOF', '127.0.0.1', $master->port());

    return caught_up($master, $replica);
}

sub caught_up {
    my ($master, $replica) = @_;

    return $t->wait_until(sub {
        my $offset = $replica->info('slave_repl_offset', 'replication') // -1;

        ($replica->info('master_link_status', 'replication') // '') eq 'up'
            && $offset == $master->info('master_repl_offset', 'replication');
    });
}

# the link is cut: what the master is told from now on, the replica lacks

sub cut {
    my ($master, $replica) = @_;

    $replica->command('REPLICAOF', '127.0.0.1', 1);

    return $t->wait_until(sub {
        ($master->info('connected_slaves', 'replication') // 1) == 0;
    });
}

# not while a child saves for a replica

sub save {
    my ($server) = @_;

    return $t->wait_until(sub { eval { $server->command('SAVE') } });
}

# An epoch of a host is a number for the C code: the hosts here follow what
# the scripts answer as ngx_ws_bus_position_follows() does.

sub follows {
    my ($h, $epoch, $seq) = @_;

    my %shared = (@{ $h->{older} }, $h->{prev} => $h->{base},
                  $h->{epoch} => $h->{seq});
    my $shared = $shared{$epoch} // -1;

    return $seq > $shared ? 'lost' : $seq == $h->{seq} ? 'same' : 'more';
}


# Nothing is lost.

ok(replicate($a, $b), 'b replicates a');

my $sa = Test::WsBus::Scripts->new($a);
my $place;

$place = $sa->publish('news', "a$_") for 1 .. 5;
$sa->publish('idle', 'a1');
my $e1 = $place->{epoch};

ok(caught_up($a, $b), 'b has everything');

# a bridge that was there before: read while b was a replica, it is a's

my $early = Test::WsBus::Scripts->new($b);

is($early->{replid}, $sa->{replid}, 'a replica has its master\'s id');
ok(!eval { $early->publish('news', 'x'); 1 }, 'a replica refuses');
like($@, qr/READONLY/, 'as it is read-only');
is($early->history('news', 0)->{seq}, 5, 'a replica can be read');

cut($a, $b);
$b->command('REPLICAOF', 'NO', 'ONE');

my $sb = Test::WsBus::Scripts->new($b);

isnt($sb->{replid}, $sa->{replid}, 'the new master has an id of its own');

my $h = $sb->history('news', 5);

is(follows($h, $e1, 5), 'same', 'before the next message: nothing is lost');

my $listener = $b->client();
$listener->command('SUBSCRIBE', $sb->key('news'));

$place = $sb->publish('news', 'b6');
my $e2 = $place->{epoch};

is($place->{seq}, 6, 'the count goes on');
isnt($e2, $e1, 'in a new epoch');

my $told = decode($listener->reply()->[2]);

is("$told->{flags} $told->{epoch} $told->{seq} $told->{prev} $told->{base}",
   "24 $e2 6 $e1 5", 'its first message says what it continues');

$h = $sb->history('news', 0);

is("$h->{epoch} $h->{seq} $h->{prev} $h->{base} $h->{first}",
   "$e2 6 $e1 5 1", 'and so does its position');
is(seqs($h), '1 2 3 4 5 6+', 'with the whole history');
is(follows($h, $e1, 5), 'more', 'a host that had everything goes on');
is(follows($h, $e1, 3), 'more', 'and one that lacked some');
is(follows($h, $e1, 6), 'lost', 'not one that had more');

$place = $sb->publish('news', 'b7');
$told = decode($listener->reply()->[2]);

is("$told->{flags} $told->{epoch} $told->{seq}", "8 $e2 7",
   'the next one need not say it');
is_deeply([ @{ $sb->position([ 'news' ])->[0] } ], [ $e2, 7, $e1, 5 ],
          'the position says it still');

# a connection whose id is outdated does not begin another epoch

$place = $early->publish('news', 'b8');

is("$place->{epoch} $place->{seq}", "$e2 8", 'an outdated id: the same epoch');
is($place->{replid}, $sb->{replid}, 'an outdated id: the right one');
is($early->publish('idle', 'b2', replid => $place->{replid})->{seq}, 2,
   'a channel of which nobody has published since');
is($sb->publish('idle', 'b3')->{epoch}, $sb->history('idle', 0)->{epoch},
   'switched once');
is($sb->publish('news', 'b9', replid => '')->{epoch}, $e2,
   'an id that the script asks for');


# Messages are lost: the other way round.

ok(replicate($b, $a), 'a replicates b');

$place = $sb->publish('news', 'b10');
my $n = $place->{seq};

ok(caught_up($b, $a), 'a has them');
cut($b, $a);

$place = $sb->publish('news', "lost$_") for 1 .. 3;
is($place->{seq}, $n + 3, 'b takes three more');

my $lost = $sb->publish('created', 'lost');

$a->command('REPLICAOF', 'NO', 'ONE');
$sa = Test::WsBus::Scripts->new($a);

$h = $sa->history('news', 0);

is(follows($h, $e2, $n + 3), 'lost',
   'a host that had them sees it before the next message');
is(follows($h, $e2, $n), 'same', 'one that had not, misses nothing');

$place = $sa->publish('news', 'a11');
my $e3 = $place->{epoch};

is($place->{seq}, $n + 1, 'a place that b has given');
ok($e3 ne $e2 && $e3 ne $e1, 'is of another epoch');

$sa->publish('news', "a$_") for 12 .. 20;
$h = $sa->history('news', 0);

is("$h->{prev} $h->{base}", "$e2 $n", 'it continues what a had');
is(follows($h, $e2, $n + 3), 'lost', 'a host that had more knows it');
is(follows($h, $e2, $n), 'more', 'one that had not, goes on');
is("@{ $h->{older} }", "$e1 5", 'and that, what was before');
is(follows($h, $e1, 5), 'more', 'a host that missed both changes goes on');
is(follows($h, $e1, 6), 'lost', 'not one that had more before the first');
is(follows($h, $e3, $n + 10), 'same', 'and the newest is');

# meanwhile b, which nobody has told, goes on

$place = $sb->publish('news', 'split');

is("$place->{epoch} $place->{seq}", "$e2 " . ($n + 4), 'two masters');
is(follows($h, $e2, $n + 4), 'lost', 'a host of the other one is told');

# a channel that only b knows

$h = $sa->history('created', 0);

is(follows($h, $lost->{epoch}, 1), 'lost', 'a channel that is lost');

$place = $sa->publish('created', 'again');

is($place->{seq}, 1, 'begins again');
isnt($place->{epoch}, $lost->{epoch}, 'in another epoch');

# b comes back as a replica: what it gave alone is gone

ok(replicate($a, $b), 'b replicates a again');
is($sb->history('news', 0)->{epoch}, $e3, 'b has what a has');


# A restart with its data, and without.

save($a);
$a->restart(data => 1);
$sa = Test::WsBus::Scripts->new($a);

$h = $sa->history('news', 0);
my $head = $h->{seq};

is("$h->{epoch} $h->{seq}", "$e3 " . ($n + 10), 'restarted with its data');

$place = $sa->publish('news', 'x');
my $e4 = $place->{epoch};
$h = $sa->history('news', 0);

isnt($e4, $e3, 'a new epoch: it may have lost the last ones');
is(follows($h, $e3, $head), 'more', 'a host that had the same goes on');
is(follows($h, $e3, $head + 1), 'lost', 'a host that had more knows it');

$a->restart();
$sa = Test::WsBus::Scripts->new($a);

$h = $sa->history('news', 0);

is($h->{epoch}, '', 'restarted empty: unknown');
is(follows($h, $e4, $head + 1), 'lost', 'every host knows it');

$place = $sa->publish('news', 'x');
$h = $sa->history('news', 0);

is("$h->{seq} [$h->{prev}]", '1 []', 'begins again, and continues nothing');
ok($place->{epoch} !~ /^(?:$e1|$e2|$e3|$e4)$/, 'in a new epoch');


# One change after another: as many as are remembered, and no more.

my $e5 = $place->{epoch};

$place = $sa->publish('chain', 'm1');
my @epochs = ([ $place->{epoch}, 1 ]);

for my $i (2 .. 12) {

    # the id of meta is not the server's any more

    $a->command('HSET', $sa->key('chain', ':meta'), 'replid', "other$i",
                'stamp', '');
    $place = $sa->publish('chain', "m$_", replid => '') for 1 .. $i;

    my $seq = $place->{seq};

    unshift @epochs, [ $place->{epoch}, $seq ];
    $h = $sa->history('chain', 0);

    my @chain = ($h->{prev}, $h->{base}, @{ $h->{older} });
    my @want = map { @$_ } @epochs[1 .. ($#epochs > 8 ? 8 : $#epochs)];

    is("@chain", "@want", ($i - 1) . ' changes');

    my @said = map { follows($h, $_->[0], $_->[1])
                     . ' ' . follows($h, $_->[0], $_->[1] + 1) } @epochs;
    my @true = ('same lost', ('more lost') x (@want / 2));

    push @true, ('lost lost') x (@epochs - @true);

    is("@said", "@true", ($i - 1) . ' changes: who goes on');
}

is_deeply($sa->position([ 'chain' ])->[0],
          [ $epochs[0][0], $epochs[0][1], @{ $epochs[1] } ],
          'the position has the last one only');

# a publisher of an earlier version knows of the last one only: what is older
# stays true

$a->command('HSET', $sa->key('chain', ':meta'), 'prev', 'e' x 16,
            'base', $h->{seq} - 1);
$h = $sa->history('chain', 0);

is(follows($h, @{ $epochs[2] }), 'more', 'one is missing: older ones');
is(follows($h, @{ $epochs[1] }), 'lost', 'one is missing: that is a loss');

# what is no number ends it

$a->command('HSET', $sa->key('chain', ':meta'), 'base4', 'x');
$h = $sa->history('chain', 0);

is(scalar(@{ $h->{older} }), 4, 'a base that is no number');

$a->command('HDEL', $sa->key('chain', ':meta'), 'base4');
is(scalar(@{ $sa->history('chain', 0)->{older} }), 4, 'one that is missing');

# meta that is lost has no past

$a->command('DEL', $sa->key('chain', ':meta'));
$sa->publish('chain', 'anew', replid => '');
$h = $sa->history('chain', 0);

is("[$h->{prev}] @{ $h->{older} }", '[] ', 'a new epoch continues nothing');


# A server that is killed in the middle of it: what it has answered is there,
# and of each message either all or nothing.

my $k = Test::WsBus::Redis->new($t, name => 'k', port => 6382, aof => 1);

$k->start();

for my $round (1 .. 5) {
    my $p = Test::WsBus::Scripts->new($k);
    my ($answered, $last) = (0, undef);

    # more than it answers before it is killed

    $p->{client}->send('EVALSHA', $p->{sha}{publish},
                       $p->publish_command('kill', "$round.$_", count => 5000))
        for 1 .. 500;

    while ($answered < 50 * $round) {
        $last = $p->{client}->reply();
        $answered++;
    }

    $k->kill();

    # answers on their way count too

    while (my $reply = eval { $p->{client}->reply(1) }) {
        $last = $reply;
    }

    $k->start();

    my $after = Test::WsBus::Scripts->new($k);
    my $h = $after->history('kill', 0, limit => 10000, bytes => 1 << 30);
    my @kept = decode(@{ $h->{entries} });
    my $disorder = grep { $kept[$_]{seq} != $_ + 1 } 0 .. $#kept;

    cmp_ok($h->{seq}, '>=', $last->[1], "killed, $round: what was answered");
    ok(@kept == $h->{seq} && $disorder == 0,
       "killed, $round: meta and log are at one");
    isnt(follows($h, $last->[2], $last->[1]), 'lost',
         "killed, $round: nobody has lost anything");

    my $next = $after->publish('kill', 'next', count => 5000);

    ok($next->{seq} == $h->{seq} + 1 && $next->{epoch} ne $h->{epoch},
       "killed, $round: goes on in a new epoch");
}

$k->stop();


# A master without replicas may change its id in between: nothing is lost.

ok(replicate($a, $b), 'the first replica: a has a new id');
isnt($sa->replid(), $sa->{replid}, 'another id, the same data');

is($sa->publish('news', 'x')->{epoch}, $e5,
   'a connection that does not know it');

my $other = Test::WsBus::Scripts->new($a);

$place = $other->publish('news', 'y');
$h = $other->history('news', 0);

is("$place->{seq} $h->{prev} $h->{base}", "3 $e5 2",
   'one that does begins an epoch that loses nothing');
is($sa->publish('news', 'z')->{epoch}, $place->{epoch},
   'and the first one goes on with that');


# Eviction: whichever key goes.

$a->command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
$a->command('CONFIG', 'SET', 'maxmemory-samples', 1);

my %have;
my ($twice, $silent) = (0, 0);
my $limit = $a->info('used_memory', 'memory') + 1_000_000;

$a->command('CONFIG', 'SET', 'maxmemory', $limit);

for my $i (1 .. 3000) {
    my $c = "evict" . $i % 100;
    my $p = $other->publish($c, 'x' x 2000, count => 20);

    # a place is given once, and the next is either the next or of an epoch
    # that is new

    $twice++ if $have{$c}{places}{"$p->{epoch}:$p->{seq}"}++;

    my $last = $have{$c}{last};

    $silent++ if $last && ($p->{epoch} eq $last->{epoch}
        ? $p->{seq} != $last->{seq} + 1 : $p->{seq} != 1);

    $have{$c}{last} = $p;
}

cmp_ok($a->info('evicted_keys', 'stats'), '>', 0, 'keys are evicted');
is($twice, 0, 'no place is given twice');
is($silent, 0, 'no message is missing without a new epoch');

my $wrong = 0;

for my $i (0 .. 99) {
    my $h = $other->history("evict$i", 0);
    my @e = decode(@{ $h->{entries} });

    # what is there is of the epoch, and ends at the newest

    $wrong++ if @e && ($e[0]{seq} != $h->{first}
        || $e[-1]{seq} != $h->{seq} || $e[0]{epoch} ne $h->{epoch}
        || @e != $h->{seq} - $h->{first} + 1);
}

is($wrong, 0, 'what is left is without a gap');

$a->command('CONFIG', 'SET', 'maxmemory', 0);


# Anything in any order: hosts that believe what they are told never have
# anything else than the server they asked.

my $seed = $ENV{WS_BUS_TEST_SEED} // time();

srand($seed);
note("WS_BUS_TEST_SEED=$seed");

my @servers = ($a, $b);
my @role = ('master', 'replica');
my @links;
my @hosts = map { { epoch => '', seq => 0, list => [] } } 1 .. 3;
my %met = map { $_ => 0 } qw/ same more lost /;
my ($count, $wrong_hosts) = (0, 0);

# connections live until their server changes its role or is restarted

sub of {
    my ($i) = @_;

    return $links[$i] //= Test::WsBus::Scripts->new($servers[$i]);
}

sub some_master {
    my @masters = grep { $role[$_] eq 'master' } 0, 1;

    return $masters[rand(@masters)];
}

my %step = (
    publish => sub {
        my $i = some_master();

        of($i)->publish('model', 'm' . $count++, count => 100_000)
            for 1 .. 1 + rand(4);
    },

    host => sub {
        my $i = some_master();
        my $host = $hosts[rand(@hosts)];
        my %all = (limit => 100_000, bytes => 1 << 30);
        my $h = of($i)->history('model', $host->{seq}, %all);
        my $said = follows($h, $host->{epoch}, $host->{seq});

        if ($said eq 'lost') {
            $host->{list} = [];
            $h = of($i)->history('model', 0, %all);
        }

        $met{$said}++;

        push @{ $host->{list} },
            map { $_->{payload} } decode(@{ $h->{entries} });
        @$host{qw/ epoch seq /} = @$h{qw/ epoch seq /};

        my @truth = map { $_->{payload} }
            decode(@{ of($i)->history('model', 0, %all)->{entries} });

        $wrong_hosts++ if "@truth" ne "@{ $host->{list} }";
    },

    # a replica that has everything, or not

    promote => sub {
        my ($i) = grep { $role[$_] eq 'replica' } 0, 1;

        return if !defined $i;

        if (rand() < 0.5) {
            caught_up($servers[1 - $i], $servers[$i]);

        } else {
            cut($servers[1 - $i], $servers[$i]);
            of(1 - $i)->publish('model', 'm' . $count++, count => 100_000)
                for 1 .. rand(4);
        }

        $servers[$i]->command('REPLICAOF', 'NO', 'ONE');
        $role[$i] = 'master';
        undef $links[$i];
    },

    # one of two masters gives in

    heal => sub {
        return if grep { $_ eq 'replica' } @role;

        my $i = int(rand(2));

        replicate($servers[1 - $i], $servers[$i]);
        $role[$i] = 'replica';
        undef $links[$i];
    },

    # from a file that lacks the last ones, or without one

    restart => sub {
        return if grep { $_ eq 'replica' } @role;

        my $i = some_master();

        if (rand() < 0.8) {
            save($servers[$i]);
            of($i)->publish('model', 'm' . $count++, count => 100_000)
                for 1 .. rand(3);
            $servers[$i]->kill();
            $servers[$i]->start();

        } else {
            $servers[$i]->restart();
        }

        undef $links[$i];
    },
);

$a->command('FLUSHALL');

my @steps = (('publish') x 5, ('host') x 6, qw/ promote heal restart /);

for my $n (1 .. 200) {
    $step{ $steps[rand(@steps)] }->();
}

is($wrong_hosts, 0, 'hosts have what the server has, whatever happened')
    or diag("WS_BUS_TEST_SEED=$seed");
ok($met{same} + $met{more} > 0 && $met{lost} > 0,
   "told: nothing $met{same} times, more $met{more}, lost $met{lost}");

$t->done_testing();
