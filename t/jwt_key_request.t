#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Keys from an identity provider: fetched once for all workers, waited for,
# kept fresh without a client, and kept at all when the provider fails, lies or
# stalls, when a worker is killed, and over a reload.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use POSIX qw/ _exit /;
use Test::WsBus;
use Test::WsBus::Client;
use Test::WsBus::Token;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT stub_status /);

my %key = map { $_ => Test::WsBus::Token->key('ES256', kid => $_) }
    qw/ a b c stranger /;

my %token = map { $_ => $key{$_}->token(sub => 'alice') } keys %key;

provide(keys => 'a', 'static.jwks' => 'a');
mode('go');
$t->write_file('hits', '');

$t->write_file_expand('nginx.conf', conf());

$t->run_daemon(\&provider, port(8090));
$t->waitforsocket(port(8090));
$t->write_file('hits', '');

$t->run();

first();
flood();
locations();
servers();
inside();
failures();
large();
inband();
background();
stalled_reload();
exiting();
connections();
killed();
configuration();

$t->done_testing();


# Locations that have keys of their own, and where they have them from.

sub locations_conf {
    my %from = (
        (map { $_ => "/_jwks/$_" } qw/ ok kill stall exit 500 204 garbage
            none empty redirect close half chunk huge large html /),
        (map { $_ => "/_$_" } qw/ nobody timeout missing loop cached
            unbuffered fallback variable limited /),
        soon => '/_jwks/soon valid=1s',
        buffer => '/_buffer/large',
        big => '/_buffer/big',
        rewrite => '/_rewrite?x=/_jwks/ok',
        static => '/static.jwks',
        inband => '/_jwks/inband',
        lean => "/_jwks/lean;\nws_bus_lean on",
        both => "/_jwks/oops;\nws_bus_jwt_key_file %%TESTDIR%%/static.jwks",
    );

    return join("\n", map {
        "location = /ws/$_ { ws_bus a; ws_bus_jwt_key_request $from{$_}; }"
    } sort keys %from);
}


sub conf {
    my $conf = conf_text();

    $conf =~ s/%%JWKS%%/jwks($key{stranger})/e;
    $conf =~ s/%%WS%%/locations_conf()/e;

    return $conf;
}


sub conf_text {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    ws_bus_drain 1s;

    proxy_cache_path %%TESTDIR%%/cache keys_zone=cache:1m;
    limit_req_zone $remote_addr zone=slow:1m rate=100r/s;
    lingering_close always;

    ws_bus_jwt bus;
    ws_bus_jwt_key_request /_jwks/main;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        server_name a.example;

        add_header X-Pid $pid always;
        location = /ws {
            ws_bus a;
        }

        location = /status {
            stub_status;
        }

        location = /bus-status {
            ws_bus_status;
        }

        location = /pub {
            ws_bus_publisher a;
        }

        # each has keys of its own

%%WS%%

        location /_jwks/ {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/;
            proxy_set_header X-Agent "$http_user_agent $remote_addr";
        }

        location /_buffer/ {
            internal;
            subrequest_output_buffer_size 512k;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/;
        }

        location = /_nobody {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_8091%%;
        }

        location = /_timeout {
            internal;
            proxy_read_timeout 300ms;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/never;
        }

        location = /_loop {
            internal;
            rewrite ^ /_loop;
        }

        location = /_cached {
            internal;
            proxy_cache cache;
            proxy_cache_valid 1h;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/ok;
        }

        location = /_unbuffered {
            internal;
            proxy_buffering off;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/ok;
        }

        location = /_rewrite {
            internal;
            rewrite ^ $arg_x last;
        }

        location = /_fallback {
            internal;
            proxy_intercept_errors on;
            error_page 502 504 =200 /static.jwks;
            proxy_pass http://127.0.0.1:%%PORT_8091%%;
        }

        location = /_variable {
            internal;
            set $who 127.0.0.1:%%PORT_8090%%;
            proxy_pass http://$who/ok?$ws_bus_subject$ws_bus_channel;
        }

        location = /_limited {
            internal;
            limit_req zone=slow burst=5;
            limit_rate 1m;
            log_subrequest on;
            allow 127.0.0.2;
            deny all;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/ok;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_8081%%;
        server_name b.example;
        post_action /_after;

        location = /ws {
            ws_bus a;
            post_action off;
        }

        location = /_after {
            internal;
            post_action off;
            proxy_pass http://127.0.0.1:%%PORT_8090%%/after;
        }

        location = /_jwks/main {
            internal;
            return 200 '%%JWKS%%';
        }
    }
}

