
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_servers_core.h"


/*
 * Which node of a Cluster serves which slots, by CLUSTER SLOTS of any of them.
 * An answer only says what has moved: slots that it does not name stay where
 * they are, since a node that was taken out of the Cluster knows of none.
 */


/* the map is asked for again after as many milliseconds, with jitter */
#define NGX_WS_BUS_CLUSTER_REFRESH  30000

/* while something is wrong with it */
#define NGX_WS_BUS_CLUSTER_SUSPECT  300

/* of what a server says, in a log */
#define NGX_WS_BUS_CLUSTER_TEXT     128


static void ngx_ws_bus_cluster_refresh_handler(ngx_event_t *ev);
static void ngx_ws_bus_cluster_later(ngx_ws_bus_servers_t *ss,
    ngx_msec_t delay);
static void ngx_ws_bus_cluster_open_seeds(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_cluster_close_seeds(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_cluster_seed_up(void *data);
static ngx_int_t ngx_ws_bus_cluster_choose(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_cluster_ask(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_cluster_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_cluster_read(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_link_t *link, ngx_ws_bus_reply_t *reply,
    ngx_ws_bus_node_t **slots);
static void ngx_ws_bus_cluster_apply(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_node_t **slots);
static void ngx_ws_bus_cluster_assign(ngx_ws_bus_servers_t *ss,
    ngx_uint_t slot, ngx_ws_bus_node_t *node);
static void ngx_ws_bus_cluster_clean(ngx_ws_bus_servers_t *ss);
static void ngx_ws_bus_cluster_complain(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_link_t *link, ngx_ws_bus_reply_t *reply);
static ngx_ws_bus_node_t *ngx_ws_bus_cluster_find(ngx_ws_bus_servers_t *ss,
    ngx_str_t *name);
static size_t ngx_ws_bus_cluster_name(u_char *buf, ngx_ws_bus_link_t *link,
    ngx_str_t *host, in_port_t port);


/* what an answer says, until it is taken over */
static ngx_ws_bus_node_t  *ngx_ws_bus_cluster_slots[NGX_WS_BUS_SLOTS];


ngx_int_t
ngx_ws_bus_cluster_init(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t                 i;
    ngx_ws_bus_link_server_t  *servers;

    servers = ss->redis->servers.elts;

    ss->slots = ngx_calloc(NGX_WS_BUS_SLOTS * sizeof(ngx_ws_bus_node_t *),
                           ss->log);
    if (ss->slots == NULL) {
        return NGX_ERROR;
    }

    ss->seeds = ngx_calloc(ss->redis->servers.nelts
                           * sizeof(ngx_ws_bus_seed_t), ss->log);
    if (ss->seeds == NULL) {
        return NGX_ERROR;
    }

    ss->nseeds = ss->redis->servers.nelts;

    for (i = 0; i < ss->nseeds; i++) {
        ss->seeds[i].servers = ss;
        ss->seeds[i].address = &servers[i];
    }

    ss->refresh.handler = ngx_ws_bus_cluster_refresh_handler;

    ngx_ws_bus_cluster_open_seeds(ss);
    ngx_ws_bus_cluster_later(ss, NGX_WS_BUS_CLUSTER_SUSPECT);

    return NGX_OK;
}


void
ngx_ws_bus_cluster_close(ngx_ws_bus_servers_t *ss)
{
    ngx_ws_bus_cluster_close_seeds(ss);

    if (ss->refresh.timer_set) {
        ngx_del_timer(&ss->refresh);
    }
}


static void
ngx_ws_bus_cluster_open_seeds(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t                   i;
    ngx_ws_bus_seed_t           *seed;
    ngx_ws_bus_link_handlers_t   handlers;

    ngx_memzero(&handlers, sizeof(ngx_ws_bus_link_handlers_t));

    handlers.up = ngx_ws_bus_cluster_seed_up;
    handlers.stats = ss->handlers.stats;

    for (i = 0; i < ss->nseeds; i++) {
        seed = &ss->seeds[i];

        if (seed->link == NULL) {
            handlers.data = seed;

            /* without memory: tried again by the timer */

            seed->link = ngx_ws_bus_link_create(&ss->redis->link,
                                                seed->address, &handlers, 0,
                                                ss->log);
        }
    }
}


static void
ngx_ws_bus_cluster_close_seeds(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t          i;
    ngx_ws_bus_seed_t  *seed;

    for (i = 0; i < ss->nseeds; i++) {
        seed = &ss->seeds[i];

        if (seed->link == NULL) {
            continue;
        }

        if (ss->asked == seed->link) {
            ss->asked = NULL;
        }

        ngx_ws_bus_link_close(seed->link);
        seed->link = NULL;
    }
}


static void
ngx_ws_bus_cluster_seed_up(void *data)
{
    ngx_ws_bus_seed_t *seed = data;

    ngx_ws_bus_cluster_ask(seed->servers);
}


void
ngx_ws_bus_cluster_suspect(ngx_ws_bus_servers_t *ss)
{
    ngx_ws_bus_cluster_later(ss, NGX_WS_BUS_CLUSTER_SUSPECT);
}


void
ngx_ws_bus_servers_redirected(ngx_ws_bus_servers_t *ss, ngx_str_t *error)
{
    ngx_ws_bus_node_t           *node;
    ngx_ws_bus_slot_redirect_t   redirect;

    if (ss->slots == NULL) {
        return;
    }

    ngx_ws_bus_cluster_suspect(ss);

    if (ngx_ws_bus_slot_redirect(error, &redirect) != NGX_OK
        || redirect.type != NGX_WS_BUS_SLOT_MOVED
        || redirect.host.len == 0)
    {
        return;
    }

    ngx_ws_bus_servers_enter(ss);

    node = ngx_ws_bus_cluster_node(ss, NULL, &redirect.host, redirect.port,
                                   1);
    if (node) {
        ngx_ws_bus_cluster_move(ss, redirect.slot, node);
    }

    ngx_ws_bus_servers_leave(ss);
}


/*
 * With jitter, so that workers and hosts do not ask at once; never later than
 * it was to be.
 */

static void
ngx_ws_bus_cluster_later(ngx_ws_bus_servers_t *ss, ngx_msec_t delay)
{
    ngx_msec_int_t  left;

    delay = delay / 2 + (ngx_msec_t) ngx_random() % delay;

    if (ss->refresh.timer_set) {
        left = (ngx_msec_int_t) (ss->refresh.timer.key - ngx_current_msec);

        if (left <= NGX_WS_BUS_CLUSTER_SUSPECT
            || left <= (ngx_msec_int_t) delay)
        {
            return;
        }
    }

    ngx_add_timer(&ss->refresh, delay);
}


static void
ngx_ws_bus_cluster_refresh_handler(ngx_event_t *ev)
{
    ngx_ws_bus_servers_t  *ss;

    ss = (ngx_ws_bus_servers_t *) ((u_char *) ev
                                   - offsetof(ngx_ws_bus_servers_t, refresh));

    ngx_ws_bus_cluster_ask(ss);

    ngx_ws_bus_cluster_later(ss, ngx_ws_bus_servers_complete(ss)
                                 ? NGX_WS_BUS_CLUSTER_REFRESH
                                 : NGX_WS_BUS_CLUSTER_SUSPECT);
}


static void
ngx_ws_bus_cluster_ask(ngx_ws_bus_servers_t *ss)
{
    static const ngx_str_t  argv[] = {
        ngx_string("CLUSTER"), ngx_string("SLOTS")
    };

    if (ss->asked) {
        return;
    }

    if (ngx_ws_bus_cluster_choose(ss) != NGX_OK) {
        ngx_ws_bus_cluster_open_seeds(ss);
        return;
    }

    if (ngx_ws_bus_link_command(ss->asked, argv, 2,
                                ngx_ws_bus_cluster_handler, ss, NULL)
        != NGX_OK)
    {
        ss->asked = NULL;
        ss->asked_node = NULL;
    }
}


/*
 * Any node with a link, each in turn; else any of the configured ones.
 */

static ngx_int_t
ngx_ws_bus_cluster_choose(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t          i;
    ngx_queue_t        *q;
    ngx_ws_bus_link_t  *link;
    ngx_ws_bus_node_t  *node;

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);
        link = node->server.command;

        if (link && link->state == NGX_WS_BUS_LINK_UP) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&ss->nodes, q);

            ss->asked = link;
            ss->asked_node = node;
            return NGX_OK;
        }
    }

    for (i = 0; i < ss->nseeds; i++) {
        link = ss->seeds[i].link;

        if (link && link->state == NGX_WS_BUS_LINK_UP) {
            ss->asked = link;
            ss->asked_node = NULL;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static void
ngx_ws_bus_cluster_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_servers_t *ss = data;

    ngx_ws_bus_link_t   *link;
    ngx_ws_bus_node_t  **slots;

    link = ss->asked;

    ss->asked = NULL;
    ss->asked_node = NULL;

    if (ss->closed || link == NULL) {
        return;
    }

    if (rc != NGX_OK) {
        ngx_ws_bus_cluster_suspect(ss);
        return;
    }

    ngx_ws_bus_servers_enter(ss);

    slots = ngx_ws_bus_cluster_slots;
    ngx_memcpy(slots, ss->slots, NGX_WS_BUS_SLOTS * sizeof(slots[0]));

    rc = ngx_ws_bus_cluster_read(ss, link, reply, slots);

    if (rc != NGX_OK) {
        ngx_ws_bus_cluster_complain(ss, link, reply);
        ngx_ws_bus_cluster_suspect(ss);

    } else {
        ngx_ws_bus_cluster_apply(ss, slots);
    }

    if (!ss->closed) {
        ngx_ws_bus_cluster_clean(ss);
    }

    ngx_ws_bus_servers_leave(ss);
}


/*
 * NGX_OK, or NGX_DECLINED: this is no answer of a Cluster.
 */

static ngx_int_t
ngx_ws_bus_cluster_read(ngx_ws_bus_servers_t *ss, ngx_ws_bus_link_t *link,
    ngx_ws_bus_reply_t *reply, ngx_ws_bus_node_t **slots)
{
    ngx_int_t                 rc;
    ngx_uint_t                i, budget;
    ngx_ws_bus_node_t        *node;
    ngx_ws_bus_reply_t       *element;
    ngx_ws_bus_slot_range_t   range;

    if (reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        return NGX_DECLINED;
    }

    element = reply->first;

    /* ranges do not overlap */

    budget = NGX_WS_BUS_SLOTS;

    for ( ;; ) {

        rc = ngx_ws_bus_slot_range(&element, &range);

        if (rc == NGX_DONE) {
            return NGX_OK;
        }

        if (rc == NGX_ERROR || range.last - range.first + 1 > budget) {
            return NGX_DECLINED;
        }

        budget -= range.last - range.first + 1;

        node = ngx_ws_bus_cluster_node(ss, link, &range.host, range.port, 0);

        if (node == NULL) {
            continue;
        }

        node->listed = 1;

        for (i = range.first; i <= range.last; i++) {
            slots[i] = node;
        }
    }
}


static void
ngx_ws_bus_cluster_apply(ngx_ws_bus_servers_t *ss, ngx_ws_bus_node_t **slots)
{
    ngx_uint_t           i, first, n;
    ngx_queue_t         *q;
    ngx_ws_bus_node_t   *node;

    static u_char  changed[NGX_WS_BUS_SLOTS + 1];

    n = 0;

    for (i = 0; i < NGX_WS_BUS_SLOTS; i++) {

        changed[i] = (ss->slots[i] != slots[i]);

        if (changed[i]) {
            n++;
            ngx_ws_bus_cluster_assign(ss, i, slots[i]);
        }
    }

    if (n == 0) {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, ss->log, 0,
                  "ws_bus_redis \"%V\": %ui slots have another server",
                  &ss->redis->link.name, n);

    for (i = 0; ss->handlers.moved && i < NGX_WS_BUS_SLOTS; /* void */ ) {

        if (!changed[i++]) {
            continue;
        }

        first = i - 1;

        while (changed[i]) {
            i++;
        }

        ss->handlers.moved(ss->handlers.data, first, i - 1);

        if (ss->closed) {
            return;
        }
    }

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);

        if (node->server.up) {
            ngx_ws_bus_node_listen(node);
        }
    }
}


