
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_stream.h"


/*
 * Server-sent events: the response does not end, and a client that loses it
 * comes back with the id of the last event it has seen.
 */


/* the output filters hold so much at once; what waits can be dropped */
#define NGX_WS_BUS_SSE_PIECE  (32 * 1024)


static ngx_int_t ngx_ws_bus_sse_encode(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node, uint64_t epoch,
    ngx_ws_bus_record_t *rec, u_char *payload);
static ngx_int_t ngx_ws_bus_sse_open(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_sse_deliver(ngx_ws_bus_session_t *s,
    ngx_ws_bus_run_t *run, ngx_uint_t first);
static void ngx_ws_bus_sse_lost(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node, uint64_t from, uint64_t to);
static ngx_int_t ngx_ws_bus_sse_write(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_sse_timeout(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_sse_flush(ngx_ws_bus_session_t *s,
    ngx_uint_t tried);
static void ngx_ws_bus_sse_push(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_sse_send(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_sse_follow(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_sse_gap_note(ngx_ws_bus_session_t *s, uint64_t to);
static void ngx_ws_bus_sse_note(ngx_ws_bus_stream_t *stream, u_char *last);


static ngx_ws_bus_format_t  ngx_ws_bus_sse_format = {
    ngx_ws_bus_sse_encode
};


const ngx_ws_bus_fallback_t  ngx_ws_bus_sse = {
    { ngx_string("sse"),
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      ngx_ws_bus_sse_lost,
      NULL,
      NULL },

    &ngx_ws_bus_sse_format,
    1,
    ngx_ws_bus_sse_open,
    ngx_ws_bus_sse_deliver,
    ngx_ws_bus_sse_write,
    ngx_ws_bus_sse_timeout
};


static ngx_int_t
ngx_ws_bus_sse_encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    u_char                  *p;
    ngx_ws_bus_sse_event_t   e;

    if (rec->type != NGX_WS_BUS_REC_MESSAGE) {
        return NGX_DONE;
    }

    e.epoch = epoch;
    e.seq = rec->seq;
    e.binary = (rec->flags & NGX_WS_BUS_REC_BINARY);
    e.payload.data = payload;
    e.payload.len = rec->len;

    if (!e.binary) {

        /* the log may change between counting the lines and writing them */

        p = ngx_ws_bus_format_scratch(NGX_WS_BUS_SCRATCH_IN, rec->len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, payload, rec->len);
        e.payload.data = p;
    }

    p = ngx_ws_bus_run_reserve(run, ngx_ws_bus_sse_event_size(&e),
                               ngx_cycle->log);

    if (p) {
        run->len = ngx_ws_bus_sse_event(p, &e) - run->data;
    }

    ngx_ws_bus_format_shrink();

    return p ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_sse_open(ngx_ws_bus_session_t *s)
{
    ngx_int_t             rc;
    ngx_str_t             value;
    ngx_http_request_t   *r;
    ngx_ws_bus_resume_t  *resume;
    ngx_ws_bus_stream_t  *stream;

    r = s->request;
    stream = s->stream;
    resume = &stream->resume;

    r->headers_out.status = NGX_HTTP_OK;

    ngx_ws_bus_content_type(r, "text/event-stream");

    /* a proxy that is nginx, too */

    ngx_str_set(&value, "no");

    if (ngx_ws_bus_add_header(r, "X-Accel-Buffering", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_ws_bus_stream_header(s);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    /* something always follows the header at once: the client is connected */

    if (resume->resume && !resume->recovered) {

        /* of another epoch, all there is may be new */

        if (!resume->known || resume->epoch != stream->epoch
            || resume->last_seq > resume->seq)
        {
            resume->last_seq = 0;
        }

        ngx_ws_bus_sse_note(stream,
                            ngx_ws_bus_sse_gap(stream->note, stream->epoch,
                                               resume->last_seq + 1,
                                               resume->seq));

    } else if (s->conf->history || resume->resume || resume->newest) {
        ngx_ws_bus_sse_note(stream,
                            ngx_ws_bus_sse_position(stream->note,
                                                    stream->epoch,
                                                    resume->seq));

    } else {
        ngx_ws_bus_sse_note(stream,
                            ngx_ws_bus_sse_comment(stream->note, "open"));
    }

    if (ngx_ws_bus_sse_flush(s, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    if (s->conf->ping) {
        stream->next = ngx_current_msec + s->conf->ping;
    }

    return NGX_DONE;
}


static void
ngx_ws_bus_sse_deliver(ngx_ws_bus_session_t *s, ngx_ws_bus_run_t *run,
    ngx_uint_t first)
{
    ngx_ws_bus_session_queue(&s->sub, run, first, run->n);

    ngx_ws_bus_sse_push(s);

    if (s->out && !s->broken
        && ngx_ws_bus_out_limit(s, s->sub.group->channel->node) != NGX_OK)
    {
        ngx_ws_bus_session_slow(s);
    }
}


static void
ngx_ws_bus_sse_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to)
{
    /* told in its place, before what comes after it */

    s->stream->lost = to;

    ngx_ws_bus_sse_push(s);
}


static ngx_int_t
ngx_ws_bus_sse_write(ngx_ws_bus_session_t *s)
{
    ngx_event_t          *wev;
    ngx_http_request_t   *r;
    ngx_ws_bus_stream_t  *stream;

    r = s->request;
    stream = s->stream;
    wev = s->connection->write;

    if (stream->busy) {

        if (wev->delayed) {
            return (ngx_ws_bus_stream_blocked(s) == NGX_OK) ? NGX_DONE
                                                            : NGX_ERROR;
        }

        if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    if (ngx_ws_bus_sse_flush(s, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    if (s->replay && s->out == NULL && !stream->busy && !s->close_sent) {

        ngx_ws_bus_replay_next(s);

        if (ngx_ws_bus_sse_flush(s, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        if (s->replay && s->out == NULL && !s->close_sent) {
            ngx_ws_bus_replay_next(s);
        }
    }

    if (s->close_sent && s->out == NULL && !stream->busy) {
        ngx_ws_bus_stream_leave(s);

        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    return NGX_DONE;
}


/*
 * Something to hear from time to time, for whoever is in between.
 */

static void
ngx_ws_bus_sse_timeout(ngx_ws_bus_session_t *s)
{
    ngx_msec_t            now;
    ngx_ws_bus_stream_t  *stream;

    now = ngx_current_msec;
    stream = s->stream;

    if (now - stream->last < s->conf->ping) {
        stream->next = stream->last + s->conf->ping;
        return;
    }

    stream->next = now + s->conf->ping;

    /* who has not taken the last one yet is send_timeout's */

    if (s->out == NULL && !stream->busy) {
        ngx_ws_bus_sse_note(stream,
                            ngx_ws_bus_sse_comment(stream->note, "ping"));
        ngx_ws_bus_sse_push(s);
    }
}


/*
 * From the hub's handlers: the request is not to end here.
 */

static void
ngx_ws_bus_sse_push(ngx_ws_bus_session_t *s)
{
    if (ngx_ws_bus_sse_flush(s, 0) != NGX_OK) {
        s->broken = 1;
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }
}


/*
 * Gives the output filters piece after piece, as long as they take all of it.
 * If they have just tried to send, send_timeout begins anew; what is queued
 * behind does not prolong it.  NGX_OK, or NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_sse_flush(ngx_ws_bus_session_t *s, ngx_uint_t tried)
{
    ngx_event_t          *wev;
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_ws_bus_stream_t  *stream;

    c = s->connection;
    r = s->request;
    stream = s->stream;
    wev = c->write;

    for ( ;; ) {

        if (stream->busy) {

            if (r->buffered || c->buffered || r->postponed) {
                return tried ? ngx_ws_bus_stream_blocked(s) : NGX_OK;
            }

            stream->busy = 0;
            stream->note_len = 0;

            ngx_ws_bus_out_sent(s, s->trying);
            s->trying = 0;
        }

        ngx_ws_bus_sse_follow(s);

        if (s->out == NULL && stream->note_len == 0) {

            if (wev->timer_set && !wev->delayed) {
                ngx_del_timer(wev);
            }

            return NGX_OK;
        }

        if (ngx_ws_bus_sse_send(s) != NGX_OK) {
            return NGX_ERROR;
        }

        tried = 1;
    }
}


/*
 * One piece: a note, or a part of the queue.
 */

static ngx_int_t
ngx_ws_bus_sse_send(ngx_ws_bus_session_t *s)
{
    ngx_buf_t            *b;
    ngx_chain_t           out;
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;
    b = &stream->buf;

    ngx_memzero(b, sizeof(ngx_buf_t));

    if (stream->note_len) {
        b->pos = stream->note;
        b->last = b->pos + stream->note_len;

    } else {
        b->pos = s->out->run->data + s->out->pos;
        b->last = b->pos + s->trying;
    }

    b->memory = 1;
    b->flush = 1;

    out.buf = b;
    out.next = NULL;

    stream->busy = 1;
    stream->last = ngx_current_msec;

    return (ngx_http_output_filter(s->request, &out) == NGX_ERROR) ? NGX_ERROR
                                                                   : NGX_OK;
}


/*
 * Finds the next piece.  What is kept is numbered without holes: where there
 * is one, messages have been dropped or lost, and that is told first.
 */

static void
ngx_ws_bus_sse_follow(ngx_ws_bus_session_t *s)
{
    size_t                start;
    uint64_t              seq, *position;
    ngx_uint_t            i;
    ngx_ws_bus_run_t     *run;
    ngx_ws_bus_out_t     *out;
    ngx_ws_bus_stream_t  *stream;

    out = s->out;
    stream = s->stream;
    position = &stream->resume.seq;

    if (stream->note_len) {
        return;
    }

    if (out == NULL) {

        if (stream->lost > *position) {
            ngx_ws_bus_sse_gap_note(s, stream->lost);
        }

        return;
    }

    s->trying = ngx_min(out->last - out->pos, NGX_WS_BUS_SSE_PIECE);

    run = out->run;

    for (i = ngx_ws_bus_run_at(run, out->pos); i < run->n; i++) {

        start = ngx_ws_bus_run_start(run, i);

        if (start >= out->pos + s->trying) {
            break;
        }

        seq = run->marks[i].seq;

        if (seq <= *position) {
            continue;
        }

        if (seq == *position + 1) {
            *position = seq;
            continue;
        }

        if (start > out->pos) {

            /* first what is before it */

            s->trying = start - out->pos;
            break;
        }

        s->trying = 0;
        ngx_ws_bus_sse_gap_note(s, seq - 1);
        break;
    }
}


static void
ngx_ws_bus_sse_gap_note(ngx_ws_bus_session_t *s, uint64_t to)
{
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;

    ngx_ws_bus_sse_note(stream,
                        ngx_ws_bus_sse_gap(stream->note, stream->epoch,
                                           stream->resume.seq + 1, to));

    stream->resume.seq = to;
}


static void
ngx_ws_bus_sse_note(ngx_ws_bus_stream_t *stream, u_char *last)
{
    stream->note_len = last - stream->note;
}
