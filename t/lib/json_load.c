
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


/*
 * Clients of the JSON subprotocol that come and go at random moments while
 * others publish as fast as they can: whoever comes back says what it had,
 * and must get everything after that, once, in order, and the same as all.
 * Used by t/json_resume.t and t/json_slow.t, which compile it.
 *
 *   json_load [option value]... path
 *
 * At the end it prints lines "name value", and before them, for the first
 * faults, lines "fault: what".
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define CHANNELS_MAX   16
#define EVENTS         256
#define BUFFER         (256 * 1024)

/* an incomplete frame or head */
#define TAIL           4096

#define REQUESTS       (CHANNELS_MAX * 256)
#define FAULTS         20

/* what is not told by bytes is done after this, ms */
#define PATIENCE       1000

/* messages: a client that is not further behind is live */
#define NEAR           256

/* a message's publisher and number in one word */
#define ID(p, n)       ((uint64_t) ((p) + 1) << 40 | (n))
#define PUBLISHER(id)  ((unsigned) ((id) >> 40) - 1)
#define NUMBER(id)     ((id) & 0xffffffffff)


typedef enum {
    IDLE = 0,          /* until "at" */
    HANDSHAKE,
    OPEN,
    CLOSING            /* our Close has been sent */
} state_e;


typedef enum {
    DROP_CLOSE = 0,    /* close(), which resets if something is unread */
    DROP_RESET,
    DROP_SHUTDOWN,     /* FIN first, and nothing is read any more */
    DROP_FRAME,        /* a Close frame; what comes before its echo counts */
    LEAVE,             /* unsubscribe, and back again */
    DROPS
} drop_e;


typedef enum {
    AWAY = 0,
    ASKED,
    LIVE,
    LEAVING
} sub_e;


typedef struct {
    sub_e         state;
    unsigned      had:1;          /* a position is known */
    char          epoch[17];
    uint64_t      seq;
} sub_t;


typedef struct {
    int           fd;
    unsigned      id;
    unsigned      publisher:1;
    unsigned      watched:1;      /* for writing, too */
    state_e       state;
    drop_e        drop;
    uint64_t      got;            /* bytes since it was opened */
    uint64_t      limit;          /* of them, then it drops */
    uint64_t      at;             /* or then, ms */

    size_t        tail_len;
    uint8_t       tail[TAIL];

    uint8_t      *rest;           /* what the socket did not take */
    size_t        rest_len;

    sub_t         subs[CHANNELS_MAX];

    uint64_t      next;           /* the number of its next message */
    uint64_t      acked;          /* all before are */
} conn_t;


/* seq to message for a channel, message to seq for a publisher */

typedef struct {
    uint64_t     *elts;
    size_t        n;
} map_t;


static void enough(int signo);
static void run(void);
static void finish(void);
static void turn(int timeout);
static void timers(void);
static void publish(void);
static void publish_to(conn_t *c, unsigned n);
static uint64_t lag(void);
static uint64_t behind(conn_t *c);

static void conn_plan(conn_t *c);
static void conn_open(conn_t *c);
static void conn_close(conn_t *c, int reset);
static void conn_act(conn_t *c);
static void dropped(conn_t *c);
static void conn_read(conn_t *c);
static void conn_write(conn_t *c);
static void conn_watch(conn_t *c, int op);
static void conn_send(conn_t *c, const uint8_t *data, size_t len);
static void conn_ended(conn_t *c);
static void subscribe(conn_t *c, unsigned channel, uint8_t **last);
static uint8_t *frame(uint8_t *p, const char *fmt, ...);

static size_t handshake_parse(conn_t *c, uint8_t *p, size_t len);
static size_t frame_parse(conn_t *c, uint8_t *p, size_t len);
static void closed(conn_t *c, unsigned code);
static void message(conn_t *c, const char *p, const char *last);
static void message_data(conn_t *c, unsigned channel, const char *p,
    const char *last);
static void message_subscribed(conn_t *c, unsigned channel, const char *p,
    const char *last);
