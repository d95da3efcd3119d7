
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_REDIS_KEY_H_INCLUDED_
#define _NGX_WS_BUS_REDIS_KEY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Names in Redis.  All of a channel share its hash tag, so a cluster keeps
 * them in one slot:
 *
 *     <prefix>{<channel>}             pub/sub channel
 *     <prefix>{<channel>}:meta        hash
 *     <prefix>{<channel>}:log         stream
 *     <prefix>{<channel>}:once:<hex>  string
 */

typedef enum {
    NGX_WS_BUS_REDIS_KEY_CHANNEL = 0,
    NGX_WS_BUS_REDIS_KEY_META,
    NGX_WS_BUS_REDIS_KEY_LOG
} ngx_ws_bus_redis_key_e;


#define NGX_WS_BUS_REDIS_CHANNEL_MAX  255   /* bytes of a channel's name */
#define NGX_WS_BUS_REDIS_ONCE_MAX     32    /* bytes of a digest */


/*
 * 1 if names can begin so: a prefix with a brace would decide the slot, and
 * one with a control character, a space or a glob's wildcard is a mistake.
 */
ngx_uint_t ngx_ws_bus_redis_prefix_valid(const ngx_str_t *prefix);

/*
 * Room enough for any name with this prefix and channel, once included.
 */
size_t ngx_ws_bus_redis_key_size(const ngx_str_t *prefix,
    const ngx_str_t *channel);

/*
 * Writes a name at "p", never beyond "last".  Returns its end, or NULL if
 * there is no room.
 */
u_char *ngx_ws_bus_redis_key(u_char *p, u_char *last, const ngx_str_t *prefix,
    const ngx_str_t *channel, ngx_ws_bus_redis_key_e kind);

/*
 * The same for an idempotency key, known by the "len" bytes of its digest, at
 * most NGX_WS_BUS_REDIS_ONCE_MAX; they are written in hexadecimal.
 */
u_char *ngx_ws_bus_redis_once(u_char *p, u_char *last,
    const ngx_str_t *prefix, const ngx_str_t *channel, const u_char *digest,
    size_t len);

/*
 * The channel in the name of a pub/sub channel; *channel points into it.
 * NGX_OK, or NGX_DECLINED if the name is none of this prefix: other brackets,
 * no channel, or one longer than NGX_WS_BUS_REDIS_CHANNEL_MAX.
 */
ngx_int_t ngx_ws_bus_redis_channel(const ngx_str_t *name,
    const ngx_str_t *prefix, ngx_str_t *channel);


#endif /* _NGX_WS_BUS_REDIS_KEY_H_INCLUDED_ */
