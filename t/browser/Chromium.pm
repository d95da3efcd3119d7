package Chromium;

# Copyright (C) the ngx_ws_bus_module authors

# A headless Chromium, driven by its DevTools protocol over a pair of pipes:
# JSON objects, each ended by a zero byte.
#
#   my $browser = Chromium->start($directory);
#   my $tab = $browser->open($url);
#   my $value = $tab->eval('document.title');
#   $tab->wait('document.title == "x"', 10) or die;
#   my @thrown = $tab->errors();

use warnings;
use strict;

use Carp qw/ croak /;
use IO::Select;
use JSON::PP;
use POSIX qw/ WNOHANG /;
use Time::HiRes qw/ sleep time /;


# seconds; of a busy machine a browser wants more than others

use constant { CALL_TIMEOUT => 60, WAIT => 60 };


# The program, or undef if there is none.

sub find {
    for my $dir (split(/:/, $ENV{PATH} // ''), '/usr/bin') {
        for my $name ('chromium', 'chromium-browser', 'google-chrome') {
            return "$dir/$name" if -x "$dir/$name";
        }
    }

    return undef;
}


# Starts a browser that keeps its profile and its log in a directory.

sub start {
    my ($class, $dir) = @_;

    my $program = find() or croak 'no chromium';

    pipe(my $in, my $to) or croak "pipe: $!";
    pipe(my $from, my $out) or croak "pipe: $!";

    defined(my $pid = fork()) or croak "fork: $!";

    if ($pid == 0) {
        setpgrp(0, 0);

        # above the two numbers that are about to be overwritten

        my $read = POSIX::dup2(fileno($in), 10);
        my $write = POSIX::dup2(fileno($out), 11);

        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>', "$dir/chromium.log");
        open(STDERR, '>&', \*STDOUT);

        POSIX::dup2($read, 3);
        POSIX::dup2($write, 4);

        $ENV{HOME} = $dir;

        exec($program, '--headless', '--no-sandbox', '--disable-gpu',
             '--disable-quic', '--no-first-run', '--disable-sync',
             '--disable-background-networking', '--disable-component-update',
             '--disable-dev-shm-usage', '--disable-extensions',
             '--disable-background-timer-throttling',
             '--disable-renderer-backgrounding',
             '--disable-backgrounding-occluded-windows',
             '--no-proxy-server', "--user-data-dir=$dir/profile",
             '--remote-debugging-pipe', 'about:blank')
            or POSIX::_exit(127);
    }

    close($in);
    close($out);
    $to->autoflush(1);

    my $self = bless {
        pid => $pid,
        to => $to,
        from => $from,
        buffer => '',
        next => 1,
        events => {},
        json => JSON::PP->new->utf8->allow_nonref,
    }, $class;

    $self->call('Browser.getVersion');

    return $self;
}


# Calls a method and returns its result.  Events that arrive meanwhile are
# kept for the tab they belong to.

sub call {
    my ($self, $method, $params, $session) = @_;

    my $id = $self->{next}++;

    my $message = { id => $id, method => $method, params => $params // {} };
    $message->{sessionId} = $session if defined $session;

    local $SIG{PIPE} = 'IGNORE';

    print { $self->{to} } $self->{json}->encode($message), "\0"
        or croak "chromium is gone: $!";

    my $until = time() + CALL_TIMEOUT;

    while (1) {
        my $answer = $self->receive($until - time())
            // croak "chromium does not answer $method";

        if (!defined $answer->{id}) {
            push @{ $self->{events}{$answer->{sessionId} // ''} }, $answer;

        } elsif ($answer->{id} == $id) {
            croak "$method: $answer->{error}{message}" if $answer->{error};
            return $answer->{result};
        }
    }
}


# The next object from the pipe, or undef after a time.

sub receive {
    my ($self, $timeout) = @_;

    my $until = time() + $timeout;
    my $select = IO::Select->new($self->{from});

    while (1) {
        if ($self->{buffer} =~ s/\A([^\0]*)\0//) {
            return $self->{json}->decode($1);
        }

        my $left = $until - time();

        return undef if $left <= 0 || !$select->can_read($left);

        sysread($self->{from}, $self->{buffer}, 65536,
                length($self->{buffer}))
            or croak 'chromium is gone';
    }
}


# Opens a tab and waits for the page.

sub open {
    my ($self, $url) = @_;

    my $target = $self->call('Target.createTarget', { url => 'about:blank' });

    my $session = $self->call('Target.attachToTarget',
        { targetId => $target->{targetId}, flatten => JSON::PP::true });

    my $tab = bless {
        browser => $self,
        session => $session->{sessionId},
    }, 'Chromium::Tab';

    $tab->call('Runtime.enable');
    $tab->call('Page.enable');
    $tab->call('Page.navigate', { url => $url });

    $tab->wait('location.href !== "about:blank"'
               . ' && document.readyState === "complete"', CALL_TIMEOUT)
        or croak "no page at $url";

    return $tab;
}


# Ends the browser and all of its processes.

sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid} // return;
    my $until = time() + 5;

    eval { $self->call('Browser.close') };

    while (waitpid($pid, WNOHANG) == 0) {
        if (time() > $until) {
            kill('KILL', -$pid);
            waitpid($pid, 0);
            last;
        }

        sleep(0.02);
    }
}


sub DESTROY {
    my ($self) = @_;

    local ($?, $@, $!);

    $self->stop();
}


package Chromium::Tab;

use Carp qw/ croak /;
use Time::HiRes qw/ sleep time /;


sub call {
    my ($self, $method, $params) = @_;

    return $self->{browser}->call($method, $params, $self->{session});
}


# The value of an expression; a promise is awaited.  Dies if it throws.

sub eval {
    my ($self, $expression) = @_;

    my $result = $self->call('Runtime.evaluate', {
        expression => $expression,
        returnByValue => JSON::PP::true,
        awaitPromise => JSON::PP::true,
    });

    if (my $thrown = $result->{exceptionDetails}) {
        croak "$expression: "
              . ($thrown->{exception}{description} // $thrown->{text});
    }

    return $result->{result}{value};
}


# Waits until an expression is true, for a minute at least; returns its value,
# or undef in the end.
# An expression may throw meanwhile, as it does when the page changes.

sub wait {
    my ($self, $expression, $timeout) = @_;

    my $until = time() + ($timeout > Chromium::WAIT ? $timeout
                                                    : Chromium::WAIT);

    while (time() < $until) {
        my $value = eval { $self->eval($expression) };

        return $value if $value;

        sleep(0.05);
    }

    return undef;
}


# What scripts of the page have thrown so far or written to console.error().

sub errors {
    my ($self) = @_;

    my @errors;

    $self->eval('1');

    for my $event (@{ $self->{browser}{events}{$self->{session}} // [] }) {
        my $params = $event->{params};

        if ($event->{method} eq 'Runtime.exceptionThrown') {
            my $thrown = $params->{exceptionDetails};
            push @errors, $thrown->{exception}{description}
                          // $thrown->{text};

        } elsif ($event->{method} eq 'Runtime.consoleAPICalled'
                 && $params->{type} eq 'error')
        {
            push @errors, map { $_->{value} // $_->{description} }
                              @{ $params->{args} };
        }
    }

    return @errors;
}


1;
