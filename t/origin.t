#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Whose pages may connect: ws_bus_origin, for WebSockets, publishers and what
# stands in for WebSockets, whatever other gates say and whatever way the
# request has taken.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/browser";
use Test::WsBus;
use Test::WsBus::Json;
use Test::WsBus::Token;
use WsBusTestWorkers;
use Chromium;

my $t = Test::WsBus->new()
    ->has(qw/ http_ssl IO::Socket::SSL Crypt::JWT /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', conf());
$t->write_file('page.html', "<title>page</title>\n");

my $key = Test::WsBus::Token->key('ES256', kid => 'a');
$t->write_file('keys.jwks', jwks($key));

$t->run();

my $here = 'http://localhost';
my $sent = 0;


same();
exact();
wildcards();
regexes();
any();
required();
null();
several();
headers();
inherited();
handlers();
satisfied();
redirected();
over_tls();
told();
configuration();
browser();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format cookies '$request_uri $status "$http_cookie" '
                       '"$http_origin"';
    access_log %%TESTDIR%%/cookies.log cookies;

    ws_bus_zone bus 4m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        default_type text/html;

        location = /default {
            ws_bus a;
        }

        location = /same {
            ws_bus a;
            ws_bus_origin same;
        }

        location = /exact {
            ws_bus a;
            ws_bus_origin https://a.example http://b.example:8080;
        }

        location = /host {
            ws_bus a;
            ws_bus_origin a.example b.example:8080 c.example:*;
        }

        location = /wildcard {
            ws_bus a;
            ws_bus_origin *.a.example https://*.b.example;
        }

        location = /regex {
            ws_bus a;
            ws_bus_origin ~^https://[a-z]+\.example$;
        }

        location = /regex-slow {
            ws_bus a;
            ws_bus_origin ~^https://([a-z]+\.)*([a-z]+\.)*example\.com$
                          ~^https://b\.;
        }

        location = /cookie {
            ws_bus a;
            ws_bus_publish on;
            ws_bus_jwt bus token=$cookie_t;
            ws_bus_jwt_key_file %%TESTDIR%%/keys.jwks;
        }

        location = /cookie-any {
            ws_bus a;
            ws_bus_origin any;
            ws_bus_jwt bus token=$cookie_t;
            ws_bus_jwt_key_file %%TESTDIR%%/keys.jwks;
        }

        location = /any {
            ws_bus a;
            ws_bus_origin any;
        }

        location = /require {
            ws_bus a;
            ws_bus_origin require;
        }

        location = /require-exact {
            ws_bus a;
            ws_bus_origin https://a.example require;
        }

        location = /null {
            ws_bus a;
            ws_bus_origin null;
        }

        location = /regex-null {
            ws_bus a;
            ws_bus_origin ~^null$;
        }

        location = /several {
            ws_bus a;
            ws_bus_origin same https://a.example *.b.example ~^x-app://;
        }

        location = /ipv6 {
            ws_bus a;
            ws_bus_origin http://[2001:db8::1]:8080;
        }

        # handlers

        location = /pub {
            ws_bus_publisher a;
        }

        location = /pub-any {
            ws_bus_publisher a;
            ws_bus_origin any;
        }

        location = /status {
            ws_bus_status;
            ws_bus_origin https://a.example require;
        }

        location = /prometheus {
            ws_bus_status prometheus;
        }

        location = /json {
            ws_bus;
            ws_bus_channels **;
        }

        # other gates

        location = /satisfy {
            ws_bus a;
            satisfy any;
            allow all;
            deny all;
        }

        location = /denied {
            ws_bus a;
            ws_bus_origin any;
            deny all;
        }

        location = /if {
            if ($arg_x) {
                set $y 1;
            }

            ws_bus a;
        }

        location = /limit-except {
            limit_except GET {
                deny all;
            }

            ws_bus_publisher a;
        }

        # ways that lead there

        location /rewrite/ {
            rewrite ^/rewrite(/.*)$ $1 last;
        }

        location = /break {
            rewrite ^ /x break;
            ws_bus a;
        }

        location = /try {
            try_files /nothing @named;
        }

        location = /try-uri {
            try_files /nothing /default;
        }

        location = /try-pub {
            try_files /nothing /pub;
        }

        location @named {
            ws_bus a;
        }

        location = /error-page {
            error_page 418 = /default;
            return 418;
        }

        location = /error-named {
            error_page 418 = @named;
            return 418;
        }

        location = /page.html {
            alias %%TESTDIR%%/page.html;
            add_header Set-Cookie "session=secret; Path=/";
        }
    }

    # what is inherited

    server {
        listen 127.0.0.1:%%PORT_8081%%;

        ws_bus_origin https://server.example;

        location = /inherits {
            ws_bus a;
        }

        location = /own {
            ws_bus a;
            ws_bus_origin https://own.example;
        }

        location /outer {
            ws_bus_origin https://outer.example;

            location /outer/inner {
                ws_bus a;
            }
        }

        location = /pub {
            ws_bus_publisher a;
        }
    }

    # a page of another origin, whose cookies are the same: they have no port

    server {
        listen 127.0.0.1:%%PORT_8082%%;

        default_type text/html;

        location = /page.html {
            alias %%TESTDIR%%/page.html;
        }
    }
}

