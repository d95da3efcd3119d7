
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "bus.h"


static void test_rules(void);
static void test_full(void);
static void test_random(void);
static void test_record(void);


int
main(void)
{
    alarm(300);

    test_rules();
    test_full();
    test_random();
    test_record();

    zone_free();

    return tap_done();
}


static ngx_uint_t
revoked_jti(const char *jti, int64_t now)
{
    return ngx_ws_bus_revoked(&test_zone, NGX_WS_BUS_REVOKE_JTI,
                              name_of(jti), 0, now);
}


static void
test_rules(void)
{
    ngx_ws_bus_revocation_t  rev;

    zone_create(4096, 4);
    enter(1);
    become(1);

    tap_ok(!revoked("alice", 0, 100), "nobody is revoked");

    tap_is(take_away("alice", 100, 200), NGX_OK, "a subject");

    tap_ok(revoked("alice", 100, 100), "a token of that second");
    tap_ok(revoked("alice", 1, 199), "an older one");
    tap_ok(revoked("alice", 0, 150), "one that does not tell its age");
    tap_ok(!revoked("alice", 101, 150), "not a newer one");
    tap_ok(!revoked("alice", 100, 200), "not after the time");
    tap_ok(!revoked("alic", 1, 150) && !revoked("alicee", 1, 150)
           && !revoked("", 1, 150), "not other ones");
    tap_ok(!revoked_jti("alice", 150), "and no token of that id");

    rev.kind = NGX_WS_BUS_REVOKE_JTI;
    rev.value = *name_of("alice");
    rev.time = 100;

    tap_is(ngx_ws_bus_revoke(&test_zone, &rev, 300, rings, &nrings), NGX_OK,
           "an id");
    tap_ok(revoked_jti("alice", 299) && !revoked_jti("alice", 300),
           "for its time");

    tap_is(take_away("alice", 150, 160), NGX_OK, "again, for a shorter time");
    tap_ok(revoked("alice", 150, 199) && !revoked("alice", 151, 199),
           "the longer one counts, and the newer tokens");

    tap_is(take_away("alice", 250, 260), NGX_OK, "when it has expired");
    tap_ok(revoked("alice", 250, 259) && !revoked("alice", 250, 260),
           "anew");
}


static void
test_full(void)
{
    char        name[32];
    ngx_uint_t  i, max;

    zone_create(4096, 4);
    enter(1);
    become(1);

    max = sh->max_revoked;

    tap_is(max, ngx_ws_bus_revoke_max(test_shm.shm.size), "room");

    for (i = 0; i < max; i++) {
        sprintf(name, "n%lu", (u_long) i);
        tap_each(take_away(name, 10, 100 + i) == NGX_OK, "%s", name);
    }

    tap_all("a full table");

    tap_is(take_away("one more", 10, 100), NGX_DECLINED, "takes no more");
    tap_ok(!revoked("one more", 1, 11), "which is then not revoked");
    tap_is(nrings, 0, "and nobody is told");
    tap_is(take_away("n0", 20, 150), NGX_OK, "but what it has");

    for (i = 0; i < max; i++) {
        sprintf(name, "n%lu", (u_long) i);
        tap_each(revoked(name, 10, 99), "%s", name);
    }

    tap_all("all of that is there");

    /* n1 expires at 101, n0 stays */

    tap_is(take_away("two more", 101, 500), NGX_OK, "what expires makes room");
    tap_is(take_away("three more", 101, 500), NGX_DECLINED, "for one");
    tap_ok(revoked("two more", 1, 101) && revoked("n0", 1, 101)
           && revoked("n2", 1, 101), "and no other one");
}


/* against a list */

#define NAMES  60

static void
test_random(void)
{
    char        name[32];
    int64_t     now, iat, times[NAMES], expires[NAMES];
    ngx_int_t   rc;
    ngx_uint_t  i, k, n, want;

    zone_create(4096, 4);
    enter(1);
    become(1);

    memset(times, 0, sizeof(times));
    memset(expires, 0, sizeof(expires));

    now = 1000;

    for (i = 0; i < 20000; i++) {
        now += next_random(3);
        k = next_random(NAMES);
        sprintf(name, "%lu", (u_long) k);

        if (next_random(2)) {
            iat = now - next_random(40);
            want = now < expires[k] && iat <= times[k];

            tap_each(revoked(name, iat, now) == want, "%s at %ld", name,
                     (long) now);
            continue;
        }

        for (n = 0, want = 0; n < NAMES; n++) {
            want += (now < expires[n]);
        }

        iat = now + 1 + next_random(100);
        rc = take_away(name, now, iat);

        tap_each(rc == (now < expires[k] || want < sh->max_revoked
                        ? NGX_OK : NGX_DECLINED),
                 "%s revoked at %ld, %lu others", name, (long) now,
                 (u_long) want);

        if (rc == NGX_OK) {
            expires[k] = now < expires[k] ? ngx_max(expires[k], iat) : iat;
            times[k] = now;
        }
    }

    tap_all("as a list has it");

    check_zone("revocations", 0);
    tap_all("the zone");
}


/* everybody is told, in the order of the log */

static void
test_record(void)
{
    u_char                    *payload;
    uint64_t                   pos;
    ngx_ws_bus_record_t        rec;
    ngx_ws_bus_revoke_head_t   head;

    zone_create(4096, 4);
    enter(1);
    enter(2);
    enter(4);
    become(1);

    pos = sh->log.head;

    take_away("alice", 77, 100);

    tap_is(nrings, 3, "all slots are rung");
    tap_ok(sh->slots[1]->pending && sh->slots[2]->pending
           && sh->slots[4]->pending && sh->slots[2]->from == pos,
           "from the record on");

    tap_is(ngx_ws_bus_log_read(&sh->log, &pos, sh->log.head, &rec, &payload),
           NGX_OK, "a record");
    tap_ok(rec.channel == 0 && rec.type == NGX_WS_BUS_REC_REVOKED
           && rec.seq == 0 && rec.len == sizeof(head) + 5, "of no channel");

    memcpy(&head, payload, sizeof(head));

    tap_ok(head.time == 77 && head.kind == NGX_WS_BUS_REVOKE_SUB
           && memcmp(payload + sizeof(head), "alice", 5) == 0,
           "that tells who");

    take_away("bob", 78, 100);
    tap_is(nrings, 0, "who has not looked is not rung again");
    tap_ok(sh->slots[2]->from < sh->log.head, "and finds both");
}
