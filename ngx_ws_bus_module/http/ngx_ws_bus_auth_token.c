
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/*
 * Tokens of requests and of sessions alike.
 */


static ngx_int_t ngx_ws_bus_auth_create(ngx_ws_bus_loc_conf_t *conf,
    ngx_ws_bus_jwt_t *jwt, ngx_log_t *log, ngx_ws_bus_auth_t **auth,
    ngx_ws_bus_auth_refusal_t *refusal);
static void ngx_ws_bus_auth_plan(ngx_ws_bus_auth_t *auth, time_t refresh);
static void ngx_ws_bus_auth_count(ngx_ws_bus_loc_conf_t *conf,
    ngx_log_t *log, const ngx_ws_bus_auth_refusal_t *refusal);
static void ngx_ws_bus_auth_invalid(const ngx_ws_bus_jwt_error_t *error,
    ngx_ws_bus_auth_refusal_t *refusal);


/* milliseconds; whose token lives for less is not warned */
#define NGX_WS_BUS_AUTH_SHORT  100


static const ngx_ws_bus_auth_refusal_t  ngx_ws_bus_auth_no_keys = {
    NGX_WS_BUS_AUTH_REJECTED_TOKEN, NGX_HTTP_SERVICE_UNAVAILABLE,
    ngx_string("there are no keys"), NULL, "tokens cannot be verified now"
};


const ngx_ws_bus_auth_refusal_t  ngx_ws_bus_auth_missing = {
    NGX_WS_BUS_AUTH_REJECTED_TOKEN, NGX_HTTP_UNAUTHORIZED,
    ngx_string("there is none"), NULL, NULL
};


static const ngx_ws_bus_auth_refusal_t  ngx_ws_bus_auth_is_revoked = {
    NGX_WS_BUS_AUTH_REJECTED_TOKEN, NGX_HTTP_UNAUTHORIZED,
    ngx_string("it has been revoked"), "invalid_token",
    "the token is not valid"
};


static ngx_queue_t  ngx_ws_bus_auth_queue;


ngx_int_t
ngx_ws_bus_auth_verify(ngx_ws_bus_loc_conf_t *conf, const ngx_str_t *token,
    ngx_log_t *log, ngx_ws_bus_auth_t **auth,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t                rc;
    ngx_ws_bus_jwt_t         jwt;
    ngx_ws_bus_auth_conf_t  *acf;
    ngx_ws_bus_jwt_rules_t   rules;

    acf = &conf->auth;

    if (ngx_ws_bus_keys_get(conf->keys, &rules.sets, &rules.nsets) != NGX_OK)
    {
        *refusal = ngx_ws_bus_auth_no_keys;
        return NGX_AGAIN;
    }

    rules.algorithms = acf->algorithms;
    rules.issuers = acf->issuers ? acf->issuers->elts : NULL;
    rules.nissuers = acf->issuers ? acf->issuers->nelts : 0;
    rules.audiences = acf->audiences ? acf->audiences->elts : NULL;
    rules.naudiences = acf->audiences ? acf->audiences->nelts : 0;
    rules.leeway = acf->leeway;

    rc = ngx_ws_bus_jwt_verify(&rules, token, ngx_time(), &jwt);

    if (rc == NGX_OK && ngx_ws_bus_auth_revoked(conf->zone, &jwt)) {
        *refusal = ngx_ws_bus_auth_is_revoked;
        rc = NGX_DECLINED;

    } else if (rc == NGX_OK) {
        rc = ngx_ws_bus_auth_create(conf, &jwt, log, auth, refusal);

    } else {
        ngx_ws_bus_auth_invalid(jwt.error, refusal);

        rc = (jwt.kid_unknown && jwt.claims == NULL) ? NGX_AGAIN
                                                     : NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        ngx_ws_bus_jwt_free(&jwt);
    }

    return rc;
}


/*
 * The claims become the auth's, if it is made.
 */

