
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_rate.c"

#include "tap.h"


#define ANY  NGX_WS_BUS_RATE_ANY


static void test_set(void);
static void test_first(void);
static void test_burst(void);
static void test_delay(void);
static void test_rest(void);
static void test_minute(void);
static void test_bytes(void);
static void test_limit_req(void);
static void test_throughput(void);
static void test_wait(void);
static void test_several(void);
static void test_clock(void);
static void test_extremes(void);


int
main(void)
{
    test_set();
    test_first();
    test_burst();
    test_delay();
    test_rest();
    test_minute();
    test_bytes();
    test_limit_req();
    test_throughput();
    test_wait();
    test_several();
    test_clock();
    test_extremes();

    return tap_done();
}


static ngx_ws_bus_rate_t
rate(uint64_t n, ngx_uint_t per, uint64_t burst, uint64_t delay)
{
    ngx_ws_bus_rate_t  r;

    if (ngx_ws_bus_rate_set(&r, n, per, burst, delay) != NGX_OK) {
        abort();
    }

    return r;
}


static uint32_t
noise(void)
{
    static uint32_t  x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;

    return x;
}


static void
test_set(void)
{
    ngx_ws_bus_rate_t  r;

    static const uint64_t  max = NGX_WS_BUS_RATE_MAX;

    tap_is(ngx_ws_bus_rate_set(&r, 0, 1, 0, 0), NGX_ERROR, "no rate");
    tap_is(ngx_ws_bus_rate_set(&r, 10, 0, 0, 0), NGX_ERROR, "per nothing");
    tap_is(ngx_ws_bus_rate_set(&r, 10, 2, 0, 0), NGX_ERROR, "per 2 seconds");
    tap_is(ngx_ws_bus_rate_set(&r, 10, 3600, 0, 0), NGX_ERROR, "per hour");
    tap_is(ngx_ws_bus_rate_set(&r, max + 1, 1, 0, 0), NGX_ERROR,
           "the rate is too high");
    tap_is(ngx_ws_bus_rate_set(&r, ANY, 1, 0, 0), NGX_ERROR,
           "a rate has a bound");
    tap_is(ngx_ws_bus_rate_set(&r, 1, 1, max + 1, 0), NGX_ERROR,
           "the burst is too large");
    tap_is(ngx_ws_bus_rate_set(&r, 1, 1, 0, max + 1), NGX_ERROR,
           "the delay is too large");

    tap_is(ngx_ws_bus_rate_set(&r, max, 1, max, max), NGX_OK, "the largest");
    tap_ok(r.rate == max * 60000 && r.burst == max * 1000
           && r.delay == max * 1000, "... fits into 64 bits");

    tap_is(ngx_ws_bus_rate_set(&r, 5, 60, ANY, 2), NGX_OK, "per minute");
    tap_ok(r.rate == 5000 && r.burst == ANY && r.delay == 2000, "... exact");
}


static void
test_first(void)
{
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(1, 60, 0, 0);

    ngx_memzero(&s, sizeof(s));

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 0, &wait), NGX_OK,
           "a key never seen, at the time 0");
    tap_ok(wait == 0 && s.excess == 0 && s.last == 1, "... is seen now");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1, &wait), NGX_BUSY,
           "the next one is not free");
    tap_is(wait, 60000, "... for a minute");

    ngx_memzero(&s, sizeof(s));

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 123456789, &wait), NGX_OK, "later");
    tap_ok(wait == 0 && s.excess == 0 && s.last == 123456789, "... seen");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 123456789 + 59999, &wait), NGX_BUSY,
           "a millisecond short of a minute");
    tap_is(wait, 60, "... lacks a thousandth, which is 60 ms");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 123456789 + 60000, &wait), NGX_OK,
           "a minute");
}


static void
test_burst(void)
{
    ngx_msec_t               wait;
    ngx_uint_t               i, passed;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(10, 1, 5, 5);

    ngx_memzero(&s, sizeof(s));
    passed = 0;

    for (i = 0; i < 20; i++) {
        if (ngx_ws_bus_rate(&r, &s, 1, 1000, &wait) == NGX_OK) {
            tap_each(wait == 0, "message %d waits", (int) i);
            passed++;
        } else {
            tap_each(wait == 100, "message %d: %d ms", (int) i, (int) wait);
        }
    }

    tap_all("what passes does at once, what does not would in 100 ms");
    tap_is(passed, 6, "the first and the burst pass");
    tap_is(s.excess, 5000, "what was refused is not charged");

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1099, &wait), NGX_BUSY, "99 ms later");
    tap_is(wait, 1, "... 1 ms is left");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1100, &wait), NGX_OK, "100 ms later");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1100, &wait), NGX_BUSY, "one only");
}


