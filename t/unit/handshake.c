
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>
#include <openssl/sha.h>


/* a library without SHA-1 */

static int  no_digest;


static int
test_digest(const void *data, size_t count, unsigned char *md,
    unsigned int *size, const EVP_MD *type, ENGINE *impl)
{
    return no_digest ? 0 : EVP_Digest(data, count, md, size, type, impl);
}


#define EVP_Digest  test_digest

#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"

#include "tap.h"


/* elements that are not tokens are given as ERROR */

#define ERROR  "\n"


typedef struct {
    const char  *value;
    const char  *token;
    ngx_uint_t   found;
} has_case_t;


typedef struct {
    const char  *value;
    const char  *tokens[8];
} list_case_t;


static void test_tchar(void);
static void test_has_token(void);
static void test_next_token(void);
static void test_key(void);
static void test_accept(void);
static void test_channel(void);
static void test_channel_bytes(void);


static const has_case_t  has[] = {
    { "upgrade", "upgrade", 1 },
    { "Upgrade", "upgrade", 1 },
    { "UPGRADE", "upgrade", 1 },
    { "upgrade", "Upgrade", 1 },
    { "keep-alive, Upgrade", "upgrade", 1 },
    { "Upgrade, keep-alive", "upgrade", 1 },
    { "keep-alive,Upgrade,x", "upgrade", 1 },
    { "keep-alive\t,\t Upgrade \t", "upgrade", 1 },
    { " , ,, upgrade", "upgrade", 1 },
    { "upgrade,", "upgrade", 1 },
    { "WebSocket", "websocket", 1 },
    { "h2c/1.0, websocket", "websocket", 1 },
    { "\"x\", websocket", "websocket", 1 },
    { "a b, websocket", "websocket", 1 },

    { "", "upgrade", 0 },
    { ",", "upgrade", 0 },
    { "   ", "upgrade", 0 },
    { "close", "upgrade", 0 },
    { "upgrad", "upgrade", 0 },
    { "upgraded", "upgrade", 0 },
    { "xupgrade", "upgrade", 0 },
    { "Xpgrade", "upgrade", 0 },
    { "upgradX", "upgrade", 0 },
    { "upgrade x", "upgrade", 0 },
    { "x upgrade", "upgrade", 0 },
    { "upgrade;q=1", "upgrade", 0 },
    { "\"upgrade\"", "upgrade", 0 },
    { "up,grade", "upgrade", 0 },
    { "websocket/13", "websocket", 0 },
    { "keep-alive; upgrade", "upgrade", 0 }
};


static const list_case_t  lists[] = {
    { "", { NULL } },
    { ",", { NULL } },
    { " \t, ,\t,", { NULL } },
    { "chat", { "chat", NULL } },
    { " chat ", { "chat", NULL } },
    { "chat,superchat", { "chat", "superchat", NULL } },
    { "chat, superchat", { "chat", "superchat", NULL } },
    { "\tchat \t , superchat\t", { "chat", "superchat", NULL } },
    { ",,a,,b,,", { "a", "b", NULL } },
    { "ws-bus.v1.json, bearer.eyJhbGciOiJub25lIn0.e30.",
      { "ws-bus.v1.json", "bearer.eyJhbGciOiJub25lIn0.e30.", NULL } },
    { "a, b c, d", { "a", ERROR, "d", NULL } },
    { "a/b", { ERROR, NULL } },
    { "\"a\"", { ERROR, NULL } },
    { "\"a, b\"", { ERROR, ERROR, NULL } },
    { "a=b", { ERROR, NULL } },
    { "a;b", { ERROR, NULL } },
    { "a\rb", { ERROR, NULL } },
    { "\xc3\xa4, x", { ERROR, "x", NULL } },
    { "\x7f", { ERROR, NULL } },
    { "!#$%&'*+-.^_`|~", { "!#$%&'*+-.^_`|~", NULL } }
};


int
main(void)
{
    test_tchar();
    test_has_token();
    test_next_token();
    test_key();
    test_accept();
    test_channel();
    test_channel_bytes();

    return tap_done();
}


