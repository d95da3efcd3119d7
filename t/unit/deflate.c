
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>


/* allocations that may yet succeed; below zero they all do */

static int  realloc_left = -1;


static void *
test_realloc(void *p, size_t size)
{
    if (realloc_left == 0) {
        return NULL;
    }

    realloc_left--;

    return realloc(p, size);
}


#define realloc  test_realloc

#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_deflate.c"

#undef realloc

#include "tap.h"


#define PMD     "permessage-deflate"
#define ANSWER  PMD "; server_no_context_takeover; client_no_context_takeover"

#define BIG     (1 << 20)


typedef struct {
    const char  *offers;
    ngx_int_t    rc;
    const char  *answer;        /* what follows ANSWER */
} offer_case_t;


typedef struct {
    const char  *name;
    const char  *hex;
    ngx_uint_t   code;          /* 0: fine */
    const char  *text;
} inflate_case_t;


typedef struct {
    u_char      *data;
    size_t       size;
    size_t       len;
    ngx_uint_t   code;          /* of the error, 0 if none */
} result_t;


static void test_negotiate(void);
static void test_negotiate_bits(void);
static void test_negotiate_prefixes(void);
static void test_answer(void);
static void test_inflate_cases(void);
static void test_inflate_truncated(void);
static void test_inflate_cap(void);
static void test_inflate_buffer(void);
static void test_inflate_bombs(void);
static void test_inflate_no_memory(void);
static void test_inflate_independent(void);
static void test_inflate_garbage(void);
static void test_message(void);
static void test_bound(void);
static void test_round_trip(void);


