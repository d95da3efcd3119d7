package WsBusTestClients;

# Copyright (C) the ngx_ws_bus_module authors

# Clients of a particular worker, without handshakes at others: who they are
# can then be seen on the bus once only.  The configuration is that of
# WsBusTestWorkers.

use warnings;
use strict;

use Carp;
use Exporter qw/ import /;

use Test::WsBus;
use Test::WsBus::Client;
use Test::WsBus::Json;

our @EXPORT = qw/ raw_at json_at subscribed_at /;

our @CARP_NOT = qw/ Test::WsBus Test::WsBus::Json /;


# A connection that this worker holds.  The kernel spreads connections over
# the workers by their port, so the next attempt may go elsewhere.

sub connected {
    my ($pid, %opt) = @_;

    for (1 .. 500) {
        my $c = Test::WsBus::Client->new(port => port(8080), %opt);
        my $r = $c->request('GET', '/status') or next;

        return $c if $r->header('X-Pid') == $pid;

        $c->disconnect();
    }

    croak("no connection to worker $pid");
}


sub raw_at {
    my ($pid, $path, %opt) = @_;

    my $c = connected($pid, %opt);
    my $r = $c->handshake($path, %opt);

    croak("handshake for $path refused: " . ($r ? $r->raw() : 'no answer'))
        unless $r && $r->status() == 101;

    return $c;
}


sub json_at {
    my ($pid, $path, %opt) = @_;

    my $c = raw_at($pid, $path, protocols => [ PROTOCOL ], %opt);

    $c->{ids} = 0;
    $c->{later} = [];

    return bless $c, 'Test::WsBus::Json';
}


# A JSON client that is subscribed to these channels.

sub subscribed_at {
    my ($pid, $path, @channels) = @_;

    my $c = json_at($pid, $path);

    for (@channels) {
        my $m = $c->ask('subscribe', channel => $_);
        croak("not subscribed: $m->{text_}") if $m->{type} ne 'subscribed';
    }

    return $c;
}


1;
