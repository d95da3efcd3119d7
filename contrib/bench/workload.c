
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wsload.h"


/*
 * All three workloads are groups of clients.  A group's publisher sends a
 * window of messages in one write, and the next one only when every member
 * has all of them; groups do not wait for each other.
 *
 *     fanout     one group of all clients, one of whom publishes
 *     echo       a group per client, who publishes to itself
 *     channels   a group per client; a few HTTP connections take the groups
 *                in turn, and wait for the response as well
 *     post       the same without clients: only the responses come
 */

typedef struct {
    uint32_t       members;
    uint32_t       seq;         /* of the message that is sent next */
    uint32_t       owed;        /* deliveries and responses of this window */
    uint32_t       publisher;   /* connection */
} group_t;


typedef struct {
    int            measured;
    unsigned       active;      /* groups with a window in flight */
    uint64_t       windows;     /* done */
    uint64_t       count;       /* no new window after so many, */
    uint64_t       deadline;    /* nor after this time */
    uint64_t       begun;
    uint64_t       ended;
} phase_t;


static int workload_run(const char *name, unsigned ngroups, unsigned members,
    unsigned publishers);
static int phase_run(int measured);
static void group_start(uint32_t g, uint32_t publisher);
static void group_done(uint32_t g);
static size_t window_frames(uint32_t g);
static size_t window_post(uint32_t g);
static void on_message(conn_t *c, u_char *data, size_t len);
static void on_response(conn_t *c, unsigned status);
static void on_closed(conn_t *c);
static void channel_name(unsigned i, char *name);
static void settle(void);


static group_t      *groups;
static unsigned      ngroups;
static unsigned      nclients;
static unsigned      posting;       /* HTTP connections, behind the clients */
static uint32_t      next_group;
static u_char       *out;
static phase_t       phase;
static faults_t      faults;
static histogram_t   latency;

static const handlers_t  handlers = {
    .message = on_message,
    .response = on_response,
    .closed = on_closed
};


int
workload_fanout(void)
{
    return workload_run("fanout", 1, options.clients, 0);
}


int
workload_echo(void)
{
    return workload_run("echo", options.clients, 1, 0);
}


int
workload_channels(void)
{
    options.window = 1;

    return workload_run("channels", options.clients, 1, options.publishers);
}


int
workload_post(void)
{
    options.window = 1;

    return workload_run("post", options.clients, 0, options.publishers);
}


static int
workload_run(const char *name, unsigned n, unsigned members,
    unsigned publishers)
{
    double     wall, messages, deliveries;
    unsigned   i;
    uint64_t   cpu, own;

    ngroups = n;
    nclients = n * members;
    posting = publishers;

    if (posting > ngroups) {
        die("more publishers than channels");
    }

    payload_init();
    loop_init(nclients + posting, 2, options.size + PAYLOAD_ENVELOPE,
              &handlers);

    groups = calloc(ngroups, sizeof(group_t));
    out = malloc(options.window * (options.size + PAYLOAD_ENVELOPE) + 512);

    if (groups == NULL || out == NULL) {
        die("no memory");
    }

    for (i = 0; i < ngroups; i++) {
        groups[i].members = members;
    }

    for (i = 0; i < nclients; i++) {
        loop_conn(i)->group = i / members;
    }

    loop_open(0, nclients, 64, channel_name);

    for (i = 0; i < posting; i++) {
        loop_open_http(nclients + i);
    }

    cpu = own = 0;

    if (options.count || phase_run(0) == 0) {
        cpu = server_cpu();
        own = own_cpu();

        (void) phase_run(1);
    }

    cpu = server_cpu() - cpu;
    own = own_cpu() - own;

    wall = phase.ended - phase.begun;
    messages = (double) phase.windows * options.window;
    deliveries = messages * (members ? members : 1);

    printf("workload=%s clients=%u inflight=%u size=%u seconds=%.3f"
           " messages=%.0f deliveries=%.0f server_us=%.4f server_load=%.2f"
           " generator_load=%.2f",
           name, nclients, posting ? posting : options.window, options.size,
           wall / SEC, messages, deliveries,
           deliveries ? cpu / 1e3 / deliveries : 0, cpu / wall, own / wall);

    histogram_print(&latency, "");
    i = faults_print(&faults);
    printf("\n");

    return i;
}


