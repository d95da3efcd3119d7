# Copyright (C) the ngx_ws_bus_module authors

# A real browser's EventSource: it comes back by itself, with the id of the
# last event, or with the position it was told when it had seen none.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/browser";
use Test::WsBus;
use Chromium;


# with WS_BUS_TEST_BROWSER a missing browser is a failure

plan(skip_all => 'no chromium')
    unless Chromium::find() || $ENV{WS_BUS_TEST_BROWSER};

my $t = Test::WsBus->new()->log_level('info');

$t->expect_log(qr/exited on signal 9/);

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 8m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location = / {
            default_type text/html;
            return 200 '<!doctype html><title>events</title>';
        }

        location = /favicon.ico {
            return 204;
        }

        location ~ ^/ws/(?<chan>.*)$ {
            ws_bus $chan;
            ws_bus_history 20;
            ws_bus_ping 300ms;
        }

        location ~ ^/pub/(?<chan>.*)$ {
            ws_bus_publisher $chan;
            ws_bus_history 20;
        }
    }
}

EOF

$t->run();

my $browser = Chromium->start($t->testdir());
my $tab = $browser->open('http://127.0.0.1:' . port(8080) . '/');

listen_to('seen');
listen_to('silent');

ok($tab->wait('seen.opened == 1 && silent.opened == 1', scale(20)), 'open');
is($tab->eval('seen.messages.length'), 0, 'a position is no event');


# what comes, comes as it was published

post('seen', "one\ntwo\r\nthree\n");
ok($tab->wait('seen.messages.length == 1', scale(10)), 'an event');
is($tab->eval('seen.messages[0]'), "message:one\ntwo\nthree\n", 'its text');
like($tab->eval('seen.id'), qr/^[0-9a-f]{16}:1$/, 'its id');

post('seen', '');
post('seen', "\xe2\x82\xac \0 :");
ok($tab->wait('seen.messages.length == 3', scale(10)), 'more of them');
is($tab->eval('seen.messages[1]'), 'message:', 'an empty one');
is($tab->eval('seen.messages[2]'), "message:\x{20ac} \0 :", 'UTF-8');

is(http_post('/pub/seen', "\0\xff", headers => [
    'Content-Type' => 'application/octet-stream' ])->status(), 201, 'binary');
ok($tab->wait('seen.messages.length == 4', scale(10)), 'binary, an event');
is($tab->eval('seen.messages[3]'), 'binary:AP8=', 'binary, base64');


# the worker is killed, and much happens before the browser is back

my ($worker) = $t->workers();

$t->signal('KILL', $worker);
$t->wait_until(sub { $t->workers() && !grep { $_ == $worker } $t->workers() });

post($_, 'while away') for qw/ seen silent /;

ok($tab->wait('seen.opened == 2 && silent.opened == 2', scale(30)), 'back');
ok($tab->wait('seen.messages.length == 5 && silent.messages.length == 1',
              scale(10)), 'with what was missed');
is($tab->eval('seen.messages[4]'), 'message:while away', 'after an event');
is($tab->eval('silent.messages[0]'), 'message:while away', 'after none');


# the channel is deleted, and more is published before the browser is back

my $id = $tab->eval('seen.id');

is(request('DELETE', '/pub/seen')->status(), 204, 'DELETE');
post('seen', "m$_") for 1 .. 2;

ok($tab->wait('seen.opened == 3', scale(30)), 'back again');
ok($tab->wait('seen.messages.length == 6', scale(10)), 'it is told');
is($tab->eval('seen.messages[5]'), 'gap:{"from":1,"to":2}', 'of a gap');
isnt($tab->eval('seen.id'), $id, 'and where it is now');

post('seen', 'm3');
ok($tab->wait('seen.messages[6] == "message:m3"', scale(10)), 'then live');

$tab->eval('seen.source.close(); silent.source.close()');

is(join("\n", $tab->errors()), '', 'no script has failed');

$browser->stop();
$t->done_testing();


sub listen_to {
    my ($channel) = @_;

    $tab->eval(<<"EOF");
        window.$channel = { messages: [], opened: 0, id: null };

        $channel.source = new EventSource("/ws/$channel");
        $channel.source.onopen = () => $channel.opened++;

        for (const type of ["message", "binary", "gap"]) {
            $channel.source.addEventListener(type, event => {
                $channel.messages.push(type + ":" + event.data);
                $channel.id = event.lastEventId;
            });
        }
EOF
}


sub post {
    my ($channel, $text) = @_;

    is(http_post("/pub/$channel", $text)->status(), 201, "POST: $channel");
}