static void
ngx_ws_bus_cluster_assign(ngx_ws_bus_servers_t *ss, ngx_uint_t slot,
    ngx_ws_bus_node_t *node)
{
    ngx_ws_bus_node_t  *old;

    old = ss->slots[slot];

    if (old) {
        old->server.slots--;
        old->used = ngx_current_msec;
    }

    ss->slots[slot] = node;
    node->server.slots++;
}


void
ngx_ws_bus_cluster_move(ngx_ws_bus_servers_t *ss, ngx_uint_t slot,
    ngx_ws_bus_node_t *node)
{
    if (ss->slots[slot] == node) {
        return;
    }

    ngx_ws_bus_cluster_assign(ss, slot, node);

    if (ss->handlers.moved) {
        ss->handlers.moved(ss->handlers.data, slot, slot);
    }

    if (!ss->closed && node->server.up) {
        ngx_ws_bus_node_listen(node);
    }
}


/*
 * Nodes without slots are of use for a while, when slots move to them; and
 * the configured ones, until another one is connected to.
 */

static void
ngx_ws_bus_cluster_clean(ngx_ws_bus_servers_t *ss)
{
    ngx_uint_t          up, coming, n;
    ngx_queue_t        *q, *next;
    ngx_ws_bus_node_t  *node, *some;

    n = 0;
    up = 0;
    coming = 0;
    some = NULL;

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = next)
    {
        next = ngx_queue_next(q);
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);

        if (node->server.slots) {
            up |= node->server.up;

            if (ss->listen) {
                ngx_ws_bus_node_want(node);
            }

            coming |= (node->server.command
                       && node->server.command->reason
                          == NGX_WS_BUS_LINK_NEVER);

            if (ngx_random() % ++n == 0) {
                some = node;
            }

            continue;
        }

        if (ngx_current_msec - node->used < NGX_WS_BUS_SERVERS_IDLE) {
            continue;
        }

        ngx_ws_bus_node_remove(node);

        if (ss->closed) {
            return;
        }

        /* handlers may have done anything */

        next = ngx_queue_head(&ss->nodes);
        some = NULL;
        coming = 0;
        up = 0;
        n = 0;
    }

    if (up) {
        ngx_ws_bus_cluster_close_seeds(ss);

    } else if (some && !coming) {

        /* the next map is asked for there */

        ngx_ws_bus_node_want(some);
    }
}


