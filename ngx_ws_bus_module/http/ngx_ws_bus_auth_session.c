
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_json.h"


/*
 * The life of a token on a connection: it comes with the first message, it is
 * replaced before it ends, and with it the connection ends.
 */


/*
 * What a session without a token, or one that waits for keys, needs.
 */

struct ngx_ws_bus_inband_s {
    ngx_ws_bus_keys_wait_t        wait;
    ngx_ws_bus_resume_t           resume;     /* of the handshake */
    ngx_msec_t                    deadline;   /* of the first message */

    ngx_str_t                     token;      /* waits; data NULL: none */
    ngx_str_t                     id;         /* of the request, behind it */
    ngx_str_t                     kept;       /* while s->joining */
};


static ngx_int_t ngx_ws_bus_auth_is_refresh(u_char *data, size_t len);
static ngx_int_t ngx_ws_bus_auth_try(ngx_ws_bus_session_t *s,
    const ngx_str_t *token, const ngx_str_t *id, ngx_uint_t fetched,
    ngx_ws_bus_auth_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_auth_hold(ngx_ws_bus_session_t *s,
    const ngx_str_t *token, const ngx_str_t *id);
static void ngx_ws_bus_auth_hold_handler(ngx_ws_bus_keys_wait_t *wait);
static ngx_ws_bus_inband_t *ngx_ws_bus_auth_inband(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_auth_accept(ngx_ws_bus_session_t *s,
    ngx_ws_bus_auth_t *auth, ngx_ws_bus_auth_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_auth_require(ngx_ws_bus_session_t *s,
    ngx_ws_bus_auth_refusal_t *refusal);
static ngx_int_t ngx_ws_bus_auth_same(ngx_ws_bus_auth_t *one,
    ngx_ws_bus_auth_t *two);
static void ngx_ws_bus_auth_accepted(ngx_ws_bus_session_t *s,
    const ngx_str_t *id);
static void ngx_ws_bus_auth_begin(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_auth_lost(ngx_ws_bus_session_t *s);
static void ngx_ws_bus_auth_warn(ngx_ws_bus_session_t *s);
static ngx_int_t ngx_ws_bus_auth_fail(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_auth_refusal_t *refusal);
static const ngx_ws_bus_message_error_t *ngx_ws_bus_auth_error(
    const ngx_ws_bus_auth_refusal_t *refusal);
static void ngx_ws_bus_auth_outcome(ngx_ws_bus_session_t *s,
    ngx_uint_t outcome);
static time_t ngx_ws_bus_auth_expires_in(ngx_ws_bus_auth_t *auth);


static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_first =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                     "the first message must be \"auth\"");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_late =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                     "not authenticated in time");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_waiting =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                     "another token is being verified");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_token =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                     "the token is not valid");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_expired =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                     "the token has expired");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_forbidden =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_FORBIDDEN,
                     "the token does not allow this");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_keys =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_TRY_LATER,
                     "tokens cannot be verified now");

static const ngx_ws_bus_error_t  ngx_ws_bus_auth_err_memory =
    ngx_ws_bus_error(NGX_WS_BUS_CLOSE_INTERNAL, "no memory");


