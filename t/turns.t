#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Hundreds of clients publish in one turn of the worker's event loop: each to
# somebody else, and then it is given in portions; or all to the same, who get
# it at once.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

use constant {
    CLIENTS => 400,
    HEARERS => 3,
    GONE    => 20,
    ROUNDS  => 4,

    # until it is asked again whether portions are good
    TURNS   => 32,
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
    ws_bus_publish on;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(.+)$ {
            ws_bus $1;
            ws_bus_history 10;
        }

        location = /pub {
            ws_bus_publisher $arg_c;
        }
    }
}

EOC

$t->run();

my ($worker) = $t->workers();

my @clients = map { ws("/ws/own$_") } 1 .. CLIENTS;
my @number = (0) x CLIENTS;
my $portions = 0;
my $mark;


# Each to itself: one turn is whole, the next ones are not.

for my $round (1 .. ROUNDS) {
    together(sub { speak($_, 2) for 0 .. $#clients });

    is(join(' ', grep { !heard($_, 2) } 0 .. $#clients), '',
        "round $round: everybody has what it sent, in order");

    my $n = most_portions();
    $portions = $n if $n > $portions;
}

cmp_ok($portions, '>=', 2, 'it is given in portions');


# Some are gone when their messages are read, and when they would get them.

together(sub {
    speak($_, 3) for 0 .. $#clients;
    $clients[$_ * 7]->abort() for 1 .. GONE;
});

my %gone = map { $_ * 7 => 1 } 1 .. GONE;

is(join(' ', grep { !$gone{$_} && !heard($_, 3) } 0 .. $#clients), '',
    'others are not disturbed by those who break off');


# All to the same: those hear everything, in the same order, and by then
# nothing is given early any more.

my @talkers = map { ws("/ws/talk") } 1 .. CLIENTS / 2;
my @hearers = splice @talkers, 0, HEARERS;

for my $round (1 .. TURNS + 2) {

    together(sub { $talkers[$_]->text("$round: $_") for 0 .. $#talkers });

    my @heard = map { [ $_->recv_n(scalar @talkers) ] } @hearers;
    my %all = map { ("$round: $_" => 1) } 0 .. $#talkers;

    is(scalar(grep { delete $all{$_} } @{$heard[0]}), scalar @talkers,
        "round $round: a hearer hears everybody");
    is(join(',', @{$_}), join(',', @{$heard[0]}), 'the others hear the same')
        for @heard[1 .. $#heard];

    $_->recv_n(scalar @talkers) for @talkers;
}

is(most_portions(), 0, 'they are given all of a turn at once');

$_->finish() for @hearers, @talkers;
$_->finish() for map { $clients[$_] } grep { !$gone{$_} } 0 .. $#clients;

$t->done_testing();


# The worker finds all of it when it goes on.

sub together {
    my ($do) = @_;

    $mark = length $t->read_file('error.log');

    $t->signal('STOP', $worker);

    $t->wait_until(sub {
        open my $f, '<', "/proc/$worker/stat" or return 0;
        return <$f> =~ /\) T /;
    }) or die "the worker goes on\n";

    $do->();
    $t->signal('CONT', $worker);
}


sub speak {
    my ($i, $n) = @_;

    $clients[$i]->text("$i: " . $number[$i]++) for 1 .. $n;
}


# 1 if the next messages of this client are its last ones.

sub heard {
    my ($i, $n) = @_;

    my @want = map { "$i: $_" } $number[$i] - $n .. $number[$i] - 1;

    return join(',', $clients[$i]->recv_n($n)) eq join(',', @want);
}


# How often it was given before the end of a turn, in the turn where it was
# most often.

sub most_portions {
    my @turns = (0);

    for (split /\n/, substr($t->read_file('error.log'), $mark)) {
        push @turns, 0 if /: worker cycle$/;
        $turns[-1]++ if /ws bus gives early/;
    }

    return (sort { $b <=> $a } @turns)[0];
}
