
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_base64.c"
#include "ngx_ws_bus_sse.c"

#include "fuzz.h"


/*
 * What a client has understood of a stream: the algorithm of the HTML
 * standard, 9.2.6, with the last event of each type.
 */

typedef struct {
    size_t    dispatched;
    char      type[16];
    u_char   *data;
    size_t    len;
    char      id[64];
} client_t;


static void check_event(uint8_t flags, const uint8_t *data, size_t size);
static void check_id(const uint8_t *data, size_t size);
static void check_accept(const uint8_t *data, size_t size);
static void client_read(client_t *c, const u_char *p, size_t len);
static void client_line(client_t *c, const u_char *p, size_t len);


/* The first byte says what the rest is a payload of. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }

    check_event(data[0], data + 1, size - 1);
    check_id(data + 1, size - 1);
    check_accept(data + 1, size - 1);

    return 0;
}


static void
check_event(uint8_t flags, const uint8_t *data, size_t size)
{
    u_char                  *p, *want;
    size_t                   i, n;
    client_t                 c;
    uint64_t                 epoch, seq;
    ngx_str_t                s;
    ngx_ws_bus_sse_event_t   e;

    e.binary = flags & 1;
    e.seq = flags >> 1;
    e.epoch = 0x9e3779b97f4a7c15ULL * (flags + size);
    e.payload.data = fuzz_copy(data, size);
    e.payload.len = size;

    n = ngx_ws_bus_sse_event_size(&e);
    p = fuzz_alloc(n);

    fuzz_check(ngx_ws_bus_sse_event(p, &e) == p + n);

    memset(&c, 0, sizeof(client_t));
    c.data = fuzz_alloc(n);

    client_read(&c, p, n);

    fuzz_check(c.dispatched == 1);

    if (e.seq) {
        s.data = (u_char *) c.id;
        s.len = strlen(c.id);

        fuzz_check(ngx_ws_bus_sse_id(&s, &epoch, &seq) == NGX_OK);
        fuzz_check(epoch == e.epoch && seq == e.seq);

    } else {
        fuzz_check(c.id[0] == '\0');
    }

    if (e.binary) {
        fuzz_check(strcmp(c.type, "binary") == 0);

        s.data = c.data;
        s.len = c.len;

        fuzz_check(ngx_ws_bus_base64_decode(&s) == NGX_OK);
        fuzz_check(s.len == size
                   && (size == 0 || memcmp(s.data, data, size) == 0));

    } else {
        fuzz_check(c.type[0] == '\0');

        want = fuzz_alloc(size);
        n = 0;

        for (i = 0; i < size; i++) {
            if (data[i] == '\n' && i && data[i - 1] == '\r') {
                continue;
            }

            want[n++] = (data[i] == '\r') ? '\n' : data[i];
        }

        fuzz_check(c.len == n && (n == 0 || memcmp(c.data, want, n) == 0));

        free(want);
    }

    free(c.data);
    free(p);
    free(e.payload.data);
}


static void
client_read(client_t *c, const u_char *p, size_t len)
{
    size_t  i, start;

    start = 0;

    for (i = 0; i < len; i++) {

        if (p[i] != '\n' && p[i] != '\r') {
            continue;
        }

        client_line(c, p + start, i - start);

        if (p[i] == '\r' && i + 1 < len && p[i + 1] == '\n') {
            i++;
        }

        start = i + 1;
    }

    /* what is not ended is not there */

    fuzz_check(start == len);
}


static void
client_line(client_t *c, const u_char *p, size_t len)
{
    size_t         n, value;
    const u_char  *colon;

    if (len == 0) {

        /* the data has an LF behind each line; without it, no event */

        if (c->len) {
            c->len--;
            c->dispatched++;
        }

        return;
    }

    fuzz_check(c->dispatched == 0);

    colon = memchr(p, ':', len);
    fuzz_check(colon != NULL);

    n = colon - p;
    value = n + 1;

    if (value < len && p[value] == ' ') {
        value++;
    }

    if (n == 4 && memcmp(p, "data", 4) == 0) {
        memcpy(c->data + c->len, p + value, len - value);
        c->len += len - value;
        c->data[c->len++] = '\n';
        return;
    }

    if (n == 5 && memcmp(p, "event", 5) == 0) {
        fuzz_check(len - value < sizeof(c->type));
        memcpy(c->type, p + value, len - value);
        return;
    }

    fuzz_check(n == 2 && memcmp(p, "id", 2) == 0);
    fuzz_check(len - value < sizeof(c->id));
    memcpy(c->id, p + value, len - value);
}


static void
check_id(const uint8_t *data, size_t size)
{
    u_char     buf[NGX_WS_BUS_SSE_MAX], *last;
    uint64_t   epoch, seq;
    ngx_str_t  id;

    id.data = fuzz_copy(data, size);
    id.len = size;

    if (ngx_ws_bus_sse_id(&id, &epoch, &seq) == NGX_OK) {

        /* it is the one that is written, but for zeros in front */

        last = ngx_ws_bus_sse_position(buf, epoch, seq);

        fuzz_check((size_t) (last - buf) <= sizeof("id: \n\n") - 1 + size);
        fuzz_check(memcmp(buf + 4, data, 17) == 0);
    }

    free(id.data);
}


static void
check_accept(const uint8_t *data, size_t size)
{
    char        *text;
    size_t       i;
    ngx_str_t    accept;
    ngx_uint_t   accepted;

    text = fuzz_alloc(size + sizeof("text/event-stream,"));

    accept.data = fuzz_copy(data, size);
    accept.len = size;

    accepted = ngx_ws_bus_sse_accepted(&accept);

    /* whatever the case, and whatever follows */

    for (i = 0; i < size; i++) {
        accept.data[i] = ngx_toupper(accept.data[i]);
    }

    fuzz_check(ngx_ws_bus_sse_accepted(&accept) == accepted);

    free(accept.data);

    memcpy(text, "text/event-stream,", 18);

    if (size) {
        memcpy(text + 18, data, size);
    }

    accept.data = (u_char *) text;
    accept.len = size + 18;

    fuzz_check(ngx_ws_bus_sse_accepted(&accept) == 1);

    free(text);
}
