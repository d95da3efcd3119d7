
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SERVERS_H_INCLUDED_
#define _NGX_WS_BUS_SERVERS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_slot.h"


/*
 * The servers of one Redis, as one process uses them: the one of a standalone
 * Redis, the master that Sentinel names, the masters of a Cluster.  Each has a
 * link for commands and, if the process subscribes, one for subscriptions.
 * What serves a key is known by its slot; without a Cluster one server serves
 * all slots.
 */

typedef struct ngx_ws_bus_servers_s     ngx_ws_bus_servers_t;
typedef struct ngx_ws_bus_server_s      ngx_ws_bus_server_t;
typedef struct ngx_ws_bus_server_op_s   ngx_ws_bus_server_op_t;


/*
 * To be read only, but for "data" and "refused".
 */

struct ngx_ws_bus_server_s {
    ngx_ws_bus_link_server_t    address;
    ngx_ws_bus_link_t          *command;      /* NULL: not wanted yet */
    ngx_ws_bus_link_t          *subscriber;   /* NULL: none is wanted */
    ngx_str_t                   replid;       /* of INFO; empty: not known */
    ngx_uint_t                  version;      /* 7.0.15: 70015; 0: unknown */
    ngx_uint_t                  slots;        /* that it serves */
    ngx_msec_t                  since;        /* it has been wanted */
    ngx_msec_t                  refused;      /* CLUSTERDOWN then, 0: not */
    void                       *data;         /* the caller's */

    unsigned                    up:1;         /* commands are taken */
    unsigned                    listening:1;  /* subscriptions are */
    unsigned                    sharded:1;    /* SSUBSCRIBE and SPUBLISH */
};


/*
 * None of them is called before ngx_ws_bus_servers_create() has returned; any
 * may close.
 */

typedef struct {
    /* commands are taken; INFO has been read, and the server is a master */
    void                      (*up)(void *data, ngx_ws_bus_server_t *server);
    void                      (*down)(void *data,
                                  ngx_ws_bus_server_t *server);

    /* subscriptions are taken; those that there were are lost */
    void                      (*listening)(void *data,
                                  ngx_ws_bus_server_t *server);
    void                      (*deaf)(void *data,
                                  ngx_ws_bus_server_t *server);

    /* as a link's; a Cluster's "sunsubscribe" of a moved slot, too */
    void                      (*push)(void *data, ngx_ws_bus_server_t *server,
                                  ngx_ws_bus_reply_t *reply);

    /* these slots are served by another one than before, or by none */
    void                      (*moved)(void *data, ngx_uint_t first,
                                  ngx_uint_t last);

    /* it is served by no one any more, and freed when this returns; "down"
       and "deaf" have been called before */
    void                      (*gone)(void *data,
                                  ngx_ws_bus_server_t *server);

    void                       *data;
    ngx_ws_bus_link_stats_t    *stats;        /* of command links, or NULL */
} ngx_ws_bus_servers_handlers_t;


/*
 * Begins to connect.  "redis" lives longer, "handlers" are copied.  NULL
 * without memory.
 */
ngx_ws_bus_servers_t *ngx_ws_bus_servers_create(ngx_ws_bus_redis_t *redis,
    ngx_ws_bus_servers_handlers_t *handlers, ngx_log_t *log);

/*
 * Closes all links; no handler is called any more.  From any handler.
 */
void ngx_ws_bus_servers_close(ngx_ws_bus_servers_t *servers);

/*
 * This process subscribes from now on, and the links for that count into
 * "stats" unless it is NULL; or, with "listen" 0, no longer: no handler is
 * called for what ends then.
 */
void ngx_ws_bus_servers_listen(ngx_ws_bus_servers_t *servers,
    ngx_uint_t listen, ngx_ws_bus_link_stats_t *stats);

/*
 * Walks the servers: the one after "server", or the first one after NULL;
 * NULL if there are no more.
 */
ngx_ws_bus_server_t *ngx_ws_bus_servers_next(ngx_ws_bus_servers_t *servers,
    ngx_ws_bus_server_t *server);

/*
 * The server of a slot, or NULL if none is known.
 */
ngx_ws_bus_server_t *ngx_ws_bus_servers_of(ngx_ws_bus_servers_t *servers,
    ngx_uint_t slot);

/*
 * What a script that has written answers about the replication id that it was
 * given, from the handler of its command: the right one, or nothing if it had
 * that.
 */
void ngx_ws_bus_servers_set_replid(ngx_ws_bus_servers_t *servers,
    ngx_str_t *replid);

/*
 * 1 if every slot has a server, and each of them that is wanted is up.
 */
ngx_uint_t ngx_ws_bus_servers_complete(ngx_ws_bus_servers_t *servers);

/*
 * A command.  Those that are ordered, of one publisher, for one slot, are
 * executed in the order in which they were sent, as far as they are executed.
 */

typedef struct {
    ngx_uint_t                  slot;
    const ngx_str_t            *argv;
    ngx_uint_t                  n;
    ngx_uint_t                  replid;    /* of argv: so many digits of the */
    size_t                      digits;    /* server's are put behind it, if
                                              known; 0: none */
    const ngx_str_t            *script;    /* the text of EVALSHA; or NULL */
    ngx_msec_t                  timeout;   /* to repeat it; 0: the block's */
    void                       *publisher; /* NULL: has no other command */
    unsigned                    ordered:1;
    unsigned                    once:1;    /* CLUSTERDOWN is an answer */

    ngx_ws_bus_link_reply_pt    handler;   /* or NULL */
    void                       *data;
} ngx_ws_bus_servers_call_t;


/*
 * Sends a command for a slot to its server, as ngx_ws_bus_link_command()
 * otherwise; arguments are copied.  A server that does not know the script
 * gets its text.  In a Cluster it follows MOVED and ASK a few times, and tries
 * again after TRYAGAIN and CLUSTERDOWN within the timeout; what cannot be
 * followed any further is the reply then.
 */
ngx_int_t ngx_ws_bus_servers_command(ngx_ws_bus_servers_t *servers,
    ngx_ws_bus_servers_call_t *call, ngx_ws_bus_server_op_t **op);

/*
 * The handler of the command is not called.
 */
void ngx_ws_bus_servers_cancel(ngx_ws_bus_server_op_t *op);

/*
 * An answer says that the server is no master (READONLY), or that the map is
 * old: it is looked for again.
 */
void ngx_ws_bus_servers_suspect(ngx_ws_bus_servers_t *servers,
    ngx_ws_bus_server_t *server);

/*
 * The same after an error "MOVED" of a subscription, which tells where the
 * slot is: "moved" may be called at once.
 */
void ngx_ws_bus_servers_redirected(ngx_ws_bus_servers_t *servers,
    ngx_str_t *error);


#endif /* _NGX_WS_BUS_SERVERS_H_INCLUDED_ */
