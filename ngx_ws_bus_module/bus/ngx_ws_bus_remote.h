
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_REMOTE_H_INCLUDED_
#define _NGX_WS_BUS_REMOTE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_zone.h"


/*
 * A zone that spans hosts.  A message gets its place in the order elsewhere,
 * and the log is this host's copy.  One process of the host is the bridge: it
 * appends what comes, and fetches what is missing.
 *
 * A channel is live while the bridge hears of its messages and has what came
 * before; whoever subscribes to one that is not asks for it and waits.
 */


/* channels asked for that the zone remembers by name */
#define NGX_WS_BUS_REMOTE_RING  128

/* channels in one answer of ngx_ws_bus_remote_walk() */
#define NGX_WS_BUS_REMOTE_WALK  64

#define NGX_WS_BUS_REMOTE_NAME  255


/*
 * What a node of such a zone has besides, at its end, where the others have
 * more of their name.  An epoch of 0 is not known yet.  If it continues more
 * than one, prev is 0, and base the address of all of them: NGX_WS_BUS_CHAIN
 * or, if there are less, up to one of epoch 0.
 */

typedef struct {
    uint64_t             live;       /* the token of who made it live */
    uint64_t             prev;       /* the epoch before: its first "base" */
    uint64_t             base;       /* messages belong to this one, too */
} ngx_ws_bus_remote_node_t;

#define ngx_ws_bus_remote_node(node)                                          \
    ((ngx_ws_bus_remote_node_t *) ((node) + 1) - 1)

ngx_ws_bus_assert(remote_node,
                  sizeof(ngx_ws_bus_remote_node_t) + sizeof(u_char *)
                  < NGX_WS_BUS_NODE_NAME);


/*
 * The payload of its records.
 */

typedef struct {
    uint64_t             epoch;
    uint64_t             seq;
    uint64_t             follows;    /* nothing is missing */
} ngx_ws_bus_remote_record_t;


/*
 * Counters of the bridge, which only its owner writes; they survive it.
 */

typedef struct {
    uint64_t             reconnects;
    uint64_t             gaps;            /* found */
    uint64_t             repaired;        /* messages */
    uint64_t             lost;            /* messages, told to clients */
    uint64_t             resets;          /* of a channel's order */
    uint64_t             received;        /* messages */
    uint64_t             invalid;         /* that could not be read */
    uint64_t             takeovers;
} ngx_ws_bus_remote_stats_t;


/*
 * In the zone's memory.
 */

struct ngx_ws_bus_remote_sh_s {
    uint64_t             host;       /* a random name of this zone */
    ngx_pid_t            pid;        /* of the owner, 0: nobody */
    ngx_uint_t           slot;
    uint64_t             generation;
    uint64_t             token;      /* of the newest owner */
    uint64_t             floor;      /* what was made live before is not */
    ngx_uint_t           open;       /* all channels are served as they are */

    /* of the owner, to be looked at */
    uint64_t             up;
    time_t               since;
    uint64_t             channels;   /* subscribed to, or to be */
    uint64_t             nlive;      /* of these */
    uint64_t             rtt;        /* microseconds */

    ngx_ws_bus_remote_stats_t  stats;

    uint64_t             wanted;     /* number of requests so far */
    struct {
        uint64_t         id;
        uint64_t         hash;
    } ring[NGX_WS_BUS_REMOTE_RING];
};


/*
 * An asynchronous publication; memory of the caller's, until the handler is
 * called.
 */

typedef struct ngx_ws_bus_op_s  ngx_ws_bus_op_t;

struct ngx_ws_bus_op_s {
    /*
     * NGX_OK        *place says where it is
     * NGX_DECLINED  it was not published
     * NGX_ERROR     nobody knows whether it was
     */
    void               (*handler)(ngx_ws_bus_op_t *op, ngx_int_t rc,
                             ngx_ws_bus_place_t *place);
    void                *data;
    void                *publisher;  /* whose order is to be kept, or NULL */
    void                *pending;    /* the bridge's, NULL: not on its way */
};


/*
 * What makes a zone span hosts.  "op" may be NULL: nobody asks how it ends.
 */

struct ngx_ws_bus_remote_s {
    void                *data;
    ngx_msec_t           timeout;    /* to wait for a channel */
    ngx_msec_t           patience;   /* for the end of a publication */
    ngx_uint_t           history;    /* messages that anybody asks for */
    ngx_uint_t           required;   /* without it nothing is published */

    /*
     * Called in each process that uses the zone, when it begins and ends.
     */
    ngx_int_t          (*init)(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle);
    void               (*exit)(ngx_ws_bus_zone_t *zone);

    /*
     * NGX_AGAIN: the operation's handler will be called; NGX_OK: done, with
     * *place; NGX_DECLINED: not now; NGX_ERROR.
     */
    ngx_int_t          (*publish)(ngx_ws_bus_hub_t *hub,
                             const ngx_str_t *name, ngx_ws_bus_message_t *msg,
                             ngx_ws_bus_place_t *place, ngx_ws_bus_op_t *op);

    /*
     * Deletes the channel everywhere: as above.  The operation ends with
     * NGX_OK, and place->seq is 0 if there was nothing to be deleted.
     */
    ngx_int_t          (*delete)(ngx_ws_bus_hub_t *hub,
                             const ngx_str_t *name, ngx_ws_bus_op_t *op);

    /*
     * The operation's handler is not called any more.
     */
    void               (*cancel)(ngx_ws_bus_op_t *op);

    /*
     * Somebody may want a channel; called in every process, often.
     */
    void               (*wanted)(ngx_ws_bus_hub_t *hub);
};


