
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "bus.h"


static void test_zone_init(void);
static void test_join(void);
static void test_publish(void);
static void test_sequence(void);
static void test_history(void);
static void test_delete(void);
static void test_once(void);
static void test_once_race(void);
static void test_once_limit(void);
static void test_acks(void);
static void test_slots(void);
static void test_names(void);
static void test_sweep(void);
static void test_pressure(void);
static void pressure_of(const char *name, ngx_uint_t subscribed);
static void test_failures(void);
static void test_random(size_t size, ngx_uint_t buckets);


int
main(void)
{
    /* a walk over a broken list may never end */

    alarm(300);

    test_zone_init();
    test_join();
    test_publish();
    test_sequence();
    test_history();
    test_delete();
    test_once();
    test_once_race();
    test_once_limit();
    test_acks();
    test_slots();
    test_names();
    test_sweep();
    test_pressure();
    test_failures();

    test_random(4096, 16);
    test_random(4096, 1);
    test_random(30000, 4);

    zone_free();

    return tap_done();
}


static void
test_zone_init(void)
{
    ngx_int_t               rc;
    ngx_uint_t              i;
    ngx_ws_bus_zone_t       old, next;
    ngx_ws_bus_doorbells_t  *d;

    for (i = 0; i < 20; i++) {
        zone_prepare();
        fail_at = i;

        rc = ngx_ws_bus_zone_init(&test_shm, NULL);

        if (rc == NGX_OK) {
            break;
        }

        tap_each(rc == NGX_ERROR && i < 7, "allocation %lu", (u_long) i);
    }

    fail_at = NO_FAIL;

    tap_is(i, 7, "a zone needs memory for each part");
    tap_all("and is refused without");

    sh = test_zone.sh;
    check_zone("a new zone", 0);
    tap_ok(((sh->mask + 1) & sh->mask) == 0, "a power of two of buckets");
    tap_is(sh->log.size, ngx_ws_bus_zone_log_size(test_shm.shm.size),
           "a log of its size");
    tap_ok(sh->max_onces > 0, "room for keys");

    enter(1);
    join(1, "c");
    keep("c", "one");

    /* over a reload */

    old = test_zone;
    next = test_zone;
    next.sh = NULL;
    next.doorbells = NULL;
    next.generation = 0;
    test_shm.data = &next;

    d = old.doorbells;
    i = d->n;

    tap_is(ngx_ws_bus_zone_init(&test_shm, &old), NGX_OK, "a reload");
    tap_ok(next.sh == sh && next.doorbells == d && next.generation == 1,
           "the new generation has the same memory and doorbells");

    ngx_ws_bus_zone_cleanup(&next);
    tap_ok(d->refs == 1 && d->n == i, "a refused one gives them back");

    is_text(history("c", 0, ANY, 0), "1:one", "nothing has changed");
    zone_ok("the zone after a reload");
}


static void
test_join(void)
{
    uint64_t            id;
    ngx_ws_bus_node_t  *node, *same, *other;

    zone_create(4096, 4);
    enter(1);
    enter(2);

    node = join(1, "c");

    tap_ok(node && node == find("c"), "a channel is made");
    tap_ok(view.id == node->id && view.id && view.epoch == node->epoch
           && view.seq == 0 && view.last == NGX_WS_BUS_LOG_NONE
           && view.head == 0, "it is empty");
    tap_is(interest(node, 1), 1, "one subscriber");

    same = join(1, "c");
    tap_ok(same == node && interest(node, 1) == 2, "a second one");

    same = join(2, "c");
    tap_ok(same == node && interest(node, 2) == 1 && interest(node, 1) == 2,
           "one of another process");

    other = join(2, "cc");
    tap_ok(other != node && other->id != node->id && interest(other, 2) == 1,
           "of another channel");

    tap_ok(join(2, "")->len == 0 && find(""), "the empty name is a name");

    id = node->id;

    part(1, node);
    tap_ok(interest(node, 1) == 1 && interest(node, 2) == 1,
           "one leaves, one stays");

    part(1, node);
    tap_ok(interest(node, 1) == 0 && interest(node, 2) == 1,
           "the other process keeps its own");

    part(2, node);
    tap_ok(node->interest == NULL && find("c") == node,
           "the channel stays for a while");

    tap_ok(join(1, "c") == node && view.id == id, "and is found again");

    part(1, node);
    part(1, node);
    tap_ok(node->interest == NULL, "leaving once too often does nothing");

    zone_ok("joining and leaving");
}


static void
test_publish(void)
{
    uint64_t            pos;
    ngx_ws_bus_node_t  *node, *other;

    zone_create(4096, 4);
    enter(1);
    enter(2);
    enter(3);

    tap_is(publish("c", "lost", 0, 0, NULL), NGX_OK, "to nobody");
    tap_ok(find("c") == NULL && sh->log.head == 0 && place.seq == 0
           && place.subscribers == 0 && nrings == 0, "leaves no trace");

    node = join(1, "c");
    join(1, "c");
    join(2, "c");
    other = join(3, "d");

    become(3);
    tap_is(publish("c", "hello", 0, 0, NULL), NGX_OK, "to a channel");
    tap_ok(place.subscribers == 3 && place.seq == 0 && !place.repeated,
           "of three subscribers");
    tap_ok(nrings == 2 && rings[0] + rings[1] == 3 && rings[0] != rings[1],
           "of two processes, which are to be rung");
    tap_ok(sh->slots[1]->pending && sh->slots[2]->pending
           && !sh->slots[3]->pending, "nobody else is");

    test_flags = NGX_WS_BUS_REC_BINARY;
    publish("c", "", 0, 0, NULL);
    test_flags = 0;

    tap_ok(nrings == 0 && place.subscribers == 3,
           "whoever has not looked yet is not rung again");

    is_text(read_channel(1, node), "0:hello 0:", "one reads them");
    tap_ok(got[0].rec.time == test_now && got[0].rec.flags == 0
           && got[0].rec.prev == NGX_WS_BUS_LOG_NONE
           && got[1].rec.flags == NGX_WS_BUS_REC_BINARY, "as they were");
    is_text(read_channel(1, node), "", "once");

    pos = sh->log.head;
    publish("c", "again", 0, 0, NULL);
    tap_ok(nrings == 1 && rings[0] == 1 && sh->slots[1]->from == pos
           && sh->slots[2]->from == 0,
           "it is rung for what comes then, the other one is not");

    is_text(read_channel(2, node), "0:hello 0: 0:again",
            "the other one reads all");
    is_text(read_channel(1, node), "0:again", "the first one the rest");
    tap_is(ngot, 1, "and only that");

    /* what is for others is stepped over */

    publish("d", "for 3", 0, 0, NULL);
    publish("d", "for 3", 0, 0, NULL);
    publish("c", "for 1 and 2", 0, 0, NULL);
    publish("d", "for 3", 0, 0, NULL);

    is_text(read_channel(3, other), "0:for 3 0:for 3 0:for 3",
            "a third one reads its own");
    is_text(read_channel(1, node), "0:for 1 and 2", "the first one its own");
    tap_is(got[0].rec.channel, node->id, "without what came before");

    /* of processes that are gone */

    is_text(read_channel(2, node), "0:for 1 and 2", "and the second");
    test_alive[test_pids[2]] = 0;

    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 3 && nrings == 2,
           "a killed process counts until it is missed");

    become(1);
    tap_is(ngx_ws_bus_zone_reap(&test_zone), 1, "it is missed");
    tap_is(ngx_ws_bus_zone_reap(&test_zone), 0, "once");

    read_slot(1);
    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 2 && nrings == 1 && rings[0] == 1,
           "then it does not");

    enter(2);
    tap_is(interest(node, 2), 0, "its successor has no subscribers");

    publish("c", "x", 0, 0, NULL);
    tap_ok(place.subscribers == 2 && nrings == 0, "and is not rung");

    tap_is(publish("c", "0123456789012345678901234567890123456789", 0, 0,
                   NULL), NGX_OK, "a message");
    ngx_ws_bus_log_init(&sh->log, sh->log.data, 88);
    tap_is(publish("c", "0123456789012345678901234567890123456789", 0, 0,
                   NULL), NGX_ERROR, "a message larger than the log");
    tap_is(publish("e", "0123456789012345678901234567890123456789", 1, 0,
                   "key"), NGX_ERROR, "and with a key");
    tap_ok(publish("e", "0", 1, 0, "key") == NGX_OK && !place.repeated,
           "which is not known afterwards");

    zone_ok("publishing");
}


