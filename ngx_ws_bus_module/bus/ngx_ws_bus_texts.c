
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_texts.h"
#include "ngx_ws_bus_zone.h"


static ngx_uint_t ngx_ws_bus_texts_trylock(ngx_ws_bus_texts_t *texts);
static ngx_int_t ngx_ws_bus_texts_create(ngx_ws_bus_texts_t *texts);
static ngx_ws_bus_text_t *ngx_ws_bus_texts_take(ngx_ws_bus_texts_t *texts,
    u_char *id);
static ngx_ws_bus_text_t *ngx_ws_bus_text_lock(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref);
static void ngx_ws_bus_text_unlock(ngx_ws_bus_texts_t *texts);
static ngx_uint_t ngx_ws_bus_text_fetching(ngx_ws_bus_text_t *text);
static ngx_uint_t ngx_ws_bus_text_mine(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_t *text);


/* the pool's own pages, a descriptor for each page */
#define NGX_WS_BUS_TEXTS_RESERVE  65536

/* milliseconds */
#define NGX_WS_BUS_TEXTS_TRIES    1000


size_t
ngx_ws_bus_texts_size(size_t max, ngx_uint_t *n)
{
    ngx_uint_t  room;

    /* those of the configuration that is being replaced stay, too */

    for (room = 4; room < 2 * *n; room <<= 1) { /* void */ }

    *n = room;

    return NGX_WS_BUS_TEXTS_RESERVE
           + room * (2 * ngx_align(max, ngx_pagesize) + 2 * ngx_pagesize);
}


ngx_int_t
ngx_ws_bus_texts_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_ws_bus_texts_t  *old = data;

    ngx_uint_t               i, locked;
    ngx_ws_bus_texts_t      *texts;
    ngx_ws_bus_text_ref_t  **ref;

    texts = shm_zone->data;
    texts->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        texts->sh = old->sh;

    } else if (shm_zone->shm.exists) {
        texts->sh = texts->shpool->data;

    } else if (ngx_ws_bus_texts_create(texts) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" is too small", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    locked = ngx_ws_bus_texts_trylock(texts);

    texts->generation = ++texts->sh->generation;

    ref = texts->wanted.elts;

    for (i = 0; i < texts->wanted.nelts; i++) {
        ref[i]->text = ngx_ws_bus_texts_take(texts, ref[i]->id);
    }

    if (locked) {
        ngx_shmtx_unlock(&texts->shpool->mutex);
    }

    return NGX_OK;
}


/*
 * Whoever was killed with the mutex keeps it until the master takes note of
 * that, which it does not while it reads a configuration: to wait for the
 * mutex would be for ever.  It is held for microseconds, so after this time
 * its owner is dead, and keeps all others out.
 */

static ngx_uint_t
ngx_ws_bus_texts_trylock(ngx_ws_bus_texts_t *texts)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_WS_BUS_TEXTS_TRIES; i++) {

        if (ngx_shmtx_trylock(&texts->shpool->mutex)) {
            return 1;
        }

        ngx_msleep(1);
    }

    return 0;
}


static ngx_int_t
ngx_ws_bus_texts_create(ngx_ws_bus_texts_t *texts)
{
    ngx_uint_t              i, k;
    ngx_slab_pool_t        *shpool;
    ngx_ws_bus_texts_sh_t  *sh;

    shpool = texts->shpool;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_ws_bus_texts_sh_t)
                                 + texts->n * sizeof(ngx_ws_bus_text_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < texts->n; i++) {
        for (k = 0; k < 2; k++) {
            sh->texts[i].data[k] = ngx_slab_alloc(shpool, texts->max);

            if (sh->texts[i].data[k] == NULL) {
                return NGX_ERROR;
            }
        }
    }

    sh->n = texts->n;

    shpool->data = sh;
    texts->sh = sh;

    return NGX_OK;
}


