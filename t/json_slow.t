#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# JSON clients that read too slowly: each policy of ws_bus_buffer, and that
# whatever does not come is said, by channel.

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

use constant COUNT => 1000;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri dropped:$ws_bus_dropped code:$ws_bus_close_code';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 64m;
    ws_bus_zone small 512k;
    ws_bus_message_max_size 64k;
    client_max_body_size 16m;
    client_body_buffer_size 4m;
    keepalive_requests 1000000;

    ws_bus_history 100000;
    ws_bus_channels x.**;
    ws_bus_buffer 64k;
    ws_bus_publish on;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8443%% ssl sndbuf=16k;

        location = /close {
            ws_bus;
        }

        location = /oldest {
            ws_bus;
            ws_bus_buffer 64k oldest;
        }

        location = /latest {
            ws_bus;
            ws_bus_buffer 64k latest;
        }

        location = /deflate {
            ws_bus;
            ws_bus_buffer 64k oldest;
            ws_bus_deflate on;
        }

        location = /burst-oldest {
            ws_bus;
            ws_bus_buffer 8k oldest;
        }

        location = /burst-latest {
            ws_bus;
            ws_bus_buffer 8k latest;
        }

        location = /burst-batch {
            ws_bus;
            ws_bus_buffer 8k oldest;
            ws_bus_batch 5ms;
        }

        location = /off {
            ws_bus;
            ws_bus_history off;
        }

        location = /small {
            ws_bus zone=small;
            ws_bus_message_max_size 8k;
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
            ws_bus_message_max_size 8k;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my $h = Test::WsBus::HTTP->new(port => port(8080));
my $body = '=' x 1000;
my @slow = (port => port(8081), rcvbuf => 4096);


for my $case (
    [ 'plain', @slow ],
    [ 'TLS', port => port(8443), rcvbuf => 4096, ssl => 1 ],
) {
    my ($name, @opt) = @$case;

    policy_close($name, @opt);
    policy_oldest($name, @opt);
    policy_latest($name, @opt);
    replays($name, @opt);
}

not_kept();
several();
compressed();
left();
answers($_) for qw/ close oldest latest /;
overtaken();
bursts(0);
bursts(1);
lapped();
storm();

$t->done_testing();


# Publishing.

sub post {
    my ($uri, $data) = @_;

    my $r = $h->request('POST', $uri, body => $data);
    die "POST failed" unless $r && $r->status() == 201;
}


# Numbered messages to the channels, in turn, some of which a client reads.

sub flood {
    my ($uri, $channels, $c) = @_;

    for my $n (1 .. COUNT) {
        post("$uri/$_", "$n.$body") for @$channels;

        if ($c && $n % 20 == 0) {
            while (my $m = $c->next(0)) {
                push @{$c->{received}}, $m;
            }
        }
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


# Reads until all channels have come to the message with that number, or
# nothing comes any more.

sub drain {
    my ($c, $channels, $last) = @_;

    $c->{received} //= [];

    my %open = map { $_ => 1 } @$channels;

    for my $m (@{$c->{received}}) {
        delete $open{$m->{channel} // ''} if ends($m, $last);
    }

    while (%open) {
        my $m = $c->next() // last;

        push @{$c->{received}}, $m;
        delete $open{$m->{channel} // ''} if ends($m, $last);
    }
}


sub ends {
    my ($m, $last) = @_;

    return ($m->{text} // '') =~ /^$last\./;
}


# Is what came of a channel without a hole that was not told?  Its messages are
# numbered as the seq is; without a seq, where nothing is kept, gaps have a
# count.  Returns what is wrong, how many messages came, and how many were told
# to be lost.

sub holes {
    my ($c, $channel, $first, $last, $not_kept) = @_;

    my ($next, $n, $lost, $wrong) = ($first, 0, 0, '');

    for my $m (grep { ($_->{channel} // '') eq $channel } @{$c->{received}}) {

        if ($m->{type} eq 'gap') {
            my $from = $not_kept ? $next : $m->{from} // '?';
            my $to = $not_kept ? $next + ($m->{count} // 0) - 1
                               : $m->{to} // '?';

            $wrong ||= "$m->{text_}, expected was $next"
                if $from ne $next || $to !~ /^\d+$/ || $to < $from;

            $lost += $to - $from + 1 unless $wrong;
            $next = $to + 1 unless $wrong;

        } elsif ($m->{type} eq 'message') {
            my ($number) = $m->{text} =~ /^(\d+)\.\Q$body\E\z/;

            $wrong ||= "damaged: " . substr($m->{text_}, 0, 100)
                if !defined $number
                    || ($m->{seq} // '') ne ($not_kept ? '' : $number);
            $wrong ||= "$number came, expected was $next" if $number != $next;

            $next = $number + 1;
            $n++;
        }
    }

    $wrong ||= "the last one is " . ($next - 1) if $next != $last + 1;

    return $wrong, $n, $lost;
}


sub policy_close {
    my ($name, @opt) = @_;

    my @channels = ("x.close-$name");
    my $c = subscriber('/close', \@channels, @opt);
    my $fast = subscriber('/close', \@channels);
    my $closed = status()->{dropped}{closed};

    flood('/pub', \@channels, $fast);
    drain($fast, \@channels, COUNT);

    is_deeply([ holes($fast, $channels[0], 1, COUNT) ], [ '', COUNT, 0 ],
        "$name: close: another client gets all");

    is_closed($c, 1013, "$name: close: closed", reason => qr/slow consumer/);

    $c->{received} = [ map { parse_json($_->{data}) } @{$c->{skipped}} ];

    my $n = @{$c->{received}};

    is_deeply([ holes($c, $channels[0], 1, $n) ], [ '', $n, 0 ],
        "$name: close: whole messages, no hole");
    cmp_ok($n, '<', 200, "$name: close: not many");
    cmp_ok(status()->{dropped}{closed} - $closed, '>', 0,
        "$name: close: dropped ones are counted");

    # it comes back for the rest

    my $d = json('/close');
    my $e = http_get("/pub/$channels[0]")->json()->{epoch};

    is($d->ask('subscribe', channel => $channels[0], epoch => $e,
        seq => $n)->{recovered}, 'true', "$name: close: it comes back");

    drain($d, \@channels, COUNT);
    is_deeply([ holes($d, $channels[0], $n + 1, COUNT) ],
        [ '', COUNT - $n, 0 ], "$name: close: and gets the rest");

    is($_->finish(), 1000, "$name: close: closed in good order") for $d, $fast;
}


sub policy_oldest {
    my ($name, @opt) = @_;

    my @channels = ("x.oldest-$name");
    my $c = subscriber('/oldest', \@channels, @opt);
    my $fast = subscriber('/oldest', \@channels);
    my $dropped = status()->{dropped}{slow};

    flood('/pub', \@channels, $fast);
    drain($fast, \@channels, COUNT);

    is_deeply([ holes($fast, $channels[0], 1, COUNT) ], [ '', COUNT, 0 ],
        "$name: oldest: another client gets all");

    drain($c, \@channels, COUNT);

    my ($wrong, $n, $lost) = holes($c, $channels[0], 1, COUNT);

    is($wrong, '', "$name: oldest: no hole is silent");
    cmp_ok($n, '>', 60, "$name: oldest: the newest are kept");
    cmp_ok($lost, '>', COUNT / 2, "$name: oldest: many are lost");
    is(status()->{dropped}{slow} - $dropped, $lost,
        "$name: oldest: they are counted");

    my ($gap, @others) = grep { $_->{type} eq 'gap' } @{$c->{received}};

    is_next($gap // { text_ => 'none' },
        { type => 'gap', channel => $channels[0],
        from => qr/^\d+$/, to => qr/^\d+$/ }, "$name: oldest: gap");
    is(scalar(@others), 0, "$name: oldest: one for all that is lost");

    post("/pub/$channels[0]", 'live');
    is_next($c, { type => 'message', channel => $channels[0],
        seq => COUNT + 1, text => 'live' }, "$name: oldest: it goes on");

    # a second time

    $c->{received} = [];
    post("/pub/$channels[0]", COUNT + 1 + $_ . ".$body") for 1 .. 200;
    drain($c, \@channels, COUNT + 201);

    ($wrong, $n, $lost) = holes($c, $channels[0], COUNT + 2, COUNT + 201);

    is($wrong, '', "$name: oldest: nor the second time");
    cmp_ok($lost, '>', 0, "$name: oldest: some are lost again");

    is($c->finish(), 1000, "$name: oldest: closed in good order");
    is($fast->finish(), 1000, "$name: oldest: so is the other");
}


sub policy_latest {
    my ($name, @opt) = @_;

    my @channels = map { "x.latest-$name-$_" } 1 .. 3;
    my $c = subscriber('/latest', \@channels, @opt);
    my $fast = subscriber('/close', \@channels);
    my $conflated = status()->{dropped}{conflated};

    flood('/pub', \@channels, $fast);
    drain($fast, \@channels, COUNT);
    drain($c, \@channels, COUNT);

    my $all = 0;

    for my $channel (@channels) {
        is_deeply([ holes($fast, $channel, 1, COUNT) ], [ '', COUNT, 0 ],
            "$name: latest: another client gets all");

        my ($wrong, $n, $lost) = holes($c, $channel, 1, COUNT);

        is($wrong, '', "$name: latest: no hole is silent, up to the newest");
        cmp_ok($lost, '>', COUNT / 2, "$name: latest: many are lost");
        $all += $lost;
    }

    is(status()->{dropped}{conflated} - $conflated, $all,
        "$name: latest: they are counted");

    # of those that waited, one of each channel

    for my $channel (@channels) {
        my @m = grep { $_->{channel} eq $channel } @{$c->{received}};

        is(join(' ', map { $_->{type} } @m[-2, -1]), 'gap message',
            "$name: latest: only the newest waited");
    }

    post("/pub/$_", 'live') for @channels;
    is_next($c, { type => 'message', channel => $_, seq => COUNT + 1,
        text => 'live' }, "$name: latest: it goes on") for @channels;

    # even the newest alone are too much

    post("/pub/$channels[0]", "$_.$body") for 1 .. 200;
    post("/pub/$_", $body x 30) for @channels;

    is_closed($c, 1013, "$name: latest: closed", reason => qr/slow consumer/);
    is($fast->finish(), 1000, "$name: latest: the other is not");
}


# A replay goes as fast as its client reads: nothing is dropped, whatever the
# policy, also when live messages of another channel come in between.

sub replays {
    my ($name, @opt) = @_;

    my $channel = "x.replay-$name";

    post("/pub/$channel", "$_.$body") for 1 .. COUNT;
    my $e = http_get("/pub/$channel")->json()->{epoch};

    for my $policy (qw/ close oldest latest /) {
        my $c = json("/$policy", @opt);
        my $dropped = dropped();

        $c->ask('subscribe', channel => 'x.between');
        $c->say('subscribe', id => 1, channel => $channel, epoch => $e,
            seq => 0);

        sleep(0.2);
        drain($c, [ $channel ], COUNT);

        is_deeply([ holes($c, $channel, 1, COUNT) ], [ '', COUNT, 0 ],
            "$name: $policy: a replay is slow, and whole");
        is(dropped(), $dropped, "$name: $policy: nothing is dropped");
        is($c->finish(), 1000, "$name: $policy: closed in good order");
    }

    my $from = http_get('/pub/x.between')->json()->{seq};
    my $c = json('/oldest', @opt);

    $c->ask('subscribe', channel => 'x.between');
    $c->say('subscribe', id => 1, channel => $channel, epoch => $e,
        seq => 0);

    for my $n (1 .. 100) {
        post('/pub/x.between', $from + $n . ".$body");
        push @{$c->{received}}, $c->next_n(5);
    }

    drain($c, [ $channel ], COUNT);
    drain($c, [ 'x.between' ], $from + 100);

    my ($wrong, $n) = holes($c, $channel, 1, COUNT);
    is($wrong, '', "$name: of the replayed channel no hole is silent");

    ($wrong, $n) = holes($c, 'x.between', $from + 1, $from + 100);
    is($wrong, '', "$name: nor of the live one");
}


sub dropped {
    my $dropped = status()->{dropped};

    return join(' ', map { "$_:$dropped->{$_}" } sort keys %$dropped);
}


# Without history there are no numbers, but a count.

sub not_kept {
    for my $policy (qw/ oldest latest /) {
        my @channels = ("x.unkept-$policy-1", "x.unkept-$policy-2");
        my $c = subscriber("/$policy", \@channels, @slow);
        my $before = status()->{dropped};
        my $all = 0;

        flood('/pub-off', \@channels);
        drain($c, \@channels, COUNT);

        for (@channels) {
            my ($wrong, $n, $lost) = holes($c, $_, 1, COUNT, 1);

            is($wrong, '', "not kept: $policy: no hole is silent");
            cmp_ok($lost, '>', COUNT / 2, "not kept: $policy: many are lost");
            $all += $lost;
        }

        my ($gap) = grep { $_->{type} eq 'gap' } @{$c->{received}};

        is_next($gap // { text_ => 'none' },
            { type => 'gap', channel => qr/^x\.unkept-$policy/,
            count => qr/^\d+$/ }, "not kept: $policy: gap");

        my $after = status()->{dropped};
        my $reason = $policy eq 'oldest' ? 'slow' : 'conflated';

        is($after->{$reason} - $before->{$reason}, $all,
            "not kept: $policy: counted");
    }
}


# One buffer for many channels, the gaps are by channel; answers are never
# dropped, and stay in order.

sub several {
    my @channels = map { "x.several-$_" } 1 .. 5;
    my $c = subscriber('/oldest', \@channels, @slow);
    my $dropped = status()->{dropped}{slow};

    for my $n (1 .. COUNT) {
        for my $i (0 .. 4) {
            next if $n % (1 << $i);
            post("/pub/$channels[$i]", $n / (1 << $i) . ".$body");
        }

        if ($n % 100 == 0) {
            $c->write(frame(TEXT, format_request(type => 'history',
                id => $n, channel => 'x.several-1', seq => $n - 1,
                limit => 1)), no_read => 1);
        }
    }

    drain($c, [ $channels[$_] ], COUNT >> $_) for 0 .. 4;

    my $all = 0;

    for my $i (0 .. 4) {
        my ($wrong, $n, $lost) = holes($c, $channels[$i], 1, COUNT >> $i);

        is($wrong, '', "several: no hole is silent, $i");
        $all += $lost;
    }

    cmp_ok($all, '>', COUNT, 'several: many are lost');
    is(status()->{dropped}{slow} - $dropped, $all, 'several: counted');

    my @answers = grep { $_->{type} eq 'history' } @{$c->{received}};

    push @answers, $c->next() // () if @answers < 10;

    is(join(' ', map { $_->{id} } @answers),
        join(' ', map { 100 * $_ } 1 .. 10), 'several: all answers');
    is(scalar(grep { $_->{messages}[0]{seq} != $_->{id} } @answers), 0,
        'several: the right ones');
}


sub compressed {
    my @channels = ('x.deflate');
    my $c = subscriber('/deflate', \@channels, @slow, deflate => 1);

    my @random = map { join('', map { chr(33 + rand 64) } 1 .. 1000) }
        1 .. 10;

    post('/pub/x.deflate', "$_.$random[$_ % 10]") for 1 .. COUNT;
    drain($c, \@channels, COUNT);

    for (@{$c->{received}}) {
        $_->{text} =~ s/^(\d+)\.\Q$random[$_->{seq} % 10]\E\z/$1.$body/
            if $_->{type} eq 'message';
    }

    my ($wrong, $n, $lost) = holes($c, 'x.deflate', 1, COUNT);

    is($wrong, '', 'compressed: no hole is silent');
    cmp_ok($lost, '>', 0, 'compressed: some are lost');
    cmp_ok($n, '<', COUNT, 'compressed: not all come');
}


# Channels that are joined and left while much waits: a gap is between the
# answers to both, and says all that is lost of what comes between them.

sub left {
    for my $policy (qw/ oldest latest /) {
        my (@wrong, @stray, $gaps);

        for my $n (map { ($_, 25 * $_) } 1 .. 8) {
            my ($channel, $other) = ("x.left-$policy-$n", 'x.other');
            my $c = subscriber("/burst-$policy", [ $other ], @slow);

            post("/pub/$other", "0.$body") for 1 .. 200;

            $c->write(frame(TEXT, format_request(type => 'subscribe',
                id => 1, channel => $channel)), no_read => 1);
            settled($c, $channel, 1);
            post("/pub/$channel", "$_.$body") for 1 .. 100;

            $c->write(frame(TEXT, format_request(type => 'unsubscribe',
                id => 2, channel => $channel)), no_read => 1);
            settled($c, $channel, 0);
            post("/pub/$other", "0.$body") for 1 .. $n;
            post("/pub/$channel", '0');

            my @m;

            while (my $m = $c->next()) {
                push @m, $m if $m->{channel} eq $channel;
                last if $m->{type} eq 'unsubscribed';
            }

            $c->{received} = \@m;

            my $types = join(' ', map { $_->{type} } @m);

            push @wrong, "$n: $types"
                if $types !~ /^subscribed(?: message| gap)* unsubscribed$/;

            my $why = (holes($c, $channel, 1, 100))[0];
            push @wrong, "$n: $why" if $why;

            $gaps += grep { $_->{type} eq 'gap' } @m;

            post("/pub/$other", 'end');

            while (my $m = $c->next()) {
                push @stray, "$n: $m->{text_}" if $m->{channel} eq $channel;
                last if ($m->{text} // '') eq 'end';
            }

            push @stray, 'not closed in good order' if $c->finish() != 1000;
        }

        is(join("\n", @wrong), '', "left: $policy: gaps are within");
        is(join("\n", @stray), '', "left: $policy: nothing after that");
        cmp_ok($gaps, '>', 0, "left: $policy: there were gaps");
    }
}


# Until the channel has so many subscribers.

sub settled {
    my ($c, $channel, $n) = @_;

    $t->wait_until(sub {
        my $r = $h->request('GET', "/pub/$channel");
        return $r->status() == 200 && $r->json()->{subscribers} == $n;
    }) or die "a request was not read";
}


# Answers wait as messages do, but they cannot be dropped.

sub answers {
    my ($policy) = @_;

    my ($pid) = $t->workers();

    post('/pub/x.answers', $body) for 1 .. 50;

    for my $case (
        [ 'published', 100_000, type => 'publish', id => 'x' x 60,
          channel => 'x.answers.p', data => 1 ],
        [ 'history', 2000, type => 'history', id => 1,
          channel => 'x.answers' ],
        [ 'subscribed', 100_000, type => 'unsubscribe', id => 'x' x 60,
          channel => 'x.answers' ],
    ) {
        my ($name, $n, @request) = @$case;

        my $c = json("/$policy", @slow);
        my $frame = frame(TEXT, format_request(@request));
        my $rss = rss($pid);

        # no errors, there may not be many of them

        $frame = frame(TEXT, format_request(type => 'subscribe',
            id => 'x' x 60, channel => 'x.answers')) . $frame
            if $name eq 'subscribed';

        $frame x= $n / 50;

        for (1 .. 50) {
            my $sent = $c->write($frame, no_read => 1, timeout => scale(2));
            last if $sent < length $frame;
        }

        # what can be had of them is whole

        is_closed($c, 1013, "$policy: $name: answers that nobody reads",
            reason => qr/slow consumer/, timeout => patience());

        my $wrong = grep { parse_json($_->{data})->{type} !~ /ed$|^history$/ }
            @{$c->{skipped} // []};

        is($wrong, 0, "$policy: $name: what has come is answers");

        SKIP: {
            skip 'memory of a sanitizer', 1 if $ENV{WS_BUS_TEST_PRELOAD};

            cmp_ok(rss($pid) - $rss, '<', 20_000_000,
                "$policy: $name: they do not pile up");
        }
    }
}


# Messages that come many at a time to clients that read a little in between:
# a gap is where the lost messages would have been.  Then with messages that
# are not kept among them.

sub bursts {
    my ($mixed) = @_;

    my $name = $mixed ? 'bursts, not all kept' : 'bursts';
    my ($gaps, %wrong) = (0);

    for my $round (1 .. 3) {
        my @channels = map { "x.burst-$mixed-$round-$_" } 0, 1;
        my @c = map {
            my $policy = (qw/ oldest latest batch /)[$_ % 3];

            my $c = subscriber("/burst-$policy", \@channels,
                rcvbuf => 4096 + int rand 20000,
                $_ < 18 ? (port => port(8081)) : (port => port(8443), ssl => 1)
            );

            $c->{policy} = $policy . ($_ < 18 ? '' : ', TLS');
            $c;
        } 0 .. 26;

        my ($kept, $off) = (json('/close'), json('/off'));
        my @last = (0, 0);
        my $fill = 10 + int rand 300;

        for my $burst (1 .. 60) {
            my %text = (kept => '', off => '');

            for my $n (1 .. 50) {
                my $which = $mixed && rand() < 0.3 ? 'off' : 'kept';

                $text{$which} .= frame(TEXT, format_request(
                    type => 'publish', channel => $channels[$n % 2],
                    text => '=' x ($fill + $n)));

                $last[$n % 2]++ if $which eq 'kept';
            }

            $kept->write($text{kept});
            $off->write($text{off}) if $mixed;

            # all of it is published

            $_->ask('publish', channel => 'x.nobody', text => '')
                for $kept, $off;

            for my $c (@c) {
                push @{$c->{received}}, $c->next_n(int rand 4, 0);
            }
        }

        $kept->ask('publish', channel => $_, text => 'end') for @channels;

        for my $c (@c) {
            my %end;

            while (keys %end < 2) {
                my $m = $c->next() // last;

                push @{$c->{received}}, $m;
                $end{$m->{channel}} = 1 if ($m->{text} // '') eq 'end';
            }

            for my $i (0, 1) {
                my $wrong = burst_holes($c, $channels[$i], $last[$i] + 1);

                push @{$wrong{$c->{policy}}}, $wrong if $wrong;
            }

            $gaps += grep { $_->{type} eq 'gap' } @{$c->{received}};

            $c->disconnect();
        }
    }

    for my $policy (map { ($_, "$_, TLS") } qw/ oldest latest batch /) {
        my @wrong = @{$wrong{$policy} // []};

        is(join("\n", splice(@wrong, 0, 5)), '',
            "$name: $policy: gaps are where the messages were");
    }

    cmp_ok($gaps, '>', 20, "$name: there were gaps");
}


sub burst_holes {
    my ($c, $channel, $last) = @_;

    my $next = 1;

    for my $m (grep { ($_->{channel} // '') eq $channel } @{$c->{received}}) {

        # what was not kept has no number, and no place

        next if !defined $m->{seq} && !defined $m->{from};

        my ($from, $to) = $m->{type} eq 'gap' ? ($m->{from}, $m->{to})
                                              : ($m->{seq}, $m->{seq});

        return substr($m->{text_}, 0, 100) . ", expected was $next"
            if $from != $next || $to < $from;

        $next = $to + 1;
    }

    return $next == $last + 1 ? '' : "the last one is " . ($next - 1);
}


# A replay that the log overtakes: what is lost is said, what is left comes.

sub overtaken {
    my $c = json('/small', @slow);

    post('/pub-small/x.over', "$_.$body") for 1 .. 150;

    my $e = http_get('/pub-small/x.over')->json()->{epoch};

    $c->say('subscribe', id => 1, channel => 'x.over', epoch => $e, seq => 0);
    is($c->next()->{recovered}, 'true', 'overtaken: a replay begins');

    post('/pub-small/x.over', "$_.$body") for 151 .. COUNT;
    drain($c, [ 'x.over' ], COUNT);

    my ($wrong, $n, $lost) = holes($c, 'x.over', 1, COUNT);

    is($wrong, '', 'overtaken: no hole is silent');
    cmp_ok($lost, '>', 100, 'overtaken: many are lost');
    cmp_ok($n, '>', 100, 'overtaken: the others come');

    my ($gap) = grep { $_->{type} eq 'gap' } @{$c->{received}};
    is_next($gap // { text_ => 'none' }, { type => 'gap', channel => 'x.over',
        from => qr/^\d+$/, to => qr/^\d+$/ }, 'overtaken: gap');

    post('/pub-small/x.over', 'live');
    is_next($c, { type => 'message', channel => 'x.over', seq => COUNT + 1,
        text => 'live' }, 'overtaken: live again');
    is($c->surplus(0.05), '', 'overtaken: and no more');
    is($c->finish(), 1000, 'overtaken: closed in good order');
}


# A worker that sleeps while the log runs over, of which t/overrun.t has more.

sub lapped {
    my $l = Test::WsBus->new();

    $l->log_level('info')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_message_max_size 8k;
    ws_bus_history 100000;

    server {
        listen 127.0.0.1:%%PORT_8090%% reuseport;

        location = /j {
            ws_bus;
            ws_bus_channels x.**;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/pub-off/(.+)$ {
            ws_bus_publisher $1;
            ws_bus_history off;
        }
    }
}

EOC

    $l->run();

    $l->wait_until(sub { $l->workers() == 2 });

    my ($c, $awake);
    my @channels = map { "x.$_" } qw/ flood few kept unkept idle /;

    # a client in one worker, publishers in the other

    for (1 .. 500) {
        my $h = Test::WsBus::HTTP->new(port => port(8090));
        my $pid = $h->request('GET', '/none')->header('X-Pid');

        $awake //= [ $pid, $h ];

        next if $c && $c->response()->header('X-Pid') != $awake->[0];

        $c = json('/j', port => port(8090));
        last if $c->response()->header('X-Pid') != $awake->[0];
    }

    my $sleeper = $c->response()->header('X-Pid');

    isnt($sleeper, $awake->[0], 'lapped: two workers');

    $h = $awake->[1];

    $c->ask('subscribe', channel => $_) for @channels;

    $l->signal('STOP', $sleeper);
    $l->wait_until(sub {
        open(my $fh, '<', "/proc/$sleeper/stat") or return;
        return <$fh> =~ /^\d+ \(.*\) T/;
    }) or die "worker does not stop";

    post('/pub/x.few', "$_.$body") for 1 .. 3;
    post('/pub-off/x.unkept', "$_.$body") for 1 .. 3;
    post('/pub/x.flood', "$_.$body") for 1 .. 500;
    post('/pub/x.few', "$_.$body") for 4 .. 5;
    post('/pub/x.kept', "$_.$body") for 1 .. 5;

    $l->signal('CONT', $sleeper);

    drain($c, [ 'x.kept' ], 5);
    drain($c, [ 'x.flood' ], 500);
    drain($c, [ 'x.few' ], 5);

    my ($wrong, $n, $lost) = holes($c, 'x.flood', 1, 500);

    is($wrong, '', 'lapped: no hole is silent');
    cmp_ok($lost, '>', 0, 'lapped: some are lost');
    cmp_ok($n, '>', 0, 'lapped: others are not');

    is_deeply([ holes($c, 'x.few', 1, 5) ], [ '', 2, 3 ],
        'lapped: another channel has lost its first ones');
    is_deeply([ holes($c, 'x.kept', 1, 5) ], [ '', 5, 0 ],
        'lapped: and one nothing');
    is(scalar(grep { $_->{channel} eq 'x.idle' } @{$c->{received}}), 0,
        'lapped: where nothing was published nothing is lost');

    post("/pub/$_", 'live') for 'x.flood', 'x.few', 'x.idle';

    is(join(' ', map { "$_->{channel}:$_->{seq}" } $c->next_n(3)),
        'x.flood:501 x.few:6 x.idle:1', 'lapped: live again');
    is($c->surplus(0.05), '', 'lapped: and no more');
    is($c->finish(), 1000, 'lapped: closed in good order');

    $l->finish();
}


# Workers of a small zone sleep at any moment while it is published as fast as
# can be, and clients come and go: whatever does not come is told.

sub storm {
    my $l = Test::WsBus->new();

    $l->log_level('notice')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 3;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    access_log off;

    ws_bus_zone bus 512k;
    ws_bus_message_max_size 8k;
    ws_bus_history 10000;
    ws_bus_buffer 64m;

    server {
        listen 127.0.0.1:%%PORT_8091%% reuseport;

        location = /j {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels x.**;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

    $l->run();
    $l->wait_until(sub { $l->workers() == 3 });

    my @lapped;

    # a log that runs over in the blink of an eye, or in two on a machine that
    # is busy: until it has

    for my $case (map { ([ 0, $_ ], [ 1, $_ ]) } 1 .. 5) {
        my ($dropping, $blink) = @$case;
        my $name = $dropping ? 'storm, coming and going' : 'storm';

        next if $lapped[$dropping];

        my $pid = load_start($l, '/j', port => port(8091), clients => 20,
            channels => 3, size => 100, publishers => 3, lag => 0,
            dropping => $dropping, drops => 1_000_000, seconds => 8);

        my @workers = $l->workers();

        for (1 .. 20) {
            my $worker = $workers[rand @workers];

            $l->signal('STOP', $worker);
            sleep(0.2 * $blink * rand);
            $l->signal('CONT', $worker);
            sleep(0.2 * rand);
        }

        my $got = load_result($l, $pid);

        is($got->{said}, '', "$name: no hole is silent")
            or diag(explain($got));
        is($got->{behind}, 0, "$name: in the end everybody is there");
        is($got->{close_1013} + $got->{close_other} + $got->{ended}, 0,
            "$name: nobody was closed for it");

        note(join(', ', map { "$_ $got->{$_}" } sort keys %$got));
        $lapped[$dropping] = $got->{gaps};
    }

    ok($lapped[0], 'storm: there were gaps');
    ok($lapped[1], 'storm, coming and going: there were gaps');

    my $dropped = http_get('/status', port => port(8091))->json()
        ->{zones}{bus}{dropped};

    cmp_ok($dropped->{lost}, '>', 0, 'storm: they are counted');

    $l->finish();
}
