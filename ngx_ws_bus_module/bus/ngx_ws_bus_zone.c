
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_zone.h"
#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_error.h"
#include "ngx_ws_bus_once.h"
#include "ngx_ws_bus_remote.h"
#include "ngx_ws_bus_revoke.h"


static void ngx_ws_bus_zone_replaces(ngx_ws_bus_zone_t *zone,
    ngx_log_t *log);
static ngx_int_t ngx_ws_bus_zone_create(ngx_ws_bus_zone_t *zone,
    ngx_log_t *log);
static void ngx_ws_bus_zone_share(ngx_ws_bus_zone_t *zone);
static ngx_uint_t ngx_ws_bus_zone_ndoorbells(ngx_ws_bus_zone_t *zone);
static void ngx_ws_bus_zone_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_uint_t n);


const uint64_t  ngx_ws_bus_latency_bounds[] = {
    50, 100, 250, 500,
    1000, 2500, 5000, 10000, 25000, 50000, 100000, 500000, 1000000
};


static const ngx_uint_t  ngx_ws_bus_closed_codes[NGX_WS_BUS_CLOSED_N] = {
    NGX_WS_BUS_CLOSE_NORMAL,
    NGX_WS_BUS_CLOSE_GOING_AWAY,
    NGX_WS_BUS_CLOSE_PROTOCOL,
    NGX_WS_BUS_CLOSE_UNSUPPORTED,
    NGX_WS_BUS_CLOSE_NO_STATUS,
    NGX_WS_BUS_CLOSE_ABNORMAL,
    NGX_WS_BUS_CLOSE_BAD_DATA,
    NGX_WS_BUS_CLOSE_POLICY,
    NGX_WS_BUS_CLOSE_TOO_BIG,
    NGX_WS_BUS_CLOSE_INTERNAL,
    NGX_WS_BUS_CLOSE_TRY_LATER,
    NGX_WS_BUS_CLOSE_UNAUTHORIZED,
    NGX_WS_BUS_CLOSE_FORBIDDEN,
    NGX_WS_BUS_CLOSE_DELETED,
    NGX_WS_BUS_CLOSE_KICKED,
    0
};


/* the tables, and a page for each size of what is allocated */
#define NGX_WS_BUS_ZONE_RESERVE  (32 * 1024)

size_t
ngx_ws_bus_zone_log_size(size_t size)
{
    if (size < NGX_WS_BUS_ZONE_RESERVE) {
        return 0;
    }

    size -= NGX_WS_BUS_ZONE_RESERVE;

    return (size / 4 * 3) & ~((size_t) ngx_pagesize - 1);
}


ngx_int_t
ngx_ws_bus_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_ws_bus_zone_t  *old = data;

    ngx_log_t          *log;
    ngx_ws_bus_zone_t  *zone;

    zone = shm_zone->data;
    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    log = shm_zone->shm.log;

    if (old) {
        zone->sh = old->sh;
        zone->doorbells = old->doorbells;
        zone->doorbells->refs++;
        zone->generation = ++zone->sh->generation;

        return NGX_OK;
    }

    if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;

    } else {
        ngx_ws_bus_zone_replaces(zone, log);

        if (ngx_ws_bus_zone_create(zone, log) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    zone->doorbells = ngx_ws_bus_doorbells_create(
                                       ngx_ws_bus_zone_ndoorbells(zone), log);

    return zone->doorbells ? NGX_OK : NGX_ERROR;
}


/*
 * Whoever has reloads in mind as harmless is told what this one has forgotten.
 */

static void
ngx_ws_bus_zone_replaces(ngx_ws_bus_zone_t *zone, ngx_log_t *log)
{
    ngx_uint_t          i;
    ngx_cycle_t        *old;
    ngx_shm_zone_t     *shm_zone;
    ngx_list_part_t    *part;
    ngx_ws_bus_zone_t  *other;

    old = zone->cycle->old_cycle;

    if (old == NULL || ngx_is_init_cycle(old)) {
        return;
    }

    for (part = &old->shared_memory.part; part; part = part->next) {

        shm_zone = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (shm_zone[i].init != ngx_ws_bus_zone_init) {
                continue;
            }

            other = shm_zone[i].data;

            if (other->name.len == zone->name.len
                && ngx_strncmp(other->name.data, zone->name.data,
                               zone->name.len)
                   == 0)
            {
                ngx_log_error(NGX_LOG_WARN, log, 0,
                              "ws_bus_zone \"%V\" has another size or redis "
                              "than before, and begins empty", &zone->name);
            }
        }
    }
}


