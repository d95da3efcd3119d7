# Copyright (C) the ngx_ws_bus_module authors

# A link to something that is no good Redis: replies that dribble, garbage,
# endless ones, silence, a server that hangs up; the queue that is full; the
# link closed from each of its own handlers; a worker that leaves meanwhile.

use warnings;
use strict;

use Test::More;

use FindBin;
use IO::Select;
use IO::Socket::INET;
use Socket qw/ SOL_SOCKET SO_RCVBUF /;
use Time::HiRes qw/ sleep /;

use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use WsBusTestLink;


my $t = link_test()->log_level('info');

my $redis = Test::WsBus::Redis->new($t)->start();

# "silent" accepts and says nothing, the kernel does; "refused" is closed

my %roles = (
    dribble => 6401, garbage => 6402, endless => 6403, unasked => 6404,
    nothello => 6405, loading => 6406, hangup => 6407, tls => 6408,
    slow => 6409, echo => 6410, stuck => 6411, deep => 6412,
);

my $silent = IO::Socket::INET->new(
    Proto => 'tcp', LocalAddr => '127.0.0.1', LocalPort => port(6420),
    Listen => 64, ReuseAddr => 1
) or die "listen: $!";

my $timeout = scale(1);
my $blocks = '';

for my $name (sort keys %roles) {
    my $port = port($roles{$name});

    $blocks .= <<"EOF";
    link_redis $name {
        server 127.0.0.1:$port;
        timeout ${timeout}s;
        reconnect 10ms 50ms;
    }

EOF
}

my $conf = <<"EOF";
    $blocks

    link_redis silent {
        server 127.0.0.1:%%PORT_6420%%;
        connect_timeout 200ms;
        reconnect 10ms 50ms;
    }

    link_redis refused {
        server 127.0.0.1:%%PORT_6421%%;
        reconnect 10ms 50ms;
    }

    link_redis idle {
        server 127.0.0.1:%%PORT_6379%%;
        keepalive 100ms;
        timeout ${timeout}s;
    }
EOF

link_conf($t, $conf . <<"EOF");
    link dribble dribble;
    link garbage garbage;
    link endless endless reply=100000;
    link unasked unasked;
    link nothello nothello;
    link silent silent;
EOF

serve($_) for keys %roles;

$t->run();

# replies in pieces of a byte, and a large one in a few

ok(wait_state($t, 'dribble', 'up'), 'up, a byte at a time');
is(command('dribble', ['GET', 'a']), '$hello world', 'a reply, a byte');
is(join(' ', command('dribble', ['GET', 'a'], ['LIST'], ['GET', 'b'])),
   '$hello world [$1 _ [:5 ] ] $hello world', 'replies, a byte');

# no Redis, or one gone mad

