
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_rate.c"
#include "ngx_ws_bus_limits.c"

#include "step.h"
#include "tap.h"


#define PAGES    3
#define SIZE     (PAGES * 4096)
#define KEYS     1000
#define ROUNDS   200000


/* the memory of a table, and a model of what it should remember */

typedef struct {
    ngx_slab_pool_t         pool;
    ngx_ws_bus_limits_sh_t  sh;
    uint64_t                data[SIZE / sizeof(uint64_t)];
} memory_t;


static void start(void);
static ngx_ws_bus_limits_key_t key_of(const char *text);
static ngx_int_t judge(const char *text, ngx_uint_t how);
static ngx_uint_t intact(void);
static void test_init(void);
static void test_judge(void);
static void test_keys(void);
static void test_oldest(void);
static void test_hints(void);
static void test_random(void);
static void test_kill(void);
static void test_kill_of(const char *name, void (*victim)(void *));
static void victim_new(void *data);
static void victim_full(void *data);
static void victim_use(void *data);
static void killed(void *data);


volatile ngx_msec_t         ngx_current_msec;
ngx_uint_t                  ngx_pagesize = 4096;

static ngx_log_t            test_log;
static ngx_shm_zone_t       shm_zone;
static ngx_ws_bus_limits_t  table;
static memory_t            *memory;
static ngx_uint_t           nallocs;
static ngx_uint_t           fail_at;
static ngx_uint_t           forgotten;
static ngx_uint_t           remembered;

/* one message a minute */
static ngx_ws_bus_limits_rule_t  rule;


/* of nginx */

void *
ngx_slab_alloc(ngx_slab_pool_t *pool, size_t size)
{
    if (++nallocs == fail_at) {
        return NULL;
    }

    if (size == sizeof(ngx_ws_bus_limits_sh_t)) {
        return &memory->sh;
    }

    return size <= SIZE ? memory->data : NULL;
}


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    void  *p;

    p = ngx_slab_alloc(pool, size);

    if (p) {
        ngx_memzero(p, size);
    }

    return p;
}


void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    (void) mtx;
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    (void) mtx;
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


/* a digest that tests can choose: the value itself */

void
ngx_sha1_init(ngx_sha1_t *ctx)
{
    ngx_memzero(ctx, sizeof(ngx_sha1_t));
}


void
ngx_sha1_update(ngx_sha1_t *ctx, const void *data, size_t size)
{
    ngx_memcpy(ctx->buffer, data, size);
}


void
ngx_sha1_final(u_char result[20], ngx_sha1_t *ctx)
{
    ngx_memcpy(result, ctx->buffer, 20);
}


int
main(void)
{
    memory = step_memory(sizeof(memory_t));

    (void) ngx_ws_bus_rate_set(&rule.messages, 1, 60, 0, 0);

    test_init();
    test_judge();
    test_keys();
    test_oldest();
    test_hints();
    test_random();
    test_kill();

    return tap_done();
}


static void
start(void)
{
    ngx_memset(memory, 0xa5, sizeof(memory_t));

    memory->pool.pfree = PAGES;

    ngx_memzero(&table, sizeof(ngx_ws_bus_limits_t));
    ngx_memzero(&shm_zone, sizeof(ngx_shm_zone_t));

    ngx_str_set(&table.name, "t");
    ngx_str_set(&table.key, "$key");

    shm_zone.data = &table;
    shm_zone.shm.addr = (u_char *) &memory->pool;
    shm_zone.shm.log = &test_log;

    ngx_current_msec = 1000000;

    if (ngx_ws_bus_limits_init(&shm_zone, NULL) != NGX_OK) {
        tap_ok(0, "a table");
        exit(1);
    }
}


static ngx_ws_bus_limits_key_t
key_of(const char *text)
{
    ngx_str_t                value;
    ngx_ws_bus_limits_key_t  key;

    value.data = (u_char *) text;
    value.len = strlen(text);

    ngx_ws_bus_limits_key(&key, &value);

    return key;
}


