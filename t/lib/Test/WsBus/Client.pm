package Test::WsBus::Client;

# Copyright (C) the ngx_ws_bus_module authors

# A WebSocket client that can do everything right and everything wrong.

use warnings;
use strict;

use Carp;
use Compress::Raw::Zlib qw/
    Z_OK Z_STREAM_END Z_SYNC_FLUSH Z_BUF_ERROR MAX_WBITS
/;
use Digest::SHA qw/ sha1_base64 /;
use MIME::Base64 qw/ encode_base64 /;
use Time::HiRes qw/ time sleep /;

use parent qw/ Test::WsBus::HTTP /;

use constant GUID => '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
use constant {
    CONT => 0, TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10
};

use Exporter qw/ import /;

our @CARP_NOT = qw/ Test::WsBus Test::WsBus::Conn Test::WsBus::HTTP /;

our @EXPORT_OK = qw/
    CONT TEXT BINARY CLOSE PING PONG frame fragments close_payload
/;
our %EXPORT_TAGS = (all => [ @EXPORT_OK ]);


sub new {
    my ($class, %opt) = @_;

    my $self = $class->SUPER::new(%opt);

    $self->{auto_pong} = $opt{auto_pong} // 1;
    $self->{auto_close} = $opt{auto_close} // 1;
    $self->{compress} = $opt{compress} // 1;
    $self->{level} = $opt{level} // 6;
    $self->{pongs} = [];
    $self->{pings} = [];
    $self->{parts} = undef;

    return $self;
}


# The handshake.

sub random_key {
    return encode_base64(join('', map { chr int rand 256 } 1 .. 16), '');
}


sub accept_for {
    my ($key) = @_;

    my $digest = sha1_base64($key . GUID);
    return $digest . '=' x (-length($digest) % 4);
}


# Builds the text of a handshake.  An option that is undef leaves its header
# out; "headers" is a flat list reference of more.

