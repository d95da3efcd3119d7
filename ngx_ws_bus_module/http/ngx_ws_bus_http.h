
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_HTTP_H_INCLUDED_
#define _NGX_WS_BUS_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth_conf.h"
#include "ngx_ws_bus_deflate.h"
#include "ngx_ws_bus_frame.h"
#include "ngx_ws_bus_headers.h"
#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_message.h"
#include "ngx_ws_bus_presence.h"
#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_respond.h"
#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_VERSION         "0.1.0"


/* nginx knows no name for it */
#define NGX_WS_BUS_UPGRADE_REQUIRED  426


#if (NGX_SSL)
#define ngx_ws_bus_is_ssl(c)       ((c)->ssl != NULL)
#else
#define ngx_ws_bus_is_ssl(c)       0
#endif


#define NGX_WS_BUS_BUFFER_CLOSE    0
#define NGX_WS_BUS_BUFFER_OLDEST   1
#define NGX_WS_BUS_BUFFER_LATEST   2

#define NGX_WS_BUS_PROTOCOL_RAW    0x0002
#define NGX_WS_BUS_PROTOCOL_JSON   0x0004

#define NGX_WS_BUS_GAP_MAX         1024

#define NGX_WS_BUS_PRESENCE_OFF      0
#define NGX_WS_BUS_PRESENCE_ON       1
#define NGX_WS_BUS_PRESENCE_MEMBERS  2

#define NGX_WS_BUS_SCRATCH_IN      0
#define NGX_WS_BUS_SCRATCH_OUT     1

/* a poll is not held for longer, seconds */
#define NGX_WS_BUS_WAIT_MAX           60

/* a session always has a timer: a worker that drains waits for it */
#define NGX_WS_BUS_SESSION_IDLE       3600000

#define NGX_WS_BUS_STATUS_JSON        0
#define NGX_WS_BUS_STATUS_PROMETHEUS  1

#define NGX_WS_BUS_EVENT_OPEN         0
#define NGX_WS_BUS_EVENT_AUTH         1
#define NGX_WS_BUS_EVENT_REFRESH      2
#define NGX_WS_BUS_EVENT_REFUSE       3
#define NGX_WS_BUS_EVENT_PUBLISH      4
#define NGX_WS_BUS_EVENT_DELETE       5
#define NGX_WS_BUS_EVENT_LIMIT        6
#define NGX_WS_BUS_EVENT_CLOSE        7


typedef struct {
    ngx_array_t                zones;       /* of ngx_ws_bus_zone_t * */
    ngx_array_t                limit_zones; /* of ngx_ws_bus_limit_zone_t * */
    ngx_array_t                redises;     /* of ngx_ws_bus_redis_t * */
    ngx_array_t                key_requests;
                                    /* of ngx_ws_bus_keys_request_t * */
    ngx_uint_t                 used;        /* unsigned  used:1; */
    ngx_uint_t                 audit_id;    /* index of $request_id */

    unsigned                   audit:1;
    unsigned                   audit_format:1;
    unsigned                   audit_has_id:1;

    unsigned                   jwt:1;       /* somewhere a token is needed */
    unsigned                   keys_idle:1; /* or only keys are there */
} ngx_ws_bus_main_conf_t;


typedef struct ngx_ws_bus_origins_s  ngx_ws_bus_origins_t;
struct ngx_ws_bus_keys_s;


typedef struct {
    ngx_str_t                  zone_name;
    ngx_ws_bus_zone_t         *zone;

    ngx_http_handler_pt        handler;     /* what the location is */
    ngx_http_complex_value_t  *channel;     /* ws_bus, ws_bus_publisher */
    ngx_http_complex_value_t  *publish;

    ngx_ws_bus_origins_t      *origins;     /* NULL: the same only */
    struct ngx_ws_bus_keys_s  *keys;        /* NULL: none to verify with */
    ngx_ws_bus_auth_conf_t     auth;

    ngx_uint_t                 protocols;
    ngx_array_t               *channels;    /* of ngx_str_t, compiled */
    ngx_uint_t                 max_channels;

    ngx_uint_t                 presence;
    ngx_http_complex_value_t  *member;

    ngx_uint_t                 history;     /* messages, 0: off */
    time_t                     history_age; /* seconds, 0: any age */

    size_t                     message_max_size;

    ngx_msec_t                 ping;        /* 0: off */
    ngx_msec_t                 ping_timeout;
    ngx_msec_t                 drain;

    ngx_msec_t                 batch;
    size_t                     buffer;
    ngx_uint_t                 buffer_policy;

    ngx_flag_t                 deflate;
    ngx_int_t                  deflate_level;
    size_t                     deflate_min_length;

    ngx_flag_t                 lean;
    ngx_flag_t                 fallback;

    ngx_array_t               *limits;      /* of ngx_ws_bus_limit_rule_t */
    ngx_flag_t                 limit_dry_run;
    ngx_uint_t                 limit_log_level;

    ngx_uint_t                 status;

    void                      *audit;       /* the log module's, or NULL */
    ngx_uint_t                 audit_off;   /* unsigned  audit_off:1; */
} ngx_ws_bus_loc_conf_t;


