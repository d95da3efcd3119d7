
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"


/*
 * Finding kept messages in the log, without a lock.
 *
 * Every NGX_WS_BUS_HISTORY_STEPth message of a channel has a link behind its
 * payload: to the one of these before it, and to an older one, chosen so that
 * any of n can be reached in about 2 log(n) steps: the jump pointers of a
 * skew-binary list (Myers, "An applicative random-access stack", 1983).
 */


typedef struct {
    uint64_t  back;
    uint64_t  jump;
} ngx_ws_bus_link_t;


#define ngx_ws_bus_history_linked(seq)                                        \
    ((seq) % NGX_WS_BUS_HISTORY_STEP == 0)


static uint64_t ngx_ws_bus_history_seek(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_view_t *view, uint64_t seq, uint64_t since,
    ngx_ws_bus_record_t *rec);
static ngx_uint_t ngx_ws_bus_history_have(ngx_ws_bus_zone_t *zone,
    uint64_t pos, uint64_t seq, uint64_t since, ngx_ws_bus_record_t *rec,
    ngx_ws_bus_link_t *link);
static uint64_t ngx_ws_bus_history_since(uint64_t age);


size_t
ngx_ws_bus_history_max_payload(size_t size)
{
    size_t  max;

    max = ngx_ws_bus_log_max_payload(size) & ~((size_t) 7);

    return (max < sizeof(ngx_ws_bus_link_t)) ? 0
                                             : max - sizeof(ngx_ws_bus_link_t);
}


ngx_ws_bus_record_t *
ngx_ws_bus_history_reserve_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, size_t len)
{
    uint64_t              seq;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_link_t    *link, l;
    ngx_ws_bus_record_t  *rec, first, second, third;

    log = &zone->sh->log;
    seq = node->seq + 1;

    if (!ngx_ws_bus_history_linked(seq)) {
        rec = ngx_ws_bus_log_reserve(log, len);

    } else if (len > ngx_ws_bus_history_max_payload(log->size)) {
        rec = NULL;

    } else {
        rec = ngx_ws_bus_log_reserve(log, ngx_ws_bus_log_align(len)
                                          + sizeof(ngx_ws_bus_link_t));
    }

    if (rec == NULL) {
        return NULL;
    }

    rec->len = len;
    rec->seq = seq;
    rec->prev = node->last;

    if (!ngx_ws_bus_history_linked(seq)) {
        return rec;
    }

    link = (ngx_ws_bus_link_t *) ((u_char *) rec + rec->size
                                  - sizeof(ngx_ws_bus_link_t));

    link->back = node->linked;
    link->jump = node->linked;

    /* two jumps of the same length are joined */

    if (ngx_ws_bus_history_have(zone, link->back, 0, 0, &first, &l)
        && ngx_ws_bus_history_have(zone, l.jump, 0, 0, &second, &l))
    {
        third.seq = 0;

        if ((l.jump == NGX_WS_BUS_LOG_NONE
             || ngx_ws_bus_history_have(zone, l.jump, 0, 0, &third, NULL))
            && first.seq - second.seq == second.seq - third.seq)
        {
            link->jump = l.jump;
        }
    }

    return rec;
}