static const offer_case_t  offers[] = {

    /* RFC 7692, 7, 7.1 */

    { PMD, NGX_OK, "" },
    { PMD "; client_max_window_bits; server_max_window_bits=10", NGX_OK,
      "; server_max_window_bits=10; client_max_window_bits=15" },
    { PMD "; client_max_window_bits; server_max_window_bits=10, "
      PMD "; client_max_window_bits", NGX_OK,
      "; server_max_window_bits=10; client_max_window_bits=15" },
    { PMD "; server_no_context_takeover", NGX_OK, "" },
    { PMD "; client_no_context_takeover", NGX_OK, "" },
    { PMD "; server_max_window_bits=10", NGX_OK,
      "; server_max_window_bits=10" },
    { PMD "; client_max_window_bits", NGX_OK,
      "; client_max_window_bits=15" },
    { PMD "; client_max_window_bits=10", NGX_OK,
      "; client_max_window_bits=10" },

    /* RFC 7692, 5; RFC 6455, 9.1: other extensions */

    { "permessage-foo", NGX_DECLINED, NULL },
    { "permessage-foo, permessage-bar", NGX_DECLINED, NULL },
    { "permessage-foo; use_x, permessage-foo", NGX_DECLINED, NULL },
    { "permessage-foo; x=10", NGX_DECLINED, NULL },
    { "permessage-foo; x=\"10\"", NGX_DECLINED, NULL },
    { "foo, bar; baz=2", NGX_DECLINED, NULL },
    { "mux; max-channels=4; flow-control, deflate-stream", NGX_DECLINED,
      NULL },
    { "private-extension", NGX_DECLINED, NULL },
    { "deflate-stream, mux; max-channels=4, " PMD, NGX_OK, "" },
    { "x-webkit-deflate-frame, " PMD "; client_max_window_bits", NGX_OK,
      "; client_max_window_bits=15" },

    /* everything at once, and how browsers and libraries write it */

    { PMD "; server_no_context_takeover; client_no_context_takeover; "
      "server_max_window_bits=15; client_max_window_bits=15", NGX_OK,
      "; server_max_window_bits=15; client_max_window_bits=15" },
    { PMD ";client_max_window_bits=9;server_max_window_bits=9", NGX_OK,
      "; server_max_window_bits=9; client_max_window_bits=9" },
    { " \t" PMD " ;\tclient_max_window_bits = 12 \t", NGX_OK,
      "; client_max_window_bits=12" },
    { ", ," PMD " , ,", NGX_OK, "" },

    /* quoted values */

    { PMD "; server_max_window_bits=\"12\"", NGX_OK,
      "; server_max_window_bits=12" },
    { PMD "; client_max_window_bits=\"9\"", NGX_OK,
      "; client_max_window_bits=9" },
    { PMD "; server_max_window_bits=\"\\1\\2\"", NGX_OK,
      "; server_max_window_bits=12" },
    { PMD "; server_max_window_bits=\"012\"", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=\"120\"", NGX_DECLINED, NULL },
    { "x; y=\"permessage-deflate\"", NGX_DECLINED, NULL },

    /* no such window */

    { PMD "; server_max_window_bits", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=8", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=8", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=16", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=16", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=7", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=0", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=-10", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=+10", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=010", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=09", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=100", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=150000000000000000000", NGX_DECLINED,
      NULL },
    { PMD "; client_max_window_bits=1x", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=x", NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=1.0", NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=4294967306", NGX_DECLINED, NULL },

    /* a value where none belongs */

    { PMD "; server_no_context_takeover=1", NGX_DECLINED, NULL },
    { PMD "; client_no_context_takeover=true", NGX_DECLINED, NULL },
    { PMD "; client_no_context_takeover=\"x\"", NGX_DECLINED, NULL },

    /* parameters unknown or repeated */

    { PMD "; unknown", NGX_DECLINED, NULL },
    { PMD "; max_window_bits=10", NGX_DECLINED, NULL },
    { PMD "; Server_no_context_takeover", NGX_DECLINED, NULL },
    { PMD "; server_no_context_takeove", NGX_DECLINED, NULL },
    { PMD "; server_no_context_takeovers", NGX_DECLINED, NULL },
    { PMD "; server_no_context_takeover; server_no_context_takeover",
      NGX_DECLINED, NULL },
    { PMD "; client_no_context_takeover; client_no_context_takeover",
      NGX_DECLINED, NULL },
    { PMD "; server_max_window_bits=10; server_max_window_bits=10",
      NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits; client_max_window_bits",
      NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits; client_max_window_bits=10",
      NGX_DECLINED, NULL },
    { PMD "; client_max_window_bits=10; client_max_window_bits=11",
      NGX_DECLINED, NULL },

    /* falling back to a later offer, the first that can be served */

    { PMD "; server_max_window_bits=8, " PMD, NGX_OK, "" },
    { PMD "; unknown, " PMD "; client_max_window_bits=11", NGX_OK,
      "; client_max_window_bits=11" },
    { PMD "; server_max_window_bits=10; server_max_window_bits=10, "
      PMD "; server_max_window_bits=11", NGX_OK,
      "; server_max_window_bits=11" },
    { PMD "; server_max_window_bits=9, " PMD "; server_max_window_bits=11",
      NGX_OK, "; server_max_window_bits=9" },
    { PMD "; client_max_window_bits=12; unknown, " PMD, NGX_OK, "" },
    { PMD ", " PMD "; unknown", NGX_OK, "" },
    { PMD "; a, " PMD "; b, foo, " PMD "; c", NGX_DECLINED, NULL },

    /* another name */

    { "permessage-deflat", NGX_DECLINED, NULL },
    { "permessage-deflate2", NGX_DECLINED, NULL },
    { "Permessage-Deflate", NGX_DECLINED, NULL },
    { "x-permessage-deflate", NGX_DECLINED, NULL },

    /* nothing */

    { "", NGX_DECLINED, NULL },
    { " ", NGX_DECLINED, NULL },
    { ",", NGX_DECLINED, NULL },
    { " ,\t, ", NGX_DECLINED, NULL },

    /* not a list of extensions */

    { ";", NGX_ERROR, NULL },
    { "=", NGX_ERROR, NULL },
    { "\"permessage-deflate\"", NGX_ERROR, NULL },
    { PMD ";", NGX_ERROR, NULL },
    { PMD "; ", NGX_ERROR, NULL },
    { PMD ";;", NGX_ERROR, NULL },
    { PMD ";,", NGX_ERROR, NULL },
    { PMD "=1", NGX_ERROR, NULL },
    { PMD " " PMD, NGX_ERROR, NULL },
    { PMD "/1", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits= ", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=,", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits==10", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=10 11", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"10", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"10\\", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"10\\\"", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"\"", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"1 0\"", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=\"10\"x", NGX_ERROR, NULL },
    { PMD "; server_max_window_bits=10\"", NGX_ERROR, NULL },
    { PMD "; =10", NGX_ERROR, NULL },
    { "foo; bar=\"b,a;z\"", NGX_ERROR, NULL },
    { "foo; bar=\"a\x01z\"", NGX_ERROR, NULL },
    { "foo, b\xc3\xa4r", NGX_ERROR, NULL },
    { PMD ", foo bar", NGX_ERROR, NULL },
    { PMD ", foo;", NGX_ERROR, NULL }
};


static const inflate_case_t  inflates[] = {

    /* RFC 7692, 7.2.3 */

    { "7.2.3.1, one block", "f2 48 cd c9 c9 07 00", 0, "Hello" },
    { "7.2.3.2, a window that was not kept", "f2 00 11 00 00", 1007, NULL },
    { "7.2.3.3, a stored block", "00 05 00 fa ff 48 65 6c 6c 6f 00", 0,
      "Hello" },
    { "7.2.3.4, a final block", "f3 48 cd c9 c9 07 00 00", 0, "Hello" },
    { "7.2.3.5, two blocks", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00", 0,
      "Hello" },
    { "7.2.3.6, an empty message", "00", 0, "" },

    { "no bytes", "", 0, "" },
    { "a final block without the byte behind it", "f3 48 cd c9 c9 07 00", 0,
      "Hello" },
    { "two final blocks",
      "f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", 0, "HelloHello" },
    { "a final block, another that is not",
      "f3 48 cd c9 c9 07 00 f2 48 cd c9 c9 07 00", 0, "HelloHello" },
    { "an empty final block", "03 00", 0, "" },
    { "a final block that the tail completes", "01", 0, "" },
    { "a final stored block", "01 01 00 fe ff 61", 0, "a" },
    { "empty stored blocks", "00 00 00 ff ff 00 00 00 ff ff 00", 0, "" },
    { "two stored blocks", "00 01 00 fe ff 61 00 01 00 fe ff 62 00", 0,
      "ab" },
    { "a stored and a fixed block",
      "00 01 00 fe ff 61 f2 48 cd c9 c9 07 00", 0, "aHello" },
    { "an empty fixed block and a flush", "02 00 00 00 ff ff 00", 0, "" },

    { "a reserved block type", "06", 1007, NULL },
    { "all ones", "ff ff ff ff", 1007, NULL },
    { "a stored block with a wrong complement", "00 05 00 00 00 48", 1007,
      NULL },
    { "a stored block cut short", "00 05 00 fa ff 48 65", 1007, NULL },
    { "a tail that was not cut off", "f2 48 cd c9 c9 07 00 00 00 ff ff",
      1007, NULL },
    { "a zlib header", "78 9c f2 48 cd c9 c9 07 00", 1007, NULL },
    { "a gzip header", "1f 8b 08 00 00 00 00 00 00 03", 1007, NULL },
    { "a distance beyond the beginning", "4a 04 82 00", 1007, NULL },
    { "a distance beyond the final block before",
      "f3 48 cd c9 c9 07 00 02 11 00 00", 1007, NULL },
    { "an incomplete dynamic header", "04 c0 81", 1007, NULL },
    { "garbage behind a final block", "03 00 ff", 1007, NULL },
    { "plain text", "48 65 6c 6c 6f", 1007, NULL }
};


static z_stream   widest;
static z_stream  *in = &widest;


int
main(void)
{
    if (inflateInit2(in, -15) != Z_OK) {
        abort();
    }

    test_negotiate();
    test_negotiate_bits();
    test_negotiate_prefixes();
    test_answer();
    test_inflate_cases();
    test_inflate_truncated();
    test_inflate_cap();
    test_inflate_buffer();
    test_inflate_bombs();
    test_inflate_no_memory();
    test_inflate_independent();
    test_inflate_garbage();
    test_message();
    test_bound();
    test_round_trip();

    inflateEnd(in);

    return tap_done();
}


static void *
alloc(size_t size)
{
    void  *p;

    p = malloc(size ? size : 1);
    if (p == NULL) {
        abort();
    }

    return p;
}


/* memory of its own size, for ASan to see a read beyond */

static u_char *
copy_of(const void *p, size_t len)
{
    u_char  *copy;

    copy = alloc(len);

    if (len) {
        ngx_memcpy(copy, p, len);
    }

    return copy;
}


static int
same(const void *one, const void *two, size_t len)
{
    return len == 0 || ngx_memcmp(one, two, len) == 0;
}


static ngx_int_t
negotiate(const char *value, size_t len, ngx_ws_bus_deflate_t *d)
{
    ngx_int_t  rc;
    ngx_str_t  s;

    s.len = len;
    s.data = copy_of(value, len);

    rc = ngx_ws_bus_deflate_negotiate(&s, d);

    free(s.data);

    return rc;
}


static void
test_negotiate(void)
{
    char                  want[256];
    u_char                buf[256], *p;
    ngx_int_t             rc;
    ngx_str_t             null;
    ngx_uint_t            i;
    ngx_ws_bus_deflate_t  d;

    for (i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        rc = negotiate(offers[i].offers, strlen(offers[i].offers), &d);

        if (!tap_is(rc, offers[i].rc, "offer %d, %s", (int) i,
                    (rc == NGX_ERROR) ? "not a list" : offers[i].offers)
            || rc != NGX_OK)
        {
            continue;
        }

        p = ngx_ws_bus_deflate_answer(&d, buf);
        *p = '\0';

        snprintf(want, sizeof(want), ANSWER "%s", offers[i].answer);

        if (!tap_ok(strcmp((char *) buf, want) == 0, "its answer")) {
            tap_diag("got \"%s\"", buf);
        }
    }

    ngx_str_null(&null);

    tap_is(ngx_ws_bus_deflate_negotiate(&null, &d), NGX_DECLINED,
           "a null string offers nothing");
}


static void
test_negotiate_bits(void)
{
    int                   n, s, c, len;
    char                  buf[256];
    ngx_int_t             rc, want;
    ngx_ws_bus_deflate_t  d;

    for (n = 0; n < 1000; n++) {
        len = sprintf(buf, PMD "; server_max_window_bits=%d", n);
        want = (n >= 9 && n <= 15) ? NGX_OK : NGX_DECLINED;
        rc = negotiate(buf, len, &d);

        tap_each(rc == want
                 && (rc != NGX_OK
                     || (d.server_bits == (unsigned) n && d.say_server_bits
                         && d.client_bits == 15 && !d.say_client_bits)),
                 "server_max_window_bits=%d", n);

        len = sprintf(buf, PMD "; client_max_window_bits=%d", n);
        rc = negotiate(buf, len, &d);

        tap_each(rc == want
                 && (rc != NGX_OK
                     || (d.client_bits == (unsigned) n && d.say_client_bits
                         && d.server_bits == 15 && !d.say_server_bits)),
                 "client_max_window_bits=%d", n);
    }

    for (s = 8; s <= 16; s++) {
        for (c = 8; c <= 16; c++) {
            len = sprintf(buf, PMD "; client_max_window_bits=\"%d\""
                               "; server_max_window_bits=%d, " PMD, c, s);

            rc = negotiate(buf, len, &d);

            if (s >= 9 && s <= 15 && c >= 9 && c <= 15) {
                tap_each(rc == NGX_OK && d.say_server_bits
                         && d.say_client_bits
                         && d.server_bits == (unsigned) s
                         && d.client_bits == (unsigned) c,
                         "server %d, client %d", s, c);

            } else {
                tap_each(rc == NGX_OK && !d.say_server_bits
                         && !d.say_client_bits
                         && d.server_bits == 15 && d.client_bits == 15,
                         "server %d, client %d, the next offer", s, c);
            }
        }
    }

    tap_all("window bits");
}


static void
test_negotiate_prefixes(void)
{
    char                  buf[64], got;
    size_t                n, len;
    ngx_int_t             rc;
    ngx_uint_t            ch;
    ngx_ws_bus_deflate_t  d;

    static const char  value[] =
        "foo; a=\"b\", " PMD "; client_max_window_bits=\"1\\0\", bar";

    /* OK, declined, an error: for each number of bytes from none */

    static const char  want[] =
        "DDDDEEDEEED" "DDDDDDDDDDDDDDDDDDDO"
        "EEDDDDDDDDDDDDDDDDDDDDDOEEEEEO" "OOOOO";

    len = sizeof(value) - 1;

    tap_is(sizeof(want) - 1, len + 1, "a verdict for each cut");

    for (n = 0; n <= len; n++) {
        rc = negotiate(value, n, &d);

        got = (rc == NGX_OK) ? 'O' : (rc == NGX_DECLINED) ? 'D' : 'E';

        tap_each(got == want[n], "%d bytes: %c, not %c", (int) n, got,
                 want[n]);
        tap_each(rc != NGX_OK || d.client_bits == (n < 60 ? 15 : 10),
                 "%d bytes: agreement", (int) n);
    }

    tap_all("an offer cut anywhere");

    for (ch = 0; ch < 256; ch++) {
        len = sprintf(buf, PMD);
        buf[len++] = (char) ch;

        rc = negotiate(buf, len, &d);

        if (ch == ',' || ch == ' ' || ch == '\t') {
            tap_each(rc == NGX_OK, "%02x behind", (int) ch);

        } else if (ngx_ws_bus_handshake_is_tchar((u_char) ch)) {
            tap_each(rc == NGX_DECLINED, "%02x behind", (int) ch);

        } else {
            tap_each(rc == NGX_ERROR, "%02x behind", (int) ch);
        }
    }

    tap_all("an offer with any byte behind it");
}


static void
test_answer(void)
{
    u_char                *buf, *p;
    size_t                 longest;
    ngx_uint_t             s, c;
    ngx_ws_bus_deflate_t   d, back;

    buf = alloc(NGX_WS_BUS_DEFLATE_ANSWER_MAX);
    longest = 0;

    for (s = 8; s <= 15; s++) {
        for (c = 8; c <= 15; c++) {
            ngx_memzero(&d, sizeof(d));

            d.server_bits = (s == 8) ? 15 : s;
            d.client_bits = (c == 8) ? 15 : c;
            d.say_server_bits = (s != 8);
            d.say_client_bits = (c != 8);

            p = ngx_ws_bus_deflate_answer(&d, buf);
            longest = ngx_max(longest, (size_t) (p - buf));

            tap_each(negotiate((char *) buf, p - buf, &back) == NGX_OK
                     && back.server_bits == d.server_bits
                     && back.client_bits == d.client_bits
                     && back.say_server_bits == d.say_server_bits
                     && back.say_client_bits == d.say_client_bits,
                     "server %d, client %d", (int) s, (int) c);
        }
    }

    tap_all("answers");

    tap_is(longest, NGX_WS_BUS_DEFLATE_ANSWER_MAX, "the longest answer");

    free(buf);
}


/* one message through a fresh buffer */

static void
inflate_new(result_t *r, const u_char *p, size_t len, size_t max)
{
    u_char                    *copy;
    ngx_int_t                  rc;
    const ngx_ws_bus_error_t  *error;

    copy = copy_of(p, len);

    r->data = NULL;
    r->size = 0;
    r->len = 0;
    r->code = 0;

    rc = ngx_ws_bus_deflate_inflate(in, copy, len, &r->data, &r->size, max,
                                    &r->len, &error);

    if (rc != NGX_OK) {
        r->code = (rc == NGX_ERROR) ? error->code : 1;
    }

    free(copy);
}


/* a message as a sender makes it, at its end in *pos */

static size_t
compress_with(z_stream *z, const u_char *p, size_t len, u_char *buf)
{
    u_char  *pos;

    pos = buf;

    if (ngx_ws_bus_deflate_message(z, p, len, &pos) != NGX_OK) {
        return 0;
    }

    return pos - buf;
}


static void
deflate_init(z_stream *z, int level, int bits, int memory, int strategy)
{
    ngx_memzero(z, sizeof(z_stream));

    if (deflateInit2(z, level, Z_DEFLATED, -bits, memory, strategy) != Z_OK) {
        abort();
    }
}


static void
test_inflate_cases(void)
{
    u_char      buf[256];
    size_t      len;
    result_t    r;
    ngx_uint_t  i;

    for (i = 0; i < sizeof(inflates) / sizeof(inflates[0]); i++) {
        len = tap_hex(buf, inflates[i].hex);

        inflate_new(&r, buf, len, 65536);

        if (inflates[i].code) {
            tap_is(r.code, inflates[i].code, "%s", inflates[i].name);

        } else if (!tap_ok(r.code == 0 && r.len == strlen(inflates[i].text)
                           && same(r.data, inflates[i].text, r.len),
                           "%s", inflates[i].name))
        {
            tap_diag("code %d, %d bytes", (int) r.code, (int) r.len);
        }

        tap_each(r.size <= 65536, "%s: size", inflates[i].name);

        free(r.data);
    }

    tap_all("no buffer above the limit");
}


/*
 * A message cut short is never taken for a message, except between blocks;
 * there is one block here.
 */

static void
test_inflate_truncated(void)
{
    int         level;
    u_char      text[2000], buf[4096];
    size_t      i, n, len;
    result_t    r;
    z_stream    z;

    for (i = 0; i < sizeof(text); i++) {
        text[i] = (u_char) ('a' + (i * i / 7 + i / 3) % 23);
    }

    for (level = 1; level <= 9; level++) {
        deflate_init(&z, level, 15, 8, Z_DEFAULT_STRATEGY);

        len = compress_with(&z, text, sizeof(text), buf);
        deflateEnd(&z);

        for (n = 1; n < len; n++) {
            inflate_new(&r, buf, n, 65536);

            tap_each(r.code == 1007, "level %d, %d bytes of %d", level,
                     (int) n, (int) len);
            free(r.data);
        }

        inflate_new(&r, buf, len, 65536);

        tap_each(r.code == 0 && r.len == sizeof(text), "level %d, all",
                 level);
        free(r.data);
    }

    tap_all("messages cut short");
}


static void
test_inflate_cap(void)
{
    u_char     *text, *buf;
    size_t      i, len, n;
    result_t    r;
    z_stream    z;
    ngx_uint_t  k, kind;

    static size_t  sizes[] = {
        1, 2, 3, 100, 257, 258, 259, 260, 1000, 4095, 4096, 4097, 8191, 8192,
        8193, 32767, 32768, 32769, 65535, 65536, 65537, 100000
    };

    text = alloc(100000);
    buf = alloc(ngx_ws_bus_deflate_bound(100000));

    deflate_init(&z, 6, 15, 8, Z_DEFAULT_STRATEGY);

    for (kind = 0; kind < 3; kind++) {

        for (i = 0; i < 100000; i++) {
            switch (kind) {
            case 0:
                text[i] = 'a';
                break;
            case 1:
                text[i] = (u_char) ((i * 2654435761u) >> 13);
                break;
            default:
                text[i] = (u_char) ('a' + (i / 5 * i / 3) % 19);
            }
        }

        for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            n = sizes[k];
            len = compress_with(&z, text, n, buf);

            inflate_new(&r, buf, len, n);

            tap_each(r.code == 0 && r.len == n && r.size <= n
                     && same(r.data, text, n),
                     "%d bytes, limit %d: code %d, %d bytes", (int) n,
                     (int) n, (int) r.code, (int) r.len);
            free(r.data);

            inflate_new(&r, buf, len, n + 1);

            tap_each(r.code == 0 && r.len == n, "%d bytes, limit %d",
                     (int) n, (int) n + 1);
            free(r.data);

            inflate_new(&r, buf, len, n - 1);

            tap_each(r.code == 1009 && r.size <= n - 1,
                     "%d bytes, limit %d: code %d", (int) n, (int) n - 1,
                     (int) r.code);
            free(r.data);

            inflate_new(&r, buf, len, n / 2);

            tap_each(r.code == 1009 && r.size <= n / 2,
                     "%d bytes, limit %d: code %d", (int) n, (int) n / 2,
                     (int) r.code);
            free(r.data);
        }
    }

    tap_all("limits at and next to the size");

    for (n = 0; n <= 600; n++) {
        len = compress_with(&z, text, n, buf);

        inflate_new(&r, buf, len, n);
        tap_each(r.code == 0 && r.len == n, "%d bytes", (int) n);
        free(r.data);

        inflate_new(&r, buf, len, n + 1);
        tap_each(r.code == 0 && r.len == n, "%d bytes, one less", (int) n);
        free(r.data);

        if (n) {
            inflate_new(&r, buf, len, n - 1);
            tap_each(r.code == 1009, "%d bytes, one more", (int) n);
            free(r.data);
        }
    }

    tap_all("limits of all small sizes");

    len = tap_hex(buf, "00");
    inflate_new(&r, buf, len, 0);

    tap_ok(r.code == 0 && r.len == 0, "an empty message, limit 0");
    free(r.data);

    len = tap_hex(buf, "f2 48 cd c9 c9 07 00");
    inflate_new(&r, buf, len, 0);

    tap_ok(r.code == 1009 && r.data == NULL, "a message, limit 0");

    /* of what is both broken and too big, whatever comes first counts */

    len = tap_hex(buf, "00 05 00 fa ff 48 65 6c 6c 6f 06");
    inflate_new(&r, buf, len, 5);

    tap_is(r.code, 1007, "broken behind as many bytes as allowed");
    free(r.data);

    inflate_new(&r, buf, len, 4);

    tap_is(r.code, 1009, "broken behind more bytes than allowed");
    free(r.data);

    deflateEnd(&z);
    free(text);
    free(buf);
}