static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_here = {
    ngx_string("not_available"), ngx_string("no tokens are used here")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_waiting = {
    ngx_string("unavailable"), ngx_string("another token is being verified")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_keys = {
    ngx_string("unavailable"), ngx_string("tokens cannot be verified now")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_expired = {
    ngx_string("unauthorized"), ngx_string("the token has expired")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_bad = {
    ngx_string("unauthorized"), ngx_string("the token is not valid")
};

static const ngx_ws_bus_message_error_t  ngx_ws_bus_auth_not_allowed = {
    ngx_string("forbidden"), ngx_string("the token does not allow this")
};


ngx_int_t
ngx_ws_bus_auth_defer(ngx_ws_bus_session_t *s, ngx_ws_bus_resume_t *resume)
{
    ngx_ws_bus_inband_t  *inband;

    inband = ngx_ws_bus_auth_inband(s);
    if (inband == NULL) {
        return NGX_ERROR;
    }

    inband->resume = *resume;
    inband->deadline = ngx_current_msec + s->conf->auth.timeout;

    s->pending = 1;
    s->message_max = NGX_WS_BUS_AUTH_MESSAGE_MAX;

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_auth_first(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len)
{
    ngx_int_t                          rc;
    ngx_ws_bus_request_t               q;
    ngx_ws_bus_auth_refusal_t          refusal;
    const ngx_ws_bus_message_error_t  *error;

    if (s->close_sent) {
        return NGX_OK;
    }

    if (s->inband->token.data
        || opcode != NGX_WS_BUS_OP_TEXT
        || ngx_ws_bus_message_parse(data, len, &q, &error) != NGX_OK
        || q.type != NGX_WS_BUS_REQUEST_AUTH)
    {
        ngx_ws_bus_auth_outcome(s, NGX_WS_BUS_AUTH_REJECTED_TOKEN);
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_auth_err_first);
        return NGX_ERROR;
    }

    rc = ngx_ws_bus_auth_try(s, &q.token, &q.id, 0, &refusal);

    return (rc == NGX_DECLINED) ? ngx_ws_bus_auth_fail(s, &refusal)
                                : NGX_OK;
}


ngx_int_t
ngx_ws_bus_auth_raw(ngx_ws_bus_session_t *s, u_char *data, size_t len)
{
    ngx_int_t                          rc;
    ngx_ws_bus_request_t               q;
    ngx_ws_bus_auth_refusal_t          refusal;
    const ngx_ws_bus_message_error_t  *error;

    if (ngx_ws_bus_auth_is_refresh(data, len) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (ngx_ws_bus_message_parse(data, len, &q, &error) != NGX_OK) {
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_auth_err_token);
        return NGX_ERROR;
    }

    if (s->inband && s->inband->token.data) {
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_auth_err_waiting);
        return NGX_ERROR;
    }

    rc = ngx_ws_bus_auth_try(s, &q.token, &q.id, 0, &refusal);

    return (rc == NGX_DECLINED) ? ngx_ws_bus_auth_fail(s, &refusal)
                                : NGX_OK;
}


/*
 * What is published must stay as it is, so nothing is unescaped here.
 */

static ngx_int_t
ngx_ws_bus_auth_is_refresh(u_char *data, size_t len)
{
    ngx_int_t                 rc;
    ngx_uint_t                found;
    ngx_ws_bus_json_object_t  o;

    /* every message comes here, and most are no objects */

    if (len == 0 || (data[0] != '{' && data[0] > ' ')) {
        return NGX_DECLINED;
    }

    if (len > NGX_WS_BUS_AUTH_MESSAGE_MAX
        || ngx_ws_bus_json_object(&o, data, len) != NGX_OK
        || memmem(data, len, "\"auth_refresh\"", 14) == NULL)
    {
        return NGX_DECLINED;
    }

    found = 0;

    for ( ;; ) {
        rc = ngx_ws_bus_json_next(&o);

        if (rc == NGX_DONE) {
            return found ? NGX_OK : NGX_DECLINED;
        }

        if (rc != NGX_OK) {
            return NGX_DECLINED;
        }

        if (o.type == NGX_WS_BUS_JSON_STRING
            && ngx_ws_bus_json_is(&o.key, (u_char *) "type", 4)
            && ngx_ws_bus_json_is(&o.value, (u_char *) "auth_refresh", 12))
        {
            found = 1;
        }
    }
}


const ngx_ws_bus_message_error_t *
ngx_ws_bus_auth_refresh(ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q)
{
    ngx_ws_bus_auth_refusal_t  refusal;

    if (s->auth == NULL) {
        return &ngx_ws_bus_auth_here;
    }

    if (s->inband && s->inband->token.data) {
        return &ngx_ws_bus_auth_waiting;
    }

    if (ngx_ws_bus_auth_try(s, &q->token, &q->id, 0, &refusal)
        == NGX_DECLINED)
    {
        ngx_ws_bus_auth_refuse_session(s, &refusal);
        return ngx_ws_bus_auth_error(&refusal);
    }

    return NULL;
}


/*
 * NGX_OK: accepted, perhaps not yet, or the session has been closed for lack
 * of memory; NGX_DECLINED with *refusal.
 */

static ngx_int_t
ngx_ws_bus_auth_try(ngx_ws_bus_session_t *s, const ngx_str_t *token,
    const ngx_str_t *id, ngx_uint_t fetched,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t           rc;
    ngx_ws_bus_auth_t  *auth;

    rc = ngx_ws_bus_auth_verify(s->conf, token, s->connection->log, &auth,
                                refusal);

    if (rc == NGX_AGAIN) {
        rc = fetched ? NGX_DECLINED : ngx_ws_bus_auth_hold(s, token, id);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_ws_bus_auth_accept(s, auth, refusal);
    }

    switch (rc) {

    case NGX_OK:
        ngx_ws_bus_auth_accepted(s, id);
        return NGX_OK;

    case NGX_DECLINED:
        return NGX_DECLINED;

    default: /* NGX_ERROR */
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return NGX_OK;
    }
}


/*
 * Keeps a token until there are newer keys.  NGX_AGAIN, NGX_DECLINED if none
 * can be asked for, or NGX_ERROR.
 */

static ngx_int_t
ngx_ws_bus_auth_hold(ngx_ws_bus_session_t *s, const ngx_str_t *token,
    const ngx_str_t *id)
{
    u_char               *p;
    ngx_ws_bus_inband_t  *inband;

    inband = ngx_ws_bus_auth_inband(s);
    p = ngx_alloc(token->len + id->len + 1, s->connection->log);

    if (inband == NULL || p == NULL) {

        if (p) {
            ngx_free(p);
        }

        return NGX_ERROR;
    }

    inband->wait.handler = ngx_ws_bus_auth_hold_handler;
    inband->wait.data = s;

    if (ngx_ws_bus_keys_fetch(s->conf->keys, &inband->wait) != NGX_AGAIN) {
        ngx_free(p);
        return NGX_DECLINED;
    }

    inband->token.data = p;
    inband->token.len = token->len;
    p = ngx_cpymem(p, token->data, token->len);

    inband->id.data = p;
    inband->id.len = id->len;

    if (id->len) {
        ngx_memcpy(p, id->data, id->len);
    }

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, s->connection->log, 0,
                   "ws bus token waits for keys");

    return NGX_AGAIN;
}


static void
ngx_ws_bus_auth_hold_handler(ngx_ws_bus_keys_wait_t *wait)
{
    u_char                             buf[NGX_WS_BUS_MESSAGE_MAX], *last;
    ngx_int_t                          rc;
    ngx_str_t                          token, id;
    ngx_ws_bus_session_t              *s;
    ngx_ws_bus_auth_refusal_t          refusal;
    const ngx_ws_bus_message_error_t  *error;

    s = wait->data;

    token = s->inband->token;
    id = s->inband->id;
    ngx_str_null(&s->inband->token);

    rc = NGX_OK;

    if (!s->close_sent && !s->broken) {
        s->hub->now = 0;
        rc = ngx_ws_bus_auth_try(s, &token, &id, 1, &refusal);
    }

    if (rc == NGX_DECLINED) {

        if (s->pending || s->protocol == &ngx_ws_bus_raw) {
            (void) ngx_ws_bus_auth_fail(s, &refusal);

        } else {
            ngx_ws_bus_auth_refuse_session(s, &refusal);

            error = ngx_ws_bus_auth_error(&refusal);
            last = ngx_ws_bus_message_error(buf, &id, error);
            ngx_ws_bus_out_reply(s, buf, last - buf);
        }
    }

    ngx_free(token.data);
}


static ngx_ws_bus_inband_t *
ngx_ws_bus_auth_inband(ngx_ws_bus_session_t *s)
{
    if (s->inband == NULL) {
        s->inband = ngx_calloc(sizeof(ngx_ws_bus_inband_t),
                               s->connection->log);
    }

    return s->inband;
}


/*
 * A token that is good by itself, for this session; on NGX_OK it is the
 * session's, else it is freed and the session has what it had.
 */

static ngx_int_t
ngx_ws_bus_auth_accept(ngx_ws_bus_session_t *s, ngx_ws_bus_auth_t *auth,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t           rc;
    ngx_ws_bus_auth_t  *old;
    old = s->auth;

    if (old && ngx_ws_bus_auth_same(old, auth) != NGX_OK) {
        ngx_ws_bus_auth_other(refusal);
        ngx_ws_bus_auth_free(auth);
        return NGX_DECLINED;
    }

    rc = NGX_OK;

    if (s->request) {

        /* variables are about the token of the session */

        s->auth = auth;
        rc = ngx_ws_bus_auth_require(s, refusal);

        if (rc == NGX_OK && s->pending && s->conf->channel) {
            rc = ngx_ws_bus_channel_name(s->request, &s->channel);

            if (rc == NGX_DECLINED) {
                ngx_ws_bus_auth_forbidden(refusal, "it names no channel");
            }
        }

        s->auth = old;
    }

    if (rc == NGX_OK && old == NULL && s->channel.len
        && !ngx_ws_bus_auth_may_subscribe(auth, &s->channel))
    {
        ngx_ws_bus_auth_forbidden(refusal, "it does not grant the channel");
        rc = NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        ngx_ws_bus_auth_free(auth);
        return rc;
    }

    ngx_ws_bus_auth_set(s, auth);

    return NGX_OK;
}


/*
 * There may be any number of tokens in a connection's life.
 */

static ngx_int_t
ngx_ws_bus_auth_require(ngx_ws_bus_session_t *s,
    ngx_ws_bus_auth_refusal_t *refusal)
{
    ngx_int_t           rc;
    ngx_http_request_t  copy;

    if (s->conf->auth.require == NULL) {
        return NGX_OK;
    }

    if (ngx_ws_bus_ctx_lend(s->request, &copy) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_ws_bus_auth_required(&copy, s->conf, refusal);

    ngx_ws_bus_ctx_return(s->request, &copy);

    return rc;
}


static ngx_int_t
ngx_ws_bus_auth_same(ngx_ws_bus_auth_t *one, ngx_ws_bus_auth_t *two)
{
    ngx_str_t  *a, *b;

    a = &one->jwt.sub;
    b = &two->jwt.sub;

    if ((a->data == NULL) != (b->data == NULL) || a->len != b->len) {
        return NGX_DECLINED;
    }

    return (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0)
           ? NGX_OK : NGX_DECLINED;
}


static void
ngx_ws_bus_auth_accepted(ngx_ws_bus_session_t *s, const ngx_str_t *id)
{
    u_char  buf[NGX_WS_BUS_MESSAGE_MAX], *last;

    ngx_ws_bus_auth_outcome(s, NGX_WS_BUS_AUTH_PASSED);

    ngx_ws_bus_audit(s->request, s->pending ? NGX_WS_BUS_EVENT_AUTH
                                            : NGX_WS_BUS_EVENT_REFRESH,
                     NULL, 0, NULL, 0);

    last = ngx_ws_bus_message_auth_ok(buf, id,
                                      ngx_ws_bus_auth_expires_in(s->auth));
    ngx_ws_bus_out_reply(s, buf, last - buf);

    if (s->pending) {
        ngx_ws_bus_auth_begin(s);

    } else {
        ngx_ws_bus_auth_lost(s);
    }

    if (s->started && !s->close_sent && !s->broken) {
        ngx_ws_bus_session_set_timer(s);
    }
}


/*
 * What a handshake with a token would have done.
 */

static void
ngx_ws_bus_auth_begin(ngx_ws_bus_session_t *s)
{
    ngx_int_t          rc;
    ngx_ws_bus_view_t  view;

    s->pending = 0;

    rc = ngx_ws_bus_session_begin(s, &s->inband->resume, &view);

    if (rc == NGX_AGAIN) {

        /* nothing is read from the client until the channel is there */

        s->joining = 1;
        return;
    }

    if (rc == NGX_DECLINED) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER,
                                 "the bus is full");
        return;
    }

    if (rc != NGX_OK) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL, "no memory");
        return;
    }

    /* a replay begins, and perhaps the request is let go */

    ngx_post_event(s->connection->write, &ngx_posted_events);
}


