#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# contrib/redis: the scripts there are those of the module, the functions do
# the same, and what the examples publish is what the C code reads.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Redis;
use Test::WsBus::Scripts;


my $t = Test::WsBus->new()->has('bin/redis-server');
my $r = Test::WsBus::Redis->new($t)->start();
my $s = Test::WsBus::Scripts->new($r);

my $contrib = "$FindBin::Bin/../contrib/redis";

$ENV{PYTHONDONTWRITEBYTECODE} = 1;

sub text {
    my ($file) = @_;

    open(my $fh, '<:raw', $file) or die "$file: $!";
    local $/;

    return <$fh>;
}

sub run {
    my ($name, @args) = @_;

    open(my $pipe, '-|', '/usr/bin/python3', "$contrib/$name",
         '--port', $r->port(), @args) or die "$name: $!";

    my @lines = <$pipe>;

    close($pipe);
    chomp(@lines);

    return @lines;
}

sub entries {
    my ($channel) = @_;

    return Test::WsBus::Scripts::decode(
        @{ $s->history($channel, 0)->{entries} });
}


# The same text: "build/unit/script.t ws_bus_publish" and so on print it.

for my $name (qw/ publish history /) {
    ok(text("$contrib/$name.lua") eq Test::WsBus::Scripts::text($name),
       "contrib/redis/$name.lua is the module's");
}

my $functions = Test::WsBus::Scripts::text('functions');
my $library = text("$contrib/ws_bus.lua");

ok(substr($library, 0, length($functions)) eq $functions,
   'contrib/redis/ws_bus.lua begins with the module\'s');


# The functions, from Redis 7 on.

SKIP: {
    skip('Redis before 7', 12) if $r->info('redis_version') =~ /^6\./;

    is($s->command('FUNCTION', 'LOAD', $library), 'ws_bus', 'loaded');

    my $listener = $r->client();
    $listener->command('SUBSCRIBE', $s->key($_)) for qw/ eval fcall /;

    my %told;

    for my $i (1 .. 3) {
        for my $channel (qw/ eval fcall /) {
            my %opt = (epoch => 'e' x 16, once => "0$i", ttl => 0,
                       meta_ttl => 0, flags => 1, time => 5);
            my @args = $s->publish_command($channel, "m$i", %opt);
            my $answer = $channel eq 'eval'
                ? $s->command('EVALSHA', $s->{sha}{publish}, @args)
                : $s->command('FCALL', 'ws_bus_publish', @args);

            $told{$channel} .= join(' ', @$answer) . ':'
                . unpack('H*', $listener->reply()->[2]) . "\n";
        }
    }

    is($told{fcall}, $told{eval}, 'ws_bus_publish does what the script does');

    for my $suffix (':meta', ':log', ':once:01') {
        is(unpack('H*', $s->command('DUMP', $s->key('fcall', $suffix))),
           unpack('H*', $s->command('DUMP', $s->key('eval', $suffix))),
           "the same $suffix");
    }

    my @keys = map { $s->key('fcall', $_) } ':meta', ':log';

    is_deeply($s->command('FCALL', 'ws_bus_history', 2, @keys, 0, 100, 10000,
                          '', '', 0),
              $s->call('history', \@keys, 0, 100, 10000, '', '', 0),
              'ws_bus_history');
    is_deeply($s->command('FCALL', 'ws_bus_position', 1, $keys[0], 0),
              $s->call('position', [ $keys[0] ], 0), 'ws_bus_position');

    @keys = map { $s->key('post', $_) } '', ':meta', ':log';
    $s->command('FCALL', 'ws_bus_post', 3, @keys, "hello $_", 2, 60)
        for 1 .. 3;

    my @e = entries('post');

    is(join(' ', map { "$_->{seq}:$_->{payload}" } @e), '2:hello 2 3:hello 3',
       'ws_bus_post: text and count');
    cmp_ok(abs($e[0]{time} / 1000 - time()), '<', 600, 'ws_bus_post: time');
    is($e[0]{age}, 60000, 'ws_bus_post: age');
    ok($s->command('PTTL', $keys[2]) > 0
       && $s->command('PTTL', $keys[1]) > $s->command('PTTL', $keys[2]),
       'ws_bus_post: times to live');

    is($s->command('FCALL', 'ws_bus_delete', 3, @keys, 'PUBLISH',
                   "\xffwb\x01\x20\0\0")->[0], 1, 'ws_bus_delete');
}


