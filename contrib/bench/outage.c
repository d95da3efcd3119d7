
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"


/* before a refused publication is tried again */
#define PATIENCE       (10 * MSEC)

#define IDLE           UINT32_MAX


/* an HTTP connection, and the channel it publishes to */

typedef struct {
    uint32_t    channel;      /* or IDLE */
    uint64_t    again;        /* when it is to be repeated, or 0 */
} post_t;


static int pass_run(const char *title);
static void post_turn(unsigned i);
static void post_send(unsigned i);
static void outage(void);
static void on_message(conn_t *c, u_char *data, size_t len);
static void on_response(conn_t *c, unsigned status);
static void on_closed(conn_t *c);
static void channel_name(unsigned i, char *name);


static post_t     *posts;
static unsigned    nchannels;
static uint32_t    turn;          /* number of the pass */
static uint32_t    cursor;        /* channel that is published to next */
static unsigned    accepted;
static unsigned    delivered;
static uint64_t    first;         /* when the first one was accepted */
static uint64_t    retries;
static u_char     *out;
static faults_t    faults;

static const handlers_t  handlers = {
    .message = on_message,
    .response = on_response,
    .closed = on_closed
};


/*
 * A channel for each of the last host's subscribers, and connections to the
 * first host that POST one message to each channel, with an idempotency key,
 * again and again until it is accepted.  That is done once in good order;
 * again after "down" was written to the standard output and a line was read,
 * which says that Redis has been away and is back; and once more.
 */

int
workload_outage(void)
{
    int       bad;
    unsigned  i;

    fleet_open(options.publishers, 1, &handlers, channel_name);

    nchannels = fleet_subscribers;
    posts = calloc(fleet_publishers, sizeof(post_t));
    out = malloc(options.size + 1024);

    if (posts == NULL || out == NULL) {
        die("no memory");
    }

    for (i = 0; i < fleet_publishers; i++) {
        posts[i].channel = IDLE;
    }

    fleet_begin();

    printf("workload=outage hosts=%u channels=%u", options.nhosts, nchannels);

    if (pass_run("before") == 0) {
        outage();

        if (pass_run("back") == 0) {
            (void) pass_run("after");
        }
    }

    fleet_end();
    fleet_print(3 * nchannels);

    bad = faults_print(&faults);
    printf("\n");

    return bad;
}


/* whoever runs this takes Redis away now, and says when it is there again */

static void
outage(void)
{
    char  line[64];

    printf("\ndown\n");
    fflush(stdout);

    if (fgets(line, sizeof(line), stdin) == NULL) {
        die("nobody said that Redis is back");
    }
}


static int
pass_run(const char *title)
{
    unsigned  i;
    uint64_t  begun, seen, progress;

    cursor = 0;
    accepted = 0;
    delivered = 0;
    first = 0;
    retries = 0;
    seen = 0;

    begun = progress = now_ns();

    while (accepted < nchannels || delivered < nchannels) {

        for (i = 0; i < fleet_publishers; i++) {
            post_turn(i);
        }

        (void) loop_turn(1);

        if (accepted + delivered != seen) {
            seen = accepted + delivered;
            progress = now_ns();

        } else if (now_ns() - progress > options.timeout * SEC) {
            break;
        }
    }

    printf(" %s_first_ms=%.1f %s_ms=%.1f %s_retries=%llu", title,
           first ? (first - begun) / 1e6 : 0.0, title,
           (now_ns() - begun) / 1e6, title, (unsigned long long) retries);

    faults.lost += nchannels - delivered;
    turn++;

    return delivered == nchannels ? 0 : -1;
}


static void
post_turn(unsigned i)
{
    post_t  *p;

    p = &posts[i];

    if (loop_conn(i)->state == CONN_CLOSED) {
        options.port = options.hosts[0].port;
        loop_open_http(i);

        if (p->channel != IDLE) {
            p->again = now_ns() + PATIENCE;
        }
    }

    if (p->channel == IDLE) {

        if (cursor == nchannels) {
            return;
        }

        p->channel = cursor++;
        post_send(i);
        return;
    }

    if (p->again && now_ns() >= p->again) {
        retries++;
        post_send(i);
    }
}


static void
post_send(unsigned i)
{
    int       n;
    char      name[CHANNEL_MAX];
    post_t   *p;

    p = &posts[i];
    p->again = 0;

    payload_channel(name, p->channel);

    n = sprintf((char *) out,
                "POST /pub/%s HTTP/1.1\r\n"
                "Host: 127.0.0.1:%u\r\n"
                "Content-Type: text/plain\r\n"
                "Idempotency-Key: %s-%u\r\n"
                "Content-Length: %u\r\n"
                "\r\n",
                name, options.hosts[0].port, name, turn, options.size);

    payload_write(out + n, now_ns(), p->channel, turn);
    conn_send(loop_conn(i), out, n + options.size);
}


static void
on_response(conn_t *c, unsigned status)
{
    post_t  *p;

    p = &posts[c->id];

    if (p->channel == IDLE || p->again) {
        die("an answer without a POST");
    }

    if (status != 200 && status != 201 && status != 202) {
        p->again = now_ns() + PATIENCE;
        return;
    }

    if (first == 0) {
        first = now_ns();
    }

    p->channel = IDLE;
    accepted++;
}


static void
on_message(conn_t *c, u_char *data, size_t len)
{
    uint32_t  group, seq;
    uint64_t  sent;

    if (payload_read(data, len, &sent, &group, &seq) != 0
        || group != c->id - fleet_publishers)
    {
        faults.corrupt++;
        return;
    }

    if (payload_check(c, seq, &faults)) {
        delivered++;
    }
}


static void
on_closed(conn_t *c)
{
    if (c->id >= fleet_publishers) {
        faults.closed++;
    }
}


static void
channel_name(unsigned i, char *name)
{
    payload_channel(name, i - fleet_publishers);
}
