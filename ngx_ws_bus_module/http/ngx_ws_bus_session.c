
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/* one receive buffer a worker */
#define NGX_WS_BUS_SESSION_RECV      (64 * 1024)
#define NGX_WS_BUS_SESSION_READS     8           /* a turn */

/* of requests, which may take longer; of such that do */
#define NGX_WS_BUS_SESSION_REQUESTS  (8 * 1024)
#define NGX_WS_BUS_SESSION_HEAVY     512


static void ngx_ws_bus_session_cleanup(void *data);
static void ngx_ws_bus_session_let_go(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_session_start_handler(ngx_event_t *rev);
static void ngx_ws_bus_session_read_handler(ngx_event_t *rev);
static void ngx_ws_bus_session_write_handler(ngx_event_t *wev);
static void ngx_ws_bus_session_read(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_session_pause(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_session_handled(ngx_ws_bus_session_t *s,
    ngx_int_t rc);
static void ngx_ws_bus_session_linger(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_session_timeout(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_session_resume(ngx_ws_bus_session_t *s);
static ngx_msec_int_t ngx_ws_bus_session_ping_left(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_session_shut(ngx_connection_t *c);
static void ngx_ws_bus_session_flushed(ngx_ws_bus_session_t *s);


static u_char  ngx_ws_bus_session_buf[NGX_WS_BUS_SESSION_RECV];


ngx_ws_bus_session_t *
ngx_ws_bus_session_create(ngx_http_request_t *r, ngx_ws_bus_hub_t *hub,
    ngx_pool_t *pool)
{
    ngx_ws_bus_ctx_t      *ctx;
    ngx_pool_cleanup_t    *cln;
    ngx_ws_bus_session_t  *s;

    s = ngx_pcalloc(pool, sizeof(ngx_ws_bus_session_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);
    ctx = ngx_ws_bus_ctx(r);

    if (s == NULL || cln == NULL || ctx == NULL) {
        return NULL;
    }

    s->request = r;
    s->connection = r->connection;
    s->tls = ngx_ws_bus_is_ssl(r->connection);
    s->conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);
    s->hub = hub;
    s->stats = &hub->slot->stats;
    s->owner.handlers = &ngx_ws_bus_session_handlers;
    s->sub.owner = s;
    s->last_out = &s->out;
    s->last_in = ngx_current_msec;
    s->message_max = s->conf->message_max_size;
    s->granted = 1;

    /* a line of the audit log, a newer token may need the request */

    s->lean = (s->conf->lean && s->conf->audit == NULL
               && (s->conf->auth.on != 1 || s->conf->auth.require == NULL));

    /* whatever is taken from here on is given back */

    cln->handler = ngx_ws_bus_session_cleanup;
    cln->data = s;

    ctx->session = s;

    if (ctx->auth && ctx->conf == s->conf) {
        s->auth = ctx->auth;
        s->auth->session = s;
        ngx_queue_insert_tail(ngx_ws_bus_auth_sessions(), &s->auth->queue);

        ctx->auth = NULL;
    }

    return s;
}


static void
ngx_ws_bus_session_cleanup(void *data)
{
    ngx_ws_bus_session_t *s = data;

    if (s->started) {
        s->stats->connections--;
    }

    ngx_ws_bus_replay_end(s, NULL);
    ngx_ws_bus_pending_free(s);

    if (s->protocol && s->protocol->close) {
        s->protocol->close(s);
    }

    if (s->sub.group) {
        ngx_ws_bus_session_unsubscribe(s, &s->sub);
    }

    (void) ngx_ws_bus_out_free(s);

    if (s->pong) {
        ngx_ws_bus_run_release(s->pong);
    }

    if (s->message) {
        ngx_free(s->message);
    }

    if (s->control) {
        ngx_free(s->control);
    }

    if (s->limit) {
        ngx_ws_bus_limit_free(s);
    }

    ngx_ws_bus_auth_leave(s);
}


void
ngx_ws_bus_session_start(ngx_ws_bus_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    /*
     * The caller is a request's handler, and whoever called it looks at
     * c->data as the request afterwards: the connection is taken over by
     * the next event.
     */

    c->read->handler = ngx_ws_bus_session_start_handler;
    c->write->handler = ngx_http_empty_handler;

    ngx_post_event(c->read, &ngx_posted_events);
}


static void
ngx_ws_bus_session_start_handler(ngx_event_t *rev)
{
    ngx_buf_t             *b;
    ngx_connection_t      *c;
    ngx_http_request_t    *r;
    ngx_ws_bus_session_t  *s;

    c = rev->data;
    r = c->data;
    s = ngx_ws_bus_ctx_session(r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "ws bus session on \"%V\"", &s->channel);

    s->started = 1;
    s->stats->connections++;

    c->data = s;
    c->read->handler = ngx_ws_bus_session_read_handler;
    c->write->handler = ngx_ws_bus_session_write_handler;
    c->log->action = "talking to a websocket client";

    /* a graceful shutdown tells idle connections */
    c->idle = 1;

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (ngx_exiting) {
        ngx_ws_bus_session_drain(s);

    } else {
        ngx_ws_bus_session_set_timer(s);
    }

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_OPEN, NULL, 0, NULL, 0);

    b = r->header_in;

    s->hub->now = 0;

    if (b->pos < b->last) {

        /* frames that came right behind the handshake */

        (void) ngx_ws_bus_input(s, b->pos, b->last);
        b->pos = b->last;
    }

#if (NGX_HTTP_SSL)

    /* 16k that only the 101 has used */

    if (c->ssl) {
        ngx_ssl_free_buffer(c);
    }

#endif

    if (s->lean && !s->pending) {
        ngx_ws_bus_session_let_go(s);
    }

    if (s->replay || s->out) {
        ngx_post_event(c->write, &ngx_posted_events);
    }

    if (s->broken || rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
        return;
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_ws_bus_session_end(s);
    }
}


/*
 * ws_bus_lean: ends the request, as ngx_http_set_keepalive() does, and frees
 * the buffers its header was read into.  What keeps the session is moved to
 * the connection.  Without memory for that, all stays as it is.
 */

static void
ngx_ws_bus_session_let_go(ngx_ws_bus_session_t *s)
{
    u_char                 *name;
    ngx_buf_t              *b;
    ngx_chain_t            *cl;
    ngx_connection_t       *c;
    ngx_http_request_t     *r;
    ngx_pool_cleanup_t     *cln, *old;
    ngx_http_connection_t  *hc;

    c = s->connection;
    r = s->request;

    hc = r->http_connection;

    cln = ngx_pool_cleanup_add(c->pool, 0);
    name = ngx_pnalloc(c->pool, s->channel.len + 1);

    if (cln == NULL || name == NULL) {
        return;
    }

    if (s->channel.len) {
        ngx_memcpy(name, s->channel.data, s->channel.len);
    }

    s->channel.data = name;

    for (old = r->pool->cleanup; old; old = old->next) {
        if (old->data == s) {
            old->handler = NULL;
        }
    }

    cln->handler = ngx_ws_bus_session_cleanup;
    cln->data = s;

    s->request = NULL;
    s->lean = 0;

    ngx_http_free_request(r, 0);

    c->destroyed = 0;
    c->log->action = "talking to a websocket client";

    b = c->buffer;

    if (b && ngx_pfree(c->pool, b->start) == NGX_OK) {
        b->pos = NULL;
    }

    for (cl = hc->free; cl; cl = cl->next) {
        (void) ngx_pfree(c->pool, cl->buf->start);
    }

    for (cl = hc->busy; cl; cl = cl->next) {
        (void) ngx_pfree(c->pool, cl->buf->start);
    }

    hc->free = NULL;
    hc->busy = NULL;
    hc->nbusy = 0;
}


void
ngx_ws_bus_session_end(ngx_ws_bus_session_t *s)
{
    ngx_uint_t           dropped;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    ngx_pool_cleanup_t  *cln;

    c = s->connection;
    r = s->request;

    if (s->close_code == 0) {
        s->close_code = NGX_WS_BUS_CLOSE_ABNORMAL;
        s->close_reason = "no Close frame";
        s->by_client = 1;
    }

    dropped = ngx_ws_bus_out_free(s);

    s->dropped += dropped;
    s->stats->dropped[NGX_WS_BUS_DROPPED_CLOSED] += dropped;
    s->stats->closed[ngx_ws_bus_closed_index(s->close_code)]++;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "ws bus session end, code:%ui by:%s", s->close_code,
                   s->by_client ? "client" : "server");

    c->idle = 0;
    c->log->action = "closing a websocket connection";

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_CLOSE, NULL, 0, s->close_reason, 0);

    if (r == NULL) {

        /* TLS may take time to end, and the session does not last as long */

        for (cln = c->pool->cleanup; cln; cln = cln->next) {
            if (cln->data == s) {
                cln->handler = NULL;
            }
        }

        ngx_ws_bus_session_cleanup(s);

        ngx_http_close_connection(c);
        return;
    }

    c->data = r;

    ngx_http_finalize_request(r, NGX_ERROR);
    ngx_http_run_posted_requests(c);
}


static void
ngx_ws_bus_session_read_handler(ngx_event_t *rev)
{
    ngx_connection_t      *c;
    ngx_ws_bus_hub_t      *hub;
    ngx_ws_bus_session_t  *s;

    c = rev->data;
    s = c->data;

    if (ngx_exiting && c->close) {
        c->close = 0;

        if (c->error) {

            /* worker_shutdown_timeout: nothing can be sent any more */

            if (s->close_code == 0) {
                s->close_code = NGX_WS_BUS_CLOSE_GOING_AWAY;
                s->close_reason = "server is shutting down";
            }

            ngx_ws_bus_session_end(s);
            return;
        }

        ngx_ws_bus_session_drain(s);
        return;
    }

    if (s->broken) {
        ngx_ws_bus_session_end(s);
        return;
    }

    if (rev->timedout) {
        rev->timedout = 0;
        ngx_ws_bus_session_timeout(s);
        return;
    }

    if (s->violated || s->close_received) {
        ngx_ws_bus_session_linger(s);
        return;
    }

    if (s->limit && ngx_ws_bus_limit_waits(s)) {
        ngx_ws_bus_limit_read(s);
        return;
    }

    hub = s->hub;

    ngx_ws_bus_session_read(s);

    ngx_ws_bus_hub_handled(hub);
}


static void
ngx_ws_bus_session_read(ngx_ws_bus_session_t *s)
{
    u_char            *buf;
    size_t             size;
    ssize_t            n;
    ngx_int_t          rc;
    ngx_uint_t         i;
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = s->connection;
    rev = c->read;
    buf = ngx_ws_bus_session_buf;

    /* what is asked for now is there when recv() returns */

    ngx_ws_bus_session_ahead(s, 0);
    ngx_ws_bus_session_ahead(s, 2);
    ngx_ws_bus_hub_sub_ahead(&s->sub, 0);

    if (!ngx_ws_bus_pending_full(s)) {
        s->hub->now = 0;

        rc = ngx_ws_bus_auth_kept(s);

        if (rc != NGX_DECLINED && ngx_ws_bus_session_handled(s, rc) != NGX_OK)
        {
            return;
        }
    }

    for (i = 0; i < NGX_WS_BUS_SESSION_READS; i++) {

        if (ngx_ws_bus_pending_full(s)) {
            ngx_ws_bus_session_pause(s);
            return;
        }

        size = (s->v1 == NULL) ? NGX_WS_BUS_SESSION_RECV
                               : s->heavy ? NGX_WS_BUS_SESSION_HEAVY
                                          : NGX_WS_BUS_SESSION_REQUESTS;
        s->heavy = 0;

        n = c->recv(c, buf, size);

        if (n == NGX_AGAIN) {
            break;
        }

        ngx_ws_bus_hub_sub_ahead(&s->sub, 1);

        if (n == NGX_ERROR || n == 0) {
            ngx_log_error(NGX_LOG_INFO, c->log, 0,
                          "client closed the connection without "
                          "a Close frame");
            ngx_ws_bus_session_end(s);
            return;
        }

        s->last_in = ngx_current_msec;
        s->hub->now = 0;

        rc = ngx_ws_bus_input(s, buf, buf + n);

        if (ngx_ws_bus_session_handled(s, rc) != NGX_OK) {
            return;
        }

        if (!rev->ready || s->heavy) {
            break;
        }
    }

    if (rev->ready) {

        /* the event is edge-triggered; others wait for their turn */

        ngx_post_event(rev, &ngx_posted_next_events);
        return;
    }

    if (!rev->active && ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_ws_bus_session_end(s);
    }
}


/*
 * Whatever makes room posts the event.  A level-triggered one would be told
 * again and again until then.
 */

static void
ngx_ws_bus_session_pause(ngx_ws_bus_session_t *s)
{
    ngx_event_t  *rev;

    rev = s->connection->read;

    if ((ngx_event_flags & NGX_USE_LEVEL_EVENT) && rev->active
        && ngx_del_event(rev, NGX_READ_EVENT, 0) != NGX_OK)
    {
        ngx_ws_bus_session_end(s);
    }
}


/*
 * After ngx_ws_bus_input(): NGX_OK if reading goes on, NGX_DONE if not; the
 * session may be gone then.
 */

static ngx_int_t
ngx_ws_bus_session_handled(ngx_ws_bus_session_t *s, ngx_int_t rc)
{
    if (rc == NGX_ERROR) {

        /* a Close is on its way, or to be answered */

        ngx_ws_bus_session_write_handler(s->connection->write);
        return NGX_DONE;
    }

    if (s->broken) {
        ngx_ws_bus_session_end(s);
        return NGX_DONE;
    }

    return (rc == NGX_AGAIN) ? NGX_DONE : NGX_OK;
}


/*
 * Reads what nobody wants, until the peer closes or the time is over.
 */

static void
ngx_ws_bus_session_linger(ngx_ws_bus_session_t *s)
{
    ssize_t            n;
    ngx_uint_t         i;
    ngx_connection_t  *c;

    c = s->connection;

    for (i = 0; i < NGX_WS_BUS_SESSION_READS; i++) {

        n = c->recv(c, ngx_ws_bus_session_buf, NGX_WS_BUS_SESSION_RECV);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_ws_bus_session_end(s);
            return;
        }
    }

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_next_events);
        return;
    }

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_ws_bus_session_end(s);
    }
}


