#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What a token grants: channels to hear and channels to speak on, beside what
# the location allows; and what becomes of it when another token comes.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

my $key = Test::WsBus::Token->key('ES256', kid => 'a');

$t->write_file('keys.jwks', jwks($key));
$t->write_file_expand('nginx.conf', conf());

$t->run();

patterns();
subjects();
locations();
publishing();
raw();
lists();
refreshed();
raw_refreshed();
without();
fixed();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        ws_bus_jwt bus;
        ws_bus_jwt_key_file keys.jwks;
        ws_bus_jwt_grants g;
        ws_bus_publish on;
        ws_bus_presence on;
        ws_bus_history 10;

        location = /json {
            ws_bus;
        }

        location = /own {
            ws_bus own;
        }

        location = /listed {
            ws_bus;
            ws_bus_channels a.** b;
        }

        location = /none {
            ws_bus;
            ws_bus_channels none;
        }

        location = /silent {
            ws_bus;
            ws_bus_publish off;
        }

        location = /off {
            ws_bus;
            ws_bus_jwt_grants off;
            ws_bus_channels free;
        }

        location = /any {
            satisfy any;
            ws_bus own;
            ws_bus_channels free;
            allow all;
        }

        location ~ ^/pub/(?<chan>.+)$ {
            ws_bus_publisher $chan;
            ws_bus_jwt off;
        }
    }
}

EOC
}


