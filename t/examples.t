#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# contrib/examples/client.py: whatever happens to the workers, to the channel
# and to itself, it has each message once and in order, or says what is missing.

use warnings;
use strict;

use POSIX ();
use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

use constant { MESSAGES => 600, KILLS => 4 };

my $client = "$FindBin::Bin/../contrib/examples/client.py";

# the distribution's Python is the one that has its packages

my ($python) = grep {
    -x && system("$_ -c 'import websockets' >/dev/null 2>&1") == 0
} '/usr/bin/python3', map { "$_/python3" } split(/:/, $ENV{PATH});

my $t = Test::WsBus->new();

plan(skip_all => 'no websockets for Python') unless $python;

$t->expect_log(qr/\[alert\].* worker process \d+ exited on signal 9/,
    qr/\[alert\].* shared memory zone "ws_bus:bus" was locked by \d+/);

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 32m;
    ws_bus_history 100000;
    ws_bus_channels room:*;
    ws_bus_publish on;
    ws_bus_drain 0;
    keepalive_requests 1000000;

    add_header X-Pid $pid always;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport sndbuf=16k;

        location = /ws {
            ws_bus;
        }

        location = /slow {
            ws_bus;
            ws_bus_buffer 16k oldest;
        }

        location = /short {
            ws_bus;
            ws_bus_buffer 16k oldest;
            ws_bus_history 100;
        }

        location = /closed {
            ws_bus;
            ws_bus_channels other;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my $h = Test::WsBus::HTTP->new(port => port(8080));
my $url = 'ws://127.0.0.1:' . port(8080);

killed();
deleted();
slow();
gone();
refused();

$t->done_testing();


# Both worker processes are killed, by turns, while one client publishes and
# two others follow.

sub killed {
    my @followers = map { follower("follow$_", '/ws', 'room:1') } 1, 2;

    settled('room:1', 2);

    pipe(my $out, my $in) or die "pipe: $!";

    my $pid = start('publish', $out, "$url/ws", 'room:1', '--publish');
    my $n = 0;

    close($out);
    $in->autoflush(1);

    for my $kill (1 .. KILLS) {
        for (1 .. MESSAGES / (KILLS + 1)) {
            $n++;
            print $in "$n\n";
        }

        my $want = $n - MESSAGES / (KILLS + 1) / 2;

        $t->wait_until(sub { lines('publish') > $want }, 20)
            or die "nothing is published";

        my ($victim) = $t->workers();

        $t->signal('KILL', $victim);
        wait_workers($t, 2, $victim);
    }

    print $in $_, "\n" for $n + 1 .. MESSAGES;
    close($in);

    ok($t->_wait_exit($pid, patience()), 'killed: the publisher has done');

    is_deeply([ grep { /./ } split(/\n/, $t->read_file('publish.out')) ],
        [ map { "published $_" } 1 .. MESSAGES ],
        'killed: each message is published once');

    for (@followers) {
        my $name = $_->{name};

        $t->wait_until(sub { lines($name) >= MESSAGES }, 20);

        is_deeply([ split(/\n/, $t->read_file("$name.out")) ],
            [ map { "room:1 $_ $_" } 1 .. MESSAGES ],
            'killed: each message has come once, in order');
        is($t->read_file("$name.err"), '', 'killed: nothing is missing');
    }

    end($_) for @followers;

    # it was connected to one of those that are gone
    $h = Test::WsBus::HTTP->new(port => port(8080));
}


# A deleted channel has another history: that is told, and all of it comes.

sub deleted {
    my $f = follower('deleted', '/ws', 'room:d');

    settled('room:d', 1);
    post('room:d', "before $_") for 1 .. 3;
    $t->wait_until(sub { lines('deleted') == 3 });

    is($h->request('DELETE', '/pub/room:d')->status(), 204, 'deleted: 204');
    post('room:d', "after $_") for 1 .. 3;

    $t->wait_until(sub { lines('deleted') == 6 }, 10);

    is($t->read_file('deleted.out'),
        join('', map { my $when = $_; map { "room:d $_ $when $_\n" } 1 .. 3 }
            'before', 'after'), 'deleted: what was before, and after');
    is($t->read_file('deleted.err'), "lost room:d None None\n",
        'deleted: told');

    end($f);
}


# A client that is stopped while more comes than is kept for it: it fetches
# the rest, as far as there is one.

sub slow {
    my $body = '=' x 2000;

    for my $case ([ 'slow', 1 ], [ 'short', 0 ]) {
        my ($name, $whole) = @$case;
        my $f = follower($name, "/$name", "room:$name");

        settled("room:$name", 1);
        post("room:$name", "1.$body");
        $t->wait_until(sub { lines($name) == 1 });

        my $dropped = dropped();

        kill('STOP', $f->{pid});
        post("room:$name", "$_.$body") for 2 .. 2000;
        cmp_ok(dropped(), '>', $dropped, "$name: messages are dropped");
        kill('CONT', $f->{pid});

        $t->wait_until(sub {
            $t->read_file("$name.out") =~ /^room:$name 2000 /m
        }, 20);

        post("room:$name", 'live');
        $t->wait_until(sub {
            $t->read_file("$name.out") =~ /^room:$name 2001 live$/m
        });

        my %lost;

        for (split /\n/, $t->read_file("$name.err")) {
            /^lost room:$name (\d+) (\d+)$/ or die "not expected: $_";
            $lost{$_} = 1 for $1 .. $2;
        }

        is(scalar(keys %lost) > 0, !$whole,
            "$name: " . ($whole ? 'nothing' : 'something') . ' is lost');

        my @came = $t->read_file("$name.out") =~ /^room:$name (\d+) /mg;

        is("@came", join(' ', grep { !$lost{$_} } 1 .. 2001),
            "$name: what is not told to be lost has come, once, in order");

        end($f);
    }
}


# Not even the history has what is in a gap, only later ones, and not all of
# these in one answer.

sub gone {
    my ($dir) = $client =~ m!^(.*)/!;

    $t->write_file('gone.py', <<"EOC");
import asyncio, sys
sys.dont_write_bytecode = True
sys.path.insert(0, "$dir")
import client

async def main():
    said = []
    c = client.Client("", lambda name, m: said.append(m["seq"]),
                      lambda *args: said.append(args))

    c.subscribe("c", "epoch", 5)
    await c.handle({"type": "gap", "channel": "c", "from": 6, "to": 8})
    await c.handle({"type": "message", "channel": "c", "seq": 9})
    await c.handle({"type": "history", "id": c.last_id, "more": True,
                    "messages": [{"seq": 100}, {"seq": 101}, {"seq": 102}]})
    await c.handle({"type": "message", "channel": "c", "seq": 10})

    await c.handle({"type": "gap", "channel": "c", "from": 11, "to": 14})
    await c.handle({"type": "history", "id": c.last_id, "more": True,
                    "messages": [{"seq": 12}]})
    await c.handle({"type": "history", "id": c.last_id, "more": True,
                    "messages": [{"seq": 13}, {"seq": 14}, {"seq": 15}]})
    await c.handle({"type": "message", "channel": "c", "seq": 15})

    print(said)

asyncio.run(main())
EOC

    is(`$python @{[ $t->testdir() ]}/gone.py 2>&1`,
        "[('c', 6, 8), 9, 10, ('c', 11, 11), 12, 13, 14, 15]\n",
        'gone: told, and it goes on');
}


sub refused {
    my $pid = start('refused', undef, "$url/closed", 'room:1');

    ok($t->_wait_exit($pid, patience()), 'refused: it ends');
    is($t->read_file('refused.err'), "client.py: forbidden: not allowed\n",
        'refused: and says why');

    $pid = start('nowhere', undef, "$url/nowhere", 'room:1');

    ok($t->_wait_exit($pid, patience()), 'no such location: it ends');
    is($t->read_file('nowhere.err'), "client.py: refused with 404\n",
        'no such location: and says why');
}


sub follower {
    my ($name, $path, @channels) = @_;

    return { name => $name,
        pid => start($name, undef, "$url$path", @channels) };
}


sub start {
    my ($name, $in, @args) = @_;

    my $dir = $t->testdir();
    my $pid = fork() // die "fork: $!";

    if (!$pid) {
        open(STDIN, '<&', $in) if $in;
        open(STDIN, '<', '/dev/null') unless $in;
        open(STDOUT, '>', "$dir/$name.out");
        open(STDERR, '>', "$dir/$name.err");
        exec($python, $client, @args) or POSIX::_exit(127);
    }

    push @{$t->{daemons}}, $pid;

    return $pid;
}


sub end {
    my ($f) = @_;

    is(waitpid($f->{pid}, POSIX::WNOHANG), 0, "$f->{name}: is still there");
    kill('KILL', $f->{pid});
    waitpid($f->{pid}, 0);
}


sub lines {
    my ($name) = @_;

    return scalar(() = $t->read_file("$name.out") =~ /\n/g);
}


sub settled {
    my ($channel, $n) = @_;

    $t->wait_until(sub {
        my $r = $h->request('GET', "/pub/$channel");
        return $r->status() == 200 && $r->json()->{subscribers} == $n;
    }, 10) or die "no subscription";
}


sub post {
    my ($channel, $body) = @_;

    my $r = $h->request('POST', "/pub/$channel", body => $body);
    die 'POST failed' unless $r && $r->status() == 201;
}


sub dropped {
    return http_get('/status')->json()->{zones}{bus}{dropped}{slow};
}
