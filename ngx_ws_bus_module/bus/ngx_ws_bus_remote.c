
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_remote.h"


/*
 * What the bridge does to the zone.  It knows channels by their names: a node
 * may be swept, and made again, while it looks elsewhere.
 */


static void ngx_ws_bus_remote_append_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t type, ngx_uint_t follows,
    ngx_uint_t *rings, ngx_uint_t *n);
static void ngx_ws_bus_remote_reset_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, uint64_t epoch, const ngx_ws_bus_chain_t *chain,
    ngx_uint_t follows, ngx_uint_t *rings, ngx_uint_t *n);
static ngx_ws_bus_chain_link_t *ngx_ws_bus_remote_past_locked(
    ngx_ws_bus_zone_t *zone, const ngx_ws_bus_chain_t *chain);
static void ngx_ws_bus_remote_copy_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_remote_channel_t *ch);


ngx_int_t
ngx_ws_bus_remote_create(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_remote_sh_t  *remote;

    remote = ngx_slab_calloc(zone->shpool, sizeof(ngx_ws_bus_remote_sh_t));
    if (remote == NULL) {
        return NGX_ERROR;
    }

    remote->host = ngx_ws_bus_channel_epoch();

    zone->sh->remote = remote;

    return NGX_OK;
}


uint64_t
ngx_ws_bus_remote_take(ngx_ws_bus_zone_t *zone)
{
    uint64_t                 token;
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    ngx_ws_bus_zone_lock(zone);

    token = ++remote->token;

    remote->slot = ngx_process_slot;
    remote->generation = zone->generation;
    remote->pid = ngx_pid;

    ngx_ws_bus_zone_unlock(zone);

    return token;
}


void
ngx_ws_bus_remote_floor(ngx_ws_bus_zone_t *zone, uint64_t token)
{
    ngx_ws_bus_zone_lock(zone);

    if (zone->sh->remote->floor < token) {
        zone->sh->remote->floor = token;
    }

    ngx_ws_bus_zone_unlock(zone);
}


void
ngx_ws_bus_remote_leave(ngx_ws_bus_zone_t *zone, uint64_t token)
{
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    ngx_ws_bus_zone_lock(zone);

    if (remote->token == token) {
        remote->pid = 0;
        remote->floor = token + 1;
    }

    ngx_ws_bus_zone_unlock(zone);
}


ngx_uint_t
ngx_ws_bus_remote_orphan(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t               orphan;
    ngx_ws_bus_slot_t       *slot;
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    ngx_ws_bus_zone_lock(zone);

    slot = zone->sh->slots[remote->slot];

    orphan = (remote->pid == 0
              || slot == NULL
              || slot->pid != remote->pid
              || remote->generation < zone->generation);

    ngx_ws_bus_zone_unlock(zone);

    return orphan;
}


