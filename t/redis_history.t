#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# "history" of the subprotocol on a host where nobody listens to the channel:
# it is what Redis has, not what the host has happened to hear.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ :all /;
use Test::WsBus::Fleet;
use Test::WsBus::Json;


my $f = Test::WsBus::Fleet->new(hosts => 2, block => 'timeout 2s;',
                                server => <<'EOF2')->start();
        location = /one {
            ws_bus;
            ws_bus_channels one.*;
            ws_bus_history 1000;
            ws_bus_max_channels 1;
        }
EOF2

my ($t, $redis) = ($f->host(1), $f->redis());
my ($j, $k, $r, @limit, @down);

$f->post(0, '/pub/one.a', "\"a$_\"") for 1 .. 5;

$j = json('/one', port => $f->port(1));

$r = $j->ask('history', channel => 'one.a');
is(said($r), '"a1" "a2" "a3" "a4" "a5"', 'what another host has published');
is($r->{more}, 'false', 'all of it');

$r = $j->ask('history', channel => 'one.a', seq => 1, limit => 2);
is(said($r), '"a2" "a3"', 'a page');
is($r->{more}, 'true', 'and more');

# nobody is subscribed by that

is($f->status(1)->{zones}{bus}{subscriptions}, 0, 'no subscription is left');
elsewhere('one.a', '"a6"');
is(said($j->ask('history', channel => 'one.a', seq => 5)), '"a6"',
   'one that came later');
is($j->ask('subscribe', channel => 'one.b')->{type}, 'subscribed',
   'channels of the connection are others');
is(said($j->ask('history', channel => 'one.a', seq => 5)), '"a6"',
   'and are no limit');

$r = $j->ask('history', channel => 'one.none');
is($r->{type}, 'history', 'a channel that nobody knows');
is(said($r), '', 'has no messages');
like($r->{epoch}, EPOCH, 'but an epoch');

is_error($j->ask('history', channel => 'other'), 'forbidden', undef,
         'a channel that is not allowed');


# whoever comes back within the time that a subscription in Redis is kept

$k = json('/json', port => $f->port(1));
$r = $k->ask('subscribe', channel => 'back');

for my $n (1 .. 5) {
    $k->ask('unsubscribe', channel => 'back');
    elsewhere('back', "\"$n\"");

    my $a = $k->ask('subscribe', channel => 'back', epoch => $r->{epoch},
                    seq => $n - 1);

    is($a->{recovered}, 'true', "back, $n");
    is($a->{head}, $n, 'with what has come meanwhile');
    is_next($k, { type => 'message', channel => 'back', seq => $n,
                  data => "\"$n\"" }, 'which is delivered');
}

is($f->redis_status(1)->{gaps}{found}, 0, 'that is no gap');


# the host may have missed something

$r = $f->redis_status(1)->{reconnects};

for my $client ($redis->clients()) {
    $redis->command('CLIENT', 'KILL', 'ID', $client->{id})
        if ($client->{sub} // 0) > 0;
}

$f->post(0, '/pub/one.a', '"a7"');
$f->post(0, '/pub/one.b', '"b1"');
ok($t->wait_until(sub { $f->redis_status(1)->{reconnects} > $r }),
   'connected again');
$f->wait_up();

is(said($j->ask('history', channel => 'one.a', seq => 5)), '"a6" "a7"',
   'after a connection was lost');
is(said($j->ask('history', channel => 'one.b')), '"b1"',
   'also of a subscription');


# who does not wait, and who asks too often

$k = json('/json', port => $f->port(1));
$redis->pause();

# all of them before the first has waited too long

$k->write(join('', map { frame(TEXT, format_request(type => 'history',
    id => $_, channel => "k.$_")) } 1 .. 70));

for (1 .. 6) {
    my $m = $k->next() // last;
    push @limit, "$m->{id} $m->{code}" if $m->{type} eq 'error';
}

is(join(', ', @limit), join(', ', map { "$_ limit" } 65 .. 70),
   'so many wait at once');

for (1 .. 64) {
    my $m = $k->next() or last;
    push @down, $m->{code} // $m->{type};
}

is(join(' ', @down), join(' ', ('unavailable') x 64),
   'who has waited too long');

$k->say('history', id => $_, channel => "k.$_") for 1 .. 10;
sleep(0.2);
$k->abort();

$k = json('/json', port => $f->port(1));
$k->say('history', id => $_, channel => "k.$_") for 1 .. 10;
$k->close(1000);
sleep(0.2);
$redis->resume();
$f->wait_up();

ok($t->wait_until(sub {
    return $f->status(1)->{zones}{bus}{subscriptions} <= 1;
}, 10), 'nothing is left of those who have gone');


# a worker that is killed with all that waits

$t->expect_log(qr/\[alert\].* exited on signal 9/);
$k = json('/json', port => $f->port(1));
$redis->pause();
$k->say('history', id => $_, channel => "killed.$_") for 1 .. 10;
sleep(0.2);
my %killed = map { $_ => 1 } $t->workers();

kill('KILL', keys %killed);
$redis->resume();

ok($t->wait_until(sub {
    my @workers = $t->workers();
    return @workers == 2 && !grep { $killed{$_} } @workers;
}), 'other workers');

$f->wait_up();

$f->post(0, '/pub/killed.1', '"x"');
$k = json('/json', port => $f->port(1));
is(said($k->ask('history', channel => 'killed.1')), '"x"',
   'after workers were killed');

$redis->kill();
$f->wait_down(1);
is_error($k->ask('history', channel => 'killed.2'), 'unavailable', undef,
         'there is no Redis');
$redis->start();
$f->wait_up();

$f->done_testing();


# Nobody on the other host listens, but it hears of it.

sub elsewhere {
    my ($channel, $data) = @_;

    my $n = $f->redis_status(1)->{received};

    is($f->post(0, "/pub/$channel", $data)->status(), 201, "published $data");

    ok($t->wait_until(sub { $f->redis_status(1)->{received} > $n }, 10),
       'heard of');
}


sub said {
    my ($m) = @_;

    my $text = $m->{messages} // return "$m->{type} " . ($m->{code} // '');

    return join(' ', map { ref $_ ? $_->{data} : $_ } @$text) if ref $text;
    return join(' ', $text =~ /"data":(".*?")/g);
}
