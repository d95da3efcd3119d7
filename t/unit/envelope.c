
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_chain.c"
#include "ngx_ws_bus_envelope.c"

#include "tap.h"


#define EPOCH   "01 23 45 67 89 ab cd ef "
#define EPOCH2  "fe dc ba 98 76 54 32 10 "
#define E       0x0123456789abcdefULL
#define E2      0xfedcba9876543210ULL
#define MAX     NGX_WS_BUS_ENVELOPE_SEQ_MAX

#define B       NGX_WS_BUS_ENVELOPE_BINARY
#define J       NGX_WS_BUS_ENVELOPE_JSON
#define T       NGX_WS_BUS_ENVELOPE_STRING
#define S       NGX_WS_BUS_ENVELOPE_SEQ
#define P       NGX_WS_BUS_ENVELOPE_PREV
#define D       NGX_WS_BUS_ENVELOPE_DELETED


typedef struct {
    const char  *name;
    const char  *hex;
    ngx_uint_t   flags;
    uint64_t     epoch;
    uint64_t     seq;
    uint64_t     prev;
    uint64_t     base;
    uint64_t     time;
    uint64_t     age;
    const char  *payload;
} good_case_t;


typedef struct {
    const char  *name;
    const char  *hex;
    ngx_int_t    rc;
} bad_case_t;


typedef struct {
    const char  *name;
    const char  *hex;
    ngx_uint_t   flags;
} plain_case_t;


/* a host's newest, and what comes */

typedef struct {
    const char  *name;
    uint64_t     epoch;
    uint64_t     seq;
    uint64_t     prev;
    uint64_t     base;
    uint64_t     host_epoch;
    uint64_t     host_seq;
    ngx_int_t    rc;
} follows_case_t;


static int decode(void);
static void test_good(void);
static void test_bad(void);
static void test_plain(void);
static void test_cut(void);
static void test_varints(void);
static void test_flags(void);
static void test_largest(void);
static void test_follows(void);
static void test_position(void);
static ngx_int_t read_copy(ngx_ws_bus_envelope_t *e, u_char **copy,
    const u_char *p, size_t len);


static const good_case_t  goods[] = {
    { "text", "ff 77 62 01 00 00 00 68 69", 0, 0, 0, 0, 0, 0, 0, "hi" },
    { "empty text", "ff 77 62 01 00 00 00", 0, 0, 0, 0, 0, 0, 0, "" },
    { "binary", "ff 77 62 01 01 00 00 ff fe", B, 0, 0, 0, 0, 0, 0,
      "\xff\xfe" },
    { "JSON", "ff 77 62 01 02 00 00 7b 7d", J, 0, 0, 0, 0, 0, 0, "{}" },
    { "string", "ff 77 62 01 04 00 00 7b 7d", T, 0, 0, 0, 0, 0, 0, "{}" },
    { "a payload that looks like an envelope",
      "ff 77 62 01 01 00 00 ff 77 62 01", B, 0, 0, 0, 0, 0, 0,
      "\xff" "wb\x01" },
    { "time and age", "ff 77 62 01 00 80 d0 95 ff bc 31 e0 d4 03 78", 0, 0, 0,
      0, 0, 1700000000000ULL, 60000, "x" },
    { "seq", "ff 77 62 01 08 " EPOCH "2a 05 07 78", S, E, 42, 0, 0, 5, 7,
      "x" },
    { "a long seq", "ff 77 62 01 0a " EPOCH "80 80 80 80 10 05 07 31", S|J, E,
      1ULL << 32, 0, 0, 5, 7, "1" },
    { "the largest seq", "ff 77 62 01 08 " EPOCH "ff ff ff ff ff ff ff 0f 00 "
      "00", S, E, MAX, 0, 0, 0, 0, "" },
    { "prev", "ff 77 62 01 18 " EPOCH "ad 02 " EPOCH2 "ac 02 05 07 78", S|P,
      E, 301, E2, 300, 5, 7, "x" },
    { "prev, base 0", "ff 77 62 01 19 " EPOCH "01 " EPOCH2 "00 05 07 78",
      S|P|B, E, 1, E2, 0, 5, 7, "x" },
    { "deleted", "ff 77 62 01 20 05 00", D, 0, 0, 0, 0, 5, 0, "" }
};


