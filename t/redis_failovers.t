#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Two failovers by Sentinel, one after the other: who was away for both goes
# on, and so does a host on which nobody listened.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use Test::WsBus::Fleet;
use Test::WsBus::Json;
use Test::WsBus::Sentinels;


my $f = Test::WsBus::Fleet->new(hosts => 2,
                                topology => 'Test::WsBus::Sentinels')
    ->start();
my ($t, $s) = ($f->host(0), $f->redis());

$t->time_limit(200);

sub post {
    my ($channel, $text) = @_;

    my $r;

    # not before the new master is known

    $t->wait_until(sub {
        $r = $f->post(0, "/pub/$channel", $text);
        return $r && $r->status() == 201;
    }, 20);

    return $r->json();
}

sub failover {
    my $old = $s->current();

    # what has been acknowledged is with the replicas: they get commands in
    # order, and WAIT is for one's own

    my $client = $s->server($old)->client();

    $client->command('SET', 'wait', '1');

    my $left = $client->command('WAIT', 2, 20000);

    $s->failover();
    $s->wait_ok();
    $f->wait_up();

    return $left;
}

# two hosts, each with a subscriber of "here" and none of "gone"

my @stays = map { $f->ws($_, '/ws/here') } 0, 1;
my $told = Test::WsBus::Json::json('/json', port => $f->port(1));
my $away = $f->ws(1, '/ws/gone');

$told->ask('subscribe', channel => 'here');

my %epoch;

for my $channel (qw/ here gone /) {
    $epoch{$channel}[0] = post($channel, "m$_")->{epoch} for 1 .. 3;
}

is(join(' ', map { $away->recv() // '' } 1 .. 3), 'm1 m2 m3', 'had three');
$away->disconnect();

for my $n (1, 2) {
    is(failover(), 2, "failover $n");

    for my $channel (qw/ here gone /) {
        my $p = post($channel, 'm' . ($n + 3));

        is($p->{seq}, $n + 3, "failover $n: $channel, the count goes on");
        push @{$epoch{$channel}}, $p->{epoch};
    }
}

for my $channel (qw/ here gone /) {
    is(scalar(keys %{{ map { $_ => 1 } @{$epoch{$channel}} }}), 3,
       "$channel: three epochs");
}

is(join(' ', map { $_->recv() // 'closed' } (@stays) x 5),
   'm1 m1 m2 m2 m3 m3 m4 m4 m5 m5', 'who stays has all');

# back on either host, with a position of each epoch

for my $n (0, 1) {
    for my $channel (qw/ here gone /) {
        my @e = @{$epoch{$channel}};

        for my $case ([ $e[0], 3, 'm4 m5' ], [ $e[0], 1, 'm2 m3 m4 m5' ],
                      [ $e[1], 4, 'm5' ])
        {
            my ($epoch, $seq, $want) = @$case;
            my $name = "host $n, $channel, $seq";

            my $c = $f->ws($n, "/ws/$channel?last_seq=$seq&epoch=$epoch");
            is($c->response()->header('Ws-Bus-Recovered'), 'yes', $name);
            is(join(' ', map { $c->recv() // '' } $seq + 1 .. 5), $want,
               "$name, what was missed");
            $c->disconnect();
        }

        my $c = Test::WsBus::Events->new(port => $f->port($n));

        $c->open("/ws/$channel", last_id => "$e[0]:3");
        is($c->event()->{data}, 'm4', "host $n, $channel, an event stream");
        $c->disconnect();

        # a message that the first master has never had

        my $r = $f->ws_response($n,
                                "/ws/$channel?last_seq=4&epoch=$e[0]");
        is($r->header('Ws-Bus-Recovered'), 'no',
           "host $n, $channel, what never was");
    }

    is($f->redis_status($n)->{gaps}{resets}, 0, "host $n: nothing was lost");
}

# on one connection the subprotocol tells every epoch

my ($epoch, $seq) = ('', 0);

while ($seq < 5) {
    my $m = $told->next() // last;

    $seq = $m->{seq} if defined $m->{seq};
    $epoch = $m->{epoch} if defined $m->{epoch};
}

is("$epoch $seq", "$epoch{here}[2] 5", 'the subprotocol tells the epochs');

$f->done_testing();
