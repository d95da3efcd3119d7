
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_ws_bus_jwt.h"
#include "ngx_ws_bus_pattern.h"


/* names of claims that are longer are not looked for */
#define NGX_WS_BUS_JWT_NAME_MAX   255

/* "-1.7976931348623157e+308" */
#define NGX_WS_BUS_JWT_REAL_LEN   (sizeof("-1.7976931348623157e+308") - 1)

/* doubles are exact up to here */
#define NGX_WS_BUS_JWT_REAL_INT   9007199254740992.0

/* before each compiled pattern */
#define NGX_WS_BUS_JWT_LEN_SIZE   sizeof(uint16_t)


/* what is wrong with a claim that should be a time */

typedef struct {
    const char              *name;
    ngx_ws_bus_jwt_error_e   number;
    ngx_ws_bus_jwt_error_e   range;
} ngx_ws_bus_jwt_time_t;


/* where text goes, and how much there would be with room for all of it */

typedef struct {
    u_char                  *dst;
    size_t                   size;
    size_t                   len;
} ngx_ws_bus_jwt_out_t;


static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_check_times(
    const ngx_ws_bus_jwt_rules_t *rules, time_t now, ngx_ws_bus_jwt_t *jwt);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_time(const json_t *claims,
    const ngx_ws_bus_jwt_time_t *claim, int64_t *sec);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_check_names(
    const ngx_ws_bus_jwt_rules_t *rules, ngx_ws_bus_jwt_t *jwt);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_check_aud(
    const ngx_ws_bus_jwt_rules_t *rules, const json_t *aud);
static ngx_int_t ngx_ws_bus_jwt_string(const json_t *value, ngx_str_t *s);
static ngx_uint_t ngx_ws_bus_jwt_is_in(const json_t *value,
    const ngx_str_t *list, ngx_uint_t n);
static void ngx_ws_bus_jwt_put_value(ngx_ws_bus_jwt_out_t *out,
    const json_t *value);
static void ngx_ws_bus_jwt_put_number(ngx_ws_bus_jwt_out_t *out,
    const json_t *value);
static void ngx_ws_bus_jwt_put_string(ngx_ws_bus_jwt_out_t *out,
    const json_t *value);
static void ngx_ws_bus_jwt_put_json(ngx_ws_bus_jwt_out_t *out,
    const json_t *value);
static void ngx_ws_bus_jwt_put(ngx_ws_bus_jwt_out_t *out, const u_char *p,
    size_t len);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_grants_list(const json_t *grant,
    const char *name, const json_t **list);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_grants_write(const json_t *list,
    const json_t *claims, u_char *dst, size_t *size, ngx_uint_t *n,
    ngx_uint_t *voided);
static ngx_uint_t ngx_ws_bus_jwt_granted(const u_char *p, ngx_uint_t n,
    const ngx_str_t *channel);


static const ngx_ws_bus_jwt_time_t  ngx_ws_bus_jwt_exp =
    { "exp", NGX_WS_BUS_JWT_EXP, NGX_WS_BUS_JWT_EXP_RANGE };

static const ngx_ws_bus_jwt_time_t  ngx_ws_bus_jwt_nbf =
    { "nbf", NGX_WS_BUS_JWT_NBF, NGX_WS_BUS_JWT_NBF_RANGE };

static const ngx_ws_bus_jwt_time_t  ngx_ws_bus_jwt_iat =
    { "iat", NGX_WS_BUS_JWT_IAT, NGX_WS_BUS_JWT_IAT_RANGE };


ngx_int_t
ngx_ws_bus_jwt_check(const ngx_ws_bus_jwt_rules_t *rules, time_t now,
    ngx_ws_bus_jwt_t *jwt)
{
    ngx_ws_bus_jwt_error_e  e;

    e = ngx_ws_bus_jwt_check_names(rules, jwt);

    if (e == NGX_WS_BUS_JWT_OK) {
        e = ngx_ws_bus_jwt_check_times(rules, now, jwt);
    }

    jwt->error = ngx_ws_bus_jwt_error(e);

    return (e == NGX_WS_BUS_JWT_OK) ? NGX_OK : NGX_ERROR;
}