typedef struct ngx_ws_bus_session_s   ngx_ws_bus_session_t;
typedef struct ngx_ws_bus_auth_s      ngx_ws_bus_auth_t;
typedef struct ngx_ws_bus_auth_wait_s ngx_ws_bus_auth_wait_t;
typedef struct ngx_ws_bus_inband_s    ngx_ws_bus_inband_t;
typedef struct ngx_ws_bus_protocol_s  ngx_ws_bus_protocol_t;
typedef struct ngx_ws_bus_out_s       ngx_ws_bus_out_t;
typedef struct ngx_ws_bus_past_s      ngx_ws_bus_past_t;
typedef struct ngx_ws_bus_v1_s        ngx_ws_bus_v1_t;
typedef struct ngx_ws_bus_replay_s    ngx_ws_bus_replay_t;
typedef struct ngx_ws_bus_stream_s    ngx_ws_bus_stream_t;
typedef struct ngx_ws_bus_fallback_s  ngx_ws_bus_fallback_t;
typedef struct ngx_ws_bus_pending_s   ngx_ws_bus_pending_t;
typedef struct ngx_ws_bus_hold_s      ngx_ws_bus_hold_t;
typedef struct ngx_ws_bus_limit_s     ngx_ws_bus_limit_t;
typedef struct ngx_ws_bus_limit_zone_s  ngx_ws_bus_limit_zone_t;


/*
 * What a protocol makes of a record: "data" is the payload itself, or in the
 * worker's scratch buffer.  The payload is in the log and may change at any
 * moment; then what was made of it is thrown away, but nothing else must
 * happen.  NGX_OK, NGX_DONE if the protocol does not tell of such a record,
 * NGX_ERROR without memory.
 */

typedef struct {
    ngx_uint_t                 opcode;
    u_char                    *data;
    size_t                     len;
} ngx_ws_bus_composed_t;

typedef ngx_int_t (*ngx_ws_bus_compose_pt)(ngx_ws_bus_node_t *node,
    ngx_ws_bus_record_t *rec, u_char *payload, ngx_ws_bus_composed_t *m);


/*
 * What a client that comes back asks for.
 */

typedef struct {
    uint64_t              last_seq;
    uint64_t              epoch;
    uint64_t              last;
    unsigned              resume:1;    /* last_seq is given */
    unsigned              newest:1;    /* last is given */
    unsigned              known:1;     /* so is an epoch, well formed */

    /* the answer */
    unsigned              recovered:1;
    uint64_t              seq;
} ngx_ws_bus_resume_t;


/*
 * What a client speaks inside its messages.  The session and the hub know
 * nothing else of it.
 */

struct ngx_ws_bus_protocol_s {
    ngx_str_t                  name;

    ngx_ws_bus_compose_pt      compose;
    ngx_ws_bus_compose_pt      compose_presence;  /* tells of members, too */

    /*
     * The session begins, subscribed to the location's channel if there is
     * one; called before the 101.  NGX_OK, or NGX_ERROR without memory.
     */
    ngx_int_t                (*open)(ngx_ws_bus_session_t *s,
                                 ngx_ws_bus_resume_t *resume,
                                 ngx_ws_bus_view_t *view);
    void                     (*close)(ngx_ws_bus_session_t *s);

    /*
     * 0 if the client may send a data message now; otherwise the session has
     * been closed.  Asked with the first frame of each message.
     */
    ngx_int_t                (*may_send)(ngx_ws_bus_session_t *s);

    /*
     * A whole message of the client, text already known to be UTF-8.  NGX_OK,
     * or NGX_ERROR if the session has been closed.
     */
    ngx_int_t                (*message)(ngx_ws_bus_session_t *s,
                                 ngx_uint_t opcode, u_char *data, size_t len);

    /*
     * The kept messages from "from" to "to" of the channel will never come;
     * if "from" is 0, its order has begun anew, behind "to".  The session may
     * be closed by it.
     */
    void                     (*lost)(ngx_ws_bus_session_t *s,
                                 ngx_ws_bus_node_t *node, uint64_t from,
                                 uint64_t to);

