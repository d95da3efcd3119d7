
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
#include "ngx_ws_bus_texts.h"


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
 * Called once the location's keys are merged: a key request that it has is
 * one of its server's from then on.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_keys_use(ngx_conf_t *cf, ngx_ws_bus_keys_t **conf);

/*
 * Warns if none of the keys, all of them being known by now, is for one of
 * these algorithms: not again for the next location with the same keys and
 * algorithms.
 */
void ngx_ws_bus_keys_check(ngx_conf_t *cf, ngx_ws_bus_keys_t *keys,
    ngx_uint_t algorithms);

/*
 * Called after all servers have been configured; at the start of a worker
 * process.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_keys_init(ngx_conf_t *cf);
ngx_int_t ngx_ws_bus_keys_init_process(ngx_cycle_t *cycle);


/*
 * What follows is of keys*.c only.
 */

/* a fetch may take as long, milliseconds */
#define NGX_WS_BUS_KEYS_TIMEOUT    30000

/* unknown key ids make for a fetch no more often, milliseconds */
#define NGX_WS_BUS_KEYS_COOLDOWN   30000

/* whoever waits for another process looks as often, milliseconds */
#define NGX_WS_BUS_KEYS_POLL       50


typedef struct ngx_ws_bus_keys_request_s  ngx_ws_bus_keys_request_t;
typedef struct ngx_ws_bus_keys_call_s     ngx_ws_bus_keys_call_t;


struct ngx_ws_bus_keys_s {
    /* of ngx_ws_bus_jwk_set_t *, of files; what was fetched comes first */
    ngx_array_t                 sets;

    ngx_str_t                   uri;      /* empty: no request */
    ngx_msec_t                  valid;
    ngx_ws_bus_keys_request_t  *request;

    ngx_uint_t                  useless;  /* for these algorithms: was said */
};


/*
 * A request to a local location, which a worker makes by itself.
 */

struct ngx_ws_bus_keys_call_s {
    ngx_connection_t           *connection;   /* NULL: not under way */
    ngx_http_request_t         *request;
    unsigned                    wanted:1;     /* worth to delay an exit */

    /*
     * Called once, in the course of the request: status is 0 if there was no
     * answer, 206 if half of it is missing; "body" is lost afterwards.
     */
    void                      (*handler)(ngx_ws_bus_keys_call_t *call,
                                    ngx_uint_t status, ngx_str_t *body);
    void                       *data;
};


/*
 * Asks for the URI in this server; the caller has set handler and data.
 * NGX_OK, and the handler is called from an event later on, or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_keys_call(ngx_ws_bus_keys_call_t *call,
    ngx_http_core_srv_conf_t *cscf, ngx_str_t *uri);

/*
 * Gives up a call that is under way: its handler is called.
 */
void ngx_ws_bus_keys_call_end(ngx_ws_bus_keys_call_t *call);

/*
 * The keys that were fetched, as they are known now, or NULL.
 */
ngx_ws_bus_jwk_set_t *ngx_ws_bus_keys_request_get(
    ngx_ws_bus_keys_request_t *request);

/*
 * As ngx_ws_bus_keys_fetch().
 */
ngx_int_t ngx_ws_bus_keys_request_fetch(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_keys_wait_t *wait);

/*
 * Gives the location's keys a request of the server's.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_keys_request_add(ngx_conf_t *cf, ngx_ws_bus_keys_t *keys);

/*
 * The keys of this level, made if need be; NULL without memory.
 */
ngx_ws_bus_keys_t *ngx_ws_bus_keys_create(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Writes a key id at dst, at most NGX_WS_BUS_JWK_KID_MAX bytes, as it can be
 * logged, and returns its length.
 */
size_t ngx_ws_bus_keys_kid(u_char *dst, const ngx_str_t *kid);


#endif /* _NGX_WS_BUS_KEYS_H_INCLUDED_ */
