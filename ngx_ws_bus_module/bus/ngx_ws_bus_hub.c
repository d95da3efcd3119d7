
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_presence.h"
#include "ngx_ws_bus_remote.h"
#include "ngx_ws_bus_revoke.h"


/* what one turn of the event loop, or a portion, does at the most */
#define NGX_WS_BUS_HUB_READ      1024          /* records */

/* time for reading in one turn, microseconds */
#define NGX_WS_BUS_HUB_TIME      500

/* bytes of records that the clock is asked once for */
#ifndef NGX_WS_BUS_HUB_WORK
#define NGX_WS_BUS_HUB_WORK      4096
#endif

/* reading pauses while so much waits to be given */
#define NGX_WS_BUS_HUB_BACKLOG   (4 * 1024 * 1024)

/* publishers whose messages are given before the others are read */
#ifndef NGX_WS_BUS_HUB_EAGER
#define NGX_WS_BUS_HUB_EAGER     32
#endif

/* in a turn of the event loop; fewer fit into a cache anyway */
#ifndef NGX_WS_BUS_HUB_MANY
#define NGX_WS_BUS_HUB_MANY      256
#endif

/* for each publisher, at the most */
#define NGX_WS_BUS_HUB_HEARERS   2

/* turns until it is asked again whether that is good */
#define NGX_WS_BUS_HUB_TURNS     32

#define NGX_WS_BUS_HUB_TICK      1000          /* milliseconds */
#define NGX_WS_BUS_HUB_POLL      10            /* without a doorbell */
#define NGX_WS_BUS_HUB_REAP      5             /* ticks */


static ngx_int_t ngx_ws_bus_hub_listen(ngx_ws_bus_hub_t *hub,
    ngx_cycle_t *cycle);
static void ngx_ws_bus_hub_bell_handler(ngx_event_t *ev);
static void ngx_ws_bus_hub_tick_handler(ngx_event_t *ev);

static void ngx_ws_bus_hub_deliver_handler(ngx_event_t *ev);
static ngx_uint_t ngx_ws_bus_hub_turn(ngx_ws_bus_hub_t *hub);
static void ngx_ws_bus_hub_judge(ngx_ws_bus_hub_t *hub);
static void ngx_ws_bus_hub_read(ngx_ws_bus_hub_t *hub, size_t backlog);
static ngx_int_t ngx_ws_bus_hub_gather(ngx_ws_bus_group_t *group,
    ngx_ws_bus_record_t *rec, u_char *payload);


/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_hub_dumb;


