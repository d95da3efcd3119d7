#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# ws_bus_limit by a key: one state for all connections of all workers, that
# a reload and a killed worker leave as it is, in a table that does not fill
# up.

use warnings;
use strict;

use Test::More;
use POSIX ();
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use WsBusTestWorkers;

use constant SECONDS => 10;
use constant RATE => 200;
use constant BURST => 100;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

# workers that are killed on purpose, a reload that is refused on purpose
$t->expect_log(qr/\[alert\].* worker process \d+ exited on signal 9/);
$t->expect_log(qr/\[alert\].* shared memory zone ".*" was locked by/);
$t->expect_log(qr/\[emerg\].* while previously it used the/);

$t->log_level('info')->write_cert('localhost');

configure('$arg_key', '64k');
$t->run();
wait_workers($t, 4);

my @tls = (port => port(8443), ssl => 1);


keys_apart();
shared();
lean();
several();
delays();
table();
reloaded();
killed();
nominal_rate();

$t->done_testing();


sub configure {
    my ($key, $size) = @_;

    $t->write_file_expand('nginx.conf', conf() =~ s/<key>/$key/r
        =~ s/<size>/$size/r);
}


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri $arg_key $ws_bus_limit';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 8m;
    ws_bus_limit_zone <key> zone=key:<size>;
    ws_bus_limit_zone $arg_key zone=delay:64k;
    ws_bus_limit_zone $arg_key zone=rate:64k;
    ws_bus_limit_zone $arg_other zone=other:64k;
    ws_bus_limit_zone $arg_key zone=small:32k;

    ws_bus_drain 200ms;
    ws_bus_publish on;

    add_header X-Pid $pid always;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8443%% ssl reuseport;

        location = /free {
            ws_bus a;
        }

        location = /drop {
            ws_bus a;
            ws_bus_limit rate=1r/m burst=9 zone=key drop;
        }

        location = /lean {
            ws_bus a;
            ws_bus_limit rate=1r/m burst=9 zone=key drop;
            ws_bus_lean on;
        }

        location = /close {
            ws_bus a;
            ws_bus_limit rate=1r/m burst=9 zone=key;
        }

        location = /small {
            ws_bus a;
            ws_bus_limit rate=1r/m zone=small drop;
        }

        location = /several {
            ws_bus a;
            ws_bus_limit rate=1r/m burst=4 zone=other drop;
            ws_bus_limit rate=1r/m burst=9 zone=key drop;
            ws_bus_limit rate=1r/m burst=6 drop;
        }

        location = /delay {
            ws_bus a;
            ws_bus_limit rate=20r/s burst=10 zone=delay delay;
        }

        location = /minute {
            ws_bus a;
            ws_bus_limit rate=1r/m burst=2 zone=delay delay;
        }

        location = /rate {
            ws_bus a;
            ws_bus_limit rate=200r/s burst=100 zone=rate drop;
            ws_bus_max_channels 1;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC
}


# How many of n messages, each over a connection of its own in turn, others
# hear.

sub passed {
    my ($n, @clients) = @_;

    my $other = ws('/free');

    for my $i (1 .. $n) {
        my $c = $clients[$i % @clients];

        $c->text("m$i");
        $c->ping("$i");
        $c->read_pong();
    }

    my $end = ws('/free');
    $end->text('the end');

    my $passed = 0;

    while (defined(my $m = $other->recv())) {
        last if $m eq 'the end';
        $passed++;
    }

    $_->finish() for $other, $end;

    return $passed;
}


sub everywhere {
    my ($path) = @_;

    return map { $_->[1] } ws_everywhere([ $t->workers() ], 1, $path);
}


sub keys_apart {
    is(passed(15, ws('/drop?key=a')), 10, 'a key');
    is(passed(15, ws('/drop?key=a')), 0, 'another connection of it');
    is(passed(15, ws('/drop?key=b', @tls)), 10, 'another key');
    is(passed(15, ws('/drop')), 15, 'an empty key is not limited');
    is(passed(15, ws('/drop?key=' . 'k' x 3000)), 10, 'a long key');
    is(passed(15, ws('/drop?key=' . 'k' x 2999 . 'l')), 10, 'another one');

    my $c = ws('/close?key=a');
    $c->text('x');
    is_closed($c, 1008, 'closed', reason => qr/^rate limit exceeded$/);
    $c->disconnect();

    is($t->find_in_file('bus.log', qr!^/drop - -$!m, timeout => 5), 1,
        'no outcome with an empty key');
    is($t->find_in_file('bus.log', qr!^/close a CLOSED$!m, timeout => 5), 1,
        'outcome');
    like($t->read_file('error.log'),
        qr/limiting messages, excess: 10\.\d{3} by zone "key"/, 'logged');
}


sub shared {
    my @c = everywhere('/drop?key=shared');

    is(scalar(@c), 4, 'a connection to each worker');
    is(passed(40, @c), 10, 'have one limit');
    $_->finish() for @c;
}


sub lean {
    is(passed(15, ws('/lean?key=lean')), 10, 'lean');
    is(passed(15, ws('/lean?key=lean', @tls)), 0, 'lean: the same key');
    is(passed(15, ws('/lean')), 15, 'lean: an empty key');
}


sub several {
    is(passed(15, ws('/several?key=s1&other=s1')), 5, 'the lowest of three');
    is(passed(15, ws('/several?key=s1&other=s1')), 0, 'is used up');
    is(passed(15, ws('/several?key=s1')), 5,
        'what it refused was not charged to the next');
    is(passed(15, ws('/several')), 7, 'the connection has its own');
    is(passed(15, ws('/several?other=s2')), 5, 'the zone is asked as well');
}


