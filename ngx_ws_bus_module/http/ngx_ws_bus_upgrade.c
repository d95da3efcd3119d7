
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_query.h"
#include "ngx_ws_bus_sse.h"


/*
 * A refusal is data: the answer, a header that goes with it, and what it is
 * counted as.
 */

typedef struct {
    ngx_uint_t            status;
    ngx_uint_t            reason;
    const char           *text;
    const char           *header;
    ngx_str_t             value;
} ngx_ws_bus_refusal_t;


/*
 * The headers of a handshake.
 */

typedef struct {
    ngx_str_t             upgrade;
    ngx_str_t             connection;
    ngx_str_t             key;
    ngx_str_t             version;
    ngx_str_t             protocols;
    ngx_str_t             extensions;
    ngx_uint_t            nkeys;
    ngx_uint_t            nversions;

    const ngx_ws_bus_protocol_t  *protocol;

    /* of a request without a handshake */
    ngx_str_t             accept;
    ngx_str_t             last_event_id;
    ngx_int_t             wait;        /* seconds */

    const ngx_ws_bus_fallback_t  *fallback;
} ngx_ws_bus_upgrade_t;


typedef struct {
    ngx_ws_bus_upgrade_t  u;
    ngx_ws_bus_deflate_t  deflate, *d;
    ngx_ws_bus_resume_t   resume;
} ngx_ws_bus_upgrade_wait_t;


static ngx_int_t ngx_ws_bus_upgrade_session(ngx_http_request_t *r,
    ngx_ws_bus_upgrade_t *u, ngx_str_t *channel, ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_resume_t *resume);
static ngx_int_t ngx_ws_bus_upgrade_wait(ngx_ws_bus_session_t *s,
    ngx_ws_bus_upgrade_t *u, ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_resume_t *resume);
static ngx_int_t ngx_ws_bus_upgrade_go_on(ngx_ws_bus_session_t *s,
    ngx_int_t rc, void *data);
static ngx_int_t ngx_ws_bus_upgrade_open(ngx_ws_bus_session_t *s,
    ngx_ws_bus_upgrade_t *u, ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);
static void ngx_ws_bus_upgrade_fallback(ngx_http_request_t *r,
    ngx_ws_bus_upgrade_t *u);
static const ngx_ws_bus_refusal_t *ngx_ws_bus_upgrade_check(
    ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u);
static const ngx_ws_bus_refusal_t *ngx_ws_bus_upgrade_protocol(
    ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u);
