# Copyright (C) the ngx_ws_bus_module authors

# Replays every corpus through its fuzzer, built with ASan and UBSan: what a
# fuzzer once found stays fixed.

use warnings;
use strict;

use Test::More;

use File::Basename qw/ basename /;
use FindBin;


chdir("$FindBin::Bin/..") or die "chdir: $!";

my $out = `make -s fuzz-replay 2>&1`;

is($?, 0, 'the fuzzers build') or diag($out);

my @fuzzers = map { basename($_, '.c') } glob('t/fuzz/*.c');

cmp_ok(scalar(@fuzzers), '>', 0, 'there are fuzzers');

for my $name (@fuzzers) {
    my @inputs = grep { -f } glob("t/fuzz/corpus/$name/*");

    cmp_ok(scalar(@inputs), '>', 0, "$name has a corpus");

    my @failed;

    while (my @some = splice(@inputs, 0, 500)) {
        next if replay($name, @some) eq '';

        # again, one by one, to name them

        for my $input (@some) {
            my $report = replay($name, $input);

            next if $report eq '';

            push @failed, $input;
            diag("$input\n$report") if @failed == 1;
        }
    }

    is("@failed", '', "$name takes all of it");
}

done_testing();


# What the program says when it fails, else nothing.

sub replay {
    my ($name, @inputs) = @_;

    my $pid = open(my $pipe, '-|') // die "fork: $!";

    if ($pid == 0) {
        open(STDERR, '>&', \*STDOUT);
        exec("build/fuzz/$name.replay", @inputs) or exit(127);
    }

    local $/;
    my $said = <$pipe>;

    close($pipe);

    return $? ? "status $?\n$said" : '';
}
