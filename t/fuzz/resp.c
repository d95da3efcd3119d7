
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_resp.c"

#include "fuzz.h"


#define MAX_SIZE      4096
#define MAX_ELEMENTS  64
#define MAX_ARGS      8


/*
 * What a reader made of its input, one line per reply.
 */

typedef struct {
    uint64_t    hash;
    size_t      replies;
    ngx_int_t   rc;
} result_t;


static void check_command(const uint8_t *data, size_t size);
static void read_all(result_t *r, const uint8_t *data, size_t size,
    size_t step);
static size_t check_reply(result_t *r, ngx_ws_bus_reply_t *reply,
    ngx_uint_t depth, size_t *bytes);
static void hash(result_t *r, const void *data, size_t len);


/* The first byte says how the rest is split. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    result_t  whole, bytes, some;

    if (size == 0) {
        return 0;
    }

    check_command(data, size);

    read_all(&whole, data + 1, size - 1, size);
    read_all(&bytes, data + 1, size - 1, 1);
    read_all(&some, data + 1, size - 1, 1 + data[0]);

    /* the limits may be noticed earlier, the replies are the same */

    if (whole.rc != NGX_ERROR && bytes.rc != NGX_ERROR) {
        fuzz_check(whole.replies == bytes.replies);
        fuzz_check(whole.hash == bytes.hash);
    }

    if (whole.rc != NGX_ERROR && some.rc != NGX_ERROR) {
        fuzz_check(whole.replies == some.replies);
        fuzz_check(whole.hash == some.hash);
    }

    if (whole.rc == NGX_ERROR) {
        fuzz_check(bytes.rc == NGX_ERROR && some.rc == NGX_ERROR);
    }

    return 0;
}


/* A command is an array of strings: reading it gives what was written. */

static void
check_command(const uint8_t *data, size_t size)
{
    size_t               len, n;
    u_char              *p;
    ngx_str_t            argv[MAX_ARGS];
    ngx_uint_t           i;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply, *element;

    n = 0;

    while (n < MAX_ARGS) {
        len = size ? ngx_min(data[0], size - 1) : 0;

        argv[n].data = fuzz_copy(data + 1, len);
        argv[n].len = len;
        n++;

        if (size <= len + 1) {
            break;
        }

        data += len + 1;
        size -= len + 1;
    }

    len = ngx_ws_bus_resp_command_size(argv, n);
    p = fuzz_alloc(len);

    fuzz_check(ngx_ws_bus_resp_command(p, argv, n) == p + len);

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);
    fuzz_check(resp != NULL);

    fuzz_check(ngx_ws_bus_resp_feed(resp, p, len) == NGX_OK);
    fuzz_check(ngx_ws_bus_resp_next(resp, &reply) == NGX_OK);
    fuzz_check(reply->n == n);

    element = reply->first;

    for (i = 0; i < n; i++) {
        fuzz_check(element && element->type == NGX_WS_BUS_REPLY_STRING);
        fuzz_check(element->str.len == argv[i].len
                   && memcmp(element->str.data, argv[i].data, argv[i].len)
                      == 0);

        element = element->next;
    }

    fuzz_check(element == NULL);
    fuzz_check(ngx_ws_bus_resp_next(resp, &reply) == NGX_AGAIN);
    fuzz_check(!ngx_ws_bus_resp_pending(resp));

    ngx_ws_bus_resp_destroy(resp);

    for (i = 0; i < n; i++) {
        free(argv[i].data);
    }

    free(p);
}


static void
read_all(result_t *r, const uint8_t *data, size_t size, size_t step)
{
    size_t               at, n, bytes;
    uint8_t             *piece;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    memset(r, 0, sizeof(result_t));

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);
    fuzz_check(resp != NULL);

    r->rc = NGX_AGAIN;

    for (at = 0; at < size && r->rc != NGX_ERROR; at += n) {

        /* less than the limit at once, as it is bounded between two */

        n = ngx_min(ngx_min(step, size - at), MAX_SIZE);

        piece = fuzz_copy(data + at, n);
        r->rc = ngx_ws_bus_resp_feed(resp, piece, n);
        free(piece);

        while (r->rc == NGX_OK) {
            r->rc = ngx_ws_bus_resp_next(resp, &reply);

            if (r->rc == NGX_OK) {
                bytes = 0;

                fuzz_check(check_reply(r, reply, 0, &bytes) <= MAX_ELEMENTS);
                fuzz_check(bytes <= MAX_SIZE);

                r->replies++;
            }
        }
    }

    if (r->rc == NGX_ERROR) {
        fuzz_check(*ngx_ws_bus_resp_error(resp) != '\0');
        fuzz_check(ngx_ws_bus_resp_next(resp, &reply) == NGX_ERROR);
    }

    ngx_ws_bus_resp_destroy(resp);
}


static size_t
check_reply(result_t *r, ngx_ws_bus_reply_t *reply, ngx_uint_t depth,
    size_t *bytes)
{
    size_t               total;
    ngx_uint_t           n;
    ngx_ws_bus_reply_t  *element;

    hash(r, &reply->type, sizeof(reply->type));
    hash(r, &reply->integer, sizeof(reply->integer));
    hash(r, &reply->n, sizeof(reply->n));
    hash(r, reply->str.data, reply->str.len);

    *bytes += reply->str.len;

    if (reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        fuzz_check(reply->first == NULL && reply->n == 0);
        return 1;
    }

    fuzz_check(depth < NGX_WS_BUS_RESP_DEPTH);

    total = 1;
    n = 0;

    for (element = reply->first; element; element = element->next) {
        fuzz_check(ngx_ws_bus_reply_at(reply, n) == element);

        total += check_reply(r, element, depth + 1, bytes);
        n++;
    }

    fuzz_check(n == reply->n);

    return total;
}


static void
hash(result_t *r, const void *data, size_t len)
{
    size_t          i;
    const uint8_t  *p = data;

    for (i = 0; i < len; i++) {
        r->hash = (r->hash ^ p[i]) * 0x100000001b3ULL;
    }
}
