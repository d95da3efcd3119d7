
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_envelope.h"
#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_ENVELOPE_TEXT                                              \
    (NGX_WS_BUS_ENVELOPE_JSON|NGX_WS_BUS_ENVELOPE_STRING)

#define NGX_WS_BUS_ENVELOPE_PAYLOAD                                           \
    (NGX_WS_BUS_ENVELOPE_BINARY|NGX_WS_BUS_ENVELOPE_TEXT)

#define NGX_WS_BUS_ENVELOPE_PLACE                                             \
    (NGX_WS_BUS_ENVELOPE_SEQ|NGX_WS_BUS_ENVELOPE_PREV)

#define NGX_WS_BUS_ENVELOPE_KNOWN                                             \
    (NGX_WS_BUS_ENVELOPE_PAYLOAD|NGX_WS_BUS_ENVELOPE_PLACE                    \
     |NGX_WS_BUS_ENVELOPE_DELETED)


static ngx_int_t ngx_ws_bus_envelope_plain(ngx_ws_bus_envelope_t *e,
    u_char *p, size_t len);
static ngx_uint_t ngx_ws_bus_envelope_flags_valid(ngx_uint_t flags);
static ngx_int_t ngx_ws_bus_envelope_place(ngx_ws_bus_envelope_t *e,
    u_char **pos, u_char *last);
static ngx_int_t ngx_ws_bus_envelope_varint(uint64_t *n, u_char **pos,
    u_char *last);
static ngx_int_t ngx_ws_bus_envelope_epoch(uint64_t *n, u_char **pos,
    u_char *last);
static size_t ngx_ws_bus_envelope_varint_size(uint64_t n);
static u_char *ngx_ws_bus_envelope_varint_write(u_char *p, uint64_t n);
static u_char *ngx_ws_bus_envelope_epoch_write(u_char *p, uint64_t n);


static const u_char  ngx_ws_bus_envelope_magic[] = {
    0xff, 'w', 'b', NGX_WS_BUS_ENVELOPE_VERSION
};


size_t
ngx_ws_bus_envelope_size(const ngx_ws_bus_envelope_t *e)
{
    size_t  size;

    size = sizeof(ngx_ws_bus_envelope_magic) + 1;

    if (e->flags & NGX_WS_BUS_ENVELOPE_SEQ) {
        size += 8 + ngx_ws_bus_envelope_varint_size(e->seq);
    }

    if (e->flags & NGX_WS_BUS_ENVELOPE_PREV) {
        size += 8 + ngx_ws_bus_envelope_varint_size(e->base);
    }

    return size + ngx_ws_bus_envelope_varint_size(e->time)
           + ngx_ws_bus_envelope_varint_size(e->age) + e->payload.len;
}


u_char *
ngx_ws_bus_envelope_head(u_char *p, const ngx_ws_bus_envelope_t *e)
{
    p = ngx_cpymem(p, ngx_ws_bus_envelope_magic,
                   sizeof(ngx_ws_bus_envelope_magic));

    *p++ = (u_char) e->flags;

    if (e->flags & NGX_WS_BUS_ENVELOPE_SEQ) {
        p = ngx_ws_bus_envelope_epoch_write(p, e->epoch);
        p = ngx_ws_bus_envelope_varint_write(p, e->seq);
    }

    if (e->flags & NGX_WS_BUS_ENVELOPE_PREV) {
        p = ngx_ws_bus_envelope_epoch_write(p, e->prev);
        p = ngx_ws_bus_envelope_varint_write(p, e->base);
    }

    p = ngx_ws_bus_envelope_varint_write(p, e->time);

    return ngx_ws_bus_envelope_varint_write(p, e->age);
}


u_char *
ngx_ws_bus_envelope_write(u_char *p, const ngx_ws_bus_envelope_t *e)
{
    p = ngx_ws_bus_envelope_head(p, e);

    if (e->payload.len) {
        p = ngx_cpymem(p, e->payload.data, e->payload.len);
    }

    return p;
}


