#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Revoked tokens: the connections that came with them end, on all workers, in
# their place among the messages, and they are refused until they expire.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client;
use Test::WsBus::Json;
use Test::WsBus::Token;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

$t->log_level('info');

my $key = Test::WsBus::Token->key('ES256', kid => 'a');

$t->write_file('keys.jwks', jwks($key));
$t->write_file_expand('nginx.conf', conf());

$t->run();

everywhere();
streams();
ids();
newer();
names();
expired();
refreshed();
ordered();
lapped();
history();
refused();
granted();
zones();
reloaded();
killed();
full();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 4;

events {
    worker_connections 2048;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    ws_bus_zone other 4m;
    ws_bus_zone small 128k;
    ws_bus_drain 1s;

    add_header X-Pid $pid always;

    ws_bus_jwt bus token=$arg_token;
    ws_bus_jwt_key_file keys.jwks;
    ws_bus_publish on;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location = /ws {
            ws_bus a;
        }

        location = /json {
            ws_bus;
            ws_bus_channels **;
        }

        location = /lean {
            ws_bus a;
            ws_bus_lean on;
        }

        location = /kept {
            ws_bus kept;
            ws_bus_history 10;
        }

        location = /other {
            ws_bus a zone=other;
        }

        location = /small {
            ws_bus a zone=small;
        }

        location ~ ^/pub/(?<chan>\w*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 10;
            ws_bus_jwt off;
        }

        location = /pub-unkept {
            ws_bus_publisher a;
            ws_bus_jwt off;
        }

        location = /pub-small {
            ws_bus_publisher a zone=small;
            ws_bus_jwt off;
        }

        location = /pub-jwt {
            ws_bus_publisher a;
        }

        location = /pub-grants {
            ws_bus_publisher a;
            ws_bus_jwt_grants g;
        }

        location = /status {
            ws_bus_status;
            ws_bus_jwt off;
        }
    }
}

EOC
}


sub token { return $key->token(iat => in(-10), @_) }


sub with { return (headers => [ Authorization => "Bearer $_[0]" ]) }


sub status_of {
    my ($path, $token) = @_;

    return ws_response($path, with($token))->status();
}


