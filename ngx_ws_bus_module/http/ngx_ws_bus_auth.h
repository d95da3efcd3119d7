
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_AUTH_H_INCLUDED_
#define _NGX_WS_BUS_AUTH_H_INCLUDED_


#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_jwt.h"
#include "ngx_ws_bus_keys.h"


/* an "auth" with the largest token, its names and an id */
#define NGX_WS_BUS_AUTH_MESSAGE_MAX  (NGX_WS_BUS_JWT_MAX + 1024)

/* milliseconds; then it is looked again */
#define NGX_WS_BUS_AUTH_NEVER        3600000

/* a token among the subprotocols offered */
#define NGX_WS_BUS_AUTH_BEARER_LEN  (sizeof("bearer.") - 1)

#define ngx_ws_bus_auth_is_bearer(token)                                      \
    ((token)->len > NGX_WS_BUS_AUTH_BEARER_LEN                                \
     && ngx_strncmp((token)->data, "bearer.", NGX_WS_BUS_AUTH_BEARER_LEN) == 0)


/*
 * What came of the gates, for $ws_bus_auth.
 */

typedef enum {
    NGX_WS_BUS_AUTH_NONE = 0,         /* no gate was in play */
    NGX_WS_BUS_AUTH_PASSED,
    NGX_WS_BUS_AUTH_REJECTED_ORIGIN,
    NGX_WS_BUS_AUTH_REJECTED_TOKEN,
    NGX_WS_BUS_AUTH_REJECTED_CLAIM,
    NGX_WS_BUS_AUTH_EXPIRED
} ngx_ws_bus_auth_outcome_e;


/*
 * A good token, in memory of its own.  It has one owner at a time: the
 * context of a request from the access phase on, then the session that is
 * made for the request, in s->auth.  A newer token of the session's replaces
 * it; whoever keeps a pointer keeps it no longer than a call.
 */

struct ngx_ws_bus_auth_s {
    ngx_queue_t                  queue;      /* of the worker's sessions */
    ngx_ws_bus_session_t        *session;    /* NULL: a request's */

    ngx_ws_bus_jwt_t             jwt;        /* claims, sub, jti, exp, iat */
    ngx_ws_bus_jwt_grants_t     *grants;     /* NULL: ws_bus_jwt_grants off */

    int64_t                      warn_at;    /* milliseconds; 0: not again */
};


/*
 * Why a token is refused: "outcome" and, for the log, "text"; "description"
 * is what a client may know.
 */

typedef struct {
    ngx_uint_t                   outcome;    /* ngx_ws_bus_auth_outcome_e */
    ngx_uint_t                   status;     /* 400, 401, 403 or 503 */
    ngx_str_t                    text;
    const char                  *error;      /* RFC 6750, 3.1; NULL: none */
    const char                  *description;
} ngx_ws_bus_auth_refusal_t;


extern const ngx_ws_bus_auth_refusal_t  ngx_ws_bus_auth_missing;


/*
 * The directives about tokens, http/ngx_ws_bus_auth_conf.c.  "list" is a list
 * of strings at cmd->offset.
 */
char *ngx_ws_bus_jwt_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_jwt_algorithms_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_jwt_list_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_jwt_require_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_jwt_grants_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_jwt_claim_set_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_ws_bus_auth_timeout_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * What is wrong with a location, when all of it is known.
 */
char *ngx_ws_bus_auth_conf_check(ngx_conf_t *cf, ngx_ws_bus_loc_conf_t *wlcf);

/*
 * Variables, http/ngx_ws_bus_auth_variables.c: of ws_bus_jwt_claim_set, with
 * an array of names for data; $ws_bus_claim_NAME; $ws_bus_subject;
 * $ws_bus_auth.
 */
