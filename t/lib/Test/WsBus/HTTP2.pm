package Test::WsBus::HTTP2;

# Copyright (C) the ngx_ws_bus_module authors

# As much of HTTP/2 (RFC 9113) as a client for event streams needs: requests,
# DATA, flow control, RST_STREAM, GOAWAY.  Of a response's header it knows the
# status.

use warnings;
use strict;

use Time::HiRes qw/ time /;

use parent qw/ Test::WsBus::Conn /;

use constant {
    DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, PING => 6,
    GOAWAY => 7, WINDOW_UPDATE => 8, CONTINUATION => 9,
    END_STREAM => 1, ACK => 1, END_HEADERS => 4,
    CANCEL => 8,
};

# of the static table that stand for a status
my %status = (8 => 200, 9 => 204, 12 => 400, 13 => 404, 14 => 500);


# Options: "window", of each stream; "grants" => 0 for a client that never
# gives more.

sub new {
    my ($class, %opt) = @_;

    my $self = $class->SUPER::new(%opt);

    $self->{next} = 1;
    $self->{streams} = {};
    $self->{grants} = $opt{grants} // 1;

    my $settings = '';
    $settings = pack('nN', 4, $opt{window}) if defined $opt{window};

    $self->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                 . frame(SETTINGS, 0, 0, $settings));

    return $self;
}


sub frame {
    my ($type, $flags, $id, $payload) = @_;

    my $len = length $payload;

    return pack('CnCCN', $len >> 16, $len & 0xffff, $type, $flags, $id)
        . $payload;
}


# Begins a GET request, returns its stream.

sub get {
    my ($self, $uri, @headers) = @_;

    my @fields = (':method' => 'GET', ':scheme' => 'http', ':path' => $uri,
                  ':authority' => 'localhost', @headers);
    my $block = '';

    # literals without indexing, of short strings

    while (my ($name, $value) = splice(@fields, 0, 2)) {
        $block .= "\0" . pack('C/a*', $name) . pack('C/a*', $value);
    }

    my $id = $self->{next};
    $self->{next} += 2;

    my $stream = bless {
        conn => $self, id => $id, timeout => $self->{timeout}, text => '',
        comments => 0, last_id => '', ended => 0, reset => 0,
    }, 'Test::WsBus::HTTP2::Stream';

    $self->{streams}{$id} = $stream;
    $self->write(frame(HEADERS, END_STREAM | END_HEADERS, $id, $block));

    return $stream;
}


# The status comes first: an entry of the static table, or a literal.

sub decode_status {
    my ($block) = @_;

    return $1 if $block =~ /^[\x08\x48]\x03(\d{3})/;
    return $status{unpack('C', $block) & 0x7f} // 0;
}


sub went_away { return $_[0]{goaway} }


# Reads one frame; true if there was one.

sub next_frame {
    my ($self, $deadline) = @_;

    my $head = $self->read_bytes(9, $deadline - time());
    return 0 unless defined $head;

    my ($high, $low, $type, $flags, $id) = unpack('CnCCN', $head);
    my $payload = $self->read_bytes(($high << 16) + $low, $deadline - time());

    return 0 unless defined $payload;

    my $stream = $self->{streams}{$id};

    if ($type == DATA) {
        $stream->{text} .= $payload;

        if ($self->{grants} && length $payload) {
            my $more = pack('N', length $payload);

            $self->write(frame(WINDOW_UPDATE, 0, 0, $more)
                         . frame(WINDOW_UPDATE, 0, $id, $more));
        }

    } elsif ($type == HEADERS) {
        $stream->{status} //= decode_status($payload);

    } elsif ($type == RST_STREAM) {
        $stream->{reset} = 1;

    } elsif ($type == SETTINGS && !($flags & ACK)) {
        $self->write(frame(SETTINGS, ACK, 0, ''));

    } elsif ($type == PING && !($flags & ACK)) {
        $self->write(frame(PING, ACK, 0, $payload));

    } elsif ($type == GOAWAY) {
        $self->{goaway} = 1;
    }

    $stream->{ended} = 1
        if ($type == DATA || $type == HEADERS) && $flags & END_STREAM;

    return 1;
}


package Test::WsBus::HTTP2::Stream;

use warnings;
use strict;

use Test::WsBus::Events;

our @ISA = qw/ Test::WsBus::Events /;


sub DESTROY {}


sub status {
    my ($self) = @_;

    my $deadline = time() + $self->{timeout};

    while (!defined $self->{status}) {
        $self->{conn}->next_frame($deadline) or last;
    }

    return $self->{status};
}


sub body {
    my ($self) = @_;

    my $deadline = time() + $self->{timeout};

    while (!$self->{ended}) {
        $self->_fill($deadline) or last;
    }

    return $self->{text};
}


# The client wants no more of it.

sub cancel {
    my ($self) = @_;

    $self->{conn}->write(Test::WsBus::HTTP2::frame(
        Test::WsBus::HTTP2::RST_STREAM, 0, $self->{id},
        pack('N', Test::WsBus::HTTP2::CANCEL)));
}


# More room for the stream and its connection.

sub grant {
    my ($self, $n) = @_;

    $self->{conn}->write(
        Test::WsBus::HTTP2::frame(Test::WsBus::HTTP2::WINDOW_UPDATE, 0, $_,
                                  pack('N', $n))) for 0, $self->{id};
}


sub _fill {
    my ($self, $deadline) = @_;

    return 0 if $self->{reset} || $self->{ended};
    return $self->{conn}->next_frame($deadline);
}


sub _decode { return 0 }


1;
