
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


/*
 * The floor that servers are compared with: the least a WebSocket bus can do
 * on one thread with ordinary sockets.  Level-triggered epoll, one recv() per
 * event, frames unmasked and given their new header where they lie, one
 * send() per client and message, no copy, no queue, no timer, no limit.
 *
 *     GET  /ws/<channel>      WebSocket: subscribes, and publishes
 *     GET  /batch/<channel>   WebSocket: all that one recv() brought goes back
 *                             to its sender by one send()
 *     POST /pub/<channel>     publishes the body
 *
 * It is no server to use: a client that does not take its bytes at once is
 * cut off, and messages must come whole (no fragments).
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>


#define BUFFER_SIZE   (1024 * 1024)
#define EVENTS        512
#define BUCKETS       65536

/* in front of the buffer: a header put before a payload never underruns */
#define HEADROOM      16

#define OP_TEXT       0x1
#define OP_BINARY     0x2
#define OP_CLOSE      0x8
#define OP_PING       0x9

#define FIN           0x80
#define MASKED        0x80


typedef struct conn_s     conn_t;
typedef struct channel_s  channel_t;

struct conn_s {
    int         fd;
    uint32_t    tail_len;
    u_char     *tail;
    channel_t  *channel;      /* NULL: still HTTP */
    conn_t     *next;
    conn_t    **link;
    int         batch;
};

struct channel_s {
    conn_t     *subscribers;
    channel_t  *next;
    channel_t **link;
    size_t      len;
    u_char      name[];
};


static int listen_on(unsigned port);
static void loop(int listener);
static void accept_all(int listener);
static void conn_read(conn_t *c);
static void conn_keep(conn_t *c, u_char *data, size_t len);
static void conn_close(conn_t *c);
static u_char *http_parse(conn_t *c, u_char *p, u_char *last);
static u_char *http_header(u_char *p, u_char *last, const char *name,
    size_t *len);
static void http_upgrade(conn_t *c, u_char *key, size_t len, u_char *name,
    size_t name_len);
static u_char *ws_parse(conn_t *c, u_char *p, u_char *last);
static void unmask(u_char *p, size_t len, const u_char *mask);
static u_char *frame(u_char *payload, size_t len, unsigned op);
static void publish(channel_t *ch, u_char *payload, size_t len, unsigned op);
static void deliver(conn_t *c, const u_char *data, size_t len);
static channel_t *channel_find(const u_char *name, size_t len, int create);
static void channel_leave(conn_t *c);


static int         epoll_fd;
static u_char      buffer[HEADROOM + BUFFER_SIZE];
static u_char      batch[BUFFER_SIZE];
static size_t      batch_len;
static channel_t  *buckets[BUCKETS];


int
main(int argc, char **argv)
{
    int                 fd;
    socklen_t           len;
    struct rlimit       limit;
    struct sockaddr_in  sin;

    signal(SIGPIPE, SIG_IGN);

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }

    fd = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    len = sizeof(sin);

    if (fd == -1 || getsockname(fd, (struct sockaddr *) &sin, &len) == -1) {
        perror("floor");
        return 2;
    }

    printf("%d\n", ntohs(sin.sin_port));
    fflush(stdout);

    loop(fd);

    return 2;
}


static int
listen_on(unsigned port)
{
    int                 fd, on;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    on = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(fd, 4096) == -1)
    {
        return -1;
    }

    return fd;
}


static void
loop(int listener)
{
    int                 i, n;
    struct epoll_event  ev, events[EVENTS];

    epoll_fd = epoll_create1(0);

    ev.events = EPOLLIN;
    ev.data.ptr = NULL;

    if (epoll_fd == -1
        || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) == -1)
    {
        perror("epoll");
        return;
    }

    for ( ;; ) {
        n = epoll_wait(epoll_fd, events, EVENTS, -1);

        if (n == -1 && errno != EINTR) {
            perror("epoll_wait");
            return;
        }

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(listener);

            } else {
                conn_read(events[i].data.ptr);
            }
        }
    }
}


static void
accept_all(int listener)
{
    int                 fd, on;
    conn_t             *c;
    struct epoll_event  ev;

    on = 1;

    for ( ;; ) {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

        if (fd == -1) {
            return;
        }

        c = calloc(1, sizeof(conn_t));

        if (c == NULL) {
            close(fd);
            return;
        }

        c->fd = fd;

        ev.events = EPOLLIN;
        ev.data.ptr = c;

        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) == -1) {
            conn_close(c);
        }
    }
}


