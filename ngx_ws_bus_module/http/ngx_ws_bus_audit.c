
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_ws_bus_http.h"


/*
 * ws_bus_log: a line for each event, written by nginx's log module, with all
 * that access_log can do.  That module keeps its types to itself: it is asked
 * through its table of directives and its context for a configuration of our
 * own, and through the log phase for a line.
 */


#define NGX_WS_BUS_AUDIT_FORMAT  "ws_bus"


static ngx_command_t *ngx_ws_bus_audit_command(const char *name);
static ngx_int_t ngx_ws_bus_audit_args(ngx_conf_t *cf, ngx_array_t *args);
static char *ngx_ws_bus_audit_format(ngx_conf_t *cf);
static void ngx_ws_bus_audit_write(ngx_http_request_t *r,
    ngx_ws_bus_loc_conf_t *wlcf, ngx_uint_t status);


extern ngx_module_t  ngx_http_log_module;


static ngx_str_t  ngx_ws_bus_audit_line =
    ngx_string("$remote_addr - $remote_user [$time_local] $connection "
               "$ws_bus_event $status \"$ws_bus_event_channel\" "
               "\"$ws_bus_reason\" $ws_bus_event_bytes $ws_bus_close_code "
               "\"$ws_bus_subject\"");


static ngx_http_handler_pt          ngx_ws_bus_audit_handler;

/* what is being written, for the variables */
static const ngx_ws_bus_event_t    *ngx_ws_bus_audit_current;


char *
ngx_ws_bus_audit_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_ws_bus_loc_conf_t *wlcf = conf;

    char               *rv;
    ngx_str_t          *value;
    ngx_array_t         args, *saved;
    ngx_command_t      *access_log;
    ngx_http_module_t  *module;

    access_log = ngx_ws_bus_audit_command("access_log");
    if (access_log == NULL) {
        return "needs nginx's log module";
    }

    value = cf->args->elts;

    if (wlcf->audit == NGX_CONF_UNSET_PTR) {
        module = ngx_http_log_module.ctx;

        wlcf->audit = module->create_loc_conf(cf);
        if (wlcf->audit == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        wlcf->audit_off = 1;

        return access_log->set(cf, cmd, wlcf->audit);
    }

    if (ngx_ws_bus_audit_args(cf, &args) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    value = args.elts;

    if (ngx_strcmp(value[2].data, NGX_WS_BUS_AUDIT_FORMAT) == 0) {

        rv = ngx_ws_bus_audit_format(cf);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    saved = cf->args;
    cf->args = &args;

    rv = access_log->set(cf, cmd, wlcf->audit);

    cf->args = saved;

    return rv;
}


static ngx_command_t *
ngx_ws_bus_audit_command(const char *name)
{
    ngx_command_t  *cmd;

    for (cmd = ngx_http_log_module.commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, name) == 0) {
            return cmd;
        }
    }

    return NULL;
}


/*
 * The arguments, with the format if it was left out: access_log cannot take
 * parameters without one.
 */

