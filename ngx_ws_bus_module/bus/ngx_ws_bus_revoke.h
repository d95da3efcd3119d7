
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_REVOKE_H_INCLUDED_
#define _NGX_WS_BUS_REVOKE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_zone.h"


/*
 * Revoked tokens: all of a subject ("sub") that were issued by then, or one
 * by its id ("jti").  The zone remembers digests of them, so that the tokens
 * are refused from then on; a record in the log tells all workers, in its
 * place among the messages.  Times are seconds since the epoch, as a token
 * has them.
 */


#define NGX_WS_BUS_REVOKE_SUB        0
#define NGX_WS_BUS_REVOKE_JTI        1

#define NGX_WS_BUS_REVOKE_VALUE_MAX  1024
#define NGX_WS_BUS_REVOKE_DIGEST     20


/* what is remembered; for as many as the zone has 4096 bytes */

struct ngx_ws_bus_revoked_s {
    uint32_t              next;       /* number of the next one, from 1 */
    u_char                digest[NGX_WS_BUS_REVOKE_DIGEST];
    int64_t               time;
    int64_t               expires;    /* 0: never used */
};


/* the payload of a record, before the value */

typedef struct {
    int64_t               time;
    uint64_t              kind;
} ngx_ws_bus_revoke_head_t;


struct ngx_ws_bus_revocation_s {
    ngx_uint_t            kind;
    ngx_str_t             value;
    int64_t               time;
};


/*
 * How many revocations a zone of this size remembers: a power of two.
 */
ngx_uint_t ngx_ws_bus_revoke_max(size_t size);

/*
 * Makes the table of a new zone.  NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_revoke_create(ngx_ws_bus_zone_t *zone);

/*
 * Revokes: it is remembered until "expires", and a record tells all workers.
 * rings and n as in ngx_ws_bus_channel_publish().  NGX_OK, or NGX_DECLINED if
 * the table is full of what has not expired.
 */
ngx_int_t ngx_ws_bus_revoke(ngx_ws_bus_zone_t *zone,
    const ngx_ws_bus_revocation_t *rev, int64_t expires, ngx_uint_t *rings,
    ngx_uint_t *n);

/*
 * The same, and rings.
 */
ngx_int_t ngx_ws_bus_revoke_publish(ngx_ws_bus_hub_t *hub,
    const ngx_ws_bus_revocation_t *rev, int64_t expires);

/*
 * 1 if a token with this "sub" or "jti" is revoked; "iat" is 0 if it does not
 * tell when it was issued.
 */
ngx_uint_t ngx_ws_bus_revoked(ngx_ws_bus_zone_t *zone, ngx_uint_t kind,
    const ngx_str_t *value, int64_t iat, int64_t now);

/*
 * For the hub.  Tells of a record that was read, after all that came before
 * it: hub->revoked is called.  NGX_OK, or NGX_DECLINED if the record was
 * overwritten meanwhile.
 */
ngx_int_t ngx_ws_bus_revoke_read(ngx_ws_bus_hub_t *hub,
    ngx_ws_bus_record_t *rec, u_char *payload);

/*
 * For the zone, under its mutex: rings for a record of a killed process, or
 * of the caller's.  rings and n as in ngx_ws_bus_channel_publish(), or NULL.
 */
void ngx_ws_bus_revoke_redo_locked(ngx_ws_bus_zone_t *zone,
    ngx_uint_t *rings, ngx_uint_t *n);


#endif /* _NGX_WS_BUS_REVOKE_H_INCLUDED_ */
