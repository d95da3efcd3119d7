
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_servers_core.h"


/*
 * Commands, and where they are sent to.  What is answered by a redirection
 * has not been executed.
 */


/* MOVED and ASK that a command follows */
#define NGX_WS_BUS_SERVERS_REDIRECTS  8

/* between two tries, milliseconds */
#define NGX_WS_BUS_SERVERS_RETRY      30


static ngx_ws_bus_server_op_t *ngx_ws_bus_servers_op(
    ngx_ws_bus_servers_t *ss, const ngx_str_t *argv, ngx_uint_t n);
static ngx_int_t ngx_ws_bus_servers_send(ngx_ws_bus_server_op_t *op,
    const ngx_str_t *argv, ngx_uint_t n);
static ngx_int_t ngx_ws_bus_servers_ask(ngx_ws_bus_server_op_t *op);
static void ngx_ws_bus_servers_reply(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_servers_refused(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_servers_redirect(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_slot_redirect_t *redirect);
static void ngx_ws_bus_servers_wait(ngx_ws_bus_server_op_t *op,
    ngx_msec_t delay);
static ngx_int_t ngx_ws_bus_servers_try(ngx_ws_bus_server_op_t *op);
static void ngx_ws_bus_servers_finish(ngx_ws_bus_server_op_t *op,
    ngx_int_t rc, ngx_ws_bus_reply_t *reply);
static ngx_uint_t ngx_ws_bus_servers_readonly(ngx_ws_bus_reply_t *reply);


ngx_int_t
ngx_ws_bus_servers_command(ngx_ws_bus_servers_t *ss, ngx_uint_t slot,
    const ngx_str_t *argv, ngx_uint_t n, ngx_ws_bus_link_reply_pt handler,
    void *data, ngx_ws_bus_server_op_t **opp)
{
    ngx_int_t                rc;
    ngx_ws_bus_node_t       *node;
    ngx_ws_bus_server_op_t  *op;

    node = (ngx_ws_bus_node_t *) ngx_ws_bus_servers_of(ss, slot);

    if (node == NULL || !node->server.up || ss->closed) {
        return NGX_DECLINED;
    }

    op = ngx_ws_bus_servers_op(ss, argv, n);
    if (op == NULL) {
        return NGX_ERROR;
    }

    if (ss->slots && ss->flying
        && ss->flying + op->size > ss->redis->link.max_queue)
    {
        ngx_free(op);
        return NGX_AGAIN;
    }

    op->slot = slot;
    op->node = node;
    op->handler = handler;
    op->data = data;

    rc = ngx_ws_bus_servers_send(op, argv, n);

    if (rc != NGX_OK) {
        ngx_free(op);
        return rc;
    }

    ngx_queue_insert_tail(&ss->ops, &op->queue);
    ss->flying += op->size;

    if (opp) {
        *opp = op;
    }

    return NGX_OK;
}


/*
 * In a Cluster it may have to be sent again: the arguments are kept.
 */

static ngx_ws_bus_server_op_t *
ngx_ws_bus_servers_op(ngx_ws_bus_servers_t *ss, const ngx_str_t *argv,
    ngx_uint_t n)
{
    size_t                   size;
    u_char                  *p;
    ngx_uint_t               i;
    ngx_ws_bus_server_op_t  *op;

    size = sizeof(ngx_ws_bus_server_op_t);

    if (ss->slots) {
        size += n * sizeof(ngx_str_t);

        for (i = 0; i < n; i++) {
            size += argv[i].len;
        }
    }

    op = ngx_alloc(size, ss->log);
    if (op == NULL) {
        return NULL;
    }

    ngx_memzero(op, sizeof(ngx_ws_bus_server_op_t));

    op->servers = ss;
    op->size = size;
    op->deadline = ngx_current_msec + ss->redis->link.timeout;

    if (ss->slots) {
        p = (u_char *) &op->argv[n];

        for (i = 0; i < n; i++) {
            op->argv[i].data = p;
            op->argv[i].len = argv[i].len;
            p = ngx_cpymem(p, argv[i].data, argv[i].len);
        }

        op->n = n;
    }

    return op;
}


static ngx_int_t
ngx_ws_bus_servers_send(ngx_ws_bus_server_op_t *op, const ngx_str_t *argv,
    ngx_uint_t n)
{
    op->node->used = ngx_current_msec;

    return ngx_ws_bus_link_command(op->node->server.command, argv, n,
                                   ngx_ws_bus_servers_reply, op, NULL);
}


void
ngx_ws_bus_servers_with_replid(ngx_ws_bus_server_op_t *op, ngx_uint_t i)
{
    op->replid = i;
}


void
ngx_ws_bus_servers_cancel(ngx_ws_bus_server_op_t *op)
{
    op->handler = NULL;
}


static void
ngx_ws_bus_servers_reply(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_server_op_t *op = data;

    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;

    if (ss->closed) {
        return;
    }

    ngx_ws_bus_servers_enter(ss);

    if (rc != NGX_OK || reply->type != NGX_WS_BUS_REPLY_ERROR
        || ngx_ws_bus_servers_refused(op, reply) != NGX_OK)
    {
        if (!ss->closed) {
            ss->answering = (rc == NGX_OK) ? op->node : NULL;
            ss->answered = op->deadline - ss->redis->link.timeout;
            ngx_ws_bus_servers_finish(op, rc, reply);
            ss->answering = NULL;
        }
    }

    ngx_ws_bus_servers_leave(ss);
}


/*
 * An error: NGX_OK if the command is sent again, or will be.
 */

static ngx_int_t
ngx_ws_bus_servers_refused(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_servers_t        *ss;
    ngx_ws_bus_slot_redirect_t   redirect;

    ss = op->servers;

    if (ss->slots == NULL) {

        if (ss->sentinel && ngx_ws_bus_servers_readonly(reply)) {
            ngx_ws_bus_servers_suspect(ss, &op->node->server);
        }

        return NGX_DECLINED;
    }

    if (ngx_ws_bus_slot_redirect(&reply->str, &redirect) == NGX_OK) {
        return ngx_ws_bus_servers_redirect(op, &redirect);
    }

    if (ngx_ws_bus_reply_is_error(reply, "TRYAGAIN")) {

        /* the slot is on its way, and only some of the keys are there */

    } else if (ngx_ws_bus_reply_is_error(reply, "CLUSTERDOWN")) {
        op->ask = NULL;
        ngx_ws_bus_cluster_suspect(ss);

    } else {
        return NGX_DECLINED;
    }

    if ((ngx_msec_int_t) (op->deadline - ngx_current_msec)
        <= NGX_WS_BUS_SERVERS_RETRY)
    {
        return NGX_DECLINED;
    }

    ngx_ws_bus_servers_wait(op, NGX_WS_BUS_SERVERS_RETRY);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_servers_redirect(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_slot_redirect_t *redirect)
{
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;

    if (op->redirects++ == NGX_WS_BUS_SERVERS_REDIRECTS
        || (ngx_msec_int_t) (op->deadline - ngx_current_msec) <= 0
        || redirect->slot != op->slot)
    {
        ngx_ws_bus_cluster_suspect(ss);
        return NGX_DECLINED;
    }

    node = ngx_ws_bus_cluster_node(ss, op->node->server.command,
                                   &redirect->host, redirect->port, 1);
    if (node == NULL) {
        ngx_ws_bus_cluster_suspect(ss);
        return NGX_DECLINED;
    }

    op->ask = NULL;

    if (redirect->type == NGX_WS_BUS_SLOT_ASK) {
        op->ask = node;

    } else {

        /* it may have another role, and another id when it is back */

        op->node->server.replid.len = 0;
        ngx_ws_bus_node_ask(op->node);

        ngx_ws_bus_cluster_move(ss, op->slot, node);

        if (ss->closed) {
            return NGX_DECLINED;
        }

        ngx_ws_bus_cluster_suspect(ss);
    }

    if (ngx_ws_bus_servers_try(op) != NGX_OK) {
        ngx_ws_bus_servers_wait(op, 0);
    }

    return NGX_OK;
}


static void
ngx_ws_bus_servers_wait(ngx_ws_bus_server_op_t *op, ngx_msec_t delay)
{
    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;

    op->node = NULL;
    op->at = ngx_current_msec + delay;

    if (!op->waits) {
        op->waits = 1;
        ngx_queue_remove(&op->queue);
        ngx_queue_insert_tail(&ss->waiting, &op->queue);
    }

    if (!ss->retry.timer_set) {
        ngx_add_timer(&ss->retry, NGX_WS_BUS_SERVERS_RETRY);
    }
}


/*
 * NGX_OK: it is sent; NGX_AGAIN: it is to wait; NGX_ERROR: no memory.
 */

static ngx_int_t
ngx_ws_bus_servers_try(ngx_ws_bus_server_op_t *op)
{
    ngx_int_t              rc;
    ngx_str_t             *arg;
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;

    node = op->ask ? op->ask : ss->slots[op->slot];

    if (node == NULL || node->dead || !node->server.up) {
        return NGX_AGAIN;
    }

    op->node = node;

    if (op->replid) {
        arg = &op->argv[op->replid];

        while (arg->len && arg->data[arg->len - 1] != ':') {
            arg->len--;
        }
    }

    if (op->ask && ngx_ws_bus_servers_ask(op) != NGX_OK) {
        return NGX_AGAIN;
    }

    rc = ngx_ws_bus_servers_send(op, op->argv, op->n);

    if (rc != NGX_OK) {
        return (rc == NGX_ERROR) ? NGX_ERROR : NGX_AGAIN;
    }

    if (op->waits) {
        op->waits = 0;
        ngx_queue_remove(&op->queue);
        ngx_queue_insert_tail(&ss->ops, &op->queue);
    }

    return NGX_OK;
}


/*
 * The server is to be asked this once; both go together, or none.
 */

static ngx_int_t
ngx_ws_bus_servers_ask(ngx_ws_bus_server_op_t *op)
{
    size_t              size;
    ngx_ws_bus_link_t  *link;

    static const ngx_str_t  asking[] = { ngx_string("ASKING") };

    link = op->node->server.command;

    size = ngx_ws_bus_resp_command_size(asking, 1)
           + ngx_ws_bus_resp_command_size(op->argv, op->n);

    if (link->queued && !ngx_ws_bus_link_takes(link, size)) {
        return NGX_AGAIN;
    }

    return ngx_ws_bus_link_command(link, asking, 1, NULL, NULL, NULL);
}


void
ngx_ws_bus_servers_retry(ngx_ws_bus_servers_t *ss)
{
    ngx_int_t                rc;
    ngx_queue_t             *q, *next;
    ngx_ws_bus_server_op_t  *op;

    ngx_ws_bus_servers_enter(ss);

    /* no handler adds to this queue: only answers do */

    for (q = ngx_queue_head(&ss->waiting);
         q != ngx_queue_sentinel(&ss->waiting) && !ss->closed;
         q = next)
    {
        next = ngx_queue_next(q);
        op = ngx_queue_data(q, ngx_ws_bus_server_op_t, queue);

        if ((ngx_msec_int_t) (op->deadline - ngx_current_msec) <= 0) {
            ngx_ws_bus_servers_finish(op, NGX_DECLINED, NULL);
            continue;
        }

        if ((ngx_msec_int_t) (op->at - ngx_current_msec) > 0) {
            continue;
        }

        rc = ngx_ws_bus_servers_try(op);

        if (rc == NGX_ERROR) {
            ngx_ws_bus_servers_finish(op, NGX_DECLINED, NULL);
        }
    }

    if (!ss->closed && !ngx_queue_empty(&ss->waiting)
        && !ss->retry.timer_set)
    {
        ngx_add_timer(&ss->retry, NGX_WS_BUS_SERVERS_RETRY);
    }

    ngx_ws_bus_servers_leave(ss);
}


void
ngx_ws_bus_servers_retry_handler(ngx_event_t *ev)
{
    ngx_ws_bus_servers_retry((ngx_ws_bus_servers_t *) ((u_char *) ev
                                   - offsetof(ngx_ws_bus_servers_t, retry)));
}


void
ngx_ws_bus_servers_forget(ngx_ws_bus_servers_t *ss, ngx_ws_bus_node_t *node)
{
    ngx_queue_t             *q;
    ngx_ws_bus_server_op_t  *op;

    for (q = ngx_queue_head(&ss->waiting);
         q != ngx_queue_sentinel(&ss->waiting);
         q = ngx_queue_next(q))
    {
        op = ngx_queue_data(q, ngx_ws_bus_server_op_t, queue);

        if (op->ask == node) {
            op->ask = NULL;
        }
    }
}


static void
ngx_ws_bus_servers_finish(ngx_ws_bus_server_op_t *op, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_queue_remove(&op->queue);
    op->servers->flying -= op->size;

    if (op->handler) {
        op->handler(op->data, rc, reply);
    }

    ngx_free(op);
}


/*
 * Redis 6.2 has it inside the error of a script.
 */

static ngx_uint_t
ngx_ws_bus_servers_readonly(ngx_ws_bus_reply_t *reply)
{
    static const char  readonly[] = "READONLY";

    return ngx_strlcasestrn(reply->str.data,
                            reply->str.data + reply->str.len,
                            (u_char *) readonly, sizeof(readonly) - 2)
           != NULL;
}
