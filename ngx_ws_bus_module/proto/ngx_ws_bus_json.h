
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_JSON_H_INCLUDED_
#define _NGX_WS_BUS_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Strict JSON (RFC 8259) without a tree: a text is checked and cut into raw
 * slices, which are passed on byte for byte.  Numbers are never converted,
 * and escaped surrogates need not be paired (RFC 8259, 8.2) before a string
 * is unescaped.  A byte order mark is an error.
 *
 * The raw slice of a string is with its quotes.
 */

/* arrays and objects inside one another */
#define NGX_WS_BUS_JSON_DEPTH     64

/* beyond this a double is not exact (RFC 8259, 6) */
#define NGX_WS_BUS_JSON_UINT_MAX  9007199254740991ULL


typedef enum {
    NGX_WS_BUS_JSON_NULL = 0,
    NGX_WS_BUS_JSON_FALSE,
    NGX_WS_BUS_JSON_TRUE,
    NGX_WS_BUS_JSON_NUMBER,
    NGX_WS_BUS_JSON_STRING,
    NGX_WS_BUS_JSON_ARRAY,
    NGX_WS_BUS_JSON_OBJECT
} ngx_ws_bus_json_e;


/*
 * A walk over the members of an object; "key", "value" and "type" are the
 * current member's, raw slices of the text.
 */

typedef struct {
    ngx_str_t            key;
    ngx_str_t            value;      /* without white space around it */
    ngx_ws_bus_json_e    type;

    u_char              *pos;
    u_char              *last;
} ngx_ws_bus_json_object_t;


/*
 * Checks a text: one value of any type, at most NGX_WS_BUS_JSON_DEPTH deep,
 * with white space around it, in UTF-8, and nothing else.  Member names may
 * repeat.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_json_valid(const u_char *p, size_t len);

/*
 * Starts a walk over a text that is an object, white space around it
 * allowed.  Nothing behind the opening brace has been checked yet.
 *
 * NGX_OK        ngx_ws_bus_json_next() may be called
 * NGX_DECLINED  the text does not begin as an object
 */
ngx_int_t ngx_ws_bus_json_object(ngx_ws_bus_json_object_t *o, u_char *p,
    size_t len);

/*
 * Checks the next member and makes it the current one.  A walk that gets
 * NGX_DONE has checked the whole text: as ngx_ws_bus_json_valid(), except
 * that the object itself adds nothing to the depth, so that a value may be as
 * deep inside it as alone.  The slices stay where they are in the text; those
 * of members that the walk has passed may be changed in place.
 *
 * NGX_OK     o->key, o->value, o->type are set
 * NGX_DONE   the object is at its end, and so is the text
 * NGX_ERROR  invalid, or too deep; members so far were valid
 *
 * After NGX_DONE or NGX_ERROR it must not be called again.
 */
ngx_int_t ngx_ws_bus_json_next(ngx_ws_bus_json_object_t *o);

/*
 * 1 if the string with the raw slice *raw, escaped or not, is "name" of len
 * bytes, else 0.  Allocates and changes nothing.
 */
ngx_uint_t ngx_ws_bus_json_is(const ngx_str_t *raw, const u_char *name,
    size_t len);

/*
 * Turns the raw slice of a string, as found by a walk, into the string, in
 * place: *s then is its UTF-8, which may have null characters.
 *
 * NGX_OK
 * NGX_ERROR  a surrogate without its other half; the bytes of *s are
 *            undefined
 */
ngx_int_t ngx_ws_bus_json_unescape(ngx_str_t *s);

/*
 * Writes bytes of valid UTF-8 as the inside of a JSON string, without the
 * quotes, at p, which has room for ngx_ws_bus_json_escape_size() bytes.
 * Escapes only what must be (RFC 8259, 7).  Returns the end.
 */
u_char *ngx_ws_bus_json_escape(u_char *p, const u_char *src, size_t len);

/*
 * Exactly the number of bytes that ngx_ws_bus_json_escape() writes: from len
 * to 6 * len.
 */
size_t ngx_ws_bus_json_escape_size(const u_char *src, size_t len);

/*
 * The number of a raw slice that is digits only, without leading zeros and
 * not above NGX_WS_BUS_JSON_UINT_MAX.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_json_uint(const ngx_str_t *raw, uint64_t *n);


#endif /* _NGX_WS_BUS_JSON_H_INCLUDED_ */
