
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_base64.h"
#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_json.h"
#include "ngx_ws_bus_message.h"


#define NGX_WS_BUS_MEMBER(name)       (1 << NGX_WS_BUS_MEMBER_##name)

#define NGX_WS_BUS_MEMBER_PAYLOADS                                            \
    (NGX_WS_BUS_MEMBER(DATA) | NGX_WS_BUS_MEMBER(TEXT)                        \
     | NGX_WS_BUS_MEMBER(BASE64))

#define ngx_ws_bus_message_bad(reason)                                        \
    { ngx_string("bad_request"), ngx_string(reason) }

#define ngx_ws_bus_message_member(name, set, wanted)                          \
    { ngx_string(name), set,                                                  \
      ngx_ws_bus_message_bad("\"" name "\" is missing"),                      \
      ngx_ws_bus_message_bad("\"" name "\" is there more than once"),         \
      ngx_ws_bus_message_bad("\"" name "\" is not " wanted) }


typedef enum {
    NGX_WS_BUS_MEMBER_TYPE = 0,
    NGX_WS_BUS_MEMBER_ID,
    NGX_WS_BUS_MEMBER_CHANNEL,
    NGX_WS_BUS_MEMBER_EPOCH,
    NGX_WS_BUS_MEMBER_SEQ,
    NGX_WS_BUS_MEMBER_LIMIT,
    NGX_WS_BUS_MEMBER_FROM,
    NGX_WS_BUS_MEMBER_TOKEN,
    NGX_WS_BUS_MEMBER_KEY,
    NGX_WS_BUS_MEMBER_DATA,
    NGX_WS_BUS_MEMBER_TEXT,
    NGX_WS_BUS_MEMBER_BASE64,
    NGX_WS_BUS_MEMBERS
} ngx_ws_bus_member_e;


/*
 * A value found; "value" is its raw slice.
 */

typedef struct {
    ngx_str_t                    value;
    ngx_ws_bus_json_e            type;
} ngx_ws_bus_message_value_t;


typedef struct {
    ngx_ws_bus_message_value_t   values[NGX_WS_BUS_MEMBERS];
    ngx_uint_t                   found;
    ngx_uint_t                   repeated;
} ngx_ws_bus_message_values_t;


typedef struct {
    ngx_str_t                    name;

    /* NGX_OK, or NGX_ERROR if the value is not what it must be */
    ngx_int_t                  (*set)(ngx_ws_bus_request_t *m,
                                     ngx_ws_bus_message_value_t *v);

    ngx_ws_bus_message_error_t   missing;
    ngx_ws_bus_message_error_t   repeated;
    ngx_ws_bus_message_error_t   invalid;
} ngx_ws_bus_message_member_t;


/*
 * A type of request: what it needs, what it takes besides.
 */

typedef struct {
    ngx_str_t                    name;
    ngx_uint_t                   needs;
    ngx_uint_t                   takes;
} ngx_ws_bus_message_type_t;


static ngx_int_t ngx_ws_bus_message_walk(ngx_ws_bus_message_values_t *vs,
    u_char *p, size_t len, const ngx_ws_bus_message_error_t **error);
static ngx_int_t ngx_ws_bus_message_members(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_values_t *vs, ngx_uint_t needs, ngx_uint_t takes,
    const ngx_ws_bus_message_error_t **error);
static ngx_int_t ngx_ws_bus_message_together(ngx_ws_bus_request_t *m,
    ngx_uint_t found, const ngx_ws_bus_message_error_t **error);