static void
ngx_ws_bus_session_write_handler(ngx_event_t *wev)
{
    ngx_connection_t      *c;
    ngx_ws_bus_session_t  *s;

    c = wev->data;
    s = c->data;

    if (s->broken) {
        ngx_ws_bus_session_end(s);
        return;
    }

    wev->timedout = 0;    /* of a batch */

    if (s->lean && !s->pending) {
        ngx_ws_bus_session_let_go(s);
    }

    if (ngx_ws_bus_out_flush(s) == NGX_ERROR) {
        ngx_ws_bus_session_end(s);
        return;
    }

    if (s->pong && !s->pong_queued && !s->close_sent) {
        ngx_ws_bus_control_send_pong(s);
    }

    if (s->replay && s->out == NULL && !s->close_sent) {
        ngx_ws_bus_replay_next(s);
    }

    if (s->broken) {
        ngx_ws_bus_session_end(s);
        return;
    }

    if (s->close_sent && s->out == NULL) {
        ngx_ws_bus_session_flushed(s);
    }
}


/*
 * Our Close has left.
 */

static void
ngx_ws_bus_session_flushed(ngx_ws_bus_session_t *s)
{
    ngx_connection_t  *c;

    c = s->connection;

    if (s->close_received) {

        /* RFC 6455, 7.1.1: the server closes TCP first */

        ngx_ws_bus_session_end(s);
        return;
    }

    if (!s->violated || s->lingering) {
        return;
    }

    s->lingering = 1;

#if (NGX_HTTP_SSL)

    if (c->ssl) {

        /* as ngx_http_set_lingering_close() */

        c->ssl->shutdown_without_free = 1;

        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
            c->ssl->handler = ngx_ws_bus_session_shut;
            return;
        }
    }

