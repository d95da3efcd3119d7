
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define NGX_WS_BUS_HUB_WORK   256
#define NGX_WS_BUS_HUB_EAGER  8
#define NGX_WS_BUS_HUB_MANY   64

#include "hub.h"


#define FORMATS    3
#define SUBS       1200
#define HELD       64
#define STEPS      6000

/* what any format adds: the epoch, and a letter */
#define OVERHEAD   (sizeof(uint64_t) + 1)


typedef struct {
    ngx_ws_bus_format_t  format;
    char                 name;
    size_t               pad;        /* bytes that it adds */
    ngx_uint_t           passes;     /* over one message of so many */
} test_format_t;


/* what a subscriber is to be given */

typedef struct {
    ngx_uint_t           number;     /* of the message; 0: the deletion */
    uint64_t             pos;
    uint64_t             epoch;
    uint64_t             seq;
    ngx_uint_t           excused;    /* if it does not come */
    ngx_uint_t           gone;       /* so, with its channel */
} due_t;


typedef struct {
    ngx_ws_bus_sub_t     sub;        /* the first member */
    ngx_uint_t           used;
    ngx_uint_t           channel;
    ngx_uint_t           format;
    ngx_uint_t           lost;       /* how often it was told so */
    ngx_uint_t           deleted;
    uint64_t             from;       /* what it has lost last */
    uint64_t             to;
    ngx_uint_t           given;      /* messages */
    ngx_uint_t           when;       /* the last one */

    due_t               *due;
    ngx_uint_t           first;
    ngx_uint_t           n;
    ngx_uint_t           size;
} test_sub_t;


/* a slow client still has a run */

typedef struct {
    ngx_ws_bus_run_t    *run;
    u_char              *copy;
    size_t               len;
} held_t;


static void test_order(void);
static void test_slices(void);
static void test_own_lap(void);
static void test_early(void);
static void test_idle(void);
static void test_many(void);
static void test_refill(void);
static void test_refill_slices(void);
static void test_refill_twice(void);
static void test_refill_deleted(void);
static void test_lost(void);
static void test_deleted(void);
static void test_told(void);
static void test_told_at_once(void);
static void test_revoked(void);
static void test_table(void);
static void excuse(void);
static void test_random(ngx_uint_t failing, ngx_uint_t takes, ngx_uint_t many,
    const char *name);

static ngx_int_t encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload);
static void deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first);
static void lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to);
static void deleted(ngx_ws_bus_sub_t *sub);


static test_format_t  formats[FORMATS] = {
    { { encode }, 'a', 0, 0 },
    { { encode }, 'b', 3, 0 },
    { { encode }, 'c', 200, 7 }
};

static const ngx_ws_bus_hub_handlers_t  handlers = {
    deliver,
    lost,
    deleted,
    NULL,
    NULL,
    NULL
};

static ngx_ws_bus_owner_t  owner = { &handlers };


static test_sub_t         subs[SUBS];
static held_t             held[HELD];
static ngx_uint_t         number;        /* of the last message */
static ngx_uint_t         encoded;
static ngx_uint_t         clock_given;
static ngx_uint_t         called;        /* subscribers, in this turn */
static ngx_uint_t         most;          /* in any turn */
static uint64_t           lapped_to;     /* what was missed is before it */
static ngx_uint_t         slow;          /* to encode takes it, microseconds */
static ngx_uint_t         failing;       /* memory runs out now and then */

int
main(void)
{
    test_order();
    test_slices();
    test_own_lap();
    test_early();
    test_idle();
    test_many();
    test_refill();
    test_refill_slices();
    test_refill_twice();
    test_refill_deleted();
    test_lost();
    test_deleted();
    test_told();
    test_told_at_once();
    test_revoked();
    test_table();

    test_random(0, 0, 12, "random operations, few subscribers");
    test_random(0, 0, SUBS, "random operations, many subscribers");
    test_random(0, 200, 12, "random operations, slowly, few subscribers");
    test_random(0, 200, SUBS, "random operations, slowly, many subscribers");
    test_random(1, 0, 60, "random operations, not enough memory");
    test_random(1, 200, 60, "random operations, slowly, not enough memory");

    zone_free();
    free(pool_memory);

    return tap_done();
}


static ngx_str_t *
channel(ngx_uint_t n)
{
    static char  name[32];

    sprintf(name, "channel %lu", (u_long) n);

    return name_of(name);
}


static ngx_uint_t
number_of(u_char *p, size_t len)
{
    char  text[128];

    len = ngx_min(len, sizeof(text) - 1);

    memcpy(text, p, len);
    text[len] = '\0';

    return strtoul(text, NULL, 10);
}


/*
 * A message is its number; formats differ in what they put before it, so that
 * a byte in a wrong place is seen.
 */

static ngx_int_t
encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    u_char         *p;
    test_format_t  *f;

    f = (test_format_t *) format;

    tap_each(node->id == rec->channel, "the channel's node");

    p = ngx_ws_bus_run_reserve(run, OVERHEAD + f->pad + rec->len, &test_log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    memcpy(p, &epoch, sizeof(uint64_t));
    p += sizeof(uint64_t);

    memset(p, f->name, 1 + f->pad);
    memcpy(p + 1 + f->pad, payload, rec->len);

    run->len += OVERHEAD + f->pad + rec->len;

    encoded++;
    test_now += slow;

    /* what was written is taken back then */

    if (failing && next_random(50) == 0) {
        return NGX_ERROR;
    }

    if (f->passes && number_of(payload, rec->len) % f->passes == 0) {
        return NGX_DONE;
    }

    return NGX_OK;
}


