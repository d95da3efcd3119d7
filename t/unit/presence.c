
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

/* others have the mutex then */

#undef ngx_msleep
#define ngx_msleep(ms)  slept(ms)

static void slept(ngx_uint_t ms);

#include "hub.h"


#define WORKERS   4
#define WATCHER   6
#define NAMES     60
#define CROWD     (3 * NGX_WS_BUS_PRESENCE_SLICE + 100)
#define ROUNDS    4000


static void test_entry(void);
static void test_random(void);
static void test_crowd(void);
static void test_slices(void);
static void test_two_killed(void);
static void test_steps(void);
static void bench(ngx_uint_t n, ngx_uint_t all);


/* a subscription in each slot, as far as presence looks at it */

static ngx_ws_bus_hub_t       hubs[SLOTS];
static ngx_ws_bus_channel_t   test_channels[SLOTS];
static ngx_ws_bus_group_t     groups[SLOTS];
static ngx_ws_bus_sub_t       test_subs[SLOTS];

static ngx_ws_bus_node_t     *node;
static ngx_uint_t             naps;
static void                 (*on_nap)(void);

/* who has been told of, and how often */

static char                   told[CROWD];
static ngx_uint_t             joined[CROWD];
static ngx_uint_t             left[CROWD];


int
main(void)
{
    ngx_uint_t  i;

    static ngx_uint_t  widths[] = { 1000, 10000, 20000 };

    ngx_queue_init(&ngx_posted_events);

    if (getenv("WS_BUS_TEST_BENCH")) {
        for (i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
            bench(widths[i], 0);
            bench(widths[i], 1);
        }
    }

    /* a walk over a broken list may never end */

    alarm(300);

    test_entry();
    test_random();
    test_crowd();
    test_slices();
    test_two_killed();

    if (!TEST_THREADS) {
        test_steps();
    }

    zone_free();

    return tap_done();
}


static void
slept(ngx_uint_t ms)
{
    (void) ms;

    if (locked(&test_zone.shpool->mutex)) {
        bug("asleep with the mutex");
    }

    naps++;

    if (on_nap) {
        on_nap();
    }
}


/* of any length; every other two have one hash */

static char *
member(ngx_uint_t n)
{
    size_t  len;

    static char  name[NGX_WS_BUS_MEMBER_MAX + 1];

    len = sprintf(name, "%04lu-%s", (u_long) n, n & 1 ? "Aa" : "BB");

    if (n % 7 == 3) {
        while (len < 6 + n % 250) {
            name[len++] = 'x';
        }

        name[len] = '\0';
    }

    return name;
}


static void
forget_waiting(ngx_uint_t slot)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&hubs[slot].leavers)) {
        q = ngx_queue_head(&hubs[slot].leavers);
        ngx_queue_remove(q);
        free(ngx_queue_data(q, ngx_ws_bus_leaver_t, queue));
    }
}


static void
subscribe(ngx_uint_t slot)
{
    node = join(slot, "c");

    if (node == NULL) {
        bug("no channel");
    }

    ngx_memzero(&hubs[slot], sizeof(ngx_ws_bus_hub_t));
    hubs[slot].zone = &test_zone;
    hubs[slot].log = &test_log;
    hubs[slot].deliver.log = &test_log;
    ngx_ws_bus_presence_init(&hubs[slot]);

    test_channels[slot].hub = &hubs[slot];
    test_channels[slot].node = node;
    groups[slot].channel = &test_channels[slot];
    test_subs[slot].group = &groups[slot];
}


static void
start(size_t zone, size_t log)
{
    ngx_uint_t  slot;

    zone_share(zone, log, 4, 0);

    ngx_memzero(told, sizeof(told));
    ngx_memzero(joined, sizeof(joined));
    ngx_memzero(left, sizeof(left));

    enter(WATCHER);
    join(WATCHER, "c");

    for (slot = 0; slot < WORKERS; slot++) {
        enter(slot);
        subscribe(slot);
    }
}


static ngx_int_t
come(ngx_uint_t slot, ngx_uint_t n)
{
    become(slot);

    return ngx_ws_bus_presence_join(&test_subs[slot], name_of(member(n)));
}


static void
go(ngx_uint_t slot, ngx_uint_t n)
{
    become(slot);

    ngx_ws_bus_presence_leave(&test_subs[slot], name_of(member(n)));
}


static void
wait_over(void)
{
    ngx_uint_t  slot;

    ngx_current_msec += NGX_WS_BUS_LEAVE_TIME;

    for (slot = 0; slot < WORKERS; slot++) {
        become(slot);
        hubs[slot].leave.timer_set = 0;
        ngx_ws_bus_presence_timer_handler(&hubs[slot].leave);
    }
}


