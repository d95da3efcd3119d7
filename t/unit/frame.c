
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_frame.c"

#include "tap.h"


#define HAS_MASK  0x80
#define PAYLOAD   "PAYLOAD"


typedef struct {
    const char  *name;
    const char  *hex;
    ngx_uint_t   rsv_allowed;
    ngx_uint_t   fragmented;
    const char  *error;         /* NULL: the header is fine */
    int          at;            /* index of the byte that shows the error */
} head_case_t;


typedef struct {
    const char  *name;
    ngx_uint_t   code;
    const char  *reason;
    size_t       len;           /* of the reason that is to be sent */
} close_case_t;


static void test_examples(void);
static void test_heads(void);
static void test_two_bytes(void);
static void test_lengths(void);
static void test_next(void);
static void test_unmask(void);
static void test_unmask_pieces(void);
static void test_write(void);
static void test_close(void);
static void test_read_close(void);
static void test_codes(void);


static const head_case_t  heads[] = {

    /* fine */

    { "text", "81 85 01 02 03 04", 0, 0, NULL, 0 },
    { "1.1.1, empty text", "81 80 01 02 03 04", 0, 0, NULL, 0 },
    { "1.1.2, 125 bytes of text", "81 fd 01 02 03 04", 0, 0, NULL, 0 },
    { "1.1.3, 126 bytes of text", "81 fe 00 7e 01 02 03 04", 0, 0, NULL, 0 },
    { "1.1.6, 65535 bytes of text", "81 fe ff ff 01 02 03 04", 0, 0, NULL,
      0 },
    { "1.1.7, 65536 bytes of text",
      "81 ff 00 00 00 00 00 01 00 00 01 02 03 04", 0, 0, NULL, 0 },
    { "1.2.1, empty binary", "82 80 00 00 00 00", 0, 0, NULL, 0 },
    { "the longest frame",
      "82 ff 7f ff ff ff ff ff ff ff 00 00 00 00", 0, 0, NULL, 0 },
    { "first of several frames", "01 83 aa bb cc dd", 0, 0, NULL, 0 },
    { "continuation", "00 83 aa bb cc dd", 0, 1, NULL, 0 },
    { "last continuation", "80 83 aa bb cc dd", 0, 1, NULL, 0 },
    { "long continuation",
      "00 ff 00 00 00 00 00 01 00 00 01 02 03 04", 0, 1, NULL, 0 },
    { "2.1, ping without payload", "89 80 aa bb cc dd", 0, 0, NULL, 0 },
    { "2.4, ping of 125 bytes", "89 fd aa bb cc dd", 0, 0, NULL, 0 },
    { "2.7, pong", "8a 80 aa bb cc dd", 0, 0, NULL, 0 },
    { "5.6, ping inside a message", "89 85 aa bb cc dd", 0, 1, NULL, 0 },
    { "pong inside a message", "8a 85 aa bb cc dd", 0, 1, NULL, 0 },
    { "close", "88 82 aa bb cc dd", 0, 0, NULL, 0 },
    { "close inside a message", "88 82 aa bb cc dd", 0, 1, NULL, 0 },
    { "compressed text", "c1 83 aa bb cc dd", NGX_WS_BUS_RSV1, 0, NULL, 0 },
    { "compressed binary", "c2 fe 01 00 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      NULL, 0 },
    { "first frame of compressed text", "41 83 aa bb cc dd",
      NGX_WS_BUS_RSV1, 0, NULL, 0 },
    { "plain text where compression is agreed", "81 83 aa bb cc dd",
      NGX_WS_BUS_RSV1, 0, NULL, 0 },

    /* the reserved bits */

    { "3.1, RSV3", "91 80 aa bb cc dd", 0, 0, "reserved bit set", 0 },
    { "3.2, RSV2", "a1 80 aa bb cc dd", 0, 0, "reserved bit set", 0 },
    { "3.3, RSV2 and RSV3", "b1 80 aa bb cc dd", 0, 0, "reserved bit set",
      0 },
    { "3.4, RSV1", "c1 80 aa bb cc dd", 0, 0, "reserved bit set", 0 },
    { "3.5, RSV1 and RSV3", "d2 80 aa bb cc dd", 0, 0, "reserved bit set",
      0 },
    { "3.6, ping with RSV1 and RSV2", "e9 80 aa bb cc dd", 0, 0,
      "reserved bit set", 0 },
    { "3.7, close with all three", "f8 80 aa bb cc dd", 0, 0,
      "reserved bit set", 0 },
    { "RSV2 with compression", "e1 80 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      "reserved bit set", 0 },
    { "RSV3 with compression", "91 80 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      "reserved bit set", 0 },
    { "RSV1 on a continuation", "c0 80 aa bb cc dd", NGX_WS_BUS_RSV1, 1,
      "compression bit not on the first frame of a message", 0 },
    { "RSV1 on a ping", "c9 80 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      "compression bit not on the first frame of a message", 0 },
    { "RSV1 on a pong", "ca 80 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      "compression bit not on the first frame of a message", 0 },
    { "RSV1 on a close", "c8 80 aa bb cc dd", NGX_WS_BUS_RSV1, 0,
      "compression bit not on the first frame of a message", 0 },

    /* opcodes */

    { "4.1.1, opcode 3", "83 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.1.2, opcode 4", "84 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.1.3, opcode 5", "85 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.1.4, opcode 6", "86 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.1.5, opcode 7", "87 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.2.1, opcode 11", "8b 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.2.2, opcode 12", "8c 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.2.3, opcode 13", "8d 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.2.4, opcode 14", "8e 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },
    { "4.2.5, opcode 15", "8f 80 aa bb cc dd", 0, 0, "unknown opcode", 0 },

    /* control frames */

    { "5.1, ping without FIN", "09 80 aa bb cc dd", 0, 0,
      "fragmented control frame", 0 },
    { "5.2, pong without FIN", "0a 80 aa bb cc dd", 0, 0,
      "fragmented control frame", 0 },
    { "close without FIN", "08 80 aa bb cc dd", 0, 1,
      "fragmented control frame", 0 },
    { "2.5, ping of 126 bytes", "89 fe 00 7e aa bb cc dd", 0, 0,
      "control frame too long", 1 },
    { "pong with a 64-bit length",
      "8a ff 00 00 00 00 00 01 00 00 aa bb cc dd", 0, 0,
      "control frame too long", 1 },
    { "7.3.6, close of 126 bytes", "88 fe 00 7e aa bb cc dd", 0, 0,
      "control frame too long", 1 },

    /* the order of frames */

    { "5.9, continuation of nothing", "00 85 aa bb cc dd", 0, 0,
      "continuation without a message to continue", 0 },
    { "5.10, last continuation of nothing", "80 85 aa bb cc dd", 0, 0,
      "continuation without a message to continue", 0 },
    { "5.18, text inside a message", "81 85 aa bb cc dd", 0, 1,
      "new message inside a fragmented one", 0 },
    { "binary inside a message", "02 85 aa bb cc dd", 0, 1,
      "new message inside a fragmented one", 0 },

    /* the mask */

    { "no mask", "81 05 48 65 6c 6c", 0, 0, "frame is not masked", 1 },
    { "no mask, empty", "81 00 48 65 6c 6c", 0, 0, "frame is not masked",
      1 },
    { "close without mask", "88 00 aa bb cc dd", 0, 0,
      "frame is not masked", 1 },
    { "no mask, too long a ping", "89 7e 00 7e aa bb cc dd", 0, 0,
      "frame is not masked", 1 },

    /* the length */

    { "16 bits for 125", "81 fe 00 7d aa bb cc dd", 0, 0,
      "payload length is not in its shortest form", 3 },
    { "16 bits for 0", "82 fe 00 00 aa bb cc dd", 0, 0,
      "payload length is not in its shortest form", 3 },
    { "64 bits for 65535", "81 ff 00 00 00 00 00 00 ff ff aa bb cc dd", 0, 0,
      "payload length is not in its shortest form", 7 },
    { "64 bits for 126", "81 ff 00 00 00 00 00 00 00 7e aa bb cc dd", 0, 0,
      "payload length is not in its shortest form", 7 },
    { "64 bits for 0", "81 ff 00 00 00 00 00 00 00 00 aa bb cc dd", 0, 0,
      "payload length is not in its shortest form", 7 },
    { "the 64-bit length's top bit",
      "81 ff 80 00 00 00 00 00 00 00 aa bb cc dd", 0, 0,
      "payload length has its top bit set", 2 },
    { "64 bits, all of them",
      "82 ff ff ff ff ff ff ff ff ff aa bb cc dd", 0, 0,
      "payload length has its top bit set", 2 }
};


static const close_case_t  closes[] = {
    { "without a reason", 1000, "", 0 },
    { "with a reason", 1001, "going away", 10 },
    { "with 123 bytes",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "123", 123 },
    { "124 bytes, cut",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "1234", 123 },
    { "a 2-byte character up to the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "1\xc3\xa4z", 123 },
    { "a 2-byte character over the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "12\xc3\xa4", 122 },
    { "a 3-byte character up to the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "\xe2\x82\xacz", 123 },
    { "a 3-byte character, its second byte over the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "12\xe2\x82\xac", 122 },
    { "a 3-byte character, its third byte over the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "1\xe2\x82\xac", 121 },
    { "a 4-byte character up to the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.12345678"
            "9\xf0\x9f\x98\x80z", 123 },
    { "a 4-byte character, its last byte over the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "\xf0\x9f\x98\x80", 120 },
    { "a 4-byte character behind the bound",
      1002, "123456789.123456789.123456789.123456789.123456789.123456789."
            "123456789.123456789.123456789.123456789.123456789.123456789."
            "123\xf0\x9f\x98\x80", 123 }
};


int
main(void)
{
    test_examples();
    test_heads();
    test_two_bytes();
    test_lengths();
    test_next();
    test_unmask();
    test_unmask_pieces();
    test_write();
    test_close();
    test_read_close();
    test_codes();

    return tap_done();
}


static void
init(ngx_ws_bus_frame_t *f, ngx_uint_t rsv_allowed, ngx_uint_t fragmented)
{
    ngx_memzero(f, sizeof(ngx_ws_bus_frame_t));

    f->rsv_allowed = rsv_allowed;
    f->fragmented = fragmented;
}


/*
 * Feeds p in pieces: bit i of "cuts" ends a piece behind byte i.  Pieces lie
 * in memory of their own size, for ASan to see a read beyond.  *used is the
 * number of bytes consumed, or up to the failing piece's end.
 */

static ngx_int_t
feed(ngx_ws_bus_frame_t *f, const u_char *p, size_t len, ngx_uint_t cuts,
    size_t *used)
{
    u_char     *piece, *pos;
    size_t      i, from;
    ngx_int_t   rc;

    rc = NGX_AGAIN;
    from = 0;

    for (i = 0; i < len; i++) {

        if (i + 1 < len && !(cuts & (1 << i))) {
            continue;
        }

        piece = malloc(i + 1 - from);
        if (piece == NULL) {
            abort();
        }

        ngx_memcpy(piece, p + from, i + 1 - from);

        pos = piece;
        rc = ngx_ws_bus_frame_head(f, &pos, piece + (i + 1 - from));

        *used = (rc == NGX_ERROR) ? i + 1 : from + (pos - piece);

        free(piece);

        if (rc != NGX_AGAIN) {
            return rc;
        }

        if (*used != i + 1 || f->complete) {
            return NGX_ABORT;
        }

        from = i + 1;
    }

    return rc;
}


/* RFC 6455, 5.7 */

static void
test_examples(void)
{
    u_char              b[16], out[16], *pos, *p;
    size_t              len;
    ngx_ws_bus_frame_t  f;

    init(&f, 0, 0);

    len = tap_hex(b, "81 85 37 fa 21 3d 7f 9f 4d 51 58");
    pos = b;

    tap_is(ngx_ws_bus_frame_head(&f, &pos, b + len), NGX_OK,
           "a single-frame masked text message");

    tap_ok(pos == b + 6 && f.len == 5 && f.fin && !f.rsv1 && f.complete
           && f.opcode == NGX_WS_BUS_OP_TEXT && f.got == 0
           && ngx_memcmp(f.mask, "\x37\xfa\x21\x3d", 4) == 0,
           "all fields of its header");

    ngx_ws_bus_frame_unmask(pos, pos, 5, f.mask, 0);

    tap_ok(ngx_memcmp(pos, "Hello", 5) == 0, "its payload, in place");

    p = ngx_ws_bus_frame_write(out, NGX_WS_BUS_OP_TEXT, 0, 5);

    tap_ok(p == out + 2 && ngx_memcmp(out, "\x81\x05", 2) == 0,
           "a single-frame unmasked text message");

    p = ngx_ws_bus_frame_write(out, NGX_WS_BUS_OP_BINARY, 0, 256);

    tap_ok(p == out + 4 && ngx_memcmp(out, "\x82\x7e\x01\x00", 4) == 0,
           "256 bytes of binary");

    p = ngx_ws_bus_frame_write(out, NGX_WS_BUS_OP_BINARY, 0, 65536);

    tap_ok(p == out + 10
           && ngx_memcmp(out, "\x82\x7f\0\0\0\0\0\x01\0\0", 10) == 0,
           "64 KB of binary");

    init(&f, 0, 0);

    len = tap_hex(b, "8a 85 37 fa 21 3d 7f 9f 4d 51 58");
    pos = b;

    tap_ok(ngx_ws_bus_frame_head(&f, &pos, b + len) == NGX_OK
           && f.opcode == NGX_WS_BUS_OP_PONG && f.len == 5,
           "a masked pong");
}


static void
check_fields(ngx_ws_bus_frame_t *f, const head_case_t *c, const u_char *b,
    size_t len, size_t used)
{
    tap_each(used == len, "%s: %d bytes used", c->name, (int) used);

    tap_each(f->complete && f->got == 0
             && f->opcode == (b[0] & 0xfu)
             && f->fin == b[0] >> 7
             && f->rsv1 == ((b[0] >> 6) & 1)
             && f->fragmented == c->fragmented
             && f->rsv_allowed == c->rsv_allowed
             && ngx_memcmp(f->mask, b + len - 4, 4) == 0,
             "%s: fields", c->name);
}


static uint64_t
payload_length(const u_char *b)
{
    int       i, n;
    uint64_t  len;

    n = (b[1] & 0x7f) - 125;

    if (n <= 0) {
        return b[1] & 0x7f;
    }

    n = (n == 1) ? 2 : 8;
    len = 0;

    for (i = 0; i < n; i++) {
        len = len * 256 + b[2 + i];
    }

    return len;
}


/* every way of cutting every case, with and without payload behind it */

static void
test_heads(void)
{
    u_char               b[14 + sizeof(PAYLOAD)], *pos;
    size_t               len, used, n;
    ngx_int_t            rc, want;
    ngx_uint_t           i, cuts, all;
    const head_case_t   *c;
    ngx_ws_bus_frame_t   f;

    for (i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        c = &heads[i];

        len = tap_hex(b, c->hex);
        ngx_memcpy(b + len, PAYLOAD, sizeof(PAYLOAD));

        want = c->error ? NGX_ERROR : NGX_OK;

        init(&f, c->rsv_allowed, c->fragmented);
        rc = feed(&f, b, len + sizeof(PAYLOAD), 0, &used);

        tap_is(rc, want, "%s", c->name);

        if (rc == NGX_OK) {
            check_fields(&f, c, b, len, used);
            tap_each(f.len == payload_length(b), "%s: length", c->name);

        } else if (c->error) {
            tap_each(strcmp((char *) f.error->reason.data, c->error) == 0
                     && f.error->reason.len == strlen(c->error)
                     && f.error->code == NGX_WS_BUS_CLOSE_PROTOCOL,
                     "%s: \"%s\"", c->name, f.error->reason.data);
        }

        all = (ngx_uint_t) 1 << (len - 1);

        for (cuts = 0; cuts < all; cuts++) {
            init(&f, c->rsv_allowed, c->fragmented);
            rc = feed(&f, b, len, cuts, &used);

            if (!tap_each(rc == want, "%s cut by %x", c->name, (int) cuts)) {
                continue;
            }

            if (rc == NGX_OK) {
                check_fields(&f, c, b, len, used);
                continue;
            }

            tap_each(strcmp((char *) f.error->reason.data, c->error) == 0,
                     "%s cut by %x: \"%s\"", c->name, (int) cuts,
                     f.error->reason.data);
        }

        /* the payload may come with the header's last piece */

        for (cuts = 0; c->error == NULL && cuts < all; cuts++) {
            init(&f, c->rsv_allowed, c->fragmented);
            rc = feed(&f, b, len + sizeof(PAYLOAD), cuts, &used);

            tap_each(rc == NGX_OK, "%s and more cut by %x", c->name,
                     (int) cuts);
            check_fields(&f, c, b, len, used);
        }

        /* as soon as possible, not sooner */

        for (n = 1; n <= len; n++) {
            init(&f, c->rsv_allowed, c->fragmented);
            rc = feed(&f, b, n, 0, &used);

            if (c->error && n >= (size_t) c->at + 1) {
                tap_each(rc == NGX_ERROR, "%s: %d bytes", c->name, (int) n);

            } else if (n < len) {
                tap_each(rc == NGX_AGAIN && used == n, "%s: %d bytes",
                         c->name, (int) n);
            }

            init(&f, c->rsv_allowed, c->fragmented);
            feed(&f, b, n, ~0, &used);

            tap_each(!c->error || used == ngx_min(n, (size_t) c->at + 1),
                     "%s: byte %d of %d", c->name, (int) used, (int) n);
        }
    }

    tap_all("all cases cut every way, fields, first bad byte");

    init(&f, 0, 0);
    pos = b;

    tap_ok(ngx_ws_bus_frame_head(&f, &pos, b) == NGX_AGAIN && pos == b
           && f.have == 0,
           "no bytes, no header");

    pos = NULL;

    tap_ok(ngx_ws_bus_frame_head(&f, &pos, NULL) == NGX_AGAIN && f.have == 0,
           "no buffer, no header");
}


/* the verdict on the first two bytes, from the text of RFC 6455, 5.2 to 5.5 */

static ngx_int_t
reference(ngx_uint_t first, ngx_uint_t second, ngx_uint_t deflate,
    ngx_uint_t fragmented)
{
    ngx_uint_t  fin, rsv1, rsv23, opcode, masked, len;

    fin = first / 128;
    rsv1 = first / 64 % 2;
    rsv23 = first / 16 % 4;
    opcode = first % 16;
    masked = second / 128;
    len = second % 128;

    if (rsv23 || !masked) {
        return NGX_ERROR;
    }

    switch (opcode) {

    case 0:
        return fragmented && !rsv1 ? NGX_OK : NGX_ERROR;

    case 1:
    case 2:
        if (rsv1 && !deflate) {
            return NGX_ERROR;
        }

        return fragmented ? NGX_ERROR : NGX_OK;

    case 8:
    case 9:
    case 10:
        return fin && !rsv1 && len < 126 ? NGX_OK : NGX_ERROR;

    default:
        return NGX_ERROR;
    }
}


static void
test_two_bytes(void)
{
    u_char              b[14], *pos;
    size_t              len, used;
    ngx_int_t           want;
    ngx_uint_t          i, deflate, fragmented;
    ngx_ws_bus_frame_t  f;

    for (i = 0; i < 0x10000 * 4; i++) {
        deflate = (i >> 16) & 1;
        fragmented = (i >> 17) & 1;

        ngx_memset(b, 0x11, sizeof(b));

        b[0] = (u_char) (i >> 8);
        b[1] = (u_char) i;

        want = reference(b[0], b[1], deflate, fragmented);

        len = 6;

        if ((b[1] & 0x7f) > 125) {
            len = ((b[1] & 0x7f) == 126) ? 8 : 14;
        }

        init(&f, deflate ? NGX_WS_BUS_RSV1 : 0, fragmented);
        pos = b;

        tap_each(ngx_ws_bus_frame_head(&f, &pos, b + 14) == want
                 && (want == NGX_ERROR
                     || (f.len == payload_length(b)
                         && (size_t) (pos - b) == len)),
                 "%02x %02x, deflate:%d, fragmented:%d", b[0], b[1],
                 (int) deflate, (int) fragmented);

        init(&f, deflate ? NGX_WS_BUS_RSV1 : 0, fragmented);

        tap_each(feed(&f, b, 14, ~0, &used) == want,
                 "%02x %02x, deflate:%d, fragmented:%d, byte by byte",
                 b[0], b[1], (int) deflate, (int) fragmented);

        init(&f, deflate ? NGX_WS_BUS_RSV1 : 0, fragmented);

        tap_each(feed(&f, b, 2, 0, &used)
                 == (want == NGX_OK ? NGX_AGAIN : NGX_ERROR),
                 "%02x %02x, deflate:%d, fragmented:%d, nothing more",
                 b[0], b[1], (int) deflate, (int) fragmented);
    }

    tap_all("all first two bytes");
}


static void
test_lengths(void)
{
    u_char              b[14], *pos;
    uint64_t            len;
    ngx_int_t           want;
    ngx_uint_t          i, n;
    ngx_ws_bus_frame_t  f;

    for (n = 0; n < 0x10000; n++) {
        b[0] = 0x82;
        b[1] = 0xfe;
        b[2] = (u_char) (n / 256);
        b[3] = (u_char) (n % 256);

        init(&f, 0, 0);
        pos = b;

        want = (n < 126) ? NGX_ERROR : NGX_OK;

        tap_each(ngx_ws_bus_frame_head(&f, &pos, b + 14) == want
                 && (want == NGX_ERROR || f.len == n),
                 "length %d in 16 bits", (int) n);
    }

    tap_all("all 16-bit lengths");

    for (n = 0; n < 64; n++) {
        for (i = 0; i < 3; i++) {

            /* around each power of two */

            len = ((uint64_t) 1 << n) - 1 + i;

            b[0] = 0x82;
            b[1] = 0xff;
            b[2] = (u_char) (len >> 56);
            b[3] = (u_char) (len >> 48);
            b[4] = (u_char) (len >> 40);
            b[5] = (u_char) (len >> 32);
            b[6] = (u_char) (len >> 24);
            b[7] = (u_char) (len >> 16);
            b[8] = (u_char) (len >> 8);
            b[9] = (u_char) len;

            init(&f, 0, 0);
            pos = b;

            want = (len < 65536 || len >= 0x8000000000000000)
                   ? NGX_ERROR : NGX_OK;

            tap_each(ngx_ws_bus_frame_head(&f, &pos, b + 14) == want
                     && (want == NGX_ERROR || f.len == len),
                     "length %llx in 64 bits", (unsigned long long) len);
        }
    }

    tap_all("64-bit lengths");
}


/* a stream of frames, through all cuts in two of a window */

static void
test_next(void)
{
    u_char              b[64], *pos, *last, *piece;
    size_t              len, cut, skip;
    ngx_int_t           rc;
    ngx_uint_t          n, part, opcodes;
    ngx_ws_bus_frame_t  f;

    len = tap_hex(b, "01 83 11 22 33 44 aa bb cc"
                     "89 82 11 22 33 44 aa bb"
                     "00 80 11 22 33 44"
                     "80 81 11 22 33 44 aa"
                     "82 80 11 22 33 44"
                     "88 80 11 22 33 44");

    for (cut = 0; cut <= len; cut++) {
        init(&f, 0, 0);

        n = 0;
        opcodes = 0;
        rc = NGX_AGAIN;

        for (part = 0; part < 2; part++) {
            piece = part ? b + cut : b;
            last = part ? b + len : b + cut;
            pos = piece;

            while (pos < last) {

                if (!f.complete) {
                    rc = ngx_ws_bus_frame_head(&f, &pos, last);

                    if (rc != NGX_OK) {
                        break;
                    }
                }

                skip = ngx_min((size_t) (last - pos),
                               (size_t) (f.len - f.got));
                f.got += skip;
                pos += skip;

                if (f.got == f.len) {
                    opcodes = opcodes * 16 + f.opcode;

                    if (!ngx_ws_bus_op_is_control(f.opcode)) {
                        f.fragmented = !f.fin;
                    }

                    ngx_ws_bus_frame_next(&f);
                    n++;

                    tap_each(!f.complete && f.have == 0 && f.got == 0,
                             "cut at %d: not ready", (int) cut);
                }
            }

            if (rc == NGX_ERROR) {
                break;
            }
        }

        tap_each(rc == NGX_OK && n == 6 && opcodes == 0x190028
                 && !f.complete && !f.fragmented,
                 "cut at %d: %d frames, %x", (int) cut, (int) n,
                 (int) opcodes);
    }

    tap_all("six frames cut in two");

    init(&f, NGX_WS_BUS_RSV1, 1);

    f.have = 5;
    f.len = 100;
    f.got = 100;
    f.complete = 1;

    ngx_ws_bus_frame_next(&f);

    tap_ok(f.have == 0 && f.got == 0 && f.complete == 0,
           "next: ready for a header");
    tap_ok(f.rsv_allowed == NGX_WS_BUS_RSV1 && f.fragmented == 1,
           "next: what the caller keeps is kept");
}


static void
test_unmask(void)
{
    u_char       src[256], dst[256], place[256], want[256], mask[4];
    size_t       len;
    uint64_t     offset;
    ngx_uint_t   i, o, from, to;

    static uint64_t  offsets[] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 1021, 0xfffffffe, 0xffffffff,
        0x100000000, 0x100000001, 0x7ffffffffffffff6, 0x7fffffffffffff03
    };

    mask[0] = 0x37;
    mask[1] = 0xfa;
    mask[2] = 0x21;
    mask[3] = 0x3d;

    for (o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++) {
        offset = offsets[o];

        for (from = 0; from < 8; from++) {
            for (len = 0; len < 140; len++) {
                to = (from * 3 + len) % 8;

                for (i = 0; i < sizeof(src); i++) {
                    src[i] = (u_char) (i * 7 + len);
                    place[i] = src[i];
                    dst[i] = 0xee;
                    want[i] = 0xee;
                }

                for (i = 0; i < len; i++) {
                    want[to + i] = src[from + i] ^ mask[(offset + i) % 4];
                }

                ngx_ws_bus_frame_unmask(dst + to, src + from, len, mask,
                                        offset);

                tap_each(ngx_memcmp(dst, want, sizeof(dst)) == 0,
                         "%d bytes at %d, offset %d", (int) len, (int) from,
                         (int) o);

                ngx_ws_bus_frame_unmask(place + from, place + from, len,
                                        mask, offset);

                for (i = 0; i < sizeof(src); i++) {
                    if (i >= from && i < from + len) {
                        src[i] ^= mask[(offset + (i - from)) % 4];
                    }
                }

                tap_each(ngx_memcmp(place, src, sizeof(src)) == 0,
                         "%d bytes at %d, offset %d, in place", (int) len,
                         (int) from, (int) o);
            }
        }
    }

    tap_all("unmasking, lengths, alignments, offsets");
}


static void
test_unmask_pieces(void)
{
    u_char  src[100], dst[100], want[100], mask[4];
    size_t  i, a, b;

    ngx_memcpy(mask, "\x01\x80\xfe\x55", 4);

    for (i = 0; i < sizeof(src); i++) {
        src[i] = (u_char) (i * 31);
        want[i] = src[i] ^ mask[i % 4];
    }

    for (a = 0; a <= sizeof(src); a++) {
        for (b = a; b <= sizeof(src); b++) {
            ngx_memzero(dst, sizeof(dst));

            ngx_ws_bus_frame_unmask(dst, src, a, mask, 0);
            ngx_ws_bus_frame_unmask(dst + a, src + a, b - a, mask, a);
            ngx_ws_bus_frame_unmask(dst + b, src + b, sizeof(src) - b, mask,
                                    b);

            tap_each(ngx_memcmp(dst, want, sizeof(dst)) == 0,
                     "pieces up to %d, %d", (int) a, (int) b);
        }
    }

    tap_all("unmasking in three pieces");
}


static void
test_write(void)
{
    u_char              b[32], want[16], *p, *pos;
    size_t              size;
    ngx_uint_t          i, rsv;
    ngx_ws_bus_frame_t  f;

    static struct {
        uint64_t         len;
        const char      *hex;
    } writes[] = {
        { 0, "00" },
        { 1, "01" },
        { 125, "7d" },
        { 126, "7e 00 7e" },
        { 127, "7e 00 7f" },
        { 255, "7e 00 ff" },
        { 256, "7e 01 00" },
        { 65535, "7e ff ff" },
        { 65536, "7f 00 00 00 00 00 01 00 00" },
        { 0x123456789abcdef0, "7f 12 34 56 78 9a bc de f0" },
        { 0x7fffffffffffffff, "7f 7f ff ff ff ff ff ff ff" }
    };

    for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        for (rsv = 0; rsv <= NGX_WS_BUS_RSV1; rsv += NGX_WS_BUS_RSV1) {
            want[0] = (u_char) (0x82 | rsv);
            size = 1 + tap_hex(want + 1, writes[i].hex);

            ngx_memset(b, 0xee, sizeof(b));

            p = ngx_ws_bus_frame_write(b, NGX_WS_BUS_OP_BINARY, rsv,
                                       writes[i].len);

            tap_ok((size_t) (p - b) == size
                   && ngx_memcmp(b, want, size) == 0 && *p == 0xee,
                   "header for %llu bytes, rsv %x",
                   (unsigned long long) writes[i].len, (int) rsv);

            tap_is(ngx_ws_bus_frame_head_size(writes[i].len), size,
                   "its size");

            /* with a mask it is what the reading side takes */

            b[1] |= HAS_MASK;
            ngx_memset(p, 0x55, 4);

            init(&f, NGX_WS_BUS_RSV1, 0);
            pos = b;

            tap_ok(ngx_ws_bus_frame_head(&f, &pos, p + 4) == NGX_OK
                   && pos == p + 4 && f.len == writes[i].len && f.fin
                   && f.rsv1 == (rsv != 0)
                   && f.opcode == NGX_WS_BUS_OP_BINARY,
                   "it reads back");
        }
    }

    p = ngx_ws_bus_frame_write(b, NGX_WS_BUS_OP_TEXT, 0, 1);
    tap_is(b[0], 0x81, "text");

    p = ngx_ws_bus_frame_write(b, NGX_WS_BUS_OP_PING, 0, 1);
    tap_is(b[0], 0x89, "ping");

    p = ngx_ws_bus_frame_write(b, NGX_WS_BUS_OP_PONG, 0, 1);
    tap_ok(b[0] == 0x8a && p == b + 2, "pong");
}


static void
test_close(void)
{
    u_char                     *b, *p;
    ngx_str_t                   reason, back;
    ngx_uint_t                  i, code;
    const ngx_ws_bus_error_t   *error;

    /* of its contract's size, for ASan to see a write beyond */

    b = malloc(2 + NGX_WS_BUS_CONTROL_MAX);
    if (b == NULL) {
        abort();
    }

    ngx_str_set(&reason, "not looked at");

    p = ngx_ws_bus_frame_close(b, 0, &reason);

    tap_ok(p == b + 2 && b[0] == 0x88 && b[1] == 0x00,
           "close without a code");

    p = ngx_ws_bus_frame_close(b, 0, NULL);

    tap_ok(p == b + 2 && b[0] == 0x88 && b[1] == 0x00,
           "close without a code or a reason");

    ngx_str_set(&reason, "bye");

    p = ngx_ws_bus_frame_close(b, 1000, &reason);

    tap_ok(p == b + 7 && ngx_memcmp(b, "\x88\x05\x03\xe8" "bye", 7) == 0,
           "close with a code and a reason");

    ngx_str_null(&reason);

    p = ngx_ws_bus_frame_close(b, 4999, &reason);

    tap_ok(p == b + 4 && ngx_memcmp(b, "\x88\x02\x13\x87", 4) == 0,
           "close with a code and a null reason");

    for (i = 0; i < sizeof(closes) / sizeof(closes[0]); i++) {
        reason.data = (u_char *) closes[i].reason;
        reason.len = strlen(closes[i].reason);

        p = ngx_ws_bus_frame_close(b, closes[i].code, &reason);

        tap_is(p - b - 4, closes[i].len, "close, %s", closes[i].name);

        tap_ok(b[0] == 0x88 && b[1] == closes[i].len + 2
               && ngx_memcmp(b + 4, reason.data, closes[i].len) == 0,
               "its bytes");

        tap_ok(ngx_ws_bus_frame_read_close(b + 2, p - b - 2, &code, &back,
                                           &error)
               == NGX_OK
               && code == closes[i].code && back.len == closes[i].len,
               "it reads back");
    }

    free(b);
}


static void
test_read_close(void)
{
    u_char                     b[126];
    size_t                     len;
    ngx_int_t                  rc;
    ngx_str_t                  reason;
    ngx_uint_t                 i, code;
    const ngx_ws_bus_error_t  *error;

    static struct {
        const char            *name;
        const char            *hex;
        ngx_uint_t             code;        /* 0: a violation */
        ngx_uint_t             answer;
    } payloads[] = {
        { "7.3.1, empty", "", 1005, 0 },
        { "7.3.2, one byte", "03", 0, 1002 },
        { "one byte of a code that would do", "0b", 0, 1002 },
        { "7.3.3, a code", "03 e8", 1000, 0 },
        { "7.3.4, a code and a reason", "03 e8 62 79 65", 1000, 0 },
        { "a reason that is not ASCII", "03 e9 e2 82 ac", 1001, 0 },
        { "7.5.1, a reason that is not UTF-8",
          "03 e8 ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65", 0, 1007 },
        { "a reason that ends inside a character", "03 e8 e2 82", 0, 1007 },
        { "a bad code and a bad reason", "03 e7 ff", 0, 1002 },
        { "a reserved code and a reason", "03 ed 62 79 65", 0, 1002 }
    };

    for (i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        len = tap_hex(b, payloads[i].hex);

        code = 77;
        error = NULL;
        reason.len = 77;
        reason.data = NULL;
        rc = ngx_ws_bus_frame_read_close(b, len, &code, &reason, &error);

        if (payloads[i].code == 0) {
            tap_ok(rc == NGX_ERROR && error
                   && error->code == payloads[i].answer,
                   "%s", payloads[i].name);
            continue;
        }

        tap_ok(rc == NGX_OK && code == payloads[i].code
               && reason.len == (len ? len - 2 : 0)
               && reason.data == (len ? b + 2 : b),
               "%s", payloads[i].name);
    }

    /* 7.3.5 */

    ngx_memset(b, '*', 125);
    b[0] = 0x03;
    b[1] = 0xe8;

    tap_ok(ngx_ws_bus_frame_read_close(b, 125, &code, &reason, &error)
           == NGX_OK
           && code == 1000 && reason.len == 123 && reason.data == b + 2,
           "7.3.5, the longest reason");
}


static void
test_codes(void)
{
    int                        valid;
    u_char                     b[2];
    ngx_int_t                  rc;
    ngx_str_t                  reason;
    ngx_uint_t                 i, j, code;
    const ngx_ws_bus_error_t  *error;

    /* 7.7, and those registered since */

    static ngx_uint_t  good[] = {
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
        1014, 3000, 3999, 4000, 4001, 4010, 4999
    };

    /* 7.9, 7.13 */

    static ngx_uint_t  bad[] = {
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000,
        32768, 65535
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        b[0] = (u_char) (good[i] >> 8);
        b[1] = (u_char) good[i];

        rc = ngx_ws_bus_frame_read_close(b, 2, &code, &reason, &error);

        tap_ok(rc == NGX_OK && code == good[i], "7.7, code %d",
               (int) good[i]);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        b[0] = (u_char) (bad[i] >> 8);
        b[1] = (u_char) bad[i];

        rc = ngx_ws_bus_frame_read_close(b, 2, &code, &reason, &error);

        tap_ok(rc == NGX_ERROR && error->code == 1002, "7.9, code %d",
               (int) bad[i]);
    }

    for (i = 0; i < 0x10000; i++) {
        valid = (i >= 3000 && i < 5000);

        for (j = 0; j < sizeof(good) / sizeof(good[0]); j++) {
            valid |= (good[j] == i);
        }

        b[0] = (u_char) (i >> 8);
        b[1] = (u_char) i;

        rc = ngx_ws_bus_frame_read_close(b, 2, &code, &reason, &error);

        tap_each(rc == (valid ? NGX_OK : NGX_ERROR), "code %d", (int) i);
    }

    tap_all("all codes");
}
