# Copyright (C) the ngx_ws_bus_module authors

# One link to one Redis: commands and replies, subscriptions, users and
# databases, a server that is paused, killed and restarted.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use WsBusTestLink;


my $t = link_test()->log_level('info');

my $redis = Test::WsBus::Redis->new($t, config => [
    'user limited on >pw resetchannels &c* ~* +@all -flushall -client',
    'user default on nopass ~* &* +@all',
])->start();

# the user of the documentation

open(my $doc, '<', "$FindBin::Bin/../docs/redis.md") or die "redis.md: $!";
my ($rules) = map { /^ACL SETUSER (.*)/ ? $1 : () } <$doc>;

$redis->command('ACL', 'SETUSER', split(' ', $rules));

my $locked = Test::WsBus::Redis->new($t, name => 'locked', port => 6381,
                                     password => 'first')->start();

my @monitor = ('sentinel monitor main 127.0.0.1 ' . $redis->port() . ' 1');

my $sentinel = Test::WsBus::Redis->new($t, name => 'sentinel', sentinel => 1,
    port => 26379, config => \@monitor)->start();
my $guarded = Test::WsBus::Redis->new($t, name => 'guarded', sentinel => 1,
    port => 26380, config => [ @monitor, 'requirepass other' ])->start();

my $socket = $redis->socket_path();
my $timeout = scale(1);

$t->write_file('password', "wrong\nnot this\n");

link_conf($t, <<"EOF");
    link_redis plain {
        server 127.0.0.1:%%PORT_6379%%;
        database 3;
        timeout ${timeout}s;
        reconnect 10ms 50ms;
    }

    link_redis unix {
        server unix:$socket;
        user limited;
        password pw;
        reconnect 10ms 50ms;
    }

    link_redis sentinel {
        server 127.0.0.1:%%PORT_26379%%;
        user limited;
        password pw;
        database 3;
    }

    link_redis guarded {
        server 127.0.0.1:%%PORT_26380%%;
        password pw;
        reconnect 10ms 50ms;
    }

    link_redis documented {
        server 127.0.0.1:%%PORT_6379%%;
        user bus;
        password password;
        database 5;
    }

    link_redis bad {
        server 127.0.0.1:%%PORT_6379%%;
        user limited;
        password secret-that-is-wrong;
        reconnect 10ms 50ms;
    }

    link_redis locked {
        server 127.0.0.1:%%PORT_6381%%;
        password_file %%TESTDIR%%/password;
        reconnect 10ms 50ms;
    }

    link plain plain;
    link sub plain subscriber;
    link unix unix;
    link unixsub unix subscriber;
    link bad bad;
    link documented documented;
    link locked locked;
    link sentinel sentinel sentinel;
    link guarded guarded sentinel;
    link watch sentinel sentinel subscriber;
EOF

$t->run();

# commands

ok(wait_state($t, 'plain', 'up'), 'up');

is(command('plain', ['SET', 'k', 'v']), '+OK', 'a status');
is(command('plain', ['GET', 'k']), '$v', 'a string');
is(command('plain', ['GET', 'no']), '_', 'nil');
is(command('plain', ['INCR', 'n']), ':1', 'an integer');
like(command('plain', ['INCR', 'k']), qr/^-ERR /, 'an error');
is(command('plain', ['MGET', 'k', 'no', 'n']), '[$v _ $1 ]', 'an array');
is(command('plain', ['GET', '']), '_', 'an empty argument');
is($redis->client()->command('GET', 'k'), undef, 'in database 3 only');

my $before = WsBusTestLink::state('plain');
my @replies = command('plain', map { ['INCR', 'n'] } 1 .. 5000);

is("@replies", join(' ', map { ":$_" } 2 .. 5001),
   '5000 commands of a turn, their replies in order');

my $after = WsBusTestLink::state('plain');

is($after->{replies} - $before->{replies}, 5000, 'replies are counted');
is($after->{pending}, 0, 'nothing is pending');

my $rtts = 0;
$rtts += $_ for @{$after->{rtt}};

is($rtts, $after->{replies}, 'round trips are counted');
cmp_ok($after->{rtt_sum}, '>', 0, 'round trips take time');

# all of a turn arrive at once: one read of Redis, not one per command

my $reads = $redis->info('total_reads_processed');
command('plain', map { ['INCR', 'm'] } 1 .. 100);
cmp_ok($redis->info('total_reads_processed') - $reads, '<', 50,
       'commands of a turn leave together');

my $large = 'z' x 3_000_000;

is(command('plain', ['SET', 'large', $large]), '+OK', '3 MB sent');
ok(command('plain', ['GET', 'large']) eq '$' . $large, '3 MB received');

