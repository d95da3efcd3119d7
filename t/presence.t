#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Who is on a channel: counts, names, who comes and who goes; over four
# workers, one of which is killed, and a reload.

use warnings;
use strict;

use JSON::PP;
use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use WsBusTestClients;
use WsBusTestWorkers;

# who comes back within that time has not left, seconds
use constant LEAVE => 1;

my $t = Test::WsBus->new()->log_level('info');

$t->write_file_expand('nginx.conf', conf());

$t->run();

my @pids = wait_workers($t, 4);


configuration();
nobody();
counts();
members();
events();
coming_back();
asked_meanwhile();
several_channels();
who_is_told();
names();
errors();
replayed();
deleted();
killed();
killed_after_leaving();
reloaded();

$t->expect_log(qr/worker process \d+ exited on signal 9/);

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;
    ws_bus_drain 500ms;
    ws_bus_history 1000;
    ws_bus_channels x.**;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8081%% reuseport sndbuf=16k;

        location = /m {
            ws_bus;
            ws_bus_presence members;
            ws_bus_member $arg_u;
            ws_bus_publish on;
        }

        # the connections of its old workers stay for a while

        location = /patient {
            ws_bus;
            ws_bus_presence members;
            ws_bus_member $arg_u;
            ws_bus_drain 1h;
        }

        location = /lean {
            ws_bus;
            ws_bus_presence members;
            ws_bus_member $arg_u;
            ws_bus_lean on;
        }

        location = /on {
            ws_bus;
            ws_bus_presence on;
            ws_bus_member $arg_u;
        }

        location = /off {
            ws_bus;
        }

        # decoded

        location ~ "^/as/(?<chan>x\.[^/]+|y\.[^/]+)/(?<who>(?s:.*))\z" {
            ws_bus $chan;
            ws_bus_presence members;
            ws_bus_member $who;
        }

        location ~ ^/raw/(?<chan>.+)$ {
            ws_bus $chan;
            ws_bus_presence members;
            ws_bus_member $arg_u;
            ws_bus_publish on;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC
}


# What a client is told of a channel, "count: names", or the error's code.

sub present {
    my ($c, $channel) = @_;

    my $m = $c->ask('presence', channel => $channel);

    return $m->{code} if $m->{type} eq 'error';
    return "$m->{type}?" if $m->{type} ne 'presence';
    return "channel $m->{channel}?" if $m->{channel} ne $channel;

    my $list = defined $m->{members} ? ': ' . join(' ', list($m)) : '';

    return $m->{count} . $list;
}


sub list {
    my ($m) = @_;

    return map { my $s = $_; utf8::encode($s); $s }
        @{decode_json($m->{members})};
}


# Waits until the channel is in that state.

