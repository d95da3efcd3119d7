#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A new binary takes over: it has a bus of its own, and the old one drains.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

my $t = Test::WsBus->new();

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOF' =~ s/%%USER%%/$> ? '' : 'user root;'/er);

%%LOAD_MODULE%%
pid %%TESTDIR%%/nginx.pid;
error_log %%TESTDIR%%/error.log info;
%%USER%%

# what a sanitizer needs in the new binary
env LD_PRELOAD;
env ASAN_OPTIONS;
env UBSAN_OPTIONS;

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    ws_bus_history 10;
    ws_bus_drain 1s;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /ws/ {
            ws_bus $uri;
            ws_bus_publish on;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

my $old = daemon();
my %before = map { $_ => 1 } $t->workers();
my @c = map { ws('/ws/a') } 1 .. 4;

$c[0]->text('before');
is_message($_, 'before', 'the old binary') for @c;

$t->signal('USR2', $old);

my ($new, @workers);

ok($t->wait_until(sub {
    ($new) = $t->read_file('nginx.pid') =~ /^(\d+)$/;
    @workers = grep { !$before{$_} } $t->workers();
    return $new && $new != $old && @workers == 2;
}, 10), 'a new master with workers');


# Both serve, each its own.

$c[0]->text('still');
is_message($_, 'still', 'clients of the old one go on') for @c;

$t->signal('WINCH', $old);

is($_->wait_close(), 1001, 'until its workers are asked to leave') for @c;
is(scalar(grep { $_->at_eof() } @c), 4, 'they have ended');

my @d = map { ws('/ws/a?last=10') } 1 .. 4;

is(scalar(grep { $_->response()->header('Ws-Bus-Seq') == 0 } @d), 4,
    'the new one has a new zone');

$d[0]->text('after');
is_message($_, 'after', 'and serves') for @d;

ok($t->wait_until(sub {
    return join(' ', worker_pids()) eq join(' ', sort { $a <=> $b } @workers);
}), 'its workers are those of the status');

$t->signal('QUIT', $old);
ok($t->wait_until(sub { !grep { $_->[0] == $old } $t->processes() }, 10),
    'the old master has gone');

$d[0]->text('alone');
is_message($_, 'alone', 'the new one is alone') for @d;


$_->disconnect() for @d;

$t->signal('QUIT', $new);
ok($t->wait_until(sub { !$t->processes() }, 10), 'it ends as well');

$t->done_testing();


# Only a daemon accepts the signal.  It is no child of this test, but leads
# the group by which its processes are found.

sub daemon {
    # nginx runs its new binary by the name it was called by itself

    ($t->{nginx}) = grep { -x } $t->{nginx},
        map { "$_/$t->{nginx}" } split(/:/, $ENV{PATH});

    my $starter = $t->_spawn('-c', $t->testdir() . '/nginx.conf');

    waitpid($starter, 0);
    die "nginx did not start: " . $t->read_file('stderr.log') if $?;

    $t->wait_until(sub {
        ($t->{pgid}) = $t->read_file('nginx.pid') =~ /^(\d+)$/;
        return $t->{pgid} && $t->workers() == 2;
    }) or die "no workers";

    return $t->{pgid};
}
