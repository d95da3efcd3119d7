
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_keys.h"


/*
 * A subrequest needs a client's request, and a client's request needs a
 * connection that nginx waits on, closes and counts.  This one has a socket
 * that nobody can reach: it is neither bound nor connected, so it never has
 * anything to read and never ends.  All else is as nginx has it, and so is
 * the way that they go.
 */


typedef struct {
    ngx_ws_bus_keys_call_t       *call;
    ngx_http_request_t           *subrequest;
    ngx_int_t                     rc;
    ngx_http_post_subrequest_t    ps;
} ngx_ws_bus_keys_call_ctx_t;


static ngx_connection_t *ngx_ws_bus_keys_connect(
    ngx_http_core_srv_conf_t *cscf);
static ngx_int_t ngx_ws_bus_keys_connection(ngx_connection_t *c,
    ngx_http_core_srv_conf_t *cscf);
static ngx_http_request_t *ngx_ws_bus_keys_create_request(
    ngx_connection_t *c, ngx_http_core_srv_conf_t *cscf, ngx_str_t *uri);
static ngx_int_t ngx_ws_bus_keys_header(ngx_http_request_t *r,
    const char *name, ngx_str_t *value, ngx_table_elt_t **header);
static u_char *ngx_ws_bus_keys_log_error(ngx_log_t *log, u_char *buf,
    size_t len);
static void ngx_ws_bus_keys_call_start(ngx_event_t *ev);
static void ngx_ws_bus_keys_call_event(ngx_event_t *ev);
static ngx_int_t ngx_ws_bus_keys_call_done(ngx_http_request_t *r, void *data,
    ngx_int_t rc);
static ngx_ws_bus_keys_call_ctx_t *ngx_ws_bus_keys_call_ctx(
    ngx_http_request_t *r);
static void ngx_ws_bus_keys_call_wake(ngx_http_request_t *r);
static void ngx_ws_bus_keys_call_cleanup(void *data);


static ngx_str_t  ngx_ws_bus_keys_client = ngx_string("unix:");
static ngx_str_t  ngx_ws_bus_keys_protocol = ngx_string("HTTP/1.1");
static ngx_str_t  ngx_ws_bus_keys_method = ngx_string("GET");
static ngx_str_t  ngx_ws_bus_keys_accept =
    ngx_string("application/jwk-set+json, application/json");
static ngx_str_t  ngx_ws_bus_keys_agent =
    ngx_string("ngx_ws_bus_module/" NGX_WS_BUS_VERSION);


ngx_int_t
ngx_ws_bus_keys_call(ngx_ws_bus_keys_call_t *call,
    ngx_http_core_srv_conf_t *cscf, ngx_str_t *uri)
{
    u_char                      *p;
    ngx_str_t                    path, args;
    ngx_connection_t            *c;
    ngx_pool_cleanup_t          *cln;
    ngx_http_request_t          *r;
    ngx_ws_bus_keys_call_ctx_t  *ctx;

    c = ngx_ws_bus_keys_connect(cscf);
    if (c == NULL) {
        return NGX_ERROR;
    }

    path = *uri;
    ngx_str_null(&args);

    p = ngx_strlchr(uri->data, uri->data + uri->len, '?');

    if (p) {
        path.len = p - uri->data;
        args.data = p + 1;
        args.len = uri->len - path.len - 1;
    }

    r = ngx_ws_bus_keys_create_request(c, cscf, &path);
    if (r == NULL) {
        ngx_http_close_connection(c);
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_ws_bus_keys_call_ctx_t));
    if (cln == NULL) {
        goto failed;
    }

    ctx = cln->data;

    ctx->call = call;
    ctx->rc = NGX_ERROR;
    ctx->ps.handler = ngx_ws_bus_keys_call_done;
    ctx->ps.data = ctx;

    if (ngx_http_subrequest(r, &path, &args, &ctx->subrequest, &ctx->ps,
                            NGX_HTTP_SUBREQUEST_IN_MEMORY)
        != NGX_OK)
    {
        goto failed;
    }

    cln->handler = ngx_ws_bus_keys_call_cleanup;

    call->connection = c;
    call->request = r;

    /* the caller hears of it later in any case */

    ngx_post_event(c->write, &ngx_posted_events);

    return NGX_OK;

failed:

    ngx_http_free_request(r, 0);
    ngx_http_close_connection(c);

    return NGX_ERROR;
}


