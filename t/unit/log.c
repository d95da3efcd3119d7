
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_log.c"

#include <time.h>

#include "step.h"
#include "tap.h"
#include "workers.h"


#define HEADER       sizeof(ngx_ws_bus_record_t)

#define SMALL_MAX    512        /* bytes of the logs tested exhaustively */
#define RECORDS_MAX  (SMALL_MAX / HEADER)
#define CURSORS_MAX  (2 * RECORDS_MAX + 4)

#define KILLS        200
#define TOGETHER     2000       /* milliseconds */
#define WRITERS      2
#define READERS      3


/*
 * What the log should hold, by the plainest rules: records in a queue; a new
 * one goes to the head or, where it would wrap, to the start of the next lap;
 * what its bytes cover is gone.
 */

typedef struct {
    uint64_t             pos;
    size_t               size;
    size_t               len;
} item_t;


typedef struct {
    size_t               size;
    uint64_t             head;
    ngx_uint_t           n;
    item_t               items[RECORDS_MAX + 1];
} model_t;


/* a state of a small log, and what it holds */

typedef struct {
    ngx_ws_bus_log_t     log;
    model_t              model;
    u_char               data[SMALL_MAX];
} state_t;


typedef struct {
    size_t               size;
    size_t               lens[16];  /* records before, up to a 0 */
    size_t               len;       /* the one during which it is killed */
    const char          *name;
} kill_case_t;


/* what processes share; the log's memory follows */

typedef struct {
    ngx_ws_bus_log_t     log;
    pthread_mutex_t      mutex;
    uint64_t             last;      /* position of the newest record */
    ngx_uint_t           stop;
    uint64_t             appended;
    uint64_t             read[READERS];
    uint64_t             lapped[READERS];
    ngx_uint_t           failed;
    char                 failure[256];
    u_char               data[1];
} shared_t;


static uint64_t append(ngx_ws_bus_log_t *log, uint64_t seq, uint64_t prev,
    size_t len);
static const char *verify(ngx_ws_bus_record_t *rec, u_char *payload);
static size_t model_append(model_t *m, size_t len);
static void check_state(state_t *s, const char *name);
static void check_cursors(state_t *s, uint64_t *cursors, ngx_uint_t n);
static void test_rules(void);
static void test_edges(void);
static void test_every_state(void);
static void test_long(void);
static void test_lapped(void);
static void test_steps(void);
static void test_kills(void);
static void test_together(size_t size, size_t len, const char *name);


static shared_t      *shared;
static size_t         longest;     /* record of the writers together */

static __thread unsigned int  seed = 1;


int
main(void)
{
    /* a walk over a broken log may never end */

    alarm(300);

    test_rules();
    test_edges();
    test_every_state();
    test_long();
    test_lapped();

    if (!TEST_THREADS) {
        test_steps();
        test_kills();
    }

    test_together(4096, 600, "records of all sizes in 4k");
    test_together(1 << 20, 4000, "records of all sizes in 1m");
    test_together(64 * HEADER, 0, "empty records alone");

    return tap_done();
}


static unsigned int
next_random(unsigned int n)
{
    seed = seed * 1103515245 + 12345;

    return (seed >> 8) % n;
}


/* every byte of a record follows from its position, number and length */

static u_char
byte_of(uint64_t pos, uint64_t seq, size_t i)
{
    uint64_t  x;

    x = (pos + 8 * (i / 8) + 1) * 0x9e3779b97f4a7c15 + seq;

    return (u_char) (x >> (8 * (i % 8)));
}


/* returns the position */

static uint64_t
append(ngx_ws_bus_log_t *log, uint64_t seq, uint64_t prev, size_t len)
{
    size_t                i;
    u_char               *p;
    ngx_ws_bus_record_t  *rec;

    rec = ngx_ws_bus_log_reserve(log, len);

    if (rec == NULL) {
        abort();
    }

    rec->prev = prev;
    rec->seq = seq;
    rec->channel = rec->pos * 31 + seq;
    rec->time = ~rec->pos ^ len;
    rec->type = NGX_WS_BUS_REC_MESSAGE;
    rec->flags = (uint32_t) seq;

    p = (u_char *) rec + HEADER;

    for (i = 0; i < len; i++) {
        p[i] = byte_of(rec->pos, seq, i);
    }

    ngx_ws_bus_log_commit(log, rec);

    return rec->pos;
}


