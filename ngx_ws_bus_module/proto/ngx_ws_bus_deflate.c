
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <zlib.h>

#include "ngx_ws_bus_deflate.h"
#include "ngx_ws_bus_error.h"
#include "ngx_ws_bus_handshake.h"


#define NGX_WS_BUS_DEFLATE_NAME      "permessage-deflate"

#define NGX_WS_BUS_DEFLATE_BITS_MIN  9
#define NGX_WS_BUS_DEFLATE_BITS_MAX  15

/* the longest parameter's value that means anything is two digits */
#define NGX_WS_BUS_DEFLATE_VALUE     2

/* the first allocation of an inflated message */
#define NGX_WS_BUS_DEFLATE_CHUNK     4096

/* zlib counts in 32 bits */
#define NGX_WS_BUS_DEFLATE_PART      ((size_t) 1 << 30)


typedef enum {
    ngx_ws_bus_deflate_server_bits = 0,
    ngx_ws_bus_deflate_client_bits,
    ngx_ws_bus_deflate_server_takeover,
    ngx_ws_bus_deflate_client_takeover,
    ngx_ws_bus_deflate_params
} ngx_ws_bus_deflate_param_e;


typedef struct {
    u_char                    *pos;
    u_char                    *last;
} ngx_ws_bus_deflate_scan_t;


typedef struct {
    ngx_str_t                  name;

    /* the value, without quotes and cut to what may be of use */
    size_t                     len;
    u_char                     value[NGX_WS_BUS_DEFLATE_VALUE + 1];

    unsigned                   has_value:1;
} ngx_ws_bus_deflate_param_t;


typedef struct {
    z_stream                  *z;
    u_char                   **out;
    size_t                    *size;
    size_t                     max;
    size_t                     len;
    const ngx_ws_bus_error_t  *error;
} ngx_ws_bus_deflate_out_t;


static ngx_int_t ngx_ws_bus_deflate_offer(ngx_ws_bus_deflate_scan_t *s,
    ngx_ws_bus_deflate_t *d);
static ngx_int_t ngx_ws_bus_deflate_accept(ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_deflate_param_t *param, ngx_uint_t *seen);
static ngx_uint_t ngx_ws_bus_deflate_bits(ngx_ws_bus_deflate_param_t *param);
static ngx_int_t ngx_ws_bus_deflate_param(ngx_ws_bus_deflate_scan_t *s,
    ngx_ws_bus_deflate_param_t *param);
static ngx_int_t ngx_ws_bus_deflate_quoted(ngx_ws_bus_deflate_scan_t *s,
    ngx_ws_bus_deflate_param_t *param);
static ngx_int_t ngx_ws_bus_deflate_token(ngx_ws_bus_deflate_scan_t *s,
    ngx_str_t *token);
static void ngx_ws_bus_deflate_spaces(ngx_ws_bus_deflate_scan_t *s);
static void ngx_ws_bus_deflate_append(ngx_ws_bus_deflate_param_t *param,
    u_char ch);
static u_char *ngx_ws_bus_deflate_put_bits(u_char *p, ngx_uint_t bits);
static ngx_int_t ngx_ws_bus_deflate_whole(ngx_ws_bus_deflate_out_t *o,
    const u_char *in, size_t in_len);
static ngx_int_t ngx_ws_bus_deflate_feed(ngx_ws_bus_deflate_out_t *o,
    const u_char *in, size_t in_len);
static ngx_int_t ngx_ws_bus_deflate_step(ngx_ws_bus_deflate_out_t *o);
static ngx_int_t ngx_ws_bus_deflate_grow(ngx_ws_bus_deflate_out_t *o);


static const ngx_str_t  ngx_ws_bus_deflate_names[] = {
    ngx_string("server_max_window_bits"),
    ngx_string("client_max_window_bits"),
    ngx_string("server_no_context_takeover"),
    ngx_string("client_no_context_takeover")
};


/* cut off by the sender (RFC 7692, 7.2.1) */

static const u_char  ngx_ws_bus_deflate_tail[] = { 0x00, 0x00, 0xff, 0xff };


static const ngx_ws_bus_error_t  ngx_ws_bus_deflate_err_data =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_BAD_DATA, "invalid compressed data");

static const ngx_ws_bus_error_t  ngx_ws_bus_deflate_err_big =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_TOO_BIG, "message is too big");

static const ngx_ws_bus_error_t  ngx_ws_bus_deflate_err_internal =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "internal error");