static ngx_int_t
ngx_ws_bus_auth_create(ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_jwt_t *jwt,
    ngx_log_t *log, ngx_ws_bus_auth_t **authp,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    const json_t                  *claim;
    ngx_ws_bus_auth_t             *auth;
    const ngx_ws_bus_jwt_error_t  *error;

    auth = ngx_calloc(sizeof(ngx_ws_bus_auth_t), log);
    if (auth == NULL) {
        return NGX_ERROR;
    }

    if (conf->auth.grants.len) {

        claim = ngx_ws_bus_jwt_claim(jwt->claims, &conf->auth.grants, 1);

        if (ngx_ws_bus_jwt_grants(claim, jwt->claims, &auth->grants, &error)
            != NGX_OK)
        {
            ngx_ws_bus_auth_invalid(error, refusal);
            ngx_free(auth);
            return NGX_DECLINED;
        }
    }

    auth->jwt = *jwt;
    *authp = auth;

    return NGX_OK;
}


static void
ngx_ws_bus_auth_invalid(const ngx_ws_bus_jwt_error_t *error,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    refusal->status = NGX_HTTP_UNAUTHORIZED;
    refusal->text = error->text;
    refusal->error = "invalid_token";

    if (error->reason == NGX_WS_BUS_JWT_EXPIRED) {
        refusal->outcome = NGX_WS_BUS_AUTH_EXPIRED;
        refusal->description = "the token has expired";
        return;
    }

    refusal->outcome = NGX_WS_BUS_AUTH_REJECTED_TOKEN;
    refusal->description = "the token is not valid";
}


void
ngx_ws_bus_auth_refuse(ngx_http_request_t *r,
    const ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    ngx_ws_bus_auth_count(conf, r->connection->log, refusal);

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_REFUSE, NULL, refusal->status,
                     (char *) refusal->text.data, 0);
}


void
ngx_ws_bus_auth_refuse_session(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_ws_bus_auth_count(s->conf, s->connection->log, refusal);

    ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_REFUSE, NULL, 0,
                     (char *) refusal->text.data, 0);
}


static void
ngx_ws_bus_auth_count(ngx_ws_bus_loc_conf_t *conf, ngx_log_t *log,
    const ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_uint_t  reason, level;

    reason = (refusal->outcome == NGX_WS_BUS_AUTH_REJECTED_CLAIM)
             ? NGX_WS_BUS_REFUSED_CLAIM : NGX_WS_BUS_REFUSED_TOKEN;

    if (conf->zone && conf->zone->hub) {
        conf->zone->hub->slot->stats.refused[reason]++;
    }

    /* without keys it is not the client's mistake */

    level = (refusal->status == NGX_HTTP_SERVICE_UNAVAILABLE) ? NGX_LOG_ERR
                                                              : NGX_LOG_INFO;

    ngx_log_error(level, log, 0, "token refused: %V", &refusal->text);
}


