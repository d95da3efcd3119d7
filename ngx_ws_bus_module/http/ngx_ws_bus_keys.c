
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_keys.h"


/* a key file that is being read */

typedef struct {
    ngx_conf_t            *cf;
    ngx_str_t             *name;
} ngx_ws_bus_keys_file_t;


static ssize_t ngx_ws_bus_keys_read(ngx_conf_t *cf, ngx_str_t *name,
    u_char *text);
static void ngx_ws_bus_keys_skip(void *data, ngx_uint_t n,
    const ngx_str_t *kid, const ngx_ws_bus_jwk_error_t *error);
static void ngx_ws_bus_keys_free_set(void *data);


char *
ngx_ws_bus_keys_file_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                        *text;
    ssize_t                        n;
    ngx_int_t                      rc;
    ngx_str_t                     *value;
    ngx_ws_bus_keys_t             *keys;
    ngx_pool_cleanup_t            *cln;
    ngx_ws_bus_jwk_set_t          *set, **setp;
    ngx_ws_bus_keys_file_t         file;
    const ngx_ws_bus_jwk_error_t  *error;

    keys = ngx_ws_bus_keys_create(cf, cmd, conf);
    if (keys == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_ws_bus_jwk_set_t));
    setp = ngx_array_push(&keys->sets);

    if (cln == NULL || setp == NULL) {
        return NGX_CONF_ERROR;
    }

    set = cln->data;
    ngx_memzero(set, sizeof(ngx_ws_bus_jwk_set_t));

    cln->handler = ngx_ws_bus_keys_free_set;
    *setp = set;

    /* one byte more tells that there is too much */

    text = ngx_alloc(NGX_WS_BUS_JWK_TEXT_MAX + 1, cf->log);
    if (text == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_ws_bus_keys_read(cf, &value[1], text);

    if (n == NGX_ERROR) {
        ngx_free(text);
        return NGX_CONF_ERROR;
    }

    file.cf = cf;
    file.name = &value[1];

    rc = ngx_ws_bus_jwk_add(set, text, n, ngx_ws_bus_keys_skip, &file, &error);

    ngx_explicit_memzero(text, n);
    ngx_free(text);

    if (rc != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no keys can be taken from \"%V\": %V", &value[1],
                           &error->text);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_ws_bus_keys_t *
ngx_ws_bus_keys_create(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_keys_t     *keys, **keysp;
    ngx_ws_bus_jwk_set_t **set;

    keysp = (ngx_ws_bus_keys_t **) ((char *) conf + cmd->offset);

    if (*keysp) {
        return *keysp;
    }

    keys = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_keys_t));
    if (keys == NULL) {
        return NULL;
    }

    if (ngx_array_init(&keys->sets, cf->pool, 2,
                       sizeof(ngx_ws_bus_jwk_set_t *))
        != NGX_OK)
    {
        return NULL;
    }

    /* the place of what is fetched */

    set = ngx_array_push(&keys->sets);
    *set = NULL;

    *keysp = keys;

    return keys;
}


/*
 * What is not a regular file has no size beforehand.
 */

static ssize_t
ngx_ws_bus_keys_read(ngx_conf_t *cf, ngx_str_t *name, u_char *text)
{
    size_t    len;
    ssize_t   n;
    ngx_fd_t  fd;

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    len = 0;

    do {
        n = ngx_read_fd(fd, text + len, NGX_WS_BUS_JWK_TEXT_MAX + 1 - len);

        if (n > 0) {
            len += n;
        }

    } while (n > 0 && len <= NGX_WS_BUS_JWK_TEXT_MAX);

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", name);
        ngx_explicit_memzero(text, len);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    return n == -1 ? NGX_ERROR : (ssize_t) len;
}


static void
ngx_ws_bus_keys_skip(void *data, ngx_uint_t n, const ngx_str_t *kid,
    const ngx_ws_bus_jwk_error_t *error)
{
    ngx_ws_bus_keys_file_t *file = data;

    u_char  buf[NGX_WS_BUS_JWK_KID_MAX];

    ngx_conf_log_error(NGX_LOG_WARN, file->cf, 0,
                       "key %ui, kid \"%*s\", in \"%V\" is passed over: %V",
                       n + 1, ngx_ws_bus_keys_kid(buf, kid), buf, file->name,
                       &error->text);
}


