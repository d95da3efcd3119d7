#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A zone that spans hosts: what is published on one is delivered on another.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my $f = Test::WsBus::Fleet->new(hosts => 2)->start();
my ($a, $b, $r);


# across hosts

$a = $f->ws(0, '/ws/news');
$b = $f->ws(1, '/ws/news');

$r = $f->post(0, '/pub/news', 'one');
is($r->status(), 201, 'published on the first host');
is($r->json()->{seq}, 1, 'its number');
is($r->json()->{hosts}, 2, 'two hosts have it');
is($r->json()->{subscribers}, 1, 'one subscriber on this one');

is_message($a, 'one', 'delivered there');
is_message($b, 'one', 'and on the second host');

$r = $f->post(1, '/pub/news', 'two');
is($r->json()->{seq}, 2, 'the next number on the second host');
is_message($a, 'two', 'delivered on the first host');
is_message($b, 'two', 'and there');

$a->text('three');
is_message($a, 'three', 'from a client to itself');
is_message($b, 'three', 'and to the second host');
$b->binary("\xff\0four");
is_message($a, "\xff\0four", 'binary', type => 'binary');
is_message($b, "\xff\0four", 'binary', type => 'binary');


# without history

$a = $f->ws(0, '/live/quick');
$b = $f->ws(1, '/live/quick');

$r = $f->post(0, '/livepub/quick', 'one');
is($r->status(), 201, 'published without history');
ok(!exists $r->json()->{seq}, 'it has no number');
is_message($a, 'one', 'delivered');
is_message($b, 'one', 'delivered on the second host');


# resume on another host

$f->post(0, '/pub/again', "m$_") for 1 .. 10;

$a = $f->ws(0, '/ws/again?last=3');
is(join(' ', $a->recv_n(3)), 'm8 m9 m10', 'the newest three');
my $epoch = $a->response()->header('Ws-Bus-Epoch');
is($a->response()->header('Ws-Bus-Seq'), 7, 'position');

$b = $f->ws(1, "/ws/again?last_seq=4&epoch=$epoch");
is($b->response()->header('Ws-Bus-Recovered'), 'yes', 'resumed on another');
is(join(' ', $b->recv_n(6)), 'm5 m6 m7 m8 m9 m10', 'what was missed');

$f->post(0, '/pub/again', 'm11');
is_message($a, 'm11', 'live after that');
is_message($b, 'm11', 'live after that');

$b = $f->ws(1, '/ws/again?last_seq=4&epoch=0123456789abcdef');
is($b->response()->header('Ws-Bus-Recovered'), 'no', 'another epoch');


# JSON

my $j = json('/json', port => $f->port(1));

is_next($j->ask('subscribe', channel => 'again', seq => 9, epoch => $epoch),
    { type => 'subscribed', channel => 'again', epoch => $epoch, seq => 9,
      head => 11, oldest => 1, recovered => 'true' }, 'resumed by JSON');
is_next($j, { type => 'message', channel => 'again', seq => $_,
              text => "m$_" }, "message $_") for 10 .. 11;

is_next($j->ask('publish', channel => 'again', data => \'{"n":1}'),
    { type => 'published', channel => 'again', seq => 12, epoch => $epoch },
    'published by JSON');
is_next($j, { type => 'message', channel => 'again', seq => 12,
              data => '{"n":1}' }, 'and delivered');
is_message($a, '{"n":1}', 'delivered on the first host');

is_next($j->ask('subscribe', channel => 'new'),
    { type => 'subscribed', channel => 'new', epoch => EPOCH, seq => 0,
      head => 0, oldest => 1 }, 'a new channel');
$f->post(0, '/pub/new', '"first"');
is_next($j, { type => 'message', channel => 'new', seq => 1,
              data => '"first"' }, 'its first message');


# any Redis client

$a = $f->ws(0, '/ws/plain');
$b = $f->ws(1, '/live/plain');

is($f->redis()->command('PUBLISH', 'ws_bus:{plain}', 'hello'), 2,
   'a plain PUBLISH reaches two hosts');
is_message($a, 'hello', 'and their clients', type => 'text');
is_message($b, 'hello', 'and their clients', type => 'text');

$f->redis()->command('PUBLISH', 'ws_bus:{plain}', "\xfe\xff");
is_message($a, "\xfe\xff", 'what is no UTF-8 is binary', type => 'binary');


# idempotency, across hosts

$a = $f->ws(0, '/ws/once');

$r = $f->post(0, '/pub/once', 'only', headers => [ 'Idempotency-Key' => 'k' ]);
is($r->json()->{seq}, 1, 'published');
$r = $f->post(1, '/pub/once', 'only', headers => [ 'Idempotency-Key' => 'k' ]);
is($r->json()->{seq}, 1, 'repeated on another host');
is($r->header('Idempotency-Replayed'), 'true', 'and known there');

$f->post(1, '/pub/once', 'next');
is_message($a, 'only', 'delivered once');
is_message($a, 'next', 'and then the next one');


# deletion

$a = $f->ws(0, '/ws/gone');
$b = $f->ws(1, '/ws/gone');
$f->post(0, '/pub/gone', 'message');
is_message($_, 'message', 'before it is deleted') for $a, $b;

is($f->request(1, 'DELETE', '/pub/gone')->status(), 204, 'deleted');
is_closed($_, 4004, 'clients of both hosts are closed') for $a, $b;
is($f->request(1, 'DELETE', '/pub/unknown')->status(), 404,
   'what is unknown cannot be');

$a = $f->ws(0, '/ws/gone?last=10');
is($a->response()->header('Ws-Bus-Seq'), 0, 'and begins anew');


# event streams and polls

$f->post(0, '/pub/stream', 'first');

$r = $f->request(1, 'GET', '/ws/stream?wait=1&last=5');
is($r->status(), 200, 'a poll on another host');
is($r->json()->{messages}[0]{text} // $r->json()->{messages}[0]{data},
   'first', 'has the message');

$f->done_testing();
