# Copyright (C) the ngx_ws_bus_module authors

# What "make run" starts: the demonstration's own script and configuration.

use warnings;
use strict;

use IO::Socket::INET;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;


my $t = Test::WsBus->new()->has('load_module')->plan(16);

my $root = "$FindBin::Bin/..";
my $run = $t->testdir() . '/run';
my $nginx = $ENV{WS_BUS_TEST_NGINX} // 'nginx';
my $preload = $ENV{WS_BUS_TEST_PRELOAD} // '';

# preloaded into nginx only, not into the script

$t->write_file('nginx', <<"EOF");
#!/bin/sh
LD_PRELOAD="$preload" exec "$nginx" "\$@"
EOF

chmod(0755, $t->testdir() . '/nginx');

my $port = port(8080);

my $pid = $t->run_daemon(sub {
    $ENV{PORT} = $port;
    $ENV{RUN} = $run;
    $ENV{NGINX_BIN} = $t->testdir() . '/nginx';
    $ENV{MODULE} = $ENV{WS_BUS_TEST_MODULE} if $ENV{WS_BUS_TEST_MODULE};
    $ENV{ASAN_OPTIONS} //= 'detect_leaks=0';

    open(STDOUT, '>', $t->testdir() . '/stdout.log');
    open(STDERR, '>', $t->testdir() . '/error.log');

    exec("$root/contrib/demo/run");
});

ok($t->waitforsocket(8080, 60), 'the demonstration starts')
    or diag($t->read_file('error.log'));

my $r = http_get('/');

is($r->status(), 200, 'page');
is($r->header('Content-Type'), 'text/html', 'type of the page');
like($r->body(), qr/<script type="module">/, 'body of the page');

my $page = $r->body();

$r = http_get('/ws-bus.js');

is($r->status(), 200, 'its client');
is($r->header('Content-Type'), 'text/javascript', 'type of the client');
like($r->body(), qr/^export function connect\b/m, 'body of the client');

is_next(json('/ws?name=alice')->ask('subscribe', channel => 'lobby'),
    { type => 'subscribed', channel => 'lobby', epoch => EPOCH, seq => 0,
    head => 0, oldest => 1 }, 'where it connects to');

my $c = ws('/ws/lobby?last=10');

is(http_post('/pub/lobby', 'by POST')->status(), 201, 'publish');
is_message($c, 'by POST', 'delivered');

is(http_get('/pub/lobby')->json()->{messages}, 1, 'kept');
is(http_get('/status')->status(), 200, 'status');
like(http_get('/metrics')->body(), qr/^ws_bus_connections\{/m, 'metrics');

ok($t->wait_until(sub {
    4 == grep { /worker process/ } map { cmdline($_) // '' }
        children($t->read_file('run/nginx.pid'));
}), 'four workers');

# the page's command kills one of them, and of nothing else

my ($kill) = $page =~ m!<pre>kill -9 \$\((.*)\)</pre>!;
my @workers = children($t->read_file('run/nginx.pid'));

chomp(my $victim = `$kill`);

is(scalar(grep { $_ eq $victim } @workers), 1, 'whom to kill');

$c->disconnect();
kill('TERM', $pid);

ok($t->wait_until(sub { !listens($port) }, 60),
   'ends with its script');


sub listens {
    return IO::Socket::INET->new(PeerAddr => "127.0.0.1:$_[0]");
}


sub children {
    my ($pid) = @_;

    chomp($pid);

    open(my $fh, '<', "/proc/$pid/task/$pid/children") or return;

    return split(' ', <$fh> // '');
}


sub cmdline {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/cmdline") or return;

    return scalar <$fh>;
}