/* a buffer of the caller's, from another message or of another limit */

static void
test_inflate_buffer(void)
{
    u_char                    *out, *was, buf[16];
    size_t                     size, room, len, n, i;
    ngx_int_t                  rc;
    const ngx_ws_bus_error_t  *error;

    n = tap_hex(buf, "f2 48 cd c9 c9 07 00");

    for (size = 0; size < 12; size++) {
        for (i = 0; i < 12; i++) {
            room = size;
            out = size ? alloc(size) : NULL;

            rc = ngx_ws_bus_deflate_inflate(in, buf, n, &out, &room, i,
                                            &len, &error);

            if (i < 5) {
                tap_each(rc == NGX_ERROR && error->code == 1009
                         && room == ngx_max(size, i),
                         "buffer %d, limit %d", (int) size, (int) i);

            } else {
                tap_each(rc == NGX_OK && len == 5
                         && ngx_memcmp(out, "Hello", 5) == 0
                         && room >= 5 && room <= ngx_max(size, i),
                         "buffer %d, limit %d", (int) size, (int) i);
            }

            free(out);
        }
    }

    tap_all("buffers smaller and larger than the limit");

    size = 0;
    out = NULL;
    error = NULL;

    ngx_ws_bus_deflate_inflate(in, buf, n, &out, &size, 1000, &len, &error);

    was = out;
    rc = NGX_OK;

    for (i = 0; i < 100 && rc == NGX_OK; i++) {
        len = 0;
        rc = ngx_ws_bus_deflate_inflate(in, buf, n, &out, &size, 1000, &len,
                                        &error);
    }

    tap_ok(rc == NGX_OK && len == 5 && size == 1000 && out == was,
           "a buffer is used again");

    buf[0] = 0xff;

    rc = ngx_ws_bus_deflate_inflate(in, buf, n, &out, &size, 1000, &len,
                                    &error);

    tap_ok(rc == NGX_ERROR && error->code == 1007 && out == was,
           "it stays the caller's after an error");

    buf[0] = 0xf2;

    tap_ok(ngx_ws_bus_deflate_inflate(in, buf, n, &out, &size, 1000, &len,
                                      &error)
           == NGX_OK
           && len == 5,
           "and the stream is fit for the next message");

    free(out);
}


