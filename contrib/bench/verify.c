
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


/*
 * What a token costs beside what OpenSSL takes to verify its signature: the
 * same key, the same bytes, in turns.  A line for each algorithm.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"
#include "ngx_ws_bus_jose.c"
#include "ngx_ws_bus_jwk_der.c"
#include "ngx_ws_bus_jwk.c"
#include "ngx_ws_bus_jwt.c"
#include "ngx_ws_bus_jwt_claims.c"

#include "jose.h"


#define VERIFY_ROUNDS   15
#define VERIFY_SECONDS  0.02           /* of each side in a round */

#define VERIFY_NOW      1600000000


typedef struct {
    const char              *alg;
    const char              *kind;
    size_t                   bits;
} verify_case_t;


typedef struct {
    const char              *alg;
    EVP_PKEY                *pkey;
    u_char                   signature[1024];
    size_t                   signature_len;
    ngx_str_t                token;
    size_t                   signed_len;
    ngx_ws_bus_jwt_rules_t   rules;
} verify_t;


static const verify_case_t  verify_cases[] = {
    { "RS256", "RSA", 2048 },
    { "PS256", "RSA", 2048 },
    { "ES256", "P-256", 0 },
    { "ES384", "P-384", 0 },
    { "EdDSA", "ED25519", 0 }
};


static double
verify_cpu(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


static void
verify_openssl(verify_t *v)
{
    EVP_MD_CTX    *ctx;
    const EVP_MD  *md;
    EVP_PKEY_CTX  *pctx;

    ctx = EVP_MD_CTX_new();
    md = strcmp(v->alg, "EdDSA") == 0 ? NULL : jose_md(v->alg);

    jose_must(EVP_DigestVerifyInit(ctx, &pctx, md, NULL, v->pkey) == 1);

    if (v->alg[0] == 'P') {
        jose_must(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING)
                  == 1);
    }

    jose_must(EVP_DigestVerify(ctx, v->signature, v->signature_len,
                               v->token.data, v->signed_len)
              == 1);

    EVP_MD_CTX_free(ctx);
}


static void
verify_module(verify_t *v)
{
    ngx_ws_bus_jwt_t  jwt;

    jose_must(ngx_ws_bus_jwt_verify(&v->rules, &v->token, VERIFY_NOW, &jwt)
              == NGX_OK);

    ngx_ws_bus_jwt_free(&jwt);
}


/* microseconds of one call */

static double
verify_measure(void (*side)(verify_t *v), verify_t *v)
{
    double  start, end;
    size_t  i, n;

    n = 0;
    start = verify_cpu();

    do {
        for (i = 0; i < 10; i++) {
            side(v);
        }

        n += i;
        end = verify_cpu();

    } while (end - start < VERIFY_SECONDS);

    return (end - start) / n * 1e6;
}


static int
verify_compare(const void *one, const void *two)
{
    double  a, b;

    a = *(const double *) one;
    b = *(const double *) two;

    return (a > b) - (a < b);
}


static double
verify_median(double *values)
{
    qsort(values, VERIFY_ROUNDS, sizeof(double), verify_compare);

    return values[VERIFY_ROUNDS / 2];
}


static void
verify_run(const verify_case_t *c)
{
    char                          *header, *members, *jwk;
    double                         ours[VERIFY_ROUNDS], theirs[VERIFY_ROUNDS];
    double                         ratios[VERIFY_ROUNDS];
    size_t                         i;
    verify_t                       v;
    EVP_MD_CTX                    *ctx;
    const EVP_MD                  *md;
    EVP_PKEY_CTX                  *pctx;
    ngx_ws_bus_jwk_set_t           set, *sets;
    const ngx_ws_bus_jwk_error_t  *error;

    static ngx_str_t  issuer = ngx_string("https://id.example.com/");
    static ngx_str_t  audience = ngx_string("chat");

    v.alg = c->alg;
    v.pkey = jose_key(c->kind, c->bits);

    header = jose_string("{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"a\"}",
                         c->alg);

    v.token.data = (u_char *) jose_token(c->alg, v.pkey, NULL, header,
                       "{\"iss\":\"https://id.example.com/\",\"sub\":\"alice\","
                       "\"aud\":\"chat\",\"exp\":1600000600,"
                       "\"iat\":1599999990,\"jti\":\"0123456789abcdef\","
                       "\"ws\":{\"subscribe\":[\"news.*\",\"user.{sub}\"],"
                       "\"publish\":[\"user.{sub}\"]}}");
    v.token.len = strlen((char *) v.token.data);
    v.signed_len = (u_char *) strrchr((char *) v.token.data, '.')
                   - v.token.data;

    /* OpenSSL has its own form of some signatures */

    ctx = EVP_MD_CTX_new();
    md = strcmp(c->alg, "EdDSA") == 0 ? NULL : jose_md(c->alg);
    v.signature_len = sizeof(v.signature);

    jose_must(EVP_DigestSignInit(ctx, &pctx, md, NULL, v.pkey) == 1);

    if (c->alg[0] == 'P') {
        jose_must(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING)
                  == 1);
    }

    jose_must(EVP_DigestSign(ctx, v.signature, &v.signature_len, v.token.data,
                             v.signed_len)
              == 1);

    EVP_MD_CTX_free(ctx);

    members = jose_members(v.pkey);
    jwk = jose_string("{\"keys\":[{%s,\"kid\":\"a\"}]}", members);

    memset(&set, 0, sizeof(ngx_ws_bus_jwk_set_t));
    memset(&v.rules, 0, sizeof(ngx_ws_bus_jwt_rules_t));

    jose_must(ngx_ws_bus_jwk_add(&set, (u_char *) jwk, strlen(jwk), NULL, NULL,
                                 &error)
              == NGX_OK);

    sets = &set;

    v.rules.sets = &sets;
    v.rules.nsets = 1;
    v.rules.algorithms = (ngx_uint_t) -1;
    v.rules.issuers = &issuer;
    v.rules.nissuers = 1;
    v.rules.audiences = &audience;
    v.rules.naudiences = 1;

    for (i = 0; i < VERIFY_ROUNDS; i++) {
        theirs[i] = verify_measure(verify_openssl, &v);
        ours[i] = verify_measure(verify_module, &v);
        ratios[i] = ours[i] / theirs[i];
    }

    printf("algorithm=%s openssl_us=%.2f module_us=%.2f ratio=%.3f\n",
           c->alg, verify_median(theirs), verify_median(ours),
           verify_median(ratios));

    ngx_ws_bus_jwk_free(&set);
    EVP_PKEY_free(v.pkey);
    free(v.token.data);
    free(header);
    free(members);
    free(jwk);
}


int
main(void)
{
    size_t  i;

    for (i = 0; i < sizeof(verify_cases) / sizeof(verify_cases[0]); i++) {
        verify_run(&verify_cases[i]);
    }

    return 0;
}
