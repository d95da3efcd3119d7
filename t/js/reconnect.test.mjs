// Copyright (C) the ngx_ws_bus_module authors

// What happens when connections end: nothing is lost silently, nothing comes
// twice, nothing goes round in circles.

import assert from 'node:assert/strict';

import { client, listener, once, record, rejects, serve, shows, sleep, test,
    until } from './lib.mjs';


// How many times the client has subscribed to "c".

function subscribed(server) {
    return server.received.filter(({ type }) => type === 'subscribe').length;
}


test('goes on where it was', async () => {
    const server = await serve();
    const { bus, sub, got } = await listener(server);
    const { epoch } = server.channel('c');
    const closes = [];

    bus.on('close', close => closes.push(close));
    server.publish('c', 1);
    await shows(got, '1');

    const again = once(sub, 'subscribed');

    server.drop();
    server.publish('c', 2);
    server.publish('c', 3);
    await shows(got, '1', '2', '3');

    assert.equal((await again).recovered, true);
    assert.equal(closes.length, 1);
    assert.equal(closes[0].code, 1006);

    const { id, ...message } = server.received.at(-1);

    assert.ok(id);
    assert.deepEqual(message, { type: 'subscribe', channel: 'c', epoch,
                                seq: 1 });
});


test('a server that restarts', async () => {
    const server = await serve();
    const { bus, got } = await listener(server);

    await server.stop();
    await until(() => bus.state === 'waiting');
    server.publish('c', 1);
    await sleep(50);
    await server.start();
    server.publish('c', 2);
    await shows(got, '1', '2');
});


test('nothing is lost or doubled under fire', async () => {
    const server = await serve({ keep: 10000 });
    const { bus, got } = await listener(server);
    const results = [];
    const expected = [];

    for (let i = 0; i < 300; i++) {
        results.push(bus.publish('c', i));
        expected.push(String(i));

        if (i % 10 === 9) {
            await sleep(2);
        }

        if (i % 30 === 29) {
            server.drop();
        }
    }

    await shows(got, ...expected);

    const seqs = (await Promise.all(results)).map(({ seq }) => seq);

    assert.deepEqual(seqs, expected.map(text => Number(text) + 1));
    assert.ok(server.upgrades.length > 2);
});


test('an unanswered publish is sent again, and published once', async () => {
    let answers = false;
    const server = await serve({
        intercept(peer, message) {
            if (message.type === 'publish' && !answers) {
                const { channel, key, data } = message;

                server.channel(channel).publish({ data }, key);
                answers = true;
                peer.socket.destroy();
                return true;
            }

            return false;
        },
    });
    const { bus, got } = await listener(server);
    const { seq } = await bus.publish('c', 'once');

    assert.equal(seq, 1);
    assert.equal(server.channel('c').seq, 1);
    await shows(got, 'once');

    const sent = server.received.filter(({ type }) => type === 'publish');

    assert.equal(sent.length, 2);
    assert.deepEqual(sent[0], sent[1]);
});


test('publishes wait for a connection, so many and in order', async () => {
    const server = await serve();
    const bus = client(server, { queue: 3 });
    const results = [1, 2, 3].map(data => bus.publish('c', data));

    await rejects(bus.publish('c', 4), 'queue_full');
    assert.deepEqual((await Promise.all(results)).map(({ seq }) => seq),
                     [1, 2, 3]);

    // the bound is for what waits

    await Promise.all([4, 5, 6, 7, 8].map(data => bus.publish('c', data)));

    await server.stop();
    await until(() => bus.state === 'waiting');

    const late = bus.publish('c', 9, { timeout: 20 });

    await rejects(late, 'timeout');

    const history = bus.history('c', { seq: 7 });

    await server.start();
    assert.deepEqual((await history).messages.map(({ data }) => data), [8]);
});


