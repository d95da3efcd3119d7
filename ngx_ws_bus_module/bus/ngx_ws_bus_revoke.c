
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_sha1.h>

#include "ngx_ws_bus_revoke.h"


static void ngx_ws_bus_revoke_digest(u_char *digest, ngx_uint_t kind,
    const ngx_str_t *value);
static uint32_t *ngx_ws_bus_revoke_bucket(ngx_ws_bus_zone_t *zone,
    u_char *digest);
static ngx_ws_bus_revoked_t *ngx_ws_bus_revoke_find_locked(
    ngx_ws_bus_zone_t *zone, u_char *digest);
static ngx_int_t ngx_ws_bus_revoke_add_locked(ngx_ws_bus_zone_t *zone,
    u_char *digest, int64_t time, int64_t expires, int64_t now);
static ngx_ws_bus_revoked_t *ngx_ws_bus_revoke_free_locked(
    ngx_ws_bus_zone_t *zone, int64_t now);
static void ngx_ws_bus_revoke_tell_locked(ngx_ws_bus_zone_t *zone,
    const ngx_ws_bus_revocation_t *rev, ngx_uint_t *rings, ngx_uint_t *n);


ngx_uint_t
ngx_ws_bus_revoke_max(size_t size)
{
    ngx_uint_t  n;

    for (n = 32; n < size / 4096; n <<= 1) { /* void */ }

    return n;
}


ngx_int_t
ngx_ws_bus_revoke_create(ngx_ws_bus_zone_t *zone)
{
    ngx_uint_t             n;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;
    n = ngx_ws_bus_revoke_max(zone->shm_zone->shm.size);

    sh->max_revoked = n;
    sh->revoked = ngx_slab_calloc(zone->shpool,
                                  n * sizeof(ngx_ws_bus_revoked_t));
    sh->revoked_heads = ngx_slab_calloc(zone->shpool, n * sizeof(uint32_t));

    return (sh->revoked && sh->revoked_heads) ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_ws_bus_revoke(ngx_ws_bus_zone_t *zone, const ngx_ws_bus_revocation_t *rev,
    int64_t expires, ngx_uint_t *rings, ngx_uint_t *n)
{
    u_char     digest[NGX_WS_BUS_REVOKE_DIGEST];
    ngx_int_t  rc;

    *n = 0;

    ngx_ws_bus_revoke_digest(digest, rev->kind, &rev->value);

    ngx_ws_bus_zone_lock(zone);

    rc = ngx_ws_bus_revoke_add_locked(zone, digest, rev->time, expires,
                                      rev->time);
    if (rc == NGX_OK) {
        ngx_ws_bus_revoke_tell_locked(zone, rev, rings, n);
    }

    ngx_ws_bus_zone_unlock(zone);

    return rc;
}


ngx_uint_t
ngx_ws_bus_revoked(ngx_ws_bus_zone_t *zone, ngx_uint_t kind,
    const ngx_str_t *value, int64_t iat, int64_t now)
{
    u_char                 digest[NGX_WS_BUS_REVOKE_DIGEST];
    ngx_uint_t             revoked;
    ngx_ws_bus_revoked_t  *r;

    if (__atomic_load_n(&zone->sh->revocations, __ATOMIC_ACQUIRE) == 0) {
        return 0;
    }

    ngx_ws_bus_revoke_digest(digest, kind, value);

    ngx_ws_bus_zone_lock(zone);

    r = ngx_ws_bus_revoke_find_locked(zone, digest);

    revoked = r && now < r->expires
              && (kind == NGX_WS_BUS_REVOKE_JTI || iat <= r->time);

    ngx_ws_bus_zone_unlock(zone);

    return revoked;
}


static void
ngx_ws_bus_revoke_digest(u_char *digest, ngx_uint_t kind,
    const ngx_str_t *value)
{
    u_char      c;
    ngx_sha1_t  sha1;

    c = (u_char) kind;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, &c, 1);
    ngx_sha1_update(&sha1, value->data, value->len);
    ngx_sha1_final(digest, &sha1);
}


static uint32_t *
ngx_ws_bus_revoke_bucket(ngx_ws_bus_zone_t *zone, u_char *digest)
{
    uint32_t  n;

    ngx_memcpy(&n, digest, sizeof(uint32_t));

    return &zone->sh->revoked_heads[n & (zone->sh->max_revoked - 1)];
}


static ngx_ws_bus_revoked_t *
ngx_ws_bus_revoke_find_locked(ngx_ws_bus_zone_t *zone, u_char *digest)
{
    uint32_t               n;
    ngx_ws_bus_revoked_t  *r;

    for (n = *ngx_ws_bus_revoke_bucket(zone, digest); n; n = r->next) {

        r = &zone->sh->revoked[n - 1];

        if (ngx_memcmp(r->digest, digest, NGX_WS_BUS_REVOKE_DIGEST) == 0) {
            return r;
        }
    }

    return NULL;
}


