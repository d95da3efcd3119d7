#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A Cluster that serves some slots only, and one that is down because too few
# masters are left: channels of served slots go on, others do what "when_down"
# says.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Cluster;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my $f = Test::WsBus::Fleet->new(hosts => 2, workers => 1,
    block => 'timeout 2s;',
    topology => 'Test::WsBus::Cluster',
    redis => { replicas => 0, config => [
        'cluster-require-full-coverage no',
        'cluster-allow-pubsubshard-when-down yes',
    ] })->start();
my ($t, $cluster) = ($f->host(0), $f->redis());

$t->time_limit(300);

my @c = map { $cluster->tag($_, 'c') } 0 .. 2;
my @n = map { $cluster->tag($_, 'n') } 0 .. 2;
my ($a, $b, $r, $j, %ws);


# one master is lost, its slots with it: "reject"

%ws = map { $_ => $f->ws(1, "/ws/$c[$_]") } 0 .. 2;
is($f->post(0, "/pub/$c[$_]", 'one')->status(), 201, "published, $_")
    for 0 .. 2;
is_message($ws{$_}, 'one', "delivered, $_") for 0 .. 2;

lose(2);

my $load = Test::WsBus::Checker->new($f, channel => $c[1],
                                     publishers => [ 0, 1 ],
                                     subscribers => [ 0, 1 ],
                                     pipeline => 20);
$load->start();

is($f->post(0, "/pub/$c[0]", 'two')->status(), 201, 'a slot that is served');
is_message($ws{0}, 'two', 'delivered');
is_message($f->ws(1, "/ws/$c[0]?last=1"), 'two', 'and subscribed to');

is($f->post(0, "/pub/$c[2]", 'two')->status(), 503, 'one that is not');
is($f->ws_response(0, "/ws/$n[2]")->status(), 503,
   'nor subscribed to');

$j = json('/json', port => $f->port(0), timeout => 10);
is_error($j->ask('publish', channel => $c[2], data => \1), 'unavailable',
         undef, 'nor by JSON');
is_error($j->ask('subscribe', channel => $n[2]), 'unavailable',
         undef, 'nor subscribed to by JSON');
is($j->ask('publish', channel => $c[0], data => \1)->{type}, 'published',
   'the others are');

is($f->redis_status(0)->{state}, 'up', 'state');

my $sum = $load->finish('a slot that is served');

is($sum->{failed}, 0, 'all were published');
is($sum->{gaps}, 0, 'without a gap');

found(2);
is($f->post(0, "/pub/$c[2]", 'three')->status(), 201, 'served again');

