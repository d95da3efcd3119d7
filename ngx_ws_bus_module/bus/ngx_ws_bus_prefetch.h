
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_PREFETCH_H_INCLUDED_
#define _NGX_WS_BUS_PREFETCH_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Ten thousand clients do not fit into a processor's cache: whatever was not
 * touched for a while has to come from memory, and to wait for a line of it
 * takes as long as some hundred instructions.  Where it is known early what
 * will be touched, it is asked for; any address may be.
 */

#define NGX_WS_BUS_LINE  64

#if (defined(__GNUC__) || defined(__clang__))

#define ngx_ws_bus_prefetch(p)        __builtin_prefetch((const void *) (p))
#define ngx_ws_bus_prefetch_write(p)  __builtin_prefetch((const void *) (p), 1)

#else

#define ngx_ws_bus_prefetch(p)        (void) (p)
#define ngx_ws_bus_prefetch_write(p)  (void) (p)

#endif


/*
 * The lines of an object, wherever it begins in one.
 */

static ngx_inline void
ngx_ws_bus_prefetch_object(const void *object, size_t size)
{
    const u_char  *p, *last;

    p = object;
    last = p + size - 1;

    for ( /* void */ ; p < last; p += NGX_WS_BUS_LINE) {
        ngx_ws_bus_prefetch(p);
    }

    ngx_ws_bus_prefetch(last);
}


#endif /* _NGX_WS_BUS_PREFETCH_H_INCLUDED_ */
