
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_link.h"
#include "ngx_ws_bus_link_core.h"


/* the first line of a password file */
#define NGX_WS_BUS_LINK_PASSWORD  1024


static void ngx_ws_bus_link_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_ws_bus_link_address(ngx_ws_bus_link_t *link,
    struct sockaddr *sockaddr, socklen_t socklen);
static void ngx_ws_bus_link_open(ngx_ws_bus_link_t *link);
static void ngx_ws_bus_link_connected_handler(ngx_event_t *wev);
static void ngx_ws_bus_link_ignore_handler(ngx_event_t *rev);
static void ngx_ws_bus_link_give_up(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_reason_e reason, ngx_err_t err, ngx_str_t *text);

#if (NGX_SSL)
static void ngx_ws_bus_link_secure(ngx_ws_bus_link_t *link);
static ngx_int_t ngx_ws_bus_link_sni(ngx_ws_bus_link_t *link,
    ngx_connection_t *c);
static void ngx_ws_bus_link_secured_handler(ngx_connection_t *c);
static ngx_int_t ngx_ws_bus_link_check_name(ngx_ws_bus_link_t *link,
    ngx_connection_t *c);
static ngx_str_t *ngx_ws_bus_link_ssl_name(ngx_ws_bus_link_t *link);
static ngx_uint_t ngx_ws_bus_link_is_address(ngx_str_t *name);
#endif

static void ngx_ws_bus_link_greet(ngx_ws_bus_link_t *link);
static ngx_int_t ngx_ws_bus_link_auth(ngx_ws_bus_link_t *link);
static ngx_int_t ngx_ws_bus_link_password(ngx_ws_bus_link_t *link,
    u_char *buf, ngx_str_t *password);
static ngx_int_t ngx_ws_bus_link_setname(ngx_ws_bus_link_t *link);


void
ngx_ws_bus_link_connect(ngx_ws_bus_link_t *link)
{
    ngx_addr_t          *addr;
    ngx_resolver_ctx_t  *ctx;

    static ngx_str_t  none = ngx_string("no resolver is defined");

    link->connection_log.log_level = link->log.log_level;

    if (link->told && !(link->log.log_level & NGX_LOG_DEBUG_ALL)) {
        link->connection_log.log_level = NGX_LOG_ALERT;
    }

    if (link->server->naddrs) {
        addr = &link->server->addrs[link->next++ % link->server->naddrs];

        link->naddrs = link->server->naddrs;

        ngx_ws_bus_link_address(link, addr->sockaddr, addr->socklen);
        ngx_ws_bus_link_open(link);
        return;
    }

    link->state = NGX_WS_BUS_LINK_RESOLVING;
    link->log.action = "resolving the name of redis";

    ctx = link->conf->resolver ? ngx_resolve_start(link->conf->resolver, NULL)
                               : NGX_NO_RESOLVER;

    if (ctx == NULL) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_MEMORY, 0, NULL);
        return;
    }

    if (ctx == NGX_NO_RESOLVER) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_RESOLVE, 0, &none);
        return;
    }

    ctx->name = link->server->host;
    ctx->handler = ngx_ws_bus_link_resolved;
    ctx->data = link;
    ctx->timeout = link->conf->resolver_timeout;
    ctx->cancelable = 1;

    link->ctx = ctx;

    /* the handler may be called before this returns, and close the link */

    if (ngx_resolve_name(ctx) != NGX_OK) {
        link->ctx = NULL;
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_RESOLVE, 0, NULL);
    }
}


static void
ngx_ws_bus_link_resolved(ngx_resolver_ctx_t *ctx)
{
    char                 *error;
    ngx_str_t             text;
    ngx_uint_t            i;
    ngx_ws_bus_link_t    *link;

    link = ctx->data;
    link->ctx = NULL;

    if (ctx->state || ctx->naddrs == 0) {
        error = ngx_resolver_strerror(ctx->state);

        text.len = ngx_strlen(error);
        text.data = (u_char *) error;

        ngx_resolve_name_done(ctx);

        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_RESOLVE, 0, &text);
        return;
    }

    i = link->next++ % ctx->naddrs;

    link->naddrs = ctx->naddrs;

    ngx_ws_bus_link_address(link, ctx->addrs[i].sockaddr,
                            ctx->addrs[i].socklen);
    ngx_inet_set_port(&link->sockaddr.sockaddr, link->server->port);

    ngx_resolve_name_done(ctx);

    ngx_ws_bus_link_open(link);
}


