package Test::WsBus::Conn;

# Copyright (C) the ngx_ws_bus_module authors

# A TCP or TLS connection with timeouts on everything and a read buffer that
# its users parse.  Nothing here blocks for longer than asked.

use warnings;
use strict;

use Carp;
use Errno qw/ EAGAIN EINTR EWOULDBLOCK EPIPE ECONNRESET /;
use IO::Select;
use IO::Socket::INET;
use Scalar::Util qw/ weaken /;
use Socket qw/ IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER SO_RCVBUF /;
use Time::HiRes qw/ time sleep /;

use constant CHUNK => 262144;

our @CARP_NOT = qw/ Test::WsBus Test::WsBus::HTTP Test::WsBus::Client /;
our %open;


sub scale {
    return $ENV{WS_BUS_TEST_SCALE} if $ENV{WS_BUS_TEST_SCALE};
    return $ENV{WS_BUS_TEST_PRELOAD} ? 6 : 1;
}


sub new {
    my ($class, %opt) = @_;

    my $self = bless {
        host    => $opt{host} // '127.0.0.1',
        port    => $opt{port} // croak('no port'),
        timeout => $opt{timeout} // 30 * scale(),
        rbuf    => '',
        eof     => 0,
        reset   => 0,
    }, $class;

    $self->_connect(\%opt);

    $open{$self + 0} = $self;
    weaken($open{$self + 0});

    return $self;
}


sub _connect {
    my ($self, $opt) = @_;

    my $s;

    if ($opt->{rcvbuf}) {
        # the window is fixed at connect, so the size has to be set before it

        socket($s, Socket::PF_INET(), Socket::SOCK_STREAM(), 0)
            or croak("socket() failed: $!");
        setsockopt($s, SOL_SOCKET, SO_RCVBUF, pack('i', $opt->{rcvbuf}))
            or croak("setsockopt() failed: $!");
        connect($s, Socket::pack_sockaddr_in($self->{port},
            Socket::inet_aton($self->{host})))
            or croak("connect to port $self->{port} failed: $!");

        bless $s, 'IO::Socket::INET';

    } else {
        $s = IO::Socket::INET->new(
            Proto    => 'tcp',
            PeerAddr => $self->{host},
            PeerPort => $self->{port},
            Timeout  => $self->{timeout},
        ) or croak("connect to port $self->{port} failed: $@");
    }

    setsockopt($s, IPPROTO_TCP, TCP_NODELAY, pack('i', 1));

    if ($opt->{ssl}) {
        require IO::Socket::SSL;

        my %ssl = ref $opt->{ssl} ? %{$opt->{ssl}} : ();

        IO::Socket::SSL->start_SSL($s,
            SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(),
            Timeout         => $self->{timeout},
            %ssl
        ) or croak("TLS to port $self->{port} failed: "
            . $IO::Socket::SSL::SSL_ERROR);

        $self->{ssl} = 1;
    }

    $s->blocking(0);

    $self->{sock} = $s;
}


sub DESTROY {
    my ($self) = @_;

    delete $open{$self + 0};
    $self->disconnect();
}


sub disconnect_all {
    $_->disconnect() for grep { defined } values %open;
}


sub sock { return $_[0]{sock} }
sub timeout { return $_[0]{timeout} }
sub buffered { return $_[0]{rbuf} }
sub was_reset { return $_[0]{reset} }


sub disconnect {
    my ($self) = @_;

    my $s = delete $self->{sock} or return;

    $self->{eof} = 1;

    if ($self->{ssl}) {
        $s->close(SSL_no_shutdown => 1);

    } else {
        close($s);
    }
}


