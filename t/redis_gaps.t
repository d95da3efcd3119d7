#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# What counts as a gap: messages that were not heard, found by the next one or
# by a comparison, and no others: not those that only are late.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Fleet;
use Test::WsBus::Scripts;


my $f = Test::WsBus::Fleet->new(hosts => 2, workers => 1, zone => '96m')
    ->start();
my $scripts = Test::WsBus::Scripts->new($f->redis());
my $t = $f->host(0);

$t->time_limit(200);

my $a = $f->ws(1, '/ws/c');

is($f->post(0, '/pub/c', 'first')->status(), 201, 'published');
is_message($a, 'first', 'delivered');

# the next one shows it

unheard('c', "unheard $_") for 1, 2;
is($f->post(0, '/pub/c', 'next')->status(), 201, 'published');

is(join(', ', $a->recv_n(3)), 'unheard 1, unheard 2, next',
   'what was not heard is fetched');
is_deeply(gaps(1), { found => 1, repaired => 2, lost => 0, resets => 0 },
          'one gap of two messages');

# nothing follows

unheard('c', "silent $_") for 1 .. 3;

is(join(', ', $a->recv_n(3, 40)), 'silent 1, silent 2, silent 3',
   'found by a comparison');
is_deeply(gaps(1), { found => 2, repaired => 5, lost => 0, resets => 0 },
          'another one');

# gone before it could be fetched

unheard('c', 'gone');
$scripts->command('DEL', 'ws_bus:{c}:log');
is($f->post(0, '/pub/c', 'behind')->status(), 201, 'published');

is($a->close_code(), 1013, 'told')
    if ($a->recv() // '') ne 'behind';
ok($t->wait_until(sub { gaps(1)->{lost} == 1 }, 10), 'one was lost');
is(gaps(1)->{found}, 3, 'found');
is(gaps(1)->{repaired}, 5, 'and not repaired');

# a host that is behind has missed nothing: whatever it compares meanwhile

my @channels = map { "late$_" } 1 .. 60;
my %late = map { $_ => $f->ws(1, "/ws/$_") } @channels;
my $before = gaps(1);
my $owner = $f->owner(1);
my $text = 'x' x 20000;

for (1 .. 4) {
    kill('STOP', $owner);

    for my $n (1 .. 20) {
        for (@channels) {
            $scripts->{client}->send('EVALSHA', $scripts->{sha}{publish},
                $scripts->publish_command($_, $text, flags => 1));
        }

        $scripts->{client}->reply() for @channels;
    }

    kill('CONT', $owner);

    is(scalar(map { $late{$_}->recv_n(20) } @channels), 1200, 'all have come');
}

is_deeply(gaps(1), $before, 'late messages are no gap');

$f->done_testing();


sub gaps { return $f->redis_status($_[0])->{gaps} }


# Published, but nobody hears it.

sub unheard {
    my ($channel, $text) = @_;

    my @args = $scripts->publish_command($channel, $text, flags => 1,
                                         count => 1000);

    $args[1] = "ws_bus:elsewhere:{$channel}";
    $scripts->command('EVALSHA', $scripts->{sha}{publish}, @args);
}
