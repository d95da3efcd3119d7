
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "bus.h"


/*
 * A zone that spans hosts: slot 1 is the bridge, 2 and 3 have subscribers.
 */

#define BRIDGE  1

#define E1      0x1111
#define E2      0x2222
#define E3      0x3333
#define E4      0x4444


static void test_place(void);
static void test_gap(void);
static void test_reset(void);
static void test_chain(void);
static void test_live(void);
static void test_wanted(void);
static void test_names(void);
static void test_walk(void);
static void test_owner(void);
static void test_deleted(void);
static void test_swept(void);
static void test_random(void);
static void test_steps(void);


static ngx_ws_bus_remote_t  remote = { NULL, 1000, 0, 0, 0, NULL, NULL,
                                       NULL, NULL, NULL, NULL };


int
main(void)
{
    alarm(300);

    test_remote = &remote;

    test_place();
    test_gap();
    test_reset();
    test_chain();
    test_live();
    test_wanted();
    test_names();
    test_walk();
    test_owner();
    test_deleted();
    test_swept();
    test_random();

    if (!TEST_THREADS) {
        test_steps();
    }

    zone_free();

    return tap_done();
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


static ngx_int_t
lose(const char *name, uint64_t seq)
{
    become(BRIDGE);

    return ngx_ws_bus_remote_lost(&test_zone, name_of(name), seq, rings,
                                  &nrings);
}


static ngx_int_t
reset_chain(const char *name, uint64_t epoch, uint64_t seq,
    ngx_ws_bus_chain_t *chain, ngx_uint_t follows)
{
    become(BRIDGE);

    return ngx_ws_bus_remote_reset(&test_zone, name_of(name), epoch, seq,
                                   chain, follows, rings, &nrings);
}


static ngx_int_t
reset(const char *name, uint64_t epoch, uint64_t seq, uint64_t prev,
    uint64_t base, ngx_uint_t follows)
{
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;
    ngx_ws_bus_chain_append(&chain, prev, base);

    return reset_chain(name, epoch, seq, &chain, follows);
}


/* three epochs, of 6, 4 and 2 messages; the first one ends "skip" later */

static void
chain_of(ngx_ws_bus_chain_t *chain, uint64_t skip)
{
    chain->n = 0;
    ngx_ws_bus_chain_append(chain, E1, 6 + skip);
    ngx_ws_bus_chain_append(chain, E3, 4);
    ngx_ws_bus_chain_append(chain, E4, 2);
}


static ngx_int_t
live(const char *name, uint64_t token)
{
    become(BRIDGE);

    return ngx_ws_bus_remote_live(&test_zone, name_of(name), token, rings,
                                  &nrings);
}


static ngx_uint_t
is_live(const char *name)
{
    ngx_ws_bus_channel_view(&test_zone, find(name), &view);

    return view.live;
}


/* what a worker reads of a channel, the records of the bridge among it */

static const char *
heard(ngx_uint_t slot, const char *name)
{
    char                         *p;
    ngx_uint_t                    i;
    ngx_ws_bus_node_t            *node;
    ngx_ws_bus_remote_record_t    rr;

    static char  buf[GOT * 16];

    node = find(name);

    become(slot);
    read_slot(slot);

    p = buf;
    *p = '\0';

    for (i = 0; i < ngot; i++) {

        if (got[i].rec.channel != node->id) {
            continue;
        }

        if (p > buf) {
            *p++ = ' ';
        }

        memcpy(&rr, got[i].text, sizeof(rr));

        switch (got[i].rec.type) {

        case NGX_WS_BUS_REC_LOST:
            p += sprintf(p, "lost-%lu", (u_long) rr.seq);
            break;

        case NGX_WS_BUS_REC_RESET:
            p += sprintf(p, "%s-%lx-%lu", rr.follows ? "follow" : "reset",
                         (u_long) rr.epoch, (u_long) rr.seq);
            break;

        case NGX_WS_BUS_REC_LIVE:
            p += sprintf(p, "live");
            break;

        case NGX_WS_BUS_REC_DELETED:
            p += sprintf(p, "deleted-%lx", (u_long) got[i].rec.seq);
            break;

        default:
            p += sprintf(p, "%lu:%s", (u_long) got[i].rec.seq, got[i].text);
        }
    }

    return buf;
}


static void
start(void)
{
    zone_create(4096, 16);

    enter(BRIDGE);
    enter(2);
    enter(3);
}


static void
test_place(void)
{
    start();

    tap_is(put("c", E1, 1, "a"), NGX_DECLINED, "nobody knows the channel");

    join(2, "c");

    tap_is(view.epoch, 0, "no epoch is known yet");
    tap_is(view.live, 0, "nor is it live");

    tap_is(put("c", E1, 1, "a"), NGX_OK, "the first message");
    tap_is(nrings, 1, "the subscriber's slot is rung once");
    tap_is(rings[0], 2, "which is that");
    tap_is(put("c", E1, 2, "b"), NGX_OK, "the next one");
    tap_is(put("c", E1, 2, "b"), NGX_DONE, "a repeated one");
    tap_is(put("c", E1, 1, "a"), NGX_DONE, "an older one");
    tap_is(put("c", E1, 4, "d"), NGX_AGAIN, "there is a gap");
    tap_is(put("c", E2, 3, "x"), NGX_AGAIN, "another epoch");
    tap_is(put("c", E2, 1, "x"), NGX_AGAIN, "even at its first message");
    tap_is(put("c", 0, 0, "plain"), NGX_OK, "one that is not kept");
    tap_is(put("c", E1, 3, "c"), NGX_OK, "the missing one");

    is_text(heard(2, "c"), "follow-1111-0 1:a 2:b 0:plain 3:c", "are read");
    is_text(heard(3, "c"), "", "by subscribers only");
    is_text(history("c", 0, ANY, 0), "1:a 2:b 3:c", "and can be replayed");

    tap_is(find("c")->epoch, E1, "the epoch is known now");
    tap_is(view.chain.n, 0, "what was known before is continued");

    part(2, find("c"));
    tap_is(put("c", E1, 4, "d"), NGX_DECLINED, "nobody listens any more");

    join(2, "c");
    tap_is(put("c", E1, 4, "d"), NGX_OK, "somebody does again");

    room = 0;
    tap_is(put("c", E1, 5, "e"), NGX_OK, "nothing is allocated");
    room = ROOM_MAX;

    zone_ok("after placing");
}


static void
test_gap(void)
{
    start();
    join(2, "c");

    tap_is(lose("x", 3), NGX_DECLINED, "nothing is lost of what is unknown");

    put("c", E1, 1, "a");
    put("c", E1, 2, "b");

    tap_is(lose("c", 2), NGX_DONE, "what is here is not lost");
    tap_is(lose("c", 1), NGX_DONE, "nor what was before");
    tap_is(lose("c", 5), NGX_OK, "some are lost");
    tap_is(find("c")->seq, 5, "the channel moves on");
    is_text(history("c", 0, ANY, 0), "", "nothing is replayed over a hole");
    tap_is(put("c", E1, 5, "e"), NGX_DONE, "and they do not come later");
    tap_is(put("c", E1, 6, "f"), NGX_OK, "the next one");

    is_text(history("c", 0, ANY, 0), "6:f", "the history begins anew");
    is_text(heard(2, "c"), "follow-1111-0 1:a 2:b lost-5 6:f",
            "subscribers hear of it in its place");

    zone_ok("after a gap");
}


static void
test_reset(void)
{
    start();
    join(2, "c");

    tap_is(reset("x", E1, 1, 0, 0, 0), NGX_DECLINED, "nobody knows it");

    put("c", E1, 1, "a");
    put("c", E1, 2, "b");

    tap_is(reset("c", E1, 2, 0, 0, 0), NGX_DONE, "nothing changes");
    tap_is(reset("c", E2, 2, E1, 2, 1), NGX_OK, "another epoch that follows");
    tap_is(find("c")->epoch, E2, "it is adopted");
    tap_is(find("c")->seq, 2, "the numbers go on");

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    tap_ok(view.chain.n == 1
           && ngx_ws_bus_chain_holds(&view.chain, E1, 2)
           && !ngx_ws_bus_chain_holds(&view.chain, E1, 3),
           "it is known where from");

    tap_is(put("c", E2, 3, "c"), NGX_OK, "the next message");
    is_text(history("c", 0, ANY, 0), "1:a 2:b 3:c", "the history goes on");

    tap_is(reset("c", E1, 7, 0, 0, 0), NGX_OK, "one that does not follow");
    tap_is(find("c")->seq, 7, "it begins there");
    is_text(history("c", 0, ANY, 0), "", "without a history");
    tap_is(put("c", E1, 8, "h"), NGX_OK, "the next message");

    is_text(heard(2, "c"), "follow-1111-0 1:a 2:b follow-2222-2 3:c "
            "reset-1111-7 8:h", "all in order");

    zone_ok("after resets");
}


/* several changes in a row, and what the zone needs to remember them */

static void
test_chain(void)
{
    ngx_uint_t                   i, n;
    ngx_ws_bus_chain_t           chain;
    ngx_ws_bus_remote_channel_t  ch;

    start();
    join(2, "c");

    put("c", E4, 1, "a");
    put("c", E4, 2, "b");
    n = nblocks;

    chain_of(&chain, 0);
    tap_is(reset_chain("c", E2, 0, &chain, 1), NGX_OK, "several at once");
    tap_is(nblocks, n + 1, "what is older is in memory of its own");

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    tap_ok(view.chain.n == 3
           && ngx_ws_bus_chain_holds(&view.chain, E4, 2)
           && !ngx_ws_bus_chain_holds(&view.chain, E4, 3)
           && ngx_ws_bus_chain_holds(&view.chain, E3, 4)
           && ngx_ws_bus_chain_holds(&view.chain, E1, 6),
           "a view has all of them");

    (void) ngx_ws_bus_remote_look(&test_zone, name_of("c"), &ch);
    tap_ok(ch.chain.n == 3 && ch.chain.past[2].epoch == E4
           && ch.chain.past[2].base == 2,
           "and so has the bridge");

    ngx_ws_bus_chain_prepend(&ch.chain, E2, 9);
    tap_is(reset_chain("c", E1, 7, &ch.chain, 0), NGX_OK, "another one");
    tap_is(nblocks, n + 1, "what was older is freed");

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    tap_ok(view.chain.n == 4 && view.chain.past[0].epoch == E2
           && view.chain.past[3].epoch == E4, "the chain grows");

    room = 0;
    tap_is(reset_chain("c", E2, 0, &chain, 1), NGX_OK, "without memory");
    room = ROOM_MAX;
    tap_is(nblocks, n, "nothing is kept of it");

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    tap_ok(view.chain.n == 1 && view.chain.past[0].epoch == E1,
           "but the last one");

    reset_chain("c", E4, 0, &chain, 1);
    become(BRIDGE);
    ngx_ws_bus_remote_deleted(&test_zone, name_of("c"), rings, &nrings);
    tap_is(nblocks, n, "a deletion frees it");

    ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
    tap_is(view.chain.n, 0, "and nothing is continued");

    /* as many as there may be */

    chain.n = 0;

    for (i = 1; i <= NGX_WS_BUS_CHAIN + 2; i++) {
        ngx_ws_bus_chain_prepend(&chain, 100 + i, i);
        reset_chain("c", 101 + i, i + 1, &chain, 0);

        ngx_ws_bus_channel_view(&test_zone, find("c"), &view);
        tap_each(view.chain.n == ngx_min(i, NGX_WS_BUS_CHAIN)
                 && view.chain.past[0].epoch == 100 + i
                 && view.chain.past[view.chain.n - 1].epoch
                    == 101 + i - view.chain.n, "%lu epochs", (u_long) i);
    }

    tap_all("as many as there may be");
    tap_is(nblocks, n + 1, "in one block");
    tap_ok(sizes[nblocks - 1] <= NGX_WS_BUS_CELL, "of a cell at most");

    part(2, find("c"));
    test_now += 2 * NGX_WS_BUS_IDLE_TIME * SECOND;

    for (sh->hand = 0; find("c") && sh->hand <= sh->mask; ) {
        become(2);
        ngx_ws_bus_zone_lock(&test_zone);
        (void) ngx_ws_bus_room_sweep_locked(&test_zone, 0);
        ngx_ws_bus_zone_unlock(&test_zone);
    }

    tap_ok(find("c") == NULL && nblocks < n, "a sweep frees it, too");

    zone_ok("after a chain");
}


static void
test_live(void)
{
    uint64_t  one, two;

    start();

    become(BRIDGE);
    one = ngx_ws_bus_remote_take(&test_zone);
    ngx_ws_bus_remote_floor(&test_zone, one);

    join(2, "c");
    tap_is(view.live, 0, "not live");

    tap_is(live("c", one), NGX_OK, "made live");
    tap_is(live("x", one), NGX_DECLINED, "nobody knows that");
    join(3, "c");
    tap_is(view.live, 1, "live for who comes");

    is_text(heard(2, "c"), "live", "who waits is told");
    is_text(heard(3, "c"), "", "who comes later is not");

    two = ngx_ws_bus_remote_take(&test_zone);
    tap_ok(two > one, "the next owner has a larger token");
    tap_is(is_live("c"), 1, "what the other has made live is so");

    ngx_ws_bus_remote_floor(&test_zone, two);
    tap_is(is_live("c"), 0, "until it is said that it is not");

    live("c", two);
    tap_is(is_live("c"), 1, "live again");

    ngx_ws_bus_remote_floor(&test_zone, one);
    tap_is(is_live("c"), 1, "an old owner cannot change that");

    ngx_ws_bus_remote_dead(&test_zone, name_of("c"));
    tap_is(is_live("c"), 0, "unsubscribed");

    sh->remote->open = 1;
    tap_is(is_live("c"), 1, "all are served");
    sh->remote->open = 0;

    zone_ok("after being live");
}


static void
test_wanted(void)
{
    char                          name[16];
    uint64_t                      cursor;
    ngx_uint_t                    i, n;
    ngx_ws_bus_remote_channel_t   ch;

    start();

    cursor = sh->remote->wanted;

    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_DONE,
           "nobody wants anything");

    join(2, "a");
    join(3, "b");
    put("b", E1, 1, "m");

    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_OK,
           "a request");
    tap_ok(ch.name.len == 1 && ch.name.data[0] == 'a' && ch.subscribers == 1
           && ch.epoch == 0 && ch.seq == 0 && !ch.live, "the channel");
    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_OK,
           "another one");
    tap_ok(ch.name.len == 1 && ch.name.data[0] == 'b' && ch.epoch == E1
           && ch.seq == 1, "with its position");
    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_DONE,
           "that is all");

    live("a", 1);
    cursor = sh->remote->wanted;
    join(3, "a");
    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_DONE,
           "what is live is not asked for");

    for (i = 0; i < NGX_WS_BUS_REMOTE_RING; i++) {
        sprintf(name, "n%lu", (u_long) i);
        join(2, name);
    }

    n = 0;

    while (ngx_ws_bus_remote_next(&test_zone, &cursor, &ch) == NGX_OK) {
        n++;
    }

    tap_is(n, NGX_WS_BUS_REMOTE_RING, "as many as are remembered");

    for (i = 0; i <= NGX_WS_BUS_REMOTE_RING; i++) {
        sprintf(name, "m%lu", (u_long) i);
        join(2, name);
    }

    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_DECLINED,
           "too many: all are to be looked at");
    tap_is(ngx_ws_bus_remote_next(&test_zone, &cursor, &ch), NGX_DONE,
           "once");

    zone_ok("after requests");
}


