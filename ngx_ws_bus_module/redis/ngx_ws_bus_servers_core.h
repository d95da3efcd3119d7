
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SERVERS_CORE_H_INCLUDED_
#define _NGX_WS_BUS_SERVERS_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_sentinel.h"
#include "ngx_ws_bus_servers.h"


/*
 * Between the files of the servers: servers.c has their life and links,
 * servers_op.c commands and redirections, servers_line.c the order of
 * commands, servers_cluster.c the map of a Cluster.
 */

/* masters of a Cluster, each with one or two connections of a worker */
#define NGX_WS_BUS_SERVERS_MAX     256

/* of them, those that are known by redirections alone */
#define NGX_WS_BUS_SERVERS_STRAY   16

/* how long a server without slots is kept, milliseconds */
#define NGX_WS_BUS_SERVERS_IDLE    10000

/* a server that is no master is asked again after as many */
#define NGX_WS_BUS_SERVERS_CHECK   300

#define NGX_WS_BUS_SERVERS_REPLID  40

/* a replication id is not used when it was last right before, milliseconds */
#define NGX_WS_BUS_SERVERS_SURE    1000

/* "[host]:port" */
#define NGX_WS_BUS_SERVERS_NAME    (255 + sizeof("[]:65535"))


typedef struct ngx_ws_bus_node_s  ngx_ws_bus_node_t;
typedef struct ngx_ws_bus_line_s  ngx_ws_bus_line_t;
typedef struct ngx_ws_bus_seed_s  ngx_ws_bus_seed_t;


struct ngx_ws_bus_node_s {
    ngx_ws_bus_server_t             server;    /* first: what others see */
    ngx_ws_bus_servers_t           *servers;
    ngx_queue_t                     queue;
    ngx_pool_t                     *pool;      /* of the address, or NULL */

    ngx_event_t                     check;     /* asks for its role again */
    ngx_msec_t                      used;      /* for a redirection */
    u_char                          replid[NGX_WS_BUS_SERVERS_REPLID];
    ngx_msec_t                      sure;      /* it was right then */
    ngx_msec_t                      since;     /* INFO was sent */

    unsigned                        asked:1;   /* INFO is on its way */
    unsigned                        mute:1;    /* logged: no INFO */
    unsigned                        listed:1;  /* a map has named it */
    unsigned                        dead:1;
};


struct ngx_ws_bus_server_op_s {
    ngx_queue_t                     queue;     /* in ops, or in the line */
    ngx_ws_bus_servers_t           *servers;
    ngx_ws_bus_line_t              *line;
    ngx_ws_bus_node_t              *node;      /* that it was sent to */
    ngx_ws_bus_node_t              *ask;       /* that is to be asked */

    ngx_ws_bus_link_reply_pt        handler;
    void                           *data;

    void                           *publisher;

    size_t                          size;
    uint64_t                        number;
    ngx_uint_t                      slot;
    ngx_uint_t                      redirects;
    ngx_msec_t                      deadline;
    const ngx_str_t                *script;    /* NULL: none, or sent */
    ngx_uint_t                      replid;    /* of argv, 0: none */
    size_t                          digits;    /* of it */
    size_t                          prefix;    /* what is before them */
    ngx_msec_t                      sent;
    ngx_uint_t                      once;      /* unsigned  once:1; */

    ngx_uint_t                      n;
    ngx_str_t                       argv[1];
};


/*
 * Commands whose order is to be kept; sent ones are in the servers' ops.
 */

struct ngx_ws_bus_line_s {
    ngx_queue_t                     queue;     /* in lines, or in held */
    ngx_ws_bus_servers_t           *servers;
    ngx_uint_t                      slot;

    ngx_queue_t                     returned;  /* to be sent again */
    ngx_queue_t                     fresh;     /* to be sent after these */
    size_t                          size;      /* of both */
    ngx_msec_t                      at;        /* not before */

    ngx_ws_bus_node_t              *node;      /* sent to, while */
    ngx_uint_t                      flying;    /* some are */

    unsigned                        shared:1;  /* by those of a slot */
    unsigned                        probing:1; /* one at a time */
    unsigned                        busy:1;    /* handlers are called */
};


/*
 * A configured node of a Cluster, to learn of the others.
 */

struct ngx_ws_bus_seed_s {
    ngx_ws_bus_servers_t           *servers;
    ngx_ws_bus_link_server_t       *address;
    ngx_ws_bus_link_t              *link;      /* NULL: closed */
};


struct ngx_ws_bus_servers_s {
    ngx_ws_bus_redis_t             *redis;
    ngx_ws_bus_servers_handlers_t   handlers;
    ngx_ws_bus_link_stats_t        *heard;     /* of subscribers */
    ngx_log_t                      *log;

    ngx_queue_t                     nodes;
    ngx_queue_t                     dead;      /* nodes to be freed */
    ngx_uint_t                      nnodes;
    ngx_ws_bus_node_t              *single;    /* without a Cluster */
    ngx_ws_bus_sentinel_t          *sentinel;

    ngx_queue_t                     ops;       /* sent */
    ngx_queue_t                     lines;     /* of what is sent */
    ngx_queue_t                     held;      /* where something waits */
    ngx_ws_bus_line_t             **ordered;   /* by slot */
    uint64_t                        number;    /* of commands */
    size_t                          flying;    /* their bytes */
    ngx_ws_bus_node_t              *answering;
    ngx_msec_t                      answered;  /* when that was asked */
    ngx_event_t                     retry;

