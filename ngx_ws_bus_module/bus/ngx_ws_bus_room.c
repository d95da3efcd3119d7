
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_once.h"
#include "ngx_ws_bus_presence.h"
#include "ngx_ws_bus_remote.h"


/*
 * What makes way in the zone, and names there, which are of any length and yet
 * need no more than cells.
 */


/* buckets that an allocation may look through for room, a pass */
#define NGX_WS_BUS_ROOM_SCAN  1024


static ngx_uint_t ngx_ws_bus_room_idle_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, uint32_t now, ngx_uint_t force);
static void ngx_ws_bus_room_free_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);
static u_char *ngx_ws_bus_name_next(u_char *p, size_t room);


void *
ngx_ws_bus_room_alloc_locked(ngx_ws_bus_zone_t *zone, size_t size)
{
    void        *p;
    ngx_uint_t   i, n, freed, force;

    p = ngx_slab_calloc_locked(zone->shpool, size);

    n = zone->sh->mask + 1;

    if (size <= NGX_WS_BUS_CELL) {
        n = ngx_min(n, NGX_WS_BUS_ROOM_SCAN);
    }

    for (force = 1; p == NULL && force <= 2; force++) {

        for (i = 0; p == NULL && i < n; i++) {

            freed = ngx_ws_bus_room_sweep_locked(zone, force);
            freed += ngx_ws_bus_once_sweep_locked(zone, ngx_ws_bus_time(), 0);

            if (freed == 0) {
                continue;
            }

            p = ngx_slab_calloc_locked(zone->shpool, size);

            /* the place of a channel, when there is none of this size */

            if (p == NULL && size < NGX_WS_BUS_CELL) {
                p = ngx_slab_calloc_locked(zone->shpool, NGX_WS_BUS_CELL);
            }
        }
    }

    return p;
}


ngx_uint_t
ngx_ws_bus_room_sweep_locked(ngx_ws_bus_zone_t *zone, ngx_uint_t force)
{
    uint32_t               now;
    ngx_uint_t             n;
    ngx_ws_bus_node_t     *node, **prev;
    ngx_ws_bus_zone_sh_t  *sh;

    n = 0;
    sh = zone->sh;
    now = ngx_ws_bus_seconds(ngx_ws_bus_time());

    prev = &sh->nodes[sh->hand++ & sh->mask];

    while (*prev) {
        node = *prev;

        if (!ngx_ws_bus_room_idle_locked(zone, node, now, force)) {
            prev = &node->next;
            continue;
        }

        *prev = node->next;
        ngx_ws_bus_room_free_locked(zone, node);
        n++;
    }

    return n;
}


static ngx_uint_t
ngx_ws_bus_room_idle_locked(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node,
    uint32_t now, ngx_uint_t force)
{
    if (node == zone->pinned
        || ngx_ws_bus_channel_subscribers_locked(zone, node))
    {
        return 0;
    }

    if (force == 2) {
        return 1;
    }

    if (node->last != NGX_WS_BUS_LOG_NONE
        && node->last >= zone->sh->log.tail
        && node->keep > now)
    {
        return 0;
    }

    return force || now > node->touched + NGX_WS_BUS_IDLE_TIME;
}


static void
ngx_ws_bus_room_free_locked(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_interest_t    *in;
    ngx_ws_bus_chain_link_t  *past;

    /* what processes that are gone left behind */

    while (node->interest) {
        in = node->interest;
        node->interest = in->next;
        ngx_slab_free_locked(zone->shpool, in);
    }

    ngx_ws_bus_presence_free_locked(zone, node);

    past = zone->sh->remote ? ngx_ws_bus_remote_past(node) : NULL;

    if (past) {
        ngx_slab_free_locked(zone->shpool, past);
    }

    ngx_ws_bus_name_free_locked(zone, node->name, node->room, node->len);
    ngx_slab_free_locked(zone->shpool, node);

    zone->sh->channels--;
}


/*
 * Where a name does not end, a pointer to the next cell does.
 */

ngx_int_t
ngx_ws_bus_name_write_locked(ngx_ws_bus_zone_t *zone, u_char *p, size_t room,
    const ngx_str_t *name)
{
    u_char  *data, *cell, *first;
    size_t   n, len, size;

    data = name->data;
    len = name->len;
    first = p;
    size = room;

    while (len > size) {
        n = size - sizeof(u_char *);

        cell = ngx_ws_bus_room_alloc_locked(zone,
                                            ngx_min(len - n, NGX_WS_BUS_CELL));

        ngx_memcpy(p, data, n);
        ngx_memcpy(p + n, &cell, sizeof(u_char *));

        if (cell == NULL) {
            ngx_ws_bus_name_free_locked(zone, first, room, name->len);
            return NGX_ERROR;
        }

        p = cell;
        size = NGX_WS_BUS_CELL;
        data += n;
        len -= n;
    }

    ngx_memcpy(p, data, len);

    return NGX_OK;
}


void
ngx_ws_bus_name_free_locked(ngx_ws_bus_zone_t *zone, u_char *p, size_t room,
    size_t len)
{
    u_char  *cell;

    cell = NULL;

    do {
        p = (len > room) ? ngx_ws_bus_name_next(p, room) : NULL;

        if (cell) {
            ngx_slab_free_locked(zone->shpool, cell);
        }

        cell = p;
        len -= room - sizeof(u_char *);
        room = NGX_WS_BUS_CELL;

    } while (cell);
}


u_char *
ngx_ws_bus_name_copy(u_char *dst, u_char *p, size_t room, size_t len)
{
    size_t  n;

    while (len > room) {
        n = room - sizeof(u_char *);
        dst = ngx_cpymem(dst, p, n);
        len -= n;

        p = ngx_ws_bus_name_next(p, room);
        room = NGX_WS_BUS_CELL;
    }

    return ngx_cpymem(dst, p, len);
}


ngx_uint_t
ngx_ws_bus_name_is(u_char *p, size_t room, size_t len, const ngx_str_t *name)
{
    u_char  *data;
    size_t   n;

    if (len != name->len) {
        return 0;
    }

    data = name->data;

    while (len > room) {
        n = room - sizeof(u_char *);

        if (ngx_memcmp(p, data, n) != 0) {
            return 0;
        }

        data += n;
        len -= n;

        p = ngx_ws_bus_name_next(p, room);
        room = NGX_WS_BUS_CELL;
    }

    return ngx_memcmp(p, data, len) == 0;
}


static u_char *
ngx_ws_bus_name_next(u_char *p, size_t room)
{
    u_char  *next;

    ngx_memcpy(&next, p + room - sizeof(u_char *), sizeof(u_char *));

    return next;
}
