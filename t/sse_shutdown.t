# Copyright (C) the ngx_ws_bus_module authors

# Event streams and polls when nginx ends, gracefully but not for ever, or
# fast.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use Test::WsBus::HTTP2;


my @tests = map { shutdown_by(@$_) } (
    [ 8080, 'QUIT', 'ws_bus_drain 0;', '', 1 ],
    [ 8082, 'QUIT', 'ws_bus_drain 60s;', 'worker_shutdown_timeout 2s;', 0 ],
    [ 8084, 'TERM', 'ws_bus_drain 60s;', '', 0 ],
);

$_->finish() for @tests;
done_testing();


sub shutdown_by {
    my ($port, $signal, $drain, $timeout, $orderly) = @_;

    my $h2port = $port + 1;
    my $t = Test::WsBus->new()->has(qw/ http_v2 /)->log_level('info');

    $t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

worker_processes 2;
$timeout

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 16m;
    $drain

    server {
        listen 127.0.0.1:%%PORT_$port%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_$h2port%% http2 sndbuf=16k;

        location ~ ^/ws(?<chan>/.*)\$ {
            ws_bus \$chan;
            ws_bus_buffer 16m;
        }

        location ~ ^/pub(?<chan>/.*)\$ {
            ws_bus_publisher \$chan;
        }
    }
}

EOC

    $t->run();

    my @accept = (accept => 'text/event-stream');
    my $h2 = Test::WsBus::HTTP2->new(port => port($h2port));

    my @events = map { stream($port) } 1 .. 10;
    my @streams = map { $h2->get('/ws/a', @accept) } 1 .. 10;
    my $poll = Test::WsBus::HTTP->new(port => port($port));
    my $deaf = stream($port, '/ws/b', rcvbuf => 4096);

    $poll->write(Test::WsBus::HTTP::format_request('GET', '/ws/a?wait=60'));
    $_->status() for @streams;

    http_post('/pub/b', 'x' x 60_000, port => port($port)) for 1 .. 20;
    http_post('/pub/a', 'x', port => port($port));

    is($poll->read_response()->json()->{messages}[0]{text}, 'x',
       "$signal, a poll");
    is(join(' ', map { $_->event()->{data} } @events, @streams),
       join(' ', ('x') x 20), "$signal, events");

    $poll->write(Test::WsBus::HTTP::format_request('GET', '/ws/a?wait=60'));

    my $begin = time();

    $t->signal($signal);

    if ($orderly) {
        is(scalar(grep { $_->finished() } @events, @streams), 20,
           "$signal, each response ends in good order");
        is($poll->read_response()->status(), 204, "$signal, an answer");
    }

    is(scalar(grep { $_->at_eof() } @events, $h2), 11,
       "$signal, connections end");

    # it is given 10 seconds to read the rest

    my $gone = $t->_wait_exit($t->master(), patience());
    delete $t->{pid} if $gone;

    ok($gone, "$signal, nginx has gone");
    cmp_ok(time() - $begin, '>=', $timeout ? 1.9 : 0, "$signal, in its time");

    return $t;
}


sub stream {
    my ($port, $uri, @opt) = @_;

    my $e = Test::WsBus::Events->new(port => port($port), @opt);

    die "no stream\n" unless $e->open($uri // '/ws/a')->status() == 200;

    return $e;
}
