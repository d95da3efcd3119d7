
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_stream.h"


/*
 * The life of a response that is held.  It goes through nginx's output
 * filters, whatever the version of HTTP: the client's connection may be a
 * request of HTTP/2 that shares its connection with others.  So nginx does
 * not tell it of a graceful shutdown, and a timer looks after that.
 */


/* milliseconds */
#define NGX_WS_BUS_STREAM_TICK    1000
#define NGX_WS_BUS_STREAM_CLOSE   10000     /* to read what is owed */


static void ngx_ws_bus_stream_cleanup(void *data);
static ngx_int_t ngx_ws_bus_stream_hold(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_stream_read_handler(ngx_http_request_t *r);
static void ngx_ws_bus_stream_write_handler(ngx_http_request_t *r);
static void ngx_ws_bus_stream_timeout(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_stream_tick_handler(ngx_event_t *ev);

static void ngx_ws_bus_stream_deliver(ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_run_t *run, ngx_uint_t first);
static void ngx_ws_bus_stream_lost(ngx_ws_bus_sub_t *sub, uint64_t from,
    uint64_t to);
static void ngx_ws_bus_stream_moved(ngx_ws_bus_sub_t *sub, uint64_t epoch,
    uint64_t seq);


static const ngx_ws_bus_hub_handlers_t  ngx_ws_bus_stream_handlers = {
    ngx_ws_bus_stream_deliver,
    ngx_ws_bus_stream_lost,
    ngx_ws_bus_session_deleted,
    ngx_ws_bus_pending_ready,
    ngx_ws_bus_stream_moved,
    ngx_ws_bus_session_ahead
};


static ngx_queue_t       ngx_ws_bus_streams;
static ngx_event_t       ngx_ws_bus_stream_tick;

/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_stream_dumb;


ngx_int_t
ngx_ws_bus_stream_create(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_fallback_t *fallback, ngx_msec_t wait)
{
    ngx_http_cleanup_t   *cln;
    ngx_ws_bus_stream_t  *stream;

    stream = ngx_pcalloc(s->request->pool, sizeof(ngx_ws_bus_stream_t));
    cln = ngx_http_cleanup_add(s->request, 0);

    if (stream == NULL || cln == NULL) {
        return NGX_ERROR;
    }

    /*
     * The subscription ends with the request; what is on its way to the
     * client stays until the session's own cleanup, with the pool.
     */

    cln->handler = ngx_ws_bus_stream_cleanup;
    cln->data = s;

    stream->fallback = fallback;
    stream->session = s;
    stream->wait = wait;

    s->owner.handlers = &ngx_ws_bus_stream_handlers;
    s->protocol = &fallback->protocol;
    s->format = fallback->format;
    s->stream = stream;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_stream_open(ngx_ws_bus_session_t *s, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    ngx_int_t             rc;
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;

    stream->resume = *resume;
    stream->epoch = view->epoch;

    rc = stream->fallback->open(s);

    if (rc != NGX_ERROR && rc < NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_OPEN, NULL, NGX_HTTP_OK,
                         NULL, 0);
    }

    return (rc == NGX_DONE) ? ngx_ws_bus_stream_hold(s) : rc;
}


static ngx_int_t
ngx_ws_bus_stream_hold(ngx_ws_bus_session_t *s)
{
    ngx_event_t         *tick;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "ws bus %V on \"%V\"", &s->protocol->name, &s->channel);

    /* events are small, and are not to wait for one another */

    if (ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_ws_bus_stream_read_handler;
    r->write_event_handler = ngx_ws_bus_stream_write_handler;

    /* the client may have gone already */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    c->log->action = "holding a response";

    r->main->count++;

    tick = &ngx_ws_bus_stream_tick;

    if (tick->handler == NULL) {
        ngx_ws_bus_stream_dumb.fd = (ngx_socket_t) -1;

        tick->handler = ngx_ws_bus_stream_tick_handler;
        tick->data = &ngx_ws_bus_stream_dumb;
        tick->log = ngx_cycle->log;
        tick->cancelable = 1;

        ngx_queue_init(&ngx_ws_bus_streams);
    }

    s->stats->connections++;
    s->stream->held = 1;

    ngx_queue_insert_tail(&ngx_ws_bus_streams, &s->stream->queue);

    if (ngx_exiting) {
        ngx_ws_bus_session_drain(s);

    } else {
        ngx_ws_bus_session_set_timer(s);

        if (!tick->timer_set) {
            ngx_add_timer(tick, NGX_WS_BUS_STREAM_TICK);
        }
    }

    /* what came while it was opened */

    ngx_post_event(c->write, &ngx_posted_events);

    return NGX_DONE;
}


static void
ngx_ws_bus_stream_cleanup(void *data)
{
    ngx_ws_bus_session_t *s = data;

    ngx_uint_t  n;

    ngx_ws_bus_stream_leave(s);

    if (!s->stream->held || !s->stream->fallback->connection) {
        return;
    }

    n = s->out ? ngx_ws_bus_out_drop(s) : 0;

    s->dropped += n;
    s->stats->dropped[NGX_WS_BUS_DROPPED_CLOSED] += n;

    if (s->close_code == 0) {
        s->close_code = s->draining ? NGX_WS_BUS_CLOSE_GOING_AWAY
                                    : NGX_WS_BUS_CLOSE_ABNORMAL;
        s->close_reason = s->draining ? "server is shutting down"
                                      : "the response was not read to its end";
        s->by_client = !s->draining;
    }

    ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_CLOSE, NULL, 0,
                     s->close_reason, 0);

    s->stats->closed[ngx_ws_bus_closed_index(s->close_code)]++;
}


void
ngx_ws_bus_stream_leave(ngx_ws_bus_session_t *s)
{
    if (s->stream->left) {
        return;
    }

    s->stream->left = 1;

    if (s->stream->held) {
        ngx_queue_remove(&s->stream->queue);
        s->stats->connections--;
    }

    if (s->sub.group) {
        ngx_ws_bus_session_unsubscribe(s, &s->sub);
    }
}


static void
ngx_ws_bus_stream_read_handler(ngx_http_request_t *r)
{
    ngx_event_t           *rev;
    ngx_ws_bus_session_t  *s;

    rev = r->connection->read;
    s = ngx_ws_bus_ctx_session(r);

    if (s->broken) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (rev->timedout) {
        rev->timedout = 0;
        ngx_ws_bus_stream_timeout(s);
        return;
    }

    ngx_http_test_reading(r);
}


static void
ngx_ws_bus_stream_write_handler(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_event_t           *wev;
    ngx_connection_t      *c;
    ngx_ws_bus_session_t  *s;

    c = r->connection;
    wev = c->write;
    s = ngx_ws_bus_ctx_session(r);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (s->broken || c->error) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    rc = s->stream->fallback->write(s);

    /* a level-triggered event is not wanted when there is nothing to write */

    if (rc == NGX_DONE && wev->active
        && ngx_handle_write_event(wev, 0) != NGX_OK)
    {
        rc = NGX_ERROR;
    }

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


/*
 * May end the session only by an event.
 */

static void
ngx_ws_bus_stream_timeout(ngx_ws_bus_session_t *s)
{
    ngx_msec_t        now;
    ngx_connection_t  *c;

    c = s->connection;
    now = ngx_current_msec;

    if (s->close_sent) {

        if ((ngx_msec_int_t) (s->deadline - now) <= 0) {
            ngx_log_error(NGX_LOG_INFO, c->log, 0,
                          "client did not read the end of the response in "
                          "time");
            s->broken = 1;
            ngx_post_event(c->write, &ngx_posted_events);
            return;
        }

    } else if (s->draining && (ngx_msec_int_t) (s->deadline - now) <= 0) {
        ngx_ws_bus_stream_close(s, NGX_WS_BUS_CLOSE_GOING_AWAY,
                                "server is shutting down");
        return;

    } else if (s->auth && ngx_ws_bus_auth_left(s) <= 0) {
        ngx_ws_bus_auth_tick(s);
        return;

    } else if (s->stream->next
               && (ngx_msec_int_t) (s->stream->next - now) <= 0)
    {
        s->stream->fallback->timeout(s);
    }

    ngx_ws_bus_session_set_timer(s);
}


ngx_msec_int_t
ngx_ws_bus_stream_left(ngx_ws_bus_session_t *s)
{
    if (s->stream->next == 0) {
        return NGX_WS_BUS_SESSION_IDLE;
    }

    return (ngx_msec_int_t) (s->stream->next - ngx_current_msec);
}


static void
ngx_ws_bus_stream_tick_handler(ngx_event_t *ev)
{
    ngx_queue_t          *q;
    ngx_ws_bus_stream_t  *stream;

    if (ngx_queue_empty(&ngx_ws_bus_streams)) {
        return;
    }

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_WS_BUS_STREAM_TICK);
        return;
    }

    for (q = ngx_queue_head(&ngx_ws_bus_streams);
         q != ngx_queue_sentinel(&ngx_ws_bus_streams);
         q = ngx_queue_next(q))
    {
        stream = ngx_queue_data(q, ngx_ws_bus_stream_t, queue);

        ngx_ws_bus_session_drain(stream->session);
    }
}


