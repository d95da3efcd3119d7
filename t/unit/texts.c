
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "bus.h"

#define kill(pid, sig)  test_kill(pid)
#include "ngx_ws_bus_texts.c"
#undef kill

#include "step.h"


#define MAX    64
#define LIMIT  (30 * SECOND)
#define VALID  (300 * SECOND)


static void test_size(void);
static void test_fetch(void);
static void test_failures(void);
static void test_ahead(void);
static void test_gone(void);
static void test_reload(void);
static void test_failed_reloads(void);
static void test_dead_owner(void);
static void test_kills(void);


static ngx_ws_bus_texts_t        texts[8];
static ngx_shm_zone_t            texts_zone[8];
static ngx_ws_bus_text_ref_t     refs[8][4];
static ngx_ws_bus_text_ref_t    *wanted[8][4];
static ngx_ws_bus_text_state_t   state;
static u_char                    text[MAX + 1];
static uint64_t                  version;
static ngx_uint_t                recovered;


int
main(void)
{
    alarm(300);

    test_size();
    test_fetch();
    test_failures();
    test_ahead();
    test_gone();
    test_reload();
    test_failed_reloads();
    test_dead_owner();
    test_kills();

    zone_free();

    return tap_done();
}


/* configuration i wants these texts, a letter each */

static void
configure(ngx_uint_t i, const char *ids)
{
    ngx_uint_t  k, n;

    n = strlen(ids);

    ngx_memzero(&texts[i], sizeof(ngx_ws_bus_texts_t));

    texts[i].max = MAX;
    texts[i].n = 4;
    texts[i].wanted.elts = wanted[i];
    texts[i].wanted.nelts = n;

    for (k = 0; k < n; k++) {
        ngx_memzero(&refs[i][k], sizeof(ngx_ws_bus_text_ref_t));
        refs[i][k].id[0] = ids[k];
        wanted[i][k] = &refs[i][k];
    }

    texts_zone[i].shm.addr = (u_char *) test_zone.shpool;
    texts_zone[i].shm.log = &test_log;
    texts_zone[i].data = &texts[i];

    if (ngx_ws_bus_texts_init(&texts_zone[i], i ? &texts[i - 1] : NULL)
        != NGX_OK)
    {
        bug("no texts");
    }
}


/* the zone that the memory is of does not matter */

static void
prepare(const char *ids)
{
    zone_share(128 * 1024, 1024, 4, 0);

    enter(1);
    enter(2);
    become(1);

    configure(0, ids);
    ngx_ws_bus_texts_enter(&texts[0]);
}


static ngx_int_t
begin(ngx_uint_t i, ngx_uint_t k, uint64_t cooldown)
{
    return ngx_ws_bus_text_begin(&texts[i], &refs[i][k], LIMIT, cooldown);
}


static ngx_int_t
set(ngx_uint_t i, ngx_uint_t k, const char *s)
{
    return ngx_ws_bus_text_set(&texts[i], &refs[i][k], (u_char *) s,
                               strlen(s), VALID, &recovered);
}


static const char *
get(ngx_uint_t i, ngx_uint_t k)
{
    size_t  len;

    len = ngx_ws_bus_text_copy(&texts[i], &refs[i][k], text, &version);
    text[len] = '\0';

    return (const char *) text;
}


static void
look(ngx_uint_t i, ngx_uint_t k)
{
    ngx_memzero(&state, sizeof(state));
    ngx_ws_bus_text_look(&texts[i], &refs[i][k], &state);
}


static void
test_size(void)
{
    size_t      size;
    ngx_uint_t  n;

    n = 1;
    size = ngx_ws_bus_texts_size(262144, &n);

    tap_is(n, 4, "room for more than one");
    tap_ok(size > 4 * 2 * 262144, "and memory");

    n = 2;
    tap_is(ngx_ws_bus_texts_size(262144, &n), size, "the same for two");

    n = 3;
    tap_ok(ngx_ws_bus_texts_size(262144, &n) > size && n == 8,
           "more for three, and for those of an old configuration");
}


