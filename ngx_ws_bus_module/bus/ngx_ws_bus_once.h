
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_ONCE_H_INCLUDED_
#define _NGX_WS_BUS_ONCE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_zone.h"


/* how long the result of a publication with an idempotency key is known */
#define NGX_WS_BUS_ONCE_TIME   (300 * (uint64_t) 1000000)

/* how long a durable consumer's position is kept since it was moved */
#define NGX_WS_BUS_ACK_TIME    (7 * 86400 * (uint64_t) 1000000)


/*
 * What is remembered by a digest: the result of a publication, by its
 * idempotency key, or the position that a durable consumer of a channel has
 * acknowledged.  The number of entries is bounded, one in a channel's place
 * counts as two; keys make way first.
 */

struct ngx_ws_bus_once_s {
    ngx_ws_bus_once_t      *next;
    u_char                  key[NGX_WS_BUS_ONCE_LEN];
    unsigned                subscribers:30;
    unsigned                cell:1;    /* larger than it needs */
    unsigned                ack:1;
    uint64_t                epoch;
    uint64_t                seq;
    uint64_t                expires;   /* 0: new, not linked yet */
};

/* what the slab pool takes for one */
#define NGX_WS_BUS_ONCE_SIZE   64

ngx_ws_bus_assert(once, sizeof(ngx_ws_bus_once_t) <= NGX_WS_BUS_ONCE_SIZE);


/*
 * Moves a consumer's position to (epoch, seq), never back within an epoch.
 * NGX_OK, or NGX_DECLINED if the zone has no memory.
 */
ngx_int_t ngx_ws_bus_once_ack(ngx_ws_bus_zone_t *zone, u_char *key,
    uint64_t epoch, uint64_t seq);

/*
 * A consumer's position.  NGX_OK, or NGX_DECLINED if it has none.
 */
ngx_int_t ngx_ws_bus_once_acked(ngx_ws_bus_zone_t *zone, u_char *key,
    uint64_t *epoch, uint64_t *seq);


/*
 * For the channel table, under the mutex.  Finds the entry of a key, or makes
 * one whose expiry is 0 and which is not linked yet; NULL without memory.
 * Channels may make way for it, but not the node, which may be NULL.
 */
ngx_ws_bus_once_t *ngx_ws_bus_once_get_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, u_char *key, uint64_t now);

/*
 * Links a new entry.  May be repeated: the entry is linked once.
 */
void ngx_ws_bus_once_link_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_once_t *once);

/*
 * Looks at the next bucket, and returns how many entries were freed.  force 0:
 * the expired ones; 1: keys as well; 2: all.
 */
ngx_uint_t ngx_ws_bus_once_sweep_locked(ngx_ws_bus_zone_t *zone, uint64_t now,
    ngx_uint_t force);

/*
 * Counts the entries anew: a process may have been killed between a change
 * and its count.
 */
void ngx_ws_bus_once_recount_locked(ngx_ws_bus_zone_t *zone);


#endif /* _NGX_WS_BUS_ONCE_H_INCLUDED_ */
