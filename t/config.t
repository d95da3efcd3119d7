#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# Configurations: what nginx -t refuses, and why; what is inherited.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->log_level('info');


# [ where, lines, what nginx says ]; nothing: the configuration is good.

my @cases = (

    # the zone

    [ 'http', 'ws_bus_zone a 1m;' ],
    [ 'http', 'ws_bus_zone a 128k;' ],
    [ 'http', 'ws_bus_zone a 1m; ws_bus_zone b 2m;' ],
    [ 'http', 'ws_bus_zone a 1g;' ],
    [ 'http', 'ws_bus_zone a 99999999999g;',
        'invalid zone size "99999999999g"' ],
    [ 'http', 'ws_bus_zone a 1m; limit_req_zone $uri zone=a:1m rate=1r/s;' ],
    [ 'http', 'ws_bus_zone;', 'invalid number of arguments in "ws_bus_zone"' ],
    [ 'http', 'ws_bus_zone a;',
        'invalid number of arguments in "ws_bus_zone"' ],
    [ 'http', 'ws_bus_zone a x;', 'invalid zone size "x"' ],
    [ 'http', 'ws_bus_zone a 1q;', 'invalid zone size "1q"' ],
    [ 'http', 'ws_bus_zone a -1m;', 'invalid zone size "-1m"' ],
    [ 'http', 'ws_bus_zone a "";', 'invalid zone size ""' ],
    [ 'http', 'ws_bus_zone a 0;', 'zone "a" is too small' ],
    [ 'http', 'ws_bus_zone a 127k;', 'zone "a" is too small' ],
    [ 'http', 'ws_bus_zone a 1m; ws_bus_zone a 1m;', 'duplicate zone "a"' ],
    [ 'http', 'ws_bus_zone a 1m; ws_bus_zone a 2m;', 'duplicate zone "a"' ],
    [ 'http', 'ws_bus_redis r { server 127.0.0.1; } ws_bus_zone a@r 1m;
               ws_bus_zone a 1m redis=r;', 'duplicate zone "ws_bus:a@r"' ],
    [ 'http', 'ws_bus_redis r { server 127.0.0.1; }
               ws_bus_zone a 1m redis=r; ws_bus_zone a@r 1m;',
      'duplicate zone "ws_bus:a@r"' ],
    [ 'http', 'ws_bus_zone "" 1m;', 'invalid zone name ""' ],
    [ 'server', 'ws_bus_zone a 1m;',
        '"ws_bus_zone" directive is not allowed here' ],
    [ 'location', 'ws_bus_zone a 1m;',
        '"ws_bus_zone" directive is not allowed here' ],

    # the handlers of a location

    [ 'location', 'ws_bus a;' ],
    [ 'location', 'ws_bus $uri;' ],
    [ 'location', 'ws_bus "$arg_a-$arg_b";' ],
    [ 'location', 'ws_bus a zone=bus;' ],
    [ 'location', 'ws_bus a zone=other;' ],
        [ 'location', 'ws_bus $nothing;', 'unknown "nothing" variable' ],
    [ 'location', 'ws_bus a zone=none;', 'unknown zone "none"' ],
    [ 'location', 'ws_bus a zone=;', 'invalid parameter "zone="' ],
    [ 'location', 'ws_bus a zone;', 'invalid parameter "zone"' ],
    [ 'location', 'ws_bus a b;', 'invalid parameter "b"' ],
    [ 'location', 'ws_bus "a b";', 'invalid channel name "a b"' ],
    [ 'location', 'ws_bus "";', 'invalid channel name ""' ],
    [ 'location', 'ws_bus news.*;', 'invalid channel name "news.*"' ],
    [ 'location', 'ws_bus "$arg_a b";' ],
    [ 'location', 'ws_bus_publisher "";', 'invalid channel name ""' ],
    [ 'location', 'ws_bus a zone=bus c;',
        'invalid number of arguments in "ws_bus"' ],
    [ 'location', 'ws_bus a; ws_bus b;', '"ws_bus" directive is duplicate' ],
    [ 'location', 'ws_bus a; ws_bus_publisher a;',
        '"ws_bus_publisher" directive .*beside another handler' ],
    [ 'location', 'ws_bus_publisher a; ws_bus a;',
        '"ws_bus" directive .*beside another handler' ],
    [ 'location', 'ws_bus a; ws_bus_status;',
        '"ws_bus_status" directive .*beside another handler' ],
    [ 'location', 'ws_bus_status; ws_bus a;',
        '"ws_bus" directive .*beside another handler' ],
    [ 'server', 'ws_bus a;', '"ws_bus" directive is not allowed here' ],
    [ 'http', 'ws_bus a;', '"ws_bus" directive is not allowed here' ],

    [ 'location', 'ws_bus_publisher a;' ],
    [ 'location', 'ws_bus_publisher $uri zone=other;' ],
    [ 'location', 'ws_bus_publisher;',
        'invalid number of arguments in "ws_bus_publisher"' ],
    [ 'location', 'ws_bus_publisher a zone=none;', 'unknown zone "none"' ],
    [ 'location', 'ws_bus_publisher a b;', 'invalid parameter "b"' ],
    [ 'location', 'ws_bus_publisher a; ws_bus_publisher b;',
        '"ws_bus_publisher" directive is duplicate' ],
    [ 'server', 'ws_bus_publisher a;',
        '"ws_bus_publisher" directive is not allowed here' ],

    [ 'location', 'ws_bus_status;' ],
    [ 'location', 'ws_bus_status json;' ],
    [ 'location', 'ws_bus_status prometheus;' ],
    [ 'location', 'ws_bus_status xml;', 'invalid parameter "xml"' ],
    [ 'location', 'ws_bus_status json x;',
        'invalid number of arguments in "ws_bus_status"' ],
    [ 'location', 'ws_bus_status; ws_bus_status;',
        '"ws_bus_status" directive is duplicate' ],
    [ 'server', 'ws_bus_status;',
        '"ws_bus_status" directive is not allowed here' ],

    # settings

    [ 'all', 'ws_bus_publish on;' ],
    [ 'all', 'ws_bus_publish off;' ],
    [ 'all', 'ws_bus_publish $arg_p;' ],
    [ 'all', 'ws_bus_publish;',
        'invalid number of arguments in "ws_bus_publish"' ],
    [ 'all', 'ws_bus_publish maybe;', '"maybe"' ],
    [ 'all', 'ws_bus_publish on; ws_bus_publish off;',
        '"ws_bus_publish" directive is duplicate' ],

    [ 'all', 'ws_bus_history 10;' ],
    [ 'all', 'ws_bus_history 10 1h;' ],
    [ 'all', 'ws_bus_history off;' ],
    [ 'all', 'ws_bus_history;',
        'invalid number of arguments in "ws_bus_history"' ],
    [ 'all', 'ws_bus_history on;', 'invalid number of messages "on"' ],
    [ 'all', 'ws_bus_history 0;', 'invalid number of messages "0"' ],
    [ 'all', 'ws_bus_history -1;', 'invalid number of messages "-1"' ],
    [ 'all', 'ws_bus_history 1h;', 'invalid number of messages "1h"' ],
    [ 'all', 'ws_bus_history 10 x;', 'invalid age "x"' ],
    [ 'all', 'ws_bus_history 10 0;', 'invalid age "0"' ],
    [ 'all', 'ws_bus_history off 1h;', 'invalid number of messages "off"' ],
    [ 'all', 'ws_bus_history 10 1h 2;',
        'invalid number of arguments in "ws_bus_history"' ],
    [ 'all', 'ws_bus_history 1; ws_bus_history 2;',
        '"ws_bus_history" directive is duplicate' ],

    [ 'all', 'ws_bus_message_max_size 1m;' ],
    [ 'all', 'ws_bus_message_max_size 0;',
        '"ws_bus_message_max_size" directive must not be 0' ],
    [ 'all', 'ws_bus_message_max_size x;',
        '"ws_bus_message_max_size" directive invalid value' ],
    [ 'all', 'ws_bus_message_max_size 1k; ws_bus_message_max_size 1k;',
        '"ws_bus_message_max_size" directive is duplicate' ],

    [ 'all', 'ws_bus_ping 10s;' ],
    [ 'all', 'ws_bus_ping 10s 500ms;' ],
    [ 'all', 'ws_bus_ping off;' ],
    [ 'all', 'ws_bus_ping;',
        'invalid number of arguments in "ws_bus_ping"' ],
    [ 'all', 'ws_bus_ping x;', 'invalid interval "x"' ],
    [ 'all', 'ws_bus_ping 0;', 'invalid interval "0"' ],
    [ 'all', 'ws_bus_ping off 5s;', 'invalid interval "off"' ],
    [ 'all', 'ws_bus_ping 10s x;', 'invalid timeout "x"' ],
    [ 'all', 'ws_bus_ping 10s 0;', 'invalid timeout "0"' ],
    [ 'all', 'ws_bus_ping 10s 5s 1s;',
        'invalid number of arguments in "ws_bus_ping"' ],
    [ 'all', 'ws_bus_ping off; ws_bus_ping off;',
        '"ws_bus_ping" directive is duplicate' ],

    [ 'all', 'ws_bus_buffer 1m;' ],
    (map { [ 'all', "ws_bus_buffer 1m $_;" ] } qw/ close oldest latest /),
    [ 'all', 'ws_bus_buffer;',
        'invalid number of arguments in "ws_bus_buffer"' ],
    [ 'all', 'ws_bus_buffer x;', 'invalid size "x"' ],
    [ 'all', 'ws_bus_buffer 0;', 'invalid size "0"' ],
    [ 'all', 'ws_bus_buffer oldest;', 'invalid size "oldest"' ],
    [ 'all', 'ws_bus_buffer 1m newest;', 'invalid parameter "newest"' ],
    [ 'all', 'ws_bus_buffer 1m; ws_bus_buffer 1m;',
        '"ws_bus_buffer" directive is duplicate' ],

    [ 'all', 'ws_bus_deflate on;' ],
    [ 'all', 'ws_bus_deflate off;' ],
    [ 'all', 'ws_bus_deflate on level=9 min_length=1k;' ],
    [ 'all', 'ws_bus_deflate on min_length=0 level=1;' ],
    [ 'all', 'ws_bus_deflate;',
        'invalid number of arguments in "ws_bus_deflate"' ],
    [ 'all', 'ws_bus_deflate yes;', 'invalid parameter "yes"' ],
    [ 'all', 'ws_bus_deflate on level=0;', 'invalid parameter "level=0"' ],
    [ 'all', 'ws_bus_deflate on level=10;', 'invalid parameter "level=10"' ],
    [ 'all', 'ws_bus_deflate on level=;', 'invalid parameter "level="' ],
    [ 'all', 'ws_bus_deflate on min_length=x;',
        'invalid parameter "min_length=x"' ],
    [ 'all', 'ws_bus_deflate on fast;', 'invalid parameter "fast"' ],
    [ 'all', 'ws_bus_deflate on; ws_bus_deflate on;',
        '"ws_bus_deflate" directive is duplicate' ],

    [ 'all', 'ws_bus_drain 5s;' ],
    [ 'all', 'ws_bus_drain 0;' ],
    [ 'all', 'ws_bus_drain;',
        'invalid number of arguments in "ws_bus_drain"' ],
    [ 'all', 'ws_bus_drain x;', '"ws_bus_drain" directive invalid value' ],
    [ 'all', 'ws_bus_drain off;', '"ws_bus_drain" directive invalid value' ],
    [ 'all', 'ws_bus_drain 5s; ws_bus_drain 5s;',
        '"ws_bus_drain" directive is duplicate' ],

    [ 'all', 'ws_bus_lean on;' ],
    [ 'all', 'ws_bus_lean off;' ],
    [ 'all', 'ws_bus_lean maybe;', 'invalid value "maybe"' ],
    [ 'all', 'ws_bus_lean on; ws_bus_lean on;',
        '"ws_bus_lean" directive is duplicate' ],

    # zones and messages

    [ 'bare', 'ws_bus_zone a 128k; server { location / { ws_bus a; } }' ],
    [ 'bare', 'ws_bus_zone a 128k; server { location / { ws_bus a;
        ws_bus_message_max_size 128k; } }',
        'zone "a" is too small for "ws_bus_message_max_size" 131072' ],
    [ 'bare', 'ws_bus_message_max_size 128k; server { location / {
        ws_bus_publisher a; } } ws_bus_zone a 128k;',
        'zone "a" is too small for "ws_bus_message_max_size" 131072' ],
    [ 'bare', 'ws_bus_message_max_size 128k; ws_bus_zone a 1m;
        ws_bus_zone b 128k; server { location / { ws_bus a; } }' ],
    [ 'bare', 'ws_bus_message_max_size 128k; ws_bus_zone a 1m;
        ws_bus_zone b 128k; server { location / { ws_bus a zone=b; } }',
        'zone "b" is too small for "ws_bus_message_max_size" 131072' ],
    [ 'bare', 'ws_bus_zone a 1m; server { location / { ws_bus a;
        ws_bus_message_max_size 1m; } }',
        'zone "a" is too small for "ws_bus_message_max_size" 1048576' ],
    [ 'bare', 'server { location / { ws_bus a;
        ws_bus_message_max_size 32m; } }',
        'zone "default" is too small for "ws_bus_message_max_size" 33554432' ],
    [ 'bare', 'server { location / { ws_bus a zone=default; } }' ],
    [ 'bare', 'ws_bus_zone a 1m; server { location / {
        ws_bus a zone=default; } }', 'unknown zone "default"' ],
    [ 'bare', 'server { location / { ws_bus_status; } }' ],
    [ 'bare', 'ws_bus_history 5; server { location / { } }' ],
);

