#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What nginx's process model does to connections: worker_connections run out,
# worker_shutdown_timeout passes, there is no master.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my @tests = (exhausted(), shutdown_timeout(), single());

$_->finish() for @tests;
done_testing();


sub nginx {
    my ($main, $events, $port) = @_;

    my $t = Test::WsBus->new()->log_level('info');

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

$main

events {
    $events
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '\$uri \$status \$ws_bus_close_code \$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 4m;
    ws_bus_history 100;
    ws_bus_drain 10d;

    server {
        listen 127.0.0.1:%%PORT_${port}%%;

        location /ws/ {
            ws_bus \$uri;
            ws_bus_publish on;
        }

        location /keepalive {
            return 204;
        }

        location ~ ^/pub(?<chan>/ws/.*)\$ {
            ws_bus_publisher \$chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

    return $t;
}


# There is no connection left in the worker: those that are there live on,
# the next ones wait, are refused or served, and nothing breaks.

sub exhausted {
    my $t = nginx('worker_processes 1;', 'worker_connections 24;', 8080);

    $t->expect_log(qr/\[alert\].* 24 worker_connections are not enough/);
    $t->run();

    my ($pid) = $t->workers();

    # these make way when connections run short

    my @keepalive = map {
        my $h = Test::WsBus::HTTP->new(port => port(8080));
        $h->request('GET', '/keepalive');
        $h;
    } 1 .. 5;

    my (@c, @waiting);

    for (1 .. 40) {
        my $c = Test::WsBus::Client->new(port => port(8080),
            timeout => scale(3));
        my $r = $c->handshake('/ws/a');

        if ($r && $r->status() == 101) {
            push @c, $c;

        } else {
            push @waiting, $c;
            ok(!$r || $r->status() >= 500, 'refused, or not yet accepted');
            last if @waiting == 2;
        }
    }

    cmp_ok(scalar(@c), '>', 15, 'most connections are of WebSockets');
    cmp_ok(scalar(@c), '<', 24, 'then they run out');
    is(scalar(grep { $_->at_eof(0) } @keepalive), 5,
        'idle HTTP connections made way');
    is(scalar(grep { $_->at_eof(0) } @c), 0, 'WebSockets did not');

    $c[0]->text('full house');
    is(scalar(grep { ($_->recv() // '') eq 'full house' } @c), scalar(@c),
        'those that are there are served');

    my $n = @c;

    $_->disconnect() for @waiting;
    $_->finish() for splice(@c, -8);

    ok($t->wait_until(sub {
        my $r = eval { http_get('/status', timeout => 5) } or return;
        return $r->json()->{zones}{bus}{connections} == $n - 8;
    }), 'some leave');

    my @new = map { ws('/ws/a') } 1 .. 4;

    $new[0]->text('room again');
    is(scalar(grep { ($_->recv() // '') eq 'room again' } @c, @new), $n - 4,
        'others come');

    is(($t->workers())[0], $pid, 'the worker is the same');

    return $t;
}


# The worker does not wait for ever.

sub shutdown_timeout {
    my $t = nginx('worker_processes 2; worker_shutdown_timeout 1s;', '',
        8081);

    $t->run();

    my @c = map { ws("/ws/a", port => port(8081)) } 1 .. 8;
    my @old = $t->workers();

    $t->signal('HUP');

    ok($t->wait_until(sub {
        my %now = map { $_ => 1 } $t->workers();
        return %now && !grep { $now{$_} } @old;
    }, 10), 'old workers are gone after the timeout');

    is(scalar(grep { $_->at_eof() } @c), 8, 'connections have ended');
    is($t->find_in_file('bus.log', qr/^\/ws\/a 101 1001 server$/m,
        count => 8, timeout => 5), 8, 'logged as 1001');

    my $c = ws('/ws/a', port => port(8081));

    $c->text('new');
    is_message($c, 'new', 'new ones serve');

    ok($t->wait_until(sub {
        my $s = http_get('/status', port => port(8081))->json();
        return $s->{zones}{bus}{connections} == 1;
    }), 'the others are not counted');

    return $t;
}


# One process.

sub single {
    my $t = nginx('master_process off;', '', 8082);

    # there is no worker that run() could wait for

    my $pid = $t->_spawn('-c', $t->testdir() . '/nginx.conf');

    $t->{pid} = $t->{pgid} = $pid;
    $t->waitforsocket(8082) or die "nginx did not start";

    my ($a, $b) = map { ws('/ws/a', port => port(8082)) } 1 .. 2;

    $a->text('one process');
    is_message($a, 'one process', 'single process: own message');
    is_message($b, 'one process', 'single process: another one');

    is(http_post('/pub/ws/a', 'posted', port => port(8082))->json()->{seq}, 2,
        'single process: POST');
    is_message($b, 'posted', 'single process: delivered');

    my $c = ws('/ws/a?last=2', port => port(8082));
    is(join(' ', $c->recv_n(2)), 'one process posted',
        'single process: history');

    my $status = http_get('/status', port => port(8082))->json()->{zones}{bus};

    is($status->{connections}, 3, 'single process: connections');
    is($status->{workers}[0]{pid}, $pid, 'single process: its pid');
    is(scalar(@{$status->{workers}}), 1, 'single process: and no other');

    is($c->finish(), 1000, 'single process: closed');

    $t->signal('HUP');
    $t->find_in_file('error.log', qr/reconfiguring/, timeout => 5);

    $a->text('reconfigured');
    is_message($a, 'posted', 'single process: in order');
    is_message($a, 'reconfigured', 'single process: reconfigured');

    return $t;
}
