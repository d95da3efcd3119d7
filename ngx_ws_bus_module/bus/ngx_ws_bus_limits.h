
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_LIMITS_H_INCLUDED_
#define _NGX_WS_BUS_LIMITS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_rate.h"


/* as limit_req_zone's */
#define NGX_WS_BUS_LIMITS_MIN     ((ssize_t) (8 * ngx_pagesize))

/* SHA-1 of a key */
#define NGX_WS_BUS_LIMITS_DIGEST  20


/*
 * What a key, or a connection, may send; a rate of 0 is no limit.
 */

typedef struct {
    ngx_ws_bus_rate_t         messages;
    ngx_ws_bus_rate_t         bytes;
} ngx_ws_bus_limits_rule_t;


/*
 * Where it stands.  Zeroed memory is one that has sent nothing yet.
 */

typedef struct {
    ngx_ws_bus_rate_state_t   messages;
    ngx_ws_bus_rate_state_t   bytes;
} ngx_ws_bus_limits_state_t;


typedef enum {
    NGX_WS_BUS_LIMITS_ASK = 0,     /* charges nothing */
    NGX_WS_BUS_LIMITS_CHARGE,      /* charges what is not refused */
    NGX_WS_BUS_LIMITS_FORCE        /* charges in any case */
} ngx_ws_bus_limits_how_e;


/*
 * Of the two rates the one that refuses, or makes the message wait longer.
 */

typedef struct {
    uint64_t                  excess;     /* thousandths */
    ngx_msec_t                wait;
    ngx_uint_t                bytes;      /* unsigned  bytes:1; */
} ngx_ws_bus_limits_verdict_t;


/*
 * A key as a connection remembers it.
 */

typedef struct {
    u_char                    digest[NGX_WS_BUS_LIMITS_DIGEST];
    uint32_t                  entry;      /* where it was last; 0: nowhere */
} ngx_ws_bus_limits_key_t;


typedef struct ngx_ws_bus_limits_sh_s  ngx_ws_bus_limits_sh_t;


/*
 * A table of keys in shared memory, as one configuration sees it.
 */

typedef struct {
    ngx_str_t                 name;
    ngx_str_t                 key;        /* as configured */
    ngx_slab_pool_t          *shpool;
    ngx_ws_bus_limits_sh_t   *sh;
} ngx_ws_bus_limits_t;


/*
 * ngx_shm_zone_init_pt: shm_zone->data is a ngx_ws_bus_limits_t.  All memory
 * of the table is taken here.  A table carried over a reload keeps its
 * entries, and must have the same key.
 */
ngx_int_t ngx_ws_bus_limits_init(ngx_shm_zone_t *shm_zone, void *data);

/*
 * Sets up a key from its value of any length.
 */
void ngx_ws_bus_limits_key(ngx_ws_bus_limits_key_t *key, ngx_str_t *value);

/*
 * Judges a message of "len" bytes by a rule, for a state that is the caller's
 * own.
 *
 * NGX_OK    it may pass, at once if v->wait is 0, else after v->wait
 *           milliseconds
 * NGX_BUSY  refused
 */
ngx_int_t ngx_ws_bus_limits_judge(const ngx_ws_bus_limits_rule_t *rule,
    ngx_ws_bus_limits_state_t *state, size_t len, ngx_uint_t how,
    ngx_ws_bus_limits_verdict_t *v);

/*
 * The same for the state of a key, under the table's mutex.  A key that is
 * charged and not there yet takes the place of the least recently used one.
 */
ngx_int_t ngx_ws_bus_limits_judge_key(ngx_ws_bus_limits_t *limits,
    ngx_ws_bus_limits_key_t *key, const ngx_ws_bus_limits_rule_t *rule,
    size_t len, ngx_uint_t how, ngx_ws_bus_limits_verdict_t *v);


#endif /* _NGX_WS_BUS_LIMITS_H_INCLUDED_ */
