
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

/* a server that cannot yet is asked again after as many milliseconds */
#define NGX_WS_BUS_SERVERS_RETRY      30


static ngx_ws_bus_server_op_t *ngx_ws_bus_servers_op(
    ngx_ws_bus_servers_t *ss, ngx_ws_bus_servers_call_t *call);
static void ngx_ws_bus_servers_identify(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_node_t *node);
static ngx_int_t ngx_ws_bus_servers_ask(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_node_t *node);
static void ngx_ws_bus_servers_reply(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_servers_refused(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_servers_unknown(ngx_ws_bus_server_op_t *op);
static ngx_int_t ngx_ws_bus_servers_redirect(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_slot_redirect_t *redirect);
static ngx_uint_t ngx_ws_bus_servers_readonly(ngx_ws_bus_reply_t *reply);


ngx_int_t
ngx_ws_bus_servers_command(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_servers_call_t *call, ngx_ws_bus_server_op_t **opp)
{
    ngx_int_t                rc;
    ngx_ws_bus_node_t       *node;
    ngx_ws_bus_line_t       *line;
    ngx_ws_bus_server_op_t  *op;

    node = (ngx_ws_bus_node_t *) ngx_ws_bus_servers_of(ss, call->slot);

    if (node == NULL || ss->closed) {
        return NGX_DECLINED;
    }

    if (!node->server.up) {
        ngx_ws_bus_node_want(node);
        return NGX_DECLINED;
    }

    op = ngx_ws_bus_servers_op(ss, call);
    if (op == NULL) {
        return NGX_ERROR;
    }

    if (ss->flying && ss->flying + op->size > ss->redis->link.max_queue) {
        ngx_free(op);
        return NGX_AGAIN;
    }

    line = ngx_ws_bus_line_get(ss, call->slot, call->ordered);

    rc = line ? ngx_ws_bus_line_add(line, op) : NGX_ERROR;

    if (rc != NGX_OK) {
        ngx_free(op);
        return rc;
    }

    ss->flying += op->size;

    if (opp) {
        *opp = op;
    }

    return NGX_OK;
}


/*
 * It may have to be sent again: the arguments are kept.
 */

static ngx_ws_bus_server_op_t *
ngx_ws_bus_servers_op(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_servers_call_t *call)
{
    size_t                   size;
    u_char                  *p;
    ngx_uint_t               i;
    ngx_ws_bus_server_op_t  *op;

    size = sizeof(ngx_ws_bus_server_op_t) + call->n * sizeof(ngx_str_t)
           + call->digits;

    for (i = 0; i < call->n; i++) {
        size += call->argv[i].len;
    }

    op = ngx_alloc(size, ss->log);
    if (op == NULL) {
        return NULL;
    }

    ngx_memzero(op, sizeof(ngx_ws_bus_server_op_t));

    op->servers = ss;
    op->size = size;
    op->slot = call->slot;
    op->number = ++ss->number;
    op->deadline = ngx_current_msec + (call->timeout ? call->timeout
                                               : ss->redis->link.timeout);
    op->once = call->once;
    op->script = call->script;
    op->replid = call->replid;
    op->digits = call->digits;
    op->handler = call->handler;
    op->data = call->data;
    op->publisher = call->publisher;
    op->n = call->n;

    p = (u_char *) &op->argv[op->n];

    for (i = 0; i < op->n; i++) {
        op->argv[i].data = p;
        op->argv[i].len = call->argv[i].len;
        p = ngx_cpymem(p, call->argv[i].data, call->argv[i].len);

        if (op->replid == i) {
            op->prefix = call->argv[i].len;
            p += op->digits;
        }
    }

    return op;
}


ngx_int_t
ngx_ws_bus_servers_send(ngx_ws_bus_server_op_t *op, ngx_ws_bus_node_t *node)
{
    if (node == NULL || node->dead) {
        return NGX_DECLINED;
    }

    if (!node->server.up) {
        ngx_ws_bus_node_want(node);
        return NGX_DECLINED;
    }

    if (op->replid) {
        ngx_ws_bus_servers_identify(op, node);
    }

    if (op->ask && ngx_ws_bus_servers_ask(op, node) != NGX_OK) {
        return NGX_AGAIN;
    }

    op->node = node;
    op->sent = ngx_current_msec;
    node->used = ngx_current_msec;

    return ngx_ws_bus_link_command(node->server.command, op->argv, op->n,
                                   ngx_ws_bus_servers_reply, op, NULL);
}


/*
 * The server may have had another role meanwhile, and lost what it had, on a
 * connection that outlives this: its id is old when nothing was written to it
 * for a while, since a replica would have refused that.
 */

static void
ngx_ws_bus_servers_identify(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_node_t *node)
{
    ngx_str_t  *arg;

    arg = &op->argv[op->replid];
    arg->len = op->prefix;

    if (node->server.replid.len
        && ngx_current_msec - node->sure <= NGX_WS_BUS_SERVERS_SURE)
    {
        ngx_memcpy(arg->data + op->prefix, node->replid, op->digits);
        arg->len += op->digits;
    }
}


/*
 * The server is to be asked this once; both go together, or none.
 */

static ngx_int_t
ngx_ws_bus_servers_ask(ngx_ws_bus_server_op_t *op, ngx_ws_bus_node_t *node)
{
    size_t              size;
    ngx_ws_bus_link_t  *link;

    static const ngx_str_t  asking[] = { ngx_string("ASKING") };

    link = node->server.command;

    size = ngx_ws_bus_resp_command_size(asking, 1)
           + ngx_ws_bus_resp_command_size(op->argv, op->n);

    if (link->queued && !ngx_ws_bus_link_takes(link, size)) {
        return NGX_AGAIN;
    }

    return ngx_ws_bus_link_command(link, asking, 1, NULL, NULL, NULL);
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

    ngx_uint_t             error;
    ngx_ws_bus_line_t     *line;
    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;

    if (ss->closed) {
        return;
    }

    ngx_ws_bus_servers_enter(ss);

    line = op->line;
    line->busy = 1;
    line->flying--;

    error = (rc == NGX_OK && reply->type == NGX_WS_BUS_REPLY_ERROR);

    if (!error || ngx_ws_bus_servers_refused(op, reply) != NGX_OK) {

        if (rc == NGX_OK && !error) {
            op->node->server.refused = 0;
        }

        /* without an answer it may have been executed */

        if (rc != NGX_DECLINED && !error) {
            ngx_ws_bus_line_executed(op, rc);
        }

        if (!ss->closed) {
            ss->answering = (rc == NGX_OK) ? op->node : NULL;
            ss->answered = op->sent;
            ngx_ws_bus_servers_finish(op, rc, reply);
            ss->answering = NULL;
        }
    }

    line->busy = 0;

    if (!ss->closed) {
        ngx_ws_bus_line_advance(line);
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

    if (op->script && ngx_ws_bus_reply_is_error(reply, "NOSCRIPT")) {
        return ngx_ws_bus_servers_unknown(op);
    }

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
        op->node->server.refused = ngx_current_msec;
        ngx_ws_bus_cluster_suspect(ss);

        if (op->once) {
            return NGX_DECLINED;
        }

    } else {
        return NGX_DECLINED;
    }

    if ((ngx_msec_int_t) (op->deadline - ngx_current_msec)
        <= NGX_WS_BUS_SERVERS_RETRY)
    {
        return NGX_DECLINED;
    }

    ngx_queue_remove(&op->queue);
    ngx_ws_bus_line_return(op, NGX_WS_BUS_SERVERS_RETRY);

    return NGX_OK;
}


/*
 * The server does not know the script, and gets its text.
 */

static ngx_int_t
ngx_ws_bus_servers_unknown(ngx_ws_bus_server_op_t *op)
{
    ngx_str_set(&op->argv[0], "EVAL");
    op->argv[1] = *op->script;
    op->script = NULL;

    ngx_queue_remove(&op->queue);
    ngx_ws_bus_line_return(op, 0);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_servers_redirect(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_slot_redirect_t *redirect)
{
    ngx_ws_bus_node_t     *node, *from;
    ngx_ws_bus_servers_t  *ss;

    ss = op->servers;
    from = op->node;

    if (op->redirects++ == NGX_WS_BUS_SERVERS_REDIRECTS
        || (ngx_msec_int_t) (op->deadline - ngx_current_msec) <= 0
        || redirect->slot != op->slot)
    {
        ngx_ws_bus_cluster_suspect(ss);
        return NGX_DECLINED;
    }

    node = ngx_ws_bus_cluster_node(ss, from->server.command, &redirect->host,
                                   redirect->port, 1);
    if (node == NULL) {
        ngx_ws_bus_cluster_suspect(ss);
        return NGX_DECLINED;
    }

    op->ask = (redirect->type == NGX_WS_BUS_SLOT_ASK) ? node : NULL;

    ngx_queue_remove(&op->queue);
    ngx_ws_bus_line_return(op, 0);

    if (redirect->type == NGX_WS_BUS_SLOT_MOVED) {

        /* it may have another role, and another id when it is back */

        from->server.replid.len = 0;
        ngx_ws_bus_node_ask(from);

        ngx_ws_bus_cluster_suspect(ss);
        ngx_ws_bus_cluster_move(ss, op->slot, node);
    }

    return NGX_OK;
}


void
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
