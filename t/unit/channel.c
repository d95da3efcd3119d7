
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "step.h"
#include "tap.h"


#define clock_gettime(id, ts)  test_clock(ts)
#define kill(pid, sig)         test_kill(pid)

static int test_clock(struct timespec *ts);
static int test_kill(pid_t pid);


#include "ngx_ws_bus_log.c"
#include "ngx_ws_bus_doorbell.c"
#include "ngx_ws_bus_zone.c"
#include "ngx_ws_bus_channel.c"

#undef clock_gettime
#undef kill


#if defined(__SANITIZE_THREAD__)
#define TEST_THREADS  1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_THREADS  1
#endif
#endif

#ifndef TEST_THREADS
#define TEST_THREADS  0
#endif


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


static void test_zone_init(void);
static void test_join(void);
static void test_publish(void);
static void test_sequence(void);
static void test_history(void);
static void test_delete(void);
static void test_once(void);
static void test_once_race(void);
static void test_once_limit(void);
static void test_slots(void);
static void test_sweep(void);
static void test_pressure(void);
static void pressure_of(const char *name, ngx_uint_t subscribed);
static void test_failures(void);
static void test_random(size_t size, ngx_uint_t buckets);
static void test_steps(void);
static void test_together(void);
static void test_kills(void);
static void zone_free(void);


static ngx_log_t             test_log;
static ngx_cycle_t           test_cycle;
static ngx_core_conf_t       test_ccf;
static void                 *test_conf[1];

static ngx_shm_zone_t        test_shm;
static ngx_ws_bus_zone_t     test_zone;
static ngx_slab_pool_t       test_pool;
static ngx_atomic_t          test_lock;

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
static ngx_uint_t            alloc_fail_at = NO_FAIL;
static void                (*on_lock)(void);

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


int
main(void)
{
    test_zone_init();
    test_join();
    test_publish();
    test_sequence();
    test_history();
    test_delete();
    test_once();
    test_once_race();
    test_once_limit();
    test_slots();
    test_sweep();
    test_pressure();
    test_failures();

    test_random(4096, 16);
    test_random(4096, 1);
    test_random(30000, 4);

    if (!TEST_THREADS) {
        test_steps();
        test_kills();
    }

    test_together();

    zone_free();

    return tap_done();
}


static unsigned int
next_random(unsigned int n)
{
    seed = seed * 1103515245 + 12345;

    return (seed >> 8) % n;
}


static int
test_clock(struct timespec *ts)
{
    ts->tv_sec = test_now / 1000000;
    ts->tv_nsec = test_now % 1000000 * 1000;

    return 0;
}


static int
test_kill(pid_t pid)
{
    if (pid > 0 && pid < PIDS && test_alive[pid]) {
        return 0;
    }

    errno = ESRCH;

    return -1;
}


static void
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


static ngx_uint_t
locked(ngx_shmtx_t *mtx)
{
    return __atomic_load_n(mtx->lock, __ATOMIC_RELAXED) != 0;
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    if (!locked(mtx)) {
        bug("the mutex is not taken");
    }

    __atomic_store_n(mtx->lock, 0, __ATOMIC_RELEASE);
}


static void *
slab_alloc(size_t size)
{
    u_char  *p;

    if (fail_at != NO_FAIL && fail_at-- == 0) {
        fail_at = NO_FAIL;
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
}


/* the process in a slot does what follows */

static void
become(ngx_uint_t slot)
{
    ngx_process_slot = slot;
    ngx_pid = test_pids[slot];
}


static void
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


static void
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


static void
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
    test_lock = 0;

    ngx_str_set(&test_zone.name, "test");
    test_zone.shm_zone = &test_shm;
    test_zone.cycle = &test_cycle;

    test_shm.shm.addr = (u_char *) &test_pool;
    test_shm.shm.size = 96 * 1024;
    test_shm.shm.log = &test_log;
    test_shm.data = &test_zone;
}


static void
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

static void
zone_create(size_t size, ngx_uint_t buckets)
{
    zone_prepare();
    zone_start(size, buckets);
}


/* one that processes share */

static void
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

    arena = a;
    test_shm.shm.addr = (u_char *) &a->pool;
    test_shm.shm.size = zone;

    zone_start(size, buckets);
}


static ngx_str_t *
name_of(const char *name)
{
    static __thread ngx_str_t  s;

    s.len = strlen(name);
    s.data = (u_char *) name;

    return &s;
}


static ngx_ws_bus_node_t *
join(ngx_uint_t slot, const char *name)
{
    become(slot);

    return ngx_ws_bus_channel_join(&test_zone, name_of(name), &view);
}


static void
part(ngx_uint_t slot, ngx_ws_bus_node_t *node)
{
    become(slot);

    ngx_ws_bus_channel_part(&test_zone, node);
}


static ngx_ws_bus_node_t *
find(const char *name)
{
    ngx_uint_t          i;
    ngx_ws_bus_node_t  *node;

    for (i = 0; i <= sh->mask; i++) {
        for (node = sh->nodes[i]; node; node = node->next) {
            if (node->len == strlen(name)
                && memcmp(node->name, name, node->len) == 0)
            {
                return node;
            }
        }
    }

    return NULL;
}


/* keys are strings; an age is in microseconds */

static ngx_int_t
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

    if (key) {
        ngx_memzero(once, sizeof(once));
        memcpy(once, key, strlen(key));
        msg.once = once;
    }

    return ngx_ws_bus_channel_publish(&test_zone, NULL, name_of(name), &msg,
                                      &place, rings, &nrings);
}


static ngx_int_t
keep(const char *name, const char *text)
{
    return publish(name, text, 1, 0, NULL);
}


/*
 * What a worker reads from the log, as ngx_ws_bus_hub_read() does.  To copy
 * what may be overwritten, and to ask afterwards, is the idea: it is no race
 * for ThreadSanitizer to report.
 */

#if (TEST_THREADS)

void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);

#define copying_begin()  AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define copying_end()    AnnotateIgnoreReadsEnd(__FILE__, __LINE__)

#else

#define copying_begin()
#define copying_end()

#endif


static void
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

static const char *
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

