#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The end of nginx: graceful under load, fast, and with clients that do not
# help.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;


my @tests = (under_load(), unwilling(), fast());

$_->finish() for @tests;
done_testing();


sub nginx {
    my ($port) = @_;

    my $t = Test::WsBus->new()->log_level('info');

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes 3;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '\$uri \$ws_bus_close_code \$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 16m;
    ws_bus_buffer 16m;
    ws_bus_drain 2s;

    server {
        listen 127.0.0.1:%%PORT_${port}%% reuseport;
        listen 127.0.0.1:%%PORT_1${port}%% sndbuf=16k;

        location /ws/ {
            ws_bus \$uri;
            ws_bus_publish on;
        }

        location /now/ {
            ws_bus \$uri;
            ws_bus_drain 0;
        }

        location ~ ^/pub(?<chan>/.*)\$ {
            ws_bus_publisher \$chan;
        }
    }
}

EOF

    return $t->run();
}


# Everybody talks, then it is over: each client is told, and what it had
# before is whole.

sub under_load {
    my $t = nginx(8080);

    publisher($t, $_, '/pub/ws/load') for qw/ a b /;

    my @readers = map { ws('/ws/load') } 1 .. 20;
    my @writers = map { ws('/ws/load') } 1 .. 3;
    my @idle = map { ws('/ws/idle') } 1 .. 20;
    my @at_once = map { ws('/now/idle') } 1 .. 5;
    my @all = (@readers, @writers, @idle, @at_once);

    pump(\@all, sub { received($readers[0]) > 100 });

    # it comes into the midst of a handshake, too

    my $text = Test::WsBus::Client::format_handshake('/ws/load',
        key => 'dGhlIHNhbXBsZSBub25jZQ==');
    my $late = Test::WsBus::Client->new(port => port(8080));

    $late->write(substr($text, 0, 40));

    my $begin = time();
    my $n = 0;

    $t->signal('QUIT');

    $t->find_in_file('error.log', qr/gracefully shutting down/, count => 3,
        timeout => 5);

    $late->write(substr($text, 40));

    pump(\@all, sub {
        received($_) for @all;

        for my $c (grep { !defined $_->close_code() } @writers) {
            $c->text('w.' . ++$n);
        }

        return !grep { !$_->{eof} } @all;
    }, 40);

    is(join(' ', map { $_->close_code() // 'none' } @all),
        join(' ', (1001) x @all), 'each client is told');
    cmp_ok(time() - $begin, '<', scale(40), 'in time');
    is(scalar(grep { $_->{eof} } @all), scalar(@all), 'each connection ends');

    for my $name (qw/ a b /) {
        my @faults = grep {
            my @n = map { /^$name\.(\d+)$/ ? $1 : () } received($_);
            @n && join(' ', @n) ne join(' ', $n[0] .. $n[-1]);
        } @readers;

        is(scalar(@faults), 0, "no holes before the Close, publisher $name");
    }

    my $r = $late->handshake_response('dGhlIHNhbXBsZSBub25jZQ==');

    is($r && $r->status(), 101, 'a handshake begun before is completed');
    is_closed($late, 1001, 'and told at once');

    $t->stop_daemons();

    ok(gone($t), 'nginx has gone');

    is($t->find_in_file('bus.log', qr/^\/(?:ws|now)\/\w+ 1001 server$/m,
        count => @all + 1), @all + 1, 'logged as closed by the server');

    return $t;
}


# Clients that do not answer the Close, or do not read at all, are not waited
# for.

sub unwilling {
    my $t = nginx(8081);

    my @mute = map { ws('/ws/a', port => port(8081), auto_close => 0) } 1 .. 3;
    my $deaf = ws('/ws/b', port => port(18081), rcvbuf => 4096);

    http_post('/pub/ws/b', 'x' x 60_000, port => port(8081)) for 1 .. 20;

    my $begin = time();

    $t->signal('QUIT');

    is($_->wait_close(), 1001, 'told') for @mute;

    $mute[0]->text('still talking');

    is(scalar(grep { $_->at_eof() } @mute), 3, 'ended without an answer');
    cmp_ok(time() - $begin, '>', 4.8, 'after some time for it');

    ok(gone($t), 'nginx has gone');

    $deaf->read_all();
    ok($deaf->{eof}, 'one that did not even read has been left');

    return $t;
}


sub fast {
    my $t = nginx(8082);

    my @c = map { ws('/ws/a', port => port(8082)) } 1 .. 10;
    my $deaf = ws('/ws/b', port => port(18082), rcvbuf => 4096);

    http_post('/pub/ws/b', 'x' x 60_000, port => port(8082)) for 1 .. 20;

    $t->signal('TERM');

    is(scalar(grep { $_->at_eof() } @c), 10, 'connections end');

    ok(gone($t), 'nginx has gone');

    return $t;
}


sub gone {
    my ($t) = @_;

    my $gone = $t->_wait_exit($t->master(), patience());
    delete $t->{pid} if $gone;

    return $gone;
}
