
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_servers_core.h"


static ngx_int_t ngx_ws_bus_servers_begin(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_servers_free(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_servers_master(void *data,
    ngx_ws_bus_link_server_t *address);
static void ngx_ws_bus_servers_doubt(ngx_ws_bus_servers_t *ss);

static void ngx_ws_bus_node_command_up(void *data);
static void ngx_ws_bus_node_command_down(void *data,
    ngx_ws_bus_link_reason_e reason);
static void ngx_ws_bus_node_subscriber_up(void *data);
static void ngx_ws_bus_node_subscriber_down(void *data,
    ngx_ws_bus_link_reason_e reason);
static void ngx_ws_bus_node_push(void *data, ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_node_server_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static void ngx_ws_bus_node_replication_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static u_char *ngx_ws_bus_node_field(ngx_ws_bus_reply_t *reply, char *name,
    size_t *len);
static void ngx_ws_bus_node_version(ngx_ws_bus_node_t *node, u_char *p,
    size_t len);
static void ngx_ws_bus_node_set_up(ngx_ws_bus_node_t *node);
static void ngx_ws_bus_node_set_down(ngx_ws_bus_node_t *node);
static void ngx_ws_bus_node_set_deaf(ngx_ws_bus_node_t *node);
static void ngx_ws_bus_node_hear(ngx_ws_bus_node_t *node);
static void ngx_ws_bus_node_check_handler(ngx_event_t *ev);
static void ngx_ws_bus_node_free(ngx_ws_bus_node_t *node);


/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_servers_dumb;


ngx_ws_bus_servers_t *
ngx_ws_bus_servers_create(ngx_ws_bus_redis_t *redis,
    ngx_ws_bus_servers_handlers_t *handlers, ngx_log_t *log)
{
    ngx_ws_bus_servers_t  *ss;

    ss = ngx_calloc(sizeof(ngx_ws_bus_servers_t), log);
    if (ss == NULL) {
        return NULL;
    }

    ss->redis = redis;
    ss->handlers = *handlers;
    ss->log = log;

    ngx_queue_init(&ss->nodes);
    ngx_queue_init(&ss->dead);
    ngx_queue_init(&ss->ops);
    ngx_queue_init(&ss->lines);
    ngx_queue_init(&ss->held);

    ngx_ws_bus_servers_dumb.fd = (ngx_socket_t) -1;

    ss->retry.handler = ngx_ws_bus_servers_retry_handler;
    ss->retry.data = &ngx_ws_bus_servers_dumb;
    ss->retry.log = log;
    ss->retry.cancelable = 1;

    ss->refresh.data = &ngx_ws_bus_servers_dumb;
    ss->refresh.log = log;
    ss->refresh.cancelable = 1;

    if (ngx_ws_bus_servers_begin(ss) != NGX_OK) {
        ngx_ws_bus_servers_close(ss);
        return NULL;
    }

    return ss;
}


static ngx_int_t
ngx_ws_bus_servers_begin(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t                      n;
    ngx_ws_bus_sentinel_handlers_t  handlers;

    n = (ss->redis->mode == NGX_WS_BUS_REDIS_CLUSTER) ? NGX_WS_BUS_SLOTS : 1;

    ss->ordered = ngx_calloc(n * sizeof(ngx_ws_bus_line_t *), ss->log);
    if (ss->ordered == NULL) {
        return NGX_ERROR;
    }

    switch (ss->redis->mode) {

    case NGX_WS_BUS_REDIS_SENTINEL:

        handlers.master = ngx_ws_bus_servers_master;
        handlers.data = ss;

        ss->sentinel = ngx_ws_bus_sentinel_create(ss->redis, &handlers,
                                                  ss->log);

        return ss->sentinel ? NGX_OK : NGX_ERROR;

    case NGX_WS_BUS_REDIS_CLUSTER:
        return ngx_ws_bus_cluster_init(ss);

    default:

        ss->single = ngx_ws_bus_node_create(ss, ss->redis->servers.elts,
                                            NULL);
        if (ss->single == NULL) {
            return NGX_ERROR;
        }

        ss->single->server.slots = NGX_WS_BUS_SLOTS;

        return NGX_OK;
    }
}


void
ngx_ws_bus_servers_close(ngx_ws_bus_servers_t *ss)
{
    ngx_queue_t        *q;
    ngx_ws_bus_node_t  *node;

    if (ss->closed) {
        return;
    }

    ss->closed = 1;

    ngx_ws_bus_cluster_close(ss);

    if (ss->retry.timer_set) {
        ngx_del_timer(&ss->retry);
    }

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);

        if (node->check.timer_set) {
            ngx_del_timer(&node->check);
        }

        if (node->server.command) {
            ngx_ws_bus_link_close(node->server.command);
            node->server.command = NULL;
        }

        if (node->server.subscriber) {
            ngx_ws_bus_link_close(node->server.subscriber);
            node->server.subscriber = NULL;
        }
    }

    /* last, since the master's address is its own */

    if (ss->sentinel) {
        ngx_ws_bus_sentinel_close(ss->sentinel);
        ss->sentinel = NULL;
    }

    ngx_ws_bus_servers_enter(ss);
    ngx_ws_bus_servers_leave(ss);
}


void
ngx_ws_bus_servers_leave(ngx_ws_bus_servers_t *ss)
{
    ngx_queue_t  *q;

    if (--ss->busy) {
        return;
    }

    while (!ngx_queue_empty(&ss->dead)) {
        q = ngx_queue_head(&ss->dead);
        ngx_queue_remove(q);
        ngx_ws_bus_node_free(ngx_queue_data(q, ngx_ws_bus_node_t, queue));
    }

    if (ss->closed) {
        ngx_ws_bus_servers_free(ss);
    }
}


static void
ngx_ws_bus_servers_free(ngx_ws_bus_servers_t *ss)
{
    ngx_queue_t  *q;

    ngx_ws_bus_line_free(ss);

    while (!ngx_queue_empty(&ss->nodes)) {
        q = ngx_queue_head(&ss->nodes);
        ngx_queue_remove(q);
        ngx_ws_bus_node_free(ngx_queue_data(q, ngx_ws_bus_node_t, queue));
    }

    if (ss->slots) {
        ngx_free(ss->slots);
    }

    if (ss->seeds) {
        ngx_free(ss->seeds);
    }

    ngx_free(ss);
}


void
ngx_ws_bus_servers_listen(ngx_ws_bus_servers_t *ss, ngx_uint_t listen,
    ngx_ws_bus_link_stats_t *stats)
{
    ngx_queue_t        *q;
    ngx_ws_bus_node_t  *node;

    ss->listen = listen;
    ss->heard = stats;

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);

        if (listen) {
            ngx_ws_bus_node_want(node);
            ngx_ws_bus_node_listen(node);

        } else if (node->server.subscriber) {
            node->server.listening = 0;
            ngx_ws_bus_link_close(node->server.subscriber);
            node->server.subscriber = NULL;
        }
    }
}


