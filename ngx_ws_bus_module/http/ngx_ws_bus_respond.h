
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_RESPOND_H_INCLUDED_
#define _NGX_WS_BUS_RESPOND_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


#define ngx_ws_bus_content_type(r, type)                                      \
    do {                                                                      \
        ngx_str_set(&(r)->headers_out.content_type, type);                    \
        (r)->headers_out.content_type_len = sizeof(type) - 1;                 \
        (r)->headers_out.content_type_lowcase = NULL;                         \
    } while (0)


/*
 * Sends a response with a text body, one line, without the line's end.
 */
ngx_int_t ngx_ws_bus_respond(ngx_http_request_t *r, ngx_uint_t status,
    const char *text);

/*
 * Sends a response whose body is this buffer, its type being set.  Returns
 * what nginx's output filters do.
 */
ngx_int_t ngx_ws_bus_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_buf_t *b);


#endif /* _NGX_WS_BUS_RESPOND_H_INCLUDED_ */