/* a copy of its own size, for ASan to see a read beyond; free s->data */

static void
set(ngx_str_t *s, const char *data, size_t len)
{
    s->len = len;
    s->data = malloc(len ? len : 1);

    if (s->data == NULL) {
        abort();
    }

    ngx_memcpy(s->data, data, len);
}


static void
test_tchar(void)
{
    int          want;
    ngx_uint_t   ch;

    static const char  tchar[] = "!#$%&'*+-.^_`|~0123456789"
                                 "abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    for (ch = 0; ch < 256; ch++) {
        want = memchr(tchar, (int) ch, sizeof(tchar) - 1) != NULL;

        tap_each(ngx_ws_bus_handshake_is_tchar((u_char) ch)
                 == (ngx_uint_t) want,
                 "%02x", (int) ch);
    }

    tap_all("characters of a token");
}


static void
test_has_token(void)
{
    ngx_str_t    value;
    ngx_uint_t   i;

    for (i = 0; i < sizeof(has) / sizeof(has[0]); i++) {
        set(&value, has[i].value, strlen(has[i].value));

        tap_is(ngx_ws_bus_handshake_has_token(&value, has[i].token),
               has[i].found, "\"%s\" in \"%s\"", has[i].token, has[i].value);

        free(value.data);
    }

    ngx_str_null(&value);

    tap_is(ngx_ws_bus_handshake_has_token(&value, "upgrade"), 0,
           "a null string has no token");
}


static void
test_next_token(void)
{
    ngx_int_t    rc;
    ngx_str_t    value, rest, token;
    ngx_uint_t   i, n;
    const char  *want;

    for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        set(&value, lists[i].value, strlen(lists[i].value));
        rest = value;

        for (n = 0; (want = lists[i].tokens[n]) != NULL; n++) {
            rc = ngx_ws_bus_handshake_next_token(&rest, &token);

            if (want[0] == ERROR[0]) {
                tap_ok(rc == NGX_ERROR, "list %d: element %d is no token",
                       (int) i, (int) n);
                continue;
            }

            tap_ok(rc == NGX_OK && token.len == strlen(want)
                   && ngx_memcmp(token.data, want, token.len) == 0,
                   "list %d: element %d is \"%s\"", (int) i, (int) n, want);
        }

        tap_is(ngx_ws_bus_handshake_next_token(&rest, &token), NGX_DECLINED,
               "list %d: ends", (int) i);
        tap_is(ngx_ws_bus_handshake_next_token(&rest, &token), NGX_DECLINED,
               "list %d: stays at its end", (int) i);
        tap_ok(rest.len == 0 && rest.data == value.data + value.len,
               "list %d: nothing is left", (int) i);

        free(value.data);
    }

    ngx_str_null(&rest);

    tap_is(ngx_ws_bus_handshake_next_token(&rest, &token), NGX_DECLINED,
           "a null string is an empty list");
}


static void
test_key(void)
{
    u_char       buf[25];
    ngx_int_t    want;
    ngx_str_t    key;
    ngx_uint_t   i, ch;

    static const char  base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789+/";

    static struct {
        const char  *key;
        ngx_int_t    rc;
    } keys[] = {
        { "dGhlIHNhbXBsZSBub25jZQ==", NGX_OK },
        { "AAAAAAAAAAAAAAAAAAAAAA==", NGX_OK },
        { "/+/+/+/+/+/+/+/+/+/+/w==", NGX_OK },
        { "x3JJHMbDL1EzLkh9GBhXDz==", NGX_OK },
        { "", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQ=", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQ", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQ===", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQ== ", NGX_ERROR },
        { " dGhlIHNhbXBsZSBub25jZQ=", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZWE=", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZWVl", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25j====", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQ=A", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQA=", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZ-==", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25j_Q==", NGX_ERROR },
        { "dGhl HNhbXBsZSBub25jZQ==", NGX_ERROR },
        { "dGhlIHNhbXBsZSBub25jZQAAAAAAAAAAAAAAAAAAAA==", NGX_ERROR }
    };

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        set(&key, keys[i].key, strlen(keys[i].key));

        tap_is(ngx_ws_bus_handshake_key(&key), keys[i].rc, "key \"%s\"",
               keys[i].key);

        free(key.data);
    }

    key.data = buf;
    key.len = 24;

    for (i = 0; i < 24; i++) {
        for (ch = 0; ch < 256; ch++) {
            ngx_memcpy(buf, "dGhlIHNhbXBsZSBub25jZQ==", 24);
            buf[i] = (u_char) ch;

            if (i < 22) {
                want = memchr(base64, (int) ch, 64) ? NGX_OK : NGX_ERROR;

            } else {
                want = (ch == '=') ? NGX_OK : NGX_ERROR;
            }

            tap_each(ngx_ws_bus_handshake_key(&key) == want,
                     "%02x at %d", (int) ch, (int) i);
        }
    }

    tap_all("every byte at every place of a key");
}