static void
test_fetch(void)
{
    prepare("a");

    tap_ok(strcmp(get(0, 0), "") == 0, "no text");
    tap_is(begin(0, 0, 0), NGX_OK, "one fetches");
    tap_is(begin(0, 0, 0), NGX_AGAIN, "only once");

    become(2);
    tap_is(begin(0, 0, 1), NGX_AGAIN, "and no other one");
    look(0, 0);
    tap_ok(state.fetching && state.version == 0 && state.answers == 0,
           "which sees that");
    tap_is(set(0, 0, "not mine"), NGX_DECLINED, "and cannot answer");

    become(1);
    tap_is(set(0, 0, "one"), NGX_OK, "a text");
    tap_ok(!recovered, "of no failure");
    tap_ok(strcmp(get(0, 0), "one") == 0 && version == 1, "it is there");

    become(2);
    tap_ok(strcmp(get(0, 0), "one") == 0, "for all");
    look(0, 0);
    tap_ok(!state.fetching && state.version == 1 && state.answers == 1
           && state.next == test_now + VALID, "until it is due");
    tap_is(begin(0, 0, 0), NGX_DECLINED, "not before");

    test_now += VALID;
    tap_is(begin(0, 0, 0), NGX_OK, "due");
    tap_is(set(0, 0, "one"), NGX_DONE, "the same");
    tap_ok(strcmp(get(0, 0), "one") == 0 && version == 1, "is no new version");
    look(0, 0);
    tap_is(state.answers, 2, "but an answer");

    test_now += VALID;
    tap_is(begin(0, 0, 0), NGX_OK, "due again");
    tap_is(set(0, 0, "another"), NGX_OK, "another one");
    tap_ok(strcmp(get(0, 0), "another") == 0 && version == 2, "is there");
}


static void
test_failures(void)
{
    uint64_t    delay;
    ngx_uint_t  i;

    prepare("a");

    for (i = 0, delay = SECOND; i < 10; i++) {

        tap_each(begin(0, 0, i & 1) == NGX_OK, "try %lu", (u_long) i);
        tap_each(ngx_ws_bus_text_fail(&texts[0], &refs[0][0]) == i + 1,
                 "failure %lu", (u_long) i);

        look(0, 0);
        tap_each(state.next == test_now + delay && state.answers == i + 1,
                 "delay after %lu", (u_long) i);

        test_now += delay - 1;
        tap_each(begin(0, 0, 0) == NGX_DECLINED
                 && begin(0, 0, 1) == NGX_DECLINED, "early %lu", (u_long) i);

        test_now++;
        delay = ngx_min(delay * 2, 60 * SECOND);
    }

    tap_all("failures");

    tap_is(begin(0, 0, 0), NGX_OK, "the next one");
    tap_is(set(0, 0, "text"), NGX_OK, "succeeds");
    tap_is(recovered, 1, "which is new");

    test_now += VALID;
    begin(0, 0, 0);
    tap_is(ngx_ws_bus_text_fail(&texts[0], &refs[0][0]), 1, "a new failure");
    tap_ok(strcmp(get(0, 0), "text") == 0, "leaves the text");
    tap_is(ngx_ws_bus_text_fail(&texts[0], &refs[0][0]), 0, "not twice");

    test_now += SECOND;
    begin(0, 0, 0);
    ngx_ws_bus_text_release(&texts[0], &refs[0][0]);
    tap_is(begin(0, 0, 0), NGX_OK, "given up is no failure");
}


static void
test_ahead(void)
{
    uint64_t  cooldown;

    cooldown = 30 * SECOND;

    prepare("a");
    begin(0, 0, 0);
    set(0, 0, "text");

    tap_is(begin(0, 0, cooldown), NGX_OK, "ahead of time");
    set(0, 0, "text");

    test_now += cooldown - 1;
    tap_is(begin(0, 0, cooldown), NGX_DECLINED, "not so soon again");
    tap_is(begin(0, 0, 0), NGX_DECLINED, "nor is it due");

    test_now++;
    tap_is(begin(0, 0, cooldown), NGX_OK, "now");
    ngx_ws_bus_text_fail(&texts[0], &refs[0][0]);
    test_now += cooldown;
    tap_is(begin(0, 0, cooldown), NGX_OK, "a failure is tried again");
}


static void
test_gone(void)
{
    prepare("a");
    begin(0, 0, 0);

    test_alive[test_pids[1]] = 0;
    become(2);

    look(0, 0);
    tap_ok(!state.fetching, "killed");
    tap_is(begin(0, 0, 0), NGX_OK, "another one goes on");

    /* a process that was stopped comes back */

    test_now += LIMIT + 5 * SECOND;
    test_alive[test_pids[1]] = 1;
    become(1);
    tap_is(begin(0, 0, 0), NGX_OK, "later than it may be");

    become(2);
    tap_is(set(0, 0, "late"), NGX_DECLINED, "it is too late");
    tap_is(ngx_ws_bus_text_fail(&texts[0], &refs[0][0]), 0, "for a failure");
    ngx_ws_bus_text_release(&texts[0], &refs[0][0]);
    look(0, 0);
    tap_ok(state.fetching, "and disturbs nobody");

    become(1);
    tap_is(set(0, 0, "text"), NGX_OK, "in time");
}


