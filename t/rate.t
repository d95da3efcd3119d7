#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# How much a client may send: ws_bus_limit for each connection, what happens
# when it is exceeded, and what is told of it.

use warnings;
use strict;

use Test::More;
use POSIX ();
use Time::HiRes qw/ time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use Test::WsBus::Json;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', conf());

$t->run();

my @tls = (port => port(8443), ssl => 1);
my $n = 0;

outcomes();
counting();
bytes();
several();
split_messages();
compressed();
requests();
dry_run();
inherited();
logged();
audited();
refused();
delayed();
delayed_ends();
early();
lean();
others();
told();
configuration();
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

    log_format bus '$uri $ws_bus_limit $ws_bus_close_code '
                   '$ws_bus_messages_in';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 4m;
    ws_bus_drain 200ms;
    ws_bus_publish on;
    ws_bus_presence on;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;
        listen 127.0.0.1:%%PORT_8081%% rcvbuf=4k;

        location ~ ^/free/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location ~ ^/close/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=2;
        }

        location ~ ^/drop/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=2 drop;
        }

        location ~ ^/burstless/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m drop;
        }

        location ~ ^/high/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1000000r/s burst=1000 close;
        }

        location ~ ^/bytes/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit bytes=1/s burst=1000 drop;
            ws_bus_deflate on;
        }

        location ~ ^/audit/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m drop;
            ws_bus_log %%TESTDIR%%/audit.log;
        }

        location ~ ^/audit-dry/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m;
            ws_bus_limit_dry_run on;
            ws_bus_log %%TESTDIR%%/audit.log;
        }

        location ~ ^/second/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit bytes=10k/s drop;
        }

        location ~ ^/both/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m bytes=1k/s burst=5 drop;
        }

        location ~ ^/several/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=4 drop;
            ws_bus_limit bytes=1/s burst=100 close;
        }

        location ~ ^/asked/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=2 close;
            ws_bus_limit bytes=1/s burst=100 drop;
        }

        location ~ ^/dry/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=2 close;
            ws_bus_limit_dry_run on;
        }

        location ~ ^/dry-drop/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=2 drop;
            ws_bus_limit_dry_run on;
        }

        location ~ ^/dry-delay/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m delay;
            ws_bus_limit_dry_run on;
        }

        location ~ ^/info/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m drop;
            ws_bus_limit_log_level info;
        }

        location ~ ^/warn/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=50r/s delay;
            ws_bus_limit_log_level warn;
        }

        location ~ ^/delay/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=20r/s delay;
            ws_bus_message_max_size 1m;
            ws_bus_deflate on;
        }

        location ~ ^/minute/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m delay;
            ws_bus_buffer 1k;
            ws_bus_message_max_size 16k;
        }

        location ~ ^/silent/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m delay;
            ws_bus_ping 100ms 100ms;
        }

        location ~ ^/deep/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit bytes=1k/s burst=2k delay;
        }

        location ~ ^/lean/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=20r/s delay;
            ws_bus_lean on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }

        location = /metrics {
            ws_bus_status prometheus;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_8082%%;

        ws_bus_limit rate=1r/m drop;

        location ~ ^/inherited/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location ~ ^/replaced/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_limit rate=1r/m burst=1 drop;
        }
    }
}

EOC
}


# A channel that no other part of the test uses.

sub fresh {
    return 'c' . ++$n;
}


# What another client hears of these messages, which one client sends at once.

sub heard {
    my ($path, $messages, @opt) = @_;

    my $channel = fresh();
    my $other = ws("/free/$channel");
    my $c = ws("$path$channel", @opt);

    $c->text("$_") for @$messages;
    $c->ping('done');
    $c->read_pong();

    $other->text('the end');

    my @heard;

    while (defined(my $m = $other->recv())) {
        last if $m eq 'the end';
        push @heard, $m;
    }

    $other->finish();

    return (join(' ', @heard), $c);
}


# The same where a second makes a difference: if that took too long, it is
# tried again.

sub heard_at_once {
    my ($path, @messages) = @_;

    my ($from, @got);

    for (1 .. 20) {
        $from = time();
        @got = heard($path, \@messages);

        last if time() - $from < 0.5;
    }

    return @got;
}


