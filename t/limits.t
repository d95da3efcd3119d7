#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# nginx's own gates in front of the module's locations, nginx's own ways into
# them, and the line in the access log.

use warnings;
use strict;

use Test::More;
use MIME::Base64 qw/ encode_base64 /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->has(qw/ http_auth_request /);

$t->log_level('info');

$t->write_file('passwd', "alice:{PLAIN}secret\n");
$t->write_file('page.html', '<!--#include virtual="/pub-a" -->');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri $status ch:$ws_bus_channel proto:$ws_bus_protocol '
                   'in:$ws_bus_messages_in,$ws_bus_bytes_in '
                   'out:$ws_bus_messages_out,$ws_bus_bytes_out '
                   'dropped:$ws_bus_dropped '
                   'close:$ws_bus_close_code,$ws_bus_close_by '
                   'sent:$bytes_sent';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 4m;

    limit_conn_zone $arg_key zone=conn:1m;
    limit_req_zone $arg_key zone=req:1m rate=1r/m;

    map $arg_kind $kind {
        default good;
        bad     "";
    }

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /pub/ {
            ws_bus_publisher news;
        }

        location /conn/ {
            limit_conn conn 2;
            limit_conn_status 429;
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /delete/conn/ {
            ws_bus_publisher /conn/a;
        }

        location /req/ {
            limit_req zone=req burst=2 nodelay;
            ws_bus $uri;
            ws_bus_publish on;
        }

        location /deny/ {
            deny all;
            ws_bus $uri;
        }

        location /allow/ {
            allow 127.0.0.1;
            deny all;
            ws_bus $uri;
        }

        location /pub-deny/ {
            deny all;
            ws_bus_publisher news;
        }

        location /basic/ {
            auth_basic "here";
            auth_basic_user_file %%TESTDIR%%/passwd;
            ws_bus $remote_user;
        }

        location /any/ {
            satisfy any;
            deny all;
            auth_basic "here";
            auth_basic_user_file %%TESTDIR%%/passwd;
            ws_bus $uri;
        }

        location /any-address/ {
            satisfy any;
            allow 127.0.0.1;
            deny all;
            auth_basic "here";
            auth_basic_user_file %%TESTDIR%%/passwd;
            ws_bus $uri;
        }

        location /auth/ {
            set $query $args;

            auth_request /check;
            auth_request_set $channel $upstream_http_x_channel;
            auth_request_set $may $upstream_http_x_publish;

            ws_bus $channel;
            ws_bus_publish $may;
        }

        location = /check {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_8080%%/backend?$query;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Upgrade "";
        }

        location = /backend {
            add_header X-Channel /ws/$arg_channel;
            add_header X-Publish $arg_publish;

            if ($arg_token = good) {
                return 204;
            }

            return 403;
        }

        location /named/ {
            error_page 418 = @bus;
            return 418;
        }

        location @bus {
            ws_bus /ws/a;
            ws_bus_publish on;
        }

        location /rewritten/ {
            rewrite ^/rewritten(/.*)$ /ws$1;
        }

        location /tried/ {
            try_files /nothing /ws/a;
        }

        location /condition/ {
            if ($arg_x) {
                set $y 1;
            }

            if ($kind = "") {
                return 402;
            }

            ws_bus /ws/a;
            ws_bus_publish on;
            ws_bus_message_max_size 100;
        }

        location /pub-condition/ {
            if ($arg_x) {
                set $y 1;
            }

            ws_bus_publisher /ws/a;
            ws_bus_message_max_size 100;
        }

        location /pub-except/ {
            limit_except GET {
                allow 127.0.0.1;
                deny all;
            }

            ws_bus_publisher /ws/a;
        }

        location /pub-except-deny/ {
            limit_except GET {
                deny all;
            }

            ws_bus_publisher /ws/a;
        }

        location /status {
            if ($arg_x) {
                set $y 1;
            }

            ws_bus_status prometheus;
        }

        location /mirrored/ {
            mirror /pub-a;
            return 200 mirrored;
        }

        location /mirrored-body/ {
            mirror /pub-a;
            proxy_pass http://127.0.0.1:%%PORT_8080%%/sink;
        }

        location = /sink {
            return 200 sink;
        }

        location = /pub-a {
            ws_bus_publisher /ws/a;
        }

        location = /page.html {
            default_type text/html;
            ssi on;
        }

        location /sub-auth/ {
            auth_request /ws/a;
            return 200 passed;
        }

        location /sub-mirror/ {
            mirror /ws/a;
            proxy_pass http://127.0.0.1:%%PORT_8080%%/sink;
        }
    }
}