void
ngx_ws_bus_stream_close(ngx_ws_bus_session_t *s, ngx_uint_t code,
    const char *reason)
{
    s->close_code = code;
    s->close_reason = reason;
    s->close_sent = 1;
    s->deadline = ngx_current_msec + NGX_WS_BUS_STREAM_CLOSE;

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "%V closed: %ui %s", &s->protocol->name, code, reason);

    if (s->stream->held) {
        ngx_ws_bus_session_set_timer(s);
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }
}


ngx_int_t
ngx_ws_bus_stream_blocked(ngx_ws_bus_session_t *s)
{
    ngx_event_t               *wev;
    ngx_http_core_loc_conf_t  *clcf;

    wev = s->connection->write;
    clcf = ngx_http_get_module_loc_conf(s->request, ngx_http_core_module);

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


ngx_int_t
ngx_ws_bus_stream_header(ngx_ws_bus_session_t *s)
{
    ngx_str_t             value;
    ngx_http_request_t   *r;
    ngx_ws_bus_stream_t  *stream;

    r = s->request;
    stream = s->stream;

    ngx_str_set(&value, "no-store");

    if (ngx_ws_bus_add_header(r, "Cache-Control", &value) != NGX_OK
        || ngx_ws_bus_resume_headers(s, &stream->resume, stream->epoch)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_send_header(r);
}


static void
ngx_ws_bus_stream_deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first)
{
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    if (!s->close_sent && !s->broken) {
        s->stream->fallback->deliver(s, run, first);
    }
}


static void
ngx_ws_bus_stream_lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    if (from == 0) {

        /* whoever comes back with its position is told */

        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER,
                                 "messages lost");
        return;
    }

    s->protocol->lost(s, sub->group->channel->node, from, to);
}


/*
 * A position that is told from now on has the new epoch's name.
 */

static void
ngx_ws_bus_stream_moved(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq)
{
    ngx_ws_bus_session_t  *s;

    (void) seq;

    s = sub->owner;

    s->stream->epoch = epoch;
}
