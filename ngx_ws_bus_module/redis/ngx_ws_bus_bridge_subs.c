
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * What the owner of the bridge is subscribed to.
 *
 * A channel is subscribed to first, then what came before is fetched, then it
 * is live: nothing can be missed in between.
 */


#define ngx_ws_bus_subs_name(c, s)                                            \
    (s)->len = (c)->len;                                                      \
    (s)->data = (c)->name


static ngx_ws_bus_bridge_channel_t *ngx_ws_bus_subs_add(
    ngx_ws_bus_bridge_t *b, const ngx_str_t *name);
static ngx_int_t ngx_ws_bus_subs_grow(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_subs_unqueue(ngx_ws_bus_bridge_channel_t *c);
static void ngx_ws_bus_subs_dead(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);
static ngx_int_t ngx_ws_bus_subs_subscribe(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_subs_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_subs_refused(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_reply_t *reply);
static ngx_uint_t ngx_ws_bus_subs_is(ngx_str_t *kind, const char *name);
static void ngx_ws_bus_subs_confirmed(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *name);
static void ngx_ws_bus_subs_message(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *name, ngx_str_t *value);
static void ngx_ws_bus_subs_leave(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);
static ngx_int_t ngx_ws_bus_subs_unsubscribe(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);
static void ngx_ws_bus_subs_left(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *name);
static void ngx_ws_bus_subs_lost(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);
static void ngx_ws_bus_subs_again(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);


void
ngx_ws_bus_bridge_want(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_remote_channel_t *rc)
{
    ngx_uint_t                    n;
    ngx_ws_bus_bridge_channel_t  *c;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    if (b->zone->sh->remote->open
        || (!rc->live
            && ngx_ws_bus_bridge_is_local(b, ngx_ws_bus_slot(&rc->name))))
    {
        if (ngx_ws_bus_remote_live(b->zone, &rc->name, 0, rings, &n)
            == NGX_OK)
        {
            ngx_ws_bus_hub_appended(b->hub, rings, n);
        }

        if (b->zone->sh->remote->open) {
            return;
        }
    }

    c = ngx_ws_bus_bridge_find(b, &rc->name);

    if (c == NULL) {
        c = ngx_ws_bus_subs_add(b, &rc->name);

        if (c == NULL) {
            return;
        }
    }

    c->unused = 0;

    switch (c->state) {

    case NGX_WS_BUS_BRIDGE_NEW:
        ngx_ws_bus_bridge_queue(b, c, &b->subscribe);
        break;

    case NGX_WS_BUS_BRIDGE_SUBSCRIBED:

        if (c->fetching) {
            c->again = 1;

        } else {
            ngx_ws_bus_bridge_queue(b, c, &b->fetch);
        }

        break;

    default:

        /* goes on when that is confirmed */

        break;
    }
}


ngx_ws_bus_bridge_channel_t *
ngx_ws_bus_bridge_find(ngx_ws_bus_bridge_t *b, const ngx_str_t *name)
{
    uint32_t                      hash;
    ngx_ws_bus_bridge_channel_t  *c;

    if (b->channels == NULL) {
        return NULL;
    }

    hash = ngx_murmur_hash2(name->data, name->len);

    for (c = b->channels[hash & b->mask]; c; c = c->next) {
        if (c->hash == hash
            && c->len == name->len
            && ngx_memcmp(c->name, name->data, name->len) == 0)
        {
            return c;
        }
    }

    return NULL;
}


static ngx_ws_bus_bridge_channel_t *
ngx_ws_bus_subs_add(ngx_ws_bus_bridge_t *b, const ngx_str_t *name)
{
    ngx_ws_bus_bridge_channel_t  *c, **bucket;

    if ((b->channels == NULL || b->nchannels > b->mask)
        && ngx_ws_bus_subs_grow(b) != NGX_OK)
    {
        return NULL;
    }

    c = ngx_calloc(offsetof(ngx_ws_bus_bridge_channel_t, name) + name->len,
                   b->log);
    if (c == NULL) {
        return NULL;
    }

    c->hash = ngx_murmur_hash2(name->data, name->len);
    c->slot = ngx_ws_bus_slot(name);
    c->len = name->len;
    ngx_memcpy(c->name, name->data, name->len);

    bucket = &b->channels[c->hash & b->mask];

    c->next = *bucket;
    *bucket = c;
    b->nchannels++;
    b->zone->sh->remote->channels = b->nchannels;

    return c;
}


static ngx_int_t
ngx_ws_bus_subs_grow(ngx_ws_bus_bridge_t *b)
{
    ngx_uint_t                     i, n;
    ngx_ws_bus_bridge_channel_t   *c, *next, **channels;

    n = b->channels ? 2 * (b->mask + 1) : 64;

    channels = ngx_calloc(n * sizeof(ngx_ws_bus_bridge_channel_t *), b->log);
    if (channels == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; b->channels && i <= b->mask; i++) {
        for (c = b->channels[i]; c; c = next) {
            next = c->next;
            c->next = channels[c->hash & (n - 1)];
            channels[c->hash & (n - 1)] = c;
        }
    }

    if (b->channels) {
        ngx_free(b->channels);
    }

    b->channels = channels;
    b->mask = n - 1;

    return NGX_OK;
}


void
ngx_ws_bus_bridge_queue(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, ngx_queue_t *queue)
{
    if (c->queued) {

        /* who is to be fetched need not be compared first */

        if (queue != &b->fetch || c->state != NGX_WS_BUS_BRIDGE_SUBSCRIBED) {
            return;
        }

        ngx_ws_bus_subs_unqueue(c);
    }

    ngx_queue_insert_tail(queue, &c->queue);
    c->queued = 1;

    ngx_post_event(&b->work, &ngx_posted_events);
}


static void
ngx_ws_bus_subs_unqueue(ngx_ws_bus_bridge_channel_t *c)
{
    if (c->queued) {
        ngx_queue_remove(&c->queue);
        c->queued = 0;
    }
}


static void
ngx_ws_bus_subs_dead(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c)
{
    c->missing = 0;

    if (c->live) {
        c->live = 0;
        b->zone->sh->remote->nlive--;
    }
}


void
ngx_ws_bus_bridge_work(ngx_ws_bus_bridge_t *b)
{
    while (b->up
           && b->subscribing < NGX_WS_BUS_BRIDGE_SUBSCRIBES
           && !ngx_queue_empty(&b->subscribe))
    {
        if (ngx_ws_bus_subs_subscribe(b) != NGX_OK) {
            break;
        }
    }

    if (b->up && b->ready) {
        ngx_ws_bus_bridge_fetch(b);
    }
}


/*
 * One command for many channels; in a Cluster with shards, for one, since it
 * would need one slot.  NGX_OK, or NGX_DECLINED if there is no room for it
 * now.
 */

static ngx_int_t
ngx_ws_bus_subs_subscribe(ngx_ws_bus_bridge_t *b)
{
    u_char                       *p;
    ngx_str_t                     argv[1 + NGX_WS_BUS_BRIDGE_BATCH], name;
    ngx_uint_t                    i, n, max;
    ngx_queue_t                  *q;
    ngx_ws_bus_server_t          *server, *other;
    ngx_ws_bus_bridge_channel_t  *c, *batch[NGX_WS_BUS_BRIDGE_BATCH];

    static u_char  names[NGX_WS_BUS_BRIDGE_BATCH * NGX_WS_BUS_BRIDGE_KEY];

    p = names;
    server = NULL;
    max = NGX_WS_BUS_BRIDGE_BATCH;

    q = ngx_queue_head(&b->subscribe);

    for (n = 0; n < max && q != ngx_queue_sentinel(&b->subscribe); n++) {

        c = ngx_queue_data(q, ngx_ws_bus_bridge_channel_t, queue);

        other = ngx_ws_bus_servers_of(b->servers, c->slot);

        if (n == 0) {

            if (other == NULL || !other->listening) {

                /* it waits until somebody does */

                ngx_queue_remove(q);
                ngx_queue_insert_tail(&b->deaf, q);
                return NGX_OK;
            }

            server = other;
            max = server->sharded ? 1 : max;
        }

        if (other != server || (c->alone && n)) {
            break;
        }

        ngx_ws_bus_subs_name(c, &name);

        argv[n + 1].data = p;
        p = ngx_ws_bus_redis_key(p, names + sizeof(names),
                                 &b->redis->prefix, &name,
                                 NGX_WS_BUS_REDIS_KEY_CHANNEL);
        argv[n + 1].len = p - argv[n + 1].data;

        batch[n] = c;
        q = ngx_queue_next(q);

        if (c->alone) {
            n++;
            break;
        }
    }

    if (server->sharded) {
        ngx_str_set(&argv[0], "SSUBSCRIBE");

    } else {
        ngx_str_set(&argv[0], "SUBSCRIBE");
    }

    if (ngx_ws_bus_link_command(server->subscriber, argv, n + 1,
                                ngx_ws_bus_subs_handler, b, NULL)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    b->subscribing++;

    for (i = 0; i < n; i++) {
        c = batch[i];

        ngx_ws_bus_subs_unqueue(c);
        c->server = server;
        c->state = NGX_WS_BUS_BRIDGE_SUBSCRIBING;
        c->since = ngx_current_msec;
    }

    return NGX_OK;
}


/*
 * Each channel has been confirmed by its own push; an error is for all of
 * them, and the sweep tries them one by one.
 */

static void
ngx_ws_bus_subs_handler(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_bridge_t *b = data;

    static const ngx_str_t  channels = ngx_string("channels");

    if (b->subscribing) {
        b->subscribing--;
    }

    if (rc == NGX_OK && ngx_ws_bus_reply_is_error(reply, "MOVED")) {

        /*
         * They are subscribed to anew where that says; servers that do not
         * agree are asked no more than so often.
         */

        if (b->redirects < NGX_WS_BUS_BRIDGE_REDIRECTS) {
            b->redirects++;
            ngx_ws_bus_servers_redirected(b->servers, &reply->str);

        } else {
            ngx_ws_bus_servers_suspect(b->servers, NULL);
        }

    } else if (rc == NGX_OK && reply->type == NGX_WS_BUS_REPLY_ERROR) {
        ngx_ws_bus_bridge_error(b, "subscribing to", &channels, reply);
        ngx_ws_bus_subs_refused(b, reply);
    }

    ngx_post_event(&b->work, &ngx_posted_events);
}


/*
 * Which server it was is not known, but a Cluster mostly is down as a whole.
 */

static void
ngx_ws_bus_subs_refused(ngx_ws_bus_bridge_t *b, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_server_t  *server;

    if (!ngx_ws_bus_reply_is_error(reply, "CLUSTERDOWN")) {
        return;
    }

    for (server = ngx_ws_bus_servers_next(b->servers, NULL);
         server;
         server = ngx_ws_bus_servers_next(b->servers, server))
    {
        server->refused = ngx_current_msec;
    }

    ngx_ws_bus_bridge_refused(b, reply);
}


void
ngx_ws_bus_bridge_push(void *data, ngx_ws_bus_server_t *server,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_bridge_t *b = data;

    ngx_str_t            name, *kind;
    ngx_ws_bus_reply_t  *channel, *value;

    if (reply->n < 3 || b->token == 0) {
        return;
    }

    kind = &reply->first->str;
    channel = reply->first->next;
    value = channel->next;

    if (ngx_ws_bus_bridge_control(b, server, kind, &channel->str,
                                  &value->str))
    {
        return;
    }

    if (ngx_ws_bus_redis_channel(&channel->str, &b->redis->prefix, &name)
        != NGX_OK)
    {
        return;
    }

    if (ngx_ws_bus_subs_is(kind, "message")) {
        ngx_ws_bus_subs_message(b, server, &name, &value->str);

    } else if (ngx_ws_bus_subs_is(kind, "subscribe")) {
        ngx_ws_bus_subs_confirmed(b, server, &name);

    } else if (ngx_ws_bus_subs_is(kind, "unsubscribe")) {
        ngx_ws_bus_subs_left(b, server, &name);
    }
}


/*
 * "smessage" is a message as well.
 */

static ngx_uint_t
ngx_ws_bus_subs_is(ngx_str_t *kind, const char *name)
{
    size_t  len, skip;

    len = ngx_strlen(name);
    skip = (kind->len == len + 1 && kind->data[0] == 's');

    return kind->len == len + skip
           && ngx_memcmp(kind->data + skip, name, len) == 0;
}


static void
ngx_ws_bus_subs_confirmed(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *name)
{
    ngx_ws_bus_bridge_channel_t  *c;

    c = ngx_ws_bus_bridge_find(b, name);

    if (c == NULL || c->state != NGX_WS_BUS_BRIDGE_SUBSCRIBING
        || c->server != server)
    {
        return;
    }

    c->state = NGX_WS_BUS_BRIDGE_SUBSCRIBED;
    c->alone = 0;

    ngx_ws_bus_bridge_queue(b, c, &b->compare);
}


static void
ngx_ws_bus_subs_message(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server,
    ngx_str_t *name, ngx_str_t *value)
{
    ngx_int_t                     rc;
    ngx_uint_t                    n;
    ngx_ws_bus_envelope_t         e;
    ngx_ws_bus_remote_stats_t    *stats;
    ngx_ws_bus_bridge_channel_t  *c;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    stats = &b->zone->sh->remote->stats;
    stats->received++;

    c = ngx_ws_bus_bridge_find(b, name);

    if (ngx_ws_bus_envelope_read(&e, value->data, value->len) != NGX_OK) {
        stats->invalid++;

        if (ngx_ws_bus_bridge_logs(&b->invalid)) {
            ngx_log_error(NGX_LOG_INFO, b->log, 0,
                          "ws_bus_redis \"%V\": invalid message on \"%V\"",
                          &b->redis->link.name, name);
        }

        return;
    }

    if (e.flags & NGX_WS_BUS_ENVELOPE_DELETED) {

        if (ngx_ws_bus_bridge_appends(b, server)
            && ngx_ws_bus_remote_deleted(b->zone, name, rings, &n) == NGX_OK)
        {
            ngx_ws_bus_hub_appended(b->hub, rings, n);
        }

        if (c) {
            ngx_ws_bus_subs_dead(b, c);
        }

        return;
    }

    /* what has no number would be appended twice */

    if (!(e.flags & NGX_WS_BUS_ENVELOPE_SEQ)
        && (!ngx_ws_bus_bridge_appends(b, server)
            || (c && c->server != server)))
    {
        return;
    }

    rc = ngx_ws_bus_bridge_place(b, name, &e, 0);

    if (rc == NGX_DECLINED && e.seq && c) {
        ngx_ws_bus_subs_dead(b, c);
        return;
    }

    if (rc != NGX_AGAIN || c == NULL
        || c->state != NGX_WS_BUS_BRIDGE_SUBSCRIBED)
    {
        return;
    }

    ngx_ws_bus_bridge_hole(b, c, name, &e);

    if (c->fetching) {
        c->again = 1;
        return;
    }

    ngx_ws_bus_bridge_queue(b, c, &b->fetch);
}


/*
 * Nobody on this host has listened for a while.
 */

static void
ngx_ws_bus_subs_leave(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c)
{
    ngx_str_t  name;

    ngx_ws_bus_subs_name(c, &name);

    /* whoever comes from now on asks for it */

    ngx_ws_bus_remote_dead(b->zone, &name);
    ngx_ws_bus_subs_dead(b, c);

    if (ngx_ws_bus_subs_unsubscribe(b, c) == NGX_OK) {
        ngx_ws_bus_subs_unqueue(c);
        c->state = NGX_WS_BUS_BRIDGE_LEAVING;
        c->since = ngx_current_msec;
    }
}


static ngx_int_t
ngx_ws_bus_subs_unsubscribe(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c)
{
    u_char     key[NGX_WS_BUS_BRIDGE_KEY];
    ngx_str_t  argv[2], name;

    if (c->server == NULL || !c->server->listening) {
        return NGX_DECLINED;
    }

    ngx_ws_bus_subs_name(c, &name);

    if (c->server->sharded) {
        ngx_str_set(&argv[0], "SUNSUBSCRIBE");

    } else {
        ngx_str_set(&argv[0], "UNSUBSCRIBE");
    }

    argv[1].data = key;
    argv[1].len = ngx_ws_bus_redis_key(key, key + sizeof(key),
                                       &b->redis->prefix, &name,
                                       NGX_WS_BUS_REDIS_KEY_CHANNEL)
                  - key;

    return ngx_ws_bus_link_command(c->server->subscriber, argv, 2, NULL, NULL,
                                   NULL);
}


static void
ngx_ws_bus_subs_left(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server,
    ngx_str_t *name)
{
    ngx_ws_bus_bridge_channel_t  *c, **prev;

    c = ngx_ws_bus_bridge_find(b, name);

    if (c == NULL || c->server != server
        || c->state == NGX_WS_BUS_BRIDGE_NEW)
    {
        return;
    }

    if (c->state != NGX_WS_BUS_BRIDGE_LEAVING) {

        /*
         * Its slot has moved, and the server says so before the map does; it
         * also says where, when it is asked again.
         */

        ngx_ws_bus_subs_lost(b, c);
        return;
    }

    c->server = NULL;
    c->state = NGX_WS_BUS_BRIDGE_NEW;

    if (!c->unused || c->fetching) {

        /* somebody has asked for it again */

        ngx_ws_bus_bridge_queue(b, c, &b->subscribe);
        return;
    }

    ngx_ws_bus_subs_unqueue(c);

    for (prev = &b->channels[c->hash & b->mask];
         *prev != c;
         prev = &(*prev)->next)
    {
        /* void */
    }

    *prev = c->next;
    b->nchannels--;
    b->zone->sh->remote->channels = b->nchannels;

    ngx_free(c);
}


/*
 * It is heard of no more, while others are.
 */

static void
ngx_ws_bus_subs_lost(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c)
{
    ngx_str_t  name;

    if (c->live && !b->passive) {
        ngx_ws_bus_subs_name(c, &name);
        ngx_ws_bus_remote_dead(b->zone, &name);
    }

    ngx_ws_bus_subs_again(b, c);
}


static void
ngx_ws_bus_subs_again(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c)
{
    ngx_ws_bus_subs_unqueue(c);
    ngx_ws_bus_subs_dead(b, c);

    c->server = NULL;
    c->state = NGX_WS_BUS_BRIDGE_NEW;
    c->again = 0;

    ngx_ws_bus_bridge_queue(b, c, &b->subscribe);
}


void
ngx_ws_bus_bridge_unsubscribed(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server)
{
    ngx_uint_t                    i;
    ngx_ws_bus_bridge_channel_t  *c;

    b->round++;

    for (i = 0; b->channels && i <= b->mask; i++) {
        for (c = b->channels[i]; c; c = c->next) {
            if (server == NULL) {
                ngx_ws_bus_subs_again(b, c);

            } else if (c->server == server) {
                ngx_ws_bus_subs_lost(b, c);
            }
        }
    }
}


void
ngx_ws_bus_bridge_move(ngx_ws_bus_bridge_t *b)
{
    ngx_uint_t                    i;
    ngx_ws_bus_bridge_channel_t  *c;

    b->round++;

    for (i = 0; b->channels && i <= b->mask; i++) {
        for (c = b->channels[i]; c; c = c->next) {

            if (c->server == NULL
                || c->server == ngx_ws_bus_servers_of(b->servers, c->slot))
            {
                continue;
            }

            if (!c->server->sharded) {
                (void) ngx_ws_bus_subs_unsubscribe(b, c);
            }

            ngx_ws_bus_subs_lost(b, c);
        }
    }
}


void
ngx_ws_bus_bridge_free_channels(ngx_ws_bus_bridge_t *b)
{
    ngx_uint_t                    i;
    ngx_ws_bus_bridge_channel_t  *c, *next;

    b->round++;
    b->generation++;
    b->subscribing = 0;

    for (i = 0; b->channels && i <= b->mask; i++) {
        for (c = b->channels[i]; c; c = next) {
            next = c->next;

            ngx_ws_bus_subs_unqueue(c);
            ngx_ws_bus_subs_dead(b, c);
            ngx_free(c);
        }
    }

    if (b->channels) {
        ngx_free(b->channels);
    }

    b->channels = NULL;
    b->nchannels = 0;
    b->mask = 0;
}


void
ngx_ws_bus_bridge_sweep(ngx_ws_bus_bridge_t *b)
{
    ngx_str_t                     name;
    ngx_uint_t                    i, n;
    ngx_ws_bus_remote_channel_t   rc;
    ngx_ws_bus_bridge_channel_t  *c;

    if (b->channels == NULL || !b->up) {
        return;
    }

    /* all of them within some seconds */

    n = b->mask / NGX_WS_BUS_BRIDGE_CHECK + 1;

    for (i = 0; i < n; i++) {

        for (c = b->channels[b->hand++ & b->mask]; c; c = c->next) {

            if (c->state == NGX_WS_BUS_BRIDGE_SUBSCRIBING
                && ngx_current_msec - c->since > 2 * b->redis->link.timeout)
            {
                c->state = NGX_WS_BUS_BRIDGE_NEW;
                c->alone = 1;

                ngx_ws_bus_bridge_queue(b, c, &b->subscribe);
                continue;
            }

            if (c->state != NGX_WS_BUS_BRIDGE_SUBSCRIBED || c->fetching) {
                continue;
            }

            ngx_ws_bus_subs_name(c, &name);

            if (ngx_ws_bus_remote_look(b->zone, &name, &rc) == NGX_OK
                && rc.subscribers)
            {
                c->unused = 0;
                ngx_ws_bus_bridge_queue(b, c, rc.live ? &b->compare
                                                      : &b->fetch);
                continue;
            }

            if (!c->unused) {
                c->unused = 1;
                c->idle = ngx_current_msec;

            } else if (ngx_current_msec - c->idle
                       > NGX_WS_BUS_BRIDGE_LINGER)
            {
                ngx_ws_bus_subs_leave(b, c);
            }
        }
    }
}
