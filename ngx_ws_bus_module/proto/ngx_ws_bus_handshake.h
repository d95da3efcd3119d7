
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_HANDSHAKE_H_INCLUDED_
#define _NGX_WS_BUS_HANDSHAKE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_WS_BUS_ACCEPT_LEN   28
#define NGX_WS_BUS_CHANNEL_MAX  255


/*
 * Looks for a token in a comma-separated header value (RFC 9110, 5.6.1),
 * without regard to case; elements that are not tokens are passed over.
 * 1 if found, else 0.
 */
ngx_uint_t ngx_ws_bus_handshake_has_token(const ngx_str_t *value,
    const char *token);

/*
 * Takes the next element of a comma-separated list of tokens, advancing
 * *rest past it; spaces around it are stripped, empty elements are skipped.
 *
 * NGX_OK        *token is the element
 * NGX_DECLINED  the list is at its end
 * NGX_ERROR     the element, which *rest is past, is not a token
 *               (RFC 9110, 5.6.2)
 */
ngx_int_t ngx_ws_bus_handshake_next_token(ngx_str_t *rest, ngx_str_t *token);

/*
 * 1 if ch can be part of a token (RFC 9110, 5.6.2), else 0.
 */
ngx_uint_t ngx_ws_bus_handshake_is_tchar(u_char ch);

/*
 * Checks Sec-WebSocket-Key: base64 of 16 bytes, 24 characters (RFC 6455,
 * 4.2.1); the four bits that its last character has to spare may be set.
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_handshake_key(const ngx_str_t *key);

/*
 * Writes Sec-WebSocket-Accept for the key, NGX_WS_BUS_ACCEPT_LEN bytes, to
 * dst (RFC 6455, 4.2.2).  SHA-1 by OpenSSL.  NGX_OK, or NGX_ERROR when the
 * key is not of 24 characters or the library fails.
 */
ngx_int_t ngx_ws_bus_handshake_accept(const ngx_str_t *key, u_char *dst);

/*
 * 1 if name can be a channel's: 1 to NGX_WS_BUS_CHANNEL_MAX bytes of UTF-8
 * without control characters (C0, DEL, C1), space, "{", "}", "*", "?".
 */
ngx_uint_t ngx_ws_bus_handshake_channel(const ngx_str_t *name);


#endif /* _NGX_WS_BUS_HANDSHAKE_H_INCLUDED_ */