for my $case (@cases) {
    my ($where, $lines, $says) = @$case;

    for my $context ($where eq 'all' ? qw/ http server location / : $where) {
        write_conf($context, $lines);

        my ($good, $output) = $t->test_config();
        my $name = "$context: $lines" =~ s/\s+/ /gr;

        if (defined $says) {
            # nginx finds unknown variables after it has read everything
            my $place = $says =~ /variable$/ ? '' : qr/ in .*nginx\.conf:\d+/;
            my $pattern = join('.*', map { quotemeta } split /\.\*/, $says);

            like($output, qr/\[emerg\] .*$pattern.*$place/, "refused, $name");

        } else {
            ok($good, "good, $name") or diag($output);
        }
    }
}


# What seems to be wanted and is not: warnings.

$t->write_file('keys', '{"kty":"OKP","crv":"Ed25519",'
    . '"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');

my $redis = 'ws_bus_redis fleet { server 127.0.0.1; }';
my $unused = 'redis "fleet" is not used: no "ws_bus_zone" has "redis=fleet"';
my $open = 'nobody is asked for a token: there are keys, but no "ws_bus_jwt"';
my $place = 'location /a { ws_bus a;';

for my $case (
    [ "$redis ws_bus_zone a 1m;", $unused ],
    [ "$redis ws_bus_zone a 1m; ws_bus_zone b 1m redis=fleet;" ],
    [ "ws_bus_jwt_key_file keys; server { $place } }", $open ],
    [ "server { ws_bus_jwt_key_file keys; $place } }", $open ],
    [ "server { $place ws_bus_jwt_key_file keys; } }", $open ],
    [ "server { $place ws_bus_jwt_key_request /keys; } }", $open ],
    [ "ws_bus_jwt_key_file keys; server { location / { } }" ],
    [ "ws_bus_jwt_key_file keys; server { $place ws_bus_jwt off; } }" ],
    [ "ws_bus_jwt_key_file keys; server { $place }
       location /b { ws_bus b; ws_bus_jwt b; } }" ],
) {
    my ($lines, $says) = @$case;

    write_conf('bare', $lines);

    my ($good, $output) = $t->test_config();

    ok($good, "good, $lines") or diag($output);
    is(join("\n", $output =~ /\[warn\] \S+ (.*?) in .*:\d+$/mg), $says // '',
       'and what is said');
}


