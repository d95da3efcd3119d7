
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_RATE_H_INCLUDED_
#define _NGX_WS_BUS_RATE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* for "burst" and "delay": no bound */
#define NGX_WS_BUS_RATE_ANY       ((uint64_t) -1)

/* so many units, messages or bytes, may be written in a configuration */
#define NGX_WS_BUS_RATE_MAX       ((uint64_t) 1 << 40)

/* no wait is longer, in milliseconds */
#define NGX_WS_BUS_RATE_WAIT_MAX  86400000


/*
 * A leaky bucket that counts as limit_req does: in thousandths of a unit,
 * a unit being a message or a byte.  The rate is per minute, so that both
 * "r/s" and "r/m" are exact.
 */

typedef struct {
    uint64_t    rate;              /* thousandths per minute */
    uint64_t    burst;             /* thousandths; beyond it is refused */
    uint64_t    delay;             /* thousandths; beyond it is delayed */
} ngx_ws_bus_rate_t;


/*
 * Where one key stands.  Zeroed memory is a key never seen; it may lie in
 * shared memory, under the caller's lock.
 */

typedef struct {
    uint64_t    excess;            /* thousandths */
    ngx_msec_t  last;
} ngx_ws_bus_rate_state_t;


/*
 * Sets up a rate of n units per "per" seconds (1 or 60), with burst and delay
 * in units, NGX_WS_BUS_RATE_ANY for no bound.  Like limit_req's: up to
 * "delay" units above the rate pass at once, up to "burst" units pass
 * delayed, more are refused.  To refuse without ever delaying, delay is equal
 * to burst; to delay without ever refusing, burst is NGX_WS_BUS_RATE_ANY.
 *
 * NGX_OK, or NGX_ERROR: n is 0, n, burst or delay is above
 * NGX_WS_BUS_RATE_MAX, or "per" is neither.
 */
ngx_int_t ngx_ws_bus_rate_set(ngx_ws_bus_rate_t *rate, uint64_t n,
    ngx_uint_t per, uint64_t burst, uint64_t delay);

/*
 * What "cost" units at the time "now" would come to; *s is only read, so
 * that several limits can be asked before one of them is charged.  The first
 * units of a key, and those after a rest as long as they take at this rate,
 * are free, as limit_req's first request is.
 *
 * NGX_OK     it may pass, now if *wait is 0, else after *wait milliseconds
 * NGX_BUSY   refused; after *wait milliseconds of rest the same would not be
 *
 * *excess is what ngx_ws_bus_rate_charge() then takes.
 */
ngx_int_t ngx_ws_bus_rate_ask(const ngx_ws_bus_rate_t *rate,
    const ngx_ws_bus_rate_state_t *s, uint64_t cost, ngx_msec_t now,
    uint64_t *excess, ngx_msec_t *wait);

/*
 * Charges what was asked, at the same time "now".
 */
void ngx_ws_bus_rate_charge(ngx_ws_bus_rate_state_t *s, uint64_t excess,
    ngx_msec_t now);

/*
 * Both in one, for a limit that stands alone: what passes is charged, what is
 * refused is not.  Returns as ngx_ws_bus_rate_ask().
 */
ngx_int_t ngx_ws_bus_rate(const ngx_ws_bus_rate_t *rate,
    ngx_ws_bus_rate_state_t *s, uint64_t cost, ngx_msec_t now,
    ngx_msec_t *wait);


#endif /* _NGX_WS_BUS_RATE_H_INCLUDED_ */