static void
test_sequence(void)
{
    uint64_t            first;
    ngx_ws_bus_node_t  *c, *d;

    zone_create(4096, 1);
    enter(1);
    c = join(1, "c");
    d = join(1, "d");

    tap_is(keep("c", "one"), NGX_OK, "a message is kept");
    tap_ok(place.seq == 1 && place.epoch == c->epoch, "as the first one");

    first = c->last;

    keep("d", "one");
    publish("c", "gone", 0, 0, NULL);
    keep("c", "two");

    tap_ok(place.seq == 2 && c->seq == 2 && d->seq == 1,
           "each channel counts its own");

    is_text(read_channel(1, c), "1:one 0:gone 2:two", "as readers see it");
    tap_ok(got[0].rec.prev == NGX_WS_BUS_LOG_NONE
           && got[3].rec.prev == first, "each knows the one before it");

    is_text(history("c", 0, ANY, 0), "1:one 2:two", "as the history has it");
    is_text(history("d", 0, ANY, 0), "1:one", "and the other channel's");

    tap_ok(keep("e", "one") == NGX_OK && find("e") && place.seq == 1
           && place.subscribers == 0, "a kept message makes a channel");

    zone_ok("numbering");
}


static void
test_history(void)
{
    char                   text[16], want[GOT * 8], *p;
    ngx_uint_t             i;
    ngx_ws_bus_view_t      v;
    ngx_ws_bus_state_t     state;
    ngx_ws_bus_history_t   h;

    zone_create(4096, 1);
    enter(1);
    join(1, "c");

    is_text(history("c", 0, ANY, 0), "", "nothing is kept");

    for (i = 1; i <= 5; i++) {
        sprintf(text, "m%lu", (u_long) i);
        keep("c", text);
        keep("d", text);
        test_now += SECOND;
    }

    is_text(history("c", 0, ANY, 0), "1:m1 2:m2 3:m3 4:m4 5:m5", "all");
    is_text(history("c", 3, ANY, 0), "4:m4 5:m5", "after one");
    is_text(history("c", 5, ANY, 0), "", "after the last");
    is_text(history("c", 99, ANY, 0), "", "after what is to come");
    is_text(history("c", 0, 2, 0), "4:m4 5:m5", "the newest two");
    is_text(history("c", 2, 2, 0), "4:m4 5:m5", "of three, the newest two");
    is_text(history("c", 4, 2, 0), "5:m5", "of one");
    is_text(history("c", 0, 0, 0), "", "none");
    is_text(history("c", 0, ANY, 2 * SECOND), "4:m4 5:m5",
            "at most two seconds old");
    is_text(history("c", 0, ANY, 2 * SECOND - 1), "5:m5", "and a bit less");
    is_text(history("c", 0, ANY, 1), "", "and hardly any");
    is_text(history("c", 0, ANY, 3600 * SECOND), "1:m1 2:m2 3:m3 4:m4 5:m5",
            "and an hour");

    v = view;
    keep("c", "m6");
    is_text(history_of(&v, 3, ANY, 0), "4:m4 5:m5", "up to the view");
    is_text(history("c", 3, ANY, 0), "4:m4 5:m5 6:m6", "and now");

    tap_is(ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 0,
                                    &state), NGX_OK, "the state");
    tap_ok(state.subscribers == 1 && state.seq == 6 && state.oldest == 1
           && state.messages == 6 && state.epoch == v.epoch, "of a channel");

    ngx_ws_bus_channel_state(&test_zone, name_of("c"), 4, 0, &state);
    tap_ok(state.seq == 6 && state.oldest == 3 && state.messages == 4,
           "within the count");

    ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 1, &state);
    tap_ok(state.seq == 6 && state.oldest == 6 && state.messages == 1,
           "within the age");

    test_now += 10;
    ngx_ws_bus_channel_state(&test_zone, name_of("c"), ANY, 1, &state);
    tap_ok(state.seq == 6 && state.oldest == 0 && state.messages == 0,
           "nothing");

    tap_is(ngx_ws_bus_channel_state(&test_zone, name_of("x"), ANY, 0,
                                    &state), NGX_DECLINED,
           "of a channel that is not");

    v = view;
    tap_is(ngx_ws_bus_channel_peek(&test_zone, name_of("x"), &v),
           NGX_DECLINED, "nor is there a view of it");
    tap_is(ngx_ws_bus_channel_peek(&test_zone, name_of("c"), &v), NGX_OK,
           "of one that is, there is");
    tap_ok(v.id == view.id && v.epoch == view.epoch && v.seq == 6
           && v.last == find("c")->last && v.head == sh->log.head,
           "as of now");

    /* many */

    zone_create(30000, 1);
    enter(1);
    p = want;

    for (i = 1; i <= 300; i++) {
        keep("c", "m");
        p += sprintf(p, "%s%lu:m", i > 1 ? " " : "", (u_long) i);
    }

    each_text(history("c", 0, ANY, 0), want, "300 messages");

    for (i = 0; i < 10; i++) {
        alloc_fail_at = i;

        if (strcmp(history("c", 0, ANY, 0), "error") != 0) {
            break;
        }
    }

    tap_each(i == 1 && alloc_fail_at == 0, "%lu allocations", (u_long) i);
    alloc_fail_at = NO_FAIL;
    tap_all("a history's memory");

    /* forgotten by the log: what is left is contiguous up to the newest */

    zone_create(1024, 1);
    enter(1);

    for (i = 1; i <= 200; i++) {
        keep("c", "m");

        if (i % 3 == 0) {
            publish("d", "some other message", 1, 0, NULL);
        }

        ngx_ws_bus_channel_view(&test_zone, find("c"), &view);

        if (ngx_ws_bus_channel_history(&test_zone, &view, 0, ANY, 0, ANY,
                                       &h, &test_log)
            != NGX_OK)
        {
            break;
        }

        tap_each(h.n > 5 || h.n == i, "%lu of %lu", (u_long) h.n, (u_long) i);
        tap_each(h.first == i - h.n + 1, "first of %lu", (u_long) i);
        tap_each(h.pos[0] >= sh->log.tail, "oldest of %lu", (u_long) i);
        tap_each(h.n == i
                 || h.pos[0] < sh->log.tail + 2 * 80 + 80,
                 "nothing is forgotten too early");

        free(h.pos);
    }

    tap_all("a history that the log forgets");

    v = view;

    for (i = 0; i < 20; i++) {
        keep("d", "m");
    }

    is_text(history_of(&v, 0, ANY, 0), "", "a view whose messages are gone");
    is_text(history("c", 0, ANY, 0), "", "a channel whose messages are gone");
    tap_is(find("c")->seq, 200, "it still counts");
    keep("c", "next");
    is_text(history("c", 0, ANY, 0), "201:next", "and goes on");

    zone_ok("histories");
}


