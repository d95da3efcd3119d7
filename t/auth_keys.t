#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A token on a connection that waits for keys: what the client and others do
# meanwhile, and what becomes of it.

use warnings;
use strict;

use Test::More;

use FindBin;
use IO::Socket::INET;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use Test::WsBus::Token;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

my $old = Test::WsBus::Token->key('ES256', kid => 'old');
my $new = Test::WsBus::Token->key('ES256', kid => 'new');

# each location has keys of its own, since none is asked for again so soon

my @first = qw/ good bad more late gone close drain lean none /;
my @refresh = qw/ raw json two two-json left other /;

my $required = qr/^\{"type":"auth_required"/;
my $ok = qr/^\{"type":"auth_ok",/;

$t->write_file('old.jwks', jwks($old));
$t->write_file('new.jwks', jwks($old, $new));
$t->write_file_expand('nginx.conf', conf());

$t->run_daemon(\&provider, port(8081));
$t->waitforsocket(8081);
$t->run();

good();
bad();
more();
late();
gone();
closing();
lean();
none();
raw();
json_refreshed();
two();
left();
other();
reloaded();

$t->done_testing();


sub conf {
    my $locations = '';

    for my $name (@first, @refresh) {
        my $file = (grep { $_ eq $name } @first) ? 'first' : 'refresh';
        my $more = $name eq 'late' ? 'ws_bus_auth_timeout 500ms;'
            : $name eq 'lean' ? 'ws_bus_lean on;' : '';

        $locations .= <<EOF;
        location = /$name {
            ws_bus a;
            ws_bus_jwt_key_request /_$name;
            $more
        }

        location = /_$name {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_8081%%/$file/$name;
        }

EOF
    }

    return <<EOC;

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
        ws_bus_auth_timeout 30s;
        ws_bus_publish on;
        ws_bus_drain 100ms;

$locations
        location = /pub {
            ws_bus_publisher a;
            ws_bus_jwt off;
        }
    }
}

EOC
}


# Says "old" at once to those who refresh, and everything else when there is a
# file of the name.

sub provider {
    my ($port) = @_;

    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 100, ReuseAddr => 1) or die "$!";

    local $SIG{CHLD} = 'IGNORE';
    local $SIG{PIPE} = 'IGNORE';

    my %asked;

    while (1) {
        my $s = $listen->accept() or next;
        my $request = '';

        while ($request !~ /\r\n\r\n/) {
            sysread($s, $request, 4096, length $request) or last;
        }

        my ($file, $name) = $request =~ m!^GET /(\w+)/(\S*)! or next;
        my $times = $asked{$name}++;

        next if fork();

        my $keys = 'old';

        if ($file eq 'first' || $times) {
            select(undef, undef, undef, 0.02)
                while !-e $t->testdir() . "/go-$name" && getppid() != 1;
            $keys = 'new';
        }

        $keys = $name eq 'none' ? '{"keys":[]}' : $t->read_file("$keys.jwks");

        print $s "HTTP/1.0 200 OK\r\n\r\n$keys";
        close($s);
        POSIX::_exit(0);
    }
}


sub go { $t->write_file("go-$_[0]", '') }