sub outcome {
    my ($path) = @_;

    $t->find_in_file('bus.log', qr!^\Q$path\E !m, timeout => 5);

    return $t->read_file('bus.log') =~ m!^\Q$path\E (\S+) !m ? $1 : 'no line';
}


sub dropped { return status()->{dropped}{limit} }


sub outcomes {
    for my $case ([ 'plain' ], [ 'TLS', @tls ]) {
        my ($name, @opt) = @$case;

        my ($heard, $c) = heard('/drop/', [ 1 .. 10 ], @opt);
        is($heard, '1 2 3', "$name: dropped beyond the burst");
        $c->ping('alive');
        is($c->read_pong(), 'alive', "$name: and the connection stays");
        is($c->finish(), 1000, "$name: until it is closed");
        is(outcome("/drop/c$n"), 'DROPPED', "$name: in the access log");

        my $channel = fresh();
        my $closed = status()->{limit}{closed};
        my $other = ws("/free/$channel");

        $c = ws("/close/$channel", @opt);
        $c->write(join('', map { frame(TEXT, "$_") } 1 .. 10));
        is_closed($c, 1008, "$name: closed beyond the burst",
            reason => qr/^rate limit exceeded$/);
        $c->disconnect();
        is(outcome("/close/$channel"), 'CLOSED', "$name: in the access log");
        is(status()->{limit}{closed} - $closed, 1, "$name: counted");

        is(join(' ', $other->recv_n(3)), '1 2 3', "$name: others hear those");
        ok($other->is_silent(0.1), "$name: and no more");
        $other->finish();
    }

    my ($heard, $c) = heard('/drop/', [ 1 .. 3 ]);
    is($heard, '1 2 3', 'within the burst');
    $c->finish();
    is(outcome("/drop/c$n"), 'PASSED', 'passed');

    ws('/drop/none')->finish();
    is(outcome('/drop/none'), '-', 'nothing sent, nothing judged');

    $c = ws('/free/none');
    $c->text('x');
    $c->finish();
    is(outcome('/free/none'), '-', 'no limit, nothing judged');
}


sub counting {
    my $dropped = dropped();
    my $in = status()->{messages_in};

    my ($heard, $c) = heard('/drop/', [ 1 .. 50 ]);
    $c->finish();

    is(dropped() - $dropped, 47, 'dropped messages are counted');
    is(status()->{messages_in} - $in, 4, 'as not published');
    is($t->find_in_file('bus.log', qr!^/drop/c$n DROPPED 1000 50$!m,
        timeout => 5), 1, '$ws_bus_messages_in counts what was sent');

    ($heard, $c) = heard('/burstless/', [ 1 .. 5 ]);
    is($heard, '1', 'without a burst');
    $c->finish();

    # each connection has its own

    ($heard, $c) = heard('/burstless/', [ 1 .. 5 ]);
    is($heard, '1', 'another connection');
    $c->finish();

    # more in a millisecond than a limit without a burst would let pass

    my $channel = fresh();

    $c = ws("/high/$channel");
    $c->write(join('', map { frame(TEXT, "$_") } 1 .. 1500));
    is(scalar($c->recv_n(1500)), 1500, 'a high rate');
    $c->finish();

    # pings and pongs are not counted

    $c = ws('/close/' . fresh());
    $c->ping("$_"), $c->pong() for 1 .. 50;
    $c->read_pong() for 1 .. 50;
    $c->text("$_") for 1 .. 3;
    is_message($c, $_, "message $_ beside pings") for 1 .. 3;
    $c->finish();
}


sub bytes {
    my ($heard, $c) = heard('/bytes/', [ 'a' x 700, 'b' x 700, 'c' x 700,
        'd' x 200, '', 'e' x 200 ]);

    is($heard =~ s/(.)\1*/$1/gr, 'a b d ', 'bytes, by burst')
        or diag(length $heard);
    $c->finish();

    ($heard, $c) = heard_at_once('/second/', 'a' x 60000, 'b' x 9000,
        'c' x 9000);
    is($heard =~ s/(.)\1*/$1/gr, 'a b', 'bytes, what a second allows');
    $c->finish();

    ($heard, $c) = heard_at_once('/both/', 'a' x 500, 'b' x 900, 'c' x 900,
        map { $_ } 1 .. 8);
    is($heard =~ s/([a-z])\1*/$1/gr, 'a b 1 2 3 4', 'messages and bytes');
    $c->finish();
}


