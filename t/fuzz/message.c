
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_json.c"
#include "ngx_ws_bus_base64.c"
#include "ngx_ws_bus_message.c"
#include "ngx_ws_bus_message_write.c"

#include "fuzz.h"


static void check_request(const uint8_t *data, size_t size, const u_char *p,
    ngx_ws_bus_request_t *m);
static void check_members(ngx_ws_bus_request_t *m);
static void check_id(const uint8_t *data, size_t size, const u_char *p,
    const ngx_str_t *id);
static void check_again(const ngx_ws_bus_request_t *m);
static void check_answers(const ngx_ws_bus_request_t *m);
static void check_lists(const ngx_ws_bus_request_t *m,
    const ngx_ws_bus_envelope_t *e);
static void check_payload(const uint8_t *data, size_t size);
static void check_envelope(const ngx_str_t *channel,
    const ngx_ws_bus_envelope_t *e);
static void check_base64(const uint8_t *data, size_t size);
static void check_epoch(const uint8_t *data, size_t size);
static void check_json(u_char *p, u_char *last, size_t size);
static int deep(const ngx_str_t *json, size_t levels);
static int same(const ngx_str_t *one, const ngx_str_t *two);
static u_char *add(u_char *p, const char *text);
static u_char *add_string(u_char *p, const char *name, const ngx_str_t *s);


/* The input is a message, a payload, base64 and an epoch at once. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char                            *p, buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_int_t                          rc;
    ngx_str_t                          id;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    p = fuzz_copy(data, size);
    error = NULL;

    ngx_ws_bus_message_id(p, size, &id);
    fuzz_check(size == 0 || memcmp(p, data, size) == 0);

    rc = ngx_ws_bus_message_parse(p, size, &m, &error);

    fuzz_check(id.len == m.id.len);
    fuzz_check(id.len == 0 || id.data == m.id.data);

    check_id(data, size, p, &m.id);

    if (rc == NGX_OK) {
        fuzz_check(error == NULL);
        check_request(data, size, p, &m);

    } else {
        fuzz_check(rc == NGX_ERROR && error != NULL);
        fuzz_check(error->code.len == sizeof("bad_request") - 1
                   && memcmp(error->code.data, "bad_request",
                             sizeof("bad_request") - 1) == 0);

        last = ngx_ws_bus_message_error(buf, &m.id, error);
        check_json(buf, last, sizeof(buf));

        if (error == &ngx_ws_bus_message_known[0].missing
            || error == &ngx_ws_bus_message_known[0].invalid
            || error == &ngx_ws_bus_message_err_json
            || error == &ngx_ws_bus_message_err_object)
        {
            fuzz_check(size == 0 || memcmp(p, data, size) == 0);
        }
    }

    free(p);

    check_payload(data, size);
    check_base64(data, size);
    check_epoch(data, size);

    return 0;
}


/* an id is echoed as it came, whether the rest is understood or not */

static void
check_id(const uint8_t *data, size_t size, const u_char *p,
    const ngx_str_t *id)
{
    if (id->len == 0) {
        return;
    }

    fuzz_check(id->len <= NGX_WS_BUS_MESSAGE_ID_MAX);
    fuzz_check(id->data > p && id->data + id->len <= p + size);
    fuzz_check(memcmp(id->data, data + (id->data - p), id->len) == 0);
    fuzz_check(ngx_ws_bus_json_valid(id->data, id->len) == NGX_OK);
    fuzz_check(strchr("\"-0123456789", id->data[0]) != NULL);
}


static void
check_request(const uint8_t *data, size_t size, const u_char *p,
    ngx_ws_bus_request_t *m)
{
    u_char                    *copy;
    ngx_int_t                  rc;
    ngx_ws_bus_json_object_t   o;

    copy = fuzz_copy(data, size);

    rc = ngx_ws_bus_json_object(&o, copy, size);

    while (rc == NGX_OK) {
        rc = ngx_ws_bus_json_next(&o);
    }

    fuzz_check(rc == NGX_DONE);

    free(copy);

    if (m->type == NGX_WS_BUS_REQUEST_PUBLISH
        && m->kind == NGX_WS_BUS_PAYLOAD_DATA)
    {
        fuzz_check(m->payload.data > p
                   && m->payload.data + m->payload.len <= p + size);
        fuzz_check(memcmp(m->payload.data, data + (m->payload.data - p),
                          m->payload.len) == 0);
    }

    check_members(m);
    check_again(m);
    check_answers(m);
}


