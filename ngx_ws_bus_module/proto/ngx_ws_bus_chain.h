
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_CHAIN_H_INCLUDED_
#define _NGX_WS_BUS_CHAIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * The epochs that one continues, the newest first: its first "base" messages
 * are those of "epoch".  Each base is smaller than the one before it, since an
 * epoch has a message at least.
 */

/* of a channel, so many are remembered */
#define NGX_WS_BUS_CHAIN  8

typedef struct {
    uint64_t      epoch;
    uint64_t      base;
} ngx_ws_bus_chain_link_t;

typedef struct {
    ngx_uint_t               n;
    ngx_ws_bus_chain_link_t  past[NGX_WS_BUS_CHAIN];
} ngx_ws_bus_chain_t;


/*
 * A further epoch of the past: before all others of the chain, or after them.
 * Of too many the oldest is forgotten.  What cannot be one, epoch 0 or a base
 * that does not fall, is left out.
 */
void ngx_ws_bus_chain_append(ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t base);
void ngx_ws_bus_chain_prepend(ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t base);

/*
 * How many messages are the same as those of an earlier epoch.  NGX_OK, or
 * NGX_DECLINED if it is not in the chain.
 */
ngx_int_t ngx_ws_bus_chain_base(const ngx_ws_bus_chain_t *chain,
    uint64_t epoch, uint64_t *base);

/*
 * 1 if whoever has seq of an earlier epoch has the first seq messages.  The
 * epoch 0, which was not known, had none.
 */
ngx_uint_t ngx_ws_bus_chain_holds(const ngx_ws_bus_chain_t *chain,
    uint64_t epoch, uint64_t seq);


#endif /* _NGX_WS_BUS_CHAIN_H_INCLUDED_ */
