
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>
#include <ngx_sha1.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_keys.h"
#include "ngx_ws_bus_zone.h"


/*
 * What a server fetches from one of its locations.
 */

struct ngx_ws_bus_keys_request_s {
    ngx_connection_t           dumb;         /* timers want its shape */

    ngx_ws_bus_text_ref_t      ref;
    ngx_str_t                  uri;
    ngx_msec_t                 valid;
    ngx_http_core_srv_conf_t  *cscf;
    ngx_ws_bus_texts_t        *texts;

    /* of this process */
    ngx_log_t                 *log;
    uint64_t                   version;      /* of the set */
    ngx_ws_bus_jwk_set_t      *set;          /* NULL: none yet */
    ngx_array_t                old;          /* sets, until the next turn */

    ngx_ws_bus_keys_call_t     call;
    const ngx_str_t           *reason;       /* that the call was given up */

    ngx_queue_t                waiters;
    uint64_t                   answers;      /* when they began to wait */

    ngx_event_t                refresh;
    ngx_event_t                timeout;
    ngx_event_t                poll;
    ngx_event_t                wake;
    ngx_event_t                retire;
};


static void ngx_ws_bus_keys_id(ngx_ws_bus_keys_request_t *request,
    ngx_http_core_main_conf_t *cmcf);
static void ngx_ws_bus_keys_event(ngx_ws_bus_keys_request_t *request,
    ngx_event_t *ev, ngx_event_handler_pt handler);
static void ngx_ws_bus_keys_load(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_jwk_skip_pt skip);
static ngx_ws_bus_jwk_set_t *ngx_ws_bus_keys_parse(
    ngx_ws_bus_keys_request_t *request, u_char *text, size_t len,
    ngx_ws_bus_jwk_skip_pt skip, const ngx_str_t **reason);
static void ngx_ws_bus_keys_passed_over(void *data, ngx_uint_t n,
    const ngx_str_t *kid, const ngx_ws_bus_jwk_error_t *error);
static void ngx_ws_bus_keys_replace(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_jwk_set_t *set, uint64_t version);
static void ngx_ws_bus_keys_free(ngx_ws_bus_jwk_set_t *set);
static void ngx_ws_bus_keys_schedule(ngx_ws_bus_keys_request_t *request);
static ngx_int_t ngx_ws_bus_keys_begin(ngx_ws_bus_keys_request_t *request,
    ngx_msec_t cooldown);
static void ngx_ws_bus_keys_answer(ngx_ws_bus_keys_call_t *call,
    ngx_uint_t status, ngx_str_t *body);
static const ngx_str_t *ngx_ws_bus_keys_take(
    ngx_ws_bus_keys_request_t *request, ngx_str_t *body);
static void ngx_ws_bus_keys_failed(ngx_ws_bus_keys_request_t *request,
    const ngx_str_t *reason);
static void ngx_ws_bus_keys_ended(ngx_ws_bus_keys_request_t *request);
static void ngx_ws_bus_keys_refresh_handler(ngx_event_t *ev);
static void ngx_ws_bus_keys_timeout_handler(ngx_event_t *ev);
static void ngx_ws_bus_keys_poll_handler(ngx_event_t *ev);
static void ngx_ws_bus_keys_wake_handler(ngx_event_t *ev);
static void ngx_ws_bus_keys_retire_handler(ngx_event_t *ev);


static const ngx_str_t  ngx_ws_bus_keys_no_answer = ngx_string("no answer");
static const ngx_str_t  ngx_ws_bus_keys_half = ngx_string("half an answer");
static const ngx_str_t  ngx_ws_bus_keys_late = ngx_string("timed out");
static const ngx_str_t  ngx_ws_bus_keys_no_memory = ngx_string("no memory");
static const ngx_str_t  ngx_ws_bus_keys_no_request =
    ngx_string("no request could be made");


