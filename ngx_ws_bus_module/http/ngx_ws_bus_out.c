
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/* bytes of answers in a run, beyond which the next one begins */
#define NGX_WS_BUS_OUT_SHARED  16384

/* what a stretch counts for besides its bytes, which may be few */
#define NGX_WS_BUS_OUT_COST    128


/*
 * A channel that the session is not subscribed to any more, while something
 * of it waits: what is dropped of that is told, too.
 */

struct ngx_ws_bus_past_s {
    ngx_ws_bus_past_t  *next;
    ngx_ws_bus_node_t   node;      /* its name */
};


/*
 * Messages of a channel that were dropped, in their place in the queue.  What
 * tells of them is written when it is their turn: until then out.run is NULL.
 */

typedef struct {
    ngx_ws_bus_out_t   out;
    uint64_t           from;       /* 0: they had no numbers */
    uint64_t           to;
    uint64_t           count;
} ngx_ws_bus_gap_t;


static ngx_int_t ngx_ws_bus_out_queue(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node, ngx_ws_bus_run_t *run, size_t pos, size_t last);
static ngx_ws_bus_out_t *ngx_ws_bus_out_first(ngx_ws_bus_session_t *s);
static size_t ngx_ws_bus_out_being_written(ngx_ws_bus_session_t *s);
static size_t ngx_ws_bus_out_excess(ngx_ws_bus_session_t *s);
static ngx_ws_bus_out_t **ngx_ws_bus_out_waiting(ngx_ws_bus_session_t *s);
static ngx_ws_bus_out_t **ngx_ws_bus_out_cut(ngx_ws_bus_session_t *s,
    ngx_ws_bus_out_t *out, size_t end);
static ngx_uint_t ngx_ws_bus_out_stays(ngx_ws_bus_out_t *out);
static ngx_ws_bus_out_t **ngx_ws_bus_out_skip(ngx_ws_bus_session_t *s,
    ngx_ws_bus_out_t **prev);
static ngx_uint_t ngx_ws_bus_out_oldest(ngx_ws_bus_session_t *s);
static ngx_uint_t ngx_ws_bus_out_latest(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node);
static void ngx_ws_bus_out_drop_first(ngx_ws_bus_session_t *s,
    ngx_ws_bus_out_t **prev);
static ngx_ws_bus_gap_t *ngx_ws_bus_out_gap(ngx_ws_bus_session_t *s,
    ngx_ws_bus_out_t **prev, ngx_ws_bus_node_t *node);
static ngx_int_t ngx_ws_bus_out_tell(ngx_ws_bus_session_t *s,
    ngx_ws_bus_gap_t *gap);
static ngx_uint_t ngx_ws_bus_out_count(ngx_ws_bus_out_t *out);
static void ngx_ws_bus_out_broken(ngx_ws_bus_session_t *s);


void
ngx_ws_bus_out_add(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    ngx_ws_bus_run_t *run, size_t pos, size_t last)
{
    ssize_t       n;
    ngx_event_t  *wev;

    if (s->broken) {
        return;
    }

    wev = s->connection->write;

    if (node && s->conf->batch && s->started && s->replay == NULL
        && (s->out == NULL || s->batching))
    {
        /* gathered until the timer fires, or something is answered */

        if (ngx_ws_bus_out_queue(s, node, run, pos, last) != NGX_OK) {
            goto broken;
        }

        if (!s->batching) {
            s->batching = 1;
            ngx_add_timer(wev, s->conf->batch);
        }

        return;
    }

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

    if (ngx_ws_bus_out_queue(s, node, run, pos, last) != NGX_OK) {
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

    ngx_ws_bus_out_broken(s);
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

    if (out && out->run && out->run->n == 0 && out->run->refs == 1
        && out->last == out->run->len && s->trying == 0
        && out->last < NGX_WS_BUS_OUT_SHARED)
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
            || ngx_ws_bus_out_queue(s, NULL, run, 0, run->len) != NGX_OK)
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

    if (ngx_ws_bus_out_limit(s, NULL) != NGX_OK) {
        ngx_ws_bus_session_slow(s);
    }

    return;

broken:

    ngx_ws_bus_out_broken(s);
}


void
ngx_ws_bus_out_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to)
{
    ngx_ws_bus_gap_t  *gap;

    if (s->broken || s->close_sent) {
        return;
    }

    gap = ngx_ws_bus_out_gap(s, s->last_out, node);
    if (gap == NULL) {
        return;
    }

    gap->from = gap->from ? gap->from : from;
    gap->to = to;
    gap->count += to - from + 1;

    if (s->started && s->connection->write->ready) {
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }
}