static void
check_members(ngx_ws_bus_request_t *m)
{
    fuzz_check(m->type <= NGX_WS_BUS_REQUEST_PRESENCE);
    fuzz_check(m->seq <= NGX_WS_BUS_JSON_UINT_MAX);
    fuzz_check(m->limit <= NGX_WS_BUS_JSON_UINT_MAX);
    fuzz_check(m->has_seq || m->seq == 0);
    fuzz_check(m->has_limit || m->limit == 0);
    fuzz_check(ngx_ws_bus_utf8_valid(m->epoch.data, m->epoch.len));

    if (m->type == NGX_WS_BUS_REQUEST_AUTH
        || m->type == NGX_WS_BUS_REQUEST_AUTH_REFRESH)
    {
        fuzz_check(m->channel.len == 0 && m->token.data);
        fuzz_check(ngx_ws_bus_utf8_valid(m->token.data, m->token.len));

    } else {
        fuzz_check(m->token.data == NULL);
        fuzz_check(ngx_ws_bus_handshake_channel(&m->channel));
    }

    switch (m->type) {

    case NGX_WS_BUS_REQUEST_SUBSCRIBE:
        fuzz_check(m->has_seq == (m->epoch.data != NULL));
        fuzz_check(!m->has_seq || !m->from_ack);
        break;

    case NGX_WS_BUS_REQUEST_ACK:
        fuzz_check(m->has_seq);
        break;

    case NGX_WS_BUS_REQUEST_HISTORY:
        break;

    default:
        fuzz_check(!m->has_seq);
        break;
    }

    fuzz_check(!m->has_limit || m->type == NGX_WS_BUS_REQUEST_HISTORY);
    fuzz_check(!m->from_ack || m->type == NGX_WS_BUS_REQUEST_SUBSCRIBE);

    if (m->type != NGX_WS_BUS_REQUEST_PUBLISH) {
        fuzz_check(m->payload.data == NULL && m->key.data == NULL);
        return;
    }

    fuzz_check(m->payload.data != NULL);
    fuzz_check(m->key.len <= NGX_WS_BUS_MESSAGE_KEY_MAX);
    fuzz_check(ngx_ws_bus_utf8_valid(m->key.data, m->key.len));

    switch (m->kind) {

    case NGX_WS_BUS_PAYLOAD_DATA:
        fuzz_check(ngx_ws_bus_json_valid(m->payload.data, m->payload.len)
                   == NGX_OK);
        break;

    case NGX_WS_BUS_PAYLOAD_TEXT:
        fuzz_check(ngx_ws_bus_utf8_valid(m->payload.data, m->payload.len));
        break;

    case NGX_WS_BUS_PAYLOAD_BASE64:
        break;
    }
}


/* the same request, written anew, reads the same */

