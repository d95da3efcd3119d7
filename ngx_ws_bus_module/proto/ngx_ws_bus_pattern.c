
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_pattern.h"
#include "ngx_ws_bus_utf8.h"


/* bytes of a compiled pattern that no channel's name holds */
#define NGX_WS_BUS_PATTERN_SEGMENT  0x01
#define NGX_WS_BUS_PATTERN_ANY      0x02

/* per byte of pattern and name, before the matching is done in a safer way */
#define NGX_WS_BUS_PATTERN_STEPS    4

#define ngx_ws_bus_pattern_is_wildcard(ch)                                    \
    ((ch) <= NGX_WS_BUS_PATTERN_ANY)

#define ngx_ws_bus_pattern_is_separator(ch)                                   \
    ((ch) == '.' || (ch) == '/' || (ch) == ':')

/* RFC 1035, 2.3.4 */
#define NGX_WS_BUS_ORIGIN_HOST      255

/* regular expressions see all of an origin: it is not longer than it needs */
#define NGX_WS_BUS_ORIGIN_SCHEME    64


typedef struct {
    u_char                       *dst;
    size_t                        len;
    size_t                        literals;
    ngx_ws_bus_pattern_claim_pt   claim;
    void                         *data;
    unsigned                      is_void:1;
} ngx_ws_bus_pattern_out_t;


static void ngx_ws_bus_pattern_literal(ngx_ws_bus_pattern_out_t *out,
    const ngx_str_t *literal);
static const ngx_str_t *ngx_ws_bus_pattern_braces(
    ngx_ws_bus_pattern_out_t *out, const u_char **pos, const u_char *last);
static ngx_uint_t ngx_ws_bus_pattern_value(const ngx_str_t *value);
static ngx_uint_t ngx_ws_bus_pattern_one(ngx_uint_t wildcard,
    const u_char *name, size_t len);
static ngx_int_t ngx_ws_bus_pattern_few(const u_char *pattern, size_t len,
    const u_char *name, size_t name_len);
static ngx_uint_t ngx_ws_bus_pattern_many(const u_char *pattern, size_t len,
    const u_char *name, size_t name_len);
static ngx_int_t ngx_ws_bus_origin_split(const ngx_str_t *text,
    ngx_ws_bus_origin_t *origin, ngx_str_t *authority);
static ngx_int_t ngx_ws_bus_origin_authority(const ngx_str_t *text,
    ngx_ws_bus_origin_t *origin, ngx_uint_t any_port);
static ngx_int_t ngx_ws_bus_origin_host(const ngx_str_t *host);
static ngx_int_t ngx_ws_bus_origin_ipv6(ngx_ws_bus_origin_t *origin);
static ngx_int_t ngx_ws_bus_origin_port(const u_char *p, const u_char *last,
    ngx_uint_t *port);
static ngx_uint_t ngx_ws_bus_origin_default_port(const ngx_str_t *scheme);
static ngx_uint_t ngx_ws_bus_origin_same_host(
    const ngx_ws_bus_origin_t *pattern, const ngx_ws_bus_origin_t *origin);
static ngx_uint_t ngx_ws_bus_origin_equal(const u_char *a, const u_char *b,
    size_t len);
static ngx_uint_t ngx_ws_bus_origin_is(const ngx_str_t *s, const char *word);


static const ngx_str_t  ngx_ws_bus_pattern_empty =
    ngx_string("pattern is empty");

static const ngx_str_t  ngx_ws_bus_pattern_long =
    ngx_string("pattern is longer than 255 bytes");

static const ngx_str_t  ngx_ws_bus_pattern_asterisks =
    ngx_string("pattern has more than two asterisks in a row");

static const ngx_str_t  ngx_ws_bus_pattern_brace =
    ngx_string("pattern has an unbalanced brace");

static const ngx_str_t  ngx_ws_bus_pattern_name =
    ngx_string("pattern has braces without a name");

