#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Allocations fail, any of them: clients are refused or closed, and no worker
# dies of it; afterwards all is as before.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame TEXT /;
use Test::WsBus::Json;
use Test::WsBus::Token;
use WsBusTestWorkers;

plan(skip_all => 'a sanitizer has an allocator of its own')
    if $ENV{WS_BUS_TEST_PRELOAD};

my $t = Test::WsBus->new()
    ->has(qw/ bin\/cc Crypt::JWT /)->log_level('info')->time_limit(240);

my $library = $t->testdir() . '/fail_malloc.so';
my $numbers = $t->testdir() . '/numbers';

system('cc', '-O2', '-Wall', '-shared', '-fPIC', '-o', $library,
       "$FindBin::Bin/lib/fail_malloc.c") == 0
    or plan(skip_all => 'no library to be preloaded');

my $key = Test::WsBus::Token->key('ES256', kid => 'a');
my $token = $key->token(sub => 'alice', x => 'y',
                        g => { subscribe => [ '**' ], publish => [ '**' ] });

$t->write_file('keys.jwks', jwks($key));
$t->write_file('numbers', pack('VV', 0, 0));
chmod(0666, $numbers);

# fetched all the time; longer than what is left of a request's first block

use constant FETCHED => 20;

my $long = 'x' x 3000;

$t->write_file_expand('nginx.conf', conf());

$ENV{FAIL_MALLOC} = $numbers;

{
    local $ENV{WS_BUS_TEST_PRELOAD} = $library;
    $t->run();
}

my @pids = $t->workers();
my $rounds = 0;
my @c;

# what OpenSSL prepares with its first use, it does not try again

works('none');

for my $n (20, 100, 500) {
    fail_one_of($n);

    my $end = time() + 4;

    round() while time() < $end;

    my $failed = failed();

    fail_one_of(0);

    cmp_ok($failed, '>', 0, "one of $n: allocations have failed");
    is("@{[ $t->workers() ]}", "@pids", "one of $n: the worker is alive");

    $_->disconnect() for @c;
    @c = ();

    ok($t->wait_until(sub { status()->{connections} == 0 }, 20),
        "one of $n: nobody is left");
    is(status()->{subscriptions}, 0, "one of $n: nor a subscription");

    works("one of $n");
}

$t->expect_log(qr/Cannot allocate memory|deflateInit2\(\) failed/);
$t->done_testing();


sub conf {
    my $conf = <<'EOC';

%%TEST_GLOBALS%%

worker_processes 1;

events {
    worker_connections 1024;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 1m;
    ws_bus_limit_zone $remote_addr zone=clients:64k;

    ws_bus_publish on;
    ws_bus_history 50 10s;
    ws_bus_channels **;
    ws_bus_presence members;
    ws_bus_member $arg_m;
    ws_bus_ping 200ms 10s;
    ws_bus_buffer 32k;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location = /deflate {
            ws_bus $arg_c;
            ws_bus_deflate on;
        }

        location = /latest {
            ws_bus $arg_c;
            ws_bus_buffer 4k latest;
            ws_bus_batch 5ms;
        }

        location = /lean {
            ws_bus $arg_c;
            ws_bus_lean on;
            ws_bus_buffer 4k oldest;
        }

        location = /limit {
            ws_bus $arg_c;
            ws_bus_limit rate=200r/s burst=100 delay;
            ws_bus_limit rate=1000r/s zone=clients drop burst=10;
        }

        location = /token {
            ws_bus $arg_c;
            ws_bus_jwt bus;
            ws_bus_jwt_key_file keys.jwks;
            ws_bus_jwt_grants g;
            ws_bus_jwt_require $ws_bus_claim_x;
            ws_bus_auth_timeout 2s;
            ws_bus_member $ws_bus_subject;
            ws_bus_log %%TESTDIR%%/audit.log;
        }

        FETCHED

        location /keys/ {
            root %%TESTDIR%%;
            try_files /keys.jwks =404;
        }

        location = /pub {
            ws_bus_publisher $arg_c;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

    my $fetched = join('', map { <<"EOC" } 1 .. FETCHED);

        location = /fetched$_ {
            ws_bus \$arg_c;
            ws_bus_jwt bus;
            ws_bus_jwt_key_request /keys/$_$long valid=1s;
            ws_bus_auth_timeout 2s;
        }
EOC

    $conf =~ s/FETCHED/$fetched/;

    return $conf;
}


sub fail_one_of {
    open(my $fh, '+<', $numbers) or die "$numbers: $!";
    syswrite($fh, pack('VV', $_[0], 0));
}


sub failed { return (unpack('VV', $t->read_file('numbers')))[1] }


# Clients of all kinds come, say something, and go; what they hear of it does
# not matter.

sub round {
    my @paths = (qw/ deflate latest lean limit token /,
                 'fetched' . (1 + int(rand(FETCHED))));

    for my $path (@paths) {
        my $c = 'c' . int(rand(5));
        my $uri = "/$path?c=$c&m=m" . int(rand(3))
            . (rand() < 0.5 ? '&last=10' : '&consumer=x');
        my @opt = (timeout => 0.2);

        push @opt, headers => [ Authorization => "Bearer $token" ]
            if $path =~ /token|fetched/ && rand() < 0.5;

        eval {
            push @c, rand() < 0.6 ? json($uri, @opt)
                                  : ws($uri, @opt, deflate => 1);
        };

        eval { say_all($c[int(rand(@c))], $c) } if @c;
    }

    eval {
        http_post("/pub?c=c1", 'x' x int(rand(3000)), timeout => 0.2,
            headers => [ 'Idempotency-Key' => int(rand(10)) ]);
        http_get('/deflate?c=c1&wait=0&last=10', timeout => 0.2);
        http_get('/deflate?c=c1', timeout => 0.02,
            headers => [ Accept => 'text/event-stream' ]);
        http_get('/status', timeout => 0.2);
    };

    eval { (splice(@c, int(rand(@c)), 1))->abort() } while @c > 40;
}


sub say_all {
    my ($client, $c) = @_;

    my @request = ref($client) =~ /Json/ ? map { format_request(@$_) } (
        [ type => 'auth', token => $token ],
        [ type => 'subscribe', id => 1, channel => 'c' . int(rand(9)),
          seq => 0, epoch => '0123456789abcdef' ],
        [ type => 'publish', id => 2, channel => $c, data => \'{"a":1}' ],
        [ type => 'history', id => 3, channel => $c, seq => 0 ],
        [ type => 'presence', id => 4, channel => $c ],
        [ type => 'ack', channel => $c, seq => 1 ],
        [ type => 'auth_refresh', token => $token ],
        [ type => 'unsubscribe', id => 5, channel => $c ],
    ) : ('hello' x int(rand(500)));

    $client->write(join('', map { frame(TEXT, $_) } @request));
    $client->ping('x');
}


sub works {
    my ($name) = @_;

    my $channel = 'after' . ++$rounds;
    my $c = ws("/deflate?c=$channel", deflate => 1);

    is(http_post("/pub?c=$channel", 'hello')->status(), 201,
        "$name: published afterwards");
    is_message($c, 'hello', "$name: delivered afterwards");

    $c->disconnect();

    my $good = 0;

    for my $path ('token', map { "fetched$_" } 1 .. FETCHED) {

        # keys are fetched again some time after that has failed

        my $up = $t->wait_until(sub {
            ws_response("/$path?c=$channel", headers => [
                Authorization => "Bearer $token" ])->status() == 101;
        }, 70);

        $good += !!$up;
    }

    is($good, 1 + FETCHED, "$name: tokens are good afterwards");
}