/*
 * Finds the text, or gives it a place that the running configuration does not
 * need: there are twice as many as any configuration wants.
 */

static ngx_ws_bus_text_t *
ngx_ws_bus_texts_take(ngx_ws_bus_texts_t *texts, u_char *id)
{
    ngx_uint_t              i;
    ngx_ws_bus_text_t      *text, *free;
    ngx_ws_bus_texts_sh_t  *sh;

    sh = texts->sh;
    free = NULL;

    for (i = 0; i < sh->n; i++) {
        text = &sh->texts[i];

        if (text->generation
            && ngx_memcmp(text->id, id, NGX_WS_BUS_TEXT_ID_LEN) == 0)
        {
            if (text->generation != sh->current) {
                text->generation = texts->generation;
            }

            return text;
        }

        if (text->generation == 0
            || (text->generation != sh->current
                && text->generation != texts->generation))
        {
            if (free == NULL || text->generation < free->generation) {
                free = text;
            }
        }
    }

    if (free == NULL) {
        return NULL;
    }

    ngx_memcpy(free->id, id, NGX_WS_BUS_TEXT_ID_LEN);

    free->generation = texts->generation;
    free->version = 0;
    free->answers = 0;
    free->next = 0;
    free->asked = 0;
    free->failures = 0;
    free->fetcher = 0;

    return free;
}


void
ngx_ws_bus_texts_enter(ngx_ws_bus_texts_t *texts)
{
    ngx_uint_t               i;
    ngx_ws_bus_texts_sh_t   *sh;
    ngx_ws_bus_text_ref_t  **ref;

    sh = texts->sh;
    ref = texts->wanted.elts;

    ngx_shmtx_lock(&texts->shpool->mutex);

    if (texts->generation > sh->current) {
        sh->current = texts->generation;

        for (i = 0; i < texts->wanted.nelts; i++) {

            if (ref[i]->text == NULL
                || ngx_memcmp(ref[i]->text->id, ref[i]->id,
                              NGX_WS_BUS_TEXT_ID_LEN)
                   != 0)
            {
                continue;
            }

            ref[i]->text->generation = texts->generation;
            ref[i]->text->next = 0;
            ref[i]->text->asked = 0;
        }
    }

    ngx_shmtx_unlock(&texts->shpool->mutex);
}


/*
 * The place of a text may have been given to another one in the meantime.
 */

static ngx_ws_bus_text_t *
ngx_ws_bus_text_lock(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref)
{
    if (ref->text == NULL) {
        return NULL;
    }

    ngx_shmtx_lock(&texts->shpool->mutex);

    if (ngx_memcmp(ref->text->id, ref->id, NGX_WS_BUS_TEXT_ID_LEN) != 0) {
        ngx_shmtx_unlock(&texts->shpool->mutex);
        return NULL;
    }

    return ref->text;
}


static void
ngx_ws_bus_text_unlock(ngx_ws_bus_texts_t *texts)
{
    ngx_shmtx_unlock(&texts->shpool->mutex);
}


void
ngx_ws_bus_text_look(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref,
    ngx_ws_bus_text_state_t *state)
{
    ngx_ws_bus_text_t  *text;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return;
    }

    state->version = text->version;
    state->answers = text->answers;
    state->next = text->next;
    state->fetching = ngx_ws_bus_text_fetching(text);

    ngx_ws_bus_text_unlock(texts);
}


size_t
ngx_ws_bus_text_copy(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref,
    u_char *dst, uint64_t *version)
{
    size_t              len;
    ngx_uint_t          i;
    ngx_ws_bus_text_t  *text;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return 0;
    }

    len = 0;
    *version = text->version;

    if (text->version) {
        i = text->version & 1;
        len = text->len[i];
        ngx_memcpy(dst, text->data[i], len);
    }

    ngx_ws_bus_text_unlock(texts);

    return len;
}


