
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_error.h"
#include "ngx_ws_bus_frame.h"
#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_FRAME_FIN         0x80
#define NGX_WS_BUS_FRAME_RSV         0x70
#define NGX_WS_BUS_FRAME_OPCODE      0x0f
#define NGX_WS_BUS_FRAME_MASKED      0x80
#define NGX_WS_BUS_FRAME_LEN         0x7f

/* values of the 7-bit length that announce a longer one */
#define NGX_WS_BUS_FRAME_LEN16       126
#define NGX_WS_BUS_FRAME_LEN64       127

#define NGX_WS_BUS_FRAME_MASK        4
#define NGX_WS_BUS_FRAME_HEAD_MIN    (2 + NGX_WS_BUS_FRAME_MASK)

#define NGX_WS_BUS_FRAME_REASON_MAX  (NGX_WS_BUS_CONTROL_MAX - 2)


static ngx_int_t ngx_ws_bus_frame_gather(ngx_ws_bus_frame_t *f, u_char **pos,
    u_char *last);
static ngx_int_t ngx_ws_bus_frame_parse(ngx_ws_bus_frame_t *f,
    const u_char *p, size_t n);
static ngx_int_t ngx_ws_bus_frame_first(ngx_ws_bus_frame_t *f, u_char first);
static ngx_int_t ngx_ws_bus_frame_second(ngx_ws_bus_frame_t *f, u_char first,
    u_char second);
static ngx_int_t ngx_ws_bus_frame_extended(ngx_ws_bus_frame_t *f,
    const u_char *p, size_t n);
static ngx_uint_t ngx_ws_bus_frame_code_valid(ngx_uint_t code);


static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_rsv =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL, "reserved bit set");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_rsv1 =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "compression bit not on the first frame of a message");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_opcode =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL, "unknown opcode");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_control_fin =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL, "fragmented control frame");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_control_len =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL, "control frame too long");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_continuation =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "continuation without a message to continue");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_fragmented =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "new message inside a fragmented one");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_unmasked =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL, "frame is not masked");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_len_minimal =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "payload length is not in its shortest form");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_len_top =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "payload length has its top bit set");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_close_len =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "close frame with half a status code");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_close_code =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_PROTOCOL,
                     "close frame with an invalid status code");

static const ngx_ws_bus_error_t  ngx_ws_bus_frame_err_close_utf8 =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_BAD_DATA,
                     "close frame with a reason that is not UTF-8");


ngx_int_t
ngx_ws_bus_frame_head(ngx_ws_bus_frame_t *f, u_char **pos, u_char *last)
{
    /* nearly always the whole header is in the buffer */

    if (f->have == 0
        && last - *pos >= NGX_WS_BUS_FRAME_HEAD_MIN
        && ngx_ws_bus_frame_parse(f, *pos, last - *pos) == NGX_OK)
    {
        *pos += ngx_ws_bus_frame_head_size(f->len) + NGX_WS_BUS_FRAME_MASK;
        return NGX_OK;
    }

    return ngx_ws_bus_frame_gather(f, pos, last);
}


static ngx_int_t
ngx_ws_bus_frame_gather(ngx_ws_bus_frame_t *f, u_char **pos, u_char *last)
{
    size_t     n;
    ngx_int_t  rc;

    n = last - *pos;

    if (n == 0) {
        return NGX_AGAIN;
    }

    n = ngx_min(n, (size_t) NGX_WS_BUS_FRAME_HEAD_MAX - f->have);

    ngx_memcpy(f->head + f->have, *pos, n);

    rc = ngx_ws_bus_frame_parse(f, f->head, f->have + n);

    if (rc == NGX_OK) {
        *pos += ngx_ws_bus_frame_head_size(f->len) + NGX_WS_BUS_FRAME_MASK
                - f->have;

    } else if (rc == NGX_AGAIN) {
        f->have += n;
        *pos = last;
    }

    return rc;
}


/*
 * NGX_AGAIN means that n, at least 1, is less than the header, hence less
 * than NGX_WS_BUS_FRAME_HEAD_MAX.
 */

