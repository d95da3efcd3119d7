
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_JWT_H_INCLUDED_
#define _NGX_WS_BUS_JWT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_ws_bus_jose.h"
#include "ngx_ws_bus_jwk.h"


#define NGX_WS_BUS_JWT_MAX         16384   /* bytes of a token */
#define NGX_WS_BUS_JWT_HEADER_MAX  4096    /* bytes of its header, encoded */
#define NGX_WS_BUS_JWT_DEPTH_MAX   16
#define NGX_WS_BUS_JWT_TRIES_MAX   8       /* signatures that one may cost */
#define NGX_WS_BUS_JWT_GRANTS_MAX  256     /* patterns of one kind */

/* a time in milliseconds, as some issuers write it, is beyond: year 9999 */
#define NGX_WS_BUS_JWT_TIME_MAX    253402300799LL


typedef enum {
    NGX_WS_BUS_JWT_OK = 0,

    /* the token and its header */

    NGX_WS_BUS_JWT_LARGE,
    NGX_WS_BUS_JWT_PARTS,
    NGX_WS_BUS_JWT_HEADER_LARGE,
    NGX_WS_BUS_JWT_HEADER_BASE64,
    NGX_WS_BUS_JWT_HEADER_JSON,
    NGX_WS_BUS_JWT_HEADER_DUPLICATE,
    NGX_WS_BUS_JWT_HEADER_NUMBER,
    NGX_WS_BUS_JWT_HEADER_DEEP,
    NGX_WS_BUS_JWT_HEADER_OBJECT,
    NGX_WS_BUS_JWT_ALG,
    NGX_WS_BUS_JWT_ALG_NONE,
    NGX_WS_BUS_JWT_ALG_UNKNOWN,
    NGX_WS_BUS_JWT_ALG_REFUSED,
    NGX_WS_BUS_JWT_TYP,
    NGX_WS_BUS_JWT_TYP_OTHER,
    NGX_WS_BUS_JWT_CRIT,
    NGX_WS_BUS_JWT_CRIT_UNKNOWN,
    NGX_WS_BUS_JWT_KID,

    /* its signature */

    NGX_WS_BUS_JWT_SIGNATURE_BASE64,
    NGX_WS_BUS_JWT_SIGNATURE_LENGTH,
    NGX_WS_BUS_JWT_NO_KEY,
    NGX_WS_BUS_JWT_KID_UNKNOWN,
    NGX_WS_BUS_JWT_KID_ALG,
    NGX_WS_BUS_JWT_SIGNATURE,
    NGX_WS_BUS_JWT_TRIES,

    /* its claims */

    NGX_WS_BUS_JWT_CLAIMS_BASE64,
    NGX_WS_BUS_JWT_CLAIMS_JSON,
    NGX_WS_BUS_JWT_CLAIMS_DUPLICATE,
    NGX_WS_BUS_JWT_CLAIMS_NUMBER,
    NGX_WS_BUS_JWT_CLAIMS_DEEP,
    NGX_WS_BUS_JWT_CLAIMS_OBJECT,
    NGX_WS_BUS_JWT_EXP,
    NGX_WS_BUS_JWT_EXP_RANGE,
    NGX_WS_BUS_JWT_EXPIRED,
    NGX_WS_BUS_JWT_NBF,
    NGX_WS_BUS_JWT_NBF_RANGE,
    NGX_WS_BUS_JWT_EARLY,
    NGX_WS_BUS_JWT_IAT,
    NGX_WS_BUS_JWT_IAT_RANGE,
    NGX_WS_BUS_JWT_IAT_FUTURE,
    NGX_WS_BUS_JWT_ISS,
    NGX_WS_BUS_JWT_ISS_MISSING,
    NGX_WS_BUS_JWT_ISS_OTHER,
    NGX_WS_BUS_JWT_AUD,
    NGX_WS_BUS_JWT_AUD_MISSING,
    NGX_WS_BUS_JWT_AUD_OTHER,
    NGX_WS_BUS_JWT_SUB,
    NGX_WS_BUS_JWT_JTI,
    NGX_WS_BUS_JWT_GRANTS,
    NGX_WS_BUS_JWT_GRANTS_MANY,
    NGX_WS_BUS_JWT_GRANTS_PATTERN,

    NGX_WS_BUS_JWT_INTERNAL
} ngx_ws_bus_jwt_error_e;


typedef struct {
    ngx_uint_t                     reason;     /* ngx_ws_bus_jwt_error_e */
    ngx_str_t                      text;       /* for the log */
} ngx_ws_bus_jwt_error_t;


/*
 * What a token is held to.  Keys are used in the order of the sets.  Without
 * issuers or audiences, "iss" or "aud" may have any value.
 */

typedef struct {
    ngx_ws_bus_jwk_set_t         **sets;
    ngx_uint_t                     nsets;
    ngx_uint_t                     algorithms; /* NGX_WS_BUS_JOSE_... */
    ngx_str_t                     *issuers;
    ngx_uint_t                     nissuers;
    ngx_str_t                     *audiences;
    ngx_uint_t                     naudiences;
    time_t                         leeway;
} ngx_ws_bus_jwt_rules_t;


