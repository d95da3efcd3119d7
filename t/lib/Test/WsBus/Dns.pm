package Test::WsBus::Dns;

# Copyright (C) the ngx_ws_bus_module authors

# A name server of a test.  See the POD below.

use warnings;
use strict;

use IO::Socket::INET;
use Socket qw/ inet_aton /;


sub new {
    my ($class, $t) = @_;

    my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1')
        or die "udp: $!";
    my $self = bless { t => $t, port => $s->sockport() }, $class;

    $t->run_daemon(\&_serve, $self, $s);

    return $self;
}


# For a configuration of nginx.

sub resolver { return "resolver 127.0.0.1:$_[0]{port} ipv6=off;" }


# Answers for type A, with a TTL of 0; nothing for "silent".

sub _serve {
    my ($self, $s) = @_;

    while (1) {
        $s->recv(my $query, 512) or next;

        my ($id) = unpack('n', $query);
        my $end = index($query, "\0", 12);
        my @labels = unpack('(C/a)*', substr($query, 12, $end - 12));
        my $question = substr($query, 12, $end + 1 - 12 + 4);
        my $name = join('.', @labels);

        next if $name =~ /^silent/;

        my @addresses = -f $self->{t}->testdir() . "/$name"
            ? split(' ', $self->{t}->read_file($name)) : ();

        $s->send(pack('nnnnnn', $id, @addresses ? 0x8180 : 0x8183, 1,
                      scalar(@addresses), 0, 0) . $question
            . join('', map { pack('nnnNna4', 0xc00c, 1, 1, 0, 4,
                                  inet_aton($_)) } @addresses));
    }
}


1;

__END__

=head1 NAME

Test::WsBus::Dns - a name server for one test

=head1 SYNOPSIS

    my $dns = Test::WsBus::Dns->new($t);

    $t->write_file('node.example', '127.0.0.1 127.0.0.2');

    # ... http { resolver 127.0.0.1:...; } is $dns->resolver()

=head1 METHODS

=over

=item new($t)

A name has the addresses in the file of the test's directory that is called as
it, none without one, and C<silent*> gets no answer.

=item resolver()

The line for a configuration.

=back

=cut