#endif

    ngx_ws_bus_session_shut(c);
}


/*
 * Closing a socket with unread bytes resets the connection, and the peer may
 * never see the Close frame: only the writing side is closed first.
 */

static void
ngx_ws_bus_session_shut(ngx_connection_t *c)
{
    ngx_ws_bus_session_t  *s;

    s = c->data;

    c->recv = ngx_recv;
    c->read->handler = ngx_ws_bus_session_read_handler;
    c->write->handler = ngx_ws_bus_session_write_handler;

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        ngx_connection_error(c, ngx_socket_errno,
                             ngx_shutdown_socket_n " failed");
        ngx_ws_bus_session_end(s);
        return;
    }

    ngx_post_event(c->read, &ngx_posted_events);
}


static void
ngx_ws_bus_session_timeout(ngx_ws_bus_session_t *s)
{
    ngx_msec_t  now;

    now = ngx_current_msec;

    if (s->close_sent) {

        if ((ngx_msec_int_t) (s->deadline - now) <= 0) {

            if (!s->pending) {
                ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                              "client did not answer the Close frame "
                              "in time");
            }

            ngx_ws_bus_session_end(s);
            return;
        }

        ngx_ws_bus_session_resume(s);
        return;
    }

    if (s->draining && (ngx_msec_int_t) (s->deadline - now) <= 0) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_GOING_AWAY,
                                 "server is shutting down");
        return;
    }

    /* while a message waits, nobody hears what the client says */

    if (s->conf->ping && !(s->limit && ngx_ws_bus_limit_waits(s))) {
        if (s->pinged && (ngx_msec_int_t) (s->last_in - s->pinged_at) >= 0) {
            s->pinged = 0;
        }

        if (s->pinged && now - s->pinged_at >= s->conf->ping_timeout) {
            ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                          "client did not answer a ping in time");
            ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL,
                                     "ping timeout");
            return;
        }

        if (!s->pinged && now - s->last_in >= s->conf->ping) {
            s->pinged = 1;
            s->pinged_at = now;

            ngx_ws_bus_control_ping(s);
        }
    }

    if (s->auth || s->pending) {
        ngx_ws_bus_auth_tick(s);
    }

    if (!s->broken) {
        ngx_ws_bus_session_resume(s);
    }
}


