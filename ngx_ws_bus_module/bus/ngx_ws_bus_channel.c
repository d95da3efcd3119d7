
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_once.h"
#include "ngx_ws_bus_presence.h"
#include "ngx_ws_bus_remote.h"


static ngx_ws_bus_node_t *ngx_ws_bus_channel_get_locked(
    ngx_ws_bus_zone_t *zone, const ngx_str_t *name);
static uint32_t ngx_ws_bus_channel_keep(uint64_t now, uint64_t age);
static void ngx_ws_bus_channel_apply_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);
static ngx_uint_t ngx_ws_bus_channel_notify_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, uint64_t pos, ngx_uint_t *rings, ngx_uint_t *n);
static void ngx_ws_bus_channel_recount_locked(ngx_ws_bus_zone_t *zone);
static void ngx_ws_bus_channel_view_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_view_t *view);


ngx_ws_bus_node_t *
ngx_ws_bus_channel_join(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_node_t      *node;
    ngx_ws_bus_interest_t  *in;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_get_locked(zone, name);
    if (node == NULL) {
        goto done;
    }

    for (in = node->interest; in; in = in->next) {
        if (in->slot == (uint32_t) ngx_process_slot) {
            break;
        }
    }

    if (in == NULL) {
        /* the node must not make way for what is allocated now */

        zone->pinned = node;
        in = ngx_ws_bus_room_alloc_locked(zone,
                                          sizeof(ngx_ws_bus_interest_t));
        zone->pinned = NULL;

        if (in == NULL) {
            node = NULL;
            goto done;
        }

        in->slot = ngx_process_slot;
        in->next = node->interest;
        node->interest = in;
    }

    in->count++;

    ngx_ws_bus_channel_view_locked(zone, node, view);

    if (!view->live) {
        ngx_ws_bus_remote_want_locked(zone, node);
    }

done:

    ngx_ws_bus_zone_unlock(zone);

    return node;
}


void
ngx_ws_bus_channel_part(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_interest_t  *in, **prev;

    ngx_ws_bus_zone_lock(zone);

    for (prev = &node->interest; *prev; prev = &in->next) {
        in = *prev;

        if (in->slot != (uint32_t) ngx_process_slot) {
            continue;
        }

        if (--in->count == 0) {
            *prev = in->next;
            ngx_slab_free_locked(zone->shpool, in);

            node->touched = ngx_ws_bus_seconds(ngx_ws_bus_time());
        }

        break;
    }

    ngx_ws_bus_zone_unlock(zone);
}


