package WsBusTestWorkers;

# Copyright (C) the ngx_ws_bus_module authors

# For tests of several worker processes: connections to a particular worker,
# publishers and readers that work at the same time, what the zone and the
# kernel say about the processes.
#
# The configuration under test has "listen ... reuseport", answers every
# request with "add_header X-Pid $pid always", and a location /status.

use warnings;
use strict;

use Carp;
use Exporter qw/ import /;
use Time::HiRes qw/ time sleep /;

use Test::WsBus;
use Test::WsBus::Client;
use Test::WsBus::HTTP;

our @EXPORT = qw/
    ws_at ws_everywhere http_at status worker_pids
    pump received publisher progress acked follow sequence_error
    cpu_ticks wakeups rss nfds wait_workers reload
/;

# the length of a line in what a publisher notes
use constant LINE => 32;

our @CARP_NOT = qw/ Test::WsBus /;


# A WebSocket that this worker holds.  The kernel spreads connections over
# the workers by their port, so the next attempt may go elsewhere.

sub ws_at {
    my ($pid, $path, %opt) = @_;

    for (1 .. 500) {
        my $c = ws($path, %opt);

        return $c if $c->response()->header('X-Pid') == $pid;

        $c->disconnect();
    }

    croak("no connection to worker $pid");
}


# For each worker so many connections; a list of [pid, client].

sub ws_everywhere {
    my ($pids, $n, $path, %opt) = @_;

    my %missing = map { $_ => $n } @$pids;
    my @found;

    for (1 .. 500 * @$pids) {
        last unless %missing;

        my $c = ws($path, %opt);
        my $pid = $c->response()->header('X-Pid');

        if (!$missing{$pid}) {
            $c->disconnect();
            next;
        }

        delete $missing{$pid} unless --$missing{$pid};

        push @found, [ $pid, $c ];
    }

    croak("no connection to workers " . join(' ', keys %missing)) if %missing;

    return sort { $a->[0] <=> $b->[0] } @found;
}


# A connection for HTTP requests that this worker holds.

sub http_at {
    my ($pid) = @_;

    for (1 .. 500) {
        my $h = Test::WsBus::HTTP->new(port => port(8080));
        my $r = $h->request('GET', '/status') or next;

        return $h if $r->header('X-Pid') == $pid;

        $h->disconnect();
    }

    croak("no connection to worker $pid");
}


