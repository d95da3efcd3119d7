package Test::WsBus::Json;

# Copyright (C) the ngx_ws_bus_module authors

# A client of the JSON subprotocol.  What the server sends is read by a strict
# parser that keeps each member's bytes as they came, so that a test can say
# what became of a payload.  See the POD below.

use warnings;
use strict;

use Carp;
use Exporter qw/ import /;
use File::Basename qw/ dirname /;
use POSIX ();
use Test::More ();
use Time::HiRes qw/ time /;

use Test::WsBus ();

use parent qw/ Test::WsBus::Client /;

our @CARP_NOT = qw/ Test::WsBus Test::WsBus::Client /;

our @EXPORT = qw/
    PROTOCOL json format_request parse_json is_next is_error
    load_start load_result EPOCH
/;

use constant PROTOCOL => 'ws-bus.v1.json';
use constant EPOCH => qr/^[0-9a-f]{16}$/;


# members whose value is a number unless a test says otherwise
my %number = map { $_ => 1 } qw/ id seq limit /;

my %escape = (
    '"' => '"', '\\' => '\\', '/' => '/', b => "\b", f => "\f", n => "\n",
    r => "\r", t => "\t"
);


sub json {
    my ($path, %opt) = @_;

    my $c = Test::WsBus::ws($path, protocols => [ PROTOCOL ], %opt);
    my $protocol = $c->response()->header('Sec-WebSocket-Protocol') // '';

    croak("not the subprotocol: \"$protocol\"") unless $protocol eq PROTOCOL;

    $c->{ids} = 0;
    $c->{later} = [];

    return bless $c, __PACKAGE__;
}


# Requests.

sub format_request {
    my (@members) = @_;

    my @text;

    while (my ($name, $value) = splice(@members, 0, 2)) {

        if (ref $value) {
            $value = $$value;

        } elsif (!$number{$name} || $value !~ /^\d+$/) {
            $value = quoted($value);
        }

        push @text, quoted($name) . ":$value";
    }

    return '{' . join(',', @text) . '}';
}


