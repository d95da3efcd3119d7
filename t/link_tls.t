# Copyright (C) the ngx_ws_bus_module authors

# A link over TLS: a good certificate, one of another CA, of another name, one
# that has expired; a server that wants a certificate of the client.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use WsBusTestLink;


my $t = link_test()->has(qw/ http_ssl bin\/openssl /)->log_level('info');

my $dir = $t->testdir();

authority('ca');
authority('other');
certificate('server', 'ca', 'DNS:redis.example,IP:127.0.0.1');
certificate('client', 'ca', 'DNS:client.example');
certificate('stranger', 'other', 'DNS:redis.example,IP:127.0.0.1');
certificate('expired', 'ca', 'DNS:redis.example', past());
certificate('nameless', 'ca', 'DNS:redis.example');

my %tls = (cert => "$dir/server.crt", key => "$dir/server.key",
           ca => "$dir/ca.crt");

my $redis = Test::WsBus::Redis->new($t, tls => \%tls);
my $strict = Test::WsBus::Redis->new($t, name => 'strict', port => 6381,
    tls_port => 6382, tls => { %tls, clients => 1 });
my $expired = Test::WsBus::Redis->new($t, name => 'expired', port => 6383,
    tls_port => 6384, tls => { %tls, cert => "$dir/expired.crt",
                               key => "$dir/expired.key" });

my $nameless = Test::WsBus::Redis->new($t, name => 'nameless', port => 6385,
    tls_port => 6386, tls => { %tls, cert => "$dir/nameless.crt",
                               key => "$dir/nameless.key" });

$_->start() for $redis, $strict, $expired, $nameless;

my $ca = "ssl on; reconnect 10ms 50ms; ssl_trusted_certificate $dir/ca.crt;";

my %blocks = (
    address => "server 127.0.0.1:%%PORT_6380%%; $ca",
    name => "server 127.0.0.1:%%PORT_6380%%; $ca ssl_name redis.example;",
    wrong => "server 127.0.0.1:%%PORT_6380%%; $ca ssl_name other.example;",
    other => "server 127.0.0.1:%%PORT_6380%%; ssl on; reconnect 10ms 50ms;
              ssl_trusted_certificate $dir/other.crt;",
    ip => "server 127.0.0.1:%%PORT_6386%%; $ca",
    any => "server 127.0.0.1:%%PORT_6380%%; ssl on; ssl_verify off;",
    plain => "server 127.0.0.1:%%PORT_6379%%; $ca connect_timeout 500ms;",
    none => "server 127.0.0.1:%%PORT_6382%%; $ca ssl_name redis.example;",
    client => "server 127.0.0.1:%%PORT_6382%%; $ca ssl_name redis.example;
               ssl_certificate $dir/client.crt;
               ssl_certificate_key $dir/client.key;",
    stranger => "server 127.0.0.1:%%PORT_6382%%; $ca ssl_name redis.example;
                 ssl_certificate $dir/stranger.crt;
                 ssl_certificate_key $dir/stranger.key;",
    expired => "server 127.0.0.1:%%PORT_6384%%; $ca ssl_name redis.example;",
    clear => "server 127.0.0.1:%%PORT_6380%%; reconnect 10ms 50ms;",
);

up('address', 'an address in the certificate');
up('name', 'a name in the certificate');
up('any', 'not verified');
up('client', 'a certificate of the client');

down('wrong', 'another name',
     qr/certificate is not accepted: "it is for another name"/);
down('ip', 'an address that is not in the certificate',
     qr/certificate is not accepted: "it is for another name"/);
down('other', 'another CA', qr/certificate is not accepted: "\S.*"/);
down('expired', 'expired',
     qr/certificate is not accepted: "certificate has expired"/);
down('plain', 'TLS to a port without',
     qr/(?:TLS handshake failed|not connected in time)/);
down('none', 'no certificate of the client',
     qr/(?:TLS handshake failed|connection broke|closed the connection)/);
down('stranger', 'a certificate that the server does not know',
     qr/(?:TLS handshake failed|connection broke|closed the connection)/);
down('clear', 'no TLS to a port with it',
     qr/(?:protocol violated|closed the connection|connection broke)/);

