
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_zone.h"
#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_link_core.h"


/* of what a server says, in a log */
#define NGX_WS_BUS_LINK_TEXT       128


static void ngx_ws_bus_link_timer_handler(ngx_event_t *ev);
static void ngx_ws_bus_link_ping(ngx_ws_bus_link_t *link);
static void ngx_ws_bus_link_deadline_handler(ngx_event_t *ev);
static void ngx_ws_bus_link_later(ngx_ws_bus_link_t *link, ngx_msec_t up);
static void ngx_ws_bus_link_fail_ops(ngx_ws_bus_link_t *link,
    uint64_t sent);
static void ngx_ws_bus_link_down(ngx_ws_bus_link_t *link);
static void ngx_ws_bus_link_free(ngx_ws_bus_link_t *link);
static u_char *ngx_ws_bus_link_log_handler(ngx_log_t *log, u_char *buf,
    size_t len);


const ngx_str_t  ngx_ws_bus_link_reasons[NGX_WS_BUS_LINK_REASONS] = {
    ngx_string("not yet connected"),
    ngx_string("cannot resolve the name"),
    ngx_string("cannot connect"),
    ngx_string("not connected in time"),
    ngx_string("TLS handshake failed"),
    ngx_string("certificate is not accepted"),
    ngx_string("not authenticated"),
    ngx_string("still loading its data"),
    ngx_string("refused"),
    ngx_string("no answer in time"),
    ngx_string("closed the connection"),
    ngx_string("connection broke"),
    ngx_string("protocol violated"),
    ngx_string("out of memory or connections")
};


const uint64_t  ngx_ws_bus_link_rtt_bounds[NGX_WS_BUS_LINK_RTT_N - 1] = {
    50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 500000,
    2000000
};


static ngx_connection_t  ngx_ws_bus_link_dumb;