# The implicit zone, and what is inherited from where.

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_publish on;
    ws_bus_message_max_size 10;
    ws_bus_history 5;
    ws_bus_deflate on min_length=0;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /http {
            ws_bus a;
        }

        location /location {
            ws_bus a;
            ws_bus_publish off;
            ws_bus_message_max_size 20;
            ws_bus_history 2;
            ws_bus_deflate off;

            location /location/nested {
                ws_bus a;
                ws_bus_publish on;
            }

            location /location/empty {
            }
        }

        location /pub {
            ws_bus_publisher a;
        }

        location /status {
            ws_bus_status;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_8081%%;

        ws_bus_message_max_size 15;
        ws_bus_history off;

        location /server {
            ws_bus a;
        }

        location /pub {
            ws_bus_publisher a;
        }
    }
}

EOF

$t->run();

my $zones = http_get('/status')->json()->{zones};

is(join(' ', keys %$zones), 'default', 'the implicit zone');
is($zones->{default}{size}, 32 * 1024 * 1024, 'its size');

http_post('/pub', $_) for 1 .. 10;

my @offer = (deflate => 1);

inherits('/http', 8080, 10, 5, 1);
inherits('/location/nested', 8080, 20, 2, 0);
inherits('/server', 8081, 15, 0, 1);