ngx_int_t
ngx_ws_bus_remote_next(ngx_ws_bus_zone_t *zone, uint64_t *cursor,
    ngx_ws_bus_remote_channel_t *ch)
{
    uint64_t                 id, hash;
    ngx_int_t                rc;
    ngx_ws_bus_node_t       *node;
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    /* it is looked at often, and mostly in vain */

    if (__atomic_load_n(&remote->wanted, __ATOMIC_ACQUIRE) == *cursor) {
        return NGX_DONE;
    }

    rc = NGX_DONE;

    ngx_ws_bus_zone_lock(zone);

    if (remote->wanted - *cursor > NGX_WS_BUS_REMOTE_RING) {
        *cursor = remote->wanted;
        rc = NGX_DECLINED;
    }

    while (rc == NGX_DONE && *cursor < remote->wanted) {

        id = remote->ring[*cursor % NGX_WS_BUS_REMOTE_RING].id;
        hash = remote->ring[*cursor % NGX_WS_BUS_REMOTE_RING].hash;

        (*cursor)++;

        for (node = zone->sh->nodes[hash & zone->sh->mask];
             node;
             node = node->next)
        {
            if (node->id == id) {
                ngx_ws_bus_remote_copy_locked(zone, node, ch);
                rc = NGX_OK;
                break;
            }
        }
    }

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_remote_walk(ngx_ws_bus_zone_t *zone, ngx_uint_t *bucket,
    ngx_uint_t *skip, ngx_ws_bus_remote_channel_t *chs, ngx_uint_t *n)
{
    ngx_int_t           rc;
    ngx_uint_t          i, looked;
    ngx_ws_bus_node_t  *node;

    *n = 0;
    rc = NGX_OK;

    ngx_ws_bus_zone_lock(zone);

    for (looked = 0; looked < 16 * NGX_WS_BUS_REMOTE_WALK; looked++) {

        if (*bucket > zone->sh->mask) {
            rc = NGX_DONE;
            break;
        }

        i = 0;

        for (node = zone->sh->nodes[*bucket]; node; node = node->next) {

            if (!ngx_ws_bus_channel_subscribers_locked(zone, node)
                || i++ < *skip)
            {
                continue;
            }

            if (*n == NGX_WS_BUS_REMOTE_WALK) {
                *skip = i - 1;
                goto done;
            }

            ngx_ws_bus_remote_copy_locked(zone, node, &chs[(*n)++]);
        }

        *skip = 0;
        (*bucket)++;
    }

done:

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_remote_look(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_ws_bus_remote_channel_t *ch)
{
    ngx_ws_bus_node_t  *node;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node) {
        ngx_ws_bus_remote_copy_locked(zone, node, ch);
    }

    ngx_ws_bus_zone_unlock(zone);

    return node ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_ws_bus_remote_place(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    uint64_t epoch, uint64_t seq, ngx_ws_bus_message_t *msg,
    ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_int_t             rc;
    ngx_ws_bus_node_t    *node;
    ngx_ws_bus_chain_t    none;
    ngx_ws_bus_record_t  *rec;

    *n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node == NULL) {
        rc = NGX_DECLINED;
        goto done;
    }

    if (!ngx_ws_bus_channel_subscribers_locked(zone, node)) {

        /* whoever comes next has to fetch it */

        if (seq && (node->epoch != epoch || seq > node->seq)) {
            ngx_ws_bus_remote_node(node)->live = 0;
        }

        rc = NGX_DECLINED;
        goto done;
    }

    if (seq) {

        if (node->epoch == 0 && node->seq == 0 && seq == 1) {

            /* nothing has ever been kept: the numbers begin here */

            none.n = 0;
            zone->sh->redo.to = 0;

            ngx_ws_bus_remote_reset_locked(zone, node, epoch, &none, 1, rings,
                                           n);
        }

        if (node->epoch != epoch || seq > node->seq + 1) {
            rc = NGX_AGAIN;
            goto done;
        }

        if (seq <= node->seq) {
            rc = NGX_DONE;
            goto done;
        }
    }

    rec = seq ? ngx_ws_bus_history_reserve_locked(zone, node, msg->len)
              : ngx_ws_bus_log_reserve(&zone->sh->log, msg->len);

    if (rec == NULL) {
        rc = NGX_ERROR;
        goto done;
    }

    if (seq == 0) {
        rec->prev = NGX_WS_BUS_LOG_NONE;
        rec->seq = 0;
    }

    rec->channel = node->id;
    rec->time = msg->time;
    rec->type = NGX_WS_BUS_REC_MESSAGE;
    rec->flags = msg->flags;

    if (msg->len) {
        ngx_memcpy((u_char *) rec + sizeof(ngx_ws_bus_record_t), msg->data,
                   msg->len);
    }

    node->touched = ngx_ws_bus_seconds(ngx_ws_bus_time());

    /* what is kept is not kept here: nobody's node may go */

    (void) ngx_ws_bus_channel_commit_locked(zone, node, NULL, rec, 0, rings,
                                            n);
    rc = NGX_OK;

done:

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_remote_lost(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    uint64_t seq, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_int_t           rc;
    ngx_ws_bus_node_t  *node;

    *n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node == NULL) {
        rc = NGX_DECLINED;

    } else if (seq <= node->seq) {
        rc = NGX_DONE;

    } else {
        zone->sh->redo.to = seq;

        ngx_ws_bus_remote_append_locked(zone, node, NGX_WS_BUS_REC_LOST, 0,
                                        rings, n);
        rc = NGX_OK;
    }

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_remote_reset(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    uint64_t epoch, uint64_t seq, const ngx_ws_bus_chain_t *chain,
    ngx_uint_t follows, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_int_t           rc;
    ngx_ws_bus_node_t  *node;

    *n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node == NULL) {
        rc = NGX_DECLINED;

    } else if (node->epoch == epoch && node->seq == seq) {
        rc = NGX_DONE;

    } else {
        zone->sh->redo.to = follows ? node->seq : seq;

        ngx_ws_bus_remote_reset_locked(zone, node, epoch, chain, follows,
                                       rings, n);
        rc = NGX_OK;
    }

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_int_t
ngx_ws_bus_remote_live(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    uint64_t token, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_ws_bus_node_t  *node;

    *n = 0;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node) {
        zone->sh->redo.epoch = token;

        ngx_ws_bus_remote_append_locked(zone, node, NGX_WS_BUS_REC_LIVE, 0,
                                        rings, n);
    }

    ngx_ws_bus_zone_unlock(zone);

    return node ? NGX_OK : NGX_DECLINED;
}


void
ngx_ws_bus_remote_dead(ngx_ws_bus_zone_t *zone, const ngx_str_t *name)
{
    ngx_ws_bus_node_t  *node;

    ngx_ws_bus_zone_lock(zone);

    node = ngx_ws_bus_channel_find_locked(zone, name);

    if (node) {
        ngx_ws_bus_remote_node(node)->live = 0;
    }

    ngx_ws_bus_zone_unlock(zone);
}


ngx_int_t
ngx_ws_bus_remote_deleted(ngx_ws_bus_zone_t *zone, const ngx_str_t *name,
    ngx_uint_t *rings, ngx_uint_t *n)
{
    return ngx_ws_bus_channel_delete(zone, name, rings, n);
}


/*
 * The epoch is another one, and zone->sh->redo.to is the newest message.  A
 * process killed here may leave what the node has known behind, some dozens
 * of bytes.
 */

static void
ngx_ws_bus_remote_reset_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, uint64_t epoch, const ngx_ws_bus_chain_t *chain,
    ngx_uint_t follows, ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_ws_bus_redo_t        *redo;
    ngx_ws_bus_chain_link_t  *old, *past;

    redo = &zone->sh->redo;
    old = ngx_ws_bus_remote_past(node);
    past = ngx_ws_bus_remote_past_locked(zone, chain);

    redo->epoch = epoch;
    redo->prev = (chain->n && past == NULL) ? chain->past[0].epoch : 0;
    redo->base = past ? (uint64_t) (uintptr_t) past
                      : (chain->n ? chain->past[0].base : 0);
    redo->last = follows ? node->last : NGX_WS_BUS_LOG_NONE;

    ngx_ws_bus_remote_append_locked(zone, node, NGX_WS_BUS_REC_RESET, follows,
                                    rings, n);

    if (old) {
        ngx_slab_free_locked(zone->shpool, old);
    }
}


