
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"


/*
 * What groups are owed, messages and what is told between them, and how it is
 * given: some of it in each turn of the event loop.
 */


/* what one turn of the event loop does at the most */
#define NGX_WS_BUS_HUB_GIVE      512           /* subscribers */
#define NGX_WS_BUS_HUB_SLICE     128           /* of one group */

/* sends that the clock is asked once for */
#define NGX_WS_BUS_HUB_CLOCK     16


#define ngx_ws_bus_hub_owner(sub)                                             \
    (((ngx_ws_bus_owner_t *) (sub)->owner)->handlers)

#define ngx_ws_bus_hub_is_owed(debt)                                          \
    ((debt)->giving || (debt)->dues || (debt)->gathering)


static ngx_uint_t ngx_ws_bus_hub_give_group(ngx_ws_bus_debt_t *debt,
    ngx_uint_t slice);
static ngx_int_t ngx_ws_bus_hub_stage(ngx_ws_bus_debt_t *debt);
static void ngx_ws_bus_hub_deliver(ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_run_t *run);
static void ngx_ws_bus_hub_tell(ngx_ws_bus_sub_t *sub,
    const ngx_ws_bus_due_t *due);
static ngx_int_t ngx_ws_bus_hub_owe_group(ngx_ws_bus_group_t *group,
    const ngx_ws_bus_due_t *due);
static void ngx_ws_bus_hub_settle(ngx_ws_bus_group_t *group,
    const ngx_ws_bus_due_t *due);
static void ngx_ws_bus_hub_undue(ngx_ws_bus_debt_t *debt);
static void ngx_ws_bus_hub_latency(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_run_t *run, ngx_uint_t n);


/*
 * The groups take turns, so that a wide channel delays a narrow one by a
 * slice at the most.
 */

ngx_uint_t
ngx_ws_bus_hub_give(ngx_ws_bus_hub_t *hub)
{
    ngx_uint_t          n, given;
    ngx_queue_t        *q;
    ngx_ws_bus_debt_t  *debt;

    n = 0;
    hub->since = NGX_WS_BUS_HUB_CLOCK;

    while (n < NGX_WS_BUS_HUB_GIVE && !ngx_queue_empty(&hub->debts)) {

        q = ngx_queue_head(&hub->debts);
        debt = ngx_queue_data(q, ngx_ws_bus_debt_t, queue);

        given = ngx_ws_bus_hub_give_group(debt, NGX_WS_BUS_HUB_SLICE);
        n += ngx_max(given, 1);

        if (ngx_ws_bus_hub_is_owed(debt)) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&hub->debts, q);

        } else {
            ngx_ws_bus_hub_forgive(debt->group);
        }
    }

    return n;
}


/*
 * One stage for some of the subscribers: a run, or what is told after it.
 */

static ngx_uint_t
ngx_ws_bus_hub_give_group(ngx_ws_bus_debt_t *debt, ngx_uint_t slice)
{
    ngx_uint_t           n;
    ngx_queue_t         *q, *end;
    ngx_ws_bus_hub_t    *hub;
    ngx_ws_bus_due_t    *due;
    ngx_ws_bus_sub_t    *sub;

    if (debt->walk == NULL && ngx_ws_bus_hub_stage(debt) == NGX_DONE) {
        return 0;
    }

    hub = debt->group->channel->hub;
    end = ngx_queue_sentinel(&debt->group->subs);
    due = debt->dues;

    for (n = 0; n < slice && debt->walk != end; n++) {

        q = debt->walk;
        debt->walk = ngx_queue_next(q);

        sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);

        if (debt->giving) {
            ngx_ws_bus_hub_deliver(sub, debt->giving);

        } else {
            ngx_ws_bus_hub_tell(sub, due);
        }
    }

    if (n && debt->giving) {
        ngx_ws_bus_hub_latency(hub, debt->giving, n);
    }

    if (debt->walk != end) {
        return n;
    }

    debt->walk = NULL;

    if (debt->giving) {
        ngx_ws_bus_hub_drop(hub, &debt->giving);

    } else {
        ngx_ws_bus_hub_undue(debt);
    }

    return n;
}