static ngx_uint_t
decode(test_format_t *f, ngx_ws_bus_run_t *run, ngx_uint_t i, uint64_t *epoch)
{
    u_char  *p, *last;
    size_t   len;

    p = run->data + ngx_ws_bus_run_start(run, i);
    last = run->data + run->marks[i].end;

    if (!tap_each((size_t) (last - p) == OVERHEAD + f->pad + run->marks[i].len,
                  "the bytes of a message"))
    {
        return 0;
    }

    memcpy(epoch, p, sizeof(uint64_t));
    p += sizeof(uint64_t);

    for (len = 0; len < 1 + f->pad; len++) {
        tap_each(*p == f->name, "encoded for the format");
        p++;
    }

    return number_of(p, last - p);
}


static void
hold(ngx_ws_bus_run_t *run)
{
    held_t  *h;

    h = &held[next_random(HELD)];

    if (h->run) {
        return;
    }

    run->refs++;

    h->run = run;
    h->len = run->len;
    h->copy = malloc(run->len);
    memcpy(h->copy, run->data, run->len);
}


static void
let_go(held_t *h)
{
    if (h->run == NULL) {
        return;
    }

    tap_each(h->run->len == h->len
             && memcmp(h->run->data, h->copy, h->len) == 0,
             "a run does not change while somebody has it");

    ngx_ws_bus_run_release(h->run);
    free(h->copy);

    h->run = NULL;
}


static void
deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run, ngx_uint_t first)
{
    due_t       *due;
    uint64_t     epoch;
    ngx_uint_t   i, n;
    test_sub_t  *s;

    s = (test_sub_t *) sub;

    tap_each(s->used && first < run->n, "somebody is given something");

    for (i = first; i < run->n; i++) {

        n = decode(&formats[s->format], run, i, &epoch);

        while (s->first < s->n && s->due[s->first].number != n) {

            if (!tap_each(s->due[s->first].excused,
                          "message %lu is given before %lu", (u_long) n,
                          (u_long) s->due[s->first].number))
            {
                return;
            }

            s->first++;
        }

        if (!tap_each(s->first < s->n, "message %lu is not due", (u_long) n))
        {
            return;
        }

        due = &s->due[s->first++];

        tap_each(run->marks[i].pos == due->pos
                 && run->marks[i].seq == due->seq, "its place");
        tap_each(due->epoch == epoch || due->seq == 0, "its epoch");

        s->given++;
    }

    s->when = ++clock_given;
    called++;

    if (next_random(50) == 0) {
        hold(run);
    }
}


/* what came before has been given before */

static void
lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    ngx_uint_t   i, n;
    test_sub_t  *s;

    s = (test_sub_t *) sub;

    tap_each(s->used && from <= to, "somebody has lost something");

    n = 0;

    for (i = 0; i < s->first; i++) {
        n += (s->due[i].gone && s->due[i].seq >= from && s->due[i].seq <= to);
    }

    for (i = s->first; i < s->n && s->due[i].number; i++) {

        if (s->due[i].seq >= from && s->due[i].seq <= to) {
            s->due[i].excused = 1;
            n++;

        } else if (s->due[i].seq && s->due[i].seq < from) {
            tap_each(s->due[i].excused || failing,
                     "%lu to %lu are lost before %lu is given",
                     (u_long) from, (u_long) to, (u_long) s->due[i].seq);
        }
    }

    tap_each(n || failing || formats[s->format].passes,
             "%lu to %lu are not due", (u_long) from, (u_long) to);

    called++;
    s->lost++;
    s->from = from;
    s->to = to;
}


/* the place of what is being told; it has none without memory for a turn */

static uint64_t
told_at(ngx_ws_bus_sub_t *sub)
{
    ngx_ws_bus_debt_t  *debt;

    debt = sub->group->debt;

    return (debt && debt->dues && debt->giving == NULL)
           ? debt->dues->pos : NGX_WS_BUS_LOG_NONE;
}


static void
deleted(ngx_ws_bus_sub_t *sub)
{
    uint64_t     pos;
    ngx_uint_t   i;
    test_sub_t  *s;

    called++;
    s = (test_sub_t *) sub;
    s->deleted++;

    pos = told_at(sub);

    for (i = s->first; i < s->n; i++) {
        if (s->due[i].number == 0
            && (s->due[i].pos == pos
                || (pos == NGX_WS_BUS_LOG_NONE
                    && s->due[i].pos >= lapped_to)))
        {
            break;
        }
    }

    if (i == s->n) {

        /* of several missed at once it is told one, with all in between */

        tap_each(lapped_to, "a deletion that is not due");

        pos = ngx_min(pos, lapped_to - 1);

        while (s->first < s->n && s->due[s->first].pos <= pos) {
            s->first++;
        }

        return;
    }

    for ( /* void */ ; s->first < i; s->first++) {
        tap_each(s->due[s->first].excused || s->due[s->first].pos < lapped_to,
                 "%lu is due before the deletion",
                 (u_long) s->due[s->first].number);
    }

    s->first++;
}


/*
 * The log has gone past the cursor: what was not kept does not come, and what
 * was kept comes, or is told of.
 */

static void
overrun_handler(void)
{
    ngx_uint_t   i;
    test_sub_t  *s;

    lapped_to = sh->log.head;

    for (s = subs; s < subs + SUBS; s++) {
        for (i = s->first; s->used && i < s->n; i++) {
            if (s->due[i].number && s->due[i].seq == 0
                && s->due[i].pos < sh->log.head)
            {
                s->due[i].excused = 1;
            }
        }
    }
}


