
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SENTINEL_H_INCLUDED_
#define _NGX_WS_BUS_SENTINEL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_redis.h"


/*
 * Where the master is, by what Redis Sentinel says.  All sentinels of the
 * block are asked and listened to; the newest configuration counts, by its
 * "config-epoch", since a sentinel that was cut off knows an old one.
 */

typedef struct ngx_ws_bus_sentinel_s  ngx_ws_bus_sentinel_t;


typedef struct {
    /*
     * The master is this one from now on.  It may be tried before it knows
     * so: ROLE tells.  May close the sentinel.  The server before it may be
     * used until this returns.
     */
    void                      (*master)(void *data,
                                  ngx_ws_bus_link_server_t *server);
    void                       *data;
} ngx_ws_bus_sentinel_handlers_t;


/*
 * Begins to look for the master of a block with "mode sentinel"; no handler
 * is called before this has returned.  "redis" lives longer, "handlers" are
 * copied.  NULL without memory.
 */
ngx_ws_bus_sentinel_t *ngx_ws_bus_sentinel_create(ngx_ws_bus_redis_t *redis,
    ngx_ws_bus_sentinel_handlers_t *handlers, ngx_log_t *log);

/*
 * Ends it; the master's server is of no use any more.
 */
void ngx_ws_bus_sentinel_close(ngx_ws_bus_sentinel_t *sentinel);

/*
 * The master does not answer, or says that it is none: asks again and again,
 * at most once in a short while; until it does, and is.
 */
void ngx_ws_bus_sentinel_suspect(ngx_ws_bus_sentinel_t *sentinel);
void ngx_ws_bus_sentinel_trust(ngx_ws_bus_sentinel_t *sentinel);


#endif /* _NGX_WS_BUS_SENTINEL_H_INCLUDED_ */