static ngx_int_t
judge(const char *text, ngx_uint_t how)
{
    ngx_ws_bus_limits_key_t      key;
    ngx_ws_bus_limits_verdict_t  v;

    key = key_of(text);

    return ngx_ws_bus_limits_judge_key(&table, &key, &rule, 1, how, &v);
}


/* all links of the table fit */

static ngx_uint_t
intact(void)
{
    uint32_t                 i, n, prev, *bucket;
    ngx_ws_bus_limits_sh_t  *sh;

    sh = table.sh;

    if (sh->linking || sh->used > sh->n) {
        return 0;
    }

    n = 0;
    prev = 0;

    for (i = sh->newest; i; i = sh->entries[i].older) {

        if (i > sh->used || sh->entries[i].newer != prev || ++n > sh->used) {
            return 0;
        }

        bucket = ngx_ws_bus_limits_bucket(sh, sh->entries[i].digest);

        while (*bucket != i) {
            if (*bucket == 0 || *bucket > sh->used) {
                return 0;
            }

            bucket = &sh->entries[*bucket].next;
        }

        prev = i;
    }

    return n == sh->used && sh->oldest == prev;
}


static void
test_init(void)
{
    ngx_ws_bus_limits_t  old;

    start();

    tap_ok(table.sh->n >= SIZE / 80 && table.sh->n < SIZE / 64,
           "%u entries in %d bytes", (unsigned) table.sh->n, SIZE);
    tap_ok((u_char *) (table.sh->buckets + table.sh->mask + 1)
           <= (u_char *) memory->data + SIZE, "and no byte more");

    (void) judge("a", NGX_WS_BUS_LIMITS_CHARGE);

    old = table;
    table.sh = NULL;

    tap_is(ngx_ws_bus_limits_init(&shm_zone, &old), NGX_OK, "a reload");
    tap_is(judge("a", NGX_WS_BUS_LIMITS_ASK), NGX_BUSY, "keeps the state");

    ngx_str_set(&table.key, "$kex");
    tap_is(ngx_ws_bus_limits_init(&shm_zone, &old), NGX_ERROR, "another key");

    ngx_str_set(&table.key, "$key$key");
    tap_is(ngx_ws_bus_limits_init(&shm_zone, &old), NGX_ERROR, "a longer key");

    nallocs = 0;

    for (fail_at = 1; fail_at <= 2; fail_at++) {
        nallocs = 0;
        tap_is(ngx_ws_bus_limits_init(&shm_zone, NULL), NGX_ERROR,
               "no memory for allocation %d", (int) fail_at);
    }

    fail_at = 0;
}


static void
test_judge(void)
{
    ngx_ws_bus_limits_rule_t     both;
    ngx_ws_bus_limits_state_t    state, before;
    ngx_ws_bus_limits_verdict_t  v;

    ngx_memzero(&state, sizeof(ngx_ws_bus_limits_state_t));

    (void) ngx_ws_bus_rate_set(&both.messages, 1, 1, 2, 0);
    (void) ngx_ws_bus_rate_set(&both.bytes, 1000, 1, 1000, 1000);

    tap_is(ngx_ws_bus_limits_judge(&both, &state, 500,
                                   NGX_WS_BUS_LIMITS_CHARGE, &v), NGX_OK,
           "the first one");
    tap_is(v.wait, 0, "at once");

    before = state;

    tap_is(ngx_ws_bus_limits_judge(&both, &state, 500,
                                   NGX_WS_BUS_LIMITS_ASK, &v), NGX_OK,
           "the second one waits");
    tap_ok(v.wait == 1000 && !v.bytes && v.excess == 1000, "for the messages");
    tap_is(ngx_memcmp(&before, &state, sizeof(state)), 0,
           "asking changes nothing");

    tap_is(ngx_ws_bus_limits_judge(&both, &state, 1001,
                                   NGX_WS_BUS_LIMITS_CHARGE, &v), NGX_BUSY,
           "too many bytes");
    tap_ok(v.bytes && v.excess == 1001000, "are the reason");
    tap_is(ngx_memcmp(&before, &state, sizeof(state)), 0,
           "what is refused is not charged");

    (void) ngx_ws_bus_limits_judge(&both, &state, 1001,
                                   NGX_WS_BUS_LIMITS_FORCE, &v);
    tap_ok(state.messages.excess == 1000 && state.bytes.excess == 1001000,
           "unless it has to be");
}


