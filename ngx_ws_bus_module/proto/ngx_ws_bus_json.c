
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_json.h"
#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_JSON_ONES  0x0101010101010101ULL
#define NGX_WS_BUS_JSON_HIGH  0x8080808080808080ULL

/* has its top bits set if a byte of w is ch, or is below ch <= 0x80 */

#define ngx_ws_bus_json_below(w, ch)                                          \
    (((w) - NGX_WS_BUS_JSON_ONES * (ch)) & ~(w))

#define ngx_ws_bus_json_equal(w, ch)                                          \
    ngx_ws_bus_json_below((w) ^ (NGX_WS_BUS_JSON_ONES * (ch)), 1)

#define ngx_ws_bus_json_is_digit(ch)  ((u_char) ((ch) - '0') <= 9)

#define ngx_ws_bus_json_is_high(u)    (((u) & 0xfc00) == 0xd800)
#define ngx_ws_bus_json_is_low(u)     (((u) & 0xfc00) == 0xdc00)


static const u_char *ngx_ws_bus_json_space(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_plain(const u_char *p,
    const u_char *last, uint64_t *seen);
static const u_char *ngx_ws_bus_json_value(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_scalar(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_literal(const u_char *p,
    const u_char *last, const char *name, size_t len);
static const u_char *ngx_ws_bus_json_number(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_digits(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_name(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_string(const u_char *p,
    const u_char *last);
static const u_char *ngx_ws_bus_json_escaped(const u_char *p,
    const u_char *last);
static ngx_ws_bus_json_e ngx_ws_bus_json_type(u_char ch);
static const u_char *ngx_ws_bus_json_decode(const u_char *p, u_char **dst);
static uint32_t ngx_ws_bus_json_unit(const u_char *p);
static u_char *ngx_ws_bus_json_utf8(u_char *p, uint32_t ch);
static u_char ngx_ws_bus_json_short(u_char ch);


ngx_int_t
ngx_ws_bus_json_valid(const u_char *p, size_t len)
{
    const u_char  *last;

    if (len == 0) {
        return NGX_ERROR;
    }

    last = p + len;

    p = ngx_ws_bus_json_value(ngx_ws_bus_json_space(p, last), last);

    if (p == NULL || ngx_ws_bus_json_space(p, last) != last) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_inline const u_char *
ngx_ws_bus_json_space(const u_char *p, const u_char *last)
{
    while (p < last && *p <= ' ') {

        if (*p != ' ' && *p != LF && *p != CR && *p != '\t') {
            break;
        }

        p++;
    }

    return p;
}


/*
 * The first byte that does not stand for itself in a string: a quote, a
 * backslash, a control character.  The bytes before it are or-ed into *seen.
 */

static ngx_inline const u_char *
ngx_ws_bus_json_plain(const u_char *p, const u_char *last, uint64_t *seen)
{
    uint64_t  w, hits;

    while (last - p >= 8) {
        ngx_memcpy(&w, p, 8);

        hits = (ngx_ws_bus_json_below(w, 0x20)
                | ngx_ws_bus_json_equal(w, '"')
                | ngx_ws_bus_json_equal(w, '\\'))
               & NGX_WS_BUS_JSON_HIGH;

        if (hits) {

#if (NGX_HAVE_LITTLE_ENDIAN)

            /* the lowest hit is a true one; all bits of the bytes below it */

            hits = ((hits - 1) & ~hits) >> 7;
            *seen |= w & hits;

            return p + (((hits & NGX_WS_BUS_JSON_ONES)
                         * NGX_WS_BUS_JSON_ONES) >> 56);

#else
            break;
#endif
        }

        *seen |= w;
        p += 8;
    }

    while (p < last && *p >= 0x20 && *p != '"' && *p != '\\') {
        *seen |= *p++;
    }

    return p;
}


/*
 * Passes over a value, which begins at p; NULL if it is invalid.  What is
 * open is a bit each, 1 for an object, the innermost lowest.
 */

static const u_char *
ngx_ws_bus_json_value(const u_char *p, const u_char *last)
{
    u_char      close;
    uint64_t    open;
    ngx_uint_t  depth;

    open = 0;
    depth = 0;

    for ( ;; ) {

        if (p == last) {
            return NULL;
        }

        if (*p == '{' || *p == '[') {

            if (depth++ == NGX_WS_BUS_JSON_DEPTH) {
                return NULL;
            }

            open = (open << 1) | (*p == '{');
            close = (*p == '{') ? '}' : ']';

            p = ngx_ws_bus_json_space(p + 1, last);

            if (p == last) {
                return NULL;
            }

            if (*p != close) {

                if (open & 1) {
                    p = ngx_ws_bus_json_name(p, last);

                    if (p == NULL) {
                        return NULL;
                    }
                }

                continue;
            }

        } else {
            p = ngx_ws_bus_json_scalar(p, last);

            if (p == NULL || depth == 0) {
                return p;
            }

            p = ngx_ws_bus_json_space(p, last);
        }

        /* behind a value: what it is in goes on or is closed */

        while (p < last && *p == ((open & 1) ? '}' : ']')) {

            if (--depth == 0) {
                return p + 1;
            }

            open >>= 1;
            p = ngx_ws_bus_json_space(p + 1, last);
        }

        if (p == last || *p != ',') {
            return NULL;
        }

        p = ngx_ws_bus_json_space(p + 1, last);

        if (open & 1) {
            p = ngx_ws_bus_json_name(p, last);

            if (p == NULL) {
                return NULL;
            }
        }
    }
}


static const u_char *
ngx_ws_bus_json_scalar(const u_char *p, const u_char *last)
{
    switch (*p) {

    case '"':
        return ngx_ws_bus_json_string(p, last);

    case 't':
        return ngx_ws_bus_json_literal(p, last, "true", 4);

    case 'f':
        return ngx_ws_bus_json_literal(p, last, "false", 5);

    case 'n':
        return ngx_ws_bus_json_literal(p, last, "null", 4);

    default:
        return ngx_ws_bus_json_number(p, last);
    }
}


static const u_char *
ngx_ws_bus_json_literal(const u_char *p, const u_char *last,
    const char *name, size_t len)
{
    if ((size_t) (last - p) < len || ngx_memcmp(p, name, len) != 0) {
        return NULL;
    }

    return p + len;
}


static const u_char *
ngx_ws_bus_json_number(const u_char *p, const u_char *last)
{
    if (*p == '-') {
        p++;
    }

    if (p < last && *p == '0') {
        p++;

    } else {
        p = ngx_ws_bus_json_digits(p, last);

        if (p == NULL) {
            return NULL;
        }
    }

    if (p < last && *p == '.') {
        p = ngx_ws_bus_json_digits(p + 1, last);

        if (p == NULL) {
            return NULL;
        }
    }

    if (p < last && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < last && (*p == '+' || *p == '-')) {
            p++;
        }

        p = ngx_ws_bus_json_digits(p, last);
    }

    return p;
}


/* one at least */

static const u_char *
ngx_ws_bus_json_digits(const u_char *p, const u_char *last)
{
    if (p == last || !ngx_ws_bus_json_is_digit(*p)) {
        return NULL;
    }

    do {
        p++;
    } while (p < last && ngx_ws_bus_json_is_digit(*p));

    return p;
}


/* a member's name and the colon, to the beginning of its value */

static const u_char *
ngx_ws_bus_json_name(const u_char *p, const u_char *last)
{
    if (p == last || *p != '"') {
        return NULL;
    }

    p = ngx_ws_bus_json_string(p, last);

    if (p == NULL) {
        return NULL;
    }

    p = ngx_ws_bus_json_space(p, last);

    if (p == last || *p != ':') {
        return NULL;
    }

    return ngx_ws_bus_json_space(p + 1, last);
}


static const u_char *
ngx_ws_bus_json_string(const u_char *p, const u_char *last)
{
    uint64_t       seen;
    const u_char  *start;

    start = ++p;
    seen = 0;

    for ( ;; ) {
        p = ngx_ws_bus_json_plain(p, last, &seen);

        if (p == last || *p < 0x20) {
            return NULL;
        }

        if (*p == '"') {
            break;
        }

        p = ngx_ws_bus_json_escaped(p + 1, last);

        if (p == NULL) {
            return NULL;
        }
    }

    if ((seen & NGX_WS_BUS_JSON_HIGH)
        && !ngx_ws_bus_utf8_valid(start, p - start))
    {
        return NULL;
    }

    return p + 1;
}


/* what is behind a backslash */

static const u_char *
ngx_ws_bus_json_escaped(const u_char *p, const u_char *last)
{
    u_char      ch;
    ngx_uint_t  i;

    if (p == last) {
        return NULL;
    }

    switch (*p) {

    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 1;

    case 'u':
        break;

    default:
        return NULL;
    }

    if (last - p < 5) {
        return NULL;
    }

    for (i = 1; i < 5; i++) {
        ch = (u_char) (p[i] | 0x20);

        if (!ngx_ws_bus_json_is_digit(p[i]) && (ch < 'a' || ch > 'f')) {
            return NULL;
        }
    }

    return p + 5;
}


ngx_int_t
ngx_ws_bus_json_object(ngx_ws_bus_json_object_t *o, u_char *p, size_t len)
{
    ngx_memzero(o, sizeof(ngx_ws_bus_json_object_t));

    if (len == 0) {
        return NGX_DECLINED;
    }

    o->last = p + len;
    o->pos = (u_char *) ngx_ws_bus_json_space(p, o->last);

    if (o->pos == o->last || *o->pos != '{') {
        return NGX_DECLINED;
    }

    o->pos++;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_json_next(ngx_ws_bus_json_object_t *o)
{
    const u_char  *p, *last, *key, *value, *end;

    last = o->last;
    p = ngx_ws_bus_json_space(o->pos, last);

    if (p == last) {
        return NGX_ERROR;
    }

    if (*p == '}') {
        return ngx_ws_bus_json_space(p + 1, last) == last ? NGX_DONE
                                                          : NGX_ERROR;
    }

    if (o->key.data) {

        if (*p != ',') {
            return NGX_ERROR;
        }

        p = ngx_ws_bus_json_space(p + 1, last);
    }

    key = p;
    value = ngx_ws_bus_json_name(key, last);

    if (value == NULL) {
        return NGX_ERROR;
    }

    end = ngx_ws_bus_json_value(value, last);

    if (end == NULL) {
        return NGX_ERROR;
    }

    /* between a name and its value is nothing else with a quote */

    for (p = value; p[-1] != '"'; p--) { /* void */ }

    o->key.data = (u_char *) key;
    o->key.len = p - key;

    o->value.data = (u_char *) value;
    o->value.len = end - value;
    o->type = ngx_ws_bus_json_type(*value);

    o->pos = (u_char *) end;

    return NGX_OK;
}


static ngx_ws_bus_json_e
ngx_ws_bus_json_type(u_char ch)
{
    switch (ch) {

    case 'n':
        return NGX_WS_BUS_JSON_NULL;

    case 'f':
        return NGX_WS_BUS_JSON_FALSE;

    case 't':
        return NGX_WS_BUS_JSON_TRUE;

    case '"':
        return NGX_WS_BUS_JSON_STRING;

    case '[':
        return NGX_WS_BUS_JSON_ARRAY;

    case '{':
        return NGX_WS_BUS_JSON_OBJECT;

    default:
        return NGX_WS_BUS_JSON_NUMBER;
    }
}


ngx_uint_t
ngx_ws_bus_json_is(const ngx_str_t *raw, const u_char *name, size_t len)
{
    u_char         buf[4], *dst;
    size_t         n;
    const u_char  *p, *last, *end;

    /* escapes only make it longer */

    if (raw->len - 2 < len) {
        return 0;
    }

    p = raw->data + 1;
    last = raw->data + raw->len - 1;
    end = name + len;

    while (p < last) {

        if (*p != '\\') {

            if (name == end || *name++ != *p++) {
                return 0;
            }

            continue;
        }

        dst = buf;
        p = ngx_ws_bus_json_decode(p + 1, &dst);

        if (p == NULL) {
            return 0;
        }

        n = dst - buf;

        if ((size_t) (end - name) < n || ngx_memcmp(name, buf, n) != 0) {
            return 0;
        }

        name += n;
    }

    return name == end;
}


ngx_int_t
ngx_ws_bus_json_unescape(ngx_str_t *s)
{
    u_char        *dst;
    size_t         n;
    const u_char  *p, *last, *escape;

    p = s->data + 1;
    last = s->data + s->len - 1;

    s->data++;
    dst = s->data;

    for ( ;; ) {
        escape = memchr(p, '\\', last - p);

        n = (escape ? escape : last) - p;

        if (dst != p) {
            ngx_memmove(dst, p, n);
        }

        dst += n;

        if (escape == NULL) {
            break;
        }

        p = ngx_ws_bus_json_decode(escape + 1, &dst);

        if (p == NULL) {
            return NGX_ERROR;
        }
    }

    s->len = dst - s->data;

    return NGX_OK;
}


/*
 * Decodes what is behind a backslash to *dst, which it advances by 1 to 4
 * bytes, never beyond what is read.  The syntax has been checked, up to a
 * quote at the end.  NULL for half a surrogate pair.
 */

static const u_char *
ngx_ws_bus_json_decode(const u_char *p, u_char **dst)
{
    u_char    ch;
    uint32_t  unit, low;

    switch (*p) {

    case 'b':
        ch = '\b';
        break;

    case 'f':
        ch = '\f';
        break;

    case 'n':
        ch = LF;
        break;

    case 'r':
        ch = CR;
        break;

    case 't':
        ch = '\t';
        break;

    case 'u':
        unit = ngx_ws_bus_json_unit(p + 1);
        p += 5;

        if (ngx_ws_bus_json_is_low(unit)) {
            return NULL;
        }

        if (ngx_ws_bus_json_is_high(unit)) {

            if (p[0] != '\\' || p[1] != 'u') {
                return NULL;
            }

            low = ngx_ws_bus_json_unit(p + 2);
            p += 6;

            if (!ngx_ws_bus_json_is_low(low)) {
                return NULL;
            }

            unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
        }

        *dst = ngx_ws_bus_json_utf8(*dst, unit);

        return p;

    default:
        ch = *p;
    }

    *(*dst)++ = ch;

    return p + 1;
}


/* four hexadecimal digits */

static uint32_t
ngx_ws_bus_json_unit(const u_char *p)
{
    uint32_t    unit;
    ngx_uint_t  i;

    unit = 0;

    for (i = 0; i < 4; i++) {
        unit = (unit << 4)
               + (ngx_ws_bus_json_is_digit(p[i]) ? p[i] - '0'
                                                 : (p[i] | 0x20) - 'a' + 10);
    }

    return unit;
}


static u_char *
ngx_ws_bus_json_utf8(u_char *p, uint32_t ch)
{
    if (ch < 0x80) {
        *p++ = (u_char) ch;
        return p;
    }

    if (ch < 0x800) {
        *p++ = (u_char) (0xc0 | (ch >> 6));
        *p++ = (u_char) (0x80 | (ch & 0x3f));
        return p;
    }

    if (ch < 0x10000) {
        *p++ = (u_char) (0xe0 | (ch >> 12));

    } else {
        *p++ = (u_char) (0xf0 | (ch >> 18));
        *p++ = (u_char) (0x80 | ((ch >> 12) & 0x3f));
    }

    *p++ = (u_char) (0x80 | ((ch >> 6) & 0x3f));
    *p++ = (u_char) (0x80 | (ch & 0x3f));

    return p;
}


u_char *
ngx_ws_bus_json_escape(u_char *p, const u_char *src, size_t len)
{
    u_char         ch;
    uint64_t       seen;
    const u_char  *last, *next;

    static const u_char  hex[] = "0123456789abcdef";

    if (len == 0) {
        return p;
    }

    last = src + len;
    seen = 0;

    for ( ;; ) {
        next = ngx_ws_bus_json_plain(src, last, &seen);
        p = ngx_cpymem(p, src, next - src);

        if (next == last) {
            return p;
        }

        *p++ = '\\';

        ch = ngx_ws_bus_json_short(*next);

        if (ch) {
            *p++ = ch;

        } else {
            *p++ = 'u';
            *p++ = '0';
            *p++ = '0';
            *p++ = hex[*next >> 4];
            *p++ = hex[*next & 0xf];
        }

        src = next + 1;
    }
}


size_t
ngx_ws_bus_json_escape_size(const u_char *src, size_t len)
{
    size_t         size;
    uint64_t       seen;
    const u_char  *last;

    if (len == 0) {
        return 0;
    }

    last = src + len;
    size = len;
    seen = 0;

    for ( ;; ) {
        src = ngx_ws_bus_json_plain(src, last, &seen);

        if (src == last) {
            return size;
        }

        size += ngx_ws_bus_json_short(*src) ? 1 : 5;
        src++;
    }
}


/* what follows the backslash in the escape of two characters, or 0 */

static u_char
ngx_ws_bus_json_short(u_char ch)
{
    switch (ch) {

    case '"':
    case '\\':
        return ch;

    case '\b':
        return 'b';

    case '\f':
        return 'f';

    case LF:
        return 'n';

    case CR:
        return 'r';

    case '\t':
        return 't';

    default:
        return 0;
    }
}


ngx_int_t
ngx_ws_bus_json_uint(const ngx_str_t *raw, uint64_t *n)
{
    size_t    i;
    uint64_t  value;

    /* the highest has 16 digits */

    if (raw->len == 0 || raw->len > 16
        || (raw->len > 1 && raw->data[0] == '0'))
    {
        return NGX_ERROR;
    }

    value = 0;

    for (i = 0; i < raw->len; i++) {

        if (!ngx_ws_bus_json_is_digit(raw->data[i])) {
            return NGX_ERROR;
        }

        value = value * 10 + (raw->data[i] - '0');
    }

    if (value > NGX_WS_BUS_JSON_UINT_MAX) {
        return NGX_ERROR;
    }

    *n = value;

    return NGX_OK;
}
