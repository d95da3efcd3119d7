
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>
#include <ngx_sha1.h>

#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_http.h"


#define NGX_WS_BUS_ONCE_KEY_MAX  255

#define NGX_WS_BUS_PUBLISHER_DOWN  "the other hosts cannot be reached"

/* longer than anything that is waited for, milliseconds */
#define NGX_WS_BUS_PUBLISHER_HOLD  5000


/*
 * A request that waits for the bridge.
 */

typedef struct {
    ngx_ws_bus_op_t      op;
    ngx_http_request_t  *request;
    ngx_str_t            channel;
    size_t               len;           /* of the message */
    ngx_uint_t           deleting;      /* unsigned  deleting:1; */
} ngx_ws_bus_publisher_wait_t;


/*
 * The request headers that a publication depends on.
 */

typedef struct {
    ngx_str_t    once;          /* data is NULL without Idempotency-Key */
    const char  *error;         /* in Idempotency-Key */
    unsigned     encoded:1;     /* a Content-Encoding that is not identity */
} ngx_ws_bus_publisher_headers_t;


static ngx_int_t ngx_ws_bus_publisher_post(ngx_http_request_t *r);
static void ngx_ws_bus_publisher_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_ws_bus_publisher_publish(ngx_http_request_t *r);
static ngx_ws_bus_publisher_wait_t *ngx_ws_bus_publisher_wait(
    ngx_http_request_t *r, ngx_str_t *channel);
static ngx_int_t ngx_ws_bus_publisher_hold(ngx_ws_bus_publisher_wait_t *wait);
static void ngx_ws_bus_publisher_hold_cleanup(void *data);
static void ngx_ws_bus_publisher_hold_handler(ngx_http_request_t *r);
static void ngx_ws_bus_publisher_op_handler(ngx_ws_bus_op_t *op, ngx_int_t rc,
    ngx_ws_bus_place_t *place);
static void ngx_ws_bus_publisher_headers(ngx_http_request_t *r,
    ngx_ws_bus_publisher_headers_t *h);
static ngx_int_t ngx_ws_bus_publisher_encoded(ngx_http_request_t *r);
static ngx_int_t ngx_ws_bus_publisher_body(ngx_http_request_t *r, size_t max,
    ngx_ws_bus_message_t *msg);
static ngx_int_t ngx_ws_bus_publisher_copy_body(ngx_http_request_t *r,
    u_char *dst);
static ngx_uint_t ngx_ws_bus_publisher_is_binary(ngx_http_request_t *r);
static ngx_int_t ngx_ws_bus_publisher_published(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_ws_bus_place_t *place);

static ngx_int_t ngx_ws_bus_publisher_get(ngx_http_request_t *r);
static ngx_int_t ngx_ws_bus_publisher_delete(ngx_http_request_t *r);
static ngx_int_t ngx_ws_bus_publisher_deleted(ngx_http_request_t *r,
    ngx_str_t *channel, ngx_uint_t known);

static ngx_int_t ngx_ws_bus_publisher_channel(ngx_http_request_t *r,
    ngx_str_t *channel);
static u_char *ngx_ws_bus_publisher_json(u_char *p, ngx_str_t *channel,
    ngx_uint_t subscribers);
static u_char *ngx_ws_bus_publisher_place(u_char *p, uint64_t seq,
    uint64_t epoch);
static u_char *ngx_ws_bus_publisher_number(u_char *p, uint64_t n);


