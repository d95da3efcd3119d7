// Copyright (C) the ngx_ws_bus_module authors

// Server-sent events, where WebSockets do not work.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';

import { client, once, record, rejects, serve, shows, sleep, test, until }
    from './lib.mjs';


// A client of a server that refuses WebSockets, on its own channel "c".

async function streamer(options, serverOptions) {
    const server = await serve({ refuse: Infinity, ...serverOptions });
    const bus = client(server.url + '/c', options);
    const sub = bus.subscribe();
    const got = record(sub);

    return { server, bus, sub, got };
}


test('after two WebSockets that failed', async () => {
    const { server, bus, sub, got } = await streamer();

    await sub.ready;
    assert.equal(bus.transport, 'sse');
    assert.equal(bus.state, 'open');
    assert.equal(server.upgrades.length, 2);
    server.publish('c', 1);
    server.publish('c', 2);
    await shows(got, '1', '2');
    assert.equal(sub.seq, 2);
    assert.equal(sub.epoch, server.channel('c').epoch);
});


test('not if it is off', async () => {
    const { server } = await streamer({ fallback: false });

    await until(() => server.upgrades.length >= 5);
    assert.equal(server.gets.length, 0);
});


test('payloads', async () => {
    const { server, sub } = await streamer();
    const messages = [];

    sub.on('message', message => messages.push(message));
    await sub.ready;

    const { epoch } = server.channel('c');
    const text = 'several\nlines: of text\n\nand : more \u2028 🌍';

    server.publish('c', { a: ['b'] });
    server.channel('c').publish({ text });
    server.channel('c').publish({ base64: 'AAH/' });
    server.channel('c').publish({ text: '' });
    server.keep = server.channel('c').keep = 0;
    server.channel('c').publish({ text: 'not kept' });

    await until(() => messages.length === 5);
    assert.deepEqual(messages, [
        { channel: undefined, epoch, seq: 1, kind: 'json', data: { a: ['b'] } },
        { channel: undefined, epoch, seq: 2, kind: 'text', data: text },
        { channel: undefined, epoch, seq: 3, kind: 'binary',
          data: Uint8Array.of(0, 1, 255) },
        { channel: undefined, epoch, seq: 4, kind: 'text', data: '' },
        { channel: undefined, epoch, seq: undefined, kind: 'text',
          data: 'not kept' },
    ]);
});


test('goes on where it was', async () => {
    const { server, bus, sub, got } = await streamer();

    await sub.ready;
    server.publish('c', 1);
    await shows(got, '1');

    const closed = once(bus, 'close');

    server.drop();
    server.publish('c', 2);
    await shows(got, '1', '2');
    assert.ok((await closed).delay >= 0);
    assert.equal(server.gets.at(-1).headers['last-event-id'],
                 `${sub.epoch}:1`);
});


test('gaps and resets', async () => {
    const { server, sub, got } = await streamer({}, { keep: 2 });

    await sub.ready;
    server.publish('c', 1);
    await shows(got, '1');
    server.drop();

    for (let i = 2; i <= 5; i++) {
        server.publish('c', i);
    }

    await shows(got, '1', 'gap 2-3', '4', '5');

    for (const stream of server.streams) {
        stream.write('event: gap\ndata: {"from":6,"to":8}\n\n'
                     + 'event: gap\ndata: {"count":2}\n\n');
    }

    await shows(got, '1', 'gap 2-3', '4', '5', 'gap 6-8', 'gap of 2');

    server.drop();
    server.channel('c').forget();
    await until(() => server.gets.length === 3 && server.streams.size);
    server.publish('c', 'new');
    await until(() => got.includes('new'));
    assert.equal(got.slice(6).join(), 'reset,new');
});


test('a channel to a stream', async () => {
    const server = await serve({ refuse: Infinity });
    const bus = client(server.url, { fallback: channel => `/ws/${channel}` });
    const subs = ['a', 'b'].map(channel => bus.subscribe(channel));
    const got = subs.map(record);

    await Promise.all(subs.map(sub => sub.ready));

    subs.push(bus.subscribe('later'));
    got.push(record(subs[2]));
    await subs[2].ready;

    for (const { channel } of subs) {
        server.publish(channel, `to ${channel}`);
    }

    await shows(got[0], 'to a');
    await shows(got[1], 'to b');
    await shows(got[2], 'to later');

    await subs[1].unsubscribe();
    await until(() => !server.channel('b').listeners.size);
    assert.equal(server.channel('a').listeners.size, 1);

    const nameless = bus.subscribe();

    await rejects(nameless.ready, 'not_found');
    assert.equal(bus.state, 'open');

    bus.close();
    await until(() => !server.streams.size);
});


