
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_deflate.c"

#include "fuzz.h"


/*
 * The input: a byte that says what it is about, then an offer, or two bytes
 * of limit and a compressed message, or a byte of settings and a message to
 * compress.
 */

#define NEGOTIATE  0
#define INFLATE    1

#define OUT_MAX    (1 << 16)


static void check_negotiate(const u_char *p, size_t len);
static void check_inflate(const u_char *p, size_t len, size_t max);
static void check_round_trip(const u_char *p, size_t len, ngx_uint_t how);
static long reference(const u_char *p, size_t len, u_char *out, size_t size,
    ngx_uint_t *big);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }

    switch (data[0] % 3) {

    case NEGOTIATE:
        check_negotiate(data + 1, size - 1);
        break;

    case INFLATE:
        check_inflate(data + 3, size - 3, data[1] << 8 | data[2]);
        break;

    default:
        check_round_trip(data + 2, size - 2, data[1]);
    }

    return 0;
}


static ngx_int_t
negotiate(const u_char *one, size_t len, const char *more,
    ngx_ws_bus_deflate_t *d)
{
    size_t     n;
    ngx_int_t  rc;
    ngx_str_t  value;

    n = strlen(more);

    value.len = len + n;
    value.data = fuzz_alloc(value.len);

    memcpy(value.data, one, len);

    if (n) {
        memcpy(value.data + len, more, n);
    }

    rc = ngx_ws_bus_deflate_negotiate(&value, d);

    free(value.data);

    return rc;
}


static void
check_negotiate(const u_char *p, size_t len)
{
    u_char                *answer, *end;
    ngx_int_t              rc;
    ngx_ws_bus_deflate_t   d, back;

    ngx_memzero(&d, sizeof(d));

    rc = negotiate(p, len, "", &d);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED || rc == NGX_ERROR);

    /* what follows another extension does not change the agreement */

    ngx_memzero(&back, sizeof(back));

    if (rc != NGX_ERROR) {
        fuzz_check(negotiate(p, len, ", foo; bar=1", &back) == rc);
        fuzz_check(rc != NGX_OK || memcmp(&d, &back, sizeof(d)) == 0);
        fuzz_check(negotiate(p, len, ", foo bar", &back) == NGX_ERROR);
        fuzz_check(negotiate(p, len, ", permessage-deflate", &back)
                   == NGX_OK);
    }

    if (rc != NGX_OK) {
        return;
    }

    fuzz_check(d.server_bits >= 9 && d.server_bits <= 15);
    fuzz_check(d.client_bits >= 9 && d.client_bits <= 15);
    fuzz_check(d.say_server_bits || d.server_bits == 15);
    fuzz_check(d.say_client_bits || d.client_bits == 15);

    answer = fuzz_alloc(NGX_WS_BUS_DEFLATE_ANSWER_MAX);
    end = ngx_ws_bus_deflate_answer(&d, answer);

    fuzz_check((size_t) (end - answer) <= NGX_WS_BUS_DEFLATE_ANSWER_MAX);

    ngx_memzero(&back, sizeof(back));

    fuzz_check(negotiate(answer, end - answer, "", &back) == NGX_OK);
    fuzz_check(memcmp(&d, &back, sizeof(d)) == 0);

    free(answer);
}


static void
check_inflate(const u_char *p, size_t len, size_t max)
{
    long                        want;
    size_t                      size, n;
    u_char                     *copy, *out, *ref;
    ngx_int_t                   rc;
    ngx_uint_t                  i, big;
    const ngx_ws_bus_error_t   *error;

    static z_stream  z;

    /* one stream for all messages, as in a worker */

    if (z.state == NULL) {
        fuzz_check(inflateInit2(&z, -15) == Z_OK);
    }

    ref = fuzz_alloc(OUT_MAX);
    want = reference(p, len, ref, ngx_min(max, OUT_MAX), &big);

    copy = fuzz_copy(p, len);
    out = NULL;
    size = 0;

    /* the second time with the first one's buffer */

    for (i = 0; i < 2; i++) {
        error = NULL;
        n = 0;

        rc = ngx_ws_bus_deflate_inflate(&z, copy, len, &out, &size, max, &n,
                                        &error);

        fuzz_check(size <= max);

        if (rc == NGX_OK) {
            fuzz_check(want == (long) n && n <= size && error == NULL);
            fuzz_check(n == 0 || memcmp(out, ref, n) == 0);

        } else {
            fuzz_check(rc == NGX_ERROR && want < 0 && error != NULL);
            fuzz_check(error->code == (big ? NGX_WS_BUS_CLOSE_TOO_BIG
                                           : NGX_WS_BUS_CLOSE_BAD_DATA));
        }
    }

    free(out);
    free(copy);
    free(ref);
}


