
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_status.h"


/*
 * What a zone that spans hosts has to say of its Redis.
 */


typedef struct {
    const char  *name;
    const char  *type;
    const char  *labels;
    const char  *help;            /* NULL: of the same name as before */
    ngx_uint_t   workers;         /* unsigned  workers:1; summed up */
    size_t       offset;          /* in ngx_ws_bus_stats_t then, otherwise in
                                     ngx_ws_bus_remote_sh_t */
} ngx_ws_bus_status_redis_t;


static void ngx_ws_bus_status_rtt(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones);


#define ngx_ws_bus_status_redis(field)                                        \
    0, offsetof(ngx_ws_bus_remote_sh_t, field)

#define ngx_ws_bus_status_worker(field)                                       \
    1, offsetof(ngx_ws_bus_stats_t, field)

#define ngx_ws_bus_status_link(field)                                         \
    1, offsetof(ngx_ws_bus_stats_t, remote_link)                              \
       + offsetof(ngx_ws_bus_link_stats_t, field)


static const ngx_ws_bus_status_redis_t  ngx_ws_bus_status_redises[] = {

    { "ws_bus_redis_up", "gauge", "",
      "1 if the host is subscribed.",
      ngx_ws_bus_status_redis(up) },

    { "ws_bus_redis_channels", "gauge", "",
      "Channels that the host is subscribed to, or is going to be.",
      ngx_ws_bus_status_redis(channels) },

    { "ws_bus_redis_live_channels", "gauge", "",
      "Channels that are subscribed to and complete.",
      ngx_ws_bus_status_redis(nlive) },

    { "ws_bus_redis_received_total", "counter", "",
      "Messages received.",
      ngx_ws_bus_status_redis(stats.received) },

    { "ws_bus_redis_invalid_total", "counter", "",
      "Messages that could not be read.",
      ngx_ws_bus_status_redis(stats.invalid) },

    { "ws_bus_redis_reconnects_total", "counter", "",
      "Times that the subscriptions were lost with their connection.",
      ngx_ws_bus_status_redis(stats.reconnects) },

    { "ws_bus_redis_takeovers_total", "counter", "",
      "Times that a worker has taken the bridge.",
      ngx_ws_bus_status_redis(stats.takeovers) },

    { "ws_bus_redis_errors_total", "counter", "",
      "Commands that Redis has refused.",
      ngx_ws_bus_status_worker(remote_errors) },

    { "ws_bus_redis_commands_total", "counter", "",
      "Commands sent.",
      ngx_ws_bus_status_link(commands) },

    { "ws_bus_redis_timeouts_total", "counter", "",
      "Commands that were not answered in time.",
      ngx_ws_bus_status_link(timeouts) },

    { "ws_bus_redis_connects_total", "counter", "",
      "Connections of workers that were made.",
      ngx_ws_bus_status_link(connects) },

    { "ws_bus_redis_publications", "gauge", ",state=\"waiting\"",
      "Publications that wait for a connection, or for an answer.",
      ngx_ws_bus_status_worker(waiting.n) },

    { "ws_bus_redis_publications", "gauge", ",state=\"sent\"",
      NULL,
      ngx_ws_bus_status_worker(sent.n) },

    { "ws_bus_redis_publications_bytes", "gauge", ",state=\"waiting\"",
      "Memory of these publications.",
      ngx_ws_bus_status_worker(waiting.bytes) },

    { "ws_bus_redis_publications_bytes", "gauge", ",state=\"sent\"",
      NULL,
      ngx_ws_bus_status_worker(sent.bytes) },

    { "ws_bus_redis_resets_total", "counter", "",
      "Channels of which Redis had lost messages.",
      ngx_ws_bus_status_redis(stats.resets) },

    { "ws_bus_redis_gaps_found_total", "counter", "",
      "Times that messages were missed.",
      ngx_ws_bus_status_redis(stats.gaps) },

    { "ws_bus_gaps_total", "counter", ",repaired=\"yes\"",
      "Messages missed, by whether they could be fetched.",
      ngx_ws_bus_status_redis(stats.repaired) },

    { "ws_bus_gaps_total", "counter", ",repaired=\"no\"",
      NULL,
      ngx_ws_bus_status_redis(stats.lost) },

    { NULL, NULL, NULL, NULL, 0, 0 }
};


void
ngx_ws_bus_status_json_redis(ngx_ws_bus_status_page_t *page,
    ngx_ws_bus_status_zone_t *sz)
{
    ngx_ws_bus_stats_t         *total;
    ngx_ws_bus_remote_sh_t     *remote;
    ngx_ws_bus_link_stats_t    *link;
    ngx_ws_bus_remote_stats_t  *stats;

    remote = sz->zone->sh->remote;
    stats = &remote->stats;
    total = &sz->total;
    link = (ngx_ws_bus_link_stats_t *) total->remote_link;

    ngx_ws_bus_status_print(page, ",\"redis\":{\"state\":\"%s\",\"since\":%T,"
                            "\"owner\":%P,\"channels\":%uL,\"live\":%uL,"
                            "\"rtt_ms\":%uL.%03uL",
                            remote->up ? "up" : "down",
                            ngx_max(ngx_time() - remote->since, 0),
                            remote->pid, remote->channels, remote->nlive,
                            remote->rtt / 1000, remote->rtt % 1000);

    ngx_ws_bus_status_print(page, ",\"received\":%uL,\"invalid\":%uL,"
                            "\"reconnects\":%uL,\"takeovers\":%uL,"
                            "\"errors\":%uL,\"gaps\":{\"found\":%uL,"
                            "\"repaired\":%uL,\"lost\":%uL,"
                            "\"resets\":%uL}",
                            stats->received, stats->invalid,
                            stats->reconnects, stats->takeovers,
                            total->remote_errors, stats->gaps,
                            stats->repaired, stats->lost, stats->resets);

    ngx_ws_bus_status_print(page, ",\"commands\":%uL,\"timeouts\":%uL,"
                            "\"connects\":%uL,\"publications\":{"
                            "\"waiting\":%uL,\"waiting_bytes\":%uL,"
                            "\"sent\":%uL,\"sent_bytes\":%uL}}",
                            link->commands, link->timeouts, link->connects,
                            total->waiting.n, total->waiting.bytes,
                            total->sent.n, total->sent.bytes);
}


