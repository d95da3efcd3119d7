
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "test.h"


/*
 * A module for tests: links to Redis, driven over HTTP.
 *
 *     link_redis NAME { ... }       the block of "ws_bus_redis"
 *     link NAME REDIS [subscriber] [sentinel] [close=up|down|push|reply]
 *                                   a link in each worker
 *
 *     link_handler                  a location:
 *
 *     POST ?link=NAME               a command per line, arguments separated
 *                                   by tabs, all in one turn; a reply per
 *                                   line
 *     POST ?link=NAME&fill=SIZE     ECHO of SIZE bytes until it is not taken;
 *                                   how many were, and the outcomes
 *     GET  ?link=NAME               state, reason, counters
 *     GET  ?link=NAME&pushes=1      what was pushed since
 */

#define LINKS   16
#define FILL    100000


typedef struct {
    ngx_str_t                 name;
    ngx_ws_bus_redis_t       *redis;
    ngx_uint_t                flags;
    ngx_str_t                 close;
    ngx_ws_bus_link_t        *link;
    ngx_ws_bus_link_stats_t   stats;
    ngx_uint_t                ups;
    ngx_uint_t                downs;
    u_char                   *pushes;
    size_t                    pushed;
    size_t                    size;
} test_link_t;


typedef struct {
    ngx_array_t               redises;
    test_link_t               links[LINKS];
    ngx_uint_t                n;
} test_conf_t;


static ngx_int_t test_handler(ngx_http_request_t *r);
static ngx_int_t test_state(ngx_http_request_t *r, test_link_t *l);
static ngx_int_t test_pushes(ngx_http_request_t *r, test_link_t *l);
static void test_body(ngx_http_request_t *r);
static void test_command(ngx_http_request_t *r, void *owner, ngx_str_t *argv,
    ngx_uint_t n);