/* a name and what the bridge knows share a cell */

static void
test_names(void)
{
    char                          name[256];
    size_t                        len;
    ngx_str_t                     s;
    ngx_uint_t                    pieces[] = { 0, 0, 0, 0, 0 };
    ngx_ws_bus_node_t            *node;
    ngx_ws_bus_remote_channel_t   ch;

    start();

    for (len = 1; len <= 255; len++) {
        strcpy(name, long_name('a', len));
        node = join(2, name);
        pieces[cells(node)]++;

        ngx_memset(ngx_ws_bus_remote_node(node), 0xff,
                   sizeof(ngx_ws_bus_remote_node_t));
        ngx_ws_bus_node_name(node, &s);

        tap_each(s.len == len && memcmp(s.data, name, len) == 0
                 && find(name) == node, "%lu bytes", (u_long) len);

        live(name, 1);

        tap_each(ngx_ws_bus_remote_look(&test_zone, name_of(name), &ch)
                 == NGX_OK
                 && ch.live && ch.name.len == len
                 && memcmp(ch.name.data, name, len) == 0,
                 "%lu bytes are looked at", (u_long) len);

        part(2, node);
    }

    tap_all("names of all lengths");

    tap_ok(pieces[1] == 26 && pieces[2] == 120 && pieces[3] == 109,
           "a cell for 26 bytes, two for 146, three for all");
    zone_ok("names");
}


