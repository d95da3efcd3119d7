
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_CHANNEL_H_INCLUDED_
#define _NGX_WS_BUS_CHANNEL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_chain.h"
#include "ngx_ws_bus_zone.h"


#define NGX_WS_BUS_ONCE_LEN    20

/* of so many kept messages one can be found quickly, the others from there */
#ifndef NGX_WS_BUS_HISTORY_STEP
#define NGX_WS_BUS_HISTORY_STEP  64
#endif

/* a channel that nobody needs is forgotten after this, seconds */
#define NGX_WS_BUS_IDLE_TIME   60

/*
 * What is allocated while the zone is in use has this size, or less.  A page
 * of nginx's slab pool has pieces of one size only, and with many in use it is
 * seldom free as a whole: so a channel that makes way leaves a place that all
 * else fits into.
 */
#define NGX_WS_BUS_CELL        128

/* bytes of a name in the node, which fills a cell with them */
#define NGX_WS_BUS_NODE_NAME   50

#define ngx_ws_bus_seconds(usec)  ((uint32_t) ((usec) / 1000000))


/*
 * How many subscribers of a channel a process slot has.
 */

typedef struct ngx_ws_bus_interest_s  ngx_ws_bus_interest_t;

struct ngx_ws_bus_interest_s {
    ngx_ws_bus_interest_t  *next;
    uint32_t                slot;
    uint32_t                count;
};


/*
 * A channel in the zone.  Lists in shared memory are singly linked, and a
 * node enters or leaves one by a single store: a process killed anywhere
 * leaves a list that can be walked.
 */

struct ngx_ws_bus_node_s {
    ngx_ws_bus_node_t      *next;
    ngx_ws_bus_interest_t  *interest;
    ngx_ws_bus_member_t    *members;

    uint64_t                id;
    uint64_t                epoch;
    uint64_t                seq;       /* of the newest kept message, or 0 */
    uint64_t                last;      /* its position */
    uint64_t                linked;    /* that of the newest one with a link */
    uint32_t                keep;      /* when the kept are too old, seconds */
    uint32_t                touched;   /* seconds */

    uint32_t                hash;
    u_char                  len;
    u_char                  room;      /* in name[] */
    u_char                  name[NGX_WS_BUS_NODE_NAME];
};

ngx_ws_bus_assert(node, sizeof(ngx_ws_bus_node_t) <= NGX_WS_BUS_CELL);


/*
 * What is published.
 */

typedef struct {
    u_char                 *data;
    size_t                  len;
    u_char                 *once;      /* NGX_WS_BUS_ONCE_LEN bytes or NULL */
    uint64_t                time;      /* now; set by ngx_ws_bus_hub_publish */
    uint64_t                age;       /* kept that long, microseconds */
    uint32_t                flags;     /* NGX_WS_BUS_REC_... */
    ngx_uint_t              keep;      /* so many; 0: it gets no seq */
} ngx_ws_bus_message_t;


/*
 * Where it went.
 */

typedef struct {
    uint64_t                epoch;
    uint64_t                seq;       /* 0: not kept */
    ngx_uint_t              subscribers;
    ngx_uint_t              repeated;  /* the answer to an earlier one */

    /* of a zone that spans hosts */
    ngx_uint_t              hosts;     /* that got it */
    ngx_uint_t              local;     /* this one only */
} ngx_ws_bus_place_t;


/*
 * A channel at one moment, taken under the mutex.
 */

typedef struct {
    uint64_t                id;
    uint64_t                epoch;
    uint64_t                seq;
    uint64_t                last;
    uint64_t                linked;
    uint64_t                head;      /* of the log */

    ngx_uint_t              live;
    ngx_ws_bus_chain_t      chain;     /* the epochs that it continues */
} ngx_ws_bus_view_t;


/*
 * Positions of kept messages, oldest first, in ngx_alloc()ed memory.
 */

