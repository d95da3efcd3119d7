
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"


typedef struct {
    int         measured;
    uint64_t    messages;
    uint64_t    deadline;
    uint64_t    begun;
    uint64_t    ended;
} phase_t;


static int phase_run(int measured);
static int phase_wait(void);
static void publish(void);
static void on_message(conn_t *c, u_char *data, size_t len);
static void on_closed(conn_t *c);
static void own_channel(unsigned i, char *name);
static void publisher_channel(unsigned i, char *name);
static void settle(void);


unsigned              fleet_publishers;
unsigned              fleet_subscribers;

static const char    *json;            /* the publishers speak ws-bus.v1.json */
static char           head[CHANNEL_MAX + 64];
static u_char        *text;
static unsigned       opened;
static uint32_t       next_seq;
static uint64_t       owed;
static u_char        *out;
static uint64_t       cpus[PIDS_MAX];
static uint64_t       redis_bytes;
static phase_t        phase;
static faults_t       faults;
static histogram_t    latency[HOSTS_MAX];

static const handlers_t  handlers = {
    .message = on_message,
    .closed = on_closed
};


/*
 * One channel with subscribers on every host.  A publisher on the first one
 * sends a window when every subscriber has the last one, or with a rate one
 * message at a time, whether or not the others have come.  With -x there is
 * a publisher on each host, and what one sends is due on its own host alone:
 * the same load for hosts that know nothing of each other.
 */

int
workload_hosts(void)
{
    int        bad;
    double     wall;
    char       prefix[16];
    unsigned   i;
    uint64_t   own;

    out = malloc(fleet_room(options.window));

    if (out == NULL) {
        die("no memory");
    }

    fleet_open(options.apart ? options.nhosts : 1, 0, &handlers, NULL);

    own = 0;

    if (phase_run(0) == 0) {
        fleet_begin();
        own = own_cpu();

        (void) phase_run(1);

        own = own_cpu() - own;
        fleet_end();
    }

    wall = phase.ended - phase.begun;

    printf("workload=hosts hosts=%u clients=%u inflight=%u size=%u"
           " seconds=%.3f messages=%llu generator_load=%.2f",
           options.nhosts, fleet_subscribers, options.window, options.size,
           wall / SEC, (unsigned long long) phase.messages, own / wall);

    fleet_print(phase.messages);

    for (i = 0; i < options.nhosts; i++) {
        sprintf(prefix, "host%u_", i);
        histogram_print(&latency[i], prefix);
    }

    bad = faults_print(&faults);
    printf("\n");

    return bad;
}


static int
phase_run(int measured)
{
    uint64_t  now, due, step;

    memset(&phase, 0, sizeof(phase));

    now = now_ns();
    step = options.paced ? SEC / options.rate : 0;
    due = now;

    phase.measured = measured;
    phase.begun = now;
    phase.deadline = now + (uint64_t) (options.seconds * SEC)
                           / (measured ? 1 : 4);

    while ((now = now_ns()) < phase.deadline) {

        if (options.paced) {

            if (now >= due) {
                due += step;
                publish();
            }

            (void) loop_turn(1);

        } else {
            publish();

            if (phase_wait() != 0) {
                break;
            }
        }
    }

    (void) phase_wait();

    phase.ended = now_ns();
    faults.lost = owed;

    if (owed) {
        return -1;
    }

    settle();

    return 0;
}


/* until all is delivered; -1 if it is not */

static int
phase_wait(void)
{
    uint64_t  progress;

    progress = now_ns();

    while (owed) {
        if (!loop_goes_on(100, &progress)) {
            return -1;
        }
    }

    return 0;
}


static void
publish(void)
{
    u_char    *p;
    unsigned   i;

    p = fleet_frames(out, options.window, now_ns(), 0, next_seq);

    next_seq += options.window;
    phase.messages += options.window;
    owed += (uint64_t) options.window * fleet_subscribers;

    for (i = 0; i < fleet_publishers; i++) {
        conn_send(loop_conn(i), out, p - out);
    }
}


static void
on_message(conn_t *c, u_char *data, size_t len)
{
    uint32_t  group, seq;
    uint64_t  sent;

    if (c->id < fleet_publishers) {
        fleet_answer(data, len);
        return;
    }

    if (payload_read(data, len, &sent, &group, &seq) != 0
        || group != 0
        || (int32_t) (seq - next_seq) >= 0)
    {
        faults.corrupt++;
        return;
    }

    if (!payload_check(c, seq, &faults)) {
        return;
    }

    if (phase.measured) {
        histogram_add(&latency[c->group], now_ns() - sent);
    }

    owed--;
}