test('a channel without a stream waits', async () => {
    const { server, bus, sub } = await streamer();
    const other = bus.subscribe('other');
    const error = once(other, 'error');

    await sub.ready;
    assert.equal((await error).code, 'not_available');
    assert.equal(other.ended, false);

    const late = bus.subscribe('late');

    assert.equal(late.live, false);
    await rejects(bus.history('c'), 'not_available');
    await rejects(bus.presence('c'), 'not_available');

    // publishes wait, too

    const published = bus.publish('late', 1);

    server.refuse = 0;
    bus.reconnect();
    await Promise.all([published, other.ready, late.ready]);
    assert.equal(bus.transport, 'websocket');
});


test('the WebSocket comes back, and nothing is lost or doubled', async () => {
    const { server, bus, sub, got } = await streamer({ retryWebSocket: 30 });
    const transports = [];
    let closes = 0;

    bus.on('open', ({ transport }) => transports.push(transport));
    bus.on('close', () => closes++);
    await sub.ready;
    closes = 0;
    server.publish('c', 1);
    await until(() => server.upgrades.length >= 4);
    assert.equal(bus.transport, 'sse');
    server.refuse = 0;
    server.publish('c', 2);
    await until(() => bus.transport === 'websocket');
    server.publish('c', 3);
    await shows(got, '1', '2', '3');
    assert.deepEqual(transports, ['sse', 'websocket']);
    assert.equal(closes, 0);
    assert.equal(sub.channel, 'c');
    await until(() => !server.streams.size);
});


test('a stream that is ahead of the WebSocket', async () => {
    const { server, bus, sub, got } = await streamer({ retryWebSocket: 30 });

    await sub.ready;
    server.publish('c', 1);
    await shows(got, '1');
    server.held = [];
    server.refuse = 0;
    await until(() => server.held.length);
    server.publish('c', 2);
    await shows(got, '1', '2');
    assert.equal(bus.transport, 'sse');
    server.release();
    await until(() => bus.transport === 'websocket');
    server.publish('c', 3);
    await shows(got, '1', '2', '3');
    assert.equal(sub.seq, 3);
});


test('a server that is away altogether', async () => {
    const { server, bus, sub, got } = await streamer();

    await sub.ready;
    await server.stop();
    await until(() => bus.state !== 'open');
    await sleep(100);
    server.publish('c', 1);
    server.refuse = 0;
    await server.start();
    await shows(got, '1');
});


test('turn about, while neither works', async () => {
    const { server, bus } = await streamer({}, { streamStatus: 503 });

    await until(() => server.gets.length >= 3);
    assert.equal(server.asked.slice(0, 7).join(), 'ws,ws,get,ws,get,ws,get');
    server.streamStatus = 200;
    await until(() => bus.transport === 'sse');
});


test('too many requests is not for ever', async () => {
    const { server, bus } = await streamer({}, { streamStatus: 429 });

    await until(() => server.gets.length >= 2);
    server.streamStatus = 200;
    await until(() => bus.transport === 'sse');
});


test('without a token there is no WebSocket instead of a stream', async () => {
    let broken = false;
    const { server, bus, sub } = await streamer({
        retryWebSocket: 10,
        token() {
            if (broken) {
                throw new Error('broken');
            }

            return 't';
        },
    });

    await sub.ready;
    broken = true;
    server.refuse = 0;
    await sleep(50);
    assert.equal(bus.transport, 'sse');
    broken = false;
    await until(() => bus.transport === 'websocket');
    assert.match(server.upgrades.at(-1).headers['sec-websocket-protocol'],
                 /bearer\.t$/);
});


test('a server without streams is not asked again', async () => {
    const { server } = await streamer({}, { streamStatus: 426 });

    await until(() => server.upgrades.length >= 8);
    assert.equal(server.gets.length, 1);
});