/*
 * Begins with what is next.  NGX_OK, or NGX_DONE if there is nothing.
 */

static ngx_int_t
ngx_ws_bus_hub_stage(ngx_ws_bus_debt_t *debt)
{
    ngx_ws_bus_run_t  **run;

    run = debt->dues ? &debt->dues->run : &debt->gathering;

    if (debt->dues == NULL && *run == NULL) {
        return NGX_DONE;
    }

    debt->giving = *run;
    *run = NULL;

    debt->walk = ngx_queue_head(&debt->group->subs);

    return NGX_OK;
}


static void
ngx_ws_bus_hub_deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run)
{
    ngx_uint_t  first;

    for (first = 0; first < run->n; first++) {
        if (run->marks[first].pos >= sub->from) {
            ngx_ws_bus_hub_owner(sub)->deliver(sub, run, first);
            break;
        }
    }
}


static void
ngx_ws_bus_hub_tell(ngx_ws_bus_sub_t *sub, const ngx_ws_bus_due_t *due)
{
    ngx_ws_bus_stats_t               *stats;
    const ngx_ws_bus_hub_handlers_t  *owner;

    /* who waits has no number */

    if (sub->from > due->pos || sub->from >= NGX_WS_BUS_SUB_WAITS) {
        return;
    }

    owner = ngx_ws_bus_hub_owner(sub);
    stats = &sub->group->channel->hub->slot->stats;

    switch (due->type) {

    case NGX_WS_BUS_DUE_LOST:

        if (sub->seq < due->seq) {
            stats->dropped[NGX_WS_BUS_DROPPED_LOST]++;
            owner->lost(sub, ngx_max(due->from, sub->seq + 1), due->seq);
        }

        break;

    case NGX_WS_BUS_DUE_DELETED:
        sub->seq = 0;
        owner->deleted(sub);
        break;

    case NGX_WS_BUS_DUE_MOVED:

        if (owner->moved) {
            owner->moved(sub, due->epoch, due->seq);
        }

        break;

    default: /* NGX_WS_BUS_DUE_RESET */
        sub->seq = due->seq;
        stats->dropped[NGX_WS_BUS_DROPPED_LOST]++;
        owner->lost(sub, 0, due->seq);
    }
}


void
ngx_ws_bus_hub_owe(ngx_ws_bus_channel_t *ch, const ngx_ws_bus_due_t *due)
{
    ngx_ws_bus_group_t  *group;

    for (group = &ch->group; group; group = group->next) {

        if (!ngx_queue_empty(&group->subs)
            && ngx_ws_bus_hub_owe_group(group, due) != NGX_OK)
        {
            ngx_ws_bus_hub_settle(group, due);
        }
    }
}


static ngx_int_t
ngx_ws_bus_hub_owe_group(ngx_ws_bus_group_t *group,
    const ngx_ws_bus_due_t *due)
{
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_due_t   *d, **last;
    ngx_ws_bus_debt_t  *debt;

    hub = group->channel->hub;

    d = ngx_alloc(sizeof(ngx_ws_bus_due_t), hub->log);
    if (d == NULL) {
        return NGX_ERROR;
    }

    debt = ngx_ws_bus_hub_debt(group);

    if (debt == NULL) {
        ngx_free(d);
        return NGX_ERROR;
    }

    *d = *due;

    d->next = NULL;
    d->run = debt->gathering;
    debt->gathering = NULL;

    hub->backlog += sizeof(ngx_ws_bus_due_t);

    for (last = &debt->dues; *last; last = &(*last)->next) { /* void */ }

    *last = d;

    return NGX_OK;
}