static void
test_delay(void)
{
    int                      i;
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    /* limit_req's rate=10r/s burst=6 delay=2 */

    r = rate(10, 1, 6, 2);

    ngx_memzero(&s, sizeof(s));

    for (i = 0; i < 7; i++) {
        tap_each(ngx_ws_bus_rate(&r, &s, 1, 5000, &wait) == NGX_OK
                 && wait == (ngx_msec_t) (i < 3 ? 0 : (i - 2) * 100),
                 "message %d: %d ms", i, (int) wait);
    }

    tap_all("three pass at once, four with a growing delay");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 5000, &wait), NGX_BUSY, "then no more");

    r = rate(10, 1, ANY, 0);

    ngx_memzero(&s, sizeof(s));

    for (i = 0; i < 10000; i++) {
        tap_each(ngx_ws_bus_rate(&r, &s, 1, 5000, &wait) == NGX_OK
                 && wait == (ngx_msec_t) i * 100,
                 "message %d: %d ms", i, (int) wait);
    }

    tap_all("without a burst none is refused, each waits for its turn");
}


static void
test_rest(void)
{
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(10, 1, 0, 0);

    ngx_memzero(&s, sizeof(s));

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1000, &wait), NGX_OK, "first");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 3601000, &wait), NGX_OK,
           "after an hour");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 3601000, &wait), NGX_BUSY,
           "a rest is good for one, not for many");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 3601099, &wait), NGX_BUSY, "99 ms");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 3601100, &wait), NGX_OK, "100 ms");
}


static void
test_minute(void)
{
    long                     now, passed;
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    /* 7 r/m is not a whole number of thousandths per second */

    r = rate(7, 60, 0, 0);

    ngx_memzero(&s, sizeof(s));
    passed = 0;

    for (now = 1; now <= 3600 * 1000; now += 3) {
        passed += (ngx_ws_bus_rate(&r, &s, 1, now, &wait) == NGX_OK);
    }

    tap_ok(passed >= 419 && passed <= 421, "7 r/m: %ld in an hour", passed);
}


static void
test_bytes(void)
{
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(1000, 1, 500, 500);

    ngx_memzero(&s, sizeof(s));

    tap_is(ngx_ws_bus_rate(&r, &s, 100000, 1000, &wait), NGX_OK,
           "the first message of a key is free");
    tap_is(ngx_ws_bus_rate(&r, &s, 500, 1000, &wait), NGX_OK, "the burst");
    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1000, &wait), NGX_BUSY, "a byte more");
    tap_is(wait, 1, "... in 1 ms");
    tap_is(ngx_ws_bus_rate(&r, &s, 0, 1000, &wait), NGX_OK, "an empty one");
    tap_is(ngx_ws_bus_rate(&r, &s, 700, 1699, &wait), NGX_BUSY,
           "700 bytes after 699 ms");
    tap_is(ngx_ws_bus_rate(&r, &s, 700, 1700, &wait), NGX_OK,
           "700 bytes after 700 ms");
    tap_is(ngx_ws_bus_rate(&r, &s, 20000, 1700, &wait), NGX_BUSY,
           "20,000 bytes");
    tap_is(wait, 20000, "... in 20 s");
    tap_is(ngx_ws_bus_rate(&r, &s, 20000, 21700, &wait), NGX_OK,
           "... indeed");
}


/*
 * The arithmetic of limit_req, as its source has it, on rates that it takes
 * without loss.
 */

