#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The example of docs/security.md, as it is printed there, with a provider of
# its own: what it lets in, what it refuses, and what it writes down.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $t = Test::WsBus->new()
    ->has(qw/ http_ssl IO::Socket::SSL Crypt::JWT /);

$t->log_level('info')->write_cert('id.example.com');

my %key = (
    good => Test::WsBus::Token->key('RS256', kid => 'k1', use => 'sig'),
    ec => Test::WsBus::Token->key('ES256', kid => 'k2', use => 'sig'),
    later => Test::WsBus::Token->key('RS256', kid => 'k3', use => 'sig'),
    stolen => Test::WsBus::Token->key('RS256', kid => 'k1'),
);

my %claims = (
    iss => 'https://id.example.com/', aud => 'wss://ws.example.com',
    sub => 'u-4711', bus => {
        subscribe => [ 'user:{sub}', 'room:*', 'news.**' ],
        publish => [ 'room:*' ],
    },
);

my $dir = $t->testdir();
my $origin = 'https://app.example.com';

$t->write_file('jwks.json', jwks(@key{qw/ good ec /}));
$t->write_file_expand('nginx.conf', configuration());
$t->run();

my @tls = (port => port(8443), ssl => { SSL_hostname => 'ws.example.com' },
    host => 'ws.example.com', headers => [ Origin => $origin ]);


# The door.

is(ws_response('/ws', @tls, headers => [ Origin => 'https://evil.example' ],
    protocols => [ 'ws-bus.v1.json' ])->status(), 403, 'another site');
is(ws_response('/ws', @tls)->status(), 400, 'raw mode');
is(request('GET', '/_keys', @tls)->status(), 404, 'keys are internal');
is(request('GET', '/pub/room:1', @tls)->status(), 404, 'so is the publisher');
is(request('GET', '/ws', @tls, host => 'other.example')->status(), 404,
    'another name');


# A page, as described.

my $c = json('/ws', @tls);
my $token = $key{good}->token(%claims);

is($c->ask('auth', token => $token)->{type}, 'auth_ok', 'a token');
is($c->ask('subscribe', channel => $_)->{type}, 'subscribed', $_)
    for qw/ user:u-4711 room:1 news.a.b /;
is($c->ask('subscribe', channel => $_)->{code}, 'forbidden', $_)
    for qw/ user:u-4712 room:1:2 news secret /;
is($c->ask('publish', channel => 'room:1', data => \'1')->{type}, 'published',
    'publish');
is($c->ask('publish', channel => $_, data => \'1')->{code}, 'forbidden',
    "publish to $_") for qw/ user:u-4711 news.a.b /;
is($c->ask('auth_refresh', token => $token)->{type}, 'auth_ok', 'refreshed');
is($c->ask('auth_refresh', token => $key{good}->token(%claims,
    sub => 'u-1'))->{code}, 'unauthorized', 'not by another one\'s');

my $pub = http_post('/pub/user:u-4711', '{"hello":1}');
is($pub->json()->{subscribers}, 1, 'a service of our own');


# Others.

for my $case (
    [ 'no token', '' ],
    [ 'another audience', $key{good}->token(%claims, aud => 'other') ],
    [ 'another issuer', $key{good}->token(%claims,
        iss => 'https://id.example.com') ],
    [ 'no issuer', $key{good}->token(%claims, iss => undef) ],
    [ 'expired', $key{good}->token(%claims, exp => in(-1)) ],
    [ 'another algorithm', $key{ec}->token(%claims) ],
    [ 'another key by the same name', $key{stolen}->token(%claims) ],
    [ 'no algorithm', 'eyJhbGciOiJub25lIn0.' . (split /\./, $token)[1] . '.' ],
) {
    my $d = json('/ws', @tls);

    $d->say('auth', id => 1, token => $case->[1]);
    is_closed($d, 4001, $case->[0]);
}

my $d = json('/ws', @tls);
$d->say('subscribe', id => 1, channel => 'news.a');
is_closed($d, 4001, 'before a token');


# The provider changes its keys, and is gone.