ngx_ws_bus_server_t *
ngx_ws_bus_servers_next(ngx_ws_bus_servers_t *ss, ngx_ws_bus_server_t *server)
{
    ngx_queue_t        *q;
    ngx_ws_bus_node_t  *node;

    q = server ? ngx_queue_next(&((ngx_ws_bus_node_t *) server)->queue)
               : ngx_queue_head(&ss->nodes);

    if (q == ngx_queue_sentinel(&ss->nodes)) {
        return NULL;
    }

    node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);

    return &node->server;
}


ngx_ws_bus_server_t *
ngx_ws_bus_servers_of(ngx_ws_bus_servers_t *ss, ngx_uint_t slot)
{
    ngx_ws_bus_node_t  *node;

    node = ss->slots ? ss->slots[slot] : ss->single;

    return node ? &node->server : NULL;
}


void
ngx_ws_bus_servers_set_replid(ngx_ws_bus_servers_t *ss, ngx_str_t *replid)
{
    ngx_ws_bus_node_t  *node;

    node = ss->answering;

    if (node == NULL) {
        return;
    }

    node->sure = ss->answered;

    if (replid->len == NGX_WS_BUS_SERVERS_REPLID) {
        ngx_memcpy(node->replid, replid->data, NGX_WS_BUS_SERVERS_REPLID);
        node->server.replid.len = NGX_WS_BUS_SERVERS_REPLID;
    }
}


ngx_uint_t
ngx_ws_bus_servers_complete(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t            slots;
    ngx_ws_bus_server_t  *server;

    slots = 0;

    for (server = ngx_ws_bus_servers_next(ss, NULL);
         server;
         server = ngx_ws_bus_servers_next(ss, server))
    {
        if (server->up || server->command == NULL) {
            slots += server->slots;
        }
    }

    return slots == NGX_WS_BUS_SLOTS;
}


void
ngx_ws_bus_servers_suspect(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_server_t *server)
{
    ngx_ws_bus_servers_doubt(ss);

    if (server) {
        ngx_ws_bus_node_ask((ngx_ws_bus_node_t *) server);
    }
}


