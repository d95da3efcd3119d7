
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


#define NGX_WS_BUS_OUT_IOVS   64

/* one TLS record */
#define NGX_WS_BUS_OUT_TLS    16384


/*
 * A stretch of a run that a client is owed.  It starts at a message's first
 * byte, but for the first of the queue, which may be half written.
 */

struct ngx_ws_bus_out_s {
    ngx_ws_bus_out_t  *next;
    ngx_ws_bus_run_t  *run;
    size_t             pos;
    size_t             last;
};


static ngx_int_t ngx_ws_bus_out_queue(ngx_ws_bus_session_t *s,
    ngx_ws_bus_run_t *run, size_t pos, size_t last);
static ssize_t ngx_ws_bus_out_send(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);
static ssize_t ngx_ws_bus_out_writev(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_out_sent(ngx_ws_bus_session_t *s, size_t n);
static size_t ngx_ws_bus_out_being_written(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_out_split(ngx_ws_bus_session_t *s);
static ngx_uint_t ngx_ws_bus_out_waiting(ngx_ws_bus_session_t *s);
static ngx_uint_t ngx_ws_bus_out_trim(ngx_ws_bus_session_t *s,
    ngx_uint_t messages);
static ngx_uint_t ngx_ws_bus_out_count(ngx_ws_bus_out_t *out);
static void ngx_ws_bus_out_unlink(ngx_ws_bus_session_t *s,
    ngx_ws_bus_out_t **prev);


void
ngx_ws_bus_out_add(ngx_ws_bus_session_t *s, ngx_ws_bus_run_t *run, size_t pos,
    size_t last)
{
    ssize_t       n;
    ngx_event_t  *wev;

    if (s->broken) {
        return;
    }

    wev = s->connection->write;

    if (s->out == NULL && wev->ready && s->started) {

        n = ngx_ws_bus_out_send(s, run->data + pos, last - pos);

        if (n == (ssize_t) (last - pos)) {
            return;
        }

        if (n == NGX_ERROR) {
            goto broken;
        }

        if (n > 0) {
            pos += n;
        }
    }

    if (ngx_ws_bus_out_queue(s, run, pos, last) != NGX_OK) {
        goto broken;
    }

    if (!s->started) {
        return;
    }

    if (wev->ready) {

        /* TLS takes a record at a time */

        ngx_post_event(wev, &ngx_posted_events);
        return;
    }

    if (wev->active || ngx_handle_write_event(wev, 0) == NGX_OK) {
        return;
    }

broken:

    /* whoever called may hold this session in a list: end it later */

    s->broken = 1;
    ngx_post_event(s->connection->read, &ngx_posted_events);
}


void
ngx_ws_bus_out_reply(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ngx_ws_bus_out_t  *out;
    ngx_ws_bus_run_t  *run;

    if (s->broken || s->close_sent) {
        return;
    }

    /* several answers of one turn share a run */

    out = s->out ? ngx_queue_data(s->last_out, ngx_ws_bus_out_t, next)
                 : NULL;

    if (out && out->run->n == 0 && out->run->refs == 1
        && out->last == out->run->len && s->trying == 0)
    {
        if (ngx_ws_bus_format_frame(out->run, NGX_WS_BUS_OP_TEXT, data, len)
            != NGX_OK)
        {
            goto broken;
        }

        s->queued += out->run->len - out->last;
        out->last = out->run->len;

    } else {

        run = ngx_ws_bus_run_create(s->connection->log);
        if (run == NULL) {
            goto broken;
        }

        if (ngx_ws_bus_format_frame(run, NGX_WS_BUS_OP_TEXT, data, len)
            != NGX_OK
            || ngx_ws_bus_out_queue(s, run, 0, run->len) != NGX_OK)
        {
            ngx_ws_bus_run_release(run);
            goto broken;
        }

        ngx_ws_bus_run_release(run);
    }

    if (!s->started) {
        return;
    }

    if (s->connection->write->ready) {
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }

    if (ngx_ws_bus_out_limit(s) != NGX_OK) {
        ngx_ws_bus_session_slow(s);
    }

    return;

broken:

    s->broken = 1;
    ngx_post_event(s->connection->read, &ngx_posted_events);
}


static ngx_int_t
ngx_ws_bus_out_queue(ngx_ws_bus_session_t *s, ngx_ws_bus_run_t *run,
    size_t pos, size_t last)
{
    ngx_ws_bus_out_t  *out;

    out = ngx_alloc(sizeof(ngx_ws_bus_out_t), s->connection->log);
    if (out == NULL) {
        return NGX_ERROR;
    }

    out->next = NULL;
    out->run = run;
    out->pos = pos;
    out->last = last;

    run->refs++;

    *s->last_out = out;
    s->last_out = &out->next;
    s->queued += last - pos;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_out_flush(ngx_ws_bus_session_t *s)
{
    ssize_t            n;
    ngx_event_t       *wev;
    ngx_ws_bus_out_t  *out;

    wev = s->connection->write;

    while (s->out && wev->ready) {

        out = s->out;

        if (out->next && !ngx_ws_bus_is_ssl(s->connection)) {
            n = ngx_ws_bus_out_writev(s);

        } else {
            n = ngx_ws_bus_out_send(s, out->run->data + out->pos,
                                    out->last - out->pos);
        }

        if (n == NGX_ERROR) {
            s->broken = 1;
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN) {
            break;
        }

        ngx_ws_bus_out_sent(s, n);
    }

    if (s->out == NULL) {
        return NGX_OK;
    }

    if (!wev->active && ngx_handle_write_event(wev, 0) != NGX_OK) {
        s->broken = 1;
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * OpenSSL wants a write that did not go through repeated with the same bytes:
 * s->trying says how many of them must stay.
 */

static ssize_t
ngx_ws_bus_out_send(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = s->connection;

    if (!ngx_ws_bus_is_ssl(c)) {
        return c->send(c, data, len);
    }

    if (s->trying == 0) {
        s->trying = ngx_min(len, NGX_WS_BUS_OUT_TLS);
    }

    n = c->send(c, data, s->trying);

    if (n > 0) {
        s->trying -= n;
    }

    return n;
}


static ssize_t
ngx_ws_bus_out_writev(ngx_ws_bus_session_t *s)
{
    ssize_t            n;
    ngx_iovec_t        vec;
    struct iovec       iovs[NGX_WS_BUS_OUT_IOVS];
    ngx_connection_t  *c;
    ngx_ws_bus_out_t  *out;

    c = s->connection;

    vec.iovs = iovs;
    vec.nalloc = NGX_WS_BUS_OUT_IOVS;
    vec.count = 0;
    vec.size = 0;

    for (out = s->out; out && vec.count < vec.nalloc; out = out->next) {
        iovs[vec.count].iov_base = out->run->data + out->pos;
        iovs[vec.count].iov_len = out->last - out->pos;
        vec.size += out->last - out->pos;
        vec.count++;
    }

    n = ngx_writev(c, &vec);

    if (n == NGX_ERROR) {
        c->write->error = 1;

    } else if (n < (ssize_t) vec.size) {
        c->write->ready = 0;
    }

    if (n > 0) {
        c->sent += n;
    }

    return n;
}


static void
ngx_ws_bus_out_sent(ngx_ws_bus_session_t *s, size_t n)
{
    size_t             len;
    ngx_ws_bus_out_t  *out;

    s->queued -= n;

    while (n) {
        out = s->out;
        len = ngx_min(n, out->last - out->pos);

        out->pos += len;
        n -= len;

        if (out->pos == out->last) {
            ngx_ws_bus_out_unlink(s, &s->out);
        }
    }
}


ngx_uint_t
ngx_ws_bus_out_drop(ngx_ws_bus_session_t *s)
{
    return ngx_ws_bus_out_trim(s, 0);
}


ngx_int_t
ngx_ws_bus_out_limit(ngx_ws_bus_session_t *s)
{
    size_t       waiting;
    ngx_uint_t   n;

    if (s->out == NULL) {
        return NGX_OK;
    }

    waiting = s->queued - ngx_ws_bus_out_being_written(s);

    if (waiting == 0) {
        return NGX_OK;
    }

    switch (s->conf->buffer_policy) {

    case NGX_WS_BUS_BUFFER_LATEST:

        if (ngx_ws_bus_out_waiting(s) > 1) {
            n = ngx_ws_bus_out_trim(s, 1);

            s->dropped += n;
            s->stats->dropped[NGX_WS_BUS_DROPPED_CONFLATED] += n;
        }

        waiting = s->queued - ngx_ws_bus_out_being_written(s);

        return (waiting > s->conf->buffer) ? NGX_DECLINED : NGX_OK;

    case NGX_WS_BUS_BUFFER_OLDEST:

        if (waiting > s->conf->buffer) {
            n = ngx_ws_bus_out_trim(s, (ngx_uint_t) -1);

            s->dropped += n;
            s->stats->dropped[NGX_WS_BUS_DROPPED_SLOW] += n;
        }

        /* answers cannot be dropped */

        waiting = s->queued - ngx_ws_bus_out_being_written(s);

        return (waiting > s->conf->buffer) ? NGX_DECLINED : NGX_OK;

    default: /* NGX_WS_BUS_BUFFER_CLOSE */

        return (waiting > s->conf->buffer) ? NGX_DECLINED : NGX_OK;
    }
}


ngx_uint_t
ngx_ws_bus_out_free(ngx_ws_bus_session_t *s)
{
    ngx_uint_t  n;

    n = 0;

    while (s->out) {
        n += ngx_ws_bus_out_count(s->out);
        ngx_ws_bus_out_unlink(s, &s->out);
    }

    return n;
}


/*
 * How many bytes at the front of the queue belong to the message that is
 * being written, or must stay for TLS.
 */

static size_t
ngx_ws_bus_out_being_written(ngx_ws_bus_session_t *s)
{
    size_t             end;
    ngx_ws_bus_run_t  *run;
    ngx_ws_bus_out_t  *out;

    out = s->out;
    run = out->run;

    if (run->n == 0) {
        return out->last - out->pos;
    }

    end = run->marks[ngx_ws_bus_run_at(run, out->pos)].end;

    if (s->trying > end - out->pos) {
        end = run->marks[ngx_ws_bus_run_at(run,
                                           out->pos + s->trying - 1)].end;
    }

    return end - out->pos;
}


/*
 * Makes what is being written a stretch of its own.
 */

static ngx_int_t
ngx_ws_bus_out_split(ngx_ws_bus_session_t *s)
{
    size_t             end;
    ngx_ws_bus_out_t  *out, *rest;

    out = s->out;
    end = out->pos + ngx_ws_bus_out_being_written(s);

    if (end == out->last) {
        return NGX_OK;
    }

    rest = ngx_alloc(sizeof(ngx_ws_bus_out_t), s->connection->log);
    if (rest == NULL) {
        return NGX_ERROR;
    }

    rest->next = out->next;
    rest->run = out->run;
    rest->pos = end;
    rest->last = out->last;

    out->run->refs++;
    out->next = rest;
    out->last = end;

    if (s->last_out == &out->next) {
        s->last_out = &rest->next;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_ws_bus_out_waiting(ngx_ws_bus_session_t *s)
{
    ngx_uint_t         n;
    ngx_ws_bus_out_t  *out;

    if (ngx_ws_bus_out_split(s) != NGX_OK) {
        return 0;
    }

    n = 0;

    for (out = s->out->next; out; out = out->next) {
        n += ngx_ws_bus_out_count(out);
    }

    return n;
}


/*
 * Drops waiting messages from the front: until "messages" are left, or, with
 * -1, until they fit into ws_bus_buffer.  Control frames stay.  Returns the
 * number of what was dropped.
 */

static ngx_uint_t
ngx_ws_bus_out_trim(ngx_ws_bus_session_t *s, ngx_uint_t messages)
{
    size_t              end, waiting;
    ngx_uint_t          n, left;
    ngx_ws_bus_out_t   *out, **prev;

    if (s->out == NULL || ngx_ws_bus_out_split(s) != NGX_OK) {
        return 0;
    }

    n = 0;
    waiting = s->queued - (s->out->last - s->out->pos);
    left = (messages == (ngx_uint_t) -1) ? 0 : ngx_ws_bus_out_waiting(s);

    prev = &s->out->next;

    while (*prev) {

        if (messages == (ngx_uint_t) -1) {
            if (waiting <= s->conf->buffer) {
                break;
            }

        } else if (left <= messages) {
            break;
        }

        out = *prev;

        if (out->run->n == 0) {
            prev = &out->next;
            continue;
        }

        end = out->run->marks[ngx_ws_bus_run_at(out->run, out->pos)].end;

        waiting -= end - out->pos;
        s->queued -= end - out->pos;
        out->pos = end;

        n++;
        left--;

        if (out->pos == out->last) {
            ngx_ws_bus_out_unlink(s, prev);
        }
    }

    return n;
}


static ngx_uint_t
ngx_ws_bus_out_count(ngx_ws_bus_out_t *out)
{
    if (out->run->n == 0) {
        return 0;
    }

    return ngx_ws_bus_run_at(out->run, out->last - 1)
           - ngx_ws_bus_run_at(out->run, out->pos) + 1;
}


static void
ngx_ws_bus_out_unlink(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev)
{
    ngx_ws_bus_out_t  *out;

    out = *prev;

    if (out->run->n == 0) {
        s->pong_queued = 0;
    }

    *prev = out->next;

    if (s->last_out == &out->next) {
        s->last_out = prev;
    }

    ngx_ws_bus_run_release(out->run);
    ngx_free(out);
}
