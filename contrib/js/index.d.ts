// Copyright (C) the ngx_ws_bus_module authors

/** The subprotocol: "ws-bus.v1.json". */
export const PROTOCOL: string;

/** Codes of errors: the server's, then the client's own. */
export type ErrorCode =
    | 'bad_request' | 'already_subscribed' | 'not_subscribed' | 'forbidden'
    | 'limit' | 'too_big' | 'not_found' | 'not_available' | 'unauthorized'
    | 'unavailable'
    | 'closed' | 'disconnected' | 'kicked' | 'overflow' | 'queue_full'
    | 'timeout' | 'token' | 'unsubscribed';

/** What promises are rejected with, and what "error" events carry. */
export class BusError extends Error {
    constructor(code: ErrorCode, reason?: string);
    readonly name: 'BusError';
    readonly code: ErrorCode;
    readonly reason: string;
}

/** A place in a channel: the last message already had. */
export interface Position {
    epoch: string;
    seq: number;
}

interface MessageBase {
    /** Undefined while only a stream tells of the location's own channel. */
    channel: string | undefined;
    /** Both undefined if the message is not kept. */
    epoch: string | undefined;
    seq: number | undefined;
}

export interface JsonMessage<T = any> extends MessageBase {
    kind: 'json';
    data: T;
}

export interface TextMessage extends MessageBase {
    kind: 'text';
    data: string;
}

export interface BinaryMessage extends MessageBase {
    kind: 'binary';
    data: Uint8Array;
}

/** T is what the publishers of the channel are known to send as JSON. */
export type Message<T = any> = JsonMessage<T> | TextMessage | BinaryMessage;

export interface Published {
    channel: string;
    /** Undefined if the message is not kept. */
    seq: number | undefined;
    epoch: string | undefined;
}

export interface History<T = any> {
    channel: string;
    epoch: string;
    /** There is more behind the last of the messages. */
    more: boolean;
    messages: Message<T>[];
}

export interface Presence {
    channel: string;
    /** Connections. */
    count: number;
    /** Distinct names, where the server tells them. */
    members: string[] | undefined;
}

export interface SubscriptionEvents<T = any> {
    message: Message<T>;
    /** Messages are lost: from..to, both inclusive, if they are kept ones. */
    gap: {
        channel: string | undefined;
        from?: number;
        to?: number;
        count: number | undefined;
    };
    /** The history is another one: everything before it may be outdated. */
    reset: {
        channel: string | undefined;
        epoch: string | undefined;
        previous: Position | null;
    };
    /** Messages come in, at first or again. */
    subscribed: {
        channel: string | undefined;
        epoch: string | undefined;
        seq: number | undefined;
        head?: number;
        oldest?: number;
        recovered?: boolean;
    };
    joined: { channel: string; member: string };
    left: { channel: string; member: string };
    /** The server refuses, for a while or for good. */
    error: BusError;
    /** The subscription is over; why, if it was not by the application. */
    unsubscribed: { channel: string | undefined; error: BusError | null };
}

export interface ClientEvents {
    open: { transport: 'websocket' | 'sse' };
    /** delay: ms until the next attempt, null: there will be none. */
    close: { code: number; reason: string; delay: number | null };
    error: BusError;
}

declare class Emitter<Events> {
    /** Calls the listener with every event; returns what removes it again. */
    on<K extends keyof Events>(
        type: K, listener: (event: Events[K]) => void): () => void;
    /** Removes a listener. */
    off<K extends keyof Events>(
        type: K, listener: (event: Events[K]) => void): void;
}

export interface PublishOptions {
    /** "text": a string, published as it is.  Else bytes or JSON, by type. */
    as?: 'json' | 'text' | 'binary';
    /** Idempotency key, 1 to 255 bytes; else a random one. */
    key?: string;
    /** ms until the promise is rejected; none by default. */
    timeout?: number;
}

export interface HistoryOptions {
    /** The last message already had. */
    seq?: number;
    /** How many messages at most. */
    limit?: number;
}

