
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_ZONE_H_INCLUDED_
#define _NGX_WS_BUS_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_doorbell.h"
#include "ngx_ws_bus_log.h"


/* does not compile if "cond" does not hold */
#define ngx_ws_bus_assert(name, cond)                                         \
    typedef u_char  ngx_ws_bus_assert_##name[(cond) ? 1 : -1]


#define NGX_WS_BUS_ZONE_MIN         (128 * 1024)
#define NGX_WS_BUS_ZONE_DEFAULT     (32 * 1024 * 1024)

/* delivery latency: upper bounds in microseconds, the last one is +Inf */
#define NGX_WS_BUS_LATENCY_N        14


typedef enum {
    NGX_WS_BUS_DROPPED_SLOW = 0,    /* ws_bus_buffer oldest */
    NGX_WS_BUS_DROPPED_CONFLATED,   /* ws_bus_buffer latest */
    NGX_WS_BUS_DROPPED_CLOSED,      /* waiting when the connection ended */
    NGX_WS_BUS_DROPPED_LOST,        /* a lapped worker */
    NGX_WS_BUS_DROPPED_LIMIT,       /* ws_bus_limit */
    NGX_WS_BUS_DROPPED_N
} ngx_ws_bus_dropped_e;


typedef enum {
    NGX_WS_BUS_REFUSED_HANDSHAKE = 0,
    NGX_WS_BUS_REFUSED_CHANNEL,
    NGX_WS_BUS_REFUSED_UNAVAILABLE,
    NGX_WS_BUS_REFUSED_ORIGIN,
    NGX_WS_BUS_REFUSED_TOKEN,
    NGX_WS_BUS_REFUSED_CLAIM,
    NGX_WS_BUS_REFUSED_N
} ngx_ws_bus_refused_e;


/* the codes that have a counter of their own; others are counted together */

#define NGX_WS_BUS_CLOSED_N         16


/* counters of a worker's links to other hosts, whatever they are */
#define NGX_WS_BUS_REMOTE_LINK      32


typedef struct {
    uint64_t  n;
    uint64_t  bytes;
} ngx_ws_bus_load_t;


/*
 * Written by the slot's process only, read by anybody.  The gauges are
 * zeroed when a process takes the slot, so that totals heal after a crash.
 */

typedef struct {
    /* gauges */
    uint64_t  connections;
    uint64_t  subscriptions;

    /* publications of a zone that spans hosts */
    ngx_ws_bus_load_t  waiting;                   /* for a link */
    ngx_ws_bus_load_t  sent;                      /* without an answer yet */

    /* counters */
    uint64_t  messages_in;
    uint64_t  messages_out;
    uint64_t  bytes_in;
    uint64_t  bytes_out;
    uint64_t  overruns;
    uint64_t  limit_delayed;                      /* messages */
    uint64_t  limit_closed;                       /* connections */
    uint64_t  latency_sum;                        /* microseconds */
    uint64_t  latency[NGX_WS_BUS_LATENCY_N];
    uint64_t  dropped[NGX_WS_BUS_DROPPED_N];
    uint64_t  refused[NGX_WS_BUS_REFUSED_N];
    uint64_t  closed[NGX_WS_BUS_CLOSED_N];
    uint64_t  remote_errors;                      /* commands refused */
    uint64_t  remote_link[NGX_WS_BUS_REMOTE_LINK];
} ngx_ws_bus_stats_t;


/*
 * A worker process as the zone knows it, by ngx_process_slot.
 */

typedef struct {
    uint64_t            from;         /* first record it was rung for */
    ngx_uint_t          pending;      /* rung, and not yet looked */

    ngx_pid_t           pid;          /* 0: nobody */
    uint64_t            generation;   /* of the configuration */
    time_t              started;
    ngx_uint_t          clean;        /* left no interest behind */

    ngx_ws_bus_stats_t  stats;
} ngx_ws_bus_slot_t;


typedef struct ngx_ws_bus_node_s   ngx_ws_bus_node_t;
typedef struct ngx_ws_bus_once_s   ngx_ws_bus_once_t;
typedef struct ngx_ws_bus_member_s ngx_ws_bus_member_t;
typedef struct ngx_ws_bus_hub_s    ngx_ws_bus_hub_t;
typedef struct ngx_ws_bus_revoked_s     ngx_ws_bus_revoked_t;
typedef struct ngx_ws_bus_revocation_s  ngx_ws_bus_revocation_t;

typedef struct ngx_ws_bus_remote_s     ngx_ws_bus_remote_t;
typedef struct ngx_ws_bus_remote_sh_s  ngx_ws_bus_remote_sh_t;


/*
 * What an append has yet to do once its record is visible: place it in the
 * channel and mark the slots to be rung.  If a process is killed in between,
 * whoever takes the mutex next completes it.
 */

typedef struct {
    ngx_ws_bus_node_t  *node;         /* NULL: nothing to be done */
    ngx_ws_bus_once_t  *once;
    uint64_t            pos;
    uint64_t            seq;          /* the record's */
    uint32_t            keep;
    ngx_uint_t          type;         /* the record's */

    /* of a zone that spans hosts */
    uint64_t            epoch;        /* or the token of who made it live */
    uint64_t            prev;
    uint64_t            base;
    uint64_t            to;           /* the channel's seq */
    uint64_t            last;
} ngx_ws_bus_redo_t;