# What waits of a key is bounded by the burst, whoever sends it.

sub delays {
    my @c = everywhere('/delay?key=d');
    my $other = ws('/free');
    my $from = time();

    for my $i (1 .. 5) {
        $c[$_]->text("$_:$i") for 0 .. 3;
    }

    my @heard = $other->recv_n(20);

    is(scalar(@heard), 20, 'delayed: all');
    cmp_ok(time() - $from, '>', 19 / 20 - 0.02, 'delayed: not at once');

    for my $k (0 .. 3) {
        is(join(' ', grep { /^$k:/ } @heard),
            join(' ', map { "$k:$_" } 1 .. 5), "delayed: $k in order");
    }

    $_->finish() for @c;

    @c = map { ws('/minute?key=m') } 1 .. 4;

    for my $c (@c[0 .. 2]) {
        $c->text('x');
        $c->ping('y');
        is($c->read_pong(), 'y', 'waits');
    }

    $c[3]->text('one too many');
    is_closed($c[3], 1008, 'more than may wait');

    # nginx knows that it is closing them

    $_->disconnect() for @c, $other;
}


# A table that is smaller than the number of keys forgets the oldest.

sub table {
    my $c = ws('/small?key=first');

    is(passed(2, $c), 1, 'the first key');

    for my $k (1 .. 3000) {
        my $d = ws("/small?key=$k");
        $d->text('x');
        $d->ping('y');
        $d->read_pong() // die "no pong for key $k";
        $d->disconnect();
    }

    is(passed(2, $c), 1, 'is forgotten, and known anew');
    is(passed(2, ws('/small?key=3000')), 0, 'the last one is not');
    $c->finish();
}


sub reloaded {
    is(passed(15, my $c = ws('/drop?key=r')), 10, 'before the reload');
    ok(reload($t), 'reload');
    is(passed(15, ws('/drop?key=r')), 0, 'the state is kept');

    configure('$arg_key$arg_more', '64k');
    ok(!reload($t), 'a reload with another key is refused');
    like($t->read_file('error.log'),
        qr/\[emerg\].*ws_bus_limit_zone\ "key"\ uses\ the\ "\$arg_key\$arg_more"
        \ key\ while\ previously\ it\ used\ the\ "\$arg_key"\ key/x, 'says why');
    is(passed(15, ws('/drop?key=r')), 0, 'the state is kept still');

    configure('$arg_key', '128k');
    ok(reload($t), 'a reload with another size');
    is(passed(15, ws('/drop?key=r')), 10, 'is a new table');
    $c->disconnect();

    ok($t->wait_until(sub { $t->workers() == 4 }, 20), 'old workers left');
    wait_workers($t, 4);
}


# Workers are killed while they use the table.

sub killed {
    for my $round (1 .. 6) {
        my ($victim) = $t->workers();
        my @c = map { ws_at($victim, "/drop?key=k$_") } 1 .. 2;
        my $pid = fork() // die "fork: $!";

        if ($pid == 0) {
            $SIG{PIPE} = 'IGNORE';
            my $many = join('', map { frame(TEXT, "$_") } 1 .. 2000);

            eval { $_->write($many) for @c } for 1 .. 100;
            POSIX::_exit(0);
        }

        sleep(0.02 * $round);
        kill 'KILL', $victim;
        waitpid($pid, 0);
        $_->disconnect() for @c;

        ok($t->wait_until(sub {
            my @workers = $t->workers();
            return @workers == 4 && !grep { $_ == $victim } @workers;
        }, 20), "killed, and another one is there");

        wait_workers($t, 4);

        my @all = everywhere("/drop?key=after$round");

        is(passed(20, @all), 10, 'the limit holds');
        $_->finish() for @all;
    }
}


# Four workers, sixteen connections, a flood: what passes is what the rate and
# the burst allow.

sub nominal_rate {
    my @c = map { $_->[1] }
        ws_everywhere([ $t->workers() ], 4, '/rate?key=nominal');
    my $before = status();
    my $from = time();
    my @last = ($from, $from);
    my $sent = 0;
    my $lost = 0;

    while (time() - $from < SECONDS) {

        # what a busy machine did not let us send, or nginx see, since it had
        # the last but one: no more than the burst is made up for

        my $now = time();
        my $idle = RATE * ($now - $last[0]) - BURST;

        $lost += $idle if $idle > 0;

        # three times as many as may pass since then

        my $n = 1 + int(3 * RATE * ($now - $last[1]) / @c);

        @last = ($last[1], $now);

        $_->write(join('', map { frame(TEXT, 'x') } 1 .. $n)) for @c;
        $sent += $n * @c;

        # what comes back is not to fill up TCP

        for my $c (@c) {
            $c->ping('y');
            $c->read_pong();
        }

        sleep(0.004);
    }

    my $took = time() - $from;

    my $after = status();
    my $passed = $after->{messages_in} - $before->{messages_in};
    my $nominal = RATE * $took + BURST + 1;

    is($passed + $after->{dropped}{limit} - $before->{dropped}{limit}, $sent,
        'each message passed or was dropped');
    cmp_ok($sent, '>', 1.5 * ($nominal - $lost), 'there were more than may pass');
    cmp_ok($passed, '>=', 0.95 * $nominal - $lost,
        'as many as the rate allows');
    cmp_ok($passed, '<=', 1.05 * $nominal, 'and no more');

    $_->disconnect() for @c;
}
