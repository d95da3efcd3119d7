
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>
#include <nginx.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_status.h"


static void ngx_ws_bus_status_json_zone(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz);
static void ngx_ws_bus_status_json_counters(ngx_ws_bus_status_page_t *page,
    const char *name, const char *const *names, uint64_t *counters,
    ngx_uint_t n);
static void ngx_ws_bus_status_json_closed(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz);
static void ngx_ws_bus_status_json_delivery(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz);
static void ngx_ws_bus_status_json_workers(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz);
static uint64_t ngx_ws_bus_status_percentile(ngx_ws_bus_status_zone_t *sz,
    ngx_uint_t percent);


void
ngx_ws_bus_status_json(ngx_ws_bus_status_page_t *page, ngx_array_t *zones)
{
    uint64_t                   uptime;
    ngx_uint_t                 i;
    ngx_ws_bus_status_zone_t  *sz;

    sz = zones->elts;
    uptime = 0;

    for (i = 0; i < zones->nelts; i++) {
        uptime = ngx_max(uptime, sz[i].now - sz[i].zone->sh->created);
    }

    ngx_ws_bus_status_print(page, "{\"version\":\"%s\",\"nginx\":\"%s\","
                            "\"uptime\":%uL,\"zones\":{",
                            NGX_WS_BUS_VERSION, NGINX_VERSION,
                            uptime / 1000000);

    for (i = 0; i < zones->nelts; i++) {
        ngx_ws_bus_status_print(page, "%s\"%V\":{", i ? "," : "", &sz[i].json);
        ngx_ws_bus_status_json_zone(page, &sz[i]);
        ngx_ws_bus_status_print(page, "}");
    }

    ngx_ws_bus_status_print(page, "}}\n");
}


static void
ngx_ws_bus_status_json_zone(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz)
{
    u_char               seconds[NGX_WS_BUS_SECONDS_LEN], *p;
    ngx_ws_bus_stats_t  *total;

    total = &sz->total;

    if (sz->log_used) {
        p = ngx_ws_bus_status_seconds(seconds, sz->oldest);

    } else {
        p = ngx_cpymem(seconds, "null", sizeof("null") - 1);
    }

    ngx_ws_bus_status_print(page, "\"size\":%uL,\"log\":{\"size\":%uL,"
                            "\"used\":%uL,\"oldest_age\":%*s,"
                            "\"overruns\":%uL}",
                            sz->size, sz->log_size, sz->log_used,
                            (size_t) (p - seconds), seconds, total->overruns);

    ngx_ws_bus_status_print(page, ",\"channels\":%uL,\"connections\":%uL,"
                            "\"subscriptions\":%uL",
                            sz->channels, total->connections,
                            total->subscriptions);

    ngx_ws_bus_status_print(page, ",\"messages_in\":%uL,\"messages_out\":%uL,"
                            "\"bytes_in\":%uL,\"bytes_out\":%uL",
                            total->messages_in, total->messages_out,
                            total->bytes_in, total->bytes_out);

    ngx_ws_bus_status_json_counters(page, "dropped", ngx_ws_bus_status_dropped,
                                    total->dropped, NGX_WS_BUS_DROPPED_N);

    ngx_ws_bus_status_print(page, ",\"limit\":{\"delayed\":%uL,"
                            "\"closed\":%uL}",
                            total->limit_delayed, total->limit_closed);

    ngx_ws_bus_status_json_closed(page, sz);

    ngx_ws_bus_status_json_counters(page, "refused", ngx_ws_bus_status_refused,
                                    total->refused, NGX_WS_BUS_REFUSED_N);

    ngx_ws_bus_status_json_delivery(page, sz);

    ngx_ws_bus_status_json_workers(page, sz);

    if (sz->zone->sh->remote) {
        ngx_ws_bus_status_json_redis(page, sz);
    }
}


