
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_query.h"


/* a stretch: of one session, before the next one's */
#define NGX_WS_BUS_REPLAY       (64 * 1024)
#define NGX_WS_BUS_REPLAY_N     256

/* time for the stretches of all in one turn of the event loop, microseconds */
#define NGX_WS_BUS_REPLAY_TIME  1000

/* what a stretch costs besides, in bytes */
#define NGX_WS_BUS_REPLAY_COST  4096

/* looked for at a time */
#define NGX_WS_BUS_REPLAY_FIND  1024


/*
 * A subscription that catches up from the log.  It is on the hub's list, but
 * its sub->from is beyond everything.
 */

struct ngx_ws_bus_replay_s {
    ngx_ws_bus_replay_t  *next;
    ngx_ws_bus_sub_t     *sub;
    ngx_ws_bus_session_t *session;
    ngx_queue_t           queue;     /* of those whose turn is to come */
    ngx_uint_t            queued;    /* unsigned  queued:1; */
    ngx_ws_bus_history_t  h;
    ngx_uint_t            i;
    uint64_t              epoch;
    uint64_t              seq;       /* the last one sent */
    uint64_t              head;      /* what is not kept follows from here */
};


static ngx_int_t ngx_ws_bus_replay_start(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub, ngx_ws_bus_view_t *view, uint64_t seq);
static void ngx_ws_bus_replay_wait(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_replay_handler(ngx_event_t *ev);
static void ngx_ws_bus_replay_stretch(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_replay_more(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_replay_epoch(ngx_ws_bus_session_t *s,
    ngx_ws_bus_view_t *view);
static ngx_int_t ngx_ws_bus_replay_live(ngx_ws_bus_session_t *s,
    ngx_ws_bus_view_t *view);
static void ngx_ws_bus_replay_send(ngx_ws_bus_session_t *s,
    ngx_ws_bus_run_t *run);


/*
 * The worker's sessions that replay take turns, whoever has asked first, and
 * share the time of a turn of the event loop.
 */

static ngx_queue_t            ngx_ws_bus_replays;
static ngx_event_t            ngx_ws_bus_replay_event;
static ngx_connection_t       ngx_ws_bus_replay_dumb;
static ngx_ws_bus_slice_t     ngx_ws_bus_replay_slice;
static ngx_ws_bus_session_t  *ngx_ws_bus_replay_whose;


ngx_int_t
ngx_ws_bus_resume_args(ngx_http_request_t *r, ngx_ws_bus_resume_t *resume)
{
    ngx_int_t           rc;
    ngx_ws_bus_query_t  q;

    rc = ngx_ws_bus_query_position(&r->args, &q);

    ngx_memzero(resume, sizeof(ngx_ws_bus_resume_t));

    resume->last = q.last;
    resume->last_seq = q.last_seq;
    resume->epoch = q.epoch;
    resume->newest = q.has_last;
    resume->resume = q.has_last_seq;
    resume->known = q.has_epoch;

    return rc;
}


ngx_int_t
ngx_ws_bus_resume(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view)
{
    uint64_t    after, age, first;
    ngx_uint_t  count;

    resume->seq = view->seq;

    count = s->conf->history;
    age = (uint64_t) s->conf->history_age * 1000000;

    if (resume->resume) {

        if (!resume->known || resume->last_seq > view->seq) {
            return NGX_OK;
        }

        if (resume->epoch != view->epoch
            && (s->hub->zone->remote == NULL
                || !ngx_ws_bus_chain_holds(&view->chain, resume->epoch,
                                           resume->last_seq)))
        {
            return NGX_OK;
        }

        after = resume->last_seq;

    } else if (resume->newest) {

        after = 0;
        count = ngx_min(count, resume->last);

    } else {
        return NGX_OK;
    }

    first = ngx_ws_bus_channel_oldest(s->hub->zone, view, after, count, age);

    if (resume->resume && first != after + 1) {

        /* not all of it can be had: the stream starts live */

        return NGX_OK;
    }

    resume->recovered = 1;
    resume->seq = first - 1;

    return ngx_ws_bus_replay_start(s, sub, view, first - 1);
}


ngx_int_t
ngx_ws_bus_resume_refresh(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view)
{
    if (s->hub->zone->remote == NULL
        || !resume->resume
        || !resume->known
        || (resume->epoch == view->epoch && resume->last_seq <= view->seq)
        || ngx_ws_bus_chain_holds(&view->chain, resume->epoch,
                                  resume->last_seq))
    {
        return NGX_OK;
    }

    return ngx_ws_bus_hub_refresh(sub);
}


ngx_int_t
ngx_ws_bus_resume_headers(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, uint64_t epoch)
{
    u_char              *p;
    ngx_str_t            value;
    ngx_http_request_t  *r;

    r = s->request;

    if (!s->conf->history && !resume->resume && !resume->newest) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN + 16);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    p = ngx_sprintf(p, "%uL", resume->seq);
    value.len = p - value.data;

    if (ngx_ws_bus_add_header(r, "Ws-Bus-Seq", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    value.data = p;
    p = ngx_sprintf(p, "%016xL", epoch);
    value.len = p - value.data;

    if (ngx_ws_bus_add_header(r, "Ws-Bus-Epoch", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!resume->resume && !resume->newest) {
        return NGX_OK;
    }

    if (resume->recovered) {
        ngx_str_set(&value, "yes");

    } else {
        ngx_str_set(&value, "no");
    }

    return ngx_ws_bus_add_header(r, "Ws-Bus-Recovered", &value);
}


/*
 * What follows "seq" is looked for in turns of its own: a client may ask for
 * many channels at once.
 */

static ngx_int_t
ngx_ws_bus_replay_start(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_view_t *view, uint64_t seq)
{
    ngx_ws_bus_replay_t  *replay, **last;

    if (seq == view->seq) {
        return NGX_OK;
    }

    replay = ngx_calloc(sizeof(ngx_ws_bus_replay_t), s->connection->log);
    if (replay == NULL) {
        return NGX_ERROR;
    }

    replay->sub = sub;
    replay->epoch = view->epoch;
    replay->seq = seq;
    replay->head = view->head;

    sub->from = NGX_WS_BUS_LOG_NONE;

    for (last = &s->replay; *last; last = &(*last)->next) { /* void */ }

    *last = replay;

    return NGX_OK;
}


void
ngx_ws_bus_replay_next(ngx_ws_bus_session_t *s)
{
    if (ngx_ws_bus_replay_whose == s) {
        ngx_ws_bus_replay_whose = NULL;

        ngx_ws_bus_replay_stretch(s);

        if (s->out || s->close_sent) {
            return;
        }
    }

    if (s->replay) {
        ngx_ws_bus_replay_wait(s);
    }
}


static void
ngx_ws_bus_replay_wait(ngx_ws_bus_session_t *s)
{
    ngx_event_t          *ev;
    ngx_ws_bus_replay_t  *replay;

    replay = s->replay;
    ev = &ngx_ws_bus_replay_event;

    if (replay->queued) {
        return;
    }

    if (ev->handler == NULL) {
        ngx_ws_bus_replay_dumb.fd = (ngx_socket_t) -1;

        ev->handler = ngx_ws_bus_replay_handler;
        ev->data = &ngx_ws_bus_replay_dumb;
        ev->log = ngx_cycle->log;

        ngx_queue_init(&ngx_ws_bus_replays);
    }

    replay->session = s;
    replay->queued = 1;

    ngx_queue_insert_tail(&ngx_ws_bus_replays, &replay->queue);

    /* never twice in one turn */

    ngx_post_event(ev, &ngx_posted_next_events);
}


static void
ngx_ws_bus_replay_handler(ngx_event_t *ev)
{
    ngx_uint_t            n;
    ngx_queue_t          *q;
    ngx_event_t          *wev;
    ngx_ws_bus_slice_t   *slice;
    ngx_ws_bus_replay_t  *replay;

    slice = &ngx_ws_bus_replay_slice;

    slice->until = ngx_ws_bus_time() + NGX_WS_BUS_REPLAY_TIME;
    slice->work = 0;

    for (n = 0; !ngx_queue_empty(&ngx_ws_bus_replays); n++) {

        if (ngx_ws_bus_slice_over(slice)) {
            ngx_post_event(ev, &ngx_posted_next_events);
            break;
        }

        q = ngx_queue_head(&ngx_ws_bus_replays);
        replay = ngx_queue_data(q, ngx_ws_bus_replay_t, queue);

        ngx_queue_remove(q);
        replay->queued = 0;

        ngx_ws_bus_replay_whose = replay->session;

        /* the session may end there */

        wev = replay->session->connection->write;
        wev->handler(wev);

        slice->work += NGX_WS_BUS_REPLAY_COST;
    }

    ngx_ws_bus_replay_whose = NULL;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "ws bus replays: %ui stretches", n);
}


static void
ngx_ws_bus_replay_stretch(ngx_ws_bus_session_t *s)
{
    ngx_int_t             rc;
    ngx_uint_t            n;
    ngx_ws_bus_run_t     *run;
    ngx_ws_bus_slice_t   *slice;
    ngx_ws_bus_group_t   *group;
    ngx_ws_bus_replay_t  *replay;

    replay = s->replay;
    slice = &ngx_ws_bus_replay_slice;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, s->connection->log, 0,
                   "ws bus replay after %uL", replay->seq);

    if (replay->i == replay->h.n && ngx_ws_bus_replay_more(s) != NGX_OK) {
        return;
    }

    group = replay->sub->group;

    run = ngx_ws_bus_run_create(s->connection->log);
    if (run == NULL) {
        goto failed;
    }

    for (n = 0;
         n < NGX_WS_BUS_REPLAY_N
         && run->len < NGX_WS_BUS_REPLAY
         && replay->i < replay->h.n
         && (n == 0 || !ngx_ws_bus_slice_over(slice));
         n++)
    {
        rc = ngx_ws_bus_hub_encode_at(group->channel, group->format,
                                      replay->epoch,
                                      replay->h.pos[replay->i], run);

        if (rc == NGX_DECLINED) {

            /* overtaken while it was sending: look for what is left */

            replay->i = replay->h.n;
            break;
        }

        if (rc == NGX_ERROR) {
            ngx_ws_bus_run_release(run);
            goto failed;
        }

        replay->i++;
        replay->seq = run->marks[run->n - 1].seq;

        slice->work += sizeof(ngx_ws_bus_record_t)
                       + run->marks[run->n - 1].len;
    }

    ngx_ws_bus_replay_send(s, run);

    return;

failed:

    ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
}


/*
 * NGX_OK: there is more; NGX_AGAIN: it has to go on in another turn; NGX_DONE:
 * the subscription is live; NGX_ERROR: the session is closing.
 */

static ngx_int_t
ngx_ws_bus_replay_more(ngx_ws_bus_session_t *s)
{
    uint64_t               lost;
    ngx_ws_bus_view_t      view;
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_replay_t   *replay;

    replay = s->replay;
    node = replay->sub->group->channel->node;

    ngx_ws_bus_channel_view(s->hub->zone, node, &view);

    if (view.epoch != replay->epoch
        && ngx_ws_bus_replay_epoch(s, &view) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (view.seq == replay->seq) {
        return ngx_ws_bus_replay_live(s, &view);
    }

    if (replay->h.pos) {
        ngx_free(replay->h.pos);
        replay->h.pos = NULL;
    }

    replay->i = 0;
    replay->h.n = 0;

    if (ngx_ws_bus_channel_history(s->hub->zone, &view, replay->seq,
                                   (ngx_uint_t) -1, 0, NGX_WS_BUS_REPLAY_FIND,
                                   &replay->h, s->connection->log)
        != NGX_OK)
    {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return NGX_ERROR;
    }

    if (replay->h.first == replay->seq + 1) {
        return NGX_OK;
    }

    lost = replay->seq + 1;
    replay->seq = replay->h.first - 1;

    s->protocol->lost(s, node, lost, replay->seq);

    if (s->close_sent) {
        return NGX_ERROR;
    }

    if (replay->h.n) {
        return NGX_OK;
    }

    return ngx_ws_bus_replay_live(s, &view);
}


/*
 * The epoch has changed meanwhile.  NGX_OK: the replay goes on with it;
 * NGX_ERROR: the session is closing.
 */

static ngx_int_t
ngx_ws_bus_replay_epoch(ngx_ws_bus_session_t *s, ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_replay_t  *replay;

    replay = s->replay;

    if (s->hub->zone->remote == NULL || view->epoch == 0) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_DELETED,
                                 "channel deleted");
        return NGX_ERROR;
    }

    if (!ngx_ws_bus_chain_holds(&view->chain, replay->epoch, replay->seq)) {

        replay->seq = view->seq;

        if (s->stream) {
            ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER,
                                     "messages lost");

        } else {
            s->protocol->lost(s, replay->sub->group->channel->node, 0,
                              view->seq);
        }

    } else {
        s->owner.handlers->moved(replay->sub, view->epoch, replay->seq);
    }

    replay->epoch = view->epoch;

    return s->close_sent ? NGX_ERROR : NGX_OK;
}


/*
 * All that is kept has been sent: what is not, and came meanwhile, follows,
 * and the subscription is live.
 */

static ngx_int_t
ngx_ws_bus_replay_live(ngx_ws_bus_session_t *s, ngx_ws_bus_view_t *view)
{
    ngx_int_t             rc;
    ngx_ws_bus_run_t     *run;
    ngx_ws_bus_group_t   *group;
    ngx_ws_bus_replay_t  *replay;

    replay = s->replay;
    group = replay->sub->group;

    run = ngx_ws_bus_run_create(s->connection->log);

    rc = run ? ngx_ws_bus_hub_encode_unkept(group->channel, group->format,
                                            &replay->head, view->head, run)
             : NGX_ERROR;

    if (rc == NGX_ERROR) {

        if (run) {
            ngx_ws_bus_run_release(run);
        }

        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return NGX_ERROR;
    }

    ngx_ws_bus_replay_send(s, run);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    replay->sub->from = view->head;
    replay->sub->seq = view->seq;
    ngx_ws_bus_replay_end(s, replay->sub);

    return NGX_DONE;
}


/*
 * Sends the run and gives it up.
 */

static void
ngx_ws_bus_replay_send(ngx_ws_bus_session_t *s, ngx_ws_bus_run_t *run)
{
    s->messages_out += run->n;
    s->bytes_out += run->payload;
    s->stats->messages_out += run->n;
    s->stats->bytes_out += run->payload;

    if (run->n) {
        ngx_ws_bus_out_add(s, s->replay->sub->group->channel->node, run, 0,
                           run->len);
    }

    ngx_ws_bus_run_release(run);
}


void
ngx_ws_bus_replay_end(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_replay_t  *replay, **prev;

    prev = &s->replay;

    while (*prev) {
        replay = *prev;

        if (sub && replay->sub != sub) {
            prev = &replay->next;
            continue;
        }

        *prev = replay->next;

        if (replay->queued) {
            ngx_queue_remove(&replay->queue);
        }

        if (replay->h.pos) {
            ngx_free(replay->h.pos);
        }

        ngx_free(replay);
    }
}
