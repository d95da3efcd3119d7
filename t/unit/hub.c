
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define BUS_WITH_HUB  1

#include "bus.h"

#include "ngx_ws_bus_run.c"
#include "ngx_ws_bus_hub.c"
#include "ngx_ws_bus_subs.c"
#include "ngx_ws_bus_presence.c"


#define WORKER     1          /* the slot whose hub is tested */
#define OTHER      2          /* one that publishes as well */

#define CHANNELS   4
#define FORMATS    3
#define SUBS       40
#define DUE        4096
#define HELD       64
#define ROUNDS     30
#define STEPS      2000


typedef struct {
    ngx_ws_bus_format_t  format;
    char                 name;
    ngx_uint_t           pad;        /* bytes that it adds */
} test_format_t;


/* what a subscriber is to be given */

typedef struct {
    ngx_uint_t           number;     /* of the message; 0: the deletion */
    uint64_t             pos;
    uint64_t             seq;
    ngx_uint_t           excused;    /* if it does not come */
} due_t;


typedef struct {
    ngx_ws_bus_sub_t     sub;        /* the first member */
    ngx_uint_t           used;
    ngx_uint_t           channel;
    ngx_uint_t           format;
    ngx_uint_t           over;       /* it was told that it has lost some */
    due_t                due[DUE];
    ngx_uint_t           first;
    ngx_uint_t           n;
} test_sub_t;


/* a slow client still has a part of a run */

typedef struct {
    ngx_ws_bus_run_t    *run;
    u_char              *copy;
    size_t               len;
} held_t;


static void test_order(void);
static void test_wide(void);
static void test_own_lap(void);
static void test_idle(void);
static void test_refill(void);
static void test_lost(void);
static void test_deleted(void);
static void test_table(void);
static void test_random(ngx_uint_t failures);

static ngx_int_t encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, ngx_ws_bus_record_t *rec, u_char *payload);
static void deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first);
static void lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to);
static void deleted(ngx_ws_bus_sub_t *sub);


static test_format_t  formats[FORMATS] = {
    { { encode }, 'a', 0 },
    { { encode }, 'b', 3 },
    { { encode }, 'c', 200 }
};

static const ngx_ws_bus_hub_handlers_t  handlers = {
    deliver,
    lost,
    deleted
};


static const char        *channels[CHANNELS] = { "one", "two", "3", "" };

static ngx_ws_bus_hub_t  *hub;
static test_sub_t         subs[SUBS];
static held_t             held[HELD];
static ngx_uint_t         number;
static ngx_uint_t         overruns;
static ngx_uint_t         failures;      /* memory may run out */

static ngx_connection_t   bell;
static ngx_event_t        bell_read, bell_write;
static void              *pool_memory;


/* of nginx, what the hub needs besides */

ngx_queue_t           ngx_posted_events;
ngx_queue_t           ngx_posted_next_events;
ngx_uint_t            ngx_event_flags = NGX_USE_CLEAR_EVENT;
ngx_event_actions_t   ngx_event_actions;
ngx_rbtree_t          ngx_event_timer_rbtree;
volatile ngx_msec_t   ngx_current_msec;


void
ngx_rbtree_insert(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    (void) tree;
    (void) node;
}


void
ngx_rbtree_delete(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
    (void) tree;
    (void) node;
}


static ngx_int_t
add_event(ngx_event_t *ev, ngx_int_t event, ngx_uint_t flags)
{
    (void) ev;
    (void) event;
    (void) flags;

    return NGX_OK;
}


ngx_connection_t *
ngx_get_connection(ngx_socket_t s, ngx_log_t *log)
{
    (void) log;

    ngx_memzero(&bell_read, sizeof(bell_read));
    ngx_memzero(&bell_write, sizeof(bell_write));

    bell.fd = s;
    bell.read = &bell_read;
    bell.write = &bell_write;
    bell_read.data = &bell;
    bell_write.data = &bell;

    return &bell;
}


void
ngx_free_connection(ngx_connection_t *c)
{
    (void) c;
}


