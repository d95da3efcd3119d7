
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_DEFLATE_H_INCLUDED_
#define _NGX_WS_BUS_DEFLATE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <zlib.h>

#include "ngx_ws_bus_error.h"


/* the longest answer, "permessage-deflate" with all four parameters */
#define NGX_WS_BUS_DEFLATE_ANSWER_MAX                                         \
    (sizeof("permessage-deflate; server_no_context_takeover"                  \
            "; client_no_context_takeover; server_max_window_bits=15"         \
            "; client_max_window_bits=15") - 1)


/*
 * What was agreed with one client (RFC 7692, 7).  Neither side takes its
 * context over: the server compresses a message once for all its clients,
 * and an idle connection holds no window.
 */

typedef struct {
    unsigned  server_bits:5;       /* 9-15: window of what we send */
    unsigned  client_bits:5;       /* 9-15: window of what the client sends */
    unsigned  say_server_bits:1;   /* the offer named server_max_window_bits */
    unsigned  say_client_bits:1;   /* the offer named client_max_window_bits */
} ngx_ws_bus_deflate_t;


/*
 * Reads the value of Sec-WebSocket-Extensions; several headers are joined
 * with ", " by the caller.  Takes the first offer of permessage-deflate that
 * can be served; offers with an unknown, repeated or malformed parameter or
 * with server_max_window_bits=8 are skipped.  Quoted values are understood.
 * client_max_window_bits=8 is declined as well (zlib cannot).
 *
 * NGX_OK        *d is the agreement
 * NGX_DECLINED  no offer, or none can be served: the connection goes without
 * NGX_ERROR     the header is not a list of extensions (RFC 6455, 9.1)
 */
ngx_int_t ngx_ws_bus_deflate_negotiate(const ngx_str_t *offers,
    ngx_ws_bus_deflate_t *d);

/*
 * Writes the answer for Sec-WebSocket-Extensions at p, which has room for
 * NGX_WS_BUS_DEFLATE_ANSWER_MAX bytes.  Returns the end.
 */
u_char *ngx_ws_bus_deflate_answer(const ngx_ws_bus_deflate_t *d, u_char *p);

/*
 * Compresses one message (RFC 7692, 7.2.1: raw deflate, sync flush, the four
 * bytes 00 00 FF FF cut off) from in to *pos, which has room for at least
 * ngx_ws_bus_deflate_bound(len) bytes, and advances *pos.  "z" was made by
 * deflateInit2() with negative window bits and is reset here, before use.
 *
 * NGX_OK, or NGX_ERROR when zlib fails or len is 1 GB or more.
 */
ngx_int_t ngx_ws_bus_deflate_message(z_stream *z, const u_char *in,
    size_t len, u_char **pos);

/*
 * The most that ngx_ws_bus_deflate_message() writes for len bytes.
 */
size_t ngx_ws_bus_deflate_bound(size_t len);

/*
 * Inflates one whole message (RFC 7692, 7.2.2).  "z" was made by
 * inflateInit2(z, -15) and is reset here, before use.  Output is gathered in
 * *out, a malloc()ed buffer of *size bytes that is grown with realloc() as
 * bytes arrive, up to max; *out may be NULL with *size 0, or larger than max
 * from another use.  The buffer stays the caller's, also after an error.  A
 * message may hold several deflate blocks, also final ones (BFINAL), and has
 * to be complete with its tail 00 00 FF FF, which is appended here.  No bytes
 * at all are an empty message.
 *
 * NGX_OK     *len bytes are in *out
 * NGX_ERROR  *error: 1007 not deflate data or cut short, 1009 more than max
 *            bytes, 1011 no memory
 */
ngx_int_t ngx_ws_bus_deflate_inflate(z_stream *z, const u_char *in,
    size_t in_len, u_char **out, size_t *size, size_t max, size_t *len,
    const ngx_ws_bus_error_t **error);


#endif /* _NGX_WS_BUS_DEFLATE_H_INCLUDED_ */
