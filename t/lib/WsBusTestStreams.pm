package WsBusTestStreams;

# Copyright (C) the ngx_ws_bus_module authors

# For tests of event streams over HTTP/2 and HTTP/3, which are to show the same.

use warnings;
use strict;

use Exporter qw/ import /;
use Test::More;

use Test::WsBus;
use Test::WsBus::HTTP;

our @EXPORT = qw/ write_stream_confs status publish read_much read_gaps /;


# What a configuration includes: streams.conf in http, locations.conf in a
# server.

sub write_stream_confs {
    my ($t) = @_;

    $t->write_file_expand('streams.conf', <<'EOC');
log_format bus '$server_protocol $uri $status out:$ws_bus_messages_out '
               'code:$ws_bus_close_code by:$ws_bus_close_by';
access_log %%TESTDIR%%/bus.log bus;

ws_bus_zone bus 32m;
ws_bus_drain 1s;
ws_bus_history 10000;
EOC

    $t->write_file_expand('locations.conf', <<'EOC');
location ~ ^/ws/(?<chan>.*)$ {
    ws_bus $chan;
}

location ~ ^/lean/(?<chan>.*)$ {
    ws_bus $chan;
    ws_bus_lean on;
}

location ~ ^/ping/(?<chan>.*)$ {
    ws_bus $chan;
    ws_bus_ping 200ms;
}

location ~ ^/close/(?<chan>.*)$ {
    ws_bus $chan;
    ws_bus_buffer 64k;
}

location ~ ^/oldest/(?<chan>.*)$ {
    ws_bus $chan;
    ws_bus_buffer 64k oldest;
}

location ~ ^/dead/(?<chan>.*)$ {
    ws_bus $chan;
    send_timeout 1s;
}

location ~ ^/pub/(?<chan>.*)$ {
    ws_bus_publisher $chan;
}

location /off {
    ws_bus news;
    ws_bus_fallback off;
}

location /status {
    ws_bus_status;
}
EOC
}


sub status { return http_get('/status')->json()->{zones}{bus} }


# Messages 1 to n of this size to a channel.

sub publish {
    my ($channel, $n, $size) = @_;

    http_post("/pub/$channel", "$_ " . 'x' x $size) for 1 .. $n;
}


# What publish() wrote, on each of these streams.

sub read_much {
    my ($n, $size, @streams) = @_;

    my $wrong = 0;

    for my $stream (@streams) {
        for my $i (1 .. $n) {
            my $e = $stream->event() or last;
            $wrong++ if $e->{data} ne "$i " . 'x' x $size;
        }

        is($stream->seq(), $n, 'all of it');
    }

    is($wrong, 0, 'as it was published');
}


# A reader that was too slow is told of what it lost, up to the n-th message.

sub read_gaps {
    my ($n, $stream) = @_;

    my $last = 0;
    my ($gaps, $holes) = (0, 0);

    $stream->until_event(sub {
        my ($from, $to) = $_[0]{data} =~ /^\{"from":(\d+),"to":(\d+)\}$/;

        $gaps++ if $from;
        $from //= $to = $stream->seq();

        $holes++ if $from != $last + 1;
        $last = $to;

        return $last == $n;
    });

    is($last, $n, 'oldest: the newest arrives');
    cmp_ok($gaps, '>', 0, 'oldest: there is a gap');
    is($holes, 0, 'oldest: every one is there or told');
}


1;
