
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"

#include "tap.h"


typedef struct {
    const char  *pattern;
    const char  *name;
    ngx_uint_t   match;
} match_case_t;


typedef struct {
    const char  *pattern;
    const char  *reason;           /* NULL: void */
} bad_case_t;


typedef struct {
    const char  *value;            /* of the claim "sub"; NULL: none */
    const char  *pattern;
    const char  *name;
    int          match;            /* -1: void */
} claim_case_t;


typedef struct {
    const char  *pattern;
    const char  *origin;
    ngx_uint_t   match;
} origin_case_t;


typedef struct {
    const char  *origin;
    const char  *scheme;
    const char  *authority;
    ngx_uint_t   port;
    ngx_uint_t   same;
} same_case_t;


static void test_match(void);
static void test_reference(void);
static void test_bad(void);
static void test_claims(void);
static void test_lengths(void);
static void test_time(void);
static void test_names(void);
static void test_origin_parse(void);
static void test_origin_match(void);
static void test_origin_bad(void);
static void test_origin_same(void);


static const match_case_t  matches[] = {
    { "news", "news", 1 },
    { "news", "new", 0 },
    { "news", "newsX", 0 },
    { "news", "News", 0 },
    { "news", "", 0 },
    { "n\xc3\xa9ws", "n\xc3\xa9ws", 1 },

    { "*", "news", 1 },
    { "*", "", 1 },
    { "*", "news.sports", 0 },
    { "*", "news/sports", 0 },
    { "*", "news:sports", 0 },
    { "*", "news-sports_1", 1 },

    { "news.*", "news.sports", 1 },
    { "news.*", "news.", 1 },
    { "news.*", "news", 0 },
    { "news.*", "news.sports.tennis", 0 },
    { "news.*", "news.sports/tennis", 0 },
    { "news.*", "news.sports:tennis", 0 },
    { "news.*", "newsXsports", 0 },
    { "news/*", "news/sports", 1 },
    { "news:*", "news:sports", 1 },
    { "news:*", "news.sports", 0 },
    { "*.sports", "news.sports", 1 },
    { "*.sports", "a.news.sports", 0 },
    { "*.sports", ".sports", 1 },
    { "*.sports", "sports", 0 },
    { "news-*", "news-1", 1 },
    { "news-*-x", "news-1-x", 1 },
    { "news-*-x", "news-x", 0 },
    { "news-*-x", "news--x", 1 },
    { "a*a", "a", 0 },
    { "a*a", "aa", 1 },
    { "a*a", "aaa", 1 },

    { "**", "", 1 },
    { "**", "news", 1 },
    { "**", "news.sports/a:b", 1 },
    { "news.**", "news.sports.tennis", 1 },
    { "news.**", "news.", 1 },
    { "news.**", "news", 0 },
    { "news.**", "newsroom.x", 0 },
    { "**.tennis", "news.sports.tennis", 1 },
    { "**.tennis", "tennis", 0 },
    { "news.**.tennis", "news.sports.a.tennis", 1 },
    { "news.**.tennis", "news..tennis", 1 },
    { "news.**.tennis", "news.tennis", 0 },

    { "tenant.*.room.*", "tenant.acme.room.1", 1 },
    { "tenant.*.room.*", "tenant.acme.x.room.1", 0 },
    { "tenant.*.room.*", "tenant.acme.room.1.2", 0 },
    { "tenant.*.room.*", "tenant..room.", 1 },
    { "tenant.*.room.*", "tenant.room.1", 0 },
    { "*.*", "a.b", 1 },
    { "*.*", "a.b.c", 0 },
    { "*.*", "a", 0 },
    { "*.*.**", "a.b.c.d", 1 },
    { "*.*.**", "a.b", 0 },
    { "*.**.*", "a.b.c", 1 },
    { "*.**.*", "a.b", 0 },
    { "**.*", "a.b/c", 0 },
    { "**.*", "a.b.c", 1 },
    { "**a*b", "xa.axxb", 1 },
    { "**a*b", "xaxb.axx", 0 },
    { "**a*b", "ax.ab", 1 },
    { "**a*b**c", "a.ab.x.c", 1 },
    { "**ab*c**", "ab.abxc.y", 1 },
    { "*a*b*", "xaxbx", 1 },
    { "*a*b*", "xbxax", 0 },
    { "*a.*b*", "xa.xbx", 1 },
    { "*a.*b*", "xxa.a.xbx", 0 },
    { "**a.*b**", "xxa.a.xb:x", 1 },
    { "**/**", "a/b", 1 },
    { "**/**", "a.b", 0 },
    { "*-**", "a-b.c", 1 },
    { "*-**", "a.b-c", 0 }
};