static ngx_int_t
ngx_ws_bus_zone_create(ngx_ws_bus_zone_t *zone, ngx_log_t *log)
{
    u_char                *data;
    size_t                 size, len;
    ngx_uint_t             n;
    ngx_slab_pool_t       *shpool;
    ngx_ws_bus_zone_sh_t  *sh;

    shpool = zone->shpool;

    /* running out is not an error here: idle channels make way */
    shpool->log_nomem = 0;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_ws_bus_zone_sh_t));
    if (sh == NULL) {
        goto small;
    }

    shpool->data = sh;
    zone->sh = sh;

    size = ngx_ws_bus_zone_log_size(zone->shm_zone->shm.size);

    data = ngx_slab_alloc(shpool, size);
    if (data == NULL) {
        goto small;
    }

    ngx_ws_bus_log_init(&sh->log, data, size);

    /* a bucket for every 2k of the zone */

    for (n = 16; n < zone->shm_zone->shm.size / 2048; n <<= 1) { /* void */ }

    sh->mask = n - 1;
    sh->nodes = ngx_slab_calloc(shpool, n * sizeof(ngx_ws_bus_node_t *));
    sh->onces = ngx_slab_calloc(shpool, n * sizeof(ngx_ws_bus_once_t *));

    if (sh->nodes == NULL || sh->onces == NULL
        || ngx_ws_bus_revoke_create(zone) != NGX_OK)
    {
        goto small;
    }

    if (zone->remote && ngx_ws_bus_remote_create(zone) != NGX_OK) {
        goto small;
    }

    len = sizeof(" in ws_bus_zone \"\"") + zone->name.len;

    shpool->log_ctx = ngx_slab_alloc(shpool, len);
    if (shpool->log_ctx == NULL) {
        goto small;
    }

    ngx_sprintf(shpool->log_ctx, " in ws_bus_zone \"%V\"%Z", &zone->name);

    ngx_ws_bus_zone_share(zone);

    sh->created = ngx_ws_bus_time();

    return NGX_OK;

small:

    ngx_log_error(NGX_LOG_EMERG, log, 0, "zone \"%V\" is too small",
                  &zone->name);

    return NGX_ERROR;
}


/*
 * Workers of two generations have their slots from the start, since there may
 * be no page for them later, but no more than a quarter of what is left of the
 * zone.  Keys have half of the rest, channels the other half.
 */

static void
ngx_ws_bus_zone_share(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t             i, n, pages;
    ngx_core_conf_t       *ccf;
    ngx_slab_pool_t       *shpool;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;
    shpool = zone->shpool;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    n = ngx_min(2 * ccf->worker_processes + 4, NGX_MAX_PROCESSES);
    pages = shpool->pfree - shpool->pfree / 4;

    for (i = 0; i < n && shpool->pfree > pages; i++) {
        sh->slots[i] = ngx_slab_calloc(shpool, sizeof(ngx_ws_bus_slot_t));

        if (sh->slots[i] == NULL) {
            break;
        }

        sh->slots[i]->clean = 1;
    }

    sh->max_onces = shpool->pfree * ngx_pagesize / 2 / NGX_WS_BUS_ONCE_SIZE;
}


/*
 * A reload has two generations alive, several reloads in a row more; a
 * process beyond that number looks for messages by a timer.
 */

static ngx_uint_t
ngx_ws_bus_zone_ndoorbells(ngx_ws_bus_zone_t *zone)
{
    ngx_int_t         n;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    n = 4 * ngx_max(ccf->worker_processes, ngx_ncpu) + 8;

    return ngx_min(n, NGX_MAX_PROCESSES);
}


void
ngx_ws_bus_zone_cleanup(void *data)
{
    ngx_ws_bus_zone_t  *zone = data;

    if (zone->doorbells) {
        ngx_ws_bus_doorbells_release(zone->doorbells);
    }
}