static void
test_reload(void)
{
    prepare("ab");

    begin(0, 0, 0);
    set(0, 0, "of a");
    begin(0, 1, 0);
    set(0, 1, "of b");

    configure(1, "bc");

    tap_ok(strcmp(get(1, 0), "of b") == 0, "a reload keeps a text");
    tap_ok(strcmp(get(1, 1), "") == 0, "and has a place for a new one");
    tap_is(begin(1, 0, 0), NGX_DECLINED, "nothing is due");
    tap_is(begin(0, 0, 1), NGX_OK, "the old ones fetch");

    ngx_ws_bus_texts_enter(&texts[1]);

    tap_is(set(0, 0, "late"), NGX_DECLINED, "until there are new ones");
    tap_is(begin(0, 1, 0), NGX_DECLINED, "and then not");
    tap_is(begin(1, 0, 0), NGX_OK, "what they have is due");
    tap_ok(strcmp(get(0, 0), "of a") == 0, "the old ones have their text");
    set(1, 0, "new b");
    tap_ok(strcmp(get(0, 1), "new b") == 0, "and see new ones");

    /* another process of that configuration */

    ngx_ws_bus_texts_enter(&texts[1]);
    tap_is(begin(1, 0, 0), NGX_DECLINED, "which is due once");

    configure(2, "de");
    ngx_ws_bus_texts_enter(&texts[2]);

    tap_ok(refs[2][0].text && refs[2][1].text
           && refs[2][0].text != refs[2][1].text, "places for others");
    tap_ok(strcmp(get(2, 0), "") == 0 && strcmp(get(2, 1), "") == 0,
           "which are empty");
    tap_ok(strcmp(get(0, 0), "") == 0, "a place that is another's");
    tap_is(begin(0, 0, 0), NGX_DECLINED, "is not used");
}


/* a new configuration may be given up after its zones were made */

static void
test_failed_reloads(void)
{
    ngx_uint_t  i;

    prepare("ab");

    begin(0, 0, 0);
    set(0, 0, "of a");
    begin(0, 1, 0);
    set(0, 1, "of b");

    for (i = 1; i < 8; i++) {
        configure(i, (i & 1) ? "cd" : "ef");
    }

    tap_ok(refs[7][0].text && refs[7][1].text, "places");
    tap_ok(strcmp(get(0, 0), "of a") == 0 && strcmp(get(0, 1), "of b") == 0,
           "those in use are left alone");

    test_now += VALID;
    tap_is(begin(0, 0, 0), NGX_OK, "and fetched");
}


/* a worker was killed with the mutex, and the master reloads before it knows */

static void
test_dead_owner(void)
{
    ngx_atomic_t  *lock;

    prepare("a");
    begin(0, 0, 0);
    set(0, 0, "one");

    lock = test_zone.shpool->mutex.lock;
    *lock = 77;

    configure(1, "ab");

    tap_is(*lock, 77, "the mutex is still its owner's");

    *lock = 0;
    ngx_ws_bus_texts_enter(&texts[1]);

    tap_ok(refs[1][0].text == refs[0][0].text, "the text is found");
    tap_ok(strcmp(get(1, 0), "one") == 0, "and is as before");
    tap_is(begin(1, 1, 0), NGX_OK, "a place for another one");

    configure(2, "ab");

    tap_is(*lock, 0, "the mutex that is free is given back");
}


/* killed at any instruction: the old text or the new one, whole */

static void
kill_victim(void *data)
{
    (void) data;

    set(0, 0, "the new text, which is a longer one");
}


static void
kill_check(void *data)
{
    uint64_t    now;
    ngx_uint_t  new;

    (void) data;

    now = test_now;
    test_alive[test_pids[1]] = 0;
    arena->lock = 0;

    become(2);

    get(0, 0);
    new = (version == 3);

    tap_each(strcmp((char *) text, new ? "the new text, which is a longer one"
                                       : "two") == 0, "whole: %s", text);

    test_now += VALID;

    tap_each(begin(0, 0, 0) == NGX_OK, "it is fetched");
    tap_each(set(0, 0, "after") == NGX_OK && strcmp(get(0, 0), "after") == 0
             && version == (new ? 4 : 3), "and goes on");

    test_alive[test_pids[1]] = 1;
    test_now = now;
    become(1);
}


static void
test_kills(void)
{
    long  n;

    prepare("a");
    begin(0, 0, 0);
    set(0, 0, "one");
    test_now += VALID;
    begin(0, 0, 0);
    set(0, 0, "two");
    test_now += VALID;
    begin(0, 0, 0);

    n = step_through(arena, arena->size, kill_victim, kill_check, NULL);

    if (n == 0) {
        tap_ok(1, "killed # SKIP no ptrace");
        return;
    }

    tap_each(n > 5, "%ld states on the way", n);
    tap_all("killed while it writes");
}
