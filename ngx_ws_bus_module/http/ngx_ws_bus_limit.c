
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_limit.h"


/*
 * ws_bus_limit: how much a client may send.
 */


/* a connection writes no more than a line in that time, milliseconds */
#define NGX_WS_BUS_LIMIT_LOG      1000


static ngx_uint_t ngx_ws_bus_limit_all(ngx_ws_bus_session_t *s, size_t len,
    ngx_ws_bus_limit_rule_t **rule, ngx_ws_bus_limits_verdict_t *worst);
static ngx_uint_t ngx_ws_bus_limit_of(ngx_ws_bus_limit_rule_t *rule,
    ngx_int_t rc, ngx_ws_bus_limits_verdict_t *v);
static ngx_int_t ngx_ws_bus_limit_judge(ngx_ws_bus_session_t *s, ngx_uint_t i,
    size_t len, ngx_uint_t how, ngx_ws_bus_limits_verdict_t *v);
static void ngx_ws_bus_limit_log(ngx_ws_bus_session_t *s, ngx_uint_t outcome,
    ngx_ws_bus_limit_rule_t *rule, ngx_ws_bus_limits_verdict_t *v);

static char *ngx_ws_bus_limit_rates(ngx_conf_t *cf,
    ngx_ws_bus_limit_rule_t *rule, ngx_str_t *rate, ngx_str_t *bytes,
    ngx_str_t *burst);
static ngx_int_t ngx_ws_bus_limit_parse_rate(ngx_str_t *value, uint64_t *n,
    ngx_uint_t *per);
static ngx_int_t ngx_ws_bus_limit_parse_bytes(ngx_str_t *value, uint64_t *n);
static void ngx_ws_bus_limit_tick(ngx_ws_bus_rate_t *rate);
static ngx_ws_bus_limit_zone_t *ngx_ws_bus_limit_zone_find(
    ngx_ws_bus_main_conf_t *wmcf, ngx_str_t *name);


static const char *const  ngx_ws_bus_limit_outcomes[] = {
    NULL,
    "PASSED",
    "DELAYED_DRY_RUN",
    "DROPPED_DRY_RUN",
    "CLOSED_DRY_RUN",
    "DELAYED",
    "DROPPED",
    "CLOSED"
};


