
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_HUB_H_INCLUDED_
#define _NGX_WS_BUS_HUB_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_remote.h"
#include "ngx_ws_bus_run.h"
#include "ngx_ws_bus_zone.h"


/*
 * The hub is a worker's side of a zone: it reads the log once, and gives each
 * message to the worker's subscribers.  Subscribers of a channel that take
 * the same bytes form a group: a message is encoded once for a group.
 */

typedef struct ngx_ws_bus_format_s   ngx_ws_bus_format_t;
typedef struct ngx_ws_bus_channel_s  ngx_ws_bus_channel_t;
typedef struct ngx_ws_bus_group_s    ngx_ws_bus_group_t;
typedef struct ngx_ws_bus_debt_s     ngx_ws_bus_debt_t;
typedef struct ngx_ws_bus_due_s      ngx_ws_bus_due_t;
typedef struct ngx_ws_bus_sub_s      ngx_ws_bus_sub_t;
typedef struct ngx_ws_bus_wait_s     ngx_ws_bus_wait_t;


/*
 * How a message looks to a group; there is one object a worker for each
 * combination of protocol and compression in use, so that pointers can be
 * compared.
 */

struct ngx_ws_bus_format_s {
    /*
     * Appends the message, of this epoch of the channel, to the run, without
     * closing its mark.  The payload
     * is in the log and may change at any moment: what is written must not
     * depend on reading it twice alike.  NGX_OK, NGX_DONE if the group is not
     * to be told of such a record, NGX_ERROR without memory.
     */
    ngx_int_t            (*encode)(ngx_ws_bus_format_t *format,
                             ngx_ws_bus_run_t *run, ngx_ws_bus_node_t *node,
                             uint64_t epoch, ngx_ws_bus_record_t *rec,
                             u_char *payload);
};


/*
 * There may be many thousands of them: no more than 56 bytes, and 104 for a
 * channel, are what an allocator has a small chunk for.
 */

struct ngx_ws_bus_sub_s {
    ngx_queue_t            queue;      /* in the group */
    ngx_ws_bus_group_t    *group;
    uint64_t               from;       /* wants what is in the log from here */
    uint64_t               seq:63;     /* of the channel at that point */
    uint64_t               present:1;  /* the owner's */
    void                  *owner;      /* begins with ngx_ws_bus_owner_t */
    ngx_ws_bus_sub_t      *next;       /* the owner's */
};


/*
 * What a subscription has until its channel is live: from is this then, and
 * seq points there.  An idle one stays small.
 */

#define NGX_WS_BUS_SUB_WAITS  (NGX_WS_BUS_LOG_NONE - 1)

#define ngx_ws_bus_sub_wait(sub)                                              \
    ((sub)->from == NGX_WS_BUS_SUB_WAITS                                      \
     ? (ngx_ws_bus_wait_t *) (uintptr_t) (sub)->seq : NULL)


struct ngx_ws_bus_wait_s {
    ngx_queue_t            queue;      /* in the hub, by deadline */
    ngx_ws_bus_sub_t      *sub;
    ngx_msec_t             deadline;
    uint64_t               pos;        /* what is live before is not enough */
    void                  *data;       /* the owner's, ngx_free()d with it */
};


/*
 * What subscribers are told behind the messages of a run.
 */

typedef enum {
    NGX_WS_BUS_DUE_LOST = 0,    /* the kept ones "from" to "seq" */
    NGX_WS_BUS_DUE_DELETED,
    NGX_WS_BUS_DUE_MOVED,       /* the numbers go on, in this epoch */
    NGX_WS_BUS_DUE_RESET        /* they begin anew behind "seq" */
} ngx_ws_bus_due_e;


struct ngx_ws_bus_due_s {
    ngx_ws_bus_due_t      *next;
    ngx_ws_bus_run_t      *run;        /* or NULL */
    ngx_uint_t             type;
    uint64_t               pos;        /* for who wants what is there */
    uint64_t               epoch;
    uint64_t               from;
    uint64_t               seq;
};


/*
 * What a group is owed, while it is: an idle channel stays small.
 */

struct ngx_ws_bus_debt_s {
    ngx_queue_t            queue;      /* in the hub */
    ngx_ws_bus_group_t    *group;
    ngx_ws_bus_run_t      *giving;     /* or the first of the dues is told */
    ngx_ws_bus_due_t      *dues;
    ngx_ws_bus_run_t      *gathering;  /* behind them */
    ngx_queue_t           *walk;       /* the next to be given to, or NULL */
};