void
ngx_ws_bus_auth_joined(ngx_ws_bus_session_t *s, ngx_int_t rc)
{
    ngx_ws_bus_view_t  view;

    s->joining = 0;

    if (s->close_sent || s->broken) {

        /* it ends without having begun */

    } else if (rc != NGX_OK) {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_TRY_LATER,
                                 "the bus is not available");

    } else {
        ngx_ws_bus_session_subscribed(s, &s->sub, &view);

        if (ngx_ws_bus_session_begun(s, &s->inband->resume, &view) != NGX_OK) {
            ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_INTERNAL,
                                     "no memory");
        }
    }

    ngx_post_event(s->connection->read, &ngx_posted_events);
    ngx_post_event(s->connection->write, &ngx_posted_events);
}


ngx_int_t
ngx_ws_bus_auth_keep(ngx_ws_bus_session_t *s, u_char *pos, u_char *last)
{
    ngx_str_t  *kept;

    kept = &s->inband->kept;

    kept->len = last - pos;
    kept->data = ngx_alloc(kept->len, s->connection->log);

    if (kept->data == NULL) {
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_auth_err_memory);
        return NGX_ERROR;
    }

    ngx_memcpy(kept->data, pos, kept->len);

    return NGX_AGAIN;
}


ngx_int_t
ngx_ws_bus_auth_kept(ngx_ws_bus_session_t *s)
{
    ngx_int_t  rc;
    ngx_str_t  kept;

    if (s->inband == NULL || s->inband->kept.data == NULL) {
        return NGX_DECLINED;
    }

    kept = s->inband->kept;
    ngx_str_null(&s->inband->kept);

    rc = ngx_ws_bus_input(s, kept.data, kept.data + kept.len);

    ngx_free(kept.data);

    return rc;
}