/*
 * RFC 7519, 4.1.4 to 4.1.6; a token is not for use at its "exp" any more, and
 * is at its "nbf" already.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_check_times(const ngx_ws_bus_jwt_rules_t *rules, time_t now,
    ngx_ws_bus_jwt_t *jwt)
{
    int64_t                 sec, leeway;
    ngx_ws_bus_jwt_error_e  e;

    e = ngx_ws_bus_jwt_time(jwt->claims, &ngx_ws_bus_jwt_exp, &jwt->exp);

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    e = ngx_ws_bus_jwt_time(jwt->claims, &ngx_ws_bus_jwt_nbf, &jwt->nbf);

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    e = ngx_ws_bus_jwt_time(jwt->claims, &ngx_ws_bus_jwt_iat, &jwt->iat);

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    sec = now;
    leeway = rules->leeway;

    if (json_object_get(jwt->claims, "exp") != NULL
        && sec >= jwt->exp + leeway)
    {
        return NGX_WS_BUS_JWT_EXPIRED;
    }

    if (sec + leeway < jwt->nbf) {
        return NGX_WS_BUS_JWT_EARLY;
    }

    if (sec + leeway < jwt->iat) {
        return NGX_WS_BUS_JWT_IAT_FUTURE;
    }

    return NGX_WS_BUS_JWT_OK;
}


/*
 * A NumericDate (RFC 7519, 2) in whole seconds, 0 if there is none.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_time(const json_t *claims, const ngx_ws_bus_jwt_time_t *claim,
    int64_t *sec)
{
    double         real;
    json_int_t     n;
    const json_t  *value;

    *sec = 0;

    value = json_object_get(claims, claim->name);

    if (value == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (json_is_integer(value)) {
        n = json_integer_value(value);

        if (n < 0 || n > NGX_WS_BUS_JWT_TIME_MAX) {
            return claim->range;
        }

        *sec = n;

        return NGX_WS_BUS_JWT_OK;
    }

    if (!json_is_real(value)) {
        return claim->number;
    }

    real = json_real_value(value);

    if (!(real >= 0 && real <= (double) NGX_WS_BUS_JWT_TIME_MAX)) {
        return claim->range;
    }

    *sec = (int64_t) real;

    return NGX_WS_BUS_JWT_OK;
}


static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_check_names(const ngx_ws_bus_jwt_rules_t *rules,
    ngx_ws_bus_jwt_t *jwt)
{
    const json_t  *iss;

    if (ngx_ws_bus_jwt_string(json_object_get(jwt->claims, "sub"), &jwt->sub)
        == NGX_ERROR)
    {
        return NGX_WS_BUS_JWT_SUB;
    }

    if (ngx_ws_bus_jwt_string(json_object_get(jwt->claims, "jti"), &jwt->jti)
        == NGX_ERROR)
    {
        return NGX_WS_BUS_JWT_JTI;
    }

    iss = json_object_get(jwt->claims, "iss");

    if (iss != NULL && !json_is_string(iss)) {
        return NGX_WS_BUS_JWT_ISS;
    }

    if (rules->nissuers) {

        if (iss == NULL) {
            return NGX_WS_BUS_JWT_ISS_MISSING;
        }

        if (!ngx_ws_bus_jwt_is_in(iss, rules->issuers, rules->nissuers)) {
            return NGX_WS_BUS_JWT_ISS_OTHER;
        }
    }

    return ngx_ws_bus_jwt_check_aud(rules,
                                    json_object_get(jwt->claims, "aud"));
}


/* RFC 7519, 4.1.3 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_check_aud(const ngx_ws_bus_jwt_rules_t *rules,
    const json_t *aud)
{
    size_t         i;
    ngx_uint_t     found;
    const json_t  *one;

    if (aud == NULL) {
        return rules->naudiences ? NGX_WS_BUS_JWT_AUD_MISSING
                                 : NGX_WS_BUS_JWT_OK;
    }

    found = (rules->naudiences == 0);

    if (json_is_string(aud)) {
        found |= ngx_ws_bus_jwt_is_in(aud, rules->audiences,
                                      rules->naudiences);

    } else if (!json_is_array(aud)) {
        return NGX_WS_BUS_JWT_AUD;
    }

    for (i = 0; i < json_array_size(aud); i++) {
        one = json_array_get(aud, i);

        if (!json_is_string(one)) {
            return NGX_WS_BUS_JWT_AUD;
        }

        found |= ngx_ws_bus_jwt_is_in(one, rules->audiences,
                                      rules->naudiences);
    }

    return found ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_AUD_OTHER;
}


/*
 * NGX_DECLINED if there is none, NGX_ERROR if it is none.
 */