static void message_gap(conn_t *c, unsigned channel, const char *p,
    const char *last);
static void message_published(conn_t *c, unsigned channel, const char *p,
    const char *last);
static const char *member(const char *p, const char *last, const char *name);
static int number(const char *p, const char *last, const char *name,
    uint64_t *n);

static void place(unsigned channel, uint64_t seq, uint64_t id);
static uint64_t *at(map_t *map, size_t i);
static void check_order(void);
static void fault(const char *fmt, ...);
static void die(const char *fmt, ...);
static uint64_t rnd(uint64_t n);
static uint64_t now(void);


static unsigned   port;
static unsigned   nclients = 100;
static unsigned   nchannels = 1;
static unsigned   npublishers = 4;
static unsigned   window = 32;
static unsigned   size;                  /* of the filler of a message */
static unsigned   keys;
static unsigned   dropping = 1;
static unsigned   waits;                 /* for SIGUSR1, too */
static uint64_t   drops = 1000;          /* then it ends, */
static uint64_t   seconds = 30;          /* or then */
static uint64_t   patience = 20;         /* for the end of it all */
static uint64_t   max_lag = 10000;       /* messages, 0: any */
static uint64_t   seed = 1;
static char      *path;

static int        epoll_fd;
static conn_t    *conns;
static uint8_t    buffer[BUFFER];
static char       filler[65536];
static map_t      channels[CHANNELS_MAX];
static map_t     *publishers;
static uint64_t   head[CHANNELS_MAX];
static unsigned   ending;

static volatile sig_atomic_t  told;

static struct {
    uint64_t      dropped;
    uint64_t      live;           /* of them, not far behind */
    uint64_t      left;
    uint64_t      recovered;
    uint64_t      unrecovered;
    uint64_t      replayed;       /* at least that many messages */
    uint64_t      messages;
    uint64_t      published;
    uint64_t      repeated;
    uint64_t      gaps;
    uint64_t      lost;
    uint64_t      close_1001;
    uint64_t      close_1013;
    uint64_t      close_other;
    uint64_t      ended;          /* without a Close */
    uint64_t      errors;         /* that the server told */
    uint64_t      behind;         /* clients that are, in the end */
    uint64_t      faults;
} stats;


static const struct {
    const char   *name;
    void         *value;
    unsigned      wide;
} options[] = {
    { "port", &port, 0 },
    { "clients", &nclients, 0 },
    { "channels", &nchannels, 0 },
    { "publishers", &npublishers, 0 },
    { "window", &window, 0 },
    { "size", &size, 0 },
    { "keys", &keys, 0 },
    { "dropping", &dropping, 0 },
    { "drops", &drops, 1 },
    { "wait", &waits, 0 },
    { "seconds", &seconds, 1 },
    { "patience", &patience, 1 },
    { "lag", &max_lag, 1 },
    { "seed", &seed, 1 }
};


int
main(int argc, char **argv)
{
    int        i;
    size_t     n;
    uint64_t   value;

    for (i = 1; i + 1 < argc; i += 2) {
        value = strtoull(argv[i + 1], NULL, 10);

        for (n = 0; n < sizeof(options) / sizeof(options[0]); n++) {
            if (strcmp(argv[i], options[n].name) == 0) {
                break;
            }
        }

        if (n == sizeof(options) / sizeof(options[0])) {
            die("unknown option %s", argv[i]);
        }

        if (options[n].wide) {
            *(uint64_t *) options[n].value = value;

        } else {
            *(unsigned *) options[n].value = (unsigned) value;
        }
    }

    if (i >= argc || nchannels == 0 || nchannels > CHANNELS_MAX
        || npublishers == 0 || window == 0 || size >= sizeof(filler))
    {
        die("bad arguments");
    }

    path = argv[i];
    seed = seed * 2 + 1;
    memset(filler, '=', sizeof(filler));

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, enough);

    run();
    finish();
    check_order();

