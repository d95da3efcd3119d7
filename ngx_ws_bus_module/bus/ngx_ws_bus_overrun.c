
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_remote.h"


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
static ngx_int_t ngx_ws_bus_hub_refill_deleted(ngx_ws_bus_channel_t *ch,
    uint64_t head);


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

            if (hub->zone->remote
                || __atomic_load_n(&ch->node->epoch, __ATOMIC_RELAXED)
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

    /* deleted since: it is void, and that is still to be read and told */

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

            if (h->first + i > ch->seq + 1) {
                ngx_ws_bus_hub_lost(ch, h->first + i - 1, pos - 1);
            }

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
 * The epoch may have changed by a record that was missed, or by one that is
 * still to be read.
 */

static void
ngx_ws_bus_hub_refill_epoch(ngx_ws_bus_channel_t *ch)
{
    uint64_t            pos;
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_view_t   view;

    hub = ch->hub;
    pos = hub->cursor - 1;

    ngx_ws_bus_channel_view(hub->zone, ch->node, &view);

    if (hub->zone->remote && view.live) {
        ngx_ws_bus_hub_ready(ch, pos);
    }

    if (view.epoch == ch->epoch) {
        return;
    }

    if (hub->zone->remote == NULL || view.epoch == 0) {

        if (hub->zone->remote
            || ngx_ws_bus_hub_refill_deleted(ch, view.head) == NGX_OK)
        {
            ngx_ws_bus_hub_deleted(ch, pos, view.epoch);
            ch->seq = view.seq;
        }

        return;
    }

    if (ngx_ws_bus_chain_holds(&view.chain, ch->epoch, ch->seq)) {
        ngx_ws_bus_hub_follow(ch, pos, view.epoch);
        return;
    }

    ngx_ws_bus_hub_reset(ch, pos, view.epoch, view.seq);
}


/*
 * NGX_OK if the deletion was missed, NGX_DECLINED if its record is still to
 * be read, between the cursor and "head", or all of this comes again.
 */

static ngx_int_t
ngx_ws_bus_hub_refill_deleted(ngx_ws_bus_channel_t *ch, uint64_t head)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_int_t             rc;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &ch->hub->zone->sh->log;

    for (pos = ch->hub->cursor; /* void */ ; pos += rec.size) {

        rc = ngx_ws_bus_log_read(log, &pos, head, &rec, &payload);

        if (rc == NGX_DONE) {
            return NGX_OK;
        }

        if (rc != NGX_OK
            || (rec.channel == ch->id
                && rec.type == NGX_WS_BUS_REC_DELETED))
        {
            return NGX_DECLINED;
        }
    }
}
