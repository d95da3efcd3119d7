package Test::WsBus::Conformance;

# Copyright (C) the ngx_ws_bus_module authors

# The well-known WebSocket conformance suite, run as an echo through the bus:
# each case is one test that carries the suite's number.

use warnings;
use strict;

use Exporter qw/ import /;
use Test::More ();
use Time::HiRes qw/ time /;

use Test::WsBus;
use Test::WsBus::Client qw/ :all /;

our @EXPORT = qw/
    start_echo test_case echo_case stream_case case_counts
    deflate_cases text_frame ping_frame
/;

use constant CASE_BYTES => 4 * 1024 * 1024;

# length of a message, length of its fragments

my @DEFLATE_SIZES = (
    (map { [ $_ ] } 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536,
        131072),
    [ 8192, 256 ], [ 16384, 256 ], [ 32768, 256 ], [ 65536, 256 ],
    [ 131072, 256 ], [ 131072, 1024 ], [ 131072, 4096 ], [ 131072, 32768 ]
);

my %counts;


sub start_echo {
    my ($t, %opt) = @_;

    $t->log_level('info');

    $t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 128m;
    ws_bus_message_max_size 16m;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location / {
            ws_bus $connection;
            ws_bus_publish on;
            ws_bus_deflate on;
        }
    }
}

EOF

    return $t->run();
}


# One case.  Options:
#
#   send     list of byte strings, each written by itself, or code that gets
#            the client and returns an error text, or nothing
#   chop     size of the pieces in which these are written
#   expect   list of [ type, data ] that has to come, and nothing else
#   or       other such lists that will do as well
#   close    list of codes, one of which the server has to close with; without
#            it the server is closed, which it has to answer with our code
#   ws       options of the connection