static void
test_walk(void)
{
    char                          name[16];
    u_char                        seen[300];
    ngx_int_t                     rc;
    ngx_uint_t                    i, j, n, bucket, skip, turns, twice;

    static ngx_ws_bus_remote_channel_t  chs[NGX_WS_BUS_REMOTE_WALK];

    start();

    for (i = 0; i < 300; i++) {
        sprintf(name, "n%lu", (u_long) i);
        join(2, name);
    }

    part(2, find("n7"));

    ngx_memzero(seen, sizeof(seen));
    twice = 0;
    turns = 0;
    bucket = 0;
    skip = 0;

    do {
        rc = ngx_ws_bus_remote_walk(&test_zone, &bucket, &skip, chs, &n);

        for (i = 0; i < n; i++) {
            chs[i].data[chs[i].name.len] = '\0';
            j = strtoul((char *) chs[i].data + 1, NULL, 10);
            twice += seen[j]++;
        }

    } while (rc == NGX_OK && turns++ < 100);

    n = 0;

    for (i = 0; i < 300; i++) {
        n += seen[i];
    }

    tap_is(rc, NGX_DONE, "the walk ends");
    tap_is(n, 299, "it has seen all that somebody listens to");
    tap_is(seen[7], 0, "and no others");
    tap_is(twice, 0, "each once");
}