static void
ngx_ws_bus_cluster_complain(ngx_ws_bus_servers_t *ss, ngx_ws_bus_link_t *link,
    ngx_ws_bus_reply_t *reply)
{
    ngx_str_t  text;

    if (ss->logged && ngx_time() - ss->logged < 60) {
        return;
    }

    ss->logged = ngx_time();

    ngx_str_set(&text, "no map of slots");

    if (reply->type == NGX_WS_BUS_REPLY_ERROR) {
        text = reply->str;
        text.len = ngx_min(text.len, NGX_WS_BUS_CLUSTER_TEXT);
    }

    ngx_log_error(NGX_LOG_ERR, ss->log, 0,
                  "ws_bus_redis \"%V\": server %V is not of a cluster: "
                  "\"%V\"", &ss->redis->link.name, &link->server->name,
                  &text);
}


ngx_ws_bus_node_t *
ngx_ws_bus_cluster_node(ngx_ws_bus_servers_t *ss, ngx_ws_bus_link_t *link,
    ngx_str_t *host, in_port_t port, ngx_uint_t stray)
{
    char                      *err;
    u_char                     buf[NGX_WS_BUS_SERVERS_NAME];
    ngx_str_t                  name;
    ngx_uint_t                 n;
    ngx_pool_t                *pool;
    ngx_queue_t               *q;
    ngx_ws_bus_node_t         *node;
    ngx_ws_bus_link_server_t   address;

    name.data = buf;
    name.len = ngx_ws_bus_cluster_name(buf, link, host, port);

    if (name.len == 0) {
        return NULL;
    }

    node = ngx_ws_bus_cluster_find(ss, &name);

    if (node) {
        return node;
    }

    n = 0;

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);
        n += !node->listed;
    }

    if (ss->nnodes >= NGX_WS_BUS_SERVERS_MAX
        || (stray && n >= NGX_WS_BUS_SERVERS_STRAY))
    {
        return NULL;
    }

    pool = ngx_create_pool(1024, ss->log);
    if (pool == NULL) {
        return NULL;
    }

    node = NULL;

    if (ngx_ws_bus_link_server(pool, &name, NGX_WS_BUS_REDIS_PORT, &address,
                               &err)
        == NGX_OK)
    {
        node = ngx_ws_bus_node_create(ss, &address, pool);
    }

    if (node == NULL) {
        ngx_destroy_pool(pool);
    }

    return node;
}


