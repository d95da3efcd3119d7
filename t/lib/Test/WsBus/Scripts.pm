package Test::WsBus::Scripts;

# Copyright (C) the ngx_ws_bus_module authors

# The module's Lua scripts on a Redis of a test, as a publisher or a host uses
# them.  See the POD below.

use warnings;
use strict;

use Carp;
use Cwd qw/ abs_path /;
use File::Basename qw/ dirname /;
use IPC::Open2;
use POSIX qw/ WNOHANG /;


my $ROOT = abs_path(dirname(__FILE__) . '/../../../..');
my @NAMES = qw/ publish history position delete /;

my %text;
my $epochs = 0;


# The scripts are C strings: their unit test prints them.

sub text {
    my ($name) = @_;

    build();

    return $text{$name} //= do {
        my $argument = $name eq 'functions' ? $name : "ws_bus_$name";
        my $out = `$ROOT/build/unit/script.t $argument`;

        croak("no script $name") if $? || $out eq '';
        $out;
    };
}


sub build {
    our $built;

    return if $built;

    my $out = `cd $ROOT && make -s build/unit/script.t build/unit/envelope.t 2>&1`;

    croak($out) if $?;

    $built = 1;
}


# Envelopes as the C code reads them, each a hash.

sub decode {
    my (@bytes) = @_;

    build();

    my $pid = open2(my $out, my $in, "$ROOT/build/unit/envelope.t", 'decode');

    my @decoded;

    for my $bytes (@bytes) {
        print $in unpack('H*', $bytes), "\n";
        $in->flush();

        my $line = <$out> // croak('the decoder ended');
        my %e = map { /^(\w+)=(.*)$/ } split(/ /, $line =~ s/\n//r);

        $e{payload} = pack('H*', $e{payload} // '');
        push @decoded, \%e;
    }

    close($in);
    close($out);
    waitpid($pid, 0);

    return wantarray ? @decoded : $decoded[0];
}


# What follows the place in an envelope.

sub rest {
    my ($payload, %opt) = @_;

    return varint($opt{time} // 1_700_000_000_000) . varint($opt{age} // 0)
        . $payload;
}


sub varint {
    my ($n) = @_;

    my $s = '';

    while ($n > 127) {
        $s .= chr($n & 127 | 128);
        $n >>= 7;
    }

    return $s . chr($n);
}


sub epoch {
    return sprintf('%08x%08x', $$ & 0xffffffff, ++$epochs);
}


# A host or publisher: one connection.

sub new {
    my ($class, $redis, %opt) = @_;

    my $self = bless {
        prefix => 'ws_bus:',
        client => $redis->client(),
        %opt,
    }, $class;

    $self->{replid} //= $self->replid();

    for my $name (@NAMES) {
        $self->{sha}{$name} = $self->command('SCRIPT', 'LOAD', text($name));
    }

    return $self;
}


sub command { return shift->{client}->command(@_) }


sub replid {
    my ($self) = @_;

    my $info = $self->command('INFO', 'replication');

    return $info =~ /^master_replid:(\w+)/m ? $1 : '';
}


sub key {
    my ($self, $channel, $suffix) = @_;

    return "$self->{prefix}\{$channel}" . ($suffix // '');
}


sub call {
    my ($self, $name, $keys, @args) = @_;

    return $self->command('EVALSHA', $self->{sha}{$name}, scalar(@$keys),
                          @$keys, @args);
}


sub publish_command {
    my ($self, $channel, $payload, %opt) = @_;

    my @keys = map { $self->key($channel, $_) } '', ':meta', ':log',
        defined $opt{once} ? ":once:$opt{once}" : ();

    return (scalar(@keys), @keys, $opt{with} // 'PUBLISH', $opt{flags} // 0,
        $opt{rest} // rest($payload, %opt),
        $opt{settings} // $self->settings(%opt), $opt{epoch} // epoch(),
        defined $opt{once} ? $opt{once_ttl} // 300000 : ());
}


# Empty: not kept.

sub settings {
    my ($self, %opt) = @_;

    my $count = $opt{count} // 100;

    return $count eq '0' ? '' : join(':', $count, $opt{ttl} // 60000,
        $opt{meta_ttl} // 120000, $opt{round} // '',
        substr($opt{replid} // $self->{replid}, 0, 24));
}


sub publish {
    my ($self, @args) = @_;

    my $r = $self->command('EVALSHA', $self->{sha}{publish},
                           $self->publish_command(@args));

    my %place;
    @place{qw/ new seq epoch receivers replid /} = @$r;

    return \%place;
}


sub history {
    my ($self, $channel, $after, %opt) = @_;

    my $r = $self->call('history',
        [ map { $self->key($channel, $_) } ':meta', ':log' ],
        $after, $opt{limit} // 100, $opt{bytes} // 1 << 20,
        $opt{epoch} // '', $opt{replid} // '', $opt{meta_ttl} // 0);

    my %h;
    @h{qw/ epoch seq prev base first entries older /} = @$r;

    return \%h;
}


sub position {
    my ($self, $channels, $ttl) = @_;

    my $r = $self->call('position',
        [ map { $self->key($_, ':meta') } @$channels ], $ttl // 0);

    return [ map { [ splice(@$r, 0, 4) ] } @$channels ];
}


sub delete {
    my ($self, $channel) = @_;

    return $self->call('delete',
        [ map { $self->key($channel, $_) } '', ':meta', ':log' ],
        'PUBLISH', "\xffwb\x01\x20\x00\x00");
}


1;

__END__

=head1 NAME

Test::WsBus::Scripts - the Lua scripts of the Redis layout

=head1 SYNOPSIS

    my $s = Test::WsBus::Scripts->new($redis);

    my $place = $s->publish('news', 'hello', count => 10);
    my $history = $s->history('news', 0);
    my ($e) = Test::WsBus::Scripts::decode(@{$history->{entries}});

=head1 METHODS

=over

=item new($redis, replid => '', prefix => 'ws_bus:')

A connection of its own to a L<Test::WsBus::Redis>; reads the replication id
as a bridge does, unless one is given.

=item publish($channel, $payload, options)

C<count> (100), C<ttl>, C<meta_ttl>, C<once> (hexadecimal), C<once_ttl>,
C<replid>, C<epoch>, C<round> (empty), C<with> (C<PUBLISH>), C<flags>,
C<time>, C<age>; or C<rest>, C<settings> as they are.  A hash: new, seq, epoch, receivers, replid.  Dies with the error
of Redis, as all of them.

=item publish_command(the same)

What stands behind EVALSHA and the digest.

=item history($channel, $after, options), position([channels], ttl), delete($channel)

history() takes C<limit>, C<bytes>, C<epoch>, C<replid>, C<meta_ttl> and
answers a hash: epoch, seq, prev, base, first, entries, older.

=item command(args), key($channel, $suffix), call($name, \@keys, @args)

=back

Functions: C<text($name)>, C<decode(@bytes)>, C<rest($payload, options)>,
C<epoch()>, C<varint($n)>.

=cut
