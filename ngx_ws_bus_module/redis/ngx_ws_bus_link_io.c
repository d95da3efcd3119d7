
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_zone.h"
#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_link_core.h"


#define NGX_WS_BUS_LINK_RECV       (64 * 1024)

/* hiredis moves what it has not read yet each time: small pieces */
#define NGX_WS_BUS_LINK_PIECE      8192

/* reads in a row, then others have their turn */
#define NGX_WS_BUS_LINK_READS      16

#define NGX_WS_BUS_LINK_BLOCK      (16 * 1024)
#define NGX_WS_BUS_LINK_CHAIN      32


/* what a subscriber may say, and how it is confirmed */

typedef struct {
    ngx_str_t             command;
    ngx_str_t             reply;
    ngx_ws_bus_link_op_e  type;
} ngx_ws_bus_link_verb_t;


static u_char *ngx_ws_bus_link_reserve(ngx_ws_bus_link_t *link, size_t size);
static void ngx_ws_bus_link_write_handler(ngx_event_t *wev);
static ngx_int_t ngx_ws_bus_link_write(ngx_ws_bus_link_t *link);
static void ngx_ws_bus_link_written(ngx_ws_bus_link_t *link, size_t n);
static void ngx_ws_bus_link_read_handler(ngx_event_t *rev);
static ngx_int_t ngx_ws_bus_link_read(ngx_ws_bus_link_t *link, u_char *p,
    size_t len);