size_t
ngx_ws_bus_keys_kid(u_char *dst, const ngx_str_t *kid)
{
    u_char  c;
    size_t  i, n;

    n = ngx_min(kid->len, NGX_WS_BUS_JWK_KID_MAX);

    for (i = 0; i < n; i++) {
        c = kid->data[i];
        dst[i] = (c < 0x20 || c >= 0x7f || c == '"') ? '?' : c;
    }

    return n;
}


static void
ngx_ws_bus_keys_free_set(void *data)
{
    ngx_ws_bus_jwk_free(data);
}


void
ngx_ws_bus_keys_merge(ngx_ws_bus_keys_t **conf, ngx_ws_bus_keys_t *prev)
{
    if (*conf == NULL) {
        *conf = prev;
    }
}


void
ngx_ws_bus_keys_check(ngx_conf_t *cf, ngx_ws_bus_keys_t *keys,
    ngx_uint_t algorithms)
{
    u_char                 *last, *end;
    ngx_uint_t              i, k, known;
    ngx_ws_bus_jwk_set_t  **sets;
    u_char                  wanted[NGX_WS_BUS_JOSE_NAMES];
    u_char                  given[NGX_WS_BUS_JOSE_NAMES];

    if (keys->uri.len || keys->useless == algorithms) {
        return;
    }

    known = 0;
    sets = keys->sets.elts;

    /* the first place is of what is fetched */

    for (i = 1; i < keys->sets.nelts; i++) {
        for (k = 0; k < sets[i]->n; k++) {
            known |= sets[i]->keys[k].algorithms;
        }
    }

    if (known & algorithms) {
        return;
    }

    keys->useless = algorithms;

    last = ngx_ws_bus_jose_names(wanted, algorithms);
    end = ngx_ws_bus_jose_names(given, known);

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "no token can be valid: \"ws_bus_jwt_algorithms\" is "
                       "%*s, but the keys are for %*s",
                       (size_t) (last - wanted), wanted,
                       (size_t) (end - given), given);
}


ngx_int_t
ngx_ws_bus_keys_use(ngx_conf_t *cf, ngx_ws_bus_keys_t **conf)
{
    ngx_ws_bus_keys_t  *keys;

    if (*conf == NULL || (*conf)->uri.len == 0) {
        return NGX_OK;
    }

    /* what is inherited may be another server's, too */

    keys = ngx_palloc(cf->pool, sizeof(ngx_ws_bus_keys_t));
    if (keys == NULL) {
        return NGX_ERROR;
    }

    *keys = **conf;

    keys->sets.elts = ngx_palloc(cf->pool, keys->sets.nelts
                                           * sizeof(ngx_ws_bus_jwk_set_t *));
    if (keys->sets.elts == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(keys->sets.elts, (*conf)->sets.elts,
               keys->sets.nelts * sizeof(ngx_ws_bus_jwk_set_t *));

    *conf = keys;

    return ngx_ws_bus_keys_request_add(cf, keys);
}


ngx_int_t
ngx_ws_bus_keys_get(ngx_ws_bus_keys_t *keys, ngx_ws_bus_jwk_set_t ***sets,
    ngx_uint_t *n)
{
    ngx_ws_bus_jwk_set_t  **elts;

    elts = keys->sets.elts;

    if (keys->request) {
        elts[0] = ngx_ws_bus_keys_request_get(keys->request);
    }

    *sets = elts;
    *n = keys->sets.nelts;

    if (elts[0] == NULL) {
        (*sets)++;
        (*n)--;
    }

    return *n ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_ws_bus_keys_fetch(ngx_ws_bus_keys_t *keys, ngx_ws_bus_keys_wait_t *wait)
{
    wait->waiting = 0;

    if (keys->request == NULL) {
        return NGX_DECLINED;
    }

    return ngx_ws_bus_keys_request_fetch(keys->request, wait);
}


void
ngx_ws_bus_keys_cancel(ngx_ws_bus_keys_wait_t *wait)
{
    if (wait->waiting) {
        ngx_queue_remove(&wait->queue);
        wait->waiting = 0;
    }
}
