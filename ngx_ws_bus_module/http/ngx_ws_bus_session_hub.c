
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_prefetch.h"


/*
 * What a session is to the hub: its subscriptions, and what comes of them.
 */


static void ngx_ws_bus_session_deliver(ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_run_t *run, ngx_uint_t first);
static ngx_inline void ngx_ws_bus_session_add(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node, ngx_ws_bus_run_t *run, ngx_uint_t first,
    ngx_uint_t last);
static void ngx_ws_bus_session_lost(ngx_ws_bus_sub_t *sub, uint64_t from,
    uint64_t to);


const ngx_ws_bus_hub_handlers_t  ngx_ws_bus_session_handlers = {
    ngx_ws_bus_session_deliver,
    ngx_ws_bus_session_lost,
    ngx_ws_bus_session_deleted,
    ngx_ws_bus_pending_ready,
    ngx_ws_bus_v1_moved,
    ngx_ws_bus_session_ahead
};


ngx_int_t
ngx_ws_bus_session_subscribe(ngx_ws_bus_session_t *s, ngx_str_t *channel,
    ngx_ws_bus_sub_t *sub, ngx_ws_bus_view_t *view)
{
    ngx_int_t  rc;

    rc = ngx_ws_bus_hub_subscribe(s->hub, channel, s->format, sub, view);

    if (rc != NGX_OK) {
        return rc;
    }

    /* what has come since the view is about others, and the member itself */

    sub->present = (s->member.len
                    && ngx_ws_bus_presence_join(sub, &s->member) == NGX_OK);

    return NGX_OK;
}


void
ngx_ws_bus_session_subscribed(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_channel_view(s->hub->zone, sub->group->channel->node, view);

    sub->from = view->head;
    sub->seq = view->seq;

    if (!sub->present) {
        sub->present = (s->member.len
                        && ngx_ws_bus_presence_join(sub, &s->member)
                           == NGX_OK);
    }
}


void
ngx_ws_bus_session_unsubscribe(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_replay_end(s, sub);
    ngx_ws_bus_out_forget(s, sub->group->channel->node);

    if (sub->present) {
        ngx_ws_bus_presence_leave(sub, &s->member);
    }

    ngx_ws_bus_hub_unsubscribe(sub);
}


static void
ngx_ws_bus_session_deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first)
{
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    if (s->close_sent || s->broken) {
        return;
    }

    node = sub->group->channel->node;

    ngx_ws_bus_session_add(s, node, run, first, run->n);

    if (s->out && ngx_ws_bus_out_limit(s, node) != NGX_OK) {
        ngx_ws_bus_session_slow(s);
    }
}


void
ngx_ws_bus_session_ahead(void *owner, ngx_uint_t step)
{
    ngx_ws_bus_session_t *s = owner;

    switch (step) {

    case 0:
        ngx_ws_bus_prefetch_object(s, offsetof(ngx_ws_bus_session_t, control));
        break;

    case 1:
        ngx_ws_bus_prefetch_object(s->connection,
                                   offsetof(ngx_connection_t, log));
        break;

    default:
        ngx_ws_bus_prefetch(s->connection->write);
    }
}


void
ngx_ws_bus_session_queue(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first, ngx_uint_t last)
{
    ngx_ws_bus_session_add(sub->owner, sub->group->channel->node, run, first,
                           last);
}


/*
 * Most often it is all of the run.
 */

static ngx_inline void
ngx_ws_bus_session_add(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    ngx_ws_bus_run_t *run, ngx_uint_t first, ngx_uint_t last)
{
    size_t      payload;
    ngx_uint_t  i;

    payload = run->payload;

    for (i = 0; i < first; i++) {
        payload -= run->marks[i].len;
    }

    for (i = last; i < run->n; i++) {
        payload -= run->marks[i].len;
    }

    s->messages_out += last - first;
    s->bytes_out += payload;
    s->stats->messages_out += last - first;
    s->stats->bytes_out += payload;

    ngx_ws_bus_out_add(s, node, run, ngx_ws_bus_run_start(run, first),
                       ngx_ws_bus_run_start(run, last));
}


static void
ngx_ws_bus_session_lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    ngx_ws_bus_session_t  *s;

    s = sub->owner;

    s->protocol->lost(s, sub->group->channel->node, from, to);
}


void
ngx_ws_bus_session_deleted(ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_session_close(sub->owner, NGX_WS_BUS_CLOSE_DELETED,
                             "channel deleted");
}