ngx_int_t
ngx_ws_bus_limit_create(ngx_ws_bus_session_t *s, ngx_pool_t *pool)
{
    ngx_str_t                 value;
    ngx_uint_t                i, n;
    ngx_ws_bus_limit_t       *l;
    ngx_ws_bus_limit_rule_t  *rules;

    if (s->conf->limits == NULL) {
        return NGX_OK;
    }

    rules = s->conf->limits->elts;
    n = s->conf->limits->nelts;

    l = ngx_pcalloc(pool, offsetof(ngx_ws_bus_limit_t, items)
                          + n * sizeof(ngx_ws_bus_limit_item_t));
    if (l == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (rules[i].zone == NULL) {
            continue;
        }

        if (ngx_http_complex_value(s->request, &rules[i].zone->key, &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        l->items[i].off = (value.len == 0);

        if (value.len) {
            ngx_ws_bus_limits_key(&l->items[i].u.key, &value);
        }
    }

    s->limit = l;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_limit_message(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ngx_uint_t                    outcome;
    ngx_ws_bus_limit_t           *l;
    ngx_ws_bus_limit_rule_t      *rule;
    ngx_ws_bus_limits_verdict_t   v;

    static const ngx_ws_bus_error_t  exceeded =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_POLICY, "rate limit exceeded");

    l = s->limit;
    outcome = ngx_ws_bus_limit_all(s, len, &rule, &v);

    if (outcome > NGX_WS_BUS_LIMIT_PASSED) {

        ngx_ws_bus_limit_log(s, outcome, rule, &v);

        if (s->conf->limit_dry_run) {
            outcome = outcome - NGX_WS_BUS_LIMIT_DELAYED
                      + NGX_WS_BUS_LIMIT_DELAYED_DRY_RUN;
        }

        ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_LIMIT, NULL, 0,
                         ngx_ws_bus_limit_outcomes[outcome], len);
    }

    l->outcome = ngx_max(l->outcome, outcome);

    switch (outcome) {

    case NGX_WS_BUS_LIMIT_DELAYED:
        s->stats->limit_delayed++;
        return ngx_ws_bus_limit_wait(s, data, len, v.wait);

    case NGX_WS_BUS_LIMIT_DROPPED:
        s->stats->dropped[NGX_WS_BUS_DROPPED_LIMIT]++;

        if (s->protocol->limited) {
            s->protocol->limited(s, data, len);
        }

        return NGX_DECLINED;

    case NGX_WS_BUS_LIMIT_CLOSED:
        s->stats->limit_closed++;
        ngx_ws_bus_session_fail(s, &exceeded);
        return NGX_ERROR;

    default:
        return NGX_OK;
    }
}


/*
 * The outcome by all limits, and which one it is due to.
 */

static ngx_uint_t
ngx_ws_bus_limit_all(ngx_ws_bus_session_t *s, size_t len,
    ngx_ws_bus_limit_rule_t **rule, ngx_ws_bus_limits_verdict_t *worst)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i, n, how, outcome, this;
    ngx_ws_bus_limit_rule_t      *rules;
    ngx_ws_bus_limits_verdict_t   v;

    rules = s->conf->limits->elts;
    n = s->conf->limits->nelts;

    if (n == 1) {
        *rule = rules;

        rc = ngx_ws_bus_limit_judge(s, 0, len, NGX_WS_BUS_LIMITS_CHARGE,
                                    worst);

        return ngx_ws_bus_limit_of(rules, rc, worst);
    }

    outcome = NGX_WS_BUS_LIMIT_NONE;
    *rule = NULL;
    ngx_memzero(worst, sizeof(ngx_ws_bus_limits_verdict_t));

    /* as limit_req's: what one of them refuses is charged to none */

    for (i = 0; i < n; i++) {

        how = (i == n - 1 && outcome < NGX_WS_BUS_LIMIT_DROPPED)
              ? NGX_WS_BUS_LIMITS_CHARGE : NGX_WS_BUS_LIMITS_ASK;

        rc = ngx_ws_bus_limit_judge(s, i, len, how, &v);

        this = ngx_ws_bus_limit_of(&rules[i], rc, &v);

        if (this > outcome
            || (this == NGX_WS_BUS_LIMIT_DELAYED && this == outcome
                && v.wait > worst->wait))
        {
            outcome = this;
            *rule = &rules[i];
            *worst = v;
        }
    }

    for (i = 0; i + 1 < n && outcome < NGX_WS_BUS_LIMIT_DROPPED; i++) {

        rc = ngx_ws_bus_limit_judge(s, i, len, NGX_WS_BUS_LIMITS_FORCE, &v);

        if (rc == NGX_OK && v.wait > worst->wait) {
            outcome = NGX_WS_BUS_LIMIT_DELAYED;
            *rule = &rules[i];
            *worst = v;
        }
    }

    return outcome;
}


/*
 * The outcome by one limit alone.
 */

static ngx_uint_t
ngx_ws_bus_limit_of(ngx_ws_bus_limit_rule_t *rule, ngx_int_t rc,
    ngx_ws_bus_limits_verdict_t *v)
{
    switch (rc) {

    case NGX_OK:
        return v->wait ? NGX_WS_BUS_LIMIT_DELAYED : NGX_WS_BUS_LIMIT_PASSED;

    case NGX_BUSY:
        return (rule->action == NGX_WS_BUS_LIMIT_DROPPED)
               ? NGX_WS_BUS_LIMIT_DROPPED : NGX_WS_BUS_LIMIT_CLOSED;

    default: /* NGX_DECLINED */
        return NGX_WS_BUS_LIMIT_NONE;
    }
}


/*
 * Returns as ngx_ws_bus_limits_judge(), NGX_DECLINED if this limit does not
 * apply to the connection.
 */