typedef struct {
    uint64_t               *pos;
    ngx_uint_t              n;
    uint64_t                first;     /* seq of pos[0], or of what would be */
} ngx_ws_bus_history_t;


typedef struct {
    ngx_uint_t              subscribers;
    uint64_t                epoch;
    uint64_t                seq;
    uint64_t                oldest;    /* seq of the oldest, 0: none */
    ngx_uint_t              messages;
} ngx_ws_bus_state_t;


/*
 * Adds a subscriber of this process to the channel, which is made if need
 * be.  Returns the node, which stays as long as it has subscribers, and its
 * *view at this moment.  NULL when the zone has no memory for it.
 */
ngx_ws_bus_node_t *ngx_ws_bus_channel_join(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_ws_bus_view_t *view);

/*
 * Takes a subscriber of this process off the channel.
 */
void ngx_ws_bus_channel_part(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);

/*
 * Appends a message to the log.  "node" is the channel's if the caller has
 * subscribers on it, otherwise NULL, and the name is looked up.  A channel is
 * made only for a message that is kept.  The slots that are to be rung are
 * left in rings[], which has room for NGX_MAX_PROCESSES, their number in *n;
 * they are already marked as pending.  An idempotency key that is known
 * answers with its first result and publishes nothing.
 *
 * NGX_OK        *place says where it is
 * NGX_DECLINED  the zone has no memory for the channel
 * NGX_ERROR     larger than the log
 */
ngx_int_t ngx_ws_bus_channel_publish(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_uint_t *rings, ngx_uint_t *n);

/*
 * Forgets the channel's history, gives it a new epoch and tells its
 * subscribers through the log; rings[] as above.  NGX_OK, or NGX_DECLINED if
 * there is no such channel.
 */
ngx_int_t ngx_ws_bus_channel_delete(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_uint_t *rings, ngx_uint_t *n);

/*
 * What can be had of a channel: at most "count" messages, at most "age"
 * microseconds old (0: any age).  NGX_OK, or NGX_DECLINED if there is no such
 * channel.
 */
ngx_int_t ngx_ws_bus_channel_state(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_uint_t count, uint64_t age,
    ngx_ws_bus_state_t *state);

/*
 * A channel by its name at this moment.  NGX_OK, or NGX_DECLINED if there is
 * no such channel.
 */
ngx_int_t ngx_ws_bus_channel_peek(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name, ngx_ws_bus_view_t *view);

/*
 * The channel at this moment.
 */
void ngx_ws_bus_channel_view(ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node,
    ngx_ws_bus_view_t *view);

/*
 * The history, bus/ngx_ws_bus_history.c.
 *
 * Finds the kept messages after "after" up to the view's seq, the newest
 * "count" of them, not older than "age" microseconds (0: any age); of these,
 * the oldest "limit".  Takes no lock, and time for as many as are found and
 * some dozens.  What is found may be forgotten before it is read.  NGX_OK, or
 * NGX_ERROR without memory; h->pos is the caller's to free.
 */
ngx_int_t ngx_ws_bus_channel_history(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_view_t *view, uint64_t after, ngx_uint_t count, uint64_t age,
    ngx_uint_t limit, ngx_ws_bus_history_t *h, ngx_log_t *log);

/*
 * The seq of the oldest of them, or the view's seq + 1 if there is none.
 */
uint64_t ngx_ws_bus_channel_oldest(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_view_t *view, uint64_t after, ngx_uint_t count, uint64_t age);

/*
 * Makes room for the channel's next kept message, as ngx_ws_bus_log_reserve()
 * does, and links it to those before: seq, prev and len are set.  The caller
 * holds the mutex.
 */
ngx_ws_bus_record_t *ngx_ws_bus_history_reserve_locked(
    ngx_ws_bus_zone_t *zone, ngx_ws_bus_node_t *node, size_t len);

/*
 * The longest payload that can always be kept in a log of "size" bytes.
 */
size_t ngx_ws_bus_history_max_payload(size_t size);

