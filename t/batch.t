#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# ws_bus_batch: messages are gathered for a while and leave together, behind
# which answers do not wait; with "latest" only the newest leaves.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Json;
use WsBusTestWorkers;

# of a location whose batches are not waited for, seconds
use constant LONG => 3600;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', conf());

$t->run();

# what is set at the http level is inherited

my $h = Test::WsBus::HTTP->new(port => port(8080));
my @tls = (port => port(8443), ssl => 1);


configuration();
off();

for my $case ([ 'plain' ], [ 'TLS', @tls ]) {
    my ($name, @opt) = @$case;

    gathered($name, @opt);
    flushed($name, @opt);
    at_the_end($name, @opt);
    latest($name, @opt);
}

one_by_one();
not_kept();
replays();
full();
slow($_) for qw/ close oldest latest /;
drained();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri dropped:$ws_bus_dropped code:$ws_bus_close_code';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 64m;
    ws_bus_history 100000;
    ws_bus_channels x.**;
    ws_bus_publish on;
    ws_bus_drain 0;
    ws_bus_batch 1s;

    client_body_buffer_size 1m;
    keepalive_requests 1000000;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location = /short {
            ws_bus;
        }

        location = /long {
            ws_bus;
            ws_bus_batch 1h;
        }

        location = /latest {
            ws_bus;
            ws_bus_batch 1h;
            ws_bus_buffer 1m latest;
        }

        location = /off {
            ws_bus;
            ws_bus_batch 0;
        }

        location = /ping {
            ws_bus;
            ws_bus_batch 1h;
            ws_bus_ping 300ms 10s;
        }

        location ~ ^/raw/(?<chan>.+)$ {
            ws_bus $chan;
        }

        location ~ ^/raw-long/(?<chan>.+)$ {
            ws_bus $chan;
            ws_bus_batch 1h;
        }

        location ~ ^/raw-latest/(?<chan>.+)$ {
            ws_bus $chan;
            ws_bus_batch 1h;
            ws_bus_buffer 1m latest;
        }

        # much less than is published meanwhile

        location = /full-close {
            ws_bus;
            ws_bus_buffer 8k;
        }

        location = /full-oldest {
            ws_bus;
            ws_bus_buffer 8k oldest;
        }

        location = /slow-close {
            ws_bus;
            ws_bus_buffer 64k;
            ws_bus_batch 20ms;
        }

        location = /slow-oldest {
            ws_bus;
            ws_bus_buffer 64k oldest;
            ws_bus_batch 20ms;
        }

        location = /slow-latest {
            ws_bus;
            ws_bus_buffer 64k latest;
            ws_bus_batch 20ms;
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
}


# Each POST is answered before the next one: every message has a turn of the
# event loop to itself.

