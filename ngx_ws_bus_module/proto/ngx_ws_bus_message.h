
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_MESSAGE_H_INCLUDED_
#define _NGX_WS_BUS_MESSAGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * The control messages of the JSON subprotocol "ws-bus.v1.json": what a
 * client asks for, and what it is told.
 */

/* bytes of JSON, quotes included */
#define NGX_WS_BUS_MESSAGE_ID_MAX    64

/* of an idempotency key */
#define NGX_WS_BUS_MESSAGE_KEY_MAX   255

#define NGX_WS_BUS_MESSAGE_EPOCH     16

/*
 * Enough for any one message written here, or for the head or the tail of
 * one, but for "message", "joined", "left" and what is listed one by one.
 */
#define NGX_WS_BUS_MESSAGE_MAX       1024


typedef enum {
    NGX_WS_BUS_REQUEST_AUTH = 0,
    NGX_WS_BUS_REQUEST_AUTH_REFRESH,
    NGX_WS_BUS_REQUEST_SUBSCRIBE,
    NGX_WS_BUS_REQUEST_UNSUBSCRIBE,
    NGX_WS_BUS_REQUEST_PUBLISH,
    NGX_WS_BUS_REQUEST_ACK,
    NGX_WS_BUS_REQUEST_HISTORY,
    NGX_WS_BUS_REQUEST_PRESENCE
} ngx_ws_bus_request_e;


/*
 * How a payload travels: JSON as it is, any other text escaped, anything
 * else in base64.
 */

typedef enum {
    NGX_WS_BUS_PAYLOAD_DATA = 0,
    NGX_WS_BUS_PAYLOAD_TEXT,
    NGX_WS_BUS_PAYLOAD_BASE64
} ngx_ws_bus_payload_e;


typedef enum {
    NGX_WS_BUS_CODE_BAD_REQUEST = 0,
    NGX_WS_BUS_CODE_ALREADY_SUBSCRIBED,
    NGX_WS_BUS_CODE_NOT_SUBSCRIBED,
    NGX_WS_BUS_CODE_FORBIDDEN,
    NGX_WS_BUS_CODE_LIMIT,
    NGX_WS_BUS_CODE_NOT_FOUND,
    NGX_WS_BUS_CODE_NOT_AVAILABLE,
    NGX_WS_BUS_CODE_UNAUTHORIZED,
    NGX_WS_BUS_CODE_UNAVAILABLE,
    NGX_WS_BUS_CODES
} ngx_ws_bus_code_e;


/*
 * An error is data: a code that does not change, for programs, and a reason,
 * ASCII of at most 128 bytes, for people.
 */

typedef struct {
    ngx_str_t              code;
    ngx_str_t              reason;
} ngx_ws_bus_message_error_t;


/*
 * What a client asks for.  Strings are unescaped and point into the message.
 * Only what the type takes is set, everything else is zero: "channel" and,
 * if wanted, "seq" and "epoch" or "from_ack" with subscribe, "kind",
 * "payload" and "key" with publish, "seq" with ack, "seq" and "limit" with
 * history, "token" with auth and auth_refresh.
 */

typedef struct {
    ngx_ws_bus_request_e   type;

    ngx_str_t              id;         /* JSON as it came; empty: none */

    ngx_str_t              channel;
    ngx_str_t              epoch;
    ngx_str_t              token;
    ngx_str_t              key;        /* empty: none */

    ngx_ws_bus_payload_e   kind;
    ngx_str_t              payload;    /* decoded */

    uint64_t               seq;
    uint64_t               limit;

    unsigned               has_seq:1;  /* with subscribe: and an epoch */
    unsigned               has_limit:1;
    unsigned               from_ack:1;
} ngx_ws_bus_request_t;


/*
 * Where a new subscription stands.
 */

typedef struct {
    uint64_t               epoch;
    uint64_t               seq;        /* the next one delivered is seq + 1 */
    uint64_t               head;
    uint64_t               oldest;
    unsigned               resume:1;   /* was asked for, and */
    unsigned               recovered:1;
} ngx_ws_bus_subscribed_t;


/*
 * A bus message; the payload of kind DATA is valid JSON, that of TEXT valid
 * UTF-8.
 */

typedef struct {
    uint64_t               seq;        /* 0: not kept */
    ngx_ws_bus_payload_e   kind;
    ngx_str_t              payload;    /* not encoded */
} ngx_ws_bus_envelope_t;


/*
 * An error of each code with a reason that fits in general.
 */
extern const ngx_ws_bus_message_error_t
    ngx_ws_bus_message_errors[NGX_WS_BUS_CODES];


/*
 * Reads a client's message, one JSON object.  Members that its type does not
 * take are ignored; one that it takes must not repeat.  The bytes are changed
 * in place, unless the type is not known; m->id and a payload of kind DATA
 * stay as they are, byte for byte.  The channel's name is a valid one.
 *
 * NGX_OK     *m is set
 * NGX_ERROR  *error, of code bad_request, says which member is wrong; m->id
 *            is set if one that can be echoed was found, m->payload and the
 *            like are undefined
 */