export interface SubscribeOptions {
    /** Goes on after this position. */
    since?: Position;
    /** Goes on after what the consumer has acknowledged. */
    from?: 'ack';
    /** Starts with so many older messages, if the channel keeps them. */
    last?: number;
    /** false: after a reconnect the subscription starts live. */
    resume?: boolean;
}

/** One channel, made by Client.subscribe(). */
export class Subscription<T = any> extends Emitter<SubscriptionEvents<T>>
    implements AsyncIterable<Message<T>>
{
    private constructor();
    /** Undefined: the location's own channel, not known yet. */
    readonly channel: string | undefined;
    /** Where it has got to, on a channel with history. */
    readonly epoch: string | undefined;
    readonly seq: number | undefined;
    /** Messages come in. */
    readonly live: boolean;
    /** The subscription is over. */
    readonly ended: boolean;
    /** Resolves when messages come in, rejects if they never will. */
    readonly ready: Promise<Subscription<T>>;

    publish(data: unknown, options?: PublishOptions): Promise<Published>;
    history(options?: HistoryOptions): Promise<History<T>>;
    presence(): Promise<Presence>;
    /** Acknowledges a message and all before it. */
    ack(message: { seq: number | undefined }): void;
    /** Resolves when the server knows. */
    unsubscribe(): Promise<void>;
    /** From the first next() until the subscription ends. */
    [Symbol.asyncIterator](): AsyncGenerator<Message<T>, void, undefined>;
}

export interface TokenRequest {
    /**
     * "connect": a connection is made; "unauthorized": so it is, because the
     * last token was refused; "auth_required": the token is about to expire.
     */
    reason: 'connect' | 'unauthorized' | 'auth_required';
    /** Seconds until then. */
    expiresIn?: number;
}

export type Token = string | null | undefined;

export interface Options {
    /** A token, or what gets one whenever one is needed. */
    token?: Token | ((request: TokenRequest) => Token | Promise<Token>);
    /** How it is sent: as subprotocol "bearer.TOKEN" or as first message. */
    auth?: 'protocol' | 'message';
    /** Name by which this client acknowledges. */
    consumer?: string;
    /**
     * Server-sent events: not at all, from the URL itself, or from the URL
     * that the function has for a channel.
     */
    fallback?: boolean | ((channel: string) => string | URL);
    /** Publishes that may wait while there is no WebSocket: 1000. */
    queue?: number;
    /** Backoff, ms: 1000, */
    minDelay?: number;
    /** 30000, */
    maxDelay?: number;
    /** begun anew after a connection of 10000. */
    stableAfter?: number;
    /** ms for a handshake, and for the token function: 10000. */
    connectTimeout?: number;
    /** ms for history and presence: 30000. */
    requestTimeout?: number;
    /** ms of silence after which the connection is looked at: 25000, */
    heartbeat?: number;
    /** and ms for it to show that it lives: 10000. */
    heartbeatTimeout?: number;
    /** ms between attempts to get from a stream to a WebSocket: 60000. */
    retryWebSocket?: number;
    /** In place of the global one; null: streams only. */
    WebSocket?: (new (url: string, protocols: string[]) => object) | null;
    /** In place of the global one. */
    fetch?: typeof fetch;
}

/** A connection that comes back by itself, made by connect(). */
export class Client extends Emitter<ClientEvents> {
    constructor(url: string | URL, options?: Options);
    readonly state: 'connecting' | 'open' | 'waiting' | 'closed';
    readonly transport: 'websocket' | 'sse' | null;

    /** Without a channel: the location's own. */
    subscribe<T = any>(
        channel?: string, options?: SubscribeOptions): Subscription<T>;
    publish(channel: string, data: unknown,
            options?: PublishOptions): Promise<Published>;
    history<T = any>(
        channel: string, options?: HistoryOptions): Promise<History<T>>;
    presence(channel: string): Promise<Presence>;
    /** Acknowledges a subscribed channel's messages up to seq. */
    ack(channel: string, seq: number): void;
    /** Connects now instead of later; checks a connection that is open. */
    reconnect(): void;
    /** Ends everything. */
    close(): void;
}

/** Connects, and stays connected until close(). */
export function connect(url: string | URL, options?: Options): Client;
