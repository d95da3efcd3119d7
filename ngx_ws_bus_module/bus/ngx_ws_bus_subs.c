
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"


/*
 * The hub's table of channels, and who is subscribed to them.
 */


static ngx_ws_bus_channel_t *ngx_ws_bus_hub_add(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_node_t *node, ngx_ws_bus_view_t *view);
static void ngx_ws_bus_hub_remove(ngx_ws_bus_channel_t *ch);
static ngx_ws_bus_group_t *ngx_ws_bus_hub_group(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_format_t *format);
static ngx_int_t ngx_ws_bus_hub_wait(ngx_ws_bus_sub_t *sub, uint64_t pos);
static void ngx_ws_bus_hub_unwait(ngx_ws_bus_sub_t *sub);
static void ngx_ws_bus_hub_overdue_handler(ngx_event_t *ev);


/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_subs_dumb;


ngx_int_t
ngx_ws_bus_hub_subscribe(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_format_t *format, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_view_t *view)
{
    ngx_int_t              rc;
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_group_t    *group;
    ngx_ws_bus_channel_t  *ch;

    node = ngx_ws_bus_channel_join(hub->zone, name, view);
    if (node == NULL) {
        return NGX_ERROR;
    }

    ch = ngx_ws_bus_hub_find(hub, view->id);

    if (ch == NULL) {
        ch = ngx_ws_bus_hub_add(hub, node, view);
        if (ch == NULL) {
            goto failed;
        }
    }

    group = ngx_ws_bus_hub_group(ch, format);

    if (group == NULL) {
        goto failed;
    }

    sub->group = group;
    sub->from = view->head;
    sub->seq = view->seq;

    ngx_queue_insert_tail(&group->subs, &sub->queue);

    hub->slot->stats.subscriptions++;

    if (view->live) {
        return NGX_OK;
    }

    rc = ngx_ws_bus_hub_wait(sub, view->head);

    if (rc == NGX_ERROR) {
        ngx_ws_bus_hub_unsubscribe(sub);
    }

    return rc;

failed:

    ngx_ws_bus_channel_part(hub->zone, node);

    return NGX_ERROR;
}


void
ngx_ws_bus_hub_unsubscribe(ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_hub_t      *hub;
    ngx_ws_bus_group_t    *group, *prev;
    ngx_ws_bus_channel_t  *ch;

    group = sub->group;
    ch = group->channel;
    hub = ch->hub;

    if (ngx_ws_bus_sub_wait(sub)) {
        ngx_ws_bus_hub_unwait(sub);
    }

    if (group->debt && group->debt->walk == &sub->queue) {
        group->debt->walk = ngx_queue_next(&sub->queue);
    }

    ngx_queue_remove(&sub->queue);
    sub->group = NULL;

    ngx_ws_bus_channel_part(hub->zone, ch->node);

    hub->slot->stats.subscriptions--;

    if (!ngx_queue_empty(&group->subs)) {
        return;
    }

    ngx_ws_bus_hub_forgive(group);

    if (group != &ch->group) {

        for (prev = &ch->group; prev->next != group; prev = prev->next) {
            /* void */
        }

        prev->next = group->next;

        ngx_free(group);
    }

    if (ngx_queue_empty(&ch->group.subs) && ch->group.next == NULL) {
        ngx_ws_bus_hub_remove(ch);
    }
}


ngx_ws_bus_channel_t *
ngx_ws_bus_hub_find(ngx_ws_bus_hub_t *hub, uint64_t id)
{
    ngx_ws_bus_channel_t  *ch;

    /* ids are consecutive numbers: their low bits spread well */

    for (ch = hub->channels[id & hub->mask]; ch; ch = ch->next) {
        if (ch->id == id) {
            return ch;
        }
    }

    return NULL;
}


static ngx_ws_bus_channel_t *
ngx_ws_bus_hub_add(ngx_ws_bus_hub_t *hub, ngx_ws_bus_node_t *node,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_channel_t  *ch;

    if (hub->nchannels > hub->mask && ngx_ws_bus_hub_grow(hub) != NGX_OK) {
        return NULL;
    }

    ch = ngx_calloc(sizeof(ngx_ws_bus_channel_t), hub->log);
    if (ch == NULL) {
        return NULL;
    }

    ch->hub = hub;
    ch->node = node;
    ch->id = view->id;
    ch->epoch = view->epoch;
    ch->seq = view->seq;
    ch->from = view->head;

    ch->group.channel = ch;
    ngx_queue_init(&ch->group.subs);

    ch->next = hub->channels[ch->id & hub->mask];
    hub->channels[ch->id & hub->mask] = ch;
    hub->nchannels++;

    return ch;
}


static void
ngx_ws_bus_hub_remove(ngx_ws_bus_channel_t *ch)
{
    ngx_ws_bus_hub_t       *hub;
    ngx_ws_bus_channel_t  **prev;

    hub = ch->hub;

    for (prev = &hub->channels[ch->id & hub->mask];
         *prev != ch;
         prev = &(*prev)->next)
    {
        /* void */
    }

    *prev = ch->next;
    hub->nchannels--;

    ngx_free(ch);
}


