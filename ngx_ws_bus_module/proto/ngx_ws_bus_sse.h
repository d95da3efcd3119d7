
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SSE_H_INCLUDED_
#define _NGX_WS_BUS_SSE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Server-sent events, "text/event-stream" (HTML Living Standard, 9.2).  An
 * event of a message that is kept has an id, "<epoch>:<seq>", which a client
 * gives back as Last-Event-ID when it reconnects.
 */

/* enough for anything written here but a message */
#define NGX_WS_BUS_SSE_MAX  192


typedef struct {
    uint64_t      epoch;
    uint64_t      seq;         /* 0: not kept, no id */
    ngx_uint_t    binary;      /* unsigned  binary:1; */
    ngx_str_t     payload;
} ngx_ws_bus_sse_event_t;


/*
 * A message as an event; the size is exact.  Text is one "data" field for
 * each of its lines, which may end with LF, CR or CRLF: a client makes LF of
 * all of them.  Binary is an event "binary" of base64.
 */
size_t ngx_ws_bus_sse_event_size(const ngx_ws_bus_sse_event_t *e);
u_char *ngx_ws_bus_sse_event(u_char *p, const ngx_ws_bus_sse_event_t *e);

/*
 * Tells the position and nothing else: an id without data sets the client's
 * last event id, and no event is dispatched.  At most NGX_WS_BUS_SSE_MAX
 * bytes, as the following ones.  Returns the end.
 */
u_char *ngx_ws_bus_sse_position(u_char *p, uint64_t epoch, uint64_t seq);

/*
 * An event "gap": the kept messages from "from" to "to" are lost to this
 * client.  The position is behind them.
 */
u_char *ngx_ws_bus_sse_gap(u_char *p, uint64_t epoch, uint64_t from,
    uint64_t to);

/*
 * A comment, which clients ignore; "text" is one line.
 */
u_char *ngx_ws_bus_sse_comment(u_char *p, const char *text);

/*
 * Reads an id.  NGX_OK, or NGX_DECLINED if it is none of ours.
 */
ngx_int_t ngx_ws_bus_sse_id(const ngx_str_t *id, uint64_t *epoch,
    uint64_t *seq);

/*
 * 1 if the value of an Accept header names text/event-stream, and not with
 * weight 0 (RFC 9110, 12.5.1), else 0.  Wildcards do not count: a client that
 * wants events says so.
 */
ngx_uint_t ngx_ws_bus_sse_accepted(const ngx_str_t *accept);


#endif /* _NGX_WS_BUS_SSE_H_INCLUDED_ */
