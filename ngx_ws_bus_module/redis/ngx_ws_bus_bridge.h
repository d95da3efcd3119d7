
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_BRIDGE_H_INCLUDED_
#define _NGX_WS_BUS_BRIDGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_remote.h"


/*
 * Makes what zone->remote is, of a zone with "redis=name".  NULL without
 * memory.
 */
ngx_ws_bus_remote_t *ngx_ws_bus_bridge_create(ngx_pool_t *pool,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_redis_t *redis);


#endif /* _NGX_WS_BUS_BRIDGE_H_INCLUDED_ */