test('a key is not used for longer than it is remembered', async t => {
    const server = await serve({ intercept: (peer, { type }) =>
        type === 'publish' });
    const { bus } = await listener(server);
    const published = bus.publish('c', 1);
    const { now } = performance;

    await until(() => server.received.length === 2);
    t.mock.method(performance, 'now', () => now.call(performance) + 280000);
    server.drop();

    await rejects(published, 'timeout');
    assert.equal(server.received.filter(({ type }) => type === 'publish')
        .length, 1);
});


test('what is not recovered comes from the history, the rest is a gap',
     async () => {
    const server = await serve({ keep: 5 });
    const { sub, got } = await listener(server);

    server.publish('c', 1);
    await shows(got, '1');

    const again = once(sub, 'subscribed');

    server.drop();

    for (let i = 2; i <= 10; i++) {
        server.publish('c', i);
    }

    await shows(got, '1', 'gap 2-5', '6', '7', '8', '9', '10');
    assert.equal((await again).recovered, false);
    server.publish('c', 11);
    await shows(got, '1', 'gap 2-5', '6', '7', '8', '9', '10', '11');
    assert.equal(sub.seq, 11);
});


test('a history in pages, while messages come in', async () => {
    const server = await serve({ keep: 350 });
    const { got } = await listener(server);
    const expected = ['gap 1-51'];

    server.drop();

    for (let i = 1; i <= 400; i++) {
        server.publish('c', i);
        expected.push(String(i));
    }

    server.intercept = (peer, { type }) => {
        if (type === 'history') {
            peer.send({ type: 'gap', channel: 'c', count: 1 });
            server.publish('c', server.channel('c').seq + 1);
        }

        return false;
    };

    expected.splice(1, 51);

    // what came with the four pages

    for (let i = 401; i <= 404; i++) {
        expected.push('gap of 1', String(i));
    }

    await shows(got, ...expected);
});


test('a history that breaks off goes on', async () => {
    const server = await serve({ keep: 200 });
    const { got } = await listener(server);
    const expected = ['gap 1-100'];
    let pages = 0;

    server.drop();

    for (let i = 1; i <= 300; i++) {
        server.publish('c', i);
        expected.push(String(i));
    }

    server.intercept = (peer, { type }) => {
        if (type === 'history' && ++pages === 2) {
            server.drop();
            return true;
        }

        return false;
    };

    expected.splice(1, 100);
    await shows(got, ...expected);
});


test('a history that is refused is a gap', async () => {
    const server = await serve({ keep: 5 });
    const { got } = await listener(server);

    server.drop();

    for (let i = 1; i <= 10; i++) {
        server.publish('c', i);
    }

    server.intercept = (peer, { type, id }) => {
        if (type === 'history') {
            peer.error(id, 'not_available');
            return true;
        }

        return false;
    };

    await shows(got, 'gap 1-10');
    server.publish('c', 11);
    await shows(got, 'gap 1-10', '11');
});


test('a history of another epoch is none of ours', async () => {
    const server = await serve();
    const { got } = await listener(server);

    server.drop();

    for (let i = 1; i <= 3; i++) {
        server.publish('c', i);
    }

    server.channel('c').log.shift();
    server.intercept = (peer, { type }) => {
        if (type === 'history') {
            server.channel('c').forget();
            server.channel('c').log = [{ seq: 2, data: 'another' }];
        }

        return false;
    };

    await shows(got, 'gap 1-3');
});


test('who has enough gets no more', async () => {
    const server = await serve({ keep: 5 });
    const { bus, sub, got } = await listener(server);

    server.drop();

    for (let i = 1; i <= 10; i++) {
        server.publish('c', i);
    }

    sub.on('message', ({ data }) => data === 7 && sub.unsubscribe());
    await shows(got, 'gap 1-5', '6', '7', 'unsubscribed');
    await bus.publish('d', 1);
    await shows(got, 'gap 1-5', '6', '7', 'unsubscribed');
});


