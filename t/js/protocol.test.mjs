// Copyright (C) the ngx_ws_bus_module authors

// Messages of the subprotocol, one by one.

import assert from 'node:assert/strict';

import { BusError, connect } from '../../contrib/js/index.js';
import { client, listener, once, record, rejects, serve, shows, sleep, test,
    until, WebSocket } from './lib.mjs';


test('subscribes and receives', async () => {
    const server = await serve();

    server.publish('c', 'before');

    const { bus, sub, got } = await listener(server);

    server.publish('c', 'one');
    server.publish('other', 'no');
    server.publish('c', 'two');

    await shows(got, 'one', 'two');
    assert.equal(sub.seq, 3);
    assert.equal(sub.epoch, server.channel('c').epoch);
    assert.equal(sub.live, true);
    assert.equal(bus.state, 'open');
    assert.equal(bus.transport, 'websocket');

    const { id, ...subscribe } = server.received[0];

    assert.ok(Number.isInteger(id));
    assert.deepEqual(subscribe, { type: 'subscribe', channel: 'c' });
});


test('a channel has one subscription', async () => {
    const server = await serve();
    const { bus, sub } = await listener(server);

    assert.equal(bus.subscribe('c'), sub);
    await bus.subscribe('d').ready;
    assert.equal(server.received.length, 2);
});


test('tells what is known of the channel', async () => {
    const server = await serve({ keep: 2 });

    for (const data of [1, 2, 3]) {
        server.publish('c', data);
    }

    const bus = client(server);
    const sub = bus.subscribe('c');

    assert.deepEqual(await once(sub, 'subscribed'), {
        channel: 'c', epoch: server.channel('c').epoch, seq: 3, head: 3,
        oldest: 2, recovered: undefined,
    });
});


test('publishes', async () => {
    const server = await serve();
    const bus = client(server);

    const first = await bus.publish('c', { a: [1, null, 'ü'] });

    assert.deepEqual(first, { channel: 'c', seq: 1,
                              epoch: server.channel('c').epoch });

    const second = await bus.publish('c', 'x', { key: 'k' });
    const again = await bus.publish('c', 'x', { key: 'k' });

    assert.equal(second.seq, 2);
    assert.deepEqual(again, second);

    const keys = server.received.map(message => message.key);

    assert.equal(keys[1], 'k');
    assert.match(keys[0], /^[\w-]{20,255}$/);
});


test('payloads arrive as what they are', async () => {
    const server = await serve();
    const bus = client(server);
    const sub = bus.subscribe('c');
    const bytes = Uint8Array.from({ length: 70000 }, (_, i) => i * 7);
    const got = [];

    sub.on('message', message => got.push(message));
    await sub.ready;

    const sent = [
        [null, 'json'],
        [0, 'json'],
        ['text', 'json'],
        [{ deep: [{ er: '\u0000 🌍' }] }, 'json'],
        ['{"not": "parsed"}', 'text'],
        ['', 'text'],
        [bytes, 'binary'],
        [new Uint8Array(0), 'binary'],
    ];

    for (const [data, as] of sent) {
        bus.publish('c', data, { as });
    }

    bus.publish('c', bytes.buffer);
    bus.publish('c', new DataView(bytes.buffer, 1, 3));

    await until(() => got.length === sent.length + 2);

    sent.forEach(([data, kind], i) => {
        assert.deepEqual(got[i], { channel: 'c', kind, data, seq: i + 1,
                                   epoch: server.channel('c').epoch });
    });

    assert.deepEqual(got.at(-2).data, bytes);
    assert.deepEqual(got.at(-1).data, bytes.subarray(1, 4));
    assert.ok(got.at(-1).data instanceof Uint8Array);

    assert.equal(server.received.at(-1).base64, 'Bw4V');
    assert.equal(server.received[5].text, '{"not": "parsed"}');
});


test('what is no payload is refused at once', async () => {
    const bus = client(await serve());
    const circle = {};

    circle.circle = circle;

    for (const [data, as] of [[undefined], [() => 1], [Symbol('x')], [1n],
                              [circle], [1, 'text'], ['x', 'binary'],
                              [new Uint8Array(1), 'text'],
                              [new Uint8Array(1), 'json'], [1, 'what']])
    {
        await assert.rejects(bus.publish('c', data, { as }), TypeError);
    }
});


