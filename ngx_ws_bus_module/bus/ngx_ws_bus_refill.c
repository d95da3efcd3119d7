
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


void
ngx_ws_bus_hub_deleted(ngx_ws_bus_channel_t *ch, uint64_t pos, uint64_t epoch)
{
    ngx_ws_bus_due_t  due;

    ngx_memzero(&due, sizeof(ngx_ws_bus_due_t));

    due.type = NGX_WS_BUS_DUE_DELETED;
    due.pos = pos;

    ch->epoch = epoch;
    ch->seq = 0;

    ngx_ws_bus_hub_owe(ch, &due);
}


/*
 * The kept messages after the last one read, up to "seq" at "pos", are lost
 * to this worker.
 */

void
ngx_ws_bus_hub_lost(ngx_ws_bus_channel_t *ch, uint64_t seq, uint64_t pos)
{
    ngx_ws_bus_due_t  due;

    ngx_memzero(&due, sizeof(ngx_ws_bus_due_t));

    due.type = NGX_WS_BUS_DUE_LOST;
    due.pos = pos;
    due.from = ch->seq + 1;
    due.seq = seq;

    ch->seq = seq;

    ngx_ws_bus_hub_owe(ch, &due);
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
    ngx_ws_bus_due_t  due;

    ngx_memzero(&due, sizeof(ngx_ws_bus_due_t));

    due.type = NGX_WS_BUS_DUE_MOVED;
    due.pos = pos;
    due.epoch = epoch;
    due.seq = ch->seq;

    ch->epoch = epoch;

    ngx_ws_bus_hub_owe(ch, &due);
}


/*
 * The channel has begun anew: what a subscriber knows of its order is void.
 */

void
ngx_ws_bus_hub_reset(ngx_ws_bus_channel_t *ch, uint64_t pos, uint64_t epoch,
    uint64_t seq)
{
    ngx_ws_bus_due_t  due;

    ngx_memzero(&due, sizeof(ngx_ws_bus_due_t));

    due.type = NGX_WS_BUS_DUE_RESET;
    due.pos = pos;
    due.seq = seq;

    ch->epoch = epoch;
    ch->seq = seq;

    ngx_ws_bus_hub_owe(ch, &due);
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