sub several {
    my $channel = fresh();
    my $c = ws("/several/$channel");

    # the fifth message is over both limits: the stricter one is applied

    $c->text("$_") for 1 .. 7;
    is_message($c, $_, "several: $_ passes") for 1 .. 5;
    $c->text('x' x 101);
    is_closed($c, 1008, 'several: closed');
    $c->disconnect();
    is(outcome("/several/$channel"), 'CLOSED', 'several: the worst of all');

    # a message that one limit refuses is not charged to the other

    my ($heard, $d) = heard('/asked/', [ 'a', ('b' x 101) x 20, 'c', 'd' ]);
    is($heard, 'a c d', 'asked: dropped by one, not charged to the other');
    $d->text('e');
    is_closed($d, 1008, 'asked: then closed by the other');

    ($heard, $d) = heard('/asked/', [ 'a', 'b', 'c' ]);
    $d->text('x' x 101);
    is_closed($d, 1008, 'asked: over both');
}


sub split_messages {
    my $channel = fresh();
    my $c = ws("/drop/$channel");

    for my $m (1 .. 5) {
        $c->write_split(join('', fragments(TEXT, "number $m", 3)), 2);
    }

    is_message($c, "number $_", "fragments of $_ are one message") for 1 .. 3;
    $c->ping();
    $c->read_pong();
    ok($c->is_silent(0.1), 'the fourth is dropped');
    $c->finish();
}


sub compressed {
    my ($heard, $c) = heard('/bytes/', [ 'a' x 700, 'b' x 900, 'c' x 101 ],
        deflate => 1);

    is($heard =~ s/(.)\1*/$1/gr, 'a b', 'bytes are those after inflating');
    $c->finish();
}


sub requests {
    my $channel = fresh();
    my $dropped = dropped();
    my $c = json("/drop/$channel");

    is($c->next()->{type}, 'subscribed', 'JSON');
    is($c->ask('publish', channel => $channel, data => \'1')->{type},
        'published', 'JSON: the first');
    $c->next();
    is($c->ask('presence', channel => $channel)->{type}, 'presence',
        'JSON: any request counts');
    is($c->ask('unsubscribe', channel => $channel)->{type}, 'unsubscribed',
        'JSON: the third');

    for my $case ([ 'publish', channel => $channel, data => \'1' ],
        [ 'subscribe', channel => $channel ], [ 'presence' ], [ 'nothing' ])
    {
        my $answer = $c->ask(@$case);

        is("$answer->{type} $answer->{code}", 'error limit',
            "JSON: $case->[0]");
        is($answer->{reason}, 'rate limit exceeded', 'JSON: why');
    }

    $c->text('{"type":"publish","id":"x","data":');
    is($c->next()->{text_},
        '{"type":"error","id":"x","code":"limit","reason":'
        . '"rate limit exceeded"}', 'JSON: cut, with the id that is there');

    for my $text ('', '[]', '{', '{"id":[1]}', '{"id":"' . 'x' x 100 . '"}',
        '{"type":"publish"}')
    {
        $c->text($text);
        is($c->next()->{text_},
            '{"type":"error","code":"limit","reason":"rate limit exceeded"}',
            "JSON: no id in $text");
    }

    # dropping is not an error of the client's that closes the connection

    $c->say('presence', id => $_) for 1 .. 300;
    is(scalar($c->next_n(300)), 300, 'JSON: each is answered');
    is(dropped() - $dropped, 4 + 1 + 6 + 300, 'JSON: counted');
    is($c->finish(), 1000, 'JSON: still there');

    $c = json("/close/$channel");
    $c->next();
    $c->say('presence', id => 1, channel => $channel) for 1 .. 4;
    is($c->next()->{type}, 'presence', "JSON: answer $_") for 1 .. 3;
    is_closed($c, 1008, 'JSON: closed');

    $c = json("/delay/$channel");
    $c->next();
    $c->say('presence', id => $_, channel => $channel) for 1 .. 6;
    is(join(' ', map { $_->{id} } $c->next_n(6)), '1 2 3 4 5 6',
        'JSON: delayed, in order');
    $c->finish();
}


