#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The server's pings: when a client is silent, and what happens if it stays so.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new();

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    ws_bus_ping 300ms 10s;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /second/ {
            ws_bus $uri;
            ws_bus_publish on;
            ws_bus_ping 1500ms;
        }

        location /patient/ {
            ws_bus $uri;
            ws_bus_publish on;
            ws_bus_ping 3s 2s;
        }

        location /strict/ {
            ws_bus $uri;
            ws_bus_publish on;
            ws_bus_ping 300ms 3s;
        }

        location /off/ {
            ws_bus $uri;
            ws_bus_ping off;
        }

        location /inherited/ {
            ws_bus $uri;
        }

        location ~ ^/pub(?<chan>/.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();


# Nobody is there any more: what is sent is neither read nor answered.

my $dead = ws('/strict/dead', port => port(8081), rcvbuf => 4096,
    auto_pong => 0);
http_post('/pub/strict/dead', 'x' x 60000) for 1 .. 5;


# Silence is met with pings, as long as they are answered; the timeout is
# longer than the interval, and then shorter.

for my $case ([ '/ws/a', 6 ], [ '/patient/a', 2 ]) {
    my ($path, $n) = @$case;

    my $c = ws($path);
    my @events = map { $c->read_event() // { type => 'nothing' } } 1 .. $n;

    is(join(' ', map { $_->{type} } @events), join(' ', ('ping') x $n),
        "$path: pings") or diag($c->close_reason());
    is(join('', map { $_->{data} } @events), '', "$path: empty ones");

    $c->text('alive');
    is_message($c, 'alive', "$path: still there");
    is($c->finish(), 1000, "$path: closed in good order");
}


# A ping that was answered late, but in time, is answered.

my $c = ws('/ws/a', auto_pong => 0);

for (1 .. 3) {
    is($c->read_event()->{type}, 'ping', 'a ping');
    sleep(0.4);
    $c->pong('');
}

$c->text('alive');
is_message($c, 'alive', 'late answers are answers');
$c->finish();


# Whoever talks is neither asked nor closed: with messages, pings or pongs.
# If this test itself was not fast enough, it tries again.

for my $case (
    [ 'messages', sub { $_[0]->text('x') } ],
    [ 'pings', sub { $_[0]->ping('x') } ],
    [ 'pongs', sub { $_[0]->pong('x') } ],
    [ 'part of a frame', sub { $_[0]->write($_[0]{part}++ ? 'x' : "\x82\xfe"
        . "\x10\0" . "\0\0\0\0" . 'x') } ],
) {
    my ($name, $talk) = @$case;
    my ($pings, $slow, $c);

    for (1 .. 10) {
        $c = ws('/second/' . $name =~ tr/ /-/r);

        my $last = time();
        my $until = $last + 2.5;

        ($pings, $slow) = (0, 0);

        while ($last < $until) {
            $talk->($c);

            while (my $e = $c->read_event(0.1)) {
                $pings++ if $e->{type} eq 'ping';
                last if time() - $last > 0.1;
            }

            $slow = time() - $last if time() - $last > $slow;
            $last = time();
        }

        last if $slow < 1.3;
    }

    is($pings, 0, "$name: no pings for a client that talks");
    ok(!$c->{eof} && !defined $c->close_code(), "$name: and it lives");

    # then it falls silent

    is(($c->read_event() // { type => '' })->{type}, 'ping',
        "$name: a ping afterwards");
    $c->disconnect();
}


# No answer: closed.

my $begin = time();

$c = ws('/strict/a', auto_pong => 0);

is($c->read_event()->{type}, 'ping', 'a ping that is not answered');
is_closed($c, 1011, 'closed', reason => qr/ping timeout/);
cmp_ok(time() - $begin, '>', 3.1, 'after the timeout');
is(scalar(@{$c->{pings}}), 1, 'after one ping');

# data are an answer as well

$c = ws('/strict/a', auto_pong => 0);
is($c->read_event()->{type}, 'ping', 'a ping');
$c->text('busy');
is_message($c, 'busy', 'a message instead of a pong');
is($c->read_event()->{type}, 'ping', 'the next ping');
is_closed($c, 1011, 'not answered at all');


# Off, and what is inherited.

my $off = ws('/off/a');
my $inherited = ws('/inherited/a');

ok($off->is_silent(1.2), 'off: silence');
is(($inherited->read_event() // { type => '' })->{type}, 'ping', 'inherited');

http_post('/pub/off/a', 'hello');
is_message($off, 'hello', 'off: still there');


# The dead one.

ok($t->wait_until(sub {
    my $s = http_get('/status')->json()->{zones}{bus};
    return $s->{connections} == 2;
}, 15), 'a dead client is given up');

$dead->read_all();
ok($dead->{eof}, 'its connection has ended');

$t->done_testing();
