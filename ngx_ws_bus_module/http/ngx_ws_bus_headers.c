
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_ws_bus_headers.h"


ngx_table_elt_t *
ngx_ws_bus_header_first(ngx_http_request_t *r, ngx_ws_bus_headers_t *all)
{
    all->part = &r->headers_in.headers.part;
    all->i = 0;

    return ngx_ws_bus_header_next(all);
}


ngx_table_elt_t *
ngx_ws_bus_header_next(ngx_ws_bus_headers_t *all)
{
    ngx_table_elt_t  *h;

    while (all->i == all->part->nelts) {

        if (all->part->next == NULL) {
            return NULL;
        }

        all->part = all->part->next;
        all->i = 0;
    }

    h = all->part->elts;

    return &h[all->i++];
}


ngx_int_t
ngx_ws_bus_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value = *value;
    h->lowcase_key = NULL;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}