static const char *
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

    if (ngx_ws_bus_channel_history(&test_zone, v, after, count, age, &h,
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


static const char *
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


static void
is_text(const char *text, const char *want, const char *name)
{
    if (!tap_ok(strcmp(text, want) == 0, "%s", name)) {
        tap_diag("got \"%s\", expected \"%s\"", text, want);
    }
}


static void
each_text(const char *text, const char *want, const char *name)
{
    tap_each(strcmp(text, want) == 0, "%s: got \"%s\", expected \"%s\"", name,
             text, want);
}


static ngx_uint_t
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


/*
 * Whether everything in the zone hangs together.  What a killed process
 * leaves may have lost memory, and for a moment the counters.
 */

static void
check_zone(const char *name, ngx_uint_t killed)
{
    u_char                 *payload;
    uint64_t                pos;
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
    tap_each(test_zone.pinned == NULL, "%s: nothing pinned", name);

    for (i = 0; i <= sh->mask; i++) {

        for (node = sh->nodes[i]; node; node = node->next) {
            nodes++;
            n++;

            tap_each((node->hash & sh->mask) == i, "%s: bucket", name);
            tap_each(node->id && node->id <= sh->next_id, "%s: id", name);

            for (other = node->next; other; other = other->next) {
                tap_each(other->id != node->id
                         && !(other->len == node->len
                              && memcmp(other->name, node->name, node->len)
                                 == 0),
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
                tap_each(node->seq == 0, "%s: a seq without message", name);
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
        }

        for (once = sh->onces[i]; once; once = once->next) {
            onces++;
            n++;

            tap_each(ngx_ws_bus_channel_once_bucket(&test_zone, once->key)
                     == &sh->onces[i], "%s: key's bucket", name);
            tap_each(once->time, "%s: a key without result", name);
        }
    }

    for (i = 0; i < SLOTS; i++) {
        n += (sh->slots[i] != NULL);
        tap_each(sh->slots[i] == NULL || i < sh->nslots || killed,
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

        /* the zone itself, the log, two tables, the name */

        tap_each(nblocks == n + 5, "%s: %lu blocks, %lu are known", name,
                 (u_long) nblocks, (u_long) n + 5);
    }
}


static void
zone_ok(const char *name)
{
    check_zone(name, 0);
    tap_all(name);
}


static void
test_zone_init(void)
{
    ngx_int_t               rc;
    ngx_uint_t              i;
    ngx_ws_bus_zone_t       old, next;
    ngx_ws_bus_doorbells_t  *d;

    for (i = 0; i < 20; i++) {
        zone_prepare();
        fail_at = i;

        rc = ngx_ws_bus_zone_init(&test_shm, NULL);

        if (rc == NGX_OK) {
            break;
        }

        tap_each(rc == NGX_ERROR && i < 5, "allocation %lu", (u_long) i);
    }

    fail_at = NO_FAIL;

    tap_is(i, 5, "a zone needs memory for each part");
    tap_all("and is refused without");

    sh = test_zone.sh;
    check_zone("a new zone", 0);
    tap_ok(((sh->mask + 1) & sh->mask) == 0, "a power of two of buckets");
    tap_is(sh->log.size, ngx_ws_bus_zone_log_size(test_shm.shm.size),
           "a log of its size");
    tap_ok(sh->max_onces > 0, "room for keys");

    enter(1);
    join(1, "c");
    keep("c", "one");

    /* over a reload */

    old = test_zone;
    next = test_zone;
    next.sh = NULL;
    next.doorbells = NULL;
    next.generation = 0;
    test_shm.data = &next;

    d = old.doorbells;
    i = d->n;

    tap_is(ngx_ws_bus_zone_init(&test_shm, &old), NGX_OK, "a reload");
    tap_ok(next.sh == sh && next.doorbells == d && next.generation == 1,
           "the new generation has the same memory and doorbells");

    ngx_ws_bus_zone_cleanup(&next);
    tap_ok(d->refs == 1 && d->n == i, "a refused one gives them back");

    is_text(history("c", 0, ANY, 0), "1:one", "nothing has changed");
    zone_ok("the zone after a reload");
}


static void
test_join(void)
{
    uint64_t            id;
    ngx_ws_bus_node_t  *node, *same, *other;

    zone_create(4096, 4);
    enter(1);
    enter(2);

    node = join(1, "c");

    tap_ok(node && node == find("c"), "a channel is made");
    tap_ok(view.id == node->id && view.id && view.epoch == node->epoch
           && view.seq == 0 && view.last == NGX_WS_BUS_LOG_NONE
           && view.head == 0, "it is empty");
    tap_is(interest(node, 1), 1, "one subscriber");

    same = join(1, "c");
    tap_ok(same == node && interest(node, 1) == 2, "a second one");

    same = join(2, "c");
    tap_ok(same == node && interest(node, 2) == 1 && interest(node, 1) == 2,
           "one of another process");

    other = join(2, "cc");
    tap_ok(other != node && other->id != node->id && interest(other, 2) == 1,
           "of another channel");

    tap_ok(join(2, "")->len == 0 && find(""), "the empty name is a name");

    id = node->id;

    part(1, node);
    tap_ok(interest(node, 1) == 1 && interest(node, 2) == 1,
           "one leaves, one stays");

    part(1, node);
    tap_ok(interest(node, 1) == 0 && interest(node, 2) == 1,
           "the other process keeps its own");

    part(2, node);
    tap_ok(node->interest == NULL && find("c") == node,
           "the channel stays for a while");

    tap_ok(join(1, "c") == node && view.id == id, "and is found again");

    part(1, node);
    part(1, node);
    tap_ok(node->interest == NULL, "leaving once too often does nothing");

    zone_ok("joining and leaving");
}


static void
test_publish(void)
{
    uint64_t            pos;
    ngx_ws_bus_node_t  *node, *other;

    zone_create(4096, 4);
    enter(1);
    enter(2);
    enter(3);

    tap_is(publish("c", "lost", 0, 0, NULL), NGX_OK, "to nobody");
    tap_ok(find("c") == NULL && sh->log.head == 0 && place.seq == 0
           && place.subscribers == 0 && nrings == 0, "leaves no trace");

    node = join(1, "c");
    join(1, "c");
    join(2, "c");
    other = join(3, "d");

    become(3);
    tap_is(publish("c", "hello", 0, 0, NULL), NGX_OK, "to a channel");
    tap_ok(place.subscribers == 3 && place.seq == 0 && !place.repeated,
           "of three subscribers");
    tap_ok(nrings == 2 && rings[0] + rings[1] == 3 && rings[0] != rings[1],
           "of two processes, which are to be rung");
    tap_ok(sh->slots[1]->pending && sh->slots[2]->pending
           && !sh->slots[3]->pending, "nobody else is");

    publish("c", "", 0, 0, NULL);
    tap_ok(nrings == 0 && place.subscribers == 3,
           "whoever has not looked yet is not rung again");

    is_text(read_channel(1, node), "0:hello 0:", "one reads them");
    tap_ok(got[0].rec.time == test_now && got[0].rec.flags == 0
           && got[0].rec.prev == NGX_WS_BUS_LOG_NONE, "as they were");
    is_text(read_channel(1, node), "", "once");

    pos = sh->log.head;
    publish("c", "again", 0, 0, NULL);
    tap_ok(nrings == 1 && rings[0] == 1 && sh->slots[1]->from == pos
           && sh->slots[2]->from == 0,
           "it is rung for what comes then, the other one is not");

    is_text(read_channel(2, node), "0:hello 0: 0:again",
            "the other one reads all");
    is_text(read_channel(1, node), "0:again", "the first one the rest");
    tap_is(ngot, 1, "and only that");

    /* what is for others is stepped over */

    publish("d", "for 3", 0, 0, NULL);
    publish("d", "for 3", 0, 0, NULL);
    publish("c", "for 1 and 2", 0, 0, NULL);
    publish("d", "for 3", 0, 0, NULL);

    is_text(read_channel(3, other), "0:for 3 0:for 3 0:for 3",
            "a third one reads its own");
    is_text(read_channel(1, node), "0:for 1 and 2", "the first one its own");
    tap_is(got[0].rec.channel, node->id, "without what came before");

    /* of processes that are gone */

    is_text(read_channel(2, node), "0:for 1 and 2", "and the second");
    test_alive[test_pids[2]] = 0;

    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 3 && nrings == 2,
           "a killed process counts until it is missed");

    become(1);
    tap_is(ngx_ws_bus_zone_reap(&test_zone), 1, "it is missed");
    tap_is(ngx_ws_bus_zone_reap(&test_zone), 0, "once");

    read_slot(1);
    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 2 && nrings == 1 && rings[0] == 1,
           "then it does not");

    enter(2);
    tap_is(interest(node, 2), 0, "its successor has no subscribers");

    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 2 && nrings == 0, "and is not rung");

    tap_is(publish("c", "0123456789012345678901234567890123456789", 0, 0,
                   NULL), NGX_OK, "a message");
    ngx_ws_bus_log_init(&sh->log, sh->log.data, 88);
    tap_is(publish("c", "0123456789012345678901234567890123456789", 0, 0,
                   NULL), NGX_ERROR, "a message larger than the log");
    tap_is(publish("e", "0123456789012345678901234567890123456789", 1, 0,
                   "key"), NGX_ERROR, "and with a key");
    tap_ok(publish("e", "0", 1, 0, "key") == NGX_OK && !place.repeated,
           "which is not known afterwards");

    zone_ok("publishing");
}


static void
test_sequence(void)
{
    uint64_t            first;
    ngx_ws_bus_node_t  *c, *d;

    zone_create(4096, 1);
    enter(1);
    c = join(1, "c");
    d = join(1, "d");

    tap_is(keep("c", "one"), NGX_OK, "a message is kept");
    tap_ok(place.seq == 1 && place.epoch == c->epoch, "as the first one");

    first = c->last;

    keep("d", "one");
    publish("c", "gone", 0, 0, NULL);
    keep("c", "two");

    tap_ok(place.seq == 2 && c->seq == 2 && d->seq == 1,
           "each channel counts its own");

    is_text(read_channel(1, c), "1:one 0:gone 2:two", "as readers see it");
    tap_ok(got[0].rec.prev == NGX_WS_BUS_LOG_NONE
           && got[3].rec.prev == first, "each knows the one before it");

    is_text(history("c", 0, ANY, 0), "1:one 2:two", "as the history has it");
    is_text(history("d", 0, ANY, 0), "1:one", "and the other channel's");

    tap_ok(keep("e", "one") == NGX_OK && find("e") && place.seq == 1
           && place.subscribers == 0, "a kept message makes a channel");

    zone_ok("numbering");
}


static void
test_history(void)
{
    char                   text[16], want[GOT * 8], *p;
    ngx_uint_t             i;
    ngx_ws_bus_view_t      v;
    ngx_ws_bus_state_t     state;
    ngx_ws_bus_history_t   h;

    zone_create(4096, 1);
    enter(1);
    join(1, "c");

    is_text(history("c", 0, ANY, 0), "", "nothing is kept");

    for (i = 1; i <= 5; i++) {
        sprintf(text, "m%lu", (u_long) i);
        keep("c", text);
        keep("d", text);
        test_now += SECOND;
    }

    is_text(history("c", 0, ANY, 0), "1:m1 2:m2 3:m3 4:m4 5:m5", "all");
    is_text(history("c", 3, ANY, 0), "4:m4 5:m5", "after one");
    is_text(history("c", 5, ANY, 0), "", "after the last");
    is_text(history("c", 99, ANY, 0), "", "after what is to come");
    is_text(history("c", 0, 2, 0), "4:m4 5:m5", "the newest two");
    is_text(history("c", 2, 2, 0), "4:m4 5:m5", "of three, the newest two");
    is_text(history("c", 4, 2, 0), "5:m5", "of one");
    is_text(history("c", 0, 0, 0), "", "none");
    is_text(history("c", 0, ANY, 2 * SECOND), "4:m4 5:m5",
            "at most two seconds old");
    is_text(history("c", 0, ANY, 2 * SECOND - 1), "5:m5", "and a bit less");
    is_text(history("c", 0, ANY, 1), "", "and hardly any");
    is_text(history("c", 0, ANY, 3600 * SECOND), "1:m1 2:m2 3:m3 4:m4 5:m5",
            "and an hour");

    v = view;
    keep("c", "m6");
    is_text(history_of(&v, 3, ANY, 0), "4:m4 5:m5", "up to the view");
    is_text(history("c", 3, ANY, 0), "4:m4 5:m5 6:m6", "and now");

    tap_is(ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 0, &state,
                                    &test_log), NGX_OK, "the state");
    tap_ok(state.subscribers == 1 && state.seq == 6 && state.oldest == 1
           && state.messages == 6 && state.epoch == v.epoch, "of a channel");

    ngx_ws_bus_channel_state(&test_zone, name_of("c"), 4, 0, &state,
                             &test_log);
    tap_ok(state.seq == 6 && state.oldest == 3 && state.messages == 4,
           "within the count");

    ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 1, &state,
                             &test_log);
    tap_ok(state.seq == 6 && state.oldest == 6 && state.messages == 1,
           "within the age");

    test_now += 10;
    ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 1, &state,
                             &test_log);
    tap_ok(state.seq == 6 && state.oldest == 0 && state.messages == 0,
           "nothing");

    tap_is(ngx_ws_bus_channel_state(&test_zone, name_of("x"), ANY, 0, &state,
                                    &test_log), NGX_DECLINED,
           "of a channel that is not");

    /* many, so that positions need more and more memory */

    zone_create(30000, 1);
    enter(1);
    p = want;

    for (i = 1; i <= 300; i++) {
        keep("c", "m");
        p += sprintf(p, "%s%lu:m", i > 1 ? " " : "", (u_long) i);
    }

    each_text(history("c", 0, ANY, 0), want, "300 messages");

    for (i = 0; i < 10; i++) {
        alloc_fail_at = i;

        if (strcmp(history("c", 0, ANY, 0), "error") != 0) {
            break;
        }
    }

    tap_each(i == 5 && alloc_fail_at == 0, "%lu allocations", (u_long) i);
    alloc_fail_at = 0;
    tap_each(ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 0,
                                      &state, &test_log) == NGX_ERROR,
             "the state without memory");
    alloc_fail_at = NO_FAIL;
    tap_all("a history's memory");

    /* forgotten by the log: what is left is contiguous up to the newest */

    zone_create(1024, 1);
    enter(1);

    for (i = 1; i <= 200; i++) {
        keep("c", "m");

        if (i % 3 == 0) {
            publish("d", "some other message", 1, 0, NULL);
        }

        ngx_ws_bus_channel_view(&test_zone, find("c"), &view);

        if (ngx_ws_bus_channel_history(&test_zone, &view, 0, ANY, 0, &h,
                                       &test_log)
            != NGX_OK)
        {
            break;
        }

        tap_each(h.n > 5 || h.n == i, "%lu of %lu", (u_long) h.n, (u_long) i);
        tap_each(h.first == i - h.n + 1, "first of %lu", (u_long) i);
        tap_each(h.pos[0] >= sh->log.tail, "oldest of %lu", (u_long) i);
        tap_each(h.n == i
                 || h.pos[0] < sh->log.tail + 2 * 80 + 80,
                 "nothing is forgotten too early");

        free(h.pos);
    }

    tap_all("a history that the log forgets");

    v = view;

    for (i = 0; i < 20; i++) {
        keep("d", "m");
    }

    is_text(history_of(&v, 0, ANY, 0), "", "a view whose messages are gone");
    is_text(history("c", 0, ANY, 0), "", "a channel whose messages are gone");
    tap_is(find("c")->seq, 200, "it still counts");
    keep("c", "next");
    is_text(history("c", 0, ANY, 0), "201:next", "and goes on");

    zone_ok("histories");
}


