
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


typedef struct {
    ngx_ws_bus_resume_t   resume;
    ngx_str_t             id;
} ngx_ws_bus_v1_wait_t;


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

    channel.data = sub->group->channel->node->name;
    channel.len = sub->group->channel->node->len;

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

    channel.data = node->name;
    channel.len = node->len;

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

    channel.data = sub->group->channel->node->name;
    channel.len = sub->group->channel->node->len;

    last = ngx_ws_bus_message_epoch_follows(buf, &channel, epoch, seq);

    ngx_ws_bus_out_reply(s, buf, last - buf);
}