static void
test_owner(void)
{
    uint64_t  token;

    start();
    become(BRIDGE);

    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 1, "there is no owner");

    token = ngx_ws_bus_remote_take(&test_zone);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 0, "there is one");

    become(2);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 0, "others see it");

    test_zone.generation++;
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 1,
           "it is not for a newer configuration");
    test_zone.generation--;

    test_alive[test_pids[BRIDGE]] = 0;
    ngx_ws_bus_zone_reap(&test_zone);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 1, "it was killed");

    enter(BRIDGE);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 1,
           "its successor is not the owner by that");

    token = ngx_ws_bus_remote_take(&test_zone);
    ngx_ws_bus_remote_leave(&test_zone, token - 1);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 0,
           "an old owner gives nothing up");

    ngx_ws_bus_remote_floor(&test_zone, token);
    join(2, "c");
    live("c", token);
    tap_is(is_live("c"), 1, "live");

    ngx_ws_bus_remote_leave(&test_zone, token);
    tap_is(ngx_ws_bus_remote_orphan(&test_zone), 1, "it has left");
    tap_is(is_live("c"), 0, "nothing is live then");
}


static void
test_deleted(void)
{
    start();

    tap_is(ngx_ws_bus_remote_deleted(&test_zone, name_of("c"), rings,
                                     &nrings),
           NGX_DECLINED, "nobody knows the channel");

    join(2, "c");
    put("c", E1, 1, "a");
    live("c", 1);

    become(BRIDGE);
    tap_is(ngx_ws_bus_remote_deleted(&test_zone, name_of("c"), rings,
                                     &nrings), NGX_OK, "deleted");

    is_text(heard(2, "c"), "follow-1111-0 1:a live deleted-0", "is told");
    tap_ok(find("c")->epoch == 0 && find("c")->seq == 0, "nothing is known");
    tap_is(is_live("c"), 0, "whoever comes asks");
    tap_is(put("c", E2, 1, "b"), NGX_OK, "a new epoch begins");
    is_text(heard(2, "c"), "follow-2222-0 1:b", "and is told");

    zone_ok("after a deletion");
}


