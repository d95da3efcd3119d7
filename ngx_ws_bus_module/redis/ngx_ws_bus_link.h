
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_LINK_H_INCLUDED_
#define _NGX_WS_BUS_LINK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "ngx_ws_bus_resp.h"


/*
 * A link is one connection of one worker to one Redis server.  It connects
 * by itself, keeps connecting, and carries commands, many at a time, whose
 * replies come in order.  RESP2: it is served by every Redis, and a link
 * that subscribes has its own connection anyway.
 */

/* a command by which it subscribes; the others need a link without */
#define NGX_WS_BUS_LINK_SUBSCRIBER   1

/* to a sentinel: there is no database, and AUTH may be unknown */
#define NGX_WS_BUS_LINK_SENTINEL     2

/* rtt: upper bounds in microseconds, the last one is +Inf */
#define NGX_WS_BUS_LINK_RTT_N        14


typedef enum {
    NGX_WS_BUS_LINK_DOWN = 0,          /* waits to connect again */
    NGX_WS_BUS_LINK_RESOLVING,
    NGX_WS_BUS_LINK_CONNECTING,
    NGX_WS_BUS_LINK_SECURING,          /* the TLS handshake */
    NGX_WS_BUS_LINK_GREETING,          /* AUTH, SELECT, CLIENT, PING */
    NGX_WS_BUS_LINK_UP
} ngx_ws_bus_link_state_e;


/*
 * Why it is down; ngx_ws_bus_link_reasons[] has words.
 */

typedef enum {
    NGX_WS_BUS_LINK_NEVER = 0,         /* not yet tried */
    NGX_WS_BUS_LINK_RESOLVE,           /* the name has no address */
    NGX_WS_BUS_LINK_CONNECT,
    NGX_WS_BUS_LINK_CONNECT_TIMEOUT,   /* until it is up, all in all */
    NGX_WS_BUS_LINK_TLS,
    NGX_WS_BUS_LINK_VERIFY,            /* not the right certificate */
    NGX_WS_BUS_LINK_AUTH,
    NGX_WS_BUS_LINK_LOADING,           /* it reads its data set */
    NGX_WS_BUS_LINK_REFUSED,           /* any other error at the greeting */
    NGX_WS_BUS_LINK_TIMEOUT,           /* a command was not answered */
    NGX_WS_BUS_LINK_CLOSED,            /* by the server */
    NGX_WS_BUS_LINK_IO,
    NGX_WS_BUS_LINK_PROTOCOL,          /* no Redis, or a reply too large */
    NGX_WS_BUS_LINK_MEMORY,
    NGX_WS_BUS_LINK_REASONS
} ngx_ws_bus_link_reason_e;


/*
 * A server.  Without addresses "host" is resolved at every connect.
 */

typedef struct {
    ngx_str_t                   name;      /* "host:port", "unix:/path" */
    ngx_str_t                   host;      /* empty: a unix socket */
    in_port_t                   port;
    ngx_addr_t                 *addrs;     /* tried in turn */
    ngx_uint_t                  naddrs;
} ngx_ws_bus_link_server_t;


/*
 * What all links to the servers of one Redis have in common.  Lives longer
 * than they.
 */

typedef struct {
    ngx_str_t                   name;      /* of its block */

    ngx_str_t                   user;      /* empty: the default user */
    ngx_str_t                   password;  /* empty: no AUTH */
    ngx_str_t                   password_file;  /* null-terminated */
    ngx_uint_t                  database;

    ngx_msec_t                  connect_timeout;
    ngx_msec_t                  timeout;
    ngx_msec_t                  keepalive;
    ngx_msec_t                  reconnect;      /* the first delay */
    ngx_msec_t                  reconnect_max;

    size_t                      max_queue;      /* bytes to be sent */
    size_t                      max_reply;      /* bytes of one reply */
    ngx_uint_t                  max_elements;   /* of one reply */

    ngx_resolver_t             *resolver;       /* NULL: none */
    ngx_msec_t                  resolver_timeout;

    void                       *ssl;            /* ngx_ssl_t, NULL: off */
    ngx_str_t                   ssl_name;       /* empty: the host */
    ngx_uint_t                  ssl_verify;     /* unsigned ssl_verify:1; */
} ngx_ws_bus_link_conf_t;


