
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_run.c"

#include "tap.h"


#define ROUNDS    400
#define MESSAGES  60
#define NO_FAIL   -1


static void drain(void);
static ngx_ws_bus_run_t *run_of(size_t size, ngx_uint_t marks);
static void add(ngx_ws_bus_run_t *run, size_t size, u_char byte,
    uint64_t pos);
static void test_empty(void);
static void test_marks(void);
static void test_at(void);
static void test_growth(void);
static void test_undo(void);
static void test_refs(void);
static void test_free_list(void);
static void test_failures(void);
static void test_random(void);


static int           fail_at = NO_FAIL;   /* allocations until one fails */
static unsigned int  seed = 1;


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    (void) log;

    if (fail_at != NO_FAIL && fail_at-- == 0) {
        return NULL;
    }

    return malloc(size);
}


void *
ngx_calloc(size_t size, ngx_log_t *log)
{
    void  *p;

    p = ngx_alloc(size, log);

    if (p) {
        ngx_memzero(p, size);
    }

    return p;
}


int
main(void)
{
    test_empty();
    test_marks();
    test_at();
    test_growth();
    test_undo();
    test_refs();
    test_free_list();
    test_failures();
    test_random();

    drain();

    return tap_done();
}


static unsigned int
next_random(unsigned int n)
{
    seed = seed * 1103515245 + 12345;

    return (seed >> 8) % n;
}


/* frees what is kept for reuse */

static void
drain(void)
{
    ngx_ws_bus_run_t  *run;

    while (ngx_ws_bus_run_free) {
        run = ngx_ws_bus_run_free;
        ngx_ws_bus_run_free = run->next;
        ngx_ws_bus_run_nfree--;

        free(run->data);
        free(run->marks);
        free(run);
    }
}


static ngx_ws_bus_run_t *
run_of(size_t size, ngx_uint_t marks)
{
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_create(NULL);

    while (run->n < marks) {
        add(run, run->n ? 0 : size, 'x', run->n);
    }

    return run;
}


static void
add(ngx_ws_bus_run_t *run, size_t size, u_char byte, uint64_t pos)
{
    u_char  *p;

    if (size) {
        p = ngx_ws_bus_run_reserve(run, size, NULL);

        if (p == NULL) {
            abort();
        }

        memset(p, byte, size);
        run->len += size;
    }

    if (ngx_ws_bus_run_mark(run, pos, pos + 1, pos + 2, size, NULL)
        != NGX_OK)
    {
        abort();
    }
}


static void
test_empty(void)
{
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_create(NULL);

    tap_ok(run != NULL, "a run is made");
    tap_ok(run->refs == 1 && run->len == 0 && run->n == 0
           && run->payload == 0 && run->size == 0, "it is empty");
    tap_is(ngx_ws_bus_run_start(run, 0), 0, "the first message starts at 0");
    tap_is(ngx_ws_bus_run_at(run, 0), 0, "no message holds any byte");

    ngx_ws_bus_run_undo(run);
    tap_is(run->len, 0, "there is nothing to be taken back");

    ngx_ws_bus_run_release(run);
}


static void
test_marks(void)
{
    ngx_uint_t          i;
    ngx_ws_bus_run_t   *run;
    ngx_ws_bus_mark_t  *mark;

    run = ngx_ws_bus_run_create(NULL);

    add(run, 10, 'a', 100);
    add(run, 1, 'b', 200);
    add(run, 0, 'c', 300);
    add(run, 7, 'd', 400);

    tap_is(run->n, 4, "four messages");
    tap_is(run->len, 18, "their bytes");
    tap_is(run->payload, 18, "their payload");

    for (i = 0; i < run->n; i++) {
        mark = &run->marks[i];

        tap_each(mark->pos == 100 * (i + 1), "pos of %lu", (u_long) i);
        tap_each(mark->seq == mark->pos + 1, "seq of %lu", (u_long) i);
        tap_each(mark->time == mark->pos + 2, "time of %lu", (u_long) i);
    }

    tap_all("marks say where each comes from");

    tap_is(ngx_ws_bus_run_start(run, 0), 0, "start of the first");
    tap_is(ngx_ws_bus_run_start(run, 1), 10, "start of the second");
    tap_is(ngx_ws_bus_run_start(run, 2), 11, "start of the third");
    tap_is(ngx_ws_bus_run_start(run, 3), 11, "start behind an empty one");
    tap_is(run->marks[3].end, 18, "end of the last");
    tap_ok(memcmp(run->data, "aaaaaaaaaabddddddd", 18) == 0,
           "they are contiguous");

    ngx_ws_bus_run_release(run);
}


