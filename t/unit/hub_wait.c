
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "hub.h"


/*
 * The hub of a zone that spans hosts: who waits for a channel, and who hears
 * of a loss.
 */


#define BRIDGE   OTHER

#define TIMEOUT  1000

#define E1       0x1111
#define E2       0x2222
#define E3       0x3333


typedef struct {
    ngx_ws_bus_sub_t     sub;        /* the first member */
    char                 heard[512];
} test_sub_t;


static void test_ready(void);
static void test_overdue(void);
static void test_refresh(void);
static void test_lost(void);
static void test_lapped(void);
static void test_memory(void);

static ngx_int_t encode(ngx_ws_bus_format_t *format, ngx_ws_bus_run_t *run,
    ngx_ws_bus_node_t *node, uint64_t epoch, ngx_ws_bus_record_t *rec,
    u_char *payload);
static void deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first);
static void lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to);
static void deleted(ngx_ws_bus_sub_t *sub);
static void ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc, void *data);
static void moved(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq);
static ngx_int_t remote_init(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle);
static void remote_exit(ngx_ws_bus_zone_t *zone);
static void remote_wanted(ngx_ws_bus_hub_t *hub);


static ngx_ws_bus_format_t  format = { encode };

static const ngx_ws_bus_hub_handlers_t  handlers = {
    deliver,
    lost,
    deleted,
    ready,
    moved,
    NULL
};

static ngx_ws_bus_owner_t  owner = { &handlers };

static ngx_ws_bus_remote_t  remote = { NULL, TIMEOUT, 0, 0, 0, remote_init,
                                       remote_exit, NULL, NULL, NULL,
                                       remote_wanted };

static test_sub_t         subs[4];
static ngx_uint_t         wanted;
static ngx_uint_t         unsubscribe;     /* when it is too late */

int
main(void)
{
    alarm(60);

    test_remote = &remote;

    test_ready();
    test_overdue();
    test_refresh();
    test_lost();
    test_lapped();
    test_memory();

    zone_free();
    free(pool_memory);

    return tap_done();
}


static ngx_int_t
remote_init(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle)
{
    (void) zone;
    (void) cycle;

    return NGX_OK;
}


static void
remote_exit(ngx_ws_bus_zone_t *zone)
{
    (void) zone;
}


static void
remote_wanted(ngx_ws_bus_hub_t *h)
{
    (void) h;

    wanted++;
}


static ngx_int_t
encode(ngx_ws_bus_format_t *f, ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node,
    uint64_t epoch, ngx_ws_bus_record_t *rec, u_char *payload)
{
    u_char  *p;

    (void) f;
    (void) node;

    p = ngx_ws_bus_run_reserve(run, 64, &test_log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    run->len += sprintf((char *) p, " %lx:%lu:%.*s", (u_long) epoch,
                        (u_long) rec->seq, (int) rec->len, payload);

    return NGX_OK;
}


static void
hear(ngx_ws_bus_sub_t *sub, const char *fmt, ...)
{
    char        *p;
    va_list      args;
    test_sub_t  *s;

    s = (test_sub_t *) sub;
    p = s->heard + strlen(s->heard);

    va_start(args, fmt);
    vsnprintf(p, s->heard + sizeof(s->heard) - p, fmt, args);
    va_end(args);
}


static void
deliver(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run, ngx_uint_t first)
{
    size_t  start;

    start = ngx_ws_bus_run_start(run, first);

    hear(sub, "%.*s", (int) (run->len - start), run->data + start);
}


static void
lost(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to)
{
    hear(sub, " lost-%lu-%lu", (u_long) from, (u_long) to);
}


static void
deleted(ngx_ws_bus_sub_t *sub)
{
    hear(sub, " deleted");
}


static void
moved(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq)
{
    hear(sub, " moved-%lx-%lu", (u_long) epoch, (u_long) seq);
}


/* as a session does it: with a fresh view */

static void
ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc, void *data)
{
    if (rc == NGX_OK) {
        ngx_ws_bus_channel_view(&test_zone, sub->group->channel->node, &view);

        sub->from = view.head;
        sub->seq = view.seq;

        hear(sub, " ready-%lu", (u_long) view.seq);

    } else {
        hear(sub, " late");

        if (unsubscribe) {
            ngx_ws_bus_hub_unsubscribe(sub);
        }
    }

    if (data) {
        hear(sub, "-%s", (char *) data);
    }
}


static void
start(size_t size)
{
    zone_create(size, 16);

    hub_start();

    wanted = 0;

    ngx_memzero(subs, sizeof(subs));
}


static void
stop(void)
{
    ngx_uint_t  i;

    become(WORKER);

    for (i = 0; i < 4; i++) {
        if (subs[i].sub.group) {
            ngx_ws_bus_hub_unsubscribe(&subs[i].sub);
        }
    }

    tap_each(ngx_queue_empty(&hub->waits), "nobody waits");

    hub_free();
}