ngx_int_t
ngx_ws_bus_envelope_read(ngx_ws_bus_envelope_t *e, u_char *p, size_t len)
{
    u_char  *last;

    ngx_memzero(e, sizeof(ngx_ws_bus_envelope_t));

    if (len < 3 || ngx_memcmp(p, ngx_ws_bus_envelope_magic, 3) != 0) {
        return ngx_ws_bus_envelope_plain(e, p, len);
    }

    if (len < sizeof(ngx_ws_bus_envelope_magic) + 1) {
        return NGX_ERROR;
    }

    last = p + len;
    p += 3;

    if (*p++ != NGX_WS_BUS_ENVELOPE_VERSION) {
        return NGX_DECLINED;
    }

    e->flags = *p++;

    if (e->flags & ~NGX_WS_BUS_ENVELOPE_KNOWN) {
        return NGX_DECLINED;
    }

    if (!ngx_ws_bus_envelope_flags_valid(e->flags)
        || ngx_ws_bus_envelope_place(e, &p, last) != NGX_OK
        || ngx_ws_bus_envelope_varint(&e->time, &p, last) != NGX_OK
        || ngx_ws_bus_envelope_varint(&e->age, &p, last) != NGX_OK)
    {
        return NGX_ERROR;
    }

    e->payload.data = p;
    e->payload.len = last - p;

    if (e->flags & NGX_WS_BUS_ENVELOPE_DELETED) {
        return e->payload.len ? NGX_ERROR : NGX_OK;
    }

    if (!(e->flags & NGX_WS_BUS_ENVELOPE_BINARY)
        && !ngx_ws_bus_utf8_valid(p, e->payload.len))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_envelope_plain(ngx_ws_bus_envelope_t *e, u_char *p, size_t len)
{
    e->plain = 1;
    e->payload.data = p;
    e->payload.len = len;

    if (len && !ngx_ws_bus_utf8_valid(p, len)) {
        e->flags = NGX_WS_BUS_ENVELOPE_BINARY;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_ws_bus_envelope_flags_valid(ngx_uint_t flags)
{
    ngx_uint_t  payload;

    if (flags & NGX_WS_BUS_ENVELOPE_DELETED) {
        return flags == NGX_WS_BUS_ENVELOPE_DELETED;
    }

    if ((flags & NGX_WS_BUS_ENVELOPE_PLACE) == NGX_WS_BUS_ENVELOPE_PREV) {
        return 0;
    }

    payload = flags & NGX_WS_BUS_ENVELOPE_PAYLOAD;

    return (payload & (payload - 1)) == 0;
}


/* the fields of SEQ and PREV, as far as the flags say that they are there */

static ngx_int_t
ngx_ws_bus_envelope_place(ngx_ws_bus_envelope_t *e, u_char **pos,
    u_char *last)
{
    if (!(e->flags & NGX_WS_BUS_ENVELOPE_SEQ)) {
        return NGX_OK;
    }

    if (ngx_ws_bus_envelope_epoch(&e->epoch, pos, last) != NGX_OK
        || ngx_ws_bus_envelope_varint(&e->seq, pos, last) != NGX_OK
        || e->seq == 0
        || e->seq > NGX_WS_BUS_ENVELOPE_SEQ_MAX)
    {
        return NGX_ERROR;
    }

    if (!(e->flags & NGX_WS_BUS_ENVELOPE_PREV)) {
        return NGX_OK;
    }

    if (ngx_ws_bus_envelope_epoch(&e->prev, pos, last) != NGX_OK
        || ngx_ws_bus_envelope_varint(&e->base, pos, last) != NGX_OK
        || e->base >= e->seq
        || e->prev == e->epoch)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_envelope_varint(uint64_t *n, u_char **pos, u_char *last)
{
    u_char      *p;
    uint64_t     value;
    ngx_uint_t   shift;

    value = 0;
    shift = 0;

    for (p = *pos; p < last; p++) {

        value |= (uint64_t) (*p & 0x7f) << shift;

        if (*p & 0x80) {
            shift += 7;

            if (shift > 63) {
                return NGX_ERROR;
            }

            continue;
        }

        /* the shortest form only, and the tenth byte has one bit */

        if ((*p == 0 && shift) || (shift == 63 && *p > 1)) {
            return NGX_ERROR;
        }

        *n = value;
        *pos = p + 1;

        return NGX_OK;
    }

    return NGX_ERROR;
}


/* 0 is no epoch */

static ngx_int_t
ngx_ws_bus_envelope_epoch(uint64_t *n, u_char **pos, u_char *last)
{
    u_char      *p;
    uint64_t     value;
    ngx_uint_t   i;

    p = *pos;

    if (last - p < 8) {
        return NGX_ERROR;
    }

    value = 0;

    for (i = 0; i < 8; i++) {
        value = value << 8 | *p++;
    }

    *n = value;
    *pos = p;

    return value ? NGX_OK : NGX_ERROR;
}


static size_t
ngx_ws_bus_envelope_varint_size(uint64_t n)
{
    size_t  size;

    for (size = 1; n >= 0x80; size++) {
        n >>= 7;
    }

    return size;
}


static u_char *
ngx_ws_bus_envelope_varint_write(u_char *p, uint64_t n)
{
    while (n >= 0x80) {
        *p++ = (u_char) (n | 0x80);
        n >>= 7;
    }

    *p++ = (u_char) n;

    return p;
}


static u_char *
ngx_ws_bus_envelope_epoch_write(u_char *p, uint64_t n)
{
    ngx_int_t  shift;

    for (shift = 56; shift >= 0; shift -= 8) {
        *p++ = (u_char) (n >> shift);
    }

    return p;
}


ngx_int_t
ngx_ws_bus_envelope_follows(const ngx_ws_bus_envelope_t *e, uint64_t epoch,
    uint64_t seq)
{
    if (e->epoch == epoch) {

        if (e->seq <= seq) {
            return NGX_DONE;
        }

    } else if (e->prev == 0 || e->prev != epoch || seq > e->base) {
        return NGX_DECLINED;
    }

    return (e->seq - 1 == seq) ? NGX_OK : NGX_AGAIN;
}


ngx_int_t
ngx_ws_bus_position_follows(const ngx_ws_bus_position_t *pos, uint64_t epoch,
    uint64_t seq)
{
    uint64_t  shared;

    /* so many messages are the same for Redis and for the host */

    if (pos->epoch == epoch) {
        shared = pos->seq;

    } else if (ngx_ws_bus_chain_base(&pos->chain, epoch, &shared) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (seq > shared) {
        return NGX_DECLINED;
    }

    return (seq == pos->seq) ? NGX_OK : NGX_AGAIN;
}