EOF

$t->run();


# limit_conn: a connection counts as long as it is there.

my @c = map { ws('/conn/a?key=1') } 1 .. 2;

refused('/conn/a?key=1', 429, 'one too many');
works('/conn/b?key=2', 'another key');

$_->text('alive') for @c;
is_message($_, 'alive', 'those within the limit work') for @c;
is_message($_, 'alive', 'both ways') for @c;

$c[0]->finish();
free('released by a Close of the client');

$c[0]->abort();
free('released by a reset');

$c[0]->disconnect();
free('released by an end without a Close');

$c[0]->send_frame(3, 'x');
is_closed($c[0], 1002, 'a violation');
free('released by a violation');

is(request('DELETE', '/delete/conn/')->status(), 204, 'channel deleted');
is_closed($_, 4004, 'closed by the server') for @c;
free('released by a deletion');
free('both of them', 1);
$_->finish() for @c;


# limit_req: handshakes, not messages.

works('/req/?key=1', "handshake $_") for 1 .. 3;
refused('/req/?key=1', 503, 'one too many');

my $c = ws('/req/?key=2');
$c->text("$_") for 1 .. 50;
is(join(' ', $c->recv_n(50)), join(' ', 1 .. 50), 'messages are not limited');
$c->finish();


# allow, deny, auth_basic, satisfy.

my @alice = (headers => [ Authorization => 'Basic '
    . encode_base64('alice:secret', '') ]);
my @mallory = (headers => [ Authorization => 'Basic '
    . encode_base64('mallory:secret', '') ]);

refused('/deny/', 403, 'deny');
works('/allow/', 'allow', publish => 0);

is(http_post('/pub-deny/', 'x')->status(), 403, 'deny at the publisher');
is(http_get('/pub-deny/')->status(), 403, 'deny at the state');
is(request('DELETE', '/pub-deny/')->status(), 403, 'deny at the deletion');

my $r = refused('/basic/', 401, 'auth_basic');
like($r->header('WWW-Authenticate'), qr/^Basic/, 'with a challenge');
refused('/basic/', 401, 'auth_basic, wrong name', @mallory);
works('/basic/', 'auth_basic, right name', @alice, publish => 0);

refused('/any/', 401, 'satisfy any: none');
works('/any/', 'satisfy any: the name', @alice, publish => 0);
works('/any-address/', 'satisfy any: the address', publish => 0);


# auth_request decides on the connection, the channel, the right to publish.

refused('/auth/?token=bad&channel=a', 403, 'auth_request refuses');

my $a = ws('/ws/a');

$c = ws('/auth/?token=good&channel=a&publish=1');
$c->text('authorized');
is_message($a, 'authorized', 'auth_request: channel of the answer');
is_message($c, 'authorized', 'auth_request: own message');
$c->finish();

$c = ws('/auth/?token=good&channel=a&publish=0');
http_post('/pub-a', 'x');
is_message($c, 'x', 'auth_request: may listen');
is_message($a, 'x', 'as any other');
$c->text('not authorized');
is_closed($c, 4003, 'auth_request: may not publish');


# Other ways into the location.

for my $path (qw! /named/x /rewritten/a /tried/x !) {
    $c = ws($path);
    $c->text("via $path");
    is_message($a, "via $path", "via $path");
    is_message($c, "via $path", "back via $path");
    $c->finish();
}

for my $args ('', '?x=1') {
    $c = eval { ws("/condition/$args") };

    ok($c, "if in the location: connected $args") or next;

    $c->text('conditional');
    is_message($a, 'conditional', "if in the location: published $args");
    is_message($c, 'conditional', "if in the location: delivered $args");
    $c->text('x' x 101);
    is_closed($c, 1009, "if in the location: its settings $args");
    $c->disconnect();
}

refused('/condition/?kind=bad', 402, 'if with an answer of its own');

for my $args ('', '?x=1') {
    $r = http_post("/pub-condition/$args", 'conditional');

    is($r && $r->status(), 201, "if at the publisher $args") or next;
    is_message($a, 'conditional', "if at the publisher: delivered $args");
    is(http_get("/pub-condition/$args")->json()->{channel}, '/ws/a',
        "if at the publisher: state $args");
    is(http_post("/pub-condition/$args", 'x' x 101)->status(), 413,
        "if at the publisher: its settings $args");
}

