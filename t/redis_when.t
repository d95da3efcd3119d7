#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What becomes of publications and subscribers while there is no Redis:
# "when_down local" and "when_down queue"; and what the status page says.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my ($f, $t, $a, $b, $r, $j, $pid);


# reject: the default

$f = Test::WsBus::Fleet->new(hosts => 1, workers => 1)->start();
$t = $f->host(0);

is($f->request(0, 'GET', '/status?ready')->status(), 200, 'ready');

$a = $f->ws(0, '/ws/c');
$f->post(0, '/pub/c', 'one');
is_message($a, 'one', 'a message');

$r = $f->redis_status(0);
is($r->{state}, 'up', 'state');
is($r->{channels}, 1, 'channels');
is($r->{live}, 1, 'live');
is($r->{received}, 1, 'received');

my $text = $f->request(0, 'GET', '/prometheus')->body();

for my $metric (qw/ up 1 live_channels 1 received_total 1 errors_total 0
                    timeouts_total 0 gaps_found_total 0 /)
{
    next if $metric =~ /^\d/;
    like($text, qr/^ws_bus_redis_$metric\{zone="bus"} \d+$/m, $metric);
}

like($text, qr/^ws_bus_gaps_total\{zone="bus",repaired="yes"} 0$/m, 'gaps');
like($text, qr/^ws_bus_redis_rtt_seconds_bucket\{zone="bus",le="\+Inf"} \d/m,
     'rtt');

$f->redis()->kill();
ok($t->wait_until(sub { $f->redis_status(0)->{state} eq 'down' }, 10),
   'Redis is gone');

my $ready = $f->request(0, 'GET', '/status?ready');

is($ready->status(), 503, 'not ready');
is($ready->body(),
   qq{not ready: zone "bus" is not connected to its redis\n}, 'why');
is($f->request(0, 'GET', '/status')->status(), 200, 'the page is there');
is($f->post(0, '/pub/c', 'two')->status(), 503, 'a publication is refused');

$j = json('/json', port => $f->port(0));
is_error($j->ask('publish', channel => 'c', data => \1), 'unavailable', undef,
         'by JSON');
$a->text('three');
is_closed($a, 1011, 'a raw client is closed');

$f->redis()->start();
$f->wait_up();
is($f->request(0, 'GET', '/status?ready')->status(), 200, 'ready again');


# local

$f->conf(0, block => 'when_down local;');
ok($t->reload(), 'when_down local');
ok($t->wait_until(sub { $t->workers() == 1 }), 'the old worker has left');
$f->wait_up();

$a = $f->ws(0, '/ws/c');
$f->redis()->kill();
ok($t->wait_until(sub { $f->redis_status(0)->{state} eq 'down' }, 10),
   'Redis is gone');

is($f->request(0, 'GET', '/status?ready')->status(), 200, 'it is ready');

$r = $f->post(0, '/pub/c', 'local');
is($r->status(), 201, 'published');
is($r->json()->{local}, 1, 'and marked') or diag($r->body());
ok(!exists $r->json()->{seq}, 'without a number');
is_message($a, 'local', 'delivered on this host');

$b = $f->ws(0, '/ws/c');
$b->text('new');
is_message($b, 'new', 'who comes now is served');
is_message($a, 'new', 'with the others');

$f->redis()->start();
$f->wait_up();
ok($t->wait_until(sub {
    my $r = $f->post(0, '/pub/c', 'all');
    return $r->status() == 201 && $r->json()->{seq};
}, 10), 'published for all again');

# all that Redis had is gone, of which a client is told

ok(($a->recv() // '') eq 'all' || ($a->close_code() // 0) == 1013,
   'delivered, or told of a loss');


# queue

$f->conf(0, block => 'when_down queue 10k;');
ok($t->reload(), 'when_down queue');
ok($t->wait_until(sub { $t->workers() == 1 }), 'the old worker has left');
$f->wait_up();

$a = $f->ws(0, '/ws/q');
$j = json('/json', port => $f->port(0));
$f->redis()->kill();
ok($t->wait_until(sub { $f->redis_status(0)->{state} eq 'down' }, 10),
   'Redis is gone');

$j->say('publish', id => $_, channel => 'q', data => \"\"n$_\"") for 1 .. 5;

ok($t->wait_until(sub {
    $r = $f->redis_status(0)->{publications};
    return $r->{waiting} == 5;
}), 'they wait');
is($j->surplus(), '', 'and their answers');
cmp_ok($r->{waiting_bytes}, '>', 5 * length('"n1"'), 'and their bytes');
is($r->{sent}, 0, 'none is on its way');

like($f->request(0, 'GET', '/prometheus')->body(),
     qr/^ws_bus_redis_publications\{zone="bus",state="waiting"} 5$/m,
     'in Prometheus, too');

is($f->post(0, '/pub/q', 'x' x 20000)->status(), 503, 'more than fits');

$f->redis()->start();

is_next($j, { type => 'published', id => $_, channel => 'q', epoch => EPOCH,
              seq => $_ }, "published $_") for 1 .. 5;

is_deeply($f->redis_status(0)->{publications},
          { waiting => 0, waiting_bytes => 0, sent => 0, sent_bytes => 0 },
          'nothing is left in the queue');

$f->wait_up();
$a = $f->ws(0, '/ws/q?last=5');
is_message($a, "\"n$_\"", "delivered $_") for 1 .. 5;

$f->done_testing();