sub dry_run {
    for my $case ([ '/dry/', 'CLOSED' ], [ '/dry-drop/', 'DROPPED' ],
        [ '/dry-delay/', 'DELAYED' ])
    {
        my ($path, $name) = @$case;
        my $before = status();
        my ($heard, $c) = heard($path, [ 1 .. 9 ]);

        is($heard, '1 2 3 4 5 6 7 8 9', "dry run, $name: all pass");
        is($c->finish(), 1000, "dry run, $name: nothing is closed");
        is(outcome("${path}c$n"), "${name}_DRY_RUN", "dry run, $name: told");

        my $after = status();

        is_deeply([ $after->{dropped}{limit}, $after->{limit} ],
            [ $before->{dropped}{limit}, $before->{limit} ],
            "dry run, $name: not counted");
    }

    my $log = $t->read_file('error.log');

    like($log, qr/\[error\] .*limiting messages, dry run, excess: \d/,
        'dry run: logged');
    like($log, qr/\[warn\] .*delaying messages, dry run, excess: \d/,
        'dry run: delays, too');
}


sub inherited {
    my ($heard, $c) = heard_at('/inherited/');
    is($heard, '1', 'inherited');
    $c->finish();

    ($heard, $c) = heard_at('/replaced/');
    is($heard, '1 2', 'replaced');
    $c->finish();
}


sub heard_at {
    my ($path) = @_;

    return heard($path, [ 1 .. 5 ], port => port(8082));
}