static ngx_int_t ngx_ws_bus_message_set_type(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_id(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_channel(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_epoch(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_seq(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_limit(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_from(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_token(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_key(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_data(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_text(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_set_base64(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v);
static ngx_int_t ngx_ws_bus_message_string(ngx_str_t *s,
    ngx_ws_bus_message_value_t *v);


static const ngx_ws_bus_message_error_t  ngx_ws_bus_message_err_object =
    ngx_ws_bus_message_bad("not a JSON object");

static const ngx_ws_bus_message_error_t  ngx_ws_bus_message_err_json =
    ngx_ws_bus_message_bad("not valid JSON, or more than 64 levels deep");

static const ngx_ws_bus_message_error_t  ngx_ws_bus_message_err_from =
    ngx_ws_bus_message_bad("\"from\" excludes \"seq\" and \"epoch\"");

static const ngx_ws_bus_message_error_t  ngx_ws_bus_message_err_payload =
    ngx_ws_bus_message_bad("\"data\", \"text\" or \"base64\" is missing");

static const ngx_ws_bus_message_error_t  ngx_ws_bus_message_err_payloads =
    ngx_ws_bus_message_bad("only one of \"data\", \"text\", \"base64\" "
                           "is possible");


/* in the order of ngx_ws_bus_member_e */

static const ngx_ws_bus_message_member_t
    ngx_ws_bus_message_known[NGX_WS_BUS_MEMBERS] =
{
    ngx_ws_bus_message_member("type", ngx_ws_bus_message_set_type,
                              "the name of a request"),
    ngx_ws_bus_message_member("id", ngx_ws_bus_message_set_id,
                              "a string or number of at most 64 bytes"),
    ngx_ws_bus_message_member("channel", ngx_ws_bus_message_set_channel,
                              "the name of a channel"),
    ngx_ws_bus_message_member("epoch", ngx_ws_bus_message_set_epoch,
                              "a string"),
    ngx_ws_bus_message_member("seq", ngx_ws_bus_message_set_seq,
                              "a whole number up to 2^53-1"),
    ngx_ws_bus_message_member("limit", ngx_ws_bus_message_set_limit,
                              "a whole number up to 2^53-1"),
    ngx_ws_bus_message_member("from", ngx_ws_bus_message_set_from,
                              "\"ack\""),
    ngx_ws_bus_message_member("token", ngx_ws_bus_message_set_token,
                              "a string"),
    ngx_ws_bus_message_member("key", ngx_ws_bus_message_set_key,
                              "a string of 1 to 255 bytes"),
    ngx_ws_bus_message_member("data", ngx_ws_bus_message_set_data,
                              "JSON"),
    ngx_ws_bus_message_member("text", ngx_ws_bus_message_set_text,
                              "a string"),
    ngx_ws_bus_message_member("base64", ngx_ws_bus_message_set_base64,
                              "a string of base64")
};


/* in the order of ngx_ws_bus_request_e */

static const ngx_ws_bus_message_type_t  ngx_ws_bus_message_types[] = {

    { ngx_string("auth"),
      NGX_WS_BUS_MEMBER(TOKEN),
      0 },

    { ngx_string("auth_refresh"),
      NGX_WS_BUS_MEMBER(TOKEN),
      0 },

    { ngx_string("subscribe"),
      NGX_WS_BUS_MEMBER(CHANNEL),
      NGX_WS_BUS_MEMBER(EPOCH)|NGX_WS_BUS_MEMBER(SEQ)
      |NGX_WS_BUS_MEMBER(FROM) },

    { ngx_string("unsubscribe"),
      NGX_WS_BUS_MEMBER(CHANNEL),
      0 },

    { ngx_string("publish"),
      NGX_WS_BUS_MEMBER(CHANNEL),
      NGX_WS_BUS_MEMBER_PAYLOADS|NGX_WS_BUS_MEMBER(KEY) },

    { ngx_string("ack"),
      NGX_WS_BUS_MEMBER(CHANNEL)|NGX_WS_BUS_MEMBER(SEQ),
      0 },

    { ngx_string("history"),
      NGX_WS_BUS_MEMBER(CHANNEL),
      NGX_WS_BUS_MEMBER(SEQ)|NGX_WS_BUS_MEMBER(LIMIT) },

    { ngx_string("presence"),
      NGX_WS_BUS_MEMBER(CHANNEL),
      0 }
};


ngx_int_t
ngx_ws_bus_message_parse(u_char *p, size_t len, ngx_ws_bus_request_t *m,
    const ngx_ws_bus_message_error_t **error)
{
    ngx_int_t                         rc;
    ngx_ws_bus_message_values_t       vs;
    const ngx_ws_bus_message_type_t  *type;

    ngx_memzero(m, sizeof(ngx_ws_bus_request_t));

    vs.found = 0;
    vs.repeated = 0;

    rc = ngx_ws_bus_message_walk(&vs, p, len, error);

    /* whatever else is wrong, the answer has the id */

    if (vs.found & NGX_WS_BUS_MEMBER(ID)) {
        (void) ngx_ws_bus_message_set_id(m, &vs.values[NGX_WS_BUS_MEMBER_ID]);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_ws_bus_message_members(m, &vs, NGX_WS_BUS_MEMBER(TYPE),
                                   NGX_WS_BUS_MEMBER(ID), error)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    type = &ngx_ws_bus_message_types[m->type];

    if (ngx_ws_bus_message_members(m, &vs, type->needs, type->takes, error)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_ws_bus_message_together(m, vs.found, error);
}


void
ngx_ws_bus_message_id(u_char *p, size_t len, ngx_str_t *id)
{
    ngx_ws_bus_request_t               m;
    ngx_ws_bus_message_values_t        vs;
    const ngx_ws_bus_message_error_t  *error;

    vs.found = 0;
    vs.repeated = 0;
    m.id.len = 0;
    m.id.data = NULL;

    (void) ngx_ws_bus_message_walk(&vs, p, len, &error);

    if (vs.found & NGX_WS_BUS_MEMBER(ID)) {
        (void) ngx_ws_bus_message_set_id(&m, &vs.values[NGX_WS_BUS_MEMBER_ID]);
    }

    *id = m.id;
}


/* finds the first value of each known member */

static ngx_int_t
ngx_ws_bus_message_walk(ngx_ws_bus_message_values_t *vs, u_char *p,
    size_t len, const ngx_ws_bus_message_error_t **error)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i;
    const ngx_str_t              *name;
    ngx_ws_bus_json_object_t      o;
    ngx_ws_bus_message_value_t   *v;

    if (ngx_ws_bus_json_object(&o, p, len) != NGX_OK) {
        *error = &ngx_ws_bus_message_err_object;
        return NGX_ERROR;
    }

    for ( ;; ) {
        rc = ngx_ws_bus_json_next(&o);

        if (rc == NGX_DONE) {
            return NGX_OK;
        }

        if (rc != NGX_OK) {
            *error = &ngx_ws_bus_message_err_json;
            return NGX_ERROR;
        }

        for (i = 0; i < NGX_WS_BUS_MEMBERS; i++) {
            name = &ngx_ws_bus_message_known[i].name;

            if (ngx_ws_bus_json_is(&o.key, name->data, name->len)) {
                break;
            }
        }

        if (i == NGX_WS_BUS_MEMBERS) {
            continue;
        }

        if (vs->found & (1 << i)) {
            vs->repeated |= 1 << i;
            continue;
        }

        vs->found |= 1 << i;

        v = &vs->values[i];
        v->value = o.value;
        v->type = o.type;
    }
}


static ngx_int_t
ngx_ws_bus_message_members(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_values_t *vs, ngx_uint_t needs, ngx_uint_t takes,
    const ngx_ws_bus_message_error_t **error)
{
    ngx_uint_t                          i, bit;
    const ngx_ws_bus_message_member_t  *member;

    for (i = 0; i < NGX_WS_BUS_MEMBERS; i++) {

        bit = 1 << i;

        if (!((needs | takes) & bit)) {
            continue;
        }

        member = &ngx_ws_bus_message_known[i];

        if (!(vs->found & bit)) {

            if (needs & bit) {
                *error = &member->missing;
                return NGX_ERROR;
            }

            continue;
        }

        if (vs->repeated & bit) {
            *error = &member->repeated;
            return NGX_ERROR;
        }

        if (member->set(m, &vs->values[i]) != NGX_OK) {
            *error = &member->invalid;
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* what members have to do with one another */

static ngx_int_t
ngx_ws_bus_message_together(ngx_ws_bus_request_t *m, ngx_uint_t found,
    const ngx_ws_bus_message_error_t **error)
{
    ngx_uint_t  payloads;

    if (m->type == NGX_WS_BUS_REQUEST_SUBSCRIBE) {

        if (m->from_ack
            && (found & (NGX_WS_BUS_MEMBER(SEQ)|NGX_WS_BUS_MEMBER(EPOCH))))
        {
            *error = &ngx_ws_bus_message_err_from;
            return NGX_ERROR;
        }

        switch (found & (NGX_WS_BUS_MEMBER(SEQ)|NGX_WS_BUS_MEMBER(EPOCH))) {

        case NGX_WS_BUS_MEMBER(SEQ):
            *error =
                  &ngx_ws_bus_message_known[NGX_WS_BUS_MEMBER_EPOCH].missing;
            return NGX_ERROR;

        case NGX_WS_BUS_MEMBER(EPOCH):
            *error = &ngx_ws_bus_message_known[NGX_WS_BUS_MEMBER_SEQ].missing;
            return NGX_ERROR;
        }
    }

    if (m->type == NGX_WS_BUS_REQUEST_PUBLISH) {
        payloads = found & NGX_WS_BUS_MEMBER_PAYLOADS;

        if (payloads == 0) {
            *error = &ngx_ws_bus_message_err_payload;
            return NGX_ERROR;
        }

        if (payloads & (payloads - 1)) {
            *error = &ngx_ws_bus_message_err_payloads;
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_message_set_type(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    ngx_uint_t        i, n;
    const ngx_str_t  *name;

    if (v->type != NGX_WS_BUS_JSON_STRING) {
        return NGX_ERROR;
    }

    n = sizeof(ngx_ws_bus_message_types) / sizeof(ngx_ws_bus_message_type_t);

    for (i = 0; i < n; i++) {
        name = &ngx_ws_bus_message_types[i].name;

        if (ngx_ws_bus_json_is(&v->value, name->data, name->len)) {
            m->type = i;
            return NGX_OK;
        }
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_message_set_id(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    if (v->type != NGX_WS_BUS_JSON_STRING
        && v->type != NGX_WS_BUS_JSON_NUMBER)
    {
        return NGX_ERROR;
    }

    if (v->value.len > NGX_WS_BUS_MESSAGE_ID_MAX) {
        return NGX_ERROR;
    }

    m->id = v->value;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_message_set_channel(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    if (ngx_ws_bus_message_string(&m->channel, v) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_handshake_channel(&m->channel) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_message_set_epoch(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    return ngx_ws_bus_message_string(&m->epoch, v);
}


static ngx_int_t
ngx_ws_bus_message_set_seq(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    m->has_seq = 1;

    return ngx_ws_bus_json_uint(&v->value, &m->seq);
}


static ngx_int_t
ngx_ws_bus_message_set_limit(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    m->has_limit = 1;

    return ngx_ws_bus_json_uint(&v->value, &m->limit);
}


static ngx_int_t
ngx_ws_bus_message_set_from(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    if (v->type != NGX_WS_BUS_JSON_STRING
        || !ngx_ws_bus_json_is(&v->value, (u_char *) "ack", 3))
    {
        return NGX_ERROR;
    }

    m->from_ack = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_message_set_token(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    return ngx_ws_bus_message_string(&m->token, v);
}


static ngx_int_t
ngx_ws_bus_message_set_key(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    if (ngx_ws_bus_message_string(&m->key, v) != NGX_OK) {
        return NGX_ERROR;
    }

    if (m->key.len == 0 || m->key.len > NGX_WS_BUS_MESSAGE_KEY_MAX) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_message_set_data(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    m->kind = NGX_WS_BUS_PAYLOAD_DATA;
    m->payload = v->value;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_message_set_text(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    m->kind = NGX_WS_BUS_PAYLOAD_TEXT;

    return ngx_ws_bus_message_string(&m->payload, v);
}


static ngx_int_t
ngx_ws_bus_message_set_base64(ngx_ws_bus_request_t *m,
    ngx_ws_bus_message_value_t *v)
{
    m->kind = NGX_WS_BUS_PAYLOAD_BASE64;

    if (ngx_ws_bus_message_string(&m->payload, v) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_base64_decode(&m->payload);
}


static ngx_int_t
ngx_ws_bus_message_string(ngx_str_t *s, ngx_ws_bus_message_value_t *v)
{
    if (v->type != NGX_WS_BUS_JSON_STRING) {
        return NGX_ERROR;
    }

    *s = v->value;

    return ngx_ws_bus_json_unescape(s);
}


ngx_int_t
ngx_ws_bus_message_epoch(const ngx_str_t *s, uint64_t *epoch)
{
    u_char    ch;
    size_t    i;
    uint64_t  n;

    if (s->len != NGX_WS_BUS_MESSAGE_EPOCH) {
        return NGX_DECLINED;
    }

    n = 0;

    for (i = 0; i < s->len; i++) {
        ch = s->data[i];

        if (ch >= '0' && ch <= '9') {
            n = (n << 4) | (ch - '0');

        } else if (ch >= 'a' && ch <= 'f') {
            n = (n << 4) | (ch - 'a' + 10);

        } else {
            return NGX_DECLINED;
        }
    }

    *epoch = n;

    return NGX_OK;
}