static void
test_delete(void)
{
    uint64_t            epoch, id, head;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 1);
    enter(1);
    enter(2);

    tap_is(ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings,
                                     &nrings), NGX_DECLINED,
           "there is no such channel");
    tap_is(nrings, 0, "nobody is rung");

    node = join(1, "c");
    join(2, "c");
    keep("c", "one");
    keep("c", "two");

    epoch = node->epoch;
    id = node->id;

    read_slot(1);
    head = sh->log.head;

    tap_is(ngx_ws_bus_channel_delete(&test_zone, name_of("c"), rings,
                                     &nrings), NGX_OK, "a channel is deleted");
    tap_ok(nrings == 1 && rings[0] == 1 && sh->slots[1]->from == head,
           "its subscribers are rung");
    tap_ok(find("c") == node && node->id == id && node->epoch != epoch
           && node->seq == 0, "it starts anew");

    ngx_ws_bus_channel_view(&test_zone, node, &view);
    is_text(history_of(&view, 0, ANY, 0), "", "without history");

    keep("c", "three");
    tap_ok(place.seq == 1 && place.epoch == node->epoch, "from number 1");
    is_text(history("c", 0, ANY, 0), "1:three", "with a history of its own");

    is_text(read_channel(1, node), "deleted 1:three", "as one reads");
    tap_is(got[0].rec.seq, node->epoch, "with the new epoch");
    is_text(read_channel(2, node), "1:one 2:two deleted 1:three",
            "and the other");

    zone_ok("a deletion");
}


static void
test_once(void)
{
    uint64_t            head, epoch;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 1);
    enter(1);
    node = join(1, "c");
    epoch = node->epoch;

    publish("c", "one", 1, 0, "k1");
    tap_ok(place.seq == 1 && !place.repeated && place.subscribers == 1,
           "a publication with a key");

    head = sh->log.head;
    join(1, "c");
    read_slot(1);

    tap_is(publish("c", "another", 1, 0, "k1"), NGX_OK, "its repetition");
    tap_ok(place.repeated && place.seq == 1 && place.epoch == epoch
           && place.subscribers == 1, "has the same answer");
    tap_ok(sh->log.head == head && nrings == 0, "and does nothing");

    publish("c", "two", 1, 0, "k2");
    tap_ok(!place.repeated && place.seq == 2, "another key is another one");

    publish("c", "three", 1, 0, NULL);
    tap_ok(!place.repeated && place.seq == 3, "and so is none");

    publish("c", "four", 0, 0, "k4");
    tap_ok(!place.repeated && place.seq == 0 && place.subscribers == 2,
           "without history");
    publish("c", "four", 0, 0, "k4");
    tap_ok(place.repeated && place.seq == 0 && place.subscribers == 2,
           "it is known as well");

    publish("nobody", "five", 0, 0, "k5");
    tap_ok(!place.repeated && find("nobody") == NULL, "to nobody");
    publish("nobody", "five", 0, 0, "k5");
    tap_ok(place.repeated && find("nobody") == NULL, "the same");

    is_text(history("c", 0, ANY, 0), "1:one 2:two 3:three",
            "each has been done once");

    zone_ok("keys");

    test_now += NGX_WS_BUS_ONCE_TIME - 1;
    publish("c", "again", 1, 0, "k1");
    tap_ok(place.repeated && place.seq == 1, "for five minutes");

    test_now += 1;
    publish("c", "again", 1, 0, "k1");
    tap_ok(!place.repeated && place.seq == 4, "then it is new");
    publish("c", "again", 1, 0, "k1");
    tap_ok(place.repeated && place.seq == 4, "and known again");

    test_now += 2 * NGX_WS_BUS_ONCE_TIME;
    publish("c", "other", 1, 0, "k9");
    zone_ok("keys after five minutes");
    tap_is(sh->nonces, 1, "the old ones have made way");
}


/* another worker has the same request, and is faster by a moment */

static void
test_once_race_hook(void)
{
    ngx_ws_bus_place_t  mine;

    mine = place;
    test_now += 10;

    publish("c", "one", 1, 0, "key");
    test_now -= 10;

    if (place.repeated) {
        bug("repeated");
    }

    place = mine;
}


static void
test_once_race(void)
{
    zone_create(4096, 1);
    enter(1);
    join(1, "c");

    on_lock = test_once_race_hook;
    publish("c", "one", 1, 0, "key");

    tap_ok(place.repeated && place.seq == 1,
           "a later clock of an earlier one does no harm");
    is_text(history("c", 0, ANY, 0), "1:one", "it is done once");
    zone_ok("two with a key at once");
}


static const char *
numbered(const char *prefix, ngx_uint_t n)
{
    static char  name[32];

    sprintf(name, "%s%lu", prefix, (u_long) n);

    return name;
}


