package Test::WsBus;

# Copyright (C) the ngx_ws_bus_module authors

# Starts nginx for a test, talks to it, and looks after it.  See the POD below.

use warnings;
use strict;

use Carp;
use Cwd qw/ abs_path /;
use Exporter qw/ import /;
use File::Basename qw/ basename dirname /;
use File::Path qw/ rmtree /;
use File::Temp qw/ tempdir /;
use IO::Socket::INET;
use POSIX qw/ WNOHANG /;
use Test::More ();
use Time::HiRes qw/ time sleep /;

use Test::WsBus::Client;
use Test::WsBus::Conn;
use Test::WsBus::HTTP;

our @EXPORT = qw/
    port ws ws_response http http_get http_post request
    is_message is_closed scale patience
/;
our @EXPORT_OK = @EXPORT;

use constant { PATIENCE => 30, LIMIT => 600 };

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');
my $SANITIZER = qr/ERROR:\ [A-Za-z]+Sanitizer|Sanitizer:|runtime\ error:/x;

my %ports;
my %locks;
my @instances;


sub scale { return ($_[0] // 1) * Test::WsBus::Conn::scale() }


# For what will come: a machine that is busy may take long to bring it about,
# and a test that waits for it in vain fails in any case.

sub patience {
    my ($seconds) = @_;

    return scale($seconds && $seconds > PATIENCE ? $seconds : PATIENCE);
}


# Life of a test.

sub new {
    my ($class) = @_;

    my $self = bless {
        owner    => $$,
        dir      => tempdir('ws_bus_XXXXXXXX', TMPDIR => 1),
        nginx    => $ENV{WS_BUS_TEST_NGINX} // 'nginx',
        module   => $ENV{WS_BUS_TEST_MODULE}
                    // "$ROOT/build/ngx_ws_bus_module.so",
        level    => $ENV{WS_BUS_TEST_LOG_LEVEL} // 'debug',
        daemons  => [],
        expected => [],
    }, $class;

    # the worker may run as another user
    chmod(0755, $self->{dir});

    mkdir("$self->{dir}/logs");

    push @instances, $self;

    for my $name (qw/ INT TERM HUP PIPE /) {
        $SIG{$name} = sub { exit 1 };
    }

    $SIG{ALRM} = sub {
        return if $$ != $self->{owner};
        Test::More::diag(Carp::longmess("the test took too long"));
        exit 1;
    };

    $self->time_limit(LIMIT);

    return $self;
}


# Seconds after which the whole test is given up.

sub time_limit {
    my ($self, $seconds) = @_;

    $seconds = LIMIT if $seconds < LIMIT;

    alarm(scale($ENV{WS_BUS_TEST_TIMEOUT} // $seconds));

    return $self;
}


sub log_level {
    my ($self, $level) = @_;

    $self->{level} = $level unless $ENV{WS_BUS_TEST_LOG_LEVEL};

    return $self;
}


sub has {
    my ($self, @features) = @_;

    for my $feature (@features) {
        my $why = $self->_lacks($feature) or next;
        Test::More::plan(skip_all => $why);
    }

    return $self;
}


sub _lacks {
    my ($self, $feature) = @_;

    if ($feature =~ /::/) {
        return eval "require $feature; 1" ? undef : "no $feature";
    }

    if ($feature =~ m!^bin/(.+)$!) {
        my $name = $1;

        $name = $ENV{WS_BUS_TEST_REDIS} || $name if $name eq 'redis-server';

        return (grep { -x "$_$name" }
                $name =~ m!/! ? '' : map { "$_/" } split /:/, $ENV{PATH})
            ? undef : "no $name";
    }

    if ($feature eq 'load_module') {
        return $self->{module} ne '' ? undef : 'the module is in nginx';
    }

    if ($feature =~ /^nginx>=(\d+)\.(\d+)\.(\d+)$/) {
        my $want = $1 * 1e6 + $2 * 1e3 + $3;
        return $self->version() >= $want ? undef : "needs $feature";
    }

    return $self->build_info() =~ /--with-(?:http_)?\Q$feature\E(?:_module)?\b/
        ? undef : "nginx without $feature";
}


sub build_info {
    my ($self) = @_;

    return $self->{build_info} //= `$self->{nginx} -V 2>&1`;
}


# The version as nginx_version has it: 1022001.

sub version {
    my ($self) = @_;

    $self->build_info() =~ m!nginx/(\d+)\.(\d+)\.(\d+)! or croak("no nginx");

    return $1 * 1e6 + $2 * 1e3 + $3;
}


# Three checks follow the test's own: alerts, sanitizers, processes.

sub plan {
    my ($self, $n) = @_;

    Test::More::plan(tests => $n + 3);

    return $self;
}


# For tests that do not know their number: ends the test.

sub done_testing {
    my ($self) = @_;

    $self->finish();
    Test::More::done_testing();
}


# An error log line that this test provokes on purpose.

sub expect_log {
    my ($self, @patterns) = @_;

    push @{$self->{expected}}, @patterns;

    return $self;
}


sub finish {
    my ($self) = @_;

    return if $self->{finished}++;

    alarm(0);

    $self->stop();
    $self->stop_daemons();

    my $all = $self->read_file('error.log') . $self->read_file('stderr.log');
    my @lines = split /\n/, $all;

    for my $pattern (@{$self->{expected}}) {
        @lines = grep { $_ !~ $pattern } @lines;
    }

    my @alerts = grep { /\[(?:alert|emerg)\]/ } @lines;
    my @reports = grep { $_ =~ $SANITIZER } @lines;

    Test::More::is(join("\n", @alerts), '', 'no alerts in the error log');
    Test::More::is(join("\n", @reports), '', 'no sanitizer reports');
    Test::More::is(join("\n", @{$self->{left} // []}), '',
        'no processes left');

    # a report, without what nginx logs in between

    my @report = grep { !m!^\d{4}/\d\d/\d\d ! } @lines;

    if (@reports) {
        my ($i) = grep { $report[$_] =~ $SANITIZER } 0 .. $#report;
        my $to = $i + 50 > $#report ? $#report : $i + 50;
        Test::More::diag(join("\n", @report[$i .. $to]));
    }
}


sub _cleanup {
    my ($self, $failed) = @_;

    $self->{finished} = 1;

    $self->stop('TERM');
    $self->stop_daemons();

    $self->_explain() if $failed || !Test::More->builder->is_passing();

    if ($ENV{WS_BUS_TEST_LEAVE}) {
        Test::More::diag("files are left in $self->{dir}");
        return;
    }

    rmtree($self->{dir});
}


# The ends of all logs, for whoever has nothing but the output of the test.

sub _explain {
    my ($self) = @_;

    my $log = $self->read_file('error.log');

    # the latest may say nothing of why

    my $grave = join('', $log =~ /^.*\[(?:warn|error|crit|alert|emerg)\].*\n/mg);

    # nor does what comes of its end

    $log = substr($log, 0, $self->{mark}) if defined $self->{mark};

    $self->_tail('error.log, warn and above', $grave, 30);
    $self->_tail('error.log', $log =~ s/^.*\[debug\].*\n//mgr, 30);
    $self->_tail($_, $self->read_file($_), 20)
        for 'stderr.log', 'daemon.log', @{$self->{logs} // []};
}


sub _tail {
    my ($self, $name, $text, $n) = @_;

    my @lines = split /\n/, $text;

    splice(@lines, 0, -$n) if @lines > $n;

    # tests run at the same time, and lines may be payloads

    Test::More::diag(join("\n", map {
        basename($0) . ", $name: " . substr($_, 0, 300) =~ s/[^ -~]/?/gr
    } @lines)) if @lines;
}


END {
    my $status = $?;

    # the cleaning up is not to be interrupted
    $SIG{$_} = 'IGNORE' for qw/ INT TERM HUP PIPE ALRM /;

    for my $self (@instances) {
        next if $self->{owner} != $$;

        # a test that died has nothing to add
        my $whole = !$status && Test::More->builder->has_plan()
            && !Test::More->builder->{Done_Testing};

        $self->finish() if $whole;
        $self->_cleanup($status);
    }

    $? = $status;
}


# Files.

sub testdir { return $_[0]{dir} }


sub write_file {
    my ($self, $name, $content) = @_;

    my $path = "$self->{dir}/$name";

    open(my $fh, '>:raw', $path) or croak("open $path failed: $!");
    print $fh $content;
    close($fh) or croak("write $path failed: $!");

    return $self;
}


sub write_file_expand {
    my ($self, $name, $content) = @_;

    $content =~ s/%%TEST_GLOBALS%%/$self->globals()/ge;
    $content =~ s/%%TEST_GLOBALS_HTTP%%/$self->globals_http($content)/ge;
    $content =~ s/%%LOAD_MODULE%%/$self->load_module()/ge;
    $content =~ s/%%TESTDIR%%/$self->{dir}/g;
    $content =~ s/%%MODULE%%/$self->{module}/g;
    $content =~ s/%%PORT_(\d+)%%/port($1)/ge;
    $content =~ s/%%PORT_(\d+)_UDP%%/port($1, 'udp')/ge;

    $content =~ /%%(\w+)%%/ and croak("unknown %%$1%%");

    return $self->write_file($name, $content);
}


# The module is in nginx already when it has no file.

sub load_module {
    my ($self) = @_;

    return $self->{module} eq '' ? '' : "load_module $self->{module};";
}


sub globals {
    my ($self) = @_;

    my $user = $> == 0 ? 'user root root;' : '';

    return <<EOF;
%%LOAD_MODULE%%
pid $self->{dir}/nginx.pid;
error_log $self->{dir}/error.log $self->{level};
daemon off;
$user
EOF
}


# Whoever is not served for long by a machine that is busy, or has nothing to
# say for long, is neither dead nor idle.

sub globals_http {
    my ($self, $content) = @_;

    my $text = <<EOF;
root $self->{dir};
access_log $self->{dir}/access.log;
EOF

    $text .= "ws_bus_ping 1h;\n"
        if $content =~ /^\s+ws_bus\s/m && $content !~ /^ {0,4}ws_bus_ping\s/m;

    $text .= "keepalive_timeout 1h;\n"
        if $content !~ /^ {0,4}keepalive_timeout\s/m;

    for (qw/ client_body proxy fastcgi uwsgi scgi /) {
        next if $self->build_info() =~ /--without-http_${_}_module/;
        $text .= "${_}_temp_path $self->{dir}/${_}_temp;\n";
    }

    return $text;
}


sub read_file {
    my ($self, $name) = @_;

    open(my $fh, '<:raw', "$self->{dir}/$name") or return '';
    local $/;

    return <$fh> // '';
}


# How often the pattern matches the file, after the offset; waits up to
# "timeout" seconds for "count" (1) matches.

sub find_in_file {
    my ($self, $name, $pattern, %opt) = @_;

    my $deadline = time() + ($opt{timeout} ? patience($opt{timeout}) : 0);

    while (1) {
        my $text = $self->read_file($name);
        $text = substr($text, $opt{offset}) if $opt{offset};

        my $n = () = $text =~ /$pattern/g;

        return $n if $n >= ($opt{count} // 1);

        if (time() >= $deadline) {
            $self->_in_vain("$name has $n lines like $pattern")
                if $opt{timeout};
            return $n;
        }

        sleep(0.02);
    }
}


# A self-signed certificate in name.crt and name.key.

sub write_cert {
    my ($self, $name) = @_;

    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
        . " -nodes -days 2 -subj /CN=$name -keyout $self->{dir}/$name.key"
        . " -out $self->{dir}/$name.crt >$self->{dir}/openssl.log 2>&1") == 0
        or croak("openssl req failed: " . $self->read_file('openssl.log'));

    return $self;
}


# Ports.  A number in a configuration is only a name; the real port is free
# and stays reserved for this process by a socket of the other protocol, UDP
# or TCP, bound to it.

sub port {
    my ($name, $protocol) = @_;

    return $ports{$name} if $ports{$name};

    open(my $fh, '<', '/proc/sys/net/ipv4/ip_local_port_range');
    my ($low, $high) = split ' ', $fh && <$fh> || '32768 60999';

    for my $try (1 .. 1000) {
        my $port = 10000 + int rand 20000;

        # those that the kernel gives to anybody's connection come last

        next if $try <= 500 && $port >= $low && $port <= $high;

        my $udp = IO::Socket::INET->new(
            Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => $port
        ) or next;

        my $tcp = IO::Socket::INET->new(
            Proto => 'tcp', LocalAddr => '127.0.0.1', LocalPort => $port,
            Listen => 1, ReuseAddr => 1
        ) or next;

        $locks{$name} = ($protocol // 'tcp') eq 'tcp' ? $udp : $tcp;

        return $ports{$name} = $port;
    }

    croak("no free port");
}


# nginx.

sub run {
    my ($self) = @_;

    croak("no module at $self->{module}: run make first")
        unless $self->{module} eq '' || -f $self->{module};

    my $pid = $self->_spawn('-c', "$self->{dir}/nginx.conf");

    $self->{pid} = $self->{pgid} = $pid;

    my $deadline = time() + patience();

    while (1) {
        if (waitpid($pid, WNOHANG) == $pid) {
            delete $self->{pid};
            croak("nginx did not start: " . $self->_complaints());
        }

        last if $self->read_file('nginx.pid') =~ /^$pid\b/
            && $self->workers();

        if (time() > $deadline) {
            croak("nginx did not start in time: " . $self->_complaints());
        }

        sleep(0.01);
    }

    return $self;
}


sub _spawn {
    my ($self, @args) = @_;

    my $pid = fork() // croak("fork() failed: $!");

    return $pid if $pid;

    # one group for all of its processes, so that a lost one is found
    setpgrp(0, 0);

    $self->_redirect("$self->{dir}/stderr.log");
    $self->_sanitizer_env();

    exec($self->{nginx}, '-p', "$self->{dir}/",
         '-e', "$self->{dir}/error.log", @args)
        or POSIX::_exit(127);
}


sub _redirect {
    my ($self, $path) = @_;

    open(STDIN, '<', '/dev/null');
    open(STDOUT, '>>', $path);
    open(STDERR, '>>', $path);
}


sub _sanitizer_env {
    my ($self) = @_;

    my $preload = $ENV{WS_BUS_TEST_PRELOAD} or return;

    $ENV{LD_PRELOAD} = $preload;
    $ENV{ASAN_OPTIONS} //= 'detect_leaks=0:halt_on_error=1:abort_on_error=1'
        . ':detect_odr_violation=0:disable_coredump=1';
    $ENV{UBSAN_OPTIONS} //= 'print_stacktrace=1:halt_on_error=0';
}


sub _complaints {
    my ($self) = @_;

    my @lines = split /\n/, $self->read_file('stderr.log');

    push @lines, grep { /\[(?:emerg|alert|crit|error)\]/ }
        split /\n/, $self->read_file('error.log');

    splice(@lines, 0, -10) if @lines > 10;

    return join("\n", @lines);
}


# nginx -t on the configuration.  In list context true when it is good, and
# what nginx says.

sub test_config {
    my ($self, $conf) = @_;

    my $out = "$self->{dir}/test_config.log";

    unlink($out);

    my $pid = fork() // croak("fork() failed: $!");

    if (!$pid) {
        $self->_redirect($out);
        $self->_sanitizer_env();

        exec($self->{nginx}, '-t', '-p', "$self->{dir}/", '-e', 'stderr',
             '-c', $self->{dir} . '/' . ($conf // 'nginx.conf'))
            or POSIX::_exit(127);
    }

    waitpid($pid, 0);

    my $good = $? == 0;

    return wantarray ? ($good, $self->read_file('test_config.log')) : $good;
}


sub master { return $_[0]{pid} }


# The workers' pids; those of every generation that still lives.

sub workers {
    my ($self) = @_;

    return map { $_->[0] } grep { $_->[1] =~ /worker process/ }
        $self->processes();
}


# [pid, title] of every live process of this nginx.

sub processes {
    my ($self) = @_;

    my $pgid = $self->{pgid} or return;
    my @found;

    for my $path (glob('/proc/[0-9]*')) {
        my ($pid) = $path =~ /(\d+)$/;

        open(my $fh, '<', "$path/stat") or next;
        my $stat = <$fh> // next;

        # pid (comm) state ppid pgrp
        $stat =~ /^\d+ \(.*\) (\S) \d+ (\d+)/s or next;
        next if $2 != $pgid || $1 eq 'Z';

        open($fh, '<', "$path/cmdline") or next;
        my $title = <$fh> // '';

        $title =~ tr/\0/ /;
        push @found, [ $pid, $title ];
    }

    return @found;
}


# Ends nginx: closes the test's own connections and asks it to finish
# gracefully, or as the signal says.  What then does not go is killed and
# remembered as a failure.

sub stop {
    my ($self, $signal) = @_;

    return $self unless $self->{pgid};

    $signal //= 'QUIT';
    $self->{mark} = length $self->read_file('error.log');

    Test::WsBus::Conn::disconnect_all() if $signal eq 'QUIT';

    if ($self->{pid}) {
        kill($signal, $self->{pid});
        $self->_wait_exit($self->{pid}, patience())
            or push @{$self->{left}}, "master did not end on SIG$signal";
    }

    # those that a dead master left behind end by themselves
    $self->wait_until(sub { !$self->processes() });

    if (my @left = $self->processes()) {
        push @{$self->{left}}, map { "$_->[0] $_->[1]" } @left;
        kill('KILL', map { $_->[0] } @left);
        waitpid($self->{pid}, 0) if $self->{pid};
    }

    delete $self->{pid};
    delete $self->{pgid};

    return $self;
}


sub _wait_exit {
    my ($self, $pid, $seconds) = @_;

    my $deadline = time() + $seconds;

    while (time() < $deadline) {
        my $got = waitpid($pid, WNOHANG);
        return 1 if $got == $pid || $got < 0;
        sleep(0.01);
    }

    return 0;
}


sub signal {
    my ($self, $signal, $pid) = @_;

    return kill($signal, $pid // $self->{pid});
}


# Reloads the configuration.  True once the new workers are there and the old
# ones have stopped accepting, false when nginx refuses the configuration.

sub reload {
    my ($self) = @_;

    my @old = $self->workers();
    my $mark = length $self->read_file('error.log');
    my $deadline = time() + patience();

    $self->signal('HUP');

    while (time() < $deadline) {
        my $log = substr($self->read_file('error.log'), $mark);

        return 0 if $log =~ /\[emerg\]/;

        my %now = map { $_ => 1 } $self->workers();
        my %was = map { $_ => 1 } @old;
        my $new = grep { !$was{$_} } keys %now;
        my $waiting = grep {
            $now{$_} && $log !~ / $_#\d+: gracefully shutting down/
        } @old;

        return 1 if $new && !$waiting;

        sleep(0.02);
    }

    return 0;
}


# Other servers.

sub run_daemon {
    my ($self, $what, @args) = @_;

    my $pid = fork() // croak("fork() failed: $!");

    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP ALRM /;

        if (ref $what eq 'CODE') {
            eval { $what->(@args) };
            warn $@ if $@;
            POSIX::_exit($@ ? 1 : 0);
        }

        $self->_redirect("$self->{dir}/daemon.log");
        exec($what, @args) or POSIX::_exit(127);
    }

    push @{$self->{daemons}}, $pid;

    return $pid;
}


sub stop_daemons {
    my ($self) = @_;

    while (my $pid = shift @{$self->{daemons}}) {
        kill('TERM', $pid);
        kill('CONT', $pid);

        if (!$self->_wait_exit($pid, patience())) {
            kill('KILL', $pid);
            waitpid($pid, 0);
        }
    }

    return $self;
}


# Until something accepts connections there; the peer is a name as in port()
# or host:port.

sub waitforsocket {
    my ($self, $peer, $seconds) = @_;

    my $deadline = time() + patience($seconds);

    $peer = '127.0.0.1:' . port($peer) unless $peer =~ /:/;

    while (time() < $deadline) {
        my $s = IO::Socket::INET->new(Proto => 'tcp', PeerAddr => $peer);

        if ($s) {
            close($s);
            return 1;
        }

        sleep(0.02);
    }

    return 0;
}


sub waitforfile {
    my ($self, $name, $seconds) = @_;

    return $self->wait_until(sub { -s "$self->{dir}/$name" }, $seconds);
}


# Until the code returns true; its value, or the last false one.

sub wait_until {
    my ($self, $code, $seconds) = @_;

    my $deadline = time() + patience($seconds);

    while (1) {
        my $value = $code->();
        return $value if $value;

        if (time() >= $deadline) {
            $self->_in_vain('it has not come true');
            return $value;
        }

        sleep(0.02);
    }
}


# What a wait has ended with, where it is, and what nginx says of itself.

sub _in_vain {
    my ($self, $why) = @_;

    local $Carp::CarpLevel = 1;

    Test::More::diag(Carp::shortmess("waited in vain, $why"));

    my $conf = $self->read_file('nginx.conf');
    my ($port) = $conf =~ /\blisten 127\.0\.0\.1:(\d+)/ or return;
    my ($uri) = $conf =~ /location = (\S+) \{\s+ws_bus_status;/ or return;
    my $r = eval { request('GET', $uri, port => $port, timeout => 5) };

    Test::More::diag("$uri: " . ($r ? substr($r->body(), 0, 4000)
                                    : 'no answer'));
}


# Clients.

# A WebSocket to the path; dies when it is refused.

sub ws {
    my ($path, %opt) = @_;

    my ($c, $r) = _ws($path, %opt);

    croak("no answer to the handshake for $path") unless defined $r;
    croak("handshake for $path refused: " . $r->raw() . $r->body())
        unless $r->status() == 101;
    croak("wrong Sec-WebSocket-Accept")
        unless $c->accepted() || exists $opt{request};

    return $c;
}


# The answer to a handshake; undef if there was none.

sub ws_response {
    my ($path, %opt) = @_;

    my ($c, $r) = _ws($path, %opt);

    $c->disconnect();

    return $r;
}


sub _ws {
    my ($path, %opt) = @_;

    my $c = Test::WsBus::Client->new(%opt, port => $opt{port} // port(8080),
                                     host => $opt{addr} // '127.0.0.1');

    return ($c, $c->handshake($path, %opt));
}


# One request, one connection; the response, or undef if none came whole.

sub request {
    my ($method, $uri, %opt) = @_;

    my $h = Test::WsBus::HTTP->new(
        port => $opt{port} // port(8080),
        host => $opt{addr} // '127.0.0.1',
        ssl  => $opt{ssl},
        defined $opt{timeout} ? (timeout => $opt{timeout}) : (),
    );

    return $h->request($method, $uri, close => 1, %opt);
}


sub http_get { return request('GET', @_) }


sub http_post {
    my ($uri, $body, %opt) = @_;

    return request('POST', $uri, %opt, body => $body);
}


# Raw bytes there, everything that comes back as a string.

sub http {
    my ($text, %opt) = @_;

    my $h = Test::WsBus::Conn->new(port => $opt{port} // port(8080),
                                   ssl => $opt{ssl});

    $h->write($text);

    return $h->read_all($opt{timeout} // patience());
}


# Checks.

sub is_message {
    my ($c, $data, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $m = eval { $c->message($opt{timeout}) };

    return _fail($name, $@) if $@;
    return _fail($name, "no message came: " . _state($c)) unless defined $m;

    if ($opt{type} && $opt{type} ne $m->{type}) {
        return Test::More::is($m->{type}, $opt{type}, $name);
    }

    # what is long is not worth printing

    if (length $data > 1000 || length $m->{data} > 1000) {
        return Test::More::pass($name) if $m->{data} eq $data;
        return _fail($name, "got " . length($m->{data}) . " bytes, expected "
                     . length($data) . ", they differ");
    }

    return Test::More::is($m->{data}, $data, $name);
}


# The server sends a Close of this code and ends the stream.

sub is_closed {
    my ($c, $code, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $got = eval { $c->wait_close($opt{timeout}) };

    return _fail($name, $@) if $@;
    return _fail($name, "expected Close $code: " . _state($c))
        unless defined $got && $got == $code;

    return Test::More::like($c->close_reason(), $opt{reason}, $name)
        if $opt{reason} && $c->close_reason() !~ $opt{reason};

    return _fail($name, "the stream did not end after Close")
        unless $opt{open} || $c->at_eof($opt{timeout});

    return Test::More::pass($name);
}


sub _fail {
    my ($name, $why) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::fail($name);
    Test::More::diag($why);

    return 0;
}


sub _state {
    my ($c) = @_;

    return "got Close " . $c->close_code() . ' ' . $c->close_reason()
        if defined $c->close_code();

    return $c->was_reset() ? 'connection reset'
        : $c->{eof} ? 'the stream ended' : 'nothing arrives';
}


1;

__END__

=head1 NAME

Test::WsBus - nginx with the module, for one test

=head1 SYNOPSIS

    use warnings;
    use strict;

    use Test::More;

    use FindBin;
    use lib "$FindBin::Bin/lib";
    use Test::WsBus;

    my $t = Test::WsBus->new()->has(qw/http_ssl/)->plan(3);

    $t->write_file_expand('nginx.conf', <<'EOF');

    %%TEST_GLOBALS%%

    worker_processes 2;

    events {
    }

    http {
        %%TEST_GLOBALS_HTTP%%

        ws_bus_zone bus 16m;

        server {
            listen 127.0.0.1:%%PORT_8080%%;

            location /ws/ {
                ws_bus $uri;
                ws_bus_publish on;
            }

            location ~ ^/pub(?<chan>/.*)$ {
                ws_bus_publisher $chan;
            }
        }
    }

    EOF

    $t->run();

    my $a = ws('/ws/news');
    my $b = ws('/ws/news');

    $a->text('hello');

    is_message($b, 'hello', 'delivered', type => 'text');
    is(http_post('/pub/ws/news', 'over HTTP')->status(), 201, 'published');

    $b->send_frame(3, '');
    is_closed($b, 1002, 'reserved opcode');

=head1 ENVIRONMENT

=over

=item WS_BUS_TEST_NGINX

The nginx binary; C<nginx> from the PATH by default.

=item WS_BUS_TEST_MODULE

The module; F<build/ngx_ws_bus_module.so> by default.  Empty for an nginx that
was built with C<--add-module>.

=item WS_BUS_TEST_REDIS

The path of another server for C<bin/redis-server>, see L<Test::WsBus::Redis>.

=item WS_BUS_TEST_PRELOAD

LD_PRELOAD for nginx, and nothing else: the sanitizer's library.

=item WS_BUS_TEST_SCALE

Factor on every timeout; 1, or 6 with WS_BUS_TEST_PRELOAD.

=item WS_BUS_TEST_LOG_LEVEL

Overrides the error log level of the tests.

=item WS_BUS_TEST_TIMEOUT

Overrides the seconds (600) that one test may take.

=item WS_BUS_TEST_LEAVE

If set, the test's directory is kept, and printed.

=back

=head1 THE TEST

=over

=item new()

A temporary directory; nothing runs yet.

=item has(feature, ...)

Skips the test when one is missing: an nginx module (C<http_ssl>), a Perl
module (C<IO::Socket::SSL>), a program (C<bin/redis-server>), a version
(C<< nginx>=1.25.1 >>), a module that is a file (C<load_module>).

=item plan(n)

C<n> checks of the test's own; three are added: no C<[alert]> or C<[emerg]> in
the error log, no sanitizer report, no process left (that is also where an
nginx fails that does not end gracefully within 30 s).  They run at the end of
the program, or in finish().

=item done_testing()

In place of plan(): runs the three checks and ends the test.

=item expect_log(qr/.../, ...)

Error log lines that the test provokes; the final checks overlook them.

=item log_level(level), time_limit(seconds)

The default is C<debug>, 600 s, the least that there is.  Tests that move much data want C<info>.

=item write_file(name, text), write_file_expand(name, text)

In the test's directory.  Expanded are C<%%TEST_GLOBALS%%> (load_module, pid,
error_log, daemon off, user), C<%%TEST_GLOBALS_HTTP%%> (root, access_log,
temporary paths; and ws_bus_ping, keepalive_timeout of an hour, unless they are
set at that level), C<%%LOAD_MODULE%%>, C<%%TESTDIR%%>, C<%%MODULE%%> and
C<%%PORT_n%%>: a free port that goes by the name C<n>, the one that port(n)
returns; C<%%PORT_n_UDP%%> is one for QUIC.

=item write_cert(name)

A self-signed certificate in F<name.crt>, F<name.key>.

=item testdir(), read_file(name)

=item find_in_file(name, qr/.../, offset => n, count => n, timeout => s)

How often it matches; with a timeout, waits for that many, see wait_until().

=item run(), stop([signal])

Starts nginx and waits for its workers; dies with its complaints if it does
not start.  stop() first closes all of the test's connections, then sends
QUIT.  It is called at the end anyway.

=item reload()

True when the new workers are there and every old one has heard of it; false
when nginx refuses the configuration.

=item test_config([file])

C<nginx -t>: (true if good, output).

=item signal(name[, pid]), master(), workers(), processes()

=item run_daemon(code or program, args), stop_daemons()

=item waitforsocket(n or host:port), waitforfile(name), wait_until(code, s)

They wait for what is sure to come, 30 s or, if that is more, so long.  Where it
does not come, the output says where that was.

=item version(), build_info()

=back

A test that fails prints the ends of the logs of nginx and of other servers;
the names of those are in C<< $t->{logs} >>.

=head1 FUNCTIONS

=over

=item port(n)

=item ws(path, options)

An open WebSocket, a Test::WsBus::Client; dies if refused.

=item ws_response(path, options)

The answer to a handshake.

=item request(method, uri, options), http_get(uri), http_post(uri, body)

A response, or undef.  Options: C<port>, C<ssl>, C<headers> (a flat list
reference), C<body>, C<chunked> (size of the chunks), C<http> (C<1.0>),
C<host>, C<timeout>.  For many requests over one connection use
C<< Test::WsBus::HTTP->new(port => port(8080))->request(...) >>.

A response has status(), reason(), version(), header(name), headers(name),
body(), raw() and json() (the decoded body).

=item http(text)

Raw bytes; everything that comes back until the end, as a string.

=item is_message(client, data, name, type => 'text', timeout => s)

The next message is this one.

=item is_closed(client, code, name, reason => qr/.../, open => 1)

The server sends a Close of this code (1005: of none) and ends the stream;
with C<open> the end is not looked for.

=item scale(seconds)

Times the factor for slow builds.

=item patience([seconds])

The same, of 30 at least: for what will come.

=back

=head1 THE CLIENT

Options of ws(): C<port>, C<ssl> (1, or a hash for IO::Socket::SSL),
C<headers>, C<protocols> (list reference), C<deflate> (1 or an offer),
C<compress> (0: send uncompressed although negotiated), C<auto_pong>,
C<auto_close> (both 1), C<rcvbuf>, C<timeout> (30), and for the handshake
C<method>, C<http>, C<host>, C<upgrade>, C<connection>, C<version>, C<key>
(undef leaves the header out), C<request> (raw text instead), C<data> (bytes
right behind it), C<split> (size of pieces, or a list of sizes), C<pause>.

    text(data), binary(data)    a message; options of frame(), fragment => n,
                                compress => 0
    ping(data), pong(data), close(code, reason)
    send_frame(opcode, payload, options)
    write(bytes), write_split(bytes, size or [sizes], pause => s)

    message()                   { type, data, frames, compressed, wire } of
                                the next message, or undef: timeout, Close, end
    recv(), recv_n(n)           only the data
    read_event()                messages, pings, pongs and Close as they come
    read_pong()
    read_frame()                { fin, rsv, rsv1, opcode, masked, form,
                                payload }
    wait_close()                its code; messages before it are in {skipped}
    close_code(), close_reason()
    finish([code])              Close, the echo, the end: the code echoed
    at_eof(), is_silent(s), read_all(), read_bytes(n), was_reset()
    shutdown_write(), disconnect(), abort() (with RST)
    response(), accepted(), deflate_params()

All that read take a timeout as their last argument.  {pings} and {pongs} list
what came.  A server that breaks the protocol makes them die.

Functions to import from Test::WsBus::Client: C<frame(opcode, payload,
options)> with C<fin>, C<rsv>, C<rsv1>, C<mask> (key, or 0 for none), C<form>
(7, 16, 64), C<length> (declared); C<fragments(opcode, payload, size)>, a list
of frames; C<close_payload(code, reason)>; the opcodes CONT TEXT BINARY CLOSE
PING PONG.  C<:all> has them all.

=cut