static void
ngx_ws_bus_status_json_counters(ngx_ws_bus_status_page_t *page,
    const char *name, const char *const *names, uint64_t *counters,
    ngx_uint_t n)
{
    ngx_uint_t  i;

    ngx_ws_bus_status_print(page, ",\"%s\":{", name);

    for (i = 0; i < n; i++) {
        ngx_ws_bus_status_print(page, "%s\"%s\":%uL", i ? "," : "", names[i],
                                counters[i]);
    }

    ngx_ws_bus_status_print(page, "}");
}


static void
ngx_ws_bus_status_json_closed(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz)
{
    const char  *comma;
    ngx_uint_t   i, code;

    ngx_ws_bus_status_print(page, ",\"closed\":{");

    comma = "";

    for (i = 0; i < NGX_WS_BUS_CLOSED_N; i++) {

        if (sz->total.closed[i] == 0) {
            continue;
        }

        code = ngx_ws_bus_closed_code(i);

        if (code) {
            ngx_ws_bus_status_print(page, "%s\"%ui\":%uL", comma, code,
                                    sz->total.closed[i]);

        } else {
            ngx_ws_bus_status_print(page, "%s\"other\":%uL", comma,
                                    sz->total.closed[i]);
        }

        comma = ",";
    }

    ngx_ws_bus_status_print(page, "}");
}


static void
ngx_ws_bus_status_json_delivery(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz)
{
    uint64_t  p50, p99;

    if (sz->delivered == 0) {
        ngx_ws_bus_status_print(page, ",\"delivery\":{\"p50_ms\":null,"
                                "\"p99_ms\":null}");
        return;
    }

    p50 = ngx_ws_bus_status_percentile(sz, 50);
    p99 = ngx_ws_bus_status_percentile(sz, 99);

    ngx_ws_bus_status_print(page, ",\"delivery\":{\"p50_ms\":%uL.%03uL,"
                            "\"p99_ms\":%uL.%03uL}",
                            p50 / 1000, p50 % 1000, p99 / 1000, p99 % 1000);
}


static void
ngx_ws_bus_status_json_workers(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz)
{
    ngx_pid_t            pid;
    ngx_uint_t           i;
    const char          *comma;
    ngx_ws_bus_slot_t   *slot;
    ngx_ws_bus_stats_t  *stats;

    ngx_ws_bus_status_print(page, ",\"workers\":[");

    comma = "";

    for (i = 0; i < sz->nslots; i++) {
        slot = sz->zone->sh->slots[i];

        if (slot == NULL) {
            continue;
        }

        pid = slot->pid;

        if (pid == 0) {
            continue;
        }

        stats = &slot->stats;

        ngx_ws_bus_status_print(page, "%s{\"pid\":%P,\"generation\":%uL,"
                                "\"uptime\":%T,\"connections\":%uL,"
                                "\"subscriptions\":%uL,\"messages_in\":%uL,"
                                "\"messages_out\":%uL,\"overruns\":%uL}",
                                comma, pid, slot->generation,
                                ngx_max(ngx_time() - slot->started, 0),
                                stats->connections, stats->subscriptions,
                                stats->messages_in, stats->messages_out,
                                stats->overruns);

        comma = ",";
    }

    ngx_ws_bus_status_print(page, "]");
}


/*
 * As Prometheus's histogram_quantile(): deliveries are taken to be spread
 * evenly over their bucket, those of the last one to lie at its lower bound.
 */

static uint64_t
ngx_ws_bus_status_percentile(ngx_ws_bus_status_zone_t *sz, ngx_uint_t percent)
{
    uint64_t    rank, before, n, lower, upper;
    ngx_uint_t  i;

    /* in hundredths of a delivery */

    rank = sz->delivered * percent;
    before = 0;
    lower = 0;

    for (i = 0; i < NGX_WS_BUS_LATENCY_N - 1; i++) {

        n = sz->total.latency[i] * 100;
        upper = ngx_ws_bus_latency_bounds[i];

        if (before + n >= rank) {
            return lower + (upper - lower) * (rank - before) / n;
        }

        before += n;
        lower = upper;
    }

    return lower;
}
