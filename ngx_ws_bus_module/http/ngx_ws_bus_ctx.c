
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


static void ngx_ws_bus_ctx_cleanup(void *data);


ngx_ws_bus_ctx_t *
ngx_ws_bus_ctx(ngx_http_request_t *r)
{
    ngx_ws_bus_ctx_t    *ctx;
    ngx_pool_cleanup_t  *cln;

    ctx = ngx_ws_bus_ctx_find(r);
    if (ctx) {
        return ctx;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_ws_bus_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_ws_bus_ctx_t));

    cln->handler = ngx_ws_bus_ctx_cleanup;

    ngx_http_set_ctx(r->main, ctx, ngx_ws_bus_module);

    return ctx;
}


ngx_ws_bus_session_t *
ngx_ws_bus_ctx_session(ngx_http_request_t *r)
{
    ngx_ws_bus_ctx_t  *ctx;

    ctx = ngx_ws_bus_ctx_find(r);

    return ctx ? ctx->session : NULL;
}


/*
 * An internal redirect clears the contexts of a request, but not its pool:
 * as ngx_http_realip_get_module_ctx().  A subrequest shares the pool, and
 * with it what is known of its main request.
 */

ngx_ws_bus_ctx_t *
ngx_ws_bus_ctx_find(ngx_http_request_t *r)
{
    ngx_ws_bus_ctx_t    *ctx;
    ngx_pool_cleanup_t  *cln;

    r = r->main;

    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_ws_bus_ctx_cleanup) {
            ngx_http_set_ctx(r, cln->data, ngx_ws_bus_module);
            return cln->data;
        }
    }

    return NULL;
}


/*
 * It also marks the context in the pool.
 */

static void
ngx_ws_bus_ctx_cleanup(void *data)
{
    ngx_ws_bus_auth_release(data);
}