char *
ngx_ws_bus_keys_request_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_int_t           ms;
    ngx_str_t          *value, s;
    ngx_ws_bus_keys_t  *keys;

    keys = ngx_ws_bus_keys_create(cf, cmd, conf);
    if (keys == NULL) {
        return NGX_CONF_ERROR;
    }

    if (keys->uri.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].data[0] != '/') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid URI \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    keys->uri = value[1];
    keys->valid = 300000;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "valid=", 6) != 0) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    s.len = value[2].len - 6;
    s.data = value[2].data + 6;

    ms = ngx_parse_time(&s, 0);

    if (ms == NGX_ERROR || ms < 1000) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    keys->valid = ms;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_ws_bus_keys_request_add(ngx_conf_t *cf, ngx_ws_bus_keys_t *keys)
{
    ngx_uint_t                   i;
    ngx_array_t                 *requests;
    ngx_http_core_srv_conf_t    *cscf;
    ngx_ws_bus_main_conf_t      *wmcf;
    ngx_ws_bus_keys_request_t   *request, **elts;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    requests = &wmcf->key_requests;
    elts = requests->elts;

    for (i = 0; i < requests->nelts; i++) {
        request = elts[i];

        if (request->cscf == cscf && request->uri.len == keys->uri.len
            && ngx_strncmp(request->uri.data, keys->uri.data, keys->uri.len)
               == 0)
        {
            request->valid = ngx_min(request->valid, keys->valid);
            keys->request = request;
            return NGX_OK;
        }
    }

    request = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_keys_request_t));
    elts = ngx_array_push(requests);

    if (request == NULL || elts == NULL) {
        return NGX_ERROR;
    }

    *elts = request;

    request->uri = keys->uri;
    request->valid = keys->valid;
    request->cscf = cscf;

    keys->request = request;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_keys_init(ngx_conf_t *cf)
{
    size_t                       size;
    ngx_str_t                    name;
    ngx_uint_t                   i;
    ngx_ws_bus_texts_t          *texts;
    ngx_ws_bus_main_conf_t      *wmcf;
    ngx_ws_bus_text_ref_t      **ref;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_ws_bus_keys_request_t  **request;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);
    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (wmcf->key_requests.nelts == 0) {
        return NGX_OK;
    }

    texts = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_texts_t));
    if (texts == NULL) {
        return NGX_ERROR;
    }

    if (ngx_array_init(&texts->wanted, cf->pool, wmcf->key_requests.nelts,
                       sizeof(ngx_ws_bus_text_ref_t *))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    request = wmcf->key_requests.elts;

    for (i = 0; i < wmcf->key_requests.nelts; i++) {
        ngx_ws_bus_keys_id(request[i], cmcf);

        ref = ngx_array_push(&texts->wanted);
        *ref = &request[i]->ref;

        request[i]->texts = texts;
    }

    texts->max = NGX_WS_BUS_JWK_TEXT_MAX;
    texts->n = wmcf->key_requests.nelts;

    size = ngx_ws_bus_texts_size(texts->max, &texts->n);

    ngx_str_set(&name, "ws_bus_jwt_keys");

    texts->shm_zone = ngx_shared_memory_add(cf, &name, size,
                                            &ngx_ws_bus_module);
    if (texts->shm_zone == NULL) {
        return NGX_ERROR;
    }

    texts->shm_zone->init = ngx_ws_bus_texts_init;
    texts->shm_zone->data = texts;

    return NGX_OK;
}


/*
 * Keys survive a reload for the same URI of the same server, which is known
 * by its addresses and names: what a server trusts must never become another
 * one's.
 */

static void
ngx_ws_bus_keys_id(ngx_ws_bus_keys_request_t *request,
    ngx_http_core_main_conf_t *cmcf)
{
    ngx_sha1_t                   sha1;
    ngx_uint_t                   i, k, n;
    ngx_http_conf_addr_t        *addr;
    ngx_http_conf_port_t        *port;
    ngx_http_server_name_t      *name;
    ngx_http_core_srv_conf_t   **cscf;

    ngx_sha1_init(&sha1);

    port = cmcf->ports ? cmcf->ports->elts : NULL;

    for (i = 0; port && i < cmcf->ports->nelts; i++) {
        addr = port[i].addrs.elts;

        for (k = 0; k < port[i].addrs.nelts; k++) {
            cscf = addr[k].servers.elts;

            for (n = 0; n < addr[k].servers.nelts; n++) {
                if (cscf[n] == request->cscf) {
                    ngx_sha1_update(&sha1, addr[k].opt.addr_text.data,
                                    addr[k].opt.addr_text.len);
                    ngx_sha1_update(&sha1, " ", 1);
                }
            }
        }
    }

    name = request->cscf->server_names.elts;

    for (i = 0; i < request->cscf->server_names.nelts; i++) {
        ngx_sha1_update(&sha1, name[i].name.data, name[i].name.len);
        ngx_sha1_update(&sha1, " ", 1);
    }

    ngx_sha1_update(&sha1, request->uri.data, request->uri.len);
    ngx_sha1_final(request->ref.id, &sha1);
}