static void
test_accept(void)
{
    u_char      *dst, md[20], buf[64];
    char         want[32];
    ngx_str_t    key;
    ngx_uint_t   i, n;
    uint32_t     bits;

    static const char  base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789+/";

    static struct {
        const char  *key;
        const char  *accept;
    } pairs[] = {
        /* RFC 6455, 1.3 */
        { "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" },

        { "x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=" }
    };

    /* of its contract's size */

    dst = malloc(NGX_WS_BUS_ACCEPT_LEN);
    if (dst == NULL) {
        abort();
    }

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        set(&key, pairs[i].key, strlen(pairs[i].key));

        tap_ok(ngx_ws_bus_handshake_accept(&key, dst) == NGX_OK
               && ngx_memcmp(dst, pairs[i].accept, NGX_WS_BUS_ACCEPT_LEN)
                  == 0,
               "accept key for \"%s\"", pairs[i].key);

        free(key.data);
    }

    /* against base64 by hand */

    key.data = buf;
    key.len = 24;

    for (n = 0; n < 1000; n++) {
        for (i = 0; i < 22; i++) {
            buf[i] = base64[(n * 7919 + i * i * 31 + i * n) % 64];
        }

        ngx_memcpy(buf + 22, "==", 2);

        ngx_ws_bus_handshake_accept(&key, dst);

        ngx_memcpy(buf + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
        SHA1(buf, 60, md);

        for (i = 0; i < 27; i++) {
            bits = md[i * 6 / 8] << 8;

            if (i * 6 / 8 + 1 < 20) {
                bits |= md[i * 6 / 8 + 1];
            }

            want[i] = base64[(bits >> (10 - i * 6 % 8)) & 0x3f];
        }

        want[27] = '=';

        tap_each(ngx_memcmp(dst, want, NGX_WS_BUS_ACCEPT_LEN) == 0,
                 "key \"%.24s\"", buf);
    }

    tap_all("accept keys");

    ngx_str_set(&key, "dGhlIHNhbXBsZSBub25jZQ=");

    tap_is(ngx_ws_bus_handshake_accept(&key, dst), NGX_ERROR,
           "no accept key for a short key");

    ngx_str_set(&key, "dGhlIHNhbXBsZSBub25jZQ===");

    tap_is(ngx_ws_bus_handshake_accept(&key, dst), NGX_ERROR,
           "no accept key for a long key");

    ngx_str_set(&key, "dGhlIHNhbXBsZSBub25jZQ==");
    no_digest = 1;

    tap_is(ngx_ws_bus_handshake_accept(&key, dst), NGX_ERROR,
           "no accept key without SHA-1");

    no_digest = 0;

    free(dst);
}