static void
test_limit_req(void)
{
    int                      i, k;
    long                     ms, excess, lr_excess, lr_rate, burst;
    ngx_int_t                rc, want;
    ngx_msec_t               now, lr_last, wait, delay;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    for (k = 0; k < 200; k++) {
        lr_rate = (1 + noise() % 500) * 1000;
        burst = noise() % 20;
        now = 1 + noise() % 100000;

        r = rate(lr_rate / 1000, 1, burst, k % 2 ? 0 : burst);

        ngx_memzero(&s, sizeof(s));

        lr_excess = 0;
        lr_last = 0;

        for (i = 0; i < 500; i++) {
            now += (noise() % 3) ? noise() % 5 : noise() % 400;

            if (lr_last == 0) {
                excess = 0;

            } else {
                ms = (long) (now - lr_last);
                excess = lr_excess - lr_rate * ms / 1000 + 1000;

                if (excess < 0) {
                    excess = 0;
                }
            }

            want = (excess > burst * 1000) ? NGX_BUSY : NGX_OK;
            delay = (want == NGX_OK && k % 2) ? excess * 1000 / lr_rate : 0;

            if (want == NGX_OK) {
                lr_excess = excess;
                lr_last = now;
            }

            rc = ngx_ws_bus_rate(&r, &s, 1, now, &wait);

            tap_each(rc == want && s.excess == (uint64_t) lr_excess
                     && s.last == lr_last
                     && (rc != NGX_OK || wait == delay || wait == delay + 1),
                     "rate %ld burst %ld message %d: %d, excess %ld/%ld, "
                     "wait %d/%d", lr_rate, burst, i, (int) rc,
                     (long) s.excess, lr_excess, (int) wait, (int) delay);
        }
    }

    tap_all("the same as limit_req");
}


/* of a flood, exactly the rate passes */

static void
test_throughput(void)
{
    long                     now, passed, bytes;
    ngx_uint_t               i;
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    static const long  rates[] = { 1, 3, 10, 99, 1000, 5000 };

    for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        r = rate(rates[i], 1, 5, 5);

        ngx_memzero(&s, sizeof(s));
        passed = 0;

        for (now = 1000; now <= 11000; now++) {
            while (ngx_ws_bus_rate(&r, &s, 1, now, &wait) == NGX_OK) {
                passed++;
            }
        }

        tap_ok(passed >= rates[i] * 10 && passed <= rates[i] * 10 + 6,
               "%ld r/s: %ld in 10 s", rates[i], passed);
    }

    r = rate(100000, 1, 20000, 20000);

    ngx_memzero(&s, sizeof(s));
    bytes = 0;

    for (now = 1000; now <= 11000; now++) {
        for (i = 0; i < 3; i++) {
            passed = noise() % 10000;

            if (ngx_ws_bus_rate(&r, &s, passed, now, &wait) == NGX_OK) {
                bytes += passed;
            }
        }
    }

    tap_ok(bytes > 990000 && bytes < 1040000, "100,000 bytes/s: %ld in 10 s",
           bytes);

    /* what is delayed as long as it is told comes at the rate */

    r = rate(50, 1, ANY, 0);

    ngx_memzero(&s, sizeof(s));
    now = 1000;

    for (passed = 0; passed < 500; passed++) {
        ngx_ws_bus_rate(&r, &s, 1, now, &wait);
        now += wait;
    }

    tap_ok(now >= 1000 + 9900 && now <= 1000 + 10100,
           "500 delayed messages at 50 r/s take %ld ms", now - 1000);
}


/* after the wait it passes, before it does not */

static void
test_wait(void)
{
    int                      k;
    uint64_t                 cost, excess, n;
    ngx_int_t                rc;
    ngx_msec_t               wait, again, now;
    ngx_uint_t               per;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    for (k = 0; k < 100000; k++) {
        n = 1 + (noise() % 2 ? noise() % 20 : noise() % 2000000);
        per = noise() % 2 ? 1 : 60;
        cost = noise() % 2 ? 1 : noise() % 100000;

        r = rate(n, per, noise() % 100, 0);

        now = 1 + noise() % 1000000;

        s.last = now;
        s.excess = noise() % 1000000;

        rc = ngx_ws_bus_rate_ask(&r, &s, cost, now, &excess, &wait);

        if (rc == NGX_OK) {
            tap_each(excess <= r.burst
                     && (wait > 0) == (excess > 0), "%d", k);
            continue;
        }

        tap_each(excess > r.burst && wait > 0, "refused without a wait");

        if (wait == NGX_WS_BUS_RATE_WAIT_MAX) {
            continue;
        }

        rc = ngx_ws_bus_rate_ask(&r, &s, cost, now + wait, &excess, &again);

        tap_each(rc == NGX_OK, "%d: not after %ld ms", k, (long) wait);

        rc = ngx_ws_bus_rate_ask(&r, &s, cost, now + wait - 1, &excess,
                                 &again);

        tap_each(rc == NGX_BUSY, "%d: already after %ld ms", k,
                 (long) wait - 1);
    }

    tap_all("the wait is exact");
}