static ngx_int_t
ngx_ws_bus_frame_parse(ngx_ws_bus_frame_t *f, const u_char *p, size_t n)
{
    u_char     first, second;
    size_t     size;
    ngx_int_t  rc;

    first = p[0];

    if (ngx_ws_bus_frame_first(f, first) != NGX_OK) {
        return NGX_ERROR;
    }

    if (n < 2) {
        return NGX_AGAIN;
    }

    second = p[1];

    if (ngx_ws_bus_frame_second(f, first, second) != NGX_OK) {
        return NGX_ERROR;
    }

    f->len = second & NGX_WS_BUS_FRAME_LEN;
    size = 2;

    if (f->len >= NGX_WS_BUS_FRAME_LEN16) {
        size += (f->len == NGX_WS_BUS_FRAME_LEN16) ? 2 : 8;

        rc = ngx_ws_bus_frame_extended(f, p, n);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (n < size + NGX_WS_BUS_FRAME_MASK) {
        return NGX_AGAIN;
    }

    ngx_memcpy(f->mask, p + size, NGX_WS_BUS_FRAME_MASK);

    f->opcode = first & NGX_WS_BUS_FRAME_OPCODE;
    f->fin = (first & NGX_WS_BUS_FRAME_FIN) != 0;
    f->rsv1 = (first & NGX_WS_BUS_RSV1) != 0;
    f->complete = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_frame_first(ngx_ws_bus_frame_t *f, u_char first)
{
    ngx_uint_t  opcode;

    opcode = first & NGX_WS_BUS_FRAME_OPCODE;

    if (first & NGX_WS_BUS_FRAME_RSV & ~f->rsv_allowed) {
        f->error = &ngx_ws_bus_frame_err_rsv;
        return NGX_ERROR;
    }

    if ((opcode & 0x7) > NGX_WS_BUS_OP_BINARY) {
        f->error = &ngx_ws_bus_frame_err_opcode;
        return NGX_ERROR;
    }

    if ((first & NGX_WS_BUS_RSV1)
        && opcode != NGX_WS_BUS_OP_TEXT
        && opcode != NGX_WS_BUS_OP_BINARY)
    {
        f->error = &ngx_ws_bus_frame_err_rsv1;
        return NGX_ERROR;
    }

    if (ngx_ws_bus_op_is_control(opcode)) {

        if (!(first & NGX_WS_BUS_FRAME_FIN)) {
            f->error = &ngx_ws_bus_frame_err_control_fin;
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (f->fragmented) {

        if (opcode != NGX_WS_BUS_OP_CONTINUATION) {
            f->error = &ngx_ws_bus_frame_err_fragmented;
            return NGX_ERROR;
        }

    } else if (opcode == NGX_WS_BUS_OP_CONTINUATION) {
        f->error = &ngx_ws_bus_frame_err_continuation;
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_frame_second(ngx_ws_bus_frame_t *f, u_char first, u_char second)
{
    if (!(second & NGX_WS_BUS_FRAME_MASKED)) {
        f->error = &ngx_ws_bus_frame_err_unmasked;
        return NGX_ERROR;
    }

    if (ngx_ws_bus_op_is_control(first)
        && (second & NGX_WS_BUS_FRAME_LEN) > NGX_WS_BUS_CONTROL_MAX)
    {
        f->error = &ngx_ws_bus_frame_err_control_len;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Reads the 16-bit or 64-bit length into f->len, of which the 7-bit one is
 * given.
 */

static ngx_int_t
ngx_ws_bus_frame_extended(ngx_ws_bus_frame_t *f, const u_char *p, size_t n)
{
    uint64_t    len;
    ngx_uint_t  i;

    if (f->len == NGX_WS_BUS_FRAME_LEN16) {

        if (n < 4) {
            return NGX_AGAIN;
        }

        f->len = (p[2] << 8) | p[3];

        if (f->len < NGX_WS_BUS_FRAME_LEN16) {
            f->error = &ngx_ws_bus_frame_err_len_minimal;
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (n > 2 && (p[2] & 0x80)) {
        f->error = &ngx_ws_bus_frame_err_len_top;
        return NGX_ERROR;
    }

    len = 0;

    for (i = 2; i < 8; i++) {

        if (i == n) {
            return NGX_AGAIN;
        }

        len = (len << 8) | p[i];
    }

    /* without these six bytes 16 bits are enough */

    if (len == 0) {
        f->error = &ngx_ws_bus_frame_err_len_minimal;
        return NGX_ERROR;
    }

    if (n < 10) {
        return NGX_AGAIN;
    }

    f->len = (len << 16) | (p[8] << 8) | p[9];

    return NGX_OK;
}


void
ngx_ws_bus_frame_next(ngx_ws_bus_frame_t *f)
{
    f->got = 0;
    f->have = 0;
    f->complete = 0;
}


void
ngx_ws_bus_frame_unmask(u_char *dst, const u_char *src, size_t len,
    const u_char mask[4], uint64_t offset)
{
    u_char    twice[8], *m;
    size_t    i;
    uint32_t  half;
    uint64_t  key, w[4];

    ngx_memcpy(twice, mask, 4);
    ngx_memcpy(twice + 4, mask, 4);

    m = twice + (offset & 3);

    /* both halves are the same: byte order does not matter */

    ngx_memcpy(&half, m, 4);
    key = (uint64_t) half << 32 | half;

    while (len >= 32) {
        ngx_memcpy(w, src, 32);

        w[0] ^= key;
        w[1] ^= key;
        w[2] ^= key;
        w[3] ^= key;

        ngx_memcpy(dst, w, 32);

        src += 32;
        dst += 32;
        len -= 32;
    }

    while (len >= 8) {
        ngx_memcpy(w, src, 8);
        w[0] ^= key;
        ngx_memcpy(dst, w, 8);

        src += 8;
        dst += 8;
        len -= 8;
    }

    for (i = 0; i < len; i++) {
        dst[i] = src[i] ^ ((u_char *) &key)[i];
    }
}


size_t
ngx_ws_bus_frame_head_size(uint64_t len)
{
    if (len < NGX_WS_BUS_FRAME_LEN16) {
        return 2;
    }

    return (len <= 0xffff) ? 4 : 10;
}


u_char *
ngx_ws_bus_frame_write(u_char *p, ngx_uint_t opcode, ngx_uint_t rsv,
    uint64_t len)
{
    ngx_int_t  shift;

    *p++ = (u_char) (NGX_WS_BUS_FRAME_FIN | rsv | opcode);

    if (len < NGX_WS_BUS_FRAME_LEN16) {
        *p++ = (u_char) len;
        return p;
    }

    if (len <= 0xffff) {
        *p++ = NGX_WS_BUS_FRAME_LEN16;
        *p++ = (u_char) (len >> 8);
        *p++ = (u_char) len;
        return p;
    }

    *p++ = NGX_WS_BUS_FRAME_LEN64;

    for (shift = 56; shift >= 0; shift -= 8) {
        *p++ = (u_char) (len >> shift);
    }

    return p;
}


u_char *
ngx_ws_bus_frame_close(u_char *p, ngx_uint_t code, const ngx_str_t *reason)
{
    size_t  len;

    if (code == 0) {
        return ngx_ws_bus_frame_write(p, NGX_WS_BUS_OP_CLOSE, 0, 0);
    }

    len = reason->len;

    if (len > NGX_WS_BUS_FRAME_REASON_MAX) {
        len = NGX_WS_BUS_FRAME_REASON_MAX;

        while (len && (reason->data[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    p = ngx_ws_bus_frame_write(p, NGX_WS_BUS_OP_CLOSE, 0, 2 + len);

    *p++ = (u_char) (code >> 8);
    *p++ = (u_char) code;

    if (len) {
        p = ngx_cpymem(p, reason->data, len);
    }

    return p;
}


ngx_int_t
ngx_ws_bus_frame_read_close(u_char *data, size_t len, ngx_uint_t *code,
    ngx_str_t *reason, const ngx_ws_bus_error_t **error)
{
    if (len == 0) {
        *code = NGX_WS_BUS_CLOSE_NO_STATUS;
        reason->len = 0;
        reason->data = data;
        return NGX_OK;
    }

    if (len == 1) {
        *error = &ngx_ws_bus_frame_err_close_len;
        return NGX_ERROR;
    }

    *code = (data[0] << 8) | data[1];
    reason->len = len - 2;
    reason->data = data + 2;

    if (!ngx_ws_bus_frame_code_valid(*code)) {
        *error = &ngx_ws_bus_frame_err_close_code;
        return NGX_ERROR;
    }

    if (!ngx_ws_bus_utf8_valid(reason->data, reason->len)) {
        *error = &ngx_ws_bus_frame_err_close_utf8;
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_ws_bus_frame_code_valid(ngx_uint_t code)
{
    switch (code) {

    case 1000:
    case 1001:
    case 1002:
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 1010:
    case 1011:
    case 1012:
    case 1013:
    case 1014:
        return 1;

    default:
        return code >= 3000 && code <= 4999;
    }
}