/*
 * The verdict of zlib asked another way: one final empty block fits behind the
 * message and its tail; final blocks inside are stepped over.  Returns the
 * length, or -1, with "big" set if there is more than size.
 */

static long
reference(const u_char *p, size_t len, u_char *out, size_t size,
    ngx_uint_t *big)
{
    int        rc;
    long       total;
    u_char    *buf, over[1];
    size_t     at, all;
    z_stream   z;

    *big = 0;

    if (len == 0) {
        return 0;
    }

    all = len + 4;
    buf = fuzz_alloc(all);

    memcpy(buf, p, len);
    memcpy(buf + len, "\x00\x00\xff\xff", 4);

    at = 0;
    total = 0;

    do {
        ngx_memzero(&z, sizeof(z));
        fuzz_check(inflateInit2(&z, -15) == Z_OK);

        z.next_in = buf + at;
        z.avail_in = (uInt) (all - at);
        z.next_out = out + total;
        z.avail_out = (uInt) (size - total);

        rc = z.avail_out ? inflate(&z, Z_NO_FLUSH) : Z_OK;

        total = (long) (size - z.avail_out);

        if (rc == Z_OK && z.avail_out == 0) {
            z.next_out = over;
            z.avail_out = 1;

            rc = inflate(&z, Z_NO_FLUSH);

            *big = (z.avail_out == 0);
        }

        at = all - z.avail_in;

        if (!*big && at == all && (rc == Z_OK || rc == Z_BUF_ERROR)) {
            z.next_in = (u_char *) "\x01\x00\x00\xff\xff";
            z.avail_in = 5;
            z.next_out = over;
            z.avail_out = 1;

            rc = inflate(&z, Z_NO_FLUSH);

            if (z.avail_in || z.avail_out == 0) {
                rc = Z_DATA_ERROR;
            }
        }

        inflateEnd(&z);

        if (*big || rc != Z_STREAM_END || (at > len && at < all)) {
            total = -1;
            break;
        }

    } while (at < len);

    free(buf);

    return total;
}


static void
check_round_trip(const u_char *p, size_t len, ngx_uint_t how)
{
    int                         bits, level, memory;
    u_char                     *copy, *buf, *pos, *out;
    size_t                      size, n;
    z_stream                    z;
    const ngx_ws_bus_error_t   *error;

    bits = 9 + how % 7;
    level = how / 7 % 10;
    memory = 1 + how / 70 % 4 * 2;

    ngx_memzero(&z, sizeof(z));

    fuzz_check(deflateInit2(&z, level, Z_DEFLATED, -bits, memory,
                            Z_DEFAULT_STRATEGY)
               == Z_OK);

    copy = fuzz_copy(p, len);
    buf = fuzz_alloc(ngx_ws_bus_deflate_bound(len));
    pos = buf;

    fuzz_check(ngx_ws_bus_deflate_message(&z, copy, len, &pos) == NGX_OK);
    fuzz_check(pos > buf
               && (size_t) (pos - buf) <= ngx_ws_bus_deflate_bound(len));

    deflateEnd(&z);

    ngx_memzero(&z, sizeof(z));
    fuzz_check(inflateInit2(&z, -bits) == Z_OK);

    out = NULL;
    size = 0;

    fuzz_check(ngx_ws_bus_deflate_inflate(&z, buf, pos - buf, &out, &size,
                                          len, &n, &error)
               == NGX_OK);
    fuzz_check(n == len && (len == 0 || memcmp(out, copy, len) == 0));

    if (len) {
        fuzz_check(ngx_ws_bus_deflate_inflate(&z, buf, pos - buf, &out, &size,
                                              len - 1, &n, &error)
                   == NGX_ERROR
                   && error->code == NGX_WS_BUS_CLOSE_TOO_BIG);
    }

    inflateEnd(&z);

    free(out);
    free(buf);
    free(copy);
}