static void
ngx_ws_bus_link_address(ngx_ws_bus_link_t *link, struct sockaddr *sockaddr,
    socklen_t socklen)
{
    ngx_memcpy(&link->sockaddr, sockaddr, socklen);

    link->peer.sockaddr = &link->sockaddr.sockaddr;
    link->peer.socklen = socklen;
}


static void
ngx_ws_bus_link_open(ngx_ws_bus_link_t *link)
{
    ngx_int_t          rc;
    ngx_err_t          err;
    ngx_uint_t         level;
    ngx_connection_t  *c;

    link->state = NGX_WS_BUS_LINK_CONNECTING;
    link->log.action = "connecting to redis";
    link->tried++;

    ngx_add_timer(&link->timer, link->conf->connect_timeout);

    link->peer.get = ngx_event_get_peer;
    link->peer.name = &link->server->name;
    link->peer.log = &link->connection_log;
    link->peer.log_error = NGX_ERROR_INFO;

    /* a failure is logged here, with others of its kind */

    level = link->connection_log.log_level;

    if (!(level & NGX_LOG_DEBUG_ALL)) {
        link->connection_log.log_level = NGX_LOG_ALERT;
    }

    rc = ngx_event_connect_peer(&link->peer);
    err = ngx_socket_errno;

    link->connection_log.log_level = level;

    if (rc == NGX_ERROR) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_MEMORY, 0, NULL);
        return;
    }

    if (rc == NGX_DECLINED || rc == NGX_BUSY) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_CONNECT, err, NULL);
        return;
    }

    c = link->peer.connection;

    c->data = link;
    c->log = &link->connection_log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->sendfile = 0;

    c->pool = ngx_create_pool(1024, c->log);
    if (c->pool == NULL) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_MEMORY, 0, NULL);
        return;
    }

    c->read->handler = ngx_ws_bus_link_ignore_handler;
    c->write->handler = ngx_ws_bus_link_connected_handler;

    if (rc == NGX_OK) {
        ngx_ws_bus_link_connected_handler(c->write);
    }
}


static void
ngx_ws_bus_link_connected_handler(ngx_event_t *wev)
{
    int                 err;
    socklen_t           len;
    ngx_connection_t   *c;
    ngx_ws_bus_link_t  *link;

    c = wev->data;
    link = c->data;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_CONNECT, err, NULL);
        return;
    }

    if (link->sockaddr.sockaddr.sa_family != AF_UNIX) {
        (void) ngx_tcp_nodelay(c);
    }

#if (NGX_SSL)

    if (link->conf->ssl) {
        ngx_ws_bus_link_secure(link);
        return;
    }

#endif

    ngx_ws_bus_link_greet(link);
}


static void
ngx_ws_bus_link_ignore_handler(ngx_event_t *rev)
{
    /* a failed connect is seen by the write event */
}


static void
ngx_ws_bus_link_give_up(ngx_ws_bus_link_t *link,
    ngx_ws_bus_link_reason_e reason, ngx_err_t err, ngx_str_t *text)
{
    ngx_ws_bus_link_complain(link, reason, err, text);
    ngx_ws_bus_link_fail(link, reason);
}


void
ngx_ws_bus_link_disconnect(ngx_ws_bus_link_t *link)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *c;

    if (link->ctx) {
        ngx_resolve_name_done(link->ctx);
        link->ctx = NULL;
    }

    c = link->peer.connection;

    if (c == NULL) {
        return;
    }

    link->peer.connection = NULL;

#if (NGX_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;

        (void) ngx_ssl_shutdown(c);
    }

#endif

    pool = c->pool;

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}


#if (NGX_SSL)

static void
ngx_ws_bus_link_secure(ngx_ws_bus_link_t *link)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    link->state = NGX_WS_BUS_LINK_SECURING;
    link->log.action = "TLS handshaking with redis";

    c = link->peer.connection;

    if (ngx_ssl_create_connection(link->conf->ssl, c, NGX_SSL_CLIENT)
        != NGX_OK
        || ngx_ws_bus_link_sni(link, c) != NGX_OK)
    {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_TLS, 0, NULL);
        return;
    }

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_ws_bus_link_secured_handler;
        return;
    }

    ngx_ws_bus_link_secured_handler(c);
}