ngx_int_t
ngx_ws_bus_keys_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i;
    ngx_ws_bus_main_conf_t      *wmcf;
    ngx_ws_bus_text_state_t      state;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_ws_bus_keys_request_t   *request, **elts;

    wmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_ws_bus_module);
    elts = wmcf->key_requests.elts;

    for (i = 0; i < wmcf->key_requests.nelts; i++) {
        request = elts[i];

        if (i == 0) {
            ngx_ws_bus_texts_enter(request->texts);
        }

        clcf = request->cscf->ctx->loc_conf[ngx_http_core_module.ctx_index];
        request->log = clcf->error_log ? clcf->error_log : cycle->log;

        ngx_queue_init(&request->waiters);

        request->call.handler = ngx_ws_bus_keys_answer;
        request->call.data = request;

        request->dumb.fd = (ngx_socket_t) -1;

        ngx_ws_bus_keys_event(request, &request->refresh,
                              ngx_ws_bus_keys_refresh_handler);
        ngx_ws_bus_keys_event(request, &request->timeout,
                              ngx_ws_bus_keys_timeout_handler);
        ngx_ws_bus_keys_event(request, &request->poll,
                              ngx_ws_bus_keys_poll_handler);
        ngx_ws_bus_keys_event(request, &request->wake,
                              ngx_ws_bus_keys_wake_handler);
        ngx_ws_bus_keys_event(request, &request->retire,
                              ngx_ws_bus_keys_retire_handler);

        if (ngx_array_init(&request->old, cycle->pool, 4,
                           sizeof(ngx_ws_bus_jwk_set_t *))
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        /* what somebody wanted before the reload is kept fresh after it */

        ngx_memzero(&state, sizeof(ngx_ws_bus_text_state_t));
        ngx_ws_bus_text_look(request->texts, &request->ref, &state);

        if (state.version) {
            ngx_add_timer(&request->refresh, 1 + ngx_random() % 200);
        }
    }

    return NGX_OK;
}


static void
ngx_ws_bus_keys_event(ngx_ws_bus_keys_request_t *request, ngx_event_t *ev,
    ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = request;
    ev->log = request->log;

    /* whoever waits is told before the process exits */
    ev->cancelable = (ev != &request->poll);
}


ngx_ws_bus_jwk_set_t *
ngx_ws_bus_keys_request_get(ngx_ws_bus_keys_request_t *request)
{
    ngx_ws_bus_text_state_t  state;

    if (request->log == NULL) {
        return NULL;
    }

    ngx_memzero(&state, sizeof(ngx_ws_bus_text_state_t));
    ngx_ws_bus_text_look(request->texts, &request->ref, &state);

    if (state.version > request->version) {
        ngx_ws_bus_keys_load(request, NULL);
    }

    if (state.version && !request->refresh.timer_set) {
        ngx_ws_bus_keys_schedule(request);
    }

    return request->set;
}


/*
 * The text has been looked at before: there are keys in it.
 */

static void
ngx_ws_bus_keys_load(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_jwk_skip_pt skip)
{
    u_char                *text;
    size_t                 len;
    uint64_t               version;
    const ngx_str_t       *reason;
    ngx_ws_bus_jwk_set_t  *set;

    text = ngx_alloc(NGX_WS_BUS_JWK_TEXT_MAX, request->log);
    if (text == NULL) {
        return;
    }

    len = ngx_ws_bus_text_copy(request->texts, &request->ref, text, &version);

    if (len) {
        set = ngx_ws_bus_keys_parse(request, text, len, skip, &reason);

        if (set) {
            ngx_ws_bus_keys_replace(request, set, version);
        }
    }

    ngx_free(text);
}


