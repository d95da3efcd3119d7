
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_v1.h"


/*
 * The answers that are lists: history and presence.
 */


/* answered in one "history" */
#define NGX_WS_BUS_V1_HISTORY        1000
#define NGX_WS_BUS_V1_HISTORY_SIZE   (256 * 1024)


static ngx_int_t ngx_ws_bus_v1_presence_items(ngx_ws_bus_session_t *s,
    ngx_ws_bus_members_t *list, ngx_ws_bus_run_t *body);
static ngx_int_t ngx_ws_bus_v1_history_items(ngx_ws_bus_session_t *s,
    ngx_ws_bus_history_t *h, uint64_t head, ngx_ws_bus_run_t *body);


static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_no_history = {
    ngx_string("not_available"), ngx_string("no history is kept here")
};


const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_presence(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char                *p;
    ngx_int_t              rc;
    ngx_uint_t             members;
    ngx_ws_bus_run_t      *body;
    ngx_ws_bus_state_t     state;
    ngx_ws_bus_members_t   list;

    if (s->conf->presence == NGX_WS_BUS_PRESENCE_OFF) {
        return &ngx_ws_bus_v1_not_here;
    }

    if (*ngx_ws_bus_v1_find(s, &q->channel) == NULL
        && !ngx_ws_bus_v1_allowed(s, &q->channel))
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];
    }

    if (ngx_ws_bus_channel_state(s->hub->zone, &q->channel, 0, 0, &state)
        != NGX_OK)
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_NOT_FOUND];
    }

    ngx_memzero(&list, sizeof(ngx_ws_bus_members_t));

    members = (s->conf->presence == NGX_WS_BUS_PRESENCE_MEMBERS);

    if (members && ngx_ws_bus_presence_list(s->hub->zone, &q->channel, &list,
                                            s->connection->log)
                   == NGX_ERROR)
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    rc = NGX_ERROR;
    body = ngx_ws_bus_run_create(s->connection->log);

    if (body && ngx_ws_bus_run_reserve(body, NGX_WS_BUS_MESSAGE_MAX,
                                       s->connection->log))
    {
        body->len = ngx_ws_bus_message_presence(body->data, &q->id,
                                                &q->channel, members)
                    - body->data;

        rc = ngx_ws_bus_v1_presence_items(s, &list, body);
    }

    if (rc == NGX_OK) {
        p = ngx_ws_bus_message_presence_end(body->data + body->len, members,
                                            state.subscribers);

        ngx_ws_bus_out_reply(s, body->data, p - body->data);
    }

    if (body) {
        ngx_ws_bus_run_release(body);
    }

    if (list.names) {
        ngx_free(list.names);
    }

    return (rc == NGX_OK)
           ? NULL : &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
}


/*
 * Writes the names, and leaves room for the tail.
 */

static ngx_int_t
ngx_ws_bus_v1_presence_items(ngx_ws_bus_session_t *s,
    ngx_ws_bus_members_t *list, ngx_ws_bus_run_t *body)
{
    u_char      *p;
    size_t       size;
    ngx_uint_t   i;

    for (i = 0; i < list->n; i++) {

        size = ngx_ws_bus_message_presence_item_size(&list->names[i]);

        p = ngx_ws_bus_run_reserve(body, size, s->connection->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        p = ngx_ws_bus_message_presence_item(p, &list->names[i], i == 0);

        body->len = p - body->data;
    }

    p = ngx_ws_bus_run_reserve(body, NGX_WS_BUS_MESSAGE_MAX,
                               s->connection->log);

    return p ? NGX_OK : NGX_ERROR;
}


const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_history(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    ngx_int_t           rc;
    ngx_ws_bus_sub_t   *sub;
    ngx_ws_bus_view_t   view;

    sub = *ngx_ws_bus_v1_find(s, &q->channel);

    if (sub == NULL && !ngx_ws_bus_v1_allowed(s, &q->channel)) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];
    }

    if (s->conf->history == 0) {
        return &ngx_ws_bus_v1_no_history;
    }

    rc = NGX_OK;

    if (sub) {
        ngx_ws_bus_channel_view(s->hub->zone, sub->group->channel->node,
                                &view);

    } else {
        rc = ngx_ws_bus_channel_peek(s->hub->zone, &q->channel, &view);
    }

    if (s->hub->zone->remote && (rc != NGX_OK || !view.live)) {
        return ngx_ws_bus_v1_look(s, q);
    }

    if (rc != NGX_OK) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_NOT_FOUND];
    }

    return ngx_ws_bus_v1_history_answer(s, q, &view);
}