void *
ngx_pcalloc(ngx_pool_t *pool, size_t size)
{
    (void) pool;

    free(pool_memory);

    pool_memory = calloc(1, size);

    return pool_memory;
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
    test_order();
    test_wide();
    test_own_lap();
    test_idle();
    test_refill();
    test_lost();
    test_deleted();
    test_table();

    test_random(0);
    test_random(1);

    zone_free();
    free(pool_memory);

    return tap_done();
}


/*
 * A message is its number; formats differ in what they put before it, so that
 * a byte of a wrong place is seen.
 */

static ngx_int_t
encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, ngx_ws_bus_record_t *rec, u_char *payload)
{
    u_char         *p;
    test_format_t  *f;

    f = (test_format_t *) format;

    tap_each(node->id == rec->channel, "the channel's node");

    p = ngx_ws_bus_run_reserve(run, 1 + f->pad + rec->len, &test_log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    memset(p, f->name, 1 + f->pad);
    memcpy(p + 1 + f->pad, payload, rec->len);

    run->len += 1 + f->pad + rec->len;

    return NGX_OK;
}


static ngx_uint_t
decode(test_format_t *f, ngx_ws_bus_run_t *run, ngx_uint_t i)
{
    char     text[128];
    u_char  *p, *last;
    size_t   len;

    p = run->data + ngx_ws_bus_run_start(run, i);
    last = run->data + run->marks[i].end;

    tap_each((size_t) (last - p) == 1 + f->pad + run->marks[i].len,
             "the bytes of a message");

    for (len = 0; len < 1 + f->pad; len++) {
        tap_each(*p == f->name, "encoded for the format");
        p++;
    }

    len = ngx_min((size_t) (last - p), sizeof(text) - 1);
    memcpy(text, p, len);
    text[len] = '\0';

    return strtoul(text, NULL, 10);
}


static void
hold(ngx_ws_bus_run_t *run)
{
    held_t  *h;

    h = &held[next_random(HELD)];

    if (h->run || run->len == 0) {
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

    tap_each(h->run->len == h->len && memcmp(h->run->data, h->copy, h->len)
             == 0, "a run does not change while it is given");

    ngx_ws_bus_run_release(h->run);
    free(h->copy);

    h->run = NULL;
}


static void
deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run, ngx_uint_t first)
{
    due_t       *due;
    ngx_uint_t   i, n;
    test_sub_t  *s;

    s = (test_sub_t *) sub;

    tap_each(s->used && first < run->n, "somebody is given something");

    for (i = first; i < run->n; i++) {

        n = decode(&formats[s->format], run, i);

        while (s->first < s->n) {
            due = &s->due[s->first];

            if (due->number == n) {
                break;
            }

            if (!tap_each(due->excused, "message %lu is given before %lu",
                          (u_long) n, (u_long) due->number))
            {
                return;
            }

            s->first++;
        }

        if (!tap_each(s->first < s->n, "message %lu is not due",
                      (u_long) n))
        {
            return;
        }

        due = &s->due[s->first++];

        tap_each(run->marks[i].pos == due->pos
                 && run->marks[i].seq == due->seq, "its place");
    }

    if (next_random(50) == 0) {
        hold(run);
    }
}


static void
lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    ngx_uint_t   i, n;
    test_sub_t  *s;

    s = (test_sub_t *) sub;

    tap_each(s->used && from <= to, "somebody has lost something");

    n = 0;

    for (i = s->first; i < s->n && s->due[i].number; i++) {
        if (s->due[i].seq >= from && s->due[i].seq <= to) {
            s->due[i].excused = 1;
            n++;
        }
    }

    tap_each(n || failures, "%lu to %lu were not due", (u_long) from,
             (u_long) to);

    s->over = 1;
}


static void
deleted(ngx_ws_bus_sub_t *sub)
{
    test_sub_t  *s;

    s = (test_sub_t *) sub;

    while (s->first < s->n && s->due[s->first].number) {
        tap_each(s->due[s->first].excused || overruns,
                 "%lu was due before the deletion",
                 (u_long) s->due[s->first].number);
        s->first++;
    }

    if (tap_each(s->first < s->n, "a deletion")) {
        s->first++;
    }

    s->over = 1;
}


/* a worker with its hub, and another one */