ngx_int_t
ngx_ws_bus_channel_publish(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node,
    const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_uint_t *rings, ngx_uint_t *n)
{
    uint32_t              keep;
    uint64_t              now;
    ngx_int_t             rc;
    ngx_ws_bus_once_t    *once;
    ngx_ws_bus_record_t  *rec;

    *n = 0;

    ngx_memzero(place, sizeof(ngx_ws_bus_place_t));

    rc = NGX_DECLINED;
    once = NULL;
    keep = 0;

    now = msg->time;

    ngx_ws_bus_zone_lock(zone);

    if (node == NULL) {
        node = ngx_ws_bus_channel_find_locked(zone, name);
    }

    if (msg->once) {
        once = ngx_ws_bus_once_get_locked(zone, node, msg->once, now);

        if (once == NULL) {
            goto done;
        }

        if (once->expires) {
            place->epoch = once->epoch;
            place->seq = once->seq;
            place->subscribers = once->subscribers;
            place->repeated = 1;

            rc = NGX_OK;
            goto done;
        }

        once->expires = now + NGX_WS_BUS_ONCE_TIME;
    }

    if (node == NULL && msg->keep) {
        node = ngx_ws_bus_channel_get_locked(zone, name);
    }

    if (node == NULL) {

        if (msg->keep) {
            goto failed;
        }

        /* nobody listens, and nothing is to be kept */

        if (once) {
            ngx_ws_bus_once_link_locked(zone, once);
        }

        rc = NGX_OK;
        goto done;
    }

    if (msg->keep) {
        rec = ngx_ws_bus_history_reserve_locked(zone, node, msg->len);

    } else {
        rec = ngx_ws_bus_log_reserve(&zone->sh->log, msg->len);
    }

    if (rec == NULL) {
        rc = NGX_ERROR;
        goto failed;
    }

    rec->channel = node->id;
    rec->time = now;
    rec->type = NGX_WS_BUS_REC_MESSAGE;
    rec->flags = msg->flags;

    ngx_memcpy((u_char *) rec + sizeof(ngx_ws_bus_record_t), msg->data,
               msg->len);

    if (!msg->keep) {
        rec->prev = NGX_WS_BUS_LOG_NONE;
        rec->seq = 0;

    } else {
        keep = ngx_ws_bus_channel_keep(now, msg->age);

        place->epoch = node->epoch;
        place->seq = rec->seq;
    }

    if (once) {
        once->epoch = place->epoch;
        once->seq = place->seq;
        once->subscribers = ngx_ws_bus_channel_subscribers_locked(zone, node);
    }

    node->touched = ngx_ws_bus_seconds(now);

    place->subscribers = ngx_ws_bus_channel_commit_locked(zone, node, once,
                                                          rec, keep, rings, n);

    ngx_ws_bus_zone_unlock(zone);

    return NGX_OK;

failed:

    if (once) {
        ngx_slab_free_locked(zone->shpool, once);
    }

done:

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_channel_delete(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_str_t                 none;
    ngx_ws_bus_node_t        *node;
    ngx_ws_bus_chain_link_t  *past;

    *n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node == NULL) {
        ngx_ws_bus_zone_unlock(zone);
        return NGX_DECLINED;
    }

    node->touched = ngx_ws_bus_seconds(ngx_ws_bus_time());
    past = zone->sh->remote ? ngx_ws_bus_remote_past(node) : NULL;

    ngx_str_null(&none);

    ngx_ws_bus_channel_tell_locked(zone, node, NGX_WS_BUS_REC_DELETED, &none,
                                   rings, n);

    if (past) {
        ngx_slab_free_locked(zone->shpool, past);
    }

    ngx_ws_bus_zone_unlock(zone);

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_channel_state(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_uint_t count, uint64_t age, ngx_ws_bus_state_t *state)
{
    uint64_t            oldest;
    ngx_ws_bus_view_t   view;
    ngx_ws_bus_node_t  *node;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node) {
        state->subscribers = ngx_ws_bus_channel_subscribers_locked(zone, node);
        ngx_ws_bus_channel_view_locked(zone, node, &view);
    }

    ngx_ws_bus_zone_unlock(zone);

    if (node == NULL) {
        return NGX_DECLINED;
    }

    oldest = ngx_ws_bus_channel_oldest(zone, &view, 0, count, age);

    state->epoch = view.epoch;
    state->seq = view.seq;
    state->messages = view.seq - oldest + 1;
    state->oldest = state->messages ? oldest : 0;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_channel_peek(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_node_t  *node;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node) {
        ngx_ws_bus_channel_view_locked(zone, node, view);
    }

    ngx_ws_bus_zone_unlock(zone);

    return node ? NGX_OK : NGX_DECLINED;
}


void
ngx_ws_bus_channel_view(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node,
    ngx_ws_bus_view_t *view)
{
    ngx_ws_bus_zone_lock(zone);

    ngx_ws_bus_channel_view_locked(zone, node, view);

    ngx_ws_bus_zone_unlock(zone);
}


void
ngx_ws_bus_channel_tell_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t type, ngx_str_t *payload,
    ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_ws_bus_record_t  *rec;

    /* a small record fits into any log */

    rec = ngx_ws_bus_log_reserve(&zone->sh->log, payload->len);

    rec->channel = node->id;
    rec->time = ngx_ws_bus_time();
    rec->type = type;
    rec->flags = 0;
    rec->prev = NGX_WS_BUS_LOG_NONE;
    rec->seq = (type == NGX_WS_BUS_REC_DELETED && zone->sh->remote == NULL)
               ? ngx_ws_bus_channel_epoch() : 0;

    if (payload->len) {
        ngx_memcpy((u_char *) rec + sizeof(ngx_ws_bus_record_t),
                   payload->data, payload->len);
    }

    (void) ngx_ws_bus_channel_commit_locked(zone, node, NULL, rec, 0, rings,
                                            n);
}


/*
 * Makes a reserved record visible and does what belongs to it.
 */

ngx_uint_t
ngx_ws_bus_channel_commit_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_once_t *once,
    ngx_ws_bus_record_t *rec, uint32_t keep, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_ws_bus_redo_t  *redo;

    redo = &zone->sh->redo;

    redo->once = once;
    redo->pos = rec->pos;
    redo->seq = rec->seq;
    redo->keep = keep;
    redo->type = rec->type;

    __atomic_store_n(&redo->node, node, __ATOMIC_RELEASE);

    ngx_ws_bus_log_commit(&zone->sh->log, rec);

    return ngx_ws_bus_channel_redo_locked(zone, rings, n);
}


