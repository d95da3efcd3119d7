#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The JavaScript client in Node.js: against a server of its own that can be
# made to misbehave, and against the module.  The package, and its types.

use warnings;
use strict;

use JSON::PP qw/ decode_json /;
use POSIX ();
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->has(qw! bin/node bin/npm !);

my ($version) = `node --version` =~ /^v(\d+)/;

plan(skip_all => "Node.js $version is too old") if $version < 18;

my $root = "$FindBin::Bin/..";
my $tests = "$FindBin::Bin/js";
my $tools = "$root/build/js";
my $dir = $t->testdir();

# seconds for one run
use constant LIMIT => 240;

my $secret = join('', map { ('a' .. 'z', 0 .. 9)[rand 36] } 1 .. 64);

$t->log_level('info')->time_limit(900);

$t->write_file('secret.jwk', qq({"kty":"oct","k":"$secret"}));

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 32m;
    ws_bus_history 10000;
    ws_bus_publish on;
    ws_bus_presence members;
    ws_bus_member $arg_name;
    ws_bus_drain 500ms;

    ws_bus_jwt_key_file %%TESTDIR%%/secret.jwk;
    ws_bus_jwt_algorithms HS256;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location = /ws {
            ws_bus;
            ws_bus_channels *;
        }

        location = /few {
            ws_bus;
            ws_bus_channels *;
            ws_bus_history 3;
        }

        location ~ ^/ws/(.+)$ {
            ws_bus $1;
        }

        # a way to the server on which WebSockets do not work

        location ~ ^/sse/(.+)$ {
            if ($http_upgrade) {
                return 403;
            }

            ws_bus $1;
        }

        location = /token {
            ws_bus;
            ws_bus_channels *;
            ws_bus_jwt bus;
            ws_bus_auth_timeout 10s;
        }

        location ~ ^/token/(.+)$ {
            ws_bus $1;
            ws_bus_jwt bus;
            ws_bus_auth_timeout 10s;
        }

        location = /granted {
            ws_bus;
            ws_bus_jwt bus;
            ws_bus_jwt_grants g;
        }

        location ~ ^/token-sse/(.+)$ {
            if ($http_upgrade) {
                return 403;
            }

            ws_bus $1;
            ws_bus_jwt bus;
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

$t->run();
$t->expect_log(qr/worker process \d+ exited on signal 9/);

package_contents();

SKIP: {
    skip 'ws and typescript could not be installed', 1 unless tools();

    node_tests('ws', []);
    installed();
}

SKIP: {
    my @flags = grep { has_websocket($_) } '', '--experimental-websocket';

    skip 'this Node.js has no WebSocket of its own', 1 unless @flags;

    node_tests('global', [ grep { length } $flags[0] ]);
}

$t->done_testing();


sub has_websocket {
    return system("node $_[0] -e 'process.exit(typeof WebSocket"
                  . " === \"function\" ? 0 : 1)' 2>/dev/null") == 0;
}


# The distribution's, else installed once, where the build keeps its things.

sub tools {
    my $modules = "$tools/node_modules";
    my @names = qw/ ws typescript /;

    return 1 unless grep { !-d "$modules/$_" } @names;

    mkdir($_) for "$root/build", $tools;

    if (!grep { !-d "/usr/share/nodejs/$_" } @names) {
        mkdir($modules);
        symlink("/usr/share/nodejs/$_", "$modules/$_") for @names;

        return 1;
    }

    my ($good, $log) = command('npm', 'install', '--prefix', $tools,
        '--no-save', '--no-audit', '--no-fund', '--prefer-offline',
        '--fetch-retries', '1', 'ws@8', 'typescript@5');

    diag($log) unless $good;

    return $good;
}


# Runs a program in a directory: (true if it succeeds, its output).

my $commands = 0;

sub command {
    my (@command) = @_;

    my $log = 'command' . ++$commands . '.log';

    my $pid = fork() // die "fork: $!";

    if (!$pid) {
        setpgrp(0, 0);
        chdir("$root/contrib/js");
        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>', "$dir/$log");
        open(STDERR, '>&', \*STDOUT);
        exec(@command) or POSIX::_exit(127);
    }

    my $status = $t->wait_until(sub {
        waitpid($pid, POSIX::WNOHANG()) == $pid ? [ $? ] : undef;
    }, LIMIT);

    # what it may have left, or all of it if it hangs

    kill('KILL', -$pid);
    waitpid($pid, 0);

    return ($status && $status->[0] == 0, $t->read_file($log));
}


# The tests of Node's own runner as tests of this one.

sub node_tests {
    my ($websocket, $flags) = @_;

    local $ENV{WS_BUS_TEST_WEBSOCKET} = $websocket;
    local $ENV{WS_BUS_TEST_URL} = 'http://127.0.0.1:' . port(8080);
    local $ENV{WS_BUS_TEST_MASTER} = $t->master();
    local $ENV{WS_BUS_TEST_SECRET} = $secret;
    local $ENV{NODE_NO_WARNINGS} = 1;

    for my $file (sort glob("$tests/*.test.mjs")) {
        my ($name) = $file =~ m!([^/]+)\.test\.mjs$!;
        my ($good, $log) = command('node', @$flags, '--test',
                                   '--test-reporter=tap', $file);
        my $n = 0;

        while ($log =~ /^ *(not )?ok \d+ - (.*)$/mg) {
            my ($failed, $what) = ($1, $2);

            next if $what =~ /\.mjs$/;

            ok(!$failed, "$websocket, $name: $what");
            $n++;
        }

        ok($good && $n, "$websocket, $name: all of it") or diag($log);
    }
}


# What npm would publish.

sub package_contents {
    my ($good, $log) = command('npm', 'pack', '--dry-run', '--json',
                               '--loglevel', 'silent');

    ok($good, 'npm pack') or diag($log);

    my $package = eval { decode_json($log)->[0] } // {};

    is(join(' ', sort map { $_->{path} } @{ $package->{files} // [] }),
       'CHANGELOG.md LICENSE README.md index.d.ts index.js package.json',
       'the files of the package');

    my $json = decode_json(slurp("$root/contrib/js/package.json"));

    is(join(' ', grep { /dependencies/i } keys %$json), '',
       'no dependencies');
    like(slurp("$root/contrib/js/CHANGELOG.md"),
         qr/^## \Q$json->{version}\E$/m, 'the changes of this version');
    is(slurp("$root/contrib/js/LICENSE"), slurp("$root/LICENSE"),
       'the same license');

    my $code = slurp("$root/contrib/js/index.js");

    unlike($code, qr/^\s*import\b|\bimport\(|\brequire\(/m,
           'one module that imports nothing');

    like(join("\n", map { length > 80 ? $_ : () } split(/\n/, $code)), qr/^$/,
         'lines of at most 80 columns');
}


# The package as somebody gets it: packed, installed, imported, compiled with.

sub installed {
    my ($good, $log) = command('npm', 'pack', '--loglevel', 'silent',
                               '--pack-destination', $dir);
    my ($tarball) = $log =~ /(\S+\.tgz)\s*$/;

    ok($good && $tarball, 'packed') or return diag($log);

    $t->write_file('package.json', '{ "type": "module" }');

    ($good, $log) = command('npm', 'install', '--prefix', $dir, '--offline',
                            '--no-save', '--no-audit', '--no-fund',
                            "$dir/$tarball");

    ok($good, 'installed') or return diag($log);

    $t->write_file('use.mjs', <<'EOJ');
import * as bus from 'ws-bus-client';

const names = constructor => Object.getOwnPropertyNames(constructor.prototype)
    .concat(Object.getOwnPropertyNames(
        Object.getPrototypeOf(constructor).prototype))
    .filter(name => !/^_|^constructor$/.test(name)).sort();

console.log(Object.keys(bus).join(' '));
console.log(names(bus.Client).join(' '));
console.log(names(bus.Subscription).join(' '));
EOJ

    ($good, $log) = command('node', "$dir/use.mjs");

    ok($good, 'imported') or return diag($log);

    # the declarations name what is there

    my $types = slurp("$root/contrib/js/index.d.ts");

    for my $name (split(' ', $log)) {
        like($types, qr/\b$name\b/, "types: $name");
    }

    $t->write_file('types.ts', slurp("$tests/types.ts"));

    my $compiler = "$tools/node_modules/typescript";
    my ($major) = decode_json(slurp("$compiler/package.json"))->{version}
        =~ /^(\d+)/;

    for my $resolution ('nodenext', $major > 4 ? 'bundler' : ()) {
        my $module = $resolution eq 'bundler' ? 'esnext' : 'nodenext';

        ($good, $log) = command('node', "$compiler/bin/tsc",
            '--noEmit', '--strict',
            '--target', 'es2022', '--lib', 'es2022,dom',
            '--module', $module, '--moduleResolution', $resolution,
            "$dir/types.ts");

        ok($good, "types, $resolution") or diag($log);
    }
}


sub slurp {
    my ($path) = @_;

    open(my $fh, '<', $path) or die "$path: $!";
    local $/;

    return <$fh>;
}
