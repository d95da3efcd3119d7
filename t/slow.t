#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Clients that stop reading: each policy of ws_bus_buffer, plain and over TLS.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

use constant COUNT => 1000;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri out:$ws_bus_messages_out dropped:$ws_bus_dropped '
                   'code:$ws_bus_close_code by:$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 64m;
    ws_bus_zone dead 16m;
    ws_bus_message_max_size 8m;
    client_max_body_size 16m;
    client_body_buffer_size 4m;
    keepalive_requests 1000000;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8443%% ssl sndbuf=16k;

        location ~ ^/close/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k;
        }

        location ~ ^/oldest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_publish on;
            ws_bus_buffer 64k oldest;
        }

        location ~ ^/latest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k latest;
        }

        location ~ ^/deflate/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k oldest;
            ws_bus_deflate on;
        }

        location ~ ^/large/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 8m;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
        }

        # what becomes of one that never reads again is counted apart

        location ~ ^/dead/(?<chan>.*)$ {
            ws_bus $chan zone=dead;
            ws_bus_buffer 64k;
        }

        location ~ ^/pub-dead/(?<chan>.*)$ {
            ws_bus_publisher $chan zone=dead;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my $h = Test::WsBus::HTTP->new(port => port(8080));
my $body = '=' x 1000;


# It never reads again: looked at in the end.

my $dead = ws('/dead/dead', port => port(8081), rcvbuf => 4096);
my $dies = time();

$h->request('POST', '/pub-dead/dead', body => "$_.$body") for 1 .. COUNT;


for my $case (
    [ 'plain', port => port(8081), rcvbuf => 4096 ],
    [ 'TLS', port => port(8443), rcvbuf => 4096, ssl => 1 ],
) {
    my ($name, @slow) = @$case;

    policy_close($name, @slow);
    policy_oldest($name, @slow);
    policy_latest($name, @slow);

    small($name, @slow);
    larger($name, $_, @slow) for qw/ close oldest latest /;
    batches($name, $_, @slow) for qw/ oldest latest /;
}


# What is dropped is whole messages, compressed ones too.

my $slow = ws('/deflate/deflate', port => port(8081), rcvbuf => 4096,
    deflate => 1);
my @random = map { join('', map { chr(33 + rand 64) } 1 .. 1000) } 1 .. 10;

post('deflate', "$_.$random[$_ % 10]") for 1 .. COUNT;

my @got = drain($slow, COUNT);

is($got[-1], COUNT, 'compressed: the newest is there');
cmp_ok(scalar(@got), '<', COUNT, 'compressed: not all');
is(join(' ', grep { $slow->{received}[$_] ne "$got[$_]."
    . $random[$got[$_] % 10] } 0 .. $#got), '', 'compressed: whole messages');
$slow->finish();


# Control frames pass; of many pings the newest is answered.

$slow = ws('/oldest/pings', port => port(8081), rcvbuf => 4096);
flood('pings');

$slow->write(join('', map { Test::WsBus::Client::frame(9, "ping $_") }
    1 .. 1000), no_read => 1);

@got = drain($slow, COUNT);
post('pings', 'end');
$slow->ping('end');

while (my $m = $slow->read_event()) {
    last if $m->{type} eq 'pong' && $m->{data} eq 'end';
}

cmp_ok(scalar(@{$slow->{pongs}}), '<', 100, 'few pongs for a thousand pings');
is($slow->{pongs}[-2], 'ping 1000', 'the newest of them');
$slow->finish();


# A Close of a client that was slow is answered, behind what it is owed.

$slow = ws('/oldest/closing', port => port(8081), rcvbuf => 4096);
post('closing', "$_.$body") for 1 .. 100;

$slow->close(1000);
is_closed($slow, 1000, 'its Close is answered', timeout => scale(20));
cmp_ok(scalar(@{$slow->{skipped}}), '>', 10, 'after what it was owed');


# Many slow clients, again and again: the memory comes back.

SKIP: {
    skip 'memory of a sanitizer', 1 if $ENV{WS_BUS_TEST_PRELOAD};

    my ($pid) = $t->workers();
    my @rss;

    for my $round (1 .. 8) {
        my @slow = map {
            ws("/large/$_", port => port(8081), rcvbuf => 4096)
        } 1 .. 20;

        for my $n (1 .. 20) {
            post($n, $body x 1000);
            post($n, $body x 50) for 1 .. 20;
        }

        $_->disconnect() for @slow;

        $t->wait_until(sub { status()->{connections} <= 1 });

        push @rss, rss($pid);
    }

    # how much of it the allocator keeps is decided in the first rounds

    my ($most) = sort { $b <=> $a } @rss[0 .. 3];

    cmp_ok($rss[-1], '<', $most + 10_000_000, 'memory is given back')
        or diag("@rss");
    note("@rss");
}


# By now it has had its time.

ok($t->wait_until(sub {
    return $t->find_in_file('bus.log', qr{^/dead/dead .* code:1013 by:server}m)
}, 20), 'a client that never reads is given up');

cmp_ok(time() - $dies, '>', 9, 'it had some time to read its Close');

$dead->read_all();
ok($dead->{eof}, 'its connection has ended');

is(status($_)->{connections}, 0, "no connections are left: $_")
    for qw/ bus dead /;
is(status()->{log}{overruns}, 0, 'the worker was never lapped');

$t->done_testing();


sub post {
    my ($channel, $data) = @_;

    my $r = $h->request('POST', "/pub/$channel", body => $data);
    die "POST failed" unless $r && $r->status() == 201;
}


# Publishes the numbered messages; the client, if any, reads them.

sub flood {
    my ($channel, $c) = @_;

    for my $n (1 .. COUNT) {
        post($channel, "$n.$body");
        received($c) if $c && $n % 20 == 0;
    }
}


# Reads to the message with this number, or to the end; the numbers.

sub drain {
    my ($c, $last) = @_;

    $c->{received} //= [];

    while (!@{$c->{received}} || $c->{received}[-1] !~ /^$last\./) {
        push @{$c->{received}}, $c->recv() // last;
    }

    return map { /^(\d+)\./ } @{$c->{received}};
}


# How many at the front are consecutive.

sub consecutive {
    my $n = 1;

    $n++ while $n < @_ && $_[$n] == $_[$n - 1] + 1;

    return $n;
}


sub whole {
    my ($c) = @_;

    return !grep { !/^\d+\.\Q$body\E\z/ } @{$c->{received}};
}


# The line that a connection leaves in the access log.

sub logged {
    my ($uri) = @_;

    my %line;

    $t->wait_until(sub {
        my ($line) = $t->read_file('bus.log') =~ /^\Q$uri\E (.*)$/m or return;
        %line = map { split /:/ } split(' ', $line);
    });

    return \%line;
}


sub policy_close {
    my ($name, @slow) = @_;

    my $c = ws("/close/close-$name", @slow);
    my $fast = ws("/close/close-$name");
    my $closed = status()->{dropped}{closed};

    flood("close-$name", $fast);

    is(join(' ', drain($fast, COUNT)), join(' ', 1 .. COUNT),
        "$name: close: another client gets all");

    is_closed($c, 1013, "$name: close: closed", reason => qr/slow consumer/);

    my @got = map { $_->{data} =~ /^(\d+)\.=+\z/ } @{$c->{skipped}};

    is(join(' ', @got), join(' ', 1 .. @{$c->{skipped}}),
        "$name: close: whole messages, no hole");
    cmp_ok(scalar(@got), '<', 200, "$name: close: not many");

    my $log = logged("/close/close-$name");

    is("$log->{code} $log->{by}", '1013 server', "$name: close: logged");
    cmp_ok($log->{dropped}, '>', 0, "$name: close: dropped ones are logged");
    is($log->{out} - $log->{dropped}, scalar(@got),
        "$name: close: the others have arrived");
    is(status()->{dropped}{closed} - $closed, $log->{dropped},
        "$name: close: counted");

    $fast->finish();
}


# A message of few bytes takes more memory than that, and is counted so.

sub small {
    my ($name, @slow) = @_;

    my $c = ws("/oldest/small-$name", @slow);
    my $last = 4 * COUNT;

    flood("small-$name");
    post("small-$name", "$_.") for 1 .. $last;

    my @got = drain($c, $last);

    is($got[-1], $last, "$name: small: the newest is kept");
    is(join(' ', @got[-400 .. -1]), join(' ', $last - 399 .. $last),
        "$name: small: and those before it");
    cmp_ok(scalar(@got), '<', COUNT, "$name: small: not many more");

    $c->finish();
}


sub policy_oldest {
    my ($name, @slow) = @_;

    my $c = ws("/oldest/oldest-$name", @slow);
    my $fast = ws("/oldest/oldest-$name");
    my $dropped = status()->{dropped}{slow};

    flood("oldest-$name", $fast);

    is(join(' ', drain($fast, COUNT)), join(' ', 1 .. COUNT),
        "$name: oldest: another client gets all");

    my @got = drain($c, COUNT);
    my $n = consecutive(@got);

    is($got[0], 1, "$name: oldest: what was under way arrives");
    ok(whole($c), "$name: oldest: whole messages");

    # 64k of messages with 1006 to 1009 bytes, each counted with 128 more

    is(join(' ', @got[$n .. $#got]), join(' ', COUNT - @got + $n + 1 .. COUNT),
        "$name: oldest: the newest are kept");
    cmp_ok(@got - $n, '>', 52, "$name: oldest: as many as fit");
    cmp_ok(@got - $n, '<', 67, "$name: oldest: not more");

    is(status()->{dropped}{slow} - $dropped, COUNT - @got,
        "$name: oldest: dropped ones are counted");

    post("oldest-$name", "live");
    is_message($c, 'live', "$name: oldest: it goes on");
    is($c->finish(), 1000, "$name: oldest: closed in good order");

    my $log = logged("/oldest/oldest-$name");
    is($log->{dropped}, COUNT - @got, "$name: oldest: logged");

    $fast->finish();
}


sub policy_latest {
    my ($name, @slow) = @_;

    my $c = ws("/latest/latest-$name", @slow);
    my $fast = ws("/oldest/latest-$name");
    my $dropped = status()->{dropped}{conflated};

    flood("latest-$name", $fast);

    is(join(' ', drain($fast, COUNT)), join(' ', 1 .. COUNT),
        "$name: latest: another client gets all");

    my @got = drain($c, COUNT);

    ok(whole($c), "$name: latest: whole messages");
    is($got[-1], COUNT, "$name: latest: the newest arrives");
    is(join(' ', @got), join(' ', sort { $a <=> $b } @got),
        "$name: latest: in order");

    # the socket may take some more once in a while

    cmp_ok(@got - consecutive(@got), '<', 10,
        "$name: latest: hardly any but the newest");
    is(status()->{dropped}{conflated} - $dropped, COUNT - @got,
        "$name: latest: dropped ones are counted");

    post("latest-$name", "live");
    is_message($c, 'live', "$name: latest: it goes on");

    # even the newest alone is too much

    post("latest-$name", "$_.$body") for 1 .. 200;
    post("latest-$name", $body x 100);

    is_closed($c, 1013, "$name: latest: closed", reason => qr/slow consumer/);

    $fast->finish();
}


# Many small messages at a time: what is dropped then lies in the midst of what
# the client is owed.

sub batches {
    my ($name, $policy, @slow) = @_;

    my $channel = "batches-$policy-$name";
    my $writer = ws("/oldest/$channel");
    my $c = ws("/$policy/$channel", @slow);
    my $small = substr($body, 0, 100);
    my $dropped = dropped();

    for my $i (0 .. 199) {
        $writer->write(join('', map {
            $writer->format_message(1, 100 * $i + $_ . ".$small")
        } 1 .. 100));

        # and it reads a little in between

        $writer->recv_n(100);
        push @{$c->{received}}, $c->recv_n(20) if $i % 4 == 3;
    }

    my @got = drain($c, 20000);

    is(scalar(grep { !/^\d+\.$small\z/ } @{$c->{received}}), 0,
        "$name: $policy, in batches: whole messages");
    is(join(' ', @got), join(' ', sort { $a <=> $b } @got),
        "$name: $policy, in batches: in order");
    is($got[-1], 20000, "$name: $policy, in batches: the newest arrives");
    is(dropped() - $dropped, 20000 - @got,
        "$name: $policy, in batches: dropped ones are counted");
    cmp_ok(dropped() - $dropped, '>', 0, "$name: $policy, in batches: some");

    is($c->finish(), 1000, "$name: $policy, in batches: the stream is intact");
    $writer->finish();
}


sub dropped {
    my $dropped = status()->{dropped};

    return $dropped->{slow} + $dropped->{conflated};
}


# A message larger than the buffer, alone, arrives; so does what follows.

sub larger {
    my ($name, $policy, @slow) = @_;

    my $c = ws("/$policy/larger-$policy-$name", @slow);
    my $large = join('.', 1 .. 300_000);

    post("larger-$policy-$name", $large);
    post("larger-$policy-$name", 'next');

    is_message($c, $large, "$name: $policy: a message larger than the buffer",
        timeout => scale(20));
    is_message($c, 'next', "$name: $policy: and the next one");
    $c->finish();
}
