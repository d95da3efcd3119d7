# Copyright (C) the ngx_ws_bus_module authors

# nginx loads modules RTLD_GLOBAL: what one exports, another may be bound to.
# Ours exports what nginx looks up in it, and nothing else.

use warnings;
use strict;

use Test::More;

use FindBin;


my $module = $ENV{WS_BUS_TEST_MODULE}
    // "$FindBin::Bin/../build/ngx_ws_bus_module.so";

plan(skip_all => 'the module is in nginx') if $module eq '';
plan(tests => 4);

my @lines = `nm -D --defined-only $module`;

is($?, 0, 'nm reads the module');

my @symbols = sort map { (split)[2] // () } @lines;

is("@symbols", 'ngx_module_names ngx_module_order ngx_modules',
   'only the symbols of a module are exported');

# what is linked statically is not looked for elsewhere: another module may
# bring a hiredis of another version

my @undefined = grep { /\b(?:redis|sds|hi_)\w*$/ }
    map { /\bU (\w+)/ } `nm -D --undefined-only $module`;

is("@undefined", '', 'hiredis is not bound at run time');

my @needed = grep { /hiredis/ } `objdump -p $module`;

is("@needed", '', 'no shared hiredis is needed');