sub is_present {
    my ($c, $channel, $expected, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $is;

    $t->wait_until(sub { ($is = present($c, $channel)) eq $expected }, 15);

    return is($is, $expected, $name);
}


# The next events, as "joined alice"; a message is "message 1".

sub told {
    my ($c, $n, $timeout) = @_;

    return join(', ', map {
        "$_->{type} " . ($_->{member} // $_->{data} // $_->{text_})
    } $c->next_n($n, $timeout));
}


sub is_told {
    my ($c, $events, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $n = () = $events =~ /,/g;

    return is(told($c, $n + 1), $events, $name);
}


# Waits until so many connections are subscribed.

sub is_subscribed {
    my ($channel, $n) = @_;

    $t->wait_until(sub {
        return http_get("/pub/$channel")->json()->{subscribers} == $n;
    }, 15) or die "no $n subscribers of $channel";
}


sub finish {
    my (@clients) = @_;

    $_->disconnect() for @clients;
}


sub configuration {
    for my $case (
        [ 'ws_bus_presence members;', 0,
          qr/"ws_bus_presence members" needs "ws_bus_member"/ ],
        [ 'ws_bus_presence members; ws_bus_member $arg_u;', 1 ],
        [ 'ws_bus_presence on;', 1 ],
        [ 'ws_bus_presence off; ws_bus_member x;', 1 ],
        [ 'ws_bus_presence all;', 0, qr/"all"/ ],
        [ 'ws_bus_presence;', 0, qr/"ws_bus_presence"/ ],
        [ 'ws_bus_presence on members;', 0, qr/"ws_bus_presence"/ ],
        [ 'ws_bus_presence on; ws_bus_presence off;', 0,
          qr/"ws_bus_presence" directive is duplicate/ ],
        [ 'ws_bus_member;', 0, qr/"ws_bus_member"/ ],
        [ 'ws_bus_member $nobody_knows;', 0, qr/"nobody_knows"/ ],
    ) {
        my ($text, $good, $says) = @$case;

        for my $level ('location', 'server') {
            my $conf = $level eq 'server' ? "$text location / { ws_bus a; }"
                                          : "location / { ws_bus a; $text }";

            $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\n"
                . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
                . "server { listen 127.0.0.1:%%PORT_8080%%; $conf }\n}\n");

            my ($ok, $said) = $t->test_config('test.conf');

            is($ok ? 1 : 0, $good, "$level: $text");
            like($said, $says, "$level: $text: what it says") if $says;
        }
    }

    # each half may stand at another level

    $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\n"
        . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
        . "ws_bus_member \$remote_addr;\nserver {\n"
        . "listen 127.0.0.1:%%PORT_8080%%;\nws_bus_presence members;\n"
        . "location / { ws_bus a; }\n}\n}\n");

    my ($ok, $said) = $t->test_config('test.conf');

    ok($ok, 'inherited from several levels') or diag($said);
}


# A channel without members.

sub nobody {
    my $c = json('/m?u=');
    my $d = json('/m?u=watcher');

    is(present($c, 'x.nobody'), 'not_found', 'a channel that is not there');

    http_post('/pub/x.nobody', 1);

    is(present($c, 'x.nobody'), '0: ', 'nobody is there');
    is(present($d, 'x.nobody'), '0: ', 'nor is who has not subscribed');
    is(present(json('/on'), 'x.nobody'), '0', 'no names where it is "on"');

    is_next($c->ask('presence', channel => 'x.nobody'), { type => 'presence',
        channel => 'x.nobody', members => '[]', count => 0 },
        'the members of an answer');
    is_next(json('/on')->ask('presence', channel => 'x.nobody'),
        { type => 'presence', channel => 'x.nobody', count => 0 },
        'those of one without names');

    finish($c, $d);
}


# Connections of all workers and kinds.

sub counts {
    my $c = json('/on');
    my @clients;

    for my $pid (@pids) {
        push @clients, subscribed_at($pid, '/on?u=a', 'x.count');
        is_present($c, 'x.count', scalar(@clients), 'counted');
        push @clients, subscribed_at($pid, '/off', 'x.count');
        is_present($c, 'x.count', scalar(@clients), 'where it is off, too');
        push @clients, raw_at($pid, '/raw/x.count?u=');
        is_present($c, 'x.count', scalar(@clients), 'raw ones, too');
    }

    is(present(json('/m'), 'x.count'), '12: ', 'none of them has a name');
    is(http_get('/pub/x.count')->json()->{subscribers}, 12,
        'the publisher counts alike');

    while (@clients) {
        (shift @clients)->disconnect();
        is_present($c, 'x.count', scalar(@clients), 'and when they leave');
    }
}


# Names, each once, whatever the number of connections and workers.

sub members {
    my $c = json('/m');
    my (%clients, @all);

    for my $name (qw/ carol alice bob /) {
        for my $pid (@pids) {
            push @{$clients{$name}}, subscribed_at($pid, "/m?u=$name", 'x.names');
            push @{$clients{$name}}, raw_at($pid, "/raw/x.names?u=$name");
        }
    }

    is_present($c, 'x.names', '24: alice bob carol',
        'three members on 24 connections, sorted');
    is(present(json_at($_, '/m'), 'x.names'), '24: alice bob carol',
        'every worker knows') for @pids;
    is(present(json('/on'), 'x.names'), 24, 'only how many, where it is "on"');

    # one connection of each is enough

    for my $name (qw/ carol alice bob /) {
        my $last = pop @{$clients{$name}};

        finish(@{$clients{$name}});
        push @all, $last;
    }

    is_present($c, 'x.names', '3: alice bob carol', 'one connection each');

    $all[0]->disconnect();
    is_present($c, 'x.names', '2: alice bob', 'one of them leaves');

    # a lean connection has forgotten its request, but not its name

    push @all, subscribed_at($pids[0], '/lean?u=dora', 'x.names');
    is_present($c, 'x.names', '3: alice bob dora', 'a lean one');

    finish($c, @all);
}


sub events {
    my $alice = subscribed_at($pids[0], '/m?u=alice', 'x.e');

    is_told($alice, 'joined alice', 'who joins hears it');

    my $m = json_at($pids[1], '/m?u=bob');
    my $s = $m->ask('subscribe', channel => 'x.e');

    is_next($m, { type => 'joined', channel => 'x.e', member => 'bob' },
        'joined, in another worker');
    is_next($alice, { type => 'joined', channel => 'x.e', member => 'bob' },
        'the other one hears it');

    # a second connection of a member is none of the others' business

    my $second = subscribed_at($pids[2], '/m?u=bob', 'x.e');
    my $raw = raw_at($pids[3], '/raw/x.e?u=bob');

    is_present($alice, 'x.e', '4: alice bob', 'more connections');
    is($alice->surplus(0.3), '', 'of a member that is there');
    is($second->surplus(0), '', 'it is not told either');

    # events have a place among the messages, and no number

    $m->ask('publish', channel => 'x.e', data => \'1');

    my $carol = subscribed_at($pids[3], '/m?u=carol', 'x.e');

    $carol->ask('publish', channel => 'x.e', data => \'2');

    is_told($alice, 'message 1, joined carol, message 2', 'in order');
    is_told($carol, 'joined carol, message 2', 'in order for all');
    is_told($second, 'message 1, joined carol, message 2',
        'for each connection of a member');
    is($raw->recv_n(2), 2, 'raw clients get messages');
    ok($raw->is_silent(0.3), 'and hear no events');
    is(http_get('/pub/x.e')->json()->{seq}, 2, 'messages have numbers');
    is(scalar(@{json('/m')->ask('history', channel => 'x.e')->{messages}}), 2,
        'only messages are in the history');

    # neither the first nor the second to leave is the last

    $second->disconnect();
    $m->disconnect();
    is_present($alice, 'x.e', '3: alice bob carol', 'two of three are gone');
    is($alice->surplus(LEAVE + 0.5), '', 'nobody has left');

    # the last one

    my $since = time();

    $raw->disconnect();
    is_present($alice, 'x.e', '2: alice carol', 'not listed any more');
    is_next($alice, { type => 'left', channel => 'x.e', member => 'bob' },
        'and then has left');
    cmp_ok(time() - $since, '>', LEAVE - 0.1, 'after a while');
    is_told($carol, 'left bob', 'all are told');

    # by unsubscribing

    $since = time();

    $carol->ask('unsubscribe', channel => 'x.e');
    is_present($alice, 'x.e', '1: alice', 'unsubscribed: not listed');
    is_told($alice, 'left carol', 'unsubscribed: has left');
    cmp_ok(time() - $since, '>', LEAVE - 0.1, 'unsubscribed: after a while');
    is($carol->surplus(0.1), '', 'who has left is not told');

    # by a Close, and once more

    $carol->ask('subscribe', channel => 'x.e');
    is_told($alice, 'joined carol', 'again');
    is($carol->finish(), 1000, 'closed');
    is_told($alice, 'left carol', 'closed: has left');
    is($alice->surplus(0.1), '', 'each event once');

    finish($alice);
}


# Who is away for less than a second has not left.

sub coming_back {
    my $c = subscribed_at($pids[0], '/m?u=watcher', 'x.back');
    my $n = 0;

    is_told($c, 'joined watcher', 'a watcher');

    for my $where ('the same worker', 'another worker', 'the subscription') {
        my $from = $pids[1];
        my $to = $where eq 'another worker' ? $pids[2] : $pids[1];
        my ($quick, $d);

        # if this test itself is too slow, it tries again

        for (1 .. 50) {
            my $name = 'm' . ++$n;

            $d = subscribed_at($from, "/m?u=$name", 'x.back');
            is_told($c, "joined $name", "$where: there");

            my $e = $where eq 'the subscription'
                ? $d : json_at($to, "/m?u=$name");
            my $since = time();

            if ($e == $d) {
                $d->ask('unsubscribe', channel => 'x.back');

            } else {
                $d->disconnect();
            }

            ($d = $e)->ask('subscribe', channel => 'x.back');

            $quick = time() - $since < LEAVE / 2;

            if ($quick) {
                is($c->surplus(LEAVE + 0.5), '', "$where: nobody was told");
                is_present($c, 'x.back', "2: $name watcher",
                    "$where: is there");
            }

            $d->disconnect();

            if ($quick) {
                is_told($c, "left $name", "$where: then it leaves");
                last;
            }

            while (my $m = $c->next(2 * LEAVE)) {
                last if $m->{type} eq 'left' && $m->{member} eq $name
                    && present($c, 'x.back') eq '1: watcher';
            }
        }

        ok($quick, "$where: quick enough");
    }

    is_present($c, 'x.back', '1: watcher', 'all have gone');

    finish($c);
}


# Who asks while somebody is away for a moment, and goes on by what is told,
# knows in the end who is there.

sub asked_meanwhile {
    my $c = subscribed_at($pids[0], '/m?u=watcher', 'x.meanwhile');

    for my $case ('stays away', 'comes back') {
        my ($quick, %there);

        # if this test itself is too slow, it tries again

        for my $n (1 .. 50) {
            my $d = subscribed_at($pids[1], "/m?u=m$n", 'x.meanwhile');
            my $e = json_at($pids[2], '/m');
            my $back = json_at($pids[3], "/m?u=m$n");
            my $since = time();

            $d->disconnect();
            is_subscribed('x.meanwhile', 1);

            $e->ask('subscribe', channel => 'x.meanwhile');

            %there = map { $_ => 1 }
                list($e->ask('presence', channel => 'x.meanwhile'));

            $back->ask('subscribe', channel => 'x.meanwhile')
                if $case eq 'comes back';

            $quick = time() - $since < LEAVE / 2;

            while (my $m = $e->next(LEAVE + 0.5)) {
                $there{$m->{member}} = 1 if $m->{type} eq 'joined';
                delete $there{$m->{member}} if $m->{type} eq 'left';
            }

            my @names = list($e->ask('presence', channel => 'x.meanwhile'));

            finish($back, $e);
            is_subscribed('x.meanwhile', 1);

            if ($quick) {
                is(join(' ', sort keys %there), "@names",
                    "asked meanwhile, $case: by list and events");
                last;
            }
        }

        ok($quick, "asked meanwhile, $case: quick enough");
    }

    finish($c);
}


# Each channel of a connection has its own members.

sub several_channels {
    my $c = subscribed_at($pids[0], '/m?u=ann', 'x.s.1', 'x.s.2', 'x.s.3');
    my $d = json_at($pids[1], '/m?u=ben');
    my @got;

    push @got, map { "$_->{channel} $_->{type} $_->{member}" } $c->next_n(3);
    is(join(', ', sort @got), 'x.s.1 joined ann, x.s.2 joined ann,'
        . ' x.s.3 joined ann', 'joined three channels');

    $d->ask('subscribe', channel => 'x.s.2');
    is_next($c, { type => 'joined', channel => 'x.s.2', member => 'ben' },
        'another one joins one of them');
    is($c->surplus(0.1), '', 'only that');

    is(present($d, 'x.s.1'), '1: ann', 'one there');
    is(present($d, 'x.s.2'), '2: ann ben', 'two there');

    $c->ask('unsubscribe', channel => 'x.s.2');
    is_present($d, 'x.s.2', '1: ben', 'leaves one');
    is(present($d, 'x.s.1'), '1: ann', 'stays on another');
    is_told($d, 'joined ben, left ann', 'and has left that one');
    is($c->surplus(0.1), '', 'whoever unsubscribed is not told');

    # all at once

    finish($c);
    is_present($d, 'x.s.1', '0: ', 'left one');
    is_present($d, 'x.s.3', '0: ', 'left the other one');

    finish($d);
}


# Events are for those who subscribe where there are names.

sub who_is_told {
    my $on = subscribed_at($pids[0], '/on?u=on', 'x.who');
    my $off = subscribed_at($pids[0], '/off?u=off', 'x.who');
    my $nameless = subscribed_at($pids[0], '/m', 'x.who');
    my $raw = raw_at($pids[0], '/raw/x.who');
    my $fixed = json_at($pids[0], '/as/x.who/fixed');

    is($fixed->next()->{type}, 'subscribed', 'a fixed channel');
    is_told($fixed, 'joined fixed', 'joined by its location');
    is_told($nameless, 'joined fixed', 'who has no name is told');
    is_present($on, 'x.who', 5, 'all are counted');
    is(present($nameless, 'x.who'), '5: fixed', 'one has a name');

    my $other = raw_at($pids[1], '/raw/x.who?u=raw');

    is_told($_, 'joined raw', 'of a raw one') for $nameless, $fixed;
    is(present($nameless, 'x.who'), '6: fixed raw', 'it is a member');

    $other->disconnect();

    is_told($_, 'left raw', 'it has left') for $nameless, $fixed;

    http_post('/pub/x.who', 1);

    is_told($_, 'message 1', 'messages are for all')
        for $on, $off, $nameless, $fixed;
    is_message($raw, '1', 'for raw ones, too');

    is($_->surplus(0.1), '', 'nothing else') for $on, $off, $nameless, $fixed;
    ok($raw->is_silent(0.1), 'nothing else, raw');

    is(present($off, 'x.who'), 'not_available', 'nor may it ask');

    finish($on, $off, $nameless, $raw, $fixed);
}


# Names as they come.

sub names {
    my $c = subscribed_at($pids[0], '/m', 'x.n');
    my $uri = sub { $_[0] =~ s/([^A-Za-z0-9])/sprintf('%%%02x', ord($1))/ger };

    my (%there, @listed);

    for my $name ('a', 'A', 'a b', '"', '\\', '\\"', '{"a":1}', "'", '<b>',
        "tab\there", "\n", "\x01\x1f", "\x7f", '%41', '\\u0041',
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc2\x85", 'x' x 255,
        '"' x 255, "\x01" x 255, "\xf0\x9f\x98\x80" x 63 . 'xyz')
    {
        $there{$name} = json('/as/x.n/' . $uri->($name));

        is_next($c, { type => 'joined', channel => 'x.n', member => $name },
            short($name) . ' joined');
    }

    @listed = list($c->ask('presence', channel => 'x.n'));

    is_deeply(\@listed, [ sort keys %there ], 'all are listed, sorted');

    finish(values %there);

    is_deeply([ sort map { "$_->{type} $_->{member}" }
        $c->next_n(scalar(@listed)) ], [ map { "left $_" } @listed ],
        'all have left');
    is_present($c, 'x.n', '1: ', 'nobody is there');

    # what is no name

    for my $name ('', 'x' x 256, "\xff", "a\xc3", "\xed\xa0\x80",
        "\xc0\x80", "\xf4\x90\x80\x80")
    {
        my $short = short($name);
        my $d = json('/as/x.n/' . $uri->($name));

        is($d->next()->{type}, 'subscribed', "not a name, $short: connected");
        is(present($c, 'x.n'), '2: ', "not a name, $short: only counted");
        is($d->surplus(0), '', "not a name, $short: nothing happens");
        $d->disconnect();
        is_present($c, 'x.n', '1: ', "not a name, $short: gone");
    }

    is($c->surplus(LEAVE + 0.3), '', 'nobody is told');

    # many, and long ones: more than a page of memory

    my @clients = map { json('/as/x.n/' . sprintf('%0250d', $_)) }
        1 .. 60;

    is_deeply([ list($c->ask('presence', channel => 'x.n')) ],
        [ map { sprintf('%0250d', $_) } 1 .. 60 ], 'many long names');
    $c->next_n(60);
    is($c->surplus(0.1), '', 'one event each');

    finish($c, @clients);
}


# A name that can be shown.

sub short {
    my ($name) = @_;

    $name = substr($name, 0, 20) . '...' if length $name > 20;

    return $name =~ s/([^ -~])/sprintf('\\x%02x', ord($1))/ger;
}


sub errors {
    my ($m, $on, $off) = map { json($_) } '/m?u=a', '/on', '/off';

    is_error($off->ask('presence', channel => 'x.err'), 'not_available',
        undef, 'where it is off');
    is_error($off->ask('presence', channel => 'y'), 'not_available',
        undef, 'where it is off, another channel');

    for my $c ($m, $on) {
        is_error($c->ask('presence', channel => 'y.err'), 'forbidden', undef,
            'a channel that is not allowed');
        is_error($c->ask('presence', channel => 'x.err'), 'not_found', undef,
            'a channel that is not there');
        is_error($c->ask('presence'), 'bad_request', undef, 'no channel',
            reason => qr/"channel"/);
        is_error($c->ask('presence', channel => 'a b'), 'bad_request', undef,
            'no name of a channel', reason => qr/"channel"/);
    }

    # where the channel is the location's own, it may be asked for, also
    # when there is no subscription

    my $c = json('/as/y.fixed/fixed');

    $c->next_n(2);
    is(present($c, 'y.fixed'), '1: fixed', 'the fixed channel');
    is(present($c, 'y.other'), 'forbidden', 'not another one');
    $c->ask('unsubscribe', channel => 'y.fixed');
    is_present($c, 'y.fixed', '0: ', 'the fixed channel, unsubscribed');

    finish($m, $on, $off, $c);
}


# A subscription with a replay: what happens meanwhile is not lost.

sub replayed {
    my $h = Test::WsBus::HTTP->new(port => port(8080));
    my $body = '"' . '=' x 2000 . '"';

    $h->request('POST', '/pub/x.rep', body => $body) for 1 .. 900;

    my $e = $h->request('GET', '/pub/x.rep')->json()->{epoch};
    my $watcher = subscribed_at($pids[0], '/m', 'x.rep');

    # a short one

    my $c = json_at($pids[1], '/m?u=late');

    is($c->ask('subscribe', channel => 'x.rep', epoch => $e,
        seq => 898)->{recovered}, 'true', 'subscribed, with a replay');

    is_told($watcher, 'joined late', 'others hear of it');
    is_told_beside($c, 2, 'joined late', 'so does who joins');

    # a long one: it reads when others have come and gone

    my $slow = json_at($pids[1], '/m?u=slow', rcvbuf => 4096,
        port => port(8081));

    $slow->say('subscribe', id => 1, channel => 'x.rep', epoch => $e,
        seq => 100);
    is_told($watcher, 'joined slow', 'another one, that does not read');

    my $other = subscribed_at($pids[2], '/m?u=other', 'x.rep');

    is_told($watcher, 'joined other', 'one comes');
    $c->disconnect();
    is_told($watcher, 'left late', 'one leaves');

    is($slow->answer(1)->{recovered}, 'true', 'it begins to read');
    is_told_beside($slow, 800, 'joined slow, joined other, left late',
        'it hears of all that happened meanwhile');

    finish($watcher, $slow, $other);
}


# These events come, and so many messages, one among the other.

sub is_told_beside {
    my ($c, $n, $events, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my (@got, $m);

    while ($n > 0 && ($m = $c->next())) {
        $n-- if $m->{type} eq 'message';
        push @got, "$m->{type} $m->{member}" if $m->{type} ne 'message';
    }

    while (join(', ', @got) ne $events && ($m = $c->next())) {
        push @got, "$m->{type} " . ($m->{member} // '?');
    }

    is($n, 0, "$name: all messages");
    is(join(', ', @got), $events, $name);
}


# A deletion closes the connections of all members: they leave.

sub deleted {
    my $w = subscribed_at($pids[2], '/m?u=watcher', 'x.other');
    my $quick;

    # if this test itself is too slow, it tries again

    for my $n (1 .. 50) {
        my $c = subscribed_at($pids[0], '/m?u=one', "x.del.$n");
        my $d = subscribed_at($pids[1], '/m?u=two', "x.del.$n");
        my $e = json_at($pids[3], '/m?u=three');

        is_present($w, "x.del.$n", '2: one two', 'deleted: before');

        my $since = time();

        is(request('DELETE', "/pub/x.del.$n")->status(), 204, 'deleted');
        is_closed($_, 4004, 'deleted: closed') for $c, $d;

        # who comes then

        ($c = $e)->ask('subscribe', channel => "x.del.$n");
        $quick = time() - $since < LEAVE / 2;

        if ($quick) {
            is(join(', ', sort split /, /, told($c, 3)),
                'joined three, left one, left two',
                'deleted: they have left');
        }

        is_present($w, "x.del.$n", '1: three', 'deleted: one is there');
        is($c->surplus(0.1), '', 'deleted: each event once') if $quick;
        $c->disconnect();
        last if $quick;
    }

    ok($quick, 'deleted: quick enough');

    finish($w);
}


# A worker is killed, others hold connections of some of its members.

sub killed {
    my $w = subscribed_at($pids[0], '/m?u=watcher', 'x.k');
    my @there = map { subscribed_at($pids[2], "/m?u=$_", 'x.k') } qw/ a b /;

    my @killed = map { subscribed_at($pids[1], "/m?u=$_", 'x.k') } qw/ b c d /;

    push @killed, raw_at($pids[1], '/raw/x.k?u=e'),
        raw_at($pids[1], '/raw/x.k?u=watcher');

    is_told($w, join(', ', map { "joined $_" }
        qw/ watcher a b c d e /), 'six members');
    is_present($w, 'x.k', '8: a b c d e watcher', 'on eight connections');

    kill_worker(1);

    my %left;

    $t->wait_until(sub {
        while (my $m = $w->next(0.1)) {
            $left{$m->{member}}++ if $m->{type} eq 'left';
        }

        return keys %left == 3;
    }, 15);

    is_deeply(\%left, { c => 1, d => 1, e => 1 },
        'told of those who are gone, each once');
    is_present($w, 'x.k', '3: a b watcher', 'and they are not listed');
    is($w->surplus(LEAVE + 0.3), '', 'nothing else is told');

    # those who come back

    $killed[0] = subscribed_at($pids[1], '/m?u=b', 'x.k');
    $killed[1] = subscribed_at($pids[1], '/m?u=c', 'x.k');

    is_told($w, 'joined c', 'only who was gone joins');
    is_present($w, 'x.k', '5: a b c watcher', 'and is listed');

    finish(@killed);
    is_told($w, 'left c', 'and leaves');
    is_present($w, 'x.k', '3: a b watcher', 'as anybody does');

    finish($w, @there);
}


# A worker is killed that was to tell that somebody has left.

sub killed_after_leaving {
    my $w = subscribed_at($pids[0], '/m?u=watcher', 'x.kl');

    is_told($w, 'joined watcher', 'a watcher');

    for my $case ('on the killed worker only', 'on another worker before') {
        my $name = $case =~ /other/ ? 'two' : 'one';
        my @c;

        push @c, subscribed_at($pids[2], "/m?u=$name", 'x.kl')
            if $case =~ /other/;
        push @c, subscribed_at($pids[1], "/m?u=$name", 'x.kl');

        is_told($w, "joined $name", "$case: joined");

        while (my $c = shift @c) {
            $c->disconnect();
            is_subscribed('x.kl', 1 + @c);
        }

        # within the second

        kill_worker(1);

        is(told($w, 1), "left $name", "$case: has left");

        my $c = subscribed_at($pids[1], "/m?u=$name", 'x.kl');

        is(told($w, 1), "joined $name", "$case: and comes back");

        $c->disconnect();
        is(told($w, 1), "left $name", "$case: and leaves again");
    }

    finish($w);
}


sub kill_worker {
    my ($i) = @_;

    my %had = map { $_ => 1 } @pids;
    my $victim = $pids[$i];

    $t->signal('KILL', $victim);

    my @now = wait_workers($t, 4, $victim);

    $pids[$i] = (grep { !$had{$_} } @now)[0] // die "no new worker";
}


# Connections of the old workers are there until they end.

sub reloaded {
    my @old = map { subscribed_at($pids[$_], "/patient?u=old$_", 'x.r') } 0 .. 2;
    my $drained = subscribed_at($pids[3], '/m?u=drained', 'x.r');
    my @was = @pids;

    is_told($old[0], 'joined old0, joined old1, joined old2, joined drained',
        'four members');

    ok(reload($t), 'reload');

    $t->wait_until(sub {
        my %now = map { $_ => 1 } $t->workers();
        delete @now{@was};

        @pids = sort { $a <=> $b } keys %now;
        return @pids == 4 && @pids == grep { my $p = $_;
            grep { $_ == $p } worker_pids() } @pids;
    }, 10);

    is(scalar(@pids), 4, 'four new workers');

    is_closed($drained, 1001, 'a connection is drained');
    is_told($old[0], 'left drained', 'and has left');
    $drained->disconnect();

    my $new = subscribed_at($pids[0], '/m?u=new', 'x.r');

    is_told($_, 'joined new', 'joined, in a new worker') for $old[0], $new;
    is_present($new, 'x.r', '4: new old0 old1 old2',
        'the old ones are still there');
    is_present($old[1], 'x.r', '4: new old0 old1 old2', 'for the old ones');

    # who comes again through a new worker is the same

    my $again = subscribed_at($pids[1], '/m?u=old1', 'x.r');

    is_present($new, 'x.r', '5: new old0 old1 old2', 'one comes again');

    $old[1]->disconnect();
    is_present($new, 'x.r', '4: new old0 old1 old2', 'and leaves the old one');
    is($new->surplus(LEAVE + 0.3), '', 'nobody was told');

    # an old worker ends with its last connection

    $old[2]->disconnect();
    is_told($new, 'left old2', 'the next one leaves');
    is_present($new, 'x.r', '3: new old0 old1', 'is not listed');

    # the last old one comes back in time, to a new one

    my $back = json_at($pids[2], '/m?u=old0');
    my $since = time();

    $old[0]->disconnect();
    $t->wait_until(sub { present($new, 'x.r') =~ /^2: / });
    $back->ask('subscribe', channel => 'x.r');

    my $quick = time() - $since < LEAVE / 2;

    is_present($new, 'x.r', '3: new old0 old1', 'the last old one is back');

    my $m = $new->surplus(LEAVE + 0.3);

    # there is only one such: a machine that is too slow misses it

    is($m, '', 'nobody was told of that, either') if $quick;
    1 while $new->surplus(LEAVE + 0.3);

    $back->disconnect();
    is_told($new, 'left old0', 'it goes for good');

    ok($t->wait_until(sub {
        my %now = map { $_ => 1 } $t->workers();
        return !grep { $now{$_} } @was;
    }, 15), 'the old workers have ended');

    is_present($new, 'x.r', '2: new old1', 'who is left');
    is($new->surplus(LEAVE), '', 'and nobody else is told');

    finish($new, $again);
}