ngx_int_t
ngx_ws_bus_auth_required(ngx_http_request_t *r, ngx_ws_bus_loc_conf_t *conf,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_str_t                   value;
    ngx_uint_t                  i, j;
    ngx_http_complex_value_t   *cv;
    ngx_ws_bus_auth_require_t  *rule;

    if (conf->auth.require == NULL) {
        return NGX_OK;
    }

    rule = conf->auth.require->elts;

    for (i = 0; i < conf->auth.require->nelts; i++) {

        cv = rule[i].values.elts;

        for (j = 0; j < rule[i].values.nelts; j++) {

            if (ngx_http_complex_value(r, &cv[j], &value) != NGX_OK) {
                return NGX_ERROR;
            }

            if (value.len && !(value.len == 1 && value.data[0] == '0')) {
                continue;
            }

            ngx_ws_bus_auth_forbidden(refusal, "\"ws_bus_jwt_require\"");
            refusal->status = rule[i].status;

            if (rule[i].status == NGX_HTTP_UNAUTHORIZED) {
                refusal->error = "invalid_token";
            }

            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


void
ngx_ws_bus_auth_forbidden(ngx_ws_bus_auth_refusal_t *refusal,
    const char *text)
{
    refusal->outcome = NGX_WS_BUS_AUTH_REJECTED_CLAIM;
    refusal->status = NGX_HTTP_FORBIDDEN;
    refusal->text.data = (u_char *) text;
    refusal->text.len = ngx_strlen(text);
    refusal->error = "insufficient_scope";
    refusal->description = "the token does not allow this";
}


void
ngx_ws_bus_auth_other(ngx_ws_bus_auth_refusal_t *refusal)
{
    refusal->outcome = NGX_WS_BUS_AUTH_REJECTED_TOKEN;
    refusal->status = NGX_HTTP_UNAUTHORIZED;
    ngx_str_set(&refusal->text, "it is of another subject");
    refusal->error = "invalid_token";
    refusal->description = "the token is not valid";
}


void
ngx_ws_bus_auth_set(ngx_ws_bus_session_t *s, ngx_ws_bus_auth_t *auth)
{
    ngx_ws_bus_auth_free(s->auth);

    auth->session = s;
    s->auth = auth;

    ngx_queue_insert_tail(ngx_ws_bus_auth_sessions(), &auth->queue);

    ngx_ws_bus_auth_revoke_check(s);

    ngx_ws_bus_auth_apply(s);
}


void
ngx_ws_bus_auth_apply(ngx_ws_bus_session_t *s)
{
    if (ngx_ws_bus_auth_is_refreshable(s) && s->stream == NULL) {
        ngx_ws_bus_auth_plan(s->auth, s->conf->auth.refresh);
    }

    s->granted = ngx_ws_bus_auth_may_publish(s->auth, &s->channel);
    s->message_max = s->conf->message_max_size;

    if (s->protocol == &ngx_ws_bus_raw && !(s->publish && s->granted)
        && ngx_ws_bus_auth_is_refreshable(s))
    {
        /* nothing but a token is taken */

        s->message_max = NGX_WS_BUS_AUTH_MESSAGE_MAX;
    }
}


/*
 * When to warn.  A token that lives for less than the configured time has
 * half of its own: told at once, a client with nothing but short ones would
 * do nothing else than to bring them.
 */

static void
ngx_ws_bus_auth_plan(ngx_ws_bus_auth_t *auth, time_t refresh)
{
    int64_t  left;

    left = auth->jwt.exp * 1000 - ngx_ws_bus_auth_now();

    auth->warn_at = 0;

    if (refresh && left >= NGX_WS_BUS_AUTH_SHORT) {
        auth->warn_at = auth->jwt.exp * 1000
                        - ngx_min((int64_t) refresh * 1000, left / 2);
    }
}


int64_t
ngx_ws_bus_auth_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}


void
ngx_ws_bus_auth_free(ngx_ws_bus_auth_t *auth)
{
    if (auth == NULL) {
        return;
    }

    if (auth->session) {
        ngx_queue_remove(&auth->queue);
    }

    ngx_ws_bus_jwt_free(&auth->jwt);

    if (auth->grants) {
        free(auth->grants);
    }

    ngx_free(auth);
}


ngx_queue_t *
ngx_ws_bus_auth_sessions(void)
{
    if (ngx_ws_bus_auth_queue.next == NULL) {
        ngx_queue_init(&ngx_ws_bus_auth_queue);
    }

    return &ngx_ws_bus_auth_queue;
}


ngx_ws_bus_auth_t *
ngx_ws_bus_auth_get(ngx_http_request_t *r)
{
    ngx_ws_bus_ctx_t  *ctx;

    ctx = ngx_ws_bus_ctx_find(r);

    if (ctx == NULL) {
        return NULL;
    }

    return ctx->session ? ctx->session->auth : ctx->auth;
}


ngx_uint_t
ngx_ws_bus_auth_may_subscribe(const ngx_ws_bus_auth_t *auth,
    const ngx_str_t *channel)
{
    return auth == NULL || auth->grants == NULL
           || ngx_ws_bus_jwt_may_subscribe(auth->grants, channel);
}


ngx_uint_t
ngx_ws_bus_auth_may_publish(const ngx_ws_bus_auth_t *auth,
    const ngx_str_t *channel)
{
    return auth == NULL || auth->grants == NULL
           || ngx_ws_bus_jwt_may_publish(auth->grants, channel);
}
