
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_LINK_CORE_H_INCLUDED_
#define _NGX_WS_BUS_LINK_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_link.h"


/*
 * Between the files of the link: link_connect.c brings it up, link_io.c
 * carries commands and replies, link.c has its life and its timers.
 */

#define NGX_WS_BUS_LINK_ARGS  3


typedef enum {
    NGX_WS_BUS_LINK_OP_COMMAND = 0,

    /* the greeting */
    NGX_WS_BUS_LINK_OP_AUTH,
    NGX_WS_BUS_LINK_OP_SELECT,
    NGX_WS_BUS_LINK_OP_SETNAME,
    NGX_WS_BUS_LINK_OP_HELLO,          /* a PING, the last of it */

    /* of a subscriber, named as their confirmations are */
    NGX_WS_BUS_LINK_OP_PONG,
    NGX_WS_BUS_LINK_OP_SUBSCRIBE,
    NGX_WS_BUS_LINK_OP_UNSUBSCRIBE,
    NGX_WS_BUS_LINK_OP_PSUBSCRIBE,
    NGX_WS_BUS_LINK_OP_PUNSUBSCRIBE,
    NGX_WS_BUS_LINK_OP_SSUBSCRIBE,
    NGX_WS_BUS_LINK_OP_SUNSUBSCRIBE
} ngx_ws_bus_link_op_e;


struct ngx_ws_bus_link_op_s {
    ngx_queue_t                 queue;

    ngx_ws_bus_link_reply_pt    handler;
    void                       *data;

    ngx_ws_bus_link_op_e        type;
    ngx_uint_t                  left;      /* confirmations to come */

    ngx_msec_t                  time;      /* the timeout counts from here */
    uint64_t                    start;     /* microseconds */
    uint64_t                    from;      /* its first byte, of all */
};


struct ngx_ws_bus_link_block_s {
    ngx_ws_bus_link_block_t    *next;
    u_char                     *pos;
    u_char                     *last;
    u_char                     *end;
    ngx_uint_t                  secret;    /* unsigned  secret:1; */
};


#define ngx_ws_bus_link_of(ev, member)                                        \
    (ngx_ws_bus_link_t *) ((u_char *) (ev)                                    \
                           - offsetof(ngx_ws_bus_link_t, member))


/*
 * Begins to connect; whatever comes of it is done by events.  The link may
 * be gone when this returns.
 */
void ngx_ws_bus_link_connect(ngx_ws_bus_link_t *link);

/*
 * A reply to a command of the greeting.  NGX_OK, NGX_DONE when it was the
 * last, or NGX_ERROR with link->reason, logged: the link is to be failed.
 */
ngx_int_t ngx_ws_bus_link_greeted(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_op_e type, ngx_ws_bus_reply_t *reply);

/*
 * Ends a resolving and closes the connection, if any.
 */
void ngx_ws_bus_link_disconnect(ngx_ws_bus_link_t *link);

/*
 * What a command is to this link.  NGX_OK, or NGX_ERROR: it is not for a
 * subscriber.
 */
ngx_int_t ngx_ws_bus_link_verb(ngx_ws_bus_link_t *link, const ngx_str_t *argv,
    ngx_uint_t n, ngx_ws_bus_link_op_e *type);

/*
 * Puts a command into the queue; the arguments are copied.  NGX_OK or
 * NGX_ERROR, without memory.
 */
ngx_int_t ngx_ws_bus_link_queue(ngx_ws_bus_link_t *link,
    const ngx_str_t *argv, ngx_uint_t n, ngx_ws_bus_link_op_e type,
    ngx_ws_bus_link_op_t **op);

/*
 * Frees the first block of what is to be sent; link->out is not NULL.
 */
void ngx_ws_bus_link_release(ngx_ws_bus_link_t *link);

/*
 * The connection is ready to be written to and read from.
 */
void ngx_ws_bus_link_run(ngx_ws_bus_link_t *link);

/*
 * Of link->flush, posted when a command is queued: writes what there is.
 */
void ngx_ws_bus_link_flush_handler(ngx_event_t *ev);

/*
 * The greeting is over.  May close the link.
 */
void ngx_ws_bus_link_up(ngx_ws_bus_link_t *link);

/*
 * Ends what began with link->busy++: calls of handlers.  A link that has
 * been closed meanwhile is gone when this returns.
 */
void ngx_ws_bus_link_leave(ngx_ws_bus_link_t *link);

/*
 * Logs why it cannot be used; each reason is an error once until it is up
 * again, then info.  "text" may be NULL.
 */
void ngx_ws_bus_link_complain(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_reason_e reason, ngx_err_t err, ngx_str_t *text);

/*
 * Takes it down, logged by the caller; all commands fail, and it connects
 * again later.  The link may be gone when this returns.
 */
void ngx_ws_bus_link_fail(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_reason_e reason);


#endif /* _NGX_WS_BUS_LINK_CORE_H_INCLUDED_ */
