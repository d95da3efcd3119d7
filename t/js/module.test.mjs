// Copyright (C) the ngx_ws_bus_module authors

// The client and the module itself: an nginx that t/js.t has started, at
// WS_BUS_TEST_URL, with the master process WS_BUS_TEST_MASTER.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test as run } from 'node:test';

import { client, once, record, rejects, shows, sleep, until } from './lib.mjs';


const base = process.env.WS_BUS_TEST_URL;
const master = Number(process.env.WS_BUS_TEST_MASTER);

const channels = ['talk', 'lobby', 'own', 'old', 'new', 'deleted', 'size',
                  'hang', 'fire', 'up'];


function test(name, body) {
    run(name, { skip: base ? false : 'no server', timeout: 60000 }, body);
}


before(async () => {
    for (const channel of base ? channels : []) {
        await remove(channel);
    }
});


// A kept-alive connection may be one of a worker that was killed.

async function request(path, options) {
    for (let attempt = 1; ; attempt++) {
        try {
            return await fetch(base + path, options);

        } catch (error) {
            if (attempt === 10) {
                throw error;
            }

            await sleep(20);
        }
    }
}


function remove(channel) {
    return request(`/pub/${channel}`, { method: 'DELETE' });
}


function post(channel, body, type = 'text/plain') {
    return request(`/pub/${channel}`, {
        method: 'POST', body,
        headers: { 'Content-Type': type, 'Idempotency-Key': randomUUID() },
    });
}


async function workers() {
    const status = await (await request('/status')).json();

    return status.zones.bus.workers;
}


// The workers that hold connections.

async function busy() {
    const all = await workers();

    return all.filter(({ connections }) => connections).map(({ pid }) => pid);
}


test('subscribes, publishes, receives', async () => {
    const bus = client(`${base}/ws`);
    const sub = bus.subscribe('talk');
    const messages = [];
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i);
    const key = `key ${process.pid}`;

    sub.on('message', message => messages.push(message));
    await sub.ready;

    const published = [
        await bus.publish('talk', { a: ['ü', null, 1.5] }),
        await bus.publish('talk', '{"a":1}', { as: 'text' }),
        await bus.publish('talk', bytes),
        await bus.publish('talk', 'once', { key }),
        await bus.publish('talk', 'twice', { key }),
    ];

    await post('talk', '{"by": "POST"}');
    await post('talk', 'no JSON');
    await until(() => messages.length === 6);

    const { epoch } = sub;

    assert.match(epoch, /^[0-9a-f]{16}$/);
    assert.deepEqual(published.map(({ seq }) => seq), [1, 2, 3, 4, 4]);
    assert.deepEqual(messages, [
        { kind: 'json', data: { a: ['ü', null, 1.5] } },
        { kind: 'text', data: '{"a":1}' },
        { kind: 'binary', data: bytes },
        { kind: 'json', data: 'once' },
        { kind: 'json', data: { by: 'POST' } },
        { kind: 'text', data: 'no JSON' },
    ].map((message, i) =>
        ({ channel: 'talk', epoch, seq: i + 1, ...message })));

    const { messages: kept, more } = await bus.history('talk', { seq: 4 });

    assert.deepEqual(kept, messages.slice(4));
    assert.equal(more, false);
    assert.equal((await bus.presence('talk')).count, 1);

    await sub.unsubscribe();
    await rejects(bus.history('unheard-of'), 'not_found');
    await rejects(bus.subscribe('forbidden/x').ready, 'forbidden');
    await rejects(bus.publish('forbidden/x', 1), 'forbidden');
    await rejects(bus.subscribe().ready, 'not_available');
    assert.equal(bus.state, 'open');
});


test('joined and left', async () => {
    const bus = client(`${base}/ws`);
    const sub = bus.subscribe('lobby');

    await sub.ready;

    const joined = once(sub, 'joined');
    const left = once(sub, 'left');
    const alice = client(`${base}/ws?name=alice`);

    await alice.subscribe('lobby').ready;
    assert.deepEqual(await joined, { channel: 'lobby', member: 'alice' });

    const { count, members } = await sub.presence();

    assert.equal(count, 2);
    assert.ok(members.includes('alice'));
    alice.close();
    assert.deepEqual(await left, { channel: 'lobby', member: 'alice' });
});


test('the channel of the location', async () => {
    const bus = client(`${base}/ws/own`);
    const sub = bus.subscribe();
    const got = record(sub);

    await sub.publish('one');
    await bus.publish('own', 'two');
    await shows(got, 'one', 'two');
    assert.equal(sub.channel, 'own');

    const closed = once(bus, 'close');

    for (const pid of await busy()) {
        process.kill(pid, 'SIGKILL');
    }

    await closed;
    await post('own', 'three');
    await shows(got, 'one', 'two', 'three');
});


