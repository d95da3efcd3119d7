
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_STREAM_H_INCLUDED_
#define _NGX_WS_BUS_STREAM_H_INCLUDED_


#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_sse.h"


/*
 * A way to reach a client without WebSocket: the response to its request is
 * held until there is something to say, and perhaps longer.
 */

struct ngx_ws_bus_fallback_s {
    ngx_ws_bus_protocol_t   protocol;
    ngx_ws_bus_format_t    *format;

    /* its end is that of a connection, and counted so */
    ngx_uint_t              connection;    /* unsigned  connection:1; */

    /*
     * Answers.  NGX_DONE: the response is to be held; otherwise what the
     * request is to be finalized with.
     */
    ngx_int_t             (*open)(ngx_ws_bus_session_t *s);

    /*
     * Messages [first, run->n) of the run; may be called from the hub's
     * handlers.
     */
    void                  (*deliver)(ngx_ws_bus_session_t *s,
                              ngx_ws_bus_run_t *run, ngx_uint_t first);

    /*
     * The client's connection can be written to, or what is to be written
     * has changed.  NGX_DONE: still held; otherwise what the request is to be
     * finalized with.
     */
    ngx_int_t             (*write)(ngx_ws_bus_session_t *s);

    /*
     * stream->next has come.
     */
    void                  (*timeout)(ngx_ws_bus_session_t *s);
};


struct ngx_ws_bus_stream_s {
    const ngx_ws_bus_fallback_t  *fallback;
    ngx_ws_bus_session_t         *session;
    ngx_queue_t                   queue;      /* of the worker's */

    /* what was asked for, and the position so far */
    ngx_ws_bus_resume_t           resume;
    uint64_t                      epoch;
    uint64_t                      lost;       /* what is up to there */

    ngx_msec_t                    wait;
    ngx_msec_t                    next;       /* timeout() is due */

    /* the event stream's */
    ngx_msec_t                    last;       /* when something was sent */
    ngx_buf_t                     buf;        /* what the filters hold: */
    size_t                        note_len;   /* this, or else s->trying */
    u_char                        note[NGX_WS_BUS_SSE_MAX];

    unsigned                      held:1;
    unsigned                      left:1;     /* takes no more */
    unsigned                      busy:1;     /* buf has not been sent yet */
    unsigned                      due:1;      /* the poll is to be answered */
    unsigned                      more:1;     /* than the answer has room for */
    unsigned                      gathering:1;   /* what the poll asked for */
};


/*
 * The output filters did not take everything: waits until they can, at most
 * send_timeout.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_stream_blocked(ngx_ws_bus_session_t *s);

/*
 * Ends the subscription, while the response is still on its way.  Not to be
 * called from the hub's handlers.
 */
void ngx_ws_bus_stream_leave(ngx_ws_bus_session_t *s);

/*
 * Sends the response's header, the position included: as
 * ngx_http_send_header().
 */
ngx_int_t ngx_ws_bus_stream_header(ngx_ws_bus_session_t *s);


#endif /* _NGX_WS_BUS_STREAM_H_INCLUDED_ */
