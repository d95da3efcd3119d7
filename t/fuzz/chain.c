
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_chain.c"

#include "fuzz.h"


/* The input is epochs and bases, to be put before or behind what there is. */


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t            epoch, base, found;
    ngx_uint_t          i;
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;

    for ( /* void */ ; size >= 3; data += 3, size -= 3) {

        epoch = data[1];
        base = (data[2] == 255) ? (uint64_t) -1 : data[2];

        if (data[0] & 1) {
            ngx_ws_bus_chain_prepend(&chain, epoch, base);

            if (epoch) {
                fuzz_check(ngx_ws_bus_chain_base(&chain, epoch, &found)
                           == NGX_OK && found == base);
                fuzz_check(ngx_ws_bus_chain_holds(&chain, epoch, base));
            }

        } else {
            ngx_ws_bus_chain_append(&chain, epoch, base);
        }

        fuzz_check(chain.n <= NGX_WS_BUS_CHAIN);

        for (i = 0; i < chain.n; i++) {
            fuzz_check(chain.past[i].epoch);
            fuzz_check(i == 0 || chain.past[i].base < chain.past[i - 1].base);
        }
    }

    return 0;
}