static const char *
verify(ngx_ws_bus_record_t *rec, u_char *payload)
{
    size_t  i;

    if (rec->channel != rec->pos * 31 + rec->seq
        || rec->time != (~rec->pos ^ rec->len)
        || rec->type != NGX_WS_BUS_REC_MESSAGE
        || rec->flags != (uint32_t) rec->seq
        || rec->size != ngx_ws_bus_log_align(HEADER + rec->len))
    {
        return "torn header";
    }

    for (i = 0; i < rec->len; i++) {
        if (payload[i] != byte_of(rec->pos, rec->seq, i)) {
            return "torn payload";
        }
    }

    return NULL;
}


/* returns the bytes left over at the end of a lap */

static size_t
model_append(model_t *m, size_t len)
{
    size_t      size, left;
    ngx_uint_t  i, gone;

    size = (HEADER + len + 7) / 8 * 8;
    left = m->size - m->head % m->size;

    if (left >= size) {
        left = 0;
    }

    m->head += left;

    gone = 0;

    while (gone < m->n && m->items[gone].pos + m->size < m->head + size) {
        gone++;
    }

    for (i = gone; i < m->n; i++) {
        m->items[i - gone] = m->items[i];
    }

    m->n -= gone;

    m->items[m->n].pos = m->head;
    m->items[m->n].size = size;
    m->items[m->n].len = len;
    m->n++;

    m->head += size;

    return left;
}


static void
check_state(state_t *s, const char *name)
{
    u_char               *payload;
    uint64_t              pos;
    ngx_int_t             rc;
    ngx_uint_t            i;
    const char           *torn;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &s->log;
    pos = log->tail;

    tap_each(ngx_ws_bus_log_head(log) == s->model.head, "%s: head", name);
    tap_each(log->tail <= log->head && log->head - log->tail <= log->size,
             "%s: tail", name);

    for (i = 0; i < s->model.n; i++) {

        rc = ngx_ws_bus_log_read(log, &pos, log->head, &rec, &payload);

        if (!tap_each(rc == NGX_OK && pos == s->model.items[i].pos
                      && rec.pos == pos && rec.len == s->model.items[i].len
                      && rec.size == s->model.items[i].size,
                      "%s: record %lu of %lu", name, (u_long) i,
                      (u_long) s->model.n))
        {
            return;
        }

        tap_each(payload == s->data + pos % log->size + HEADER
                 && payload + rec.len <= s->data + log->size,
                 "%s: payload of record %lu", name, (u_long) i);

        torn = verify(&rec, payload);
        tap_each(torn == NULL, "%s: record %lu: %s", name, (u_long) i, torn);
        tap_each(ngx_ws_bus_log_intact(log, pos), "%s: intact", name);

        pos += rec.size;
    }

    tap_each(ngx_ws_bus_log_read(log, &pos, log->head, &rec, &payload)
             == NGX_DONE, "%s: end", name);
}


/*
 * Readers that stopped anywhere are told the next record, that there is
 * none, or that they have been lapped.
 */

