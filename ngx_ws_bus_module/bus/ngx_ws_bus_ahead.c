
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_prefetch.h"


/*
 * What the hub is about to touch is asked for early.  From a record to the
 * socket it leads to, each address is found at the one before; several records
 * are followed side by side, so that they wait for memory together.
 */


static ngx_uint_t ngx_ws_bus_ahead_ids(ngx_ws_bus_hub_t *hub, uint64_t head,
    uint64_t *ids);


void
ngx_ws_bus_hub_ahead(ngx_ws_bus_hub_t *hub, uint64_t head)
{
    uint64_t               ids[NGX_WS_BUS_HUB_AHEAD];
    ngx_uint_t             i, n, nsubs, step;
    ngx_ws_bus_sub_t      *subs[NGX_WS_BUS_HUB_AHEAD];
    ngx_ws_bus_owner_t    *owner;
    ngx_ws_bus_channel_t  *ch, *channels[NGX_WS_BUS_HUB_AHEAD];

    n = ngx_ws_bus_ahead_ids(hub, head, ids);

    /* alone, it waits here as long as there */

    if (n < 2) {
        return;
    }

    for (i = 0; i < n; i++) {
        ngx_ws_bus_prefetch(&hub->channels[ids[i] & hub->mask]);
    }

    for (i = 0; i < n; i++) {
        channels[i] = hub->channels[ids[i] & hub->mask];

        if (channels[i]) {
            ngx_ws_bus_prefetch_object(channels[i],
                                       sizeof(ngx_ws_bus_channel_t));
        }
    }

    for (i = 0, nsubs = 0; i < n; i++) {
        ch = channels[i];

        if (ch && ch->id == ids[i] && !ngx_queue_empty(&ch->group.subs)) {
            subs[nsubs] = ngx_queue_data(ngx_queue_head(&ch->group.subs),
                                         ngx_ws_bus_sub_t, queue);
            ngx_ws_bus_prefetch_object(subs[nsubs], sizeof(ngx_ws_bus_sub_t));
            nsubs++;
        }
    }

    for (i = 0; i < nsubs; i++) {
        ngx_ws_bus_prefetch(subs[i]->owner);
    }

    for (step = 0; step < NGX_WS_BUS_HUB_STEPS; step++) {
        for (i = 0; i < nsubs; i++) {
            owner = subs[i]->owner;

            if (owner->handlers->ahead) {
                owner->handlers->ahead(owner, step);
            }
        }
    }
}


/*
 * The channels of the next records, without repetitions in a row.
 */

static ngx_uint_t
ngx_ws_bus_ahead_ids(ngx_ws_bus_hub_t *hub, uint64_t head, uint64_t *ids)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_uint_t            i, n;
    ngx_ws_bus_record_t   rec;

    pos = hub->cursor;

    for (i = 0, n = 0; i < NGX_WS_BUS_HUB_AHEAD; i++) {

        if (ngx_ws_bus_log_read(&hub->zone->sh->log, &pos, head, &rec,
                                &payload)
            != NGX_OK)
        {
            break;
        }

        if (n == 0 || ids[n - 1] != rec.channel) {
            ids[n++] = rec.channel;
        }

        pos += rec.size;
    }

    return n;
}


void
ngx_ws_bus_hub_sub_ahead(ngx_ws_bus_sub_t *sub, ngx_uint_t step)
{
    ngx_ws_bus_group_t  *group;

    group = sub->group;

    if (group == NULL) {
        return;
    }

    switch (step) {

    case 0:
        /* most often the channel's first one, inside of it */

        ngx_ws_bus_prefetch((uintptr_t) group
                            - offsetof(ngx_ws_bus_channel_t, group));
        ngx_ws_bus_prefetch_object(group, sizeof(ngx_ws_bus_group_t));
        break;

    default:
        ngx_ws_bus_prefetch_object(group->channel->node,
                                   sizeof(ngx_ws_bus_node_t));
    }
}