static void
check_again(const ngx_ws_bus_request_t *m)
{
    u_char                            *buf, *p, *text;
    size_t                             size;
    ngx_ws_bus_request_t               n;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  payloads[] = { "data", "text", "base64" };

    size = 1024 + m->id.len
           + 6 * (m->channel.len + m->epoch.len + m->token.len + m->key.len
                  + m->payload.len);

    buf = fuzz_alloc(size);

    p = add(buf, "{\"type\":\"");
    p = add(p, (char *) ngx_ws_bus_message_types[m->type].name.data);
    p = add(p, "\"");

    if (m->id.len) {
        p = add(p, ",\"id\":");
        p = ngx_cpymem(p, m->id.data, m->id.len);
    }

    p = add_string(p, "channel", &m->channel);
    p = add_string(p, "epoch", &m->epoch);
    p = add_string(p, "token", &m->token);
    p = add_string(p, "key", &m->key);

    if (m->has_seq) {
        p += sprintf((char *) p, ",\"seq\":%llu",
                     (unsigned long long) m->seq);
    }

    if (m->has_limit) {
        p += sprintf((char *) p, ",\"limit\":%llu",
                     (unsigned long long) m->limit);
    }

    if (m->from_ack) {
        p = add(p, ",\"from\":\"ack\"");
    }

    if (m->payload.data) {

        if (m->kind == NGX_WS_BUS_PAYLOAD_TEXT) {
            p = add_string(p, payloads[m->kind], &m->payload);

        } else if (m->kind == NGX_WS_BUS_PAYLOAD_DATA) {
            p = add(p, ",\"data\":");
            p = ngx_cpymem(p, m->payload.data, m->payload.len);

        } else {
            p = add(p, ",\"base64\":\"");
            p = ngx_ws_bus_base64_encode(p, m->payload.data, m->payload.len);
            p = add(p, "\"");
        }
    }

    p = add(p, "}");

    text = fuzz_copy(buf, p - buf);

    fuzz_check(ngx_ws_bus_message_parse(text, p - buf, &n, &error) == NGX_OK);

    fuzz_check(n.type == m->type && n.kind == m->kind);
    fuzz_check(same(&n.id, &m->id));
    fuzz_check(same(&n.channel, &m->channel));
    fuzz_check(same(&n.epoch, &m->epoch));
    fuzz_check(same(&n.token, &m->token));
    fuzz_check(same(&n.key, &m->key));
    fuzz_check(same(&n.payload, &m->payload));
    fuzz_check(n.seq == m->seq && n.has_seq == m->has_seq);
    fuzz_check(n.limit == m->limit && n.has_limit == m->has_limit);
    fuzz_check(n.from_ack == m->from_ack);

    free(text);
    free(buf);
}


static void
check_answers(const ngx_ws_bus_request_t *m)
{
    u_char                   *p, buf[NGX_WS_BUS_MESSAGE_MAX];
    size_t                    size;
    const ngx_str_t          *id, *channel;
    ngx_ws_bus_envelope_t     e;
    ngx_ws_bus_subscribed_t   s;

    id = &m->id;
    channel = &m->channel;
    size = sizeof(buf);

    check_json(buf, ngx_ws_bus_message_auth_ok(buf, id, (time_t) m->seq - 1),
               size);
    check_json(buf, ngx_ws_bus_message_auth_required(buf, (time_t) m->seq),
               size);

    if (channel->len == 0) {
        return;
    }

    s.epoch = m->seq * 0x9e3779b97f4a7c15ULL;
    s.seq = m->seq;
    s.head = ~m->seq;
    s.oldest = m->limit;
    s.resume = m->has_seq;
    s.recovered = m->seq & 1;

    check_json(buf, ngx_ws_bus_message_subscribed(buf, id, channel, &s), size);
    check_json(buf, ngx_ws_bus_message_unsubscribed(buf, id, channel), size);
    check_json(buf, ngx_ws_bus_message_published(buf, id, channel, s.epoch,
                                                 m->seq), size);
    check_json(buf, ngx_ws_bus_message_gap(buf, channel, m->seq, s.head),
               size);
    check_json(buf, ngx_ws_bus_message_epoch_follows(buf, channel, m->seq,
                                                     s.head), size);
    check_json(buf, ngx_ws_bus_message_gap_epoch(buf, channel, m->seq, s.head),
               size);
    check_json(buf, ngx_ws_bus_message_gap_count(buf, channel, m->limit),
               size);

    size = ngx_ws_bus_message_member_size(&m->key);
    p = fuzz_alloc(size);

    check_json(p, ngx_ws_bus_message_joined(p, channel, &m->key), size);
    check_json(p, ngx_ws_bus_message_left(p, channel, &m->key), size);

    free(p);

    if (m->type == NGX_WS_BUS_REQUEST_PUBLISH) {
        e.seq = m->key.len;
        e.kind = m->kind;
        e.payload = m->payload;

        check_envelope(channel, &e);
        check_lists(m, &e);
    }
}


