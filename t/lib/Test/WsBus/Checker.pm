package Test::WsBus::Checker;

# Copyright (C) the ngx_ws_bus_module authors

# Load on a channel, and whether what was promised holds.  See the POD below.

use warnings;
use strict;

use Carp;
use POSIX qw/ WNOHANG /;
use Time::HiRes qw/ time sleep /;

use Test::More;

use Test::WsBus ();
use Test::WsBus::HTTP;
use Test::WsBus::Json ();


my $number = 0;


sub new {
    my ($class, $fleet, %opt) = @_;

    return bless {
        fleet       => $fleet,
        channel     => 'checked',
        publishers  => [ 0, 1 ],         # their hosts
        subscribers => [ 0, 1 ],
        pause       => 0.005,            # between two of a publisher
        pipeline    => 0,                # requests without an answer
        dir         => $fleet->host(0)->testdir(),
        n           => 0,
        %opt,
    }, $class;
}


sub start {
    my ($self) = @_;

    $self->{n} = ++$number;
    $self->{parent} = $$;
    $self->{stop} = "$self->{dir}/stop_$self->{n}";
    $self->{pids} = [];

    my $i = 0;

    for my $host (@{$self->{subscribers}}) {
        my $log = "$self->{dir}/subscriber_$self->{n}_" . $i++;

        push @{$self->{sublogs}}, $log;
        push @{$self->{subpids}}, $self->_fork($log, \&_subscribe, $host);
    }

    # all are there before the first message

    for my $log (@{$self->{sublogs}}) {
        $self->{fleet}->host(0)->wait_until(sub { -s $log }, 20)
            or croak('a subscriber did not begin');
    }

    $i = 0;

    for my $host (@{$self->{publishers}}) {
        my $log = "$self->{dir}/publisher_$self->{n}_" . $i;

        push @{$self->{publogs}}, $log;
        push @{$self->{pubpids}},
            $self->_fork($log, $self->{pipeline} ? \&_pipeline : \&_publish,
                         $host, $i++);
    }

    return $self;
}


# Until each publisher has been answered with success so often more than now.

