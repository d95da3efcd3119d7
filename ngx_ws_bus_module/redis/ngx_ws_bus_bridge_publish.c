
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"
#include "ngx_ws_bus_once.h"


/*
 * A message leaves this host.  It comes back through the bridge, as those of
 * other hosts do, and only then is it in the log.
 */


/* milliseconds */
#define NGX_WS_BUS_PUBLISH_LOG_TTL   ((uint64_t) 7 * 86400 * 1000)
#define NGX_WS_BUS_PUBLISH_META_TTL  ((uint64_t) 7 * 86400 * 1000)


#define ngx_ws_bus_publish_waits(b, slot)                                     \
    ((b)->waits[(slot) / 8] & (1 << ((slot) % 8)))

#define ngx_ws_bus_publish_set_waits(b, slot)                                 \
    (b)->waits[(slot) / 8] |= 1 << ((slot) % 8)


/*
 * A publication on its way, or waiting for the link; it has its own copy,
 * since it may have to be sent twice.
 */

typedef struct {
    ngx_queue_t            queue;
    ngx_ws_bus_bridge_t   *bridge;
    ngx_ws_bus_op_t       *op;         /* NULL: nobody asks */
    void                  *publisher;
    ngx_msec_t             deadline;   /* to be sent */
    size_t                 size;
    ngx_uint_t             slot;

    uint64_t               count;      /* 0: not kept */
    uint64_t               ttl;
    ngx_str_t              channel;
    ngx_str_t              envelope;
    u_char                 digest[NGX_WS_BUS_ONCE_LEN];

    unsigned               once:1;
    unsigned               deleting:1;
    unsigned               script:1;
} ngx_ws_bus_publication_t;


static ngx_int_t ngx_ws_bus_publish_begin(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_op_t *op);
static ngx_uint_t ngx_ws_bus_publish_may_pass(ngx_ws_bus_publication_t *p);
static ngx_int_t ngx_ws_bus_publish_wait(ngx_ws_bus_publication_t *p);
static ngx_ws_bus_publication_t *ngx_ws_bus_publish_create(
    ngx_ws_bus_bridge_t *b, const ngx_str_t *name, ngx_ws_bus_envelope_t *e);
static ngx_int_t ngx_ws_bus_publish_send(ngx_ws_bus_publication_t *p);
static ngx_int_t ngx_ws_bus_publish_script(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_servers_call_t *call, ngx_str_t *argv, u_char *last);
static u_char *ngx_ws_bus_publish_settings(ngx_ws_bus_publication_t *p,
    u_char *d);
static ngx_int_t ngx_ws_bus_publish_delete(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_servers_call_t *call, ngx_str_t *argv);
static void ngx_ws_bus_publish_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_publish_place(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_reply_t *reply, ngx_ws_bus_place_t *place);
static void ngx_ws_bus_publish_end(ngx_ws_bus_publication_t *p,
    ngx_int_t rc, ngx_ws_bus_place_t *place);
static ngx_int_t ngx_ws_bus_publish_local(ngx_ws_bus_bridge_t *b,
    const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place);
static void ngx_ws_bus_publish_refused(ngx_ws_bus_publication_t *p);
static ngx_uint_t ngx_ws_bus_publish_is_local(ngx_ws_bus_publication_t *p);
static ngx_int_t ngx_ws_bus_publish_here(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_place_t *place);
static ngx_uint_t ngx_ws_bus_publish_listeners(ngx_ws_bus_bridge_t *b,
    const ngx_str_t *name);
static void ngx_ws_bus_publish_load(ngx_ws_bus_load_t *load,
    ngx_ws_bus_publication_t *p);
static void ngx_ws_bus_publish_unload(ngx_ws_bus_load_t *load,
    ngx_ws_bus_publication_t *p);


