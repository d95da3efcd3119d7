
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_json.c"

#include "fuzz.h"


/*
 * The reference: recursive descent by the grammar of RFC 8259, one character
 * at a time, each decoded.
 */

typedef struct {
    const u_char  *p;
    const u_char  *last;
    ngx_uint_t     depth;          /* levels left */
    ngx_uint_t     members;        /* of the outermost object */
    int            inner;          /* inside something */
} reference_t;


static int reference_text(const u_char *data, size_t size, ngx_uint_t depth,
    ngx_uint_t *members);
static int reference_value(reference_t *r);
static int reference_object(reference_t *r);
static int reference_array(reference_t *r);
static int reference_string(reference_t *r);
static int reference_number(reference_t *r);
static int reference_digits(reference_t *r);
static long reference_char(reference_t *r);
static void reference_space(reference_t *r);
static int reference_take(reference_t *r, const char *text);
static u_char *reference_unescape(const u_char *raw, size_t len,
    size_t *size);
static void check_walk(const uint8_t *data, size_t size);
static void check_member(ngx_ws_bus_json_object_t *o);
static void check_string(const ngx_str_t *raw);
static void check_escape(const uint8_t *data, size_t size);
static void check_uint(const u_char *p, size_t len);


/* The input is a text, a string to be escaped and a number at once. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char      *p;
    ngx_int_t    rc;
    ngx_uint_t   members;

    p = fuzz_copy(data, size);

    rc = ngx_ws_bus_json_valid(p, size);

    fuzz_check(rc == NGX_OK || rc == NGX_ERROR);
    fuzz_check((rc == NGX_OK)
               == reference_text(data, size, NGX_WS_BUS_JSON_DEPTH,
                                 &members));
    fuzz_check(size == 0 || memcmp(p, data, size) == 0);

    free(p);

    check_walk(data, size);
    check_escape(data, size);
    check_uint(data, size);

    return 0;
}


static void
check_walk(const uint8_t *data, size_t size)
{
    int                        valid;
    u_char                    *p, *end;
    ngx_int_t                  rc;
    ngx_uint_t                 n, members;
    ngx_ws_bus_json_object_t   o;

    valid = reference_text(data, size, NGX_WS_BUS_JSON_DEPTH + 1, &members);

    p = fuzz_copy(data, size);
    n = 0;

    rc = ngx_ws_bus_json_object(&o, p, size);

    end = p;

    while (rc == NGX_OK) {
        rc = ngx_ws_bus_json_next(&o);

        if (rc != NGX_OK) {
            break;
        }

        fuzz_check(o.key.data > end);
        fuzz_check(o.key.data + o.key.len < o.value.data);

        end = o.value.data + o.value.len;

        fuzz_check(end <= p + size);

        check_member(&o);

        n++;
    }

    if (rc == NGX_DONE) {
        fuzz_check(valid);
        fuzz_check(n == members);

    } else if (rc == NGX_ERROR) {
        fuzz_check(!valid);

    } else {
        fuzz_check(rc == NGX_DECLINED);
        fuzz_check(n == 0);
        fuzz_check(!valid || members == (ngx_uint_t) -1);
    }

    fuzz_check(size == 0 || memcmp(p, data, size) == 0);

    free(p);
}


static void
check_member(ngx_ws_bus_json_object_t *o)
{
    ngx_uint_t  members;

    fuzz_check(ngx_ws_bus_json_valid(o->key.data, o->key.len) == NGX_OK);
    fuzz_check(ngx_ws_bus_json_valid(o->value.data, o->value.len) == NGX_OK);

    fuzz_check(strchr(" \t\r\n", o->value.data[0]) == NULL);
    fuzz_check(strchr(" \t\r\n", o->value.data[o->value.len - 1]) == NULL);

    fuzz_check(reference_text(o->value.data, o->value.len,
                              NGX_WS_BUS_JSON_DEPTH, &members));
    fuzz_check((members != (ngx_uint_t) -1)
               == (o->type == NGX_WS_BUS_JSON_OBJECT));

    check_string(&o->key);

    switch (o->type) {

    case NGX_WS_BUS_JSON_STRING:
        check_string(&o->value);
        break;

    case NGX_WS_BUS_JSON_NUMBER:
        check_uint(o->value.data, o->value.len);
        break;

    case NGX_WS_BUS_JSON_ARRAY:
        fuzz_check(o->value.data[0] == '[');
        break;

    case NGX_WS_BUS_JSON_OBJECT:
        fuzz_check(o->value.data[0] == '{');
        break;

    case NGX_WS_BUS_JSON_NULL:
        fuzz_check(o->value.len == 4 && memcmp(o->value.data, "null", 4) == 0);
        break;

    case NGX_WS_BUS_JSON_TRUE:
        fuzz_check(o->value.len == 4 && memcmp(o->value.data, "true", 4) == 0);
        break;

    case NGX_WS_BUS_JSON_FALSE:
        fuzz_check(o->value.len == 5
                   && memcmp(o->value.data, "false", 5) == 0);
        break;
    }
}


static void
check_string(const ngx_str_t *raw)
{
    u_char     *want, *p;
    size_t      len;
    ngx_str_t   s;

    fuzz_check(raw->len >= 2 && raw->data[0] == '"'
               && raw->data[raw->len - 1] == '"');

    want = reference_unescape(raw->data, raw->len, &len);

    p = fuzz_copy(raw->data, raw->len);
    s.data = p;
    s.len = raw->len;

    /* a string is shorter than its slice, and not as long if escaped */

    fuzz_check(ngx_ws_bus_json_is(&s, raw->data, raw->len) == 0);
    fuzz_check(ngx_ws_bus_json_is(&s, raw->data + 1, raw->len - 2)
               == (memchr(raw->data, '\\', raw->len) == NULL));

    if (want == NULL) {
        fuzz_check(ngx_ws_bus_json_unescape(&s) == NGX_ERROR);
        free(p);
        return;
    }

    fuzz_check(ngx_ws_bus_json_is(&s, want, len) == 1);

    if (len) {
        fuzz_check(ngx_ws_bus_json_is(&s, want, len - 1) == 0);
        fuzz_check(ngx_ws_bus_json_is(&s, want + 1, len - 1) == 0);

        want[len / 2] ^= 1;
        fuzz_check(ngx_ws_bus_json_is(&s, want, len) == 0);
        want[len / 2] ^= 1;
    }

    fuzz_check(ngx_ws_bus_json_unescape(&s) == NGX_OK);
    fuzz_check(s.data >= p && s.data + s.len <= p + raw->len);
    fuzz_check(s.len == len && memcmp(s.data, want, len) == 0);
    fuzz_check(ngx_ws_bus_utf8_valid(s.data, s.len));

    free(p);
    free(want);
}


