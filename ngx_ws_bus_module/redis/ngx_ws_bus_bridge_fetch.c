
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * What this host has is compared with what Redis has, and what is missing is
 * fetched.  What cannot be had any more is told to clients as lost.
 */


/* a channel in use is known for so long after its last user, milliseconds */
#define NGX_WS_BUS_FETCH_META_TTL  ((uint64_t) 14 * 86400 * 1000)


/*
 * One command that is on its way.  A channel in it is known only as long as
 * the generation is the same.
 */

typedef struct {
    ngx_ws_bus_bridge_t          *bridge;
    uint64_t                      generation;
    uint64_t                      round;
    ngx_uint_t                    n;
    ngx_ws_bus_bridge_channel_t  *channels[1];
} ngx_ws_bus_fetch_t;


static ngx_uint_t ngx_ws_bus_fetch_ready(ngx_ws_bus_bridge_t *b,
    ngx_queue_t *queue);
static ngx_int_t ngx_ws_bus_fetch_compare(ngx_ws_bus_bridge_t *b);
static ngx_int_t ngx_ws_bus_fetch_positions(ngx_ws_bus_fetch_t *f);
static void ngx_ws_bus_fetch_compare_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_fetch_position(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, ngx_ws_bus_position_t *pos);

static void ngx_ws_bus_fetch_ask(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, const ngx_str_t *name,
    ngx_ws_bus_remote_channel_t *ch);
