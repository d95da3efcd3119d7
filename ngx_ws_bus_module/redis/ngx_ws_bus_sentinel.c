
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_sentinel.h"


/* a message about a new master may be lost: milliseconds between questions */
#define NGX_WS_BUS_SENTINEL_ASK      10000

/* the same while the master is suspected */
#define NGX_WS_BUS_SENTINEL_SUSPECT  500

/* "[host]:port" */
#define NGX_WS_BUS_SENTINEL_NAME     (255 + sizeof("[]:65535"))


/*
 * One sentinel, with a link to ask and one to listen.
 */

typedef struct {
    ngx_ws_bus_sentinel_t           *sentinel;
    ngx_ws_bus_link_server_t        *server;
    ngx_ws_bus_link_t               *asking;
    ngx_ws_bus_link_t               *listening;
    uint64_t                         epoch;     /* of the configuration */
    ngx_uint_t                       asked;     /* unsigned  asked:1; */
    ngx_uint_t                       ignorant;  /* unsigned  ignorant:1; */
} ngx_ws_bus_sentinel_peer_t;


struct ngx_ws_bus_sentinel_s {
    ngx_ws_bus_redis_t              *redis;
    ngx_ws_bus_sentinel_handlers_t   handlers;
    ngx_log_t                       *log;
    ngx_event_t                      timer;

    ngx_uint_t                       trusted;   /* unsigned  trusted:1; */
    uint64_t                         epoch;     /* of the configuration */
    ngx_pool_t                      *pool;      /* of the master */
    ngx_ws_bus_link_server_t        *master;    /* NULL: not known */

    ngx_uint_t                       npeers;
    ngx_ws_bus_sentinel_peer_t       peers[1];
};


static ngx_int_t ngx_ws_bus_sentinel_peer(ngx_ws_bus_sentinel_peer_t *peer);
static void ngx_ws_bus_sentinel_asking_up(void *data);
static void ngx_ws_bus_sentinel_asking_down(void *data,
    ngx_ws_bus_link_reason_e reason);
static void ngx_ws_bus_sentinel_listening_up(void *data);
static void ngx_ws_bus_sentinel_push(void *data, ngx_ws_bus_reply_t *reply);
static ngx_uint_t ngx_ws_bus_sentinel_concerns(ngx_ws_bus_sentinel_t *st,
    ngx_str_t *message);
static void ngx_ws_bus_sentinel_ask(ngx_ws_bus_sentinel_peer_t *peer);
static void ngx_ws_bus_sentinel_epoch_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_sentinel_address_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_sentinel_learn(ngx_ws_bus_sentinel_peer_t *peer,
    ngx_str_t *ip, ngx_str_t *port);
static void ngx_ws_bus_sentinel_timer_handler(ngx_event_t *ev);


/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_sentinel_dumb;


ngx_ws_bus_sentinel_t *
ngx_ws_bus_sentinel_create(ngx_ws_bus_redis_t *redis,
    ngx_ws_bus_sentinel_handlers_t *handlers, ngx_log_t *log)
{
    ngx_uint_t                 i, n;
    ngx_ws_bus_sentinel_t     *st;
    ngx_ws_bus_link_server_t  *servers;

    servers = redis->servers.elts;
    n = redis->servers.nelts;

    st = ngx_calloc(sizeof(ngx_ws_bus_sentinel_t)
                    + (n - 1) * sizeof(ngx_ws_bus_sentinel_peer_t), log);
    if (st == NULL) {
        return NULL;
    }

    st->redis = redis;
    st->handlers = *handlers;
    st->log = log;

    ngx_ws_bus_sentinel_dumb.fd = (ngx_socket_t) -1;

    st->timer.handler = ngx_ws_bus_sentinel_timer_handler;
    st->timer.data = &ngx_ws_bus_sentinel_dumb;
    st->timer.log = log;
    st->timer.cancelable = 1;

    for (i = 0; i < n; i++) {
        st->peers[i].sentinel = st;
        st->peers[i].server = &servers[i];
        st->npeers++;

        if (ngx_ws_bus_sentinel_peer(&st->peers[i]) != NGX_OK) {
            ngx_ws_bus_sentinel_close(st);
            return NULL;
        }
    }

    ngx_add_timer(&st->timer, NGX_WS_BUS_SENTINEL_SUSPECT);

    return st;
}


