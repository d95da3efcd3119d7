package Test::WsBus::Corpus;

# Copyright (C) the ngx_ws_bus_module authors

# Made-up data of several kinds, the same in every run, for tests of
# compression.  More than 131072 bytes each, so that pieces differ.

use warnings;
use strict;

use Exporter qw/ import /;

our @EXPORT = qw/ corpus /;

use constant SIZE => 400_000;

my @WORDS = qw/
    der die und das nicht ein ich ist zu in sie mit dem sich auch es von auf
    Geist Welt Herz Natur Himmel Erde Nacht Licht Leben Kraft Zeit Gott Teufel
    Mensch Wort Blut Pakt Garten Tor Glas Feuer Wasser Luft Sinn Hand Auge
/;

my %made;
my $state;


# Park and Miller's generator: the same numbers on every machine.

sub number {
    my ($limit) = @_;

    $state = $state * 48271 % 2147483647;

    return $state % $limit;
}


sub corpus {
    my ($kind) = @_;

    return $made{$kind} //= do {
        $state = 20240229;

        my $make = __PACKAGE__->can("_$kind") or die "no such corpus: $kind";
        substr($make->(), 0, SIZE);
    };
}


sub sentence {
    my ($n) = @_;

    return join(' ', map { $WORDS[number(scalar @WORDS)] } 1 .. $n);
}


# Prose in UTF-8.

sub _prose {
    my $text = '';

    while (length $text < SIZE) {
        $text .= sentence(4 + number(8)) . (',', '.', '!', ';')[number(4)]
            . (number(3) ? "\r\n" : " f\xc3\xbcr \xc3\xa4lt're\r\n");
    }

    return $text;
}


# A picture of 8-bit grey: smooth with a little noise.

sub _bitmap {
    my $text = 'BM' . pack('V3', SIZE, 0, 54);

    for my $y (0 .. SIZE / 512) {
        $text .= join('', map {
            chr(((($_ + $y) >> 2) + ($_ * $y >> 9) + number(3)) & 0xff)
        } 0 .. 511);
    }

    return $text;
}


# A document of compressed streams: hardly compressible.

sub _document {
    my $text = "%PDF-1.4\n";
    my $n = 0;

    while (length $text < SIZE) {
        my $size = 2000 + number(6000);

        $text .= ++$n . " 0 obj\n<< /Length $size >>\nstream\n"
            . join('', map { chr(number(65536) >> 8) } 1 .. $size)
            . "\nendstream\nendobj\n";
    }

    return $text;
}


sub _json {
    my $text = '[';
    my $id = 1000;

    while (length $text < SIZE) {
        $text .= sprintf('{"id":%d,"name":"%s","price":%d.%02d,'
            . '"tags":["%s","%s"],"stock":%s,"note":"%s"},', $id++,
            sentence(2), number(1000), number(100), sentence(1), sentence(1),
            number(2) ? 'true' : 'null', sentence(number(12)));
    }

    return $text;
}


sub _html {
    my $text = "<!DOCTYPE html>\n<html>\n<body>\n<table>\n";
    my $row = 0;

    while (length $text < SIZE) {
        $text .= sprintf("<tr class=\"%s\" id=\"row-%d\"><td>%s</td>"
            . "<td align=\"right\">%d</td><td><a href=\"/item/%d\">%s</a>"
            . "</td></tr>\n", $row++ % 2 ? 'odd' : 'even', $row, sentence(3),
            number(100000), number(1000), sentence(2));
    }

    return $text;
}


1;