ngx_int_t
ngx_ws_bus_link_server(ngx_pool_t *pool, ngx_str_t *name,
    in_port_t default_port, ngx_ws_bus_link_server_t *server, char **err)
{
    ngx_url_t  u;

    ngx_memzero(server, sizeof(ngx_ws_bus_link_server_t));

    server->name.len = name->len;
    server->name.data = ngx_pstrdup(pool, name);
    if (server->name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = server->name;
    u.default_port = default_port;
    u.no_resolve = 1;

    if (ngx_parse_url(pool, &u) != NGX_OK) {

        if (u.err == NULL) {
            return NGX_ERROR;
        }

        *err = u.err;
        return NGX_DECLINED;
    }

    server->addrs = u.addrs;
    server->naddrs = u.naddrs;
    server->port = u.port;

    if (u.family != AF_UNIX) {
        server->host = u.host;
    }

    return NGX_OK;
}


ngx_ws_bus_link_t *
ngx_ws_bus_link_create(ngx_ws_bus_link_conf_t *conf,
    ngx_ws_bus_link_server_t *server, ngx_ws_bus_link_handlers_t *handlers,
    ngx_uint_t flags, ngx_log_t *log)
{
    ngx_event_t        *ev;
    ngx_ws_bus_link_t  *link;

    link = ngx_calloc(sizeof(ngx_ws_bus_link_t), log);
    if (link == NULL) {
        return NULL;
    }

    link->since = ngx_time();
    link->conf = conf;
    link->server = server;
    link->handlers = *handlers;
    link->stats = handlers->stats ? handlers->stats : &link->own;
    link->flags = flags;
    link->delay = conf->reconnect;
    link->gone_at = ngx_current_msec;

    link->log = *log;
    link->log.handler = ngx_ws_bus_link_log_handler;
    link->log.data = link;
    link->connection_log = link->log;

    ngx_queue_init(&link->ops);
    ngx_queue_init(&link->failed);

    ngx_ws_bus_link_dumb.fd = (ngx_socket_t) -1;

    ev = &link->timer;
    ev->handler = ngx_ws_bus_link_timer_handler;
    ev->data = &ngx_ws_bus_link_dumb;
    ev->log = &link->log;
    ev->cancelable = 1;

    ev = &link->deadline;
    ev->handler = ngx_ws_bus_link_deadline_handler;
    ev->data = &ngx_ws_bus_link_dumb;
    ev->log = &link->log;
    ev->cancelable = 1;

    ev = &link->flush;
    ev->handler = ngx_ws_bus_link_flush_handler;
    ev->data = &ngx_ws_bus_link_dumb;
    ev->log = &link->log;

    ngx_add_timer(&link->timer, 0);

    return link;
}


void
ngx_ws_bus_link_close(ngx_ws_bus_link_t *link)
{
    link->closed = 1;

    ngx_ws_bus_link_down(link);

    if (!link->busy) {
        ngx_ws_bus_link_free(link);
    }
}


void
ngx_ws_bus_link_end(ngx_ws_bus_link_t *link)
{
    uint64_t  sent;

    sent = link->sent;

    ngx_ws_bus_link_down(link);

    link->busy++;

    ngx_ws_bus_link_fail_ops(link, sent);

    link->closed = 1;

    ngx_ws_bus_link_leave(link);
}


ngx_int_t
ngx_ws_bus_link_command(ngx_ws_bus_link_t *link, const ngx_str_t *argv,
    ngx_uint_t n, ngx_ws_bus_link_reply_pt handler, void *data,
    ngx_ws_bus_link_op_t **opp)
{
    ngx_ws_bus_link_op_e   type;
    ngx_ws_bus_link_op_t  *op;

    if (link->state != NGX_WS_BUS_LINK_UP || link->closed) {
        return NGX_DECLINED;
    }

    if (!ngx_ws_bus_link_takes(link, ngx_ws_bus_resp_command_size(argv, n))) {
        return NGX_AGAIN;
    }

    if (ngx_ws_bus_link_verb(link, argv, n, &type) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, &link->log, 0,
                      "command \"%V\" to redis on a link for subscriptions",
                      &argv[0]);
        return NGX_ERROR;
    }

    if (ngx_ws_bus_link_queue(link, argv, n, type, &op) != NGX_OK) {
        return NGX_ERROR;
    }

    op->handler = handler;
    op->data = data;
    op->left = (type > NGX_WS_BUS_LINK_OP_PONG) ? n - 1 : 1;

    if (opp) {
        *opp = op;
    }

    return NGX_OK;
}


void
ngx_ws_bus_link_cancel(ngx_ws_bus_link_op_t *op)
{
    op->handler = NULL;
}


ngx_uint_t
ngx_ws_bus_link_takes(ngx_ws_bus_link_t *link, size_t size)
{
    /* what would never fit may go alone */

    return link->queued == 0
           || (size <= link->conf->max_queue
               && link->queued <= link->conf->max_queue - size);
}


void
ngx_ws_bus_link_up(ngx_ws_bus_link_t *link)
{
    link->state = NGX_WS_BUS_LINK_UP;
    link->since = ngx_time();
    link->up_at = ngx_current_msec;
    link->told = 0;
    link->tried = 0;
    link->stats->connects++;

    link->log.action = NULL;
    link->connection_log.log_level = link->log.log_level;

    ngx_log_error(NGX_LOG_NOTICE, &link->log, 0, "redis is up");

    link->log.action = "talking to redis";

    ngx_add_timer(&link->timer, link->conf->keepalive);

    if (link->handlers.up) {
        link->handlers.up(link->handlers.data);
    }
}


static void
ngx_ws_bus_link_timer_handler(ngx_event_t *ev)
{
    ngx_ws_bus_link_t  *link;

    link = ngx_ws_bus_link_of(ev, timer);

    switch (link->state) {

    case NGX_WS_BUS_LINK_DOWN:
        ngx_ws_bus_link_connect(link);
        break;

    case NGX_WS_BUS_LINK_UP:
        ngx_ws_bus_link_ping(link);
        break;

    default:
        ngx_ws_bus_link_complain(link, NGX_WS_BUS_LINK_CONNECT_TIMEOUT, 0,
                                 NULL);
        ngx_ws_bus_link_fail(link, NGX_WS_BUS_LINK_CONNECT_TIMEOUT);
    }
}