static void
test_delete(void)
{
    uint64_t            epoch, id, head;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 1);
    enter(1);
    enter(2);

    tap_is(ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings,
                                     &nrings), NGX_DECLINED,
           "there is no such channel");
    tap_is(nrings, 0, "nobody is rung");

    node = join(1, "c");
    join(2, "c");
    keep("c", "one");
    keep("c", "two");

    epoch = node->epoch;
    id = node->id;

    read_slot(1);
    head = sh->log.head;

    tap_is(ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings,
                                     &nrings), NGX_OK, "a channel is deleted");
    tap_ok(nrings == 1 && rings[0] == 1 && sh->slots[1]->from == head,
           "its subscribers are rung");
    tap_ok(find("c") == node && node->id == id && node->epoch != epoch
           && node->seq == 0, "it starts anew");

    ngx_ws_bus_channel_view(&test_zone, node, &view);
    is_text(history_of(&view, 0, ANY, 0), "", "without history");

    keep("c", "three");
    tap_ok(place.seq == 1 && place.epoch == node->epoch, "from number 1");
    is_text(history("c", 0, ANY, 0), "1:three", "with a history of its own");

    is_text(read_channel(1, node), "deleted 1:three", "as one reads");
    tap_is(got[0].rec.seq, node->epoch, "with the new epoch");
    is_text(read_channel(2, node), "1:one 2:two deleted 1:three",
            "and the other");

    zone_ok("a deletion");
}


static void
test_once(void)
{
    uint64_t            head, epoch;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 1);
    enter(1);
    node = join(1, "c");
    epoch = node->epoch;

    publish("c", "one", 1, 0, "k1");
    tap_ok(place.seq == 1 && !place.repeated && place.subscribers == 1,
           "a publication with a key");

    head = sh->log.head;
    join(1, "c");
    read_slot(1);

    tap_is(publish("c", "another", 1, 0, "k1"), NGX_OK, "its repetition");
    tap_ok(place.repeated && place.seq == 1 && place.epoch == epoch
           && place.subscribers == 1, "has the same answer");
    tap_ok(sh->log.head == head && nrings == 0, "and does nothing");

    publish("c", "two", 1, 0, "k2");
    tap_ok(!place.repeated && place.seq == 2, "another key is another one");

    publish("c", "three", 1, 0, NULL);
    tap_ok(!place.repeated && place.seq == 3, "and so is none");

    publish("c", "four", 0, 0, "k4");
    tap_ok(!place.repeated && place.seq == 0 && place.subscribers == 2,
           "without history");
    publish("c", "four", 0, 0, "k4");
    tap_ok(place.repeated && place.seq == 0 && place.subscribers == 2,
           "it is known as well");

    publish("nobody", "five", 0, 0, "k5");
    tap_ok(!place.repeated && find("nobody") == NULL, "to nobody");
    publish("nobody", "five", 0, 0, "k5");
    tap_ok(place.repeated && find("nobody") == NULL, "the same");

    is_text(history("c", 0, ANY, 0), "1:one 2:two 3:three",
            "each has been done once");

    zone_ok("keys");

    test_now += NGX_WS_BUS_ONCE_TIME - 1;
    publish("c", "again", 1, 0, "k1");
    tap_ok(place.repeated && place.seq == 1, "for five minutes");

    test_now += 1;
    publish("c", "again", 1, 0, "k1");
    tap_ok(!place.repeated && place.seq == 4, "then it is new");
    publish("c", "again", 1, 0, "k1");
    tap_ok(place.repeated && place.seq == 4, "and known again");

    test_now += 2 * NGX_WS_BUS_ONCE_TIME;
    publish("c", "other", 1, 0, "k9");
    zone_ok("keys after five minutes");
    tap_is(sh->nonces, 1, "the old ones have made way");
}


