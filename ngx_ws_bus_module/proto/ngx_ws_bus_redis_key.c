
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_redis_key.h"


#define NGX_WS_BUS_REDIS_ONCE  ":once:"


static const ngx_str_t  ngx_ws_bus_redis_suffixes[] = {
    ngx_null_string,
    ngx_string(":meta"),
    ngx_string(":log")
};


ngx_uint_t
ngx_ws_bus_redis_prefix_valid(const ngx_str_t *prefix)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < prefix->len; i++) {
        ch = prefix->data[i];

        if (ch <= ' ' || ch == 0x7f || ch == '{' || ch == '}' || ch == '*'
            || ch == '?' || ch == '[' || ch == ']' || ch == '\\')
        {
            return 0;
        }
    }

    return 1;
}


size_t
ngx_ws_bus_redis_key_size(const ngx_str_t *prefix, const ngx_str_t *channel)
{
    return prefix->len + sizeof("{}") - 1 + channel->len
           + sizeof(NGX_WS_BUS_REDIS_ONCE) - 1 + 2 * NGX_WS_BUS_REDIS_ONCE_MAX;
}


u_char *
ngx_ws_bus_redis_key(u_char *p, u_char *last, const ngx_str_t *prefix,
    const ngx_str_t *channel, ngx_ws_bus_redis_key_e kind)
{
    const ngx_str_t  *suffix;

    suffix = &ngx_ws_bus_redis_suffixes[kind];

    if ((size_t) (last - p) < prefix->len + sizeof("{}") - 1 + channel->len
                              + suffix->len)
    {
        return NULL;
    }

    if (prefix->len) {
        p = ngx_cpymem(p, prefix->data, prefix->len);
    }

    *p++ = '{';

    if (channel->len) {
        p = ngx_cpymem(p, channel->data, channel->len);
    }

    *p++ = '}';

    if (suffix->len) {
        p = ngx_cpymem(p, suffix->data, suffix->len);
    }

    return p;
}


u_char *
ngx_ws_bus_redis_once(u_char *p, u_char *last, const ngx_str_t *prefix,
    const ngx_str_t *channel, const u_char *digest, size_t len)
{
    size_t  i;

    static const u_char  hex[] = "0123456789abcdef";

    p = ngx_ws_bus_redis_key(p, last, prefix, channel,
                             NGX_WS_BUS_REDIS_KEY_CHANNEL);

    if (p == NULL
        || (size_t) (last - p) < sizeof(NGX_WS_BUS_REDIS_ONCE) - 1 + 2 * len)
    {
        return NULL;
    }

    p = ngx_cpymem(p, NGX_WS_BUS_REDIS_ONCE,
                   sizeof(NGX_WS_BUS_REDIS_ONCE) - 1);

    for (i = 0; i < len; i++) {
        *p++ = hex[digest[i] >> 4];
        *p++ = hex[digest[i] & 0xf];
    }

    return p;
}


ngx_int_t
ngx_ws_bus_redis_channel(const ngx_str_t *name, const ngx_str_t *prefix,
    ngx_str_t *channel)
{
    size_t   i, len;
    u_char  *p;

    if (name->len < prefix->len + sizeof("{}")) {
        return NGX_DECLINED;
    }

    len = name->len - prefix->len - (sizeof("{}") - 1);

    if (len > NGX_WS_BUS_REDIS_CHANNEL_MAX
        || (prefix->len
            && ngx_memcmp(name->data, prefix->data, prefix->len) != 0))
    {
        return NGX_DECLINED;
    }

    p = name->data + prefix->len;

    if (*p++ != '{' || p[len] != '}') {
        return NGX_DECLINED;
    }

    for (i = 0; i < len; i++) {
        if (p[i] == '{' || p[i] == '}') {
            return NGX_DECLINED;
        }
    }

    channel->data = p;
    channel->len = len;

    return NGX_OK;
}
