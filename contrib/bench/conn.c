
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wsload.h"


#define BUFFER_SIZE   (512 * 1024)
#define EVENTS        512

/* the example key and its answer of RFC 6455, 1.3 */
#define KEY           "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define PROTOCOL      "ws-bus.v1.json"


static void conn_connect(conn_t *c);
static void conn_watch(conn_t *c, int op, uint32_t events);
static void conn_read(conn_t *c);
static void conn_write(conn_t *c);
static void conn_lost(conn_t *c);
static size_t handshake_parse(conn_t *c, u_char *p, size_t len);
static size_t response_parse(conn_t *c, u_char *p, size_t len);
static size_t frame_parse(conn_t *c, u_char *p, size_t len);
static u_char *header_find(u_char *p, u_char *last, const char *name);


static int                epoll_fd;
static conn_t            *conns;
static u_char            *tails;
static size_t             tail_room;
static u_char             buffer[BUFFER_SIZE];
static const handlers_t  *on;
static struct in_addr     source;
static unsigned           opened;

unsigned                  close_code;


void
die(const char *fmt, ...)
{
    va_list  args;

    fflush(stdout);
    fputs("wsload: ", stderr);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);
    exit(2);
}


void
loop_init(unsigned n, unsigned host, size_t room, const handlers_t *handlers)
{
    unsigned       i;
    struct rlimit  limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        die("getrlimit() failed: %s", strerror(errno));
    }

    limit.rlim_cur = limit.rlim_max;

    if (setrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_max < n + 16) {
        die("%u connections in one process, but only %lu files may be open",
            n, (unsigned long) limit.rlim_max);
    }

    on = handlers;
    source.s_addr = htonl((INADDR_LOOPBACK & 0xffffff00) | host);
    tail_room = room < 1024 ? 1024 : room;
    epoll_fd = epoll_create1(0);

    conns = calloc(n, sizeof(conn_t));
    tails = malloc(n * tail_room);

    if (epoll_fd == -1 || conns == NULL || tails == NULL) {
        die("no memory for %u connections", n);
    }

    for (i = 0; i < n; i++) {
        conns[i].id = i;
    }
}


conn_t *
loop_conn(unsigned id)
{
    return &conns[id];
}


int
loop_turn(int timeout)
{
    int                 i, n;
    conn_t             *c;
    struct epoll_event  events[EVENTS];

    if (options.spin) {
        timeout = 0;
    }

    n = epoll_wait(epoll_fd, events, EVENTS, timeout);

    if (n == -1) {
        if (errno == EINTR) {
            return 0;
        }

        die("epoll_wait() failed: %s", strerror(errno));
    }

    for (i = 0; i < n; i++) {
        c = &conns[events[i].data.u32];

        if (events[i].events & EPOLLOUT) {
            conn_write(c);
        }

        if (events[i].events & ~EPOLLOUT) {
            conn_read(c);
        }
    }

    return n;
}


int
loop_goes_on(int timeout, uint64_t *progress)
{
    if (loop_turn(timeout)) {
        *progress = now_ns();
        return 1;
    }

    return now_ns() - *progress <= options.timeout * SEC;
}


void
loop_open(unsigned first, unsigned n, unsigned ahead,
    void (*channel)(unsigned i, char *name))
{
    int         len;
    char        name[CHANNEL_MAX], request[512];
    conn_t     *c;
    unsigned    started;
    uint64_t    progress;

    opened = 0;
    started = 0;
    progress = now_ns();

    while (opened < n) {

        while (started < n && started - opened < ahead) {
            c = &conns[first + started];
            channel(first + started, name);
            started++;

            conn_connect(c);
            c->state = CONN_HANDSHAKE;

            len = snprintf(request, sizeof(request),
                           "GET %s%s HTTP/1.1\r\n"
                           "Host: 127.0.0.1:%u\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Key: " KEY "\r\n"
                           "Sec-WebSocket-Version: 13\r\n"
                           "%s"
                           "\r\n",
                           options.prefix, name, options.port,
                           options.json ? "Sec-WebSocket-Protocol: " PROTOCOL
                                          "\r\n" : "");

            conn_send(c, (u_char *) request, len);
        }

        if (!loop_goes_on(100, &progress)) {
            die("%u of %u handshakes got no answer", started - opened, n);
        }
    }
}


