
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/*
 * The directives about tokens.
 */


#define NGX_WS_BUS_AUTH_ALGORITHMS                                            \
    (NGX_WS_BUS_JOSE_RS256|NGX_WS_BUS_JOSE_ES256                              \
     |NGX_WS_BUS_JOSE_EDDSA|NGX_WS_BUS_JOSE_PS256)


static ngx_int_t ngx_ws_bus_auth_conf_realm(ngx_str_t *realm);
static ngx_int_t ngx_ws_bus_auth_conf_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv);


char *
ngx_ws_bus_jwt_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t               *value, token;
    ngx_ws_bus_auth_conf_t  *acf;

    (void) cmd;

    acf = &wlcf->auth;

    if (acf->on != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts == 3) {
            return ngx_ws_bus_invalid(cf, &value[2]);
        }

        acf->on = 0;

        return NGX_CONF_OK;
    }

    if (ngx_ws_bus_auth_conf_realm(&value[1]) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid realm \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    acf->on = 1;
    acf->realm = value[1];

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "token=", 6) != 0) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    token.len = value[2].len - 6;
    token.data = value[2].data + 6;

    if (ngx_http_script_variables_count(&token) == 0) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    acf->token = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (acf->token == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_ws_bus_auth_conf_value(cf, &token, acf->token) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * It goes into a header between quotes, as it is.
 */

static ngx_int_t
ngx_ws_bus_auth_conf_realm(ngx_str_t *realm)
{
    size_t  i;

    for (i = 0; i < realm->len; i++) {

        switch (realm->data[i]) {

        case '"':
        case '\\':
        case 0x7f:
            return NGX_ERROR;

        default:
            if (realm->data[i] < 0x20) {
                return NGX_ERROR;
            }
        }
    }

    return realm->len ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_auth_conf_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv)
{
    ngx_http_compile_complex_value_t  ccv;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = cv;

    return ngx_http_compile_complex_value(&ccv);
}


char *
ngx_ws_bus_jwt_algorithms_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    i;
    const ngx_ws_bus_jose_alg_t  *alg;

    (void) cmd;

    if (wlcf->auth.algorithms) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        alg = ngx_ws_bus_jose_alg(value[i].data, value[i].len);

        if (alg == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid algorithm \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        wlcf->auth.algorithms |= alg->bit;
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_jwt_list_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t    *value, *v;
    ngx_uint_t    i;
    ngx_array_t  **list;

    list = (ngx_array_t **) ((char *) conf + cmd->offset);

    if (*list != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    *list = ngx_array_create(cf->pool, cf->args->nelts - 1,
                             sizeof(ngx_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0) {
            return ngx_ws_bus_invalid(cf, &value[i]);
        }

        v = ngx_array_push(*list);
        *v = value[i];
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_jwt_require_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t                  *value;
    ngx_uint_t                  i, n;
    ngx_array_t               **require;
    ngx_http_complex_value_t   *cv;
    ngx_ws_bus_auth_require_t  *rule;

    (void) cmd;

    require = &wlcf->auth.require;

    if (*require == NGX_CONF_UNSET_PTR) {
        *require = ngx_array_create(cf->pool, 2,
                                    sizeof(ngx_ws_bus_auth_require_t));
        if (*require == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(*require);
    if (rule == NULL
        || ngx_array_init(&rule->values, cf->pool, 2,
                          sizeof(ngx_http_complex_value_t))
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    rule->status = NGX_HTTP_UNAUTHORIZED;

    value = cf->args->elts;
    n = cf->args->nelts;

    if (n > 2 && ngx_strncmp(value[n - 1].data, "error=", 6) == 0) {

        n--;

        if (ngx_strcmp(value[n].data + 6, "403") == 0) {
            rule->status = NGX_HTTP_FORBIDDEN;

        } else if (ngx_strcmp(value[n].data + 6, "401") != 0) {
            return ngx_ws_bus_invalid(cf, &value[n]);
        }
    }

    for (i = 1; i < n; i++) {

        if (ngx_http_script_variables_count(&value[i]) == 0) {
            return ngx_ws_bus_invalid(cf, &value[i]);
        }

        cv = ngx_array_push(&rule->values);
        if (cv == NULL
            || ngx_ws_bus_auth_conf_value(cf, &value[i], cv) != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_jwt_grants_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t  *value;

    (void) cmd;

    if (wlcf->auth.grants.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return ngx_ws_bus_invalid(cf, &value[1]);
    }

    wlcf->auth.grants = value[1];

    if (ngx_strcmp(value[1].data, "off") == 0) {
        wlcf->auth.grants.len = 0;
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_auth_timeout_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t  *value;

    (void) cmd;

    if (wlcf->auth.timeout != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        wlcf->auth.timeout = 0;
        return NGX_CONF_OK;
    }

    wlcf->auth.timeout = ngx_parse_time(&value[1], 0);

    if (wlcf->auth.timeout == (ngx_msec_t) NGX_ERROR
        || wlcf->auth.timeout == 0)
    {
        return ngx_ws_bus_invalid(cf, &value[1]);
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_jwt_claim_set_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_str_t            *value, *name;
    ngx_uint_t            i;
    ngx_array_t          *names;
    ngx_http_variable_t  *var;

    (void) cmd;
    (void) conf;

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    value[1].len--;
    value[1].data++;

    names = ngx_array_create(cf->pool, cf->args->nelts - 2,
                             sizeof(ngx_str_t));
    if (names == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (value[i].len == 0) {
            return ngx_ws_bus_invalid(cf, &value[i]);
        }

        name = ngx_array_push(names);
        *name = value[i];
    }

    var = ngx_http_add_variable(cf, &value[1], NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_CONF_ERROR;
    }

    var->get_handler = ngx_ws_bus_auth_variable_claim_set;
    var->data = (uintptr_t) names;

    return NGX_CONF_OK;
}


void
ngx_ws_bus_auth_conf_init(ngx_ws_bus_auth_conf_t *conf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->realm = { 0, NULL };
     *     conf->token = NULL;
     *     conf->algorithms = 0;
     *     conf->grants = { 0, NULL };
     */

    conf->on = NGX_CONF_UNSET;
    conf->issuers = NGX_CONF_UNSET_PTR;
    conf->audiences = NGX_CONF_UNSET_PTR;
    conf->leeway = NGX_CONF_UNSET;
    conf->require = NGX_CONF_UNSET_PTR;
    conf->refresh = NGX_CONF_UNSET;
    conf->timeout = NGX_CONF_UNSET_MSEC;
}


void
ngx_ws_bus_auth_conf_merge(ngx_ws_bus_auth_conf_t *conf,
    ngx_ws_bus_auth_conf_t *prev)
{
    conf->idle = (conf->require != NGX_CONF_UNSET_PTR)
                 ? "ws_bus_jwt_require"
                 : conf->grants.len ? "ws_bus_jwt_grants"
                 : (conf->timeout != NGX_CONF_UNSET_MSEC && conf->timeout)
                 ? "ws_bus_auth_timeout" : NULL;

    if (conf->on == NGX_CONF_UNSET) {
        conf->on = prev->on;
        conf->realm = prev->realm;
        conf->token = prev->token;
    }

    if (conf->algorithms == 0) {
        conf->algorithms = prev->algorithms ? prev->algorithms
                                            : NGX_WS_BUS_AUTH_ALGORITHMS;
    }

    if (conf->grants.data == NULL) {
        conf->grants = prev->grants;
    }

    ngx_conf_merge_ptr_value(conf->issuers, prev->issuers, NULL);
    ngx_conf_merge_ptr_value(conf->audiences, prev->audiences, NULL);
    ngx_conf_merge_sec_value(conf->leeway, prev->leeway, 0);
    ngx_conf_merge_ptr_value(conf->require, prev->require, NULL);
    ngx_conf_merge_sec_value(conf->refresh, prev->refresh, 120);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 0);
}


char *
ngx_ws_bus_auth_conf_check(ngx_conf_t *cf, ngx_ws_bus_loc_conf_t *wlcf)
{
    ngx_ws_bus_auth_conf_t  *conf;

    conf = &wlcf->auth;

    if (conf->on == NGX_CONF_UNSET && conf->idle) {

        /* nobody would be asked for what seems to be wanted */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" needs \"ws_bus_jwt\"", conf->idle);
        return NGX_CONF_ERROR;
    }

    if (conf->on == 1 && wlcf->keys == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"ws_bus_jwt\" needs \"ws_bus_jwt_key_file\" "
                           "or \"ws_bus_jwt_key_request\"");
        return NGX_CONF_ERROR;
    }

    if (conf->on == 1) {
        ngx_ws_bus_keys_check(cf, wlcf->keys, conf->algorithms);
    }

    return NGX_CONF_OK;
}