static ngx_int_t
ngx_ws_bus_limit_judge(ngx_ws_bus_session_t *s, ngx_uint_t i, size_t len,
    ngx_uint_t how, ngx_ws_bus_limits_verdict_t *v)
{
    ngx_ws_bus_limit_item_t  *item;
    ngx_ws_bus_limit_rule_t  *rule;

    item = &s->limit->items[i];
    rule = (ngx_ws_bus_limit_rule_t *) s->conf->limits->elts + i;

    if (item->off) {
        return NGX_DECLINED;
    }

    if (rule->zone) {
        return ngx_ws_bus_limits_judge_key(&rule->zone->limits, &item->u.key,
                                           &rule->rule, len, how, v);
    }

    return ngx_ws_bus_limits_judge(&rule->rule, &item->u.state, len, how, v);
}


static void
ngx_ws_bus_limit_log(ngx_ws_bus_session_t *s, ngx_uint_t outcome,
    ngx_ws_bus_limit_rule_t *rule, ngx_ws_bus_limits_verdict_t *v)
{
    ngx_uint_t           level, closed;
    const char          *what, *dry_run;
    ngx_ws_bus_limit_t  *l;

    l = s->limit;
    closed = (outcome == NGX_WS_BUS_LIMIT_CLOSED && !s->conf->limit_dry_run);

    /* a client does not choose how much is written to the log */

    if (l->told && !closed
        && ngx_current_msec - l->logged < NGX_WS_BUS_LIMIT_LOG)
    {
        return;
    }

    l->told = 1;
    l->logged = ngx_current_msec;

    level = s->conf->limit_log_level;
    what = v->bytes ? "bytes" : "messages";
    dry_run = s->conf->limit_dry_run ? ", dry run" : "";

    if (outcome != NGX_WS_BUS_LIMIT_DELAYED) {
        ngx_log_error(level, s->connection->log, 0,
                      "limiting %s%s, excess: %uL.%03uL by %V",
                      what, dry_run, v->excess / 1000, v->excess % 1000,
                      &rule->where);
        return;
    }

    if (level < NGX_LOG_INFO) {
        level++;
    }

    ngx_log_error(level, s->connection->log, 0,
                  "delaying %s%s, excess: %uL.%03uL, by %V",
                  what, dry_run, v->excess / 1000, v->excess % 1000,
                  &rule->where);
}


const char *
ngx_ws_bus_limit_outcome(ngx_ws_bus_session_t *s)
{
    return s->limit ? ngx_ws_bus_limit_outcomes[s->limit->outcome] : NULL;
}


char *
ngx_ws_bus_limit_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    u_char                   *p;
    ngx_str_t                *value, rate, bytes, burst;
    ngx_uint_t                i;
    ngx_ws_bus_limit_rule_t  *rule;

    value = cf->args->elts;

    if (wlcf->limits == NULL) {
        wlcf->limits = ngx_array_create(cf->pool, 2,
                                        sizeof(ngx_ws_bus_limit_rule_t));
        if (wlcf->limits == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(wlcf->limits);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(ngx_ws_bus_limit_rule_t));

    rule->action = NGX_WS_BUS_LIMIT_CLOSED;

    ngx_str_null(&rate);
    ngx_str_null(&bytes);
    ngx_str_null(&burst);

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "rate=", 5) == 0) {
            rate = value[i];

        } else if (ngx_strncmp(value[i].data, "bytes=", 6) == 0) {
            bytes = value[i];

        } else if (ngx_strncmp(value[i].data, "burst=", 6) == 0) {
            burst = value[i];

        } else if (ngx_strncmp(value[i].data, "zone=", 5) == 0
                   && value[i].len > 5)
        {
            rule->zone_name.len = value[i].len - 5;
            rule->zone_name.data = value[i].data + 5;

        } else if (ngx_strcmp(value[i].data, "close") == 0) {
            rule->action = NGX_WS_BUS_LIMIT_CLOSED;

        } else if (ngx_strcmp(value[i].data, "drop") == 0) {
            rule->action = NGX_WS_BUS_LIMIT_DROPPED;

        } else if (ngx_strcmp(value[i].data, "delay") == 0) {
            rule->action = NGX_WS_BUS_LIMIT_DELAYED;

        } else {
            return ngx_ws_bus_invalid(cf, &value[i]);
        }
    }

    if (rate.len == 0 && bytes.len == 0) {
        return "needs \"rate\" or \"bytes\"";
    }

    ngx_str_set(&rule->where, "connection");

    if (rule->zone_name.len) {

        p = ngx_pnalloc(cf->pool, sizeof("zone \"\"") + rule->zone_name.len);
        if (p == NULL) {
            return NGX_CONF_ERROR;
        }

        rule->where.data = p;
        rule->where.len = ngx_sprintf(p, "zone \"%V\"", &rule->zone_name) - p;
    }

    return ngx_ws_bus_limit_rates(cf, rule, &rate, &bytes, &burst);
}