static void
test_inflate_bombs(void)
{
    u_char     *zeros, *buf, *many;
    size_t      len, i;
    result_t    r;
    z_stream    z;

    zeros = calloc(16, BIG);
    if (zeros == NULL) {
        abort();
    }

    buf = alloc(ngx_ws_bus_deflate_bound(16 * BIG));

    deflate_init(&z, 9, 15, 8, Z_DEFAULT_STRATEGY);
    len = compress_with(&z, zeros, 16 * BIG, buf);
    deflateEnd(&z);

    tap_ok(len > 0 && len < 20000, "16 MB in %d bytes", (int) len);

    inflate_new(&r, buf, len, 65536);

    tap_ok(r.code == 1009 && r.size <= 65536,
           "a bomb is too big, nothing above the limit is allocated");
    free(r.data);

    inflate_new(&r, buf, len, 16 * BIG - 1);
    tap_ok(r.code == 1009 && r.size <= 16 * BIG - 1, "by one byte as well");
    free(r.data);

    inflate_new(&r, buf, len, 16 * BIG);
    tap_ok(r.code == 0 && r.len == 16 * BIG
           && ngx_memcmp(r.data, zeros, r.len) == 0,
           "it goes through where the limit allows it");
    free(r.data);

    /* half of a message that is too big is too big already */

    inflate_new(&r, buf, len / 2, 65536);
    tap_is(r.code, 1009, "a bomb cut short");
    free(r.data);

    /* many final blocks: "a" */

    many = alloc(4 * 30000 + 1);

    for (i = 0; i < 30000; i++) {
        ngx_memcpy(many + 3 * i, "\x4b\x04\x00", 3);
    }

    many[3 * i] = 0;

    inflate_new(&r, many, 3 * i + 1, 30000);
    tap_ok(r.code == 0 && r.len == 30000 && r.data[29999] == 'a',
           "30000 final blocks");
    free(r.data);

    inflate_new(&r, many, 3 * i + 1, 29999);
    tap_is(r.code, 1009, "30000 final blocks, one too many");
    free(r.data);

    /* many empty blocks make no output and take no buffer */

    for (i = 0; i < 10000; i++) {
        ngx_memcpy(many + 5 * i, "\x00\x00\x00\xff\xff", 5);
    }

    many[5 * i] = 0;

    inflate_new(&r, many, 5 * i + 1, 65536);
    tap_ok(r.code == 0 && r.len == 0 && r.size <= 4096,
           "10000 empty blocks");
    free(r.data);

    free(many);
    free(buf);
    free(zeros);
}


