
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_ENVELOPE_H_INCLUDED_
#define _NGX_WS_BUS_ENVELOPE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_chain.h"


/*
 * What is published in Redis for a message, docs/redis.md:
 *
 *     0xff "wb"  version  flags  [epoch seq]  [prev base]  time  age  payload
 *
 * epoch and prev are 8 bytes, most significant first; seq, base, time and age
 * are varints of 7 bits a byte, least significant first, in their shortest
 * form.  [epoch seq] is there if the flag SEQ is, [prev base] if PREV is.
 *
 * A publisher has it without them: the script of redis/ gives the message its
 * place, and puts that in.
 */

#define NGX_WS_BUS_ENVELOPE_VERSION  1

/* how the payload is to be taken, as NGX_WS_BUS_REC_...; at most one */
#define NGX_WS_BUS_ENVELOPE_BINARY   0x01
#define NGX_WS_BUS_ENVELOPE_JSON     0x02   /* text, known to be valid JSON */
#define NGX_WS_BUS_ENVELOPE_STRING   0x04   /* text, not to be taken for JSON */

#define NGX_WS_BUS_ENVELOPE_SEQ      0x08
#define NGX_WS_BUS_ENVELOPE_PREV     0x10   /* the first of its epoch */
#define NGX_WS_BUS_ENVELOPE_DELETED  0x20   /* the channel was deleted */

/* a number of Lua, and of a client's JSON, is exact up to this */
#define NGX_WS_BUS_ENVELOPE_SEQ_MAX  9007199254740991ULL

/* magic, version and flags: a place follows, if there is one */
#define NGX_WS_BUS_ENVELOPE_START    5

/* everything before the payload */
#define NGX_WS_BUS_ENVELOPE_HEAD                                           \
    (NGX_WS_BUS_ENVELOPE_START + 8 + 10 + 8 + 10 + 10 + 10)


typedef struct {
    ngx_uint_t    flags;     /* NGX_WS_BUS_ENVELOPE_..., 0 for plain text */
    ngx_uint_t    plain;     /* no envelope: what any client published */

    uint64_t      epoch;     /* these two with SEQ, otherwise 0 */
    uint64_t      seq;       /* 1 and more */
    uint64_t      prev;      /* these two with PREV, otherwise 0 */
    uint64_t      base;      /* smaller than seq */

    uint64_t      time;      /* ms since 1970 by the publisher's clock */
    uint64_t      age;       /* kept that long, ms; 0: nothing is said */

    ngx_str_t     payload;
} ngx_ws_bus_envelope_t;


/*
 * The position of a channel in Redis: the newest message is seq of epoch,
 * which continues those of the chain.
 */

typedef struct {
    uint64_t            epoch;
    uint64_t            seq;
    ngx_ws_bus_chain_t  chain;
} ngx_ws_bus_position_t;


/*
 * The exact size of an envelope.  e->flags say which fields it has.
 */
size_t ngx_ws_bus_envelope_size(const ngx_ws_bus_envelope_t *e);

/*
 * Writes everything but the payload, at most NGX_WS_BUS_ENVELOPE_HEAD bytes;
 * returns the end.
 */
u_char *ngx_ws_bus_envelope_head(u_char *p, const ngx_ws_bus_envelope_t *e);

/*
 * Writes an envelope, ngx_ws_bus_envelope_size() bytes; returns the end.
 */
u_char *ngx_ws_bus_envelope_write(u_char *p, const ngx_ws_bus_envelope_t *e);

/*
 * Reads what was published or kept.  e->payload points into p.  What does not
 * begin with 0xff "wb" is a message of any client: e->plain is set, time is
 * 0, flags are 0 if it is UTF-8, otherwise BINARY.  JSON is believed: who may
 * publish in Redis is trusted so far.
 *
 * NGX_OK        *e is set
 * NGX_DECLINED  an envelope of another version, or with unknown flags
 * NGX_ERROR     a broken envelope, or text that is not UTF-8
 */
ngx_int_t ngx_ws_bus_envelope_read(ngx_ws_bus_envelope_t *e, u_char *p,
    size_t len);

/*
 * What a live message with SEQ is to a host whose newest is seq of epoch.
 *
 * NGX_OK        the next one
 * NGX_DONE      had already
 * NGX_AGAIN     there are others between, to be asked for after seq; nothing
 *               of what the host has is in doubt
 * NGX_DECLINED  of another epoch, and it does not say that it continues the
 *               host's: the position in Redis tells
 */
ngx_int_t ngx_ws_bus_envelope_follows(const ngx_ws_bus_envelope_t *e,
    uint64_t epoch, uint64_t seq);

/*
 * What the position in Redis is to a host whose newest is seq of epoch.
 *
 * NGX_OK        nothing is missing; the host goes on with pos->epoch
 * NGX_AGAIN     there are more, to be asked for after seq; the host goes on
 *               with pos->epoch
 * NGX_DECLINED  Redis has lost messages that the host has, or everything:
 *               clients are to be told
 */
ngx_int_t ngx_ws_bus_position_follows(const ngx_ws_bus_position_t *pos,
    uint64_t epoch, uint64_t seq);


#endif /* _NGX_WS_BUS_ENVELOPE_H_INCLUDED_ */
