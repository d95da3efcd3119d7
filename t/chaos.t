#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Some seconds of everything at once: clients of all kinds that come, talk,
# stop reading and go, publications, deletions, workers killed and stopped,
# reloads.  Then all of it has to add up again.  WS_BUS_TEST_SEED repeats the
# dice, if not the timing; WS_BUS_TEST_CHAOS is for how many seconds.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

my $seconds = $ENV{WS_BUS_TEST_CHAOS} // 8;
my $seed = $ENV{WS_BUS_TEST_SEED} // time() % 1e6 | 0;

note("WS_BUS_TEST_SEED=$seed");
srand($seed);

$t->expect_log(qr/\[alert\].* worker process \d+ exited on signal 9/,
    qr/\[alert\].* shared memory zone "ws_bus:bus" was locked by \d+/);

$t->time_limit(60 + $seconds)->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 4;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 512k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_history 1000;
    ws_bus_message_max_size 100k;
    ws_bus_buffer 64k;
    ws_bus_drain 1s;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location ~ ^/close/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/lean/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_lean on;
        }

        location ~ ^/latest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k latest;
            ws_bus_lean on;
            ws_bus_deflate on;
        }

        location ~ ^/oldest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_buffer 64k oldest;
            ws_bus_deflate on;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my $end = time() + $seconds;

for my $i (1 .. 4) {
    my $dice = int rand 1e9;
    $t->run_daemon(sub { srand($dice); clients() });
}

while (time() < $end) {
    sleep(rand(0.5));

    my @workers = $t->workers() or next;
    my $pid = $workers[rand @workers];
    my $x = rand();

    if ($x < 0.5) {
        $t->signal('KILL', $pid);

    } elsif ($x < 0.75) {
        $t->signal('STOP', $pid);
        sleep(rand(0.2));
        $t->signal('CONT', $pid);

    } elsif ($x < 0.85) {
        $t->signal('HUP');
    }
}

$t->stop_daemons();


# It adds up.

ok($t->wait_until(sub { $t->workers() == 4 }, 20), 'four workers');

ok($t->wait_until(sub {
    my $s = status();
    return $s->{connections} == 0 && $s->{subscriptions} == 0;
}, 20), 'no connections, no subscriptions') or diag(explain(status()));

for (0 .. 4) {
    my $state = http_get("/pub/c$_");
    is($state->status() == 200 ? $state->json()->{subscribers} : 0, 0,
        "subscribers of channel $_");
}

my @pids = wait_workers($t, 4);
my @c = map { $_->[1] } ws_everywhere(\@pids, 2, '/close/c1');

$c[0]->text("$_") for 1 .. 100;

is(join(' ', $_->recv_n(100)), join(' ', 1 .. 100), 'and it works') for @c;

my $status = status();
note("in $status->{messages_in}, out $status->{messages_out}, ",
    "overruns $status->{log}{overruns}");

$t->done_testing();


# A process full of clients.

sub clients {
    my @c;

    local $SIG{PIPE} = 'IGNORE';

    Test::WsBus::Conn::disconnect_all();

    while (time() < $end) {
        my $c = eval { client() };

        if ($c) {
            # nobody here waits for long
            $c->{timeout} = 0.1;
            push @c, $c;
        }

        for my $c (@c) {
            # whatever goes wrong is what may go wrong
            eval { act($c) };
        }

        @c = grep { !$_->{eof} && $_->sock() } @c;
        shift @c while @c > 20;
    }
}


sub client {
    my $path = '/' . (qw/ close lean latest oldest /)[rand 4] . '/c'
        . int(rand 5);
    my @opt = (timeout => 2);
    my $x = rand();

    push @opt, port => port(8443), ssl => 1 if $x < 0.2;
    push @opt, port => port(8081), rcvbuf => 4096 if $x > 0.8;
    push @opt, deflate => 1 if rand() < 0.4;

    $path .= '?last=' . int(rand 500) if rand() < 0.5;

    return ws($path, @opt);
}


sub act {
    my ($c) = @_;

    my $x = rand();

    if ($x < 0.30) {
        $c->text('x' x rand 3000);

    } elsif ($x < 0.35) {
        $c->binary(join('', map { chr rand 256 } 1 .. 1000) x rand 50);

    } elsif ($x < 0.40) {
        $c->ping('ping');

    } elsif ($x < 0.42) {
        $c->close(1000);

    } elsif ($x < 0.43) {
        $c->send_frame(3, 'x');

    } elsif ($x < 0.45) {
        $c->abort();

    } elsif ($x < 0.47) {
        $c->disconnect();

    } elsif ($x < 0.85) {
        1 while $c->message(0.001);

    } elsif ($x < 0.90) {
        request('POST', '/pub/c' . int(rand 5), body => 'y' x rand 50_000,
            timeout => 1);

    } elsif ($x < 0.91) {
        request('DELETE', '/pub/c' . int(rand 5), timeout => 1);
    }
}