const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_history_answer(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q,
    ngx_ws_bus_view_t *view)
{
    ngx_int_t               rc;
    ngx_uint_t              limit;
    ngx_ws_bus_run_t       *body;
    ngx_ws_bus_history_t    h;

    limit = NGX_WS_BUS_V1_HISTORY;

    if (q->has_limit && q->limit < limit) {
        limit = q->limit;
    }

    if (ngx_ws_bus_channel_history(s->hub->zone, view, q->seq,
                                   s->conf->history,
                                   (uint64_t) s->conf->history_age * 1000000,
                                   limit, &h, s->connection->log)
        != NGX_OK)
    {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    rc = NGX_ERROR;
    body = ngx_ws_bus_run_create(s->connection->log);

    if (body && ngx_ws_bus_run_reserve(body, NGX_WS_BUS_MESSAGE_MAX,
                                       s->connection->log))
    {
        body->len = ngx_ws_bus_message_history(body->data, &q->id,
                                               &q->channel, view->epoch)
                    - body->data;

        rc = ngx_ws_bus_v1_history_items(s, &h, view->seq, body);
    }

    if (rc == NGX_OK) {
        ngx_ws_bus_out_reply(s, body->data, body->len);
    }

    if (body) {
        ngx_ws_bus_run_release(body);
    }

    if (h.pos) {
        ngx_free(h.pos);
    }

    return (rc == NGX_OK)
           ? NULL : &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
}


/*
 * Writes the oldest of the messages found, and the tail.  What has been
 * forgotten meanwhile is left out: its number is missing.
 */

static ngx_int_t
ngx_ws_bus_v1_history_items(ngx_ws_bus_session_t *s, ngx_ws_bus_history_t *h,
    uint64_t head, ngx_ws_bus_run_t *body)
{
    u_char                 *p, *payload;
    size_t                  size;
    uint64_t                pos;
    ngx_uint_t              i, n;
    ngx_log_t              *log;
    ngx_ws_bus_log_t       *blog;
    ngx_ws_bus_record_t     rec;
    ngx_ws_bus_envelope_t   e;

    n = 0;
    log = s->connection->log;
    blog = &s->hub->zone->sh->log;

    for (i = 0; i < h->n; i++) {

        if (n && body->len > NGX_WS_BUS_V1_HISTORY_SIZE) {
            break;
        }

        pos = h->pos[i];

        if (ngx_ws_bus_log_read(blog, &pos, pos + 1, &rec, &payload)
            != NGX_OK)
        {
            continue;
        }

        if (ngx_ws_bus_v1_envelope(&rec, payload, &e) != NGX_OK) {
            return NGX_ERROR;
        }

        size = ngx_ws_bus_message_history_item_size(&e);

        p = ngx_ws_bus_run_reserve(body, size, log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        p = ngx_ws_bus_message_history_item(p, &e, n == 0);

        if (ngx_ws_bus_log_intact(blog, pos)) {
            body->len = p - body->data;
            n++;
        }
    }

    p = ngx_ws_bus_run_reserve(body, NGX_WS_BUS_MESSAGE_MAX, log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->len = ngx_ws_bus_message_history_end(p, h->first + i <= head)
                - body->data;

    return NGX_OK;
}
