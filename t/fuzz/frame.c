
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_frame.c"

#include "fuzz.h"


/*
 * The input: a byte of flags, a byte that seeds the cuts, then what a client
 * sends.  However it is cut, the same comes out of it.
 */

#define DEFLATE     0x01
#define FRAGMENTED  0x02

/* the cuts, besides those that are seeded */

#define WHOLE       0
#define BY_BYTE     1


/* all that was seen of a client's bytes */

typedef struct {
    ngx_uint_t                  frames;
    uint64_t                    sum;
    const ngx_ws_bus_error_t   *error;
} trace_t;


static void run(trace_t *t, const u_char *p, size_t len, ngx_uint_t flags,
    ngx_uint_t seed);
static void run_piece(trace_t *t, ngx_ws_bus_frame_t *f, u_char *p,
    size_t len);
static void trace(trace_t *t, const void *p, size_t len);
static void trace_number(trace_t *t, uint64_t n);
static void check_head(ngx_ws_bus_frame_t *f, const u_char *p, size_t len);
static void check_unmask(const u_char *p, size_t len);
static void check_close(const u_char *p, size_t len);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    trace_t      whole, cut;
    ngx_uint_t   flags, seed;

    if (size < 2) {
        return 0;
    }

    flags = data[0];
    seed = data[1];

    data += 2;
    size -= 2;

    run(&whole, data, size, flags, WHOLE);

    run(&cut, data, size, flags, BY_BYTE);

    fuzz_check(cut.frames == whole.frames && cut.sum == whole.sum
               && cut.error == whole.error);

    run(&cut, data, size, flags, 2 + seed);

    fuzz_check(cut.frames == whole.frames && cut.sum == whole.sum
               && cut.error == whole.error);

    fuzz_check(whole.error == NULL
               || (whole.error->code == NGX_WS_BUS_CLOSE_PROTOCOL
                   && whole.error->reason.len <= 123));

    check_unmask(data, size);
    check_close(data, size);

    return 0;
}


static void
run(trace_t *t, const u_char *p, size_t len, ngx_uint_t flags,
    ngx_uint_t seed)
{
    size_t               n;
    u_char              *piece;
    ngx_ws_bus_frame_t   f, first;

    ngx_memzero(t, sizeof(trace_t));
    ngx_memzero(&f, sizeof(f));

    f.rsv_allowed = (flags & DEFLATE) ? NGX_WS_BUS_RSV1 : 0;
    f.fragmented = (flags & FRAGMENTED) != 0;

    if (seed == WHOLE && len) {
        first = f;
        check_head(&first, p, len);
    }

    while (len && t->error == NULL) {

        switch (seed) {

        case WHOLE:
            n = len;
            break;

        case BY_BYTE:
            n = 1;
            break;

        default:
            seed = 2 + (seed * 1103515245 + 12345) % 0x7fffffff;
            n = 1 + (seed >> 8) % 9;
            n = ngx_min(n, len);
        }

        piece = fuzz_copy(p, n);
        run_piece(t, &f, piece, n);
        free(piece);

        p += n;
        len -= n;
    }
}


static void
run_piece(trace_t *t, ngx_ws_bus_frame_t *f, u_char *p, size_t len)
{
    size_t      n;
    u_char     *last;
    ngx_int_t   rc;

    last = p + len;

    while (p < last) {

        if (!f->complete) {
            rc = ngx_ws_bus_frame_head(f, &p, last);

            if (rc == NGX_ERROR) {
                fuzz_check(f->error != NULL);
                t->error = f->error;
                return;
            }

            if (rc == NGX_AGAIN) {
                fuzz_check(p == last && !f->complete
                           && f->have < NGX_WS_BUS_FRAME_HEAD_MAX);
                return;
            }

            fuzz_check(rc == NGX_OK && p <= last && f->complete
                       && f->got == 0 && f->len >> 63 == 0);

            t->frames++;

            trace_number(t, f->len);
            trace_number(t, f->opcode << 2 | f->fin << 1 | f->rsv1);
        }

        n = (size_t) ngx_min((uint64_t) (last - p), f->len - f->got);

        ngx_ws_bus_frame_unmask(p, p, n, f->mask, f->got);
        trace(t, p, n);

        p += n;
        f->got += n;

        if (f->got == f->len) {

            if (!ngx_ws_bus_op_is_control(f->opcode)) {
                f->fragmented = !f->fin;
            }

            ngx_ws_bus_frame_next(f);
        }
    }
}


