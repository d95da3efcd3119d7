
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_KEYS_H_INCLUDED_
#define _NGX_WS_BUS_KEYS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_jwk.h"


/*
 * The keys that a location verifies tokens with: of ws_bus_jwt_key_file, read
 * with the configuration, and of ws_bus_jwt_key_request, fetched through a
 * local location, kept in shared memory for all workers and refreshed before
 * they end.
 */

typedef struct ngx_ws_bus_keys_s       ngx_ws_bus_keys_t;
typedef struct ngx_ws_bus_keys_wait_s  ngx_ws_bus_keys_wait_t;


/*
 * Somebody who waits for newer keys; memory of the caller's.
 */

struct ngx_ws_bus_keys_wait_s {
    ngx_queue_t               queue;
    void                    (*handler)(ngx_ws_bus_keys_wait_t *wait);
    void                     *data;
    unsigned                  waiting:1;
};


/*
 * Directives ws_bus_jwt_key_file and ws_bus_jwt_key_request; the slot at
 * cmd->offset is a ngx_ws_bus_keys_t *, NULL if neither is there.
 */
char *ngx_ws_bus_keys_file_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_keys_request_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Inherits the keys of the outer level if this one has none of its own.
 */
void ngx_ws_bus_keys_merge(ngx_ws_bus_keys_t **conf, ngx_ws_bus_keys_t *prev);

/*
 * The key sets as they are known now, for ngx_ws_bus_jwt_rules_t.  They stay
 * until the next turn of the event loop.  NGX_OK, or NGX_DECLINED if there
 * are none yet.
 */
ngx_int_t ngx_ws_bus_keys_get(ngx_ws_bus_keys_t *keys,
    ngx_ws_bus_jwk_set_t ***sets, ngx_uint_t *n);

/*
 * Asks for newer keys, since there are none or none fits.
 *
 * NGX_AGAIN     wait->handler is called later, from an event of its own, when
 *               there are newer keys or none could be had
 * NGX_DECLINED  nothing can be asked, or not again so soon
 */
ngx_int_t ngx_ws_bus_keys_fetch(ngx_ws_bus_keys_t *keys,
    ngx_ws_bus_keys_wait_t *wait);

/*
 * Waits no longer; may be called at any time.
 */
void ngx_ws_bus_keys_cancel(ngx_ws_bus_keys_wait_t *wait);


/*
 * Writes a key id at dst, at most NGX_WS_BUS_JWK_KID_MAX bytes, as it can be
 * logged, and returns its length.
 */
size_t ngx_ws_bus_keys_kid(u_char *dst, const ngx_str_t *kid);


#endif /* _NGX_WS_BUS_KEYS_H_INCLUDED_ */