sub test_case {
    my ($number, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($group) = $number =~ /^(\d+)\./;
    my $why = eval { _run(%opt) } // $@;

    $counts{$group}++;

    return Test::More::ok(!$why, "case $number: $name")
        || Test::More::diag($why);
}


sub _run {
    my (%opt) = @_;

    my $c = ws('/', %{$opt{ws} // {}});

    if (ref $opt{send} eq 'CODE') {
        my $why = $opt{send}->($c);
        return $why if $why;

    } else {
        for my $bytes (@{$opt{send}}) {
            $opt{chop} ? $c->write_split($bytes, $opt{chop})
                       : $c->write($bytes);
        }
    }

    return $opt{close} ? _failed($c, %opt) : _clean($c, %opt);
}


# The server fails the connection.

sub _failed {
    my ($c, %opt) = @_;

    my @events;

    $c->{auto_close} = 0;

    my $deadline = time() + $c->timeout();

    while (my $e = $c->read_event($deadline - time())) {
        last if $e->{type} eq 'close';
        push @events, [ $e->{type}, $e->{data} ];
    }

    my $code = $c->close_code();

    return "no Close came, after " . _show(@events) unless defined $code;

    return "got Close $code, expected @{$opt{close}}"
        unless grep { $_ == $code } @{$opt{close}};

    return _differ(\@events, $opt{expect} // [],
                   @{$opt{or} // []})
        || ($c->at_eof() ? '' : 'the stream did not end after Close');
}


# Everything comes as expected, then we close.

sub _clean {
    my ($c, %opt) = @_;

    my $deadline = time() + $c->timeout();
    my $expect = $opt{expect} // [];
    my @events;

    while (@events < @$expect) {
        my $e = $c->read_event($deadline - time()) or last;
        return "got Close " . $c->close_code() . ' ' . $c->close_reason()
            if $e->{type} eq 'close';
        push @events, [ $e->{type}, $e->{data} ];
    }

    return _differ(\@events, $expect, @{$opt{or} // []}) || _close($c);
}


sub _close {
    my ($c) = @_;

    $c->close(1000);

    my $e = $c->read_event() or return 'our Close was not answered';

    return "after our Close came " . _show([ $e->{type}, $e->{data} ])
        unless $e->{type} eq 'close';
    return "our Close was answered with " . ($e->{code} // 'no code')
        unless ($e->{code} // 0) == 1000;

    return $c->at_eof() ? '' : 'the stream did not end after Close';
}


sub _differ {
    my ($got, @wanted) = @_;

    my $have = _key($got);

    for my $want (@wanted) {
        return '' if $have eq _key($want);
    }

    return "got " . _show(@$got) . ", expected " . _show(@{$wanted[0]});
}


sub _key {
    return join('', map { pack('N/a* N/a*', @$_) } @{$_[0]});
}


sub _show {
    return 'nothing' unless @_;

    return join(', ', map {
        "$_->[0] of " . length($_->[1]) . " bytes"
            . (length $_->[1] && length $_->[1] <= 64
               ? ' (' . unpack('H*', $_->[1]) . ')' : '')
    } @_);
}


# One message there and back.

sub echo_case {
    my ($number, $name, $type, $data, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $opcode = $type eq 'text' ? TEXT : BINARY;
    my @frames = $opt{fragment}
        ? Test::WsBus::Client::fragments($opcode, $data, $opt{fragment})
        : frame($opcode, $data);

    return test_case($number, $name, %opt,
        send => [ join('', @frames) ], expect => [ [ $type, $data ] ]);
}


# Many messages there and back; "message" makes the n-th.  One after the other
# as the suite has it, unless "window" allows so many bytes under way.

sub stream_case {
    my ($number, $name, $type, $count, $message, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return test_case($number, $name, %opt, send => sub {
        return ($opt{check} && $opt{check}->($_[0]))
            || _stream($_[0], $type, $count, $message, %opt);
    });
}


sub _stream {
    my ($c, $type, $count, $message, %opt) = @_;

    my $opcode = $type eq 'text' ? TEXT : BINARY;
    my $window = $opt{window} // 0;
    my ($sent, $under_way) = (0, 0);
    my @sent;

    for my $n (1 .. $count) {

        while ($sent < $count
               && (!@sent || $under_way + length $sent[-1] < $window))
        {
            my $data = $message->($sent++);

            push @sent, $data;
            $under_way += length $data;
            $c->send_message($opcode, $data, fragment => $opt{fragment});
        }

        my $m = $c->message() or return "message $n of $count did not come: "
            . (defined $c->close_code() ? $c->close_code() . ' '
               . $c->close_reason() : $c->{eof} ? 'end of stream' : 'nothing');

        my $data = shift @sent;

        return "message $n came as $m->{type}" if $m->{type} ne $type;
        return "message $n came altered" if $m->{data} ne $data;

        $under_way -= length $data;
    }

    return '';
}


# The 18 cases of one group with compression: 1000 messages each, consecutive
# pieces of the data.  The larger ones are fewer, unless WS_BUS_TEST_FULL is
# set: all of them would move 10 gigabytes.

sub deflate_cases {
    my ($group, $name, $type, $data, $offer, $agreed) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $n = 0;

    for my $case (@DEFLATE_SIZES) {
        my ($size, $fragment) = @$case;

        my $count = int(CASE_BYTES / $size);
        $count = 1000 if $count > 1000 || $ENV{WS_BUS_TEST_FULL};

        my $at = 0;
        my $next = sub {
            my $piece = substr($data, $at, $size);

            $at += $size;

            if ($at >= length $data) {
                $at -= length $data;
                $piece .= substr($data, 0, $at);
            }

            return $piece;
        };

        stream_case("$group." . ++$n,
            "$name, $count of $size bytes"
                . ($fragment ? " in fragments of $fragment" : ''),
            $type, $count, $next,
            ws       => { deflate => $offer, level => 1 },
            window   => 262144,
            fragment => $fragment,
            check    => sub { return _agreement($_[0], $agreed) });
    }
}


sub _agreement {
    my ($c, $agreed) = @_;

    my $p = $c->deflate_params() or return 'no compression';

    for my $name (sort keys %$agreed) {
        my $got = $p->{$name} // 'nothing';
        return "$name: got $got, expected $agreed->{$name}"
            if $got ne $agreed->{$name};
    }

    return '';
}


# Says how many cases of each group ran, and checks it.

sub case_counts {
    my (%expected) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    for my $group (sort { $a <=> $b } keys %counts) {
        Test::More::note("group $group: $counts{$group} cases");
    }

    return Test::More::is_deeply(\%counts, \%expected, 'number of cases');
}


# Small things to send.

sub text_frame { return frame(TEXT, @_) }
sub ping_frame { return frame(PING, @_) }


1;
