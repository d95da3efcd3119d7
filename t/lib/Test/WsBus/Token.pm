package Test::WsBus::Token;

# Copyright (C) the ngx_ws_bus_module authors

# Keys and tokens, made by Crypt::JWT.
#
#     my $key = Test::WsBus::Token->key('ES256', kid => 'a');
#
#     $t->write_file('keys.jwks', jwks($key, ...));
#
#     my $token = $key->token(sub => 'alice', exp => in(60));
#
# Claims are what is given, and "exp" in an hour if it is not; undef leaves a
# claim out.

use warnings;
use strict;

use Exporter qw/ import /;
use JSON::PP;

our @EXPORT = qw/ jwks in /;

my %make = (
    RS => sub { my $k = Crypt::PK::RSA->new(); $k->generate_key(256); $k },
    PS => sub { my $k = Crypt::PK::RSA->new(); $k->generate_key(256); $k },
    ES => sub { my $k = Crypt::PK::ECC->new();
                $k->generate_key({ 256 => 'secp256r1', 384 => 'secp384r1',
                                   512 => 'secp521r1' }->{$_[0]}); $k },
    Ed => sub { my $k = Crypt::PK::Ed25519->new(); $k->generate_key(); $k },
    HS => sub { join('', map { chr(int(rand(256))) } 1 .. 64) },
);


sub key {
    my ($class, $alg, %member) = @_;

    require Crypt::JWT;
    require Crypt::PK::ECC;
    require Crypt::PK::Ed25519;
    require Crypt::PK::RSA;

    my ($family, $bits) = $alg =~ /^(..)(.*)$/;
    my $key = $make{$family}->($bits);

    return bless { alg => $alg, key => $key, member => \%member }, $class;
}


# The public JWK; of a secret the whole.

sub jwk {
    my ($self) = @_;

    my $jwk = ref($self->{key}) ? $self->{key}->export_key_jwk('public', 1)
        : { kty => 'oct', k => Crypt::Misc::encode_b64u($self->{key}) };

    return { %$jwk, %{ $self->{member} } };
}


sub token {
    my ($self, %claims) = @_;

    %claims = (exp => in(3600), %claims);
    delete @claims{grep { !defined $claims{$_} } keys %claims};

    return $self->sign(\%claims);
}


# Any payload, members of the header behind it.

sub sign {
    my ($self, $claims, %header) = @_;

    %header = (kid => $self->{member}{kid}, %header)
        if defined $self->{member}{kid};

    return Crypt::JWT::encode_jwt(payload => $claims, alg => $self->{alg},
        key => $self->{key},
        extra_headers => \%header);
}


sub jwks { return JSON::PP->new()->canonical()->encode(
    { keys => [ map { $_->jwk() } @_ ] }) }


sub in { return time() + $_[0] }


1;
