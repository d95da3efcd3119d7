
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/* a scratch buffer up to this size stays */
#define NGX_WS_BUS_FORMAT_KEEP  (256 * 1024)
#define NGX_WS_BUS_FORMAT_SIZE  1024


/*
 * A protocol's message in a WebSocket frame, compressed or not.
 */

typedef struct ngx_ws_bus_ws_format_s  ngx_ws_bus_ws_format_t;

struct ngx_ws_bus_ws_format_s {
    ngx_ws_bus_format_t      base;
    ngx_ws_bus_ws_format_t  *next;
    ngx_ws_bus_compose_pt    compose;
    ngx_uint_t               bits;         /* 0: not compressed */
    ngx_int_t                level;
    size_t                   min_length;
    z_stream                *z;
};


static ngx_int_t ngx_ws_bus_format_init(ngx_ws_bus_ws_format_t *f,
    ngx_log_t *log);
static ngx_int_t ngx_ws_bus_format_encode(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node, uint64_t epoch,
    ngx_ws_bus_record_t *rec, u_char *payload);
static ngx_int_t ngx_ws_bus_format_deflate(ngx_ws_bus_ws_format_t *f,
    ngx_ws_bus_run_t *run, ngx_ws_bus_composed_t *m);


/* there are few: one for each combination in use */
static ngx_ws_bus_ws_format_t  *ngx_ws_bus_formats;

static u_char                  *ngx_ws_bus_scratch[2];
static size_t                   ngx_ws_bus_scratch_size[2];


ngx_ws_bus_format_t *
ngx_ws_bus_format_get(ngx_ws_bus_compose_pt compose,
    ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_deflate_t *d, ngx_log_t *log)
{
    size_t                   min_length;
    ngx_int_t                level;
    ngx_uint_t               bits;
    ngx_ws_bus_ws_format_t  *f;

    bits = d ? d->server_bits : 0;
    level = d ? conf->deflate_level : 0;
    min_length = d ? conf->deflate_min_length : 0;

    for (f = ngx_ws_bus_formats; f; f = f->next) {
        if (f->compose == compose
            && f->bits == bits
            && f->level == level
            && f->min_length == min_length)
        {
            return &f->base;
        }
    }

    f = ngx_calloc(sizeof(ngx_ws_bus_ws_format_t), log);
    if (f == NULL) {
        return NULL;
    }

    f->base.encode = ngx_ws_bus_format_encode;
    f->compose = compose;
    f->bits = bits;
    f->level = level;
    f->min_length = min_length;

    if (bits && ngx_ws_bus_format_init(f, log) != NGX_OK) {
        ngx_free(f);
        return NULL;
    }

    f->next = ngx_ws_bus_formats;
    ngx_ws_bus_formats = f;

    return &f->base;
}


static ngx_int_t
ngx_ws_bus_format_init(ngx_ws_bus_ws_format_t *f, ngx_log_t *log)
{
    f->z = ngx_calloc(sizeof(z_stream), log);
    if (f->z == NULL) {
        return NGX_ERROR;
    }

    if (deflateInit2(f->z, (int) f->level, Z_DEFLATED, -(int) f->bits, 8,
                     Z_DEFAULT_STRATEGY)
        == Z_OK)
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ALERT, log, 0, "deflateInit2() failed");

    ngx_free(f->z);

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_format_encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    ngx_int_t                rc;
    ngx_ws_bus_composed_t    m;
    ngx_ws_bus_ws_format_t  *f;

    f = (ngx_ws_bus_ws_format_t *) format;

    rc = f->compose(node, rec, payload, &m);
    if (rc != NGX_OK) {
        return rc;
    }

    if (f->bits && rec->len >= f->min_length) {
        rc = ngx_ws_bus_format_deflate(f, run, &m);

    } else {
        rc = ngx_ws_bus_format_frame(run, m.opcode, m.data, m.len);
    }

    ngx_ws_bus_format_shrink();

    return rc;
}


ngx_int_t
ngx_ws_bus_format_frame(ngx_ws_bus_run_t *run, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    u_char  *p;

    p = ngx_ws_bus_run_reserve(run, NGX_WS_BUS_FRAME_HEAD_OUT + len,
                               ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p = ngx_ws_bus_frame_write(p, opcode, 0, len);
    p = ngx_cpymem(p, data, len);

    run->len = p - run->data;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_format_deflate(ngx_ws_bus_ws_format_t *f, ngx_ws_bus_run_t *run,
    ngx_ws_bus_composed_t *m)
{
    u_char  *p, *body, *last;
    size_t   len;

    p = ngx_ws_bus_run_reserve(run, NGX_WS_BUS_FRAME_HEAD_OUT
                                    + ngx_ws_bus_deflate_bound(m->len),
                               ngx_cycle->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* the length of the header is known only behind the body */

    body = p + NGX_WS_BUS_FRAME_HEAD_OUT;
    last = body;

    if (ngx_ws_bus_deflate_message(f->z, m->data, m->len, &last) != NGX_OK) {
        return NGX_ERROR;
    }

    len = last - body;

    if (len >= m->len) {
        return ngx_ws_bus_format_frame(run, m->opcode, m->data, m->len);
    }

    p = ngx_ws_bus_frame_write(p, m->opcode, NGX_WS_BUS_RSV1, len);
    p = ngx_movemem(p, body, len);

    run->len = p - run->data;

    return NGX_OK;
}


u_char *
ngx_ws_bus_format_scratch(ngx_uint_t i, size_t size)
{
    if (size <= ngx_ws_bus_scratch_size[i]) {
        return ngx_ws_bus_scratch[i];
    }

    if (ngx_ws_bus_scratch[i]) {
        ngx_free(ngx_ws_bus_scratch[i]);
    }

    size = ngx_max(size, NGX_WS_BUS_FORMAT_SIZE);

    ngx_ws_bus_scratch[i] = ngx_alloc(size, ngx_cycle->log);
    ngx_ws_bus_scratch_size[i] = ngx_ws_bus_scratch[i] ? size : 0;

    return ngx_ws_bus_scratch[i];
}


void
ngx_ws_bus_format_shrink(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 2; i++) {

        if (ngx_ws_bus_scratch_size[i] > NGX_WS_BUS_FORMAT_KEEP) {
            ngx_free(ngx_ws_bus_scratch[i]);
            ngx_ws_bus_scratch[i] = NULL;
            ngx_ws_bus_scratch_size[i] = 0;
        }
    }
}
