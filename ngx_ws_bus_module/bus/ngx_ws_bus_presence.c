
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_presence.h"


/*
 * Somebody who may have left.
 */

typedef struct {
    ngx_queue_t           queue;
    ngx_msec_t            deadline;
    ngx_str_t             channel;
    ngx_str_t             member;
} ngx_ws_bus_leaver_t;


static ngx_ws_bus_member_t *ngx_ws_bus_presence_create_locked(
    ngx_ws_bus_zone_t *zone, ngx_str_t *member);
static void ngx_ws_bus_presence_destroy_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_member_t *m);
static ngx_uint_t ngx_ws_bus_presence_is(ngx_ws_bus_member_t *m,
    ngx_str_t *member);
static ngx_ws_bus_member_t *ngx_ws_bus_presence_find_locked(
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_uint_t slot);
static ngx_uint_t ngx_ws_bus_presence_count_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_uint_t *entries);
static void ngx_ws_bus_presence_wait(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_node_t *node, ngx_str_t *member);
static void ngx_ws_bus_presence_timer_handler(ngx_event_t *ev);
static void ngx_ws_bus_presence_left(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_leaver_t *leaver);
static void ngx_ws_bus_presence_forget_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member);
static int ngx_libc_cdecl ngx_ws_bus_presence_cmp(const void *one,
    const void *two);


ngx_int_t
ngx_ws_bus_presence_join(ngx_ws_bus_sub_t *sub, ngx_str_t *member)
{
    ngx_uint_t            n, entries;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_node_t    *node;
    ngx_ws_bus_zone_t    *zone;
    ngx_ws_bus_member_t  *m;

    static ngx_uint_t     rings[NGX_MAX_PROCESSES];

    hub = sub->group->channel->hub;
    node = sub->group->channel->node;
    zone = hub->zone;
    n = 0;

    ngx_ws_bus_zone_lock(zone);

    (void) ngx_ws_bus_presence_count_locked(zone, node, member, &entries);

    m = ngx_ws_bus_presence_find_locked(node, member, ngx_process_slot);

    if (m == NULL) {
        m = ngx_ws_bus_presence_create_locked(zone, member);

        if (m == NULL) {
            ngx_ws_bus_zone_unlock(zone);
            return NGX_DECLINED;
        }

        m->next = node->members;

        __atomic_store_n(&node->members, m, __ATOMIC_RELEASE);
    }

    m->count++;

    if (entries == 0) {
        ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_JOINED,
                                       member, rings, &n);
    }

    ngx_ws_bus_zone_unlock(zone);

    ngx_ws_bus_hub_ring(hub, rings, n);

    return NGX_OK;
}


void
ngx_ws_bus_presence_leave(ngx_ws_bus_sub_t *sub, ngx_str_t *member)
{
    ngx_uint_t            left, entries;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_node_t    *node;
    ngx_ws_bus_member_t  *m;

    hub = sub->group->channel->hub;
    node = sub->group->channel->node;
    left = 0;

    ngx_ws_bus_zone_lock(hub->zone);

    m = ngx_ws_bus_presence_find_locked(node, member, ngx_process_slot);

    if (m && m->count) {
        m->count--;
        left = !ngx_ws_bus_presence_count_locked(hub->zone, node, member,
                                                 &entries);
    }

    ngx_ws_bus_zone_unlock(hub->zone);

    if (left) {
        ngx_ws_bus_presence_wait(hub, node, member);
    }
}


/*
 * The node may go before the time is over: it is known by its name.
 */

static void
ngx_ws_bus_presence_wait(ngx_ws_bus_hub_t *hub, ngx_ws_bus_node_t *node,
    ngx_str_t *member)
{
    u_char               *p;
    ngx_ws_bus_leaver_t  *leaver;

    leaver = ngx_alloc(sizeof(ngx_ws_bus_leaver_t) + node->len + member->len,
                       hub->log);
    if (leaver == NULL) {
        return;
    }

    p = (u_char *) leaver + sizeof(ngx_ws_bus_leaver_t);

    leaver->channel.data = p;
    leaver->channel.len = node->len;
    p = ngx_ws_bus_name_copy(p, node->name, node->room, node->len);

    leaver->member.data = p;
    leaver->member.len = member->len;
    ngx_memcpy(p, member->data, member->len);

    leaver->deadline = ngx_current_msec + NGX_WS_BUS_LEAVE_TIME;

    ngx_queue_insert_tail(&hub->leavers, &leaver->queue);

    if (!hub->leave.timer_set) {
        ngx_add_timer(&hub->leave, NGX_WS_BUS_LEAVE_TIME);
    }
}