sub logged {
    my $lines = sub { scalar(() = $t->read_file('error.log') =~ /$_[0]/g) };

    my $before = $lines->(qr/limiting messages/);
    my ($heard, $c) = heard('/drop/', [ 1 .. 500 ]);

    $c->finish();

    cmp_ok($lines->(qr/limiting messages/) - $before, '<', 20,
        'a flood does not flood the log');

    my $log = $t->read_file('error.log');

    like($log, qr/\[error\] .*limiting\ messages,\ excess:\ \d+\.\d{3}
        \ by\ connection.*\ client:\ 127\.0\.0\.1/x, 'logged');
    like($log, qr/\[error\] .*limiting bytes, excess: \d+\.\d{3} by/,
        'logged: bytes');

    ($heard, $c) = heard('/info/', [ 1 .. 5 ]);
    $c->finish();
    like($t->read_file('error.log'),
        qr!\[info\] .*limiting messages, .*"GET /info/!, 'logged: at info');

    ($heard, $c) = heard('/warn/', [ 1 .. 5 ]);
    $c->finish();
    like($t->read_file('error.log'),
        qr!\[notice\] .*delaying messages, .*"GET /warn/!,
        'logged: delays one level lower');

    unlike($t->read_file('error.log'), qr/number \d|dddddd/,
        'payloads are not logged');
}


sub audited {
    for my $case ([ '/audit/', 'DROPPED' ], [ '/audit-dry/', 'CLOSED_DRY_RUN' ])
    {
        my ($path, $outcome) = @$case;
        my ($heard, $c) = heard($path, [ 'one', 'three' ]);

        $c->finish();

        is($t->find_in_file('audit.log',
            qr/ limit 101 "c$n" "$outcome" 5 /m, timeout => 5), 1,
            "audit log: $outcome");
    }
}


# What is not a message, or may not be published, is refused as ever.

sub refused {
    my $c = ws('/drop/' . fresh());

    $c->text("$_") for 1 .. 4;
    $c->send_frame(TEXT, "\xff");
    is_closed($c, 1007, 'invalid UTF-8, over the limit');

    $c = ws('/drop/' . fresh());
    $c->text("$_") for 1 .. 4;
    $c->send_frame(3, '');
    is_closed($c, 1002, 'a violation, over the limit');

    $c = ws('/drop/' . fresh());
    $c->text("$_") for 1 .. 4;
    $c->binary('x' x 65537);
    is_closed($c, 1009, 'too big, over the limit');
}


sub delayed {
    for my $case ([ 'plain' ], [ 'TLS', @tls ], [ 'deflate', deflate => 1 ],
        [ 'small window', port => port(8081) ])
    {
        my ($name, @opt) = @$case;

        my $channel = fresh();
        my $delayed = status()->{limit}{delayed};
        my $other = ws("/free/$channel");
        my $from = time();
        my $c = ws("/delay/$channel", @opt, auto_pong => 1);
        my @own;

        # the next pong, over the heads of messages that are kept

        my $pong = sub {
            while (my $e = $c->read_event()) {
                return $e->{data} if $e->{type} eq 'pong';
                push @own, $e->{data};
            }
        };

        # one write, one read; a ping in the middle, one behind

        $c->write(join('', map { $c->format_message(TEXT, "m$_") } 1 .. 5)
            . frame(PING, 'between')
            . join('', map { $c->format_message(TEXT, "m$_") } 6 .. 12)
            . frame(PING, 'behind'));

        is($pong->(), 'between', "$name: ping between");
        is($pong->(), 'behind', "$name: ping behind");

        # a ping that comes while messages wait is answered before they are
        # published: this one's message has to wait behind eleven

        $c->ping('while');
        is($pong->(), 'while', "$name: ping while delayed");
        $c->text('last');

        is(join(' ', $other->recv_n(13)), join(' ', (map { "m$_" } 1 .. 12),
            'last'), "$name: all, in order");

        # never faster than the rate; how much slower is not a matter of this

        cmp_ok(time() - $from, '>', 12 / 20 - 0.05, "$name: not at once");
        cmp_ok(status()->{limit}{delayed} - $delayed, '>', 0,
            "$name: counted");

        push @own, $c->recv_n(13 - @own);

        is("@own", join(' ', (map { "m$_" } 1 .. 12), 'last'),
            "$name: its own, too");

        is($c->finish(), 1000, "$name: closed in good order");
        is(outcome("/delay/$channel"), 'DELAYED', "$name: in the access log")
            if $name ne 'deflate';
        $other->finish();
    }

    # fragments and large messages, split any way

    my $channel = fresh();
    my $other = ws("/free/$channel");
    my $c = ws("/delay/$channel");
    my @large = map { chr(96 + $_) x (100_000 * $_) } 1 .. 4;

    $c->write_split(join('', fragments(BINARY, $large[0], 70_000),
        frame(TEXT, 'a', fin => 0), frame(PING, 'in between'),
        frame(CONT, 'b'), map { frame(BINARY, $_) } @large[1 .. 3]), 30_000);

    for my $m ($large[0], 'ab', @large[1 .. 3]) {
        ok($other->recv() eq $m, 'large: ' . length($m));
    }

    is($c->read_pong(), 'in between', 'large: ping inside a message');
    $_->finish() for $c, $other;

    # bytes run ahead by a second's worth, not by more

    $channel = fresh();
    $other = ws("/free/$channel");
    $c = ws("/deep/$channel");
    $c->text('a' x 1000) for 1 .. 2;
    $c->text('b' x 300) for 1 .. 2;
    is(length(join('', $other->recv_n(4))), 2600, 'bytes: delayed');
    $c->text('c' x 10_000);
    is_closed($c, 1008, 'bytes: more than the burst');
    $other->finish();

    # what TCP holds back arrives, too

    $channel = fresh();
    $other = ws("/free/$channel");
    $c = ws("/delay/$channel", port => port(8081));
    my $big = 'x' x 200_000;
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        $c->write(join('', map { frame(TEXT, "$_$big") } 1 .. 8));
        POSIX::_exit(0);
    }

    my $good = 0;
    $good += ($other->recv() eq "$_$big") for 1 .. 8;
    is($good, 8, 'TCP pushes back, nothing is lost');
    waitpid($pid, 0);
    $_->disconnect() for $c, $other;
}


# Ends of all kinds while a message waits for a minute.