test('tokens', async () => {
    let n = 0;
    const { server, bus, sub } = await streamer(
        { token: () => `t${++n}` }, { tokens: new Set(['t5']) });

    await sub.ready;
    assert.equal(bus.transport, 'sse');

    // WebSockets fail without telling why, streams tell

    assert.deepEqual(server.gets.map(({ headers }) => headers.authorization),
                     ['Bearer t3', 'Bearer t5']);
});


test('refused tokens end it', async () => {
    const { bus, sub } = await streamer({ token: () => 'bad' },
                                        { tokens: new Set() });

    await rejects(sub.ready, 'unauthorized');
    assert.equal(bus.state, 'closed');
});


test('a forbidden channel ends the subscription', async () => {
    const { server, sub, got } = await streamer({}, { streamStatus: 403 });

    await rejects(sub.ready, 'forbidden');
    assert.deepEqual(got, ['error forbidden', 'unsubscribed']);
    await until(() => server.upgrades.length >= 4);
    assert.equal(server.gets.length, 1);
});


test('a silent stream is replaced', async () => {
    const { server, sub } = await streamer({ heartbeat: 10,
                                             heartbeatTimeout: 10 });

    await sub.ready;
    await until(() => server.gets.length >= 2);
});


test('an answer that does not come', async () => {
    const { server, bus, sub } = await streamer({ connectTimeout: 300 });

    server.get = (request, response) => {
        server.gets.push(request);
        server.streams.add(response);
    };

    await until(() => server.gets.length >= 1);
    delete server.get;
    await sub.ready;
    assert.equal(bus.transport, 'sse');
});


test('a stream that is lost while a WebSocket is tried', async () => {
    const { server, bus, sub, got } = await streamer({ retryWebSocket: 10 });

    await sub.ready;
    server.hold = true;

    const tried = await until(() => [...server.streams].find(
        stream => stream.remoteAddress));

    for (const stream of server.streams) {
        if (stream !== tried) {
            stream.destroy();
        }
    }

    await until(() => tried.destroyed);
    server.hold = false;
    server.publish('c', 1);
    await shows(got, '1');
    assert.equal(bus.state, 'open');
});


test('an answer that comes too late', async () => {
    const { server, bus, sub } = await streamer({
        async fetch(url, { headers }) {
            const response = await fetch(url, { headers });

            bus.close();

            return response;
        },
    });

    bus.on('open', () => assert.fail('opened'));
    await rejects(sub.ready, 'closed');
    await sleep(20);
    assert.equal(bus.state, 'closed');
    server.drop();
});


test('without any WebSocket at all', async () => {
    const { server, bus, sub } = await streamer({ WebSocket: null });

    await sub.ready;
    assert.equal(bus.transport, 'sse');
    assert.equal(server.upgrades.length, 0);
    bus.reconnect();
    server.publish('c', 1);
    await once(sub, 'message');
});


test('any way of cutting a stream gives the same', async () => {
    const stream = Buffer.from('\ufeff: comment\r\n\r\n'
        + 'id: e:1\r\ndata: "ü"\r\n\r\n'
        + 'retry: 5\ndata\ndata:\ndata:  x\nid: e:2\n\n'
        + 'event: none\n\n'
        + 'data: 3\rid: e:3\r\rdata:4\n\ndata: unfinished');
    const expected = '1 ü|2 \n\n x|3 3|undefined 4';

    for (let cut = 0; cut < stream.length; cut++) {
        const http = createServer((request, response) => {
            response.writeHead(200, { 'Content-Type': 'text/event-stream' });
            response.write(stream.subarray(0, cut || 1));
            setTimeout(() => response.end(stream.subarray(cut || 1)), 2);
        });

        await new Promise(resolve => { http.listen(0, '127.0.0.1', resolve); });

        const bus = client(`http://127.0.0.1:${http.address().port}/`,
                           { WebSocket: null });
        const got = [];
        const sub = bus.subscribe();

        sub.on('message', ({ seq, data }) => got.push(`${seq} ${data}`));
        await once(bus, 'close');
        bus.close();
        http.closeAllConnections();
        http.close();
        assert.equal(got.join('|'), expected, `cut at ${cut}`);
        assert.equal(sub.seq, 3);
    }
});
