# Copyright (C) the ngx_ws_bus_module authors

# The status page: what it counts, as JSON and for Prometheus.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

$t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 3;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone main 4m;
    ws_bus_zone 'a"b\\c
d' 1m;
    ws_bus_zone idle 2m;

    ws_bus_history 10;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
            ws_bus_publish on;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
        }

        location ~ ^/other/ws/(.*)$ {
            ws_bus $1 'zone=a"b\\c
d';
        }

        location ~ ^/other/pub/(.*)$ {
            ws_bus_publisher $1 'zone=a"b\\c
d';
        }

        location = /status {
            ws_bus_status;
        }

        location = /json {
            ws_bus_status json;
        }

        location = /metrics {
            ws_bus_status prometheus;
            charset koi8-r;
        }
    }
}

EOF

$t->run();

my $other = "a\"b\\c\nd";
my $label = 'a\"b\\\\c\nd';

my @reasons = qw/ slow conflated closed lost limit /;
my @refused = qw/ handshake channel unavailable origin token claim /;


# the page

my $r = http_get('/status');

is($r->status(), 200, 'JSON');
is($r->header('Content-Type'), 'application/json', 'JSON, content type');
is($r->header('Cache-Control'), 'no-store', 'JSON, not to be cached');
is($r->header('Content-Length'), length $r->body(), 'JSON, content length');

my $r2 = http_get('/json');

is_deeply([ sort keys %{$r2->json()} ], [ sort keys %{$r->json()} ],
          'JSON asked for');

$r = http_get('/metrics');

is($r->status(), 200, 'Prometheus');
is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8',
   'Prometheus, content type');
is($r->header('Cache-Control'), 'no-store', 'Prometheus, not to be cached');
is($r->header('Content-Length'), length $r->body(),
   'Prometheus, content length');

for my $uri ('/status', '/metrics') {
    $r = request('HEAD', $uri);

    is($r->status(), 200, "HEAD $uri");
    cmp_ok($r->header('Content-Length'), '>', 0, "HEAD $uri, content length");

    for my $method ('POST', 'PUT', 'DELETE', 'PATCH') {
        $r = request($method, $uri, body => 'x');

        is($r->status(), 405, "$method $uri");
        is($r->header('Allow'), 'GET, HEAD', "$method $uri, Allow");
        is($r->body(), "method not allowed\n", "$method $uri, text");
    }
}


# nothing has happened yet

my $s = status();
my $z = $s->{zones}{idle};

is_deeply([ sort keys %$s ], [ qw/ nginx uptime version zones / ],
          'top level');
is_deeply([ sort keys %{$s->{zones}} ], [ sort 'main', 'idle', $other ],
          'zones');

like($s->{version}, qr/^\d+\.\d+\.\d+$/, 'version');
is($s->{nginx} =~ s/(\d+)\.(\d+)\.(\d+)/$1 * 1e6 + $2 * 1e3 + $3/er,
   $t->version(), 'nginx');
like($s->{uptime}, qr/^\d+$/, 'uptime');

is_deeply([ sort keys %$z ], [ sort qw/
    size log channels connections subscriptions messages_in messages_out
    bytes_in bytes_out dropped limit closed refused delivery workers
/ ], 'members of a zone');

is($z->{size}, 2 * 1024 * 1024, 'size');
is($z->{log}{size}, 1512 * 1024, 'size of the log');
is_deeply($z->{log}, { size => 1512 * 1024, used => 0,
                       oldest_age => undef, overruns => 0 }, 'an empty log');
is_deeply([ sums($z) ], [ (0) x 6 ], 'no counts');
is($z->{channels}, 0, 'no channels');
is_deeply($z->{dropped}, { map { $_ => 0 } @reasons }, 'none dropped');
is_deeply($z->{refused}, { map { $_ => 0 } @refused }, 'none refused');
is_deeply($z->{closed}, {}, 'none closed');
is_deeply($z->{delivery}, { p50_ms => undef, p99_ms => undef },
          'none delivered');
is_deeply([ sort { $a <=> $b } map { $_->{pid} } @{$z->{workers}} ],
          [ sort { $a <=> $b } $t->workers() ], 'workers');

is_deeply([ sort keys %{$z->{workers}[0]} ], [ sort qw/
    pid generation uptime connections subscriptions messages_in messages_out
    overruns
/ ], 'members of a worker');

for my $w (@{$z->{workers}}) {
    is($w->{generation}, 0, 'first generation');
    is_deeply([ @$w{qw/ connections subscriptions messages_in messages_out
                        overruns /} ], [ (0) x 5 ], 'a worker that waits');
}


# connections on several workers

my @c;

for my $n (1 .. 500) {
    push @c, ws('/ws/c' . $n % 5);

    last if $n >= 20 && busy(status()->{zones}{main}) >= 2;
}

