// Copyright (C) the ngx_ws_bus_module authors

/**
 * Client of ngx_ws_bus_module: channels over one WebSocket that speaks
 * "ws-bus.v1.json", or over server-sent events where WebSockets do not work.
 * For browsers and for Node.js 18 and newer.  README.md is the manual.
 */


/** The subprotocol. */
export const PROTOCOL = 'ws-bus.v1.json';

// Unsubscribing from what is not subscribed costs the server next to nothing
// and is always answered, so it tells a live connection from a dead one.

const PROBE = 'ws-bus.probe';

// The server remembers the key of a publish for 5 minutes.  Once that may be
// over, sending it again could publish twice.

const KEY_LIFETIME = 270000;

const PAGE = 100;               // messages in one request for history
const ITERATOR_MAX = 10000;     // messages that wait for a "for await"
const UNAUTHORIZED_MAX = 3;     // refused tokens in a row that end the client

// After these closes what is unanswered may be the cause: it is not sent
// again, or the same would happen for ever.

const REFUSED = {
    1003: 'bad_request',
    1007: 'bad_request',
    1008: 'limit',
    1009: 'too_big',
    4003: 'forbidden',
};

// A subscription that is refused so is asked for again, ever less often.

const PASSING = ['limit', 'unavailable', 'unauthorized'];

const DEFAULTS = {
    token: null,
    consumer: null,
    auth: 'protocol',
    fallback: true,
    queue: 1000,
    minDelay: 1000,
    maxDelay: 30000,
    stableAfter: 10000,
    connectTimeout: 10000,
    requestTimeout: 30000,
    heartbeat: 25000,
    heartbeatTimeout: 10000,
    retryWebSocket: 60000,
};


/** What promises are rejected with, and what "error" events carry. */
export class BusError extends Error {
    /**
     * @param {string} code      one of the server's, or of README.md's
     * @param {string} [reason]  for people
     */
    constructor(code, reason = '') {
        super(reason ? `${code}: ${reason}` : code);

        this.name = 'BusError';
        this.code = code;
        this.reason = reason;
    }
}


class Emitter {
    #listeners = new Map();

    /**
     * Calls the listener with every event of this type.
     *
     * @returns {() => void}  removes it again
     */
    on(type, listener) {
        this.#listeners.set(type, [...this.#get(type), listener]);

        return () => this.off(type, listener);
    }

    /** Removes a listener. */
    off(type, listener) {
        this.#listeners.set(type,
            this.#get(type).filter(known => known !== listener));
    }

    // What a listener throws is reported, and does no harm here.

    _emit(type, event) {
        for (const listener of this.#get(type)) {
            try {
                listener(event);

            } catch (error) {
                queueMicrotask(() => { throw error; });
            }
        }
    }

    #get(type) {
        return this.#listeners.get(type) ?? [];
    }
}


// At most one timer for each key.

class Timers {
    #timers = new Map();

    set(key, delay, callback) {
        this.clear(key);
        this.#timers.set(key, setTimeout(callback, delay));
    }