/*
 * An entry is whole before the single store that links it: a process may be
 * killed at any moment.
 */

static ngx_int_t
ngx_ws_bus_revoke_add_locked(ngx_ws_bus_zone_t *zone, u_char *digest,
    int64_t time, int64_t expires, int64_t now)
{
    uint32_t              *head;
    ngx_ws_bus_revoked_t  *r;

    r = ngx_ws_bus_revoke_find_locked(zone, digest);

    if (r && now < r->expires) {
        r->time = ngx_max(r->time, time);
        r->expires = ngx_max(r->expires, expires);
        return NGX_OK;
    }

    r = ngx_ws_bus_revoke_free_locked(zone, now);
    if (r == NULL) {
        return NGX_DECLINED;
    }

    head = ngx_ws_bus_revoke_bucket(zone, digest);

    ngx_memcpy(r->digest, digest, NGX_WS_BUS_REVOKE_DIGEST);
    r->time = time;
    r->next = *head;
    r->expires = expires;

    /* from the first one on, tokens are looked up */

    __atomic_store_n(&zone->sh->revocations, zone->sh->revocations + 1,
                     __ATOMIC_RELEASE);
    __atomic_store_n(head, r - zone->sh->revoked + 1, __ATOMIC_RELEASE);

    return NGX_OK;
}


/*
 * An entry that was never used, or that has expired and is unlinked then.
 */

static ngx_ws_bus_revoked_t *
ngx_ws_bus_revoke_free_locked(ngx_ws_bus_zone_t *zone, int64_t now)
{
    uint32_t               *n;
    ngx_uint_t              i;
    ngx_ws_bus_revoked_t   *r;
    ngx_ws_bus_zone_sh_t   *sh;

    sh = zone->sh;

    for (i = 0; i < sh->max_revoked; i++) {

        r = &sh->revoked[sh->revoked_hand++ & (sh->max_revoked - 1)];

        if (now < r->expires) {
            continue;
        }

        if (r->expires == 0) {
            return r;
        }

        for (n = ngx_ws_bus_revoke_bucket(zone, r->digest);
             *n;
             n = &sh->revoked[*n - 1].next)
        {
            if (&sh->revoked[*n - 1] == r) {
                __atomic_store_n(n, r->next, __ATOMIC_RELEASE);
                break;
            }
        }

        return r;
    }

    return NULL;
}


static void
ngx_ws_bus_revoke_tell_locked(ngx_ws_bus_zone_t *zone,
    const ngx_ws_bus_revocation_t *rev, ngx_uint_t *rings, ngx_uint_t *n)
{
    u_char                    *p;
    ngx_ws_bus_record_t       *rec;
    ngx_ws_bus_revoke_head_t   head;

    /* a small record fits into any log */

    rec = ngx_ws_bus_log_reserve(&zone->sh->log, sizeof(head)
                                                 + rev->value.len);

    rec->channel = 0;
    rec->time = ngx_ws_bus_time();
    rec->type = NGX_WS_BUS_REC_REVOKED;
    rec->flags = 0;
    rec->prev = NGX_WS_BUS_LOG_NONE;
    rec->seq = 0;

    head.time = rev->time;
    head.kind = rev->kind;

    p = ngx_cpymem((u_char *) rec + sizeof(ngx_ws_bus_record_t), &head,
                   sizeof(head));
    ngx_memcpy(p, rev->value.data, rev->value.len);

    zone->sh->revoking = rec->pos;

    __atomic_store_n(&zone->sh->redo_revoke, 1, __ATOMIC_RELEASE);

    ngx_ws_bus_log_commit(&zone->sh->log, rec);

    ngx_ws_bus_revoke_redo_locked(zone, rings, n);
}


/*
 * As for a channel's record, but for all slots.
 */

void
ngx_ws_bus_revoke_redo_locked(ngx_ws_bus_zone_t *zone, ngx_uint_t *rings,
    ngx_uint_t *n)
{
    ngx_uint_t             i;
    ngx_ws_bus_slot_t     *slot;
    ngx_ws_bus_zone_sh_t  *sh;

    sh = zone->sh;

    if (sh->revoking < ngx_ws_bus_log_head(&sh->log)) {

        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        for (i = 0; i < sh->nslots; i++) {
            slot = sh->slots[i];

            if (slot == NULL || slot->pid == 0
                || __atomic_load_n(&slot->pending, __ATOMIC_ACQUIRE))
            {
                continue;
            }

            slot->from = sh->revoking;

            __atomic_store_n(&slot->pending, 1, __ATOMIC_RELEASE);

            if (rings) {
                rings[(*n)++] = i;
            }
        }
    }

    __atomic_store_n(&sh->redo_revoke, 0, __ATOMIC_RELEASE);
}
