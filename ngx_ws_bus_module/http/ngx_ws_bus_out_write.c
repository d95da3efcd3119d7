
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


#define NGX_WS_BUS_OUT_IOVS   64

/* one TLS record */
#define NGX_WS_BUS_OUT_TLS    16384


static void ngx_ws_bus_out_join(ngx_ws_bus_session_t *s);
static ssize_t ngx_ws_bus_out_writev(ngx_ws_bus_session_t *s);


ssize_t
ngx_ws_bus_out_write(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_out_t  *out;

    if (s->out->next) {

        if (!s->tls) {
            return ngx_ws_bus_out_writev(s);
        }

        ngx_ws_bus_out_join(s);
    }

    out = s->out;

    return ngx_ws_bus_out_send(s, out->run->data + out->pos,
                               out->last - out->pos);
}


/*
 * For TLS, what fits into one record becomes one stretch, which stays until it
 * is written.  Without memory each goes alone.
 */

static void
ngx_ws_bus_out_join(ngx_ws_bus_session_t *s)
{
    u_char            *p;
    size_t             len;
    ngx_uint_t         n;
    ngx_ws_bus_out_t  *out;
    ngx_ws_bus_run_t  *run;

    len = 0;
    n = 0;

    for (out = s->out; out && out->run; out = out->next) {

        if (len + (out->last - out->pos) > NGX_WS_BUS_OUT_TLS) {
            break;
        }

        len += out->last - out->pos;
        n++;
    }

    if (n < 2 || s->trying) {
        return;
    }

    run = ngx_ws_bus_run_create(s->connection->log);
    if (run == NULL) {
        return;
    }

    p = ngx_ws_bus_run_reserve(run, len, s->connection->log);
    if (p == NULL) {
        ngx_ws_bus_run_release(run);
        return;
    }

    for ( ;; ) {
        out = s->out;
        p = ngx_cpymem(p, out->run->data + out->pos, out->last - out->pos);

        if (--n == 0) {
            break;
        }

        ngx_ws_bus_out_unlink(s, &s->out);
    }

    ngx_ws_bus_run_release(out->run);

    run->len = len;

    out->run = run;
    out->node = NULL;
    out->pos = 0;
    out->last = len;
}


/*
 * OpenSSL wants a write that did not go through repeated with the same bytes:
 * s->trying says how many of them must stay.
 */

ssize_t
ngx_ws_bus_out_send(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = s->connection;

    if (!s->tls) {
        return c->send(c, data, len);
    }

    if (s->trying == 0) {
        s->trying = ngx_min(len, NGX_WS_BUS_OUT_TLS);
    }

    n = c->send(c, data, s->trying);

    if (n > 0) {
        s->trying -= n;
    }

    return n;
}


static ssize_t
ngx_ws_bus_out_writev(ngx_ws_bus_session_t *s)
{
    ssize_t            n;
    ngx_iovec_t        vec;
    struct iovec       iovs[NGX_WS_BUS_OUT_IOVS];
    ngx_connection_t  *c;
    ngx_ws_bus_out_t  *out;

    c = s->connection;

    vec.iovs = iovs;
    vec.nalloc = NGX_WS_BUS_OUT_IOVS;
    vec.count = 0;
    vec.size = 0;

    for (out = s->out;
         out && out->run && vec.count < vec.nalloc;
         out = out->next)
    {
        iovs[vec.count].iov_base = out->run->data + out->pos;
        iovs[vec.count].iov_len = out->last - out->pos;
        vec.size += out->last - out->pos;
        vec.count++;
    }

    n = ngx_writev(c, &vec);

    if (n == NGX_ERROR) {
        c->write->error = 1;

    } else if (n < (ssize_t) vec.size) {
        c->write->ready = 0;
    }

    if (n > 0) {
        c->sent += n;
    }

    return n;
}