    clear(...keys) {
        for (const key of keys) {
            clearTimeout(this.#timers.get(key));
            this.#timers.delete(key);
        }
    }

    clearAll() {
        this.clear(...this.#timers.keys());
    }
}


/** One channel, made by client.subscribe(). */
export class Subscription extends Emitter {
    #client;
    #options;
    #readers = new Set();       // iterators
    #session = null;            // stands for one stay on one connection
    #hold = null;               // live messages while history is read
    #acked = 0;
    #settle;

    constructor(client, channel, options) {
        super();

        this.#client = client;
        this.#options = options;

        /** The name; of the location's own channel once it is known. */
        this.channel = channel;

        /** Where the subscription has got to, on channels with history. */
        this.epoch = options.since?.epoch;
        this.seq = options.since?.seq;

        /** True when the subscription is over. */
        this.ended = false;

        /** Resolves when messages come in, rejects if they never will. */
        this.ready = new Promise((resolve, reject) => {
            this.#settle = { resolve, reject };
        });

        this.ready.catch(() => {});
    }

    /** True while messages come in. */
    get live() {
        return this.#session !== null;
    }

    /** Publishes to this channel: see Client.publish(). */
    async publish(data, options) {
        return this.#client.publish(await this.#name(), data, options);
    }

    /** What this channel keeps: see Client.history(). */
    async history(options) {
        return this.#client.history(await this.#name(), options);
    }

    /** Who is on this channel: see Client.presence(). */
    async presence() {
        return this.#client.presence(await this.#name());
    }

    /** Acknowledges a message and all before it: see Client.ack(). */
    ack({ seq }) {
        if (seq > this.#acked) {
            this.#client._ack(this, seq);
            this.#acked = seq;
        }
    }

    /** Ends the subscription; resolves when the server knows. */
    unsubscribe() {
        return this.#client._unsubscribe(this);
    }

    /** The messages, from now until the subscription ends. */
    async *[Symbol.asyncIterator]() {
        const reader = { queue: [], error: null, wake: () => {} };

        this.#readers.add(reader);

        try {
            while (true) {
                while (reader.queue.length) {
                    yield reader.queue.shift();
                }

                if (reader.error) {
                    throw reader.error;
                }

                if (this.ended) {
                    return;
                }

                await new Promise(resolve => { reader.wake = resolve; });
            }

        } finally {
            this.#readers.delete(reader);
        }
    }

    // The rest is called by the client and its links.

    _position() {
        return this.#options.resume !== false && this.seq !== undefined
            ? { epoch: this.epoch, seq: this.seq } : null;
    }

    _request() {
        const { channel } = this;
        const { from } = this.#options;

        return { type: 'subscribe', channel,
                 ...this._position() ?? (from && { from }) };
    }

    // The server's "subscribed".  What was missed follows by itself, or can
    // be had from the history, or is lost and told so.

    _begin({ channel, epoch, seq, head, oldest, recovered }) {
        const had = this._position();
        const first = (oldest ?? 1) - 1;
        const session = this._resume();
        let from = seq;

        this.channel = channel;
        this.epoch = epoch;
        this.seq = seq;

        this._emit('subscribed', { channel, epoch, seq, head, oldest,
                                   recovered });

        if (had && had.epoch === epoch && had.seq <= seq) {
            from = had.seq;

        } else if (had && had.epoch === epoch && recovered !== false) {

            // an event stream has brought more since this link was begun

            this.seq = had.seq;

        } else if (had || recovered === false) {
            this.#reset(had);
            from = first;

        } else if (this.#options.last) {
            from = Math.max(first, seq - this.#options.last);
        }

        if (this.#acked) {
            this.#client._ack(this, this.#acked);
        }

        this.#options.last = 0;
        this.#settle.resolve(this);

        if (from < seq && this.#session === session) {
            this.#catchUp(session, from, seq);
        }
    }

    // An event stream is open, and will tell its position.

    _beginStream() {
        const { channel, epoch, seq } = this;

        this._resume();

        if (!this._position()) {
            this.epoch = this.seq = undefined;
        }

        this._emit('subscribed', { channel, epoch, seq });
        this.#settle.resolve(this);
    }

    // Messages of a stream come with their epoch.

    _follow(epoch, seq) {
        const previous = this._position();

        if (epoch !== this.epoch) {
            this.epoch = epoch;
            this.seq = undefined;

            if (previous) {
                this.#reset(previous);
            }
        }

        this.seq ??= seq;
    }

    _resume() {
        this.#hold = null;

        return this.#session = {};
    }

    _pause() {
        this.#hold = this.#session = null;
    }

    _message(message) {
        const { seq } = message;

        if (this.#hold) {
            this.#hold.push(message);
            return;
        }

        if (seq !== undefined) {
            if (seq <= this.seq) {
                return;
            }

            if (seq > this.seq + 1) {
                this.#lost(this.seq + 1, seq - 1);
            }

            this.seq = seq;
        }

        const event = decode(message, this.channel, this.epoch);

        this._emit('message', event);

        for (const reader of this.#readers) {
            if (reader.queue.length < ITERATOR_MAX) {
                reader.queue.push(event);

            } else {
                reader.error = new BusError('overflow',
                    `${ITERATOR_MAX} messages wait for an iterator`);
                this.#readers.delete(reader);
            }

            reader.wake();
        }
    }

    // The numbers go on in another epoch.

    _moved(message) {
        if (this.#hold) {
            this.#hold.push(message);

        } else {
            this.epoch = message.epoch;
        }
    }

    _gap(message) {
        const { from, to, count } = message;

        if (this.#hold) {
            this.#hold.push(message);

        } else if (to === undefined && count === undefined) {
            const previous = this.epoch;

            this.epoch = message.epoch;
            this.seq = message.seq;
            this.#reset(previous);

        } else if (to === undefined) {
            this._emit('gap', { channel: this.channel, count });

        } else {
            const start = Math.max(from, (this.seq ?? 0) + 1);

            if (start <= to) {
                this.#lost(start, to);
            }
        }
    }

    _end(error) {
        this.ended = true;
        this._pause();
        this.#settle.reject(error ?? new BusError('closed'));

        for (const reader of this.#readers) {
            reader.error = error;
            reader.wake();
        }

        this._emit('unsubscribed', { channel: this.channel, error });
    }

    async #name() {
        if (this.channel === undefined) {
            await this.ready;
        }

        return this.channel;
    }

    // Reads what lies between two positions; live messages wait meanwhile.
    // When the connection breaks, the position is where it got to.

    async #catchUp(session, from, to) {
        const { channel } = this;
        const hold = this.#hold = [];

        for (let more = true; more && from < to; from = this.seq) {
            this.seq = from;

            const page = await this.#client._ask(
                { type: 'history', channel, seq: from, limit: PAGE })
                .catch(() => null);

            if (this.#session !== session) {
                return;
            }

            if (page?.epoch === this.epoch) {
                this.#hold = null;
                this.#replay(session,
                             page.messages.filter(({ seq }) => seq <= to));
                this.#hold = hold;
            }

            more = page?.more && this.seq > from;
        }

        if (this.#session !== session) {
            return;
        }

        this.#hold = null;

        if (this.seq < to) {
            this.#lost(this.seq + 1, to);
        }

