
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_slot.c"

#include "fuzz.h"


/* The input is a key, an error, and the numbers of an answer. */


ngx_ws_bus_reply_t *
ngx_ws_bus_reply_at(const ngx_ws_bus_reply_t *reply, ngx_uint_t i)
{
    ngx_ws_bus_reply_t  *element;

    if (reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        return NULL;
    }

    for (element = reply->first; element && i; i--) {
        element = element->next;
    }

    return element;
}


/* a tree from bytes: a type, and what it has */

static ngx_ws_bus_reply_t *
tree(const uint8_t **p, const uint8_t *last, ngx_uint_t depth)
{
    size_t                n;
    ngx_ws_bus_reply_t   *reply, **next;

    if (*p == last) {
        return NULL;
    }

    reply = fuzz_alloc(sizeof(ngx_ws_bus_reply_t));
    memset(reply, 0, sizeof(ngx_ws_bus_reply_t));

    reply->type = *(*p)++ % 6;

    switch (reply->type) {

    case NGX_WS_BUS_REPLY_INTEGER:
        n = last - *p < 8 ? last - *p : 8;
        memcpy(&reply->integer, *p, n);
        *p += n;
        break;

    case NGX_WS_BUS_REPLY_STRING:
        n = *p < last ? *(*p)++ % 16 : 0;
        n = (size_t) (last - *p) < n ? (size_t) (last - *p) : n;
        reply->str.data = (u_char *) *p;
        reply->str.len = n;
        *p += n;
        break;

    case NGX_WS_BUS_REPLY_ARRAY:
        n = *p < last ? *(*p)++ % 8 : 0;
        next = &reply->first;

        while (n-- && depth) {
            *next = tree(p, last, depth - 1);

            if (*next == NULL) {
                break;
            }

            reply->n++;
            next = &(*next)->next;
        }

        break;

    default:
        break;
    }

    return reply;
}


static void
release(ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_reply_t  *next;

    for ( /* void */ ; reply; reply = next) {
        next = reply->next;

        release(reply->first);
        free(reply);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t                     *copy;
    ngx_int_t                    rc;
    ngx_str_t                    text;
    const uint8_t               *p;
    ngx_ws_bus_reply_t          *reply, *element;
    ngx_ws_bus_slot_range_t      range;
    ngx_ws_bus_slot_redirect_t   redirect;

    copy = fuzz_copy(data, size);

    text.data = copy;
    text.len = size;

    fuzz_check(ngx_ws_bus_slot(&text) < NGX_WS_BUS_SLOTS);

    if (ngx_ws_bus_slot_redirect(&text, &redirect) == NGX_OK) {
        fuzz_check(redirect.slot < NGX_WS_BUS_SLOTS && redirect.port != 0);
        fuzz_check(redirect.host.data > copy
                   && redirect.host.data + redirect.host.len < copy + size);
    }

    p = copy;
    reply = tree(&p, copy + size, 4);
    element = reply ? reply->first : NULL;

    while ((rc = ngx_ws_bus_slot_range(&element, &range)) == NGX_OK) {
        fuzz_check(range.first <= range.last
                   && range.last < NGX_WS_BUS_SLOTS && range.port != 0);
    }

    fuzz_check(rc == NGX_DONE || rc == NGX_ERROR);

    release(reply);
    free(copy);

    return 0;
}
