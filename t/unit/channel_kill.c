
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


/* everything that is kept is linked */
#define NGX_WS_BUS_HISTORY_STEP  1

#include "bus.h"


static void test_steps(void);
static void test_kills(void);
static void test_together(void);


int
main(void)
{
    /* a walk over a broken list may never end */

    alarm(300);

    if (!TEST_THREADS) {
        test_steps();
        test_kills();
    }

    test_together();

    zone_free();

    return tap_done();
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


/* the lap is closed first */

static void
crash_filler_check(ngx_uint_t done)
{
    tap_each(!done || find("c")->last == crash->size, "%s: where it is",
             crash->name);
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


/* what others have done with a key is still known */

static void
crash_other_check(ngx_uint_t done)
{
    (void) done;

    become(3);
    publish("x", "m", 0, 0, "other");

    tap_each(place.repeated, "%s: another key", crash->name);
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

    crash_other_check(done);
}


static void
crash_key_nobody(void)
{
    publish("x", "new", 0, 0, "key");
}


/* a consumer of epoch 1 acknowledges in epoch 2 */

static void
crash_ack(void)
{
    u_char  key[NGX_WS_BUS_ONCE_LEN] = "consumer";

    ngx_ws_bus_once_ack(&test_zone, key, 2, 5);
}


static void
crash_ack_check(ngx_uint_t done)
{
    u_char    key[NGX_WS_BUS_ONCE_LEN] = "consumer";
    uint64_t  epoch, seq;

    crash_other_check(done);

    if (!tap_each(ngx_ws_bus_once_acked(&test_zone, key, &epoch, &seq)
                  == NGX_OK, "%s: it is known", crash->name))
    {
        return;
    }

    tap_each((epoch == 1 && (seq == 100 || seq == 0))
             || (epoch == 2 && (seq == 0 || seq == 5)),
             "%s: epoch %lu, seq %lu", crash->name, (u_long) epoch,
             (u_long) seq);
}


static void
crash_ack_new(void)
{
    u_char  key[NGX_WS_BUS_ONCE_LEN] = "another consumer";

    ngx_ws_bus_once_ack(&test_zone, key, 2, 5);
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
crash_join_long(void)
{
    join(1, long_name('n', 255));
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


static void
crash_revoke(void)
{
    take_away("alice", 500, 2000);
}


/* what has expired makes room */

static void
crash_revoke_full(void)
{
    take_away("alice", 500, 2000);
}


static void
crash_revoke_fill(void)
{
    char        name[32];
    ngx_uint_t  i;

    for (i = 0; i < sh->max_revoked; i++) {
        sprintf(name, "%lu", (u_long) i);
        take_away(name, 10, 20);
    }
}


/* for a longer time */

static void
crash_revoke_again(void)
{
    take_away("alice", 500, 600);
    take_away("alice", 550, 2000);
}


static void
crash_revoke_check(ngx_uint_t done)
{
    ngx_uint_t  slot;

    become(3);

    for (slot = 2; slot <= 3; slot++) {
        tap_each(!done || sh->slots[slot]->pending,
                 "%s: slot %lu is told", crash->name, (u_long) slot);
    }

    tap_each(!done || revoked("alice", 500, 599), "%s: it is known",
             crash->name);
    tap_each(!revoked("bob", 1, 599), "%s: another one", crash->name);

    tap_each(take_away("bob", 2000, 4000) == NGX_OK
             && revoked("bob", 2000, 3000), "%s: one more", crash->name);
    tap_each(take_away("alice", 1500, 4000) == NGX_OK
             && revoked("alice", 1500, 3999)
             && !revoked("alice", 1501, 3999)
             && !revoked("alice", 1500, 4000), "%s: again", crash->name);
}


static crash_t  crashes[] = {

    { "killed while it revokes", 4, crash_revoke, crash_revoke_check,
      "3:after", "3:after", 2048 },
    { "killed while it revokes in a full table", 4, crash_revoke_full,
      crash_revoke_check, "3:after", "3:after", 2048 },
    { "killed while it revokes again", 4, crash_revoke_again,
      crash_revoke_check, "3:after", "3:after", 2048 },

    { "killed while it keeps a message", 4, crash_keep, NULL,
      "3:after", "3:new 4:after", 1024 },
    { "killed while it keeps a message over a filler", 4, crash_keep,
      crash_filler_check, "3:after", "3:new 4:after", 416 },
    { "killed while it passes a message on", 4, crash_pass, NULL,
      "3:after", "0:new 3:after", 1024 },
    { "killed while it keeps a message with a key", 1, crash_key,
      crash_key_check, "3:new 4:after", "3:new 4:after", 1024 },
    { "killed while it has a key to nobody", 1, crash_key_nobody,
      crash_other_check, "3:after", "3:after", 1024 },
    { "killed while it acknowledges", 1, crash_ack, crash_ack_check,
      "3:after", "3:after", 1024 },
    { "killed while it acknowledges for the first time", 1, crash_ack_new,
      crash_ack_check, "3:after", "3:after", 1024 },
    { "killed while it keeps a message in a new channel", 1, crash_keep_new,
      crash_keep_new_check, "3:after", "3:after", 1024 },
    { "killed while it deletes a channel", 4, crash_delete,
      crash_delete_check, "3:after", "deleted 1:after", 1024 },
    { "killed while it joins a channel", 4, crash_join, NULL,
      "3:after", "", 1024 },
    { "killed while it joins a new channel", 1, crash_join_new, NULL,
      "3:after", "", 1024 },
    { "killed while it joins a new channel with a long name", 1,
      crash_join_long, NULL, "3:after", "", 1024 },
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
    u_char  key[NGX_WS_BUS_ONCE_LEN] = "consumer";

    zone_share(SMALL, crash->size, crash->buckets, 0);

    enter(1);
    enter(2);
    enter(3);
    enter(4);

    if (crash->run == crash_revoke_full) {
        crash_revoke_fill();
    }

    join(4, long_name('i', 255));
    part(3, join(3, long_name('i', 255)));
    publish("x", "m", 0, 0, "old");

    test_alive[test_pids[4]] = 0;
    become(1);
    ngx_ws_bus_zone_reap(&test_zone);

    test_now += 2 * NGX_WS_BUS_ONCE_TIME;

    publish("x", "m", 0, 0, "other");
    ngx_ws_bus_once_ack(&test_zone, key, 1, 100);

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
    (void) data;

    look_ahead(crash_state);
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

    if (!TEST_THREADS) {
        ngx_pid = getpid();
    }

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
    ngx_pid = getpid();
    seed += i;

    for ( ;; ) {
        t_publish();
    }
}


static void
t_start(worker_t *r)
{
    ngx_uint_t  i;

    /* whose the mutex is */

    ngx_pid = getpid();

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