/*
 * A channel as the bridge has to know it.
 */

typedef struct {
    uint64_t             id;
    uint64_t             epoch;
    uint64_t             seq;
    ngx_uint_t           subscribers;
    ngx_uint_t           live;
    ngx_ws_bus_chain_t   chain;
    ngx_str_t            name;
    u_char               data[NGX_WS_BUS_REMOTE_NAME];
} ngx_ws_bus_remote_channel_t;


/*
 * This process becomes the bridge's owner.  Returns its token, larger than
 * those before.  Channels that others have made live stay so until
 * ngx_ws_bus_remote_floor(), for which the token is given.
 */
uint64_t ngx_ws_bus_remote_take(ngx_ws_bus_zone_t *zone);
void ngx_ws_bus_remote_floor(ngx_ws_bus_zone_t *zone, uint64_t token);

/*
 * The owner gives the bridge up, if it still is the owner.
 */
void ngx_ws_bus_remote_leave(ngx_ws_bus_zone_t *zone, uint64_t token);

/*
 * 1 if the bridge has no owner that is alive, or one of an older
 * configuration than the caller's.
 */
ngx_uint_t ngx_ws_bus_remote_orphan(ngx_ws_bus_zone_t *zone);

/*
 * The next request after *cursor, which moves on.
 *
 * NGX_OK        *ch is the channel
 * NGX_DONE      there is none
 * NGX_DECLINED  there were too many, the table is to be walked
 */
ngx_int_t ngx_ws_bus_remote_next(ngx_ws_bus_zone_t *zone, uint64_t *cursor,
    ngx_ws_bus_remote_channel_t *ch);

/*
 * The channels that somebody listens to, some at a time: *bucket moves on
 * from 0.  chs[] has room for NGX_WS_BUS_REMOTE_WALK, their number is left in
 * *n; a bucket with more of them is given in parts, by *skip, 0 at first.
 * NGX_OK: there may be more; NGX_DONE: the end.
 */
ngx_int_t ngx_ws_bus_remote_walk(ngx_ws_bus_zone_t *zone, ngx_uint_t *bucket,
    ngx_uint_t *skip, ngx_ws_bus_remote_channel_t *chs, ngx_uint_t *n);

/*
 * Where this host is on a channel.  NGX_OK, or NGX_DECLINED if the zone does
 * not know it.
 */
ngx_int_t ngx_ws_bus_remote_look(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_ws_bus_remote_channel_t *ch);

/*
 * Appends a message whose place is known: seq of the epoch, or 0: it is not
 * kept.  msg->time is its age's beginning by this host's clock.  rings[] and
 * *n as of ngx_ws_bus_channel_publish().
 *
 * NGX_OK        it is in the log
 * NGX_DONE      it was already
 * NGX_AGAIN     it does not follow: there is a gap, or another epoch
 * NGX_DECLINED  nobody wants it: the channel is not live any more
 * NGX_ERROR     larger than the log
 */
ngx_int_t ngx_ws_bus_remote_place(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, uint64_t epoch, uint64_t seq,
    ngx_ws_bus_message_t *msg, ngx_uint_t *rings, ngx_uint_t *n);

/*
 * The kept messages up to seq, that are not in the log, will never come:
 * subscribers are told.  NGX_OK, NGX_DONE if there are none, or NGX_DECLINED
 * if the zone does not know the channel.
 */
ngx_int_t ngx_ws_bus_remote_lost(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, uint64_t seq, ngx_uint_t *rings, ngx_uint_t *n);

/*
 * The channel has another epoch, which continues those of the chain.  If
 * "follows" is set, nothing is missing: this host's messages are among those
 * that it continues.  Otherwise the channel begins anew behind seq, and
 * subscribers are told.  Returns as ngx_ws_bus_remote_lost().
 */
ngx_int_t ngx_ws_bus_remote_reset(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, uint64_t epoch, uint64_t seq,
    const ngx_ws_bus_chain_t *chain, ngx_uint_t follows, ngx_uint_t *rings,
    ngx_uint_t *n);

/*
 * The channel is live: all that waits for it is told.  NGX_OK, or
 * NGX_DECLINED if the zone does not know it.
 */
ngx_int_t ngx_ws_bus_remote_live(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, uint64_t token, ngx_uint_t *rings, ngx_uint_t *n);

/*
 * Nobody hears of its messages any more.
 */
void ngx_ws_bus_remote_dead(ngx_ws_bus_zone_t *zone, const ngx_str_t *name);

/*
 * The channel was deleted elsewhere.  NGX_OK or NGX_DECLINED.
 */
ngx_int_t ngx_ws_bus_remote_deleted(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_uint_t *rings, ngx_uint_t *n);


/*
 * For the zone and the channel table.  Makes what such a zone has besides;
 * NGX_OK or NGX_ERROR.  The others are called under the mutex: whether a
 * channel is live; the epochs that its own continues, and the memory that they
 * are in, if they are several; that somebody waits for it.
 */
ngx_int_t ngx_ws_bus_remote_create(ngx_ws_bus_zone_t *zone);
ngx_uint_t ngx_ws_bus_remote_is_live_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);
void ngx_ws_bus_remote_chain_locked(ngx_ws_bus_node_t *node,
    ngx_ws_bus_chain_t *chain);
ngx_ws_bus_chain_link_t *ngx_ws_bus_remote_past(ngx_ws_bus_node_t *node);
void ngx_ws_bus_remote_want_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);


#endif /* _NGX_WS_BUS_REMOTE_H_INCLUDED_ */
