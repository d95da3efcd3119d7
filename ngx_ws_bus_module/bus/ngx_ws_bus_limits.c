
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_sha1.h>

#include "ngx_ws_bus_limits.h"


/*
 * Entries are numbered from 1; all of them are of one size, since what is
 * kept of a key is its digest.  So no memory is allocated or freed after the
 * start, and no process can be killed while it does that.
 */

typedef struct {
    u_char                     digest[NGX_WS_BUS_LIMITS_DIGEST];
    uint32_t                   next;       /* of the bucket */
    uint32_t                   newer;
    uint32_t                   older;
    ngx_ws_bus_limits_state_t  state;
} ngx_ws_bus_limits_entry_t;


struct ngx_ws_bus_limits_sh_s {
    ngx_uint_t                 linking;    /* the links may not fit */

    uint32_t                   n;          /* entries there are */
    uint32_t                   used;
    uint32_t                   newest;
    uint32_t                   oldest;
    uint32_t                   mask;

    uint32_t                  *buckets;
    ngx_ws_bus_limits_entry_t *entries;    /* [0] is not used */
};


#define ngx_ws_bus_limits_charges(how, rc)                                    \
    ((how) == NGX_WS_BUS_LIMITS_FORCE                                         \
     || ((how) == NGX_WS_BUS_LIMITS_CHARGE && (rc) == NGX_OK))


static ngx_int_t ngx_ws_bus_limits_create(ngx_ws_bus_limits_t *limits,
    ngx_log_t *log);
static void ngx_ws_bus_limits_lock(ngx_ws_bus_limits_t *limits);
static void ngx_ws_bus_limits_unlock(ngx_ws_bus_limits_t *limits);
static uint32_t ngx_ws_bus_limits_find_locked(ngx_ws_bus_limits_sh_t *sh,
    ngx_ws_bus_limits_key_t *key);
static uint32_t ngx_ws_bus_limits_take_locked(ngx_ws_bus_limits_sh_t *sh,
    ngx_ws_bus_limits_key_t *key);
static void ngx_ws_bus_limits_use_locked(ngx_ws_bus_limits_sh_t *sh,
    uint32_t i);
static void ngx_ws_bus_limits_newest_locked(ngx_ws_bus_limits_sh_t *sh,
    uint32_t i);
static void ngx_ws_bus_limits_unqueue_locked(ngx_ws_bus_limits_sh_t *sh,
    uint32_t i);
static uint32_t *ngx_ws_bus_limits_bucket(ngx_ws_bus_limits_sh_t *sh,
    const u_char *digest);


ngx_int_t
ngx_ws_bus_limits_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_ws_bus_limits_t  *old = data;

    ngx_ws_bus_limits_t  *limits;

    limits = shm_zone->data;

    if (old) {
        if (limits->key.len != old->key.len
            || ngx_strncmp(limits->key.data, old->key.data, limits->key.len)
               != 0)
        {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "ws_bus_limit_zone \"%V\" uses the \"%V\" key "
                          "while previously it used the \"%V\" key",
                          &limits->name, &limits->key, &old->key);
            return NGX_ERROR;
        }

        limits->sh = old->sh;
        limits->shpool = old->shpool;

        return NGX_OK;
    }

    limits->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        limits->sh = limits->shpool->data;
        return NGX_OK;
    }

    return ngx_ws_bus_limits_create(limits, shm_zone->shm.log);
}


static ngx_int_t
ngx_ws_bus_limits_create(ngx_ws_bus_limits_t *limits, ngx_log_t *log)
{
    size_t                   size, n, buckets;
    ngx_slab_pool_t         *shpool;
    ngx_ws_bus_limits_sh_t  *sh;

    shpool = limits->shpool;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_ws_bus_limits_sh_t));
    if (sh == NULL) {
        goto failed;
    }

    /* an entry or two for every bucket */

    size = shpool->pfree * ngx_pagesize;
    n = size / (sizeof(ngx_ws_bus_limits_entry_t) + sizeof(uint32_t));
    n = ngx_min(n, 0x7fffffff);

    for (buckets = 1; buckets <= n / 2; buckets <<= 1) { /* void */ }

    sh->entries = ngx_slab_alloc(shpool, size);
    if (sh->entries == NULL) {
        goto failed;
    }

    sh->n = (size - buckets * sizeof(uint32_t))
            / sizeof(ngx_ws_bus_limits_entry_t) - 1;
    sh->buckets = (uint32_t *) &sh->entries[sh->n + 1];
    sh->mask = buckets - 1;

    ngx_memzero(sh->buckets, buckets * sizeof(uint32_t));

    shpool->data = sh;
    limits->sh = sh;

    return NGX_OK;