    /* of a Cluster */
    ngx_ws_bus_node_t             **slots;     /* NULL: not a Cluster */
    ngx_ws_bus_seed_t              *seeds;
    ngx_uint_t                      nseeds;
    ngx_event_t                     refresh;
    ngx_ws_bus_link_t              *asked;     /* for the map */
    ngx_ws_bus_node_t              *asked_node;    /* NULL: a seed */
    time_t                          logged;

    ngx_uint_t                      busy;
    unsigned                        listen:1;
    unsigned                        closed:1;
};


/*
 * Handlers are called between these two; what has died meanwhile is freed by
 * the last "leave", the servers as well.
 */
#define ngx_ws_bus_servers_enter(ss)  (ss)->busy++
void ngx_ws_bus_servers_leave(ngx_ws_bus_servers_t *ss);

/*
 * A server that begins to connect.  The address is copied; its memory is the
 * pool's, which the node frees, or of somebody who lives longer (NULL).  NULL
 * without memory: the pool stays.
 */
ngx_ws_bus_node_t *ngx_ws_bus_node_create(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_link_server_t *address, ngx_pool_t *pool);

/*
 * Ends its links; its commands fail, and the handlers say that it is gone.
 */
void ngx_ws_bus_node_remove(ngx_ws_bus_node_t *node);

/*
 * Asks what it is.
 */
void ngx_ws_bus_node_ask(ngx_ws_bus_node_t *node);

/*
 * Connects to hear, if that is wanted.
 */
void ngx_ws_bus_node_listen(ngx_ws_bus_node_t *node);

/*
 * There is something for it to do: it connects, if it does not yet.
 */
void ngx_ws_bus_node_want(ngx_ws_bus_node_t *node);

/*
 * Where a command is to be sent to now, or NULL.
 */
#define ngx_ws_bus_line_node(op)                                              \
    ((op)->ask ? (op)->ask                                                    \
               : (ngx_ws_bus_node_t *) ngx_ws_bus_servers_of((op)->servers,   \
                                                             (op)->slot))

/*
 * The line of a slot for ordered commands, otherwise a new one.  NULL without
 * memory.
 */
ngx_ws_bus_line_t *ngx_ws_bus_line_get(ngx_ws_bus_servers_t *ss,
    ngx_uint_t slot, ngx_uint_t ordered);

/*
 * Sends the command, or has it wait.  Returns as ngx_ws_bus_link_command();
 * unless it is NGX_OK, the line may be gone, and the command is the caller's.
 */
ngx_int_t ngx_ws_bus_line_add(ngx_ws_bus_line_t *line,
    ngx_ws_bus_server_op_t *op);

/*
 * A command that was sent has not been executed: it waits, at least so long,
 * milliseconds.  It is in no queue.
 */
void ngx_ws_bus_line_return(ngx_ws_bus_server_op_t *op, ngx_msec_t delay);

/*
 * A command that was sent has been executed, NGX_OK, or may have been: those
 * of its publisher before it that were not are refused.  Handlers may close
 * the servers.
 */
void ngx_ws_bus_line_executed(ngx_ws_bus_server_op_t *op, ngx_int_t rc);

/*
 * Sends what may be sent.  A line without anything is gone then.
 */
void ngx_ws_bus_line_advance(ngx_ws_bus_line_t *line);

/*
 * What waits for this node has no node any more.
 */
void ngx_ws_bus_line_forget(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_node_t *node);

/*
 * Frees all lines and commands; no handler is called.
 */
void ngx_ws_bus_line_free(ngx_ws_bus_servers_t *ss);

/*
 * What waits is tried now.
 */
void ngx_ws_bus_servers_retry(ngx_ws_bus_servers_t *ss);
void ngx_ws_bus_servers_retry_handler(ngx_event_t *ev);

/*
 * Sends a command to a node.  Returns as ngx_ws_bus_link_command().
 */
ngx_int_t ngx_ws_bus_servers_send(ngx_ws_bus_server_op_t *op,
    ngx_ws_bus_node_t *node);

/*
 * The end of a command that is in a queue: its handler is called.
 */
void ngx_ws_bus_servers_finish(ngx_ws_bus_server_op_t *op, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);

/*
 * Begins to look for the nodes.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_cluster_init(ngx_ws_bus_servers_t *ss);
void ngx_ws_bus_cluster_close(ngx_ws_bus_servers_t *ss);

/*
 * The map may be old: it is asked for soon.
 */
void ngx_ws_bus_cluster_suspect(ngx_ws_bus_servers_t *ss);

/*
 * The node at host:port, which is made if need be; an empty host is that of
 * the link.  NULL: it cannot be.
 */
ngx_ws_bus_node_t *ngx_ws_bus_cluster_node(ngx_ws_bus_servers_t *ss,
    ngx_ws_bus_link_t *link, ngx_str_t *host, in_port_t port,
    ngx_uint_t stray);

/*
 * One slot is served by this node, as a redirection says.
 */
void ngx_ws_bus_cluster_move(ngx_ws_bus_servers_t *ss, ngx_uint_t slot,
    ngx_ws_bus_node_t *node);


#endif /* _NGX_WS_BUS_SERVERS_CORE_H_INCLUDED_ */