static ngx_uint_t
ngx_ws_bus_text_fetching(ngx_ws_bus_text_t *text)
{
    if (text->fetcher == 0 || text->deadline <= ngx_ws_bus_time()) {
        return 0;
    }

    return !(kill(text->fetcher, 0) == -1 && ngx_errno == NGX_ESRCH);
}


ngx_int_t
ngx_ws_bus_text_begin(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref,
    uint64_t time, uint64_t cooldown)
{
    uint64_t            now;
    ngx_int_t           rc;
    ngx_ws_bus_text_t  *text;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return NGX_DECLINED;
    }

    now = ngx_ws_bus_time();

    if (ngx_ws_bus_text_fetching(text)) {
        rc = NGX_AGAIN;

    } else if (texts->generation < texts->sh->current) {
        rc = NGX_DECLINED;

    } else if (now >= text->next) {
        rc = NGX_OK;

    } else if (cooldown == 0 || text->failures
               || (text->asked && now - text->asked < cooldown))
    {
        rc = NGX_DECLINED;

    } else {
        text->asked = now;
        rc = NGX_OK;
    }

    if (rc == NGX_OK) {
        text->deadline = now + time;
        text->fetcher = ngx_pid;
    }

    ngx_ws_bus_text_unlock(texts);

    return rc;
}


static ngx_uint_t
ngx_ws_bus_text_mine(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_t *text)
{
    if (text->fetcher != ngx_pid) {
        return 0;
    }

    text->fetcher = 0;

    /* an older configuration may have fetched from elsewhere */

    return texts->generation == texts->sh->current;
}


ngx_int_t
ngx_ws_bus_text_set(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref,
    u_char *data, size_t len, uint64_t time, ngx_uint_t *recovered)
{
    ngx_int_t           rc;
    ngx_uint_t          i;
    ngx_ws_bus_text_t  *text;

    *recovered = 0;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return NGX_DECLINED;
    }

    if (!ngx_ws_bus_text_mine(texts, text)) {
        ngx_ws_bus_text_unlock(texts);
        return NGX_DECLINED;
    }

    i = text->version & 1;

    if (text->version && text->len[i] == len
        && ngx_memcmp(text->data[i], data, len) == 0)
    {
        rc = NGX_DONE;

    } else {
        i = !i;

        ngx_memcpy(text->data[i], data, len);
        text->len[i] = len;

        /* a killed process must not leave a version without its text */
        ngx_memory_barrier();

        text->version++;
        rc = NGX_OK;
    }

    *recovered = (text->failures != 0);

    text->failures = 0;
    text->next = ngx_ws_bus_time() + time;
    text->answers++;

    ngx_ws_bus_text_unlock(texts);

    return rc;
}


ngx_uint_t
ngx_ws_bus_text_fail(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref)
{
    uint64_t            delay;
    ngx_uint_t          i, n;
    ngx_ws_bus_text_t  *text;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return 0;
    }

    n = 0;

    if (ngx_ws_bus_text_mine(texts, text)) {
        delay = NGX_WS_BUS_TEXT_DELAY;

        for (i = 0; i < text->failures; i++) {
            delay *= 2;

            if (delay >= NGX_WS_BUS_TEXT_DELAY_MAX) {
                delay = NGX_WS_BUS_TEXT_DELAY_MAX;
                break;
            }
        }

        n = ++text->failures;

        text->next = ngx_ws_bus_time() + delay;
        text->answers++;
    }

    ngx_ws_bus_text_unlock(texts);

    return n;
}


void
ngx_ws_bus_text_release(ngx_ws_bus_texts_t *texts, ngx_ws_bus_text_ref_t *ref)
{
    ngx_ws_bus_text_t  *text;

    text = ngx_ws_bus_text_lock(texts, ref);
    if (text == NULL) {
        return;
    }

    (void) ngx_ws_bus_text_mine(texts, text);

    ngx_ws_bus_text_unlock(texts);
}