test('another epoch is a reset', async () => {
    const server = await serve();
    const { sub, got } = await listener(server);
    const { epoch } = server.channel('c');
    const reset = once(sub, 'reset');

    server.publish('c', 'old');
    await shows(got, 'old');
    server.drop();
    server.channel('c').forget();
    server.publish('c', 'new');
    server.publish('c', 'newer');

    await shows(got, 'old', 'reset', 'new', 'newer');
    assert.deepEqual(await reset, {
        channel: 'c', epoch: server.channel('c').epoch,
        previous: { epoch, seq: 1 },
    });

    // a store that has gone back counts as one

    server.drop();
    server.channel('c').seq = 1;
    server.channel('c').log.pop();
    await shows(got, 'old', 'reset', 'new', 'newer', 'reset', 'new');
});


test('without history a reconnect starts anew', async () => {
    const server = await serve({ keep: 0 });
    const { sub, got } = await listener(server);

    server.publish('c', 'one');
    await shows(got, 'one');
    assert.equal(sub.seq, undefined);

    const again = once(sub, 'subscribed');

    server.drop();
    await again;
    server.publish('c', 'two');
    await shows(got, 'one', 'two');
});


test('starts where it is told', async () => {
    const server = await serve({ keep: 5 });
    const bus = client(server);

    for (let i = 1; i <= 10; i++) {
        server.publish('c', i);
        server.publish('d', i);
        server.publish('e', i);
        server.publish('f', i);
    }

    server.publish('g', 1);

    const { epoch } = server.channel('c');

    const since = record(bus.subscribe('c', { since: { epoch, seq: 8 } }));
    const last = record(bus.subscribe('d', { last: 2 }));
    const more = record(bus.subscribe('e', { last: 7 }));
    const other = bus.subscribe('f', { resume: false });
    const live = record(other);
    const fresh = bus.subscribe('g', { resume: false, last: 1 });
    const newest = record(fresh);

    await shows(since, '9', '10');
    await shows(last, '9', '10');
    await shows(more, '6', '7', '8', '9', '10');

    await other.ready;
    server.publish('f', 11);
    await shows(live, '11');

    const again = once(other, 'subscribed');

    server.drop();
    server.publish('f', 12);
    await again;
    server.publish('f', 13);
    await shows(live, '11', '13');

    // "last" was for the beginning

    server.publish('d', 11);
    await shows(last, '9', '10', '11');
    await until(() => fresh.live);
    server.publish('g', 2);
    await shows(newest, '1', '2');
});


test('gaps on an open connection', async () => {
    const server = await serve();
    const { sub, got } = await listener(server);
    const send = (type, rest) =>
        server.peer.send({ type, channel: 'c', ...rest });
    const gap = once(sub, 'gap');

    send('message', { seq: 1, data: 1 });
    send('gap', { from: 2, to: 5 });
    send('message', { seq: 6, data: 6 });
    send('gap', { from: 4, to: 6 });            // known
    send('gap', { from: 5, to: 8 });            // half of it known
    send('message', { seq: 8, data: 8 });       // late
    send('message', { seq: 11, data: 11 });     // without a word
    send('message', { data: 'not kept' });
    send('gap', { count: 3 });

    await shows(got, '1', 'gap 2-5', '6', 'gap 7-8', 'gap 9-10', '11',
                'not kept', 'gap of 3');
    assert.equal(sub.seq, 11);
    assert.deepEqual(await gap, { channel: 'c', from: 2, to: 5, count: 4 });
});


test('backs off exponentially with full jitter', async t => {
    const server = await serve({ refuse: Infinity });
    const delays = [];
    const random = t.mock.method(Math, 'random', () => 0.5);
    const bus = client(server, { fallback: false, minDelay: 4, maxDelay: 50 });

    bus.on('close', ({ delay }) => {
        if (delays.push(delay) === 6) {
            random.mock.mockImplementation(() => 0.25);
        }
    });

    await until(() => delays.length >= 7);
    assert.deepEqual(delays.slice(0, 7), [2, 4, 8, 16, 25, 25, 12.5]);
});


