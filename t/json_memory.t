#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What subscriptions of the JSON subprotocol cost a worker: its own memory,
# without the zone's, and the CPU time of a replay.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Json;
use WsBusTestWorkers;

use constant {
    CONNECTIONS => 50,
    CHANNELS    => 1000,

    # a subscription and its channel, with what allocators add
    BYTES       => 200,

    REPLAYS     => 200,
    MESSAGES    => 1000,
};

my $t = Test::WsBus->new();

plan(skip_all => 'memory and time of a sanitizer')
    if $ENV{WS_BUS_TEST_PRELOAD};

$t->log_level('notice')->plan(11);

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 1;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    access_log off;

    ws_bus_zone bus 96m;
    ws_bus_history 100000;
    ws_bus_channels x.**;
    ws_bus_max_channels 2000;
    ws_bus_publish on;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location = /j {
            ws_bus;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

my $pid;

# Channels of their own, and then the same for all.

my $own = memory(sub { return "x.channel.of.its.own.$_[0].$_[1]" });

cmp_ok($own, '<', BYTES,
    'memory of a subscription, the only one of its channel');

my $shared = memory(sub { return "x.channel.$_[1]" });

cmp_ok($shared, '<', BYTES / 2,
    'memory of one more subscription of a channel');

note(sprintf('%.0f and %.0f bytes', $own, $shared));


# A replay.

my $c = json('/j');
my $publish = frame(TEXT, format_request(type => 'publish',
    channel => 'x.replay', data => '=' x 98));

$c->write($publish x MESSAGES);

my $e = $c->ask('history', channel => 'x.replay', limit => 0)->{epoch};

my $one = replays($c, 0);
my $none = replays($c, MESSAGES);

cmp_ok($one - $none, '<', 4_000_000, 'CPU time of a replay, ns');

note(sprintf('a replay of %d messages takes %.2f ms, a subscription %.3f ms',
    MESSAGES, ($one - $none) / 1e6, $none / 1e6));


# The worker's own memory, in bytes, that a subscription takes.  The zone is
# shared; what the worker has written to it counts as its own, too, unless it
# is left out.

sub memory {
    my ($name) = @_;

    # memory that was used before would be used again

    $t->stop()->run();

    ($pid) = $t->workers();

    my @c = map { json('/j') } 1 .. CONNECTIONS;

    # what there is only once

    $_->ask('subscribe', channel => 'x.first') for @c;

    my $before = own_memory();

    for my $i (0 .. $#c) {
        $c[$i]->write(join('', map { frame(TEXT, format_request(
            type => 'subscribe', channel => $name->($i, $_)))
        } 1 .. CHANNELS));

        my @answers = $c[$i]->recv_n(CHANNELS);

        # looking at all of them takes much longer than the test

        die "not subscribed: $answers[-1]" if @answers != CHANNELS
            || grep { !/^\{"type":"subscribed"/ } @answers;
    }

    my $after = own_memory();

    is(status()->{subscriptions}, CONNECTIONS * (CHANNELS + 1),
        'that many subscriptions');

    $_->disconnect() for @c;

    ok($t->wait_until(sub { status()->{subscriptions} == 0 }),
        'and they are gone');

    return ($after - $before) / CONNECTIONS / CHANNELS;
}


sub own_memory {
    my $size = 0;
    my $shared;

    open(my $fh, '<', "/proc/$pid/smaps") or die "smaps: $!";

    while (<$fh>) {
        $shared = $1 eq 's' if /^[0-9a-f]+-[0-9a-f]+ \S\S\S(\S) /;
        $size += $1 * 1024 if /^Private_Dirty:\s+(\d+) kB/ && !$shared;
    }

    return $size;
}


# Nanoseconds of CPU time for subscribing from there, and unsubscribing.

sub replays {
    my ($c, $seq) = @_;

    my $text = frame(TEXT, format_request(type => 'subscribe', id => 1,
        channel => 'x.replay', epoch => $e, seq => $seq));
    my $begun = cpu();

    for (1 .. REPLAYS) {
        $c->write($text);

        my @m = $c->recv_n(MESSAGES - $seq + 1);

        die "no replay: $m[0]" if @m != MESSAGES - $seq + 1
            || $m[0] !~ /"recovered":true/ || $seq == 0
               && ($m[1] !~ /"seq":1,/ || $m[-1] !~ /"seq":1000,"data":"=/);

        $c->write(frame(TEXT, format_request(type => 'unsubscribe',
            channel => 'x.replay')));
        $c->recv();
    }

    my $time = (cpu() - $begun) / REPLAYS;

    cmp_ok($time, '>', 0, 'CPU time is measured');
    is(status()->{subscriptions}, 0, 'nothing is left subscribed');

    return $time;
}


sub cpu {
    open(my $fh, '<', "/proc/$pid/schedstat") or die "schedstat: $!";

    return (split(' ', <$fh>))[0];
}