/* a worker with its hub, and another one */

static void
hub_create(size_t size)
{
    zone_create(size, 4);

    ngx_memzero(subs, sizeof(subs));

    test_log.log_level = NGX_LOG_WARN;
    on_log = overrun_handler;

    hub_start();

    lapped_to = 0;
    failing = 0;
    slow = 0;
}


static test_sub_t *
subscribe(ngx_uint_t ch, ngx_uint_t format)
{
    test_sub_t  *s;

    for (s = subs; s->used; s++) {
        if (s == &subs[SUBS - 1]) {
            return NULL;
        }
    }

    become(WORKER);

    s->sub.owner = &owner;

    if (ngx_ws_bus_hub_subscribe(hub, channel(ch), &formats[format].format,
                                 &s->sub, &view)
        != NGX_OK)
    {
        tap_each(failing, "subscribed");
        return NULL;
    }

    tap_each(s->sub.from == sh->log.head && view.head == sh->log.head,
             "subscribed from the head on");

    s->used = 1;
    s->channel = ch;
    s->format = format;
    s->first = 0;
    s->n = 0;
    s->lost = 0;
    s->deleted = 0;
    s->given = 0;

    return s;
}


static void
unsubscribe(test_sub_t *s)
{
    become(WORKER);

    ngx_ws_bus_hub_unsubscribe(&s->sub);

    tap_each(s->sub.group == NULL, "unsubscribed");

    s->used = 0;

    free(s->due);
    s->due = NULL;
    s->size = 0;
}


static void
owe(ngx_uint_t ch, ngx_uint_t n, uint64_t pos, uint64_t epoch, uint64_t seq)
{
    due_t       *due;
    ngx_uint_t   passes;
    test_sub_t  *s;

    for (s = subs; s < subs + SUBS; s++) {

        if (!s->used || s->channel != ch) {
            continue;
        }

        passes = formats[s->format].passes;

        if (n && passes && n % passes == 0) {
            continue;
        }

        if (s->n == s->size) {
            s->size = s->size ? 2 * s->size : 32;
            s->due = realloc(s->due, s->size * sizeof(due_t));

            if (s->due == NULL) {
                bug("no memory");
            }
        }

        due = &s->due[s->n++];
        due->number = n;
        due->pos = pos;
        due->epoch = epoch;
        due->seq = seq;
        due->excused = 0;
        due->gone = 0;
    }
}


/* one round of the event loop; returns the number of its events */

static ngx_uint_t
turn(void)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;
    ngx_event_t  *ev;

    n = 0;
    called = 0;
    become(WORKER);

    while (!ngx_queue_empty(&ngx_posted_next_events)) {
        q = ngx_queue_head(&ngx_posted_next_events);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_posted_events, q);
    }

    while (!ngx_queue_empty(&ngx_posted_events)) {
        q = ngx_queue_head(&ngx_posted_events);
        ev = ngx_queue_data(q, ngx_event_t, queue);

        ngx_delete_posted_event(ev);
        ev->handler(ev);
        n++;
    }

    most = ngx_max(most, called);

    return n;
}


static void
settle(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 10000 && turn(); i++) { /* void */ }

    tap_each(i < 10000, "there is an end");
}


/*
 * By this worker, or by the other one.  What is due is known before it is
 * given: a worker that publishes much reads at once.
 */

static void
send_to(ngx_uint_t ch, ngx_uint_t keep, ngx_uint_t slot, size_t len)
{
    char                   text[128];
    size_t                 n;
    uint64_t               left, size;
    test_sub_t            *s;
    ngx_ws_bus_sub_t      *sub;
    ngx_ws_bus_node_t     *node;
    ngx_ws_bus_message_t   msg;

    become(slot);

    n = sprintf(text, "%lu", (u_long) ++number);

    while (n < len && n < sizeof(text)) {
        text[n++] = '.';
    }

    ngx_memzero(&msg, sizeof(msg));
    msg.data = (u_char *) text;
    msg.len = n;
    msg.keep = keep;
    msg.time = test_now;

    sub = NULL;

    for (s = subs; s < subs + SUBS; s++) {
        if (s->used && s->channel == ch) {
            sub = &s->sub;
            break;
        }
    }

    if (sub) {
        node = sub->group->channel->node;
        size = ngx_ws_bus_log_align(sizeof(ngx_ws_bus_record_t) + n);
        left = sh->log.size - sh->log.head % sh->log.size;

        if (keep && (node->seq + 1) % NGX_WS_BUS_HISTORY_STEP == 0) {
            size += 2 * sizeof(uint64_t);          /* its links */
        }

        owe(ch, number, sh->log.head + (left < size ? left : 0), node->epoch,
            keep ? node->seq + 1 : 0);
    }

    if (slot == WORKER) {
        hub->now = 0;

        tap_each(ngx_ws_bus_hub_publish(hub, next_random(2) ? sub : NULL,
                                        channel(ch), &msg, &place, NULL)
                 == NGX_OK, "published");
        return;
    }

    tap_each(ngx_ws_bus_channel_publish(&test_zone, NULL, channel(ch), &msg,
                                        &place, rings, &nrings)
             == NGX_OK, "published");

    if (nrings) {
        tap_each(nrings == 1 && rings[0] == WORKER, "the worker is rung");

        become(WORKER);
        bell_read.handler(&bell_read);
    }
}


