
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * What was missed, and what only is late.
 *
 * A connection that subscribes has messages in their order, so whatever a
 * later one passes over will not come any more.  A position that Redis has
 * told on another connection may be ahead of it; what is published before a
 * PING comes before the answer.
 */


typedef struct {
    ngx_ws_bus_bridge_t          *bridge;
    ngx_ws_bus_bridge_channel_t  *channel;
    uint64_t                      generation;
    uint64_t                      round;
    uint64_t                      epoch;    /* that Redis has told */
    uint64_t                      seq;
} ngx_ws_bus_gap_t;


static void ngx_ws_bus_gap_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_gap_check(ngx_ws_bus_gap_t *gap);


void
ngx_ws_bus_bridge_hole(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c,
    const ngx_str_t *name, const ngx_ws_bus_envelope_t *e)
{
    uint64_t                     seq;
    ngx_ws_bus_remote_channel_t  ch;

    if (c->live && ngx_ws_bus_remote_look(b->zone, name, &ch) == NGX_OK
        && ch.live)
    {
        /* those that have come since are not in the log, but were heard */

        seq = (c->epoch == e->epoch) ? ngx_max(c->seq, ch.seq) : ch.seq;

        if (e->seq > seq + 1) {
            c->missing += e->seq - seq - 1;
            b->zone->sh->remote->stats.gaps++;
        }
    }

    c->epoch = e->epoch;
    c->seq = e->seq;
}


ngx_int_t
ngx_ws_bus_bridge_late(ngx_ws_bus_bridge_t *b, ngx_ws_bus_bridge_channel_t *c,
    const ngx_ws_bus_position_t *pos)
{
    ngx_ws_bus_gap_t  *gap;

    static const ngx_str_t  ping[] = { ngx_string("PING") };

    gap = ngx_alloc(sizeof(ngx_ws_bus_gap_t), b->log);
    if (gap == NULL) {
        return NGX_DECLINED;
    }

    gap->bridge = b;
    gap->channel = c;
    gap->generation = b->generation;
    gap->round = b->round;
    gap->epoch = pos->epoch;
    gap->seq = pos->seq;

    if (ngx_ws_bus_link_command(c->server->subscriber, ping, 1,
                                ngx_ws_bus_gap_handler, gap, NULL)
        != NGX_OK)
    {
        ngx_free(gap);
        return NGX_DECLINED;
    }

    c->fetching = 1;

    return NGX_OK;
}


static void
ngx_ws_bus_gap_handler(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_gap_t *gap = data;

    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_bridge_channel_t  *c;

    (void) reply;

    b = gap->bridge;
    c = gap->channel;

    if (gap->generation == b->generation && b->token) {
        c->fetching = 0;

        if (c->state == NGX_WS_BUS_BRIDGE_SUBSCRIBED) {

            if (c->again || !c->live) {
                c->again = 0;
                ngx_ws_bus_bridge_queue(b, c, &b->fetch);

            } else if (rc == NGX_OK && gap->round == b->round) {
                ngx_ws_bus_gap_check(gap);
            }
        }

        ngx_post_event(&b->work, &ngx_posted_events);
    }

    ngx_free(gap);
}


static void
ngx_ws_bus_gap_check(ngx_ws_bus_gap_t *gap)
{
    ngx_str_t                     name;
    ngx_ws_bus_bridge_t          *b;
    ngx_ws_bus_bridge_channel_t  *c;
    ngx_ws_bus_remote_channel_t   ch;

    b = gap->bridge;
    c = gap->channel;

    name.data = c->name;
    name.len = c->len;

    if (ngx_ws_bus_remote_look(b->zone, &name, &ch) != NGX_OK) {
        return;
    }

    if (ch.epoch != gap->epoch && ch.epoch != c->asked_epoch) {
        ngx_ws_bus_bridge_queue(b, c, &b->compare);
        return;
    }

    if (ch.seq >= gap->seq && ch.epoch == gap->epoch) {
        return;
    }

    if (gap->seq > ch.seq) {
        c->missing += gap->seq - ch.seq;
        b->zone->sh->remote->stats.gaps++;
    }

    ngx_ws_bus_bridge_queue(b, c, &b->fetch);
}