/* the bridge knows a channel that is swept, and made again */

static void
test_swept(void)
{
    uint64_t  id;

    start();

    join(2, "c");
    put("c", E1, 1, "a");
    live("c", 1);
    id = find("c")->id;
    part(2, find("c"));

    test_now += 2 * NGX_WS_BUS_IDLE_TIME * SECOND;

    for (sh->hand = 0; find("c") && sh->hand <= sh->mask; ) {
        become(2);
        ngx_ws_bus_zone_lock(&test_zone);
        (void) ngx_ws_bus_room_sweep_locked(&test_zone, 0);
        ngx_ws_bus_zone_unlock(&test_zone);
    }

    tap_ok(find("c") == NULL, "what nobody listens to goes");
    tap_is(put("c", E1, 2, "b"), NGX_DECLINED, "its messages are for nobody");

    join(2, "c");
    tap_ok(find("c")->id != id && !view.live, "it is made anew, not live");
    tap_is(put("c", E1, 2, "b"), NGX_AGAIN, "and has a gap");

    zone_ok("after a sweep");
}


/*
 * The bridge in the order of a remote log that loses messages, and begins
 * anew: what subscribers read has no silent gap.
 */

static void
test_random(void)
{
    uint64_t     epoch, seq, next, n;
    ngx_uint_t   i, j, failed;
    reader_t    *r;

    zone_create(2048, 16);
    enter(BRIDGE);
    enter(2);
    join(2, "c");

    r = &readers[2];
    epoch = 0;
    seq = 0;
    next = 1;
    failed = 0;

    for (i = 0; i < 20000; i++) {

        switch (next_random(12)) {

        case 0:
            reset("c", E1 + i, next - 1 + 5, 0, 0, 0);
            next += 5;
            break;

        case 1:
            n = find("c")->seq + next_random(4);

            if (lose("c", n) == NGX_OK) {
                next = n + 1;
            }

            break;

        case 2:
            put("c", 0, 0, "plain");
            break;

        case 3:
            reset("c", E1 + i, 0, find("c")->epoch, find("c")->seq, 1);
            break;

        default:

            if (put("c", find("c")->epoch ? find("c")->epoch : E1,
                    find("c")->seq + next_random(3), "m") == NGX_OK)
            {
                next = find("c")->seq + 1;
            }
        }

        if (next_random(3)) {
            continue;
        }

        become(2);
        r->lapped = 0;
        read_slot(2);

        if (r->lapped) {
            seq = find("c")->seq;
            continue;
        }

        for (j = 0; j < ngot; j++) {
            ngx_ws_bus_remote_record_t  rr;

            memcpy(&rr, got[j].text, sizeof(rr));

            switch (got[j].rec.type) {

            case NGX_WS_BUS_REC_LOST:
            case NGX_WS_BUS_REC_RESET:

                if (got[j].rec.type == NGX_WS_BUS_REC_RESET && rr.follows) {
                    failed += (rr.seq != seq);
                }

                seq = rr.seq;
                break;

            case NGX_WS_BUS_REC_MESSAGE:

                if (got[j].rec.seq) {
                    failed += (got[j].rec.seq != seq + 1);
                    seq = got[j].rec.seq;
                }

                break;
            }
        }
    }

    (void) epoch;

    tap_is(failed, 0, "no gap that is not told");
    zone_ok("after random operations");
}


