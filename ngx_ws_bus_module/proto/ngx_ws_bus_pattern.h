
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_PATTERN_H_INCLUDED_
#define _NGX_WS_BUS_PATTERN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_handshake.h"


/* a pattern as it is written, in bytes */
#define NGX_WS_BUS_PATTERN_MAX      255

/* the same compiled: literals no longer than a name, and wildcards */
#define NGX_WS_BUS_PATTERN_SIZE                                               \
    (NGX_WS_BUS_CHANNEL_MAX + NGX_WS_BUS_PATTERN_MAX)

/* the port of an origin's pattern that is written ":*" */
#define NGX_WS_BUS_ORIGIN_ANY_PORT  65536


/*
 * Gives the value of the claim that a pattern names in braces.  The value is
 * the callee's and must live until the pattern is compiled.
 *
 * NGX_OK, or NGX_DECLINED: there is none, or it is neither a string nor an
 * integer
 */
typedef ngx_int_t (*ngx_ws_bus_pattern_claim_pt)(void *data,
    const ngx_str_t *name, ngx_str_t *value);


/*
 * One origin, as a browser names it (RFC 6454, 6.2), or a pattern for
 * origins.  The strings point into the text that was read.
 */

typedef struct {
    ngx_str_t   scheme;        /* empty in a pattern: http or https */
    ngx_str_t   host;          /* no brackets; a wildcard's is ".example.com" */
    ngx_uint_t  port;          /* 0: the scheme's own, or it has none */
    u_char      addr[16];      /* the host if it is IPv6 */

    unsigned    null:1;        /* "null", nothing else is set */
    unsigned    wildcard:1;
    unsigned    ipv6:1;
} ngx_ws_bus_origin_t;


/*
 * Compiles a pattern of channels.  "*" stands for any bytes, also none, but
 * the separators ".", "/", ":"; "**" for any bytes, also none; "{name}" for
 * the value of a claim; all else for itself.  The compiled form is *len
 * bytes in dst, which has room for NGX_WS_BUS_PATTERN_SIZE; it may be copied
 * anywhere.
 *
 * A claim's value is always a literal.  One that is empty, or holds a
 * separator or what no channel's name holds ("*", "?", "{", "}", space,
 * control characters, bad UTF-8), voids the pattern: else whoever chooses
 * the value would choose the hierarchy that the grant is for.
 *
 * With "claim" NULL only the syntax is examined; a pattern with claims is
 * then void.
 *
 * NGX_OK        compiled
 * NGX_DECLINED  void: it would match no name
 * NGX_ERROR     not a pattern, *reason says why
 */
ngx_int_t ngx_ws_bus_pattern_compile(const ngx_str_t *text,
    ngx_ws_bus_pattern_claim_pt claim, void *data, u_char *dst, size_t *len,
    const ngx_str_t **reason);

/*
 * 1 if the compiled pattern matches the whole name, else 0.  The time is
 * bounded by the product of both lengths, whatever the pattern.
 */
ngx_uint_t ngx_ws_bus_pattern_match(const u_char *pattern, size_t len,
    const ngx_str_t *name);


/*
 * Reads the value of an Origin header: "null", or scheme://host[:port] and
 * nothing more.  Hosts are names, IPv4 addresses or bracketed IPv6 addresses;
 * letters beyond ASCII never come from a browser and are refused.
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_origin_parse(const ngx_str_t *text,
    ngx_ws_bus_origin_t *origin);

/*
 * Reads a pattern of origins:
 *
 *     https://a.example        this origin, on the scheme's own port
 *     https://a.example:8443   on this port only
 *     a.example                with http or https
 *     *.a.example              any host below a.example, itself not
 *     a.example:*              on any port
 *     null                     what sandboxed documents and files send
 *
 * A leading "*." and the scheme may be combined.
 *
 * NGX_OK     *origin is the pattern
 * NGX_ERROR  *reason says why not
 */
ngx_int_t ngx_ws_bus_origin_pattern(const ngx_str_t *text,
    ngx_ws_bus_origin_t *origin, const ngx_str_t **reason);

/*
 * 1 if the origin is what the pattern is for, else 0.  Scheme and host are
 * compared without regard to case, IPv6 hosts as addresses; "null" matches
 * nothing but "null".
 */
ngx_uint_t ngx_ws_bus_origin_match(const ngx_ws_bus_origin_t *pattern,
    const ngx_ws_bus_origin_t *origin);

/*
 * 1 if the origin is that of the request, else 0: of this scheme ("http" or
 * "https") and of this authority, a Host header's host[:port].  "port" counts
 * where the authority names none; 0 is the scheme's own.
 */
ngx_uint_t ngx_ws_bus_origin_same(const ngx_ws_bus_origin_t *origin,
    const ngx_str_t *scheme, const ngx_str_t *authority, ngx_uint_t port);


#endif /* _NGX_WS_BUS_PATTERN_H_INCLUDED_ */
