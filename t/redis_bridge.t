#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The worker that owns the bridge is killed, and configurations are reloaded,
# under load.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;


# messages without a number
use constant N => 600;


my $f = Test::WsBus::Fleet->new(hosts => 2, workers => 3, server => <<'EOF');
        location ~ ^/stay/(.*)$ {
            ws_bus $1;
            ws_bus_drain 1h;
        }
EOF

$f->start();


my ($t, $sum, $owner, $taken, @got);

$t = $f->host(1);

$f->host($_)->expect_log(qr/\[alert\].* exited on signal 9/) for 0, 1;


# host 1 only has subscribers

my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0 ],
                                  subscribers => [ 0, 1, 1, 1, 1 ]);

$c->start();
$taken = $f->redis_status(1)->{takeovers};

for my $n (1 .. 3) {
    $c->wait_published(50);

    $owner = $f->owner(1);
    $t->signal('KILL', $owner);

    ok($t->wait_until(sub {
        my $r = $f->redis_status(1);
        return $r->{owner} && $r->{owner} != $owner && $r->{state} eq 'up';
    }, 20), "the bridge has another owner, $n");
}

$sum = $c->finish('owners killed');
is($sum->{gaps}, 0, 'nothing was lost');
is($sum->{failed}, 0, 'publishers on another host have not noticed');
cmp_ok($f->redis_status(1)->{takeovers}, '>=', $taken + 3, 'takeovers');


# reloads: what has no number arrives once, too

my @plain = map { $f->ws(0, '/stay/plain') } 1 .. 4;

$f->post(0, '/livepub/plain', 'begin');
is_message($_, 'begin', 'subscribed') for @plain;

$c = Test::WsBus::Checker->new($f, publishers => [ 1, 1 ],
                               subscribers => [ 0, 0, 1 ]);
$c->start();

my $pid = fork();

if (!$pid) {
    for my $n (1 .. N) {
        my $r = eval { $f->post(1, '/livepub/plain', "n$n") };
        sleep(0.005);
    }

    POSIX::_exit(0);
}

for my $n (1 .. 3) {
    $c->wait_published(50);
    $owner = $f->owner(0);
    $f->host(0)->signal('HUP');

    ok($f->host(0)->wait_until(sub {
        my $r = $f->redis_status(0);
        return $r->{owner} && $r->{owner} != $owner && $r->{state} eq 'up';
    }, 20), "the bridge has an owner of the new configuration, $n");
}

waitpid($pid, 0);

$sum = $c->finish('reloaded');
is($sum->{gaps}, 0, 'nothing was lost');

for my $n (0 .. $#plain) {
    @got = $plain[$n]->recv_n(N);
    is("@got", join(' ', map { "n$_" } 1 .. N),
       "client $n of the first configuration has got each once, in order");
}

is($sum->{failed}, 0, 'everything was published');

$f->done_testing();
