package Bench;

# What the scripts of this directory share: the servers that are compared,
# how they are started and stopped, and one run of the load generator.

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Handle;
use IO::Socket::INET;
use IPC::Open2 qw(open2);
use MIME::Base64 qw(encode_base64url);
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

# an ordinary user's path lacks the directory of Debian's nginx
$ENV{PATH} .= ':/usr/sbin:/usr/local/sbin';

my $here = abs_path(dirname(__FILE__));
my $root = abs_path("$here/../..");

our %option = (
    nginx  => $ENV{NGINX_BIN} || 'nginx',
    module => "$root/build/ngx_ws_bus_module.so",
    nchan  => (grep { -r } map { "$_/ngx_nchan_module.so" }
               '/usr/lib/nginx/modules', "$root/build/test")[0]
              // "$root/build/test/ngx_nchan_module.so",
);

my @order = qw(floor module nchan);

my %running;

END { my $status = $?; kill_server($_) for values %running; $? = $status }
$SIG{INT} = $SIG{TERM} = sub { exit 2 };


# the pieces of nginx.conf that make the two modules do the same

my %location = (

    module => <<'EOT',
        location ~ ^/pub/(.+)$ {
            ws_bus_publisher  $1;
        }

        location ~ ^/plain/(.+)$ {
            default_type  application/json;
            return        201 '{"channel":"$1","subscribers":0}';
        }

        location ~ ^/ws/(.+)$ {
            ws_bus          $1;
            ws_bus_publish  on;
        }

        location ~ ^/limit/(.+)$ {
            ws_bus          $1;
            ws_bus_publish  on;
            ws_bus_limit    rate=1000000r/s;
        }

        location ~ ^/gates/(.+)$ {
            set $token %token%;

            ws_bus                $1;
            ws_bus_publish        on;
            ws_bus_limit          rate=1000000r/s;
            ws_bus_jwt            bench token=$token;
            ws_bus_jwt_key_file   %dir%/key.jwk;
            ws_bus_jwt_algorithms HS256;
            ws_bus_jwt_grants     bus;
        }

        location = /ws/ {
            ws_bus;
            ws_bus_publish       on;
            ws_bus_channels      b*;
            ws_bus_max_channels  2000;
            ws_bus_history       2000;
        }

EOT

    # No message is kept, no older one is looked for: the cheapest that Nchan
    # can be configured to do, and what the other two do.

    nchan => <<'EOT',
        nchan_message_buffer_length    0;
        nchan_subscriber_first_message newest;

        location ~ ^/pub/(.+)$ {
            nchan_publisher   http;
            nchan_channel_id  $1;
        }

        location ~ ^/ws/(.+)$ {
            nchan_pubsub      websocket;
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
#   http      directives instead of those that a server has there otherwise,
#   location  and these
#   more      directives besides, in http
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
        http => $arg{http} // $http{$server},
        more => $arg{more} // '',
        location => $arg{location} // $location{$server},
    };

    my @command = $server eq 'floor'
                  ? ("$root/build/bench/floor", $s->{port})
                  : nginx_command($s);

    unshift @command, map { s/%d/$dir\/out/gr } @{ $arg{under} // [] };
    unshift @command, pinned($arg{pin});
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

    return generate(%arg, args => [ '-p', $s->{port},
                                    '-P', join(',', @{ $s->{pids} }),
                                    @{ $arg{args} } ]);
}


# The same with whatever arguments.  When the generator says "down", the
# function "down" is called, and then it is told to go on.

sub generate {
    my (%arg) = @_;

    my @command = ("$root/build/bench/wsload", @{ $arg{args} });

    unshift @command, pinned($arg{pin});

    my $pid = open2(my $out, my $in, @command);
    my $line = '';

    while (defined(my $part = <$out>)) {
        $line .= $part;

        if ($part eq "down\n") {
            $arg{down}->();
            print $in "back\n";
            $in->flush();
        }
    }

    waitpid $pid, 0;

    my $status = $?;
    my %result = $line =~ /(\w+)=(\S+)/g;

    if ($status) {
        $result{failed} = "$command[-1]: " . ($line =~ s/\s+/ /gr
                                              || "status $status");
    }

    return \%result;
}


# Starts a Redis on a free port, or, given one that was killed, again.  It
# keeps its data over that if "lasting" is set.  Returns { port, pid, dir }.

sub start_redis {
    my (%arg) = @_;

    my $r = $arg{again} // {
        name => 'redis',
        dir => tempdir('ws-bench-XXXXXX', TMPDIR => 1, CLEANUP => 1),
        port => free_port(),
        lasting => $arg{lasting},
        pin => $arg{pin},
    };

    my @command = ('redis-server', '--bind', '127.0.0.1', '--save', '',
                   '--port', $r->{port}, '--dir', $r->{dir},
                   '--logfile', "$r->{dir}/error.log",
                   '--appendonly', $r->{lasting} ? 'yes' : 'no');

    unshift @command, pinned($r->{pin});

    $r->{pid} = fork() // die "fork: $!\n";

    if ($r->{pid} == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        exec @command or POSIX::_exit(127);
    }

    $running{$r->{pid}} = $r;

    for (1 .. 1000) {
        return $r if redis_answers($r->{port});

        die "redis did not start\n" if waitpid($r->{pid}, WNOHANG) != 0;
        sleep 0.01;
    }

    die "redis does not answer\n";
}


