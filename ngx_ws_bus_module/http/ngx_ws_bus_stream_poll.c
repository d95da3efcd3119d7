
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_stream.h"


/*
 * Long polling: one answer has all there is after the client's position; if
 * there is nothing, it waits for the first message, for as long as the client
 * asks for.
 */


/* an answer is not longer than that and one message */
#define NGX_WS_BUS_POLL_SIZE  (256 * 1024)

#define NGX_WS_BUS_POLL_HEAD                                                  \
    "{\"epoch\":\"%016xL\",\"seq\":%uL,\"recovered\":%s,\"messages\":["


static ngx_int_t ngx_ws_bus_poll_encode(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node, uint64_t epoch,
    ngx_ws_bus_record_t *rec, u_char *payload);
static ngx_int_t ngx_ws_bus_poll_open(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_poll_gather(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_poll_deliver(ngx_ws_bus_session_t *s,
    ngx_ws_bus_run_t *run, ngx_uint_t first);
static void ngx_ws_bus_poll_lost(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node, uint64_t from, uint64_t to);
static ngx_int_t ngx_ws_bus_poll_write(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_poll_timeout(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_poll_due(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_poll_answer(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_poll_position(ngx_ws_bus_session_t *s);
static ngx_chain_t *ngx_ws_bus_poll_body(ngx_ws_bus_session_t *s,
    off_t *size);


static ngx_ws_bus_format_t  ngx_ws_bus_poll_format = {
    ngx_ws_bus_poll_encode
};


const ngx_ws_bus_fallback_t  ngx_ws_bus_poll = {
    { ngx_string("poll"),
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      ngx_ws_bus_poll_lost,
      NULL,
      NULL },

    &ngx_ws_bus_poll_format,
    0,
    ngx_ws_bus_poll_open,
    ngx_ws_bus_poll_deliver,
    ngx_ws_bus_poll_write,
    ngx_ws_bus_poll_timeout
};


/*
 * Each message begins with a comma, which is left out of the answer's first
 * one.
 */

static ngx_int_t
ngx_ws_bus_poll_encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    u_char                 *p;
    ngx_ws_bus_envelope_t   e;

    if (rec->type != NGX_WS_BUS_REC_MESSAGE) {
        return NGX_DONE;
    }

    if (ngx_ws_bus_v1_envelope(rec, payload, &e) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_ws_bus_run_reserve(run, ngx_ws_bus_message_history_item_size(&e),
                               ngx_cycle->log);

    if (p) {
        run->len = ngx_ws_bus_message_history_item(p, &e, 0) - run->data;
    }

    ngx_ws_bus_format_shrink();

    return p ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_poll_open(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;

    if (!stream->resume.resume && !stream->resume.newest) {

        /* nothing was asked for that could be missing */

        stream->resume.recovered = 1;
    }

    stream->gathering = 1;

    return ngx_ws_bus_poll_gather(s);
}


/*
 * What is to be replayed is gathered first, as much as an answer has room
 * for.  Then it is answered, or the poll waits for more.
 */

static ngx_int_t
ngx_ws_bus_poll_gather(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;

    if (s->replay && s->queued < NGX_WS_BUS_POLL_SIZE && !s->close_sent) {
        ngx_ws_bus_replay_next(s);
    }

    if (s->replay && s->queued < NGX_WS_BUS_POLL_SIZE && !s->close_sent) {
        ngx_ws_bus_replay_next(s);
        return NGX_DONE;
    }

    stream->gathering = 0;
    stream->more = (s->replay != NULL);

    if (s->out || s->close_sent || stream->wait == 0
        || !stream->resume.recovered)
    {
        return ngx_ws_bus_poll_answer(s);
    }

    stream->next = ngx_current_msec + stream->wait;

    if (stream->held) {
        ngx_ws_bus_session_set_timer(s);
    }

    return NGX_DONE;
}


static void
ngx_ws_bus_poll_deliver(ngx_ws_bus_session_t *s, ngx_ws_bus_run_t *run,
    ngx_uint_t first)
{
    size_t      size;
    ngx_uint_t  last;

    size = s->queued;

    for (last = first;
         last < run->n && size < NGX_WS_BUS_POLL_SIZE;
         last++)
    {
        size += run->marks[last].end - ngx_ws_bus_run_start(run, last);
    }

    if (last > first) {
        ngx_ws_bus_session_queue(&s->sub, run, first, last);
    }

    for ( /* void */ ; last < run->n; last++) {

        if (run->marks[last].seq) {
            s->stream->more = 1;
            continue;
        }

        /* the next poll cannot have it */

        s->dropped++;
        s->stats->dropped[NGX_WS_BUS_DROPPED_SLOW]++;
    }

    ngx_ws_bus_poll_due(s);
}


static void
ngx_ws_bus_poll_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to)
{
    s->stream->lost = to;
    s->stream->resume.recovered = 0;

    if (s->stream->held) {
        ngx_ws_bus_poll_due(s);
    }
}


static void
ngx_ws_bus_poll_timeout(ngx_ws_bus_session_t *s)
{
    s->stream->next = 0;

    ngx_ws_bus_poll_due(s);
}


/*
 * What the rest of this turn brings goes with it.
 */

static void
ngx_ws_bus_poll_due(ngx_ws_bus_session_t *s)
{
    s->stream->due = 1;

    ngx_post_event(s->connection->write, &ngx_posted_events);
}


static ngx_int_t
ngx_ws_bus_poll_write(ngx_ws_bus_session_t *s)
{
    if (s->stream->gathering) {
        return ngx_ws_bus_poll_gather(s);
    }

    return (s->stream->due || s->close_sent) ? ngx_ws_bus_poll_answer(s)
                                             : NGX_DONE;
}


static ngx_int_t
ngx_ws_bus_poll_answer(ngx_ws_bus_session_t *s)
{
    off_t                 size;
    ngx_int_t             rc;
    ngx_chain_t          *out;
    ngx_http_request_t   *r;
    ngx_ws_bus_stream_t  *stream;

    r = s->request;
    stream = s->stream;

    if (s->close_code == NGX_WS_BUS_CLOSE_INTERNAL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_ws_bus_poll_position(s);
    ngx_ws_bus_stream_leave(s);

    if (s->out == NULL && stream->resume.recovered) {
        r->headers_out.status = NGX_HTTP_NO_CONTENT;

        return ngx_ws_bus_stream_header(s);
    }

    out = ngx_ws_bus_poll_body(s, &size);
    if (out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = size;

    ngx_ws_bus_content_type(r, "application/json");

    rc = ngx_ws_bus_stream_header(s);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out);
}


/*
 * From where the client goes on.
 */

static void
ngx_ws_bus_poll_position(ngx_ws_bus_session_t *s)
{
    uint64_t              seq;
    ngx_uint_t            i;
    ngx_ws_bus_out_t     *out;
    ngx_ws_bus_view_t     view;
    ngx_ws_bus_resume_t  *resume;
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;
    resume = &stream->resume;

    if (s->close_code == NGX_WS_BUS_CLOSE_DELETED
        || s->close_code == NGX_WS_BUS_CLOSE_TRY_LATER)
    {
        ngx_ws_bus_channel_view(s->hub->zone, s->sub.group->channel->node,
                                &view);
        stream->epoch = view.epoch;
        resume->seq = view.seq;
        resume->recovered = 0;
        return;
    }

    resume->seq = ngx_max(resume->seq, stream->lost);

    for (out = s->out; out; out = out->next) {

        for (i = ngx_ws_bus_run_at(out->run, out->pos);
             i < out->run->n && out->run->marks[i].end <= out->last;
             i++)
        {
            seq = out->run->marks[i].seq;
            resume->seq = ngx_max(resume->seq, seq);
        }
    }
}


static ngx_chain_t *
ngx_ws_bus_poll_body(ngx_ws_bus_session_t *s, off_t *size)
{
    size_t                skip;
    ngx_buf_t            *b;
    ngx_pool_t           *pool;
    ngx_chain_t          *cl, *head, **ll;
    ngx_ws_bus_out_t     *out;
    ngx_ws_bus_stream_t  *stream;

    stream = s->stream;
    pool = s->request->pool;

    b = ngx_create_temp_buf(pool, sizeof(NGX_WS_BUS_POLL_HEAD)
                                  + 2 * NGX_INT64_LEN);
    cl = ngx_alloc_chain_link(pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->last = ngx_sprintf(b->last, NGX_WS_BUS_POLL_HEAD, stream->epoch,
                          stream->resume.seq,
                          stream->resume.recovered ? "true" : "false");

    *size = b->last - b->pos;

    cl->buf = b;
    head = cl;
    ll = &cl->next;

    skip = 1;

    for (out = s->out; out; out = out->next) {

        b = ngx_calloc_buf(pool);
        cl = ngx_alloc_chain_link(pool);

        if (b == NULL || cl == NULL) {
            return NULL;
        }

        b->memory = 1;
        b->pos = out->run->data + out->pos + skip;
        b->last = out->run->data + out->last;

        *size += b->last - b->pos;

        cl->buf = b;
        *ll = cl;
        ll = &cl->next;

        skip = 0;
    }

    b = ngx_create_temp_buf(pool, NGX_WS_BUS_MESSAGE_MAX + 1);
    cl = ngx_alloc_chain_link(pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->last = ngx_ws_bus_message_history_end(b->last, stream->more);
    *b->last++ = LF;

    b->last_buf = 1;
    b->last_in_chain = 1;

    *size += b->last - b->pos;

    cl->buf = b;
    cl->next = NULL;
    *ll = cl;

    return head;
}
