
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * What becomes of the servers, and the markers by which the owners of a host
 * hand over.  The order of messages holds for a connection to one server, so
 * that each of them has a marker of its own.
 */


/* numbers tried until a channel has a slot of a server */
#define NGX_WS_BUS_PEER_TRIES  65536


/*
 * What the bridge knows of a server.
 */

typedef struct {
    ngx_str_t    control;   /* this host's channel there; empty: none */
    ngx_uint_t   slot;      /* of it */
    ngx_uint_t   marked;    /* unsigned  marked:1; the marker has come */
    u_char       name[NGX_WS_BUS_BRIDGE_KEY];
} ngx_ws_bus_peer_t;


/* the zone has room for them */

ngx_ws_bus_assert(link_stats,
                  sizeof(ngx_ws_bus_link_stats_t)
                  <= NGX_WS_BUS_REMOTE_LINK * sizeof(uint64_t));


static void ngx_ws_bus_peer_up(void *data, ngx_ws_bus_server_t *server);
static void ngx_ws_bus_peer_down(void *data, ngx_ws_bus_server_t *server);
static void ngx_ws_bus_peer_listening(void *data,
    ngx_ws_bus_server_t *server);
static void ngx_ws_bus_peer_deaf(void *data, ngx_ws_bus_server_t *server);
static void ngx_ws_bus_peer_moved(void *data, ngx_uint_t first,
    ngx_uint_t last);
static void ngx_ws_bus_peer_gone(void *data, ngx_ws_bus_server_t *server);
static void ngx_ws_bus_peer_flags(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_peer_splice(ngx_queue_t *to, ngx_queue_t *from);
static void ngx_ws_bus_peer_subscribe(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server);
static ngx_int_t ngx_ws_bus_peer_name(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_ws_bus_peer_t *peer);
static void ngx_ws_bus_peer_lost(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_peer_marked(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *value);


ngx_int_t
ngx_ws_bus_bridge_connect(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_servers_handlers_t  handlers;

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_servers_handlers_t));

    handlers.up = ngx_ws_bus_peer_up;
    handlers.down = ngx_ws_bus_peer_down;
    handlers.listening = ngx_ws_bus_peer_listening;
    handlers.deaf = ngx_ws_bus_peer_deaf;
    handlers.push = ngx_ws_bus_bridge_push;
    handlers.moved = ngx_ws_bus_peer_moved;
    handlers.gone = ngx_ws_bus_peer_gone;
    handlers.data = b;

    handlers.stats = (ngx_ws_bus_link_stats_t *)
                         b->hub->slot->stats.remote_link;

    b->since = ngx_current_msec;

    b->servers = ngx_ws_bus_servers_create(b->redis, &handlers, b->log);

    return b->servers ? NGX_OK : NGX_ERROR;
}


void
ngx_ws_bus_bridge_disconnect(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_server_t  *server;

    if (b->servers == NULL) {
        return;
    }

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        if (server->data) {
            ngx_free(server->data);
            server->data = NULL;
        }
    }

    ngx_ws_bus_servers_close(b->servers);

    b->servers = NULL;
}


void
ngx_ws_bus_bridge_listen(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_server_t  *server;

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        if (server->up) {
            ngx_ws_bus_bridge_check(b, server->command);
        }
    }

    ngx_ws_bus_servers_listen(b->servers, 1, NULL);
}


ngx_uint_t
ngx_ws_bus_bridge_failed(ngx_ws_bus_bridge_t *b, ngx_uint_t slot)
{
    ngx_ws_bus_server_t  *server;

    server = ngx_ws_bus_servers_of(b->servers, slot);

    if (server == NULL) {
        return ngx_current_msec - b->since > b->redis->link.connect_timeout;
    }

    /* one that nobody has asked for yet is connected to when it is */

    if (server->up || server->command == NULL) {
        return 0;
    }

    return server->command->reason != NGX_WS_BUS_LINK_NEVER
           || ngx_current_msec - server->since
              > b->redis->link.connect_timeout;
}


ngx_uint_t
ngx_ws_bus_bridge_settled(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_server_t  *server;

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        if (server->slots && !server->listening
            && (server->command == NULL
                || server->command->reason == NGX_WS_BUS_LINK_NEVER))
        {
            return 0;
        }
    }

    return 1;
}


ngx_str_t
ngx_ws_bus_bridge_verb(ngx_ws_bus_bridge_t *b, ngx_uint_t slot)
{
    ngx_ws_bus_server_t  *server;

    static ngx_str_t  publish = ngx_string("PUBLISH");
    static ngx_str_t  spublish = ngx_string("SPUBLISH");

    server = ngx_ws_bus_servers_of(b->servers, slot);

    return (server && server->sharded) ? spublish : publish;
}


/*
 * Of every worker, to publish; and of the owner, to fetch.
 */

