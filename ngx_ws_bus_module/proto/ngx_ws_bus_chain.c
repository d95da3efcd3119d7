
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_chain.h"


void
ngx_ws_bus_chain_append(ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t base)
{
    if (epoch == 0
        || chain->n == NGX_WS_BUS_CHAIN
        || (chain->n && base >= chain->past[chain->n - 1].base))
    {
        return;
    }

    chain->past[chain->n].epoch = epoch;
    chain->past[chain->n].base = base;
    chain->n++;
}


void
ngx_ws_bus_chain_prepend(ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t base)
{
    ngx_uint_t          i;
    ngx_ws_bus_chain_t  old;

    old.n = chain->n;

    for (i = 0; i < chain->n; i++) {
        old.past[i] = chain->past[i];
    }

    chain->n = 0;

    ngx_ws_bus_chain_append(chain, epoch, base);

    for (i = 0; i < old.n; i++) {
        ngx_ws_bus_chain_append(chain, old.past[i].epoch, old.past[i].base);
    }
}


ngx_int_t
ngx_ws_bus_chain_base(const ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t *base)
{
    ngx_uint_t  i;

    for (i = 0; i < chain->n; i++) {

        if (chain->past[i].epoch == epoch) {
            *base = chain->past[i].base;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


ngx_uint_t
ngx_ws_bus_chain_holds(const ngx_ws_bus_chain_t *chain, uint64_t epoch,
    uint64_t seq)
{
    uint64_t  base;

    if (epoch == 0) {
        return seq == 0;
    }

    return ngx_ws_bus_chain_base(chain, epoch, &base) == NGX_OK
           && seq <= base;
}