/* another worker has the same request, and is faster by a moment */

static void
test_once_race_hook(void)
{
    ngx_ws_bus_place_t  mine;

    mine = place;
    test_now += 10;

    publish("c", "one", 1, 0, "key");
    test_now -= 10;

    if (place.repeated) {
        bug("repeated");
    }

    place = mine;
}


static void
test_once_race(void)
{
    zone_create(4096, 1);
    enter(1);
    join(1, "c");

    on_lock = test_once_race_hook;
    publish("c", "one", 1, 0, "key");

    tap_ok(place.repeated && place.seq == 1,
           "a later clock of an earlier one does no harm");
    is_text(history("c", 0, ANY, 0), "1:one", "it is done once");
    zone_ok("two with a key at once");
}


static void
test_once_limit(void)
{
    char        key[NGX_WS_BUS_ONCE_LEN];
    ngx_uint_t  i;

    zone_create(4096, 4);
    enter(1);
    join(1, "c");
    sh->max_onces = 10;

    for (i = 0; i < 100; i++) {
        sprintf(key, "%lu", (u_long) i);

        tap_each(publish("c", "m", 1, 0, key) == NGX_OK && !place.repeated,
                 "key %lu", (u_long) i);
        tap_each(sh->nonces <= 10, "%lu keys", (u_long) sh->nonces);
        tap_each(publish("c", "m", 1, 0, key) == NGX_OK && place.repeated,
                 "key %lu again", (u_long) i);
    }

    tap_each(find("c")->seq == 100, "each once");
    check_zone("many keys", 0);
    tap_all("no more keys than there may be");
}


static void
test_slots(void)
{
    ngx_ws_bus_node_t  *c, *d;

    zone_create(4096, 4);

    enter(5);
    tap_is(sh->nslots, 6, "the highest slot is known");
    enter(2);
    tap_is(sh->nslots, 6, "and stays");

    c = join(2, "c");
    d = join(2, "d");
    join(5, "d");

    sh->slots[2]->stats.subscriptions = 2;
    sh->slots[2]->stats.connections = 2;
    sh->slots[2]->stats.messages_in = 7;

    enter(2);

    tap_ok(interest(c, 2) == 0 && interest(d, 2) == 0 && interest(d, 5) == 1,
           "a successor frees what was left, and nothing else");
    tap_ok(sh->slots[2]->stats.subscriptions == 0
           && sh->slots[2]->stats.connections == 0, "gauges start at 0");
    tap_is(sh->slots[2]->stats.messages_in, 7, "counters go on");
    tap_ok(sh->slots[2]->pid == test_pids[2], "it has the slot");

    zone_ok("a successor");

    become(2);
    ngx_ws_bus_zone_leave(&test_zone);

    tap_ok(sh->slots[2]->pid == 0 && sh->slots[2]->clean, "it leaves");

    enter(2);
    c = join(2, "c");
    sh->slots[2]->stats.subscriptions = 1;
    ngx_ws_bus_zone_leave(&test_zone);

    tap_ok(!sh->slots[2]->clean, "it leaves in a hurry");
    become(5);
    publish("c", "m", 0, 0, NULL);
    tap_ok(place.subscribers == 0 && nrings == 0, "nobody rings it");

    enter(2);
    tap_is(interest(c, 2), 0, "and the next one cleans up");

    /* without memory */

    become(3);
    fail_at = 0;
    tap_ok(ngx_ws_bus_zone_enter(&test_zone, &test_log) == NULL
           && sh->slots[3] == NULL, "no memory for a slot");

    zone_ok("slots");
}


/*
 * Channels that nobody needs go, in time; those that somebody needs stay.
 */

static void
make_channels(ngx_uint_t n)
{
    char        name[16];
    ngx_uint_t  i;

    static ngx_uint_t  made;

    for (i = 0; i < n; i++) {
        sprintf(name, "new%lu", (u_long) made++);
        part(7, join(7, name));
    }
}


static void
test_sweep(void)
{
    zone_create(2048, 4);
    enter(1);
    enter(2);
    enter(7);

    join(1, "subscribed");
    join(2, "killed");
    part(1, join(1, "idle"));
    publish("kept", "m", 1, 0, NULL);
    publish("aged", "m", 1, 100 * SECOND, NULL);
    publish("forgotten", "m", 1, 0, NULL);

    make_channels(10);
    tap_ok(find("idle") && find("kept") && find("aged"),
           "all are there for a minute");

    test_now += NGX_WS_BUS_IDLE_TIME;
    make_channels(10);
    tap_ok(find("idle") != NULL, "to the end of the minute");

    test_now += 1;
    make_channels(2);
    tap_ok(find("idle") == NULL, "an idle one goes");
    tap_ok(find("subscribed") && find("kept") && find("aged")
           && find("killed"), "those with a use stay");

    test_now += 40 * SECOND;
    make_channels(2);
    tap_ok(find("aged") == NULL, "one whose messages are too old goes");

    while (find("forgotten")->last >= sh->log.tail) {
        publish("kept", "m", 1, 0, NULL);
    }

    make_channels(2);
    tap_ok(find("forgotten") == NULL,
           "one whose messages the log has forgotten goes");
    tap_ok(find("kept") != NULL, "not one that has some");

    test_alive[test_pids[2]] = 0;
    become(1);
    make_channels(2);
    tap_ok(find("killed") != NULL, "a killed process' channel is kept");

    ngx_ws_bus_zone_reap(&test_zone);
    make_channels(2);
    tap_ok(find("killed") == NULL, "until it is missed");

    zone_ok("channels that have gone");

    test_now += 1000 * NGX_WS_BUS_IDLE_TIME;
    make_channels(2);
    tap_ok(find("subscribed") != NULL, "a subscribed one never does");
    tap_is(interest(find("subscribed"), 1), 1, "with its subscriber");

    zone_ok("after a long time");
}


/*
 * The zone is full: first what is of no use makes way, then what only has a
 * history, and subscribed channels never.
 */

static void
test_pressure(void)
{
    char                name[16];
    size_t              size;
    ngx_uint_t          i, n;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 4);
    enter(1);
    enter(7);

    join(1, "s1");
    join(1, "s2");
    keep("h1", "m");
    part(1, join(1, "i1"));

    size = offsetof(ngx_ws_bus_node_t, name) + 2;

    /* only room for the subscriber of a channel */

    room = sizeof(ngx_ws_bus_interest_t);

    node = join(1, "s3");
    tap_ok(node && find("s3") == node, "there is always room for one more");
    tap_ok(find("i1") == NULL && find("h1"), "the idle one has made way");

    room = sizeof(ngx_ws_bus_interest_t);

    node = join(1, "s4");
    tap_ok(node && find("h1") == NULL, "then the one with a history");

    room = sizeof(ngx_ws_bus_interest_t);

    tap_ok(join(1, "s5") == NULL && find("s5") == NULL,
           "then there is no room");
    tap_is(publish("s5", "m", 1, 0, NULL), NGX_DECLINED,
           "nor for a kept message of a new channel");
    tap_is(publish("s4", "m", 1, 0, NULL), NGX_OK, "of an old one there is");
    tap_ok(find("s1") && find("s2") && find("s3") && find("s4"),
           "what is subscribed stays");

    zone_ok("a full zone");

    /* room for a channel, but not for its subscriber */

    room = size;

    tap_ok(join(1, "s5") == NULL, "no room for a subscriber");
    check_zone("no room for a subscriber", 0);

    room = ROOM_MAX;

    tap_ok(join(1, "s5") != NULL && interest(find("s5"), 1) == 1,
           "then there is");

    zone_ok("a zone with room again");

    /* a channel being joined is in use, though nobody knows yet */

    for (i = 0; i < 20; i++) {
        zone_create(4096, 1);
        enter(1);

        n = next_random(4) + 1;

        while (n--) {
            sprintf(name, "i%lu", (u_long) n);
            part(1, join(1, name));
        }

        room = size + next_random(sizeof(ngx_ws_bus_interest_t));

        node = join(1, "s1");

        tap_each(node && find("s1") == node && interest(node, 1) == 1,
                 "joined");

        check_zone("joined", 0);
    }

    tap_all("a channel being joined does not make way");

    pressure_of("no subscribers", 0);
    pressure_of("some subscribed", 5);
}