static void
hub_create(size_t size)
{
    zone_create(size, 4);

    ngx_memzero(subs, sizeof(subs));

    ngx_queue_init(&ngx_posted_events);
    ngx_queue_init(&ngx_posted_next_events);
    ngx_event_actions.add = add_event;
    test_cycle.log = &test_log;

    enter(OTHER);

    test_alive[test_next_pid] = 1;
    test_pids[WORKER] = test_next_pid++;
    become(WORKER);

    if (ngx_ws_bus_hub_init(&test_zone, &test_cycle, &handlers) != NGX_OK) {
        bug("no hub");
    }

    hub = test_zone.hub;
    overruns = 0;
    failures = 0;
}


static test_sub_t *
subscribe(ngx_uint_t channel, ngx_uint_t format)
{
    test_sub_t  *s;

    for (s = subs; s->used; s++) {
        if (s == &subs[SUBS - 1]) {
            return NULL;
        }
    }

    become(WORKER);

    ngx_memzero(s, sizeof(test_sub_t));

    if (ngx_ws_bus_hub_subscribe(hub, name_of(channels[channel]),
                                 &formats[format].format, &s->sub, &view)
        != NGX_OK)
    {
        tap_each(failures, "subscribed");
        return NULL;
    }

    tap_each(s->sub.from == sh->log.head && view.head == sh->log.head,
             "subscribed from the head on");

    s->used = 1;
    s->channel = channel;
    s->format = format;

    return s;
}


static void
unsubscribe(test_sub_t *s)
{
    become(WORKER);

    ngx_ws_bus_hub_unsubscribe(&s->sub);

    tap_each(s->sub.group == NULL, "unsubscribed");

    s->used = 0;
}


static void
owe(ngx_uint_t channel, ngx_uint_t n, uint64_t pos, uint64_t seq)
{
    due_t       *due;
    test_sub_t  *s;

    for (s = subs; s < subs + SUBS; s++) {

        if (!s->used || s->channel != channel) {
            continue;
        }

        if (s->n == DUE) {
            memmove(s->due, s->due + s->first,
                    (s->n - s->first) * sizeof(due_t));
            s->n -= s->first;
            s->first = 0;

            if (s->n == DUE) {
                bug("too much is due");
            }
        }

        due = &s->due[s->n++];
        due->number = n;
        due->pos = pos;
        due->seq = seq;
        due->excused = 0;
    }
}


/* the event loop: whatever has been posted, once */

static ngx_uint_t
turn(void)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;
    ngx_event_t  *ev;

    n = 0;
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

    return n;
}


/*
 * What has been overwritten before it was read does not come, unless it was
 * kept: that comes, or is told of.
 */

static void
look_for_overruns(void)
{
    ngx_uint_t   i;
    test_sub_t  *s;

    if (hub->slot->stats.overruns == overruns) {
        return;
    }

    overruns = hub->slot->stats.overruns;

    for (s = subs; s < subs + SUBS; s++) {
        for (i = s->first; s->used && i < s->n; i++) {
            if (s->due[i].seq == 0 && s->due[i].pos < hub->cursor) {
                s->due[i].excused = 1;
            }
        }
    }
}


static void
settle(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 10000 && turn(); i++) {
        look_for_overruns();
    }

    tap_each(i < 10000, "there is an end");
}


static void
ring(void)
{
    bell_read.handler(&bell_read);
}


/* by this worker or by the other one, which rings, or could not */