is(http_post('/pub-except/', 'excepted')->status(), 201, 'limit_except');
is_message($a, 'excepted', 'limit_except: delivered');
is(http_get('/pub-except/')->status(), 200, 'limit_except: GET');
is(http_post('/pub-except-deny/', 'denied')->status(), 403,
    'limit_except denies');
is(http_get('/pub-except-deny/')->status(), 200, 'limit_except: not GET');

like(http_get("/status$_")->body(), qr/^# TYPE ws_bus_connections/m,
    "status with if $_") for '', '?x=1';


# As a subrequest: the publisher can, a WebSocket cannot.

is(http_post('/mirrored-body/', 'mirrored')->body(), 'sink', 'mirror');
is_message($a, 'mirrored', 'a mirrored POST is published');

like(http_get('/page.html')->body(), qr!^\{"channel":"/ws/a".*\}$!s,
    'the state by SSI');

for my $path (qw! /sub-auth/ /sub-mirror/ !) {
    $r = eval { ws_response($path) };

    ok($r && $r->status() != 101, "no WebSocket in a subrequest, $path")
        or diag($r ? $r->raw() : 'no answer');
    is(http_get($path) && 1, 1, "$path without an upgrade is answered");
}

$a->text('still there');
is_message($a, 'still there', 'and nobody is harmed');
$a->finish();


# One line in the access log, at the end, with everything in it.

logged('/ws/log-client', sub {
    my ($c) = @_;

    $c->text('12345');
    $c->binary('123');
    $c->recv_n(2);
    $c->finish(3000);

}, 'in:2,8 out:2,8 dropped:0 close:3000,client', 'closed by the client');

logged('/ws/log-server', sub {
    my ($c) = @_;

    $c->text('12345');
    $c->recv();
    $c->send_frame(1, "\xff");
    is_closed($c, 1007, 'a violation');
    $c->disconnect();

}, 'in:1,5 out:1,5 dropped:0 close:1007,server', 'closed by the server');

logged('/ws/log-nobody', sub { $_[0]->disconnect() },
    'in:0,0 out:0,0 dropped:0 close:1006,client', 'ended without a Close');

logged('/ws/log-empty', sub { my ($c) = @_; $c->close(); $c->at_eof() },
    'in:0,0 out:0,0 dropped:0 close:1005,client', 'a Close without a code');

http_post('/pub/log', 'x');

like(line('/pub/log'), qr!^/pub/log \ 201 \ ch:news \ proto:- \ in:-,-
    \ out:-,- \ dropped:- \ close:-,- \ !x, 'a POST has the channel only');

ws_response('/ws/log-refused', version => 12);

like(line('/ws/log-refused'), qr!^/ws/log-refused 426 ch:/ws/log-refused !,
    'a refused handshake');

$t->done_testing();


sub works {
    my ($path, $name, %opt) = @_;

    my $publish = delete $opt{publish} // 1;
    my $c = eval { ws($path, %opt) };

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok(0, $name) || diag($@) unless $c;

    if ($publish) {
        $c->text('works');
        is_message($c, 'works', $name);

    } else {
        $c->ping('works');
        is($c->read_pong(), 'works', $name);
    }

    $c->finish();
}


sub refused {
    my ($path, $status, $name, %opt) = @_;

    my $r = ws_response($path, %opt);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($r && $r->status(), $status, $name);

    return $r;
}


# There is room for one more; it becomes the first (or the i-th) of them.

sub free {
    my ($name, $i) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($t->wait_until(sub { $c[$i // 0] = eval { ws('/conn/a?key=1') } }),
        $name);
}


sub line {
    my ($uri) = @_;

    $t->find_in_file('bus.log', qr/^\Q$uri\E /m, timeout => 5);

    my @lines = grep { /^\Q$uri\E / } split /\n/, $t->read_file('bus.log');

    return @lines == 1 ? $lines[0] : scalar(@lines) . " lines";
}


sub logged {
    my ($uri, $code, $rest, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $c = ws($uri);

    $c->ping();
    $c->read_pong();

    is($t->find_in_file('bus.log', qr/^\Q$uri\E /m), 0,
        "$name: no line as long as it lasts");

    $code->($c);

    like(line($uri), qr/^\Q$uri 101 ch:$uri proto:raw $rest sent:\E\d+$/,
        "$name: the line");
}