/*
 * "burst" is a number of messages or, where only bytes are limited, a size.
 * Bytes may run ahead by what a second allows: a message is not cut in
 * pieces.
 */

static char *
ngx_ws_bus_limit_rates(ngx_conf_t *cf, ngx_ws_bus_limit_rule_t *rule,
    ngx_str_t *rate, ngx_str_t *bytes, ngx_str_t *burst)
{
    ssize_t     size;
    uint64_t    n, refuse, ahead;
    ngx_str_t   value;
    ngx_uint_t  per, delay;

    delay = (rule->action == NGX_WS_BUS_LIMIT_DELAYED);
    refuse = NGX_WS_BUS_RATE_ANY;

    if (burst->len) {
        value.len = burst->len - 6;
        value.data = burst->data + 6;

        size = rate->len ? ngx_atoi(value.data, value.len)
                         : ngx_parse_size(&value);

        if (size <= 0 || (uint64_t) size > NGX_WS_BUS_RATE_MAX) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid burst \"%V\"", burst);
            return NGX_CONF_ERROR;
        }

        refuse = size;
    }

    if (rate->len) {

        if (!delay && burst->len == 0) {
            refuse = 0;
        }

        ahead = delay ? 0 : refuse;

        if (ngx_ws_bus_limit_parse_rate(rate, &n, &per) != NGX_OK
            || ngx_ws_bus_rate_set(&rule->rule.messages, n, per, refuse,
                                   ahead)
               != NGX_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid rate \"%V\"", rate);
            return NGX_CONF_ERROR;
        }

        ngx_ws_bus_limit_tick(&rule->rule.messages);
    }

    if (bytes->len) {

        if (ngx_ws_bus_limit_parse_bytes(bytes, &n) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid bytes \"%V\"", bytes);
            return NGX_CONF_ERROR;
        }

        if (rate->len || burst->len == 0) {
            refuse = delay ? NGX_WS_BUS_RATE_ANY : n;
        }

        ahead = delay ? ngx_min(n, refuse) : refuse;

        if (ngx_ws_bus_rate_set(&rule->rule.bytes, n, 1, refuse, ahead)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_ws_bus_limit_parse_rate(ngx_str_t *value, uint64_t *n, ngx_uint_t *per)
{
    u_char     *p;
    ngx_int_t   rate;

    if (value->len < sizeof("rate=1r/s") - 1) {
        return NGX_ERROR;
    }

    p = value->data + value->len - 3;

    if (ngx_strncmp(p, "r/s", 3) == 0) {
        *per = 1;

    } else if (ngx_strncmp(p, "r/m", 3) == 0) {
        *per = 60;

    } else {
        return NGX_ERROR;
    }

    rate = ngx_atoi(value->data + 5, value->len - 5 - 3);

    if (rate <= 0) {
        return NGX_ERROR;
    }

    *n = rate;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_limit_parse_bytes(ngx_str_t *value, uint64_t *n)
{
    ssize_t    size;
    ngx_str_t  s;

    if (value->len < sizeof("bytes=1/s") - 1
        || ngx_strncmp(value->data + value->len - 2, "/s", 2) != 0)
    {
        return NGX_ERROR;
    }

    s.data = value->data + 6;
    s.len = value->len - 6 - 2;

    size = ngx_parse_size(&s);

    if (size <= 0 || (uint64_t) size > NGX_WS_BUS_RATE_MAX) {
        return NGX_ERROR;
    }

    *n = size;

    return NGX_OK;
}


/*
 * The clock ticks in milliseconds: what a higher rate allows in one of them
 * comes at one time.
 */

static void
ngx_ws_bus_limit_tick(ngx_ws_bus_rate_t *rate)
{
    uint64_t  tick;

    tick = rate->rate / 60000;

    if (tick <= 1000) {
        return;
    }

    tick -= 1000;

    if (rate->burst != NGX_WS_BUS_RATE_ANY) {
        rate->burst += tick;
    }

    rate->delay += tick;
}


char *
ngx_ws_bus_limit_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_ws_bus_main_conf_t *wmcf = conf;

    u_char                            *p;
    ssize_t                            size;
    ngx_str_t                         *value, name, s;
    ngx_shm_zone_t                    *shm_zone;
    ngx_ws_bus_limit_zone_t           *zone, **zonep;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_strncmp(value[2].data, "zone=", 5) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"zone\" parameter", &cmd->name);
        return NGX_CONF_ERROR;
    }

    name.data = value[2].data + 5;

    p = (u_char *) ngx_strchr(name.data, ':');

    if (p == NULL || p == name.data) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    name.len = p - name.data;

    s.data = p + 1;
    s.len = value[2].data + value[2].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_WS_BUS_LIMITS_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small", &name);
        return NGX_CONF_ERROR;
    }

    if (ngx_ws_bus_limit_zone_find(wmcf, &name)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate zone \"%V\"", &name);
        return NGX_CONF_ERROR;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_limit_zone_t));
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    zone->limits.name = name;
    zone->limits.key = value[1];

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &zone->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* names of shared memory are common to all modules */

    s.len = sizeof("ws_bus_limit:") - 1 + name.len;
    s.data = ngx_pnalloc(cf->pool, s.len);
    zonep = ngx_array_push(&wmcf->limit_zones);

    if (s.data == NULL || zonep == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(ngx_cpymem(s.data, "ws_bus_limit:",
                          sizeof("ws_bus_limit:") - 1),
               name.data, name.len);

    shm_zone = ngx_shared_memory_add(cf, &s, size, &ngx_ws_bus_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    shm_zone->init = ngx_ws_bus_limits_init;
    shm_zone->data = &zone->limits;

    *zonep = zone;

    return NGX_CONF_OK;
}


static ngx_ws_bus_limit_zone_t *
ngx_ws_bus_limit_zone_find(ngx_ws_bus_main_conf_t *wmcf, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_ws_bus_limit_zone_t  **zone;

    zone = wmcf->limit_zones.elts;

    for (i = 0; i < wmcf->limit_zones.nelts; i++) {
        if (zone[i]->limits.name.len == name->len
            && ngx_strncmp(zone[i]->limits.name.data, name->data, name->len)
               == 0)
        {
            return zone[i];
        }
    }

    return NULL;
}


char *
ngx_ws_bus_limit_zones(ngx_conf_t *cf, ngx_ws_bus_main_conf_t *wmcf,
    ngx_ws_bus_loc_conf_t *conf)
{
    ngx_uint_t                i, k;
    ngx_ws_bus_limit_rule_t  *rules;

    if (conf->limits == NULL) {
        return NGX_CONF_OK;
    }

    rules = conf->limits->elts;

    for (i = 0; i < conf->limits->nelts; i++) {

        if (rules[i].zone_name.len == 0) {
            continue;
        }

        rules[i].zone = ngx_ws_bus_limit_zone_find(wmcf, &rules[i].zone_name);

        if (rules[i].zone == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown zone \"%V\"", &rules[i].zone_name);
            return NGX_CONF_ERROR;
        }

        for (k = 0; k < i; k++) {
            if (rules[k].zone == rules[i].zone) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate zone \"%V\"",
                                   &rules[i].zone_name);
                return NGX_CONF_ERROR;
            }
        }
    }

    return NGX_CONF_OK;
}
