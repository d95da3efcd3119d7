# Copyright (C) the ngx_ws_bus_module authors

# Sentinel and Cluster with TLS, and a user that may do no more than is
# documented.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;
use Test::WsBus::Sentinels;


my $probe = Test::WsBus->new()->has(qw/ http_ssl bin\/redis-server
                                        bin\/openssl /);
my $dir = $probe->testdir();

openssl('req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes',
        "-days 2 -subj /CN=ca -keyout $dir/ca.key -out $dir/ca.crt");
$probe->write_file('server.ext', "subjectAltName=IP:127.0.0.1\n");
openssl('req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes',
        "-subj /CN=server -keyout $dir/server.key -out $dir/server.csr");
openssl("x509 -req -in $dir/server.csr -CA $dir/ca.crt -CAkey $dir/ca.key",
        "-set_serial 7 -days 2 -extfile $dir/server.ext",
        "-out $dir/server.crt");

my %tls = (cert => "$dir/server.crt", key => "$dir/server.key",
           ca => "$dir/ca.crt");

my $acl = join(' ', documented('bus'));
my $cluster_acl = join(' ', documented('cluster'));

like($acl, qr/^user bus on >\S+ .*\+evalsha/, 'a user is documented');
like($cluster_acl, qr/\+ssubscribe/, 'and what it needs in a cluster');

my $block = "ssl on; ssl_trusted_certificate $dir/ca.crt; "
    . 'user bus; password secret;';

# Cluster

my $f = Test::WsBus::Fleet->new(hosts => 2, block => $block,
    topology => 'Test::WsBus::Cluster',
    redis => { replicas => 0, tls => \%tls,
               config => [ "$acl $cluster_acl" ] })->start();

my $cluster = $f->redis();

exchange('cluster', map { $cluster->tag($_, 'c') } 0 .. 2);

my $name = $cluster->tag(0, 'c');

$cluster->migrate($cluster->slot("{$name}"), 1);
exchange('cluster, moved', $name);

is(scalar(grep { $_->{name} =~ /^ws_bus:/ && $_->{user} ne 'bus' }
          map { $_->clients() } $cluster->nodes()), 0, 'as that user only');

my @done = @{$f->{hosts}};

$_->stop() for @done;

# Sentinel

my $g = Test::WsBus::Fleet->new(hosts => 2, block => $block,
    topology => 'Test::WsBus::Sentinels',
    redis => { replicas => 1, sentinels => 3, tls => \%tls,
               config => [ $acl ] })->start();

my $s = $g->redis();

$f = $g;
exchange('sentinel', 'a', 'b');

my $old = $s->current();

$s->server($old)->kill();
$s->wait_other($old);

ok($g->host(0)->wait_until(sub {
    return $g->post(0, '/pub/probe', 'x')->status() == 201;
}, 20), 'another master');

$g->wait_up();
exchange('sentinel, another master', 'c');

$_->stop() for @{$g->{hosts}};
$_->finish() for reverse(@{$g->{hosts}}), reverse(@done), $probe;

done_testing();


# A channel of this name is heard on the other host.

sub exchange {
    my ($what, @channels) = @_;

    for my $channel (@channels) {
        my $a = $f->ws(1, "/ws/$channel");
        my $r = $f->post(0, "/pub/$channel", "to $channel");

        is($r->status(), 201, "$what: published") or diag($r->body());
        is_message($a, "to $channel", "$what: delivered");
        $a->close();
    }
}


# What docs/redis.md says, as a line of a configuration.

sub documented {
    my ($kind) = @_;

    open(my $fh, '<', "$FindBin::Bin/../docs/redis.md") or die $!;
    local $/;

    my $text = <$fh>;

    if ($kind eq 'cluster') {
        my ($words) = $text =~ /^In a cluster also `([^`]+)`/m or return '';
        return $words;
    }

    my ($line) = $text =~ /^ACL SETUSER (bus on >secret .*)$/m or return '';

    return "user $line";
}


sub openssl {
    my $command = "openssl @_ >$dir/openssl.log 2>&1";

    system($command) == 0 or die "failed: $command";
}
