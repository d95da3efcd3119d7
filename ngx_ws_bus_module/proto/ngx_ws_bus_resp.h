
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_RESP_H_INCLUDED_
#define _NGX_WS_BUS_RESP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * RESP2, the protocol of Redis: commands out, replies in.  Replies are read
 * by hiredis's reader; nothing is ever allocated from a length or a count
 * that the server declares.
 */

/* arrays in arrays; hiredis 0.14 has no room for more */
#define NGX_WS_BUS_RESP_DEPTH   7

/* of a status, an error, or an integer */
#define NGX_WS_BUS_RESP_LINE    (64 * 1024)


typedef enum {
    NGX_WS_BUS_REPLY_STRING = 0,
    NGX_WS_BUS_REPLY_STATUS,
    NGX_WS_BUS_REPLY_ERROR,
    NGX_WS_BUS_REPLY_INTEGER,
    NGX_WS_BUS_REPLY_NIL,
    NGX_WS_BUS_REPLY_ARRAY
} ngx_ws_bus_reply_e;


typedef struct ngx_ws_bus_reply_s  ngx_ws_bus_reply_t;

struct ngx_ws_bus_reply_s {
    ngx_ws_bus_reply_e      type;
    ngx_uint_t              n;         /* elements of an array */
    int64_t                 integer;
    ngx_str_t               str;       /* of STRING, STATUS and ERROR */
    ngx_ws_bus_reply_t     *first;     /* element of an array, or NULL */
    ngx_ws_bus_reply_t     *next;      /* in the array that this is in */
};


typedef struct ngx_ws_bus_resp_s  ngx_ws_bus_resp_t;


/*
 * Bytes of a command of n arguments, the name among them.
 */
size_t ngx_ws_bus_resp_command_size(const ngx_str_t *argv, ngx_uint_t n);

/*
 * Writes the command at p, which has room for its size: an array of bulk
 * strings.  Returns the end.
 */
u_char *ngx_ws_bus_resp_command(u_char *p, const ngx_str_t *argv,
    ngx_uint_t n);

/*
 * A reader of replies of at most "max_size" bytes as received and
 * "max_elements" elements, counted through all levels; NULL without memory.
 */
ngx_ws_bus_resp_t *ngx_ws_bus_resp_create(size_t max_size,
    ngx_uint_t max_elements);

/*
 * Frees the reader, and with it the reply that it gave last.
 */
void ngx_ws_bus_resp_destroy(ngx_ws_bus_resp_t *resp);

/*
 * Takes what has been received; the bytes are copied.  Any split is safe.
 * NGX_OK, or NGX_ERROR as ngx_ws_bus_resp_next() has it.
 */
ngx_int_t ngx_ws_bus_resp_feed(ngx_ws_bus_resp_t *resp, const u_char *data,
    size_t len);

/*
 * The next whole reply.  It belongs to the reader and lives until the next
 * call of this function.
 *
 * NGX_OK     *reply is set
 * NGX_AGAIN  more bytes are needed
 * NGX_ERROR  ngx_ws_bus_resp_error() says what is wrong: no RESP2, a limit
 *            passed, no memory; the reader is of no further use
 */
ngx_int_t ngx_ws_bus_resp_next(ngx_ws_bus_resp_t *resp,
    ngx_ws_bus_reply_t **reply);

/*
 * What is wrong, ASCII, as C has strings; valid as long as the reader.
 */
const char *ngx_ws_bus_resp_error(ngx_ws_bus_resp_t *resp);

/*
 * 1 if a reply has begun and is not complete.
 */
ngx_uint_t ngx_ws_bus_resp_pending(ngx_ws_bus_resp_t *resp);

/*
 * The element i of an array, from 0; NULL if there is none or it is no array.
 * Elements are a list: whoever wants all of them follows first and next.
 */
ngx_ws_bus_reply_t *ngx_ws_bus_reply_at(const ngx_ws_bus_reply_t *reply,
    ngx_uint_t i);

/*
 * 1 if the reply is an error whose first word is this code, "NOSCRIPT", or
 * one in a script's command, where Redis before 7 has a place in front of it.
 */
ngx_uint_t ngx_ws_bus_reply_is_error(const ngx_ws_bus_reply_t *reply,
    const char *code);


#endif /* _NGX_WS_BUS_RESP_H_INCLUDED_ */