    /*
     * Writes at p, NGX_WS_BUS_GAP_MAX bytes, the text that tells that the
     * client was too slow for "count" messages, from "from" to "to" if these
     * are not 0.  Returns the end.  NULL: the protocol cannot tell.
     */
    u_char                  *(*gap)(u_char *p, ngx_ws_bus_node_t *node,
                                 uint64_t from, uint64_t to, uint64_t count);

    /*
     * The message has been dropped by ws_bus_limit; its bytes may be changed.
     * NULL: the client is not told.
     */
    void                     (*limited)(ngx_ws_bus_session_t *s, u_char *data,
                                 size_t len);
};


/*
 * A client's connection after the 101.  The request lives as long, and the
 * session is in its pool; with ws_bus_lean the request ends with the 101, and
 * the session is in the connection's pool.
 *
 * It also serves a client without WebSocket: then it has a stream, and what
 * it is owed is the response to its request.
 */

struct ngx_ws_bus_session_s {
    ngx_ws_bus_owner_t            owner;
    ngx_ws_bus_sub_t              sub;

    /* the next line of a cache: looked at for each message, in and out */
    ngx_connection_t             *connection;
    ngx_ws_bus_hub_t             *hub;
    ngx_ws_bus_loc_conf_t        *conf;
    ngx_ws_bus_stats_t           *stats;      /* of the hub's slot */
    ngx_ws_bus_out_t             *out;        /* what is owed, in order */
    ngx_ws_bus_replay_t          *replay;     /* one after the other */
    ngx_ws_bus_limit_t           *limit;      /* NULL: no limits */

    /* state */
    unsigned                      started:1;      /* the 101 has left */
    unsigned                      tls:1;
    unsigned                      publish:1;
    unsigned                      granted:1;      /* by the token, too */
    unsigned                      pending:1;      /* no token yet */
    unsigned                      lean:1;         /* the request is to go */
    unsigned                      deflate:1;
    unsigned                      compressed:1;   /* the message coming in */
    unsigned                      pinged:1;       /* and not answered yet */
    unsigned                      draining:1;
    unsigned                      close_sent:1;   /* at least queued */
    unsigned                      close_received:1;
    unsigned                      violated:1;     /* nothing more is read */
    unsigned                      lingering:1;
    unsigned                      broken:1;       /* TCP failed */
    unsigned                      by_client:1;    /* who closed first */
    unsigned                      pong_queued:1;
    unsigned                      batching:1;     /* nothing is on its way */
    unsigned                      joining:1;      /* waits for its channel */
    unsigned                      heavy:1;        /* requests of late */
    unsigned                      opcode:4;       /* of the message */
    ngx_ws_bus_utf8_t             utf8;

    /* and the next */
    uint64_t                      messages_out;
    uint64_t                      bytes_out;
    uint64_t                      messages_in;
    uint64_t                      bytes_in;
    ngx_msec_t                    last_in;
    ngx_ws_bus_auth_t            *auth;       /* NULL: no token */
    ngx_ws_bus_inband_t          *inband;     /* NULL: not needed */
    const ngx_ws_bus_protocol_t  *protocol;

    /* in */
    ngx_ws_bus_v1_t              *v1;
    ngx_ws_bus_pending_t         *publications;   /* on their way to others */
    ngx_ws_bus_frame_t            frame;
    u_char                       *message;        /* so far */
    size_t                        message_len;
    size_t                        message_size;
    size_t                        message_max;

    /* what is in front of it is prefetched, http/ngx_ws_bus_session_hub.c */
    u_char                       *control;        /* a split control frame */

    /* out */
    ngx_ws_bus_out_t            **last_out;
    ngx_ws_bus_past_t            *past;       /* channels left */
    size_t                        queued;     /* its bytes */
    ngx_uint_t                    stretches;
    uint64_t                      dropped;
    size_t                        trying;     /* bytes that must stay */
    ngx_ws_bus_run_t             *pong;       /* not queued yet */

    ngx_uint_t                    close_code;
    const char                   *close_reason;   /* ours */
    ngx_msec_t                    pinged_at;
    ngx_msec_t                    deadline;       /* of close or drain */

    ngx_str_t                     channel;
    ngx_str_t                     consumer;       /* durable, or empty */
    ngx_str_t                     member;         /* present as, or empty */
    ngx_http_request_t           *request;        /* NULL: let go */
    ngx_ws_bus_format_t          *format;
    ngx_ws_bus_stream_t          *stream;         /* NULL: a WebSocket */
};


/*
 * What the module knows of a request.
 */