static void
ngx_ws_bus_servers_doubt(ngx_ws_bus_servers_t *ss)
{
    if (ss->sentinel) {
        ngx_ws_bus_sentinel_suspect(ss->sentinel);

    } else if (ss->slots) {
        ngx_ws_bus_cluster_suspect(ss);
    }
}


/*
 * A sentinel says that this is the master from now on.
 */

static void
ngx_ws_bus_servers_master(void *data, ngx_ws_bus_link_server_t *address)
{
    ngx_ws_bus_servers_t *ss = data;

    ngx_ws_bus_node_t  *old;

    ngx_ws_bus_servers_enter(ss);

    old = ss->single;

    ss->single = ngx_ws_bus_node_create(ss, address, NULL);

    if (ss->single) {
        ss->single->server.slots = NGX_WS_BUS_SLOTS;
    }

    if (old) {
        old->server.slots = 0;

        if (ss->handlers.moved) {
            ss->handlers.moved(ss->handlers.data, 0, NGX_WS_BUS_SLOTS - 1);
        }

        if (!ss->closed) {
            ngx_ws_bus_node_remove(old);
        }
    }

    ngx_ws_bus_servers_leave(ss);
}


ngx_ws_bus_node_t *
ngx_ws_bus_node_create(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_link_server_t *address, ngx_pool_t *pool)
{
    ngx_ws_bus_node_t  *node;

    node = ngx_calloc(sizeof(ngx_ws_bus_node_t), ss->log);
    if (node == NULL) {
        return NULL;
    }

    node->servers = ss;
    node->server.address = *address;
    node->server.replid.data = node->replid;
    node->used = ngx_current_msec;

    node->check.handler = ngx_ws_bus_node_check_handler;
    node->check.data = &ngx_ws_bus_servers_dumb;
    node->check.log = ss->log;
    node->check.cancelable = 1;

    /* a Cluster may have many servers, of which few are needed */

    if (ss->slots == NULL || ss->listen) {
        ngx_ws_bus_node_want(node);

        if (node->server.command == NULL) {
            ngx_free(node);
            return NULL;
        }
    }

    node->pool = pool;

    ngx_queue_insert_tail(&ss->nodes, &node->queue);
    ss->nnodes++;

    return node;
}


void
ngx_ws_bus_node_want(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t        *ss;
    ngx_ws_bus_link_handlers_t   handlers;

    ss = node->servers;

    if (node->server.command || node->dead || ss->closed) {
        return;
    }

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_link_handlers_t));

    handlers.up = ngx_ws_bus_node_command_up;
    handlers.down = ngx_ws_bus_node_command_down;
    handlers.data = node;
    handlers.stats = ss->handlers.stats;

    /* without memory: it is wanted again */

    node->server.since = ngx_current_msec;
    node->server.command = ngx_ws_bus_link_create(&ss->redis->link,
                                                  &node->server.address,
                                                  &handlers, 0, ss->log);
}


void
ngx_ws_bus_node_remove(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_link_t     *command, *subscriber;
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    ngx_ws_bus_servers_enter(ss);

    node->dead = 1;

    ngx_queue_remove(&node->queue);
    ngx_queue_insert_tail(&ss->dead, &node->queue);
    ss->nnodes--;

    if (node->check.timer_set) {
        ngx_del_timer(&node->check);
    }

    if (ss->asked_node == node) {
        ss->asked_node = NULL;
        ss->asked = NULL;
    }

    ngx_ws_bus_line_forget(ss, node);

    command = node->server.command;
    node->server.command = NULL;

    subscriber = node->server.subscriber;
    node->server.subscriber = NULL;

    if (command) {
        ngx_ws_bus_link_end(command);
    }

    if (subscriber) {
        ngx_ws_bus_link_end(subscriber);
    }

    ngx_ws_bus_node_set_down(node);
    ngx_ws_bus_node_set_deaf(node);

    if (!ss->closed && ss->handlers.gone) {
        ss->handlers.gone(ss->handlers.data, &node->server);
    }

    ngx_ws_bus_servers_leave(ss);
}


static void
ngx_ws_bus_node_free(ngx_ws_bus_node_t *node)
{
    if (node->pool) {
        ngx_destroy_pool(node->pool);
    }

    ngx_free(node);
}