static const bad_case_t  bad[] = {
    { "", "pattern is empty" },
    { "***", "pattern has more than two asterisks in a row" },
    { "a.****.b", "pattern has more than two asterisks in a row" },
    { "a{", "pattern has an unbalanced brace" },
    { "a}", "pattern has an unbalanced brace" },
    { "a{sub", "pattern has an unbalanced brace" },
    { "a{su{b}}", "pattern has an unbalanced brace" },
    { "{sub}}", "pattern has an unbalanced brace" },
    { "a{}b", "pattern has braces without a name" },
    { "a?b", "pattern has a character that no channel name has" },
    { "a b", "pattern has a character that no channel name has" },
    { "a\nb", "pattern has a character that no channel name has" },
    { "a\x01", "pattern has a character that no channel name has" },
    { "\x02", "pattern has a character that no channel name has" },
    { "a\x7f", "pattern has a character that no channel name has" },
    { "a\xff", "pattern has a character that no channel name has" },
    { "a\xc3*", "pattern has a character that no channel name has" },
    { "a.*\xc2\x85", "pattern has a character that no channel name has" },

    { "{other}", NULL },
    { "a.{sub}.{other}", NULL },
    { "{ sub}", NULL },
    { "{SUB}", NULL },
    { "{*}", NULL }
};


static const claim_case_t  claims[] = {
    { "alice", "user.{sub}", "user.alice", 1 },
    { "alice", "user.{sub}", "user.alicex", 0 },
    { "alice", "user.{sub}", "user.{sub}", 0 },
    { "alice", "user.{sub}.*", "user.alice.in", 1 },
    { "alice", "user.{sub}.*", "user.bob.in", 0 },
    { "alice", "{sub}{sub}", "alicealice", 1 },
    { "alice", "*{sub}*", "xalicey", 1 },
    { "alice", "*{sub}*", "x.alice", 0 },
    { "alice", "**{sub}**", "x.alice.y", 1 },
    { "al-ice_1@", "user.{sub}", "user.al-ice_1@", 1 },
    { "\xc3\xa4", "user.{sub}", "user.\xc3\xa4", 1 },
    { "sub", "user.{sub}", "user.sub", 1 },

    /* nothing that would make it wider */

    { "*", "user.{sub}", "user.bob", -1 },
    { "**", "user.{sub}", "user.bob.in", -1 },
    { "a*", "user.{sub}", "user.abc", -1 },
    { "?", "user.{sub}", "user.b", -1 },
    { "{name}", "user.{sub}", "user.{name}", -1 },
    { "}", "user.{sub}", "user.}", -1 },
    { "\x01", "user.{sub}", "user.bob", -1 },
    { "\x02", "user.{sub}", "user.bob", -1 },
    { "alice.bob", "user.{sub}", "user.alice.bob", -1 },
    { "alice/bob", "user.{sub}", "user.alice/bob", -1 },
    { "alice:bob", "user.{sub}", "user.alice:bob", -1 },
    { ".", "user.{sub}", "user..", -1 },
    { "a b", "user.{sub}", "user.a b", -1 },
    { "a\n", "user.{sub}", "user.a\n", -1 },
    { "\xc2\x85", "user.{sub}", "user.\xc2\x85", -1 },
    { "\xff", "user.{sub}", "user.\xff", -1 },
    { "", "user.{sub}", "user.", -1 },
    { "", "user.*{sub}*", "user.bob", -1 },
    { NULL, "user.{sub}", "user.", -1 },
    { NULL, "{sub}**", "x", -1 }
};


