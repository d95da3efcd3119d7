#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The first message brings the token, and the channel has yet to be asked for:
# what the client has sent behind the token waits for it.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT CLOSE PING /;
use Test::WsBus::Fleet;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $f = Test::WsBus::Fleet->new(hosts => 1, workers => 1, debug => 1,
                                server => <<'EOC');

        location ~ ^/first/(.*)$ {
            ws_bus $1;
            ws_bus_jwt bus;
            ws_bus_jwt_key_file keys.jwks;
            ws_bus_auth_timeout 30s;
            ws_bus_history 1000;
        }

        location ~ ^/delayed/(.*)$ {
            ws_bus $1;
            ws_bus_jwt bus;
            ws_bus_jwt_key_file keys.jwks;
            ws_bus_auth_timeout 30s;
            ws_bus_history 1000;
            ws_bus_limit rate=100r/s delay;
        }
EOC

my $t = $f->host(0)->has(qw/ Crypt::JWT /);

my $key = Test::WsBus::Token->key('ES256', kid => 'a');
my $auth = format_request(type => 'auth', token => $key->token(sub => 'a'));

$t->write_file('keys.jwks', Test::WsBus::Token::jwks($key));
$f->start();

for my $path (qw/ first delayed /) {

    # each of the channels is new to the host

    subprotocol($path);
    split_up($path);
    many($path);
    raw($path);
    ended($path);
}

never();

$f->done_testing();


sub first {
    my (@messages) = @_;

    return join('', map { ref $_ ? $$_ : frame(TEXT, $_) } $auth, @messages);
}


sub subprotocol {
    my ($path) = @_;

    my $c = json("/$path/json-$path", data => first(
        format_request(type => 'publish', id => 1, channel => "json-$path",
                       data => \'"hello"'),
        'no request'));

    is($c->next()->{type}, 'auth_ok', "$path: the token");
    is($c->next()->{type}, 'subscribed', 'the greeting');

    my %seen = map { $_->{type} => $_ } $c->next_n(3);

    ok($seen{published}, 'a request behind the token is answered');
    is($seen{error}{code}, 'bad_request', 'so is what is none');
    is($seen{message}{data}, '"hello"', 'and it is published');
}


# However it is cut, all of it is read, in order.

sub split_up {
    my ($path) = @_;

    my $data = first(map {
        format_request(type => 'publish', id => $_, channel => "cut-$path$_",
                       data => \$_)
    } 1 .. 3);

    $data .= frame(PING, 'still here');

    for my $n (1, 7, 100, length($data) - 30, length($data) - 3) {
        my $c = json("/$path/cut-$path-$n", data => substr($data, 0, $n));

        $c->write(substr($data, $n));

        is($c->next()->{type}, 'auth_ok', "$path: cut at $n");
        is($c->read_pong(), 'still here', 'read to its end');
    }
}


# More than there is room for in one go.

sub many {
    my ($path) = @_;

    my $n = 100;
    my $filler = ' ' x 500;
    my $c = json("/$path/many-$path");

    $c->write(first(map {
        format_request(type => 'publish', id => $_, channel => "many-$path",
                       data => \$_) . $filler
    } 1 .. $n));

    my @got = map { $_->{data} }
              grep { $_->{type} eq 'message' } $c->next_n(2 * $n + 2);

    is_deeply(\@got, [ 1 .. $n ], "$path: many messages in order");
}


sub raw {
    my ($path) = @_;

    my $c = ws("/$path/raw-$path", data => first('one', 'two'));

    like($c->recv(), qr/auth_ok/, "$path: raw mode");
    is_message($c, 'one', 'a message behind the token');
    is_message($c, 'two', 'and another one');
}


# The client has more to say, and leaves.

sub ended {
    my ($path) = @_;

    my $reader = $f->ws(0, "/ws/ended-$path");

    my $c = json("/$path/other-$path", data => first(
        format_request(type => 'publish', channel => "other-$path",
                       data => \'1'),
        \frame(CLOSE, pack('n', 1000))));

    is($c->wait_close(), 1000, "$path: Close behind a request");

    $c = json("/$path/gone-$path", data => first('x'));
    $c->abort();

    is($f->post(0, "/pub/ended-$path", 'alive')->status(), 201,
        'the worker is alive');
    is_message($reader, 'alive', 'and delivers');
}


# Redis is silent: nginx says goodbye before the channel is there.

sub never {
    $f->redis()->pause();

    my $request = format_request(type => 'publish', id => 1,
                                 channel => 'never', data => \'1');
    my $c = json('/first/never', data => first($request));

    is($c->next()->{type}, 'auth_ok', 'the token, and no channel');

    my $late = json('/first/never2', data => first($request));

    is($late->next()->{type}, 'auth_ok', 'another one');
    is($late->wait_close(), 1013, 'which is told so');

    $c = json('/first/never3', data => first($request));
    is($c->next()->{type}, 'auth_ok', 'and one that meets a reload');

    ok($t->reload(), 'reload');

    $c->text($request);
    is($c->wait_close(), 1001, 'told of that');

    $f->redis()->resume();
    $f->wait_up();

    is($f->post(0, '/pub/never', 'alive')->status(), 201, 'alive');
}
