
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_JOSE_H_INCLUDED_
#define _NGX_WS_BUS_JOSE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/* RFC 7518, 3.1, RFC 8037, 3.1 */

#define NGX_WS_BUS_JOSE_RS256  0x0001
#define NGX_WS_BUS_JOSE_RS384  0x0002
#define NGX_WS_BUS_JOSE_RS512  0x0004
#define NGX_WS_BUS_JOSE_PS256  0x0008
#define NGX_WS_BUS_JOSE_PS384  0x0010
#define NGX_WS_BUS_JOSE_PS512  0x0020
#define NGX_WS_BUS_JOSE_ES256  0x0040
#define NGX_WS_BUS_JOSE_ES384  0x0080
#define NGX_WS_BUS_JOSE_ES512  0x0100
#define NGX_WS_BUS_JOSE_EDDSA  0x0200
#define NGX_WS_BUS_JOSE_HS256  0x0400
#define NGX_WS_BUS_JOSE_HS384  0x0800
#define NGX_WS_BUS_JOSE_HS512  0x1000

#define NGX_WS_BUS_JOSE_RS                                                    \
    (NGX_WS_BUS_JOSE_RS256|NGX_WS_BUS_JOSE_RS384|NGX_WS_BUS_JOSE_RS512)

#define NGX_WS_BUS_JOSE_PS                                                    \
    (NGX_WS_BUS_JOSE_PS256|NGX_WS_BUS_JOSE_PS384|NGX_WS_BUS_JOSE_PS512)

#define NGX_WS_BUS_JOSE_ES                                                    \
    (NGX_WS_BUS_JOSE_ES256|NGX_WS_BUS_JOSE_ES384|NGX_WS_BUS_JOSE_ES512)

#define NGX_WS_BUS_JOSE_HS                                                    \
    (NGX_WS_BUS_JOSE_HS256|NGX_WS_BUS_JOSE_HS384|NGX_WS_BUS_JOSE_HS512)


/* the names of all, with spaces between */
#define NGX_WS_BUS_JOSE_NAMES  77


typedef struct {
    ngx_str_t   name;
    ngx_uint_t  bit;               /* NGX_WS_BUS_JOSE_RS256, ... */
    ngx_uint_t  hash;              /* bits; 0: EdDSA */
} ngx_ws_bus_jose_alg_t;


typedef enum {
    NGX_WS_BUS_JOSE_OK = 0,
    NGX_WS_BUS_JOSE_JSON,          /* malformed */
    NGX_WS_BUS_JOSE_DUPLICATE,     /* an object has a member twice */
    NGX_WS_BUS_JOSE_NUMBER,        /* beyond 64 bits, or beyond a double */
    NGX_WS_BUS_JOSE_DEEP,
    NGX_WS_BUS_JOSE_OBJECT,        /* a value, but no object */
    NGX_WS_BUS_JOSE_MEMORY,
    NGX_WS_BUS_JOSE_ERRORS
} ngx_ws_bus_jose_e;


/*
 * The algorithm of this name, which is compared with case, or NULL.  There is
 * none of the name "none".
 */
const ngx_ws_bus_jose_alg_t *ngx_ws_bus_jose_alg(const u_char *name,
    size_t len);

/*
 * Writes the names of these algorithms, a set of bits, at p with spaces
 * between, at most NGX_WS_BUS_JOSE_NAMES bytes, and returns the end.
 */
u_char *ngx_ws_bus_jose_names(u_char *p, ngx_uint_t algorithms);

/*
 * Decodes base64url (RFC 4648, 5; RFC 7515, 2) of len bytes to dst, which has
 * room for len * 3 / 4.  Strict: no padding, no white space, spare bits zero,
 * so that there is one encoding of a text and no other.
 * Returns the number of bytes, or NGX_ERROR.
 */
ssize_t ngx_ws_bus_jose_base64url(u_char *dst, const u_char *src, size_t len);

/*
 * Parses a JSON object (RFC 8259) by jansson: duplicate members are refused,
 * and so is nesting deeper than "depth", before anything is built.  No string
 * in it holds a null character.
 *
 * NGX_WS_BUS_JOSE_OK, and *object is the caller's to json_decref(); else
 * what is wrong, and *object is NULL.
 */
ngx_ws_bus_jose_e ngx_ws_bus_jose_json(const u_char *text, size_t len,
    ngx_uint_t depth, json_t **object);


#endif /* _NGX_WS_BUS_JOSE_H_INCLUDED_ */