static void
delete_channel(ngx_uint_t ch, ngx_uint_t slot)
{
    uint64_t     head;
    ngx_uint_t   i;
    test_sub_t  *s;

    become(slot);

    head = sh->log.head;

    /* what is still to be refilled is gone with the history */

    for (s = subs; hub->refilling && s < subs + SUBS; s++) {
        for (i = s->first; s->used && s->channel == ch && i < s->n; i++) {
            if (s->due[i].pos < hub->cursor) {
                s->due[i].excused = 1;
                s->due[i].gone = 1;
            }
        }
    }

    if (slot == WORKER) {
        (void) ngx_ws_bus_hub_delete(hub, channel(ch), NULL);

    } else {
        (void) ngx_ws_bus_channel_delete(&test_zone, channel(ch), rings,
                                         &nrings);

        if (nrings) {
            become(WORKER);
            bell_read.handler(&bell_read);
        }
    }

    if (sh->log.head > head) {
        owe(ch, 0, sh->log.head - sizeof(ngx_ws_bus_record_t), 0, 0);
    }
}


/* the log goes on for others: whatever is not read yet is overwritten */

static void
lap(void)
{
    uint64_t  head;

    head = sh->log.head;

    while (sh->log.head < head + sh->log.size) {
        send_to(999, 1, OTHER, 100);
    }
}


/* everybody has what is due, and nothing is left over */

static void
check_settled(const char *name)
{
    ngx_uint_t          i, used, joined;
    test_sub_t         *s;
    ngx_ws_bus_node_t  *node;

    used = 0;
    joined = 0;

    for (i = 0; i <= sh->mask; i++) {
        for (node = sh->nodes[i]; node; node = node->next) {
            joined += interest(node, WORKER);
        }
    }

    for (s = subs; s < subs + SUBS; s++) {
        used += s->used;

        for (i = s->first; s->used && i < s->n; i++) {
            tap_each(s->due[i].excused, "%s: message %lu, seq %lu, has not "
                     "come", name, (u_long) s->due[i].number,
                     (u_long) s->due[i].seq);
        }

        s->first = 0;
        s->n = 0;
    }

    tap_each(hub->backlog == 0, "%s: backlog %lu", name,
             (u_long) hub->backlog);
    tap_each(ngx_queue_empty(&hub->debts), "%s: debts", name);
    tap_each(hub->caught_up && !sh->slots[WORKER]->pending,
             "%s: caught up", name);
    tap_each(hub->slot->stats.subscriptions == used && joined == used,
             "%s: %lu subscriptions, %lu are counted, %lu in the zone", name,
             (u_long) used, (u_long) hub->slot->stats.subscriptions,
             (u_long) joined);

    check_zone(name, 0);
}


static void
hub_end(const char *name)
{
    ngx_uint_t  i;

    settle();
    check_settled(name);

    for (i = 0; i < SUBS; i++) {
        if (subs[i].used) {
            unsubscribe(&subs[i]);
        }
    }

    tap_each(hub->nchannels == 0, "%s: no channel is left", name);

    for (i = 0; i < HELD; i++) {
        let_go(&held[i]);
    }

    check_settled(name);

    become(WORKER);
    ngx_ws_bus_hub_exit(&test_zone);

    tap_each(sh->slots[WORKER]->pid == 0 && sh->slots[WORKER]->clean,
             "%s: the slot is given back", name);

    hub_free();

    tap_all(name);
}


static void
test_order(void)
{
    test_sub_t  *s, *late;

    hub_create(30000);

    s = subscribe(0, 0);
    subscribe(0, 1);
    subscribe(1, 0);

    send_to(0, 1, WORKER, 10);
    send_to(0, 0, OTHER, 10);
    send_to(1, 1, OTHER, 10);

    late = subscribe(0, 0);

    send_to(0, 1, OTHER, 10);

    tap_ok(s->given == 0 && late->given == 0,
           "nothing is given before the loop turns");

    turn();

    tap_ok(s->given == 3 && late->given == 1, "then it is, to each its own");

    send_to(0, 1, OTHER, 10);
    unsubscribe(s);
    turn();

    tap_ok(s->given == 3 && late->given == 2,
           "who has left is given no more");

    hub_end("messages in order");
}


/* 1000 subscribers of one channel, and one of another */

static void
test_slices(void)
{
    ngx_uint_t   i;
    test_sub_t  *narrow;

    hub_create(30000);

    for (i = 0; i < 1000; i++) {
        subscribe(0, 0);
    }

    narrow = subscribe(1, 0);

    clock_given = 0;

    send_to(0, 1, OTHER, 20);
    send_to(1, 1, OTHER, 20);

    turn();

    tap_ok(narrow->given == 1 && narrow->when <= NGX_WS_BUS_HUB_SLICE + 1,
           "a wide channel delays a narrow one by a slice at the most");
    tap_ok(subs[0].given == 1 && subs[999].given == 0
           && clock_given <= NGX_WS_BUS_HUB_GIVE + NGX_WS_BUS_HUB_SLICE,
           "not all are given to in one turn");

    /* in the middle of it some leave, come, and the next message comes */

    unsubscribe(&subs[0]);
    unsubscribe(&subs[clock_given - 1]);
    unsubscribe(&subs[clock_given]);
    unsubscribe(&subs[998]);

    send_to(0, 1, OTHER, 20);

    subscribe(0, 0);
    subscribe(0, 1);

    send_to(0, 0, WORKER, 20);

    settle();

    tap_ok(subs[999].given == 3 && subs[500].given == 3,
           "they are given to in the next ones");
    tap_ok(subs[0].given == 1, "who has come in between gets what came then");

    for (i = 0; i < 1000; i++) {
        send_to(0, 1, OTHER, 20);
        turn();

        if (subs[i].used && subs[i].channel == 0) {
            unsubscribe(&subs[i]);
        }
    }

    hub_end("a wide channel");
}