static void
check_cursors(state_t *s, uint64_t *cursors, ngx_uint_t n)
{
    u_char               *payload;
    uint64_t              pos, begin;
    ngx_int_t             rc, want;
    ngx_uint_t            i, j;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &s->log;

    for (i = 0; i < n; i++) {

        /* a rest shorter than a header belongs to the next lap */

        begin = cursors[i];

        if (log->size - begin % log->size < HEADER) {
            begin += log->size - begin % log->size;
        }

        for (j = 0; j < s->model.n; j++) {
            if (s->model.items[j].pos >= begin) {
                break;
            }
        }

        if (begin >= s->model.head) {
            want = NGX_DONE;

        } else if (s->model.items[s->model.n - 1].pos
                   + s->model.items[s->model.n - 1].size > begin + log->size)
        {
            want = NGX_DECLINED;

        } else {
            want = NGX_OK;
        }

        pos = cursors[i];
        rc = ngx_ws_bus_log_read(log, &pos, log->head, &rec, &payload);

        tap_each(rc == want, "log of %lu: cursor %lu, head %lu: %d for %d",
                 (u_long) log->size, (u_long) cursors[i],
                 (u_long) log->head, (int) rc, (int) want);

        tap_each(rc != NGX_OK || (j < s->model.n
                                  && pos == s->model.items[j].pos),
                 "log of %lu: cursor %lu, head %lu: next is at %lu",
                 (u_long) log->size, (u_long) cursors[i],
                 (u_long) log->head, (u_long) pos);

        tap_each(ngx_ws_bus_log_intact(log, begin) == (want != NGX_DECLINED),
                 "log of %lu: intact from %lu on", (u_long) log->size,
                 (u_long) cursors[i]);
    }
}


static void
state_init(state_t *s, size_t size, uint64_t head)
{
    ngx_memzero(s, sizeof(state_t));
    memset(s->data, 0xee, SMALL_MAX);

    ngx_ws_bus_log_init(&s->log, s->data, size);

    s->log.head = head;
    s->log.tail = head;
    s->model.head = head;
    s->model.size = size;
}


static size_t
state_append(state_t *s, size_t len)
{
    s->log.data = s->data;

    append(&s->log, s->model.head, 0, len);

    return model_append(&s->model, len);
}


static void
test_rules(void)
{
    u_char               *payload, data[512];
    uint64_t              pos;
    ngx_ws_bus_log_t      log;
    ngx_ws_bus_record_t   rec, *r;

    ngx_ws_bus_log_init(&log, data, 512);

    tap_ok(log.size == 512 && ngx_ws_bus_log_head(&log) == 0 && log.tail == 0,
           "an empty log");

    pos = 0;
    tap_is(ngx_ws_bus_log_read(&log, &pos, 0, &rec, &payload), NGX_DONE,
           "there is nothing to read");

    r = ngx_ws_bus_log_reserve(&log, 13);

    tap_ok((u_char *) r == data && r->pos == 0 && r->len == 13
           && r->size == HEADER + 16, "room for a record");
    tap_is(ngx_ws_bus_log_head(&log), 0, "it is not visible before commit");

    append(&log, 1, NGX_WS_BUS_LOG_NONE, 13);

    tap_is(ngx_ws_bus_log_head(&log), HEADER + 16, "then it is");

    append(&log, 2, 0, 100);

    tap_is(ngx_ws_bus_log_read(&log, &pos, log.head, &rec, &payload), NGX_OK,
           "a record is read");
    tap_ok(pos == 0 && rec.pos == 0 && rec.seq == 1
           && rec.prev == NGX_WS_BUS_LOG_NONE && rec.len == 13
           && verify(&rec, payload) == NULL, "the first one");

    pos += rec.size;

    tap_is(ngx_ws_bus_log_read(&log, &pos, pos, &rec, &payload), NGX_DONE,
           "up to the head that the reader knows");
    tap_is(ngx_ws_bus_log_read(&log, &pos, log.head, &rec, &payload), NGX_OK,
           "then the next one");
    tap_ok(rec.seq == 2 && rec.prev == 0 && rec.len == 100
           && verify(&rec, payload) == NULL, "as it was written");

    pos += rec.size;

    tap_is(ngx_ws_bus_log_read(&log, &pos, log.head, &rec, &payload),
           NGX_DONE, "and that is all");
    tap_is(pos, log.head, "the cursor is at the head");

    tap_is(ngx_ws_bus_log_max_payload(512), 512 - HEADER,
           "the longest payload");
    tap_is(ngx_ws_bus_log_max_payload(519), 512 - HEADER,
           "sizes are multiples of 8");
    tap_is(ngx_ws_bus_log_max_payload(HEADER), 0, "only an empty one fits");
    tap_is(ngx_ws_bus_log_max_payload(1), 0, "nothing fits");
    tap_ok(ngx_ws_bus_log_max_payload((size_t) 1 << 40) < 0x7fffffff,
           "and never 2g or more");

    ngx_ws_bus_log_init(&log, data, 511);
    tap_is(log.size, 504, "a log's size is rounded down");
}