sub delayed_ends {
    my $start = sub {
        my (@opt) = @_;
        my $channel = fresh();
        my $c = ws("/minute/$channel", @opt);

        $c->write(join('', map { frame(TEXT, "$_") } 1 .. 3));
        is_message($c, 1, 'the first one passes');
        $c->ping('x');
        is($c->read_pong(), 'x', 'the others wait');

        return ($c, $channel);
    };

    my @left;

    for my $case ([ 'plain' ], [ 'TLS', @tls ]) {
        my ($name, @opt) = @$case;
        my ($c, $channel) = $start->(@opt);
        my $dropped = dropped();

        request('DELETE', "/pub/$channel");
        is_closed($c, 4004, "$name: channel deleted");
        ok($t->wait_until(sub { dropped() > $dropped }, 5),
            "$name: what waited is dropped");

        ($c, $channel) = $start->(@opt);
        http_post("/pub/$channel", $_) for 1 .. 5;
        is(join('', $c->recv_n(5)), '12345',
            "$name: others are heard while it waits");
        $c->send_frame(CLOSE, close_payload(1000));
        $c->ping('behind');
        ok($c->is_silent(0.2), "$name: its own Close waits, too");
        $c->abort();
        push @left, $channel;

        ($c, $channel) = $start->(@opt);
        $c->disconnect();
        push @left, $channel;

        # flood: nginx reads no more than it may keep

        my $flood = 'y' x 16_000;
        ($c, $channel) = $start->(@opt, rcvbuf => 4096);
        $c->write(frame(TEXT, $flood)) for 1 .. 4;
        http_post("/pub/$channel", 'there');
        is_message($c, 'there', "$name: flooded, and alive");
        $c->abort();
        push @left, $channel;
    }

    # silence is not the client's while nobody listens

    my ($c, $channel);

    $c = ws('/silent/' . fresh(), auto_pong => 0,
        data => join('', map { frame(TEXT, "$_") } 1 .. 3));
    is_message($c, 1, 'the others wait from the beginning');
    ok($c->is_silent(0.8), 'no ping, and no Close for want of a pong');
    $c->disconnect();

    # what was read before the client left is published, if it is not long

    $channel = fresh();
    my $other = ws("/free/$channel");
    $c = ws("/delay/$channel");
    $c->write(join('', map { frame(TEXT, "$_") } 1 .. 3));
    $c->shutdown_write();
    is(join('', $other->recv_n(3)), '123', 'said before it left');
    $_->disconnect() for $c, $other;

    # nobody spins on what is not wanted

    ($c, $channel) = $start->();
    $c->write(frame(TEXT, 'y' x 16_000)) for 1 .. 4;

    my ($worker) = $t->workers();
    my $woken = wakeups($worker);

    ok($c->is_silent(0.5), 'half a second with more than is read ahead');
    cmp_ok(wakeups($worker) - $woken, '<', 100, 'the worker sleeps');
    $c->disconnect();

    # pings take no room

    $channel = fresh();
    $other = ws("/free/$channel");
    $c = ws("/minute/$channel");
    $c->write(frame(TEXT, 'one') . frame(TEXT, 'two')
        . frame(TEXT, 'f' x 12_000));
    is_message($c, 'one', 'before the pings');

    my $pings = join('', map { frame(PING, "p$_") } 1 .. 1000);
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        $c->write($pings) for 1 .. 50;
        POSIX::_exit(0);
    }

    $other->text('served');
    is_message($other, 'one', 'others hear');
    is_message($other, 'served', 'and are served meanwhile');
    is_message($c, 'served', 'so is the client itself');
    waitpid($pid, 0);
    $c->ping('the last');

    my $pong = '';
    1 while defined($pong = $c->read_pong()) && $pong ne 'the last';
    is($pong, 'the last', 'and the pings are answered');
    $_->disconnect() for $c, $other;

    # slow consumer

    ($c, $channel) = $start->(rcvbuf => 4096);
    my $x = 'x' x 16_000;
    http_post("/pub/$channel", $x) for 1 .. 400;
    is_closed($c, 1013, 'slow consumer while its message waits');

    # an error behind

    $channel = fresh();
    $other = ws("/free/$channel");
    $c = ws("/delay/$channel");
    $c->write(frame(TEXT, 'one') . frame(TEXT, 'two') . frame(3, ''));
    is(join(' ', $other->recv_n(2)), 'one two', 'a violation behind');
    is_closed($c, 1002, 'is met in its turn');

    $c = ws("/delay/$channel");
    $c->write(frame(TEXT, 'one') . frame(TEXT, 'two')
        . frame(CLOSE, close_payload(3333)));
    is(join(' ', $other->recv_n(2)), 'one two', 'a Close behind');
    is($c->wait_close(), 3333, 'is answered in its turn');
    $_->disconnect() for $c, $other;

    is(scalar(grep { gone("/minute/$_") } @left), 6,
        'clients that reset or closed TCP are gone');
}


sub gone {
    my ($path) = @_;

    return $t->find_in_file('bus.log', qr!^\Q$path\E !m, timeout => 15);
}


# Right behind the handshake.

