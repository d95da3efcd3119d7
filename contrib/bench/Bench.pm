package Bench;

# What the scripts of this directory share: the servers that are compared,
# how they are started and stopped, and one run of the load generator.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

# an ordinary user's path lacks the directory of Debian's nginx
$ENV{PATH} .= ':/usr/sbin:/usr/local/sbin';

my $here = abs_path(dirname(__FILE__));
my $root = abs_path("$here/../..");

our %option = (
    nginx  => $ENV{NGINX_BIN} || 'nginx',
    module => "$root/build/ngx_ws_bus_module.so",
    nchan  => '/usr/lib/nginx/modules/ngx_nchan_module.so',
);

my @order = qw(floor module nchan);

my %running;

END { my $status = $?; kill_server($_) for values %running; $? = $status }
$SIG{INT} = $SIG{TERM} = sub { exit 2 };


# the pieces of nginx.conf that make the two modules do the same

my %location = (

    module => <<'EOT',
        location ~ ^/ws/(.+)$ {
            ws_bus          $1;
            ws_bus_publish  on;
        }

        location ~ ^/limit/(.+)$ {
            ws_bus          $1;
            ws_bus_publish  on;
            ws_bus_limit    rate=1000000r/s;
        }

        location = /ws/ {
            ws_bus;
            ws_bus_publish       on;
            ws_bus_channels      b*;
            ws_bus_max_channels  2000;
            ws_bus_history       2000;
        }

        location ~ ^/pub/(.+)$ {
            ws_bus_publisher  $1;
        }
EOT

    # No message is kept, no older one is looked for: the cheapest that Nchan
    # can be configured to do, and what the other two do.

    nchan => <<'EOT',
        nchan_message_buffer_length    0;
        nchan_subscriber_first_message newest;

        location ~ ^/ws/(.+)$ {
            nchan_pubsub      websocket;
            nchan_channel_id  $1;
        }

        location ~ ^/pub/(.+)$ {
            nchan_publisher   http;
            nchan_channel_id  $1;
        }
EOT
);

my %http = (
    module => "    ws_bus_zone bench 64m;\n",
    nchan  => "    nchan_shared_memory_size 512m;\n",
);


# Builds the C programs.

sub build {
    system('make', '-s', '-C', $here) == 0 or die "the build failed\n";
}


# The servers that can be started here, in order; says which cannot.

sub available {
    my ($wanted) = @_;

    my @found;

    for my $server (@order) {
        next if $wanted && !grep { $_ eq $server } @$wanted;

        if ($server eq 'floor' || -r $option{$server}) {
            push @found, $server;
            next;
        }

        warn "no $server: cannot read $option{$server}\n";
    }

    return @found;
}


sub cpus {
    open my $f, '<', '/proc/cpuinfo' or return 1;
    return scalar grep { /^processor\s*:/ } <$f>;
}