void
ngx_ws_bus_status_prometheus_redis(ngx_ws_bus_status_page_t *page,
    ngx_array_t *zones)
{
    u_char                           *p;
    ngx_uint_t                        i;
    ngx_ws_bus_remote_sh_t           *remote;
    ngx_ws_bus_status_zone_t         *sz;
    const ngx_ws_bus_status_redis_t  *m;

    sz = zones->elts;

    for (i = 0; i < zones->nelts; i++) {
        if (sz[i].zone->sh->remote) {
            break;
        }
    }

    if (i == zones->nelts) {
        return;
    }

    for (m = ngx_ws_bus_status_redises; m->name; m++) {

        if (m->help) {
            ngx_ws_bus_status_print(page, "# HELP %s %s\n# TYPE %s %s\n",
                                    m->name, m->help, m->name, m->type);
        }

        for (i = 0; i < zones->nelts; i++) {

            remote = sz[i].zone->sh->remote;

            if (remote) {
                p = m->workers ? (u_char *) &sz[i].total : (u_char *) remote;

                ngx_ws_bus_status_print(page, "%s{zone=\"%V\"%s} %uL\n",
                                        m->name, &sz[i].label, m->labels,
                                        *(uint64_t *) (p + m->offset));
            }
        }
    }

    ngx_ws_bus_status_rtt(page, zones);
}


static void
ngx_ws_bus_status_rtt(ngx_ws_bus_status_page_t *page, ngx_array_t *zones)
{
    u_char                     buf[NGX_WS_BUS_SECONDS_LEN], *p;
    uint64_t                   n;
    ngx_uint_t                 i, k;
    ngx_ws_bus_link_stats_t   *stats;
    ngx_ws_bus_status_zone_t  *sz;

    sz = zones->elts;

    ngx_ws_bus_status_print(page, "# HELP ws_bus_redis_rtt_seconds From a "
                            "command to its answer.\n"
                            "# TYPE ws_bus_redis_rtt_seconds histogram\n");

    for (i = 0; i < zones->nelts; i++) {

        if (sz[i].zone->sh->remote == NULL) {
            continue;
        }

        stats = (ngx_ws_bus_link_stats_t *) sz[i].total.remote_link;
        n = 0;

        for (k = 0; k < NGX_WS_BUS_LINK_RTT_N - 1; k++) {
            n += stats->rtt[k];

            p = ngx_ws_bus_status_seconds(buf, ngx_ws_bus_link_rtt_bounds[k]);

            ngx_ws_bus_status_print(page, "ws_bus_redis_rtt_seconds_bucket"
                                    "{zone=\"%V\",le=\"%*s\"} %uL\n",
                                    &sz[i].label, (size_t) (p - buf), buf, n);
        }

        n += stats->rtt[k];
        p = ngx_ws_bus_status_seconds(buf, stats->rtt_sum);

        ngx_ws_bus_status_print(page, "ws_bus_redis_rtt_seconds_bucket"
                                "{zone=\"%V\",le=\"+Inf\"} %uL\n"
                                "ws_bus_redis_rtt_seconds_sum{zone=\"%V\"} "
                                "%*s\n"
                                "ws_bus_redis_rtt_seconds_count{zone=\"%V\"} "
                                "%uL\n",
                                &sz[i].label, n, &sz[i].label,
                                (size_t) (p - buf), buf, &sz[i].label, n);
    }
}


const char *
ngx_ws_bus_status_unready(ngx_http_request_t *r)
{
    u_char                   *text;
    ngx_uint_t                i;
    const char               *why;
    ngx_ws_bus_zone_t       **zone;
    ngx_ws_bus_main_conf_t   *wmcf;

    wmcf = ngx_http_get_module_main_conf(r, ngx_ws_bus_module);

    zone = wmcf->zones.elts;

    for (i = 0; i < wmcf->zones.nelts; i++) {

        if (zone[i]->hub == NULL) {
            why = "has no memory for this worker process";

        } else if (zone[i]->remote && zone[i]->remote->required
                   && !zone[i]->sh->remote->up)
        {
            why = "is not connected to its redis";

        } else {
            continue;
        }

        text = ngx_pnalloc(r->pool, sizeof("not ready: zone \"\" ")
                                    + zone[i]->name.len + ngx_strlen(why));
        if (text == NULL) {
            return "not ready";
        }

        ngx_sprintf(text, "not ready: zone \"%V\" %s%Z", &zone[i]->name, why);

        return (const char *) text;
    }

    return NULL;
}
