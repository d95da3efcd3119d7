#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A burst on one channel: clients of one host publish as fast as they can, a
# client of another host has all of it, once and in order.
# WS_BUS_TEST_BURST: messages.

use warnings;
use strict;

use Test::More;
use POSIX ();

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


use constant PUBLISHERS => 4;
use constant CHUNK => 500;
use constant TEXT => 1;


my $total = $ENV{WS_BUS_TEST_BURST} // 100000;
my $each = int($total / PUBLISHERS);

# the log holds all of it, and so does what waits for a slow client

my $size = int($total * 400 / 1024 / 1024) + 16;

my $f = Test::WsBus::Fleet->new(hosts => 2, zone => "${size}m",
    block => 'timeout 10s;', server => <<"EOF2")->start();
        location = /burst {
            ws_bus;
            ws_bus_channels **;
            ws_bus_history $total;
            ws_bus_buffer ${size}m;
            ws_bus_message_max_size 1k;
        }
EOF2

$f->host($_)->time_limit(120 + $total / 1000) for 0, 1;

my $reader = json('/burst', port => $f->port(1));
my $start = $reader->ask('subscribe', channel => 'burst');
is($start->{seq}, 0, 'subscribed');

my @pids = map { publisher($_) } 0 .. PUBLISHERS - 1;

my (@next, @faults, $m);
my $seq = 0;

while ($seq < PUBLISHERS * $each && ($m = $reader->message(30))) {

    if ($m->{data} !~ /"type":"message".*"seq":(\d+),.*"data":"(\d)-(\d+)-/) {
        push @faults, $m->{data};
        last;
    }

    push @faults, "$1 after $seq" if $1 != $seq + 1;
    push @faults, "$2-$3 is out of order" if $3 != ($next[$2] // 0);

    $seq = $1;
    $next[$2] = $3 + 1;

    last if @faults > 10;
}

is(join("\n", @faults), '', 'numbers follow one another, in order');
is($seq, PUBLISHERS * $each, 'all of them');
is(join(' ', map { $_ // 0 } @next), join(' ', ($each) x PUBLISHERS),
   'of each publisher');

for my $pid (@pids) {
    waitpid($pid, 0);
    is($?, 0, 'a publisher has sent all');
}

for my $n (0, 1) {
    my $r = $f->redis_status($n);

    is($r->{gaps}{lost}, 0, "host $n has lost nothing");
    is($r->{errors}, 0, "host $n: Redis has refused nothing");
}

note("repaired: ", $f->redis_status(1)->{gaps}{repaired});

# it can be had again

my $late = json('/burst', port => $f->port(1));
$late->ask('subscribe', channel => 'burst', epoch => $start->{epoch},
           seq => $seq - 1000);
$m = ($late->recv_n(1000, 30))[-1] // '';
like($m, qr/"seq":$seq,/, 'the last ones once more');

$f->done_testing();


# Sends, and does not wait for answers; nobody here is subscribed.

sub publisher {
    my ($i) = @_;

    my $pid = fork() // die "fork failed: $!";

    return $pid if $pid;

    my $ok = eval {
        my $c = json('/burst', port => $f->port(0), timeout => 60);

        for (my $n = 0; $n < $each; $n += CHUNK) {
            my $last = $n + CHUNK > $each ? $each - 1 : $n + CHUNK - 1;

            $c->write(join('', map {
                Test::WsBus::Client::frame(TEXT, '{"type":"publish",'
                    . '"channel":"burst","data":"' . sprintf('%-100s',
                    "$i-$_-") . '"}');
            } $n .. $last));
        }

        ($c->finish() // 0) == 1000;
    };

    diag($@) if !$ok;

    POSIX::_exit($ok ? 0 : 1);
}