$t->write_file('jwks.json', jwks(@key{qw/ good later /}));

$d = json('/ws', @tls);
is($d->ask('auth', token => $key{later}->token(%claims))->{type}, 'auth_ok',
    'a new key');
$d->finish();

unlink("$dir/jwks.json");

$d = json('/ws', @tls);
is($d->ask('auth', token => $key{later}->token(%claims))->{type}, 'auth_ok',
    'the provider is gone');


# A channel that the token names, although it came later.

for my $sub ('u-1', 'u-2') {
    my $e = json('/me', @tls);

    $e->say('auth', token => $key{good}->token(%claims, sub => $sub));
    is(join(' ', map { $_->{channel} // $_->{type} }
        grep { defined } map { $e->next() } 1, 2),
        "auth_ok user:$sub", 'its own channel');
    $e->disconnect();
}


# A flood, of one person on several connections.

my @d = ($d, map { json('/ws', @tls) } 1, 2);

$d[$_]->ask('auth', token => $token) for 1, 2;

for my $n (1 .. 200) {
    $_->say('publish', channel => 'room:9', data => \'1') for @d;
}

is(scalar(grep { ($_->wait_close() // 0) == 1008 } @d) > 0, 1,
    'too much for one person');

$c->finish();


# What is known of it afterwards.

ok($t->find_in_file('audit.log', qr/ limit .*"u-4711"$/m, timeout => 10),
    'limit');
ok($t->find_in_file('audit.log', qr/$_/m, timeout => 10), "logged: $_") for
    ' refuse 403 "-" "origin not allowed" ', ' open 101 ',
    ' auth 101 .*"u-4711"$', ' refresh 101 .*"u-4711"$',
    ' refuse 101 "secret" "channel is not allowed" .*"u-4711"$',
    ' publish 101 "room:1" "-" 1 - "u-4711"$',
    ' publish 201 "user:u-4711" "-" 11 ',
    ' close 101 .* 4001 ', ' close 101 .* 1000 "u-4711"$';

my ($signature) = $token =~ /([^.]+)$/;

for my $file (qw/ audit.log error.log access.log /) {
    is(index(-e "$dir/$file" ? $t->read_file($file) : '', $signature), -1,
        "$file has no token");
}

$t->done_testing();


# The example, with ports, files and the provider of this test.

sub configuration {
    open(my $fh, '<', "$FindBin::Bin/../docs/security.md") or die "$!";
    my ($text) = join('', <$fh>) =~ /^```nginx\n(.*?)^```$/ms;

    my %provider = (
        '127.0.0.53 valid=60s' => '127.0.0.1:%%PORT_5353%%',
        '$provider id.example.com' => '$provider 127.0.0.1:%%PORT_8444%%',
        '/etc/ssl/certs/ca-certificates.crt' => "$dir/id.example.com.crt",
    );

    $text =~ s/\Q$_\E/$provider{$_}/ or die "no $_ in the example"
        for keys %provider;

    $text =~ s/^load_module .*\n//m;
    $text =~ s/^worker_processes.*\n/worker_processes 1;\n/m;
    $text =~ s/listen 443/listen 127.0.0.1:%%PORT_8443%%/g;
    $text =~ s/listen 127\.0\.0\.1:8080/listen 127.0.0.1:%%PORT_8080%%/;
    $text =~ s!/var/log/nginx/!$dir/!g;
    $text =~ s!/etc/nginx/ws\.example\.com!$dir/id.example.com!g;
    $text =~ s/rate=5r/rate=500r/;

    # the same client's own channel

    $text =~ s!(\n +location = )/ws \{(.*?\n +)ws_bus;(.*?\n        \}\n)!
        "$&$1/me {$2ws_bus user:\$ws_bus_subject;$3"!se;

    $text =~ s/^http \{\n/$&%%TEST_GLOBALS_HTTP%%
    access_log $dir\/access.log combined;
    server {
        listen 127.0.0.1:%%PORT_8444%% ssl;
        location \/.well-known\/ { alias $dir\/; }
    }
/m;

    return "%%TEST_GLOBALS%%\n$text";
}