ngx_int_t
ngx_ws_bus_hub_init(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle)
{
    ngx_ws_bus_hub_t  *hub;

    hub = ngx_pcalloc(cycle->pool, sizeof(ngx_ws_bus_hub_t));
    if (hub == NULL) {
        return NGX_ERROR;
    }

    hub->zone = zone;
    hub->log = cycle->log;

    ngx_queue_init(&hub->debts);
    ngx_queue_init(&hub->free_debts);
    ngx_ws_bus_hub_waits_init(hub);

    if (ngx_ws_bus_hub_grow(hub) != NGX_OK) {
        return NGX_ERROR;
    }

    hub->slot = ngx_ws_bus_zone_enter(zone, cycle->log);
    if (hub->slot == NULL) {
        return NGX_OK;
    }

    hub->cursor = ngx_ws_bus_log_head(&zone->sh->log);
    hub->caught_up = 1;

    ngx_ws_bus_hub_dumb.fd = (ngx_socket_t) -1;

    hub->deliver.handler = ngx_ws_bus_hub_deliver_handler;
    hub->deliver.data = &ngx_ws_bus_hub_dumb;
    hub->deliver.log = cycle->log;

    hub->tick.handler = ngx_ws_bus_hub_tick_handler;
    hub->tick.data = &ngx_ws_bus_hub_dumb;
    hub->tick.log = cycle->log;
    hub->tick.cancelable = 1;

    if (ngx_ws_bus_hub_listen(hub, cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_ws_bus_presence_init(hub);

    ngx_add_timer(&hub->tick,
                  hub->bell ? NGX_WS_BUS_HUB_TICK : NGX_WS_BUS_HUB_POLL);

    zone->hub = hub;

    return zone->remote ? zone->remote->init(zone, cycle) : NGX_OK;
}


static ngx_int_t
ngx_ws_bus_hub_listen(ngx_ws_bus_hub_t *hub, ngx_cycle_t *cycle)
{
    ngx_event_t             *rev;
    ngx_connection_t        *c;
    ngx_ws_bus_doorbells_t  *d;

    d = hub->zone->doorbells;

    if ((ngx_uint_t) ngx_process_slot >= d->n) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "ws_bus_zone \"%V\" has no doorbell for process slot %i, "
                      "this worker polls", &hub->zone->name, ngx_process_slot);
        return NGX_OK;
    }

    c = ngx_get_connection(d->fd[ngx_process_slot], cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->pool = cycle->pool;
    c->data = hub;

    /* as ngx_add_channel_event(): neither blocks exit nor is reported */

    rev = c->read;
    rev->log = cycle->log;
    rev->channel = 1;
    rev->handler = ngx_ws_bus_hub_bell_handler;

    c->write->log = cycle->log;
    c->write->channel = 1;

    if (ngx_add_event(rev, NGX_READ_EVENT,
                      (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                              : 0)
        != NGX_OK)
    {
        ngx_free_connection(c);
        return NGX_ERROR;
    }

    /* idle connections are told of a graceful shutdown */

    c->idle = (hub->zone->remote != NULL);

    hub->bell = c;

    return NGX_OK;
}


void
ngx_ws_bus_hub_exit(ngx_ws_bus_zone_t *zone)
{
    if (zone->hub) {

        if (zone->remote) {
            zone->remote->exit(zone);
        }

        ngx_ws_bus_presence_exit(zone->hub);
        ngx_ws_bus_zone_leave(zone);
    }
}


ngx_int_t
ngx_ws_bus_hub_publish(ngx_ws_bus_hub_t *hub, ngx_ws_bus_sub_t *sub,
    const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_ws_bus_op_t *op)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    if (hub->now == 0) {
        hub->now = ngx_ws_bus_time();
    }

    if (sub == NULL) {
        hub->cold = 1;
    }

    msg->time = hub->now;

    if (hub->zone->remote) {
        return hub->zone->remote->publish(hub, name, msg, place, op);
    }

    rc = ngx_ws_bus_channel_publish(hub->zone,
                                    sub ? sub->group->channel->node : NULL,
                                    name, msg, place, rings, &n);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!place->repeated) {
        hub->slot->stats.messages_in++;
        hub->slot->stats.bytes_in += msg->len;
    }

    ngx_ws_bus_hub_appended(hub, rings, n);

    return NGX_OK;
}


void
ngx_ws_bus_hub_appended(ngx_ws_bus_hub_t *hub, ngx_uint_t *rings,
    ngx_uint_t n)
{
    uint64_t           lag;
    ngx_ws_bus_log_t  *log;

    if (n) {
        ngx_ws_bus_hub_ring(hub, rings, n);
    }

    /* many messages in one turn must not lap this worker itself */

    log = &hub->zone->sh->log;

    if (hub->slot->pending || !hub->caught_up) {
        lag = log->head - (hub->caught_up
                           ? ngx_max(hub->cursor, hub->slot->from)
                           : hub->cursor);

        if (lag > log->size / 4) {
            ngx_ws_bus_hub_read(hub, (size_t) -1);
            ngx_post_event(&hub->deliver, &ngx_posted_events);
        }
    }
}