/*
 * Memory for more than one epoch; without it all but the last are forgotten,
 * and no channel makes way for them.
 */

static ngx_ws_bus_chain_link_t *
ngx_ws_bus_remote_past_locked(ngx_ws_bus_zone_t *zone,
    const ngx_ws_bus_chain_t *chain)
{
    size_t                    size;
    ngx_ws_bus_chain_link_t  *past;

    if (chain->n < 2) {
        return NULL;
    }

    size = ngx_min(chain->n + 1, NGX_WS_BUS_CHAIN)
           * sizeof(ngx_ws_bus_chain_link_t);

    past = ngx_slab_calloc_locked(zone->shpool, size);

    if (past == NULL && size < NGX_WS_BUS_CELL) {
        past = ngx_slab_calloc_locked(zone->shpool, NGX_WS_BUS_CELL);
    }

    if (past) {
        ngx_memcpy(past, chain->past,
                   chain->n * sizeof(ngx_ws_bus_chain_link_t));
    }

    return past;
}


ngx_ws_bus_chain_link_t *
ngx_ws_bus_remote_past(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_remote_node_t  *rn;

    rn = ngx_ws_bus_remote_node(node);

    return rn->prev ? NULL
                    : (ngx_ws_bus_chain_link_t *) (uintptr_t) rn->base;
}