static ngx_int_t
ngx_ws_bus_jwt_string(const json_t *value, ngx_str_t *s)
{
    ngx_str_null(s);

    if (value == NULL) {
        return NGX_DECLINED;
    }

    if (!json_is_string(value)) {
        return NGX_ERROR;
    }

    s->data = (u_char *) json_string_value(value);
    s->len = json_string_length(value);

    return NGX_OK;
}


static ngx_uint_t
ngx_ws_bus_jwt_is_in(const json_t *value, const ngx_str_t *list, ngx_uint_t n)
{
    size_t       len;
    ngx_uint_t   i;
    const char  *s;

    s = json_string_value(value);
    len = json_string_length(value);

    for (i = 0; i < n; i++) {
        if (list[i].len == len && ngx_memcmp(list[i].data, s, len) == 0) {
            return 1;
        }
    }

    return 0;
}


const json_t *
ngx_ws_bus_jwt_claim(const json_t *claims, const ngx_str_t *names,
    ngx_uint_t n)
{
    char        name[NGX_WS_BUS_JWT_NAME_MAX + 1];
    ngx_uint_t  i;

    for (i = 0; i < n && claims != NULL; i++) {

        if (names[i].len > NGX_WS_BUS_JWT_NAME_MAX
            || memchr(names[i].data, '\0', names[i].len) != NULL)
        {
            return NULL;
        }

        ngx_memcpy(name, names[i].data, names[i].len);
        name[names[i].len] = '\0';

        /* NULL of anything but an object */

        claims = json_object_get(claims, name);
    }

    return claims;
}


size_t
ngx_ws_bus_jwt_text(const json_t *claim, u_char *dst, size_t size)
{
    size_t                i;
    const json_t         *one;
    ngx_ws_bus_jwt_out_t  out;

    out.dst = dst;
    out.size = size;
    out.len = 0;

    if (!json_is_array(claim)) {
        ngx_ws_bus_jwt_put_value(&out, claim);
        return out.len;
    }

    for (i = 0; i < json_array_size(claim); i++) {
        one = json_array_get(claim, i);

        if (i) {
            ngx_ws_bus_jwt_put(&out, (u_char *) ",", 1);
        }

        ngx_ws_bus_jwt_put_value(&out, one);
    }

    return out.len;
}


static void
ngx_ws_bus_jwt_put_value(ngx_ws_bus_jwt_out_t *out, const json_t *value)
{
    if (value == NULL) {
        return;
    }

    switch (json_typeof(value)) {

    case JSON_STRING:
        ngx_ws_bus_jwt_put_string(out, value);
        break;

    case JSON_INTEGER:
    case JSON_REAL:
        ngx_ws_bus_jwt_put_number(out, value);
        break;

    case JSON_TRUE:
        ngx_ws_bus_jwt_put(out, (u_char *) "1", 1);
        break;

    case JSON_FALSE:
        ngx_ws_bus_jwt_put(out, (u_char *) "0", 1);
        break;

    case JSON_NULL:
        break;

    default: /* JSON_OBJECT, JSON_ARRAY */
        ngx_ws_bus_jwt_put_json(out, value);
    }
}


