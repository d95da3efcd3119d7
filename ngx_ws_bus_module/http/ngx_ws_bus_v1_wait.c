
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_v1.h"


/*
 * What the subprotocol's clients hear later, in a zone that spans hosts.
 */


/* requests for the history of a channel that the host has yet to fetch */
#define NGX_WS_BUS_V1_LOOKS  64


typedef struct {
    ngx_ws_bus_resume_t   resume;
    ngx_str_t             id;
} ngx_ws_bus_v1_wait_t;


/*
 * A subscription of no session's, until its channel is complete: by that the
 * host gets what "history" asks for.  It wants no messages.
 */

struct ngx_ws_bus_v1_look_s {
    ngx_ws_bus_owner_t     owner;
    ngx_ws_bus_v1_look_t  *next;
    ngx_ws_bus_session_t  *session;
    ngx_ws_bus_request_t   q;
    ngx_ws_bus_sub_t       sub;
    ngx_event_t            end;
    ngx_int_t              rc;
};


static void ngx_ws_bus_v1_look_free(ngx_ws_bus_v1_look_t *look);
static void ngx_ws_bus_v1_look_handler(ngx_event_t *ev);
static ngx_int_t ngx_ws_bus_v1_look_encode(ngx_ws_bus_format_t *format,
    ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node, uint64_t epoch,
    ngx_ws_bus_record_t *rec, u_char *payload);
static void ngx_ws_bus_v1_look_deliver(ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_run_t *run, ngx_uint_t first);
static void ngx_ws_bus_v1_look_lost(ngx_ws_bus_sub_t *sub, uint64_t from,
    uint64_t to);
static void ngx_ws_bus_v1_look_deleted(ngx_ws_bus_sub_t *sub);
static void ngx_ws_bus_v1_look_ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc,
    void *data);


static const ngx_ws_bus_hub_handlers_t  ngx_ws_bus_v1_look_handlers = {
    ngx_ws_bus_v1_look_deliver,
    ngx_ws_bus_v1_look_lost,
    ngx_ws_bus_v1_look_deleted,
    ngx_ws_bus_v1_look_ready,
    NULL,
    NULL
};

static ngx_ws_bus_format_t  ngx_ws_bus_v1_look_format = {
    ngx_ws_bus_v1_look_encode
};


static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_max_looks = {
    ngx_string("limit"), ngx_string("too many requests for history at once")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_down = {
    ngx_string("unavailable"), ngx_string("the other hosts cannot be reached")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_v1_unknown = {
    ngx_string("unavailable"),
    ngx_string("it is not known whether the message was published")
};


ngx_int_t
ngx_ws_bus_v1_wait(ngx_ws_bus_sub_t *sub, ngx_ws_bus_request_t *q,
    ngx_ws_bus_resume_t *resume)
{
    ngx_ws_bus_v1_wait_t  *wait;

    wait = ngx_alloc(sizeof(ngx_ws_bus_v1_wait_t) + q->id.len,
                     sub->group->channel->hub->log);
    if (wait == NULL) {
        return NGX_ERROR;
    }

    wait->resume = *resume;
    wait->id.len = q->id.len;
    wait->id.data = (u_char *) (wait + 1);

    if (q->id.len) {
        ngx_memcpy(wait->id.data, q->id.data, q->id.len);
    }

    ngx_ws_bus_sub_wait(sub)->data = wait;

    return NGX_OK;
}


/*
 * A subscription without "data" was not complete: its session is closing.
 */

void
ngx_ws_bus_v1_ready(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_int_t rc, void *data)
{
    u_char                 buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_str_t              channel;
    ngx_ws_bus_sub_t     **prev;
    ngx_ws_bus_view_t      view;
    ngx_ws_bus_v1_wait_t  *wait;

    wait = data;

    if (wait == NULL || s->close_sent || s->broken) {
        return;
    }

    ngx_ws_bus_node_name(sub->group->channel->node, &channel);

    if (rc != NGX_OK) {
        prev = ngx_ws_bus_v1_find(s, &channel);

        *prev = sub->next;
        s->v1->n--;

        ngx_ws_bus_session_unsubscribe(s, sub);
        ngx_free(sub);

        last = ngx_ws_bus_message_error(buf, &wait->id, &ngx_ws_bus_v1_down);

        ngx_ws_bus_out_reply(s, buf, last - buf);
        return;
    }

    ngx_ws_bus_session_subscribed(s, sub, &view);

    if (ngx_ws_bus_resume(s, sub, &wait->resume, &view) != NGX_OK) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return;
    }

    ngx_ws_bus_v1_greet(s, &wait->id, &channel, &wait->resume, &view);

    if (s->replay) {
        ngx_post_event(s->connection->write, &ngx_posted_events);
    }
}


void
ngx_ws_bus_v1_published(ngx_ws_bus_session_t *s, ngx_str_t *id,
    ngx_str_t *channel, ngx_int_t rc, ngx_ws_bus_place_t *place)
{
    u_char  buf[NGX_WS_BUS_MESSAGE_MAX], *last;

    if (rc != NGX_OK) {
        last = ngx_ws_bus_message_error(buf, id,
                                        (rc == NGX_DECLINED)
                                        ? &ngx_ws_bus_v1_down
                                        : &ngx_ws_bus_v1_unknown);

    } else if (id->len) {
        last = ngx_ws_bus_message_published(buf, id, channel, place->epoch,
                                            place->seq);

    } else {
        return;
    }

    ngx_ws_bus_out_reply(s, buf, last - buf);
}


void
ngx_ws_bus_v1_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to)
{
    u_char     buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_str_t  channel;

    if (from) {
        ngx_ws_bus_out_lost(s, node, from, to);
        return;
    }

    ngx_ws_bus_node_name(node, &channel);

    last = ngx_ws_bus_message_gap_epoch(buf, &channel, node->epoch, to);

    ngx_ws_bus_out_reply(s, buf, last - buf);
}


