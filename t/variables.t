# Copyright (C) the ngx_ws_bus_module authors

# Variables: what the access log tells at the end of a connection.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;
    ws_bus_drain 0;

    log_format ws '$status $uri channel=$ws_bus_channel '
                  'protocol=$ws_bus_protocol in=$ws_bus_messages_in,'
                  '$ws_bus_bytes_in out=$ws_bus_messages_out,'
                  '$ws_bus_bytes_out dropped=$ws_bus_dropped '
                  'close=$ws_bus_close_code,$ws_bus_close_by';

    access_log %%TESTDIR%%/ws.log ws;

    map $ws_bus_close_code $bad {
        default  1;
        1000     0;
    }

    access_log %%TESTDIR%%/bad.log ws if=$bad;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        add_header X-Channel "$ws_bus_channel" always;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
            ws_bus_publish on;
            ws_bus_message_max_size 1k;
        }

        location ~ ^/quiet/(.*)$ {
            ws_bus $1;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
        }

        location /status {
            ws_bus_status;
        }

        location /plain {
            return 200 "channel=$ws_bus_channel in=$ws_bus_messages_in\n";
        }

        location = /again {
            ws_bus_publisher $ws_bus_channel;
        }
    }
}

EOF

$t->run();


# an ordinary life

my $c = ws('/ws/life');

is($c->response()->header('X-Channel'), 'life', 'known in the answer');

$c->text('hello');
is_message($c, 'hello', 'own message');
$c->binary("\0\1\2");
is_message($c, "\0\1\2", 'own binary message');
http_post('/pub/life', 'x' x 100);
is_message($c, 'x' x 100, 'message by HTTP');
$c->ping('not counted');
is($c->read_pong(), 'not counted', 'pong');
$c->finish(1000);

logged('101 /ws/life channel=life protocol=raw in=2,8 out=3,108 dropped=0 '
       . 'close=1000,client', 'closed by the client');

is($t->find_in_file('bad.log', qr!^101 /ws/life !m), 0, 'usable in a map');


# who ends it, and how

$c = ws('/ws/code');
$c->finish(3456);
logged('101 /ws/code channel=code protocol=raw in=0,0 out=0,0 dropped=0 '
       . 'close=3456,client', 'a code of its own');
is($t->find_in_file('bad.log', qr!^101 /ws/code !m, timeout => 5), 1,
   'usable in a map, the other way');

$c = ws('/ws/empty');
$c->close();
is_closed($c, 1005, 'no code');
logged('101 /ws/empty channel=empty protocol=raw in=0,0 out=0,0 dropped=0 '
       . 'close=1005,client', 'no code');

$c = ws('/ws/cut');
$c->disconnect();
logged('101 /ws/cut channel=cut protocol=raw in=0,0 out=0,0 dropped=0 '
       . 'close=1006,client', 'connection cut');

$c = ws('/ws/bad');
$c->send_frame(3, '');
is_closed($c, 1002, 'reserved opcode');
$c->disconnect();
logged('101 /ws/bad channel=bad protocol=raw in=0,0 out=0,0 dropped=0 '
       . 'close=1002,server', 'a violation');

$c = ws('/ws/big');
$c->text('x' x 1025);
is_closed($c, 1009, 'too big');
$c->disconnect();
logged('101 /ws/big channel=big protocol=raw in=0,0 out=0,0 dropped=0 '
       . 'close=1009,server', 'too big');

$c = ws('/quiet/silence');
$c->text('x');
is_closed($c, 4003, 'not allowed to publish');
$c->disconnect();
logged('101 /quiet/silence channel=silence protocol=raw in=0,0 out=0,0 '
       . 'dropped=0 close=4003,server', 'not allowed to publish');

$c = ws('/ws/gone');
http_post('/pub/gone', 'last words');
is_message($c, 'last words', 'last words');
is(request('DELETE', '/pub/gone')->status(), 204, 'deleted');
is_closed($c, 4004, 'channel deleted');
$c->disconnect();
logged('101 /ws/gone channel=gone protocol=raw in=0,0 out=1,10 dropped=0 '
       . 'close=4004,server', 'channel deleted');

$c = ws('/ws/%C3%BC/%22q%22');
$c->finish(1000);
logged('101 /ws/\xC3\xBC/\x22q\x22 channel=\xC3\xBC/\x22q\x22 protocol=raw '
       . 'in=0,0 out=0,0 dropped=0 close=1000,client', 'escaped in the log');


# requests that are no session

my $none = 'protocol=- in=-,- out=-,- dropped=- close=-,-';

is(ws_response('/ws/refused', key => undef)->status(), 400, 'refused');
logged("400 /ws/refused channel=refused $none", 'a refused handshake');

is(ws_response('/ws/')->status(), 404, 'no channel');
logged("404 /ws/ channel= $none", 'an empty channel');

my $r = http_post('/pub/posted', 'x');

is($r->header('X-Channel'), 'posted', 'a publication');
logged("201 /pub/posted channel=posted $none", 'a publication');

is(http_post('/pub/a*', 'x')->status(), 400, 'a bad name');
logged("400 /pub/a* channel=a* $none", 'a bad name');

is(http_get('/plain')->body(), "channel= in=\n", 'elsewhere');
logged("200 /plain channel=- $none", 'elsewhere');

is(http_get('/status')->status(), 200, 'the status page');
logged("200 /status channel=- $none", 'the status page');


# a channel that is its own name

$t->expect_log(qr/cycle while evaluating variable/);
is(http_get('/again')->status(), 400, 'a cycle ends');


# the end of the worker

my @c = map { ws('/ws/reload') } 1 .. 4;

ok($t->reload(), 'reloaded');
is_closed($_, 1001, 'going away') for @c;

my $line = '101 /ws/reload channel=reload protocol=raw in=0,0 out=0,0 '
           . 'dropped=0 close=1001,server';

is($t->find_in_file('ws.log', qr/^\Q$line\E$/m, count => 4, timeout => 5), 4,
   'logged: a graceful shutdown');

$t->done_testing();


sub logged {
    my ($line, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($start) = $line =~ /^(\d+ \S+ )/;

    $t->find_in_file('ws.log', qr/^\Q$start\E/m, timeout => 5);

    my ($got) = grep { index($_, $start) == 0 }
        reverse split /\n/, $t->read_file('ws.log');

    is($got, $line, "logged: $name");
}
