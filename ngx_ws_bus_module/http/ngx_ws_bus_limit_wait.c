
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_limit.h"


/*
 * ws_bus_limit with "delay": a message waits, and with it all that comes
 * behind it.  Only a little more is read meanwhile, to answer pings and to
 * see that the client has left; then TCP tells the client to wait as well.
 */


/* bytes read ahead while a message waits */
#define NGX_WS_BUS_LIMIT_AHEAD    (16 * 1024)
#define NGX_WS_BUS_LIMIT_BUFFER   4096
#define NGX_WS_BUS_LIMIT_SMALLEST 512
#define NGX_WS_BUS_LIMIT_READS    8           /* a turn */

/* for what a client has sent before it left, milliseconds */
#define NGX_WS_BUS_LIMIT_GONE     5000


static ngx_int_t ngx_ws_bus_limit_append(ngx_ws_bus_session_t *s, u_char *p,
    size_t n);
static void ngx_ws_bus_limit_scan(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_limit_control(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_limit_gone(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_limit_rest_free(ngx_ws_bus_limit_t *l);


static const ngx_ws_bus_error_t  ngx_ws_bus_limit_no_memory =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "no memory");


ngx_int_t
ngx_ws_bus_limit_wait(ngx_ws_bus_session_t *s, u_char *data, size_t len,
    ngx_msec_t wait)
{
    ngx_ws_bus_limit_t  *l;

    l = s->limit;

    l->message = ngx_alloc(len + 1, s->connection->log);
    if (l->message == NULL) {
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_limit_no_memory);
        return NGX_ERROR;
    }

    if (len) {
        ngx_memcpy(l->message, data, len);
    }

    l->len = len;
    l->waits = 1;
    l->until = ngx_current_msec + wait;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, s->connection->log, 0,
                   "ws bus message of %uz waits %M ms", len, wait);

    return NGX_AGAIN;
}


ngx_int_t
ngx_ws_bus_limit_keep(ngx_ws_bus_session_t *s, u_char *pos, u_char *last)
{
    ngx_event_t         *rev;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;
    rev = s->connection->read;

    if (l->rest && pos >= l->rest && pos <= l->rest + l->last) {

        /* the next one of those that have been kept */

        l->pos = pos - l->rest;

    } else {
        l->pos = 0;
        l->last = 0;
        l->head = 0;
        l->scan = 0;
        l->blind = 0;
        l->frame = s->frame;

        if (ngx_ws_bus_limit_append(s, pos, last - pos) != NGX_OK) {
            ngx_ws_bus_session_fail(s, &ngx_ws_bus_limit_no_memory);
            return NGX_ERROR;
        }
    }

    ngx_ws_bus_session_set_timer(s);

    /* an edge-triggered event may not come again, a deleted one cannot */

    if (rev->ready || !rev->active) {
        ngx_post_event(rev, &ngx_posted_next_events);
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_ws_bus_limit_append(ngx_ws_bus_session_t *s, u_char *p, size_t n)
{
    u_char              *rest;
    size_t               kept, size;
    ngx_ws_bus_limit_t  *l;

    if (n == 0) {
        return NGX_OK;
    }

    l = s->limit;

    if (n > l->size - l->last) {

        kept = l->last - l->pos;

        size = ngx_max(2 * kept, kept + n);
        size = ngx_max(size, NGX_WS_BUS_LIMIT_SMALLEST);

        rest = ngx_alloc(size, s->connection->log);
        if (rest == NULL) {
            return NGX_ERROR;
        }

        if (l->rest) {
            ngx_memcpy(rest, l->rest + l->pos, kept);
            ngx_free(l->rest);
        }

        l->rest = rest;
        l->size = size;
        l->head -= l->pos;
        l->scan -= l->pos;
        l->pos = 0;
        l->last = kept;
    }

    ngx_memcpy(l->rest + l->last, p, n);
    l->last += n;

    ngx_ws_bus_limit_scan(s);

    return NGX_OK;
}


/*
 * Takes the control frames out of what is kept.  Not a Close, which is the
 * last of what the client has to say, nor anything behind a violation: both
 * are met when it is their turn.
 */

static void
ngx_ws_bus_limit_scan(ngx_ws_bus_session_t *s)
{
    size_t               n;
    u_char              *p;
    ngx_int_t            rc;
    ngx_ws_bus_frame_t  *f;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;
    f = &l->frame;

    while (!l->blind && l->scan < l->last) {

        if (!f->complete) {

            p = l->rest + l->scan;

            rc = ngx_ws_bus_frame_head(f, &p, l->rest + l->last);

            if (rc == NGX_ERROR) {
                l->blind = 1;
                return;
            }

            l->scan = p - l->rest;

            if (rc == NGX_AGAIN) {
                return;
            }

            if (f->opcode == NGX_WS_BUS_OP_CLOSE) {
                l->blind = 1;
                return;
            }
        }

        n = l->last - l->scan;

        if (n > f->len - f->got) {
            n = f->len - f->got;
        }

        f->got += n;
        l->scan += n;

        if (f->got < f->len) {
            return;
        }

        if (ngx_ws_bus_op_is_control(f->opcode)) {
            ngx_ws_bus_limit_control(s);

        } else {
            f->fragmented = !f->fin;
            l->head = l->scan;
        }

        ngx_ws_bus_frame_next(f);
    }
}


/*
 * A whole control frame from l->head to l->scan: it is taken, and what is
 * behind it moves up.
 */

static void
ngx_ws_bus_limit_control(ngx_ws_bus_session_t *s)
{
    u_char              *p;
    ngx_ws_bus_frame_t  *f;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;
    f = &l->frame;

    if (f->opcode == NGX_WS_BUS_OP_PING) {

        p = l->rest + l->scan - f->len;

        ngx_ws_bus_frame_unmask(p, p, f->len, f->mask, 0);
        ngx_ws_bus_session_pong(s, p, f->len);
    }

    ngx_memmove(l->rest + l->head, l->rest + l->scan, l->last - l->scan);

    l->last -= l->scan - l->head;
    l->scan = l->head;
}


void
ngx_ws_bus_limit_read(ngx_ws_bus_session_t *s)
{
    u_char               buf[NGX_WS_BUS_LIMIT_BUFFER];
    size_t               room;
    ssize_t              n;
    ngx_uint_t           i;
    ngx_connection_t    *c;
    ngx_ws_bus_limit_t  *l;

    c = s->connection;
    l = s->limit;

    for (i = 0; !l->gone && l->last - l->pos < NGX_WS_BUS_LIMIT_AHEAD; i++) {

        if (i == NGX_WS_BUS_LIMIT_READS) {

            /* pings take no room, and may never end */

            ngx_post_event(c->read, &ngx_posted_next_events);
            return;
        }

        room = NGX_WS_BUS_LIMIT_AHEAD - (l->last - l->pos);

        n = c->recv(c, buf, ngx_min(room, NGX_WS_BUS_LIMIT_BUFFER));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_ws_bus_limit_gone(s);
            break;
        }

        s->last_in = ngx_current_msec;

        if (ngx_ws_bus_limit_append(s, buf, n) != NGX_OK) {
            ngx_ws_bus_session_fail(s, &ngx_ws_bus_limit_no_memory);
            return;
        }
    }

    if (!l->gone && c->read->pending_eof
        && l->last - l->pos >= NGX_WS_BUS_LIMIT_AHEAD)
    {
        ngx_ws_bus_limit_gone(s);
    }

    /* a level-triggered event is not wanted while there is no room */

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_ws_bus_session_end(s);
    }
}


