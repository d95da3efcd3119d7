
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "bus.h"


#define STEP  NGX_WS_BUS_HISTORY_STEP


static void test_room(void);
static void test_linked(void);
static void test_few_steps(void);
static void test_old(void);
static void test_lapped(size_t size);
static void test_while_it_grows(void);


int
main(void)
{
    alarm(300);

    test_room();
    test_linked();
    test_few_steps();
    test_old();
    test_lapped(8 * 1024);
    test_lapped(64 * 1024 + 8);
    test_while_it_grows();

    zone_free();

    return tap_done();
}


static ngx_uint_t
find_of(uint64_t after, ngx_uint_t count, ngx_uint_t limit, uint64_t first,
    ngx_uint_t n)
{
    uint64_t               pos;
    u_char                *payload;
    ngx_uint_t             i, ok;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);

    if (ngx_ws_bus_channel_history(&test_zone, &view, after, count, 0, limit,
                                   &h, &test_log)
        != NGX_OK)
    {
        return tap_each(0, "no memory");
    }

    ok = tap_each(h.n == n && h.first == first,
                  "after %lu, limit %lu: %lu from %lu, expected %lu from %lu",
                  (u_long) after, (u_long) limit, (u_long) h.n,
                  (u_long) h.first, (u_long) n, (u_long) first);

    for (i = 0; i < h.n; i++) {
        pos = h.pos[i];

        ok &= tap_each(ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec,
                                           &payload) == NGX_OK
                       && rec.channel == view.id && rec.seq == h.first + i
                       && strtoul((char *) payload, NULL, 10) == rec.seq,
                       "message %lu", (u_long) (h.first + i));
    }

    free(h.pos);

    return ok;
}


static void
keep_n(ngx_uint_t n)
{
    char        text[16];
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        sprintf(text, "%lu.", (u_long) (find("c") ? find("c")->seq + 1 : 1));
        keep("c", text);
    }
}


static void
test_room(void)
{
    size_t               max;
    ngx_uint_t           i;
    ngx_ws_bus_place_t   where;
    ngx_ws_bus_message_t msg;

    static u_char  bytes[1024];

    for (i = 0; i < 64; i++) {
        tap_each(ngx_ws_bus_history_max_payload(i) == 0, "size %lu",
                 (u_long) i);
    }

    tap_all("a log that is too small for anything");

    zone_create(1024, 1);
    enter(1);

    max = ngx_ws_bus_history_max_payload(sh->log.size);

    tap_is(max, 1024 - sizeof(ngx_ws_bus_record_t) - 16, "room for a link");

    ngx_memzero(&msg, sizeof(ngx_ws_bus_message_t));
    msg.data = bytes;
    msg.keep = 1;

    for (i = 1; i <= 2 * STEP; i++) {
        msg.len = max - i % 9;

        tap_each(ngx_ws_bus_channel_publish(&test_zone, NULL, name_of("c"),
                                            &msg, &where, rings, &nrings)
                 == NGX_OK && where.seq == i, "message %lu", (u_long) i);
    }

    tap_all("the longest messages are kept, with a link and without");

    keep_n(STEP - 1);
    msg.len = max + 1;

    tap_is(ngx_ws_bus_channel_publish(&test_zone, NULL, name_of("c"), &msg,
                                      &where, rings, &nrings), NGX_ERROR,
           "a longer one is not, if it needs a link");
    tap_is(find("c")->seq, 3 * STEP - 1, "and has no number");

    keep_n(1);
    find_of(0, 1, ANY, 3 * STEP, 1);
    tap_all("the next one has it");

    zone_ok("long messages");
}


static void
test_linked(void)
{
    uint64_t    after;
    ngx_uint_t  i, limit;

    zone_room = 1024 * 1024;
    zone_create(400000, 1);
    enter(1);

    for (i = 1; i <= 1000; i++) {
        keep_n(1);

        if (i % 7 == 0) {
            publish("d", "another", 1, 0, NULL);
        }

        after = next_random(i + 1);
        limit = next_random(3) ? next_random(200) : ANY;

        if (!find_of(after, ANY, limit, after + 1, ngx_min(limit, i - after)))
        {
            break;
        }
    }

    tap_all("any messages of a history that grows");

    for (i = 0; i < 1000; i++) {
        if (!find_of(i, ANY, 1, i + 1, 1)) {
            break;
        }
    }

    tap_all("each message");

    find_of(0, 300, 10, 701, 10);
    find_of(800, 300, 10, 801, 10);
    find_of(0, 0, 10, 1001, 0);
    find_of(0, 1, 10, 1000, 1);
    find_of(0, 1000, 1, 1, 1);
    find_of(0, ANY, 0, 1, 0);
    find_of(1000, ANY, 10, 1001, 0);
    find_of((uint64_t) 1 << 53, ANY, 10, 1001, 0);
    tap_all("counts and limits");

    ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings, &nrings);
    tap_ok(find("c")->linked == NGX_WS_BUS_LOG_NONE, "no link after deletion");

    keep_n(2 * STEP);
    find_of(0, ANY, ANY, 1, 2 * STEP);
    tap_all("a new history has links of its own");

    zone_ok("links");
}


/* a long history costs no more than some steps for finding something in it */

