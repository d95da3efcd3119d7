
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_log.h"
#include "ngx_ws_bus_prefetch.h"


/* of what comes next, bytes: a small record */
#define NGX_WS_BUS_LOG_AHEAD  256


static ngx_ws_bus_record_t *ngx_ws_bus_log_at(ngx_ws_bus_log_t *log,
    uint64_t pos);
static uint64_t ngx_ws_bus_log_skip(ngx_ws_bus_log_t *log, uint64_t pos);
static void ngx_ws_bus_log_forget(ngx_ws_bus_log_t *log, uint64_t end);


void
ngx_ws_bus_log_init(ngx_ws_bus_log_t *log, u_char *data, size_t size)
{
    log->head = 0;
    log->tail = 0;
    log->size = size & ~((size_t) 7);
    log->data = data;
}


size_t
ngx_ws_bus_log_max_payload(size_t size)
{
    size &= ~((size_t) 7);

    if (size < sizeof(ngx_ws_bus_record_t)) {
        return 0;
    }

    return ngx_min(size - sizeof(ngx_ws_bus_record_t), (size_t) 0x7ffffff0);
}


ngx_ws_bus_record_t *
ngx_ws_bus_log_reserve(ngx_ws_bus_log_t *log, size_t len)
{
    uint64_t              head, left, size;
    ngx_ws_bus_record_t  *rec;

    if (log->size < sizeof(ngx_ws_bus_record_t)
        || len > ngx_ws_bus_log_max_payload(log->size))
    {
        return NULL;
    }

    head = log->head;
    size = ngx_ws_bus_log_align(sizeof(ngx_ws_bus_record_t) + len);
    left = log->size - head % log->size;

    if (left < size) {

        /* a record is never wrapped: what is left of the lap is filled */

        ngx_ws_bus_log_forget(log, head + left);

        if (left >= sizeof(ngx_ws_bus_record_t)) {
            rec = ngx_ws_bus_log_at(log, head);
            rec->pos = head;
            rec->size = left;
            rec->type = NGX_WS_BUS_REC_FILLER;
        }

        head += left;

        __atomic_store_n(&log->head, head, __ATOMIC_RELEASE);
    }

    ngx_ws_bus_log_forget(log, head + size);

    rec = ngx_ws_bus_log_at(log, head);

    rec->pos = head;
    rec->size = size;
    rec->len = len;

    return rec;
}


void
ngx_ws_bus_log_commit(ngx_ws_bus_log_t *log, ngx_ws_bus_record_t *rec)
{
    u_char  *p, *next;

    __atomic_store_n(&log->head, rec->pos + rec->size, __ATOMIC_RELEASE);

    /* the log is far larger than a cache, and writing waits for lines, too */

    next = (u_char *) rec + rec->size;

    for (p = next; p < next + NGX_WS_BUS_LOG_AHEAD; p += NGX_WS_BUS_LINE) {
        ngx_ws_bus_prefetch_write(p);
    }
}


uint64_t
ngx_ws_bus_log_head(ngx_ws_bus_log_t *log)
{
    return __atomic_load_n(&log->head, __ATOMIC_ACQUIRE);
}


ngx_int_t
ngx_ws_bus_log_read(ngx_ws_bus_log_t *log, uint64_t *pos, uint64_t head,
    ngx_ws_bus_record_t *rec, u_char **payload)
{
    u_char  *p;

    for ( ;; ) {

        *pos = ngx_ws_bus_log_skip(log, *pos);

        if (*pos >= head) {
            return NGX_DONE;
        }

        p = (u_char *) ngx_ws_bus_log_at(log, *pos);

        *rec = *(ngx_ws_bus_record_t *) p;

        if (!ngx_ws_bus_log_intact(log, *pos)) {
            return NGX_DECLINED;
        }

        if (rec->type != NGX_WS_BUS_REC_FILLER) {
            *payload = p + sizeof(ngx_ws_bus_record_t);
            return NGX_OK;
        }

        *pos += rec->size;
    }
}


ngx_uint_t
ngx_ws_bus_log_intact(ngx_ws_bus_log_t *log, uint64_t pos)
{
    /* the copy must be complete before the tail is looked at */

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    return __atomic_load_n(&log->tail, __ATOMIC_RELAXED) <= pos;
}


static ngx_ws_bus_record_t *
ngx_ws_bus_log_at(ngx_ws_bus_log_t *log, uint64_t pos)
{
    return (ngx_ws_bus_record_t *) (log->data + pos % log->size);
}


/*
 * The rest of a lap may be too short even for a filler's header.
 */

static uint64_t
ngx_ws_bus_log_skip(ngx_ws_bus_log_t *log, uint64_t pos)
{
    uint64_t  left;

    left = log->size - pos % log->size;

    return (left < sizeof(ngx_ws_bus_record_t)) ? pos + left : pos;
}


/*
 * Moves the tail so that [.., end) may be written.
 */

static void
ngx_ws_bus_log_forget(ngx_ws_bus_log_t *log, uint64_t end)
{
    uint64_t  tail;

    tail = log->tail;

    if (end - tail <= log->size) {
        return;
    }

    do {
        tail = ngx_ws_bus_log_skip(log, tail);

        if (tail >= log->head) {

            /* the new record needs the whole log */

            tail = end;
            break;
        }

        if (end - tail <= log->size) {
            break;
        }

        tail += ngx_ws_bus_log_at(log, tail)->size;

    } while (end - tail > log->size);

    __atomic_store_n(&log->tail, ngx_min(tail, log->head), __ATOMIC_RELAXED);

    /* readers must see the tail move before the bytes change */

    __atomic_thread_fence(__ATOMIC_RELEASE);
}
