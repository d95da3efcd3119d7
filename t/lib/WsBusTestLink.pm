package WsBusTestLink;

# Copyright (C) the ngx_ws_bus_module authors

# An nginx with t/mod/link.c, which gives HTTP to the links of redis/.

use warnings;
use strict;

use Exporter qw/ import /;
use File::Basename qw/ dirname /;
use FindBin;
use JSON::PP ();

use Test::WsBus;

our @EXPORT = qw/ link_test link_conf command fill state pushed wait_state
    wait_for /;


# A test whose nginx has that module in place of the usual one.

sub link_test {
    my $module = $ENV{WS_BUS_TEST_MODULE}
        // "$FindBin::Bin/../build/ngx_ws_bus_module.so";

    $ENV{WS_BUS_TEST_MODULE} = dirname($module) . '/test/link.so';

    return Test::WsBus->new()->has('bin/redis-server');
}


# A configuration with these lines at the level http.

sub link_conf {
    my ($t, $http, %opt) = @_;

    my $workers = $opt{workers} // 1;
    my $events = $opt{events} // '';

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes $workers;

events {
    $events
}

http {
    %%TEST_GLOBALS_HTTP%%

    client_max_body_size 0;
    client_body_buffer_size 64m;

    $http

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location / {
            link_handler;
        }
    }
}

EOF

    return $t;
}


# Commands of one turn, each a list reference; the replies, printed: +status
# -error :integer $string _ [a b ], or full, down, lost, unsent.

sub command {
    my ($link, @commands) = @_;

    my $body = join('', map { join("\t", @$_) . "\n" } @commands);
    my $r = http_post("/?link=$link", $body) // return 'no response';

    my @replies = split(/\n/, $r->body());

    return wantarray ? @replies : $replies[0];
}


# How many ECHO of that size were taken, and the beginnings of the outcomes.

sub fill {
    my ($link, $size) = @_;

    my $r = http_post("/?link=$link&fill=$size", '') // return ();

    return split(/\n/, $r->body());
}


sub state {
    my ($link) = @_;

    my $r = http_get("/?link=$link") // return {};

    return JSON::PP::decode_json($r->body());
}


sub pushed {
    my ($link) = @_;

    return grep { length } split(/\n/,
        http_get("/?link=$link&pushes=1")->body());
}


# Until the link is in that state; whether it is.

sub wait_state {
    my ($t, $link, $state, $seconds) = @_;

    return wait_for($t, $link, sub { $_[0]{state} eq $state }, $seconds);
}


# Until the state passes the test; the state, or undef.

sub wait_for {
    my ($t, $link, $test, $seconds) = @_;

    return $t->wait_until(sub {
        my $state = WsBusTestLink::state($link);
        return $test->($state) ? $state : undef;
    }, $seconds // 10);
}


1;