typedef struct {
    ngx_ws_bus_session_t         *session;    /* NULL: none yet */
    ngx_ws_bus_hold_t            *hold;       /* waits for its channel */
    ngx_ws_bus_auth_t            *auth;       /* until there is a session */
    ngx_ws_bus_auth_wait_t       *wait;       /* for keys; NULL: not yet */
    ngx_uint_t                    outcome;    /* ngx_ws_bus_auth_outcome_e */
    ngx_uint_t                    pending;    /* unsigned  pending:1; */
    ngx_ws_bus_loc_conf_t        *conf;       /* whose auth and pending are */
} ngx_ws_bus_ctx_t;


/*
 * An event for ws_bus_log.
 */

typedef struct {
    ngx_str_t                     name;
    ngx_str_t                     channel;
    ngx_str_t                     reason;
    size_t                        bytes;
    ngx_uint_t                    sized;      /* unsigned  sized:1; */
} ngx_ws_bus_event_t;


extern ngx_module_t                     ngx_ws_bus_module;
extern const ngx_ws_bus_protocol_t      ngx_ws_bus_raw;
extern const ngx_ws_bus_protocol_t      ngx_ws_bus_v1;
extern const ngx_ws_bus_fallback_t      ngx_ws_bus_sse;
extern const ngx_ws_bus_fallback_t      ngx_ws_bus_poll;


/*
 * Content handlers of ws_bus, ws_bus_publisher and ws_bus_status.
 */
ngx_int_t ngx_ws_bus_upgrade_handler(ngx_http_request_t *r);
ngx_int_t ngx_ws_bus_publisher_handler(ngx_http_request_t *r);
ngx_int_t ngx_ws_bus_status_handler(ngx_http_request_t *r);

/*
 * What is known of the request, made if need be; NULL without memory.  It
 * stays with the request over internal redirects, as for error_page.
 */
ngx_ws_bus_ctx_t *ngx_ws_bus_ctx(ngx_http_request_t *r);

/*
 * The same, or NULL if nothing is known yet.
 */
ngx_ws_bus_ctx_t *ngx_ws_bus_ctx_find(ngx_http_request_t *r);

/*
 * The session of the request, or NULL.
 */
ngx_ws_bus_session_t *ngx_ws_bus_ctx_session(ngx_http_request_t *r);

/*
 * Lends the request as a copy, to be evaluated for as often as a client likes:
 * what that allocates goes with the copy's pool, and no variable is
 * remembered.  NGX_OK, or NGX_ERROR without memory; and gives it back.
 */
ngx_int_t ngx_ws_bus_ctx_lend(ngx_http_request_t *r,
    ngx_http_request_t *copy);
void ngx_ws_bus_ctx_return(ngx_http_request_t *r, ngx_http_request_t *copy);

/*
 * The gates, http/ngx_ws_bus_access.c: a preaccess phase handler, and the
 * directive ws_bus_origin.
 */
ngx_int_t ngx_ws_bus_access_handler(ngx_http_request_t *r);
char *ngx_ws_bus_origin_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Zones, http/ngx_ws_bus_zone_conf.c: the directive ws_bus_zone; a zone of
 * that name, joined by this Redis or NULL, or NULL without memory; and the
 * zone that a location uses.
 */
char *ngx_ws_bus_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_ws_bus_zone_t *ngx_ws_bus_zone_add(ngx_conf_t *cf,
    ngx_ws_bus_main_conf_t *wmcf, ngx_str_t *name, size_t size,
    ngx_ws_bus_redis_t *redis);
char *ngx_ws_bus_zone_use(ngx_conf_t *cf, ngx_ws_bus_main_conf_t *wmcf,
    ngx_ws_bus_loc_conf_t *conf);

/*
 * The directives of a location, http/ngx_ws_bus_directives.c; and the answer
 * to a parameter that none of them knows.
 */
char *ngx_ws_bus_publish_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_channels_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_history_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_ping_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_buffer_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_deflate_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_invalid(ngx_conf_t *cf, ngx_str_t *value);

/*
 * The block ws_bus_redis, http/ngx_ws_bus_redis_conf.c, and the end of the
 * configuration, when the resolver is known.  NGX_OK, or NGX_ERROR, logged.
 */
char *ngx_ws_bus_redis_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_ws_bus_redis_conf_init(ngx_conf_t *cf);

/*
 * The directive ws_bus_log, http/ngx_ws_bus_audit.c; what a level inherits,
 * with "prev" NULL for the highest one; and the end of the configuration.
 */
char *ngx_ws_bus_audit_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_audit_merge(ngx_conf_t *cf, ngx_ws_bus_loc_conf_t *prev,
    ngx_ws_bus_loc_conf_t *conf);