static ngx_int_t ngx_ws_bus_upgrade_refuse(ngx_http_request_t *r,
    const ngx_ws_bus_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_upgrade_headers(ngx_http_request_t *r,
    ngx_ws_bus_upgrade_t *u);
static ngx_int_t ngx_ws_bus_upgrade_join(ngx_http_request_t *r,
    ngx_str_t *value, ngx_str_t *more);
static ngx_int_t ngx_ws_bus_upgrade_consumer(ngx_http_request_t *r,
    ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_upgrade_agree(ngx_ws_bus_session_t *s,
    ngx_ws_bus_deflate_t *d);
static ngx_int_t ngx_ws_bus_upgrade_answer(ngx_ws_bus_session_t *s,
    ngx_ws_bus_upgrade_t *u, ngx_ws_bus_deflate_t *d,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);
static void ngx_ws_bus_upgrade_write_handler(ngx_http_request_t *r);


#define NGX_WS_BUS_UPGRADE_BAD(text)                                          \
    { NGX_HTTP_BAD_REQUEST, NGX_WS_BUS_REFUSED_HANDSHAKE, text, NULL,         \
      ngx_null_string }


static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_method = {
    NGX_HTTP_NOT_ALLOWED, NGX_WS_BUS_REFUSED_HANDSHAKE,
    "a handshake is a GET request", "Allow", ngx_string("GET")
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_http2 = {
    NGX_WS_BUS_UPGRADE_REQUIRED, NGX_WS_BUS_REFUSED_HANDSHAKE,
    "WebSocket needs HTTP/1.1 here", NULL, ngx_null_string
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_upgrade = {
    NGX_WS_BUS_UPGRADE_REQUIRED, NGX_WS_BUS_REFUSED_HANDSHAKE,
    "no \"Upgrade: websocket\" header", "Upgrade", ngx_string("websocket")
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_version = {
    NGX_WS_BUS_UPGRADE_REQUIRED, NGX_WS_BUS_REFUSED_HANDSHAKE,
    "unsupported Sec-WebSocket-Version header",
    "Sec-WebSocket-Version", ngx_string("13")
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_http10 =
    NGX_WS_BUS_UPGRADE_BAD("WebSocket needs HTTP/1.1");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_connection =
    NGX_WS_BUS_UPGRADE_BAD("no \"Connection: upgrade\" header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_no_version =
    NGX_WS_BUS_UPGRADE_BAD("no Sec-WebSocket-Version header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_versions =
    NGX_WS_BUS_UPGRADE_BAD("repeated Sec-WebSocket-Version header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_no_key =
    NGX_WS_BUS_UPGRADE_BAD("no Sec-WebSocket-Key header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_keys =
    NGX_WS_BUS_UPGRADE_BAD("repeated Sec-WebSocket-Key header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_key =
    NGX_WS_BUS_UPGRADE_BAD("invalid Sec-WebSocket-Key header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_raw =
    NGX_WS_BUS_UPGRADE_BAD("\"Sec-WebSocket-Protocol: ws-bus.v1.json\" is "
                           "needed here");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_protocol =
    NGX_WS_BUS_UPGRADE_BAD("none of the offered Sec-WebSocket-Protocol values "
                           "is served here");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_extensions =
    NGX_WS_BUS_UPGRADE_BAD("malformed Sec-WebSocket-Extensions header");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_last_seq =
    NGX_WS_BUS_UPGRADE_BAD("invalid argument \"last_seq\"");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_last =
    NGX_WS_BUS_UPGRADE_BAD("invalid argument \"last\"");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_consumer =
    NGX_WS_BUS_UPGRADE_BAD("invalid argument \"consumer\"");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_body =
    NGX_WS_BUS_UPGRADE_BAD("a request body is not expected here");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_wait =
    NGX_WS_BUS_UPGRADE_BAD("invalid argument \"wait\"");

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_channel = {
    NGX_HTTP_NOT_FOUND, NGX_WS_BUS_REFUSED_CHANNEL,
    "empty or invalid channel", NULL, ngx_null_string
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_unavailable = {
    NGX_HTTP_SERVICE_UNAVAILABLE, NGX_WS_BUS_REFUSED_UNAVAILABLE,
    "the bus is not available", NULL, ngx_null_string
};

static const ngx_ws_bus_refusal_t  ngx_ws_bus_refused_full = {
    NGX_HTTP_SERVICE_UNAVAILABLE, NGX_WS_BUS_REFUSED_UNAVAILABLE,
    "the bus is full", NULL, ngx_null_string
};


ngx_int_t
ngx_ws_bus_upgrade_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_str_t                    channel;
    ngx_ws_bus_ctx_t            *ctx;
    ngx_ws_bus_resume_t          resume;
    ngx_ws_bus_deflate_t         deflate, *d;
    ngx_ws_bus_upgrade_t         u;
    ngx_ws_bus_loc_conf_t       *conf;
    const ngx_ws_bus_refusal_t  *refusal;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (r != r->main) {

        /* the connection is not a subrequest's to take over */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "websocket handshake in a subrequest");
        return NGX_HTTP_BAD_REQUEST;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_ws_bus_upgrade_headers(r, &u) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_ws_bus_upgrade_fallback(r, &u);

    refusal = u.fallback ? NULL : ngx_ws_bus_upgrade_check(r, &u);
    if (refusal) {
        return ngx_ws_bus_upgrade_refuse(r, refusal);
    }

    ngx_str_null(&channel);

    rc = conf->channel ? ngx_ws_bus_channel_name(r, &channel) : NGX_OK;

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_DECLINED) {

        ctx = ngx_ws_bus_ctx_find(r);

        if (ctx == NULL || !ctx->pending || ctx->conf != conf) {
            return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_channel);
        }

        /* the token may make a name of it */

        ngx_str_null(&channel);
    }

    if (ngx_ws_bus_resume_args(r, &resume) != NGX_OK) {
        return ngx_ws_bus_upgrade_refuse(r, resume.resume
                                            ? &ngx_ws_bus_refused_last_seq
                                            : &ngx_ws_bus_refused_last);
    }

    if (u.wait == NGX_ERROR) {
        return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_wait);
    }

    if (u.fallback && r->discard_body) {

        /* nginx reads on, and ends the request when the body is late */

        return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_body);
    }

    if (u.last_event_id.len && u.fallback == &ngx_ws_bus_sse) {

        /* the arguments are those of the first request */

        resume.resume = 1;
        resume.known = (ngx_ws_bus_sse_id(&u.last_event_id, &resume.epoch,
                                          &resume.last_seq)
                        == NGX_OK);
    }

    d = NULL;

    if (u.extensions.len && u.fallback == NULL) {

        rc = ngx_ws_bus_deflate_negotiate(&u.extensions, &deflate);

        if (rc == NGX_ERROR) {
            return ngx_ws_bus_upgrade_refuse(r,
                                             &ngx_ws_bus_refused_extensions);
        }

        if (rc == NGX_OK && conf->deflate) {
            d = &deflate;
        }
    }

    return ngx_ws_bus_upgrade_session(r, &u, &channel, d, &resume);
}


/*
 * The request is in order: makes the session and answers.
 */

static ngx_int_t
ngx_ws_bus_upgrade_session(ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u,
    ngx_str_t *channel, ngx_ws_bus_deflate_t *d, ngx_ws_bus_resume_t *resume)
{
    ngx_int_t               rc;
    ngx_pool_t             *pool;
    ngx_ws_bus_ctx_t       *ctx;
    ngx_ws_bus_view_t       view;
    ngx_ws_bus_session_t   *s;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);
    pool = (conf->lean && conf->audit == NULL && u->fallback == NULL)
           ? r->connection->pool : r->pool;

    if (conf->zone->hub == NULL) {
        return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_unavailable);
    }

    s = ngx_ws_bus_session_create(r, conf->zone->hub, pool);
    if (s == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s->channel = *channel;
    s->protocol = u->protocol;

    if (pool == r->connection->pool) {

        /* its memory would add up, with every handshake that is refused */

        r->keepalive = 0;
    }

    if (u->fallback) {

        if (ngx_ws_bus_stream_create(s, u->fallback, u->wait * 1000)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } else {
        rc = ngx_ws_bus_upgrade_consumer(r, s);

        if (rc == NGX_DECLINED) {
            return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_consumer);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_ws_bus_upgrade_agree(s, d) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_ws_bus_ctx_find(r);

    rc = (ctx->pending && ctx->conf == conf)
         ? ngx_ws_bus_auth_defer(s, resume)
         : ngx_ws_bus_session_begin(s, resume, &view);

    if (rc == NGX_DECLINED) {
        return ngx_ws_bus_upgrade_refuse(r, &ngx_ws_bus_refused_full);
    }

    if (rc == NGX_AGAIN) {
        return ngx_ws_bus_upgrade_wait(s, u, d, resume);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_ws_bus_upgrade_open(s, u, d, resume, &view);
}


/*
 * In a zone that spans hosts, the channel may not be here yet.
 */

static ngx_int_t
ngx_ws_bus_upgrade_wait(ngx_ws_bus_session_t *s, ngx_ws_bus_upgrade_t *u,
    ngx_ws_bus_deflate_t *d, ngx_ws_bus_resume_t *resume)
{
    ngx_ws_bus_upgrade_wait_t  *wait;

    wait = ngx_palloc(s->request->pool, sizeof(ngx_ws_bus_upgrade_wait_t));
    if (wait == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    wait->u = *u;
    wait->resume = *resume;
    wait->d = NULL;

    if (d) {
        wait->deflate = *d;
        wait->d = &wait->deflate;
    }

    return ngx_ws_bus_pending_hold(s, ngx_ws_bus_upgrade_go_on, wait);
}


static ngx_int_t
ngx_ws_bus_upgrade_go_on(ngx_ws_bus_session_t *s, ngx_int_t rc, void *data)
{
    ngx_ws_bus_upgrade_wait_t *wait = data;

    ngx_ws_bus_view_t  view;

    if (rc != NGX_OK) {
        return ngx_ws_bus_upgrade_refuse(s->request,
                                         &ngx_ws_bus_refused_unavailable);
    }

    ngx_ws_bus_session_subscribed(s, &s->sub, &view);

    if (ngx_ws_bus_session_begun(s, &wait->resume, &view) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_ws_bus_upgrade_open(s, &wait->u, wait->d, &wait->resume,
                                   &view);
}


/*
 * The session has begun: answers.
 */

static ngx_int_t
ngx_ws_bus_upgrade_open(ngx_ws_bus_session_t *s, ngx_ws_bus_upgrade_t *u,
    ngx_ws_bus_deflate_t *d, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    if (u->fallback) {
        return ngx_ws_bus_stream_open(s, resume, view);
    }

    rc = ngx_ws_bus_upgrade_answer(s, u, d, resume, view);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    if (ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_ERROR;
    }

    r->main->count++;

    if (r->buffered || c->buffered) {

        /* the 101 leaves in pieces */

        r->write_event_handler = ngx_ws_bus_upgrade_write_handler;
        ngx_ws_bus_upgrade_write_handler(r);

        return NGX_DONE;
    }

    ngx_ws_bus_session_start(s);

    return NGX_DONE;
}


/*
 * A durable consumer is named by the client: a name as a channel's.  It may
 * outlive the request, and is in the connection's memory then; what is no
 * name, and may come with any number of requests, is not.
 */

static ngx_int_t
ngx_ws_bus_upgrade_consumer(ngx_http_request_t *r, ngx_ws_bus_session_t *s)
{
    u_char     *src, *dst;
    ngx_str_t   value, name;

    if (ngx_http_arg(r, (u_char *) "consumer", 8, &value) != NGX_OK) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, value.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    name.data = dst;
    src = value.data;

    ngx_unescape_uri(&dst, &src, value.len, 0);

    name.len = dst - name.data;

    if (!ngx_ws_bus_handshake_channel(&name)) {
        return NGX_DECLINED;
    }

    s->consumer.data = ngx_pstrdup(r->connection->pool, &name);
    if (s->consumer.data == NULL) {
        return NGX_ERROR;
    }

    s->consumer.len = name.len;

    return NGX_OK;
}


/*
 * How messages are to be encoded.
 */

static ngx_int_t
ngx_ws_bus_upgrade_agree(ngx_ws_bus_session_t *s, ngx_ws_bus_deflate_t *d)
{
    if (d) {
        s->deflate = 1;
        s->frame.rsv_allowed = NGX_WS_BUS_RSV1;
    }

    if (s->stream == NULL) {
        s->format = ngx_ws_bus_format_get(
                           s->conf->presence == NGX_WS_BUS_PRESENCE_MEMBERS
                           ? s->protocol->compose_presence
                           : s->protocol->compose,
                           s->conf, d, s->connection->log);
    }

    return s->format ? NGX_OK : NGX_ERROR;
}


static void
ngx_ws_bus_upgrade_write_handler(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (!r->buffered && !c->buffered) {
        ngx_ws_bus_session_start(ngx_ws_bus_ctx_session(r));
        return;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


/*
 * A client without WebSocket asks for an event stream, or says how long it
 * waits for an answer.
 */

static void
ngx_ws_bus_upgrade_fallback(ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u)
{
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (!conf->fallback
        || conf->channel == NULL
        || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
        || ngx_ws_bus_handshake_has_token(&u->upgrade, "websocket"))
    {
        return;
    }

    if (ngx_ws_bus_sse_accepted(&u->accept)) {
        u->fallback = &ngx_ws_bus_sse;
        return;
    }

    u->wait = ngx_ws_bus_query_wait(&r->args, NGX_WS_BUS_WAIT_MAX);

    if (u->wait != NGX_DECLINED) {
        u->fallback = &ngx_ws_bus_poll;
    }
}


/*
 * RFC 6455, 4.2.1.  NULL, or why the handshake is refused.
 */

static const ngx_ws_bus_refusal_t *
ngx_ws_bus_upgrade_check(ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u)
{
    if (r->method != NGX_HTTP_GET) {
        return &ngx_ws_bus_refused_method;
    }

    if (r->http_version >= NGX_HTTP_VERSION_20) {
        return &ngx_ws_bus_refused_http2;
    }

    if (!ngx_ws_bus_handshake_has_token(&u->upgrade, "websocket")) {
        return &ngx_ws_bus_refused_upgrade;
    }

    if (r->http_version < NGX_HTTP_VERSION_11) {
        return &ngx_ws_bus_refused_http10;
    }

    if (!ngx_ws_bus_handshake_has_token(&u->connection, "upgrade")) {
        return &ngx_ws_bus_refused_connection;
    }

    if (u->nversions != 1) {
        return u->nversions ? &ngx_ws_bus_refused_versions
                            : &ngx_ws_bus_refused_no_version;
    }

    if (u->version.len != 2 || ngx_strncmp(u->version.data, "13", 2) != 0) {
        return &ngx_ws_bus_refused_version;
    }

    if (u->nkeys != 1) {
        return u->nkeys ? &ngx_ws_bus_refused_keys
                        : &ngx_ws_bus_refused_no_key;
    }

    if (ngx_ws_bus_handshake_key(&u->key) != NGX_OK) {
        return &ngx_ws_bus_refused_key;
    }

    return ngx_ws_bus_upgrade_protocol(r, u);
}


/*
 * Chooses the first subprotocol offered that is served here; none offered
 * means raw mode, and a token among them is none.
 */

static const ngx_ws_bus_refusal_t *
ngx_ws_bus_upgrade_protocol(ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u)
{
    ngx_int_t               rc;
    ngx_str_t               rest, token;
    ngx_uint_t              tokens, others;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    tokens = 0;
    others = 0;
    rest = u->protocols;

    for ( ;; ) {
        rc = ngx_ws_bus_handshake_next_token(&rest, &token);

        if (rc == NGX_DECLINED) {
            break;
        }

        if (rc == NGX_OK && conf->auth.on == 1
            && ngx_ws_bus_auth_is_bearer(&token))
        {
            tokens++;
            continue;
        }

        others++;

        if (rc == NGX_OK
            && (conf->protocols & NGX_WS_BUS_PROTOCOL_JSON)
            && token.len == ngx_ws_bus_v1.name.len
            && ngx_strncmp(token.data, ngx_ws_bus_v1.name.data, token.len)
               == 0)
        {
            u->protocol = &ngx_ws_bus_v1;
            return NULL;
        }
    }

    if (others || (u->protocols.len && tokens == 0)) {
        return &ngx_ws_bus_refused_protocol;
    }

    u->protocol = &ngx_ws_bus_raw;

    return (conf->channel && (conf->protocols & NGX_WS_BUS_PROTOCOL_RAW))
           ? NULL : &ngx_ws_bus_refused_raw;
}


static ngx_int_t
ngx_ws_bus_upgrade_refuse(ngx_http_request_t *r,
    const ngx_ws_bus_refusal_t *refusal)
{
    ngx_str_t               value;
    ngx_uint_t              level;
    ngx_ws_bus_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (conf->zone->hub) {
        conf->zone->hub->slot->stats.refused[refusal->reason]++;
    }

    /* a full zone has been told by then */

    level = (refusal == &ngx_ws_bus_refused_unavailable) ? NGX_LOG_ERR
                                                         : NGX_LOG_INFO;

    ngx_log_error(level, r->connection->log, 0,
                  "websocket handshake refused: %s", refusal->text);

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_REFUSE, NULL, refusal->status,
                     refusal->text, 0);

    if (refusal->header) {
        value = refusal->value;

        if (ngx_ws_bus_add_header(r, refusal->header, &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_ws_bus_respond(r, refusal->status, refusal->text);
}


static ngx_int_t
ngx_ws_bus_upgrade_headers(ngx_http_request_t *r, ngx_ws_bus_upgrade_t *u)
{
    ngx_str_t             *list;
    ngx_table_elt_t       *h;
    ngx_ws_bus_headers_t   all;

    ngx_memzero(u, sizeof(ngx_ws_bus_upgrade_t));

    for (h = ngx_ws_bus_header_first(r, &all);
         h;
         h = ngx_ws_bus_header_next(&all))
    {
        if (ngx_ws_bus_header_is(h, "sec-websocket-key")) {
            u->key = h->value;
            u->nkeys++;
            continue;
        }

        if (ngx_ws_bus_header_is(h, "sec-websocket-version")) {
            u->version = h->value;
            u->nversions++;
            continue;
        }

        if (ngx_ws_bus_header_is(h, "upgrade")) {
            list = &u->upgrade;

        } else if (ngx_ws_bus_header_is(h, "connection")) {
            list = &u->connection;

        } else if (ngx_ws_bus_header_is(h, "sec-websocket-protocol")) {
            list = &u->protocols;

        } else if (ngx_ws_bus_header_is(h, "sec-websocket-extensions")) {
            list = &u->extensions;

        } else if (ngx_ws_bus_header_is(h, "accept")) {
            list = &u->accept;

        } else if (ngx_ws_bus_header_is(h, "last-event-id")) {
            list = &u->last_event_id;

        } else {
            continue;
        }

        if (ngx_ws_bus_upgrade_join(r, list, &h->value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * Headers of the same name are one list (RFC 9110, 5.3).
 */

static ngx_int_t
ngx_ws_bus_upgrade_join(ngx_http_request_t *r, ngx_str_t *value,
    ngx_str_t *more)
{
    u_char  *p;

    if (value->len == 0) {
        *value = *more;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, value->len + 2 + more->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(p, "%V, %V", value, more);

    value->data = p;
    value->len += 2 + more->len;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_upgrade_answer(ngx_ws_bus_session_t *s, ngx_ws_bus_upgrade_t *u,
    ngx_ws_bus_deflate_t *d, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    u_char              *p;
    ngx_int_t            rc;
    ngx_str_t            value;
    ngx_http_request_t  *r;

    r = s->request;

    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");
    r->keepalive = 0;

    ngx_str_set(&value, "websocket");

    if (ngx_ws_bus_add_header(r, "Upgrade", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, NGX_WS_BUS_ACCEPT_LEN
                             + NGX_WS_BUS_DEFLATE_ANSWER_MAX
                             + NGX_INT64_LEN + 16);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ngx_ws_bus_handshake_accept(&u->key, p) != NGX_OK) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = NGX_WS_BUS_ACCEPT_LEN;
    p += value.len;

    if (ngx_ws_bus_add_header(r, "Sec-WebSocket-Accept", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (d) {
        value.data = p;
        p = ngx_ws_bus_deflate_answer(d, p);
        value.len = p - value.data;

        if (ngx_ws_bus_add_header(r, "Sec-WebSocket-Extensions", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (u->protocol != &ngx_ws_bus_raw) {

        value = u->protocol->name;

        if (ngx_ws_bus_add_header(r, "Sec-WebSocket-Protocol", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (s->channel.len && !s->pending
        && ngx_ws_bus_resume_headers(s, resume, view->epoch) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    return ngx_http_send_special(r, NGX_HTTP_FLUSH);
}
