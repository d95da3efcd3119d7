#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A zone with more channels than it has room for: what is in use stays, what
# is idle makes way, and who cannot be served is told.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new();

$t->expect_log(qr/ws_bus_zone "bus" is full/);

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128k;
    ws_bus_message_max_size 8k;

    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_history 10;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 10;
        }

        location ~ ^/pub-off/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my $h = Test::WsBus::HTTP->new(port => port(8080));
my $long = 'c' x 200;


# Channels that only have a history give way to new ones.

my %status;

$status{post("$long-$_")->status()}++ for 1 .. 2000;

is_deeply(\%status, { 201 => 2000 }, 'publishing always finds room');

my $kept = () = map { http_get("/pub/$long-$_")->status() == 200 ? 1 : () }
    1 .. 2000;

cmp_ok($kept, '<', 2000, 'what is idle makes way');
is(http_get("/pub/$long-2000")->json()->{messages}, 1, 'the newest is there');


# Channels in use do not, and idempotency keys make way for them.

$h->request('POST', '/pub/keys', body => 'x',
    headers => [ 'Idempotency-Key' => $_ ]) for 1 .. 100;

my (@c, $r);

for my $i (1 .. 2000) {
    my $c = Test::WsBus::Client->new(port => port(8080));

    $r = $c->handshake("/ws/$long-sub-$i");
    last unless $r && $r->status() == 101;

    push @c, $c;
}

is($r && $r->status(), 503, 'no room for more channels in use');
like($r->body(), qr/full/, 'it says why');
cmp_ok(scalar(@c), '>', 20, 'there was for some');

$_->text('alive') for @c;

is(scalar(grep { ($_->recv() // '') eq 'alive' } @c), scalar(@c),
    'those that are there are served');

my $status = http_get('/status')->json()->{zones}{bus};

is($status->{connections}, scalar(@c), 'connections');
is($status->{subscriptions}, scalar(@c), 'subscriptions');
cmp_ok($status->{refused}{unavailable}, '>', 0, 'refusals are counted');

# where nothing new is needed there is room

my $more = eval { ws("/ws/$long-sub-1") };

SKIP: {
    skip 'the other worker had no subscriber of it', 1 unless $more;

    $c[0]->text('two of us');
    is_message($more, 'two of us', 'a channel that is there');
    $c[0]->recv();
    $more->finish();
}

is(post("$long-sub-1", 'posted')->status(), 201, 'publishing to one in use');
is_message($c[0], 'posted', 'delivered');

is($h->request('POST', '/pub-off/nobody', body => 'x')->status(), 201,
    'to nobody, not kept');


# Who leaves makes room.

$_->finish() for splice(@c, -10);

my @new;

ok($t->wait_until(sub {
    push @new, eval { ws("/ws/$long-new-" . @new) } // return;
    return @new == 5;
}), 'who leaves makes room');

$new[-1]->text('new');
is_message($new[-1], 'new', 'for others');

$_->finish() for @c, @new;

ok($t->wait_until(sub {
    my $s = http_get('/status')->json()->{zones}{bus};
    return $s->{connections} == 0 && $s->{subscriptions} == 0;
}), 'all have left');

%status = ();
$status{post("again-$_")->status()}++ for 1 .. 500;

is_deeply(\%status, { 201 => 500 }, 'and publishing finds room again');

$t->done_testing();


sub post {
    my ($channel, $body) = @_;

    return $h->request('POST', "/pub/$channel", body => $body // 'x');
}
