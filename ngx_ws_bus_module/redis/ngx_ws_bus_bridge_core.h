
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_BRIDGE_CORE_H_INCLUDED_
#define _NGX_WS_BUS_BRIDGE_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge.h"
#include "ngx_ws_bus_envelope.h"
#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_redis_key.h"
#include "ngx_ws_bus_remote.h"
#include "ngx_ws_bus_script.h"
#include "ngx_ws_bus_servers.h"


/*
 * Between the files of the bridge.
 *
 * A zone spans hosts through a Redis.  Every worker publishes over a link of
 * its own; the worker that owns the bridge subscribes for the host, appends
 * what comes to the zone's log, and fetches what is missing.
 */


/* channels in one SUBSCRIBE, and in one comparison of positions */
#define NGX_WS_BUS_BRIDGE_BATCH       64

/* commands on their way at once */
#define NGX_WS_BUS_BRIDGE_SUBSCRIBES  64
#define NGX_WS_BUS_BRIDGE_FETCHES     64

/* subscriptions that follow their slot at once, in a tick */
#define NGX_WS_BUS_BRIDGE_REDIRECTS   256

/* messages, and about so many bytes, in one answer */
#define NGX_WS_BUS_BRIDGE_MESSAGES    512
#define NGX_WS_BUS_BRIDGE_BYTES       (256 * 1024)

/* messages that a new channel is filled with */
#define NGX_WS_BUS_BRIDGE_HISTORY     1024

#define NGX_WS_BUS_BRIDGE_TICK        1000       /* milliseconds */
#define NGX_WS_BUS_BRIDGE_LINGER      10000
#define NGX_WS_BUS_BRIDGE_CHECK       15         /* ticks */
#define NGX_WS_BUS_BRIDGE_REFUSED     2000

/* a publication in the queue of "when_down queue", milliseconds */
#define NGX_WS_BUS_BRIDGE_WAIT        60000

/* room for a key with any prefix */
#define NGX_WS_BUS_BRIDGE_KEY         1024

#define NGX_WS_BUS_BRIDGE_EPOCH       16         /* digits */
#define NGX_WS_BUS_BRIDGE_REPLID      40         /* of them all, */
#define NGX_WS_BUS_BRIDGE_ID          24         /* and those in settings */


typedef struct ngx_ws_bus_bridge_s          ngx_ws_bus_bridge_t;
typedef struct ngx_ws_bus_bridge_channel_s  ngx_ws_bus_bridge_channel_t;
typedef struct ngx_ws_bus_bridge_call_s     ngx_ws_bus_bridge_call_t;


typedef enum {
    NGX_WS_BUS_BRIDGE_NEW = 0,        /* to be subscribed to */
    NGX_WS_BUS_BRIDGE_SUBSCRIBING,
    NGX_WS_BUS_BRIDGE_SUBSCRIBED,
    NGX_WS_BUS_BRIDGE_LEAVING         /* to be unsubscribed from */
} ngx_ws_bus_bridge_state_e;


/*
 * A channel that the owner is subscribed to.
 */

struct ngx_ws_bus_bridge_channel_s {
    ngx_ws_bus_bridge_channel_t  *next;       /* in the table */
    ngx_queue_t                   queue;      /* of what is to be done */
    ngx_ws_bus_server_t          *server;     /* subscribed to at this one */
    uint32_t                      hash;
    ngx_uint_t                    slot;

    ngx_msec_t                    since;      /* in this state */
    ngx_msec_t                    idle;       /* nobody listens since */
    uint64_t                      epoch;      /* of the newest one seen */
    uint64_t                      seq;
    uint64_t                      asked_epoch;    /* where this host was */
    uint64_t                      asked_seq;      /* when it asked */
    uint64_t                      missing;    /* known to be, while live */