/* killed, and a successor */

static void
killed(ngx_uint_t slot)
{
    forget_waiting(slot);
    enter(slot);
    subscribe(slot);
}


static void
listen_to(void)
{
    int         at;
    ngx_uint_t  i, n;

    do {
        read_slot(WATCHER);

        for (i = 0; i < ngot; i++) {
            n = strtoul(got[i].text, NULL, 10);
            at = got[i].rec.type == NGX_WS_BUS_REC_JOINED;

            if (n >= CROWD
                || !tap_each(strncmp(got[i].text, member(n), 63) == 0,
                             "a name"))
            {
                continue;
            }

            joined[n] += at;
            left[n] += !at;
            told[n] = at;
        }

    } while (ngot);

    tap_each(readers[WATCHER].lapped == 0, "not lapped");
}


/* 1 if it is on the list; who else is there is counted */

static ngx_uint_t
listed(char *there)
{
    ngx_uint_t            i, n;
    ngx_ws_bus_members_t  list;

    ngx_memzero(there, CROWD);

    become(WATCHER);

    if (ngx_ws_bus_presence_list(&test_zone, name_of("c"), &list, &test_log)
        != NGX_OK)
    {
        bug("no list");
    }

    for (i = 0; i < list.n; i++) {
        n = strtoul((char *) list.names[i].data, NULL, 10);

        tap_each(n < CROWD && list.names[i].len == strlen(member(n))
                 && ngx_memcmp(list.names[i].data, member(n),
                               list.names[i].len)
                    == 0, "a listed name");

        if (n < CROWD) {
            there[n] = 1;
        }
    }

    n = list.n;
    free(list.names);

    return n;
}


static ngx_uint_t
entries(ngx_uint_t slot)
{
    ngx_uint_t            n;
    ngx_ws_bus_member_t  *m;

    n = 0;

    for (m = node->members; m; m = m->next) {
        n += (m->slot == slot);
    }

    return n;
}


static void
test_entry(void)
{
    tap_is(offsetof(ngx_ws_bus_member_t, name), 17,
           "an entry is 17 bytes and the name");
    tap_ok((NGX_WS_BUS_PRESENCE_SLICE & (NGX_WS_BUS_PRESENCE_SLICE - 1)) == 0,
           "slices are a power of 2");
    tap_ok(ngx_ws_bus_presence_hash(name_of("Aa"))
           == ngx_ws_bus_presence_hash(name_of("BB")),
           "there are names of one hash here");
}


/*
 * Members come, go and come back on any worker, workers are killed: each is
 * told of in turn, and when all is quiet the list is who is there.
 */

static void
test_random(void)
{
    char        there[CROWD];
    ngx_uint_t  i, n, slot, sum, before[NAMES][2];

    static ngx_uint_t  count[WORKERS][NAMES];

    ngx_memzero(count, sizeof(count));
    ngx_memzero(before, sizeof(before));
    start(4 * LARGE, LARGE);

    for (i = 0; i < ROUNDS; i++) {
        slot = next_random(WORKERS);
        n = next_random(NAMES);

        if (i % 100 == 99) {
            killed(slot);
            ngx_memzero(count[slot], sizeof(count[slot]));

        } else if (next_random(2)) {
            tap_each(come(slot, n) == NGX_OK, "joins");
            count[slot][n]++;

        } else if (count[slot][n]) {
            go(slot, n);
            count[slot][n]--;
        }

        ngx_current_msec += next_random(60);

        if (i % 20) {
            continue;
        }

        wait_over();
        listen_to();
        listed(there);

        for (n = 0; n < NAMES; n++) {

            for (sum = 0, slot = 0; slot < WORKERS; slot++) {
                sum += count[slot][n];
            }

            tap_each(told[n] == (sum != 0), "%lu: told", (u_long) n);
            tap_each(there[n] == (sum != 0), "%lu: listed", (u_long) n);
            tap_each(joined[n] == left[n] + (sum != 0), "%lu: in turn",
                     (u_long) n);
        }
    }

    for (slot = 0; slot < WORKERS; slot++) {
        forget_waiting(slot);
    }

    tap_all("members come and go, workers are killed");
}


/* n has its first connection in slot n % 4, every third another in the next */

static void
crowd(void)
{
    ngx_uint_t  n;

    for (n = 0; n < CROWD; n++) {
        tap_each(come(n % 10 ? 0 : n % WORKERS, n) == NGX_OK, "joins");

        if (n % 3 == 0) {
            tap_each(come(2, n) == NGX_OK, "joins again");
        }
    }
}


