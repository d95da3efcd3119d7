# Copyright (C) the ngx_ws_bus_module authors

# Idempotency-Key: a repeated publication answers the first one's result.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;
    ws_bus_zone other 1m;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 100;
        }

        location ~ ^/live/(.*)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/other/(.*)$ {
            ws_bus_publisher $1 zone=other;
            ws_bus_history 100;
        }
    }
}

EOF

$t->run();

my $long = 'k' x 255;


# with history

my @c = map { ws('/ws/news') } 1, 2;

my $first = once('/pub/news', 'one', 'key');

is($first->status(), 201, 'published');
is($first->header('Idempotency-Replayed'), undef, 'not replayed');
is($first->json()->{seq}, 1, 'seq');
is($first->json()->{subscribers}, 2, 'subscribers');

for (1 .. 4) {
    my $r = once('/pub/news', 'one', 'key');

    is($r->status(), 201, 'repeated');
    is($r->body(), $first->body(), 'repeated, the same answer');
    is($r->header('Idempotency-Replayed'), 'true', 'repeated, told');
}

is(join(' ', $c[1]->recv_n(1)), 'one', 'delivered');
$c[1]->finish();
$t->wait_until(sub { http_get('/pub/news')->json()->{subscribers} == 1 });

is(once('/pub/news', 'something else', 'key')->body(), $first->body(),
   'whatever the body is and whoever listens now');

my $r = once('/pub/news', 'two', 'Key');

is($r->header('Idempotency-Replayed'), undef, 'keys have case');
is($r->json()->{seq}, 2, 'another key, next seq');

$r = once('/pub/news', 'three', $long);

is($r->json()->{seq}, 3, 'the longest key');

$r = once('/pub/news', 'three', $long);

is($r->header('Idempotency-Replayed'), 'true', 'the longest key, repeated');
is($r->json()->{seq}, 3, 'the longest key, repeated, seq');

is(http_post('/pub/news', 'four')->json()->{seq}, 4, 'no key');
is(http_post('/pub/news', 'five')->json()->{seq}, 5, 'no key again');

is(join(' ', $c[0]->recv_n(5)), 'one two three four five',
   'each was delivered once');
ok($c[0]->is_silent(0.2), 'and nothing else');


# other channels, other zones

$r = once('/pub/sports', 'one', 'key');

is($r->header('Idempotency-Replayed'), undef, 'another channel');
is($r->json()->{seq}, 1, 'another channel, its own seq');

# the name and the key are not simply put together

$r = once('/pub/new', 'x', 'skey');
is($r->header('Idempotency-Replayed'), undef, 'a shorter name, a longer key');

$r = once('/other/news', 'x', 'key');

is($r->header('Idempotency-Replayed'), undef, 'another zone');


# without history

$c[1] = ws('/ws/live');

$first = once('/live/live', 'l1', 'key');

is_deeply($first->json(), { channel => 'live', subscribers => 1 },
          'without history');

$r = once('/live/live', 'l1', 'key');

is($r->body(), $first->body(), 'without history, repeated');
is($r->header('Idempotency-Replayed'), 'true',
   'without history, repeated, told');

is(once('/live/live', 'l2', 'key2')->header('Idempotency-Replayed'), undef,
   'without history, another key');

is(join(' ', $c[1]->recv_n(2)), 'l1 l2', 'without history, delivered once');
ok($c[1]->is_silent(0.2), 'without history, nothing else');

$first = once('/live/nobody', 'n', 'key');

is_deeply($first->json(), { channel => 'nobody', subscribers => 0 },
          'nobody listens');

$c[2] = ws('/ws/nobody');
$r = once('/live/nobody', 'n', 'key');

is($r->header('Idempotency-Replayed'), 'true', 'nobody listened, repeated');
is($r->body(), $first->body(), 'nobody listened, repeated, the same answer');
ok($c[2]->is_silent(0.2), 'nobody listened, repeated, not delivered');


# one connection, one packet

my $h = Test::WsBus::HTTP->new(port => port(8080));

$h->write(join '', map {
    Test::WsBus::HTTP::format_request('POST', '/pub/pipe', body => 'x',
        headers => [ 'Idempotency-Key' => 'pipe' ])
} 1 .. 3);

my @answers = map { $h->read_response() } 1 .. 3;

is(join(' ', map { $_->json()->{seq} } @answers), '1 1 1', 'pipelined');
is(join(' ', map { $_->header('Idempotency-Replayed') // 'false' } @answers),
   'false true true', 'pipelined, told');


# a deleted channel

$first = once('/pub/gone', 'one', 'key');
is(request('DELETE', '/pub/gone')->status(), 204, 'deleted');
is(once('/pub/gone', 'one', 'key')->body(), $first->body(),
   'repeated after the deletion: the first answer');
is(http_get('/pub/gone')->json()->{messages}, 0,
   'repeated after the deletion: not published again');


# bad keys

for my $case ([ [ '' ], 'empty', qr/not 1 to 255 bytes long/ ],
              [ [ "${long}k" ], 'too long', qr/not 1 to 255 bytes long/ ],
              [ [ 'a', 'b' ], 'two', qr/repeated/ ],
              [ [ 'a', 'a' ], 'two alike', qr/repeated/ ])
{
    my ($keys, $name, $reason) = @$case;

    $r = http_post('/pub/bad', 'x', headers => [
        map { ('Idempotency-Key' => $_) } @$keys
    ]);

    is($r->status(), 400, "$name, refused");
    like($r->body(), qr/Idempotency-Key/, "$name, what");
    like($r->body(), $reason, "$name, why");
}

is(http_get('/pub/bad')->status(), 404, 'none of them was published');

# what is refused is not remembered

is(once('/pub/bad', "\xff", 'later')->status(), 400, 'a bad message');

$r = once('/pub/bad', 'good', 'later');

is($r->status(), 201, 'the same key with a good message');
is($r->header('Idempotency-Replayed'), undef, 'published');


# the worker that took it is killed

for my $uri ('/pub/kill', '/live/kill') {

    my $first = once($uri, 'x', "kill $uri");
    my $pid = $first->header('X-Pid');

    $t->expect_log(qr/worker process $pid exited on signal 9/);
    $t->signal('KILL', $pid);

    ok($t->wait_until(sub {
        my %w = map { $_ => 1 } $t->workers();
        return keys %w == 2 && !$w{$pid};
    }), 'the worker is replaced');

    # both of the present workers are asked, as far as chance lets us

    my %seen;

    for (1 .. 200) {
        my $r = once($uri, 'x', "kill $uri");

        $seen{$r->header('X-Pid')} += $r->body() ne $first->body()
            || ($r->header('Idempotency-Replayed') // '') ne 'true';

        last if keys %seen == 2;
    }

    is(join(' ', values %seen), join(' ', (0) x keys %seen),
       "remembered after the worker was killed, $uri");
}


# a reload

$first = once('/pub/reload', 'x', 'reload');
ok($t->reload(), 'reloaded');
is(once('/pub/reload', 'x', 'reload')->body(), $first->body(),
   'remembered after a reload');

$t->done_testing();


sub once {
    my ($uri, $body, $key) = @_;

    return http_post($uri, $body, headers => [ 'Idempotency-Key' => $key ]);
}
