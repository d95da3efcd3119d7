# Copyright (C) the ngx_ws_bus_module authors

# A link to a name that nginx's resolver looks up at each connect: it moves,
# has several addresses, none, or no answer comes.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Dns;
use Test::WsBus::Redis;
use WsBusTestLink;


my $t = link_test()->log_level('info');

my $redis = Test::WsBus::Redis->new($t)->start();

# a name has the addresses in the file that is called as it

$t->write_file('moving.example', '127.0.0.3');
$t->write_file('several.example', '127.0.0.3 127.0.0.4 127.0.0.1');
$t->write_file('none.example', '');

my $dns = Test::WsBus::Dns->new($t);
my @names = qw/ moving several none silent /;

link_conf($t, $dns->resolver() . "\n"
    . join('', map { "    link_redis $_ { server $_.example:%%PORT_6379%%;
        reconnect 10ms 50ms; connect_timeout 200ms; }\n    link $_ $_;\n" }
        @names));

$t->run();

ok(wait_state($t, 'several', 'up'), 'one of several addresses');
is(command('several', ['PING']), '+PONG', 'works');

my $state = wait_for($t, 'moving', sub { $_[0]{failures} > 2 });
is($state->{reason}, 'cannot connect', 'an address where nobody is');

$t->write_file('moving.example', '127.0.0.1');
ok(wait_state($t, 'moving', 'up'), 'it has moved');
is(command('moving', ['PING']), '+PONG', 'works');

$state = wait_for($t, 'none', sub { $_[0]{failures} > 2 });
is($state->{reason}, 'cannot resolve the name', 'a name without an address');
is($t->find_in_file('error.log',
   qr/\[error\].*down, cannot resolve the name: "Host not found".*"none"/), 1,
   'an error once');

$t->write_file('none.example', '127.0.0.1');
ok(wait_state($t, 'none', 'up', 20), 'now it has one');

is(WsBusTestLink::state('silent')->{state}, 'resolving', 'no answer yet');

ok($t->reload(), 'reload');
$t->wait_until(sub { $t->workers() == 1 });
is(scalar($t->workers()), 1, 'a worker leaves while it resolves');

ok($t->find_in_file('error.log',
   qr/\[error\].*resolve the name: "Operation timed out".*"silent"/,
   timeout => 10), 'no answer in time');

# a killed Redis that comes back elsewhere: the name is looked up again

ok(wait_state($t, 'moving', 'up'), 'up');
$t->write_file('moving.example', '127.0.0.3');
$redis->restart();
$state = wait_for($t, 'moving', sub {
    $_[0]{reason} eq 'cannot connect' && $_[0]{state} ne 'up'
        && $_[0]{failures} > 5
});
ok($state, 'looked up again');
$t->write_file('moving.example', '127.0.0.1');
ok(wait_state($t, 'moving', 'up'), 'and again');

$t->done_testing();