/*
 * One log of 256 bytes: every way to meet its end.
 */

static void
test_edges(void)
{
    size_t   left;
    state_t  s;

    state_init(&s, 256, 0);
    state_append(&s, 256 - HEADER);

    tap_ok(s.log.tail == 0 && s.log.head == 256, "one record, the whole log");
    check_state(&s, "whole log");

    state_append(&s, 256 - HEADER);

    tap_ok(s.log.tail == 256 && s.log.head == 512, "and another one");
    check_state(&s, "whole log again");

    state_append(&s, 0);

    tap_ok(s.log.head == 512 + HEADER && s.model.n == 1,
           "an empty one takes the place of all");
    check_state(&s, "empty record");

    left = state_append(&s, 256 - HEADER);

    tap_is(left, 256 - HEADER, "the whole log again, over a filler");
    tap_is(s.log.head, 1024, "in the next lap");
    check_state(&s, "whole log over a filler");

    tap_ok(ngx_ws_bus_log_reserve(&s.log, 256 - HEADER + 1) == NULL,
           "one byte more does not fit");
    tap_ok(ngx_ws_bus_log_reserve(&s.log, (size_t) -1) == NULL,
           "nor does anything larger");
    tap_is(s.log.head, 1024, "and changes nothing");
    check_state(&s, "oversize refused");

    state_init(&s, 256, 0);
    state_append(&s, 256 - HEADER - 8);
    left = state_append(&s, 0);

    tap_ok(left == 8 && s.log.head == 256 + HEADER,
           "8 bytes left, too few for a filler");
    check_state(&s, "8 bytes left");

    state_init(&s, 256, 0);
    state_append(&s, 256 - HEADER - HEADER + 8);
    left = state_append(&s, 0);

    tap_ok(left == HEADER - 8 && s.log.head == 256 + HEADER,
           "8 bytes too few for a filler");
    check_state(&s, "8 bytes too few");

    state_init(&s, 256, 0);
    state_append(&s, 256 - HEADER - HEADER);
    left = state_append(&s, 8);

    tap_ok(left == HEADER && s.log.head == 256 + HEADER + 8,
           "a filler that is only a header");
    check_state(&s, "filler is a header");

    state_init(&s, 256, 0);
    state_append(&s, 256 - HEADER - HEADER);
    left = state_append(&s, 0);

    tap_ok(left == 0 && s.log.head == 256, "a record that just fits");
    check_state(&s, "just fits");

    tap_all("what the log holds at its edges");
}


/*
 * From each state that a small log can come into, a record of each size is
 * appended: every combination, in every order.  States are the same when
 * they hold the same sizes at the same places.
 */

static uint64_t
state_key(state_t *s)
{
    uint64_t    key;
    ngx_uint_t  i;

    key = s->model.head % s->model.size / 8;

    for (i = 0; i < s->model.n; i++) {
        key = key * 0x100000001b3
              + (s->model.head - s->model.items[i].pos) / 8;
        key = key * 0x100000001b3 + s->model.items[i].size / 8;
        key ^= key >> 29;
    }

    return key ? key : 1;
}