        this.#replay(session, hold);
    }

    #replay(session, messages) {
        for (const message of messages) {
            if (this.#session !== session) {
                return;
            }

            if (message.type === 'gap') {
                this._gap(message);

            } else if (message.type === 'epoch') {
                this._moved(message);

            } else {
                this._message(message);
            }
        }
    }

    #reset(previous) {
        const { channel, epoch } = this;

        this.#acked = 0;
        this._emit('reset', { channel, epoch, previous });
    }

    #lost(from, to) {
        this.seq = to;
        this._emit('gap', { channel: this.channel, from, to,
                            count: to - from + 1 });
    }
}


// A WebSocket, from its handshake until it is lost, which is told once.

class SocketLink {
    kind = 'websocket';
    greeting = null;            // of the location's channel; false: declined
    #client;
    #ws;
    #open = false;
    #timer;
    #token = null;              // waits for its auth_ok
    #early = [];                // messages before that

    constructor(client, url, token) {
        const { WebSocket, auth, connectTimeout } = client.options;
        const protocols = [PROTOCOL];

        if (token && auth === 'protocol') {
            protocols.push('bearer.' + token);

        } else if (token) {
            this.#token = token;
        }

        this.#client = client;
        this.#ws = new WebSocket(url, protocols);
        this.#ws.onopen = () => this.#opened();
        this.#ws.onmessage = ({ data }) => this.#message(data);
        this.#ws.onclose = ({ code, reason }) => this.#lost(code, reason);
        this.#ws.onerror = ({ message }) => this.#failed(message);

        this.#timer = setTimeout(
            () => this.fail(1006, 'no answer to the handshake'),
            connectTimeout);
    }

    send(text) {
        this.#ws.send(text);
    }

    close() {
        this.#release();
        this.#ws.close(1000);
    }

    // Does not wait for a peer that may be gone.

    fail(code, reason) {
        this.#lost(code, reason);

        if (this.#ws.terminate) {
            this.#ws.terminate();

        } else {
            this.#ws.close();
        }
    }

    #release() {
        clearTimeout(this.#timer);
        this.#ws.onopen = this.#ws.onmessage = this.#ws.onclose = null;
    }

    #lost(code, reason) {
        this.#release();
        this.#client._lost(this, code, reason);
    }

    // A close follows, except for handshakes in Node.js 20.

    #failed(reason) {
        if (!this.#open) {
            this.#lost(1006, reason);
        }
    }

    #opened() {
        this.#open = true;

        if (this.#ws.protocol !== PROTOCOL) {
            this.fail(1002, `the server does not speak ${PROTOCOL}`);

        } else if (this.#token) {
            this.send(JSON.stringify({ type: 'auth', id: 0,
                                       token: this.#token }));

        } else {
            this.#ready();
        }
    }

    #ready() {
        clearTimeout(this.#timer);
        this.#token = null;
        this.#client._opened(this);
        this.#early.forEach(message => this.#client._receive(this, message));
    }

    #message(data) {
        const message = parse(data);

        if (!message) {
            this.fail(1002, 'not JSON');

        } else if (!this.#token) {
            this.#client._receive(this, message);

        } else if (message.id !== 0) {
            this.#early.push(message);

        } else if (message.type === 'auth_ok') {
            this.#ready();

        } else {
            this.fail(4001, message.reason);
        }
    }
}


// Server-sent events, a request for each channel.  They are read by fetch(),
// which can send a token and exists in Node.js; EventSource has neither.

class StreamLink {
    kind = 'sse';
    #client;
    #token;
    #open = false;
    #streams = new Map();       // subscription -> AbortController

    constructor(client, token) {
        this.#client = client;
        this.#token = token;
    }

    async open(subscription) {
        const abort = new AbortController();

        if (this.#streams.has(subscription)) {
            return;
        }

        this.#streams.set(subscription, abort);

        try {
            await this.#run(subscription, abort.signal);

        } catch (error) {
            if (!abort.signal.aborted) {
                this.fail(1006, error.message);
            }
        }
    }

    shut(subscription) {
        this.#streams.get(subscription)?.abort();
        this.#streams.delete(subscription);
    }

    close() {
        for (const subscription of this.#streams.keys()) {
            this.shut(subscription);
        }
    }

    fail(code, reason) {
        this.close();
        this.#client._lost(this, code, reason);
    }

    async #run(subscription, signal) {
        const client = this.#client;
        const { fetch, connectTimeout, heartbeat, heartbeatTimeout }
            = client.options;
        const position = subscription._position();
        const headers = { Accept: 'text/event-stream' };
        let timer;

        // a proxy may hold the answer back, and a dead peer is silent

        const expect = delay => {
            clearTimeout(timer);
            timer = setTimeout(() => this.fail(1006, 'silence'), delay);
        };

        signal.addEventListener('abort', () => clearTimeout(timer));
        expect(connectTimeout);

        if (this.#token) {
            headers.Authorization = `Bearer ${this.#token}`;
        }

        if (position) {
            headers['Last-Event-ID'] = `${position.epoch}:${position.seq}`;
        }

        const response = await fetch(client._streamUrl(subscription),
                                     { headers, signal, cache: 'no-store' });