/* 500 channels come one after the other, and there is room for some 20 */

static void
pressure_of(const char *name, ngx_uint_t subscribed)
{
    char        channel[32];
    ngx_uint_t  i;

    zone_create(4096, 16);
    enter(1);

    room = 20 * (offsetof(ngx_ws_bus_node_t, name) + 6);

    for (i = 0; i < subscribed; i++) {
        sprintf(channel, "s%lu", (u_long) i);
        join(1, channel);
    }

    for (i = 0; i < 500; i++) {
        sprintf(channel, "h%lu", (u_long) i);

        tap_each(keep(channel, "m") == NGX_OK && place.seq == 1, "%s",
                 channel);
        tap_each(strcmp(history(channel, 0, ANY, 0), "1:m") == 0, "%s",
                 channel);

        if (i % 7 == 0) {
            check_zone(name, 0);
        }
    }

    for (i = 0; i < subscribed; i++) {
        sprintf(channel, "s%lu", (u_long) i);
        tap_each(find(channel) != NULL, "%s stays", channel);
    }

    tap_all(name);
}


/*
 * Whichever allocation fails, the operation does nothing or all, and can be
 * repeated.
 */

typedef struct {
    const char  *name;
    ngx_uint_t   allocs;
    ngx_int_t  (*run)(void);
} failure_t;


static ngx_int_t
fail_join_new(void)
{
    return join(1, "new") ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
fail_join_known(void)
{
    return join(1, "known") ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
fail_keep_new(void)
{
    return keep("new", "m");
}


static ngx_int_t
fail_key(void)
{
    return publish("known", "m", 1, 0, "key");
}


static ngx_int_t
fail_key_new(void)
{
    return publish("new", "m", 1, 0, "key");
}


static ngx_int_t
fail_key_nobody(void)
{
    return publish("new", "m", 0, 0, "key");
}


static void
test_failures(void)
{
    uint64_t    head;
    ngx_int_t   rc;
    ngx_uint_t  i, n, seq;

    static failure_t  failures[] = {
        { "joining a new channel", 2, fail_join_new },
        { "joining a known channel", 1, fail_join_known },
        { "keeping in a new channel", 1, fail_keep_new },
        { "a key", 1, fail_key },
        { "a key and a new channel", 2, fail_key_new },
        { "a key to nobody", 1, fail_key_nobody }
    };

    for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {

        for (n = 0; n < 10; n++) {
            zone_create(4096, 4);
            enter(1);
            enter(2);
            join(2, "known");
            keep("known", "m");

            head = sh->log.head;
            seq = find("known")->seq;

            fail_at = n;
            rc = failures[i].run();

            if (fail_at != NO_FAIL) {
                break;
            }

            tap_each(rc == NGX_DECLINED, "%s: allocation %lu: %ld",
                     failures[i].name, (u_long) n, (long) rc);
            tap_each(sh->log.head == head && find("known")->seq == seq
                     && interest(find("known"), 1) == 0
                     && interest(find("known"), 2) == 1,
                     "%s: allocation %lu: changes nothing", failures[i].name,
                     (u_long) n);
            check_zone(failures[i].name, 0);

            tap_each(failures[i].run() == NGX_OK && !place.repeated,
                     "%s: repeated", failures[i].name);
            check_zone(failures[i].name, 0);
        }

        tap_each(n == failures[i].allocs, "%s: %lu allocations",
                 failures[i].name, (u_long) n);
    }

    tap_all("each allocation that fails");
}


/*
 * Random operations of some processes on some channels, against what should
 * come of them.
 */

#define R_CHANNELS  6
#define R_SLOTS     4
#define R_KEYS      5
#define R_STEPS     20000
#define R_KEPT      512
#define R_OWED      2048


typedef struct {
    uint64_t             pos;
    uint64_t             seq;
    uint64_t             time;
    ngx_uint_t           number;     /* of the message, its payload */
} r_kept_t;


typedef struct {
    char                 name[8];
    ngx_ws_bus_node_t   *node;       /* NULL: there is none */
    uint64_t             id;
    uint64_t             epoch;
    uint64_t             seq;
    uint64_t             touched;
    uint64_t             keep;
    ngx_uint_t           subs[R_SLOTS];
    uint64_t             from[R_SLOTS];
    r_kept_t             kept[R_KEPT];
    ngx_uint_t           nkept;
} r_channel_t;


typedef struct {
    uint64_t             pos;
    ngx_uint_t           channel;
    ngx_uint_t           number;     /* 0: a deletion */
} r_owed_t;


typedef struct {
    ngx_uint_t           taken;      /* has a pid, dead or alive */
    ngx_uint_t           alive;
    r_owed_t             owed[R_OWED];
    ngx_uint_t           nowed;
} r_slot_t;


typedef struct {
    char                 name[8];
    uint64_t             time;       /* 0: not known */
    ngx_ws_bus_place_t   place;
} r_key_t;


static r_channel_t  r_channels[R_CHANNELS];
static r_slot_t     r_slots[R_SLOTS];
static r_key_t      r_keys[R_KEYS];
static ngx_uint_t   r_number;


static void
r_forget(r_channel_t *ch)
{
    ch->node = NULL;
    ch->seq = 0;
    ch->nkept = 0;
    ngx_memzero(ch->subs, sizeof(ch->subs));
}


static ngx_uint_t
r_subscribers(r_channel_t *ch)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < R_SLOTS; i++) {
        if (r_slots[i].taken) {
            n += ch->subs[i];
        }
    }

    return n;
}


/* a channel may go when nobody needs it; it never comes unasked */

static void
r_compare(void)
{
    ngx_uint_t          i, j;
    r_channel_t        *ch;
    ngx_ws_bus_node_t  *node;

    for (i = 0; i < R_CHANNELS; i++) {
        ch = &r_channels[i];
        node = find(ch->name);

        if (ch->node == NULL) {
            tap_each(node == NULL, "channel %s out of nothing", ch->name);
            continue;
        }

        if (node == NULL) {
            tap_each(r_subscribers(ch) == 0
                     && test_now > ch->touched + NGX_WS_BUS_IDLE_TIME
                     && (ch->nkept == 0 || ch->keep <= test_now
                         || ch->kept[ch->nkept - 1].pos < sh->log.tail),
                     "channel %s has gone too early", ch->name);
            r_forget(ch);
            continue;
        }

        tap_each(node == ch->node && node->id == ch->id
                 && node->epoch == ch->epoch && node->seq == ch->seq,
                 "channel %s is another one", ch->name);

        for (j = 0; j < R_SLOTS; j++) {
            tap_each(interest(node, j) == ch->subs[j],
                     "subscribers of %s in slot %lu", ch->name, (u_long) j);
        }
    }
}


static void
r_known(r_channel_t *ch, uint64_t epoch)
{
    ngx_ws_bus_node_t  *node;

    node = find(ch->name);

    /* swept and made again at once */

    if (ch->node && node->id != ch->id) {
        r_forget(ch);
    }

    if (ch->node == NULL) {
        ch->node = node;
        ch->id = node->id;
        ch->touched = test_now;
        ch->keep = 0;
        ch->epoch = epoch;
    }
}


static void
r_owe(r_channel_t *ch, uint64_t pos, ngx_uint_t number)
{
    r_slot_t    *s;
    ngx_uint_t   i;

    for (i = 0; i < R_SLOTS; i++) {
        s = &r_slots[i];

        if (ch->subs[i] && s->alive && s->nowed < R_OWED) {
            s->owed[s->nowed].pos = pos;
            s->owed[s->nowed].channel = ch - r_channels;
            s->owed[s->nowed].number = number;
            s->nowed++;
        }
    }
}


static void
r_disowe(ngx_uint_t slot, ngx_uint_t channel)
{
    r_slot_t    *s;
    ngx_uint_t   i, n;

    s = &r_slots[slot];
    n = 0;

    for (i = 0; i < s->nowed; i++) {
        if (s->owed[i].channel != channel) {
            s->owed[n++] = s->owed[i];
        }
    }

    s->nowed = n;
}


static ngx_uint_t
r_rings(r_channel_t *ch)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < R_SLOTS; i++) {
        n += (ch->node && ch->subs[i] && r_slots[i].taken
              && !sh->slots[i]->pending);
    }

    return n;
}


