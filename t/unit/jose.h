
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _JOSE_H_INCLUDED_
#define _JOSE_H_INCLUDED_


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>


/*
 * Keys and tokens made by OpenSSL, for the tests of proto/ and its fuzzers.
 * Whatever fails ends the program; strings are malloc()ed.
 */

#define jose_must(cond)                                                       \
    do {                                                                      \
        if (!(cond)) {                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);        \
            exit(2);                                                          \
        }                                                                     \
    } while (0)


static inline char * __attribute__((format(printf, 1, 2)))
jose_string(const char *fmt, ...)
{
    int      len;
    char    *s;
    va_list  args;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    s = malloc((size_t) len + 1);
    jose_must(s != NULL);

    va_start(args, fmt);
    vsnprintf(s, (size_t) len + 1, fmt, args);
    va_end(args);

    return s;
}


static inline char *
jose_base64url(const void *data, size_t len)
{
    char                 *s, *d;
    size_t                i;
    uint32_t              v;
    const unsigned char  *p;

    static const char  letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "abcdefghijklmnopqrstuvwxyz"
                                   "0123456789-_";

    s = malloc(len / 3 * 4 + 5);
    jose_must(s != NULL);

    d = s;
    p = data;

    for (i = 0; i < len; i += 3) {
        v = (uint32_t) p[i] << 16;
        v |= (i + 1 < len) ? (uint32_t) p[i + 1] << 8 : 0;
        v |= (i + 2 < len) ? (uint32_t) p[i + 2] : 0;

        *d++ = letters[v >> 18];
        *d++ = letters[(v >> 12) & 63];

        if (i + 1 < len) {
            *d++ = letters[(v >> 6) & 63];
        }

        if (i + 2 < len) {
            *d++ = letters[v & 63];
        }
    }

    *d = '\0';

    return s;
}


/* "RSA" of 2048 bits or as given, "P-256", ..., "ED25519", "ED448" */

static inline EVP_PKEY *
jose_key(const char *kind, size_t bits)
{
    EVP_PKEY  *pkey;

    if (strcmp(kind, "RSA") == 0) {
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits);

    } else if (kind[0] == 'E') {
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, kind);

    } else {
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
    }

    jose_must(pkey != NULL);

    return pkey;
}


static inline char *
jose_number(EVP_PKEY *pkey, const char *name)
{
    int             len;
    char           *s;
    BIGNUM         *bn;
    unsigned char   buf[4096];

    bn = NULL;
    jose_must(EVP_PKEY_get_bn_param(pkey, name, &bn) == 1);

    len = BN_bn2bin(bn, buf);
    BN_free(bn);

    s = jose_base64url(buf, (size_t) len);

    return s;
}


/* the members of a public key: "kty":"EC","crv":"P-256","x":"...","y":"..." */

static inline char *
jose_members(EVP_PKEY *pkey)
{
    char           *s, *x, *y, name[80];
    size_t          len;
    unsigned char   buf[256];

    if (EVP_PKEY_is_a(pkey, "RSA")) {
        x = jose_number(pkey, OSSL_PKEY_PARAM_RSA_N);
        y = jose_number(pkey, OSSL_PKEY_PARAM_RSA_E);

        s = jose_string("\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"", x, y);

        free(x);
        free(y);

        return s;
    }

    len = sizeof(buf);

    if (!EVP_PKEY_is_a(pkey, "EC")) {
        jose_must(EVP_PKEY_get_raw_public_key(pkey, buf, &len) == 1);

        x = jose_base64url(buf, len);

        s = jose_string("\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"%s\"",
                        EVP_PKEY_is_a(pkey, "ED25519") ? "Ed25519" : "Ed448",
                        x);
        free(x);

        return s;
    }

    jose_must(EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY,
                                              buf, sizeof(buf), &len)
              == 1);
    jose_must(buf[0] == 0x04);
    jose_must(EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME,
                                             name, sizeof(name), NULL)
              == 1);

    x = jose_base64url(buf + 1, len / 2);
    y = jose_base64url(buf + 1 + len / 2, len / 2);

    s = jose_string("\"kty\":\"EC\",\"crv\":\"P-%.3s\",\"x\":\"%s\","
                    "\"y\":\"%s\"",
                    strcmp(name, "prime256v1") ? name + 4 : "256", x, y);
    free(x);
    free(y);

    return s;
}