ngx_int_t
ngx_ws_bus_publisher_handler(ngx_http_request_t *r)
{
    ngx_ws_bus_loc_conf_t  *wlcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD, POST, PUT, DELETE");

    if (!(r->method & (NGX_HTTP_POST|NGX_HTTP_PUT|NGX_HTTP_GET|NGX_HTTP_HEAD
                       |NGX_HTTP_DELETE)))
    {
        if (ngx_ws_bus_add_header(r, "Allow", &allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                           "method not allowed");
    }

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (wlcf->zone->hub == NULL) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                           "the zone cannot be used");
    }

    switch (r->method) {

    case NGX_HTTP_POST:
    case NGX_HTTP_PUT:
        return ngx_ws_bus_publisher_post(r);

    case NGX_HTTP_DELETE:
        return ngx_ws_bus_publisher_delete(r);

    default: /* NGX_HTTP_GET, NGX_HTTP_HEAD */
        return ngx_ws_bus_publisher_get(r);
    }
}


static ngx_int_t
ngx_ws_bus_publisher_post(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_ws_bus_loc_conf_t  *wlcf;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (r->headers_in.content_length_n > 0
        && (uint64_t) r->headers_in.content_length_n > wlcf->message_max_size)
    {
        return ngx_ws_bus_publisher_refuse(r,
                                           NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                           "message too big");
    }

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r,
                                           ngx_ws_bus_publisher_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_ws_bus_publisher_body_handler(ngx_http_request_t *r)
{
    ngx_http_finalize_request(r, ngx_ws_bus_publisher_publish(r));
}


static ngx_int_t
ngx_ws_bus_publisher_publish(ngx_http_request_t *r)
{
    u_char                           digest[NGX_WS_BUS_ONCE_LEN];
    ngx_int_t                        rc;
    ngx_str_t                        channel;
    ngx_ws_bus_place_t               place;
    ngx_ws_bus_message_t             msg;
    ngx_ws_bus_loc_conf_t           *wlcf;
    ngx_ws_bus_publisher_wait_t     *wait;
    ngx_ws_bus_publisher_headers_t   h;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    rc = ngx_ws_bus_publisher_channel(r, &channel);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    ngx_ws_bus_publisher_headers(r, &h);

    if (h.encoded) {
        return ngx_ws_bus_publisher_encoded(r);
    }

    if (h.error) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_BAD_REQUEST, h.error);
    }

    ngx_memzero(&msg, sizeof(ngx_ws_bus_message_t));

    rc = ngx_ws_bus_publisher_body(r, wlcf->message_max_size, &msg);

    if (rc == NGX_DECLINED) {
        return ngx_ws_bus_publisher_refuse(r,
                                           NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                           "message too big");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    msg.flags = ngx_ws_bus_publisher_is_binary(r) ? NGX_WS_BUS_REC_BINARY : 0;

    if (msg.flags == 0 && !ngx_ws_bus_utf8_valid(msg.data, msg.len)) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_BAD_REQUEST,
                                           "text is not UTF-8");
    }

    if (h.once.data) {
        ngx_ws_bus_publisher_digest(digest, &channel, &h.once);
        msg.once = digest;
    }

    msg.keep = wlcf->history;
    msg.age = (uint64_t) wlcf->history_age * 1000000;

    wlcf->zone->hub->now = 0;

    wait = ngx_ws_bus_publisher_wait(r, &channel);

    if (wait == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_ws_bus_hub_publish(wlcf->zone->hub, NULL, &channel, &msg, &place,
                                &wait->op);

    if (rc == NGX_AGAIN) {
        wait->len = msg.len;
        return ngx_ws_bus_publisher_hold(wait);
    }

    if (rc == NGX_DECLINED) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                           wlcf->zone->remote
                                           ? NGX_WS_BUS_PUBLISHER_DOWN
                                           : "the zone has no memory");
    }

    if (rc != NGX_OK && wlcf->zone->remote == NULL) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "ws bus message of %uz bytes does not fit into the log",
                      msg.len);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_PUBLISH, &channel, NGX_HTTP_CREATED,
                     place.repeated ? "repeated" : NULL, msg.len);

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "ws bus publish \"%V\" len:%uz seq:%uL repeated:%ui",
                   &channel, msg.len, place.seq, place.repeated);

    return ngx_ws_bus_publisher_published(r, &channel, &place);
}


