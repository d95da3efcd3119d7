
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SLOT_H_INCLUDED_
#define _NGX_WS_BUS_SLOT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_resp.h"


/*
 * Hash slots of Redis Cluster, and how its nodes say where one is served.
 */

#define NGX_WS_BUS_SLOTS      16384


typedef enum {
    NGX_WS_BUS_SLOT_MOVED = 0,     /* there for good */
    NGX_WS_BUS_SLOT_ASK            /* there for this command, after ASKING */
} ngx_ws_bus_slot_redirect_e;


typedef struct {
    ngx_ws_bus_slot_redirect_e   type;
    ngx_uint_t                   slot;
    ngx_str_t                    host;  /* empty: that of who answered */
    in_port_t                    port;
} ngx_ws_bus_slot_redirect_t;


/*
 * Slots "first" to "last" are served by the master at host:port.
 */

typedef struct {
    ngx_uint_t                   first;
    ngx_uint_t                   last;
    ngx_str_t                    host;  /* empty: that of who answered */
    in_port_t                    port;
} ngx_ws_bus_slot_range_t;


/*
 * The slot of a key: of what stands in its first braces, if that is not
 * empty, else of the whole key (Redis Cluster specification, "Hash tags").
 */
ngx_uint_t ngx_ws_bus_slot(const ngx_str_t *key);

/*
 * Reads an error "MOVED 3999 host:port" or "ASK 3999 host:port"; host may be
 * an IPv6 address without brackets.  redirect->host points into the error.
 * NGX_OK, or NGX_DECLINED if the error is none of these.
 */
ngx_int_t ngx_ws_bus_slot_redirect(const ngx_str_t *error,
    ngx_ws_bus_slot_redirect_t *redirect);

/*
 * Reads the next range of an answer to CLUSTER SLOTS.  *element is the
 * answer's first element to begin with, and is moved on.  range->host points
 * into the answer.
 *
 * NGX_OK     *range is set
 * NGX_DONE   there are no more
 * NGX_ERROR  this is no such answer
 */
ngx_int_t ngx_ws_bus_slot_range(ngx_ws_bus_reply_t **element,
    ngx_ws_bus_slot_range_t *range);


#endif /* _NGX_WS_BUS_SLOT_H_INCLUDED_ */
