
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_chain.c"

#include "tap.h"


#define N  NGX_WS_BUS_CHAIN


static void test_empty(void);
static void test_append(void);
static void test_prepend(void);
static void test_epochs(void);


int
main(void)
{
    test_empty();
    test_append();
    test_prepend();
    test_epochs();

    return tap_done();
}


static void
test_empty(void)
{
    uint64_t            base;
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;
    base = 77;

    tap_is(ngx_ws_bus_chain_base(&chain, 1, &base), NGX_DECLINED,
           "an epoch alone continues nothing");
    tap_is(base, 77, "and says nothing");
    tap_is(ngx_ws_bus_chain_holds(&chain, 1, 0), 0, "not even no message");
    tap_is(ngx_ws_bus_chain_holds(&chain, 0, 0), 1,
           "but before all epochs there was none");
    tap_is(ngx_ws_bus_chain_holds(&chain, 0, 1), 0, "indeed none");
}


static void
test_append(void)
{
    uint64_t            i, base;
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;

    ngx_ws_bus_chain_append(&chain, 0, 5);
    tap_is(chain.n, 0, "0 is no epoch");

    ngx_ws_bus_chain_append(&chain, 11, 5);
    tap_ok(chain.n == 1 && ngx_ws_bus_chain_base(&chain, 11, &base) == NGX_OK
           && base == 5, "the first one");
    tap_is(ngx_ws_bus_chain_holds(&chain, 11, 0), 1, "its beginning");
    tap_is(ngx_ws_bus_chain_holds(&chain, 11, 5), 1, "its last message");
    tap_is(ngx_ws_bus_chain_holds(&chain, 11, 6), 0, "what was lost of it");
    tap_is(ngx_ws_bus_chain_holds(&chain, 12, 5), 0, "another one");

    ngx_ws_bus_chain_append(&chain, 12, 5);
    ngx_ws_bus_chain_append(&chain, 12, 6);
    ngx_ws_bus_chain_append(&chain, 12, (uint64_t) -1);
    tap_is(chain.n, 1, "an older one that ends no earlier");

    ngx_ws_bus_chain_append(&chain, 13, 0);
    tap_ok(chain.n == 2 && ngx_ws_bus_chain_holds(&chain, 13, 0)
           && !ngx_ws_bus_chain_holds(&chain, 13, 1), "one without messages");

    ngx_ws_bus_chain_append(&chain, 14, 0);
    tap_is(chain.n, 2, "none is before that");

    chain.n = 0;

    for (i = 0; i < N + 3; i++) {
        ngx_ws_bus_chain_append(&chain, 100 + i, 50 - i);
    }

    tap_ok(chain.n == N && chain.past[0].epoch == 100
           && chain.past[N - 1].epoch == 100 + N - 1, "no more than there is "
           "room for: the newest");
}


static void
test_prepend(void)
{
    uint64_t            i;
    ngx_ws_bus_chain_t  chain;

    chain.n = 0;

    for (i = 1; i <= N + 3; i++) {
        ngx_ws_bus_chain_prepend(&chain, 100 + i, 10 * i);
    }

    tap_ok(chain.n == N && chain.past[0].epoch == 100 + N + 3
           && chain.past[N - 1].epoch == 100 + 4, "the oldest is forgotten");

    ngx_ws_bus_chain_prepend(&chain, 0, 1000);
    tap_ok(chain.n == N && chain.past[0].epoch == 100 + N + 3,
           "0 is no epoch, and changes nothing");

    ngx_ws_bus_chain_prepend(&chain, 7, 65);
    tap_ok(chain.n == 4 && chain.past[0].epoch == 7
           && chain.past[1].epoch == 106 && chain.past[1].base == 60
           && chain.past[3].epoch == 104,
           "what ends no earlier was of another history");
}


/*
 * Epochs of which each begins with a part of the one before: a position is
 * held if its messages are those of the newest one.
 */

#define EPOCHS    40
#define MESSAGES  200


static void
test_epochs(void)
{
    int                 log[EPOCHS][MESSAGES];
    uint64_t            len[EPOCHS], base, seq, same;
    ngx_uint_t          i, e, round, wrong, held;
    ngx_ws_bus_chain_t  chain;

    wrong = 0;
    held = 0;

    for (round = 0; round < 200; round++) {

        chain.n = 0;
        len[0] = 1 + rand() % 5;

        for (i = 0; i < len[0]; i++) {
            log[0][i] = rand();
        }

        for (e = 1; e < EPOCHS; e++) {

            /* with one message of its own at least, if there is another */

            base = (e > 1 ? chain.past[0].base + 1 : 0);
            base += rand() % 2 ? len[e - 1] - base
                               : rand() % (len[e - 1] - base + 1);
            len[e] = base + 1 + rand() % 4;

            for (i = 0; i < len[e]; i++) {
                log[e][i] = (i < base) ? log[e - 1][i] : rand();
            }

            ngx_ws_bus_chain_prepend(&chain, e, base);
        }

        /* the epoch of log[i] is i + 1, and the newest continues the others */

        for (i = 0; i + 1 < EPOCHS; i++) {
            for (seq = 1; seq <= len[i]; seq++) {

                same = 0;

                while (same < seq && log[i][same] == log[EPOCHS - 1][same]) {
                    same++;
                }

                if (ngx_ws_bus_chain_holds(&chain, i + 1, seq)) {
                    held++;
                    wrong += (same != seq);

                } else if (i + 1 >= EPOCHS - N) {
                    wrong += (same == seq);
                }
            }
        }
    }

    tap_is(wrong, 0, "a position is held if its messages are there");
    tap_ok(held > 1000, "%lu positions are", (unsigned long) held);
}
