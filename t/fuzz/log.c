
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_log.c"

#include "fuzz.h"


/*
 * The input: a byte for the size of the log, one for where its positions
 * begin, then operations: append a record of some length, or let one of the
 * readers read some records, or go back to where a record was.  What the log
 * gives is compared with a queue of what was put into it.
 */

#define HEADER   sizeof(ngx_ws_bus_record_t)

#define ITEMS    4096
#define READERS  4

#define APPEND   0
#define READ     1
#define BACK     2
#define REFUSED  3


typedef struct {
    uint64_t             pos;
    size_t               size;
    size_t               len;
} item_t;


typedef struct {
    ngx_ws_bus_log_t     log;
    uint64_t             head;         /* where the next one goes, at least */

    item_t               items[ITEMS]; /* all that ever were */
    ngx_uint_t           n;

    uint64_t             cursors[READERS];
} state_t;


static void append(state_t *s, size_t len);
static void refused(state_t *s, size_t len);
static void read_some(state_t *s, uint64_t *cursor, ngx_uint_t n);
static ngx_int_t expect(state_t *s, uint64_t cursor, item_t **item);
static void check(state_t *s);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       i;
    u_char      *memory;
    ngx_uint_t   reader, n;

    static state_t  s;

    if (size < 3) {
        return 0;
    }

    /* memory of its own size, for ASan to see a step beyond */

    i = HEADER + 8 * data[0];
    memory = fuzz_alloc(i);

    ngx_ws_bus_log_init(&s.log, memory, i + data[1] % 8);

    fuzz_check(s.log.size == i);
    fuzz_check(ngx_ws_bus_log_max_payload(i) == i - HEADER);

    /* some begin where positions pass 32 bits */

    s.head = (data[1] & 8) ? ((uint64_t) 1 << 32) / i * i - i : 0;
    s.log.head = s.head;
    s.log.tail = s.head;
    s.n = 0;

    for (i = 0; i < READERS; i++) {
        s.cursors[i] = s.head;
    }

    for (i = 2; i + 1 < size; i += 2) {

        reader = data[i] / 4 % READERS;
        n = data[i + 1];

        switch (data[i] % 4) {

        case APPEND:
            append(&s, (n + 256 * (data[i] / 4 % 8))
                       % (s.log.size - HEADER + 1));
            break;

        case READ:
            read_some(&s, &s.cursors[reader], n % 16 + 1);
            break;

        case BACK:
            if (s.n) {
                s.cursors[reader] = s.items[s.n - 1 - n % s.n].pos;
                read_some(&s, &s.cursors[reader], 1);
            }

            break;

        default: /* REFUSED */
            refused(&s, s.log.size - HEADER + 1 + n);
        }

        check(&s);

        if (s.n == ITEMS) {
            break;
        }
    }

    free(memory);

    return 0;
}


static u_char
byte_of(uint64_t pos, size_t i)
{
    return (u_char) ((pos * 7 + i * 13) ^ (pos >> 8));
}


static void
append(state_t *s, size_t len)
{
    size_t                i, left;
    item_t               *item;
    ngx_ws_bus_record_t  *rec;

    item = &s->items[s->n++];
    item->len = len;
    item->size = (HEADER + len + 7) / 8 * 8;

    left = s->log.size - s->head % s->log.size;

    if (left < item->size) {
        s->head += left;
    }

    item->pos = s->head;
    s->head += item->size;

    rec = ngx_ws_bus_log_reserve(&s->log, len);

    fuzz_check(rec != NULL);
    fuzz_check((u_char *) rec == s->log.data + item->pos % s->log.size);
    fuzz_check(rec->pos == item->pos && rec->size == item->size
               && rec->len == len);
    fuzz_check(ngx_ws_bus_log_head(&s->log) <= item->pos);

    rec->type = NGX_WS_BUS_REC_MESSAGE;
    rec->seq = s->n;
    rec->prev = s->n > 1 ? item[-1].pos : NGX_WS_BUS_LOG_NONE;

    for (i = 0; i < len; i++) {
        ((u_char *) rec)[HEADER + i] = byte_of(item->pos, i);
    }

    ngx_ws_bus_log_commit(&s->log, rec);
}