ngx_int_t
ngx_ws_bus_bridge_publish(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_message_t *msg, ngx_ws_bus_place_t *place, ngx_ws_bus_op_t *op)
{
    ngx_int_t                  rc;
    ngx_ws_bus_bridge_t       *b;
    ngx_ws_bus_envelope_t      e;
    ngx_ws_bus_publication_t  *p;

    b = ngx_ws_bus_bridge(hub->zone);

    ngx_memzero(place, sizeof(ngx_ws_bus_place_t));

    if (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL
        && ngx_ws_bus_bridge_failed(b, ngx_ws_bus_slot(name)))
    {
        hub->slot->stats.messages_in++;
        hub->slot->stats.bytes_in += msg->len;

        return ngx_ws_bus_publish_local(b, name, msg, place);
    }

    ngx_memzero(&e, sizeof(ngx_ws_bus_envelope_t));

    e.flags = msg->flags & (NGX_WS_BUS_ENVELOPE_BINARY
                            |NGX_WS_BUS_ENVELOPE_JSON
                            |NGX_WS_BUS_ENVELOPE_STRING);
    e.time = (uint64_t) ngx_cached_time->sec * 1000 + ngx_cached_time->msec;
    e.age = msg->age / 1000;
    e.payload.data = msg->data;
    e.payload.len = msg->len;

    p = ngx_ws_bus_publish_create(b, name, &e);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p->count = msg->keep;
    p->ttl = msg->age / 1000;

    if (msg->once) {
        p->once = 1;
        ngx_memcpy(p->digest, msg->once, NGX_WS_BUS_ONCE_LEN);
    }

    p->script = (p->once || p->count);

    rc = ngx_ws_bus_publish_begin(p, op);

    if (rc == NGX_AGAIN) {
        hub->slot->stats.messages_in++;
        hub->slot->stats.bytes_in += msg->len;
    }

    return rc;
}


ngx_int_t
ngx_ws_bus_bridge_delete(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_op_t *op)
{
    ngx_ws_bus_bridge_t       *b;
    ngx_ws_bus_envelope_t      e;
    ngx_ws_bus_publication_t  *p;

    b = ngx_ws_bus_bridge(hub->zone);

    ngx_memzero(&e, sizeof(ngx_ws_bus_envelope_t));

    e.flags = NGX_WS_BUS_ENVELOPE_DELETED;
    e.time = (uint64_t) ngx_cached_time->sec * 1000 + ngx_cached_time->msec;

    p = ngx_ws_bus_publish_create(b, name, &e);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p->deleting = 1;
    p->script = 1;

    return ngx_ws_bus_publish_begin(p, op);
}


static ngx_int_t
ngx_ws_bus_publish_begin(ngx_ws_bus_publication_t *p, ngx_ws_bus_op_t *op)
{
    ngx_int_t             rc;
    ngx_ws_bus_bridge_t  *b;

    b = p->bridge;
    p->publisher = op ? op->publisher : NULL;

    if (b->flying + p->size > b->redis->link.max_queue) {
        rc = NGX_AGAIN;

    } else {
        rc = ngx_ws_bus_publish_may_pass(p) ? ngx_ws_bus_publish_send(p)
                                            : NGX_DECLINED;
    }

    if (rc == NGX_DECLINED
        || (rc == NGX_AGAIN
            && b->redis->when_down == NGX_WS_BUS_REDIS_QUEUE))
    {
        rc = ngx_ws_bus_publish_wait(p);

    } else if (rc == NGX_OK) {
        b->flying += p->size;
        ngx_ws_bus_publish_load(&b->hub->slot->stats.sent, p);
    }

    if (rc != NGX_OK) {
        ngx_free(p);
        return (rc == NGX_AGAIN) ? NGX_DECLINED : rc;
    }

    p->op = op;

    if (op) {
        op->pending = p;
    }

    return NGX_AGAIN;
}


/*
 * 1 if nothing before it waits for the same server.
 */

static ngx_uint_t
ngx_ws_bus_publish_may_pass(ngx_ws_bus_publication_t *p)
{
    ngx_ws_bus_bridge_t  *b;
    ngx_ws_bus_server_t  *server;

    b = p->bridge;

    if (ngx_ws_bus_publish_waits(b, p->slot)) {

        server = ngx_ws_bus_servers_of(b->servers, p->slot);

        if (server == NULL || !server->up) {

            /* the queue may be long, and is looked through in vain */

            return 0;
        }

        /* others may have left the queue */

        ngx_ws_bus_bridge_publish_up(b);
    }

    return !ngx_ws_bus_publish_waits(b, p->slot);
}


/*
 * There is no link: waits for the first one, or in the queue if there is one.
 * NGX_OK or NGX_DECLINED.
 */