/*
 * Counters only grow; several links may count into the same ones.
 */

typedef struct {
    uint64_t                    commands;
    uint64_t                    replies;
    uint64_t                    errors;         /* replies that are errors */
    uint64_t                    pushes;
    uint64_t                    timeouts;
    uint64_t                    connects;       /* got up */
    uint64_t                    failures;       /* went down, or not up */
    uint64_t                    bytes_in;
    uint64_t                    bytes_out;
    uint64_t                    rtt_sum;        /* microseconds */
    uint64_t                    rtt[NGX_WS_BUS_LINK_RTT_N];
} ngx_ws_bus_link_stats_t;


typedef struct ngx_ws_bus_link_s     ngx_ws_bus_link_t;
typedef struct ngx_ws_bus_link_op_s  ngx_ws_bus_link_op_t;

typedef struct ngx_ws_bus_link_block_s  ngx_ws_bus_link_block_t;


/*
 * The outcome of a command; called once, unless it is cancelled or the link
 * closed.
 *
 * NGX_OK        reply is set, and may be an error of Redis; it lives until
 *               the handler returns
 * NGX_DECLINED  reply is NULL, the command has not been sent
 * NGX_ERROR     reply is NULL, nobody knows whether it was executed
 */
typedef void (*ngx_ws_bus_link_reply_pt)(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);


/*
 * Any handler may be NULL, and any may close the link.
 */

typedef struct {
    /* commands are taken from now on */
    void                      (*up)(void *data);

    /* commands have failed before; it connects again by itself */
    void                      (*down)(void *data,
                                  ngx_ws_bus_link_reason_e reason);

    /* "message" and the like, also each confirmation of a subscription:
       an array that begins with a string */
    void                      (*push)(void *data, ngx_ws_bus_reply_t *reply);

    void                       *data;
    ngx_ws_bus_link_stats_t    *stats;     /* NULL: its own are used */
} ngx_ws_bus_link_handlers_t;


/*
 * The upper part is to be read, the lower one is the link's own.
 */

struct ngx_ws_bus_link_s {
    ngx_ws_bus_link_state_e     state;
    ngx_ws_bus_link_reason_e    reason;    /* of the last failure */
    time_t                      since;     /* ngx_time() of being up or not */
    ngx_uint_t                  pending;   /* commands without a reply */
    size_t                      queued;    /* bytes to be sent */
    uint64_t                    rtt;       /* of the last reply, usec */

    ngx_ws_bus_link_stats_t    *stats;
    ngx_ws_bus_link_server_t   *server;
    ngx_ws_bus_link_conf_t     *conf;

    ngx_ws_bus_link_stats_t     own;
    ngx_ws_bus_link_handlers_t  handlers;
    ngx_uint_t                  flags;

    ngx_log_t                   log;
    ngx_log_t                   connection_log;  /* quiet after a failure */

    ngx_event_t                 timer;     /* connect again, give up, ping */
    ngx_event_t                 deadline;  /* of the first command */
    ngx_event_t                 flush;     /* posted */

    ngx_peer_connection_t       peer;
    ngx_resolver_ctx_t         *ctx;
    ngx_sockaddr_t              sockaddr;
    ngx_uint_t                  tried;     /* addresses, in this round */
    ngx_uint_t                  naddrs;
    ngx_uint_t                  next;      /* address */

    ngx_msec_t                  delay;
    ngx_msec_t                  gone_at;   /* it stayed until then */
    ngx_msec_t                  up_at;
    ngx_msec_t                  read_at;   /* something came */
    uint64_t                    turn;      /* of the event loop, usec */

