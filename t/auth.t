#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Tokens at the handshake: where they are, what they are held to, how they are
# refused, and other gates beside them.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

my %key = (
    a => Test::WsBus::Token->key('ES256', kid => 'a'),
    rsa => Test::WsBus::Token->key('RS256', kid => 'rsa'),
    ed => Test::WsBus::Token->key('EdDSA', kid => 'ed'),
    oct => Test::WsBus::Token->key('HS256', kid => 'oct'),
    other => Test::WsBus::Token->key('ES256', kid => 'a'),
);

my $good = $key{a}->token(sub => 'alice', role => 'admin', n => 7,
    deep => { er => [ 1, 'x' ] }, no => 0, g => {
    subscribe => [ 'room.*', 'user.{sub}' ], publish => [ 'room.a' ] });
my $bad = $key{other}->token(sub => 'alice');

my $ok = 'Bearer realm="bus"';
my $invalid = "$ok, error=\"invalid_token\", error_description=";
my $scope = "$ok, error=\"insufficient_scope\", error_description="
    . '"the token does not allow this"';

$t->write_file('keys.jwks', jwks(@key{qw/ a rsa ed oct /}));
$t->write_file('passwd', "alice:{PLAIN}secret\n");
mkdir($t->testdir() . '/static');
$t->write_file('static/login', "log in here\n");
$t->write_file_expand('nginx.conf', conf());

$t->run();

places();
headers();
hostile();
lifetimes();
rules();
required();
variables();
handlers();
satisfied();
neighbours();
redirected();
subprotocols();
bad_ones();
counted();
configuration();
secret();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format tokens '$uri $status [$ws_bus_auth] [$ws_bus_subject] '
                      '[$ws_bus_claim_role] [$deep] [$ws_bus_claim_n]';
    access_log %%TESTDIR%%/tokens.log tokens;

    limit_req_zone $uri zone=one:1m rate=1r/m;

    ws_bus_zone bus 4m;

    ws_bus_jwt_claim_set $deep deep er;
    ws_bus_jwt_claim_set $no no;

    map $ws_bus_claim_role $is_admin {
        admin    1;
        default  0;
    }

    large_client_header_buffers 4 32k;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        ws_bus_jwt bus;
        ws_bus_jwt_key_file keys.jwks;

        location = /header {
            ws_bus a;
        }

        location = /argument {
            ws_bus a;
            ws_bus_jwt bus token=$arg_token;
        }

        location = /cookie {
            ws_bus a;
            ws_bus_jwt bus token=$cookie_t;
        }

        location = /off {
            ws_bus a;
            ws_bus_jwt off;
        }

        location = /json {
            ws_bus a;
            ws_bus_publish on;
        }

        location = /only-json {
            ws_bus;
        }

        location = /leeway {
            ws_bus a;
            ws_bus_jwt_leeway 1h;
        }

        location = /issuer {
            ws_bus a;
            ws_bus_jwt_issuer https://a.example https://b.example;
        }

        location = /audience {
            ws_bus a;
            ws_bus_jwt_audience x y;
        }

        location = /ed-only {
            ws_bus a;
            ws_bus_jwt_algorithms EdDSA;
        }

        location = /hmac {
            ws_bus a;
            ws_bus_jwt_algorithms HS256 ES256;
        }

        location = /require {
            ws_bus a;
            ws_bus_jwt_require $ws_bus_claim_role $ws_bus_claim_n;
        }

        location = /require-403 {
            ws_bus a;
            ws_bus_jwt_require $ws_bus_subject;
            ws_bus_jwt_require $is_admin error=403;
        }

        location = /require-no {
            ws_bus a;
            ws_bus_jwt_require $no error=403;
        }

        location ~ ^/room/(?<room>.+)$ {
            ws_bus room.$room;
            ws_bus_jwt_grants g;
        }

        location ~ ^/pub/(?<room>.+)$ {
            ws_bus_publisher $room;
            ws_bus_jwt_grants g;
        }

        location = /status {
            ws_bus_status;
        }

        location = /open-status {
            ws_bus_status;
            ws_bus_jwt off;
        }

        location = /any {
            satisfy any;
            ws_bus a;
            ws_bus_jwt_grants g;
            allow 127.0.0.1;
            deny all;
        }

        location = /any-denied {
            satisfy any;
            ws_bus a;
            deny all;
        }

        location = /all-denied {
            ws_bus a;
            deny all;
        }

        location = /any-basic {
            satisfy any;
            ws_bus a;
            auth_basic basic;
            auth_basic_user_file %%TESTDIR%%/passwd;
        }

        location = /auth-request {
            ws_bus a;
            auth_request /yes;
        }

        location = /auth-request-no {
            ws_bus a;
            auth_request /no;
        }

        location = /yes {
            internal;
            ws_bus_jwt off;
            return 204;
        }

        location = /no {
            internal;
            ws_bus_jwt off;
            return 403;
        }

        location = /limit {
            ws_bus a;
            limit_req zone=one;
        }

        location = /redirected {
            ws_bus a;
            error_page 401 /login;
        }

        location = /named {
            ws_bus a;
            error_page 401 = @without;
        }

        location @without {
            ws_bus b;
            ws_bus_jwt off;
        }

        location = /login {
            root %%TESTDIR%%/static;
        }

        location = /if {
            if ($arg_x) {
                set $y 1;
            }

            ws_bus a;
        }
    }
}