static ngx_int_t
ngx_ws_bus_out_queue(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    ngx_ws_bus_run_t *run, size_t pos, size_t last)
{
    ngx_ws_bus_out_t  *out;

    out = ngx_alloc(sizeof(ngx_ws_bus_out_t), s->connection->log);
    if (out == NULL) {
        return NGX_ERROR;
    }

    out->next = NULL;
    out->run = run;
    out->node = node;
    out->pos = pos;
    out->last = last;

    run->refs++;

    *s->last_out = out;
    s->last_out = &out->next;
    s->queued += last - pos;
    s->stretches++;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_out_flush(ngx_ws_bus_session_t *s)
{
    ssize_t            n;
    ngx_event_t       *wev;
    ngx_ws_bus_out_t  *out;

    wev = s->connection->write;

    if (s->batching) {
        s->batching = 0;

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }
    }

    while (s->out && wev->ready) {

        out = s->out;

        if (out->run == NULL
            && ngx_ws_bus_out_tell(s, (ngx_ws_bus_gap_t *) out) != NGX_OK)
        {
            s->broken = 1;
            return NGX_ERROR;
        }

        n = ngx_ws_bus_out_write(s);

        if (n == NGX_ERROR) {
            s->broken = 1;
            return NGX_ERROR;
        }

        if (n == NGX_AGAIN) {
            break;
        }

        ngx_ws_bus_out_sent(s, n);
    }

    /* a level-triggered event is not wanted when there is nothing to write */

    if ((s->out == NULL || !wev->active)
        && ngx_handle_write_event(wev, 0) != NGX_OK)
    {
        s->broken = 1;
        return NGX_ERROR;
    }

    return s->out ? NGX_AGAIN : NGX_OK;
}


void
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
    ngx_uint_t          n;
    ngx_ws_bus_out_t  **prev;

    if (s->out == NULL) {
        return 0;
    }

    n = 0;
    prev = ngx_ws_bus_out_waiting(s);

    while (prev && *prev) {

        if ((*prev)->run == NULL || (*prev)->run->n == 0) {
            prev = &(*prev)->next;
            continue;
        }

        /* the client is told by the Close frame */

        (*prev)->node = NULL;

        ngx_ws_bus_out_drop_first(s, prev);
        n++;
    }

    return n;
}


ngx_int_t
ngx_ws_bus_out_limit(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node)
{
    ngx_uint_t  n;

    if (s->out == NULL || s->queued == ngx_ws_bus_out_being_written(s)) {
        return NGX_OK;
    }

    if (node && s->conf->buffer_policy == NGX_WS_BUS_BUFFER_LATEST) {
        n = ngx_ws_bus_out_latest(s, node);

        s->dropped += n;
        s->stats->dropped[NGX_WS_BUS_DROPPED_CONFLATED] += n;
    }

    if (s->batching && ngx_ws_bus_out_excess(s) > s->conf->buffer) {

        /* the batch is full: whoever reads is not slow */

        if (ngx_ws_bus_out_flush(s) == NGX_ERROR) {
            ngx_post_event(s->connection->read, &ngx_posted_events);
            return NGX_OK;
        }

        if (s->out == NULL) {
            return NGX_OK;
        }
    }

    if (s->conf->buffer_policy == NGX_WS_BUS_BUFFER_OLDEST) {
        n = ngx_ws_bus_out_oldest(s);

        s->dropped += n;
        s->stats->dropped[NGX_WS_BUS_DROPPED_SLOW] += n;
    }

    return (ngx_ws_bus_out_excess(s) > s->conf->buffer) ? NGX_DECLINED
                                                        : NGX_OK;
}


