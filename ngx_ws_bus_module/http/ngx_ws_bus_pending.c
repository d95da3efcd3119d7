
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/*
 * In a zone that spans hosts, a publication has its place only when another
 * host says so, and a channel may have to be asked for first.
 */


/* publications of one client on their way; it is not read from beyond that */
#define NGX_WS_BUS_PENDING_MAX   128

/* longer than anything that is waited for, milliseconds */
#define NGX_WS_BUS_PENDING_HOLD  2000


typedef struct {
    ngx_ws_bus_op_t         op;
    ngx_queue_t             queue;
    ngx_ws_bus_session_t   *session;
    ngx_str_t               channel;
    ngx_str_t               id;
    size_t                  len;
} ngx_ws_bus_pending_op_t;


struct ngx_ws_bus_pending_s {
    ngx_queue_t             ops;
    ngx_uint_t              n;
};


struct ngx_ws_bus_hold_s {
    ngx_int_t             (*open)(ngx_ws_bus_session_t *s, ngx_int_t rc,
                                void *data);
    void                   *data;
    ngx_int_t               rc;
    ngx_uint_t              ready;     /* unsigned  ready:1; */
};


static ngx_ws_bus_pending_op_t *ngx_ws_bus_pending_op(
    ngx_ws_bus_session_t *s, ngx_str_t *channel, ngx_str_t *id);
static void ngx_ws_bus_pending_handler(ngx_ws_bus_op_t *op, ngx_int_t rc,
    ngx_ws_bus_place_t *place);
static void ngx_ws_bus_pending_hold_handler(ngx_http_request_t *r);


ngx_int_t
ngx_ws_bus_pending_publish(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_str_t *channel, ngx_ws_bus_message_t *msg, ngx_ws_bus_place_t *place,
    ngx_str_t *id)
{
    ngx_int_t                 rc;
    ngx_ws_bus_pending_op_t  *p;

    if (s->hub->zone->remote == NULL) {
        return ngx_ws_bus_hub_publish(s->hub, sub, channel, msg, place, NULL);
    }

    p = ngx_ws_bus_pending_op(s, channel, id);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_ws_bus_hub_publish(s->hub, sub, channel, msg, place, &p->op);

    if (rc != NGX_AGAIN) {
        ngx_free(p);
        return rc;
    }

    p->len = msg->len;

    ngx_queue_insert_tail(&s->publications->ops, &p->queue);
    s->publications->n++;

    return NGX_AGAIN;
}


static ngx_ws_bus_pending_op_t *
ngx_ws_bus_pending_op(ngx_ws_bus_session_t *s, ngx_str_t *channel,
    ngx_str_t *id)
{
    u_char                   *p;
    ngx_log_t                *log;
    ngx_ws_bus_pending_op_t  *op;

    log = s->connection->log;

    if (s->publications == NULL) {
        s->publications = ngx_calloc(sizeof(ngx_ws_bus_pending_t), log);

        if (s->publications == NULL) {
            return NULL;
        }

        ngx_queue_init(&s->publications->ops);
    }

    op = ngx_alloc(sizeof(ngx_ws_bus_pending_op_t)
                   + channel->len + (id ? id->len : 0), log);
    if (op == NULL) {
        return NULL;
    }

    op->op.handler = ngx_ws_bus_pending_handler;
    op->op.data = op;
    op->op.publisher = s;
    op->op.pending = NULL;
    op->session = s;

    p = (u_char *) (op + 1);

    op->channel.len = channel->len;
    op->channel.data = p;
    p = ngx_cpymem(p, channel->data, channel->len);

    ngx_str_null(&op->id);

    if (id && id->len) {
        op->id.len = id->len;
        op->id.data = p;
        ngx_memcpy(p, id->data, id->len);
    }

    return op;
}


