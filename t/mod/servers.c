
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "test.h"


/*
 * A module for tests: the servers of a Redis, driven over HTTP.
 *
 *     servers_redis NAME { ... }    the block of "ws_bus_redis"
 *     servers NAME REDIS [listen] [close=up|moved|gone|push|reply]
 *                                   in each worker
 *
 *     servers_handler               a location:
 *
 *     POST ?name=NAME               lines "key command argument...", separated
 *                                   by tabs, all in one turn; a reply per line
 *     POST ?name=NAME&apart=1       the same, each of another publisher
 *     POST ?name=NAME&subscribe=1   the same, on the links to listen
 *     GET  ?name=NAME               the servers
 *     GET  ?name=NAME&events=1      what handlers were called since
 *     GET  ?name=NAME&listen=0|1
 */

#define SERVERS  12
#define LINES    10000
#define EVENTS   (4 * 1024 * 1024)


typedef struct {
    ngx_str_t                 name;
    ngx_ws_bus_redis_t       *redis;
    ngx_str_t                 close;
    ngx_uint_t                listen;
    ngx_ws_bus_servers_t     *servers;
    u_char                   *events;
    u_char                   *last;
    ngx_uint_t                moved;
} test_servers_t;


typedef struct {
    ngx_array_t               redises;
    test_servers_t            servers[SERVERS];
    ngx_uint_t                n;
} test_conf_t;


static ngx_int_t test_handler(ngx_http_request_t *r);
static ngx_int_t test_state(ngx_http_request_t *r, test_servers_t *ts);
static ngx_int_t test_events(ngx_http_request_t *r, test_servers_t *ts);
static void test_body(ngx_http_request_t *r);
static void test_command(ngx_http_request_t *r, void *owner, ngx_str_t *argv,
    ngx_uint_t n);
static ngx_int_t test_subscribe(test_slot_t *slot, ngx_uint_t number,
    ngx_str_t *argv, ngx_uint_t n);
static void test_cleanup(void *data);
static void test_reply(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply);
static ngx_uint_t test_close(test_servers_t *ts, const char *when);
static void test_event(test_servers_t *ts, const char *what,
    ngx_ws_bus_server_t *server);
static void test_up(void *data, ngx_ws_bus_server_t *server);
static void test_down(void *data, ngx_ws_bus_server_t *server);
static void test_listening(void *data, ngx_ws_bus_server_t *server);
static void test_deaf(void *data, ngx_ws_bus_server_t *server);
static void test_gone(void *data, ngx_ws_bus_server_t *server);
static void test_moved(void *data, ngx_uint_t first, ngx_uint_t last);
static void test_push(void *data, ngx_ws_bus_server_t *server,
    ngx_ws_bus_reply_t *reply);
