#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# A reload: generations hear each other, the old one drains, the zone stays.

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/ time sleep /;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use WsBusTestWorkers;

my $t = Test::WsBus->new();

# the reload that is refused on purpose, and what it says
$t->expect_log(qr/\[emerg\].* bind\(\) to 192\.0\.2\.1:/);

$t->log_level('info');

configure();
$t->run();

my @pids = wait_workers($t, 2);


# Three generations that hear each other in all directions.

my @by = (undef);
my @first = generation(1, @pids);

for my $n (2, 3) {
    ok(reload($t), "reload to generation $n");

    my @all = wait_workers($t, 2 * $n);
    my %old = map { $_ => 1 } @pids;

    generation($n, grep { !$old{$_} } @all);
    @pids = @all;

    is(scalar(@{status()->{workers}}), 2 * $n, 'all workers are known');
    is(http_post('/pub/all', "posted $n")->json()->{subscribers}, 2 * $n,
        'subscribers of all generations');
    is(heard("posted $n"), 2 * $n, "a POST at generation $n is heard by all");

    for my $from (1 .. $n) {
        $by[$from][0]->text("from $from");
        is(heard("from $from"), 2 * $n,
            "generation $from is heard by $n generations");
    }
}

my %generations = map { $_->{generation} => 1 } @{status()->{workers}};
is(scalar(keys %generations), 3, 'three generations in the status');


# History and epoch live on, and so does the order.

my @epochs = map { $_->response()->header('Ws-Bus-Epoch') }
    map { @$_ } @by[1 .. 3];

is(scalar(grep { $_ eq $epochs[0] } @epochs), 6, 'one epoch for all');

my $state = http_get('/pub/all')->json();

my $c = ws('/ws/all?last=100');
is(join(' ', $c->recv_n(7)), 'posted 2 from 1 from 2 posted 3 from 1 from 2 '
    . 'from 3', 'history of all generations');
$c->finish();

is($state->{seq}, 7, 'numbers went on');
is($state->{epoch}, $epochs[0], 'epoch in the state');


# The last of an old generation ends it, without a complaint.

$_->finish() for map { @$_ } @by[1, 2];

ok($t->wait_until(sub { $t->workers() == 2 }, 10),
    'old workers leave with their last client');
is(scalar(wait_workers($t, 2)), 2, 'those that remain are known');

http_post('/pub/all', 'after');
is(heard('after', 3), 2, 'the newest generation goes on');

$_->finish() for @{$by[3]};


# Draining: within the time, one by one, and served to the last moment.

use constant CLIENTS => 24;

my @clients = map { ws('/drain/all') } 1 .. CLIENTS;
my ($n, $busy, $begin, %closed) = (0, 1);

