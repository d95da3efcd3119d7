
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_rate.c"

#include "fuzz.h"


/* more than 64 bits, to have no overflow */

__extension__ typedef unsigned __int128  wide_t;


static uint64_t number(const uint8_t **data, size_t *size);
static void check_ask(const ngx_ws_bus_rate_t *rate,
    const ngx_ws_bus_rate_state_t *s, uint64_t cost, ngx_msec_t now,
    ngx_int_t rc, uint64_t excess, ngx_msec_t wait);


/* A rate and what comes when, in numbers of as many bits as one wants. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t                 n, cost, excess, burst, delay;
    ngx_int_t                rc, again;
    ngx_uint_t               per;
    ngx_msec_t               now, wait, same;
    ngx_ws_bus_rate_t        rate;
    ngx_ws_bus_rate_state_t  s, before;

    n = number(&data, &size);
    per = (ngx_uint_t) number(&data, &size);
    burst = number(&data, &size);
    delay = number(&data, &size);

    rc = ngx_ws_bus_rate_set(&rate, n, per, burst, delay);

    fuzz_check((rc == NGX_OK)
               == (n > 0 && n <= NGX_WS_BUS_RATE_MAX
                   && (per == 1 || per == 60)
                   && (burst <= NGX_WS_BUS_RATE_MAX
                       || burst == NGX_WS_BUS_RATE_ANY)
                   && (delay <= NGX_WS_BUS_RATE_MAX
                       || delay == NGX_WS_BUS_RATE_ANY)));

    if (rc != NGX_OK) {
        return 0;
    }

    s.excess = number(&data, &size);
    s.last = (ngx_msec_t) number(&data, &size);
    now = (ngx_msec_t) number(&data, &size);

    while (size) {
        cost = number(&data, &size);
        before = s;

        rc = ngx_ws_bus_rate_ask(&rate, &s, cost, now, &excess, &wait);

        fuzz_check(s.excess == before.excess && s.last == before.last);

        check_ask(&rate, &s, cost, now, rc, excess, wait);

        again = ngx_ws_bus_rate(&rate, &s, cost, now, &same);

        fuzz_check(again == rc && same == wait);

        if (rc == NGX_OK) {
            fuzz_check(s.excess == excess && s.excess <= rate.burst);

        } else {
            fuzz_check(s.excess == before.excess && s.last == before.last);
        }

        now += (ngx_msec_t) number(&data, &size);
    }

    return 0;
}


/* a byte says how many of the next ones are the number */

static uint64_t
number(const uint8_t **data, size_t *size)
{
    size_t    len;
    uint64_t  n;

    if (*size == 0) {
        return 0;
    }

    len = **data % 9;

    (*data)++;
    (*size)--;

    for (n = 0; len && *size; len--) {
        n = (n << 8) + **data;
        (*data)++;
        (*size)--;
    }

    return n;
}


static void
check_ask(const ngx_ws_bus_rate_t *rate, const ngx_ws_bus_rate_state_t *s,
    uint64_t cost, ngx_msec_t now, ngx_int_t rc, uint64_t excess,
    ngx_msec_t wait)
{
    wide_t           sum, leak, over, due;
    ngx_msec_int_t   ms;

    if (s->last == 0 && s->excess == 0) {
        fuzz_check(rc == NGX_OK && excess == 0 && wait == 0);
        return;
    }

    ms = (ngx_msec_int_t) (now - s->last);
    ms = (ms < -60000) ? 1 : (ms < 0) ? 0 : ms;

    leak = (wide_t) rate->rate * (wide_t) ms / 60000;

    sum = ngx_min(s->excess, NGX_WS_BUS_RATE_MAX * 1000);
    sum += (wide_t) ngx_min(cost, NGX_WS_BUS_RATE_MAX) * 1000;
    sum = (sum > leak) ? sum - leak : 0;

    fuzz_check(excess == sum);
    fuzz_check(rc == (sum > rate->burst ? NGX_BUSY : NGX_OK));

    if (rc == NGX_BUSY) {
        over = sum - rate->burst;

    } else {
        over = (sum > rate->delay) ? sum - rate->delay : 0;
    }

    /* up to a millisecond more than is due, where that is not exact */

    due = (over * 60000 + rate->rate - 1) / rate->rate;

    if (due >= NGX_WS_BUS_RATE_WAIT_MAX) {
        fuzz_check(wait == NGX_WS_BUS_RATE_WAIT_MAX);

    } else {
        fuzz_check(wait >= due && wait <= due + 1);
    }
}
