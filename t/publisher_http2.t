# Copyright (C) the ngx_ws_bus_module authors

# The HTTP publisher over HTTP/2.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new()->has(qw!http_v2 bin/curl!);

plan(skip_all => 'curl without HTTP/2')
    unless `curl -V` =~ /^Features:.*\bHTTP2\b/m;

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% http2;

        location /ws {
            ws_bus news;
        }

        location /pub {
            ws_bus_publisher news;
            ws_bus_history 100;
            ws_bus_message_max_size 500k;
            client_body_buffer_size 4k;
        }

        location /small {
            ws_bus_publisher news;
            ws_bus_message_max_size 100;
        }

        location /status {
            ws_bus_status;
        }
    }
}

EOF

$t->run();

my $c = ws('/ws');
my ($status, $type, $body) = curl('/pub', '-d', 'hello');

is($status, '2 201', 'POST');
is($type, 'application/json', 'POST, content type');
like($body, qr/^{"channel":"news","subscribers":1,"seq":1,"epoch":"\w{16}"}$/,
     'POST, answer');
is_message($c, 'hello', 'POST, delivered', type => 'text');

my $long = join '', map { sprintf("%09d,", $_) } 1 .. 30000;

for my $size (0, 1, 100, 4000, 4096, 5000, 16383, 16384, 70000, 300000) {
    my $part = substr($long, 0, $size);

    $t->write_file('body', $part);

    ($status) = curl('/pub', '--data-binary', "\@$t->{dir}/body");
    is($status, '2 201', "POST, $size bytes");
    is_message($c, $part, "POST, $size bytes, delivered");

    # no content length

    ($status) = curl('/pub', '-T', '-', '<', "$t->{dir}/body");
    is($status, '2 201', "PUT of a stream, $size bytes");
    is_message($c, $part, "PUT of a stream, $size bytes, delivered");
}

($status) = curl('/pub', '-d', 'bytes', '-H',
                 'Content-Type: application/octet-stream');
is($status, '2 201', 'binary');
is_message($c, 'bytes', 'binary, delivered', type => 'binary');

($status, $type, $body) = curl('/pub');
is($status, '2 200', 'GET');
like($body, qr/"subscribers":1,.*"messages":22,"oldest":1,"newest":22}$/,
     'GET, state');

($status) = curl('/pub', '-I');
is($status, '2 200', 'HEAD');

my @once = ('-d', 'x', '-H', 'Idempotency-Key: key');

my (undef, undef, $first) = curl('/pub', @once);
my (undef, undef, $second) = curl('/pub', @once);

is($second, $first, 'repeated');
like(`curl -sS -i --http2-prior-knowledge -d x -H 'Idempotency-Key: key' \\
      http://127.0.0.1:@{[ port(8081) ]}/pub`,
     qr/^idempotency-replayed: true\r$/m, 'repeated, told');
is_message($c, 'x', 'repeated, delivered');

$t->write_file('body', 'x' x 101);
($status, $type, $body) = curl('/small', '-T', '-', '<', "$t->{dir}/body");
is($status, '2 413', 'too big');
is($body, 'message too big', 'too big, text');

($status) = curl('/pub', '-d', 'x', '-H', 'Content-Encoding: gzip');
is($status, '2 415', 'compressed');

($status) = curl('/pub', '-d', "\xff");
is($status, '2 400', 'not UTF-8');

($status) = curl('/pub', '-X', 'PATCH');
is($status, '2 405', 'PATCH');

($status) = curl('/status');
is($status, '2 200', 'status page');

($status, $type, $body) = curl('/pub', '-X', 'DELETE');
is($status, '2 204', 'DELETE');
is($body, '', 'DELETE, no body');
is_closed($c, 4004, 'DELETE, closed');

$t->done_testing();


# HTTP version and status, content type, body without the last newline.

sub curl {
    my ($uri, @args) = @_;

    my @quoted = map { $_ eq '<' ? $_ : "'$_'" } @args;
    my $url = 'http://127.0.0.1:' . port(8081) . $uri;

    my $out = `curl -sS --max-time @{[ scale(20) ]} --http2-prior-knowledge \\
               -o '$t->{dir}/answer' \\
               -w '%{http_version} %{http_code}\\n%{content_type}' \\
               '$url' @quoted 2>&1`;

    my ($status, $type) = split /\n/, $out;
    my $body = $t->read_file('answer');

    unlink("$t->{dir}/answer");
    $body =~ s/\n\z//;

    return ($status, $type, $body);
}