# much of it, in both directions, and subscriptions

conf('name', 'link sub name subscriber;');
$t->run();

ok(wait_state($t, 'name', 'up'), 'up');

my $large = 'z' x 5_000_000;

is(command('name', ['SET', 'large', $large]), '+OK', '5 MB sent');
ok(command('name', ['GET', 'large']) eq '$' . $large, '5 MB received');

my @replies = command('name', map { ['INCR', 'n'] } 1 .. 3000);
is("@replies", join(' ', map { ":$_" } 1 .. 3000), '3000 commands');

ok(wait_state($t, 'sub', 'up'), 'a subscriber');
command('sub', ['SUBSCRIBE', 'a']);
pushed('sub');

my $client = $redis->client();
$client->send('PUBLISH', 'a', 'm' x ($_ % 1000)) for 1 .. 3000;
$client->reply() for 1 .. 3000;

my $got = 0;
$t->wait_until(sub { $got += pushed('sub'); $got >= 3000 });
is($got, 3000, '3000 messages');

# the queue waits for a server that does not read, then goes on

$redis->pause();
my $posted = Test::WsBus::Conn->new(port => port(8080));
$posted->write("POST /?link=name&fill=100000 HTTP/1.1\r\nHost: a\r\n"
               . "Connection: close\r\nContent-Length: 0\r\n\r\n");
wait_for($t, 'name', sub { $_[0]{queued} });
$redis->resume();

my ($body) = $posted->read_all() =~ /\r\n\r\n(.*)/s;
my @outcomes = split(/\n/, $body);
my $taken = shift @outcomes;

is(scalar(grep { $_ eq '$' . 'x' x 7 } @outcomes), $taken,
   'all that were queued while it was paused');

# killed, and back

my $connects = WsBusTestLink::state('name')->{connects};

$redis->kill();
$redis->start();
ok(wait_for($t, 'name', sub { $_[0]{connects} > $connects }), 'back');
is(command('name', ['PING']), '+PONG', 'works');

ok($t->reload(), 'reload');
$t->wait_until(sub { $t->workers() == 1 });
is(scalar($t->workers()), 1, 'the old worker has left');

$t->done_testing();


sub conf {
    my ($name, $more) = @_;

    link_conf($t, "link_redis $name { $blocks{$name} }\n"
              . "    link $name $name;\n    " . ($more // ''));
}


sub up {
    my ($name, $what) = @_;

    conf($name);
    $t->run();

    ok(wait_state($t, $name, 'up'), "$what: up");
    is(command($name, ['ECHO', 'hello']), '$hello', "$what: works");

    $t->stop();
}


# Down for a reason, and an error once.

sub down {
    my ($name, $what, $re) = @_;

    my $mark = length $t->read_file('error.log');

    conf($name);
    $t->run();

    my $state = wait_for($t, $name, sub { $_[0]{failures} > 2 });

    is($state->{ups}, 0, "$what: not up");

    my $log = substr($t->read_file('error.log'), $mark);

    my @lines = $log =~ /(\[error\].*redis is down.*)/g;

    like($lines[0] // '', $re, "$what: said so");

    # the handshake may end in two ways, each of which is told once

    my %seen;
    is(scalar(grep { $seen{/down, ([^:(]*)/ ? $1 : ''}++ } @lines), 0,
       "$what: once");

    $t->stop();
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


# How openssl is told of a time that is over: the newer one wants its begin.

sub past {
    return `openssl x509 -help 2>&1` =~ /-not_before/
        ? '-not_before 20200101000000Z -not_after 20200102000000Z'
        : '-days -1';
}


sub certificate {
    my ($name, $ca, $names, $days) = @_;

    $days //= '-days 2';

    $t->write_file("$name.ext", "subjectAltName=$names\n");

    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes",
            "-subj /CN=$name -keyout $dir/$name.key -out $dir/$name.csr");
    openssl("x509 -req -in $dir/$name.csr -CA $dir/$ca.crt",
            "-CAkey $dir/$ca.key -set_serial", int(rand(1e9)), $days,
            "-extfile $dir/$name.ext -out $dir/$name.crt");
}
