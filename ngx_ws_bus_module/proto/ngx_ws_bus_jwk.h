
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_JWK_H_INCLUDED_
#define _NGX_WS_BUS_JWK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>

#include "ngx_ws_bus_jose.h"


#define NGX_WS_BUS_JWK_TEXT_MAX   262144   /* bytes of a set or a PEM file */
#define NGX_WS_BUS_JWK_KEYS_MAX   64
#define NGX_WS_BUS_JWK_DEPTH_MAX  8
#define NGX_WS_BUS_JWK_KID_MAX    255

/* RFC 7518, 3.3 and 3.5; a larger modulus only takes time to verify with */
#define NGX_WS_BUS_JWK_RSA_MIN    2048
#define NGX_WS_BUS_JWK_RSA_MAX    8192

/* RFC 7518, 3.2: a secret is at least as long as the hash */
#define NGX_WS_BUS_JWK_OCT_MIN    32
#define NGX_WS_BUS_JWK_OCT_MAX    1024


/* of each RSA key and algorithm one prepared verification is kept */
#define NGX_WS_BUS_JWK_CTX        6


typedef enum {
    NGX_WS_BUS_JWK_OK = 0,

    /* the whole text is refused */

    NGX_WS_BUS_JWK_LARGE,
    NGX_WS_BUS_JWK_FORMAT,
    NGX_WS_BUS_JWK_JSON,
    NGX_WS_BUS_JWK_DUPLICATE,
    NGX_WS_BUS_JWK_NUMBER,
    NGX_WS_BUS_JWK_DEEP,
    NGX_WS_BUS_JWK_OBJECT,
    NGX_WS_BUS_JWK_KEYS,
    NGX_WS_BUS_JWK_MANY,
    NGX_WS_BUS_JWK_PEM,
    NGX_WS_BUS_JWK_NONE,
    NGX_WS_BUS_JWK_MEMORY,

    /* one key is skipped */

    NGX_WS_BUS_JWK_KEY,
    NGX_WS_BUS_JWK_KTY,
    NGX_WS_BUS_JWK_KTY_UNKNOWN,
    NGX_WS_BUS_JWK_KID,
    NGX_WS_BUS_JWK_USE,
    NGX_WS_BUS_JWK_USE_OTHER,
    NGX_WS_BUS_JWK_OPS,
    NGX_WS_BUS_JWK_OPS_OTHER,
    NGX_WS_BUS_JWK_ALG,
    NGX_WS_BUS_JWK_ALG_UNKNOWN,
    NGX_WS_BUS_JWK_ALG_FAMILY,
    NGX_WS_BUS_JWK_PRIVATE,
    NGX_WS_BUS_JWK_MEMBER,
    NGX_WS_BUS_JWK_BASE64,
    NGX_WS_BUS_JWK_MINIMAL,
    NGX_WS_BUS_JWK_RSA_WEAK,
    NGX_WS_BUS_JWK_RSA_LARGE,
    NGX_WS_BUS_JWK_RSA_EVEN,
    NGX_WS_BUS_JWK_RSA_EXPONENT,
    NGX_WS_BUS_JWK_CRV,
    NGX_WS_BUS_JWK_CRV_UNKNOWN,
    NGX_WS_BUS_JWK_LENGTH,
    NGX_WS_BUS_JWK_POINT,
    NGX_WS_BUS_JWK_OCT_SHORT,
    NGX_WS_BUS_JWK_OCT_ALG,
    NGX_WS_BUS_JWK_OCT_LONG,
    NGX_WS_BUS_JWK_BLOCK,
    NGX_WS_BUS_JWK_DER,
    NGX_WS_BUS_JWK_TYPE,
    NGX_WS_BUS_JWK_REFUSED
} ngx_ws_bus_jwk_error_e;


typedef struct {
    ngx_uint_t      reason;        /* ngx_ws_bus_jwk_error_e */
    ngx_str_t       text;
} ngx_ws_bus_jwk_error_t;


/*
 * One key.  All that kty, crv, alg, the length of a secret say comes down to
 * the set of algorithms that it may verify.
 */

