
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


/*
 * Raw mode: what a client sends is published as it is, and what arrives is
 * delivered as it is.
 */


static ngx_int_t ngx_ws_bus_raw_compose(ngx_ws_bus_node_t *node,
    ngx_ws_bus_record_t *rec, u_char *payload, ngx_ws_bus_composed_t *m);
static ngx_int_t ngx_ws_bus_raw_may_send(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_raw_message(ngx_ws_bus_session_t *s,
    ngx_uint_t opcode, u_char *data, size_t len);
static void ngx_ws_bus_raw_lost(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node, uint64_t from, uint64_t to);


static const ngx_ws_bus_error_t  ngx_ws_bus_raw_forbidden =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_FORBIDDEN,
                     "publishing is not allowed here");


const ngx_ws_bus_protocol_t  ngx_ws_bus_raw = {
    ngx_string("raw"),
    ngx_ws_bus_raw_compose,
    ngx_ws_bus_raw_compose,
    NULL,
    NULL,
    ngx_ws_bus_raw_may_send,
    ngx_ws_bus_raw_message,
    ngx_ws_bus_raw_lost,
    NULL,
    NULL
};


static ngx_int_t
ngx_ws_bus_raw_compose(ngx_ws_bus_node_t *node, ngx_ws_bus_record_t *rec,
    u_char *payload, ngx_ws_bus_composed_t *m)
{
    (void) node;

    if (rec->type != NGX_WS_BUS_REC_MESSAGE) {
        return NGX_DONE;
    }

    m->opcode = (rec->flags & NGX_WS_BUS_REC_BINARY) ? NGX_WS_BUS_OP_BINARY
                                                     : NGX_WS_BUS_OP_TEXT;
    m->data = payload;
    m->len = rec->len;

    return NGX_OK;
}


/*
 * Who may not publish may still send a token, which is known when it is
 * there.
 */

static ngx_int_t
ngx_ws_bus_raw_may_send(ngx_ws_bus_session_t *s)
{
    if (s->publish && s->granted) {
        return NGX_OK;
    }

    if (s->opcode == NGX_WS_BUS_OP_TEXT && ngx_ws_bus_auth_is_refreshable(s))
    {
        return NGX_OK;
    }

    ngx_ws_bus_session_fail(s, &ngx_ws_bus_raw_forbidden);

    return NGX_ERROR;
}


static ngx_int_t
ngx_ws_bus_raw_message(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    ngx_int_t             rc;
    ngx_ws_bus_place_t    place;
    ngx_ws_bus_message_t  msg;

    static const ngx_ws_bus_error_t  unavailable =
        ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "cannot publish");

    if (opcode == NGX_WS_BUS_OP_TEXT && ngx_ws_bus_auth_is_refreshable(s)) {

        rc = ngx_ws_bus_auth_raw(s, data, len);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (!s->publish || !s->granted) {
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_raw_forbidden);
        return NGX_ERROR;
    }

    msg.data = data;
    msg.len = len;
    msg.once = NULL;
    msg.age = (uint64_t) s->conf->history_age * 1000000;
    msg.flags = (opcode == NGX_WS_BUS_OP_BINARY) ? NGX_WS_BUS_REC_BINARY : 0;
    msg.keep = s->conf->history;

    rc = ngx_ws_bus_pending_publish(s, &s->sub, &s->channel, &msg, &place,
                                    NULL);

    if (rc == NGX_OK || rc == NGX_AGAIN) {
        if (rc == NGX_OK && s->conf->audit) {
            ngx_ws_bus_audit(s->request, NGX_WS_BUS_EVENT_PUBLISH,
                             &s->channel, 0, NULL, len);
        }

        return NGX_OK;
    }

    ngx_ws_bus_session_fail(s, &unavailable);

    return NGX_ERROR;
}


static void
ngx_ws_bus_raw_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to)
{
    (void) node;
    (void) from;
    (void) to;

    ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER, "messages lost");
}
