
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_redis.h"


#define NGX_WS_BUS_REDIS_NAME          64
#define NGX_WS_BUS_REDIS_PREFIX        128
#define NGX_WS_BUS_REDIS_PASSWORD      1024

#define NGX_WS_BUS_REDIS_MAX_QUEUE     (16 * 1024 * 1024)
#define NGX_WS_BUS_REDIS_MAX_REPLY     (64 * 1024 * 1024)
#define NGX_WS_BUS_REDIS_MAX_ELEMENTS  (1024 * 1024)

/* certificates between that of the server and a trusted one */
#define NGX_WS_BUS_REDIS_SSL_DEPTH     3


/*
 * A block while it is read.
 */

typedef struct {
    ngx_ws_bus_redis_t    *redis;
    ngx_array_t            servers;             /* ngx_str_t */

    ngx_uint_t             mode;
    ngx_uint_t             when_down;
    ngx_int_t              database;

    ngx_flag_t             ssl;
    ngx_flag_t             ssl_verify;
    ngx_str_t              ssl_trusted_certificate;
    ngx_str_t              ssl_certificate;
    ngx_str_t              ssl_certificate_key;
} ngx_ws_bus_redis_block_t;


static char *ngx_ws_bus_redis_parameter(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static ngx_uint_t ngx_ws_bus_redis_arguments(ngx_conf_t *cf,
    ngx_command_t *cmd);

static char *ngx_ws_bus_redis_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_mode(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_string(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_reconnect(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_when_down(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_redis_invalid(ngx_conf_t *cf, ngx_str_t *value);

static ngx_ws_bus_redis_t *ngx_ws_bus_redis_create(ngx_conf_t *cf,
    ngx_str_t *name);
static ngx_int_t ngx_ws_bus_redis_finish(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);
static ngx_int_t ngx_ws_bus_redis_servers(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);
static ngx_int_t ngx_ws_bus_redis_password(ngx_conf_t *cf,
    ngx_ws_bus_redis_t *redis);
static ngx_int_t ngx_ws_bus_redis_password_file(ngx_conf_t *cf,
    ngx_ws_bus_redis_t *redis);
static ngx_int_t ngx_ws_bus_redis_ssl(ngx_conf_t *cf,
    ngx_ws_bus_redis_block_t *block);
static ngx_uint_t ngx_ws_bus_redis_name_valid(ngx_str_t *name);
static ngx_uint_t ngx_ws_bus_redis_prefix_valid(ngx_str_t *prefix);


#define ngx_ws_bus_redis_link(field)                                          \
    offsetof(ngx_ws_bus_redis_t, link)                                        \
    + offsetof(ngx_ws_bus_link_conf_t, field)


/*
 * The offset is into the block for the functions of nginx, into the redis
 * for those of this file.
 */

static ngx_command_t  ngx_ws_bus_redis_parameters[] = {

    { ngx_string("server"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_server,
      0,
      0,
      NULL },

    { ngx_string("mode"),
      NGX_CONF_TAKE12,
      ngx_ws_bus_redis_mode,
      0,
      0,
      NULL },

    { ngx_string("user"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_string,
      0,
      ngx_ws_bus_redis_link(user),
      NULL },

    { ngx_string("password"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_string,
      0,
      ngx_ws_bus_redis_link(password),
      NULL },

    { ngx_string("password_file"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_string,
      0,
      ngx_ws_bus_redis_link(password_file),
      NULL },

    { ngx_string("database"),
      NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, database),
      NULL },

    { ngx_string("prefix"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_string,
      0,
      offsetof(ngx_ws_bus_redis_t, prefix),
      NULL },

    { ngx_string("ssl"),
      NGX_CONF_TAKE1,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, ssl),
      NULL },

    { ngx_string("ssl_verify"),
      NGX_CONF_TAKE1,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, ssl_verify),
      NULL },

    { ngx_string("ssl_trusted_certificate"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, ssl_trusted_certificate),
      NULL },

    { ngx_string("ssl_name"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_string,
      0,
      ngx_ws_bus_redis_link(ssl_name),
      NULL },

    { ngx_string("ssl_certificate"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, ssl_certificate),
      NULL },

    { ngx_string("ssl_certificate_key"),
      NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_ws_bus_redis_block_t, ssl_certificate_key),
      NULL },

    { ngx_string("connect_timeout"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_time,
      0,
      ngx_ws_bus_redis_link(connect_timeout),
      NULL },

    { ngx_string("timeout"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_time,
      0,
      ngx_ws_bus_redis_link(timeout),
      NULL },

    { ngx_string("keepalive"),
      NGX_CONF_TAKE1,
      ngx_ws_bus_redis_time,
      0,
      ngx_ws_bus_redis_link(keepalive),
      NULL },

    { ngx_string("reconnect"),
      NGX_CONF_TAKE2,
      ngx_ws_bus_redis_reconnect,
      0,
      0,
      NULL },

    { ngx_string("when_down"),
      NGX_CONF_TAKE12,
      ngx_ws_bus_redis_when_down,
      0,
      0,
      NULL },

      ngx_null_command
};


char *
ngx_ws_bus_redis_block(ngx_conf_t *cf, ngx_array_t *redises)
{
    char                       *rv;
    ngx_str_t                  *value;
    ngx_conf_t                  save;
    ngx_ws_bus_redis_t        **redis;
    ngx_ws_bus_redis_block_t    block;

    value = cf->args->elts;

    if (!ngx_ws_bus_redis_name_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid redis name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_ws_bus_redis_find(redises, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate redis \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&block, sizeof(ngx_ws_bus_redis_block_t));

    block.mode = NGX_CONF_UNSET_UINT;
    block.when_down = NGX_CONF_UNSET_UINT;
    block.database = NGX_CONF_UNSET;
    block.ssl = NGX_CONF_UNSET;
    block.ssl_verify = NGX_CONF_UNSET;

    if (ngx_array_init(&block.servers, cf->pool, 4, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    block.redis = ngx_ws_bus_redis_create(cf, &value[1]);
    if (block.redis == NULL) {
        return NGX_CONF_ERROR;
    }

    save = *cf;

    cf->handler = ngx_ws_bus_redis_parameter;
    cf->handler_conf = (void *) &block;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_ws_bus_redis_finish(cf, &block) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    redis = ngx_array_push(redises);
    if (redis == NULL) {
        return NGX_CONF_ERROR;
    }

    *redis = block.redis;

    return NGX_CONF_OK;
}


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


static char *
ngx_ws_bus_redis_parameter(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    char           *rv;
    ngx_str_t      *value;
    ngx_command_t  *cmd;

    value = cf->args->elts;

    for (cmd = ngx_ws_bus_redis_parameters; cmd->name.len; cmd++) {

        if (cmd->name.len == value[0].len
            && ngx_strcmp(cmd->name.data, value[0].data) == 0)
        {
            break;
        }
    }

    if (cmd->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown redis parameter \"%V\"", &value[0]);
        return NGX_CONF_ERROR;
    }

    if (!ngx_ws_bus_redis_arguments(cf, cmd)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of values of redis parameter "
                           "\"%V\"", &value[0]);
        return NGX_CONF_ERROR;
    }

    rv = cmd->set(cf, cmd, block);

    if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR) {
        return rv;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "redis parameter \"%V\" %s",
                       &value[0], rv);

    return NGX_CONF_ERROR;
}


static ngx_uint_t
ngx_ws_bus_redis_arguments(ngx_conf_t *cf, ngx_command_t *cmd)
{
    switch (cf->args->nelts) {

    case 2:
        return cmd->type & NGX_CONF_TAKE1;

    case 3:
        return cmd->type & NGX_CONF_TAKE2;

    default:
        return 0;
    }
}


static char *
ngx_ws_bus_redis_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ngx_str_t   *value, *server;
    ngx_uint_t   i;

    value = cf->args->elts;
    server = block->servers.elts;

    for (i = 0; i < block->servers.nelts; i++) {
        if (server[i].len == value[1].len
            && ngx_strncmp(server[i].data, value[1].data, value[1].len) == 0)
        {
            return "names the same server twice";
        }
    }

    server = ngx_array_push(&block->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    *server = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_mode(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ngx_str_t   *value;
    ngx_uint_t   n;

    if (block->mode != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    n = cf->args->nelts;

    if (ngx_strcmp(value[1].data, "standalone") == 0 && n == 2) {
        block->mode = NGX_WS_BUS_REDIS_STANDALONE;

    } else if (ngx_strcmp(value[1].data, "cluster") == 0 && n == 2) {
        block->mode = NGX_WS_BUS_REDIS_CLUSTER;

    } else if (ngx_strcmp(value[1].data, "sentinel") == 0) {

        if (n == 2 || value[2].len == 0) {
            return "\"sentinel\" needs the name of a master";
        }

        block->mode = NGX_WS_BUS_REDIS_SENTINEL;
        block->redis->master = value[2];

    } else {
        return ngx_ws_bus_redis_invalid(cf, &value[n - 1]);
    }

    block->redis->mode = block->mode;

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_string(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ngx_str_t  *value, *field;

    value = cf->args->elts;
    field = (ngx_str_t *) ((char *) block->redis + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    if (value[1].len == 0) {
        return "is empty";
    }

    *field = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_time(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ngx_int_t    msec;
    ngx_str_t   *value;
    ngx_msec_t  *field;

    value = cf->args->elts;
    field = (ngx_msec_t *) ((char *) block->redis + cmd->offset);

    if (*field != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    msec = ngx_parse_time(&value[1], 0);

    if (msec == NGX_ERROR || msec == 0) {
        return ngx_ws_bus_redis_invalid(cf, &value[1]);
    }

    *field = msec;

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_reconnect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ngx_int_t                first, max;
    ngx_str_t               *value;
    ngx_ws_bus_link_conf_t  *link;

    value = cf->args->elts;
    link = &block->redis->link;

    if (link->reconnect != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    first = ngx_parse_time(&value[1], 0);

    if (first == NGX_ERROR || first == 0) {
        return ngx_ws_bus_redis_invalid(cf, &value[1]);
    }

    max = ngx_parse_time(&value[2], 0);

    if (max == NGX_ERROR || max < first) {
        return ngx_ws_bus_redis_invalid(cf, &value[2]);
    }

    link->reconnect = first;
    link->reconnect_max = max;

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_when_down(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_redis_block_t *block = conf;

    ssize_t      size;
    ngx_str_t   *value;
    ngx_uint_t   n;

    if (block->when_down != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    n = cf->args->nelts;

    if (ngx_strcmp(value[1].data, "reject") == 0 && n == 2) {
        block->when_down = NGX_WS_BUS_REDIS_REJECT;

    } else if (ngx_strcmp(value[1].data, "local") == 0 && n == 2) {
        block->when_down = NGX_WS_BUS_REDIS_LOCAL;

    } else if (ngx_strcmp(value[1].data, "queue") == 0) {

        if (n == 2) {
            return "\"queue\" needs a size";
        }

        size = ngx_parse_size(&value[2]);

        if (size == NGX_ERROR || size == 0) {
            return ngx_ws_bus_redis_invalid(cf, &value[2]);
        }

        block->when_down = NGX_WS_BUS_REDIS_QUEUE;
        block->redis->queue = size;

    } else {
        return ngx_ws_bus_redis_invalid(cf, &value[n - 1]);
    }

    block->redis->when_down = block->when_down;

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_redis_invalid(ngx_conf_t *cf, ngx_str_t *value)
{
    ngx_str_t  *name;

    name = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" of redis parameter \"%V\"",
                       value, name);

    return NGX_CONF_ERROR;
}


static ngx_ws_bus_redis_t *
ngx_ws_bus_redis_create(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_ws_bus_redis_t  *redis;

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_redis_t));
    if (redis == NULL) {
        return NULL;
    }

    redis->file = cf->conf_file->file.name.data;
    redis->line = cf->conf_file->line;

    redis->link.name = *name;
    redis->link.connect_timeout = NGX_CONF_UNSET_MSEC;
    redis->link.timeout = NGX_CONF_UNSET_MSEC;
    redis->link.keepalive = NGX_CONF_UNSET_MSEC;
    redis->link.reconnect = NGX_CONF_UNSET_MSEC;
    redis->link.reconnect_max = NGX_CONF_UNSET_MSEC;
    redis->link.max_queue = NGX_WS_BUS_REDIS_MAX_QUEUE;
    redis->link.max_reply = NGX_WS_BUS_REDIS_MAX_REPLY;
    redis->link.max_elements = NGX_WS_BUS_REDIS_MAX_ELEMENTS;

    return redis;
}


static ngx_int_t
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
 * It is part of a connection's name, where Redis allows no space.
 */

static ngx_uint_t
ngx_ws_bus_redis_name_valid(ngx_str_t *name)
{
    u_char      ch;
    ngx_uint_t  i;

    if (name->len == 0 || name->len > NGX_WS_BUS_REDIS_NAME) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (ch <= ' ' || ch >= 0x7f) {
            return 0;
        }
    }

    return 1;
}


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
