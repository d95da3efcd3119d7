
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _BUS_H_INCLUDED_
#define _BUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <sched.h>
#include <time.h>

#include "step.h"
#include "tap.h"
#include "workers.h"


/*
 * A zone outside of nginx: its memory is malloc()ed, block by block, or lies
 * in memory that processes share; the clock and the life of processes are the
 * test's.  A process is a slot: what it does, the test does in its place.
 */

#define clock_gettime(id, ts)  test_clock(ts)
#define kill(pid, sig)         test_kill(pid)

static inline int test_clock(struct timespec *ts);
static inline int test_kill(pid_t pid);


#include "ngx_ws_bus_chain.c"
#include "ngx_ws_bus_log.c"
#include "ngx_ws_bus_doorbell.c"
#include "ngx_ws_bus_zone.c"
#include "ngx_ws_bus_once.c"
#include "ngx_ws_bus_revoke.c"
#include "ngx_ws_bus_channel.c"
#include "ngx_ws_bus_room.c"
#include "ngx_ws_bus_remote.c"

static uint64_t  test_reads;    /* of the log, to find what is kept */

#define ngx_ws_bus_log_read(log, pos, head, rec, payload)                     \
    (test_reads++, ngx_ws_bus_log_read(log, pos, head, rec, payload))

#include "ngx_ws_bus_history.c"

#undef ngx_ws_bus_log_read

#undef clock_gettime
#undef kill


#define SECOND      ((uint64_t) 1000000)
#define ANY         ((ngx_uint_t) -1)

#define SLOTS       8
#define PIDS        4096
#define BLOCKS      4096
#define GOT         1024

#define SMALL       (40 * 1024)     /* zones in shared memory */
#define LARGE       (1024 * 1024)
#define ROOM_MAX    ((size_t) -1)
#define NO_FAIL     ((ngx_uint_t) -1)


/* a worker as the hub is one: where it has read to */

typedef struct {
    uint64_t             cursor;
    ngx_uint_t           caught_up;
    ngx_uint_t           lapped;
} reader_t;


typedef struct {
    ngx_ws_bus_record_t  rec;
    char                 text[64];
} got_t;


/* what is at the start of the arena */

typedef struct {
    ngx_slab_pool_t      pool;
    ngx_atomic_t         lock;
    u_char              *next;
    u_char              *last;
    size_t               size;
} arena_t;


static ngx_log_t             test_log;
static ngx_cycle_t           test_cycle;
static ngx_core_conf_t       test_ccf;
static void                 *test_conf[1];

static ngx_shm_zone_t        test_shm;
static ngx_ws_bus_remote_t  *test_remote;      /* of zones to be made */
static ngx_ws_bus_zone_t     test_zone;
static ngx_slab_pool_t       test_pool;
static ngx_atomic_t          test_lock;

static size_t                zone_room = 256 * 1024;
static ngx_uint_t            test_pages = 1;   /* that a new zone has left */
static uint64_t              test_now;         /* microseconds */
static u_char                test_alive[PIDS];
static ngx_pid_t             test_pids[SLOTS];
static ngx_pid_t             test_next_pid = 1;

/* memory in the zone: malloc()ed, or from an arena in shared memory */

static arena_t              *arena;
static void                 *blocks[BLOCKS];
static size_t                sizes[BLOCKS];
static ngx_uint_t            nblocks;
static size_t                room = ROOM_MAX;
static ngx_uint_t            fail_at = NO_FAIL;     /* in the zone */
static ngx_uint_t            fail_on;               /* and after that */
static ngx_uint_t            failed;
static ngx_uint_t            alloc_fail_at = NO_FAIL;
static void                (*on_lock)(void);
static void                (*on_log)(void);

static uint32_t              test_flags;       /* of what is published */

static ngx_ws_bus_zone_sh_t *sh;
static ngx_ws_bus_view_t     view;

static reader_t              readers[SLOTS];

/* processes together may be threads */