static const origin_case_t  origins[] = {
    { "https://a.example", "https://a.example", 1 },
    { "https://a.example", "https://a.example:443", 1 },
    { "https://a.example:443", "https://a.example", 1 },
    { "https://a.example", "HTTPS://A.Example", 1 },
    { "HTTPS://A.EXAMPLE", "https://a.example", 1 },
    { "https://a.example", "http://a.example", 0 },
    { "https://a.example", "https://a.example:8443", 0 },
    { "https://a.example", "http://a.example:443", 0 },
    { "https://a.example", "https://b.a.example", 0 },
    { "https://a.example", "https://a.example.evil.com", 0 },
    { "https://a.example", "https://a.example.", 0 },
    { "https://a.example", "https://xa.example", 0 },
    { "https://a.example", "null", 0 },
    { "https://a.example:8443", "https://a.example:8443", 1 },
    { "https://a.example:8443", "https://a.example", 0 },
    { "https://a.example:*", "https://a.example:8443", 1 },
    { "https://a.example:*", "https://a.example", 1 },
    { "https://a.example:*", "http://a.example", 0 },
    { "http://localhost:3000", "http://localhost:3000", 1 },
    { "http://localhost:3000", "http://localhost", 0 },

    { "a.example", "https://a.example", 1 },
    { "a.example", "http://a.example", 1 },
    { "a.example", "http://a.example:80", 1 },
    { "a.example", "http://a.example:443", 0 },
    { "a.example", "https://a.example:8443", 0 },
    { "a.example", "ftp://a.example", 0 },
    { "a.example", "chrome-extension://a.example", 0 },
    { "a.example:8443", "https://a.example:8443", 1 },
    { "a.example:8443", "http://a.example:8443", 1 },
    { "a.example:*", "http://a.example:8443", 1 },
    { "localhost:*", "http://localhost:5173", 1 },

    { "*.example.com", "https://a.example.com", 1 },
    { "*.example.com", "http://a.b.example.com", 1 },
    { "*.example.com", "https://A.EXAMPLE.COM", 1 },
    { "*.EXAMPLE.com", "https://a.example.com", 1 },
    { "*.example.com", "https://example.com", 0 },
    { "*.example.com", "https://evilexample.com", 0 },
    { "*.example.com", "https://a.example.com.evil.com", 0 },
    { "*.example.com", "https://a.example.com:8443", 0 },
    { "*.example.com", "https://a.example.org", 0 },
    { "*.example.com", "null", 0 },
    { "*.example.com:8443", "https://a.example.com:8443", 1 },
    { "*.example.com:8443", "https://a.example.com", 0 },
    { "*.example.com:*", "https://a.example.com:8443", 1 },
    { "https://*.example.com", "https://a.example.com", 1 },
    { "https://*.example.com", "http://a.example.com", 0 },
    { "https://*.example.com:*", "https://a.example.com:1", 1 },
    { "*.com", "https://example.com", 1 },
    { "*.node1", "http://a.node1", 1 },

    { "http://[::1]", "http://[::1]", 1 },
    { "http://[::1]", "http://[0:0:0:0:0:0:0:1]", 1 },
    { "http://[0:0:0:0:0:0:0:1]", "http://[::1]", 1 },
    { "http://[2001:DB8::1]:8080", "http://[2001:db8:0::1]:8080", 1 },
    { "[::1]", "https://[::1]", 1 },
    { "[::1]:*", "https://[::1]:1234", 1 },
    { "http://[::1]", "http://[::2]", 0 },
    { "http://[::1]", "http://[::1]:8080", 0 },
    { "http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]", 1 },
    { "http://[::ffff:1.2.3.4]", "http://1.2.3.4", 0 },
    { "http://1.2.3.4", "http://1.2.3.4", 1 },
    { "http://1.2.3.4", "http://1.2.3.5", 0 },

    { "null", "null", 1 },
    { "null", "https://null", 0 },
    { "null", "https://a.example", 0 },

    { "app://localhost", "app://localhost", 1 },
    { "app://localhost", "https://localhost", 0 },
    { "app://localhost", "app://localhost:1", 0 },
    { "app://localhost:*", "app://localhost:1", 1 },
    { "chrome-extension://abcdefghij", "chrome-extension://abcdefghij", 1 },
    { "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl://a",
      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl://a",
      1 }
};