static void test_fill(ngx_http_request_t *r, test_link_t *l, size_t size);
static void test_cleanup(void *data);
static void test_reply(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply);
static ngx_int_t test_close(test_link_t *l, const char *when);
static void test_up(void *data);
static void test_down(void *data, ngx_ws_bus_link_reason_e reason);
static void test_push(void *data, ngx_ws_bus_reply_t *reply);
static test_link_t *test_find(ngx_http_request_t *r);
static char *test_redis_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *test_link(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *test_location(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static void *test_create_conf(ngx_conf_t *cf);
static ngx_int_t test_postconfiguration(ngx_conf_t *cf);
static ngx_int_t test_init_process(ngx_cycle_t *cycle);
static void test_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  test_commands[] = {

    { ngx_string("link_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      test_redis_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("link"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      test_link,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("link_handler"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      test_location,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  test_module_ctx = {
    NULL,
    test_postconfiguration,
    test_create_conf,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL
};


/* by the name that bus/ knows a module by */

ngx_module_t  ngx_ws_bus_module = {
    NGX_MODULE_V1,
    &test_module_ctx,
    test_commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    test_init_process,
    NULL,
    NULL,
    test_exit_process,
    NULL,
    NGX_MODULE_V1_PADDING
};


static const char  *test_states[] = {
    "down", "resolving", "connecting", "securing", "greeting", "up"
};


static ngx_int_t
test_handler(ngx_http_request_t *r)
{
    ngx_int_t     rc;
    ngx_str_t     arg;
    test_link_t  *l;

    l = test_find(r);

    if (l == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (r->method == NGX_HTTP_GET) {

        if (ngx_http_arg(r, (u_char *) "pushes", 6, &arg) == NGX_OK) {
            return test_pushes(r, l);
        }

        return test_state(r, l);
    }

    rc = ngx_http_read_client_request_body(r, test_body);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static ngx_int_t
test_state(ngx_http_request_t *r, test_link_t *l)
{
    ngx_buf_t                *b;
    ngx_uint_t                i;
    ngx_ws_bus_link_t        *link;
    ngx_ws_bus_link_stats_t  *s;

    static ngx_ws_bus_link_t  closed;

    b = ngx_create_temp_buf(r->pool, 2048);
    if (b == NULL) {
        return NGX_ERROR;
    }

    s = &l->stats;
    link = l->link ? l->link : &closed;

    b->last = ngx_sprintf(b->last,
                          "{\"pid\":%P,\"state\":\"%s\",\"reason\":\"%V\","
                          "\"pending\":%ui,\"queued\":%uz,\"ups\":%ui,"
                          "\"downs\":%ui,\"commands\":%uL,\"replies\":%uL,"
                          "\"errors\":%uL,\"pushes\":%uL,\"timeouts\":%uL,"
                          "\"connects\":%uL,\"failures\":%uL,"
                          "\"bytes_in\":%uL,\"bytes_out\":%uL,"
                          "\"rtt_sum\":%uL,\"rtt\":[",
                          ngx_pid,
                          l->link ? test_states[link->state] : "closed",
                          &ngx_ws_bus_link_reasons[link->reason],
                          link->pending, link->queued, l->ups, l->downs,
                          s->commands, s->replies, s->errors, s->pushes,
                          s->timeouts, s->connects, s->failures,
                          s->bytes_in, s->bytes_out, s->rtt_sum);

    for (i = 0; i < NGX_WS_BUS_LINK_RTT_N; i++) {
        b->last = ngx_sprintf(b->last, i ? ",%uL" : "%uL", s->rtt[i]);
    }

    b->last = ngx_sprintf(b->last, "]}\n");

    return test_send(r, b);
}


static ngx_int_t
test_pushes(ngx_http_request_t *r, test_link_t *l)
{
    ngx_buf_t  *b;

    b = ngx_create_temp_buf(r->pool, l->pushed + 1);
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (l->pushed) {
        b->last = ngx_cpymem(b->last, l->pushes, l->pushed);
    }

    *b->last++ = LF;

    l->pushed = 0;

    return test_send(r, b);
}


static void
test_body(ngx_http_request_t *r)
{
    ngx_str_t     arg;
    test_ctx_t   *ctx;
    test_link_t  *l;

    l = test_find(r);
    ctx = test_begin(r, FILL, test_cleanup);

    if (ctx == NULL) {
        return;
    }

    if (ngx_http_arg(r, (u_char *) "fill", 4, &arg) == NGX_OK) {
        ctx->filled = 1;
        test_fill(r, l, ngx_atoi(arg.data, arg.len));

    } else {
        test_lines(r, l, test_command);
    }

    test_wait(r);
}


static void
test_fill(ngx_http_request_t *r, test_link_t *l, size_t size)
{
    u_char      *p;
    ngx_str_t    argv[2];
    ngx_uint_t   i;
    test_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    p = ngx_palloc(r->pool, size);
    if (p == NULL) {
        return;
    }

    ngx_memset(p, 'x', size);

    ngx_str_set(&argv[0], "ECHO");
    argv[1].data = p;
    argv[1].len = size;

    for (i = 0; i < FILL && ctx->taken == i; i++) {
        test_command(r, l, argv, 2);
    }
}


static void
test_command(ngx_http_request_t *r, void *owner, ngx_str_t *argv,
    ngx_uint_t n)
{
    test_link_t *l = owner;

    test_slot_t  *slot;

    slot = test_slot(r, l);
    if (slot == NULL) {
        return;
    }

    test_sent(slot, l->link ? ngx_ws_bus_link_command(l->link, argv, n,
                                                      test_reply, slot,
                                                      &slot->link_op)
                            : NGX_DECLINED);
}


static void
test_cleanup(void *data)
{
    test_ctx_t *ctx = data;

    ngx_uint_t    i;
    test_link_t  *l;
    test_slot_t  *slot;

    slot = ctx->slots.elts;

    for (i = 0; i < ctx->slots.nelts; i++) {
        l = slot[i].owner;

        if (slot[i].link_op && l->link) {
            ngx_ws_bus_link_cancel(slot[i].link_op);
        }
    }
}


static void
test_reply(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    test_slot_t *slot = data;

    test_ctx_t          *ctx;
    ngx_http_request_t  *r;

    r = slot->request;
    ctx = ngx_http_get_module_ctx(r, ngx_ws_bus_module);

    test_replied(slot, rc, reply);

    if (test_close(slot->owner, "reply")) {
        ctx->left = 1;
    }

    test_next(r);
}


static ngx_int_t
test_close(test_link_t *l, const char *when)
{
    if (l->link == NULL || !test_closes(&l->close, when)) {
        return 0;
    }

    ngx_ws_bus_link_close(l->link);
    l->link = NULL;

    return 1;
}


static void
test_up(void *data)
{
    test_link_t *l = data;

    l->ups++;

    (void) test_close(l, "up");
}


static void
test_down(void *data, ngx_ws_bus_link_reason_e reason)
{
    test_link_t *l = data;

    l->downs++;

    (void) test_close(l, "down");
}


static void
test_push(void *data, ngx_ws_bus_reply_t *reply)
{
    test_link_t *l = data;

    size_t   size;
    u_char  *p;

    size = l->pushed + test_size(reply) + 1;

    if (size > l->size) {
        p = realloc(l->pushes, size * 2);
        if (p == NULL) {
            return;
        }

        l->pushes = p;
        l->size = size * 2;
    }

    p = test_print(l->pushes + l->pushed, reply);
    *p++ = LF;

    l->pushed = p - l->pushes;

    (void) test_close(l, "push");
}


static test_link_t *
test_find(ngx_http_request_t *r)
{
    ngx_str_t     name;
    ngx_uint_t    i;
    test_conf_t  *conf;

    conf = ngx_http_get_module_main_conf(r, ngx_ws_bus_module);

    if (ngx_http_arg(r, (u_char *) "link", 4, &name) != NGX_OK) {
        return NULL;
    }

    for (i = 0; i < conf->n; i++) {
        if (conf->links[i].name.len == name.len
            && ngx_strncmp(conf->links[i].name.data, name.data, name.len)
               == 0)
        {
            return &conf->links[i];
        }
    }

    return NULL;
}


static char *
test_redis_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    test_conf_t *tcf = conf;

    return ngx_ws_bus_redis_block(cf, &tcf->redises);
}


static char *
test_link(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    test_conf_t *tcf = conf;

    ngx_str_t    *value;
    ngx_uint_t    i;
    test_link_t  *l;

    if (tcf->n == LINKS) {
        return "is one too many";
    }

    value = cf->args->elts;
    l = &tcf->links[tcf->n++];

    l->name = value[1];
    l->redis = ngx_ws_bus_redis_find(&tcf->redises, &value[2]);

    if (l->redis == NULL) {
        return "has no such redis";
    }

    for (i = 3; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "subscriber") == 0) {
            l->flags |= NGX_WS_BUS_LINK_SUBSCRIBER;

        } else if (ngx_strcmp(value[i].data, "sentinel") == 0) {
            l->flags |= NGX_WS_BUS_LINK_SENTINEL;

        } else if (ngx_strncmp(value[i].data, "close=", 6) == 0) {
            l->close.data = value[i].data + 6;
            l->close.len = value[i].len - 6;

        } else if (ngx_strncmp(value[i].data, "queue=", 6) == 0) {
            l->redis->link.max_queue = ngx_atoi(value[i].data + 6,
                                                value[i].len - 6);

        } else if (ngx_strncmp(value[i].data, "reply=", 6) == 0) {
            l->redis->link.max_reply = ngx_atoi(value[i].data + 6,
                                                value[i].len - 6);

        } else {
            return "has an unknown parameter";
        }
    }

    return NGX_CONF_OK;
}


static char *
test_location(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = test_handler;

    return NGX_CONF_OK;
}


static void *
test_create_conf(ngx_conf_t *cf)
{
    test_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(test_conf_t));

    if (conf == NULL
        || ngx_array_init(&conf->redises, cf->pool, 4,
                          sizeof(ngx_ws_bus_redis_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static ngx_int_t
test_postconfiguration(ngx_conf_t *cf)
{
    test_conf_t               *conf;
    ngx_resolver_t            *resolver;
    ngx_http_core_loc_conf_t  *clcf;

    conf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_ws_bus_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    resolver = clcf->resolver;

    if (resolver && resolver->connections.nelts == 0) {
        resolver = NULL;
    }

    return ngx_ws_bus_redis_init(cf, &conf->redises, resolver, 2000);
}


static ngx_int_t
test_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i;
    test_conf_t                 *conf;
    test_link_t                 *l;
    ngx_ws_bus_link_handlers_t   handlers;

    conf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_ws_bus_module);

    if (conf == NULL || ngx_process != NGX_PROCESS_WORKER) {
        return NGX_OK;
    }

    for (i = 0; i < conf->n; i++) {
        l = &conf->links[i];

        handlers.up = test_up;
        handlers.down = test_down;
        handlers.push = test_push;
        handlers.data = l;
        handlers.stats = &l->stats;

        l->link = ngx_ws_bus_link_create(&l->redis->link,
                                         l->redis->servers.elts, &handlers,
                                         l->flags, cycle->log);
        if (l->link == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
test_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t    i;
    test_conf_t  *conf;

    conf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_ws_bus_module);

    if (conf == NULL) {
        return;
    }

    for (i = 0; i < conf->n; i++) {
        if (conf->links[i].link) {
            ngx_ws_bus_link_close(conf->links[i].link);
            conf->links[i].link = NULL;
        }

        free(conf->links[i].pushes);
    }
}