/*
 * A token.  "claims" is NULL unless the signature is valid; the strings point
 * into it, with data NULL for a claim that is not there.  Times are whole
 * seconds, fractions are cut off; 0 is none.
 */

typedef struct {
    json_t                        *claims;
    ngx_str_t                      sub;
    ngx_str_t                      jti;
    int64_t                        exp;
    int64_t                        nbf;
    int64_t                        iat;
    const ngx_ws_bus_jose_alg_t   *alg;        /* NULL: not yet known */
    const ngx_ws_bus_jwt_error_t  *error;
    unsigned                       kid_unknown:1;
} ngx_ws_bus_jwt_t;


/* what a token grants, compiled; one malloc()ed block */

typedef struct {
    ngx_uint_t                     subscribe;  /* number of patterns */
    ngx_uint_t                     publish;
    ngx_uint_t                     voided;     /* dropped for a claim's value */
    size_t                         publish_at; /* in data */
    size_t                         size;       /* of data */
    u_char                         data[1];
} ngx_ws_bus_jwt_grants_t;


/* a claims object to look names up in, for ngx_ws_bus_pattern_compile() */

typedef struct {
    const json_t                  *claims;
    u_char                         text[NGX_INT64_LEN + 1];
} ngx_ws_bus_jwt_lookup_t;


/*
 * Verifies a token (RFC 7519, 7.2) in the compact form of RFC 7515, 7.1.  It
 * must be signed with an allowed algorithm by a key that is for it, and its
 * claims must hold at the time "now"; the claims are not even parsed before
 * the signature has been found valid.
 *
 * A "kid" chooses the keys of this kid; if there is none, the keys without
 * a kid, as PEM keys are, and kid_unknown is set: new keys may help.  Without
 * "kid", all keys are tried.  Several that fit are tried in order, at most
 * NGX_WS_BUS_JWT_TRIES_MAX.  Keys and addresses in the header are ignored.
 *
 * NGX_OK     the token is good
 * NGX_ERROR  jwt->error says why not
 *
 * Either way jwt->claims, if not NULL, is the caller's: see
 * ngx_ws_bus_jwt_free().  The keys keep what verifying has prepared.
 */
ngx_int_t ngx_ws_bus_jwt_verify(const ngx_ws_bus_jwt_rules_t *rules,
    const ngx_str_t *token, time_t now, ngx_ws_bus_jwt_t *jwt);

/*
 * Examines the claims alone, of a token whose signature is known to be valid:
 * "exp", "nbf", "iat" within the leeway, "iss", "aud"; "sub" and "jti" are
 * strings if they are there.  Sets jwt->exp and so on.
 * NGX_OK, or NGX_ERROR with jwt->error.
 */
ngx_int_t ngx_ws_bus_jwt_check(const ngx_ws_bus_jwt_rules_t *rules,
    time_t now, ngx_ws_bus_jwt_t *jwt);

/*
 * Frees the claims.
 */
void ngx_ws_bus_jwt_free(ngx_ws_bus_jwt_t *jwt);

/*
 * The error of this reason.
 */
const ngx_ws_bus_jwt_error_t *ngx_ws_bus_jwt_error(
    ngx_ws_bus_jwt_error_e reason);


/*
 * The claim at the end of n names, each but the last being that of an object
 * within the one before; NULL if there is none.  Borrowed from "claims".
 */
const json_t *ngx_ws_bus_jwt_claim(const json_t *claims,
    const ngx_str_t *names, ngx_uint_t n);

/*
 * Writes a claim as the value of a variable, at most size bytes of it to dst.
 * Strings and numbers are themselves, true and false "1" and "0", null is
 * nothing, an array is its elements with commas between, an object and an
 * array within an array are JSON.  A string with control characters is
 * nothing: it may go into a header.
 * Returns the number of bytes that the whole takes.
 */
size_t ngx_ws_bus_jwt_text(const json_t *claim, u_char *dst, size_t size);


/*
 * Compiles a grants claim, {"subscribe":[patterns],"publish":[patterns]},
 * either of which may be missing; "grant" may be NULL, it then grants
 * nothing.  "{name}" in a pattern is a string or an integer of "claims".
 * Patterns that this voids are dropped and counted.
 *
 * NGX_OK     *grants is the caller's to free()
 * NGX_ERROR  *error: the claim has another shape, one of its patterns is none
 */
ngx_int_t ngx_ws_bus_jwt_grants(const json_t *grant, const json_t *claims,
    ngx_ws_bus_jwt_grants_t **grants, const ngx_ws_bus_jwt_error_t **error);

/*
 * 1 if the channel is granted, else 0; without grants none is.
 */
ngx_uint_t ngx_ws_bus_jwt_may_subscribe(const ngx_ws_bus_jwt_grants_t *grants,
    const ngx_str_t *channel);
ngx_uint_t ngx_ws_bus_jwt_may_publish(const ngx_ws_bus_jwt_grants_t *grants,
    const ngx_str_t *channel);

/*
 * An ngx_ws_bus_pattern_claim_pt; "data" is an ngx_ws_bus_jwt_lookup_t.
 */
ngx_int_t ngx_ws_bus_jwt_lookup(void *data, const ngx_str_t *name,
    ngx_str_t *value);


#endif /* _NGX_WS_BUS_JWT_H_INCLUDED_ */