ngx_int_t
ngx_ws_bus_hub_grow(ngx_ws_bus_hub_t *hub)
{
    ngx_uint_t              i, n;
    ngx_ws_bus_channel_t   *ch, *next, **channels;

    n = hub->channels ? 2 * (hub->mask + 1) : 64;

    channels = ngx_calloc(n * sizeof(ngx_ws_bus_channel_t *), hub->log);
    if (channels == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; hub->channels && i <= hub->mask; i++) {
        for (ch = hub->channels[i]; ch; ch = next) {
            next = ch->next;
            ch->next = channels[ch->id & (n - 1)];
            channels[ch->id & (n - 1)] = ch;
        }
    }

    if (hub->channels) {
        ngx_free(hub->channels);
    }

    hub->channels = channels;
    hub->mask = n - 1;

    return NGX_OK;
}


static ngx_ws_bus_group_t *
ngx_ws_bus_hub_group(ngx_ws_bus_channel_t *ch, ngx_ws_bus_format_t *format)
{
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {
        if (group->format == format) {
            return group;
        }
    }

    if (ngx_queue_empty(&ch->group.subs)) {
        ch->group.format = format;
        return &ch->group;
    }

    group = ngx_calloc(sizeof(ngx_ws_bus_group_t), ch->hub->log);
    if (group == NULL) {
        return NULL;
    }

    group->channel = ch;
    group->format = format;
    ngx_queue_init(&group->subs);

    group->next = ch->group.next;
    ch->group.next = group;

    return group;
}


void
ngx_ws_bus_hub_waits_init(ngx_ws_bus_hub_t *hub)
{
    ngx_queue_init(&hub->waits);

    ngx_ws_bus_subs_dumb.fd = (ngx_socket_t) -1;

    hub->overdue.handler = ngx_ws_bus_hub_overdue_handler;
    hub->overdue.data = &ngx_ws_bus_subs_dumb;
    hub->overdue.log = hub->log;
    hub->overdue.cancelable = 1;
}


/*
 * Waits for a record that says the channel is live, at pos or behind.
 */

static ngx_int_t
ngx_ws_bus_hub_wait(ngx_ws_bus_sub_t *sub, uint64_t pos)
{
    ngx_uint_t          slot;
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_wait_t  *wait;

    hub = sub->group->channel->hub;

    wait = ngx_alloc(sizeof(ngx_ws_bus_wait_t), hub->log);
    if (wait == NULL) {
        return NGX_ERROR;
    }

    wait->sub = sub;
    wait->pos = pos;
    wait->data = NULL;
    wait->deadline = ngx_current_msec + hub->zone->remote->timeout;

    sub->from = NGX_WS_BUS_SUB_WAITS;
    sub->seq = (uintptr_t) wait;

    if (ngx_queue_empty(&hub->waits) && !hub->overdue.timer_set) {
        ngx_add_timer(&hub->overdue, hub->zone->remote->timeout);
    }

    ngx_queue_insert_tail(&hub->waits, &wait->queue);

    slot = hub->zone->sh->remote->slot;

    ngx_ws_bus_hub_ring(hub, &slot, 1);

    return NGX_AGAIN;
}


static void
ngx_ws_bus_hub_unwait(ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_wait_t  *wait;

    wait = ngx_ws_bus_sub_wait(sub);

    ngx_queue_remove(&wait->queue);

    if (wait->data) {
        ngx_free(wait->data);
    }

    ngx_free(wait);

    sub->from = NGX_WS_BUS_LOG_NONE;
    sub->seq = 0;
}


ngx_int_t
ngx_ws_bus_hub_refresh(ngx_ws_bus_sub_t *sub)
{
    uint64_t            head;
    ngx_ws_bus_node_t  *node;
    ngx_ws_bus_zone_t  *zone;

    zone = sub->group->channel->hub->zone;
    node = sub->group->channel->node;

    ngx_ws_bus_zone_lock(zone);

    head = ngx_ws_bus_log_head(&zone->sh->log);
    ngx_ws_bus_remote_want_locked(zone, node);

    ngx_ws_bus_zone_unlock(zone);

    return ngx_ws_bus_hub_wait(sub, head);
}


void
ngx_ws_bus_hub_ready(ngx_ws_bus_channel_t *ch, uint64_t pos)
{
    void                *data;
    ngx_queue_t         *q;
    ngx_ws_bus_sub_t    *sub;
    ngx_ws_bus_wait_t   *wait;
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

            wait = ngx_ws_bus_sub_wait(sub);

            if (wait == NULL || wait->pos > pos) {
                continue;
            }

            data = wait->data;
            wait->data = NULL;

            ngx_ws_bus_hub_unwait(sub);

            ((ngx_ws_bus_owner_t *) sub->owner)->handlers->ready(sub, NGX_OK,
                                                                 data);
            if (data) {
                ngx_free(data);
            }
        }
    }
}


static void
ngx_ws_bus_hub_overdue_handler(ngx_event_t *ev)
{
    void               *data;
    ngx_queue_t        *q;
    ngx_msec_int_t      left;
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_sub_t   *sub;
    ngx_ws_bus_wait_t  *wait;

    hub = (ngx_ws_bus_hub_t *) ((u_char *) ev
                                - offsetof(ngx_ws_bus_hub_t, overdue));

    while (!ngx_queue_empty(&hub->waits)) {

        q = ngx_queue_head(&hub->waits);
        wait = ngx_queue_data(q, ngx_ws_bus_wait_t, queue);

        left = (ngx_msec_int_t) (wait->deadline - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        sub = wait->sub;
        data = wait->data;
        wait->data = NULL;

        ngx_ws_bus_hub_unwait(sub);

        ((ngx_ws_bus_owner_t *) sub->owner)->handlers->ready(sub,
                                                             NGX_DECLINED,
                                                             data);
        if (data) {
            ngx_free(data);
        }
    }
}