ngx_int_t
ngx_ws_bus_channel_history(ngx_ws_bus_zone_t *zone, ngx_ws_bus_view_t *view,
    uint64_t after, ngx_uint_t count, uint64_t age, ngx_uint_t limit,
    ngx_ws_bus_history_t *h, ngx_log_t *log)
{
    uint64_t              pos, to;
    ngx_uint_t            i;
    ngx_ws_bus_record_t   rec;

    h->pos = NULL;

    for ( ;; ) {
        h->n = 0;
        h->first = ngx_ws_bus_channel_oldest(zone, view, after, count, age);

        if (h->first > view->seq || limit == 0) {
            return NGX_OK;
        }

        to = (view->seq - h->first < limit) ? view->seq
                                            : h->first + limit - 1;

        pos = ngx_ws_bus_history_seek(zone, view, to, 0, &rec);

        if (pos != NGX_WS_BUS_LOG_NONE && rec.seq == to) {
            break;
        }

        /* the log has gone on by so much: h->first is beyond "to" now */
    }

    h->n = to - h->first + 1;

    h->pos = ngx_alloc(h->n * sizeof(uint64_t), log);
    if (h->pos == NULL) {
        return NGX_ERROR;
    }

    for (i = h->n - 1; /* void */ ; i--) {
        h->pos[i] = pos;

        if (i == 0
            || !ngx_ws_bus_history_have(zone, rec.prev, 0, 0, &rec, NULL))
        {
            break;
        }

        pos = rec.pos;
    }

    if (i) {

        /* forgotten meanwhile */

        h->n -= i;
        h->first += i;

        ngx_memmove(h->pos, h->pos + i, h->n * sizeof(uint64_t));
    }

    return NGX_OK;
}


uint64_t
ngx_ws_bus_channel_oldest(ngx_ws_bus_zone_t *zone, ngx_ws_bus_view_t *view,
    uint64_t after, ngx_uint_t count, uint64_t age)
{
    uint64_t             seq;
    ngx_ws_bus_record_t  rec;

    seq = after + 1;

    if (count < view->seq && seq <= view->seq - count) {
        seq = view->seq - count + 1;
    }

    if (seq > view->seq
        || ngx_ws_bus_history_seek(zone, view, seq,
                                   ngx_ws_bus_history_since(age), &rec)
           == NGX_WS_BUS_LOG_NONE)
    {
        return view->seq + 1;
    }

    return rec.seq;
}


/*
 * The position of the oldest message that is not before "seq", not from
 * before "since", and not forgotten; with its record.
 */

static uint64_t
ngx_ws_bus_history_seek(ngx_ws_bus_zone_t *zone, ngx_ws_bus_view_t *view,
    uint64_t seq, uint64_t since, ngx_ws_bus_record_t *rec)
{
    uint64_t             next;
    ngx_ws_bus_link_t    link, unused;
    ngx_ws_bus_record_t  r;

    if (!ngx_ws_bus_history_have(zone, view->last, seq, since, rec, NULL)) {
        return NGX_WS_BUS_LOG_NONE;
    }

    if (seq != view->seq) {
        next = view->linked;

        while (ngx_ws_bus_history_have(zone, next, seq, since, &r, &link)) {
            *rec = r;

            next = ngx_ws_bus_history_have(zone, link.jump, seq, since, &r,
                                           &unused)
                   ? link.jump : link.back;
        }
    }

    while (ngx_ws_bus_history_have(zone, rec->prev, seq, since, &r, NULL)) {
        *rec = r;
    }

    return rec->pos;
}


/*
 * 1 if the message at the position can still be had and is wanted.
 */

static ngx_uint_t
ngx_ws_bus_history_have(ngx_ws_bus_zone_t *zone, uint64_t pos, uint64_t seq,
    uint64_t since, ngx_ws_bus_record_t *rec, ngx_ws_bus_link_t *link)
{
    u_char  *payload;

    if (pos == NGX_WS_BUS_LOG_NONE
        || ngx_ws_bus_log_read(&zone->sh->log, &pos, pos + 1, rec, &payload)
           != NGX_OK
        || rec->seq < seq
        || rec->time < since)
    {
        return 0;
    }

    if (link == NULL) {
        return 1;
    }

    ngx_memcpy(link, payload - sizeof(ngx_ws_bus_record_t) + rec->size
                     - sizeof(ngx_ws_bus_link_t),
               sizeof(ngx_ws_bus_link_t));

    return ngx_ws_bus_log_intact(&zone->sh->log, pos);
}


static uint64_t
ngx_ws_bus_history_since(uint64_t age)
{
    uint64_t  now;

    if (age == 0) {
        return 0;
    }

    now = ngx_ws_bus_time();

    return (now > age) ? now - age : 0;
}
