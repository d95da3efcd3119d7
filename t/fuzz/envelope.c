
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_chain.c"
#include "ngx_ws_bus_envelope.c"

#include "fuzz.h"


static void check_read(const uint8_t *data, size_t size);
static void check_follows(const ngx_ws_bus_envelope_t *e, uint64_t epoch,
    uint64_t seq);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t  *p;

    check_read(data, size);

    /* most inputs get no further than the magic */

    p = fuzz_alloc(size + 4);

    memcpy(p, ngx_ws_bus_envelope_magic, 4);

    if (size) {
        memcpy(p + 4, data, size);
    }

    check_read(p, size + 4);

    free(p);

    return 0;
}


/* an envelope has one form: what is read is written the same */

static void
check_read(const uint8_t *data, size_t size)
{
    u_char                 *p, *again;
    size_t                  n;
    ngx_int_t               rc;
    ngx_ws_bus_envelope_t   e;

    p = fuzz_copy(data, size);
    rc = ngx_ws_bus_envelope_read(&e, p, size);

    if (rc != NGX_OK) {
        fuzz_check(rc == NGX_DECLINED || rc == NGX_ERROR);
        fuzz_check(size >= 3 && memcmp(p, "\xff" "wb", 3) == 0);
        free(p);
        return;
    }

    fuzz_check(e.payload.data + e.payload.len == p + size);

    if (!(e.flags & NGX_WS_BUS_ENVELOPE_BINARY)) {
        fuzz_check(ngx_ws_bus_utf8_valid(e.payload.data, e.payload.len));
    }

    if (e.plain) {
        fuzz_check(e.payload.data == p && (e.flags & ~1) == 0);
        free(p);
        return;
    }

    n = ngx_ws_bus_envelope_size(&e);

    fuzz_check(n == size && n - e.payload.len <= NGX_WS_BUS_ENVELOPE_HEAD);

    again = fuzz_alloc(n);

    fuzz_check(ngx_ws_bus_envelope_write(again, &e) == again + n);
    fuzz_check(memcmp(again, p, n) == 0);

    if (e.flags & NGX_WS_BUS_ENVELOPE_SEQ) {
        check_follows(&e, e.epoch, e.seq - 1);
        check_follows(&e, e.epoch, e.seq);
        check_follows(&e, e.prev, e.base);
        check_follows(&e, e.prev, e.base + 1);
        check_follows(&e, e.time, e.age);
    }

    free(again);
    free(p);
}


/* a message and the position behind it say the same to a host */

static void
check_follows(const ngx_ws_bus_envelope_t *e, uint64_t epoch, uint64_t seq)
{
    ngx_int_t              message, position;
    ngx_ws_bus_position_t  pos;

    pos.epoch = e->epoch;
    pos.seq = e->seq;
    pos.chain.n = 0;
    ngx_ws_bus_chain_append(&pos.chain, e->prev, e->base);

    message = ngx_ws_bus_envelope_follows(e, epoch, seq);
    position = ngx_ws_bus_position_follows(&pos, epoch, seq);

    switch (message) {

    case NGX_OK:
        fuzz_check(position == NGX_AGAIN && seq + 1 == e->seq);
        break;

    case NGX_AGAIN:
        fuzz_check(position == NGX_AGAIN && seq + 1 < e->seq);
        break;

    case NGX_DONE:
        fuzz_check(seq >= e->seq && epoch == e->epoch);
        fuzz_check(position == (seq == e->seq ? NGX_OK : NGX_DECLINED));
        break;

    default:
        fuzz_check(message == NGX_DECLINED && position == NGX_DECLINED);
        break;
    }
}