static void
conn_read(conn_t *c)
{
    u_char   *p, *next, *last;
    ssize_t   n;

    p = buffer + HEADROOM;

    if (c->tail_len) {
        memcpy(p, c->tail, c->tail_len);
    }

    n = recv(c->fd, p + c->tail_len, BUFFER_SIZE - c->tail_len, 0);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            conn_close(c);
        }

        return;
    }

    last = p + c->tail_len + n;
    c->tail_len = 0;
    batch_len = 0;

    while (p < last) {
        next = c->channel ? ws_parse(c, p, last) : http_parse(c, p, last);

        if (next == NULL) {
            conn_close(c);
            return;
        }

        if (next == p) {
            conn_keep(c, p, last - p);
            break;
        }

        p = next;
    }

    if (batch_len) {
        deliver(c, batch, batch_len);
    }
}


static void
conn_keep(conn_t *c, u_char *data, size_t len)
{
    u_char  *tail;

    tail = realloc(c->tail, len);

    if (tail == NULL || len == BUFFER_SIZE) {
        shutdown(c->fd, SHUT_RDWR);
        return;
    }

    memcpy(tail, data, len);
    c->tail = tail;
    c->tail_len = len;
}


static void
conn_close(conn_t *c)
{
    if (c->channel) {
        channel_leave(c);
    }

    close(c->fd);
    free(c->tail);
    free(c);
}


/*
 * Returns where the next request or frame begins, p if this one is not
 * complete yet, or NULL if the connection must be closed; so does ws_parse().
 */

static u_char *
http_parse(conn_t *c, u_char *p, u_char *last)
{
    u_char     *head, *name, *end, *value, *body;
    size_t      len, size;
    channel_t  *ch;

    static const char  created[] =
        "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

    body = memmem(p, last - p, "\r\n\r\n", 4);

    if (body == NULL) {
        return p;
    }

    head = body + 2;
    body += 4;

    if (memcmp(p, "GET /ws/", 8) == 0) {
        name = p + 8;

    } else if (memcmp(p, "GET /batch/", 11) == 0) {
        name = p + 11;
        c->batch = 1;

    } else if (memcmp(p, "POST /pub/", 10) == 0) {
        name = p + 10;

    } else {
        return NULL;
    }

    end = memchr(name, ' ', head - name);

    if (end == NULL) {
        return NULL;
    }

    if (*p == 'G') {
        value = http_header(end, head, "Sec-WebSocket-Key:", &len);

        if (value == NULL || len != 24) {
            return NULL;
        }

        http_upgrade(c, value, len, name, end - name);

        return body;
    }

    value = http_header(end, head, "Content-Length:", &len);
    size = value ? strtoul((char *) value, NULL, 10) : 0;

    if (size > (size_t) (last - body)) {
        return size < BUFFER_SIZE / 2 ? p : NULL;
    }

    ch = channel_find(name, end - name, 0);

    if (ch) {
        publish(ch, body, size, OP_TEXT);
    }

    deliver(c, (const u_char *) created, sizeof(created) - 1);

    return body + size;
}


static u_char *
http_header(u_char *p, u_char *last, const char *name, size_t *len)
{
    size_t   n;
    u_char  *end;

    n = strlen(name);

    for ( ;; ) {
        p = memchr(p, '\n', last - p);

        if (p == NULL || ++p == last) {
            return NULL;
        }

        if ((size_t) (last - p) > n
            && strncasecmp((char *) p, name, n) == 0)
        {
            break;
        }
    }

    p += n;

    while (*p == ' ') {
        p++;
    }

    end = memchr(p, '\r', last - p);
    *len = end ? end - p : 0;

    return p;
}


static void
http_upgrade(conn_t *c, u_char *key, size_t len, u_char *name, size_t name_len)
{
    u_char       plain[64], digest[SHA_DIGEST_LENGTH];
    u_char       answer[256], *p;
    channel_t   *ch;

    static const char  guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char  head[] =
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Accept: ";

    memcpy(plain, key, len);
    memcpy(plain + len, guid, sizeof(guid) - 1);
    SHA1(plain, len + sizeof(guid) - 1, digest);

    p = mempcpy(answer, head, sizeof(head) - 1);
    p += EVP_EncodeBlock(p, digest, sizeof(digest));
    p = mempcpy(p, "\r\n\r\n", 4);

    ch = channel_find(name, name_len, 1);

    if (ch == NULL) {
        shutdown(c->fd, SHUT_RDWR);
        return;
    }

    c->channel = ch;
    c->next = ch->subscribers;
    c->link = &ch->subscribers;

    if (c->next) {
        c->next->link = &c->next;
    }

    ch->subscribers = c;

    deliver(c, answer, p - answer);
}


