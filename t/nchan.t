# Copyright (C) the ngx_ws_bus_module authors

# Another module with another hiredis, all of whose symbols nginx makes
# global: loaded before and after ours, both serve, and both talk to a Redis.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use WsBusTestLink;


my ($nchan) = grep { -f } map { "$_/ngx_nchan_module.so" }
    qw! /usr/lib/nginx/modules /usr/lib64/nginx/modules
        /usr/local/libexec/nginx !, "$FindBin::Bin/../build/test";

plan(skip_all => 'no ngx_nchan_module') unless $nchan;

my $module = $ENV{WS_BUS_TEST_MODULE}
    // "$FindBin::Bin/../build/ngx_ws_bus_module.so";

my $t = link_test()->log_level('info');
my $link = $ENV{WS_BUS_TEST_MODULE};

my $redis = Test::WsBus::Redis->new($t)->start();

config([ $nchan ], '', '');

my ($good, $said) = $t->test_config();

if (!$good) {
    $t->expect_log(qr/./);
    plan(skip_all => "it is of another nginx: $said");
}

for my $order ([ $nchan, $module ], [ $module, $nchan ]) {
    my $which = $order->[0] eq $nchan ? 'behind it' : 'in front of it';

    config($order, <<"EOF", <<"EOF");
    ws_bus_zone bus 1m;
EOF
        location /ws {
            ws_bus news;
            ws_bus_publish on;
        }
EOF

    $t->run();

    my $ws = ws('/ws');
    $ws->text('hello');
    is_message($ws, 'hello', "$which: the bus delivers");

    nchan($which);
    $t->stop();
}

for my $order ([ $nchan, $link ], [ $link, $nchan ]) {
    my $which = $order->[0] eq $nchan ? 'behind it' : 'in front of it';

    config($order, <<"EOF", <<"EOF");
    link_redis fleet {
        server 127.0.0.1:%%PORT_6379%%;
    }

    link fleet fleet;
EOF
        location = / {
            link_handler;
        }
EOF

    $t->run();

    ok(wait_state($t, 'fleet', 'up'), "$which: a link is up");

    command('fleet', ['DEL', 'list']);

    my @replies = command('fleet', ['RPUSH', 'list', 'a', 'b', 'c' x 100000],
                          ['LRANGE', 'list', 0, -1], ['NONE'], ['GET', 'no']);

    is(join(' ', map { substr($_, 0, 12) } @replies),
       ':3 [$a $b $cccc -ERR unknown _', "$which: replies are read");

    nchan($which);

    like(command('fleet', ['LLEN', 'list']), qr/^:3$/,
         "$which: replies are still read");

    $t->stop();
}

$t->done_testing();


# A message through its memory and through its Redis.

sub nchan {
    my ($which) = @_;

    for my $store ('memory', 'redis') {
        my $got = $t->wait_until(sub {
            my $r = http_post("/$store/pub", "by $store");
            return $r && $r->status() =~ /^20[12]$/;
        });

        ok($got, "$which: published by $store");

        my $r = http_get("/$store/sub");
        is($r && $r->body(), "by $store", "$which: delivered by $store");

        request('DELETE', "/$store/pub");
    }
}


sub config {
    my ($modules, $http, $server) = @_;

    my $load = join("\n", map { "load_module $_;" } @$modules);
    my $globals = $t->globals() =~ s/^(?:load_module .*|%%LOAD_MODULE%%)\n//mr;

    $t->write_file_expand('nginx.conf', <<"EOF");

$load
$globals

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    client_body_buffer_size 1m;

$http

    upstream nchan_redis {
        nchan_redis_server redis://127.0.0.1:%%PORT_6379%%;
    }

    server {
        listen 127.0.0.1:%%PORT_8080%%;

$server

        location = /memory/pub {
            nchan_publisher;
            nchan_channel_id memory;
        }

        location = /memory/sub {
            nchan_subscriber longpoll;
            nchan_channel_id memory;
        }

        location = /redis/pub {
            nchan_publisher;
            nchan_channel_id redis;
            nchan_redis_pass nchan_redis;
        }

        location = /redis/sub {
            nchan_subscriber longpoll;
            nchan_channel_id redis;
            nchan_redis_pass nchan_redis;
        }
    }
}

EOF
}