static ngx_int_t
subscribe(ngx_uint_t i, const char *name)
{
    ngx_int_t  rc;

    become(WORKER);

    subs[i].sub.owner = &owner;
    subs[i].heard[0] = '\0';

    rc = ngx_ws_bus_hub_subscribe(hub, name_of(name), &format, &subs[i].sub,
                                  &view);
    return rc;
}


static void
turn(void)
{
    become(WORKER);
    hub->deliver.handler(&hub->deliver);
}


static const char *
heard(ngx_uint_t i)
{
    static char  buf[512];

    strcpy(buf, subs[i].heard);
    subs[i].heard[0] = '\0';

    return buf;
}


static ngx_int_t
put(const char *name, uint64_t epoch, uint64_t seq, const char *text)
{
    ngx_ws_bus_message_t  msg;

    become(BRIDGE);

    ngx_memzero(&msg, sizeof(msg));

    msg.data = (u_char *) text;
    msg.len = strlen(text);
    msg.time = test_now;

    return ngx_ws_bus_remote_place(&test_zone, name_of(name), epoch, seq,
                                   &msg, rings, &nrings);
}


static void
reset(const char *name, uint64_t epoch, uint64_t seq, uint64_t prev,
    uint64_t base, ngx_uint_t follows)
{
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;
    ngx_ws_bus_chain_append(&chain, prev, base);

    become(BRIDGE);
    ngx_ws_bus_remote_reset(&test_zone, name_of(name), epoch, seq, &chain,
                            follows, rings, &nrings);
}


static void
live(const char *name)
{
    become(BRIDGE);
    ngx_ws_bus_remote_live(&test_zone, name_of(name), 1, rings, &nrings);
}


static void
test_ready(void)
{
    char  *data;

    start(4096);

    tap_is(subscribe(0, "c"), NGX_AGAIN, "the channel is not live");
    tap_is(subscribe(1, "c"), NGX_AGAIN, "nor is it for the next one");
    tap_is(subscribe(2, "d"), NGX_AGAIN, "nor is another one");
    tap_is(sh->remote->wanted, 3, "all have asked");

    data = malloc(8);
    strcpy(data, "data");
    ngx_ws_bus_sub_wait(&subs[1].sub)->data = data;

    put("c", E1, 1, "a");
    put("c", E1, 2, "b");
    turn();

    is_text(heard(0), "", "who waits hears nothing");

    live("c");
    put("c", E1, 3, "c");
    turn();

    is_text(heard(0), " ready-3", "it begins, with what has come so far");
    is_text(heard(1), " ready-3-data", "and so does the other one");
    is_text(heard(2), "", "another channel is not ready by that");
    tap_is(wanted, 2, "the bridge is asked each time");

    put("c", E1, 4, "d");
    live("c");
    turn();

    is_text(heard(0), " 1111:4:d", "the next message, and no second beginning");

    tap_is(subscribe(3, "c"), NGX_OK, "who comes now begins at once");

    become(WORKER);
    ngx_ws_bus_hub_unsubscribe(&subs[2].sub);
    live("d");
    turn();
    is_text(heard(2), "", "who has gone does not begin");

    stop();
    zone_ok("after waiting");
}


static void
test_overdue(void)
{
    start(4096);

    ngx_current_msec = 5000;
    subscribe(0, "c");
    ngx_current_msec = 5500;
    subscribe(1, "c");

    tap_ok(hub->overdue.timer_set, "there is a timer");

    ngx_current_msec = 5000 + TIMEOUT;
    hub->overdue.timer_set = 0;
    hub->overdue.handler(&hub->overdue);

    is_text(heard(0), " late", "the first one has waited too long");
    is_text(heard(1), "", "the second one has time");
    tap_ok(hub->overdue.timer_set, "for which there is a timer");

    ngx_current_msec = 5500 + TIMEOUT;
    hub->overdue.timer_set = 0;
    unsubscribe = 1;
    hub->overdue.handler(&hub->overdue);
    unsubscribe = 0;

    is_text(heard(1), " late", "then it has not");
    tap_ok(subs[1].sub.group == NULL, "it may leave at once");
    tap_ok(!hub->overdue.timer_set, "and there is no timer any more");

    live("c");
    turn();
    is_text(heard(0), "", "it has been told, and only once");

    stop();
    zone_ok("after waiting too long");
}