static void
r_publish(void)
{
    char          text[80];
    size_t        n;
    uint64_t      age;
    ngx_int_t     rc;
    r_key_t      *key;
    r_kept_t     *kept;
    ngx_uint_t    keep, ring, known;
    r_channel_t  *ch;

    ch = &r_channels[next_random(R_CHANNELS)];
    keep = next_random(2);
    age = next_random(3) ? 0 : (1 + next_random(100)) * SECOND;
    key = next_random(6) ? NULL : &r_keys[next_random(R_KEYS)];

    n = sprintf(text, "%lu", (u_long) ++r_number);

    while (n < 8 + r_number % 50) {
        text[n++] = '.';
    }

    text[n] = '\0';

    known = key && key->time
            && test_now < key->time + NGX_WS_BUS_ONCE_TIME;
    ring = known ? 0 : r_rings(ch);

    rc = publish(ch->name, text, keep, age, key ? key->name : NULL);

    tap_each(rc == NGX_OK, "published");
    tap_each(nrings == ring, "%lu rings for %lu", (u_long) nrings,
             (u_long) ring);

    if (known) {
        tap_each(place.repeated && place.seq == key->place.seq
                 && place.epoch == key->place.epoch
                 && place.subscribers == key->place.subscribers,
                 "repeated");
        return;
    }

    tap_each(!place.repeated, "not repeated");

    if (key) {
        key->time = test_now;
        key->place = place;
    }

    if (!keep && ch->node == NULL) {
        tap_each(place.subscribers == 0, "nobody listens");
        return;
    }

    if (keep) {
        r_known(ch, place.epoch);
    }

    tap_each(place.subscribers == r_subscribers(ch), "subscribers");
    tap_each(place.seq == (keep ? ch->seq + 1 : 0), "seq");
    tap_each(!keep || place.epoch == ch->epoch, "epoch");

    ch->touched = test_now;

    if (keep) {
        ch->seq++;
        ch->keep = age ? test_now + age : (uint64_t) -1;

        if (ch->nkept == R_KEPT) {
            ch->nkept = R_KEPT / 2;
            memmove(ch->kept, ch->kept + R_KEPT / 2,
                    ch->nkept * sizeof(r_kept_t));
        }

        kept = &ch->kept[ch->nkept++];
        kept->pos = ch->node->last;
        kept->seq = ch->seq;
        kept->time = test_now;
        kept->number = r_number;
    }

    r_owe(ch, sh->log.head - 1, r_number);
}


static void
r_read(ngx_uint_t slot)
{
    r_owed_t    *o;
    r_slot_t    *s;
    reader_t    *r;
    uint64_t     cursor;
    ngx_uint_t   i, j, k, lapped;

    s = &r_slots[slot];
    r = &readers[slot];
    lapped = r->lapped;
    cursor = ngx_max(r->cursor, sh->slots[slot]->from);

    tap_each(s->nowed == 0 || sh->slots[slot]->pending,
             "a slot that is owed is pending");

    read_slot(slot);

    if (r->lapped > lapped) {
        tap_each(cursor < sh->log.tail, "lapped for no reason");
        s->nowed = 0;
        return;
    }

    o = s->owed;

    for (i = 0; i < ngot; i++) {

        for (j = 0; j < R_CHANNELS; j++) {
            if (r_channels[j].node && r_channels[j].id == got[i].rec.channel)
            {
                break;
            }
        }

        if (j == R_CHANNELS || r_channels[j].subs[slot] == 0
            || got[i].rec.pos < r_channels[j].from[slot])
        {
            continue;
        }

        if (!tap_each(o < s->owed + s->nowed && o->channel == j,
                      "a message that is not owed"))
        {
            break;
        }

        k = (got[i].rec.type == NGX_WS_BUS_REC_DELETED)
            ? 0 : strtoul(got[i].text, NULL, 10);

        tap_each(o->number == k, "message %lu for %lu", (u_long) k,
                 (u_long) o->number);
        o++;
    }

    tap_each(o == s->owed + s->nowed, "%lu messages are missing",
             (u_long) (s->owed + s->nowed - o));

    s->nowed = 0;
}


static void
r_history(r_channel_t *ch)
{
    u_char                *payload;
    uint64_t               after, age, pos;
    ngx_uint_t             i, n, count;
    r_kept_t              *kept;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    if (ch->node == NULL) {
        return;
    }

    after = next_random(3) ? 0 : next_random(ch->seq + 2);
    count = next_random(3) ? ANY : next_random(20);
    age = next_random(3) ? 0 : (1 + next_random(60)) * SECOND;

    ngx_ws_bus_channel_view(&test_zone, ch->node, &view);

    tap_each(view.id == ch->id && view.seq == ch->seq
             && view.epoch == ch->epoch && view.head == sh->log.head,
             "view");

    if (ngx_ws_bus_channel_history(&test_zone, &view, after, count, age, &h,
                                   &test_log)
        != NGX_OK)
    {
        tap_each(0, "history");
        return;
    }

    kept = ch->kept + ch->nkept;

    for (n = 0; n < ch->nkept && n < count; n++) {
        kept--;

        if (kept->pos < sh->log.tail || kept->seq <= after
            || (age && kept->time + age < test_now))
        {
            kept++;
            break;
        }
    }

    tap_each(h.n == n && h.first == ch->seq - n + 1,
             "%lu messages, expected %lu", (u_long) h.n, (u_long) n);

    for (i = 0; i < h.n && i < n; i++) {
        pos = h.pos[i];

        tap_each(pos == kept[i].pos
                 && ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec,
                                        &payload) == NGX_OK
                 && rec.seq == kept[i].seq
                 && strtoul((char *) payload, NULL, 10) == kept[i].number,
                 "kept message %lu", (u_long) i);
    }

    free(h.pos);
}


static void
r_enter(ngx_uint_t slot)
{
    r_channel_t  *ch;

    enter(slot);

    r_slots[slot].alive = 1;
    r_slots[slot].taken = 1;
    r_slots[slot].nowed = 0;

    for (ch = r_channels; ch < r_channels + R_CHANNELS; ch++) {
        ch->subs[slot] = 0;
    }
}


/* a process is killed, missed or not, and followed by another, or later */

static void
r_kill(ngx_uint_t slot)
{
    ngx_uint_t  i;

    r_slots[slot].alive = 0;
    r_slots[slot].nowed = 0;
    test_alive[test_pids[slot]] = 0;

    /* slot 0 always has one */

    if (slot == 0) {
        r_enter(0);
    }

    become(0);

    if (next_random(2)) {
        ngx_ws_bus_zone_reap(&test_zone);

        for (i = 0; i < R_SLOTS; i++) {
            r_slots[i].taken = r_slots[i].alive;
        }
    }

    for (i = 0; i < R_SLOTS; i++) {
        if (!r_slots[i].alive && next_random(2)) {
            r_enter(i);
        }
    }
}


static void
r_step(ngx_uint_t what)
{
    ngx_uint_t           slot, i;
    r_channel_t         *ch;
    ngx_ws_bus_node_t   *node;

    slot = next_random(R_SLOTS);
    ch = &r_channels[next_random(R_CHANNELS)];

    while (!r_slots[slot].alive) {
        slot = (slot + 1) % R_SLOTS;
    }

    become(slot);

    if (what < 40) {
        r_publish();

    } else if (what < 55) {
        r_read(slot);

    } else if (what < 67) {
        node = join(slot, ch->name);

        if (!tap_each(node != NULL, "joined")) {
            return;
        }

        r_known(ch, view.epoch);

        tap_each(view.seq == ch->seq && view.head == sh->log.head, "view");

        if (ch->subs[slot]++ == 0) {
            ch->from[slot] = view.head;
        }

    } else if (what < 79) {

        if (ch->node && ch->subs[slot]) {
            part(slot, ch->node);

            if (--ch->subs[slot] == 0) {
                ch->touched = test_now;
                r_disowe(slot, ch - r_channels);
            }
        }

    } else if (what < 89) {
        r_history(ch);

    } else if (what < 91) {
        i = r_rings(ch);

        if (ngx_ws_bus_channel_delete(&test_zone, name_of(ch->name), rings,
                                      &nrings)
            == NGX_OK)
        {
            tap_each(ch->node && nrings == i, "deleted");
            tap_each(ch->node->epoch != ch->epoch, "a new epoch");

            ch->epoch = ch->node->epoch;
            ch->seq = 0;
            ch->nkept = 0;
            ch->touched = test_now;

            r_owe(ch, sh->log.head - 1, 0);

        } else {
            tap_each(ch->node == NULL, "nothing to delete");
        }

    } else if (what < 93) {
        r_kill(slot);

    } else {
        test_now += next_random(30) ? next_random(SECOND)
                                    : next_random(2 * NGX_WS_BUS_IDLE_TIME);
    }
}


