
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_json.h"
#include "ngx_ws_bus_pattern.h"
#include "ngx_ws_bus_v1.h"
#include "ngx_ws_bus_once.h"

#include <ngx_sha1.h>


/*
 * The subprotocol "ws-bus.v1.json": many channels on one connection, every
 * message one JSON object in a text frame.
 */


/* errors that a client may make in that time, milliseconds */
#define NGX_WS_BUS_V1_ERRORS         100
#define NGX_WS_BUS_V1_ERRORS_TIME    10000

#define NGX_WS_BUS_V1_BUCKETS        4


static ngx_int_t ngx_ws_bus_v1_compose(ngx_ws_bus_node_t *node,
    ngx_ws_bus_record_t *rec, u_char *payload, ngx_ws_bus_composed_t *m);
static ngx_int_t ngx_ws_bus_v1_compose_presence(ngx_ws_bus_node_t *node,
    ngx_ws_bus_record_t *rec, u_char *payload, ngx_ws_bus_composed_t *m);
static ngx_int_t ngx_ws_bus_v1_open(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);
static void ngx_ws_bus_v1_close(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_v1_may_send(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_v1_message(ngx_ws_bus_session_t *s,
    ngx_uint_t opcode, u_char *data, size_t len);
static u_char *ngx_ws_bus_v1_gap(u_char *p, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to, uint64_t count);
static void ngx_ws_bus_v1_limited(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);

static const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_subscribe(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);
static const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_unsubscribe(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);
static const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_publish(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);
static const ngx_ws_bus_message_error_t *ngx_ws_bus_v1_ack(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);
static void ngx_ws_bus_v1_consumer(ngx_ws_bus_session_t *s,
    ngx_str_t *channel, u_char *digest);
static ngx_int_t ngx_ws_bus_v1_error(ngx_ws_bus_session_t *s, ngx_str_t *id,
    const ngx_ws_bus_message_error_t *error);
static void ngx_ws_bus_v1_refused(ngx_ws_bus_session_t *s,
    ngx_ws_bus_request_t *q);

static ngx_uint_t ngx_ws_bus_v1_here(ngx_ws_bus_session_t *s,
    ngx_str_t *channel);
static ngx_int_t ngx_ws_bus_v1_add(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub);
static ngx_int_t ngx_ws_bus_v1_grow(ngx_ws_bus_v1_t *v1, ngx_log_t *log);


const ngx_ws_bus_protocol_t  ngx_ws_bus_v1 = {
    ngx_string("ws-bus.v1.json"),
    ngx_ws_bus_v1_compose,
    ngx_ws_bus_v1_compose_presence,
    ngx_ws_bus_v1_open,
    ngx_ws_bus_v1_close,
    ngx_ws_bus_v1_may_send,
    ngx_ws_bus_v1_message,
    ngx_ws_bus_v1_lost,
    ngx_ws_bus_v1_gap,
    ngx_ws_bus_v1_limited
};


static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_no_consumer = {
    ngx_string("not_available"), ngx_string("no consumer is named")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_ack_ahead = {
    ngx_string("bad_request"), ngx_string("\"seq\" is ahead of the channel")
};

const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_not_here = {
    ngx_string("not_available"), ngx_string("not available on this location")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_max_channels = {
    ngx_string("limit"), ngx_string("too many channels on this connection")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_rate = {
    ngx_string("limit"), ngx_string("rate limit exceeded")
};


static ngx_int_t
ngx_ws_bus_v1_compose(ngx_ws_bus_node_t *node, ngx_ws_bus_record_t *rec,
    u_char *payload, ngx_ws_bus_composed_t *m)
{
    size_t                 size;
    u_char                *p;
    ngx_str_t              channel;
    ngx_ws_bus_envelope_t  e;

    if (rec->type != NGX_WS_BUS_REC_MESSAGE) {
        return NGX_DONE;
    }

    ngx_ws_bus_node_name(node, &channel);

    if (ngx_ws_bus_v1_envelope(rec, payload, &e) != NGX_OK) {
        return NGX_ERROR;
    }

    size = ngx_ws_bus_message_envelope_size(&channel, &e);

    p = ngx_ws_bus_format_scratch(NGX_WS_BUS_SCRATCH_OUT, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    m->opcode = NGX_WS_BUS_OP_TEXT;
    m->data = p;
    m->len = ngx_ws_bus_message_envelope(p, &channel, &e) - p;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_v1_compose_presence(ngx_ws_bus_node_t *node,
    ngx_ws_bus_record_t *rec, u_char *payload, ngx_ws_bus_composed_t *m)
{
    u_char     *p, name[NGX_WS_BUS_MEMBER_MAX];
    ngx_str_t   channel, member;

    if (rec->type == NGX_WS_BUS_REC_MESSAGE) {
        return ngx_ws_bus_v1_compose(node, rec, payload, m);
    }

    ngx_ws_bus_node_name(node, &channel);

    /* the log may change while this looks at it more than once */

    member.data = name;
    member.len = ngx_min(rec->len, NGX_WS_BUS_MEMBER_MAX);
    ngx_memcpy(name, payload, member.len);

    p = ngx_ws_bus_format_scratch(NGX_WS_BUS_SCRATCH_OUT,
                                  ngx_ws_bus_message_member_size(&member)
                                  + NGX_WS_BUS_MESSAGE_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    m->opcode = NGX_WS_BUS_OP_TEXT;
    m->data = p;

    if (rec->type == NGX_WS_BUS_REC_JOINED) {
        p = ngx_ws_bus_message_joined(p, &channel, &member);

    } else {
        p = ngx_ws_bus_message_left(p, &channel, &member);
    }

    m->len = p - m->data;

    return NGX_OK;
}


/*
 * How a record travels: what is text may be JSON, which is found out here,
 * unless its publisher has said.
 */

ngx_int_t
ngx_ws_bus_v1_envelope(ngx_ws_bus_record_t *rec, u_char *payload,
    ngx_ws_bus_envelope_t *e)
{
    u_char  *p;

    e->seq = rec->seq;
    e->payload.data = payload;
    e->payload.len = rec->len;

    if (rec->flags & NGX_WS_BUS_REC_BINARY) {
        e->kind = NGX_WS_BUS_PAYLOAD_BASE64;
        return NGX_OK;
    }

    if (rec->flags & NGX_WS_BUS_REC_JSON) {
        e->kind = NGX_WS_BUS_PAYLOAD_DATA;
        return NGX_OK;
    }

    /* the log may change while this looks at it more than once */

    p = ngx_ws_bus_format_scratch(NGX_WS_BUS_SCRATCH_IN, rec->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, payload, rec->len);
    e->payload.data = p;

    if ((rec->flags & NGX_WS_BUS_REC_STRING)
        || ngx_ws_bus_json_valid(p, rec->len) != NGX_OK)
    {
        e->kind = NGX_WS_BUS_PAYLOAD_TEXT;

    } else {
        e->kind = NGX_WS_BUS_PAYLOAD_DATA;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_v1_open(ngx_ws_bus_session_t *s, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_v1_t  *v1;

    v1 = ngx_calloc(sizeof(ngx_ws_bus_v1_t), s->connection->log);
    if (v1 == NULL) {
        return NGX_ERROR;
    }

    s->v1 = v1;

    if (s->sub.group == NULL) {
        return NGX_OK;
    }

    if (ngx_ws_bus_v1_add(s, &s->sub) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_ws_bus_v1_greet(s, NULL, &s->channel, resume, view);

    return NGX_OK;
}


static void
ngx_ws_bus_v1_close(ngx_ws_bus_session_t *s)
{
    ngx_uint_t         i;
    ngx_ws_bus_v1_t   *v1;
    ngx_ws_bus_sub_t  *sub, *next;

    v1 = s->v1;

    if (v1 == NULL) {
        return;
    }

    for (i = 0; v1->buckets && i <= v1->mask; i++) {

        for (sub = v1->buckets[i]; sub; sub = next) {
            next = sub->next;

            if (sub != &s->sub) {
                ngx_ws_bus_session_unsubscribe(s, sub);
                ngx_free(sub);
            }
        }
    }

    ngx_ws_bus_v1_looks_end(v1);

    if (v1->buckets) {
        ngx_free(v1->buckets);
    }

    ngx_free(v1);

    s->v1 = NULL;
}


static ngx_int_t
ngx_ws_bus_v1_may_send(ngx_ws_bus_session_t *s)
{
    static const ngx_ws_bus_error_t  binary =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNSUPPORTED,
                         "this subprotocol takes text only");

    if (s->opcode == NGX_WS_BUS_OP_TEXT) {
        return NGX_OK;
    }

    ngx_ws_bus_session_fail(s, &binary);

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_v1_message(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    ngx_ws_bus_request_t               q;
    const ngx_ws_bus_message_error_t  *error;

    (void) opcode;

    if (s->v1 == NULL) {

        /* closed before its channel was there */

        return NGX_OK;
    }

    if (ngx_ws_bus_message_parse(data, len, &q, &error) != NGX_OK) {
        return ngx_ws_bus_v1_error(s, &q.id, error);
    }

    switch (q.type) {

    case NGX_WS_BUS_REQUEST_SUBSCRIBE:
        error = ngx_ws_bus_v1_subscribe(s, &q);
        break;

    case NGX_WS_BUS_REQUEST_UNSUBSCRIBE:
        error = ngx_ws_bus_v1_unsubscribe(s, &q);
        break;

    case NGX_WS_BUS_REQUEST_PUBLISH:
        error = ngx_ws_bus_v1_publish(s, &q);
        break;

    case NGX_WS_BUS_REQUEST_HISTORY:
        s->heavy = 1;
        error = ngx_ws_bus_v1_history(s, &q);
        break;

    case NGX_WS_BUS_REQUEST_PRESENCE:
        s->heavy = 1;
        error = ngx_ws_bus_v1_presence(s, &q);
        break;

    case NGX_WS_BUS_REQUEST_ACK:
        error = ngx_ws_bus_v1_ack(s, &q);
        break;

    default: /* NGX_WS_BUS_REQUEST_AUTH, NGX_WS_BUS_REQUEST_AUTH_REFRESH */
        error = ngx_ws_bus_auth_refresh(s, &q);
        break;
    }

    if (error == &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN]) {
        ngx_ws_bus_v1_refused(s, &q);
    }

    return error ? ngx_ws_bus_v1_error(s, &q.id, error) : NGX_OK;
}


static const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_subscribe(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char                digest[NGX_WS_BUS_ONCE_LEN];
    ngx_int_t             rc;
    ngx_ws_bus_sub_t     *sub;
    ngx_ws_bus_view_t     view;
    ngx_ws_bus_resume_t   resume;

    if (*ngx_ws_bus_v1_find(s, &q->channel)) {
        return &ngx_ws_bus_message_errors[
                                        NGX_WS_BUS_CODE_ALREADY_SUBSCRIBED];
    }

    if (!ngx_ws_bus_v1_allowed(s, &q->channel)) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];
    }

    if (s->v1->n >= s->conf->max_channels) {
        return &ngx_ws_bus_v1_max_channels;
    }

    if (q->from_ack && s->consumer.len == 0) {
        return &ngx_ws_bus_v1_no_consumer;
    }

    ngx_memzero(&resume, sizeof(ngx_ws_bus_resume_t));

    if (q->from_ack) {
        resume.resume = 1;

        ngx_ws_bus_v1_consumer(s, &q->channel, digest);

        resume.known = (ngx_ws_bus_once_acked(s->hub->zone, digest,
                                              &resume.epoch, &resume.last_seq)
                        == NGX_OK);
    }

    if (q->has_seq) {
        resume.resume = 1;
        resume.last_seq = q->seq;
        resume.known = (ngx_ws_bus_message_epoch(&q->epoch, &resume.epoch)
                        == NGX_OK);
    }

    sub = ngx_calloc(sizeof(ngx_ws_bus_sub_t), s->connection->log);
    if (sub == NULL) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    sub->owner = s;

    rc = ngx_ws_bus_session_subscribe(s, &q->channel, sub, &view);

    if (rc == NGX_ERROR) {
        ngx_free(sub);
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_resume_refresh(s, sub, &resume, &view);
    }

    if (ngx_ws_bus_v1_add(s, sub) != NGX_OK
        || rc == NGX_ERROR
        || (rc == NGX_AGAIN && ngx_ws_bus_v1_wait(sub, q, &resume) != NGX_OK)
        || (rc == NGX_OK
            && ngx_ws_bus_resume(s, sub, &resume, &view) != NGX_OK))
    {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return NULL;
    }

    if (rc == NGX_OK) {
        ngx_ws_bus_v1_greet(s, &q->id, &q->channel, &resume, &view);
    }

    return NULL;
}


static const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_unsubscribe(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char             buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_ws_bus_sub_t  *sub, **prev;

    prev = ngx_ws_bus_v1_find(s, &q->channel);
    sub = *prev;

    if (sub == NULL) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_NOT_SUBSCRIBED];
    }

    *prev = sub->next;
    s->v1->n--;

    ngx_ws_bus_session_unsubscribe(s, sub);

    if (sub != &s->sub) {
        ngx_free(sub);
    }

    last = ngx_ws_bus_message_unsubscribed(buf, &q->id, &q->channel);

    ngx_ws_bus_out_reply(s, buf, last - buf);

    return NULL;
}


static const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_publish(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char                 digest[NGX_WS_BUS_ONCE_LEN];
    ngx_int_t              rc;
    ngx_ws_bus_sub_t      *sub;
    ngx_ws_bus_place_t     place;
    ngx_ws_bus_message_t   msg;

    sub = *ngx_ws_bus_v1_find(s, &q->channel);

    if (!s->publish
        || (sub == NULL && !ngx_ws_bus_v1_here(s, &q->channel))
        || !(sub == &s->sub
             ? s->granted
             : ngx_ws_bus_auth_may_publish(s->auth, &q->channel)))
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];
    }

    ngx_memzero(&msg, sizeof(ngx_ws_bus_message_t));

    msg.data = q->payload.data;
    msg.len = q->payload.len;
    msg.age = (uint64_t) s->conf->history_age * 1000000;
    msg.keep = s->conf->history;

    switch (q->kind) {

    case NGX_WS_BUS_PAYLOAD_DATA:
        msg.flags = NGX_WS_BUS_REC_JSON;
        break;

    case NGX_WS_BUS_PAYLOAD_TEXT:
        msg.flags = NGX_WS_BUS_REC_STRING;
        break;

    default: /* NGX_WS_BUS_PAYLOAD_BASE64 */
        msg.flags = NGX_WS_BUS_REC_BINARY;
        break;
    }

    if (q->key.len) {
        ngx_ws_bus_publisher_digest(digest, &q->channel, &q->key);
        msg.once = digest;
    }

    rc = ngx_ws_bus_pending_publish(s, sub, &q->channel, &msg, &place,
                                    &q->id);

    if (rc == NGX_AGAIN) {
        return NULL;
    }

    if (rc != NGX_OK) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    if (s->conf->audit) {
        ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_PUBLISH, &q->channel, 0,
                         place.repeated ? "repeated" : NULL, msg.len);
    }

    ngx_ws_bus_v1_published(s, &q->id, &q->channel, NGX_OK, &place);

    return NULL;
}


/*
 * The position is the consumer's, not the connection's: whoever comes next
 * by that name continues there.
 */

static const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_ack(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char              digest[NGX_WS_BUS_ONCE_LEN];
    ngx_ws_bus_sub_t   *sub;
    ngx_ws_bus_view_t   view;

    if (s->consumer.len == 0) {
        return &ngx_ws_bus_v1_no_consumer;
    }

    sub = *ngx_ws_bus_v1_find(s, &q->channel);

    if (sub == NULL) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_NOT_SUBSCRIBED];
    }

    ngx_ws_bus_channel_view(s->hub->zone, sub->group->channel->node, &view);

    if (q->seq > view.seq) {
        return &ngx_ws_bus_v1_ack_ahead;
    }

    ngx_ws_bus_v1_consumer(s, &q->channel, digest);

    if (ngx_ws_bus_once_ack(s->hub->zone, digest, view.epoch, q->seq)
        != NGX_OK)
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    return NULL;
}


static void
ngx_ws_bus_v1_consumer(ngx_ws_bus_session_t *s, ngx_str_t *channel,
    u_char *digest)
{
    ngx_sha1_t  sha1;

    /* a channel's name has no zero byte: this is no idempotency key */

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, "\0ack\0", 5);
    ngx_sha1_update(&sha1, channel->data, channel->len);
    ngx_sha1_update(&sha1, "\0", 1);
    ngx_sha1_update(&sha1, s->consumer.data, s->consumer.len);
    ngx_sha1_final(digest, &sha1);
}


