
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"

#include "tap.h"


/* the verdict on a text: the index of the first impossible byte, or one of */

#define VALID     -1
#define UNENDED   -2

#define KOSME     "ce ba e1 bd b9 cf 83 ce bc ce b5 "
#define EDITED    "65 64 69 74 65 64"


typedef struct {
    const char  *name;
    const char  *hex;
    int          verdict;
} utf8_case_t;


static void reference_init(void);
static int reference_verdict(const u_char *p, size_t len);
static size_t encode(u_char *p, uint32_t cp);
static int verdict(const u_char *p, size_t len);
static void test_exhaustive(void);
static void test_four(void);
static void test_every_code_point(void);
static void test_table(void);
static void test_ascii(void);
static void test_split(void);
static void test_empty(void);


/*
 * The reference knows nothing of ranges: it is the set of prefixes that the
 * encodings of all Unicode scalar values have.
 */

static u_char  prefix1[256];
static u_char  prefix2[256 * 256];
static u_char  prefix3[256 * 256 * 32];
static u_char  full1[256];
static u_char  full2[256 * 256];
static u_char  full3[256 * 256 * 32];

/* the fourth byte of a prefix of three: its lowest and highest value */

static u_char  low4[16 * 64 * 64];
static u_char  high4[16 * 64 * 64];


/* numbers of the WebSocket conformance suite, sections 6.2 to 6.23 */