/*
 * The server is at rest at both ends of a phase, so that the scheduler's
 * account of it is exact and every message is counted in the phase that
 * caused it.  Warming up takes a quarter of the time that is measured.
 *
 * Returns 0, or -1 after a loss: what comes late from then on would only be
 * counted as something else.
 */

static int
phase_run(int measured)
{
    double    seconds;
    unsigned  i;
    uint64_t  now, progress;

    memset(&phase, 0, sizeof(phase));

    now = now_ns();
    seconds = measured ? options.seconds : options.seconds / 4;

    phase.measured = measured;
    phase.begun = now;
    phase.count = options.count ? options.count : UINT64_MAX;
    phase.deadline = options.count ? UINT64_MAX
                                   : now + (uint64_t) (seconds * SEC);

    for (i = 0; i < (posting ? posting : ngroups); i++) {
        if (posting) {
            group_start(next_group++ % ngroups, nclients + i);

        } else {
            group_start(i, i * groups[i].members);
        }
    }

    progress = now;

    while (phase.active) {
        if (!loop_goes_on(100, &progress)) {
            break;
        }
    }

    phase.ended = now_ns();

    for (i = 0; phase.active && i < ngroups; i++) {
        faults.lost += groups[i].owed;
    }

    if (faults.lost) {
        return -1;
    }

    settle();

    return 0;
}


static void
group_start(uint32_t g, uint32_t publisher)
{
    size_t    len;
    group_t  *gr;

    gr = &groups[g];

    gr->publisher = publisher;
    loop_conn(publisher)->group = g;
    gr->owed = gr->members * options.window + (posting ? 1 : 0);

    phase.active++;

    len = posting ? window_post(g) : window_frames(g);
    gr->seq += options.window;

    conn_send(loop_conn(publisher), out, len);
}


static void
group_done(uint32_t g)
{
    uint32_t  publisher;

    phase.active--;
    phase.windows++;

    if (phase.windows + phase.active >= phase.count
        || now_ns() >= phase.deadline)
    {
        return;
    }

    publisher = groups[g].publisher;

    if (posting) {

        do {
            g = next_group++ % ngroups;
        } while (groups[g].owed);
    }

    group_start(g, publisher);
}


static size_t
window_frames(uint32_t g)
{
    return payload_frames(out, options.window, now_ns(), g, groups[g].seq)
           - out;
}


static size_t
window_post(uint32_t g)
{
    int   n;
    char  name[CHANNEL_MAX];

    payload_channel(name, g);

    n = sprintf((char *) out,
                "POST %s%s HTTP/1.1\r\n"
                "Host: 127.0.0.1:%u\r\n"
                "Content-Type: text/plain\r\n"
                "Content-Length: %u\r\n"
                "\r\n",
                nclients ? "/pub/" : options.prefix, name, options.port,
                options.size);

    return payload_write(out + n, now_ns(), g, groups[g].seq) - out;
}


static void
on_message(conn_t *c, u_char *data, size_t len)
{
    group_t   *g;
    uint32_t   group, seq;
    uint64_t   sent;

    if (options.json && payload_begins(data, len, "{\"type\":\"subscribed\"")) {
        return;
    }

    if (payload_read(data, len, &sent, &group, &seq) != 0
        || group != c->group
        || (int32_t) (seq - groups[group].seq) >= 0)
    {
        faults.corrupt++;
        return;
    }

    if (!payload_check(c, seq, &faults)) {
        return;
    }

    if (phase.measured) {
        histogram_add(&latency, now_ns() - sent);
    }

    g = &groups[group];

    if (--g->owed == 0) {
        group_done(group);
    }
}


static void
on_response(conn_t *c, unsigned status)
{
    uint32_t  g;

    if (status != 200 && status != 201 && status != 202) {
        die("POST was answered with %u", status);
    }

    g = c->group;

    if (groups[g].owed == 0 || groups[g].publisher != c->id) {
        die("an answer without a POST");
    }

    if (--groups[g].owed == 0) {
        group_done(g);
    }
}


static void
on_closed(conn_t *c)
{
    (void) c;

    faults.closed++;
}


static void
channel_name(unsigned i, char *name)
{
    payload_channel(name, loop_conn(i)->group);
}


static void
settle(void)
{
    uint64_t  end;

    end = now_ns() + 20 * MSEC;

    do {
        (void) loop_turn(10);
    } while (now_ns() < end);
}