static __thread ngx_ws_bus_place_t  place;
static __thread ngx_uint_t          rings[NGX_MAX_PROCESSES];
static __thread ngx_uint_t          nrings;
static __thread got_t               got[GOT];
static __thread ngx_uint_t          ngot;
static __thread unsigned int        seed = 1;


/* of nginx, what the files under test need */

ngx_int_t             ngx_process_slot;
ngx_pid_t             ngx_pid;
ngx_int_t             ngx_ncpu = 1;
ngx_uint_t            ngx_pagesize = 4096;
ngx_module_t          ngx_core_module;
volatile ngx_time_t  *ngx_cached_time;

static ngx_time_t     test_time;


static inline unsigned int
next_random(unsigned int n)
{
    seed = seed * 1103515245 + 12345;

    return (seed >> 8) % n;
}


static inline int
test_clock(struct timespec *ts)
{
    ts->tv_sec = test_now / 1000000;
    ts->tv_nsec = test_now % 1000000 * 1000;

    return 0;
}


static inline int
test_kill(pid_t pid)
{
    if (pid > 0 && pid < PIDS && test_alive[pid]) {
        return 0;
    }

    errno = ESRCH;

    return -1;
}


static inline void
bug(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s\n", what);
    abort();
}


/* one at a time; a killed owner's lock is taken away from it by the master */

void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    void  (*hook)(void);

    hook = on_lock;

    if (hook) {
        on_lock = NULL;
        hook();
    }

    if (mtx->spin == 0) {

        if (*mtx->lock) {
            bug("the mutex is taken twice");
        }

        *mtx->lock = 1;
        return;
    }

    while (!__sync_bool_compare_and_swap(mtx->lock, 0, ngx_pid)) {
        sched_yield();
    }
}


static inline ngx_uint_t
locked(ngx_shmtx_t *mtx)
{
    return __atomic_load_n(mtx->lock, __ATOMIC_RELAXED) != 0;
}


ngx_uint_t
ngx_shmtx_trylock(ngx_shmtx_t *mtx)
{
    return __sync_bool_compare_and_swap(mtx->lock, 0, ngx_pid);
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    if (!locked(mtx)) {
        bug("the mutex is not taken");
    }

    __atomic_store_n(mtx->lock, 0, __ATOMIC_RELEASE);
}


static inline void *
slab_alloc(size_t size)
{
    u_char  *p;

    if (fail_at != NO_FAIL && fail_at-- == 0) {
        fail_at = fail_on ? 0 : NO_FAIL;
        failed = 1;
        return NULL;
    }

    if (arena) {
        p = arena->next;
        size = (size + 7) & ~7;

        if ((size_t) (arena->last - p) < size) {
            return NULL;
        }

        arena->next = p + size;

        return p;
    }

    if (size > room || nblocks == BLOCKS) {
        return NULL;
    }

    p = calloc(1, size);

    if (p == NULL) {
        bug("no memory");
    }

    if (room != ROOM_MAX) {
        room -= size;
    }

    sizes[nblocks] = size;
    blocks[nblocks++] = p;

    return p;
}


void *
ngx_slab_calloc_locked(ngx_slab_pool_t *pool, size_t size)
{
    if (!locked(&pool->mutex)) {
        bug("an allocation without the mutex");
    }

    return slab_alloc(size);
}


void *
ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size)
{
    void  *p;

    ngx_shmtx_lock(&pool->mutex);

    p = ngx_slab_calloc_locked(pool, size);

    ngx_shmtx_unlock(&pool->mutex);

    return p;
}


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    return ngx_slab_alloc(pool, size);
}