failed:

    ngx_log_error(NGX_LOG_EMERG, log, 0, "zone \"%V\" is too small",
                  &limits->name);

    return NGX_ERROR;
}


void
ngx_ws_bus_limits_key(ngx_ws_bus_limits_key_t *key, ngx_str_t *value)
{
    ngx_sha1_t  sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, value->data, value->len);
    ngx_sha1_final(key->digest, &sha1);

    key->entry = 0;
}


ngx_int_t
ngx_ws_bus_limits_judge(const ngx_ws_bus_limits_rule_t *rule,
    ngx_ws_bus_limits_state_t *state, size_t len, ngx_uint_t how,
    ngx_ws_bus_limits_verdict_t *v)
{
    uint64_t    messages, bytes;
    ngx_int_t   rc, brc;
    ngx_msec_t  now, wait;

    now = ngx_current_msec;
    v->bytes = 0;

    if (rule->bytes.rate == 0) {
        rc = ngx_ws_bus_rate_ask(&rule->messages, &state->messages, 1, now,
                                 &v->excess, &v->wait);

        if (ngx_ws_bus_limits_charges(how, rc)) {
            ngx_ws_bus_rate_charge(&state->messages, v->excess, now);
        }

        return rc;
    }

    rc = NGX_OK;
    messages = 0;

    v->excess = 0;
    v->wait = 0;

    if (rule->messages.rate) {
        rc = ngx_ws_bus_rate_ask(&rule->messages, &state->messages, 1, now,
                                 &messages, &v->wait);
        v->excess = messages;
    }

    brc = ngx_ws_bus_rate_ask(&rule->bytes, &state->bytes, len, now, &bytes,
                              &wait);

    if (rc == NGX_OK && (brc != NGX_OK || wait >= v->wait)) {
        v->excess = bytes;
        v->wait = wait;
        v->bytes = 1;
        rc = brc;
    }

    if (ngx_ws_bus_limits_charges(how, rc)) {

        if (rule->messages.rate) {
            ngx_ws_bus_rate_charge(&state->messages, messages, now);
        }

        ngx_ws_bus_rate_charge(&state->bytes, bytes, now);
    }

    return rc;
}


ngx_int_t
ngx_ws_bus_limits_judge_key(ngx_ws_bus_limits_t *limits,
    ngx_ws_bus_limits_key_t *key, const ngx_ws_bus_limits_rule_t *rule,
    size_t len, ngx_uint_t how, ngx_ws_bus_limits_verdict_t *v)
{
    uint32_t                    i;
    ngx_int_t                   rc;
    ngx_ws_bus_limits_sh_t     *sh;
    ngx_ws_bus_limits_state_t   none;

    sh = limits->sh;

    ngx_ws_bus_limits_lock(limits);

    i = ngx_ws_bus_limits_find_locked(sh, key);

    if (i == 0 && how != NGX_WS_BUS_LIMITS_ASK) {
        i = ngx_ws_bus_limits_take_locked(sh, key);
    }

    if (i) {
        key->entry = i;

        ngx_ws_bus_limits_use_locked(sh, i);

        rc = ngx_ws_bus_limits_judge(rule, &sh->entries[i].state, len, how, v);

    } else {
        ngx_memzero(&none, sizeof(ngx_ws_bus_limits_state_t));

        rc = ngx_ws_bus_limits_judge(rule, &none, len, how, v);
    }

    ngx_ws_bus_limits_unlock(limits);

    return rc;
}


/*
 * Whoever was killed while it changed links has left them as they were: then
 * all keys are forgotten.
 */

