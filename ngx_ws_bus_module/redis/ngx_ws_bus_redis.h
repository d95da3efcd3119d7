
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_REDIS_H_INCLUDED_
#define _NGX_WS_BUS_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_link.h"


#define NGX_WS_BUS_REDIS_PORT           6379
#define NGX_WS_BUS_REDIS_SENTINEL_PORT  26379


typedef enum {
    NGX_WS_BUS_REDIS_STANDALONE = 0,
    NGX_WS_BUS_REDIS_SENTINEL,
    NGX_WS_BUS_REDIS_CLUSTER
} ngx_ws_bus_redis_mode_e;


/*
 * What a publisher gets while Redis is down.
 */

typedef enum {
    NGX_WS_BUS_REDIS_REJECT = 0,
    NGX_WS_BUS_REDIS_LOCAL,
    NGX_WS_BUS_REDIS_QUEUE
} ngx_ws_bus_redis_when_e;


/*
 * A block "ws_bus_redis name { ... }".
 */

typedef struct {
    ngx_ws_bus_link_conf_t      link;      /* link.name is the block's */

    ngx_array_t                 servers;   /* ngx_ws_bus_link_server_t */

    ngx_ws_bus_redis_mode_e     mode;
    ngx_str_t                   master;    /* sentinel's name for it */

    ngx_str_t                   prefix;    /* of keys and channels */

    ngx_ws_bus_redis_when_e     when_down;
    size_t                      queue;     /* bytes that may wait */

    u_char                     *file;      /* where the block begins */
    ngx_uint_t                  line;
    ngx_uint_t                  used;      /* unsigned  used:1; */
} ngx_ws_bus_redis_t;


/*
 * Reads a block; cf is at its "{".  "redises" holds the blocks so far, of
 * ngx_ws_bus_redis_t *, and gets this one.  NGX_CONF_OK or NGX_CONF_ERROR,
 * logged.
 */
char *ngx_ws_bus_redis_block(ngx_conf_t *cf, ngx_array_t *redises);

/*
 * The block of this name, or NULL.
 */
ngx_ws_bus_redis_t *ngx_ws_bus_redis_find(ngx_array_t *redises,
    ngx_str_t *name);

/*
 * After the configuration is read: resolves the servers' names, unless
 * "resolver" (NULL: none) does it at every connect.  NGX_OK, or NGX_ERROR,
 * logged.
 */
ngx_int_t ngx_ws_bus_redis_init(ngx_conf_t *cf, ngx_array_t *redises,
    ngx_resolver_t *resolver, ngx_msec_t resolver_timeout);


#endif /* _NGX_WS_BUS_REDIS_H_INCLUDED_ */
