package Test::WsBus::Cluster;

# Copyright (C) the ngx_ws_bus_module authors

# A Redis Cluster of a test.  See the POD below.

use warnings;
use strict;

use Carp;
use List::Util qw/ first /;
use Time::HiRes qw/ sleep /;

use Test::WsBus ();
use Test::WsBus::Redis;


use constant SLOTS => 16384;


sub new {
    my ($class, $t, %opt) = @_;

    my $self = bless { masters => 3, replicas => 1, t => $t, %opt }, $class;

    my $n = $self->{masters} * (1 + $self->{replicas});

    $self->{nodes} = [ map { $self->_node($_) } 0 .. $n - 1 ];

    return $self;
}


sub _node {
    my ($self, $i) = @_;

    my $bus = Test::WsBus::port(7100 + $i);

    return Test::WsBus::Redis->new($self->{t},
        name => "node$i",
        port => 7000 + $i,
        tls_port => 7200 + $i,
        tls => $self->{tls},
        no_wait => 1,
        config => [
            'cluster-enabled yes',
            'cluster-config-file nodes.conf',
            "cluster-port $bus",
            'cluster-node-timeout 2000',
            'cluster-replica-validity-factor 0',
            $self->{tls} ? ('tls-cluster yes', 'tls-replication yes') : (),
            $self->{names} ? ("cluster-announce-hostname node$i.example",
                              'cluster-preferred-endpoint-type hostname') : (),
            @{$self->{config} // []},
        ],
    );
}


# The first ones are masters, the others replicas of them in turn.

sub start {
    my ($self) = @_;

    my $masters = $self->{masters};
    my @nodes = @{$self->{nodes}};

    $_->start() for @nodes;
    $_->wait_ready(20) for @nodes;

    for my $i (0 .. $masters - 1) {
        my $first = int(SLOTS * $i / $masters);
        my $last = int(SLOTS * ($i + 1) / $masters) - 1;

        $nodes[$i]->command('CLUSTER', 'ADDSLOTSRANGE', $first, $last);
        $nodes[$i]->command('CLUSTER', 'SET-CONFIG-EPOCH', $i + 1);
    }

    for my $i (1 .. $#nodes) {
        $nodes[0]->command('CLUSTER', 'MEET', '127.0.0.1',
                           $self->node_port($i),
                           Test::WsBus::port(7100 + $i));
    }

    $self->_until('they know each other', sub {
        return !grep { ($_->info_cluster('cluster_known_nodes') // 0) < @nodes
                       || ($_->info_cluster('cluster_state') // '') ne 'ok' }
            @nodes;
    });

    for my $i ($masters .. $#nodes) {
        $nodes[$i]->command('CLUSTER', 'REPLICATE',
                            $self->id($i % $masters));
    }

    $self->_until('there are replicas', sub {
        return !grep { ($_->info('master_link_status') // '') ne 'up' }
            @nodes[$masters .. $#nodes];
    });

    # all of them know of all the replicas

    $self->_until('replicas are known', sub {
        return !grep {
            (() = $_->command('CLUSTER', 'NODES') =~ / (?:myself,)?slave /g)
                != @nodes - $masters
        } @nodes;
    });

    return $self;
}


sub _until {
    my ($self, $what, $test, $seconds) = @_;

    return $self if $self->{t}->wait_until($test, $seconds // 30);

    croak("cluster: not in time: $what");
}


# For a block "ws_bus_redis".

sub block {
    my ($self) = @_;

    return join("\n        ", 'mode cluster;',
                map { 'server 127.0.0.1:' . $self->node_port($_) . ';' }
                    0 .. $#{$self->{nodes}});
}


sub nodes { return @{$_[0]{nodes}} }
sub node { return $_[0]{nodes}[$_[1]] }


sub node_port {
    my ($self, $i) = @_;

    my $node = $self->{nodes}[$i];

    return $node->tls_port() || $node->port();
}


sub id { return $_[0]->node($_[1])->command('CLUSTER', 'MYID') }


sub running { return grep { $_->pid() } $_[0]->nodes() }


sub slot { return $_[0]->any()->command('CLUSTER', 'KEYSLOT', $_[1]) }
sub any { return ($_[0]->running())[0] }


# The index of the node that serves a slot, as a node that runs has it.

sub owner {
    my ($self, $slot, $by) = @_;

    my $slots = ($by // $self->any())->command('CLUSTER', 'SLOTS');

    my $range = first { $_->[0] <= $slot && $slot <= $_->[1] } @$slots;

    return undef if !$range;

    my $port = $range->[2][1];

    return first { $self->{nodes}[$_]->port() == $port
                   || ($self->{nodes}[$_]->tls_port() || 0) == $port }
        0 .. $#{$self->{nodes}};
}


# A key or channel "prefix{tag...}" whose slot a node serves.

sub tag {
    my ($self, $node, $prefix) = @_;

    for my $i (0 .. 10000) {
        my $tag = ($prefix // 'tag') . $i;

        return $tag if $self->owner($self->slot("{$tag}")) == $node;
    }
}


# Moves a slot; what "half" does happens while it is on its way.

sub migrate {
    my ($self, $slot, $to, $half) = @_;

    my $from = $self->owner($slot);
    my ($source, $target) = ($self->node($from), $self->node($to));

    $target->command('CLUSTER', 'SETSLOT', $slot, 'IMPORTING',
                     $self->id($from));
    $source->command('CLUSTER', 'SETSLOT', $slot, 'MIGRATING',
                     $self->id($to));

    $half->() if $half;

    while (1) {
        my $keys = $source->command('CLUSTER', 'GETKEYSINSLOT', $slot, 100);

        last if !@$keys;

        $source->command('MIGRATE', '127.0.0.1', $self->node_port($to), '', 0,
                         5000, 'KEYS', @$keys);
    }

    $target->command('CLUSTER', 'SETSLOT', $slot, 'NODE', $self->id($to));
    $source->command('CLUSTER', 'SETSLOT', $slot, 'NODE', $self->id($to));

    return $self;
}


# How long a node may be away before it is taken for dead, in milliseconds.

sub patience {
    my ($self, $ms) = @_;

    for my $node (grep { !$_->{paused} } $self->running()) {
        $node->command('CONFIG', 'SET', 'cluster-node-timeout', $ms);
    }

    return $self;
}


# Until all that run agree, and every slot is served.

sub wait_ok {
    my ($self) = @_;

    return $self->_until('the cluster is well', sub {
        my %maps;

        for my $node ($self->running()) {
            return 0 if ($node->info_cluster('cluster_state') // '') ne 'ok';

            my $slots = $node->command('CLUSTER', 'SLOTS');

            $maps{join(' ', map { "$_->[0]-$_->[1]:$_->[2][1]" }
                       sort { $a->[0] <=> $b->[0] } @$slots)}++;
        }

        return keys %maps == 1;
    });
}


# A field of CLUSTER INFO, as a method of a Redis.

sub Test::WsBus::Redis::info_cluster {
    my ($redis, $field) = @_;

    my $text = eval { $redis->command('CLUSTER', 'INFO') } // '';

    return $text =~ /^\Q$field\E:(.*?)\r?$/m ? $1 : undef;
}


1;

__END__

=head1 NAME

Test::WsBus::Cluster - a Redis Cluster for one test

=head1 SYNOPSIS

    my $cluster = Test::WsBus::Cluster->new($t)->start();

    # ... mode cluster; server 127.0.0.1:%%PORT_7000%%; ...

    $cluster->migrate($cluster->slot('{news}'), 1);
    $cluster->node(0)->kill();
    $cluster->wait_ok();

=head1 METHODS

=over

=item new($t, options)

C<masters> (3), C<replicas> (1, of each), C<names> (1: nodes say that they are
C<node0.example> and so on), C<tls> and C<config> as
Test::WsBus::Redis has them.  The ports of node C<i> are named 7000 + C<i>,
and 7200 + C<i> with TLS.

=item start(), wait_ok()

=item block()

The lines C<mode> and C<server>.

=item nodes(), node(i), node_port(i), running(), any(), id(i)

=item slot(key), owner(slot), tag(node, prefix)

owner() is an index; tag() a hash tag that the node serves.

=item patience(ms)

How long a node may be away before a replica follows; 2000 at first.

=item migrate(slot, to, code)

=back

=cut
