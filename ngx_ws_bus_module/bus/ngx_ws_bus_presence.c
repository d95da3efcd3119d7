
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


/*
 * What the zone knows of one member of a channel.
 */

typedef struct {
    ngx_ws_bus_member_t  *own;          /* this process's entry, or NULL */
    ngx_uint_t            entries;      /* of who has just left as well */
    ngx_uint_t            connections;
} ngx_ws_bus_known_t;


/*
 * Entries of a slot whose process is gone, in the order of the list.
 */

typedef struct {
    ngx_ws_bus_member_t  *entry;
    uint32_t              next;         /* in the bucket, + 1; 0: the last */
    uint32_t              stays;        /* is connected to other processes */
} ngx_ws_bus_goner_t;

typedef struct {
    ngx_uint_t            n;
    ngx_uint_t            others;       /* entries of those who do not stay */
    uint32_t              buckets[NGX_WS_BUS_PRESENCE_SLICE];
    ngx_ws_bus_goner_t    goners[NGX_WS_BUS_PRESENCE_SLICE];
} ngx_ws_bus_goners_t;


static ngx_ws_bus_member_t *ngx_ws_bus_presence_create_locked(
    ngx_ws_bus_zone_t *zone, ngx_str_t *member);
static void ngx_ws_bus_presence_destroy_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_member_t *m);
static uint16_t ngx_ws_bus_presence_hash(ngx_str_t *member);
static void ngx_ws_bus_presence_look_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_ws_bus_known_t *known);
static void ngx_ws_bus_presence_wait(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_node_t *node, ngx_str_t *member);
static void ngx_ws_bus_presence_timer_handler(ngx_event_t *ev);
static void ngx_ws_bus_presence_left(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_leaver_t *leaver);
static void ngx_ws_bus_presence_forget_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_ws_bus_member_t *except,
    ngx_uint_t n);
static void ngx_ws_bus_presence_gather_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_node_t *node, ngx_uint_t slot);
static void ngx_ws_bus_presence_ask_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot);
static void ngx_ws_bus_presence_clear_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot);
static void ngx_ws_bus_presence_let_go_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot);
static ngx_ws_bus_goner_t *ngx_ws_bus_presence_goner(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_member_t *m);
static void ngx_ws_bus_presence_name(ngx_ws_bus_member_t *m, u_char *buf,
    ngx_str_t *name);
static int ngx_libc_cdecl ngx_ws_bus_presence_cmp(const void *one,
    const void *two);


/* names differ in it before they are looked at */

#define ngx_ws_bus_presence_is(m, h, member)                                  \
    ((m)->hash == (h)                                                         \
     && ngx_ws_bus_name_is((m)->name, NGX_WS_BUS_MEMBER_ROOM, (m)->len,       \
                           member))


ngx_int_t
ngx_ws_bus_presence_join(ngx_ws_bus_sub_t *sub, ngx_str_t *member)
{
    ngx_uint_t            n;
    ngx_ws_bus_hub_t     *hub;
    ngx_ws_bus_node_t    *node;
    ngx_ws_bus_zone_t    *zone;
    ngx_ws_bus_known_t    known;
    ngx_ws_bus_member_t  *m;

    static ngx_uint_t     rings[NGX_MAX_PROCESSES];

    hub = sub->group->channel->hub;
    node = sub->group->channel->node;
    zone = hub->zone;
    n = 0;

    ngx_ws_bus_zone_lock(zone);

    ngx_ws_bus_presence_look_locked(zone, node, member, &known);

    m = known.own;

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

    if (known.entries == 0) {
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
    ngx_uint_t           left;
    ngx_ws_bus_hub_t    *hub;
    ngx_ws_bus_node_t   *node;
    ngx_ws_bus_known_t   known;

    hub = sub->group->channel->hub;
    node = sub->group->channel->node;
    left = 0;

    ngx_ws_bus_zone_lock(hub->zone);

    ngx_ws_bus_presence_look_locked(hub->zone, node, member, &known);

    if (known.own && known.own->count) {
        known.own->count--;
        left = (known.connections <= 1);
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
    ngx_uint_t           n, others;
    ngx_ws_bus_zone_t   *zone;
    ngx_ws_bus_node_t   *node;
    ngx_ws_bus_known_t   known;

    static ngx_uint_t    rings[NGX_MAX_PROCESSES];

    n = 0;
    known.entries = 0;
    zone = hub->zone;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, &leaver->channel);

    if (node) {
        ngx_ws_bus_presence_look_locked(zone, node, &leaver->member, &known);
    }

    if (known.entries && known.connections == 0) {

        /* the own entry goes last: by it a successor knows what is left */

        others = known.entries - (known.own != NULL);

        ngx_ws_bus_presence_forget_locked(zone, node, &leaver->member,
                                          known.own, others);

        ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_LEFT,
                                       &leaver->member, rings, &n);

        ngx_ws_bus_presence_forget_locked(zone, node, &leaver->member, NULL,
                                          known.entries - others);
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


ngx_uint_t
ngx_ws_bus_presence_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    static ngx_ws_bus_goners_t  goners;

    ngx_ws_bus_presence_gather_locked(&goners, node, slot);

    if (goners.n == 0) {
        return 0;
    }

    ngx_ws_bus_presence_ask_locked(&goners, zone, node, slot);

    if (goners.others) {
        ngx_ws_bus_presence_clear_locked(&goners, zone, node, slot);
    }

    ngx_ws_bus_presence_let_go_locked(&goners, zone, node, slot);

    return goners.n;
}


static void
ngx_ws_bus_presence_gather_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    uint32_t             *bucket;
    ngx_ws_bus_goner_t   *goner;
    ngx_ws_bus_member_t  *m;

    g->n = 0;
    g->others = 0;

    for (m = node->members; m; m = m->next) {

        if (m->slot != slot) {
            continue;
        }

        if (g->n == 0) {
            ngx_memzero(g->buckets, sizeof(g->buckets));
        }

        bucket = &g->buckets[m->hash % NGX_WS_BUS_PRESENCE_SLICE];

        goner = &g->goners[g->n++];
        goner->entry = m;
        goner->next = *bucket;
        goner->stays = 0;

        *bucket = g->n;

        if (g->n == NGX_WS_BUS_PRESENCE_SLICE) {
            break;
        }
    }
}