ok(($ws{2}->recv(20) // 'closed') =~ /^three$|^closed$/,
   'delivered, or told that all before was lost');


# "queue"

$f->conf($_, block => 'timeout 2s; when_down queue 1m;') for 0, 1;
ok($f->host($_)->reload(), 'when_down queue') for 0, 1;
$f->wait_up();

%ws = map { $_ => $f->ws(1, "/ws/$c[$_]") } 0 .. 2;
$j = json('/json', port => $f->port(0), timeout => 60);

lose(2);

$j->say('publish', id => $_, channel => $c[2], data => \$_) for 1 .. 5;
sleep(2);
is($j->ask('publish', channel => $c[0], data => \'"now"')->{type},
   'published', 'a slot that is served');
is_message($ws{0}, '"now"', 'delivered');

found(2);

is(join(' ', map { ($j->answer($_, 60) // {})->{type} // 'none' } 1 .. 5),
   join(' ', ('published') x 5), 'the others when it is back');


# "local"

$f->conf($_, block => 'timeout 2s; when_down local;', workers => 3) for 0, 1;
ok($f->host($_)->reload(), 'when_down local') for 0, 1;
$f->wait_up();

$ws{0} = $f->ws(1, "/ws/$c[0]");
$ws{$_} = $f->ws(0, "/ws/$c[$_]") for 1, 2;

lose(2);

$r = $f->post(0, "/pub/$c[2]", 'here');
is($r->status(), 201, 'published');
is($r->json()->{local}, 1, 'on this host');
is_message($ws{2}, 'here', 'delivered here');

# by workers that have not been connected to it, too

my @r = map { $f->post(0, "/pub/$c[2]", "local $_") } 1 .. 20;

is(join(' ', map { $_->status() == 201 && $_->json()->{local} // 'no' } @r),
   join(' ', ('1') x 20), 'by any worker');
is_message($ws{2}, "local $_", 'delivered here') for 1, 2;
$ws{2}->recv_n(18);

$a = $f->ws(0, "/ws/$n[2]");
is($f->post(0, "/pub/$n[2]", 'new')->status(), 201, 'a new channel');
is_message($a, 'new', 'is served');

is($f->post(0, "/pub/$c[0]", 'everywhere')->json()->{local}, undef,
   'a slot that is served');
is_message($ws{0}, 'everywhere', 'delivered on the other host');

found(2);

# a worker may be connected later than another

ok($t->wait_until(sub {
    $r = $f->post(1, "/pub/$n[2]", 'back');
    return $r->status() == 201 && !$r->json()->{local};
}), 'served again, by Redis');
ok(($a->recv(30) // 'closed') =~ /^back$|^closed$/,
   'delivered, or told of a loss');



# all of it is down: one master of three is no majority; "local" still

for my $node ($cluster->nodes()) {
    $node->command('CONFIG', 'SET', 'cluster-require-full-coverage', 'yes');
    $node->command('CONFIG', 'SET', 'cluster-allow-pubsubshard-when-down',
                   'no');
}

$a = $f->ws(0, "/ws/$c[0]");
down();

for my $n (1 .. 3) {
    $r = $f->post(0, "/pub/$c[0]", "down $n");
    is($r->status(), 201, "published, $n");
    is($r->json()->{local}, 1, 'on this host');
    is_message($a, "down $n", 'delivered here');
}

my $new = $cluster->{tags}{0};

$b = $f->ws(0, "/ws/$new");
is($f->post(0, "/pub/$new", 'new')->json()->{local}, 1, 'a new channel');
is_message($b, 'new', 'is served');

up();
ok($t->wait_until(sub {
    $r = $f->post(1, "/pub/$c[0]", 'up');
    return $r->status() == 201 && !$r->json()->{local};
}), 'by Redis again');

my $m;
1 while defined($m = $a->recv(30)) && $m ne 'up';
is($m, 'up', 'and heard of');


# "queue"

$f->conf($_, block => 'timeout 2s; when_down queue 16m;') for 0, 1;
ok($f->host($_)->reload(), 'when_down queue') for 0, 1;
$f->wait_up();

$j = json('/json', port => $f->port(0), timeout => 60);
$a = $f->ws(1, "/ws/$c[0]", timeout => 60);
down();

# more than a slot may have on its way

my $text = 'x' x 60000;

$j->say('publish', id => $_, channel => $c[0], data => \"\"$_ $text\"")
    for 1 .. 100;
is($j->surplus(2), '', 'answers wait');
up();

is(join(' ', map { ($j->answer($_, 60) // {})->{type} // 'none' } 1 .. 100),
   join(' ', ('published') x 100), 'published when it is up');

my @got;

while (@got < 100 && defined($m = $a->recv())) {
    push @got, $1 if $m =~ /^"(\d+) /;
}

is("@got", join(' ', 1 .. 100), 'in their order');


# "reject"

$f->conf($_) for 0, 1;
ok($f->host($_)->reload(), 'when_down reject') for 0, 1;
$f->wait_up();

$a = $f->ws(1, "/ws/$c[0]");
down();
is($f->post(0, "/pub/$c[0]", 'no')->status(), 503, 'refused');
up();
is($f->post(0, "/pub/$c[0]", 'yes')->status(), 201, 'published');
1 while defined($m = $a->recv(30)) && $m eq 'probe';
is($m, 'yes', 'and what was refused is nowhere');

$f->done_testing();


sub down {
    $cluster->{tags}{0} = $cluster->tag(0, 'w' . ++$cluster->{downs} . '-');
    $cluster->node($_)->kill() for 1, 2;

    ok($t->wait_until(sub {
        ($cluster->node(0)->info_cluster('cluster_state') // '') eq 'fail';
    }, 20), 'the cluster is down');
}


sub up {
    $cluster->node($_)->start()->wait_ready() for 1, 2;
    $cluster->wait_ok();

    for my $host (0, 1) {
        ok($t->wait_until(sub {
            my $r = $f->post($host, "/pub/$c[0]", 'probe');
            return $r->status() == 201 && !$r->json()->{local};
        }, 20), "it is up, host $host");
    }
}


# A master is killed, the others have learned of it, and so have the hosts.

sub lose {
    my ($n) = @_;

    $cluster->node($n)->kill();

    ok($t->wait_until(sub {
        my $nodes = $cluster->any()->command('CLUSTER', 'NODES');
        return $nodes =~ / master,fail /;
    }, 20), 'a master is lost');
}


sub found {
    my ($n) = @_;

    $cluster->node($n)->start()->wait_ready();
    $cluster->wait_ok();

    for my $host (0, 1) {
        ok($t->wait_until(sub {
            my $r = $f->post($host, "/pub/$c[$n]", 'probe');
            return $r->status() == 201 && !$r->json()->{local};
        }, 20), "it is back, host $host");
    }
}