static const utf8_case_t  cases[] = {
    { "6.2.1", "48 65 6c 6c 6f 2d c2 b5 40 c3 9f c3 b6 c3 a4 c3 bc c3 a0 c3"
               "a1 2d 55 54 46 2d 38 21 21", VALID },
    { "6.3.1", KOSME "ed a0 80" EDITED, 12 },
    { "6.4.1", KOSME "f4 90 80 80" EDITED, 12 },
    { "6.4.2, first fragment", KOSME "f4", UNENDED },
    { "6.4.2, second fragment", KOSME "f4 90", 12 },
    { "6.5.1", "ce ba e1 bd b9 cf 83 ce bc ce b5", VALID },

    { "6.6.1", "ce", UNENDED },
    { "6.6.2", "ce ba", VALID },
    { "6.6.3", "ce ba e1", UNENDED },
    { "6.6.4", "ce ba e1 bd", UNENDED },
    { "6.6.5", "ce ba e1 bd b9", VALID },
    { "6.6.6", "ce ba e1 bd b9 cf", UNENDED },
    { "6.6.7", "ce ba e1 bd b9 cf 83", VALID },
    { "6.6.8", "ce ba e1 bd b9 cf 83 ce", UNENDED },
    { "6.6.9", "ce ba e1 bd b9 cf 83 ce bc", VALID },
    { "6.6.10", "ce ba e1 bd b9 cf 83 ce bc ce", UNENDED },
    { "6.6.11", "ce ba e1 bd b9 cf 83 ce bc ce b5", VALID },

    { "6.7.1", "00", VALID },
    { "6.7.2", "c2 80", VALID },
    { "6.7.3", "e0 a0 80", VALID },
    { "6.7.4", "f0 90 80 80", VALID },
    { "6.8.1", "f8 88 80 80 80", 0 },
    { "6.8.2", "fc 84 80 80 80 80", 0 },
    { "6.9.1", "7f", VALID },
    { "6.9.2", "df bf", VALID },
    { "6.9.3", "ef bf bf", VALID },
    { "6.9.4", "f4 8f bf bf", VALID },
    { "6.10.1", "f7 bf bf bf", 0 },
    { "6.10.2", "fb bf bf bf bf", 0 },
    { "6.10.3", "fd bf bf bf bf bf", 0 },
    { "6.11.1", "ed 9f bf", VALID },
    { "6.11.2", "ee 80 80", VALID },
    { "6.11.3", "ef bf bd", VALID },
    { "6.11.4", "f4 8f bf bf", VALID },
    { "6.11.5", "f4 90 80 80", 1 },

    { "6.12.1", "80", 0 },
    { "6.12.2", "bf", 0 },
    { "6.12.3", "80 bf", 0 },
    { "6.12.4", "80 bf 80", 0 },
    { "6.12.5", "80 bf 80 bf", 0 },
    { "6.12.6", "80 bf 80 bf 80", 0 },
    { "6.12.7", "80 bf 80 bf 80 bf", 0 },
    { "6.12.8", "80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f", 0 },
    { "6.13.1", "c0 20 c1 20 c2 20 c3 20", 0 },
    { "6.13.1, from c2", "c2 20 c3 20 c4 20 c5 20", 1 },
    { "6.13.2", "e0 20 e1 20 e2 20 e3 20", 1 },
    { "6.13.3", "f0 20 f1 20 f2 20 f3 20", 1 },
    { "6.13.4", "f8 20 f9 20 fa 20 fb 20", 0 },
    { "6.13.5", "fc 20 fd 20", 0 },

    { "6.14.1", "c0", 0 },
    { "6.14.2", "e0 80", 1 },
    { "6.14.3", "f0 80 80", 1 },
    { "6.14.4", "f8 80 80 80", 0 },
    { "6.14.5", "fc 80 80 80 80", 0 },
    { "6.14.6", "df", UNENDED },
    { "6.14.7", "ef bf", UNENDED },
    { "6.14.8", "f7 bf bf", 0 },
    { "6.14.9", "fb bf bf bf", 0 },
    { "6.14.10", "fd bf bf bf bf", 0 },
    { "6.15.1", "c0 e0 80 f0 80 80 f8 80 80 80 fc 80 80 80 80 df ef bf f7 bf"
                "bf fb bf bf bf fd bf bf bf bf", 0 },
    { "6.16.1", "fe", 0 },
    { "6.16.2", "ff", 0 },
    { "6.16.3", "fe fe ff ff", 0 },

    { "6.17.1", "c0 af", 0 },
    { "6.17.2", "e0 80 af", 1 },
    { "6.17.3", "f0 80 80 af", 1 },
    { "6.17.4", "f8 80 80 80 af", 0 },
    { "6.17.5", "fc 80 80 80 80 af", 0 },
    { "6.18.1", "c1 bf", 0 },
    { "6.18.2", "e0 9f bf", 1 },
    { "6.18.3", "f0 8f bf bf", 1 },
    { "6.18.4", "f8 87 bf bf bf", 0 },
    { "6.18.5", "fc 83 bf bf bf bf", 0 },
    { "6.19.1", "c0 80", 0 },
    { "6.19.2", "e0 80 80", 1 },
    { "6.19.3", "f0 80 80 80", 1 },
    { "6.19.4", "f8 80 80 80 80", 0 },
    { "6.19.5", "fc 80 80 80 80 80", 0 },

    { "6.20.1", "ed a0 80", 1 },
    { "6.20.2", "ed ad bf", 1 },
    { "6.20.3", "ed ae 80", 1 },
    { "6.20.4", "ed af bf", 1 },
    { "6.20.5", "ed b0 80", 1 },
    { "6.20.6", "ed be 80", 1 },
    { "6.20.7", "ed bf bf", 1 },
    { "6.21.1", "ed a0 80 ed b0 80", 1 },
    { "6.21.2", "ed a0 80 ed bf bf", 1 },
    { "6.21.3", "ed ad bf ed b0 80", 1 },
    { "6.21.4", "ed ad bf ed bf bf", 1 },
    { "6.21.5", "ed ae 80 ed b0 80", 1 },
    { "6.21.6", "ed ae 80 ed bf bf", 1 },
    { "6.21.7", "ed af bf ed b0 80", 1 },
    { "6.21.8", "ed af bf ed bf bf", 1 },

    { "6.22.1", "ef bf be", VALID },
    { "6.22.2", "ef bf bf", VALID },
    { "6.22.3", "f0 9f bf be", VALID },
    { "6.22.4", "f0 9f bf bf", VALID },
    { "6.22.5", "f0 af bf be", VALID },
    { "6.22.33", "f4 8f bf be", VALID },
    { "6.22.34", "f4 8f bf bf", VALID },
    { "6.23.1", "ef bf b9", VALID },
    { "6.23.2", "ef bf ba", VALID },
    { "6.23.3", "ef bf bb", VALID },
    { "6.23.4", "ef bf bc", VALID },
    { "6.23.5", "ef bf bd", VALID },

    { "late in the text", KOSME KOSME KOSME "61 62 63 e2 82 61", 38 },
    { "f1 to f3", "f1 80 80 80 f2 bf bf bf f3 80 bf 80", VALID },
    { "f3 unended", "f3 80 bf", UNENDED },
    { "f4, last but two", "f4 8f c0", 2 },
    { "two-byte form, third byte", "c3 a4 a4", 2 }
};


int
main(void)
{
    reference_init();

    test_empty();
    test_table();
    test_every_code_point();
    test_exhaustive();
    test_four();
    test_ascii();
    test_split();

    return tap_done();
}