static ngx_connection_t *
ngx_ws_bus_keys_connect(ngx_http_core_srv_conf_t *cscf)
{
    ngx_log_t         *log;
    ngx_socket_t       s;
    ngx_connection_t  *c;

    log = ngx_cycle->log;

    s = ngx_socket(AF_UNIX, SOCK_DGRAM, 0);

    if (s == (ngx_socket_t) -1) {
        ngx_log_error(NGX_LOG_CRIT, log, ngx_socket_errno,
                      ngx_socket_n " failed");
        return NULL;
    }

    c = ngx_get_connection(s, log);

    if (c == NULL) {
        if (ngx_close_socket(s) == -1) {
            ngx_log_error(NGX_LOG_ALERT, log, ngx_socket_errno,
                          ngx_close_socket_n " failed");
        }

        return NULL;
    }

    if (ngx_nonblocking(s) == -1) {
        ngx_log_error(NGX_LOG_CRIT, log, ngx_socket_errno,
                      ngx_nonblocking_n " failed");
        goto failed;
    }

    if (ngx_ws_bus_keys_connection(c, cscf) != NGX_OK) {
        goto failed;
    }

#if (NGX_STAT_STUB)
    /* ngx_http_close_connection() takes it back */
    (void) ngx_atomic_fetch_add(ngx_stat_active, 1);
#endif

    return c;

failed:

    if (c->pool) {
        ngx_destroy_pool(c->pool);
    }

    ngx_close_connection(c);

    return NULL;
}


static ngx_int_t
ngx_ws_bus_keys_connection(ngx_connection_t *c,
    ngx_http_core_srv_conf_t *cscf)
{
    ngx_log_t              *log;
    ngx_http_log_ctx_t     *ctx;
    ngx_http_addr_conf_t   *addr;
    ngx_http_connection_t  *hc;

    c->pool = ngx_create_pool(cscf->connection_pool_size, c->log);
    if (c->pool == NULL) {
        return NGX_ERROR;
    }

    log = ngx_palloc(c->pool, sizeof(ngx_log_t));
    ctx = ngx_pcalloc(c->pool, sizeof(ngx_http_log_ctx_t));
    hc = ngx_pcalloc(c->pool, sizeof(ngx_http_connection_t));
    addr = ngx_pcalloc(c->pool, sizeof(ngx_http_addr_conf_t));
    c->buffer = ngx_create_temp_buf(c->pool, 1);
    c->sockaddr = ngx_pcalloc(c->pool, sizeof(struct sockaddr_un));

    if (log == NULL || ctx == NULL || hc == NULL || addr == NULL
        || c->buffer == NULL || c->sockaddr == NULL)
    {
        return NGX_ERROR;
    }

    addr->default_server = cscf;
    hc->addr_conf = addr;
    hc->conf_ctx = cscf->ctx;

    /* as of a client on a UNIX-domain socket */

    c->sockaddr->sa_family = AF_UNIX;
    c->socklen = sizeof(struct sockaddr_un);
    c->addr_text = ngx_ws_bus_keys_client;
    c->local_sockaddr = c->sockaddr;
    c->local_socklen = c->socklen;

    c->type = SOCK_STREAM;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;
    c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;
    c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
    c->recv = ngx_recv;
    c->send = ngx_send;
    c->recv_chain = ngx_recv_chain;
    c->send_chain = ngx_send_chain;

    ctx->connection = c;

    *log = *c->log;
    log->data = ctx;
    log->handler = ngx_ws_bus_keys_log_error;
    log->connection = c->number;
    log->action = NULL;

    c->log = log;
    c->pool->log = log;
    c->read->log = log;
    c->write->log = log;

    c->read->handler = ngx_ws_bus_keys_call_event;
    c->write->handler = ngx_ws_bus_keys_call_start;
    c->write->ready = 1;

    c->data = hc;

    /* a worker that is told to exit does not wait for the answer */
    c->idle = 1;

    return NGX_OK;
}


static ngx_http_request_t *
ngx_ws_bus_keys_create_request(ngx_connection_t *c,
    ngx_http_core_srv_conf_t *cscf, ngx_str_t *uri)
{
    u_char              *p;
    ngx_http_request_t  *r;

    r = ngx_http_create_request(c);
    if (r == NULL) {
        return NULL;
    }

    c->data = r;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_reading, -1);
    r->stat_reading = 0;
#endif

    /* what is fetched is not a client's, nor is what follows a request */

    r->logged = 1;
    r->post_action = 1;
    r->uri_changes = 0;

    r->method = NGX_HTTP_GET;
    r->method_name = ngx_ws_bus_keys_method;
    r->http_version = NGX_HTTP_VERSION_11;
    r->http_protocol = ngx_ws_bus_keys_protocol;
    r->uri = *uri;
    r->unparsed_uri = *uri;
    r->valid_location = 1;
    r->write_event_handler = ngx_ws_bus_keys_call_wake;

    r->headers_in.connection_type = NGX_HTTP_CONNECTION_CLOSE;
    r->headers_in.server = cscf->server_name;

    p = ngx_pnalloc(r->pool, sizeof("GET  HTTP/1.1") + uri->len);

    if (p == NULL
        || ngx_list_init(&r->headers_in.headers, r->pool, 4,
                         sizeof(ngx_table_elt_t))
           != NGX_OK)
    {
        goto failed;
    }

    /* it is in the log from here on, as that there is no memory */

    r->request_line.data = p;
    r->request_line.len = ngx_sprintf(p, "GET %V HTTP/1.1%Z", uri) - p - 1;

    if (cscf->server_name.len
        && ngx_ws_bus_keys_header(r, "Host", &cscf->server_name,
                                  &r->headers_in.host)
           != NGX_OK)
    {
        goto failed;
    }

    if (ngx_ws_bus_keys_header(r, "User-Agent", &ngx_ws_bus_keys_agent,
                               &r->headers_in.user_agent)
        != NGX_OK
        || ngx_ws_bus_keys_header(r, "Accept", &ngx_ws_bus_keys_accept, NULL)
           != NGX_OK)
    {
        goto failed;
    }

    return r;

