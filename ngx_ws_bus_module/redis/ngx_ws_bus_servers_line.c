
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_servers_core.h"


/*
 * The order of commands.
 *
 * Many are on their way at once, and a server may send one back and execute
 * the next.  So when one comes back, those behind it wait until all that have
 * been sent are answered; then the first goes alone, and the others follow
 * when it was executed.  Nothing is sent to another server either before the
 * one before it has answered all.  What was overtaken by one of its publisher
 * all the same, is refused.
 *
 * Ordered commands of a slot stand in one line, any other has a line of its
 * own.
 */


/* between two tries, milliseconds */
#define NGX_WS_BUS_LINE_RETRY  30


static ngx_ws_bus_server_op_t *ngx_ws_bus_line_first(ngx_ws_bus_line_t *line);
static void ngx_ws_bus_line_expire(ngx_ws_bus_line_t *line);
static void ngx_ws_bus_line_leave(ngx_ws_bus_line_t *line);
static void ngx_ws_bus_line_drop(ngx_queue_t *queue);


#define ngx_ws_bus_line_waits(line)                                           \
    (!ngx_queue_empty(&(line)->returned) || !ngx_queue_empty(&(line)->fresh))


ngx_ws_bus_line_t *
ngx_ws_bus_line_get(ngx_ws_bus_servers_t *ss, ngx_uint_t slot,
    ngx_uint_t ordered)
{
    ngx_ws_bus_line_t  *line;

    slot = ss->slots ? slot : 0;

    if (ordered && ss->ordered[slot]) {
        return ss->ordered[slot];
    }

    line = ngx_calloc(sizeof(ngx_ws_bus_line_t), ss->log);
    if (line == NULL) {
        return NULL;
    }

    line->servers = ss;
    line->slot = slot;
    line->shared = ordered;

    ngx_queue_init(&line->returned);
    ngx_queue_init(&line->fresh);
    ngx_queue_insert_tail(&ss->lines, &line->queue);

    if (ordered) {
        ss->ordered[slot] = line;
    }

    return line;
}


ngx_int_t
ngx_ws_bus_line_add(ngx_ws_bus_line_t *line, ngx_ws_bus_server_op_t *op)
{
    size_t                 max;
    ngx_int_t              rc;
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_servers_t  *ss;

    ss = line->servers;
    node = ngx_ws_bus_line_node(op);

    op->line = line;

    if (ngx_ws_bus_line_waits(line) || line->probing
        || (line->flying && line->node != node))
    {
        /* one slot that is not served leaves room for the others */

        max = ss->redis->link.max_queue / 4;

        if (line->size && line->size + op->size > max) {
            return NGX_AGAIN;
        }

        ngx_queue_insert_tail(&line->fresh, &op->queue);
        line->size += op->size;

        return NGX_OK;
    }

    rc = ngx_ws_bus_servers_send(op, node);

    if (rc != NGX_OK) {
        ngx_ws_bus_line_leave(line);
        return rc;
    }

    ngx_queue_insert_tail(&ss->ops, &op->queue);
    line->node = node;
    line->flying++;

    return NGX_OK;
}


void
ngx_ws_bus_line_return(ngx_ws_bus_server_op_t *op, ngx_msec_t delay)
{
    ngx_queue_t             *q;
    ngx_ws_bus_line_t       *line;
    ngx_ws_bus_server_op_t  *before;

    line = op->line;

    /* answers come in order, so that it mostly is the last one */

    for (q = ngx_queue_last(&line->returned);
         q != ngx_queue_sentinel(&line->returned);
         q = ngx_queue_prev(q))
    {
        before = ngx_queue_data(q, ngx_ws_bus_server_op_t, queue);

        if (before->number < op->number) {
            break;
        }
    }

    ngx_queue_insert_after(q, &op->queue);

    line->size += op->size;
    line->probing = 1;
    line->at = ngx_current_msec + delay;
}


void
ngx_ws_bus_line_executed(ngx_ws_bus_server_op_t *op, ngx_int_t rc)
{
    ngx_uint_t               left;
    ngx_queue_t             *q, *next;
    ngx_ws_bus_line_t       *line;
    ngx_ws_bus_servers_t    *ss;
    ngx_ws_bus_server_op_t  *before;

    line = op->line;
    ss = line->servers;
    left = 0;

    /* handlers take nothing out of the queue, nor put anything into it */

    for (q = ngx_queue_head(&line->returned);
         q != ngx_queue_sentinel(&line->returned) && !ss->closed;
         q = next)
    {
        next = ngx_queue_next(q);
        before = ngx_queue_data(q, ngx_ws_bus_server_op_t, queue);

        if (before->number > op->number) {
            break;
        }

        if (op->publisher && before->publisher == op->publisher) {
            line->size -= before->size;
            ngx_ws_bus_servers_finish(before, NGX_DECLINED, NULL);
            continue;
        }

        /* others of its publisher may be on their way */

        left = 1;
    }

    if (rc == NGX_OK && !left) {
        line->probing = 0;
    }
}


