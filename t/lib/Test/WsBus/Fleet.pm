package Test::WsBus::Fleet;

# Copyright (C) the ngx_ws_bus_module authors

# Several hosts, each an nginx of its own, and the Redis that joins them.  See
# the POD below.

use warnings;
use strict;

use Carp;

use Test::WsBus ();
use Test::WsBus::Redis;


# what every host has

my $CONF = <<'EOF';

%%TEST_GLOBALS%%

worker_processes %%WORKERS%%;

events {
    worker_connections 4096;
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_redis fleet {
        %%SERVERS%%
        reconnect 50ms 500ms;
        %%REDIS%%
    }

    ws_bus_zone bus %%ZONE%% redis=fleet;

    ws_bus_publish on;
    ws_bus_buffer 16m;
    ws_bus_drain 0;

    %%HTTP%%

    server {
        listen 127.0.0.1:%%LISTEN%%;

        location ~ ^/ws/(.*)$ {
            ws_bus $1;
            ws_bus_history 1000;
        }

        location ~ ^/live/(.*)$ {
            ws_bus $1;
        }

        location = /json {
            ws_bus;
            ws_bus_channels **;
            ws_bus_history 1000;
            ws_bus_max_channels 20000;
        }

        location ~ ^/pub/(.*)$ {
            ws_bus_publisher $1;
            ws_bus_history 1000;
        }

        location ~ ^/livepub/(.*)$ {
            ws_bus_publisher $1;
        }

        location = /status {
            ws_bus_status;
        }

        location = /prometheus {
            ws_bus_status prometheus;
        }

        %%SERVER%%
    }
}

EOF


sub new {
    my ($class, %opt) = @_;

    my $self = bless { opt => \%opt, hosts => [] }, $class;

    for my $n (0 .. ($opt{hosts} // 2) - 1) {
        my $t = Test::WsBus->new();

        $t->has('bin/redis-server') if $n == 0;
        $t->log_level('info') if !$opt{debug};

        push @{$self->{hosts}}, $t;
    }

    return $self;
}


sub conf {
    my ($self, $n, %opt) = @_;

    my %o = (%{$self->{opt}}, %opt);
    my $conf = $o{conf} // $CONF;

    my $redis = $o{block} // '';

    # a machine that is busy is no Redis that is down

    for my $name ('timeout', 'connect_timeout') {
        $redis .= " $name 5s;" unless $redis =~ /\b$name\b/;
    }

    my %value = (
        REDIS   => $redis,
        SERVERS => $o{servers} // $self->_servers(),
        ZONE    => $o{zone} // '8m',
        WORKERS => $o{workers} // 2,
        HTTP    => $o{http} // '',
        SERVER  => $o{server} // '',
        LISTEN  => '%%PORT_' . (8080 + $n) . '%%' . ($o{listen} // ''),
    );

    $conf =~ s/%%(REDIS|SERVERS|ZONE|WORKERS|HTTP|SERVER|LISTEN)%%/$value{$1}/g;

    $self->{hosts}[$n]->write_file_expand('nginx.conf', $conf);

    return $self;
}


sub _servers {
    my ($self) = @_;

    return $self->{redis} && $self->{redis}->can('block')
        ? $self->{redis}->block() : 'server 127.0.0.1:%%PORT_6379%%;';
}


sub start {
    my ($self) = @_;

    my $class = $self->{opt}{topology} // 'Test::WsBus::Redis';

    $self->{redis} = $class->new($self->{hosts}[0],
                                 %{$self->{opt}{redis} // {}})
        ->start();

    for my $n (0 .. $#{$self->{hosts}}) {
        $self->conf($n);
        $self->{hosts}[$n]->run();
    }

    $self->wait_up();

    return $self;
}


# Until every host is subscribed.

sub wait_up {
    my ($self, @hosts) = @_;

    @hosts = (0 .. $#{$self->{hosts}}) if !@hosts;

    for my $n (@hosts) {
        $self->{hosts}[$n]->wait_until(sub {
            return ($self->redis_status($n)->{state} // '') eq 'up';
        }, 20) or croak("host $n has no Redis");
    }

    return $self;
}


# Until every host has lost it.

sub wait_down {
    my ($self, @hosts) = @_;

    @hosts = (0 .. $#{$self->{hosts}}) if !@hosts;

    for my $n (@hosts) {
        $self->{hosts}[$n]->wait_until(sub {
            return ($self->redis_status($n)->{state} // '') eq 'down';
        }, 20) or croak("host $n still has a Redis");
    }

    return $self;
}


sub redis { return $_[0]{redis} }
sub host { return $_[0]{hosts}[$_[1]] }
sub port { return Test::WsBus::port(8080 + $_[1]) }


sub done_testing {
    my ($self) = @_;

    # Redis is the last to go

    $_->stop() for @{$self->{hosts}};
    $_->finish() for reverse @{$self->{hosts}};

    Test::More::done_testing();
}


sub status {
    my ($self, $n) = @_;

    my $r = Test::WsBus::http_get('/status', port => $self->port($n));

    return $r ? $r->json() : {};
}


sub redis_status {
    my ($self, $n) = @_;

    return $self->status($n)->{zones}{bus}{redis} // {};
}


# The worker that owns the bridge; there is one soon if there is none.

sub owner {
    my ($self, $n) = @_;

    return $self->host($n)->wait_until(sub {
        return $self->redis_status($n)->{owner};
    }) || croak("host $n has no owner");
}


sub ws {
    my ($self, $n, $path, %opt) = @_;

    return Test::WsBus::ws($path, %opt, port => $self->port($n));
}


sub ws_response {
    my ($self, $n, $path, %opt) = @_;

    return Test::WsBus::ws_response($path, %opt, port => $self->port($n));
}


sub post {
    my ($self, $n, $path, $body, %opt) = @_;

    return Test::WsBus::http_post($path, $body, %opt,
                                  port => $self->port($n));
}


sub request {
    my ($self, $n, $method, $path, %opt) = @_;

    return Test::WsBus::request($method, $path, %opt,
                                port => $self->port($n));
}


1;

__END__

=head1 NAME

Test::WsBus::Fleet - hosts that a Redis joins

=head1 SYNOPSIS

    my $f = Test::WsBus::Fleet->new(hosts => 2)->start();
    my $c = $f->ws(1, '/ws/news');

    is($f->post(0, '/pub/news', 'hello')->status(), 201, 'published');
    is_message($c, 'hello', 'on another host');

=head1 METHODS

=over

=item new(options)

C<hosts> (2), C<workers> (2), C<zone> (its size), C<block> (lines for
C<ws_bus_redis>, in which timeouts are 5 s unless it says otherwise), C<servers> (in place of
that of the Redis), C<http>, C<server> (lines there), C<redis> (a hash for
Test::WsBus::Redis), C<topology> (another class than that:
C<Test::WsBus::Sentinels>, C<Test::WsBus::Cluster>), C<conf> (another configuration), C<debug> (1).

=item start(), wait_up([host...]), wait_down([host...]), conf(host, options)

conf() writes the configuration anew, with these options instead.

=item done_testing()

Ends the hosts and their checks.

=item redis(), host(n), port(n), status(n), redis_status(n), owner(n)

host() is a Test::WsBus; owner() the pid of the worker that owns the bridge.

=item ws(n, ...), ws_response(n, ...), post(n, path, body), request(n, method,
path)

As in Test::WsBus, on host n.

=back

=cut
