
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_run.h"


/* what is kept for reuse, a worker */
#define NGX_WS_BUS_RUN_FREE       64
#define NGX_WS_BUS_RUN_FREE_SIZE  (16 * 1024)

/* a slow client may keep many that have a small message each */
#define NGX_WS_BUS_RUN_SIZE       256
#define NGX_WS_BUS_RUN_MARKS      2


static ngx_ws_bus_run_t  *ngx_ws_bus_run_free;
static ngx_uint_t         ngx_ws_bus_run_nfree;


ngx_ws_bus_run_t *
ngx_ws_bus_run_create(ngx_log_t *log)
{
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_free;

    if (run) {
        ngx_ws_bus_run_free = run->next;
        ngx_ws_bus_run_nfree--;

        run->len = 0;
        run->n = 0;
        run->refs = 1;
        run->payload = 0;

        return run;
    }

    run = ngx_calloc(sizeof(ngx_ws_bus_run_t), log);
    if (run == NULL) {
        return NULL;
    }

    run->refs = 1;

    return run;
}


void
ngx_ws_bus_run_release(ngx_ws_bus_run_t *run)
{
    if (--run->refs) {
        return;
    }

    if (ngx_ws_bus_run_nfree < NGX_WS_BUS_RUN_FREE
        && run->size <= NGX_WS_BUS_RUN_FREE_SIZE
        && run->nalloc * sizeof(ngx_ws_bus_mark_t) <= NGX_WS_BUS_RUN_FREE_SIZE)
    {
        run->next = ngx_ws_bus_run_free;
        ngx_ws_bus_run_free = run;
        ngx_ws_bus_run_nfree++;
        return;
    }

    if (run->data) {
        ngx_free(run->data);
    }

    if (run->marks) {
        ngx_free(run->marks);
    }

    ngx_free(run);
}


u_char *
ngx_ws_bus_run_reserve(ngx_ws_bus_run_t *run, size_t len, ngx_log_t *log)
{
    u_char  *p;
    size_t   size;

    if (run->size - run->len >= len) {
        return run->data + run->len;
    }

    /* one large message gets what it needs, small ones room to follow */

    size = run->len + len;

    if (size < 2 * run->size) {
        size = 2 * run->size;
    }

    size = ngx_max(size, NGX_WS_BUS_RUN_SIZE);

    p = ngx_alloc(size, log);
    if (p == NULL) {
        return NULL;
    }

    if (run->data) {
        ngx_memcpy(p, run->data, run->len);
        ngx_free(run->data);
    }

    run->data = p;
    run->size = size;

    return p + run->len;
}


ngx_int_t
ngx_ws_bus_run_mark(ngx_ws_bus_run_t *run, uint64_t pos, uint64_t seq,
    uint64_t time, size_t len, ngx_log_t *log)
{
    ngx_uint_t          n;
    ngx_ws_bus_mark_t  *mark;

    if (run->n == run->nalloc) {
        n = run->nalloc ? 2 * run->nalloc : NGX_WS_BUS_RUN_MARKS;

        mark = ngx_alloc(n * sizeof(ngx_ws_bus_mark_t), log);
        if (mark == NULL) {
            ngx_ws_bus_run_undo(run);
            return NGX_ERROR;
        }

        if (run->marks) {
            ngx_memcpy(mark, run->marks, run->n * sizeof(ngx_ws_bus_mark_t));
            ngx_free(run->marks);
        }

        run->marks = mark;
        run->nalloc = n;
    }

    mark = &run->marks[run->n++];

    mark->pos = pos;
    mark->seq = seq;
    mark->time = time;
    mark->end = run->len;
    mark->len = len;

    run->payload += len;

    return NGX_OK;
}


void
ngx_ws_bus_run_undo(ngx_ws_bus_run_t *run)
{
    run->len = ngx_ws_bus_run_start(run, run->n);
}


ngx_uint_t
ngx_ws_bus_run_at(ngx_ws_bus_run_t *run, size_t offset)
{
    ngx_uint_t  low, high, i;

    low = 0;
    high = run->n;

    while (low < high) {
        i = (low + high) / 2;

        if (run->marks[i].end > offset) {
            high = i;

        } else {
            low = i + 1;
        }
    }

    return low;
}