ngx_int_t ngx_ws_bus_message_parse(u_char *p, size_t len,
    ngx_ws_bus_request_t *m, const ngx_ws_bus_message_error_t **error);

/*
 * Finds no more than the id of a client's message, to answer it without
 * reading it; empty if there is none that can be echoed.
 */
void ngx_ws_bus_message_id(u_char *p, size_t len, ngx_str_t *id);

/*
 * The epoch that ngx_ws_bus_message_subscribed() wrote.  NGX_OK, or
 * NGX_DECLINED for any other string: an epoch that is not ours.
 */
ngx_int_t ngx_ws_bus_message_epoch(const ngx_str_t *s, uint64_t *epoch);


/*
 * Writers write at p and return the end.  They need room for
 * NGX_WS_BUS_MESSAGE_MAX bytes where no size function goes with them.  "id"
 * is a request's, NULL or empty to leave it out; "channel" is a valid name,
 * not escaped.
 */
u_char *ngx_ws_bus_message_error(u_char *p, const ngx_str_t *id,
    const ngx_ws_bus_message_error_t *error);

/*
 * "recovered" is written if a resume was asked for.
 */
u_char *ngx_ws_bus_message_subscribed(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, const ngx_ws_bus_subscribed_t *s);

u_char *ngx_ws_bus_message_unsubscribed(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel);

/*
 * seq 0: the message is not kept, and has no place.
 */
u_char *ngx_ws_bus_message_published(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, uint64_t epoch, uint64_t seq);

/*
 * expires_in is in seconds; -1: never, and it is left out.
 */
u_char *ngx_ws_bus_message_auth_ok(u_char *p, const ngx_str_t *id,
    time_t expires_in);
u_char *ngx_ws_bus_message_auth_required(u_char *p, time_t expires_in);

/*
 * Messages from "from" to "to" are lost; or, on a channel without history,
 * "count" of them; or nobody knows, since the channel has begun anew, and is
 * at seq of this epoch.
 */
u_char *ngx_ws_bus_message_gap(u_char *p, const ngx_str_t *channel,
    uint64_t from, uint64_t to);
u_char *ngx_ws_bus_message_gap_count(u_char *p, const ngx_str_t *channel,
    uint64_t count);
u_char *ngx_ws_bus_message_gap_epoch(u_char *p, const ngx_str_t *channel,
    uint64_t epoch, uint64_t seq);

/*
 * The channel goes on behind seq, in another epoch, and nothing is missing.
 */
u_char *ngx_ws_bus_message_epoch_follows(u_char *p, const ngx_str_t *channel,
    uint64_t epoch, uint64_t seq);

/*
 * A member, whose name is valid UTF-8, joined the channel or left it.  The
 * size is a bound for either.
 */
size_t ngx_ws_bus_message_member_size(const ngx_str_t *member);
u_char *ngx_ws_bus_message_joined(u_char *p, const ngx_str_t *channel,
    const ngx_str_t *member);
u_char *ngx_ws_bus_message_left(u_char *p, const ngx_str_t *channel,
    const ngx_str_t *member);

/*
 * A bus message on a channel.  The size is exact, so that the frame's header
 * can be written first.
 */
size_t ngx_ws_bus_message_envelope_size(const ngx_str_t *channel,
    const ngx_ws_bus_envelope_t *e);
u_char *ngx_ws_bus_message_envelope(u_char *p, const ngx_str_t *channel,
    const ngx_ws_bus_envelope_t *e);

/*
 * The answer to "history": a head, items in order, a tail.  The size of an
 * item is exact but for the comma, which it has room for; "first" is 1 for
 * the item that needs none.
 */
u_char *ngx_ws_bus_message_history(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, uint64_t epoch);
size_t ngx_ws_bus_message_history_item_size(const ngx_ws_bus_envelope_t *e);
u_char *ngx_ws_bus_message_history_item(u_char *p,
    const ngx_ws_bus_envelope_t *e, ngx_uint_t first);
u_char *ngx_ws_bus_message_history_end(u_char *p, ngx_uint_t more);

/*
 * The answer to "presence": a head, if "members" is 1 their names, valid
 * UTF-8, and a tail.  The size of a name has room for a comma; "first" is 1
 * for the name that needs none.
 */
u_char *ngx_ws_bus_message_presence(u_char *p, const ngx_str_t *id,
    const ngx_str_t *channel, ngx_uint_t members);
size_t ngx_ws_bus_message_presence_item_size(const ngx_str_t *member);
u_char *ngx_ws_bus_message_presence_item(u_char *p, const ngx_str_t *member,
    ngx_uint_t first);
u_char *ngx_ws_bus_message_presence_end(u_char *p, ngx_uint_t members,
    uint64_t count);


#endif /* _NGX_WS_BUS_MESSAGE_H_INCLUDED_ */
