
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_DOORBELL_H_INCLUDED_
#define _NGX_WS_BUS_DOORBELL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * One eventfd per process slot, made in the master before any fork, so that
 * every worker of every generation inherits all of them.  They live as long
 * as a configuration that uses the zone.
 */

typedef struct {
    ngx_uint_t   refs;     /* configurations */
    ngx_uint_t   n;
    ngx_fd_t     fd[1];
} ngx_ws_bus_doorbells_t;


/*
 * Makes n doorbells, with one reference.  NULL after an error, logged.
 */
ngx_ws_bus_doorbells_t *ngx_ws_bus_doorbells_create(ngx_uint_t n,
    ngx_log_t *log);

/*
 * A pool cleanup handler: gives one reference back.
 */
void ngx_ws_bus_doorbells_release(void *data);

/*
 * Rings a slot; a slot without a doorbell looks by itself.
 */
void ngx_ws_bus_doorbell_ring(ngx_ws_bus_doorbells_t *d, ngx_uint_t slot,
    ngx_log_t *log);


#endif /* _NGX_WS_BUS_DOORBELL_H_INCLUDED_ */