static ngx_int_t
ngx_ws_bus_audit_args(ngx_conf_t *cf, ngx_array_t *args)
{
    ngx_str_t   *value, *arg;
    ngx_uint_t   i, n;

    n = cf->args->nelts;
    value = cf->args->elts;

    if (ngx_array_init(args, cf->pool, n + 1, sizeof(ngx_str_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < n || i == 2; i++) {

        if (i == 2
            && args->nelts == 2
            && (n == 2
                || ngx_strncmp(value[2].data, "buffer=", 7) == 0
                || ngx_strncmp(value[2].data, "flush=", 6) == 0
                || ngx_strncmp(value[2].data, "if=", 3) == 0
                || ngx_strncmp(value[2].data, "gzip=", 5) == 0
                || ngx_strcmp(value[2].data, "gzip") == 0))
        {
            arg = ngx_array_push(args);
            ngx_str_set(arg, NGX_WS_BUS_AUDIT_FORMAT);
        }

        if (i < n) {
            arg = ngx_array_push(args);
            *arg = value[i];
        }
    }

    return NGX_OK;
}


/*
 * Defines the format, with the first use of it: each variable that a format
 * names takes room in every request.
 */

static char *
ngx_ws_bus_audit_format(ngx_conf_t *cf)
{
    char                    *rv;
    ngx_str_t                value[3];
    ngx_array_t              args, *saved;
    ngx_command_t           *log_format;
    ngx_ws_bus_main_conf_t  *wmcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    if (wmcf->audit_format) {
        return NGX_CONF_OK;
    }

    wmcf->audit_format = 1;

    log_format = ngx_ws_bus_audit_command("log_format");
    if (log_format == NULL) {
        return "needs nginx's log module";
    }

    ngx_str_set(&value[0], "log_format");
    ngx_str_set(&value[1], NGX_WS_BUS_AUDIT_FORMAT);
    value[2] = ngx_ws_bus_audit_line;

    ngx_memzero(&args, sizeof(ngx_array_t));

    args.elts = value;
    args.nelts = 3;
    args.size = sizeof(ngx_str_t);
    args.nalloc = 3;
    args.pool = cf->pool;

    saved = cf->args;
    cf->args = &args;

    rv = log_format->set(cf, log_format,
                         ngx_http_conf_get_module_main_conf(cf,
                                                       ngx_http_log_module));
    cf->args = saved;

    return rv;
}


char *
ngx_ws_bus_audit_merge(ngx_conf_t *cf, ngx_ws_bus_loc_conf_t *prev,
    ngx_ws_bus_loc_conf_t *conf)
{
    ngx_http_module_t       *module;
    ngx_ws_bus_main_conf_t  *wmcf;

    if (conf->audit == NGX_CONF_UNSET_PTR) {
        conf->audit = prev ? prev->audit : NULL;
        return NGX_CONF_OK;
    }

    if (conf->audit_off) {
        conf->audit = NULL;
        return NGX_CONF_OK;
    }

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);
    wmcf->audit = 1;

    /* open_log_file_cache is access_log's, of the same level */

    module = ngx_http_log_module.ctx;

    return module->merge_loc_conf(cf,
                   ngx_http_conf_get_module_loc_conf(cf, ngx_http_log_module),
                   conf->audit);
}


ngx_int_t
ngx_ws_bus_audit_init(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_array_t                *handlers;
    ngx_module_t              **modules;
    ngx_http_variable_t        *v;
    ngx_ws_bus_main_conf_t     *wmcf;
    ngx_http_core_main_conf_t  *cmcf;

    wmcf = ngx_http_conf_get_module_main_conf(cf, ngx_ws_bus_module);

    if (!wmcf->audit) {
        return NGX_OK;
    }

    /*
     * The log module comes first of all that have handlers, and its handler
     * is the first of the log phase: nothing else tells it from others.
     */

    modules = cf->cycle->modules;

    for (i = 0; modules[i] && modules[i] != &ngx_http_log_module; i++) {

        if (modules[i]->type == NGX_HTTP_MODULE
            && modules[i] != &ngx_http_core_module)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"ws_bus_log\" does not work with module "
                               "\"%s\" in front of nginx's own",
                               modules[i]->name);
            return NGX_ERROR;
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    handlers = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    ngx_ws_bus_audit_handler = ((ngx_http_handler_pt *) handlers->elts)[0];

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (v[i].name.len == sizeof("request_id") - 1
            && ngx_strncmp(v[i].name.data, "request_id", v[i].name.len) == 0)
        {
            wmcf->audit_id = i;
            wmcf->audit_has_id = 1;
        }
    }

    return NGX_OK;
}


void
ngx_ws_bus_audit(ngx_http_request_t *r, ngx_uint_t type,
    const ngx_str_t *channel, ngx_uint_t status, const char *reason,
    size_t bytes)
{
    ngx_ws_bus_event_t      event;
    ngx_ws_bus_loc_conf_t  *wlcf;

    static const ngx_str_t  names[] = {
        ngx_string("open"),
        ngx_string("auth"),
        ngx_string("refresh"),
        ngx_string("refuse"),
        ngx_string("publish"),
        ngx_string("delete"),
        ngx_string("limit"),
        ngx_string("close")
    };

    if (r == NULL) {
        return;
    }

    wlcf = ngx_http_get_module_loc_conf(r, ngx_ws_bus_module);

    if (wlcf->audit == NULL) {
        return;
    }

    event.name = names[type];
    event.bytes = bytes;
    event.sized = (type == NGX_WS_BUS_EVENT_PUBLISH
                   || type == NGX_WS_BUS_EVENT_LIMIT);

    ngx_str_null(&event.channel);
    ngx_str_null(&event.reason);

    if (channel) {
        event.channel = *channel;
    }

    if (reason) {
        event.reason.data = (u_char *) reason;
        event.reason.len = ngx_strlen(reason);
    }

    ngx_ws_bus_audit_current = &event;

    ngx_ws_bus_audit_write(r, wlcf, status);

    ngx_ws_bus_audit_current = NULL;
}


/*
 * The request is lent to the log module, however many lines a connection
 * brings; the next event has other values of variables.
 */

static void
ngx_ws_bus_audit_write(ngx_http_request_t *r, ngx_ws_bus_loc_conf_t *wlcf,
    ngx_uint_t status)
{
    ngx_http_request_t       copy;
    ngx_ws_bus_main_conf_t  *wmcf;

    wmcf = ngx_http_get_module_main_conf(r, ngx_ws_bus_module);

    if (wmcf->audit_has_id) {

        /* made up when it is first asked for, and the same for all lines */

        (void) ngx_http_get_indexed_variable(r, wmcf->audit_id);
    }

    if (ngx_ws_bus_ctx_lend(r, &copy) != NGX_OK) {
        return;
    }

    copy.loc_conf[ngx_http_log_module.ctx_index] = wlcf->audit;

    if (status && !r->header_sent) {
        copy.headers_out.status = status;
        copy.err_status = 0;
    }

    (void) ngx_ws_bus_audit_handler(&copy);

    ngx_ws_bus_ctx_return(r, &copy);
}


const ngx_ws_bus_event_t *
ngx_ws_bus_audit_event(void)
{
    return ngx_ws_bus_audit_current;
}
