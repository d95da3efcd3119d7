#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A handshake without a token: until a good "auth" nothing is delivered and
# nothing published, and it is waited for no longer than ws_bus_auth_timeout.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame fragments TEXT BINARY /;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

my $key = Test::WsBus::Token->key('ES256', kid => 'a');
my $other = Test::WsBus::Token->key('ES256', kid => 'a');

my $good = $key->token(sub => 'alice', pub => 1,
    g => { subscribe => [ 'a', 'x.*' ], publish => [ 'a' ] });

my $first = qr/^the first message must be "auth"$/;

$t->write_file('keys.jwks', jwks($key));
$t->write_file_expand('nginx.conf', conf());

$t->run();

raw();
subprotocol();
before();
refused();
nobody();
grants();
presence();
resumed();
lean();
pieces();
large();
elsewhere();
limited();
together();
logged();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format auth '$uri $status [$ws_bus_auth] [$ws_bus_subject] '
                    '$ws_bus_close_code $ws_bus_messages_in';
    access_log %%TESTDIR%%/auth.log auth;

    ws_bus_zone bus 4m;
    ws_bus_limit_zone $ws_bus_subject zone=subjects:1m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        ws_bus_jwt bus;
        ws_bus_jwt_key_file keys.jwks;
        ws_bus_auth_timeout 30s;
        ws_bus_publish on;

        location = /a {
            ws_bus a;
        }

        location = /silent {
            ws_bus a;
            ws_bus_publish off;
        }

        location = /may {
            ws_bus a;
            ws_bus_publish $ws_bus_claim_pub;
        }

        location = /short {
            ws_bus a;
            ws_bus_auth_timeout 300ms;
        }

        location = /grants {
            ws_bus $arg_c;
            ws_bus_jwt_grants g;
        }

        location = /require {
            ws_bus a;
            ws_bus_jwt_require $ws_bus_claim_role error=403;
        }

        location = /lean-require {
            ws_bus a;
            ws_bus_lean on;
            ws_bus_jwt_require $ws_bus_claim_pub;
        }

        location = /members {
            ws_bus m;
            ws_bus_presence members;
        }

        location = /history {
            ws_bus h;
            ws_bus_history 10;
        }

        location = /lean {
            ws_bus h;
            ws_bus_history 10;
            ws_bus_lean on;
            ws_bus_publish $ws_bus_claim_pub;
        }

        location = /small {
            ws_bus a;
            ws_bus_message_max_size 100;
        }

        location = /deflate {
            ws_bus a;
            ws_bus_deflate on;
        }

        location = /limited {
            ws_bus a;
            ws_bus_limit rate=1r/m zone=subjects close;
        }

        location = /now {
            ws_bus a;
            ws_bus_auth_timeout off;
        }

        location ~ ^/pub/(?<chan>.+)$ {
            ws_bus_publisher $chan;
            ws_bus_jwt off;
            ws_bus_history 10;
        }

        location = /status {
            ws_bus_status;
            ws_bus_jwt off;
        }
    }
}

EOC
}


