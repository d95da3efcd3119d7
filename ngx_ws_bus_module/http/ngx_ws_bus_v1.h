
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_V1_H_INCLUDED_
#define _NGX_WS_BUS_V1_H_INCLUDED_


#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_once.h"


/*
 * The subscriptions of a connection, by the channel's hash.
 */

typedef struct ngx_ws_bus_v1_look_s  ngx_ws_bus_v1_look_t;

struct ngx_ws_bus_v1_s {
    ngx_ws_bus_sub_t           **buckets;
    ngx_uint_t                   mask;
    ngx_uint_t                   n;

    ngx_ws_bus_v1_look_t        *looks;     /* "history" that waits */

    ngx_uint_t                   errors;
    ngx_msec_t                   since;
};


extern const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_not_here;


/*
 * Answers to "history" and "presence".  NULL, or the error to be answered.
 */
const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_history(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);
const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_presence(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);

/*
 * Answers to "history" with what the host has at this view.
 */
const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_history_answer(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q,
    ngx_ws_bus_view_t *view);

/*
 * The host may lack messages of the channel: "history" is answered once it
 * has them.  Returns as above; and what has not been answered is given up.
 */
const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_look(ngx_ws_bus_session_t *s,
    ngx_ws_bus_request_t *q);
void ngx_ws_bus_v1_looks_end(ngx_ws_bus_v1_t *v1);

/*
 * Says from where a subscription starts.
 */
void ngx_ws_bus_v1_greet(ngx_ws_bus_session_t *s, ngx_str_t *id,
    ngx_str_t *channel, ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);

/*
 * The subscription waits for its channel: keeps what is needed when it
 * begins.  NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_v1_wait(ngx_ws_bus_sub_t *sub, ngx_ws_bus_request_t *q,
    ngx_ws_bus_resume_t *resume);

/*
 * Messages will never come: as the handler of a protocol.
 */
void ngx_ws_bus_v1_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to);

/*
 * 1 if the session may ask for the channel: the location's own, and those
 * that ws_bus_channels names, as far as its token grants them.
 */
ngx_uint_t ngx_ws_bus_v1_allowed(ngx_ws_bus_session_t *s,
    ngx_str_t *channel);

/*
 * Where the session's subscription to the channel is linked, or would be.
 */
ngx_ws_bus_sub_t **ngx_ws_bus_v1_find(ngx_ws_bus_session_t *s,
    ngx_str_t *channel);


#endif /* _NGX_WS_BUS_V1_H_INCLUDED_ */
