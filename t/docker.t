# Copyright (C) the ngx_ws_bus_module authors

# The image of contrib/docker: its steps name what is there, the document
# shows the same file, and nginx with its configuration does what the image
# promises.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


my $t = Test::WsBus->new();

my $root = "$FindBin::Bin/..";
my $dockerfile = slurp('contrib/docker/Dockerfile');
my $steps = $dockerfile =~ s/^#.*\n//mgr =~ s/\\\n\s*/ /gr;


# the steps

my @copied = map { s/ \S+$//r } $steps =~ /^COPY (?!--)(.*)$/mg;
my ($build, $run) = split /^(?=FROM .*\}$)/m, $steps;

is(join(' ', grep { !-e "$root/$_" } map { split } @copied), '',
   'what is copied is there');

my $makefile = slurp('Makefile');

for my $target ('all', 'install') {
    like($makefile, qr/^$target:/m, "a target \"$target\"");
}

like($build, qr/\bmake && make install DESTDIR=/, 'and these are made');

# the tools that build what is not copied would be missing

my %needed = map { $_ => 1 } map { split } @copied;

is(join(' ', grep { !$needed{$_} }
        'Makefile', 'config', 'contrib/scripts', 'ngx_ws_bus_module'), '',
   'all is copied');

my ($packages) = slurp('contrib/scripts/deps') =~ /^(need gcc.*?)^case/ms;
my @needs = $packages =~ /^need (\S+)/mg;

cmp_ok(scalar(@needs), '>', 5, 'packages are found');
is(join(' ', grep { $build !~ /(?<!\S)\Q$_\E(?!\S)/ } @needs), '',
   'what the build needs is installed');

like($run, qr/ libjansson4 /, 'and the library that the module brings along');


# the document

my $doc = slurp('docs/operations.md');

ok(index($doc, "```dockerfile\n$dockerfile```\n") > 0, 'the same file there');


# the configuration

my $conf = slurp('contrib/docker/nginx.conf');
my $dir = $t->testdir();

my ($exposed) = $run =~ /^EXPOSE (\d+)$/m;
my ($internal, $health) = $run =~ m!"http://127\.0\.0\.1:(\d+)(/\S+)"!;

isnt($internal, $exposed, 'the probes have a port of their own');

is(() = $conf =~ m!^load_module modules/ngx_ws_bus_module\.so;$!mg, 1,
   'the module where it is installed');

$conf =~ s/^pid .*$/$> ? $& : "$&\nuser root root;"/me;
$conf =~ s!/tmp/!$dir/!g;

# whose path may begin like that, too

$conf =~ s/^load_module .*$/$t->load_module()/me;
$conf =~ s/\blisten (\d+)/'listen 127.0.0.1:' . port($1)/ge;
$conf =~ s/^worker_rlimit_nofile .*//m;

$t->write_file('nginx.conf', $conf);
$t->run();

my $r = http_get($health, port => port($internal));

is($r->status(), 200, 'the health check');
is(http_get('/metrics', port => port($internal))->status(), 200, 'metrics');
is(http_get($_, port => port($exposed))->status(), 404, "no $_ outside")
    for '/status', '/metrics', '/pub/news';

is(http_post('/pub/news', 'hello', port => port($internal))->status(), 201,
   'publish');

my $ws = ws('/ws/news?last=1', port => port($exposed));

is_message($ws, 'hello', 'delivered');

# it writes nowhere else

my ($signal) = $run =~ /^STOPSIGNAL SIG(\w+)$/m;

kill($signal, $t->read_file('nginx.pid'));
is_closed($ws, 1001, 'the stop signal');

ok($t->wait_until(sub { !$t->workers() }), 'and ends');

my $log = $t->read_file('stderr.log');

like($log, qr!^\S+ \[\S+\] GET /ws/news 101 .* out:1 close:1001 by:server$!m,
     'the access log on stdout');
like($log, qr/\[notice\] .*gracefully shutting down/, 'errors on stderr');
is($t->read_file('access.log'), '', 'and nothing elsewhere');

$t->done_testing();


sub slurp {
    my ($name) = @_;

    open(my $fh, '<', "$root/$name") or die "$name: $!";
    local $/;

    return <$fh>;
}
