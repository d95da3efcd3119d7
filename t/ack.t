#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Durable consumers: a position on a channel that belongs to a name, not to
# a connection; over workers, a reload and killed processes.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use WsBusTestClients;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->log_level('info');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 3;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;
    ws_bus_zone other 1m;
    ws_bus_drain 200ms;
    ws_bus_history 10000;
    ws_bus_channels x.**;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location = /j {
            ws_bus;
            ws_bus_publish on;
        }

        location = /five {
            ws_bus;
            ws_bus_history 5;
        }

        location = /off {
            ws_bus;
            ws_bus_history off;
        }

        location = /lean {
            ws_bus;
            ws_bus_lean on;
        }

        location = /other {
            ws_bus zone=other;
        }

        location ~ ^/fixed/(.+)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/pub-other/(.+)$ {
            ws_bus_publisher $1 zone=other;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my @pids = wait_workers($t, 3);
my $epoch = qr/^[0-9a-f]{16}$/;


consumers();
positions();
independent();
unknown();
forgotten();
new_epoch();
errors();
fixed();
reloaded();
killed();
worked_off();

$t->expect_log(qr/worker process \d+ exited on signal 9/);

$t->done_testing();


sub publish {
    my ($channel, @values) = @_;

    my $h = Test::WsBus::HTTP->new(port => port(8080));

    for my $value (@values) {
        my $r = $h->request('POST', "/pub/$channel", body => $value);
        die "POST failed" unless $r && $r->status() == 201;
    }
}


# An ack has no answer; the next request's answer comes behind it.

sub ack {
    my ($c, $channel, $seq) = @_;

    $c->say('ack', channel => $channel, seq => $seq);

    my $m = $c->ask('history', channel => $channel, limit => 0);

    return $c->{later}[-1] && $c->{later}[-1]{type} eq 'error'
        ? (pop @{$c->{later}})->{code} : $m->{type} eq 'history' ? 'ok' : '?';
}


# Subscribes to where the consumer is, says "seq head recovered", and reads
# what follows: "seq head recovered: 1 2 3".

sub from_ack {
    my ($c, $channel) = @_;

    my $m = $c->ask('subscribe', channel => $channel, from => 'ack');

    return $m->{code} if $m->{type} eq 'error';

    my $n = $m->{head} - $m->{seq};
    my @m = $c->next_n($n);

    return "$m->{seq} $m->{head} " . ($m->{recovered} // 'none')
        . (@m ? ': ' . join(' ', map { $_->{seq} // $_->{text_} } @m) : '');
}


# What a name of a consumer is.

sub consumers {
    my $status = sub {
        my ($path, @opt) = @_;

        my $r = ws_response($path, @opt);

        return $r->status() . ($r->status() == 101 ? '' : ' ' . $r->body());
    };

    my @json = (protocols => [ PROTOCOL ]);
    my $hex = sub { $_[0] =~ s/(.)/sprintf('%%%02x', ord($1))/gesr };

    for my $name ('a', 'A-1_2.3~', 'a:b/c', '%41', '%c3%a9', 'x' x 255,
        $hex->("\xf0\x9f\x98\x80" x 63 . 'xyz'), '%22', '+', '%2b', '=')
    {
        my $short = length $name > 20 ? substr($name, 0, 20) . '...' : $name;

        is($status->("/j?consumer=$name", @json), 101, "consumer $short");
    }

    for my $name ('', 'a%20b', '%00', '%0a', '%7f', 'x' x 256, '%ff',
        '%ed%a0%80', 'a*', 'a%3f', '%7ba%7d')
    {
        my $short = length $name > 20 ? substr($name, 0, 20) . '...' : $name;

        like($status->("/j?consumer=$name", @json),
            qr/^400 invalid argument "consumer"/, "no consumer: \"$short\"");
    }

    is($status->('/j?a=b&consumer=c&d=e', @json), 101, 'among others');
    like($status->('/fixed/x.raw?consumer=a%20b'),
        qr/^400 invalid argument "consumer"/, 'raw mode is told as well');
    is($status->('/fixed/x.raw?consumer=a'), 101, 'and has no use for it');

    # what is left of a refused one; the one that was not has gone by itself

    ok($t->wait_until(sub {
        return http_get('/pub/x.raw')->json()->{subscribers} == 0;
    }, 10), 'who was refused is no subscriber');

    SKIP: {
        skip 'memory of a sanitizer', 1 if $ENV{WS_BUS_TEST_PRELOAD};

        my $h = Test::WsBus::HTTP->new(port => port(8080));
        my @handshake = (headers => [ Upgrade => 'websocket',
            Connection => 'Upgrade', 'Sec-WebSocket-Version' => 13,
            'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
            'Sec-WebSocket-Protocol' => PROTOCOL ]);
        my @rss;

        for (1 .. 500) {
            my $r = $h->request('GET', '/j?consumer=' . '{' x 8000,
                                @handshake);

            push @rss, rss($r->header('X-Pid'));
        }

        cmp_ok($rss[-1], '<', $rss[99] + 1_000_000,
            'nor is a name remembered, however many are refused');
    }
}


sub positions {
    publish('x.p', 1 .. 10);

    my $c = json_at($pids[0], '/j?consumer=one');

    is(from_ack($c, 'x.p'), '10 10 false', 'no position yet');
    is(ack($c, 'x.p', 4), 'ok', 'acknowledged');
    is($c->surplus(0.1), '', 'in silence');

    # the connection's own subscription is where it was

    publish('x.p', 11);
    is_next($c, { type => 'message', channel => 'x.p', seq => 11,
        data => 11 }, 'the subscription goes on');

    # another connection, another worker

    for my $pid (@pids) {
        my $d = json_at($pid, '/j?consumer=one');

        is(from_ack($d, 'x.p'), '4 11 true: 5 6 7 8 9 10 11',
            'it goes on behind what was acknowledged');
        $d->disconnect();
    }

    my $d = json_at($pids[1], '/lean?consumer=one');

    is(from_ack($d, 'x.p'), '4 11 true: 5 6 7 8 9 10 11',
        'where the request has been let go, too');

    # forward, never back

    is(ack($d, 'x.p', 7), 'ok', 'acknowledged by another connection');
    is(ack($c, 'x.p', 5), 'ok', 'less, by the first one');
    is(ack($d, 'x.p', 0), 'ok', 'nothing');

    my $e = json_at($pids[2], '/j?consumer=one');

    is(from_ack($e, 'x.p'), '7 11 true: 8 9 10 11', 'it never goes back');

    # all of it

    is(ack($e, 'x.p', 11), 'ok', 'the newest');
    $e->ask('unsubscribe', channel => 'x.p');
    is(from_ack($e, 'x.p'), '11 11 true', 'nothing is left');
    publish('x.p', 12);
    is_next($e, { type => 'message', channel => 'x.p', seq => 12,
        data => 12 }, 'live');

    # where the subscription begins does not matter

    my $head = $e->ask('history', channel => 'x.p', limit => 0)->{epoch};

    $d->ask('unsubscribe', channel => 'x.p');
    is_next($d->ask('subscribe', channel => 'x.p', epoch => $head, seq => 2),
        { type => 'subscribed', channel => 'x.p', epoch => $head, seq => 2,
          head => 12, oldest => 1, recovered => 'true' },
        'from another position');
    is(ack($d, 'x.p', 12), 'ok', 'acknowledged there');
    is(from_ack(json('/j?consumer=one'), 'x.p'), '12 12 true', 'and counts');

    # a position of 0 is one: from the beginning

    $c = json('/j?consumer=beginning');
    $c->ask('subscribe', channel => 'x.p');
    is(ack($c, 'x.p', 0), 'ok', 'acknowledged 0');
    is(from_ack(json('/j?consumer=beginning'), 'x.p'),
        '0 12 true: ' . join(' ', 1 .. 12), 'all of it');

    # several at once, as fast as they are written

    $c->text(format_request(type => 'ack', channel => 'x.p', seq => $_))
        for 1 .. 12;
    is(ack($c, 'x.p', 12), 'ok', 'one after the other');
    is(from_ack(json('/j?consumer=beginning'), 'x.p'), '12 12 true',
        'the last one counts');
}


sub independent {
    publish('x.i.1', 1 .. 5);
    publish('x.i.2', 1 .. 5);

    my ($a, $b) = map { json_at($pids[$_], '/j?consumer=' . ('a', 'b')[$_]) }
        0, 1;

    for my $c ($a, $b) {
        $c->ask('subscribe', channel => $_) for 'x.i.1', 'x.i.2';
    }

    ack($a, 'x.i.1', 1);
    ack($a, 'x.i.2', 2);
    ack($b, 'x.i.1', 3);
    ack($b, 'x.i.2', 4);

    my %at = ('a x.i.1' => '1 5 true: 2 3 4 5', 'a x.i.2' => '2 5 true: 3 4 5',
        'b x.i.1' => '3 5 true: 4 5', 'b x.i.2' => '4 5 true: 5');

    for my $case (sort keys %at) {
        my ($name, $channel) = split / /, $case;

        is(from_ack(json("/j?consumer=$name"), $channel), $at{$case},
            "consumer and channel: $case");
    }

    # the same name, written in another way

    is(from_ack(json('/j?consumer=%61'), 'x.i.1'), $at{'a x.i.1'},
        'an escaped name is the same');
    is(from_ack(json('/j?consumer=A'), 'x.i.1'), '5 5 false',
        'a name in capitals is another one');

    # names and channels are told apart

    publish('x.i.1c', 1);

    my $c = json('/j?consumer=c');
    $c->ask('subscribe', channel => 'x.i.1c');
    ack($c, 'x.i.1c', 1);

    is(from_ack(json('/j?consumer=cc'), 'x.i.1'), '5 5 false',
        'and they do not run together');

    # the same in another zone

    request('POST', '/pub-other/x.i.1', body => $_) for 1 .. 3;

    is(from_ack(json('/other?consumer=a'), 'x.i.1'), '3 3 false',
        'another zone has its own');

    # an idempotency key of that text is something else

    $c = json('/j?consumer=a');
    is($c->ask('publish', channel => 'x.i.1', key => 'a',
        data => 1)->{seq}, 6, 'a key');
    is(from_ack($c, 'x.i.1'), '1 6 true: 2 3 4 5 6', 'is no position');
}


# Nothing acknowledged: it starts live, and is told.

sub unknown {
    my $c = json('/j?consumer=unknown');

    is_next($c->ask('subscribe', channel => 'x.u', from => 'ack'),
        { type => 'subscribed', channel => 'x.u', epoch => $epoch, seq => 0,
          head => 0, oldest => 1, recovered => 'false' },
        'a channel without messages');

    publish('x.u', 1 .. 3);
    is(join(' ', map { $_->{seq} } $c->next_n(3)), '1 2 3', 'live');

    $c = json('/j?consumer=unknown');
    is(from_ack($c, 'x.u'), '3 3 false', 'with messages');
    publish('x.u', 4);
    is($c->next()->{seq}, 4, 'live, too');
}


# More than the location gives, or than there is.

sub forgotten {
    publish('x.f', 1 .. 10);

    my $c = json('/five?consumer=f');

    $c->ask('subscribe', channel => 'x.f');
    ack($c, 'x.f', 6);
    is(from_ack(json('/five?consumer=f'), 'x.f'), '6 10 true: 7 8 9 10',
        'as far as the location goes');

    publish('x.f', 11, 12);
    is(from_ack(json('/five?consumer=f'), 'x.f'), '12 12 false',
        'too far for the location: live');
    is(from_ack(json('/j?consumer=f'), 'x.f'),
        '6 12 true: 7 8 9 10 11 12', 'another one gives more');

    # without history nothing can be missed that could be had

    $c = json('/off?consumer=f');
    is(from_ack($c, 'x.f'), '12 12 false', 'a location without history');

    # the log has gone over it

    my $h = Test::WsBus::HTTP->new(port => port(8080));
    my $status = status('other')->{log};

    $h->request('POST', '/pub-other/x.f', body => 1);
    $c = json('/other?consumer=f');
    $c->ask('subscribe', channel => 'x.f');
    ack($c, 'x.f', 1);

    $h->request('POST', '/pub-other/x.f', body => '=' x 10000)
        for 1 .. $status->{size} / 10000 + 1;

    like(from_ack(json('/other?consumer=f'), 'x.f'), qr/^(\d\d+) \1 false/,
        'overwritten: live');
}


# Positions belong to an epoch.

sub new_epoch {
    publish('x.e', 1 .. 10);

    my $c = json('/j?consumer=e');
    my $m = $c->ask('subscribe', channel => 'x.e');

    ack($c, 'x.e', 8);
    is(request('DELETE', '/pub/x.e')->status(), 204, 'deleted');
    is_closed($c, 4004, 'its subscribers are closed');

    publish('x.e', 1 .. 9);

    my $d = json('/j?consumer=e');
    my $n = $d->ask('subscribe', channel => 'x.e', from => 'ack');

    is_next($n, { type => 'subscribed', channel => 'x.e', epoch => $epoch,
        seq => 9, head => 9, oldest => 1, recovered => 'false' },
        'a position of another epoch');
    isnt($n->{epoch}, $m->{epoch}, 'the epoch is new');

    # less than in the old one, but it is another count

    is(ack($d, 'x.e', 3), 'ok', 'acknowledged anew');
    is(from_ack(json('/j?consumer=e'), 'x.e'), '3 9 true: 4 5 6 7 8 9',
        'it goes on from there');
}


sub errors {
    publish('x.err', 1 .. 5);

    my $c = json('/j?consumer=err');
    my $d = json('/j');

    # no consumer

    $d->ask('subscribe', channel => 'x.err');
    is_error($d->ask('ack', channel => 'x.err', seq => 1), 'not_available',
        undef, 'ack: no consumer');
    is_error($d->ask('ack', channel => 'x.other', seq => 1), 'not_available',
        undef, 'ack: no consumer, another channel');
    $d->ask('unsubscribe', channel => 'x.err');
    is_error($d->ask('subscribe', channel => 'x.err', from => 'ack'),
        'not_available', undef, 'subscribe: no consumer');
    is_error($d->ask('unsubscribe', channel => 'x.err'), 'not_subscribed',
        undef, 'it was not subscribed');

    # not subscribed

    is_error($c->ask('ack', channel => 'x.err', seq => 1), 'not_subscribed',
        undef, 'ack: not subscribed');
    is_error($c->ask('ack', channel => 'y', seq => 1), 'not_subscribed',
        undef, 'ack: a channel that is not allowed');
    is_error($c->ask('subscribe', channel => 'y', from => 'ack'),
        'forbidden', undef, 'subscribe: a channel that is not allowed');

    is(from_ack($c, 'x.err'), '5 5 false', 'no error has moved it');
    is_error($c->ask('subscribe', channel => 'x.err', from => 'ack'),
        'already_subscribed', undef, 'subscribe: twice');

    # ahead

    is_error($c->ask('ack', channel => 'x.err', seq => 6), 'bad_request',
        undef, 'ack: ahead of the channel', reason => qr/"seq"/);
    is_error($c->ask('ack', channel => 'x.err', seq => 9007199254740991),
        'bad_request', undef, 'ack: far ahead', reason => qr/"seq"/);
    is(from_ack(json('/j?consumer=err'), 'x.err'), '5 5 false',
        'it was not moved');

    # malformed

    for my $case (
        [ '"channel":"x.err"', '"seq" is missing' ],
        [ '"seq":1', '"channel" is missing' ],
        [ '"channel":"x.err","seq":-1', '"seq"' ],
        [ '"channel":"x.err","seq":1.0', '"seq"' ],
        [ '"channel":"x.err","seq":"1"', '"seq"' ],
        [ '"channel":"x.err","seq":null', '"seq"' ],
        [ '"channel":"x.err","seq":1,"seq":2', '"seq"' ],
        [ '"channel":"a b","seq":1', '"channel"' ],
    ) {
        my ($members, $reason) = @$case;

        $c->text("{\"type\":\"ack\",\"id\":7,$members}");
        is_error($c, 'bad_request', 7, "ack: $members",
            reason => qr/\Q$reason\E/);
    }

    for my $case (
        [ '"from":"acks"', '"from"' ],
        [ '"from":""', '"from"' ],
        [ '"from":1', '"from"' ],
        [ '"from":null', '"from"' ],
        [ '"from":"ack","from":"ack"', '"from"' ],
        [ '"from":"ack","seq":1', '"from" excludes' ],
        [ '"from":"ack","epoch":"0123456789abcdef"', '"from" excludes' ],
        [ '"from":"ack","seq":1,"epoch":"0123456789abcdef"',
          '"from" excludes' ],
    ) {
        my ($members, $reason) = @$case;

        $c->text("{\"type\":\"subscribe\",\"id\":7,\"channel\":\"x.from\","
            . "$members}");
        is_error($c, 'bad_request', 7, "subscribe: $members",
            reason => qr/\Q$reason\E/);
    }

    is_next($c->ask('subscribe', channel => 'x.from',
        from => \'"\u0061ck"'), { type => 'subscribed', channel => 'x.from',
        epoch => $epoch, seq => 0, head => 0, oldest => 1,
        recovered => 'false' }, 'subscribe: "from" may be escaped');
    is(ack($c, 'x.err', 2), 'ok', 'after all that');
}


# The location's own channel.

sub fixed {
    publish('fixed', 1 .. 5);

    my $c = json('/fixed/fixed?consumer=fixed');

    is_next($c, { type => 'subscribed', channel => 'fixed', epoch => $epoch,
        seq => 5, head => 5, oldest => 1 }, 'it greets as ever');
    is(ack($c, 'fixed', 3), 'ok', 'acknowledged');
    $c->disconnect();

    # the position is asked for by a subscription

    $c = json('/fixed/fixed?consumer=fixed');
    is($c->next()->{seq}, 5, 'live at first');
    $c->ask('unsubscribe', channel => 'fixed');
    is(from_ack($c, 'fixed'), '3 5 true: 4 5', 'then from there');
}


# Old and new workers know the same positions.

sub reloaded {
    publish('x.r', 1 .. 10);

    my $c = json('/j?consumer=r');

    $c->ask('subscribe', channel => 'x.r');
    ack($c, 'x.r', 5);

    my @old = @pids;

    ok(reload($t), 'reload');
    is_closed($c, 1001, 'drained');

    ok($t->wait_until(sub {
        my @now = $t->workers();
        my %old = map { $_ => 1 } @old;

        return @now == 3 && !grep { $old{$_} } @now;
    }, 15), 'the old workers have ended');

    @pids = wait_workers($t, 3);

    is(from_ack(json_at($_, '/j?consumer=r'), 'x.r'),
        '5 10 true: 6 7 8 9 10', 'in a new worker') for @pids;
}


sub killed {
    publish('x.k', 1 .. 10);

    my $c = json_at($pids[0], '/j?consumer=k');

    $c->ask('subscribe', channel => 'x.k');
    ack($c, 'x.k', 5);

    kill_worker(0);

    is(from_ack(json_at($_, '/j?consumer=k'), 'x.k'),
        '5 10 true: 6 7 8 9 10', 'after the worker was killed') for @pids;

    my $d = json_at($pids[0], '/j?consumer=k');

    $d->ask('subscribe', channel => 'x.k');
    is(ack($d, 'x.k', 7), 'ok', 'acknowledged at its successor');
    is(from_ack(json_at($pids[1], '/j?consumer=k'), 'x.k'),
        '7 10 true: 8 9 10', 'and known to others');
}


sub kill_worker {
    my ($i) = @_;

    my %had = map { $_ => 1 } @pids;
    my $victim = $pids[$i];

    $t->signal('KILL', $victim);

    my @now = wait_workers($t, scalar(@pids), $victim);

    $pids[$i] = (grep { !$had{$_} } @now)[0] // die "no new worker";
}


# A consumer works through what is published, acknowledges each message, and
# loses its connection and its worker now and then.  It gets every message,
# in order, and none again whose acknowledgement has been received.

sub worked_off {
    my $publisher = publisher($t, 'work', '/pub/x.w', pause => 0.002);

    ok($t->wait_until(sub { progress($t, 'work') > 50 }, 20), 'published');

    my ($connections, $acked, $next, @wrong) = (0, 0, 1);

    # the position is set once, before the first message is missed

    my $c = json('/j?consumer=w');
    my $m = $c->ask('subscribe', channel => 'x.w');

    $acked = 0;
    ack($c, 'x.w', 0);
    $c->disconnect();

    for my $round (1 .. 12) {
        $connections++;

        $c = eval { json_at($pids[$round % 3], '/j?consumer=w') } or next;
        $m = $c->ask('subscribe', channel => 'x.w', from => 'ack');

        push @wrong, "round $round: $m->{text_}"
            if ($m->{recovered} // '') ne 'true';
        push @wrong, "round $round: from $m->{seq}, acknowledged was $acked"
            if $m->{seq} < $acked;

        my $seq = $m->{seq};

        push @wrong, "round $round: from $seq, only $next is missing"
            if $seq + 1 > $next;

        for (1 .. 100) {
            my $m = $c->next() // last;

            push @wrong, "round $round: $m->{text_} after $seq"
                if ($m->{seq} // 0) != $seq + 1;

            $next = ++$seq + 1 if $seq + 1 >= $next;
            $c->say('ack', channel => 'x.w', seq => $seq);

            # this one is known to be received

            if ($_ % 20 == 0) {
                $c->ask('history', channel => 'x.w', limit => 0);
                $acked = $seq;
            }
        }

        if ($round % 3 == 0) {
            kill_worker($round % @pids);

        } elsif ($round % 3 == 1) {
            $c->abort();

        } else {
            $c->disconnect();
        }
    }

    $t->stop_daemons();

    is("@wrong[0 .. ($#wrong > 4 ? 4 : $#wrong)]", '',
        'no message is missed, none acknowledged comes again');
    cmp_ok($next, '>', 600, 'it has worked off many');
}