static test_servers_t *test_find(ngx_http_request_t *r);
static char *test_redis_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *test_servers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *test_location(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static void *test_create_conf(ngx_conf_t *cf);
static ngx_int_t test_postconfiguration(ngx_conf_t *cf);
static ngx_int_t test_init_process(ngx_cycle_t *cycle);
static void test_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  test_commands[] = {

    { ngx_string("servers_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      test_redis_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("servers"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      test_servers,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("servers_handler"),
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


static ngx_int_t
test_handler(ngx_http_request_t *r)
{
    ngx_int_t        rc;
    ngx_str_t        arg;
    test_servers_t  *ts;

    ts = test_find(r);

    if (ts == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (r->method == NGX_HTTP_GET) {

        if (ngx_http_arg(r, (u_char *) "events", 6, &arg) == NGX_OK) {
            return test_events(r, ts);
        }

        if (ngx_http_arg(r, (u_char *) "listen", 6, &arg) == NGX_OK
            && ts->servers)
        {
            ngx_ws_bus_servers_listen(ts->servers, arg.data[0] == '1', NULL);
        }

        return test_state(r, ts);
    }

    rc = ngx_http_read_client_request_body(r, test_body);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static ngx_int_t
test_state(ngx_http_request_t *r, test_servers_t *ts)
{
    ngx_buf_t            *b;
    ngx_uint_t            n;
    ngx_ws_bus_server_t  *s;

    b = ngx_create_temp_buf(r->pool, 512 * 1024);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_sprintf(b->last,
                          "{\"pid\":%P,\"moved\":%ui,\"complete\":%ui,"
                          "\"closed\":%ui,\"servers\":[",
                          ngx_pid, ts->moved,
                          ts->servers ? ngx_ws_bus_servers_complete(ts->servers)
                                      : 0,
                          ts->servers == NULL);

    n = 0;

    for (s = ts->servers ? ngx_ws_bus_servers_next(ts->servers, NULL) : NULL;
         s;
         s = ngx_ws_bus_servers_next(ts->servers, s))
    {
        b->last = ngx_sprintf(b->last,
                              "%s{\"name\":\"%V\",\"up\":%d,\"listening\":%d,"
                              "\"sharded\":%d,\"replid\":\"%V\","
                              "\"version\":%ui,\"slots\":%ui,\"pending\":%ui}",
                              n++ ? "," : "", &s->address.name, (int) s->up,
                              (int) s->listening, (int) s->sharded,
                              &s->replid, s->version, s->slots,
                              s->command ? s->command->pending : 0);
    }

    b->last = ngx_sprintf(b->last, "]}\n");

    return test_send(r, b);
}


static ngx_int_t
test_events(ngx_http_request_t *r, test_servers_t *ts)
{
    ngx_buf_t  *b;

    b = ngx_create_temp_buf(r->pool, ts->last - ts->events + 1);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_cpymem(b->last, ts->events, ts->last - ts->events);
    *b->last++ = LF;

    ts->last = ts->events;

    return test_send(r, b);
}


static void
test_body(ngx_http_request_t *r)
{
    if (test_begin(r, LINES, test_cleanup) == NULL) {
        return;
    }

    test_lines(r, test_find(r), test_command);
    test_wait(r);
}


static void
test_command(ngx_http_request_t *r, void *owner, ngx_str_t *argv,
    ngx_uint_t n)
{
    test_servers_t *ts = owner;

    ngx_int_t                   rc;
    ngx_str_t                   arg;
    ngx_uint_t                  number;
    test_slot_t                *slot;
    ngx_ws_bus_servers_call_t   call;

    slot = test_slot(r, ts);
    if (slot == NULL) {
        return;
    }

    number = ngx_ws_bus_slot(&argv[0]);

    if (ts->servers == NULL) {
        rc = NGX_DECLINED;

    } else if (ngx_http_arg(r, (u_char *) "subscribe", 9, &arg) == NGX_OK) {
        rc = test_subscribe(slot, number, argv + 1, n - 1);

    } else {
        ngx_memzero(&call, sizeof(ngx_ws_bus_servers_call_t));

        call.slot = number;
        call.argv = argv + 1;
        call.n = n - 1;
        call.ordered = 1;

        if (ngx_http_arg(r, (u_char *) "apart", 5, &arg) != NGX_OK) {
            call.publisher = ts;
        }

        call.handler = test_reply;
        call.data = slot;

        rc = ngx_ws_bus_servers_command(ts->servers, &call, &slot->op);
    }

    test_sent(slot, rc);
}


static ngx_int_t
test_subscribe(test_slot_t *slot, ngx_uint_t number, ngx_str_t *argv,
    ngx_uint_t n)
{
    test_servers_t       *ts;
    ngx_ws_bus_server_t  *server;

    ts = slot->owner;
    server = ngx_ws_bus_servers_of(ts->servers, number);

    if (server == NULL || !server->listening) {
        return NGX_DECLINED;
    }

    return ngx_ws_bus_link_command(server->subscriber, argv, n, test_reply,
                                   slot, &slot->link_op);
}


static void
test_cleanup(void *data)
{
    test_ctx_t *ctx = data;

    ngx_uint_t       i;
    test_slot_t     *slot;
    test_servers_t  *ts;

    slot = ctx->slots.elts;

    for (i = 0; i < ctx->slots.nelts; i++) {
        ts = slot[i].owner;

        if (ts->servers == NULL) {
            continue;
        }

        if (slot[i].op) {
            ngx_ws_bus_servers_cancel(slot[i].op);
        }

        if (slot[i].link_op) {
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


static ngx_uint_t
test_close(test_servers_t *ts, const char *when)
{
    if (ts->servers == NULL || !test_closes(&ts->close, when)) {
        return 0;
    }

    ngx_ws_bus_servers_close(ts->servers);
    ts->servers = NULL;

    return 1;
}


static void
test_event(test_servers_t *ts, const char *what, ngx_ws_bus_server_t *server)
{
    if (ts->last - ts->events < EVENTS - 1024) {
        ts->last = ngx_sprintf(ts->last, "%s %V\n", what,
                               &server->address.name);
    }

    (void) test_close(ts, what);
}


static void
test_up(void *data, ngx_ws_bus_server_t *server)
{
    test_event(data, "up", server);
}


static void
test_down(void *data, ngx_ws_bus_server_t *server)
{
    test_event(data, "down", server);
}


static void
test_listening(void *data, ngx_ws_bus_server_t *server)
{
    test_event(data, "listening", server);
}


static void
test_deaf(void *data, ngx_ws_bus_server_t *server)
{
    test_event(data, "deaf", server);
}


static void
test_gone(void *data, ngx_ws_bus_server_t *server)
{
    test_event(data, "gone", server);
}


static void
test_moved(void *data, ngx_uint_t first, ngx_uint_t last)
{
    test_servers_t *ts = data;

    ts->moved += last - first + 1;

    if (ts->last - ts->events < EVENTS - 1024) {
        ts->last = ngx_sprintf(ts->last, "moved %ui-%ui\n", first, last);
    }

    (void) test_close(ts, "moved");
}


static void
test_push(void *data, ngx_ws_bus_server_t *server, ngx_ws_bus_reply_t *reply)
{
    test_servers_t *ts = data;

    if ((size_t) (EVENTS - (ts->last - ts->events))
        > test_size(reply) + server->address.name.len + 8)
    {
        ts->last = ngx_sprintf(ts->last, "push %V ", &server->address.name);
        ts->last = test_print(ts->last, reply);
        *ts->last++ = LF;
    }

    (void) test_close(ts, "push");
}


static test_servers_t *
test_find(ngx_http_request_t *r)
{
    ngx_str_t     name;
    ngx_uint_t    i;
    test_conf_t  *conf;

    conf = ngx_http_get_module_main_conf(r, ngx_ws_bus_module);

    if (ngx_http_arg(r, (u_char *) "name", 4, &name) != NGX_OK) {
        return NULL;
    }

    for (i = 0; i < conf->n; i++) {
        if (conf->servers[i].name.len == name.len
            && ngx_strncmp(conf->servers[i].name.data, name.data, name.len)
               == 0)
        {
            return &conf->servers[i];
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
test_servers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    test_conf_t *tcf = conf;

    ngx_str_t       *value;
    ngx_uint_t       i;
    test_servers_t  *ts;

    if (tcf->n == SERVERS) {
        return "is one too many";
    }

    value = cf->args->elts;
    ts = &tcf->servers[tcf->n++];

    ts->name = value[1];
    ts->redis = ngx_ws_bus_redis_find(&tcf->redises, &value[2]);

    if (ts->redis == NULL) {
        return "has no such redis";
    }

    ts->events = ngx_palloc(cf->pool, EVENTS);
    if (ts->events == NULL) {
        return NGX_CONF_ERROR;
    }

    ts->last = ts->events;

    for (i = 3; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "listen") == 0) {
            ts->listen = 1;

        } else if (ngx_strncmp(value[i].data, "close=", 6) == 0) {
            ts->close.data = value[i].data + 6;
            ts->close.len = value[i].len - 6;

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
    test_conf_t  *conf;

    conf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    return ngx_ws_bus_redis_init(cf, &conf->redises, NULL, 2000);
}


static ngx_int_t
test_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    test_conf_t                    *conf;
    test_servers_t                 *ts;
    ngx_ws_bus_servers_handlers_t   handlers;

    conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_ws_bus_module);

    if (conf == NULL || ngx_process != NGX_PROCESS_WORKER) {
        return NGX_OK;
    }

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_servers_handlers_t));

    handlers.up = test_up;
    handlers.down = test_down;
    handlers.listening = test_listening;
    handlers.deaf = test_deaf;
    handlers.push = test_push;
    handlers.moved = test_moved;
    handlers.gone = test_gone;

    for (i = 0; i < conf->n; i++) {
        ts = &conf->servers[i];

        handlers.data = ts;

        ts->servers = ngx_ws_bus_servers_create(ts->redis, &handlers,
                                                cycle->log);
        if (ts->servers == NULL) {
            return NGX_ERROR;
        }

        if (ts->listen) {
            ngx_ws_bus_servers_listen(ts->servers, 1, NULL);
        }
    }

    return NGX_OK;
}


static void
test_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t    i;
    test_conf_t  *conf;

    conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_ws_bus_module);

    for (i = 0; conf && i < conf->n; i++) {
        if (conf->servers[i].servers) {
            ngx_ws_bus_servers_close(conf->servers[i].servers);
            conf->servers[i].servers = NULL;
        }
    }
}
