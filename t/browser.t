# Copyright (C) the ngx_ws_bus_module authors

# The demonstration's page in a real browser: two tabs on several channels,
# every worker killed in turn.  The page comes back by itself, and nothing that
# was published is missing, doubled or out of order; it shows who is there.

use warnings;
use strict;

use JSON::PP ();
use MIME::Base64 ();
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/browser";
use Test::WsBus;
use Chromium;


# with WS_BUS_TEST_BROWSER a missing browser is a failure

plan(skip_all => 'no chromium')
    unless Chromium::find() || $ENV{WS_BUS_TEST_BROWSER};

my $t = Test::WsBus->new()->has('load_module');

$t->log_level('info');

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


# who is there, and what comes on a channel that is not looked at

my @names = map { $_->eval('document.querySelector("#name").textContent') }
    $one, $two;

is($one->wait('document.querySelectorAll("#members li").length === 2', 20), 1,
   'two are there');
is(join(' ', sort { $a cmp $b } members($two)),
   join(' ', sort { $a cmp $b } @names), 'by their names');

is(http_post('/pub/news', 'extra')->status(), 201, 'another channel');
ok($one->wait(unread('news') . ' === "1"', 20), 'another channel: unread');

$one->eval('location.hash = "news"');
ok(shows_on($one, 'news', 'extra'), 'another channel: shown');
ok($one->wait(unread('news') . ' === ""', 20), 'another channel: read');
$one->eval('location.hash = "browser"');


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

# they come back at a moment of their own: until that is after a message

for (1 .. 10) {
    last if figure($one, 'resumed') + figure($two, 'resumed');

    $t->signal('KILL', $_) for $t->workers();
    post('while all are away ' . $_);
    shows($_, $published[-1]) for $one, $two;
}

ok(figure($one, 'resumed') + figure($two, 'resumed') > 0,
   'what came meanwhile is counted');

for (['the tab', $one], ['the other one', $two]) {
    my ($name, $tab) = @$_;

    ok(connected($tab), "$name is connected");
    ok(figure($tab, 'reconnects') > 0, "$name has lost its connection");
    is(figure($tab, 'missed'), 0, "$name has missed nothing");
    is(figure($tab, 'received'), texts($tab) + 1,
       "$name has received each message once");
    is(figure($tab, 'unsent'), 0, "$name: nothing waits");
}

ok($one->wait('document.querySelectorAll("#members li").length === 2', 20),
   'the same two are there');

my @one = texts($one);
my @two = texts($two);

is(join("\n", sort @one), join("\n", sort @published),
   'nothing is missing and nothing is there twice');
is(join("\n", @two), join("\n", @one), 'both tabs have the same order');


# a tab that comes later

my $late = $browser->open($url);

ok(connected($late), 'a late tab connects');
ok(shows($late, $published[-1]), 'it shows the history');
is(join("\n", texts($late)), join("\n", @one), 'all of it, in order');
ok($one->wait('document.querySelectorAll("#members li").length === 3', 20),
   'the others see that it is there');

my @errors = map { $_->errors() } $one, $two, $late;

$late->call('Page.close');
ok($one->wait('document.querySelectorAll("#members li").length === 2', 20),
   'and that it has gone');


is(join("\n", @errors), '', 'no script has failed');

screenshots() if $ENV{WS_BUS_TEST_SCREENSHOTS};

$browser->stop();
$t->done_testing();


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

    open($fh, '<', "$root/contrib/js/index.js") or die $!;
    $t->write_file('html/ws-bus.js', do { local $/; <$fh> });
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
    my ($tab, $channel) = @_;

    $channel //= 'browser';

    my $list = $tab->eval('Array.from(document.querySelectorAll(`'
        . ".log[data-channel='$channel'] li:not(.pending) .text"
        . '`), e => e.textContent)');

    return @$list;
}


sub members {
    my ($tab) = @_;

    return @{$tab->eval('Array.from(document.querySelectorAll("#members li"),'
        . ' e => e.textContent)')};
}


# One of the page's own counts.

sub figure {
    my ($tab, $id) = @_;

    return $tab->eval("document.querySelector('#$id').textContent");
}


sub unread {
    my ($channel) = @_;

    return 'Array.from(document.querySelectorAll("nav button")).find('
        . "e => e.firstChild.textContent === '$channel')"
        . '.querySelector(".unread").textContent';
}


# To be looked at: light and dark, on a screen and a phone.

sub screenshots {
    $one->call('Page.bringToFront');

    for my $case ([ 'light', 1280, 800 ], [ 'dark', 1280, 800 ],
                  [ 'light', 390, 844 ], [ 'dark', 390, 844 ])
    {
        my ($scheme, $width, $height) = @$case;

        $one->call('Emulation.setEmulatedMedia', { features => [
            { name => 'prefers-color-scheme', value => $scheme } ] });
        $one->call('Emulation.setDeviceMetricsOverride', { width => $width,
            height => $height, deviceScaleFactor => 1,
            mobile => JSON::PP::false });

        my $data = $one->call('Page.captureScreenshot')->{data};
        my $path = "$ENV{WS_BUS_TEST_SCREENSHOTS}/$scheme-$width.png";

        open(my $fh, '>:raw', $path) or die "$path: $!";
        print $fh MIME::Base64::decode_base64($data);
    }
}


# Waits until all of these are shown.

sub shows { return shows_on($_[0], undef, @_[1 .. $#_]) }

sub shows_on {
    my ($tab, $channel, @wanted) = @_;

    return $t->wait_until(sub {
        my %have = map { $_ => 1 } texts($tab, $channel);

        return !grep { !$have{$_} } @wanted;
    }, 20);
}
