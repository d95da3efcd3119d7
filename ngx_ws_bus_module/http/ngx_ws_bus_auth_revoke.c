
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_revoke.h"


/* how long a token is refused if nobody says, seconds */
#define NGX_WS_BUS_REVOKE_TIME      86400

/* no token lives for longer */
#define NGX_WS_BUS_REVOKE_TIME_MAX  (10 * 366 * 86400)


static ngx_int_t ngx_ws_bus_auth_revoke_args(ngx_http_request_t *r,
    ngx_ws_bus_revocation_t *rev, time_t *time, const char **reason);
static ngx_int_t ngx_ws_bus_auth_revoke_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
static void ngx_ws_bus_auth_kick(ngx_ws_bus_hub_t *hub,
    const ngx_ws_bus_revocation_t *rev);
static ngx_uint_t ngx_ws_bus_auth_meant(ngx_ws_bus_jwt_t *jwt,
    const ngx_ws_bus_revocation_t *rev);
static void ngx_ws_bus_auth_recheck_handler(ngx_event_t *ev);


static ngx_connection_t  ngx_ws_bus_auth_revoke_dumb;
static ngx_event_t       ngx_ws_bus_auth_recheck;


ngx_int_t
ngx_ws_bus_auth_revoke(ngx_http_request_t *r)
{
    time_t                    time;
    ngx_int_t                 rc;
    const char               *reason;
    ngx_ws_bus_auth_t        *auth;
    ngx_ws_bus_loc_conf_t    *conf;
    ngx_ws_bus_revocation_t   rev;

    time = NGX_WS_BUS_REVOKE_TIME;
    reason = NULL;

    rc = ngx_ws_bus_auth_revoke_args(r, &rev, &time, &reason);

    if (rc == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (reason) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_BAD_REQUEST, reason);
    }

    /* whoever may publish to some channels may not end all connections */

    auth = ngx_ws_bus_auth_get(r);

    if (auth && auth->grants) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_FORBIDDEN,
                                           "grants do not allow to revoke");
    }

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    rev.time = ngx_time();

    rc = ngx_ws_bus_revoke_publish(conf->zone->hub, &rev, rev.time + time);

    if (rc != NGX_OK) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "the zone cannot remember more revocations");
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "ws bus tokens revoked for %T seconds", time);

    return NGX_HTTP_NO_CONTENT;
}


/*
 * NGX_DECLINED if the request revokes nothing, NGX_ERROR without memory,
 * NGX_OK; *reason is set if it cannot be understood.
 */

static ngx_int_t
ngx_ws_bus_auth_revoke_args(ngx_http_request_t *r,
    ngx_ws_bus_revocation_t *rev, time_t *time, const char **reason)
{
    ngx_int_t  sub, jti, rc;
    ngx_str_t  value;

    sub = ngx_ws_bus_auth_revoke_arg(r, "sub", &rev->value);
    rev->kind = NGX_WS_BUS_REVOKE_SUB;

    jti = ngx_ws_bus_auth_revoke_arg(r, "jti", &value);

    if (jti == NGX_OK) {
        rev->value = value;
        rev->kind = NGX_WS_BUS_REVOKE_JTI;
    }

    if (sub == NGX_ERROR || jti == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (sub == NGX_DECLINED && jti == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    if (sub == jti) {
        *reason = "\"sub\" and \"jti\" exclude each other";
        return NGX_OK;
    }

    if (rev->value.len == 0
        || rev->value.len > NGX_WS_BUS_REVOKE_VALUE_MAX)
    {
        *reason = "invalid \"sub\" or \"jti\"";
        return NGX_OK;
    }

    rc = ngx_ws_bus_auth_revoke_arg(r, "for", &value);

    if (rc == NGX_OK) {
        *time = ngx_parse_time(&value, 1);

        if (*time == (time_t) NGX_ERROR || *time == 0
            || *time > NGX_WS_BUS_REVOKE_TIME_MAX)
        {
            *reason = "invalid \"for\"";
        }
    }

    return (rc == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_ws_bus_auth_revoke_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    u_char     *src, *dst;
    ngx_str_t   arg;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) != NGX_OK) {
        return NGX_DECLINED;
    }

    dst = ngx_pnalloc(r->pool, arg.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    value->data = dst;
    src = arg.data;

    ngx_unescape_uri(&dst, &src, arg.len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


void
ngx_ws_bus_auth_revoke_init(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_auth_revoke_dumb.fd = (ngx_socket_t) -1;

    ngx_ws_bus_auth_recheck.handler = ngx_ws_bus_auth_recheck_handler;
    ngx_ws_bus_auth_recheck.data = &ngx_ws_bus_auth_revoke_dumb;
    ngx_ws_bus_auth_recheck.log = ngx_cycle->log;

    if (zone->hub) {
        zone->hub->revoked = ngx_ws_bus_auth_kick;
    }
}


ngx_uint_t
ngx_ws_bus_auth_revoked(ngx_ws_bus_zone_t *zone, ngx_ws_bus_jwt_t *jwt)
{
    time_t  now;

    now = ngx_time();

    if (zone == NULL || zone->sh == NULL) {
        return 0;
    }

    if (jwt->sub.len
        && ngx_ws_bus_revoked(zone, NGX_WS_BUS_REVOKE_SUB, &jwt->sub,
                              jwt->iat, now))
    {
        return 1;
    }

    return jwt->jti.len
           && ngx_ws_bus_revoked(zone, NGX_WS_BUS_REVOKE_JTI, &jwt->jti, 0,
                                 now);
}


/*
 * Of this worker, and of one zone or of all; without a revocation those that
 * the zones know of.
 */

static void
ngx_ws_bus_auth_kick(ngx_ws_bus_hub_t *hub,
    const ngx_ws_bus_revocation_t *rev)
{
    ngx_queue_t           *q, *next, *sessions;
    ngx_ws_bus_auth_t     *auth;
    ngx_ws_bus_session_t  *s;

    sessions = ngx_ws_bus_auth_sessions();

    for (q = ngx_queue_head(sessions);
         q != ngx_queue_sentinel(sessions);
         q = next)
    {
        next = ngx_queue_next(q);

        auth = ngx_queue_data(q, ngx_ws_bus_auth_t, queue);
        s = auth->session;

        if (hub && s->hub != hub) {
            continue;
        }

        if (rev ? ngx_ws_bus_auth_meant(&auth->jwt, rev)
                : ngx_ws_bus_auth_revoked(s->hub->zone, &auth->jwt))
        {
            ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_KICKED, "revoked");
        }
    }
}


static ngx_uint_t
ngx_ws_bus_auth_meant(ngx_ws_bus_jwt_t *jwt,
    const ngx_ws_bus_revocation_t *rev)
{
    ngx_str_t  *value;

    value = (rev->kind == NGX_WS_BUS_REVOKE_SUB) ? &jwt->sub : &jwt->jti;

    return value->len == rev->value.len
           && ngx_memcmp(value->data, rev->value.data, value->len) == 0
           && (rev->kind == NGX_WS_BUS_REVOKE_JTI || jwt->iat <= rev->time);
}


void
ngx_ws_bus_auth_revoke_check(ngx_ws_bus_session_t *s)
{
    if (ngx_ws_bus_auth_revoked(s->hub->zone, &s->auth->jwt)
        && !ngx_ws_bus_auth_recheck.posted)
    {
        ngx_post_event(&ngx_ws_bus_auth_recheck, &ngx_posted_events);
    }
}


static void
ngx_ws_bus_auth_recheck_handler(ngx_event_t *ev)
{
    (void) ev;

    ngx_ws_bus_auth_kick(NULL, NULL);
}