sub abort {
    my ($self) = @_;

    my $s = $self->{sock} or return;

    setsockopt($s, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
    $self->disconnect();
}


sub shutdown_write {
    my ($self) = @_;

    if ($self->{ssl}) {
        # a close_notify, and only then the FIN
        $self->{sock}->stop_SSL(SSL_fast_shutdown => 1, SSL_ctx_free => 0);
        $self->{ssl} = 0;
    }

    shutdown($self->{sock}, 1);
}


# Reads what is there, waiting until the deadline for the first byte.
# Returns true when something arrived or the end was seen.

sub _fill {
    my ($self, $deadline) = @_;

    while (1) {
        return 0 if $self->{eof} || !$self->{sock};

        my $s = $self->{sock};

        if (!($self->{ssl} && $s->pending())) {
            my $left = $deadline - time();
            $left = 0 if $left < 0;

            my $rin = '';
            vec($rin, fileno($s), 1) = 1;

            my $n = select($rin, undef, undef, $left);

            next if $n < 0 && $! == EINTR;
            return 0 if $n <= 0;
        }

        return 1 if $self->_read_some();

        return 0 if time() >= $deadline;
    }
}


sub _read_some {
    my ($self) = @_;

    my $n = sysread($self->{sock}, $self->{rbuf}, CHUNK,
                    length $self->{rbuf});

    return 1 if $n;

    if (!defined $n) {
        return 0 if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;

        if ($self->{ssl}
            && ($IO::Socket::SSL::SSL_ERROR // 0)
                == IO::Socket::SSL::SSL_WANT_READ())
        {
            return 0;
        }

        $self->{reset} = 1 if $! == ECONNRESET;
    }

    $self->{eof} = 1;
    return 1;
}


# Writes everything.  What arrives meanwhile is read into the buffer, so
# that two sides that both write never wait for each other, unless the
# connection is told not to read.

sub write {
    my ($self, $data, %opt) = @_;

    my $deadline = time() + ($opt{timeout} // $self->{timeout});
    my $off = 0;
    my $len = length $data;

    local $SIG{PIPE} = 'IGNORE';

    while ($off < $len) {
        my $s = $self->{sock} or return $off;
        my $n = syswrite($s, $data, $len - $off > CHUNK ? CHUNK : $len - $off,
                         $off);

        if ($n) {
            $off += $n;
            $deadline = time() + ($opt{timeout} // $self->{timeout});
            next;
        }

        if (!$self->{ssl} && $! != EAGAIN && $! != EWOULDBLOCK
            && $! != EINTR)
        {
            $self->{write_error} = $!;
            return $off;
        }

        if ($self->{ssl} && ($IO::Socket::SSL::SSL_ERROR // 0)
                != IO::Socket::SSL::SSL_WANT_WRITE()
            && ($IO::Socket::SSL::SSL_ERROR // 0)
                != IO::Socket::SSL::SSL_WANT_READ())
        {
            $self->{write_error} = $!;
            return $off;
        }

        my $left = $deadline - time();
        return $off if $left <= 0;

        my ($rin, $win) = ('', '');
        vec($win, fileno($s), 1) = 1;
        vec($rin, fileno($s), 1) = 1 unless $opt{no_read} || $self->{eof};

        select($rin, $win, undef, $left) > 0 or next;

        $self->_read_some() if vec($rin, fileno($s), 1);
    }

    return $off;
}


# Writes the bytes in pieces: of one size, or of the sizes in a list (what is
# left goes last).  Each piece is its own segment as far as TCP_NODELAY does
# that; "pause" between them makes it certain.

sub write_split {
    my ($self, $data, $sizes, %opt) = @_;

    my @sizes = ref $sizes ? @$sizes : ();
    my $step = ref $sizes ? length $data : $sizes;

    while (length $data) {
        my $n = @sizes ? shift @sizes : $step;
        $n ||= length $data;

        $self->write(substr($data, 0, $n, ''), %opt);
        sleep($opt{pause}) if $opt{pause} && length $data;
    }
}


# N bytes from the stream; undef when the time or the stream is over first.

sub read_bytes {
    my ($self, $n, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (length $self->{rbuf} < $n) {
        $self->_fill($deadline) or return undef;
    }

    return substr($self->{rbuf}, 0, $n, '');
}


# Everything up to the end of the stream, or to the timeout.

sub read_all {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    1 while $self->_fill($deadline);

    return delete($self->{rbuf}) . ($self->{rbuf} = '');
}


# Has the peer ended the stream?  Whatever still arrives stays buffered.

sub at_eof {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    1 while !$self->{eof} && $self->_fill($deadline);

    return $self->{eof};
}


# True when not a byte arrives (and the stream does not end) for that long.

sub is_silent {
    my ($self, $seconds) = @_;

    return 0 if length $self->{rbuf} || $self->{eof};

    return !$self->_fill(time() + ($seconds // 0.2));
}


1;
