// Copyright (C) the ngx_ws_bus_module authors

// The watchdog, and what a browser says about the network.

import assert from 'node:assert/strict';

import { client, listener, once, serve, shows, sleep, test, until }
    from './lib.mjs';


function probes(server) {
    return server.received.filter(({ type }) => type === 'unsubscribe').length;
}


// A browser's window and document, as far as the client looks at them.

async function browser(run) {
    const window = new EventTarget();
    const document = new EventTarget();

    document.hidden = false;
    globalThis.addEventListener = window.addEventListener.bind(window);
    globalThis.document = document;

    try {
        await run({
            window: type => window.dispatchEvent(new Event(type)),
            document: type => document.dispatchEvent(new Event(type)),
        });

    } finally {
        delete globalThis.addEventListener;
        delete globalThis.document;
    }
}


test('a silent connection is looked at, and stays', async () => {
    const server = await serve();
    const { bus, got } = await listener(server, { heartbeat: 15,
                                                  heartbeatTimeout: 5000 });

    await until(() => probes(server) >= 3);
    server.publish('c', 1);
    await shows(got, '1');
    assert.equal(bus.state, 'open');
    assert.equal(server.upgrades.length, 1);
});


test('a busy connection is not', async () => {
    for (let attempt = 1; ; attempt++) {
        const server = await serve();

        await listener(server, { heartbeat: 500 });

        const begin = performance.now();
        let last = begin;
        let slow = 0;

        while (last < begin + 800) {
            server.publish('c', 1);
            await sleep(5);
            slow = Math.max(slow, performance.now() - last);
            last = performance.now();
        }

        // a process that was kept waiting was silent

        if (slow < 200 || attempt === 10) {
            assert.equal(probes(server), 0);
            break;
        }
    }
});


test('a dead connection is replaced, and nothing is lost', async () => {
    const server = await serve();
    const { bus, got } = await listener(server, { heartbeat: 20,
                                                  heartbeatTimeout: 20 });
    const closed = once(bus, 'close');
    const published = bus.publish('c', 1);

    await published;
    server.mute = true;

    const late = bus.publish('c', 2);
    const { code, reason } = await closed;

    server.mute = false;
    assert.deepEqual([code, reason], [1006, 'no sign of life']);
    await late;
    await shows(got, '1', '2');
    await until(() => server.peers.size === 1);
});


test('online connects at once, and a connection is looked at', async () => {
    await browser(async fire => {
        const server = await serve();
        const { bus } = await listener(server, { minDelay: 1e6,
                                                 maxDelay: 1e6 });

        server.drop();
        await until(() => bus.state === 'waiting');
        fire.window('online');
        await until(() => bus.state === 'open');
        assert.equal(server.upgrades.length, 2);

        fire.window('online');
        await until(() => probes(server) === 1);
    });
});


test('online starts the backoff over', async t => {
    await browser(async fire => {
        const server = await serve({ refuse: Infinity });
        const bus = client(server, { fallback: false, minDelay: 1,
                                     maxDelay: 1e6 });
        const delays = [];

        t.mock.method(Math, 'random', () => 1);
        bus.on('close', ({ delay }) => {
            if (delays.push(delay) === 6) {
                fire.window('online');
            }
        });

        await until(() => delays.length >= 8);
        assert.deepEqual(delays.slice(0, 8), [1, 2, 4, 8, 16, 32, 1, 2]);
    });
});


test('offline waits for online', async () => {
    await browser(async fire => {
        const server = await serve();
        const { bus, got } = await listener(server, { maxDelay: 1e6 });

        server.refuse = Infinity;
        server.drop();
        await until(() => server.upgrades.length > 1);
        await until(() => bus.state === 'waiting');
        fire.window('offline');
        server.refuse = 0;

        const { length } = server.upgrades;

        await sleep(100);
        assert.equal(server.upgrades.length, length);
        assert.equal(bus.state, 'waiting');
        server.publish('c', 1);
        fire.window('online');
        await shows(got, '1');

        // what breaks while offline waits as well; what does not break stays

        fire.window('offline');
        await until(() => probes(server) === 1);
        await sleep(20);
        assert.equal(bus.state, 'open');

        const closed = once(bus, 'close');

        server.drop();
        assert.equal((await closed).delay, 1e6);
        fire.window('online');
        await until(() => bus.state === 'open');
    });
});


test('a page that is shown again', async () => {
    await browser(async fire => {
        const server = await serve();
        const { bus } = await listener(server, { minDelay: 1e6,
                                                 maxDelay: 1e6 });

        server.drop();
        await until(() => bus.state === 'waiting');
        globalThis.document.hidden = true;
        fire.document('visibilitychange');
        await sleep(20);
        assert.equal(bus.state, 'waiting');
        globalThis.document.hidden = false;
        fire.document('visibilitychange');
        await until(() => bus.state === 'open');
        fire.document('visibilitychange');
        await until(() => probes(server) === 1);
    });
});


test('a closed client listens no more', async () => {
    await browser(async fire => {
        const server = await serve();
        const bus = client(server);

        await bus.publish('c', 1);
        bus.close();
        fire.window('offline');
        fire.window('online');
        fire.document('visibilitychange');
        await sleep(30);
        assert.equal(bus.state, 'closed');
        assert.equal(server.upgrades.length, 1);
    });
});


test('reconnect() does not wait', async () => {
    const server = await serve();
    const { bus } = await listener(server, { minDelay: 1e6, maxDelay: 1e6 });

    bus.reconnect();
    await until(() => probes(server) === 1);
    server.drop();
    await until(() => bus.state === 'waiting');
    bus.reconnect();
    bus.reconnect();
    await until(() => bus.state === 'open');
    assert.equal(server.upgrades.length, 2);
});