static void
test_own_lap(void)
{
    ngx_uint_t  i;

    hub_create(8000);

    subscribe(0, 0);
    subscribe(0, 1);
    subscribe(1, 1);

    for (i = 0; i < 2000; i++) {
        send_to(i % 2, i % 3, WORKER, 20 + i % 80);
    }

    settle();

    tap_ok(subs[0].given == 1000 && subs[1].given == 1000
           && subs[2].given == 1000 && hub->slot->stats.overruns == 0,
           "a worker's own messages do not lap it");

    hub_end("many messages in one turn");
}


/* a client's event, in which it publishes */

static void
handle(ngx_uint_t ch)
{
    send_to(ch, 1, WORKER, 10);
    ngx_ws_bus_hub_handled(hub);
}


/* many publish to one subscriber each, then many to one, then to a crowd */

static void
test_early(void)
{
    ngx_uint_t  i, j, parts;

    hub_create(150000);

    for (i = 0; i < 100; i++) {
        subscribe(i, 0);
    }

    clock_given = 0;

    for (i = 0; i < 100; i++) {
        handle(i);
    }

    tap_is(clock_given, 0, "nothing is given early at first");

    turn();

    tap_is(clock_given, 100, "but at the end of the turn");

    for (i = 0, j = 0; i < 100; i++) {
        handle(i);
        j += (clock_given == 100 + (i + 1) / 8 * 8);
    }

    tap_is(j, 100, "then in portions");

    turn();

    tap_is(clock_given, 200, "and the rest at the end of the turn");

    ngx_ws_bus_hub_handled(hub);

    tap_is(hub->sources, 0, "an event without a publication is none");

    for (i = 0; i < 7; i++) {
        send_to(i, 1, OTHER, 10);
        ngx_ws_bus_hub_handled(hub);
    }

    tap_is(clock_given, 200, "nor are those of others");

    turn();

    /* it is noticed that the messages are for one */

    for (i = 0; i < 2 * NGX_WS_BUS_HUB_TURNS; i++) {

        parts = called;

        for (j = 0; j < 100; j++) {
            handle(0);
        }

        parts = called - parts;
        turn();
    }

    tap_ok(parts == 0 && called == 1,
           "many messages for one are given at once");

    for (i = 0; i < 100; i++) {
        handle(i);
    }

    turn();

    tap_is(hub->eager, NGX_WS_BUS_HUB_TURNS, "and many for many not again");

    /* a crowd takes several turns: meanwhile nothing is given early */

    for (i = 0; i < 1000; i++) {
        subscribe(200, 0);
    }

    send_to(200, 1, OTHER, 10);

    clock_given = 0;

    for (i = 0; i < 100; i++) {
        handle(i);
    }

    tap_ok(clock_given >= NGX_WS_BUS_HUB_GIVE
           && clock_given <= NGX_WS_BUS_HUB_GIVE + NGX_WS_BUS_HUB_SLICE,
           "what one turn gives is bounded all the same");

    settle();

    /* a lobby besides: each portion writes to all of it */

    for (i = 0; i < 3 * NGX_WS_BUS_HUB_TURNS; i++) {

        clock_given = 0;

        for (j = 0; j < 64; j++) {
            handle(j % 4 ? j : 300);
        }

        turn();
    }

    tap_is(clock_given, 48, "many publish to a channel that nobody hears");

    for (i = 0; i < 30; i++) {
        subscribe(300, 0);
    }

    for (i = 0, parts = 0; i < 3 * NGX_WS_BUS_HUB_TURNS; i++) {

        clock_given = 0;

        for (j = 0; j < 64; j++) {
            handle(j % 4 ? j : 300);
        }

        turn();

        parts += (clock_given != 48 + 30);
    }

    tap_ok(parts && parts <= 3, "a lobby gets all of a turn at once, but for "
           "%lu turns", (u_long) parts);

    hub_end("early");
}


static void
test_idle(void)
{
    hub_create(8000);

    subscribe(0, 0);

    lap();
    lap();

    send_to(0, 0, OTHER, 10);
    settle();

    tap_ok(hub->slot->stats.overruns == 0 && subs[0].given == 1,
           "what is for others is stepped over");

    lap();
    lap();

    /* as another process does that begins */

    bell_read.handler(&bell_read);
    settle();

    tap_is(hub->slot->stats.overruns, 0,
           "what is for others does not lap anybody");

    send_to(0, 0, OTHER, 10);
    lap();

    settle();

    tap_ok(hub->slot->stats.overruns == 1 && subs[0].given == 1,
           "but what is not read in time is lost");

    send_to(0, 0, OTHER, 10);
    settle();

    tap_ok(hub->slot->stats.overruns == 1 && subs[0].given == 2,
           "and what comes next is not");

    /* nobody rings: the tick looks */

    send_to(0, 0, OTHER, 10);
    ngx_delete_posted_event(&hub->deliver);
    settle();

    tap_is(subs[0].given, 2, "nobody has rung");

    hub->tick.handler(&hub->tick);
    settle();

    tap_is(subs[0].given, 3, "it looks by itself");

    hub_end("an idle worker");
}


/* more than what one turn reads, and what was before anybody came */