sub auth { return format_request(type => 'auth', token => $_[0] // $good) }


# An auth_ok is what comes next.

sub is_ok {
    my ($c, $name, $id) = @_;

    my $data = $c->recv() // 'nothing';
    my $with = defined $id ? quotemeta(",\"id\":$id") : '';

    like($data, qr/^\{"type":"auth_ok"$with,"expires_in":3[56]\d\d\}$/,
        $name);
}


sub state_of {
    my ($channel) = @_;

    my $r = http_get("/pub/$channel");

    return $r->status() == 404 ? 0 : $r->json()->{subscribers};
}


sub raw {
    my $c = ws('/a');

    is($c->response()->header('Sec-WebSocket-Protocol'), undef, 'raw mode');
    is(state_of('a'), 0, 'not subscribed');

    http_post('/pub/a', 'too early');
    $c->text(auth());
    is_ok($c, 'authenticated');
    is(state_of('a'), 1, 'subscribed');

    http_post('/pub/a', 'news');
    is_message($c, 'news', 'delivered');
    $c->text('mine');
    is_message($c, 'mine', 'published');

    # it is a message as any other now, without a token's names

    $c->text('{"type":"auth"}');
    is_message($c, '{"type":"auth"}', 'published as it is');
    is($c->finish(1000), 1000, 'and ends as any other');

    $c = ws('/a', data => frame(TEXT, auth()) . frame(TEXT, 'at once'));
    is_ok($c, 'right behind the handshake');
    is_message($c, 'at once', 'and what follows it');

    $c = ws('/silent');
    $c->text(auth());
    is_ok($c, 'a location where nobody publishes');
    $c->text('x');
    is_closed($c, 4003, 'who then publishes');

    my $b = ws('/may');
    $b->text(auth($key->token(sub => 'bob')));
    is_ok($b, 'ws_bus_publish looks at the token');
    $b->text('x');
    is_closed($b, 4003, 'which does not allow it');

    $b = ws('/may');
    $b->text(auth());
    is_ok($b, 'of another one');
    $b->text('y');
    is_message($b, 'y', 'which does');
}


sub subprotocol {
    my $c = json('/a');

    ok($c->is_silent(0.2), 'no greeting before the token');
    $c->say('auth', id => 7, token => $good);
    is_ok($c, 'authenticated', 7);
    like($c->recv(), qr/^\{"type":"subscribed","channel":"a",/, 'greeted');
    is($c->ask('publish', channel => 'a', data => \1)->{type}, 'published',
        'published');

    $c = json('/a');
    $c->text('{"token":"' . $good . '","id":"x","more":[1],"type":"auth"}');
    is_ok($c, 'in another order', '"x"');
}


# Anything else comes too early, whatever it is.

sub before {
    my $as = sub {
        my ($name, $send, %opt) = @_;

        my $c = ws('/a', %opt);
        my $other = ws('/now', headers =>
            [ Authorization => "Bearer $good" ]);

        $send->($c);
        is_closed($c, 4001, $name, reason => $first);
        ok($other->is_silent(0.1), "$name: nothing published");
    };

    $as->('text', sub { $_[0]->text('hello') });
    $as->('binary', sub { $_[0]->binary(auth()) });
    $as->('an empty message', sub { $_[0]->text('') });
    $as->('a refresh', sub { $_[0]->text(
        format_request(type => 'auth_refresh', token => $good)) });
    $as->('no token', sub { $_[0]->text('{"type":"auth"}') });
    $as->('a token that is no string', sub { $_[0]->text(
        '{"type":"auth","token":1}') });
    $as->('two tokens', sub { $_[0]->text(
        "{\"type\":\"auth\",\"token\":\"$good\",\"token\":\"$good\"}") });
    $as->('JSON that is cut', sub { $_[0]->text(substr(auth(), 0, -1)) });
    $as->('an array', sub { $_[0]->text('[' . auth() . ']') });

    my @json = (protocols => [ 'ws-bus.v1.json' ]);

    $as->('subscribe', sub { $_[0]->text(
        format_request(type => 'subscribe', channel => 'a')) }, @json);
    $as->('publish', sub { $_[0]->text(
        format_request(type => 'publish', channel => 'a', data => \1)) },
        @json);

    # control frames are answered

    my $c = ws('/a');
    $c->ping('x');
    is($c->read_pong(), 'x', 'a ping is answered');
    is($c->finish(1000), 1000, 'a Close is answered');
}


sub refused {
    my $expired = $key->token(exp => in(-5));
    my $bad = $other->token();

    for my $case ([ $bad, 'the token is not valid', 'a bad token' ],
                  [ $expired, 'the token has expired', 'an expired token' ],
                  [ '', 'the token is not valid', 'an empty token' ],
                  [ "\x01\r\n", 'the token is not valid', 'no token' ])
    {
        my ($token, $reason, $name) = @$case;

        for my $protocols ([], [ 'ws-bus.v1.json' ]) {
            my $c = ws('/a', protocols => $protocols);
            $c->text(auth($token));
            is_closed($c, 4001, "$name @$protocols", reason => qr/^$reason$/);
        }
    }

    is(ws_response('/a', headers => [ Authorization => "Bearer $bad" ])
        ->status(), 401, 'a bad token in the handshake');

    my $c = ws('/a', headers => [ Authorization => "Bearer $good" ]);
    $c->text('x');
    is_message($c, 'x', 'a good one in the handshake');

    $c = ws('/require');
    $c->text(auth());
    is_closed($c, 4003, 'a claim is missing',
        reason => qr/^the token does not allow this$/);
    $c = ws('/require');
    $c->text(auth($key->token(role => 'x')));
    is_ok($c, 'a claim is there');
}


sub nobody {
    my $c = ws('/short');
    is_closed($c, 4001, 'who says nothing',
        reason => qr/^not authenticated in time$/);

    $c = ws('/short');
    $c->ping('x') for 1 .. 3;
    is_closed($c, 4001, 'who only pings', reason => qr/in time$/);

    # a message that never ends

    $c = ws('/short');
    $c->write(substr(frame(TEXT, auth()), 0, 50));
    is_closed($c, 4001, 'half a token', reason => qr/in time$/);

    $c = ws('/short');
    $c->text(auth());
    is_ok($c, 'in time');
    ok($c->is_silent(0.6), 'then there is time');
}


sub grants {
    my $try = sub {
        my $c = ws("/grants?c=$_[0]");
        $c->text(auth($_[1]));
        return $c;
    };

    is_ok($try->('a'), 'granted');
    is_ok($try->('x.1'), 'granted by a pattern');
    is_closed($try->('b'), 4003, 'not granted');
    is_closed($try->('a', $key->token()), 4003, 'nothing granted');
    is_closed($try->('a', $key->token(g => 1)), 4001,
        'grants of another shape');

    my $c = $try->('x.1');
    is_ok($c, 'granted for reading');
    $c->text('x');
    is_closed($c, 4003, 'not for writing');
}


sub presence {
    my $a = json('/members');
    my $b = json('/members');

    $a->say('auth', token => $key->token(sub => 'anna'));
    is_ok($a, 'the first member');
    like($a->recv(), qr/^\{"type":"subscribed"/, 'is greeted');
    is($a->ask('presence', channel => 'm')->{members}, '["anna"]', 'alone');

    $b->say('auth', token => $key->token(sub => 'bert'));
    is_ok($b, 'the second member');
    like($a->recv(), qr/"joined","channel":"m","member":"bert"/, 'joins');
    $b->finish();
    like($a->recv(), qr/"left","channel":"m","member":"bert"/, 'leaves');
}


sub resumed {
    http_post('/pub/h', "m$_") for 1 .. 3;

    my $c = ws('/history?last=2');
    $c->text(auth());
    is_ok($c, 'with a replay');
    is_message($c, "m$_", "m$_ is replayed") for 2, 3;
    http_post('/pub/h', 'm4');
    is_message($c, 'm4', 'then live');
}


sub lean {
    my $c = ws('/lean?last=1');
    $c->text(auth());
    is_ok($c, 'lean');
    is_message($c, 'm4', 'lean: a replay');
    $c->text('mine');
    is_message($c, 'mine', 'lean: published');

    $c = ws('/lean?last=1', data => frame(TEXT, auth()));
    is_ok($c, 'lean: right behind the handshake');
    is_message($c, 'mine', 'lean: a replay');
    $c->finish();

    $c = ws('/lean');
    $c->abort();

    $c = ws('/lean-require');
    $c->text(auth());
    is_ok($c, 'lean: a claim is there');
    $c->text(format_request(type => 'auth_refresh', token => $good));
    is_ok($c, 'lean: it is still looked at');
}


sub pieces {
    my $frame = frame(TEXT, auth());

    for my $size (1, 7, 100) {
        my $c = ws('/a');
        $c->write_split($frame, $size);
        is_ok($c, "in pieces of $size bytes");
    }

    my $c = ws('/a');
    $c->write(join('', fragments(TEXT, auth(), 10)));
    is_ok($c, 'in fragments');

    $c = ws('/deflate', deflate => 1);
    $c->text(auth());
    is_ok($c, 'compressed');

    $c = ws('/deflate', deflate => 1);
    $c->text(format_request(type => 'auth', token => 'a' x 100_000));
    is_closed($c, 1009, 'compressed, of 100,000 bytes');
}


# Nobody is listened to for longer than a token may be.

sub large {
    my $c = ws('/small');
    $c->text(auth());
    is_ok($c, 'a token is larger than messages may be');
    $c->text('x' x 101);
    is_closed($c, 1009, 'then they may not');

    $c = ws('/a');
    $c->text(auth('a' x 16385));
    is_closed($c, 4001, 'a token that is too long');

    $c = ws('/a');
    $c->write(frame(TEXT, '', length => 20_000));
    is_closed($c, 1009, 'a message that is too long, by its header');

    $c = ws('/a');
    $c->write(frame(TEXT, 'x' x 5000, fin => 0));
    $c->write(frame(0, 'x' x 5000, fin => 0)) for 1 .. 3;
    is_closed($c, 1009, 'by its fragments');
}


sub elsewhere {
    is(request('GET', '/a', headers => [ Accept => 'text/event-stream' ])
        ->status(), 401, 'an event stream has no first message');
    is(request('GET', '/a?wait=0')->status(), 401, 'nor has a poll');
    is(ws_response('/now')->status(), 401, 'off');
}


# Whose messages they are is known when the token has come.

sub limited {
    my $say = sub {
        my $c = ws('/limited');

        $c->text(auth($key->token(sub => $_[0])));
        is_ok($c, "limited: $_[0]");
        $c->text('x');

        return $c;
    };

    is_message($say->('dora'), 'x', 'limited: the first message');
    is_closed($say->('dora'), 1008, 'limited: the second one');
    is_message($say->('emil'), 'x', 'limited: of another subject');
}


# Many of them at once, in all states, at a reload.

sub together {
    my @waiting = map { ws('/a') } 1 .. 20;
    my @half = map { ws('/a') } 1 .. 20;
    my @done = map { ws('/a') } 1 .. 20;

    $_->write(substr(frame(TEXT, auth()), 0, 30)) for @half;
    $_->text(auth()) for @done;
    $_->recv() for @done;

    is(state_of('a'), 20, 'those who are in');

    http_post('/pub/a', 'x');
    is(scalar(grep { $_->recv() eq 'x' } @done), 20, 'hear');
    ok($waiting[0]->is_silent(0.1), 'others do not');

    $waiting[0]->text(auth());
    is_ok($waiting[0], 'who waits may come in');

    $_->abort() for @half[0 .. 9], @waiting[1 .. 9], @done[0 .. 9];

    ok($t->reload(), 'reload');
}


sub logged {
    ok($t->find_in_file('auth.log', $_->[0], timeout => 5), $_->[1]) for
        [ qr!^/a 101 \[PASSED\] \[alice\] 1000 !m, 'PASSED' ],
        [ qr!^/a 101 \[REJECTED_TOKEN\] \[-\] 4001 !m, 'REJECTED_TOKEN' ],
        [ qr!^/a 101 \[EXPIRED\] \[-\] 4001 !m, 'EXPIRED' ],
        [ qr!^/require 101 \[REJECTED_CLAIM\] \[-\] 4003 !m,
          'REJECTED_CLAIM' ],
        [ qr!^/short 101 \[REJECTED_TOKEN\] \[-\] 4001 !m, 'too late' ];

    my $refused = http_get('/status')->json()->{zones}{bus}{refused};

    cmp_ok($refused->{token}, '>=', 8, 'refused tokens are counted');
    cmp_ok($refused->{claim}, '>=', 3, 'refused claims are counted');

    # of a token that no header had

    my $c = ws('/a');
    my $token = $key->token(sub => 'carol');

    $c->text(auth($token));
    is_ok($c, 'a secret');

    my ($signature) = (split(/\./, $token))[2];

    ok($t->read_file('error.log') !~ /\Q$signature\E/,
        'no token is in the log');
}