static ngx_int_t
ngx_ws_bus_publish_wait(ngx_ws_bus_publication_t *p)
{
    size_t                max;
    ngx_ws_bus_bridge_t  *b;

    b = p->bridge;

    if (b->redis->when_down == NGX_WS_BUS_REDIS_QUEUE) {
        max = b->redis->queue;

    } else if (!ngx_ws_bus_bridge_failed(b, p->slot)
               || b->zone->sh->remote->up)
    {
        /* it is there: this process will soon be connected, too */

        max = b->redis->link.max_queue;

    } else {
        return NGX_DECLINED;
    }

    if (b->waiting_size + p->size > max) {
        return NGX_DECLINED;
    }

    b->waiting_size += p->size;
    ngx_ws_bus_publish_load(&b->hub->slot->stats.waiting, p);
    ngx_queue_insert_tail(&b->waiting, &p->queue);
    ngx_ws_bus_publish_set_waits(b, p->slot);

    return NGX_OK;
}


static ngx_ws_bus_publication_t *
ngx_ws_bus_publish_create(ngx_ws_bus_bridge_t *b, const ngx_str_t *name,
    ngx_ws_bus_envelope_t *e)
{
    size_t                     size;
    u_char                    *d;
    ngx_ws_bus_publication_t  *p;

    size = sizeof(ngx_ws_bus_publication_t) + name->len
           + ngx_ws_bus_envelope_size(e);

    p = ngx_alloc(size, b->log);
    if (p == NULL) {
        return NULL;
    }

    ngx_memzero(p, sizeof(ngx_ws_bus_publication_t));

    p->bridge = b;
    p->size = size;
    p->deadline = ngx_current_msec
                  + (b->redis->when_down == NGX_WS_BUS_REDIS_QUEUE
                     ? NGX_WS_BUS_BRIDGE_WAIT : b->redis->link.timeout);

    d = (u_char *) (p + 1);

    p->channel.data = d;
    p->channel.len = name->len;
    d = ngx_cpymem(d, name->data, name->len);
    p->slot = ngx_ws_bus_slot(name);

    p->envelope.data = d;
    p->envelope.len = ngx_ws_bus_envelope_write(d, e) - d;

    return p;
}


/*
 * NGX_OK: it is on its way; NGX_DECLINED: there is no link; NGX_AGAIN: too
 * much is; NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_publish_send(ngx_ws_bus_publication_t *p)
{
    u_char                     *last, buf[4 * NGX_WS_BUS_BRIDGE_KEY];
    ngx_str_t                   argv[16];
    ngx_msec_int_t              left;
    ngx_ws_bus_bridge_t        *b;
    ngx_ws_bus_servers_call_t   call;

    b = p->bridge;

    last = buf + sizeof(buf);

    ngx_memzero(&call, sizeof(ngx_ws_bus_servers_call_t));

    call.slot = p->slot;
    call.publisher = p->publisher;
    call.ordered = 1;
    call.once = (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL);

    /* the Cluster may be down, or the next server */

    if (b->redis->when_down == NGX_WS_BUS_REDIS_QUEUE) {
        left = (ngx_msec_int_t) (p->deadline - ngx_current_msec);
        call.timeout = ngx_max(left, 1);
    }

    call.handler = ngx_ws_bus_publish_handler;
    call.data = p;

    if (p->script) {
        argv[3].data = buf;
        argv[3].len = ngx_ws_bus_redis_key(buf, last, &b->redis->prefix,
                                           &p->channel,
                                           NGX_WS_BUS_REDIS_KEY_CHANNEL)
                      - buf;

        argv[4].data = argv[3].data + argv[3].len;
        argv[4].len = ngx_ws_bus_redis_key(argv[4].data, last,
                                           &b->redis->prefix, &p->channel,
                                           NGX_WS_BUS_REDIS_KEY_META)
                      - argv[4].data;

        argv[5].data = argv[4].data + argv[4].len;
        argv[5].len = ngx_ws_bus_redis_key(argv[5].data, last,
                                           &b->redis->prefix, &p->channel,
                                           NGX_WS_BUS_REDIS_KEY_LOG)
                      - argv[5].data;

        return p->deleting ? ngx_ws_bus_publish_delete(p, &call, argv)
                           : ngx_ws_bus_publish_script(p, &call, argv, last);
    }

    argv[0] = ngx_ws_bus_bridge_verb(b, p->slot);

    argv[1].data = buf;
    argv[1].len = ngx_ws_bus_redis_key(buf, last, &b->redis->prefix,
                                       &p->channel,
                                       NGX_WS_BUS_REDIS_KEY_CHANNEL)
                  - buf;
    argv[2] = p->envelope;

    call.argv = argv;
    call.n = 3;

    return ngx_ws_bus_servers_command(b->servers, &call, NULL);
}