my $n = scalar @c;

$z = wait_zone('main', connections => $n);

is($z->{connections}, $n, 'connections');
is($z->{subscriptions}, $n, 'subscriptions');
is($z->{channels}, 5, 'channels');
cmp_ok(busy($z), '>=', 2, 'several workers have some');
is(sum($z, 'connections'), $n, 'connections of the workers');
is(sum($z, 'subscriptions'), $n, 'subscriptions of the workers');
is_deeply([ sums(status()->{zones}{idle}) ], [ (0) x 6 ],
          'nothing elsewhere');


# messages by HTTP and by a client

my $subscribers = http_post('/pub/c1', 'twelve bytes')->json()->{subscribers};
my @c1 = grep { ($_ + 1) % 5 == 1 } 0 .. $n - 1;

is($subscribers, scalar @c1, 'subscribers');

$c[$c1[0]]->text('seven b');
http_post('/pub/nobody', 'xyz');

is(join(' ', $c[$_]->recv_n(2)), 'twelve bytes seven b', 'delivered')
    for @c1;

$z = wait_zone('main', messages_out => 2 * $subscribers);

is($z->{messages_in}, 3, 'messages in');
is($z->{bytes_in}, 12 + 7 + 3, 'bytes in');
is($z->{messages_out}, 2 * $subscribers, 'messages out');
is($z->{bytes_out}, (12 + 7) * $subscribers, 'bytes out');
is(sum($z, 'messages_in'), 3, 'messages in, of the workers');
is(sum($z, 'messages_out'), 2 * $subscribers, 'messages out, of the workers');
is($z->{channels}, 6, 'one more channel');
is($z->{log}{used}, 56 + 16 + 56 + 8 + 56 + 8, 'bytes of the log');
like($z->{log}{oldest_age}, qr/^\d+(?:\.\d{1,6})?$/, 'age of the oldest');
cmp_ok($z->{delivery}{p50_ms}, '>', 0, 'p50');
cmp_ok($z->{delivery}{p99_ms}, '>=', $z->{delivery}{p50_ms}, 'p99');

my $age = $z->{log}{oldest_age};

select(undef, undef, undef, 0.05);
cmp_ok(status()->{zones}{main}{log}{oldest_age}, '>=', $age + 0.05,
       'the oldest gets older');

# the same key is no second message

for (1, 2) {
    http_post('/pub/nobody', 'xyz', headers => [ 'Idempotency-Key' => 'k' ]);
}

http_post('/pub/nobody', "\xff");

is(status()->{zones}{main}{messages_in}, 4, 'repeated and refused ones do '
   . 'not count');


# handshakes refused

ws_response('/ws/c1', method => 'POST');
ws_response('/ws/c1', key => undef);
ws_response('/ws/c1', version => 8);
ws_response('/ws/');

is_deeply(status()->{zones}{main}{refused},
          { handshake => 3, channel => 1, unavailable => 0, origin => 0,
            token => 0, claim => 0 }, 'refused');


# closed

my $gone = shift @c;
$gone->finish(1000);
$gone = shift @c;
$gone->finish(1000);
$gone = shift @c;
$gone->finish(3333);
$gone = shift @c;
$gone->send_frame(3, '');
is_closed($gone, 1002, 'a violation');
$gone = shift @c;
$gone->abort();

$n -= 5;

$z = wait_zone('main', connections => $n);

is($z->{connections}, $n, 'connections that are left');
is($z->{subscriptions}, $n, 'subscriptions that are left');
is_deeply($z->{closed}, { 1000 => 2, 1002 => 1, 1006 => 1, other => 1 },
          'close codes');