static void
check_lists(const ngx_ws_bus_request_t *m, const ngx_ws_bus_envelope_t *e)
{
    u_char      *p, *item, *last;
    size_t       size, n;
    ngx_uint_t   i, members;

    n = ngx_ws_bus_message_history_item_size(e);
    size = 2 * NGX_WS_BUS_MESSAGE_MAX + 2 * n;
    p = fuzz_alloc(size);

    last = ngx_ws_bus_message_history(p, &m->id, &m->channel, m->seq);

    for (i = 0; i < 2; i++) {
        item = last;
        last = ngx_ws_bus_message_history_item(last, e, i == 0);
        fuzz_check(last == item + n - (i == 0));
    }

    last = ngx_ws_bus_message_history_end(last, m->payload.len & 1);

    /* what is around a payload can make it too deep to be checked */

    if (e->kind != NGX_WS_BUS_PAYLOAD_DATA || !deep(&e->payload, 3)) {
        check_json(p, last, size);
    }

    free(p);

    n = ngx_ws_bus_message_presence_item_size(&m->key);
    size = 2 * NGX_WS_BUS_MESSAGE_MAX + 2 * n;
    p = fuzz_alloc(size);

    for (members = 0; members < 2; members++) {
        last = ngx_ws_bus_message_presence(p, &m->id, &m->channel, members);

        for (i = 0; members && i < 2; i++) {
            item = last;
            last = ngx_ws_bus_message_presence_item(last, &m->key, i == 0);
            fuzz_check(last == item + n - (i == 0));
        }

        last = ngx_ws_bus_message_presence_end(last, members, m->key.len);
        check_json(p, last, size);
    }

    free(p);
}


/* a raw message: JSON as it is, other text escaped, the rest in base64 */

static void
check_payload(const uint8_t *data, size_t size)
{
    ngx_str_t              channel;
    ngx_ws_bus_envelope_t  e;

    channel.data = (u_char *) "a\"\\";
    channel.len = 3;

    e.seq = size;
    e.payload.data = fuzz_copy(data, size);
    e.payload.len = size;

    e.kind = NGX_WS_BUS_PAYLOAD_BASE64;
    check_envelope(&channel, &e);

    if (ngx_ws_bus_utf8_valid(data, size)) {
        e.kind = NGX_WS_BUS_PAYLOAD_TEXT;
        check_envelope(&channel, &e);
    }

    if (ngx_ws_bus_json_valid(data, size) == NGX_OK) {
        e.kind = NGX_WS_BUS_PAYLOAD_DATA;
        check_envelope(&channel, &e);
    }

    free(e.payload.data);
}


/* a message is valid, of the size that was told, and can be published again */

static void
check_envelope(const ngx_str_t *channel, const ngx_ws_bus_envelope_t *e)
{
    u_char                            *p, *last;
    size_t                             size;
    ngx_ws_bus_request_t               m;
    ngx_ws_bus_json_object_t           o;
    const ngx_ws_bus_message_error_t  *error;

    static const char  head[] = "{\"type\":\"message\"";
    static const char  request[] = "{\"type\":\"publish\"";

    size = ngx_ws_bus_message_envelope_size(channel, e);
    p = fuzz_alloc(size);

    last = ngx_ws_bus_message_envelope(p, channel, e);

    fuzz_check(last == p + size);
    fuzz_check(memcmp(p, head, sizeof(head) - 1) == 0);

    memcpy(p, request, sizeof(request) - 1);

    fuzz_check(ngx_ws_bus_json_object(&o, p, size) == NGX_OK);
    fuzz_check(ngx_ws_bus_json_next(&o) == NGX_OK);
    fuzz_check(ngx_ws_bus_json_next(&o) == NGX_OK);
    fuzz_check(ngx_ws_bus_json_next(&o) == NGX_OK);

    if (e->seq) {
        fuzz_check(ngx_ws_bus_json_is(&o.key, (u_char *) "seq", 3));
        fuzz_check(strtoull((char *) o.value.data, NULL, 10) == e->seq);
        fuzz_check(ngx_ws_bus_json_next(&o) == NGX_OK);
    }

    fuzz_check(ngx_ws_bus_json_next(&o) == NGX_DONE);

    fuzz_check(ngx_ws_bus_message_parse(p, size, &m, &error) == NGX_OK);
    fuzz_check(m.type == NGX_WS_BUS_REQUEST_PUBLISH && m.kind == e->kind);
    fuzz_check(same(&m.channel, channel));

    /* white space around it is not of the payload */

    if (e->kind == NGX_WS_BUS_PAYLOAD_DATA) {
        fuzz_check(m.payload.len <= e->payload.len);
        fuzz_check(memmem(e->payload.data, e->payload.len, m.payload.data,
                          m.payload.len) != NULL);

    } else {
        fuzz_check(same(&m.payload, &e->payload));
    }

    free(p);
}


