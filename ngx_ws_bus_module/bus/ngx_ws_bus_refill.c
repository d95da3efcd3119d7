
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_remote.h"


/*
 * What is missing, and what is read again: a lapped worker, losses, another
 * order of the channel, and records for who catches up.
 */


/* what one turn of the event loop does at the most */
#define NGX_WS_BUS_REFILL_READ  1024           /* records */


#define ngx_ws_bus_hub_owner(sub)                                             \
    (((ngx_ws_bus_owner_t *) (sub)->owner)->handlers)


static void ngx_ws_bus_hub_refill(ngx_ws_bus_channel_t *ch);
static ngx_uint_t ngx_ws_bus_hub_refill_epoch(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_view_t *view);
static void ngx_ws_bus_hub_follow(ngx_ws_bus_channel_t *ch, uint64_t pos,
    uint64_t epoch);
static void ngx_ws_bus_hub_reset(ngx_ws_bus_channel_t *ch, uint64_t pos,
    uint64_t epoch, uint64_t seq);


void
ngx_ws_bus_hub_deleted(ngx_ws_bus_channel_t *ch, uint64_t pos, uint64_t epoch)
{
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_group_t  *group;

    ch->epoch = epoch;
    ch->seq = 0;

    for (group = &ch->group; group; group = group->next) {

        ngx_ws_bus_hub_settle(group);

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            if (sub->from <= pos) {
                sub->seq = 0;
                ngx_ws_bus_hub_owner(sub)->deleted(sub);
            }
        }
    }
}


/*
 * The log has gone past this worker's cursor.  What has a history is refilled
 * from there, so far as it still is there.
 */

void
ngx_ws_bus_hub_overrun(ngx_ws_bus_hub_t *hub)
{
    ngx_uint_t             i;
    ngx_ws_bus_channel_t  *ch;

    hub->slot->stats.overruns++;

    ngx_log_error(NGX_LOG_WARN, hub->log, 0,
                  "ws_bus_zone \"%V\": this worker was lapped by the log and "
                  "lost messages, a larger zone is needed", &hub->zone->name);

    hub->cursor = ngx_ws_bus_log_head(&hub->zone->sh->log);

    if (hub->revoked) {
        hub->revoked(hub, NULL);
    }

    for (i = 0; i <= hub->mask; i++) {
        for (ch = hub->channels[i]; ch; ch = ch->next) {
            ngx_ws_bus_hub_refill(ch);
        }
    }
}


static void
ngx_ws_bus_hub_refill(ngx_ws_bus_channel_t *ch)
{
    u_char                *payload;
    uint64_t               pos, to, last;
    ngx_uint_t             i, n;
    ngx_ws_bus_hub_t      *hub;
    ngx_ws_bus_view_t      view;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    hub = ch->hub;

    ngx_ws_bus_channel_view(hub->zone, ch->node, &view);

    if (hub->zone->remote && view.live) {
        ngx_ws_bus_hub_ready(ch, hub->cursor - 1);
    }

    if (view.epoch != ch->epoch
        && !ngx_ws_bus_hub_refill_epoch(ch, &view))
    {
        ch->seq = view.seq;
        return;
    }

    if (view.seq == ch->seq) {
        return;
    }

    if (ngx_ws_bus_channel_history(hub->zone, &view, ch->seq, (ngx_uint_t) -1,
                                   0, (ngx_uint_t) -1, &h, hub->log)
        != NGX_OK)
    {
        ngx_ws_bus_hub_lost(ch, view.seq, view.last);
        ch->seq = view.seq;
        return;
    }

    /* what is at the cursor and after it will be read from there */

    n = h.n;
    to = view.seq;
    last = view.last;

    while (n && h.pos[n - 1] >= hub->cursor) {
        n--;
        to--;
        last = n ? h.pos[n - 1] : h.pos[0] - 1;
    }

    if (n == 0) {

        if (to > ch->seq) {
            ngx_ws_bus_hub_lost(ch, to, last);
        }

    } else {

        if (h.first > ch->seq + 1) {
            pos = h.pos[0];

            if (ngx_ws_bus_log_read(&hub->zone->sh->log, &pos, pos + 1, &rec,
                                    &payload)
                != NGX_OK)
            {
                rec.prev = pos;
            }

            ngx_ws_bus_hub_lost(ch, h.first - 1, rec.prev);
            ch->seq = h.first - 1;
        }

        for (i = 0; i < n; i++) {
            pos = h.pos[i];

            if (ngx_ws_bus_log_read(&hub->zone->sh->log, &pos, pos + 1, &rec,
                                    &payload)
                != NGX_OK
                || ngx_ws_bus_hub_accept(ch, &rec, payload) != NGX_OK)
            {
                ngx_ws_bus_hub_lost(ch, to, last);
                break;
            }
        }
    }

    ch->seq = to;

    if (h.pos) {
        ngx_free(h.pos);
    }
}


/*
 * The epoch has changed, and the record of that was among what was lost.
 * Returns 1 if the numbers go on.
 */

static ngx_uint_t
ngx_ws_bus_hub_refill_epoch(ngx_ws_bus_channel_t *ch, ngx_ws_bus_view_t *view)
{
    uint64_t  pos;

    pos = ch->hub->cursor - 1;

    if (ch->hub->zone->remote == NULL || view->epoch == 0) {
        ngx_ws_bus_hub_deleted(ch, pos, view->epoch);
        return 0;
    }

    if (view->prev == ch->epoch && ch->seq <= view->base) {
        ngx_ws_bus_hub_follow(ch, pos, view->epoch);
        return 1;
    }

    ngx_ws_bus_hub_reset(ch, pos, view->epoch, view->seq);

    return 0;
}