static ngx_ws_bus_jwk_set_t *
ngx_ws_bus_keys_parse(ngx_ws_bus_keys_request_t *request, u_char *text,
    size_t len, ngx_ws_bus_jwk_skip_pt skip, const ngx_str_t **reason)
{
    ngx_ws_bus_jwk_set_t          *set;
    const ngx_ws_bus_jwk_error_t  *error;

    set = ngx_calloc(sizeof(ngx_ws_bus_jwk_set_t), request->log);
    if (set == NULL) {
        *reason = &ngx_ws_bus_keys_no_memory;
        return NULL;
    }

    if (ngx_ws_bus_jwk_add(set, text, len, skip, request, &error) != NGX_OK) {
        ngx_free(set);
        *reason = &error->text;
        return NULL;
    }

    return set;
}


static void
ngx_ws_bus_keys_passed_over(void *data, ngx_uint_t n, const ngx_str_t *kid,
    const ngx_ws_bus_jwk_error_t *error)
{
    ngx_ws_bus_keys_request_t *request = data;

    u_char  buf[NGX_WS_BUS_JWK_KID_MAX];

    ngx_log_error(NGX_LOG_NOTICE, request->log, 0,
                  "ws_bus_jwt_key_request \"%V\": key %ui, kid \"%*s\", "
                  "is passed over: %V", &request->uri, n + 1,
                  ngx_ws_bus_keys_kid(buf, kid), buf, &error->text);
}


/*
 * Whoever has asked for the old keys may use them until the next turn of the
 * event loop.
 */

static void
ngx_ws_bus_keys_replace(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_jwk_set_t *set, uint64_t version)
{
    ngx_ws_bus_jwk_set_t  **old;

    if (request->set) {
        old = ngx_array_push(&request->old);

        if (old == NULL) {
            ngx_ws_bus_keys_free(set);
            return;
        }

        *old = request->set;

        if (!request->retire.posted) {
            ngx_post_event(&request->retire, &ngx_posted_next_events);
        }
    }

    request->set = set;
    request->version = version;
}


static void
ngx_ws_bus_keys_free(ngx_ws_bus_jwk_set_t *set)
{
    ngx_ws_bus_jwk_free(set);
    ngx_free(set);
}


static void
ngx_ws_bus_keys_retire_handler(ngx_event_t *ev)
{
    ngx_ws_bus_keys_request_t *request = ev->data;

    ngx_uint_t              i;
    ngx_ws_bus_jwk_set_t  **old;

    old = request->old.elts;

    for (i = 0; i < request->old.nelts; i++) {
        ngx_ws_bus_keys_free(old[i]);
    }

    request->old.nelts = 0;
}


/*
 * All processes look when the keys are due, none of them at the same moment.
 */

static void
ngx_ws_bus_keys_schedule(ngx_ws_bus_keys_request_t *request)
{
    uint64_t                 now;
    ngx_msec_t               delay;
    ngx_ws_bus_text_state_t  state;

    if (request->refresh.timer_set) {
        ngx_del_timer(&request->refresh);
    }

    if (ngx_exiting) {
        return;
    }

    ngx_memzero(&state, sizeof(ngx_ws_bus_text_state_t));
    ngx_ws_bus_text_look(request->texts, &request->ref, &state);

    now = ngx_ws_bus_time();

    /* what is due is another process's: perhaps it will be missed */

    if (state.fetching || state.next <= now) {
        delay = 1000;

    } else {
        delay = (state.next - now) / 1000;
    }

    ngx_add_timer(&request->refresh, delay + 1 + ngx_random() % 200);
}


static void
ngx_ws_bus_keys_refresh_handler(ngx_event_t *ev)
{
    ngx_ws_bus_keys_request_t *request = ev->data;

    if (ngx_exiting) {
        return;
    }

    (void) ngx_ws_bus_keys_begin(request, 0);

    ngx_ws_bus_keys_schedule(request);
}