        if (signal.aborted || !this.#accepted(subscription, response)) {
            return;
        }

        subscription._beginStream();

        const feed = eventParser(event => streamEvent(subscription, event));
        const decoder = new TextDecoder();
        const reader = response.body.getReader();

        while (true) {
            expect(2 * heartbeat + heartbeatTimeout);

            const { value, done } = await reader.read();

            if (done) {
                this.fail(1001, 'the stream has ended');
                return;
            }

            feed(decoder.decode(value, { stream: true }));
        }
    }

    // 401 is about the token; 403 and 404 are about this channel; any other
    // 4xx, or an answer that is no stream: there are no streams here.

    #accepted(subscription, { status, headers }) {
        const type = headers.get('Content-Type') ?? '';
        const client = this.#client;
        const reason = `status ${status}`;

        if (status === 200 && type.startsWith('text/event-stream')) {
            if (!this.#open) {
                this.#open = true;
                client._opened(this);
            }

            return this.#streams.has(subscription);
        }

        this.shut(subscription);

        if (status === 401) {
            this.fail(4001, reason);

        } else if (status === 403 || status === 404) {
            client._fail(subscription, new BusError(
                status === 403 ? 'forbidden' : 'not_found', reason));

            if (!this.#streams.size) {
                this.fail(1000, 'no channel left');
            }

        } else {
            client._noStreams ||= status < 500 && status !== 429;
            this.fail(1006, reason);
        }

        return false;
    }
}


/** A connection that comes back by itself, made by connect(). */
export class Client extends Emitter {
    #url;
    #state = 'connecting';
    #link = null;               // the open one
    #dialing = null;            // the one that is being opened
    #turn = 0;                  // number of the latest attempt
    #attempt = 0;               // how many since the last stable connection
    #failures = 0;              // WebSockets in a row that did not open
    #streamFailed = false;      // the latest attempt was a stream, and failed
    #unauthorized = 0;          // refused tokens in a row
    #offline = false;
    #heard = 0;                 // when anything came in
    #own;                       // name of the location's channel, if known
    #declined = false;          // unsubscribed from that one
    #id = 0;
    #keys = randomString();
    #pending = new Map();       // id -> what waits for an answer
    #subscriptions = new Map();     // by channel; undefined: not known yet
    #timers = new Timers();
    #over = new AbortController();
    _noStreams = false;