sub status {
    my ($zone) = @_;

    my $r = http_get('/status') or croak("no status");

    return $r->json()->{zones}{$zone // 'bus'};
}


# The workers as the zone knows them.

sub worker_pids {
    return sort { $a <=> $b } map { $_->{pid} } @{status(@_)->{workers}};
}


# Waits until these many workers are there, all of them known to the zone, and
# those that were killed are not; returns their pids.

sub wait_workers {
    my ($t, $n, @killed) = @_;

    my @pids;
    my %killed = map { $_ => 1 } @killed;

    $t->wait_until(sub {
        @pids = sort { $a <=> $b } $t->workers();

        return @pids == $n && !grep({ $killed{$_} } @pids)
            && "@pids" eq join(' ', eval { worker_pids() });
    }, 10) or croak("there are workers @pids, not $n");

    return @pids;
}


# Reloads, also while older generations are still there.  True once the new
# workers run and all others have been told to leave, false when nginx refuses
# the configuration.

sub reload {
    my ($t) = @_;

    my @old = $t->workers();
    my $mark = length $t->read_file('error.log');
    my $refused;

    $t->signal('HUP');

    return $t->wait_until(sub {
        my $log = $t->read_file('error.log');

        return $refused = 1 if substr($log, $mark) =~ /\[emerg\]/;

        my %now = map { $_ => 1 } $t->workers();
        my $told = grep { $log =~ / $_#\d+: gracefully shutting down/ } @old;

        delete @now{@old};
        return %now && $told == @old;
    }, 10) && !$refused;
}


# Reads whatever arrives into the clients' buffers, without looking at it,
# until the code returns true, or a minute is over.  Returns its value, or the
# last false one.

sub pump {
    my ($clients, $code, $seconds) = @_;

    my $deadline = time() + scale($seconds // 60);

    while (1) {
        my $rin = '';

        for my $c (@$clients) {
            vec($rin, fileno($c->sock()), 1) = 1 if $c->sock() && !$c->{eof};
        }

        if (select(my $rout = $rin, undef, undef, 0.02) > 0) {
            for my $c (@$clients) {
                next if !$c->sock() || $c->{eof}
                    || !vec($rout, fileno($c->sock()), 1);
                $c->_read_some();
            }
        }

        my $value = $code->();
        return $value if $value || time() >= $deadline;
    }
}


# The data of the messages that are there; to be called again for more.

sub received {
    my ($c) = @_;

    while (my $m = $c->message(0)) {
        push @{$c->{received}}, $m->{data};
    }

    return @{$c->{received} //= []};
}


# Starts a process that publishes "name.1", "name.2", ... by POST requests to
# the uri, and notes what has been acknowledged; $t->stop_daemons() ends it.
# Options: "pause" between messages, "count", "size", "pid" of the worker.

sub publisher {
    my ($t, $name, $uri, %opt) = @_;

    $t->write_file("$name.acks", '');

    return $t->run_daemon(sub {
        my $stop = 0;
        local $SIG{TERM} = sub { $stop = 1 };

        # the descriptors belong to the parent
        Test::WsBus::Conn::disconnect_all();

        open(my $acks, '>>', $t->testdir() . "/$name.acks") or die "open: $!";

        my $fill = $opt{size} ? '.' . '=' x $opt{size} : '';
        my $h;

        for (my $i = 1; !$stop && $i <= ($opt{count} // 1e9); $i++) {

            my $id = "$name.$i";

            $h //= eval {
                $opt{pid} ? http_at($opt{pid})
                          : Test::WsBus::HTTP->new(port => port(8080))
            };

            my $r = $h && $h->request('POST', $uri, body => $id . $fill);

            if (!$r) {
                undef $h;
                sleep(0.01);
                next;
            }

            my $seq = $r->status() == 201 ? $r->json()->{seq} // 0
                                          : 'error ' . $r->status();

            syswrite($acks, sprintf('%-' . (LINE - 1) . "s\n", "$seq $id"));
            sleep($opt{pause}) if $opt{pause};
        }
    });
}


# How many messages have been acknowledged to these publishers.

sub progress {
    my ($t, @names) = @_;

    my $n = 0;

    $n += -s $t->testdir() . "/$_.acks" for @names;

    return $n / LINE;
}


# What the publishers noted: a hash from seq to id, and a list of errors.

sub acked {
    my ($t, @names) = @_;

    my (%acks, @errors);

    for my $name (@names) {
        for (split /\n/, $t->read_file("$name.acks")) {
            my ($seq, $id) = /^(\d+) (\S+) *$/ or push(@errors, $_), next;

            push @errors, "seq $seq is of $acks{$seq} and of $id"
                if $seq && exists $acks{$seq};
            $acks{$seq} = $id;
        }
    }

    return (\%acks, \@errors);
}


# The sequence numbers of a client's messages, by the header that says where
# its stream starts: [ seq, id ], ...

sub follow {
    my ($c, $from) = @_;

    my $seq = $from // $c->response()->header('Ws-Bus-Seq');

    return map { [ ++$seq, s/\.=+\z//r ] } received($c);
}


# Is every message where its publisher was told, each only once, and each
# seq the same for all?  $seen is shared by the streams of a channel.

sub sequence_error {
    my ($stream, $acks, $seen) = @_;

    my %had;

    for (@$stream) {
        my ($seq, $id) = @$_;

        return "$id came twice" if $had{$id}++;
        return "at $seq is $id, acknowledged was $acks->{$seq}"
            if $acks->{$seq} && $acks->{$seq} ne $id;
        return "at $seq is $id, for another client $seen->{$seq}"
            if ($seen->{$seq} //= $id) ne $id;
    }

    return '';
}


# Of a process: the CPU time, in 1/100 s; how often it has slept; its own
# resident memory, without what is shared, in bytes; the number of open files.

sub cpu_ticks {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/stat") or return 0;

    my @f = split(' ', <$fh> =~ s/^.*\) //r);

    return $f[11] + $f[12];
}


sub wakeups {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/status") or return 0;

    return (join('', <$fh>) =~ /^voluntary_ctxt_switches:\s*(\d+)/m)[0];
}


sub rss {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/status") or return 0;

    return 1024 * (join('', <$fh>) =~ /^RssAnon:\s*(\d+)/m)[0];
}


sub nfds {
    my ($pid) = @_;

    opendir(my $dh, "/proc/$pid/fd") or return 0;

    return scalar(grep { !/^\./ } readdir($dh));
}


1;
