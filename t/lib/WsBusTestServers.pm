package WsBusTestServers;

# Copyright (C) the ngx_ws_bus_module authors

# An nginx with t/mod/servers.c, which gives HTTP to the servers of redis/.

use warnings;
use strict;

use Exporter qw/ import /;
use File::Basename qw/ dirname /;
use FindBin;
use JSON::PP ();

use Test::WsBus;

our @EXPORT = qw/ servers_test servers_conf command apart subscribe state
    events wait_for wait_event /;


sub servers_test {
    my $module = $ENV{WS_BUS_TEST_MODULE}
        // "$FindBin::Bin/../build/ngx_ws_bus_module.so";

    $ENV{WS_BUS_TEST_MODULE} = dirname($module) . '/test/servers.so';

    return Test::WsBus->new()->has('bin/redis-server');
}


# A configuration with these lines at the level http.

sub servers_conf {
    my ($t, $http, %opt) = @_;

    my $connections = $opt{connections} // 512;

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

events {
    worker_connections $connections;
}

http {
    %%TEST_GLOBALS_HTTP%%

    client_max_body_size 0;
    client_body_buffer_size 64m;

    $http

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location / {
            servers_handler;
        }
    }
}

EOF

    return $t;
}


# Commands of one turn, each a list reference that begins with the key whose
# slot counts; the replies, printed: +status -error :integer $string _ [a b ],
# or full, down, lost, unsent.

sub command { return _post('', @_) }
sub apart { return _post('&apart=1', @_) }
sub subscribe { return _post('&subscribe=1', @_) }


sub _post {
    my ($args, $name, @commands) = @_;

    my $body = join('', map { join("\t", @$_) . "\n" } @commands);
    my $r = http_post("/?name=$name$args", $body) // return 'no response';

    my @replies = split(/\n/, $r->body());

    return wantarray ? @replies : $replies[0];
}


sub state {
    my ($name) = @_;

    my $r = http_get("/?name=$name") // return {};

    return JSON::PP::decode_json($r->body());
}


# What has happened since, a list of lines.

sub events {
    my ($name) = @_;

    return grep { length } split(/\n/,
        http_get("/?name=$name&events=1")->body());
}


# Until the state passes the test; the state, or undef.

sub wait_for {
    my ($t, $name, $test, $seconds) = @_;

    return $t->wait_until(sub {
        my $state = WsBusTestServers::state($name);
        return $test->($state) ? $state : undef;
    }, $seconds // 15);
}


# Until there is an event like each of these; all events since the last call.

sub wait_event {
    my ($t, $name, @res) = @_;

    my @events;

    $t->wait_until(sub {
        push @events, events($name);

        for my $re (@res) {
            return 0 if !grep { $_ =~ $re } @events;
        }

        return 1;
    }, 120);

    return @events;
}


1;
