# Copyright (C) the ngx_ws_bus_module authors

# The HTTP publisher of a zone whose memory is taken by channels in use.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new()->log_level('info');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 1;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128k;
    ws_bus_message_max_size 1k;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 10;
        }

        location ~ ^/live/(.*)$ {
            ws_bus_publisher $1;
        }
    }
}

EOF

$t->run();

my @c;

# names of one length take pieces of memory of one size

my $idle = 'n' x 250;

is(http_post("/pub/$idle", 'x')->status(), 201, 'there is memory at first');

for my $n (100 .. 999) {
    my $c = eval { ws("/ws/$n" . 'c' x 247) } or last;

    push @c, $c;
}

cmp_ok(scalar(@c), '>', 3, 'some channels fit');
cmp_ok(scalar(@c), '<', 900, 'not all of them');
is(ws_response('/ws/' . 'm' x 250)->status(), 503, 'no more subscribers');
is(http_get("/pub/$idle")->status(), 404, 'the idle channel has made way');

my $r = http_post("/pub/$idle", 'x');

is($r->status(), 503, 'no more channels');
is($r->reason(), 'Service Temporarily Unavailable', 'reason');
is($r->body(), "the zone has no memory\n", 'text');
like($t->read_file('error.log'),
     qr/\[error\] .* ws bus publisher: the zone has no memory,/, 'logged');

is(http_post("/live/$idle", 'x')->status(), 201,
   'what nobody listens to needs no memory');

$r = http_post('/pub/100' . 'c' x 247, 'still');

is($r->status(), 201, 'channels in use work on');
is($r->json()->{subscribers}, 1, 'channels in use work on, subscribers');
is_message($c[0], 'still', 'channels in use work on, delivered');

Test::WsBus::Conn::disconnect_all();

ok($t->wait_until(sub {
    http_post("/pub/$idle", 'x')->status() == 201
}), 'the channels make way when nobody listens any more');

$t->done_testing();