sub redis_answers {
    my ($port) = @_;

    my $s = answers($port) or return 0;

    print $s "PING\r\n";
    $s->flush();

    return (<$s> // '') =~ /^\+PONG/;
}


# Ends a Redis, which is not asked to save anything unless it is by TERM.

sub kill_redis {
    my ($r, $signal) = @_;

    kill $signal // 'KILL', $r->{pid};
    waitpid $r->{pid}, 0;
    delete $running{$r->{pid}};
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

    my $s = start($server, workers => $arg{workers}, more => $arg{more},
                  pin => $arg{server_cpu});

    my $result = load($s, args => $arg{args}, pin => $arg{client_cpu});

    stop($s);

    return $result;
}


# A token for an hour, whose key is written beside the configuration; it is
# nginx that brings it, so that the generator does the same everywhere.

sub token {
    my ($dir) = @_;

    my $secret = 'the secret of a benchmark, which is none';
    my $exp = time() + 3600;

    open my $key, '>', "$dir/key.jwk" or die "$dir/key.jwk: $!\n";
    print $key '{"kty":"oct","k":"', encode_base64url($secret), '"}';
    close $key or die "$dir/key.jwk: $!\n";

    my $signed = join '.', map { encode_base64url($_) }
        '{"alg":"HS256","typ":"JWT"}',
        sprintf('{"sub":"bench","exp":%d,'
                . '"bus":{"subscribe":["**"],"publish":["**"]}}', $exp);

    return "$signed." . encode_base64url(hmac_sha256($signed, $secret));
}


# What a command is to be run by: on one CPU, in front of all others.

sub pinned {
    my ($cpu) = @_;

    return ($option{realtime} ? ('chrt', '--rr', 1) : (),
            defined $cpu ? ('taskset', '-c', $cpu) : ());
}


sub nginx_command {
    my ($s) = @_;

    my ($dir, $name) = ($s->{dir}, $s->{name});

    my $several = $s->{workers} > 1;
    my $affinity = $several ? 'worker_cpu_affinity auto;' : '';
    my $reuseport = $several ? 'reuseport' : '';
    my $temp = join '', map { "    ${_}_temp_path $dir/$_;\n" }
               qw(client_body proxy fastcgi uwsgi scgi);

    my $locations = $s->{location} =~ s/%dir%/$dir/gr
        =~ s/%token%/token($dir)/er;

    open my $conf, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!\n";

    print $conf <<"EOT";
load_module $option{$name};

daemon            off;
worker_processes  $s->{workers};
pcre_jit          on;
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
$s->{http}
    $s->{more}
    server {
        listen  127.0.0.1:$s->{port} backlog=4096 $reuseport;

$locations    }
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
    my $nchan = slurp("$option{nchan}.version")
        || `dpkg-query -W -f '\${Version}' libnginx-mod-nchan 2>/dev/null`;

    chomp $nchan;

    return sprintf("- %s, %d CPUs, %.0f GB; load average %s at the start\n"
                   . "- %s, Linux %s\n"
                   . "- %s; Nchan %s (libnginx-mod-nchan)\n",
                   $model // 'unknown CPU', cpus(), $total / 1048576, $load,
                   $os // 'unknown system', $kernel,
                   $nginx // 'no nginx', $nchan || 'not installed');
}

1;
