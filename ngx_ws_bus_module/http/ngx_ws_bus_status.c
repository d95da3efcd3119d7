
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_status.h"


#define NGX_WS_BUS_STATUS_BUFFER  4096


static ngx_int_t ngx_ws_bus_status_zones(ngx_http_request_t *r,
    ngx_array_t *zones);
static ngx_int_t ngx_ws_bus_status_zone(ngx_http_request_t *r,
    ngx_ws_bus_status_zone_t *sz);
static void ngx_ws_bus_status_log(ngx_ws_bus_status_zone_t *sz);
static void ngx_ws_bus_status_sum(ngx_ws_bus_stats_t *total,
    ngx_ws_bus_slot_t *slot);
static ngx_int_t ngx_ws_bus_status_names(ngx_http_request_t *r,
    ngx_ws_bus_status_zone_t *sz);
static ngx_int_t ngx_ws_bus_status_grow(ngx_ws_bus_status_page_t *page);
static ngx_int_t ngx_ws_bus_status_send(ngx_http_request_t *r,
    ngx_ws_bus_status_page_t *page);


const char *const  ngx_ws_bus_status_dropped[NGX_WS_BUS_DROPPED_N] = {
    "slow",
    "conflated",
    "closed",
    "lost",
    "limit"
};


const char *const  ngx_ws_bus_status_refused[NGX_WS_BUS_REFUSED_N] = {
    "handshake",
    "channel",
    "unavailable",
    "origin",
    "token",
    "claim"
};


ngx_int_t
ngx_ws_bus_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_str_t                  value;
    const char                *why;
    ngx_array_t                zones;
    ngx_ws_bus_loc_conf_t     *wlcf;
    ngx_ws_bus_status_page_t   page;

    static ngx_str_t  allow = ngx_string("GET, HEAD");
    static ngx_str_t  no_store = ngx_string("no-store");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_ws_bus_add_header(r, "Allow", &allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_ws_bus_respond(r, NGX_HTTP_NOT_ALLOWED,
                                  "method not allowed");
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_ws_bus_add_header(r, "Cache-Control", &no_store) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if ((r->args.len == 5 && ngx_strncmp(r->args.data, "ready", 5) == 0)
        || ngx_http_arg(r, (u_char *) "ready", 5, &value) == NGX_OK)
    {
        why = ngx_ws_bus_status_unready(r);

        if (why) {
            return ngx_ws_bus_respond(r, NGX_HTTP_SERVICE_UNAVAILABLE, why);
        }
    }

    if (ngx_ws_bus_status_zones(r, &zones) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&page, sizeof(ngx_ws_bus_status_page_t));

    page.pool = r->pool;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (wlcf->status == NGX_WS_BUS_STATUS_PROMETHEUS) {
        ngx_ws_bus_status_prometheus(&page, &zones);

        /* with a charset of its own no other one is appended */

        ngx_ws_bus_content_type(r, "text/plain; version=0.0.4");
        ngx_str_set(&r->headers_out.charset, "utf-8");

    } else {
        ngx_ws_bus_status_json(&page, &zones);

        ngx_ws_bus_content_type(r, "application/json");
    }

    return ngx_ws_bus_status_send(r, &page);
}