    unsigned                      state:2;
    unsigned                      queued:1;
    unsigned                      fetching:1;
    unsigned                      again:1;    /* to be fetched after that */
    unsigned                      live:1;     /* it was made so */
    unsigned                      unused:1;   /* nobody listens */
    unsigned                      alone:1;    /* a batch with it has failed */
    unsigned                      wary:1;     /* nothing is to be written */

    u_char                        len;
    u_char                        name[1];
};


struct ngx_ws_bus_bridge_s {
    ngx_ws_bus_remote_t           remote;

    ngx_ws_bus_redis_t           *redis;
    ngx_ws_bus_zone_t            *zone;
    ngx_ws_bus_hub_t             *hub;        /* NULL: not in this process */
    ngx_log_t                    *log;

    /* to publish, of every worker */
    ngx_ws_bus_servers_t         *servers;
    ngx_msec_t                    since;      /* may take a while to be up */
    ngx_queue_t                   waiting;    /* publications */
    u_char                        waits[NGX_WS_BUS_SLOTS / 8];
                                              /* slots of these, and others */
    size_t                        waiting_size;
    size_t                        flying;     /* bytes without an answer */
    time_t                        logged;     /* an error of a script */
    time_t                        invalid;    /* when one was logged */
    time_t                        large;

    ngx_event_t                   tick;
    ngx_uint_t                    ticks;
    ngx_uint_t                    orphan;     /* ticks without an owner */

    /* of the owner */
    uint64_t                      token;      /* 0: this is not the owner */
    uint64_t                      generation; /* of the channels */
    uint64_t                      round;      /* of the subscriptions */
    uint64_t                      cursor;     /* in the requests */
    ngx_event_t                   work;
    ngx_event_t                   hold;       /* until another one follows */
    ngx_msec_t                    exiting;
    ngx_msec_t                    handing_since;
    ngx_pid_t                     before;     /* the old owner */

    ngx_ws_bus_bridge_channel_t **channels;
    ngx_uint_t                    mask;
    ngx_uint_t                    nchannels;
    ngx_uint_t                    hand;       /* of the sweep */
    ngx_uint_t                    bucket;     /* of the walk */
    ngx_uint_t                    skip;

    ngx_queue_t                   subscribe;  /* to be subscribed to */
    ngx_queue_t                   compare;    /* to be compared, then fetched */
    ngx_queue_t                   fetch;      /* to be fetched */
    ngx_queue_t                   deaf;       /* to be subscribed to, later */
    ngx_queue_t                   stalled;    /* to be fetched, later */
    ngx_uint_t                    subscribing;    /* commands */
    ngx_uint_t                    redirects;      /* in this tick */
    ngx_uint_t                    fetching;

    ngx_str_t                     control;    /* this host's own channel */
    u_char                        control_name[NGX_WS_BUS_BRIDGE_KEY];

    unsigned                      walking:1;
    unsigned                      moving:1;   /* slots have moved */
    unsigned                      refused:1;  /* a Cluster is down */
    unsigned                      up:1;       /* a server is listened to */
    unsigned                      ready:1;    /* and one takes commands */
    unsigned                      handing:1;  /* waits for the marker */
    unsigned                      passive:1;  /* another one appends */
};


#define ngx_ws_bus_bridge(zone)                                               \
    ((ngx_ws_bus_bridge_t *) (zone)->remote->data)


/*
 * Who owns it, ngx_ws_bus_bridge.c.
 *
 * An error that Redis has answered, or a failure: logged, not too often.
 */
void ngx_ws_bus_bridge_error(ngx_ws_bus_bridge_t *b, const char *what,
    const ngx_str_t *channel, ngx_ws_bus_reply_t *reply);

/*
 * 1 once in a second by *last: whoever may publish in Redis may send messages
 * that are of no use, however many, and these do not fill the log.
 */
ngx_uint_t ngx_ws_bus_bridge_logs(time_t *last);

/*
 * From now on this owner appends, or does not any more.
 */
