
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_pattern.h"


/*
 * The directives of a location that do not fit nginx's own slots.
 */


char *
ngx_ws_bus_publish_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t                         *value;
    ngx_http_compile_complex_value_t   ccv;

    (void) cmd;

    if (wlcf->publish != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_script_variables_count(&value[1]) == 0
        && ngx_strcmp(value[1].data, "on") != 0
        && ngx_strcmp(value[1].data, "off") != 0)
    {
        return ngx_ws_bus_invalid(cf, &value[1]);
    }

    wlcf->publish = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (wlcf->publish == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = wlcf->publish;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_channels_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_int_t         rc;
    ngx_str_t        *value, *pattern;
    ngx_uint_t        i;
    const ngx_str_t  *reason;

    (void) cmd;

    if (wlcf->channels != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    wlcf->channels = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                      sizeof(ngx_str_t));
    if (wlcf->channels == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "none") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        pattern = ngx_array_push(wlcf->channels);

        pattern->data = ngx_pnalloc(cf->pool, NGX_WS_BUS_PATTERN_SIZE);
        if (pattern->data == NULL) {
            return NGX_CONF_ERROR;
        }

        rc = ngx_ws_bus_pattern_compile(&value[i], NULL, NULL, pattern->data,
                                        &pattern->len, &reason);

        if (rc == NGX_DECLINED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "claims cannot be used in channel pattern "
                               "\"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rc != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid channel pattern \"%V\": %V",
                               &value[i], reason);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_history_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    (void) cmd;

    if (wlcf->history != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        wlcf->history = 0;
        wlcf->history_age = 0;
        return NGX_CONF_OK;
    }

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of messages \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    wlcf->history = n;
    wlcf->history_age = 0;

    if (cf->args->nelts == 3) {
        wlcf->history_age = ngx_parse_time(&value[2], 1);

        if (wlcf->history_age == (time_t) NGX_ERROR
            || wlcf->history_age == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid age \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_ping_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_int_t   ms;
    ngx_str_t  *value;

    (void) cmd;

    if (wlcf->ping != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        wlcf->ping = 0;
        return NGX_CONF_OK;
    }

    ms = ngx_parse_time(&value[1], 0);

    if (ms == NGX_ERROR || ms == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid interval \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    wlcf->ping = ms;

    if (cf->args->nelts == 3) {
        ms = ngx_parse_time(&value[2], 0);

        if (ms == NGX_ERROR || ms == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid timeout \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        wlcf->ping_timeout = ms;
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_buffer_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    (void) cmd;

    if (wlcf->buffer != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR || size == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    wlcf->buffer = size;
    wlcf->buffer_policy = NGX_WS_BUS_BUFFER_CLOSE;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[2].data, "oldest") == 0) {
        wlcf->buffer_policy = NGX_WS_BUS_BUFFER_OLDEST;

    } else if (ngx_strcmp(value[2].data, "latest") == 0) {
        wlcf->buffer_policy = NGX_WS_BUS_BUFFER_LATEST;

    } else if (ngx_strcmp(value[2].data, "close") != 0) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_deflate_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ssize_t      size;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    (void) cmd;

    if (wlcf->deflate != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") == 0) {
        wlcf->deflate = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        wlcf->deflate = 0;

    } else {
        return ngx_ws_bus_invalid(cf, &value[1]);
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "level=", 6) == 0) {

            wlcf->deflate_level = ngx_atoi(value[i].data + 6,
                                           value[i].len - 6);

            if (wlcf->deflate_level < 1 || wlcf->deflate_level > 9) {
                return ngx_ws_bus_invalid(cf, &value[i]);
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "min_length=", 11) == 0) {

            s.data = value[i].data + 11;
            s.len = value[i].len - 11;

            size = ngx_parse_size(&s);

            if (size == NGX_ERROR) {
                return ngx_ws_bus_invalid(cf, &value[i]);
            }

            wlcf->deflate_min_length = size;
            continue;
        }

        return ngx_ws_bus_invalid(cf, &value[i]);
    }

    return NGX_CONF_OK;
}


char *
ngx_ws_bus_invalid(ngx_conf_t *cf, ngx_str_t *value)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\"", value);

    return NGX_CONF_ERROR;
}