    /** @see connect */
    constructor(url, options = {}) {
        super();

        this.#url = new URL(url, globalThis.location?.href);
        this.#url.protocol = this.#url.protocol.replace('http', 'ws');
        this.#url.hash = '';

        this.options = {
            WebSocket: globalThis.WebSocket,
            fetch: globalThis.fetch?.bind(globalThis),
            ...DEFAULTS,
            ...Object.fromEntries(Object.entries(options).filter(
                ([, value]) => value !== undefined)),
        };

        if (!this.options.WebSocket && !this.options.fallback) {
            throw new TypeError('no WebSocket: pass one as an option');
        }

        this.#listen(globalThis, 'online', () => this.#network(true));
        this.#listen(globalThis, 'offline', () => this.#network(false));
        this.#listen(globalThis.document, 'visibilitychange', () => {
            if (!globalThis.document.hidden) {
                this.reconnect();
            }
        });

        // the caller's listeners and subscriptions come first

        queueMicrotask(() => this.#dial());
    }

    /** "connecting", "open", "waiting" or "closed". */
    get state() {
        return this.#state;
    }

    /** "websocket" or "sse" while open, else null. */
    get transport() {
        return this.#link?.kind ?? null;
    }

    /**
     * Subscribes to a channel, now and after every reconnect.  A channel has
     * one subscription: asking again returns the same.
     *
     * @param {string} [channel]  without: the location's own channel
     * @param {object} [options]
     * @param {{epoch: string, seq: number}} [options.since]  goes on after it
     * @param {number} [options.last]  starts with so many older messages
     * @param {"ack"} [options.from]  starts after what has been acknowledged
     * @param {boolean} [options.resume]  false: a reconnect starts live
     * @returns {Subscription}
     */
    subscribe(channel = this.#own, options = {}) {
        this.#check();

        const known = this.#subscriptions.get(channel);

        if (known) {
            return known;
        }

        const subscription = new Subscription(this, channel, { ...options });

        this.#subscriptions.set(channel, subscription);
        this.#declined &&= channel !== this.#own;

        if (this.#link) {
            this.#attach(subscription);
        }

        return subscription;
    }

    /**
     * Publishes a message.  It is sent again after a reconnect until there is
     * an answer, and its key sees to it that it is published once.
     *
     * @param {string} channel
     * @param {*} data  any JSON value, or bytes: ArrayBuffer, Uint8Array, ...
     * @param {object} [options]
     * @param {"json"|"text"|"binary"} [options.as]  "text": the string itself
     * @param {string} [options.key]  idempotency key, 1 to 255 bytes
     * @param {number} [options.timeout]  ms until the promise is rejected
     * @returns {Promise<{channel: string, seq?: number, epoch?: string}>}
     */
    async publish(channel, data, { as, key, timeout } = {}) {
        this.#check();

        const payload = encode(data, as);

        if (this.transport !== 'websocket') {
            const waiting = [...this.#pending.values()].filter(
                entry => entry.message.type === 'publish');

            if (waiting.length >= this.options.queue) {
                throw new BusError('queue_full', 'too many messages wait');
            }
        }

        key ??= `${this.#keys}-${++this.#id}`;

        const { seq, epoch } = await this.#request(
            { type: 'publish', channel, key, ...payload }, timeout);

        return { channel, seq, epoch };
    }

    /**
     * What a channel keeps, after a position.
     *
     * @param {string} channel
     * @param {object} [options]
     * @param {number} [options.seq]    the last message already had
     * @param {number} [options.limit]  how many at most
     * @returns {Promise<{channel: string, epoch: string, more: boolean,
     *                    messages: object[]}>}
     */
    async history(channel, { seq, limit } = {}) {
        const { epoch, more, messages } = await this.#read(
            { type: 'history', channel, seq, limit });

        return { channel, epoch, more: more === true, messages: messages.map(
            message => decode(message, channel, epoch)) };
    }

    /**
     * Who is on a channel.
     *
     * @param {string} channel
     * @returns {Promise<{channel: string, count: number, members?: string[]}>}
     */
    async presence(channel) {
        const { count, members } = await this.#read(
            { type: 'presence', channel });

        return { channel, count, members };
    }

    /**
     * Acknowledges a subscribed channel's messages up to seq.  Whoever comes
     * by the same name, the option "consumer", can go on from there.
     */
    ack(channel, seq) {
        this.#subscriptions.get(channel)?.ack({ seq });
    }

    /** Connects now instead of later; checks a connection that is open. */
    reconnect() {
        if (this.#state === 'waiting') {
            this.#dial();

        } else if (this.transport === 'websocket') {
            this.#probe();

        } else if (this.transport === 'sse') {
            this.#upgrade();
        }
    }

    /** Ends everything.  What is unanswered is rejected with "closed". */
    close() {
        if (this.#state !== 'closed') {
            this.#finish(1000, 'closed by the application', null);
        }
    }

    // What links and subscriptions call.

    _opened(link) {
        this.#drop()?.close();          // a stream, not needed any more

        this.#link = link;
        this.#dialing = null;
        this.#state = 'open';
        this.#streamFailed = false;
        this.#heard = performance.now();
        this.#timers.set('stable', this.options.stableAfter, () => {
            this.#attempt = this.#unauthorized = 0;
        });

        if (link.kind === 'websocket') {
            this.#failures = 0;
            this._noStreams = false;
            this.#watch();

        } else {
            this.#upgradeLater();
        }

        for (const subscription of this.#subscriptions.values()) {
            if (link === this.#link) {
                this.#attach(subscription);
            }
        }

        for (const entry of [...this.#pending.values()]) {
            if (this.transport === 'websocket' && !entry.once) {
                this.#transmit(entry);
            }
        }

        if (link === this.#link) {
            this._emit('open', { transport: link.kind });
        }
    }

    _lost(link, code, reason) {
        if (link === this.#link) {
            this.#drop();
            this.#dialing?.close();
            this.#dialing = null;

        } else if (link === this.#dialing) {
            this.#dialing = null;

            if (this.#link) {           // the stream is still there
                this.#upgradeLater();
                return;
            }

            this.#failures += link.kind === 'websocket';
            this.#streamFailed = link.kind === 'sse';

        } else {
            return;
        }

        this.#judge(code, reason ?? '');
    }

    _receive(link, message) {
        const { type, id, channel, code, reason } = message;

        if (link !== this.#link) {
            return;
        }

        this.#heard = performance.now();

        const entry = this.#pending.get(id);
        const subscription = this.#subscriptions.get(channel);

        if (entry) {
            this.#settle(entry);

            if (type === 'error') {
                entry.reject(new BusError(code, reason));

            } else {
                entry.resolve(message);
            }

        } else if (id === undefined && type === 'subscribed') {
            this.#greeted(link, message);

        } else if (id === undefined && type === 'error') {
            this._emit('error', new BusError(code, reason));

        } else if (type === 'auth_required') {
            this.#refresh(message.expires_in, 0);

        } else if (!subscription?.live) {
            if (type === 'message' && channel === link.greeting?.channel) {
                link.greeting.seq = message.seq ?? link.greeting.seq;
            }

        } else if (type === 'message') {
            subscription._message(message);

        } else if (type === 'gap') {
            subscription._gap(message);

        } else if (type === 'epoch') {
            subscription._moved(message);

        } else if (type === 'joined' || type === 'left') {
            subscription._emit(type, { channel, member: message.member });

        } else if (type === 'unsubscribed') {
            this._fail(subscription, new BusError(type, reason));
        }
    }

    // A request that is for this connection only.

    _ask(message) {
        return new Promise((resolve, reject) => {
            this.#once(message, resolve, reject, this.options.requestTimeout);
        });
    }

    _ack({ channel, live }, seq) {
        if (!this.options.consumer) {
            throw new BusError('not_available', 'no consumer is named');
        }

        if (live && this.transport === 'websocket') {
            this.#link.send(JSON.stringify({ type: 'ack', channel, seq }));
        }
    }

    async _unsubscribe(subscription) {
        const { channel } = subscription;

        if (subscription.ended) {
            return;
        }

        this.#forget(subscription);
        subscription._end(null);

        if (channel === this.#own) {
            this.#declined = true;
        }

        if (this.transport === 'sse') {
            this.#link.shut(subscription);

        } else if (this.#link && channel !== undefined) {
            if (channel === this.#own) {
                this.#link.greeting = false;
            }

            // if the connection is lost instead, that will do as well

            await this._ask({ type: 'unsubscribe', channel }).catch(() => {});
        }
    }

    // The server does not want a subscription.

    _fail(subscription, error) {
        this.#forget(subscription);
        subscription._emit('error', error);
        subscription._end(error);
    }

    _streamUrl({ channel }) {
        const { fallback } = this.options;
        const url = new URL(this.#url);

        url.protocol = url.protocol.replace('ws', 'http');

        if (typeof fallback === 'function' && channel !== undefined) {
            return new URL(fallback(channel), url);
        }

        return channel === this.#own ? url : null;
    }

    // Connecting.

    async #dial() {
        const turn = ++this.#turn;

        if (this.#state === 'closed') {
            return;
        }

        this.#state = 'connecting';
        this.#timers.clear('retry');

        const token = await this.#token(
            this.#unauthorized ? 'unauthorized' : 'connect')
            .catch(error => tokenError(error));

        if (turn !== this.#turn) {
            return;
        }

        if (token instanceof BusError) {
            this._emit('error', token);
            this.#judge(1006, 'no token');

        } else {
            this.#open(token);
        }
    }

    // Streams come after two WebSockets that failed; then it is turn about.

    #open(token) {
        const { WebSocket, fallback, fetch } = this.options;
        const streamed = [...this.#subscriptions.values()].filter(
            subscription => this._streamUrl(subscription));

        if (fallback && fetch && streamed.length && !this._noStreams
            && (!WebSocket || this.#failures > 1 && !this.#streamFailed))
        {
            this.#dialing = new StreamLink(this, token);
            streamed.forEach(entry => this.#dialing.open(entry));

        } else if (WebSocket) {
            this.#socket(token);

        } else {
            this.#judge(1006, 'no WebSocket, and no channel to stream');
        }
    }

    #socket(token) {
        const url = new URL(this.#url);
        const { consumer } = this.options;
        const position = this.#subscriptions.get(this.#own)?._position();

        if (consumer) {
            url.searchParams.set('consumer', consumer);
        }

        if (position) {
            url.searchParams.set('last_seq', position.seq);
            url.searchParams.set('epoch', position.epoch);
        }

        try {
            this.#dialing = new SocketLink(this, url.href, token);

        } catch ({ message }) {
            this.#finish(1006, message, new BusError('bad_request', message));
        }
    }

    async #token(reason, expiresIn) {
        const { token, connectTimeout } = this.options;

        if (typeof token !== 'function') {
            return token;
        }

        let timer;
        const late = new Promise((resolve, reject) => {
            timer = setTimeout(reject, connectTimeout, new Error('too late'));
        });

        try {
            return await Promise.race([token({ reason, expiresIn }), late]);

        } finally {
            clearTimeout(timer);
        }
    }

    // A stream stays until there is a WebSocket.

    #upgradeLater() {
        this.#timers.set('upgrade', this.options.retryWebSocket,
                         () => this.#upgrade());
    }

    async #upgrade() {
        const link = this.#link;

        if (this.#dialing || !this.options.WebSocket) {
            return;
        }

        try {
            const token = await this.#token('connect');

            if (link === this.#link && !this.#dialing) {
                this.#socket(token);
            }

        } catch {
            if (link === this.#link) {
                this.#upgradeLater();
            }
        }
    }

    // What a close means: README.md has the table.

    #judge(code, reason) {
        const error = code === 4010 ? 'kicked'
            : code === 4001 && this.#refusedToken() ? 'unauthorized' : null;

        if (error) {
            this.#finish(code, reason, new BusError(error, reason));
            return;
        }

        if (code in REFUSED) {
            this.#refuseSent(code, reason);
        }

        const delay = this.#offline ? this.options.maxDelay
                                    : this.#backoff(this.#attempt++);

        this.#state = 'waiting';
        this.#timers.set('retry', delay, () => this.#dial());
        this._emit('close', { code, reason, delay });
    }

    #refusedToken() {
        return ++this.#unauthorized >= UNAUTHORIZED_MAX
            || typeof this.options.token !== 'function';
    }

    #refuseSent(code, reason) {
        const sent = [...this.#pending.values()].filter(entry => entry.sent);

        if (code === 1009) {            // it was the largest
            sent.sort((a, b) => b.text.length - a.text.length).splice(1);
        }

        for (const entry of sent) {
            this.#settle(entry);
            entry.reject(new BusError(REFUSED[code], reason));
        }
    }

    // Exponential, with full jitter.

    #backoff(attempt) {
        const { minDelay, maxDelay } = this.options;

        return Math.random() * Math.min(maxDelay, minDelay * 2 ** attempt);
    }

    // The link is gone, and what was for this link only.

    #drop() {
        const link = this.#link;

        this.#link = null;
        this.#timers.clear('stable', 'watch', 'upgrade', 'refresh',
                           ...this.#subscriptions.values());
        this.#subscriptions.forEach(subscription => subscription._pause());

        for (const entry of this.#pending.values()) {
            if (entry.once) {
                this.#settle(entry);
                entry.reject(new BusError('disconnected'));
            }
        }

        return link;
    }

    #finish(code, reason, error) {
        this.#state = 'closed';
        this.#turn++;
        this.#drop()?.close();
        this.#dialing?.close();
        this.#dialing = null;
        this.#timers.clearAll();
        this.#over.abort();

        for (const entry of this.#pending.values()) {
            this.#settle(entry);
            entry.reject(error ?? new BusError('closed', reason));
        }

        for (const subscription of this.#subscriptions.values()) {
            this.#forget(subscription);
            subscription._end(error);
        }

        if (error) {
            this._emit('error', error);
        }

        this._emit('close', { code, reason, delay: null });
    }

    #check() {
        if (this.#state === 'closed') {
            throw new BusError('closed', 'the client is closed');
        }
    }

    // The network, and the watchdog.

    #listen(target, type, listener) {
        if (typeof target?.addEventListener === 'function') {
            target.addEventListener(type, listener,
                                    { signal: this.#over.signal });
        }
    }

    // A browser may be wrong about being offline, so it goes on, slowly.

    #network(online) {
        this.#offline = !online;

        if (online) {
            this.#attempt = 0;
        }

        if (online || this.#state === 'open') {
            this.reconnect();

        } else if (this.#state === 'waiting') {
            this.#timers.set('retry', this.options.maxDelay,
                             () => this.#dial());
        }
    }

    #watch() {
        const left = this.#heard + this.options.heartbeat - performance.now();

        if (left > 0) {
            this.#timers.set('watch', left, () => this.#watch());

        } else {
            this.#probe();
        }
    }

    #probe() {
        const link = this.#link;
        const since = performance.now();

        const alive = () => {
            if (link === this.#link && this.#heard >= since) {
                this.#watch();
            }
        };

        this._ask({ type: 'unsubscribe', channel: PROBE }).then(alive, alive);

        this.#timers.set('watch', this.options.heartbeatTimeout, () => {
            if (this.#heard >= since) {
                this.#watch();

            } else {
                link.fail(1006, 'no sign of life');
            }
        });
    }

    // The token ends soon.  Failures are repeated, until the server closes.

    async #refresh(expiresIn, attempt) {
        const link = this.#link;

        try {
            const token = await this.#token('auth_required', expiresIn);

            if (link === this.#link) {
                await this._ask({ type: 'auth_refresh', token });
            }

        } catch (error) {
            if (link === this.#link) {
                this.#timers.set('refresh', this.#backoff(attempt),
                                 () => this.#refresh(expiresIn, attempt + 1));
                this._emit('error', tokenError(error));
            }
        }
    }

    // Subscribing.

    #forget(subscription) {
        const { channel } = subscription;

        if (this.#subscriptions.get(channel) === subscription) {
            this.#subscriptions.delete(channel);
        }

        this.#timers.clear(subscription);
    }

    #attach(subscription) {
        const link = this.#link;

        if (link.kind === 'sse') {
            this.#stream(subscription);

        } else if (subscription.channel !== this.#own
                   || link.greeting === false)
        {
            this.#subscribe(subscription, 0);

        } else if (link.greeting) {
            subscription._begin(link.greeting);

        } else {
            this.#expectGreeting(subscription);
        }
    }

    #subscribe(subscription, attempt) {
        this.#once(subscription._request(),
                   answer => {
                       if (!subscription.ended) {
                           subscription._begin(answer);
                       }
                   },
                   error => this.#notSubscribed(subscription, error, attempt));
    }

    #notSubscribed(subscription, error, attempt) {
        if (subscription.ended || subscription.live || !this.#link) {
            return;
        }

        if (!PASSING.includes(error.code)) {
            this._fail(subscription, error);
            return;
        }

        this.#timers.set(subscription, this.#backoff(attempt),
                         () => this.#subscribe(subscription, attempt + 1));
        subscription._emit('error', error);
    }

    // The location's channel greets before the server answers anything.

    async #expectGreeting(subscription) {
        const link = this.#link;

        await this._ask({ type: 'unsubscribe', channel: PROBE })
            .catch(() => {});

        if (link !== this.#link || link.greeting !== null
            || subscription.ended)
        {
            return;
        }

        if (subscription.channel !== undefined) {
            this.#subscribe(subscription, 0);

        } else {
            this._fail(subscription, new BusError('not_available',
                'this location has no channel of its own'));
        }
    }

    #greeted(link, message) {
        const { channel } = message;
        const named = this.#subscriptions.get(channel);
        const nameless = this.#subscriptions.get(undefined);

        this.#own = channel;
        link.greeting = message;

        if (named && nameless) {
            this._fail(nameless, new BusError('already_subscribed', channel));

        } else if (nameless) {
            this.#subscriptions.delete(undefined);
            this.#subscriptions.set(channel, nameless);
        }

        if (named ?? nameless) {
            (named ?? nameless)._begin(message);

        } else if (this.#declined) {
            link.greeting = false;
            this._ask({ type: 'unsubscribe', channel }).catch(() => {});
        }
    }

    #stream(subscription) {
        if (this._streamUrl(subscription)) {
            this.#link.open(subscription);

        } else {
            subscription._emit('error', new BusError('not_available',
                'there is no event stream for this channel'));
        }
    }

    // Requests.

    #read(message) {
        this.#check();

        if (this.transport === 'sse') {
            throw new BusError('not_available', 'not over server-sent events');
        }

        return this.#request(message, this.options.requestTimeout);
    }

    #request(message, timeout) {
        return new Promise((resolve, reject) => {
            const entry = this.#enter(message, resolve, reject, timeout);

            if (this.transport === 'websocket') {
                this.#transmit(entry);
            }
        });
    }

    #once(message, resolve, reject, timeout) {
        const entry = this.#enter(message, resolve, reject, timeout);

        if (this.transport === 'websocket') {
            entry.once = true;
            this.#transmit(entry);

        } else {
            this.#settle(entry);
            reject(new BusError('disconnected'));
        }
    }

    #enter(message, resolve, reject, timeout) {
        const id = ++this.#id;
        const text = JSON.stringify({ ...message, id });
        const entry = { id, message, text, resolve, reject };

        this.#pending.set(id, entry);

        if (timeout) {
            entry.timer = setTimeout(() => {
                this.#pending.delete(id);
                reject(new BusError('timeout', 'no answer in time'));
            }, timeout);
        }

        return entry;
    }

    #transmit(entry) {
        entry.sent ??= performance.now();

        if (performance.now() - entry.sent > KEY_LIFETIME) {
            this.#settle(entry);
            entry.reject(new BusError('timeout', 'the outcome is unknown'));

        } else {
            this.#link.send(entry.text);
        }
    }

    #settle(entry) {
        clearTimeout(entry.timer);
        this.#pending.delete(entry.id);
    }
}