void
ngx_ws_bus_remote_chain_locked(ngx_ws_bus_node_t *node,
    ngx_ws_bus_chain_t *chain)
{
    ngx_uint_t                 i;
    ngx_ws_bus_chain_link_t   *past;
    ngx_ws_bus_remote_node_t  *rn;

    rn = ngx_ws_bus_remote_node(node);
    past = ngx_ws_bus_remote_past(node);

    chain->n = 0;

    if (past == NULL) {
        ngx_ws_bus_chain_append(chain, rn->prev, rn->base);
        return;
    }

    for (i = 0; i < NGX_WS_BUS_CHAIN && past[i].epoch; i++) {
        ngx_ws_bus_chain_append(chain, past[i].epoch, past[i].base);
    }
}


/*
 * A record without a message: what it says is in zone->sh->redo, too.
 */

static void
ngx_ws_bus_remote_append_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t type, ngx_uint_t follows,
    ngx_uint_t *rings, ngx_uint_t *n)
{
    ngx_ws_bus_redo_t           *redo;
    ngx_ws_bus_record_t         *rec;
    ngx_ws_bus_remote_record_t  *rr;

    redo = &zone->sh->redo;

    /* a small record fits into any log */

    rec = ngx_ws_bus_log_reserve(&zone->sh->log,
                                 sizeof(ngx_ws_bus_remote_record_t));

    rec->channel = node->id;
    rec->time = ngx_ws_bus_time();
    rec->type = type;
    rec->flags = 0;
    rec->prev = NGX_WS_BUS_LOG_NONE;
    rec->seq = 0;

    rr = (ngx_ws_bus_remote_record_t *) (rec + 1);

    rr->epoch = redo->epoch;
    rr->seq = redo->to;
    rr->follows = follows;

    (void) ngx_ws_bus_channel_commit_locked(zone, node, NULL, rec, 0, rings,
                                            n);
}


static void
ngx_ws_bus_remote_copy_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_remote_channel_t *ch)
{
    ch->id = node->id;
    ch->epoch = node->epoch;
    ch->seq = node->seq;
    ch->subscribers = ngx_ws_bus_channel_subscribers_locked(zone, node);
    ch->live = ngx_ws_bus_remote_is_live_locked(zone, node);
    ngx_ws_bus_remote_chain_locked(node, &ch->chain);

    ch->name.len = node->len;
    ch->name.data = ch->data;
    ngx_ws_bus_name_copy(ch->data, node->name, node->room, node->len);
}


ngx_uint_t
ngx_ws_bus_remote_is_live_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    uint64_t                 live;
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    if (remote->open) {
        return 1;
    }

    live = ngx_ws_bus_remote_node(node)->live;

    return live && live >= remote->floor;
}


/*
 * A request that is lost, since its process is killed here, is nobody's: the
 * others on the channel have made their own.
 */

void
ngx_ws_bus_remote_want_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    ngx_uint_t               i;
    ngx_ws_bus_remote_sh_t  *remote;

    remote = zone->sh->remote;

    i = remote->wanted % NGX_WS_BUS_REMOTE_RING;

    remote->ring[i].id = node->id;
    remote->ring[i].hash = node->hash;

    __atomic_store_n(&remote->wanted, remote->wanted + 1, __ATOMIC_RELEASE);
}