static void
test_many(void)
{
    ngx_uint_t  i;

    hub_create(150000);

    subscribe(0, 0);

    for (i = 0; i < 2 * NGX_WS_BUS_HUB_READ; i++) {
        send_to(0, i % 2, OTHER, 1);
    }

    turn();

    tap_ok(subs[0].given > 0 && subs[0].given <= NGX_WS_BUS_HUB_READ,
           "one turn reads so many");

    settle();

    tap_ok(subs[0].given == 2 * NGX_WS_BUS_HUB_READ
           && hub->slot->stats.overruns == 0, "the next ones the others");

    send_to(0, 0, OTHER, 1);

    for (i = 0; i < 10; i++) {
        send_to(1, 1, OTHER, 1);
    }

    subscribe(1, 0);
    encoded = 0;

    settle();

    tap_is(encoded, 1, "nobody encodes what nobody waits for");

    hub_end("many messages of others");
}


/* while the worker looks at the history, one more comes */

static void
meanwhile(void)
{
    send_to(0, 1, OTHER, 10);
    become(WORKER);
}


static void
meanwhile_handler(void)
{
    overrun_handler();

    on_lock = meanwhile;
}


static void
test_refill(void)
{
    test_sub_t  *kept, *passed;

    hub_create(8000);

    kept = subscribe(0, 0);
    passed = subscribe(1, 0);

    send_to(1, 0, OTHER, 10);
    lap();
    send_to(0, 1, OTHER, 10);
    send_to(0, 0, OTHER, 10);
    send_to(0, 1, OTHER, 10);

    settle();

    tap_is(hub->slot->stats.overruns, 1, "the worker is lapped");
    tap_ok(kept->given >= 2 && kept->lost == 0,
           "what is kept comes from the history");
    tap_ok(passed->given == 0 && passed->lost == 0, "the rest does not");

    send_to(1, 0, OTHER, 10);
    lap();
    send_to(0, 1, OTHER, 10);

    on_log = meanwhile_handler;
    settle();
    on_log = overrun_handler;

    tap_ok(hub->slot->stats.overruns == 2 && kept->given >= 4
           && kept->lost == 0, "what comes meanwhile comes once");

    hub_end("a lapped worker");
}


/* the history is long, and to encode takes its time */

static void
test_refill_slices(void)
{
    ngx_uint_t   i, n, before;
    test_sub_t  *s, *late;

    hub_create(60000);

    for (i = 0; i < 8; i++) {
        subscribe(i, i % 2);
    }

    s = subs;
    send_to(0, 1, OTHER, 10);
    lap();

    for (i = 0; i < 400; i++) {
        send_to(i % 8, 1, OTHER, 10);
    }

    slow = 100;
    n = 0;
    late = NULL;

    do {
        before = encoded;
        turn();

        tap_each(encoded - before <= 10, "%lu are encoded in one turn",
                 (u_long) (encoded - before));

        if (hub->refilling) {

            /* messages, subscribers and channels come meanwhile, and go */

            send_to(n % 8, 1, n % 3 ? OTHER : WORKER, 10);
            send_to(n % 8, 0, OTHER, 10);
            subscribe(100 + n, n % 2);

            if (n == 10) {
                late = subscribe(0, 0);
                send_to(0, 1, OTHER, 10);
                unsubscribe(&subs[7]);
            }
        }

        n++;

    } while (n < 1000 && hub->refilling);

    slow = 0;
    settle();

    tap_ok(n > 40 && n < 1000, "a long refill takes many turns");
    tap_ok(hub->slot->stats.overruns == 1 && s->lost == 1 && s->to == 1
           && s->given >= 50, "and misses nothing but what is gone");
    tap_ok(late && late->lost == 0 && late->given >= 1,
           "who comes meanwhile gets what comes then");

    hub_end("a refill in slices");
}


/* lapped again before all is refilled, for who has come in between */

static void
test_refill_twice(void)
{
    ngx_uint_t   i;
    test_sub_t  *s;

    hub_create(8000);

    slow = 200;

    subscribe(0, 0);
    subscribe(1, 0);

    send_to(0, 1, OTHER, 10);
    lap();

    for (i = 0; i < 10; i++) {
        send_to(0, 1, OTHER, 10);
    }

    turn();

    tap_ok(hub->slot->stats.overruns == 1 && hub->refilling,
           "a turn does not refill everything");

    s = subscribe(1, 0);

    send_to(1, 1, OTHER, 10);
    send_to(1, 1, OTHER, 10);

    lap();

    send_to(1, 1, OTHER, 10);

    settle();

    tap_ok(s->lost == 1 && s->from == 1 && s->to == 2 && s->given == 1,
           "what is missing behind the cursor is told, too");

    hub_end("lapped twice");
}


/* a channel is deleted before it is its turn to be refilled */

static void
test_refill_deleted(void)
{
    ngx_uint_t   i;
    test_sub_t  *s;

    hub_create(60000);

    for (i = 0; i < 8; i++) {
        subscribe(i, 0);
    }

    s = &subs[7];
    send_to(7, 1, OTHER, 10);
    lap();

    for (i = 0; i < 100; i++) {
        send_to(i % 7, 1, OTHER, 10);
    }

    send_to(7, 1, OTHER, 10);

    slow = 200;
    turn();

    tap_ok(hub->refilling && s->given == 0, "a refill takes its time");

    send_to(7, 1, OTHER, 10);
    send_to(7, 0, OTHER, 10);
    send_to(7, 1, OTHER, 10);
    delete_channel(7, OTHER);
    send_to(7, 1, OTHER, 10);

    settle();

    tap_ok(s->lost == 1 && s->from == 1 && s->to == 2,
           "what was missed before is lost");
    tap_ok(s->deleted == 1 && s->given == 4,
           "what is still to be read comes, and the deletion in its place");

    hub_end("a deletion during a refill");
}


