
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"


static ngx_int_t ngx_ws_bus_variable_channel(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_protocol(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_counter(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_close_code(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_close_by(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_limit(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_event(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_event_channel(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_event_bytes(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_ws_bus_variable_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uint64_t n);


static ngx_http_variable_t  ngx_ws_bus_variables[] = {

    { ngx_string("ws_bus_channel"), NULL, ngx_ws_bus_variable_channel,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_protocol"), NULL, ngx_ws_bus_variable_protocol,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_subject"), NULL, ngx_ws_bus_auth_variable_subject,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_claim_"), NULL, ngx_ws_bus_auth_variable_claim,
      0, NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

    { ngx_string("ws_bus_auth"), NULL, ngx_ws_bus_auth_variable_outcome,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_messages_in"), NULL, ngx_ws_bus_variable_counter,
      offsetof(ngx_ws_bus_session_t, messages_in),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_messages_out"), NULL, ngx_ws_bus_variable_counter,
      offsetof(ngx_ws_bus_session_t, messages_out),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_bytes_in"), NULL, ngx_ws_bus_variable_counter,
      offsetof(ngx_ws_bus_session_t, bytes_in),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_bytes_out"), NULL, ngx_ws_bus_variable_counter,
      offsetof(ngx_ws_bus_session_t, bytes_out),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_dropped"), NULL, ngx_ws_bus_variable_counter,
      offsetof(ngx_ws_bus_session_t, dropped),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_limit"), NULL, ngx_ws_bus_variable_limit,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_close_code"), NULL, ngx_ws_bus_variable_close_code,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_close_by"), NULL, ngx_ws_bus_variable_close_by,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_event"), NULL, ngx_ws_bus_variable_event,
      offsetof(ngx_ws_bus_event_t, name), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_event_channel"), NULL,
      ngx_ws_bus_variable_event_channel, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_reason"), NULL, ngx_ws_bus_variable_event,
      offsetof(ngx_ws_bus_event_t, reason), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("ws_bus_event_bytes"), NULL, ngx_ws_bus_variable_event_bytes,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_ws_bus_variables_add(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_ws_bus_variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_channel(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               channel;
    ngx_ws_bus_session_t   *s;
    ngx_ws_bus_loc_conf_t  *wlcf;

    s = ngx_ws_bus_ctx_session(r);

    if (s) {
        ngx_ws_bus_variable_string(v, &s->channel);
        return NGX_OK;
    }

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (wlcf->channel == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, wlcf->channel, &channel) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_ws_bus_variable_string(v, &channel);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_protocol(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_session_t  *s;

    s = ngx_ws_bus_ctx_session(r);

    if (s == NULL || s->protocol == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_ws_bus_variable_string(v, &s->protocol->name);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_counter(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_session_t  *s;

    s = ngx_ws_bus_ctx_session(r);

    if (s == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_ws_bus_variable_number(r, v,
                                      *(uint64_t *) ((u_char *) s + data));
}


static ngx_int_t
ngx_ws_bus_variable_close_code(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_session_t  *s;

    s = ngx_ws_bus_ctx_session(r);

    if (s == NULL || s->close_code == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_ws_bus_variable_number(r, v, s->close_code);
}


static ngx_int_t
ngx_ws_bus_variable_close_by(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_ws_bus_session_t  *s;

    static const ngx_str_t  client = ngx_string("client");
    static const ngx_str_t  server = ngx_string("server");

    s = ngx_ws_bus_ctx_session(r);

    if (s == NULL || s->close_code == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_ws_bus_variable_string(v, s->by_client ? &client : &server);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_limit(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t              value;
    const char            *outcome;
    ngx_ws_bus_session_t  *s;

    s = ngx_ws_bus_ctx_session(r);

    outcome = s ? ngx_ws_bus_limit_outcome(s) : NULL;

    if (outcome == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    value.data = (u_char *) outcome;
    value.len = ngx_strlen(outcome);

    ngx_ws_bus_variable_string(v, &value);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_event(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const ngx_str_t           *value;
    const ngx_ws_bus_event_t  *event;

    event = ngx_ws_bus_audit_event();

    if (event) {
        value = (const ngx_str_t *) ((const u_char *) event + data);

        if (value->len) {
            ngx_ws_bus_variable_string(v, value);
            return NGX_OK;
        }
    }

    v->not_found = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_event_channel(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const ngx_ws_bus_event_t  *event;

    event = ngx_ws_bus_audit_event();

    if (event == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (event->channel.len == 0) {
        return ngx_ws_bus_variable_channel(r, v, data);
    }

    ngx_ws_bus_variable_string(v, &event->channel);

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_variable_event_bytes(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const ngx_ws_bus_event_t  *event;

    event = ngx_ws_bus_audit_event();

    if (event == NULL || !event->sized) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_ws_bus_variable_number(r, v, event->bytes);
}


static ngx_int_t
ngx_ws_bus_variable_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uint64_t n)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%uL", n) - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


void
ngx_ws_bus_variable_string(ngx_http_variable_value_t *v,
    const ngx_str_t *value)
{
    v->len = value->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = value->data;
}