void
ngx_slab_free_locked(ngx_slab_pool_t *pool, void *p)
{
    ngx_uint_t  i;

    if (!locked(&pool->mutex)) {
        bug("memory is freed without the mutex");
    }

    if (arena) {

        /* not used again, and of no use to whoever still has it */

        memset(p, 0xa5, 16);
        return;
    }

    for (i = nblocks; i && blocks[i - 1] != p; i--) { /* void */ }

    if (i == 0) {
        bug("memory is freed that is not in the zone");
    }

    if (room != ROOM_MAX) {
        room += sizes[i - 1];
    }

    nblocks--;
    blocks[i - 1] = blocks[nblocks];
    sizes[i - 1] = sizes[nblocks];

    free(p);
}


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    (void) log;

    if (alloc_fail_at != NO_FAIL && alloc_fail_at-- == 0) {
        alloc_fail_at = NO_FAIL;
        return NULL;
    }

    return malloc(size);
}


void
ngx_sha1_init(ngx_sha1_t *ctx)
{
    memset(ctx, 0, sizeof(ngx_sha1_t));
}


void
ngx_sha1_update(ngx_sha1_t *ctx, const void *data, size_t size)
{
    size_t  i;

    for (i = 0; i < size; i++) {
        ctx->a = (ctx->a ^ ((u_char *) data)[i]) * 16777619;
        ctx->b = (ctx->b + ((u_char *) data)[i]) * 31 + ctx->a;
    }
}


void
ngx_sha1_final(u_char result[20], ngx_sha1_t *ctx)
{
    memset(result, 0, 20);
    memcpy(result, &ctx->a, 4);
    memcpy(result + 4, &ctx->b, 4);
}


uint32_t
ngx_murmur_hash2(u_char *data, size_t len)
{
    size_t    i;
    uint32_t  h;

    h = 0;

    for (i = 0; i < len; i++) {
        h = h * 31 + data[i];
    }

    return h;
}


u_char *
ngx_sprintf(u_char *buf, const char *fmt, ...)
{
    (void) fmt;

    *buf = '\0';

    return buf + 1;
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    (void) level;
    (void) log;
    (void) err;
    (void) fmt;

    if (on_log) {
        on_log();
    }
}


#ifndef BUS_WITH_HUB

/* nobody has a name here */

ngx_uint_t
ngx_ws_bus_presence_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    (void) zone;
    (void) slot;

    if (node->members) {
        bug("a member");
    }

    return 0;
}


void
ngx_ws_bus_presence_free_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node)
{
    (void) zone;

    if (node->members) {
        bug("a member");
    }
}

#endif


/* the process in a slot does what follows */

static inline void
become(ngx_uint_t slot)
{
    ngx_process_slot = slot;
    ngx_pid = test_pids[slot];
}


static inline void
enter(ngx_uint_t slot)
{
    if (test_pids[slot]) {
        test_alive[test_pids[slot]] = 0;
    }

    test_alive[test_next_pid] = 1;
    test_pids[slot] = test_next_pid++;

    become(slot);

    if (ngx_ws_bus_zone_enter(&test_zone, &test_log) == NULL) {
        bug("no slot");
    }

    readers[slot].cursor = ngx_ws_bus_log_head(&sh->log);
    readers[slot].caught_up = 1;
    readers[slot].lapped = 0;
}


static inline void
zone_free(void)
{
    if (test_zone.doorbells) {
        ngx_ws_bus_zone_cleanup(&test_zone);
    }

    while (nblocks) {
        free(blocks[--nblocks]);
    }

    if (arena) {
        munmap(arena, arena->size);
        arena = NULL;
    }

    ngx_memzero(&test_zone, sizeof(test_zone));
    ngx_memzero(test_pids, sizeof(test_pids));
    ngx_memzero(test_alive, sizeof(test_alive));

    test_next_pid = 1;
    room = ROOM_MAX;
    fail_at = NO_FAIL;
    alloc_fail_at = NO_FAIL;
}


/*
 * What looks may let processes of this test come, go and read on: afterwards
 * these are as they were.
 */