static voidpf
no_memory(voidpf opaque, uInt items, uInt size)
{
    int  *left;

    left = opaque;

    if ((*left)-- <= 0) {
        return Z_NULL;
    }

    return calloc(items, size);
}


static void
give_back(voidpf opaque, voidpf p)
{
    (void) opaque;

    free(p);
}


/* zlib allocates the window when it is first needed */

static void
test_inflate_no_memory(void)
{
    int                        left;
    u_char                     buf[16], *out;
    size_t                     n, len, size;
    z_stream                   z;
    ngx_int_t                  rc;
    const ngx_ws_bus_error_t  *error;

    ngx_memzero(&z, sizeof(z));

    z.zalloc = no_memory;
    z.zfree = give_back;
    z.opaque = &left;

    left = 1;

    if (inflateInit2(&z, -15) != Z_OK) {
        abort();
    }

    n = tap_hex(buf, "f2 48 cd c9 c9 07 00");

    out = NULL;
    size = 0;
    error = NULL;

    rc = ngx_ws_bus_deflate_inflate(&z, buf, n, &out, &size, 100, &len,
                                    &error);

    tap_ok(rc == NGX_ERROR && error->code == 1011, "no memory for zlib");

    left = 1;

    rc = ngx_ws_bus_deflate_inflate(&z, buf, n, &out, &size, 100, &len,
                                    &error);

    tap_ok(rc == NGX_OK && len == 5, "memory again, and the message passes");

    free(out);
    out = NULL;
    size = 0;

    realloc_left = 0;

    rc = ngx_ws_bus_deflate_inflate(&z, buf, n, &out, &size, 100, &len,
                                    &error);

    tap_ok(rc == NGX_ERROR && error->code == 1011 && out == NULL
           && size == 0,
           "no memory for a buffer");

    realloc_left = -1;

    out = alloc(3);
    size = 3;

    realloc_left = 0;

    rc = ngx_ws_bus_deflate_inflate(&z, buf, n, &out, &size, 100, &len,
                                    &error);

    tap_ok(rc == NGX_ERROR && error->code == 1011 && size == 3
           && ngx_memcmp(out, "Hel", 3) == 0,
           "no memory for a larger one, the smaller one is kept");

    realloc_left = -1;

    free(out);
    inflateEnd(&z);

    ngx_memzero(&z, sizeof(z));
    out = NULL;
    size = 0;
    error = NULL;

    rc = ngx_ws_bus_deflate_inflate(&z, buf, n, &out, &size, 100, &len,
                                    &error);

    tap_ok(rc == NGX_ERROR && error && error->code == 1011 && out == NULL,
           "a stream that was never made");
}