static void
test_states_of(size_t size, uint64_t base, ngx_uint_t *states)
{
    char         name[64];
    size_t       len, mask, i;
    state_t     *s, *queue, *last;
    uint64_t     key, *seen, cursors[CURSORS_MAX];
    ngx_uint_t   j, n;

    mask = (1 << 15) - 1;
    seen = calloc(mask + 1, sizeof(uint64_t));
    queue = malloc((mask + 1) * sizeof(state_t));

    if (seen == NULL || queue == NULL) {
        exit(2);
    }

    state_init(queue, size, base / size * size);
    last = queue + 1;
    sprintf(name, "log of %lu", (u_long) size);

    for (s = queue; s < last; s++) {

        for (len = 0; len <= size - HEADER; len += 8) {

            *last = *s;

            /* readers at the start and at the end of each record */

            n = 0;

            for (j = 0; j < last->model.n; j++) {
                cursors[n++] = last->model.items[j].pos;
                cursors[n++] = last->model.items[j].pos
                               + last->model.items[j].size;
            }

            /* sizes that are no multiples of 8 come as well */

            state_append(last, len ? len - (last - queue) % 8 : 0);

            cursors[n++] = last->model.items[last->model.n - 1].pos;
            cursors[n++] = last->model.head;

            check_state(last, name);
            check_cursors(last, cursors, n);

            key = state_key(last);

            for (i = key & mask; seen[i] && seen[i] != key; i = (i + 1) & mask)
            {
                /* void */
            }

            if (seen[i] == 0) {
                seen[i] = key;
                last++;

                if (last == queue + mask) {
                    fprintf(stderr, "too many states\n");
                    exit(2);
                }
            }
        }
    }

    *states += last - queue;

    free(seen);
    free(queue);
}


static void
test_every_state(void)
{
    size_t      size;
    ngx_uint_t  states;

    states = 0;

    for (size = HEADER; size <= 240; size += 8) {
        test_states_of(size, 0, &states);
    }

    /* positions pass 32 bits */

    for (size = HEADER; size <= 152; size += 8) {
        test_states_of(size, ((uint64_t) 1 << 32) - 2 * size, &states);
    }

    tap_all("each record after each state of a small log");
    tap_diag("%lu states", (u_long) states);
}


/*
 * Larger logs, and long sequences.
 */

static void
test_long(void)
{
    char        name[64];
    size_t      size, max;
    state_t     s;
    uint64_t    cursors[32];
    ngx_uint_t  i, j;

    for (size = 64; size <= SMALL_MAX; size += 8) {

        state_init(&s, size, 0);
        sprintf(name, "log of %lu", (u_long) size);

        for (j = 0; j < 32; j++) {
            cursors[j] = 0;
        }

        for (i = 0; i < 1500; i++) {
            cursors[i % 32] = s.model.head;

            max = ngx_min(size - HEADER, 8 + i % 128 * 4);

            state_append(&s, next_random(max + 1));

            check_state(&s, name);
            check_cursors(&s, cursors, 32);
        }
    }

    tap_all("random records in logs of 64 to 512 bytes");
}


/*
 * A reader copies while the log goes on: at whichever moment it is lapped, it
 * knows.
 */

static void
test_lapped(void)
{
    u_char               *payload, copy[512];
    state_t               s, before;
    uint64_t              pos;
    ngx_uint_t            i, n, gone, intact;
    ngx_ws_bus_record_t   rec;

    state_init(&s, 512, 0);

    for (i = 0; i < 200; i++) {

        for (n = 0; n < 3; n++) {
            state_append(&s, next_random(90));
        }

        before = s;
        before.log.data = before.data;
        pos = before.model.items[0].pos;

        if (ngx_ws_bus_log_read(&before.log, &pos, before.log.head, &rec,
                                &payload)
            != NGX_OK)
        {
            tap_each(0, "the oldest is read");
            break;
        }

        /* appended before, between, and after the halves of the copy */

        for (n = 0; n < 10; n++) {
            memcpy(copy, payload, rec.len / 2);

            state_append(&before, next_random(60));

            memcpy(copy + rec.len / 2, payload + rec.len / 2,
                   rec.len - rec.len / 2);

            intact = ngx_ws_bus_log_intact(&before.log, rec.pos);
            gone = (before.model.items[0].pos > rec.pos);

            tap_each(intact == !gone, "lapped after %lu", (u_long) n);
            tap_each(!intact || verify(&rec, copy) == NULL,
                     "an intact record is true");
        }
    }

    tap_all("a copy is known to be true or not");
}


/*
 * An appender killed at any instruction: what it leaves is read, and another
 * one goes on.
 */

