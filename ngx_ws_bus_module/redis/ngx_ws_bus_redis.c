
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_redis_block.h"


#define NGX_WS_BUS_REDIS_PREFIX        128
#define NGX_WS_BUS_REDIS_PASSWORD      1024

/* certificates between that of the server and a trusted one */
#define NGX_WS_BUS_REDIS_SSL_DEPTH     3


static ngx_int_t ngx_ws_bus_redis_servers(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);
static ngx_int_t ngx_ws_bus_redis_password(ngx_conf_t *cf,
    ngx_ws_bus_redis_t *redis);
static ngx_int_t ngx_ws_bus_redis_password_file(ngx_conf_t *cf,
    ngx_ws_bus_redis_t *redis);
static ngx_int_t ngx_ws_bus_redis_ssl(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);
static ngx_uint_t ngx_ws_bus_redis_prefix_valid(ngx_str_t *prefix);


ngx_ws_bus_redis_t *
ngx_ws_bus_redis_find(ngx_array_t *redises, ngx_str_t *name)
{
    ngx_str_t            *s;
    ngx_uint_t            i;
    ngx_ws_bus_redis_t  **redis;

    redis = redises->elts;

    for (i = 0; i < redises->nelts; i++) {
        s = &redis[i]->link.name;

        if (s->len == name->len
            && ngx_strncmp(s->data, name->data, name->len) == 0)
        {
            return redis[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_ws_bus_redis_init(ngx_conf_t *cf, ngx_array_t *redises,
    ngx_resolver_t *resolver, ngx_msec_t resolver_timeout)
{
    ngx_url_t                   u;
    ngx_uint_t                  i, n;
    ngx_ws_bus_redis_t        **redis;
    ngx_ws_bus_link_server_t   *server;

    redis = redises->elts;

    for (i = 0; i < redises->nelts; i++) {

        if (!redis[i]->used) {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "redis \"%V\" is not used: no \"ws_bus_zone\" has "
                          "\"redis=%V\" in %s:%ui", &redis[i]->link.name,
                          &redis[i]->link.name, redis[i]->file,
                          redis[i]->line);
        }

        redis[i]->link.resolver = resolver;
        redis[i]->link.resolver_timeout = resolver_timeout;

        server = redis[i]->servers.elts;

        for (n = 0; n < redis[i]->servers.nelts; n++) {

            if (server[n].naddrs || resolver) {
                continue;
            }

            ngx_memzero(&u, sizeof(ngx_url_t));

            u.url = server[n].name;
            u.default_port = server[n].port;

            if (ngx_parse_url(cf->pool, &u) != NGX_OK) {

                if (u.err) {
                    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                                  "%s in redis server \"%V\" in %s:%ui",
                                  u.err, &server[n].name, redis[i]->file,
                                  redis[i]->line);
                }

                return NGX_ERROR;
            }

            server[n].addrs = u.addrs;
            server[n].naddrs = u.naddrs;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_redis_finish(ngx_conf_t *cf, ngx_ws_bus_redis_block_t *block)
{
    ngx_ws_bus_redis_t      *redis;
    ngx_ws_bus_link_conf_t  *link;

    redis = block->redis;
    link = &redis->link;

    if (redis->prefix.data == NULL) {
        ngx_str_set(&redis->prefix, "ws_bus:");

    } else if (!ngx_ws_bus_redis_prefix_valid(&redis->prefix)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid prefix \"%V\" of redis \"%V\"",
                           &redis->prefix, &link->name);
        return NGX_ERROR;
    }

    if (block->database != NGX_CONF_UNSET) {

        if (block->database && redis->mode == NGX_WS_BUS_REDIS_CLUSTER) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "redis \"%V\" is a cluster: there is only "
                               "database 0", &link->name);
            return NGX_ERROR;
        }

        link->database = block->database;
    }

    ngx_conf_init_msec_value(link->connect_timeout, 2000);
    ngx_conf_init_msec_value(link->timeout, 2000);
    ngx_conf_init_msec_value(link->keepalive, 10000);
    ngx_conf_init_msec_value(link->reconnect, 100);
    ngx_conf_init_msec_value(link->reconnect_max, 5000);

    if (ngx_ws_bus_redis_servers(cf, block) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_ws_bus_redis_password(cf, redis) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_redis_ssl(cf, block);
}


static ngx_int_t
ngx_ws_bus_redis_servers(ngx_conf_t *cf, ngx_ws_bus_redis_block_t *block)
{
    char                      *err;
    ngx_int_t                  rc;
    in_port_t                  port;
    ngx_str_t                 *name;
    ngx_uint_t                 i;
    ngx_ws_bus_redis_t        *redis;
    ngx_ws_bus_link_server_t  *server;

    redis = block->redis;

    if (block->servers.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"server\" in redis \"%V\"",
                           &redis->link.name);
        return NGX_ERROR;
    }

    if (block->servers.nelts > 1
        && redis->mode == NGX_WS_BUS_REDIS_STANDALONE)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "several servers in redis \"%V\" need "
                           "\"mode sentinel\" or \"mode cluster\"",
                           &redis->link.name);
        return NGX_ERROR;
    }

    port = (redis->mode == NGX_WS_BUS_REDIS_SENTINEL)
           ? NGX_WS_BUS_REDIS_SENTINEL_PORT : NGX_WS_BUS_REDIS_PORT;

    if (ngx_array_init(&redis->servers, cf->pool, block->servers.nelts,
                       sizeof(ngx_ws_bus_link_server_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = block->servers.elts;

    for (i = 0; i < block->servers.nelts; i++) {

        server = ngx_array_push(&redis->servers);
        if (server == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_ws_bus_link_server(cf->pool, &name[i], port, server, &err);

        if (rc == NGX_DECLINED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in server \"%V\" of redis \"%V\"",
                               err, &name[i], &redis->link.name);
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_redis_password(ngx_conf_t *cf, ngx_ws_bus_redis_t *redis)
{
    ngx_ws_bus_link_conf_t  *link;

    link = &redis->link;

    if (link->password.len && link->password_file.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "both \"password\" and \"password_file\" in "
                           "redis \"%V\"", &link->name);
        return NGX_ERROR;
    }

    if (link->password_file.len) {
        return ngx_ws_bus_redis_password_file(cf, redis);
    }

    if (link->user.len && link->password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"user\" in redis \"%V\" needs \"password\" or "
                           "\"password_file\"", &link->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_redis_password_file(ngx_conf_t *cf, ngx_ws_bus_redis_t *redis)
{
    u_char                  *buf;
    ssize_t                  n;
    ngx_fd_t                 fd;
    ngx_err_t                err;
    ngx_ws_bus_link_conf_t  *link;

    link = &redis->link;

    if (ngx_conf_full_name(cf->cycle, &link->password_file, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    buf = ngx_pnalloc(cf->pool, NGX_WS_BUS_REDIS_PASSWORD);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(link->password_file.data,
                       NGX_FILE_RDONLY|NGX_FILE_NONBLOCK, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed",
                           &link->password_file);
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, buf, NGX_WS_BUS_REDIS_PASSWORD);
    err = ngx_errno;

    (void) ngx_close_file(fd);

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           ngx_read_fd_n " \"%V\" failed",
                           &link->password_file);
        return NGX_ERROR;
    }

    link->password.data = buf;
    link->password.len = ngx_ws_bus_link_first_line(buf, n);

    if (link->password.len == 0
        || link->password.len == NGX_WS_BUS_REDIS_PASSWORD)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no password in the first line of \"%V\"",
                           &link->password_file);
        return NGX_ERROR;
    }

    return NGX_OK;
}


#if (NGX_SSL)

static ngx_int_t
ngx_ws_bus_redis_ssl(ngx_conf_t *cf, ngx_ws_bus_redis_block_t *block)
{
    ngx_ssl_t                 *ssl;
    ngx_pool_cleanup_t        *cln;
    ngx_ws_bus_link_conf_t    *link;
    ngx_ws_bus_link_server_t  *server;

    link = &block->redis->link;

    if (block->ssl != 1) {
        return NGX_OK;
    }

    link->ssl_verify = (block->ssl_verify != 0);

    if (link->ssl_verify && block->ssl_trusted_certificate.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"ssl_trusted_certificate\" for "
                           "\"ssl_verify\" in redis \"%V\"", &link->name);
        return NGX_ERROR;
    }

    server = block->redis->servers.elts;

    if (link->ssl_verify && link->ssl_name.len == 0 && server->host.len == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"ssl_name\" for the unix socket of redis "
                           "\"%V\"", &link->name);
        return NGX_ERROR;
    }

    if ((block->ssl_certificate.len == 0)
        != (block->ssl_certificate_key.len == 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"ssl_certificate\" and \"ssl_certificate_key\" "
                           "in redis \"%V\" need each other", &link->name);
        return NGX_ERROR;
    }

    ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (ssl == NULL) {
        return NGX_ERROR;
    }

    ssl->log = cf->log;

    if (ngx_ssl_create(ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ssl;

    if (block->ssl_certificate.len
        && ngx_ssl_certificate(cf, ssl, &block->ssl_certificate,
                               &block->ssl_certificate_key, NULL)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (link->ssl_verify
        && ngx_ssl_trusted_certificate(cf, ssl,
                                       &block->ssl_trusted_certificate,
                                       NGX_WS_BUS_REDIS_SSL_DEPTH)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    link->ssl = ssl;

    return NGX_OK;
}

#else

static ngx_int_t
ngx_ws_bus_redis_ssl(ngx_conf_t *cf, ngx_ws_bus_redis_block_t *block)
{
    if (block->ssl != 1) {
        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "redis \"%V\" needs an nginx with SSL",
                       &block->redis->link.name);

    return NGX_ERROR;
}

#endif


/*
 * The first braces of a key are those of the channel, and decide its slot.
 */

static ngx_uint_t
ngx_ws_bus_redis_prefix_valid(ngx_str_t *prefix)
{
    u_char      ch;
    ngx_uint_t  i;

    if (prefix->len > NGX_WS_BUS_REDIS_PREFIX) {
        return 0;
    }

    for (i = 0; i < prefix->len; i++) {
        ch = prefix->data[i];

        if (ch <= ' ' || ch >= 0x7f || ngx_strchr("{}*?[]\\", ch)) {
            return 0;
        }
    }

    return 1;
}