failed:

    ngx_http_free_request(r, 0);

    return NULL;
}


static ngx_int_t
ngx_ws_bus_keys_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value, ngx_table_elt_t **header)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;

    h->lowcase_key = ngx_pnalloc(r->pool, h->key.len);
    if (h->lowcase_key == NULL) {
        return NGX_ERROR;
    }

    h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

    if (header) {
        *header = h;
    }

    return NGX_OK;
}


static u_char *
ngx_ws_bus_keys_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char              *p;
    ngx_http_log_ctx_t  *ctx;

    p = ngx_snprintf(buf, len, " while %s, client: ws_bus_jwt_key_request",
                     log->action ? log->action : "fetching keys");

    ctx = log->data;

    if (ctx->request == NULL) {
        return p;
    }

    return ctx->request->log_handler(ctx->request, ctx->current_request, p,
                                     len - (p - buf));
}


static void
ngx_ws_bus_keys_call_start(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = ev->data;
    r = c->data;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "ws bus keys: request \"%V\"", &r->uri);

    ev->handler = ngx_ws_bus_keys_call_event;

    ngx_http_run_posted_requests(c);
}


/*
 * As nginx handles the events of a client's connection.
 */

static void
ngx_ws_bus_keys_call_event(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = ev->data;
    r = c->data;

    if (c->close) {

        if (!c->error && ngx_ws_bus_keys_call_ctx(r)->call->wanted) {
            c->close = 0;
            return;
        }

        ngx_http_finalize_request(r->main, NGX_ERROR);
        ngx_http_run_posted_requests(c);
        return;
    }

    ngx_http_set_log_request(c->log, r);

    if (ev->delayed && ev->timedout) {
        ev->delayed = 0;
        ev->timedout = 0;
    }

    if (ev->write) {
        r->write_event_handler(r);

    } else {
        r->read_event_handler(r);
    }

    ngx_http_run_posted_requests(c);
}


/*
 * Called more than once if error_page applies: the last time counts.
 */

static ngx_int_t
ngx_ws_bus_keys_call_done(ngx_http_request_t *r, void *data, ngx_int_t rc)
{
    ngx_ws_bus_keys_call_ctx_t *ctx = data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "ws bus keys: done %i, status %ui", rc,
                   r->headers_out.status);

    ctx->rc = rc;

    return rc;
}


static void
ngx_ws_bus_keys_call_wake(ngx_http_request_t *r)
{
    ngx_buf_t                   *b;
    ngx_str_t                    body;
    ngx_uint_t                   status;
    ngx_http_request_t          *sr;
    ngx_ws_bus_keys_call_t      *call;
    ngx_ws_bus_keys_call_ctx_t  *ctx;

    ctx = ngx_ws_bus_keys_call_ctx(r);
    sr = ctx->subrequest;

    if (!sr->done) {
        return;
    }

    ngx_str_null(&body);

    status = (ctx->rc == NGX_OK) ? sr->headers_out.status : 0;

    if (sr->out && sr->out->buf) {
        b = sr->out->buf;
        body.data = b->pos;
        body.len = b->last - b->pos;
    }

    /* an upstream that ends too early does not show in the result */

    if (status == NGX_HTTP_OK && sr->headers_out.content_length_n != -1
        && sr->headers_out.content_length_n != (off_t) body.len)
    {
        status = NGX_HTTP_PARTIAL_CONTENT;
    }

    call = ctx->call;
    ctx->call = NULL;

    if (call) {
        call->handler(call, status, &body);
        call->connection = NULL;
    }

    ngx_http_finalize_request(r, NGX_ERROR);
}


/*
 * Variables of the module find nothing in the request's own contexts.
 */

static ngx_ws_bus_keys_call_ctx_t *
ngx_ws_bus_keys_call_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    cln = r->pool->cleanup;

    while (cln->handler != ngx_ws_bus_keys_call_cleanup) {
        cln = cln->next;
    }

    return cln->data;
}


static void
ngx_ws_bus_keys_call_cleanup(void *data)
{
    ngx_ws_bus_keys_call_ctx_t *ctx = data;

    ngx_str_t                body;
    ngx_ws_bus_keys_call_t  *call;

    call = ctx->call;

    if (call) {
        ngx_str_null(&body);

        call->handler(call, 0, &body);
        call->connection = NULL;
    }
}


void
ngx_ws_bus_keys_call_end(ngx_ws_bus_keys_call_t *call)
{
    ngx_connection_t  *c;

    c = call->connection;

    ngx_http_finalize_request(call->request, NGX_ERROR);
    ngx_http_run_posted_requests(c);
}