sub revoke {
    my ($args, $path) = @_;

    return request('DELETE', ($path // '/pub/a') . "?$args");
}


# Four workers, both protocols, with and without a request; who else is there
# stays.

sub everywhere {
    my $alice = token(sub => 'alice');
    my $bob = token(sub => 'bob');
    my @workers = wait_workers($t, 4);

    is(scalar(@workers), 4, 'workers');

    my @alice = map { $_->[1] } (
        ws_everywhere(\@workers, 2, '/ws', with($alice)),
        ws_everywhere(\@workers, 1, '/lean', with($alice)),
        ws_everywhere(\@workers, 1, '/json', with($alice),
            protocols => [ 'ws-bus.v1.json' ]),
    );

    my @bob = map { $_->[1] } ws_everywhere(\@workers, 1, '/ws', with($bob));

    my $r = revoke('sub=alice');

    is($r->status(), 204, 'revoked');
    is($r->body(), '', 'without a body');

    is_closed($_, 4010, 'a connection of hers', reason => 'revoked')
        for @alice;

    http_post('/pub/a', 'hello');
    is_message($_, 'hello', 'one of somebody else') for @bob;

    is(status_of($_, $alice), 401, "$_: her token is refused")
        for ('/ws') x 8, '/json', '/lean';
    is(status_of('/ws', $bob), 101, 'his is not');

    like(ws_response('/ws', with($alice))->header('WWW-Authenticate'),
        qr/error="invalid_token"/, 'what she is told');
    ok($t->find_in_file('error.log',
        qr/\[info\] .*token refused: it has been revoked/, timeout => 5),
        'what is logged');
    is($t->find_in_file('error.log', qr/ws bus[^,]*alice/), 0, 'but no subject');

    is(request('POST', '/pub-jwt', with($alice), body => 'x')->status(), 401,
        'at a publisher, too');

    $_->disconnect() for @bob;
}


sub streams {
    my $token = token(sub => 'streams');

    my @c = map { Test::WsBus::HTTP->new(port => port(8080)) } 1 .. 6;

    for my $i (0 .. 5) {
        my $accept = $i % 2 ? 'text/event-stream' : 'application/json';

        $c[$i]->write("GET /ws?wait=30&token=$token HTTP/1.1\r\n"
            . "Host: localhost\r\nAccept: $accept\r\n"
            . "Connection: close\r\n\r\n");
    }

    ok($t->wait_until(sub { subscribers() == 6 }), 'streams and polls');

    is(revoke('sub=streams')->status(), 204, 'revoked');

    my @got = map { $_->read_all(10) } @c;

    is(scalar(grep { /^HTTP\/1\.1 / } @got), 6, 'streams and polls end');
    is(subscribers(), 0, 'and nobody is left');

    is(http_get("/ws?token=$token", headers =>
        [ Accept => 'text/event-stream' ])->status(), 401, 'and are refused');
}


sub subscribers {
    return http_get('/pub/a')->json()->{subscribers} // 0;
}


# One token of several.

sub ids {
    my $one = token(sub => 'carol', jti => 'one');
    my $two = token(sub => 'carol', jti => 'two');

    my @c = map { ws('/ws', with($_)) } $one, $two;

    is(revoke('jti=one')->status(), 204, 'jti');

    is_closed($c[0], 4010, 'one is closed');
    http_post('/pub/a', 'hello');
    is_message($c[1], 'hello', 'two stays');

    is(status_of('/ws', $one), 401, 'one is refused');
    is(status_of('/ws', $two), 101, 'two is not');
    is(status_of('/ws', token(sub => 'one')), 101, 'nor is a subject "one"');
    is(status_of('/ws', $key->token(jti => 'one', iat => in(0))), 401,
        'a newer token with that id is');

    $c[1]->disconnect();
}


# What was issued later is good.

sub newer {
    my $old = $key->token(sub => 'dave', iat => in(-1));
    my $none = $key->token(sub => 'dave');

    is(status_of('/ws', $_), 101, 'before') for $old, $none;

    my $at = time();

    is(revoke('sub=dave')->status(), 204, 'revoked');
    is(status_of('/ws', $old), 401, 'issued before');
    is(status_of('/ws', $none), 401, 'issued nobody knows when');
    is(status_of('/ws', $key->token(sub => 'dave', iat => $at)), 401,
        'issued in the same second');

    # nginx's clock is up to date by then

    my $new;

    ok($t->wait_until(sub {
        $new = $key->token(sub => 'dave', iat => time());
        status_of('/ws', $new) == 101;
    }, 10), 'issued after');

    my $c = ws('/ws', with($new));

    http_post('/pub/a', 'hello');
    is_message($c, 'hello', 'a connection with it');

    is(status_of('/ws', $old), 401, 'the old one stays refused');

    is(revoke('sub=dave')->status(), 204, 'and again');
    is_closed($c, 4010, 'the new one, too');
}


# Any name, escaped as in any URI.

sub names {
    my $long = 'n' x 1024;

    for my $name ('a b', "\x{e9}\x{4e2d}", 'a&b=c', 'a+b', '%41', $long,
        'x') {

        my $c = ws('/ws', with(token(sub => $name)));
        my $bytes = $name;

        utf8::encode($bytes);
        my $arg = $bytes =~ s/([^a-z])/sprintf('%%%02X', ord $1)/gier;

        is(revoke("sub=$arg")->status(), 204, 'a name');
        is_closed($c, 4010, 'and its connection');
    }

    my $c = ws('/ws', with(token(sub => 'eve')));

    revoke('sub=ev');
    revoke('sub=evel');
    revoke('sub=EVE');
    revoke('jti=eve');

    http_post('/pub/a', 'hello');
    is_message($c, 'hello', 'other names do not matter');
    $c->disconnect();
}


sub expired {
    my $token = token(sub => 'frank');
    my $seen = token(sub => 'fritz', jti => 'fritz');
    my $c = ws('/ws', with(token(sub => 'fred')));

    is(revoke('sub=frank&for=1s')->status(), 204, 'for a second');
    is(revoke('jti=fritz&for=1s')->status(), 204, 'so is another one');
    is(revoke('sub=fred&for=1s')->status(), 204, 'and one that is in use');
    is(status_of('/ws', $seen), 401, 'refused');
    is_closed($c, 4010, 'closed');
    select(undef, undef, undef, 2.1);
    is(status_of('/ws', $token), 101, 'not any more');

    is(status_of('/ws', $seen), 401,
        'one that was refused is, until it expires');
    is(status_of('/ws', token(sub => 'fred', iat => time() - 60)), 401,
        'so is one that was in use');

    is(revoke('sub=frank&for=1h')->status(), 204, 'for an hour');
    is(revoke('sub=frank&for=1s')->status(), 204, 'and a second');
    select(undef, undef, undef, 2.1);
    is(status_of('/ws', $token), 401, 'the longer time counts');
}


# A revoked token does not replace another one.

sub refreshed {
    my $c = ws('/ws', with(token(sub => 'grace', jti => 'g1')));
    my $other = token(sub => 'grace', jti => 'g2');

    is(revoke('jti=g2')->status(), 204, 'a token that nobody uses yet');

    $c->text("{\"type\":\"auth_refresh\",\"token\":\"$other\"}");
    is_closed($c, 4001, 'is not taken in its place');

    # a connection is known by its newest token

    $c = ws('/ws', with(token(sub => 'grace', jti => 'g3')));
    my $next = token(sub => 'grace', jti => 'g4');

    $c->text("{\"type\":\"auth_refresh\",\"token\":\"$next\"}");
    like($c->recv(), qr/auth_ok/, 'another token');

    revoke('jti=g3');
    http_post('/pub/a', 'hello');
    is_message($c, 'hello', 'the old one does not matter');

    revoke('jti=g4');
    is_closed($c, 4010, 'the new one does');
}


# What was published before is delivered, what comes after is not.

sub ordered {
    my $token = token(sub => 'heidi');
    my @c = map { $_->[1] }
        ws_everywhere([ worker_pids() ], 3, '/ws', with($token));

    my $p = Test::WsBus::HTTP->new(port => port(8080));

    $p->request('POST', '/pub/a', body => "m$_") for 1 .. 200;
    $p->request('DELETE', '/pub/a?sub=heidi');
    $p->request('POST', '/pub/a', body => "n$_") for 1 .. 20;

    my $expected = join(' ', map { "m$_" } 1 .. 200);

    for my $c (@c) {
        my @got;

        while (defined(my $m = $c->recv())) { push @got, $m }

        is("@got", $expected, 'all that came before, and no more');
        is($c->close_code(), 4010, 'then the end');
    }
}


# A worker that the log has lapped has not read of it.

sub lapped {
    my ($victim, $other) = worker_pids();
    my $token = token(sub => 'niaj');

    my $c = ws_at($victim, '/ws', with($token));
    my $d = ws_at($victim, '/ws', with(token(sub => 'olivia')));
    my $p = http_at($other);

    $t->signal('STOP', $victim);

    is($p->request('DELETE', '/pub/a?sub=niaj')->status(), 204, 'revoked');

    my $status = join(' ', map {
        $p->request('POST', '/pub-unkept', body => 'x' x 60000)->status()
    } 1 .. 60);

    is($status, join(' ', ('201') x 60), 'the log goes round');

    $t->signal('CONT', $victim);

    is_closed($c, 4010, 'lapped: closed all the same');
    ok($t->find_in_file('error.log', qr/ $victim#.* was lapped by the log/,
        timeout => 10), 'it was lapped');

    $p->request('POST', '/pub-unkept', body => 'last');

    my $last = '';

    while (defined(my $m = $d->recv())) { last if ($last = $m) eq 'last' }

    is($last, 'last', 'another connection stays');
    $d->disconnect();
}


# The channel has nothing to do with it.

sub history {
    http_post('/pub/kept', $_) for 1 .. 3;

    my $before = http_get('/pub/kept')->body();

    is(revoke('sub=nobody', '/pub/kept')->status(), 204, 'somebody unknown');
    is(revoke('sub=nobody', '/pub/')->status(), 204, 'at no channel at all');
    is(http_get('/pub/kept')->body(), $before, 'the channel is as before');

    is(request('DELETE', '/pub/kept')->status(), 204, 'DELETE of a channel');
    is(http_get('/pub/kept')->json()->{messages} // 0, 0, 'is what it was');
}


sub refused {
    my %says = (
        'sub=' => 'invalid "sub" or "jti"',
        'jti=' => 'invalid "sub" or "jti"',
        'sub=' . 'n' x 1025 => 'invalid "sub" or "jti"',
        'sub=a&jti=b' => '"sub" and "jti" exclude each other',
        'sub=x&for=' => 'invalid "for"',
        'sub=x&for=0' => 'invalid "for"',
        'sub=x&for=x' => 'invalid "for"',
        'sub=x&for=-1' => 'invalid "for"',
        'sub=x&for=20y' => 'invalid "for"',
        'sub=x&for=99999999999999999999' => 'invalid "for"',
    );

    http_post('/pub/a', 'x');

    for my $args (sort keys %says) {
        my $r = revoke($args);

        is($r->status(), 400, substr($args, 0, 30));
        like($r->body(), qr/^\Q$says{$args}\E/, 'and why');
    }

    is(http_get('/pub/a')->status(), 200, 'no channel was deleted');
}


# Grants of channels are none to end connections.

sub granted {
    my $g = token(sub => 'ivan', g => { publish => [ '**' ] });

    is(request('DELETE', '/pub-grants?sub=judy', with($g))->status(), 403,
        'grants do not allow it');
    is(request('DELETE', '/pub-jwt?sub=judy')->status(), 401, 'no token');
    is(request('DELETE', '/pub-jwt?sub=judy', with($g))->status(), 204,
        'a token where grants are off');
}


# Each zone has its own.

sub zones {
    my $token = token(sub => 'kim');
    my $c = ws('/other', with($token));

    is(revoke('sub=kim')->status(), 204, 'of one zone');
    is(status_of('/ws', $token), 401, 'there it is refused');
    is(status_of('/other', $token), 101, 'not in another one');
    is($c->is_silent(0.1), 1, 'and no connection ends');
    $c->disconnect();
}


sub reloaded {
    my $token = token(sub => 'leo');
    my $c = ws('/ws', with($token));

    ok($t->reload(), 'reload');
    is(revoke('sub=leo')->status(), 204, 'revoked after it');

    my $code = eval { $c->recv(); $c->close_code() };
    like($code // 'none', qr/^(?:4010|1001)$/, 'an old worker is told');

    is(status_of('/ws', $token), 401, 'refused');
    ok($t->reload(), 'reload');
    is(status_of('/ws', $token), 401, 'and after another one');

    ok($t->wait_until(sub { $t->workers() == 4 }, 20), 'old workers are gone');
}


# A killed worker takes nothing with it.

sub killed {
    $t->expect_log(qr/\[alert\] .*exited on signal 9/);

    my @old = worker_pids();

    kill('KILL', @old);

    ok($t->wait_until(sub {
        my %old = map { $_ => 1 } @old;
        4 == grep { !$old{$_} } $t->workers();
    }, 10), 'all workers were killed');

    ok($t->wait_until(sub { eval { http_get('/status')->status() == 200 } },
        10), 'there are others');

    is(status_of('/ws', token(sub => $_, iat => in(-3600))), 401,
       "$_ is still refused")
        for qw/ alice leo /;

    my @c = map { $_->[1] } ws_everywhere([ wait_workers($t, 4, @old) ], 1,
        '/ws', with(token(sub => 'mia')));

    is(revoke('sub=mia')->status(), 204, 'revoked');
    is_closed($_, 4010, 'by all of them') for @c;
}


# The table is bounded: nothing is forgotten for something new.

sub full {
    my @status = map { revoke("sub=full$_&for=1h", '/pub-small')->status() }
        1 .. 40;

    is(join(' ', @status), join(' ', ('204') x 32, ('503') x 8),
        'a small zone remembers 32');
    is(revoke('sub=full3', '/pub-small')->status(), 204,
        'what it knows can be said again');
    is(status_of('/small', token(sub => "full$_")), 401, "number $_")
        for 1, 32;
    is(status_of('/small', token(sub => 'full33')), 101,
        'what was answered with 503 was not revoked');
}