static void
ngx_ws_bus_link_ping(ngx_ws_bus_link_t *link)
{
    ngx_str_t             argv[NGX_WS_BUS_LINK_ARGS];
    ngx_msec_t            silent;
    ngx_ws_bus_link_op_e  type;

    silent = ngx_current_msec - link->read_at;

    if (silent < link->conf->keepalive) {
        ngx_add_timer(&link->timer, link->conf->keepalive - silent);
        return;
    }

    ngx_add_timer(&link->timer, link->conf->keepalive);

    /* what waits for a reply has a deadline */

    if (!ngx_queue_empty(&link->ops)) {
        return;
    }

    ngx_str_set(&argv[0], "PING");

    type = (link->flags & NGX_WS_BUS_LINK_SUBSCRIBER)
           ? NGX_WS_BUS_LINK_OP_PONG : NGX_WS_BUS_LINK_OP_COMMAND;

    (void) ngx_ws_bus_link_queue(link, argv, 1, type, NULL);
}


/*
 * One timer for all commands: it is looked at the first of them when it has
 * run down.
 */

static void
ngx_ws_bus_link_deadline_handler(ngx_event_t *ev)
{
    ngx_msec_t             since, silent, timeout;
    ngx_queue_t           *q;
    ngx_ws_bus_link_t     *link;
    ngx_ws_bus_link_op_t  *op;

    link = ngx_ws_bus_link_of(ev, deadline);

    if (ngx_queue_empty(&link->ops)) {
        return;
    }

    q = ngx_queue_head(&link->ops);
    op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

    timeout = link->conf->timeout;
    since = ngx_current_msec - op->time;

    /* it is on its way, or behind messages that are */

    if ((link->flags & NGX_WS_BUS_LINK_SUBSCRIBER)
        || ngx_ws_bus_resp_pending(link->resp))
    {
        silent = ngx_current_msec - link->read_at;
        since = ngx_min(since, silent);
    }

    if (since < timeout) {
        ngx_add_timer(ev, timeout - since);
        return;
    }

    link->stats->timeouts++;

    ngx_ws_bus_link_complain(link, NGX_WS_BUS_LINK_TIMEOUT, 0, NULL);
    ngx_ws_bus_link_fail(link, NGX_WS_BUS_LINK_TIMEOUT);
}


void
ngx_ws_bus_link_complain(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_reason_e reason, ngx_err_t err, ngx_str_t *text)
{
    ngx_str_t   cut;
    ngx_uint_t  level;

    level = (link->told & (1 << reason)) ? NGX_LOG_INFO : NGX_LOG_ERR;
    link->told |= 1 << reason;

    if (text == NULL || text->len == 0) {
        ngx_log_error(level, &link->log, err, "redis is down, %V",
                      &ngx_ws_bus_link_reasons[reason]);
        return;
    }

    cut = *text;
    cut.len = ngx_min(cut.len, NGX_WS_BUS_LINK_TEXT);

    ngx_log_error(level, &link->log, err, "redis is down, %V: \"%V\"",
                  &ngx_ws_bus_link_reasons[reason], &cut);
}


void
ngx_ws_bus_link_fail(ngx_ws_bus_link_t *link, ngx_ws_bus_link_reason_e reason)
{
    uint64_t    sent;
    ngx_msec_t  up;
    ngx_uint_t  was_up;

    was_up = (link->state == NGX_WS_BUS_LINK_UP);
    up = was_up ? ngx_current_msec - link->up_at : 0;
    sent = link->sent;

    if (was_up) {
        link->since = ngx_time();
    }

    ngx_ws_bus_link_down(link);

    link->reason = reason;
    link->stats->failures++;

    /* another address may be better; a server that talks is the one */

    if (reason != NGX_WS_BUS_LINK_CONNECT
        && reason != NGX_WS_BUS_LINK_CONNECT_TIMEOUT)
    {
        link->tried = link->naddrs;
    }

    ngx_ws_bus_link_later(link, up);

    link->busy++;

    ngx_ws_bus_link_fail_ops(link, sent);

    if (was_up && !link->closed && link->handlers.down) {
        link->handlers.down(link->handlers.data, reason);
    }

    ngx_ws_bus_link_leave(link);
}


