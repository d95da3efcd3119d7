
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_query.h"


#define NGX_WS_BUS_QUERY_EPOCH  16


static ngx_uint_t ngx_ws_bus_query_arg(const ngx_str_t *args,
    const char *name, ngx_str_t *value);
static ngx_int_t ngx_ws_bus_query_number(const ngx_str_t *value, uint64_t *n);
static ngx_int_t ngx_ws_bus_query_epoch(const ngx_str_t *value, uint64_t *n);


ngx_int_t
ngx_ws_bus_query_position(const ngx_str_t *args, ngx_ws_bus_query_t *q)
{
    ngx_str_t  value;

    ngx_memzero(q, sizeof(ngx_ws_bus_query_t));

    if (ngx_ws_bus_query_arg(args, "last", &value)) {

        if (ngx_ws_bus_query_number(&value, &q->last) != NGX_OK) {
            return NGX_ERROR;
        }

        q->has_last = 1;
    }

    if (ngx_ws_bus_query_arg(args, "last_seq", &value)) {

        q->has_last_seq = 1;

        if (ngx_ws_bus_query_number(&value, &q->last_seq) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_ws_bus_query_arg(args, "epoch", &value)
        && ngx_ws_bus_query_epoch(&value, &q->epoch) == NGX_OK)
    {
        q->has_epoch = 1;
    }

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_query_wait(const ngx_str_t *args, ngx_int_t max)
{
    uint64_t   n;
    ngx_str_t  value;

    if (!ngx_ws_bus_query_arg(args, "wait", &value)) {
        return NGX_DECLINED;
    }

    if (ngx_ws_bus_query_number(&value, &n) != NGX_OK) {
        return NGX_ERROR;
    }

    return (n < (uint64_t) max) ? (ngx_int_t) n : max;
}


/*
 * 1 if there is "name=", and what is between that and the next "&".
 */

static ngx_uint_t
ngx_ws_bus_query_arg(const ngx_str_t *args, const char *name,
    ngx_str_t *value)
{
    size_t   i, n;
    u_char  *p, *last, *end;

    p = args->data;
    last = p + args->len;
    n = ngx_strlen(name);

    while (p < last) {

        for (end = p; end < last && *end != '&'; end++) { /* void */ }

        for (i = 0; i < n && i < (size_t) (end - p); i++) {
            if (ngx_tolower(p[i]) != (u_char) name[i]) {
                break;
            }
        }

        if (i == n && p + n < end && p[n] == '=') {
            value->data = p + n + 1;
            value->len = end - value->data;
            return 1;
        }

        p = end + 1;
    }

    return 0;
}


static ngx_int_t
ngx_ws_bus_query_number(const ngx_str_t *value, uint64_t *n)
{
    size_t    i;
    uint64_t  digit;

    if (value->len == 0) {
        return NGX_ERROR;
    }

    *n = 0;

    for (i = 0; i < value->len; i++) {

        if (value->data[i] < '0' || value->data[i] > '9') {
            return NGX_ERROR;
        }

        digit = value->data[i] - '0';

        if (*n > (NGX_MAX_INT_T_VALUE - digit) / 10) {
            return NGX_ERROR;
        }

        *n = *n * 10 + digit;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_query_epoch(const ngx_str_t *value, uint64_t *n)
{
    u_char  ch;
    size_t  i;

    if (value->len != NGX_WS_BUS_QUERY_EPOCH) {
        return NGX_DECLINED;
    }

    *n = 0;

    for (i = 0; i < NGX_WS_BUS_QUERY_EPOCH; i++) {
        ch = ngx_tolower(value->data[i]);

        if (ch >= '0' && ch <= '9') {
            *n = *n << 4 | (uint64_t) (ch - '0');

        } else if (ch >= 'a' && ch <= 'f') {
            *n = *n << 4 | (uint64_t) (ch - 'a' + 10);

        } else {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}
