#!/usr/bin/perl

# Copyright (C) the ngx_ws_bus_module authors

# The files of ws_bus_jwt_key_file: what is taken, what is passed over and
# what is refused, and what is said about it.

use warnings;
use strict;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::WsBus;

my $t = Test::WsBus->new()->has('bin/openssl')->log_level('info');

my $ed25519 = '{"kty":"OKP","crv":"Ed25519","kid":"ed",'
    . '"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}';
my $oct = '{"kty":"oct","kid":"secret","k":"' . 'c2VjcmV0' x 8 . '"}';

my ($pem, $private) = pem();


# [ name, content, what is said: "emerg" unless it starts with "warn" ]

my @cases = (
    [ 'a set', "{\"keys\":[$ed25519]}" ],
    [ 'a single key', $ed25519 ],
    [ 'a secret', $oct ],
    [ 'PEM', $pem ],
    [ 'PEM, two blocks', "text\n$pem\n$pem" ],

    [ 'nothing', '', 'neither a JWK set nor a PEM public key' ],
    [ 'text', "key\n", 'neither a JWK set nor a PEM public key' ],
    [ 'half of a set', '{"keys":[', 'key set is malformed JSON' ],
    [ 'no keys in it', '{"keys":[]}', 'no usable key' ],
    [ 'keys of another kind', '{"keys":{}}', 'key set has no array "keys"' ],
    [ 'half of a block', substr($pem, 0, 60), 'malformed PEM' ],
    [ 'too many', '{"keys":[' . join(',', ($ed25519) x 65) . ']}',
        'key set has too many keys' ],
    [ 'too large', ' ' x 262144 . $ed25519, 'key set is too large' ],
    [ 'as large as may be', ' ' x (262144 - length $ed25519) . $ed25519 ],

    [ 'a good one and others', '{"keys":[' . join(',', $ed25519,
        '{"kty":"oct","kid":"short","k":"c2VjcmV0"}',
        '{"kty":"RSA","use":"enc","kid":"\u00e9\n\"[emerg]\u007f"}',
        '{"kty":"none"}') . ']}',
        'warn key 2, kid "short", in "%" is passed over: '
            . 'secret is shorter than 32 bytes',
        'warn key 3, kid "????[emerg]?", in "%" is passed over: '
            . '"use" is not "sig"',
        'warn key 4, kid "", in "%" is passed over: "kty" is unknown' ],
    [ 'only others', '{"keys":[{"kty":"none"}]}', 'no usable key',
        'warn key 1, kid "", in "%" is passed over: "kty" is unknown' ],
    [ 'a private one', $private, 'no usable key',
        'warn key 1, kid "", in "%" is passed over: '
            . 'key is private' ],
);

for my $case (@cases) {
    my ($name, $content, @says) = @$case;

    $t->write_file('keys', $content);

    for my $context (qw/ http server location /) {
        my ($good, $said) = check($context, 'ws_bus_jwt_key_file keys;');

        is($good ? 1 : 0, scalar(grep({ !/^warn/ } @says)) ? 0 : 1,
            "$context, $name") or diag($said);

        for my $says (@says) {
            my $path = $t->testdir() . '/keys';
            my ($level, $line) = $says =~ /^warn (.*)/ ? ('warn', $1)
                : ('emerg', "no keys can be taken from \"%\": $says");

            $line =~ s/%/$path/;
            like($said, qr/\[$level\] \S+ \Q$line\E in .*:\d+$/m,
                "$context, $name: $says");
        }

        is(scalar(() = $said =~ /passed over/g),
            scalar(grep({ /^warn/ } @says)), "$context, $name: warnings");
        unlike($said, qr/c2VjcmV0|PRIVATE/, "$context, $name: no secrets");
    }
}


# files that are none

mkdir($t->testdir() . '/dir');

for my $case (
    [ 'none', 'open() "%/none" failed (2:' ],
    [ 'dir', 'read() "%/dir" failed (21:' ],
    [ $t->testdir() . '/none', 'open() "%/none" failed (2:' ],
) {
    my ($file, $says) = @$case;
    my ($good, $said) = check('location', "ws_bus_jwt_key_file $file;");
    my $dir = $t->testdir();

    $says =~ s/%/$dir/;
    ok(!$good && $said =~ /\[emerg\] \S+ \Q$says\E/, $says) or diag($said);
}

my (undef, $said) = check('location', 'ws_bus_jwt_key_file;');
like($said, qr/invalid number of arguments/, 'no file');
(undef, $said) = check('location', 'ws_bus_jwt_key_file a b;');
like($said, qr/invalid number of arguments/, 'two files in one');


# several files; each of them counts

$t->write_file('a', $ed25519);
$t->write_file('b', $pem);
$t->write_file('c', '{}');

ok(check('location', 'ws_bus_jwt_key_file a; ws_bus_jwt_key_file b;'),
    'two files');