static void
ngx_ws_bus_jwt_put_number(ngx_ws_bus_jwt_out_t *out, const json_t *value)
{
    int         len;
    char        text[NGX_INT64_LEN + NGX_WS_BUS_JWT_REAL_LEN + 1];
    double      real;
    json_int_t  n;

    n = json_integer_value(value);
    real = json_real_value(value);

    /* of a whole number "0" is the only zero: not "0.0", not "-0" */

    if (json_is_real(value)
        && real > -NGX_WS_BUS_JWT_REAL_INT && real < NGX_WS_BUS_JWT_REAL_INT
        && real == (double) (json_int_t) real)
    {
        n = (json_int_t) real;
        len = snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, n);

    } else if (json_is_real(value)) {
        len = snprintf(text, sizeof(text), "%.17g", real);

    } else {
        len = snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, n);
    }

    ngx_ws_bus_jwt_put(out, (u_char *) text, (size_t) len);
}


static void
ngx_ws_bus_jwt_put_string(ngx_ws_bus_jwt_out_t *out, const json_t *value)
{
    size_t         i, len;
    const u_char  *s;

    s = (const u_char *) json_string_value(value);
    len = json_string_length(value);

    for (i = 0; i < len; i++) {
        if (s[i] < 0x20 || s[i] == 0x7f) {
            return;
        }
    }

    ngx_ws_bus_jwt_put(out, s, len);
}


static void
ngx_ws_bus_jwt_put_json(ngx_ws_bus_jwt_out_t *out, const json_t *value)
{
    size_t  room;

    room = (out->len < out->size) ? out->size - out->len : 0;

    out->len += json_dumpb(value, room ? (char *) out->dst + out->len : NULL,
                           room, JSON_COMPACT);
}


static void
ngx_ws_bus_jwt_put(ngx_ws_bus_jwt_out_t *out, const u_char *p, size_t len)
{
    size_t  room;

    room = (out->len < out->size) ? out->size - out->len : 0;

    if (room) {
        ngx_memcpy(out->dst + out->len, p, ngx_min(len, room));
    }

    out->len += len;
}


ngx_int_t
ngx_ws_bus_jwt_grants(const json_t *grant, const json_t *claims,
    ngx_ws_bus_jwt_grants_t **grants, const ngx_ws_bus_jwt_error_t **error)
{
    size_t                    size, n;
    ngx_uint_t                pass;
    const json_t             *subscribe, *publish;
    ngx_ws_bus_jwt_error_e    e;
    ngx_ws_bus_jwt_grants_t   head, *g;

    *grants = NULL;

    e = ngx_ws_bus_jwt_grants_list(grant, "subscribe", &subscribe);

    if (e == NGX_WS_BUS_JWT_OK) {
        e = ngx_ws_bus_jwt_grants_list(grant, "publish", &publish);
    }

    g = NULL;
    size = 0;

    /* first to learn the size */

    for (pass = 0; e == NGX_WS_BUS_JWT_OK && pass < 2; pass++) {

        ngx_memzero(&head, sizeof(ngx_ws_bus_jwt_grants_t));

        e = ngx_ws_bus_jwt_grants_write(subscribe, claims, g ? g->data : NULL,
                                        &n, &head.subscribe, &head.voided);

        if (e != NGX_WS_BUS_JWT_OK) {
            break;
        }

        size = n;

        e = ngx_ws_bus_jwt_grants_write(publish, claims,
                                        g ? g->data + size : NULL, &n,
                                        &head.publish, &head.voided);

        if (e != NGX_WS_BUS_JWT_OK) {
            break;
        }

        head.publish_at = size;

        size += n;
        head.size = size;

        if (g == NULL) {
            g = malloc(sizeof(ngx_ws_bus_jwt_grants_t) + size);

            if (g == NULL) {
                e = NGX_WS_BUS_JWT_INTERNAL;
                break;
            }
        }

        ngx_memcpy(g, &head, offsetof(ngx_ws_bus_jwt_grants_t, data));
    }

    *grants = g;
    *error = ngx_ws_bus_jwt_error(e);

    return (e == NGX_WS_BUS_JWT_OK) ? NGX_OK : NGX_ERROR;
}


