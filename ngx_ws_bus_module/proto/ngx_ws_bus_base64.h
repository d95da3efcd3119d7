
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_BASE64_H_INCLUDED_
#define _NGX_WS_BUS_BASE64_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* of len bytes, encoded */

#define ngx_ws_bus_base64_size(len)  (((len) + 2) / 3 * 4)


/*
 * Writes len bytes in base64 (RFC 4648, 4), padded, at p, which has room for
 * ngx_ws_bus_base64_size(len) bytes.  Returns the end.
 */
u_char *ngx_ws_bus_base64_encode(u_char *p, const u_char *src, size_t len);

/*
 * Decodes in place, strictly: the string must be the one that encoding the
 * result gives, padded, without bits to spare or anything else between.
 *
 * NGX_OK
 * NGX_ERROR  the bytes of *s are undefined
 */
ngx_int_t ngx_ws_bus_base64_decode(ngx_str_t *s);


#endif /* _NGX_WS_BUS_BASE64_H_INCLUDED_ */