static ngx_ws_bus_publisher_wait_t *
ngx_ws_bus_publisher_wait(ngx_http_request_t *r, ngx_str_t *channel)
{
    ngx_ws_bus_loc_conf_t        *wlcf;
    ngx_ws_bus_publisher_wait_t  *wait;

    static ngx_ws_bus_publisher_wait_t  none;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (wlcf->zone->remote == NULL) {
        return &none;
    }

    wait = ngx_pcalloc(r->pool, sizeof(ngx_ws_bus_publisher_wait_t));

    if (wait) {
        wait->op.handler = ngx_ws_bus_publisher_op_handler;
        wait->op.data = wait;
        wait->request = r;
        wait->channel = *channel;
    }

    return wait;
}


/*
 * Returns as a content handler; if the client goes, nobody waits any more.
 */

static ngx_int_t
ngx_ws_bus_publisher_hold(ngx_ws_bus_publisher_wait_t *wait)
{
    ngx_event_t            *rev;
    ngx_connection_t       *c;
    ngx_http_cleanup_t     *cln;
    ngx_http_request_t     *r;
    ngx_ws_bus_loc_conf_t  *wlcf;

    r = wait->request;
    c = r->connection;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    cln = ngx_http_cleanup_add(r, 0);

    if (cln == NULL) {
        wlcf->zone->remote->cancel(&wait->op);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_ws_bus_publisher_hold_cleanup;
    cln->data = wait;

    r->write_event_handler = ngx_ws_bus_publisher_hold_handler;

    c->log->action = "waiting for the other hosts";

    if (r == r->main) {
        r->read_event_handler = ngx_http_test_reading;

        rev = c->read;

        if (rev->ready) {
            ngx_post_event(rev, &ngx_posted_events);

        } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
            wlcf->zone->remote->cancel(&wait->op);
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* a worker that is shutting down waits for a timer */

        ngx_add_timer(c->write, wlcf->zone->remote->patience
                                + NGX_WS_BUS_PUBLISHER_HOLD);
    }

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_ws_bus_publisher_hold_cleanup(void *data)
{
    ngx_ws_bus_publisher_wait_t *wait = data;

    ngx_ws_bus_loc_conf_t  *wlcf;

    if (wait->op.pending == NULL) {
        return;
    }

    wlcf = ngx_http_get_module_loc_conf(wait->request, ngx_ws_bus_module);

    wlcf->zone->remote->cancel(&wait->op);
}


static void
ngx_ws_bus_publisher_hold_handler(ngx_http_request_t *r)
{
    ngx_http_cleanup_t           *cln;
    ngx_ws_bus_publisher_wait_t  *wait;

    if (!r->connection->write->timedout) {
        return;
    }

    r->connection->write->timedout = 0;

    /* an answer that comes later finds nobody */

    for (cln = r->main->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_ws_bus_publisher_hold_cleanup) {
            continue;
        }

        wait = cln->data;

        if (wait->request == r) {
            ngx_ws_bus_publisher_hold_cleanup(wait);
        }
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_finalize_request(r,
        ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                    NGX_WS_BUS_PUBLISHER_DOWN));
}


static void
ngx_ws_bus_publisher_op_handler(ngx_ws_bus_op_t *op, ngx_int_t rc,
    ngx_ws_bus_place_t *place)
{
    ngx_connection_t             *c;
    ngx_http_request_t           *r;
    ngx_ws_bus_publisher_wait_t  *wait;

    wait = op->data;
    r = wait->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (r == r->main && c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (rc == NGX_DECLINED) {
        rc = ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                         NGX_WS_BUS_PUBLISHER_DOWN);

    } else if (rc != NGX_OK) {
        rc = ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                         "it is not known whether this was "
                                         "done");

    } else if (wait->deleting) {
        rc = ngx_ws_bus_publisher_deleted(r, &wait->channel, place->hosts);

    } else {
        ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_PUBLISH, &wait->channel,
                         NGX_HTTP_CREATED,
                         place->repeated ? "repeated" : NULL, wait->len);

        rc = ngx_ws_bus_publisher_published(r, &wait->channel, place);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_ws_bus_publisher_headers(ngx_http_request_t *r,
    ngx_ws_bus_publisher_headers_t *h)
{
    ngx_str_t             *value;
    ngx_table_elt_t       *header;
    ngx_ws_bus_headers_t   all;

    ngx_memzero(h, sizeof(ngx_ws_bus_publisher_headers_t));

    for (header = ngx_ws_bus_header_first(r, &all);
         header;
         header = ngx_ws_bus_header_next(&all))
    {
        value = &header->value;

        if (ngx_ws_bus_header_is(header, "content-encoding")) {

            if (value->len
                && (value->len != sizeof("identity") - 1
                    || ngx_strncasecmp(value->data, (u_char *) "identity",
                                       sizeof("identity") - 1)
                       != 0))
            {
                h->encoded = 1;
            }

            continue;
        }

        if (!ngx_ws_bus_header_is(header, "idempotency-key")) {
            continue;
        }

        if (h->once.data) {
            h->error = "repeated Idempotency-Key";

        } else if (value->len == 0 || value->len > NGX_WS_BUS_ONCE_KEY_MAX) {
            h->error = "Idempotency-Key is not 1 to 255 bytes long";
        }

        h->once = *value;
    }
}


static ngx_int_t
ngx_ws_bus_publisher_encoded(ngx_http_request_t *r)
{
    static ngx_str_t  identity = ngx_string("identity");

    /* RFC 9110, 15.5.16 */

    if (ngx_ws_bus_add_header(r, "Accept-Encoding", &identity) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                       "compressed body");
}


/*
 * The bus wants contiguous bytes: a body in one buffer is taken as it lies.
 * NGX_OK, NGX_DECLINED if it is too big, NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_publisher_body(ngx_http_request_t *r, size_t max,
    ngx_ws_bus_message_t *msg)
{
    off_t         len;
    ngx_chain_t  *cl;

    msg->data = (u_char *) "";
    msg->len = 0;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    len = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
    }

    if ((uint64_t) len > max) {
        return NGX_DECLINED;
    }

    /* an empty body may be a buffer with neither memory nor a file */

    if (len == 0) {
        return NGX_OK;
    }

    msg->len = (size_t) len;

    cl = r->request_body->bufs;

    if (cl->next == NULL && ngx_buf_in_memory(cl->buf)) {
        msg->data = cl->buf->pos;
        return NGX_OK;
    }

    msg->data = ngx_pnalloc(r->pool, msg->len);
    if (msg->data == NULL) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_publisher_copy_body(r, msg->data);
}