/*
 * NGX_OK: this process has begun to fetch; NGX_AGAIN: it or another one is at
 * it; NGX_DECLINED: nobody is.
 */

static ngx_int_t
ngx_ws_bus_keys_begin(ngx_ws_bus_keys_request_t *request, ngx_msec_t cooldown)
{
    ngx_int_t  rc;

    if (request->call.connection) {
        return NGX_AGAIN;
    }

    /* the call has some time to be given up in */

    rc = ngx_ws_bus_text_begin(request->texts, &request->ref,
                          (uint64_t) (NGX_WS_BUS_KEYS_TIMEOUT + 5000) * 1000,
                          (uint64_t) cooldown * 1000);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_exiting) {
        ngx_ws_bus_text_release(request->texts, &request->ref);
        return NGX_DECLINED;
    }

    request->reason = &ngx_ws_bus_keys_no_answer;

    if (ngx_ws_bus_keys_call(&request->call, request->cscf, &request->uri)
        != NGX_OK)
    {
        ngx_ws_bus_keys_failed(request, &ngx_ws_bus_keys_no_request);
        return NGX_DECLINED;
    }

    ngx_add_timer(&request->timeout, NGX_WS_BUS_KEYS_TIMEOUT);

    return NGX_OK;
}


static void
ngx_ws_bus_keys_timeout_handler(ngx_event_t *ev)
{
    ngx_ws_bus_keys_request_t *request = ev->data;

    request->reason = &ngx_ws_bus_keys_late;

    ngx_ws_bus_keys_call_end(&request->call);
}


static void
ngx_ws_bus_keys_answer(ngx_ws_bus_keys_call_t *call, ngx_uint_t status,
    ngx_str_t *body)
{
    ngx_ws_bus_keys_request_t *request = call->data;

    u_char            buf[sizeof("status ") + NGX_INT_T_LEN];
    ngx_str_t         text;
    const ngx_str_t  *reason;

    if (request->timeout.timer_set) {
        ngx_del_timer(&request->timeout);
    }

    if (status == NGX_HTTP_OK) {
        reason = ngx_ws_bus_keys_take(request, body);

    } else if (status == NGX_HTTP_PARTIAL_CONTENT) {
        reason = &ngx_ws_bus_keys_half;

    } else if (status) {
        text.data = buf;
        text.len = ngx_sprintf(buf, "status %ui", status) - buf;
        reason = &text;

    } else {
        reason = request->reason;
    }

    if (status == 0 && ngx_exiting) {
        ngx_ws_bus_text_release(request->texts, &request->ref);

    } else if (reason) {
        ngx_ws_bus_keys_failed(request, reason);
    }

    ngx_ws_bus_keys_ended(request);
}


/*
 * Returns what is wrong with the answer, or NULL.
 */

static const ngx_str_t *
ngx_ws_bus_keys_take(ngx_ws_bus_keys_request_t *request, ngx_str_t *body)
{
    uint64_t               time;
    ngx_int_t              rc;
    ngx_uint_t             recovered;
    const ngx_str_t       *reason;
    ngx_ws_bus_jwk_set_t  *set;

    set = ngx_ws_bus_keys_parse(request, body->data, body->len, NULL, &reason);

    if (set == NULL) {
        return reason;
    }

    /* between 70 and 80 percent of the time */

    time = (uint64_t) request->valid * 1000;
    time = time / 100 * 70 + time / 1000 * (ngx_random() % 100);

    rc = ngx_ws_bus_text_set(request->texts, &request->ref, body->data,
                             body->len, time, &recovered);

    if (rc == NGX_DECLINED) {

        /* good enough for those who wait here */

        ngx_ws_bus_keys_replace(request, set, request->version);
        return NULL;
    }

    ngx_ws_bus_keys_free(set);

    if (rc == NGX_OK) {
        ngx_log_error(NGX_LOG_INFO, request->log, 0,
                      "ws_bus_jwt_key_request \"%V\": new keys",
                      &request->uri);

        /* what is passed over is told once, not with each fetch */

        ngx_ws_bus_keys_load(request, ngx_ws_bus_keys_passed_over);
    }

    if (recovered) {
        ngx_log_error(NGX_LOG_NOTICE, request->log, 0,
                      "ws_bus_jwt_key_request \"%V\" works again",
                      &request->uri);
    }

    return NULL;
}