@replies = command('plain', map { ['GET', 'large'] } 1 .. 8);
is(scalar(grep { $_ eq '$' . $large } @replies), 8, '24 MB received');

my ($conn) = grep { $_->{db} == 3 } $redis->clients();
like($conn->{name}, qr/^ws_bus:\d+:plain$/, 'the connection has a name');

# a unix socket, a user with limits

ok(wait_state($t, 'unix', 'up'), 'up on a unix socket');
is(command('unix', ['ACL', 'WHOAMI']), '$limited', 'as the user');
like(command('unix', ['FLUSHALL']), qr/^-NOPERM/, 'denied to the user');
is(command('unix', ['PING']), '+PONG', 'goes on after it');

ok(wait_state($t, 'documented', 'up'), 'up as the documented user');
is(scalar(grep { $_->{user} eq 'bus' && $_->{db} == 5
                 && $_->{name} =~ /:documented$/ } $redis->clients()), 1,
   'with a name and a database');

# sentinels: without a user and without a database

ok(wait_state($t, 'sentinel', 'up'), 'a sentinel that knows no such user');
is(command('sentinel', ['SENTINEL', 'get-master-addr-by-name', 'main']),
   '[$127.0.0.1 $' . $redis->port() . ' ]', 'it answers');

ok(wait_state($t, 'watch', 'up'), 'a subscriber of a sentinel');
is(command('watch', ['SUBSCRIBE', '+switch-master']),
   '[$subscribe $+switch-master :1 ]', 'subscribed');

my $guard = wait_for($t, 'guarded', sub { $_[0]{failures} > 2 });
is($guard->{reason}, 'not authenticated', 'a sentinel of another password');
is($guard->{ups}, 0, 'is not up');

# the wrong password

my $bad = wait_for($t, 'bad', sub { $_[0]{failures} > 5 });

is($bad->{reason}, 'not authenticated', 'a wrong password');
is($bad->{ups}, 0, 'never up');
is(command('bad', ['PING']), 'down', 'takes no command');

is($t->find_in_file('error.log',
   qr/\[error\].*redis is down, not authenticated: "WRONGPASS".*"bad"/), 1,
   'an error once');
is($t->find_in_file('error.log', qr/secret-that-is-wrong/), 0,
   'the password is not logged');

# a password file that changes

my $wrong = wait_for($t, 'locked', sub { $_[0]{failures} > 2 });

is($wrong->{reason}, 'not authenticated', 'a wrong password in a file');

$t->write_file('password', "first\n");

ok(wait_state($t, 'locked', 'up'), 'the file is read again');
is(command('locked', ['PING']), '+PONG', 'works');

$locked->command('CONFIG', 'SET', 'requirepass', 'second');
$t->write_file('password', 'second');
$locked->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');

ok(wait_for($t, 'locked', sub { $_[0]{connects} == 2 }),
   'a rotated password');

unlink($t->testdir() . '/password');
$locked->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');

ok(wait_for($t, 'locked', sub { $_[0]{failures} > $wrong->{failures} + 3 }),
   'a file that is gone');
is($t->find_in_file('error.log', qr/\[warn\].*cannot read password file/), 1,
   'a warning once');

# subscriptions

ok(wait_state($t, 'sub', 'up'), 'a subscriber');

is(command('sub', ['PING']), '+PONG', 'PING before subscriptions');
is(command('sub', ['SUBSCRIBE', 'a', 'b', 'c']), '[$subscribe $c :3 ]',
   'answered by the last confirmation');

is(join('|', pushed('sub')),
   '[$subscribe $a :1 ]|[$subscribe $b :2 ]|[$subscribe $c :3 ]',
   'each confirmation is pushed');

$redis->command('PUBLISH', 'b', 'hello');

my @pushed;

$t->wait_until(sub { push @pushed, pushed('sub'); @pushed });
is("@pushed", '[$message $b $hello ]', 'a message');

is(command('sub', ['PING']), '[$pong $ ]', 'PING among subscriptions');

@replies = command('sub', ['PSUBSCRIBE', 'p*'], ['UNSUBSCRIBE', 'a'], ['PING'],
                   ['SSUBSCRIBE', 's'], ['SUNSUBSCRIBE', 's'],
                   ['unsubscribe', 'b', 'c', 'never']);

is(join('|', @replies), '[$psubscribe $p* :4 ]|[$unsubscribe $a :3 ]|'
   . '[$pong $ ]|[$ssubscribe $s :1 ]|[$sunsubscribe $s :0 ]|'
   . '[$unsubscribe $never :1 ]', 'pipelined subscriptions');

