
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_UTF8_ASCII  0x8080808080808080ULL


/* what may come next; the start state has index 0 and is never looked up */

typedef enum {
    ngx_ws_bus_utf8_tail1 = 1,
    ngx_ws_bus_utf8_tail2,
    ngx_ws_bus_utf8_tail3,
    ngx_ws_bus_utf8_after_e0,
    ngx_ws_bus_utf8_after_ed,
    ngx_ws_bus_utf8_after_f0,
    ngx_ws_bus_utf8_after_f4,
    ngx_ws_bus_utf8_states
} ngx_ws_bus_utf8_e;


typedef struct {
    u_char             low;
    u_char             range;      /* the highest allowed is low + range */
    ngx_ws_bus_utf8_t  next;
} ngx_ws_bus_utf8_step_t;


static ngx_ws_bus_utf8_t ngx_ws_bus_utf8_lead(u_char ch);


/* RFC 3629, 4 */

static const ngx_ws_bus_utf8_step_t
    ngx_ws_bus_utf8_steps[ngx_ws_bus_utf8_states] =
{
    { 0x00, 0x00, 0 },
    { 0x80, 0x3f, NGX_WS_BUS_UTF8_START },
    { 0x80, 0x3f, ngx_ws_bus_utf8_tail1 },
    { 0x80, 0x3f, ngx_ws_bus_utf8_tail2 },
    { 0xa0, 0x1f, ngx_ws_bus_utf8_tail1 },     /* no overlong form */
    { 0x80, 0x1f, ngx_ws_bus_utf8_tail1 },     /* no surrogate */
    { 0x90, 0x2f, ngx_ws_bus_utf8_tail2 },     /* no overlong form */
    { 0x80, 0x0f, ngx_ws_bus_utf8_tail2 }      /* nothing above U+10FFFF */
};


ngx_int_t
ngx_ws_bus_utf8(ngx_ws_bus_utf8_t *state, const u_char *p, size_t len)
{
    uint64_t                       w, v[4];
    const u_char                  *last;
    ngx_ws_bus_utf8_t              s;
    const ngx_ws_bus_utf8_step_t  *step;

    if (len == 0) {
        return NGX_OK;
    }

    s = *state;
    last = p + len;

    for ( ;; ) {

        while (s != NGX_WS_BUS_UTF8_START) {

            if (p == last) {
                *state = s;
                return NGX_OK;
            }

            step = &ngx_ws_bus_utf8_steps[s];

            if ((u_char) (*p++ - step->low) > step->range) {
                return NGX_ERROR;
            }

            s = step->next;
        }

        while (last - p >= 32) {
            ngx_memcpy(v, p, 32);

            if ((v[0] | v[1] | v[2] | v[3]) & NGX_WS_BUS_UTF8_ASCII) {
                break;
            }

            p += 32;
        }

        while (last - p >= 8) {
            ngx_memcpy(&w, p, 8);

            if (w & NGX_WS_BUS_UTF8_ASCII) {
                break;
            }

            p += 8;
        }

        while (p < last && *p < 0x80) {
            p++;
        }

        if (p == last) {
            *state = NGX_WS_BUS_UTF8_START;
            return NGX_OK;
        }

        s = ngx_ws_bus_utf8_lead(*p++);

        if (s == NGX_WS_BUS_UTF8_START) {
            return NGX_ERROR;
        }
    }
}


/*
 * The state after the first byte of a longer sequence;
 * NGX_WS_BUS_UTF8_START if there is none.
 */

static ngx_ws_bus_utf8_t
ngx_ws_bus_utf8_lead(u_char ch)
{
    if (ch < 0xc2) {
        return NGX_WS_BUS_UTF8_START;
    }

    if (ch < 0xe0) {
        return ngx_ws_bus_utf8_tail1;
    }

    if (ch < 0xf0) {

        if (ch == 0xe0) {
            return ngx_ws_bus_utf8_after_e0;
        }

        if (ch == 0xed) {
            return ngx_ws_bus_utf8_after_ed;
        }

        return ngx_ws_bus_utf8_tail2;
    }

    if (ch == 0xf0) {
        return ngx_ws_bus_utf8_after_f0;
    }

    if (ch < 0xf4) {
        return ngx_ws_bus_utf8_tail3;
    }

    if (ch == 0xf4) {
        return ngx_ws_bus_utf8_after_f4;
    }

    return NGX_WS_BUS_UTF8_START;
}


ngx_uint_t
ngx_ws_bus_utf8_valid(const u_char *p, size_t len)
{
    ngx_ws_bus_utf8_t  state;

    state = NGX_WS_BUS_UTF8_START;

    return ngx_ws_bus_utf8(&state, p, len) == NGX_OK
           && state == NGX_WS_BUS_UTF8_START;
}
