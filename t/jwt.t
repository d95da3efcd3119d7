# Copyright (C) the ngx_ws_bus_module authors

# Tokens and keys made by other implementations, Perl's Crypt::JWT and
# Python's PyJWT: each algorithm by each kind of key, and by keys that are not
# for it.  What is said of them by the functions alone nginx says as well.

use warnings;
use strict;

use Test::More;

use File::Temp qw/ tempdir /;
use FindBin;
use IPC::Open2;
use JSON::PP;
use lib "$FindBin::Bin/lib";
use Test::WsBus;


use constant NOW => 1700000000;

my $root = "$FindBin::Bin/..";
my $dir = tempdir('ws-bus-test-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);

my @rsa = qw/ RS256 RS384 RS512 PS256 PS384 PS512 /;

# the kinds of keys, by name: their algorithms

my %kinds = (
    'rsa-2048' => [ @rsa ],
    'rsa-3072' => [ @rsa ],
    'p-256' => [ 'ES256' ],
    'p-384' => [ 'ES384' ],
    'p-521' => [ 'ES512' ],
    'ed25519' => [ 'EdDSA' ],
    'ed448' => [ 'EdDSA' ],
    'oct-32' => [ 'HS256' ],
    'oct-48' => [ 'HS256', 'HS384' ],
    'oct-64' => [ 'HS256', 'HS384', 'HS512' ],
);

my @kinds = sort keys %kinds;

my %all;
$all{$_} = 1 for map { @$_ } values %kinds;

my $all = join(',', sort keys %all);

# name, file of keys, allowed algorithms, token, what is to be said of it

my @cases;

my $json = JSON::PP->new()->canonical();


my $out = `make -s -C $root build/unit/jwt.t 2>&1`;

is($?, 0, 'the checker builds') or BAIL_OUT($out);

SKIP: {
    skip('no Crypt::JWT', 1)
        unless eval { require Crypt::JWT; require Crypt::PK::Ed25519; 1 };

    matrix('Crypt::JWT', crypt_jwt());
}

SKIP: {
    skip('no PyJWT', 1) if system("/usr/bin/python3 -c 'import jwt, "
        . "cryptography.hazmat.primitives.asymmetric.ed448' 2> /dev/null");

    matrix('PyJWT', pyjwt());
}

run();
nginx();


# A side is { keys => { kind => { jwk, pem } }, tokens => [ { alg, kind, kid,
# claims, token } ], others => [ { name, kind, token, said } ] }.

sub matrix {
    my ($side, $made) = @_;

    my $prefix = "$dir/" . ($side =~ s/\W//gr);
    my %known = %{ $made->{keys} };
    my @set;

    for my $kind (sort keys %known) {
        my %jwk = %{ $known{$kind}{jwk} };

        write_file("$prefix.$kind.jwk", $json->encode(\%jwk));
        write_file("$prefix.$kind.pem", $known{$kind}{pem})
            if $known{$kind}{pem};

        push @set, { %jwk, kid => $kind };
    }

    write_file("$prefix.set", $json->encode({ keys => \@set }));
    write_file("$prefix.set-without-kid", $json->encode({ keys =>
        [ map { my %k = %$_; delete $k{kid}; \%k } @set ] }));

    for my $t (@{ $made->{tokens} }) {
        my ($kind, $alg) = ($t->{kind}, $t->{alg});
        my $name = "$side: $alg by $kind" . ($t->{kid} ? ', kid' : '');
        my $ok = 'ok ' . $json->encode($t->{claims});

        push @cases, [ $name, "$prefix.set", $all, $t->{token}, $ok ];
        push @cases, [ "$name, only it allowed", "$prefix.set", $alg,
            $t->{token}, $ok ];
        push @cases, [ "$name, others allowed", "$prefix.set",
            join(',', grep { $_ ne $alg } sort keys %all), $t->{token},
            '"alg" is not allowed here' ];
        push @cases, [ "$name, of many", "$prefix.set-without-kid", $all,
            $t->{token}, $ok ];

        for my $other (sort keys %known) {
            my $file = "$prefix.$other";
            my $said;

            if ($other eq $kind) {
                $said = $ok;

            } elsif (!grep { $_ eq $alg } @{ $kinds{$other} }) {
                $said = 'no key for this algorithm';

            } elsif ($kind =~ /^oct/) {
                $said = 'signature is invalid';

            } else {
                $said = 'signature has a wrong length';
            }

            $said = 'no key of this "kid"' if $t->{kid}
                && $said eq 'no key for this algorithm';

            push @cases, [ "$name, with $other", "$file.jwk", $all,
                $t->{token}, $said ];
            push @cases, [ "$name, with $other in PEM", "$file.pem", $all,
                $t->{token}, $said ] if $known{$other}{pem};
        }

        # another's signature, and the claims of another

        my ($h, $c, $s) = split(/\./, $t->{token});

        push @cases, [ "$name, other claims", "$prefix.$kind.jwk", $all,
            "$h.e30.$s", 'signature is invalid' ];
        push @cases, [ "$name, no signature", "$prefix.$kind.jwk", $all,
            "$h.$c.", 'signature has a wrong length' ];
    }

    for my $t (@{ $made->{others} }) {
        push @cases, [ "$side: $t->{name}", "$prefix.$t->{kind}.jwk", $all,
            $t->{token}, $t->{said} ];
    }
}


sub run {
    my $pid = open2(my $from, my $to, "$root/build/unit/jwt.t", 'check');

    for my $case (@cases) {
        my ($name, $file, $algs, $token, $said) = @$case;

        print $to "$file $algs " . NOW . " $token\n";
        $to->flush();

        my $line = <$from> // '';
        chomp($line);

        is($line, $said, $name);
    }

    close($to);
    waitpid($pid, 0);

    is($?, 0, 'the checker ends well');
}


# A location for each file of keys and each list of algorithms.  There the
# time is not NOW: what is said of times is left to the functions.

sub nginx {
    my $t = Test::WsBus->new()->log_level('info');
    my (%path, @locations);

    my @asked = grep { $_->[4] !~ /^keys|expired|not valid yet|in the future/ }
        @cases;

    for my $case (@asked) {
        my ($name, $file, $algs) = @$case;

        next if $path{"$file $algs"};

        my $path = $path{"$file $algs"} = '/' . (1 + keys %path);
        my $list = $algs =~ tr/,/ /r;

        push @locations, "location = $path { ws_bus a; ws_bus_jwt bus; "
            . "ws_bus_jwt_key_file $file; ws_bus_jwt_algorithms $list; "
            . "ws_bus_jwt_leeway 100y; }\n";
    }

    $t->write_file_expand('nginx.conf', "%%TEST_GLOBALS%%\n"
        . "events { }\nhttp {\n%%TEST_GLOBALS_HTTP%%\n"
        . "server { listen 127.0.0.1:%%PORT_8080%%;\n@locations}\n}\n");

    $t->run();

    my $http = Test::WsBus::HTTP->new(port => port(8080));
    my (@wrong, @said);

    for my $case (@asked) {
        my ($name, $file, $algs, $token, $said) = @$case;
        my $good = $said =~ /^ok/;

        my $r = $http->request('GET', $path{"$file $algs"} . '?wait=0',
            headers => [ Authorization => "Bearer $token" ]);

        my $is = $r->status() . ' '
            . ($r->header('WWW-Authenticate') // 'nothing');

        push @wrong, "$name: $is" if $is ne ($good ? '204 nothing'
            : '401 Bearer realm="bus", error="invalid_token", '
              . 'error_description="the token is not valid"');
        push @said, $said if !$good;

        $http = Test::WsBus::HTTP->new(port => port(8080))
            if ($r->header('Connection') // '') eq 'close';
    }

    is_deeply(\@wrong, [], 'nginx: ' . @asked . ' tokens');

    my @logged = $t->read_file('error.log')
        =~ /token refused: (.*?)(?: while |, client: )/g;

    is_deeply(\@logged, \@said, 'nginx: the reasons are logged');

    unlike($t->read_file('error.log'), qr/eyJ/, 'nginx: but no token');

    $t->done_testing();
}


# what all tokens say; each but the last of these is refused

sub claims {
    my ($alg, $kind) = @_;

    return { sub => 'alice', alg => $alg, kind => $kind, iat => NOW - 10,
        nbf => NOW - 10, exp => NOW + 10, nested => { list => [ 1, 'two' ] } };
}


sub refused {
    return (
        [ 'expired', { exp => NOW }, 'token has expired' ],
        [ 'early', { nbf => NOW + 1 }, 'token is not valid yet' ],
        [ 'of the future', { iat => NOW + 1 },
            'token was issued in the future' ],
        [ 'exp is text', { exp => 'never' }, '"exp" is not a number' ],
        [ 'exp in milliseconds', { exp => NOW * 1000 + 5 },
            '"exp" is not a time in seconds' ],
        [ 'aud is an object', { aud => {} },
            '"aud" is neither a string nor strings' ],
    );
}


sub crypt_jwt {
    my (%keys, @tokens, @others, %private);

    require Crypt::PK::ECC;
    require Crypt::PK::RSA;

    for my $kind (@kinds) {
        my ($pk, $size) = (undef, $kind =~ /(\d+)/);

        next if $kind eq 'ed448';

        if ($kind =~ /^oct/) {
            my $secret = join('', map { chr(rand(256)) } 1 .. $size);

            $private{$kind} = $secret;
            $keys{$kind}{jwk} = { kty => 'oct',
                k => Crypt::Misc::encode_b64u($secret) };
            next;
        }

        if ($kind =~ /^rsa/) {
            $pk = Crypt::PK::RSA->new();
            $pk->generate_key($size / 8, 65537);

        } elsif ($kind =~ /^p/) {
            $pk = Crypt::PK::ECC->new();
            $pk->generate_key("secp${size}r1");

        } else {
            $pk = Crypt::PK::Ed25519->new();
            $pk->generate_key();
        }

        $private{$kind} = $pk;
        $keys{$kind}{jwk} = $pk->export_key_jwk('public', 1);
        $keys{$kind}{pem} = $pk->export_key_pem(
            $kind =~ /^rsa/ ? 'public_x509'
            : $kind =~ /^p/ ? 'public_short' : 'public');

        # a curve that brings its own parameters, whatever these are

        write_file("$dir/explicit.pem", $pk->export_key_pem('public'))
            if $kind eq 'p-256';
    }

    push @cases, [ 'Crypt::JWT: explicit parameters of a curve',
        "$dir/explicit.pem", $all, 'e30.e30.e30', 'keys: no usable key' ];

    my $make = sub {
        my ($alg, $key, $claims, $header) = @_;

        return Crypt::JWT::encode_jwt(payload => $claims, alg => $alg,
            key => $key, extra_headers => $header, allow_none => 1);
    };

    for my $kind (sort keys %private) {
        for my $alg (@{ $kinds{$kind} }) {
            for my $kid (undef, $kind) {
                my $claims = claims($alg, $kind);

                push @tokens, { alg => $alg, kind => $kind, kid => $kid,
                    claims => $claims, token => $make->($alg,
                        $private{$kind}, $claims,
                        $kid ? { typ => 'JWT', kid => $kid } : {}) };
            }
        }
    }

    for my $case (refused()) {
        my ($name, $claims, $said) = @$case;

        push @others, { name => $name, kind => 'p-256', said => $said,
            token => $make->('ES256', $private{'p-256'},
                { %{ claims() }, %$claims }, {}) };
    }

    push @others, { name => 'none', kind => 'rsa-2048',
        said => '"alg" is "none"',
        token => $make->('none', undef, claims(), {}) };
    push @others, { name => 'secp256k1', kind => 'p-256',
        said => '"alg" is unknown',
        token => $make->('ES256K', do {
            my $pk = Crypt::PK::ECC->new();
            $pk->generate_key('secp256k1');
            $pk;
        }, claims(), {}) };
    push @others, { name => 'a public key as a secret', kind => 'rsa-2048',
        said => 'no key for this algorithm',
        token => $make->('HS256', $keys{'rsa-2048'}{pem}, claims(), {}) };
    push @others, { name => 'critical', kind => 'oct-64',
        said => '"crit" has an unknown extension',
        token => $make->('HS256', $private{'oct-64'}, claims(),
            { crit => [ 'x' ], x => 1 }) };
    push @others, { name => 'logout token', kind => 'oct-64',
        said => '"typ" is not that of a JWT',
        token => $make->('HS256', $private{'oct-64'}, claims(),
            { typ => 'logout+jwt' }) };

    return { keys => \%keys, tokens => \@tokens, others => \@others };
}


# The same by a program in Python, which is told what to make.

sub pyjwt {
    my (@tokens, @others);

    write_file("$dir/make.py", <<'PYTHON');

import json
import os
import sys

import jwt
from jwt.algorithms import (ECAlgorithm, HMACAlgorithm, OKPAlgorithm,
                            RSAAlgorithm)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import (ec, ed448, ed25519,
                                                       rsa)

generate = {
    'rsa-2048': lambda: rsa.generate_private_key(65537, 2048),
    'rsa-3072': lambda: rsa.generate_private_key(65537, 3072),
    'p-256': lambda: ec.generate_private_key(ec.SECP256R1()),
    'p-384': lambda: ec.generate_private_key(ec.SECP384R1()),
    'p-521': lambda: ec.generate_private_key(ec.SECP521R1()),
    'ed25519': ed25519.Ed25519PrivateKey.generate,
    'ed448': ed448.Ed448PrivateKey.generate,
    'oct-32': lambda: os.urandom(32),
    'oct-48': lambda: os.urandom(48),
    'oct-64': lambda: os.urandom(64),
}


def b64u(n, size=None):
    return jwt.utils.base64url_encode(
        n.to_bytes(size or (n.bit_length() + 7) // 8, 'big')).decode()


def public(kind, key):
    if kind.startswith('oct'):
        return {'jwk': {'kty': 'oct', 'k': jwt.utils.base64url_encode(
            key).decode()}}

    key = key.public_key()

    if kind.startswith('rsa'):
        jwk = json.loads(RSAAlgorithm.to_jwk(key))
    elif kind.startswith('ed'):
        jwk = json.loads(OKPAlgorithm.to_jwk(key))
    else:
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        jwk = {'kty': 'EC', 'crv': 'P-%d' % key.curve.key_size,
               'x': b64u(point.x, size), 'y': b64u(point.y, size)}

    return {'jwk': jwk, 'pem': key.public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo).decode()}


work = json.load(sys.stdin)
keys = {kind: generate[kind]() for kind in work['kinds']}

print(json.dumps({
    'keys': {kind: public(kind, key) for kind, key in keys.items()},
    'tokens': [jwt.encode(t['claims'], keys.get(t['kind']), t['alg'],
                          t['header']) for t in work['tokens']],
}))
PYTHON

    for my $kind (@kinds) {
        for my $alg (@{ $kinds{$kind} }) {
            for my $kid (undef, $kind) {
                push @tokens, { alg => $alg, kind => $kind, kid => $kid,
                    claims => claims($alg, $kind),
                    header => $kid ? { kid => $kid } : {} };
            }
        }
    }

    for my $case (refused()) {
        my ($name, $claims, $said) = @$case;

        push @others, { name => $name, kind => 'ed448', alg => 'EdDSA',
            claims => { %{ claims() }, %$claims }, header => {},
            said => $said };
    }

    push @others, { name => 'none', kind => '', alg => 'none',
        claims => claims(), header => {}, said => '"alg" is "none"' };
    push @others, { name => 'critical', kind => 'oct-32', alg => 'HS256',
        claims => claims(), header => { crit => [ 'b64' ], b64 => \1 },
        said => '"crit" has an unknown extension' };
    push @others, { name => 'typ is a number', kind => 'oct-32',
        alg => 'HS256', claims => claims(), header => { typ => 1 },
        said => '"typ" is not a string' };

    write_file("$dir/work.json", $json->encode({ kinds => \@kinds,
        tokens => [ map { { alg => $_->{alg}, kind => $_->{kind},
            claims => $_->{claims}, header => $_->{header} } }
            @tokens, @others ] }));

    my $made = `/usr/bin/python3 $dir/make.py < $dir/work.json`;

    is($?, 0, 'PyJWT makes tokens') or return { keys => {} };

    $made = $json->decode($made);

    $_->{token} = shift @{ $made->{tokens} } for @tokens, @others;
    $_->{kind} ||= 'rsa-2048' for @others;

    return { keys => $made->{keys}, tokens => \@tokens, others => \@others };
}


sub write_file {
    my ($file, $text) = @_;

    open(my $fh, '>', $file) or die "$file: $!";
    print $fh $text;
    close($fh) or die "$file: $!";
}