static const ngx_str_t  ngx_ws_bus_pattern_character =
    ngx_string("pattern has a character that no channel name has");


static const ngx_str_t  ngx_ws_bus_origin_malformed =
    ngx_string("not an origin");

static const ngx_str_t  ngx_ws_bus_origin_asterisk =
    ngx_string("an asterisk stands only for leading labels or for the port");

static const ngx_str_t  ngx_ws_bus_origin_address =
    ngx_string("an asterisk cannot be part of an address");


ngx_int_t
ngx_ws_bus_pattern_compile(const ngx_str_t *text,
    ngx_ws_bus_pattern_claim_pt claim, void *data, u_char *dst, size_t *len,
    const ngx_str_t **reason)
{
    ngx_str_t                  literal;
    const u_char              *p, *last, *start;
    ngx_ws_bus_pattern_out_t   out;

    if (text->len == 0) {
        *reason = &ngx_ws_bus_pattern_empty;
        return NGX_ERROR;
    }

    if (text->len > NGX_WS_BUS_PATTERN_MAX) {
        *reason = &ngx_ws_bus_pattern_long;
        return NGX_ERROR;
    }

    ngx_memzero(&out, sizeof(ngx_ws_bus_pattern_out_t));

    out.dst = dst;
    out.claim = claim;
    out.data = data;

    p = text->data;
    last = p + text->len;

    while (p < last) {
        start = p;

        switch (*p) {

        case '*':

            while (p < last && *p == '*') {
                p++;
            }

            if (p - start > 2) {
                *reason = &ngx_ws_bus_pattern_asterisks;
                return NGX_ERROR;
            }

            out.dst[out.len++] = (p - start == 1) ? NGX_WS_BUS_PATTERN_SEGMENT
                                                  : NGX_WS_BUS_PATTERN_ANY;
            break;

        case '{':
            *reason = ngx_ws_bus_pattern_braces(&out, &p, last);

            if (*reason != NULL) {
                return NGX_ERROR;
            }

            break;

        case '}':
            *reason = &ngx_ws_bus_pattern_brace;
            return NGX_ERROR;

        default:

            while (p < last && *p != '*' && *p != '{' && *p != '}') {
                p++;
            }

            literal.data = (u_char *) start;
            literal.len = p - start;

            if (!ngx_ws_bus_handshake_channel(&literal)) {
                *reason = &ngx_ws_bus_pattern_character;
                return NGX_ERROR;
            }

            ngx_ws_bus_pattern_literal(&out, &literal);
        }
    }

    *len = out.len;

    return out.is_void ? NGX_DECLINED : NGX_OK;
}


static void
ngx_ws_bus_pattern_literal(ngx_ws_bus_pattern_out_t *out,
    const ngx_str_t *literal)
{
    out->literals += literal->len;

    /* no name is as long */

    if (out->literals > NGX_WS_BUS_CHANNEL_MAX) {
        out->is_void = 1;
    }

    if (out->is_void) {
        return;
    }

    ngx_memcpy(out->dst + out->len, literal->data, literal->len);
    out->len += literal->len;
}


/*
 * Takes "{name}" at *pos and puts the claim's value down.  Returns what is
 * wrong, or NULL.
 */

static const ngx_str_t *
ngx_ws_bus_pattern_braces(ngx_ws_bus_pattern_out_t *out, const u_char **pos,
    const u_char *last)
{
    ngx_str_t      name, value;
    const u_char  *p;

    p = *pos + 1;
    name.data = (u_char *) p;

    while (p < last && *p != '}') {

        if (*p == '{') {
            return &ngx_ws_bus_pattern_brace;
        }

        p++;
    }

    if (p == last) {
        return &ngx_ws_bus_pattern_brace;
    }

    name.len = p - name.data;
    *pos = p + 1;

    if (name.len == 0) {
        return &ngx_ws_bus_pattern_name;
    }

    if (out->claim == NULL
        || out->claim(out->data, &name, &value) != NGX_OK
        || !ngx_ws_bus_pattern_value(&value))
    {
        out->is_void = 1;
        return NULL;
    }

    ngx_ws_bus_pattern_literal(out, &value);

    return NULL;
}