static ngx_int_t
ngx_ws_bus_publisher_copy_body(ngx_http_request_t *r, u_char *dst)
{
    size_t        size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        b = cl->buf;
        size = (size_t) ngx_buf_size(b);

        if (ngx_buf_in_memory(b)) {
            dst = ngx_cpymem(dst, b->pos, size);
            continue;
        }

        if (!b->in_file) {
            continue;
        }

        n = ngx_read_file(b->file, dst, size, b->file_pos);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if ((size_t) n != size) {
            ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                          ngx_read_file_n " read only %z of %uz from \"%V\"",
                          n, size, &b->file->name);
            return NGX_ERROR;
        }

        dst += size;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_ws_bus_publisher_is_binary(ngx_http_request_t *r)
{
    u_char      ch;
    size_t      len;
    ngx_str_t  *type;

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;
    len = sizeof("application/octet-stream") - 1;

    if (type->len < len
        || ngx_strncasecmp(type->data, (u_char *) "application/octet-stream",
                           len)
           != 0)
    {
        return 0;
    }

    if (type->len == len) {
        return 1;
    }

    ch = type->data[len];

    return ch == ';' || ch == ' ' || ch == '\t';
}


/*
 * No channel's name holds a null character: what is hashed is unambiguous.
 */

void
ngx_ws_bus_publisher_digest(u_char *digest, ngx_str_t *channel, ngx_str_t *key)
{
    ngx_sha1_t  sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, channel->data, channel->len);
    ngx_sha1_update(&sha1, "", 1);
    ngx_sha1_update(&sha1, key->data, key->len);
    ngx_sha1_final(digest, &sha1);
}