static void
on_closed(conn_t *c)
{
    (void) c;

    faults.closed++;
}


void
fleet_open(unsigned publishers, int posting, const handlers_t *on,
    void (*channel)(unsigned i, char *name))
{
    unsigned     i, k, n;
    const char  *prefix;

    json = options.json;
    prefix = options.prefix;
    fleet_publishers = publishers;

    if (options.nhosts == 0) {
        die("no hosts");
    }

    for (i = 0; i < options.nhosts; i++) {
        fleet_subscribers += options.hosts[i].clients;
    }

    payload_init();
    loop_init(fleet_publishers + fleet_subscribers, 2,
              options.size + PAYLOAD_ENVELOPE, on);

    n = 0;

    for (i = 0; i < fleet_publishers; i++) {
        k = options.apart ? i : 0;
        options.port = options.hosts[k].port;
        loop_conn(n)->group = k;

        if (posting) {
            loop_open_http(n);

        } else {
            options.prefix = options.publisher;
            loop_open(n, 1, 1, publisher_channel);
        }

        n++;
    }

    /* subscribers are raw clients */

    options.prefix = prefix;
    options.json = NULL;
    opened = n;

    for (k = 0; k < options.nhosts; k++) {

        for (i = 0; i < options.hosts[k].clients; i++) {
            loop_conn(n + i)->group = k;
        }

        options.port = options.hosts[k].port;
        loop_open(n, options.hosts[k].clients, 64,
                  channel ? channel : own_channel);

        n += options.hosts[k].clients;
    }

    settle();
}


static void
own_channel(unsigned i, char *name)
{
    (void) i;

    payload_channel(name, 0);
}


static void
publisher_channel(unsigned i, char *name)
{
    (void) i;

    *name = '\0';

    if (!json) {
        payload_channel(name, 0);
    }
}


u_char *
fleet_frames(u_char *p, unsigned n, uint64_t time, uint32_t group,
    uint32_t seq)
{
    size_t  len;
    char    name[CHANNEL_MAX];

    if (!json) {
        return payload_frames(p, n, time, group, seq);
    }

    if (text == NULL) {
        payload_channel(name, 0);
        sprintf(head, "{\"type\":\"publish\",\"channel\":\"%s\",\"text\":\"",
                name);

        text = malloc(sizeof(head) + options.size + 2);

        if (text == NULL) {
            die("no memory");
        }

        strcpy((char *) text, head);
    }

    len = strlen(head);

    while (n--) {
        payload_write(text + len, time, group, seq++);
        memcpy(text + len + options.size, "\"}", 2);

        p = payload_text(p, (char *) text, len + options.size + 2);
    }

    return p;
}


size_t
fleet_room(unsigned n)
{
    return n * (size_t) (options.size + PAYLOAD_ENVELOPE);
}


void
fleet_answer(const u_char *data, size_t len)
{
    if (json && payload_begins(data, len, "{\"type\":\"error\"")) {
        die("the publisher got %.*s", (int) len, (char *) data);
    }
}


void
fleet_begin(void)
{
    unsigned  i;

    redis_bytes = redis_sent();

    for (i = 0; i < options.npids; i++) {
        cpus[i] = process_cpu(options.pids[i]);
    }
}


void
fleet_end(void)
{
    unsigned  i;

    for (i = 0; i < options.npids; i++) {
        cpus[i] = process_cpu(options.pids[i]) - cpus[i];
    }

    redis_bytes = redis_sent() - redis_bytes;
}


void
fleet_print(double messages)
{
    unsigned  i;

    for (i = 0; i < options.npids; i++) {
        printf(" cpu%u_us=%.4f", i,
               messages > 0 ? cpus[i] / 1e3 / messages : 0);
    }

    if (options.redis) {
        printf(" redis_bytes=%.1f",
               messages > 0 ? redis_bytes / messages : 0);
    }
}


/* processes are accounted for at rest; what comes late is seen */

static void
settle(void)
{
    uint64_t  end;

    end = now_ns() + 30 * MSEC;

    do {
        (void) loop_turn(10);
    } while (now_ns() < end);
}