sub token {
    my ($subscribe, $publish, %claims) = @_;

    return $key->token(sub => 'alice', g => { subscribe => $subscribe,
        publish => $publish // [] }, %claims);
}


sub with { return (headers => [ Authorization => "Bearer $_[0]" ]) }


sub code {
    my $m = shift->ask(@_);

    return $m->{type} eq 'error' ? $m->{code} : $m->{type};
}


sub may {
    my ($c, $channel, $name) = @_;

    is(code($c, 'subscribe', channel => $channel), 'subscribed',
        "$channel: $name");
}


sub may_not {
    my ($c, $channel, $name) = @_;

    is(code($c, 'subscribe', channel => $channel), 'forbidden',
        "$channel: $name");
}


sub patterns {
    my $c = json('/json', with(token([ 'exact', 'one.*', 'all/**', '*:x' ])));

    may($c, $_, 'granted') for qw! exact one.a one. all/a all/a/b.c :x a:x !;
    may_not($c, $_, 'not granted')
        for qw! exac exactly EXACT one one.a.b all a.b:x :y a:b:x !;

    $c = json('/json', with(token([])));
    may_not($c, 'a', 'an empty list');
    $c = json('/json', with($key->token(g => {})));
    may_not($c, 'a', 'no list');
    $c = json('/json', with($key->token()));
    may_not($c, 'a', 'no claim');
    $c = json('/json', with(token([ '**' ])));
    may($c, 'any.thing/at:all', 'everything');

    is(ws_response('/json', with($key->token(g => $_->[0])))->status(), 401,
        $_->[1]) for
        [ 1, 'a number' ], [ 'a', 'a string' ], [ [ 'a' ], 'a list' ],
        [ { subscribe => 'a' }, 'a string for a list' ],
        [ { subscribe => [ 1 ] }, 'a number for a pattern' ],
        [ { subscribe => [ '{' ] }, 'not a pattern' ],
        [ { subscribe => [ map { "c$_" } 1 .. 300 ] }, 'too many' ];
}


sub subjects {
    my $c = json('/json', with(token([ 'user.{sub}', 'org.{org}.*' ], [],
        org => 7)));

    may($c, 'user.alice', 'the subject');
    may_not($c, 'user.bob', 'another');
    may($c, 'org.7.x', 'a number of the token');
    may_not($c, 'org.8.x', 'another');

    for my $sub ('*', '**', 'a.b', '', 'a b', "a\n", '{sub}') {
        my $c = json('/json', with(token([ 'user.{sub}' ], [],
            sub => $sub)));

        may_not($c, 'user.a', 'a subject that is no name');
    }
}


sub locations {
    my $c = json('/listed', with(token([ 'a.x', 'b', 'c' ])));

    may($c, 'a.x', 'both allow it');
    may($c, 'b', 'both allow it');
    may_not($c, 'c', 'the location does not');
    may_not($c, 'a.y', 'the token does not');

    $c = json('/none', with(token([ '**' ])));
    may_not($c, 'a', 'the location has none');
}


sub publishing {
    my $publish = sub { code($_[0], 'publish', channel => $_[1],
        data => \1) };

    my $c = json('/json', with(token([ 'r', 'rw' ], [ 'w', 'rw' ])));
    my $r = json('/json', with(token([ '**' ])));

    may($r, $_, 'listens') for qw/ r w rw /;
    is($publish->($c, 'w'), 'published', 'granted, not subscribed');
    is($publish->($c, 'rw'), 'published', 'granted');
    is($publish->($c, 'r'), 'forbidden', 'not granted');
    may($c, 'r', 'granted');
    is($publish->($c, 'r'), 'forbidden', 'not granted, but subscribed');
    may_not($c, 'w', 'only to be written');
    is(join(' ', map { $_->{channel} } $r->next(), $r->next()), 'w rw',
        'nothing but what is granted arrives');

    $c = json('/listed', with(token([], [ '**' ])));
    is($publish->($c, 'a.b'), 'published', 'the location allows it');
    is($publish->($c, 'z'), 'forbidden', 'the location does not');

    $c = json('/silent', with(token([], [ '**' ])));
    is($publish->($c, 'a'), 'forbidden', 'ws_bus_publish off');

    $c = json('/own', with(token([ 'own' ], [])));
    $c->next();
    is($publish->($c, 'own'), 'forbidden', "the location's own");
    $c = json('/own', with(token([ 'own' ], [ 'own' ])));
    $c->next();
    is($publish->($c, 'own'), 'published', "the location's own");
}


sub raw {
    my $c = ws('/own', with(token([ 'own' ], [ 'own' ])));
    $c->text('x');
    is_message($c, 'x', 'raw: granted');

    my $other = ws('/own', with(token([ 'own' ])));
    $other->text('y');
    is_closed($other, 4003, 'raw: not granted',
        reason => qr/^publishing is not allowed here$/);
    $other = ws('/own', with(token([ 'own' ], [], exp => undef)));
    $other->binary('y');
    is_closed($other, 4003, 'raw: not granted, never to expire');
    ok($c->is_silent(0.1), 'raw: and not published');
    is(ws_response('/own', with(token([], [ 'own' ])))->status(), 403,
        'raw: only to be written');
}


sub lists {
    my $c = json('/json', with(token([ 'seen' ])));

    http_post("/pub/$_", 'x') for qw/ seen unseen /;

    is(code($c, 'history', channel => 'seen'), 'history', 'history');
    is(code($c, 'history', channel => 'unseen'), 'forbidden',
        'history, not granted');
    is(code($c, 'presence', channel => 'seen'), 'presence', 'presence');
    is(code($c, 'presence', channel => 'unseen'), 'forbidden',
        'presence, not granted');
}


sub refreshed {
    my $c = json('/json', with(token([ 'a', 'b' ], [ 'a' ])));

    may($c, 'a', 'granted');
    may($c, 'b', 'granted');
    may_not($c, 'c', 'not yet');

    is(code($c, 'auth_refresh', token => token([ 'a', 'b', 'c' ], [ 'c' ])),
        'auth_ok', 'more is granted');
    may($c, 'c', 'granted now');
    is(code($c, 'publish', channel => 'c', data => \1), 'published',
        'and to be written');
    is(code($c, 'publish', channel => 'a', data => \1), 'forbidden',
        'what was granted is not any more');
    is($c->next()->{type}, 'message', 'the message');

    is(code($c, 'auth_refresh', token => token([ 'b', 'c' ], [],
        sub => 'bob')), 'unauthorized', "another's token changes nothing");
    is(code($c, 'unsubscribe', channel => 'b'), 'unsubscribed', 'b is left');
    is(code($c, 'auth_refresh', token => token([ 'a', 'c' ])), 'auth_ok',
        'what is left is not missed');

    $c->say('auth_refresh', token => token([ 'a' ]));
    is_closed($c, 4003, 'a subscription is lost',
        reason => qr/^a channel is not granted any more$/);
}


sub raw_refreshed {
    my $c = ws('/own', with(token([ 'own' ])));
    my $refresh = sub { $c->text(format_request(type => 'auth_refresh',
        token => token(@_))) };

    $refresh->([ 'own' ], [ 'own' ]);
    like($c->recv(), qr/^\{"type":"auth_ok",/, 'raw: refreshed');
    $c->text('x');
    is_message($c, 'x', 'raw: may publish now');

    $refresh->([ 'own' ], []);
    like($c->recv(), qr/^\{"type":"auth_ok",/, 'raw: refreshed again');
    $c->text('x');
    is_closed($c, 4003, 'raw: may not publish any more');

    $c = ws('/own', with(token([ 'own' ])));
    $refresh->([ 'other' ]);
    is_closed($c, 4003, 'raw: the channel is lost',
        reason => qr/^a channel is not granted any more$/);

    # an event stream has its channel as long as its token

    is(request('GET', '/own?wait=0', with(token([ 'other' ])))->status(),
        403, 'poll: not granted');
}


sub without {
    my $c = json('/off', with(token([ 'a' ])));

    may($c, 'free', 'grants are off');
    may_not($c, 'a', 'grants are off');

    $c = json('/any');
    $c->next();
    may($c, 'free', 'another gate has let the client in');
    is(code($c, 'publish', channel => 'own', data => \1), 'published',
        'without a token');
    is($c->next()->{type}, 'message', 'the message');
    is(code($c, 'auth_refresh', token => token([ 'a' ])), 'not_available',
        'which cannot be brought later');
    $c = json('/any', with(token([ 'own' ])));
    $c->next();
    may_not($c, 'free', 'who has a token is held to it');
}


sub fixed {
    my $c = json('/own', with(token([ 'own', 'x' ])));

    is($c->next()->{channel}, 'own', 'greeted');
    may($c, 'x', 'granted beside');
    is(code($c, 'unsubscribe', channel => 'own'), 'unsubscribed', 'left');
    is(code($c, 'auth_refresh', token => token([ 'x' ])), 'auth_ok',
        'not missed');
    may_not($c, 'own', 'not to be had again');
}