($_, $said) = check('http', 'ws_bus_jwt_key_file a; ws_bus_jwt_key_file c;');
like($said, qr/\[emerg\] .*no keys can be taken from "\S+\/c"/,
    'the second one is refused');


# keys and algorithms

$t->write_file('oct', $oct);

my @default = qw/ RS256 PS256 ES256 EdDSA /;
my $hs = 'HS256 HS384';

for my $case (
    [ 'ws_bus_jwt_key_file oct;', "@default", $hs ],
    [ 'ws_bus_jwt_key_file oct; ws_bus_jwt_key_file oct;', "@default", $hs ],
    [ 'ws_bus_jwt_algorithms HS512 RS256; ws_bus_jwt_key_file oct;',
      'RS256 HS512', $hs ],
    [ 'ws_bus_jwt_algorithms RS256 HS384; ws_bus_jwt_key_file oct;' ],
    [ 'ws_bus_jwt_algorithms ES256; ws_bus_jwt_key_file a;
       ws_bus_jwt_key_file oct;', 'ES256', "EdDSA $hs" ],
    [ 'ws_bus_jwt_key_file oct; ws_bus_jwt_key_file b;' ],
    [ 'ws_bus_jwt_key_file oct; ws_bus_jwt_key_request /keys;' ],
) {
    my ($lines, $algorithms, $known) = @$case;

    for my $context (qw/ http server location /) {
        my ($good, $said) = check($context, "ws_bus_jwt a; $lines");
        my @warnings = $said =~ /\[warn\] \S+ (no token .*?) in /g;

        ok($good, "$context, $lines") or diag($said);
        is("@warnings", !$known ? '' : 'no token can be valid: '
            . "\"ws_bus_jwt_algorithms\" is $algorithms, but the keys are "
            . "for $known", 'warnings');
    }
}

($_, $said) = check('location', 'ws_bus_jwt_key_file oct;');
unlike($said, qr/no token/, 'nothing is said where no token is wanted');

($_, $said) = check('server', 'ws_bus_jwt a; ws_bus_jwt_key_file oct;
    location /a { ws_bus a; ws_bus_jwt_algorithms ES256; }
    location /b { ws_bus a; ws_bus_jwt_algorithms HS256; }
    location /c { ws_bus a; ws_bus_jwt off; }
    location /d { ws_bus a; }
    location /e { ws_bus a; }');
is(join(',', $said =~ /no token .*? is (.*?), but/g), "ES256,@default",
   'once for what locations share');


# the document's way to a key and a token

my ($recipe) = doc('directives.md') =~ /^```sh\n(b64url.*?)^```$/ms;

$t->write_file('recipe', $recipe);

my $token = `cd "@{[ $t->testdir() ]}" && sh -e recipe`;

like($token, qr/^[\w-]+\.[\w-]+\.[\w-]+$/, 'a token');

conf('location', 'ws_bus_jwt a; ws_bus_jwt_key_file dev.jwk;
    ws_bus_jwt_algorithms HS256;');
$t->run();

chomp($token);

is(http_get('/?wait=0', headers => [ Authorization => "Bearer $token" ])
   ->status(), 204, 'is good for its key');
is(http_get('/?wait=0', headers => [ Authorization => "Bearer x$token" ])
   ->status(), 401, 'another one is not');

$t->stop();


# a reload with a bad file keeps what was there

$t->write_file('keys', $ed25519);
conf('http', 'ws_bus_jwt_key_file keys;');
$t->run();

$t->write_file('keys', 'x');
$t->expect_log(qr/\[emerg\] .*no keys can be taken from/);

my @workers = $t->workers();

ok(!$t->reload(), 'a reload with a bad file is refused');
is_deeply([ $t->workers() ], \@workers, 'and the workers stay');

$t->write_file('keys', $pem);
ok($t->reload(), 'a reload with another one');

$t->done_testing();


sub check {
    my ($context, $lines) = @_;

    conf($context, $lines);

    return $t->test_config();
}


sub conf {
    my ($context, $lines) = @_;

    my %at = map { $_ => '' } qw/ http server location /;
    $at{$context} = $lines;

    $t->write_file_expand('nginx.conf', <<"EOF");
%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    ws_bus_zone bus 4m;
    $at{http}

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        $at{server}

        location / {
            ws_bus a;
            $at{location}
        }
    }
}
EOF
}


sub doc {
    open(my $fh, '<', "$FindBin::Bin/../docs/$_[0]") or die "$_[0]: $!";
    local $/;

    return <$fh>;
}


sub pem {
    my $dir = $t->testdir();

    system("openssl genpkey -algorithm ed25519 -out $dir/key.pem 2>/dev/null "
        . "&& openssl pkey -in $dir/key.pem -pubout -out $dir/pub.pem") == 0
        or die 'openssl failed';

    return ($t->read_file('pub.pem'), $t->read_file('key.pem'));
}