sub quoted {
    my ($s) = @_;

    $s =~ s/([\x00-\x1f"\\])/sprintf('\\u%04x', ord($1))/ge;

    return qq{"$s"};
}


sub say {
    my ($self, $type, @members) = @_;

    return $self->text(format_request(type => $type, @members));
}


sub ask {
    my ($self, $type, @members) = @_;

    my $id = 'ask ' . ++$self->{ids};

    $self->say($type, id => $id, @members);

    return $self->answer($id);
}


sub answer {
    my ($self, $id, $timeout) = @_;

    my $deadline = time() + ($timeout // $self->{timeout});

    while (1) {
        my $left = $deadline - time();
        my $m = $self->_receive($left > 0 ? $left : 0)
            // croak("no answer to request \"$id\"");

        if (defined $m->{id} && $m->{id} eq $id) {
            delete $m->{id};
            return $m;
        }

        push @{$self->{later}}, $m;
    }
}


# What the server says.

sub next {
    my ($self, $timeout) = @_;

    return shift @{$self->{later}} if @{$self->{later}};
    return $self->_receive($timeout);
}


sub next_n {
    my ($self, $n, $timeout) = @_;

    my @m;

    while ($n--) {
        push @m, $self->next($timeout) // last;
    }

    return @m;
}


sub _receive {
    my ($self, $timeout) = @_;

    my $m = $self->message($timeout) // return undef;

    croak("server sent a $m->{type} message") unless $m->{type} eq 'text';

    return parse_json($m->{data});
}


# What is left when there was nothing to come: empty, or the first of it.

sub surplus {
    my ($self, $seconds) = @_;

    my $m = $self->next($seconds // 0.2);

    return $m ? $m->{text_} : '';
}


# The parser.

sub parse_json {
    my ($text) = @_;

    my $copy = $text;

    utf8::decode($copy) or croak("server sent text that is not UTF-8");

    pos($text) = 0;

    my $m = _object(\$text);

    $text =~ /\G[ \t\r\n]*\z/ or _bad(\$text);

    $m->{text_} = $text;

    return $m;
}


sub _bad {
    my ($t) = @_;

    my $at = pos($$t) // 0;

    croak("server sent bad JSON at $at: "
        . (length $$t > 1000 ? substr($$t, $at > 100 ? $at - 100 : 0, 200)
                             : $$t));
}


# An object whose members are wanted; "data" is not looked into.

sub _object {
    my ($t) = @_;

    my %m;

    $$t =~ /\G[ \t\r\n]*\{[ \t\r\n]*/gc or _bad($t);

    return \%m if $$t =~ /\G\}/gc;

    do {
        $$t =~ /\G[ \t\r\n]*/gc;

        my $name = _unescaped(_string($t) // _bad($t));

        $$t =~ /\G[ \t\r\n]*:[ \t\r\n]*/gc or _bad($t);

        croak("server sent \"$name\" twice: $$t") if exists $m{$name};

        my $from = pos($$t);

        if ($name eq 'messages') {
            $m{$name} = _objects($t);

        } else {
            _value($t);
            my $raw = substr($$t, $from, pos($$t) - $from);

            $m{$name} = $name ne 'data' && $raw =~ /^"/ ? _unescaped($raw)
                                                       : $raw;
            $m{id_} = $raw if $name eq 'id';
        }

        $$t =~ /\G[ \t\r\n]*/gc;

    } while ($$t =~ /\G,/gc);

    $$t =~ /\G\}/gc or _bad($t);

    return \%m;
}


sub _objects {
    my ($t) = @_;

    my @list;

    $$t =~ /\G\[[ \t\r\n]*/gc or _bad($t);

    return \@list if $$t =~ /\G\]/gc;

    do {
        push @list, _object($t);
        $$t =~ /\G[ \t\r\n]*/gc;
    } while ($$t =~ /\G,/gc);

    $$t =~ /\G\]/gc or _bad($t);

    return \@list;
}


sub _value {
    my ($t) = @_;

    return if defined _string($t);
    return if $$t =~ /\G(?:true|false|null)/gc;
    return if $$t =~ /\G-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/gc;

    if ($$t =~ /\G\[[ \t\r\n]*/gc) {
        return if $$t =~ /\G\]/gc;

        do {
            $$t =~ /\G[ \t\r\n]*/gc;
            _value($t);
            $$t =~ /\G[ \t\r\n]*/gc;
        } while ($$t =~ /\G,/gc);

        $$t =~ /\G\]/gc or _bad($t);
        return;
    }

    $$t =~ /\G\{[ \t\r\n]*/gc or _bad($t);

    return if $$t =~ /\G\}/gc;

    do {
        $$t =~ /\G[ \t\r\n]*/gc;
        _string($t) // _bad($t);
        $$t =~ /\G[ \t\r\n]*:[ \t\r\n]*/gc or _bad($t);
        _value($t);
        $$t =~ /\G[ \t\r\n]*/gc;
    } while ($$t =~ /\G,/gc);

    $$t =~ /\G\}/gc or _bad($t);
}


# The raw slice of a string; undef if there is none.

sub _string {
    my ($t) = @_;

    my $from = pos($$t);

    $$t =~ /\G"/gc or return undef;

    while ($$t !~ /\G"/gc) {
        $$t =~ /\G[^"\\\x00-\x1f]+/gc
            || $$t =~ m!\G\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})!gc
            || _bad($t);
    }

    return substr($$t, $from, pos($$t) - $from);
}


sub _unescaped {
    my ($raw) = @_;

    my $s = substr($raw, 1, -1);

    $s =~ s{\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u(....)|(.))}{
        defined $4 ? $escape{$4} : _utf8(defined $3 ? hex($3)
            : 0x10000 + ((hex($1) - 0xd800) << 10) + hex($2) - 0xdc00)
    }gex;

    return $s;
}


sub _utf8 {
    my ($s) = chr($_[0]);

    utf8::encode($s);

    return $s;
}


# Checks.