typedef struct {
    ngx_str_t       kid;           /* data is NULL if there is none */
    ngx_uint_t      algorithms;
    size_t          size;          /* bytes of a signature; 0: oct */
    EVP_PKEY       *pkey;          /* NULL: oct */
    ngx_str_t       secret;
    EVP_PKEY_CTX   *ctx[NGX_WS_BUS_JWK_CTX];
} ngx_ws_bus_jwk_t;


/* Zeroed memory is an empty set. */

typedef struct {
    ngx_ws_bus_jwk_t  *keys;
    ngx_uint_t         n;
} ngx_ws_bus_jwk_set_t;


/*
 * Told of each key that is passed over: its number in the text, from 0, its
 * kid, empty if it has none, and why.
 */
typedef void (*ngx_ws_bus_jwk_skip_pt)(void *data, ngx_uint_t n,
    const ngx_str_t *kid, const ngx_ws_bus_jwk_error_t *error);


/*
 * Adds the keys of a text to the set: of a JWK set (RFC 7517, 5), of a single
 * JWK, or of PEM blocks "PUBLIC KEY" and "RSA PUBLIC KEY".  As RFC 7517
 * wants it, a key that is of no use (another kty, "use" or "key_ops") or is
 * malformed, too weak or private is passed over, and "skip", if not NULL,
 * hears of it.  Memory comes from malloc().
 *
 * NGX_OK     at least one key was added
 * NGX_ERROR  *error says why; the set is as before
 */
ngx_int_t ngx_ws_bus_jwk_add(ngx_ws_bus_jwk_set_t *set, const u_char *text,
    size_t len, ngx_ws_bus_jwk_skip_pt skip, void *data,
    const ngx_ws_bus_jwk_error_t **error);

/*
 * Frees all keys, secrets are wiped; the set is empty then.
 */
void ngx_ws_bus_jwk_free(ngx_ws_bus_jwk_set_t *set);

/*
 * What follows is of jwk.c and jwk_der.c only.
 */

/* headers, zero octets and the algorithm of a SubjectPublicKeyInfo */
#define NGX_WS_BUS_JWK_DER_MORE   64

/* the parts of the largest RSA key, of a P-521 one; exponents are short */
#define NGX_WS_BUS_JWK_N_MAX      (NGX_WS_BUS_JWK_RSA_MAX / 8)
#define NGX_WS_BUS_JWK_E_MAX      4
#define NGX_WS_BUS_JWK_COORD_MAX  66


/* a kind of key: its AlgorithmIdentifier and what goes with it */

typedef struct {
    ngx_str_t       id;
    const char     *kty;
    const char     *crv;
    size_t          octets;        /* of a coordinate, of an OKP key; 0: RSA */
    size_t          size;
    ngx_uint_t      algorithms;
} ngx_ws_bus_jwk_type_t;


/*
 * The kind of an EC or OKP key of this curve, or NULL.
 */
const ngx_ws_bus_jwk_type_t *ngx_ws_bus_jwk_der_type(const char *kty,
    const char *crv);

/*
 * Make an EVP_PKEY of a SubjectPublicKeyInfo (RFC 5280, 4.1) in DER; of an
 * RSAPublicKey (RFC 8017, A.1.1) in DER; of modulus and exponent without
 * leading zero octets, at most N_MAX and E_MAX; of the octets of a point or
 * of an OKP key, at most 1 + 2 * COORD_MAX.  key->pkey, ->size and
 * ->algorithms are set; on failure the caller clears them.
 */
ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_spki(ngx_ws_bus_jwk_t *key,
    const u_char *der, size_t len);
ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_pkcs1(ngx_ws_bus_jwk_t *key,
    const u_char *der, size_t len);
ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_rsa(ngx_ws_bus_jwk_t *key,
    const ngx_str_t *n, const ngx_str_t *e);
ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_octets(ngx_ws_bus_jwk_t *key,
    const ngx_ws_bus_jwk_type_t *type, const u_char *data, size_t len);


#endif /* _NGX_WS_BUS_JWK_H_INCLUDED_ */