static u_char *
ngx_ws_bus_v1_gap(u_char *p, ngx_ws_bus_node_t *node, uint64_t from,
    uint64_t to, uint64_t count)
{
    ngx_str_t  channel;

    ngx_ws_bus_node_name(node, &channel);

    return from ? ngx_ws_bus_message_gap(p, &channel, from, to)
                : ngx_ws_bus_message_gap_count(p, &channel, count);
}


/*
 * Unlike an error it says nothing about the client: it does not count.
 */

static void
ngx_ws_bus_v1_limited(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    u_char     buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_str_t  id;

    ngx_ws_bus_message_id(data, len, &id);

    last = ngx_ws_bus_message_error(buf, &id, &ngx_ws_bus_v1_rate);

    ngx_ws_bus_out_reply(s, buf, last - buf);
}


/*
 * Says from where a subscription starts.
 */

void
ngx_ws_bus_v1_greet(ngx_ws_bus_session_t *s, ngx_str_t *id,
    ngx_str_t *channel, ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view)
{
    u_char                   buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_ws_bus_subscribed_t  subscribed;

    subscribed.epoch = view->epoch;
    subscribed.seq = resume->seq;
    subscribed.head = view->seq;
    subscribed.resume = resume->resume;
    subscribed.recovered = resume->recovered;

    subscribed.oldest = ngx_ws_bus_channel_oldest(s->hub->zone, view, 0,
                                 s->conf->history,
                                 (uint64_t) s->conf->history_age * 1000000);

    if (resume->recovered) {
        subscribed.oldest = ngx_min(subscribed.oldest, resume->seq + 1);
    }

    last = ngx_ws_bus_message_subscribed(buf, id, channel, &subscribed);

    ngx_ws_bus_out_reply(s, buf, last - buf);
}


