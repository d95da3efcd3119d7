#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Clients of a zone that spans hosts: those that send more than Redis takes,
# those that go while it thinks, and what each kind of client is told when it
# has lost messages.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::HTTP;
use Test::WsBus::Json;


# messages of a client that does not wait for answers
use constant MANY => 3000;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 20s;')->start();
my ($t, $redis) = ($f->host(0), $f->redis());
my ($a, $b, $j, $r, @got);


# more than is kept on its way

$a = $f->ws(0, '/ws/many');
$b = $f->ws(1, '/ws/many');

$redis->pause();
$a->text("m$_") for 1 .. MANY;
sleep(0.3);
is($f->request(0, 'GET', '/status')->status(), 200, 'the worker goes on');
$redis->resume();

@got = $b->recv_n(MANY);
is("@got", join(' ', map { "m$_" } 1 .. MANY), 'all of them, in order');
@got = $a->recv_n(MANY);
is("@got", join(' ', map { "m$_" } 1 .. MANY), 'and to itself');

$j = json('/json', port => $f->port(0));
$redis->pause();
$j->say('publish', id => $_, channel => 'many.json', data => \$_) for 1 .. 500;
sleep(0.2);
$redis->resume();

@got = map { $j->next() } 1 .. 500;
is(join(' ', map { $_->{type} eq 'published' ? $_->{seq} : $_->{type} } @got),
   join(' ', 1 .. 500), 'each is answered');


# one that goes before it is answered

$redis->pause();

for my $n (1 .. 20) {
    my $h = Test::WsBus::HTTP->new(port => $f->port($n % 2));
    my $body = "gone$n";

    $h->write("POST /pub/gone HTTP/1.1\r\nHost: localhost\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body");
    sleep(0.01);
    $n % 3 ? $h->disconnect() : $h->abort();
}

my $c = $f->ws(0, '/ws/many');
$c->text("last$_") for 1 .. 10;
sleep(0.1);
$c->abort();

$j->say('publish', id => $_, channel => 'many.json', data => \$_) for 1 .. 10;
sleep(0.1);
$j->abort();

sleep(0.2);
$redis->resume();

is($f->post(0, '/pub/gone', 'there')->status(), 201, 'others are served');

$b = $f->ws(1, '/ws/gone?last=100');
@got = ();
while (my $m = $b->recv()) {
    push @got, $m;
    last if $m eq 'there';
}
is($got[-1], 'there', 'and what was sent before has been published, or not');


# large messages

my $large = join('', map { chr(ord('a') + $_ % 26) } 1 .. 60000);

$a = $f->ws(0, '/ws/large');
$f->post(1, '/pub/large', $large) for 1 .. 20;
is(scalar(grep { $_ eq $large } $a->recv_n(20)), 20, 'large messages');

$b = $f->ws(1, '/ws/large?last=20');
is(scalar(grep { $_ eq $large } $b->recv_n(20)), 20, 'and fetched');


# messages are lost: everybody is told

$f->post(0, '/pub/lost', "m$_") for 1 .. 5;

my $epoch = $f->ws_response(0, '/ws/lost')->header('Ws-Bus-Epoch');

$a = $f->ws(0, "/ws/lost?last_seq=4&epoch=$epoch");
is_message($a, 'm5', 'a raw client');

$j = json('/json', port => $f->port(1));
$j->ask('subscribe', channel => 'lost');

my $sse = Test::WsBus::HTTP->new(port => $f->port(0));
$sse->write("GET /ws/lost HTTP/1.1\r\nHost: localhost\r\n"
    . "Accept: text/event-stream\r\n\r\n");

is($sse->read_response(undef, 1)->status(), 200, 'an event stream');

my $n = $f->status(1)->{zones}{bus}{connections};
my $poll = Test::WsBus::HTTP->new(port => $f->port(1));
$poll->write("GET /ws/lost?wait=20&last_seq=5&epoch=$epoch HTTP/1.1\r\n"
    . "Host: localhost\r\nConnection: close\r\n\r\n");

ok($f->host(1)->wait_until(sub {
    return $f->status(1)->{zones}{bus}{connections} > $n;
}), 'a poll waits');

$redis->command('FLUSHALL');
is($f->post(0, '/pub/lost', '"new"')->json()->{seq}, 1, 'it begins anew');

is_closed($a, 1013, 'the raw client is closed', reason => qr/messages lost/);

my $gap = $j->next() // {};
is($gap->{type}, 'gap', 'JSON');
like($gap->{epoch}, EPOCH, 'has the new epoch');
isnt($gap->{epoch}, $epoch, 'which is another one');
is($gap->{seq}, 0, 'and its position');
is_next($j, { type => 'message', channel => 'lost', seq => 1,
              data => '"new"' }, 'and the message after that');

my $text = $poll->read_all() // '';
like($text, qr/"recovered":false/, 'the poll is answered') or diag($text);
like($text, qr/"epoch":"$gap->{epoch}"/, 'with the new epoch');

ok($sse->at_eof(5) || $sse->read_all(5), 'the event stream ends');

$r = Test::WsBus::http(
    "GET /ws/lost?wait=0&last_seq=5&epoch=$epoch HTTP/1.1\r\n"
    . "Host: localhost\r\nConnection: close\r\n\r\n", port => $f->port(0));
like($r, qr/"recovered":false/, 'whoever comes back is told');


# a deletion

$f->post(0, '/pub/deleted', 'x' x 1000) for 1 .. 200;
$j = json('/json', port => $f->port(1), rcvbuf => 4096);
is($j->ask('subscribe', channel => 'deleted')->{head}, 200, 'subscribed');
is($f->request(0, 'DELETE', '/pub/deleted')->status(), 204, 'deleted');
is_closed($j, 4004, 'whoever had subscribed is closed');

$f->done_testing();