static void
send_to(ngx_uint_t channel, ngx_uint_t keep, ngx_uint_t slot, size_t len)
{
    char                   text[128];
    size_t                 n;
    uint64_t               head;
    ngx_int_t              rc;
    ngx_str_t             *name;
    test_sub_t            *s;
    ngx_ws_bus_sub_t      *sub;
    ngx_ws_bus_message_t   msg;

    become(slot);

    n = sprintf(text, "%lu", (u_long) ++number);

    while (n < len && n < sizeof(text)) {
        text[n++] = '.';
    }

    head = sh->log.head;
    name = name_of(channels[channel]);

    ngx_memzero(&msg, sizeof(msg));
    msg.data = (u_char *) text;
    msg.len = n;
    msg.keep = keep;
    msg.time = test_now;

    /* it has to be due before it is given: the hub may do that at once */

    if (slot == OTHER) {
        rc = ngx_ws_bus_channel_publish(&test_zone, NULL, name, &msg, &place,
                                        rings, &nrings);

        if (rc == NGX_OK && sh->log.head > head) {
            owe(channel, number, sh->log.head - ngx_ws_bus_log_align(n)
                - sizeof(ngx_ws_bus_record_t), place.seq);
        }

        if (nrings) {
            become(WORKER);
            ring();
        }

        return;
    }

    sub = NULL;

    for (s = subs; s < subs + SUBS; s++) {
        if (s->used && s->channel == channel && next_random(3) == 0) {
            sub = &s->sub;
            break;
        }
    }

    hub->now = 0;

    rc = ngx_ws_bus_hub_publish(hub, sub, name, &msg, &place);

    if (rc == NGX_OK && sh->log.head > head) {
        owe(channel, number, sh->log.head - ngx_ws_bus_log_align(n)
            - sizeof(ngx_ws_bus_record_t), place.seq);
    }

    look_for_overruns();
}


static void
delete_channel(ngx_uint_t channel, ngx_uint_t slot)
{
    uint64_t  head;

    become(slot);

    head = sh->log.head;

    if (slot == WORKER) {
        (void) ngx_ws_bus_hub_delete(hub, name_of(channels[channel]));

    } else {
        (void) ngx_ws_bus_channel_delete(&test_zone,
                                         name_of(channels[channel]), rings,
                                         &nrings);
        if (nrings) {
            become(WORKER);
            ring();
        }
    }

    if (sh->log.head > head) {
        owe(channel, 0, sh->log.head - sizeof(ngx_ws_bus_record_t), 0);
    }
}


/* everybody has what is due, and nothing is left over */

static void
check_settled(const char *name)
{
    ngx_uint_t   i, used;
    test_sub_t  *s;

    used = 0;

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
    tap_each(hub->slot->stats.subscriptions == used, "%s: subscriptions",
             name);

    become(WORKER);
    check_zone(name, 0);
}


static void
hub_end(const char *name)
{
    ngx_uint_t    i;
    ngx_queue_t  *q;

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

    ngx_ws_bus_hub_exit(&test_zone);

    tap_each(sh->slots[WORKER]->pid == 0, "%s: the slot is given back", name);

    while (!ngx_queue_empty(&hub->free_debts)) {
        q = ngx_queue_head(&hub->free_debts);
        ngx_queue_remove(q);
        free(ngx_queue_data(q, ngx_ws_bus_debt_t, queue));
    }

    free(hub->channels);

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

    tap_ok(s->first == 0 && s->n == 3 && late->n == 1,
           "nothing is given before the loop turns");

    turn();

    tap_ok(s->first == 3 && late->first == 1, "then it is, to each its own");

    send_to(0, 1, OTHER, 10);
    unsubscribe(s);
    turn();

    tap_is(s->first, 3, "who has left is given no more");

    hub_end("messages in order");
}


/* who is given to in slices, while others come and go */

static void
test_wide(void)
{
    ngx_uint_t         i, j, n;
    ngx_ws_bus_sub_t  *wide;
    ngx_ws_bus_hub_handlers_t  count;

    static ngx_uint_t  given[3 * NGX_WS_BUS_HUB_GIVE];

    (void) given;

    hub_create(30000);

    n = 3 * NGX_WS_BUS_HUB_GIVE;
    wide = calloc(n, sizeof(ngx_ws_bus_sub_t));

    count = handlers;
    count.deliver = NULL;

    /* only the others are the model's: these are counted by the statistics */

    (void) count;

    for (i = 0; i < 10; i++) {
        subscribe(0, 1);
        subscribe(1, 0);
    }

    for (j = 0; j < 3; j++) {
        send_to(0, 1, OTHER, 20);
        send_to(1, 1, OTHER, 20);

        for (i = 0; i < 5; i++) {
            unsubscribe(&subs[i * 2 + j % 2]);
        }

        for (i = 0; i < 5; i++) {
            subscribe(i % 2, i % FORMATS);
        }

        turn();
    }

    free(wide);

    hub_end("subscribers that come and go");
}