static ngx_uint_t
stays(ngx_uint_t n)
{
    return n % 3 == 0 || (n % 10 == 0 && n % WORKERS != 0);
}


static void
crowd_check(const char *name)
{
    char        there[CROWD];
    ngx_uint_t  n, count;

    listen_to();
    count = listed(there);

    for (n = 0; n < CROWD; n++) {
        tap_each(there[n] == (char) stays(n), "%s: %lu is listed", name,
                 (u_long) n);
        tap_each(left[n] == !stays(n) && joined[n] == 1, "%s: %lu is told of",
                 name, (u_long) n);
        count -= stays(n);
    }

    tap_each(count == 0, "%s: all of them", name);
    tap_is(entries(0), 0, "%s: nothing of the killed worker", name);
}


static void
test_crowd(void)
{
    start(4 * LARGE, 2 * LARGE);
    crowd();
    listen_to();

    naps = 0;
    killed(0);

    crowd_check("a crowd");
    tap_ok(naps >= CROWD / NGX_WS_BUS_PRESENCE_SLICE - 1,
           "a crowd: others have the mutex in between");
    tap_all("a crowd");
}


/*
 * Between two slices one comes that is yet to be looked at, one that has been
 * told of already, and the process is killed and begins anew.
 */

static ngx_uint_t  slices_first, slices_last;


static void
slices_nap(void)
{
    ngx_int_t  slot;

    on_nap = NULL;
    slot = ngx_process_slot;

    tap_is(sh->slots[0]->pid, 0, "slices: nobody is in the slot");
    tap_ok(entries(0) > 0, "slices: not all have gone");

    become(WATCHER);
    listen_to();

    for (slices_last = CROWD - 1; stays(slices_last); slices_last--) {
        /* void */
    }

    for (slices_first = 1; stays(slices_first); slices_first++) { /* void */ }

    tap_is(left[slices_last], 1, "slices: the newest entries go first");
    tap_is(left[slices_first], 0, "slices: the oldest are there");

    come(3, slices_first);
    come(3, slices_last);

    listen_to();

    tap_is(joined[slices_last], 2, "slices: who has left has come back");
    tap_is(joined[slices_first], 1, "slices: who has not is known");

    /* the successor is killed at this point; here is the next one */

    become(slot);
    killed(0);
    become(slot);
}


static void
test_slices(void)
{
    char  there[CROWD];

    start(4 * LARGE, 2 * LARGE);
    crowd();
    listen_to();

    on_nap = slices_nap;
    killed(0);

    listen_to();
    listed(there);

    tap_is(left[slices_first], 0, "slices: the first one stays");
    tap_is(left[slices_last], 1, "slices: the last one has left once");
    tap_ok(there[slices_first] && there[slices_last], "slices: both listed");

    go(3, slices_first);
    go(3, slices_last);
    wait_over();

    left[slices_last]--;
    joined[slices_last]--;

    crowd_check("slices");
    tap_all("slices");
}


/* what the other dead one has is not counted, and told of once */

static void
test_two_killed(void)
{
    char  there[CROWD];

    start(4 * LARGE, LARGE);

    come(0, 1);
    come(1, 1);
    come(1, 2);
    come(2, 2);

    test_alive[test_pids[0]] = 0;
    test_alive[test_pids[1]] = 0;

    become(2);
    tap_is(ngx_ws_bus_zone_reap(&test_zone), 2, "two are killed");

    enter(0);
    listen_to();
    listed(there);

    tap_ok(left[1] == 1 && !there[1], "two are killed: who was on both left");

    enter(1);
    listen_to();
    listed(there);

    tap_is(left[1], 1, "two are killed: told once");
    tap_ok(left[2] == 0 && there[2], "two are killed: one stays");
    tap_is(entries(0) + entries(1), 0, "two are killed: nothing of them");
}


/*
 * Killed at any instruction: a worker that removes what its predecessor has
 * left, and one that tells that somebody has gone.
 */

static void
steps_prepare(void)
{
    start(64 * 1024, 4096);

    /*
     * 1 is in slot 0 only, as 199 is, a long name; 2 in another one, 5 in both.
     * 10 has left both slot 1 and slot 0, which waits for it; 8 slots 3 and 1.
     */

    come(0, 1);
    come(1, 10);
    come(0, 10);
    go(1, 10);
    come(2, 2);
    come(0, 5);
    come(2, 5);
    come(0, 199);
    go(0, 10);
    come(3, 8);
    come(1, 8);
    go(3, 8);
    go(1, 8);

    listen_to();

    ngx_memzero(joined, sizeof(joined));
    ngx_memzero(left, sizeof(left));
}