void
ngx_ws_bus_line_advance(ngx_ws_bus_line_t *line)
{
    ngx_int_t                rc;
    ngx_ws_bus_node_t       *node;
    ngx_ws_bus_servers_t    *ss;
    ngx_ws_bus_server_op_t  *op;

    ss = line->servers;

    if (line->busy) {
        return;
    }

    line->busy = 1;

    while (!ss->closed && ngx_ws_bus_line_waits(line)) {

        op = ngx_ws_bus_line_first(line);
        node = ngx_ws_bus_line_node(op);

        if ((line->flying && (line->probing || line->node != node))
            || (ngx_msec_int_t) (line->at - ngx_current_msec) > 0)
        {
            break;
        }

        rc = ngx_ws_bus_servers_send(op, node);

        if (rc == NGX_AGAIN || rc == NGX_DECLINED) {
            break;
        }

        line->size -= op->size;

        if (rc == NGX_ERROR) {
            ngx_ws_bus_servers_finish(op, NGX_DECLINED, NULL);
            continue;
        }

        ngx_queue_remove(&op->queue);
        ngx_queue_insert_tail(&ss->ops, &op->queue);

        line->node = node;
        line->flying++;
    }

    line->busy = 0;

    ngx_ws_bus_line_leave(line);
}


static ngx_ws_bus_server_op_t *
ngx_ws_bus_line_first(ngx_ws_bus_line_t *line)
{
    ngx_queue_t  *q;

    q = ngx_queue_empty(&line->returned) ? ngx_queue_head(&line->fresh)
                                         : ngx_queue_head(&line->returned);

    return ngx_queue_data(q, ngx_ws_bus_server_op_t, queue);
}


/*
 * It waits, or something of it is on its way, or it ends.
 */

static void
ngx_ws_bus_line_leave(ngx_ws_bus_line_t *line)
{
    ngx_ws_bus_servers_t  *ss;

    ss = line->servers;

    if (line->busy || ss->closed) {
        return;
    }

    ngx_queue_remove(&line->queue);

    if (ngx_ws_bus_line_waits(line)) {
        ngx_queue_insert_tail(&ss->held, &line->queue);

        if (!ss->retry.timer_set) {
            ngx_add_timer(&ss->retry, NGX_WS_BUS_LINE_RETRY);
        }

        return;
    }

    if (line->flying) {
        ngx_queue_insert_tail(&ss->lines, &line->queue);
        return;
    }

    if (line->shared) {
        ss->ordered[line->slot] = NULL;
    }

    ngx_free(line);
}


void
ngx_ws_bus_servers_retry(ngx_ws_bus_servers_t *ss)
{
    ngx_queue_t         held, *q;
    ngx_ws_bus_line_t  *line;

    ngx_ws_bus_servers_enter(ss);

    /* lines that still wait go back to the queue */

    ngx_queue_init(&held);

    if (!ngx_queue_empty(&ss->held)) {
        ngx_queue_add(&held, &ss->held);
        ngx_queue_init(&ss->held);
    }

    while (!ngx_queue_empty(&held)) {

        q = ngx_queue_head(&held);
        line = ngx_queue_data(q, ngx_ws_bus_line_t, queue);

        if (ss->closed) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&ss->held, q);
            continue;
        }

        ngx_ws_bus_line_expire(line);
        ngx_ws_bus_line_advance(line);
    }

    ngx_ws_bus_servers_leave(ss);
}


void
ngx_ws_bus_servers_retry_handler(ngx_event_t *ev)
{
    ngx_ws_bus_servers_retry((ngx_ws_bus_servers_t *) ((u_char *) ev
                                   - offsetof(ngx_ws_bus_servers_t, retry)));
}


static void
ngx_ws_bus_line_expire(ngx_ws_bus_line_t *line)
{
    ngx_ws_bus_servers_t    *ss;
    ngx_ws_bus_server_op_t  *op;

    ss = line->servers;

    /* its handlers may ask for more */

    line->busy = 1;

    while (!ss->closed && ngx_ws_bus_line_waits(line)) {

        op = ngx_ws_bus_line_first(line);

        if ((ngx_msec_int_t) (op->deadline - ngx_current_msec) > 0) {
            break;
        }

        line->size -= op->size;
        ngx_ws_bus_servers_finish(op, NGX_DECLINED, NULL);
    }

    line->busy = 0;
}


void
ngx_ws_bus_line_forget(ngx_ws_bus_servers_t *ss, ngx_ws_bus_node_t *node)
{
    ngx_queue_t             *q, *p;
    ngx_ws_bus_line_t       *line;
    ngx_ws_bus_server_op_t  *op;

    for (q = ngx_queue_head(&ss->held);
         q != ngx_queue_sentinel(&ss->held);
         q = ngx_queue_next(q))
    {
        line = ngx_queue_data(q, ngx_ws_bus_line_t, queue);

        for (p = ngx_queue_head(&line->returned);
             p != ngx_queue_sentinel(&line->returned);
             p = ngx_queue_next(p))
        {
            op = ngx_queue_data(p, ngx_ws_bus_server_op_t, queue);

            if (op->ask == node) {
                op->ask = NULL;
            }
        }
    }
}


void
ngx_ws_bus_line_free(ngx_ws_bus_servers_t *ss)
{
    ngx_queue_t        *q;
    ngx_ws_bus_line_t  *line;

    ngx_queue_add(&ss->lines, &ss->held);

    while (!ngx_queue_empty(&ss->lines)) {
        q = ngx_queue_head(&ss->lines);
        ngx_queue_remove(q);

        line = ngx_queue_data(q, ngx_ws_bus_line_t, queue);

        ngx_ws_bus_line_drop(&line->returned);
        ngx_ws_bus_line_drop(&line->fresh);

        ngx_free(line);
    }

    ngx_ws_bus_line_drop(&ss->ops);

    ngx_free(ss->ordered);
}


static void
ngx_ws_bus_line_drop(ngx_queue_t *queue)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(queue)) {
        q = ngx_queue_head(queue);
        ngx_queue_remove(q);
        ngx_free(ngx_queue_data(q, ngx_ws_bus_server_op_t, queue));
    }
}