static void
test_refresh(void)
{
    start(4096);

    subscribe(0, "c");
    put("c", E1, 1, "a");
    live("c");
    turn();
    heard(0);

    tap_is(subscribe(1, "c"), NGX_OK, "the channel is live");
    tap_is(ngx_ws_bus_hub_refresh(&subs[1].sub), NGX_AGAIN, "but asked for");
    tap_ok(ngx_ws_bus_sub_wait(&subs[1].sub) != NULL, "it waits");

    put("c", E1, 2, "b");
    turn();
    is_text(heard(0), " 1111:2:b", "others go on");
    is_text(heard(1), "", "it does not");

    live("c");
    turn();
    is_text(heard(1), " ready-2", "until the bridge has looked");

    /* what was said before it asked is no answer */

    live("c");
    tap_is(subscribe(2, "c"), NGX_OK, "the channel is live");
    ngx_ws_bus_hub_refresh(&subs[2].sub);
    turn();
    is_text(heard(2), "", "an older answer is none");
    live("c");
    turn();
    is_text(heard(2), " ready-2", "a later one is");

    stop();
    zone_ok("after asking again");
}


static void
test_lost(void)
{
    start(4096);

    subscribe(0, "c");
    live("c");
    turn();
    heard(0);

    subscribe(1, "c");
    become(WORKER);
    ngx_ws_bus_hub_refresh(&subs[1].sub);

    put("c", E1, 1, "a");
    become(BRIDGE);
    ngx_ws_bus_remote_lost(&test_zone, name_of("c"), 4, rings, &nrings);
    put("c", E1, 5, "e");
    turn();

    is_text(heard(0), " moved-1111-0 1111:1:a lost-2-4 1111:5:e",
            "a loss in its place");
    is_text(heard(1), "", "who waits is not told");

    become(BRIDGE);
    reset("c", E2, 0, E1, 5, 1);
    put("c", E2, 6, "f");
    turn();
    is_text(heard(0), " moved-2222-5 2222:6:f",
            "another epoch that follows");

    become(BRIDGE);
    reset("c", E1, 2, 0, 0, 0);
    put("c", E1, 3, "g");
    turn();
    is_text(heard(0), " lost-0-2 1111:3:g", "one that does not");

    become(BRIDGE);
    ngx_ws_bus_remote_deleted(&test_zone, name_of("c"), rings, &nrings);
    turn();
    is_text(heard(0), " deleted", "a deletion");
    is_text(heard(1), "", "who waits is not told");

    stop();
    zone_ok("after losses");
}


/* the log has gone round, with what would have told */

static void
test_lapped(void)
{
    ngx_uint_t          i;
    ngx_ws_bus_chain_t  chain;

    start(1024);

    subscribe(0, "c");
    live("c");
    turn();
    heard(0);
    subscribe(1, "d");

    put("c", E1, 1, "a");
    live("d");

    become(BRIDGE);
    join(BRIDGE, "noise");

    for (i = 0; i < 40; i++) {
        put("noise", 0, 0, "some bytes of log");
    }

    turn();

    is_text(heard(1), " ready-0", "who waits begins all the same");
    is_text(heard(0), " moved-1111-0 lost-1-1", "what is gone is lost");

    /* an epoch that follows, and one that does not */

    become(BRIDGE);
    reset("c", E2, 0, E1, 1, 1);

    for (i = 0; i < 40; i++) {
        put("noise", 0, 0, "some bytes of log");
    }

    put("c", E2, 2, "b");
    turn();

    is_text(heard(0), " moved-2222-1 2222:2:b",
            "it follows, and nothing is lost");

    /* two of them */

    chain.n = 0;
    ngx_ws_bus_chain_append(&chain, E3, 5);
    ngx_ws_bus_chain_append(&chain, E2, 2);

    become(BRIDGE);
    ngx_ws_bus_remote_reset(&test_zone, name_of("c"), E3, 0, &chain, 1, rings,
                            &nrings);
    ngx_ws_bus_remote_reset(&test_zone, name_of("c"), E1, 0, &chain, 1, rings,
                            &nrings);

    for (i = 0; i < 40; i++) {
        put("noise", 0, 0, "some bytes of log");
    }

    put("c", E1, 3, "c");
    turn();

    is_text(heard(0), " moved-1111-2 1111:3:c", "and so do two in a row");

    reset("c", E2, 0, E1, 3, 1);
    turn();
    is_text(heard(0), " moved-2222-3", "another one");

    become(BRIDGE);
    reset("c", E1, 9, 0, 0, 0);

    for (i = 0; i < 40; i++) {
        put("noise", 0, 0, "some bytes of log");
    }

    turn();
    is_text(heard(0), " lost-0-9", "it does not");

    put("c", E1, 10, "x");
    turn();
    is_text(heard(0), " 1111:10:x", "and goes on");

    stop();
}


static void
test_memory(void)
{
    ngx_uint_t  i;

    start(4096);

    for (i = 0; i < 8; i++) {
        alloc_fail_at = i;

        if (subscribe(0, "c") == NGX_AGAIN) {
            break;
        }

        tap_each(subs[0].sub.group == NULL || i == 0,
                 "nothing is left without memory, %lu", (u_long) i);
        tap_each(interest(find("c"), WORKER) == 0, "nor in the zone");
    }

    alloc_fail_at = NO_FAIL;

    tap_ok(i > 0 && i < 8, "in the end there is enough");

    stop();
    zone_ok("without memory");
}
