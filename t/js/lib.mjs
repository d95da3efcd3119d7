// Copyright (C) the ngx_ws_bus_module authors

// What the tests share.  WS_BUS_TEST_WEBSOCKET says whose WebSocket is used:
// "ws", the library, or "global", Node's own.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { afterEach, test as run } from 'node:test';

import { connect } from '../../contrib/js/index.js';
import { Server } from './server.mjs';


const require = createRequire(new URL('../../build/js/', import.meta.url));

export const WebSocket = process.env.WS_BUS_TEST_WEBSOCKET === 'global'
    ? globalThis.WebSocket : require('ws');

const open = [];

afterEach(async () => {
    for (const thing of open.splice(0).reverse()) {
        await (thing instanceof Server ? thing.stop() : thing.close());
    }
});


// One that hangs is named.

export function test(name, body, options) {
    run(name, { timeout: 60000, ...options }, body);
}


export async function serve(options) {
    const server = await new Server(options).start();

    open.push(server);

    return server;
}


// A client with short delays.

export function client(url, options = {}) {
    const bus = connect(url.url ?? url, {
        WebSocket,
        minDelay: 4,
        maxDelay: 30,
        retryWebSocket: 30000,
        ...options,
    });

    open.push(bus);

    return bus;
}


// A client, its subscription to "c" and what that brings.

export async function listener(server, options, subscription) {
    const bus = client(server, options);
    const sub = bus.subscribe('c', subscription);
    const got = record(sub);

    await sub.ready;

    return { bus, sub, got };
}


// Every event of a subscription as a short string.

export function record(sub) {
    const got = [];

    sub.on('message', ({ data }) => got.push(String(data)));
    sub.on('gap', ({ from, to, count }) =>
        got.push(from === undefined ? `gap of ${count}` : `gap ${from}-${to}`));
    sub.on('reset', () => got.push('reset'));
    sub.on('error', ({ code }) => got.push(`error ${code}`));
    sub.on('unsubscribed', () => got.push('unsubscribed'));

    return got;
}


export function once(emitter, type) {
    return new Promise(resolve => {
        const off = emitter.on(type, event => {
            off();
            resolve(event);
        });
    });
}


export function sleep(delay) {
    return new Promise(resolve => { setTimeout(resolve, delay); });
}


// Waits until the condition holds; its value.

export async function until(condition, what = condition) {
    const end = Date.now() + 30000;

    for (let value; Date.now() < end; await sleep(2)) {
        if ((value = condition())) {
            return value;
        }
    }

    assert.fail(`never: ${what}`);
}


export async function shows(got, ...expected) {
    await until(() => got.length >= expected.length,
                `${expected}, but ${got}`).catch(() => {});
    assert.equal(got.join(', '), expected.join(', '));
}


export function rejects(promise, code) {
    return assert.rejects(promise, { name: 'BusError', code });
}