static void
test_several(void)
{
    uint64_t                 a_excess, b_excess;
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        a, b;
    ngx_ws_bus_rate_state_t  as, bs;

    a = rate(100, 1, 10, 10);
    b = rate(1, 1, 0, 0);

    ngx_memzero(&as, sizeof(as));
    ngx_memzero(&bs, sizeof(bs));

    ngx_ws_bus_rate(&a, &as, 1, 1000, &wait);
    ngx_ws_bus_rate(&b, &bs, 1, 1000, &wait);

    tap_is(ngx_ws_bus_rate_ask(&a, &as, 1, 1001, &a_excess, &wait), NGX_OK,
           "of two limits the first lets pass");
    tap_is(ngx_ws_bus_rate_ask(&b, &bs, 1, 1001, &b_excess, &wait), NGX_BUSY,
           "the second does not");
    tap_ok(as.excess == 0 && as.last == 1000 && bs.excess == 0
           && bs.last == 1000, "neither was charged");

    ngx_ws_bus_rate_charge(&as, a_excess, 1001);

    tap_ok(as.excess == 900 && as.last == 1001, "charged");
}


static void
test_clock(void)
{
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(10, 1, 0, 0);

    s.last = 100000;
    s.excess = 0;

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 99990, &wait), NGX_BUSY,
           "a clock that goes back a little pays nothing");
    tap_is(wait, 100, "... and takes nothing");

    s.excess = 0;
    r = rate(10, 1, 5, 5);

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 99990, &wait), NGX_OK, "passes");
    tap_is(s.last, 100000, "... and the time stays");

    s.excess = 3000;

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 1000, &wait), NGX_OK,
           "a clock that goes back by more than a minute was set");
    tap_is(s.last, 1000, "... and is followed");
    tap_is(s.excess, 3990, "... as if a millisecond had passed");

    s.last = (ngx_msec_t) -50;
    s.excess = 5000;

    tap_is(ngx_ws_bus_rate(&r, &s, 1, 50, &wait), NGX_OK,
           "a clock that wraps goes on");
    tap_ok(s.excess == 5000 && s.last == 50, "... by 100 ms");
}


static void
test_extremes(void)
{
    uint64_t                 excess;
    ngx_msec_t               wait;
    ngx_ws_bus_rate_t        r;
    ngx_ws_bus_rate_state_t  s;

    r = rate(1, 60, 0, 0);

    s.last = 1;
    s.excess = 0;

    tap_is(ngx_ws_bus_rate_ask(&r, &s, (uint64_t) -1, 1, &excess, &wait),
           NGX_BUSY, "the largest cost");
    tap_is(excess, NGX_WS_BUS_RATE_MAX * 1000, "... has a bound");
    tap_is(wait, NGX_WS_BUS_RATE_WAIT_MAX, "... and so has the wait");

    s.excess = (uint64_t) -1;

    tap_is(ngx_ws_bus_rate_ask(&r, &s, (uint64_t) -1, 1, &excess, &wait),
           NGX_BUSY, "the largest excess");
    tap_is(excess, NGX_WS_BUS_RATE_MAX * 2000, "... has a bound");

    r = rate(NGX_WS_BUS_RATE_MAX, 1, NGX_WS_BUS_RATE_MAX, 0);

    s.excess = NGX_WS_BUS_RATE_MAX * 1000;

    tap_is(ngx_ws_bus_rate_ask(&r, &s, 1, (ngx_msec_t) 1 << 62, &excess,
                               &wait),
           NGX_OK, "the highest rate over the longest time");
    tap_ok(excess == 0 && wait == 0, "... nothing is left");

    tap_is(ngx_ws_bus_rate_ask(&r, &s, NGX_WS_BUS_RATE_MAX, 1, &excess,
                               &wait),
           NGX_BUSY, "the highest rate, twice its burst");
    tap_ok(wait >= 1000 && wait <= 1001, "... in a second: %d ms",
           (int) wait);

    tap_is(ngx_ws_bus_rate_ask(&r, &s, 0, 1, &excess, &wait), NGX_OK,
           "its burst, delayed");
    tap_ok(wait >= 1000 && wait <= 1001, "... by a second: %d ms",
           (int) wait);
}