static const bad_case_t  bads[] = {
    { "another version", "ff 77 62 02 00 00 00 68 69", NGX_DECLINED },
    { "version 0", "ff 77 62 00 00 00 00 68 69", NGX_DECLINED },
    { "unknown flag 0x40", "ff 77 62 01 40 00 00 68 69", NGX_DECLINED },
    { "unknown flag 0x80", "ff 77 62 01 80 00 00 68 69", NGX_DECLINED },

    { "nothing behind the magic", "ff 77 62", NGX_ERROR },
    { "nothing behind the version", "ff 77 62 01", NGX_ERROR },
    { "nothing behind the flags", "ff 77 62 01 00", NGX_ERROR },
    { "no age", "ff 77 62 01 00 00", NGX_ERROR },

    { "binary and JSON", "ff 77 62 01 03 00 00 31", NGX_ERROR },
    { "binary and string", "ff 77 62 01 05 00 00 31", NGX_ERROR },
    { "JSON and string", "ff 77 62 01 06 00 00 31", NGX_ERROR },
    { "prev without seq", "ff 77 62 01 10 " EPOCH "00 00 00 31", NGX_ERROR },

    { "text that is not UTF-8", "ff 77 62 01 00 00 00 c0 80", NGX_ERROR },
    { "text that is cut", "ff 77 62 01 00 00 00 e2 82", NGX_ERROR },
    { "JSON that is not UTF-8", "ff 77 62 01 02 00 00 22 ff 22", NGX_ERROR },

    { "time not in its shortest form", "ff 77 62 01 00 80 00 00 31",
      NGX_ERROR },
    { "age not in its shortest form", "ff 77 62 01 00 00 85 80 00 31",
      NGX_ERROR },
    { "time of 65 bits", "ff 77 62 01 00 ff ff ff ff ff ff ff ff ff 02 00",
      NGX_ERROR },
    { "time of eleven bytes", "ff 77 62 01 00 80 80 80 80 80 80 80 80 80 80 "
      "01 00", NGX_ERROR },

    { "seq 0", "ff 77 62 01 08 " EPOCH "00 05 07 78", NGX_ERROR },
    { "a seq beyond 2^53", "ff 77 62 01 08 " EPOCH "80 80 80 80 80 80 80 10 "
      "00 00", NGX_ERROR },
    { "epoch 0", "ff 77 62 01 08 00 00 00 00 00 00 00 00 01 05 07 78",
      NGX_ERROR },
    { "prev 0", "ff 77 62 01 18 " EPOCH "01 00 00 00 00 00 00 00 00 00 05 07",
      NGX_ERROR },
    { "prev is the epoch", "ff 77 62 01 18 " EPOCH "02 " EPOCH "01 05 07",
      NGX_ERROR },
    { "base is seq", "ff 77 62 01 18 " EPOCH "01 " EPOCH2 "01 05 07",
      NGX_ERROR },
    { "base beyond seq", "ff 77 62 01 18 " EPOCH "01 " EPOCH2 "02 05 07",
      NGX_ERROR },

    { "deleted, with a payload", "ff 77 62 01 20 05 00 78", NGX_ERROR },
    { "deleted, binary", "ff 77 62 01 21 05 00", NGX_ERROR },
    { "deleted, with seq", "ff 77 62 01 28 " EPOCH "01 05 00", NGX_ERROR }
};


