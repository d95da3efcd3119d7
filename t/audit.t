#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# ws_bus_log: a line for each event, written as access_log writes, and without
# a trace of it elsewhere.

use warnings;
use strict;

use Test::More;

use FindBin;
use IO::Socket::INET;
use IO::Uncompress::Gunzip qw/ gunzip /;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Events;
use Test::WsBus::Json;
use WsBusTestWorkers qw/ rss reload /;

my $t = Test::WsBus->new()->log_level('info');

my $udp = IO::Socket::INET->new(
    Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => 0,
) or die "UDP: $!";
my $syslog = '127.0.0.1:' . $udp->sockport();

$t->write_file_expand('nginx.conf', conf());
$t->run();

my $dir = $t->testdir();
my %seen;


websocket();
subprotocol();
publisher();
streams();
refusals();
closed();
default_format();
conditions();
inherited();
variables();
to_syslog();
buffers();
redirects();
lean();
reopened();
secrets();
memory();
reloaded();
killed();
configuration();

$t->done_testing();


sub conf {
    return <<"EOC" =~ s/SYSLOG/$syslog/r;

%%TEST_GLOBALS%%

worker_processes 1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format access '\$status \$uri \$ws_bus_event';
    log_format event '\$uri \$status \$ws_bus_event ch=\$ws_bus_event_channel '
                     'why=\$ws_bus_reason n=\$ws_bus_event_bytes '
                     'close=\$ws_bus_close_code,\$ws_bus_close_by';
    log_format json escape=json '{"event":"\$ws_bus_event",'
                                '"channel":"\$ws_bus_event_channel"}';
    log_format all '\$ws_bus_event|\$ws_bus_event_channel|\$ws_bus_reason|'
                   '\$ws_bus_event_bytes|\$ws_bus_channel|\$ws_bus_protocol|'
                   '\$ws_bus_messages_in|\$ws_bus_messages_out|'
                   '\$ws_bus_bytes_in|\$ws_bus_bytes_out|\$ws_bus_dropped|'
                   '\$ws_bus_close_code|\$ws_bus_close_by|\$request|\$args|'
                   '\$http_cookie|\$arg_room|\$kind|\$captured|\$late|'
                   '\$upstream_addr|\$request_id|\$cookie_c|\$bytes_sent|'
                   '\$realip_remote_addr|\$uid_got|\$host|\$msec|\$request_time';

    access_log %%TESTDIR%%/access.log access;

    map \$ws_bus_event \$is_publish {
        default  0;
        publish  1;
    }

    map \$ws_bus_event \$is_close {
        volatile;
        default  0;
        close    1;
    }

    map \$ws_bus_event \$kind {
        default     other;
        ~^(cl)ose\$  \$1;
    }

    map \$uri \$captured {
        ~^/all/(?<rest>.)  \$rest;
    }

    map \$ws_bus_messages_in \$late {
        volatile;
        default  \$ws_bus_messages_in;
    }

    ws_bus_zone bus 8m;
    ws_bus_log %%TESTDIR%%/http.log event;
    ws_bus_drain 500ms;
    open_log_file_cache max=4;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(?<chan>.*)\$ {
            ws_bus \$chan;
            ws_bus_publish on;
            ws_bus_message_max_size 1k;
            ws_bus_log %%TESTDIR%%/ws.log event;
        }

        location = /json {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels open.*;
            ws_bus_log %%TESTDIR%%/json.log event;
        }

        location = /own {
            ws_bus own;
            ws_bus_channels open.*;
            ws_bus_log %%TESTDIR%%/own.log event;
            ws_bus_log %%TESTDIR%%/own.json json;
        }

        location ~ ^/pub/(?<chan>.*)\$ {
            ws_bus_publisher \$chan;
            ws_bus_message_max_size 1k;
            ws_bus_log %%TESTDIR%%/pub.log event;
        }

        location = /ping {
            ws_bus ping;
            ws_bus_ping 100ms 100ms;
            ws_bus_log %%TESTDIR%%/ping.log event;
        }

        location = /default {
            ws_bus a;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/default.log;
        }

        location = /named {
            ws_bus a;
            ws_bus_log %%TESTDIR%%/named.log ws_bus if=\$arg_log;
        }

        location = /combined {
            ws_bus a;
            ws_bus_log %%TESTDIR%%/combined.log combined;
        }

        location = /if {
            ws_bus if;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/if.log event if=\$is_publish;
            ws_bus_log %%TESTDIR%%/if.log event if=\$is_close;
            add_header X-Kind "\$kind\$is_close" always;
        }

        location = /off {
            ws_bus off;
            ws_bus_publish on;
            ws_bus_log off;
        }

        location = /inherited {
            ws_bus inherited;
        }

        location ~ ^/all/(.) {
            ws_bus all;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/all.log all;
            ws_bus_log %%TESTDIR%%/all-\$ws_bus_event.log all;
            add_header X-Captured \$1 always;
            access_log %%TESTDIR%%/id.log all;
        }

        location = /syslog {
            ws_bus syslog;
            ws_bus_publish on;
            ws_bus_log syslog:server=SYSLOG,tag=bus event;
        }

        location = /gone {
            ws_bus gone;
            ws_bus_publish on;
            ws_bus_log syslog:server=127.0.0.1:9,tag=bus event;
        }

        location = /buffer {
            ws_bus buffer;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/buffer.log event buffer=64k flush=200ms;
        }

        location = /kept {
            ws_bus buffer;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/kept.log event buffer=64k;
        }

        location = /gzip {
            ws_bus gzip;
            ws_bus_publish on;
            ws_bus_log %%TESTDIR%%/gzip.log.gz gzip=9 flush=200ms;
        }

        location = /lean {
            ws_bus lean;
            ws_bus_publish on;
            ws_bus_lean on;
            ws_bus_log %%TESTDIR%%/lean.log event;
        }

        location = /mirrored {
            mirror /mirror;
            proxy_pass http://127.0.0.1:%%PORT_8080%%/pub/original;
        }

        location = /mirror {
            internal;
            ws_bus_publisher mirror;
            ws_bus_log %%TESTDIR%%/mirror.log event;
        }

        location = /redirect {
            error_page 404 = /ws/redirected;
            return 404;
        }

        location = /refused {
            ws_bus a;
            ws_bus_log %%TESTDIR%%/refused.log event;
            error_page 403 = /sorry;
        }

        location = /sorry {
            return 200 "sorry\\n";
        }

        location = /plain {
            return 200 "\$ws_bus_event,\$ws_bus_reason\\n";
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC
}



sub websocket {
    my $c = ws('/ws/a');

    logged('ws', 'open', '/ws/a 101 open ch=a why=- n=- close=-,-');

    $c->text('hello');
    is_message($c, 'hello', 'own message');
    $c->binary('');
    is_message($c, '', 'own empty one');
    $c->write(join('', map { Test::WsBus::Client::frame(1, $_) } 'x', 'xy'));
    $c->recv_n(2);

    logged('ws', 'publish', map {
        "/ws/a 101 publish ch=a why=- n=$_ close=-,-"
    } 5, 0, 1, 2);

    $c->finish(3333);
    logged('ws', 'close', '/ws/a 101 close ch=a why=- n=- close=3333,client');

    $c = ws('/ws/%22q%22');
    $c->finish();
    logged('ws', 'escaped',
        map { '/ws/\x22q\x22 101 ' . $_ }
        'open ch=\x22q\x22 why=- n=- close=-,-',
        'close ch=\x22q\x22 why=- n=- close=1000,client');

    is($t->find_in_file('access.log', qr!^101 /ws/a -$!m, timeout => 5), 1,
        'the access log has one line, without an event');
}


sub subprotocol {
    my $c = json('/json');

    $c->ask('subscribe', channel => 'open.a');
    $c->ask('publish', channel => 'open.a', data => \'{"a":1}');
    $c->ask('publish', channel => 'open.b', text => "\xc3\xbc");
    $c->ask('publish', channel => 'open.b', text => 'once', key => 'k')
        for 1 .. 2;
    $c->ask($_, channel => 'secret') for qw/ subscribe history /;
    $c->ask('publish', channel => 'a "secret"', data => \'1');
    $c->say('publish', channel => 'secret', data => \'0');
    $c->next();
    $c->finish();

    logged('json', 'subprotocol', map { "/json 101 $_" }
        'open ch= why=- n=- close=-,-',
        'publish ch=open.a why=- n=7 close=-,-',
        'publish ch=open.b why=- n=2 close=-,-',
        'publish ch=open.b why=- n=4 close=-,-',
        'publish ch=open.b why=repeated n=4 close=-,-',
        ('refuse ch=secret why=channel is not allowed n=- close=-,-') x 2,
        'refuse ch=secret why=publishing is not allowed n=- close=-,-',
        'close ch= why=- n=- close=1000,client');

    is($t->find_in_file('error.log',
        qr/\[info\].*? refused: channel is not allowed: "secret".*?"GET .json/),
        2, 'and the error log has refusals');

    $c = json('/own');
    $c->next();
    $c->ask('publish', channel => 'own', data => \'1');
    $c->finish();

    logged('own', 'a location with a channel', map { "/own 101 $_" }
        'open ch=own why=- n=- close=-,-',
        'refuse ch=own why=publishing is not allowed n=- close=-,-',
        'close ch=own why=- n=- close=1000,client');

    is(join(' ', map { Test::WsBus::Json::parse_json($_)->{event} }
        split /\n/, $t->read_file('own.json')), 'open refuse close',
        'two logs of one location, escaped for JSON');
}


sub publisher {
    http_post('/pub/p', 'x' x 100);
    http_post('/pub/p', 'x', headers => [ 'Idempotency-Key' => 1 ]) for 1, 2;
    http_post('/pub/p', 'x' x 1025);
    http_post('/pub/a*', 'x');
    request('POST', '/pub/p', chunked => 100, body => 'x' x 1025);
    http_get('/pub/p');
    http_get('/pub/none');
    request('DELETE', '/pub/none');

    # in a subrequest

    is(http_post('/mirrored', 'x' x 50)->status(), 201, 'mirrored');
    logged('mirror', 'a subrequest',
        '/mirror 201 publish ch=mirror why=- n=50 close=-,-');

    my $c = ws('/ws/p');
    request('DELETE', '/pub/p');
    is_closed($c, 4004, 'deleted');

    logged('pub', 'publisher', map { $_ . ' close=-,-' }
        '/pub/p 201 publish ch=p why=- n=100',
        '/pub/p 201 publish ch=p why=- n=1',
        '/pub/p 201 publish ch=p why=repeated n=1',
        '/pub/p 413 refuse ch=p why=message too big n=-',
        '/pub/a* 400 refuse ch=a* why=invalid channel name n=-',
        '/pub/p 413 refuse ch=p why=message too big n=-',
        '/pub/none 404 refuse ch=none why=no such channel n=-',
        '/pub/original 201 publish ch=original why=- n=50',
        '/pub/p 204 delete ch=p why=- n=-');

    logged('ws', 'its subscribers',
        '/ws/p 101 open ch=p why=- n=- close=-,-',
        '/ws/p 101 close ch=p why=channel deleted n=- close=4004,server');
}


sub streams {
    my $e = Test::WsBus::Events->new(port => port(8080));

    is($e->open('/ws/sse')->status(), 200, 'event stream');

    $e->disconnect();

    logged('ws', 'event stream',
        '/ws/sse 200 open ch=sse why=- n=- close=-,-',
        '/ws/sse 200 close ch=sse why=the response was not read to its end '
        . 'n=- close=1006,client');

    $e = Test::WsBus::Events->new(port => port(8080));
    $e->open('/ws/sse');
    request('DELETE', '/pub/sse');
    $e->finished();

    logged('ws', 'event stream that is ended',
        '/ws/sse 200 open ch=sse why=- n=- close=-,-',
        '/ws/sse 200 close ch=sse why=channel deleted n=- close=4004,server');

    is(http_get('/ws/poll?wait=0')->status(), 204, 'poll');
    logged('ws', 'poll', '/ws/poll 204 open ch=poll why=- n=- close=-,-');

    mark('pub');
}


sub refusals {
    my @foreign = (headers => [ Origin => 'http://evil.example' ]);

    is(ws_response('/ws/a', @foreign)->status(), 403, 'origin');
    ws_response('/ws/a', key => undef);
    ws_response('/ws/a', version => 8);
    ws_response('/ws/a*');
    ws_response('/ws/');
    http_get('/ws/a');
    request('POST', '/ws/a', body => 'x' x 100);

    logged('ws', 'refusals', map { $_ . ' n=- close=-,-' }
        '/ws/a 403 refuse ch=a why=origin not allowed',
        '/ws/a 400 refuse ch=a why=no Sec-WebSocket-Key header',
        '/ws/a 426 refuse ch=a why=unsupported Sec-WebSocket-Version header',
        '/ws/a* 404 refuse ch=a* why=empty or invalid channel',
        '/ws/ 404 refuse ch= why=empty or invalid channel',
        '/ws/a 426 refuse ch=a why=no \x22Upgrade: websocket\x22 header',
        '/ws/a 405 refuse ch=a why=a handshake is a GET request');

    is(http_get('/refused', @foreign)->body(), "sorry\n", 'a page for it');
    logged('refused', 'refused before the page',
        '/refused 403 refuse ch=a why=origin not allowed n=- close=-,-');

    is($t->find_in_file('error.log',
        qr!\[info\].*? refused: origin "http://evil.*?client: 127.*?"GET /ws!),
        1, 'the error log has client, location and reason');
}


# Who closes, and why.

sub closed {
    my $c = ws('/ws/c');
    $c->disconnect();

    my @open = ('/ws/c 101 open ch=c why=- n=- close=-,-');
    logged('ws', 'vanished', @open,
        '/ws/c 101 close ch=c why=no Close frame n=- close=1006,client');

    $c = ws('/ws/c');
    $c->send_frame(3, '');
    is_closed($c, 1002, 'violation');
    $c->disconnect();
    logged('ws', 'violation', @open,
        '/ws/c 101 close ch=c why=unknown opcode n=- close=1002,server');

    $c = ws('/ws/c');
    $c->text('x' x 1025);
    is_closed($c, 1009, 'too big');
    $c->disconnect();
    logged('ws', 'too big', @open,
        '/ws/c 101 close ch=c why=message too big n=- close=1009,server');

    # what the client says is not repeated

    $c = ws('/ws/c');
    $c->close(4321, 'my "own" words');
    is_closed($c, 4321, 'a reason of its own');
    logged('ws', 'a reason of the client', @open,
        '/ws/c 101 close ch=c why=- n=- close=4321,client');

    $c = ws('/ping', auto_pong => 0);
    is_closed($c, 1011, 'ping timeout');
    $c->disconnect();
    logged('ping', 'ping timeout',
        '/ping 101 open ch=ping why=- n=- close=-,-',
        '/ping 101 close ch=ping why=ping timeout n=- close=1011,server');
}


sub default_format {
    my $c = ws('/default');
    $c->text('hello');
    $c->finish();

    my @l = new_lines('default', 3);
    my $head = qr/127\.0\.0\.1 - - \[\d+\/\w+\/\d+:[\d:]+ [+-]\d+\] \d+/;

    like($l[0], qr/^$head open 101 "a" "-" - - "-"$/, 'default format: open');
    like($l[1], qr/^$head publish 101 "a" "-" 5 - "-"$/, 'default format: publish');
    like($l[2], qr/^$head close 101 "a" "-" - 1000 "-"$/, 'default format: close');

    ws('/named')->finish();
    ws('/named?log=1')->finish();
    like((new_lines('named', 2))[0], qr/^$head open 101/, 'by its name');

    ws('/combined')->finish();
    like((new_lines('combined', 2))[1], qr!"GET /combined HTTP/1.1" 101 \d+!,
        'nginx\'s own');
}


sub conditions {
    my $c = ws('/if');

    is($c->response()->header('X-Kind'), 'other0', 'the map is known before');
    $c->text('a');
    $c->text('bc');
    $c->recv_n(2);
    $c->finish();
    http_get('/if');
    ws('/if')->finish();

    logged('if', 'only some events', map { "/if 101 $_" }
        'publish ch=if why=- n=1 close=-,-',
        'publish ch=if why=- n=2 close=-,-',
        ('close ch=if why=- n=- close=1000,client') x 2);
}


sub inherited {
    ws('/off')->finish();
    ws('/inherited')->finish();

    logged('http', 'inherited', map { "/inherited 101 $_" }
        'open ch=inherited why=- n=- close=-,-',
        'close ch=inherited why=- n=- close=1000,client');

    is(http_get('/plain')->body(), ",\n", 'empty elsewhere');
}


# All that a request can have, before and after.

sub variables {
    my $c = ws('/all/z?room=%00&x=1', headers => [ Cookie => 'c=d' ]);

    is($c->response()->header('X-Captured'), 'z', 'captures');
    $c->text('1');
    $c->text('2');
    $c->recv_n(2);
    $c->finish();

    my @l = map { [ split /\|/ ] } new_lines('all', 4);

    is(join(' ', map { $_->[0] } @l), 'open publish publish close', 'events');
    is(join(' ', map { $_->[6] } @l), '0 1 2 2', 'counters');
    is(join(' ', map { $_->[17] } @l), 'other other other cl', 'a map, regex');
    is(join(' ', map { $_->[18] } @l), 'z z z z', 'captures of another');
    is(join(' ', map { $_->[19] } @l), '0 1 2 2', 'a volatile map');
    is(join(' ', map { $_->[15] } @l), join(' ', ('c=d') x 4), 'headers');
    is(join(' ', map { $_->[21] } @l), join(' ', ($l[0][21]) x 4),
        'one id of the request');
    is(scalar(grep { $_->[21] eq $l[0][21] } map { [ split /\|/ ] }
        $t->read_file('id.log') =~ /(.*)\n/), 1, 'and of the access log');
    is(join(' ', map { $_->[24] } @l), join(' ', ('127.0.0.1') x 4), 'realip');

    is(scalar(new_lines("all-$_->[0]", $_->[1])), $_->[1],
        "a file of its own: $_->[0]")
        for [ open => 1 ], [ publish => 2 ], [ close => 1 ];
}


sub to_syslog {
    my $c = ws('/syslog');
    $c->text('hello');
    is_message($c, 'hello', 'delivered');
    $c->finish();

    my @got;

    for (1 .. 3) {
        my $r = '';
        vec($r, fileno($udp), 1) = 1;
        select($r, undef, undef, scale(5)) or last;
        $udp->recv(my $packet, 65536);
        push @got, $packet =~ s/^<190>.*? bus: //r;
    }

    is_deeply(\@got, [ map { "/syslog 101 $_" }
        'open ch=syslog why=- n=- close=-,-',
        'publish ch=syslog why=- n=5 close=-,-',
        'close ch=syslog why=- n=- close=1000,client' ], 'syslog');

    # nobody listens there

    $c = ws('/gone');
    $c->text("hello $_") for 1 .. 20;
    is($c->recv_n(20), 20, 'a syslog server that is not there');
    $c->finish();
}


sub buffers {
    my $c = ws('/buffer');
    $c->text('x');
    is_message($c, 'x', 'published');

    is(scalar(new_lines('buffer', 2)), 2, 'flushed in time');
    $c->finish();
    is(scalar(new_lines('buffer', 1)), 1, 'and again');

    $c = ws('/kept');
    $c->text('x' x $_) for 1 .. 100;
    $c->recv_n(100);
    is($t->read_file('kept.log'), '', 'not written before the buffer is full');
    $c->text('x' x $_) for 1 .. 2000;
    $c->recv_n(2000);

    my @l = $t->wait_until(sub { split /\n/, $t->read_file('kept.log') });
    cmp_ok(length $t->read_file('kept.log'), '>', 60000, 'written when it is');
    $c->finish();

    # the rest is written when the file is opened anew

    $t->signal('USR1');
    is($t->find_in_file('kept.log', qr/ close /, timeout => 5), 1, 'the rest');
    is(scalar(grep { / publish / } split /\n/, $t->read_file('kept.log')),
        2100, 'all of it, once');

    $c = ws('/gzip');
    $c->text('x' x $_) for 1 .. 100;
    $c->recv_n(100);
    $c->finish();

    my $text = '';

    $t->wait_until(sub {
        my $packed = $t->read_file('gzip.log.gz');

        gunzip(\$packed, \$text, MultiStream => 1);
        return $text =~ / close /;
    });

    is(scalar(() = $text =~ /^.* (?:open|publish|close) .*$/mg), 102, 'gzip');
}


sub redirects {
    ws('/redirect')->finish();

    logged('ws', 'an internal redirect',
        '/ws/redirected 101 open ch=redirected why=- n=- close=-,-',
        '/ws/redirected 101 close ch=redirected why=- n=- close=1000,client');
}


# The request stays for the log.

sub lean {
    my $c = ws('/lean');
    $c->text('x');
    is_message($c, 'x', 'lean');
    $c->finish();

    logged('lean', 'ws_bus_lean', map { "/lean 101 $_" }
        'open ch=lean why=- n=- close=-,-',
        'publish ch=lean why=- n=1 close=-,-',
        'close ch=lean why=- n=- close=1000,client');
}


sub reopened {
    my $c = ws('/ws/r');

    logged('ws', 'before', '/ws/r 101 open ch=r why=- n=- close=-,-');
    rename("$dir/ws.log", "$dir/ws.log.1");
    $t->signal('USR1');
    ok($t->wait_until(sub { -e "$dir/ws.log" }), 'opened anew');

    # the master makes the file, the worker follows

    $t->wait_until(sub {
        http_post('/pub/r', 'x');
        ws('/ws/tick')->finish();
        return -s "$dir/ws.log";
    });

    $c->finish();
    is($t->find_in_file('ws.log', qr!^/ws/r 101 close !m, timeout => 5), 1,
        'goes on in the new file');
    is($t->find_in_file('ws.log.1', qr!^/ws/r 101 close !m), 0,
        'not in the old one');

    $seen{ws} = 0;
    mark('ws');
}


# Neither payloads nor what a client says of itself.

sub secrets {
    my $text = join('', map { $t->read_file($_) } map { s!.*/!!r }
        glob("$dir/*.log"));

    unlike($text, qr/hello|my \\x22own/, 'no payload and no reason');
}


# Many lines of one connection leave nothing in the worker.

sub memory {
    my ($pid) = $t->workers();
    my $c = ws('/all/m');
    my $send = sub {
        for (1 .. 20) {
            $c->write(Test::WsBus::Client::frame(1, 'x') x 500);
            $c->recv_n(500);
        }
    };

    $send->();

    my $before = rss($pid);
    $send->();

    SKIP: {
        skip('the sanitizer keeps what is freed', 1)
            if $ENV{WS_BUS_TEST_PRELOAD};

        cmp_ok(rss($pid) - $before, '<', 1000000,
            '10,000 lines take no memory');
    }

    $c->finish();
}


sub reloaded {
    my $c = ws('/ws/reload');
    my $k = ws('/kept');

    mark('ws');
    ok(reload($t), 'reload');
    is_closed($_, 1001, 'drained') for $c, $k;

    logged('ws', 'closed by the reload',
        '/ws/reload 101 close ch=reload why=server is shutting down n=- '
        . 'close=1001,server');
    is($t->find_in_file('kept.log', qr/ close .* close=1001/, timeout => 5), 1,
        'the old worker has written what it had');

    ws('/ws/new')->finish();
    is(scalar(new_lines('ws', 2)), 2, 'the new one writes');
}


sub killed {
    my $c = ws('/ws/k');

    $t->expect_log(qr/exited on signal 9/);
    is(scalar(new_lines('ws', 1)), 1, 'open');
    $t->signal('KILL', ($t->workers())[0]);

    $t->wait_until(sub { eval { ws('/ws/k2')->finish() } });
    logged('ws', 'a killed worker says nothing, the next one writes',
        '/ws/k2 101 open ch=k2 why=- n=- close=-,-',
        '/ws/k2 101 close ch=k2 why=- n=- close=1000,client');
}


sub configuration {
    my @cases = (
        [ 'ws_bus_log off;' ],
        [ 'ws_bus_log l.log; ws_bus_log l.log combined;' ],
        [ 'ws_bus_log l.log ws_bus buffer=1k gzip=1 flush=1s if=$uri;' ],
        [ 'ws_bus_log l.log; ws_bus_log off;' ],
        [ 'ws_bus_log;', 'invalid number of arguments in "ws_bus_log"' ],
        [ 'ws_bus_log off event;', 'invalid parameter "event"' ],
        [ 'ws_bus_log l.log none;', 'unknown log format "none"' ],
        [ 'ws_bus_log l.log combined some;', 'invalid parameter "some"' ],
        [ 'ws_bus_log l.log ws_bus buffer=x;', 'invalid buffer size "x"' ],
        [ 'ws_bus_log l.log flush=1s;', 'no buffer is defined' ],
        [ 'ws_bus_log l.log gzip=0;', 'invalid compression level "0"' ],
        [ 'ws_bus_log l-$uri.log buffer=1k;',
            'buffered logs cannot have variables in name' ],
        [ 'ws_bus_log syslog:server=127.0.0.1 buffer=1k;',
            'logs to syslog cannot be buffered' ],
        [ 'ws_bus_log l.log buffer=1k; ws_bus_log l.log buffer=2k;',
            'already defined with conflicting parameters' ],
        [ 'ws_bus_log l.log if=$nothing;', 'unknown "nothing" variable' ],
        [ 'ws_bus_log /none/here/l.log;', '"/none/here/l.log" failed' ],
        [ 'log_format ws_bus "x"; ws_bus_log l.log;',
            'duplicate "log_format" name "ws_bus"' ],
        [ 'log_format ws_bus "x"; access_log l.log ws_bus;' ],
    );

    for my $case (@cases) {
        my ($lines, $said) = @$case;

        $lines =~ s! (l[-\w\$]*\.log)! $dir/$1!g;

        $t->write_file_expand('test.conf', "%%TEST_GLOBALS%%\nevents { }\n"
            . "http {\n%%TEST_GLOBALS_HTTP%%\n$lines\n"
            . "server { listen 127.0.0.1:%%PORT_8080%%;\n"
            . "location / { ws_bus a; } } }\n");

        my ($good, $out) = $t->test_config('test.conf');

        defined $said ? like($out, qr/\Q$said\E/, $lines)
                      : (ok($good, $lines) || diag($out));
    }
}


# The lines that have come since the last look; waits for that many.

sub new_lines {
    my ($file, $n) = @_;

    my @lines;

    $t->wait_until(sub {
        @lines = -e "$dir/$file.log" ? split /\n/, $t->read_file("$file.log")
                                     : ();
        splice(@lines, 0, $seen{$file} // 0);
        return @lines >= $n;
    });

    $seen{$file} += @lines;

    return @lines;
}


sub mark { return new_lines($_[0], 0) }


sub logged {
    my ($file, $name, @expected) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is_deeply([ new_lines($file, scalar(@expected)) ], \@expected,
        "logged: $name");
}
