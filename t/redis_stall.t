#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A master that answers nothing any more, but is not dead, under load: Sentinel
# promotes another one, and then it goes on as if nothing had happened; and one
# that stands still for a moment only.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::Sentinels;
use WsBusTestStall;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 3s;',
                             topology => 'Test::WsBus::Sentinels')->start();
$f->host(0)->time_limit(300);

my $s = $f->redis();

for my $n (1 .. 2) {
    my $c = load($f, 'checked', $n);
    my $master = $s->current();

    # nobody follows before the publishers have been told

    $s->patience(600_000);
    $s->server($master)->pause();
    $c->wait_failed();
    $s->patience(1000);
    $s->wait_other($master);
    sleep(0.5);
    $s->server($master)->resume();

    served($f, 'checked');
    $c->wait_published(20);
    $c->finish("Sentinel, a master that stands still, $n");

    $s->wait_ok();
    is(scalar($f->host($_)->workers()), 2, "host $_ has its workers")
        for 0, 1;
}

# not long enough for another one, however busy this machine is

$s->patience(600_000);

my $c = load($f, 'checked', 1);
my $master = $s->current();

for (1 .. 3) {
    $s->server($master)->pause();
    sleep(0.5);
    $s->server($master)->resume();
    $c->wait_published(20);
}

my $sum = $c->finish('Sentinel, for a moment');
is($sum->{failed}, 0, 'all were published');
is($sum->{gaps}, 0, 'without a gap');
is($s->current(), $master, 'the master is the same');

$f->done_testing();