static const kill_case_t  kill_cases[] = {

    { 512, { 20, 0 }, 100, "in the first lap" },
    { 512, { 20, 100, 0 }, 272 - HEADER, "ending with the lap" },
    { 512, { 20, 100, 0 }, 273 - HEADER, "over a filler" },
    { 512, { 20, 100, 176, 0 }, 30, "over a rest too short for a filler" },
    { 512, { 512 - HEADER, 0 }, 512 - HEADER, "the whole log" },
    { 512, { 20, 0 }, 512 - HEADER, "the whole log over a filler" },
    { 512, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 }, 300,
      "in the place of many" },
    { 512, { 1, 1, 1, 1, 1, 1, 1, 1, 100, 100, 100, 0 }, 0,
      "an empty record" },
    { 64, { 1, 1, 0 }, 3, "a log for one record" }
};


static state_t     *stepped;      /* the log, in shared memory */
static state_t      original;
static const char  *step_name;


static void
step_victim(void *data)
{
    const kill_case_t  *k = data;

    append(&stepped->log, original.model.head, 0, k->len);
}


/* every old cursor, then everything, is read without a lock */

static ngx_uint_t
step_read(void)
{
    u_char               *payload;
    uint64_t              pos, head, first;
    ngx_int_t             rc;
    ngx_uint_t            i, n;
    const char           *torn;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &stepped->log;
    head = ngx_ws_bus_log_head(log);
    first = log->head;

    for (i = 0; i < original.model.n; i++) {
        pos = original.model.items[i].pos;
        rc = ngx_ws_bus_log_read(log, &pos, head, &rec, &payload);

        if (rc == NGX_DECLINED) {
            tap_each(first == log->head, "%s: forgotten behind a record that "
                     "is not", step_name);
            continue;
        }

        first = ngx_min(first, pos);
        torn = rc == NGX_OK ? verify(&rec, payload) : "cannot be read";

        tap_each(torn == NULL && pos == original.model.items[i].pos
                 && rec.len == original.model.items[i].len,
                 "%s: record at %lu: %s", step_name, (u_long) pos, torn);
    }

    n = 0;
    pos = log->tail;

    while ((rc = ngx_ws_bus_log_read(log, &pos, head, &rec, &payload))
           == NGX_OK)
    {
        torn = verify(&rec, payload);
        tap_each(torn == NULL, "%s: record at %lu: %s", step_name,
                 (u_long) pos, torn);

        n++;
        pos += rec.size;
    }

    tap_each(rc == NGX_DONE, "%s: everything from the tail is read",
             step_name);

    return n;
}


static void
step_check(void *data)
{
    size_t              i;
    state_t             s;
    uint64_t            head;
    const kill_case_t  *k = data;

    static const size_t  next[] = { 0, 41, 8, SMALL_MAX, 100 };

    (void) step_read();

    s = *stepped;

    for (i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
        *stepped = s;
        stepped->log.data = stepped->data;

        head = stepped->log.head;

        append(&stepped->log, head, 0, ngx_min(next[i], k->size - HEADER));

        tap_each(stepped->log.head > head, "%s: the next appender goes on",
                 step_name);
        tap_each(step_read() > 0, "%s: the next record is there", step_name);
    }
}


static void
test_steps(void)
{
    long          n, states;
    ngx_uint_t    i, j;
    kill_case_t   k;

    states = 0;
    stepped = step_memory(sizeof(state_t));

    for (i = 0; i < sizeof(kill_cases) / sizeof(kill_cases[0]); i++) {
        k = kill_cases[i];
        step_name = k.name;

        state_init(stepped, k.size, 0);

        for (j = 0; k.lens[j]; j++) {
            state_append(stepped, k.lens[j]);
        }

        original = *stepped;

        n = step_through(stepped, sizeof(state_t), step_victim, step_check,
                         &k);

        if (n == 0) {
            tap_ok(1, "killed at any instruction # SKIP no ptrace");
            return;
        }

        tap_each(n > 6, "%s: %ld states on the way", k.name, n);
        states += n;
    }

    tap_all("killed at any instruction");
    tap_diag("%ld states on the way", states);
}


static void
pause_ms(long ms)
{
    struct timespec  ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = ms % 1000 * 1000000;

    nanosleep(&ts, NULL);
}


static uint64_t
now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static ngx_uint_t
stopped(void)
{
    return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}