static void
ngx_ws_bus_presence_timer_handler(ngx_event_t *ev)
{
    ngx_queue_t          *q;
    ngx_msec_int_t        left;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_leaver_t  *leaver;

    hub = (ngx_ws_bus_hub_t *) ((u_char *) ev
                                - offsetof(ngx_ws_bus_hub_t, leave));

    while (!ngx_queue_empty(&hub->leavers)) {

        q = ngx_queue_head(&hub->leavers);
        leaver = ngx_queue_data(q, ngx_ws_bus_leaver_t, queue);

        left = (ngx_msec_int_t) (leaver->deadline - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        ngx_ws_bus_presence_left(hub, leaver);
    }
}


static void
ngx_ws_bus_presence_left(ngx_ws_bus_hub_t *hub, ngx_ws_bus_leaver_t *leaver)
{
    ngx_uint_t          n, entries;
    ngx_ws_bus_zone_t  *zone;
    ngx_ws_bus_node_t  *node;

    static ngx_uint_t   rings[NGX_MAX_PROCESSES];

    n = 0;
    zone = hub->zone;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, &leaver->channel);

    if (node
        && ngx_ws_bus_presence_count_locked(zone, node, &leaver->member,
                                            &entries)
           == 0
        && entries)
    {
        ngx_ws_bus_presence_forget_locked(zone, node, &leaver->member);

        ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_LEFT,
                                       &leaver->member, rings, &n);
    }

    ngx_ws_bus_zone_unlock(zone);

    ngx_ws_bus_hub_ring(hub, rings, n);

    ngx_queue_remove(&leaver->queue);
    ngx_free(leaver);
}


ngx_int_t
ngx_ws_bus_presence_list(ngx_ws_bus_zone_t *zone, ngx_str_t *channel,
    ngx_ws_bus_members_t *list, ngx_log_t *log)
{
    u_char               *p;
    size_t                size;
    ngx_uint_t            i, n;
    ngx_ws_bus_node_t    *node;
    ngx_ws_bus_member_t  *m;

    list->names = NULL;
    list->n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, channel);

    if (node == NULL) {
        ngx_ws_bus_zone_unlock(zone);
        return NGX_DECLINED;
    }

    n = 0;
    size = 0;

    /* also who has just left: nobody has been told of it yet */

    for (m = node->members; m; m = m->next) {
        if (zone->sh->slots[m->slot]->pid) {
            size += sizeof(ngx_str_t) + m->len;
            n++;
        }
    }

    if (n == 0) {
        ngx_ws_bus_zone_unlock(zone);
        return NGX_OK;
    }

    list->names = ngx_alloc(size, log);

    if (list->names == NULL) {
        ngx_ws_bus_zone_unlock(zone);
        return NGX_ERROR;
    }

    p = (u_char *) &list->names[n];
    n = 0;

    for (m = node->members; m; m = m->next) {
        if (zone->sh->slots[m->slot]->pid) {
            list->names[n].data = p;
            list->names[n].len = m->len;
            p = ngx_ws_bus_name_copy(p, m->name, NGX_WS_BUS_MEMBER_ROOM,
                                     m->len);
            n++;
        }
    }

    ngx_ws_bus_zone_unlock(zone);

    /* who is connected to several workers is there once */

    ngx_qsort(list->names, n, sizeof(ngx_str_t), ngx_ws_bus_presence_cmp);

    for (i = 0; i < n; i++) {
        if (i == 0 || ngx_ws_bus_presence_cmp(&list->names[list->n - 1],
                                              &list->names[i]))
        {
            list->names[list->n++] = list->names[i];
        }
    }

    return NGX_OK;
}


void
ngx_ws_bus_presence_init(ngx_ws_bus_hub_t *hub)
{
    ngx_queue_init(&hub->leavers);

    hub->leave.handler = ngx_ws_bus_presence_timer_handler;
    hub->leave.data = hub->deliver.data;
    hub->leave.log = hub->log;

    /*
     * Not cancelable: a worker that drains stays for whoever may come back to
     * another one.
     */
}


