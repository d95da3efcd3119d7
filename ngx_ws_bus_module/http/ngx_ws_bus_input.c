
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/* the first piece of a message that comes in pieces */
#define NGX_WS_BUS_INPUT_SIZE   1024

/* an inflated message up to this size uses a buffer that stays */
#define NGX_WS_BUS_INPUT_KEEP   (256 * 1024)

/* what deflate may add to a message that it cannot compress */
#define ngx_ws_bus_input_slack(size)  ((size) / 1024 + 128)


static ngx_int_t ngx_ws_bus_input_start(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_input_data(ngx_ws_bus_session_t *s, u_char *p,
    size_t n);
static ngx_int_t ngx_ws_bus_input_control(ngx_ws_bus_session_t *s, u_char *p,
    size_t n);
static ngx_int_t ngx_ws_bus_input_append(ngx_ws_bus_session_t *s, u_char *p,
    size_t n);
static ngx_int_t ngx_ws_bus_input_message(ngx_ws_bus_session_t *s,
    u_char *data, size_t len);
static ngx_int_t ngx_ws_bus_input_inflate(ngx_ws_bus_session_t *s,
    u_char **data, size_t *len);
static ngx_int_t ngx_ws_bus_input_fail(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_error_t *error);


static const ngx_ws_bus_error_t  ngx_ws_bus_too_big =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_TOO_BIG, "message too big");

static const ngx_ws_bus_error_t  ngx_ws_bus_bad_utf8 =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_BAD_DATA, "text is not valid UTF-8");

static const ngx_ws_bus_error_t  ngx_ws_bus_no_memory =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "no memory");


/* one inflate stream a worker: nobody's context is taken over */
static z_stream  *ngx_ws_bus_inflate;
static u_char    *ngx_ws_bus_inflated;
static size_t     ngx_ws_bus_inflated_size;