static ngx_int_t
ngx_ws_bus_sentinel_peer(ngx_ws_bus_sentinel_peer_t *peer)
{
    ngx_ws_bus_sentinel_t       *st;
    ngx_ws_bus_link_handlers_t   handlers;

    st = peer->sentinel;

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_link_handlers_t));

    handlers.data = peer;
    handlers.up = ngx_ws_bus_sentinel_asking_up;
    handlers.down = ngx_ws_bus_sentinel_asking_down;

    peer->asking = ngx_ws_bus_link_create(&st->redis->link, peer->server,
                                          &handlers,
                                          NGX_WS_BUS_LINK_SENTINEL, st->log);

    handlers.up = ngx_ws_bus_sentinel_listening_up;
    handlers.down = NULL;
    handlers.push = ngx_ws_bus_sentinel_push;

    peer->listening = ngx_ws_bus_link_create(&st->redis->link, peer->server,
                                             &handlers,
                                             NGX_WS_BUS_LINK_SENTINEL
                                             |NGX_WS_BUS_LINK_SUBSCRIBER,
                                             st->log);

    return (peer->asking && peer->listening) ? NGX_OK : NGX_ERROR;
}


void
ngx_ws_bus_sentinel_close(ngx_ws_bus_sentinel_t *st)
{
    ngx_uint_t  i;

    for (i = 0; i < st->npeers; i++) {

        if (st->peers[i].asking) {
            ngx_ws_bus_link_close(st->peers[i].asking);
        }

        if (st->peers[i].listening) {
            ngx_ws_bus_link_close(st->peers[i].listening);
        }
    }

    if (st->timer.timer_set) {
        ngx_del_timer(&st->timer);
    }

    if (st->pool) {
        ngx_destroy_pool(st->pool);
    }

    ngx_free(st);
}


void
ngx_ws_bus_sentinel_suspect(ngx_ws_bus_sentinel_t *st)
{
    ngx_msec_int_t  left;

    st->trusted = 0;

    if (st->timer.timer_set) {
        left = (ngx_msec_int_t) (st->timer.timer.key - ngx_current_msec);

        if (left <= NGX_WS_BUS_SENTINEL_SUSPECT) {
            return;
        }
    }

    ngx_add_timer(&st->timer, NGX_WS_BUS_SENTINEL_SUSPECT);
}


void
ngx_ws_bus_sentinel_trust(ngx_ws_bus_sentinel_t *st)
{
    st->trusted = 1;
}


static void
ngx_ws_bus_sentinel_timer_handler(ngx_event_t *ev)
{
    ngx_uint_t              i;
    ngx_ws_bus_sentinel_t  *st;

    st = (ngx_ws_bus_sentinel_t *) ((u_char *) ev
                                    - offsetof(ngx_ws_bus_sentinel_t, timer));

    for (i = 0; i < st->npeers; i++) {
        ngx_ws_bus_sentinel_ask(&st->peers[i]);
    }

    ngx_add_timer(ev, st->trusted ? NGX_WS_BUS_SENTINEL_ASK
                                  : NGX_WS_BUS_SENTINEL_SUSPECT);
}


static void
ngx_ws_bus_sentinel_asking_up(void *data)
{
    ngx_ws_bus_sentinel_ask(data);
}


static void
ngx_ws_bus_sentinel_asking_down(void *data, ngx_ws_bus_link_reason_e reason)
{
    ngx_ws_bus_sentinel_peer_t *peer = data;

    (void) reason;

    peer->asked = 0;
}


static void
ngx_ws_bus_sentinel_listening_up(void *data)
{
    ngx_ws_bus_sentinel_peer_t *peer = data;

    ngx_str_t  argv[] = {
        ngx_string("SUBSCRIBE"),
        ngx_string("+switch-master")
    };

    (void) ngx_ws_bus_link_command(peer->listening, argv, 2, NULL, NULL,
                                   NULL);
}


/*
 * The confirmation of the subscription comes here as well: what has changed
 * before it is asked for, what changes after it is told.
 */

static void
ngx_ws_bus_sentinel_push(void *data, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_sentinel_peer_t *peer = data;

    ngx_ws_bus_reply_t  *kind, *message;

    kind = ngx_ws_bus_reply_at(reply, 0);
    message = ngx_ws_bus_reply_at(reply, 2);

    if (kind == NULL || message == NULL) {
        return;
    }

    if (message->type == NGX_WS_BUS_REPLY_STRING
        && kind->str.len == sizeof("message") - 1
        && !ngx_ws_bus_sentinel_concerns(peer->sentinel, &message->str))
    {
        return;
    }

    ngx_ws_bus_sentinel_ask(peer);
}


/*
 * "name old-ip old-port new-ip new-port": a sentinel may watch many masters.
 */

static ngx_uint_t
ngx_ws_bus_sentinel_concerns(ngx_ws_bus_sentinel_t *st, ngx_str_t *message)
{
    ngx_str_t  *name;

    name = &st->redis->master;

    return message->len > name->len
           && ngx_memcmp(message->data, name->data, name->len) == 0
           && message->data[name->len] == ' ';
}


