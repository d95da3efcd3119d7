
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_base64.h"
#include "ngx_ws_bus_json.h"
#include "ngx_ws_bus_message.h"


#define ngx_ws_bus_message_add(p, text)                                       \
    ngx_cpymem(p, text, sizeof(text) - 1)


static u_char *ngx_ws_bus_message_position(u_char *p, uint64_t epoch,
    uint64_t seq);
static u_char *ngx_ws_bus_message_moved(u_char *p, const char *type,
    const ngx_str_t *channel, const ngx_str_t *member);
static u_char *ngx_ws_bus_message_head(u_char *p, const char *type,
    const ngx_str_t *id, const ngx_str_t *channel);
static u_char *ngx_ws_bus_message_body(u_char *p,
    const ngx_ws_bus_envelope_t *e);
static size_t ngx_ws_bus_message_body_size(const ngx_ws_bus_envelope_t *e);
static u_char *ngx_ws_bus_message_quoted(u_char *p, const ngx_str_t *s);
static u_char *ngx_ws_bus_message_hex(u_char *p, uint64_t n);
static u_char *ngx_ws_bus_message_uint(u_char *p, uint64_t n);
static size_t ngx_ws_bus_message_uint_size(uint64_t n);


/* in the order of ngx_ws_bus_code_e */

const ngx_ws_bus_message_error_t
    ngx_ws_bus_message_errors[NGX_WS_BUS_CODES] =
{
    { ngx_string("bad_request"), ngx_string("bad request") },
    { ngx_string("already_subscribed"),
      ngx_string("already subscribed to this channel") },
    { ngx_string("not_subscribed"),
      ngx_string("not subscribed to this channel") },
    { ngx_string("forbidden"), ngx_string("not allowed") },
    { ngx_string("limit"), ngx_string("limit reached") },
    { ngx_string("not_found"), ngx_string("no such channel") },
    { ngx_string("not_available"), ngx_string("not available here") },
    { ngx_string("unauthorized"), ngx_string("not authorized") },
    { ngx_string("unavailable"), ngx_string("temporarily unavailable") }
};


