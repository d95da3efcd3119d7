
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


static ngx_int_t ngx_ws_bus_auth_variable_text(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, const json_t *claim);


/* in the order of ngx_ws_bus_auth_outcome_e */

static const ngx_str_t  ngx_ws_bus_auth_outcomes[] = {
    ngx_null_string,
    ngx_string("PASSED"),
    ngx_string("REJECTED_ORIGIN"),
    ngx_string("REJECTED_TOKEN"),
    ngx_string("REJECTED_CLAIM"),
    ngx_string("EXPIRED")
};


ngx_int_t
ngx_ws_bus_auth_variable_claim_set(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_array_t *names = (ngx_array_t *) data;

    ngx_ws_bus_auth_t  *auth;

    auth = ngx_ws_bus_auth_get(r);

    if (auth == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_ws_bus_auth_variable_text(r, v,
                                   ngx_ws_bus_jwt_claim(auth->jwt.claims,
                                                        names->elts,
                                                        names->nelts));
}


ngx_int_t
ngx_ws_bus_auth_variable_claim(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *variable = (ngx_str_t *) data;

    ngx_str_t           name;
    ngx_ws_bus_auth_t  *auth;

    auth = ngx_ws_bus_auth_get(r);

    if (auth == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    name.len = variable->len - (sizeof("ws_bus_claim_") - 1);
    name.data = variable->data + sizeof("ws_bus_claim_") - 1;

    return ngx_ws_bus_auth_variable_text(r, v,
                                   ngx_ws_bus_jwt_claim(auth->jwt.claims,
                                                        &name, 1));
}


static ngx_int_t
ngx_ws_bus_auth_variable_text(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, const json_t *claim)
{
    ngx_str_t  value;

    if (claim == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    value.len = ngx_ws_bus_jwt_text(claim, NULL, 0);

    value.data = ngx_pnalloc(r->pool, value.len + 1);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_ws_bus_jwt_text(claim, value.data, value.len);

    ngx_ws_bus_variable_string(v, &value);

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_auth_variable_subject(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_auth_t  *auth;

    (void) data;

    auth = ngx_ws_bus_auth_get(r);

    if (auth == NULL || auth->jwt.sub.data == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_ws_bus_auth_variable_text(r, v,
                                 json_object_get(auth->jwt.claims, "sub"));
}


ngx_int_t
ngx_ws_bus_auth_variable_outcome(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_ctx_t  *ctx;

    (void) data;

    ctx = ngx_ws_bus_ctx_find(r);

    if (ctx == NULL || ctx->outcome == NGX_WS_BUS_AUTH_NONE) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_ws_bus_variable_string(v, &ngx_ws_bus_auth_outcomes[ctx->outcome]);

    return NGX_OK;
}