my $garbage = wait_for($t, 'garbage', sub { $_[0]{failures} > 3 });
is($garbage->{ups}, 0, 'an HTTP server is no Redis');
is($t->find_in_file('error.log',
   qr/\[error\].*down, protocol violated: "Protocol error,.*"garbage"/), 1,
   'said once');

ok(wait_state($t, 'endless', 'up'), 'up, but');
is(command('endless', ['GET', 'a']), 'lost', 'an endless reply');
like($t->read_file('error.log'),
   qr/\[error\].*protocol violated: "reply is too large".*"endless"/,
   'is cut at the limit');

ok(wait_for($t, 'unasked', sub { $_[0]{downs} }), 'a reply to no command');
like($t->read_file('error.log'),
   qr/\[error\].*protocol violated: "ERR max number of clients/,
   'what it says is logged');

wait_for($t, 'nothello', sub { $_[0]{failures} > 3 });
is($t->find_in_file('error.log',
   qr/\[error\].*down, refused: "ERR unknown command x{50,128}" while/), 1,
   'a greeting that is refused, the reason cut');
is($t->find_in_file('error.log', qr/\[info\].*refused CLIENT SETNAME/,
   timeout => 5) > 0, 1, 'a name may be refused');

# silence

my $state = wait_for($t, 'silent', sub { $_[0]{failures} > 2 });
is($state->{ups}, 0, 'one that says nothing is not up');
is($t->find_in_file('error.log',
   qr/\[error\].*redis is down, not connected in time.*"silent"/), 1,
   'said once');

# a worker that leaves while its links connect, greet or wait

ok($t->reload(), 'reload');
$t->wait_until(sub { $t->workers() == 1 });
is(scalar($t->workers()), 1, 'the old worker has left');
$t->stop();

link_conf($t, $conf . <<"EOF");
    link loading loading;
    link hangup hangup;
    link tls tls;
    link slow slow;
    link refused refused;
    link idle idle;
    link deep deep;
EOF

$t->run();

wait_for($t, 'loading', sub { $_[0]{failures} > 1 });
is($t->find_in_file('error.log',
   qr/\[error\].*redis is down, still loading its data: "LOADING/), 1,
   'not before the data is loaded');
ok(wait_state($t, 'loading', 'up'), 'then it is up');

wait_for($t, 'tls', sub { $_[0]{failures} > 1 });
is($t->find_in_file('error.log', qr/\[error\].*protocol violated.*"tls"/), 1,
   'a port for TLS');

# hangs up with half a reply, then without one

ok(wait_state($t, 'hangup', 'up'), 'up');
is(join(' ', command('hangup', ['A'], ['HALF'], ['C'])), '+A lost lost',
   'half a reply');
ok(wait_state($t, 'hangup', 'up'), 'up again');
is(command('hangup', ['NONE']), 'lost', 'no reply');

ok(wait_state($t, 'deep', 'up'), 'up');
is(command('deep', ['GET', 'a']), 'lost', 'arrays too deep');

# one that takes long, but not too long without a byte

ok(wait_state($t, 'slow', 'up'), 'up');
is(command('slow', ['GET', 'a']), '$' . 'abcdefgh' x 2, 'a slow reply');

# nobody there, then somebody

$state = wait_for($t, 'refused', sub { $_[0]{failures} > 5 });
is($state->{reason}, 'cannot connect', 'nobody there');

my $late = Test::WsBus::Redis->new($t, name => 'late', port => 6421)->start();
ok(wait_state($t, 'refused', 'up'), 'then somebody');

# pings keep it alive, and notice when it is not

my $before = WsBusTestLink::state('idle');

ok(wait_for($t, 'idle', sub { $_[0]{replies} > $before->{replies} + 2 }),
   'pings when silent');

$redis->pause();
ok(wait_for($t, 'idle', sub { $_[0]{downs} }), 'a paused server is noticed');
$redis->resume();
ok(wait_state($t, 'idle', 'up'), 'up again');

$t->stop();

# a queue that is full

link_conf($t, $conf . <<"EOF");
    link stuck stuck queue=20000000;
    link echo echo queue=1000000;
EOF

$t->run();

ok(wait_state($t, 'stuck', 'up'), 'up');

my ($taken, @outcomes) = fill('stuck', 1000);

cmp_ok($taken, '>', 500, 'many are taken');
cmp_ok($taken, '<', 50000, 'not more than fit');
is($outcomes[-1], 'full', 'the next is told that it is full');
is($outcomes[0], 'lost', 'what has left may have been executed');
is($outcomes[$taken - 1], 'unsent', 'what has not left was not');

ok(wait_state($t, 'stuck', 'up'), 'up again');
is(WsBusTestLink::state('stuck')->{queued}, 0, 'nothing of it is left');

ok(wait_state($t, 'echo', 'up'), 'up');
is(command('echo', ['X', 'y' x 3_000_000]), '+3000000',
   'what never fits goes alone');

$t->stop();

# the link is closed by its own handlers

link_conf($t, $conf . <<"EOF");
    link up idle close=up;
    link reply idle close=reply;
    link down echo close=down;
    link push idle subscriber close=push;
EOF

$t->run();

ok(wait_state($t, 'up', 'closed'), 'closed when it got up');
is(command('up', ['PING']), 'down', 'and stays so');

wait_state($t, 'reply', 'up');
command('reply', map { ['ECHO', 'x' x 1000] } 1 .. 100);
ok(wait_state($t, 'reply', 'closed'), 'closed by a reply, others behind it');

wait_state($t, 'push', 'up');
my $half = Test::WsBus::Conn->new(port => port(8080));
$half->write("POST /?link=push HTTP/1.1\r\nHost: a\r\n"
             . "Content-Length: 16\r\n\r\nSUBSCRIBE\ta\tb\tc\n");
ok(wait_state($t, 'push', 'closed'), 'closed by a confirmation');
$half->disconnect();

wait_state($t, 'down', 'up');
is(command('down', ['QUIT'], ['A'], ['B'], ['C']), 'lost', 'all is lost');
ok(wait_state($t, 'down', 'closed'), 'closed when it went down');

# no connection is left for a link

$t->stop();
$t->expect_log(qr/worker_connections are not enough/);

link_conf($t, $conf . <<"EOF", events => 'worker_connections 5;');
    link idle idle;
    link idle2 idle;
    link idle3 idle;
    link idle4 idle;
    link idle5 idle;
EOF

$t->run();

ok($t->find_in_file('error.log',
   qr/redis is down, out of memory or connections/, timeout => 10),
   'no free connection');

$t->done_testing();


# A server that plays a role, in a process of its own.

sub serve {
    my ($role) = @_;

    my $listen = IO::Socket::INET->new(
        Proto => 'tcp', LocalAddr => '127.0.0.1',
        LocalPort => port($roles{$role}), Listen => 64, ReuseAddr => 1
    ) or die "listen: $!";

    if ($role eq 'stuck') {
        setsockopt($listen, SOL_SOCKET, SO_RCVBUF, pack('i', 4096));
    }

    $t->run_daemon(sub {
        local $SIG{PIPE} = 'IGNORE';
        my $n = 0;

        while (1) {
            my $s = $listen->accept() or next;
            $s->autoflush(1);
            eval { play($role, $s, $n++) };
        }
    });

    close($listen);
}


sub play {
    my ($role, $s, $n) = @_;

    if ($role eq 'garbage') {
        print $s "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        return;
    }

    if ($role eq 'tls') {
        print $s "\x15\x03\x01\x00\x02\x02\x46";
        return;
    }

    while (1) {
        my @args = read_command($s) or return;
        my $name = uc $args[0];

        if ($name eq 'CLIENT') {
            print $s $role eq 'nothello' ? "-NOPERM no\r\n" : "+OK\r\n";

        } elsif ($name eq 'PING' && !$s->opened()) {
            return;

        } elsif ($name eq 'PING') {
            greet($role, $s, $n);
            return if $role eq 'unasked';

        } else {
            answer($role, $s, $name, @args[1 .. $#args]) or return;
        }
    }
}


sub greet {
    my ($role, $s, $n) = @_;

    return print $s "-ERR unknown command " . 'x' x 1000 . "\r\n"
        if $role eq 'nothello';
    return print $s "-LOADING Redis is loading the dataset in memory\r\n"
        if $role eq 'loading' && $n < 5;
    return drip($s, "+PONG\r\n") if $role eq 'dribble';

    print $s "+PONG\r\n";

    if ($role eq 'unasked') {
        sleep(0.1);
        print $s "-ERR max number of clients reached\r\n";
    }
}


sub answer {
    my ($role, $s, $name, @args) = @_;

    if ($role eq 'dribble') {
        return drip($s, $name eq 'LIST'
            ? "*3\r\n\$1\r\n1\r\n\$-1\r\n*1\r\n:5\r\n"
            : "\$11\r\nhello world\r\n");
    }

    if ($role eq 'endless') {
        print $s "\$2000000000\r\n";
        1 while print $s 'x' x 10000;
        return 0;
    }

    if ($role eq 'deep') {
        print $s "*1\r\n" x 1000;
        return 1;
    }

    if ($role eq 'hangup') {
        return print $s "+A\r\n" if $name eq 'A';
        print $s "\$100\r\nabc" if $name eq 'HALF';
        return 0;
    }

    if ($role eq 'slow') {
        print $s "\$16\r\n";

        for my $piece (('ab', 'cd', 'ef', 'gh') x 2) {
            sleep($timeout / 4);
            print $s $piece;
        }

        return print $s "\r\n";
    }

    if ($role eq 'stuck') {
        sleep($timeout * 2);
        return 0;
    }

    # echo

    return 0 if $name eq 'QUIT';
    return print $s '+' . length($args[0]) . "\r\n";
}


sub drip {
    my ($s, $data) = @_;

    for my $byte (split(//, $data)) {
        print $s $byte;
        sleep(0.002);
    }

    return 1;
}


sub read_command {
    my ($s) = @_;

    local $/ = "\r\n";

    my $line = <$s> // return;
    my ($n) = $line =~ /^\*(\d+)/ or return;
    my @args;

    for (1 .. $n) {
        $line = <$s> // return;
        my ($len) = $line =~ /^\$(\d+)/ or return;

        read($s, my $data, $len + 2) == $len + 2 or return;
        push @args, substr($data, 0, -2);
    }

    return @args;
}
