# Copyright (C) the ngx_ws_bus_module authors

# Nodes that say they are a cluster: redirections without an end, to anywhere;
# maps of too many nodes, of none, of nonsense; answers that never come; a
# sentinel that lies.

use warnings;
use strict;

use Test::More;

use FindBin;
use IO::Socket::INET;
use POSIX ();
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestServers;


my $t = servers_test()->log_level('info');

my @roles = qw/ moved stray ask tryagain down many nonsense overlap disabled
    nameless noinfo silent replica liar order /;
my %port = map { $roles[$_] => 6600 + $_ } 0 .. $#roles;

# nobody listens there
my @nowhere = map { port(6700 + $_) } 1 .. 200;

my ($blocks, $servers) = ('', '');

for my $role (@roles) {
    my $port = port($port{$role});

    my $mode = $role eq 'liar' ? 'sentinel bus' : 'cluster';

    # short where it is waited for in vain

    my $timeout = $role =~ /^(?:stray|tryagain|down|silent)$/ ? '2s' : '10s';

    $blocks .= <<"EOF";
    servers_redis $role {
        mode $mode;
        server 127.0.0.1:$port;
        timeout $timeout;
        reconnect 20ms 100ms;
    }

EOF
}

my @groups = ([ @roles[0 .. 6, $#roles] ], [ @roles[7 .. $#roles - 1] ]);

serve($_) for @roles;

conf(0);
$t->run();

# redirections

is(scalar(grep { wait_for($t, $_, sub { $_[0]{complete} }) }
          qw/ moved stray ask tryagain down /), 5, 'up');

like(command('moved', ['k', 'GET', 'k']), qr/^-MOVED /,
     'a node that redirects to itself');
like(command('ask', ['k', 'GET', 'k']), qr/^-ASK /, 'the same with ASK');
like(command('tryagain', ['k', 'GET', 'k']), qr/^(-TRYAGAIN |unsent)/,
     'try again, always');
like(command('down', ['k', 'GET', 'k']), qr/^(-CLUSTERDOWN |unsent)/,
     'a cluster that is down');

my @replies = command('stray', map { ["k$_", 'GET', "k$_"] } 1 .. 200);

is(scalar(grep { /^(-MOVED .*|unsent)$/ } @replies), 200,
   'redirected to where nobody is');

my $state = WsBusTestServers::state('stray');

cmp_ok(scalar(@{$state->{servers}}), '<', 40, 'a few of them are known');

# the order: what comes back waits for all that was sent, then goes first; what
# another one has overtaken is refused

ok(wait_for($t, 'order', sub { $_[0]{complete} }), 'up');

is(join(' ', command('order', map { ['k', 'GET', 'k', $_] }
                     qw/ a2 b1 c1 d1 e1 /)),
   '+1 +2 +3 +4 +5', 'all come back, and are done in their order');
is(join(' ', command('order', map { ['k', 'GET', 'k', $_] }
                     qw/ f0 g1 h0 i0 /)),
   '+6 unsent +7 +8', 'overtaken');
is(join(' ', command('order', map { ['k', 'GET', 'k', $_] }
                     qw/ j1 k1 l0 m1 n0 o1 /)),
   'unsent unsent +9 unsent +10 +11', 'overtaken many times');
is(join(' ', apart('order', map { ['k', 'GET', 'k', $_] }
                   qw/ p1 q1 r0 s1 t0 /)),
   '+14 +15 +12 +16 +13', 'by others: later, in their order');

# closed by the handler of one that is refused, others wait behind it

wait_for($t, 'closing', sub { $_[0]{complete} });
command('closing', map { ['k', 'GET', 'k', $_] } qw/ u1 v1 w0 x9 y9 /);
is(WsBusTestServers::state('closing')->{closed}, 1, 'closed in between');

# what waits is bounded

@replies = command('tryagain', map { ['k', 'GET', 'k', 'x' x 2000] }
                   1 .. 10000);

my $waiting = grep { /^(?:-TRYAGAIN |unsent)/ } @replies;
my $full = grep { $_ eq 'full' } @replies;

is($waiting + $full, 10000, 'all are refused in the end');
cmp_ok($full, '>', 0, 'some at once');

# maps

ok(wait_for($t, 'many', sub { @{$_[0]{servers}} > 200 }), 'many nodes');
cmp_ok(scalar(@{WsBusTestServers::state('many')->{servers}}), '<=', 256,
       'but not too many');

is(command('nonsense', ['k', 'GET', 'k']), 'down', 'no map');
is(scalar(@{WsBusTestServers::state('nonsense')->{servers}}), 0,
   'no servers');

ok($t->find_in_file('error.log',
   qr/\[error\].*"nonsense": server \S+ is not of a cluster: "no map of slots"/,
   timeout => 5), 'said');


conf(1);
ok($t->reload(), 'reload');
$t->wait_until(sub { $t->workers() == 1 });

is(WsBusTestServers::state('overlap')->{complete}, 0, 'ranges that overlap');
is(command('overlap', ['k', 'GET', 'k']), 'down', 'are no map');

ok($t->find_in_file('error.log',
   qr/\[error\].*"disabled": server \S+ is not of a cluster: "ERR This instance/,
   timeout => 5), 'no cluster');

ok(wait_for($t, 'nameless', sub { $_[0]{complete} }),
   'a node that does not know its name');
is(command('nameless', ['k', 'GET', 'k']), '+OK', 'has that of the connection');

ok(wait_for($t, 'noinfo', sub { $_[0]{complete} }), 'INFO is forbidden');
is(WsBusTestServers::state('noinfo')->{servers}[0]{version}, 0,
   'nothing is known of it');
is(command('noinfo', ['k', 'GET', 'k']), '+OK', 'used nevertheless');
ok($t->find_in_file('error.log',
   qr/\[error\].*"noinfo": server \S+ does not answer INFO: "NOPERM/,
   timeout => 5), 'said');

ok(wait_for($t, 'silent', sub { $_[0]{complete} }), 'one that says nothing');
is(command('silent', ['k', 'GET', 'k']), 'lost', 'nobody knows');

wait_for($t, 'replica', sub { @{$_[0]{servers}} });
is(command('replica', ['k', 'GET', 'k']), 'down', 'a master that is none');

# a sentinel that names what is no address, then a good one, then another

ok($t->find_in_file('error.log',
   qr/\[error\].*"liar": sentinel \S+ names a master "\S+:0" that cannot be/,
   timeout => 5), 'no address of a master');
ok(wait_for($t, 'liar', sub {
    return grep { $_->{up} && $_->{name} =~ /:\Q@{[ port($port{noinfo}) ]}\E$/ }
        @{$_[0]{servers}};
}), 'it says better later');
is(command('liar', ['k', 'GET', 'k']), '+OK', 'a master');

$t->done_testing();


sub conf {
    my ($group) = @_;

    my $closing = $group ? '' : "    servers closing order close=reply;\n";

    servers_conf($t, $blocks . $closing
        . join("\n", map { "    servers $_ $_ listen;" } @{$groups[$group]}),
        connections => 2048);
}


sub serve {
    my ($role) = @_;

    my $listen = IO::Socket::INET->new(
        Proto => 'tcp', LocalAddr => '127.0.0.1',
        LocalPort => port($port{$role}), Listen => 64, ReuseAddr => 1
    ) or die "listen: $!";

    $t->run_daemon(sub {
        local $SIG{PIPE} = 'IGNORE';
        local $SIG{CHLD} = 'IGNORE';

        while (1) {
            my $s = $listen->accept() or next;

            next if fork();

            $s->autoflush(1);
            eval { play($role, $s) };
            POSIX::_exit(0);
        }
    });

    close($listen);
}


sub play {
    my ($role, $s) = @_;

    my $me = port($port{$role});
    my ($n, $asked, $done, %tries) = (0, 0, 0);

    my %error = (
        moved    => sub { "MOVED $_[0] 127.0.0.1:$me" },
        ask      => sub { "ASK $_[0] :$me" },
        stray    => sub { "MOVED $_[0] 127.0.0.1:$nowhere[rand @nowhere]" },
        tryagain => sub { 'TRYAGAIN Multiple keys request' },
        down     => sub { 'CLUSTERDOWN Hash slot not served' },
    );

    while (my @args = read_command($s)) {
        my $name = uc $args[0];

        $n = 1 if $role eq 'silent' && $name eq 'GET';

        if ($n) {
            next;

        } elsif ($name eq 'PING') {
            print $s "+PONG\r\n";

        } elsif ($name eq 'SUBSCRIBE') {
            print $s "*3\r\n\$9\r\nsubscribe\r\n\$1\r\nx\r\n:1\r\n";

        } elsif ($name eq 'SENTINEL' && uc $args[1] eq 'MASTER') {
            print $s "*2\r\n\$12\r\nconfig-epoch\r\n\$1\r\n0\r\n";

        } elsif ($name eq 'SENTINEL') {
            my $to = $asked++ < 2 ? 0 : port($port{noinfo});

            print $s "*2\r\n\$9\r\n127.0.0.1\r\n\$" . length($to)
                . "\r\n$to\r\n";

        } elsif ($name eq 'CLUSTER') {
            print $s slots($role, $me);

        } elsif ($name eq 'INFO' && $role eq 'noinfo') {
            print $s "-NOPERM this user has no permissions\r\n";

        } elsif ($name eq 'INFO') {
            my $kind = $role eq 'replica' ? 'slave' : 'master';
            my $text = "redis_version:7.0.0\r\nrole:$kind\r\n";

            print $s '$' . length($text) . "\r\n$text\r\n";

        } elsif ($name eq 'GET' && $role eq 'order') {
            my ($times) = $args[2] =~ /(\d)/;

            print $s $tries{$args[2]}++ < $times
                ? "-TRYAGAIN Multiple keys request\r\n"
                : '+' . ++$done . "\r\n";

        } elsif ($name eq 'GET' && $error{$role}) {
            print $s '-' . $error{$role}->(slot($args[1])) . "\r\n";

        } else {
            print $s "+OK\r\n";
        }
    }
}


sub slots {
    my ($role, $me) = @_;

    return "-ERR This instance has cluster support disabled\r\n"
        if $role eq 'disabled';
    return "*2\r\n:1\r\n*1\r\n+x\r\n" if $role eq 'nonsense';

    my $range = sub {
        my ($first, $last, $host, $port) = @_;

        $host = defined $host ? '$' . length($host) . "\r\n$host\r\n"
                              : "\$-1\r\n";

        return "*3\r\n:$first\r\n:$last\r\n*2\r\n$host:$port\r\n";
    };

    return "*16384\r\n"
        . join('', map { $range->($_, $_, '127.0.0.1', 1 + $_) } 0 .. 16383)
        if $role eq 'many';

    return "*2\r\n" . $range->(0, 16383, '127.0.0.1', $me) x 2
        if $role eq 'overlap';

    return "*1\r\n" . $range->(0, 16383, undef, $me) if $role eq 'nameless';

    return "*1\r\n" . $range->(0, 16383, '127.0.0.1', $me);
}


# CRC16 of a key without braces (Redis Cluster specification)

sub slot {
    my ($key) = @_;

    my $crc = 0;

    for my $byte (unpack('C*', $key)) {
        $crc ^= $byte << 8;

        for (1 .. 8) {
            $crc = $crc & 0x8000 ? ($crc << 1) ^ 0x1021 : $crc << 1;
        }

        $crc &= 0xffff;
    }

    return $crc % 16384;
}


sub read_command {
    my ($s) = @_;

    my $line = <$s> // return ();
    my ($n) = $line =~ /^\*(\d+)\r\n$/ or return ();
    my @args;

    for (1 .. $n) {
        $line = <$s> // return ();
        my ($len) = $line =~ /^\$(\d+)\r\n$/ or return ();

        my $data = '';
        read($s, $data, $len + 2) == $len + 2 or return ();
        push @args, substr($data, 0, $len);
    }

    return @args;
}