static inline char *
jose_pem(EVP_PKEY *pkey)
{
    BIO   *bio;
    char  *data, *s;
    long   len;

    bio = BIO_new(BIO_s_mem());
    jose_must(bio != NULL && PEM_write_bio_PUBKEY(bio, pkey) == 1);

    len = BIO_get_mem_data(bio, &data);
    s = jose_string("%.*s", (int) len, data);

    BIO_free(bio);

    return s;
}


static inline int
jose_bits(const char *alg)
{
    return atoi(alg + 2);
}


static inline const EVP_MD *
jose_md(const char *alg)
{
    switch (jose_bits(alg)) {

    case 256:
        return EVP_sha256();

    case 384:
        return EVP_sha384();

    case 512:
        return EVP_sha512();

    default:
        return NULL;
    }
}


/* the JWS signature of len bytes at data, for a key or a secret */

static inline char *
jose_signature(const char *alg, EVP_PKEY *pkey, const char *secret,
    size_t secret_len, const char *data, size_t len)
{
    int                   half;
    size_t                size;
    unsigned              mac_len;
    ECDSA_SIG            *ecdsa;
    EVP_MD_CTX           *ctx;
    EVP_PKEY_CTX         *pctx;
    unsigned char         buf[2048], raw[256];
    const unsigned char  *p;

    if (alg[0] == 'H') {
        jose_must(HMAC(jose_md(alg), secret, (int) secret_len,
                       (const unsigned char *) data, len, buf, &mac_len)
                  != NULL);

        return jose_base64url(buf, mac_len);
    }

    ctx = EVP_MD_CTX_new();
    size = sizeof(buf);

    jose_must(EVP_DigestSignInit(ctx, &pctx, jose_md(alg), NULL, pkey) == 1);

    if (alg[0] == 'P') {
        jose_must(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING)
                  == 1);
        jose_must(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx,
                                                   RSA_PSS_SALTLEN_DIGEST)
                  == 1);
    }

    jose_must(EVP_DigestSign(ctx, buf, &size, (const unsigned char *) data,
                             len)
              == 1);

    EVP_MD_CTX_free(ctx);

    if (alg[0] != 'E' || alg[1] != 'S') {
        return jose_base64url(buf, size);
    }

    half = (EVP_PKEY_bits(pkey) + 7) / 8;

    p = buf;
    ecdsa = d2i_ECDSA_SIG(NULL, &p, (long) size);

    jose_must(ecdsa != NULL);
    jose_must(BN_bn2binpad(ECDSA_SIG_get0_r(ecdsa), raw, half) == half);
    jose_must(BN_bn2binpad(ECDSA_SIG_get0_s(ecdsa), raw + half, half) == half);

    ECDSA_SIG_free(ecdsa);

    return jose_base64url(raw, (size_t) half * 2);
}


/* a whole token of a header and claims, both of any bytes */

static inline char *
jose_token_of(const char *alg, EVP_PKEY *pkey, const char *secret,
    size_t secret_len, const char *header, size_t header_len,
    const char *claims, size_t claims_len)
{
    char  *h, *c, *data, *signature, *token;

    h = jose_base64url(header, header_len);
    c = jose_base64url(claims, claims_len);

    data = jose_string("%s.%s", h, c);
    signature = jose_signature(alg, pkey, secret, secret_len, data,
                               strlen(data));
    token = jose_string("%s.%s", data, signature);

    free(h);
    free(c);
    free(data);
    free(signature);

    return token;
}


static inline char *
jose_token(const char *alg, EVP_PKEY *pkey, const char *secret,
    const char *header, const char *claims)
{
    return jose_token_of(alg, pkey, secret, secret ? strlen(secret) : 0,
                         header, strlen(header), claims, strlen(claims));
}


#endif /* _JOSE_H_INCLUDED_ */