static ngx_int_t
ngx_ws_bus_link_sni(ngx_ws_bus_link_t *link, ngx_connection_t *c)
{
    ngx_str_t  *name;
    u_char      host[NGX_MAXHOSTNAMELEN];

    name = ngx_ws_bus_link_ssl_name(link);

    /* RFC 6066, 3: literal addresses are not permitted */

    if (name->len == 0 || name->len >= NGX_MAXHOSTNAMELEN
        || ngx_ws_bus_link_is_address(name))
    {
        return NGX_OK;
    }

    (void) ngx_cpystrn(host, name->data, name->len + 1);

    if (SSL_set_tlsext_host_name(c->ssl->connection, (char *) host) == 0) {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_set_tlsext_host_name(\"%s\") failed", host);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_ws_bus_link_secured_handler(ngx_connection_t *c)
{
    long                rc;
    const char         *error;
    ngx_str_t           text;
    ngx_ws_bus_link_t  *link;

    static ngx_str_t  mismatch = ngx_string("it is for another name");

    link = c->data;

    if (!c->ssl->handshaked) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_TLS, 0, NULL);
        return;
    }

    if (!link->conf->ssl_verify) {
        ngx_ws_bus_link_greet(link);
        return;
    }

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        error = X509_verify_cert_error_string(rc);

        text.len = ngx_strlen(error);
        text.data = (u_char *) error;

        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_VERIFY, 0, &text);
        return;
    }

    if (ngx_ws_bus_link_check_name(link, c) != NGX_OK) {
        ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_VERIFY, 0, &mismatch);
        return;
    }

    ngx_ws_bus_link_greet(link);
}


/*
 * nginx compares names only; where servers are known by their addresses, a
 * certificate has these (RFC 5280, 4.2.1.6).
 */

static ngx_int_t
ngx_ws_bus_link_check_name(ngx_ws_bus_link_t *link, ngx_connection_t *c)
{
    int         rc;
    X509       *cert;
    u_char      buf[NGX_SOCKADDR_STRLEN];
    ngx_str_t   name;

    name = *ngx_ws_bus_link_ssl_name(link);

    if (!ngx_ws_bus_link_is_address(&name)
        || name.len >= NGX_SOCKADDR_STRLEN)
    {
        return ngx_ssl_check_host(c, &name);
    }

    if (name.data[0] == '[') {
        name.data++;
        name.len -= 2;
    }

    (void) ngx_cpystrn(buf, name.data, name.len + 1);

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_ERROR;
    }

    rc = X509_check_ip_asc(cert, (char *) buf, 0);

    X509_free(cert);

    return (rc == 1) ? NGX_OK : NGX_ERROR;
}


static ngx_str_t *
ngx_ws_bus_link_ssl_name(ngx_ws_bus_link_t *link)
{
    return link->conf->ssl_name.len ? &link->conf->ssl_name
                                    : &link->server->host;
}


static ngx_uint_t
ngx_ws_bus_link_is_address(ngx_str_t *name)
{
    return (name->len > 2 && name->data[0] == '[')
           || ngx_inet_addr(name->data, name->len) != INADDR_NONE;
}

#endif


/*
 * All in one write.  PING is last: it is refused while the server needs a
 * password or reads its data set, and what it answers is known everywhere.
 */

