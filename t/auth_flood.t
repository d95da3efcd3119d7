#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Clients that never show a token: what they cost, how long they stay, and
# that others do not notice them.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame CONT TEXT PING /;
use Test::WsBus::Token;
use WsBusTestWorkers;

use constant CLIENTS => 2000;

# what a request's header may take: client_header_buffer_size and
# large_client_header_buffers, by default

use constant HEADER => 1024 + 4 * 8192;

# seconds: ws_bus_auth_timeout; and less than a Close is waited for

use constant SHORT => 3;
use constant SLACK => 3;

my $t = Test::WsBus->new()->has(qw/ Crypt::JWT /);

my $key = Test::WsBus::Token->key('ES256');

$t->write_file('keys.jwks', jwks($key));
$t->write_file_expand('nginx.conf', conf());

$t->run();

my ($worker) = $t->workers();
my $token = $key->token(sub => 'alice');

# the beginning of a token that is as long as one may be

my $auth = '{"type":"auth","token":"' . 'a' x 16_300;

my $noise = join('', map { chr(int(rand(256))) } 1 .. 17_000);

my %kinds = (
    dribble => sub { $_[0]->write(frame(TEXT, $auth, length => 17_000)) },
    fragments => sub {
        $_[0]->write(frame(TEXT, '{', fin => 0)
                     . frame(CONT, 'a' x 16, fin => 0) x 1000);
    },
    empty => sub {
        $_[0]->write(frame(TEXT, '{', fin => 0)
                     . frame(CONT, '', fin => 0) x 1000);
    },
    pings => sub { $_[0]->write(frame(PING, 'a' x 125) x 300) },
    deflate => sub {
        $_[0]->write(frame(TEXT, $noise, fin => 0, rsv1 => 1));
    },
);

memory();
late();

$t->done_testing();


sub conf {
    return <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format times '$uri $ws_bus_auth $ws_bus_close_code $request_time';
    access_log %%TESTDIR%%/times.log times;

    ws_bus_zone bus 4m;
    ws_bus_publish on;
    ws_bus_deflate on;
    ws_bus_jwt_key_file %%TESTDIR%%/keys.jwks;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%% sndbuf=16k backlog=4096;

        location = /long {
            ws_bus a;
            ws_bus_jwt bus;
            ws_bus_auth_timeout 1h;
        }

        location = /short {
            ws_bus a;
            ws_bus_jwt bus;
            ws_bus_auth_timeout 3s;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC
}


sub strangers {
    my ($n, $path) = @_;

    return map { ws($path, deflate => 1, auto_close => 0) } 1 .. $n;
}


sub memory {
    my @names = sort keys %kinds;

    # the worker has what it needs once

    for my $name (@names) {
        my ($c) = strangers(1, '/long');
        $kinds{$name}->($c);
        status();
        $c->abort();
    }

    $t->wait_until(sub { status()->{connections} == 0 }, 20);

    my @c = strangers(CLIENTS, '/long');

    is(status()->{connections}, CLIENTS, 'strangers are connected');

    my $before = rss($worker);

    $kinds{$names[$_ % @names]}->($c[$_]) for 0 .. $#c;

    # the worker has read it all when it has read what came behind it

    $t->wait_until(sub { eval { status(); 1 } }, 60) for 1 .. 3;

    my $each = (rss($worker) - $before) / CLIENTS;

    note(sprintf('%.0f bytes each', $each));
    cmp_ok($each, '<', HEADER, 'none takes more than a header may');
    is(status()->{connections}, CLIENTS, 'and all are still there');

    # somebody with a token among them

    my $good = ws('/long', headers => [ Authorization => "Bearer $token" ]);

    $good->text('hello');
    is_message($good, 'hello', 'others are served');
    is(status()->{subscriptions}, 1, 'the only one who is subscribed');
    is(status()->{messages_in}, 1, 'and has published anything');

    $good->finish();
    $_->abort() for @c;

    ok($t->wait_until(sub { status()->{connections} == 0 }, 20), 'left');
    is(join(' ', $t->workers()), $worker, 'by the same worker');
}


# They go on sending, read nothing, and answer nothing.

sub late {
    my @names = sort keys %kinds;
    my @c = strangers(10 * @names, '/short');

    $kinds{$names[$_ % @names]}->($c[$_]) for 0 .. $#c;

    # more pongs than TCP takes

    push @c, strangers(5, '/short');
    $_->write(frame(PING, 'a' x 125) x 5000) for @c[-5 .. -1];

    # one byte now and then; what a ping is answered by is not read

    my $frame = frame(TEXT, $auth);
    my @dribble = strangers(10, '/short');
    my $i = 0;

    local $SIG{PIPE} = 'IGNORE';

    my $gone = $t->wait_until(sub {
        eval { $_->write(substr($frame, $i, 1)) } for @dribble;
        $i++;

        return eval { status()->{connections} == 0 };
    }, 30);

    ok($gone, 'nobody is left');

    my $n = @c + @dribble;

    is($t->find_in_file('times.log', qr/^\/short REJECTED_TOKEN 4001 /m,
        count => $n, timeout => 10), $n, 'all were told');

    my ($last) = sort { $b <=> $a }
        $t->read_file('times.log') =~ /^\/short .* ([\d.]+)$/mg;

    # a Close is waited for longer than this where a client is known

    cmp_ok($last, '<', SHORT + SLACK, 'and not waited for');
}