static void
test_random(size_t size, ngx_uint_t buckets)
{
    char        name[64];
    ngx_uint_t  i;

    zone_create(size, buckets);

    ngx_memzero(r_channels, sizeof(r_channels));
    ngx_memzero(r_slots, sizeof(r_slots));
    ngx_memzero(r_keys, sizeof(r_keys));

    for (i = 0; i < R_CHANNELS; i++) {
        sprintf(r_channels[i].name, "%.*s", (int) i + 1, "channels");
    }

    for (i = 0; i < R_KEYS; i++) {
        sprintf(r_keys[i].name, "key%lu", (u_long) i);
    }

    for (i = 0; i < R_SLOTS; i++) {
        r_enter(i);
    }

    for (i = 0; i < R_STEPS && test_next_pid < PIDS - R_SLOTS; i++) {
        r_step(next_random(100));
        r_compare();

        if (i % 16 == 0) {
            check_zone("random", 0);
        }

        if (tap_each_failed) {
            tap_diag("in step %lu", (u_long) i);
            break;
        }
    }

    sprintf(name, "random operations, a log of %lu, %lu buckets",
            (u_long) size, (u_long) buckets);
    tap_all(name);
}


/*
 * A worker killed at any instruction of what it does to the zone: the next
 * one to take the mutex completes it, or it has not happened.
 */

typedef struct {
    const char   *name;
    ngx_uint_t    buckets;
    void        (*run)(void);
    void        (*check)(ngx_uint_t done);   /* is its record there? */
    const char   *undone;     /* what others have read and find, then */
    const char   *done;
    size_t        size;       /* of the log */
} crash_t;


static uint64_t   crash_head;
static uint64_t   crash_epoch;
static crash_t   *crash;


static void
crash_keep(void)
{
    keep("c", "new");
}


static void
crash_pass(void)
{
    publish("c", "new", 0, 0, NULL);
}


static void
crash_key(void)
{
    publish("c", "new", 1, 0, "key");
}


/* its client does not know and repeats it */

static void
crash_key_check(ngx_uint_t done)
{
    become(3);
    publish("c", "new", 1, 0, "key");

    tap_each(place.repeated == done && place.seq == 3, "%s: repeated",
             crash->name);

    publish("c", "new", 1, 0, "key");

    tap_each(place.repeated && place.seq == 3, "%s: repeated again",
             crash->name);
}


static void
crash_key_nobody(void)
{
    publish("x", "new", 0, 0, "key");
}


static void
crash_keep_new(void)
{
    keep("n", "new");
}


static void
crash_keep_new_check(ngx_uint_t done)
{
    const char  *text;

    text = history("n", 0, ANY, 0);

    if (done) {
        each_text(text, "1:new", crash->name);

    } else {
        tap_each(find("n") == NULL || *text == '\0', "%s: out of nothing",
                 crash->name);
    }
}


static void
crash_delete(void)
{
    ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings, &nrings);
}


static void
crash_delete_check(ngx_uint_t done)
{
    tap_each((find("c")->epoch != crash_epoch) == done, "%s: epoch",
             crash->name);
    tap_each(done || find("c")->seq == 2, "%s: seq", crash->name);
    tap_each(!done || find("c")->seq == 0, "%s: new seq", crash->name);
}


static void
crash_join(void)
{
    join(1, "c");
}


static void
crash_join_new(void)
{
    join(1, "n");
}


static void
crash_part(void)
{
    part(1, find("mine"));
}


static void
crash_enter(void)
{
    ngx_ws_bus_zone_enter(&test_zone, &test_log);
}


static void
crash_leave(void)
{
    ngx_ws_bus_zone_leave(&test_zone);
}


static crash_t  crashes[] = {

    { "killed while it keeps a message", 4, crash_keep, NULL,
      "3:after", "3:new 4:after", 1024 },
    { "killed while it keeps a message over a filler", 4, crash_keep, NULL,
      "3:after", "3:new 4:after", 472 },
    { "killed while it passes a message on", 4, crash_pass, NULL,
      "3:after", "0:new 3:after", 1024 },
    { "killed while it keeps a message with a key", 1, crash_key,
      crash_key_check, "3:new 4:after", "3:new 4:after", 1024 },
    { "killed while it has a key to nobody", 1, crash_key_nobody, NULL,
      "3:after", "3:after", 1024 },
    { "killed while it keeps a message in a new channel", 1, crash_keep_new,
      crash_keep_new_check, "3:after", "3:after", 1024 },
    { "killed while it deletes a channel", 4, crash_delete,
      crash_delete_check, "3:after", "deleted 1:after", 1024 },
    { "killed while it joins a channel", 4, crash_join, NULL,
      "3:after", "", 1024 },
    { "killed while it joins a new channel", 1, crash_join_new, NULL,
      "3:after", "", 1024 },
    { "killed while it parts", 1, crash_part, NULL,
      "3:after", "", 1024 },
    { "killed while it takes its slot", 1, crash_enter, NULL,
      "3:after", "", 1024 },
    { "killed while it leaves its slot", 1, crash_leave, NULL,
      "3:after", "", 1024 }
};


/*
 * Channel c has subscribers in slots 2 and 3 and two messages; there are
 * things to be swept: an idle channel, with a subscriber of a process that is
 * gone, and a key.
 */

static void
crash_prepare(void)
{
    zone_share(SMALL, crash->size, crash->buckets, 0);

    enter(1);
    enter(2);
    enter(3);
    enter(4);

    join(4, "idle");
    part(3, join(3, "idle"));
    publish("x", "m", 0, 0, "old");

    test_alive[test_pids[4]] = 0;
    become(1);
    ngx_ws_bus_zone_reap(&test_zone);

    test_now += 2 * NGX_WS_BUS_ONCE_TIME;

    join(3, "c");
    join(2, "c");
    join(1, "mine");
    sh->slots[1]->stats.subscriptions = 1;

    keep("c", "one");
    keep("c", "two");
    publish("mine", "some bytes of log", 1, 0, NULL);
    publish("mine", "some bytes of log", 1, 0, NULL);

    read_slot(2);
    read_slot(3);

    crash_head = sh->log.head;
    crash_epoch = find("c")->epoch;

    become(1);
}


static void
crash_victim(void *data)
{
    (void) data;

    crash->run();
}


static void
crash_state(void)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_uint_t            done, slot;
    const char           *want;
    ngx_ws_bus_node_t    *c;
    ngx_ws_bus_record_t   rec;

    /* the master sees that it is gone, and frees the mutex */

    test_alive[test_pids[1]] = 0;
    arena->lock = 0;

    become(2);

    ngx_ws_bus_zone_lock(&test_zone);
    ngx_ws_bus_zone_unlock(&test_zone);

    check_zone(crash->name, 1);

    c = find("c");

    if (!tap_each(c && interest(c, 2) == 1 && interest(c, 3) == 1,
                  "%s: subscribers of others", crash->name))
    {
        return;
    }

    pos = crash_head;
    done = ngx_ws_bus_log_read(&sh->log, &pos, sh->log.head, &rec, &payload)
           == NGX_OK;

    for (slot = 2; slot <= 3; slot++) {
        tap_each(!done || rec.channel != c->id || sh->slots[slot]->pending,
                 "%s: slot %lu will look for it", crash->name, (u_long) slot);
    }

    if (crash->check) {
        crash->check(done);
    }

    become(3);
    tap_each(keep("c", "after") == NGX_OK && place.subscribers >= 2,
             "%s: others go on", crash->name);

    want = done ? crash->done : crash->undone;

    each_text(read_channel(2, c), want, crash->name);
    each_text(read_channel(3, c), want, crash->name);
    each_text(read_channel(3, c), "", crash->name);

    each_text(history("c", c->seq - 1, ANY, 0), strrchr(want, ' ')
              ? strrchr(want, ' ') + 1 : want, crash->name);

    /* a successor */

    enter(1);

    check_zone(crash->name, 0);
    tap_each(interest(c, 1) == 0 && interest(find("mine"), 1) == 0,
             "%s: what it left is gone", crash->name);

    become(1);
    join(1, "mine");
    crash->run();

    check_zone(crash->name, 0);
}