ngx_int_t ngx_ws_bus_audit_init(ngx_conf_t *cf);

/*
 * Writes the event, a NGX_WS_BUS_EVENT_*, to the ws_bus_log of the request's
 * location, if there is one.  "r" may be NULL: then there is nothing to write
 * about.  Without a channel it is the location's; "reason" may be NULL, and is
 * the module's own text, never a client's.  "status" is what is going to be
 * answered, if no response has been sent yet.  "bytes" counts for publish and
 * limit only.
 */
void ngx_ws_bus_audit(ngx_http_request_t *r, ngx_uint_t type,
    const ngx_str_t *channel, ngx_uint_t status, const char *reason,
    size_t bytes);

/*
 * What is being written, or NULL.
 */
const ngx_ws_bus_event_t *ngx_ws_bus_audit_event(void);

/*
 * Adds the module's variables.
 */
ngx_int_t ngx_ws_bus_variables_add(ngx_conf_t *cf);

/*
 * Gives a variable this value, whose bytes live as long as the request.
 */
void ngx_ws_bus_variable_string(ngx_http_variable_value_t *v,
    const ngx_str_t *value);


/*
 * A session for the request, in this pool and subscribed to nothing, or NULL.
 * Whatever it will hold is given back with the request's pool.
 */
ngx_ws_bus_session_t *ngx_ws_bus_session_create(ngx_http_request_t *r,
    ngx_ws_bus_hub_t *hub, ngx_pool_t *pool);

/*
 * The 101 has left: takes the connection over, reading what is already in
 * r->header_in.  The session may be gone on return.
 */
void ngx_ws_bus_session_start(ngx_ws_bus_session_t *s);

/*
 * Begins a subscription of the session's, from view->head on, with the
 * member's presence; ends it, with its replay.  The first one returns as
 * ngx_ws_bus_hub_subscribe(); after NGX_AGAIN it begins when the channel is
 * live, with the third one.
 */
ngx_int_t ngx_ws_bus_session_subscribe(ngx_ws_bus_session_t *s,
    ngx_str_t *channel, ngx_ws_bus_sub_t *sub, ngx_ws_bus_view_t *view);
void ngx_ws_bus_session_unsubscribe(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub);
void ngx_ws_bus_session_subscribed(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub, ngx_ws_bus_view_t *view);

/*
 * Does what the handshake asked for: publishing, presence, the location's
 * channel and what is to be replayed of it, and the protocol's beginning; the
 * request is still there.  NGX_OK, NGX_DECLINED if the zone has no room,
 * NGX_ERROR; NGX_AGAIN if the channel has to be waited for: then the second
 * one does the rest, after ngx_ws_bus_session_subscribed().
 */
ngx_int_t ngx_ws_bus_session_begin(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);
ngx_int_t ngx_ws_bus_session_begun(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);

/*
 * TCP is gone, or of no use any more: ends the request and with it the
 * session.  Not to be called from the hub's handlers.
 */
void ngx_ws_bus_session_end(ngx_ws_bus_session_t *s);

/*
 * Handles what the client has sent, http/ngx_ws_bus_input.c; the bytes are
 * changed in place.  NGX_OK; NGX_ERROR if the session is closing and nothing
 * more is to be read; NGX_AGAIN if a message has to wait, and the rest with
 * it.
 */
ngx_int_t ngx_ws_bus_input(ngx_ws_bus_session_t *s, u_char *pos,
    u_char *last);

/*
 * Hands a whole message on, to the gate as long as a token is awaited.
 * Returns as the protocol's message().
 */
ngx_int_t ngx_ws_bus_input_take(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len);

/*
 * Sets the one timer of a session to whatever comes first.  It is not moved
 * by traffic; when it fires, it is asked how silent the client has been.
 */
void ngx_ws_bus_session_set_timer(ngx_ws_bus_session_t *s);

/*
 * The worker is going to exit: the client is told at some moment within
 * ws_bus_drain, so that not all come back at once.
 */
void ngx_ws_bus_session_drain(ngx_ws_bus_session_t *s);

/*
 * A WebSocket's handlers, http/ngx_ws_bus_session_hub.c.  Of those, and of a
 * stream's: queues messages [first, last) of the run and counts them; ends
 * the session, its channel being deleted.
 */
extern const ngx_ws_bus_hub_handlers_t  ngx_ws_bus_session_handlers;

void ngx_ws_bus_session_ahead(void *owner, ngx_uint_t step);
void ngx_ws_bus_session_queue(ngx_ws_bus_sub_t *sub, ngx_ws_bus_run_t *run,
    ngx_uint_t first, ngx_uint_t last);