static inline void
look_ahead(void (*look)(void))
{
    u_char     alive[PIDS];
    uint64_t   now;
    reader_t   saved[SLOTS];
    ngx_pid_t  pids[SLOTS], next_pid;

    memcpy(alive, test_alive, sizeof(alive));
    memcpy(saved, readers, sizeof(readers));
    memcpy(pids, test_pids, sizeof(pids));
    next_pid = test_next_pid;
    now = test_now;

    look();

    memcpy(test_alive, alive, sizeof(alive));
    memcpy(readers, saved, sizeof(readers));
    memcpy(test_pids, pids, sizeof(pids));
    test_next_pid = next_pid;
    test_now = now;
}


static inline void
zone_prepare(void)
{
    zone_free();

    test_now = 1000 * SECOND;
    test_time.sec = 1000000000;
    ngx_cached_time = &test_time;

    test_ccf.worker_processes = 2;
    test_conf[0] = &test_ccf;
    test_cycle.conf_ctx = (void ****) test_conf;

    test_pool.mutex.lock = &test_lock;
    test_pool.pfree = test_pages;
    test_lock = 0;

    ngx_str_set(&test_zone.name, "test");
    test_zone.shm_zone = &test_shm;
    test_zone.cycle = &test_cycle;
    test_zone.remote = test_remote;

    test_shm.shm.addr = (u_char *) &test_pool;
    test_shm.shm.size = zone_room;
    test_shm.shm.log = &test_log;
    test_shm.data = &test_zone;
}


static inline void
zone_start(size_t size, ngx_uint_t buckets)
{
    if (ngx_ws_bus_zone_init(&test_shm, NULL) != NGX_OK) {
        bug("no zone");
    }

    sh = test_zone.sh;

    if (size > sh->log.size || buckets > sh->mask + 1) {
        bug("the zone is smaller than that");
    }

    ngx_ws_bus_log_init(&sh->log, sh->log.data, size);
    sh->mask = buckets - 1;
}


/* a zone with a log of that size and with that many buckets */

static inline void
zone_create(size_t size, ngx_uint_t buckets)
{
    zone_prepare();
    zone_start(size, buckets);
}


/* one that processes share */

static inline void
zone_share(size_t zone, size_t size, ngx_uint_t buckets, ngx_uint_t spin)
{
    arena_t  *a;

    zone_prepare();

    a = step_memory(zone);

    a->size = zone;
    a->next = (u_char *) (a + 1);
    a->last = (u_char *) a + zone;
    a->pool.mutex.lock = &a->lock;
    a->pool.mutex.spin = spin;
    a->pool.pfree = test_pages;

    arena = a;
    test_shm.shm.addr = (u_char *) &a->pool;
    test_shm.shm.size = zone;

    zone_start(size, buckets);
}


static inline ngx_str_t *
name_of(const char *name)
{
    static __thread ngx_str_t  s;

    s.len = strlen(name);
    s.data = (u_char *) name;

    return &s;
}


/* a name of that length, which its last byte tells as well */

static inline const char *
long_name(int ch, size_t len)
{
    static char  name[256];

    memset(name, ch, len);
    name[len - 1] = '0' + len % 10;
    name[len] = '\0';

    return name;
}


static inline ngx_ws_bus_node_t *
join(ngx_uint_t slot, const char *name)
{
    become(slot);

    return ngx_ws_bus_channel_join(&test_zone, name_of(name), &view);
}


static inline void
part(ngx_uint_t slot, ngx_ws_bus_node_t *node)
{
    become(slot);

    ngx_ws_bus_channel_part(&test_zone, node);
}


static inline ngx_ws_bus_node_t *
find(const char *name)
{
    ngx_uint_t          i;
    ngx_ws_bus_node_t  *node;

    for (i = 0; i <= sh->mask; i++) {
        for (node = sh->nodes[i]; node; node = node->next) {
            if (ngx_ws_bus_node_is(node, name_of(name))) {
                return node;
            }
        }
    }

    return NULL;
}


/* keys are strings; an age is in microseconds */