/*
 * 1 if a claim's value can be a part of one segment of a name.
 */

static ngx_uint_t
ngx_ws_bus_pattern_value(const ngx_str_t *value)
{
    size_t  i;

    if (!ngx_ws_bus_handshake_channel(value)) {
        return 0;
    }

    for (i = 0; i < value->len; i++) {
        if (ngx_ws_bus_pattern_is_separator(value->data[i])) {
            return 0;
        }
    }

    return 1;
}


ngx_uint_t
ngx_ws_bus_pattern_match(const u_char *pattern, size_t len,
    const ngx_str_t *name)
{
    ngx_int_t      rc;
    const u_char  *p, *end, *s, *last;

    p = pattern;
    end = pattern + len;

    s = name->data;
    last = s + name->len;

    /* wildcards are no bytes of a name, but that is for others to ensure */

    while (p < end && s < last && *p == *s
           && !ngx_ws_bus_pattern_is_wildcard(*p))
    {
        p++;
        s++;
    }

    if (p == end) {
        return s == last;
    }

    if (!ngx_ws_bus_pattern_is_wildcard(*p)) {
        return 0;
    }

    /* there is a wildcard to stop at */

    while (!ngx_ws_bus_pattern_is_wildcard(end[-1])) {

        if (s == last || end[-1] != last[-1]) {
            return 0;
        }

        end--;
        last--;
    }

    if (end - p == 1) {
        return ngx_ws_bus_pattern_one(*p, s, last - s);
    }

    rc = ngx_ws_bus_pattern_few(p, end - p, s, last - s);

    if (rc != NGX_AGAIN) {
        return rc == NGX_OK;
    }

    if (end - p > NGX_WS_BUS_PATTERN_SIZE) {
        return 0;
    }

    return ngx_ws_bus_pattern_many(p, end - p, s, last - s);
}


static ngx_uint_t
ngx_ws_bus_pattern_one(ngx_uint_t wildcard, const u_char *name, size_t len)
{
    size_t  i;

    if (wildcard == NGX_WS_BUS_PATTERN_ANY) {
        return 1;
    }

    for (i = 0; i < len; i++) {
        if (ngx_ws_bus_pattern_is_separator(name[i])) {
            return 0;
        }
    }

    return 1;
}


/*
 * Several wildcards, each taking as little as it can.  Where that does not
 * go on, the last "*" takes a byte more if it may, else the last "**" does:
 * what wildcards before them took cannot matter.
 *
 * NGX_OK        matches
 * NGX_DECLINED  does not
 * NGX_AGAIN     not known after as many steps as are worth trying
 */

static ngx_int_t
ngx_ws_bus_pattern_few(const u_char *pattern, size_t len, const u_char *name,
    size_t name_len)
{
    ngx_uint_t     steps;
    const u_char  *p, *end, *s, *last, *one, *one_s, *any, *any_s;

    p = pattern;
    end = pattern + len;

    s = name;
    last = name + name_len;

    one = NULL;
    one_s = NULL;
    any = NULL;
    any_s = NULL;

    steps = NGX_WS_BUS_PATTERN_STEPS * (len + name_len);

    while (s < last) {

        if (steps-- == 0) {
            return NGX_AGAIN;
        }

        if (p < end) {

            if (*p == NGX_WS_BUS_PATTERN_SEGMENT) {
                one = ++p;
                one_s = s;
                continue;
            }

            if (*p == NGX_WS_BUS_PATTERN_ANY) {
                any = ++p;
                any_s = s;
                one = NULL;
                continue;
            }

            if (*p == *s) {
                p++;
                s++;
                continue;
            }
        }

        if (one != NULL && !ngx_ws_bus_pattern_is_separator(*one_s)) {
            p = one;
            s = ++one_s;
            continue;
        }

        if (any == NULL) {
            return NGX_DECLINED;
        }

        one = NULL;
        p = any;
        s = ++any_s;
    }

    while (p < end && ngx_ws_bus_pattern_is_wildcard(*p)) {
        p++;
    }

    return (p == end) ? NGX_OK : NGX_DECLINED;
}