static void
check_escape(const uint8_t *data, size_t size)
{
    u_char     *p;
    size_t      len, i, more;
    ngx_str_t   s;

    if (!ngx_ws_bus_utf8_valid(data, size)) {
        return;
    }

    more = 0;

    for (i = 0; i < size; i++) {

        if (data[i] < 0x20) {
            more += strchr("\b\f\n\r\t", data[i]) && data[i] ? 1 : 5;

        } else if (data[i] == '"' || data[i] == '\\') {
            more++;
        }
    }

    len = ngx_ws_bus_json_escape_size(data, size);

    fuzz_check(len == size + more);

    p = fuzz_alloc(len + 2);
    p[0] = '"';

    fuzz_check(ngx_ws_bus_json_escape(p + 1, data, size) == p + 1 + len);

    p[1 + len] = '"';

    fuzz_check(ngx_ws_bus_json_valid(p, len + 2) == NGX_OK);

    s.data = p;
    s.len = len + 2;

    fuzz_check(ngx_ws_bus_json_is(&s, data, size));
    fuzz_check(ngx_ws_bus_json_unescape(&s) == NGX_OK);
    fuzz_check(s.len == size && (size == 0 || memcmp(s.data, data, size) == 0));

    free(p);
}


static void
check_uint(const u_char *p, size_t len)
{
    int         want;
    char       *text, *end, again[32];
    uint64_t    n;
    ngx_str_t   raw;

    raw.data = fuzz_copy(p, len);
    raw.len = len;

    text = fuzz_alloc(len + 1);
    memcpy(text, raw.data, len);
    text[len] = '\0';

    /* a number is taken if it is written as it would be printed */

    n = strtoull(text, &end, 10);
    snprintf(again, sizeof(again), "%llu", (unsigned long long) n);

    want = strlen(again) == len && memcmp(again, text, len) == 0
           && n < (uint64_t) 1 << 53;

    free(text);

    fuzz_check(ngx_ws_bus_json_uint(&raw, &n) == (want ? NGX_OK : NGX_ERROR));

    if (want) {
        fuzz_check(n == strtoull(again, NULL, 10));
    }

    free(raw.data);
}