static size_t
encode(u_char *p, uint32_t cp)
{
    if (cp < 0x80) {
        p[0] = (u_char) cp;
        return 1;
    }

    if (cp < 0x800) {
        p[0] = (u_char) (0xc0 + cp / 64);
        p[1] = (u_char) (0x80 + cp % 64);
        return 2;
    }

    if (cp < 0x10000) {
        p[0] = (u_char) (0xe0 + cp / 4096);
        p[1] = (u_char) (0x80 + cp / 64 % 64);
        p[2] = (u_char) (0x80 + cp % 64);
        return 3;
    }

    p[0] = (u_char) (0xf0 + cp / 262144);
    p[1] = (u_char) (0x80 + cp / 4096 % 64);
    p[2] = (u_char) (0x80 + cp / 64 % 64);
    p[3] = (u_char) (0x80 + cp % 64);

    return 4;
}


static void
bit_set(u_char *bits, uint32_t n)
{
    bits[n / 8] |= 1 << (n % 8);
}


static int
bit_get(const u_char *bits, uint32_t n)
{
    return (bits[n / 8] >> (n % 8)) & 1;
}


static uint32_t
index4(const u_char *b)
{
    return ((b[0] & 0x0f) * 64 + (b[1] & 0x3f)) * 64 + (b[2] & 0x3f);
}


static void
reference_init(void)
{
    size_t    n;
    u_char    b[4];
    uint32_t  cp, i2, i3, i4;

    for (cp = 0; cp <= 0x10ffff; cp++) {

        if (cp >= 0xd800 && cp <= 0xdfff) {
            continue;
        }

        ngx_memzero(b, sizeof(b));

        n = encode(b, cp);

        i2 = b[0] * 256 + b[1];
        i3 = i2 * 256 + b[2];

        switch (n) {

        case 1:
            full1[b[0]] = 1;
            break;

        case 2:
            prefix1[b[0]] = 1;
            full2[i2] = 1;
            break;

        case 3:
            prefix1[b[0]] = 1;
            prefix2[i2] = 1;
            bit_set(full3, i3);
            break;

        case 4:
            prefix1[b[0]] = 1;
            prefix2[i2] = 1;
            bit_set(prefix3, i3);

            i4 = index4(b);

            if (low4[i4] == 0 || b[3] < low4[i4]) {
                low4[i4] = b[3];
            }

            if (b[3] > high4[i4]) {
                high4[i4] = b[3];
            }

            break;
        }
    }
}


static int
reference_verdict(const u_char *p, size_t len)
{
    size_t    i, n;
    uint32_t  i2, i3, i4;

    i = 0;

    while (i < len) {
        n = len - i;

        if (full1[p[i]]) {
            i += 1;
            continue;
        }

        if (!prefix1[p[i]]) {
            return (int) i;
        }

        if (n == 1) {
            return UNENDED;
        }

        i2 = p[i] * 256 + p[i + 1];

        if (full2[i2]) {
            i += 2;
            continue;
        }

        if (!prefix2[i2]) {
            return (int) i + 1;
        }

        if (n == 2) {
            return UNENDED;
        }

        i3 = i2 * 256 + p[i + 2];

        if (bit_get(full3, i3)) {
            i += 3;
            continue;
        }

        if (!bit_get(prefix3, i3)) {
            return (int) i + 2;
        }

        if (n == 3) {
            return UNENDED;
        }

        i4 = index4(p + i);

        if (p[i + 3] < low4[i4] || p[i + 3] > high4[i4]) {
            return (int) i + 3;
        }

        i += 4;
    }

    return VALID;
}


/* a byte at a time, which shows where it fails */

static int
verdict(const u_char *p, size_t len)
{
    size_t             i;
    ngx_ws_bus_utf8_t  state;

    state = NGX_WS_BUS_UTF8_START;

    for (i = 0; i < len; i++) {
        if (ngx_ws_bus_utf8(&state, p + i, 1) != NGX_OK) {
            return (int) i;
        }
    }

    return (state == NGX_WS_BUS_UTF8_START) ? VALID : UNENDED;
}


/* all at once; a failure tells no place */

static int
verdict_whole(const u_char *p, size_t len)
{
    ngx_ws_bus_utf8_t  state;

    state = NGX_WS_BUS_UTF8_START;

    if (ngx_ws_bus_utf8(&state, p, len) != NGX_OK) {
        return 0;
    }

    return (state == NGX_WS_BUS_UTF8_START) ? VALID : UNENDED;
}