test('starts with what is there', async () => {
    for (let i = 1; i <= 30; i++) {
        await post('old', String(i));
    }

    const bus = client(`${base}/ws?x=y`, { consumer: 'me' });
    const sub = bus.subscribe('old', { last: 3 });
    const got = record(sub);

    await shows(got, '28', '29', '30');
    sub.ack({ seq: 28 });
    await bus.history('old');
    bus.close();

    const next = client(`${base}/ws`, { consumer: 'me' });

    await shows(record(next.subscribe('old', { from: 'ack' })), '29', '30');

    // a location that gives three messages, to somebody who was away longer

    const few = client(`${base}/few`);
    const { epoch } = sub;

    await shows(record(few.subscribe('old', { since: { epoch, seq: 5 } })),
                'gap 6-27', '28', '29', '30');
    await shows(record(next.subscribe('new', { since: { epoch, seq: 5 } })),
                'reset');
});


test('another epoch', async () => {
    const bus = client(`${base}/ws`);
    const sub = bus.subscribe('deleted');
    const got = record(sub);

    await sub.ready;
    await post('deleted', 'old');
    await shows(got, 'old');

    const closed = once(bus, 'close');

    await remove('deleted');
    await post('deleted', 'new');
    assert.equal((await closed).code, 4004);
    await shows(got, 'old', 'reset', 'new');
});


test('too large', async () => {
    const bus = client(`${base}/ws`);
    const small = bus.publish('size', 'small');

    await rejects(bus.publish('size', 'x'.repeat(70000)), 'too_big');
    await small;
    assert.equal((await bus.publish('size', 1)).seq, 2);
});


test('a worker that hangs', async () => {
    const bus = client(`${base}/ws`, { heartbeat: 50, heartbeatTimeout: 1000,
                                       connectTimeout: 1000 });
    const sub = bus.subscribe('hang');
    const got = record(sub);

    await sub.ready;
    await sleep(120);                   // probes, and answers

    const closed = once(bus, 'close');
    const [pid] = await busy();

    process.kill(pid, 'SIGSTOP');

    try {
        assert.equal((await closed).reason, 'no sign of life');

    } finally {
        process.kill(pid, 'SIGCONT');
    }

    await bus.publish('hang', 1);
    await shows(got, '1');
});


// Publishes and listens while the server has a hard time.

async function underFire(listening, publishing, trouble) {
    const clients = [listening, ...publishing];
    const sub = listening.subscribe(
        listening.options.fallback === false ? 'fire' : undefined);
    const got = record(sub);
    const results = [];

    await sub.ready;

    for (let i = 0; i < 400; i++) {
        const bus = publishing[i % publishing.length];

        results.push(bus.publish('fire', `${i % publishing.length}/${i}`));

        if (i % 20 === 19) {
            await sleep(5);
        }

        if (i % 100 === 50) {
            await trouble();
        }
    }

    const seqs = (await Promise.all(results)).map(({ seq }) => seq);

    await until(() => got.length >= 400);
    assert.equal(got.length, 400);
    assert.equal(new Set(seqs).size, 400);

    // everybody's messages in his own order

    publishing.forEach((bus, n) => {
        const mine = got.filter(text => text.startsWith(`${n}/`));
        const sent = results.map((_, i) => i)
            .filter(i => i % publishing.length === n).map(i => `${n}/${i}`);

        assert.equal(mine.join(), sent.join());
    });

    clients.forEach(bus => bus.close());
}


for (const [name, transport] of [['ws', 'websocket'], ['sse', 'sse']]) {
    test(`nothing is lost or doubled, ${transport}`, async () => {
        await remove('fire');

        let reconnects = 0;
        let reload = false;
        const listening = client(
            name === 'ws' ? `${base}/ws` : `${base}/sse/fire`,
            name === 'ws' ? { fallback: false } : {});
        const publishing = [client(`${base}/ws`), client(`${base}/ws`)];

        for (const bus of [listening, ...publishing]) {
            bus.on('close', ({ delay }) => { reconnects += delay !== null; });
        }

        await underFire(listening, publishing, async () => {
            assert.ok(listening.transport === transport
                      || listening.state !== 'open');

            if ((reload = !reload)) {
                process.kill(master, 'SIGHUP');

            } else {
                for (const pid of await busy()) {
                    try {
                        process.kill(pid, 'SIGKILL');

                    } catch (e) {
                        // a worker of before the reload may have left since
                        if (e.code !== 'ESRCH') {
                            throw e;
                        }
                    }
                }
            }
        });

        assert.ok(reconnects >= 3, `${reconnects} reconnects`);
    });
}


test('a stream, and then a WebSocket', async () => {
    const bus = client(`${base}/sse/up`, { retryWebSocket: 30 });
    const sub = bus.subscribe();
    const got = record(sub);

    await sub.ready;
    assert.equal(bus.transport, 'sse');
    await post('up', '"one"');
    await post('up', new Uint8Array([65, 66]), 'application/octet-stream');
    await shows(got, 'one', '65,66');

    // that location refuses WebSockets; the other one has the same channel

    const other = client(`${base}/ws/up`);

    await other.publish('up', 'two');
    await shows(got, 'one', '65,66', 'two');
    assert.equal(sub.seq, 3);
    assert.equal(bus.transport, 'sse');
});