void ngx_ws_bus_session_deleted(ngx_ws_bus_sub_t *sub);

/*
 * Control frames, http/ngx_ws_bus_control.c.
 *
 * Queues an empty ping; queues the pongs that wait.
 */
void ngx_ws_bus_control_ping(ngx_ws_bus_session_t *s);
void ngx_ws_bus_control_send_pong(ngx_ws_bus_session_t *s);

/*
 * The client's ping: of pings waiting to be answered only the newest is.
 */
void ngx_ws_bus_session_pong(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);

/*
 * The client's Close frame, well formed.
 */
void ngx_ws_bus_session_closed(ngx_ws_bus_session_t *s, ngx_uint_t code);

/*
 * The client takes too little: what waits is dropped, and it is told so.
 */
void ngx_ws_bus_session_slow(ngx_ws_bus_session_t *s);

/*
 * Queues a Close frame behind what is owed and ends the connection in good
 * order.  Nothing is queued after it.
 */
void ngx_ws_bus_session_close(ngx_ws_bus_session_t *s, ngx_uint_t code,
    const char *reason);

/*
 * The peer broke the protocol: Close, and nothing more is read.
 */
void ngx_ws_bus_session_fail(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_error_t *error);


/*
 * How much clients may send, http/ngx_ws_bus_limit.c.
 *
 * The directives; and the zones that the limits of a location are kept in.
 */
char *ngx_ws_bus_limit_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_limit_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_limit_zones(ngx_conf_t *cf, ngx_ws_bus_main_conf_t *wmcf,
    ngx_ws_bus_loc_conf_t *conf);

/*
 * Gives a new session its limits, in this pool, with the keys that the
 * request has now.  NGX_OK, also where there are none, or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_limit_create(ngx_ws_bus_session_t *s, ngx_pool_t *pool);

/*
 * Judges a whole message by the session's limits.
 *
 * NGX_OK        it may pass
 * NGX_DECLINED  it is to be forgotten; the client has been told
 * NGX_AGAIN     it has to wait, and a copy has been made
 * NGX_ERROR     the session has been closed
 */
ngx_int_t ngx_ws_bus_limit_message(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);

/*
 * The value of $ws_bus_limit, or NULL.
 */
const char *ngx_ws_bus_limit_outcome(ngx_ws_bus_session_t *s);

/*
 * A message that waits, http/ngx_ws_bus_limit_wait.c; for a session that has
 * limits.
 *
 * Keeps what came behind the message.  NGX_AGAIN, or NGX_ERROR if the session
 * has been closed.
 */
ngx_int_t ngx_ws_bus_limit_keep(ngx_ws_bus_session_t *s, u_char *pos,
    u_char *last);

/*
 * 1 while a message waits; and milliseconds until something is to be done
 * about it, -1 if there is nothing.
 */
ngx_uint_t ngx_ws_bus_limit_waits(ngx_ws_bus_session_t *s);
ngx_msec_int_t ngx_ws_bus_limit_left(ngx_ws_bus_session_t *s);

/*
 * The client has sent something while a message waits.  The session may be
 * gone on return.
 */
void ngx_ws_bus_limit_read(ngx_ws_bus_session_t *s);

/*
 * The time has come: handles the message, and what had been kept behind it.
 * NGX_OK if reading goes on, NGX_AGAIN if the next message waits, NGX_DONE if
 * the session is to be ended, NGX_ERROR if it is closing.
 */
ngx_int_t ngx_ws_bus_limit_resume(ngx_ws_bus_session_t *s);

/*
 * Frees what still waits.
 */
void ngx_ws_bus_limit_free(ngx_ws_bus_session_t *s);


/*
 * Formats, http/ngx_ws_bus_format.c.
 *
 * How messages are encoded for a client with this agreement (NULL: no
 * compression).  NULL without memory.
 */
ngx_ws_bus_format_t *ngx_ws_bus_format_get(ngx_ws_bus_compose_pt compose,
    ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_deflate_t *d, ngx_log_t *log);

/*
 * Appends one uncompressed frame to the run, without a mark.  NGX_OK, or
 * NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_format_frame(ngx_ws_bus_run_t *run, ngx_uint_t opcode,
    u_char *data, size_t len);

/*
 * One of the worker's scratch buffers for composing, at least "size" bytes;
 * what was in it is lost.  NULL without memory.
 */
u_char *ngx_ws_bus_format_scratch(ngx_uint_t i, size_t size);

/*
 * Frees scratch buffers that one large message needed.
 */
void ngx_ws_bus_format_shrink(void);

