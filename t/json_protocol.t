#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The JSON subprotocol: its requests, answers and errors, what becomes of
# payloads, and how it gets on with raw clients and the HTTP publisher.

use warnings;
use strict;

use MIME::Base64 qw/ encode_base64 /;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Client qw/ frame fragments TEXT BINARY /;
use Test::WsBus::Json;
use WsBusTestWorkers;

# what a client may do wrong in ten seconds
use constant ERRORS => 100;

my $t = Test::WsBus->new()->has(qw/ http_ssl IO::Socket::SSL /);

$t->log_level('info')->write_cert('localhost');

$t->write_file_expand('nginx.conf', <<'EOC');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format bus '$uri $ws_bus_messages_in $ws_bus_messages_out '
                   '$ws_bus_close_code $ws_bus_close_by';
    access_log %%TESTDIR%%/bus.log bus;

    ws_bus_zone bus 32m;

    add_header X-Pid $pid always;
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000;

    ws_bus_history 100000;
    ws_bus_buffer 64m;

    ssl_certificate %%TESTDIR%%/localhost.crt;
    ssl_certificate_key %%TESTDIR%%/localhost.key;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8443%% ssl;

        # hardly anything is under way
        listen 127.0.0.1:%%PORT_8081%% sndbuf=16k;
        listen 127.0.0.1:%%PORT_8444%% ssl sndbuf=16k;

        location = /j {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels room** x.**;
        }

        location = /lean {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels room** x.**;
            ws_bus_lean on;
        }

        location = /deflate {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels room** x.**;
            ws_bus_deflate on;
        }

        location = /off {
            ws_bus;
            ws_bus_publish on;
            ws_bus_channels room** x.**;
            ws_bus_history off;
        }

        location = /five {
            ws_bus;
            ws_bus_channels x.**;
            ws_bus_history 5;
        }

        location = /mute {
            ws_bus;
            ws_bus_channels x.**;
        }

        location = /var {
            ws_bus;
            ws_bus_channels x.**;
            ws_bus_publish $arg_publish;
        }

        location = /two {
            ws_bus;
            ws_bus_channels x.**;
            ws_bus_max_channels 2;
        }

        location = /patterns {
            ws_bus;
            ws_bus_channels news one.* *.end;
            ws_bus_publish on;
        }

        location = /none {
            ws_bus;
        }

        location ~ ^/fixed/(.+)$ {
            ws_bus $1;
            ws_bus_publish on;
        }

        location ~ ^/fixed-two/(.+)$ {
            ws_bus $1;
            ws_bus_channels x.**;
            ws_bus_max_channels 2;
        }

        location ~ ^/fixed-lean/(.+)$ {
            ws_bus $1;
            ws_bus_lean on;
        }

        location ~ ^/raw-only/(.+)$ {
            ws_bus $1;
            ws_bus_protocols raw;
        }

        location ~ ^/json-only/(.+)$ {
            ws_bus $1;
            ws_bus_protocols json;
        }

        location ~ ^/ws/(.+)$ {
            ws_bus $1;
            ws_bus_publish on;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/pub-off/(.+)$ {
            ws_bus_publisher $1;
            ws_bus_history off;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOC

$t->run();

my @pids = wait_workers($t, 2);

my $epoch = qr/^[0-9a-f]{16}$/;
my $not_json = qr/not a JSON object|not valid JSON/;


negotiation();
greeting();
subscribing();
ids();
names();
malformed();
publishing();

for my $case (
    [ 'plain', '/j' ],
    [ 'TLS', '/j', port => port(8443), ssl => 1 ],
    [ 'small buffers', '/j', port => port(8081), rcvbuf => 8192 ],
    [ 'TLS, small buffers', '/j', port => port(8444), ssl => 1,
      rcvbuf => 8192 ],
    [ 'deflate', '/deflate', deflate => 1 ],
    [ 'deflate, client does not', '/deflate', deflate => 1, compress => 0 ],
    [ 'deflate not offered', '/deflate' ],
    [ 'lean', '/lean' ],
) {
    my ($name, @args) = @$case;

    payloads("$name: ", @args);
    in_order("$name: ", @args);
    replay("$name: ", @args);
}

not_data();
history();
permissions();
limits();
keys_once();
sizes();
frames();
flood();
deletion();
across();
while_published();
subscriptions();

$t->done_testing();


# What is negotiated.

sub negotiation {
    my $name = PROTOCOL;
    my $asked = sub { return ws_response($_[0], @_[1 .. $#_]) };

    for my $case (
        [ 'alone', $name ],
        [ 'first', "$name, chat" ],
        [ 'last', "chat, superchat,$name" ],
        [ 'empty elements', ", ,\t$name ,," ],
        [ 'twice', "$name, $name" ],
        [ 'beside what is no token', "ch at, {}, $name" ],
        [ 'in the second header', 'chat', $name ],
    ) {
        my ($what, @values) = @$case;

        my $r = $asked->('/j',
            headers => [ map { ('Sec-WebSocket-Protocol', $_) } @values ]);

        is($r->status(), 101, "offered $what");
        is(join('|', $r->headers('Sec-WebSocket-Protocol')), $name,
            "offered $what: chosen");
    }

    for my $value ('chat', "x$name", "${name}x", uc($name), 'ws-bus.v1',
        'ws-bus.v2.json', 'raw', 'json', "\"$name\"")
    {
        my $r = $asked->('/j',
            headers => [ 'Sec-WebSocket-Protocol', $value ]);

        is($r->status(), 400, "$value is not served");
        like($r->body(), qr/none of the offered/, "$value: why");
        is($r->header('Sec-WebSocket-Protocol'), undef, "$value: not chosen");
    }

    my $r = $asked->('/j');

    is($r->status(), 400, 'raw, but no channel');
    like($r->body(), qr/\Q$name\E/, 'raw, but no channel: what it needs');

    $r = $asked->('/ws/a');
    is($r->status(), 101, 'raw');
    is($r->header('Sec-WebSocket-Protocol'), undef, 'raw has no name');

    is($asked->('/raw-only/a')->status(), 101, 'raw only: raw');
    $r = $asked->('/raw-only/a', protocols => [ $name ]);
    is($r->status(), 400, 'raw only: JSON');
    like($r->body(), qr/none of the offered/, 'raw only: why');

    is($asked->('/json-only/a', protocols => [ $name ])->status(), 101,
        'JSON only: JSON');
    $r = $asked->('/json-only/a');
    is($r->status(), 400, 'JSON only: raw');
    like($r->body(), qr/\Q$name\E/, 'JSON only: what it needs');

    is($asked->('/fixed/a b', protocols => [ $name ])->status(), 400,
        'not a request at all');
    is($asked->('/fixed/a%20b', protocols => [ $name ])->status(), 404,
        'an invalid fixed channel');
}


# A location with a channel.

sub greeting {
    my $c = json('/fixed/greeting');

    is_next($c, { type => 'subscribed', channel => 'greeting',
        epoch => $epoch, seq => 0, head => 0, oldest => 1 },
        'a fixed channel greets, without an id');

    my $e = $c->response()->header('Ws-Bus-Epoch');

    $c->text('{"type":"publish","channel":"greeting","data":1}');
    is_next($c, { type => 'message', channel => 'greeting', seq => 1,
        data => 1 }, 'it is subscribed');

    http_post('/pub/greeting', $_) for 2 .. 5;
    $c->next_n(4);

    for my $case (
        [ '', seq => 5 ],
        [ '?last=2', seq => 3 ],
        [ "?last_seq=1&epoch=$e", seq => 1, recovered => 'true' ],
        [ "?last_seq=6&epoch=$e", seq => 5, recovered => 'false' ],
        [ "?last_seq=1&epoch=0123456789abcdef", seq => 5,
          recovered => 'false' ],
    ) {
        my ($args, %start) = @$case;

        my $d = json("/fixed/greeting$args");

        is_next($d, { type => 'subscribed', channel => 'greeting',
            epoch => $e, head => 5, oldest => 1, %start },
            "greeting for \"$args\"");
        is(join(' ', map { $_->{seq} } $d->next_n(5 - $start{seq})),
            join(' ', $start{seq} + 1 .. 5), "what follows for \"$args\"");
        is($d->response()->header('Ws-Bus-Seq'), $start{seq},
            "header for \"$args\"");
        is($d->surplus(0.05), '', "and no more for \"$args\"");
        is($d->finish(), 1000, "closed, \"$args\"");
    }

    is_error($c->ask('subscribe', channel => 'greeting'),
        'already_subscribed', undef, 'to the fixed channel again');
    is_error($c->ask('subscribe', channel => 'other'), 'forbidden', undef,
        'to another channel');

    is_next($c->ask('unsubscribe', channel => 'greeting'),
        { type => 'unsubscribed', channel => 'greeting' },
        'from the fixed channel');

    http_post('/pub/greeting', 6);
    is($c->surplus(), '', 'nothing comes any more');
    is(http_get('/pub/greeting')->json()->{subscribers}, 0,
        'nobody is subscribed');

    is_next($c->ask('subscribe', channel => 'greeting', epoch => $e,
        seq => 5), { type => 'subscribed', channel => 'greeting',
        epoch => $e, seq => 5, head => 6, oldest => 1,
        recovered => 'true' }, 'to the fixed channel after that');
    is_next($c, { type => 'message', channel => 'greeting', seq => 6,
        data => 6 }, 'what was missed');

    is($c->finish(), 1000, 'closed');

    # frames that come together with the handshake are read after the greeting

    $c = json('/fixed/greeting', data => frame(TEXT, format_request(
        type => 'unsubscribe', id => 1, channel => 'greeting')));

    is_next($c, { type => 'subscribed', channel => 'greeting',
        epoch => $e, seq => 6, head => 6, oldest => 1 }, 'greeting first');
    is_next($c, { type => 'unsubscribed', id => 1, channel => 'greeting' },
        'then the answer');

    # a location without one

    $c = json('/j?last=5');

    is($c->surplus(0.05), '', 'without a channel there is no greeting');
    is($c->response()->header('Ws-Bus-Seq'), undef, 'nor a position');
    is($c->response()->header('Ws-Bus-Recovered'), undef,
        'nor anything recovered');

    $c = json('/fixed-lean/greeting');

    is_next($c, { type => 'subscribed', channel => 'greeting',
        epoch => $e, seq => 6, head => 6, oldest => 1 }, 'lean: greeting');

    http_post('/pub/greeting', 7);

    is_next($c, { type => 'message', channel => 'greeting', seq => 7,
        data => 7 }, 'lean: a message');
    is_error($c->ask('subscribe', channel => 'greetinG'), 'forbidden', undef,
        'lean: the channel is known');
}


sub subscribing {
    my $c = json('/j');
    my $d = json('/j');

    my $m = $c->ask('subscribe', channel => 'room1');

    is_next($m, { type => 'subscribed', channel => 'room1', epoch => $epoch,
        seq => 0, head => 0, oldest => 1 }, 'subscribed');

    is_next($d->ask('subscribe', channel => 'room1'),
        { type => 'subscribed', channel => 'room1', epoch => $m->{epoch},
          seq => 0, head => 0, oldest => 1 }, 'another client');

    is_error($c->ask('subscribe', channel => 'room1'), 'already_subscribed',
        undef, 'again');
    is_error($c->ask('subscribe', channel => 'room1',
        epoch => $m->{epoch}, seq => 0), 'already_subscribed',
        undef, 'again, from a position');

    $c->ask('subscribe', channel => 'x.y');

    http_post('/pub/room1', '"one"');
    http_post('/pub/x.y', '"two"');
    http_post('/pub/x.z', '"three"');
    http_post('/pub/x.y', '"four"');

    my %came;
    push @{$came{$_->{channel}}}, "$_->{seq}$_->{data}" for $c->next_n(3);

    is_deeply(\%came, { room1 => [ '1"one"' ],
        'x.y' => [ '1"two"', '2"four"' ] }, 'of what is subscribed to');
    is($c->surplus(0.05), '', 'and nothing else');

    is_next($d, { type => 'message', channel => 'room1', seq => 1,
        data => '"one"' }, 'the other client, too');
    is($d->surplus(0.05), '', 'only its channel');

    is_next($c->ask('unsubscribe', channel => 'room1'),
        { type => 'unsubscribed', channel => 'room1' }, 'unsubscribed');
    is_error($c->ask('unsubscribe', channel => 'room1'), 'not_subscribed',
        undef, 'twice');
    is_error($c->ask('unsubscribe', channel => 'room2'), 'not_subscribed',
        undef, 'from another channel');
    is_error($c->ask('unsubscribe', channel => 'beyond'), 'not_subscribed',
        undef, 'from one that is forbidden');

    http_post('/pub/room1', 2);
    http_post('/pub/x.y', 5);

    is_next($c, { type => 'message', channel => 'x.y', seq => 3, data => 5 },
        'only the other channel');
    is_next($d, { type => 'message', channel => 'room1', seq => 2,
        data => 2 }, 'the other client stays');

    is_next($c->ask('subscribe', channel => 'room1'),
        { type => 'subscribed', channel => 'room1', epoch => $m->{epoch},
          seq => 2, head => 2, oldest => 1 }, 'subscribed again: live');
    is($c->surplus(0.05), '', 'from here');

    # a request without an id is answered all the same

    $c->say('unsubscribe', channel => 'room1');
    is_next($c, { type => 'unsubscribed', channel => 'room1' },
        'unsubscribed, no id');
    $c->say('subscribe', channel => 'room1');
    is_next($c, { type => 'subscribed', channel => 'room1',
        epoch => $m->{epoch}, seq => 2, head => 2, oldest => 1 },
        'subscribed, no id');
    $c->say('publish', channel => 'room1', data => 3);
    is_next($c, { type => 'message', channel => 'room1', seq => 3,
        data => '"3"' }, 'published, no id: only the message');

    is(status()->{subscriptions}, 3, 'subscriptions are counted');

    is($_->finish(), 1000, 'closed') for $c, $d;

    is(http_get('/pub/room1')->json()->{subscribers}, 0, 'all have left');

    # several of one turn

    $c = json('/j');
    $c->write(join('', map { frame(TEXT, format_request(@$_)) }
        [ type => 'subscribe', id => 1, channel => 'room1' ],
        [ type => 'subscribe', id => 2, channel => 'room1' ],
        [ type => 'unsubscribe', id => 3, channel => 'room1' ],
        [ type => 'unsubscribe', id => 4, channel => 'room1' ],
        [ type => 'subscribe', id => 5, channel => 'room1' ]));

    is(join(' ', map { "$_->{id}." . ($_->{code} // $_->{type}) }
        $c->next_n(5)), '1.subscribed 2.already_subscribed 3.unsubscribed'
        . ' 4.not_subscribed 5.subscribed', 'in one packet');
}


# An id is echoed as it was written.

sub ids {
    my $c = json('/j');

    for my $id (0, 1, -1, '-0', 1e6, '1.0', '1E5', '1.5e-300', '1e400', 2**53,
        '123456789012345678901234567890123456789012345678901234567890',
        '""', '"a"', '"\u0041"', '"\/"', '"\ud800"', '"\u0000"', '"\\\\\""',
        '"{}"', '"' . "\xc3\xa9" . '"', '"' . 'x' x 62 . '"')
    {
        my $n = $c->{ids}++;

        $c->say('subscribe', id => \$id, channel => "room$n");
        is($c->next()->{id_}, $id, "id $id: subscribed");

        $c->say('subscribe', id => \$id, channel => "room$n");
        is($c->next()->{id_}, $id, "id $id: error");

        $c->text(" {\"data\" : {\"id\":5}, \"channel\":\"room$n\",\t"
            . "\"id\" :\n $id , \"type\":\"publish\" } ");

        my %by = map { $_->{type} => $_ } $c->next_n(2);

        is($by{published}{id_}, $id, "id $id: published");
        is($by{message}{data}, '{"id":5}', "id $id: the message");
        is($by{message}{id}, undef, "id $id: has no id");

        $c->say('history', channel => "room$n", id => \$id);
        is($c->next()->{id_}, $id, "id $id: history");

        $c->say('unsubscribe', channel => "room$n", id => \$id);
        is($c->next()->{id_}, $id, "id $id: unsubscribed");

        $c->text("{\"id\":$id,\"type\":\"what?\"}");
        is($c->next()->{id_}, $id, "id $id: an unknown type");
    }

    for my $id ('null', 'true', '[]', '{}', '[1]', '"' . 'x' x 63 . '"',
        '1' x 65, '+1', '.5', 'NaN')
    {
        $c->say('subscribe', id => \$id, channel => 'room');
        is_error($c, 'bad_request', undef, "id $id is none");
    }

    $c->text('{"id":1,"id":2,"type":"subscribe","channel":"room"}');
    is_next($c, { type => 'error', code => 'bad_request', id => 1,
        reason => qr/"id"/ }, 'two ids: the first one');
}


# Names of channels, which may need escaping.

sub names {
    my $c = json('/j');

    for my $name ('room', 'x.', 'x.a.b.c', 'room/a:b', 'room"\\"',
        'room\\u0041', 'room' . 'x' x 251,
        "room\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
        'room' . '"' x 251, 'x.' . "\xf0\x9f\x98\x80" x 63, "room\xc2\xa0")
    {
        my $short = length $name > 40 ? substr($name, 0, 6) . '...' : $name;
        my $id = 'i' x 60;

        $c->say('subscribe', channel => $name, id => $id);
        is_next($c, { type => 'subscribed', channel => $name, id => $id,
            epoch => $epoch, seq => 0, head => 0, oldest => 1 },
            "$short: subscribed");

        $c->say('publish', channel => $name, id => $id, text => 'text');

        my %by = map { $_->{type} => $_ } $c->next_n(2);

        is_next($by{published}, { type => 'published', channel => $name,
            id => $id, seq => 1, epoch => EPOCH }, "$short: published");
        is_next($by{message}, { type => 'message', channel => $name,
            seq => 1, text => 'text' }, "$short: message");

        $c->say('history', channel => $name, id => $id);
        is_next($c, { type => 'history', channel => $name, id => $id,
            epoch => $epoch, messages => [ { seq => 1, text => 'text' } ],
            more => 'false' }, "$short: history");

        $c->say('unsubscribe', channel => $name, id => $id);
        is_next($c, { type => 'unsubscribed', channel => $name, id => $id },
            "$short: unsubscribed");
    }

    # the same name, written in another way

    $c->ask('subscribe', channel => 'room"e');

    is_error($c->ask('subscribe', channel => \'"\u0072oom\u0022\u0065"'),
        'already_subscribed', undef, 'an escaped name is the same');
    is_next($c->ask('unsubscribe', channel => \'"room\"e"'),
        { type => 'unsubscribed', channel => 'room"e' }, 'so it is here');

    is_next($c->ask('subscribe', channel => \'"room\ud83d\ude00"'),
        { type => 'subscribed', channel => "room\xf0\x9f\x98\x80",
          epoch => $epoch, seq => 0, head => 0, oldest => 1 },
        'a pair of surrogates');

    for my $name ('""', '"room a"', '"room\u0000"', '"room\n"', '"room\u007f"',
        '"room{a}"', '"room*"', '"room?"', '"room\ud83d"', '"x.\ude00\ud83d"',
        '"room' . 'x' x 252 . '"', 5, 'null', '{}', '["room"]')
    {
        is_error($c->ask($_, channel => \$name, $_ eq 'publish'
            ? (data => 1) : ()), 'bad_request', undef,
            "$_: channel " . substr($name, 0, 20) . ' is none',
            reason => qr/"channel"/)
            for qw/ subscribe publish /;

        $c = json('/j') if ($c->{ids} += 2) > ERRORS - 10;
    }
}


# What is not a request is answered by an error, and nothing else happens.

sub malformed {
    my $d = json('/j');
    $d->ask('subscribe', channel => 'room.m');

    my $c = json('/j');

    for my $text ('', ' ', 'hello', '1', 'null', '"{}"', '[]', '[{}]', '{',
        '}', '{}{}', '{} x', "{}\0", '{"type"}', '{"type":}', '{type:1}',
        "{'type':1}", '{"type":"subscribe",}', '{,}', '{"type":"sub',
        '{"a":01,"type":"x"}', '{"a":1 "b":2}', "{\"a\":\"\t\"}",
        '{"a":"\x"}', '{"a":"\u12"}', '{"a":nul}', '{"a":[1,]}',
        '{"a":' . '[' x 65 . ']' x 65 . '}', "\xef\xbb\xbf{}", '/**/{}')
    {
        my $short = length $text > 40 ? substr($text, 0, 40) . '...' : $text;

        $c->text($text);
        is_error($c, 'bad_request', undef, "not JSON: $short",
            reason => $not_json);
    }

    # the id, if it can be found

    $c->text('{"id":"x","a":}');
    is_error($c, 'bad_request', 'x', 'invalid behind the id',
        reason => $not_json);
    $c->text('{"a":,"id":"x"}');
    is_error($c, 'bad_request', undef, 'invalid before the id',
        reason => $not_json);

    my $n = 100;

    for my $case (
        [ '', '"type"' ],
        [ '"type":1', '"type"' ],
        [ '"type":null', '"type"' ],
        [ '"type":""', '"type"' ],
        [ '"type":"Subscribe"', '"type"' ],
        [ '"type":"message"', '"type"' ],
        [ '"Type":"subscribe","channel":"room.n"', '"type"' ],
        [ '"type":"subscribe","type":"subscribe","channel":"room.n"',
          '"type"' ],
        [ '"type":"subscribe"', '"channel"' ],
        [ '"type":"subscribe","channel":"room.n","channel":"room.n"',
          '"channel"' ],
        [ '"type":"subscribe","channel":"room.n","seq":1', '"epoch"' ],
        [ '"type":"subscribe","channel":"room.n","epoch":"0123456789abcdef"',
          '"seq"' ],
        [ '"type":"unsubscribe"', '"channel"' ],
        [ '"type":"history"', '"channel"' ],
        [ '"type":"publish"', '"channel"' ],
        [ '"type":"publish","channel":"room.n"',
          '"data", "text" or "base64"' ],
        [ '"type":"publish","channel":"room.n","data":1,"text":"x"',
          'only one of' ],
        [ '"type":"publish","channel":"room.n","text":"x","base64":""',
          'only one of' ],
        [ '"type":"publish","channel":"room.n","data":1,"data":2', '"data"' ],
        [ '"type":"publish","channel":"room.n","text":1', '"text"' ],
        [ '"type":"publish","channel":"room.n","text":null', '"text"' ],
        [ '"type":"publish","channel":"room.n","text":"\ud800"', '"text"' ],
        [ '"type":"publish","channel":"room.n","text":"\udc00\ud800"',
          '"text"' ],
        [ '"type":"publish","channel":"room.n","data":1,"key":""', '"key"' ],
        [ '"type":"publish","channel":"room.n","data":1,"key":5', '"key"' ],
        [ '"type":"publish","channel":"room.n","data":1,"key":"'
          . 'k' x 256 . '"', '"key"' ],
        (map { [ "\"type\":\"publish\",\"channel\":\"room.n\",\"base64\":$_",
          '"base64"' ] } '1', '"="', '"QQ"', '"QQ="', '"QQ==="', '"QR=="',
          '"Q Q="', '"QQ==\n"', '"_-=="', '"A"', '"QUJ"'),
        (map { [ "\"type\":\"subscribe\",\"channel\":\"room.n\",\"seq\":$_,"
          . '"epoch":"0123456789abcdef"', '"seq"' ] } '"1"', '-1', '1.0',
          '1e3', 'null', '9007199254740992', '1' x 30),
        (map { [ "\"type\":\"history\",\"channel\":\"room.n\",\"seq\":$_",
          '"seq"' ] } '-1', '"0"', '0.5'),
        (map { [ "\"type\":\"history\",\"channel\":\"room.n\",\"limit\":$_",
          '"limit"' ] } '-1', '"0"', '1e1'),
        [ '"type":"subscribe","channel":"room.n","seq":1,"epoch":5',
          '"epoch"' ],
    ) {
        my ($members, $reason) = @$case;

        $c = json('/j') if $n % 60 == 0;

        my $id = ++$n;
        my $text = '{' . join(',', "\"id\":$id", $members || ()) . '}';

        $c->text($text);
        is_error($c, 'bad_request', $id, "bad: " . substr($text, 0, 70),
            reason => qr/\Q$reason\E/);
    }

    # it was all for nothing, and the connection stays

    is($d->surplus(0.05), '', 'nothing was published');
    is(http_get('/pub/room.n')->status(), 404, 'nor subscribed to');

    is_next($c->ask('subscribe', channel => 'room.m'),
        { type => 'subscribed', channel => 'room.m', epoch => $epoch,
          seq => 0, head => 0, oldest => 1 }, 'it goes on');

    # members that are not known, or of no use there, are not looked at

    $c->text('{"x":[{"type":1}],"seq":"-","base64":true,"type":"unsubscribe",'
        . '"key":[],"x":0,"channel":"room.m","id":9,"\u0000":{}}');
    is_next($c, { type => 'unsubscribed', id => 9, channel => 'room.m' },
        'other members are ignored');

    $c->text('{"\u0074ype":"su\u0062scribe","ch\u0061nnel":"room.m"}');
    is_next($c, { type => 'subscribed', channel => 'room.m',
        epoch => $epoch, seq => 0, head => 0, oldest => 1 },
        'names of members may be escaped');

    # of a kind that this location does not have

    is_error($c->ask($_, token => 'x.y.z'), 'not_available', undef,
        "$_ is not available") for qw/ auth auth_refresh /;
    is_error($c->ask('presence', channel => 'room.m'), 'not_available', undef,
        'presence is not available');
}


sub publishing {
    my ($c, $off) = (json('/j'), json('/off'));

    # without a subscription

    is_next($c->ask('publish', channel => 'room.p', data => 1),
        { type => 'published', channel => 'room.p', seq => 1,
        epoch => EPOCH }, 'published');
    is_next($c->ask('publish', channel => 'room.p', text => 'two'),
        { type => 'published', channel => 'room.p', seq => 2,
        epoch => EPOCH }, 'text');
    is_next($c->ask('publish', channel => 'room.p', base64 => 'AAE='),
        { type => 'published', channel => 'room.p', seq => 3,
        epoch => EPOCH }, 'base64');
    is($c->surplus(0.05), '', 'it is not told of them');

    is(http_get('/pub/room.p')->json()->{seq}, 3, 'there they are');

    # and with one

    $c->ask('subscribe', channel => 'room.p');
    is_next($c->ask('publish', channel => 'room.p', data => 1),
        { type => 'published', channel => 'room.p', seq => 4,
        epoch => EPOCH }, 'published');
    is_next($c, { type => 'message', channel => 'room.p', seq => 4,
        data => '"1"' }, 'it is told of its own message');

    # not kept

    is_next($off->ask('publish', channel => 'room.p', data => 'x'),
        { type => 'published', channel => 'room.p' }, 'not kept: no seq');
    is_next($c, { type => 'message', channel => 'room.p', data => '"x"' },
        'not kept: neither has the message');
    is_next($off->ask('publish', channel => 'room.nobody', data => 'x'),
        { type => 'published', channel => 'room.nobody' },
        'not kept, and nobody there');

    is_next($c->ask('publish', channel => 'room.p', data => 2),
        { type => 'published', channel => 'room.p', seq => 5, epoch => EPOCH },
        'it took no number');
}


# JSON values that a parser with a tree would change, or refuse.

sub values_ {
    return (
        '0', '-0', '1', '-1.50', '1e400', '-1E-400', '1' x 30, '0.' . '1' x 50,
        '9007199254740993', '1e1', '1E+01', 'true', 'false', 'null', '""',
        '"text"', '"\u0000"', '"\ud800"', '"\u0041"', '"\/\b\f\n\r\t\\\\\""',
        '"' . "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f" . '"', '"\u00e9"',
        '[]', '{}', '[ ]', "{\n}", "[1 ,\t2\r\n,3 ]", '[[],{},"",0]',
        '{"b":1,"a":2,"b":3,"":4}', '{ "a" : [ 1 , 2 ] , "id":9 }',
        '{"__proto__":{"type":"message"},"type":"publish","channel":"q"}',
        '{"a":' x 63 . '[]' . '}' x 63, '[' x 64 . ']' x 64,
        '[' . join(',', 1 .. 5000) . ']', '"' . 'x' x 30000 . '"',
    );
}


# Each payload, from each kind of publisher, to each kind of subscriber.

sub payloads {
    my ($name, $path, @opt) = @_;

    my $channel = 'x.' . lc($name) =~ tr/a-z//cdr;
    my $c = json($path, @opt);
    my $raw = ws("/ws/$channel");

    $c->ask('subscribe', channel => $channel);

    my (@sent, %bad);

    my $check = sub {
        my ($from, $kind, $value, $type, $bytes) = @_;

        my %payload = (seq => @sent + 1, $kind => $value);
        my $r = $raw->message() // { data => '', type => '' };

        push @sent, flat(\%payload);

        push @{$bad{"$from: to JSON"}}, $value
            if flat($c->next() // {}) ne $sent[-1];
        push @{$bad{"$from: to raw"}}, $value
            if $r->{data} ne $bytes || $r->{type} ne $type;
    };

    for my $value (values_()) {
        $c->say('publish', channel => $channel, data => \$value);
        $check->('JSON data', 'data', $value, 'text', $value);

        $raw->text($value);
        $check->('raw text', 'data', $value, 'text', $value);

        http_post("/pub/$channel", $value);
        $check->('HTTP text', 'data', $value, 'text', $value);

        # a text is a text, JSON or not

        $c->say('publish', channel => $channel, text => $value);
        $check->('JSON text', 'text', $value, 'text', $value);
    }

    for my $value ('', ' ', 'hello', '{', '{"a":1}}', '01', '1 2', 'nul',
        "\"\t\"", '"\x"', "'a'", 'NaN', '[1,]', "a\nb\r\t\0\x1f\x7f\\\"/",
        "\xef\xbb\xbf1", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
        '[' x 65 . ']' x 65, "\x01" x 5000, '"' x 5000)
    {
        $c->say('publish', channel => $channel, text => $value);
        $check->('JSON text', 'text', $value, 'text', $value);

        $raw->text($value);
        $check->('raw text', 'text', $value, 'text', $value);

        http_post("/pub/$channel", $value);
        $check->('HTTP text', 'text', $value, 'text', $value);
    }

    # escapes of all kinds

    $c->say('publish', channel => $channel,
        text => \'"\u0041\u00e9\u20ac\ud83d\ude00\uD83D\uDE00\/\b\u0000"');
    my $text = "A\xc3\xa9\xe2\x82\xac" . "\xf0\x9f\x98\x80" x 2 . "/\b\0";
    $check->('JSON escapes', 'text', $text, 'text', $text);

    for my $bytes ('', '1', '{"a":1}', "\0", "\xff\xfe", join('', map { chr }
        0 .. 255), map { 'x' x $_ } 2 .. 5, 20000)
    {
        my $base64 = encode_base64($bytes, '');

        $c->say('publish', channel => $channel, base64 => $base64);
        $check->('base64', 'base64', $base64, 'binary', $bytes);

        $raw->binary($bytes);
        $check->('raw binary', 'base64', $base64, 'binary', $bytes);

        http_post("/pub/$channel", $bytes,
            headers => [ 'Content-Type', 'application/octet-stream' ]);
        $check->('HTTP binary', 'base64', $base64, 'binary', $bytes);
    }

    is(join("\n", map { "$_: " . substr(join(' ', @{$bad{$_}}), 0, 300) }
        sort keys %bad), '', "${name}payloads arrive as they were");
    is($c->surplus(0.05), '', "${name}each once");

    # white space around it belongs to no payload, or stays

    $raw->text(" {\"a\": 1}\n");
    my $m = $c->next();
    is($m->{data}, '{"a": 1}', "${name}white space around JSON");
    push @sent, flat($m);
    $raw->message();

    # all of it once more, from the history, by both ways

    my @history;

    while (1) {
        my $m = $c->ask('history', channel => $channel,
            seq => scalar(@history), limit => 70);

        push @history, @{$m->{messages}};
        last if $m->{more} ne 'true' || !@{$m->{messages}};
    }

    is(scalar(@history), scalar(@sent), "${name}history has all");
    is(join(' ', grep { flat($history[$_] // {}) ne $sent[$_] } 0 .. $#sent),
        '', "${name}as it was");

    my $again = json($path, @opt);
    my $epoch = $c->ask('history', channel => $channel)->{epoch};

    $again->ask('subscribe', channel => $channel, epoch => $epoch, seq => 0);

    is(join(' ', grep { flat($again->next() // {}) ne $sent[$_] } 0 .. $#sent),
        '', "${name}replayed as it was");
    is($_->finish(), 1000, "${name}closed") for $c, $again, $raw;
}


# Number and payload of a message.

sub flat {
    my ($m) = @_;

    return join(' ', map { "$_=$m->{$_}" }
        grep { !/^(?:type|channel|.*_)$/ } sort keys %$m);
}


# Requests of one packet are answered in their order.

sub in_order {
    my ($name, $path, @opt) = @_;

    my $channel = 'x.order.' . lc($name) =~ tr/a-z//cdr;
    my $c = json($path, @opt);

    my @requests = map { (
        [ 'subscribe', channel => $channel ],
        [ 'publish', channel => $channel, data => $_ ],
        [ 'history', channel => $channel, seq => $_ - 1 ],
        [ 'unsubscribe', channel => $channel ],
        [ 'publish', channel => $channel, text => "$_" ],
    ) } map { 2 * $_ - 1 } 1 .. 100;

    my $id = 0;

    $c->write(join('', map {
        $c->format_message(TEXT, format_request(type => $_->[0],
            id => ++$id, @{$_}[1 .. $#$_]))
    } @requests));

    my %types = (subscribe => 'subscribed', unsubscribe => 'unsubscribed',
        publish => 'published', history => 'history');
    my (@got, @wrong);

    while (@got < @requests) {
        my $m = $c->next() // last;
        next if $m->{type} eq 'message';

        my $q = $requests[@got][0];

        push @got, $m->{id};
        push @wrong, "$m->{id}: $m->{text_}" if $m->{type} ne $types{$q};
    }

    is("@got", join(' ', 1 .. @requests), "${name}answers are in order");
    is("@wrong", '', "${name}and the right ones");
    is(http_get("/pub/$channel")->json()->{seq}, 200, "${name}all was done");

    # cut into frames, and into segments

    $c->write_split(join('', map { fragments(TEXT, format_request(
        type => 'publish', id => $_, channel => $channel, data => $_), 7)
    } 1 .. 20), 11);

    is(join(' ', map { $_->{id} } $c->next_n(20)), join(' ', 1 .. 20),
        "${name}fragmented requests");
    is($c->finish(), 1000, "${name}closed");
}


# "subscribed", then the replay, then live messages.  The rest is in
# json_resume.t.

sub replay {
    my ($name, $path, @opt) = @_;

    my $channel = 'x.replay.' . lc($name) =~ tr/a-z//cdr;
    my @body = map { '"' . join('', map { chr(97 + rand 26) } 1 .. 1000) . '"'
        } 1 .. 10;
    my $h = Test::WsBus::HTTP->new(port => port(8080));

    $h->request('POST', "/pub/$channel", body => $body[$_ % 10])
        for 1 .. 1500;

    my $c = json($path, @opt);
    my $e = http_get("/pub/$channel")->json()->{epoch};

    # a publication and an unsubscription right behind the subscription

    $c->write(join('', map { $c->format_message(TEXT, format_request(@$_)) }
        [ type => 'subscribe', id => 1, channel => $channel, epoch => $e,
          seq => 10 ],
        [ type => 'publish', id => 2, channel => $channel, data => 'live' ]));

    is_next($c, { type => 'subscribed', id => 1, channel => $channel,
        epoch => $e, seq => 10, head => 1500, oldest => 1,
        recovered => 'true' }, "${name}from a position");
    is_next($c, { type => 'published', id => 2, channel => $channel,
        seq => 1501, epoch => EPOCH }, "${name}the answer of the same turn");

    my @m = $c->next_n(1491);

    is(join(' ', map { $_->{seq} } @m), join(' ', 11 .. 1501),
        "${name}the replay, then live");
    is($m[-1]{data}, '"live"', "${name}what was published meanwhile");
    is($c->surplus(0.05), '', "${name}no more");

    # unsubscribed from while it is replayed

    my ($ended, $others) = (0, 0);

    for my $round (1 .. 10) {
        my $d = json($path, @opt);

        $d->write(join('', map { $d->format_message(TEXT,
            format_request(@$_)) }
            [ type => 'subscribe', id => 1, channel => $channel,
              epoch => $e, seq => 0 ],
            [ type => 'subscribe', id => 2, channel => "$channel.other" ]));

        my @before;

        push @before, $d->next() for 1 .. 2 + $round * 10;
        $d->say('unsubscribe', id => 3, channel => $channel);

        my $m;
        push @before, $m while ($m = $d->next())->{type} eq 'message';

        last unless is_next($m, { type => 'unsubscribed', id => 3,
            channel => $channel }, "${name}unsubscribed during a replay");

        splice(@before, 0, 2);

        my $n = @before;
        last unless is(join(' ', map { $_->{seq} } @before),
            join(' ', 1 .. $n), "${name}no hole before that");

        $ended++ if $n < 1501;

        $h->request('POST', "/pub/$channel.other", body => $round);
        is_next($d, { type => 'message', channel => "$channel.other",
            seq => $round, data => $round }, "${name}nothing after it");

        # and on from there

        $d->say('subscribe', id => 4, channel => $channel, epoch => $e,
            seq => $n);
        is_next($d, { type => 'subscribed', id => 4, channel => $channel,
            epoch => $e, seq => $n, head => 1501, oldest => 1,
            recovered => 'true' }, "${name}subscribed again");
        is(join(' ', map { $_->{seq} } $d->next_n(1501 - $n)),
            join(' ', $n + 1 .. 1501), "${name}the rest");
        is($d->surplus(0.05), '', "${name}and no more");
    }

    cmp_ok($ended, '>', 5, "${name}some replays were interrupted")
        if $name =~ /small/;
    is($c->finish(), 1000, "${name}closed");
}


# A text that looks like JSON only for a while.

sub not_data {
    my $c = json('/j');

    $c->ask('subscribe', channel => 'x.text');

    # a message of this size cannot be valid JSON before its last byte is read

    for my $n (1 .. 50) {
        my $text = '{"a":[' . '1,' x (600 * $n) . ($n % 2 ? '1]}' : '1]');

        http_post('/pub/x.text', $text);
        is_next($c, { type => 'message', channel => 'x.text', seq => $n,
            $n % 2 ? 'data' : 'text', $text },
            length($text) . ' bytes, ' . ($n % 2 ? 'JSON' : 'not JSON'));
    }
}


sub history {
    my $c = json('/j');
    my ($five, $off, $mute) = (json('/five'), json('/off'), json('/mute'));

    is_error($c->ask('history', channel => 'x.h'), 'not_found', undef,
        'history of an unknown channel');

    http_post('/pub/x.h', $_) for 1 .. 10;

    my $e = http_get('/pub/x.h')->json()->{epoch};

    my $of = sub {
        my ($client, @members) = @_;

        my $m = $client->ask('history', channel => 'x.h', @members);

        return "$m->{code}: $m->{reason}" if $m->{type} eq 'error';

        return 'another epoch' if $m->{epoch} ne $e;
        return 'other members' if join(' ', grep { !/_$/ } sort keys %$m)
            ne 'channel epoch messages more type';
        return join(' ', (map {
            $_->{seq} == $_->{data} ? $_->{seq} : 'wrong'
        } @{$m->{messages}}), $m->{more});
    };

    is($of->($c), '1 2 3 4 5 6 7 8 9 10 false', 'all');
    is($of->($c, seq => 0), '1 2 3 4 5 6 7 8 9 10 false', 'after 0');
    is($of->($c, seq => 7), '8 9 10 false', 'after 7');
    is($of->($c, seq => 9), '10 false', 'the last one');
    is($of->($c, seq => 10), 'false', 'none');
    is($of->($c, seq => 11), 'false', 'beyond the head');
    is($of->($c, seq => 9007199254740991), 'false', 'far beyond the head');
    is($of->($c, limit => 3), '1 2 3 true', 'the first three');
    is($of->($c, seq => 3, limit => 3), '4 5 6 true', 'the next three');
    is($of->($c, seq => 6, limit => 4), '7 8 9 10 false', 'exactly the rest');
    is($of->($c, seq => 6, limit => 9007199254740991), '7 8 9 10 false',
        'more than there is');
    is($of->($c, limit => 0), 'true', 'none wanted');
    is($of->($c, seq => 10, limit => 0), 'false', 'none wanted, none there');

    is($of->($five), '6 7 8 9 10 false', 'what the location gives');
    is($of->($five, seq => 2), '6 7 8 9 10 false', 'not before');
    is($of->($five, seq => 8), '9 10 false', 'but after');
    is($of->($five, limit => 2), '6 7 true', 'a part of it');

    like($of->($off), qr/^not_available: /, 'a location without history');
    is($of->($mute, limit => 1), '1 true', 'a location without publishing');

    # a subscription to it changes nothing

    $_->ask('subscribe', channel => 'x.h') for $c, $five, $off;

    is($of->($c, seq => 7), '8 9 10 false', 'subscribed');
    is($of->($five, seq => 2), '6 7 8 9 10 false', 'subscribed, five');
    like($of->($off), qr/^not_available: /, 'subscribed, no history');

    # a channel where nothing is kept

    $c->ask('subscribe', channel => 'x.h.empty');
    is_next($c->ask('history', channel => 'x.h.empty'), { type => 'history',
        channel => 'x.h.empty', epoch => $epoch, messages => [],
        more => 'false' }, 'of an empty channel');

    $off->ask('publish', channel => 'x.h.empty', data => 1);
    is_next($c->ask('history', channel => 'x.h.empty'), { type => 'history',
        channel => 'x.h.empty', epoch => $epoch, messages => [],
        more => 'false' }, 'nothing was kept');
    is_next($c, { type => 'message', channel => 'x.h.empty',
        data => '"1"' }, 'only delivered');

    # large ones come in pieces

    my $large = '"' . '=' x 60000 . '"';

    http_post('/pub/x.large', $large) for 1 .. 30;

    my ($seq, $pieces) = (0, 0);

    while (1) {
        my $m = $c->ask('history', channel => 'x.large', seq => $seq);

        for (@{$m->{messages}}) {
            last if $_->{seq} != $seq + 1 || $_->{data} ne $large;
            $seq++;
        }

        cmp_ok(length $m->{text_}, '<', 400_000, 'a piece');

        last if $m->{more} ne 'true' || ++$pieces > 30;
    }

    is($seq, 30, 'all large ones');
    cmp_ok($pieces, '>', 2, 'in several pieces');

    # and so do many

    my $h = Test::WsBus::HTTP->new(port => port(8080));
    $h->request('POST', '/pub/x.many', body => $_) for 1 .. 2500;

    my ($many, @counts);
    $seq = 0;

    while (@counts < 10) {
        my $m = $c->ask('history', channel => 'x.many', seq => $seq);
        my @m = @{$m->{messages}};

        $many = $m->{epoch};
        $seq += grep { $m[$_]{seq} == $seq + 1 + $_ } 0 .. $#m;
        push @counts, scalar(@m);
        last if $m->{more} ne 'true';
    }

    is($seq, 2500, 'all of many');
    is("@counts", '1000 1000 500', 'at most 1000 at once');

    # a deleted channel has none

    request('DELETE', '/pub/x.many');

    my $m = $mute->ask('history', channel => 'x.many');

    is_next($m, { type => 'history', channel => 'x.many', epoch => $epoch,
        messages => [], more => 'false' }, 'of a deleted channel');
    isnt($m->{epoch}, $many, 'of a new epoch');

    is($_->finish(), 1000, 'closed') for $c, $five, $off, $mute;
}


sub permissions {
    my $c = json('/j');

    for my $name ('roo', 'Room', 'y.a', 'x', 'xx.a') {
        is_error($c->ask('subscribe', channel => $name), 'forbidden', undef,
            "subscribe to $name");
        is_error($c->ask('publish', channel => $name, data => 1),
            'forbidden', undef, "publish to $name");
        is_error($c->ask('history', channel => $name), 'forbidden', undef,
            "history of $name");
        is(http_get("/pub/$name")->status(), 404, "nothing happened to $name");
    }

    $c = json('/patterns');

    for (qw/ subscribe publish history /) {
        my @data = $_ eq 'publish' ? (data => 1) : ();

        for my $name (qw/ news one. one.a x.end .end /) {
            my $m = $c->ask($_, channel => $name, @data);
            isnt($m->{code}, 'forbidden', "$_: $name is allowed");
        }

        for my $name (qw{ new newss one one.a.b one.a:b one.a/b x.y.end
            x.ends end })
        {
            is_error($c->ask($_, channel => $name, @data), 'forbidden', undef,
                "$_: $name is forbidden");
        }
    }

    $c = json('/none');

    is_error($c->ask('subscribe', channel => 'room'), 'forbidden', undef,
        'none are allowed');
    is($c->finish(), 1000, 'the connection stays');

    # publishing off

    $c = json('/mute');
    $c->ask('subscribe', channel => 'x.mute');

    is_error($c->ask('publish', channel => 'x.mute', data => 1), 'forbidden',
        undef, 'publishing is off');

    http_post('/pub/x.mute', 1);

    is_next($c, { type => 'message', channel => 'x.mute', seq => 1,
        data => 1 }, 'the connection stays');
    is($c->surplus(0.05), '', 'nothing else was published');

    for my $value ('', '0', 'off', '1', 'on', 'yes') {
        my $d = json("/var?publish=$value");
        my $m = $d->ask('publish', channel => 'x.var', data => 1);

        is($m->{code} // $m->{type}, $value =~ /^(?:0|off)?$/
            ? 'forbidden' : 'published', "publishing by \"$value\"");
    }
}


sub limits {
    my $c = json('/j');
    my (@codes, $m);

    push @codes, $c->ask('subscribe', channel => "x.limit.$_")->{type}
        for 1 .. 128;

    is(scalar(grep { $_ eq 'subscribed' } @codes), 128, '128 channels');
    is_error($c->ask('subscribe', channel => 'x.limit.0'), 'limit', undef,
        'and no more');
    is_error($c->ask('subscribe', channel => 'x.limit.5'),
        'already_subscribed', undef, 'one of them');
    is_error($c->ask('subscribe', channel => 'y'), 'forbidden', undef,
        'one that is forbidden');

    http_post("/pub/x.limit.$_", $_) for 1 .. 128;
    is(join(' ', sort { $a <=> $b } map { $_->{data} } $c->next_n(128)),
        join(' ', 1 .. 128), 'all of them work');

    $c->ask('unsubscribe', channel => 'x.limit.64');
    is($c->ask('subscribe', channel => 'x.limit.0')->{type}, 'subscribed',
        'one for another');
    is_error($c->ask('subscribe', channel => 'x.limit.64'), 'limit', undef,
        'and no more again');

    # publishing and history need no subscription

    is($c->ask('history', channel => 'x.limit.64')->{type}, 'history',
        'history at the limit');

    $c = json('/two');

    is($c->ask('subscribe', channel => 'x.1')->{type}, 'subscribed', 'one');
    is($c->ask('subscribe', channel => 'x.2')->{type}, 'subscribed', 'two');
    is_error($c->ask('subscribe', channel => 'x.3'), 'limit', undef, 'three');

    # the fixed one counts

    $c = json('/fixed-two/fixed');

    is($c->next()->{channel}, 'fixed', 'the fixed one');
    is($c->ask('subscribe', channel => 'x.1')->{type}, 'subscribed',
        'and one');
    is_error($c->ask('subscribe', channel => 'x.2'), 'limit', undef,
        'and another one');
    $c->ask('unsubscribe', channel => 'fixed');
    is($c->ask('subscribe', channel => 'x.2')->{type}, 'subscribed',
        'instead of the fixed one');
}


# A publication with a key is done once.

sub keys_once {
    my ($c, $d, $off) = map { $_->[1] } ws_pair();

    my %publish = (channel => 'x.keys', key => 'the key');

    is_next($c->ask('publish', %publish, data => 1), { type => 'published',
        channel => 'x.keys', seq => 1, epoch => EPOCH }, 'with a key');
    is_next($_->ask('publish', %publish, data => 2), { type => 'published',
        channel => 'x.keys', seq => 1,
        epoch => EPOCH }, 'repeated') for $c, $d, $c;
    is_next($d->ask('publish', channel => 'x.keys', key => 'other',
        text => ''), { type => 'published', channel => 'x.keys', seq => 2,
        epoch => EPOCH },
        'another key');
    is_next($d->ask('publish', channel => 'x.keys.2', key => 'the key',
        data => 1), { type => 'published', channel => 'x.keys.2', seq => 1,
        epoch => EPOCH },
        'another channel');
    is_next($d->ask('publish', channel => 'x.keys', data => 3,
        key => \'"the\u0020key"'), { type => 'published',
        channel => 'x.keys', seq => 1,
        epoch => EPOCH }, 'an escaped key is the same');

    my $long = "\xc3\xa9" x 127 . 'x';
    is($c->ask('publish', channel => 'x.keys', data => 1,
        key => $long)->{seq}, 3,
        'a key of 255 bytes');
    is($c->ask('publish', channel => 'x.keys', data => 1,
        key => $long)->{seq}, 3,
        'the same again');
    is($c->ask('publish', channel => 'x.keys', data => 1)->{seq}, 4,
        'without a key');

    is_next($c, { type => 'message', channel => 'x.keys', seq => 1,
        data => '"1"' }, 'published once');
    is(join(' ', map { $_->{seq} } $c->next_n(3)), '2 3 4', 'and the others');
    is($c->surplus(0.05), '', 'no more');

    # the same keys as those of HTTP

    my $r = http_post('/pub/x.keys', 'x',
        headers => [ 'Idempotency-Key', 'the key' ]);
    is($r->json()->{seq}, 1, 'over HTTP: the first result');
    is($r->header('Idempotency-Replayed'), 'true', 'over HTTP: told');

    http_post('/pub/x.keys', '"http"', headers => [ 'Idempotency-Key', 'h' ]);
    is($c->ask('publish', channel => 'x.keys', data => 1,
        key => 'h')->{seq}, 5,
        'after HTTP: the first result');
    is_next($c, { type => 'message', channel => 'x.keys', seq => 5,
        data => '"http"' }, 'published over HTTP');
    is($c->surplus(0.05), '', 'only there');

    # without history, too

    $c->ask('unsubscribe', channel => 'x.keys');
    $c->ask('subscribe', channel => 'x.unkept');

    is_next($off->ask('publish', channel => 'x.unkept', key => 'k',
        data => $_), { type => 'published', channel => 'x.unkept' },
        "not kept, $_") for 1 .. 3;
    is_next($c, { type => 'message', channel => 'x.unkept',
        data => '"1"' }, 'not kept: once');
    is($c->surplus(0.05), '', 'not kept: no more');
}


# Clients in both workers: [pid, JSON client], the first one subscribed.

sub ws_pair {
    my ($c, $d) = map { json_at($_, '/j') } @pids;

    $c->ask('subscribe', channel => 'x.keys');

    return ([ $pids[0], $c ], [ $pids[1], $d ],
        [ $pids[1], json_at($pids[1], '/off') ]);
}


sub json_at {
    my ($pid, $path, %opt) = @_;

    for (1 .. 500) {
        my $c = json($path, %opt);
        return $c if $c->response()->header('X-Pid') == $pid;
        $c->disconnect();
    }

    die "no connection to worker $pid";
}


# The size of a request is limited as that of any message.

sub sizes {
    my $c = json('/j');

    $c->ask('subscribe', channel => 'x.size');

    my $frame = length format_request(type => 'publish', id => 1,
        channel => 'x.size', text => '');

    for my $fragment (0, 1000) {
        $c->text(format_request(type => 'publish', id => 1,
            channel => 'x.size', text => 'x' x (65536 - $frame)),
            $fragment ? (fragment => $fragment) : ());

        my %by = map { $_->{type} => $_ } $c->next_n(2);

        is($by{published}{id}, 1, 'a request of the greatest size');
        is($by{message}{text}, 'x' x (65536 - $frame), 'arrives');
    }

    # an answer may be larger: of 65000 bytes, each needs six

    my $h = Test::WsBus::HTTP->new(port => port(8080));
    $h->request('POST', '/pub/x.size', body => "\x01" x 65000);
    is_next($c, { type => 'message', channel => 'x.size', seq => 3,
        text => "\x01" x 65000 }, 'escaped it is much larger');

    $h->request('POST', '/pub/x.size', body => "\xff" x 65000,
        headers => [ 'Content-Type', 'application/octet-stream' ]);
    is_next($c, { type => 'message', channel => 'x.size', seq => 4,
        base64 => encode_base64("\xff" x 65000, '') }, 'base64, too');

    $c->text(format_request(type => 'publish', id => 1,
        channel => 'x.size', text => 'x' x (65537 - $frame)));
    is_closed($c, 1009, 'one byte more', reason => qr/too big/);

    $c = json('/deflate', deflate => 1);
    $c->text(format_request(type => 'publish', id => 1,
        channel => 'x.size', text => 'x' x (65537 - $frame)));
    is_closed($c, 1009, 'one byte more, inflated', reason => qr/too big/);

    is(http_get('/pub/x.size')->json()->{seq}, 4, 'not published');
}


# What is not a text message.

sub frames {
    my $c = json('/j');

    $c->binary(format_request(type => 'subscribe', channel => 'x.f'));
    is_closed($c, 1003, 'a binary message', reason => qr/text/);
    $c->disconnect();
    is($t->find_in_file('bus.log', qr{^/j 0 0 1003 server$}m, timeout => 5), 1,
        'logged');

    $c = json('/fixed/f');
    $c->next();
    $c->send_frame(BINARY, '{', fin => 0);
    is_closed($c, 1003, 'the beginning of one');

    $c = json('/deflate', deflate => 1);
    $c->binary('{}');
    is_closed($c, 1003, 'a compressed one');

    $c = json('/j');
    $c->text("{\"type\":\"\xff\"}");
    is_closed($c, 1007, 'not UTF-8');

    $c = json('/j');
    $c->text("{\"type\":\"\xed\xa0\x80\"}");
    is_closed($c, 1007, 'a surrogate in UTF-8');

    # control frames, between frames of a request, too

    $c = json('/j');
    my @f = fragments(TEXT, format_request(type => 'subscribe', id => 1,
        channel => 'x.f'), 10);

    $c->write($_ . frame(9, 'ping')) for @f;
    is($c->next()->{type}, 'subscribed', 'pings between fragments');
    is(scalar(grep { $_ eq 'ping' } @{$c->{pongs}}), scalar(@{$c->{pongs}}),
        'answered');

    # its own Close, after a request

    $c->write(frame(TEXT, format_request(type => 'unsubscribe', id => 2,
        channel => 'x.f')) . frame(8, pack('n', 4321)));
    is_next($c, { type => 'unsubscribed', id => 2, channel => 'x.f' },
        'answered before its Close is');
    is_closed($c, 4321, 'then it is');

    $c = json('/j');
    $c->write(frame(8, pack('n', 1000)) . frame(TEXT, format_request(
        type => 'publish', id => 2, channel => 'x.f', data => 1)));
    is_closed($c, 1000, 'a request behind its Close');
    is(http_get('/pub/x.f')->status(), 200, 'the channel is there');
    is(http_get('/pub/x.f')->json()->{seq}, 0, 'nothing is published by it');
}


# Errors keep the connection, up to a point.

sub flood {
    for my $case (
        [ 'not JSON', 'x', 'bad_request' ],
        [ 'forbidden', format_request(type => 'subscribe', channel => 'y'),
          'forbidden' ],
        [ 'not subscribed', format_request(type => 'unsubscribe',
          channel => 'x.flood'), 'not_subscribed' ],
    ) {
        my ($name, $text, $code) = @$case;

        my $c = json('/j');

        $c->write(frame(TEXT, $text) x ERRORS);
        is(join(' ', map { $_->{code} } $c->next_n(ERRORS)),
            join(' ', ($code) x ERRORS), "$name: so many are answered");

        is($c->ask('publish', channel => 'x.flood', data => 1)->{type},
            'published', "$name: it goes on");

        $c->write(frame(TEXT, $text) . frame(TEXT, format_request(
            type => 'publish', channel => 'x.flood', data => 'late')) x 10);
        is_closed($c, 1008, "$name: and no more", reason => qr/error/);
    }

    is(http_get('/pub/x.flood')->json()->{seq}, 3, 'nothing after that');

    # two at once in one packet

    my $c = json('/j');

    $c->write(frame(TEXT, '?') x 5000);
    is_closed($c, 1008, 'a flood');
    is(scalar(@{$c->{skipped}}), ERRORS, 'not answered beyond that');
}


# DELETE closes whoever is subscribed, whatever else they are subscribed to.

sub deletion {
    my $h = Test::WsBus::HTTP->new(port => port(8080));

    $h->request('POST', '/pub/x.gone', body => '=' x 10000) for 1 .. 1000;
    my $e = $h->request('GET', '/pub/x.gone')->json()->{epoch};

    my @c = map { json('/j') } 1 .. 4;
    my $fixed = json('/fixed/x.gone');
    my $slow = json('/j', rcvbuf => 4096);

    $_->ask('subscribe', channel => 'x.stays') for @c;
    $_->ask('subscribe', channel => 'x.gone') for @c[0 .. 2];
    $c[2]->ask('unsubscribe', channel => 'x.gone');

    $slow->say('subscribe', id => 1, channel => 'x.gone', epoch => $e,
        seq => 0);
    is($slow->next()->{recovered}, 'true', 'a replay begins');

    is($h->request('DELETE', '/pub/x.gone')->status(), 204, 'deleted');

    is_closed($_, 4004, 'closed', reason => qr/deleted/) for @c[0, 1], $fixed;
    is_closed($slow, 4004, 'closed during a replay', reason => qr/deleted/);

    my @seqs = map { $_->{data} =~ /"seq":(\d+)/ } @{$slow->{skipped}};
    is("@seqs", join(' ', 1 .. @seqs), 'no hole before that');

    $h->request('POST', '/pub/x.stays', body => 1);
    is_next($_, { type => 'message', channel => 'x.stays', seq => 1,
        data => 1 }, 'others stay') for @c[2, 3];

    my $c = json('/j');
    my $m = $c->ask('subscribe', channel => 'x.gone', epoch => $e, seq => 500);

    is_next($m, { type => 'subscribed', channel => 'x.gone',
        epoch => $epoch, seq => 0, head => 0, oldest => 1,
        recovered => 'false' }, 'it starts anew');
    isnt($m->{epoch}, $e, 'with a new epoch');

    # nobody but itself

    is_next($c->ask('publish', channel => 'x.gone', data => 1),
        { type => 'published', channel => 'x.gone', seq => 1, epoch => EPOCH },
        'and a new count');
    is($h->request('DELETE', '/pub/x.gone')->status(), 204, 'deleted again');
    is_next($c, { type => 'message', channel => 'x.gone', seq => 1,
        data => '"1"' }, 'what came before');
    is_closed($c, 4004, 'closed again');
}


# Workers do not matter.

sub across {
    my @c = map { json_at($_, '/j') } @pids, @pids;

    $_->ask('subscribe', channel => 'x.across') for @c;

    my %seqs;

    for my $n (1 .. 50) {
        for my $c (@c) {
            $c->say('publish', channel => 'x.across', text => $n);
        }
    }

    for my $c (@c) {
        my @m = $c->next_n(200);
        is(join(' ', map { $_->{seq} } @m), join(' ', 1 .. 200),
            'one order for all');
        push @{$seqs{join(' ', map { $_->{text} } @m)}}, $c;
    }

    is(scalar(keys %seqs), 1, 'the same one');
}


# A subscription made while there is much publishing: its first message is
# the one behind the position it was told.

sub while_published {
    $t->run_daemon(sub {
        Test::WsBus::Conn::disconnect_all();

        my $c = json('/j');
        my $n = 0;

        local $SIG{TERM} = sub { $n = -1e9 };

        while ($n >= 0) {
            $c->write(join('', map { frame(TEXT, format_request(
                type => 'publish', channel => 'x.storm', data => ++$n))
            } 1 .. 20));

            $n = -1 if $c->ask('history', channel => 'x.storm',
                limit => 0)->{type} ne 'history';
        }
    });

    my ($e, @why, $resumed);

    $t->wait_until(sub { http_get('/pub/x.storm')->status() == 200 });

    for my $n (1 .. 200) {
        my $c = json_at($pids[$n % 2], '/j');
        my $back = $n % 20;
        my $m = $c->ask('subscribe', channel => 'x.storm',
            $e && $n % 4 ? (epoch => $e->[0], seq => $e->[1]) : ());

        push @why, "first came $c->{later}[0]{text_}" if @{$c->{later}};

        my @m = $c->next_n(30);
        my $expected = join(' ', map { $m->{seq} + $_ } 1 .. 30);

        push @why, "from $m->{seq}: " . join(' ', map { $_->{seq} } @m)
            if join(' ', map { $_->{seq} } @m) ne $expected;
        push @why, "published was " . join(' ', map { $_->{data} } @m)
            if join(' ', map { $_->{data} } @m)
                ne join(' ', map { "\"$_->{seq}\"" } @m);

        if ($e && $n % 4) {
            $resumed++ if ($m->{recovered} // '') eq 'true'
                && $m->{seq} == $e->[1];

        } else {
            push @why, "live: $m->{text_}" if $m->{seq} != $m->{head};
        }

        $e = [ $m->{epoch}, $m[$back]{seq} ];

        $c->disconnect();
    }

    is(join("\n", @why), '', 'subscribed, replayed, live: in that order');
    is($resumed, 149, 'resumed each time');

    $t->stop_daemons();
}


# Subscriptions come and go, and leave nothing.

sub subscriptions {
    my ($pid) = @pids;

    ok($t->wait_until(sub { status()->{connections} == 0 }),
        'no connections are left');
    is(status()->{subscriptions}, 0, 'nor subscriptions');

    my $c = json_at($pid, '/j');
    my $d = json_at($pid, '/j');
    my @rss;

    for my $round (1 .. 6) {
        for my $batch (1 .. 10) {
            my @names = map { "x.leak.$_" } 1 .. 100;

            $c->write(join('', map { frame(TEXT, format_request(
                type => 'subscribe', channel => $_)) } @names));
            $c->next_n(100);

            if ($batch == 5) {
                is(status()->{subscriptions}, 100, "round $round: many");
            }

            $d->ask('publish', channel => $names[$_], data => $batch)
                for 0 .. 9;
            $c->next_n(10);

            $c->write(join('', map { frame(TEXT, format_request(
                type => 'unsubscribe', channel => $_)) } reverse @names));
            $c->next_n(100);
        }

        # and those that just end

        for (1 .. 10) {
            my $e = json_at($pid, '/j');

            $e->write(join('', map { frame(TEXT, format_request(
                type => 'subscribe', channel => "x.leak.$_")) } 1 .. 100));
            $e->next_n(100);
            $e->disconnect();
        }

        ok($t->wait_until(sub { status()->{subscriptions} == 0 }),
            "round $round: none are left");

        push @rss, rss($pid);
    }

    is($c->surplus(0.05), '', 'nothing comes');

    # a sanitizer keeps what is freed

    SKIP: {
        skip 'memory of a sanitizer', 1 if $ENV{WS_BUS_TEST_PRELOAD};

        cmp_ok($rss[-1], '<', $rss[1] + 1_000_000, 'memory does not grow')
            or diag("@rss");
    }
}
