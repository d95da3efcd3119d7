#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Coming back over the JSON subprotocol: from a position a client gets all
# that followed, each message once and in order, or is told that it cannot.
#
# WS_BUS_TEST_FULL=1 makes it 10,000 disconnects in each of the storms.

use warnings;
use strict;

use POSIX ();
use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Json;
use WsBusTestWorkers;

my $full = $ENV{WS_BUS_TEST_FULL};
my $t = Test::WsBus->new()->has(qw! bin/cc !);

$t->expect_log(qr/\[alert\].* worker process \d+ exited on signal 9/,
    qr/\[alert\].* shared memory zone "ws_bus:bus" was locked by \d+/);

$t->log_level('notice')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 4;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    access_log off;

    ws_bus_zone bus 256m;
    ws_bus_zone small 512k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_message_max_size 8k;
    ws_bus_history 10000000;
    ws_bus_channels x.**;
    ws_bus_publish on;
    ws_bus_buffer 64m;
    ws_bus_ping off;
    ws_bus_drain 1s;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location = /j {
            ws_bus;
        }

        location = /five {
            ws_bus;
            ws_bus_history 5;
        }

        location = /young {
            ws_bus;
            ws_bus_history 100 4s;
        }

        location = /off {
            ws_bus;
            ws_bus_history off;
        }

        location = /small {
            ws_bus zone=small;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/pub-off/(.+)$ {
            ws_bus_publisher $1;
            ws_bus_history off;
        }

        location ~ ^/pub-small/(.+)$ {
            ws_bus_publisher $1 zone=small;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->time_limit(900)->run();

wait_workers($t, 4);

my $epoch = qr/^[0-9a-f]{16}$/;


positions();
limits();
forgotten();
many();
not_kept();
several();
live_and_replayed();

storm();
storm_of_many_channels();
storm_with_accidents();

$t->done_testing();


# Where a subscription starts, and what is said of it.

sub positions {
    http_post('/pub/x.p', $_) for 1 .. 10;

    my $e = http_get('/pub/x.p')->json()->{epoch};
    my $c = json('/j');

    for my $case (
        [ 'nothing asked for', [], 10 ],
        [ 'from the beginning', [ $e, 0 ], 0, 'true' ],
        [ 'after 7', [ $e, 7 ], 7, 'true' ],
        [ 'before the newest', [ $e, 9 ], 9, 'true' ],
        [ 'nothing missed', [ $e, 10 ], 10, 'true' ],
        [ 'beyond the head', [ $e, 11 ], 10, 'false' ],
        [ 'far beyond', [ $e, 9007199254740991 ], 10, 'false' ],
        [ 'another epoch', [ $e =~ tr/0-9a-f/1-9a-f0/r, 7 ], 10, 'false' ],
        [ 'another epoch, nothing missed',
          [ $e =~ tr/0-9a-f/1-9a-f0/r, 10 ], 10, 'false' ],
        [ 'another epoch, from 0', [ '0' x 16, 0 ], 10, 'false' ],
        [ 'an empty epoch', [ '', 7 ], 10, 'false' ],
        [ 'a long epoch', [ "${e}0", 7 ], 10, 'false' ],
        [ 'a short epoch', [ substr($e, 1), 7 ], 10, 'false' ],
        [ 'an epoch in capitals', [ 'ABCDEFABCDEFABCD', 7 ], 10, 'false' ],
        [ 'an epoch of another make', [ 'x' x 5000, 7 ], 10, 'false' ],
        [ 'an epoch with an escape', [ \'', 7 ], 7, 'true' ],
    ) {
        my ($name, $position, $seq, $recovered) = @$case;
        my ($given, $last) = @$position;

        $given = \('"' . sprintf('\\u%04x', ord($e)) . substr($e, 1) . '"')
            if ref $given;

        is_next($c->ask('subscribe', channel => 'x.p',
            defined $given ? (epoch => $given, seq => $last) : ()),
            { type => 'subscribed', channel => 'x.p', epoch => $e,
              seq => $seq, head => 10, oldest => 1,
              recovered => $recovered }, $name);

        is(join(' ', map { $_->{data} eq $_->{seq} ? $_->{seq} : 'wrong' }
            $c->next_n(10 - $seq)), join(' ', $seq + 1 .. 10),
            "$name: what follows");
        is($c->surplus(0.02), '', "$name: and no more");

        $c->ask('unsubscribe', channel => 'x.p');
    }

    is_next($c->ask('subscribe', channel => 'x.unknown', epoch => $e,
        seq => 0), { type => 'subscribed', channel => 'x.unknown',
        epoch => $epoch, seq => 0, head => 0, oldest => 1,
        recovered => 'false' }, 'a channel that is new');

    # an empty channel is recovered from 0

    my $m = $c->ask('subscribe', channel => 'x.empty');
    $c->ask('unsubscribe', channel => 'x.empty');

    is_next($c->ask('subscribe', channel => 'x.empty', epoch => $m->{epoch},
        seq => 0), { type => 'subscribed', channel => 'x.empty',
        epoch => $m->{epoch}, seq => 0, head => 0, oldest => 1,
        recovered => 'true' }, 'an empty channel');

    is($c->finish(), 1000, 'closed');
}


# How far back is up to the location.

sub limits {
    my $e = http_get('/pub/x.p')->json()->{epoch};
    my $c = json('/five');

    is_next($c->ask('subscribe', channel => 'x.p', epoch => $e, seq => 5),
        { type => 'subscribed', channel => 'x.p', epoch => $e, seq => 5,
          head => 10, oldest => 6, recovered => 'true' }, 'the last five');
    is(join(' ', map { $_->{seq} } $c->next_n(5)), '6 7 8 9 10',
        'what follows');
    $c->ask('unsubscribe', channel => 'x.p');

    is_next($c->ask('subscribe', channel => 'x.p', epoch => $e, seq => 4),
        { type => 'subscribed', channel => 'x.p', epoch => $e, seq => 10,
          head => 10, oldest => 6, recovered => 'false' }, 'one more');
    is($c->surplus(0.05), '', 'live');

    my $m = $c->ask('history', channel => 'x.p', seq => 4);

    is(join(' ', map { $_->{seq} } @{$m->{messages}}), '6 7 8 9 10',
        'what is left');
    is($m->{more}, 'false', 'no more');

    $c = json('/off');

    is_next($c->ask('subscribe', channel => 'x.p', epoch => $e, seq => 10),
        { type => 'subscribed', channel => 'x.p', epoch => $e, seq => 10,
          head => 10, oldest => 11, recovered => 'true' },
        'without history, nothing missed');
    $c->ask('unsubscribe', channel => 'x.p');
    is_next($c->ask('subscribe', channel => 'x.p', epoch => $e, seq => 9),
        { type => 'subscribed', channel => 'x.p', epoch => $e, seq => 10,
          head => 10, oldest => 11, recovered => 'false' },
        'without history, one missed');

    # by age

    http_post('/pub/x.young', $_) for 1 .. 3;
    sleep(4.2);
    http_post('/pub/x.young', 4);

    $e = http_get('/pub/x.young')->json()->{epoch};
    $c = json('/young');

    is_next($c->ask('subscribe', channel => 'x.young', epoch => $e,
        seq => 2), { type => 'subscribed', channel => 'x.young',
        epoch => $e, seq => 4, head => 4, oldest => 4,
        recovered => 'false' }, 'too old');
    $c->ask('unsubscribe', channel => 'x.young');
    is_next($c->ask('subscribe', channel => 'x.young', epoch => $e,
        seq => 3), { type => 'subscribed', channel => 'x.young',
        epoch => $e, seq => 3, head => 4, oldest => 4,
        recovered => 'true' }, 'young enough');
    is_next($c, { type => 'message', channel => 'x.young', seq => 4,
        data => 4 }, 'what follows');
}


# What the log has forgotten.

sub forgotten {
    my $h = Test::WsBus::HTTP->new(port => port(8080));

    $h->request('POST', '/pub-small/x.f', body => "$_." . '=' x 1000)
        for 1 .. 1000;

    my $state = $h->request('GET', '/pub-small/x.f')->json();
    my $c = json('/small');

    cmp_ok($state->{oldest}, '>', 1, 'some are forgotten');
    cmp_ok($state->{oldest}, '<', 1000, 'some are not');

    my $m = $c->ask('subscribe', channel => 'x.f', epoch => $state->{epoch},
        seq => 10);

    is_next($m, { type => 'subscribed', channel => 'x.f',
        epoch => $state->{epoch}, seq => 1000, head => 1000,
        oldest => $state->{oldest}, recovered => 'false' },
        'not all can be had');

    # what is left, and live meanwhile

    $h->request('POST', '/pub-small/x.f', body => 'live');

    my ($seq, @left) = (10);

    while (1) {
        my $m = $c->ask('history', channel => 'x.f', seq => $seq,
            limit => 100);

        last if !@{$m->{messages}} || $m->{epoch} ne $state->{epoch};

        push @left, map { $_->{seq} } @{$m->{messages}};
        $seq = $left[-1];

        last if $m->{more} ne 'true';
    }

    # the one that came last may have cost some at the front

    cmp_ok($left[0], '<', $state->{oldest} + 10, 'from the oldest one');
    is(join(' ', @left), join(' ', $left[0] .. 1001), 'without a hole');
    is_next($c, { type => 'message', channel => 'x.f', seq => 1001,
        text => 'live' }, 'live');

    # what is exactly there can be had

    $c->ask('unsubscribe', channel => 'x.f');
    $state = $h->request('GET', '/pub-small/x.f')->json();

    is($c->ask('subscribe', channel => 'x.f', epoch => $state->{epoch},
        seq => $state->{oldest} - 2)->{recovered}, 'false',
        'one too far back');
    $c->ask('unsubscribe', channel => 'x.f');
    is($c->ask('subscribe', channel => 'x.f', epoch => $state->{epoch},
        seq => $state->{oldest} - 1)->{recovered}, 'true',
        'the oldest is there');
    is(join(' ', map { $_->{seq} } $c->next_n(1002 - $state->{oldest})),
        join(' ', $state->{oldest} .. 1001), 'and what follows');
}


# However many are kept, "oldest" is the first of them.

sub many {
    my $c = json('/j');

    $c->write(frame(TEXT, format_request(type => 'publish',
        channel => 'x.many', data => '')) x 10_000);

    is($c->ask('history', channel => 'x.many', limit => 1)
        ->{messages}[0]{seq}, 1, 'the first of many');

    my $m = $c->ask('subscribe', channel => 'x.many', epoch => '0' x 16,
        seq => 9000);

    is_next($m, { type => 'subscribed', channel => 'x.many',
        epoch => $epoch, seq => 10_000, head => 10_000, oldest => 1,
        recovered => 'false' }, 'oldest of many');

    $c->ask('unsubscribe', channel => 'x.many');
    $c->say('subscribe', id => 1, channel => 'x.many',
        epoch => $m->{epoch}, seq => 0);

    is_next($c, { type => 'subscribed', id => 1, channel => 'x.many',
        epoch => $m->{epoch}, seq => 0, head => 10_000, oldest => 1,
        recovered => 'true' }, 'from the first of many');
    is(join(' ', map { $_->{seq} } $c->next_n(10_000)),
        join(' ', 1 .. 10_000), 'all of many');
}


# Messages that are not kept have no place in a replay.

sub not_kept {
    my $c = json('/j');
    my $e = $c->ask('subscribe', channel => 'x.mixed')->{epoch};

    for (1 .. 5) {
        http_post('/pub/x.mixed', $_);
        http_post('/pub-off/x.mixed', '"not kept"');
    }

    is(join(' ', map { $_->{seq} // '-' } $c->next_n(10)),
        '1 - 2 - 3 - 4 - 5 -', 'live, all come');

    $c->ask('unsubscribe', channel => 'x.mixed');
    $c->ask('subscribe', channel => 'x.mixed', epoch => $e, seq => 1);

    is(join(' ', map { $_->{seq} // '-' } $c->next_n(4)), '2 3 4 5',
        'those that were kept');

    http_post('/pub-off/x.mixed', '"not kept"');
    is_next($c, { type => 'message', channel => 'x.mixed',
        data => '"not kept"' }, 'live again');
}


# Many channels at once on one connection.

sub several {
    my $n = 50;

    for my $round (1 .. 3) {
        my $h = Test::WsBus::HTTP->new(port => port(8080));
        my %epoch;

        for my $i (1 .. $n) {
            for (1 .. 4 * $i) {
                my $r = $h->request('POST', "/pub/x.s$i",
                    body => "\"$i.$_." . '=' x (20 * $i) . '"');
                $epoch{$i} //= $r->json()->{epoch};
            }
        }

        my $c = json('/j');
        my %from = map { $_ => int rand(4 * $_ + 1) } 1 .. $n;

        $c->write(join('', map { frame(TEXT, format_request(
            type => 'subscribe', id => $_, channel => "x.s$_",
            epoch => $epoch{$_}, seq => $from{$_})) } 1 .. $n));

        my %next = map { $_ => $from{$_} + 1 } 1 .. $n;
        my (%answered, @wrong);
        my $left = 0;

        $left += 4 * $_ - $from{$_} for 1 .. $n;

        while ($left || keys %answered < $n) {
            my $m = $c->next() // last;
            my ($i) = $m->{channel} =~ /^x\.s(\d+)$/;

            if ($m->{type} eq 'subscribed') {
                push @wrong, $m->{text_} if $answered{$i}++
                    || $m->{recovered} ne 'true' || $m->{seq} != $from{$i}
                    || $m->{id} != $i || $m->{head} != 4 * $i;
                next;
            }

            push @wrong, "$m->{channel}: $m->{seq}, not $next{$i}"
                if $m->{seq} != $next{$i} || !$answered{$i}
                    || $m->{data} ne "\"$i.$m->{seq}." . '=' x (20 * $i) . '"';

            $next{$i} = $m->{seq} + 1;
            $left--;
        }

        is(join("\n", @wrong[0 .. ($#wrong > 5 ? 5 : $#wrong)]), '',
            "$n channels at once, round $round");
        is($left, 0, "$n channels at once, round $round: all of them");

        # they are live, each of them

        http_post("/pub/x.s$_", '"live"') for 1 .. $n;

        is(join(' ', sort { $a <=> $b }
            map { $_->{channel} =~ /^x\.s(\d+)$/ } $c->next_n($n)),
            join(' ', 1 .. $n), "$n channels at once, round $round: live");
        is($c->surplus(0.05), '',
            "$n channels at once, round $round: no more");

        is($c->finish(), 1000, 'closed');

        request('DELETE', "/pub/x.s$_") for 1 .. $n;
    }
}


# A replay does not keep the live messages of other channels from coming.

sub live_and_replayed {
    my $h = Test::WsBus::HTTP->new(port => port(8080));

    $h->request('POST', '/pub/x.long', body => '"' . '=' x 5000 . '"')
        for 1 .. 2000;

    my $e = $h->request('GET', '/pub/x.long')->json()->{epoch};
    my $c = json('/j', rcvbuf => 4096);

    $c->ask('subscribe', channel => 'x.short');
    $c->say('subscribe', id => 1, channel => 'x.long', epoch => $e, seq => 0);
    is($c->next()->{recovered}, 'true', 'a long replay');

    my ($n, $between, $wrong) = (0, 0, 0);

    for my $i (1 .. 20) {
        for ($c->next_n(20)) {
            $_->{channel} eq 'x.long' ? $n++ : $between++;
            $wrong++ if $_->{channel} eq 'x.long' && $_->{seq} != $n;
        }

        $h->request('POST', '/pub/x.short', body => $i);
    }

    while ($n < 2000) {
        my $m = $c->next() // last;

        $m->{channel} eq 'x.long' ? $n++ : $between++;
        $wrong++ if $m->{channel} eq 'x.long' && $m->{seq} != $n;
    }

    is($wrong, 0, 'the replay is in order');
    is($between, 20, 'live messages of the other channel come in between');
    is($c->finish(), 1000, 'closed');
}


sub check {
    my ($name, $got, %opt) = @_;

    is($got->{said}, '', "$name: each message once, in order, the same for"
        . ' all') or diag(explain($got));
    is($got->{behind}, 0, "$name: in the end everybody has everything");
    is($got->{unrecovered}, 0, "$name: whoever comes back is served");
    is($got->{errors}, 0, "$name: no errors");
    is($got->{gaps}, 0, "$name: no gaps");
    is($got->{close_1013} + $got->{close_other}, 0,
        "$name: nobody was closed");
    cmp_ok($got->{dropped}, '>=', $opt{drops}, "$name: $opt{drops} drops");
    cmp_ok($got->{replayed}, '>', $opt{drops},
        "$name: many messages were replayed");

    note(join(', ', map { "$_ $got->{$_}" } grep { $_ ne 'said' }
        sort keys %$got));
}


sub load { return load_result($t, load_start($t, @_)) }


sub drops { return $full ? 10_000 : $_[0] }


# One channel, four workers, all at full speed.

sub storm {
    my $got = load('/j', clients => 100, drops => drops(2000), publishers => 4,
        seconds => scale(300));

    check('storm', $got, drops => drops(2000));
    is($got->{ended}, 0, 'storm: no connection was lost');
}


# Several channels at once on each connection, of which some are left and
# joined again.

sub storm_of_many_channels {
    my $got = load('/j', clients => 60, channels => 8, drops => drops(2000),
        publishers => 2, size => 200, seconds => scale(300));

    check('8 channels', $got, drops => drops(2000));
    is($got->{ended}, 0, '8 channels: no connection was lost');
    cmp_ok($got->{left}, '>', 100, '8 channels: they were left and joined');
}


# Workers are killed, and the configuration is reloaded, in the midst of it.
# Publications are repeated under their keys when a publisher's connection is
# lost: each is done once all the same.

sub storm_with_accidents {
    my $pid = load_start($t, '/j', clients => 80, channels => 2, keys => 1,
        size => 50, publishers => 4, drops => drops(2500), wait => 1,
        seconds => scale(300));

    my ($kills, $reloads, $done) = (0, 0, 0);

    while (!$done) {
        kill('USR1', $pid) if $kills > 5 && $reloads;

        my $until = time() + 0.2 + rand(0.6);

        while (time() < $until && !$done) {
            $done = 1 if waitpid($pid, POSIX::WNOHANG()) == $pid;
            sleep(0.02);
        }

        last if $done;

        if ($kills % 8 == 7 && $reloads < $kills / 8) {
            $reloads++ if reload($t);
            next;
        }

        my @workers = $t->workers();
        $kills += $t->signal('KILL', $workers[rand @workers]);
    }

    my $got = load_result($t, $pid);

    check('accidents', $got, drops => drops(2500));

    note("$kills kills, $reloads reloads");

    cmp_ok($kills, '>', 5, 'accidents: workers were killed');
    cmp_ok($reloads, '>', 0, 'accidents: nginx was reloaded');
    cmp_ok($got->{ended}, '>', $kills, 'accidents: connections were lost');
    cmp_ok($got->{close_1001}, '>', 0, 'accidents: others were drained');
    cmp_ok($got->{repeated}, '>', 0, 'accidents: publications were repeated');

    wait_workers($t, 4);

    ok($t->wait_until(sub { status()->{subscriptions} == 0 }),
        'accidents: subscriptions are given up');
}