#define print(name)                                                           \
    printf(#name " %llu\n", (unsigned long long) stats.name)

    print(dropped);
    print(live);
    print(left);
    print(recovered);
    print(unrecovered);
    print(replayed);
    print(messages);
    print(published);
    print(repeated);
    print(gaps);
    print(lost);
    print(close_1001);
    print(close_1013);
    print(close_other);
    print(ended);
    print(errors);
    print(behind);
    print(faults);

    return 0;
}


static void
enough(int signo)
{
    told = 1;
}


static void
run(void)
{
    unsigned   i;
    uint64_t   begun;

    epoll_fd = epoll_create1(0);
    conns = calloc(nclients + npublishers, sizeof(conn_t));
    publishers = calloc(npublishers, sizeof(map_t));

    if (epoll_fd == -1 || conns == NULL || publishers == NULL) {
        die("no memory");
    }

    for (i = 0; i < nclients + npublishers; i++) {
        conns[i].fd = -1;
        conns[i].id = i;
        conns[i].publisher = (i >= nclients);
    }

    begun = now();

    while ((stats.dropped < drops || (waits && !told))
           && now() - begun < seconds * 1000)
    {
        publish();
        turn(5);
        timers();
    }
}


/*
 * Nothing new is published, nobody leaves: sooner or later all have all.
 */

static void
finish(void)
{
    unsigned   i, k;
    uint64_t   begun, done;

    ending = 1;
    begun = now();
    done = 0;

    for (i = 0; i < nclients; i++) {
        conns[i].limit = UINT64_MAX;
        conns[i].at = UINT64_MAX;

        if (conns[i].fd == -1) {
            conns[i].at = 0;
        }
    }

    while (now() - begun < patience * 1000) {
        publish();
        turn(5);
        timers();

        stats.behind = 0;

        for (i = 0; i < npublishers; i++) {
            stats.behind += (conns[nclients + i].acked
                             != conns[nclients + i].next);
        }

        for (i = 0; i < nclients; i++) {
            for (k = 0; k < nchannels; k++) {
                stats.behind += (conns[i].subs[k].state != LIVE
                                 || conns[i].subs[k].seq != head[k]);
            }
        }

        if (stats.behind) {
            done = 0;

        } else if (done == 0) {
            done = now();

        } else if (now() - done > 300) {
            return;
        }
    }
}


static void
turn(int timeout)
{
    int                 i, n;
    conn_t             *c;
    struct epoll_event  events[EVENTS];

    n = epoll_wait(epoll_fd, events, EVENTS, timeout);

    for (i = 0; i < n; i++) {
        c = &conns[events[i].data.u32];

        if (c->fd != -1 && (events[i].events & EPOLLOUT)) {
            conn_write(c);
        }

        if (c->fd != -1 && (events[i].events & ~EPOLLOUT)) {
            conn_read(c);
        }
    }
}


static void
timers(void)
{
    unsigned   i;
    conn_t    *c;
    uint64_t   t;

    t = now();

    for (i = 0; i < nclients + npublishers; i++) {
        c = &conns[i];

        if (t < c->at) {
            continue;
        }

        if (c->state == IDLE) {
            conn_open(c);

        } else {
            conn_act(c);
        }
    }
}


static void
publish(void)
{
    unsigned   i;
    conn_t    *c;

    if (ending || (max_lag && lag() > max_lag)) {
        return;
    }

    for (i = 0; i < npublishers; i++) {
        c = &conns[nclients + i];

        if (c->state == OPEN && c->rest_len == 0
            && c->next - c->acked <= window / 2)
        {
            publish_to(c, window - (unsigned) (c->next - c->acked));
        }
    }
}


/*
 * The publisher's next n messages; the channels take turns.
 */