test('only a stable connection starts the backoff over', async t => {
    const server = await serve();
    const bus = client(server, { stableAfter: 1e6, minDelay: 1 });
    const delays = [];

    t.mock.method(Math, 'random', () => 1);
    bus.on('close', ({ delay }) => delays.push(delay));

    for (let i = 1; i <= 4; i++) {
        await until(() => server.peers.size && bus.state === 'open');
        bus.options.stableAfter = i < 4 ? 1e6 : 100;
        server.drop();
        await until(() => delays.length === i);
    }

    await until(() => server.peers.size && bus.state === 'open');
    await sleep(300);
    server.drop();
    await until(() => delays.length === 5);
    assert.deepEqual(delays, [1, 2, 4, 8, 1]);
});


test('the first delay is up to a second', async t => {
    const server = await serve({ refuse: Infinity });
    const bus = client(server, { minDelay: undefined,
                                 maxDelay: undefined });

    t.mock.method(Math, 'random', () => 0.999);

    const { delay } = await once(bus, 'close');

    assert.equal(delay, 999);
});


for (const code of [1000, 1001, 1011, 1012, 1013, 4004]) {
    test(`after ${code} it comes back`, async () => {
        const server = await serve();
        const { bus, got } = await listener(server);
        const closed = once(bus, 'close');

        server.peer.close(code, 'because');
        server.publish('c', 1);
        await shows(got, '1');

        const { delay, ...close } = await closed;

        assert.ok(delay >= 0);
        assert.deepEqual(close, { code, reason: 'because' });
        assert.equal(subscribed(server), 2);
    });
}


for (const [code, error] of [[1008, 'limit'], [4003, 'forbidden'],
                             [1007, 'bad_request']])
{
    test(`after ${code} what was sent is not sent again`, async () => {
        const server = await serve({
            intercept(peer, { type, channel }) {
                if (type === 'publish' && channel === 'bad') {
                    peer.close(code, 'no');
                }

                return type === 'publish' && channel === 'bad';
            },
        });
        const { bus, got } = await listener(server);

        await rejects(bus.publish('bad', 1), error);
        await bus.publish('c', 'fine');
        await shows(got, 'fine');
        assert.equal(server.upgrades.length, 2);
    });
}


test('after 1009 the largest is not sent again', async () => {
    const server = await serve({ maxSize: 1000 });
    const { bus, got } = await listener(server);
    const first = bus.publish('c', 'first');
    const large = bus.publish('c', 'x'.repeat(2000));
    const last = bus.publish('c', 'last');

    await rejects(large, 'too_big');
    await Promise.all([first, last]);
    await shows(got, 'first', 'last');
    assert.equal(server.upgrades.length, 2);
});


test('after 4010 it does not come back', async () => {
    const server = await serve({ intercept: (peer, { type }) =>
        type === 'publish' });
    const { bus, sub, got } = await listener(server);
    const error = once(bus, 'error');
    const closed = once(bus, 'close');
    const published = bus.publish('c', 1);

    await until(() => server.received.length === 2);
    server.peer.close(4010, 'go away');

    await rejects(published, 'kicked');
    assert.equal((await error).code, 'kicked');
    assert.deepEqual(await closed, { code: 4010, reason: 'go away',
                                     delay: null });
    assert.deepEqual(got, ['unsubscribed']);
    assert.equal(sub.ended, true);
    assert.equal(bus.state, 'closed');
    await sleep(60);
    assert.equal(server.upgrades.length, 1);
});


test('a handshake that hangs', async () => {
    const server = await serve({ hold: true });
    const bus = client(server, { connectTimeout: 300, fallback: false });
    const { code } = await once(bus, 'close');

    assert.equal(code, 1006);
    server.hold = false;
    await bus.publish('c', 1);
});


test('another protocol, and what is not JSON', async () => {
    const server = await serve({ protocol: 'other' });
    const bus = client(server, { fallback: false });

    await once(bus, 'close');
    server.protocol = 'ws-bus.v1.json';
    await bus.publish('c', 1);

    const closed = once(bus, 'close');

    server.peer.write(1, Buffer.from('{"type":'));
    assert.equal((await closed).code, 1002);
    await bus.publish('c', 1);
});
