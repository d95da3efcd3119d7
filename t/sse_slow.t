# Copyright (C) the ngx_ws_bus_module authors

# Event streams whose client does not read: each policy of ws_bus_buffer, and
# who never reads again.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;

use constant COUNT => 1000;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri out:$ws_bus_messages_out dropped:$ws_bus_dropped '
                   'code:$ws_bus_close_code by:$ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 64m;
    ws_bus_message_max_size 1m;
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
            ws_bus_buffer 64k oldest;
        }

        location ~ ^/latest/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_buffer 64k latest;
        }

        location ~ ^/dead/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_ping 200ms;
            ws_bus_buffer 64k latest;
            send_timeout 1s;
        }

        location ~ ^/replay/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 10000;
            ws_bus_buffer 64k;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 10000;
        }

        location ~ ^/pub0/(?<chan>.*)$ {
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
my $body = '=' x 1000;

for my $case (
    [ 'plain', port => port(8081), rcvbuf => 4096 ],
    [ 'TLS', port => port(8443), rcvbuf => 4096, ssl => 1 ],
) {
    my ($name, @slow) = @$case;

    policy_close($name, @slow);
    policy_oldest($name, @slow);
    policy_latest($name, @slow);
    not_kept($name, @slow);
    large($name, @slow);
    replay($name, @slow);
    dead($name, @slow);
}

is(status()->{connections}, 0, 'nobody is left');
is(status()->{subscriptions}, 0, 'and no subscription');

my $dropped = status()->{dropped};

cmp_ok($dropped->{slow}, '>', 0, 'counted as slow');
cmp_ok($dropped->{conflated}, '>', 0, 'counted as conflated');
cmp_ok($dropped->{closed}, '>', 0, 'counted as closed');

$t->done_testing();


sub policy_close {
    my ($name, @slow) = @_;

    my $e = stream("/close/c$name", @slow);

    flood("c$name");

    my @seqs = sequence($e);

    ok($e->finished(), "$name, close: the response ends in good order");
    cmp_ok(scalar(@seqs), '<', COUNT, "$name, close: early");
    is(hole(0, @seqs), '', "$name, close: without a hole");

    like(logged("/close/c$name"), qr/ code:1013 by:server$/,
         "$name, close: logged");
}


sub policy_oldest {
    my ($name, @slow) = @_;

    my $e = stream("/oldest/o$name", @slow);

    flood("o$name");

    my @seqs = sequence($e, COUNT);

    is($seqs[-1], COUNT, "$name, oldest: the newest arrives");
    ok(scalar(grep { /\.\./ } @seqs), "$name, oldest: there is a gap");
    is(hole(0, @seqs), '', "$name, oldest: every one is there or told");

    my $had = grep { !/\.\./ } @seqs;

    cmp_ok($had, '>', 40, "$name, oldest: what fits has stayed");
    $e->disconnect();

    like(logged("/oldest/o$name"), qr/dropped:(??{ COUNT - $had }) /,
         "$name, oldest: counted");
}


sub policy_latest {
    my ($name, @slow) = @_;

    my $e = stream("/latest/l$name", @slow);

    flood("l$name");

    my @seqs = sequence($e, COUNT);

    is($seqs[-1], COUNT, "$name, latest: the newest arrives");
    is($seqs[-2] =~ /\.\.(\d+)$/ ? $1 : $seqs[-2], COUNT - 1,
       "$name, latest: after a gap");
    is(hole(0, @seqs), '', "$name, latest: every one is there or told");

    my $had = grep { !/\.\./ } @seqs;
    $e->disconnect();

    like(logged("/latest/l$name"), qr/dropped:(??{ COUNT - $had }) /,
         "$name, latest: counted");
}


# Without numbers there is nothing to be told, but what comes is whole.

sub not_kept {
    my ($name, @slow) = @_;

    my $e = stream("/oldest/n$name", @slow);

    for my $n (1 .. COUNT) {
        $h->request('POST', "/pub0/n$name", body => "$n $body");
    }

    my $last = 0;
    my $bad = 0;

    $e->until_event(sub {
        my ($n) = $_[0]{data} =~ /^(\d+) ={1000}\z/;

        $bad++ if !$n || $n <= $last || $_[0]{type} ne 'message';
        $last = $n;

        return $n == COUNT;
    });

    is($last, COUNT, "$name, not kept: the newest arrives");
    is($bad, 0, "$name, not kept: each one is whole and in order");
    $e->disconnect();
}


# A single one may be larger than the buffer.

sub large {
    my ($name, @slow) = @_;

    for my $policy (qw/ close oldest latest /) {
        my $e = stream("/$policy/b$name$policy", @slow);
        my $large = join("\n", 1 .. 100_000);

        http_post("/pub/b$name$policy", $large);

        my $event = $e->event();

        ok($event && $event->{data} eq $large,
           "$name, $policy: one larger than the buffer");
        $e->disconnect();
    }
}


# A replay waits for the client, whatever the buffer.

sub replay {
    my ($name, @slow) = @_;

    flood("r$name");

    my $e = stream("/replay/r$name?last=10000", @slow);

    http_post("/pub/r$name", 'more');

    is(hole(0, sequence($e, COUNT + 1)), '', "$name, replay: all of it");
    $e->disconnect();
}


# Silence beyond send_timeout, whatever else is published.

sub dead {
    my ($name, @slow) = @_;

    my $e = stream("/dead/d$name", @slow);

    flood("d$name", 200);

    my $line;

    $t->wait_until(sub {
        flood("d$name", 1);
        ($line) = $t->read_file('bus.log') =~ /^(\/dead\/d$name .*)$/m;
    }, 10);

    like($line // '', qr/ code:1006 by:client$/, "$name, dead: cut off");
    $e->disconnect();
}


sub stream {
    my ($uri, @opt) = @_;

    my $e = Test::WsBus::Events->new(@opt);

    die "no stream\n" unless $e->open($uri)->status() == 200;

    return $e;
}


sub flood {
    my ($channel, $n) = @_;

    for (1 .. $n // COUNT) {
        my $r = $h->request('POST', "/pub/$channel", body => "$_ $body");

        die "not published\n" if !$r || $r->status() != 201;
    }
}


# The numbers of the events, a gap as "from..to"; until a number comes, or to
# the end.

sub sequence {
    my ($e, $last) = @_;

    my @seqs;

    while (my $event = $e->event()) {

        if ($event->{type} eq 'gap') {
            my ($from, $to) = $event->{data} =~ /^{"from":(\d+),"to":(\d+)}$/
                or die "bad gap $event->{data}\n";

            die "bad id $event->{id}\n" if $e->seq() != $to;
            push @seqs, "$from..$to";
            next;
        }

        push @seqs, $e->seq();

        die "bad event $event->{data}\n"
            if $event->{data} ne "$seqs[-1] $body"
                && $event->{data} ne 'more';

        last if $last && $seqs[-1] == $last;
    }

    return @seqs;
}


sub hole {
    my ($last, @seqs) = @_;

    for my $seq (@seqs) {
        my ($from, $to) = $seq =~ /^(\d+)\.\.(\d+)$/ ? ($1, $2)
                                                     : ($seq, $seq);

        return "after $last comes $seq" if $from != $last + 1 || $to < $from;
        $last = $to;
    }

    return '';
}


sub logged {
    my ($uri) = @_;

    my $line;

    $t->wait_until(sub {
        ($line) = $t->read_file('bus.log') =~ /^(\Q$uri\E .*)$/m;
    }, 2);

    return $line // '';
}


sub status { return http_get('/status')->json()->{zones}{bus} }
