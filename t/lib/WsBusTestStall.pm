package WsBusTestStall;

# Copyright (C) the ngx_ws_bus_module authors

# For tests of a master that answers nothing any more, with Sentinel and in a
# Cluster.

use warnings;
use strict;

use Exporter qw/ import /;
use Test::More;

use Test::WsBus;
use Test::WsBus::Checker;

our @EXPORT = qw/ load served /;


my $probes = 0;


# One message at a time, or many.

sub load {
    my ($f, $channel, $n) = @_;

    my $c = Test::WsBus::Checker->new($f, channel => $channel,
                                      publishers => [ 0, 0, 1 ],
                                      subscribers => [ 0, 1, 1 ],
                                      pipeline => $n == 1 ? 0 : 50);
    $c->start();
    $c->wait_published(20);

    return $c;
}


# Both hosts can publish to the channel.

sub served {
    my ($f, $channel) = @_;

    for my $n (0, 1) {
        ok($f->host($n)->wait_until(sub {
            my $r = $f->post($n, "/pub/$channel", '"probe ' . ++$probes . '"');
            return $r && $r->status() == 201;
        }, 30), "served, host $n");
    }
}


1;