void ngx_ws_bus_bridge_active(ngx_ws_bus_bridge_t *b);
void ngx_ws_bus_bridge_give(ngx_ws_bus_bridge_t *b);

/*
 * All channels that somebody on this host listens to are asked for.
 */
void ngx_ws_bus_bridge_begin_walk(ngx_ws_bus_bridge_t *b);

/*
 * "when_down local": while there is no Redis, channels are served with what
 * this host has.
 */
void ngx_ws_bus_bridge_open(ngx_ws_bus_bridge_t *b);

/*
 * The same in a part of a Cluster: 1 if a slot is not served.
 */
ngx_uint_t ngx_ws_bus_bridge_is_local(ngx_ws_bus_bridge_t *b,
    ngx_uint_t slot);

/*
 * An answer may be that the Cluster is down: whoever waits is told then.
 */
void ngx_ws_bus_bridge_refused(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_reply_t *reply);

/*
 * Writes 16 hexadecimal digits that nobody has had.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_bridge_epoch(u_char *p);

/*
 * Reads 16 hexadecimal digits; empty, or anything else, is 0.
 */
uint64_t ngx_ws_bus_bridge_read_epoch(const ngx_str_t *value);

/*
 * Calls a script for channels of a slot: keys and then arguments are in
 * call->argv[3] to [n - 1], and argv[0] to [2], as well as call->script, are
 * written here; argv is what call->argv points to.  Returns as
 * ngx_ws_bus_servers_command().
 */
ngx_int_t ngx_ws_bus_bridge_script(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_servers_call_t *call, const ngx_ws_bus_script_t *script,
    ngx_str_t *argv, ngx_uint_t keys);

/*
 * The server gets the scripts, so that none of many commands meets one that
 * does not know them.
 */
void ngx_ws_bus_bridge_load(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server);


/*
 * The servers, ngx_ws_bus_bridge_servers.c.
 *
 * Begins to connect, NGX_OK or NGX_ERROR; and ends it.
 */
ngx_int_t ngx_ws_bus_bridge_connect(ngx_ws_bus_bridge_t *b);
void ngx_ws_bus_bridge_disconnect(ngx_ws_bus_bridge_t *b);

/*
 * This process has become the owner: listens to all servers, and looks at the
 * settings of those that are up already.
 */
void ngx_ws_bus_bridge_listen(ngx_ws_bus_bridge_t *b);

/*
 * 1 if there is no server for a slot, and this is not just the beginning.
 */
ngx_uint_t ngx_ws_bus_bridge_failed(ngx_ws_bus_bridge_t *b, ngx_uint_t slot);

/*
 * 1 if all servers are listened to, but for those that have failed.
 */
ngx_uint_t ngx_ws_bus_bridge_settled(ngx_ws_bus_bridge_t *b);

/*
 * "PUBLISH", or "SPUBLISH" if the server of a slot is to be asked so.
 */
ngx_str_t ngx_ws_bus_bridge_verb(ngx_ws_bus_bridge_t *b, ngx_uint_t slot);

/*
 * 1 if this owner appends what comes without a number from this server.
 */
ngx_uint_t ngx_ws_bus_bridge_appends(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server);

/*
 * Everything is subscribed to: says so on a channel of this host, at every
 * server.  What follows that marker is appended here.
 */
void ngx_ws_bus_bridge_marker(ngx_ws_bus_bridge_t *b);

/*
 * No server has its marker.
 */
void ngx_ws_bus_bridge_unmark(ngx_ws_bus_bridge_t *b);

/*
 * 1 if this is a channel of the host: what has come on it is taken notice of
 * then, and the owner may be none any more.
 */
ngx_uint_t ngx_ws_bus_bridge_control(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server, ngx_str_t *kind, ngx_str_t *channel,
    ngx_str_t *value);


/*
 * Settings of the server at the other end, ngx_ws_bus_bridge_check.c: what
 * an operator should hear of is logged, once they are known.
 */
