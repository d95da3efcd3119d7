
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_once.h"


/* buckets that are looked through for room, a pass */
#define NGX_WS_BUS_ONCE_SCAN  1024


static ngx_ws_bus_once_t **ngx_ws_bus_once_bucket(ngx_ws_bus_zone_t *zone,
    u_char *key);
static ngx_ws_bus_once_t *ngx_ws_bus_once_find_locked(
    ngx_ws_bus_zone_t *zone, u_char *key, uint64_t now);
static ngx_ws_bus_once_t *ngx_ws_bus_once_alloc_locked(
    ngx_ws_bus_zone_t *zone);
static ngx_ws_bus_once_t *ngx_ws_bus_once_take_locked(
    ngx_ws_bus_zone_t *zone);


ngx_int_t
ngx_ws_bus_once_ack(ngx_ws_bus_zone_t *zone, u_char *key, uint64_t epoch,
    uint64_t seq)
{
    uint64_t            now;
    ngx_uint_t          new;
    ngx_ws_bus_once_t  *once;

    now = ngx_ws_bus_time();

    ngx_ws_bus_zone_lock(zone);

    once = ngx_ws_bus_once_get_locked(zone, NULL, key, now);

    if (once) {

        if (once->epoch != epoch) {

            /* a process killed here leaves the epoch's beginning */

            __atomic_store_n(&once->seq, 0, __ATOMIC_RELEASE);
            __atomic_store_n(&once->epoch, epoch, __ATOMIC_RELEASE);
        }

        if (once->seq < seq) {
            __atomic_store_n(&once->seq, seq, __ATOMIC_RELEASE);
        }

        once->ack = 1;
        new = (once->expires == 0);
        once->expires = now + NGX_WS_BUS_ACK_TIME;

        if (new) {
            ngx_ws_bus_once_link_locked(zone, once);
        }
    }

    ngx_ws_bus_zone_unlock(zone);

    return once ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_ws_bus_once_acked(ngx_ws_bus_zone_t *zone, u_char *key, uint64_t *epoch,
    uint64_t *seq)
{
    ngx_ws_bus_once_t  *once;

    ngx_ws_bus_zone_lock(zone);

    once = ngx_ws_bus_once_find_locked(zone, key, ngx_ws_bus_time());

    if (once) {
        *epoch = once->epoch;
        *seq = once->seq;
    }

    ngx_ws_bus_zone_unlock(zone);

    return once ? NGX_OK : NGX_DECLINED;
}


/*
 * While there are few, channels make way for them; when there are too many,
 * the first ones found.
 */

ngx_ws_bus_once_t *
ngx_ws_bus_once_get_locked(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node,
    u_char *key, uint64_t now)
{
    ngx_uint_t             i, force;
    ngx_ws_bus_once_t     *once;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;

    once = ngx_ws_bus_once_find_locked(zone, key, now);
    if (once) {
        return once;
    }

    /* every new entry pays for a look at two buckets */

    (void) ngx_ws_bus_once_sweep_locked(zone, now, 0);
    (void) ngx_ws_bus_once_sweep_locked(zone, now, 0);

    zone->pinned = node;

    once = (sh->nonces < sh->max_onces)
           ? ngx_ws_bus_once_alloc_locked(zone) : NULL;

    zone->pinned = NULL;

    for (force = 0; once == NULL && force <= 2; force++) {

        for (i = 0; once == NULL && i < NGX_WS_BUS_ONCE_SCAN; i++) {

            if (ngx_ws_bus_once_sweep_locked(zone, now, force)) {
                once = ngx_ws_bus_once_take_locked(zone);
            }
        }
    }

    if (once) {
        ngx_memcpy(once->key, key, NGX_WS_BUS_ONCE_LEN);
    }

    return once;
}


static ngx_ws_bus_once_t *
ngx_ws_bus_once_alloc_locked(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_once_t  *once;

    once = ngx_ws_bus_once_take_locked(zone);

    if (once == NULL) {
        once = ngx_ws_bus_room_alloc_locked(zone, NGX_WS_BUS_CELL);

        if (once) {
            once->cell = 1;
        }
    }

    return once;
}


/*
 * Only what is free: the place of an entry that has made way may be either.
 */

static ngx_ws_bus_once_t *
ngx_ws_bus_once_take_locked(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_once_t  *once;

    once = ngx_slab_calloc_locked(zone->shpool, sizeof(ngx_ws_bus_once_t));

    if (once == NULL) {
        once = ngx_slab_calloc_locked(zone->shpool, NGX_WS_BUS_CELL);

        if (once) {
            once->cell = 1;
        }
    }

    return once;
}


void
ngx_ws_bus_once_link_locked(ngx_ws_bus_zone_t *zone, ngx_ws_bus_once_t *once)
{
    ngx_ws_bus_once_t  **bucket;

    bucket = ngx_ws_bus_once_bucket(zone, once->key);

    if (*bucket != once) {

        /* rather one counted too many, until they are counted anew */

        zone->sh->nonces += 1 + once->cell;

        once->next = *bucket;

        __atomic_store_n(bucket, once, __ATOMIC_RELEASE);
    }
}


void
ngx_ws_bus_once_recount_locked(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t          i, n;
    ngx_ws_bus_once_t  *once;

    n = 0;

    for (i = 0; i <= zone->sh->mask; i++) {
        for (once = zone->sh->onces[i]; once; once = once->next) {
            n += 1 + once->cell;
        }
    }

    zone->sh->nonces = n;
}


static ngx_ws_bus_once_t **
ngx_ws_bus_once_bucket(ngx_ws_bus_zone_t *zone, u_char *key)
{
    uint32_t  n;

    ngx_memcpy(&n, key, sizeof(uint32_t));

    return &zone->sh->onces[n & zone->sh->mask];
}


static ngx_ws_bus_once_t *
ngx_ws_bus_once_find_locked(ngx_ws_bus_zone_t *zone, u_char *key,
    uint64_t now)
{
    ngx_ws_bus_once_t  *once;

    for (once = *ngx_ws_bus_once_bucket(zone, key); once; once = once->next) {

        if (ngx_memcmp(once->key, key, NGX_WS_BUS_ONCE_LEN) == 0
            && now < once->expires)
        {
            return once;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_ws_bus_once_sweep_locked(ngx_ws_bus_zone_t *zone, uint64_t now,
    ngx_uint_t force)
{
    ngx_uint_t             n;
    ngx_ws_bus_once_t     *once, **prev;
    ngx_ws_bus_zone_sh_t  *sh;

    n = 0;
    sh = zone->sh;

    prev = &sh->onces[sh->once_hand++ & sh->mask];

    while (*prev) {
        once = *prev;

        if (now < once->expires && force < (once->ack ? 2 : 1)) {
            prev = &once->next;
            continue;
        }

        *prev = once->next;

        /* a process may have been killed before it had counted */

        sh->nonces -= ngx_min(sh->nonces, 1 + (ngx_uint_t) once->cell);

        ngx_slab_free_locked(zone->shpool, once);
        n++;
    }

    return n;
}
