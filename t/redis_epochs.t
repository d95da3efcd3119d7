#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A channel whose master changes more than once while a client is away, or the
# whole host is silent: a position of any of its epochs is good if nothing was
# lost, and told to be lost if something was.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use Test::WsBus::Events;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my $f = Test::WsBus::Fleet->new(hosts => 2, workers => 1,
                                topology => 'Test::WsBus::Cluster',
                                redis => {
                                    masters => 2,
                                    config => [ 'repl-diskless-sync-delay 0' ],
                                })
    ->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

$t->time_limit(200);


# publishes on host 0: the place

sub post {
    my ($channel, $text) = @_;

    my $r = $f->post(0, "/pub/$channel", $text);

    return $r->status() == 201 ? $r->json() : { epoch => '', seq => -1 };
}

# what a client gets that comes back to a host with a position; it ends with
# the last one

sub raw {
    my ($n, $channel, $epoch, $seq, $last) = @_;

    my $c = $f->ws($n, "/ws/$channel?last_seq=$seq&epoch=$epoch");
    my $recovered = $c->response()->header('Ws-Bus-Recovered') // '';
    my @got = $recovered eq 'yes'
        ? map { $c->recv() // 'nothing' } $seq + 1 .. $last : ();

    $c->disconnect();

    return "$recovered @got";
}

sub protocol {
    my ($n, $channel, $epoch, $seq, $last) = @_;

    my $c = Test::WsBus::Json::json('/json', port => $f->port($n));
    my $a = $c->ask('subscribe', channel => $channel, epoch => $epoch,
                    seq => $seq);
    my $recovered = $a->{recovered} eq 'true' ? 'yes' : 'no';
    my @got = $recovered eq 'yes'
        ? map { ($c->next() // {})->{text} // 'nothing' } $seq + 1 .. $last
        : ();

    $c->disconnect();

    return "$recovered @got";
}

sub events {
    my ($n, $channel, $epoch, $seq, $last) = @_;

    my $c = Test::WsBus::Events->new(port => $f->port($n));

    $c->open("/ws/$channel", last_id => "$epoch:$seq");

    my $first = $c->event();

    return 'no' if !$first || $first->{type} eq 'gap';

    return join(' ', 'yes', $first->{data},
                map { ($c->event() // {})->{data} // 'nothing' }
                    $seq + 2 .. $last);
}

sub poll {
    my ($n, $channel, $epoch, $seq, $last) = @_;

    my $r = $f->request($n, 'GET',
                        "/ws/$channel?wait=0&last_seq=$seq&epoch=$epoch")
        ->body();
    my ($recovered) = $r =~ /"recovered":(\w+)/;

    return join(' ', ($recovered // '') eq 'true' ? 'yes' : 'no',
                $r =~ /"text":"([^"]*)"/g);
}

my %client = (raw => \&raw, json => \&protocol, events => \&events,
              poll => \&poll);

# all of them, on both hosts or one

sub comes_back {
    my ($channel, $epoch, $seq, $last, $want, $name, @hosts) = @_;

    for my $kind (sort keys %client) {
        for my $n (@hosts ? @hosts : (0, 1)) {
            my $got = $client{$kind}->($n, $channel, $epoch, $seq, $last);

            # a poll that is told of a loss has what there is

            $got =~ s/^no .*/no/;

            is($got, $want, "$name, $kind, host $n");
        }
    }
}

# what has been published to a channel is with the master's replica: it gets
# commands in order, and WAIT is for one's own

sub replicated {
    my ($master, $channel) = @_;

    my $client = $cluster->node($master)->client();

    $client->command('SET', "{$channel}wait", '1');
    is($client->command('WAIT', 1, 20000), 1, 'replicated');
}

# a replica that is not told any more

sub cut {
    my ($master, $replica) = @_;

    $cluster->node($replica)->command('CONFIG', 'SET', 'masterauth', 'none');
    $cluster->node($master)->command('CLIENT', 'KILL', 'TYPE', 'replica');
}

# ... and becomes the master with what it has; the old one then has the same

sub takeover {
    my ($master, $replica) = @_;

    my $node = $cluster->node($replica);

    # its claim is the newest one

    $cluster->wait_ok();
    $t->wait_until(sub {
        return keys %{{ map { $_->info_cluster('cluster_current_epoch') => 1 }
                        $cluster->nodes() }} == 1;
    }, 30);

    $node->command('CLUSTER', 'FAILOVER', 'TAKEOVER');
    $node->command('CONFIG', 'SET', 'masterauth', '');

    my $done = $t->wait_until(sub {
        my $old = $cluster->node($master);

        return ($old->info('role') // '') eq 'slave'
               && ($old->info('master_link_status') // '') eq 'up'
               && ($node->info('connected_slaves') // 0) > 0;
    }, 30);

    $cluster->wait_ok();

    return $done;
}


# A slot that moves there and back while subscribers are away.

my $channel = $cluster->tag(0, 'moves');
my $slot = $cluster->slot("{$channel}");

my $stays = $f->ws(1, "/ws/$channel");
my $knows = Test::WsBus::Json::json('/json', port => $f->port(1));

$knows->ask('subscribe', channel => $channel);

my $p = post($channel, "m$_") for 1 .. 3;
my $e1 = post($channel, 'm4')->{epoch};

is(join(' ', map { $stays->recv() // '' } 1 .. 4), 'm1 m2 m3 m4',
   'a subscriber');

$cluster->migrate($slot, 1);
$p = post($channel, 'm5');
my $e2 = $p->{epoch};

is($p->{seq}, 5, 'the slot has moved');
isnt($e2, $e1, 'the slot has moved: another epoch');

$cluster->migrate($slot, 0);
$p = post($channel, 'm6');
my $e3 = $p->{epoch};

is($p->{seq}, 6, 'and back');
ok($e3 ne $e2 && $e3 ne $e1, 'and back: a third epoch');

is(join(' ', map { $stays->recv() // '' } 5 .. 6), 'm5 m6',
   'a subscriber that stays has all of it');

comes_back($channel, $e1, 4, 6, 'yes m5 m6', 'had all of the first epoch');
comes_back($channel, $e1, 2, 6, 'yes m3 m4 m5 m6', 'had some of it');
comes_back($channel, $e2, 5, 6, 'yes m6', 'had all of the second');
comes_back($channel, $e1, 5, 6, 'no', 'a place that the first has not');
comes_back($channel, 'e' x 16, 2, 6, 'no', 'another epoch');

# who is told of the epochs may come back with the newest

my ($seq, $epoch) = (0, '');

while ($seq < 6) {
    my $m = $knows->next() // last;

    $seq = $m->{seq} if defined $m->{seq};
    $epoch = $m->{epoch} if defined $m->{epoch};
}

is("$epoch $seq", "$e3 6", 'the subprotocol tells the epochs');
$_->disconnect() for $stays, $knows;

# a host that has heard nothing of it: nobody has listened there

my $silent = $cluster->tag(0, 'silent');
$slot = $cluster->slot("{$silent}");

my $c = $f->ws(1, "/ws/$silent");

post($silent, 'm1');
is($c->recv(), 'm1', 'host 1 has the first epoch');
$e1 = post($silent, 'm2')->{epoch};
$c->recv();
$c->disconnect();

ok($t->wait_until(sub { !$f->redis_status(1)->{channels} }, 90),
   'and listens no more');

$cluster->migrate($slot, 1);
post($silent, 'm3');
$cluster->migrate($slot, 0);
post($silent, 'm4');

my $resets = $f->redis_status(1)->{gaps}{resets};

is(raw(1, $silent, $e1, 2, 4), 'yes m3 m4', 'it goes on with the third');
is($f->redis_status(1)->{gaps}{resets}, $resets, 'and has lost nothing');


# A loss in the middle of it.

my $lossy = $cluster->tag(0, 'lossy');
$slot = $cluster->slot("{$lossy}");

$c = $f->ws(1, "/ws/$lossy");
post($lossy, 'm1');
$e1 = post($lossy, 'm2')->{epoch};
$cluster->migrate($slot, 1);
$e2 = post($lossy, 'm3')->{epoch};

replicated(1, $lossy);
cut(1, 3);
$p = post($lossy, 'lost');

is("$p->{epoch} $p->{seq}", "$e2 4", 'a message that only the master has');
is(join(' ', map { $c->recv() // '' } 1 .. 4), 'm1 m2 m3 lost',
   'and a subscriber');

ok(takeover(1, 3), 'its replica follows');

ok($t->wait_until(sub {
    $p = post($lossy, 'm4');
    return $p->{seq} == 4;
}, 20), 'published there');
$e3 = $p->{epoch};

ok($e3 ne $e2 && $e3 ne $e1, 'its place is given again, in a third epoch');
is($c->recv() // 'closed ' . $c->close_code(), 'closed 1013',
   'the subscriber is told');
$c->disconnect();

$cluster->migrate($slot, 0);
$p = post($lossy, 'm5');

is($p->{seq}, 5, 'a fourth epoch');

comes_back($lossy, $e2, 4, 5, 'no', 'had the lost message');
comes_back($lossy, $e2, 3, 5, 'yes m4 m5', 'had it not');

# the host that was told has begun anew behind m3

comes_back($lossy, $e1, 2, 5, 'yes m3 m4 m5', 'had less', 0);
comes_back($lossy, $e3, 4, 5, 'yes m5', 'had its successor');


# A master that becomes a replica and the master again, while nobody looks: its
# connections have stayed, and it has lost messages.

my $back = $cluster->tag(0, 'back');

ok($t->wait_until(sub { !$f->redis_status(0)->{channels} }, 90),
   'nothing is listened to');

$e1 = post($back, "m$_")->{epoch} for 1 .. 3;
replicated(0, $back);
cut(0, 2);
$p = post($back, "lost$_") for 4 .. 5;

is("$p->{epoch} $p->{seq}", "$e1 5", 'two that the replica has not');

my $connects = $f->redis_status(0)->{reconnects};

ok(takeover(0, 2), 'the replica follows');
ok(takeover(2, 0), 'and gives the role back');
sleep(1.2);

ok($t->wait_until(sub {
    $p = post($back, 'm4');
    return $p->{seq} > 0;
}, 20), 'published again');

is($p->{seq}, 4, 'the place of one that is lost');
isnt($p->{epoch}, $e1, 'is of another epoch');
is($f->redis_status(0)->{reconnects}, $connects,
   'though no connection was lost');

comes_back($back, $e1, 5, 4, 'no', 'had those that are lost');
comes_back($back, $e1, 3, 4, 'yes m4', 'had them not');

$f->done_testing();