static void
test_empty(void)
{
    ngx_ws_bus_utf8_t  state, before;

    tap_ok(ngx_ws_bus_utf8_valid(NULL, 0), "no bytes are a valid text");

    state = NGX_WS_BUS_UTF8_START;
    ngx_ws_bus_utf8(&state, (u_char *) "\xe2\x82", 2);
    before = state;

    tap_ok(before != NGX_WS_BUS_UTF8_START, "the state inside a character");

    tap_is(ngx_ws_bus_utf8(&state, NULL, 0), NGX_OK,
           "no bytes are fine inside a character");
    tap_is(state, before, "and leave the state as it was");

    tap_ok(!ngx_ws_bus_utf8_valid((u_char *) "\xe2\x82", 2),
           "an unended character is no complete text");
}


static void
test_table(void)
{
    int           want;
    size_t        len, n;
    u_char        b[128];
    ngx_uint_t    i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = tap_hex(b, cases[i].hex);
        want = cases[i].verdict;

        tap_is(verdict(b, len), want, "%s", cases[i].name);

        tap_each((ngx_ws_bus_utf8_valid(b, len) != 0) == (want == VALID),
                 "%s at once", cases[i].name);
        tap_each(reference_verdict(b, len) == want,
                 "%s by the reference", cases[i].name);

        if (want < 0) {
            continue;
        }

        /* what goes before the failure is fine, up to the byte */

        n = want;

        tap_each(verdict_whole(b, n) != 0, "%s, %d bytes", cases[i].name,
                 want);
        tap_each(verdict_whole(b, n + 1) == 0, "%s, %d bytes",
                 cases[i].name, want + 1);
    }

    tap_all("suite cases at once and up to the first bad byte");
}


static void
test_every_code_point(void)
{
    u_char    b[4];
    size_t    n;
    uint32_t  cp;

    for (cp = 0; cp <= 0x10ffff; cp++) {
        n = encode(b, cp);

        if (cp >= 0xd800 && cp <= 0xdfff) {
            tap_each(!ngx_ws_bus_utf8_valid(b, n), "surrogate U+%04X", cp);
            continue;
        }

        tap_each(ngx_ws_bus_utf8_valid(b, n), "U+%04X", cp);
    }

    tap_all("every code point");
}


/*
 * All sequences of one, two and three bytes.  Each is fed a byte at a time,
 * which has to fail at the very byte that the reference names, and at once.
 */

static void
test_exhaustive(void)
{
    int                want, got;
    u_char             b[3];
    ngx_int_t          rc;
    ngx_uint_t         i, j, k;
    ngx_ws_bus_utf8_t  s1, s2, s3;

    for (i = 0; i < 256; i++) {
        b[0] = (u_char) i;

        tap_each(verdict(b, 1) == reference_verdict(b, 1), "%02x", b[0]);

        for (j = 0; j < 256; j++) {
            b[1] = (u_char) j;

            want = reference_verdict(b, 2);

            tap_each(verdict(b, 2) == want, "%02x %02x", b[0], b[1]);

            got = verdict_whole(b, 2);

            tap_each(got == ngx_min(want, 0), "%02x %02x at once", b[0],
                     b[1]);
        }
    }

    tap_all("sequences of 1 and 2 bytes");

    for (i = 0; i < 256; i++) {
        b[0] = (u_char) i;
        s1 = NGX_WS_BUS_UTF8_START;

        if (ngx_ws_bus_utf8(&s1, b, 1) != NGX_OK) {
            tap_each(reference_verdict(b, 1) == 0, "%02x", b[0]);
            continue;
        }

        for (j = 0; j < 256; j++) {
            b[1] = (u_char) j;
            s2 = s1;

            if (ngx_ws_bus_utf8(&s2, b + 1, 1) != NGX_OK) {
                tap_each(reference_verdict(b, 2) == 1, "%02x %02x", b[0],
                         b[1]);
                continue;
            }

            for (k = 0; k < 256; k++) {
                b[2] = (u_char) k;
                s3 = s2;

                want = reference_verdict(b, 3);
                rc = ngx_ws_bus_utf8(&s3, b + 2, 1);

                if (rc != NGX_OK) {
                    got = 2;

                } else {
                    got = (s3 == NGX_WS_BUS_UTF8_START) ? VALID : UNENDED;
                }

                tap_each(got == want, "%02x %02x %02x: %d, not %d",
                         b[0], b[1], b[2], got, want);
            }
        }
    }

    tap_all("sequences of 3 bytes, byte by byte");

    for (i = 0; i < 256 * 256 * 256; i++) {
        b[0] = (u_char) (i >> 16);
        b[1] = (u_char) (i >> 8);
        b[2] = (u_char) i;

        want = reference_verdict(b, 3);
        got = verdict_whole(b, 3);

        if (got != ngx_min(want, 0)) {
            tap_each(0, "%02x %02x %02x: %d, not %d", b[0], b[1], b[2], got,
                     want);
        }
    }

    tap_each(i == 1 << 24, "not all");
    tap_all("all 16777216 sequences of 3 bytes, at once");
}