static ngx_int_t ngx_ws_bus_link_reply(ngx_ws_bus_link_t *link,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_link_push(ngx_ws_bus_link_t *link,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_link_complete(ngx_ws_bus_link_t *link,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_link_rtt(ngx_ws_bus_link_t *link, uint64_t rtt);


static const ngx_ws_bus_link_verb_t  ngx_ws_bus_link_verbs[] = {
    { ngx_string("PING"), ngx_string("pong"), NGX_WS_BUS_LINK_OP_PONG },
    { ngx_string("SUBSCRIBE"), ngx_string("subscribe"),
      NGX_WS_BUS_LINK_OP_SUBSCRIBE },
    { ngx_string("UNSUBSCRIBE"), ngx_string("unsubscribe"),
      NGX_WS_BUS_LINK_OP_UNSUBSCRIBE },
    { ngx_string("PSUBSCRIBE"), ngx_string("psubscribe"),
      NGX_WS_BUS_LINK_OP_PSUBSCRIBE },
    { ngx_string("PUNSUBSCRIBE"), ngx_string("punsubscribe"),
      NGX_WS_BUS_LINK_OP_PUNSUBSCRIBE },
    { ngx_string("SSUBSCRIBE"), ngx_string("ssubscribe"),
      NGX_WS_BUS_LINK_OP_SSUBSCRIBE },
    { ngx_string("SUNSUBSCRIBE"), ngx_string("sunsubscribe"),
      NGX_WS_BUS_LINK_OP_SUNSUBSCRIBE },
    { ngx_null_string, ngx_null_string, NGX_WS_BUS_LINK_OP_COMMAND }
};


static u_char  ngx_ws_bus_link_buf[NGX_WS_BUS_LINK_RECV];


ngx_int_t
ngx_ws_bus_link_verb(ngx_ws_bus_link_t *link, const ngx_str_t *argv,
    ngx_uint_t n, ngx_ws_bus_link_op_e *type)
{
    const ngx_ws_bus_link_verb_t  *verb;

    *type = NGX_WS_BUS_LINK_OP_COMMAND;

    if (!(link->flags & NGX_WS_BUS_LINK_SUBSCRIBER)) {
        return NGX_OK;
    }

    for (verb = ngx_ws_bus_link_verbs; verb->command.len; verb++) {

        if (argv[0].len == verb->command.len
            && ngx_strncasecmp(argv[0].data, verb->command.data,
                               verb->command.len)
               == 0)
        {
            *type = verb->type;

            return (n > 1 || verb->type == NGX_WS_BUS_LINK_OP_PONG)
                   ? NGX_OK : NGX_ERROR;
        }
    }

    return NGX_ERROR;
}


ngx_int_t
ngx_ws_bus_link_queue(ngx_ws_bus_link_t *link, const ngx_str_t *argv,
    ngx_uint_t n, ngx_ws_bus_link_op_e type, ngx_ws_bus_link_op_t **opp)
{
    size_t                 size;
    u_char                *p;
    ngx_ws_bus_link_op_t  *op;

    op = ngx_calloc(sizeof(ngx_ws_bus_link_op_t), &link->log);
    if (op == NULL) {
        return NGX_ERROR;
    }

    size = ngx_ws_bus_resp_command_size(argv, n);

    p = ngx_ws_bus_link_reserve(link, size);
    if (p == NULL) {
        ngx_free(op);
        return NGX_ERROR;
    }

    link->last->last = ngx_ws_bus_resp_command(p, argv, n);

    if (!link->flush.posted) {
        link->turn = ngx_ws_bus_time();
        ngx_post_event(&link->flush, &ngx_posted_events);
    }

    op->type = type;
    op->left = 1;
    op->time = ngx_current_msec;
    op->start = link->turn;
    op->from = link->end;

    link->end += size;
    link->queued += size;
    link->pending++;
    link->stats->commands++;

    ngx_queue_insert_tail(&link->ops, &op->queue);

    if (!link->deadline.timer_set && link->state == NGX_WS_BUS_LINK_UP) {
        ngx_add_timer(&link->deadline, link->conf->timeout);
    }

    if (opp) {
        *opp = op;
    }

    return NGX_OK;
}


static u_char *
ngx_ws_bus_link_reserve(ngx_ws_bus_link_t *link, size_t size)
{
    size_t                    room;
    ngx_ws_bus_link_block_t  *block;

    block = link->last;

    if (block && (size_t) (block->end - block->last) >= size) {
        return block->last;
    }

    room = ngx_max(size, NGX_WS_BUS_LINK_BLOCK
                         - sizeof(ngx_ws_bus_link_block_t));

    block = ngx_alloc(sizeof(ngx_ws_bus_link_block_t) + room, &link->log);
    if (block == NULL) {
        return NULL;
    }

    block->next = NULL;
    block->pos = (u_char *) (block + 1);
    block->last = block->pos;
    block->end = block->pos + room;
    block->secret = 0;

    if (link->last) {
        link->last->next = block;

    } else {
        link->out = block;
    }

    link->last = block;

    return block->last;
}


void
ngx_ws_bus_link_release(ngx_ws_bus_link_t *link)
{
    u_char                   *start;
    ngx_ws_bus_link_block_t  *block;

    block = link->out;
    link->out = block->next;

    if (link->out == NULL) {
        link->last = NULL;
    }

    if (block->secret) {
        start = (u_char *) (block + 1);
        ngx_explicit_memzero(start, block->end - start);
    }

    ngx_free(block);
}


void
ngx_ws_bus_link_run(ngx_ws_bus_link_t *link)
{
    ngx_connection_t  *c;

    c = link->peer.connection;

    c->read->handler = ngx_ws_bus_link_read_handler;
    c->write->handler = ngx_ws_bus_link_write_handler;

    /* what came meanwhile is told by no event any more */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }
}


void
ngx_ws_bus_link_flush_handler(ngx_event_t *ev)
{
    ngx_connection_t   *c;
    ngx_ws_bus_link_t  *link;

    link = ngx_ws_bus_link_of(ev, flush);
    c = link->peer.connection;

    if (c && c->write->ready) {
        ngx_ws_bus_link_write_handler(c->write);
    }
}


static void
ngx_ws_bus_link_write_handler(ngx_event_t *wev)
{
    ngx_err_t           err;
    ngx_connection_t   *c;
    ngx_ws_bus_link_t  *link;

    c = wev->data;
    link = c->data;

    if (ngx_ws_bus_link_write(link) == NGX_OK) {
        return;
    }

    err = ngx_socket_errno;

    ngx_ws_bus_link_complain(link, NGX_WS_BUS_LINK_IO, err, NULL);
    ngx_ws_bus_link_fail(link, NGX_WS_BUS_LINK_IO);
}


static ngx_int_t
ngx_ws_bus_link_write(ngx_ws_bus_link_t *link)
{
    off_t                     sent;
    ngx_buf_t                 bufs[NGX_WS_BUS_LINK_CHAIN];
    ngx_uint_t                n;
    ngx_chain_t               chain[NGX_WS_BUS_LINK_CHAIN], *rest;
    ngx_connection_t         *c;
    ngx_ws_bus_link_block_t  *block;

    c = link->peer.connection;

    while (link->out && c->write->ready) {

        n = 0;

        for (block = link->out;
             block && n < NGX_WS_BUS_LINK_CHAIN;
             block = block->next)
        {
            ngx_memzero(&bufs[n], sizeof(ngx_buf_t));

            bufs[n].pos = block->pos;
            bufs[n].last = block->last;
            bufs[n].memory = 1;

            chain[n].buf = &bufs[n];
            chain[n].next = &chain[n + 1];
            n++;
        }

        chain[n - 1].next = NULL;

        sent = c->sent;

        rest = c->send_chain(c, chain, 0);

        if (rest == NGX_CHAIN_ERROR) {
            return NGX_ERROR;
        }

        ngx_ws_bus_link_written(link, c->sent - sent);

        if (rest) {
            break;
        }
    }

    return ngx_handle_write_event(c->write, 0);
}


static void
ngx_ws_bus_link_written(ngx_ws_bus_link_t *link, size_t n)
{
    size_t                    size;
    ngx_ws_bus_link_block_t  *block;

    link->sent += n;
    link->queued -= n;
    link->stats->bytes_out += n;

    while (n) {
        block = link->out;
        size = ngx_min(n, (size_t) (block->last - block->pos));

        block->pos += size;
        n -= size;

        if (block->pos == block->last) {
            ngx_ws_bus_link_release(link);
        }
    }
}


static void
ngx_ws_bus_link_read_handler(ngx_event_t *rev)
{
    ssize_t                    n;
    ngx_err_t                  err;
    ngx_uint_t                 i;
    ngx_connection_t          *c;
    ngx_ws_bus_link_t         *link;
    ngx_ws_bus_link_reason_e   reason;

    c = rev->data;
    link = c->data;

    for (i = 0; i < NGX_WS_BUS_LINK_READS; i++) {

        n = c->recv(c, ngx_ws_bus_link_buf, NGX_WS_BUS_LINK_RECV);
        err = ngx_socket_errno;

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(rev, 0) == NGX_OK) {
                return;
            }

            n = NGX_ERROR;
        }

        if (n == NGX_ERROR || n == 0) {
            reason = n ? NGX_WS_BUS_LINK_IO : NGX_WS_BUS_LINK_CLOSED;

            ngx_ws_bus_link_complain(link, reason, n ? err : 0, NULL);
            ngx_ws_bus_link_fail(link, reason);
            return;
        }

        link->read_at = ngx_current_msec;
        link->stats->bytes_in += n;

        if (ngx_ws_bus_link_read(link, ngx_ws_bus_link_buf, n) != NGX_OK) {
            return;
        }
    }

    ngx_post_event(rev, &ngx_posted_next_events);
}


