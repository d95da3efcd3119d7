# Copyright (C) the ngx_ws_bus_module authors

# Who may know whom: proto/ knows bytes, bus/ knows nginx's core, redis/ the
# bus, http/ knows them all and HTTP; only ngx_ws_bus_module.c knows every
# layer.

use warnings;
use strict;

use Test::More;

use File::Basename qw/ basename /;
use FindBin;


chdir("$FindBin::Bin/../ngx_ws_bus_module") or die "chdir: $!";

my %layer;

for my $file (glob('*/*.[ch]')) {
    my ($dir) = $file =~ m!^(.*)/!;
    $layer{basename($file)} = $dir;
}

my $type_headers = qr/^ngx_(?:config|core)\.h$/;
my $libraries = qr!^(?:zlib\.h|openssl/\w+\.h|hiredis/read\.h|jansson\.h)$!;
my $http = qr/^ngx_http/;

# what a layer may include besides the headers of the layers it may know

my %rules = (
    proto => {
        layers => [ 'proto' ],
        others => sub { $_[0] =~ $type_headers || $_[0] =~ $libraries },
    },
    bus => {
        layers => [ 'proto', 'bus' ],
        others => sub { $_[0] !~ $http },
    },
    redis => {
        layers => [ 'proto', 'bus', 'redis' ],
        others => sub { $_[0] !~ $http },
    },
    http => {
        layers => [ 'proto', 'bus', 'redis', 'http' ],
        others => sub { 1 },
    },
);


for my $dir (sort keys %rules) {
    my @files = glob("$dir/*.[ch]");
    my @faults;

    for my $file (@files) {
        push @faults, map { "$file includes $_" }
            grep { !allowed($rules{$dir}, $_) } includes($file);
    }

    cmp_ok(scalar(@files), '>', 0, "$dir/ has files");
    is(join("\n", @faults), '', "$dir/ includes only what it may");
}

my %known = map { $_->{layers} ? map { $_ => 1 } @{ $_->{layers} } : () }
    values %rules;

is(join(' ', grep { !$known{$_} } map { m!(.*)/! } glob('*/')), '',
   'every folder is a layer with a rule');


# proto/ runs without an nginx: not even through a macro does it call one

my @faults;

for my $source (glob('proto/*.c')) {
    my $object = "../build/obj/$source";
    $object =~ s/c$/o/;

    my @undefined = grep { /\bngx_(?!ws_bus_)/ } `nm -u $object 2>&1`;

    push @faults, "$source: nm failed, run make first" if $?;
    push @faults, map { /(\w+)$/; "$source uses $1" } @undefined;
}

is(join("\n", @faults), '', 'proto/ calls no function of nginx');


# files of http/ do not know each other but through headers that are for all;
# name_part.c is of one family with name.h

my %common = map { $_ => 1 } qw/ ngx_ws_bus_http.h ngx_ws_bus_auth.h
                                 ngx_ws_bus_auth_conf.h ngx_ws_bus_keys.h
                                 ngx_ws_bus_headers.h ngx_ws_bus_respond.h /;

@faults = ();

for my $file (glob('http/*.[ch]')) {
    for my $header (grep { ($layer{$_} // '') eq 'http' } includes($file)) {
        my ($family) = $header =~ /(.*)\.h$/;

        push @faults, "$file includes $header"
            unless $common{$header} || basename($file) =~ /^$family(?:_\w+)?\./;
    }
}

is(join("\n", @faults), '', 'http/ meets in the headers for all');


# below HTTP

for my $dir ('bus', 'redis') {
    my @files = grep { text($_) =~ /\bngx_http_\w/ } glob("$dir/*.[ch]");

    is("@files", '', "$dir/ names nothing of ngx_http");
}


# the mutex; each kind of shared memory has its own

my @holders = grep { text($_) =~ /shmtx/ } glob('*.[ch] */*.[ch]');

is(join(' ', text('bus/ngx_ws_bus_limits.c') =~ /ngx_ws_bus_zone\w*/g), '',
   'the limits know nothing of the zone');

is(join(' ', grep { m!^bus/! } @holders),
   join(' ', map { "bus/ngx_ws_bus_$_.c" } qw/ limits texts zone /),
   'one file of bus/ takes the mutex of a kind of memory');
is(join("\n", grep { !m!^bus/! } @holders), '',
   'no other layer takes the mutex of the zone');


# every file of proto/ has its unit test and its fuzzer

for my $source (map { basename($_) } glob('proto/*.c')) {
    for my $kind ('unit', 'fuzz') {
        my $include = qr/^\#include\s+"(?:[^"]*\/)?\Q$source\E"/m;
        my $tests = grep { text($_) =~ $include } glob("../t/$kind/*.c");

        cmp_ok($tests, '>', 0, "a file in t/$kind includes $source");
    }
}


done_testing();


sub text {
    my ($file) = @_;

    open(my $fh, '<', $file) or die "$file: $!";
    local $/;

    return <$fh>;
}


sub includes {
    my ($file) = @_;

    return text($file) =~ /^\s*\#\s*include\s*[<"]([^>"]+)[>"]/mg;
}


sub allowed {
    my ($rule, $header) = @_;

    my $dir = $layer{basename($header)};

    return 1 if defined $dir && grep { $_ eq $dir } @{ $rule->{layers} };
    return 0 if defined $dir || $header =~ /ngx_ws_bus_/;
    return $rule->{others}->($header);
}
