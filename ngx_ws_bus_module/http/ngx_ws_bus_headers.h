
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_HEADERS_H_INCLUDED_
#define _NGX_WS_BUS_HEADERS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * Where a walk through the headers of a request is.
 */

typedef struct {
    ngx_list_part_t  *part;
    ngx_uint_t        i;
} ngx_ws_bus_headers_t;


/*
 * Walks the headers of the request in the order in which they came; NULL
 * after the last one.
 */
ngx_table_elt_t *ngx_ws_bus_header_first(ngx_http_request_t *r,
    ngx_ws_bus_headers_t *all);
ngx_table_elt_t *ngx_ws_bus_header_next(ngx_ws_bus_headers_t *all);

/* a header's lower-case name is not terminated by a zero */
#define ngx_ws_bus_header_is(h, name)                                         \
    ((h)->key.len == sizeof(name) - 1                                         \
     && ngx_memcmp((h)->lowcase_key, name, sizeof(name) - 1) == 0)

/*
 * Adds a response header whose value is a C string or a ngx_str_t's bytes
 * that live as long as the request.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);


#endif /* _NGX_WS_BUS_HEADERS_H_INCLUDED_ */