static void
ngx_ws_bus_peer_up(void *data, ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_bridge_t *b = data;

    b->ready = 1;

    ngx_ws_bus_bridge_load(b, server);
    ngx_ws_bus_bridge_publish_up(b);

    if (b->token == 0) {
        return;
    }

    ngx_ws_bus_bridge_check(b, server->command);

    ngx_ws_bus_peer_splice(&b->fetch, &b->stalled);

    ngx_post_event(&b->work, &ngx_posted_events);
    ngx_ws_bus_bridge_open(b);
}


static void
ngx_ws_bus_peer_splice(ngx_queue_t *to, ngx_queue_t *from)
{
    if (!ngx_queue_empty(from)) {
        ngx_queue_add(to, from);
        ngx_queue_init(from);
    }
}


static void
ngx_ws_bus_peer_down(void *data, ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_bridge_t *b = data;

    (void) server;

    ngx_ws_bus_peer_flags(b);

    if (b->redis->when_down != NGX_WS_BUS_REDIS_QUEUE) {
        ngx_ws_bus_bridge_publish_refuse(b, 1);
    }

    if (b->token) {
        ngx_ws_bus_bridge_open(b);

        if (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL) {
            ngx_ws_bus_bridge_begin_walk(b);
        }
    }
}


static void
ngx_ws_bus_peer_flags(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_server_t  *server;

    b->up = 0;
    b->ready = 0;

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        b->up |= server->listening;
        b->ready |= server->up;
    }
}


static void
ngx_ws_bus_peer_listening(void *data, ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_bridge_t *b = data;

    ngx_uint_t               first;
    ngx_ws_bus_remote_sh_t  *sh;

    sh = b->zone->sh->remote;

    first = !b->up;
    b->up = 1;

    if (first) {
        ngx_log_error(NGX_LOG_NOTICE, b->log, 0,
                      "ws_bus_zone \"%V\" is joined by redis \"%V\"",
                      &b->zone->name, &b->redis->link.name);

        if (!b->passive) {
            sh->up = 1;
            sh->since = ngx_time();
        }

        /* also what was asked for, and not answered, by another owner */

        ngx_ws_bus_bridge_begin_walk(b);
        ngx_ws_bus_bridge_open(b);
    }

    ngx_ws_bus_peer_subscribe(b, server);
    ngx_ws_bus_peer_splice(&b->subscribe, &b->deaf);

    ngx_post_event(&b->work, &ngx_posted_events);
}


/*
 * Nothing is heard of the channels of this server; if it was the last one,
 * of any channel, and none is live.
 */

static void
ngx_ws_bus_peer_deaf(void *data, ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_bridge_t *b = data;

    ngx_ws_bus_peer_t  *peer;

    peer = server->data;

    if (peer) {
        peer->marked = 0;
    }

    b->zone->sh->remote->stats.reconnects++;

    ngx_ws_bus_peer_flags(b);

    b->handing = 0;

    if (b->up) {
        ngx_ws_bus_bridge_unsubscribed(b, server);

    } else {
        ngx_ws_bus_bridge_unsubscribed(b, NULL);
        ngx_ws_bus_peer_lost(b);
    }
}


static void
ngx_ws_bus_peer_lost(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_remote_sh_t  *sh;

    if (b->passive) {
        return;
    }

    sh = b->zone->sh->remote;

    if (sh->up) {
        sh->up = 0;
        sh->since = ngx_time();
    }

    if (sh->token != b->token) {

        /* another one follows, and need not wait */

        ngx_ws_bus_bridge_give(b);
        return;
    }

    b->token = ngx_ws_bus_remote_take(b->zone);
    ngx_ws_bus_remote_floor(b->zone, b->token);

    ngx_ws_bus_bridge_open(b);
}


static void
ngx_ws_bus_peer_moved(void *data, ngx_uint_t first, ngx_uint_t last)
{
    ngx_ws_bus_bridge_t *b = data;

    if (last - first == NGX_WS_BUS_SLOTS - 1) {

        /* all of it is elsewhere, which takes a while to connect to */

        b->since = ngx_current_msec;
    }

    ngx_ws_bus_bridge_publish_up(b);

    if (b->token == 0) {
        return;
    }

    ngx_ws_bus_peer_splice(&b->subscribe, &b->deaf);
    ngx_ws_bus_peer_splice(&b->fetch, &b->stalled);

    b->moving = 1;
    ngx_post_event(&b->work, &ngx_posted_events);
}


static void
ngx_ws_bus_peer_gone(void *data, ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_bridge_t *b = data;

    if (b->token) {
        ngx_ws_bus_bridge_unsubscribed(b, server);
    }

    if (server->data) {
        ngx_free(server->data);
        server->data = NULL;
    }
}