/*
 * Appends a record that is no message, with a small payload; the caller holds
 * the mutex.  rings and n as above, or NULL: the slots are to be rung by
 * other means.
 */
void ngx_ws_bus_channel_tell_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t type, ngx_str_t *payload,
    ngx_uint_t *rings, ngx_uint_t *n);

/*
 * The channel by its name, or NULL; the caller holds the mutex.
 */
ngx_ws_bus_node_t *ngx_ws_bus_channel_find_locked(ngx_ws_bus_zone_t *zone,
    const ngx_str_t *name);

/*
 * The channel's name, which stays as long as the node, and in this process
 * until the next call.
 */
void ngx_ws_bus_node_name(ngx_ws_bus_node_t *node, ngx_str_t *name);

/*
 * 1 if that is its name.
 */
ngx_uint_t ngx_ws_bus_node_is(ngx_ws_bus_node_t *node,
    const ngx_str_t *name);

/*
 * Room in the zone, bus/ngx_ws_bus_room.c, under the mutex.
 *
 * Allocates zeroed memory.  If there is none, channels make way that have no
 * subscribers: those of no use first.  For up to NGX_WS_BUS_CELL bytes a part
 * of the table is looked through for them, for more all of it.
 */
void *ngx_ws_bus_room_alloc_locked(ngx_ws_bus_zone_t *zone, size_t size);

/*
 * Looks at the next bucket for channels that can go, and returns how many
 * have gone.  force 0: what has been of no use for a while; 1: all of no use;
 * 2: all without subscribers.
 */
ngx_uint_t ngx_ws_bus_room_sweep_locked(ngx_ws_bus_zone_t *zone,
    ngx_uint_t force);

/*
 * A name in the zone's memory begins at p, where "room" bytes are; what is too
 * long for them goes on in cells of its own.  Writing: NGX_OK, or NGX_ERROR
 * without memory for those.  Freeing them: "len" is the name's.
 */
ngx_int_t ngx_ws_bus_name_write_locked(ngx_ws_bus_zone_t *zone, u_char *p,
    size_t room, const ngx_str_t *name);
void ngx_ws_bus_name_free_locked(ngx_ws_bus_zone_t *zone, u_char *p,
    size_t room, size_t len);

/*
 * Copies a name of "len" bytes, and returns the end of the copy; compares it,
 * 1: it is the same.  These need no mutex.
 */
u_char *ngx_ws_bus_name_copy(u_char *dst, u_char *p, size_t room, size_t len);
ngx_uint_t ngx_ws_bus_name_is(u_char *p, size_t room, size_t len,
    const ngx_str_t *name);

/*
 * For a zone that spans hosts, under the mutex: makes a reserved record
 * visible and does what belongs to it, with what zone->sh->redo has been
 * given of epoch, prev, base, to and last; how many subscribers a channel
 * has.
 */
ngx_uint_t ngx_ws_bus_channel_commit_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_ws_bus_once_t *once,
    ngx_ws_bus_record_t *rec, uint32_t keep, ngx_uint_t *rings,
    ngx_uint_t *n);
ngx_uint_t ngx_ws_bus_channel_subscribers_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);

/*
 * A number that is not likely to come again.
 */
uint64_t ngx_ws_bus_channel_epoch(void);

/*
 * For the zone, under its mutex: completes an append, the caller's own or
 * that of a killed process (rings is NULL then: the slots look by
 * themselves), and returns the number of subscribers.
 */
ngx_uint_t ngx_ws_bus_channel_redo_locked(ngx_ws_bus_zone_t *zone,
    ngx_uint_t *rings, ngx_uint_t *n);

/*
 * Removes all interest and all members of a slot without a process, and
 * counts the channels.  NGX_OK, or NGX_AGAIN if there is more to do: others
 * may have the mutex before it is called again.  *bucket is 0 at first.
 */
ngx_int_t ngx_ws_bus_channel_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_uint_t slot, ngx_uint_t *bucket);


#endif /* _NGX_WS_BUS_CHANNEL_H_INCLUDED_ */
