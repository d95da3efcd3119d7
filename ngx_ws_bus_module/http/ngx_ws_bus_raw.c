
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/*
 * Raw mode: what a client sends is published as it is, and what arrives is
 * delivered as it is.
 */


typedef struct ngx_ws_bus_raw_format_s  ngx_ws_bus_raw_format_t;

struct ngx_ws_bus_raw_format_s {
    ngx_ws_bus_format_t       base;
    ngx_ws_bus_raw_format_t  *next;
    ngx_uint_t                bits;
    ngx_int_t                 level;
    size_t                    min_length;
    z_stream                  z;
};


static ngx_ws_bus_format_t *ngx_ws_bus_raw_get_format(
    ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_deflate_t *d, ngx_log_t *log);
static ngx_int_t ngx_ws_bus_raw_encode(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_record_t *rec, u_char *payload);
static ngx_int_t ngx_ws_bus_raw_encode_deflate(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_record_t *rec, u_char *payload);
static ngx_int_t ngx_ws_bus_raw_may_send(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_raw_message(ngx_ws_bus_session_t *s,
    ngx_uint_t opcode, u_char *data, size_t len);
static void ngx_ws_bus_raw_lost(ngx_ws_bus_session_t *s, uint64_t seq);


const ngx_ws_bus_protocol_t  ngx_ws_bus_raw = {
    ngx_string("raw"),
    ngx_ws_bus_raw_get_format,
    ngx_ws_bus_raw_may_send,
    ngx_ws_bus_raw_message,
    ngx_ws_bus_raw_lost
};


static ngx_ws_bus_format_t  ngx_ws_bus_raw_plain = {
    ngx_ws_bus_raw_encode
};

/* the compressing ones in use; there are few */
static ngx_ws_bus_raw_format_t  *ngx_ws_bus_raw_formats;


static ngx_ws_bus_format_t *
ngx_ws_bus_raw_get_format(ngx_ws_bus_loc_conf_t *conf,
    ngx_ws_bus_deflate_t *d, ngx_log_t *log)
{
    ngx_ws_bus_raw_format_t  *f;

    if (d == NULL) {
        return &ngx_ws_bus_raw_plain;
    }

    for (f = ngx_ws_bus_raw_formats; f; f = f->next) {
        if (f->bits == d->server_bits
            && f->level == conf->deflate_level
            && f->min_length == conf->deflate_min_length)
        {
            return &f->base;
        }
    }

    f = ngx_calloc(sizeof(ngx_ws_bus_raw_format_t), log);
    if (f == NULL) {
        return NULL;
    }

    f->base.encode = ngx_ws_bus_raw_encode_deflate;
    f->bits = d->server_bits;
    f->level = conf->deflate_level;
    f->min_length = conf->deflate_min_length;

    if (deflateInit2(&f->z, (int) f->level, Z_DEFLATED, -(int) f->bits, 8,
                     Z_DEFAULT_STRATEGY)
        != Z_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, log, 0, "deflateInit2() failed");
        ngx_free(f);
        return NULL;
    }

    f->next = ngx_ws_bus_raw_formats;
    ngx_ws_bus_raw_formats = f;

    return &f->base;
}


static ngx_int_t
ngx_ws_bus_raw_encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_record_t *rec, u_char *payload)
{
    u_char      *p;
    ngx_uint_t   opcode;

    (void) format;

    p = ngx_ws_bus_run_reserve(run, NGX_WS_BUS_FRAME_HEAD_OUT + rec->len,
                               ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    opcode = (rec->flags & NGX_WS_BUS_REC_BINARY) ? NGX_WS_BUS_OP_BINARY
                                                  : NGX_WS_BUS_OP_TEXT;

    p = ngx_ws_bus_frame_write(p, opcode, 0, rec->len);
    p = ngx_cpymem(p, payload, rec->len);

    run->len = p - run->data;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_raw_encode_deflate(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_record_t *rec, u_char *payload)
{
    u_char                   *p, *body, *last;
    size_t                    len;
    ngx_uint_t                opcode;
    ngx_ws_bus_raw_format_t  *f;

    f = (ngx_ws_bus_raw_format_t *) format;

    if (rec->len < f->min_length) {
        return ngx_ws_bus_raw_encode(format, run, rec, payload);
    }

    p = ngx_ws_bus_run_reserve(run, NGX_WS_BUS_FRAME_HEAD_OUT
                                    + ngx_ws_bus_deflate_bound(rec->len),
                               ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* the length of the header is known only behind the body */

    body = p + NGX_WS_BUS_FRAME_HEAD_OUT;
    last = body;

    if (ngx_ws_bus_deflate_message(&f->z, payload, rec->len, &last) != NGX_OK)
    {
        return NGX_ERROR;
    }

    len = last - body;

    if (len >= rec->len) {
        return ngx_ws_bus_raw_encode(format, run, rec, payload);
    }

    opcode = (rec->flags & NGX_WS_BUS_REC_BINARY) ? NGX_WS_BUS_OP_BINARY
                                                  : NGX_WS_BUS_OP_TEXT;

    p = ngx_ws_bus_frame_write(p, opcode, NGX_WS_BUS_RSV1, len);
    p = ngx_movemem(p, body, len);

    run->len = p - run->data;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_raw_may_send(ngx_ws_bus_session_t *s)
{
    static const ngx_ws_bus_error_t  forbidden =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_FORBIDDEN,
                         "publishing is not allowed here");

    if (s->publish) {
        return NGX_OK;
    }

    ngx_ws_bus_session_fail(s, &forbidden);

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_raw_message(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    ngx_ws_bus_place_t    place;
    ngx_ws_bus_message_t  msg;

    static const ngx_ws_bus_error_t  unavailable =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "cannot publish");

    msg.data = data;
    msg.len = len;
    msg.once = NULL;
    msg.age = (uint64_t) s->conf->history_age * 1000000;
    msg.binary = (opcode == NGX_WS_BUS_OP_BINARY);
    msg.keep = (s->conf->history != 0);

    if (ngx_ws_bus_hub_publish(s->hub, &s->sub, &s->channel, &msg, &place)
        == NGX_OK)
    {
        return NGX_OK;
    }

    ngx_ws_bus_session_fail(s, &unavailable);

    return NGX_ERROR;
}


static void
ngx_ws_bus_raw_lost(ngx_ws_bus_session_t *s, uint64_t seq)
{
    (void) seq;

    ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER, "messages lost");
}
