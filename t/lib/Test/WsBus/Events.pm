package Test::WsBus::Events;

# Copyright (C) the ngx_ws_bus_module authors

# A client for server-sent events, as the HTML standard has it (9.2), over
# HTTP/1.x.

use warnings;
use strict;

use Time::HiRes qw/ time /;

use parent qw/ Test::WsBus::HTTP /;


# Asks for the stream and reads the header of the response, which is returned.
# Options as for a request; "last_id" is given as Last-Event-ID.

sub open {
    my ($self, $uri, %opt) = @_;

    $self->ask($uri, %opt);

    return $self->opened($opt{timeout});
}


# The two halves of it.

sub ask {
    my ($self, $uri, %opt) = @_;

    my @headers = (Accept => 'text/event-stream', @{$opt{headers} // []});

    push @headers, 'Last-Event-ID' => $opt{last_id} if defined $opt{last_id};

    $self->{last_id} = $opt{last_id} // '';

    return $self->write(Test::WsBus::HTTP::format_request('GET', $uri, %opt,
        headers => \@headers));
}


sub opened {
    my ($self, $timeout) = @_;

    my $r = $self->read_response($timeout, 1);

    $self->{response} = $r;
    $self->{chunked} = $r
        && lc($r->header('Transfer-Encoding') // '') eq 'chunked';
    $self->{text} = '';
    $self->{comments} = 0;
    $self->{ended} = 0;

    return $r;
}


sub response { return $_[0]{response} }
sub last_id { return $_[0]{last_id} }
sub comments { return $_[0]{comments} }


# The sequence number of the last id.

sub seq { return $_[0]{last_id} =~ /:(\d+)$/ ? $1 : undef }


# True when the response has ended as it should.

sub ended { return $_[0]{ended} }


# The next event, { type, data, id }; undef if none comes in time.

sub event {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (1) {
        my $e = $self->_parse();
        return $e if $e;

        return undef if $self->{ended};

        if (!$self->_decode()) {
            return undef unless $self->_fill($deadline);
            $self->_decode();
        }
    }
}


# Events by type and data, as "message:hello".

sub events {
    my ($self, $n, $timeout) = @_;

    my @events;

    while (@events < $n) {
        my $e = $self->event($timeout) or last;
        push @events, "$e->{type}:$e->{data}";
    }

    return @events;
}


# Reads to the end of the response; true if it is the right one.

sub finished {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (!$self->{ended}) {
        push @{$self->{rest}}, $_ for grep { $_ } $self->event(0);

        last if $self->{ended};
        last unless $self->_decode() || $self->_fill($deadline);
    }

    return $self->{ended};
}


# Reads the stream until the code is true for an event.

sub until_event {
    my ($self, $code, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while ((my $left = $deadline - time()) > 0) {
        my $e = $self->event($left) or return undef;

        return $e if $code->($e);
    }

    return undef;
}


# Waits for a comment.

sub comment {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});
    my $n = $self->{comments};

    while ($self->{comments} == $n && !$self->{ended}) {
        push @{$self->{rest}}, $_ for grep { $_ } $self->event(0);

        last if $self->{comments} > $n;
        last unless $self->_decode() || $self->_fill($deadline);
    }

    return $self->{comments} > $n;
}


# Takes the chunked coding off what has been read; true if there is more.

sub _decode {
    my ($self) = @_;

    my $before = length $self->{text};

    if (!$self->{chunked}) {
        $self->{text} .= $self->{rbuf};
        $self->{rbuf} = '';
        $self->{ended} = 1 if $self->{eof};

        return length $self->{text} > $before || $self->{ended};
    }

    while ($self->{rbuf} =~ /^([0-9a-f]+)\r\n/i) {
        my ($line, $size) = (length($1) + 2, hex($1));

        last if length $self->{rbuf} < $line + $size + 2;

        die "a chunk without its end"
            if substr($self->{rbuf}, $line + $size, 2) ne "\r\n";

        $self->{text} .= substr($self->{rbuf}, $line, $size);
        substr($self->{rbuf}, 0, $line + $size + 2, '');

        if ($size == 0) {
            $self->{ended} = 1;
            last;
        }
    }

    return length $self->{text} > $before || $self->{ended};
}


sub _parse {
    my ($self) = @_;

    return shift @{$self->{rest}} if @{$self->{rest} // []};

    while ($self->{text} =~ s/^(.*?)\r?\n//) {
        my $line = $1;

        if ($line eq '') {
            $self->{last_id} = delete $self->{new_id}
                if exists $self->{new_id};

            my $data = delete $self->{data};
            my $type = delete $self->{type};

            next unless defined $data;

            $data =~ s/\n\z//;

            return { type => $type // 'message', data => $data,
                     id => $self->{last_id} };
        }

        if ($line =~ /^:/) {
            $self->{comments}++;
            next;
        }

        my ($field, $value) = $line =~ /^([^:]*)(?:: ?(.*))?$/;

        if ($field eq 'data') {
            $self->{data} = ($self->{data} // '') . "$value\n";

        } elsif ($field eq 'event') {
            $self->{type} = $value;

        } elsif ($field eq 'id') {
            $self->{new_id} = $value;

        } else {
            die "unknown field \"$field\"";
        }
    }

    return undef;
}


1;