EOC
}


# The provider.  What it says is in files; each request makes a line in
# another one.

sub provide {
    my (%what) = @_;

    while (my ($name, $keys) = each %what) {
        $t->write_file("$name.new",
            jwks(map { $key{$_} } split(' ', $keys)));
        rename($t->testdir() . "/$name.new", $t->testdir() . "/$name");
    }
}


sub mode {
    my ($mode) = @_;

    $t->write_file('mode.new', $mode);
    rename($t->testdir() . '/mode.new', $t->testdir() . '/mode');
}


sub hits {
    my ($uri) = @_;

    return scalar(() = $t->read_file('hits') =~ m!^/$uri !mg);
}


sub provider {
    my ($port) = @_;

    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 100, ReuseAddr => 1) or die "$!";

    local $SIG{CHLD} = 'IGNORE';
    local $SIG{PIPE} = 'IGNORE';

    while (1) {
        my $s = $listen->accept() or next;

        if (!fork()) {
            provider_answer($s);
            POSIX::_exit(0);
        }

        close($s);
    }
}


sub provider_answer {
    my ($s) = @_;

    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread($s, $request, 4096, length $request) or return;
    }

    my ($uri) = $request =~ m!^GET /(\S*)!;
    my ($agent) = $request =~ m!^X-Agent: (.*)\r!m;

    open(my $fh, '>>', $t->testdir() . '/hits');
    syswrite($fh, "/$uri " . ($agent // '') . "\n");
    close($fh);

    # a request waits for as long as the mode is its own name

    my $stalled = sub { $t->read_file('mode') =~ /^(?:\Q$uri\E|all)$/ };

    if ($uri eq 'never' || $stalled->()) {
        select(undef, undef, undef, 0.02)
            while ($uri eq 'never' || $stalled->()) && getppid() != 1
                && $s->connected();
    }

    my $keys = $t->read_file('keys');
    my $large = substr($keys, 0, -1) . ' ' x 20000 . '}';

    my %answer = (
        500 => "HTTP/1.0 500 Oops\r\n\r\n$keys",
        204 => "HTTP/1.0 204 No Content\r\n\r\n",
        garbage => "HTTP/1.0 200 OK\r\n\r\n<html>$keys",
        none => "HTTP/1.0 200 OK\r\n\r\n{\"keys\":[]}",
        empty => "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        redirect => "HTTP/1.0 302 Found\r\nLocation: /ok\r\n\r\n$keys",
        close => '',
        half => "HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n$keys",
        chunk => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            . "14\r\n" . substr($keys, 0, 20) . "\r\n",
        oops => "HTTP/1.0 503 Oops\r\n\r\n",
        huge => "HTTP/1.0 200 OK\r\n\r\n" . $keys . ' ' x 1000000,
        big => "HTTP/1.0 200 OK\r\n\r\n" . $keys . ' ' x 262144,
        large => "HTTP/1.0 200 OK\r\n\r\n$large",
        html => "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n$keys",
    );

    print $s $answer{$uri}
        // "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
            . 'Content-Length: ' . length($keys) . "\r\n\r\n$keys";
    close($s);
}


# Handshakes.

sub status {
    my ($path, $token, %opt) = @_;

    my $r = ws_response($path, %opt,
        headers => [ Authorization => "Bearer $token" ]);

    return defined $r ? $r->status() : 'nothing';
}


# Without waiting for the answer.

sub begin {
    my ($path, $token) = @_;

    my $c = Test::WsBus::Client->new(port => port(8080), timeout => 20);

    $c->write(Test::WsBus::Client::format_handshake($path,
        headers => [ Authorization => "Bearer $token" ]));

    return $c;
}


sub answers {
    return join(' ', map { my $r = $_->handshake_response();
        $_->disconnect(); defined $r ? $r->status() : 'nothing' } @_);
}


sub logged {
    my ($line, %opt) = @_;

    return $t->find_in_file('error.log', qr/$line/, timeout => 10, %opt);
}


sub mark { return length $t->read_file('error.log') }


# Workers that have somebody who waits for keys, since the mark.

sub waiting {
    my ($mark) = @_;

    my %pid = map { $_ => 1 } substr($t->read_file('error.log'), $mark)
        =~ /(\d+)#\d+: \*\d+ ws bus token waits for keys/g;

    return %pid;
}


sub first {
    mode('main');

    my $mark = mark();
    my @c = map { begin('/ws', $token{a}) } 1 .. 40;

    logged('ws bus token waits for keys', offset => $mark, count => 40);
    my %pid = waiting($mark);

    cmp_ok(scalar(keys %pid), '>', 1, 'several workers wait');
    $t->wait_until(sub { hits('main') });
    is(hits('main'), 1, 'for one request');

    my $gone = shift @c;
    $gone->abort();

    mode('go');

    is(answers(@c), join(' ', ('101') x 39), 'and all handshakes go on');
    is(hits('main'), 1, 'with its answer');

    is(join(' ', map { status('/ws', $token{a}) } 1 .. 20),
        join(' ', ('101') x 20), 'keys are kept');
    is(hits('main'), 1, 'so that there is no other request');

    my @with = (headers => [ Authorization => "Bearer $token{a}" ]);

    is(http_get($_, @with)->status(), 200, "$_: a token")
        for '/pub', '/bus-status';
    is(http_get($_)->status(), 401, "$_: no token")
        for '/pub', '/bus-status';

    like($t->read_file('hits'), qr!^/main ngx_ws_bus_module/\S+ unix:$!m,
        'what the request is like');
}


# One unknown key is asked for, many are not.

sub flood {
    is(status('/ws', $token{b}), 401, 'a key that nobody knows');
    is(hits('main'), 2, 'is asked for');

    provide(keys => 'a b');

    is(join(' ', map { status('/ws', $token{stranger}) } 1 .. 50),
        join(' ', ('401') x 50), 'many unknown keys');
    is(hits('main'), 2, 'are not asked for again so soon');

    is(status('/ws', $token{a}), 101, 'others are not disturbed');

    # a reload looks anew

    ok($t->reload(), 'reload');
    ok($t->wait_until(sub { hits('main') == 3 }), 'keys are fetched again');
    ok($t->wait_until(sub { status('/ws', $token{b}) == 101 }),
        'a rotated key is known');

    provide(keys => 'a b c');
    is(status('/ws', $token{c}), 101, 'and another one, asked for');
    is(hits('main'), 4, 'once');
    is(status('/ws', $token{stranger}), 401, 'a stranger is still one');
    is(hits('main'), 4, 'and not asked for');
}


sub locations {
    provide(keys => 'a');

    for my $name (qw/ ok html cached unbuffered rewrite static fallback
        variable limited /)
    {
        is(status("/ws/$name", $token{a}), 101, "location: $name");
        is(status("/ws/$name", $token{stranger}), 401, "$name: a stranger");
    }

    # a subrequest passes no access phase, as with nginx's own

    like($t->read_file('access.log'), qr!"GET /_limited HTTP/1.1" 200!,
        'log_subrequest');
    unlike($t->read_file('access.log'), qr!/_jwks!, 'no other lines');

    is(status('/ws/both', $token{a}), 101, 'keys of a file beside');
    is(status('/ws/both', $token{b}), 401, 'and no other ones');
}


# What is inherited by two servers is fetched by each from its own location.

sub servers {
    my @port = (port => port(8081));

    is(status('/ws', $token{stranger}, @port), 101, 'keys of its own');
    is(status('/ws', $token{a}, @port), 401, 'not those of the other server');
    is(status('/ws', $token{stranger}), 401, 'nor the other way round');
    is(hits('after'), 0, 'no post_action');
}


# It cannot be had from outside.

sub inside {
    is(http_get('/_jwks/ok')->status(), 404, 'an internal location');
}


sub failures {
    my %says = (
        500 => 'status 500',
        204 => 'status 204',
        garbage => 'neither a JWK set nor a PEM public key',
        none => 'no usable key',
        empty => 'neither a JWK set nor a PEM public key',
        redirect => 'status 302',
        close => 'status 502',
        half => 'half an answer',
        chunk => 'key set is malformed JSON',
        huge => 'no answer',
        nobody => 'status 502',
        timeout => 'status 504',
        missing => 'status 404',
        loop => 'status 500',
        large => 'no answer',
    );

    for my $name (sort keys %says) {
        my $mark = mark();
        my $hits = hits($name);

        is(status("/ws/$name", $token{a}), 503, "$name: no keys");
        is(logged('\[error\] .*token refused: there are no keys',
            offset => $mark), 1, "$name: which is told");

        my ($said) = substr($t->read_file('error.log'), $mark)
            =~ m!\[error\] .*ws_bus_jwt_key_request "\S+" failed: (.*)!;

        is($said, $says{$name}, "$name: what is said");

        is(join(' ', map { status("/ws/$name", $token{a}) } 1 .. 4),
            '503 503 503 503', "$name: and again");
        is(logged("\\[error\\] .*ws_bus_jwt_key_request \"\\S+/_?$name\" f",
            offset => $mark), 1, "$name: said once")
            if $name !~ /nobody|timeout|missing|loop/;
    }
}


sub large {
    is(status('/ws/buffer', $token{a}), 101,
        'subrequest_output_buffer_size is the limit');

    my $mark = mark();

    is(status('/ws/big', $token{a}), 503, 'more than the module takes');
    ok(logged('/_buffer/big" failed: key set is too large',
        offset => $mark), 'is too large');
}


# A token that is refreshed on a connection, with a key that is new.

sub inband {
    for my $name (qw/ inband lean /) {
        provide(keys => 'a');

        my $c = ws("/ws/$name",
            headers => [ Authorization => "Bearer $token{a}" ]);

        provide(keys => 'a b');
        mode($name);

        $c->text("{\"type\":\"auth_refresh\",\"token\":\"$token{b}\"}");
        ok($t->wait_until(sub { hits($name) == 2 }), "$name: keys are fetched");

        mode('go');
        like($c->recv(), qr/^\{"type":"auth_ok"/, "$name: the token is good");

        # and a bad one ends the connection

        my $d = ws("/ws/$name",
            headers => [ Authorization => "Bearer $token{a}" ]);

        $d->text("{\"type\":\"auth_refresh\",\"token\":\"$token{c}\"}");
        is_closed($d, 4001, "$name: an unknown key");
        is(hits($name), 2, "$name: is not asked for again so soon");

        $c->disconnect();
    }
}


# Nobody connects, and keys come and go.

sub background {
    provide(keys => 'a');
    is(status('/ws/soon', $token{a}), 101, 'keys for a second');

    my $hits = hits('soon');

    ok($t->wait_until(sub { hits('soon') > $hits + 3 }, 15),
        'they are refreshed without clients');

    provide(keys => 'b');
    $hits = hits('soon');
    $t->wait_until(sub { hits('soon') > $hits + 1 }, 15);

    is(status('/ws/soon', $token{b}), 101, 'a new key is known');
    is(status('/ws/soon', $token{a}), 401, 'an old one is not');

    # the provider fails, and the last good keys are good for as long

    my $mark = mark();

    $t->write_file('keys', 'no keys');

    ok(logged('\[error\] .*key_request "/_jwks/soon" failed: neither a JWK',
        offset => $mark), 'a failure is told');

    $hits = hits('soon');
    ok($t->wait_until(sub { hits('soon') > $hits }, 15), 'it is tried again');
    is(status('/ws/soon', $token{b}), 101, 'keys are kept');

    ok(logged('\[info\] .*"/_jwks/soon" failed again: neither',
        offset => $mark), 'at another level');
    is(logged('\[error\] .*key_request "/_jwks/soon" failed',
        offset => $mark), 1, 'once');

    provide(keys => 'c');

    ok(logged('\[notice\] .*key_request "/_jwks/soon" works again',
        offset => $mark, timeout => 20), 'it works again');
    is(status('/ws/soon', $token{c}), 101, 'with its new key');
}


# The worker that fetches is killed, and another one goes on.

sub killed {
    my %pid;

    $t->expect_log(qr/\[alert\] .*exited on signal 9/);
    mode('kill');

    my $mark = mark();
    my @c = map { begin('/ws/kill', $token{c}) } 1 .. 40;

    logged('ws bus token waits for keys', offset => $mark, count => 40);
    %pid = waiting($mark);
    cmp_ok(scalar(keys %pid), '>', 1, 'several workers wait');

    $t->wait_until(sub { hits('kill') });

    my ($fetcher) = substr($t->read_file('error.log'), $mark)
        =~ /(\d+)#\d+: \*\d+ ws bus keys: request "\/_jwks\/kill"/;

    is(hits('kill'), 1, 'for one that fetches');
    $t->signal('KILL', $fetcher);

    ok($t->wait_until(sub { hits('kill') == 2 }), 'killed: another one does');
    mode('go');

    my %n;
    $n{answers($_)}++ for @c;

    is(join(' ', sort keys %n), '101 nothing',
        'those who are left have their answer');
    is(hits('kill'), 2, 'from one request');
}


# A reload while keys are waited for.

sub stalled_reload {
    mode('stall');

    my $mark = mark();
    my @c = map { begin('/ws/stall', $token{c}) } 1 .. 10;

    logged('ws bus token waits for keys', offset => $mark, count => 10);
    $t->wait_until(sub { hits('stall') });

    my @fetcher = substr($t->read_file('error.log'), $mark)
        =~ /(\d+)#\d+: \*\d+ ws bus keys: request "\/_jwks\/stall"/g;

    ok($t->reload(), 'reload during a fetch');
    ok(scalar(grep { $_ == $fetcher[0] } $t->workers()),
        'an old worker still waits');

    mode('go');

    my %n;
    $n{answers($_)}++ for @c;

    ok($n{101}, 'and answers');
    is(join(' ', grep { !/^(?:101|503)$/ } keys %n), '', 'no one is forgotten');

    is(status('/ws/stall', $token{c}), 101, 'after the reload');

    ok($t->wait_until(sub { $t->workers() == 4 }, 20),
        'the old workers are gone');
}


# A fetch that nobody waits for keeps no worker.

sub exiting {
    is(status('/ws/exit', $token{c}), 101, 'keys');

    mode('all');

    my $hits = hits('exit');
    my $mark = mark();

    ok($t->reload(), 'reload, keys are to be fetched');
    ok($t->wait_until(sub { hits('exit') > $hits }), 'it stalls');
    ok($t->reload(), 'reload');
    ok($t->wait_until(sub { $t->workers() == 4 }, 20),
        'the worker that fetches is gone');
    is(logged('"/_jwks/exit" failed', offset => $mark, timeout => 0), 0,
        'and this is no failure');
    is(status('/ws/exit', $token{c}), 101, 'the keys are there');

    mode('go');
}


# No connection is left, and none too many was counted as closed.  Those of a
# killed worker stay in nginx's figures.

sub connections {
    my $active = sub {
        my @n = http_get('/status')->body()
            =~ /^Active connections: (\d+).*?(\d+) Writing: (\d+)/ms;
        return "@n";
    };

    ok($t->wait_until(sub { $active->() eq '1 0 1' }, 10),
        'connections are counted') or diag($active->());
}


sub configuration {
    my $check = sub {
        my ($said, $lines) = @_;

        $t->write_file_expand('test.conf', <<EOF);
%%TEST_GLOBALS%%
events { }
http {
    %%TEST_GLOBALS_HTTP%%
    server { location / { ws_bus a; $lines } }
}
EOF
        my ($good, $out) = $t->test_config('test.conf');

        $said ? like($out, $said, $lines) : ok($good, $lines) or diag($out);
    };

    my $d = 'ws_bus_jwt_key_request';

    $check->(@$_) for
        [ undef, "$d /a;" ],
        [ undef, "$d /a valid=1s;" ],
        [ undef, "$d /a?b valid=1h;" ],
        [ qr/invalid URI "a"/, "$d a;" ],
        [ qr/invalid URI ""/, "$d '';" ],
        [ qr/invalid URI "\@a"/, "$d \@a;" ],
        [ qr/invalid parameter "valid=x"/, "$d /a valid=x;" ],
        [ qr/invalid parameter "valid="/, "$d /a valid=;" ],
        [ qr/invalid parameter "valid=0"/, "$d /a valid=0;" ],
        [ qr/invalid parameter "valid=500ms"/, "$d /a valid=500ms;" ],
        [ qr/invalid parameter "for=1s"/, "$d /a for=1s;" ],
        [ qr/invalid number of arguments/, "$d /a valid=1s x;" ],
        [ qr/invalid number of arguments/, "$d;" ],
        [ qr/"$d" directive is duplicate/, "$d /a; $d /b;" ];
}
