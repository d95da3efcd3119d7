#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A worker that sleeps while the log runs over its place in it: who holds an
# event stream or a poll there is told what is lost, and goes on.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use WsBusTestWorkers;

my $t = Test::WsBus->new();

$t->log_level('info')->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128k;

    add_header X-Pid $pid always;
    keepalive_requests 1000000;

    ws_bus_message_max_size 8k;
    ws_bus_history 100000;
    ws_bus_buffer 64m;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        location ~ ^/pub-off/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history off;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my ($sleeper, $awake) = wait_workers($t, 2);

my $body = '=' x 1000;
my $h = http_at($awake);

my $stream = stream_at($sleeper, '/ws/news');
my $quiet = stream_at($sleeper, '/ws/quiet');
my $unkept = stream_at($sleeper, '/ws/unkept');
my $gone = stream_at($sleeper, '/ws/gone');
my $poll = poll_at($sleeper, '/ws/polled?wait=60');
my $lost = poll_at($sleeper, '/ws/news?wait=60');

post('/pub/gone', 1);
post('/pub/quiet', 1);
is(join(' ', map { $_->events(1) } $quiet, $gone), 'message:1 message:1',
   'before');


# it sleeps, and the log runs over

$t->signal('STOP', $sleeper);

$t->wait_until(sub {
    open(my $fh, '<', "/proc/$sleeper/stat") or return;
    return <$fh> =~ /^\d+ \(.*\) T/;
}) or die "the worker does not stop\n";

my $n = 0;

post('/pub-off/unkept', 1);
post('/pub/news', ++$n . ".$body") for 1 .. 500;
is($h->request('DELETE', '/pub/gone')->status(), 204, 'a deletion');
post('/pub/news', ++$n . ".$body") for 1 .. 500;
post('/pub/polled', 'late');

$t->signal('CONT', $sleeper);


# a gap, then whatever is still there

my $event = $stream->event();
my ($from, $to) = $event->{data} =~ /^\{"from":(\d+),"to":(\d+)\}$/;

is($event->{type}, 'gap', 'a gap');
is($from, 1, 'from the first one missed');
cmp_ok($to, '<=', $n, 'to one that was published');
is($stream->seq(), $to, 'the position');

post('/pub/news', ++$n . ".$body");

my @seqs;

while (@seqs == 0 || $seqs[-1] < $n) {
    $event = $stream->event() or last;
    push @seqs, $event->{type} eq 'message' ? $stream->seq() : $event->{data};
}

is("@seqs", join(' ', $to + 1 .. $n), 'then what follows, without a hole');

# where nothing was missed, nothing is told

post('/pub/quiet', 2);
is(($quiet->events(1))[0], 'message:2', 'a channel that was silent');

# without numbers the counter is all there is

post('/pub-off/unkept', 2);
is(($unkept->events(1))[0], 'message:2', 'not kept: the stream goes on');

# a deletion that was missed ends the stream

ok($gone->finished(), 'the channel was deleted');

# polls

my $r = $poll->read_response();

is($r->status(), 200, 'a poll');
is(join(' ', map { $_->{text} } @{$r->json()->{messages}}), 'late',
   'what is still there is in its answer');
ok($r->json()->{recovered}, 'and nothing is missing');

$r = $lost->read_response();

is($r->status(), 200, 'a poll that missed something');
ok(!$r->json()->{recovered}, 'is told');

my ($epoch, $seq, $messages) = @{$r->json()}{qw/ epoch seq messages /};

@seqs = map { $_->{seq} } @$messages;

is("@seqs", join(' ', $to + 1 .. $seq), 'what is still there follows');

# its answer may have had all that there was

post('/pub/news', ++$n . ".$body");

$r = $lost->request('GET', "/ws/news?wait=10&last_seq=$seq&epoch=$epoch");

ok($r->json()->{recovered}, 'then recovered');
is($r->json()->{messages}[0]{seq}, $seq + 1, 'from there');

cmp_ok(status()->{dropped}{lost}, '>=', 2, 'counted');

$t->done_testing();


sub stream_at {
    my ($pid, $uri) = @_;

    for (1 .. 500) {
        my $e = Test::WsBus::Events->new(port => port(8080));

        return $e if $e->open($uri)->header('X-Pid') == $pid;
    }

    die "no stream at $pid\n";
}


# A poll that waits does not say where: its connection does.

sub poll_at {
    my ($pid, $uri) = @_;

    my $h = http_at($pid);
    my $n = status()->{connections} + 1;

    $h->write(Test::WsBus::HTTP::format_request('GET', $uri));

    $t->wait_until(sub { status()->{connections} >= $n })
        or die "it does not wait\n";

    return $h;
}


sub post {
    my ($uri, $data) = @_;

    my $r = $h->request('POST', $uri, body => $data);

    die "not published\n" if !$r || $r->status() != 201;
}