void
ngx_ws_bus_node_listen(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t        *ss;
    ngx_ws_bus_link_handlers_t   handlers;

    ss = node->servers;

    if (!ss->listen || node->dead || node->server.slots == 0
        || node->server.subscriber)
    {
        return;
    }

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_link_handlers_t));

    handlers.up = ngx_ws_bus_node_subscriber_up;
    handlers.down = ngx_ws_bus_node_subscriber_down;
    handlers.push = ngx_ws_bus_node_push;
    handlers.data = node;
    handlers.stats = ss->heard;

    /* without memory: tried again when it is up the next time */

    node->server.subscriber = ngx_ws_bus_link_create(&ss->redis->link,
                                                  &node->server.address,
                                                  &handlers,
                                                  NGX_WS_BUS_LINK_SUBSCRIBER,
                                                  ss->log);
}


static void
ngx_ws_bus_node_command_up(void *data)
{
    ngx_ws_bus_node_t *node = data;

    node->asked = 0;

    ngx_ws_bus_node_ask(node);
}


static void
ngx_ws_bus_node_command_down(void *data, ngx_ws_bus_link_reason_e reason)
{
    ngx_ws_bus_node_t *node = data;

    ngx_ws_bus_servers_t  *ss;

    (void) reason;

    ss = node->servers;

    ngx_ws_bus_servers_enter(ss);

    node->asked = 0;
    node->server.replid.len = 0;

    ngx_ws_bus_node_set_down(node);

    if (!ss->closed) {
        ngx_ws_bus_servers_doubt(ss);
    }

    ngx_ws_bus_servers_leave(ss);
}


/*
 * Two commands: several sections in one are known since Redis 7.
 */

void
ngx_ws_bus_node_ask(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_link_t  *link;

    static const ngx_str_t  server[] = {
        ngx_string("INFO"), ngx_string("server")
    };

    static const ngx_str_t  replication[] = {
        ngx_string("INFO"), ngx_string("replication")
    };

    link = node->server.command;

    if (node->asked || link == NULL) {
        return;
    }

    if (ngx_ws_bus_link_command(link, server, 2,
                                ngx_ws_bus_node_server_handler, node, NULL)
        == NGX_OK
        && ngx_ws_bus_link_command(link, replication, 2,
                                   ngx_ws_bus_node_replication_handler, node,
                                   NULL)
           == NGX_OK)
    {
        node->asked = 1;
        node->since = ngx_current_msec;
        return;
    }

    /* its queue is full, or there is no memory */

    if (link->state == NGX_WS_BUS_LINK_UP && !node->check.timer_set) {
        ngx_add_timer(&node->check, NGX_WS_BUS_SERVERS_CHECK);
    }
}


static void
ngx_ws_bus_node_check_handler(ngx_event_t *ev)
{
    ngx_ws_bus_node_ask((ngx_ws_bus_node_t *) ((u_char *) ev
                                     - offsetof(ngx_ws_bus_node_t, check)));
}


static void
ngx_ws_bus_node_server_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_node_t *node = data;

    u_char                *p;
    size_t                 len;
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    if (rc != NGX_OK) {
        return;
    }

    p = ngx_ws_bus_node_field(reply, "redis_version:", &len);

    if (p) {
        ngx_ws_bus_node_version(node, p, len);
        return;
    }

    if (reply->type == NGX_WS_BUS_REPLY_ERROR && !node->mute) {
        node->mute = 1;

        ngx_log_error(NGX_LOG_ERR, ss->log, 0,
                      "ws_bus_redis \"%V\": server %V does not answer INFO: "
                      "\"%V\"", &ss->redis->link.name,
                      &node->server.address.name, &reply->str);
    }
}


/*
 * 7.0.15 is 70015.  Subscriptions by shard are of a Cluster since 7.0.
 */

static void
ngx_ws_bus_node_version(ngx_ws_bus_node_t *node, u_char *p, size_t len)
{
    size_t      i;
    ngx_uint_t  part, version, dots;

    part = 0;
    dots = 0;
    version = 0;

    for (i = 0; i < len; i++) {

        if (p[i] == '.' && dots < 2) {
            version = version * 100 + ngx_min(part, 99);
            part = 0;
            dots++;

        } else if (p[i] >= '0' && p[i] <= '9' && part < 100) {
            part = part * 10 + (p[i] - '0');

        } else {
            break;
        }
    }

    version = version * 100 + ngx_min(part, 99);

    for ( /* void */ ; dots < 2; dots++) {
        version *= 100;
    }

    node->server.version = version;
    node->server.sharded = (node->servers->slots && version >= 70000);
}