/*
 * The bridge is killed at any instruction.
 */

typedef struct {
    const char  *name;
    void       (*run)(void);
    const char  *undone;     /* what the others read then */
    const char  *done;
    uint64_t     epoch;      /* and the channel's state, if it was done */
    uint64_t     seq;
    ngx_uint_t   live;
} crash_t;


static crash_t   *crash;
static uint64_t   crash_head;


static void
crash_place(void)
{
    put("c", E1, 3, "new");
}


static void
crash_plain(void)
{
    put("c", 0, 0, "new");
}


static void
crash_first(void)
{
    put("first", E2, 1, "new");
}


static void
crash_lost(void)
{
    lose("c", 9);
}


static void
crash_reset(void)
{
    reset("c", E2, 7, 0, 0, 0);
}


static void
crash_follow(void)
{
    ngx_ws_bus_chain_t  chain;

    chain_of(&chain, 1);
    reset_chain("c", E2, 0, &chain, 1);
}


static void
crash_live(void)
{
    live("c", 5);
}


static void
crash_deleted(void)
{
    become(BRIDGE);
    ngx_ws_bus_remote_deleted(&test_zone, name_of("c"), rings, &nrings);
}


static void
crash_join(void)
{
    join(BRIDGE, "c");
}


static void
crash_take(void)
{
    become(BRIDGE);
    ngx_ws_bus_remote_floor(&test_zone, ngx_ws_bus_remote_take(&test_zone));
}