/*
 * New grants hold at once.
 */

static void
ngx_ws_bus_auth_lost(ngx_ws_bus_session_t *s)
{
    if (s->auth->grants == NULL) {
        return;
    }

    if ((s->sub.group
         && !ngx_ws_bus_auth_may_subscribe(s->auth, &s->channel))
        || (s->v1 && !ngx_ws_bus_v1_granted(s)))
    {
        ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_FORBIDDEN,
                                 "a channel is not granted any more");
    }
}


ngx_msec_int_t
ngx_ws_bus_auth_left(ngx_ws_bus_session_t *s)
{
    int64_t             left;
    ngx_ws_bus_auth_t  *auth;

    if (s->pending) {
        return (ngx_msec_int_t) (s->inband->deadline - ngx_current_msec);
    }

    auth = s->auth;

    if (auth == NULL || auth->jwt.exp == 0) {
        return NGX_WS_BUS_AUTH_NEVER;
    }

    left = auth->warn_at ? auth->warn_at
                         : (auth->jwt.exp + s->conf->auth.leeway) * 1000;
    left -= ngx_ws_bus_auth_now();

    return (ngx_msec_int_t) ngx_min(ngx_max(left, 0), NGX_WS_BUS_AUTH_NEVER);
}


ngx_msec_t
ngx_ws_bus_auth_deadline(ngx_ws_bus_session_t *s, ngx_msec_t deadline)
{
    ngx_msec_int_t  left;

    left = (ngx_msec_int_t) (s->inband->deadline - deadline);

    return left < 0 ? s->inband->deadline : deadline;
}