typedef struct {
    ngx_ws_bus_log_t    log;
    ngx_ws_bus_redo_t   redo;

    uint64_t            next_id;      /* channel ids are never reused */
    uint64_t            generation;
    uint64_t            created;      /* CLOCK_MONOTONIC, microseconds */

    ngx_uint_t          channels;     /* nodes in the table */
    ngx_uint_t          mask;         /* of both tables */
    ngx_uint_t          hand;         /* of the sweep */
    ngx_uint_t          once_hand;
    ngx_uint_t          nonces;       /* idempotency keys */
    ngx_uint_t          max_onces;
    ngx_ws_bus_node_t **nodes;
    ngx_ws_bus_once_t **onces;

    ngx_ws_bus_remote_sh_t  *remote;  /* NULL: this host's own */

    ngx_ws_bus_revoked_t  *revoked;       /* max_revoked entries */
    uint32_t              *revoked_heads;
    ngx_uint_t             max_revoked;
    ngx_uint_t             revoked_hand;
    ngx_uint_t             revocations;   /* ever made */
    ngx_uint_t             redo_revoke;   /* unsigned  redo_revoke:1; */
    uint64_t               revoking;      /* the record's position */

    ngx_uint_t          nslots;       /* highest slot ever taken + 1 */
    ngx_ws_bus_slot_t  *slots[NGX_MAX_PROCESSES];
} ngx_ws_bus_zone_sh_t;


/*
 * A zone as one configuration sees it.
 */

typedef struct {
    ngx_str_t                 name;
    ngx_shm_zone_t           *shm_zone;
    ngx_slab_pool_t          *shpool;
    ngx_ws_bus_zone_sh_t     *sh;
    ngx_ws_bus_doorbells_t   *doorbells;
    ngx_cycle_t              *cycle;
    uint64_t                  generation;   /* reloads of the zone so far */
    ngx_ws_bus_remote_t      *remote;       /* NULL: this host's own */

    /* of this process */
    ngx_ws_bus_hub_t         *hub;
    ngx_ws_bus_node_t        *pinned;       /* not to be swept */
} ngx_ws_bus_zone_t;


/*
 * The bytes of log that a zone of this size has.
 */
size_t ngx_ws_bus_zone_log_size(size_t size);

/*
 * ngx_shm_zone_init_pt: shm_zone->data is a ngx_ws_bus_zone_t.  A zone
 * carried over a reload keeps its memory and its doorbells.  Runs in the
 * master, before any fork; everything that can fail is made here, since an
 * error here only refuses the configuration.
 */
ngx_int_t ngx_ws_bus_zone_init(ngx_shm_zone_t *shm_zone, void *data);

/*
 * A cleanup handler for the configuration's pool; data is the zone.
 */
void ngx_ws_bus_zone_cleanup(void *data);

/*
 * Takes the slot of this process, leaving behind what a killed predecessor
 * left in it.  NULL when the zone has no memory for it: then the zone cannot
 * be used in this process.
 */
ngx_ws_bus_slot_t *ngx_ws_bus_zone_enter(ngx_ws_bus_zone_t *zone,
    ngx_log_t *log);

/*
 * Gives the slot back; the subscriptions have ended.
 */
void ngx_ws_bus_zone_leave(ngx_ws_bus_zone_t *zone);

/*
 * Marks slots whose process is gone; returns how many there were.
 */
ngx_uint_t ngx_ws_bus_zone_reap(ngx_ws_bus_zone_t *zone);

/*
 * The zone's mutex, which is the slab pool's: the master unlocks it for a
 * killed worker.  ngx_ws_bus_zone_lock() completes what such a worker left
 * undone.  Nothing that may block or take long is done under it.
 */
void ngx_ws_bus_zone_lock(ngx_ws_bus_zone_t *zone);
void ngx_ws_bus_zone_unlock(ngx_ws_bus_zone_t *zone);

/*
 * CLOCK_MONOTONIC in microseconds: the same in all processes of a host.
 */
uint64_t ngx_ws_bus_time(void);

/*
 * The index of stats.closed[] for a close code, and the code of an index:
 * 0 for the last one, which gathers all codes that are not listed.
 */
ngx_uint_t ngx_ws_bus_closed_index(ngx_uint_t code);
ngx_uint_t ngx_ws_bus_closed_code(ngx_uint_t i);

/*
 * The upper bounds of stats.latency[], microseconds.
 */
extern const uint64_t  ngx_ws_bus_latency_bounds[NGX_WS_BUS_LATENCY_N - 1];

/*
 * Counts n deliveries that took "usec" each.
 */
void ngx_ws_bus_latency_add(ngx_ws_bus_stats_t *stats, uint64_t usec,
    ngx_uint_t n);


#endif /* _NGX_WS_BUS_ZONE_H_INCLUDED_ */