test('errors reject', async () => {
    const server = await serve({ forbidden: new Set(['secret']) });
    const bus = client(server);

    await rejects(bus.publish('secret', 1), 'forbidden');

    const sub = bus.subscribe('secret');
    const got = record(sub);

    await rejects(sub.ready, 'forbidden');
    assert.deepEqual(got, ['error forbidden', 'unsubscribed']);
    assert.equal(sub.ended, true);

    // it is not the last word

    const again = bus.subscribe('secret');
    let last;

    again.on('error', () => {
        server.forbidden.clear();
        last = bus.subscribe('secret');
    });

    await rejects(again.ready, 'forbidden');
    assert.notEqual(last, again);
    await last.ready;
});


test('an error without id is an event', async () => {
    const server = await serve();
    const { bus } = await listener(server);
    const error = once(bus, 'error');

    server.peer.error(undefined, 'limit', 'slower');

    assert.ok(await error instanceof BusError);
    assert.equal((await error).code, 'limit');
    assert.equal((await error).message, 'limit: slower');
    assert.equal(bus.state, 'open');
});


test('what has passed is asked for again', async () => {
    let times = 3;
    const server = await serve({
        intercept(peer, { type, id }) {
            if (type === 'subscribe' && times-- > 0) {
                peer.error(id, 'unavailable');
                return true;
            }

            return false;
        },
    });

    const { got } = await listener(server);

    assert.deepEqual(got, Array(3).fill('error unavailable'));
});


test('history', async () => {
    const server = await serve();
    const { bus, sub } = await listener(server);

    for (let i = 1; i <= 5; i++) {
        server.publish('c', i);
    }

    server.channel('c').publish({ base64: 'AQI=' });

    const { messages, ...rest } = await bus.history('c', { seq: 2, limit: 2 });
    const { epoch } = server.channel('c');

    assert.deepEqual(rest, { channel: 'c', epoch, more: true });
    assert.deepEqual(messages, [
        { channel: 'c', epoch, seq: 3, kind: 'json', data: 3 },
        { channel: 'c', epoch, seq: 4, kind: 'json', data: 4 },
    ]);

    const all = await sub.history();

    assert.equal(all.more, false);
    assert.equal(all.messages.length, 6);
    assert.deepEqual(all.messages[5].data, Uint8Array.of(1, 2));

    server.keep = 0;
    await rejects(bus.history('none'), 'not_available');
});


test('presence, joined and left', async () => {
    const server = await serve();
    const { bus, sub } = await listener(server);
    const joined = once(sub, 'joined');
    const left = once(sub, 'left');

    server.peer.send({ type: 'joined', channel: 'c', member: 'bob' });
    server.peer.send({ type: 'left', channel: 'c', member: 'bob' });

    assert.deepEqual(await joined, { channel: 'c', member: 'bob' });
    assert.deepEqual(await left, { channel: 'c', member: 'bob' });
    assert.deepEqual(await bus.presence('c'),
                     { channel: 'c', count: 1, members: ['alice'] });
    assert.deepEqual(await sub.presence(), await bus.presence('c'));
});


test('acknowledgements', async () => {
    const server = await serve();
    const { bus, sub } = await listener(server, { consumer: 'a b' });

    assert.equal(server.peer.consumer, 'a b');
    sub.on('message', message => sub.ack(message));
    server.publish('c', 1);
    server.publish('c', 2);
    await until(() => server.received.length === 3);

    assert.deepEqual(server.received.slice(1), [
        { type: 'ack', channel: 'c', seq: 1 },
        { type: 'ack', channel: 'c', seq: 2 },
    ]);

    // what could not be sent is sent later

    server.drop();
    await until(() => !sub.live);
    bus.ack('c', 7);
    await until(() => server.acks.get('a b c') === 7);
    bus.ack('unknown', 1);

    // unless it is about another epoch

    server.drop();
    server.channel('c').forget();
    await bus.publish('d', 1);
    await bus.publish('d', 2);
    assert.equal(server.received.filter(({ type }) => type === 'ack').length,
                 3);

    const { sub: nameless } = await listener(server);

    assert.throws(() => nameless.ack({ seq: 1 }), { code: 'not_available' });
});


test('goes on from what was acknowledged', async () => {
    const server = await serve({ keep: 3 });

    for (let i = 1; i <= 5; i++) {
        server.publish('c', i);
    }

    server.acks.set('me c', 3);

    const { got } = await listener(server, { consumer: 'me' },
                                   { from: 'ack' });

    await shows(got, '4', '5');

    // from then on it knows better

    server.drop();
    server.publish('c', 6);
    await shows(got, '4', '5', '6');

    // nothing acknowledged, or too long ago: all that there is

    const { got: more } = await listener(server, { consumer: 'other' },
                                         { from: 'ack' });

    await shows(more, 'reset', '4', '5', '6');
});