/*
 * The client has left: what it has sent is still published, but not for long.
 */

static void
ngx_ws_bus_limit_gone(ngx_ws_bus_session_t *s)
{
    s->limit->gone = 1;
    s->limit->gone_until = ngx_current_msec + NGX_WS_BUS_LIMIT_GONE;

    ngx_ws_bus_session_set_timer(s);
}


ngx_uint_t
ngx_ws_bus_limit_waits(ngx_ws_bus_session_t *s)
{
    return s->limit->waits;
}


ngx_msec_int_t
ngx_ws_bus_limit_left(ngx_ws_bus_session_t *s)
{
    ngx_msec_int_t       left, gone;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;

    if (!l->waits || s->violated) {
        return -1;
    }

    if (s->close_sent && s->close_code != NGX_WS_BUS_CLOSE_GOING_AWAY) {
        return 0;
    }

    left = (ngx_msec_int_t) (l->until - ngx_current_msec);

    if (l->gone) {
        gone = (ngx_msec_int_t) (l->gone_until - ngx_current_msec);
        left = ngx_min(left, gone);
    }

    return ngx_max(left, 0);
}


ngx_int_t
ngx_ws_bus_limit_resume(ngx_ws_bus_session_t *s)
{
    u_char              *data;
    ngx_int_t            rc;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;

    if (l->gone
        && (ngx_msec_int_t) (l->gone_until - ngx_current_msec) <= 0)
    {
        return NGX_DONE;
    }

    data = l->message;

    l->message = NULL;
    l->waits = 0;

    /* the client could not be heard */

    s->last_in = ngx_current_msec;
    s->pinged = 0;
    s->hub->now = 0;

    if (s->close_sent && s->close_code != NGX_WS_BUS_CLOSE_GOING_AWAY) {
        s->stats->dropped[NGX_WS_BUS_DROPPED_LIMIT]++;
        rc = NGX_OK;

    } else {
        rc = ngx_ws_bus_input_take(s, s->opcode, data, l->len);
    }

    ngx_free(data);

    if (rc == NGX_OK && l->pos < l->last) {
        rc = ngx_ws_bus_input(s, l->rest + l->pos, l->rest + l->last);
    }

    if (rc != NGX_AGAIN) {
        ngx_ws_bus_limit_rest_free(l);
    }

    return rc;
}


void
ngx_ws_bus_limit_free(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_limit_t  *l;

    l = s->limit;

    if (l->waits) {
        ngx_free(l->message);
        s->stats->dropped[NGX_WS_BUS_DROPPED_LIMIT]++;
    }

    ngx_ws_bus_limit_rest_free(l);
}


static void
ngx_ws_bus_limit_rest_free(ngx_ws_bus_limit_t *l)
{
    if (l->rest) {
        ngx_free(l->rest);
    }

    l->rest = NULL;
    l->pos = 0;
    l->last = 0;
    l->size = 0;
}