/*
 * Reading goes on when the time of the message that waits has come.
 */

static void
ngx_ws_bus_session_resume(ngx_ws_bus_session_t *s)
{
    ngx_int_t  rc;

    if (s->limit == NULL || ngx_ws_bus_limit_left(s) != 0) {
        ngx_ws_bus_session_set_timer(s);
        return;
    }

    rc = ngx_ws_bus_limit_resume(s);

    if (s->broken || rc == NGX_DONE) {
        ngx_ws_bus_session_end(s);
        return;
    }

    ngx_ws_bus_session_set_timer(s);

    if (rc == NGX_ERROR) {
        ngx_ws_bus_session_write_handler(s->connection->write);
        return;
    }

    if (rc == NGX_OK) {
        ngx_ws_bus_session_read(s);
    }
}


void
ngx_ws_bus_session_set_timer(ngx_ws_bus_session_t *s)
{
    ngx_msec_t       now;
    ngx_event_t     *rev;
    ngx_msec_int_t   left, t;

    rev = s->connection->read;
    now = ngx_current_msec;

    t = NGX_WS_BUS_SESSION_IDLE;

    if (!s->close_sent) {

        left = s->stream ? ngx_ws_bus_stream_left(s)
                         : ngx_ws_bus_session_ping_left(s);
        t = ngx_min(t, left);

        if (s->auth || s->pending) {
            left = ngx_ws_bus_auth_left(s);
            t = ngx_min(t, left);
        }
    }

    if (s->draining || s->close_sent) {
        left = (ngx_msec_int_t) (s->deadline - now);
        t = ngx_min(t, left);
    }

    if (s->limit) {
        left = ngx_ws_bus_limit_left(s);

        if (left >= 0) {
            t = ngx_min(t, left);
        }
    }

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    ngx_add_timer(rev, (ngx_msec_t) ngx_max(t, 1));
}


static ngx_msec_int_t
ngx_ws_bus_session_ping_left(ngx_ws_bus_session_t *s)
{
    ngx_msec_int_t  left;

    if (s->conf->ping == 0 || (s->limit && ngx_ws_bus_limit_waits(s))) {
        return NGX_WS_BUS_SESSION_IDLE;
    }

    if (!s->pinged) {
        return (ngx_msec_int_t) (s->last_in + s->conf->ping
                                 - ngx_current_msec);
    }

    left = (ngx_msec_int_t) (s->pinged_at + s->conf->ping_timeout
                             - ngx_current_msec);

    return ngx_min(left, (ngx_msec_int_t) s->conf->ping);
}


void
ngx_ws_bus_session_drain(ngx_ws_bus_session_t *s)
{
    if (s->draining || s->close_sent) {
        return;
    }

    s->draining = 1;
    s->deadline = ngx_current_msec;

    if (s->conf->drain) {
        s->deadline += (ngx_msec_t) ngx_random() % s->conf->drain;
    }

    ngx_ws_bus_session_set_timer(s);
}