static ngx_int_t
ngx_ws_bus_publisher_published(ngx_http_request_t *r, ngx_str_t *channel,
    ngx_ws_bus_place_t *place)
{
    ngx_buf_t  *b;

    static ngx_str_t  yes = ngx_string("true");

    if (place->repeated
        && ngx_ws_bus_add_header(r, "Idempotency-Replayed", &yes) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_create_temp_buf(r->pool,
                sizeof("{\"channel\":\"\",\"subscribers\":,\"hosts\":,"
                       "\"seq\":,\"epoch\":\"0123456789abcdef\"}" CRLF)
                + 2 * channel->len + 2 * NGX_INT_T_LEN + NGX_INT64_LEN);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_ws_bus_publisher_json(b->last, channel, place->subscribers);

    if (place->local) {
        b->last = ngx_sprintf(b->last, ",\"local\":true");

    } else if (place->hosts) {
        b->last = ngx_sprintf(b->last, ",\"hosts\":%ui", place->hosts);
    }

    if (place->seq) {
        b->last = ngx_ws_bus_publisher_place(b->last, place->seq,
                                             place->epoch);
    }

    *b->last++ = '}';
    *b->last++ = LF;

    ngx_ws_bus_content_type(r, "application/json");

    return ngx_ws_bus_send(r, NGX_HTTP_CREATED, b);
}


static ngx_int_t
ngx_ws_bus_publisher_get(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               channel;
    ngx_buf_t              *b;
    ngx_ws_bus_state_t      state;
    ngx_ws_bus_loc_conf_t  *wlcf;

    static ngx_str_t  no_store = ngx_string("no-store");

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (ngx_ws_bus_add_header(r, "Cache-Control", &no_store) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_ws_bus_publisher_channel(r, &channel);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_ws_bus_channel_state(wlcf->zone, &channel, wlcf->history,
                                 (uint64_t) wlcf->history_age * 1000000,
                                 &state)
        != NGX_OK)
    {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_NOT_FOUND,
                                           "no such channel");
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    b = ngx_create_temp_buf(r->pool,
                sizeof("{\"channel\":\"\",\"subscribers\":,\"seq\":,"
                       "\"epoch\":\"0123456789abcdef\",\"messages\":,"
                       "\"oldest\":null,\"newest\":null}" CRLF)
                + 2 * channel.len + 2 * NGX_INT_T_LEN + 3 * NGX_INT64_LEN);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_ws_bus_publisher_json(b->last, &channel, state.subscribers);

    b->last = ngx_ws_bus_publisher_place(b->last, state.seq, state.epoch);
    b->last = ngx_sprintf(b->last, ",\"messages\":%ui", state.messages);

    if (state.messages) {
        b->last = ngx_sprintf(b->last, ",\"oldest\":%uL,\"newest\":%uL}\n",
                              state.oldest, state.seq);

    } else {
        b->last = ngx_sprintf(b->last, ",\"oldest\":null,\"newest\":null}\n");
    }

    ngx_ws_bus_content_type(r, "application/json");

    return ngx_ws_bus_send(r, NGX_HTTP_OK, b);
}


static ngx_int_t
ngx_ws_bus_publisher_delete(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_str_t                     channel;
    ngx_ws_bus_loc_conf_t        *wlcf;
    ngx_ws_bus_publisher_wait_t  *wait;

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    rc = ngx_ws_bus_auth_revoke(r);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_ws_bus_publisher_channel(r, &channel);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    wait = ngx_ws_bus_publisher_wait(r, &channel);

    if (wait == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_ws_bus_hub_delete(wlcf->zone->hub, &channel, &wait->op);

    if (rc == NGX_AGAIN) {
        wait->deleting = 1;
        return ngx_ws_bus_publisher_hold(wait);
    }

    if (rc != NGX_OK && wlcf->zone->remote) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                           NGX_WS_BUS_PUBLISHER_DOWN);
    }

    return ngx_ws_bus_publisher_deleted(r, &channel, rc == NGX_OK);
}


