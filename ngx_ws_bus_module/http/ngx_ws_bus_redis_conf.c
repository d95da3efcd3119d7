
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/* the default of "resolver_timeout", milliseconds */
#define NGX_WS_BUS_RESOLVER_TIMEOUT  30000


char *
ngx_ws_bus_redis_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_main_conf_t *wmcf = conf;

    return ngx_ws_bus_redis_block(cf, &wmcf->redises);
}


ngx_int_t
ngx_ws_bus_redis_conf_init(ngx_conf_t *cf)
{
    ngx_msec_t                 timeout;
    ngx_resolver_t            *resolver;
    ngx_ws_bus_main_conf_t    *wmcf;
    ngx_http_core_loc_conf_t  *clcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    resolver = clcf->resolver;

    /* where none is configured, nginx has made one without servers */

    if (resolver && resolver->connections.nelts == 0) {
        resolver = NULL;
    }

    timeout = (clcf->resolver_timeout == NGX_CONF_UNSET_MSEC)
              ? NGX_WS_BUS_RESOLVER_TIMEOUT : clcf->resolver_timeout;

    return ngx_ws_bus_redis_init(cf, &wmcf->redises, resolver, timeout);
}
