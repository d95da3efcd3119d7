
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_http.h"


/*
 * A session begins: with its handshake, or with its first message.
 */


static ngx_int_t ngx_ws_bus_begin_publish(ngx_http_request_t *r,
    ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_begin_member(ngx_http_request_t *r,
    ngx_ws_bus_session_t *s);


/*
 * The last point at which a client can be told by a status code.
 */

ngx_int_t
ngx_ws_bus_session_begin(ngx_ws_bus_session_t *s, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    ngx_int_t  rc;

    if (ngx_ws_bus_begin_publish(s->request, s) != NGX_OK
        || ngx_ws_bus_begin_member(s->request, s) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* keys of limits may be of the token, and the request may not last */

    if (s->stream == NULL
        && ngx_ws_bus_limit_create(s, s->connection->pool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_ws_bus_auth_apply(s);

    if (s->channel.len) {
        rc = ngx_ws_bus_session_subscribe(s, &s->channel, &s->sub, view);

        if (rc == NGX_ERROR) {
            ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                          "ws_bus_zone \"%V\" is full of channels in use",
                          &s->conf->zone->name);
            return NGX_DECLINED;
        }

        if (rc == NGX_OK) {
            rc = ngx_ws_bus_resume_refresh(s, &s->sub, resume, view);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_ws_bus_session_begun(s, resume, view);
}


ngx_int_t
ngx_ws_bus_session_begun(ngx_ws_bus_session_t *s, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    if (s->sub.group
        && ngx_ws_bus_resume(s, &s->sub, resume, view) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (s->protocol->open && s->protocol->open(s, resume, view) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_begin_publish(ngx_http_request_t *r, ngx_ws_bus_session_t *s)
{
    ngx_str_t  value;

    if (s->conf->publish == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, s->conf->publish, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    s->publish = !(value.len == 0
                   || (value.len == 1 && value.data[0] == '0')
                   || (value.len == 3
                       && ngx_strncmp(value.data, "off", 3) == 0));

    return NGX_OK;
}


/*
 * The name by which the client is present.  One that is empty, too long or
 * not UTF-8 is none.
 */

static ngx_int_t
ngx_ws_bus_begin_member(ngx_http_request_t *r, ngx_ws_bus_session_t *s)
{
    u_char     *p;
    ngx_str_t   value;

    if (s->conf->presence != NGX_WS_BUS_PRESENCE_MEMBERS) {
        return NGX_OK;
    }

    ngx_str_null(&value);

    if (s->conf->member) {
        if (ngx_http_complex_value(r, s->conf->member, &value) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (s->auth) {
        value = s->auth->jwt.sub;
    }

    if (value.len == 0 || value.len > NGX_WS_BUS_MEMBER_MAX
        || !ngx_ws_bus_utf8_valid(value.data, value.len))
    {
        return NGX_OK;
    }

    /* it may outlive the request */

    p = ngx_pnalloc(s->stream ? r->pool : r->connection->pool, value.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, value.data, value.len);

    s->member.data = p;
    s->member.len = value.len;

    return NGX_OK;
}