static void
test_once_limit(void)
{
    char        key[NGX_WS_BUS_ONCE_LEN];
    ngx_uint_t  i;

    zone_create(4096, 4);
    enter(1);
    join(1, "c");
    sh->max_onces = 10;

    for (i = 0; i < 100; i++) {
        sprintf(key, "%lu", (u_long) i);

        tap_each(publish("c", "m", 1, 0, key) == NGX_OK && !place.repeated,
                 "key %lu", (u_long) i);
        tap_each(sh->nonces <= 10, "%lu keys", (u_long) sh->nonces);
        tap_each(publish("c", "m", 1, 0, key) == NGX_OK && place.repeated,
                 "key %lu again", (u_long) i);
    }

    tap_each(find("c")->seq == 100, "each once");
    check_zone("many keys", 0);
    tap_all("no more keys than there may be");
}


/* the positions of durable consumers */

static u_char *
consumer(const char *name)
{
    static u_char  key[NGX_WS_BUS_ONCE_LEN];

    ngx_memzero(key, sizeof(key));
    memcpy(key, name, strlen(name));

    return key;
}


static ngx_uint_t
acked(const char *name, uint64_t epoch, uint64_t seq)
{
    uint64_t  e, s;

    return ngx_ws_bus_once_acked(&test_zone, consumer(name), &e, &s) == NGX_OK
           && e == epoch && s == seq;
}


static void
test_acks(void)
{
    char        key[NGX_WS_BUS_ONCE_LEN];
    uint64_t    epoch, seq;
    ngx_uint_t  i;

    zone_create(4096, 4);
    enter(1);

    tap_is(ngx_ws_bus_once_acked(&test_zone, consumer("a"), &epoch, &seq),
           NGX_DECLINED, "a consumer without a position");

    tap_is(ngx_ws_bus_once_ack(&test_zone, consumer("a"), 7, 10), NGX_OK,
           "it acknowledges");
    ngx_ws_bus_once_ack(&test_zone, consumer("b"), 7, 3);

    tap_ok(acked("a", 7, 10) && acked("b", 7, 3), "each its own");

    ngx_ws_bus_once_ack(&test_zone, consumer("a"), 7, 12);
    tap_ok(acked("a", 7, 12), "it goes on");

    ngx_ws_bus_once_ack(&test_zone, consumer("a"), 7, 11);
    tap_ok(acked("a", 7, 12), "and never back");

    ngx_ws_bus_once_ack(&test_zone, consumer("a"), 8, 1);
    tap_ok(acked("a", 8, 1), "but in another epoch");

    zone_ok("positions");

    test_now += NGX_WS_BUS_ACK_TIME - 1;
    tap_ok(acked("a", 8, 1), "it is known for a week");

    ngx_ws_bus_once_ack(&test_zone, consumer("a"), 8, 2);
    test_now += NGX_WS_BUS_ACK_TIME - 1;
    tap_ok(acked("a", 8, 2) && !acked("b", 7, 3), "after the last time");

    /* keys make way, positions as long as there are keys */

    zone_create(4096, 4);
    enter(1);
    sh->max_onces = 20;

    for (i = 0; i < 10; i++) {
        sprintf(key, "c%lu", (u_long) i);
        ngx_ws_bus_once_ack(&test_zone, consumer(key), 1, i + 1);
    }

    for (i = 0; i < 100; i++) {
        sprintf(key, "k%lu", (u_long) i);
        publish("c", "m", 0, 0, key);
    }

    for (i = 0; i < 10; i++) {
        sprintf(key, "c%lu", (u_long) i);
        tap_each(acked(key, 1, i + 1), "consumer %lu", (u_long) i);
    }

    for (i = 0; i < 100; i++) {
        sprintf(key, "d%lu", (u_long) i);

        tap_each(ngx_ws_bus_once_ack(&test_zone, consumer(key), 1, 1)
                 == NGX_OK && acked(key, 1, 1), "consumer %lu", (u_long) i);
        tap_each(sh->nonces <= 20, "%lu entries", (u_long) sh->nonces);
    }

    check_zone("many consumers", 0);
    tap_all("keys make way, then positions");

    fail_at = 0;
    sh->max_onces = 1000;
    tap_ok(ngx_ws_bus_once_ack(&test_zone, consumer("last"), 1, 1) == NGX_OK
           && acked("last", 1, 1), "also when there is no memory");
    zone_ok("positions in a full zone");
}


static void
test_slots(void)
{
    ngx_uint_t          i;
    ngx_ws_bus_node_t  *c, *d;

    zone_create(4096, 4);

    enter(5);
    tap_is(sh->nslots, 6, "the highest slot is known");
    enter(2);
    tap_is(sh->nslots, 6, "and stays");

    c = join(2, "c");
    d = join(2, "d");
    join(5, "d");

    sh->slots[2]->stats.subscriptions = 2;
    sh->slots[2]->stats.connections = 2;
    sh->slots[2]->stats.messages_in = 7;

    enter(2);

    tap_ok(interest(c, 2) == 0 && interest(d, 2) == 0 && interest(d, 5) == 1,
           "a successor frees what was left, and nothing else");
    tap_ok(sh->slots[2]->stats.subscriptions == 0
           && sh->slots[2]->stats.connections == 0, "gauges start at 0");
    tap_is(sh->slots[2]->stats.messages_in, 7, "counters go on");
    tap_ok(sh->slots[2]->pid == test_pids[2], "it has the slot");

    zone_ok("a successor");

    become(2);
    ngx_ws_bus_zone_leave(&test_zone);

    tap_ok(sh->slots[2]->pid == 0 && sh->slots[2]->clean, "it leaves");

    enter(2);
    c = join(2, "c");
    sh->slots[2]->stats.subscriptions = 1;
    ngx_ws_bus_zone_leave(&test_zone);

    tap_ok(!sh->slots[2]->clean, "it leaves in a hurry");
    become(5);
    publish("c", "m", 0, 0, NULL);
    tap_ok(place.subscribers == 0 && nrings == 0, "nobody rings it");

    enter(2);
    tap_is(interest(c, 2), 0, "and the next one cleans up");

    /* without memory */

    become(3);
    room = 0;
    tap_ok(ngx_ws_bus_zone_enter(&test_zone, &test_log) == NULL
           && sh->slots[3] == NULL, "no memory for a slot");

    zone_ok("slots");

    /* for a worker all channels make way that can, if need be */

    zone_room = 8 * 1024 * 1024;
    zone_create(4096, 2048);
    zone_room = 256 * 1024;

    enter(1);
    room = sizeof(ngx_ws_bus_slot_t);

    for (i = 0; keep(numbered("h", i), "m") == NGX_OK && sh->channels == i + 1;
         i++)
    {
        /* void */
    }

    tap_ok(i > 1 && room < sizeof(ngx_ws_bus_node_t), "a full zone");

    enter(3);
    tap_ok(sh->slots[3] && sh->slots[3]->pid == test_pids[3],
           "another worker has a slot");
    tap_is(sh->channels, 0, "in the place of all channels");

    zone_ok("a worker in a full zone");

    /* those that are expected have one beforehand */

    test_pages = 64;
    zone_create(4096, 4);
    test_pages = 1;

    for (i = 0; i < SLOTS; i++) {
        tap_each(sh->slots[i] && sh->slots[i]->clean, "slot %lu", (u_long) i);
    }

    tap_ok(sh->slots[SLOTS] == NULL, "not more than two generations");
    room = 0;
    enter(4);
    tap_all("workers have their slots from the start");
    tap_is(sh->nslots, 5, "which are not taken yet");
    tap_is(sh->max_onces, 64 * 4096 / 2 / 64, "half of the rest is for keys");

    zone_ok("slots from the start");
}


