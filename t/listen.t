#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Ways to reach the server: TLS, a unix socket, another nginx in between.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 64m;
    ws_bus_message_max_size 8m;
    ws_bus_buffer 16m;
    client_max_body_size 8m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;
    ssl_protocols TLSv1.2 TLSv1.3;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;
        listen unix:%%TESTDIR%%/ws.sock;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location ~ ^/pub(?<chan>/ws/.*)$ {
            ws_bus_publisher $chan;
        }

        location ~ ^/proxied(?<path>/.*)$ {
            proxy_pass http://unix:%%TESTDIR%%/ws.sock:$path$is_args$args;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $host;
        }

        location ~ ^/proxied-tls(?<path>/.*)$ {
            proxy_pass https://127.0.0.1:%%PORT_8443%%$path;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my $large = join('', map { pack('N', $_) } 1 .. 1_000_000);
my $plain = ws('/ws/a');


# Every way leads to the same bus.

for my $case (
    [ 'TLS 1.2', sub { ws($_[0], port => port(8443),
        ssl => { SSL_version => 'TLSv1_2' }) } ],
    [ 'TLS 1.3', sub { ws($_[0], port => port(8443),
        ssl => { SSL_version => 'TLSv1_3' }) } ],
    [ 'unix socket', sub { unix($_[0]) } ],
    [ 'proxy', sub { ws("/proxied$_[0]") } ],
    [ 'proxy to TLS', sub { ws("/proxied-tls$_[0]") } ],
    [ 'proxy from and to TLS', sub { ws("/proxied-tls$_[0]",
        port => port(8443), ssl => 1) } ],
) {
    my ($name, $connect) = @$case;

    my $c = $connect->('/ws/a');

    $c->text('in');
    is_message($plain, 'in', "$name: in");
    is_message($c, 'in', "$name: own");

    $plain->binary("o\0u\0t");
    is_message($c, "o\0u\0t", "$name: out", type => 'binary');
    is_message($plain, "o\0u\0t", "$name: own, plain");

    $c->ping('p');
    is($c->read_pong(), 'p', "$name: ping");

    $c->binary($large);
    is_message($plain, $large, "$name: 4M in");
    is_message($c, $large, "$name: 4M out");

    # many at once, in both directions

    $c->write(join('', map { $c->format_message(1, "$_") } 1 .. 2000));
    is(join(' ', $c->recv_n(2000)), join(' ', 1 .. 2000), "$name: 2000 small");
    $plain->recv_n(2000);

    is($c->finish(4321), 4321, "$name: closed by the client");

    $c = $connect->('/ws/a');
    $c->send_frame(1, "\xff");
    is_closed($c, 1007, "$name: closed by the server");

    # unread data would make TCP reset the connection, Close and all

    if ($name !~ /proxy/) {
        $c = $connect->('/ws/a');
        $c->write(Test::WsBus::Client::frame(3, ''), no_read => 1);
        is($c->write($large, no_read => 1), length $large,
            "$name: what follows a violation is read");
        is_closed($c, 1002, "$name: Close in spite of more data");
        ok(!$c->was_reset(), "$name: and no reset");
    }

    $c = $connect->('/ws/gone');
    is(request('DELETE', '/pub/ws/gone')->status(), 204, "$name: deleted");
    is_closed($c, 4004, "$name: closed for the deletion");

    $connect->('/ws/a')->disconnect();
    $connect->('/ws/a')->abort();
}

ok($t->wait_until(sub {
    return http_get('/status')->json()->{zones}{bus}{connections} == 1;
}), 'all the others have gone');

$plain->finish();
$t->done_testing();


sub unix {
    my ($path) = @_;

    my $c = Client::Unix->new(port => 0, unix => $t->testdir() . '/ws.sock');
    my $r = $c->handshake($path);

    die "handshake failed" unless $r && $r->status() == 101;

    return $c;
}


package Client::Unix;

use IO::Socket::UNIX;

use parent -norequire, 'Test::WsBus::Client';


sub _connect {
    my ($self, $opt) = @_;

    my $s = IO::Socket::UNIX->new(Peer => $opt->{unix})
        or die "connect to $opt->{unix} failed: $!";

    $s->blocking(0);
    $self->{sock} = $s;
}