static void
ngx_ws_bus_pending_handler(ngx_ws_bus_op_t *op, ngx_int_t rc,
    ngx_ws_bus_place_t *place)
{
    ngx_ws_bus_session_t     *s;
    ngx_ws_bus_pending_op_t  *p;

    static const ngx_ws_bus_error_t  unavailable =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "cannot publish");

    p = op->data;
    s = p->session;

    ngx_queue_remove(&p->queue);

    if (s->publications->n-- == NGX_WS_BUS_PENDING_MAX) {
        ngx_post_event(s->connection->read, &ngx_posted_events);
    }

    if (rc == NGX_OK && s->conf->audit) {
        ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_PUBLISH, &p->channel, 0,
                         place->repeated ? "repeated" : NULL, p->len);
    }

    if (!s->close_sent && !s->broken) {

        if (s->v1) {
            ngx_ws_bus_v1_published(s, &p->id, &p->channel, rc, place);

        } else if (rc != NGX_OK) {
            ngx_ws_bus_session_fail(s, &unavailable);
            ngx_post_event(s->connection->write, &ngx_posted_events);
        }
    }

    ngx_free(p);
}


ngx_uint_t
ngx_ws_bus_pending_full(ngx_ws_bus_session_t *s)
{
    return s->joining
           || (s->publications
               && s->publications->n >= NGX_WS_BUS_PENDING_MAX);
}


void
ngx_ws_bus_pending_free(ngx_ws_bus_session_t *s)
{
    ngx_queue_t              *q;
    ngx_ws_bus_pending_op_t  *p;

    if (s->publications == NULL) {
        return;
    }

    while (!ngx_queue_empty(&s->publications->ops)) {

        q = ngx_queue_head(&s->publications->ops);
        p = ngx_queue_data(q, ngx_ws_bus_pending_op_t, queue);

        ngx_queue_remove(q);

        s->hub->zone->remote->cancel(&p->op);

        ngx_free(p);
    }

    ngx_free(s->publications);

    s->publications = NULL;
}


ngx_int_t
ngx_ws_bus_pending_hold(ngx_ws_bus_session_t *s,
    ngx_int_t (*open)(ngx_ws_bus_session_t *s, ngx_int_t rc, void *data),
    void *data)
{
    ngx_event_t         *rev;
    ngx_ws_bus_ctx_t    *ctx;
    ngx_ws_bus_hold_t   *hold;
    ngx_http_request_t  *r;

    r = s->request;

    ctx = ngx_ws_bus_ctx(r);
    hold = ngx_palloc(r->pool, sizeof(ngx_ws_bus_hold_t));

    if (ctx == NULL || hold == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    hold->open = open;
    hold->data = data;
    hold->ready = 0;

    ctx->hold = hold;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_ws_bus_pending_hold_handler;

    r->connection->log->action = "waiting for a channel";

    /* the client may have gone already */

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the hub's timer comes first, unless the worker is shutting down */

    ngx_add_timer(r->connection->write,
                  s->hub->zone->remote->timeout + NGX_WS_BUS_PENDING_HOLD);

    r->main->count++;

    return NGX_DONE;
}


void
ngx_ws_bus_pending_ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc, void *data)
{
    ngx_ws_bus_ctx_t      *ctx;
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    if (s->joining) {
        ngx_ws_bus_auth_joined(s, rc);
        return;
    }

    if (s->v1) {
        ngx_ws_bus_v1_ready(s, sub, rc, data);
        return;
    }

    ctx = ngx_ws_bus_ctx(s->request);

    if (ctx == NULL || ctx->hold == NULL) {
        return;
    }

    ctx->hold->rc = rc;
    ctx->hold->ready = 1;

    ngx_post_event(s->connection->write, &ngx_posted_events);
}


static void
ngx_ws_bus_pending_hold_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_event_t        *wev;
    ngx_ws_bus_ctx_t   *ctx;
    ngx_ws_bus_hold_t  *hold;

    wev = r->connection->write;
    ctx = ngx_ws_bus_ctx(r);
    hold = ctx->hold;

    if (wev->timedout) {
        wev->timedout = 0;

        hold->rc = NGX_DECLINED;
        hold->ready = 1;
    }

    if (!hold->ready) {
        return;
    }

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ctx->hold = NULL;

    rc = hold->open(ngx_ws_bus_ctx_session(r), hold->rc, hold->data);

    ngx_http_finalize_request(r, rc);
}