request('DELETE', '/pub/c1');
is_closed($c[$_], 4004, 'deleted') for map { $_ - 5 } @c1[1 .. $#c1];

$z = wait_zone('main', connections => $n - $#c1);

is($z->{closed}{4004}, $#c1, 'deleted ones are counted');
is($z->{closed}{1000}, 2, 'as such');


# the other zone

my $o = ws('/other/ws/c1');

http_post('/other/pub/c1', 'over there');
is_message($o, 'over there', 'delivered in the other zone');

$z = wait_zone($other, messages_out => 1);

is_deeply([ sums($z) ], [ 1, 1, 1, 1, 10, 10 ], 'counts of the other zone');
is($z->{size}, 1024 * 1024, 'size of the other zone');


# Prometheus

my $p = parse_metrics(http_get('/metrics')->body());

is($p->{error}, undef, 'Prometheus');

$s = status();

for my $name ('main', 'idle', $other) {
    my $z = $s->{zones}{$name};
    my $l = qq!zone="! . ($name eq $other ? $label : $name) . '"';

    my %expected = (
        "ws_bus_connections{$l}" => $z->{connections},
        "ws_bus_subscriptions{$l}" => $z->{subscriptions},
        "ws_bus_channels{$l}" => $z->{channels},
        "ws_bus_workers{$l}" => 3,
        "ws_bus_messages_in_total{$l}" => $z->{messages_in},
        "ws_bus_messages_out_total{$l}" => $z->{messages_out},
        "ws_bus_bytes_in_total{$l}" => $z->{bytes_in},
        "ws_bus_bytes_out_total{$l}" => $z->{bytes_out},
        "ws_bus_overruns_total{$l}" => 0,
        "ws_bus_limit_delayed_total{$l}" => 0,
        "ws_bus_limit_closed_total{$l}" => 0,
        "ws_bus_zone_size_bytes{$l}" => $z->{size},
        "ws_bus_log_size_bytes{$l}" => $z->{log}{size},
        "ws_bus_log_bytes{$l}" => $z->{log}{used},
        "ws_bus_delivery_seconds_count{$l}" => $z->{messages_out},
    );

    for my $reason (@reasons) {
        $expected{qq!ws_bus_dropped_total{$l,reason="$reason"}!}
            = $z->{dropped}{$reason};
    }

    for my $reason (@refused) {
        $expected{qq!ws_bus_refused_total{$l,reason="$reason"}!}
            = $z->{refused}{$reason};
    }

    for my $code (1000 .. 1003, 1005 .. 1009, 1011, 1013, 4001, 4003, 4004,
                  4010, 'other')
    {
        $expected{qq!ws_bus_closed_total{$l,code="$code"}!}
            = $z->{closed}{$code} // 0;
    }

    my %got = map { $_ => $p->{samples}{$_} }
        grep { index($_, $l) > 0 && !/oldest|_bucket|_sum/ }
        keys %{$p->{samples}};

    is_deeply(\%got, \%expected, "samples of $l");

    my $oldest = $p->{samples}{"ws_bus_log_oldest_seconds{$l}"};

    if (defined $z->{log}{oldest_age}) {
        cmp_ok($oldest, '>', 0, "age of the oldest, $l");
        cmp_ok($oldest, '<=', $z->{log}{oldest_age}, "which grows, $l");

    } else {
        is($oldest, 0, "age of nothing, $l");
    }
}

is(join(' ', grep { /build_info/ } keys %{$p->{samples}}),
   qq!ws_bus_build_info{version="$s->{version}",nginx="$s->{nginx}"}!,
   'versions');

is(join(' ', map { "$_:$p->{types}{$_}" } grep {
    $p->{types}{$_} eq 'counter' xor /_total$/
} keys %{$p->{types}}), '', 'counters end in _total, and nothing else does');


# a killed worker takes its gauges with it, and leaves its counters

$z = status()->{zones}{main};

my ($w) = grep { $_->{connections} } @{$z->{workers}};

$t->expect_log(qr/worker process $w->{pid} exited on signal 9/);
$t->signal('KILL', $w->{pid});

ok($t->wait_until(sub {
    my %w = map { $_ => 1 } $t->workers();
    return keys %w == 3 && !$w{$w->{pid}};
}), 'the worker is replaced');

my $z2;

$t->wait_until(sub {
    $z2 = status()->{zones}{main};

    return $z2->{connections} == $z->{connections} - $w->{connections}
        && 3 == grep { $_->{pid} != $w->{pid} } @{$z2->{workers}};
});

is($z2->{connections}, $z->{connections} - $w->{connections},
   'connections after the kill');
is($z2->{subscriptions}, $z->{subscriptions} - $w->{subscriptions},
   'subscriptions after the kill');
is($z2->{messages_in}, $z->{messages_in}, 'messages in stay');
is($z2->{messages_out}, $z->{messages_out}, 'messages out stay');
is_deeply($z2->{closed}, $z->{closed}, 'close codes stay');
is(scalar(@{$z2->{workers}}), 3, 'three workers again');
is(scalar(grep { $_->{pid} == $w->{pid} } @{$z2->{workers}}), 0,
   'not the old one');

# what it held is not counted as a channel's subscriber

my $left;

$t->wait_until(sub {
    $left = 0;
    $left += http_get("/pub/c$_")->json()->{subscribers} for 0 .. 4;

    return $left == $z2->{connections};
});

is($left, $z2->{connections}, 'subscribers after the kill');


# a reload: both generations are seen, then one; counters stay

Test::WsBus::Conn::disconnect_all();
wait_zone('main', connections => 0);

my $old = ws('/ws/old');

ok($t->reload(), 'reloaded');

$z = $t->wait_until(sub {
    my $z = status()->{zones}{main};
    return @{$z->{workers}} == 4 && $z;
});

is(join(' ', sort map { $_->{generation} } @{$z->{workers}}), '0 1 1 1',
   'generations');
is($z->{connections}, 1, 'a connection of the old generation');
is($z->{messages_out}, $z2->{messages_out}, 'counters survive a reload');

http_post('/pub/old', 'across');
is_message($old, 'across', 'delivered to the old generation');

$z = wait_zone('main', messages_out => $z2->{messages_out} + 1);
is($z->{messages_out}, $z2->{messages_out} + 1,
   'the old generation is counted');

$old->finish();

$z = $t->wait_until(sub {
    my $z = status()->{zones}{main};
    return @{$z->{workers}} == 3 && $z;
});

is(join(' ', map { $_->{generation} } @{$z->{workers}}), '1 1 1',
   'the old generation is gone');
is($z->{connections}, 0, 'and its connection');
is($z->{messages_out}, $z2->{messages_out} + 1, 'not what it counted');

$t->done_testing();


sub status {
    return http_get('/status')->json();
}


# The zone, as soon as it has this value, or after a while.

sub wait_zone {
    my ($name, $key, $value) = @_;
    my $z;

    $t->wait_until(sub {
        $z = status()->{zones}{$name};
        return $z->{$key} == $value;
    });

    return $z;
}


sub sums {
    my ($z) = @_;

    return @$z{qw/ connections subscriptions messages_in messages_out bytes_in
                   bytes_out /};
}


sub sum {
    my ($z, $key) = @_;
    my $sum = 0;

    $sum += $_->{$key} for @{$z->{workers}};

    return $sum;
}


# How many workers have connections.

sub busy {
    my ($z) = @_;

    return scalar grep { $_->{connections} } @{$z->{workers}};
}


# A strict reader of the text format 0.0.4: { error } or { samples, types }.

sub parse_metrics {
    my ($text) = @_;

    my (%help, %types, %samples, %buckets, $family);

    return { error => 'no newline at the end' } if $text !~ /\n\z/;

    for my $line (split /\n/, $text) {

        if ($line =~ /^# HELP (\w+) (.+)$/) {
            return { error => "second HELP: $line" } if $help{$1}++;
            $family = $1;
            next;
        }

        if ($line =~ /^# TYPE (\w+) (counter|gauge|histogram)$/) {
            return { error => "second TYPE: $line" } if exists $types{$1};
            return { error => "TYPE not behind HELP: $line" }
                if $1 ne $family;
            $types{$1} = $2;
            next;
        }

        my ($name, $labels, $value) = $line =~ /^
            ( [a-z_:][a-z0-9_:]* )
            \{ ( [a-z_]+ = " (?: [^"\\] | \\[\\"n] )* "
                 (?: , [a-z_]+ = " (?: [^"\\] | \\[\\"n] )* " )* ) \}
            \x20 ( [0-9]+ (?: \. [0-9]+ )? )
        $/x or return { error => "not a sample: $line" };

        my $base = $name;

        if (($types{$family} // '') eq 'histogram') {
            $base =~ s/_(?:bucket|sum|count)$//
                or return { error => "not of a histogram: $line" };
        }

        return { error => "sample apart from its family: $line" }
            if $base ne $family || !$types{$family};

        return { error => "second sample: $line" }
            if exists $samples{"$name\{$labels}"};

        $samples{"$name\{$labels}"} = $value;

        if ($name =~ /_bucket$/) {
            $labels =~ s/,le="([^"]+)"$//
                or return { error => "no le: $line" };

            push @{$buckets{$base}{$labels}}, [ $1, $value ];
        }
    }

    for my $name (grep { $types{$_} eq 'histogram' } keys %types) {

        for my $labels (keys %{$buckets{$name}}) {
            my ($last, $n) = (-1, 0);

            for my $bucket (@{$buckets{$name}{$labels}}) {
                my ($le, $value) = @$bucket;

                $le = 9**9**9 if $le eq '+Inf';

                return { error => "$name: le $le after $last" }
                    if $le <= $last;
                return { error => "$name: $value after $n" } if $value < $n;

                ($last, $n) = ($le, $value);
            }

            return { error => "$name: no +Inf" } if $last != 9**9**9;

            my $count = delete $samples{"${name}_count{$labels}"};

            return { error => "$name: no count" } unless defined $count;
            return { error => "$name: count is $count, +Inf $n" }
                if $count != $n;

            $samples{"${name}_count{$labels}"} = $count;

            my $sum = $samples{"${name}_sum{$labels}"};

            return { error => "$name: no sum" } unless defined $sum;
            return { error => "$name: sum $sum of $n" }
                if $n == 0 && $sum != 0;
        }
    }

    return { error => 'HELP without TYPE' } if keys %types != keys %help;

    for my $name (keys %types) {
        return { error => "$name: no samples" }
            unless grep { /^$name(?:_count)?\{/ } keys %samples;
    }

    return { samples => \%samples, types => \%types };
}
