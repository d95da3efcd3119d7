#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# JSON clients that read too slowly where the oldest messages are dropped:
# what is told to be missing is exactly what is missing, in its place.
# Messages of all sizes, several channels, and a client that reads by fits and
# starts; WS_BUS_TEST_SEED repeats a run.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 64m;
    ws_bus_history 1000000;
    ws_bus_channels x.**;

    client_body_buffer_size 1m;
    keepalive_requests 1000000;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8443%% ssl sndbuf=16k;

        location = /small {
            ws_bus;
            ws_bus_buffer 4k oldest;
        }

        location = /large {
            ws_bus;
            ws_bus_buffer 128k oldest;
        }

        location = /deflate {
            ws_bus;
            ws_bus_buffer 4k oldest;
            ws_bus_deflate on;
        }

        location = /members {
            ws_bus;
            ws_bus_buffer 4k oldest;
            ws_bus_presence members;
            ws_bus_member $arg_u;
        }

        location = /members-latest {
            ws_bus;
            ws_bus_buffer 64k latest;
            ws_bus_batch 1h;
            ws_bus_presence members;
            ws_bus_member $arg_u;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/pub-off/(.+)$ {
            ws_bus_publisher $1;
            ws_bus_history off;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my $seed = $ENV{WS_BUS_TEST_SEED} // int(rand(1_000_000));

srand($seed);
diag("WS_BUS_TEST_SEED=$seed");

my $h = Test::WsBus::HTTP->new(port => port(8080));
my @slow = (port => port(8081), rcvbuf => 4096);
my @tls = (port => port(8443), rcvbuf => 4096, ssl => 1);
my $rounds = 0;


for my $case (
    [ 'tiny messages', '/small', [ 1 ], @slow ],
    [ 'tiny messages, TLS', '/small', [ 1 ], @tls ],
    [ 'small messages', '/small', [ 200 ], @slow ],
    [ 'large messages', '/small', [ 9000 ], @slow ],
    [ 'larger than the buffer', '/small', [ 30000 ], @slow ],
    [ 'of all sizes', '/small', [ 0, 10, 100, 1000, 10000 ], @slow ],
    [ 'of all sizes, TLS', '/small', [ 0, 10, 100, 1000, 10000 ], @tls ],
    [ 'of all sizes, larger buffer', '/large', [ 0, 100, 1000, 30000 ],
      @slow ],
    [ 'compressed', '/deflate', [ 10, 1000, 10000 ], @slow, deflate => 1 ],
) {
    my ($name, $path, $sizes, @opt) = @$case;

    reads_on_and_off($name, $path, $sizes, @opt);
}

begins_at_a_boundary();
mixed();
with_members();
newest_with_members();

$t->done_testing();


sub post {
    my ($uri, $data) = @_;

    my $r = $h->request('POST', $uri, body => $data);
    die "POST failed" unless $r && $r->status() == 201;
}


sub subscriber {
    my ($path, $channels, @opt) = @_;

    my $c = json($path, @opt);

    for (@$channels) {
        my $m = $c->ask('subscribe', channel => $_);
        die "not subscribed: $m->{text_}" if $m->{type} ne 'subscribed';
    }

    return $c;
}


# Text that does not shrink.

sub noise {
    my ($n) = @_;

    return join('', map { chr(33 + int(rand(94))) } 1 .. $n);
}


# Two kept channels and one that is not, in any order, to a client that reads
# now and then.

sub reads_on_and_off {
    my ($name, $path, $sizes, @opt) = @_;

    $rounds++;

    my ($a, $b, $u) = map { "x.$rounds.$_" } qw/ a b u /;
    my $c = subscriber($path, [ $a, $b, $u ], @opt);
    my $dropped = dropped();
    my $mean = 0;
    my (%n, %sent, @m);

    my @noise = map { noise($_) } @$sizes;

    $mean += length($_) / @noise for @noise;

    # about as much as the sockets hold, several times

    my $count = 1_500_000 / (2 * $mean + 500);

    $count = 150 if $count < 150;

    for my $i (1 .. $count) {
        my $channel = ($a, $b, $u)[int(rand(3))];
        my $n = ++$n{$channel};

        # not JSON: it comes as text

        $sent{$channel}[$n] = $n . ':' . $noise[rand(@noise)];

        post(($channel eq $u ? '/pub-off/' : '/pub/') . $channel,
            $sent{$channel}[$n]);

        # it reads a little, or all there is, but for a time in which more
        # comes than is kept for it

        if (rand(60) < 1 && ($i < $count / 5 || $i > $count * 4 / 5)) {
            my $reads = rand(2) < 1 ? 10 : 1e9;

            while ($reads-- > 0 && (my $m = $c->next(0))) {
                push @m, $m;
            }
        }
    }

    # the end of each channel is not dropped: it comes when all is read

    post("/pub/$_", ++$n{$_} . ':end') for $a, $b;
    post("/pub-off/$u", ++$n{$u} . ':end');
    $sent{$_}[$n{$_}] = "$n{$_}:end" for $a, $b, $u;

    my $ends = grep { ($_->{text} // '') =~ /:end\z/ } @m;

    while ($ends < 3) {
        my $m = $c->next() // last;

        push @m, $m;
        $ends++ if ($m->{text} // '') =~ /:end\z/;
    }

    my $lost = 0;

    for my $channel ($a, $b) {
        my ($wrong, $n) = seqs($channel, $sent{$channel}, @m);

        is($wrong, '', "$name: a channel with history");
        $lost += $n;
    }

    my ($wrong, $n) = counts($u, $sent{$u}, @m);

    is($wrong, '', "$name: a channel without history");
    $lost += $n;

    is(dropped() - $dropped, $lost, "$name: what is told is what is dropped");
    cmp_ok($lost, '>', 10, "$name: some are");

    post("/pub/$a", 'on');
    is_next($c, { type => 'message', channel => $a, seq => $n{$a} + 1,
        text => 'on' }, "$name: and on it goes");
    is($c->finish(), 1000, "$name: closed");
}


sub newest {
    for my $i (1 .. @_) {
        return $_[-$i]{seq} if defined $_[-$i]{seq};
    }

    return 0;
}


sub dropped {
    return status()->{dropped}{slow};
}


# What is wrong with the messages of a channel with history: each number is
# received, or told, in order; and how many were told.

sub seqs {
    my ($channel, $sent, @m) = @_;

    my ($next, $lost) = (1, 0);

    for my $m (grep { $_->{channel} eq $channel } @m) {

        if ($m->{type} eq 'gap') {

            return ("$m->{text_}, expected was $next", $lost)
                if !defined $m->{from} || defined $m->{count}
                    || $m->{from} != $next || $m->{to} < $m->{from};

            $lost += $m->{to} - $m->{from} + 1;
            $next = $m->{to} + 1;
            next;
        }

        return ("$m->{type} $m->{seq}, expected was $next", $lost)
            if $m->{seq} != $next;
        return ("message $next is damaged", $lost)
            if $m->{text} ne $sent->[$next];

        $next++;
    }

    return ($next == @$sent ? '' : 'the last one is ' . ($next - 1), $lost);
}


# The same where messages have no number but that in their text.

sub counts {
    my ($channel, $sent, @m) = @_;

    my ($next, $lost) = (1, 0);

    for my $m (grep { $_->{channel} eq $channel } @m) {

        if ($m->{type} eq 'gap') {

            return ("$m->{text_}, expected was $next", $lost)
                if defined $m->{from} || defined $m->{to}
                    || !defined $m->{count} || $m->{count} < 1;

            $lost += $m->{count};
            $next += $m->{count};
            next;
        }

        return (substr($m->{text_}, 0, 100) . ", expected was $next", $lost)
            if defined $m->{seq} || $m->{text} ne ($sent->[$next] // '');

        $next++;
    }

    return ($next == @$sent ? '' : 'the last one is ' . ($next - 1), $lost);
}


# The first message that waits has not been begun: the socket was full to the
# byte.  What is lost comes behind it.

sub begins_at_a_boundary {
    my $c = subscriber('/small', [ 'x.boundary' ], @slow);
    my @m;

    for my $round (1 .. 20) {
        my $n = http_get('/pub/x.boundary')->json()->{seq};

        post('/pub/x.boundary', 'x') for 1 .. 3000;

        while (newest(@m) < $n + 3000) {
            push @m, $c->next() // last;
        }

        last if grep { $_->{type} eq 'gap' } @m;
    }

    my $last = http_get('/pub/x.boundary')->json()->{seq};
    my ($wrong) = seqs('x.boundary', [ '', ('x') x $last ], @m);

    is($wrong, '', 'the first one that waits comes first');
    is($c->finish(), 1000, 'closed');
}


# A channel into which some messages are kept and some are not: all numbers
# are accounted for.

sub mixed {
    my $c = subscriber('/small', [ 'x.mixed' ], @slow);
    my $body = '=' x 500;
    my ($seq, @m, $last) = (0);

    for my $i (1 .. 2000) {
        my $keep = rand(2) < 1 || $i == 2000;

        post(($keep ? '/pub/' : '/pub-off/') . 'x.mixed', "$i.$body");
        $seq++ if $keep;

        if (rand(100) < 1) {
            while (my $m = $c->next(0)) {
                push @m, $m;
            }
        }
    }

    while (newest(@m) != $seq) {
        push @m, $c->next() // last;
    }

    my ($next, $gaps, $at, @wrong) = (1, 0, 0);

    for my $m (@m) {
        if ($m->{type} eq 'gap') {
            $gaps++;

            next if !defined $m->{from};

            push @wrong, "$m->{text_}, expected was $next"
                if $m->{from} != $next || $m->{to} < $m->{from};
            $next = $m->{to} + 1;
            next;
        }

        my ($i) = $m->{text} =~ /^(\d+)\./;

        push @wrong, "$i after $at" if $i <= $at;
        $at = $i;

        next if !defined $m->{seq};

        push @wrong, "message $m->{seq}, expected was $next"
            if $m->{seq} != $next;
        $next = $m->{seq} + 1;
    }

    is(join("\n", @wrong > 3 ? @wrong[0 .. 2] : @wrong), '',
        'kept and not kept: each number is received or told');
    is($next - 1, $seq, 'kept and not kept: all of them');
    cmp_ok($gaps, '>', 0, 'kept and not kept: some are told');
    is($c->finish(), 1000, 'kept and not kept: closed');
}


# Somebody comes and goes while the client does not read: numbers are those of
# messages all the same.

sub with_members {
    my $c = subscriber('/members', [ 'x.members' ], @slow);
    my $body = '=' x 500;
    my (@m, $n);

    for my $i (1 .. 1000) {
        post('/pub/x.members', "$i.$body");

        if ($i % 50 == 0) {
            my $d = subscriber("/members?u=m$i", [ 'x.members' ]);
            $d->disconnect();
        }
    }

    while (newest(@m) != 1000) {
        push @m, $c->next() // last;
    }

    my ($wrong, $lost) = seqs('x.members',
        [ '', map { "$_.$body" } 1 .. 1000 ],
        grep { $_->{type} ne 'joined' && $_->{type} ne 'left' } @m);

    is($wrong, '', 'with members: each number is received or told');
    cmp_ok($lost, '>', 0, 'with members: some are told');
    $c->disconnect();
}


# Of messages the newest is kept: one who comes or goes does not replace it.

sub newest_with_members {
    my $c = subscriber('/members-latest', [ 'x.newest' ]);

    post('/pub/x.newest', $_) for 1, 2;

    my $d = subscriber('/members-latest?u=one', [ 'x.newest' ]);

    $c->say('history', channel => 'x.newest', limit => 0);

    my @m;

    while (my $m = $c->next()) {
        last if $m->{type} eq 'history';
        push @m, $m;
    }

    is(join(', ', map { $_->{data} } grep { $_->{type} eq 'message' } @m), '2',
        'the newest message, though somebody joined after it');
    is(join(', ', map { $_->{member} } grep { $_->{type} eq 'joined' } @m),
        'one', 'and who joined');

    my ($gap, @others) = grep { $_->{type} eq 'gap' } @m;

    is_next($gap // {}, { type => 'gap', channel => 'x.newest', from => 1,
        to => 1 }, 'the message before it is told');
    is(scalar(@others), 0, 'and nothing else');

    $_->disconnect() for $c, $d;
}