static void
test_lost(void)
{
    uint64_t     first;
    ngx_uint_t   i;
    test_sub_t  *early, *late, *other;

    hub_create(8000);

    early = subscribe(0, 0);
    other = subscribe(1, 0);

    send_to(0, 1, OTHER, 10);
    settle();

    for (i = 0; i < 3; i++) {
        send_to(0, 1, OTHER, 10);
    }

    lap();

    late = subscribe(0, 0);

    settle();

    tap_ok(early->lost == 1 && early->from == 2 && early->to == 4,
           "who was there is told what is lost");
    tap_ok(late->lost == 0 && other->lost == 0, "nobody else is");
    tap_is(hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST], 1,
           "it is counted");

    /* the older half is lost */

    for (i = 0; i < 30; i++) {
        send_to(0, 1, OTHER, 100);
    }

    first = sh->log.head;

    while (sh->log.tail < first - 15 * 160) {
        send_to(999, 1, OTHER, 100);
    }

    settle();

    tap_ok(early->lost == 2 && early->from == 5 && early->to < 34
           && late->lost == 1 && late->to == early->to,
           "all are told of those that are gone, %lu to %lu",
           (u_long) early->from, (u_long) early->to);
    tap_is(late->given, 34 - late->to, "and given the others");

    hub_end("a worker that loses messages");
}


static void
test_deleted(void)
{
    test_sub_t  *s, *late;

    hub_create(8000);

    s = subscribe(0, 0);
    subscribe(0, 1);

    send_to(0, 1, OTHER, 10);
    send_to(0, 0, OTHER, 10);
    delete_channel(0, OTHER);
    send_to(0, 1, OTHER, 10);

    late = subscribe(0, 0);

    send_to(0, 1, WORKER, 10);

    settle();

    tap_ok(s->deleted == 1 && s->given == 4, "a deletion comes in its place");
    tap_ok(late->deleted == 0 && late->given == 1,
           "who came later does not know of it");

    delete_channel(0, WORKER);
    delete_channel(0, WORKER);
    settle();

    tap_ok(s->deleted == 3 && late->deleted == 2, "there may be several");

    delete_channel(0, OTHER);
    send_to(0, 1, OTHER, 10);
    lap();
    settle();

    tap_ok(s->deleted == 4 && late->deleted == 3,
           "a lapped worker sees it by the epoch");

    send_to(0, 1, OTHER, 10);
    settle();

    tap_ok(s->given == 5 && s->lost == 0, "and goes on");

    hub_end("deletions");
}


/* many are told of something, some of them in each turn */

static void
test_told(void)
{
    ngx_uint_t   i, n;
    test_sub_t  *late;

    hub_create(30000);

    for (i = 0; i < 1000; i++) {
        subscribe(0, i % 2);
    }

    most = 0;

    for (i = 0; i < 3; i++) {
        send_to(0, 1, OTHER, 20);
        send_to(0, 0, OTHER, 20);
        delete_channel(0, OTHER);
    }

    send_to(0, 1, OTHER, 20);

    late = subscribe(0, 0);

    for (i = 0; i < 4; i++) {
        turn();
        unsubscribe(&subs[i]);
        unsubscribe(&subs[998 - i]);
    }

    for (i = 4; i < 995 && (subs[i].deleted == 0 || subs[i].deleted == 3);
         i++)
    {
        /* void */
    }

    tap_ok(i < 995, "some know of it, and others do not yet");

    settle();

    for (i = 4; i < 995; i++) {
        tap_each(subs[i].given == 7 && subs[i].deleted == 3,
                 "each is told of each in its place");
    }

    tap_all("what is told has its place among the messages");
    tap_ok(late->given == 0 && late->deleted == 0,
           "nothing of it is for who came later");

    /* a loss, while the last one is still being told */

    for (n = 0; n < 2; n++) {

        for (i = 0; i < 3; i++) {
            send_to(0, 1, OTHER, 20);
        }

        lap();
        turn();
    }

    settle();

    for (i = 4; i < 995; i++) {
        tap_each(subs[i].lost == 2 && subs[i].to == 7, "each has lost both");
    }

    tap_all("losses are told as well");
    tap_is(hub->slot->stats.dropped[NGX_WS_BUS_DROPPED_LOST], 2 * 993,
           "and counted");
    tap_ok(most <= NGX_WS_BUS_HUB_GIVE + NGX_WS_BUS_HUB_SLICE,
           "to %lu subscribers in a turn", (u_long) most);

    /* all leave meanwhile */

    send_to(0, 1, OTHER, 20);
    delete_channel(0, OTHER);
    send_to(0, 1, OTHER, 20);
    turn();

    for (i = 0; i < SUBS; i++) {
        if (subs[i].used) {
            unsubscribe(&subs[i]);
        }
    }

    hub_end("what is told to many");
}


/* without memory to do it in turns */

static void
test_told_at_once(void)
{
    ngx_uint_t  i, n;

    hub_create(30000);

    for (i = 0; i < 1000; i++) {
        subscribe(0, 0);
    }

    /* nothing is owed; it is given; it is read */

    for (n = 0; n < 3; n++) {

        if (n) {
            send_to(0, 1, OTHER, 20);
            turn();
        }

        if (n == 2) {
            send_to(0, 1, OTHER, 20);
        }

        delete_channel(0, OTHER);

        alloc_fail_at = 0;
        turn();

        tap_ok(alloc_fail_at == NO_FAIL && called >= 1000,
               "there is no memory");

        settle();

        for (i = 0; i < 1000; i++) {
            tap_each(subs[i].deleted == n + 1
                     && subs[i].given == n + (n == 2),
                     "each is told of it");
        }
    }

    tap_all("without memory all are told at once");

    hub_end("no memory to tell");
}