ngx_ws_bus_slot_t *
ngx_ws_bus_zone_enter(ngx_ws_bus_zone_t *zone, ngx_log_t *log)
{
    ngx_uint_t             i, n;
    ngx_ws_bus_slot_t     *slot;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;
    n = ngx_process_slot;

    ngx_ws_bus_zone_lock(zone);

    slot = sh->slots[n];

    if (slot == NULL) {
        slot = ngx_ws_bus_room_alloc_locked(zone, sizeof(ngx_ws_bus_slot_t));

        if (slot == NULL) {
            ngx_ws_bus_zone_unlock(zone);

            ngx_log_error(NGX_LOG_CRIT, log, 0,
                          "ws_bus_zone \"%V\" has no memory for this worker "
                          "process, a larger zone is needed", &zone->name);
            return NULL;
        }

        slot->clean = 1;

        sh->slots[n] = slot;
    }

    sh->nslots = ngx_max(sh->nslots, n + 1);

    if (!slot->clean) {
        ngx_ws_bus_zone_disown_locked(zone, n);
    }

    slot->stats.connections = 0;
    slot->stats.subscriptions = 0;
    ngx_memzero(&slot->stats.waiting, sizeof(ngx_ws_bus_load_t));
    ngx_memzero(&slot->stats.sent, sizeof(ngx_ws_bus_load_t));
    slot->pending = 0;
    slot->clean = 0;
    slot->generation = zone->generation;
    slot->started = ngx_time();
    slot->pid = ngx_pid;

    n = sh->nslots;

    ngx_ws_bus_zone_unlock(zone);

    /*
     * The predecessor may have been killed between setting a pending flag
     * and ringing: nobody would ring that slot again.
     */

    for (i = 0; i < n; i++) {
        ngx_ws_bus_doorbell_ring(zone->doorbells, i, log);
    }

    return slot;
}


/*
 * Nobody has the slot until all is done, and nothing of it is counted.  What
 * takes long is done in pieces; others get the mutex in between, for certain.
 */

static void
ngx_ws_bus_zone_disown_locked(ngx_ws_bus_zone_t *zone, ngx_uint_t n)
{
    ngx_uint_t  bucket;

    zone->sh->slots[n]->pid = 0;

    bucket = 0;

    while (ngx_ws_bus_channel_disown_locked(zone, n, &bucket) == NGX_AGAIN) {

        ngx_ws_bus_zone_unlock(zone);
        ngx_msleep(1);
        ngx_ws_bus_zone_lock(zone);
    }
}


void
ngx_ws_bus_zone_leave(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_slot_t  *slot;

    ngx_ws_bus_zone_lock(zone);

    slot = zone->sh->slots[ngx_process_slot];

    slot->clean = (slot->stats.subscriptions == 0);
    slot->pid = 0;

    ngx_ws_bus_zone_unlock(zone);
}


ngx_uint_t
ngx_ws_bus_zone_reap(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t             i, n;
    ngx_ws_bus_slot_t     *slot;
    ngx_ws_bus_zone_sh_t  *sh;

    n = 0;
    sh = zone->sh;

    ngx_ws_bus_zone_lock(zone);

    for (i = 0; i < sh->nslots; i++) {
        slot = sh->slots[i];

        if (slot == NULL || slot->pid == 0) {
            continue;
        }

        if (kill(slot->pid, 0) == -1 && ngx_errno == NGX_ESRCH) {
            slot->pid = 0;
            n++;
        }
    }

    ngx_ws_bus_zone_unlock(zone);

    return n;
}


void
ngx_ws_bus_zone_lock(ngx_ws_bus_zone_t *zone)
{
    ngx_shmtx_lock(&zone->shpool->mutex);

    if (zone->sh->redo.node) {
        (void) ngx_ws_bus_channel_redo_locked(zone, NULL, NULL);
    }

    if (zone->sh->redo_revoke) {
        ngx_ws_bus_revoke_redo_locked(zone, NULL, NULL);
    }
}


void
ngx_ws_bus_zone_unlock(ngx_ws_bus_zone_t *zone)
{
    ngx_shmtx_unlock(&zone->shpool->mutex);
}


uint64_t
ngx_ws_bus_time(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


ngx_uint_t
ngx_ws_bus_closed_index(ngx_uint_t code)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_WS_BUS_CLOSED_N - 1; i++) {
        if (ngx_ws_bus_closed_codes[i] == code) {
            break;
        }
    }

    return i;
}


ngx_uint_t
ngx_ws_bus_closed_code(ngx_uint_t i)
{
    return ngx_ws_bus_closed_codes[i];
}


void
ngx_ws_bus_latency_add(ngx_ws_bus_stats_t *stats, uint64_t usec, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_WS_BUS_LATENCY_N - 1; i++) {
        if (usec <= ngx_ws_bus_latency_bounds[i]) {
            break;
        }
    }

    stats->latency[i] += n;
    stats->latency_sum += usec * n;
}
