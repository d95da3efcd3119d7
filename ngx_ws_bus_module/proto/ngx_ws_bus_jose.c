
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_ws_bus_jose.h"


static ngx_uint_t ngx_ws_bus_jose_is_deep(const u_char *text, size_t len,
    ngx_uint_t depth);


static const ngx_ws_bus_jose_alg_t  ngx_ws_bus_jose_algs[] = {
    { ngx_string("RS256"), NGX_WS_BUS_JOSE_RS256, 256 },
    { ngx_string("RS384"), NGX_WS_BUS_JOSE_RS384, 384 },
    { ngx_string("RS512"), NGX_WS_BUS_JOSE_RS512, 512 },
    { ngx_string("PS256"), NGX_WS_BUS_JOSE_PS256, 256 },
    { ngx_string("PS384"), NGX_WS_BUS_JOSE_PS384, 384 },
    { ngx_string("PS512"), NGX_WS_BUS_JOSE_PS512, 512 },
    { ngx_string("ES256"), NGX_WS_BUS_JOSE_ES256, 256 },
    { ngx_string("ES384"), NGX_WS_BUS_JOSE_ES384, 384 },
    { ngx_string("ES512"), NGX_WS_BUS_JOSE_ES512, 512 },
    { ngx_string("EdDSA"), NGX_WS_BUS_JOSE_EDDSA, 0 },
    { ngx_string("HS256"), NGX_WS_BUS_JOSE_HS256, 256 },
    { ngx_string("HS384"), NGX_WS_BUS_JOSE_HS384, 384 },
    { ngx_string("HS512"), NGX_WS_BUS_JOSE_HS512, 512 },
    { ngx_null_string, 0, 0 }
};


/* the values of characters, 0xff for what is none */

static const u_char  ngx_ws_bus_jose_base64[] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255,  62, 255, 255,  52,  53,  54,  55,  56,  57,  58,  59,
     60,  61, 255, 255, 255, 255, 255, 255, 255,   0,   1,   2,   3,   4,
      5,   6,   7,   8,   9,  10,  11,  12,  13,  14,  15,  16,  17,  18,
     19,  20,  21,  22,  23,  24,  25, 255, 255, 255, 255,  63, 255,  26,
     27,  28,  29,  30,  31,  32,  33,  34,  35,  36,  37,  38,  39,  40,
     41,  42,  43,  44,  45,  46,  47,  48,  49,  50,  51, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255
};


const ngx_ws_bus_jose_alg_t *
ngx_ws_bus_jose_alg(const u_char *name, size_t len)
{
    const ngx_ws_bus_jose_alg_t  *alg;

    for (alg = ngx_ws_bus_jose_algs; alg->bit; alg++) {
        if (alg->name.len == len
            && ngx_memcmp(alg->name.data, name, len) == 0)
        {
            return alg;
        }
    }

    return NULL;
}


u_char *
ngx_ws_bus_jose_names(u_char *p, ngx_uint_t algorithms)
{
    u_char                       *start;
    const ngx_ws_bus_jose_alg_t  *alg;

    start = p;

    for (alg = ngx_ws_bus_jose_algs; alg->bit; alg++) {

        if (!(algorithms & alg->bit)) {
            continue;
        }

        if (p != start) {
            *p++ = ' ';
        }

        p = ngx_cpymem(p, alg->name.data, alg->name.len);
    }

    return p;
}


ssize_t
ngx_ws_bus_jose_base64url(u_char *dst, const u_char *src, size_t len)
{
    u_char        *d;
    uint32_t       a, b, c, e;
    const u_char  *last;

    d = dst;
    last = src + len / 4 * 4;

    while (src < last) {
        a = ngx_ws_bus_jose_base64[src[0]];
        b = ngx_ws_bus_jose_base64[src[1]];
        c = ngx_ws_bus_jose_base64[src[2]];
        e = ngx_ws_bus_jose_base64[src[3]];

        if ((a | b | c | e) & 0x80) {
            return NGX_ERROR;
        }

        *d++ = (u_char) (a << 2 | b >> 4);
        *d++ = (u_char) (b << 4 | c >> 2);
        *d++ = (u_char) (c << 6 | e);

        src += 4;
    }

    switch (len % 4) {

    case 0:
        break;

    case 2:
        a = ngx_ws_bus_jose_base64[src[0]];
        b = ngx_ws_bus_jose_base64[src[1]];

        if (((a | b) & 0x80) || (b & 0x0f)) {
            return NGX_ERROR;
        }

        *d++ = (u_char) (a << 2 | b >> 4);
        break;

    case 3:
        a = ngx_ws_bus_jose_base64[src[0]];
        b = ngx_ws_bus_jose_base64[src[1]];
        c = ngx_ws_bus_jose_base64[src[2]];

        if (((a | b | c) & 0x80) || (c & 0x03)) {
            return NGX_ERROR;
        }

        *d++ = (u_char) (a << 2 | b >> 4);
        *d++ = (u_char) (b << 4 | c >> 2);
        break;

    default:
        return NGX_ERROR;
    }

    return d - dst;
}


ngx_ws_bus_jose_e
ngx_ws_bus_jose_json(const u_char *text, size_t len, ngx_uint_t depth,
    json_t **object)
{
    json_error_t  error;

    *object = NULL;

    if (ngx_ws_bus_jose_is_deep(text, len, depth)) {
        return NGX_WS_BUS_JOSE_DEEP;
    }

    /* without a cause of its own, the library's failure is one of memory */

    ngx_memzero(&error, sizeof(json_error_t));

    *object = json_loadb(len ? (const char *) text : "", len,
                         JSON_REJECT_DUPLICATES, &error);

    if (*object == NULL) {

        switch (json_error_code(&error)) {

        case json_error_unknown:
        case json_error_out_of_memory:
            return NGX_WS_BUS_JOSE_MEMORY;

        case json_error_duplicate_key:
            return NGX_WS_BUS_JOSE_DUPLICATE;

        case json_error_numeric_overflow:
            return NGX_WS_BUS_JOSE_NUMBER;

        default:
            return NGX_WS_BUS_JOSE_JSON;
        }
    }

    if (!json_is_object(*object)) {
        json_decref(*object);
        *object = NULL;
        return NGX_WS_BUS_JOSE_OBJECT;
    }

    return NGX_WS_BUS_JOSE_OK;
}


/*
 * 1 if the text is nested deeper than "depth".  Of what is no JSON either
 * answer is right.
 */

static ngx_uint_t
ngx_ws_bus_jose_is_deep(const u_char *text, size_t len, ngx_uint_t depth)
{
    size_t      i;
    ngx_uint_t  n;

    /* most have fewer brackets than that, wherever they are: "[", "{" */

    n = 0;

    for (i = 0; i < len; i++) {
        n += ((text[i] | 0x20) == '{');
    }

    if (n <= depth) {
        return 0;
    }

    n = 0;

    for (i = 0; i < len; i++) {

        switch (text[i]) {

        case '"':

            for (i++; i < len && text[i] != '"'; i++) {
                if (text[i] == '\\') {
                    i++;
                }
            }

            break;

        case '{':
        case '[':

            if (++n > depth) {
                return 1;
            }

            break;

        case '}':
        case ']':

            /* more than there were is for the parser to find */

            n -= (n > 0);
            break;
        }
    }

    return 0;
}