ngx_uint_t
ngx_ws_bus_channel_redo_locked(ngx_ws_bus_zone_t *zone, ngx_uint_t *rings,
    ngx_uint_t *n)
{
    ngx_uint_t          subscribers;
    ngx_ws_bus_node_t  *node;
    ngx_ws_bus_redo_t  *redo;

    redo = &zone->sh->redo;
    node = redo->node;
    subscribers = 0;

    /* without its record, an append has not happened */

    if (redo->pos < ngx_ws_bus_log_head(&zone->sh->log)) {

        ngx_ws_bus_channel_apply_locked(zone, node);

        if (redo->once) {
            ngx_ws_bus_once_link_locked(zone, redo->once);
        }

        subscribers = ngx_ws_bus_channel_notify_locked(zone, node, redo->pos,
                                                       rings, n);
    }

    __atomic_store_n(&redo->node, NULL, __ATOMIC_RELEASE);

    return subscribers;
}


/*
 * What the record of zone->sh->redo makes of its channel; may be repeated.
 */

static void
ngx_ws_bus_channel_apply_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_redo_t         *redo;
    ngx_ws_bus_remote_node_t  *rn;

    redo = &zone->sh->redo;

    switch (redo->type) {

    case NGX_WS_BUS_REC_DELETED:
        node->epoch = redo->seq;
        node->last = NGX_WS_BUS_LOG_NONE;
        node->linked = NGX_WS_BUS_LOG_NONE;
        node->seq = 0;
        node->keep = 0;

        if (zone->sh->remote) {
            ngx_memzero(ngx_ws_bus_remote_node(node),
                        sizeof(ngx_ws_bus_remote_node_t));
        }

        break;

    case NGX_WS_BUS_REC_LOST:
        node->last = NGX_WS_BUS_LOG_NONE;
        node->linked = NGX_WS_BUS_LOG_NONE;
        node->seq = redo->to;
        break;

    case NGX_WS_BUS_REC_RESET:
        rn = ngx_ws_bus_remote_node(node);
        rn->prev = redo->prev;
        rn->base = redo->base;

        node->epoch = redo->epoch;
        node->seq = redo->to;

        if (redo->last == NGX_WS_BUS_LOG_NONE) {
            node->last = NGX_WS_BUS_LOG_NONE;
            node->linked = NGX_WS_BUS_LOG_NONE;
        }

        node->keep = 0;
        break;

    case NGX_WS_BUS_REC_LIVE:
        ngx_ws_bus_remote_node(node)->live = redo->epoch;
        break;

    default: /* NGX_WS_BUS_REC_MESSAGE, of presence */

        if (redo->seq) {
            node->last = redo->pos;
            node->seq = redo->seq;
            node->keep = redo->keep;

            if (redo->seq % NGX_WS_BUS_HISTORY_STEP == 0) {
                node->linked = redo->pos;
            }
        }
    }
}


ngx_int_t
ngx_ws_bus_channel_disown_locked(ngx_ws_bus_zone_t *zone, ngx_uint_t slot,
    ngx_uint_t *bucket)
{
    ngx_uint_t              n, work;
    ngx_ws_bus_node_t      *node;
    ngx_ws_bus_interest_t  *in, **prev;

    work = 0;

    for ( /* void */ ; *bucket <= zone->sh->mask; (*bucket)++) {

        for (node = zone->sh->nodes[*bucket]; node; node = node->next) {

            prev = &node->interest;

            while (*prev) {
                in = *prev;

                if (in->slot != slot) {
                    prev = &in->next;
                    continue;
                }

                *prev = in->next;
                ngx_slab_free_locked(zone->shpool, in);
            }

            n = ngx_ws_bus_presence_disown_locked(zone, node, slot);
            work += n;

            /* there may be more of it in this bucket */

            if (n && work >= NGX_WS_BUS_PRESENCE_SLICE) {
                return NGX_AGAIN;
            }
        }
    }

    ngx_ws_bus_channel_recount_locked(zone);
    ngx_ws_bus_once_recount_locked(zone);

    return NGX_OK;
}


static void
ngx_ws_bus_channel_recount_locked(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t          i, n;
    ngx_ws_bus_node_t  *node;

    n = 0;

    for (i = 0; i <= zone->sh->mask; i++) {
        for (node = zone->sh->nodes[i]; node; node = node->next) {
            n++;
        }
    }

    zone->sh->channels = n;
}


ngx_ws_bus_node_t *
ngx_ws_bus_channel_find_locked(ngx_ws_bus_zone_t *zone, const ngx_str_t *name)
{
    uint32_t            hash;
    ngx_ws_bus_node_t  *node;

    hash = ngx_murmur_hash2(name->data, name->len);

    for (node = zone->sh->nodes[hash & zone->sh->mask];
         node;
         node = node->next)
    {
        if (node->hash == hash && ngx_ws_bus_node_is(node, name)) {
            return node;
        }
    }

    return NULL;
}