sub waits {
    my ($name, $count) = @_;

    ok($t->find_in_file('error.log', qr/ws bus token waits for keys/,
        offset => $_[2], timeout => 5, count => $count // 1),
        "$name: waits");
}


sub mark { return length $t->read_file('error.log') }


sub auth { format_request(type => 'auth', id => 1, token => $_[0]) }
sub refresh { format_request(type => 'auth_refresh', token => $_[0]) }
sub token { $_[0]->token(sub => 'alice', @_[1 .. $#_]) }


# A connection whose first message waits.

sub first {
    my ($name, %opt) = @_;

    my $mark = mark();
    my $c = ws("/$name", %opt);

    $c->text(auth($opt{token} // token($new)));
    waits($name, 1, $mark);

    return $c;
}


sub good {
    my $c = first('good');

    http_post('/pub', 'too early');
    ok($c->is_silent(0.2), 'good: nothing is delivered yet');
    $c->ping('x');
    is($c->read_pong(), 'x', 'good: pings are answered');

    go('good');
    like($c->recv(), qr/^\{"type":"auth_ok","id":1,/, 'good: then it goes on');
    $c->text('x');
    is_message($c, 'x', 'good: and publishes');
}


sub bad {
    my $c = first('bad', token => Test::WsBus::Token
        ->key('ES256', kid => 'new')->token(sub => 'eve'));

    go('bad');
    is_closed($c, 4001, 'bad: closed', reason => qr/^the token is not valid$/);
}


sub more {
    my $c = first('more');

    $c->text(auth(token($new)));
    is_closed($c, 4001, 'more: another message',
        reason => qr/^the first message must be "auth"$/);
    go('more');

    $c = ws('/more');
    $c->text(auth(token($new)));
    like($c->recv(), qr/"auth_ok"/, 'more: others are not affected');
}


sub late {
    my $c = first('late');

    is_closed($c, 4001, 'late: not in time',
        reason => qr/^not authenticated in time$/);
    go('late');
}


sub gone {
    my $c = first('gone');

    $c->abort();
    go('gone');

    $c = ws('/gone');
    $c->text(auth(token($new)));
    like($c->recv(), qr/"auth_ok"/, 'gone: nobody minds');
}


sub closing {
    my $c = first('close');

    is($c->finish(1000), 1000, 'close: by the client');
    go('close');
}


sub lean {
    my $c = first('lean');

    go('lean');
    like($c->recv(), qr/"auth_ok"/, 'lean: then it goes on');
    $c->text('x');
    is_message($c, 'x', 'lean: and publishes');
}


sub none {
    $t->expect_log(qr/keys/);

    my $c = first('none');

    go('none');
    is_closed($c, 1013, 'none: no keys',
        reason => qr/^tokens cannot be verified now$/);
    is(ws_response('/none', headers => [ Authorization => 'Bearer '
        . token($new) ])->status(), 503, 'none: in the handshake');
}


# A connection whose newer token waits, by a key that has come since.

sub second {
    my ($name, $class) = @_;

    my $make = $class ? \&json : \&ws;
    my $c = $make->("/$name", headers => [ Authorization => 'Bearer '
        . token($old) ]);

    $c->next() if $class;

    my $mark = mark();

    $c->text($class
        ? format_request(type => 'auth_refresh', id => 7,
                         token => token($new))
        : refresh(token($new)));
    waits($name, 1, $mark);

    return $c;
}


sub raw {
    my $c = second('raw');

    $c->text('meanwhile');
    is_message($c, 'meanwhile', 'raw: everything else goes on');
    go('raw');
    like($c->recv(), $ok, 'raw: refreshed');
    $c->text(refresh(token($new)));
    like($c->recv(), $ok, 'raw: and again, without waiting');
}


sub json_refreshed {
    my $c = second('json', 1);

    is($c->ask('publish', channel => 'a', data => \1)->{type}, 'published',
        'json: everything else goes on');
    is($c->next()->{type}, 'message', 'json: the message');
    go('json');
    like($c->recv(), qr/^\{"type":"auth_ok","id":7,/, 'json: refreshed');
}


sub two {
    my $c = second('two');

    $c->text(refresh(token($old)));
    is_closed($c, 4001, 'two: another one',
        reason => qr/^another token is being verified$/);
    go('two');

    $c = second('two-json', 1);

    my $m = $c->ask('auth_refresh', token => token($old));

    is("$m->{code}: $m->{reason}",
        'unavailable: another token is being verified', 'two, json');
    go('two-json');
    like($c->recv(), qr/"auth_ok","id":7,/, 'two, json: the first one counts');
}


# The old token ends while the newer one waits.

sub left {
    my $c = ws('/left', headers => [ Authorization => 'Bearer '
        . token($old, exp => in(3)) ]);

    like($c->recv(), $required, 'left: warned');
    $c->text(refresh(token($new)));
    is_closed($c, 4001, 'left: too late', reason => qr/^token expired$/);
    go('left');
}


sub other {
    my $c = json('/other', headers => [ Authorization => 'Bearer '
        . token($old) ]);

    $c->next();

    my $mark = mark();

    $c->say('auth_refresh', id => 3, token => token($new, sub => 'bob'));
    waits('other', 1, $mark);
    go('other');
    is($c->answer(3)->{code}, 'unauthorized', "other: another's token");
    is($c->ask('auth_refresh', token => token($new))->{type}, 'auth_ok',
        'other: the old one still counted');
}


sub reloaded {
    my $c = first('drain');

    ok($t->reload(), 'drain: reload');
    is($c->wait_close(), 1001, 'drain: closed while it waits');
    go('drain');
}
