# Copyright (C) the ngx_ws_bus_module authors

"""What a publisher or reader needs to know of the layout in Redis, as
docs/redis.md has it.  Python's own library only."""

import hashlib
import os
import socket
import time

HERE = os.path.dirname(os.path.abspath(__file__))

BINARY, JSON, STRING, SEQ, PREV, DELETED = 1, 2, 4, 8, 16, 32


class RedisError(Exception):
    pass


class Redis:
    """One connection, commands one at a time."""

    def __init__(self, host='127.0.0.1', port=6379):
        self.sock = socket.create_connection((host, port))
        self.file = self.sock.makefile('rb')

    def send(self, *args):
        args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.sock.sendall(b'*%d\r\n' % len(args) + b''.join(
            b'$%d\r\n%s\r\n' % (len(a), a) for a in args))

    def reply(self):
        line = self.file.readline()

        if not line.endswith(b'\r\n'):
            raise RedisError('connection closed')

        kind, rest = line[:1], line[1:-2]

        if kind == b'-':
            raise RedisError(rest.decode())

        if kind == b'+':
            return rest

        n = int(rest)

        if kind == b':':
            return n

        if n < 0:
            return None

        if kind == b'$':
            return self.file.read(n + 2)[:-2]

        return [self.reply() for _ in range(n)]

    def command(self, *args):
        self.send(*args)
        return self.reply()

    def script(self, name, keys, *args):
        with open(os.path.join(HERE, name + '.lua'), 'rb') as f:
            text = f.read()

        sha1 = hashlib.sha1(text).hexdigest()

        try:
            return self.command('EVALSHA', sha1, len(keys), *keys, *args)

        except RedisError as e:
            if not str(e).startswith('NOSCRIPT'):
                raise

        return self.command('EVAL', text, len(keys), *keys, *args)


def names(channel, prefix='ws_bus:'):
    """The pub/sub channel, meta and log."""

    name = '%s{%s}' % (prefix, channel)

    return name, name + ':meta', name + ':log'


def varint(n):
    out = bytearray()

    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7

    return bytes(out) + bytes([n])


def rest(payload, age=0):
    """What an envelope has behind its place; age in milliseconds."""

    return varint(int(time.time() * 1000)) + varint(age) + payload


def decode(data):
    """A published or kept value as a dict; ValueError if it is broken."""

    if data[:3] != b'\xffwb':
        try:
            data.decode()
            flags = 0
        except UnicodeDecodeError:
            flags = BINARY

        return {'flags': flags, 'seq': 0, 'payload': data}

    if len(data) < 5 or data[3] != 1 or data[4] > 63:
        raise ValueError('unknown envelope')

    pos = 5

    def raw():
        nonlocal pos
        pos += 8
        return data[pos - 8:pos].hex()

    def number():
        nonlocal pos
        n = shift = 0

        while True:
            if pos == len(data) or shift > 63:
                raise ValueError('broken envelope')

            byte = data[pos]
            n |= (byte & 127) << shift
            shift += 7
            pos += 1

            if byte < 128:
                return n

    e = {'flags': data[4], 'seq': 0}

    if e['flags'] & SEQ:
        e['epoch'], e['seq'] = raw(), number()

    if e['flags'] & PREV:
        e['prev'], e['base'] = raw(), number()

    e['time'], e['age'] = number(), number()
    e['payload'] = data[pos:]

    return e


def publish(redis, channel, payload, flags=0, count=100, age=86400000,
            key=None, prefix='ws_bus:'):
    """Publishes with history; a "key" makes a repetition harmless.  Returns
    (seq, epoch)."""

    keys = names(channel, prefix)
    once = []

    if key is not None:
        digest = hashlib.sha256(key.encode()).hexdigest()
        keys += (keys[0] + ':once:' + digest,)
        once = [300000]

    settings = '%d:%d:%d::' % (count, age, age + 86400000)

    r = redis.script('publish', keys, 'PUBLISH', flags, rest(payload, age),
                     settings, os.urandom(8).hex(), *once)

    return r[1], r[2].decode()


def history(redis, channel, after, limit=100, prefix='ws_bus:'):
    """The position, and the messages after a seq (-1: the newest)."""

    epoch, seq, prev, base, first, entries, older = redis.script(
        'history', names(channel, prefix)[1:], after, limit, 1 << 20, '', '',
        0)

    # how many messages are the same as those of earlier epochs

    past = {prev.decode(): base} if prev else {}
    past.update((e.decode(), n) for e, n in zip(older[::2], older[1::2]))

    return {'epoch': epoch.decode(), 'seq': seq, 'past': past, 'first': first,
            'messages': [decode(e) for e in entries]}