/* messages know nothing of each other, in both directions */

static void
test_inflate_independent(void)
{
    u_char       text[600], one[700], two[700];
    size_t       n, m, i;
    result_t     r;
    z_stream     z;

    for (i = 0; i < sizeof(text); i++) {
        text[i] = (u_char) ((i * 2654435761u) >> 17);
    }

    deflate_init(&z, 6, 15, 8, Z_DEFAULT_STRATEGY);

    n = compress_with(&z, text, sizeof(text), one);
    m = compress_with(&z, text, sizeof(text), two);

    tap_ok(n == m && ngx_memcmp(one, two, n) == 0,
           "the same message is compressed the same again");

    /* with the context taken over it is far shorter, and fails here */

    deflateReset(&z);

    z.next_in = text;
    z.avail_in = sizeof(text);
    z.next_out = one;
    z.avail_out = sizeof(one);
    deflate(&z, Z_SYNC_FLUSH);
    n = sizeof(one) - z.avail_out - 4;

    z.next_in = text;
    z.avail_in = sizeof(text);
    z.next_out = two;
    z.avail_out = sizeof(two);
    deflate(&z, Z_SYNC_FLUSH);
    m = sizeof(two) - z.avail_out - 4;

    tap_ok(m < 50, "a context taken over makes it short");

    inflate_new(&r, one, n, 65536);
    tap_ok(r.code == 0 && r.len == sizeof(text), "the first message passes");
    free(r.data);

    inflate_new(&r, two, m, 65536);
    tap_is(r.code, 1007, "the second one refers to it, in vain");
    free(r.data);

    deflateEnd(&z);
}