void ngx_ws_bus_bridge_check(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_link_t *link);


/*
 * The owner's channels, ngx_ws_bus_bridge_subs.c.
 *
 * Somebody wants the channel: it is subscribed to, fetched and made live.
 */
void ngx_ws_bus_bridge_want(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_remote_channel_t *rc);

/*
 * The channel by its name, or NULL.
 */
ngx_ws_bus_bridge_channel_t *ngx_ws_bus_bridge_find(ngx_ws_bus_bridge_t *b,
    const ngx_str_t *name);

/*
 * Does what is to be done, so far as it may be on its way at once.
 */
void ngx_ws_bus_bridge_work(ngx_ws_bus_bridge_t *b);

/*
 * The channel is to be fetched or compared; it may be said again.
 */
void ngx_ws_bus_bridge_queue(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, ngx_queue_t *queue);

/*
 * Something that was subscribed to, or what came of a subscription.
 */
void ngx_ws_bus_bridge_push(void *data, ngx_ws_bus_server_t *server,
    ngx_ws_bus_reply_t *reply);

/*
 * Channels have another server than they are subscribed to at.
 */
void ngx_ws_bus_bridge_move(ngx_ws_bus_bridge_t *b);

/*
 * The subscriptions at a server, or all (NULL), are gone; or for good.
 */
void ngx_ws_bus_bridge_unsubscribed(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_server_t *server);
void ngx_ws_bus_bridge_free_channels(ngx_ws_bus_bridge_t *b);

/*
 * Every second: looks at some of the channels.
 */
void ngx_ws_bus_bridge_sweep(ngx_ws_bus_bridge_t *b);


/*
 * What is missing, ngx_ws_bus_bridge_fetch.c.
 *
 * Sends commands for what is queued.
 */
void ngx_ws_bus_bridge_fetch(ngx_ws_bus_bridge_t *b);

/*
 * Appends a message that came, or was fetched.  NGX_OK, NGX_DONE, NGX_AGAIN,
 * NGX_DECLINED as ngx_ws_bus_remote_place(), NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_bridge_place(ngx_ws_bus_bridge_t *b,
    const ngx_str_t *name, ngx_ws_bus_envelope_t *e, ngx_uint_t fetched);


/*
 * What was missed, ngx_ws_bus_bridge_gap.c.
 *
 * A message has come that does not follow: counts those before it.
 */
void ngx_ws_bus_bridge_hole(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, const ngx_str_t *name,
    const ngx_ws_bus_envelope_t *e);

/*
 * Redis is ahead of a live channel: once all is heard that was published
 * before, what has not come is counted and fetched.  NGX_OK, or NGX_DECLINED
 * if that cannot be found out now.
 */
ngx_int_t ngx_ws_bus_bridge_late(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_bridge_channel_t *c, const ngx_ws_bus_position_t *pos);


/*
 * Publishing, ngx_ws_bus_bridge_publish.c: members of ngx_ws_bus_remote_t.
 */
ngx_int_t ngx_ws_bus_bridge_publish(ngx_ws_bus_hub_t *hub,
    const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_ws_bus_op_t *op);
ngx_int_t ngx_ws_bus_bridge_delete(ngx_ws_bus_hub_t *hub,
    const ngx_str_t *name, ngx_ws_bus_op_t *op);
void ngx_ws_bus_bridge_cancel(ngx_ws_bus_op_t *op);

/*
 * A server is up: what has waited is sent.  One is down, or time has passed:
 * what cannot wait any longer is refused, or all that has no server.
 */
void ngx_ws_bus_bridge_publish_up(ngx_ws_bus_bridge_t *b);
void ngx_ws_bus_bridge_publish_refuse(ngx_ws_bus_bridge_t *b,
    ngx_uint_t all);


#endif /* _NGX_WS_BUS_BRIDGE_CORE_H_INCLUDED_ */
