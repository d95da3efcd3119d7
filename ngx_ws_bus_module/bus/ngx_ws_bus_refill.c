
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"


/*
 * A worker that was lapped: what has a history is read from there, so far as
 * it still is there, channel by channel, before the log is read on.
 */


/* looked for at a time */
#define NGX_WS_BUS_REFILL_FIND   64

/* what it costs to look at a channel, in bytes */
#define NGX_WS_BUS_REFILL_LOOK   256


static ngx_int_t ngx_ws_bus_hub_refill_channel(ngx_ws_bus_channel_t *ch,
    size_t backlog);
static ngx_int_t ngx_ws_bus_hub_refill_found(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_view_t *view, ngx_ws_bus_history_t *h, size_t backlog);
static void ngx_ws_bus_hub_refill_epoch(ngx_ws_bus_channel_t *ch);


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

    /* at once: a deletion that is noticed later is still to be read */

    for (i = 0; i <= hub->mask; i++) {
        for (ch = hub->channels[i]; ch; ch = ch->next) {

            if (__atomic_load_n(&ch->node->epoch, __ATOMIC_RELAXED)
                != ch->epoch)
            {
                ngx_ws_bus_hub_refill_epoch(ch);
            }
        }
    }

    hub->refilling = 1;
    hub->refill = 0;
}


/*
 * The table may grow between two calls: what was in front of hub->refill is
 * looked at again then, or stays there, and what is done is done once.
 */

ngx_int_t
ngx_ws_bus_hub_refill(ngx_ws_bus_hub_t *hub, size_t backlog)
{
    ngx_int_t              rc;
    ngx_ws_bus_channel_t  *ch;

    while (hub->refill <= hub->mask) {

        for (ch = hub->channels[hub->refill]; ch; ch = ch->next) {

            hub->slice.work += NGX_WS_BUS_REFILL_LOOK;

            do {
                rc = ngx_ws_bus_hub_refill_channel(ch, backlog);

                if (rc == NGX_ERROR
                    || (rc == NGX_AGAIN && ngx_ws_bus_hub_enough(hub, backlog)))
                {
                    return NGX_AGAIN;
                }

            } while (rc == NGX_AGAIN);
        }

        hub->refill++;

        if (ngx_ws_bus_hub_enough(hub, backlog)) {
            return NGX_AGAIN;
        }
    }

    hub->refilling = 0;

    return NGX_OK;
}


/*
 * NGX_AGAIN if there may be more, NGX_ERROR without memory to look for it.
 */

static ngx_int_t
ngx_ws_bus_hub_refill_channel(ngx_ws_bus_channel_t *ch, size_t backlog)
{
    ngx_int_t             rc;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_view_t     view;
    ngx_ws_bus_history_t  h;

    hub = ch->hub;

    ngx_ws_bus_channel_view(hub->zone, ch->node, &view);

    if (view.epoch != ch->epoch || view.seq == ch->seq) {
        return NGX_OK;
    }

    if (ngx_ws_bus_channel_history(hub->zone, &view, ch->seq, (ngx_uint_t) -1,
                                   0, NGX_WS_BUS_REFILL_FIND, &h, hub->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_ws_bus_hub_refill_found(ch, &view, &h, backlog);

    if (h.pos) {
        ngx_free(h.pos);
    }

    return rc;
}


/*
 * What is missing before a message that is accepted is told there.
 */

static ngx_int_t
ngx_ws_bus_hub_refill_found(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_view_t *view, ngx_ws_bus_history_t *h, size_t backlog)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_uint_t            i;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_record_t   rec;

    hub = ch->hub;

    if (h->n == 0) {
        ngx_ws_bus_hub_lost(ch, view->seq, view->last);
        return NGX_OK;
    }

    for (i = 0; i < h->n; i++) {
        pos = h->pos[i];

        /* what is at the cursor and after it will be read from there */

        if (pos >= hub->cursor) {
            return NGX_OK;
        }

        if (ngx_ws_bus_hub_enough(hub, backlog)) {
            return NGX_AGAIN;
        }

        /* what has been overwritten meanwhile is not found the next time */

        if (ngx_ws_bus_log_read(&hub->zone->sh->log, &pos, pos + 1, &rec,
                                &payload)
            != NGX_OK
            || ngx_ws_bus_hub_accept(ch, &rec, payload) != NGX_OK)
        {
            return NGX_AGAIN;
        }
    }

    return (ch->seq < view->seq) ? NGX_AGAIN : NGX_OK;
}


/*
 * The channel was deleted: by a record that was missed, or by one that is
 * still to be read.
 */

static void
ngx_ws_bus_hub_refill_epoch(ngx_ws_bus_channel_t *ch)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_int_t             rc;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_view_t     view;
    ngx_ws_bus_record_t   rec;

    hub = ch->hub;

    ngx_ws_bus_channel_view(hub->zone, ch->node, &view);

    for (pos = hub->cursor; /* void */ ; pos += rec.size) {

        rc = ngx_ws_bus_log_read(&hub->zone->sh->log, &pos, view.head, &rec,
                                 &payload);

        if (rc == NGX_DONE) {
            ngx_ws_bus_hub_deleted(ch, hub->cursor - 1, view.epoch);
            ch->seq = view.seq;
            return;
        }

        if (rc != NGX_OK) {

            /* lapped again: all of this comes again */

            return;
        }

        if (rec.channel == ch->id && rec.type == NGX_WS_BUS_REC_DELETED) {
            return;
        }
    }
}


void
ngx_ws_bus_hub_lost(ngx_ws_bus_channel_t *ch, uint64_t seq, uint64_t pos)
{
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {

        while (group->debt
               && (group->debt->giving || group->debt->gathering))
        {
            (void) ngx_ws_bus_hub_give_group(group->debt, (ngx_uint_t) -1);
        }

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            if (sub->from <= pos && sub->seq < seq) {
                ch->hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST]++;
                ngx_ws_bus_hub_owner(sub)->lost(sub,
                                        ngx_max(ch->seq, sub->seq) + 1, seq);
            }
        }
    }

    ch->seq = seq;
}