/*
 * Channels that nobody needs go, in time; those that somebody needs stay.
 */

static void
make_channels(ngx_uint_t n)
{
    char        name[16];
    ngx_uint_t  i;

    static ngx_uint_t  made;

    for (i = 0; i < n; i++) {
        sprintf(name, "new%lu", (u_long) made++);
        part(7, join(7, name));
    }
}


static void
test_sweep(void)
{
    zone_create(2048, 4);
    enter(1);
    enter(2);
    enter(7);

    join(1, "subscribed");
    join(2, "killed");
    part(1, join(1, "idle"));
    publish("kept", "m", 1, 0, NULL);
    publish("aged", "m", 1, 100 * SECOND, NULL);
    publish("forgotten", "m", 1, 0, NULL);

    make_channels(10);
    tap_ok(find("idle") && find("kept") && find("aged"),
           "all are there for a minute");

    test_now += NGX_WS_BUS_IDLE_TIME * SECOND;
    make_channels(10);
    tap_ok(find("idle") != NULL, "to the end of the minute");

    test_now += SECOND;
    make_channels(2);
    tap_ok(find("idle") == NULL, "an idle one goes");
    tap_ok(find("subscribed") && find("kept") && find("aged")
           && find("killed"), "those with a use stay");

    test_now += 40 * SECOND;
    make_channels(2);
    tap_ok(find("aged") == NULL, "one whose messages are too old goes");

    while (find("forgotten")->last >= sh->log.tail) {
        publish("kept", "m", 1, 0, NULL);
    }

    make_channels(2);
    tap_ok(find("forgotten") == NULL,
           "one whose messages the log has forgotten goes");
    tap_ok(find("kept") != NULL, "not one that has some");

    test_alive[test_pids[2]] = 0;
    become(1);
    make_channels(2);
    tap_ok(find("killed") != NULL, "a killed process' channel is kept");

    ngx_ws_bus_zone_reap(&test_zone);
    make_channels(2);
    tap_ok(find("killed") == NULL, "until it is missed");

    zone_ok("channels that have gone");

    test_now += 1000 * NGX_WS_BUS_IDLE_TIME * SECOND;
    make_channels(2);
    tap_ok(find("subscribed") != NULL, "a subscribed one never does");
    tap_is(interest(find("subscribed"), 1), 1, "with its subscriber");

    part(1, find("subscribed"));
    test_now += NGX_WS_BUS_IDLE_TIME * SECOND;
    make_channels(2);
    tap_ok(find("subscribed") != NULL, "nor for a minute after that");

    test_now += SECOND;
    make_channels(2);
    tap_ok(find("subscribed") == NULL, "but then");

    zone_ok("after a long time");
}


/* names that need more than the node */

static void
test_names(void)
{
    char                name[256];
    size_t              len;
    ngx_str_t           s;
    ngx_uint_t          pieces[] = { 0, 0, 0, 0, 0 };
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 16);
    enter(1);

    for (len = 1; len <= 255; len++) {
        strcpy(name, long_name('a', len));

        node = join(1, name);
        ngx_ws_bus_node_name(node, &s);
        pieces[cells(node)]++;

        tap_each(node->len == len && s.len == len
                 && memcmp(s.data, name, len) == 0, "%lu bytes", (u_long) len);
        tap_each(join(1, name) == node && interest(node, 1) == 2,
                 "%lu bytes are found", (u_long) len);
        tap_each(keep(name, "m") == NGX_OK && place.subscribers == 2,
                 "%lu bytes are published to", (u_long) len);

        /* each byte of it counts */

        s.data = (u_char *) name;
        name[len / 2] ^= 1;
        tap_each(!ngx_ws_bus_node_is(node, &s), "%lu bytes, one is another's",
                 (u_long) len);
        name[len / 2] ^= 1;
        name[len - 1] ^= 1;
        tap_each(!ngx_ws_bus_node_is(node, &s), "%lu bytes, the last one is",
                 (u_long) len);
        name[len - 1] ^= 1;

        if (len % 2) {
            part(1, node);
            part(1, node);
        }
    }

    check_zone("names", 0);
    tap_all("names of all lengths");

    tap_ok(pieces[1] == 50 && pieces[2] == 120 && pieces[3] == 85,
           "a cell for 50 bytes, two for 170, three for all");

    test_now += 2 * NGX_WS_BUS_IDLE_TIME * SECOND;

    for (len = 1; len <= 200; len++) {
        keep("kept", "a message that fills the log");
    }

    for (len = 0; len < 16; len++) {
        part(1, join(1, numbered("n", len)));
    }

    for (len = 1; len <= 255; len++) {
        tap_each((find(long_name('a', len)) == NULL) == len % 2,
                 "%lu bytes have gone", (u_long) len);
    }

    check_zone("names that have gone", 0);
    tap_all("those that nobody needs leave nothing");
}


/*
 * The zone is full: first what is of no use makes way, then what only has a
 * history, and subscribed channels never.
 */