void
ngx_ws_bus_v1_moved(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq)
{
    u_char                 buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_str_t              channel;
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    if (s->v1 == NULL || s->close_sent || s->broken) {
        return;
    }

    ngx_ws_bus_node_name(sub->group->channel->node, &channel);

    last = ngx_ws_bus_message_epoch_follows(buf, &channel, epoch, seq);

    ngx_ws_bus_out_reply(s, buf, last - buf);
}


const ngx_ws_bus_message_error_t *
ngx_ws_bus_v1_look(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    u_char                *p;
    ngx_int_t              rc;
    ngx_uint_t             n;
    ngx_ws_bus_view_t      view;
    ngx_ws_bus_v1_look_t  *look;

    n = 0;

    for (look = s->v1->looks; look; look = look->next) {
        n++;
    }

    if (n >= NGX_WS_BUS_V1_LOOKS) {
        return &ngx_ws_bus_v1_max_looks;
    }

    look = ngx_calloc(sizeof(ngx_ws_bus_v1_look_t) + q->id.len
                      + q->channel.len, s->connection->log);
    if (look == NULL) {
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    look->owner.handlers = &ngx_ws_bus_v1_look_handlers;
    look->session = s;
    look->sub.owner = look;

    look->end.handler = ngx_ws_bus_v1_look_handler;
    look->end.data = look;
    look->end.log = s->connection->log;

    p = (u_char *) (look + 1);

    look->q = *q;
    look->q.id.data = p;
    look->q.channel.data = p + q->id.len;

    if (q->id.len) {
        p = ngx_cpymem(p, q->id.data, q->id.len);
    }

    ngx_memcpy(p, q->channel.data, q->channel.len);

    rc = ngx_ws_bus_hub_subscribe(s->hub, &look->q.channel,
                                  &ngx_ws_bus_v1_look_format, &look->sub,
                                  &view);

    if (rc == NGX_ERROR) {
        ngx_free(look);
        return &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_UNAVAILABLE];
    }

    look->next = s->v1->looks;
    s->v1->looks = look;

    if (rc == NGX_OK) {
        ngx_ws_bus_v1_look_ready(&look->sub, NGX_OK, NULL);
    }

    return NULL;
}


void
ngx_ws_bus_v1_looks_end(ngx_ws_bus_v1_t *v1)
{
    ngx_ws_bus_v1_look_t  *look;

    while (v1->looks) {
        look = v1->looks;
        v1->looks = look->next;

        ngx_ws_bus_v1_look_free(look);
    }
}


static void
ngx_ws_bus_v1_look_free(ngx_ws_bus_v1_look_t *look)
{
    if (look->end.posted) {
        ngx_delete_posted_event(&look->end);
    }

    ngx_ws_bus_hub_unsubscribe(&look->sub);

    ngx_free(look);
}


/*
 * What the session may ask for may have changed meanwhile.
 */

static void
ngx_ws_bus_v1_look_handler(ngx_event_t *ev)
{
    u_char                             buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_ws_bus_view_t                  view;
    ngx_ws_bus_v1_look_t              *look, **prev;
    ngx_ws_bus_session_t              *s;
    const ngx_ws_bus_message_error_t  *error;

    look = ev->data;
    s = look->session;

    for (prev = &s->v1->looks; *prev != look; prev = &(*prev)->next) {
        /* void */
    }

    *prev = look->next;

    if (s->close_sent || s->broken) {
        ngx_ws_bus_v1_look_free(look);
        return;
    }

    if (look->rc != NGX_OK) {
        error = &ngx_ws_bus_v1_down;

    } else if (*ngx_ws_bus_v1_find(s, &look->q.channel) == NULL
               && !ngx_ws_bus_v1_allowed(s, &look->q.channel))
    {
        error = &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];

    } else {
        ngx_ws_bus_channel_view(s->hub->zone, look->sub.group->channel->node,
                                &view);

        error = ngx_ws_bus_v1_history_answer(s, &look->q, &view);
    }

    if (error) {
        last = ngx_ws_bus_message_error(buf, &look->q.id, error);
        ngx_ws_bus_out_reply(s, buf, last - buf);
    }

    ngx_ws_bus_v1_look_free(look);
}


static ngx_int_t
ngx_ws_bus_v1_look_encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    return NGX_DONE;
}


static void
ngx_ws_bus_v1_look_deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first)
{
    /* void */
}


static void
ngx_ws_bus_v1_look_lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    /* void */
}


static void
ngx_ws_bus_v1_look_deleted(ngx_ws_bus_sub_t *sub)
{
    /* void */
}


/*
 * The hub may be walking its subscriptions: this one ends later.
 */

static void
ngx_ws_bus_v1_look_ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc, void *data)
{
    ngx_ws_bus_v1_look_t *look = sub->owner;

    look->rc = rc;

    ngx_post_event(&look->end, &ngx_posted_events);
}
