#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The documentation says what the code does: directives, refusals, close codes,
# log messages, variables, and the requests, errors and limits of the
# subprotocol are compared in both directions.  Its links, configurations,
# example sessions and example clients work.

use warnings;
use strict;

use Test::More;

use File::Basename qw/ dirname /;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;
use Test::WsBus::Conn;
use Test::WsBus::Json;

my $t = Test::WsBus->new()->log_level('info');

my $root = "$FindBin::Bin/..";
my $module = "$root/ngx_ws_bus_module";

my %doc = map { $_ => text("$root/docs/$_.md") }
    qw/ directives protocol subprotocol fallbacks http-api operations design
        performance redis security /;

my $conf = text("$module/ngx_ws_bus_module.c");
my $code = join("\n", map { text($_) } glob("$module/*.[ch] $module/*/*.[ch]"));

$code =~ s!/\*.*?\*/!!gs;

my $literal = qr/"(?:[^"\\]|\\.)*"/;
my $literals = qr/$literal(?:\s*$literal)*/;


# Directives: the command table and the headings.

my %command = commands();
my %section = sections($doc{directives});

is_deeply([ sort grep { /^ws_bus/ } keys %section ], [ sort keys %command ],
    'a heading for each directive, and for nothing else');

for my $name (sort keys %command) {
    my %clause = clauses($section{$name} // '');
    my $default = ($clause{Default} // [])->[0] // '';

    is(join(' ', @{$clause{Context} // []}), $command{$name}{context},
        "$name: context");
    is(counts($name, @{$clause{Syntax} // []}), $command{$name}{args},
        "$name: number of arguments");

    if ($command{$name}{context} eq 'location') {
        is($default, '-', "$name: no default");
        next;
    }

    my $known = default($name);

    is($default, $known, "$name: default") if defined $known;
    next if $default eq '-';

    my ($good, $said) = try_config(wrap('http', "$default;"));
    ok($good, "$name: the default can be configured") or diag($said);
}

my $level = merged('deflate_level');
my $length = merged('deflate_min_length');
my $smallest = size(constant('NGX_WS_BUS_ZONE_MIN'));

like($section{ws_bus_deflate}, qr/`level` is 1 to 9, by default $level\./,
    'ws_bus_deflate: level');
like($section{ws_bus_deflate}, qr/`min_length`, by default $length,/,
    'ws_bus_deflate: min_length');
like($section{ws_bus_zone}, qr/The smallest size is $smallest\./,
    'ws_bus_zone: smallest size');

my $directives = join('', $conf, map { text("$module/http/ngx_ws_bus_$_.c") }
    qw/ directives access keys keys_request auth_conf limit audit /);

is(missing($doc{directives},
    $directives =~ /ngx_conf_log_error\(\w+,\s*cf,\s*0,\s*($literals)/g,
    $directives =~ /return\s+("(?!is duplicate")(?:[^"\\]|\\.)*")/g), '',
    'what "nginx -t" says is there');

my $block = join('', map { text($_) }
    glob("$module/redis/ngx_ws_bus_redis*.c"));

is(missing($doc{directives},
    $block =~ /ngx_conf_log_error\(\w+,\s*cf,\s*0,\s*($literals)/g,
    map { '"redis parameter \"%V\" ' . substr($_, 1) }
        $block =~ /return\s+("(?:[^"\\]|\\.)*")/g), '',
    'what "nginx -t" says of the parameters of a redis is there');

my ($parameters) = $block =~ /ngx_ws_bus_redis_parameters\[\] = \{(.*?)\n\};/s;

is(join(' ', grep { $section{ws_bus_redis} !~ /^(?:\#\#\#|\|) .*\b$_\b/m }
    $parameters =~ /ngx_string\("(\w+)"\)/g), '',
    'and so are the parameters');


# Refused handshakes.

my $upgrade = text("$module/http/ngx_ws_bus_upgrade.c");

my %status = (
    NGX_HTTP_BAD_REQUEST => 400, NGX_HTTP_UNAUTHORIZED => 401,
    NGX_HTTP_FORBIDDEN => 403, NGX_HTTP_NOT_FOUND => 404,
    NGX_HTTP_NOT_ALLOWED => 405, NGX_WS_BUS_UPGRADE_REQUIRED => 426,
    NGX_HTTP_SERVICE_UNAVAILABLE => 503,
);

my %refusal;

while ($upgrade =~ /_BAD\(\s*($literals)\s*\)/g) {
    $refusal{'400 ' . unquote($1)} = '';
}

while ($upgrade =~ /\{\s*(NGX_\w+),\s*NGX_WS_BUS_REFUSED_\w+,\s*($literals),
    \s*(NULL|$literal),\s*(?:ngx_null_string|ngx_string\(($literal)\))\s*\}/gx)
{
    my $header = $3 eq 'NULL' ? '' : unquote($3) . ': ' . unquote($4);
    $refusal{($status{$1} // $1) . ' ' . unquote($2)} = $header;
}

cmp_ok(scalar(keys %refusal), '>', 10, 'refusals are found');

my %documented;

for my $row (rows((sections($doc{protocol}))->{Refusals})) {
    my ($status, $texts, $header) = @$row;

    # behind the texts there may be an explanation

    $texts =~ s/`(?: \(|: ).*/`/;

    for my $text ($texts =~ /`([^`]+)`/g) {
        $documented{"$status $text"} = $header =~ /`(.*)`/ ? $1 : '';
    }
}

is_deeply(\%documented, \%refusal, 'refusals: status, text and header');


# Close codes and reasons.

my %reason;

while ($code =~ /(?:ngx_ws_bus_error\(|session_close\(\w+,)
    \s*(NGX_WS_BUS_CLOSE_\w+),\s*($literals)/gx)
{
    $reason{constant($1) . ' ' . unquote($2)} = 1;
}

cmp_ok(scalar(keys %reason), '>', 15, 'reasons are found');

my %told;

for my $row (rows((sections($doc{protocol}))->{'Close codes'})) {
    $told{"$row->[0] $_"} = 1 for $row->[1] =~ /`([^`]+)`/g;
}

is_deeply([ sort keys %told ], [ sort keys %reason ], 'close codes');


# Log messages.

my %name = (
    EMERG => 'emerg', ALERT => 'alert', CRIT => 'crit', ERR => 'error',
    WARN => 'warn', NOTICE => 'notice', INFO => 'info',
);

my @messages;

while ($code =~ /ngx_log_error\((\w+),[^;"]*?($literals)/g) {
    my ($at, $format) = ($1, unquote($2));

    $at = $at =~ /^NGX_LOG_(\w+)$/ ? $name{$1} : '\w+';
    push @messages, { level => $at, re => pattern($format), text => $format };
}

cmp_ok(scalar(@messages), '>', 15, 'log messages are found');

# the first table is of the module's own, the second one of nginx's

my ($table) = (sections($doc{operations}))->{'Log messages'}
    =~ /^(\|.*?)\n\n/ms;

my @lines = map { { level => $_->[0], text => $_->[1] =~ /`([^`]+)`/ } }
    rows($table);

is(join("\n", map { "$_->{level} $_->{text}" } grep {
    my $m = $_;
    !grep { is_line($_, $m) } @lines
} @messages), '', 'all log messages are explained, with their levels');

is(join("\n", map { "$_->{level} $_->{text}" } grep {
    my $l = $_;
    !grep { is_line($l, $_) } @messages
} @lines), '', 'no other ones are');


# The subprotocol: types, members, errors, limits.

my $message = text("$module/proto/ngx_ws_bus_message.c");
my $writer = text("$module/proto/ngx_ws_bus_message_write.c");
my $sub = sections($doc{subprotocol});

my %request = requests($message);
my %asks = subsections($sub->{Requests});

is_deeply([ sort keys %asks ], [ sort keys %request ],
    'subprotocol: a heading for each request, and for nothing else');

for my $type (sort keys %request) {
    my %member;

    for my $row (rows($asks{$type})) {
        $member{$_} = $row->[1] =~ /^needed/ ? 'needed' : 'optional'
            for $row->[0] =~ /`(\w+)`/g;
    }

    is_deeply(\%member, $request{$type}, "subprotocol, $type: members");
}

is_deeply([ sort keys %{{ subsections($sub->{'What the server sends'}) }} ],
    [ sort keys %{{ map { $_ => 1 } 'message',
        $writer =~ /_(?:head|moved)\(p, "(\w+)"/g }} ],
    'subprotocol: a heading for each message of the server');

my %code = map { $_->[0] =~ /^`(\w+)`$/ ? ($1 => $_) : () }
    rows($sub->{Errors});

is_deeply([ sort keys %code ],
    [ sort $writer =~ /\{ ngx_string\("(\w+)"\),\s+ngx_string/g ],
    'subprotocol: codes of errors');

# those that something answers with, and no others, are said to be possible

my $v1 = join('', $message, map { text($_) } glob("$module/http/*_v1*.c"),
    "$module/http/ngx_ws_bus_auth_session.c");

my %used = map { $_ => 1 } $v1 =~ /ngx_string\("(\w+)"\), ngx_string/g,
    map { lc } $v1 =~ /_errors\[\s*NGX_WS_BUS_CODE_(\w+)\]/g;

is(join(' ', grep { $code{$_}[1] =~ /^reserved/ } sort keys %code),
    join(' ', grep { !$used{$_} } sort keys %code),
    'subprotocol: reserved codes');

is(join(' ', grep { !$code{$_} } sort map { /`(\w+)`/g }
    map { s/\([^)]*\)//gr } map { /Errors: (.*?)\.\n/sg } values %asks), '',
    'subprotocol: requests have no other ones');

my %limit = map { $_->[0] => $_->[1] } rows($sub->{Limits});

for my $case (
    [ nesting => constant('NGX_WS_BUS_JSON_DEPTH') . ' levels' ],
    [ '`id`' => constant('NGX_WS_BUS_MESSAGE_ID_MAX') . ' bytes as written' ],
    [ '`key`' => constant('NGX_WS_BUS_MESSAGE_KEY_MAX') . ' bytes' ],
    [ '`channel`, the name of a consumer or member' =>
      constant('NGX_WS_BUS_CHANNEL_MAX') . ' bytes' ],
    [ '`channel`, the name of a consumer or member' =>
      constant('NGX_WS_BUS_MEMBER_MAX') . ' bytes' ],
    [ 'one answer to `history`' => constant('NGX_WS_BUS_V1_HISTORY')
      . ' messages, about ' . constant('NGX_WS_BUS_V1_HISTORY_SIZE') / 1024
      . ' KB' ],
    [ errors => constant('NGX_WS_BUS_V1_ERRORS') . ' in '
      . constant('NGX_WS_BUS_V1_ERRORS_TIME') / 1000 . ' seconds' ],
    [ 'subscriptions of a connection' => '`ws_bus_max_channels`, '
      . merged('max_channels') . ' by default; then `limit`' ],
) {
    is($limit{$case->[0]}, $case->[1], "subprotocol: $case->[0]");
}


# Variables and metrics.

is_deeply(
    [ sort map { $_->[0] =~ /`\$(\w+)`/g }
        rows((sections($doc{'http-api'}))->{Variables}) ],
    [ sort map { unquote($_) =~ s/_$/_NAME/r }
        text("$module/http/ngx_ws_bus_variables.c")
        =~ /ngx_string\(("ws_bus_\w+")\)/g ],
    'variables');

my %metric = map { $_ => 1 }
    map { text("$module/http/ngx_ws_bus_status_$_.c")
        =~ /"(?:#.*?)?(ws_bus_\w+)/g } qw/ prometheus redis /;

my %alerted = map { $_ => 1 } map { /\b(ws_bus_\w+)/g }
    map { s/^.*?(?:name|job_name): .*$//mgr } fenced($doc{operations}, 'yaml');

cmp_ok(scalar(keys %alerted), '>', 3, 'alerts look at metrics');
is(join(' ', grep { !$metric{$_} } sort keys %alerted), '', 'that exist');


# Links, tables of contents, tables.

my @files = ('README.md', 'contrib/bench/README.md',
             map { "docs/$_.md" } sort keys %doc);

for my $file (@files) {
    my $text = prose(text("$root/$file"));
    my @broken;

    for my $link ($text =~ /\]\(([^)\s]+)\)/g) {
        next if $link =~ /^https?:/;

        my ($path, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
        my $target = $path eq '' ? "$root/$file"
                                 : dirname("$root/$file") . "/$path";

        push @broken, $link
            if !-e $target
                || defined $anchor && !anchors(text($target))->{$anchor};
    }

    is(join("\n", @broken), '', "$file: links");
    is(join("\n", uneven($text)), '', "$file: tables");

    next if $text !~ /^- \[.*\]\(#/m;

    my %listed = map { $_ => 1 } $text =~ /^- \[.*?\]\(#([^)]*)\)/mg;

    is(join(' ', grep { !$listed{$_} } map { slug($_) }
        $text =~ /^## (.*)$/mg), '', "$file: table of contents");
}


# Configurations.

$t->write_cert('localhost');
$t->write_file('example.pem', <<'EOF');
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAWZ4OlskU/Vnf4D0ihxrp5wFeVZqKtfZgqqUSPAJarv4=
-----END PUBLIC KEY-----
EOF

for my $file (@files) {
    my $n = 0;

    for my $block (fenced(text("$root/$file"), 'nginx')) {
        $n++;

        my ($good, $said) = try_config(wrap(place($block), $block));
        ok($good, "$file: configuration $n") or diag($said);
    }
}


# The sessions, and the clients.

configure();
$t->run();

http_post('/pub/news', $_) for qw/ one two hello /;

session();
json_session();

SKIP: {
    my $python = '/usr/bin/python3';

    skip('the examples need python3-websockets, version 10', 12)
        if system("$python -c 'import websockets.version as v; "
            . "exit(int(v.version.split(\".\")[0]) not in range(10, 14))' "
            . '>/dev/null 2>&1');

    my $server = 'ws://127.0.0.1:' . port(8080);

    client('protocol', 'python', $python, "$server/ws/python");
    client('subprotocol', 'room:python', $python, "$server/ws", 'room:python');
}


$t->done_testing();


sub text {
    my ($file) = @_;

    open(my $fh, '<:raw', $file) or die "$file: $!";
    local $/;

    return <$fh>;
}


# C.

sub unquote {
    my ($literals) = @_;

    return join('', map { s/\\"/"/gr } $literals =~ /"((?:[^"\\]|\\.)*)"/g);
}


# What a message looks like that nginx makes of this format.

sub pattern {
    my ($format) = @_;

    my $re = join('.*', map { quotemeta }
        split(/%[um0-9.*]*[VsziLdOTPpxc]/, $format, -1));

    # a macro may stand in front of the literal

    return $format =~ /^ / ? qr/^\S+$re$/ : qr/^$re$/;
}


# Is this line of the documentation such a message?

sub is_line {
    my ($line, $message) = @_;

    return $line->{level} =~ /^$message->{level}$/
        && $line->{text} =~ $message->{re};
}


sub constant {
    my ($name) = @_;

    my ($value) = $code =~ /#define\s+$name\s+\(?(\d[\d *]*)\)?/
        or die "no $name";

    return eval $value;
}


# The value that a setting has when nobody sets it.

sub merged {
    my ($name) = @_;

    my ($value) = $conf =~ /ngx_conf_merge_\w+\(\s*conf->$name,\s*
        prev->$name,\s*([^;]+?)\);/x or die "no default of $name";

    return $value =~ /^[\d *]+$/ ? eval $value : $value;
}


sub size {
    my ($n) = @_;

    return $n % 1048576 ? $n % 1024 ? $n : $n / 1024 . 'k'
                        : $n / 1048576 . 'm';
}


# The default of a directive, if it can be read from the code.

sub default {
    my ($name) = @_;

    my $flag = sub { merged($_[0]) ? 'on' : 'off' };
    my $time = sub { merged($_[0]) / 1000 . 's' };

    my %default = (
        ws_bus_zone => sub {
            'default ' . size(constant('NGX_WS_BUS_ZONE_DEFAULT'))
        },
        ws_bus_publish => sub { merged('publish') eq 'NULL' ? 'off' : 'on' },
        ws_bus_history => sub { merged('history') || 'off' },
        ws_bus_message_max_size => sub { size(merged('message_max_size')) },
        ws_bus_ping => sub { $time->('ping') . ' ' . $time->('ping_timeout') },
        ws_bus_buffer => sub {
            size(merged('buffer')) . ' '
                . lc(merged('buffer_policy') =~ s/.*_//r)
        },
        ws_bus_deflate => sub { $flag->('deflate') },
        ws_bus_drain => sub { $time->('drain') },
        ws_bus_batch => sub { merged('batch') },
        ws_bus_lean => sub { $flag->('lean') },
        ws_bus_limit_dry_run => sub { $flag->('limit_dry_run') },
        ws_bus_limit_log_level => sub {
            merged('limit_log_level') eq 'NGX_LOG_ERR' ? 'error' : '?'
        },
        ws_bus_fallback => sub { $flag->('fallback') },
        ws_bus_max_channels => sub { merged('max_channels') },
        ws_bus_channels => sub {
            merged('channels') eq 'NULL' ? 'none' : '?'
        },
        ws_bus_origin => sub { merged('origins') eq 'NULL' ? 'same' : '?' },
        ws_bus_presence => sub { lc(merged('presence') =~ s/.*_//r) },
        ws_bus_protocols => sub {
            join(' ', map { lc } merged('protocols')
                =~ /NGX_WS_BUS_PROTOCOL_(\w+)/g)
        },
    );

    return $default{$name} ? "$name " . $default{$name}->() : undef;
}


# The command table: contexts and numbers of arguments.

sub commands {
    my %command;
    my %context = (
        MAIN => 'http', SRV => 'server', LOC => 'location',
        SIF => 'if in server', LIF => 'if in location',
    );

    my ($table) = $conf =~ /ngx_ws_bus_commands\[\] = \{(.*?)\n\};/s
        or die 'no command table';

    while ($table =~ /ngx_string\("(\w+)"\),\s*([A-Z0-9_|\s]+),/g) {
        my ($name, $flags) = ($1, $2);
        my %count;

        $count{0} = 1 if $flags =~ /NOARGS/;
        $count{1} = 1 if $flags =~ /CONF_FLAG/;
        $count{'1+'} = 1 if $flags =~ /1MORE/;
        $count{'2+'} = 1 if $flags =~ /2MORE/;
        $count{$_} = 1 for map { split // } $flags =~ /TAKE(\d+)/g;

        $command{$name} = {
            context => join(', ', map { $context{$_} }
                $flags =~ /NGX_HTTP_([A-Z]+)_CONF/g),
            args => join(' ', sort keys %count),
        };
    }

    return %command;
}


# How many arguments these lines of syntax allow, as "0 1 2" or "1+".

sub counts {
    my ($name, @lines) = @_;

    my (%count, $more);

    for my $line (@lines) {
        $line =~ s/^\Q$name\E\b// or return "not $name: $line";

        $line =~ s/\s*\{ \.\.\. \}$//;

        my $any = $line =~ s/\s*\.\.\.//g;
        my $optional = () = $line =~ /\[[^\]]*\]/g;

        $line =~ s/\[[^\]]*\]//g;
        $line =~ s/(\S+)(?:\s+\|\s+\S+)+/$1/g;

        my $min = () = $line =~ /\S+/g;

        $count{$_} = 1 for $min .. $min + $optional;
        $more = $min if $any && (!defined $more || $more > $min);
    }

    return join(' ', sort keys %count) unless defined $more;
    return join(' ', sort(grep { $_ < $more } keys %count), "$more+");
}


# Those of the formats that nothing in the text looks like.

sub missing {
    my ($text, @literals) = @_;

    my @quoted = prose($text) =~ /`([^`]+)`/g;

    return join("\n", grep {
        my $re = /^(?:is|needs|takes) / ? qr/^"\w+" directive \Q$_\E$/
                                  : pattern($_);
        !grep { $_ =~ $re } @quoted
    } map { unquote($_) } @literals);
}


# Markdown.

# Heading => text up to the next one.

sub sections {
    my ($text) = @_;

    my %section;

    my (undef, @parts) = split(/^## (.*)\n/m, $text);

    while (my ($heading, $body) = splice(@parts, 0, 2)) {
        $section{$heading} = $body;
    }

    return wantarray ? %section : \%section;
}


# Third-level heading => text up to the next one.

sub subsections {
    my ($text) = @_;

    my (undef, @parts) = split(/^### (.*)\n/m, $text);

    return @parts;
}


# Type => member => "needed" or "optional", from the table of the parser.

sub requests {
    my ($c) = @_;

    my %request;

    my ($table) = $c =~ /message_types\[\] = \{(.*?)\n\};/s
        or die 'no table of requests';

    while ($table =~ /\{ ngx_string\("(\w+)"\),\s*([^,]+?),\s*([^,]+?) \}/g) {
        my ($type, %flags) = ($1, needed => $2, optional => $3);
        my %member;

        for my $how (keys %flags) {
            $member{lc $_} = $how
                for $flags{$how} =~ /NGX_WS_BUS_MEMBER\((\w+)\)/g;
        }

        if ($flags{optional} =~ /MEMBER_PAYLOADS/) {
            $member{$_} = 'optional' for qw/ data text base64 /;
        }

        $request{$type} = \%member;
    }

    return %request;
}


# The block below a directive's heading, by clause.

sub clauses {
    my ($text) = @_;

    my ($block) = $text =~ /^```\n(.*?)^```/ms or return ();
    my (%clause, $name);

    for my $line (split /\n/, $block) {
        $name = $1 if $line =~ s/^(\w+)://;
        $line =~ s/^\s+|;?\s*$//g;
        push @{$clause{$name}}, $line;
    }

    return %clause;
}


sub fenced {
    my ($text, $language) = @_;

    return $text =~ /^```$language\n(.*?)^```/msg;
}


# The text without blocks of code.

sub prose {
    my ($text) = @_;

    return $text =~ s/^```.*?^```\n//msgr;
}


# The rows of the tables, without the heads.

sub rows {
    my ($text) = @_;

    my @rows;

    for my $table ($text =~ /((?:^\|.*\n?)+)/mg) {
        my (undef, undef, @lines) = split /\n/, $table;

        push @rows, map {
            [ map { s/^\s+|\s+$//gr } (split /\|/, $_, -1)[1 .. 3] ]
        } @lines;
    }

    return @rows;
}


# Rows that have more or fewer cells than the first one of their table.

sub uneven {
    my ($text) = @_;

    my ($cells, @faults) = (0);

    for my $line (split /\n/, $text) {
        my $n = $line =~ /^\|/ ? ($line =~ tr/|//) : 0;

        push @faults, $line if $n && $cells && $n != $cells;
        $cells = $n && $cells ? $cells : $n;
    }

    return @faults;
}


# The anchor that a heading gets.

sub slug {
    my ($heading) = @_;

    $heading =~ s/[^\w\s-]//g;
    $heading =~ s/\s/-/g;

    return lc $heading;
}


sub anchors {
    my ($text) = @_;

    return { map { slug($_) => 1 } prose($text) =~ /^#+ (.*)$/mg };
}


# Configurations.

# Where a piece of configuration belongs, by its outermost directives.

sub place {
    my ($block) = @_;

    my ($depth, %name) = (0);

    $block =~ s/(?:^|\s)#.*$//mg;

    while ($block =~ /([^{};]*)([{};])/g) {
        my ($text, $end) = ($1, $2);

        $name{$1} = 1 if $depth == 0 && $text =~ /^\s*(\w+)/;
        $depth += $end eq '{' ? 1 : $end eq '}' ? -1 : 0;
    }

    my @places = (
        [ main => qw/ events http load_module worker_processes user
                      worker_rlimit_nofile worker_shutdown_timeout / ],
        [ http => qw/ server map log_format upstream ws_bus_zone
                      limit_conn_zone limit_req_zone
                      ws_bus_jwt_claim_set ws_bus_redis / ],
        [ server => qw/ location listen server_name / ],
    );

    for my $place (@places) {
        my ($where, @names) = @$place;
        return $where if grep { $name{$_} } @names;
    }

    return 'location';
}


sub wrap {
    my ($place, $block) = @_;

    return $block if $place eq 'main';

    $block = "location / {\n$block}\n" if $place eq 'location';
    $block = "server {\nlisten 8080;\n$block}\n"
        if $place eq 'server' || $place eq 'location';

    return "events {\n}\nhttp {\n$block\n}\n";
}


# nginx -t, with ports and files that this test may have.

sub try_config {
    my ($text) = @_;

    my $dir = $t->testdir();

    $text =~ s/^load_module .*\n//mg;
    $text =~ s/\blisten\s+(?:127\.0\.0\.1:)?(\d+)(?![\d.])/
        'listen 127.0.0.1:' . port($1)/gex;
    $text =~ s!/(?:etc|var/log)/nginx/!$dir/!g;
    $text =~ s!(ssl_certificate(?:_key)?)\s+\S+;!
        "$1 $dir/localhost." . ($1 =~ /key/ ? 'key' : 'crt') . ';'!gex;
    $text =~ s!(ws_bus_jwt_key_file)\s+\S+;!$1 $dir/example.pem;!g;
    $text =~ s/^(\s*http\s*\{)/$1\n%%TEST_GLOBALS_HTTP%%/m;

    $t->write_file_expand('example.conf', "%%TEST_GLOBALS%%\n$text");

    return $t->test_config('example.conf');
}


sub configure {
    $t->write_file_expand('nginx.conf', <<'EOF');

%%TEST_GLOBALS%%

worker_processes 2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_history 100000 1h;
    ws_bus_drain 1s;

    server {
        listen 127.0.0.1:%%PORT_8080%%;

        location ~ ^/ws/(?<chan>.+)$ {
            ws_bus $chan;
            ws_bus_publish on;
        }

        location = /ws {
            ws_bus;
            ws_bus_channels news room:* prices.**;
            ws_bus_publish on;

            ws_bus_presence members;
            ws_bus_member $arg_user;
        }

        location ~ ^/pub/(?<chan>.+)$ {
            ws_bus_publisher $chan;
        }
    }
}

EOF
}


# Plays the session of protocol.md: what ">" says is sent, what "<" says has
# to come.

sub session {
    my ($text) = fenced($doc{protocol}, 'session');
    my $c = Test::WsBus::Conn->new(port => port(8080));
    my $n = 0;

    for my $line (split /\n/, $text) {
        my ($way, $what) = $line =~ /^([<>])(?: (.*))?$/ or next;

        $what //= '';
        $n++;

        # bytes and an explanation, or a line of HTTP

        my $bytes = $what =~ /^((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:\s{2}|$)/
            ? pack('H*', $1 =~ s/ //gr) : "$what\r\n";

        if ($way eq '>') {
            $c->write($bytes);
            next;
        }

        my $got = $bytes =~ /\r\n$/ ? http_line($c)
                                    : $c->read_bytes(length $bytes);

        # what differs from day to day

        if ($bytes =~ /^((?:Server|Date|Ws-Bus-Epoch): )/) {
            like($got, qr/^$1\S/, "session, line $n: $1");
            next;
        }

        is(unpack('H*', $got // ''), unpack('H*', $bytes),
            "session, line $n: $what");
    }

    cmp_ok($n, '>', 15, 'session: lines');
    ok($c->at_eof(), 'session: the end');
}


# Plays the session of subprotocol.md.  The lines between two of the client's
# may come in any order.

sub json_session {
    my ($here) = $sub->{'In short'} =~ /(ws_bus_channels .*?)\n    }/s;
    my ($conf) = $t->read_file('nginx.conf') =~ /(ws_bus_channels .*?)\n\s+}/s;

    is($conf =~ s/\s+/ /gr, $here =~ s/\s+/ /gr,
        'JSON session: its configuration');

    my ($uri) = $sub->{'A session'} =~ m!`(/ws\?\S+)`!;
    my @published = $sub->{'A session'} =~ /Meanwhile `(.*?)` and `(.*?)`/;
    my @sessions = fenced($sub->{'A session'}, 'session');
    my ($epoch, $n) = ('', 0);

    for my $i (0 .. $#sessions) {

        my $c = json($uri);
        my @expected;

        for my $line (split(/\n/, $sessions[$i]), '> ') {
            my ($way, $what) = $line =~ /^([<>]) (.*)$/ or next;

            if ($way eq '<') {
                push @expected, $what;
                next;
            }

            my @got = map { $_->{text_} } $c->next_n(scalar(@expected));

            # it differs from day to day

            $epoch = $1 if $epoch eq '' && "@got" =~ /"epoch":"(\w+)"/;
            s/"epoch":"\K\Q$epoch\E/2786805bd0e29cd5/ for @got;

            is_deeply([ sort @got ], [ sort @expected ],
                "JSON session: before $what") if @expected;

            $n += @got;
            @expected = ();

            if (length $what) {
                $c->text($what =~ s/2786805bd0e29cd5/$epoch/r);
                $n++;
            }
        }

        is($c->surplus(0.1), '', 'JSON session: no more');

        # she has left when others are told

        my $other = json('/ws');

        $other->ask('subscribe', channel => 'room:7');
        $c->disconnect();
        is(($other->next() // { type => 'none' })->{type}, 'left',
            'JSON session: gone');
        $other->disconnect();

        http_post('/pub/room:7', $_) for @published;
    }

    cmp_ok($n, '>', 20, 'JSON session: lines');
}


# Runs the client of a document, which prints number and text of each message
# of the channel, through a reload.

sub client {
    my ($name, $channel, $python, @args) = @_;

    my $n = 0;

    $t->write_file("$name.py", (fenced($doc{$name}, 'python'))[0]);
    $t->write_file('daemon.log', '');
    $t->run_daemon($python, $t->testdir() . "/$name.py", @args);

    # a message's text is its number

    my $publish = sub {
        return http_post("/pub/$channel", ++$n)->json()->{subscribers};
    };

    my $there = sub {
        return http_get("/pub/$channel")->body() =~ /"subscribers":1\b/;
    };

    ok($t->wait_until($there, 20), "$name: the client is there");
    $publish->();

    ok($t->reload(), "$name: reload");

    ok($t->wait_until(sub { !$publish->() }, 20),
        "$name: the client is gone");
    $publish->() for 1 .. 20;

    ok($t->wait_until($there, 20), "$name: the client is back");
    $publish->();

    ok($t->find_in_file('daemon.log', qr/^$n $n$/m, timeout => 20),
        "$name: it has the newest message");

    is($t->read_file('daemon.log'), join('', map { "$_ $_\n" } 1 .. $n),
        "$name: and has missed nothing");

    $t->stop_daemons();
}


sub http_line {
    my ($c) = @_;

    my $line = '';

    while ($line !~ /\n$/) {
        $line .= $c->read_bytes(1) // last;
    }

    return $line;
}
