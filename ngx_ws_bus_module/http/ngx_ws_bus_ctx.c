
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


#define NGX_WS_BUS_CTX_POOL  4096


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


ngx_int_t
ngx_ws_bus_ctx_lend(ngx_http_request_t *r, ngx_http_request_t *copy)
{
    size_t                      size, nvars;
    ngx_pool_t                 *pool;
    ngx_http_core_main_conf_t  *cmcf;

    pool = ngx_create_pool(NGX_WS_BUS_CTX_POOL, r->connection->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    size = ngx_http_max_module * sizeof(void *);
    nvars = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);

    *copy = *r;

    copy->ctx = ngx_palloc(pool, size);
    copy->loc_conf = ngx_palloc(pool, size);
    copy->variables = ngx_palloc(pool, nvars);

    if (copy->ctx == NULL || copy->loc_conf == NULL
        || copy->variables == NULL)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    ngx_memcpy(copy->ctx, r->ctx, size);
    ngx_memcpy(copy->loc_conf, r->loc_conf, size);
    ngx_memcpy(copy->variables, r->variables, nvars);

    copy->pool = pool;

#if (NGX_PCRE)
    copy->realloc_captures = 1;
#endif

    if (r == r->main) {
        copy->main = copy;
    }

    /* modules look for what they know of a request among its cleanups */

    pool->cleanup = r->pool->cleanup;

    return NGX_OK;
}


void
ngx_ws_bus_ctx_return(ngx_http_request_t *r, ngx_http_request_t *copy)
{
    ngx_pool_cleanup_t  **cln;

    for (cln = &copy->pool->cleanup;
         *cln != r->pool->cleanup;
         cln = &(*cln)->next)
    {
        /* void */
    }

    *cln = NULL;

    ngx_destroy_pool(copy->pool);
}


/*
 * It also marks the context in the pool.
 */

static void
ngx_ws_bus_ctx_cleanup(void *data)
{
    ngx_ws_bus_auth_release(data);
}