ngx_int_t
ngx_ws_bus_deflate_negotiate(const ngx_str_t *offers, ngx_ws_bus_deflate_t *d)
{
    ngx_int_t                  rc;
    ngx_uint_t                 found;
    ngx_ws_bus_deflate_t       offer;
    ngx_ws_bus_deflate_scan_t  s;

    if (offers->len == 0) {
        return NGX_DECLINED;
    }

    s.pos = offers->data;
    s.last = offers->data + offers->len;

    found = 0;

    for ( ;; ) {
        ngx_ws_bus_deflate_spaces(&s);

        if (s.pos == s.last) {
            return found ? NGX_OK : NGX_DECLINED;
        }

        if (*s.pos == ',') {
            s.pos++;
            continue;
        }

        rc = ngx_ws_bus_deflate_offer(&s, &offer);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (s.pos < s.last && *s.pos != ',') {
            return NGX_ERROR;
        }

        /* the rest is still read, to know that it is a list */

        if (rc == NGX_OK && !found) {
            *d = offer;
            found = 1;
        }
    }
}


/*
 * Reads one extension up to the comma or the end.
 *
 * NGX_OK        *d serves it
 * NGX_DECLINED  not ours, or cannot be served
 * NGX_ERROR     not an extension
 */

static ngx_int_t
ngx_ws_bus_deflate_offer(ngx_ws_bus_deflate_scan_t *s, ngx_ws_bus_deflate_t *d)
{
    ngx_int_t                   rc;
    ngx_str_t                   name;
    ngx_uint_t                  seen;
    ngx_ws_bus_deflate_param_t  param;

    if (ngx_ws_bus_deflate_token(s, &name) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = NGX_DECLINED;

    if (name.len == sizeof(NGX_WS_BUS_DEFLATE_NAME) - 1
        && ngx_memcmp(name.data, NGX_WS_BUS_DEFLATE_NAME, name.len) == 0)
    {
        rc = NGX_OK;
    }

    ngx_memzero(d, sizeof(ngx_ws_bus_deflate_t));

    d->server_bits = NGX_WS_BUS_DEFLATE_BITS_MAX;
    d->client_bits = NGX_WS_BUS_DEFLATE_BITS_MAX;

    seen = 0;

    for ( ;; ) {
        ngx_ws_bus_deflate_spaces(s);

        if (s->pos == s->last || *s->pos != ';') {
            return rc;
        }

        s->pos++;

        if (ngx_ws_bus_deflate_param(s, &param) != NGX_OK) {
            return NGX_ERROR;
        }

        if (rc == NGX_OK) {
            rc = ngx_ws_bus_deflate_accept(d, &param, &seen);
        }
    }
}


/*
 * Adds a parameter to the agreement; "seen" has a bit for each known one.
 * NGX_OK, or NGX_DECLINED if the whole offer has to be declined.
 */

static ngx_int_t
ngx_ws_bus_deflate_accept(ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_deflate_param_t *param, ngx_uint_t *seen)
{
    ngx_uint_t        n, bits;
    const ngx_str_t  *name;

    for (n = 0; n < ngx_ws_bus_deflate_params; n++) {
        name = &ngx_ws_bus_deflate_names[n];

        if (param->name.len == name->len
            && ngx_memcmp(param->name.data, name->data, name->len) == 0)
        {
            break;
        }
    }

    if (n == ngx_ws_bus_deflate_params || (*seen & (1 << n))) {
        return NGX_DECLINED;
    }

    *seen |= 1 << n;

    if (n == ngx_ws_bus_deflate_server_takeover
        || n == ngx_ws_bus_deflate_client_takeover)
    {
        return param->has_value ? NGX_DECLINED : NGX_OK;
    }

    if (n == ngx_ws_bus_deflate_client_bits && !param->has_value) {
        d->say_client_bits = 1;
        return NGX_OK;
    }

    bits = ngx_ws_bus_deflate_bits(param);

    if (bits == 0) {
        return NGX_DECLINED;
    }

    if (n == ngx_ws_bus_deflate_server_bits) {
        d->server_bits = bits;
        d->say_server_bits = 1;

    } else {
        d->client_bits = bits;
        d->say_client_bits = 1;
    }

    return NGX_OK;
}


/*
 * The value as a number of window bits that can be served, else 0.  Leading
 * zeros are not allowed (RFC 7692, 7.1.2).
 */

static ngx_uint_t
ngx_ws_bus_deflate_bits(ngx_ws_bus_deflate_param_t *param)
{
    u_char  *v;

    v = param->value;

    if (param->len == 1 && v[0] == '9') {
        return NGX_WS_BUS_DEFLATE_BITS_MIN;
    }

    if (param->len == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5') {
        return 10 + (v[1] - '0');
    }

    return 0;
}


/*
 * extension-param = token [ "=" ( token / quoted-string ) ], with optional
 * spaces in between (RFC 6455, 9.1).  NGX_OK or NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_deflate_param(ngx_ws_bus_deflate_scan_t *s,
    ngx_ws_bus_deflate_param_t *param)
{
    size_t     i;
    ngx_str_t  value;

    param->len = 0;
    param->has_value = 0;

    ngx_ws_bus_deflate_spaces(s);

    if (ngx_ws_bus_deflate_token(s, &param->name) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_ws_bus_deflate_spaces(s);

    if (s->pos == s->last || *s->pos != '=') {
        return NGX_OK;
    }

    s->pos++;
    param->has_value = 1;

    ngx_ws_bus_deflate_spaces(s);

    if (s->pos < s->last && *s->pos == '"') {
        return ngx_ws_bus_deflate_quoted(s, param);
    }

    if (ngx_ws_bus_deflate_token(s, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < value.len; i++) {
        ngx_ws_bus_deflate_append(param, value.data[i]);
    }

    return NGX_OK;
}


/*
 * What a quoted value holds, once unescaped, has to be a token
 * (RFC 6455, 9.1).
 */

static ngx_int_t
ngx_ws_bus_deflate_quoted(ngx_ws_bus_deflate_scan_t *s,
    ngx_ws_bus_deflate_param_t *param)
{
    u_char  ch;

    s->pos++;

    while (s->pos < s->last) {
        ch = *s->pos++;

        if (ch == '"') {
            return param->len ? NGX_OK : NGX_ERROR;
        }

        if (ch == '\\') {

            if (s->pos == s->last) {
                return NGX_ERROR;
            }

            ch = *s->pos++;
        }

        if (!ngx_ws_bus_handshake_is_tchar(ch)) {
            return NGX_ERROR;
        }

        ngx_ws_bus_deflate_append(param, ch);
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_deflate_token(ngx_ws_bus_deflate_scan_t *s, ngx_str_t *token)
{
    token->data = s->pos;

    while (s->pos < s->last && ngx_ws_bus_handshake_is_tchar(*s->pos)) {
        s->pos++;
    }

    token->len = s->pos - token->data;

    return token->len ? NGX_OK : NGX_ERROR;
}


static void
ngx_ws_bus_deflate_spaces(ngx_ws_bus_deflate_scan_t *s)
{
    while (s->pos < s->last && (*s->pos == ' ' || *s->pos == '\t')) {
        s->pos++;
    }
}


/* one byte more than is of use is kept, to tell "15" from "150" */

static void
ngx_ws_bus_deflate_append(ngx_ws_bus_deflate_param_t *param, u_char ch)
{
    if (param->len <= NGX_WS_BUS_DEFLATE_VALUE) {
        param->value[param->len++] = ch;
    }
}


u_char *
ngx_ws_bus_deflate_answer(const ngx_ws_bus_deflate_t *d, u_char *p)
{
    p = ngx_cpymem(p, "permessage-deflate; server_no_context_takeover"
                      "; client_no_context_takeover",
                   sizeof("permessage-deflate; server_no_context_takeover"
                          "; client_no_context_takeover") - 1);

    if (d->say_server_bits) {
        p = ngx_cpymem(p, "; server_max_window_bits=",
                       sizeof("; server_max_window_bits=") - 1);
        p = ngx_ws_bus_deflate_put_bits(p, d->server_bits);
    }

    if (d->say_client_bits) {
        p = ngx_cpymem(p, "; client_max_window_bits=",
                       sizeof("; client_max_window_bits=") - 1);
        p = ngx_ws_bus_deflate_put_bits(p, d->client_bits);
    }

    return p;
}


static u_char *
ngx_ws_bus_deflate_put_bits(u_char *p, ngx_uint_t bits)
{
    if (bits >= 10) {
        *p++ = (u_char) ('0' + bits / 10);
    }

    *p++ = (u_char) ('0' + bits % 10);

    return p;
}


ngx_int_t
ngx_ws_bus_deflate_message(z_stream *z, const u_char *in, size_t len,
    u_char **pos)
{
    size_t  bound;

    bound = ngx_ws_bus_deflate_bound(len);

    if (len >= NGX_WS_BUS_DEFLATE_PART || deflateReset(z) != Z_OK) {
        return NGX_ERROR;
    }

    z->next_in = (u_char *) in;
    z->avail_in = (uInt) len;
    z->next_out = *pos;
    z->avail_out = (uInt) bound;

    if (deflate(z, Z_SYNC_FLUSH) != Z_OK
        || z->avail_in != 0
        || z->avail_out == 0)
    {
        return NGX_ERROR;
    }

    *pos = z->next_out - sizeof(ngx_ws_bus_deflate_tail);

    return NGX_OK;
}


/*
 * A fixed Huffman code takes 9 bits for a byte at worst, a block of 127 bytes
 * (the smallest, with memLevel 1) 10 bits more; the rest is the flush.
 */

size_t
ngx_ws_bus_deflate_bound(size_t len)
{
    return len + (len >> 3) + (len >> 6) + 32;
}


ngx_int_t
ngx_ws_bus_deflate_inflate(z_stream *z, const u_char *in, size_t in_len,
    u_char **out, size_t *size, size_t max, size_t *len,
    const ngx_ws_bus_error_t **error)
{
    ngx_ws_bus_deflate_out_t  o;

    o.z = z;
    o.out = out;
    o.size = size;
    o.max = max;
    o.len = 0;

    if (inflateReset(z) != Z_OK) {
        *error = &ngx_ws_bus_deflate_err_internal;
        return NGX_ERROR;
    }

    if (in_len && ngx_ws_bus_deflate_whole(&o, in, in_len) != NGX_OK) {
        *error = o.error;
        return NGX_ERROR;
    }

    *len = o.len;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_deflate_whole(ngx_ws_bus_deflate_out_t *o, const u_char *in,
    size_t in_len)
{
    ngx_int_t  rc;

    rc = ngx_ws_bus_deflate_feed(o, in, in_len);

    if (rc == NGX_DONE) {

        /* a final block needs no tail */

        return NGX_OK;
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_deflate_feed(o, ngx_ws_bus_deflate_tail,
                                     sizeof(ngx_ws_bus_deflate_tail));
    }

    /*
     * A message ends between two blocks, on a byte's boundary: zlib shows it
     * as 128 and no unused bits.
     */

    if (rc == NGX_OK && (o->z->data_type & 0xff) != 0x80) {
        o->error = &ngx_ws_bus_deflate_err_data;
        return NGX_ERROR;
    }

    return (rc == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


/*
 * NGX_OK     all of the input was taken
 * NGX_DONE   the same, and its last byte ended a final block
 * NGX_ERROR  o->error says why
 */

static ngx_int_t
ngx_ws_bus_deflate_feed(ngx_ws_bus_deflate_out_t *o, const u_char *in,
    size_t in_len)
{
    size_t      n;
    ngx_int_t   rc;
    z_stream   *z;

    z = o->z;
    rc = NGX_OK;

    while (in_len) {
        n = ngx_min(in_len, NGX_WS_BUS_DEFLATE_PART);

        z->next_in = (u_char *) in;
        z->avail_in = (uInt) n;

        rc = ngx_ws_bus_deflate_step(o);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        in += n - z->avail_in;
        in_len -= n - z->avail_in;

        /* another stream follows a final block */

        if (rc == NGX_DONE && in_len && inflateReset(z) != Z_OK) {
            o->error = &ngx_ws_bus_deflate_err_internal;
            return NGX_ERROR;
        }
    }

    return rc;
}


/*
 * Inflates until the input is used up, NGX_OK, or a final block ends,
 * NGX_DONE.
 */

static ngx_int_t
ngx_ws_bus_deflate_step(ngx_ws_bus_deflate_out_t *o)
{
    int        rc;
    u_char     over;
    size_t     room;
    z_stream  *z;

    z = o->z;

    for ( ;; ) {

        if (o->len < o->max) {

            if (o->len == *o->size && ngx_ws_bus_deflate_grow(o) != NGX_OK) {
                o->error = &ngx_ws_bus_deflate_err_internal;
                return NGX_ERROR;
            }

            room = ngx_min(*o->size, o->max) - o->len;
            room = ngx_min(room, NGX_WS_BUS_DEFLATE_PART);

            z->next_out = *o->out + o->len;
            z->avail_out = (uInt) room;

        } else {

            /* nothing but the end may follow, one byte more is too many */

            room = 0;

            z->next_out = &over;
            z->avail_out = 1;
        }

        rc = inflate(z, Z_SYNC_FLUSH);

        if (room) {
            o->len += room - z->avail_out;

        } else if (z->avail_out == 0) {
            o->error = &ngx_ws_bus_deflate_err_big;
            return NGX_ERROR;
        }

        switch (rc) {

        case Z_STREAM_END:
            return NGX_DONE;

        case Z_OK:
        case Z_BUF_ERROR:
            break;

        case Z_DATA_ERROR:
            o->error = &ngx_ws_bus_deflate_err_data;
            return NGX_ERROR;

        default:
            o->error = &ngx_ws_bus_deflate_err_internal;
            return NGX_ERROR;
        }

        /* where no room is left, there may be more output */

        if (z->avail_out) {
            return NGX_OK;
        }
    }
}


static ngx_int_t
ngx_ws_bus_deflate_grow(ngx_ws_bus_deflate_out_t *o)
{
    u_char  *p;
    size_t   size;

    size = ngx_max(*o->size * 2, NGX_WS_BUS_DEFLATE_CHUNK);
    size = ngx_min(size, o->max);

    p = realloc(*o->out, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *o->out = p;
    *o->size = size;

    return NGX_OK;
}