sub early {
    for my $case ([ 'plain' ], [ 'TLS', @tls ]) {
        my ($name, @opt) = @$case;
        my $channel = fresh();
        my $other = ws("/free/$channel");
        my $c = ws("/delay/$channel", @opt,
            data => join('', map { frame(TEXT, "$_") } 1 .. 4)
                . frame(PING, 'early'));

        is(join('', $other->recv_n(4)), '1234', "$name: behind the handshake");
        is($c->read_pong(), 'early', "$name: and a ping");
        $_->finish() for $c, $other;

        $c = ws('/close/' . fresh(), @opt,
            data => join('', map { frame(TEXT, "$_") } 1 .. 4));
        is_closed($c, 1008, "$name: closed behind the handshake");
    }
}


sub lean {
    for my $case ([ 'plain' ], [ 'TLS', @tls ]) {
        my ($name, @opt) = @$case;
        my $channel = fresh();
        my $other = ws("/free/$channel");
        my $c = ws("/lean/$channel", @opt,
            data => join('', map { frame(TEXT, "$_") } 1 .. 4));

        $c->text("$_") for 5 .. 8;
        is(join('', $other->recv_n(8)), '12345678', "$name: lean");
        $c->text("$_") for 1 .. 5;
        $c->disconnect();
        $other->finish();
    }
}


# Who sends no messages over a WebSocket is not limited here.

sub others {
    my $path = '/close/' . fresh();

    is(http_get("$path?wait=0")->status(), 204, "a poll $_") for 1 .. 5;
    is($t->find_in_file('bus.log', qr!^$path - - !m, count => 5,
        timeout => 5), 5, 'polls have no outcome');

    $path = '/pub/' . fresh();

    is(http_post($path, 'x')->status(), 201, "a publication $_") for 1 .. 5;
}


sub told {
    my $s = status();
    my $metrics = http_get('/metrics')->body();

    like($metrics, qr/^ws_bus_dropped_total\{zone="bus",reason="limit"\}
        \ $s->{dropped}{limit}$/mx, 'metrics: dropped');
    like($metrics, qr/^ws_bus_limit_delayed_total\{zone="bus"\}
        \ $s->{limit}{delayed}$/mx, 'metrics: delayed');
    like($metrics, qr/^ws_bus_limit_closed_total\{zone="bus"\}
        \ $s->{limit}{closed}$/mx, 'metrics: closed');
    cmp_ok($s->{limit}{$_}, '>', 0, "$_: not nothing") for qw/ delayed closed /;
}