/* no origin that a browser would send */

static const char  *not_origins[] = {
    "", " ", "NULL", "Null", "null ", "https://", "https:/a.example",
    "https:a.example", "a.example", "*.example.com", "//a.example",
    "://a.example", "https//a.example", "https://a.example/",
    "https://a.example/path", "https://a.example?x", "https://a.example#x",
    "https://user@a.example", "https://user:pass@a.example",
    "https://a.example https://b.example", "https://a.example,",
    "https://a.example ", " https://a.example", "https://a.example:",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm://a",
    "https://a.example:0", "https://a.example:080", "https://a.example:65536",
    "https://a.example:99999", "https://a.example:123456",
    "https://a.example:8a", "https://a.example:-1", "https://a.example:*",
    "https://*.example.com", "https://*", "https://a..example",
    "https://.a.example", "https://.", "https://a.example..",
    "https://a.ex\xc3\xa4mple", "https://a.example%00", "https://a\texample",
    "https://a.example\\.evil.com", "https://[::1", "https://::1",
    "https://[::1]x", "https://[::1]8080", "https://[]", "https://[::1%lo]",
    "https://[::g]", "https://[1.2.3.4]", "https://[[::1]]",
    "https://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]",
    "1https://a.example", "ht_tps://a.example", "-a://b", "h\xc3\xa4://a",
    "https://a.example:443:443"
};


static const bad_case_t  not_patterns[] = {
    { "", "not an origin" },
    { "https://", "not an origin" },
    { "https://a.example/", "not an origin" },
    { "https://user@a.example", "not an origin" },
    { "a.example:", "not an origin" },
    { "a.example:0", "not an origin" },
    { "a..example", "not an origin" },
    { "*.", "an asterisk stands only for leading labels or for the port" },
    { "*..com", "an asterisk stands only for leading labels or for the port" },
    { "*", "an asterisk stands only for leading labels or for the port" },
    { "https://*",
      "an asterisk stands only for leading labels or for the port" },
    { "*example.com",
      "an asterisk stands only for leading labels or for the port" },
    { "a.*.example.com",
      "an asterisk stands only for leading labels or for the port" },
    { "www.example.*",
      "an asterisk stands only for leading labels or for the port" },
    { "*.*.example.com",
      "an asterisk stands only for leading labels or for the port" },
    { "**.example.com",
      "an asterisk stands only for leading labels or for the port" },
    { "a.example:8*",
      "an asterisk stands only for leading labels or for the port" },
    { "*://a.example", "not an origin" },
    { "*.0.0.1", "an asterisk cannot be part of an address" },
    { "*.1", "an asterisk cannot be part of an address" },
    { "https://*.168.1.1:*", "an asterisk cannot be part of an address" },
    { "*.[::1]", "an asterisk cannot be part of an address" }
};