/*
 * How a record travels in JSON, http/ngx_ws_bus_v1.c.  The payload may be
 * copied to a scratch buffer, since the log may change while it is looked at.
 * NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_v1_envelope(ngx_ws_bus_record_t *rec, u_char *payload,
    ngx_ws_bus_envelope_t *e);


/*
 * 1 if the session's token grants all of its subscriptions, else 0.
 */
ngx_uint_t ngx_ws_bus_v1_granted(ngx_ws_bus_session_t *s);


/*
 * Coming back, http/ngx_ws_bus_replay.c.
 *
 * Reads the request's arguments.  NGX_OK, or NGX_ERROR if one of them is not
 * a number: "last_seq" if resume->resume is set, otherwise "last".
 */
ngx_int_t ngx_ws_bus_resume_args(ngx_http_request_t *r,
    ngx_ws_bus_resume_t *resume);

/*
 * Finds from where the stream starts, and prepares what is sent before it is
 * live: "sub" is the session's, and just made, with this view.  NGX_OK, or
 * NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_resume(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);

/*
 * A client asks for a position that this host does not know, but others may:
 * its channel is asked for anew.  NGX_OK if the view will do; NGX_AGAIN if
 * the subscription begins later; NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_resume_refresh(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub, ngx_ws_bus_resume_t *resume,
    ngx_ws_bus_view_t *view);

/*
 * Goes on with the replay; called when nothing is queued.  It waits for its
 * turn among those of all sessions, then the connection's write handler is
 * called, and calls this again: a stretch of it is sent.  When all that was
 * found is sent, looks for what has been published since; when there is
 * nothing, the session goes live.
 */
void ngx_ws_bus_replay_next(ngx_ws_bus_session_t *s);

/*
 * Frees the replay of a subscription, if there is one; of all with NULL.
 */
void ngx_ws_bus_replay_end(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub);


/*
 * What waits for other hosts, http/ngx_ws_bus_pending.c.
 *
 * Publishes for a session: as ngx_ws_bus_hub_publish().  After NGX_AGAIN the
 * client hears how it ended, and the session ends if its protocol has no
 * words for that.  "id" is the client's, or NULL.
 */
ngx_int_t ngx_ws_bus_pending_publish(ngx_ws_bus_session_t *s,
    ngx_ws_bus_sub_t *sub, ngx_str_t *channel, ngx_ws_bus_message_t *msg,
    ngx_ws_bus_place_t *place, ngx_str_t *id);

/*
 * 1 if so much is on its way that nothing is read from the client for now;
 * its read event will be posted.
 */
ngx_uint_t ngx_ws_bus_pending_full(ngx_ws_bus_session_t *s);

/*
 * The session ends: nobody waits any more.
 */
void ngx_ws_bus_pending_free(ngx_ws_bus_session_t *s);

/*
 * Holds a request whose session waits for its channel, as a content handler
 * that returns NGX_DONE; then open() is called with NGX_OK, or NGX_DECLINED
 * if the channel cannot be had, and returns as a content handler, too.
 */
ngx_int_t ngx_ws_bus_pending_hold(ngx_ws_bus_session_t *s,
    ngx_int_t (*open)(ngx_ws_bus_session_t *s, ngx_int_t rc, void *data),
    void *data);

/*
 * For the handlers of a session: ready() of a subscription.
 */
void ngx_ws_bus_pending_ready(ngx_ws_bus_sub_t *sub, ngx_int_t rc,
    void *data);

/*
 * For the same handlers: moved().  Clients of the subprotocol are told.
 */
void ngx_ws_bus_v1_moved(ngx_ws_bus_sub_t *sub, uint64_t epoch, uint64_t seq);

/*
 * The same of a session that began with its first message.
 */
void ngx_ws_bus_auth_joined(ngx_ws_bus_session_t *s, ngx_int_t rc);

/*
 * The same of a subscription that a client of the subprotocol has asked for,
 * http/ngx_ws_bus_v1.c; and how a publication of it has ended.
 */
void ngx_ws_bus_v1_ready(ngx_ws_bus_session_t *s, ngx_ws_bus_sub_t *sub,
    ngx_int_t rc, void *data);
void ngx_ws_bus_v1_published(ngx_ws_bus_session_t *s, ngx_str_t *id,
    ngx_str_t *channel, ngx_int_t rc, ngx_ws_bus_place_t *place);


/*
 * Clients without WebSocket, http/ngx_ws_bus_stream.c.
 *
 * Gives a new session its stream.  NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_stream_create(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_fallback_t *fallback, ngx_msec_t wait);

/*
 * Answers, subscribed and with what there is to be replayed; returns as a
 * content handler does.
 */