pushed('sub');
$redis->command('PUBLISH', 'p1', 'pattern');

@pushed = ();
$t->wait_until(sub { push @pushed, pushed('sub'); @pushed });
is("@pushed", '[$pmessage $p* $p1 $pattern ]', 'a message by a pattern');

ok(wait_state($t, 'unixsub', 'up'), 'a subscriber with limits');

@replies = command('unixsub', ['SUBSCRIBE', 'c1'], ['SUBSCRIBE', 'c2', 'x'],
                   ['SUBSCRIBE', 'c3']);

like($replies[1], qr/^-NOPERM/, 'a channel that is denied');
is("$replies[0]|$replies[2]",
   '[$subscribe $c1 :1 ]|[$subscribe $c3 :2 ]', 'the others are not');

$t->expect_log(qr/on a link for subscriptions/);
is(command('unixsub', ['GET', 'x']), 'error', 'no command for a subscriber');
is(command('unixsub', ['SUBSCRIBE']), 'error', 'no channel');

# messages by the ten thousand, of all sizes

my $client = $redis->client();
command('sub', ['SUBSCRIBE', 'many']);
pushed('sub');

for my $n (1 .. 20) {
    $client->send('PUBLISH', 'many', "$n." . 'm' x ($_ * 7 % 1500))
        for 1 .. 500;
    $client->reply() for 1 .. 500;
}

my $got = 0;
$t->wait_until(sub { $got += pushed('sub'); $got >= 10000 });
is($got, 10000, 'ten thousand messages');

# a paused server; a client that goes away meanwhile is not called back

my $was = WsBusTestLink::state('plain');
my $mark = length $t->read_file('error.log');

$redis->pause();

my $gone = Test::WsBus::Conn->new(port => port(8080));
$gone->write("POST /?link=plain HTTP/1.1\r\nHost: a\r\n"
             . "Content-Length: 6\r\n\r\nGET\tk\n");
wait_for($t, 'plain', sub { $_[0]{pending} });
$gone->disconnect();

is(command('plain', ['GET', 'k']), 'lost', 'no answer: nobody knows');

my $paused = wait_for($t, 'plain',
                      sub { $_[0]{timeouts} > $was->{timeouts} });

is($paused->{downs}, $was->{downs} + 1, 'told once');
is(command('plain', ['GET', 'k']), 'down', 'no command is taken');
is($t->find_in_file('error.log',
   qr/\[error\].*redis is down, no answer in time.*"plain"/,
   offset => $mark, timeout => 5), 1, 'why it is down');

$redis->resume();

ok(wait_state($t, 'plain', 'up'), 'up again');
is(command('plain', ['GET', 'k']), '$v', 'works again');
ok(wait_state($t, 'sub', 'up'), 'the subscriber too');

# a server that is killed, and comes back

my $connects = WsBusTestLink::state('plain')->{connects};
$mark = length $t->read_file('error.log');

$redis->kill();
ok(wait_for($t, 'plain', sub { $_[0]{reason} eq 'cannot connect' }),
   'killed');
wait_for($t, 'plain', sub { $_[0]{failures} > 20 });
wait_for($t, 'sub', sub { $_[0]{failures} > 20 });
is($t->find_in_file('error.log',
   qr/\[error\].*\(111: Connection refused\).*redis: "plain"/,
   offset => $mark, count => 2), 2, 'refused, an error for each link');

$redis->start();
ok(wait_for($t, 'plain', sub { $_[0]{connects} > $connects }),
   'back again');
is(command('plain', ['PING']), '+PONG', 'and works');
ok(wait_state($t, 'sub', 'up'), 'the subscriber too');

# SIGTERM and a restart

$connects = WsBusTestLink::state('plain')->{connects};

$redis->restart();
ok(wait_for($t, 'plain', sub { $_[0]{connects} > $connects }), 'restarted');
is(command('plain', ['PING']), '+PONG', 'works');

# a worker that is killed: the next one has links of its own

my ($killed) = $t->workers();

$t->expect_log(qr/exited on signal 9/);
$t->signal('KILL', $killed);

ok(wait_for($t, 'plain', sub { ($_[0]{pid} // $killed) != $killed
                               && $_[0]{state} eq 'up' }),
   'up in the worker that follows a killed one');
is(command('plain', ['PING']), '+PONG', 'works');

# reload: new workers have links of their own, the old ones leave

$t->write_file('password', "second\n");

ok($t->reload(), 'reload');
ok(wait_state($t, 'plain', 'up'), 'up in the new worker');
$t->wait_until(sub { $t->workers() == 1 });
is(scalar($t->workers()), 1, 'the old worker has left');

$t->done_testing();