static void
test_pressure(void)
{
    char                name[16];
    size_t              size;
    ngx_uint_t          i, n;
    ngx_ws_bus_node_t  *node;

    zone_create(4096, 4);
    enter(1);
    enter(7);

    join(1, "s1");
    join(1, "s2");
    keep("h1", "m");
    part(1, join(1, "i1"));

    size = sizeof(ngx_ws_bus_node_t);

    /* only room for the subscriber of a channel */

    room = sizeof(ngx_ws_bus_interest_t);

    node = join(1, "s3");
    tap_ok(node && find("s3") == node, "there is always room for one more");
    tap_ok(find("i1") == NULL && find("h1"), "the idle one has made way");

    room = sizeof(ngx_ws_bus_interest_t);

    node = join(1, "s4");
    tap_ok(node && find("h1") == NULL, "then the one with a history");

    room = sizeof(ngx_ws_bus_interest_t);

    tap_ok(join(1, "s5") == NULL && find("s5") == NULL,
           "then there is no room");
    tap_is(publish("s5", "m", 1, 0, NULL), NGX_DECLINED,
           "nor for a kept message of a new channel");
    tap_is(publish("s4", "m", 1, 0, NULL), NGX_OK, "of an old one there is");
    tap_ok(find("s1") && find("s2") && find("s3") && find("s4"),
           "what is subscribed stays");

    zone_ok("a full zone");

    /* room for a channel, but not for its subscriber */

    room = size;

    tap_ok(join(1, "s5") == NULL, "no room for a subscriber");
    check_zone("no room for a subscriber", 0);

    room = ROOM_MAX;

    tap_ok(join(1, "s5") != NULL && interest(find("s5"), 1) == 1,
           "then there is");

    zone_ok("a zone with room again");

    /* a channel being joined is in use, though nobody knows yet */

    for (i = 0; i < 20; i++) {
        zone_create(4096, 1);
        enter(1);

        n = next_random(4) + 1;

        while (n--) {
            sprintf(name, "i%lu", (u_long) n);
            part(1, join(1, name));
        }

        room = size + next_random(sizeof(ngx_ws_bus_interest_t));

        node = join(1, "s1");

        tap_each(node && find("s1") == node && interest(node, 1) == 1,
                 "joined");

        check_zone("joined", 0);
    }

    tap_all("a channel being joined does not make way");

    pressure_of("no subscribers", 0);
    pressure_of("some subscribed", 5);
}


/* 500 channels come one after the other, and there is room for some 20 */

static void
pressure_of(const char *name, ngx_uint_t subscribed)
{
    char        channel[32];
    ngx_uint_t  i;

    zone_create(4096, 16);
    enter(1);

    room = 20 * sizeof(ngx_ws_bus_node_t);

    for (i = 0; i < subscribed; i++) {
        sprintf(channel, "s%lu", (u_long) i);
        join(1, channel);
    }

    for (i = 0; i < 500; i++) {
        sprintf(channel, "h%lu", (u_long) i);

        tap_each(keep(channel, "m") == NGX_OK && place.seq == 1, "%s",
                 channel);
        tap_each(strcmp(history(channel, 0, ANY, 0), "1:m") == 0, "%s",
                 channel);

        if (i % 7 == 0) {
            check_zone(name, 0);
        }
    }

    for (i = 0; i < subscribed; i++) {
        sprintf(channel, "s%lu", (u_long) i);
        tap_each(find(channel) != NULL, "%s stays", channel);
    }

    tap_all(name);
}


/*
 * Whichever allocation fails, the operation does nothing or all, and can be
 * repeated.
 */

typedef struct {
    const char  *name;
    ngx_uint_t   allocs;
    ngx_int_t  (*run)(void);
} failure_t;


static ngx_int_t
fail_join_new(void)
{
    return join(1, "new") ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
fail_join_long(void)
{
    return join(1, long_name('n', 255)) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
fail_join_known(void)
{
    return join(1, "known") ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
fail_keep_new(void)
{
    return keep("new", "m");
}


static ngx_int_t
fail_key(void)
{
    return publish("known", "m", 1, 0, "key");
}


static ngx_int_t
fail_key_new(void)
{
    return publish("new", "m", 1, 0, "key");
}


static ngx_int_t
fail_key_nobody(void)
{
    return publish("new", "m", 0, 0, "key");
}


static void
test_failures(void)
{
    uint64_t    head;
    ngx_int_t   rc;
    ngx_uint_t  i, n, seq;

    static failure_t  failures[] = {
        { "joining a new channel", 2, fail_join_new },
        { "joining a known channel", 1, fail_join_known },
        { "joining a new channel with a long name", 4, fail_join_long },
        { "keeping in a new channel", 1, fail_keep_new },
        { "a key", 1, fail_key },
        { "a key and a new channel", 2, fail_key_new },
        { "a key to nobody", 1, fail_key_nobody }
    };

    for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {

        for (n = 0; n < 10; n++) {
            zone_create(4096, 4);
            enter(1);
            enter(2);
            join(2, "known");
            keep("known", "m");

            head = sh->log.head;
            seq = find("known")->seq;

            fail_at = n;
            fail_on = 1;
            failed = 0;

            rc = failures[i].run();

            fail_at = NO_FAIL;
            fail_on = 0;

            if (!failed) {
                tap_each(rc == NGX_OK, "%s", failures[i].name);
                break;
            }

            tap_each(rc == NGX_DECLINED, "%s: allocation %lu: %ld",
                     failures[i].name, (u_long) n, (long) rc);
            tap_each(sh->log.head == head && find("known")->seq == seq
                     && interest(find("known"), 1) == 0
                     && interest(find("known"), 2) == 1,
                     "%s: allocation %lu: changes nothing", failures[i].name,
                     (u_long) n);
            check_zone(failures[i].name, 0);

            tap_each(failures[i].run() == NGX_OK && !place.repeated,
                     "%s: repeated", failures[i].name);
            check_zone(failures[i].name, 0);
        }

        tap_each(n == failures[i].allocs, "%s: %lu allocations",
                 failures[i].name, (u_long) n);
    }

    tap_all("each allocation that fails");
}


/*
 * Random operations of some processes on some channels, against what should
 * come of them.
 */

#define R_CHANNELS  6
#define R_SLOTS     4
#define R_KEYS      5
#define R_STEPS     20000
#define R_KEPT      512
#define R_OWED      2048


typedef struct {
    uint64_t             pos;
    uint64_t             seq;
    uint64_t             time;
    ngx_uint_t           number;     /* of the message, its payload */
} r_kept_t;


typedef struct {
    char                 name[8];
    ngx_ws_bus_node_t   *node;       /* NULL: there is none */
    uint64_t             id;
    uint64_t             epoch;
    uint64_t             seq;
    uint64_t             touched;
    uint64_t             keep;
    ngx_uint_t           subs[R_SLOTS];
    uint64_t             from[R_SLOTS];
    r_kept_t             kept[R_KEPT];
    ngx_uint_t           nkept;
} r_channel_t;


typedef struct {
    uint64_t             pos;
    ngx_uint_t           channel;
    ngx_uint_t           number;     /* 0: a deletion */
} r_owed_t;


typedef struct {
    ngx_uint_t           taken;      /* has a pid, dead or alive */
    ngx_uint_t           alive;
    r_owed_t             owed[R_OWED];
    ngx_uint_t           nowed;
} r_slot_t;


typedef struct {
    char                 name[8];
    uint64_t             time;       /* 0: not known */
    ngx_ws_bus_place_t   place;
} r_key_t;


static r_channel_t  r_channels[R_CHANNELS];
static r_slot_t     r_slots[R_SLOTS];
static r_key_t      r_keys[R_KEYS];
static ngx_uint_t   r_number;


static void
r_forget(r_channel_t *ch)
{
    ch->node = NULL;
    ch->seq = 0;
    ch->nkept = 0;
    ngx_memzero(ch->subs, sizeof(ch->subs));
}


static ngx_uint_t
r_subscribers(r_channel_t *ch)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < R_SLOTS; i++) {
        if (r_slots[i].taken) {
            n += ch->subs[i];
        }
    }

    return n;
}


/* a channel may go when nobody needs it; it never comes unasked */

static void
r_compare(void)
{
    ngx_uint_t          i, j;
    r_channel_t        *ch;
    ngx_ws_bus_node_t  *node;

    for (i = 0; i < R_CHANNELS; i++) {
        ch = &r_channels[i];
        node = find(ch->name);

        if (ch->node == NULL) {
            tap_each(node == NULL, "channel %s out of nothing", ch->name);
            continue;
        }

        if (node == NULL) {
            tap_each(r_subscribers(ch) == 0
                     && test_now > ch->touched + NGX_WS_BUS_IDLE_TIME * SECOND
                     && (ch->nkept == 0 || ch->keep <= test_now
                         || ch->kept[ch->nkept - 1].pos < sh->log.tail),
                     "channel %s has gone too early", ch->name);
            r_forget(ch);
            continue;
        }

        tap_each(node == ch->node && node->id == ch->id
                 && node->epoch == ch->epoch && node->seq == ch->seq,
                 "channel %s is another one", ch->name);

        for (j = 0; j < R_SLOTS; j++) {
            tap_each(interest(node, j) == ch->subs[j],
                     "subscribers of %s in slot %lu", ch->name, (u_long) j);
        }
    }
}


static void
r_known(r_channel_t *ch, uint64_t epoch)
{
    ngx_ws_bus_node_t  *node;

    node = find(ch->name);

    /* swept and made again at once */

    if (ch->node && node->id != ch->id) {
        r_forget(ch);
    }

    if (ch->node == NULL) {
        ch->node = node;
        ch->id = node->id;
        ch->touched = test_now;
        ch->keep = 0;
        ch->epoch = epoch;
    }
}


static void
r_owe(r_channel_t *ch, uint64_t pos, ngx_uint_t number)
{
    r_slot_t    *s;
    ngx_uint_t   i;

    for (i = 0; i < R_SLOTS; i++) {
        s = &r_slots[i];

        if (ch->subs[i] && s->alive && s->nowed < R_OWED) {
            s->owed[s->nowed].pos = pos;
            s->owed[s->nowed].channel = ch - r_channels;
            s->owed[s->nowed].number = number;
            s->nowed++;
        }
    }
}


static void
r_disowe(ngx_uint_t slot, ngx_uint_t channel)
{
    r_slot_t    *s;
    ngx_uint_t   i, n;

    s = &r_slots[slot];
    n = 0;

    for (i = 0; i < s->nowed; i++) {
        if (s->owed[i].channel != channel) {
            s->owed[n++] = s->owed[i];
        }
    }

    s->nowed = n;
}


static ngx_uint_t
r_rings(r_channel_t *ch)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < R_SLOTS; i++) {
        n += (ch->node && ch->subs[i] && r_slots[i].taken
              && !sh->slots[i]->pending);
    }

    return n;
}


