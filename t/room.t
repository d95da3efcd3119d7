#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A zone that things of one kind and size have filled still has room for all
# others: channels with names of any length, subscribers, members, idempotency
# keys, consumers' positions, worker processes.

use warnings;
use strict;

use JSON::PP;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Json;
use WsBusTestWorkers;

# far more than fit
use constant MANY => 1500;

my $t = Test::WsBus->new()->log_level('info')->time_limit(240);

$t->expect_log(qr/ws_bus_zone "[a-z]+" is full/);

# each case has a zone of its own

my @zones = qw/ short long keys acks members workers listen /;

$t->write_file_expand('nginx.conf', conf());

$t->run();

my $h = Test::WsBus::HTTP->new(port => port(8080));

filled_by_short_names();
filled_by_long_names();
filled_by_keys();
filled_by_acks();
filled_by_members();
filled_by_subscribers();
workers();

$t->done_testing();


sub conf {
    my $zones = join("\n    ", map { "ws_bus_zone $_ 192k;" } @zones);
    my $locations = join('', map { locations($_) } @zones);

    return <<"EOC";

%%TEST_GLOBALS%%

worker_processes 2;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    $zones

    ws_bus_message_max_size 2k;
    ws_bus_channels c.**;
    ws_bus_history 10;
    ws_bus_publish on;
    ws_bus_drain 1h;

    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

$locations

        location = /status {
            ws_bus_status;
        }
    }
}

EOC
}


sub locations {
    my ($zone) = @_;

    return <<"EOC";

        location ~ ^/$zone/ws/(.+)\$ {
            ws_bus \$1 zone=$zone;
        }

        location = /$zone/json {
            ws_bus zone=$zone;
            ws_bus_presence members;
            ws_bus_member \$arg_u;
        }

        location ~ ^/$zone/pub/(.+)\$ {
            ws_bus_publisher \$1 zone=$zone;
        }

        location ~ ^/$zone/pass/(.+)\$ {
            ws_bus_publisher \$1 zone=$zone;
            ws_bus_history off;
        }
EOC
}


sub post {
    my ($path, $key) = @_;

    return $h->request('POST', $path, body => 'x',
        headers => $key ? [ 'Idempotency-Key' => $key ] : []);
}


# Channels that only have a history, with names of these lengths.

sub fill {
    my ($zone, $length) = @_;

    for my $i (1 .. MANY) {
        my $name = sprintf('c.%06d', $i);
        $name .= 'n' x ($length - length $name) if $length > length $name;

        my $r = post("/$zone/pub/$name");

        return fail("$zone: channel $i: " . $r->status())
            if $r->status() != 201;
    }

    my $kept = grep {
        my $name = sprintf('c.%06d', $_);
        $name .= 'n' x ($length - length $name) if $length > length $name;
        $h->request('GET', "/$zone/pub/$name")->status() == 200
    } 1 .. MANY;

    return cmp_ok($kept, '<', MANY, "$zone: a full zone");
}


# A channel with a name of that length can be subscribed to and works.

sub is_served {
    my ($zone, $length, $name) = @_;

    my $channel = 's' . 'x' x ($length - 1);
    my $c = eval { ws("/$zone/ws/$channel") };

    return fail("$name: refused") unless $c;

    my $r = post("/$zone/pub/$channel");

    is($r->status(), 201, "$name: published");
    is_message($c, 'x', "$name: received");
    $c->finish();
}


sub is_known {
    my ($zone, $key, $name) = @_;

    my @r = map { post("/$zone/pub/c.key", $key) } 1 .. 2;

    is(join(' ', map { $_->status() } @r), '201 201', "$name: published");
    is($r[1]->json()->{seq}, $r[0]->json()->{seq}, "$name: once");
}