static ngx_uint_t  given_before;

static void
revoked_handler(ngx_ws_bus_hub_t *h, const ngx_ws_bus_revocation_t *rev)
{
    ngx_uint_t  i;

    (void) h;

    given_before = (rev != NULL);

    for (i = 0; i < 1000; i++) {
        given_before &= (subs[i].given == 2);
    }
}


/* a token is revoked between the messages before and those after */

static void
test_revoked(void)
{
    ngx_uint_t  i;

    hub_create(30000);

    hub->revoked = revoked_handler;
    given_before = 0;
    most = 0;

    for (i = 0; i < 1000; i++) {
        subscribe(0, i % 2);
    }

    for (i = 0; i < 5; i++) {
        send_to(0, 1, OTHER, 20);

        if (i == 1) {
            become(OTHER);
            take_away("alice", 500, 2000);
            become(WORKER);
            bell_read.handler(&bell_read);
        }
    }

    settle();

    tap_ok(given_before, "what came before a revocation is given before it");
    tap_ok(most <= NGX_WS_BUS_HUB_GIVE + NGX_WS_BUS_HUB_SLICE,
           "to %lu subscribers in a turn", (u_long) most);

    hub_end("a revocation");
}


static void
test_table(void)
{
    ngx_uint_t  i;

    hub_create(30000);

    for (i = 0; i < 1000; i++) {
        subscribe(i, i % 2);
    }

    tap_ok(hub->nchannels == 1000 && hub->mask + 1 >= 512,
           "the table grows with the channels");

    for (i = 0; i < 1000; i++) {
        send_to(i, i % 2, i % 5 ? WORKER : OTHER, 10);

        if (i % 50 == 0) {
            turn();
        }
    }

    settle();

    for (i = 0; i < 1000; i++) {
        tap_each(subs[i].given == 1, "channel %lu", (u_long) i);
    }

    for (i = 0; i < 1000; i += 2) {
        unsubscribe(&subs[i]);
    }

    tap_is(hub->nchannels, 500, "and channels go");

    for (i = 0; i < 1000; i++) {
        send_to(i, 1, OTHER, 10);

        if (i % 50 == 0) {
            turn();
        }
    }

    hub_end("many channels");
}


static void
random_step(ngx_uint_t many)
{
    ngx_uint_t   what, slot, i;
    test_sub_t  *s;

    what = next_random(100);
    slot = next_random(2) ? WORKER : OTHER;
    s = &subs[next_random(many)];

    if (failing && next_random(4) == 0) {
        alloc_fail_at = next_random(4);
    }

    if (what < 25) {

        for (i = next_random(many / 8 + 2); i; i--) {
            if (subs[many - 1].used) {
                break;
            }

            subscribe(next_random(3) ? 0 : next_random(4),
                      next_random(3) ? 0 : next_random(FORMATS));
        }

    } else if (what < 40) {

        for (i = next_random(many / 10 + 2); i; i--) {
            s = &subs[next_random(many)];

            if (s->used) {
                unsubscribe(s);
            }
        }

    } else if (what < 75) {

        for (i = next_random(8) + 1; i; i--) {
            send_to(next_random(4), next_random(2), slot, next_random(100));

            if (slot == WORKER) {
                hub->whole = 0;
                hub->eager = next_random(4);
                hub->sources = next_random(2 * NGX_WS_BUS_HUB_EAGER);

                if (failing) {
                    excuse();
                }

                ngx_ws_bus_hub_handled(hub);
            }
        }

    } else if (what < 90) {
        turn();

    } else if (what < 93) {
        delete_channel(next_random(4), slot);

    } else if (what < 95) {
        lap();

    } else if (what < 96) {
        hub->tick.handler(&hub->tick);

    } else if (what < 98) {
        let_go(&held[next_random(HELD)]);

    } else {
        settle();
    }

    alloc_fail_at = NO_FAIL;
}


/* without memory, what was not kept may not come, and nobody tells */

static void
excuse(void)
{
    ngx_uint_t   i;
    test_sub_t  *s;

    for (s = subs; s < subs + SUBS; s++) {
        for (i = s->first; s->used && i < s->n; i++) {
            if (s->due[i].number && s->due[i].seq == 0) {
                s->due[i].excused = 1;
            }
        }
    }
}


static void
test_random(ngx_uint_t without_memory, ngx_uint_t takes, ngx_uint_t many,
    const char *name)
{
    ngx_uint_t   i, j;
    test_sub_t  *s;

    hub_create(8000);

    failing = without_memory;
    slow = takes;

    for (i = 0; i < STEPS; i++) {
        random_step(many);

        if (failing) {
            excuse();
        }

        /* who was told leaves, as a rule */

        for (j = 0; j < many; j++) {
            s = &subs[j];

            if (s->used && s->lost + s->deleted && next_random(3)) {
                unsubscribe(s);
            }
        }

        if (i % 40 == 0) {
            settle();
            check_settled(name);
        }

        if (tap_each_failed) {
            tap_diag("in step %lu", (u_long) i);
            break;
        }
    }

    tap_diag("%lu messages, %lu deliveries, lapped %lu times",
             (u_long) number, (u_long) clock_given,
             (u_long) hub->slot->stats.overruns);

    hub_end(name);
}
