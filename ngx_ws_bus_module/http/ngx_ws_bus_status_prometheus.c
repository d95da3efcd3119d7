
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


typedef struct {
    const char  *name;
    const char  *type;
    const char  *help;
    size_t       offset;     /* of a uint64_t in ngx_ws_bus_status_zone_t */
} ngx_ws_bus_status_metric_t;


static void ngx_ws_bus_status_family(ngx_ws_bus_status_page_t *page,
    const char *name, const char *type, const char *help);
static void ngx_ws_bus_status_oldest(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);
static void ngx_ws_bus_status_reasons(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones, const char *name, const char *help,
    const char *const *reasons, size_t offset, ngx_uint_t n);
static void ngx_ws_bus_status_closed(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);
static void ngx_ws_bus_status_delivery(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);


static const ngx_ws_bus_status_metric_t  ngx_ws_bus_status_metrics[] = {

    { "ws_bus_connections", "gauge",
      "Open WebSocket connections.",
      offsetof(ngx_ws_bus_status_zone_t, total.connections) },

    { "ws_bus_subscriptions", "gauge",
      "Subscriptions of the open connections.",
      offsetof(ngx_ws_bus_status_zone_t, total.subscriptions) },

    { "ws_bus_channels", "gauge",
      "Channels that the zone knows.",
      offsetof(ngx_ws_bus_status_zone_t, channels) },

    { "ws_bus_workers", "gauge",
      "Worker processes that use the zone.",
      offsetof(ngx_ws_bus_status_zone_t, workers) },

    { "ws_bus_messages_in_total", "counter",
      "Messages published.",
      offsetof(ngx_ws_bus_status_zone_t, total.messages_in) },

    { "ws_bus_messages_out_total", "counter",
      "Messages sent to clients.",
      offsetof(ngx_ws_bus_status_zone_t, total.messages_out) },

    { "ws_bus_bytes_in_total", "counter",
      "Payload bytes published.",
      offsetof(ngx_ws_bus_status_zone_t, total.bytes_in) },

    { "ws_bus_bytes_out_total", "counter",
      "Payload bytes sent to clients.",
      offsetof(ngx_ws_bus_status_zone_t, total.bytes_out) },

    { "ws_bus_overruns_total", "counter",
      "Times that a worker was lapped by the log.",
      offsetof(ngx_ws_bus_status_zone_t, total.overruns) },

    { "ws_bus_limit_delayed_total", "counter",
      "Messages delayed by ws_bus_limit.",
      offsetof(ngx_ws_bus_status_zone_t, total.limit_delayed) },

    { "ws_bus_limit_closed_total", "counter",
      "Connections closed by ws_bus_limit.",
      offsetof(ngx_ws_bus_status_zone_t, total.limit_closed) },

    { "ws_bus_zone_size_bytes", "gauge",
      "Size of the zone.",
      offsetof(ngx_ws_bus_status_zone_t, size) },

    { "ws_bus_log_size_bytes", "gauge",
      "Size of the message log.",
      offsetof(ngx_ws_bus_status_zone_t, log_size) },

    { "ws_bus_log_bytes", "gauge",
      "Bytes of the message log in use.",
      offsetof(ngx_ws_bus_status_zone_t, log_used) },

    { NULL, NULL, NULL, 0 }
};


/*
 * The text format 0.0.4: all samples of a metric stand together.
 */

void
ngx_ws_bus_status_prometheus(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones)
{
    ngx_uint_t                         i;
    ngx_ws_bus_status_zone_t          *sz;
    const ngx_ws_bus_status_metric_t  *m;

    sz = zones->elts;

    ngx_ws_bus_status_family(page, "ws_bus_build_info", "gauge",
                             "Versions, the value is always 1.");

    ngx_ws_bus_status_print(page, "ws_bus_build_info{version=\"%s\","
                            "nginx=\"%s\"} 1\n",
                            NGX_WS_BUS_VERSION, NGINX_VERSION);

    for (m = ngx_ws_bus_status_metrics; m->name; m++) {

        ngx_ws_bus_status_family(page, m->name, m->type, m->help);

        for (i = 0; i < zones->nelts; i++) {
            ngx_ws_bus_status_print(page, "%s{zone=\"%V\"} %uL\n", m->name,
                                    &sz[i].label,
                                    *(uint64_t *) ((u_char *) &sz[i]
                                                   + m->offset));
        }
    }

    ngx_ws_bus_status_oldest(page, zones);

    ngx_ws_bus_status_reasons(page, zones, "ws_bus_dropped_total",
                              "Messages that a subscriber did not get, or "
                              "nobody with reason limit.",
                              ngx_ws_bus_status_dropped,
                              offsetof(ngx_ws_bus_stats_t, dropped),
                              NGX_WS_BUS_DROPPED_N);

    ngx_ws_bus_status_reasons(page, zones, "ws_bus_refused_total",
                              "Handshakes refused.",
                              ngx_ws_bus_status_refused,
                              offsetof(ngx_ws_bus_stats_t, refused),
                              NGX_WS_BUS_REFUSED_N);

    ngx_ws_bus_status_closed(page, zones);

    ngx_ws_bus_status_delivery(page, zones);

    ngx_ws_bus_status_prometheus_redis(page, zones);
}