static inline ngx_int_t
publish(const char *name, const char *text, ngx_uint_t keep, uint64_t age,
    const char *key)
{
    u_char                once[NGX_WS_BUS_ONCE_LEN];
    ngx_ws_bus_message_t  msg;

    ngx_memzero(&msg, sizeof(msg));

    msg.data = (u_char *) text;
    msg.len = strlen(text);
    msg.keep = keep;
    msg.age = age;
    msg.time = test_now;
    msg.flags = test_flags;

    if (key) {
        ngx_memzero(once, sizeof(once));
        memcpy(once, key, strlen(key));
        msg.once = once;
    }

    return ngx_ws_bus_channel_publish(&test_zone, NULL, name_of(name), &msg,
                                      &place, rings, &nrings);
}


static inline ngx_int_t
keep(const char *name, const char *text)
{
    return publish(name, text, 1, 0, NULL);
}


/* what a worker reads from the log, as ngx_ws_bus_hub_read() does */

static inline void
read_slot(ngx_uint_t n)
{
    u_char               *payload;
    uint64_t              from, head;
    ngx_int_t             rc;
    reader_t             *r;
    ngx_ws_bus_slot_t    *slot;
    ngx_ws_bus_record_t   rec;

    r = &readers[n];
    slot = sh->slots[n];
    ngot = 0;

    if (r->caught_up) {

        if (__atomic_load_n(&slot->pending, __ATOMIC_ACQUIRE) == 0) {
            return;
        }

        from = slot->from;
        r->cursor = ngx_max(r->cursor, from);
    }

    (void) __atomic_exchange_n(&slot->pending, 0, __ATOMIC_SEQ_CST);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    head = ngx_ws_bus_log_head(&sh->log);

    r->caught_up = 0;

    while (ngot < GOT) {

        copying_begin();

        rc = ngx_ws_bus_log_read(&sh->log, &r->cursor, head, &rec, &payload);

        if (rc == NGX_OK) {
            got[ngot].rec = rec;

            ngx_memzero(got[ngot].text, sizeof(got[ngot].text));
            memcpy(got[ngot].text, payload,
                   ngx_min(rec.len, sizeof(got[ngot].text) - 1));
        }

        copying_end();

        if (rc == NGX_DONE) {
            r->caught_up = 1;
            return;
        }

        if (rc == NGX_DECLINED
            || !ngx_ws_bus_log_intact(&sh->log, r->cursor))
        {
            r->cursor = head;
            r->lapped++;
            continue;
        }

        ngot++;
        r->cursor += rec.size;
    }
}


/* the same, of one channel, as a string: "1:first 2:second", "0:" not kept */

static inline const char *
read_channel(ngx_uint_t n, ngx_ws_bus_node_t *node)
{
    char        *p;
    ngx_uint_t   i;

    static char  buf[GOT * 8];

    read_slot(n);

    p = buf;
    *p = '\0';

    for (i = 0; i < ngot; i++) {

        if (got[i].rec.channel != node->id) {
            continue;
        }

        if (p > buf) {
            *p++ = ' ';
        }

        if (got[i].rec.type == NGX_WS_BUS_REC_DELETED) {
            p += sprintf(p, "deleted");
            continue;
        }

        p += sprintf(p, "%lu:%.20s", (u_long) got[i].rec.seq, got[i].text);
    }

    return buf;
}


/* kept messages, as a string of the same kind */

static inline const char *
history_of(ngx_ws_bus_view_t *v, uint64_t after, ngx_uint_t count,
    uint64_t age)
{
    char                  *p;
    u_char                *payload;
    uint64_t               pos;
    ngx_uint_t             i;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    static char  buf[GOT * 8];

    if (ngx_ws_bus_channel_history(&test_zone, v, after, count, age, ANY, &h,
                                   &test_log)
        != NGX_OK)
    {
        return "error";
    }

    p = buf;
    *p = '\0';

    for (i = 0; i < h.n; i++) {
        pos = h.pos[i];

        if (ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec, &payload)
            != NGX_OK
            || rec.channel != v->id || rec.seq != h.first + i)
        {
            p += sprintf(p, " wrong");
            break;
        }

        p += sprintf(p, "%s%lu:%.*s", i ? " " : "", (u_long) rec.seq,
                     (int) ngx_min(rec.len, 20), payload);
    }

    if (h.n == 0 && h.first != v->seq + 1) {
        p += sprintf(p, "wrong first");
    }

    free(h.pos);

    return buf;
}