/*
 * The verdict of zlib itself, asked another way: the message, its tail and
 * one final empty block have to end together.  Final blocks inside are
 * stepped over.  Returns the length or -1.
 */

static long
reference(const u_char *p, size_t len, u_char *out, size_t size)
{
    int        rc;
    long       total;
    u_char    *buf;
    size_t     at, all;
    z_stream   z;

    if (len == 0) {
        return 0;
    }

    all = len + 9;
    buf = alloc(all);
    ngx_memcpy(buf, p, len);
    ngx_memcpy(buf + len, "\x00\x00\xff\xff\x01\x00\x00\xff\xff", 9);

    at = 0;
    total = 0;

    for ( ;; ) {
        ngx_memzero(&z, sizeof(z));

        if (inflateInit2(&z, -15) != Z_OK) {
            abort();
        }

        z.next_in = buf + at;
        z.avail_in = (uInt) (all - at);
        z.next_out = out + total;
        z.avail_out = (uInt) (size - total);

        rc = inflate(&z, Z_FINISH);

        at = all - z.avail_in;
        total = (long) (size - z.avail_out);

        inflateEnd(&z);

        if (rc != Z_STREAM_END || (at > len && at < len + 4)) {
            total = -1;
            break;
        }

        if (at == len || at == len + 4 || at == all) {
            break;
        }

        if (at > len) {
            total = -1;
            break;
        }
    }

    free(buf);

    return total;
}


/* bytes flipped in messages, and bytes at random */

static void
test_inflate_garbage(void)
{
    long         want;
    u_char       text[300], msg[400], *out;
    size_t       i, len;
    result_t     r;
    z_stream     z;
    uint32_t     seed;
    ngx_uint_t   n, good;

    out = alloc(BIG);
    seed = 12345;
    good = 0;

    deflate_init(&z, 6, 15, 8, Z_DEFAULT_STRATEGY);

    for (i = 0; i < sizeof(text); i++) {
        text[i] = (u_char) ('a' + (i * i / 3) % 11);
    }

    for (n = 0; n < 20000; n++) {
        seed = seed * 1103515245 + 12345;

        if (n % 2) {
            len = compress_with(&z, text, (seed >> 8) % sizeof(text), msg);
            seed = seed * 1103515245 + 12345;
            msg[(seed >> 8) % len] ^= 1 << (seed >> 28) % 8;

        } else {
            len = (seed >> 8) % 24;

            for (i = 0; i < len; i++) {
                seed = seed * 1103515245 + 12345;
                msg[i] = (u_char) (seed >> 16);
            }
        }

        want = reference(msg, len, out, BIG);

        inflate_new(&r, msg, len, BIG);

        if (want < 0) {
            tap_each(r.code == 1007, "message %d: code %d", (int) n,
                     (int) r.code);

        } else {
            good++;
            tap_each(r.code == 0 && r.len == (size_t) want
                     && same(r.data, out, want),
                     "message %d: code %d, %d bytes, not %ld", (int) n,
                     (int) r.code, (int) r.len, want);
        }

        free(r.data);
    }

    tap_all("garbage gets zlib's own verdict");

    tap_ok(good > 100, "some of it, %d, happens to be fine", (int) good);

    deflateEnd(&z);
    free(out);
}