/* 1 if valid; *members is -1 if it is not an object */

static int
reference_text(const u_char *data, size_t size, ngx_uint_t depth,
    ngx_uint_t *members)
{
    reference_t  r;

    r.p = data;
    r.last = size ? data + size : data;
    r.depth = depth;
    r.members = (ngx_uint_t) -1;
    r.inner = 0;

    *members = r.members;

    reference_space(&r);

    if (!reference_value(&r)) {
        return 0;
    }

    reference_space(&r);

    *members = r.members;

    return r.p == r.last;
}


static int
reference_value(reference_t *r)
{
    if (r->p == r->last) {
        return 0;
    }

    switch (*r->p) {

    case '{':
        return reference_object(r);

    case '[':
        return reference_array(r);

    case '"':
        return reference_string(r);

    case 't':
        return reference_take(r, "true");

    case 'f':
        return reference_take(r, "false");

    case 'n':
        return reference_take(r, "null");

    default:
        return reference_number(r);
    }
}


static int
reference_object(reference_t *r)
{
    int         outermost;
    ngx_uint_t  n;

    if (!reference_take(r, "{") || r->depth == 0) {
        return 0;
    }

    outermost = !r->inner;

    r->inner = 1;
    r->depth--;
    n = 0;

    reference_space(r);

    if (!reference_take(r, "}")) {

        do {
            reference_space(r);

            if (!reference_string(r)) {
                return 0;
            }

            reference_space(r);

            if (!reference_take(r, ":")) {
                return 0;
            }

            reference_space(r);

            if (!reference_value(r)) {
                return 0;
            }

            reference_space(r);

            n++;

        } while (reference_take(r, ","));

        if (!reference_take(r, "}")) {
            return 0;
        }
    }

    r->depth++;

    if (outermost) {
        r->members = n;
    }

    return 1;
}


static int
reference_array(reference_t *r)
{
    if (!reference_take(r, "[") || r->depth == 0) {
        return 0;
    }

    r->inner = 1;
    r->depth--;

    reference_space(r);

    if (!reference_take(r, "]")) {

        do {
            reference_space(r);

            if (!reference_value(r)) {
                return 0;
            }

            reference_space(r);

        } while (reference_take(r, ","));

        if (!reference_take(r, "]")) {
            return 0;
        }
    }

    r->depth++;

    return 1;
}


static int
reference_string(reference_t *r)
{
    int   i;
    long  ch;

    if (!reference_take(r, "\"")) {
        return 0;
    }

    for ( ;; ) {
        ch = reference_char(r);

        if (ch < 0x20) {
            return 0;
        }

        if (ch == '"') {
            return 1;
        }

        if (ch != '\\') {
            continue;
        }

        ch = reference_char(r);

        if (ch <= 0 || ch > 0x7f || !strchr("\"\\/bfnrtu", (int) ch)) {
            return 0;
        }

        for (i = 0; ch == 'u' && i < 4; i++) {

            if (r->p == r->last
                || !((*r->p >= '0' && *r->p <= '9')
                     || (*r->p >= 'a' && *r->p <= 'f')
                     || (*r->p >= 'A' && *r->p <= 'F')))
            {
                return 0;
            }

            r->p++;
        }
    }
}


static int
reference_number(reference_t *r)
{
    (void) reference_take(r, "-");

    if (!reference_take(r, "0") && !reference_digits(r)) {
        return 0;
    }

    if (reference_take(r, ".") && !reference_digits(r)) {
        return 0;
    }

    if (reference_take(r, "e") || reference_take(r, "E")) {

        if (!reference_take(r, "+")) {
            (void) reference_take(r, "-");
        }

        return reference_digits(r);
    }

    return 1;
}