static const plain_case_t  plains[] = {
    { "nothing", "", 0 },
    { "text", "68 65 6c 6c 6f", 0 },
    { "UTF-8", "e2 82 ac", 0 },
    { "NUL", "00", 0 },
    { "not UTF-8", "c3 28", B },
    { "cut UTF-8", "e2 82", B },
    { "0xff alone", "ff", B },
    { "half of the magic", "ff 77", B },
    { "other letters", "ff 77 63 01 00 00 00", B },
    { "the magic not in front", "20 ff 77 62 01 00 00 00", B }
};


static const follows_case_t  follows[] = {
    { "the next", E, 8, 0, 0, E, 7, NGX_OK },
    { "the first", E, 1, 0, 0, E, 0, NGX_OK },
    { "the same", E, 7, 0, 0, E, 7, NGX_DONE },
    { "an older one", E, 3, 0, 0, E, 7, NGX_DONE },
    { "a gap", E, 9, 0, 0, E, 7, NGX_AGAIN },
    { "another epoch", E2, 8, 0, 0, E, 7, NGX_DECLINED },
    { "another epoch, a host that knows none", E2, 1, 0, 0, 0, 0,
      NGX_DECLINED },
    { "another master, nothing lost", E2, 8, E, 7, E, 7, NGX_OK },
    { "another master, the first message", E2, 1, E, 0, E, 0, NGX_OK },
    { "another master, the host lacks some", E2, 8, E, 7, E, 5, NGX_AGAIN },
    { "another master, which lacks some", E2, 8, E, 7, E, 8, NGX_DECLINED },
    { "two masters later", E2, 8, E + 1, 7, E, 7, NGX_DECLINED },
    { "the first of the epoch again", E2, 8, E, 7, E2, 8, NGX_DONE }
};


static const follows_case_t  positions[] = {
    { "the same", E, 7, 0, 0, E, 7, NGX_OK },
    { "nothing yet", E, 0, 0, 0, E, 0, NGX_OK },
    { "more", E, 9, 0, 0, E, 7, NGX_AGAIN },
    { "less", E, 6, 0, 0, E, 7, NGX_DECLINED },
    { "another epoch", E2, 7, 0, 0, E, 7, NGX_DECLINED },
    { "another epoch from the start", E2, 0, 0, 0, E, 0, NGX_DECLINED },
    { "unknown to Redis", 0, 0, 0, 0, E, 7, NGX_DECLINED },
    { "another master, more", E2, 9, E, 7, E, 7, NGX_AGAIN },
    { "another master, the host lacks some", E2, 9, E, 7, E, 5, NGX_AGAIN },
    { "another master, which had less, and more now", E2, 9, E, 7, E, 8,
      NGX_DECLINED },
    { "another master, nothing since", E2, 7, E, 7, E, 7, NGX_OK },
    { "in the new epoch, as far as base", E2, 9, E, 7, E2, 7, NGX_AGAIN },
    { "in the new epoch", E2, 9, E, 7, E2, 9, NGX_OK },
    { "in the new epoch, which went back", E2, 9, E, 7, E2, 10,
      NGX_DECLINED },
    { "two masters later", E2, 9, E + 1, 7, E, 7, NGX_DECLINED }
};


/* With an argument, what other tests need: lines of hexadecimal are decoded. */

int
main(int argc, char **argv)
{
    if (argc > 1) {
        return decode();
    }

    test_good();
    test_bad();
    test_plain();
    test_cut();
    test_varints();
    test_flags();
    test_largest();
    test_follows();
    test_position();

    return tap_done();
}