static void
ngx_ws_bus_status_family(ngx_ws_bus_status_page_t *page, const char *name,
    const char *type, const char *help)
{
    ngx_ws_bus_status_print(page, "# HELP %s %s\n# TYPE %s %s\n",
                            name, help, name, type);
}


static void
ngx_ws_bus_status_oldest(ngx_ws_bus_status_page_t *page, ngx_array_t *zones)
{
    u_char                     buf[NGX_WS_BUS_SECONDS_LEN], *p;
    ngx_uint_t                 i;
    ngx_ws_bus_status_zone_t  *sz;

    ngx_ws_bus_status_family(page, "ws_bus_log_oldest_seconds", "gauge",
                             "Age of the oldest message in the log.");

    sz = zones->elts;

    for (i = 0; i < zones->nelts; i++) {
        p = ngx_ws_bus_status_seconds(buf, sz[i].oldest);

        ngx_ws_bus_status_print(page,
                                "ws_bus_log_oldest_seconds{zone=\"%V\"} %*s\n",
                                &sz[i].label, (size_t) (p - buf), buf);
    }
}


static void
ngx_ws_bus_status_reasons(ngx_ws_bus_status_page_t *page, ngx_array_t *zones,
    const char *name, const char *help, const char *const *reasons,
    size_t offset, ngx_uint_t n)
{
    uint64_t                  *counters;
    ngx_uint_t                 i, k;
    ngx_ws_bus_status_zone_t  *sz;

    ngx_ws_bus_status_family(page, name, "counter", help);

    sz = zones->elts;

    for (i = 0; i < zones->nelts; i++) {

        counters = (uint64_t *) ((u_char *) &sz[i].total + offset);

        for (k = 0; k < n; k++) {
            ngx_ws_bus_status_print(page, "%s{zone=\"%V\",reason=\"%s\"} %uL\n",
                                    name, &sz[i].label, reasons[k],
                                    counters[k]);
        }
    }
}


static void
ngx_ws_bus_status_closed(ngx_ws_bus_status_page_t *page, ngx_array_t *zones)
{
    ngx_uint_t                 i, k, code;
    ngx_ws_bus_status_zone_t  *sz;

    ngx_ws_bus_status_family(page, "ws_bus_closed_total", "counter",
                             "Connections ended, by close code.");

    sz = zones->elts;

    for (i = 0; i < zones->nelts; i++) {

        for (k = 0; k < NGX_WS_BUS_CLOSED_N; k++) {

            ngx_ws_bus_status_print(page, "ws_bus_closed_total{zone=\"%V\","
                                    "code=\"",
                                    &sz[i].label);

            code = ngx_ws_bus_closed_code(k);

            if (code) {
                ngx_ws_bus_status_print(page, "%ui", code);

            } else {
                ngx_ws_bus_status_print(page, "other");
            }

            ngx_ws_bus_status_print(page, "\"} %uL\n", sz[i].total.closed[k]);
        }
    }
}


static void
ngx_ws_bus_status_delivery(ngx_ws_bus_status_page_t *page, ngx_array_t *zones)
{
    u_char                     buf[NGX_WS_BUS_SECONDS_LEN], *p;
    uint64_t                   n;
    ngx_uint_t                 i, k;
    ngx_ws_bus_status_zone_t  *sz;

    ngx_ws_bus_status_family(page, "ws_bus_delivery_seconds", "histogram",
                             "Time from a message's publication until it is "
                             "handed to a subscriber's connection.");

    sz = zones->elts;

    for (i = 0; i < zones->nelts; i++) {

        n = 0;

        for (k = 0; k < NGX_WS_BUS_LATENCY_N - 1; k++) {

            n += sz[i].total.latency[k];
            p = ngx_ws_bus_status_seconds(buf, ngx_ws_bus_latency_bounds[k]);

            ngx_ws_bus_status_print(page, "ws_bus_delivery_seconds_bucket{"
                                    "zone=\"%V\",le=\"%*s\"} %uL\n",
                                    &sz[i].label, (size_t) (p - buf), buf, n);
        }

        p = ngx_ws_bus_status_seconds(buf, sz[i].total.latency_sum);

        ngx_ws_bus_status_print(page, "ws_bus_delivery_seconds_bucket{"
                                "zone=\"%V\",le=\"+Inf\"} %uL\n"
                                "ws_bus_delivery_seconds_sum{zone=\"%V\"} "
                                "%*s\n"
                                "ws_bus_delivery_seconds_count{zone=\"%V\"} "
                                "%uL\n",
                                &sz[i].label, sz[i].delivered,
                                &sz[i].label, (size_t) (p - buf), buf,
                                &sz[i].label, sz[i].delivered);
    }
}