http_post('/pub/all', ++$n);
is(scalar(grep { ($_->recv() // '') eq '1' } @clients), CLIENTS,
    'clients are served');

$begin = time();
$t->signal('HUP');

$t->wait_until(sub {
    http_post('/pub/all', ++$n);
    sleep(0.01);
    collect();
    return keys %closed == CLIENTS;
}, 20);

is(scalar(keys %closed), CLIENTS, 'every old client was told');
is(scalar(grep { $_->close_code() == 1001 } @clients), CLIENTS,
    'with code 1001');
like($clients[0]->close_reason(), qr/shutting down/, 'and a reason');

my @times = sort { $a <=> $b } map { $_->[0] } values %closed;

cmp_ok($times[-1] - $times[0], '>', 0.3, 'not all at once');
cmp_ok($times[-1] - $begin, '<', scale(40), 'in time');

is(join("\n", grep { $_ } map { holes($_) } @clients), '',
    'messages were delivered until then');
is(scalar(grep { $_->at_eof() } @clients), CLIENTS, 'connections ended');

ok($t->wait_until(sub { $t->workers() == 2 }, 10), 'old workers left');


# Reloads leave nothing behind in the master, nor do refused ones.

wait_workers($t, 2);

my $watch = ws('/ws/all');
my $epoch = $watch->response()->header('Ws-Bus-Epoch');
my $fds;

for my $i (1 .. 20) {
    configure(broken => $i % 4 == 0, more => $i % 2);

    is(!reload($t), $i % 4 == 0,
        "reload $i" . ($i % 4 ? '' : ' is refused'));

    # a client keeps one of the first

    $t->wait_until(sub { $t->workers() == 3 }, 10);

    $fds //= nfds($t->master());
}

ok($t->wait_until(sub { nfds($t->master()) <= $fds }),
    'no descriptors are left')
    or diag(nfds($t->master()) . " descriptors, there were $fds");

http_post('/pub/all', 'still');
is_message($watch, 'still', 'the oldest client still hears');
is(http_get('/pub/all')->json()->{epoch}, $epoch, 'same epoch after all');

my $new = ws('/ws/all?last=1');
is_message($new, 'still', 'and so does a new one');

$new->text('both ways');
is_message($watch, 'both ways', 'new to old');
$watch->text('and back');
is_message($new, 'both ways', 'own message');
is_message($new, 'and back', 'old to new');


# More workers than the zone was made for: all of them hear.

configure(workers => 24);
ok(reload($t), 'reload to many workers');
@pids = wait_workers($t, 26);

my @many = ws_everywhere([ newest() ], 1, '/ws/many');
is(scalar(@many), 24, 'connections to all of the new ones');

$many[0][1]->text('hello');
is(scalar(grep { ($_->[1]->recv() // '') eq 'hello' } @many), 24,
    'all of them hear');

$many[-1][1]->text('hello too');
is(scalar(grep { ($_->[1]->recv() // '') eq 'hello too' } @many), 24,
    'whoever publishes');

$_->[1]->finish() for @many;
$_->finish() for $watch, $new;


# Another size is another zone.

my $old = ws('/ws/all');

configure(size => '6m');
is($t->find_in_file('error.log', qr/begins empty/), 0, 'no zone is new so far');
ok(reload($t), 'reload with another size');
is($t->find_in_file('error.log', qr/\[warn\] .*ws_bus_zone "bus" has another /
   . 'size or redis than before, and begins empty'), 1, 'which is told');

my $fresh = ws('/ws/all?last=100');

isnt($fresh->response()->header('Ws-Bus-Epoch'), $epoch, 'another epoch');
is($fresh->response()->header('Ws-Bus-Seq'), 0, 'no history');

$old->text('old');
is_message($old, 'old', 'the old zone serves its clients');
$fresh->text('new');
is_message($fresh, 'new', 'the new one its own');
ok($old->is_silent(), 'they are apart');
is(status()->{size}, 6 * 1024 * 1024, 'size in the status');

$_->finish() for $old, $fresh;

$t->done_testing();


sub configure {
    my (%opt) = @_;

    my $workers = $opt{workers} // 2;
    my $size = $opt{size} // '8m';
    my $broken = $opt{broken} ? 'listen 192.0.2.1:8000;' : '';
    my $more = $opt{more} || $opt{broken} ? 'ws_bus_zone more 1m;' : '';

    $t->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes $workers;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus $size;
    $more

    add_header X-Pid \$pid always;

    ws_bus_history 1000;
    ws_bus_drain 10d;

    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        $broken

        location ~ ^/ws/(?<chan>.*)\$ {
            ws_bus \$chan zone=bus;
            ws_bus_publish on;
        }

        location ~ ^/drain/(?<chan>.*)\$ {
            ws_bus \$chan zone=bus;
            ws_bus_drain 3s;
        }

        location ~ ^/pub/(?<chan>.*)\$ {
            ws_bus_publisher \$chan zone=bus;
        }

        location = /status {
            ws_bus_status;
        }
    }
}

EOF
}


# A client in each worker of a generation.

sub generation {
    my ($n, @pids) = @_;

    $by[$n] = [ map { $_->[1] } ws_everywhere(\@pids, 1, '/ws/all') ];

    is(scalar(@{$by[$n]}), 2, "clients in generation $n");
}


# How many clients, of all generations or one, get this message next.

sub heard {
    my ($data, $n) = @_;

    return scalar(grep { ($_->recv() // '') eq $data }
        map { @{$_ // []} } $n ? $by[$n] : @by);
}


# What the draining clients have got so far.

sub collect {
    for my $c (grep { !$closed{$_} } @clients) {
        received($c);
        $closed{$c} = [ time(), $n ] if defined $c->close_code();
    }
}


# Is anything missing in what a client got up to its Close?  What was under
# way at that moment is not counted.

sub holes {
    my ($c) = @_;

    my @had = received($c);
    my $last = $had[-1] // 1;

    return "hole: @had" if join(' ', @had) ne join(' ', 2 .. $last);
    return "$last was the last of $closed{$c}[1]"
        if $last < $closed{$c}[1] - 50;
    return '';
}


sub newest {
    my @workers = @{status()->{workers}};
    my ($max) = sort { $b <=> $a } map { $_->{generation} } @workers;

    return map { $_->{pid} } grep { $_->{generation} == $max } @workers;
}