ngx_int_t
ngx_ws_bus_hub_delete(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_op_t *op)
{
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    if (hub->zone->remote) {
        return hub->zone->remote->delete(hub, name, op);
    }

    if (ngx_ws_bus_channel_delete(hub->zone, name, rings, &n) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_ws_bus_hub_ring(hub, rings, n);

    return NGX_OK;
}


void
ngx_ws_bus_hub_ring(ngx_ws_bus_hub_t *hub, ngx_uint_t *rings, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (rings[i] == (ngx_uint_t) ngx_process_slot) {
            ngx_post_event(&hub->deliver, &ngx_posted_events);
            continue;
        }

        ngx_ws_bus_doorbell_ring(hub->zone->doorbells, rings[i], hub->log);
    }
}


static void
ngx_ws_bus_hub_bell_handler(ngx_event_t *ev)
{
    uint64_t           count;
    ngx_connection_t  *c;
    ngx_ws_bus_hub_t  *hub;

    c = ev->data;
    hub = c->data;

    if (!(ngx_event_flags & NGX_USE_CLEAR_EVENT)) {
        (void) ngx_read_fd(c->fd, &count, sizeof(uint64_t));
    }

    if (c->close) {

        /* the worker is shutting down, and may exit before the next event */

        c->close = 0;
        hub->zone->remote->wanted(hub);
    }

    hub->cold = 1;

    ngx_post_event(&hub->deliver, &ngx_posted_events);
}


static void
ngx_ws_bus_hub_tick_handler(ngx_event_t *ev)
{
    ngx_uint_t             i;
    ngx_ws_bus_hub_t      *hub;
    ngx_ws_bus_zone_t     *zone;

    hub = (ngx_ws_bus_hub_t *) ((u_char *) ev
                                - offsetof(ngx_ws_bus_hub_t, tick));
    zone = hub->zone;

    /* whoever set the flag may have been killed before it rang */

    if (hub->slot->pending || zone->remote) {
        ngx_post_event(&hub->deliver, &ngx_posted_events);
    }

    if (++hub->ticks % NGX_WS_BUS_HUB_REAP == 0 && ngx_ws_bus_zone_reap(zone)) {
        for (i = 0; i < zone->sh->nslots; i++) {
            ngx_ws_bus_doorbell_ring(zone->doorbells, i, ev->log);
        }
    }

    ngx_add_timer(ev, hub->bell ? NGX_WS_BUS_HUB_TICK : NGX_WS_BUS_HUB_POLL);
}


