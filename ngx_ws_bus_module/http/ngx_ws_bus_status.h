
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_STATUS_H_INCLUDED_
#define _NGX_WS_BUS_STATUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_zone.h"


/* a number of seconds with six decimals */
#define NGX_WS_BUS_SECONDS_LEN  (NGX_INT64_LEN + sizeof(".000000"))


/*
 * The page: buffers are added as they fill up, nothing is ever cut.
 */

typedef struct {
    ngx_pool_t          *pool;
    ngx_chain_t         *out;
    ngx_chain_t         *last;       /* what is printed into */
    size_t               len;
    ngx_uint_t           failed;     /* no memory */
} ngx_ws_bus_status_page_t;


/*
 * A zone at one moment, so that all that is printed of it fits together.
 */

typedef struct {
    ngx_ws_bus_zone_t   *zone;
    ngx_str_t            json;       /* its name, escaped */
    ngx_str_t            label;

    uint64_t             now;
    uint64_t             size;
    uint64_t             log_size;
    uint64_t             log_used;
    uint64_t             oldest;     /* age, microseconds */
    uint64_t             channels;
    uint64_t             workers;
    ngx_uint_t           nslots;

    ngx_ws_bus_stats_t   total;
    uint64_t             delivered;  /* sum of total.latency[] */
} ngx_ws_bus_status_zone_t;


/*
 * The values of the label "reason", which are also members of the JSON page.
 */
extern const char *const  ngx_ws_bus_status_dropped[NGX_WS_BUS_DROPPED_N];
extern const char *const  ngx_ws_bus_status_refused[NGX_WS_BUS_REFUSED_N];


/*
 * Print the page; "zones" is an array of ngx_ws_bus_status_zone_t.
 */
void ngx_ws_bus_status_json(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);
void ngx_ws_bus_status_prometheus(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);

/*
 * The same of what a zone that spans hosts has besides,
 * http/ngx_ws_bus_status_redis.c: members of a zone, and the metrics of all.
 */
void ngx_ws_bus_status_json_redis(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz);
void ngx_ws_bus_status_prometheus_redis(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);

/*
 * NULL if clients may be sent here, since all zones can be used; otherwise
 * which one cannot, and why: in the request's memory.
 */
const char *ngx_ws_bus_status_unready(ngx_http_request_t *r);

/*
 * Appends to the page, in the format of ngx_sprintf().  Without memory
 * nothing more is printed, and page->failed is set.
 */
void ngx_ws_bus_status_print(ngx_ws_bus_status_page_t *page, const char *fmt,
    ...);

/*
 * Writes microseconds as seconds with as many decimals as are needed, at most
 * NGX_WS_BUS_SECONDS_LEN bytes.  Returns the end.
 */
u_char *ngx_ws_bus_status_seconds(u_char *p, uint64_t usec);


#endif /* _NGX_WS_BUS_STATUS_H_INCLUDED_ */