ngx_int_t
ngx_ws_bus_input(ngx_ws_bus_session_t *s, u_char *pos, u_char *last)
{
    size_t               n;
    ngx_int_t            rc;
    ngx_ws_bus_frame_t  *f;

    f = &s->frame;

    while (pos < last) {

        if (!f->complete) {

            rc = ngx_ws_bus_frame_head(f, &pos, last);

            if (rc == NGX_AGAIN) {
                return NGX_OK;
            }

            if (rc == NGX_ERROR) {
                return ngx_ws_bus_input_fail(s, f->error);
            }

            if (!ngx_ws_bus_op_is_control(f->opcode)
                && ngx_ws_bus_input_start(s) != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        n = last - pos;

        if (n > f->len - f->got) {
            n = f->len - f->got;
        }

        if (n == 0 && f->len) {
            return NGX_OK;
        }

        if (ngx_ws_bus_op_is_control(f->opcode)) {
            rc = ngx_ws_bus_input_control(s, pos, n);

        } else {
            rc = ngx_ws_bus_input_data(s, pos, n);
        }

        pos += n;

        if (rc == NGX_AGAIN) {
            return ngx_ws_bus_limit_keep(s, pos, last);
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        if (s->joining && pos < last) {
            return ngx_ws_bus_auth_keep(s, pos, last);
        }
    }

    return NGX_OK;
}


/*
 * A data frame begins: its length is judged before a byte of it is taken.
 */

static ngx_int_t
ngx_ws_bus_input_start(ngx_ws_bus_session_t *s)
{
    uint64_t             limit;
    ngx_ws_bus_frame_t  *f;

    f = &s->frame;

    if (f->opcode != NGX_WS_BUS_OP_CONTINUATION) {

        s->opcode = f->opcode;
        s->compressed = f->rsv1;
        s->utf8 = NGX_WS_BUS_UTF8_START;

        if (!s->pending && s->protocol->may_send(s) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    limit = s->message_max;

    if (s->compressed) {
        limit += ngx_ws_bus_input_slack(limit);
    }

    if (s->message_len > limit || f->len > limit - s->message_len) {
        return ngx_ws_bus_input_fail(s, &ngx_ws_bus_too_big);
    }

    f->fragmented = !f->fin;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_input_data(ngx_ws_bus_session_t *s, u_char *p, size_t n)
{
    u_char              *data;
    size_t               len;
    ngx_int_t            rc;
    ngx_uint_t           fin;
    ngx_ws_bus_frame_t  *f;

    f = &s->frame;

    ngx_ws_bus_frame_unmask(p, p, n, f->mask, f->got);

    f->got += n;

    if (s->opcode == NGX_WS_BUS_OP_TEXT && !s->compressed
        && ngx_ws_bus_utf8(&s->utf8, p, n) != NGX_OK)
    {
        return ngx_ws_bus_input_fail(s, &ngx_ws_bus_bad_utf8);
    }

    data = p;
    len = n;

    if (f->got < f->len || !f->fin || s->message_len) {

        if (ngx_ws_bus_input_append(s, p, n) != NGX_OK) {
            return ngx_ws_bus_input_fail(s, &ngx_ws_bus_no_memory);
        }

        data = s->message;
        len = s->message_len;
    }

    if (f->got < f->len) {
        return NGX_OK;
    }

    fin = f->fin;

    ngx_ws_bus_frame_next(f);

    if (!fin) {
        return NGX_OK;
    }

    rc = ngx_ws_bus_input_message(s, data, len);

    if (s->message) {
        ngx_free(s->message);

        s->message = NULL;
        s->message_len = 0;
        s->message_size = 0;
    }

    return rc;
}


static ngx_int_t
ngx_ws_bus_input_append(ngx_ws_bus_session_t *s, u_char *p, size_t n)
{
    u_char  *message;
    size_t   size, need, max;

    if (n == 0) {
        return NGX_OK;
    }

    need = s->message_len + n;

    if (need > s->message_size) {

        /* grows with what arrives, not with what is announced */

        max = s->message_max + ngx_ws_bus_input_slack(s->message_max);

        size = ngx_max(s->message_size * 2, NGX_WS_BUS_INPUT_SIZE);
        size = ngx_min(size, max);
        size = ngx_max(size, need);

        message = ngx_alloc(size, s->connection->log);
        if (message == NULL) {
            return NGX_ERROR;
        }

        if (s->message) {
            ngx_memcpy(message, s->message, s->message_len);
            ngx_free(s->message);
        }

        s->message = message;
        s->message_size = size;
    }

    ngx_memcpy(s->message + s->message_len, p, n);
    s->message_len = need;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_input_control(ngx_ws_bus_session_t *s, u_char *p, size_t n)
{
    u_char                    *data;
    size_t                     len;
    ngx_str_t                  reason;
    ngx_uint_t                 opcode, code;
    ngx_ws_bus_frame_t        *f;
    const ngx_ws_bus_error_t  *error;

    f = &s->frame;

    ngx_ws_bus_frame_unmask(p, p, n, f->mask, f->got);

    data = p;

    if (n < f->len) {

        if (s->control == NULL) {
            s->control = ngx_alloc(NGX_WS_BUS_CONTROL_MAX, s->connection->log);
            if (s->control == NULL) {
                return ngx_ws_bus_input_fail(s, &ngx_ws_bus_no_memory);
            }
        }

        ngx_memcpy(s->control + f->got, p, n);
        data = s->control;
    }

    f->got += n;

    if (f->got < f->len) {
        return NGX_OK;
    }

    opcode = f->opcode;
    len = f->len;

    ngx_ws_bus_frame_next(f);

    switch (opcode) {

    case NGX_WS_BUS_OP_PING:
        ngx_ws_bus_session_pong(s, data, len);
        return NGX_OK;

    case NGX_WS_BUS_OP_CLOSE:

        if (ngx_ws_bus_frame_read_close(data, len, &code, &reason, &error)
            != NGX_OK)
        {
            return ngx_ws_bus_input_fail(s, error);
        }

        ngx_ws_bus_session_closed(s, code);
        return NGX_ERROR;

    default: /* NGX_WS_BUS_OP_PONG: it has been noticed as activity */
        return NGX_OK;
    }
}


static ngx_int_t
ngx_ws_bus_input_message(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ngx_int_t  rc;

    if (s->compressed) {
        if (ngx_ws_bus_input_inflate(s, &data, &len) != NGX_OK) {
            return NGX_ERROR;
        }

        if (s->opcode == NGX_WS_BUS_OP_TEXT
            && !ngx_ws_bus_utf8_valid(data, len))
        {
            return ngx_ws_bus_input_fail(s, &ngx_ws_bus_bad_utf8);
        }

    } else if (s->opcode == NGX_WS_BUS_OP_TEXT
               && s->utf8 != NGX_WS_BUS_UTF8_START)
    {
        return ngx_ws_bus_input_fail(s, &ngx_ws_bus_bad_utf8);
    }

    /*
     * What was on its way when we said goodbye for reasons of our own is
     * still taken; a client that was thrown out is not heard any more.
     */

    if (s->close_sent && s->close_code != NGX_WS_BUS_CLOSE_GOING_AWAY) {
        return NGX_OK;
    }

    s->messages_in++;
    s->bytes_in += len;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, s->connection->log, 0,
                   "ws bus message op:%ud len:%uz compressed:%ud",
                   (unsigned) s->opcode, len, (unsigned) s->compressed);

    rc = s->limit ? ngx_ws_bus_limit_message(s, data, len) : NGX_OK;

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_input_take(s, s->opcode, data, len);

    } else if (rc == NGX_DECLINED) {
        rc = NGX_OK;
    }

    if (ngx_ws_bus_inflated_size > NGX_WS_BUS_INPUT_KEEP) {
        ngx_free(ngx_ws_bus_inflated);
        ngx_ws_bus_inflated = NULL;
        ngx_ws_bus_inflated_size = 0;
    }

    return rc;
}


ngx_int_t
ngx_ws_bus_input_take(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    return s->pending ? ngx_ws_bus_auth_first(s, opcode, data, len)
                      : s->protocol->message(s, opcode, data, len);
}


static ngx_int_t
ngx_ws_bus_input_inflate(ngx_ws_bus_session_t *s, u_char **data, size_t *len)
{
    const ngx_ws_bus_error_t  *error;

    if (ngx_ws_bus_inflate == NULL) {

        ngx_ws_bus_inflate = ngx_calloc(sizeof(z_stream), s->connection->log);
        if (ngx_ws_bus_inflate == NULL) {
            return ngx_ws_bus_input_fail(s, &ngx_ws_bus_no_memory);
        }

        if (inflateInit2(ngx_ws_bus_inflate, -15) != Z_OK) {
            ngx_free(ngx_ws_bus_inflate);
            ngx_ws_bus_inflate = NULL;
            return ngx_ws_bus_input_fail(s, &ngx_ws_bus_no_memory);
        }
    }

    if (ngx_ws_bus_deflate_inflate(ngx_ws_bus_inflate, *data, *len,
                                   &ngx_ws_bus_inflated,
                                   &ngx_ws_bus_inflated_size,
                                   s->message_max, len, &error)
        != NGX_OK)
    {
        return ngx_ws_bus_input_fail(s, error);
    }

    *data = ngx_ws_bus_inflated;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_input_fail(ngx_ws_bus_session_t *s, const ngx_ws_bus_error_t *error)
{
    ngx_ws_bus_session_fail(s, error);

    return NGX_ERROR;
}