/*
 * argv[3] to argv[5] are the channel's keys, one after the other.
 */

static ngx_int_t
ngx_ws_bus_publish_script(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_servers_call_t *call, ngx_str_t *argv, u_char *last)
{
    u_char               *d;
    ngx_uint_t            n;
    ngx_ws_bus_bridge_t  *b;

    static u_char  numbers[6 * NGX_INT64_LEN + NGX_WS_BUS_BRIDGE_EPOCH + 4];

    b = p->bridge;
    n = 6;

    if (p->once) {
        argv[6].data = argv[5].data + argv[5].len;
        argv[6].len = ngx_ws_bus_redis_once(argv[6].data, last,
                                            &b->redis->prefix, &p->channel,
                                            p->digest, NGX_WS_BUS_ONCE_LEN)
                      - argv[6].data;
        n++;
    }

    argv[n++] = ngx_ws_bus_bridge_verb(b, p->slot);

    /* the envelope's flags, and what is behind the place that it will have */

    d = numbers;

    argv[n].data = d;
    d = ngx_sprintf(d, "%d",
                    (int) p->envelope.data[NGX_WS_BUS_ENVELOPE_START - 1]);
    argv[n].len = d - argv[n].data;
    n++;

    argv[n].data = p->envelope.data + NGX_WS_BUS_ENVELOPE_START;
    argv[n].len = p->envelope.len - NGX_WS_BUS_ENVELOPE_START;
    n++;

    argv[n].data = d;

    if (p->count) {
        d = ngx_ws_bus_publish_settings(p, d);
        call->replid = n;
        call->digits = NGX_WS_BUS_BRIDGE_ID;
    }

    argv[n].len = d - argv[n].data;
    n++;

    argv[n].data = d;
    argv[n].len = NGX_WS_BUS_BRIDGE_EPOCH;

    if (ngx_ws_bus_bridge_epoch(d) != NGX_OK) {
        return NGX_ERROR;
    }

    d += NGX_WS_BUS_BRIDGE_EPOCH;
    n++;

    if (p->once) {
        argv[n].data = d;
        d = ngx_sprintf(d, "%uL", (uint64_t) NGX_WS_BUS_ONCE_TIME / 1000);
        argv[n].len = d - argv[n].data;
        n++;
    }

    call->n = n;

    return ngx_ws_bus_bridge_script(b, call, &ngx_ws_bus_script_publish,
                                    argv, p->once ? 4 : 3);
}


/*
 * What is the same for all publications of a while, but for the replication
 * id; returns the end.
 */

static u_char *
ngx_ws_bus_publish_settings(ngx_ws_bus_publication_t *p, u_char *d)
{
    uint64_t  log, meta;

    log = p->ttl ? p->ttl : NGX_WS_BUS_PUBLISH_LOG_TTL;
    log = ngx_max(log, 1000);
    meta = log + NGX_WS_BUS_PUBLISH_META_TTL;

    return ngx_sprintf(d, "%uL:%uL:%uL:%uL:", p->count, log, meta,
                       ((uint64_t) ngx_time() * 1000) / (log / 16));
}


static ngx_int_t
ngx_ws_bus_publish_delete(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_servers_call_t *call, ngx_str_t *argv)
{
    argv[6] = ngx_ws_bus_bridge_verb(p->bridge, p->slot);
    argv[7] = p->envelope;

    call->n = 8;

    return ngx_ws_bus_bridge_script(p->bridge, call,
                                    &ngx_ws_bus_script_delete, argv, 3);
}


static void
ngx_ws_bus_publish_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_publication_t *p = data;

    ngx_ws_bus_place_t  place;

    p->bridge->flying -= p->size;
    ngx_ws_bus_publish_unload(&p->bridge->hub->slot->stats.sent, p);

    if (rc == NGX_DECLINED) {
        ngx_ws_bus_publish_refused(p);
        return;
    }

    ngx_memzero(&place, sizeof(ngx_ws_bus_place_t));

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_publish_place(p, reply, &place);
    }

    ngx_ws_bus_publish_end(p, rc, &place);
}