ngx_int_t ngx_ws_bus_stream_open(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, ngx_ws_bus_view_t *view);

/*
 * Ends the response in good order, behind what is owed.
 */
void ngx_ws_bus_stream_close(ngx_ws_bus_session_t *s, ngx_uint_t code,
    const char *reason);

/*
 * Milliseconds until something is to be done for the stream itself; 0 or less
 * if it is due.
 */
ngx_msec_int_t ngx_ws_bus_stream_left(ngx_ws_bus_session_t *s);

/*
 * Adds the headers that tell the position, where there is one to be told, and
 * whether what was asked for is there.  NGX_OK, or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_resume_headers(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume, uint64_t epoch);


/*
 * The out queue, http/ngx_ws_bus_out.c.
 *
 * A stretch of a run that a client is owed.  It starts at a message's first
 * byte, but for the first of the queue, which may be half written.
 */

struct ngx_ws_bus_out_s {
    ngx_ws_bus_out_t          *next;
    ngx_ws_bus_run_t          *run;
    ngx_ws_bus_node_t         *node;   /* or a copy of its name */
    size_t                     pos;
    size_t                     last;
};


/*
 * Sends bytes [pos, last) of the run, or queues what the socket does not
 * take; "node" is the channel's, or NULL with run->n 0 for a control frame.
 * Errors are kept in s->broken, and the session is ended from its own handler
 * later: safe while the hub walks its lists.
 */
void ngx_ws_bus_out_add(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    ngx_ws_bus_run_t *run, size_t pos, size_t last);

/*
 * Queues a text frame behind what is owed.  It leaves at the end of this turn
 * of the event loop, with what else has come by then.  A client that does not
 * take its answers is closed as a slow one.
 */
void ngx_ws_bus_out_reply(ngx_ws_bus_session_t *s, u_char *data, size_t len);

/*
 * The kept messages from "from" to "to" are lost: queues a gap behind what is
 * owed, for a protocol that can tell of one.
 */
void ngx_ws_bus_out_lost(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node,
    uint64_t from, uint64_t to);

/*
 * Sends what is queued.  NGX_OK: all gone; NGX_AGAIN; NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_out_flush(ngx_ws_bus_session_t *s);

/*
 * The first n bytes of the queue have been sent.
 */
void ngx_ws_bus_out_sent(ngx_ws_bus_session_t *s, size_t n);

/*
 * For out.c: writes from the front of the queue, which is not a gap yet to be
 * told, as much as one system call or TLS record takes; the queue stays, see
 * ngx_ws_bus_out_sent().  Returns as c->send().
 */
ssize_t ngx_ws_bus_out_write(ngx_ws_bus_session_t *s);

/*
 * Writes these bytes, or the first of them.  What is given must be, or come
 * to be, the front of the queue if that is not all.  Returns as c->send().
 */
ssize_t ngx_ws_bus_out_send(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);

/*
 * Takes a stretch off the queue and frees it.
 */
void ngx_ws_bus_out_unlink(ngx_ws_bus_session_t *s, ngx_ws_bus_out_t **prev);

/*
 * Drops the messages that wait behind the one being written.  Returns their
 * number.
 */
ngx_uint_t ngx_ws_bus_out_drop(ngx_ws_bus_session_t *s);

/*
 * Applies ws_bus_buffer after an addition, of the channel's if node is not
 * NULL.  NGX_OK, or NGX_DECLINED if the client is too slow to be kept.
 */
ngx_int_t ngx_ws_bus_out_limit(ngx_ws_bus_session_t *s,
    ngx_ws_bus_node_t *node);

/*
 * The session is about to unsubscribe: what waits of the channel has to do
 * without it.
 */
void ngx_ws_bus_out_forget(ngx_ws_bus_session_t *s, ngx_ws_bus_node_t *node);

/*
 * Frees the queue.  Returns the number of messages that were not sent.
 */
ngx_uint_t ngx_ws_bus_out_free(ngx_ws_bus_session_t *s);


/*
 * Answers a request to a publisher that is refused, and logs why.
 */
ngx_int_t ngx_ws_bus_publisher_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *reason);

/*
 * What an idempotency key is known by: NGX_WS_BUS_ONCE_LEN bytes.
 */
void ngx_ws_bus_publisher_digest(u_char *digest, ngx_str_t *channel,
    ngx_str_t *key);

/*
 * Evaluates the location's channel.  NGX_OK, NGX_DECLINED if it is empty or
 * not a channel's name, NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_channel_name(ngx_http_request_t *r, ngx_str_t *name);


#endif /* _NGX_WS_BUS_HTTP_H_INCLUDED_ */
