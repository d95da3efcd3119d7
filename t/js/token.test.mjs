// Copyright (C) the ngx_ws_bus_module authors

// Tokens: at the handshake, in the first message, when they end.

import assert from 'node:assert/strict';

import { client, listener, once, rejects, serve, shows, sleep, test, until }
    from './lib.mjs';


function protocols(server) {
    return server.upgrades.map(
        ({ headers }) => headers['sec-websocket-protocol']);
}


test('a string, in the handshake', async () => {
    const server = await serve({ tokens: new Set(['a.b-c_d']) });

    await listener(server, { token: 'a.b-c_d' });
    assert.equal(protocols(server)[0].replace(/ /g, ''),
                 'ws-bus.v1.json,bearer.a.b-c_d');
    assert.equal(server.received[0].type, 'subscribe');
});


test('a function, asked at every connect', async () => {
    const server = await serve({ tokens: new Set(['t1', 't2']) });
    const reasons = [];
    const { got } = await listener(server, {
        async token({ reason }) {
            reasons.push(reason);
            await sleep(1);

            return `t${reasons.length}`;
        },
    });

    server.drop();
    server.publish('c', 1);
    await shows(got, '1');
    assert.deepEqual(reasons, ['connect', 'connect']);
    assert.match(protocols(server)[1], /bearer\.t2$/);
});


test('the first message', async () => {
    const server = await serve({ tokens: new Set(['t']), late: true });
    const bus = client(server.url + '/own', { token: 't', auth: 'message' });
    const published = bus.publish('own', 1);
    const sub = bus.subscribe();

    await sub.ready;
    await published;
    assert.equal(sub.channel, 'own');
    assert.deepEqual(protocols(server), ['ws-bus.v1.json']);
    assert.deepEqual(server.received[0], { type: 'auth', id: 0, token: 't' });
    assert.equal(server.received.filter(({ type }) => type === 'auth').length,
                 1);
});


test('a greeting before the token is accepted is kept', async () => {
    const server = await serve({
        intercept(peer, { type }) {
            if (type === 'auth') {
                peer.greet();
                peer.send({ type: 'auth_ok', id: 0 });
            }

            return type === 'auth';
        },
    });
    const bus = client(server.url + '/own', { token: 't', auth: 'message' });

    await bus.subscribe().ready;
});


test('auth_required asks the function and refreshes', async () => {
    const server = await serve();
    const asked = [];
    const { bus } = await listener(server, {
        token(request) {
            asked.push(request);

            return `t${asked.length}`;
        },
    });

    server.peer.send({ type: 'auth_required', expires_in: 120 });
    await until(() => server.received.length === 2);

    const { id, ...refresh } = server.received[1];

    assert.ok(id > 0);
    assert.deepEqual(refresh, { type: 'auth_refresh', token: 't2' });
    assert.deepEqual(asked, [{ reason: 'connect', expiresIn: undefined },
                             { reason: 'auth_required', expiresIn: 120 }]);
    await bus.publish('c', 1);
    assert.equal(server.upgrades.length, 1);
});


test('a refresh that fails is repeated', async () => {
    const server = await serve({ tokens: new Set(['t1', 't4']) });
    let n = 0;
    const errors = [];
    const { bus } = await listener(server, {
        token() {
            if (++n === 2) {
                throw new Error('away');
            }

            return `t${n}`;
        },
    });

    bus.on('error', ({ code, reason }) => errors.push(`${code} ${reason}`));
    server.peer.send({ type: 'auth_required', expires_in: 120 });
    await until(() => server.received.at(-1).token === 't4');
    assert.deepEqual(errors, ['token away', 'unauthorized bad token']);
    await bus.publish('c', 1);
    assert.equal(n, 4);
});


test('after 4001 the function is asked again, and told why', async () => {
    const server = await serve();
    const reasons = [];
    const { got } = await listener(server, {
        token: ({ reason }) => reasons.push(reason) && 't',
    });

    server.peer.close(4001, 'expired');
    server.publish('c', 1);
    await shows(got, '1');
    assert.deepEqual(reasons, ['connect', 'unauthorized']);
});


test('after three refused tokens it gives up', async () => {
    for (const auth of ['protocol', 'message']) {
        const server = await serve({
            tokens: auth === 'message' ? new Set() : null,
            late: true,
        });
        let n = 0;
        const bus = client(server, { auth, token: () => `t${++n}` });
        const published = bus.publish('c', 1);

        published.catch(() => {});

        if (auth === 'protocol') {
            server.intercept = peer => !peer.close(4001, 'bad token');
        }

        bus.subscribe('c');

        await rejects(published, 'unauthorized');
        assert.equal(bus.state, 'closed');
        assert.equal(n, 3);
        await sleep(50);
        assert.equal(server.upgrades.length, 3);
    }
});


test('a refused string is the end', async () => {
    const server = await serve();
    const { bus } = await listener(server, { token: 't' });
    const error = once(bus, 'error');

    server.peer.close(4001, 'expired');
    assert.deepEqual({ ...await error }, { name: 'BusError', reason: 'expired',
                                           code: 'unauthorized' });
    assert.equal(bus.state, 'closed');
});


test('a function that fails or hangs is asked again', async () => {
    const server = await serve();
    const errors = [];
    let n = 0;
    const bus = client(server, {
        connectTimeout: 300,
        token() {
            switch (++n) {
            case 1:
                throw new Error('thrown');
            case 2:
                return Promise.reject(new Error('rejected'));
            case 3:
                return new Promise(() => {});
            default:
                return 't';
            }
        },
    });

    bus.on('error', ({ code, reason }) => errors.push(`${code}: ${reason}`));
    await bus.publish('c', 1);
    assert.deepEqual(errors, ['token: thrown', 'token: rejected',
                              'token: too late']);
});


test('a token that cannot be sent is the end', async () => {
    const bus = client(await serve(), { token: 'not a token' });

    await rejects(bus.publish('c', 1), 'bad_request');
    assert.equal(bus.state, 'closed');
});


test('none is needed', async () => {
    const server = await serve();

    await listener(server, { token: async () => null });
    assert.deepEqual(protocols(server), ['ws-bus.v1.json']);
});
