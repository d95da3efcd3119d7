
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_bridge.h"
#include "ngx_ws_bus_http.h"


/*
 * Zones as the configuration has them.
 */


static ngx_ws_bus_zone_t *ngx_ws_bus_zone_find(ngx_ws_bus_main_conf_t *wmcf,
    ngx_str_t *name);


char *
ngx_ws_bus_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_main_conf_t *wmcf = conf;

    off_t                size;
    ngx_str_t           *value, name;
    ngx_ws_bus_redis_t  *redis;

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    /* nginx's sizes have no "g" */

    size = ngx_parse_offset(&value[2]);

    if (size == NGX_ERROR || size > (off_t) NGX_MAX_SIZE_T_VALUE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_WS_BUS_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_ws_bus_zone_find(wmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate zone \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    redis = NULL;

    if (cf->args->nelts == 4) {

        if (value[3].len < 7 || ngx_strncmp(value[3].data, "redis=", 6) != 0) {
            return ngx_ws_bus_invalid(cf, &value[3]);
        }

        name.data = value[3].data + 6;
        name.len = value[3].len - 6;

        redis = ngx_ws_bus_redis_find(&wmcf->redises, &name);

        if (redis == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown redis \"%V\", \"ws_bus_redis\" comes "
                               "before the zone", &name);
            return NGX_CONF_ERROR;
        }

        redis->used = 1;
    }

    if (ngx_ws_bus_zone_add(cf, wmcf, &value[1], size, redis) == NULL) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_ws_bus_zone_t *
ngx_ws_bus_zone_add(ngx_conf_t *cf, ngx_ws_bus_main_conf_t *wmcf,
    ngx_str_t *name, size_t size, ngx_ws_bus_redis_t *redis)
{
    u_char              *p;
    ngx_str_t            shm_name;
    ngx_shm_zone_t      *shm_zone;
    ngx_ws_bus_zone_t   *zone, **zonep;
    ngx_pool_cleanup_t  *cln;

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_ws_bus_zone_t));
    cln = ngx_pool_cleanup_add(cf->pool, 0);
    zonep = ngx_array_push(&wmcf->zones);

    if (zone == NULL || cln == NULL || zonep == NULL) {
        return NULL;
    }

    cln->handler = ngx_ws_bus_zone_cleanup;
    cln->data = zone;

    zone->name = *name;
    zone->cycle = cf->cycle;

    /*
     * Names of shared memory are common to all modules.  With another Redis
     * it is another zone: its channels have another order.
     */

    shm_name.len = sizeof("ws_bus:") - 1 + name->len;

    if (redis) {
        shm_name.len += 1 + redis->link.name.len;

        zone->remote = ngx_ws_bus_bridge_create(cf->pool, zone, redis);
        if (zone->remote == NULL) {
            return NULL;
        }
    }

    shm_name.data = ngx_pnalloc(cf->pool, shm_name.len);
    if (shm_name.data == NULL) {
        return NULL;
    }

    p = ngx_cpymem(shm_name.data, "ws_bus:", sizeof("ws_bus:") - 1);
    p = ngx_cpymem(p, name->data, name->len);

    if (redis) {
        *p++ = '@';
        ngx_memcpy(p, redis->link.name.data, redis->link.name.len);
    }

    shm_zone = ngx_shared_memory_add(cf, &shm_name, size, &ngx_ws_bus_module);
    if (shm_zone == NULL) {
        return NULL;
    }

    if (shm_zone->data) {

        /* "a@b" is another name of "a redis=b" */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate zone \"%V\"", &shm_name);
        return NULL;
    }

    shm_zone->init = ngx_ws_bus_zone_init;
    shm_zone->data = zone;

    zone->shm_zone = shm_zone;

    *zonep = zone;

    return zone;
}


char *
ngx_ws_bus_zone_use(ngx_conf_t *cf, ngx_ws_bus_main_conf_t *wmcf,
    ngx_ws_bus_loc_conf_t *conf)
{
    ngx_ws_bus_zone_t  **zones;

    if (conf->zone_name.len) {
        conf->zone = ngx_ws_bus_zone_find(wmcf, &conf->zone_name);

        if (conf->zone == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown zone \"%V\"", &conf->zone_name);
            return NGX_CONF_ERROR;
        }

    } else {
        zones = wmcf->zones.elts;
        conf->zone = zones[0];
    }

    if (conf->zone->remote) {
        conf->zone->remote->history = ngx_max(conf->zone->remote->history,
                                              conf->history);
    }

    if (conf->message_max_size
        > ngx_ws_bus_history_max_payload(
                   ngx_ws_bus_zone_log_size(conf->zone->shm_zone->shm.size)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small for "
                           "\"ws_bus_message_max_size\" %uz",
                           &conf->zone->name, conf->message_max_size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_ws_bus_zone_t *
ngx_ws_bus_zone_find(ngx_ws_bus_main_conf_t *wmcf, ngx_str_t *name)
{
    ngx_uint_t           i;
    ngx_ws_bus_zone_t  **zone;

    zone = wmcf->zones.elts;

    for (i = 0; i < wmcf->zones.nelts; i++) {
        if (zone[i]->name.len == name->len
            && ngx_strncmp(zone[i]->name.data, name->data, name->len) == 0)
        {
            return zone[i];
        }
    }

    return NULL;
}
