
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_redis.h"
#include "ngx_ws_bus_redis_block.h"


#define NGX_WS_BUS_REDIS_NAME          64

#define NGX_WS_BUS_REDIS_MAX_QUEUE     (16 * 1024 * 1024)
#define NGX_WS_BUS_REDIS_MAX_REPLY     (64 * 1024 * 1024)
#define NGX_WS_BUS_REDIS_MAX_ELEMENTS  (1024 * 1024)


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
static ngx_uint_t ngx_ws_bus_redis_name_valid(ngx_str_t *name);


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