/*
 * The same, with all ways to match followed at once.  After each byte of the
 * name, row[j] says whether the first j bytes of the pattern match what has
 * been read.  No way is tried twice, so there is nothing that a pattern could
 * blow up.
 */

static ngx_uint_t
ngx_ws_bus_pattern_many(const u_char *pattern, size_t len, const u_char *name,
    size_t name_len)
{
    u_char  row[NGX_WS_BUS_PATTERN_SIZE + 1], ch, old, before, within;
    size_t  i, j;

    row[0] = 1;

    for (j = 0; j < len; j++) {
        row[j + 1] = row[j] && ngx_ws_bus_pattern_is_wildcard(pattern[j]);
    }

    for (i = 0; i < name_len; i++) {
        ch = name[i];
        within = !ngx_ws_bus_pattern_is_separator(ch);

        before = row[0];
        row[0] = 0;

        for (j = 0; j < len; j++) {
            old = row[j + 1];

            switch (pattern[j]) {

            case NGX_WS_BUS_PATTERN_SEGMENT:
                row[j + 1] = (old & within) | row[j];
                break;

            case NGX_WS_BUS_PATTERN_ANY:
                row[j + 1] = old | row[j];
                break;

            default:
                row[j + 1] = before & (pattern[j] == ch);
            }

            before = old;
        }
    }

    return row[len];
}


