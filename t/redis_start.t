#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A zone that spans hosts, when Redis comes later than nginx, when clients do
# not wait, and with a configuration that changes.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use Test::WsBus::Fleet;
use Test::WsBus::Json;
use Test::WsBus::Redis;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 3s;');
my ($t, $u) = ($f->host(0), $f->host(1));
my ($redis, $a, $b, $r, $j, @c);


# nginx is there first

$f->conf($_), $f->host($_)->run() for 0, 1;

is($f->redis_status(0)->{state}, 'down', 'there is no Redis');
is($f->post(0, '/pub/c', 'early')->status(), 503, 'a publication');
is($f->ws_response(0, '/ws/c')->status(), 503, 'a subscriber');

# whoever waits, and goes

for my $n (1 .. 5) {
    my $c = Test::WsBus::Client->new(port => $f->port(0));

    $c->write(Test::WsBus::Client::format_handshake('/ws/c'));
    sleep(0.02);
    $n % 2 ? $c->disconnect() : $c->abort();
}

ok($t->wait_until(sub {
    return $f->status(0)->{zones}{bus}{subscriptions} == 0;
}, 10), 'nothing is left of those who have not waited');

# a subscription given up while it waits

$j = json('/json', port => $f->port(0));

# at once, before one has waited too long

$j->write(join('', map { frame(TEXT, format_request(@$_)) }
    [ type => 'subscribe', id => 1, channel => 'a' ],
    [ type => 'subscribe', id => 2, channel => 'b' ],
    [ type => 'subscribe', id => 3, channel => 'a' ],
    [ type => 'unsubscribe', id => 4, channel => 'a' ]));

is_error($j->answer(3), 'already_subscribed', undef, 'asked for twice');
is_next($j->answer(4), { type => 'unsubscribed', channel => 'a' },
    'given up');

$redis = Test::WsBus::Redis->new($t)->start();
$f->{redis} = $redis;
$f->wait_up();

my $answer = $j->ask('subscribe', channel => 'later');
is($answer->{type}, 'subscribed', 'Redis has come') or diag($answer->{text_});

is($f->post(1, '/pub/later', '1')->status(), 201, 'published');

my $m;
1 while ($m = $j->next()) && $m->{type} ne 'message';
is($m && $m->{data}, '1', 'and delivered');


# a client that is further than its host: nothing is lost

$a = $f->ws(0, '/ws/ahead');
$b = $f->ws(1, '/ws/ahead');
$f->post(0, '/pub/ahead', "m$_") for 1 .. 3;
is(join(' ', $b->recv_n(3)), 'm1 m2 m3', 'on the second host');

my $epoch = $b->response()->header('Ws-Bus-Epoch');

# the second host's bridge hears nothing for a moment

$redis->command('CLIENT', 'PAUSE', '300', 'WRITE');
$r = $f->ws_response(1, "/ws/ahead?last_seq=3&epoch=$epoch");
is($r->header('Ws-Bus-Recovered'), 'yes', 'resumed');

$r = $f->ws_response(1, "/ws/ahead?last_seq=9&epoch=$epoch");
is($r->header('Ws-Bus-Recovered'), 'no', 'a number that nobody has');


# a channel that nobody listens to any more is unsubscribed from, and others
# may come again

$_->close() for $a, $b;

$a = $f->ws(0, '/ws/ahead?last=1');
is_message($a, 'm3', 'again');
$f->post(1, '/pub/ahead', 'm4');
is_message($a, 'm4', 'live');


# without Redis, and with it again

my $plain = <<'EOF';

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;
    ws_bus_drain 0;

    server {
        listen 127.0.0.1:%%LISTEN%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
            ws_bus_history 1000;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 1000;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$f->conf(0, conf => $plain);
ok($t->reload(), 'a configuration without Redis');
ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'takes over');

$a = $f->ws(0, '/ws/ahead');
$r = $f->post(0, '/pub/ahead', 'local');
is($r->json()->{seq}, 1, 'the zone is another one');
is_message($a, 'local', 'of this host');
ok(!$f->redis_status(0)->{state}, 'no Redis');

$f->conf(0);
ok($t->reload(), 'with Redis again');
ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'takes over');
$f->wait_up();

$a = $f->ws(0, '/ws/ahead?last=2');
is(join(' ', $a->recv_n(2)), 'm3 m4', 'what Redis has kept');


# configurations that are refused

for my $case (
    [ 'ws_bus_zone x 1m redis=none;', qr/unknown redis "none"/ ],
    [ 'ws_bus_zone x 1m redis=;', qr/invalid parameter "redis="/ ],
    [ 'ws_bus_zone x 1m radis=fleet;', qr/invalid parameter "radis=fleet"/ ],
) {
    $u->write_file_expand('bad.conf', <<"EOF");
%%TEST_GLOBALS%%
events {
}
http {
    %%TEST_GLOBALS_HTTP%%
    ws_bus_redis fleet {
        server 127.0.0.1;
    }
    $case->[0]
}
EOF

    my ($good, $text) = $u->test_config('bad.conf');
    ok(!$good && $text =~ $case->[1], $case->[0]) or diag($text);
}

$f->done_testing();