/*
 * The kept messages after the last one read, up to "seq" at "pos", are lost
 * to this worker.
 */

void
ngx_ws_bus_hub_lost(ngx_ws_bus_channel_t *ch, uint64_t seq, uint64_t pos)
{
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {

        ngx_ws_bus_hub_settle(group);

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            if (sub->from < NGX_WS_BUS_SUB_WAITS
                && sub->from <= pos && sub->seq < seq)
            {
                ch->hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST]++;
                ngx_ws_bus_hub_owner(sub)->lost(sub,
                                        ngx_max(ch->seq, sub->seq) + 1, seq);
            }
        }
    }
}


ngx_int_t
ngx_ws_bus_hub_moved(ngx_ws_bus_channel_t *ch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    ngx_ws_bus_remote_record_t  rr;

    ngx_memcpy(&rr, payload, sizeof(ngx_ws_bus_remote_record_t));

    if (!ngx_ws_bus_log_intact(&ch->hub->zone->sh->log, rec->pos)) {
        return NGX_DECLINED;
    }

    switch (rec->type) {

    case NGX_WS_BUS_REC_LOST:
        ngx_ws_bus_hub_lost(ch, rr.seq, rec->pos);
        ch->seq = rr.seq;
        break;

    case NGX_WS_BUS_REC_RESET:

        if (rr.follows) {
            ngx_ws_bus_hub_follow(ch, rec->pos, rr.epoch);
            break;
        }

        ngx_ws_bus_hub_reset(ch, rec->pos, rr.epoch, rr.seq);
        break;

    case NGX_WS_BUS_REC_LIVE:
        ngx_ws_bus_hub_ready(ch, rec->pos);
        break;

    default:
        break;
    }

    return NGX_OK;
}


/*
 * The numbers go on, in another epoch: a position is told by its name.
 */

static void
ngx_ws_bus_hub_follow(ngx_ws_bus_channel_t *ch, uint64_t pos, uint64_t epoch)
{
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {
        ngx_ws_bus_hub_settle(group);
    }

    ch->epoch = epoch;

    for (group = &ch->group; group; group = group->next) {

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            if (sub->from < NGX_WS_BUS_SUB_WAITS && sub->from <= pos
                && ngx_ws_bus_hub_owner(sub)->moved)
            {
                ngx_ws_bus_hub_owner(sub)->moved(sub, epoch, ch->seq);
            }
        }
    }
}


/*
 * The channel has begun anew: what a subscriber knows of its order is void.
 */

static void
ngx_ws_bus_hub_reset(ngx_ws_bus_channel_t *ch, uint64_t pos, uint64_t epoch,
    uint64_t seq)
{
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {
        ngx_ws_bus_hub_settle(group);
    }

    ch->epoch = epoch;
    ch->seq = seq;

    for (group = &ch->group; group; group = group->next) {

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            if (sub->from < NGX_WS_BUS_SUB_WAITS && sub->from <= pos) {
                sub->seq = seq;

                ch->hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST]++;
                ngx_ws_bus_hub_owner(sub)->lost(sub, 0, seq);
            }
        }
    }
}


ngx_int_t
ngx_ws_bus_hub_encode_at(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_format_t *format, uint64_t epoch, uint64_t pos,
    ngx_ws_bus_run_t *run)
{
    u_char               *payload;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &ch->hub->zone->sh->log;

    if (ngx_ws_bus_log_read(log, &pos, pos + 1, &rec, &payload) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (format->encode(format, run, ch->node, epoch, &rec, payload)
        != NGX_OK)
    {
        ngx_ws_bus_run_undo(run);
        return NGX_ERROR;
    }

    if (!ngx_ws_bus_log_intact(log, pos)) {
        ngx_ws_bus_run_undo(run);
        return NGX_DECLINED;
    }

    return ngx_ws_bus_run_mark(run, pos, rec.seq, rec.time, rec.len,
                               ch->hub->log);
}


ngx_int_t
ngx_ws_bus_hub_encode_unkept(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_format_t *format, uint64_t *from, uint64_t to,
    ngx_ws_bus_run_t *run)
{
    u_char               *payload;
    uint64_t              tail;
    ngx_int_t             rc;
    ngx_uint_t            n;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &ch->hub->zone->sh->log;

    tail = __atomic_load_n(&log->tail, __ATOMIC_ACQUIRE);
    *from = ngx_max(*from, tail);

    for (n = 0; n < NGX_WS_BUS_REFILL_READ; n++) {

        rc = ngx_ws_bus_log_read(log, from, to, &rec, &payload);

        if (rc != NGX_OK) {

            /* what was overtaken just now is looked at again */

            return (rc == NGX_DONE) ? NGX_OK : NGX_AGAIN;
        }

        if (rec.channel == ch->id && rec.seq == 0
            && ngx_ws_bus_rec_is_told(&rec))
        {

            rc = format->encode(format, run, ch->node, ch->epoch, &rec,
                                payload);

            if (rc == NGX_OK && ngx_ws_bus_log_intact(log, *from)) {
                rc = ngx_ws_bus_run_mark(run, *from,
                                         rec.type == NGX_WS_BUS_REC_MESSAGE
                                         ? 0 : NGX_WS_BUS_RUN_EVENT,
                                         rec.time, rec.len, ch->hub->log);

            } else {
                ngx_ws_bus_run_undo(run);
            }

            if (rc == NGX_ERROR) {
                return NGX_ERROR;
            }
        }

        *from += rec.size;
    }

    return NGX_AGAIN;
}