static void
shared_init(size_t size)
{
    pthread_mutexattr_t  attr;

    shared = step_memory(sizeof(shared_t) + size);

    ngx_ws_bus_log_init(&shared->log, (u_char *) (shared + 1), size);
    shared->last = NGX_WS_BUS_LOG_NONE;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &attr);
}


static void
shared_done(size_t size)
{
    munmap(shared, sizeof(shared_t) + size);
}


static void
fail(const char *what, ngx_ws_bus_record_t *rec, uint64_t pos, uint64_t seq)
{
    if (__atomic_fetch_add(&shared->failed, 1, __ATOMIC_SEQ_CST) == 0) {
        snprintf(shared->failure, sizeof(shared->failure),
                 "%s: at %lu: pos:%lu seq:%lu after %lu size:%u len:%u", what,
                 (u_long) pos, (u_long) rec->pos, (u_long) rec->seq,
                 (u_long) seq, rec->size, rec->len);
    }
}


/*
 * Reads as a worker does: a bound of records for one look at the head.
 * Numbers are contiguous but where it was lapped.
 */

static void
reader_main(int i)
{
    u_char               *payload, *copy;
    uint64_t              pos, head, seq, last;
    ngx_int_t             rc;
    ngx_uint_t            n, lapped;
    const char           *torn;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &shared->log;
    copy = malloc(log->size);
    pos = ngx_ws_bus_log_head(log);
    seq = 0;
    last = NGX_WS_BUS_LOG_NONE;
    lapped = 1;

    while (copy && !stopped()) {

        head = ngx_ws_bus_log_head(log);

        for (n = 0; n < 1000; n++) {

            copying_begin();

            rc = ngx_ws_bus_log_read(log, &pos, head, &rec, &payload);

            if (rc == NGX_OK) {
                if (rec.len > log->size) {
                    fail("impossible length", &rec, pos, seq);
                    return;
                }

                memcpy(copy, payload, rec.len);
            }

            copying_end();

            if (rc == NGX_DONE) {
                break;
            }

            if (rc == NGX_DECLINED || !ngx_ws_bus_log_intact(log, pos)) {
                shared->lapped[i]++;
                lapped = 1;

                /* to the oldest, where the next lap is near, or the newest */

                pos = (shared->lapped[i] % 2)
                      ? __atomic_load_n(&log->tail, __ATOMIC_RELAXED)
                      : ngx_ws_bus_log_head(log);
                break;
            }

            torn = verify(&rec, copy);

            if (torn) {
                fail(torn, &rec, pos, seq);
                return;
            }

            if (rec.pos != pos) {
                fail("wrong position", &rec, pos, seq);
                return;
            }

            if (!lapped && (rec.seq != seq + 1 || rec.prev != last)) {
                fail("not the next one", &rec, pos, seq);
                return;
            }

            if (rec.seq <= seq) {
                fail("goes backwards", &rec, pos, seq);
                return;
            }

            seq = rec.seq;
            last = pos;
            lapped = 0;
            pos += rec.size;
            shared->read[i]++;
        }
    }

    free(copy);
}


/*
 * The newest record's number: its appender may have been killed, so it is
 * only to be found in the log.
 */

static uint64_t
newest(uint64_t *last)
{
    u_char               *payload;
    uint64_t              pos, seq;
    ngx_int_t             rc;
    ngx_ws_bus_log_t     *log;
    ngx_ws_bus_record_t   rec;

    log = &shared->log;
    pos = log->tail;
    seq = 0;
    *last = NGX_WS_BUS_LOG_NONE;

    while ((rc = ngx_ws_bus_log_read(log, &pos, log->head, &rec, &payload))
           == NGX_OK)
    {
        seq = rec.seq;
        *last = pos;
        pos += rec.size;
    }

    if (rc != NGX_DONE) {
        fail("what a killed appender left cannot be read", &rec, pos, seq);
    }

    return seq;
}


static void
victim_main(int i)
{
    uint64_t  seq, last;

    seq = newest(&last);
    seed += i;

    for ( ;; ) {
        last = append(&shared->log, ++seq, last,
                      next_random(next_random(16) ? 80 : 1500));
    }
}


