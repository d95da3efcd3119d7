
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_http.h"


ngx_int_t
ngx_ws_bus_respond(ngx_http_request_t *r, ngx_uint_t status, const char *text)
{
    size_t      len;
    ngx_int_t   rc;
    ngx_buf_t  *b;

    /* a body that waits for "100 Continue" is not asked for any more */

    if (r->headers_in.expect && !r->expect_tested) {
        r->expect_tested = 1;
        r->keepalive = 0;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (status == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) {
        r->keepalive = 0;
    }

    len = ngx_strlen(text);

    b = ngx_create_temp_buf(r->pool, len + 1);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, text, len);
    *b->last++ = LF;

    if (status == NGX_WS_BUS_UPGRADE_REQUIRED) {
        /* nginx has no text for it */
        ngx_str_set(&r->headers_out.status_line, "426 Upgrade Required");
    }

    ngx_ws_bus_content_type(r, "text/plain");

    return ngx_ws_bus_send(r, status, b);
}


ngx_int_t
ngx_ws_bus_send(ngx_http_request_t *r, ngx_uint_t status, ngx_buf_t *b)
{
    ngx_int_t    rc;
    ngx_chain_t  out;

    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = status;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_ws_bus_channel_name(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_ws_bus_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (ngx_http_complex_value(r, wlcf->channel, name) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_handshake_channel(name) ? NGX_OK : NGX_DECLINED;
}