static ngx_ws_bus_node_t *
ngx_ws_bus_cluster_find(ngx_ws_bus_servers_t *ss, ngx_str_t *name)
{
    ngx_str_t          *s;
    ngx_queue_t        *q;
    ngx_ws_bus_node_t  *node;

    for (q = ngx_queue_head(&ss->nodes);
         q != ngx_queue_sentinel(&ss->nodes);
         q = ngx_queue_next(q))
    {
        node = ngx_queue_data(q, ngx_ws_bus_node_t, queue);
        s = &node->server.address.name;

        if (s->len == name->len
            && ngx_memcmp(s->data, name->data, name->len) == 0)
        {
            return node;
        }
    }

    return NULL;
}


/*
 * "host:port" or "[host]:port"; without a host that of the connection.  0:
 * there is none.
 */

static size_t
ngx_ws_bus_cluster_name(u_char *buf, ngx_ws_bus_link_t *link,
    ngx_str_t *host, in_port_t port)
{
    u_char     text[NGX_SOCKADDR_STRLEN], *last;
    ngx_str_t  address;

    address = *host;

    if (address.len == 0) {

        if (link->peer.sockaddr == NULL
            || link->peer.sockaddr->sa_family == AF_UNIX)
        {
            return 0;
        }

        address.data = text;
        address.len = ngx_sock_ntop(link->peer.sockaddr, link->peer.socklen,
                                    text, NGX_SOCKADDR_STRLEN, 0);
    }

    last = buf + NGX_WS_BUS_SERVERS_NAME;

    if (address.len == 0 || address.len > 255 || address.data[0] == '[') {
        return 0;
    }

    if (ngx_strlchr(address.data, address.data + address.len, ':')) {
        last = ngx_slprintf(buf, last, "[%V]:%d", &address, (int) port);

    } else {
        last = ngx_slprintf(buf, last, "%V:%d", &address, (int) port);
    }

    return last - buf;
}
