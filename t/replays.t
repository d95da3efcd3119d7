#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Many clients come back at once: what they have missed is replayed to all of
# them in turns, so that no turn of the worker's event loop is a long one, and
# none of them waits for another one's end.

use warnings;
use strict;

use JSON::PP;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use Test::WsBus::Json qw/ PROTOCOL /;

use constant {
    CLIENTS  => 120,
    MESSAGES => 700,
    GONE     => 10,

    # of one client, some of which are empty
    STRETCHES => 3,
};

my $t = Test::WsBus->new()->has('debug')->log_level('debug')->time_limit(240);

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 1;

events {
    worker_connections 1024;
    multi_accept on;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;
    ws_bus_history 10000;
    ws_bus_publish on;
    ws_bus_buffer 4m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /ws {
            ws_bus c;
        }

        location = /pub {
            ws_bus_publisher c;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my ($worker) = $t->workers();

my $first = ws('/ws');
my $epoch = $first->response()->header('Ws-Bus-Epoch');

for my $i (1 .. MESSAGES) {
    $first->text("$i " . 'x' x 100);
}

is(numbers($first->recv_n(MESSAGES)), '1 ' . MESSAGES, 'so many are kept');

# all at once: the worker finds them when it goes on

my $mark = length $t->read_file('error.log');

$t->signal('STOP', $worker);

my $position = "last_seq=0&epoch=$epoch";
my %clients;

for my $i (1 .. CLIENTS) {
    my $kind = (qw/ raw raw json sse poll /)[$i % 5];

    push @{$clients{$kind}}, come($kind, $position);
}

my @gone = map { come((qw/ raw sse poll /)[$_ % 3], $position) } 1 .. GONE;

$_->disconnect() for @gone;

$t->signal('CONT', $worker);

for my $c (@{$clients{raw}}) {
    $c->handshake_response();
    is(numbers($c->recv_n(MESSAGES)), '1 ' . MESSAGES, 'raw: all of them');
}

for my $c (@{$clients{json}}) {
    $c->handshake_response();

    my @m = map { decode_json($_) } $c->recv_n(MESSAGES + 1);

    is($m[0]{type}, 'subscribed', 'json: subscribed');
    is(join(' ', map { $_->{seq} } @m[1 .. $#m]),
        join(' ', 1 .. MESSAGES), 'json: all of them');
}

for my $c (@{$clients{sse}}) {
    $c->opened();
    is(numbers(map { s/^message://r } $c->events(MESSAGES)), '1 ' . MESSAGES,
        'sse: all of them');
}

for my $c (@{$clients{poll}}) {
    my $m = $c->read_response()->json()->{messages};

    is(join(' ', map { $_->{seq} } @$m), join(' ', 1 .. MESSAGES),
        'poll: all of them');
}

# and all go on

$first->text('0 live');

is_message($_, '0 live', 'raw: live') for @{$clients{raw}};
like($_->recv(), qr/"0 live"/, 'json: live') for @{$clients{json}};

ok($t->wait_until(sub {
    return http_get('/status')->json()->{zones}{bus}{connections}
        == CLIENTS + 1 - @{$clients{poll}};
}), 'who has gone is not there any more');


# What the worker did in each turn.

my (@turns, @order);

for (split /\n/, substr($t->read_file('error.log'), $mark)) {
    push @turns, 0 if /: worker cycle$/;

    next unless /\*(\d+) ws bus replay after (\d+)$/;

    push @order, $1;

    # the last one has nothing to send

    $turns[-1]++ if @turns && $2 < MESSAGES;
}

my ($most) = sort { $b <=> $a } @turns;

cmp_ok(scalar(@order), '>=', CLIENTS * STRETCHES, 'they are many stretches');
cmp_ok($most, '<', CLIENTS, "not all in one turn, but $most at the most");

# between two stretches of a client nobody else has more than one

my ($unfair, %seen) = (0);

for my $i (0 .. $#order) {
    my $c = $order[$i];

    if (defined $seen{$c}) {
        my %n;
        $unfair++ if grep { ++$n{$_} > 1 } @order[$seen{$c} + 1 .. $i - 1];
    }

    $seen{$c} = $i;
}

is($unfair, 0, 'one after the other');

$_->finish() for @{$clients{raw}}, @{$clients{json}}, $first;

$t->done_testing();


# The numbers at the beginning of messages, in order: the first and the last.

sub numbers {
    my @n = map { /^(\d+)/ ? $1 : '?' } @_;

    for my $i (1 .. $#n) {
        return "$n[$i] behind $n[$i - 1]" if $n[$i] ne $n[$i - 1] + 1;
    }

    return @n ? "$n[0] $n[-1]" : 'none';
}


# A client whose request has been sent.

sub come {
    my ($kind, $position) = @_;

    my %class = (sse => 'Events', poll => 'HTTP');
    my $class = 'Test::WsBus::' . ($class{$kind} // 'Client');
    my $uri = "/ws?$position";

    my $c = $class->new(port => port(8080));

    if ($kind eq 'sse') {
        $c->ask($uri);

    } elsif ($kind eq 'poll') {
        $c->write(Test::WsBus::HTTP::format_request('GET', "$uri&wait=10"));

    } else {
        $c->write(Test::WsBus::Client::format_handshake($uri,
            $kind eq 'json' ? (protocols => [ PROTOCOL ]) : ()));
    }

    return $c;
}