static void
test_channel(void)
{
    u_char       buf[260];
    size_t       len;
    ngx_str_t    name;
    ngx_uint_t   i;

    static struct {
        const char  *name;
        const char  *hex;
        ngx_uint_t   valid;
    } names[] = {
        { "a letter", "61", 1 },
        { "news/today", "6e 65 77 73 2f 74 6f 64 61 79", 1 },
        { "a.b:c-d_e~f", "61 2e 62 3a 63 2d 64 5f 65 7e 66", 1 },
        { "punctuation", "21 22 23 24 25 26 27 28 29 2b 2c 3b 3c 3d 3e 40"
                         "5b 5c 5d 5e 60 7c", 1 },
        { "two-byte letters", "c3 a4 c3 b6", 1 },
        { "U+00A0, behind C1", "c2 a0", 1 },
        { "U+00BF", "c2 bf", 1 },
        { "U+0100", "c4 80", 1 },
        { "C3 80, not C1", "c3 80", 1 },
        { "a three-byte letter", "e2 82 ac", 1 },
        { "an emoji", "f0 9f 98 80", 1 },
        { "a tail byte that looks like C1", "e1 80 80 f1 80 80 80", 1 },
        { "a space", "61 20 62", 0 },
        { "a leading space", "20 61", 0 },
        { "a null byte", "61 00", 0 },
        { "a tab", "61 09 62", 0 },
        { "a line feed", "61 0a", 0 },
        { "an escape", "1b", 0 },
        { "U+001F", "1f", 0 },
        { "DEL", "61 7f", 0 },
        { "U+0080", "c2 80", 0 },
        { "U+0085 between letters", "61 c2 85 62", 0 },
        { "U+009F", "c2 9f", 0 },
        { "{", "61 7b 62", 0 },
        { "}", "61 7d 62", 0 },
        { "*", "2a", 0 },
        { "?", "61 3f", 0 },
        { "a lone tail byte", "61 80", 0 },
        { "an unended character", "61 c3", 0 },
        { "C2 as the last byte", "61 c2", 0 },
        { "an overlong slash", "c0 af", 0 },
        { "a surrogate", "ed a0 80", 0 },
        { "above U+10FFFF", "f4 90 80 80", 0 },
        { "FF", "ff", 0 }
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        len = tap_hex(buf, names[i].hex);

        set(&name, (char *) buf, len);

        tap_is(ngx_ws_bus_handshake_channel(&name), names[i].valid,
               "channel with %s", names[i].name);

        free(name.data);
    }

    name.data = buf;

    for (len = 0; len <= 256; len++) {
        ngx_memset(buf, 'c', len);
        name.len = len;

        tap_each(ngx_ws_bus_handshake_channel(&name)
                 == (len >= 1 && len <= 255),
                 "%d bytes", (int) len);

        for (i = 0; i < len; i++) {
            buf[i] = '*';

            tap_each(!ngx_ws_bus_handshake_channel(&name),
                     "* at %d of %d", (int) i, (int) len);

            buf[i] = 'c';
        }
    }

    tap_all("channel names of all lengths");

    ngx_str_null(&name);

    tap_is(ngx_ws_bus_handshake_channel(&name), 0,
           "a null string is no channel");
}


static void
test_channel_bytes(void)
{
    u_char       b[3];
    ngx_str_t    name;
    ngx_uint_t   i, j, want;

    name.data = b;

    for (i = 0; i < 128; i++) {
        b[0] = 'x';
        b[1] = (u_char) i;
        b[2] = 'y';
        name.len = 3;

        want = i > 0x20 && i != 0x7f && strchr("{}*?", (int) i) == NULL;

        tap_each(ngx_ws_bus_handshake_channel(&name) == want, "%02x",
                 (int) i);
    }

    tap_all("channels with each ASCII character");

    name.len = 2;

    for (i = 0x80; i < 256; i++) {
        for (j = 0; j < 256; j++) {
            b[0] = (u_char) i;
            b[1] = (u_char) j;

            want = i >= 0xc2 && i < 0xe0 && j >= 0x80 && j < 0xc0
                   && !(i == 0xc2 && j < 0xa0);

            tap_each(ngx_ws_bus_handshake_channel(&name) == want,
                     "%02x %02x", b[0], b[1]);
        }
    }

    tap_all("channels of one two-byte character");
}
