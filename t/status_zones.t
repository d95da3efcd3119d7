# Copyright (C) the ngx_ws_bus_module authors

# The status page without a zone, and with many of them and long names.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

write_conf();
$t->run();

is_deeply(http_get('/status')->json()->{zones}, {}, 'no zones');
like(http_get('/metrics')->body(), qr/^ws_bus_build_info\{.*\} 1$/m,
     'no zones, Prometheus');

$t->stop();


# names so long that neither fits into a buffer of the page, and so many that
# pages take many buffers

my @names = (map { "zone$_" . 'x' x ($_ * 37) } 1 .. 20);

push @names, 'y' x 3800, '"' x 1900, '\\' x 1900;

write_conf(map { "'" . s/\\/\\\\/gr . "'" } @names);
$t->run();

my $r;

$t->wait_until(sub {
    $r = http_get('/status');
    return 2 == @{$r->json()->{zones}{$names[-1]}{workers}};
});

is_deeply([ sort keys %{$r->json()->{zones}} ], [ sort @names ], 'names');
is($r->header('Content-Length'), length $r->body(), 'content length');

for my $name (@names) {
    my $z = $r->json()->{zones}{$name};

    is($z->{size}, 262144, 'size of ' . substr($name, 0, 10));
    is(scalar(@{$z->{workers}}), 2, 'workers of ' . substr($name, 0, 10));
}

$r = http_get('/metrics');

is($r->header('Content-Length'), length $r->body(),
   'content length, Prometheus');

for my $name (@names) {
    my $label = $name =~ s/(["\\])/\\$1/gr;
    my @samples = $r->body()
        =~ /^ws_bus_(\w+)\{zone="\Q$label\E"(?:,\w+="[^"]*")?\} [\d.]+$/mg;

    is(scalar(@samples), 15 + 5 + 6 + 16 + 16,
       'samples of ' . substr($name, 0, 10));
}

$t->done_testing();


sub write_conf {
    my (@names) = @_;

    my $zones = join '', map { "    ws_bus_zone $_ 256k;\n" } @names;

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

$zones

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /status {
            ws_bus_status;
        }

        location /metrics {
            ws_bus_status prometheus;
        }
    }
}

EOF
}
