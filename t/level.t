#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Level-triggered events ("use poll"): while nothing is read from a client, or
# there is nothing to write, its events do not keep the worker busy.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Events;
use Test::WsBus::Json;
use Test::WsBus::Redis;
use WsBusTestWorkers qw/ cpu_ticks /;

use constant COUNT => 2000;

my $t = Test::WsBus->new()->has(qw! poll bin/redis-server !);

$t->log_level('info');

my $redis = Test::WsBus::Redis->new($t)->start();

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 1;

events {
    use poll;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_redis fleet {
        server 127.0.0.1:%%PORT_6379%%;
        timeout 60s;
    }

    ws_bus_zone bus 32m;
    ws_bus_zone wide 8m redis=fleet;

    ws_bus_publish on;
    ws_bus_buffer 16m;
    ws_bus_message_max_size 128k;
    ws_bus_drain 0;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/delay/(.*)$ {
            ws_bus $1;
            ws_bus_limit rate=1r/s burst=1000000 delay;
        }

        location ~ ^/wide/(.*)$ {
            ws_bus $1 zone=wide;
        }

        location = /json {
            ws_bus zone=wide;
            ws_bus_channels **;
        }

        location ~ ^/widepub/(.*)$ {
            ws_bus_publisher $1 zone=wide;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

ok($t->wait_until(sub {
    my $s = http_get('/status')->json()->{zones}{wide}{redis};
    return $s && $s->{state} eq 'up';
}, 20), 'connected to Redis');

is_idle('at the start');

slow_reader('WebSocket', ws('/ws/slow', port => port(8081), rcvbuf => 4096),
            sub { return $_[0]->recv() });

my $e = Test::WsBus::Events->new(port => port(8081), rcvbuf => 4096);

$e->open('/ws/slow');

slow_reader('event stream', $e, sub { return $_[0]->event()->{data} });

delayed();
publications();
held();

$t->done_testing();


sub is_idle {
    my ($name) = @_;

    my ($pid) = $t->workers();
    my $ticks = cpu_ticks($pid);

    sleep(1);

    cmp_ok(cpu_ticks($pid) - $ticks, '<', 40, "$name: the worker is idle");
}


# Who does not read, and then has read it all.

sub slow_reader {
    my ($name, $c, $read) = @_;

    my $large = 'x' x 100_000;
    my $n = 0;

    http_post('/pub/slow', $large) for 1 .. 50;

    is_idle("$name, not read from");

    for (1 .. 50) {
        $n++ if $read->($c) eq $large;
    }

    is($n, 50, "$name: all of it");
    is_idle("$name, read from");

    http_post('/pub/slow', 'next');
    is($read->($c), 'next', "$name: and the next");

    $c->disconnect();
}


# The time of a message has not come, and what may wait behind it is full.

sub delayed {
    my $c = ws('/delay/delay');

    $c->write(frame(TEXT, "$_" . 'x' x 100)) for 1 .. COUNT;

    is_idle('ws_bus_limit, delayed');
    like($c->recv(), qr/^1x/, 'the first one');

    $c->disconnect();
    is_idle('ws_bus_limit, closed by the client');
}


# As many as may be on their way to Redis.

sub publications {
    my $j = json('/json');
    my $n = 0;

    $redis->pause();

    $j->write(join('', map { frame(TEXT, format_request(type => 'publish',
        id => $_, channel => 'many', data => 'x' x 100)) } 1 .. COUNT));

    is_idle('publications on their way');

    $redis->resume();

    for (1 .. COUNT) {
        my $m = $j->next() or last;
        $n++ if $m->{type} eq 'published' && $m->{id} == $_;
    }

    is($n, COUNT, 'all are published');

    $j->say('publish', id => 1, channel => 'many', data => 'next');
    is($j->next()->{type}, 'published', 'and the next');

    is_idle('publications done');
}


# Requests that wait for Redis, with more behind them.

sub held {
    $redis->pause();

    my $c = Test::WsBus::Client->new(port => port(8080));
    my $h = Test::WsBus::HTTP->new(port => port(8080));
    my $post = Test::WsBus::HTTP::format_request('POST', '/widepub/held',
                                                 body => 'message');

    $c->write(Test::WsBus::Client::format_handshake('/wide/other')
              . frame(TEXT, 'early'));
    $h->write($post . $post);

    is_idle('requests that wait');

    $redis->resume();

    is($c->handshake_response()->status(), 101, 'handshake');
    is($c->recv(), 'early', 'what came behind it');
    is($h->read_response()->status(), 201, 'a request') for 1 .. 2;

    is_idle('requests answered');
}