void
loop_open_http(unsigned id)
{
    conn_connect(&conns[id]);
    conns[id].state = CONN_HTTP;
}


/*
 * On the loopback interface a connect() does not wait for anything but room
 * in the listener's queue, so it may as well block.
 */

static void
conn_connect(conn_t *c)
{
    int                 fd, one;
    struct sockaddr_in  sin;

    one = 1;
    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1) {
        die("socket() failed: %s", strerror(errno));
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr = source;

    /* a port that is only unique together with the server's address */
    (void) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
                      sizeof(one));

    if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        die("bind() failed: %s", strerror(errno));
    }

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons(options.port);

    if (connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1
        || fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
    {
        die("connect() failed: %s", strerror(errno));
    }

    c->fd = fd;
    c->tail_len = 0;

    conn_watch(c, EPOLL_CTL_ADD, EPOLLIN);
}


static void
conn_watch(conn_t *c, int op, uint32_t events)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.u32 = c->id;

    if (epoll_ctl(epoll_fd, op, c->fd, &ev) == -1) {
        die("epoll_ctl() failed: %s", strerror(errno));
    }
}


void
conn_send(conn_t *c, const u_char *data, size_t len)
{
    ssize_t   n;
    u_char   *rest;

    n = 0;

    if (c->rest == NULL) {
        n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n == (ssize_t) len) {
            return;
        }

        if (n == -1) {
            if (errno != EAGAIN) {
                return;    /* reading tells */
            }

            n = 0;
        }

        conn_watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }

    rest = realloc(c->rest, c->rest_len + len - n);

    if (rest == NULL) {
        die("no memory");
    }

    memcpy(rest + c->rest_len, data + n, len - n);
    c->rest = rest;
    c->rest_len += len - n;
}


static void
conn_write(conn_t *c)
{
    ssize_t  n;

    if (c->rest == NULL) {
        return;
    }

    n = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n > 0 && (size_t) n < c->rest_len) {
        c->rest_len -= n;
        memmove(c->rest, c->rest + n, c->rest_len);
        return;
    }

    free(c->rest);
    c->rest = NULL;
    c->rest_len = 0;

    conn_watch(c, EPOLL_CTL_MOD, EPOLLIN);
}


static void
conn_read(conn_t *c)
{
    u_char   *p;
    size_t    len, used;
    ssize_t   n;

    if (c->state == CONN_UNUSED || c->state == CONN_CLOSED) {
        return;
    }

    len = c->tail_len;
    memcpy(buffer, tails + c->id * tail_room, len);

    n = recv(c->fd, buffer + len, BUFFER_SIZE - len, 0);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            conn_lost(c);
        }

        return;
    }

    len += n;
    c->tail_len = 0;

    for (p = buffer; len; p += used, len -= used) {

        switch (c->state) {

        case CONN_HANDSHAKE:
            used = handshake_parse(c, p, len);
            break;

        case CONN_OPEN:
            used = frame_parse(c, p, len);
            break;

        case CONN_HTTP:
            used = response_parse(c, p, len);
            break;

        default:
            return;
        }

        if (used == 0) {
            break;
        }
    }

    if (len > tail_room) {
        die("a frame or head of more than %zu bytes", tail_room);
    }

    memcpy(tails + c->id * tail_room, p, len);
    c->tail_len = len;
}


static void
conn_lost(conn_t *c)
{
    if (c->state == CONN_HANDSHAKE) {
        die("the server closed a connection instead of upgrading it");
    }

    conn_close(c);

    if (on->closed) {
        on->closed(c);
    }
}


void
conn_close(conn_t *c)
{
    if (c->state == CONN_UNUSED || c->state == CONN_CLOSED) {
        return;
    }

    close(c->fd);
    free(c->rest);

    c->rest = NULL;
    c->rest_len = 0;
    c->state = CONN_CLOSED;
}


