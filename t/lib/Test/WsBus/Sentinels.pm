package Test::WsBus::Sentinels;

# Copyright (C) the ngx_ws_bus_module authors

# A master, its replicas and the sentinels of a test.  See the POD below.

use warnings;
use strict;

use Carp;

use Test::WsBus ();
use Test::WsBus::Redis;


sub new {
    my ($class, $t, %opt) = @_;

    my $self = bless {
        replicas => 2, sentinels => 3, t => $t, master => 'bus',
        host => '127.0.0.1', %opt
    }, $class;

    for my $i (0 .. $self->{replicas}) {
        my $server = Test::WsBus::Redis->new($t,
            name => "server$i",
            port => 7300 + $i,
            tls_port => 7400 + $i,
            tls => $self->{tls},
            config => [
                $self->{tls} ? ('tls-replication yes') : (),
                @{$self->{config} // []},
            ],
        );

        my $host = $self->{host};

        push @{$server->{config}}, "replica-announce-ip $host"
            if $host ne '127.0.0.1';

        push @{$server->{config}}, "replicaof $host "
            . ($self->{servers}[0]->tls_port() || $self->{servers}[0]->port())
            if $i;

        push @{$self->{servers}}, $server;
    }

    return $self;
}


sub start {
    my ($self) = @_;

    $_->start() for @{$self->{servers}};

    my $port = $self->server_port(0);

    for my $i (0 .. $self->{sentinels} - 1) {
        my $s = Test::WsBus::Redis->new($self->{t},
            name => "sentinel$i",
            port => 7500 + $i,
            tls_port => 7600 + $i,
            tls => $self->{tls},
            sentinel => 1,
            config => [
                $self->{tls} ? ('tls-replication yes') : (),
                $self->{host} eq '127.0.0.1' ? ()
                    : ('sentinel resolve-hostnames yes',
                       'sentinel announce-hostnames yes'),
                "sentinel monitor $self->{master} $self->{host} $port 2",
                "sentinel down-after-milliseconds $self->{master} 1000",
                "sentinel failover-timeout $self->{master} 5000",
                @{$self->{sentinel_config} // []},
            ],
        );

        push @{$self->{watchers}}, $s->start();
    }

    return $self->wait_ok();
}


# Until all sentinels know each other, all servers, and the same master.

sub wait_ok {
    my ($self) = @_;

    my $others = $self->{sentinels} - 1;
    my $replicas = grep { $_->pid() } @{$self->{servers}};

    # a sentinel cuts off the clients of a server that it changes

    $self->{t}->wait_until(sub {
        my %masters;

        for my $s (grep { $_->pid() } @{$self->{watchers}}) {
            my %m = @{$s->command('SENTINEL', 'MASTER', $self->{master})};

            return 0 if $m{flags} ne 'master'
                || $m{'num-other-sentinels'} < $others
                || $m{'num-slaves'} < $replicas - 1;

            $masters{$m{port}}++;
        }

        my $master = $self->server($self->current());

        return keys %masters == 1
            && (eval { $master->info('connected_slaves') } // 0)
                >= $replicas - 1;
    }, 60) or croak('the sentinels are not well');

    return $self;
}


# For a block "ws_bus_redis".

sub block {
    my ($self) = @_;

    return join("\n        ", "mode sentinel $self->{master};",
                map { 'server 127.0.0.1:' . ($_->tls_port() || $_->port())
                      . ';' }
                    @{$self->{watchers}});
}


sub servers { return @{$_[0]{servers}} }
sub server { return $_[0]{servers}[$_[1]] }
sub watchers { return @{$_[0]{watchers}} }
sub watcher { return $_[0]{watchers}[$_[1]] }


sub server_port {
    my ($self, $i) = @_;

    my $server = $self->{servers}[$i];

    return $server->tls_port() || $server->port();
}


# The index of the master, by a sentinel that runs.

sub current {
    my ($self) = @_;

    my ($s) = grep { $_->pid() } @{$self->{watchers}};
    my $addr = $s->command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME',
                           $self->{master});

    for my $i (0 .. $#{$self->{servers}}) {
        return $i if $self->server_port($i) == $addr->[1];
    }

    croak("no server at port $addr->[1]");
}


# Another master by hand.  One that a sentinel has given up is asked for again.

sub failover {
    my ($self) = @_;

    my $old = $self->current();
    my $next = 0;

    $self->{t}->wait_until(sub {
        return 1 if $self->current() != $old;

        if (time() >= $next) {
            eval {
                $self->watcher(0)->command('SENTINEL', 'FAILOVER',
                                           $self->{master});
            };
            $next = time() + 10;
        }

        return 0;
    }, 60) or croak('no failover');

    return $self->current();
}


# How long a master may be away, in milliseconds.

sub patience {
    my ($self, $ms) = @_;

    for my $s (grep { $_->pid() } @{$self->{watchers}}) {
        $s->command('SENTINEL', 'SET', $self->{master},
                    'down-after-milliseconds', $ms);
    }

    return $self;
}


# Until another one than this is the master.

sub wait_other {
    my ($self, $old) = @_;

    $self->{t}->wait_until(sub { $self->current() != $old }, 60)
        or croak('no failover');

    return $self->current();
}


1;

__END__

=head1 NAME

Test::WsBus::Sentinels - a Redis with Sentinel for one test

=head1 SYNOPSIS

    my $s = Test::WsBus::Sentinels->new($t)->start();

    # ... mode sentinel bus; server 127.0.0.1:%%PORT_7500%%; ...

    my $old = $s->current();
    $s->server($old)->kill();
    $s->wait_other($old);

=head1 METHODS

=over

=item new($t, options)

C<replicas> (2), C<sentinels> (3), C<master> (C<bus>, its name), C<host> (a name
for 127.0.0.1 that sentinels are to tell), C<tls>,
C<config>, C<sentinel_config> as Test::WsBus::Redis has them.  The ports of
server C<i> are named 7300 + C<i> and, with TLS, 7400 + C<i>; those of sentinel
C<i> 7500 + C<i> and 7600 + C<i>.

=item start(), wait_ok()

=item block()

The lines C<mode> and C<server>.

=item servers(), server(i), server_port(i), watchers(), watcher(i)

=item current(), wait_other(old), failover()

Indices of servers; failover() makes another one the master, and waits for it.

=item patience(ms)

How long a master may be away before another one follows; 1000 at first.

=back

=cut