test('unsubscribes', async () => {
    const server = await serve();
    const { bus, sub, got } = await listener(server);

    await sub.unsubscribe();
    server.publish('c', 'unheard');
    assert.equal(server.channel('c').listeners.size, 0);
    assert.equal(sub.ended, true);
    assert.equal(sub.live, false);
    assert.deepEqual(got, ['unsubscribed']);

    await sub.unsubscribe();            // once more does nothing
    assert.equal(server.received.length, 2);

    const next = bus.subscribe('c');

    assert.notEqual(next, sub);
    await next.ready;

    // before the answer is there

    bus.subscribe('d').unsubscribe();
    await bus.publish('c', 1);
    assert.equal(server.channel('d').listeners.size, 0);
});


test('the server ends a subscription', async () => {
    const server = await serve();
    const { bus, sub, got } = await listener(server);

    server.peer.leave('c');
    server.peer.send({ type: 'unsubscribed', channel: 'c', reason: 'moved' });

    await shows(got, 'error unsubscribed', 'unsubscribed');
    assert.equal(sub.ended, true);
    assert.equal(bus.state, 'open');
});


test('the channel of the location', async () => {
    const server = await serve();
    const bus = client(server.url + '/own');
    const sub = bus.subscribe();
    const got = record(sub);

    await sub.publish('one');
    assert.equal(sub.channel, 'own');
    assert.equal(bus.subscribe(), sub);
    assert.equal(bus.subscribe('own'), sub);

    await bus.publish('own', 'two');
    await shows(got, 'one', 'two');
    assert.equal(server.received.filter(
        ({ type }) => type === 'subscribe').length, 0);

    // goes on where it was

    server.drop();
    server.publish('own', 'three');
    await shows(got, 'one', 'two', 'three');

    const { searchParams } = new URL(server.upgrades[1].url, 'http://x');

    assert.deepEqual(Object.fromEntries(searchParams),
                     { last_seq: '2', epoch: server.channel('own').epoch });
});


test('the channel of the location, where the query is not looked at',
     async () => {
    const server = await serve({ plainGreeting: true });
    const bus = client(server.url + '/own');
    const sub = bus.subscribe();
    const got = record(sub);

    await sub.ready;
    server.drop();
    server.publish('own', 'one');
    await shows(got, 'one');
});


test('the channel of the location, by its name or later', async () => {
    const server = await serve();
    const bus = client(server.url + '/own');
    const named = bus.subscribe('own');
    const got = record(named);

    await named.ready;
    server.publish('own', 'one');
    await shows(got, 'one');

    // declined, also by the next connection

    await named.unsubscribe();
    assert.equal(server.channel('own').listeners.size, 0);
    server.drop();
    await bus.publish('x', 1);
    await until(() => server.channel('own').listeners.size === 0);

    const again = bus.subscribe('own');
    const more = record(again);

    await again.ready;
    server.publish('own', 'two');
    await shows(more, 'two');
    assert.deepEqual(got, ['one', 'unsubscribed']);

    // both

    const both = client(server.url + '/own');

    both.subscribe('own');
    await rejects(both.subscribe().ready, 'already_subscribed');
    await both.subscribe('own').ready;
    assert.equal(both.subscribe(), both.subscribe('own'));

    // when nobody has asked for it yet

    const late = client(server.url + '/own');

    await once(late, 'open');
    server.publish('own', 'nobody');
    await late.publish('x', 1);

    const sub = late.subscribe('own');
    const rest = record(sub);

    await sub.ready;
    server.publish('own', 'three');
    await shows(rest, 'three');
});


test('a location without a channel says so', async () => {
    const bus = client(await serve());
    const sub = bus.subscribe();

    await rejects(sub.ready, 'not_available');
    await bus.subscribe('c').ready;
    await rejects(bus.subscribe().ready, 'not_available');
});


test('iterates', async () => {
    const server = await serve();
    const { sub } = await listener(server);
    const got = [];

    const all = (async () => {
        for await (const { data } of sub) {
            got.push(data);
        }
    })();

    const two = (async () => {
        const some = [];

        for await (const { data } of sub) {
            some.push(data);

            if (some.length === 2) {
                break;
            }
        }

        return some;
    })();

    for (let i = 1; i <= 5; i++) {
        server.publish('c', i);
    }

    assert.deepEqual(await two, [1, 2]);
    await until(() => got.length === 5);
    await sub.unsubscribe();
    await all;
    assert.deepEqual(got, [1, 2, 3, 4, 5]);

    for await (const message of sub) {
        assert.fail(message);
    }
});