static int
reference_digits(reference_t *r)
{
    int  n;

    n = 0;

    while (r->p < r->last && *r->p >= '0' && *r->p <= '9') {
        r->p++;
        n++;
    }

    return n > 0;
}


/* the next code point; -1 if there is none */

static long
reference_char(reference_t *r)
{
    int   n, i;
    long  ch;

    if (r->p == r->last) {
        return -1;
    }

    ch = *r->p++;

    if (ch < 0x80) {
        return ch;
    }

    n = (ch >= 0xf0 && ch < 0xf8) ? 3 : (ch >= 0xe0) ? 2 : 1;

    if (ch < 0xc0 || ch >= 0xf8 || r->last - r->p < n) {
        return -1;
    }

    ch &= 0x3f >> n;

    for (i = 0; i < n; i++) {

        if (r->p[i] / 64 != 2) {
            return -1;
        }

        ch = ch * 64 + r->p[i] % 64;
    }

    r->p += n;

    if (ch < (n == 1 ? 0x80 : n == 2 ? 0x800 : 0x10000)
        || ch > 0x10ffff || (ch >= 0xd800 && ch < 0xe000))
    {
        return -1;
    }

    return ch;
}


static void
reference_space(reference_t *r)
{
    while (r->p < r->last && (*r->p == 0x20 || *r->p == 0x09
                              || *r->p == 0x0a || *r->p == 0x0d))
    {
        r->p++;
    }
}


static int
reference_take(reference_t *r, const char *text)
{
    size_t  len;

    len = strlen(text);

    if ((size_t) (r->last - r->p) < len || memcmp(r->p, text, len) != 0) {
        return 0;
    }

    r->p += len;

    return 1;
}


/*
 * The string of a valid raw slice, in memory that the caller frees; NULL if
 * its code units are no UTF-16.
 */

static u_char *
reference_unescape(const u_char *raw, size_t len, size_t *size)
{
    char      hex[5];
    long      cp;
    u_char   *text, *q;
    size_t    i;
    uint32_t  high;

    static const char  from[] = "bfnrt", to[] = "\b\f\n\r\t";

    text = fuzz_alloc(len);
    q = text;

    high = 0;

    for (i = 1; i < len - 1; i++) {

        if (raw[i] != '\\' || raw[i + 1] != 'u') {

            if (high) {
                free(text);
                return NULL;
            }

            if (raw[i] == '\\') {
                i++;

                *q++ = strchr(from, raw[i])
                       ? (u_char) to[strchr(from, raw[i]) - from] : raw[i];

            } else {
                *q++ = raw[i];
            }

            continue;
        }

        memcpy(hex, raw + i + 2, 4);
        hex[4] = '\0';

        cp = strtol(hex, NULL, 16);
        i += 5;

        if ((high != 0) != (cp >= 0xdc00 && cp <= 0xdfff)) {
            free(text);
            return NULL;
        }

        if (cp >= 0xd800 && cp <= 0xdbff) {
            high = (uint32_t) cp;
            continue;
        }

        if (high) {
            cp = 0x10000 + ((long) high - 0xd800) * 0x400 + (cp - 0xdc00);
            high = 0;

            *q++ = (u_char) (0xf0 + cp / 0x40000);
            *q++ = (u_char) (0x80 + cp / 0x1000 % 0x40);
            *q++ = (u_char) (0x80 + cp / 0x40 % 0x40);
            *q++ = (u_char) (0x80 + cp % 0x40);

        } else if (cp >= 0x800) {
            *q++ = (u_char) (0xe0 + cp / 0x1000);
            *q++ = (u_char) (0x80 + cp / 0x40 % 0x40);
            *q++ = (u_char) (0x80 + cp % 0x40);

        } else if (cp >= 0x80) {
            *q++ = (u_char) (0xc0 + cp / 0x40);
            *q++ = (u_char) (0x80 + cp % 0x40);

        } else {
            *q++ = (u_char) cp;
        }
    }

    if (high) {
        free(text);
        return NULL;
    }

    *size = q - text;

    return text;
}