sub format_handshake {
    my ($path, %opt) = @_;

    my %default = (
        upgrade    => 'websocket',
        connection => 'Upgrade',
        version    => 13,
        key        => random_key(),
    );

    my %o = (%default, %opt);
    my @headers;

    push @headers, 'Upgrade', $o{upgrade} if defined $o{upgrade};
    push @headers, 'Connection', $o{connection} if defined $o{connection};
    push @headers, 'Sec-WebSocket-Key', $o{key} if defined $o{key};
    push @headers, 'Sec-WebSocket-Version', $o{version}
        if defined $o{version};
    push @headers, 'Sec-WebSocket-Protocol', join(', ', @{$o{protocols}})
        if $o{protocols};

    if ($o{deflate}) {
        my $offer = $o{deflate} eq '1'
            ? 'permessage-deflate; client_max_window_bits' : $o{deflate};
        push @headers, 'Sec-WebSocket-Extensions', $offer;
    }

    push @headers, @{$o{headers} // []};

    return Test::WsBus::HTTP::format_request($o{method} // 'GET', $path,
        http    => $o{http} // '1.1',
        headers => \@headers,
        exists $o{host} ? (host => $o{host}) : (),
    );
}


# Sends a handshake and returns the response; undef if there was none.

sub handshake {
    my ($self, $path, %opt) = @_;

    $opt{key} = random_key() unless exists $opt{key};

    my $text = $opt{request} // format_handshake($path, %opt);

    $text .= $opt{data} if defined $opt{data};

    $self->write_split($text, $opt{split} // 0, pause => $opt{pause});

    return $self->handshake_response($opt{key},
                                     ($opt{method} // '') eq 'HEAD');
}


sub handshake_response {
    my ($self, $key, $head) = @_;

    my $r = $self->read_response(undef, $head);

    $self->{response} = $r;

    return $r unless defined $r && $r->status() == 101;

    $self->{accepted} = defined $key
        && ($r->header('Sec-WebSocket-Accept') // '') eq accept_for($key);

    $self->_setup_deflate($r);

    return $r;
}


sub response { return $_[0]{response} }
sub accepted { return $_[0]{accepted} }
sub deflate_params { return $_[0]{deflate} }


# Frames out.

# One frame.  Options: fin (1), rsv (0-7), rsv1, mask (a 4-byte key, 0 for an
# unmasked frame, random by default), form (7, 16 or 64: bits of the length,
# the shortest by default), length (what the header declares).

sub frame {
    my ($opcode, $payload, %opt) = @_;

    my $len = $opt{length} // length $payload;
    my $form = $opt{form} // ($len < 126 ? 7 : $len < 65536 ? 16 : 64);
    my $key = $opt{mask} // pack('N', int rand 0xffffffff);
    my $rsv = ($opt{rsv} // 0) | ($opt{rsv1} ? 4 : 0);
    my $masked = $key eq '0' ? 0 : 0x80;

    my $head = chr((($opt{fin} // 1) ? 0x80 : 0) | $rsv << 4 | $opcode);

    if ($form == 7) {
        $head .= chr($masked | $len);

    } elsif ($form == 16) {
        $head .= pack('Cn', $masked | 126, $len);

    } else {
        $head .= pack('CQ>', $masked | 127, $len);
    }

    return $head . $payload unless $masked;

    return $head . $key . masked($payload, $key);
}


sub masked {
    my ($payload, $key) = @_;

    my $len = length $payload;

    return $payload ^ substr($key x (($len >> 2) + 1), 0, $len);
}


# A message cut into frames of at most a size; options as for frame().

sub fragments {
    my ($opcode, $payload, $size, %opt) = @_;

    my @frames;
    my $rsv1 = delete $opt{rsv1};
    my $off = 0;

    do {
        my $part = substr($payload, $off, $size);

        push @frames, frame($off ? CONT : $opcode, $part, %opt,
                            fin => $off + $size >= length $payload,
                            rsv1 => !$off && $rsv1);
        $off += $size;

    } while ($off < length $payload);

    return @frames;
}


sub close_payload {
    my ($code, $reason) = @_;

    return '' unless defined $code;
    return pack('n', $code) . ($reason // '');
}


sub send_frame {
    my ($self, $opcode, $payload, %opt) = @_;

    return $self->write(frame($opcode, $payload // '', %opt));
}


# A whole message: compressed if that was negotiated and wanted, cut into
# frames of "fragment" bytes if given.

sub send_message {
    my ($self, $opcode, $payload, %opt) = @_;

    return $self->write($self->format_message($opcode, $payload, %opt));
}


sub format_message {
    my ($self, $opcode, $payload, %opt) = @_;

    my $size = delete $opt{fragment};
    my $compress = delete $opt{compress} // $self->{compress};

    if ($self->{deflate} && $compress) {
        $payload = $self->deflate($payload);
        $opt{rsv1} = 1;
    }

    return $size ? join('', fragments($opcode, $payload, $size, %opt))
                 : frame($opcode, $payload, %opt);
}


sub text { my $self = shift; return $self->send_message(TEXT, @_) }
sub binary { my $self = shift; return $self->send_message(BINARY, @_) }
sub ping { my $self = shift; return $self->send_frame(PING, @_) }
sub pong { my $self = shift; return $self->send_frame(PONG, @_) }


sub close {
    my ($self, $code, $reason) = @_;

    $self->{close_sent} = 1;

    return $self->send_frame(CLOSE, close_payload($code, $reason));
}


# Frames in.

# The next frame as a hash: fin, rsv, rsv1, opcode, masked, form, payload.
# undef if none came whole in time; {eof} tells whether the stream is over.

sub read_frame {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});
    my $need = 2;
    my ($b0, $b1, $len, $form);

    while (1) {
        my $have = length $self->{rbuf};

        if ($have >= $need) {
            ($b0, $b1) = unpack('CC', $self->{rbuf});
            $len = $b1 & 0x7f;
            $form = $len < 126 ? 7 : $len == 126 ? 16 : 64;

            my $head = 2 + ($form == 16 ? 2 : $form == 64 ? 8 : 0)
                + ($b1 & 0x80 ? 4 : 0);

            if ($have >= $head) {
                $len = unpack('x2n', $self->{rbuf}) if $form == 16;
                $len = unpack('x2Q>', $self->{rbuf}) if $form == 64;

                $need = $head + $len;

                if ($have >= $need) {
                    my $payload = substr($self->{rbuf}, 0, $need, '');
                    substr($payload, 0, $head, '');

                    return {
                        fin     => $b0 >> 7,
                        rsv     => $b0 >> 4 & 7,
                        rsv1    => $b0 >> 6 & 1,
                        opcode  => $b0 & 15,
                        masked  => $b1 >> 7,
                        form    => $form,
                        payload => $payload,
                    };
                }

            } else {
                $need = $head;
            }
        }

        $self->_fill($deadline) or return undef;
    }
}


# The next event: a message (type "text" or "binary", with data, frames,
# compressed), a "ping", a "pong" (data) or a "close" (code, reason, data).
# Pings are answered and a Close is echoed unless told otherwise.  Dies when
# the server breaks the protocol.

sub read_event {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (1) {
        my $left = $deadline - time();
        my $f = $self->read_frame($left > 0 ? $left : 0) or return undef;

        $self->_check_frame($f);

        if ($f->{opcode} & 8) {
            return $self->_control($f);
        }

        my $m = $self->{parts} //= {
            type => $f->{opcode} == TEXT ? 'text' : 'binary',
            data => '', frames => 0, compressed => $f->{rsv1}
        };

        $m->{frames}++;
        $m->{data} .= $f->{payload};

        next unless $f->{fin};

        $self->{parts} = undef;

        if ($m->{compressed}) {
            $m->{wire} = length $m->{data};
            $m->{data} = $self->inflate($m->{data});
        }

        return $m;
    }
}


sub _check_frame {
    my ($self, $f) = @_;

    my $op = $f->{opcode};
    my $first = $op == TEXT || $op == BINARY;
    my $len = length $f->{payload};

    croak("server sent a masked frame") if $f->{masked};
    croak("server sent a frame after Close") if $self->{close_seen};
    croak("server sent RSV $f->{rsv}")
        if $f->{rsv} && !($f->{rsv} == 4 && $self->{deflate} && $first);
    croak("server sent opcode $op") if $op > 2 && $op < 8 || $op > 10;
    croak("server did not use the shortest length")
        if $f->{form} == 16 && $len < 126 || $f->{form} == 64 && $len < 65536;

    if ($op & 8) {
        croak("server sent a bad control frame") if !$f->{fin} || $len > 125;

    } elsif ($first ? $self->{parts} : !$self->{parts}) {
        croak("server sent fragments out of order");
    }
}


sub _control {
    my ($self, $f) = @_;

    my $data = $f->{payload};

    if ($f->{opcode} == PING) {
        push @{$self->{pings}}, $data;
        $self->pong($data) if $self->{auto_pong} && !$self->{close_sent};
        return { type => 'ping', data => $data };
    }

    if ($f->{opcode} == PONG) {
        push @{$self->{pongs}}, $data;
        return { type => 'pong', data => $data };
    }

    croak("server sent a Close of one byte") if length $data == 1;

    my ($code, $reason) = length $data ? unpack('na*', $data) : (undef, '');

    croak("server sent a Close with code $code")
        if defined $code && ($code < 1000 || $code > 4999
                             || $code =~ /^(?:100[456]|1015)$/);

    $self->{close_seen} = { code => $code, reason => $reason };

    if ($self->{auto_close} && !$self->{close_sent}) {
        $self->{close_sent} = 1;
        $self->send_frame(CLOSE, substr($data, 0, 2));
    }

    return { type => 'close', code => $code, reason => $reason,
             data => $data };
}


# The next message, over the heads of pings and pongs.  undef on timeout, on
# Close (see close_code) and at the end of the stream.

sub message {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    return undef if $self->{close_seen};

    while (1) {
        my $left = $deadline - time();
        my $e = $self->read_event($left > 0 ? $left : 0) or return undef;

        return undef if $e->{type} eq 'close';
        return $e if $e->{type} eq 'text' || $e->{type} eq 'binary';
    }
}


# The data of the next message.

sub recv {
    my ($self, $timeout) = @_;

    my $m = $self->message($timeout);

    return defined $m ? $m->{data} : undef;
}


# The data of the next N messages, fewer if they do not come.

sub recv_n {
    my ($self, $n, $timeout) = @_;

    my @data;

    while ($n--) {
        my $m = $self->message($timeout) or last;
        push @data, $m->{data};
    }

    return @data;
}


# The data of the next pong.

sub read_pong {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (1) {
        my $left = $deadline - time();
        my $e = $self->read_event($left > 0 ? $left : 0) or return undef;

        return $e->{data} if $e->{type} eq 'pong';
        return undef if $e->{type} eq 'close';
    }
}


# Waits for the server's Close; messages on the way are kept in "skipped".
# Returns its code, 1005 if it had none, undef if none came.

sub wait_close {
    my ($self, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (!$self->{close_seen}) {
        my $left = $deadline - time();
        my $e = $self->read_event($left > 0 ? $left : 0) or return undef;

        push @{$self->{skipped}}, $e
            if $e->{type} eq 'text' || $e->{type} eq 'binary';
    }

    return $self->close_code();
}


sub close_code {
    my ($self) = @_;

    return undef unless $self->{close_seen};
    return $self->{close_seen}{code} // 1005;
}


sub close_reason {
    my ($self) = @_;

    return $self->{close_seen} ? $self->{close_seen}{reason} : undef;
}


# Closes as one should.  Returns the code of the server's Close if the server
# then ended the stream, else undef.

sub finish {
    my ($self, $code) = @_;

    $self->close($code // 1000) unless $self->{close_sent};

    my $got = $self->wait_close();
    my $eof = $self->at_eof();

    $self->disconnect();

    return $eof ? $got : undef;
}


# permessage-deflate.

sub _setup_deflate {
    my ($self, $r) = @_;

    my @values = $r->headers('Sec-WebSocket-Extensions');

    return unless @values;

    croak("more than one extension: @values") if @values > 1;

    my ($name, @params) = split /\s*;\s*/, $values[0];

    croak("unknown extension $name") unless $name eq 'permessage-deflate';

    my %p;

    for (@params) {
        my ($param, $value) = /^([a-z_]+)(?:="?(\d+)"?)?$/
            or croak("bad extension parameter $_");
        croak("$param twice") if exists $p{$param};
        $p{$param} = $value // 1;
    }

    $self->{deflate} = \%p;
}


sub deflate {
    my ($self, $data) = @_;

    my $p = $self->{deflate} // {};
    my $d = $self->{deflater};

    if ($d) {
        $d->deflateReset() if $p->{client_no_context_takeover};

    } else {
        ($d) = Compress::Raw::Zlib::Deflate->new(
            -WindowBits   => -($p->{client_max_window_bits} // MAX_WBITS),
            -Level        => $self->{level},
            -AppendOutput => 1,
        );
        $self->{deflater} = $d;
    }

    my $out = '';

    $d->deflate($data, $out) == Z_OK or croak("deflate failed");
    $d->flush($out, Z_SYNC_FLUSH) == Z_OK
        or length $data == 0 or croak("deflate failed");

    return "\0" unless length $out;

    $out =~ s/\x00\x00\xff\xff\z// or croak("deflate did not flush");

    return $out;
}


sub inflate {
    my ($self, $data) = @_;

    my $p = $self->{deflate} // {};
    my $i = $self->{inflater};

    if ($i) {
        $i->inflateReset() if $p->{server_no_context_takeover};

    } else {
        ($i) = Compress::Raw::Zlib::Inflate->new(
            -WindowBits   => -($p->{server_max_window_bits} // MAX_WBITS),
            -AppendOutput => 1,
            -LimitOutput  => 0,
        );
        $self->{inflater} = $i;
    }

    my $out = '';
    my $in = $data . "\x00\x00\xff\xff";
    my $rc = $i->inflate($in, $out);

    croak("server sent bad deflate data: $rc")
        unless $rc == Z_OK || $rc == Z_STREAM_END || $rc == Z_BUF_ERROR;

    $i->inflateReset() if $rc == Z_STREAM_END;

    return $out;
}


1;
