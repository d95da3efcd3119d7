
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_LIMIT_H_INCLUDED_
#define _NGX_WS_BUS_LIMIT_H_INCLUDED_


#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_limits.h"


/* in the order of severity, which is that of a connection's outcome */

typedef enum {
    NGX_WS_BUS_LIMIT_NONE = 0,     /* nothing has been judged */
    NGX_WS_BUS_LIMIT_PASSED,
    NGX_WS_BUS_LIMIT_DELAYED_DRY_RUN,
    NGX_WS_BUS_LIMIT_DROPPED_DRY_RUN,
    NGX_WS_BUS_LIMIT_CLOSED_DRY_RUN,
    NGX_WS_BUS_LIMIT_DELAYED,
    NGX_WS_BUS_LIMIT_DROPPED,
    NGX_WS_BUS_LIMIT_CLOSED
} ngx_ws_bus_limit_e;


/*
 * ws_bus_limit_zone.
 */

struct ngx_ws_bus_limit_zone_s {
    ngx_ws_bus_limits_t          limits;
    ngx_http_complex_value_t     key;
};


/*
 * One ws_bus_limit.
 */

typedef struct {
    ngx_ws_bus_limits_rule_t     rule;
    ngx_uint_t                   action;     /* when it is exceeded */
    ngx_str_t                    zone_name;
    ngx_ws_bus_limit_zone_t     *zone;       /* NULL: each connection's own */
    ngx_str_t                    where;      /* for the log */
} ngx_ws_bus_limit_rule_t;


/*
 * What is known of one ws_bus_limit for this connection.
 */

typedef struct {
    unsigned                     off:1;      /* the key is empty */

    union {
        ngx_ws_bus_limits_state_t  state;
        ngx_ws_bus_limits_key_t    key;
    } u;
} ngx_ws_bus_limit_item_t;


/*
 * The limits of a connection.  A message that has to wait is kept here, with
 * what had been read behind it: bytes [pos, last) of "rest", frames as they
 * came.  Of these control frames up to "head" have been taken; "frame" reads
 * on from "scan".
 */

struct ngx_ws_bus_limit_s {
    ngx_uint_t                   outcome;
    ngx_msec_t                   logged;

    ngx_msec_t                   until;
    ngx_msec_t                   gone_until;

    u_char                      *message;
    size_t                       len;

    u_char                      *rest;
    size_t                       pos;
    size_t                       last;
    size_t                       size;

    size_t                       head;
    size_t                       scan;
    ngx_ws_bus_frame_t           frame;

    unsigned                     told:1;     /* logged is set */
    unsigned                     waits:1;    /* message is set */
    unsigned                     blind:1;    /* nothing more to be taken */
    unsigned                     gone:1;     /* the client has left */

    ngx_ws_bus_limit_item_t      items[1];
};


/*
 * Between limit.c and limit_wait.c.
 *
 * Keeps the message until its time has come.  NGX_AGAIN, or NGX_ERROR if the
 * session has been closed for want of memory.
 */
ngx_int_t ngx_ws_bus_limit_wait(ngx_ws_bus_session_t *s, u_char *data,
    size_t len, ngx_msec_t wait);


#endif /* _NGX_WS_BUS_LIMIT_H_INCLUDED_ */
