package Test::WsBus::HTTP;

# Copyright (C) the ngx_ws_bus_module authors

# A small HTTP/1.x client: one request after another over one connection.

use warnings;
use strict;

use Time::HiRes qw/ time /;

use parent qw/ Test::WsBus::Conn /;


# Builds the text of a request.  Headers are a flat list reference, so that
# names may repeat and keep their order.

sub format_request {
    my ($method, $uri, %opt) = @_;

    my $http = $opt{http} // '1.1';
    my @headers = @{$opt{headers} // []};
    my $text = "$method $uri HTTP/$http\r\n";

    $text .= "Host: " . ($opt{host} // 'localhost') . "\r\n"
        unless exists $opt{host} && !defined $opt{host};

    while (my ($name, $value) = splice(@headers, 0, 2)) {
        $text .= "$name: $value\r\n";
    }

    if ($opt{chunked}) {
        $text .= "Transfer-Encoding: chunked\r\n";

    } elsif (defined $opt{body}) {
        $text .= "Content-Length: " . length($opt{body}) . "\r\n";
    }

    $text .= "Connection: close\r\n" if $opt{close};
    $text .= "\r\n";

    return $text unless defined $opt{body};

    if ($opt{chunked}) {
        my $body = $opt{body};

        while (length $body) {
            my $part = substr($body, 0, $opt{chunked}, '');
            $text .= sprintf("%x\r\n%s\r\n", length($part), $part);
        }

        return $text . "0\r\n\r\n";
    }

    return $text . $opt{body};
}


sub request {
    my ($self, $method, $uri, %opt) = @_;

    $self->write(format_request($method, $uri, %opt));

    return $self->read_response($opt{timeout}, $method eq 'HEAD');
}


# One response, without the interim ones; undef if none came whole.

sub read_response {
    my ($self, $timeout, $head) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});
    my $r;

    do {
        my $end;

        while (($end = index($self->{rbuf}, "\r\n\r\n")) < 0) {
            $self->_fill($deadline) or return undef;
        }

        my $text = substr($self->{rbuf}, 0, $end + 4, '');
        $r = Test::WsBus::Response->new($text) or return undef;

    } while ($r->status() >= 100 && $r->status() < 200
             && $r->status() != 101);

    if ($head || $r->status() == 101 || $r->status() == 204
        || $r->status() == 304)
    {
        return $r;
    }

    if (lc($r->header('Transfer-Encoding') // '') eq 'chunked') {
        return $self->_chunked($r, $deadline);
    }

    if (defined(my $len = $r->header('Content-Length'))) {
        $r->{body} = $self->read_bytes($len, $deadline - time());
        return defined $r->{body} ? $r : undef;
    }

    $r->{body} = $self->read_all($deadline - time());

    return $r;
}


sub _chunked {
    my ($self, $r, $deadline) = @_;

    while (1) {
        my $end;

        while (($end = index($self->{rbuf}, "\r\n")) < 0) {
            $self->_fill($deadline) or return undef;
        }

        my $line = substr($self->{rbuf}, 0, $end + 2, '');
        $line =~ /^([0-9a-fA-F]+)/ or return undef;

        my $size = hex($1);
        my $part = $self->read_bytes($size + 2, $deadline - time());

        return undef unless defined $part;
        return $r if $size == 0;

        $r->{body} .= substr($part, 0, $size);
    }
}


package Test::WsBus::Response;

use warnings;
use strict;


sub new {
    my ($class, $text) = @_;

    my ($line, @lines) = split /\r\n/, $text;

    $line =~ m!^HTTP/(\d\.\d) (\d{3}) ?(.*)$! or return undef;

    my $self = bless {
        raw => $text, version => $1, status => $2, reason => $3,
        headers => {}, body => ''
    }, $class;

    for (@lines) {
        next unless /^([^:]+):\s*(.*?)\s*$/;
        push @{$self->{headers}{lc $1}}, $2;
    }

    return $self;
}


sub status { return $_[0]{status} }
sub reason { return $_[0]{reason} }
sub version { return $_[0]{version} }
sub body { return $_[0]{body} }
sub raw { return $_[0]{raw} }


# The first value of a header, or undef.

sub header {
    my ($self, $name) = @_;

    return scalar(($self->headers($name))[0]);
}


# All values of a header.

sub headers {
    my ($self, $name) = @_;

    return @{$self->{headers}{lc $name} // []};
}


sub json {
    my ($self) = @_;

    require JSON::PP;
    return JSON::PP->new->utf8->decode($self->{body});
}


1;
