package Test::WsBus::Redis;

# Copyright (C) the ngx_ws_bus_module authors

# A Redis server or sentinel of a test, and a client to look into it.  See
# the POD below.

use warnings;
use strict;

use Carp;
use POSIX qw/ WNOHANG /;
use Time::HiRes qw/ time sleep /;

use Test::WsBus ();
use Test::WsBus::Conn;


sub new {
    my ($class, $t, %opt) = @_;

    my $name = $opt{name} // 'redis';
    my $dir = $t->testdir() . "/$name";

    mkdir($dir);
    push @{$t->{logs}}, "$name/log";

    return bless {
        %opt,
        t        => $t,
        name     => $name,
        dir      => $dir,
        port     => Test::WsBus::port($opt{port} // 6379),
        tls_port => $opt{tls} && Test::WsBus::port($opt{tls_port} // 6380),
    }, $class;
}


sub port { return $_[0]{port} }
sub tls_port { return $_[0]{tls_port} }
sub socket_path { return "$_[0]{dir}/socket" }
sub pid { return $_[0]{pid} }


# The program, and its version: 6.002, 7, 8.001.  Valkey, which counts on from
# Redis 7.2, is no earlier one by its number either.

sub binary { return $ENV{WS_BUS_TEST_REDIS} || 'redis-server' }


my %versions;

sub version {
    my $binary = binary();

    return $versions{$binary} //= do {
        open(my $fh, '-|', $binary, '--version')
            or croak("no $binary: $!");

        my $line = <$fh> // '';

        $line =~ /\bv=(\d+)\.(\d+)/ or croak("no version of $binary: $line");

        $1 + $2 / 1000;
    };
}


# Life of the server.

sub start {
    my ($self) = @_;

    croak("$self->{name} runs") if $self->{pid};

    $self->_write_config();

    $self->{pid} = $self->{t}->run_daemon(binary(),
        "$self->{dir}/redis.conf", $self->{sentinel} ? '--sentinel' : ());

    return $self->wait_ready() if !$self->{no_wait};

    return $self;
}


sub _write_config {
    my ($self) = @_;

    my $path = "$self->{dir}/redis.conf";

    # a sentinel keeps what it has learned there

    return if $self->{sentinel} && -f $path;

    my @lines = (
        'bind 127.0.0.1',
        "port $self->{port}",
        'protected-mode no',
        'daemonize no',
        "dir $self->{dir}",
        "logfile $self->{dir}/log",
    );

    if (!$self->{sentinel}) {
        push @lines, 'save ""', "unixsocket $self->{dir}/socket",
            'unixsocketperm 777', 'repl-diskless-sync-delay 0';

        # before 7 it has no setting, and is always there

        push @lines, 'enable-debug-command yes' if version() >= 7;

        # what was written survives a process that is killed without being on
        # a disk, which may be slow

        push @lines, 'appendonly ' . ($self->{aof} ? 'yes' : 'no'),
            'appendfsync no';
    }

    push @lines, "requirepass $self->{password}" if defined $self->{password};

    if (my $tls = $self->{tls}) {
        push @lines, "tls-port $self->{tls_port}",
            "tls-cert-file $tls->{cert}", "tls-key-file $tls->{key}",
            "tls-ca-cert-file $tls->{ca}",
            'tls-auth-clients ' . ($tls->{clients} ? 'yes' : 'no');
    }

    push @lines, @{$self->{config} // []};

    open(my $fh, '>', $path) or croak("open $path failed: $!");
    print $fh map { "$_\n" } @lines;
    close($fh) or croak("write $path failed: $!");
}


sub wait_ready {
    my ($self, $seconds) = @_;

    my $deadline = time() + Test::WsBus::patience($seconds);

    while (time() < $deadline) {
        my $pong = eval { $self->command('PING') } // '';

        return $self if $pong eq 'PONG' || $@ =~ /NOAUTH|NOPERM/;

        croak("$self->{name} did not start: " . $self->log())
            if $self->{pid} && waitpid($self->{pid}, WNOHANG) > 0;

        sleep(0.02);
    }

    croak("$self->{name} does not answer: " . $self->log());
}


sub stop { return $_[0]->_end('TERM') }
sub kill { return $_[0]->_end('KILL') }


sub _end {
    my ($self, $signal) = @_;

    my $pid = delete $self->{pid} or return $self;

    delete $self->{client};

    CORE::kill('CONT', $pid) if delete $self->{paused};
    CORE::kill($signal, $pid);

    my $deadline = time() + Test::WsBus::patience();

    while (waitpid($pid, WNOHANG) == 0) {
        CORE::kill('KILL', $pid) if time() > $deadline;
        sleep(0.01);
    }

    my $daemons = $self->{t}{daemons};

    @$daemons = grep { $_ != $pid } @$daemons;

    return $self;
}


# Ends it and starts it again; without "data" it has forgotten everything.

sub restart {
    my ($self, %opt) = @_;

    if ($opt{data} && !$self->{aof}) {
        $self->command('SAVE');
    }

    $self->_end($opt{signal} // 'TERM');

    if (!$opt{data}) {
        system('rm', '-rf', "$self->{dir}/dump.rdb",
               "$self->{dir}/appendonlydir", "$self->{dir}/appendonly.aof");
    }

    return $self->start();
}


# A paused server keeps its connections and answers nothing.

sub pause {
    my ($self) = @_;

    CORE::kill('STOP', $self->{pid});
    $self->{paused} = 1;

    return $self;
}


sub resume {
    my ($self) = @_;

    CORE::kill('CONT', $self->{pid});
    delete $self->{paused};

    return $self;
}


sub log {
    my ($self) = @_;

    open(my $fh, '<:raw', "$self->{dir}/log") or return '';
    local $/;

    return <$fh> // '';
}


# Looking into it.

sub client {
    my ($self, %opt) = @_;

    my $client = Test::WsBus::Redis::Client->new(port => $self->{port}, %opt);

    $client->command('AUTH', $self->{password}) if defined $self->{password};

    return $client;
}


sub command {
    my ($self, @args) = @_;

    # one that has been cut off is of no use

    my $client = delete $self->{client} // $self->client();
    my $reply = $client->command(@args);

    $self->{client} = $client;

    return $reply;
}


sub info {
    my ($self, $field, $section) = @_;

    my $text = $self->command('INFO', $section // 'everything');

    return $text =~ /^\Q$field\E:(.*?)\r?$/m ? $1 : undef;
}


# The connections that others have, a hash of each: name, db, user, sub, cmd.

sub clients {
    my ($self) = @_;

    return grep { ($_->{cmd} // '') !~ /^client/ }
        map { { map { /^(.*?)=(.*)$/ ? ($1, $2) : () } split / / } }
        split /\r?\n/, $self->command('CLIENT', 'LIST');
}


package Test::WsBus::Redis::Client;

use warnings;
use strict;

use Carp;
use Time::HiRes qw/ time /;


our @CARP_NOT = qw/ Test::WsBus::Redis /;


sub new {
    my ($class, %opt) = @_;

    return bless { conn => Test::WsBus::Conn->new(%opt) }, $class;
}


# Sends it, and does not wait.

sub send {
    my ($self, @args) = @_;

    $self->{conn}->write(encode(@args));

    return $self;
}


sub encode {
    my (@args) = @_;

    return join('', '*' . @args . "\r\n",
                map { '$' . length($_) . "\r\n$_\r\n" } @args);
}


# A string, a number, undef, a list reference, or for an error a reference to
# its text; dies when nothing comes.

sub reply {
    my ($self, $timeout) = @_;

    my $line = $self->_line($timeout);
    my ($type, $rest) = $line =~ /^(.)(.*)$/s or croak("no reply: $line");

    return $rest if $type eq '+' || $type eq ':';
    return \$rest if $type eq '-';

    if ($type eq '$') {
        return undef if $rest < 0;

        my $data = $self->{conn}->read_bytes($rest + 2, $timeout)
            // croak('no reply');

        return substr($data, 0, -2);
    }

    croak("no reply: $line") if $type ne '*';

    return undef if $rest < 0;

    return [ map { $self->reply($timeout) } 1 .. $rest ];
}


sub _line {
    my ($self, $timeout) = @_;

    my $line = '';

    while ($line !~ /\r\n\z/) {
        $line .= $self->{conn}->read_bytes(1, $timeout) // croak('no reply');
    }

    return substr($line, 0, -2);
}


# The reply; dies with an error.

sub command {
    my ($self, @args) = @_;

    my $reply = $self->send(@args)->reply();

    croak("$args[0]: $$reply") if ref $reply eq 'SCALAR';

    return $reply;
}


sub disconnect { return $_[0]{conn}->disconnect() }


1;

__END__

=head1 NAME

Test::WsBus::Redis - a Redis for one test

=head1 SYNOPSIS

    my $t = Test::WsBus->new()->has('bin/redis-server');
    my $r = Test::WsBus::Redis->new($t)->start();

    # ... server 127.0.0.1:%%PORT_6379%%; ...

    is($r->command('PUBLISH', 'ws_bus:{news}', 'hello'), 1, 'one subscriber');

    $r->kill();
    $r->start();

=head1 METHODS

=over

=item new($t, options)

C<name> (C<redis>; its directory in the test's), C<port> and C<tls_port> (names
as in port(): 6379, 6380), C<password>, C<aof> (1: what was acknowledged
survives kill()), C<tls> (C<< { cert, key, ca, clients } >>, paths; with
C<clients> a certificate is asked for; the plain port stays), C<sentinel> (1),
C<config> (list reference of more lines), C<no_wait>.

=item start(), stop(), kill(), restart(data => 1, signal => 'KILL')

start() waits until it answers.  Its log is in C<< $t->{logs} >>.  It listens on 127.0.0.1 only, and on
socket_path().  It ends with the test.

=item pause(), resume()

SIGSTOP, SIGCONT.

=item wait_ready([seconds]), pid(), port(), tls_port(), socket_path(), log()

=item command(args)

The reply; dies with an error of Redis.

=item client(options of Test::WsBus::Conn)

A connection of its own: C<command(args)>, C<send(args)>, C<reply([timeout])>
(an error is a reference to its text), C<disconnect()>.
C<Test::WsBus::Redis::Client::encode(args)> makes the bytes of a command.

=item binary(), version()

The program that start() runs, and its version as a number: C<6.002> for 6.2.

=item info(field), clients()

A field of INFO; CLIENT LIST as a list of hashes, without the one that asks.

=back

=head1 ENVIRONMENT

=over

=item WS_BUS_TEST_REDIS

The server to run, of Redis or Valkey; C<redis-server> from the PATH by default.

=back

=cut