static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_grants_list(const json_t *grant, const char *name,
    const json_t **list)
{
    *list = NULL;

    if (grant == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (!json_is_object(grant)) {
        return NGX_WS_BUS_JWT_GRANTS;
    }

    *list = json_object_get(grant, name);

    if (*list == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (!json_is_array(*list)) {
        return NGX_WS_BUS_JWT_GRANTS;
    }

    if (json_array_size(*list) > NGX_WS_BUS_JWT_GRANTS_MAX) {
        return NGX_WS_BUS_JWT_GRANTS_MANY;
    }

    return NGX_WS_BUS_JWT_OK;
}


/*
 * Compiles a list of patterns to dst, each behind its length; with dst NULL
 * only *size is found.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_grants_write(const json_t *list, const json_t *claims,
    u_char *dst, size_t *size, ngx_uint_t *n, ngx_uint_t *voided)
{
    u_char                    pattern[NGX_WS_BUS_PATTERN_SIZE];
    size_t                    i, len;
    uint16_t                  len16;
    ngx_int_t                 rc;
    ngx_str_t                 text;
    const json_t             *one;
    const ngx_str_t          *reason;
    ngx_ws_bus_jwt_lookup_t   lookup;

    *size = 0;

    lookup.claims = claims;

    for (i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);

        if (ngx_ws_bus_jwt_string(one, &text) != NGX_OK) {
            return NGX_WS_BUS_JWT_GRANTS;
        }

        rc = ngx_ws_bus_pattern_compile(&text, ngx_ws_bus_jwt_lookup, &lookup,
                                        pattern, &len, &reason);

        if (rc == NGX_ERROR) {
            return NGX_WS_BUS_JWT_GRANTS_PATTERN;
        }

        if (rc == NGX_DECLINED) {
            (*voided)++;
            continue;
        }

        (*n)++;

        if (dst) {
            len16 = (uint16_t) len;

            dst = ngx_cpymem(dst, &len16, NGX_WS_BUS_JWT_LEN_SIZE);
            dst = ngx_cpymem(dst, pattern, len);
        }

        *size += NGX_WS_BUS_JWT_LEN_SIZE + len;
    }

    return NGX_WS_BUS_JWT_OK;
}


ngx_uint_t
ngx_ws_bus_jwt_may_subscribe(const ngx_ws_bus_jwt_grants_t *grants,
    const ngx_str_t *channel)
{
    return grants != NULL
           && ngx_ws_bus_jwt_granted(grants->data, grants->subscribe, channel);
}


ngx_uint_t
ngx_ws_bus_jwt_may_publish(const ngx_ws_bus_jwt_grants_t *grants,
    const ngx_str_t *channel)
{
    return grants != NULL
           && ngx_ws_bus_jwt_granted(grants->data + grants->publish_at,
                                     grants->publish, channel);
}


/*
 * Tries n patterns.
 */

static ngx_uint_t
ngx_ws_bus_jwt_granted(const u_char *p, ngx_uint_t n,
    const ngx_str_t *channel)
{
    uint16_t  len;

    while (n--) {
        ngx_memcpy(&len, p, NGX_WS_BUS_JWT_LEN_SIZE);
        p += NGX_WS_BUS_JWT_LEN_SIZE;

        if (ngx_ws_bus_pattern_match(p, len, channel)) {
            return 1;
        }

        p += len;
    }

    return 0;
}


ngx_int_t
ngx_ws_bus_jwt_lookup(void *data, const ngx_str_t *name, ngx_str_t *value)
{
    int                       len;
    const json_t             *claim;
    ngx_ws_bus_jwt_lookup_t  *lookup;

    lookup = data;

    claim = ngx_ws_bus_jwt_claim(lookup->claims, name, 1);

    if (json_is_integer(claim)) {
        len = snprintf((char *) lookup->text, sizeof(lookup->text),
                       "%" JSON_INTEGER_FORMAT, json_integer_value(claim));

        value->data = lookup->text;
        value->len = (size_t) len;

        return NGX_OK;
    }

    return (ngx_ws_bus_jwt_string(claim, value) == NGX_OK) ? NGX_OK
                                                           : NGX_DECLINED;
}