/* The parsers return how many bytes they are done with, 0 for none yet. */

static size_t
handshake_parse(conn_t *c, u_char *p, size_t len)
{
    u_char  *end, *value;

    end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL) {
        return 0;
    }

    value = header_find(p, end + 2, "Sec-WebSocket-Accept:");

    if (memcmp(p, "HTTP/1.1 101", sizeof("HTTP/1.1 101") - 1) != 0
        || value == NULL
        || memcmp(value, ACCEPT "\r\n", sizeof(ACCEPT "\r\n") - 1) != 0)
    {
        die("handshake refused: %.*s", (int) (end - p), (char *) p);
    }

    opened++;
    c->state = CONN_OPEN;

    if (on->open) {
        on->open(c);
    }

    return end + 4 - p;
}


static size_t
response_parse(conn_t *c, u_char *p, size_t len)
{
    u_char    *end, *value;
    size_t     size;
    unsigned   status;

    end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL) {
        return 0;
    }

    value = header_find(p, end + 2, "Content-Length:");

    if (value == NULL || sscanf((char *) p, "HTTP/1.1 %u", &status) != 1) {
        die("no answer to POST: %.*s", (int) (end - p), (char *) p);
    }

    size = end + 4 - p + strtoul((char *) value, NULL, 10);

    if (size > len) {
        return 0;
    }

    if (on->response) {
        on->response(c, status);
    }

    return size;
}


static size_t
frame_parse(conn_t *c, u_char *p, size_t len)
{
    size_t    size, head;
    unsigned  i, op;

    if (len < 2) {
        return 0;
    }

    op = p[0] & 0xf;
    size = p[1];
    head = 2;

    if (!(p[0] & 0x80) || (p[0] & 0x70) || size > 127) {
        die("frame header %02x %02x is not expected", p[0], p[1]);
    }

    if (size > 125) {
        head += size == 126 ? 2 : 8;

        if (len < head) {
            return 0;
        }

        for (i = 2, size = 0; i < head; i++) {
            size = size << 8 | p[i];
        }
    }

    if (len - head < size) {
        return 0;
    }

    switch (op) {

    case OP_TEXT:
    case OP_BINARY:
        if (on->message) {
            on->message(c, p + head, size);
        }

        break;

    case OP_PING:
        conn_control(c, OP_PONG, p + head, size);
        break;

    case OP_PONG:
        if (on->pong) {
            on->pong(c);
        }

        break;

    case OP_CLOSE:
        close_code = size < 2 ? 0 : p[head] << 8 | p[head + 1];
        conn_lost(c);
        break;
    }

    return head + size;
}


static u_char *
header_find(u_char *p, u_char *last, const char *name)
{
    size_t  len;

    len = strlen(name);

    while (p < last) {

        if ((size_t) (last - p) > len
            && strncasecmp((char *) p, name, len) == 0)
        {
            p += len;

            while (*p == ' ') {
                p++;
            }

            return p;
        }

        p = memchr(p, '\n', last - p);

        if (p == NULL) {
            break;
        }

        p++;
    }

    return NULL;
}


void
conn_control(conn_t *c, unsigned op, const u_char *data, size_t len)
{
    u_char    frame[6 + 125], *p;
    unsigned  i;

    static const u_char  mask[4] = { 0x5e, 0x91, 0x0c, 0xa7 };

    p = frame_head(frame, op, len, mask);

    for (i = 0; i < len; i++) {
        *p++ = data[i] ^ mask[i & 3];
    }

    conn_send(c, frame, p - frame);
}


u_char *
frame_head(u_char *p, unsigned op, size_t len, const u_char *mask)
{
    int  shift;

    *p++ = 0x80 | op;

    if (len < 126) {
        *p++ = 0x80 | len;
        shift = 0;

    } else if (len < 65536) {
        *p++ = 0x80 | 126;
        shift = 16;

    } else {
        *p++ = 0x80 | 127;
        shift = 64;
    }

    while (shift) {
        shift -= 8;
        *p++ = (uint64_t) len >> shift;
    }

    memcpy(p, mask, 4);

    return p + 4;
}
