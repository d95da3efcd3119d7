
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _HUB_H_INCLUDED_
#define _HUB_H_INCLUDED_


#define BUS_WITH_HUB  1

#include "bus.h"

#include "ngx_ws_bus_run.c"
#include "ngx_ws_bus_hub.c"
#include "ngx_ws_bus_ahead.c"
#include "ngx_ws_bus_debt.c"
#include "ngx_ws_bus_overrun.c"
#include "ngx_ws_bus_refill.c"
#include "ngx_ws_bus_subs.c"
#include "ngx_ws_bus_presence.c"
#include "ngx_ws_bus_revoke_hub.c"


/*
 * A worker with its hub, in a zone that is the test's: the event loop is, too.
 */


#define WORKER  1             /* the slot whose hub is tested */
#define OTHER   2             /* one that appends as well */


static ngx_ws_bus_hub_t  *hub;

static ngx_connection_t   bell;
static ngx_event_t        bell_read, bell_write;
static void              *pool_memory;


/* of nginx, what the hub needs besides */

ngx_queue_t           ngx_posted_events;
ngx_queue_t           ngx_posted_next_events;
ngx_uint_t            ngx_event_flags = NGX_USE_CLEAR_EVENT;
ngx_event_actions_t   ngx_event_actions;
ngx_rbtree_t          ngx_event_timer_rbtree;
volatile ngx_msec_t   ngx_current_msec;


void
ngx_rbtree_insert(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    (void) tree;
    (void) node;
}


void
ngx_rbtree_delete(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    (void) tree;
    (void) node;
}


static inline ngx_int_t
add_event(ngx_event_t *ev, ngx_int_t event, ngx_uint_t flags)
{
    (void) ev;
    (void) event;
    (void) flags;

    return NGX_OK;
}


ngx_connection_t *
ngx_get_connection(ngx_socket_t s, ngx_log_t *log)
{
    (void) log;

    ngx_memzero(&bell, sizeof(bell));
    ngx_memzero(&bell_read, sizeof(bell_read));
    ngx_memzero(&bell_write, sizeof(bell_write));

    bell.fd = s;
    bell.read = &bell_read;
    bell.write = &bell_write;
    bell_read.data = &bell;
    bell_write.data = &bell;

    return &bell;
}


void
ngx_free_connection(ngx_connection_t *c)
{
    (void) c;
}


void *
ngx_pcalloc(ngx_pool_t *pool, size_t size)
{
    (void) pool;

    free(pool_memory);

    pool_memory = calloc(1, size);

    return pool_memory;
}


ngx_int_t
ngx_memn2cmp(u_char *s1, u_char *s2, size_t n1, size_t n2)
{
    int  rc;

    rc = memcmp(s1, s2, ngx_min(n1, n2));

    return rc ? rc : (ngx_int_t) n1 - (ngx_int_t) n2;
}


void *
ngx_calloc(size_t size, ngx_log_t *log)
{
    void  *p;

    p = ngx_alloc(size, log);

    if (p) {
        ngx_memzero(p, size);
    }

    return p;
}


/* the zone is there; a worker begins in it, and another one */

static inline void
hub_start(void)
{
    ngx_queue_init(&ngx_posted_events);
    ngx_queue_init(&ngx_posted_next_events);

    ngx_event_actions.add = add_event;
    test_cycle.log = &test_log;

    enter(OTHER);

    test_alive[test_next_pid] = 1;
    test_pids[WORKER] = test_next_pid++;
    become(WORKER);

    if (ngx_ws_bus_hub_init(&test_zone, &test_cycle) != NGX_OK
        || test_zone.hub == NULL)
    {
        bug("no hub");
    }

    hub = test_zone.hub;
}


/* what the hub holds of the worker's memory when nobody is subscribed */

static inline void
hub_free(void)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&hub->free_debts)) {
        q = ngx_queue_head(&hub->free_debts);
        ngx_queue_remove(q);
        free(ngx_queue_data(q, ngx_ws_bus_debt_t, queue));
    }

    free(hub->channels);
}


#endif /* _HUB_H_INCLUDED_ */
