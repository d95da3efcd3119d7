
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_UTF8_H_INCLUDED_
#define _NGX_WS_BUS_UTF8_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Strict incremental UTF-8 (RFC 3629): no overlong form, no surrogate,
 * nothing above U+10FFFF.  The state is one small integer;
 * NGX_WS_BUS_UTF8_START is both the start and the only state in which a text
 * may end.
 */

#define NGX_WS_BUS_UTF8_START  0

typedef uint8_t  ngx_ws_bus_utf8_t;


/*
 * Feeds len bytes into *state; ASCII runs go a word at a time.
 *
 * NGX_OK     valid so far; the text is complete if *state is
 *            NGX_WS_BUS_UTF8_START
 * NGX_ERROR  invalid, found at the first byte that cannot continue any
 *            valid text; *state is of no further use
 */
ngx_int_t ngx_ws_bus_utf8(ngx_ws_bus_utf8_t *state, const u_char *p,
    size_t len);

/*
 * 1 if the bytes are a complete valid text, else 0.
 */
ngx_uint_t ngx_ws_bus_utf8_valid(const u_char *p, size_t len);


#endif /* _NGX_WS_BUS_UTF8_H_INCLUDED_ */