static u_char *
ws_parse(conn_t *c, u_char *p, u_char *last)
{
    int            i;
    u_char        *out;
    size_t         len, head;
    unsigned       op;
    const u_char  *mask;

    if (last - p < 6) {
        return p;
    }

    op = p[0] & 0xf;
    len = p[1] & 0x7f;
    head = 6;

    if (!(p[0] & FIN) || !(p[1] & MASKED)) {
        return NULL;
    }

    if (len >= 126) {
        head += len == 126 ? 2 : 8;

        if ((size_t) (last - p) < head) {
            return p;
        }

        for (i = 2, len = 0; i < (int) head - 4; i++) {
            len = len << 8 | p[i];
        }

        if (len > BUFFER_SIZE / 2) {
            return NULL;
        }
    }

    if ((size_t) (last - p) < head + len) {
        return p;
    }

    mask = p + head - 4;
    p += head;

    unmask(p, len, mask);

    switch (op) {

    case OP_TEXT:
    case OP_BINARY:

        if (!c->batch) {
            publish(c->channel, p, len, op);
            break;
        }

        out = frame(p, len, op);
        memcpy(batch + batch_len, out, p + len - out);
        batch_len += p + len - out;
        break;

    case OP_PING:
        out = frame(p, len, OP_PING + 1);
        deliver(c, out, p + len - out);
        break;

    case OP_CLOSE:
        out = frame(p, len, OP_CLOSE);
        deliver(c, out, p + len - out);
        return NULL;
    }

    return p + len;
}


static void
unmask(u_char *p, size_t len, const u_char *mask)
{
    size_t    i;
    uint32_t  m;
    uint64_t  word, wide;

    memcpy(&m, mask, 4);
    wide = (uint64_t) m << 32 | m;

    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, p + i, 8);
        word ^= wide;
        memcpy(p + i, &word, 8);
    }

    for (/* void */; i < len; i++) {
        p[i] ^= ((u_char *) &m)[i & 3];
    }
}


/*
 * Puts a server's header before the payload, over what the payload arrived
 * with, which is never shorter, and returns where the frame begins.
 */

static u_char *
frame(u_char *payload, size_t len, unsigned op)
{
    int      i;
    u_char  *p;

    if (len < 126) {
        p = payload - 2;
        p[1] = len;

    } else if (len < 65536) {
        p = payload - 4;
        p[1] = 126;
        p[2] = len >> 8;
        p[3] = len;

    } else {
        p = payload - 10;
        p[1] = 127;

        for (i = 0; i < 8; i++) {
            p[2 + i] = (uint64_t) len >> (56 - 8 * i);
        }
    }

    p[0] = FIN | op;

    return p;
}


static void
publish(channel_t *ch, u_char *payload, size_t len, unsigned op)
{
    conn_t  *c;
    u_char  *out;

    out = frame(payload, len, op);
    len += payload - out;

    for (c = ch->subscribers; c; c = c->next) {
        deliver(c, out, len);
    }
}


static void
deliver(conn_t *c, const u_char *data, size_t len)
{
    if (send(c->fd, data, len, 0) != (ssize_t) len) {

        /* its end of file is read in its own turn, no list changes here */

        shutdown(c->fd, SHUT_RDWR);
    }
}


static channel_t *
channel_find(const u_char *name, size_t len, int create)
{
    size_t       i;
    uint32_t     hash;
    channel_t   *ch, **bucket;

    hash = 2166136261u;

    for (i = 0; i < len; i++) {
        hash = (hash ^ name[i]) * 16777619u;
    }

    bucket = &buckets[hash % BUCKETS];

    for (ch = *bucket; ch; ch = ch->next) {
        if (ch->len == len && memcmp(ch->name, name, len) == 0) {
            return ch;
        }
    }

    ch = create ? calloc(1, sizeof(channel_t) + len) : NULL;

    if (ch == NULL) {
        return NULL;
    }

    ch->len = len;
    memcpy(ch->name, name, len);

    ch->next = *bucket;
    ch->link = bucket;

    if (ch->next) {
        ch->next->link = &ch->next;
    }

    *bucket = ch;

    return ch;
}


static void
channel_leave(conn_t *c)
{
    channel_t  *ch;

    ch = c->channel;
    *c->link = c->next;

    if (c->next) {
        c->next->link = c->link;
    }

    if (ch->subscribers) {
        return;
    }

    *ch->link = ch->next;

    if (ch->next) {
        ch->next->link = ch->link;
    }

    free(ch);
}
