// Copyright (C) the ngx_ws_bus_module authors

// Tokens of the module itself: an nginx that t/js.t has started, at
// WS_BUS_TEST_URL, which verifies by the secret WS_BUS_TEST_SECRET.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test as run } from 'node:test';

import { client, once, record, rejects, shows, sleep, until }
    from './lib.mjs';


const base = process.env.WS_BUS_TEST_URL;
const secret = process.env.WS_BUS_TEST_SECRET ?? '';


function test(name, body) {
    run(name, { skip: base ? false : 'no server', timeout: 60000 }, body);
}


function token(seconds, claims) {
    const part = value =>
        Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'HS256' })}.${part({
        sub: 'alice', exp: Math.floor(Date.now() / 1000) + seconds, ...claims,
    })}`;

    return `${text}.${createHmac('sha256', Buffer.from(secret, 'base64url'))
        .update(text).digest('base64url')}`;
}


// A client, and all that happens to its connection.

function watched(path, options) {
    const bus = client(base + path, options);
    const seen = [];

    bus.on('open', ({ transport }) => seen.push(transport));
    bus.on('close', ({ code, reason }) => seen.push(`${code} ${reason}`));
    bus.on('error', ({ code, reason }) => seen.push(`${code}: ${reason}`));

    return { bus, seen };
}


test('in the handshake', async () => {
    const { bus, seen } = watched('/token', { token: token(60) });
    const sub = bus.subscribe('auth1');
    const got = record(sub);

    await sub.ready;
    await bus.publish('auth1', 1);
    await shows(got, '1');
    assert.deepEqual(seen, ['websocket']);
});


test('in the first message', async () => {
    const { bus, seen } = watched('/token/own1', {
        token: token(60), auth: 'message',
    });
    const sub = bus.subscribe();
    const got = record(sub);

    await sub.ready;
    assert.equal(sub.channel, 'own1');
    await bus.publish('own1', 1);
    await shows(got, '1');
    assert.deepEqual(seen, ['websocket']);
});


for (const auth of ['protocol', 'message']) {

    test(`refreshed, by ${auth}`, async () => {
        const asked = [];
        const { bus, seen } = watched('/token', {
            auth,
            token({ reason, expiresIn }) {
                asked.push(reason);
                assert.ok(reason === 'connect' || expiresIn <= 5);

                return token(asked.length < 3 ? 5 : 60);
            },
        });
        const sub = bus.subscribe(`refreshed-${auth}`);
        const got = record(sub);

        await sub.ready;
        await until(() => asked.length === 3);
        await sleep(5500);
        await bus.publish(sub.channel, 1);
        await shows(got, '1');
        assert.deepEqual(asked, ['connect', 'auth_required',
                                 'auth_required']);
        assert.deepEqual(seen, ['websocket']);
    });
}


test('of another subject: the old one counts until its end', async () => {
    let n = 0;
    const { bus, seen } = watched('/token', {
        minDelay: 100,      // a hundred refused ones would be too many
        maxDelay: 500,
        token: ({ reason }) => reason === 'connect' && ++n
            || reason === 'unauthorized' && (n = 10)
            ? token(n === 10 ? 60 : 5) : token(60, { sub: 'bob' }),
    });
    const sub = bus.subscribe('auth2');

    await sub.ready;
    await until(() => n === 10);
    await bus.publish('auth2', 1);
    assert.ok(seen.includes('unauthorized: the token is not valid'));
    assert.ok(seen.includes('4001 token expired'));
    assert.equal(seen.at(-1), 'websocket');
});


test('a bad one is the end', async () => {
    const { bus } = watched('/token', {
        auth: 'message', token: token(60) + 'x',
    });

    await rejects(bus.publish('auth3', 1), 'unauthorized');
    assert.equal(bus.state, 'closed');
});


test('grants', async () => {
    const { bus } = watched('/granted', {
        token: token(60, { g: { subscribe: ['a.*'], publish: ['a.b'] } }),
    });

    await bus.subscribe('a.c').ready;
    await rejects(bus.subscribe('b').ready, 'forbidden');
    await rejects(bus.publish('a.c', 1), 'forbidden');
    await bus.publish('a.b', 1);
});


test('an event stream', async () => {
    const { bus, seen } = watched('/token-sse/own2', {
        token: () => token(4), history: null,
    });
    const sub = bus.subscribe();

    await sub.ready;
    assert.equal(bus.transport, 'sse');
    await once(bus, 'close');
    await until(() => seen.filter(what => what === 'sse').length >= 2);
});