    ngx_queue_t                 ops;       /* without a reply */
    ngx_queue_t                 failed;
    ngx_ws_bus_link_block_t    *out;
    ngx_ws_bus_link_block_t    *last;
    uint64_t                    end;       /* bytes ever queued */
    uint64_t                    sent;
    ngx_ws_bus_resp_t          *resp;

    ngx_uint_t                  told;      /* reasons logged, a bit mask */
    ngx_uint_t                  busy;      /* calls of handlers */
    unsigned                    closed:1;
    unsigned                    told_file:1;
};


/*
 * Words for a log or a status, "connection refused", by reason.
 */
extern const ngx_str_t  ngx_ws_bus_link_reasons[NGX_WS_BUS_LINK_REASONS];

/*
 * The upper bounds of stats.rtt[], microseconds.
 */
extern const uint64_t  ngx_ws_bus_link_rtt_bounds[NGX_WS_BUS_LINK_RTT_N - 1];


/*
 * Fills in a server from "host[:port]" or "unix:/path"; without a port it is
 * "default_port".  Nothing is resolved: only a literal address gets addrs.
 * Memory is the pool's, the name is copied.  NGX_OK, NGX_DECLINED with *err,
 * or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_link_server(ngx_pool_t *pool, ngx_str_t *name,
    in_port_t default_port, ngx_ws_bus_link_server_t *server, char **err);

/*
 * The length of the first line: what a password file is read for.
 */
size_t ngx_ws_bus_link_first_line(u_char *p, size_t len);

/*
 * A link that begins to connect with the next turn of the event loop: no
 * handler is called before.  "conf" and "server" live longer than it,
 * "handlers" are copied; "flags" are NGX_WS_BUS_LINK_*.  NULL without memory.
 */
ngx_ws_bus_link_t *ngx_ws_bus_link_create(ngx_ws_bus_link_conf_t *conf,
    ngx_ws_bus_link_server_t *server, ngx_ws_bus_link_handlers_t *handlers,
    ngx_uint_t flags, ngx_log_t *log);

/*
 * Closes the connection and frees the link: no handler of it is called any
 * more, nor is that of any command.  May be called from any handler.
 */
void ngx_ws_bus_link_close(ngx_ws_bus_link_t *link);

/*
 * The same, but its commands fail before, and their handlers are called; they
 * must not close the link.
 */
void ngx_ws_bus_link_end(ngx_ws_bus_link_t *link);

/*
 * Sends a command, argv[0] is its name; the arguments are copied.  Commands
 * of one turn of the event loop leave in one write.  The handler, which may
 * be NULL, is never called before this has returned; *op, if op is not NULL,
 * is for ngx_ws_bus_link_cancel() until the handler is called.
 *
 * A subscriber takes SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and the three
 * UNSUBSCRIBE, each with a channel at least, and PING.  A subscription is
 * answered when the last of its channels is confirmed, with that reply, or
 * with an error for all of them.
 *
 * NGX_OK        it is in the queue
 * NGX_DECLINED  the link is not up
 * NGX_AGAIN     the queue is full
 * NGX_ERROR     no memory
 */
ngx_int_t ngx_ws_bus_link_command(ngx_ws_bus_link_t *link,
    const ngx_str_t *argv, ngx_uint_t n, ngx_ws_bus_link_reply_pt handler,
    void *data, ngx_ws_bus_link_op_t **op);

/*
 * The handler of the command is not called; the command itself stays.
 */
void ngx_ws_bus_link_cancel(ngx_ws_bus_link_op_t *op);

/*
 * 1 if a command of "size" bytes (ngx_ws_bus_resp_command_size()) would be
 * taken.
 */
ngx_uint_t ngx_ws_bus_link_takes(ngx_ws_bus_link_t *link, size_t size);


#endif /* _NGX_WS_BUS_LINK_H_INCLUDED_ */