static const same_case_t  sames[] = {
    { "https://a.example", "https", "a.example", 0, 1 },
    { "https://a.example", "https", "a.example", 443, 1 },
    { "https://a.example", "https", "a.example:443", 0, 1 },
    { "https://a.example:443", "https", "a.example", 0, 1 },
    { "https://A.example", "HTTPS", "a.EXAMPLE", 0, 1 },
    { "http://a.example", "http", "a.example", 0, 1 },
    { "http://a.example:8080", "http", "a.example:8080", 0, 1 },
    { "http://a.example:8080", "http", "a.example", 8080, 1 },
    { "http://a.example:8080", "http", "a.example:8080", 80, 1 },
    { "http://[::1]:8080", "http", "[0::1]:8080", 0, 1 },
    { "http://[::1]", "http", "[::1]", 0, 1 },
    { "http://127.0.0.1:8000", "http", "127.0.0.1:8000", 0, 1 },

    { "http://a.example", "https", "a.example", 0, 0 },
    { "https://a.example", "http", "a.example", 0, 0 },
    { "https://b.example", "https", "a.example", 0, 0 },
    { "https://a.example.evil.com", "https", "a.example", 0, 0 },
    { "https://a.example:8443", "https", "a.example", 0, 0 },
    { "https://a.example", "https", "a.example:8443", 0, 0 },
    { "https://a.example", "https", "a.example", 8443, 0 },
    { "http://[::1]", "http", "[::2]", 0, 0 },
    { "null", "https", "null", 0, 0 },
    { "null", "https", "a.example", 0, 0 },
    { "https://a.example", "https", "", 0, 0 },
    { "https://a.example", "https", "a.example:x", 0, 0 },
    { "https://a.example", "https", "a.example:*", 0, 0 },
    { "https://a.example", "https", "*.example", 0, 0 },
    { "https://a.example", "https", "user@a.example", 0, 0 },
    { "https://a.example", "", "a.example", 0, 0 },
    { "ftp://a.example", "ftp", "a.example", 0, 0 }
};