static void
crash_check(void *data)
{
    u_char     alive[PIDS];
    uint64_t   now;
    reader_t   saved[SLOTS];
    ngx_pid_t  pids[SLOTS], next_pid;

    (void) data;

    memcpy(alive, test_alive, sizeof(alive));
    memcpy(saved, readers, sizeof(readers));
    memcpy(pids, test_pids, sizeof(pids));
    next_pid = test_next_pid;
    now = test_now;

    crash_state();

    memcpy(test_alive, alive, sizeof(alive));
    memcpy(readers, saved, sizeof(readers));
    memcpy(test_pids, pids, sizeof(pids));
    test_next_pid = next_pid;
    test_now = now;
}


static void
test_steps(void)
{
    long        n;
    ngx_uint_t  i;

    for (i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) {
        crash = &crashes[i];
        crash_prepare();

        n = step_through(arena, arena->size, crash_victim, crash_check, NULL);

        if (n == 0) {
            tap_ok(1, "%s # SKIP no ptrace", crash->name);
            return;
        }

        tap_each(n > 2, "%ld states on the way", n);
        tap_all(crash->name);
    }
}


/*
 * Publishers and readers at once, without doorbells: a reader only looks at
 * its flag.  Each gets what is for it, and nothing is left unseen.
 */

#define T_MESSAGES  15000
#define T_AHEAD     300
#define T_KILLS     100


typedef struct {
    void               (*main)(int);
    int                  i;
    pid_t                pid;
    pthread_t            thread;
} worker_t;


typedef struct {
    uint64_t             sent[SLOTS];
    uint64_t             read[SLOTS];
    uint64_t             last[SLOTS][4];     /* seq in each channel */
    ngx_uint_t           done;
    ngx_uint_t           failed;
    char                 failure[128];
} together_t;


static together_t  *together;

static const char  *t_channels[] = { "two", "three", "both", "noise" };
static uint64_t     t_ids[4];


#if (TEST_THREADS)

static void *
worker_thread(void *data)
{
    worker_t  *w = data;

    w->main(w->i);

    return NULL;
}

#endif


static void
worker_start(worker_t *w, void (*main)(int), int i)
{
    w->main = main;
    w->i = i;

#if (TEST_THREADS)

    if (pthread_create(&w->thread, NULL, worker_thread, w) != 0) {
        exit(2);
    }

#else

    fflush(stdout);

    w->pid = fork();

    if (w->pid == -1) {
        perror("fork");
        exit(2);
    }

    if (w->pid == 0) {
        ngx_pid = getpid();
        main(i);
        _exit(0);
    }

#endif
}


static int
worker_wait(worker_t *w)
{
#if (TEST_THREADS)

    return pthread_join(w->thread, NULL) == 0;

#else

    int  status;

    return waitpid(w->pid, &status, 0) == w->pid && WIFEXITED(status)
           && WEXITSTATUS(status) == 0;

#endif
}


static void
t_fail(const char *what, int slot, uint64_t seq, uint64_t want)
{
    if (__atomic_fetch_add(&together->failed, 1, __ATOMIC_SEQ_CST) == 0) {
        snprintf(together->failure, sizeof(together->failure),
                 "slot %d: %s: seq %lu, expected %lu", slot, what,
                 (u_long) seq, (u_long) want);
    }
}


static void
t_reader(int slot)
{
    ngx_uint_t  i, ch, done;
    uint64_t   *last;

    for ( ;; ) {
        done = __atomic_load_n(&together->done, __ATOMIC_ACQUIRE);

        read_slot(slot);

        if (ngot == 0) {

            if (done && readers[slot].caught_up) {
                break;
            }

            sched_yield();
            continue;
        }

        if (readers[slot].lapped) {
            t_fail("lapped", slot, 0, 0);
            return;
        }

        for (i = 0; i < ngot; i++) {

            for (ch = 0; t_ids[ch] != got[i].rec.channel; ch++) {
                if (ch == 3) {
                    t_fail("no such channel", slot, got[i].rec.seq, 0);
                    return;
                }
            }

            if (ch != (ngx_uint_t) slot - 2 && ch != 2) {
                continue;
            }

            last = &together->last[slot][ch];

            if (got[i].rec.seq != *last + 1
                || strcmp(got[i].text, t_channels[ch]) != 0)
            {
                t_fail(t_channels[ch], slot, got[i].rec.seq, *last + 1);
                return;
            }

            (*last)++;

            __atomic_fetch_add(&together->read[slot], 1, __ATOMIC_RELEASE);
        }
    }
}


/* readers are not lapped here, so they are waited for */

static void
t_publish(void)
{
    uint64_t    sent, read;
    ngx_uint_t  ch, slot;

    ch = next_random(4);

    keep(t_channels[ch], t_channels[ch]);

    for (slot = 2; slot <= 3; slot++) {

        if (ch != slot - 2 && ch != 2) {
            continue;
        }

        sent = __atomic_add_fetch(&together->sent[slot], 1, __ATOMIC_RELAXED);

        for ( ;; ) {
            read = __atomic_load_n(&together->read[slot], __ATOMIC_ACQUIRE);

            if (sent < read + T_AHEAD
                || __atomic_load_n(&together->failed, __ATOMIC_RELAXED))
            {
                break;
            }

            sched_yield();
        }
    }
}


static void
t_publisher(int i)
{
    ngx_uint_t  n;

    seed += i;

    for (n = 0; n < T_MESSAGES; n++) {
        t_publish();

        if (next_random(50) == 0) {
            sched_yield();
        }
    }
}


static void
t_victim(int i)
{
    seed += i;

    for ( ;; ) {
        t_publish();
    }
}


static void
t_start(worker_t *r)
{
    ngx_uint_t  i;

    zone_share(LARGE, 500000, 64, 1);
    together = step_memory(sizeof(together_t));

    enter(2);
    enter(3);

    join(2, "two");
    join(2, "both");
    join(3, "three");
    join(3, "both");

    keep("noise", "noise");

    for (i = 0; i < 4; i++) {
        t_ids[i] = find(t_channels[i])->id;
    }

    /* publishers are in none of the slots */

    ngx_process_slot = 0;
    ngx_pid = getpid();

    worker_start(&r[0], t_reader, 2);
    worker_start(&r[1], t_reader, 3);
}


static void
t_end(worker_t *r, const char *name)
{
    ngx_uint_t  ended;

    /* completes what a killed one has left */

    ngx_ws_bus_zone_lock(&test_zone);
    ngx_ws_bus_zone_unlock(&test_zone);

    __atomic_store_n(&together->done, 1, __ATOMIC_RELEASE);

    ended = worker_wait(&r[0]);
    ended += worker_wait(&r[1]);

    tap_is(ended, 2, "%s: the readers end", name);

    if (!tap_is(together->failed, 0, "%s: and have read what they should",
                name))
    {
        tap_diag("%s", together->failure);
    }

    tap_ok(together->last[2][0] == find("two")->seq
           && together->last[2][2] == find("both")->seq
           && together->last[3][1] == find("three")->seq
           && together->last[3][2] == find("both")->seq,
           "%s: to the last message", name);

    tap_diag("%lu %lu %lu messages, %lu of others",
             (u_long) find("two")->seq, (u_long) find("three")->seq,
             (u_long) find("both")->seq, (u_long) find("noise")->seq);

    check_zone(name, 0);
    tap_all(name);

    munmap(together, sizeof(together_t));
}


static void
test_together(void)
{
    worker_t    r[2], w[2];
    ngx_uint_t  ended;

    t_start(r);

    worker_start(&w[0], t_publisher, 0);
    worker_start(&w[1], t_publisher, 1);

    ended = worker_wait(&w[0]);
    ended += worker_wait(&w[1]);

    tap_is(ended, 2, "publishers and readers: the publishers end");

    t_end(r, "publishers and readers");
}


static void
test_kills(void)
{
    int         i, status;
    worker_t    r[2], w;

    t_start(r);

    for (i = 0; i < T_KILLS && !together->failed; i++) {
        worker_start(&w, t_victim, i);

        usleep(next_random(6000));

        kill(w.pid, SIGKILL);
        waitpid(w.pid, &status, 0);

        /* as the master does */

        __sync_bool_compare_and_swap(&arena->lock, w.pid, 0);
    }

    tap_is(i, T_KILLS, "so many publishers were killed");

    t_end(r, "publishers killed at random");
}