sub is_next {
    my ($c, $expected, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $m = ref $c eq 'HASH' ? $c : eval { $c->next($opt{timeout}) };

    return _fail($name, $@) if $@;
    return _fail($name, "no message came: " . Test::WsBus::_state($c))
        unless defined $m;

    my @why = grep { defined } map { _differs($_, $m, $expected) }
        sort keys %{{ %$m, %$expected }};

    return _fail($name, @why,
        "it was " . (length $m->{text_} > 1000
            ? substr($m->{text_}, 0, 1000) . '...' : $m->{text_})) if @why;

    return Test::More::pass($name);
}


sub _differs {
    my ($member, $m, $expected) = @_;

    return undef if $member =~ /_\z/ && !exists $expected->{$member};

    my ($got, $want) = ($m->{$member}, $expected->{$member});

    return undef if !defined $got && !defined $want;
    return "no \"$member\"" if !defined $got;
    return "there is a \"$member\"" if !defined $want;

    if (ref $got) {
        # the messages of a history

        return @$got . " messages, not " . @$want if @$got != @$want;

        for my $i (0 .. $#$got) {
            my ($why) = grep { defined }
                map { _differs($_, $got->[$i], $want->[$i]) }
                sort keys %{{ %{$got->[$i]}, %{$want->[$i]} }};

            return "message $i: $why" if defined $why;
        }

        return undef;
    }

    return undef if ref $want ? $got =~ $want : $got eq $want;

    return "\"$member\" differs" if length $got > 1000;
    return "\"$member\" is $got, not $want";
}


sub is_error {
    my ($c, $code, $id, $name, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is_next($c, {
        type => 'error', code => $code, reason => $opt{reason} // qr/./,
        defined $id ? (id => $id) : ()
    }, $name, %opt);
}


# The load client.

sub load_start {
    my ($t, $path, %opt) = @_;

    my $program = $t->testdir() . '/json_load';
    my $source = dirname(__FILE__) . '/../../json_load.c';

    -x $program || system('cc', '-O2', '-Wall', '-Werror', '-o', $program,
                          $source) == 0
        or croak("the load client is not compiled");

    my @command = ($program, port => Test::WsBus::port(8080),
        seed => $ENV{WS_BUS_TEST_SEED} // int(time() * 1000) % 1_000_000,
        patience => Test::WsBus::scale(120), %opt, $path);

    Test::More::note("@command[1 .. $#command]");

    my $pid = fork() // croak("fork() failed: $!");

    return $pid if $pid;

    open(STDOUT, '>', "$program.out") or POSIX::_exit(1);
    exec(@command) or POSIX::_exit(1);
}


sub load_result {
    my ($t, $pid) = @_;

    waitpid($pid, 0);

    my $text = $t->read_file('json_load.out');

    return {
        faults => 'it died',
        $text =~ /^(\w+) (\d+)$/mg,
        said => join("\n", $text =~ /^(?:fault|died): (.*)$/mg),
    };
}


sub _fail {
    my ($name, @why) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::fail($name);
    Test::More::diag($_) for @why;

    return 0;
}


1;

__END__

=head1 NAME

Test::WsBus::Json - a client of the JSON subprotocol

=head1 SYNOPSIS

    use Test::WsBus;
    use Test::WsBus::Json;

    my $c = json('/j');

    is_next($c->ask('subscribe', channel => 'news'),
        { type => 'subscribed', channel => 'news', epoch => qr/^\w{16}$/,
          seq => 0, head => 0, oldest => 1 }, 'subscribed');

    $c->say('publish', id => 7, channel => 'news', data => \'{"n":1e400}');

    is_next($c, { type => 'published', id => 7, channel => 'news',
                  seq => 1, epoch => EPOCH }, 'published');
    is_next($c, { type => 'message', channel => 'news', seq => 1,
                  data => '{"n":1e400}' }, 'byte for byte');

    $c->text('nonsense');
    is_error($c, 'bad_request', undef, 'not JSON');

=head1 DESCRIPTION

=over

=item json(path, options)

An open WebSocket that speaks the subprotocol: a Test::WsBus::Client with what
is below.  Dies when it is refused, or when the server chooses otherwise.
Options as of C<ws()>.

=item say(type, member => value, ...)

Sends a request.  A value is a string, a number where the protocol has one
(id, seq, limit), or, by reference, JSON.

=item ask(type, member => value, ...), answer(id)

The same with an id, and the answer to it, from which the id is removed.  What
else comes before it is kept for next().

=item next([timeout]), next_n(n, [timeout])

The next message: a hash of its members, with strings unescaped, everything
else as it is in the message; "data" is never unescaped.  "messages" is a list
of such hashes.  C<text_> is the whole message, C<id_> the raw id.  undef, as
with message(), when there is none.  Dies when the message is not strict JSON,
or repeats a member.

=item surplus([seconds])

What comes, within a moment, when nothing should: '' if nothing does.

=item format_request(member => value, ...), parse_json(text)

=item is_next(client or message, { member => value or qr// }, name)

It has these members, and no others.

=item is_error(client or message, code, id or undef, name, reason => qr/.../)

=item load_start(test, path, option => value, ...), load_result(pid)

Compiles F<t/lib/json_load.c> if need be and starts it; the options are in
there.  The result, after its end, is a hash of what it counted; C<said> has
its faults.  WS_BUS_TEST_SEED makes it choose the same again.

=back

=cut