static void
publish_to(conn_t *c, unsigned n)
{
    uint8_t          *last;
    unsigned          p;
    uint64_t          i;
    char              key[64];
    static uint8_t    out[BUFFER];

    p = c->id - nclients;
    last = out;

    for (i = c->next; i < c->next + n; i++) {

        if ((size_t) (out + sizeof(out) - last) < 512 + size) {
            break;
        }

        key[0] = '\0';

        if (keys) {
            sprintf(key, "\"key\":\"%u.%llu\",", p, (unsigned long long) i);
        }

        last = frame(last, "{\"type\":\"publish\",\"id\":%llu,"
                     "\"channel\":\"x.%u\",%s\"data\":\"%u.%llu.%.*s\"}",
                     (unsigned long long) i, (unsigned) (i % nchannels), key,
                     p, (unsigned long long) i, (int) size, filler);
    }

    c->next = i;
    conn_send(c, out, last - out);
}


/*
 * By how many messages the last client is behind.
 */

static uint64_t
lag(void)
{
    unsigned   i;
    uint64_t   max, n;

    max = 0;

    for (i = 0; i < nclients; i++) {
        n = behind(&conns[i]);

        if (n > max) {
            max = n;
        }
    }

    return max;
}


static uint64_t
behind(conn_t *c)
{
    unsigned   k;
    uint64_t   n;

    n = 0;

    for (k = 0; k < nchannels; k++) {
        if (c->subs[k].had) {
            n += head[k] - c->subs[k].seq;
        }
    }

    return n;
}


/*
 * When this connection will drop, and how.
 */

static void
conn_plan(conn_t *c)
{
    c->got = 0;
    c->limit = UINT64_MAX;
    c->at = UINT64_MAX;

    if (c->publisher || ending || !dropping) {
        return;
    }

    c->drop = (drop_e) rnd(DROPS);
    c->at = now() + rnd(PATIENCE);

    switch (rnd(4)) {

    case 0:
        /* while it shakes hands and subscribes */
        c->limit = rnd(500);
        break;

    case 1:
        c->limit = 200 + rnd(50000);
        break;
    }
}


static void
conn_open(conn_t *c)
{
    int                 fd, one, len;
    char                request[512];
    struct sockaddr_in  sin;

    fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons(port);

    one = 1;

    if (fd == -1
        || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1
        || fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
    {
        die("connect() failed: %s", strerror(errno));
    }

    c->fd = fd;
    c->state = HANDSHAKE;
    c->tail_len = 0;
    c->watched = 0;

    conn_watch(c, EPOLL_CTL_ADD);
    conn_plan(c);

    len = snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\n"
                   "Host: localhost\r\n"
                   "Upgrade: websocket\r\n"
                   "Connection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: ws-bus.v1.json\r\n"
                   "\r\n", path);

    conn_send(c, (uint8_t *) request, len);
}


static void
conn_close(conn_t *c, int reset)
{
    unsigned       k;
    struct linger  linger;

    if (reset) {
        linger.l_onoff = 1;
        linger.l_linger = 0;
        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger,
                          sizeof(linger));
    }

    close(c->fd);
    free(c->rest);

    c->fd = -1;
    c->rest = NULL;
    c->rest_len = 0;
    c->state = IDLE;
    c->at = now() + ((ending || rnd(4)) ? 0 : rnd(100));

    for (k = 0; k < nchannels; k++) {
        c->subs[k].state = AWAY;
    }
}


/*
 * The moment has come.
 */

static void
conn_act(conn_t *c)
{
    uint8_t        out[512], *last;
    unsigned       k;
    const uint8_t  normal[8] = { 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8 };

    if (c->state == CLOSING || c->state == HANDSHAKE || c->drop < DROP_FRAME) {

        if (c->drop == DROP_SHUTDOWN) {
            (void) shutdown(c->fd, SHUT_WR);
        }

        dropped(c);
        conn_close(c, c->drop == DROP_RESET);
        return;
    }

    if (c->drop == DROP_FRAME) {
        c->state = CLOSING;
        c->limit = UINT64_MAX;
        c->at = now() + PATIENCE;
        conn_send(c, normal, sizeof(normal));
        return;
    }

    k = rnd(nchannels);
    conn_plan(c);

    if (c->subs[k].state != LIVE) {
        return;
    }

    /* both requests in one packet, or the second one after the answer */

    c->subs[k].state = LEAVING;
    stats.left++;

    last = frame(out, "{\"type\":\"unsubscribe\",\"id\":\"%s\","
                 "\"channel\":\"x.%u\"}", "u", k);

    conn_send(c, out, last - out);
}