static void
test_at(void)
{
    ngx_uint_t         i, n, offset;
    ngx_ws_bus_run_t  *run;

    for (n = 1; n <= MESSAGES; n++) {
        run = ngx_ws_bus_run_create(NULL);

        for (i = 0; i < n; i++) {
            add(run, next_random(4), 'x', i);
        }

        for (offset = 0; offset < run->len; offset++) {

            for (i = 0; run->marks[i].end <= offset; i++) { /* void */ }

            tap_each(ngx_ws_bus_run_at(run, offset) == i,
                     "offset %lu of %lu messages", (u_long) offset,
                     (u_long) n);
        }

        tap_each(ngx_ws_bus_run_at(run, run->len) == n,
                 "beyond %lu messages", (u_long) n);

        ngx_ws_bus_run_release(run);
    }

    tap_all("the message that holds a byte");
}


static void
test_growth(void)
{
    u_char            *p;
    size_t             size;
    ngx_uint_t         i, grown;
    ngx_ws_bus_run_t  *run;

    drain();

    run = ngx_ws_bus_run_create(NULL);
    grown = 0;

    for (i = 0; i < 100000; i++) {
        size = run->size;
        add(run, 1, (u_char) i, i);
        grown += (run->size != size);
    }

    tap_ok(grown < 20, "100000 small messages grow it %lu times",
           (u_long) grown);
    tap_ok(run->size >= run->len && run->size < 4 * run->len,
           "the room follows what is in it");

    for (i = 0; i < run->len; i++) {
        tap_each(run->data[i] == (u_char) i, "byte %lu", (u_long) i);
        tap_each(run->marks[i].end == i + 1, "mark %lu", (u_long) i);
    }

    tap_all("growing keeps bytes and marks");

    ngx_ws_bus_run_release(run);

    run = ngx_ws_bus_run_create(NULL);

    p = ngx_ws_bus_run_reserve(run, 3000000, NULL);
    memset(p, 'x', 3000000);
    run->len = 3000000;

    tap_is(run->size, 3000000, "one large message gets what it needs");
    tap_ok(ngx_ws_bus_run_reserve(run, 0, NULL) == run->data + run->len,
           "no more room is needed for nothing");

    ngx_ws_bus_run_release(run);
}


static void
test_undo(void)
{
    u_char            *p;
    ngx_ws_bus_run_t  *run;

    run = ngx_ws_bus_run_create(NULL);

    p = ngx_ws_bus_run_reserve(run, 50, NULL);
    memset(p, 'x', 50);
    run->len += 50;

    ngx_ws_bus_run_undo(run);
    tap_ok(run->len == 0 && run->n == 0, "the only message is taken back");

    add(run, 10, 'a', 1);
    add(run, 20, 'b', 2);

    p = ngx_ws_bus_run_reserve(run, 5000, NULL);
    memset(p, 'x', 5000);
    run->len += 5000;

    ngx_ws_bus_run_undo(run);
    tap_ok(run->len == 30 && run->n == 2 && run->payload == 30,
           "what follows the last mark is taken back");

    ngx_ws_bus_run_undo(run);
    tap_is(run->len, 30, "and nothing else, a second time");

    add(run, 3, 'c', 3);
    tap_ok(memcmp(run->data + 28, "bbccc", 5) == 0,
           "the next message takes its place");

    ngx_ws_bus_run_release(run);
}


static void
test_refs(void)
{
    ngx_uint_t         nfree;
    ngx_ws_bus_run_t  *run, *other;

    run = ngx_ws_bus_run_create(NULL);
    add(run, 10, 'a', 1);

    run->refs++;
    nfree = ngx_ws_bus_run_nfree;

    ngx_ws_bus_run_release(run);

    tap_ok(run->refs == 1 && ngx_ws_bus_run_nfree == nfree,
           "it lives as long as somebody refers to it");

    other = ngx_ws_bus_run_create(NULL);
    tap_ok(other != run, "nobody else gets it");

    add(other, 10, 'b', 2);
    tap_ok(memcmp(run->data, "aaaaaaaaaa", 10) == 0, "nor its bytes");

    ngx_ws_bus_run_release(other);
    ngx_ws_bus_run_release(run);

    tap_ok(ngx_ws_bus_run_nfree > nfree, "then it is kept for reuse");
}