struct ngx_ws_bus_group_s {
    ngx_ws_bus_group_t    *next;       /* of the channel */
    ngx_ws_bus_channel_t  *channel;
    ngx_ws_bus_format_t   *format;
    ngx_ws_bus_debt_t     *debt;
    ngx_queue_t            subs;
};


struct ngx_ws_bus_channel_s {
    ngx_ws_bus_channel_t  *next;       /* in the hub's table */
    ngx_ws_bus_hub_t      *hub;
    ngx_ws_bus_node_t     *node;
    uint64_t               id;
    uint64_t               from;       /* older records are not for us */
    uint64_t               epoch;
    uint64_t               seq;        /* the newest kept one read */
    ngx_ws_bus_group_t     group;      /* the first one, may be empty */
};


/*
 * What a subscriber's owner does; called from the hub's event, or at the end
 * of a client's, see ngx_ws_bus_hub_handled().  None of them
 * may unsubscribe anybody before it has returned.
 */

typedef struct {
    /* the messages of run from mark "first" on */
    void  (*deliver)(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
              ngx_uint_t first);
    /* the kept messages from "from" to "to" are lost for good; "from" is 0 if
       the channel has begun anew, and nobody knows what is lost */
    void  (*lost)(ngx_ws_bus_sub_t *sub, uint64_t from, uint64_t to);
    void  (*deleted)(ngx_ws_bus_sub_t *sub);
    /* a subscription that waited can begin, with a fresh view; or, with
       NGX_DECLINED, it has waited too long, and may be ended at once */
    void  (*ready)(ngx_ws_bus_sub_t *sub, ngx_int_t rc, void *data);
    /* the channel goes on at seq of another epoch, nothing is missing; may be
       NULL */
    void  (*moved)(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq);
    /* deliver() is near: prefetches, in so many steps, what each of them can
       reach without waiting for memory; may be NULL */
    void  (*ahead)(void *owner, ngx_uint_t step);
} ngx_ws_bus_hub_handlers_t;


#define NGX_WS_BUS_HUB_STEPS  3


typedef struct {
    const ngx_ws_bus_hub_handlers_t  *handlers;
} ngx_ws_bus_owner_t;


/*
 * What one turn of the event loop may take for encoding: zeroed when it
 * begins.  "work" is in bytes of records; the clock is asked now and then.
 */

typedef struct {
    uint64_t                until;
    size_t                  work;
} ngx_ws_bus_slice_t;


struct ngx_ws_bus_hub_s {
    ngx_ws_bus_zone_t      *zone;
    ngx_ws_bus_slot_t      *slot;
    ngx_log_t              *log;

    uint64_t                now;       /* 0: to be asked for */

    uint64_t                given;     /* time of about the last send */
    ngx_uint_t              since;     /* sends after that */

    uint64_t                cursor;
    ngx_ws_bus_channel_t  **channels;
    ngx_uint_t              nchannels;
    ngx_uint_t              mask;

    ngx_queue_t             debts;
    ngx_queue_t             free_debts;
    size_t                  backlog;   /* bytes of their runs */
    ngx_ws_bus_slice_t      slice;     /* of reading */
    ngx_uint_t              refill;    /* the next of channels[] */

    /* see ngx_ws_bus_hub_handled() */
    ngx_uint_t              sources;   /* events in which was published */
    ngx_uint_t              owed;      /* debts made in this turn */
    ngx_uint_t              given_to;  /* subscribers, at its end */
    ngx_uint_t              eager;     /* turns left to give early in */
    ngx_uint_t              whole;     /* turns left not to */

    ngx_connection_t       *bell;      /* the doorbell, or NULL */
    ngx_event_t             deliver;
    ngx_event_t             tick;
    ngx_uint_t              ticks;

    ngx_event_t             overdue;   /* zones that span hosts */
    ngx_queue_t             waits;

    /* tokens were revoked; NULL: records of that may have been missed */
    void                  (*revoked)(ngx_ws_bus_hub_t *hub,
                                const ngx_ws_bus_revocation_t *rev);

    ngx_event_t             leave;     /* presence */
    ngx_queue_t             leavers;

    /* there may be records for channels that nobody here has touched of late:
       published by others, or over HTTP */
    unsigned                cold:1;

    unsigned                caught_up:1;
    unsigned                refilling:1;
};


