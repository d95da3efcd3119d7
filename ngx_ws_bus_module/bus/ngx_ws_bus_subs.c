
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


ngx_int_t
ngx_ws_bus_hub_subscribe(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_format_t *format, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_view_t *view)
{
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

    return NGX_OK;

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