ngx_int_t ngx_ws_bus_auth_variable_claim_set(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_ws_bus_auth_variable_claim(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_ws_bus_auth_variable_subject(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_ws_bus_auth_variable_outcome(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/*
 * The access phase handler of all locations of the module.
 */
ngx_int_t ngx_ws_bus_auth_handler(ngx_http_request_t *r);

/*
 * Verifies a token as the location wants it, but for ws_bus_jwt_require; the
 * time is now.  Every token comes through here, of a request and of a
 * session; it is the place to refuse a good one, as a revoked one.
 *
 * NGX_OK        *auth is the caller's to ngx_ws_bus_auth_free()
 * NGX_AGAIN     newer keys may help: the caller may ask for them, and then
 *               try again
 * NGX_DECLINED  *refusal says why
 * NGX_ERROR     no memory
 */
ngx_int_t ngx_ws_bus_auth_verify(ngx_ws_bus_loc_conf_t *conf,
    const ngx_str_t *token, ngx_log_t *log, ngx_ws_bus_auth_t **auth,
    ngx_ws_bus_auth_refusal_t *refusal);

/*
 * Applies ws_bus_jwt_require: evaluates its values for a request that has the
 * token already, in its context or its session's.  NGX_OK, NGX_DECLINED with
 * *refusal, or NGX_ERROR.
 */
ngx_int_t ngx_ws_bus_auth_required(ngx_http_request_t *r,
    ngx_ws_bus_loc_conf_t *conf, ngx_ws_bus_auth_refusal_t *refusal);

/*
 * A refusal with 403, for this reason.
 */
void ngx_ws_bus_auth_forbidden(ngx_ws_bus_auth_refusal_t *refusal,
    const char *text);

/*
 * A refusal with 401, since the token is not of the session's subject.
 */
void ngx_ws_bus_auth_other(ngx_ws_bus_auth_refusal_t *refusal);

/*
 * Logs and counts a refusal, of a request's token or of a session's.
 */
void ngx_ws_bus_auth_refuse(ngx_http_request_t *r,
    const ngx_ws_bus_auth_refusal_t *refusal);
void ngx_ws_bus_auth_refuse_session(ngx_ws_bus_session_t *s,
    const ngx_ws_bus_auth_refusal_t *refusal);

/*
 * Revocation, http/ngx_ws_bus_auth_revoke.c.
 *
 * Revokes what the request's arguments "sub" or "jti" say.  NGX_DECLINED if
 * there is neither; else the result of the request.
 */
ngx_int_t ngx_ws_bus_auth_revoke(ngx_http_request_t *r);

/*
 * At the start of a worker process, for each zone: sessions whose tokens are
 * revoked are closed from then on.
 */
void ngx_ws_bus_auth_revoke_init(ngx_ws_bus_zone_t *zone);

/*
 * 1 if the zone knows the token as revoked.
 */
ngx_uint_t ngx_ws_bus_auth_revoked(ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_jwt_t *jwt);

/*
 * The session has a new token, which may have been revoked since it was
 * verified: then the session is closed in an event later on.
 */
void ngx_ws_bus_auth_revoke_check(ngx_ws_bus_session_t *s);

/*
 * Gives the session a token, in place of the one that it may have; it is in
 * the worker's queue from then on.
 */
void ngx_ws_bus_auth_set(ngx_ws_bus_session_t *s, ngx_ws_bus_auth_t *auth);

/*
 * Keeps in the session what follows from its token, for every message; the
 * channel, the protocol and "publish" are known.
 */
void ngx_ws_bus_auth_apply(ngx_ws_bus_session_t *s);

/*
 * The time of day, in milliseconds.
 */
int64_t ngx_ws_bus_auth_now(void);

/*
 * Frees a token, which leaves the queue; NULL is nothing.
 */
void ngx_ws_bus_auth_free(ngx_ws_bus_auth_t *auth);

/*
 * The context's request ends: nothing is waited for, and a token that no
 * session has taken is freed.
 */
void ngx_ws_bus_auth_release(ngx_ws_bus_ctx_t *ctx);

/*
 * 1 if messages about tokens may come in raw mode, else 0.
 */
#define ngx_ws_bus_auth_is_refreshable(s)                                     \
    ((s)->auth != NULL && (s)->auth->jwt.exp != 0)

/*
 * Tokens of sessions, http/ngx_ws_bus_auth_session.c.
 *
 * The handshake had no token: the session begins with its first message.
 * NGX_OK, or NGX_ERROR without memory.
 */
ngx_int_t ngx_ws_bus_auth_defer(ngx_ws_bus_session_t *s,
    ngx_ws_bus_resume_t *resume);

/*
 * A message to a session without a token, s->pending.  NGX_OK, or NGX_ERROR
 * if the session has been closed.
 */
ngx_int_t ngx_ws_bus_auth_first(ngx_ws_bus_session_t *s, ngx_uint_t opcode,
    u_char *data, size_t len);

/*
 * While the channel of a token is waited for, s->joining: keeps what came
 * behind the token.  NGX_AGAIN, or NGX_ERROR if the session has been closed.
 */
ngx_int_t ngx_ws_bus_auth_keep(ngx_ws_bus_session_t *s, u_char *pos,
    u_char *last);

/*
 * Handles what has been kept.  Returns as ngx_ws_bus_input(), or NGX_DECLINED
 * if there is nothing.
 */
ngx_int_t ngx_ws_bus_auth_kept(ngx_ws_bus_session_t *s);

/*
 * A text message in raw mode, where the token can be refreshed.
 *
 * NGX_OK        it had a token
 * NGX_ERROR     so it had, and the session has been closed
 * NGX_DECLINED  it is to be published, as it is
 */
ngx_int_t ngx_ws_bus_auth_raw(ngx_ws_bus_session_t *s, u_char *data,
    size_t len);

/*
 * "auth" or "auth_refresh" in JSON.  NULL, or the error to be answered.
 */
const ngx_ws_bus_message_error_t *ngx_ws_bus_auth_refresh(
    ngx_ws_bus_session_t *s, ngx_ws_bus_request_t *q);

/*
 * Milliseconds until ngx_ws_bus_auth_tick() is to be called, which warns,
 * or closes the session; for the session's one timer.
 */
ngx_msec_int_t ngx_ws_bus_auth_left(ngx_ws_bus_session_t *s);
void ngx_ws_bus_auth_tick(ngx_ws_bus_session_t *s);

/*
 * When a session without a token, s->pending, has to be gone: a client that
 * has shown nothing is not waited for, after a Close either.  Milliseconds,
 * as ngx_current_msec; no later than the argument.
 */
ngx_msec_t ngx_ws_bus_auth_deadline(ngx_ws_bus_session_t *s,
    ngx_msec_t deadline);

/*
 * Frees whatever the session has of tokens.
 */
void ngx_ws_bus_auth_leave(ngx_ws_bus_session_t *s);

/*
 * The tokens of all sessions of this worker, by auth->queue; of any zone: it
 * is auth->session->hub.  A session may be closed while the queue is walked
 * (ngx_ws_bus_session_close(), with NGX_WS_BUS_CLOSE_UNAUTHORIZED): it leaves
 * the queue in an event of its own.
 */
ngx_queue_t *ngx_ws_bus_auth_sessions(void);

/*
 * The token of a request, or of its session, to read claims from; NULL if
 * there is none.
 */
ngx_ws_bus_auth_t *ngx_ws_bus_auth_get(ngx_http_request_t *r);

/*
 * 1 if the token grants the channel, or grants are off here; else 0.  A
 * client that another gate let in without a token ("satisfy any"), auth NULL,
 * is not bound by grants.
 */
ngx_uint_t ngx_ws_bus_auth_may_subscribe(const ngx_ws_bus_auth_t *auth,
    const ngx_str_t *channel);
ngx_uint_t ngx_ws_bus_auth_may_publish(const ngx_ws_bus_auth_t *auth,
    const ngx_str_t *channel);


#endif /* _NGX_WS_BUS_AUTH_H_INCLUDED_ */