/*
 * An error keeps the connection, unless the client makes nothing else.
 */

static ngx_int_t
ngx_ws_bus_v1_error(ngx_ws_bus_session_t *s, ngx_str_t *id,
    const ngx_ws_bus_message_error_t *error)
{
    u_char            buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_ws_bus_v1_t  *v1;

    static const ngx_ws_bus_error_t  flood =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_POLICY, "too many errors");

    v1 = s->v1;

    if (ngx_current_msec - v1->since > NGX_WS_BUS_V1_ERRORS_TIME) {
        v1->since = ngx_current_msec;
        v1->errors = 0;
    }

    if (++v1->errors > NGX_WS_BUS_V1_ERRORS) {
        ngx_ws_bus_session_fail(s, &flood);
        return NGX_ERROR;
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, s->connection->log, 0,
                   "ws bus client's error: %V, %V", &error->code,
                   &error->reason);

    last = ngx_ws_bus_message_error(buf, id, error);

    ngx_ws_bus_out_reply(s, buf, last - buf);

    return NGX_OK;
}


/*
 * What a client may not do is told to those who look after the server, too.
 */

static void
ngx_ws_bus_v1_refused(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    const char  *reason;

    reason = (q->type == NGX_WS_BUS_REQUEST_PUBLISH)
             ? "publishing is not allowed" : "channel is not allowed";

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "refused: %s: \"%V\"", reason, &q->channel);

    ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_REFUSE, &q->channel, 0,
                     reason, 0);
}


