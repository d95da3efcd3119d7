
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_QUERY_H_INCLUDED_
#define _NGX_WS_BUS_QUERY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * What a client asks for in the query string: where to go on from, and how
 * long it waits.  As everywhere in nginx, names are told without regard to
 * case, and the first one of a name counts.
 */

typedef struct {
    uint64_t   last;           /* the newest messages, so many */
    uint64_t   last_seq;       /* the last one already had, */
    uint64_t   epoch;          /* and what it belongs to */
    unsigned   has_last:1;
    unsigned   has_last_seq:1;
    unsigned   has_epoch:1;    /* and one that may be ours */
} ngx_ws_bus_query_t;


/*
 * Reads "last", "last_seq" and "epoch".  NGX_OK, or NGX_ERROR if one of them
 * is not a number: "last_seq" if q->has_last_seq is set, otherwise "last".
 * An epoch of another make is not a mistake.
 */
ngx_int_t ngx_ws_bus_query_position(const ngx_str_t *args,
    ngx_ws_bus_query_t *q);

/*
 * Reads "wait": seconds, at most "max".  NGX_DECLINED if it is not there,
 * NGX_ERROR if it is not a number.
 */
ngx_int_t ngx_ws_bus_query_wait(const ngx_str_t *args, ngx_int_t max);


#endif /* _NGX_WS_BUS_QUERY_H_INCLUDED_ */