static int
decode(void)
{
    u_char                 *p;
    size_t                  len;
    ngx_int_t               rc;
    ngx_ws_bus_envelope_t   e;

    static char             line[1 << 18];

    p = malloc(sizeof(line) / 2);

    while (p && fgets(line, sizeof(line), stdin)) {

        line[strcspn(line, "\n")] = '\0';
        len = tap_hex(p, line);

        rc = ngx_ws_bus_envelope_read(&e, p, len);

        printf("rc=%d", (int) rc);

        if (rc == NGX_OK) {
            printf(" plain=%u flags=%u epoch=%016llx seq=%llu prev=%016llx"
                   " base=%llu time=%llu age=%llu payload=",
                   (unsigned) e.plain, (unsigned) e.flags,
                   (unsigned long long) e.epoch, (unsigned long long) e.seq,
                   (unsigned long long) e.prev, (unsigned long long) e.base,
                   (unsigned long long) e.time, (unsigned long long) e.age);

            for (len = 0; len < e.payload.len; len++) {
                printf("%02x", e.payload.data[len]);
            }
        }

        printf("\n");
        fflush(stdout);
    }

    free(p);

    return 0;
}


/* in memory of its own size, for ASan to see a read beyond */

static ngx_int_t
read_copy(ngx_ws_bus_envelope_t *e, u_char **copy, const u_char *p,
    size_t len)
{
    *copy = malloc(len ? len : 1);

    memcpy(*copy, p, len);

    return ngx_ws_bus_envelope_read(e, *copy, len);
}


static void
test_good(void)
{
    u_char                  buf[256], again[256], *copy;
    size_t                  i, len, n;
    ngx_int_t               rc;
    const good_case_t      *c;
    ngx_ws_bus_envelope_t   e;

    for (i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        c = &goods[i];
        len = tap_hex(buf, c->hex);
        n = strlen(c->payload);

        rc = read_copy(&e, &copy, buf, len);

        tap_ok(rc == NGX_OK && !e.plain && e.flags == c->flags
               && e.epoch == c->epoch && e.seq == c->seq && e.prev == c->prev
               && e.base == c->base && e.time == c->time && e.age == c->age
               && e.payload.len == n
               && memcmp(e.payload.data, c->payload, n) == 0,
               "%s: read", c->name);

        tap_ok(ngx_ws_bus_envelope_size(&e) == len
               && ngx_ws_bus_envelope_write(again, &e) == again + len
               && memcmp(again, buf, len) == 0,
               "%s: written", c->name);

        free(copy);
    }
}


static void
test_bad(void)
{
    u_char                  buf[256], *copy;
    size_t                  i, len;
    ngx_ws_bus_envelope_t   e;

    for (i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        len = tap_hex(buf, bads[i].hex);

        tap_is(read_copy(&e, &copy, buf, len), bads[i].rc, "%s",
               bads[i].name);

        free(copy);
    }
}


static void
test_plain(void)
{
    u_char                  buf[256], *copy;
    size_t                  i, len;
    ngx_int_t               rc;
    ngx_ws_bus_envelope_t   e;

    for (i = 0; i < sizeof(plains) / sizeof(plains[0]); i++) {
        len = tap_hex(buf, plains[i].hex);
        rc = read_copy(&e, &copy, buf, len);

        tap_ok(rc == NGX_OK && e.plain && e.flags == plains[i].flags
               && e.seq == 0 && e.time == 0 && e.payload.data == copy
               && e.payload.len == len,
               "plain: %s", plains[i].name);

        free(copy);
    }
}


/* an envelope with an end too early is broken, or has less payload */

static void
test_cut(void)
{
    u_char                  buf[256], *copy;
    size_t                  i, cut, len, head;
    ngx_int_t               rc;
    ngx_ws_bus_envelope_t   e;

    for (i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        len = tap_hex(buf, goods[i].hex);
        head = len - strlen(goods[i].payload);

        for (cut = 3; cut < len; cut++) {
            rc = read_copy(&e, &copy, buf, cut);

            if (cut < head) {
                tap_each(rc == NGX_ERROR, "%s, %zu bytes", goods[i].name,
                         cut);

            } else {
                tap_each(rc == NGX_OK && e.payload.len == cut - head,
                         "%s, %zu bytes", goods[i].name, cut);
            }

            free(copy);
        }
    }

    tap_all("cut at every byte");
}


