// Copyright (C) the ngx_ws_bus_module authors

// The "ws" library of Node.js against a server: TAP lines without numbers.

'use strict';

const WebSocket = require('ws');

const port = process.argv[2];
const tlsPort = process.argv[3];

const large = 'Grüße, 世界 🌍 '.repeat(4000);
const binary = Buffer.from(Array.from({ length: 50000 }, (_, i) => i * 7 % 256));


function report(good, name, got) {
    console.log((good ? 'ok' : 'not ok') + ' - ' + name);

    if (!good) {
        console.log('# got ' + String(got).slice(0, 200));
    }
}


function is(got, expected, name) {
    report(got === expected, name, got);
}


// An open socket whose messages are taken one by one.

function connect(url, options) {
    const ws = new WebSocket(url, options);
    const queue = [];
    const waiting = [];

    ws.on('message', (data, isBinary) => {
        const message = isBinary ? data : data.toString();

        if (waiting.length) {
            waiting.shift()(message);

        } else {
            queue.push(message);
        }
    });

    ws.next = () => queue.length
        ? Promise.resolve(queue.shift())
        : new Promise((resolve, reject) => {
            waiting.push(resolve);
            ws.once('close', (code) => reject(new Error('closed ' + code)));
        });

    ws.closed = new Promise((resolve) => {
        ws.on('close', (code, reason) => resolve(code + ' ' + reason));
    });

    return new Promise((resolve, reject) => {
        ws.on('open', () => resolve(ws));
        ws.on('error', reject);
    });
}


async function talk(name, url, options) {
    const ws = await connect(url + '/ws/' + name, options);
    const other = await connect(url + '/ws/' + name, options);

    ws.send('hello');
    is(await ws.next(), 'hello', name + ': own message');
    is(await other.next(), 'hello', name + ': delivered');

    ws.send(large);
    is(await other.next(), large, name + ': large text');

    ws.send(binary);
    const got = await other.next();
    report(Buffer.isBuffer(got) && got.equals(binary), name + ': binary', got);

    ws.send('first, ', { fin: false });
    ws.send('second, ', { fin: false });
    ws.send('third', { fin: true });
    is(await other.next(), 'first, second, third', name + ': fragments');

    ws.send('');
    is(await other.next(), '', name + ': empty message');

    const pong = new Promise((resolve) => {
        ws.once('pong', (data) => resolve(data.toString()));
    });

    ws.ping('are you there');
    is(await pong, 'are you there', name + ': pong');

    const posted = await fetch(`http://127.0.0.1:${port}/pub/ws/${name}`, {
        method: 'POST', body: 'posted'
    });

    is(posted.status, 201, name + ': POST');
    is((await posted.json()).subscribers, 2, name + ': subscribers');
    is(await other.next(), 'posted', name + ': POST delivered');

    ws.close(4321, 'enough');
    is(await ws.closed, '4321 ', name + ': close of the client');

    for (let i = 0; i < 1000; i++) {
        other.send(String(i));
    }

    let i = 0;
    while (i < 1000 && await other.next() === String(i)) {
        i++;
    }

    is(i, 1000, name + ': many messages in order');

    const deleted = await fetch(`http://127.0.0.1:${port}/pub/ws/${name}`, {
        method: 'DELETE'
    });

    is(deleted.status, 204, name + ': DELETE');
    is(await other.closed, '4004 channel deleted', name + ': close of the server');
}


async function main() {
    const url = `ws://127.0.0.1:${port}`;

    await talk('plain', url, { perMessageDeflate: false });
    await talk('deflate', url, { perMessageDeflate: { threshold: 0 } });
    await talk('deflate-alone', url, {
        perMessageDeflate: { threshold: 0, clientNoContextTakeover: true,
                             clientMaxWindowBits: 10, serverMaxWindowBits: 10 }
    });
    await talk('tls', `wss://127.0.0.1:${tlsPort}`, {
        rejectUnauthorized: false
    });

    let ws = await connect(url + '/ws/deflate-offered');
    is(ws.extensions, 'permessage-deflate', 'deflate is negotiated');

    ws.send('x'.repeat(2000000));
    is((await ws.closed).split(' ')[0], '1009', 'too big');

    ws = await connect(url + '/listen/a');
    ws.send('x');
    is((await ws.closed).split(' ')[0], '4003', 'may not publish');

    ws = await connect(url + '/ws/history?last=0');
    ws.send('one');
    ws.send('two');
    await ws.next();
    await ws.next();
    ws.close();
    is(await ws.closed, '1005 ', 'a Close without a code');

    ws = await connect(url + '/ws/history?last=1');
    is(await ws.next(), 'two', 'replay');
    ws.terminate();

    try {
        await connect(url + '/ws/a', { protocolVersion: 8 });
        report(false, 'another version is refused');

    } catch (e) {
        is(e.message, 'Unexpected server response: 426',
           'another version is refused');
    }

    console.log('done');
    process.exit(0);
}


main().catch((e) => {
    report(false, 'no exception', e.stack);
    process.exit(1);
});
