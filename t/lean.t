#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# ws_bus_lean: the request ends with the 101, the session lives on.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame /;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri $status $ws_bus_channel $http_x_mark';
    access_log %%TESTDIR%%/bus.log bus;

    limit_conn_zone $server_name zone=conn:1m;

    ws_bus_zone bus 16m;
    ws_bus_lean on;
    ws_bus_history 10000;
    ws_bus_message_max_size 1m;
    ws_bus_drain 500ms;
    large_client_header_buffers 4 16k;

    add_header X-Pid $pid always;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8444%% ssl sndbuf=16k;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/ping/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_ping 200ms 200ms;
        }

        location ~ ^/deflate/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_deflate on;
        }

        location ~ ^/slow/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k;
        }

        location ~ ^/one/(?<chan>.*)$ {
            limit_conn conn 1;
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my @tls = (port => port(8443), ssl => 1);
my $large = join('', map { pack('N', $_) } 1 .. 100_000);


# The line in the access log is there at once.

my $c = ws('/ws/a', headers => [ 'X-Mark' => 'first' ]);

is($t->find_in_file('bus.log', qr!^/ws/a 101 a first$!m, timeout => 5), 1,
    'logged at the handshake');


# All that a session does.

for my $case ([ 'plain' ], [ 'TLS', @tls ],
    [ 'large header', headers => [ 'X-Large' => 'x' x 12000 ] ],
    [ 'split handshake', split => 100 ])
{
    my ($name, @opt) = @$case;

    my $d = ws('/ws/a', @opt, data => frame(1, 'early') . frame(1, 'bird'));

    is_message($c, 'early', "$name: right behind the handshake");
    is_message($d, 'early', "$name: own message");
    is_message($c, 'bird', "$name: and the next");
    is_message($d, 'bird', "$name: own, too");

    $d->binary($large);
    is_message($c, $large, "$name: large message in");
    is_message($d, $large, "$name: and out");

    $d->write(join('', map { frame(1, "$_") } 1 .. 1000));
    is(join(' ', $d->recv_n(1000)), join(' ', 1 .. 1000), "$name: many");
    $c->recv_n(1000);

    $d->ping('?');
    is($d->read_pong(), '?', "$name: pong");
    is($d->finish(3333), 3333, "$name: closed by the client");

    $d = ws('/ws/a', @opt);
    $d->send_frame(3, '');
    is_closed($d, 1002, "$name: closed by the server");

    $d = ws('/ws/a', @opt, data => frame(3, ''));
    is_closed($d, 1002, "$name: closed right behind the handshake");

    ws('/ws/a', @opt)->disconnect();
    ws('/ws/a', @opt)->abort();

    $d = ws('/ws/gone', @opt);
    request('DELETE', '/pub/gone');
    is_closed($d, 4004, "$name: closed for a deletion");

    http_post("/pub/replay-$name" =~ tr/ /-/r, $_) for 1 .. 500;
    $d = ws("/ws/replay-$name?last=400" =~ tr/ /-/r, @opt);
    is(join(' ', $d->recv_n(400)), join(' ', 101 .. 500), "$name: replay");
    $d->finish();
}

my $z = ws('/deflate/z', deflate => 1);
$z->text('hello hello hello ' x 100);
is_message($z, 'hello hello hello ' x 100, 'deflate');
$z->finish();

my $p = ws('/ping/a', auto_pong => 0);
is($p->read_event()->{type}, 'ping', 'ping');
is_closed($p, 1011, 'without an answer');

my $s = ws('/slow/s', port => port(8081), rcvbuf => 4096);
http_post('/pub/s', 'x' x 10000) for 1 .. 50;
is_closed($s, 1013, 'slow consumer');

$_->disconnect() for $p, $s;


# A session does not last as long as TLS, which cannot say goodbye to a client
# that does not read.

my ($before, $closed) = (status()->{subscriptions}, closed());

my @full = map { ws('/ping/full', port => port(8444), ssl => 1,
                    rcvbuf => 4096) } 1 .. 5;

http_post('/pub/full', 'x' x 20000) for 1 .. 20;

ok($t->wait_until(sub { closed() == $closed + 5 }, 20), 'TLS, all closed');
is(status()->{subscriptions}, $before, 'their subscriptions, too');

$_->abort() for @full;


# What a refused handshake leaves in the connection's memory does not add up.

my $r = ws_response('/ws/a?consumer=%7B');

is($r->status(), 400, 'a refused handshake');
is($r->header('Connection'), 'close', 'is the last of its connection');


# limit_conn sees requests: the connection is not one any more.

my @one = map { ws('/one/a') } 1 .. 3;
is(scalar(@one), 3, 'limit_conn does not count it');
$one[0]->text('all there');
is(scalar(grep { ($_->recv() // '') eq 'all there' } @one), 3, 'all work');
$_->finish() for @one;


# The figures.

ok($t->wait_until(sub {
    my $s = status();
    return $s->{connections} == 1 && $s->{subscriptions} == 1;
}), 'connections and subscriptions');


# A reload drains.

$c->finish();

my @c = map { ws('/ws/a', $_ % 2 ? @tls : ()) } 1 .. 10;
my @mute = map { ws('/ws/a', auto_close => 0) } 1 .. 2;

ok(reload($t), 'reload');

my $new = ws('/ws/a');

$new->text('to all');
is(scalar(grep { $_->wait_close() == 1001 } @c, @mute), 12, 'drained');
is(scalar(grep { $_->at_eof() } @c), 10, 'ended');
$new->finish();

ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'old workers left');

# some are still there in the end

my @last = map { ws('/ws/a', $_ % 2 ? @tls : ()) } 1 .. 10;
$t->signal('QUIT');
is(scalar(grep { $_->wait_close() == 1001 } @last), 10, 'shutdown');

$t->done_testing();


sub closed {
    my $n = 0;

    $n += $_ for values %{status()->{closed}};

    return $n;
}
