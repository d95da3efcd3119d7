
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _TEST_INCLUDED_
#define _TEST_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_servers.h"


/*
 * What the modules for tests have in common: a request whose body has commands
 * is answered when all of them are.  Included once by each of them.
 */

#define TEST_ARGS  4096


typedef struct {
    ngx_http_request_t       *request;
    void                     *owner;     /* the link, or the servers */
    ngx_ws_bus_link_op_t     *link_op;
    ngx_ws_bus_server_op_t   *op;
    ngx_str_t                 text;      /* what came of it */
} test_slot_t;


typedef struct {
    ngx_array_t               slots;
    ngx_uint_t                left;
    ngx_uint_t                parsing;
    ngx_uint_t                taken;
    ngx_uint_t                filled;
} test_ctx_t;


typedef void (*test_command_pt)(ngx_http_request_t *r, void *owner,
    ngx_str_t *argv, ngx_uint_t n);


static test_ctx_t *test_begin(ngx_http_request_t *r, ngx_uint_t max,
    ngx_http_cleanup_pt cleanup);
static void test_wait(ngx_http_request_t *r);
static void test_lines(ngx_http_request_t *r, void *owner,
    test_command_pt command);
static test_slot_t *test_slot(ngx_http_request_t *r, void *owner);
static void test_sent(test_slot_t *slot, ngx_int_t rc);
static void test_replied(test_slot_t *slot, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void test_next(ngx_http_request_t *r);
static void test_done(ngx_http_request_t *r);
static ngx_int_t test_send(ngx_http_request_t *r, ngx_buf_t *b);
static size_t test_size(ngx_ws_bus_reply_t *reply);
static u_char *test_print(u_char *p, ngx_ws_bus_reply_t *reply);
static ngx_uint_t test_closes(ngx_str_t *close, const char *when);


/* by the name that bus/ knows a module by */

extern ngx_module_t  ngx_ws_bus_module;


#define EXPORTED  __attribute__((visibility("default")))

extern EXPORTED ngx_module_t  *ngx_modules[];
extern EXPORTED char          *ngx_module_names[];
extern EXPORTED char          *ngx_module_order[];

ngx_module_t  *ngx_modules[] = { &ngx_ws_bus_module, NULL };
char          *ngx_module_names[] = { "ngx_ws_bus_module", NULL };
char          *ngx_module_order[] = { NULL };


static test_ctx_t *
test_begin(ngx_http_request_t *r, ngx_uint_t max, ngx_http_cleanup_pt cleanup)
{
    test_ctx_t          *ctx;
    ngx_http_cleanup_t  *cln;

    ctx = ngx_pcalloc(r->pool, sizeof(test_ctx_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (ctx == NULL || cln == NULL
        || ngx_array_init(&ctx->slots, r->pool, max, sizeof(test_slot_t))
           != NGX_OK)
    {
        ngx_http_finalize_request(r, NGX_ERROR);
        return NULL;
    }

    ngx_http_set_ctx(r, ctx, ngx_ws_bus_module);

    cln->handler = cleanup;
    cln->data = ctx;

    ctx->parsing = 1;

    return ctx;
}


static void
test_wait(ngx_http_request_t *r)
{
    test_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    ctx->parsing = 0;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (ctx->left == 0) {
        test_done(r);
    }
}


static void
test_lines(ngx_http_request_t *r, void *owner, test_command_pt command)
{
    size_t        len;
    u_char       *p, *last, *start;
    ngx_str_t     argv[TEST_ARGS];
    ngx_uint_t    n;
    ngx_chain_t  *cl;

    len = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        len += cl->buf->last - cl->buf->pos;
    }

    p = ngx_palloc(r->pool, len + 1);
    if (p == NULL) {
        return;
    }

    last = p;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        last = ngx_cpymem(last, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    n = 0;

    for (start = p; p < last; p++) {

        if (*p != '\t' && *p != LF) {
            continue;
        }

        if (n < TEST_ARGS) {
            argv[n].data = start;
            argv[n].len = p - start;
            n++;
        }

        start = p + 1;

        if (*p == LF) {
            command(r, owner, argv, n);
            n = 0;
        }
    }
}


static test_slot_t *
test_slot(ngx_http_request_t *r, void *owner)
{
    test_ctx_t   *ctx;
    test_slot_t  *slot;

    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    /* they must not move */

    if (ctx->slots.nelts == ctx->slots.nalloc) {
        return NULL;
    }

    slot = ngx_array_push(&ctx->slots);

    ngx_memzero(slot, sizeof(test_slot_t));

    slot->request = r;
    slot->owner = owner;

    return slot;
}


static void
test_sent(test_slot_t *slot, ngx_int_t rc)
{
    test_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(slot->request, ngx_ws_bus_module);

    switch (rc) {

    case NGX_OK:
        ctx->left++;
        ctx->taken++;
        return;

    case NGX_AGAIN:
        ngx_str_set(&slot->text, "full");
        return;

    case NGX_DECLINED:
        ngx_str_set(&slot->text, "down");
        return;

    default:
        ngx_str_set(&slot->text, "error");
    }
}


static void
test_replied(test_slot_t *slot, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    slot->op = NULL;
    slot->link_op = NULL;

    if (reply == NULL) {
        ngx_str_set(&slot->text, "lost");

        if (rc == NGX_DECLINED) {
            ngx_str_set(&slot->text, "unsent");
        }

        return;
    }

    slot->text.data = ngx_pnalloc(slot->request->pool, test_size(reply));

    if (slot->text.data) {
        slot->text.len = test_print(slot->text.data, reply)
                         - slot->text.data;
    }
}


static void
test_next(ngx_http_request_t *r)
{
    test_ctx_t        *ctx;
    ngx_connection_t  *c;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    if (--ctx->left == 0 && !ctx->parsing) {
        test_done(r);
        ngx_http_run_posted_requests(c);
    }
}


static void
test_done(ngx_http_request_t *r)
{
    size_t        size;
    ngx_buf_t    *b;
    ngx_uint_t    i;
    test_ctx_t   *ctx;
    test_slot_t  *slot;

    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);
    slot = ctx->slots.elts;
    size = NGX_INT64_LEN + 1;

    for (i = 0; i < ctx->slots.nelts; i++) {

        /* of those that filled the queue the length is enough */

        if (ctx->filled) {
            slot[i].text.len = ngx_min(slot[i].text.len, 8);
        }

        size += slot[i].text.len + 1;
    }

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (ctx->filled) {
        b->last = ngx_sprintf(b->last, "%ui\n", ctx->taken);
    }

    for (i = 0; i < ctx->slots.nelts; i++) {
        if (slot[i].text.len) {
            b->last = ngx_cpymem(b->last, slot[i].text.data,
                                 slot[i].text.len);
        }

        *b->last++ = LF;
    }

    ngx_http_finalize_request(r, test_send(r, b));
}


static ngx_int_t
test_send(ngx_http_request_t *r, ngx_buf_t *b)
{
    ngx_int_t    rc;
    ngx_chain_t  out;

    b->last_buf = 1;
    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


static size_t
test_size(ngx_ws_bus_reply_t *reply)
{
    size_t               size;
    ngx_ws_bus_reply_t  *element;

    size = reply->str.len + NGX_INT64_LEN + 4;

    for (element = reply->first; element; element = element->next) {
        size += test_size(element);
    }

    return size;
}


/* +status -error :integer $string _ [ of, elements ] */

static u_char *
test_print(u_char *p, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_reply_t  *element;

    static const char  types[] = "$+-:_";

    switch (reply->type) {

    case NGX_WS_BUS_REPLY_ARRAY:
        *p++ = '[';

        for (element = reply->first; element; element = element->next) {
            p = test_print(p, element);
            *p++ = ' ';
        }

        *p++ = ']';
        return p;

    case NGX_WS_BUS_REPLY_INTEGER:
        return ngx_sprintf(p, ":%L", reply->integer);

    default:
        *p++ = types[reply->type];

        return reply->str.len
               ? ngx_cpymem(p, reply->str.data, reply->str.len) : p;
    }
}


static ngx_uint_t
test_closes(ngx_str_t *close, const char *when)
{
    return close->len == ngx_strlen(when)
           && ngx_strncmp(close->data, when, close->len) == 0;
}


#endif /* _TEST_INCLUDED_ */
