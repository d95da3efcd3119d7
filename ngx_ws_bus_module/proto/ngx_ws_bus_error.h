
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_ERROR_H_INCLUDED_
#define _NGX_WS_BUS_ERROR_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * An error is data: the status code of the Close frame that answers it
 * (RFC 6455, 7.4) and a reason, at most 123 bytes of ASCII, which goes into
 * that frame and into the log.
 */

typedef struct {
    ngx_uint_t  code;
    ngx_str_t   reason;
} ngx_ws_bus_error_t;


#define ngx_ws_bus_error(code, reason)                                        \
    { code, ngx_string(reason) }


#define NGX_WS_BUS_CLOSE_NORMAL          1000
#define NGX_WS_BUS_CLOSE_GOING_AWAY      1001
#define NGX_WS_BUS_CLOSE_PROTOCOL        1002
#define NGX_WS_BUS_CLOSE_UNSUPPORTED     1003
#define NGX_WS_BUS_CLOSE_NO_STATUS       1005
#define NGX_WS_BUS_CLOSE_ABNORMAL        1006
#define NGX_WS_BUS_CLOSE_BAD_DATA        1007
#define NGX_WS_BUS_CLOSE_POLICY          1008
#define NGX_WS_BUS_CLOSE_TOO_BIG         1009
#define NGX_WS_BUS_CLOSE_INTERNAL        1011
#define NGX_WS_BUS_CLOSE_TRY_LATER       1013
#define NGX_WS_BUS_CLOSE_UNAUTHORIZED    4001
#define NGX_WS_BUS_CLOSE_FORBIDDEN       4003
#define NGX_WS_BUS_CLOSE_DELETED         4004
#define NGX_WS_BUS_CLOSE_KICKED          4010


#endif /* _NGX_WS_BUS_ERROR_H_INCLUDED_ */