/**
 * Connects, and stays connected until close().
 *
 * @param {string|URL} url  of a "ws_bus" location; ws, wss, http or https, in
 *                          a browser also relative
 * @param {object} [options]  see README.md
 * @returns {Client}
 */
export function connect(url, options) {
    return new Client(url, options);
}


function tokenError(error) {
    return error instanceof BusError
        ? error : new BusError('token', String(error?.message ?? error));
}


// Payloads.

function encode(data, as) {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data)
        : ArrayBuffer.isView(data)
            ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
            : null;

    as ??= bytes ? 'binary' : 'json';

    if (as === 'binary' && bytes) {
        return { base64: toBase64(bytes) };
    }

    if (as === 'text' && typeof data === 'string') {
        return { text: data };
    }

    if (as !== 'json' || bytes
        || ['undefined', 'function', 'symbol'].includes(typeof data))
    {
        throw new TypeError(`this data cannot be published as ${as}`);
    }

    return { data };
}


function decode({ seq, data, text, base64 }, channel, epoch) {
    const message = { channel, epoch, seq };

    if (base64 !== undefined) {
        return { ...message, kind: 'binary', data: fromBase64(base64) };
    }

    return text === undefined ? { ...message, kind: 'json', data }
                              : { ...message, kind: 'text', data: text };
}


