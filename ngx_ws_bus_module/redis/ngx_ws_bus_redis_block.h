
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_REDIS_BLOCK_H_INCLUDED_
#define _NGX_WS_BUS_REDIS_BLOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_redis.h"


/*
 * A block while it is read.
 */

typedef struct {
    ngx_ws_bus_redis_t    *redis;
    ngx_array_t            servers;             /* ngx_str_t */

    ngx_uint_t             mode;
    ngx_uint_t             when_down;
    ngx_int_t              database;

    ngx_flag_t             ssl;
    ngx_flag_t             ssl_verify;
    ngx_str_t              ssl_trusted_certificate;
    ngx_str_t              ssl_certificate;
    ngx_str_t              ssl_certificate_key;
} ngx_ws_bus_redis_block_t;


/*
 * Checks what was read as a whole, and fills in what was not.  NGX_OK, or
 * NGX_ERROR, logged.
 */
ngx_int_t ngx_ws_bus_redis_finish(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);


#endif /* _NGX_WS_BUS_REDIS_BLOCK_H_INCLUDED_ */
