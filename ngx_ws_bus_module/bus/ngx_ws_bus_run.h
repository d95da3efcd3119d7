
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_RUN_H_INCLUDED_
#define _NGX_WS_BUS_RUN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * A run is a sequence of encoded messages, contiguous, so that one write
 * sends them all.  It belongs to one worker, is shared by all who are owed
 * the same, and is freed with its last reference.
 */

/* the seq of what is no message, but tells of the channel */
#define NGX_WS_BUS_RUN_EVENT  ((uint64_t) -1)


typedef struct {
    uint64_t            pos;       /* in the log */
    uint64_t            seq;       /* 0: not kept, or NGX_WS_BUS_RUN_EVENT */
    uint64_t            time;      /* when it was appended */
    size_t              end;       /* of its bytes in the run */
    size_t              len;       /* of its payload */
} ngx_ws_bus_mark_t;


typedef struct ngx_ws_bus_run_s  ngx_ws_bus_run_t;

struct ngx_ws_bus_run_s {
    u_char             *data;
    size_t              len;
    size_t              size;

    ngx_ws_bus_mark_t  *marks;
    ngx_uint_t          n;
    ngx_uint_t          nalloc;

    ngx_uint_t          refs;
    size_t              payload;   /* sum of marks[].len */
    ngx_ws_bus_run_t   *next;      /* free list */
};


/*
 * An empty run with one reference, or NULL.
 */
ngx_ws_bus_run_t *ngx_ws_bus_run_create(ngx_log_t *log);

/*
 * Gives a reference back.
 */
void ngx_ws_bus_run_release(ngx_ws_bus_run_t *run);

/*
 * Room for "len" more bytes; returns where they go (the caller adds to
 * run->len what it has written), or NULL without memory.
 */
u_char *ngx_ws_bus_run_reserve(ngx_ws_bus_run_t *run, size_t len,
    ngx_log_t *log);

/*
 * Closes a message: what has been written since the last mark.  NGX_OK, or
 * NGX_ERROR without memory, and then the bytes are taken back.
 */
ngx_int_t ngx_ws_bus_run_mark(ngx_ws_bus_run_t *run, uint64_t pos,
    uint64_t seq, uint64_t time, size_t len, ngx_log_t *log);

/*
 * Takes back what has been written since the last mark.
 */
void ngx_ws_bus_run_undo(ngx_ws_bus_run_t *run);

/*
 * Where message i starts.
 */
#define ngx_ws_bus_run_start(run, i)                                          \
    ((i) ? (run)->marks[(i) - 1].end : 0)

/*
 * The index of the message that holds the byte at "offset".
 */
ngx_uint_t ngx_ws_bus_run_at(ngx_ws_bus_run_t *run, size_t offset);


#endif /* _NGX_WS_BUS_RUN_H_INCLUDED_ */
