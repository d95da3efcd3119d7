
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <sys/eventfd.h>

#include "ngx_ws_bus_doorbell.h"


ngx_ws_bus_doorbells_t *
ngx_ws_bus_doorbells_create(ngx_uint_t n, ngx_log_t *log)
{
    ngx_fd_t                 fd;
    ngx_ws_bus_doorbells_t  *d;

    d = ngx_alloc(offsetof(ngx_ws_bus_doorbells_t, fd) + n * sizeof(ngx_fd_t),
                  log);
    if (d == NULL) {
        return NULL;
    }

    d->refs = 1;
    d->n = 0;

    while (d->n < n) {
        fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

        if (fd == -1) {
            ngx_log_error(NGX_LOG_EMERG, log, ngx_errno, "eventfd() failed");
            ngx_ws_bus_doorbells_release(d);
            return NULL;
        }

        d->fd[d->n++] = fd;
    }

    return d;
}


void
ngx_ws_bus_doorbells_release(void *data)
{
    ngx_ws_bus_doorbells_t  *d = data;

    if (--d->refs) {
        return;
    }

    while (d->n) {
        (void) close(d->fd[--d->n]);
    }

    ngx_free(d);
}


void
ngx_ws_bus_doorbell_ring(ngx_ws_bus_doorbells_t *d, ngx_uint_t slot,
    ngx_log_t *log)
{
    static const uint64_t  one = 1;

    if (slot >= d->n) {
        return;
    }

    if (write(d->fd[slot], &one, sizeof(uint64_t)) == -1) {

        /* the counter is full: the reader has been told often enough */

        if (ngx_errno != NGX_EAGAIN) {
            ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                          "write() to eventfd %d failed", d->fd[slot]);
        }
    }
}