static void
test_message(void)
{
    u_char    buf[64], *pos;
    size_t    n;
    z_stream  z;

    deflate_init(&z, 6, 15, 8, Z_DEFAULT_STRATEGY);

    n = compress_with(&z, (u_char *) "Hello", 5, buf);

    tap_ok(n == 7 && ngx_memcmp(buf, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7) == 0,
           "7.2.3.1, \"Hello\"");

    n = compress_with(&z, (u_char *) "", 0, buf);

    tap_ok(n == 1 && buf[0] == 0, "7.2.3.6, an empty message");

    n = compress_with(&z, NULL, 0, buf);

    tap_ok(n == 1 && buf[0] == 0, "an empty message without a buffer");

    pos = buf;

    tap_is(ngx_ws_bus_deflate_message(&z, buf, (size_t) 1 << 30, &pos),
           NGX_ERROR, "a gigabyte is too much");

    deflateEnd(&z);

    deflate_init(&z, 0, 15, 8, Z_DEFAULT_STRATEGY);

    n = compress_with(&z, (u_char *) "Hello", 5, buf);

    tap_ok(n == 11
           && ngx_memcmp(buf, "\x00\x05\x00\xfa\xff" "Hello\x00", 11) == 0,
           "7.2.3.3, level 0");

    deflateEnd(&z);

    ngx_memzero(&z, sizeof(z));
    pos = buf;

    tap_is(ngx_ws_bus_deflate_message(&z, buf, 5, &pos), NGX_ERROR,
           "a stream that was never made");
}


/* bytes that no code of deflate makes shorter */

static void
noise(u_char *p, size_t len, uint32_t seed)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;

        p[i] = (u_char) (144 + (seed >> 8) % 112);
    }
}


static void
test_bound(void)
{
    int          level, memory, strategy;
    u_char      *text, *buf, *pos;
    size_t       len, most;
    z_stream     z;
    ngx_uint_t   i;

    static size_t  sizes[] = { 0, 1, 127, 128, 1000, 5000, 40000 };

    text = alloc(40000);
    noise(text, 40000, 1);

    for (memory = 1; memory <= 9; memory += 4) {
        for (level = 0; level <= 9; level += 3) {
            for (strategy = 0; strategy <= Z_FIXED; strategy++) {
                deflate_init(&z, level, 9 + (level + memory) % 7, memory,
                             strategy);

                for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                    len = sizes[i];

                    most = ngx_ws_bus_deflate_bound(len);
                    buf = alloc(most);
                    pos = buf;

                    tap_each(ngx_ws_bus_deflate_message(&z, text, len, &pos)
                             == NGX_OK
                             && (size_t) (pos - buf) <= most,
                             "%d bytes, level %d, memory %d, strategy %d",
                             (int) len, level, memory, strategy);

                    free(buf);
                }

                deflateEnd(&z);
            }
        }
    }

    tap_all("the bound holds for the worst of data");

    free(text);
}


static void
test_round_trip(void)
{
    int          bits, level;
    u_char      *text, *buf;
    size_t       i, n, len;
    result_t     r;
    z_stream     z, narrow;
    ngx_uint_t   k, kind;

    static size_t  sizes[] = {
        300, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 16384, 32767,
        32768, 32769, 65535, 65536, 65537, 200000
    };

    text = alloc(200000);
    buf = alloc(ngx_ws_bus_deflate_bound(200000));

    for (bits = 9; bits <= 15; bits++) {
        level = 1 + (bits * 5) % 9;

        deflate_init(&z, level, bits, 1 + bits % 9, Z_DEFAULT_STRATEGY);

        /* the peer has only the window that was agreed */

        ngx_memzero(&narrow, sizeof(narrow));

        if (inflateInit2(&narrow, -bits) != Z_OK) {
            abort();
        }

        for (kind = 0; kind < 3; kind++) {
            noise(text, 200000, 77 + bits);

            for (i = 0; i < 200000 && kind; i++) {
                text[i] = (kind == 1) ? 'x'
                                      : (u_char) ('a' + (i * i / 9) % 26);
            }

            for (k = 0; k < 100 + sizeof(sizes) / sizeof(sizes[0]); k++) {
                n = (k < 100) ? k : sizes[k - 100];

                len = compress_with(&z, text, n, buf);

                in = &narrow;
                inflate_new(&r, buf, len, n);
                in = &widest;

                tap_each(len > 0 && r.code == 0 && r.len == n
                         && same(r.data, text, n),
                         "%d bytes, window of %d bits", (int) n, bits);

                free(r.data);
            }
        }

        inflateEnd(&narrow);
        deflateEnd(&z);
    }

    tap_all("round trips through windows of 9 to 15 bits");

    free(buf);
    free(text);
}