static crash_t  crashes[] = {

    { "killed while it places a message", crash_place,
      "", "3:new", E1, 3, 0 },
    { "killed while it places one that is not kept", crash_plain,
      "", "0:new", E1, 2, 0 },
    { "killed while it places the first message", crash_first,
      "", "", E1, 2, 0 },
    { "killed while it tells of a loss", crash_lost,
      "", "lost-9", E1, 9, 0 },
    { "killed while it begins anew", crash_reset,
      "", "reset-2222-7", E2, 7, 0 },
    { "killed while it takes another epoch", crash_follow,
      "", "follow-2222-2", E2, 2, 0 },
    { "killed while it makes a channel live", crash_live,
      "", "live", E1, 2, 1 },
    { "killed while it deletes a channel", crash_deleted,
      "", "deleted-0", 0, 0, 0 },
    { "killed while it asks for a channel", crash_join,
      "", "", E1, 2, 0 },
    { "killed while it takes the bridge", crash_take,
      "", "", E1, 2, 0 }
};


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
    uint64_t              pos, n;
    ngx_uint_t            done;
    const char           *text;
    ngx_ws_bus_node_t    *c;
    ngx_ws_bus_record_t   rec;

    test_alive[test_pids[BRIDGE]] = 0;
    arena->lock = 0;

    become(2);

    ngx_ws_bus_zone_lock(&test_zone);
    ngx_ws_bus_zone_unlock(&test_zone);

    check_zone(crash->name, 1);

    c = find("c");
    pos = crash_head;

    done = (*crash->done
            && ngx_ws_bus_log_read(&sh->log, &pos, sh->log.head, &rec,
                                   &payload) == NGX_OK);

    if (done || *crash->done == '\0') {
        tap_each(c->epoch == crash->epoch && c->seq == crash->seq,
                 "%s: epoch %lx, seq %lu", crash->name, (u_long) c->epoch,
                 (u_long) c->seq);

    } else {
        tap_each(c->epoch == E1 && c->seq == 2,
                 "%s: it has not happened, epoch %lx, seq %lu", crash->name,
                 (u_long) c->epoch, (u_long) c->seq);
    }

    tap_each(is_live("c") == (done && crash->live), "%s: live", crash->name);

    ngx_ws_bus_channel_view(&test_zone, c, &view);

    n = (crash->run == crash_follow) ? 7 : 6;

    if (done && (crash->run == crash_reset || crash->run == crash_deleted)) {
        tap_each(view.chain.n == 0, "%s: nothing is continued", crash->name);

    } else {
        tap_each(view.chain.n == 3 && view.chain.past[0].base == (done ? n : 6)
                 && view.chain.past[1].epoch == E3
                 && view.chain.past[2].epoch == E4
                 && view.chain.past[2].base == 2,
                 "%s: what it continues", crash->name);
    }

    text = heard(2, "c");
    each_text(text, done ? crash->done : crash->undone, crash->name);
    text = heard(3, "c");
    each_text(text, done ? crash->done : crash->undone, crash->name);

    /* its successor repeats it, and goes on */

    enter(BRIDGE);
    crash->run();

    check_zone(crash->name, 0);

    tap_each(put("c", find("c")->epoch ? find("c")->epoch : E1,
                 find("c")->seq + 1, "after") == NGX_OK,
             "%s: the next one goes on", crash->name);

    text = heard(2, "c");
    tap_each(strstr(text, ":after") != NULL, "%s: and is read: %s",
             crash->name, text);
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
    long                n;
    ngx_uint_t          i;
    ngx_ws_bus_chain_t  chain;

    for (i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) {
        crash = &crashes[i];

        zone_share(SMALL, 2048, 4, 0);

        enter(BRIDGE);
        enter(2);
        enter(3);

        join(2, "c");
        join(3, "c");
        join(2, "first");

        put("c", E2, 1, "one");
        put("c", E2, 2, "two");

        /* and what it continues */

        chain_of(&chain, 0);
        chain.past[0].epoch = E2;
        reset_chain("c", E1, 0, &chain, 1);

        sh->remote->floor = 3;

        read_slot(2);
        read_slot(3);

        crash_head = sh->log.head;

        become(BRIDGE);

        n = step_through(arena, arena->size, crash_victim, crash_check, NULL);

        if (n == 0) {
            tap_ok(1, "%s # SKIP no ptrace", crash->name);
            return;
        }

        tap_each(n > 2, "%ld states on the way", n);
        tap_all(crash->name);
    }
}