u_char *
ngx_ws_bus_message_error(u_char *p, const ngx_str_t *id,
    const ngx_ws_bus_message_error_t *error)
{
    p = ngx_ws_bus_message_head(p, "error", id, NULL);

    p = ngx_ws_bus_message_add(p, ",\"code\":");
    p = ngx_ws_bus_message_quoted(p, &error->code);
    p = ngx_ws_bus_message_add(p, ",\"reason\":");
    p = ngx_ws_bus_message_quoted(p, &error->reason);
    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_subscribed(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, const ngx_ws_bus_subscribed_t *s)
{
    p = ngx_ws_bus_message_head(p, "subscribed", id, channel);

    p = ngx_ws_bus_message_add(p, ",\"epoch\":\"");
    p = ngx_ws_bus_message_hex(p, s->epoch);
    p = ngx_ws_bus_message_add(p, "\",\"seq\":");
    p = ngx_ws_bus_message_uint(p, s->seq);
    p = ngx_ws_bus_message_add(p, ",\"head\":");
    p = ngx_ws_bus_message_uint(p, s->head);
    p = ngx_ws_bus_message_add(p, ",\"oldest\":");
    p = ngx_ws_bus_message_uint(p, s->oldest);

    if (s->resume) {
        p = s->recovered ? ngx_ws_bus_message_add(p, ",\"recovered\":true")
                         : ngx_ws_bus_message_add(p, ",\"recovered\":false");
    }

    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_unsubscribed(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel)
{
    p = ngx_ws_bus_message_head(p, "unsubscribed", id, channel);
    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_published(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, uint64_t epoch, uint64_t seq)
{
    p = ngx_ws_bus_message_head(p, "published", id, channel);

    if (seq) {
        p = ngx_ws_bus_message_add(p, ",\"epoch\":\"");
        p = ngx_ws_bus_message_hex(p, epoch);
        p = ngx_ws_bus_message_add(p, "\",\"seq\":");
        p = ngx_ws_bus_message_uint(p, seq);
    }

    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_auth_ok(u_char *p, const ngx_str_t *id, time_t expires_in)
{
    p = ngx_ws_bus_message_head(p, "auth_ok", id, NULL);

    if (expires_in >= 0) {
        p = ngx_ws_bus_message_add(p, ",\"expires_in\":");
        p = ngx_ws_bus_message_uint(p, expires_in);
    }

    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_auth_required(u_char *p, time_t expires_in)
{
    p = ngx_ws_bus_message_head(p, "auth_required", NULL, NULL);

    if (expires_in >= 0) {
        p = ngx_ws_bus_message_add(p, ",\"expires_in\":");
        p = ngx_ws_bus_message_uint(p, expires_in);
    }

    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_gap(u_char *p, const ngx_str_t *channel, uint64_t from,
    uint64_t to)
{
    p = ngx_ws_bus_message_head(p, "gap", NULL, channel);

    p = ngx_ws_bus_message_add(p, ",\"from\":");
    p = ngx_ws_bus_message_uint(p, from);
    p = ngx_ws_bus_message_add(p, ",\"to\":");
    p = ngx_ws_bus_message_uint(p, to);
    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_gap_count(u_char *p, const ngx_str_t *channel,
    uint64_t count)
{
    p = ngx_ws_bus_message_head(p, "gap", NULL, channel);

    p = ngx_ws_bus_message_add(p, ",\"count\":");
    p = ngx_ws_bus_message_uint(p, count);
    *p++ = '}';

    return p;
}


u_char *
ngx_ws_bus_message_gap_epoch(u_char *p, const ngx_str_t *channel,
    uint64_t epoch, uint64_t seq)
{
    p = ngx_ws_bus_message_head(p, "gap", NULL, channel);

    return ngx_ws_bus_message_position(p, epoch, seq);
}


u_char *
ngx_ws_bus_message_epoch_follows(u_char *p, const ngx_str_t *channel,
    uint64_t epoch, uint64_t seq)
{
    p = ngx_ws_bus_message_head(p, "epoch", NULL, channel);

    return ngx_ws_bus_message_position(p, epoch, seq);
}


static u_char *
ngx_ws_bus_message_position(u_char *p, uint64_t epoch, uint64_t seq)
{
    p = ngx_ws_bus_message_add(p, ",\"epoch\":\"");
    p = ngx_ws_bus_message_hex(p, epoch);
    p = ngx_ws_bus_message_add(p, "\",\"seq\":");
    p = ngx_ws_bus_message_uint(p, seq);
    *p++ = '}';

    return p;
}


size_t
ngx_ws_bus_message_member_size(const ngx_str_t *member)
{
    return NGX_WS_BUS_MESSAGE_MAX
           + ngx_ws_bus_json_escape_size(member->data, member->len);
}


u_char *
ngx_ws_bus_message_joined(u_char *p, const ngx_str_t *channel,
    const ngx_str_t *member)
{
    return ngx_ws_bus_message_moved(p, "joined", channel, member);
}


u_char *
ngx_ws_bus_message_left(u_char *p, const ngx_str_t *channel,
    const ngx_str_t *member)
{
    return ngx_ws_bus_message_moved(p, "left", channel, member);
}


static u_char *
ngx_ws_bus_message_moved(u_char *p, const char *type,
    const ngx_str_t *channel, const ngx_str_t *member)
{
    p = ngx_ws_bus_message_head(p, type, NULL, channel);

    p = ngx_ws_bus_message_add(p, ",\"member\":");
    p = ngx_ws_bus_message_quoted(p, member);
    *p++ = '}';

    return p;
}


size_t
ngx_ws_bus_message_envelope_size(const ngx_str_t *channel,
    const ngx_ws_bus_envelope_t *e)
{
    return sizeof("{\"type\":\"message\",\"channel\":\"\",") - 1
           + ngx_ws_bus_json_escape_size(channel->data, channel->len)
           + ngx_ws_bus_message_body_size(e);
}


u_char *
ngx_ws_bus_message_envelope(u_char *p, const ngx_str_t *channel,
    const ngx_ws_bus_envelope_t *e)
{
    p = ngx_ws_bus_message_add(p, "{\"type\":\"message\",\"channel\":");
    p = ngx_ws_bus_message_quoted(p, channel);
    *p++ = ',';

    return ngx_ws_bus_message_body(p, e);
}


u_char *
ngx_ws_bus_message_history(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, uint64_t epoch)
{
    p = ngx_ws_bus_message_head(p, "history", id, channel);

    p = ngx_ws_bus_message_add(p, ",\"epoch\":\"");
    p = ngx_ws_bus_message_hex(p, epoch);
    p = ngx_ws_bus_message_add(p, "\",\"messages\":[");

    return p;
}


size_t
ngx_ws_bus_message_history_item_size(const ngx_ws_bus_envelope_t *e)
{
    return sizeof(",{") - 1 + ngx_ws_bus_message_body_size(e);
}


u_char *
ngx_ws_bus_message_history_item(u_char *p, const ngx_ws_bus_envelope_t *e,
    ngx_uint_t first)
{
    if (!first) {
        *p++ = ',';
    }

    *p++ = '{';

    return ngx_ws_bus_message_body(p, e);
}


u_char *
ngx_ws_bus_message_history_end(u_char *p, ngx_uint_t more)
{
    return more ? ngx_ws_bus_message_add(p, "],\"more\":true}")
                : ngx_ws_bus_message_add(p, "],\"more\":false}");
}


u_char *
ngx_ws_bus_message_presence(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, ngx_uint_t members)
{
    p = ngx_ws_bus_message_head(p, "presence", id, channel);

    return members ? ngx_ws_bus_message_add(p, ",\"members\":[") : p;
}


size_t
ngx_ws_bus_message_presence_item_size(const ngx_str_t *member)
{
    return sizeof(",\"\"") - 1
           + ngx_ws_bus_json_escape_size(member->data, member->len);
}


u_char *
ngx_ws_bus_message_presence_item(u_char *p, const ngx_str_t *member,
    ngx_uint_t first)
{
    if (!first) {
        *p++ = ',';
    }

    return ngx_ws_bus_message_quoted(p, member);
}


u_char *
ngx_ws_bus_message_presence_end(u_char *p, ngx_uint_t members, uint64_t count)
{
    if (members) {
        *p++ = ']';
    }

    p = ngx_ws_bus_message_add(p, ",\"count\":");
    p = ngx_ws_bus_message_uint(p, count);
    *p++ = '}';

    return p;
}


/* the beginning of a message, up to its channel, if there is one */

static u_char *
ngx_ws_bus_message_head(u_char *p, const char *type, const ngx_str_t *id,
    const ngx_str_t *channel)
{
    p = ngx_ws_bus_message_add(p, "{\"type\":\"");
    p = ngx_cpymem(p, type, ngx_strlen(type));
    *p++ = '"';

    if (id && id->len) {
        p = ngx_ws_bus_message_add(p, ",\"id\":");
        p = ngx_cpymem(p, id->data, id->len);
    }

    if (channel) {
        p = ngx_ws_bus_message_add(p, ",\"channel\":");
        p = ngx_ws_bus_message_quoted(p, channel);
    }

    return p;
}


/* seq and payload of a message, and its end */

static u_char *
ngx_ws_bus_message_body(u_char *p, const ngx_ws_bus_envelope_t *e)
{
    if (e->seq) {
        p = ngx_ws_bus_message_add(p, "\"seq\":");
        p = ngx_ws_bus_message_uint(p, e->seq);
        *p++ = ',';
    }

    switch (e->kind) {

    case NGX_WS_BUS_PAYLOAD_DATA:
        p = ngx_ws_bus_message_add(p, "\"data\":");
        p = ngx_cpymem(p, e->payload.data, e->payload.len);
        break;

    case NGX_WS_BUS_PAYLOAD_TEXT:
        p = ngx_ws_bus_message_add(p, "\"text\":");
        p = ngx_ws_bus_message_quoted(p, &e->payload);
        break;

    case NGX_WS_BUS_PAYLOAD_BASE64:
        p = ngx_ws_bus_message_add(p, "\"base64\":\"");
        p = ngx_ws_bus_base64_encode(p, e->payload.data, e->payload.len);
        *p++ = '"';
        break;
    }

    *p++ = '}';

    return p;
}


static size_t
ngx_ws_bus_message_body_size(const ngx_ws_bus_envelope_t *e)
{
    size_t  size;

    size = sizeof("}") - 1;

    if (e->seq) {
        size += sizeof("\"seq\":,") - 1 + ngx_ws_bus_message_uint_size(e->seq);
    }

    switch (e->kind) {

    case NGX_WS_BUS_PAYLOAD_DATA:
        size += sizeof("\"data\":") - 1 + e->payload.len;
        break;

    case NGX_WS_BUS_PAYLOAD_TEXT:
        size += sizeof("\"text\":\"\"") - 1
                + ngx_ws_bus_json_escape_size(e->payload.data,
                                              e->payload.len);
        break;

    case NGX_WS_BUS_PAYLOAD_BASE64:
        size += sizeof("\"base64\":\"\"") - 1
                + ngx_ws_bus_base64_size(e->payload.len);
        break;
    }

    return size;
}


static u_char *
ngx_ws_bus_message_quoted(u_char *p, const ngx_str_t *s)
{
    *p++ = '"';
    p = ngx_ws_bus_json_escape(p, s->data, s->len);
    *p++ = '"';

    return p;
}


static u_char *
ngx_ws_bus_message_hex(u_char *p, uint64_t n)
{
    ngx_int_t  shift;

    static const u_char  hex[] = "0123456789abcdef";

    for (shift = 60; shift >= 0; shift -= 4) {
        *p++ = hex[(n >> shift) & 0xf];
    }

    return p;
}


static u_char *
ngx_ws_bus_message_uint(u_char *p, uint64_t n)
{
    u_char  *last, *end;

    end = p + ngx_ws_bus_message_uint_size(n);

    for (last = end; last > p; n /= 10) {
        *--last = (u_char) ('0' + n % 10);
    }

    return end;
}


static size_t
ngx_ws_bus_message_uint_size(uint64_t n)
{
    size_t  size;

    for (size = 1; n >= 10; n /= 10) {
        size++;
    }

    return size;
}
