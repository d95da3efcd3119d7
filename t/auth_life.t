#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The life of a token on a connection: the warning, another token in time, the
# end; whatever the client speaks, and whatever happens to the worker.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame fragments TEXT /;
use Test::WsBus::Json;
use Test::WsBus::Token;
use WsBusTestWorkers;

my $t = Test::WsBus->new()
    ->has(qw/ http_ssl IO::Socket::SSL Crypt::JWT /);

$t->write_cert('localhost');

my $key = Test::WsBus::Token->key('ES256', kid => 'a');
my $other = Test::WsBus::Token->key('ES256', kid => 'a');

my $required = qr/^\{"type":"auth_required","expires_in":\d+\}$/;
my $ok = qr/^\{"type":"auth_ok","expires_in":\d+\}$/;

# what a connection says at the end of its token, which nobody waits for
my @later;

$t->write_file('keys.jwks', jwks($key));
$t->write_file_expand('nginx.conf', conf());

$t->run();

warned();
replaced();
json_replaced();
bad_ones();
published();
unpublished();
without_end();
leeway();
streams();
tls();
lean();
pieces();
many();
often();
ended();
reloaded();
killed();
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
                    '[$ws_bus_claim_n] $ws_bus_close_code';
    access_log %%TESTDIR%%/auth.log auth;

    ws_bus_zone bus 4m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        ws_bus_jwt bus;
        ws_bus_jwt_key_file keys.jwks;
        ws_bus_publish on;
        ws_bus_drain 1h;
        ws_bus_ping off;

        location = /a {
            ws_bus a;
        }

        # what others publish is not heard here

        location = /other {
            ws_bus other;
        }

        location = /late {
            ws_bus late;
            ws_bus_jwt_refresh 3s;
            ws_bus_drain 1d;
        }

        location = /no-warning {
            ws_bus no-warning;
            ws_bus_jwt_refresh 0;
        }

        location = /leeway {
            ws_bus other;
            ws_bus_jwt_leeway 5s;
        }

        location = /silent {
            ws_bus a;
            ws_bus_publish off;
        }

        location = /small {
            ws_bus a;
            ws_bus_message_max_size 100;
        }

        location = /require {
            ws_bus a;
            ws_bus_jwt_require $ws_bus_claim_n error=403;
        }

        location = /require-all {
            ws_bus required;
            ws_bus_jwt_require $ws_bus_claim_long$ws_bus_claim_n$uri error=403;
        }

        location = /deflate {
            ws_bus a;
            ws_bus_deflate on;
        }

        location = /lean {
            ws_bus lean;
            ws_bus_lean on;
        }

        location = /issuer {
            ws_bus a;
            ws_bus_jwt_issuer me;
        }

        location ~ ^/pub/(?<chan>.+)$ {
            ws_bus_publisher $chan;
            ws_bus_jwt off;
        }
    }
}

EOC
}


# A token that lives for so many seconds.

sub token {
    my ($seconds, %claims) = @_;

    return $key->token(sub => 'alice', exp => in($seconds), %claims);
}


# Tests that are made when so many seconds are over.

sub later {
    my ($seconds, $sub) = @_;

    push @later, [ time() + $seconds, $sub ];
}


sub ended {
    for my $test (sort { $a->[0] <=> $b->[0] } @later) {
        my $left = $test->[0] - time();

        sleep($left) if $left > 0;
        $test->[1]->();
    }
}


sub with { return (headers => [ Authorization => "Bearer $_[0]" ]) }


sub refresh { return format_request(type => 'auth_refresh', token => $_[0]) }