int
main(void)
{
    test_match();
    test_reference();
    test_bad();
    test_claims();
    test_lengths();
    test_time();
    test_names();
    test_origin_parse();
    test_origin_match();
    test_origin_bad();
    test_origin_same();

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


static uint32_t
noise(void)
{
    static uint32_t  x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;

    return x;
}


/* for the name of a test */

static const char *
show(const char *s)
{
    char         *p;

    static char   text[600];

    for (p = text; *s; s++) {
        p += (*s >= 0x20 && *s < 0x7f)
             ? sprintf(p, "%c", *s) : sprintf(p, "<%02x>", (u_char) *s);
    }

    return text;
}


static ngx_int_t
claim(void *data, const ngx_str_t *name, ngx_str_t *value)
{
    const char  *sub;

    sub = data;

    if (sub == NULL || name->len != 3 || memcmp(name->data, "sub", 3) != 0) {
        return NGX_DECLINED;
    }

    value->data = (u_char *) sub;
    value->len = strlen(sub);

    return NGX_OK;
}


/* what compiling and matching come to; -1: void, -2: no pattern */

static int
match(const char *pattern, size_t len, const char *name, size_t name_len,
    const char *sub, const ngx_str_t **reason)
{
    int         result;
    u_char     *dst, *exact;
    size_t      size;
    ngx_int_t   rc;
    ngx_str_t   p, n;

    set(&p, pattern, len);
    set(&n, name, name_len);

    dst = malloc(NGX_WS_BUS_PATTERN_SIZE);

    if (dst == NULL) {
        abort();
    }

    rc = ngx_ws_bus_pattern_compile(&p, claim, (void *) sub, dst, &size,
                                    reason);

    if (rc == NGX_OK) {
        exact = malloc(size);

        if (exact == NULL) {
            abort();
        }

        memcpy(exact, dst, size);

        result = (int) ngx_ws_bus_pattern_match(exact, size, &n);

        free(exact);

    } else {
        result = (rc == NGX_DECLINED) ? -1 : -2;
    }

    free(dst);
    free(p.data);
    free(n.data);

    return result;
}


static void
test_match(void)
{
    ngx_uint_t        i;
    const ngx_str_t  *reason;

    for (i = 0; i < sizeof(matches) / sizeof(matches[0]); i++) {
        tap_is(match(matches[i].pattern, strlen(matches[i].pattern),
                     matches[i].name, strlen(matches[i].name), NULL, &reason),
               matches[i].match, "\"%s\" of \"%s\"", show(matches[i].name),
               matches[i].pattern);
    }
}


/* by its definition, with every way tried */

static int
reference(const char *p, const char *end, const char *s, const char *last)
{
    int  any;

    if (p == end) {
        return s == last;
    }

    if (*p != '*') {
        return s < last && *s == *p && reference(p + 1, end, s + 1, last);
    }

    any = (p + 1 < end && p[1] == '*');
    p += 1 + any;

    for ( ;; ) {

        if (reference(p, end, s, last)) {
            return 1;
        }

        if (s == last || (!any && strchr("./:", *s))) {
            return 0;
        }

        s++;
    }
}


static void
test_reference(void)
{
    int                k, got, want;
    char               pattern[12], name[14];
    size_t             i, len, name_len;
    const ngx_str_t   *reason;

    static const char  letters[] = "aab./";

    for (k = 0; k < 200000; k++) {
        len = 1 + noise() % (sizeof(pattern) - 2);

        for (i = 0; i < len; i++) {
            pattern[i] = (noise() % 3) ? letters[noise() % 5] : '*';

            if (i > 1 && pattern[i] == '*' && pattern[i - 1] == '*'
                && pattern[i - 2] == '*')
            {
                pattern[i] = 'b';
            }
        }

        name_len = noise() % sizeof(name);

        for (i = 0; i < name_len; i++) {
            name[i] = letters[noise() % 5];
        }

        want = reference(pattern, pattern + len, name, name + name_len);
        got = match(pattern, len, name, name_len, NULL, &reason);

        tap_each(got == want, "\"%.*s\" of \"%.*s\": %d", (int) name_len,
                 name, (int) len, pattern, got);
    }

    tap_all("the same as a slow matcher");
}


static void
test_bad(void)
{
    int               rc;
    u_char            dst[NGX_WS_BUS_PATTERN_SIZE];
    size_t            len;
    ngx_str_t         text;
    ngx_uint_t        i;
    const ngx_str_t  *reason;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rc = match(bad[i].pattern, strlen(bad[i].pattern), "a", 1, "x",
                   &reason);

        if (bad[i].reason == NULL) {
            tap_is(rc, -1, "\"%s\" is void", show(bad[i].pattern));
            continue;
        }

        tap_ok(rc == -2 && strcmp((char *) reason->data, bad[i].reason) == 0,
               "\"%s\": %s", show(bad[i].pattern), bad[i].reason);
    }

    /* syntax only */

    ngx_str_set(&text, "user.{sub}.*");

    tap_is(ngx_ws_bus_pattern_compile(&text, NULL, NULL, dst, &len, &reason),
           NGX_DECLINED, "with no claims to ask, braces void a pattern");

    ngx_str_set(&text, "user.{sub");

    tap_is(ngx_ws_bus_pattern_compile(&text, NULL, NULL, dst, &len, &reason),
           NGX_ERROR, "... but are examined");
}


static void
test_claims(void)
{
    ngx_uint_t        i;
    const ngx_str_t  *reason;

    for (i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        tap_is(match(claims[i].pattern, strlen(claims[i].pattern),
                     claims[i].name, strlen(claims[i].name), claims[i].value,
                     &reason),
               claims[i].match, "%s with sub \"%s\"", claims[i].pattern,
               claims[i].value ? show(claims[i].value) : "");
    }
}