static void
dropped(conn_t *c)
{
    stats.dropped++;

    if (c->subs[0].state == LIVE && behind(c) < NEAR) {
        stats.live++;
    }
}


static void
conn_read(conn_t *c)
{
    size_t    len, used, room;
    ssize_t   n;
    uint8_t  *p;

    len = c->tail_len;
    memcpy(buffer, c->tail, len);

    room = sizeof(buffer) - len;

    if (room > c->limit - c->got) {
        room = c->limit - c->got;
    }

    if (room == 0) {
        conn_act(c);
        return;
    }

    n = recv(c->fd, buffer + len, room, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        conn_ended(c);
        return;
    }

    c->got += n;
    c->tail_len = 0;
    len += n;

    for (p = buffer; len; p += used, len -= used) {

        used = (c->state == HANDSHAKE) ? handshake_parse(c, p, len)
                                       : frame_parse(c, p, len);

        if (c->fd == -1) {
            return;
        }

        if (used == 0) {
            break;
        }
    }

    if (len > TAIL) {
        die("a frame or head of more than %u bytes", TAIL);
    }

    memcpy(c->tail, p, len);
    c->tail_len = len;

    if (c->got >= c->limit) {
        conn_act(c);
    }
}


static void
conn_ended(conn_t *c)
{
    if (c->state == CLOSING) {
        dropped(c);

    } else {
        stats.ended++;
    }

    conn_close(c, 0);
}


static void
conn_watch(conn_t *c, int op)
{
    struct epoll_event  ev;

    ev.events = EPOLLIN | (c->watched ? EPOLLOUT : 0);
    ev.data.u32 = c->id;

    if (epoll_ctl(epoll_fd, op, c->fd, &ev) == -1) {
        die("epoll_ctl() failed: %s", strerror(errno));
    }
}


static void
conn_send(conn_t *c, const uint8_t *data, size_t len)
{
    ssize_t   n;
    uint8_t  *rest;

    n = 0;

    if (c->rest_len == 0) {
        n = send(c->fd, data, len, 0);

        if (n == -1) {
            if (errno != EAGAIN) {
                return;    /* reading tells */
            }

            n = 0;
        }

        if ((size_t) n == len) {
            return;
        }
    }

    rest = realloc(c->rest, c->rest_len + len - n);

    if (rest == NULL) {
        die("no memory");
    }

    memcpy(rest + c->rest_len, data + n, len - n);
    c->rest = rest;
    c->rest_len += len - n;

    if (!c->watched) {
        c->watched = 1;
        conn_watch(c, EPOLL_CTL_MOD);
    }
}


static void
conn_write(conn_t *c)
{
    ssize_t  n;

    n = send(c->fd, c->rest, c->rest_len, 0);

    if (n > 0) {
        c->rest_len -= n;
        memmove(c->rest, c->rest + n, c->rest_len);

    } else if (errno != EAGAIN) {
        c->rest_len = 0;
    }

    if (c->rest_len == 0) {
        c->watched = 0;
        conn_watch(c, EPOLL_CTL_MOD);
    }
}


static void
subscribe(conn_t *c, unsigned channel, uint8_t **last)
{
    sub_t  *sub;

    sub = &c->subs[channel];
    sub->state = ASKED;

    if (!sub->had) {
        *last = frame(*last, "{\"type\":\"subscribe\",\"id\":\"s\","
                      "\"channel\":\"x.%u\"}", channel);
        return;
    }

    *last = frame(*last, "{\"type\":\"subscribe\",\"id\":\"r\","
                  "\"channel\":\"x.%u\",\"epoch\":\"%s\",\"seq\":%llu}",
                  channel, sub->epoch, (unsigned long long) sub->seq);
}