/* every first byte, then each byte that bounds some range */

static void
test_four(void)
{
    int          want;
    u_char       b[4];
    ngx_uint_t   i, j, k, l;

    static u_char  bounds[] = {
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2,
        0xe0, 0xed, 0xf0, 0xf4, 0xff
    };

    for (i = 0; i < 256; i++) {
        for (j = 0; j < sizeof(bounds); j++) {
            for (k = 0; k < sizeof(bounds); k++) {
                for (l = 0; l < sizeof(bounds); l++) {
                    b[0] = (u_char) i;
                    b[1] = bounds[j];
                    b[2] = bounds[k];
                    b[3] = bounds[l];

                    want = reference_verdict(b, 4);

                    tap_each(verdict(b, 4) == want
                             && verdict_whole(b, 4) == ngx_min(want, 0),
                             "%02x %02x %02x %02x", b[0], b[1], b[2], b[3]);
                }
            }
        }
    }

    tap_all("sequences of 4 bytes at the bounds");
}


/* something else at each place of ASCII runs of all lengths and alignments */

static void
test_ascii(void)
{
    size_t       len, at, n;
    u_char       buf[128], *p;
    ngx_uint_t   off, i;

    static const char  *put[] = {
        "7f", "80", "ff", "c2", "c2 80", "e2 82 ac", "e2 82", "f0 9f 98 80",
        "f0 9f 98", "f4 90", "ed a0"
    };

    for (off = 0; off < 8; off++) {
        p = buf + off;

        for (len = 0; len <= 80; len++) {
            ngx_memset(buf, 'a', sizeof(buf));

            tap_each(verdict_whole(p, len) == VALID, "%d of ASCII",
                     (int) len);

            for (i = 0; i < sizeof(put) / sizeof(put[0]); i++) {
                for (at = 0; at <= len; at++) {
                    ngx_memset(buf, 'a', sizeof(buf));

                    n = tap_hex(p + at, put[i]);
                    n = ngx_max(at + n, len);

                    tap_each(verdict_whole(p, n)
                             == ngx_min(reference_verdict(p, n), 0),
                             "%s at %d of %d", put[i], (int) at, (int) n);
                }
            }
        }
    }

    tap_all("ASCII runs with something in them");
}


/* each cut in two of every case, behind ASCII too; all cuts of short ones */

static void
test_split(void)
{
    int                want, got;
    size_t             len, cut, pre;
    u_char             b[160];
    ngx_uint_t         i, mask;
    ngx_ws_bus_utf8_t  state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (pre = 0; pre <= 17; pre++) {
            ngx_memset(b, 'x', pre);
            len = pre + tap_hex(b + pre, cases[i].hex);
            want = ngx_min(cases[i].verdict, 0);

            for (cut = 0; cut <= len; cut++) {
                state = NGX_WS_BUS_UTF8_START;
                got = 0;

                if (ngx_ws_bus_utf8(&state, b, cut) == NGX_OK
                    && ngx_ws_bus_utf8(&state, b + cut, len - cut) == NGX_OK)
                {
                    got = (state == NGX_WS_BUS_UTF8_START) ? VALID : UNENDED;
                }

                tap_each(got == want, "%s cut at %d", cases[i].name,
                         (int) cut);
            }
        }
    }

    tap_all("cut in two");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = tap_hex(b, cases[i].hex);
        want = ngx_min(cases[i].verdict, 0);

        if (len > 12) {
            continue;
        }

        for (mask = 0; mask < (ngx_uint_t) 1 << (len - 1); mask++) {
            state = NGX_WS_BUS_UTF8_START;
            got = VALID;
            pre = 0;

            for (cut = 1; cut <= len; cut++) {

                if (cut < len && !(mask & (1 << (cut - 1)))) {
                    continue;
                }

                if (ngx_ws_bus_utf8(&state, b + pre, cut - pre) != NGX_OK) {
                    got = 0;
                    break;
                }

                pre = cut;
            }

            if (got == VALID && state != NGX_WS_BUS_UTF8_START) {
                got = UNENDED;
            }

            tap_each(got == want, "%s cut by %x", cases[i].name, (int) mask);
        }
    }

    tap_all("cut every way");
}