ngx_uint_t
ngx_ws_bus_v1_allowed(ngx_ws_bus_session_t *s, ngx_str_t *channel)
{
    return ngx_ws_bus_v1_here(s, channel)
           && ngx_ws_bus_auth_may_subscribe(s->auth, channel);
}


/*
 * The location's own channel, and those that ws_bus_channels names; without
 * it, grants decide alone.
 */

static ngx_uint_t
ngx_ws_bus_v1_here(ngx_ws_bus_session_t *s, ngx_str_t *channel)
{
    ngx_str_t   *pattern;
    ngx_uint_t   i;

    if (channel->len == s->channel.len
        && ngx_memcmp(channel->data, s->channel.data, channel->len) == 0)
    {
        return 1;
    }

    if (s->conf->channels == NULL) {
        return s->auth && s->auth->grants;
    }

    pattern = s->conf->channels->elts;

    for (i = 0; i < s->conf->channels->nelts; i++) {
        if (ngx_ws_bus_pattern_match(pattern[i].data, pattern[i].len,
                                     channel))
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_ws_bus_v1_granted(ngx_ws_bus_session_t *s)
{
    ngx_str_t           channel;
    ngx_uint_t          i;
    ngx_ws_bus_sub_t   *sub;
    ngx_ws_bus_node_t  *node;

    for (i = 0; s->v1->buckets && i <= s->v1->mask; i++) {

        for (sub = s->v1->buckets[i]; sub; sub = sub->next) {

            node = sub->group->channel->node;
            ngx_ws_bus_node_name(node, &channel);

            if (!ngx_ws_bus_auth_may_subscribe(s->auth, &channel)) {
                return 0;
            }
        }
    }

    return 1;
}


/*
 * Where the subscription to the channel is linked, or would be.
 */

ngx_ws_bus_sub_t **
ngx_ws_bus_v1_find(ngx_ws_bus_session_t *s, ngx_str_t *channel)
{
    uint32_t            hash;
    ngx_ws_bus_v1_t    *v1;
    ngx_ws_bus_sub_t  **prev;
    ngx_ws_bus_node_t  *node;

    static ngx_ws_bus_sub_t  *none;

    v1 = s->v1;

    if (v1->n == 0) {
        return &none;
    }

    hash = ngx_murmur_hash2(channel->data, channel->len);

    for (prev = &v1->buckets[hash & v1->mask]; *prev; prev = &(*prev)->next) {

        node = (*prev)->group->channel->node;

        if (node->hash == hash && ngx_ws_bus_node_is(node, channel)) {
            break;
        }
    }

    return prev;
}


static ngx_int_t
ngx_ws_bus_v1_add(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_v1_t    *v1;
    ngx_ws_bus_sub_t  **bucket;

    v1 = s->v1;

    if ((v1->buckets == NULL || v1->n > 2 * v1->mask)
        && ngx_ws_bus_v1_grow(v1, s->connection->log) != NGX_OK)
    {
        if (sub != &s->sub) {
            ngx_ws_bus_session_unsubscribe(s, sub);
            ngx_free(sub);
        }

        return NGX_ERROR;
    }

    bucket = &v1->buckets[sub->group->channel->node->hash & v1->mask];

    sub->next = *bucket;
    *bucket = sub;
    v1->n++;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_v1_grow(ngx_ws_bus_v1_t *v1, ngx_log_t *log)
{
    ngx_uint_t          i, n;
    ngx_ws_bus_sub_t   *sub, *next, **bucket, **buckets;

    n = v1->buckets ? 2 * (v1->mask + 1) : NGX_WS_BUS_V1_BUCKETS;

    buckets = ngx_calloc(n * sizeof(ngx_ws_bus_sub_t *), log);
    if (buckets == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; v1->buckets && i <= v1->mask; i++) {

        for (sub = v1->buckets[i]; sub; sub = next) {
            next = sub->next;

            bucket = &buckets[sub->group->channel->node->hash & (n - 1)];

            sub->next = *bucket;
            *bucket = sub;
        }
    }

    if (v1->buckets) {
        ngx_free(v1->buckets);
    }

    v1->buckets = buckets;
    v1->mask = n - 1;

    return NGX_OK;
}