static void
ngx_ws_bus_node_replication_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_node_t *node = data;

    u_char                *p;
    size_t                 len;
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    /* the link going down has told already */

    if (rc != NGX_OK) {
        return;
    }

    ngx_ws_bus_servers_enter(ss);

    node->asked = 0;

    p = ngx_ws_bus_node_field(reply, "role:", &len);

    if (p && (len != 6 || ngx_memcmp(p, "master", 6) != 0)) {
        node->server.replid.len = 0;

        /* a standalone server is what it is */

        if (ss->sentinel || ss->slots) {

            ngx_ws_bus_node_set_down(node);

            if (!ss->closed) {
                ngx_ws_bus_servers_doubt(ss);
            }

            if (!ss->closed && !node->dead && !node->check.timer_set) {
                ngx_add_timer(&node->check, NGX_WS_BUS_SERVERS_CHECK);
            }

            ngx_ws_bus_servers_leave(ss);
            return;
        }

    } else if (p) {
        p = ngx_ws_bus_node_field(reply, "master_replid:", &len);

        if (p && len == NGX_WS_BUS_SERVERS_REPLID) {
            ngx_memcpy(node->replid, p, NGX_WS_BUS_SERVERS_REPLID);
            node->server.replid.len = NGX_WS_BUS_SERVERS_REPLID;
            node->sure = node->since;
        }
    }

    ngx_ws_bus_node_set_up(node);

    ngx_ws_bus_servers_leave(ss);
}


/*
 * The value of a line "name:value", or NULL.
 */

static u_char *
ngx_ws_bus_node_field(ngx_ws_bus_reply_t *reply, char *name, size_t *len)
{
    u_char  *p, *last, *end;
    size_t   n;

    if (reply->type != NGX_WS_BUS_REPLY_STRING) {
        return NULL;
    }

    n = ngx_strlen(name);
    p = reply->str.data;
    last = p + reply->str.len;

    while (p < last) {

        end = ngx_strlchr(p, last, LF);

        if (end == NULL) {
            end = last;
        }

        if ((size_t) (end - p) >= n && ngx_memcmp(p, name, n) == 0) {
            p += n;
            *len = end - p;

            if (*len && p[*len - 1] == CR) {
                (*len)--;
            }

            return p;
        }

        p = end + 1;
    }

    return NULL;
}


static void
ngx_ws_bus_node_set_up(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    if (node->dead || ss->closed || node->server.up) {
        return;
    }

    node->server.up = 1;

    if (ss->sentinel) {
        ngx_ws_bus_sentinel_trust(ss->sentinel);
    }

    if (ss->handlers.up) {
        ss->handlers.up(ss->handlers.data, &node->server);
    }

    if (ss->closed) {
        return;
    }

    ngx_ws_bus_servers_retry(ss);

    if (!ss->closed && !node->dead) {
        ngx_ws_bus_node_listen(node);
        ngx_ws_bus_node_hear(node);
    }
}


static void
ngx_ws_bus_node_set_down(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    if (ss->closed || !node->server.up) {
        return;
    }

    node->server.up = 0;

    if (ss->handlers.down) {
        ss->handlers.down(ss->handlers.data, &node->server);
    }
}


static void
ngx_ws_bus_node_subscriber_up(void *data)
{
    ngx_ws_bus_node_t *node = data;

    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    ngx_ws_bus_servers_enter(ss);

    ngx_ws_bus_node_hear(node);

    ngx_ws_bus_servers_leave(ss);
}


/*
 * What is heard of a server counts once it is known to be a master.
 */

static void
ngx_ws_bus_node_hear(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    if (!node->server.up || node->server.listening
        || node->server.subscriber == NULL
        || node->server.subscriber->state != NGX_WS_BUS_LINK_UP)
    {
        return;
    }

    node->server.listening = 1;

    if (ss->handlers.listening) {
        ss->handlers.listening(ss->handlers.data, &node->server);
    }
}


static void
ngx_ws_bus_node_subscriber_down(void *data, ngx_ws_bus_link_reason_e reason)
{
    ngx_ws_bus_node_t *node = data;

    ngx_ws_bus_servers_t  *ss;

    (void) reason;

    ss = node->servers;

    ngx_ws_bus_servers_enter(ss);

    ngx_ws_bus_node_set_deaf(node);

    ngx_ws_bus_servers_leave(ss);
}


static void
ngx_ws_bus_node_set_deaf(ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    if (ss->closed || !node->server.listening) {
        return;
    }

    node->server.listening = 0;

    if (ss->handlers.deaf) {
        ss->handlers.deaf(ss->handlers.data, &node->server);
    }
}


static void
ngx_ws_bus_node_push(void *data, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_node_t *node = data;

    ngx_ws_bus_servers_t  *ss;

    ss = node->servers;

    ngx_ws_bus_servers_enter(ss);

    if (ss->handlers.push) {
        ss->handlers.push(ss->handlers.data, &node->server, reply);
    }

    ngx_ws_bus_servers_leave(ss);
}