static void
ngx_ws_bus_limits_lock(ngx_ws_bus_limits_t *limits)
{
    ngx_ws_bus_limits_sh_t  *sh;

    ngx_shmtx_lock(&limits->shpool->mutex);

    sh = limits->sh;

    if (sh->linking) {
        ngx_memzero(sh->buckets,
                    ((size_t) sh->mask + 1) * sizeof(uint32_t));

        sh->used = 0;
        sh->newest = 0;
        sh->oldest = 0;

        ngx_memory_barrier();

        sh->linking = 0;
    }
}


static void
ngx_ws_bus_limits_unlock(ngx_ws_bus_limits_t *limits)
{
    ngx_shmtx_unlock(&limits->shpool->mutex);
}


static uint32_t
ngx_ws_bus_limits_find_locked(ngx_ws_bus_limits_sh_t *sh,
    ngx_ws_bus_limits_key_t *key)
{
    uint32_t  i;

    i = key->entry;

    if (i && i <= sh->used
        && ngx_memcmp(sh->entries[i].digest, key->digest,
                      NGX_WS_BUS_LIMITS_DIGEST)
           == 0)
    {
        return i;
    }

    for (i = *ngx_ws_bus_limits_bucket(sh, key->digest);
         i;
         i = sh->entries[i].next)
    {
        if (ngx_memcmp(sh->entries[i].digest, key->digest,
                       NGX_WS_BUS_LIMITS_DIGEST)
            == 0)
        {
            break;
        }
    }

    return i;
}


static uint32_t
ngx_ws_bus_limits_take_locked(ngx_ws_bus_limits_sh_t *sh,
    ngx_ws_bus_limits_key_t *key)
{
    uint32_t                    i, *bucket;
    ngx_ws_bus_limits_entry_t  *e;

    sh->linking = 1;
    ngx_memory_barrier();

    if (sh->used < sh->n) {
        i = ++sh->used;

    } else {
        i = sh->oldest;

        ngx_ws_bus_limits_unqueue_locked(sh, i);

        bucket = ngx_ws_bus_limits_bucket(sh, sh->entries[i].digest);

        while (*bucket != i) {
            bucket = &sh->entries[*bucket].next;
        }

        *bucket = sh->entries[i].next;
    }

    e = &sh->entries[i];

    ngx_memcpy(e->digest, key->digest, NGX_WS_BUS_LIMITS_DIGEST);
    ngx_memzero(&e->state, sizeof(ngx_ws_bus_limits_state_t));

    bucket = ngx_ws_bus_limits_bucket(sh, e->digest);

    e->next = *bucket;
    *bucket = i;

    ngx_ws_bus_limits_newest_locked(sh, i);

    ngx_memory_barrier();
    sh->linking = 0;

    return i;
}


static void
ngx_ws_bus_limits_use_locked(ngx_ws_bus_limits_sh_t *sh, uint32_t i)
{
    if (sh->newest == i) {
        return;
    }

    sh->linking = 1;
    ngx_memory_barrier();

    ngx_ws_bus_limits_unqueue_locked(sh, i);
    ngx_ws_bus_limits_newest_locked(sh, i);

    ngx_memory_barrier();
    sh->linking = 0;
}


static void
ngx_ws_bus_limits_newest_locked(ngx_ws_bus_limits_sh_t *sh, uint32_t i)
{
    sh->entries[i].newer = 0;
    sh->entries[i].older = sh->newest;

    if (sh->newest) {
        sh->entries[sh->newest].newer = i;

    } else {
        sh->oldest = i;
    }

    sh->newest = i;
}


static void
ngx_ws_bus_limits_unqueue_locked(ngx_ws_bus_limits_sh_t *sh, uint32_t i)
{
    ngx_ws_bus_limits_entry_t  *e;

    e = &sh->entries[i];

    if (e->newer) {
        sh->entries[e->newer].older = e->older;

    } else {
        sh->newest = e->older;
    }

    if (e->older) {
        sh->entries[e->older].newer = e->newer;

    } else {
        sh->oldest = e->newer;
    }
}


static uint32_t *
ngx_ws_bus_limits_bucket(ngx_ws_bus_limits_sh_t *sh, const u_char *digest)
{
    uint32_t  hash;

    ngx_memcpy(&hash, digest, sizeof(uint32_t));

    return &sh->buckets[hash & sh->mask];
}
