// Copyright (C) the ngx_ws_bus_module authors

// A small server of "ws-bus.v1.json" and of its event streams, in memory, that
// tests can make misbehave.  /ws has no channel of its own, /ws/NAME has NAME.

import { createHash, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';


const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const PROTOCOL = 'ws-bus.v1.json';
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;


// One channel: a history and who listens.

class Channel {
    constructor(name, keep) {
        this.name = name;
        this.keep = keep;
        this.epoch = randomUUID();
        this.seq = 0;
        this.log = [];
        this.keys = new Map();
        this.listeners = new Set();     // functions
    }

    get oldest() {
        return this.log[0]?.seq ?? this.seq + 1;
    }

    // A payload is { data }, { text } or { base64 }.

    publish(payload, key) {
        const known = key && this.keys.get(key);

        if (known) {
            return known;
        }

        const message = this.keep
            ? { type: 'message', channel: this.name, seq: ++this.seq,
                ...payload }
            : { type: 'message', channel: this.name, ...payload };

        const result = this.keep ? { seq: this.seq, epoch: this.epoch } : {};

        this.log.push(message);
        this.log = this.keep ? this.log.slice(-this.keep) : [];

        if (key) {
            this.keys.set(key, result);
        }

        for (const listener of this.listeners) {
            listener(message);
        }

        return result;
    }

    after(seq) {
        return this.log.filter(message => message.seq > seq);
    }

    // What was kept is lost, and nobody can go on from where he was.

    forget() {
        this.epoch = randomUUID();
        this.seq = 0;
        this.log = [];
    }
}


// One WebSocket, the server's side of RFC 6455.

class Peer {
    constructor(server, request, socket, own) {
        this.server = server;
        this.request = request;
        this.socket = socket;
        this.own = own;
        this.consumer = new URL(request.url, 'http://x').searchParams
            .get('consumer');
        this.received = [];
        this.subscriptions = new Map();     // name -> listener
        this.buffer = Buffer.alloc(0);
        this.fragments = [];
        this.closed = new Promise(resolve => { this.onclosed = resolve; });

        socket.on('data', data => this.read(data));
        socket.on('end', () => socket.end());
        socket.on('close', () => {
            for (const name of [...this.subscriptions.keys()]) {
                this.leave(name);
            }

            server.peers.delete(this);
            this.onclosed();
        });
    }

    read(data) {
        this.buffer = Buffer.concat([this.buffer, data]);

        for (let frame; (frame = this.frame());) {
            this.frameIn(frame);
        }
    }

    frame() {
        const head = this.buffer;

        if (head.length < 6) {
            return null;
        }

        let length = head[1] & 127;
        let at = 2;

        if (length === 126) {
            length = head.readUInt16BE(2);
            at = 4;

        } else if (length === 127) {
            if (head.length < 14) {
                return null;
            }

            length = Number(head.readBigUInt64BE(2));
            at = 10;
        }

        if (head.length < at + 4 + length) {
            return null;
        }

        const mask = head.subarray(at, at + 4);
        const payload = Buffer.from(head.subarray(at + 4, at + 4 + length));

        for (let i = 0; i < length; i++) {
            payload[i] ^= mask[i & 3];
        }

        this.buffer = head.subarray(at + 4 + length);

        return { fin: head[0] >> 7, opcode: head[0] & 15, payload };
    }

    frameIn({ fin, opcode, payload }) {
        if (opcode === CLOSE) {
            this.closeCode = payload.length ? payload.readUInt16BE(0) : 1005;
            this.write(CLOSE, payload);
            this.socket.end();

        } else if (this.server.mute) {
            // as good as dead

        } else if (opcode === PING) {
            this.write(PONG, payload);

        } else if (opcode <= TEXT) {
            this.fragments.push(payload);

            if (fin) {
                const text = Buffer.concat(this.fragments).toString();

                this.fragments = [];
                this.messageIn(text);
            }
        }
    }

    messageIn(text) {
        const message = JSON.parse(text);

        this.received.push(message);
        this.server.received.push(message);

        if (text.length > this.server.maxSize) {
            this.close(1009, 'message too big');

        } else if (!this.server.intercept?.(this, message)) {
            this.handle(message);
        }
    }

    write(opcode, payload) {
        const { length } = payload;
        const head = length < 126 ? Buffer.from([128 | opcode, length])
            : length < 65536
                ? Buffer.from([128 | opcode, 126, length >> 8, length & 255])
                : Buffer.alloc(10);

        if (length >= 65536) {
            head[0] = 128 | opcode;
            head[1] = 127;
            head.writeBigUInt64BE(BigInt(length), 2);
        }

        if (this.socket.writable) {
            this.socket.write(Buffer.concat([head, payload]));
        }
    }

    send(message) {
        if (!this.server.mute) {
            this.write(TEXT, Buffer.from(JSON.stringify(message)));
        }
    }

    error(id, code, reason = code) {
        this.send({ type: 'error', id, code, reason });
    }

    close(code, reason = '') {
        const payload = Buffer.alloc(2 + Buffer.byteLength(reason));

        payload.writeUInt16BE(code);
        payload.write(reason, 2);
        this.write(CLOSE, payload);
        this.socket.end();
    }

    // The protocol: SPEC of the subprotocol, section by section.

    handle(message) {
        const { type, id } = message;

        switch (type) {

        case 'auth':
        case 'auth_refresh':
            this.auth(message);
            break;

        case 'subscribe':
            this.subscribe(message);
            break;

        case 'unsubscribe':
            if (this.leave(message.channel)) {
                this.send({ type: 'unsubscribed', id,
                            channel: message.channel });
            } else {
                this.error(id, 'not_subscribed');
            }

            break;

        case 'publish':
            this.publish(message);
            break;

        case 'history':
            this.history(message);
            break;

        case 'presence': {
            const count = this.server.channel(message.channel).listeners.size;

            this.send({ type: 'presence', id, channel: message.channel,
                        members: ['alice'], count });
            break;
        }

        case 'ack':
            if (!this.consumer) {
                this.error(id, 'not_available', 'no consumer is named');

            } else {
                this.server.acks.set(this.consumer + ' ' + message.channel,
                                     message.seq);
            }

            break;

        default:
            this.error(id, 'bad_request');
        }
    }

    auth({ type, id, token }) {
        if (!this.server.valid(token)) {
            this.error(id, 'unauthorized', 'bad token');

            if (type === 'auth') {
                this.close(4001, 'bad token');
            }

            return;
        }

        this.send({ type: 'auth_ok', id, expires_in: 600 });

        if (type === 'auth') {
            this.greet();
        }
    }

    greet() {
        if (this.own !== null) {
            const query = new URL(this.request.url, 'http://x').searchParams;
            const seq = query.get('last_seq');

            this.join(undefined, this.own, query.get('epoch'),
                      seq === null || this.server.plainGreeting
                          ? undefined : Number(seq));
        }
    }

    subscribe({ id, channel, epoch, seq, from }) {
        if (from === 'ack') {
            epoch = this.server.channel(channel).epoch;
            seq = this.server.acks.get(this.consumer + ' ' + channel) ?? -1;
        }

        if (this.server.forbidden.has(channel)) {
            this.error(id, 'forbidden');

        } else if (this.subscriptions.has(channel)) {
            this.error(id, 'already_subscribed');

        } else {
            this.join(id, channel, epoch, seq);
        }
    }

    join(id, name, epoch, seq) {
        const channel = this.server.channel(name);
        const head = channel.seq;
        const listener = message => this.send(message);
        const recovered = seq === undefined ? undefined
            : epoch === channel.epoch && seq <= head
              && seq >= channel.oldest - 1;
        const from = recovered ? seq : head;

        this.send(channel.keep
            ? { type: 'subscribed', id, channel: name, epoch: channel.epoch,
                seq: from, head, oldest: channel.oldest, recovered }
            : { type: 'subscribed', id, channel: name });

        for (const message of channel.after(from)) {
            this.send(message);
        }

        channel.listeners.add(listener);
        this.subscriptions.set(name, listener);
    }

    leave(name) {
        this.server.channel(name).listeners.delete(
            this.subscriptions.get(name));

        return this.subscriptions.delete(name);
    }

    publish({ id, channel, key, data, text, base64 }) {
        if (this.server.forbidden.has(channel)) {
            this.error(id, 'forbidden');
            return;
        }

        const result = this.server.channel(channel)
            .publish({ data, text, base64 }, key);

        this.send({ type: 'published', id, channel, ...result });
    }

    history({ id, channel, seq = 0, limit = 100 }) {
        const { epoch, keep } = this.server.channel(channel);
        const all = this.server.channel(channel).after(seq);

        if (!keep) {
            this.error(id, 'not_available');
            return;
        }

        this.send({ type: 'history', id, channel, epoch,
                    messages: all.slice(0, limit).map(
                        ({ seq, data, text, base64 }) =>
                            ({ seq, data, text, base64 })),
                    more: all.length > limit });
    }
}


export class Server {
    constructor(options = {}) {
        this.keep = 100;            // messages in a history; 0: none
        this.tokens = null;         // a Set: nobody else may come
        this.forbidden = new Set();
        this.maxSize = 1e6;
        this.refuse = 0;            // upgrades to refuse; Infinity: all
        this.hold = false;          // upgrades are not answered
        this.mute = false;          // nothing comes, nothing goes
        this.held = null;           // a list: upgrades wait there
        this.intercept = null;      // (peer, message) => true: handled
        this.plainGreeting = false; // the query is not looked at
        this.protocol = PROTOCOL;
        this.streamStatus = 200;

        Object.assign(this, options);

        this.channels = new Map();
        this.acks = new Map();
        this.peers = new Set();
        this.streams = new Set();
        this.received = [];
        this.upgrades = [];         // requests
        this.gets = [];
        this.asked = [];            // "ws" or "get", in order
        this.port = 0;
    }

    channel(name) {
        if (!this.channels.has(name)) {
            this.channels.set(name, new Channel(name, this.keep));
        }

        return this.channels.get(name);
    }

    publish(name, data) {
        return this.channel(name).publish({ data });
    }

    valid(token) {
        return this.tokens === null || this.tokens.has(token);
    }

    get url() {
        return `ws://127.0.0.1:${this.port}/ws`;
    }

    get peer() {
        return [...this.peers].at(-1);
    }

    // Again on the same port, with the same channels.

    start(port = this.port) {
        this.http = createServer((request, response) =>
            this.get(request, response));
        this.http.on('upgrade', (request, socket) =>
            this.upgrade(request, socket));

        return new Promise(resolve => {
            this.http.listen(port, '127.0.0.1', () => {
                this.port = this.http.address().port;
                resolve(this);
            });
        });
    }

    stop() {
        this.drop();
        this.http.closeAllConnections();

        return new Promise(resolve => { this.http.close(resolve); });
    }

    // Upgrades that wait are answered.

    release() {
        const { held } = this;

        this.held = null;
        held.forEach(args => this.upgrade(...args));
    }

    // Cuts every connection, without a word.

    drop() {
        for (const peer of this.peers) {
            peer.socket.destroy();
        }

        for (const stream of this.streams) {
            stream.destroy();
        }
    }

    own(request) {
        const [, name] = /^\/ws\/([^/?]+)/.exec(request.url) ?? [];

        return name === undefined ? null : decodeURIComponent(name);
    }

    upgrade(request, socket) {
        if (this.held) {
            this.held.push([request, socket]);
            return;
        }

        const offered = (request.headers['sec-websocket-protocol'] ?? '')
            .split(/,\s*/);
        const bearer = offered.find(name => name.startsWith('bearer.'));
        const allowed = bearer
            ? this.valid(bearer.slice(7)) : !this.tokens || this.late;

        this.upgrades.push(request);
        this.asked.push('ws');
        socket.on('error', () => {});

        if (this.hold) {
            this.streams.add(socket);
            socket.on('end', () => socket.end());
            socket.resume();
            return;
        }

        if (this.refuse > 0 || !allowed || !offered.includes(PROTOCOL)) {
            this.refuse -= this.refuse > 0;
            socket.end(`HTTP/1.1 ${allowed ? 503 : 401} No\r\n`
                + 'Connection: close\r\nContent-Length: 0\r\n\r\n');
            return;
        }

        const accept = createHash('sha1')
            .update(request.headers['sec-websocket-key'] + GUID)
            .digest('base64');

        socket.write('HTTP/1.1 101 Switching Protocols\r\n'
            + 'Upgrade: websocket\r\nConnection: Upgrade\r\n'
            + `Sec-WebSocket-Accept: ${accept}\r\n`
            + `Sec-WebSocket-Protocol: ${this.protocol}\r\n\r\n`);

        const peer = new Peer(this, request, socket, this.own(request));

        this.peers.add(peer);

        if (bearer || !this.tokens) {
            peer.greet();
        }
    }

    get(request, response) {
        const own = this.own(request);
        const [, token] = /^Bearer (.*)$/.exec(
            request.headers.authorization ?? '') ?? [];

        this.gets.push(request);
        this.asked.push('get');

        if (own === null || this.streamStatus !== 200 || !this.valid(token)) {
            response.writeHead(this.streamStatus !== 200 ? this.streamStatus
                               : own === null ? 404 : 401).end();
            return;
        }

        const channel = this.channel(own);
        const [epoch, seq] = (request.headers['last-event-id'] ?? ':')
            .split(':');
        const recovered = epoch === channel.epoch;
        const from = recovered ? Number(seq) : channel.seq;

        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.write(channel.keep ? `id: ${channel.epoch}:${from}\n\n`
                                    : ': open\n\n');

        const listener = message => {
            const { seq, data, text, base64 } = message;
            const lines = base64 ?? text ?? JSON.stringify(data, null, 1);

            response.write((seq ? `id: ${channel.epoch}:${seq}\n` : '')
                + (base64 === undefined ? '' : 'event: binary\n')
                + `data: ${lines.replaceAll('\n', '\ndata: ')}\n\n`);
        };

        channel.after(from).forEach(listener);
        channel.listeners.add(listener);
        this.streams.add(response);

        response.on('close', () => {
            channel.listeners.delete(listener);
            this.streams.delete(response);
        });
    }
}
