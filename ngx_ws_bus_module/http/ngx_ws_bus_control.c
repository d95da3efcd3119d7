
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/*
 * Control frames, and how a session comes to its end.  All of it is safe
 * while the hub walks its lists: what ends the session is posted.
 */


/* milliseconds */
#define NGX_WS_BUS_CONTROL_CLOSE     5000        /* for the peer's Close */
#define NGX_WS_BUS_CONTROL_SLOW      10000       /* to read a Close 1013 */

/* bytes of pongs that may leave together */
#define NGX_WS_BUS_CONTROL_PONGS     4096


static void ngx_ws_bus_control_send(ngx_ws_bus_session_t *s, u_char *frame,
    size_t len);
static void ngx_ws_bus_control_send_close(ngx_ws_bus_session_t *s,
    ngx_uint_t code, const ngx_str_t *reason);


void
ngx_ws_bus_session_pong(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    u_char  *p;

    if (s->close_sent) {
        return;
    }

    if (s->pong == NULL) {
        s->pong = ngx_ws_bus_run_create(s->connection->log);

        if (s->pong == NULL) {
            return;
        }
    }

    /* while the socket takes bytes, every ping is answered in its turn */

    if (s->out || s->pong->len > NGX_WS_BUS_CONTROL_PONGS) {
        s->pong->len = 0;
    }

    p = ngx_ws_bus_run_reserve(s->pong, 2 + NGX_WS_BUS_CONTROL_MAX,
                               s->connection->log);
    if (p == NULL) {
        ngx_ws_bus_run_release(s->pong);
        s->pong = NULL;
        return;
    }

    p = ngx_ws_bus_frame_write(p, NGX_WS_BUS_OP_PONG, 0, len);
    p = ngx_cpymem(p, data, len);

    s->pong->len = p - s->pong->data;

    /* what the rest of this turn brings goes with it */

    ngx_post_event(s->connection->write, &ngx_posted_events);
}


void
ngx_ws_bus_control_send_pong(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_run_t  *run;

    run = s->pong;
    s->pong = NULL;

    ngx_ws_bus_out_add(s, NULL, run, 0, run->len);

    s->pong_queued = (run->refs > 1);

    ngx_ws_bus_run_release(run);
}


static void
ngx_ws_bus_control_send(ngx_ws_bus_session_t *s, u_char *frame,
    size_t len)
{
    u_char            *p;
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_create(s->connection->log);

    if (run) {
        p = ngx_ws_bus_run_reserve(run, len, s->connection->log);

        if (p) {
            ngx_memcpy(p, frame, len);
            run->len = len;

            ngx_ws_bus_out_add(s, NULL, run, 0, len);
            ngx_ws_bus_run_release(run);
            return;
        }

        ngx_ws_bus_run_release(run);
    }

    s->broken = 1;
    ngx_post_event(s->connection->read, &ngx_posted_events);
}


static void
ngx_ws_bus_control_send_close(ngx_ws_bus_session_t *s, ngx_uint_t code,
    const ngx_str_t *reason)
{
    u_char  frame[2 + NGX_WS_BUS_CONTROL_MAX], *last;

    last = ngx_ws_bus_frame_close(frame, code, reason);

    s->close_sent = 1;
    s->deadline = ngx_current_msec + (code == NGX_WS_BUS_CLOSE_TRY_LATER
                                      ? NGX_WS_BUS_CONTROL_SLOW
                                      : NGX_WS_BUS_CONTROL_CLOSE);

    if (s->pending) {
        s->deadline = ngx_ws_bus_auth_deadline(s, s->deadline);
    }

    ngx_ws_bus_control_send(s, frame, last - frame);

    if (s->started) {
        ngx_ws_bus_session_set_timer(s);
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }
}


void
ngx_ws_bus_session_close(ngx_ws_bus_session_t *s, ngx_uint_t code,
    const char *reason)
{
    ngx_str_t  text;

    if (s->close_sent) {
        return;
    }

    if (s->stream) {
        ngx_ws_bus_stream_close(s, code, reason);
        return;
    }

    text.data = (u_char *) reason;
    text.len = ngx_strlen(reason);

    s->close_code = code;
    s->close_reason = reason;

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "websocket closed: %ui %s", code, reason);

    ngx_ws_bus_control_send_close(s, code, &text);
}


void
ngx_ws_bus_session_fail(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_error_t *error)
{
    s->violated = 1;

    if (s->close_sent) {
        ngx_post_event(s->connection->write, &ngx_posted_events);
        return;
    }

    s->close_code = error->code;
    s->close_reason = (const char *) error->reason.data;

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "websocket closed: %ui %V", error->code, &error->reason);

    ngx_ws_bus_control_send_close(s, error->code, &error->reason);
}


void
ngx_ws_bus_session_closed(ngx_ws_bus_session_t *s, ngx_uint_t code)
{
    ngx_str_t  reason;

    s->close_received = 1;

    if (s->close_sent) {
        ngx_post_event(s->connection->write, &ngx_posted_events);
        return;
    }

    s->by_client = 1;
    s->close_code = code;

    /* the code is echoed; an empty Close is answered by an empty one */

    if (code == NGX_WS_BUS_CLOSE_NO_STATUS) {
        code = 0;
    }

    ngx_str_null(&reason);

    ngx_ws_bus_control_send_close(s, code, &reason);
}


void
ngx_ws_bus_session_slow(ngx_ws_bus_session_t *s)
{
    ngx_uint_t  n;

    n = ngx_ws_bus_out_drop(s);

    s->dropped += n;
    s->stats->dropped[NGX_WS_BUS_DROPPED_CLOSED] += n;

    ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER, "slow consumer");
}


void
ngx_ws_bus_control_ping(ngx_ws_bus_session_t *s)
{
    u_char  frame[2];

    (void) ngx_ws_bus_frame_write(frame, NGX_WS_BUS_OP_PING, 0, 0);

    ngx_ws_bus_control_send(s, frame, 2);
}