static void
r_publish(void)
{
    char          text[80];
    size_t        n;
    uint64_t      age;
    ngx_int_t     rc;
    r_key_t      *key;
    r_kept_t     *kept;
    ngx_uint_t    keep, ring, known;
    r_channel_t  *ch;

    ch = &r_channels[next_random(R_CHANNELS)];
    keep = next_random(2);
    age = next_random(3) ? 0 : (1 + next_random(100)) * SECOND;
    key = next_random(6) ? NULL : &r_keys[next_random(R_KEYS)];

    n = sprintf(text, "%lu", (u_long) ++r_number);

    while (n < 8 + r_number % 50) {
        text[n++] = '.';
    }

    text[n] = '\0';

    known = key && key->time
            && test_now < key->time + NGX_WS_BUS_ONCE_TIME;
    ring = known ? 0 : r_rings(ch);

    rc = publish(ch->name, text, keep, age, key ? key->name : NULL);

    tap_each(rc == NGX_OK, "published");
    tap_each(nrings == ring, "%lu rings for %lu", (u_long) nrings,
             (u_long) ring);

    if (known) {
        tap_each(place.repeated && place.seq == key->place.seq
                 && place.epoch == key->place.epoch
                 && place.subscribers == key->place.subscribers,
                 "repeated");
        return;
    }

    tap_each(!place.repeated, "not repeated");

    if (key) {
        key->time = test_now;
        key->place = place;
    }

    if (!keep && ch->node == NULL) {
        tap_each(place.subscribers == 0, "nobody listens");
        return;
    }

    if (keep) {
        r_known(ch, place.epoch);
    }

    tap_each(place.subscribers == r_subscribers(ch), "subscribers");
    tap_each(place.seq == (keep ? ch->seq + 1 : 0), "seq");
    tap_each(!keep || place.epoch == ch->epoch, "epoch");

    ch->touched = test_now;

    if (keep) {
        ch->seq++;
        ch->keep = age ? test_now + age : (uint64_t) -1;

        if (ch->nkept == R_KEPT) {
            ch->nkept = R_KEPT / 2;
            memmove(ch->kept, ch->kept + R_KEPT / 2,
                    ch->nkept * sizeof(r_kept_t));
        }

        kept = &ch->kept[ch->nkept++];
        kept->pos = ch->node->last;
        kept->seq = ch->seq;
        kept->time = test_now;
        kept->number = r_number;
    }

    r_owe(ch, sh->log.head - 1, r_number);
}


static void
r_read(ngx_uint_t slot)
{
    r_owed_t    *o;
    r_slot_t    *s;
    reader_t    *r;
    uint64_t     cursor;
    ngx_uint_t   i, j, k, lapped;

    s = &r_slots[slot];
    r = &readers[slot];
    lapped = r->lapped;
    cursor = ngx_max(r->cursor, sh->slots[slot]->from);

    tap_each(s->nowed == 0 || sh->slots[slot]->pending,
             "a slot that is owed is pending");

    read_slot(slot);

    if (r->lapped > lapped) {
        tap_each(cursor < sh->log.tail, "lapped for no reason");
        s->nowed = 0;
        return;
    }

    o = s->owed;

    for (i = 0; i < ngot; i++) {

        for (j = 0; j < R_CHANNELS; j++) {
            if (r_channels[j].node && r_channels[j].id == got[i].rec.channel)
            {
                break;
            }
        }

        if (j == R_CHANNELS || r_channels[j].subs[slot] == 0
            || got[i].rec.pos < r_channels[j].from[slot])
        {
            continue;
        }

        if (!tap_each(o < s->owed + s->nowed && o->channel == j,
                      "a message that is not owed"))
        {
            break;
        }

        k = (got[i].rec.type == NGX_WS_BUS_REC_DELETED)
            ? 0 : strtoul(got[i].text, NULL, 10);

        tap_each(o->number == k, "message %lu for %lu", (u_long) k,
                 (u_long) o->number);
        o++;
    }

    tap_each(o == s->owed + s->nowed, "%lu messages are missing",
             (u_long) (s->owed + s->nowed - o));

    s->nowed = 0;
}


