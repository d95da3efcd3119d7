// Copyright (C) the ngx_ws_bus_module authors

// Compiles if the types are right; lines after "@ts-expect-error" must not.

import { BusError, Client, connect, PROTOCOL, Subscription }
    from 'ws-bus-client';
import type { BinaryMessage, ErrorCode, History, Message, Options, Position,
              Presence, Published, TokenRequest } from 'ws-bus-client';


class Socket {
    constructor(readonly url: string, readonly protocols: string[]) {}
}

interface Chat {
    name: string;
    text: string;
}

const options: Options = {
    token: async ({ reason, expiresIn }: TokenRequest) =>
        reason === 'connect' ? null : `${expiresIn?.toFixed()}`,
    auth: 'message',
    fallback: channel => new URL(`/ws/${channel}`, 'https://example.com'),
    WebSocket: Socket,
    queue: 10,
};

const bus: Client = connect(new URL('wss://example.com/ws'), options);

connect('/ws', { WebSocket, fallback: false, token: 'x', consumer: 'me' });
connect('/ws', { WebSocket: null, token: () => undefined });

// @ts-expect-error
connect();
// @ts-expect-error
connect('/ws', { auth: 'header' });
// @ts-expect-error
connect('/ws', { token: () => 1 });
// @ts-expect-error
connect('/ws', { unknown: true });

const chat: Subscription<Chat> = bus.subscribe<Chat>('chat', { last: 10 });
const any = bus.subscribe();

bus.subscribe('c', { since: { epoch: 'e', seq: 1 }, resume: true });
bus.subscribe('c', { from: 'ack' });
// @ts-expect-error
bus.subscribe('c', { since: { seq: 1 } });
// @ts-expect-error
bus.subscribe(1);
// @ts-expect-error
new Subscription();

chat.on('message', message => {
    switch (message.kind) {
    case 'json':
        message.data.name.trim();
        // @ts-expect-error
        message.data.other;
        break;

    case 'text':
        message.data.trim();
        break;

    case 'binary': {
        const binary: BinaryMessage = message;

        binary.data.byteLength.toFixed();
        // @ts-expect-error
        binary.data.trim();
    }
    }

    chat.ack(message);
});

any.on('message', ({ data }) => data.whatever);

const off: () => void = chat.on('gap', ({ from, to, count }) => {
    const numbers: (number | undefined)[] = [from, to, count];

    numbers.pop();
});

const position = ({ previous }: { previous: Position | null }) => previous?.seq;

chat.on('reset', position);
chat.off('reset', position);
chat.on('subscribed', ({ recovered, oldest }) => recovered ? oldest : 0);
chat.on('joined', ({ member }) => member.trim());
chat.on('error', error => error.code === 'limit');
chat.on('unsubscribed', ({ error }) => error?.reason.trim());
bus.on('open', ({ transport }) => transport === 'sse');
bus.on('close', ({ code, delay }) => code === 1000 && delay?.toFixed());
// @ts-expect-error
chat.on('messages', () => {});
// @ts-expect-error
bus.on('message', () => {});
// @ts-expect-error
bus.on('error', error => error.code === 'nonsense');

export async function use(): Promise<void> {
    const live: Subscription<Chat> = await chat.ready;
    const published: Published = await chat.publish({ name: 'a', text: 'b' });
    const history: History<Chat> = await live.history({ seq: published.seq });
    const messages: Message<Chat>[] = history.messages;
    const presence: Presence = await bus.presence('chat');
    const state: 'connecting' | 'open' | 'waiting' | 'closed' = bus.state;

    await bus.publish('c', new Uint8Array(1), { key: 'k', timeout: 1000 });
    await bus.publish('c', 'text', { as: 'text' });
    // @ts-expect-error
    await bus.publish('c', 'text', { as: 'xml' });
    // @ts-expect-error
    await bus.publish('c');
    await bus.history('c', { limit: 10 });
    bus.ack('c', 1);
    bus.reconnect();

    for await (const message of chat) {
        const seq: number | undefined = message.seq;

        if (seq === presence.count) {
            break;
        }
    }

    await chat.unsubscribe();
    off();
    bus.close();

    try {
        messages.pop();

    } catch (error) {
        if (error instanceof BusError) {
            const code: ErrorCode = error.code;

            throw new BusError(code, `${PROTOCOL} ${state}`);
        }
    }

    // @ts-expect-error
    bus.state = 'open';
    // @ts-expect-error
    chat.seq = 1;
    // @ts-expect-error
    bus._opened();
}