void
ngx_ws_bus_out_forget(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_out_t   *out;
    ngx_ws_bus_past_t  *past;

    past = NULL;

    for (out = s->out; out; out = out->next) {

        if (out->node != node) {
            continue;
        }

        out->node = NULL;

        if (s->protocol->gap == NULL || s->broken) {
            continue;
        }

        if (past == NULL) {
            past = ngx_calloc(sizeof(ngx_ws_bus_past_t) + node->len,
                              s->connection->log);

            if (past == NULL) {
                ngx_ws_bus_out_broken(s);
                continue;
            }

            past->node.len = node->len;
            past->node.room = node->len;
            ngx_ws_bus_name_copy(past->node.name, node->name, node->room,
                                 node->len);

            past->next = s->past;
            s->past = past;
        }

        out->node = &past->node;
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
 * The first stretch that is not a gap yet to be told, or NULL.
 */

static ngx_ws_bus_out_t *
ngx_ws_bus_out_first(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_out_t  *out;

    for (out = s->out; out && out->run == NULL; out = out->next) {
        /* void */
    }

    return out;
}


/*
 * How many bytes at the front of the queue belong to the message that is
 * being written, or must stay for TLS.  The first message is taken to be, so
 * that a single one may be larger than the buffer, but for a batch that is
 * still gathered.
 */

static size_t
ngx_ws_bus_out_being_written(ngx_ws_bus_session_t *s)
{
    size_t             end;
    ngx_ws_bus_run_t  *run;
    ngx_ws_bus_out_t  *out;

    out = ngx_ws_bus_out_first(s);

    if (s->batching || out == NULL) {
        return 0;
    }

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
 * What waits behind that, as ws_bus_buffer counts it: a stretch takes memory
 * even if a byte is all that it has.
 */

static size_t
ngx_ws_bus_out_excess(ngx_ws_bus_session_t *s)
{
    size_t  excess;

    excess = s->queued - ngx_ws_bus_out_being_written(s);

    return s->stretches ? excess + (s->stretches - 1) * NGX_WS_BUS_OUT_COST
                        : excess;
}


/*
 * Where what waits begins; what is being written is made a stretch of its
 * own.  NULL without memory for that.
 */

static ngx_ws_bus_out_t **
ngx_ws_bus_out_waiting(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_out_t  *out;

    out = ngx_ws_bus_out_first(s);

    if (s->batching || out == NULL) {
        return &s->out;
    }

    return ngx_ws_bus_out_cut(s, out,
                              out->pos + ngx_ws_bus_out_being_written(s));
}


static ngx_ws_bus_out_t **
ngx_ws_bus_out_cut(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t *out, size_t end)
{
    ngx_ws_bus_out_t  *rest;

    if (end == out->last) {
        return &out->next;
    }

    rest = ngx_alloc(sizeof(ngx_ws_bus_out_t), s->connection->log);
    if (rest == NULL) {
        return NULL;
    }

    *rest = *out;
    rest->pos = end;

    out->run->refs++;
    out->next = rest;
    out->last = end;
    s->stretches++;

    if (s->last_out == &out->next) {
        s->last_out = &rest->next;
    }

    return &out->next;
}


/*
 * Drops waiting messages from the front until the rest fits.  Control frames
 * and answers stay.
 */

static ngx_uint_t
ngx_ws_bus_out_oldest(ngx_ws_bus_session_t *s)
{
    ngx_uint_t          n;
    ngx_ws_bus_out_t  **prev;

    if (ngx_ws_bus_out_excess(s) <= s->conf->buffer) {
        return 0;
    }

    n = 0;
    prev = ngx_ws_bus_out_waiting(s);

    while (prev && *prev && ngx_ws_bus_out_excess(s) > s->conf->buffer) {

        if (ngx_ws_bus_out_stays(*prev)) {
            prev = ngx_ws_bus_out_skip(s, prev);
            continue;
        }

        ngx_ws_bus_out_drop_first(s, prev);
        n++;
    }

    return n;
}


/*
 * 1 if the first thing of the stretch is no message: a control frame, an
 * answer, an event, or a gap.
 */

static ngx_uint_t
ngx_ws_bus_out_stays(ngx_ws_bus_out_t *out)
{
    ngx_ws_bus_run_t  *run;

    run = out->run;

    return run == NULL || run->n == 0
           || run->marks[ngx_ws_bus_run_at(run, out->pos)].seq
              == NGX_WS_BUS_RUN_EVENT;
}


/*
 * Makes the first thing of a stretch a stretch of its own, and returns where
 * the next one is linked; NULL without memory.
 */

static ngx_ws_bus_out_t **
ngx_ws_bus_out_skip(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev)
{
    size_t             end;
    ngx_ws_bus_out_t  *out;

    out = *prev;

    if (out->run == NULL || out->run->n == 0) {
        return &out->next;
    }

    end = out->run->marks[ngx_ws_bus_run_at(out->run, out->pos)].end;

    return ngx_ws_bus_out_cut(s, out, end);
}


/*
 * Drops all waiting messages of the channel but the newest.
 */

static ngx_uint_t
ngx_ws_bus_out_latest(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node)
{
    ngx_uint_t          i, n, left;
    ngx_ws_bus_out_t   *out, **prev;

    prev = ngx_ws_bus_out_waiting(s);

    if (prev == NULL) {
        return 0;
    }

    left = 0;

    for (out = *prev; out; out = out->next) {

        if (out->node != node || out->run == NULL) {
            continue;
        }

        for (i = ngx_ws_bus_run_at(out->run, out->pos);
             i < out->run->n && out->run->marks[i].end <= out->last;
             i++)
        {
            left += (out->run->marks[i].seq != NGX_WS_BUS_RUN_EVENT);
        }
    }

    for (n = 0; left > 1; /* void */ ) {

        if ((*prev)->node != node) {
            prev = &(*prev)->next;
            continue;
        }

        if (ngx_ws_bus_out_stays(*prev)) {
            prev = ngx_ws_bus_out_skip(s, prev);

            if (prev == NULL) {
                break;
            }

            continue;
        }

        ngx_ws_bus_out_drop_first(s, prev);
        left--;
        n++;
    }

    return n;
}


/*
 * Drops the first message of a stretch that waits.
 */

static void
ngx_ws_bus_out_drop_first(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev)
{
    ngx_ws_bus_gap_t   *gap;
    ngx_ws_bus_out_t   *out;
    ngx_ws_bus_mark_t  *mark;

    out = *prev;
    mark = &out->run->marks[ngx_ws_bus_run_at(out->run, out->pos)];

    if (out->node && s->protocol->gap) {

        gap = ngx_ws_bus_out_gap(s, prev, out->node);

        if (gap) {

            if (mark->seq) {
                gap->from = gap->from ? gap->from : mark->seq;
                gap->to = mark->seq;
            }

            gap->count++;

            if (*prev != out) {
                prev = &gap->out.next;
            }
        }
    }

    s->queued -= mark->end - out->pos;
    out->pos = mark->end;

    if (out->pos == out->last) {
        ngx_ws_bus_out_unlink(s, prev);
    }
}


/*
 * The gap that waits in front of *prev with nothing else of its channel
 * between, or a new one there.  NULL without memory: silence is no answer to
 * loss, the session ends.
 */

static ngx_ws_bus_gap_t *
ngx_ws_bus_out_gap(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev,
    ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_gap_t  *gap;
    ngx_ws_bus_out_t  *out;

    gap = NULL;

    for (out = s->out; out != *prev; out = out->next) {
        if (out->node == node) {
            gap = out->run ? NULL : (ngx_ws_bus_gap_t *) out;
        }
    }

    if (gap) {
        return gap;
    }

    gap = ngx_calloc(sizeof(ngx_ws_bus_gap_t), s->connection->log);
    if (gap == NULL) {
        ngx_ws_bus_out_broken(s);
        return NULL;
    }

    gap->out.node = node;
    gap->out.next = *prev;

    if (s->last_out == prev) {
        s->last_out = &gap->out.next;
    }

    *prev = &gap->out;

    return gap;
}


/*
 * Writes what tells of a gap: nothing can be added to it any more.
 */

static ngx_int_t
ngx_ws_bus_out_tell(ngx_ws_bus_session_t *s, ngx_ws_bus_gap_t *gap)
{
    u_char             buf[NGX_WS_BUS_GAP_MAX], *last;
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_create(s->connection->log);
    if (run == NULL) {
        return NGX_ERROR;
    }

    last = s->protocol->gap(buf, gap->out.node, gap->from, gap->to,
                            gap->count);

    if (ngx_ws_bus_format_frame(run, NGX_WS_BUS_OP_TEXT, buf, last - buf)
        != NGX_OK)
    {
        ngx_ws_bus_run_release(run);
        return NGX_ERROR;
    }

    gap->out.run = run;
    gap->out.node = NULL;
    gap->out.last = run->len;

    s->queued += run->len;
    s->stretches++;

    return NGX_OK;
}


/*
 * Whoever called may hold this session in a list: it is ended later.
 */

static void
ngx_ws_bus_out_broken(ngx_ws_bus_session_t *s)
{
    s->broken = 1;
    ngx_post_event(s->connection->read, &ngx_posted_events);
}


static ngx_uint_t
ngx_ws_bus_out_count(ngx_ws_bus_out_t *out)
{
    if (out->run == NULL || out->run->n == 0) {
        return 0;
    }

    return ngx_ws_bus_run_at(out->run, out->last - 1)
           - ngx_ws_bus_run_at(out->run, out->pos) + 1;
}


void
ngx_ws_bus_out_unlink(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev)
{
    ngx_ws_bus_out_t   *out;
    ngx_ws_bus_past_t  *past;

    out = *prev;

    if (out->run && out->run->n == 0) {
        s->pong_queued = 0;
    }

    *prev = out->next;

    if (s->last_out == &out->next) {
        s->last_out = prev;
    }

    if (out->run) {
        ngx_ws_bus_run_release(out->run);
        s->stretches--;
    }

    ngx_free(out);

    while (s->past && s->out == NULL) {
        past = s->past;
        s->past = past->next;
        ngx_free(past);
    }
}