/*
 * What has become of it.  NGX_OK; NGX_DECLINED: it was refused; NGX_ERROR:
 * the answer cannot be understood.
 */

static ngx_int_t
ngx_ws_bus_publish_place(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_reply_t *reply, ngx_ws_bus_place_t *place)
{
    ngx_ws_bus_reply_t   *el, *replid;
    ngx_ws_bus_bridge_t  *b;

    b = p->bridge;

    if (reply->type == NGX_WS_BUS_REPLY_ERROR) {
        ngx_ws_bus_bridge_error(b, "publishing", &p->channel, reply);
        ngx_ws_bus_bridge_refused(b, reply);

        if (ngx_ws_bus_reply_is_error(reply, "CLUSTERDOWN")
            && b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL && !p->deleting)
        {
            return ngx_ws_bus_publish_here(p, place);
        }

        return NGX_DECLINED;
    }

    if (!p->script) {
        place->hosts = (ngx_uint_t) reply->integer;

        return (reply->type == NGX_WS_BUS_REPLY_INTEGER) ? NGX_OK : NGX_ERROR;
    }

    if (p->deleting) {

        if (reply->n != 2) {
            return NGX_ERROR;
        }

        place->hosts = (reply->first->integer
                        + reply->first->next->integer != 0);
        return NGX_OK;
    }

    if (reply->n != 5) {
        return NGX_ERROR;
    }

    el = reply->first;

    place->repeated = (el->integer == 0);
    el = el->next;

    place->seq = (uint64_t) el->integer;
    el = el->next;

    place->epoch = ngx_ws_bus_bridge_read_epoch(&el->str);
    el = el->next;

    place->hosts = (ngx_uint_t) el->integer;
    replid = el->next;

    /* a repetition is answered by anybody who knows the first one */

    if (!place->repeated) {
        ngx_ws_bus_servers_set_replid(b->servers, &replid->str);
    }

    return NGX_OK;
}


static void
ngx_ws_bus_publish_end(ngx_ws_bus_publication_t *p, ngx_int_t rc,
    ngx_ws_bus_place_t *place)
{
    ngx_ws_bus_op_t  *op;

    op = p->op;

    if (op) {

        if (rc == NGX_OK && !p->deleting) {
            place->subscribers = ngx_ws_bus_publish_listeners(p->bridge,
                                                              &p->channel);
        }

        op->pending = NULL;
        op->handler(op, rc, place);
    }

    ngx_free(p);
}


void
ngx_ws_bus_bridge_cancel(ngx_ws_bus_op_t *op)
{
    ngx_ws_bus_publication_t  *p;

    p = op->pending;

    if (p) {
        op->pending = NULL;
        p->op = NULL;
    }
}


