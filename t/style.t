# Copyright (C) the ngx_ws_bus_module authors

# The measurable part of the style: nginx's C, 80 columns, no line comments,
# functions of at most 120 lines, files of at most 1000.

use warnings;
use strict;

use Test::More;

use FindBin;


use constant {
    COLUMNS => 80,
    FUNCTION_LINES => 120,
    FILE_LINES => 1000,
};


chdir("$FindBin::Bin/..") or die "chdir: $!";

my @module = glob('ngx_ws_bus_module/*.[ch] ngx_ws_bus_module/*/*.[ch]');
my @tests = glob('t/unit/*.[ch] t/fuzz/*.[ch] t/mod/*.[ch]');

cmp_ok(scalar(@module), '>', 0, 'there are files to check');

for my $file (@module) {
    is(join("\n", layout($file), limits($file)), '', $file);
}

for my $file (@tests) {
    is(join("\n", layout($file)), '', $file);
}

done_testing();


sub text {
    my ($file) = @_;

    open(my $fh, '<:encoding(UTF-8)', $file) or die "$file: $!";
    local $/;

    return <$fh>;
}


# What any C file is held to.

sub layout {
    my ($file) = @_;

    my $text = text($file);
    my @faults;
    my $n = 0;

    for my $line (split(/\n/, $text, -1)) {
        $n++;

        push @faults, "$file:$n: longer than " . COLUMNS . ' columns'
            if length($line) > COLUMNS;
        push @faults, "$file:$n: tab" if $line =~ /\t/;
        push @faults, "$file:$n: trailing space" if $line =~ /\s\z/;
    }

    $n = 0;

    for my $line (split(/\n/, without_comments($text), -1)) {
        $n++;

        push @faults, "$file:$n: line comment" if $line =~ m!//!;
    }

    push @faults, "$file: no newline at the end" if $text !~ /[^\n]\n\z/;

    return @faults;
}


# The text with its comments, strings and characters blanked; lines stay.

sub without_comments {
    my ($text) = @_;

    my $blank = sub { my ($s) = @_; $s =~ s/[^\n]/ /g; return $s };

    $text =~ s{
        ( /\* .*? \*/ | " (?: \\. | [^"\\\n] )* " | ' (?: \\. | [^'\\\n] )* ' )
    }{ $blank->($1) }gsex;

    return $text;
}


sub limits {
    my ($file) = @_;

    my @lines = split(/\n/, text($file));
    my @faults;
    my $start;

    push @faults, "$file: longer than " . FILE_LINES . ' lines'
        if @lines > FILE_LINES;

    for my $i (1 .. $#lines) {

        # the braces of a function, and only they, follow a line that
        # closes its arguments

        if ($lines[$i] eq '{' && $lines[$i - 1] =~ /\)\s*\z/) {
            $start = $i;

        } elsif ($lines[$i] eq '}' && defined $start) {
            push @faults, "$file:$start: function longer than "
                          . FUNCTION_LINES . ' lines'
                if $i - $start - 1 > FUNCTION_LINES;

            undef $start;
        }
    }

    return @faults;
}