static void
r_history(r_channel_t *ch)
{
    u_char                *payload;
    uint64_t               after, age, pos;
    ngx_uint_t             i, n, count, limit;
    r_kept_t              *kept;
    ngx_ws_bus_record_t    rec;
    ngx_ws_bus_history_t   h;

    if (ch->node == NULL) {
        return;
    }

    after = next_random(3) ? 0 : next_random(ch->seq + 2);
    count = next_random(3) ? ANY : next_random(20);
    age = next_random(3) ? 0 : (1 + next_random(60)) * SECOND;

    ngx_ws_bus_channel_view(&test_zone, ch->node, &view);

    tap_each(view.id == ch->id && view.seq == ch->seq
             && view.epoch == ch->epoch && view.head == sh->log.head,
             "view");

    limit = next_random(3) ? ANY : next_random(20);

    if (ngx_ws_bus_channel_history(&test_zone, &view, after, count, age,
                                   limit, &h, &test_log)
        != NGX_OK)
    {
        tap_each(0, "history");
        return;
    }

    kept = ch->kept + ch->nkept;

    for (n = 0; n < ch->nkept && n < count; n++) {
        kept--;

        if (kept->pos < sh->log.tail || kept->seq <= after
            || (age && kept->time + age < test_now))
        {
            kept++;
            break;
        }
    }

    tap_each(h.n == ngx_min(n, limit) && h.first == ch->seq - n + 1,
             "%lu messages, expected %lu", (u_long) h.n, (u_long) n);

    for (i = 0; i < h.n && i < n; i++) {
        pos = h.pos[i];

        tap_each(pos == kept[i].pos
                 && ngx_ws_bus_log_read(&sh->log, &pos, pos + 1, &rec,
                                        &payload) == NGX_OK
                 && rec.seq == kept[i].seq
                 && strtoul((char *) payload, NULL, 10) == kept[i].number,
                 "kept message %lu", (u_long) i);
    }

    free(h.pos);
}


static void
r_enter(ngx_uint_t slot)
{
    r_channel_t  *ch;

    enter(slot);

    r_slots[slot].alive = 1;
    r_slots[slot].taken = 1;
    r_slots[slot].nowed = 0;

    for (ch = r_channels; ch < r_channels + R_CHANNELS; ch++) {
        ch->subs[slot] = 0;
    }
}


/* a process is killed, missed or not, and followed by another, or later */

static void
r_kill(ngx_uint_t slot)
{
    ngx_uint_t  i;

    r_slots[slot].alive = 0;
    r_slots[slot].nowed = 0;
    test_alive[test_pids[slot]] = 0;

    /* slot 0 always has one */

    if (slot == 0) {
        r_enter(0);
    }

    become(0);

    if (next_random(2)) {
        ngx_ws_bus_zone_reap(&test_zone);

        for (i = 0; i < R_SLOTS; i++) {
            r_slots[i].taken = r_slots[i].alive;
        }
    }

    for (i = 0; i < R_SLOTS; i++) {
        if (!r_slots[i].alive && next_random(2)) {
            r_enter(i);
        }
    }
}


static void
r_step(ngx_uint_t what)
{
    ngx_uint_t           slot, i;
    r_channel_t         *ch;
    ngx_ws_bus_node_t   *node;

    slot = next_random(R_SLOTS);
    ch = &r_channels[next_random(R_CHANNELS)];

    while (!r_slots[slot].alive) {
        slot = (slot + 1) % R_SLOTS;
    }

    become(slot);

    if (what < 40) {
        r_publish();

    } else if (what < 55) {
        r_read(slot);

    } else if (what < 67) {
        node = join(slot, ch->name);

        if (!tap_each(node != NULL, "joined")) {
            return;
        }

        r_known(ch, view.epoch);

        tap_each(view.seq == ch->seq && view.head == sh->log.head, "view");

        if (ch->subs[slot]++ == 0) {
            ch->from[slot] = view.head;
        }

    } else if (what < 79) {

        if (ch->node && ch->subs[slot]) {
            part(slot, ch->node);

            if (--ch->subs[slot] == 0) {
                ch->touched = test_now;
                r_disowe(slot, ch - r_channels);
            }
        }

    } else if (what < 89) {
        r_history(ch);

    } else if (what < 91) {
        i = r_rings(ch);

        if (ngx_ws_bus_channel_delete(&test_zone, name_of(ch->name), rings,
                                      &nrings)
            == NGX_OK)
        {
            tap_each(ch->node && nrings == i, "deleted");
            tap_each(ch->node->epoch != ch->epoch, "a new epoch");

            ch->epoch = ch->node->epoch;
            ch->seq = 0;
            ch->nkept = 0;
            ch->touched = test_now;

            r_owe(ch, sh->log.head - 1, 0);

        } else {
            tap_each(ch->node == NULL, "nothing to delete");
        }

    } else if (what < 93) {
        r_kill(slot);

    } else {
        test_now += next_random(30) ? next_random(SECOND)
                                    : next_random(2 * NGX_WS_BUS_IDLE_TIME
                                                  * SECOND);
    }
}


static void
test_random(size_t size, ngx_uint_t buckets)
{
    char        name[64];
    ngx_uint_t  i;

    zone_create(size, buckets);

    ngx_memzero(r_channels, sizeof(r_channels));
    ngx_memzero(r_slots, sizeof(r_slots));
    ngx_memzero(r_keys, sizeof(r_keys));

    for (i = 0; i < R_CHANNELS; i++) {
        sprintf(r_channels[i].name, "%.*s", (int) i + 1, "channels");
    }

    for (i = 0; i < R_KEYS; i++) {
        sprintf(r_keys[i].name, "key%lu", (u_long) i);
    }

    for (i = 0; i < R_SLOTS; i++) {
        r_enter(i);
    }

    for (i = 0; i < R_STEPS && test_next_pid < PIDS - R_SLOTS; i++) {
        r_step(next_random(100));
        r_compare();

        if (i % 16 == 0) {
            check_zone("random", 0);
        }

        if (tap_each_failed) {
            tap_diag("in step %lu", (u_long) i);
            break;
        }
    }

    sprintf(name, "random operations, a log of %lu, %lu buckets",
            (u_long) size, (u_long) buckets);
    tap_all(name);
}
