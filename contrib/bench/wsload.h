
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _WSLOAD_H_INCLUDED_
#define _WSLOAD_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>


#define PIDS_MAX         64
#define HOSTS_MAX        4
#define WINDOW_MAX       64
#define CHANNEL_MAX      64

#define HISTOGRAM_BITS   6
#define HISTOGRAM_SIZE   (64 << HISTOGRAM_BITS)

#define MSEC             1000000ull
#define SEC              1000000000ull

#define OP_TEXT          0x1
#define OP_BINARY        0x2
#define OP_CLOSE         0x8
#define OP_PING          0x9
#define OP_PONG          0xa


typedef struct {
    unsigned      port;
    unsigned      clients;        /* subscribers */
} host_t;


typedef struct {
    unsigned      port;
    const char   *prefix;         /* of a WebSocket's path, "/ws/" */
    unsigned      clients;
    unsigned      window;         /* messages in flight per publisher */
    unsigned      size;           /* of a message's payload, bytes */
    unsigned      publishers;     /* keep-alive connections that POST */
    unsigned      processes;
    unsigned      rate;           /* broadcasts per second */
    double        seconds;
    uint64_t      count;          /* windows to do instead of seconds */
    double        timeout;        /* without any progress, seconds */
    int           spin;           /* never sleep in epoll_wait() */
    const char   *json;           /* ws-bus.v1.json: messages' type, or NULL */
    pid_t         pids[PIDS_MAX];
    unsigned      npids;
    host_t        hosts[HOSTS_MAX];
    unsigned      nhosts;
    const char   *publisher;      /* the prefix of its path */
    unsigned      redis;          /* port, or 0 */
    int           apart;          /* hosts that know nothing of each other */
    int           paced;          /* rate messages per second */
} options_t;


typedef struct {
    uint64_t      total;
    uint64_t      max;
    uint64_t      counts[HISTOGRAM_SIZE];
} histogram_t;


/* what a client saw that a bus must not do */

typedef struct {
    uint64_t      lost;
    uint64_t      duplicate;
    uint64_t      order;
    uint64_t      corrupt;        /* altered, or of another channel */
    uint64_t      closed;         /* connections that the server ended */
} faults_t;


typedef enum {
    CONN_UNUSED = 0,
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_HTTP,
    CONN_CLOSED
} conn_state_e;


typedef struct {
    int           fd;
    uint32_t      id;             /* index in its loop's connections */
    uint32_t      state:8;        /* conn_state_e */
    uint32_t      tail_len:24;
    uint32_t      group;          /* of workload.c */
    uint32_t      next;           /* sequence number it is owed next */
    uint64_t      early;          /* bit n: next + 1 + n was seen already */
    u_char       *rest;           /* what the socket did not take yet */
    size_t        rest_len;
} conn_t;


/*
 * What a loop tells of its connections.  Any may be NULL.  A handler must
 * not close a connection other than the one it is called for.
 */

typedef struct {
    void        (*open)(conn_t *c);
    void        (*message)(conn_t *c, u_char *data, size_t len);
    void        (*pong)(conn_t *c);
    void        (*response)(conn_t *c, unsigned status);
    void        (*closed)(conn_t *c);
} handlers_t;


extern options_t    options;

/* of the last Close frame that came, 0: it had none */
extern unsigned     close_code;


/* measure.c */

/* monotonic time, ns; the same clock in all processes of a run */
uint64_t now_ns(void);

/* CPU time that the server's processes used until now, ns */
uint64_t server_cpu(void);

/* the same of one process */
uint64_t process_cpu(pid_t pid);

/* bytes that Redis has sent until now, 0 if there is none */
uint64_t redis_sent(void);

/* proportional set size of the server's processes, bytes */
uint64_t server_memory(void);

/* the same without memory that they share on purpose */
uint64_t server_own_memory(void);

/* CPU time of this process, ns */
uint64_t own_cpu(void);

void histogram_add(histogram_t *h, uint64_t ns);

/* the value, in us, that a part (0..1) of all entries does not exceed */
double histogram_at(const histogram_t *h, double part);