static void
test_kills(void)
{
    int         i, status;
    size_t      size;
    uint64_t    seq, before, last;
    worker_t    victim, readers[READERS];
    ngx_uint_t  grown, ended;

    size = 8192;
    shared_init(size);

    for (i = 0; i < READERS; i++) {
        worker_start(&readers[i], reader_main, i);
    }

    grown = 0;
    seq = 0;

    for (i = 0; i < KILLS && !shared->failed; i++) {
        before = seq;

        worker_start(&victim, victim_main, i);

        /* a moment of 0 to 8 ms, any microsecond of it */

        usleep(next_random(8000));

        kill(victim.pid, SIGKILL);
        waitpid(victim.pid, &status, 0);

        seq = newest(&last);
        grown += (seq > before);

        tap_each(seq >= before && WIFSIGNALED(status)
                 && WTERMSIG(status) == SIGKILL, "kill %d: %lu after %lu", i,
                 (u_long) seq, (u_long) before);
    }

    tap_all("appenders killed at random, another one goes on");

    shared->stop = 1;
    ended = 0;

    for (i = 0; i < READERS; i++) {
        ended += worker_wait(&readers[i]);
    }

    tap_is(ended, READERS, "the readers end");

    if (!tap_is(shared->failed, 0, "and have read nothing torn")) {
        tap_diag("%s", shared->failure);
    }

    tap_ok(grown > 0 && shared->read[0] + shared->read[1] + shared->read[2],
           "records were written and read");
    tap_diag("%lu records, read %lu %lu %lu, lapped %lu %lu %lu times",
             (u_long) seq, (u_long) shared->read[0],
             (u_long) shared->read[1], (u_long) shared->read[2],
             (u_long) shared->lapped[0], (u_long) shared->lapped[1],
             (u_long) shared->lapped[2]);

    shared_done(size);
}


static void
writer_main(int i)
{
    size_t      max;
    ngx_uint_t  n;

    seed += 7 * i;

    while (!stopped()) {

        pthread_mutex_lock(&shared->mutex);

        for (n = next_random(50); n; n--) {
            max = next_random(4) ? ngx_min(longest, 100) : longest;

            shared->last = append(&shared->log, ++shared->appended,
                                  shared->last, next_random(max + 1));
        }

        pthread_mutex_unlock(&shared->mutex);

        if (next_random(20) == 0) {
            pause_ms(1);
        }
    }
}


static void
test_together(size_t size, size_t len, const char *name)
{
    int         i;
    uint64_t    end;
    worker_t    writers[WRITERS], readers[READERS];
    ngx_uint_t  ended;

    shared_init(size);
    longest = len;

    for (i = 0; i < READERS; i++) {
        worker_start(&readers[i], reader_main, i);
    }

    for (i = 0; i < WRITERS; i++) {
        worker_start(&writers[i], writer_main, i);
    }

    end = now_ms() + TOGETHER / 3;

    while (now_ms() < end
           && !__atomic_load_n(&shared->failed, __ATOMIC_RELAXED))
    {
        pause_ms(10);
    }

    __atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);

    ended = 0;

    for (i = 0; i < WRITERS; i++) {
        ended += worker_wait(&writers[i]);
    }

    for (i = 0; i < READERS; i++) {
        ended += worker_wait(&readers[i]);
    }

    tap_is(ended, WRITERS + READERS, "%s: all end", name);

    if (!tap_is(shared->failed, 0, "%s: nothing torn was read", name)) {
        tap_diag("%s", shared->failure);
    }

    tap_ok(shared->appended && shared->read[0] + shared->read[1]
           + shared->read[2], "%s: records were written and read", name);
    tap_diag("%lu records, read %lu %lu %lu, lapped %lu %lu %lu times",
             (u_long) shared->appended, (u_long) shared->read[0],
             (u_long) shared->read[1], (u_long) shared->read[2],
             (u_long) shared->lapped[0], (u_long) shared->lapped[1],
             (u_long) shared->lapped[2]);

    shared_done(size);
}
