
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_handshake.h"


/*
 * Tokens of requests (RFC 6750).
 */


#define NGX_WS_BUS_AUTH_REALM  "Bearer realm=\"\""
#define NGX_WS_BUS_AUTH_ERROR  ", error=\"\", error_description=\"\""


/*
 * What a request brings.
 */

typedef struct {
    ngx_str_t    token;
    ngx_uint_t   n;               /* of tokens */
    ngx_uint_t   websocket;       /* unsigned  websocket:1; */
} ngx_ws_bus_auth_request_t;


struct ngx_ws_bus_auth_wait_s {
    ngx_ws_bus_keys_wait_t  keys;
    ngx_uint_t              done;  /* unsigned  done:1; */
};


static ngx_int_t ngx_ws_bus_auth_request(ngx_http_request_t *r,
    ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_auth_request_t *q);
static void ngx_ws_bus_auth_bearer(ngx_ws_bus_auth_request_t *q,
    ngx_str_t *value);
static void ngx_ws_bus_auth_protocols(ngx_ws_bus_auth_request_t *q,
    ngx_str_t *value);
static ngx_int_t ngx_ws_bus_auth_examine(ngx_http_request_t *r,
    ngx_ws_bus_ctx_t *ctx, ngx_str_t *token,
    ngx_ws_bus_auth_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_auth_granted(ngx_http_request_t *r,
    ngx_ws_bus_auth_t *auth, ngx_ws_bus_auth_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_auth_wait(ngx_http_request_t *r,
    ngx_ws_bus_ctx_t *ctx);
static void ngx_ws_bus_auth_wait_handler(ngx_ws_bus_keys_wait_t *wait);
static ngx_int_t ngx_ws_bus_auth_answer(ngx_http_request_t *r,
    ngx_ws_bus_ctx_t *ctx, const ngx_ws_bus_auth_refusal_t *refusal);


static const ngx_ws_bus_auth_refusal_t  ngx_ws_bus_auth_several = {
    NGX_WS_BUS_AUTH_REJECTED_TOKEN, NGX_HTTP_BAD_REQUEST,
    ngx_string("there are several"), "invalid_request",
    "there is more than one token"
};


ngx_int_t
ngx_ws_bus_auth_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_ws_bus_ctx_t           *ctx;
    ngx_ws_bus_loc_conf_t      *conf;
    ngx_ws_bus_auth_refusal_t   refusal;
    ngx_ws_bus_auth_request_t   q;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (conf->handler == NULL || conf->auth.on != 1) {
        return NGX_DECLINED;
    }

    ctx = ngx_ws_bus_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->wait && ctx->wait->keys.waiting) {
        return NGX_AGAIN;
    }

    if (ngx_ws_bus_auth_request(r, conf, &q) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* of another location, before a redirect */

    ngx_ws_bus_auth_free(ctx->auth);
    ctx->auth = NULL;
    ctx->pending = 0;
    ctx->conf = conf;

    if (q.n > 1) {
        return ngx_ws_bus_auth_answer(r, ctx, &ngx_ws_bus_auth_several);
    }

    if (q.n == 0 && q.websocket && conf->auth.timeout) {

        /* the first message is to bring it */

        ctx->pending = 1;
        return NGX_OK;
    }

    if (q.n == 0) {
        return ngx_ws_bus_auth_answer(r, ctx, &ngx_ws_bus_auth_missing);
    }

    rc = ngx_ws_bus_auth_examine(r, ctx, &q.token, &refusal);

    switch (rc) {

    case NGX_OK:
        ctx->outcome = NGX_WS_BUS_AUTH_PASSED;
        return NGX_OK;

    case NGX_AGAIN:
        return NGX_AGAIN;

    case NGX_DECLINED:
        return ngx_ws_bus_auth_answer(r, ctx, &refusal);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/*
 * Looks for a token in all the places where one may be.
 */

static ngx_int_t
ngx_ws_bus_auth_request(ngx_http_request_t *r, ngx_ws_bus_loc_conf_t *conf,
    ngx_ws_bus_auth_request_t *q)
{
    ngx_str_t              value;
    ngx_table_elt_t       *h;
    ngx_ws_bus_headers_t   all;

    ngx_memzero(q, sizeof(ngx_ws_bus_auth_request_t));

    for (h = ngx_ws_bus_header_first(r, &all);
         h;
         h = ngx_ws_bus_header_next(&all))
    {
        if (ngx_ws_bus_header_is(h, "authorization")) {
            ngx_ws_bus_auth_bearer(q, &h->value);

        } else if (conf->handler != ngx_ws_bus_upgrade_handler) {
            continue;

        } else if (ngx_ws_bus_header_is(h, "sec-websocket-protocol")) {
            ngx_ws_bus_auth_protocols(q, &h->value);

        } else if (ngx_ws_bus_header_is(h, "upgrade")
                   && ngx_ws_bus_handshake_has_token(&h->value, "websocket"))
        {
            q->websocket = 1;
        }
    }

    if (conf->auth.token == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, conf->auth.token, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len) {
        q->token = value;
        q->n++;
    }

    return NGX_OK;
}


static void
ngx_ws_bus_auth_bearer(ngx_ws_bus_auth_request_t *q, ngx_str_t *value)
{
    ngx_str_t  token;

    token = *value;

    if (token.len < sizeof("Bearer") - 1
        || ngx_strncasecmp(token.data, (u_char *) "Bearer",
                           sizeof("Bearer") - 1)
           != 0)
    {
        return;
    }

    token.len -= sizeof("Bearer") - 1;
    token.data += sizeof("Bearer") - 1;

    if (token.len && token.data[0] != ' ') {
        return;
    }

    while (token.len && token.data[0] == ' ') {
        token.len--;
        token.data++;
    }

    q->token = token;
    q->n++;
}


static void
ngx_ws_bus_auth_protocols(ngx_ws_bus_auth_request_t *q, ngx_str_t *value)
{
    ngx_int_t  rc;
    ngx_str_t  rest, token;

    rest = *value;

    for ( ;; ) {
        rc = ngx_ws_bus_handshake_next_token(&rest, &token);

        if (rc == NGX_DECLINED) {
            return;
        }

        if (rc == NGX_OK && ngx_ws_bus_auth_is_bearer(&token)) {
            q->token.len = token.len - NGX_WS_BUS_AUTH_BEARER_LEN;
            q->token.data = token.data + NGX_WS_BUS_AUTH_BEARER_LEN;
            q->n++;
        }
    }
}


/*
 * NGX_OK, NGX_AGAIN while keys are waited for, NGX_DECLINED with *refusal,
 * or NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_auth_examine(ngx_http_request_t *r, ngx_ws_bus_ctx_t *ctx,
    ngx_str_t *token, ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t               rc;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    rc = ngx_ws_bus_auth_verify(conf, token, r->connection->log, &ctx->auth,
                                refusal);

    if (rc == NGX_AGAIN) {

        if (ctx->wait == NULL || !ctx->wait->done) {

            rc = ngx_ws_bus_auth_wait(r, ctx);

            if (rc != NGX_DECLINED) {
                return rc;
            }
        }

        rc = NGX_DECLINED;
    }

    if (ctx->wait) {
        ctx->wait->done = 0;
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_auth_required(r, conf, refusal);
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_auth_granted(r, ctx->auth, refusal);
    }

    if (rc != NGX_OK) {
        ngx_ws_bus_auth_free(ctx->auth);
        ctx->auth = NULL;
    }

    return rc;
}


/*
 * The location's own channel.  A name that is none has an answer of its own.
 */

static ngx_int_t
ngx_ws_bus_auth_granted(ngx_http_request_t *r, ngx_ws_bus_auth_t *auth,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t               rc;
    ngx_str_t               channel;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (auth->grants == NULL || conf->channel == NULL) {
        return NGX_OK;
    }

    rc = ngx_ws_bus_channel_name(r, &channel);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    if (conf->handler == ngx_ws_bus_publisher_handler) {

        if (ngx_ws_bus_auth_may_publish(auth, &channel)) {
            return NGX_OK;
        }

    } else if (ngx_ws_bus_auth_may_subscribe(auth, &channel)) {
        return NGX_OK;
    }

    ngx_ws_bus_auth_forbidden(refusal, "it does not grant the channel");

    return NGX_DECLINED;
}


/*
 * NGX_AGAIN, NGX_DECLINED if there is nothing to wait for, or NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_auth_wait(ngx_http_request_t *r, ngx_ws_bus_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (ctx->wait == NULL) {
        ctx->wait = ngx_pcalloc(r->pool, sizeof(ngx_ws_bus_auth_wait_t));
        if (ctx->wait == NULL) {
            return NGX_ERROR;
        }
    }

    ctx->wait->keys.handler = ngx_ws_bus_auth_wait_handler;
    ctx->wait->keys.data = r;

    rc = ngx_ws_bus_keys_fetch(conf->keys, &ctx->wait->keys);

    if (rc != NGX_AGAIN) {
        return NGX_DECLINED;
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "ws bus token waits for keys");

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a client that leaves is not waited with */

    r->read_event_handler = ngx_http_test_reading;

    return NGX_AGAIN;
}


static void
ngx_ws_bus_auth_wait_handler(ngx_ws_bus_keys_wait_t *wait)
{
    ngx_connection_t    *c;
    ngx_ws_bus_ctx_t    *ctx;
    ngx_http_request_t  *r;

    r = wait->data;
    c = r->connection;

    ctx = ngx_ws_bus_ctx_find(r);
    ctx->wait->done = 1;

    ngx_http_set_log_request(c->log, r);

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


void
ngx_ws_bus_auth_release(ngx_ws_bus_ctx_t *ctx)
{
    if (ctx->wait) {
        ngx_ws_bus_keys_cancel(&ctx->wait->keys);
    }

    ngx_ws_bus_auth_free(ctx->auth);
    ctx->auth = NULL;
}


/*
 * RFC 6750, 3: a client without a token is told nothing but how to have one.
 */

static ngx_int_t
ngx_ws_bus_auth_answer(ngx_http_request_t *r, ngx_ws_bus_ctx_t *ctx,
    const ngx_ws_bus_auth_refusal_t *refusal)
{
    u_char                 *p;
    size_t                  len;
    ngx_table_elt_t        *h;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    ctx->outcome = refusal->outcome;

    ngx_ws_bus_auth_refuse(r, refusal);

    if (refusal->status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        return refusal->status;
    }

    len = sizeof(NGX_WS_BUS_AUTH_REALM) + conf->auth.realm.len;

    if (refusal->error) {
        len += sizeof(NGX_WS_BUS_AUTH_ERROR) + ngx_strlen(refusal->error)
               + ngx_strlen(refusal->description);
    }

    p = ngx_pnalloc(r->pool, len);
    h = ngx_list_push(&r->headers_out.headers);

    if (p == NULL || h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->value.data = p;

    p = ngx_sprintf(p, "Bearer realm=\"%V\"", &conf->auth.realm);

    if (refusal->error) {
        p = ngx_sprintf(p, ", error=\"%s\", error_description=\"%s\"",
                        refusal->error, refusal->description);
    }

    h->value.len = p - h->value.data;
    h->hash = 1;
    h->lowcase_key = NULL;
    ngx_str_set(&h->key, "WWW-Authenticate");

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    r->headers_out.www_authenticate = h;

    return refusal->status;
}
