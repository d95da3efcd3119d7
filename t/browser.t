# Copyright (C) the ngx_ws_bus_module authors

# The demonstration's page in a real browser: two tabs on one channel, every
# worker killed in turn.  The page comes back by itself, and nothing that was
# published is missing, doubled or out of order.

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

my $t = Test::WsBus->new()->log_level('info')->time_limit(180)->plan(27);

my $root = "$FindBin::Bin/..";
my $dir = $t->testdir();

demo_conf();
$t->run();

my $browser = Chromium->start($dir);

my $url = 'http://127.0.0.1:' . port(8080) . '/#browser';
my $one = $browser->open($url);
my $two = $browser->open($url);

my @published;

ok(connected($one), 'a tab connects');
ok(connected($two), 'another one');


# by every way in

say_in($one, 'by WebSocket', 'ws');
ok(shows($two, 'by WebSocket'), 'WebSocket: the other tab shows it');
ok(shows($one, 'by WebSocket'), 'WebSocket: so does the tab itself');

say_in($two, 'by POST', 'http');
ok(shows($one, 'by POST'), 'POST: the other tab shows it');
ok(shows($two, 'by POST'), 'POST: so does the tab itself');

post('from <b>outside</b>');
ok(shows($one, 'from <b>outside</b>'), 'any other client: shown as it is');


# a worker dies, the tabs that it held are away for a while

my $round = 0;

for my $worker ($t->workers()) {
    $round++;

    $t->signal('KILL', $worker);
    $t->wait_until(sub { !grep { $_ == $worker } $t->workers() });

    post("while away $round");
    say_in($one, "to be sent $round", 'ws');
    say_in($two, "to be posted $round", 'http');

    ok(shows($one, $published[-1], $published[-2])
       && shows($two, $published[-1], $published[-2]),
       "worker $round killed: both tabs get it all");
}

$t->expect_log(qr/worker process \d+ exited on signal 9/);

ok($one->eval('reconnects') > 0, 'the tab has lost its connection');
ok($two->eval('reconnects') > 0, 'the other one too');
ok(connected($one), 'the tab is connected');
ok(connected($two), 'the other one is');

my @one = texts($one);
my @two = texts($two);

is(join("\n", sort @one), join("\n", sort @published),
   'nothing is missing and nothing is there twice');
is(join("\n", @two), join("\n", @one), 'both tabs have the same order');
is($one->eval('pending.size'), 0, 'nothing waits');


# a tab that comes later

my $late = $browser->open($url);

ok(connected($late), 'a late tab connects');
ok(shows($late, $published[-1]), 'it shows the history');
is(join("\n", texts($late)), join("\n", @one), 'all of it, in order');


is(join("\n", $one->errors(), $two->errors(), $late->errors()), '',
   'no script has failed');

$browser->stop();


# The demonstration's own configuration, at home in the test's directory.

sub demo_conf {
    open(my $fh, '<', "$root/contrib/demo/nginx.conf.in") or die $!;
    my $conf = do { local $/; <$fh> };

    my %words = (
        MODULE => '%%MODULE%%',
        USER => $> == 0 ? 'user root root;' : '',
        RUN => '%%TESTDIR%%',
        LISTEN => '127.0.0.1:%%PORT_8080%%',
    );

    $conf =~ s/@(\w+)@/$words{$1}/g;

    $t->write_file_expand('nginx.conf', $conf);

    mkdir("$dir/$_") for ('html', 'temp');

    open($fh, '<', "$root/contrib/demo/index.html") or die $!;
    $t->write_file('html/index.html', do { local $/; <$fh> });
}


sub connected {
    my ($tab) = @_;

    return $tab->wait('document.querySelector("#state").dataset.state'
                      . ' === "open"', scale(20));
}


# Types a message into the page and sends it.

sub say_in {
    my ($tab, $text, $via) = @_;

    push @published, $text;

    $tab->eval(<<"EOF");
        document.querySelector("#via-$via").checked = true;
        document.querySelector("#text").value = "$text";
        document.querySelector("#send").click();
EOF
}


sub post {
    my ($text) = @_;

    push @published, $text;

    is(http_post('/pub/browser', $text)->status(), 201, "POST: $text");
}


# What the page shows, without its own messages that are still on their way.

sub texts {
    my ($tab) = @_;

    my $list = $tab->eval('Array.from(document.querySelectorAll('
        . '"#log li:not(.pending) .text"), e => e.textContent)');

    return @$list;
}


# Waits until all of these are shown.

sub shows {
    my ($tab, @wanted) = @_;

    return $t->wait_until(sub {
        my %have = map { $_ => 1 } texts($tab);

        return !grep { !$have{$_} } @wanted;
    }, 20);
}
