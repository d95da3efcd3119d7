package Test::WsBus::HTTP3;

# Copyright (C) the ngx_ws_bus_module authors

# A GET request over HTTP/3 (RFC 9114), on a connection of its own: curl makes
# it.

use warnings;
use strict;

use IPC::Open3 qw/ open3 /;
use Time::HiRes qw/ time /;

use Test::WsBus::Conn;
use Test::WsBus::Events;

our @ISA = qw/ Test::WsBus::Events /;

# processes that are on their way out
my @left;


# Why there can be none; undef if there can.

sub missing {
    my $curl = `curl -V 2>&1` // '';

    return 'no curl' unless $curl =~ /^curl /;
    return $curl =~ /\bHTTP3\b/ ? undef : 'curl without HTTP/3';
}


# Options: "port", "headers", "timeout", "arguments" for curl.

sub get {
    my ($class, $uri, %opt) = @_;

    my @headers = @{$opt{headers} // []};
    my @args = @{$opt{arguments} // []};

    while (my ($name, $value) = splice(@headers, 0, 2)) {
        push @args, '-H', "$name: $value";
    }

    my $self = bless {
        timeout => $opt{timeout} // 30 * Test::WsBus::Conn::scale(),
        rbuf => '', text => '', comments => 0, last_id => '', ended => 0,
    }, $class;

    $self->{pid} = open3(my $in, $self->{out}, undef,
        qw/ curl --http3-only --insecure --silent --no-buffer --include
            --noproxy * /, @args, "https://127.0.0.1:$opt{port}$uri");

    close($in);

    return $self;
}


sub DESTROY { $_[0]->cancel('KILL') }


# The status, when it came over HTTP/3.

sub status {
    my ($self) = @_;

    $self->_header();

    return $self->{head} && $self->{head} =~ m!^HTTP/3 (\d+)! ? $1 : 0;
}


sub header {
    my ($self, $name) = @_;

    $self->_header();

    return ($self->{head} // '') =~ /^\Q$name\E: (.*?)\r$/mi ? $1 : undef;
}


sub body {
    my ($self) = @_;

    my $deadline = time() + $self->{timeout};

    $self->_header();

    while (!$self->{ended} && $self->_fill($deadline)) { }

    return $self->{text};
}


# What curl exits with; undef if it does not.

sub code {
    my ($self) = @_;

    $self->body();

    return $self->{code};
}


# The client reads no more: curl ends the connection as soon as there is more
# to read.  With a signal it ends at once, and tells nobody.

sub cancel {
    my ($self, $signal) = @_;

    my $pid = delete $self->{pid} or return;

    local $?;

    close($self->{out});
    kill($signal, $pid) if $signal;
    push @left, $pid;
}


# It stops reading, and goes on with CONT.

sub stop { kill($_[1] // 'STOP', $_[0]{pid}) if $_[0]{pid} }


END {
    local $?;

    kill('KILL', @left);
    waitpid($_, 0) for @left;
}


sub _header {
    my ($self) = @_;

    my $deadline = time() + $self->{timeout};

    while (!defined $self->{head}) {
        last unless $self->_fill($deadline);
    }
}


# More of the response; the end is one only if curl is content with it.

sub _fill {
    my ($self, $deadline) = @_;

    return 0 unless $self->{pid};

    my $left = $deadline - time();
    my $rin = '';

    vec($rin, fileno($self->{out}), 1) = 1;

    return 0 unless select($rin, undef, undef, $left > 0 ? $left : 0) > 0;

    my $n = sysread($self->{out}, my $data, 65536);

    return $!{EINTR} ? 1 : 0 unless defined $n;

    if ($n == 0) {
        local $?;

        waitpid(delete $self->{pid}, 0);

        $self->{ended} = 1 if $? == 0;
        $self->{code} = $? >> 8;

        return $self->{ended};
    }

    if (defined $self->{head}) {
        $self->{text} .= $data;
        return 1;
    }

    $self->{rbuf} .= $data;

    if ($self->{rbuf} =~ /^(HTTP.*?\r\n)\r\n/s) {
        $self->{head} = $1;
        $self->{text} = substr($self->{rbuf}, length($1) + 2);
    }

    return 1;
}


sub _decode { return 0 }


1;