static ngx_int_t
ngx_ws_bus_status_zones(ngx_http_request_t *r, ngx_array_t *zones)
{
    ngx_uint_t                  i;
    ngx_ws_bus_zone_t         **zone;
    ngx_ws_bus_main_conf_t     *wmcf;
    ngx_ws_bus_status_zone_t   *sz;

    wmcf = ngx_http_get_module_main_conf(r, ngx_ws_bus_module);

    if (ngx_array_init(zones, r->pool, ngx_max(wmcf->zones.nelts, 1),
                       sizeof(ngx_ws_bus_status_zone_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    zone = wmcf->zones.elts;

    for (i = 0; i < wmcf->zones.nelts; i++) {

        sz = ngx_array_push(zones);
        if (sz == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(sz, sizeof(ngx_ws_bus_status_zone_t));

        sz->zone = zone[i];

        if (ngx_ws_bus_status_zone(r, sz) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_status_zone(ngx_http_request_t *r, ngx_ws_bus_status_zone_t *sz)
{
    ngx_uint_t          i;
    ngx_ws_bus_slot_t  *slot;
    ngx_ws_bus_zone_t  *zone;

    zone = sz->zone;

    if (ngx_ws_bus_status_names(r, sz) != NGX_OK) {
        return NGX_ERROR;
    }

    if (zone->hub) {
        (void) ngx_ws_bus_zone_reap(zone);
    }

    ngx_ws_bus_status_log(sz);

    for (i = 0; i < sz->nslots; i++) {
        slot = zone->sh->slots[i];

        if (slot) {
            ngx_ws_bus_status_sum(&sz->total, slot);
            sz->workers += (slot->pid != 0);
        }
    }

    for (i = 0; i < NGX_WS_BUS_LATENCY_N; i++) {
        sz->delivered += sz->total.latency[i];
    }

    return NGX_OK;
}


static void
ngx_ws_bus_status_log(ngx_ws_bus_status_zone_t *sz)
{
    u_char               *payload;
    uint64_t              pos, head;
    ngx_int_t             rc;
    ngx_uint_t            tries;
    ngx_ws_bus_zone_t    *zone;
    ngx_ws_bus_record_t   rec;

    zone = sz->zone;

    sz->size = zone->shm_zone->shm.size;
    sz->log_size = zone->sh->log.size;

    /* what is oldest may be overwritten at any moment */

    for (tries = 0; tries < 10; tries++) {

        ngx_ws_bus_zone_lock(zone);

        pos = zone->sh->log.tail;
        head = zone->sh->log.head;
        sz->channels = zone->sh->channels;
        sz->nslots = zone->sh->nslots;

        ngx_ws_bus_zone_unlock(zone);

        sz->now = ngx_ws_bus_time();
        sz->log_used = head - pos;

        rc = ngx_ws_bus_log_read(&zone->sh->log, &pos, head, &rec, &payload);

        if (rc == NGX_OK) {
            sz->oldest = (sz->now > rec.time) ? sz->now - rec.time : 0;
        }

        if (rc != NGX_DECLINED) {
            break;
        }
    }
}


/*
 * Counters outlive the process that counted, gauges do not.
 */

static void
ngx_ws_bus_status_sum(ngx_ws_bus_stats_t *total, ngx_ws_bus_slot_t *slot)
{
    ngx_uint_t           i;
    ngx_ws_bus_stats_t  *stats;

    stats = &slot->stats;

    if (slot->pid) {
        total->connections += stats->connections;
        total->subscriptions += stats->subscriptions;
        total->waiting.n += stats->waiting.n;
        total->waiting.bytes += stats->waiting.bytes;
        total->sent.n += stats->sent.n;
        total->sent.bytes += stats->sent.bytes;
    }

    total->messages_in += stats->messages_in;
    total->messages_out += stats->messages_out;
    total->bytes_in += stats->bytes_in;
    total->bytes_out += stats->bytes_out;
    total->overruns += stats->overruns;
    total->limit_delayed += stats->limit_delayed;
    total->limit_closed += stats->limit_closed;
    total->latency_sum += stats->latency_sum;

    for (i = 0; i < NGX_WS_BUS_LATENCY_N; i++) {
        total->latency[i] += stats->latency[i];
    }

    for (i = 0; i < NGX_WS_BUS_DROPPED_N; i++) {
        total->dropped[i] += stats->dropped[i];
    }

    for (i = 0; i < NGX_WS_BUS_REFUSED_N; i++) {
        total->refused[i] += stats->refused[i];
    }

    for (i = 0; i < NGX_WS_BUS_CLOSED_N; i++) {
        total->closed[i] += stats->closed[i];
    }

    total->remote_errors += stats->remote_errors;

    for (i = 0; i < NGX_WS_BUS_REMOTE_LINK; i++) {
        total->remote_link[i] += stats->remote_link[i];
    }
}


static ngx_int_t
ngx_ws_bus_status_names(ngx_http_request_t *r, ngx_ws_bus_status_zone_t *sz)
{
    u_char      *p;
    ngx_str_t   *name;
    ngx_uint_t   i;

    name = &sz->zone->name;

    sz->json.len = name->len + ngx_escape_json(NULL, name->data, name->len);
    sz->json.data = ngx_pnalloc(r->pool, sz->json.len + 2 * name->len);
    if (sz->json.data == NULL) {
        return NGX_ERROR;
    }

    ngx_escape_json(sz->json.data, name->data, name->len);

    p = sz->json.data + sz->json.len;

    sz->label.data = p;

    for (i = 0; i < name->len; i++) {

        switch (name->data[i]) {

        case LF:
            *p++ = '\\';
            *p++ = 'n';
            break;

        case '\\':
        case '"':
            *p++ = '\\';
            *p++ = name->data[i];
            break;

        default:
            *p++ = name->data[i];
        }
    }

    sz->label.len = p - sz->label.data;

    return NGX_OK;
}


u_char *
ngx_ws_bus_status_seconds(u_char *p, uint64_t usec)
{
    p = ngx_sprintf(p, "%uL", usec / 1000000);

    usec %= 1000000;

    if (usec == 0) {
        return p;
    }

    p = ngx_sprintf(p, ".%06uL", usec);

    while (p[-1] == '0') {
        p--;
    }

    return p;
}


void
ngx_ws_bus_status_print(ngx_ws_bus_status_page_t *page, const char *fmt, ...)
{
    u_char     *p;
    va_list     args;
    ngx_buf_t  *b;

    while (!page->failed) {

        if (page->last) {
            b = page->last->buf;

            va_start(args, fmt);
            p = ngx_vslprintf(b->last, b->end, fmt, args);
            va_end(args);

            if (p < b->end) {
                page->len += p - b->last;
                b->last = p;
                return;
            }

            /* it may have been cut: all of it goes into the next buffer */
        }

        if (ngx_ws_bus_status_grow(page) != NGX_OK) {
            page->failed = 1;
        }
    }
}


/*
 * Adds a buffer; one that is empty was too small, and is replaced.
 */

static ngx_int_t
ngx_ws_bus_status_grow(ngx_ws_bus_status_page_t *page)
{
    size_t        size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = page->last;

    if (cl && cl->buf->last == cl->buf->start) {
        size = 2 * (cl->buf->end - cl->buf->start);

    } else {
        size = NGX_WS_BUS_STATUS_BUFFER;
        cl = NULL;
    }

    b = ngx_create_temp_buf(page->pool, size);
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (cl) {
        cl->buf = b;
        return NGX_OK;
    }

    cl = ngx_alloc_chain_link(page->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;
    cl->next = NULL;

    if (page->last) {
        page->last->next = cl;

    } else {
        page->out = cl;
    }

    page->last = cl;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_status_send(ngx_http_request_t *r, ngx_ws_bus_status_page_t *page)
{
    ngx_int_t  rc;

    if (page->failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    page->last->buf->last_buf = (r == r->main) ? 1 : 0;
    page->last->buf->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = page->len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, page->out);
}
