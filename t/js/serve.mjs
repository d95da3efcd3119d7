// Copyright (C) the ngx_ws_bus_module authors

// The server of tests for a browser, which cannot reach into it: what it does
// is the channel's name.  The token is "good".

import { Server } from './server.mjs';


const server = new Server({
    tokens: new Set(['good']),

    intercept(peer, { type, channel }) {
        if (type === 'subscribe' && channel === 'refresh') {
            peer.send({ type: 'auth_required', expires_in: 120 });
        }

        if (type === 'auth_refresh') {
            this.publish('refresh', 'refreshed');
        }

        if (type === 'publish' && channel === 'expire') {
            peer.close(4001, 'expired');
        }

        if (type === 'publish' && channel === 'kick') {
            peer.close(4010, 'kicked');
        }

        return type === 'publish' && channel !== 'c';
    },
});

await server.start();
console.log(`port ${server.port}`);
