
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_PRESENCE_H_INCLUDED_
#define _NGX_WS_BUS_PRESENCE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_channel.h"
#include "ngx_ws_bus_hub.h"


#define NGX_WS_BUS_MEMBER_MAX   255

/* entries that one hold of the mutex removes, a power of 2 */
#define NGX_WS_BUS_PRESENCE_SLICE  1024

/* who comes back within that time has not left, milliseconds */
#define NGX_WS_BUS_LEAVE_TIME   1000


/*
 * Connections of one member that a process slot has on a channel.  An entry
 * whose count is 0 is of one who has just left, and may come back.
 */

struct ngx_ws_bus_member_s {
    ngx_ws_bus_member_t  *next;
    uint32_t              count;
    uint16_t              slot;
    uint16_t              hash;       /* of the name */
    u_char                len;
    u_char                name[1];
};

ngx_ws_bus_assert(member_slot, NGX_MAX_PROCESSES <= 65536);

#define NGX_WS_BUS_MEMBER_ROOM                                                \
    (NGX_WS_BUS_CELL - offsetof(ngx_ws_bus_member_t, name))


/*
 * The names on a channel, sorted, each once; "names" and what they point to
 * are one piece of ngx_alloc()ed memory.
 */

typedef struct {
    ngx_str_t            *names;
    ngx_uint_t            n;
} ngx_ws_bus_members_t;


/*
 * The subscription's owner is present on its channel as "member", 1 to
 * NGX_WS_BUS_MEMBER_MAX bytes; all are told if that is news.  NGX_OK, or
 * NGX_DECLINED if the zone has no memory: then the member is not listed.
 */
ngx_int_t ngx_ws_bus_presence_join(ngx_ws_bus_sub_t *sub, ngx_str_t *member);

/*
 * Undoes one successful join; all are told if the member has not come back
 * after NGX_WS_BUS_LEAVE_TIME.
 */
void ngx_ws_bus_presence_leave(ngx_ws_bus_sub_t *sub, ngx_str_t *member);

/*
 * Who is present on a channel.  NGX_OK, NGX_DECLINED if there is no such
 * channel, NGX_ERROR without memory.  m->names is the caller's to free.
 */
ngx_int_t ngx_ws_bus_presence_list(ngx_ws_bus_zone_t *zone,
    ngx_str_t *channel, ngx_ws_bus_members_t *m, ngx_log_t *log);

/*
 * The hub begins; it ends, and nobody waits to see who comes back.
 */
void ngx_ws_bus_presence_init(ngx_ws_bus_hub_t *hub);
void ngx_ws_bus_presence_exit(ngx_ws_bus_hub_t *hub);

/*
 * For the channel table, under the mutex: up to NGX_WS_BUS_PRESENCE_SLICE
 * entries of a slot whose process is gone are removed, and whoever has left
 * by that is told of.  Returns how many they were: with fewer there are no
 * more.  It takes time for all entries of the node, a few times over.
 */
ngx_uint_t ngx_ws_bus_presence_disown_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node, ngx_uint_t slot);

/*
 * All entries of a node are freed, under the mutex.
 */
void ngx_ws_bus_presence_free_locked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_node_t *node);


#endif /* _NGX_WS_BUS_PRESENCE_H_INCLUDED_ */