void
ngx_ws_bus_auth_tick(ngx_ws_bus_session_t *s)
{
    if (ngx_ws_bus_auth_left(s) > 0) {
        return;
    }

    if (s->pending) {
        ngx_ws_bus_auth_outcome(s, NGX_WS_BUS_AUTH_REJECTED_TOKEN);
        ngx_ws_bus_auth_refuse_session(s, &ngx_ws_bus_auth_missing);
        ngx_ws_bus_session_fail(s, &ngx_ws_bus_auth_err_late);
        return;
    }

    if (s->auth->warn_at) {
        ngx_ws_bus_auth_warn(s);

        if (ngx_ws_bus_auth_left(s) > 0) {
            return;
        }
    }

    ngx_ws_bus_auth_outcome(s, NGX_WS_BUS_AUTH_EXPIRED);
    ngx_ws_bus_session_close(s, NGX_WS_BUS_CLOSE_UNAUTHORIZED,
                             "token expired");
}


static void
ngx_ws_bus_auth_warn(ngx_ws_bus_session_t *s)
{
    u_char  buf[NGX_WS_BUS_MESSAGE_MAX], *last;

    s->auth->warn_at = 0;

    last = ngx_ws_bus_message_auth_required(buf,
                                         ngx_ws_bus_auth_expires_in(s->auth));
    ngx_ws_bus_out_reply(s, buf, last - buf);
}


