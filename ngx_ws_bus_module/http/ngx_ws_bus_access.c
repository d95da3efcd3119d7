
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_pattern.h"


/*
 * Who may come in.  A browser lets any page open a WebSocket to any host, and
 * sends the cookies along: the origin is what tells our pages from others.
 */


/*
 * Steps of a regular expression, from each of the bytes where a match may
 * begin: PCRE's own 10 million are seconds, for whoever sends a header.
 */
#define NGX_WS_BUS_ACCESS_STEPS  "(*LIMIT_MATCH=10000)"


struct ngx_ws_bus_origins_s {
    ngx_array_t   patterns;     /* of ngx_ws_bus_origin_t */
#if (NGX_PCRE)
    ngx_array_t   regexes;      /* of ngx_regex_t * */
#endif
    ngx_uint_t    any;          /* unsigned  any:1; */
    ngx_uint_t    same;         /* unsigned  same:1; */
    ngx_uint_t    require;      /* unsigned  require:1; */
};


static ngx_int_t ngx_ws_bus_access_origin(ngx_http_request_t *r,
    ngx_ws_bus_origins_t *origins, ngx_str_t *value);
#if (NGX_PCRE)
static ngx_int_t ngx_ws_bus_access_exec(ngx_http_request_t *r,
    ngx_array_t *regexes, ngx_str_t *value);
#endif
static ngx_uint_t ngx_ws_bus_access_same(ngx_http_request_t *r,
    ngx_ws_bus_origin_t *origin);
static ngx_table_elt_t *ngx_ws_bus_access_header(ngx_http_request_t *r,
    ngx_uint_t *n);
static char *ngx_ws_bus_access_regex(ngx_conf_t *cf,
    ngx_ws_bus_origins_t *origins, ngx_str_t *value);


/*
 * Runs in the preaccess phase: an origin that is not wanted is refused
 * whatever "satisfy" says of other gates, and costs nothing of what
 * limit_req counts.
 */

ngx_int_t
ngx_ws_bus_access_handler(ngx_http_request_t *r)
{
    ngx_uint_t              n;
    ngx_table_elt_t        *h;
    ngx_ws_bus_ctx_t       *ctx;
    ngx_ws_bus_origins_t   *origins;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (conf->zone == NULL) {
        return NGX_DECLINED;
    }

    origins = conf->origins;

    if (origins && origins->any) {
        return NGX_DECLINED;
    }

    h = ngx_ws_bus_access_header(r, &n);

    if (n == 0 && (origins == NULL || !origins->require)) {

        /* not a browser */

        return NGX_DECLINED;
    }

    ctx = ngx_ws_bus_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (n == 1
        && ngx_ws_bus_access_origin(r, origins, &h->value) == NGX_OK)
    {
        ctx->outcome = NGX_WS_BUS_AUTH_PASSED;
        return NGX_DECLINED;
    }

    ctx->outcome = NGX_WS_BUS_AUTH_REJECTED_ORIGIN;

    if (conf->zone->hub) {
        conf->zone->hub->slot->stats.refused[NGX_WS_BUS_REFUSED_ORIGIN]++;
    }

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_REFUSE, NULL, NGX_HTTP_FORBIDDEN,
                     n == 0 ? "no Origin header" : "origin not allowed", 0);

    if (n == 0) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "refused: no Origin header");

    } else {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "refused: origin \"%V\"%s", &h->value,
                      n == 1 ? "" : ", repeated");
    }

    return NGX_HTTP_FORBIDDEN;
}


/*
 * NGX_OK, or NGX_DECLINED if the origin is not one of those.
 */

static ngx_int_t
ngx_ws_bus_access_origin(ngx_http_request_t *r, ngx_ws_bus_origins_t *origins,
    ngx_str_t *value)
{
    ngx_uint_t            i;
    ngx_ws_bus_origin_t   origin, *pattern;

    if (ngx_ws_bus_origin_parse(value, &origin) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (origins == NULL) {
        return ngx_ws_bus_access_same(r, &origin) ? NGX_OK : NGX_DECLINED;
    }

    if (origins->same && ngx_ws_bus_access_same(r, &origin)) {
        return NGX_OK;
    }

    pattern = origins->patterns.elts;

    for (i = 0; i < origins->patterns.nelts; i++) {
        if (ngx_ws_bus_origin_match(&pattern[i], &origin)) {
            return NGX_OK;
        }
    }

#if (NGX_PCRE)
    return ngx_ws_bus_access_exec(r, &origins->regexes, value);
#else
    return NGX_DECLINED;
#endif
}


#if (NGX_PCRE)

static ngx_int_t
ngx_ws_bus_access_exec(ngx_http_request_t *r, ngx_array_t *regexes,
    ngx_str_t *value)
{
    ngx_int_t      rc;
    ngx_uint_t     i;
    ngx_regex_t  **regex;

    regex = regexes->elts;

    for (i = 0; i < regexes->nelts; i++) {

        rc = ngx_regex_exec(regex[i], value, NULL, 0);

        if (rc >= 0) {
            return NGX_OK;
        }

        if (rc < NGX_REGEX_NO_MATCHED) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          ngx_regex_exec_n " failed: %i on origin \"%V\"",
                          rc, value);
        }
    }

    return NGX_DECLINED;
}