void
ngx_ws_bus_bridge_publish_up(ngx_ws_bus_bridge_t *b)
{
    ngx_int_t                  rc;
    ngx_queue_t               *q, *next;
    ngx_ws_bus_place_t         place;
    ngx_ws_bus_publication_t  *p;

    ngx_memzero(b->waits, sizeof(b->waits));
    ngx_memzero(&place, sizeof(ngx_ws_bus_place_t));

    for (q = ngx_queue_head(&b->waiting);
         q != ngx_queue_sentinel(&b->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        p = ngx_queue_data(q, ngx_ws_bus_publication_t, queue);

        if (ngx_ws_bus_publish_waits(b, p->slot)) {
            continue;
        }

        rc = ngx_ws_bus_publish_send(p);

        if (rc == NGX_AGAIN || rc == NGX_DECLINED) {
            ngx_ws_bus_publish_set_waits(b, p->slot);
            continue;
        }

        ngx_queue_remove(q);
        b->waiting_size -= p->size;
        ngx_ws_bus_publish_unload(&b->hub->slot->stats.waiting, p);

        if (rc == NGX_OK) {
            b->flying += p->size;
            ngx_ws_bus_publish_load(&b->hub->slot->stats.sent, p);
            continue;
        }

        /* its handler may change the queue */

        ngx_ws_bus_publish_end(p, NGX_DECLINED, &place);

        next = ngx_queue_head(&b->waiting);
    }
}


void
ngx_ws_bus_bridge_publish_refuse(ngx_ws_bus_bridge_t *b, ngx_uint_t all)
{
    ngx_queue_t               *q, *next, refused;
    ngx_ws_bus_server_t       *server;
    ngx_ws_bus_publication_t  *p;

    ngx_queue_init(&refused);

    for (q = ngx_queue_head(&b->waiting);
         q != ngx_queue_sentinel(&b->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        p = ngx_queue_data(q, ngx_ws_bus_publication_t, queue);

        server = all ? ngx_ws_bus_servers_of(b->servers, p->slot) : NULL;

        if (!ngx_ws_bus_publish_is_local(p)
            && (server ? server->up
                       : (!all && (ngx_msec_int_t)
                                  (p->deadline - ngx_current_msec) > 0)))
        {
            continue;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&refused, q);
        b->waiting_size -= p->size;
        ngx_ws_bus_publish_unload(&b->hub->slot->stats.waiting, p);
    }

    while (!ngx_queue_empty(&refused)) {
        q = ngx_queue_head(&refused);
        ngx_queue_remove(q);

        p = ngx_queue_data(q, ngx_ws_bus_publication_t, queue);
        ngx_ws_bus_publish_refused(p);
    }
}


/*
 * It was not published: the end, unless it may be delivered here.
 */

static void
ngx_ws_bus_publish_refused(ngx_ws_bus_publication_t *p)
{
    ngx_int_t           rc;
    ngx_ws_bus_place_t  place;

    ngx_memzero(&place, sizeof(ngx_ws_bus_place_t));

    rc = ngx_ws_bus_publish_is_local(p) ? ngx_ws_bus_publish_here(p, &place)
                                        : NGX_DECLINED;

    ngx_ws_bus_publish_end(p, rc, &place);
}


static ngx_uint_t
ngx_ws_bus_publish_is_local(ngx_ws_bus_publication_t *p)
{
    return p->bridge->redis->when_down == NGX_WS_BUS_REDIS_LOCAL
           && !p->deleting
           && ngx_ws_bus_bridge_failed(p->bridge, p->slot);
}


/*
 * "when_down local": this host's subscribers get it, without a place in the
 * order.
 */

static ngx_int_t
ngx_ws_bus_publish_local(ngx_ws_bus_bridge_t *b, const ngx_str_t *name,
    ngx_ws_bus_message_t *msg, ngx_ws_bus_place_t *place)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    rc = ngx_ws_bus_remote_place(b->zone, name, 0, 0, msg, rings, &n);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        ngx_ws_bus_hub_appended(b->hub, rings, n);
        place->subscribers = ngx_ws_bus_publish_listeners(b, name);
    }

    place->local = 1;

    return NGX_OK;
}


/*
 * The same with one that was sent, and which the Cluster did not take.
 */

static ngx_int_t
ngx_ws_bus_publish_here(ngx_ws_bus_publication_t *p,
    ngx_ws_bus_place_t *place)
{
    ngx_ws_bus_message_t   msg;
    ngx_ws_bus_envelope_t  e;

    if (ngx_ws_bus_envelope_read(&e, p->envelope.data, p->envelope.len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(&msg, sizeof(ngx_ws_bus_message_t));

    msg.data = e.payload.data;
    msg.len = e.payload.len;
    msg.flags = e.flags & (NGX_WS_BUS_REC_BINARY|NGX_WS_BUS_REC_JSON
                           |NGX_WS_BUS_REC_STRING);
    msg.time = ngx_ws_bus_time();

    return ngx_ws_bus_publish_local(p->bridge, &p->channel, &msg, place);
}


static ngx_uint_t
ngx_ws_bus_publish_listeners(ngx_ws_bus_bridge_t *b, const ngx_str_t *name)
{
    ngx_ws_bus_remote_channel_t  rc;

    return (ngx_ws_bus_remote_look(b->zone, name, &rc) == NGX_OK)
           ? rc.subscribers : 0;
}


static void
ngx_ws_bus_publish_load(ngx_ws_bus_load_t *load, ngx_ws_bus_publication_t *p)
{
    load->n++;
    load->bytes += p->size;
}


static void
ngx_ws_bus_publish_unload(ngx_ws_bus_load_t *load,
    ngx_ws_bus_publication_t *p)
{
    load->n--;
    load->bytes -= p->size;
}