static inline const char *
history(const char *name, uint64_t after, ngx_uint_t count, uint64_t age)
{
    ngx_ws_bus_node_t  *node;

    node = find(name);

    if (node == NULL) {
        return "no channel";
    }

    ngx_ws_bus_channel_view(&test_zone, node, &view);

    return history_of(&view, after, count, age);
}


static inline void
is_text(const char *text, const char *want, const char *name)
{
    if (!tap_ok(strcmp(text, want) == 0, "%s", name)) {
        tap_diag("got \"%s\", expected \"%s\"", text, want);
    }
}


static inline void
each_text(const char *text, const char *want, const char *name)
{
    tap_each(strcmp(text, want) == 0, "%s: got \"%s\", expected \"%s\"", name,
             text, want);
}


static inline ngx_uint_t
interest(ngx_ws_bus_node_t *node, ngx_uint_t slot)
{
    ngx_ws_bus_interest_t  *in;

    for (in = node->interest; in; in = in->next) {
        if (in->slot == slot) {
            return in->count;
        }
    }

    return 0;
}


/* the links among what is kept of a channel lead to where they should */

static inline void
check_links(const char *name, ngx_ws_bus_node_t *node)
{
    uint64_t              pos, back;
    ngx_ws_bus_link_t     link, unused;
    ngx_ws_bus_record_t   rec, r;

    back = node->linked;

    tap_each((back == NGX_WS_BUS_LOG_NONE)
             == (node->seq < NGX_WS_BUS_HISTORY_STEP)
             || sh->remote, "%s: a link", name);

    for (pos = node->last;
         ngx_ws_bus_history_have(&test_zone, pos, 0, 0, &rec, &link);
         pos = rec.prev)
    {
        if (rec.seq % NGX_WS_BUS_HISTORY_STEP) {
            continue;
        }

        tap_each(pos == back, "%s: %lu has a link", name, (u_long) rec.seq);

        back = link.back;

        tap_each((back == NGX_WS_BUS_LOG_NONE)
                 == (rec.seq == NGX_WS_BUS_HISTORY_STEP)
                 || sh->remote,
                 "%s: the link of %lu", name, (u_long) rec.seq);

        if (ngx_ws_bus_history_have(&test_zone, link.jump, 0, 0, &r, &unused))
        {
            tap_each(r.channel == node->id && r.seq < rec.seq
                     && r.seq % NGX_WS_BUS_HISTORY_STEP == 0,
                     "%s: %lu jumps to %lu", name, (u_long) rec.seq,
                     (u_long) r.seq);

        } else {
            tap_each(link.jump == NGX_WS_BUS_LOG_NONE
                     || link.jump < sh->log.tail, "%s: jump", name);
        }
    }
}


static inline ngx_int_t
take_away(const char *sub, int64_t now, int64_t expires)
{
    ngx_ws_bus_revocation_t  rev;

    rev.kind = NGX_WS_BUS_REVOKE_SUB;
    rev.value = *name_of(sub);
    rev.time = now;

    return ngx_ws_bus_revoke(&test_zone, &rev, expires, rings, &nrings);
}


static inline ngx_uint_t
revoked(const char *sub, int64_t iat, int64_t now)
{
    return ngx_ws_bus_revoked(&test_zone, NGX_WS_BUS_REVOKE_SUB,
                              name_of(sub), iat, 0, now);
}


/* how many pieces of memory a channel has */

static inline ngx_uint_t
cells(ngx_ws_bus_node_t *node)
{
    size_t      len, size;
    ngx_uint_t  n;

    n = 1;
    len = node->len;

    for (size = node->room; len > size; size = NGX_WS_BUS_CELL) {
        len -= size - sizeof(u_char *);
        n++;
    }

    return n;
}