/*
 * A text frame whose mask is zero, so that the payload stays as it is.
 */

static uint8_t *
frame(uint8_t *p, const char *fmt, ...)
{
    int       len;
    va_list   args;
    uint8_t  *text;

    text = p + 8;

    va_start(args, fmt);
    len = vsprintf((char *) text, fmt, args);
    va_end(args);

    *p++ = 0x81;

    if (len < 126) {
        *p++ = (uint8_t) (0x80 | len);

    } else {
        *p++ = 0x80 | 126;
        *p++ = (uint8_t) (len >> 8);
        *p++ = (uint8_t) len;
    }

    memset(p, 0, 4);
    p += 4;
    memmove(p, text, len);

    return p + len;
}


static size_t
handshake_parse(conn_t *c, uint8_t *p, size_t len)
{
    uint8_t   *end, *last, out[REQUESTS];
    unsigned   k, n;

    end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL) {
        return 0;
    }

    if (memcmp(p, "HTTP/1.1 101", 12) != 0) {
        die("handshake refused: %.*s", (int) (end - p), (char *) p);
    }

    c->state = OPEN;

    if (c->publisher) {

        /* what was not answered is published again, under the same keys */

        n = (unsigned) (c->next - c->acked);
        c->next = c->acked;

        if (n && !keys) {
            fault("a publisher lost its connection");
        }

        stats.repeated += n;
        publish_to(c, n);

        return end + 4 - p;
    }

    last = out;

    for (k = 0; k < nchannels; k++) {
        subscribe(c, k, &last);
    }

    conn_send(c, out, last - out);

    return end + 4 - p;
}


static size_t
frame_parse(conn_t *c, uint8_t *p, size_t len)
{
    size_t    size, head;
    unsigned  op;
    uint8_t   pong[6 + 125];

    if (len < 2) {
        return 0;
    }

    op = p[0];
    size = p[1];
    head = 2;

    if (size == 126) {
        if (len < 4) {
            return 0;
        }

        size = p[2] << 8 | p[3];
        head = 4;

    } else if (size > 126) {
        die("a frame of that size is not expected");
    }

    if (len - head < size) {
        return 0;
    }

    switch (op) {

    case 0x81:
        message(c, (char *) p + head, (char *) p + head + size);
        break;

    case 0x88:
        closed(c, size < 2 ? 1005 : p[head] << 8 | p[head + 1]);
        break;

    case 0x89:
        memset(pong, 0, sizeof(pong));
        pong[0] = 0x8a;
        pong[1] = (uint8_t) (0x80 | size);
        memcpy(pong + 6, p + head, size);
        conn_send(c, pong, 6 + size);
        break;

    case 0x8a:
        break;

    default:
        die("a frame %02x is not expected", op);
    }

    return head + size;
}


static void
closed(conn_t *c, unsigned code)
{
    if (c->state == CLOSING) {
        dropped(c);

    } else if (code == 1001) {
        stats.close_1001++;

    } else if (code == 1013) {
        stats.close_1013++;

    } else {
        stats.close_other++;
        fault("closed with %u", code);
    }

    conn_close(c, 0);
}


static void
message(conn_t *c, const char *p, const char *last)
{
    uint8_t      out[512], *end;
    unsigned     channel;
    const char  *type, *name;

    type = member(p, last, "type");
    name = member(p, last, "channel");

    channel = (name && memcmp(name, "\"x.", 3) == 0) ? strtoul(name + 3, NULL,
                                                              10) : UINT32_MAX;

#define is(text)  (type && memcmp(type, "\"" text "\"", sizeof(text) + 1) == 0)

    if (is("error")) {
        stats.errors++;
        fault("%.*s", (int) (last - p), p);
        return;
    }

    if (channel >= nchannels) {
        fault("%.*s", (int) (last - p), p);

    } else if (is("message")) {
        message_data(c, channel, p, last);

    } else if (is("subscribed")) {
        message_subscribed(c, channel, p, last);

    } else if (is("gap")) {
        message_gap(c, channel, p, last);

    } else if (is("published")) {
        message_published(c, channel, p, last);

    } else if (is("unsubscribed")) {

        if (c->subs[channel].state != LEAVING) {
            fault("client %u: unsubscribed from %u unasked", c->id, channel);
        }

        c->subs[channel].state = AWAY;

        end = out;
        subscribe(c, channel, &end);
        conn_send(c, out, end - out);

    } else {
        fault("%.*s", (int) (last - p), p);
    }

#undef is
}


