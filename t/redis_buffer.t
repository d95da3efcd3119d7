#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A Redis that cuts hosts off since its output buffers are small, and one that
# stands still: of channels with history nothing is lost.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


# messages in one burst, of about a hundred bytes
use constant BURST => 900;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 2s;', redis => {
    config => [ 'client-output-buffer-limit pubsub 64kb 0 0' ]
})->start();

my ($t, $redis) = ($f->host(1), $f->redis());
my ($sum, $n, @json, @got, @noise);


# a burst of others, under load

my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 1 ],
                                  subscribers => [ 0, 1, 1 ]);

@noise = map { $f->ws($_, '/live/noise') } 0, 1;
$c->start();

for my $round (1 .. 4) {
    $c->wait_published(20);

    # a host that does not listen is not cut off

    ok($t->wait_until(sub { listeners('noise') == 2 }), 'the hosts listen');
    $n = $f->redis_status(1)->{reconnects};

    # while one script runs, nothing is sent

    $redis->command('EVAL', "for i = 1, 2000 do"
        . " redis.call('PUBLISH', KEYS[1], ARGV[1]) end", 1,
        'ws_bus:{noise}', 'x' x 100);

    ok($t->wait_until(sub {
        my $r = $f->redis_status(1);
        return $r->{reconnects} > $n && $r->{state} eq 'up';
    }), "cut off, and there again, $round");
}

$f->wait_up();
$sum = $c->finish('cut off in bursts of others');
is($sum->{gaps}, 0, 'nothing was lost');
is($f->redis_status($_)->{gaps}{lost}, 0, "host $_ has lost nothing")
    for 0, 1;


# a burst on the channel itself

@json = map { json('/json', port => $f->port($_)) } 0, 1;
$_->ask('subscribe', channel => 'burst') for @json;

ok($t->wait_until(sub { listeners('burst') == 2 }), 'the hosts listen');
$n = $f->redis_status(1)->{reconnects};
burst('burst');

for my $host (0, 1) {
    @got = map { $json[$host]->next() } 1 .. BURST;

    is(join(' ', map { $_ ? ($_->{seq} // $_->{type}) : 'nothing' } @got),
       join(' ', 1 .. BURST), "host $host: all of them, in order");
    is($got[-1] && $got[-1]{data}, '"' . BURST . '-' . 'x' x 100 . '"',
       "host $host: the last one");
}

ok($t->wait_until(sub { $f->redis_status(1)->{reconnects} > $n }),
   'it was cut off');


# Redis stands still under load, longer than anybody waits

$redis->command('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 32mb 8mb 60');

$c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 1 ],
                               subscribers => [ 0, 1, 1 ]);
$c->start();
$c->wait_published(20);
$redis->pause();
$c->wait_failed();
sleep(3);
$redis->resume();
$f->wait_up();
$c->wait_published(20);

$sum = $c->finish('stopped for seconds');
is($sum->{gaps}, 0, 'nothing was lost');

$f->done_testing();


# The hosts that hear of a channel.

sub listeners {
    my ($channel) = @_;

    return $redis->command('PUBSUB', 'NUMSUB', "ws_bus:{$channel}")->[1];
}


# All at once: one transaction.

sub burst {
    my ($channel) = @_;

    my $path = "$FindBin::Bin/../contrib/redis/publish.lua";

    open(my $fh, '<', $path) or die "$path: $!";
    local $/;

    my $sha = $redis->command('SCRIPT', 'LOAD', <$fh>);
    my $key = "ws_bus:{$channel}";
    my $client = $redis->client();

    $client->send('MULTI');

    for my $i (1 .. BURST) {

        # JSON, no time, no age

        $client->send('EVALSHA', $sha, 3, $key, "$key:meta", "$key:log",
                      'PUBLISH', 2, "\0\0\"$i-" . 'x' x 100 . '"',
                      '1000:60000:120000::', sprintf('%016x', $i));
    }

    $client->send('EXEC');
    $client->reply() for 1 .. BURST + 1;

    my $done = $client->reply();

    is(scalar(@$done), BURST, 'a burst') or diag($$done);
}