test('an iterator that does not keep up is told', async () => {
    const server = await serve();
    const { sub } = await listener(server);
    const iterator = sub[Symbol.asyncIterator]();
    const first = iterator.next();
    let received = 0;

    sub.on('message', () => received++);

    for (let i = 0; i <= 10001; i++) {
        server.publish('c', i);
    }

    await until(() => received === 10002);

    let n = 1;

    assert.equal((await first).value.data, 0);
    await rejects((async () => {
        for (;;) {
            assert.equal((await iterator.next()).value.data, n++);
        }
    })(), 'overflow');
    assert.ok(n >= 10000 && n <= 10002, `${n} came before`);
});


test('what a listener throws harms nobody', async () => {
    const server = await serve();
    const { sub, got } = await listener(server);
    const thrown = [];
    const handlers = process.listeners('uncaughtException');

    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', error => thrown.push(error.message));

    sub.on('message', () => { throw new Error('mine'); });

    const last = [];
    const off = sub.on('message', ({ data }) => last.push(data));

    server.publish('c', 'one');
    server.publish('c', 'two');
    await shows(got, 'one', 'two');
    await until(() => last.length === 2);

    off();
    server.publish('c', 'three');
    await shows(got, 'one', 'two', 'three');
    await until(() => thrown.length === 3);

    process.removeAllListeners('uncaughtException');
    handlers.forEach(
        handler => process.on('uncaughtException', handler));

    assert.deepEqual(thrown, ['mine', 'mine', 'mine']);
    assert.deepEqual(last, ['one', 'two']);
});


test('what is unknown is ignored', async () => {
    const server = await serve();
    const { bus, got } = await listener(server);

    server.peer.send({ type: 'message', channel: 'strange', data: 1 });
    server.peer.send({ type: 'gap', channel: 'strange', from: 1, to: 2 });
    server.peer.send({ type: 'published', id: 12345, channel: 'c', seq: 1 });
    server.peer.send({ type: 'error', id: 12345, code: 'bad_request' });
    server.peer.send({ type: 'novelty', channel: 'c' });
    server.publish('c', 'fine');

    await shows(got, 'fine');
    assert.equal(bus.state, 'open');
});


test('a request without an answer', async () => {
    const server = await serve({
        intercept: (peer, { type }) =>
            ['presence', 'publish'].includes(type),
    });
    const { bus } = await listener(server, { requestTimeout: 30 });

    await rejects(bus.presence('c'), 'timeout');
    await rejects(bus.publish('c', 1, { timeout: 30 }), 'timeout');
    assert.equal(bus.state, 'open');
});


test('closes', async () => {
    const server = await serve({ intercept: (peer, { type }) =>
        type === 'publish' });
    const { bus, sub, got } = await listener(server);
    const { peer } = server;
    const closed = once(bus, 'close');
    const published = bus.publish('c', 1);
    const iterated = (async () => {
        for await (const message of sub) {
            assert.fail(message);
        }
    })();

    await until(() => server.received.length === 2);
    bus.close();
    bus.close();

    await rejects(published, 'closed');
    await rejects(bus.publish('c', 1), 'closed');
    await rejects(bus.history('c'), 'closed');
    await iterated;
    assert.throws(() => bus.subscribe('d'), { code: 'closed' });
    assert.deepEqual(await closed, { code: 1000, delay: null,
                                     reason: 'closed by the application' });
    assert.deepEqual(got, ['unsubscribed']);
    assert.equal(bus.state, 'closed');
    assert.equal(bus.transport, null);

    await peer.closed;
    assert.equal(peer.closeCode, 1000);
    await sleep(50);
    assert.equal(server.upgrades.length, 1);
});


test('closes before it has connected', async () => {
    const server = await serve();
    const bus = client(server);

    bus.close();
    await sleep(30);
    assert.equal(server.upgrades.length, 0);
});


test('addresses', async () => {
    const server = await serve();
    const http = server.url.replace('ws:', 'http:');

    await client(http + '#fragment').subscribe('c').ready;
    await client(new URL(http)).subscribe('c').ready;

    assert.throws(() => client('/relative'), TypeError);
    assert.throws(() => connect(server.url, { WebSocket: null,
                                              fallback: false }), TypeError);
    assert.ok(WebSocket);
});
