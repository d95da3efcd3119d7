
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_base64.h"


/* a bit that no value has */
#define NGX_WS_BUS_BASE64_BAD  0xc0

#define ngx_ws_bus_base64_value(ch)                                           \
    (ngx_ws_bus_base64_values[(ch) & 0x7f] | ((ch) & 0x80))


/* RFC 4648, 4 */

static const u_char  ngx_ws_bus_base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 64 for what is not a digit */

static const u_char  ngx_ws_bus_base64_values[128] = {
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64,
    64,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
    64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64
};


ngx_int_t
ngx_ws_bus_base64_decode(ngx_str_t *s)
{
    u_char      *p, *dst, *last;
    uint32_t     a, b, c, d;
    ngx_uint_t   pad;

    if (s->len == 0) {
        return NGX_OK;
    }

    if (s->len % 4) {
        return NGX_ERROR;
    }

    p = s->data;
    dst = s->data;
    last = s->data + s->len;

    pad = (last[-1] == '=') ? (last[-2] == '=') ? 2 : 1 : 0;

    if (pad) {
        last -= 4;
    }

    for ( /* void */ ; p < last; p += 4) {
        a = ngx_ws_bus_base64_value(p[0]);
        b = ngx_ws_bus_base64_value(p[1]);
        c = ngx_ws_bus_base64_value(p[2]);
        d = ngx_ws_bus_base64_value(p[3]);

        if ((a | b | c | d) & NGX_WS_BUS_BASE64_BAD) {
            return NGX_ERROR;
        }

        *dst++ = (u_char) (a << 2 | b >> 4);
        *dst++ = (u_char) (b << 4 | c >> 2);
        *dst++ = (u_char) (c << 6 | d);
    }

    if (pad) {
        a = ngx_ws_bus_base64_value(p[0]);
        b = ngx_ws_bus_base64_value(p[1]);
        c = (pad == 1) ? ngx_ws_bus_base64_value(p[2]) : 0;

        if ((a | b | c) & NGX_WS_BUS_BASE64_BAD) {
            return NGX_ERROR;
        }

        if (pad == 1) {

            if (c & 0x03) {
                return NGX_ERROR;
            }

            *dst++ = (u_char) (a << 2 | b >> 4);
            *dst++ = (u_char) (b << 4 | c >> 2);

        } else {

            if (b & 0x0f) {
                return NGX_ERROR;
            }

            *dst++ = (u_char) (a << 2 | b >> 4);
        }
    }

    s->len = dst - s->data;

    return NGX_OK;
}


u_char *
ngx_ws_bus_base64_encode(u_char *p, const u_char *src, size_t len)
{
    uint32_t  w;

    for ( /* void */ ; len >= 3; len -= 3) {
        w = (uint32_t) src[0] << 16 | (uint32_t) src[1] << 8 | src[2];
        src += 3;

        *p++ = ngx_ws_bus_base64_digits[w >> 18];
        *p++ = ngx_ws_bus_base64_digits[(w >> 12) & 0x3f];
        *p++ = ngx_ws_bus_base64_digits[(w >> 6) & 0x3f];
        *p++ = ngx_ws_bus_base64_digits[w & 0x3f];
    }

    if (len) {
        w = (uint32_t) src[0] << 16;

        if (len == 2) {
            w |= (uint32_t) src[1] << 8;
        }

        *p++ = ngx_ws_bus_base64_digits[w >> 18];
        *p++ = ngx_ws_bus_base64_digits[(w >> 12) & 0x3f];
        *p++ = (len == 2) ? ngx_ws_bus_base64_digits[(w >> 6) & 0x3f] : '=';
        *p++ = '=';
    }

    return p;
}