/*
 * Without memory to wait for its turn it is told at once, behind all that the
 * group is owed.
 */

static void
ngx_ws_bus_hub_settle(ngx_ws_bus_group_t *group, const ngx_ws_bus_due_t *due)
{
    ngx_queue_t       *q;
    ngx_ws_bus_sub_t  *sub;

    while (group->debt && ngx_ws_bus_hub_is_owed(group->debt)) {
        (void) ngx_ws_bus_hub_give_group(group->debt, (ngx_uint_t) -1);
    }

    for (q = ngx_queue_head(&group->subs);
         q != ngx_queue_sentinel(&group->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_ws_bus_sub_t, queue);
        ngx_ws_bus_hub_tell(sub, due);
    }
}


/*
 * The run has been given to n subscribers.  The clock is not asked for each
 * of them.
 */

static void
ngx_ws_bus_hub_latency(ngx_ws_bus_hub_t *hub, ngx_ws_bus_run_t *run,
    ngx_uint_t n)
{
    uint64_t    usec;
    ngx_uint_t  i;

    hub->since += n;

    if (hub->since >= NGX_WS_BUS_HUB_CLOCK) {
        hub->since = 0;
        hub->given = ngx_ws_bus_time();
    }

    for (i = 0; i < run->n; i++) {
        usec = (hub->given > run->marks[i].time)
               ? hub->given - run->marks[i].time : 0;

        ngx_ws_bus_latency_add(&hub->slot->stats, usec, n);
    }
}


ngx_ws_bus_debt_t *
ngx_ws_bus_hub_debt(ngx_ws_bus_group_t *group)
{
    ngx_queue_t        *q;
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_debt_t  *debt;

    if (group->debt) {
        return group->debt;
    }

    hub = group->channel->hub;

    if (ngx_queue_empty(&hub->free_debts)) {
        debt = ngx_alloc(sizeof(ngx_ws_bus_debt_t), hub->log);

        if (debt == NULL) {
            return NULL;
        }

    } else {
        q = ngx_queue_head(&hub->free_debts);
        ngx_queue_remove(q);
        debt = ngx_queue_data(q, ngx_ws_bus_debt_t, queue);
    }

    debt->group = group;
    debt->gathering = NULL;
    debt->dues = NULL;
    debt->giving = NULL;
    debt->walk = NULL;

    ngx_queue_insert_tail(&hub->debts, &debt->queue);

    group->debt = debt;
    hub->owed++;

    return debt;
}


void
ngx_ws_bus_hub_forgive(ngx_ws_bus_group_t *group)
{
    ngx_ws_bus_hub_t   *hub;
    ngx_ws_bus_debt_t  *debt;

    debt = group->debt;

    if (debt == NULL) {
        return;
    }

    hub = group->channel->hub;

    ngx_ws_bus_hub_drop(hub, &debt->gathering);
    ngx_ws_bus_hub_drop(hub, &debt->giving);

    while (debt->dues) {
        ngx_ws_bus_hub_undue(debt);
    }

    ngx_queue_remove(&debt->queue);
    ngx_queue_insert_head(&hub->free_debts, &debt->queue);

    group->debt = NULL;
}


static void
ngx_ws_bus_hub_undue(ngx_ws_bus_debt_t *debt)
{
    ngx_ws_bus_hub_t  *hub;
    ngx_ws_bus_due_t  *due;

    hub = debt->group->channel->hub;

    due = debt->dues;
    debt->dues = due->next;

    ngx_ws_bus_hub_drop(hub, &due->run);
    hub->backlog -= sizeof(ngx_ws_bus_due_t);

    ngx_free(due);
}


void
ngx_ws_bus_hub_drop(ngx_ws_bus_hub_t *hub, ngx_ws_bus_run_t **run)
{
    if (*run) {
        hub->backlog -= (*run)->len;
        ngx_ws_bus_run_release(*run);
        *run = NULL;
    }
}