/*
 * Who is connected to another process?
 */

static void
ngx_ws_bus_presence_ask_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    ngx_ws_bus_goner_t   *goner;
    ngx_ws_bus_member_t  *m;

    for (m = node->members; m; m = m->next) {

        if (m->slot == slot) {
            continue;
        }

        goner = ngx_ws_bus_presence_goner(g, m);

        if (goner == NULL) {
            continue;
        }

        if (m->count && zone->sh->slots[m->slot]->pid) {
            goner->stays = 1;

        } else {
            g->others++;
        }
    }
}


/*
 * Other processes may have an entry of one who has just left; whoever waited
 * for the member to come back may have been the one killed.  These go first:
 * as long as the entry of the slot is there, whoever is killed here leaves
 * all of that to the next one.
 */

static void
ngx_ws_bus_presence_clear_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    ngx_ws_bus_goner_t   *goner;
    ngx_ws_bus_member_t  *m, **prev;

    prev = &node->members;

    while (*prev) {
        m = *prev;

        goner = (m->slot != slot) ? ngx_ws_bus_presence_goner(g, m) : NULL;

        if (goner == NULL || goner->stays) {
            prev = &m->next;
            continue;
        }

        *prev = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);
    }
}


/*
 * Whoever is killed in between leaves somebody to be told of twice, not one
 * whom nobody has been told of.
 */

static void
ngx_ws_bus_presence_let_go_locked(ngx_ws_bus_goners_t *g,
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    u_char                buf[NGX_WS_BUS_MEMBER_MAX];
    ngx_str_t             name;
    ngx_uint_t            i;
    ngx_ws_bus_member_t  *m, **prev;

    i = 0;
    prev = &node->members;

    while (i < g->n) {
        m = *prev;

        if (m->slot != slot) {
            prev = &m->next;
            continue;
        }

        if (!g->goners[i++].stays) {
            ngx_ws_bus_presence_name(m, buf, &name);
            ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_LEFT,
                                           &name, NULL, NULL);
        }

        *prev = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);
    }
}


static ngx_ws_bus_goner_t *
ngx_ws_bus_presence_goner(ngx_ws_bus_goners_t *g, ngx_ws_bus_member_t *m)
{
    u_char               buf[NGX_WS_BUS_MEMBER_MAX];
    uint32_t             i;
    ngx_str_t            name;
    ngx_ws_bus_goner_t  *goner;

    for (i = g->buckets[m->hash % NGX_WS_BUS_PRESENCE_SLICE];
         i;
         i = goner->next)
    {
        goner = &g->goners[i - 1];

        if (goner->entry->hash != m->hash || goner->entry->len != m->len) {
            continue;
        }

        ngx_ws_bus_presence_name(m, buf, &name);

        if (ngx_ws_bus_presence_is(goner->entry, m->hash, &name)) {
            return goner;
        }
    }

    return NULL;
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
    m->hash = ngx_ws_bus_presence_hash(member);
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


static uint16_t
ngx_ws_bus_presence_hash(ngx_str_t *member)
{
    return (uint16_t) ngx_murmur_hash2(member->data, member->len);
}


static void
ngx_ws_bus_presence_name(ngx_ws_bus_member_t *m, u_char *buf, ngx_str_t *name)
{
    name->data = buf;
    name->len = m->len;

    ngx_ws_bus_name_copy(buf, m->name, NGX_WS_BUS_MEMBER_ROOM, m->len);
}


static void
ngx_ws_bus_presence_look_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_ws_bus_known_t *known)
{
    uint16_t              hash;
    ngx_ws_bus_member_t  *m;

    ngx_memzero(known, sizeof(ngx_ws_bus_known_t));

    hash = ngx_ws_bus_presence_hash(member);

    for (m = node->members; m; m = m->next) {

        if (!ngx_ws_bus_presence_is(m, hash, member)) {
            continue;
        }

        known->entries++;

        if (zone->sh->slots[m->slot]->pid) {
            known->connections += m->count;
        }

        if (m->slot == (ngx_uint_t) ngx_process_slot) {
            known->own = m;
        }
    }
}


/*
 * Frees n entries of the member, which has no connection any more, but not
 * "except".
 */

static void
ngx_ws_bus_presence_forget_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_str_t *member, ngx_ws_bus_member_t *except,
    ngx_uint_t n)
{
    uint16_t              hash;
    ngx_ws_bus_member_t  *m, **prev;

    hash = ngx_ws_bus_presence_hash(member);
    prev = &node->members;

    while (n && *prev) {
        m = *prev;

        if (m == except || !ngx_ws_bus_presence_is(m, hash, member)) {
            prev = &m->next;
            continue;
        }

        *prev = m->next;
        ngx_ws_bus_presence_destroy_locked(zone, m);
        n--;
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