#endif


static ngx_uint_t
ngx_ws_bus_access_same(ngx_http_request_t *r, ngx_ws_bus_origin_t *origin)
{
    ngx_str_t  scheme, authority;

    if (r->http_version > NGX_HTTP_VERSION_20 && r->host_start) {

        /* the pseudo-header of HTTP/3, of which nginx makes no header */

        authority.data = r->host_start;
        authority.len = r->host_end - r->host_start;

    } else if (r->headers_in.host) {
        authority = r->headers_in.host->value;

    } else {
        return 0;
    }

    if (ngx_ws_bus_is_ssl(r->connection)) {
        ngx_str_set(&scheme, "https");

    } else {
        ngx_str_set(&scheme, "http");
    }

    return ngx_ws_bus_origin_same(origin, &scheme, &authority, 0);
}


static ngx_table_elt_t *
ngx_ws_bus_access_header(ngx_http_request_t *r, ngx_uint_t *n)
{
    ngx_table_elt_t       *h, *found;
    ngx_ws_bus_headers_t   all;

    found = NULL;
    *n = 0;

    for (h = ngx_ws_bus_header_first(r, &all);
         h;
         h = ngx_ws_bus_header_next(&all))
    {
        if (ngx_ws_bus_header_is(h, "origin")) {
            found = h;
            (*n)++;
        }
    }

    return found;
}


char *
ngx_ws_bus_origin_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    char                  *rv;
    ngx_str_t             *value;
    ngx_uint_t             i;
    const ngx_str_t       *reason;
    ngx_ws_bus_origin_t   *origin;
    ngx_ws_bus_origins_t  *origins;

    (void) cmd;

    if (wlcf->origins != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    origins = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_origins_t));
    if (origins == NULL
        || ngx_array_init(&origins->patterns, cf->pool, 4,
                          sizeof(ngx_ws_bus_origin_t))
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

#if (NGX_PCRE)

    if (ngx_array_init(&origins->regexes, cf->pool, 1, sizeof(ngx_regex_t *))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

#endif

    wlcf->origins = origins;
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "any") == 0) {
            origins->any = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "same") == 0) {
            origins->same = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "require") == 0) {
            origins->require = 1;
            continue;
        }

        /* they would be hosts */

        if (ngx_strcmp(value[i].data, "on") == 0
            || ngx_strcmp(value[i].data, "off") == 0
            || ngx_strcmp(value[i].data, "all") == 0
            || ngx_strcmp(value[i].data, "none") == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\": \"any\" is what "
                               "allows all", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (value[i].len && value[i].data[0] == '~') {

            rv = ngx_ws_bus_access_regex(cf, origins, &value[i]);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        origin = ngx_array_push(&origins->patterns);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        if (ngx_ws_bus_origin_pattern(&value[i], origin, &reason) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\": %V", &value[i], reason);
            return NGX_CONF_ERROR;
        }
    }

    if (origins->any && cf->args->nelts > 2) {
        return "takes nothing beside \"any\"";
    }

    if (origins->require && cf->args->nelts == 2) {
        origins->same = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_access_regex(ngx_conf_t *cf, ngx_ws_bus_origins_t *origins,
    ngx_str_t *value)
{
#if (NGX_PCRE)

    size_t                 len;
    ngx_str_t              empty = ngx_string("empty regex");
    ngx_regex_t          **regex;
    ngx_regex_compile_t    rc;
    u_char                 errstr[NGX_MAX_CONF_ERRSTR];

    if (value->len == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid origin \"%V\": %V", value, &empty);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    len = sizeof(NGX_WS_BUS_ACCESS_STEPS) - 1;

    rc.pattern.len = len + value->len - 1;
    rc.pattern.data = ngx_pnalloc(cf->pool, rc.pattern.len + 1);

    if (rc.pattern.data == NULL) {
        return NGX_CONF_ERROR;
    }

    /* the zero behind it as well, which PCRE 1 needs */

    ngx_memcpy(rc.pattern.data, NGX_WS_BUS_ACCESS_STEPS, len);
    ngx_memcpy(rc.pattern.data + len, value->data + 1, value->len);

    rc.pool = cf->pool;
    rc.options = NGX_REGEX_CASELESS;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid origin \"%V\": %V", value, &rc.err);
        return NGX_CONF_ERROR;
    }

    regex = ngx_array_push(&origins->regexes);
    if (regex == NULL) {
        return NGX_CONF_ERROR;
    }

    *regex = rc.regex;

    return NGX_CONF_OK;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "using regex \"%V\" requires PCRE library", value);

    return NGX_CONF_ERROR;

#endif
}