static void
ngx_ws_bus_link_greet(ngx_ws_bus_link_t *link)
{
    u_char     number[NGX_INT64_LEN];
    ngx_str_t  argv[NGX_WS_BUS_LINK_ARGS];

    link->state = NGX_WS_BUS_LINK_GREETING;
    link->log.action = "greeting redis";

    link->resp = ngx_ws_bus_resp_create(link->conf->max_reply,
                                        link->conf->max_elements);
    if (link->resp == NULL) {
        goto failed;
    }

    if (ngx_ws_bus_link_auth(link) != NGX_OK) {
        goto failed;
    }

    if (link->conf->database && !(link->flags & NGX_WS_BUS_LINK_SENTINEL)) {
        ngx_str_set(&argv[0], "SELECT");

        argv[1].data = number;
        argv[1].len = ngx_sprintf(number, "%ui", link->conf->database)
                      - number;

        if (ngx_ws_bus_link_queue(link, argv, 2, NGX_WS_BUS_LINK_OP_SELECT,
                                  NULL)
            != NGX_OK)
        {
            goto failed;
        }
    }

    if (ngx_ws_bus_link_setname(link) != NGX_OK) {
        goto failed;
    }

    ngx_str_set(&argv[0], "PING");

    if (ngx_ws_bus_link_queue(link, argv, 1, NGX_WS_BUS_LINK_OP_HELLO, NULL)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_ws_bus_link_run(link);

    return;

failed:

    ngx_ws_bus_link_give_up(link, NGX_WS_BUS_LINK_MEMORY, 0, NULL);
}


static ngx_int_t
ngx_ws_bus_link_auth(ngx_ws_bus_link_t *link)
{
    u_char      buf[NGX_WS_BUS_LINK_PASSWORD];
    ngx_int_t   rc;
    ngx_str_t   argv[NGX_WS_BUS_LINK_ARGS];
    ngx_uint_t  n;

    n = 0;

    ngx_str_set(&argv[n], "AUTH");
    n++;

    if (link->conf->user.len) {
        argv[n++] = link->conf->user;
    }

    if (ngx_ws_bus_link_password(link, buf, &argv[n]) != NGX_OK) {
        return NGX_OK;
    }

    rc = ngx_ws_bus_link_queue(link, argv, n + 1, NGX_WS_BUS_LINK_OP_AUTH,
                               NULL);

    if (rc == NGX_OK) {
        link->last->secret = 1;
    }

    ngx_explicit_memzero(buf, NGX_WS_BUS_LINK_PASSWORD);

    return rc;
}


/*
 * The file is read at every connect, so that the password can be changed.
 */

static ngx_int_t
ngx_ws_bus_link_password(ngx_ws_bus_link_t *link, u_char *buf,
    ngx_str_t *password)
{
    ngx_fd_t    fd;
    ssize_t     n;
    ngx_err_t   err;
    ngx_str_t  *file;

    file = &link->conf->password_file;

    if (file->len == 0) {
        *password = link->conf->password;
        return password->len ? NGX_OK : NGX_DECLINED;
    }

    n = -1;
    fd = ngx_open_file(file->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);
    err = ngx_errno;

    if (fd != NGX_INVALID_FILE) {
        n = ngx_read_fd(fd, buf, NGX_WS_BUS_LINK_PASSWORD);
        err = ngx_errno;

        (void) ngx_close_file(fd);
    }

    if (n > 0) {
        password->data = buf;
        password->len = ngx_ws_bus_link_first_line(buf, n);

        if (password->len) {
            return NGX_OK;
        }
    }

    if (!link->told_file) {
        link->told_file = 1;

        ngx_log_error(NGX_LOG_WARN, &link->log, n < 0 ? err : 0,
                      "cannot read password file \"%V\", "
                      "the password read at start is used", file);
    }

    *password = link->conf->password;

    return NGX_OK;
}


size_t
ngx_ws_bus_link_first_line(u_char *p, size_t len)
{
    size_t  n;

    for (n = 0; n < len && p[n] != LF && p[n] != CR; n++) { /* void */ }

    return n;
}


static ngx_int_t
ngx_ws_bus_link_setname(ngx_ws_bus_link_t *link)
{
    u_char     *last, buf[128];
    ngx_str_t   argv[NGX_WS_BUS_LINK_ARGS];

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "SETNAME");

    last = ngx_snprintf(buf, 128, "ws_bus:%P:%V", ngx_pid, &link->conf->name);

    argv[2].data = buf;
    argv[2].len = last - buf;

    return ngx_ws_bus_link_queue(link, argv, 3, NGX_WS_BUS_LINK_OP_SETNAME,
                                 NULL);
}


ngx_int_t
ngx_ws_bus_link_greeted(ngx_ws_bus_link_t *link, ngx_ws_bus_link_op_e type,
    ngx_ws_bus_reply_t *reply)
{
    size_t                    len;
    ngx_str_t                 text;
    ngx_ws_bus_link_reason_e  reason;

    if (reply->type != NGX_WS_BUS_REPLY_ERROR) {
        return (type == NGX_WS_BUS_LINK_OP_HELLO) ? NGX_DONE : NGX_OK;
    }

    text = reply->str;

    switch (type) {

    case NGX_WS_BUS_LINK_OP_SETNAME:

        /* a name is a help for people, and may be denied */

        ngx_log_error(NGX_LOG_INFO, &link->log, 0,
                      "redis refused CLIENT SETNAME: \"%V\"", &reply->str);
        return NGX_OK;

    case NGX_WS_BUS_LINK_OP_AUTH:

        /*
         * many a sentinel has no password and no such user where its servers
         * have them; the one that needs a password refuses PING
         */

        if (link->flags & NGX_WS_BUS_LINK_SENTINEL) {
            return NGX_OK;
        }

        reason = NGX_WS_BUS_LINK_AUTH;

        /* the code only: where AUTH is unknown, its arguments follow */

        for (len = 0; len < text.len && text.data[len] != ' '; len++) {
            /* void */
        }

        text.len = len;
        break;

    default:

        if (ngx_ws_bus_reply_is_error(reply, "NOAUTH")) {
            reason = NGX_WS_BUS_LINK_AUTH;

        } else if (ngx_ws_bus_reply_is_error(reply, "LOADING")) {
            reason = NGX_WS_BUS_LINK_LOADING;

        } else {
            reason = NGX_WS_BUS_LINK_REFUSED;
        }
    }

    link->reason = reason;

    ngx_ws_bus_link_complain(link, reason, 0, &text);

    return NGX_ERROR;
}