/*
 * To this host's own channel; without memory, or a slot, it has none, and
 * owners hand over when their time is up.
 */

static void
ngx_ws_bus_peer_subscribe(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server)
{
    ngx_str_t           argv[2];
    ngx_ws_bus_peer_t  *peer;

    peer = server->data;

    if (peer == NULL) {
        peer = ngx_alloc(sizeof(ngx_ws_bus_peer_t), b->log);
        if (peer == NULL) {
            return;
        }

        server->data = peer;
    }

    peer->marked = 0;

    if (ngx_ws_bus_peer_name(b, server, peer) != NGX_OK) {
        return;
    }

    if (server->sharded) {
        ngx_str_set(&argv[0], "SSUBSCRIBE");

    } else {
        ngx_str_set(&argv[0], "SUBSCRIBE");
    }

    argv[1] = peer->control;

    (void) ngx_ws_bus_link_command(server->subscriber, argv, 2, NULL, NULL,
                                   NULL);
}


/*
 * In a Cluster it must be of a slot of this server: "<name>{<number>}".
 */

static ngx_int_t
ngx_ws_bus_peer_name(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server,
    ngx_ws_bus_peer_t *peer)
{
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_cpymem(peer->name, b->control.data, b->control.len);

    peer->control.data = peer->name;

    if (b->redis->mode != NGX_WS_BUS_REDIS_CLUSTER) {
        peer->control.len = b->control.len;
        peer->slot = 0;
        return NGX_OK;
    }

    for (i = 0; i < NGX_WS_BUS_PEER_TRIES; i++) {

        peer->control.len = ngx_sprintf(p, "{%ui}", i) - peer->name;
        peer->slot = ngx_ws_bus_slot(&peer->control);

        if (ngx_ws_bus_servers_of(b->servers, peer->slot) == server) {
            return NGX_OK;
        }
    }

    peer->control.len = 0;

    return NGX_DECLINED;
}


ngx_uint_t
ngx_ws_bus_bridge_appends(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server)
{
    ngx_uint_t          marked;
    ngx_ws_bus_peer_t  *peer;

    peer = server->data;
    marked = peer ? peer->marked : 0;

    return b->passive ? marked : !marked;
}


void
ngx_ws_bus_bridge_marker(ngx_ws_bus_bridge_t *b)
{
    u_char                      token[NGX_INT64_LEN];
    ngx_str_t                   argv[3];
    ngx_ws_bus_peer_t          *peer;
    ngx_ws_bus_server_t        *server;
    ngx_ws_bus_servers_call_t   call;

    argv[2].data = token;
    argv[2].len = ngx_sprintf(token, "%uL", b->token) - token;

    ngx_memzero(&call, sizeof(ngx_ws_bus_servers_call_t));

    call.argv = argv;
    call.n = 3;

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        peer = server->data;

        if (peer == NULL || peer->control.len == 0 || !server->listening) {
            continue;
        }

        argv[0] = ngx_ws_bus_bridge_verb(b, peer->slot);
        argv[1] = peer->control;

        call.slot = peer->slot;

        if (ngx_ws_bus_servers_command(b->servers, &call, NULL) == NGX_OK)
        {
            b->handing = 1;
            b->handing_since = ngx_current_msec;
        }
    }
}


ngx_uint_t
ngx_ws_bus_bridge_control(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server,
    ngx_str_t *kind, ngx_str_t *channel, ngx_str_t *value)
{
    if (channel->len < b->control.len
        || ngx_memcmp(channel->data, b->control.data, b->control.len) != 0)
    {
        return 0;
    }

    /* "message" or "smessage" */

    if (kind->len == 7 || kind->len == 8) {
        ngx_ws_bus_peer_marked(b, server, value);
    }

    return 1;
}


static void
ngx_ws_bus_peer_marked(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server,
    ngx_str_t *value)
{
    ngx_int_t           token;
    ngx_uint_t          mine;
    ngx_ws_bus_peer_t  *peer;

    token = ngx_atoi(value->data, value->len);

    if (token == NGX_ERROR) {
        return;
    }

    mine = ((uint64_t) token == b->token);

    if (server->data == NULL
        || (mine && !b->passive) || (uint64_t) token < b->token)
    {
        return;
    }

    peer = server->data;
    peer->marked = 1;

    /* all of them? */

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        peer = server->data;

        if (server->listening && peer && peer->control.len && !peer->marked) {
            return;
        }
    }

    if (mine) {
        ngx_ws_bus_bridge_active(b);

    } else {
        ngx_ws_bus_bridge_unmark(b);
        ngx_ws_bus_bridge_give(b);
    }
}


void
ngx_ws_bus_bridge_unmark(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_peer_t    *peer;
    ngx_ws_bus_server_t  *server;

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        peer = server->data;

        if (peer) {
            peer->marked = 0;
        }
    }
}
