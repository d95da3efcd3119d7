#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The JavaScript client in a real browser: workers that die or hang, a network
# that goes and comes, WebSockets that do not work, tokens.

use warnings;
use strict;

use JSON::PP;
use Test::More;
use Time::HiRes qw/ sleep /;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/browser";
use Test::WsBus;
use Chromium;


# with WS_BUS_TEST_BROWSER a missing browser is a failure

plan(skip_all => 'no chromium')
    unless Chromium::find() || $ENV{WS_BUS_TEST_BROWSER};

my $t = Test::WsBus->new()->log_level('info');

my $root = "$FindBin::Bin/..";
my $dir = $t->testdir();
my $json = JSON::PP->new->allow_nonref;

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 32m;
    ws_bus_history 10000;
    ws_bus_publish on;

    types {
        text/html html;
        text/javascript js;
    }

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location /page/ {
            root %%TESTDIR%%;
        }

        location = /ws {
            ws_bus;
            ws_bus_channels *;
        }

        location ~ ^/sse/(.+)$ {
            if ($http_upgrade) {
                return 403;
            }

            ws_bus $1;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

# what the tests need in each tab

mkdir("$dir/page");
copy("$root/contrib/js/index.js", 'page/index.js');
$t->write_file('page/index.html', <<'EOH');
<!DOCTYPE html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>test</title>
<script type="module">
import { connect } from "./index.js";

window.got = [];
window.closes = [];
window.results = [];
window.reasons = [];

window.start = (url, channel, options = {}) => {
    window.bus = connect(url, { minDelay: 20, maxDelay: 200, ...options });
    window.sub = bus.subscribe(channel);

    sub.on("message", ({ kind, data }) => got.push(
        kind === "json" ? JSON.stringify(data) : kind + " " + data));
    sub.on("gap", () => got.push("gap"));
    sub.on("reset", () => got.push("reset"));
    bus.on("close", ({ code, delay }) => closes.push({ code, delay }));
};

window.token = ({ reason }) => {
    reasons.push(reason);
    return "good";
};

window.say = (data, options) => {
    results.push(bus.publish(sub.channel ?? "c", data, options));
};

window.ready = true;
</script>
EOH

$t->run();
$t->expect_log(qr/worker process \d+ exited on signal 9/);

my $browser = Chromium->start($dir);
my @tabs;

messages();
killed();
hangs();
offline();
streams();

SKIP: {
    skip 'no node', 1 unless grep { -x "$_/node" } split(/:/, $ENV{PATH});

    tokens();
}

is(join("\n", map { $_->errors() } @tabs), '', 'no script has failed');

$browser->stop();
$t->done_testing();


sub copy {
    my ($from, $to) = @_;

    open(my $fh, '<', $from) or die "$from: $!";
    $t->write_file($to, do { local $/; <$fh> });
}


# A tab that is connected.

sub tab {
    my ($url, $channel, $options) = @_;

    my $tab = $browser->open('http://127.0.0.1:' . port(8080)
                             . '/page/index.html');

    $tab->wait('window.ready', scale(10)) or die 'no page';
    $tab->eval('start(' . $json->encode($url) . ', '
               . (defined $channel ? $json->encode($channel) : 'undefined')
               . ', { ' . ($options // '') . ' })');
    ok($tab->wait('sub.live', scale(20)), "$url is connected");

    push @tabs, $tab;

    return $tab;
}


# Waits until this is what a tab has got.

sub shows {
    my ($tab, $name, @expected) = @_;

    $tab->wait('got.length >= ' . scalar(@expected), scale(20));
    is_deeply($tab->eval('got'), \@expected, $name);
}


sub messages {
    my ($one, $two) = map { tab('/ws', 'talk') } 1, 2;

    is($one->eval('bus.transport'), 'websocket', 'by WebSocket');

    $one->eval('say({ a: ["\u00fc", null] })');
    $one->eval('say("{\"not\": 1}", { as: "text" })');
    $one->eval('say(Uint8Array.of(1, 2, 255))');

    is_deeply($one->eval('Promise.all(results).then('
                         . 'all => all.map(({ seq }) => seq))'), [ 1, 2, 3 ],
              'published');

    is(http_post('/pub/talk', '"by POST"')->status(), 201, 'posted');

    my @expected = ("{\"a\":[\"\xfc\",null]}", 'text {"not": 1}',
                    'binary 1,2,255', '"by POST"');

    shows($one, 'all kinds, the publisher', @expected);
    shows($two, 'all kinds, another tab', @expected);

    is($one->eval('(async () => { const { messages } = '
                  . 'await sub.history({ seq: 2 }); '
                  . 'return messages.map(({ kind }) => kind).join(); })()'),
       'binary,json', 'history');

    http_post('/pub/iterated', '"last"');

    is($one->eval('(async () => { for await (const { data } of bus.subscribe('
                  . '"iterated", { last: 1 })) { return data; } })()'),
       'last', 'iterated');

    $_->eval('bus.close()') for $one, $two;
}


sub killed {
    my ($one, $two) = map { tab('/ws', 'killed') } 1, 2;
    my $n = 0;

    for my $worker ($t->workers()) {
        for my $tab ($one, $two) {
            $tab->eval("for (let i = 0; i < 25; i++) say('$n/' + i)");
            $n++;
        }

        $t->signal('KILL', $worker);
        $t->wait_until(sub { !grep { $_ == $worker } $t->workers() });

        for my $tab ($one, $two) {
            $tab->eval("for (let i = 0; i < 25; i++) say('$n/' + i)");
            $n++;
        }
    }

    my @expected = sort map { my $k = $_; map { "\"$k/$_\"" } 0 .. 24 }
        0 .. $n - 1;

    for my $tab ($one, $two) {
        $tab->wait('got.length >= ' . scalar(@expected), scale(20));
        is(join(' ', sort @{ $tab->eval('got') }), join(' ', @expected),
           'workers killed: nothing is missing or doubled');
        is($tab->eval('Promise.all(results).then(all => all.length)'),
           scalar(@expected) / 2, 'workers killed: all is answered');
    }

    is(join(' ', @{ $one->eval('got') }), join(' ', @{ $two->eval('got') }),
       'workers killed: the same order');
    cmp_ok($one->eval('closes.length') + $two->eval('closes.length'), '>', 1,
           'workers killed: connections were lost');

    $_->eval('bus.close()') for $one, $two;
}


sub hangs {
    my $tab = tab('/ws', 'hangs', 'heartbeat: 100, heartbeatTimeout: 5000,'
                  . ' connectTimeout: 5000');

    # probed now and then, and found alive

    sleep(0.5);
    is($tab->eval('closes.length'), 0, 'silence is no reason');

    my ($held) = grep { $_->{connections} }
        @{ http_get('/status')->json()->{zones}{bus}{workers} };

    $t->signal('STOP', $held->{pid});
    ok($tab->wait('closes.length', scale(20)), 'a worker hangs: noticed');
    $t->signal('CONT', $held->{pid});

    $tab->eval('say(1)');
    shows($tab, 'a worker hangs: goes on', '1');
    $tab->eval('bus.close()');
}


sub offline {
    my $tab = tab('/ws', 'offline', 'minDelay: 1e6, maxDelay: 1e6');
    my $network = sub {
        $tab->call('Network.emulateNetworkConditions', {
            offline => $_[0] ? JSON::PP::true : JSON::PP::false,
            latency => 0, downloadThroughput => -1, uploadThroughput => -1,
        });
    };

    my $online = $tab->eval('navigator.onLine');

    $tab->call('Network.enable');
    $network->(1);
    ok($tab->wait('!navigator.onLine', scale(10)), 'offline');

    $t->signal('KILL', $_) for $t->workers();
    ok($tab->wait('bus.state === "waiting"', scale(20)), 'offline: waits');
    ok($tab->eval('closes.every(({ delay }) => delay <= 1e6)'),
       'offline: for long');

    is(http_post('/pub/offline', '"missed"')->status(), 201, 'posted');
    is($tab->eval('bus.state'), 'waiting', 'offline: still waits');

    # with no interface but the loopback the browser never says so itself

    $network->(0);
    $tab->eval('dispatchEvent(new Event("online"))') unless $online;
    ok($tab->wait('bus.state === "open"', scale(20)), 'online: at once');
    shows($tab, 'online: what was missed', '"missed"');
    $tab->eval('bus.close()');
}


sub streams {
    my $tab = tab('/sse/streamed');

    is($tab->eval('bus.transport'), 'sse', 'no WebSockets: a stream');

    http_post('/pub/streamed', 1);
    request('POST', '/pub/streamed', body => "\x00\xff",
            headers => [ 'Content-Type', 'application/octet-stream' ]);
    http_post('/pub/streamed', "two\nlines");
    shows($tab, 'stream: all kinds', '1', 'binary 0,255', "text two\nlines");

    for my $n (2, 3) {
        $t->signal('KILL', $_) for $t->workers();
        http_post('/pub/streamed', $n);
    }

    shows($tab, 'stream: goes on', '1', 'binary 0,255', "text two\nlines",
          '2', '3');
    is($tab->eval('bus.transport'), 'sse', 'it is still a stream');
    $tab->eval('bus.close()');
}


# The server of t/js, as tokens need one that refuses them.

sub tokens {
    my $pid = $t->run_daemon('node', "$FindBin::Bin/js/serve.mjs");

    ok($t->wait_until(sub { $t->read_file('daemon.log') =~ /port \d+\n/ }, 20),
       'a server for tokens');

    my ($port) = $t->read_file('daemon.log') =~ /port (\d+)/;
    my $url = "ws://127.0.0.1:$port/ws";

    my $tab = tab($url, 'refresh', 'token');
    shows($tab, 'auth_required: refreshed', '"refreshed"');
    is_deeply($tab->eval('reasons'), [ 'connect', 'auth_required' ],
              'auth_required: asked for');

    $tab->eval('bus.publish("expire", 1).catch(() => {})');
    ok($tab->wait('reasons.includes("unauthorized")', scale(10)),
       '4001: asked for');
    $tab->eval('bus.close()');

    $tab = tab($url, 'c', 'token: "good"');
    $tab->eval('say(1)');
    shows($tab, 'a string', '1');
    $tab->eval('bus.publish("kick", 1).catch(({ code }) => got.push(code))');
    shows($tab, '4010: the end', '1', 'kicked');
    is($tab->eval('bus.state'), 'closed', '4010: closed');

    $t->stop_daemons();
}
