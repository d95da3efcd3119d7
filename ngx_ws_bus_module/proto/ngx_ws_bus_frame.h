
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_FRAME_H_INCLUDED_
#define _NGX_WS_BUS_FRAME_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_error.h"


/* RFC 6455, 5.2: 2 bytes, 8 of extended length, 4 of mask */
#define NGX_WS_BUS_FRAME_HEAD_MAX     14

/* a server's frame carries no mask */
#define NGX_WS_BUS_FRAME_HEAD_OUT     10

#define NGX_WS_BUS_CONTROL_MAX        125

#define NGX_WS_BUS_OP_CONTINUATION    0x0
#define NGX_WS_BUS_OP_TEXT            0x1
#define NGX_WS_BUS_OP_BINARY          0x2
#define NGX_WS_BUS_OP_CLOSE           0x8
#define NGX_WS_BUS_OP_PING            0x9
#define NGX_WS_BUS_OP_PONG            0xa

#define NGX_WS_BUS_RSV1               0x40

#define ngx_ws_bus_op_is_control(op)  ((op) & 0x8)


/*
 * The reading side of one connection.  Zeroed memory is a valid start;
 * "rsv_allowed" is set by the caller (NGX_WS_BUS_RSV1 with permessage-deflate,
 * else 0).  "fragmented" is kept by the caller: 1 while a data message is
 * unfinished, that is, between a data frame without FIN and its last
 * continuation.
 */

typedef struct {
    uint64_t                   len;        /* payload length of this frame */
    uint64_t                   got;        /* payload bytes already taken */

    const ngx_ws_bus_error_t  *error;

    u_char                     head[NGX_WS_BUS_FRAME_HEAD_MAX];
    u_char                     mask[4];

    unsigned                   opcode:8;
    unsigned                   rsv_allowed:8;
    unsigned                   have:8;     /* bytes in head[] */
    unsigned                   fin:1;
    unsigned                   rsv1:1;
    unsigned                   complete:1; /* the header has been read */
    unsigned                   fragmented:1;
} ngx_ws_bus_frame_t;


/*
 * Reads one frame header from *pos.  Any split of the input is safe: bytes
 * are consumed into f->head until the header is complete.  A violation is
 * reported as soon as the bytes that show it are there.
 *
 * Checked: RSV bits against f->rsv_allowed, RSV1 only on the first frame of a
 * data message (RFC 7692, 6), known opcodes, the mask, control frames (FIN,
 * at most 125 bytes), the 64-bit length's top bit, minimal length encoding,
 * and continuation against f->fragmented.
 *
 * NGX_OK     header complete, *pos at the first payload byte,
 *            f->complete is set, f->len, f->opcode, f->fin, f->rsv1, f->mask
 *            are valid, f->got is 0
 * NGX_AGAIN  more bytes needed, *pos == last
 * NGX_ERROR  f->error names the violation (RFC 6455, 5.2); the connection is
 *            of no further use, *pos is undefined
 */
ngx_int_t ngx_ws_bus_frame_head(ngx_ws_bus_frame_t *f, u_char **pos,
    u_char *last);

/*
 * Makes f ready for the next header; rsv_allowed and fragmented are kept.
 */
void ngx_ws_bus_frame_next(ngx_ws_bus_frame_t *f);

/*
 * Unmasks len bytes from src to dst (RFC 6455, 5.3), a word at a time; dst
 * may equal src, otherwise the ranges must not overlap.  "offset" is the
 * number of payload bytes of the frame that came before src.
 */
void ngx_ws_bus_frame_unmask(u_char *dst, const u_char *src, size_t len,
    const u_char mask[4], uint64_t offset);

/*
 * Number of header bytes that a server's frame with this payload needs:
 * 2, 4 or 10.
 */
size_t ngx_ws_bus_frame_head_size(uint64_t len);

/*
 * Writes a server's unmasked frame header, FIN set, at p, which has room for
 * ngx_ws_bus_frame_head_size(len) bytes; rsv is 0 or NGX_WS_BUS_RSV1.
 * Returns the end.
 */
u_char *ngx_ws_bus_frame_write(u_char *p, ngx_uint_t opcode, ngx_uint_t rsv,
    uint64_t len);

/*
 * Writes a whole Close frame (RFC 6455, 5.5.1), header included, at p, which
 * has room for 2 + NGX_WS_BUS_CONTROL_MAX bytes.  Code 0 makes an empty
 * body and needs no reason; a reason is cut to 123 bytes, never inside a
 * UTF-8 character.
 * Returns the end.
 */
u_char *ngx_ws_bus_frame_close(u_char *p, ngx_uint_t code,
    const ngx_str_t *reason);

/*
 * Examines the payload of a peer's Close frame (RFC 6455, 5.5.1, 7.4).
 *
 * NGX_OK     *code is the peer's code, or NGX_WS_BUS_CLOSE_NO_STATUS for an
 *            empty payload; *reason points into the payload
 * NGX_ERROR  *error names the violation: one byte, a code that must not be
 *            sent, a reason that is not UTF-8
 */
ngx_int_t ngx_ws_bus_frame_read_close(u_char *data, size_t len,
    ngx_uint_t *code, ngx_str_t *reason, const ngx_ws_bus_error_t **error);


#endif /* _NGX_WS_BUS_FRAME_H_INCLUDED_ */