static void
test_varints(void)
{
    u_char      buf[16], *p, *last;
    uint64_t    n, read;
    ngx_int_t   d;
    ngx_uint_t  bit;

    for (bit = 0; bit < 64; bit++) {

        for (d = -2; d <= 2; d++) {
            n = ((uint64_t) 1 << bit) + d;

            last = ngx_ws_bus_envelope_varint_write(buf, n);
            p = buf;

            tap_each((size_t) (last - buf) == ngx_ws_bus_envelope_varint_size(n)
                     && ngx_ws_bus_envelope_varint(&read, &p, last) == NGX_OK
                     && p == last && read == n,
                     "%llu", (unsigned long long) n);

            p = buf;

            tap_each(ngx_ws_bus_envelope_varint(&read, &p, last - 1)
                     == NGX_ERROR, "%llu, cut", (unsigned long long) n);
        }
    }

    tap_all("varints around every power of two");
}


/* each byte of flags has one verdict */

static void
test_flags(void)
{
    u_char                  buf[64], *p, *copy;
    ngx_int_t               rc, want;
    ngx_uint_t              flags, kinds;
    ngx_ws_bus_envelope_t   e;

    for (flags = 0; flags < 256; flags++) {
        p = ngx_cpymem(buf, "\xff" "wb\x01", 4);
        *p++ = (u_char) flags;

        if (flags & S) {
            p = ngx_ws_bus_envelope_epoch_write(p, E);
            *p++ = 9;
        }

        if (flags & P) {
            p = ngx_ws_bus_envelope_epoch_write(p, E2);
            *p++ = 8;
        }

        *p++ = 1;
        *p++ = 2;

        kinds = !!(flags & B) + !!(flags & J) + !!(flags & T);

        if (flags & 0xc0) {
            want = NGX_DECLINED;

        } else if (kinds > 1
                   || ((flags & P) && !(flags & S))
                   || ((flags & D) && flags != D))
        {
            want = NGX_ERROR;

        } else {
            want = NGX_OK;
        }

        rc = read_copy(&e, &copy, buf, p - buf);

        tap_each(rc == want, "flags %02x: %d", (unsigned) flags, (int) rc);

        free(copy);
    }

    tap_all("every combination of flags");
}


static void
test_largest(void)
{
    u_char                  buf[NGX_WS_BUS_ENVELOPE_HEAD];
    ngx_ws_bus_envelope_t   e;

    memset(&e, 0xff, sizeof(ngx_ws_bus_envelope_t));

    e.flags = S|P|B;
    e.payload.len = 0;

    tap_ok(ngx_ws_bus_envelope_size(&e) == sizeof(buf)
           && ngx_ws_bus_envelope_head(buf, &e) == buf + sizeof(buf),
           "the largest head");
}


static void
test_follows(void)
{
    size_t                  i;
    const follows_case_t   *c;
    ngx_ws_bus_envelope_t   e;

    memset(&e, 0, sizeof(ngx_ws_bus_envelope_t));

    for (i = 0; i < sizeof(follows) / sizeof(follows[0]); i++) {
        c = &follows[i];

        e.flags = c->prev ? S|P : S;
        e.epoch = c->epoch;
        e.seq = c->seq;
        e.prev = c->prev;
        e.base = c->base;

        tap_is(ngx_ws_bus_envelope_follows(&e, c->host_epoch, c->host_seq),
               c->rc, "a message: %s", c->name);
    }
}


static void
test_position(void)
{
    size_t                  i;
    const follows_case_t   *c;
    ngx_ws_bus_position_t   pos;

    for (i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        c = &positions[i];

        pos.epoch = c->epoch;
        pos.seq = c->seq;
        pos.chain.n = 0;
        ngx_ws_bus_chain_append(&pos.chain, c->prev, c->base);

        tap_is(ngx_ws_bus_position_follows(&pos, c->host_epoch, c->host_seq),
               c->rc, "a position: %s", c->name);
    }
}