static void
message_data(conn_t *c, unsigned channel, const char *p, const char *last)
{
    char        *end;
    sub_t       *sub;
    unsigned     publisher;
    uint64_t     seq, n;
    const char  *data;

    sub = &c->subs[channel];
    data = member(p, last, "data");

    if (sub->state != LIVE && sub->state != LEAVING) {
        fault("client %u: %.*s when not subscribed", c->id, (int) (last - p),
              p);
        return;
    }

    if (data == NULL || number(p, last, "seq", &seq) == -1) {
        fault("client %u: %.*s", c->id, (int) (last - p), p);
        return;
    }

    if (seq != sub->seq + 1) {
        fault("client %u: channel %u: %llu after %llu", c->id, channel,
              (unsigned long long) seq, (unsigned long long) sub->seq);
    }

    sub->seq = seq;
    stats.messages++;

    publisher = strtoul(data + 1, &end, 10);
    n = (*end == '.') ? strtoull(end + 1, &end, 10) : UINT64_MAX;

    if (publisher >= npublishers || n >= conns[nclients + publisher].next
        || n % nchannels != channel || (size_t) (last - end) != size + 3)
    {
        fault("client %u: a message that nobody sent: %.*s", c->id,
              (int) (last - p), p);
        return;
    }

    place(channel, seq, ID(publisher, n));
}


static void
message_subscribed(conn_t *c, unsigned channel, const char *p,
    const char *last)
{
    sub_t       *sub;
    uint64_t     seq, top;
    const char  *epoch, *id, *recovered;

    sub = &c->subs[channel];

    id = member(p, last, "id");
    epoch = member(p, last, "epoch");
    recovered = member(p, last, "recovered");

    if (sub->state != ASKED || id == NULL || epoch == NULL
        || number(p, last, "seq", &seq) == -1
        || number(p, last, "head", &top) == -1
        || id[1] != (sub->had ? 'r' : 's'))
    {
        fault("client %u: %.*s", c->id, (int) (last - p), p);
        return;
    }

    sub->state = LIVE;

    if (sub->had && recovered && memcmp(recovered, "true", 4) == 0) {

        stats.recovered++;
        stats.replayed += top - seq;

        if (seq != sub->seq || memcmp(epoch + 1, sub->epoch, 16) != 0) {
            fault("client %u: asked for %s %llu, got %.*s", c->id, sub->epoch,
                  (unsigned long long) sub->seq, (int) (last - p), p);
        }

    } else if (sub->had) {

        stats.unrecovered++;

        if (recovered == NULL || memcmp(recovered, "false", 5) != 0) {
            fault("client %u: %.*s", c->id, (int) (last - p), p);
        }

    } else if (seq != top) {
        fault("client %u: not live: %.*s", c->id, (int) (last - p), p);
    }

    /* there may be messages of another run */

    if (top > head[channel]) {
        head[channel] = top;
    }

    sub->had = 1;
    sub->seq = seq;
    memcpy(sub->epoch, epoch + 1, 16);
}


static void
message_gap(conn_t *c, unsigned channel, const char *p, const char *last)
{
    sub_t     *sub;
    uint64_t   from, to;

    sub = &c->subs[channel];

    if ((sub->state != LIVE && sub->state != LEAVING)
        || number(p, last, "from", &from) == -1
        || number(p, last, "to", &to) == -1
        || from != sub->seq + 1 || to < from)
    {
        fault("client %u: after %llu: %.*s", c->id,
              (unsigned long long) sub->seq, (int) (last - p), p);
        return;
    }

    stats.gaps++;
    stats.lost += to - from + 1;

    sub->seq = to;
}


