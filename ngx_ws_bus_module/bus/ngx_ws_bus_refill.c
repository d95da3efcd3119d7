
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_remote.h"


/*
 * What is missing, and what is read again: losses, another order of the
 * channel, and records for who catches up.
 */


/* what one turn of the event loop does at the most */
#define NGX_WS_BUS_REFILL_READ  1024           /* records */


#define ngx_ws_bus_hub_owner(sub)                                             \
    (((ngx_ws_bus_owner_t *) (sub)->owner)->handlers)


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

    ch->seq = seq;
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

void
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

void
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