EOC
}


# What a handshake is answered with.

sub tries {
    my ($path, %opt) = @_;

    my $token = delete $opt{token};

    push @{ $opt{headers} }, Authorization => "Bearer $token"
        if defined $token;

    return ws_response($path, %opt);
}


sub lets {
    my ($path, $name, %opt) = @_;

    my $r = tries($path, %opt);

    is($r->status(), 101, "$path: $name");

    return $r;
}


sub refuses {
    my ($path, $status, $header, $name, %opt) = @_;

    my $r = tries($path, %opt);

    is($r->status() . ' ' . ($r->header('WWW-Authenticate') // 'none'),
        "$status " . ($header // 'none'), "$path: $name");

    return $r;
}


sub places {
    lets('/header', 'in the header', token => $good);
    lets('/header', "a scheme in other letters",
        headers => [ Authorization => "bEARER   $good" ]);
    lets("/argument?token=$good", 'in an argument');
    lets('/cookie', 'in a cookie', headers => [ Cookie => "t=$good" ]);
    lets('/header', 'among subprotocols', protocols => [ "bearer.$good" ]);
    lets('/argument', 'in the header all the same', token => $good);

    refuses('/header', 401, $ok, 'no token');
    refuses('/argument', 401, $ok, 'no argument');
    refuses('/argument?token=', 401, $ok, 'an empty argument');
    refuses("/header?token=$good", 401, $ok, 'an argument that is not asked');
    refuses('/header', 401, $ok, 'another scheme',
        headers => [ Authorization => 'Basic YTpi' ]);
    refuses('/header', 401, $ok, 'a scheme that goes on',
        headers => [ Authorization => "BearerX $good" ]);
    refuses('/header', 401, $ok, 'a subprotocol without a token',
        protocols => [ 'bearer.' ]);
    lets('/off', 'off');
    lets('/if?x=1', 'beside an "if"', token => $good);
    refuses('/if?x=1', 401, $ok, 'beside an "if"');
}


sub headers {
    my $two = "$ok, error=\"invalid_request\", error_description="
        . '"there is more than one token"';

    refuses("/argument?token=$good", 400, $two, 'header and argument',
        token => $good);
    refuses('/header', 400, $two, 'header and subprotocol',
        token => $good, protocols => [ "bearer.$good" ]);
    refuses('/header', 400, $two, 'two subprotocols',
        protocols => [ "bearer.$good", "bearer.$good" ]);
    refuses("/argument?token=$good", 400, $two, 'argument and subprotocol',
        protocols => [ "bearer.$good" ]);

    is(tries('/header', headers => [ map {; Authorization => "Bearer $_" }
        $good, $good ])->status(), 400, 'the header twice');
}


sub hostile {
    my $no = "$invalid\"the token is not valid\"";

    refuses('/header', 401, $no, $_->[0], token => $_->[1]) for
        [ 'an empty one', '' ],
        [ 'no token', 'x' ],
        [ 'dots', '..' ],
        [ 'four parts', "$good.x" ],
        [ 'a space inside', substr($good, 0, 20) . ' ' . substr($good, 20) ],
        [ 'a byte of control', substr($good, 0, 20) . "\x01" ],
        [ 'bytes beyond ASCII', "\xff\xfe$good" ],
        [ 'none of the keys signed it', $bad ],
        [ 'cut', substr($good, 0, -1) ],
        [ 'too long', 'a' x 16385 ],
        [ 'long', join('.', ('a' x 5000) x 3) ];

    my ($h, $c, $s) = split(/\./, $good);

    refuses('/header', 401, $no, 'unsigned', token =>
        'eyJhbGciOiJub25lIn0.' . "$c.");
    refuses('/header', 401, $no, 'other claims', token => "$h.e30.$s");

    my $answer = http(join("\r\n", 'GET /argument?token=a%0d%0aX:%20y HTTP/1.1',
        'Host: localhost', 'Connection: close', '', ''));

    unlike($answer, qr/^X: y/m, 'nothing of a token is in the answer');

    is(tries('/header', token => "$good\0")->status(), 400, 'a zero byte');

    my @many = map { "x$_" } 1 .. 100;

    lets('/json', '100 subprotocols', protocols => [ @many,
        'ws-bus.v1.json', "bearer.$good" ]);
    is(tries('/json', protocols => [ @many, "bearer.$good" ])->status(), 400,
        '100 of which none is served');
}


sub lifetimes {
    my $expired = "$invalid\"the token has expired\"";
    my $no = "$invalid\"the token is not valid\"";

    my %of = (
        old => $key{a}->token(exp => in(-5)),
        early => $key{a}->token(nbf => in(300)),
        future => $key{a}->token(iat => in(300)),
        text => $key{a}->token(exp => 'x'),
        milliseconds => $key{a}->token(exp => in(60) . '000'),
    );

    refuses('/header', 401, $expired, 'expired', token => $of{old});
    refuses('/header', 401, $no, $_, token => $of{$_})
        for qw/ early future text milliseconds /;
    lets('/leeway', $_, token => $of{$_}) for qw/ old early future /;
    refuses('/leeway', 401, $expired, 'expired beyond the leeway',
        token => $key{a}->token(exp => in(-3605)));
    lets('/header', 'without end', token => $key{a}->token(exp => undef));
}


sub rules {
    my $no = "$invalid\"the token is not valid\"";

    lets('/issuer', 'one of them', token =>
        $key{a}->token(iss => 'https://b.example'));
    refuses('/issuer', 401, $no, 'none', token => $good);
    refuses('/issuer', 401, $no, 'another', token =>
        $key{a}->token(iss => 'https://b.example/'));

    lets('/audience', 'one of them', token => $key{a}->token(aud => 'y'));
    lets('/audience', 'one in common', token =>
        $key{a}->token(aud => [ 'z', 'x' ]));
    refuses('/audience', 401, $no, 'none', token => $good);
    refuses('/audience', 401, $no, 'others', token =>
        $key{a}->token(aud => [ 'z' ]));

    lets('/header', "$_, by default", token => $key{$_}->token())
        for qw/ a rsa ed /;
    refuses('/header', 401, $no, 'HS256, not by default', token =>
        $key{oct}->token());
    lets('/hmac', 'HS256 is listed', token => $key{oct}->token());
    lets('/hmac', 'and so is ES256', token => $good);
    refuses('/hmac', 401, $no, 'RS256 is not', token => $key{rsa}->token());
    lets('/ed-only', 'EdDSA', token => $key{ed}->token());
    refuses('/ed-only', 401, $no, 'another', token => $good);

    # a public key is no secret

    my $pem = $key{a}{key}->export_key_pem('public');
    my $forged = bless { alg => 'HS256', key => $pem,
        member => { kid => 'a' } }, 'Test::WsBus::Token';

    refuses('/hmac', 401, $no, 'a public key as a secret', token =>
        $forged->token(sub => 'alice'));
}


sub required {
    my $no = "$invalid\"the token does not allow this\"";

    lets('/require', 'both are there', token => $good);
    refuses('/require', 401, $no, 'one is missing', token =>
        $key{a}->token(role => 'x'));
    refuses('/require', 401, $no, 'one is empty', token =>
        $key{a}->token(role => '', n => 1));
    refuses('/require', 401, $no, 'one is 0', token =>
        $key{a}->token(role => 'x', n => 0));
    refuses('/require', 401, $no, 'one is false', token =>
        $key{a}->token(role => 'x', n => JSON::PP::false()));
    lets('/require', 'true is something', token =>
        $key{a}->token(role => 'x', n => JSON::PP::true()));

    lets('/require-403', 'the map says 1', token => $good);
    refuses('/require-403', 403, $scope, 'the map says 0', token =>
        $key{a}->token(sub => 'bob', role => 'user'));
    refuses('/require-403', 401, $no, 'the first rule comes first', token =>
        $key{a}->token(role => 'user'));
    refuses('/require-no', 403, $scope, '0 in a variable', token => $good);
}


sub logged {
    my ($like, $name) = @_;

    ok($t->find_in_file('tokens.log', $like, timeout => 5), $name)
        or diag($t->read_file('tokens.log'));
}


sub variables {
    my $c = ws('/header?v=1', headers => [ Authorization => "Bearer $good" ]);
    $c->finish();

    logged(qr!^/header 101 \[PASSED\] \[alice\] \[admin\] \[1,x\] \[7\]$!m,
        'variables at the end of a connection');

    refuses('/require-403', 403, $scope, 'for the log', token =>
        $key{a}->token(sub => 'eve'));
    logged(qr!^/require-403 403 \[REJECTED_CLAIM\] \[-\]!m, 'REJECTED_CLAIM');
    logged(qr!^/header 401 \[REJECTED_TOKEN\] \[-\] \[-\]!m,
        'REJECTED_TOKEN');
    logged(qr!^/header 401 \[EXPIRED\]!m, 'EXPIRED');
    logged(qr!^/off 101 \[-\]!m, 'no gate in play');

    is(ws_response('/off', headers => [ Origin => 'http://x.example' ])
        ->status(), 403, 'another origin');
    logged(qr!^/off 403 \[REJECTED_ORIGIN\]!m, 'REJECTED_ORIGIN');

    my $host = 'localhost:' . port(8080);

    is(ws_response('/off', host => $host, headers =>
        [ Origin => "http://$host" ])->status(), 101, 'the same origin');
    logged(qr!^/off 101 \[PASSED\]!m, 'PASSED by origin');

    my $evil = $key{a}->token(sub => "a\r\nX: y", role => "x\x01");

    $c = ws('/header', headers => [ Authorization => "Bearer $evil" ]);
    $c->finish();
    logged(qr!^/header 101 \[PASSED\] \[\] \[\]!m,
        'control characters are nothing');
}


sub handlers {
    my @auth = (headers => [ Authorization => "Bearer $good" ]);

    is(request('GET', '/status')->status(), 401, 'status: no token');
    is(request('GET', '/status', @auth)->status(), 200, 'status');
    is(request('POST', '/pub/room.a', body => 'x')->status(), 401,
        'publisher: no token');
    is(request('POST', '/pub/room.a', body => 'x', @auth)->status(), 201,
        'publisher: granted');

    my $r = request('POST', '/pub/room.b', body => 'x', @auth);

    is($r->status() . ' ' . $r->header('WWW-Authenticate'), "403 $scope",
        'publisher: not granted, though one may subscribe');
    is(request('POST', '/pub/a%20b', body => 'x', @auth)->status(), 400,
        'publisher: no name');

    lets('/room/x', 'granted', token => $good);
    refuses('/room/x.y', 403, $scope, 'not granted', token => $good);
    refuses('/room/x', 403, $scope, 'nothing granted', token =>
        $key{a}->token());
    refuses('/room/x', 401, "$invalid\"the token is not valid\"",
        'grants of another shape', token => $key{a}->token(g => [ 'x' ]));

    is(request('GET', '/header', headers => [ Accept =>
        'text/event-stream' ])->status(), 401, 'event stream: no token');
    is(request('GET', '/header?wait=0', @auth)->status(), 204, 'poll');
    is(request('GET', '/header?wait=0')->status(), 401, 'poll: no token');
}


sub satisfied {
    lets('/any', 'another gate', );
    lets('/any', 'another gate, a bad token', token => $bad);
    unlike(tries('/any')->raw(), qr/^WWW-Authenticate/m,
        'nothing is asked for');
    lets('/any', 'which does not grant', token => $good);
    lets('/any-denied', 'a token is enough', token => $good);
    refuses('/any-denied', 401, $ok, 'nothing is enough');
    refuses('/all-denied', 403, undef, 'a token is not enough',
        token => $good);

    lets('/any-basic', 'a password', headers => [ Authorization =>
        'Basic YWxpY2U6c2VjcmV0' ]);
    lets('/any-basic', 'a token', token => $good);

    my $r = tries('/any-basic');

    is($r->status(), 401, 'neither');
    is_deeply([ sort $r->headers('WWW-Authenticate') ],
        [ 'Basic realm="basic"', $ok ], 'both are asked for');
}


sub neighbours {
    lets('/auth-request', 'auth_request: yes', token => $good);
    refuses('/auth-request', 401, $ok, 'auth_request: yes, no token');
    refuses('/auth-request-no', 403, undef, 'auth_request: no',
        token => $good);

    # limit_req comes first, and counts those who have no token

    refuses('/limit', 401, $ok, 'the first');
    refuses('/limit', 503, undef, 'limit_req', token => $good);
}


sub redirected {
    my $r = tries('/redirected');

    is($r->status(), 401, 'error_page: the status stays');
    like($r->body(), qr/log in here/, 'error_page: the page');
    is($r->header('WWW-Authenticate'), $ok, 'error_page: the header');
    logged(qr!^/login 401 \[REJECTED_TOKEN\]!m,
        'error_page: the outcome is not forgotten');

    lets('/named', 'a named location takes over');
    lets('/named', 'as long as there is no token', token => $good);
}


sub subprotocols {
    my $r = lets('/json', 'a subprotocol beside the token',
        protocols => [ "bearer.$good", 'ws-bus.v1.json' ]);

    is($r->header('Sec-WebSocket-Protocol'), 'ws-bus.v1.json',
        'it is chosen');

    $r = lets('/json', 'a token alone', protocols => [ "bearer.$good" ]);
    is($r->header('Sec-WebSocket-Protocol'), undef, 'is never echoed');

    is(tries('/only-json', protocols => [ "bearer.$good" ])->status(), 400,
        'raw mode is not served');
    is(tries('/off', protocols => [ "bearer.$good" ])->status(), 400,
        'no token where none is asked for');

    my $c = ws('/json', protocols => [ "bearer.$good" ]);
    $c->text('hello');
    is_message($c, 'hello', 'raw mode');
}


# Bad tokens do not stand in the way of good ones.

sub bad_ones {
    my $http = Test::WsBus::HTTP->new(port => port(8080));
    my %status;

    for my $i (1 .. 10_000) {
        my $token = $i % 100 ? $bad : $good;

        my $r = $http->request('GET', '/header?wait=0', headers =>
            [ Authorization => "Bearer $token" ]);

        $status{$r->status()}++;

        $http = Test::WsBus::HTTP->new(port => port(8080))
            if ($r->header('Connection') // '') eq 'close';
    }

    is_deeply(\%status, { 401 => 9900, 204 => 100 },
        'good ones among 10,000');
}


sub counted {
    my $get = sub { request('GET', '/open-status')->json()
        ->{zones}{bus}{refused} };

    my $before = $get->();

    refuses('/header', 401, $ok, 'counted as a token');
    refuses('/require-no', 403, $scope, 'counted as a claim',
        token => $good);

    my $after = $get->();

    is($after->{token} - $before->{token}, 1, 'refused: token');
    is($after->{claim} - $before->{claim}, 1, 'refused: claim');
}


sub configuration {
    my $dir = $t->testdir();
    my $keys = "ws_bus_jwt_key_file $dir/keys.jwks;";

    my $check = sub {
        my ($said, $text, $name) = @_;

        $t->write_file_expand('test.conf', <<EOF);
%%TEST_GLOBALS%%
events { }
http {
    %%TEST_GLOBALS_HTTP%%
    $text
}
EOF
        my ($good, $out) = $t->test_config('test.conf');

        $said ? like($out, $said, $name) : ok($good, $name) or diag($out);
    };

    my $loc = sub { "server { location / { ws_bus a; @_ } }" };

    $check->(@$_) for
        [ qr/"ws_bus_jwt" needs "ws_bus_jwt_key_file" or "ws_bus_jwt_key_r/,
          $loc->('ws_bus_jwt x;'), 'no keys' ],
        [ qr/"ws_bus_jwt" needs/, "ws_bus_jwt x; "
          . 'server { location / { ws_bus_status; } }', 'of a status page' ],
        [ undef, 'ws_bus_jwt x; server { location / { return 200; } }',
          'which is only said of our locations' ],
        [ undef, "$keys " . $loc->('ws_bus_jwt x;'), 'inherited keys' ],
        [ qr/"ws_bus_jwt_grants" needs "ws_bus_jwt"/,
          $loc->('ws_bus_jwt_grants g;'), 'grants of nothing' ],
        [ qr/"ws_bus_jwt_require" needs "ws_bus_jwt"/,
          $loc->('ws_bus_jwt_require $uri;'), 'requirements of nothing' ],
        [ qr/"ws_bus_auth_timeout" needs "ws_bus_jwt"/,
          $loc->('ws_bus_auth_timeout 5s;'), 'a time for nothing' ],
        [ undef, 'ws_bus_jwt_grants g; ' . $loc->(''), 'inherited' ],
        [ undef, $loc->('ws_bus_jwt off; ws_bus_jwt_grants g;'), 'off' ],
        [ qr/invalid realm "a"b"/, $loc->("ws_bus_jwt 'a\"b';"), 'realm' ],
        [ qr/invalid realm ""/, $loc->('ws_bus_jwt "";'), 'empty realm' ],
        [ qr/invalid parameter "token=x"/, $loc->('ws_bus_jwt x token=x;'),
          'not a variable' ],
        [ qr/invalid parameter "tokn=\$x"/, $loc->('ws_bus_jwt x tokn=$x;'),
          'another parameter' ],
        [ qr/invalid parameter "token=\$arg_x"/,
          $loc->('ws_bus_jwt off token=$arg_x;'), 'off and more' ],
        [ qr/"ws_bus_jwt" directive is duplicate/,
          $loc->('ws_bus_jwt x; ws_bus_jwt off;'), 'twice' ],
        [ qr/invalid algorithm "none"/,
          $loc->('ws_bus_jwt_algorithms none;'), 'none' ],
        [ qr/invalid algorithm "rs256"/,
          $loc->('ws_bus_jwt_algorithms RS256 rs256;'), 'lower case' ],
        [ qr/invalid parameter ""/, $loc->('ws_bus_jwt_issuer "";'),
          'an empty issuer' ],
        [ qr/"ws_bus_jwt_audience" directive is duplicate/,
          $loc->('ws_bus_jwt_audience a; ws_bus_jwt_audience b;'),
          'audience twice' ],
        [ qr/invalid parameter "x"/, $loc->('ws_bus_jwt_require x;'),
          'nothing to require' ],
        [ qr/invalid parameter "error=402"/,
          $loc->('ws_bus_jwt_require $uri error=402;'), 'another error' ],
        [ qr/invalid parameter "error=401"/,
          $loc->('ws_bus_jwt_require error=401;'), 'an error alone' ],
        [ qr/invalid parameter "0"/, $loc->('ws_bus_auth_timeout 0;'),
          'no time at all' ],
        [ qr/invalid parameter "x"/, $loc->('ws_bus_auth_timeout x;'),
          'not a time' ],
        [ qr/"ws_bus_jwt_leeway" directive invalid value/,
          $loc->('ws_bus_jwt_leeway x;'), 'leeway' ],
        [ qr/invalid variable name "x"/, 'ws_bus_jwt_claim_set x y;',
          'claim_set: no variable' ],
        [ qr/the duplicate "x" variable/, 'ws_bus_jwt_claim_set $x y; '
          . 'ws_bus_jwt_claim_set $x z;', 'claim_set twice' ],
        [ qr/invalid number of arguments/, 'ws_bus_jwt_claim_set $x;',
          'claim_set: no claim' ],
        [ undef, "$keys " . $loc->('ws_bus_jwt x; ws_bus_presence members;'),
          'members are subjects' ],
        [ qr/"ws_bus_presence members" needs/,
          $loc->('ws_bus_presence members;'), 'of whom there are none' ];
}


# No log of ours has a token.

sub secret {
    my ($payload, $signature) = (split(/\./, $good))[1, 2];

    # nginx has its own opinion of request lines and headers

    my @ours = grep { /: \*\d+ (?:ws bus|token|websocket) / }
        map { s/, client: .*//r } split(/\n/, $t->read_file('error.log'));

    cmp_ok(scalar(@ours), '>', 10, 'our lines');
    is(join("\n", grep { /\Q$signature\E/ } @ours), '',
        'have no token');
}