/*
 * Makes this worker's hub: takes the zone's slot and starts to listen to its
 * doorbell.  NGX_OK also when the zone cannot be used (zone->hub is NULL
 * then, and the reason has been logged), NGX_ERROR if the process cannot go
 * on.
 */
ngx_int_t ngx_ws_bus_hub_init(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle);

/*
 * The process exits: gives the slot back.
 */
void ngx_ws_bus_hub_exit(ngx_ws_bus_zone_t *zone);

/*
 * Subscribes "sub", memory of the caller's, to the channel from view->head
 * on.  NGX_OK, or NGX_ERROR without memory; NGX_AGAIN if the channel is not
 * live yet: the owner's ready() will be called.
 */
ngx_int_t ngx_ws_bus_hub_subscribe(ngx_ws_bus_hub_t *hub,
    const ngx_str_t *name, ngx_ws_bus_format_t *format, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_view_t *view);

/*
 * A subscription just made, whose owner knows of messages that are not here
 * yet: asks for them, and waits.  NGX_AGAIN as above, or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_hub_refresh(ngx_ws_bus_sub_t *sub);

/*
 * Ends a subscription; sub->group is NULL afterwards.
 */
void ngx_ws_bus_hub_unsubscribe(ngx_ws_bus_sub_t *sub);

/*
 * Publishes.  "sub" is the caller's own subscription to that channel, or
 * NULL: then the name is looked up.  All that comes before hub->now is set to
 * 0 again, by the caller, is taken to come at one moment.  Returns as
 * ngx_ws_bus_channel_publish(); in a zone that spans hosts also NGX_AGAIN:
 * op->handler will be called, if op is not NULL.
 */
ngx_int_t ngx_ws_bus_hub_publish(ngx_ws_bus_hub_t *hub, ngx_ws_bus_sub_t *sub,
    const ngx_str_t *name, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_ws_bus_op_t *op);

/*
 * The end of a client's event; in it something was published if hub->now is
 * set, which is set to 0.  What has been published in this turn may be given
 * by it, so it is the last thing that the event's handler does.
 */
void ngx_ws_bus_hub_handled(ngx_ws_bus_hub_t *hub);

/*
 * The subscriber is about to publish: prefetches the channel, in two steps.
 */
void ngx_ws_bus_hub_sub_ahead(ngx_ws_bus_sub_t *sub, ngx_uint_t step);

/*
 * Deletes the channel: NGX_OK, or NGX_DECLINED if there is none; NGX_AGAIN
 * as above, where NGX_DECLINED says that it cannot be done now.
 */
ngx_int_t ngx_ws_bus_hub_delete(ngx_ws_bus_hub_t *hub, const ngx_str_t *name,
    ngx_ws_bus_op_t *op);

/*
 * 1 if the slice is over: what is left is for the next turn.
 */
ngx_uint_t ngx_ws_bus_slice_over(ngx_ws_bus_slice_t *slice);

/*
 * Encodes the message at a position of the log, the channel's of this epoch,
 * into the run, as one more mark.  NGX_OK, NGX_DECLINED if it has been
 * forgotten, NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_hub_encode_at(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_format_t *format, uint64_t epoch, uint64_t pos,
    ngx_ws_bus_run_t *run);


/*
 * Encodes what is not kept of the channel's records in [*from, to) of the
 * log: for a subscription that was catching up meanwhile.  What has been
 * forgotten is left out.  *from moves on, by so much as one turn of the event
 * loop may take.
 *
 * NGX_OK     *from has reached "to"
 * NGX_AGAIN  there is more
 * NGX_ERROR  no memory
 */
ngx_int_t ngx_ws_bus_hub_encode_unkept(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_format_t *format, uint64_t *from, uint64_t to,
    ngx_ws_bus_run_t *run);

/*
 * For the bridge: it has appended, and these slots are to be rung.
 */
void ngx_ws_bus_hub_appended(ngx_ws_bus_hub_t *hub, ngx_uint_t *rings,
    ngx_uint_t n);

/*
 * Between hub.c, ahead.c, debt.c, overrun.c, refill.c and subs.c.
 *
 * Prefetches the channels, and their first subscribers, of the next
 * NGX_WS_BUS_HUB_AHEAD records from the cursor on.
 */
void ngx_ws_bus_hub_ahead(ngx_ws_bus_hub_t *hub, uint64_t head);