static void
message_published(conn_t *c, unsigned channel, const char *p,
    const char *last)
{
    uint64_t  id, seq;

    if (!c->publisher || number(p, last, "id", &id) == -1
        || number(p, last, "seq", &seq) == -1
        || id != c->acked || c->acked == c->next || id % nchannels != channel)
    {
        fault("publisher %u: %llu was to be answered: %.*s", c->id - nclients,
              (unsigned long long) c->acked, (int) (last - p), p);
        return;
    }

    c->acked++;
    stats.published++;

    place(channel, seq, ID(c->id - nclients, id));
}


/*
 * The value of a member.  No payload here has anything that looks like one.
 */

static const char *
member(const char *p, const char *last, const char *name)
{
    char         key[16];
    size_t       len;
    const char  *found;

    len = sprintf(key, "\"%s\":", name);
    found = memmem(p, last - p, key, len);

    return found ? found + len : NULL;
}


static int
number(const char *p, const char *last, const char *name, uint64_t *n)
{
    char        *end;
    const char  *value;

    value = member(p, last, name);

    if (value == NULL || *value < '0' || *value > '9') {
        return -1;
    }

    *n = strtoull(value, &end, 10);

    return (*end == ',' || *end == '}') ? 0 : -1;
}


/*
 * Whoever tells of a message, its place is one and the same, and no other
 * message has it.
 */

static void
place(unsigned channel, uint64_t seq, uint64_t id)
{
    uint64_t  *message, *where;

    message = at(&channels[channel], seq);
    where = at(&publishers[PUBLISHER(id)], NUMBER(id));

    if ((*message && *message != id) || (*where && *where != seq)) {
        fault("channel %u: at %llu there is %u.%llu, before there was "
              "%u.%llu; it was at %llu",
              channel, (unsigned long long) seq, PUBLISHER(id),
              (unsigned long long) NUMBER(id), PUBLISHER(*message),
              (unsigned long long) NUMBER(*message),
              (unsigned long long) *where);
    }

    *message = id;
    *where = seq;

    if (seq > head[channel]) {
        head[channel] = seq;
    }
}


static uint64_t *
at(map_t *map, size_t i)
{
    size_t     n;
    uint64_t  *elts;

    if (i >= map->n) {
        n = (i + 1) * 2;

        if (n > 100000000 || (elts = realloc(map->elts, n * 8)) == NULL) {
            die("a number that large is not expected");
        }

        memset(elts + map->n, 0, (n - map->n) * 8);
        map->elts = elts;
        map->n = n;
    }

    return &map->elts[i];
}


/*
 * In a channel, the messages of a publisher are in their order.
 */

static void
check_order(void)
{
    unsigned   k, p;
    uint64_t   id, seq, *next;

    next = malloc(npublishers * sizeof(uint64_t));

    if (next == NULL) {
        die("no memory");
    }

    for (k = 0; k < nchannels; k++) {
        memset(next, 0, npublishers * sizeof(uint64_t));

        for (seq = 1; seq <= head[k]; seq++) {
            id = *at(&channels[k], seq);

            if (id == 0) {
                continue;
            }

            p = PUBLISHER(id);

            if (NUMBER(id) < next[p]) {
                fault("channel %u: at %llu is %u.%llu, out of order", k,
                      (unsigned long long) seq, p,
                      (unsigned long long) NUMBER(id));
            }

            next[p] = NUMBER(id) + 1;
        }
    }

    free(next);
}


static void
fault(const char *fmt, ...)
{
    va_list  args;

    if (stats.faults++ >= FAULTS) {
        return;
    }

    printf("fault: ");

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);

    printf("\n");
}


static void
die(const char *fmt, ...)
{
    va_list  args;

    printf("died: ");

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);

    printf("\n");
    exit(2);
}


static uint64_t
rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (seed >> 16) % n;
}


static uint64_t
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