# The example that publishes.

my ($place) = run('publish', 'py', 'hello');
my ($epoch) = $place =~ /^([0-9a-f]{16}) 1$/;

ok(defined $epoch, 'published') or diag($place);

run('publish', '--binary', 'py', '00ff');
run('publish', '--age', 30, 'py', "\xc3\xbc");

my @once = map { run('publish', '--key', 'k', 'py', 'once') } 1 .. 2;

is($once[0], "$epoch 4", 'with a key');
is($once[1], $once[0], 'with the same key again');

my @e = entries('py');

is(join(' ', map { $_->{rc} } @e), '0 0 0 0', 'the C code reads all of them');
is(join(' ', map { $_->{flags} } @e), '8 9 8 8', 'flags');
is(join(' ', map { unpack('H*', $_->{payload}) } @e),
   '68656c6c6f 00ff c3bc 6f6e6365', 'payloads');
is($e[2]{age}, 30000, 'age');
cmp_ok(abs($e[0]{time} / 1000 - time()), '<', 600, 'time');


# The example that reads: history, then live, with all that may happen.

my $pid = open(my $pipe, '-|', '/usr/bin/python3', "$contrib/read", '--port',
               $r->port(), '--last', 2, '--messages', 10, 'py')
    // die "read: $!";

my @lines = map { scalar(<$pipe>) } 1 .. 2;

run('publish', 'py', 'live');
$s->command('PUBLISH', $s->key('py'), 'plain');
$s->command('PUBLISH', $s->key('py'), "\xffwb\x02???");

for my $i (6, 7) {
    my ($n, undef, @rest) = $s->publish_command('py', "quiet $i");
    $s->command('EVALSHA', $s->{sha}{publish}, $n, 'elsewhere', @rest);
}

run('publish', 'py', 'behind a gap');
$s->delete('py');
run('publish', 'py', 'anew');

my $new = $s->history('py', 0)->{epoch};

# meta is lost; then another master, which has everything

$s->command('DEL', $s->key('py', ':meta'));
run('publish', 'py', 'lost');

my $other = $s->history('py', 0)->{epoch};

$s->command('HSET', $s->key('py', ':meta'), 'replid', 'another');
run('publish', 'py', 'switched');

push @lines, <$pipe>;
close($pipe);

my $last = $s->history('py', 0)->{epoch};

is(join('', @lines), <<EOF, 'read');
$epoch 3 b'\\xc3\\xbc'
$epoch 4 b'once'
$epoch 5 b'live'
- - b'plain'
$epoch 6 b'quiet 6'
$epoch 7 b'quiet 7'
$epoch 8 b'behind a gap'
deleted
$new 1 b'anew'
another epoch
$other 1 b'lost'
$last 2 b'switched'
EOF


# docs/redis.md: the worked example is one.

my $doc = text("$FindBin::Bin/../docs/redis.md");
my ($block) = $doc =~ /^### A worked example\n.*?^```\n(.*?)^```/ms;

ok(defined $block, 'docs/redis.md has a worked example');

my $hex = join('', map { /^((?:[0-9a-f]{2} )+)/ ? $1 : () }
               split(/\n/, $block // ''));

my ($example) = Test::WsBus::Scripts::decode(pack('H*', $hex =~ s/ //gr));

is_deeply($example, {
    rc => 0, plain => 0, flags => 10, epoch => '0123456789abcdef', seq => 300,
    prev => '0' x 16, base => 0, time => 1700000000000, age => 60000,
    payload => '{"a":1}',
}, 'which is read as it says');

$s->command('HSET', $s->key('doc', ':meta'), 'epoch', '0123456789abcdef',
            'seq', 299, 'replid', $s->{replid});
$s->publish('doc', '{"a":1}', flags => 2, age => 60000);

is(unpack('H*', $s->history('doc', 299)->{entries}[0]), $hex =~ s/ //gr,
   'and which a script makes of it');

$t->done_testing();