/* FNV-1a: the same however the bytes come */

static void
trace(trace_t *t, const void *p, size_t len)
{
    size_t         i;
    const u_char  *b;

    b = p;

    for (i = 0; i < len; i++) {
        t->sum = (t->sum ^ b[i]) * 0x100000001b3;
    }
}


static void
trace_number(trace_t *t, uint64_t n)
{
    trace(t, &n, sizeof(n));
}


/* a header that was read is the one that a server would write */

static void
check_head(ngx_ws_bus_frame_t *f, const u_char *p, size_t len)
{
    u_char     *copy, *pos, *end, out[NGX_WS_BUS_FRAME_HEAD_OUT];
    size_t      size;
    ngx_int_t   rc;

    copy = fuzz_copy(p, len);
    pos = copy;

    rc = ngx_ws_bus_frame_head(f, &pos, copy + len);

    if (rc == NGX_OK) {
        size = ngx_ws_bus_frame_head_size(f->len);

        fuzz_check((size_t) (pos - copy) == size + 4);

        end = ngx_ws_bus_frame_write(out, f->opcode,
                                     f->rsv1 ? NGX_WS_BUS_RSV1 : 0, f->len);

        fuzz_check((size_t) (end - out) == size);

        out[0] &= f->fin ? 0xff : 0x7f;
        out[1] |= 0x80;

        fuzz_check(memcmp(out, copy, size) == 0);
        fuzz_check(memcmp(f->mask, copy + size, 4) == 0);
        fuzz_check(f->fin || !ngx_ws_bus_op_is_control(f->opcode));
        fuzz_check(f->len <= NGX_WS_BUS_CONTROL_MAX
                   || !ngx_ws_bus_op_is_control(f->opcode));
        fuzz_check(!f->rsv1 || f->rsv_allowed == NGX_WS_BUS_RSV1);
    }

    free(copy);
}


static void
check_unmask(const u_char *p, size_t len)
{
    size_t     i;
    u_char    *src, *dst;
    uint64_t   offset;

    if (len < 6) {
        return;
    }

    offset = p[4] | (uint64_t) p[5] << 32;

    src = fuzz_copy(p, len);
    dst = fuzz_alloc(len);

    ngx_ws_bus_frame_unmask(dst, src, len, p, offset);

    for (i = 0; i < len; i++) {
        fuzz_check(dst[i] == (p[i] ^ p[(offset + i) % 4]));
    }

    ngx_ws_bus_frame_unmask(src, src, len, p, offset);

    fuzz_check(memcmp(src, dst, len) == 0);

    free(src);
    free(dst);
}


/* what passes is written again as it was; any reason can be written */

static void
check_close(const u_char *p, size_t len)
{
    u_char                     *copy, *out, *end;
    ngx_int_t                   rc;
    ngx_str_t                   reason, cut;
    ngx_uint_t                  code;
    const ngx_ws_bus_error_t   *error;

    copy = fuzz_copy(p, len);
    out = fuzz_alloc(2 + NGX_WS_BUS_CONTROL_MAX);

    error = NULL;
    rc = ngx_ws_bus_frame_read_close(copy, len, &code, &reason, &error);

    if (rc == NGX_ERROR) {
        fuzz_check(error && (error->code == NGX_WS_BUS_CLOSE_PROTOCOL
                             || error->code == NGX_WS_BUS_CLOSE_BAD_DATA));

    } else {
        fuzz_check(rc == NGX_OK && error == NULL);

        if (len == 0) {
            code = 0;
        }

        end = ngx_ws_bus_frame_close(out, code, &reason);

        fuzz_check(out[0] == 0x88 && out[1] == end - out - 2);
        fuzz_check(memcmp(out + 2, copy, end - out - 2) == 0);

        /* all of it, or cut between two characters */

        fuzz_check((size_t) (end - out - 2) == len
                   || (len > NGX_WS_BUS_CONTROL_MAX && end - out - 2 > 121));

        fuzz_check(ngx_ws_bus_frame_read_close(out + 2, end - out - 2, &code,
                                               &cut, &error)
                   == NGX_OK);
    }

    reason.data = copy;
    reason.len = len;

    end = ngx_ws_bus_frame_close(out, 1000, &reason);

    fuzz_check(end - out <= 2 + NGX_WS_BUS_CONTROL_MAX
               && out[1] == end - out - 2);

    free(copy);
    free(out);
}
