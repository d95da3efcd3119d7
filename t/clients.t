#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Clients that others wrote: Node.js with ws, Python with websockets and with
# aiohttp, curl.

use warnings;
use strict;

use POSIX ();
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->has(qw/ http_ssl /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;
    ws_bus_message_max_size 1m;
    ws_bus_deflate on;
    ws_bus_history 100;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location ~ ^/listen/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location ~ ^/pub/ws/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }
    }
}

EOF

$t->run();

my $root = "$FindBin::Bin/..";
my $clients = "$FindBin::Bin/clients";

SKIP: {
    skip 'no node', 1 if in_path('node');
    skip 'no ws for node', 1 unless node_modules();

    local $ENV{NODE_PATH} = "$root/build/node_modules";

    client('ws', 'node', "$clients/ws.js");
}

for my $library (qw/ websockets aiohttp /) {
    SKIP: {
        # the distribution's Python is the one that has its packages

        my ($python) = grep {
            -x && system("$_ -c 'import $library' >/dev/null 2>&1") == 0
        } '/usr/bin/python3', map { "$_/python3" } split(/:/, $ENV{PATH});

        skip "no $library for Python", 1 unless $python;

        client($library, $python, "$clients/${library}_client.py");
    }
}

SKIP: {
    skip 'no curl', 1 if in_path('curl');

    curl();
}

$t->done_testing();


sub in_path {
    my ($name) = @_;

    return !grep { -x "$_/$name" } split(/:/, $ENV{PATH});
}


# The distribution's, else installed once, where the build keeps its things.

sub node_modules {
    my $modules = "$root/build/node_modules";
    my $theirs = '/usr/share/nodejs/ws';

    return 1 if -d "$modules/ws";

    if (-d $theirs) {
        mkdir($modules);
        return 1 if symlink($theirs, "$modules/ws");
    }

    my $log = $t->testdir() . '/npm.log';

    return system("npm install --prefix '$root/build' --no-save --no-audit"
        . " --no-fund --prefer-offline --fetch-retries 1 ws\@8"
        . " >$log 2>&1") == 0
        || diag($t->read_file('npm.log')) && 0;
}


# The lines of a client's report as tests of our own.

sub client {
    my ($name, @command) = @_;

    my $log = $t->testdir() . "/$name.log";

    my $pid = fork() // die "fork: $!";

    if (!$pid) {
        open(STDOUT, '>', $log);
        open(STDERR, '>&', \*STDOUT);
        exec(@command, port(8080), port(8443)) or POSIX::_exit(127);
    }

    my $ended = $t->_wait_exit($pid, scale(120));

    if (!$ended) {
        kill('KILL', $pid);
        waitpid($pid, 0);
    }

    my $report = $t->read_file("$name.log");

    for (split /\n/, $report) {
        ok($1 eq 'ok', "$name, $2") if /^(ok|not ok) - (.*)$/;
        diag($_) if /^#/;
    }

    ok($ended && $report =~ /^done$/m, "$name: all of it") or diag($report);
}


# curl only shakes hands; it may or may not speak WebSocket, so the headers
# are ours.

sub curl {
    my $key = 'dGhlIHNhbXBsZSBub25jZQ==';
    my $url = 'http://127.0.0.1:' . port(8080);

    my $headers = `curl -s -i -N --max-time 2 --http1.1 \\
        -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\
        -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: $key' \\
        '$url/ws/curl' </dev/null | head -c 1000`;

    like($headers, qr!^HTTP/1\.1 101 Switching Protocols\r$!m, 'curl: 101');
    like($headers, qr!^Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$!m,
        'curl: accept key');

    my $c = ws('/ws/curl');

    is(`curl -s -o /dev/null -w '%{http_code}' -d hello '$url/pub/ws/curl'`,
        201, 'curl: publish');
    is_message($c, 'hello', 'curl: delivered', type => 'text');

    is(`printf '\\377\\000' | curl -s -o /dev/null -w '%{http_code}' \\
        -H 'Content-Type: application/octet-stream' --data-binary \@- \\
        '$url/pub/ws/curl'`, 201, 'curl: publish binary');
    is_message($c, "\xff\0", 'curl: binary delivered', type => 'binary');

    like(`curl -s '$url/pub/ws/curl'`, qr/"newest":2/, 'curl: state');
    like(`curl -s '$url/ws/curl'`, qr/Upgrade: websocket/, 'curl: no upgrade');
    is(`curl -s -o /dev/null -w '%{http_code}' -X DELETE '$url/pub/ws/curl'`,
        204, 'curl: delete');
    is_closed($c, 4004, 'curl: deleted');

    # a large body is announced first

    my $body = 'x' x 100_000;
    $t->write_file('body', $body);

    $c = ws('/ws/curl');
    my $file = $t->testdir() . '/body';

    is(`curl -s -o /dev/null -w '%{http_code}' -H 'Expect: 100-continue' \\
        --data-binary \@$file '$url/pub/ws/curl'`, 201, 'curl: 100-continue');
    is_message($c, $body, 'curl: large body delivered');
}