static ngx_int_t
ngx_ws_bus_publisher_deleted(ngx_http_request_t *r, ngx_str_t *channel,
    ngx_uint_t known)
{
    if (!known) {
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_NOT_FOUND,
                                           "no such channel");
    }

    ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_DELETE, channel,
                     NGX_HTTP_NO_CONTENT, NULL, 0);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "ws bus channel \"%V\" deleted", channel);

    return NGX_HTTP_NO_CONTENT;
}


/*
 * Evaluates the channel.  NGX_DECLINED: go on with it; anything else is the
 * request's result.
 */

static ngx_int_t
ngx_ws_bus_publisher_channel(ngx_http_request_t *r, ngx_str_t *channel)
{
    switch (ngx_ws_bus_channel_name(r, channel)) {

    case NGX_OK:
        return NGX_DECLINED;

    case NGX_DECLINED:
        return ngx_ws_bus_publisher_refuse(r, NGX_HTTP_BAD_REQUEST,
                                           "invalid channel name");

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/*
 * The members that all answers begin with.
 */

static u_char *
ngx_ws_bus_publisher_json(u_char *p, ngx_str_t *channel,
    ngx_uint_t subscribers)
{
    p = ngx_cpymem(p, "{\"channel\":\"", sizeof("{\"channel\":\"") - 1);
    p = (u_char *) ngx_escape_json(p, channel->data, channel->len);
    p = ngx_cpymem(p, "\",\"subscribers\":", sizeof("\",\"subscribers\":") - 1);

    return ngx_ws_bus_publisher_number(p, subscribers);
}


static u_char *
ngx_ws_bus_publisher_place(u_char *p, uint64_t seq, uint64_t epoch)
{
    ngx_int_t  shift;

    static const u_char  hex[] = "0123456789abcdef";

    p = ngx_cpymem(p, ",\"seq\":", sizeof(",\"seq\":") - 1);
    p = ngx_ws_bus_publisher_number(p, seq);
    p = ngx_cpymem(p, ",\"epoch\":\"", sizeof(",\"epoch\":\"") - 1);

    for (shift = 60; shift >= 0; shift -= 4) {
        *p++ = hex[(epoch >> shift) & 0xf];
    }

    *p++ = '"';

    return p;
}


/*
 * ngx_sprintf() costs several times as much, on every publication.
 */

static u_char *
ngx_ws_bus_publisher_number(u_char *p, uint64_t n)
{
    u_char  digits[NGX_INT64_LEN], *first, *last;

    last = digits + NGX_INT64_LEN;
    first = last;

    do {
        *--first = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return ngx_cpymem(p, first, last - first);
}


ngx_int_t
ngx_ws_bus_publisher_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *reason)
{
    ngx_uint_t  level;

    level = (status < NGX_HTTP_INTERNAL_SERVER_ERROR) ? NGX_LOG_INFO
                                                      : NGX_LOG_ERR;

    ngx_log_error(level, r->connection->log, 0, "ws bus publisher: %s",
                  reason);

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        ngx_ws_bus_audit(r, NGX_WS_BUS_EVENT_REFUSE, NULL, status, reason, 0);
    }

    return ngx_ws_bus_respond(r, status, reason);
}