static void
test_lengths(void)
{
    char              text[300], sub[300];
    const ngx_str_t  *reason;

    memset(text, 'a', sizeof(text));
    memset(sub, 'b', sizeof(sub));

    tap_is(match(text, 255, text, 255, NULL, &reason), 1,
           "a literal as long as a name");
    tap_is(match(text, 256, text, 256, NULL, &reason), -2,
           "a pattern that is longer");
    tap_ok(strcmp((char *) reason->data, "pattern is longer than 255 bytes")
           == 0, "... is told so");

    /* a value that makes it longer */

    memcpy(text, "{sub}{sub}{sub}", 15);

    sub[85] = '\0';
    memset(text + 15, 'b', 255);

    tap_is(match(text, 15, text + 15, 255, sub, &reason), 1,
           "values as long as a name");

    sub[85] = 'b';
    sub[86] = '\0';

    tap_is(match(text, 15, text + 15, 258, sub, &reason), -1,
           "values that are longer");

    sub[86] = 'b';
    sub[255] = '\0';

    tap_is(match("{sub}*", 6, text + 15, 255, sub, &reason), 1,
           "a value of 255 bytes");

    sub[255] = 'b';
    sub[256] = '\0';

    tap_is(match("{sub}*", 6, text + 15, 255, sub, &reason), -1,
           "a value of 256 bytes");

    /* the most that can be compiled */

    memset(text, '*', 255);
    sub[1] = '\0';

    for (sub[2] = 0; sub[2] < 42; sub[2]++) {
        memcpy(text + 1 + sub[2] * 6, "{sub}*", 6);
    }

    tap_is(match(text, 253, "bbbb", 4, sub, &reason), 0, "many values");
}


/* what would take a backtracking matcher a lifetime */

static void
test_time(void)
{
    int               k;
    char              pattern[300], name[300];
    size_t            i;
    const ngx_str_t  *reason;

    for (k = 0; k < 3; k++) {

        for (i = 0; i + 3 < 252; ) {
            if (k == 2 && i == 0) {
                memcpy(pattern, "**a", 3);
                i = 3;
            }

            if (k == 1) {
                pattern[i++] = '*';
            }

            pattern[i++] = '*';
            pattern[i++] = 'a';
        }

        pattern[i++] = 'b';
        memset(name, 'a', sizeof(name));

        tap_is(match(pattern, i, name, 255, NULL, &reason), 0,
               "all in vain, %d", k);
        pattern[i - 1] = '*';

        tap_is(match(pattern, i, name, 255, NULL, &reason), 1,
               "not in vain, %d", k);
    }

    /* from every start of "**" a long way to nothing */

    memset(pattern, 'a', 120);
    memcpy(pattern, "**a*", 4);
    memcpy(pattern + 120, "*c*b**", 6);

    tap_is(match(pattern, 126, name, 255, NULL, &reason), 0, "cubic");

    memset(pattern, 'a', 60);
    memcpy(pattern, "**", 2);

    for (i = 2; i < 60; i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }

    pattern[2] = 'a';
    memcpy(pattern + 60, "b**", 3);
    name[254] = 'b';
    name[127] = '.';

    tap_is(match(pattern, 63, name, 255, NULL, &reason), 1,
           "cubic, with an end");
}


/* names are valid elsewhere, but nothing here depends on it */

static void
test_names(void)
{
    const ngx_str_t  *reason;

    tap_is(match("a*", 2, "a\x01", 2, NULL, &reason), 1,
           "a byte that is a wildcard's is an ordinary one");
    tap_is(match("a*b", 3, "a\x01", 2, NULL, &reason), 0, "... at the end");
    tap_is(match("*", 1, "\x02", 1, NULL, &reason), 1, "... alone");
    tap_is(match("a*.*", 4, "a\x01x", 3, NULL, &reason), 0, "... in between");
    tap_is(match("**", 2, "\0\0", 2, NULL, &reason), 1, "null characters");
}


