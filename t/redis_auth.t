#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A Redis that hosts are not allowed to use, or must not trust, for a while:
# another password, another certificate; when nginx starts, and under load.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;
use Test::WsBus::Redis;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 2s;');
my $t = $f->host(0)->has(qw/ http_ssl bin\/openssl /);
my $dir = $t->testdir();
my ($c, $sum, $redis);

authority('ca');
authority('other');
certificate('right', 'ca');
certificate('wrong', 'other');

# the port that hosts ask is the one for TLS

$redis = Test::WsBus::Redis->new($t, password => 'right', port => 6380,
    tls_port => 6379, tls => { cert => "$dir/wrong.crt",
    key => "$dir/wrong.key", ca => "$dir/ca.crt" });
$f->{redis} = $redis->start();


# another password, and another certificate

my $block = 'timeout 2s; ssl on; ssl_trusted_certificate %s; '
    . "password_file $dir/password;";

password('wrong');

for my $n (0, 1) {
    $f->conf($n, block => sprintf($block, "$dir/ca.crt"));
    $f->host($n)->run();
}

logged(qr/redis is down, certificate is not accepted: "\S.*"/);
refused('another certificate');

# the right one is there after a reload, and the password is not

for my $n (0, 1) {
    $f->conf($n, block => sprintf($block, "$dir/other.crt"));
    ok($f->host($n)->reload(), "host $n has another CA");
}

logged(qr/redis is down, not authenticated: "WRONGPASS"/);
refused('another password');

password('right');
$f->wait_up();
served('the right password');

# the certificate is Redis's own

$redis->command('CONFIG', 'SET', 'tls-cert-file', "$dir/right.crt",
                'tls-key-file', "$dir/right.key");

for my $n (0, 1) {
    $f->conf($n, block => sprintf($block, "$dir/ca.crt"));
    ok($f->host($n)->reload(), "host $n has the first CA");
}

ok($t->wait_until(sub { $t->workers() == 2 }, 20), 'no old worker is left');
$f->wait_up();
served('the right certificate');


# a password that is changed

$c = load();
$redis->command('CONFIG', 'SET', 'requirepass', 'new');
$redis->{password} = 'new';
cut();
refused('the old password');
$c->wait_failed();
password('new');
$f->wait_up();
checked($c, 'a password was changed');


# a certificate that is changed

$c = load();
$redis->command('CONFIG', 'SET', 'tls-cert-file', "$dir/wrong.crt",
                'tls-key-file', "$dir/wrong.key");
cut();
refused('the new certificate');
$c->wait_failed();
$redis->command('CONFIG', 'SET', 'tls-cert-file', "$dir/right.crt",
                'tls-key-file', "$dir/right.key");
$f->wait_up();
checked($c, 'a certificate was changed');

for my $n (0, 1) {
    unlike($f->host($n)->read_file('error.log'),
           qr/password.*(right|wrong|new)\b/, "host $n logs no password");
}

$f->done_testing();


sub load {
    my $c = Test::WsBus::Checker->new($f, publishers => [ 0, 0, 1 ],
                                      subscribers => [ 0, 1, 1 ]);
    $c->start();
    $c->wait_published(20);

    return $c;
}


sub checked {
    my ($c, $name) = @_;

    is($c->wait_published(20)->finish($name)->{gaps}, 0, 'nothing was lost');
}


# All connections of the hosts.

sub cut {
    for my $client ($redis->clients()) {
        next if ($client->{name} // '') !~ /^ws_bus:/;
        eval { $redis->command('CLIENT', 'KILL', 'ID', $client->{id}) };
    }

    $f->wait_down();
}


sub refused {
    my ($name) = @_;

    for my $n (0, 1) {
        is($f->request($n, 'GET', '/status?ready')->status(), 503,
           "$name: host $n is not ready");
    }

    is($f->post(0, '/pub/c', 'x')->status(), 503, "$name: nothing is taken");
    is($f->ws_response(1, '/ws/c')->status(), 503, "$name: nobody can come");
}


sub served {
    my ($name) = @_;

    my $a;

    ok($t->wait_until(sub {
        return $f->post(0, '/pub/served', 'x')->status() == 201;
    }, 10), "$name: publications are taken");

    is($f->request($_, 'GET', '/status?ready')->status(), 200,
       "$name: host $_ is ready") for 0, 1;

    $a = $f->ws(1, '/ws/served');
    is($f->post(0, '/pub/served', $name)->status(), 201, "$name: published");

    # one that was answered with 503 may have been published, and come late

    my $m;

    1 while defined($m = $a->recv()) && $m eq 'x';
    is($m, $name, "$name: delivered");
}


sub logged {
    my ($text) = @_;

    for my $n (0, 1) {
        ok($t->wait_until(sub {
            return $f->host($n)->read_file('error.log') =~ /\[error\].*$text/;
        }, 10), "host $n says why");
    }
}


# The old one is there until the new one is.

sub password {
    my ($password) = @_;

    $t->write_file('password.new', "$password\n");
    chmod(0644, "$dir/password.new");
    rename("$dir/password.new", "$dir/password") or die $!;
}


sub openssl {
    my (@args) = @_;

    system("openssl @args >>$dir/openssl.log 2>&1") == 0
        or die "openssl @args: " . $t->read_file('openssl.log');
}


sub authority {
    my ($name) = @_;

    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes",
            "-days 2 -subj /CN=$name -keyout $dir/$name.key",
            "-out $dir/$name.crt");
}


sub certificate {
    my ($name, $ca) = @_;

    $t->write_file("$name.ext", "subjectAltName=IP:127.0.0.1\n");

    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes",
            "-subj /CN=$name -keyout $dir/$name.key -out $dir/$name.csr");
    openssl("x509 -req -in $dir/$name.csr -CA $dir/$ca.crt",
            "-CAkey $dir/$ca.key -set_serial", int(rand(1e9)), '-days 2',
            "-extfile $dir/$name.ext -out $dir/$name.crt");
}