static void
test_keys(void)
{
    start();

    tap_is(judge("a", NGX_WS_BUS_LIMITS_ASK), NGX_OK, "asking");
    tap_is(table.sh->used, 0, "takes no entry");
    tap_is(judge("a", NGX_WS_BUS_LIMITS_CHARGE), NGX_OK, "charging");
    tap_is(table.sh->used, 1, "takes one");
    tap_is(judge("a", NGX_WS_BUS_LIMITS_CHARGE), NGX_BUSY, "which is known");
    tap_is(judge("b", NGX_WS_BUS_LIMITS_CHARGE), NGX_OK, "another key");
    tap_is(judge("a", NGX_WS_BUS_LIMITS_ASK), NGX_BUSY, "and not that one");
    tap_ok(intact(), "intact");
}


static void
test_oldest(void)
{
    char      text[20];
    uint32_t  i, n;

    start();

    n = table.sh->n;

    for (i = 0; i < n; i++) {
        sprintf(text, "k%u", (unsigned) i);
        tap_each(judge(text, NGX_WS_BUS_LIMITS_CHARGE) == NGX_OK, "%s", text);
    }

    tap_is(table.sh->used, n, "the table is full");

    /* the oldest one is used, and is so no more */

    tap_each(judge("k0", NGX_WS_BUS_LIMITS_ASK) == NGX_BUSY, "k0 is there");
    tap_each(judge("new", NGX_WS_BUS_LIMITS_CHARGE) == NGX_OK, "a new one");
    tap_each(judge("k0", NGX_WS_BUS_LIMITS_ASK) == NGX_BUSY, "k0 still is");
    tap_each(judge("k1", NGX_WS_BUS_LIMITS_ASK) == NGX_OK, "k1 is not");
    tap_each(judge("k2", NGX_WS_BUS_LIMITS_ASK) == NGX_BUSY, "k2 is");
    tap_each(intact(), "intact");
    tap_all("the least recently used one makes way");
}


/* a session may remember an entry that has become another key's */

static void
test_hints(void)
{
    char                         text[20];
    uint32_t                     i;
    ngx_ws_bus_limits_key_t      key;
    ngx_ws_bus_limits_verdict_t  v;

    start();

    key = key_of("a");

    (void) ngx_ws_bus_limits_judge_key(&table, &key, &rule, 1,
                                       NGX_WS_BUS_LIMITS_CHARGE, &v);
    tap_is(key.entry, 1, "the entry is remembered");

    for (i = 0; i < table.sh->n; i++) {
        sprintf(text, "k%u", (unsigned) i);
        (void) judge(text, NGX_WS_BUS_LIMITS_CHARGE);
    }

    tap_is(ngx_ws_bus_limits_judge_key(&table, &key, &rule, 1,
                                       NGX_WS_BUS_LIMITS_CHARGE, &v), NGX_OK,
           "it has become another key's");
    tap_ok(key.entry != 1 && intact(), "and a new one is found");

    table.sh->linking = 1;

    tap_is(ngx_ws_bus_limits_judge_key(&table, &key, &rule, 1,
                                       NGX_WS_BUS_LIMITS_ASK, &v), NGX_OK,
           "a table that was emptied knows it no more");

    key.entry = 0xffffffff;

    tap_is(ngx_ws_bus_limits_judge_key(&table, &key, &rule, 1,
                                       NGX_WS_BUS_LIMITS_ASK, &v), NGX_OK,
           "an entry that does not exist");
}