sub post {
    my ($channel, @values) = @_;

    for my $value (@values) {
        my $r = $h->request('POST', "/pub/$channel", body => $value);
        die "POST failed" unless $r && $r->status() == 201;
    }
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


# What has come in one read, as "type data", without waiting for more.

sub one_read {
    my ($c, $timeout) = @_;

    $c->_fill(time() + ($timeout // $c->{timeout}));

    my @m;

    while (my $m = $c->next(0)) {
        push @m, words($m);
    }

    return join(', ', @m);
}


sub words {
    my ($m) = @_;

    return "$m->{type} " . ($m->{code} // $m->{data} // $m->{text}
        // (defined $m->{from} ? "$m->{channel} $m->{from}-$m->{to}"
            : defined $m->{count} ? "$m->{channel} $m->{count}"
            : $m->{seq} // scalar(@{$m->{messages} // []})));
}


# The same of so many messages, however they come.

sub several {
    my ($c, $n) = @_;

    return join(', ', map { words($_) } $c->next_n($n));
}


sub configuration {
    for my $case (
        [ 'ws_bus_batch 0;', 1 ],
        [ 'ws_bus_batch 50;', 1 ],
        [ 'ws_bus_batch 50ms;', 1 ],
        [ 'ws_bus_batch 50mx;', 0, qr/"ws_bus_batch" directive/ ],
        [ 'ws_bus_batch -1;', 0, qr/"ws_bus_batch" directive/ ],
        [ 'ws_bus_batch;', 0, qr/"ws_bus_batch"/ ],
        [ 'ws_bus_batch 1s 2s;', 0, qr/"ws_bus_batch"/ ],
        [ 'ws_bus_batch 1s; ws_bus_batch 2s;', 0, qr/duplicate/ ],
    ) {
        my ($text, $good, $says) = @$case;

        $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\n"
            . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
            . "server { listen 127.0.0.1:%%PORT_8080%%;\n"
            . "location / { ws_bus a; $text }\n}\n}\n");

        my ($ok, $said) = $t->test_config('test.conf');

        is($ok ? 1 : 0, $good, $text);
        like($said, $says, "$text: what it says") if $says;
    }
}


# Without a batch each message is there before the next one is published.

sub off {
    my $c = subscriber('/off', [ 'x.off' ]);

    for (1 .. 5) {
        post('x.off', $_);
        is(one_read($c), "message $_", "off: message $_ is there at once");
    }
}


sub gathered {
    my ($name, @opt) = @_;

    my $channel = "x.short.$name";
    my $c = subscriber('/short', [ $channel ], @opt);
    my $raw = ws("/raw/$channel", @opt);

    # if this test itself is too slow for one batch, it tries again

    my ($since, $took, $got);

    for (1 .. 20) {
        $since = time();
        post($channel, 1 .. 20);
        $took = time() - $since;

        last if $took < 0.9;

        $c->next_n(20);
        $raw->recv_n(20);
    }

    cmp_ok($took, '<', 0.9, "$name: quick enough");

    # with TLS a read is a record: all of them are one

    $got = one_read($c);

    cmp_ok(time() - $since, '>', 0.9, "$name: they have waited");
    is($got, join(', ', map { "message $_" } 1 .. 20),
        "$name: all of them leave together");
    is(join(' ', $raw->recv_n(20)), join(' ', 1 .. 20), "$name: raw ones too");

    # and so does the next batch

    post($channel, 'again');
    is(one_read($c), 'message again', "$name: the next batch");
    is_message($raw, 'again', "$name: the next batch, raw");

    is($c->finish(), 1000, "$name: closed");
    is($raw->finish(), 1000, "$name: closed, raw");
}


# Answers do not wait, and take along what does.

sub flushed {
    my ($name, @opt) = @_;

    my $channel = "x.long.$name";
    my $all = join(', ', map { "message $_" } 1 .. 3);

    for my $case (
        [ 'history', [ 'history', channel => $channel, limit => 1 ],
          'history 1' ],
        [ 'publish', [ 'publish', channel => "$channel.other", id => 1,
          data => \1 ], 'published \d+' ],
        [ 'subscribe', [ 'subscribe', channel => "$channel.other" ],
          'subscribed \d+' ],
        [ 'unsubscribe', [ 'unsubscribe', channel => "$channel.other" ],
          'error not_subscribed' ],
        [ 'an error', [ 'nonsense' ], 'error bad_request' ],
    ) {
        my ($what, $request, $answer) = @$case;
        my $c = subscriber('/long', [ $channel ], @opt);

        post($channel, 1 .. 3);
        is($c->surplus(0.2), '', "$name, $what: nothing at first");

        $c->say(@$request);
        like(several($c, 4), qr/^$all, $answer$/,
            "$name, $what: the answer comes behind the messages");
        is($c->surplus(0.05), '', "$name, $what: no more");

        # a batch begins anew

        post($channel, 4);
        is($c->surplus(0.2), '', "$name, $what: the next one waits");
        $c->say(@$request);
        like(several($c, 2), qr/^message 4, /, "$name, $what: for an answer");
        $c->disconnect();
    }

    # by one write

    my $c = subscriber('/long', [ $channel ], @opt);

    post($channel, 1 .. 3);
    $c->say('history', channel => $channel, limit => 0);
    is(one_read($c), "$all, history 0", "$name: answered in one write")
        if $name eq 'plain';
    $c->disconnect();

    # its own message waits, as others do; without an id there is no answer

    $c = subscriber('/long', [ $channel ], @opt);
    $c->say('publish', channel => $channel, data => \'"own"');
    is($c->surplus(0.2), '', "$name: its own message waits");
    $c->say('publish', channel => $channel, data => \'"next"', id => 1);

    my @m = $c->next_n(3);

    is(join(' ', map { $_->{data} } grep { $_->{type} eq 'message' } @m),
        '"own" "next"', "$name: until it is answered");
    $c->disconnect();

    # a pong, and a ping

    my $raw = ws("/raw-long/$channel", @opt);

    post($channel, 1 .. 3);
    ok($raw->is_silent(0.2), "$name, ping: nothing at first");
    $raw->ping('x');
    is(join(' ', map { $_->{type} . ' ' . $_->{data} }
        map { $raw->read_event() // { type => 'none', data => '' } } 1 .. 4),
        'text 1 text 2 text 3 pong x', "$name, ping: it is answered");
    $raw->disconnect();

    $c = subscriber('/ping', [ $channel ], @opt);
    post($channel, 5);

    is(several($c, 1), 'message 5', "$name: a ping of the server's takes it");
    $c->disconnect();
}


# A Close comes behind what waits.

sub at_the_end {
    my ($name, @opt) = @_;

    my $channel = "x.end.$name";
    my $c = subscriber('/long', [ $channel ], @opt);

    post($channel, 1 .. 3);
    $c->close(1000);
    is_closed($c, 1000, "$name: the client closes");
    is(join(' ', map { parse_json($_->{data})->{data} } @{$c->{skipped}}),
        '1 2 3', "$name: what has waited comes first");

    $c = subscriber('/long', [ $channel ], @opt);

    post($channel, 4, 5);
    $c->binary('x');
    is_closed($c, 1003, "$name: a violation");
    is(join(' ', map { parse_json($_->{data})->{data} } @{$c->{skipped}}),
        '4 5', "$name: what has waited comes first, too");

    $c = subscriber('/long', [ $channel ], @opt);

    post($channel, 6, 7);
    is($h->request('DELETE', "/pub/$channel")->status(), 204,
        "$name: the channel is deleted");
    is_closed($c, 4004, "$name: and its subscriber closed");
    is(join(' ', map { parse_json($_->{data})->{data} } @{$c->{skipped}}),
        '6 7', "$name: what was published before comes");

    # gone while something waits

    $c = subscriber('/long', [ $channel ], @opt);

    my $closed = status()->{dropped}{closed};

    post($channel, 8, 9);
    $c->abort();
    ok($t->wait_until(sub {
        return status()->{dropped}{closed} == $closed + 2;
    }, 10), "$name: what a client does not wait for is counted");
}


# Of each channel the newest, behind a word about the others.

sub latest {
    my ($name, @opt) = @_;

    my @channels = map { "x.latest.$name.$_" } qw/ a b c d /;
    my ($a, $b, $d, $e) = @channels;
    my $c = subscriber('/latest', [ @channels ], @opt);
    my @raw = map { ws("/raw-latest/$_", @opt) } $a, $b;
    my $conflated = status()->{dropped}{conflated};

    post($a, 'a1');
    post($b, 'b1', 'b2');
    post($a, map { "a$_" } 2 .. 5);
    post($d, 'd1');
    is($c->surplus(0.2), '', "$name, latest: nothing at first");

    $c->say('history', channel => $e, limit => 0);

    my @m = $c->next_n(6);
    my @before;

    is(join(', ', map { $_->{text} // () } @m), 'b2, a5, d1',
        "$name, latest: the newest of each channel");
    is(join(', ', sort map { words($_) } grep { $_->{type} eq 'gap' } @m),
        "gap $a 1-4, gap $b 1-1", "$name, latest: and gaps");
    is($m[5]{type}, 'history', "$name, latest: then the answer");
    is($c->surplus(0.05), '', "$name, latest: no more");

    for my $m (@m) {
        my $channel = $m->{channel} // '';

        if ($m->{type} eq 'gap') {
            push @before, $channel;

        } elsif ($m->{type} eq 'message' && $channel ne $d) {
            is(scalar(grep { $_ eq $channel } @before), 1,
                "$name, latest: the gap of $channel comes before it");
        }
    }

    # it goes on from there

    post($a, 'a6', 'a7');
    $c->say('history', channel => $e, limit => 0);
    is(several($c, 3), "gap $a 6-6, message a7, history 0",
        "$name, latest: the next batch");

    post($a, 'a8');
    $c->say('history', channel => $e, limit => 0);
    is(several($c, 2), 'message a8, history 0',
        "$name, latest: one message is dropped by nobody");

    # raw clients are not told

    for my $case ([ $raw[0], 'a8' ], [ $raw[1], 'b2' ]) {
        my ($r, $newest) = @$case;

        $r->ping('x');
        is(join(' ', map { $_->{type} . ' ' . $_->{data} }
            map { $r->read_event() // { type => 'none', data => '' } } 1 .. 2),
            "text $newest pong x", "$name, latest: raw, $newest");
    }

    is(status()->{dropped}{conflated} - $conflated, 6 + 8,
        "$name, latest: they are counted");

    # of a channel that is left all is told before that

    post($a, 'a9', 'a10');
    post($b, 'b3', 'b4');
    $c->say('unsubscribe', channel => $a);

    my %of;

    while (my $m = $c->next()) {
        push @{$of{$m->{channel}}}, words($m);
        last if $m->{type} eq 'unsubscribed';
    }

    is_deeply(\%of, {
        $a => [ "gap $a 9-9", 'message a10', 'unsubscribed 0' ],
        $b => [ "gap $b 3-3", 'message b4' ]
    }, "$name, latest: a channel is left when all is told");

    post($a, 'a11');
    is($c->surplus(0.1), '', "$name, latest: and nothing after that");

    is($c->finish(), 1000, "$name, latest: closed");
    $_->disconnect() for @raw;
}


# Its own publications, one by one: the answer takes along what waits.

sub one_by_one {
    my $c = subscriber('/long', [ 'x.own' ]);
    my @got;

    for my $n (1 .. 50) {
        $c->say('publish', id => $n, channel => 'x.own', data => \$n);
        push @got, grep { $_->{type} eq 'published' } $c->next();
        push @got, grep { $_->{type} eq 'published' } $c->next() if @got < $n;
    }

    is(join(' ', map { $_->{seq} } @got), join(' ', 1 .. 50),
        'every publication is answered');
    $c->disconnect();
}


# Without numbers there are counts.

sub not_kept {
    my $c = subscriber('/latest', [ 'x.u', 'x.v' ]);

    $h->request('POST', '/pub-off/x.u', body => $_) for 1 .. 7;
    $h->request('POST', '/pub-off/x.v', body => 1);
    $c->say('history', channel => 'x.w');

    is(several($c, 4), 'gap x.u 6, message 7, message 1, error not_found',
        'not kept: how many');

    # some are kept, some are not

    for my $case (
        [ 'kept, then not', [ 'pub', 'pub-off', 'pub-off' ] ],
        [ 'not, then kept', [ 'pub-off', 'pub', 'pub' ] ],
        [ 'in between', [ 'pub', 'pub-off', 'pub', 'pub-off' ] ],
    ) {
        my ($name, $how) = @$case;
        my $channel = 'x.mixed.' . $name =~ tr/a-z//cdr;

        $c->ask('subscribe', channel => $channel);

        my ($n, $seq, %kept) = (0, 0);

        for my $pub (@$how) {
            $h->request('POST', "/$pub/$channel", body => ++$n);
            $kept{$n} = ++$seq if $pub eq 'pub';
        }

        $c->say('history', channel => $channel, limit => 0);

        my (@gaps, $newest);

        while (my $m = $c->next()) {
            last if $m->{type} eq 'history';
            push @gaps, $m if $m->{type} eq 'gap';
            $newest = $m->{data} if $m->{type} eq 'message';
        }

        is($newest, $n, "$name: the newest");

        # those with numbers are told by them; whether those without are
        # counted apart is not said

        my %told;

        for my $gap (grep { defined $_->{from} } @gaps) {
            is(scalar($gap->{from} <= $gap->{to}), 1,
                "$name: a gap from $gap->{from} to $gap->{to}");
            $told{$_}++ for $gap->{from} .. $gap->{to};
        }

        my @lost = grep { defined } map { $kept{$_} } 1 .. $n - 1;

        is(join(' ', sort keys %told), "@lost",
            "$name: the numbers that are lost");
    }

    $c->disconnect();
}


# What is replayed is asked for: it does not wait.

sub replays {
    post('x.rep', 1 .. 2000);

    my $e = $h->request('GET', '/pub/x.rep')->json()->{epoch};
    my $c = json('/long');

    is($c->ask('subscribe', channel => 'x.rep', epoch => $e,
        seq => 0)->{recovered}, 'true', 'a replay');

    my @got = $c->next_n(2000);

    is(scalar(@got), 2000, 'does not wait');

    post('x.rep', 2001);
    $c->say('history', channel => 'x.rep', limit => 0);

    my @rest;

    while (my $m = $c->next()) {
        last if $m->{type} eq 'history';
        push @rest, $m;
    }

    is(holes(1, 2001, @got, @rest), '', 'and nothing is missing behind it');
    $c->disconnect();
}


# Who reads fast is not slow, however much is gathered.

sub full {
    my $body = '=' x 1000;

    for my $policy (qw/ close oldest /) {
        my $channel = "x.full.$policy";
        my $c = subscriber("/full-$policy", [ $channel ]);
        my $dropped = status()->{dropped}{slow};

        post($channel, "$_.$body") for 1 .. 50;

        my @got = $c->next_n(50);

        is(holes(1, 50, grep { $_->{type} eq 'message' } @got), '',
            "$policy: more than the buffer, in a batch");
        is(status()->{dropped}{slow} - $dropped, 0, "$policy: none dropped");
        $c->disconnect();

        # one message that is larger

        $channel = "x.larger.$policy";
        $c = subscriber("/full-$policy", [ $channel ]);

        post($channel, $body x 20, 'next');
        is(join(' ', map { $_->{type} . ' ' . length($_->{text} // '') }
            $c->next_n(2)), 'message 20000 message 4',
            "$policy: a message larger than the buffer");
        $c->disconnect();
    }
}


# A client that does not read: what is missing is told, or it is closed.

sub slow {
    my ($policy) = @_;

    my @channels = map { "x.slow.$policy.$_" } 1, 2;
    my $c = subscriber("/slow-$policy", [ @channels ], rcvbuf => 4096,
        port => port(8081));
    my $fast = subscriber("/slow-$policy", [ @channels ]);
    my $body = '=' x 1000;
    my $n = 500;
    my %got;

    for my $i (1 .. $n) {
        post($_, "$i.$body") for @channels;

        if ($i % 10 == 0) {
            while (my $m = $fast->next(0)) {
                push @{$got{$m->{channel}}}, $m;
            }
        }
    }

    while (grep { newest($got{$_}) < $n } @channels) {
        my $m = $fast->next() // last;
        push @{$got{$m->{channel}}}, $m;
    }

    # within 20 ms there may be several messages: "latest" drops some of them

    for my $channel (@channels) {
        my @of = @{$got{$channel} // []};

        is(holes(1, $n, @of), '', "$policy, slow: another client is told all");
        is(scalar(@of), $n, "$policy, slow: it misses nothing")
            if $policy ne 'latest';
    }

    if ($policy eq 'close') {
        is_closed($c, 1013, 'close, slow: closed', reason => qr/slow/);

        my @m = map { parse_json($_->{data}) } @{$c->{skipped}};

        for my $channel (@channels) {
            my @of = grep { $_->{channel} eq $channel } @m;

            is(holes(1, scalar(@of), @of), '', 'close, slow: no hole');
        }

        return;
    }

    my %m;

    while (grep { newest($m{$_}) < $n } @channels) {
        my $m = $c->next() // last;
        push @{$m{$m->{channel}}}, $m;
    }

    for my $channel (@channels) {
        is(holes(1, $n, @{$m{$channel} // []}), '',
            "$policy, slow: no hole is silent");
        cmp_ok(scalar(@{$m{$channel} // []}), '<', $n,
            "$policy, slow: there are some");
    }

    post($channels[0], '"live"');
    is(words($c->next()), 'message "live"', "$policy, slow: it goes on");
    is($_->finish(), 1000, "$policy, slow: closed") for $c, $fast;
}


sub newest {
    my ($list) = @_;

    return $list && @$list ? $list->[-1]{seq} // 0 : 0;
}


# What is wrong with these messages and gaps of a channel: each number must be
# received or told, in order.

sub holes {
    my ($next, $last, @m) = @_;

    for my $m (@m) {
        my ($from, $to) = $m->{type} eq 'gap' ? ($m->{from}, $m->{to})
                                              : ($m->{seq}, $m->{seq});

        return "$m->{type} of $from to $to, expected was $next"
            if $from != $next || $to < $from;

        $next = $to + 1;
    }

    return $next == $last + 1 ? '' : 'the last one is ' . ($next - 1);
}


# A graceful shutdown takes along what waits.

sub drained {
    my @clients = map { subscriber($_, [ 'x.drain' ]) }
        '/long', '/latest', '/short';
    my $raw = ws('/raw-long/x.drain');

    post('x.drain', 1 .. 3);
    ok($t->reload(), 'reload');

    is_closed($_, 1001, 'drained') for @clients, $raw;

    my @told = map {
        join(', ', map { words(parse_json($_->{data})) } @{$_->{skipped}})
    } @clients;

    is_deeply(\@told, [ 'message 1, message 2, message 3',
        'gap x.drain 1-2, message 3', 'message 1, message 2, message 3' ],
        'what has waited comes first');
    is(join(' ', map { $_->{data} } @{$raw->{skipped}}), '1 2 3',
        'raw: what has waited comes first');
}