#define NGX_WS_BUS_HUB_AHEAD  16

/*
 * Encodes a record for all groups, and tells before it of numbers that were
 * skipped.  NGX_OK, or NGX_DECLINED if it was overwritten meanwhile.
 */
ngx_int_t ngx_ws_bus_hub_accept(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_record_t *rec, u_char *payload);

/*
 * A record that is not for clients.  Returns as the one before.
 */
ngx_int_t ngx_ws_bus_hub_moved(ngx_ws_bus_channel_t *ch,
    ngx_ws_bus_record_t *rec, u_char *payload);

/*
 * The channel has been deleted, and its next epoch is known.
 */
void ngx_ws_bus_hub_deleted(ngx_ws_bus_channel_t *ch, uint64_t pos,
    uint64_t epoch);

/*
 * 1 if no more is to be read now: "backlog" bytes wait to be given, or this
 * turn of the event loop has taken its time.  Without a bound, (size_t) -1,
 * the latter does not count.
 */
ngx_uint_t ngx_ws_bus_hub_enough(ngx_ws_bus_hub_t *hub, size_t backlog);

/*
 * The log has gone past this worker's cursor, which is moved to the head:
 * what was missed is to be refilled.
 */
void ngx_ws_bus_hub_overrun(ngx_ws_bus_hub_t *hub);

/*
 * Goes on to read from histories what was missed before the cursor, and to
 * tell of what is not there any more.  NGX_OK when all is done, NGX_AGAIN
 * after ngx_ws_bus_hub_enough().
 */
ngx_int_t ngx_ws_bus_hub_refill(ngx_ws_bus_hub_t *hub, size_t backlog);

/*
 * By what was before pos, the numbers go on in another epoch; or they begin
 * anew behind "seq", and what was before is void.
 */
void ngx_ws_bus_hub_follow(ngx_ws_bus_channel_t *ch, uint64_t pos,
    uint64_t epoch);
void ngx_ws_bus_hub_reset(ngx_ws_bus_channel_t *ch, uint64_t pos,
    uint64_t epoch, uint64_t seq);

/*
 * The kept messages after the last one read, up to "seq" at "pos", are lost
 * to this worker; it is the last one read then.
 */
void ngx_ws_bus_hub_lost(ngx_ws_bus_channel_t *ch, uint64_t seq,
    uint64_t pos);

/*
 * The channel is live: tells whoever has waited for that since before pos.
 */
void ngx_ws_bus_hub_ready(ngx_ws_bus_channel_t *ch, uint64_t pos);

/*
 * Prepares to wait.
 */
void ngx_ws_bus_hub_waits_init(ngx_ws_bus_hub_t *hub);

/*
 * The channel's subscribers are to be told of something, behind what they are
 * owed already: in its turn, or at once without memory.  "next" and "run" are
 * not looked at.
 */
void ngx_ws_bus_hub_owe(ngx_ws_bus_channel_t *ch,
    const ngx_ws_bus_due_t *due);

/*
 * The group's debt, which is made if need be, or NULL without memory.
 */
ngx_ws_bus_debt_t *ngx_ws_bus_hub_debt(ngx_ws_bus_group_t *group);

/*
 * Takes a run, if there is one, from what the hub has to give.
 */
void ngx_ws_bus_hub_drop(ngx_ws_bus_hub_t *hub, ngx_ws_bus_run_t **run);

/*
 * The channel with this id that somebody here is subscribed to, or NULL.
 */
ngx_ws_bus_channel_t *ngx_ws_bus_hub_find(ngx_ws_bus_hub_t *hub,
    uint64_t id);

/*
 * Doubles the table, or makes it.  NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_hub_grow(ngx_ws_bus_hub_t *hub);

/*
 * Rings the slots, this process's own by a posted event.
 */
void ngx_ws_bus_hub_ring(ngx_ws_bus_hub_t *hub, ngx_uint_t *rings,
    ngx_uint_t n);

/*
 * Gives what has been read, or a part of it: hub->debts is empty once there
 * is nothing left.  Returns to how many.
 */
ngx_uint_t ngx_ws_bus_hub_give(ngx_ws_bus_hub_t *hub);

/*
 * Nobody is left in the group: what it is owed is dropped.
 */
void ngx_ws_bus_hub_forgive(ngx_ws_bus_group_t *group);


#endif /* _NGX_WS_BUS_HUB_H_INCLUDED_ */