static void
test_random(void)
{
    char          text[20];
    ngx_int_t     rc;
    ngx_uint_t    i, k, how;
    ngx_msec_t    charged[KEYS], used[KEYS];
    unsigned int  seed;

    start();

    seed = 1;
    ngx_memzero(charged, sizeof(charged));
    ngx_memzero(used, sizeof(used));

    for (i = 0; i < ROUNDS; i++) {

        seed = seed * 1103515245 + 12345;
        k = (seed >> 8) % ((i & 1) ? 50 : KEYS);
        how = (seed >> 28) % 2;

        sprintf(text, "%u", (unsigned) k);

        ngx_current_msec += 20;

        rc = judge(text, how);

        if (rc == NGX_BUSY) {
            tap_each(charged[k] && ngx_current_msec - charged[k] < 60000,
                     "%s is refused with a reason", text);

        } else if (how == NGX_WS_BUS_LIMITS_CHARGE) {
            charged[k] = ngx_current_msec;
        }

        if (i % 1000 == 0) {
            tap_each(intact(), "intact after %d", (int) i);
        }
    }

    tap_all("random keys");
}


/* killed at any instruction */

static void
test_kill(void)
{
    char      text[20];
    uint32_t  i;

    start();

    (void) judge("a", NGX_WS_BUS_LIMITS_CHARGE);
    (void) judge("b", NGX_WS_BUS_LIMITS_CHARGE);
    (void) judge("c", NGX_WS_BUS_LIMITS_CHARGE);

    test_kill_of("a new key", victim_new);
    test_kill_of("a key in use", victim_use);

    for (i = 0; table.sh->used < table.sh->n; i++) {
        sprintf(text, "k%u", (unsigned) i);
        (void) judge(text, NGX_WS_BUS_LIMITS_CHARGE);
    }

    test_kill_of("a full table", victim_full);
}


static void
test_kill_of(const char *name, void (*victim)(void *))
{
    long  n;

    forgotten = 0;
    remembered = 0;

    n = step_through(memory, sizeof(memory_t), victim, killed, NULL);

    if (n == 0) {
        tap_ok(1, "killed: %s # SKIP tracing is not permitted", name);
        return;
    }

    tap_ok(n > 0, "killed: %s, %ld times", name, n);
    tap_ok(forgotten > 0 && remembered > 0,
           "killed: the keys were forgotten %d times, and not %d times",
           (int) forgotten, (int) remembered);
    tap_all("killed: the table can be used");
}


static void
victim_new(void *data)
{
    (void) data;
    (void) judge("new", NGX_WS_BUS_LIMITS_CHARGE);
}


static void
victim_full(void *data)
{
    (void) data;
    (void) judge("one too many", NGX_WS_BUS_LIMITS_CHARGE);
}


static void
victim_use(void *data)
{
    (void) data;
    (void) judge("b", NGX_WS_BUS_LIMITS_ASK);
}


static void
killed(void *data)
{
    ngx_uint_t  linking;

    (void) data;

    linking = table.sh->linking;

    if (judge("c", NGX_WS_BUS_LIMITS_CHARGE) == NGX_OK) {
        tap_each(linking, "forgotten only if the links may not fit");
        forgotten++;

    } else {
        tap_each(!linking, "remembered if they fit");
        remembered++;
    }

    tap_each(intact(), "intact");
    tap_each(judge("c", NGX_WS_BUS_LIMITS_CHARGE) == NGX_BUSY, "an old key");
    tap_each(judge("z", NGX_WS_BUS_LIMITS_CHARGE) == NGX_OK, "a new key");
    tap_each(judge("z", NGX_WS_BUS_LIMITS_CHARGE) == NGX_BUSY, "is known");
    tap_each(intact(), "intact still");
}
