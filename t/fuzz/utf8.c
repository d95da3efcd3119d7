
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"

#include "fuzz.h"


/* more would make the cuts of one input too many */

#define MAX  256


static long reference(const u_char *p, size_t len, ngx_uint_t *complete);
static void check_cut(const u_char *p, size_t len, size_t cut, long bad,
    ngx_uint_t complete);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    long                bad, at;
    size_t              i;
    ngx_uint_t          complete;
    ngx_ws_bus_utf8_t   state;

    if (size > MAX) {
        return 0;
    }

    bad = reference(data, size, &complete);

    fuzz_check(ngx_ws_bus_utf8_valid(data, size)
               == (ngx_uint_t) (bad == -1 && complete));

    /* byte by byte: it fails at the first bad one */

    state = NGX_WS_BUS_UTF8_START;
    at = -1;

    for (i = 0; i < size; i++) {
        if (ngx_ws_bus_utf8(&state, data + i, 1) != NGX_OK) {
            at = (long) i;
            break;
        }
    }

    fuzz_check(at == bad);

    for (i = 0; i <= size; i++) {
        check_cut(data, size, i, bad, complete);
    }

    return 0;
}


static void
check_cut(const u_char *p, size_t len, size_t cut, long bad,
    ngx_uint_t complete)
{
    ngx_int_t           rc;
    u_char             *one, *two;
    ngx_ws_bus_utf8_t   state;

    one = fuzz_copy(p, cut);
    two = fuzz_copy(p + cut, len - cut);

    state = NGX_WS_BUS_UTF8_START;

    rc = ngx_ws_bus_utf8(&state, one, cut);

    fuzz_check(rc == (bad != -1 && (size_t) bad < cut ? NGX_ERROR : NGX_OK));

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_utf8(&state, two, len - cut);

        fuzz_check(rc == (bad == -1 ? NGX_OK : NGX_ERROR));
        fuzz_check(rc == NGX_ERROR
                   || (state == NGX_WS_BUS_UTF8_START)
                      == (ngx_int_t) complete);
    }

    free(one);
    free(two);
}


/*
 * Decodes to code points and judges those.  Returns the index of the first
 * byte that fits no text, or -1.
 */

static long
reference(const u_char *p, size_t len, ngx_uint_t *complete)
{
    size_t    i, n, have;
    uint32_t  low, high;

    *complete = 1;

    for (i = 0; i < len; i += n) {

        if (p[i] < 0x80) {
            n = 1;
            continue;
        }

        if (p[i] >= 0xc0 && p[i] < 0xe0) {
            n = 2;
            low = p[i] & 0x1f;

        } else if (p[i] >= 0xe0 && p[i] < 0xf0) {
            n = 3;
            low = p[i] & 0x0f;

        } else if (p[i] >= 0xf0 && p[i] < 0xf8) {
            n = 4;
            low = p[i] & 0x07;

        } else {
            return (long) i;
        }

        /* low and high: what the code point may still become */

        for (have = 1; /* void */ ; have++) {
            high = ((low + 1) << (6 * (n - have))) - 1;

            if (high < (n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000)) {
                return (long) (i + have - 1);
            }

            if (low << (6 * (n - have)) > 0x10ffff) {
                return (long) (i + have - 1);
            }

            if (low << (6 * (n - have)) >= 0xd800 && high <= 0xdfff) {
                return (long) (i + have - 1);
            }

            if (have == n) {
                break;
            }

            if (i + have == len) {
                *complete = 0;
                return -1;
            }

            if ((p[i + have] & 0xc0) != 0x80) {
                return (long) (i + have);
            }

            low = (low << 6) | (p[i + have] & 0x3f);
        }
    }

    return -1;
}