sub consumer {
    my ($zone, %opt) = @_;

    return Test::WsBus::Json::json("/$zone/json" . ($opt{args} // ''));
}


# A consumer's position.

sub is_acked {
    my ($zone, $name) = @_;

    post("/$zone/pub/c.acked");

    my $c = consumer($zone, args => "?consumer=$name&u=$name");
    my $m = $c->ask('subscribe', channel => 'c.acked');
    my $seq = $m->{head};

    $c->say('ack', channel => 'c.acked', seq => $seq);
    $c->ask('history', channel => 'c.acked', limit => 0);
    $c->finish();

    post("/$zone/pub/c.acked");

    $c = consumer($zone, args => "?consumer=$name&u=$name");
    $m = $c->ask('subscribe', channel => 'c.acked', from => 'ack');

    is($m->{seq}, $seq, "$zone: the position of consumer $name");
    $c->finish();
}


sub members {
    my ($c, $channel) = @_;

    my $m = $c->ask('presence', channel => $channel);

    return @{decode_json($m->{members} // '[]')};
}


# Somebody with that name is seen on a channel.

sub is_member {
    my ($zone, $length) = @_;

    my $member = 'm' x $length;
    my $c = consumer($zone, args => "?u=$member");

    is($c->ask('subscribe', channel => "c.present.$length")->{type},
        'subscribed', "$zone: a member with $length bytes");
    is_deeply([ members($c, "c.present.$length") ], [ $member ],
        "$zone: is seen");

    return $c->finish();
}


sub all_kinds {
    my ($zone) = @_;

    is_served($zone, $_, "$zone: a name of $_ bytes") for
        1, 42, 50, 51, 128, 170, 171, 255;

    is_known($zone, 'a key', "$zone: a key");
    is_acked($zone, 'one');
    is_member($zone, $_) for 5, 40, 111, 112, 255;
}


sub filled_by_short_names {
    fill('short', 8);
    all_kinds('short');
}


sub filled_by_long_names {
    fill('long', 240);
    all_kinds('long');
}


sub filled_by_keys {
    my %status;

    $status{post("/keys/pass/nobody", "key $_")->status()}++ for 1 .. MANY;

    is_deeply(\%status, { 201 => MANY }, 'keys: as many as there are');

    all_kinds('keys');

    # in the places of channels, too, there are no more than their half

    fill('keys', 100);

    $status{post("/keys/pass/nobody", "late $_")->status()}++ for 1 .. MANY;

    is_deeply(\%status, { 201 => 2 * MANY }, 'keys: in a full zone');

    # one makes way for another one, whatever place it has

    my @known = map { "late $_" } MANY - 100 .. MANY - 1;
    my $before = status('keys')->{messages_in};

    post('/keys/pass/nobody', $_) for @known;

    cmp_ok(status('keys')->{messages_in} - $before, '<', 50,
        'keys: most of the newest are known');

    all_kinds('keys');
}


sub filled_by_acks {
    post('/acks/pub/c.acks');

    for my $i (1 .. MANY) {
        my $c = consumer('acks', args => "?consumer=c$i&u=u");

        $c->ask('subscribe', channel => 'c.acks');
        $c->say('ack', channel => 'c.acks', seq => 1);
        $c->ask('history', channel => 'c.acks', limit => 0);
        $c->disconnect();
    }

    fill('acks', 60);
    all_kinds('acks');
}


# Everybody of many on one channel, with names of all lengths; then they leave.

sub filled_by_members {
    my @c;

    for my $i (1 .. 600) {
        my $c = consumer('members', args => "?u=$i" . 'm' x ($i * 11 % 250));

        last if $c->ask('subscribe', channel => 'c.crowd')->{type}
            ne 'subscribed';

        push @c, $c;
    }

    my @seen = members($c[0], 'c.crowd');

    cmp_ok(scalar(@seen), '>', 50, 'members: many are seen');
    cmp_ok(scalar(@seen), '<', 600, 'members: not all, the zone is full');

    $_->disconnect() for @c;

    ok($t->wait_until(sub {
        my $c = consumer('members', args => '?u=last');

        $c->ask('subscribe', channel => 'c.crowd');
        @seen = members($c, 'c.crowd');
        $c->finish();

        return @seen == 1;
    }, 15), 'members: all have left');

    fill('members', 20);
    all_kinds('members');
}


# One of eight stays, on whatever page of memory it is.

sub filled_by_subscribers {
    my @c;

    for my $i (1 .. MANY) {
        my $c = Test::WsBus::Client->new(port => port(8080));
        my $r = $c->handshake("/listen/ws/l.$i");

        last unless $r && $r->status() == 101;

        push @c, $c;
    }

    cmp_ok(scalar(@c), '<', MANY, 'listen: as many as there is room for');

    for my $i (0 .. $#c) {
        $c[$i]->finish() if $i % 8;
    }

    my $left = grep { !($_ % 8) } 0 .. $#c;

    $t->wait_until(sub { status('listen')->{connections} == $left })
        or die "they do not leave";

    all_kinds('listen');

    for my $i (grep { !($_ % 8) } 0 .. $#c) {
        post("/listen/pass/l." . ($i + 1));
    }

    is(scalar(grep { ($c[$_]->recv() // '') eq 'x' }
            grep { !($_ % 8) } 0 .. $#c), $left, 'listen: who stays hears');

    $c[$_]->finish() for grep { !($_ % 8) } 0 .. $#c;
}


# Old workers stay as long as they have connections: more than two generations
# of them are more than were expected.

sub workers {
    my @old;

    fill('workers', 40);

    for my $i (1 .. 5) {
        push @old, ws("/workers/ws/old.$i");

        ok($t->wait_until(sub { WsBusTestWorkers::reload($t) }),
            "workers: reload $i");

        $h = Test::WsBus::HTTP->new(port => port(8080));
        is_served('workers', 60 * ($i % 4) + 10, "workers: generation $i");
    }

    cmp_ok(scalar($t->workers()), '>', 4, 'workers: of many generations');

    for my $i (1 .. 5) {
        post("/workers/pass/old.$i");
        is_message($old[$i - 1], 'x', "workers: a message for generation $i");
        $old[$i - 1]->finish();
    }

    unlike($t->read_file('error.log'), qr/has no memory for this worker/,
        'workers: all have room');
}
