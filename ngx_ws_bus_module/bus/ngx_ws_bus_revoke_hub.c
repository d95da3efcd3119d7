
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_hub.h"
#include "ngx_ws_bus_revoke.h"


ngx_int_t
ngx_ws_bus_revoke_publish(ngx_ws_bus_hub_t *hub,
    const ngx_ws_bus_revocation_t *rev, int64_t expires)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    static ngx_uint_t  rings[NGX_MAX_PROCESSES];

    rc = ngx_ws_bus_revoke(hub->zone, rev, expires, rings, &n);

    ngx_ws_bus_hub_ring(hub, rings, n);

    return rc;
}


ngx_int_t
ngx_ws_bus_revoke_read(ngx_ws_bus_hub_t *hub, ngx_ws_bus_record_t *rec,
    u_char *payload)
{
    size_t                    len;
    ngx_ws_bus_revocation_t   rev;
    ngx_ws_bus_revoke_head_t  head;

    static u_char  value[NGX_WS_BUS_REVOKE_VALUE_MAX];

    len = rec->len - sizeof(head);

    if (rec->type != NGX_WS_BUS_REC_REVOKED || rec->len < sizeof(head)
        || len > NGX_WS_BUS_REVOKE_VALUE_MAX)
    {
        return NGX_OK;
    }

    ngx_memcpy(&head, payload, sizeof(head));
    ngx_memcpy(value, payload + sizeof(head), len);

    if (!ngx_ws_bus_log_intact(&hub->zone->sh->log, rec->pos)) {
        return NGX_DECLINED;
    }

    rev.kind = head.kind;
    rev.time = head.time;
    rev.value.data = value;
    rev.value.len = len;

    /* what came before is given first */

    while (!ngx_queue_empty(&hub->debts)) {
        ngx_ws_bus_hub_give(hub);
    }

    if (hub->revoked) {
        hub->revoked(hub, &rev);
    }

    return NGX_OK;
}