static void
test_free_list(void)
{
    size_t             held;
    ngx_uint_t         i;
    ngx_ws_bus_run_t  *run, *runs[4 * NGX_WS_BUS_RUN_FREE];

    drain();

    run = run_of(100, 3);
    ngx_ws_bus_run_release(run);

    runs[0] = ngx_ws_bus_run_create(NULL);

    tap_ok(runs[0] == run, "a released run is used again");
    tap_ok(run->refs == 1 && run->len == 0 && run->n == 0
           && run->payload == 0 && run->size >= 100,
           "as an empty one, with its room");

    ngx_ws_bus_run_release(run);

    for (i = 0; i < 4 * NGX_WS_BUS_RUN_FREE; i++) {
        runs[i] = run_of(100, 3);
    }

    for (i = 0; i < 4 * NGX_WS_BUS_RUN_FREE; i++) {
        ngx_ws_bus_run_release(runs[i]);
    }

    tap_is(ngx_ws_bus_run_nfree, NGX_WS_BUS_RUN_FREE,
           "no more than so many are kept");

    held = 0;
    i = 0;

    for (run = ngx_ws_bus_run_free; run; run = run->next) {
        held += run->size;
        i++;
    }

    tap_is(i, ngx_ws_bus_run_nfree, "their number is known");
    tap_ok(held <= NGX_WS_BUS_RUN_FREE * NGX_WS_BUS_RUN_FREE_SIZE,
           "and what they hold is bounded");

    run = run_of(NGX_WS_BUS_RUN_FREE_SIZE + 1, 1);
    i = ngx_ws_bus_run_nfree;
    ngx_ws_bus_run_release(run);

    tap_is(ngx_ws_bus_run_nfree, i, "a large one is given back");

    run = run_of(100, NGX_WS_BUS_RUN_FREE_SIZE / sizeof(ngx_ws_bus_mark_t)
                      + 1);
    i = ngx_ws_bus_run_nfree;
    ngx_ws_bus_run_release(run);

    tap_is(ngx_ws_bus_run_nfree, i, "and so is one with many marks");
}


static void
test_failures(void)
{
    u_char            *p;
    ngx_int_t          rc;
    ngx_uint_t         n;
    ngx_ws_bus_run_t  *run;

    drain();

    fail_at = 0;
    tap_ok(ngx_ws_bus_run_create(NULL) == NULL, "no memory for a run");

    fail_at = NO_FAIL;
    run = ngx_ws_bus_run_create(NULL);

    fail_at = 0;
    tap_ok(ngx_ws_bus_run_reserve(run, 10, NULL) == NULL,
           "no memory for its first bytes");
    tap_ok(run->len == 0 && run->size == 0, "it stays empty");

    fail_at = NO_FAIL;

    p = ngx_ws_bus_run_reserve(run, 10, NULL);
    memset(p, 'a', 10);
    run->len += 10;

    fail_at = 0;
    rc = ngx_ws_bus_run_mark(run, 1, 2, 3, 10, NULL);

    tap_is(rc, NGX_ERROR, "no memory for the first mark");
    tap_ok(run->len == 0 && run->n == 0 && run->payload == 0,
           "the bytes are taken back");

    fail_at = NO_FAIL;

    while (run->n == 0 || run->n < run->nalloc) {
        add(run, 10, 'a', run->n);
    }

    n = run->n;

    fail_at = 0;
    p = ngx_ws_bus_run_reserve(run, run->size, NULL);

    tap_ok(p == NULL && run->len == 10 * n, "no memory for more bytes");

    fail_at = NO_FAIL;

    p = ngx_ws_bus_run_reserve(run, 10, NULL);
    memset(p, 'b', 10);
    run->len += 10;

    fail_at = 0;
    rc = ngx_ws_bus_run_mark(run, 1, 2, 3, 10, NULL);

    tap_is(rc, NGX_ERROR, "no memory for more marks");
    tap_ok(run->len == 10 * n && run->n == n && run->payload == 10 * n,
           "only the last message is taken back");

    fail_at = NO_FAIL;

    add(run, 10, 'c', 9);

    tap_ok(run->n == n + 1 && memcmp(run->data + 10 * n - 1, "acccccccccc",
                                     11) == 0,
           "and the run can be used");

    ngx_ws_bus_run_release(run);
}


/*
 * Messages of all sizes, some taken back, some without memory, against the
 * plainest copy of what should be in the run.
 */

static void
test_random(void)
{
    u_char            *p;
    size_t             size, len, room;
    ngx_uint_t         i, j, n, end[MESSAGES];
    ngx_ws_bus_run_t  *run;

    static u_char  copy[MESSAGES * 4096];

    for (i = 0; i < ROUNDS; i++) {
        run = ngx_ws_bus_run_create(NULL);
        n = 0;
        len = 0;

        for (j = 0; j < MESSAGES; j++) {
            size = 1 + next_random(next_random(8) ? 64 : 4000);
            room = size + next_random(200);

            if (next_random(10) == 0) {
                fail_at = next_random(2);
            }

            p = ngx_ws_bus_run_reserve(run, room, NULL);

            if (p) {
                memset(p, (int) j + 1, room);
                run->len += size;

                if (next_random(10) == 0) {
                    ngx_ws_bus_run_undo(run);

                } else if (ngx_ws_bus_run_mark(run, j, j, j, size / 2, NULL)
                           == NGX_OK)
                {
                    memset(copy + len, (int) j + 1, size);
                    len += size;
                    end[n++] = len;
                }
            }

            fail_at = NO_FAIL;

            tap_each(run->len == len && run->n == n, "length");
        }

        tap_each(len == 0 || memcmp(run->data, copy, len) == 0, "bytes");

        for (j = 0; j < n; j++) {
            tap_each(run->marks[j].end == end[j], "end of a message");
        }

        ngx_ws_bus_run_release(run);
    }

    tap_all("random runs");
}
