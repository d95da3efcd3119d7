
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_AUTH_CONF_H_INCLUDED_
#define _NGX_WS_BUS_AUTH_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>


/*
 * ws_bus_jwt_require: each of the values must be neither empty nor "0".
 */

typedef struct {
    ngx_array_t                values;      /* of ngx_http_complex_value_t */
    ngx_uint_t                 status;      /* of the refusal: 401 or 403 */
} ngx_ws_bus_auth_require_t;


/*
 * What a location says of tokens.
 */

typedef struct {
    ngx_flag_t                 on;          /* NGX_CONF_UNSET: never said */
    ngx_str_t                  realm;
    ngx_http_complex_value_t  *token;       /* NULL: no variable */

    ngx_uint_t                 algorithms;  /* NGX_WS_BUS_JOSE_... */
    ngx_array_t               *issuers;     /* of ngx_str_t; NULL: any */
    ngx_array_t               *audiences;
    time_t                     leeway;      /* seconds */
    ngx_array_t               *require;     /* of ..._require_t; NULL: none */
    ngx_str_t                  grants;      /* a claim's name; empty: off */

    time_t                     refresh;     /* seconds; 0: no warning */
    ngx_msec_t                 timeout;     /* 0: a token at the handshake */

    const char                *idle;        /* said here, useless alone */
} ngx_ws_bus_auth_conf_t;


/*
 * Nothing is configured yet; what the level above says is taken over.
 */
void ngx_ws_bus_auth_conf_init(ngx_ws_bus_auth_conf_t *conf);
void ngx_ws_bus_auth_conf_merge(ngx_ws_bus_auth_conf_t *conf,
    ngx_ws_bus_auth_conf_t *prev);


#endif /* _NGX_WS_BUS_AUTH_CONF_H_INCLUDED_ */