static void
refused(state_t *s, size_t len)
{
    ngx_ws_bus_log_t  before;

    before = s->log;

    fuzz_check(ngx_ws_bus_log_reserve(&s->log, len) == NULL);
    fuzz_check(memcmp(&before, &s->log, sizeof(before)) == 0);
}


/*
 * What a reader at the cursor is told.
 */

static ngx_int_t
expect(state_t *s, uint64_t cursor, item_t **item)
{
    item_t    *last;
    uint64_t   left;

    left = s->log.size - cursor % s->log.size;

    if (left < HEADER) {
        cursor += left;
    }

    if (s->n == 0 || cursor >= s->head) {
        return NGX_DONE;
    }

    /* what the newest record covers is gone */

    last = &s->items[s->n - 1];

    if (cursor + s->log.size < last->pos + last->size) {
        return NGX_DECLINED;
    }

    for (*item = last; *item > s->items; (*item)--) {
        if ((*item)[-1].pos < cursor) {
            break;
        }
    }

    return NGX_OK;
}


static void
read_some(state_t *s, uint64_t *cursor, ngx_uint_t n)
{
    size_t                i;
    item_t               *item;
    u_char               *payload;
    uint64_t              head;
    ngx_int_t             rc;
    ngx_ws_bus_record_t   rec;

    head = ngx_ws_bus_log_head(&s->log);

    for ( ;; ) {
        rc = expect(s, *cursor, &item);

        fuzz_check(ngx_ws_bus_log_read(&s->log, cursor, head, &rec, &payload)
                   == rc);

        if (rc == NGX_DECLINED) {

            /* a lapped reader starts from what is oldest */

            *cursor = s->log.tail;
            return;
        }

        if (rc == NGX_DONE) {
            fuzz_check(*cursor >= head && *cursor < head + HEADER);
            return;
        }

        fuzz_check(*cursor == item->pos && rec.pos == item->pos);
        fuzz_check(rec.len == item->len && rec.size == item->size);
        fuzz_check(rec.seq == (uint64_t) (item - s->items) + 1);
        fuzz_check(payload == s->log.data + item->pos % s->log.size + HEADER);
        fuzz_check(ngx_ws_bus_log_intact(&s->log, item->pos));

        for (i = 0; i < rec.len; i++) {
            fuzz_check(payload[i] == byte_of(item->pos, i));
        }

        if (--n == 0) {
            return;
        }

        *cursor += rec.size;
    }
}


/*
 * From the tail on, and along the previous positions, as much is read as the
 * newest records leave room for.
 */

static void
check(state_t *s)
{
    item_t               *item;
    u_char               *payload;
    uint64_t              pos;
    ngx_uint_t            n;
    ngx_ws_bus_record_t   rec;

    fuzz_check(s->log.head == s->head);
    fuzz_check(s->log.tail <= s->head);
    fuzz_check(s->head - s->log.tail <= s->log.size);

    if (s->n == 0) {
        return;
    }

    item = &s->items[s->n - 1];

    for (n = s->n; n; n--) {

        pos = item->pos;

        if (ngx_ws_bus_log_read(&s->log, &pos, pos + 1, &rec, &payload)
            != NGX_OK)
        {
            break;
        }

        fuzz_check(rec.pos == item->pos && rec.seq == n);
        fuzz_check(rec.prev == (n > 1 ? item[-1].pos : NGX_WS_BUS_LOG_NONE));

        item--;
    }

    fuzz_check(n < s->n);
    fuzz_check(n == 0 || item->pos + s->log.size < s->head);

    pos = s->log.tail;
    fuzz_check(ngx_ws_bus_log_read(&s->log, &pos, s->log.head, &rec, &payload)
               == NGX_OK);
    fuzz_check(pos == item[1].pos);
}