static void
ngx_ws_bus_hub_deliver_handler(ngx_event_t *ev)
{
    ngx_ws_bus_hub_t  *hub;

    hub = (ngx_ws_bus_hub_t *) ((u_char *) ev
                                - offsetof(ngx_ws_bus_hub_t, deliver));

    if (hub->zone->remote) {
        hub->zone->remote->wanted(hub);
        hub->cold = 1;
    }

    hub->given_to += ngx_ws_bus_hub_turn(hub);

    if (hub->caught_up) {
        ngx_ws_bus_hub_judge(hub);
    }

    if (!hub->caught_up || !ngx_queue_empty(&hub->debts)) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


/*
 * Most often what is published in one turn of the event loop is given at its
 * end, so that whoever is owed several messages gets them by one write.  But
 * if thousands publish, each to somebody else, this gains nothing, and the
 * sockets and sessions that were read from have left the cache until they are
 * written to.  So it is given in portions then, as long as there are about as
 * many groups to give to as publishers, and not many more subscribers: which
 * is known from turns that are not divided, and looked at for each portion.
 */

void
ngx_ws_bus_hub_handled(ngx_ws_bus_hub_t *hub)
{
    ngx_uint_t  n;

    if (hub->now == 0) {
        return;
    }

    hub->now = 0;
    hub->sources++;

    if (hub->eager
        && hub->sources >= NGX_WS_BUS_HUB_EAGER
        && hub->caught_up
        && ngx_queue_empty(&hub->debts))
    {
        ngx_log_debug1(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                       "ws bus gives early, after %ui publishers",
                       hub->sources);

        n = ngx_ws_bus_hub_turn(hub);

        if (n > NGX_WS_BUS_HUB_HEARERS * hub->sources) {
            hub->eager = 0;
            hub->whole = NGX_WS_BUS_HUB_TURNS;
        }

        hub->sources = 0;

        /* whatever is left */

        ngx_post_event(&hub->deliver, &ngx_posted_events);
    }
}


/*
 * All that was published has been read: shall the next turns be divided?
 */

static void
ngx_ws_bus_hub_judge(ngx_ws_bus_hub_t *hub)
{
    if (hub->whole) {
        hub->whole--;

    } else if (hub->eager) {
        hub->eager--;

    } else if (hub->sources >= NGX_WS_BUS_HUB_MANY
               && hub->owed >= hub->sources / 4 * 3
               && hub->given_to <= NGX_WS_BUS_HUB_HEARERS * hub->sources
               && ngx_queue_empty(&hub->debts))
    {
        hub->eager = NGX_WS_BUS_HUB_TURNS;
    }

    hub->sources = 0;
    hub->owed = 0;
    hub->given_to = 0;
    hub->cold = 0;
}


/*
 * Returns how many subscribers were given something.
 */

static ngx_uint_t
ngx_ws_bus_hub_turn(ngx_ws_bus_hub_t *hub)
{
    hub->slice.until = 0;
    hub->slice.work = 0;

    ngx_ws_bus_hub_read(hub, NGX_WS_BUS_HUB_BACKLOG);

    return ngx_ws_bus_hub_give(hub);
}


/*
 * Reads the log from the cursor on and encodes what somebody here listens
 * to, until "backlog" bytes wait, or this turn has taken its time.
 *
 * A publisher moves the head, then looks at the pending flag; here the flag
 * is cleared, then the head is looked at.  So either this sees the record, or
 * the publisher rings.
 *
 * slot->from is the first record that the slot has been rung for since it
 * had read everything: what lies between is for others.  It does not change
 * while the flag is set.
 */

static void
ngx_ws_bus_hub_read(ngx_ws_bus_hub_t *hub, size_t backlog)
{
    u_char                *payload;
    uint64_t               from, head;
    ngx_int_t              rc;
    ngx_uint_t             n;
    ngx_ws_bus_log_t      *log;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_channel_t  *ch;

    log = &hub->zone->sh->log;

    if (hub->refilling && ngx_ws_bus_hub_refill(hub, backlog) != NGX_OK) {
        return;
    }

    if (hub->caught_up) {

        if (__atomic_load_n(&hub->slot->pending, __ATOMIC_ACQUIRE) == 0) {
            return;
        }

        from = hub->slot->from;
        hub->cursor = ngx_max(hub->cursor, from);
    }

    (void) __atomic_exchange_n(&hub->slot->pending, 0, __ATOMIC_SEQ_CST);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    head = ngx_ws_bus_log_head(log);

    hub->caught_up = 0;

    for (n = 0; n < NGX_WS_BUS_HUB_READ; n++) {

        if (ngx_ws_bus_hub_enough(hub, backlog)) {
            return;
        }

        if (hub->cold && n % NGX_WS_BUS_HUB_AHEAD == 0) {
            ngx_ws_bus_hub_ahead(hub, head);
        }

        rc = ngx_ws_bus_log_read(log, &hub->cursor, head, &rec, &payload);

        if (rc == NGX_DONE) {
            hub->caught_up = 1;
            return;
        }

        if (rc == NGX_OK && rec.channel == 0) {

            /* what came before is given first */

            if (backlog != (size_t) -1 && !ngx_queue_empty(&hub->debts)) {
                return;
            }

            rc = ngx_ws_bus_revoke_read(hub, &rec, payload);

        } else if (rc == NGX_OK) {
            ch = ngx_ws_bus_hub_find(hub, rec.channel);

            if (ch && rec.pos >= ch->from) {
                rc = ngx_ws_bus_hub_accept(ch, &rec, payload);
            }
        }

        if (rc == NGX_DECLINED) {
            ngx_ws_bus_hub_overrun(hub);
            (void) ngx_ws_bus_hub_refill(hub, backlog);
            return;
        }

        hub->cursor += rec.size;
    }
}


ngx_uint_t
ngx_ws_bus_hub_enough(ngx_ws_bus_hub_t *hub, size_t backlog)
{
    if (hub->backlog >= backlog) {
        return 1;
    }

    /* a publisher's own reading is bounded by what it publishes */

    return backlog != (size_t) -1 && ngx_ws_bus_slice_over(&hub->slice);
}


ngx_int_t
ngx_ws_bus_hub_accept(ngx_ws_bus_channel_t *ch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    ngx_int_t            rc;
    ngx_queue_t         *q;
    ngx_ws_bus_group_t  *group;

    if (rec->type == NGX_WS_BUS_REC_DELETED) {
        ngx_ws_bus_hub_deleted(ch, rec->pos, rec->seq);
        return NGX_OK;
    }

    if (!ngx_ws_bus_rec_is_told(rec)) {
        return ngx_ws_bus_hub_moved(ch, rec, payload);
    }

    /* numbers have no holes: what is not here has been missed */

    if (rec->seq > ch->seq + 1) {
        ngx_ws_bus_hub_lost(ch, rec->seq - 1, rec->pos - 1);
    }

    for (group = &ch->group; group; group = group->next) {

        if (ngx_queue_empty(&group->subs)) {
            continue;
        }

        rc = ngx_ws_bus_hub_gather(group, rec, payload);

        if (rc == NGX_OK) {
            continue;
        }

        if (rc == NGX_DECLINED) {
            return NGX_DECLINED;
        }

        /* no memory: the message is lost to this worker */

        if (rec->seq) {
            ngx_ws_bus_hub_lost(ch, rec->seq, rec->pos);
            break;
        }

        for (q = ngx_queue_head(&group->subs);
             q != ngx_queue_sentinel(&group->subs);
             q = ngx_queue_next(q))
        {
            ch->hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST]++;
        }
    }

    if (rec->seq) {
        ch->seq = rec->seq;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_ws_bus_slice_over(ngx_ws_bus_slice_t *slice)
{
    uint64_t  now;

    if (slice->work < NGX_WS_BUS_HUB_WORK) {
        return 0;
    }

    now = ngx_ws_bus_time();

    if (slice->until == 0) {
        slice->until = now + NGX_WS_BUS_HUB_TIME;
    }

    if (now >= slice->until) {
        return 1;
    }

    slice->work = 0;

    return 0;
}


/*
 * Encodes the record for a group.  NGX_OK, NGX_DECLINED if it was overwritten
 * meanwhile, NGX_ERROR without memory.
 */

static ngx_int_t
ngx_ws_bus_hub_gather(ngx_ws_bus_group_t *group, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    size_t              len;
    ngx_int_t           rc;
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_run_t   *run;
    ngx_ws_bus_debt_t  *debt;

    hub = group->channel->hub;

    debt = ngx_ws_bus_hub_debt(group);
    if (debt == NULL) {
        return NGX_ERROR;
    }

    if (debt->gathering == NULL) {
        debt->gathering = ngx_ws_bus_run_create(hub->log);

        if (debt->gathering == NULL) {
            return NGX_ERROR;
        }
    }

    run = debt->gathering;
    len = run->len;

    hub->slice.work += rec->size;

    rc = group->format->encode(group->format, run, group->channel->node,
                               group->channel->epoch, rec, payload);

    if (rc == NGX_OK
        && !ngx_ws_bus_log_intact(&hub->zone->sh->log, rec->pos))
    {
        rc = NGX_DECLINED;
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_run_mark(run, rec->pos,
                                 rec->type == NGX_WS_BUS_REC_MESSAGE
                                 ? rec->seq : NGX_WS_BUS_RUN_EVENT,
                                 rec->time, rec->len, hub->log);
    }

    if (rc == NGX_OK) {
        hub->backlog += run->len - len;
        return NGX_OK;
    }

    ngx_ws_bus_run_undo(run);

    if (run->n == 0) {
        ngx_ws_bus_hub_drop(hub, &debt->gathering);
    }

    return (rc == NGX_DONE) ? NGX_OK : rc;
}
