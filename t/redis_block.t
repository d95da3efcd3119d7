# Copyright (C) the ngx_ws_bus_module authors

# The block "ws_bus_redis": what is accepted, and what "nginx -t" says of
# everything else.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new()->log_level('info');

my $ssl = !$t->_lacks('http_ssl');

$t->write_cert('ca');
$t->write_file('password', "secret\n");
$t->write_file('empty', "\nsecond line\n");
$t->write_file('long', 'x' x 2000);

my $files = $t->testdir();

accepted('the shortest', 'server 127.0.0.1:6379;');
accepted('everything', <<"EOF");
    server           127.0.0.1;
    mode             standalone;
    user             bus;
    password_file    $files/password;
    database         15;
    prefix           "chat:";
    connect_timeout  1s;
    timeout          500ms;
    keepalive        1m;
    reconnect        10ms 10ms;
    when_down        queue 1m;
    ssl              off;
    ssl_verify       on;
EOF

accepted('a unix socket', 'server unix:/tmp/redis; password "a b";');
accepted('IPv6', 'server [::1]:6379;');
accepted('sentinels', 'server 127.0.0.1; server 127.0.0.2:26380;
         mode sentinel mymaster; when_down local;');
accepted('a cluster', 'server 127.0.0.1; server 127.0.0.2; mode cluster;
         database 0; when_down reject;');
accepted('a file beside the configuration',
         'server 127.0.0.1; password_file password;');
accepted('a name without a resolver', 'server localhost:6379;');
accepted('a name with a resolver',
         'server no-such-host.invalid:6379;', 'resolver 127.0.0.1:5353;');

refused('no server', '', qr/no "server" in redis "fleet"/);
refused('two servers', 'server 127.0.0.1; server 127.0.0.2;',
        qr/several servers in redis "fleet" need "mode sentinel"/);
refused('the same twice', 'server 127.0.0.1; server 127.0.0.1; mode cluster;',
        qr/redis parameter "server" names the same server twice/);
refused('a port', 'server 127.0.0.1:0;', qr/invalid port in server "127.0.0/);
refused('no host', 'server :6379;', qr/no host in server ":6379" of redis/);
refused('a path', 'server 127.0.0.1:6379/0;',
        qr/invalid host in server/);
refused('a URL', 'server redis://127.0.0.1/;', qr/in server "redis:/);
refused('an unknown name', 'server no-such-host.invalid:6379;',
        qr/host not found in redis server "no-such-host.invalid:6379" in \S+:\d/);
refused('a mode', 'server 127.0.0.1; mode master;',
        qr/invalid value "master" of redis parameter "mode"/);
refused('a word behind a mode', 'server 127.0.0.1; mode cluster x;',
        qr/invalid value "x" of redis parameter "mode"/);
refused('a sentinel of nothing', 'server 127.0.0.1; mode sentinel;',
        qr/redis parameter "mode" "sentinel" needs the name of a master/);
refused('two modes', 'server 127.0.0.1; mode cluster; mode cluster;',
        qr/redis parameter "mode" is duplicate/);
refused('a user alone', 'server 127.0.0.1; user bus;',
        qr/"user" in redis "fleet" needs "password" or "password_file"/);
refused('an empty user', 'server 127.0.0.1; user "";',
        qr/redis parameter "user" is empty/);
refused('two passwords',
        "server 127.0.0.1; password a; password_file $files/password;",
        qr/both "password" and "password_file" in redis "fleet"/);
refused('a password file that is not there',
        "server 127.0.0.1; password_file $files/none;",
        qr/open\(\) "\S+none" failed \(2: No such file/);
refused('a password file that is a directory',
        "server 127.0.0.1; password_file $files;",
        qr/read\(\) "\S+" failed \(21: Is a directory/);
refused('an empty first line',
        "server 127.0.0.1; password_file $files/empty;",
        qr/no password in the first line of "\S+empty"/);
refused('a long first line',
        "server 127.0.0.1; password_file $files/long;",
        qr/no password in the first line of "\S+long"/);
refused('a database', 'server 127.0.0.1; database x;',
        qr/redis parameter "database" invalid number/);
refused('a database of a cluster',
        'server 127.0.0.1; mode cluster; database 1;',
        qr/redis "fleet" is a cluster: there is only database 0/);

for my $prefix ('a b', 'a{', '}', '*', 'x?', '[', '\\\\', "\xc3\xa4",
                'x' x 129)
{
    refused("prefix $prefix", qq(server 127.0.0.1; prefix "$prefix";),
            qr/invalid prefix ".*" of redis "fleet"/);
}

refused('an empty prefix', 'server 127.0.0.1; prefix "";',
        qr/redis parameter "prefix" is empty/);

for my $name ('timeout', 'connect_timeout', 'keepalive') {
    refused("no $name", "server 127.0.0.1; $name 0;",
            qr/invalid value "0" of redis parameter "$name"/);
    refused("$name that is no time", "server 127.0.0.1; $name 1x;",
            qr/invalid value "1x" of redis parameter "$name"/);
    refused("$name twice", "server 127.0.0.1; $name 1s; $name 1s;",
            qr/redis parameter "$name" is duplicate/);
}

refused('no first delay', 'server 127.0.0.1; reconnect 0 1s;',
        qr/invalid value "0" of redis parameter "reconnect"/);
refused('a ceiling below', 'server 127.0.0.1; reconnect 2s 1s;',
        qr/invalid value "1s" of redis parameter "reconnect"/);
refused('no ceiling', 'server 127.0.0.1; reconnect 2s;',
        qr/invalid number of values of redis parameter "reconnect"/);
refused('a queue of no size', 'server 127.0.0.1; when_down queue;',
        qr/redis parameter "when_down" "queue" needs a size/);
refused('a queue of an odd size', 'server 127.0.0.1; when_down queue 1x;',
        qr/invalid value "1x" of redis parameter "when_down"/);
refused('a policy', 'server 127.0.0.1; when_down drop;',
        qr/invalid value "drop" of redis parameter "when_down"/);
refused('an unknown parameter', 'server 127.0.0.1; sevrer 127.0.0.2;',
        qr/unknown redis parameter "sevrer"/);
refused('a parameter without a value', 'server;',
        qr/invalid number of values of redis parameter "server"/);
refused('a block', 'server 127.0.0.1 { }', qr/unexpected "\{"/);

SKIP: {
    skip 'nginx without http_ssl', 9 unless $ssl;

    my $tls = 'server localhost:6380; ssl on;';

    accepted('TLS', "$tls ssl_trusted_certificate $files/ca.crt;");
    accepted('TLS, unverified', "$tls ssl_verify off;");
    accepted('TLS with a certificate',
             "$tls ssl_verify off; ssl_certificate $files/ca.crt;
              ssl_certificate_key $files/ca.key;");
    accepted('TLS over a unix socket',
             "server unix:/tmp/x; ssl on; ssl_name a;
              ssl_trusted_certificate $files/ca.crt;");
    refused('TLS without a CA', $tls,
            qr/no "ssl_trusted_certificate" for "ssl_verify" in redis/);
    refused('a CA that is not there', "$tls ssl_trusted_certificate none;",
            qr/SSL_CTX_load_verify_locations\("\S+none"\) failed/);
    refused('a unix socket without a name',
            "server unix:/tmp/x; ssl on;
             ssl_trusted_certificate $files/ca.crt;",
            qr/no "ssl_name" for the unix socket of redis "fleet"/);
    refused('a certificate without a key',
            "$tls ssl_verify off; ssl_certificate $files/ca.crt;",
            qr/"ssl_certificate" and "ssl_certificate_key" in redis "fleet"/);
    refused('a key that is not its',
            "$tls ssl_verify off; ssl_certificate $files/ca.crt;
             ssl_certificate_key $files/password;",
            qr/cannot load certificate key/);
}

# names

for my $name ('a b', '""', 'x' x 65, "\xc3\xa4") {
    my ($good, $said) = config("ws_bus_redis "
        . ($name =~ /^"/ ? $name : qq("$name")) . ' { server 127.0.0.1; }');

    ok(!$good && $said =~ /invalid redis name/, "name $name");
}

my ($good, $said) = config('ws_bus_redis a { server 127.0.0.1; }
                            ws_bus_redis a { server 127.0.0.1; }');

ok(!$good && $said =~ /duplicate redis "a"/, 'the same name');

($good, $said) = config('ws_bus_redis a { server 127.0.0.1; }
                         ws_bus_redis b { server 127.0.0.1; }');

ok($good, 'two blocks') or diag($said);

$t->done_testing();


sub config {
    my ($http) = @_;

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $http
}

EOF

    return $t->test_config();
}


sub accepted {
    my ($name, $block, $http) = @_;

    my ($good, $said) = config(($http // '')
                               . "\nws_bus_redis fleet {\n$block\n}\n");

    ok($good, "accepted: $name") or diag($said);
}


sub refused {
    my ($name, $block, $re) = @_;

    my ($good, $said) = config("ws_bus_redis fleet {\n$block\n}\n");

    ok(!$good, "refused: $name");
    like($said, $re, "refused: $name, said so");
}
