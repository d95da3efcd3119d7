
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_rate.h"


/* milliseconds of a minute, which the rate is for */
#define NGX_WS_BUS_RATE_MINUTE  60000

/* a clock that went back further than this was set, or has wrapped */
#define NGX_WS_BUS_RATE_BACK    60000


static uint64_t ngx_ws_bus_rate_leak(const ngx_ws_bus_rate_t *rate,
    const ngx_ws_bus_rate_state_t *s, ngx_msec_t now);
static ngx_msec_t ngx_ws_bus_rate_time(const ngx_ws_bus_rate_t *rate,
    uint64_t amount);


ngx_int_t
ngx_ws_bus_rate_set(ngx_ws_bus_rate_t *rate, uint64_t n, ngx_uint_t per,
    uint64_t burst, uint64_t delay)
{
    if (n == 0 || n > NGX_WS_BUS_RATE_MAX || (per != 1 && per != 60)) {
        return NGX_ERROR;
    }

    if (burst > NGX_WS_BUS_RATE_MAX && burst != NGX_WS_BUS_RATE_ANY) {
        return NGX_ERROR;
    }

    if (delay > NGX_WS_BUS_RATE_MAX && delay != NGX_WS_BUS_RATE_ANY) {
        return NGX_ERROR;
    }

    rate->rate = n * 1000 * (60 / per);
    rate->burst = (burst == NGX_WS_BUS_RATE_ANY) ? burst : burst * 1000;
    rate->delay = (delay == NGX_WS_BUS_RATE_ANY) ? delay : delay * 1000;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_rate_ask(const ngx_ws_bus_rate_t *rate,
    const ngx_ws_bus_rate_state_t *s, uint64_t cost, ngx_msec_t now,
    uint64_t *excess, ngx_msec_t *wait)
{
    uint64_t  sum, leak;

    *wait = 0;

    if (s->last == 0 && s->excess == 0) {
        *excess = 0;
        return NGX_OK;
    }

    /* no sum of two reaches 2^64 */

    cost = ngx_min(cost, NGX_WS_BUS_RATE_MAX) * 1000;
    sum = ngx_min(s->excess, NGX_WS_BUS_RATE_MAX * 1000) + cost;

    leak = ngx_ws_bus_rate_leak(rate, s, now);

    sum = (sum > leak) ? sum - leak : 0;

    *excess = sum;

    if (sum > rate->burst) {
        *wait = ngx_ws_bus_rate_time(rate, sum - rate->burst);
        return NGX_BUSY;
    }

    if (sum > rate->delay) {
        *wait = ngx_ws_bus_rate_time(rate, sum - rate->delay);
    }

    return NGX_OK;
}


void
ngx_ws_bus_rate_charge(ngx_ws_bus_rate_state_t *s, uint64_t excess,
    ngx_msec_t now)
{
    ngx_msec_int_t  ms;

    ms = (ngx_msec_int_t) (now - s->last);

    s->excess = excess;

    /* a clock that went back a little pays nothing twice */

    if (ms > 0 || ms < -NGX_WS_BUS_RATE_BACK || s->last == 0) {

        /* with no excess, 0 would be a key never seen */

        s->last = now ? now : 1;
    }
}


ngx_int_t
ngx_ws_bus_rate(const ngx_ws_bus_rate_t *rate, ngx_ws_bus_rate_state_t *s,
    uint64_t cost, ngx_msec_t now, ngx_msec_t *wait)
{
    uint64_t   excess;
    ngx_int_t  rc;

    rc = ngx_ws_bus_rate_ask(rate, s, cost, now, &excess, wait);

    if (rc == NGX_OK) {
        ngx_ws_bus_rate_charge(s, excess, now);
    }

    return rc;
}


/*
 * What has flowed off since the last charge, in thousandths; all there is
 * where that is beyond 64 bits.
 */

static uint64_t
ngx_ws_bus_rate_leak(const ngx_ws_bus_rate_t *rate,
    const ngx_ws_bus_rate_state_t *s, ngx_msec_t now)
{
    uint64_t        leak, minutes, rest;
    ngx_msec_int_t  ms;

    ms = (ngx_msec_int_t) (now - s->last);

    /* of many messages most come in the millisecond of another one */

    if (ms == 0) {
        return 0;
    }

    if (ms < -NGX_WS_BUS_RATE_BACK) {
        ms = 1;

    } else if (ms < 0) {
        ms = 0;
    }

    minutes = (uint64_t) ms / NGX_WS_BUS_RATE_MINUTE;
    rest = (uint64_t) ms % NGX_WS_BUS_RATE_MINUTE;

    /* rate * ms / 60000 without its product, and as exact */

    leak = rate->rate / NGX_WS_BUS_RATE_MINUTE * rest
           + rate->rate % NGX_WS_BUS_RATE_MINUTE * rest
             / NGX_WS_BUS_RATE_MINUTE;

    if (minutes == 0) {
        return leak;
    }

    if (minutes > ((uint64_t) -1 - leak) / rate->rate) {
        return (uint64_t) -1;
    }

    return leak + rate->rate * minutes;
}


/*
 * Milliseconds until so many thousandths have flowed off, rounded up.
 */

static ngx_msec_t
ngx_ws_bus_rate_time(const ngx_ws_bus_rate_t *rate, uint64_t amount)
{
    uint64_t  ms;

    /* amount * 60000 may take more than 64 bits, a day's worth of it is less */

    if (amount / rate->rate >= NGX_WS_BUS_RATE_WAIT_MAX
                               / NGX_WS_BUS_RATE_MINUTE)
    {
        return NGX_WS_BUS_RATE_WAIT_MAX;
    }

    ms = amount / rate->rate * NGX_WS_BUS_RATE_MINUTE;
    amount %= rate->rate;

    if (amount > (uint64_t) -1 / NGX_WS_BUS_RATE_MINUTE) {
        return (ngx_msec_t) (ms + amount / (rate->rate
                                            / NGX_WS_BUS_RATE_MINUTE) + 1);
    }

    amount *= NGX_WS_BUS_RATE_MINUTE;

    return (ngx_msec_t) (ms + amount / rate->rate
                         + (amount % rate->rate != 0));
}