static void
test_origin_parse(void)
{
    ngx_str_t            text;
    ngx_uint_t           i;
    ngx_ws_bus_origin_t  o;

    char                 host[300];

    for (i = 0; i < sizeof(not_origins) / sizeof(not_origins[0]); i++) {
        set(&text, not_origins[i], strlen(not_origins[i]));

        tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_ERROR,
               "\"%s\" is no origin", show(not_origins[i]));

        free(text.data);
    }

    set(&text, "http://a\0b", 10);
    tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_ERROR, "a null character");
    free(text.data);

    set(&text, "http://[::1\0]", 13);
    tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_ERROR,
           "a null character in an address");
    free(text.data);

    memset(host, 'a', sizeof(host));
    memcpy(host, "https://", 8);

    set(&text, host, 8 + 255);
    tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_OK, "a host of 255 bytes");
    free(text.data);

    set(&text, host, 8 + 256);
    tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_ERROR, "a longer one");
    free(text.data);

    set(&text, "https://[2001:db8::1]:8443", 26);

    tap_is(ngx_ws_bus_origin_parse(&text, &o), NGX_OK, "an IPv6 address");
    tap_ok(o.ipv6 && o.port == 8443 && o.scheme.len == 5
           && o.host.len == 11 && memcmp(o.host.data, "2001:db8::1", 11) == 0
           && o.addr[0] == 0x20 && o.addr[15] == 1, "... with a port");

    free(text.data);
}


static void
test_origin_match(void)
{
    ngx_str_t             pattern, text;
    ngx_uint_t            i;
    const ngx_str_t      *reason;
    ngx_ws_bus_origin_t   p, o;

    for (i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
        set(&pattern, origins[i].pattern, strlen(origins[i].pattern));
        set(&text, origins[i].origin, strlen(origins[i].origin));

        tap_ok(ngx_ws_bus_origin_pattern(&pattern, &p, &reason) == NGX_OK
               && ngx_ws_bus_origin_parse(&text, &o) == NGX_OK
               && ngx_ws_bus_origin_match(&p, &o) == origins[i].match,
               "%s %s %s", origins[i].origin,
               origins[i].match ? "is" : "is not", origins[i].pattern);

        free(pattern.data);
        free(text.data);
    }
}


static void
test_origin_bad(void)
{
    ngx_int_t             rc;
    ngx_str_t             text;
    ngx_uint_t            i;
    const ngx_str_t      *reason;
    ngx_ws_bus_origin_t   o;

    for (i = 0; i < sizeof(not_patterns) / sizeof(not_patterns[0]); i++) {
        set(&text, not_patterns[i].pattern, strlen(not_patterns[i].pattern));

        reason = NULL;
        rc = ngx_ws_bus_origin_pattern(&text, &o, &reason);

        if (!tap_ok(rc == NGX_ERROR && reason
                    && strcmp((char *) reason->data, not_patterns[i].reason)
                       == 0,
                    "\"%s\": %s", not_patterns[i].pattern,
                    not_patterns[i].reason))
        {
            tap_diag("%d %s", (int) rc, reason ? (char *) reason->data : "");
        }

        free(text.data);
    }
}


static void
test_origin_same(void)
{
    ngx_str_t            text, scheme, authority;
    ngx_uint_t           i;
    ngx_ws_bus_origin_t  o;

    for (i = 0; i < sizeof(sames) / sizeof(sames[0]); i++) {
        set(&text, sames[i].origin, strlen(sames[i].origin));
        set(&scheme, sames[i].scheme, strlen(sames[i].scheme));
        set(&authority, sames[i].authority, strlen(sames[i].authority));

        tap_ok(ngx_ws_bus_origin_parse(&text, &o) == NGX_OK
               && ngx_ws_bus_origin_same(&o, &scheme, &authority,
                                         sames[i].port)
                  == sames[i].same,
               "%s %s %s://%s, port %d", sames[i].origin,
               sames[i].same ? "is" : "is not", sames[i].scheme,
               sames[i].authority, (int) sames[i].port);

        free(text.data);
        free(scheme.data);
        free(authority.data);
    }
}