/*
 * Two questions, since while replicas are told of their new master SENTINEL
 * MASTER has the address of the old one, and the epoch of the new one.  In
 * this order: an old epoch with a new address does no harm.
 */

static void
ngx_ws_bus_sentinel_ask(ngx_ws_bus_sentinel_peer_t *peer)
{
    ngx_str_t  argv[] = {
        ngx_string("SENTINEL"),
        ngx_string("MASTER"),
        ngx_null_string
    };

    if (peer->asked) {
        return;
    }

    argv[2] = peer->sentinel->redis->master;

    if (ngx_ws_bus_link_command(peer->asking, argv, 3,
                                ngx_ws_bus_sentinel_epoch_handler, peer, NULL)
        != NGX_OK)
    {
        return;
    }

    ngx_str_set(&argv[1], "GET-MASTER-ADDR-BY-NAME");

    if (ngx_ws_bus_link_command(peer->asking, argv, 3,
                                ngx_ws_bus_sentinel_address_handler, peer,
                                NULL)
        == NGX_OK)
    {
        peer->asked = 1;
    }
}


static void
ngx_ws_bus_sentinel_epoch_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_sentinel_peer_t *peer = data;

    ngx_int_t            epoch;
    ngx_ws_bus_reply_t  *field;

    peer->epoch = 0;

    if (rc != NGX_OK) {
        return;
    }

    /* names and values */

    for (field = reply->first; field && field->next;
         field = field->next->next)
    {
        if (field->str.len == 12
            && ngx_memcmp(field->str.data, "config-epoch", 12) == 0)
        {
            epoch = ngx_atoi(field->next->str.data, field->next->str.len);
            peer->epoch = ngx_max(epoch, 0);
            return;
        }
    }
}


static void
ngx_ws_bus_sentinel_address_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_sentinel_peer_t *peer = data;

    ngx_str_t              *ip, *port;
    ngx_ws_bus_sentinel_t  *st;

    st = peer->sentinel;
    peer->asked = 0;

    if (rc != NGX_OK) {
        return;
    }

    if (reply->type == NGX_WS_BUS_REPLY_ARRAY && reply->n == 2) {
        ip = &reply->first->str;
        port = &reply->first->next->str;

        if (ip->len && ip->len <= 255 && port->len && port->len <= 5) {
            peer->ignorant = 0;
            ngx_ws_bus_sentinel_learn(peer, ip, port);
            return;
        }
    }

    if (peer->ignorant) {
        return;
    }

    peer->ignorant = 1;

    ngx_log_error(NGX_LOG_ERR, st->log, 0,
                  "ws_bus_redis \"%V\": sentinel %V does not know a master "
                  "\"%V\"", &st->redis->link.name, &peer->server->name,
                  &st->redis->master);
}


static void
ngx_ws_bus_sentinel_learn(ngx_ws_bus_sentinel_peer_t *peer, ngx_str_t *ip,
    ngx_str_t *port)
{
    char                      *err;
    u_char                     buf[NGX_WS_BUS_SENTINEL_NAME];
    ngx_str_t                  name;
    ngx_pool_t                *pool, *old;
    ngx_ws_bus_sentinel_t     *st;
    ngx_ws_bus_link_server_t  *server;

    st = peer->sentinel;

    if (st->master && peer->epoch < st->epoch) {
        return;
    }

    name.data = buf;
    name.len = (ngx_strlchr(ip->data, ip->data + ip->len, ':')
                ? ngx_snprintf(buf, sizeof(buf), "[%V]:%V", ip, port)
                : ngx_snprintf(buf, sizeof(buf), "%V:%V", ip, port))
               - buf;

    st->epoch = peer->epoch;

    if (st->master && st->master->name.len == name.len
        && ngx_memcmp(st->master->name.data, name.data, name.len) == 0)
    {
        return;
    }

    pool = ngx_create_pool(1024, st->log);
    if (pool == NULL) {
        return;
    }

    server = ngx_pcalloc(pool, sizeof(ngx_ws_bus_link_server_t));

    if (server == NULL
        || ngx_ws_bus_link_server(pool, &name, NGX_WS_BUS_REDIS_PORT, server,
                                  &err)
           != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, st->log, 0,
                      "ws_bus_redis \"%V\": sentinel %V names a master \"%V\" "
                      "that cannot be used", &st->redis->link.name,
                      &peer->server->name, &name);
        ngx_destroy_pool(pool);
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, st->log, 0,
                  "ws_bus_redis \"%V\": sentinel %V says that the master is "
                  "%V", &st->redis->link.name, &peer->server->name, &name);

    old = st->pool;

    st->trusted = 0;
    st->pool = pool;
    st->master = server;

    /* whoever is told still uses the old one, and may close us */

    st->handlers.master(st->handlers.data, server);

    if (old) {
        ngx_destroy_pool(old);
    }
}