function toBase64(bytes) {
    let text = '';

    for (let i = 0; i < bytes.length; i += 8192) {
        text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    }

    return btoa(text);
}


function fromBase64(text) {
    return Uint8Array.from(atob(text), char => char.charCodeAt(0));
}


function parse(text) {
    try {
        return JSON.parse(text);

    } catch {
        return undefined;
    }
}


function randomString() {
    const bytes = new Uint8Array(12);

    globalThis.crypto?.getRandomValues(bytes);

    // in Node.js 18 there is no global crypto

    return [...bytes, Math.floor(Math.random() * 2 ** 48)]
        .map(number => number.toString(36)).join('');
}


// Event streams: the HTML standard, 9.2.6.

function eventParser(dispatch) {
    let rest = '';
    let event = {};

    return chunk => {
        // a CR at the end may be half of a CRLF

        const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/);

        rest = lines.pop();

        for (const line of lines) {
            const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);

            if (field === 'data' && event.data !== undefined) {
                event.data += '\n' + value;

            } else if (line !== '') {
                event[field] = value;

            } else {
                dispatch(event);
                event = {};
            }
        }
    };
}


// An event becomes the message that a WebSocket would have brought.  One that
// has an id only tells the position.

function streamEvent(subscription, { event, id, data }) {
    const [, epoch, seq] = /^(.*):(\d+)$/s.exec(id ?? '') ?? [];
    const json = parse(data ?? '');

    if (epoch !== undefined) {
        subscription._follow(epoch,
                             data === undefined ? Number(seq) : undefined);
    }

    if (data === undefined) {
        return;
    }

    if (event === 'gap') {
        subscription._gap({ ...json });

    } else {
        const message = event === 'binary' ? { base64: data }
            : json === undefined ? { text: data } : { data: json };

        subscription._message(
            seq === undefined ? message : { ...message, seq: Number(seq) });
    }
}