/* prints " <prefix>p50_us=..." and so on for p50, p99, p99.9 and max */
void histogram_print(const histogram_t *h, const char *prefix);


/* conn.c */

/*
 * Prepares this process's only event loop for n connections whose source
 * address is 127.0.0.<host>, and raises the limit of open files for them.
 * An incomplete frame or head of up to room bytes is kept per connection.
 * Exits with a message if that cannot be had.
 */
void loop_init(unsigned n, unsigned host, size_t room, const handlers_t *on);

/* connection number id, 0 <= id < n of loop_init() */
conn_t *loop_conn(unsigned id);

/*
 * Waits up to timeout ms (-1: for ever) for events and handles them.
 * Returns how many there were.
 */
int loop_turn(int timeout);

/*
 * The same.  0 if there have been none for -t seconds since *progress, a
 * time, which becomes now whenever there are.
 */
int loop_goes_on(int timeout, uint64_t *progress);

/*
 * Opens WebSockets first .. first + n - 1, the i-th on the channel that
 * channel(i, name) writes, keeping at most "ahead" handshakes under way.
 * Exits with a message if the server refuses one or stalls.
 */
void loop_open(unsigned first, unsigned n, unsigned ahead,
    void (*channel)(unsigned i, char *name));

/* opens one HTTP connection without sending anything */
void loop_open_http(unsigned id);

/* sends bytes, later what the socket does not take now */
void conn_send(conn_t *c, const u_char *data, size_t len);

/* sends a masked frame with a payload of up to 125 bytes */
void conn_control(conn_t *c, unsigned op, const u_char *data, size_t len);

void conn_close(conn_t *c);

/* writes a client's frame header with that mask; returns its end */
u_char *frame_head(u_char *p, unsigned op, size_t len, const u_char *mask);

/* prints a message and exits with 2 */
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));


/* workload.c: each prints one line and returns the process's exit code */

int workload_fanout(void);
int workload_echo(void);
int workload_channels(void);
int workload_post(void);


/* session.c */

int workload_handshake(void);
int workload_idle(void);


/* json.c */

int workload_replay(void);
int workload_subscriptions(void);


/* delay.c */

int workload_delay(void);


/* fleet.c, burst.c, outage.c */

int workload_hosts(void);
int workload_burst(void);
int workload_outage(void);


/* payload.c */

/*
 * A message says when it was sent, in which group, and as which of the
 * group's messages, in 32 hexadecimal digits; a filler follows, up to the
 * size of options.size.
 */

#define PAYLOAD_MIN      32

void payload_init(void);

/* the messages seq .. seq + n - 1 as masked text frames; returns the end */
u_char *payload_frames(u_char *p, unsigned n, uint64_t time, uint32_t group,
    uint32_t seq);

/*
 * The same, of any length, for a frame of JSON: what is around the payload
 * in a message of ws-bus.v1.json takes PAYLOAD_ENVELOPE bytes at the most.
 */

#define PAYLOAD_ENVELOPE  (CHANNEL_MAX + 128)

/* one masked text frame; returns the end */
u_char *payload_text(u_char *p, const char *text, size_t len);

/* 1 if a message begins so */
int payload_begins(const u_char *data, size_t len, const char *text);

/* the channel that messages of the group are published to */
void payload_channel(char *name, uint32_t group);

/* one message's payload without a frame; returns the end */
u_char *payload_write(u_char *p, uint64_t time, uint32_t group, uint32_t seq);

/* 0, or -1 if it is not what payload_write() wrote */
int payload_read(const u_char *data, size_t len, uint64_t *time,
    uint32_t *group, uint32_t *seq);

/*
 * Takes note of message seq at a subscriber who is owed all messages in
 * order.  1: new, 0: seen before.  Disorder and duplicates are counted.
 */
int payload_check(conn_t *c, uint32_t seq, faults_t *faults);

/* " lost=0 duplicate=0 ..."; returns 1 if any is not 0 */
int faults_print(const faults_t *faults);


#endif /* _WSLOAD_H_INCLUDED_ */