sub is_like {
    my ($c, $like, $name) = @_;

    like($c->recv() // 'nothing', $like, $name);
}


sub warned {
    for my $case ([ '/late', 5, 'warned' ],
                  [ '/a', 3, 'warned when half of a short life is over' ])
    {
        my ($path, $seconds, $name) = @$case;
        my $c = ws($path, with(token($seconds)));

        later($seconds, sub {
            is_like($c, $required, $name);
            is_closed($c, 4001, "$name: closed", reason => qr/^token expired$/);
        });
    }

    my $c = ws('/no-warning', with(token(3)));

    later(3, sub {
        is($c->recv(), undef, 'no warning');
        is($c->close_code(), 4001, 'but closed');
    });

    my $d = ws('/a', with(token(3600)));
    ok($d->is_silent(0.2), 'a long life needs none');
}


# Several of the claims are the newer token's.

sub replaced {
    my $c = ws('/late', with(token(6, n => 1)));
    my $d = ws('/late', with(token(6)));

    is_like($c, $required, 'warned');
    $c->text(refresh(token(3600, n => 2)));
    like($c->recv(), qr/^\{"type":"auth_ok","expires_in":3[56]\d\d\}$/,
        'refreshed');

    later(7, sub {
        ok($c->is_silent(0.2), 'and not closed any more');
        $c->text('x');
        is_message($c, 'x', 'still there');
        is($c->finish(1000), 1000, 'until it goes');
    });

    is_like($d, $required, 'warned');
    $d->text(refresh(token(8)));
    is_like($d, $ok, 'refreshed for a short time');
    is_like($d, $required, 'warned again');
    $d->text(refresh(token(4)));
    is_like($d, $ok, 'refreshed again');

    later(4, sub {
        is_like($d, $required, 'warned again');
        is_closed($d, 4001, 'and closed', reason => qr/^token expired$/);
    });

    my $e = ws('/other', with(token(3600)));
    $e->text(refresh(token(3600)));
    is_like($e, $ok, 'refreshed without a warning');
    $e->text(refresh(token(3600, exp => undef)));
    is($e->recv(), '{"type":"auth_ok"}', 'for ever');
}


sub json_replaced {
    my $c = json('/other', with(token(6)));
    my $d = json('/other', with(token(3)));

    is($c->next()->{type}, 'subscribed', 'json: greeted');
    is($c->next()->{type}, 'auth_required', 'json: warned');

    $c->say('auth_refresh', id => 9, token => token(3600));
    like($c->recv(), qr/^\{"type":"auth_ok","id":9,"expires_in":3[56]\d\d\}$/,
        'json: refreshed');
    is($c->ask('auth', token => token(3600))->{type}, 'auth_ok',
        'json: "auth" is the same');

    later(7, sub {
        ok($c->is_silent(0.2), 'json: and not closed any more');
    });

    later(3, sub {
        $d->next() for 1 .. 2;
        is_closed($d, 4001, 'json: closed', reason => qr/^token expired$/);
    });
}


sub bad_ones {
    my %of = (
        'of another' => [ token(3600, sub => 'bob'),
            'the token is not valid' ],
        'of nobody' => [ token(3600, sub => undef),
            'the token is not valid' ],
        'signed by another' => [ $other->token(sub => 'alice'),
            'the token is not valid' ],
        'expired' => [ token(-5), 'the token has expired' ],
        'nonsense' => [ 'x', 'the token is not valid' ],
        'empty' => [ '', 'the token is not valid' ],
    );

    for my $name (sort keys %of) {
        my ($token, $reason) = @{ $of{$name} };

        my $c = ws('/a', with(token(3600)));
        $c->text(refresh($token));
        is_closed($c, 4001, $name, reason => qr/^$reason$/);

        $c = json('/a', with(token(3600)));
        $c->next();
        my $m = $c->ask('auth_refresh', token => $token);
        is("$m->{code} $m->{reason}", "unauthorized $reason", "json: $name");
        is($c->ask('auth_refresh', token => token(60))->{type}, 'auth_ok',
            "json: $name: the old one is still there");
    }

    my $c = json('/issuer', with(token(3600, iss => 'me')));
    $c->next();
    is($c->ask('auth_refresh', token => token(3600))->{code}, 'unauthorized',
        'another issuer');

    $c = json('/require', with(token(3600, n => 1)));
    $c->next();
    is($c->ask('auth_refresh', token => token(3600, n => 0))->{code},
        'forbidden', 'a claim is missing');
    is($c->ask('auth_refresh', token => token(3600, n => 2))->{type},
        'auth_ok', 'a claim is there');

    $c = ws('/require', with(token(3600, n => 1)));
    $c->text(refresh(token(3600)));
    is_closed($c, 4003, 'raw: a claim is missing');

    $c = ws('/a', with(token(3600)));
    $c->text('{"type":"auth_refresh"}');
    is_closed($c, 4001, 'no token', reason => qr/^the token is not valid$/);

    # a refused one does not prolong anything

    my $d = json('/no-warning', with(token(4)));
    $d->next();
    is($d->ask('auth_refresh', token => token(-5))->{code}, 'unauthorized',
        'refused');

    later(4, sub {
        is_closed($d, 4001, 'and closed', reason => qr/^token expired$/);
    });
}


# What only looks like a token is published, byte by byte.

sub published {
    my $c = ws('/a', with(token(3600)));

    for my $text ('{"type":"auth"}', '"auth_refresh"', '["auth_refresh"]',
        '{"type":["auth_refresh"]}', '{"kind":"auth_refresh","token":"x"}',
        '{"type":"subscribe","channel":"\u0061","t":"auth_refresh"}',
        '{"type":"auth_refresh"', '{"type":"auth_refresh"}x',
        '{"type":"auth_refreshx"}', ' {"a":"\u00e9 auth_refresh"} ', '{}',
        '{"x":{"type":"auth_refresh","token":"y"}}', '')
    {
        $c->text($text);
        is_message($c, $text, "published: $text");
    }

    my $token = token(3600);

    $c->binary(refresh($token));
    is_message($c, refresh($token), 'binary', type => 'binary');

    $c->text('{"type":"auth_refresh","token":"x"}' . ' ' x 20_000);
    is_message($c, '{"type":"auth_refresh","token":"x"}' . ' ' x 20_000,
        'too large for a token');

    $c->text("  " . refresh(token(3600)) . "\n");
    is_like($c, $ok, 'white space around');
    $c->text('{"token":"' . token(3600) . '","type":"auth\u005frefresh",'
        . '"x":"auth_refresh"}');
    is_like($c, $ok, 'members in another order');
}


# Where nobody publishes tokens still come.

sub unpublished {
    my $c = ws('/silent', with(token(3600)));
    $c->text(refresh(token(3600)));
    is_like($c, $ok, 'a token');
    $c->text('x');
    is_closed($c, 4003, 'text',
        reason => qr/^publishing is not allowed here$/);

    $c = ws('/silent', with(token(3600)));
    $c->binary('x');
    is_closed($c, 4003, 'binary');

    $c = ws('/silent', with(token(3600)));
    $c->write(frame(TEXT, '', length => 20_000));
    is_closed($c, 1009, 'larger than a token');

    $c = ws('/silent', with(token(3600, exp => undef)));
    $c->write(substr(frame(TEXT, 'xyz'), 0, 7));
    is_closed($c, 4003, 'no token is to come: closed by the header');

    $c = ws('/small', with(token(3600)));
    $c->text(refresh(token(3600)));
    is_closed($c, 1009, 'ws_bus_message_max_size is for tokens, too');
}


sub without_end {
    my $c = ws('/a', with($key->token(sub => 'alice', exp => undef)));

    $c->text(refresh(token(60)));
    like($c->recv(), qr/^\{"type":"auth_refresh",/,
        'there is nothing to refresh: published');

    my $d = json('/other', with($key->token(sub => 'alice', exp => undef)));
    $d->next();
    is($d->ask('auth_refresh', token => token(3))->{type}, 'auth_ok',
        'json: refreshed all the same');

    later(3, sub {
        is($d->next()->{type}, 'auth_required', 'json: now it has an end');
        is_closed($d, 4001, 'json: and is closed');
    });
}


sub leeway {
    my $c = ws('/leeway', with(token(3)));
    my $d = ws('/leeway', with(token(3)));

    is_like($c, $required, 'leeway: warned');
    ok($c->is_silent(3), 'leeway: not closed at its end');
    $c->text(refresh(token(0)));
    is_like($c, $ok, 'leeway: refreshed by one that is just over');

    later(10, sub {
        is_closed($c, 4001, 'leeway: closed', reason => qr/^token expired$/);
        is_like($d, $required, 'leeway: warned');
        is_closed($d, 4001, 'leeway: over', reason => qr/^token expired$/);
    });
}


sub streams {
    my $answer = http(join("\r\n", 'GET /other HTTP/1.1', 'Host: localhost',
        'Accept: text/event-stream', 'Authorization: Bearer ' . token(3),
        '', ''));

    like($answer, qr/^HTTP\/1.1 200 .*\r\n0\r\n\r\n$/s,
        'an event stream ends');
    unlike($answer, qr/auth_required/, 'without a warning');

    my $r = request('GET', '/other?wait=30', with(token(3)), timeout => 20);

    is($r->status(), 204, 'a poll is answered');
}


sub tls {
    my $c = ws('/other', with(token(6)), port => port(8443), ssl => 1);

    is_like($c, $required, 'TLS: warned');
    $c->text(refresh(token(3600)));
    is_like($c, $ok, 'TLS: refreshed');
    $c->text(refresh(token(4)));
    is_like($c, $ok, 'TLS: for a short time');

    later(4, sub {
        is_like($c, $required, 'TLS: warned again');
        is_closed($c, 4001, 'TLS: closed', reason => qr/^token expired$/);
    });
}


sub lean {
    my $c = ws('/lean', with(token(6)));
    my $d = ws('/lean', with(token(3)));

    is_like($c, $required, 'lean: warned');
    $c->text(refresh(token(3600)));
    is_like($c, $ok, 'lean: refreshed');
    $c->text('x');
    is_message($c, 'x', 'lean: still there');
    $c->text(refresh(token(3600, sub => 'bob')));
    is_closed($c, 4001, 'lean: another subject');

    later(3, sub {
        is_like($d, $required, 'lean: warned');
        is_closed($d, 4001, 'lean: closed', reason => qr/^token expired$/);
    });
}


sub pieces {
    my $c = ws('/a', with(token(3600)));

    $c->write_split(frame(TEXT, refresh(token(3600))), 50);
    is_like($c, $ok, 'in pieces');
    $c->write(join('', fragments(TEXT, refresh(token(3600)), 30)));
    is_like($c, $ok, 'in fragments');
    $c->write(frame(TEXT, refresh(token(3600))) x 3);
    is_like($c, $ok, 'three at once') for 1 .. 3;

    $c = ws('/deflate', with(token(3600)), deflate => 1);
    $c->text(refresh(token(3600)));
    is_like($c, $ok, 'compressed');
}


# All in one moment, in all states.

sub many {
    my $token = token(6);
    my @c = map { ws('/no-warning', with($token)) } 1 .. 50;

    $_->text(refresh(token(3600))) for @c[0 .. 9];
    is_like($_, $ok, 'refreshed') for @c[0 .. 9];
    $_->abort() for @c[10 .. 19];

    my %code;

    for my $c (@c[20 .. 49]) {
        $c->wait_close();
        $code{$c->close_code() // 'none'}++;
    }

    is_deeply(\%code, { 4001 => 30 }, 'closed together');

    http_post('/pub/no-warning', 'x');
    is_message($_, 'x', 'others are left alone') for @c[0 .. 1];
}


# Again and again on one connection: each time the requirements are looked at.

sub often {
    my $token = token(3600, n => 1, long => 'x' x 3000);
    my $c = json('/require-all', with($token));
    my ($pid) = $t->workers();
    my ($before, $n) = (0, 0);

    $c->next();

    for (1 .. 2500) {
        $c->say('auth_refresh', token => $token);
        $n += $c->next()->{type} eq 'auth_ok';
        $before = rss($pid) if $_ == 500;
    }

    is($n, 2500, 'refreshed again and again');

    SKIP: {
        skip 'memory of a sanitizer', 1 if $ENV{WS_BUS_TEST_PRELOAD};

        cmp_ok(rss($pid) - $before, '<', 2_000_000, 'in the same memory');
    }

    $c->say('auth_refresh', id => 1, token => token(3600, n => 1));
    is($c->next()->{type}, 'auth_ok', 'a smaller one');

    $c->finish();
}


# The old worker keeps its configuration and its tokens.

sub reloaded {
    my $c = ws('/late', with(token(6)));
    my $d = ws('/late', with(token(6)));

    ok($t->reload(), 'reload');

    is_like($c, $required, 'warned by the old worker');
    $c->text(refresh(token(3600)));
    is_like($c, $ok, 'refreshed');

    my $code = $d->wait_close() // 0;

    ok($code == 4001 || $code == 1001, 'expired, or drained');
    $c->finish();
}


sub killed {
    my $c = ws('/a', with(token(60)));

    kill('KILL', $t->workers());
    $t->expect_log(qr/exited on signal 9/);
    is($c->recv(), undef, 'a killed worker');

    my $again;

    for (1 .. 100) {
        $again = eval { ws('/a', with(token(3600))) } and last;
        select(undef, undef, undef, 0.1);
    }

    $again->text(refresh(token(3600)));
    is_like($again, $ok, 'the next one knows the keys');
}


sub logged {
    ok($t->find_in_file('auth.log', $_->[0], timeout => 5), $_->[1]) for
        [ qr!^/late 101 \[PASSED\] \[alice\] \[2\] 1000$!m,
          'claims of the newer token' ],
        [ qr!^/late 101 \[EXPIRED\] \[alice\] \[-\] 4001$!m, 'EXPIRED' ],
        [ qr!^/other 200 \[EXPIRED\] \[alice\]!m, 'EXPIRED: event stream' ],
        [ qr!^/a 101 \[REJECTED_TOKEN\] \[alice\] \[-\] 4001$!m,
          'REJECTED_TOKEN' ],
        [ qr!^/require 101 \[REJECTED_CLAIM\] \[alice\] \[1\] 4003$!m,
          'REJECTED_CLAIM' ],
        [ qr!^/lean 101 \[PASSED\] \[alice\]!m, 'lean: at the handshake' ];
}