my $c = ws('/location?last=10', @offer);
is(join(' ', $c->recv_n(2)), '9 10', '/location: history');
$c->text('x');
is_closed($c, 4003, '/location: publishing is off');

is(ws_response('/location/empty')->status(), 404, 'a handler is not inherited');

is(http_post('/pub', 'x' x 11)->status(), 413, 'size at the publisher');
is(http_post('/pub', 'x' x 15, port => port(8081))->status(), 201,
    'of the other server');
is(http_post('/pub', 'x' x 16, port => port(8081))->status(), 413,
    'and its limit');
is(http_post('/pub', 'x')->json()->{seq}, 11, 'history at the publisher');
is(http_post('/pub', 'x', port => port(8081))->json()->{seq}, undef,
    'off at the other');

$t->done_testing();


sub write_conf {
    my ($context, $lines) = @_;

    my %at = map { $_ => '' } qw/ http server location bare /;
    $at{$context} = $lines;

    my $rest = $at{bare} || <<"EOF";
    ws_bus_zone bus 4m;
    ws_bus_zone other 4m;

    $at{http}

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        $at{server}

        location / {
            $at{location}
        }
    }
EOF

    $t->write_file_expand('nginx.conf', <<"EOF");
%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%
    $rest
}
EOF
}


sub inherits {
    my ($path, $port, $size, $history, $deflate) = @_;

    my $c = ws("$path?last=10", port => port($port), @offer);

    is(scalar($c->recv_n($history)), $history, "$path: history")
        if $history;
    is($c->deflate_params() ? 1 : 0, $deflate, "$path: deflate");

    $c->text('x' x $size);
    is_message($c, 'x' x $size, "$path: nothing else, and publishing");
    $c->text('x' x ($size + 1));
    is_closed($c, 1009, "$path: size");

    # what it published is not to be in the way of the others

    request('DELETE', '/pub');
    http_post('/pub', $_) for 1 .. 10;
}