EOC
}


# The status of a handshake with these headers.

sub handshake {
    my ($path, $origin, %opt) = @_;

    my @headers = map { (Origin => $_) } ref $origin ? @$origin
                                       : defined $origin ? $origin : ();

    my $r = ws_response($path, %opt,
        headers => [ @headers, @{$opt{headers} // []} ]);

    return $r ? $r->status() : 'none';
}


sub accepts {
    my ($path, $origins, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(handshake($path, $_, %opt), 101,
        "$path, $name: " . shown($_) . ' may') for @$origins;
}


sub refuses {
    my ($path, $origins, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(handshake($path, $_, %opt), 403,
        "$path, $name: " . shown($_) . ' may not') for @$origins;
}


sub shown {
    my ($origin) = @_;

    my $s = !defined $origin ? 'none'
        : join(' and ', map { "\"$_\"" } ref $origin ? @$origin : $origin);

    $s =~ s/([^ -~])/sprintf('\\x%02x', ord($1))/ge;

    return length $s > 60 ? substr($s, 0, 60) . '...' : $s;
}


# Scheme, host and port are those of the request.

sub same {
    for my $path ('/default', '/same') {

        accepts($path, [ undef, 'http://a.example' ], 'host',
            host => 'a.example');
        accepts($path, [ 'http://a.example:80', 'HTTP://A.Example' ],
            'in another way', host => 'a.example');
        accepts($path, [ 'http://a.example', 'http://a.example:80' ],
            'port 80', host => 'a.example:80');
        accepts($path, [ 'http://a.example:8080' ], 'port 8080',
            host => 'a.example:8080');
        accepts($path, [ 'http://127.0.0.1:8080' ], 'an address',
            host => '127.0.0.1:8080');
        accepts($path, [ 'http://[::1]:8080', 'http://[0:0:0::1]:8080' ],
            'IPv6', host => '[::1]:8080');
        accepts($path, [ 'http://[2001:db8::a]', 'http://[2001:DB8::A]:80' ],
            'IPv6', host => '[2001:db8:0::A]');

        refuses($path, [ 'https://a.example', 'http://a.example:8080',
            'http://b.example', 'http://a.example.b.example',
            'http://xa.example', 'http://www.a.example', 'http://example',
            'ws://a.example', 'ftp://a.example', 'file://', 'null' ],
            'another one', host => 'a.example');
        refuses($path, [ 'http://a.example', 'http://a.example:8081',
            'http://a.example:80' ], 'another port',
            host => 'a.example:8080');
        refuses($path, [ 'http://[::2]:8080', 'http://[::1]',
            'http://127.0.0.1:8080' ], 'IPv6', host => '[::1]:8080');
    }

    # what is malformed is not the same as anything

    refuses('/same', [ '', 'a.example', '//a.example', 'http:a.example',
        'http:/a.example', 'http://', 'http://a.example/',
        'http://a.example/x', 'http://a.example?', 'http://a.example#',
        'http://user@a.example', 'http://a.example:', 'http://a.example:0',
        'http://a.example:080', 'http://a.example:65536',
        'http://a.example:-80', 'http://a.example:x', ' http://a.example x',
        'http://a.example http://a.example', 'http://a.example, null',
        "http://a\xc3\xa9.example", 'http://a..example', 'http://.a.example',
        'http://*.example', 'http://a.example%00', 'http://[a.example]',
        'http://[::1', 'http://::1', 'http://a.example]', '*',
        'http://' . 'a' x 1000, 'x' x 3000 ],
        'malformed', host => 'a.example');
}


sub exact {
    accepts('/exact', [ undef, 'https://a.example', 'https://a.example:443',
        'https://A.EXAMPLE', 'http://b.example:8080' ], 'one of those');
    refuses('/exact', [ 'http://a.example', 'https://a.example:8443',
        'http://b.example', 'https://b.example:8080', 'http://b.example:80',
        'https://www.a.example', 'https://a.example.org', 'https://aaexample',
        'https://xa.example', $here, 'null' ], 'none of those');

    accepts('/host', [ 'http://a.example', 'https://a.example',
        'http://a.example:80', 'https://a.example:443',
        'http://b.example:8080', 'https://b.example:8080',
        'http://c.example', 'https://c.example:1' ], 'a host');
    refuses('/host', [ 'http://a.example:443', 'https://a.example:80',
        'ftp://a.example', 'http://b.example', 'http://b.example:80',
        'x://c.example', 'http://x.c.example', $here ], 'another one');

    accepts('/ipv6', [ 'http://[2001:db8::1]:8080',
        'http://[2001:DB8:0:0::1]:8080' ], 'an address');
    refuses('/ipv6', [ 'http://[2001:db8::2]:8080', 'http://[2001:db8::1]',
        'http://2001:db8::1:8080' ], 'another one');
}


sub wildcards {
    accepts('/wildcard', [ 'http://x.a.example', 'https://x.a.example',
        'https://x.y.a.example', 'https://X.A.Example',
        'https://x.b.example' ], 'below');
    refuses('/wildcard', [ 'https://a.example', 'https://xa.example',
        'https://a.example.org', 'https://x.a.example.org',
        'https://.a.example', 'http://x.b.example', 'https://b.example',
        'https://x.a.example:8443', $here ], 'not below');
}


# A regular expression sees the whole of it, as it was sent.

sub regexes {
    accepts('/regex', [ 'https://a.example', 'https://A.EXAMPLE',
        'https://abc.example' ], 'matched');
    refuses('/regex', [ 'http://a.example', 'https://a1.example',
        'https://a.example:443', 'https://a.example.org',
        'xhttps://a.example', "https://a.example/", $here, 'null' ],
        'not matched');
    accepts('/regex-null', [ 'null' ], 'matched');
    refuses('/regex-null', [ 'NULL', 'xnull' ], 'not matched');

    # PCRE by itself would come to an end of this one, after many more steps

    my $long = 'a.' x 100;

    refuses('/regex-slow', [ "https://${long}example.comx" ], 'too slow');
    is($t->find_in_file('error.log',
        qr/failed: -\d+ on origin "https:\/\/(a\.)+example\.comx"/), 1,
        '/regex-slow: given up');
    accepts('/regex-slow', [ "https://${long}example.com",
        "https://b.${long}example.comx" ], 'matched');
}


sub any {
    accepts('/any', [ undef, 'http://a.example', 'null', '', 'nonsense',
        'http://a.example/x' ], 'whatever it is');
    accepts('/any', [ [ 'http://a.example', 'http://b.example' ] ],
        'several of them');
}


sub required {
    refuses('/require', [ undef ], 'there is none');
    accepts('/require', [ $here ], 'the same');
    refuses('/require', [ 'https://a.example' ], 'another one');

    refuses('/require-exact', [ undef ], 'there is none');
    accepts('/require-exact', [ 'https://a.example' ], 'the one');
    refuses('/require-exact', [ $here ], 'even the same');
}


sub null {
    accepts('/null', [ undef, 'null' ], 'null');
    refuses('/null', [ 'NULL', 'null:', '"null"', 'nul', $here ], 'not null');
}


sub several {
    accepts('/several', [ $here, 'https://a.example', 'http://x.b.example',
        'x-app://app', 'X-APP://anything:5' ], 'one of them');
    refuses('/several', [ 'http://a.example', 'https://b.example',
        'y-app://app', 'null' ], 'none of them');
}


# There is one header, or there is none.

sub headers {
    refuses('/same', [ [ $here, $here ], [ $here, 'null' ],
        [ 'https://a.example', $here ], [ '', $here ], [ $here, '' ] ],
        'repeated');
    refuses('/exact', [ [ 'https://a.example', 'https://a.example' ] ],
        'repeated');

    for my $name ('origin', 'ORIGIN', 'oRiGiN') {
        is(handshake('/same', undef, headers => [ $name => $here ]), 101,
            "$name: the same");
        is(handshake('/same', undef,
            headers => [ $name => 'https://a.example' ]), 403,
            "$name: another one");
    }

    is(handshake('/same', undef, headers => [ 'Sec-WebSocket-Origin',
        'https://a.example' ]), 101, 'of another name');
    is(handshake('/same', undef, headers => [ 'X-Origin', 'x' ]), 101,
        'of a longer name');
    is(handshake('/same', undef, headers => [ 'Origi', 'x' ]), 101,
        'of a shorter name');

    # many others before it

    my @many = map { ("X-$_", 'x') } 1 .. 60;

    is(handshake('/same', 'https://a.example', headers => [ @many ]), 403,
        'among many');
    is(handshake('/same', $here, headers => [ @many ]), 101,
        'the same, among many');

    # a request without a host has no origin

    is(handshake('/same', 'http://', host => undef, http => '1.0'), 403,
        'no host');
}


sub inherited {
    my @opt = (port => port(8081));

    for my $case (
        [ '/inherits', 'server' ], [ '/own', 'own' ],
        [ '/outer/inner', 'outer' ],
    ) {
        my ($path, $which) = @$case;

        for my $name ('server', 'own', 'outer') {
            is(handshake($path, "https://$name.example", @opt),
                $name eq $which ? 101 : 403, "$path: $name");
        }

        is(handshake($path, $here, @opt), 403, "$path: not the same");
    }

    is(http_post('/pub', 'x', @opt, headers => [ Origin =>
        'https://server.example' ])->status(), 201, 'publisher: server');
    is(http_post('/pub', 'x', @opt, headers => [ Origin =>
        'https://own.example' ])->status(), 403, 'publisher: own');
}


# All that leads to a channel is guarded.

sub handlers {
    my $foreign = [ Origin => 'https://a.example' ];
    my $same = [ Origin => $here ];

    for my $method (qw/ POST PUT GET HEAD DELETE OPTIONS /) {
        my @body = $method =~ /^P/ ? (body => 'x') : ();

        is(request($method, '/pub', @body, headers => $foreign)->status(),
            403, "publisher: $method of another origin");
        isnt(request($method, '/pub', @body, headers => $same)->status(),
            403, "publisher: $method of the same");
        isnt(request($method, '/pub', @body)->status(), 403,
            "publisher: $method without one");
        isnt(request($method, '/pub-any', @body,
            headers => $foreign)->status(), 403, "publisher: $method, any");
    }

    my $c = ws('/any');

    http_post('/pub', 'bad', headers => $foreign);
    http_post('/pub', 'good', headers => $same);
    is_message($c, 'good', 'what was refused was not published');

    # an event stream, a poll

    for my $case (
        [ 'an event stream', '/default', [ Accept => 'text/event-stream' ] ],
        [ 'a poll', '/default?wait=0', [] ],
        [ 'neither', '/default', [] ],
    ) {
        my ($name, $uri, $headers) = @$case;

        my $r = request('GET', $uri, headers => [ @$foreign, @$headers ]);

        is($r->status(), 403, "$name of another origin");
        isnt(first_line($uri, @$same, @$headers), 403, "$name of the same");
    }

    # the subprotocol

    is(handshake('/json', 'https://a.example', protocols => [ PROTOCOL ]),
        403, 'JSON of another origin');
    is(handshake('/json', $here, protocols => [ PROTOCOL ]), 101,
        'JSON of the same');

    # before what is wrong with the handshake

    is(handshake('/same', 'https://a.example', version => 12), 403,
        'another origin, and another version');
    is(handshake('/same', $here, version => 12), 426,
        'the same, and another version');

    # the status page is no channel

    is(request('GET', '/status', headers => [ Origin => 'null' ])->status(),
        200, 'the status page is not guarded');

    # nor are others

    is(request('GET', '/page.html', headers => $foreign)->status(), 200,
        'nor is a page');
}


# The status of an answer that may have no end.

sub first_line {
    my ($uri, @headers) = @_;

    my $c = Test::WsBus::HTTP->new(port => port(8080));

    $c->write(Test::WsBus::HTTP::format_request('GET', $uri,
        headers => \@headers));

    my $line = $c->read_bytes(12) // '';

    $c->disconnect();

    return substr($line, 9);
}


# "satisfy any" is about other gates.

sub satisfied {
    accepts('/satisfy', [ undef, $here ], 'allowed');
    refuses('/satisfy', [ 'https://a.example', 'null' ],
        'allowed, but another origin');

    is(handshake('/denied', $here), 403, 'any origin, but denied');

    accepts('/if', [ $here ], 'an "if"');
    refuses('/if', [ 'https://a.example' ], 'an "if"');
    accepts('/if?x=1', [ $here ], 'in an "if"');
    refuses('/if?x=1', [ 'https://a.example' ], 'in an "if"');

    is(request('GET', '/limit-except', headers => [ Origin =>
        'https://a.example' ])->status(), 403, 'limit_except: GET');
    isnt(request('GET', '/limit-except', headers => [ Origin =>
        $here ])->status(), 403, 'limit_except: GET of the same');
}


# The request may come by another way than its URI's.

sub redirected {
    for my $path ('/rewrite/default', '/rewrite/same', '/break', '/try',
        '/try-uri', '/error-page', '/error-named')
    {
        accepts($path, [ undef, $here ], 'redirected');
        refuses($path, [ 'https://a.example', 'null', [ $here, $here ] ],
            'redirected');
    }

    refuses('/rewrite/require', [ undef ], 'redirected');
    accepts('/rewrite/any', [ 'https://a.example' ], 'redirected');

    for my $path ('/rewrite/pub', '/try-pub') {
        is(http_post($path, 'x', headers => [ Origin =>
            'https://a.example' ])->status(), 403, "$path: publisher");
        is(http_post($path, 'x', headers => [ Origin =>
            $here ])->status(), 201, "$path: publisher, the same");
    }
}


sub over_tls {
    my @opt = (port => port(8443), ssl => 1);

    accepts('/default', [ undef, 'https://a.example',
        'https://a.example:443' ], 'TLS', @opt, host => 'a.example');
    refuses('/default', [ 'http://a.example', 'http://a.example:443',
        'https://a.example:8443', 'https://b.example' ], 'TLS', @opt,
        host => 'a.example');
    accepts('/default', [ 'https://a.example:8443' ], 'TLS', @opt,
        host => 'a.example:8443');
    refuses('/default', [ 'https://a.example', 'http://a.example:8443' ],
        'TLS', @opt, host => 'a.example:8443');
}


# It is counted, and said.

sub told {
    my $before = status()->{refused};
    my $mark = length $t->read_file('error.log');

    handshake('/same', 'https://evil.example');
    handshake('/require', undef);
    handshake('/same', [ $here, 'http://b.example' ]);
    http_post('/pub', 'x', headers => [ Origin => 'null' ]);
    handshake('/same', $here);
    handshake('/same', $here, version => 12);

    my $after = status()->{refused};

    is($after->{origin} - $before->{origin}, 4, 'counted');
    is($after->{handshake} - $before->{handshake}, 1,
        'not as another refusal');
    like(http_get('/prometheus')->body(),
        qr/^ws_bus_refused_total\{zone="bus",reason="origin"\} $after->{origin}$/m,
        'for Prometheus, too');

    my @lines = substr($t->read_file('error.log'), $mark)
        =~ /^.*? (\[\w+\] .*?)(?:, client|$)/mg;

    is(join("\n", map { s/\d+#\d+: \*\d+ //r } grep { /refused:/
        && !/handshake refused/ } @lines),
        join("\n", '[info] refused: origin "https://evil.example"',
            '[info] refused: no Origin header',
            '[info] refused: origin "http://b.example", repeated',
            '[info] refused: origin "null"'), 'logged');

    # the answer is nginx's own

    my $r = ws_response('/same', headers => [ Origin => 'null' ]);

    like($r->body(), qr/403 Forbidden/, 'the answer');
    is($r->header('Connection'), 'keep-alive', 'the connection stays');
}


sub configuration {
    for my $case (
        [ 'any', 1 ], [ 'same', 1 ], [ 'require', 1 ], [ 'same require', 1 ],
        [ 'null', 1 ], [ 'https://a.example', 1 ], [ 'a.example', 1 ],
        [ 'a.example:8080', 1 ], [ 'a.example:*', 1 ], [ '*.a.example', 1 ],
        [ 'https://*.a.example:8443', 1 ], [ 'http://[::1]:8080', 1 ],
        [ '[::1]', 1 ], [ 'x-app://app', 1 ], [ '~^https?://a', 1 ],
        [ '"~^https://[a-z]{1,5}\.example$"', 1 ], [ '~x require same', 1 ],

        [ '', 0, qr/number of arguments in "ws_bus_origin"/ ],
        [ '""', 0, qr/invalid origin ""/ ],
        [ 'any same', 0, qr/"ws_bus_origin" directive takes nothing .*"any"/ ],
        [ 'require any', 0,
          qr/"ws_bus_origin" directive takes nothing .*"any"/ ],
        [ '*', 0, qr/invalid origin "\*"/ ],
        [ 'off', 0, qr/invalid origin "off": "any" is what allows all/ ],
        [ 'all', 0, qr/invalid origin "all": "any" is what allows all/ ],
        [ 'a.example none', 0, qr/invalid origin "none": "any" is/ ],
        [ 'on require', 0, qr/invalid origin "on": "any" is/ ],
        [ 'a.*.example', 0, qr/invalid origin "a\.\*\.example"/ ],
        [ '*a.example', 0, qr/invalid origin "\*a\.example"/ ],
        [ 'a.example.*', 0, qr/invalid origin "a\.example\.\*"/ ],
        [ '*.0.0.1', 0, qr/invalid origin "\*\.0\.0\.1"/ ],
        [ '*.[::1]', 0, qr/invalid origin "\*\.\[::1\]"/ ],
        [ 'https://a.example/', 0, qr/invalid origin "https:\/\/a\.example\/"/ ],
        [ 'https://a.example/x', 0, qr/invalid origin "https:/ ],
        [ 'https://', 0, qr/invalid origin "https:\/\/"/ ],
        [ '://a.example', 0, qr/invalid origin ":\/\/a\.example"/ ],
        [ 'a.example:0', 0, qr/invalid origin "a\.example:0"/ ],
        [ 'a.example:99999', 0, qr/invalid origin "a\.example:99999"/ ],
        [ '::1', 0, qr/invalid origin "::1"/ ],
        [ '$host', 0, qr/invalid origin "\$host"/ ],
        [ 'https://a.example bad/one', 0, qr/invalid origin "bad\/one"/ ],
        [ '"~["', 0, qr/invalid origin "~\[": .*pcre/ ],
        [ '"~a(b"', 0, qr/invalid origin "~a\(b": .*pcre/ ],
        [ '~', 0, qr/invalid origin "~"/ ],
        [ 'any; ws_bus_origin any', 0,
          qr/"ws_bus_origin" directive is duplicate/ ],
    ) {
        my ($text, $good, $says) = @$case;

        $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\n"
            . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
            . "server { listen 127.0.0.1:%%PORT_8080%%;\n"
            . "location / { ws_bus a; ws_bus_origin $text; }\n}\n}\n");

        my ($ok, $said) = $t->test_config('test.conf');

        is($ok ? 1 : 0, $good, "ws_bus_origin $text") or diag($said);
        like($said, $says, "ws_bus_origin $text: what it says") if $says;
        unlike($said, qr/[^\t\n -~]/, "ws_bus_origin $text: it can be read")
            if $says;
    }

    # every level

    for my $level ('http', 'server') {
        $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\n"
            . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
            . ($level eq 'http' ? 'ws_bus_origin null;' : '')
            . "server { listen 127.0.0.1:%%PORT_8080%%;\n"
            . ($level eq 'server' ? 'ws_bus_origin null;' : '')
            . "location / { ws_bus a; }\n}\n}\n");

        my ($ok, $said) = $t->test_config('test.conf');

        ok($ok, "ws_bus_origin in $level") or diag($said);
    }
}


# What all of this is for.

sub browser {
    SKIP: {
        skip('no chromium', 18) unless Chromium::find()
            || $ENV{WS_BUS_TEST_BROWSER};

        my $browser = Chromium->start($t->testdir());

        my $server = '127.0.0.1:' . port(8080);
        my $home = $browser->open("http://$server/page.html");

        is($home->eval('document.cookie'), 'session=secret',
            'browser: a page with a cookie');

        for my $path ('/default', '/same') {
            is(opened($home, "ws://$server$path"), 'open',
                "browser: it can connect to $path");
        }

        is(opened($home, "ws://$server/exact"), 'closed',
            'browser: unless others are meant');

        # the same host, another port: the cookie goes along

        my $away = $browser->open('http://127.0.0.1:' . port(8082)
            . '/page.html');

        is($away->eval('document.cookie'), 'session=secret',
            'browser: a page of another origin, with the cookie');

        my $before = status()->{refused}{origin};

        for my $path ('/default', '/same') {
            is(opened($away, "ws://$server$path"), 'closed',
                "browser: it cannot connect to $path");
        }

        is(status()->{refused}{origin} - $before, 2, 'browser: refused');
        is(opened($away, "ws://$server/any"), 'open',
            'browser: it can where any may');

        my $from = quotemeta('http://127.0.0.1:' . port(8082));

        is($t->find_in_file('cookies.log',
            qr{^/(?:default|same) 403 "session=secret" "$from"$}m,
            count => 2, timeout => 5), 2,
            'browser: though it had sent the cookie');

        # a page that has no origin

        my $frame = $away->eval(<<"EOF");
            new Promise(done => {
                const frame = document.createElement('iframe');
                frame.sandbox = 'allow-scripts';
                frame.srcdoc = `<script>
                    const ws = new WebSocket('ws://$server/same?frame');
                    ws.onopen = () => parent.postMessage('open', '*');
                    ws.onerror = () => parent.postMessage('closed', '*');
                </` + `script>`;
                onmessage = event => done(event.data);
                document.body.append(frame);
            })
EOF

        is($frame, 'closed', 'browser: nor can a sandboxed document');
        is($t->find_in_file('cookies.log', qr{^/same\?frame 403 ".*" "null"$}m,
            timeout => 5), 1, 'browser: whose origin is null');

        hijack($browser, $home, $away, $server);

        $browser->stop();
    }
}


# Cross-site WebSocket hijacking: a token in a cookie, which is good wherever
# the page is.

sub hijack {
    my ($browser, $home, $away, $server) = @_;

    my $token = $key->token(sub => 'alice');

    is(opened($home, "ws://$server/cookie"), 'closed',
        'hijacking: no token, no connection');

    $home->eval("document.cookie = 't=$token'");

    is(opened($home, "ws://$server/cookie"), 'open',
        'hijacking: a page of the same origin, with a token in a cookie');
    is(opened($away, "ws://$server/cookie-any"), 'open',
        'hijacking: the cookie goes along from another origin');

    my $get = sub { my $r = status()->{refused};
                    return "$r->{origin} $r->{token}" };

    my ($origin, $tokens) = split(/ /, $get->());

    is(opened($away, "ws://$server/cookie"), 'closed',
        'hijacking: where it is of no use');
    is($get->(), $origin + 1 . " $tokens", 'hijacking: refused by the origin');
    is($t->find_in_file('cookies.log',
        qr{^/cookie 403 "[^"]*t=\Q$token\E" "http://127}m, timeout => 5), 1,
        'hijacking: with a token that is good');
}


sub opened {
    my ($tab, $url) = @_;

    return $tab->eval(<<"EOF");
        new Promise(done => {
            const ws = new WebSocket('$url');
            ws.onopen = () => { done('open'); ws.close() };
            ws.onerror = () => done('closed');
        })
EOF
}
