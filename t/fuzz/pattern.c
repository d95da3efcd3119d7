
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"

#include "fuzz.h"


#define MAX  600

/* what a token of the reference is besides a byte */
#define ONE  256
#define ANY  257


typedef struct {
    int     tokens[64 * MAX];      /* 51 values in a pattern */
    size_t  n;
    int     voided;
} reference_t;


static void check_pattern(ngx_str_t *text, ngx_str_t *name, ngx_str_t *sub);
static int expand(reference_t *r, ngx_str_t *text, ngx_str_t *sub);
static void literal(reference_t *r, u_char *p, size_t len);
static int matches(reference_t *r, ngx_str_t *name);
static void check_origin(ngx_str_t *text, ngx_str_t *pattern);
static void check_same(ngx_ws_bus_origin_t *origin);


/*
 * A pattern, a name and the value of the claim "sub", one a line; also an
 * origin and a pattern for it.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t      i;
    ngx_str_t   part[3];
    ngx_uint_t  n;

    if (size > MAX) {
        return 0;
    }

    for (n = 0; n < 3; n++) {

        for (i = 0; i < size && data[i] != '\n'; i++) { /* void */ }

        part[n].len = i;
        part[n].data = fuzz_copy(data, i);

        i += (i < size);
        data += i;
        size -= i;
    }

    check_pattern(&part[0], &part[1], &part[2]);
    check_origin(&part[1], &part[0]);

    for (n = 0; n < 3; n++) {
        free(part[n].data);
    }

    return 0;
}


static ngx_int_t
claim(void *data, const ngx_str_t *name, ngx_str_t *value)
{
    if (name->len != 3 || memcmp(name->data, "sub", 3) != 0) {
        return NGX_DECLINED;
    }

    *value = *(ngx_str_t *) data;

    return NGX_OK;
}


static void
check_pattern(ngx_str_t *text, ngx_str_t *name, ngx_str_t *sub)
{
    int               want;
    u_char           *dst, *exact;
    size_t            len;
    ngx_int_t         rc, few;
    ngx_uint_t        got, many;
    reference_t       r;
    const ngx_str_t  *reason;

    dst = fuzz_alloc(NGX_WS_BUS_PATTERN_SIZE);
    reason = NULL;

    rc = ngx_ws_bus_pattern_compile(text, claim, sub, dst, &len, &reason);
    want = expand(&r, text, sub);

    if (want == -1) {
        fuzz_check(rc == NGX_ERROR && reason != NULL && reason->len > 0);
        free(dst);
        return;
    }

    fuzz_check(rc == (r.voided ? NGX_DECLINED : NGX_OK));

    if (rc == NGX_OK) {
        fuzz_check(len == r.n && len <= NGX_WS_BUS_PATTERN_SIZE);

        exact = fuzz_copy(dst, len);

        got = ngx_ws_bus_pattern_match(exact, len, name);

        fuzz_check(got == (ngx_uint_t) matches(&r, name));

        /* both ways of it */

        many = ngx_ws_bus_pattern_many(exact, len, name->data, name->len);
        few = ngx_ws_bus_pattern_few(exact, len, name->data, name->len);

        if (ngx_ws_bus_handshake_channel(name)) {
            fuzz_check(many == got);
            fuzz_check(few == NGX_AGAIN || (few == NGX_OK) == got);
        }

        free(exact);
    }

    /* without claims the same is a pattern and the same is none */

    rc = ngx_ws_bus_pattern_compile(text, NULL, NULL, dst, &len, &reason);

    fuzz_check(rc != NGX_ERROR);

    free(dst);
}


/* -1: no pattern; else r is what it stands for */

static int
expand(reference_t *r, ngx_str_t *text, ngx_str_t *sub)
{
    size_t     i, n, bytes;
    ngx_str_t  part;

    r->n = 0;
    r->voided = 0;

    if (text->len == 0 || text->len > 255) {
        return -1;
    }

    for (i = 0; i < text->len; /* void */ ) {

        for (n = i; n < text->len && text->data[n] == '*'; n++) { /* void */ }

        if (n - i > 2) {
            return -1;
        }

        if (n > i) {
            r->tokens[r->n++] = (n - i == 1) ? ONE : ANY;
            i = n;
            continue;
        }

        if (text->data[i] == '{') {

            for (n = i + 1; n < text->len; n++) {
                if (text->data[n] == '{' || text->data[n] == '}') {
                    break;
                }
            }

            if (n == text->len || text->data[n] == '{' || n == i + 1) {
                return -1;
            }

            if (n - i == 4 && memcmp(text->data + i, "{sub}", 5) == 0
                && ngx_ws_bus_handshake_channel(sub)
                && memchr(sub->data, '.', sub->len) == NULL
                && memchr(sub->data, '/', sub->len) == NULL
                && memchr(sub->data, ':', sub->len) == NULL)
            {
                literal(r, sub->data, sub->len);

            } else {
                r->voided = 1;
            }

            i = n + 1;
            continue;
        }

        for (n = i; n < text->len; n++) {
            if (memchr("*{}", text->data[n], 3) != NULL) {
                break;
            }
        }

        part.data = text->data + i;
        part.len = n - i;

        if (!ngx_ws_bus_handshake_channel(&part)) {
            return -1;
        }

        literal(r, part.data, part.len);
        i = n;
    }

    bytes = 0;

    for (i = 0; i < r->n; i++) {
        bytes += (r->tokens[i] < ONE);
    }

    if (bytes > 255) {
        r->voided = 1;
    }

    return 0;
}