/*
 * NGX_DONE: the link is down or gone.
 */

static ngx_int_t
ngx_ws_bus_link_read(ngx_ws_bus_link_t *link, u_char *p, size_t len)
{
    size_t               n;
    uint64_t             now;
    ngx_int_t            rc;
    ngx_str_t            text;
    ngx_ws_bus_reply_t  *reply;

    now = 0;
    rc = NGX_OK;
    link->busy++;

    for ( /* void */ ; len && rc == NGX_OK; p += n, len -= n) {

        n = ngx_min(len, NGX_WS_BUS_LINK_PIECE);

        rc = ngx_ws_bus_resp_feed(link->resp, p, n);

        while (rc == NGX_OK) {
            rc = ngx_ws_bus_resp_next(link->resp, &reply);

            if (rc != NGX_OK) {
                break;
            }

            if (now == 0) {
                now = ngx_ws_bus_time();
                link->turn = now;
            }

            rc = ngx_ws_bus_link_reply(link, reply);

            if (link->closed) {
                ngx_ws_bus_link_leave(link);
                return NGX_DONE;
            }
        }

        if (rc == NGX_AGAIN) {
            rc = NGX_OK;
        }
    }

    link->busy--;

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    if (rc == NGX_ERROR) {
        text.data = (u_char *) ngx_ws_bus_resp_error(link->resp);
        text.len = ngx_strlen(text.data);

        link->reason = NGX_WS_BUS_LINK_PROTOCOL;

        ngx_ws_bus_link_complain(link, link->reason, 0, &text);
    }

    ngx_ws_bus_link_fail(link, link->reason);

    return NGX_DONE;
}


/*
 * NGX_DECLINED: the link is to be failed, link->reason is logged.
 */