sub median {
    my @sorted = sort { $a <=> $b } @_;

    return undef unless @sorted;
    return @sorted % 2 ? $sorted[$#sorted / 2]
                       : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}


# Starts a server on a free port of 127.0.0.1 and waits until it answers.
#
#   workers   of nginx, 1
#   pin       the CPU to run on; undef: any
#   under     a command to run it under, "%d" standing for a directory to
#             write into, <dir>/out
#   child     that command stays and runs the server as its child
#   settle    seconds until it must answer, 10
#
# Returns { port, pids => [ those that serve ], pid => the child to wait for,
# main => the server's first process, dir }.

sub start {
    my ($server, %arg) = @_;

    my $dir = tempdir('ws-bench-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, $dir;

    # tools that a worker runs under write here after it gave up root
    mkdir "$dir/out" or die "$dir/out: $!\n";
    chmod 01777, "$dir/out";

    my $s = {
        name => $server,
        dir => $dir,
        port => free_port(),
        workers => $arg{workers} // 1,
    };

    my @command = $server eq 'floor'
                  ? ("$root/build/bench/floor", $s->{port})
                  : nginx_command($s);

    unshift @command, map { s/%d/$dir\/out/gr } @{ $arg{under} // [] };
    unshift @command, 'taskset', '-c', $arg{pin} if defined $arg{pin};
    unshift @command, qw(sh -c), 'ulimit -n $(ulimit -Hn); exec "$@"', 'sh';

    $s->{pid} = fork() // die "fork: $!\n";

    if ($s->{pid} == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/stdout";
        open STDERR, '>', "$dir/stderr";
        exec @command or POSIX::_exit(127);
    }

    $running{$s->{pid}} = $s;

    my $end = time() + ($arg{settle} // 10);

    until (answers($s->{port})) {
        if (waitpid($s->{pid}, WNOHANG) != 0) {
            delete $running{$s->{pid}};
            die "$server did not start:\n" . slurp("$dir/stderr");
        }

        die "$server does not answer\n" if time() > $end;
        sleep 0.02;
    }

    $s->{main} = $arg{child} ? (children($s->{pid}))[0] : $s->{pid};
    $s->{pids} = [ serving($s) ];

    return $s;
}


# Stops a server; dies if it had ended by itself or logged anything grave.

sub stop {
    my ($s) = @_;

    my $gone = waitpid($s->{pid}, WNOHANG) != 0;

    kill_server($s) unless $gone;
    delete $running{$s->{pid}};

    my $log = slurp("$s->{dir}/error.log");

    die "$s->{name} ended by itself\n$log" if $gone;
    die "$s->{name} logged:\n$log" if $log =~ /\[(?:emerg|alert|crit)\]/;
}


sub kill_server {
    my ($s) = @_;

    kill 'TERM', $s->{main} // $s->{pid};

    for (1 .. 1000) {
        last if waitpid($s->{pid}, WNOHANG) != 0;
        sleep 0.02;
    }

    delete $running{$s->{pid}};
}


# Runs the generator against a started server.  Returns what its line says
# as a hash; { failed => output } if there was an error, loss or disorder.

sub load {
    my ($s, %arg) = @_;

    my @command = ("$root/build/bench/wsload", '-p', $s->{port},
                   '-P', join(',', @{ $s->{pids} }), @{ $arg{args} });

    unshift @command, 'taskset', '-c', $arg{pin} if defined $arg{pin};

    open my $pipe, '-|', @command or die "wsload: $!\n";
    my $line = do { local $/; <$pipe> } // '';
    close $pipe;

    my $status = $?;
    my %result = $line =~ /(\w+)=(\S+)/g;

    if ($status) {
        $result{failed} = "$command[-1]: " . ($line =~ s/\s+$//r
                                              || "status $status");
    }

    return \%result;
}


# Runs a program that measures by itself.  Returns a hash for each line.

sub program {
    my ($name) = @_;

    open my $pipe, '-|', "$root/build/bench/$name" or die "$name: $!\n";
    my @rows = map { { /(\w+)=(\S+)/g } } <$pipe>;
    close $pipe or die "$name failed\n";

    return @rows;
}


# One round: a fresh server, one run, stopped again.

sub round {
    my ($server, %arg) = @_;

    my $s = start($server, workers => $arg{workers},
                  pin => $arg{server_cpu});

    my $result = load($s, args => $arg{args}, pin => $arg{client_cpu});

    stop($s);

    return $result;
}


sub nginx_command {
    my ($s) = @_;

    my ($dir, $name) = ($s->{dir}, $s->{name});

    my $several = $s->{workers} > 1;
    my $affinity = $several ? 'worker_cpu_affinity auto;' : '';
    my $reuseport = $several ? 'reuseport' : '';
    my $temp = join '', map { "    ${_}_temp_path $dir/$_;\n" }
               qw(client_body proxy fastcgi uwsgi scgi);

    open my $conf, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!\n";

    print $conf <<"EOT";
load_module $option{$name};

daemon            off;
worker_processes  $s->{workers};
$affinity

error_log  $dir/error.log error;
pid        $dir/nginx.pid;

events {
    worker_connections  16384;
}

http {
    access_log          off;
    keepalive_requests  1000000000;
    keepalive_timeout   1h;

$temp
$http{$name}
    server {
        listen  127.0.0.1:$s->{port} backlog=4096 $reuseport;

$location{$name}    }
}
EOT

    close $conf or die "$dir/nginx.conf: $!\n";

    return ($option{nginx}, '-p', $dir, '-e', "$dir/error.log",
            '-c', "$dir/nginx.conf");
}


# The processes that serve: nginx's workers, or the floor itself.

sub serving {
    my ($s) = @_;

    return $s->{main} if $s->{name} eq 'floor';

    for (1 .. 500) {
        my @workers = children($s->{main});

        return @workers if @workers == $s->{workers};
        sleep 0.02;
    }

    die "$s->{name} has not started $s->{workers} workers\n";
}


sub children {
    my ($pid) = @_;

    return split ' ', slurp("/proc/$pid/task/$pid/children");
}


sub answers {
    my ($port) = @_;

    return IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                 PeerPort => $port, Timeout => 5);
}


sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
                                       LocalPort => 0)
        or die "no free port: $!\n";

    return $socket->sockport;
}


sub slurp {
    my ($path) = @_;

    open my $f, '<', $path or return '';
    local $/;

    return <$f> // '';
}


# Where it was measured, as lines of Markdown.

sub machine {
    my $cpuinfo = slurp('/proc/cpuinfo');
    my ($model) = $cpuinfo =~ /^model name\s*:\s*(.*)$/m;
    my ($total) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
    my ($load) = split ' ', slurp('/proc/loadavg');
    my $os = (slurp('/etc/os-release') =~ /^PRETTY_NAME="(.*)"/m)[0];
    my $kernel = (POSIX::uname())[2];
    my ($nginx) = `$option{nginx} -v 2>&1` =~ m{(nginx/\S+)};
    my $nchan = `dpkg-query -W -f '\${Version}' libnginx-mod-nchan 2>/dev/null`;

    return sprintf("- %s, %d CPUs, %.0f GB; load average %s at the start\n"
                   . "- %s, Linux %s\n"
                   . "- %s; Nchan %s (libnginx-mod-nchan)\n",
                   $model // 'unknown CPU', cpus(), $total / 1048576, $load,
                   $os // 'unknown system', $kernel,
                   $nginx // 'no nginx', $nchan || 'not installed');
}

1;
