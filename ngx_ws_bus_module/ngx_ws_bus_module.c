
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_auth.h"
#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_http.h"
#include "ngx_ws_bus_keys.h"


static char *ngx_ws_bus_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_ws_bus_channel_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_ws_bus_loc_conf_t *wlcf, ngx_http_handler_pt handler);
static char *ngx_ws_bus_publisher_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_ws_bus_status_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static void *ngx_ws_bus_create_main_conf(ngx_conf_t *cf);
static char *ngx_ws_bus_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_ws_bus_create_loc_conf(ngx_conf_t *cf);
static char *ngx_ws_bus_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_ws_bus_check_loc_conf(ngx_conf_t *cf,
    ngx_ws_bus_loc_conf_t *conf);
static char *ngx_ws_bus_not_zero(ngx_conf_t *cf, void *post, void *data);
static ngx_int_t ngx_ws_bus_init(ngx_conf_t *cf);
static ngx_int_t ngx_ws_bus_init_process(ngx_cycle_t *cycle);
static void ngx_ws_bus_exit_process(ngx_cycle_t *cycle);


/* elsewhere in nginx 0 is no limit */

static ngx_conf_post_t  ngx_ws_bus_message_max_size = {
    ngx_ws_bus_not_zero
};


static ngx_conf_bitmask_t  ngx_ws_bus_protocols[] = {
    { ngx_string("raw"), NGX_WS_BUS_PROTOCOL_RAW },
    { ngx_string("json"), NGX_WS_BUS_PROTOCOL_JSON },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_ws_bus_presence[] = {
    { ngx_string("off"), NGX_WS_BUS_PRESENCE_OFF },
    { ngx_string("on"), NGX_WS_BUS_PRESENCE_ON },
    { ngx_string("members"), NGX_WS_BUS_PRESENCE_MEMBERS },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_ws_bus_limit_log_levels[] = {
    { ngx_string("info"), NGX_LOG_INFO },
    { ngx_string("notice"), NGX_LOG_NOTICE },
    { ngx_string("warn"), NGX_LOG_WARN },
    { ngx_string("error"), NGX_LOG_ERR },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_ws_bus_commands[] = {

    { ngx_string("ws_bus_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE23,
      ngx_ws_bus_zone_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_ws_bus_redis_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE12,
      ngx_ws_bus_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_publisher"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_publisher_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_ws_bus_status_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_publish"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_ws_bus_publish_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_origin_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_jwt_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_algorithms"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_jwt_algorithms_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_jwt_list_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, auth.issuers),
      NULL },

    { ngx_string("ws_bus_jwt_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_jwt_list_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, auth.audiences),
      NULL },

    { ngx_string("ws_bus_jwt_leeway"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, auth.leeway),
      NULL },

    { ngx_string("ws_bus_jwt_require"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_jwt_require_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_claim_set"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_ws_bus_jwt_claim_set_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_grants"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_ws_bus_jwt_grants_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_refresh"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, auth.refresh),
      NULL },

    { ngx_string("ws_bus_auth_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_ws_bus_auth_timeout_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_jwt_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_ws_bus_keys_file_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, keys),
      NULL },

    { ngx_string("ws_bus_jwt_key_request"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_keys_request_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, keys),
      NULL },

    { ngx_string("ws_bus_protocols"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, protocols),
      &ngx_ws_bus_protocols },

    { ngx_string("ws_bus_channels"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_channels_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_max_channels"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, max_channels),
      NULL },

    { ngx_string("ws_bus_presence"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, presence),
      &ngx_ws_bus_presence },

    { ngx_string("ws_bus_member"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, member),
      NULL },

    { ngx_string("ws_bus_history"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_history_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_message_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, message_max_size),
      &ngx_ws_bus_message_max_size },

    { ngx_string("ws_bus_ping"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_ping_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_batch"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, batch),
      NULL },

    { ngx_string("ws_bus_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_ws_bus_buffer_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_deflate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_ws_bus_deflate_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_drain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, drain),
      NULL },

    { ngx_string("ws_bus_lean"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, lean),
      NULL },

    { ngx_string("ws_bus_fallback"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, fallback),
      NULL },

    { ngx_string("ws_bus_limit_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_ws_bus_limit_zone_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_limit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123
                        |NGX_CONF_TAKE4|NGX_CONF_TAKE5,
      ngx_ws_bus_limit_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ws_bus_limit_dry_run"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, limit_dry_run),
      NULL },

    { ngx_string("ws_bus_limit_log_level"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_ws_bus_loc_conf_t, limit_log_level),
      &ngx_ws_bus_limit_log_levels },

    { ngx_string("ws_bus_log"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_ws_bus_audit_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_ws_bus_module_ctx = {
    ngx_ws_bus_variables_add,              /* preconfiguration */
    ngx_ws_bus_init,                       /* postconfiguration */

    ngx_ws_bus_create_main_conf,           /* create main configuration */
    ngx_ws_bus_init_main_conf,             /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_ws_bus_create_loc_conf,            /* create location configuration */
    ngx_ws_bus_merge_loc_conf              /* merge location configuration */
};


ngx_module_t  ngx_ws_bus_module = {
    NGX_MODULE_V1,
    &ngx_ws_bus_module_ctx,                /* module context */
    ngx_ws_bus_commands,                   /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_ws_bus_init_process,               /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_ws_bus_exit_process,               /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_ws_bus_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_ws_bus_channel_directive(cf, cmd, conf,
                                        ngx_ws_bus_upgrade_handler);
}


static char *
ngx_ws_bus_publisher_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_ws_bus_channel_directive(cf, cmd, conf,
                                        ngx_ws_bus_publisher_handler);
}


static char *
ngx_ws_bus_channel_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_ws_bus_loc_conf_t *wlcf, ngx_http_handler_pt handler)
{
    ngx_str_t                         *value;
    ngx_uint_t                         n;
    ngx_ws_bus_main_conf_t            *wmcf;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    if (wlcf->handler) {
        return "is duplicate or beside another handler of this module";
    }

    value = cf->args->elts;
    n = cf->args->nelts;

    if (n > 1 && ngx_strncmp(value[n - 1].data, "zone=", 5) == 0) {

        n--;

        if (value[n].len == 5) {
            return ngx_ws_bus_invalid(cf, &value[n]);
        }

        wlcf->zone_name.len = value[n].len - 5;
        wlcf->zone_name.data = value[n].data + 5;
    }

    if (n == 3) {
        return ngx_ws_bus_invalid(cf, &value[2]);
    }

    if (n == 2) {

        wlcf->channel = ngx_palloc(cf->pool,
                                   sizeof(ngx_http_complex_value_t));
        if (wlcf->channel == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[1];
        ccv.complex_value = wlcf->channel;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        if (wlcf->channel->lengths == NULL
            && !ngx_ws_bus_handshake_channel(&wlcf->channel->value))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid channel name \"%V\"", &value[1]);
            return NGX_CONF_ERROR;
        }

    } else if (handler == ngx_ws_bus_publisher_handler) {
        return "needs a channel";
    }

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);
    wmcf->used = 1;

    wlcf->handler = handler;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = handler;

    return NGX_CONF_OK;
}


static char *
ngx_ws_bus_not_zero(ngx_conf_t *cf, void *post, void *data)
{
    size_t *size = data;

    (void) cf;
    (void) post;

    return *size ? NGX_CONF_OK : "must not be 0";
}


static char *
ngx_ws_bus_status_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (wlcf->handler) {
        return "is duplicate or beside another handler of this module";
    }

    value = cf->args->elts;

    wlcf->status = NGX_WS_BUS_STATUS_JSON;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "prometheus") == 0) {
            wlcf->status = NGX_WS_BUS_STATUS_PROMETHEUS;

        } else if (ngx_strcmp(value[1].data, "json") != 0) {
            return ngx_ws_bus_invalid(cf, &value[1]);
        }
    }

    wlcf->handler = ngx_ws_bus_status_handler;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_ws_bus_status_handler;

    return NGX_CONF_OK;
}


static void *
ngx_ws_bus_create_main_conf(ngx_conf_t *cf)
{
    ngx_ws_bus_main_conf_t  *wmcf;

    wmcf = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_main_conf_t));
    if (wmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&wmcf->zones, cf->pool, 2, sizeof(ngx_ws_bus_zone_t *))
        != NGX_OK
        || ngx_array_init(&wmcf->limit_zones, cf->pool, 2,
                          sizeof(ngx_ws_bus_limit_zone_t *))
           != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&wmcf->redises, cf->pool, 1,
                       sizeof(ngx_ws_bus_redis_t *))
        != NGX_OK
        || ngx_array_init(&wmcf->key_requests, cf->pool, 1, sizeof(void *))
        != NGX_OK)
    {
        return NULL;
    }

    return wmcf;
}


static char *
ngx_ws_bus_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_ws_bus_main_conf_t *wmcf = conf;

    ngx_str_t               name = ngx_string("default");
    ngx_ws_bus_loc_conf_t  *wlcf;

    wlcf = ngx_http_conf_get_module_loc_conf(cf, ngx_ws_bus_module);

    if (ngx_ws_bus_audit_merge(cf, NULL, wlcf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (!wmcf->used || wmcf->zones.nelts) {
        return NGX_CONF_OK;
    }

    if (ngx_ws_bus_zone_add(cf, wmcf, &name, NGX_WS_BUS_ZONE_DEFAULT, NULL)
        == NULL)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_ws_bus_create_loc_conf(ngx_conf_t *cf)
{
    ngx_ws_bus_loc_conf_t  *wlcf;

    wlcf = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_loc_conf_t));
    if (wlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     wlcf->zone_name = { 0, NULL };
     *     wlcf->zone = NULL;
     *     wlcf->handler = NULL;
     *     wlcf->channel = NULL;
     *     wlcf->limits = NULL;
     *     wlcf->status = NGX_WS_BUS_STATUS_JSON;
     *     wlcf->keys = NULL;
     *     wlcf->audit_off = 0;
     */

    wlcf->publish = NGX_CONF_UNSET_PTR;
    wlcf->origins = NGX_CONF_UNSET_PTR;
    wlcf->channels = NGX_CONF_UNSET_PTR;
    wlcf->max_channels = NGX_CONF_UNSET_UINT;
    wlcf->presence = NGX_CONF_UNSET_UINT;
    wlcf->member = NGX_CONF_UNSET_PTR;
    wlcf->history = NGX_CONF_UNSET_UINT;
    wlcf->history_age = NGX_CONF_UNSET;
    wlcf->message_max_size = NGX_CONF_UNSET_SIZE;
    wlcf->ping = NGX_CONF_UNSET_MSEC;
    wlcf->ping_timeout = NGX_CONF_UNSET_MSEC;
    wlcf->drain = NGX_CONF_UNSET_MSEC;
    wlcf->batch = NGX_CONF_UNSET_MSEC;
    wlcf->buffer = NGX_CONF_UNSET_SIZE;
    wlcf->buffer_policy = NGX_CONF_UNSET_UINT;
    wlcf->deflate = NGX_CONF_UNSET;
    wlcf->deflate_level = NGX_CONF_UNSET;
    wlcf->deflate_min_length = NGX_CONF_UNSET_SIZE;
    wlcf->lean = NGX_CONF_UNSET;
    wlcf->fallback = NGX_CONF_UNSET;
    wlcf->limit_dry_run = NGX_CONF_UNSET;
    wlcf->limit_log_level = NGX_CONF_UNSET_UINT;
    wlcf->audit = NGX_CONF_UNSET_PTR;

    ngx_ws_bus_auth_conf_init(&wlcf->auth);

    return wlcf;
}


static char *
ngx_ws_bus_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_ws_bus_loc_conf_t *prev = parent;
    ngx_ws_bus_loc_conf_t *conf = child;

    ngx_ws_bus_main_conf_t    *wmcf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    /* "if" and "limit_except" make locations inside the location */

    if ((clcf->noname || clcf->lmt_excpt) && conf->handler == NULL) {
        conf->handler = prev->handler;
        conf->channel = prev->channel;
        conf->zone_name = prev->zone_name;
        conf->status = prev->status;

        if (clcf->lmt_excpt && clcf->handler == NULL) {
            clcf->handler = conf->handler;
        }
    }

    ngx_conf_merge_ptr_value(conf->publish, prev->publish, NULL);
    ngx_conf_merge_bitmask_value(conf->protocols, prev->protocols,
                                 (NGX_CONF_BITMASK_SET
                                  |NGX_WS_BUS_PROTOCOL_RAW
                                  |NGX_WS_BUS_PROTOCOL_JSON));
    ngx_conf_merge_ptr_value(conf->origins, prev->origins, NULL);
    ngx_ws_bus_keys_merge(&conf->keys, prev->keys);
    ngx_conf_merge_ptr_value(conf->channels, prev->channels, NULL);
    ngx_conf_merge_uint_value(conf->max_channels, prev->max_channels, 128);
    ngx_conf_merge_uint_value(conf->presence, prev->presence,
                              NGX_WS_BUS_PRESENCE_OFF);
    ngx_conf_merge_ptr_value(conf->member, prev->member, NULL);
    ngx_conf_merge_uint_value(conf->history, prev->history, 0);
    ngx_conf_merge_sec_value(conf->history_age, prev->history_age, 0);
    ngx_conf_merge_size_value(conf->message_max_size, prev->message_max_size,
                              64 * 1024);
    ngx_conf_merge_msec_value(conf->ping, prev->ping, 30000);
    ngx_conf_merge_msec_value(conf->ping_timeout, prev->ping_timeout, 10000);
    ngx_conf_merge_msec_value(conf->drain, prev->drain, 30000);
    ngx_conf_merge_msec_value(conf->batch, prev->batch, 0);
    ngx_conf_merge_size_value(conf->buffer, prev->buffer, 1024 * 1024);
    ngx_conf_merge_uint_value(conf->buffer_policy, prev->buffer_policy,
                              NGX_WS_BUS_BUFFER_CLOSE);
    ngx_conf_merge_value(conf->deflate, prev->deflate, 0);
    ngx_conf_merge_value(conf->deflate_level, prev->deflate_level, 1);
    ngx_conf_merge_size_value(conf->deflate_min_length,
                              prev->deflate_min_length, 64);
    ngx_conf_merge_value(conf->lean, prev->lean, 0);
    ngx_conf_merge_value(conf->fallback, prev->fallback, 1);
    ngx_conf_merge_value(conf->limit_dry_run, prev->limit_dry_run, 0);
    ngx_conf_merge_uint_value(conf->limit_log_level, prev->limit_log_level,
                              NGX_LOG_ERR);

    if (conf->limits == NULL) {
        conf->limits = prev->limits;
    }

    if (ngx_ws_bus_limit_zones(cf, wmcf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_ws_bus_auth_conf_merge(&conf->auth, &prev->auth);

    if (ngx_ws_bus_audit_merge(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return conf->handler ? ngx_ws_bus_check_loc_conf(cf, conf) : NGX_CONF_OK;
}


/*
 * A location of the module's, with all that it has inherited.
 */

static char *
ngx_ws_bus_check_loc_conf(ngx_conf_t *cf, ngx_ws_bus_loc_conf_t *conf)
{
    ngx_ws_bus_main_conf_t   *wmcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    if (conf->auth.on == 1) {
        wmcf->jwt = 1;

    } else if (conf->auth.on == NGX_CONF_UNSET && conf->keys) {
        wmcf->keys_idle = 1;
    }

    if (ngx_ws_bus_auth_conf_check(cf, conf) != NGX_CONF_OK
        || ngx_ws_bus_keys_use(cf, &conf->keys) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->handler == ngx_ws_bus_status_handler) {
        return NGX_CONF_OK;
    }

    if (conf->presence == NGX_WS_BUS_PRESENCE_MEMBERS
        && conf->member == NULL && conf->auth.on != 1)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"ws_bus_presence members\" needs "
                           "\"ws_bus_member\"");
        return NGX_CONF_ERROR;
    }

    return ngx_ws_bus_zone_use(cf, wmcf, conf);
}


static ngx_int_t
ngx_ws_bus_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_ws_bus_main_conf_t     *wmcf;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_ws_bus_access_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_ws_bus_auth_handler;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    if (wmcf->keys_idle && !wmcf->jwt) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "nobody is asked for a token: there are keys, but "
                           "no \"ws_bus_jwt\"");
    }

    if (ngx_ws_bus_keys_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_ws_bus_redis_conf_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_ws_bus_audit_init(cf);
}


static ngx_int_t
ngx_ws_bus_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_ws_bus_zone_t       **zone;
    ngx_ws_bus_main_conf_t   *wmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    wmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_ws_bus_module);

    if (wmcf == NULL) {
        return NGX_OK;
    }

    zone = wmcf->zones.elts;

    for (i = 0; i < wmcf->zones.nelts; i++) {

        if (ngx_ws_bus_hub_init(zone[i], cycle) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_ws_bus_auth_revoke_init(zone[i]);
    }

    return ngx_ws_bus_keys_init_process(cycle);
}


static void
ngx_ws_bus_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_ws_bus_zone_t       **zone;
    ngx_ws_bus_main_conf_t   *wmcf;

    wmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_ws_bus_module);

    if (wmcf == NULL) {
        return;
    }

    zone = wmcf->zones.elts;

    for (i = 0; i < wmcf->zones.nelts; i++) {
        ngx_ws_bus_hub_exit(zone[i]);
    }
}
