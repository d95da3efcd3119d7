#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Publishers that do not wait for answers keep their order, also when Redis has
# forgotten the scripts.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 2, workers => 1)->start();

# one connection publishes: nobody else tells Redis the scripts meanwhile

my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 0 ],
                                  subscribers => [ 0, 1 ], pipeline => 100,
                                  pause => 0.001);
$c->start();
forget();

my $sum = $c->finish('scripts are forgotten');

is($sum->{failed}, 0, 'all were published');
is($sum->{gaps}, 0, 'without a gap');

# several do: what another has overtaken is refused

$c = Test::WsBus::Checker->new($f, channel => 'several',
                               publishers => [ 0, 0, 1, 1 ],
                               subscribers => [ 0, 1 ], pipeline => 100,
                               pause => 0.001);
$c->start();
forget();

$sum = $c->finish('several publish');

cmp_ok($sum->{failed}, '<', $sum->{published} / 2, 'few are refused');
is($sum->{gaps}, 0, 'without a gap');

$f->done_testing();


sub forget {
    for (1 .. 100) {
        sleep(0.01);
        $f->redis()->command('SCRIPT', 'FLUSH');
    }
}