static void
ngx_ws_bus_link_later(ngx_ws_bus_link_t *link, ngx_msec_t up)
{
    ngx_msec_t  delay, gone;

    if (link->tried < link->naddrs) {
        ngx_add_timer(&link->timer, 0);
        return;
    }

    link->tried = 0;

    /* one that stayed is worth hurrying for */

    if (up >= link->conf->reconnect_max) {
        link->delay = link->conf->reconnect;
        link->gone_at = ngx_current_msec;
    }

    /* a short absence is not made much longer */

    gone = (ngx_current_msec - link->gone_at) / 4;

    delay = ngx_min(link->delay, ngx_max(gone, link->conf->reconnect));
    delay = delay / 2 + 1;
    delay += (ngx_msec_t) ngx_random() % delay;

    link->delay = ngx_min(link->delay * 2, link->conf->reconnect_max);

    ngx_add_timer(&link->timer, delay);
}


static void
ngx_ws_bus_link_fail_ops(ngx_ws_bus_link_t *link, uint64_t sent)
{
    ngx_int_t              rc;
    ngx_queue_t           *q;
    ngx_ws_bus_link_op_t  *op;

    /* a handler may cancel those behind it */

    while (!link->closed && !ngx_queue_empty(&link->failed)) {

        q = ngx_queue_head(&link->failed);
        op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

        ngx_queue_remove(q);

        if (op->handler) {
            rc = (op->from < sent) ? NGX_ERROR : NGX_DECLINED;
            op->handler(op->data, rc, NULL);
        }

        ngx_free(op);
    }
}


/*
 * Without a call of any handler; the commands are kept in link->failed.
 */

static void
ngx_ws_bus_link_down(ngx_ws_bus_link_t *link)
{
    ngx_ws_bus_link_disconnect(link);

    link->state = NGX_WS_BUS_LINK_DOWN;

    if (link->timer.timer_set) {
        ngx_del_timer(&link->timer);
    }

    if (link->deadline.timer_set) {
        ngx_del_timer(&link->deadline);
    }

    if (link->flush.posted) {
        ngx_delete_posted_event(&link->flush);
    }

    while (link->out) {
        ngx_ws_bus_link_release(link);
    }

    /* while it is busy, a reply may be in use */

    if (link->resp && !link->busy) {
        ngx_ws_bus_resp_destroy(link->resp);
        link->resp = NULL;
    }

    if (!ngx_queue_empty(&link->ops)) {
        ngx_queue_add(&link->failed, &link->ops);
        ngx_queue_init(&link->ops);
    }

    link->pending = 0;
    link->queued = 0;
    link->end = 0;
    link->sent = 0;
}


void
ngx_ws_bus_link_leave(ngx_ws_bus_link_t *link)
{
    if (--link->busy == 0 && link->closed) {
        ngx_ws_bus_link_free(link);
    }
}


static void
ngx_ws_bus_link_free(ngx_ws_bus_link_t *link)
{
    ngx_queue_t           *q;
    ngx_ws_bus_link_op_t  *op;

    while (!ngx_queue_empty(&link->failed)) {

        q = ngx_queue_head(&link->failed);
        op = ngx_queue_data(q, ngx_ws_bus_link_op_t, queue);

        ngx_queue_remove(q);
        ngx_free(op);
    }

    if (link->resp) {
        ngx_ws_bus_resp_destroy(link->resp);
    }

    ngx_free(link);
}


static u_char *
ngx_ws_bus_link_log_handler(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char             *p;
    ngx_ws_bus_link_t  *link;

    link = log->data;
    p = buf;

    if (link->log.action) {
        p = ngx_snprintf(buf, len, " while %s", link->log.action);
        len -= p - buf;
        buf = p;
    }

    return ngx_snprintf(buf, len, ", redis: \"%V\", server: \"%V\"",
                        &link->conf->name, &link->server->name);
}