sub configuration {
    my $zone = 'ws_bus_limit_zone $arg_a zone=one:64k;';

    for my $case (
        [ '', 'ws_bus_limit rate=1r/s;', undef ],
        [ '', 'ws_bus_limit rate=1r/m bytes=1m/s burst=10 delay;', undef ],
        [ $zone, 'ws_bus_limit rate=1r/s burst=9 zone=one drop;', undef ],
        [ '', 'ws_bus_limit rate=1r/s; ws_bus_limit rate=9r/m;', undef ],
        [ '', 'ws_bus_limit bytes=1/s burst=1k;', undef ],
        [ '', 'ws_bus_limit rate=0r/s;', 'invalid rate "rate=0r/s"' ],
        [ '', 'ws_bus_limit rate=-1r/s;', 'invalid rate "rate=-1r/s"' ],
        [ '', 'ws_bus_limit rate=1;', 'invalid rate "rate=1"' ],
        [ '', 'ws_bus_limit rate=r/s;', 'invalid rate "rate=r/s"' ],
        [ '', 'ws_bus_limit rate=;', 'invalid rate "rate="' ],
        [ '', 'ws_bus_limit rate=9999999999999r/s;', 'invalid rate' ],
        [ '', 'ws_bus_limit bytes=0/s;', 'invalid bytes "bytes=0/s"' ],
        [ '', 'ws_bus_limit bytes=1k;', 'invalid bytes "bytes=1k"' ],
        [ '', 'ws_bus_limit bytes=/s;', 'invalid bytes "bytes=/s"' ],
        [ '', 'ws_bus_limit bytes=9999g/s;', 'invalid bytes' ],
        [ '', 'ws_bus_limit rate=1r/s burst=0;', 'invalid burst "burst=0"' ],
        [ '', 'ws_bus_limit rate=1r/s burst=1k;', 'invalid burst "burst=1k"' ],
        [ '', 'ws_bus_limit burst=1;',
          '"ws_bus_limit" directive needs "rate" or "bytes"' ],
        [ '', 'ws_bus_limit drop;',
          '"ws_bus_limit" directive needs "rate" or "bytes"' ],
        [ '', 'ws_bus_limit rate=1r/s zone=two;', 'unknown zone "two"' ],
        [ '', 'ws_bus_limit rate=1r/s zone=;', 'invalid parameter "zone="' ],
        [ '', 'ws_bus_limit rate=1r/s later;', 'invalid parameter "later"' ],
        [ $zone, 'ws_bus_limit rate=1r/s zone=one;'
          . 'ws_bus_limit rate=1r/m zone=one;', 'duplicate zone "one"' ],
        [ "$zone$zone", '', 'duplicate zone "one"' ],
        [ 'ws_bus_limit_zone $arg_a zone=one:8k;', '',
          'zone "one" is too small' ],
        [ 'ws_bus_limit_zone $arg_a zone=one:x;', '',
          'invalid zone size "zone=one:x"' ],
        [ 'ws_bus_limit_zone $arg_a zone=one;', '',
          'invalid parameter "zone=one"' ],
        [ 'ws_bus_limit_zone $arg_a zone=:64k;', '',
          'invalid parameter "zone=:64k"' ],
        [ 'ws_bus_limit_zone $arg_a one:64k;', '',
          '"ws_bus_limit_zone" must have "zone" parameter' ],
        [ 'ws_bus_limit_zone "" zone=one:64k;', '', 'invalid key ""' ],
        [ 'ws_bus_limit_zone $no_such zone=one:64k;', '',
          'unknown "no_such" variable' ],
        [ '', 'ws_bus_limit_log_level debug;', 'invalid value "debug"' ],
        [ '', 'ws_bus_limit_dry_run maybe;', 'invalid value "maybe"' ],
    ) {
        my ($http, $location, $message) = @$case;

        $t->write_file_expand('bad.conf', "%%TEST_GLOBALS%%\nevents {}\n"
            . "http {\n%%TEST_GLOBALS_HTTP%%\n$http\nserver {\n"
            . "location / {\nws_bus a;\n$location\n}\n}\n}\n");

        my ($good, $said) = $t->test_config('bad.conf');

        if (defined $message) {
            ok(!$good && index($said, $message) >= 0, "refused: $message")
                or diag("$http $location: $said");

        } else {
            ok($good, "good: $http $location") or diag($said);
        }
    }

    # zones of other modules may have that name

    $t->write_file_expand('bad.conf', "%%TEST_GLOBALS%%\nevents {}\n"
        . "http {\n%%TEST_GLOBALS_HTTP%%\nws_bus_zone one 1m;\n$zone\n"
        . "limit_req_zone \$arg_a zone=one:1m rate=1r/s;\n}\n");
    ok(scalar($t->test_config('bad.conf')), 'names are apart')
        or diag(($t->test_config('bad.conf'))[1]);
}


# A reload, and the end, while messages wait.

sub drained {
    my @c = map { ws('/minute/' . fresh(), @$_) } ([ ], [ @tls ]) x 3;

    for my $c (@c) {
        $c->write(join('', map { frame(TEXT, "$_") } 1 .. 5));
        is_message($c, 1, 'before the reload');
    }

    my $channel = fresh();
    my $few = ws("/delay/$channel", auto_close => 0);

    # less than the time in which its Close is waited for

    $few->write(join('', map { frame(TEXT, "$_") } 1 .. 90));

    ok(reload($t), 'reload');

    my $other = ws("/free/$channel");

    is(scalar(grep { $_->wait_close() == 1001 } @c), 6,
        'waiting ones are told');
    is($few->wait_close(), 1001, 'so is one whose messages are published');

    my $m = $other->recv();
    my $rest = join(' ', $other->recv_n(90 - $m));

    is($rest, join(' ', $m + 1 .. 90), 'which goes on');
    cmp_ok($m, '<', 90, 'after the reload');
    $_->disconnect() for @c, $few, $other;

    ok($t->wait_until(sub { $t->workers() == 1 }, 15), 'the old worker left');

    my $c = ws('/minute/' . fresh());

    $c->text("$_") for 1 .. 3;
    is_message($c, 1, 'before the end');
    $t->signal('QUIT');
    is($c->wait_close(), 1001, 'told at the end');
}