ngx_int_t
ngx_ws_bus_origin_parse(const ngx_str_t *text, ngx_ws_bus_origin_t *origin)
{
    ngx_str_t  authority;

    if (ngx_ws_bus_origin_split(text, origin, &authority) != NGX_OK) {
        return NGX_ERROR;
    }

    if (origin->null) {
        return NGX_OK;
    }

    if (origin->scheme.len == 0
        || ngx_ws_bus_origin_authority(&authority, origin, 0) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (origin->port == 0) {
        origin->port = ngx_ws_bus_origin_default_port(&origin->scheme);
    }

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_origin_pattern(const ngx_str_t *text, ngx_ws_bus_origin_t *origin,
    const ngx_str_t **reason)
{
    u_char     *p, *last;
    ngx_str_t   authority, host;

    *reason = &ngx_ws_bus_origin_malformed;

    if (ngx_ws_bus_origin_split(text, origin, &authority) != NGX_OK) {
        return NGX_ERROR;
    }

    if (origin->null) {
        return NGX_OK;
    }

    host = authority;

    if (host.len > 2 && host.data[0] == '*' && host.data[1] == '.') {
        origin->wildcard = 1;

        host.data += 2;
        host.len -= 2;
    }

    if (ngx_ws_bus_origin_authority(&host, origin, 1) != NGX_OK) {

        last = authority.data + authority.len;

        for (p = authority.data; p < last; p++) {
            if (*p == '*') {
                *reason = &ngx_ws_bus_origin_asterisk;
                break;
            }
        }

        return NGX_ERROR;
    }

    if (origin->wildcard) {

        /* *.0.0.1: it is the last label that makes an IPv4 address */

        last = origin->host.data + origin->host.len;

        for (p = last; p > origin->host.data; p--) {
            if (p[-1] < '0' || p[-1] > '9') {
                break;
            }
        }

        if (origin->ipv6
            || (p < last && (p == origin->host.data || p[-1] == '.')))
        {
            *reason = &ngx_ws_bus_origin_address;
            return NGX_ERROR;
        }

        origin->host.data--;
        origin->host.len++;
    }

    return NGX_OK;
}


/*
 * Takes the scheme off, if there is one; all else is the authority.
 */

static ngx_int_t
ngx_ws_bus_origin_split(const ngx_str_t *text, ngx_ws_bus_origin_t *origin,
    ngx_str_t *authority)
{
    u_char  *p, *last, ch;

    ngx_memzero(origin, sizeof(ngx_ws_bus_origin_t));

    *authority = *text;

    if (text->len == 4 && ngx_memcmp(text->data, "null", 4) == 0) {
        origin->null = 1;
        return NGX_OK;
    }

    p = text->data;
    last = p + text->len;

    while (p < last && *p != ':') {
        p++;
    }

    if (last - p < 3 || p[1] != '/' || p[2] != '/') {
        return NGX_OK;
    }

    origin->scheme.data = text->data;
    origin->scheme.len = p - text->data;

    authority->data = p + 3;
    authority->len = last - authority->data;

    /* RFC 3986, 3.1 */

    last = p;

    for (p = text->data; p < last; p++) {
        ch = (u_char) (*p | 0x20);

        if (ch >= 'a' && ch <= 'z') {
            continue;
        }

        if (p > text->data
            && ((*p >= '0' && *p <= '9')
                || *p == '+' || *p == '-' || *p == '.'))
        {
            continue;
        }

        return NGX_ERROR;
    }

    if (origin->scheme.len == 0
        || origin->scheme.len > NGX_WS_BUS_ORIGIN_SCHEME)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Reads host[:port]; the port stays 0 if there is none.
 */

static ngx_int_t
ngx_ws_bus_origin_authority(const ngx_str_t *text,
    ngx_ws_bus_origin_t *origin, ngx_uint_t any_port)
{
    u_char     *p, *last;
    ngx_int_t   rc;

    p = text->data;
    last = p + text->len;

    if (p < last && *p == '[') {
        origin->ipv6 = 1;
        origin->host.data = ++p;

        while (p < last && *p != ']') {
            p++;
        }

        if (p == last) {
            return NGX_ERROR;
        }

        origin->host.len = p++ - origin->host.data;

        rc = ngx_ws_bus_origin_ipv6(origin);

    } else {
        origin->host.data = p;

        while (p < last && *p != ':') {
            p++;
        }

        origin->host.len = p - origin->host.data;

        rc = ngx_ws_bus_origin_host(&origin->host);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    origin->port = 0;

    if (p == last) {
        return NGX_OK;
    }

    if (*p++ != ':') {
        return NGX_ERROR;
    }

    if (any_port && last - p == 1 && *p == '*') {
        origin->port = NGX_WS_BUS_ORIGIN_ANY_PORT;
        return NGX_OK;
    }

    return ngx_ws_bus_origin_port(p, last, &origin->port);
}


/*
 * A name or an IPv4 address: labels of letters, digits, "-" and "_", none of
 * them empty but a last one.
 */

static ngx_int_t
ngx_ws_bus_origin_host(const ngx_str_t *host)
{
    u_char  *p, *last, ch, before;

    if (host->len == 0 || host->len > NGX_WS_BUS_ORIGIN_HOST) {
        return NGX_ERROR;
    }

    before = '.';
    last = host->data + host->len;

    for (p = host->data; p < last; p++) {

        if (*p == '.') {

            if (before == '.') {
                return NGX_ERROR;
            }

            before = '.';
            continue;
        }

        before = *p;
        ch = (u_char) (*p | 0x20);

        if ((ch < 'a' || ch > 'z') && (*p < '0' || *p > '9')
            && *p != '-' && *p != '_')
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_origin_ipv6(ngx_ws_bus_origin_t *origin)
{
    char  text[INET6_ADDRSTRLEN];

    if (origin->host.len == 0 || origin->host.len >= sizeof(text)) {
        return NGX_ERROR;
    }

    if (memchr(origin->host.data, '\0', origin->host.len) != NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(text, origin->host.data, origin->host.len);
    text[origin->host.len] = '\0';

    return inet_pton(AF_INET6, text, origin->addr) == 1 ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_origin_port(const u_char *p, const u_char *last, ngx_uint_t *port)
{
    ngx_uint_t  n;

    if (p == last || last - p > 5 || *p == '0') {
        return NGX_ERROR;
    }

    for (n = 0; p < last; p++) {

        if (*p < '0' || *p > '9') {
            return NGX_ERROR;
        }

        n = n * 10 + (*p - '0');
    }

    if (n > 65535) {
        return NGX_ERROR;
    }

    *port = n;

    return NGX_OK;
}


ngx_uint_t
ngx_ws_bus_origin_match(const ngx_ws_bus_origin_t *pattern,
    const ngx_ws_bus_origin_t *origin)
{
    ngx_uint_t  port;

    if (pattern->null || origin->null) {
        return pattern->null && origin->null;
    }

    if (pattern->scheme.len == 0) {

        if (!ngx_ws_bus_origin_is(&origin->scheme, "http")
            && !ngx_ws_bus_origin_is(&origin->scheme, "https"))
        {
            return 0;
        }

    } else if (pattern->scheme.len != origin->scheme.len
               || !ngx_ws_bus_origin_equal(pattern->scheme.data,
                                           origin->scheme.data,
                                           origin->scheme.len))
    {
        return 0;
    }

    if (pattern->port != NGX_WS_BUS_ORIGIN_ANY_PORT) {
        port = pattern->port;

        if (port == 0) {
            port = ngx_ws_bus_origin_default_port(&origin->scheme);
        }

        if (port != origin->port) {
            return 0;
        }
    }

    return ngx_ws_bus_origin_same_host(pattern, origin);
}


ngx_uint_t
ngx_ws_bus_origin_same(const ngx_ws_bus_origin_t *origin,
    const ngx_str_t *scheme, const ngx_str_t *authority, ngx_uint_t port)
{
    ngx_ws_bus_origin_t  request;

    ngx_memzero(&request, sizeof(ngx_ws_bus_origin_t));

    if (!ngx_ws_bus_origin_is(scheme, "http")
        && !ngx_ws_bus_origin_is(scheme, "https"))
    {
        return 0;
    }

    if (ngx_ws_bus_origin_authority(authority, &request, 0) != NGX_OK) {
        return 0;
    }

    request.scheme = *scheme;

    if (request.port == 0) {
        request.port = port;
    }

    return ngx_ws_bus_origin_match(&request, origin);
}


/*
 * 0 for a scheme that has no port of its own.
 */

static ngx_uint_t
ngx_ws_bus_origin_default_port(const ngx_str_t *scheme)
{
    if (ngx_ws_bus_origin_is(scheme, "https")) {
        return 443;
    }

    if (ngx_ws_bus_origin_is(scheme, "http")) {
        return 80;
    }

    return 0;
}


static ngx_uint_t
ngx_ws_bus_origin_same_host(const ngx_ws_bus_origin_t *pattern,
    const ngx_ws_bus_origin_t *origin)
{
    size_t  len;

    if (pattern->ipv6 || origin->ipv6) {
        return pattern->ipv6 && origin->ipv6
               && ngx_memcmp(pattern->addr, origin->addr,
                             sizeof(origin->addr))
                  == 0;
    }

    len = pattern->host.len;

    if (pattern->wildcard) {
        return origin->host.len > len
               && ngx_ws_bus_origin_equal(pattern->host.data,
                                          origin->host.data
                                          + origin->host.len - len,
                                          len);
    }

    return origin->host.len == len
           && ngx_ws_bus_origin_equal(pattern->host.data, origin->host.data,
                                      len);
}


static ngx_uint_t
ngx_ws_bus_origin_equal(const u_char *a, const u_char *b, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (ngx_tolower(a[i]) != ngx_tolower(b[i])) {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_ws_bus_origin_is(const ngx_str_t *s, const char *word)
{
    return s->len == ngx_strlen(word)
           && ngx_ws_bus_origin_equal(s->data, (const u_char *) word, s->len);
}