/* what can be decoded is what encoding gives */

static void
check_base64(const uint8_t *data, size_t size)
{
    u_char     *p, *text;
    ngx_int_t   rc;
    ngx_str_t   s;

    s.len = ngx_ws_bus_base64_size(size);
    p = fuzz_alloc(s.len);
    s.data = p;

    fuzz_check(ngx_ws_bus_base64_encode(p, data, size) == p + s.len);
    fuzz_check(ngx_ws_bus_base64_decode(&s) == NGX_OK);
    fuzz_check(s.len == size && (size == 0 || memcmp(p, data, size) == 0));

    free(p);

    p = fuzz_copy(data, size);
    s.data = p;
    s.len = size;

    rc = ngx_ws_bus_base64_decode(&s);

    if (rc == NGX_OK) {
        fuzz_check(ngx_ws_bus_base64_size(s.len) == size);

        text = fuzz_alloc(size);
        ngx_ws_bus_base64_encode(text, s.data, s.len);
        fuzz_check(size == 0 || memcmp(text, data, size) == 0);
        free(text);

    } else {
        fuzz_check(rc == NGX_ERROR);
    }

    free(p);
}


static void
check_epoch(const uint8_t *data, size_t size)
{
    char        text[32];
    uint64_t    n;
    ngx_str_t   s;

    s.data = fuzz_copy(data, size);
    s.len = size;

    if (ngx_ws_bus_message_epoch(&s, &n) == NGX_OK) {
        fuzz_check(size == NGX_WS_BUS_MESSAGE_EPOCH);
        snprintf(text, sizeof(text), "%016llx", (unsigned long long) n);
        fuzz_check(memcmp(text, data, size) == 0);
    }

    free(s.data);
}


static void
check_json(u_char *p, u_char *last, size_t size)
{
    u_char  *copy;

    fuzz_check(last > p && last <= p + size);

    copy = fuzz_copy(p, last - p);
    fuzz_check(ngx_ws_bus_json_valid(copy, last - p) == NGX_OK);
    free(copy);
}


/* 1 if the text has not so many levels to spare */

static int
deep(const ngx_str_t *json, size_t levels)
{
    u_char     *p;
    size_t      len;
    ngx_int_t   rc;

    len = json->len + 2 * levels;
    p = fuzz_alloc(len);

    memset(p, '[', levels);
    memcpy(p + levels, json->data, json->len);
    memset(p + levels + json->len, ']', levels);

    rc = ngx_ws_bus_json_valid(p, len);

    free(p);

    return rc != NGX_OK;
}


static int
same(const ngx_str_t *one, const ngx_str_t *two)
{
    return one->len == two->len
           && (one->len == 0 || memcmp(one->data, two->data, one->len) == 0);
}


static u_char *
add(u_char *p, const char *text)
{
    return ngx_cpymem(p, text, strlen(text));
}


static u_char *
add_string(u_char *p, const char *name, const ngx_str_t *s)
{
    if (s->data == NULL) {
        return p;
    }

    p = add(p, ",\"");
    p = add(p, name);
    p = add(p, "\":\"");
    p = ngx_ws_bus_json_escape(p, s->data, s->len);

    return add(p, "\"");
}