static void
test_few_steps(void)
{
    uint64_t    most, seq;
    ngx_uint_t  i;

    zone_room = 40 * 1024 * 1024;
    zone_create(24 * 1024 * 1024, 1);
    enter(1);
    keep_n(200000);

    most = 0;

    for (i = 0; i < 20000; i++) {
        seq = next_random(200000);

        test_reads = 0;
        find_of(seq, ANY, 1, seq + 1, 1);

        most = ngx_max(most, test_reads);
    }

    tap_all("any message of 200000");
    tap_ok(most < 2 * (2 * STEP + 150), "%lu reads at the most",
           (u_long) most);

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    test_reads = 0;

    tap_is(ngx_ws_bus_channel_oldest(&test_zone, &view, 0, ANY, 0), 1,
           "the oldest one");
    tap_ok(test_reads < STEP + 150, "%lu reads", (u_long) test_reads);

    /* the log has overtaken most of them */

    keep_n(200000);

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    test_reads = 0;

    seq = ngx_ws_bus_channel_oldest(&test_zone, &view, 0, ANY, 0);

    tap_ok(seq > 1, "the oldest one is another, %lu", (u_long) seq);
    tap_ok(test_reads < STEP + 150, "%lu reads", (u_long) test_reads);

    find_of(0, ANY, 10, seq, 10);
    find_of(seq - 1, ANY, 10, seq, 10);
    find_of(seq, ANY, 10, seq + 1, 10);
    tap_all("what is left");

    zone_ok("a long history");
}


static void
test_old(void)
{
    ngx_uint_t  i, n;

    zone_create(100000, 1);
    enter(1);

    for (i = 0; i < 500; i++) {
        keep_n(1);
        test_now += SECOND;
    }

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);

    for (n = 1; n <= 500; n++) {
        tap_each(ngx_ws_bus_channel_oldest(&test_zone, &view, 0, ANY,
                                           n * SECOND) == 501 - n,
                 "%lu seconds", (u_long) n);
        tap_each(ngx_ws_bus_channel_oldest(&test_zone, &view, 0, n / 2,
                                           n * SECOND) == 501 - n / 2,
                 "half of %lu seconds", (u_long) n);
    }

    tap_is(ngx_ws_bus_channel_oldest(&test_zone, &view, 0, ANY, SECOND - 1),
           501, "none is young enough");
    tap_all("what is not older than");
}


/* what is left of it is contiguous up to the newest, at any moment */

static void
test_lapped(size_t size)
{
    u_char                *payload;
    uint64_t               pos, first;
    ngx_uint_t             i, n;
    ngx_ws_bus_record_t    rec;

    zone_create(size, 1);
    enter(1);

    for (i = 1; i <= 5000; i++) {
        keep_n(1);

        for (n = next_random(4) ? 0 : next_random(5); n; n--) {
            publish("d", "something else that takes room", next_random(2), 0,
                    NULL);
        }

        if (i == 2500) {
            for (n = 0; n < size / 64; n++) {
                keep("d", "it is all gone");
            }
        }

        /* step by step, for comparison */

        first = find("c")->seq + 1;
        pos = find("c")->last;

        while (pos != NGX_WS_BUS_LOG_NONE
               && ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec, &payload)
                  == NGX_OK)
        {
            first = rec.seq;
            pos = rec.prev;
        }

        if (!find_of(0, ANY, ANY, first, i - first + 1)
            || !find_of(0, ANY, 5, first, ngx_min(5, i - first + 1))
            || !find_of(i - 1, ANY, 5, first > i ? i + 1 : i, first <= i))
        {
            break;
        }

        if (i % 100 == 0) {
            check_links("lapped", find("c"));
        }
    }

    tap_all("a history that the log overtakes");

    zone_ok("lapped");
}


/* another process overwrites what is being looked for */

static volatile ngx_uint_t  going;


static void *
grow(void *data)
{
    (void) data;

    while (going) {
        keep_n(1);
    }

    return NULL;
}


static void
test_while_it_grows(void)
{
    uint64_t               pos;
    ngx_uint_t             i, j, n, found;
    pthread_t              thread;
    ngx_ws_bus_view_t      v;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    if (TEST_THREADS) {
        return;
    }

    zone_share(LARGE, 64 * 1024, 16, 1);
    enter(1);
    keep_n(10);

    going = 1;
    found = 0;
    n = 0;

    if (pthread_create(&thread, NULL, grow, NULL) != 0) {
        bug("no thread");
    }

    for (i = 0; i < 20000; i++) {
        ngx_ws_bus_channel_view(&test_zone, find("c"), &v);

        if (i % 16 == 0) {
            sched_yield();
        }

        if (ngx_ws_bus_channel_history(&test_zone, &v, v.seq / 2, ANY, 0,
                                       i % 200, &h, &test_log)
            != NGX_OK)
        {
            tap_each(0, "no memory");
            break;
        }

        tap_each(h.n <= i % 200 && h.first + h.n <= v.seq + 1
                 && (h.n || i % 200 == 0 || h.first == v.seq + 1),
                 "%lu from %lu of %lu", (u_long) h.n, (u_long) h.first,
                 (u_long) v.seq);

        for (j = 0; j < h.n; j++) {
            pos = h.pos[j];

            if (ngx_ws_bus_history_have(&test_zone, pos, 0, 0, &rec, NULL)) {
                tap_each(rec.channel == v.id && rec.seq == h.first + j,
                         "%lu is %lu", (u_long) (h.first + j),
                         (u_long) rec.seq);
                found++;
            }
        }

        n += h.n;

        free(h.pos);
    }

    going = 0;
    pthread_join(thread, NULL);

    tap_diag("%lu messages, %lu found, %lu read", (u_long) find("c")->seq,
             (u_long) n, (u_long) found);
    tap_all("a history that is overwritten while it is looked at");
    tap_ok(found > 0, "some of it is there");

    zone_ok("grown");
}
