#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Channels come and go: a zone that cannot hold all that there ever were makes
# room for those that are in use.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    ws_bus_message_max_size 1k;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /kept/ {
            ws_bus $uri;
            ws_bus_publish on;
            ws_bus_history 10;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
            ws_bus_history 10;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

# channels that only have a history leave no page to anything else, and still
# make room for the first subscriber

my $posted = 0;

for my $i (1 .. 12000) {
    $posted++ if http_post("/pub/$i", 'x')->status() == 201;
}

is($posted, 12000, 'channels with a history');

my $first = ws('/ws/first');

ok($first->accepted(), 'the first subscriber');
$first->finish();

# far more than fit, and a few that stay

my @stay = map { ws("/ws/stay-$_") } 1 .. 8;

for my $dir (qw/ ws kept /) {
    my ($refused, $wrong) = (0, 0);

    for my $i (1 .. 1500) {
        # names of all lengths: the channel has the leading slash as well

        my $name = "$dir/" . 'n' x ($i * 7 % 244) . $i;

        my $c = ws('/' . substr($name, 0, 254));

        if (!$c->accepted()) {
            $refused++;
            next;
        }

        $c->text("message $i");
        $wrong++ if $c->recv() ne "message $i";
        $c->finish();
    }

    is($refused, 0, "$dir: nobody is refused");
    is($wrong, 0, "$dir: all hear themselves");
}

for my $i (0 .. $#stay) {
    $stay[$i]->text("still $i");
    is($stay[$i]->recv(), "still $i", "channel $i is as it was");
}

is(http_get('/status')->json()->{zones}{bus}{refused}{unavailable}, 0,
   'none is counted');

$t->done_testing();