/*
 * Whether everything in the zone hangs together.  What a killed process
 * leaves may have lost memory, and for a moment the counters.
 */

static inline void
check_zone(const char *name, ngx_uint_t killed)
{
    u_char                 *payload;
    uint64_t                pos;
    ngx_str_t               s;
    ngx_uint_t              i, n, nodes, onces, seen[SLOTS];
    ngx_ws_bus_node_t      *node, *other;
    ngx_ws_bus_once_t      *once;
    ngx_ws_bus_record_t     rec;
    ngx_ws_bus_interest_t  *in;

    nodes = 0;
    onces = 0;
    n = 0;

    tap_each(*test_zone.shpool->mutex.lock == 0, "%s: unlocked", name);
    tap_each(sh->redo.node == NULL, "%s: nothing left to be done", name);
    tap_each(sh->redo_revoke == 0, "%s: nobody left to be told", name);
    tap_each(test_zone.pinned == NULL, "%s: nothing pinned", name);

    for (i = 0; i <= sh->mask; i++) {

        for (node = sh->nodes[i]; node; node = node->next) {
            nodes++;
            n += cells(node);

            tap_each((node->hash & sh->mask) == i, "%s: bucket", name);
            tap_each(node->id && node->id <= sh->next_id, "%s: id", name);

            for (other = node->next; other; other = other->next) {
                ngx_ws_bus_node_name(node, &s);

                tap_each(other->id != node->id
                         && !ngx_ws_bus_node_is(other, &s),
                         "%s: a channel twice", name);
            }

            ngx_memzero(seen, sizeof(seen));

            for (in = node->interest; in; in = in->next) {
                n++;

                if (!tap_each(in->slot < SLOTS && sh->slots[in->slot],
                              "%s: interest of slot %u", name, in->slot))
                {
                    return;
                }

                tap_each(in->count || killed, "%s: interest of nobody", name);
                tap_each(seen[in->slot]++ == 0, "%s: a slot twice", name);
            }

            if (node->last == NGX_WS_BUS_LOG_NONE) {
                tap_each(node->seq == 0 || sh->remote,
                         "%s: a seq without message", name);
                continue;
            }

            pos = node->last;

            if (ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec, &payload)
                == NGX_OK)
            {
                tap_each(rec.channel == node->id && rec.seq == node->seq
                         && rec.type == NGX_WS_BUS_REC_MESSAGE,
                         "%s: the last message is another's", name);

            } else {
                tap_each(node->last < sh->log.tail, "%s: last", name);
            }

            check_links(name, node);
        }

        for (once = sh->onces[i]; once; once = once->next) {
            onces += 1 + once->cell;
            n++;

            tap_each(ngx_ws_bus_once_bucket(&test_zone, once->key)
                     == &sh->onces[i], "%s: key's bucket", name);
            tap_each(once->expires, "%s: a key without result", name);
        }
    }

    for (i = 0; i < SLOTS; i++) {
        n += (sh->slots[i] != NULL);
        tap_each(sh->slots[i] == NULL || i < sh->nslots
                 || sh->slots[i]->pid == 0,
                 "%s: slot beyond their number", name);
    }

    if (killed) {
        return;
    }

    tap_each(sh->channels == nodes, "%s: %lu channels, %lu are counted", name,
             (u_long) nodes, (u_long) sh->channels);
    tap_each(sh->nonces == onces, "%s: %lu keys, %lu are counted", name,
             (u_long) onces, (u_long) sh->nonces);

    if (arena == NULL) {

        n += (sh->remote != NULL);

        /* the zone itself, the log, two tables, the name */

        tap_each(nblocks == n + 7, "%s: %lu blocks, %lu are known", name,
                 (u_long) nblocks, (u_long) n + 7);
    }
}


static inline void
zone_ok(const char *name)
{
    check_zone(name, 0);
    tap_all(name);
}


#endif /* _BUS_H_INCLUDED_ */