void
ngx_ws_bus_presence_exit(ngx_ws_bus_hub_t *hub)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&hub->leavers)) {
        q = ngx_queue_head(&hub->leavers);
        ngx_ws_bus_presence_left(hub, ngx_queue_data(q, ngx_ws_bus_leaver_t,
                                                     queue));
    }
}


void
ngx_ws_bus_presence_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    u_char                name[NGX_WS_BUS_MEMBER_MAX];
    ngx_str_t             member;
    ngx_uint_t            entries;
    ngx_ws_bus_member_t  *m, **prev;

    prev = &node->members;

    while (*prev) {
        m = *prev;

        if (m->slot != slot) {
            prev = &m->next;
            continue;
        }

        member.data = name;
        member.len = m->len;
        ngx_ws_bus_name_copy(name, m->name, NGX_WS_BUS_MEMBER_ROOM, m->len);

        *prev = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);

        if (ngx_ws_bus_presence_count_locked(zone, node, &member, &entries)) {
            continue;
        }

        /*
         * Other workers may have an entry of one who has just left; whoever
         * waited for the member to come back may have been the one killed.
         */

        ngx_ws_bus_presence_forget_locked(zone, node, &member);

        ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_LEFT,
                                       &member, NULL, NULL);

        prev = &node->members;
    }
}


void
ngx_ws_bus_presence_free_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_member_t  *m;

    while (node->members) {
        m = node->members;
        node->members = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);
    }
}


static ngx_ws_bus_member_t *
ngx_ws_bus_presence_create_locked(ngx_ws_bus_zone_t *zone, ngx_str_t *member)
{
    size_t                size;
    ngx_ws_bus_member_t  *m;

    size = offsetof(ngx_ws_bus_member_t, name) + member->len;

    m = ngx_ws_bus_room_alloc_locked(zone, ngx_min(size, NGX_WS_BUS_CELL));

    if (m == NULL) {
        return NULL;
    }

    if (ngx_ws_bus_name_write_locked(zone, m->name, NGX_WS_BUS_MEMBER_ROOM,
                                     member)
        != NGX_OK)
    {
        ngx_slab_free_locked(zone->shpool, m);
        return NULL;
    }

    m->slot = ngx_process_slot;
    m->len = member->len;

    return m;
}


static void
ngx_ws_bus_presence_destroy_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_member_t *m)
{
    ngx_ws_bus_name_free_locked(zone, m->name, NGX_WS_BUS_MEMBER_ROOM, m->len);
    ngx_slab_free_locked(zone->shpool, m);
}


static ngx_uint_t
ngx_ws_bus_presence_is(ngx_ws_bus_member_t *m, ngx_str_t *member)
{
    return ngx_ws_bus_name_is(m->name, NGX_WS_BUS_MEMBER_ROOM, m->len, member);
}


static ngx_ws_bus_member_t *
ngx_ws_bus_presence_find_locked(ngx_ws_bus_node_t *node, ngx_str_t *member,
    ngx_uint_t slot)
{
    ngx_ws_bus_member_t  *m;

    for (m = node->members; m; m = m->next) {
        if (m->slot == slot && ngx_ws_bus_presence_is(m, member)) {
            return m;
        }
    }

    return NULL;
}


/*
 * The number of the member's connections; *entries is how many entries there
 * are, those who have just left included.
 */

static ngx_uint_t
ngx_ws_bus_presence_count_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_uint_t *entries)
{
    ngx_uint_t            n;
    ngx_ws_bus_member_t  *m;

    n = 0;
    *entries = 0;

    for (m = node->members; m; m = m->next) {

        if (!ngx_ws_bus_presence_is(m, member)) {
            continue;
        }

        (*entries)++;

        if (zone->sh->slots[m->slot]->pid) {
            n += m->count;
        }
    }

    return n;
}


/*
 * Frees the member's entries, which have no connection any more.  One of a
 * slot whose process is gone goes with that slot.
 */

static void
ngx_ws_bus_presence_forget_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member)
{
    ngx_ws_bus_member_t  *m, **prev;

    prev = &node->members;

    while (*prev) {
        m = *prev;

        if (!ngx_ws_bus_presence_is(m, member)) {
            prev = &m->next;
            continue;
        }

        *prev = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);
    }
}


static int ngx_libc_cdecl
ngx_ws_bus_presence_cmp(const void *one, const void *two)
{
    const ngx_str_t  *a, *b;

    a = one;
    b = two;

    return (int) ngx_memn2cmp(a->data, b->data, a->len, b->len);
}