sub wait_published {
    my ($self, $n) = @_;

    my %want = map { $_ => _count($_, 'ok') + ($n // 1) } @{$self->{publogs}};

    $self->{fleet}->host(0)->wait_until(sub {
        return !grep { _count($_, 'ok') < $want{$_} } keys %want;
    }, 60) or croak('a publisher does not go on');

    return $self;
}


# Until each publisher has failed once more than now.

sub wait_failed {
    my ($self) = @_;

    my %had = map { $_ => _count($_, 'failed') } @{$self->{publogs}};

    $self->{fleet}->host(0)->wait_until(sub {
        return !grep { _count($_, 'failed') == $had{$_} } keys %had;
    }, 60) or croak('a publisher does not fail');

    return $self;
}


sub _count { return scalar grep { /^$_[1] / } _lines($_[0]) }


sub _fork {
    my ($self, $path, $code, @args) = @_;

    my $pid = fork() // croak("fork failed: $!");

    return $pid if $pid;

    $SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP ALRM /;

    open(my $log, '>', $path) or POSIX::_exit(1);
    $log->autoflush(1);

    eval { $code->($self, $log, @args) };
    print $log "died $@" if $@;

    POSIX::_exit(0);
}


# By finish(), or the test has died.

sub _stopped {
    my ($self) = @_;

    return -e $self->{stop} || getppid() != $self->{parent};
}


# A message at a time: its log says which were answered with success.

sub _publish {
    my ($self, $log, $host, $i) = @_;

    my ($n, $h) = (0, undef);

    while (!$self->_stopped()) {
        my $text = "p$i-" . $n++;

        $h //= eval {
            Test::WsBus::HTTP->new(port => $self->{fleet}->port($host));
        };

        my $r = $h && eval {
            $h->request('POST', "/pub/$self->{channel}", body => "\"$text\"");
        };

        if ($r && $r->status() == 201) {
            my $json = $r->json();

            print $log "ok $json->{epoch} $json->{seq} $text\n";

        } else {
            print $log "failed $text ", $r ? $r->status() : 'no answer', "\n";
            undef $h;
            sleep(0.02);
        }

        # its last answer says so before it ends

        undef $h if $r && ($r->header('Connection') // '') eq 'close'
            || $h && $h->at_eof(0);

        sleep($self->{pause}) if $self->{pause};
    }
}


# Many messages without waiting for answers, on one connection; its log has
# them in the order in which they were sent.

sub _pipeline {
    my ($self, $log, $host, $i) = @_;

    my ($sent, $told, $c, %answer) = (0, 0);

    my $fail = sub {
        print $log "failed p$i-$told $_[0]\n";
        $told++;
    };

    while (!$self->_stopped() || $told < $sent) {

        $c //= eval {
            Test::WsBus::Json::json('/json', timeout => 20,
                                    port => $self->{fleet}->port($host));
        };

        if (!$c) {
            sleep(0.02);
            next;
        }

        if ($sent - $told < $self->{pipeline} && !$self->_stopped()) {
            my @batch = map { $sent++ } 1 .. 10;

            eval {
                $c->write(join('', map {
                    Test::WsBus::Client::frame(1, qq!{"type":"publish",!
                        . qq!"id":$_,"channel":"$self->{channel}",!
                        . qq!"data":"p$i-$_"}!);
                } @batch));
            };

            sleep($self->{pause}) if $self->{pause};
        }

        while ($told < $sent) {
            my $full = $sent - $told >= $self->{pipeline}
                || $self->_stopped();
            my $m = eval { $c->message($full ? 20 : 0) };

            if (!$m) {
                last if !$full && !$@ && !$c->close_code();

                # nobody knows what has become of the others

                $fail->('no answer') while $told < $sent;
                undef $c;
                last;
            }

            my ($id) = $m->{data} =~ /"id":(\d+)/ or next;

            $answer{$id} = $m->{data};

            while (defined($answer{$told})) {
                my $text = delete $answer{$told};

                if ($text =~ /"type":"published".*"seq":(\d+)/) {
                    my $seq = $1;
                    my ($epoch) = $text =~ /"epoch":"(\w+)"/;

                    print $log "ok $epoch $seq p$i-$told\n";
                    $told++;

                } else {
                    $fail->($text);
                }
            }
        }
    }
}


# Comes back with its position, until it has seen the end.

sub _subscribe {
    my ($self, $log, $host) = @_;

    my ($epoch, $seq);
    my $deadline = time() + Test::WsBus::scale($self->{deadline} // 200);
    my @hosts = $self->{roam} ? (0 .. $#{$self->{fleet}{hosts}}) : ($host);

    while (time() < $deadline && getppid() == $self->{parent}) {
        push @hosts, shift @hosts;

        my $c = eval {
            Test::WsBus::Json::json('/json', timeout => 3,
                                    port => $self->{fleet}->port($hosts[-1]));
        };

        my $a = $c && eval {
            $c->ask('subscribe', channel => $self->{channel},
                    defined $seq ? (epoch => $epoch, seq => $seq) : ());
        };

        if (!$a || $a->{type} ne 'subscribed') {
            sleep(0.05);
            next;
        }

        if (defined $seq && $a->{recovered} ne 'true') {
            print $log "gap $a->{epoch} $a->{seq}\n";

        } elsif (!defined $seq) {
            print $log "begin $a->{epoch} $a->{seq}\n";

        } elsif ($epoch ne $a->{epoch}) {
            print $log "epoch $a->{epoch} $a->{seq}\n";
        }

        ($epoch, $seq) = ($a->{epoch}, $a->{seq});

        while (1) {
            my $m = eval { $c->next(3) };

            last if !$m && ($@ || $c->close_code() || $c->at_eof(0));
            last if time() > $deadline;
            next if !$m;

            if ($m->{type} eq 'gap' && defined $m->{epoch}) {
                ($epoch, $seq) = ($m->{epoch}, $m->{seq});
                print $log "gap $epoch $seq\n";

            } elsif ($m->{type} eq 'gap') {
                $seq = $m->{to};
                print $log "gap $epoch $seq\n";

            } elsif ($m->{type} eq 'epoch') {
                print $log "epoch $m->{epoch} $m->{seq}\n";
                $epoch = $m->{epoch};

            } elsif ($m->{type} eq 'message') {
                $seq = $m->{seq};
                print $log "message $seq $m->{data}\n";

                return if $m->{data} eq '"end"';
            }
        }

        print $log "away\n";
    }
}


# Meanwhile things happen, in the order that the seed of rand() gives; how often
# each did.

sub storm {
    my ($self, $seconds, $actions) = @_;

    my @names = sort keys %$actions;
    my $end = time() + $seconds;
    my %done;

    while (time() < $end) {
        my $name = $names[rand(@names)];

        eval { $actions->{$name}->(); 1 } or diag("$name: $@");
        $done{$name}++;

        sleep(rand(0.7));
    }

    return \%done;
}


# Ends the load, once each publisher has got on, and checks.  Returns what has
# happened.

sub finish {
    my ($self, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $self->wait_published();

    open(my $fh, '>', $self->{stop});
    close($fh);

    waitpid($_, 0) for @{$self->{pubpids}};

    my $last;

    $self->{fleet}->host(0)->wait_until(sub {
        $last = eval {
            $self->{fleet}->post(0, "/pub/$self->{channel}", '"end"');
        };
        return $last && $last->status() == 201;
    }, 20);

    ok($last && $last->status() == 201, "$name: the last message")
        or return {};

    my $deadline = time() + Test::WsBus::scale(60);

    for my $pid (@{$self->{subpids}}) {
        while (waitpid($pid, WNOHANG) == 0) {
            kill('KILL', $pid) if time() > $deadline;
            sleep(0.02);
        }
    }

    my ($sent, $seen) = $self->_published($last->json());
    my %sum = (published => scalar keys %$sent, failed => $seen->{failed},
               gaps => 0, away => 0, received => 0);

    my @faults = @{$seen->{faults}};

    for my $log (@{$self->{sublogs}}) {
        push @faults, map { "$log: $_" }
            _check($log, $sent, \%sum, $seen->{outcome});
    }

    splice(@faults, 10) if @faults > 10;
    is(join("\n", map { s!.*/!!r } @faults), '',
       "$name: nothing is missing, or doubled, or out of order")
        or _explain(@{$self->{publogs}}, @{$self->{sublogs}});

    cmp_ok($sum{published}, '>', @{$self->{publishers}},
           "$name: messages were published");

    note(join(' ', map { "$_ $sum{$_}" } sort keys %sum));

    delete @$self{qw/ sublogs publogs subpids pubpids /};

    return \%sum;
}


# epoch:seq => text of what was answered with success

sub _published {
    my ($self, $last) = @_;

    my %sent = ("$last->{epoch}:$last->{seq}" => '"end"');
    my %seen = (failed => 0, faults => [], outcome => {});

    for my $log (@{$self->{publogs}}) {
        my ($epoch, $seq) = ('', 0);

        for (_lines($log)) {
            if (/^ok (\w+) (\d+) (.*)/) {
                push @{$seen{faults}}, "$1:$2 was given twice"
                    if exists $sent{"$1:$2"};
                push @{$seen{faults}}, "$1:$2 after $epoch:$seq"
                    if $1 eq $epoch && $2 <= $seq;

                ($epoch, $seq) = ($1, $2);
                $sent{"$1:$2"} = "\"$3\"";
                $seen{outcome}{"\"$3\""} = 'ok';

            } else {
                push @{$seen{faults}}, $_ if /^died/;

                # of the others nobody knows

                $seen{outcome}{"\"$1\""} = 'refused'
                    if /^failed (\S+) .*hosts cannot be reached/;

                $seen{failed}++;
            }
        }
    }

    return (\%sent, \%seen);
}


# What one subscriber has seen.

sub _check {
    my ($log, $sent, $sum, $outcome) = @_;

    my ($epoch, $seq, $ended, @faults, %had, %last);

    for (_lines($log)) {

        if (/^begin (\w+) (\d+)/) {
            ($epoch, $seq) = ($1, $2);

        } elsif (/^gap (\w+) (\d+)/) {
            ($epoch, $seq) = ($1, $2);
            $sum->{gaps}++;

        } elsif (/^epoch (\w+) (\d+)/) {
            push @faults, "$_ after $seq" if $2 != $seq;
            $epoch = $1;

        } elsif (/^away/) {
            $sum->{away}++;

        } elsif (/^message (\d+) (.*)/) {
            my ($n, $data) = ($1, $2);

            push @faults, "$n after $seq" if $n != $seq + 1;
            push @faults, "$data twice" if $had{$data}++;

            # what was not answered may come late

            my $was = $outcome->{$data} // '';

            push @faults, "$data, which was refused" if $was eq 'refused';

            if ($was eq 'ok' && $data =~ /^"p(\d+)-(\d+)"$/) {
                push @faults, "$data after $last{$1}"
                    if $2 <= ($last{$1} // -1);
                $last{$1} = $2;
            }

            # another epoch may have begun without a word: nothing is missing

            my $want = $sent->{"$epoch:$n"};
            push @faults, "$n is $data, not $want"
                if defined $want && $want ne $data;

            $seq = $n;
            $sum->{received}++;
            $ended = 1 if $data eq '"end"';

        } else {
            push @faults, $_;
        }
    }

    push @faults, "it has not seen the end, but " . ($seq // 'nothing')
        if !$ended;

    return @faults;
}


# What was out of the ordinary, and the end, of each log.

sub _explain {
    for my $log (@_) {
        my @lines = _lines($log);
        my @odd = grep { !/^(?:ok|message) / } @lines;

        splice(@lines, 0, -3) if @lines > 3;
        splice(@odd, 0, -10) if @odd > 10;

        diag($log =~ s!.*/!!r, ": $_") for @odd, '...', @lines;
    }
}


sub _lines {
    my ($path) = @_;

    open(my $fh, '<', $path) or return ("died $!");

    return map { chomp; $_ } <$fh>;
}


1;

__END__

=head1 NAME

Test::WsBus::Checker - whether every message arrives

=head1 SYNOPSIS

    my $c = Test::WsBus::Checker->new($fleet, publishers => [ (0) x 10 ],
                                      subscribers => [ 0, 1, 1 ]);
    $c->start();
    # something bad happens
    $c->finish('something bad');

=head1 DESCRIPTION

Publishers post numbered messages to a channel with history, subscribers of the
JSON subprotocol read it, and come back with their position when they lose
their connection; both write down what they see.  Then, from these logs alone:
numbers follow one another at every subscriber, unless it was told of a gap; no
message comes twice, nor, of those that were answered with success, before one
that its publisher has sent earlier; none that was refused comes; what was
answered with success is what has that number; the numbers that a publisher got
grow; no number was given twice; everybody has seen the last message.

=over

=item new($fleet, options)

C<channel>, C<publishers> and C<subscribers> (a list of hosts, one for each),
C<pause> (seconds between two messages), C<pipeline> (as many requests on one
connection are not waited for), C<roam> (1: who comes back takes the next host).

=item start(), wait_published([n]), wait_failed()

Until each publisher has been answered with success once or C<n> times more;
until each has failed.

=item storm(seconds, actions)

C<actions> are subroutines by name; returns how often each has been called.

=item finish(name)

It waits until each publisher has been answered with success, makes three tests,
and returns a hash: C<published>, C<failed>,
C<received>, C<gaps>, C<away>.

=back

=cut
