#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Three hosts, ten publishers: one order for all; and a publisher's own order
# at a Redis that does not know the script yet.

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Checker;
use Test::WsBus::Fleet;


my $f = Test::WsBus::Fleet->new(hosts => 3)->start();

my $c = Test::WsBus::Checker->new($f, publishers => [ (0, 1, 2) x 3, 0 ],
                                  subscribers => [ 0 .. 2, 0 .. 2 ],
                                  pause => 0);

$c->start();
sleep(2);

my $sum = $c->finish('ten publishers');

is($sum->{failed}, 0, 'all were published');
is($sum->{gaps}, 0, 'without a gap');
is($f->redis_status($_)->{gaps}{lost}, 0, "host $_ has lost nothing")
    for 0 .. 2;

# each worker has a connection of its own, all of them are counted

for my $n (0 .. 2) {
    my ($count) = $f->request($n, 'GET', '/prometheus')->body()
        =~ /^ws_bus_redis_rtt_seconds_count\{zone="bus"} (\d+)$/m;

    cmp_ok($count, '>=', $f->status($n)->{zones}{bus}{messages_in},
           "host $n has measured each publication");
}

script_learned();

$f->done_testing();


# The answers to a host's first messages come late, and meanwhile somebody else
# makes the script known.

sub script_learned {
    my $t = $f->host(0);
    my $held = $t->testdir() . '/held';

    proxy($held);

    $f->conf(0, servers => 'server 127.0.0.1:%%PORT_6390%%;', workers => 1,
             block => 'timeout 30s;');
    $f->redis()->command('SCRIPT', 'FLUSH');
    ok($t->reload(), 'a host behind a proxy');
    ok($t->wait_until(sub { $t->workers() == 1 }), 'the others have left');
    $f->wait_up(0);

    my $c = $f->ws(0, '/ws/learned');
    my $d = $f->ws(1, '/ws/learned');
    my $monitor = $f->redis()->client();

    $monitor->command('MONITOR');
    $t->write_file('held', '');

    for my $message ('first', 'second') {
        $c->text($message);

        # Redis has it

        1 while $monitor->reply() !~ /EVAL.*$message/s;

        is($f->post(1, '/pub/other', 'x')->status(), 201, 'another host');
    }

    $monitor->disconnect();
    unlink($held);

    is(join(' ', $d->recv_n(2)), 'first second', 'in order');
}


# Passes on what comes for Redis, and its answers unless the file is there.

sub proxy {
    my ($held) = @_;

    my $listen = IO::Socket::INET->new(
        Proto => 'tcp', LocalAddr => '127.0.0.1', LocalPort => port(6390),
        Listen => 64, ReuseAddr => 1
    ) or die "listen: $!";

    $f->host(0)->run_daemon(sub {
        local $SIG{PIPE} = 'IGNORE';

        my $select = IO::Select->new($listen);
        my (%peer, %answers);

        while (1) {
            for my $s ($select->can_read(0.02)) {
                next if !$s->opened();

                if ($s == $listen) {
                    my $host = $listen->accept() or next;
                    my $redis = IO::Socket::INET->new(
                        Proto => 'tcp', PeerAddr => '127.0.0.1',
                        PeerPort => $f->redis()->port()) or next;

                    @peer{$host, $redis} = ($redis, $host);
                    $answers{$redis} = [ $host, '' ];
                    $_->autoflush(1) for $host, $redis;
                    $select->add($host, $redis);
                    next;
                }

                if (!sysread($s, my $data, 65536)) {
                    my $peer = delete $peer{$s};

                    delete $peer{$peer};
                    delete @answers{$s, $peer};
                    $select->remove($s, $peer);
                    close($_) for $s, $peer;

                } elsif ($answers{$s}) {
                    $answers{$s}[1] .= $data;

                } elsif ($peer{$s}) {
                    print {$peer{$s}} $data;
                }
            }

            next if -e $held;

            for my $answer (values %answers) {
                print {$answer->[0]} $answer->[1];
                $answer->[1] = '';
            }
        }
    });

    close($listen);
}
