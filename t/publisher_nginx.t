# Copyright (C) the ngx_ws_bus_module authors

# The HTTP publisher beside nginx's own directives.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new()->has('http_auth_request');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 1m;

    limit_req_zone $server_port zone=rate:1m rate=1r/m;

    map $arg_key $room {
        secret  a;
    }

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
        }

        location = /map {
            ws_bus_publisher $room;
        }

        location = /allowed {
            auth_request /yes;
            ws_bus_publisher a;
        }

        location = /forbidden {
            auth_request /no;
            ws_bus_publisher a;
        }

        location = /yes {
            return 204;
        }

        location = /no {
            return 403;
        }

        location = /denied {
            deny all;
            ws_bus_publisher a;
        }

        location = /limited {
            limit_req zone=rate;
            ws_bus_publisher a;
        }

        location = /read_only {
            limit_except GET {
                deny all;
            }

            ws_bus_publisher a;
        }

        location = /rewritten {
            rewrite ^ /pub/a last;
        }

        location = /mirrored {
            mirror /pub/a;
            proxy_pass http://127.0.0.1:%%PORT_8080%%/target;
        }

        location = /proxied {
            proxy_pass http://127.0.0.1:%%PORT_8080%%/pub/a;
        }

        location = /target {
            return 200 "target\n";
        }
    }
}

EOF

$t->run();

my $c = ws('/ws/a');
my $n = 0;

published('/map?key=secret', 201, 'map');
refused('/map?key=guess', 400, 'map without a channel');
published('/allowed', 201, 'auth_request');
refused('/forbidden', 403, 'auth_request says no');
refused('/denied', 403, 'deny');
published('/limited', 201, 'limit_req');
refused('/limited', 503, 'limit_req says no');
refused('/read_only', 403, 'limit_except');
is(http_get('/read_only')->json()->{subscribers}, 1, 'limit_except, GET');
published('/rewritten', 201, 'rewrite');
published('/mirrored', 200, 'mirror');
published('/proxied', 201, 'proxy_pass');

ok($c->is_silent(0.2), 'nothing that was refused');

$t->done_testing();


sub published {
    my ($uri, $status, $name) = @_;

    $n++;

    is(http_post($uri, "message $n")->status(), $status, $name);
    is_message($c, "message $n", "$name, delivered");
}


sub refused {
    my ($uri, $status, $name) = @_;

    is(http_post($uri, 'refused')->status(), $status, $name);
}