static ngx_ws_bus_node_t *
ngx_ws_bus_channel_get_locked(ngx_ws_bus_zone_t *zone, const ngx_str_t *name)
{
    ngx_ws_bus_node_t     *node, **bucket;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;

    node = ngx_ws_bus_channel_find_locked(zone, name);
    if (node) {
        return node;
    }

    /* every new channel pays for a look at two buckets */

    (void) ngx_ws_bus_room_sweep_locked(zone, 0);
    (void) ngx_ws_bus_room_sweep_locked(zone, 0);

    node = ngx_ws_bus_room_alloc_locked(zone, sizeof(ngx_ws_bus_node_t));
    if (node == NULL) {
        return NULL;
    }

    node->room = NGX_WS_BUS_NODE_NAME
                 - (sh->remote ? sizeof(ngx_ws_bus_remote_node_t) : 0);

    if (ngx_ws_bus_name_write_locked(zone, node->name, node->room, name)
        != NGX_OK)
    {
        ngx_slab_free_locked(zone->shpool, node);
        return NULL;
    }

    node->id = ++sh->next_id;
    node->epoch = sh->remote ? 0 : ngx_ws_bus_channel_epoch();
    node->last = NGX_WS_BUS_LOG_NONE;
    node->linked = NGX_WS_BUS_LOG_NONE;
    node->touched = ngx_ws_bus_seconds(ngx_ws_bus_time());
    node->hash = ngx_murmur_hash2(name->data, name->len);
    node->len = name->len;

    bucket = &sh->nodes[node->hash & sh->mask];

    node->next = *bucket;

    __atomic_store_n(bucket, node, __ATOMIC_RELEASE);

    sh->channels++;

    return node;
}


void
ngx_ws_bus_node_name(ngx_ws_bus_node_t *node, ngx_str_t *name)
{
    static u_char  buf[NGX_WS_BUS_CHANNEL_MAX];

    name->len = node->len;
    name->data = node->name;

    if (node->len > node->room) {
        name->data = buf;
        ngx_ws_bus_name_copy(buf, node->name, node->room, node->len);
    }
}


ngx_uint_t
ngx_ws_bus_node_is(ngx_ws_bus_node_t *node, const ngx_str_t *name)
{
    return ngx_ws_bus_name_is(node->name, node->room, node->len, name);
}


/*
 * When a message that is kept so long is too old, in seconds.
 */

static uint32_t
ngx_ws_bus_channel_keep(uint64_t now, uint64_t age)
{
    uint64_t  keep;

    keep = (now + age) / 1000000 + 1;

    return (age && keep < (uint32_t) -1) ? (uint32_t) keep : (uint32_t) -1;
}


/*
 * Marks the slots that have subscribers as pending and gathers those that
 * were not yet.  Returns the number of subscribers.
 */

static ngx_uint_t
ngx_ws_bus_channel_notify_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, uint64_t pos, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_uint_t              subscribers, fenced;
    ngx_ws_bus_slot_t      *slot;
    ngx_ws_bus_interest_t  *in;

    subscribers = 0;
    fenced = 0;

    for (in = node->interest; in; in = in->next) {

        slot = zone->sh->slots[in->slot];

        if (slot->pid == 0) {
            continue;
        }

        subscribers += in->count;

        /*
         * The head is written before another process's flag is read: see
         * ngx_ws_bus_hub_read().
         */

        if (!fenced && in->slot != (uint32_t) ngx_process_slot) {
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            fenced = 1;
        }

        if (__atomic_load_n(&slot->pending, __ATOMIC_ACQUIRE)) {
            continue;
        }

        slot->from = pos;

        __atomic_store_n(&slot->pending, 1, __ATOMIC_RELEASE);

        if (rings) {
            rings[(*n)++] = in->slot;
        }
    }

    return subscribers;
}


ngx_uint_t
ngx_ws_bus_channel_subscribers_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    ngx_uint_t              subscribers;
    ngx_ws_bus_interest_t  *in;

    subscribers = 0;

    for (in = node->interest; in; in = in->next) {
        if (zone->sh->slots[in->slot]->pid) {
            subscribers += in->count;
        }
    }

    return subscribers;
}


static void
ngx_ws_bus_channel_view_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_view_t *view)
{
    view->id = node->id;
    view->epoch = node->epoch;
    view->seq = node->seq;
    view->last = node->last;
    view->linked = node->linked;
    view->head = ngx_ws_bus_log_head(&zone->sh->log);

    if (zone->sh->remote == NULL) {
        view->chain.n = 0;
        view->live = 1;
        return;
    }

    view->live = ngx_ws_bus_remote_is_live_locked(zone, node);
    ngx_ws_bus_remote_chain_locked(node, &view->chain);
}


uint64_t
ngx_ws_bus_channel_epoch(void)
{
    return ((uint64_t) ngx_random() << 32)
           ^ (ngx_ws_bus_time() << 12)
           ^ (uint64_t) ngx_random();
}