static ngx_int_t
ngx_ws_bus_link_reply(ngx_ws_bus_link_t *link, ngx_ws_bus_reply_t *reply)
{
    ngx_int_t              rc;
    ngx_queue_t           *q;
    ngx_ws_bus_link_op_t  *op;

    static ngx_str_t  unasked = ngx_string("a reply to no command");

    link->stats->replies++;

    if (reply->type == NGX_WS_BUS_REPLY_ERROR) {
        link->stats->errors++;
    }

    if (link->state == NGX_WS_BUS_LINK_UP
        && (link->flags & NGX_WS_BUS_LINK_SUBSCRIBER)
        && reply->type == NGX_WS_BUS_REPLY_ARRAY)
    {
        return ngx_ws_bus_link_push(link, reply);
    }

    if (ngx_queue_empty(&link->ops)) {
        link->reason = NGX_WS_BUS_LINK_PROTOCOL;

        ngx_ws_bus_link_complain(link, link->reason, 0,
                                 reply->type == NGX_WS_BUS_REPLY_ERROR
                                 ? &reply->str : &unasked);
        return NGX_DECLINED;
    }

    if (link->state == NGX_WS_BUS_LINK_UP) {
        return ngx_ws_bus_link_complete(link, reply);
    }

    q = ngx_queue_head(&link->ops);
    op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

    rc = ngx_ws_bus_link_greeted(link, op->type, reply);

    if (rc == NGX_ERROR) {
        return NGX_DECLINED;
    }

    (void) ngx_ws_bus_link_complete(link, reply);

    if (rc == NGX_DONE) {
        ngx_ws_bus_link_up(link);
    }

    return NGX_OK;
}


/*
 * Subscriptions are confirmed one channel at a time, in the order of the
 * commands; messages come in between.
 */

static ngx_int_t
ngx_ws_bus_link_push(ngx_ws_bus_link_t *link, ngx_ws_bus_reply_t *reply)
{
    ngx_queue_t                   *q;
    ngx_ws_bus_link_op_t          *op;
    ngx_ws_bus_link_op_e           type;
    const ngx_ws_bus_link_verb_t  *verb;

    static ngx_str_t  strange = ngx_string("a push of no known kind");

    if (reply->first == NULL
        || reply->first->type != NGX_WS_BUS_REPLY_STRING)
    {
        link->reason = NGX_WS_BUS_LINK_PROTOCOL;
        ngx_ws_bus_link_complain(link, link->reason, 0, &strange);
        return NGX_DECLINED;
    }

    type = NGX_WS_BUS_LINK_OP_COMMAND;

    for (verb = ngx_ws_bus_link_verbs; verb->reply.len; verb++) {

        if (reply->first->str.len == verb->reply.len
            && ngx_memcmp(reply->first->str.data, verb->reply.data,
                          verb->reply.len)
               == 0)
        {
            type = verb->type;
            break;
        }
    }

    if (type != NGX_WS_BUS_LINK_OP_PONG) {
        link->stats->pushes++;

        if (link->handlers.push) {
            link->handlers.push(link->handlers.data, reply);
        }

        if (type == NGX_WS_BUS_LINK_OP_COMMAND || link->closed) {
            return NGX_OK;
        }
    }

    if (ngx_queue_empty(&link->ops)) {
        return NGX_OK;
    }

    q = ngx_queue_head(&link->ops);
    op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

    /* "sunsubscribe" comes unasked when the slot of a channel moves */

    if (op->type != type) {
        return NGX_OK;
    }

    if (--op->left) {
        op->time = ngx_current_msec;
        return NGX_OK;
    }

    return ngx_ws_bus_link_complete(link, reply);
}


static ngx_int_t
ngx_ws_bus_link_complete(ngx_ws_bus_link_t *link, ngx_ws_bus_reply_t *reply)
{
    void                      *data;
    ngx_queue_t               *q;
    ngx_ws_bus_link_op_t      *op;
    ngx_ws_bus_link_reply_pt   handler;

    q = ngx_queue_head(&link->ops);
    op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

    ngx_queue_remove(q);
    link->pending--;

    ngx_ws_bus_link_rtt(link, link->turn > op->start ? link->turn - op->start
                                                     : 0);

    handler = op->handler;
    data = op->data;

    ngx_free(op);

    if (handler) {
        handler(data, NGX_OK, reply);
    }

    return NGX_OK;
}


static void
ngx_ws_bus_link_rtt(ngx_ws_bus_link_t *link, uint64_t rtt)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_WS_BUS_LINK_RTT_N - 1; i++) {
        if (rtt <= ngx_ws_bus_link_rtt_bounds[i]) {
            break;
        }
    }

    link->rtt = rtt;
    link->stats->rtt_sum += rtt;
    link->stats->rtt[i]++;
}