void
ngx_ws_bus_auth_leave(ngx_ws_bus_session_t *s)
{
    ngx_ws_bus_auth_free(s->auth);
    s->auth = NULL;

    if (s->inband == NULL) {
        return;
    }

    ngx_ws_bus_keys_cancel(&s->inband->wait);

    if (s->inband->token.data) {
        ngx_free(s->inband->token.data);
    }

    if (s->inband->kept.data) {
        ngx_free(s->inband->kept.data);
    }

    ngx_free(s->inband);
    s->inband = NULL;
}


/*
 * There is no error message in raw mode, nor before the first token: Close.
 */

static ngx_int_t
ngx_ws_bus_auth_fail(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_auth_refusal_t *refusal)
{
    const ngx_ws_bus_error_t  *error;

    ngx_ws_bus_auth_refuse_session(s, refusal);

    switch (refusal->status) {

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        error = &ngx_ws_bus_auth_err_keys;
        break;

    case NGX_HTTP_FORBIDDEN:
        error = &ngx_ws_bus_auth_err_forbidden;
        break;

    default: /* NGX_HTTP_UNAUTHORIZED */
        error = (refusal->outcome == NGX_WS_BUS_AUTH_EXPIRED)
                ? &ngx_ws_bus_auth_err_expired : &ngx_ws_bus_auth_err_token;
        break;
    }

    ngx_ws_bus_auth_outcome(s, refusal->outcome);
    ngx_ws_bus_session_fail(s, error);

    return NGX_ERROR;
}


static const ngx_ws_bus_message_error_t *
ngx_ws_bus_auth_error(const ngx_ws_bus_auth_refusal_t *refusal)
{
    switch (refusal->status) {

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return &ngx_ws_bus_auth_keys;

    case NGX_HTTP_FORBIDDEN:
        return &ngx_ws_bus_auth_not_allowed;

    default: /* NGX_HTTP_UNAUTHORIZED */
        return (refusal->outcome == NGX_WS_BUS_AUTH_EXPIRED)
               ? &ngx_ws_bus_auth_expired : &ngx_ws_bus_auth_bad;
    }
}


static void
ngx_ws_bus_auth_outcome(ngx_ws_bus_session_t *s, ngx_uint_t outcome)
{
    ngx_ws_bus_ctx_t  *ctx;

    if (s->request == NULL) {
        return;
    }

    ctx = ngx_ws_bus_ctx_find(s->request);

    if (ctx) {
        ctx->outcome = outcome;
    }
}


static time_t
ngx_ws_bus_auth_expires_in(ngx_ws_bus_auth_t *auth)
{
    if (auth->jwt.exp == 0) {
        return -1;
    }

    return (time_t) ngx_max(auth->jwt.exp - (int64_t) ngx_time(), 0);
}