static void
literal(reference_t *r, u_char *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        r->tokens[r->n++] = p[i];
    }
}


/* from the end, by the definition: what matches from here on */

static int
matches(reference_t *r, ngx_str_t *name)
{
    int      result;
    size_t   i, j;
    u_char  *table, *row, *next;

    table = fuzz_alloc((r->n + 1) * (name->len + 1));

    for (i = r->n + 1; i-- > 0; /* void */ ) {
        row = table + i * (name->len + 1);
        next = row + name->len + 1;

        for (j = name->len + 1; j-- > 0; /* void */ ) {

            if (i == r->n) {
                row[j] = (j == name->len);
                continue;
            }

            if (r->tokens[i] < ONE) {
                row[j] = j < name->len && name->data[j] == r->tokens[i]
                         && next[j + 1];
                continue;
            }

            row[j] = next[j]
                     || (j < name->len && row[j + 1]
                         && (r->tokens[i] == ANY
                             || memchr("./:", name->data[j], 3) == NULL));
        }
    }

    result = table[0];

    free(table);

    return result;
}


static void
check_origin(ngx_str_t *text, ngx_str_t *pattern)
{
    size_t                i;
    ngx_int_t             rc;
    ngx_str_t             upper;
    const ngx_str_t      *reason;
    ngx_ws_bus_origin_t   o, p, u;

    reason = NULL;
    rc = ngx_ws_bus_origin_pattern(pattern, &p, &reason);

    fuzz_check(rc == NGX_OK || (rc == NGX_ERROR && reason != NULL));

    if (ngx_ws_bus_origin_parse(text, &o) != NGX_OK) {
        return;
    }

    fuzz_check(!o.wildcard && o.port <= 65535);

    if (rc == NGX_OK && ngx_ws_bus_origin_match(&p, &o)) {
        fuzz_check(p.null == o.null);
        fuzz_check(p.ipv6 == o.ipv6);
        fuzz_check(!p.wildcard || p.host.len < o.host.len);
        fuzz_check(p.wildcard || p.ipv6 || p.host.len == o.host.len);
    }

    for (i = 0; i < text->len; i++) {
        fuzz_check(text->data[i] > 0x20 && text->data[i] < 0x7f);
        fuzz_check(memchr("/?#@%\\*,;", text->data[i], 9) == NULL
                   || (text->data[i] == '/' && i >= o.scheme.len + 1
                       && i <= o.scheme.len + 2));
    }

    /* it is a pattern as well, of itself, in whatever case */

    fuzz_check(ngx_ws_bus_origin_pattern(text, &p, &reason) == NGX_OK);
    fuzz_check(ngx_ws_bus_origin_match(&p, &o));

    upper.len = text->len;
    upper.data = fuzz_copy(text->data, text->len);

    for (i = 0; i < upper.len && !o.null; i++) {
        upper.data[i] = ngx_toupper(upper.data[i]);
    }

    fuzz_check(ngx_ws_bus_origin_parse(&upper, &u) == NGX_OK);
    fuzz_check(ngx_ws_bus_origin_match(&p, &u));

    check_same(&o);

    free(upper.data);
}


static void
check_same(ngx_ws_bus_origin_t *origin)
{
    char        authority[300];
    ngx_str_t   a;
    ngx_uint_t  http;

    if (origin->null) {
        return;
    }

    a.data = (u_char *) authority;
    a.len = snprintf(authority, sizeof(authority),
                     origin->ipv6 ? "[%.*s]:%d" : "%.*s:%d",
                     (int) origin->host.len, origin->host.data,
                     (int) origin->port);

    http = ngx_ws_bus_origin_is(&origin->scheme, "http")
           || ngx_ws_bus_origin_is(&origin->scheme, "https");

    if (origin->port) {
        fuzz_check(ngx_ws_bus_origin_same(origin, &origin->scheme, &a, 0)
                   == http);
        a.len -= (origin->port > 9);
        fuzz_check(origin->port <= 9
                   || !ngx_ws_bus_origin_same(origin, &origin->scheme, &a,
                                              0));
    }
}