static ngx_int_t ngx_ws_bus_fetch_one(ngx_ws_bus_bridge_t *b);
static ngx_int_t ngx_ws_bus_fetch_history(ngx_ws_bus_fetch_t *f);
static void ngx_ws_bus_fetch_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_fetch_refused(ngx_ws_bus_fetch_t *f,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_fetch_apply(ngx_ws_bus_fetch_t *f,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_fetch_adopt(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, ngx_ws_bus_remote_channel_t *ch,
    ngx_ws_bus_position_t *pos, uint64_t first);
static void ngx_ws_bus_fetch_lost(ngx_ws_bus_bridge_t *b,
    const ngx_str_t *name, uint64_t seq);
static void ngx_ws_bus_fetch_live(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c);
static ngx_ws_bus_fetch_t *ngx_ws_bus_fetch_create(ngx_ws_bus_bridge_t *b,
    ngx_uint_t n);
static ngx_uint_t ngx_ws_bus_fetch_is_known(ngx_ws_bus_fetch_t *f);
static ngx_ws_bus_reply_t *ngx_ws_bus_fetch_read(ngx_ws_bus_reply_t *el,
    ngx_ws_bus_position_t *pos);
static void ngx_ws_bus_fetch_older(ngx_ws_bus_reply_t *list,
    ngx_ws_bus_position_t *pos);


void
ngx_ws_bus_bridge_fetch(ngx_ws_bus_bridge_t *b)
{
    while (b->fetching < NGX_WS_BUS_BRIDGE_FETCHES
           && ngx_ws_bus_fetch_ready(b, &b->fetch))
    {
        if (ngx_ws_bus_fetch_one(b) != NGX_OK) {
            return;
        }
    }

    while (b->fetching < NGX_WS_BUS_BRIDGE_FETCHES
           && ngx_ws_bus_fetch_ready(b, &b->compare))
    {
        if (ngx_ws_bus_fetch_compare(b) != NGX_OK) {
            return;
        }
    }
}


/*
 * 1 if the first channel of the queue has a server; those without one wait
 * until there is.
 */

static ngx_uint_t
ngx_ws_bus_fetch_ready(ngx_ws_bus_bridge_t *b, ngx_queue_t *queue)
{
    ngx_queue_t                  *q;
    ngx_ws_bus_server_t          *server;
    ngx_ws_bus_bridge_channel_t  *c;

    while (!ngx_queue_empty(queue)) {

        q = ngx_queue_head(queue);
        c = ngx_queue_data(q, ngx_ws_bus_bridge_channel_t, queue);

        server = ngx_ws_bus_servers_of(b->servers, c->slot);

        if (server && server->up) {
            return 1;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&b->stalled, q);
    }

    return 0;
}


ngx_int_t
ngx_ws_bus_bridge_place(ngx_ws_bus_bridge_t *b, const ngx_str_t *name,
    ngx_ws_bus_envelope_t *e, ngx_uint_t fetched)
{
    uint64_t                      now, age;
    ngx_int_t                     rc;
    ngx_uint_t                    n;
    ngx_ws_bus_message_t          msg;
    ngx_ws_bus_remote_channel_t   ch;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    ngx_memzero(&msg, sizeof(ngx_ws_bus_message_t));

    msg.data = e->payload.data;
    msg.len = e->payload.len;
    msg.flags = e->flags & (NGX_WS_BUS_REC_BINARY|NGX_WS_BUS_REC_JSON
                            |NGX_WS_BUS_REC_STRING);
    msg.time = ngx_ws_bus_time();

    if (fetched && e->time) {

        /* clocks of hosts differ: only what is old has an age */

        now = (uint64_t) ngx_cached_time->sec * 1000 + ngx_cached_time->msec;
        age = (now > e->time) ? (now - e->time) * 1000 : 0;

        msg.time = (age < msg.time) ? msg.time - age : 0;
    }

    rc = ngx_ws_bus_remote_place(b->zone, name, e->epoch, e->seq, &msg,
                                 rings, &n);

    if (rc == NGX_AGAIN && (e->flags & NGX_WS_BUS_ENVELOPE_PREV)
        && ngx_ws_bus_remote_look(b->zone, name, &ch) == NGX_OK
        && ngx_ws_bus_envelope_follows(e, ch.epoch, ch.seq) == NGX_OK)
    {
        /* the first one of an epoch that continues ours */

        ngx_ws_bus_chain_prepend(&ch.chain, e->prev, e->base);

        if (ngx_ws_bus_remote_reset(b->zone, name, e->epoch, 0, &ch.chain, 1,
                                    rings, &n)
            == NGX_OK)
        {
            ngx_ws_bus_hub_appended(b->hub, rings, n);
        }

        rc = ngx_ws_bus_remote_place(b->zone, name, e->epoch, e->seq, &msg,
                                     rings, &n);
    }

    if (rc == NGX_OK) {
        ngx_ws_bus_hub_appended(b->hub, rings, n);

    } else if (rc == NGX_ERROR) {

        if (ngx_ws_bus_bridge_logs(&b->large)) {
            ngx_log_error(NGX_LOG_ERR, b->log, 0,
                          "ws_bus_redis \"%V\": a message on \"%V\" is "
                          "larger than the log of the zone",
                          &b->redis->link.name, name);
        }

        ngx_ws_bus_fetch_lost(b, name, e->seq);
    }

    return rc;
}


/*
 * Many positions with one command; in a Cluster those of a slot.  NGX_OK, or
 * NGX_DECLINED if there is no room for it now.
 */

static ngx_int_t
ngx_ws_bus_fetch_compare(ngx_ws_bus_bridge_t *b)
{
    ngx_queue_t                  *q;
    ngx_ws_bus_fetch_t           *f;
    ngx_ws_bus_bridge_channel_t  *c;

    f = ngx_ws_bus_fetch_create(b, NGX_WS_BUS_BRIDGE_BATCH);
    if (f == NULL) {
        return NGX_DECLINED;
    }

    while (f->n < NGX_WS_BUS_BRIDGE_BATCH && !ngx_queue_empty(&b->compare)) {

        q = ngx_queue_head(&b->compare);
        c = ngx_queue_data(q, ngx_ws_bus_bridge_channel_t, queue);

        if (f->n && c->slot != f->channels[0]->slot
            && b->redis->mode == NGX_WS_BUS_REDIS_CLUSTER)
        {
            break;
        }

        ngx_queue_remove(q);

        c->queued = 0;
        c->fetching = 1;

        f->channels[f->n++] = c;
    }

    if (ngx_ws_bus_fetch_positions(f) == NGX_OK) {
        b->fetching++;
        return NGX_OK;
    }

    while (f->n) {
        c = f->channels[--f->n];
        c->fetching = 0;
        ngx_queue_insert_head(&b->compare, &c->queue);
        c->queued = 1;
    }

    ngx_free(f);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_ws_bus_fetch_positions(ngx_ws_bus_fetch_t *f)
{
    u_char                       *p, ttl[NGX_INT64_LEN];
    ngx_str_t                     argv[4 + NGX_WS_BUS_BRIDGE_BATCH], name;
    ngx_uint_t                    i;
    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_servers_call_t     call;
    ngx_ws_bus_remote_channel_t   ch;
    ngx_ws_bus_bridge_channel_t  *c;

    static u_char  names[NGX_WS_BUS_BRIDGE_BATCH * NGX_WS_BUS_BRIDGE_KEY];

    b = f->bridge;
    p = names;

    for (i = 0; i < f->n; i++) {
        c = f->channels[i];

        name.data = c->name;
        name.len = c->len;

        ngx_ws_bus_fetch_ask(b, c, &name, &ch);

        argv[i + 3].data = p;
        p = ngx_ws_bus_redis_key(p, names + sizeof(names), &b->redis->prefix,
                                 &name, NGX_WS_BUS_REDIS_KEY_META);
        argv[i + 3].len = p - argv[i + 3].data;
    }

    argv[i + 3].data = ttl;
    argv[i + 3].len = ngx_sprintf(ttl, "%uL", NGX_WS_BUS_FETCH_META_TTL)
                      - ttl;

    ngx_memzero(&call, sizeof(ngx_ws_bus_servers_call_t));

    call.slot = f->channels[0]->slot;
    call.n = f->n + 4;
    call.once = (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL);
    call.handler = ngx_ws_bus_fetch_compare_handler;
    call.data = f;

    return ngx_ws_bus_bridge_script(b, &call, &ngx_ws_bus_script_position,
                                    argv, f->n);
}


static void
ngx_ws_bus_fetch_compare_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_fetch_t *f = data;

    ngx_uint_t                    i, known;
    ngx_ws_bus_reply_t           *el;
    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_position_t         pos;
    ngx_ws_bus_bridge_channel_t  *c;

    static const ngx_str_t  channels = ngx_string("channels");

    b = f->bridge;
    b->fetching--;

    known = ngx_ws_bus_fetch_is_known(f);

    if (rc == NGX_OK
        && (reply->type != NGX_WS_BUS_REPLY_ARRAY || reply->n != 4 * f->n))
    {
        if (reply->type == NGX_WS_BUS_REPLY_ERROR) {
            ngx_ws_bus_bridge_error(b, "comparing", &channels, reply);
            ngx_ws_bus_bridge_refused(b, reply);
        }

        rc = NGX_ERROR;
    }

    el = (rc == NGX_OK) ? reply->first : NULL;

    for (i = 0; known && i < f->n; i++) {

        c = f->channels[i];
        c->fetching = 0;

        if (el) {
            el = ngx_ws_bus_fetch_read(el, &pos);
        }

        if (c->state != NGX_WS_BUS_BRIDGE_SUBSCRIBED) {
            continue;
        }

        if (rc != NGX_OK || f->round != b->round) {

            if (!c->live) {
                ngx_ws_bus_bridge_queue(b, c, &b->fetch);
            }

            continue;
        }

        ngx_ws_bus_fetch_position(b, c, &pos);
    }

    ngx_post_event(&b->work, &ngx_posted_events);

    ngx_free(f);
}


static void
ngx_ws_bus_fetch_position(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, ngx_ws_bus_position_t *pos)
{
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_ws_bus_remote_channel_t  ch;

    name.data = c->name;
    name.len = c->len;

    if (ngx_ws_bus_remote_look(b->zone, &name, &ch) != NGX_OK) {
        return;
    }

    if (c->again) {
        c->again = 0;
        ngx_ws_bus_bridge_queue(b, c, &b->fetch);
        return;
    }

    if (ch.epoch == 0) {

        /* nothing is asked for where nobody keeps anything */

        if (pos->epoch == 0 && b->remote.history == 0) {

            if (!c->live || !ch.live) {
                ngx_ws_bus_fetch_live(b, c);
            }

        } else {
            ngx_ws_bus_bridge_queue(b, c, &b->fetch);
        }

        return;
    }

    if (ch.epoch != c->asked_epoch) {
        ngx_ws_bus_bridge_queue(b, c, &b->compare);
        return;
    }

    rc = pos->epoch ? ngx_ws_bus_position_follows(pos, c->asked_epoch,
                                                  c->asked_seq)
                    : NGX_DECLINED;

    if (rc != NGX_DECLINED && pos->epoch == ch.epoch && pos->seq <= ch.seq) {
        if (!c->live || !ch.live) {
            ngx_ws_bus_fetch_live(b, c);
        }

        return;
    }

    if (rc == NGX_AGAIN && c->live
        && ngx_ws_bus_bridge_late(b, c, pos) == NGX_OK)
    {
        return;
    }

    ngx_ws_bus_bridge_queue(b, c, &b->fetch);
}


/*
 * Remembers where this host is before it asks: what comes meanwhile is no
 * sign that Redis has less.
 */

static void
ngx_ws_bus_fetch_ask(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c,
    const ngx_str_t *name, ngx_ws_bus_remote_channel_t *ch)
{
    if (ngx_ws_bus_remote_look(b->zone, name, ch) != NGX_OK) {
        ngx_memzero(ch, sizeof(ngx_ws_bus_remote_channel_t));
    }

    c->asked_epoch = ch->epoch;
    c->asked_seq = ch->seq;
}


static ngx_int_t
ngx_ws_bus_fetch_one(ngx_ws_bus_bridge_t *b)
{
    ngx_queue_t                  *q;
    ngx_ws_bus_fetch_t           *f;
    ngx_ws_bus_bridge_channel_t  *c;

    f = ngx_ws_bus_fetch_create(b, 1);
    if (f == NULL) {
        return NGX_DECLINED;
    }

    q = ngx_queue_head(&b->fetch);
    c = ngx_queue_data(q, ngx_ws_bus_bridge_channel_t, queue);

    f->n = 1;
    f->channels[0] = c;

    if (ngx_ws_bus_fetch_history(f) != NGX_OK) {
        ngx_free(f);
        return NGX_DECLINED;
    }

    ngx_queue_remove(q);

    c->queued = 0;
    c->fetching = 1;
    c->again = 0;

    b->fetching++;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_fetch_history(ngx_ws_bus_fetch_t *f)
{
    u_char                       *p, *last, buf[2 * NGX_WS_BUS_BRIDGE_KEY];
    ngx_str_t                     argv[11], name;
    ngx_uint_t                    limit;
    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_servers_call_t     call;
    ngx_ws_bus_bridge_channel_t  *c;
    ngx_ws_bus_remote_channel_t   ch;

    static u_char  numbers[5 * NGX_INT64_LEN + NGX_WS_BUS_BRIDGE_EPOCH];

    b = f->bridge;
    c = f->channels[0];

    name.data = c->name;
    name.len = c->len;

    ngx_ws_bus_fetch_ask(b, c, &name, &ch);

    last = buf + sizeof(buf);

    argv[3].data = buf;
    p = ngx_ws_bus_redis_key(buf, last, &b->redis->prefix, &name,
                             NGX_WS_BUS_REDIS_KEY_META);
    argv[3].len = p - buf;

    argv[4].data = p;
    argv[4].len = ngx_ws_bus_redis_key(p, last, &b->redis->prefix, &name,
                                       NGX_WS_BUS_REDIS_KEY_LOG)
                  - p;

    p = numbers;

    argv[5].data = p;
    p = (ch.epoch || c->live) ? ngx_sprintf(p, "%uL", ch.seq)
                              : ngx_sprintf(p, "-1");
    argv[5].len = p - argv[5].data;

    limit = (ch.epoch || c->live)
            ? NGX_WS_BUS_BRIDGE_MESSAGES
            : ngx_min(b->remote.history, NGX_WS_BUS_BRIDGE_HISTORY);

    argv[6].data = p;
    p = ngx_sprintf(p, "%ui", limit);
    argv[6].len = p - argv[6].data;

    argv[7].data = p;
    p = ngx_sprintf(p, "%ui", (ngx_uint_t) NGX_WS_BUS_BRIDGE_BYTES);
    argv[7].len = p - argv[7].data;

    argv[8].data = p;
    argv[8].len = 0;

    if (b->remote.history && !c->wary) {
        argv[8].len = NGX_WS_BUS_BRIDGE_EPOCH;

        if (ngx_ws_bus_bridge_epoch(p) != NGX_OK) {
            return NGX_ERROR;
        }

        p += NGX_WS_BUS_BRIDGE_EPOCH;
    }

    argv[9].data = p;
    argv[9].len = 0;

    argv[10].data = p;
    p = ngx_sprintf(p, "%uL", c->wary ? (uint64_t) 0
                                      : NGX_WS_BUS_FETCH_META_TTL);
    argv[10].len = p - argv[10].data;

    ngx_memzero(&call, sizeof(ngx_ws_bus_servers_call_t));

    call.slot = c->slot;
    call.n = 11;
    call.replid = 9;
    call.digits = NGX_WS_BUS_BRIDGE_REPLID;
    call.once = (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL);
    call.handler = ngx_ws_bus_fetch_handler;
    call.data = f;

    return ngx_ws_bus_bridge_script(b, &call, &ngx_ws_bus_script_history,
                                    argv, 2);
}


static void
ngx_ws_bus_fetch_handler(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_fetch_t *f = data;

    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_bridge_channel_t  *c;

    b = f->bridge;
    c = f->channels[0];

    if (!ngx_ws_bus_fetch_is_known(f)) {
        b->fetching--;
        ngx_free(f);
        return;
    }

    if (rc == NGX_OK && reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        rc = ngx_ws_bus_fetch_refused(f, reply);

        if (rc == NGX_AGAIN) {
            return;
        }
    }

    b->fetching--;
    c->fetching = 0;

    if (c->state == NGX_WS_BUS_BRIDGE_SUBSCRIBED) {

        if (rc == NGX_OK && f->round == b->round) {
            rc = ngx_ws_bus_fetch_apply(f, reply);

        } else if (rc != NGX_DECLINED) {
            rc = NGX_AGAIN;
        }

        /* what was refused is tried again by the sweep */

        if (rc == NGX_AGAIN || c->again) {
            ngx_ws_bus_bridge_queue(b, c, &b->fetch);

        } else if (rc == NGX_OK) {
            ngx_ws_bus_fetch_live(b, c);
        }
    }

    ngx_post_event(&b->work, &ngx_posted_events);

    ngx_free(f);
}


/*
 * NGX_AGAIN: the command was sent again; NGX_DECLINED: it is of no use.
 */

static ngx_int_t
ngx_ws_bus_fetch_refused(ngx_ws_bus_fetch_t *f, ngx_ws_bus_reply_t *reply)
{
    ngx_str_t                     name;
    ngx_ws_bus_bridge_channel_t  *c;

    c = f->channels[0];

    name.data = c->name;
    name.len = c->len;

    ngx_ws_bus_bridge_error(f->bridge, "fetching", &name, reply);
    ngx_ws_bus_bridge_refused(f->bridge, reply);

    /* reading may be possible where writing is not */

    if (!c->wary
        && (ngx_ws_bus_reply_is_error(reply, "OOM")
            || ngx_ws_bus_reply_is_error(reply, "READONLY")
            || ngx_ws_bus_reply_is_error(reply, "MISCONF")
            || ngx_ws_bus_reply_is_error(reply, "NOREPLICAS")))
    {
        c->wary = 1;

        return (ngx_ws_bus_fetch_history(f) == NGX_OK) ? NGX_AGAIN
                                                       : NGX_DECLINED;
    }

    return NGX_DECLINED;
}


/*
 * NGX_OK: all is here; NGX_AGAIN: there is more; NGX_DECLINED: the answer
 * cannot be understood, or nobody wants the channel.
 */

static ngx_int_t
ngx_ws_bus_fetch_apply(ngx_ws_bus_fetch_t *f, ngx_ws_bus_reply_t *reply)
{
    uint64_t                      first, before;
    ngx_str_t                     name;
    ngx_ws_bus_reply_t           *el;
    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_envelope_t         e;
    ngx_ws_bus_position_t         pos;
    ngx_ws_bus_bridge_channel_t  *c;
    ngx_ws_bus_remote_channel_t   ch;

    b = f->bridge;
    c = f->channels[0];
    c->wary = 0;

    name.data = c->name;
    name.len = c->len;

    if (reply->n != 7
        || ngx_ws_bus_remote_look(b->zone, &name, &ch) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (ch.epoch != c->asked_epoch) {

        /* things have changed meanwhile */

        return NGX_AGAIN;
    }

    el = ngx_ws_bus_fetch_read(reply->first, &pos);
    first = (uint64_t) el->integer;
    el = el->next;

    ngx_ws_bus_fetch_older(el->next, &pos);

    el = el->first;

    if (pos.epoch == 0) {

        /* nothing has ever been kept, or all is gone */

        if (ch.epoch) {
            (void) ngx_ws_bus_fetch_adopt(b, c, &ch, &pos, 1);
        }

        return NGX_OK;
    }

    before = ch.seq;

    if (ngx_ws_bus_fetch_adopt(b, c, &ch, &pos, first) == NGX_AGAIN) {

        /* what was asked for does not follow any more */

        return NGX_AGAIN;
    }

    for ( /* void */ ; el; el = el->next) {

        if (ngx_ws_bus_envelope_read(&e, el->str.data, el->str.len) != NGX_OK
            || e.seq == 0)
        {
            b->zone->sh->remote->stats.invalid++;
            continue;
        }

        if (ngx_ws_bus_remote_look(b->zone, &name, &ch) != NGX_OK) {
            return NGX_DECLINED;
        }

        if (e.seq > ch.seq + 1) {
            c->missing -= ngx_min(c->missing, e.seq - 1 - ch.seq);
            ngx_ws_bus_fetch_lost(b, &name, e.seq - 1);
        }

        /* an older one may be of the epoch before */

        e.epoch = pos.epoch;

        if (ngx_ws_bus_bridge_place(b, &name, &e, 1) == NGX_OK
            && c->missing)
        {
            c->missing--;
            b->zone->sh->remote->stats.repaired++;
        }
    }

    if (ngx_ws_bus_remote_look(b->zone, &name, &ch) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (ch.seq < pos.seq && ch.epoch == pos.epoch) {

        if (ch.seq > before && ch.subscribers) {
            return NGX_AGAIN;
        }

        if (ch.subscribers == 0) {
            return NGX_DECLINED;
        }

        /* it is there no more */

        ngx_ws_bus_fetch_lost(b, &name, pos.seq);
    }

    /* one that came meanwhile */

    if (c->epoch == ch.epoch && c->seq > ngx_max(ch.seq, pos.seq)) {
        c->again = 1;
    }

    c->epoch = 0;
    c->missing = 0;

    return NGX_OK;
}


/*
 * Takes over the position in Redis, if it can be.  NGX_OK: the numbers go on;
 * NGX_AGAIN: they have begun anew, and messages are to be asked for.
 */

static ngx_int_t
ngx_ws_bus_fetch_adopt(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c,
    ngx_ws_bus_remote_channel_t *ch, ngx_ws_bus_position_t *pos,
    uint64_t first)
{
    uint64_t    seq;
    ngx_int_t   rc;
    ngx_str_t   name;
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    name.data = c->name;
    name.len = c->len;

    if (ch->epoch == 0) {
        rc = NGX_OK;

    } else if (pos->epoch) {
        rc = ngx_ws_bus_position_follows(pos, c->asked_epoch, c->asked_seq);

    } else {
        rc = NGX_DECLINED;
    }

    if (rc != NGX_DECLINED) {

        if (ch->epoch != pos->epoch
            && ngx_ws_bus_remote_reset(b->zone, &name, pos->epoch, 0,
                                       &pos->chain, 1, rings, &n)
               == NGX_OK)
        {
            ngx_ws_bus_hub_appended(b->hub, rings, n);
        }

        ch->epoch = pos->epoch;

        return NGX_OK;
    }

    /*
     * What Redis still has of ours, clients have had; of an epoch that is not
     * ours they have had nothing, but perhaps of what it continues.
     */

    if (pos->epoch == ch->epoch) {
        seq = pos->seq;

    } else if (ngx_ws_bus_chain_base(&pos->chain, ch->epoch, &seq) != NGX_OK)
    {
        seq = first ? first - 1 : 0;

        if (pos->chain.n) {
            seq = ngx_max(seq, pos->chain.past[0].base);
        }
    }

    b->zone->sh->remote->stats.resets++;

    ngx_log_error(NGX_LOG_WARN, b->log, 0,
                  "ws_bus_redis \"%V\" has lost messages of \"%V\"",
                  &b->redis->link.name, &name);

    if (ngx_ws_bus_remote_reset(b->zone, &name, pos->epoch, seq, &pos->chain,
                                0, rings, &n)
        == NGX_OK)
    {
        ngx_ws_bus_hub_appended(b->hub, rings, n);
    }

    return (seq < pos->seq) ? NGX_AGAIN : NGX_OK;
}


static void
ngx_ws_bus_fetch_lost(ngx_ws_bus_bridge_t *b, const ngx_str_t *name,
    uint64_t seq)
{
    ngx_uint_t                    n;
    ngx_ws_bus_remote_channel_t   ch;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    if (ngx_ws_bus_remote_look(b->zone, name, &ch) != NGX_OK) {
        return;
    }

    if (ngx_ws_bus_remote_lost(b->zone, name, seq, rings, &n) == NGX_OK) {

        if (ch.live) {
            b->zone->sh->remote->stats.lost += seq - ch.seq;
        }

        ngx_ws_bus_hub_appended(b->hub, rings, n);
    }
}


static void
ngx_ws_bus_fetch_live(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c)
{
    ngx_str_t   name;
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    name.data = c->name;
    name.len = c->len;

    if (!c->live) {
        c->live = 1;
        b->zone->sh->remote->nlive++;
    }

    if (ngx_ws_bus_remote_live(b->zone, &name, b->token, rings, &n)
        == NGX_OK)
    {
        ngx_ws_bus_hub_appended(b->hub, rings, n);
    }
}


static ngx_ws_bus_fetch_t *
ngx_ws_bus_fetch_create(ngx_ws_bus_bridge_t *b, ngx_uint_t n)
{
    ngx_ws_bus_fetch_t  *f;

    f = ngx_alloc(offsetof(ngx_ws_bus_fetch_t, channels)
                  + n * sizeof(ngx_ws_bus_bridge_channel_t *), b->log);

    if (f) {
        f->bridge = b;
        f->generation = b->generation;
        f->round = b->round;
        f->n = 0;
    }

    return f;
}


/*
 * 1 if its channels still are there.
 */

static ngx_uint_t
ngx_ws_bus_fetch_is_known(ngx_ws_bus_fetch_t *f)
{
    return f->generation == f->bridge->generation && f->bridge->token;
}


/*
 * Four elements of an answer; returns the next one.
 */

static ngx_ws_bus_reply_t *
ngx_ws_bus_fetch_read(ngx_ws_bus_reply_t *el, ngx_ws_bus_position_t *pos)
{
    pos->epoch = ngx_ws_bus_bridge_read_epoch(&el->str);
    el = el->next;

    pos->seq = (uint64_t) el->integer;
    el = el->next;

    pos->chain.n = 0;
    ngx_ws_bus_chain_append(&pos->chain,
                            ngx_ws_bus_bridge_read_epoch(&el->str),
                            (uint64_t) el->next->integer);

    return el->next->next;
}


/*
 * The epochs before that, in pairs.
 */

static void
ngx_ws_bus_fetch_older(ngx_ws_bus_reply_t *list, ngx_ws_bus_position_t *pos)
{
    ngx_ws_bus_reply_t  *el;

    for (el = list->first; el && el->next; el = el->next->next) {
        ngx_ws_bus_chain_append(&pos->chain,
                                ngx_ws_bus_bridge_read_epoch(&el->str),
                                (uint64_t) el->next->integer);
    }
}