static void
ngx_ws_bus_keys_failed(ngx_ws_bus_keys_request_t *request,
    const ngx_str_t *reason)
{
    ngx_uint_t  n;

    n = ngx_ws_bus_text_fail(request->texts, &request->ref);

    if (n != 1) {
        ngx_log_error(NGX_LOG_INFO, request->log, 0,
                      "ws_bus_jwt_key_request \"%V\" failed again: %V",
                      &request->uri, reason);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, request->log, 0,
                  "ws_bus_jwt_key_request \"%V\" failed: %V",
                  &request->uri, reason);
}


/*
 * A fetch has ended, of this process or of another one.
 */

static void
ngx_ws_bus_keys_ended(ngx_ws_bus_keys_request_t *request)
{
    if (!ngx_queue_empty(&request->waiters)) {
        ngx_post_event(&request->wake, &ngx_posted_events);
    }

    ngx_ws_bus_keys_schedule(request);
}


ngx_int_t
ngx_ws_bus_keys_request_fetch(ngx_ws_bus_keys_request_t *request,
    ngx_ws_bus_keys_wait_t *wait)
{
    ngx_int_t                rc;
    ngx_ws_bus_text_state_t  state;

    if (request->log == NULL) {
        return NGX_DECLINED;
    }

    ngx_memzero(&state, sizeof(ngx_ws_bus_text_state_t));
    ngx_ws_bus_text_look(request->texts, &request->ref, &state);

    rc = ngx_ws_bus_keys_begin(request, NGX_WS_BUS_KEYS_COOLDOWN);

    if (!request->refresh.timer_set) {
        ngx_ws_bus_keys_schedule(request);
    }

    if (rc == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    if (ngx_queue_empty(&request->waiters)) {
        request->answers = state.answers;
        ngx_add_timer(&request->poll, NGX_WS_BUS_KEYS_POLL);
    }

    ngx_queue_insert_tail(&request->waiters, &wait->queue);
    wait->waiting = 1;

    request->call.wanted = 1;

    return NGX_AGAIN;
}


/*
 * Somebody waits for another process, which may have been killed meanwhile.
 */

static void
ngx_ws_bus_keys_poll_handler(ngx_event_t *ev)
{
    ngx_ws_bus_keys_request_t *request = ev->data;

    ngx_ws_bus_text_state_t  state;

    if (ngx_queue_empty(&request->waiters)) {
        return;
    }

    ngx_memzero(&state, sizeof(ngx_ws_bus_text_state_t));
    ngx_ws_bus_text_look(request->texts, &request->ref, &state);

    if (state.answers == request->answers
        && (state.fetching
            || ngx_ws_bus_keys_begin(request, NGX_WS_BUS_KEYS_COOLDOWN)
               != NGX_DECLINED))
    {
        ngx_add_timer(ev, NGX_WS_BUS_KEYS_POLL);
        return;
    }

    ngx_ws_bus_keys_ended(request);
}


static void
ngx_ws_bus_keys_wake_handler(ngx_event_t *ev)
{
    ngx_ws_bus_keys_request_t *request = ev->data;

    ngx_queue_t             *q, waiters;
    ngx_ws_bus_keys_wait_t  *wait;

    if (ngx_queue_empty(&request->waiters)) {
        return;
    }

    if (request->poll.timer_set) {
        ngx_del_timer(&request->poll);
    }

    request->call.wanted = 0;

    /* those who begin to wait now wait for the next answer */

    ngx_queue_init(&waiters);
    ngx_queue_add(&waiters, &request->waiters);
    ngx_queue_init(&request->waiters);

    while (!ngx_queue_empty(&waiters)) {
        q = ngx_queue_head(&waiters);
        wait = ngx_queue_data(q, ngx_ws_bus_keys_wait_t, queue);

        ngx_ws_bus_keys_cancel(wait);
        wait->handler(wait);
    }
}