static void
steps_disown(void *data)
{
    (void) data;

    become(0);
    ngx_ws_bus_zone_enter(&test_zone, &test_log);
}


static void
steps_left(void *data)
{
    ngx_queue_t  *q;

    (void) data;

    become(1);

    q = ngx_queue_head(&hubs[1].leavers);
    ngx_ws_bus_presence_left(&hubs[1],
                             ngx_queue_data(q, ngx_ws_bus_leaver_t, queue));
}


static ngx_uint_t  steps_slot;       /* of who is killed */


static void
steps_state(void)
{
    char        there[CROWD];
    ngx_uint_t  n, gone;

    static ngx_uint_t  names[] = { 1, 10, 2, 5, 199, 8 };

    test_alive[test_pids[steps_slot]] = 0;
    arena->lock = 0;

    ngx_memzero(joined, sizeof(joined));
    ngx_memzero(left, sizeof(left));

    enter(steps_slot);

    tap_each(entries(steps_slot) == 0, "nothing of slot %lu",
             (u_long) steps_slot);

    listen_to();
    listed(there);

    for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {

        gone = steps_slot ? names[n] == 8 || names[n] == 10
                          : names[n] == 1 || names[n] == 10 || names[n] == 199;

        tap_each(joined[names[n]] == 0, "%lu did not join",
                 (u_long) names[n]);
        tap_each(gone ? left[names[n]] && left[names[n]] <= 2
                      : left[names[n]] == 0, "%lu left %lu times",
                 (u_long) names[n], (u_long) left[names[n]]);
        tap_each(there[names[n]] == !gone, "%lu is listed",
                 (u_long) names[n]);
    }
}


static void
steps_check(void *data)
{
    steps_slot = *(ngx_uint_t *) data;

    look_ahead(steps_state);
}


static void
test_step(void (*victim)(void *), ngx_uint_t slot, const char *name)
{
    long        n;
    ngx_uint_t  i;

    steps_prepare();

    n = step_through(arena, arena->size, victim, steps_check, &slot);

    for (i = 0; i < WORKERS; i++) {
        forget_waiting(i);
    }

    if (n == 0) {
        tap_ok(1, "%s # SKIP no ptrace", name);
        return;
    }

    tap_each(n > 2, "%ld states on the way", n);
    tap_all(name);
}


static void
test_steps(void)
{
    test_step(steps_disown, 0, "killed while it removes another's members");
    test_step(steps_left, 1, "killed while it tells that somebody left");
}


static double
seconds(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


static double  bench_from, bench_longest;


static void
bench_nap(void)
{
    double  now;

    now = seconds();
    bench_longest = ngx_max(bench_longest, now - bench_from);
    bench_from = now;
}


static ngx_int_t
bench_leave(ngx_ws_bus_sub_t *sub, ngx_str_t *name)
{
    ngx_ws_bus_presence_leave(sub, name);

    return NGX_OK;
}


static void
bench_member(ngx_uint_t n, ngx_uint_t all,
    ngx_int_t (*what)(ngx_ws_bus_sub_t *, ngx_str_t *))
{
    char  name[32];

    become(all ? 0 : n % WORKERS);
    sprintf(name, "user:%06lu", (u_long) n);

    if (what(&test_subs[ngx_process_slot], name_of(name)) != NGX_OK) {
        bug("no member");
    }
}


/* with WS_BUS_TEST_BENCH in the environment: see docs/operations.md */

static void
bench(ngx_uint_t n, ngx_uint_t all)
{
    double      from, join, leave;
    ngx_uint_t  i;

    start(16 * LARGE, 4 * LARGE);

    for (i = 0; i < n; i++) {
        bench_member(i, all, ngx_ws_bus_presence_join);
    }

    from = seconds();

    for (i = n; i < n + 100; i++) {
        bench_member(i, all, ngx_ws_bus_presence_join);
    }

    join = (seconds() - from) / 100;
    from = seconds();

    for (i = n; i < n + 100; i++) {
        bench_member(i - n, all, bench_leave);
    }

    wait_over();

    leave = (seconds() - from) / 100;

    naps = 0;
    on_nap = bench_nap;
    from = seconds();
    bench_from = from;
    bench_longest = 0;

    enter(0);

    bench_nap();
    on_nap = NULL;

    tap_diag("%5lu members on %s: join %.1f us, leave %.1f us; one killed "
             "%.2f ms, in %lu slices, the longest %.2f ms", (u_long) n,
             all ? "one worker  " : "four workers", join * 1e6, leave * 1e6,
             (seconds() - from) * 1e3, (u_long) naps + 1,
             bench_longest * 1e3);
}
