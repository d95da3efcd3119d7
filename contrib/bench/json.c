
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define _GNU_SOURCE

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wsload.h"


/*
 * What only ws-bus.v1.json has: clients that come back for what is kept, and
 * many channels on one connection.
 */


/* messages that are kept, and channels of a connection */
#define KEPT        1000
#define CHANNELS    1000

/* requests in flight */
#define AHEAD       10

#define TEXT_MAX    (CHANNEL_MAX + 256)


static void keep(void);
static void resume(void);
static void ask(conn_t *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int wait_until(unsigned *n, unsigned want);
static void on_message(conn_t *c, u_char *data, size_t len);
static void on_closed(conn_t *c);
static void no_channel(unsigned i, char *name);


static char      epoch[32];
static unsigned  answers;
static unsigned  messages;
static unsigned  errors;
static faults_t  faults;

static const handlers_t  handlers = {
    .message = on_message,
    .closed = on_closed
};


/*
 * One client subscribes again and again from the beginning of a history.
 */

int
workload_replay(void)
{
    int        bad;
    double     wall;
    unsigned   n;
    uint64_t   begun, cpu;

    options.json = "message";

    payload_init();
    loop_init(1, 2, options.size + PAYLOAD_ENVELOPE, &handlers);
    loop_open(0, 1, 1, no_channel);
    keep();

    for (n = 0; n < 10; n++) {
        resume();
    }

    cpu = server_cpu();
    begun = now_ns();

    for (n = 0; now_ns() - begun < options.seconds * SEC; n++) {
        resume();
    }

    wall = now_ns() - begun;
    cpu = server_cpu() - cpu;

    printf("workload=replay size=%u seconds=%.3f replays=%u deliveries=%u"
           " replay_ms=%.4f server_us=%.4f",
           options.size, wall / SEC, n, n * KEPT, cpu / 1e6 / n,
           cpu / 1e3 / n / KEPT);

    bad = faults_print(&faults);
    printf("\n");

    return bad | (errors != 0);
}


static void
keep(void)
{
    u_char    *frame, *p;
    unsigned   i;

    frame = malloc(options.size + PAYLOAD_ENVELOPE + 16);

    if (frame == NULL) {
        die("no memory");
    }

    for (i = 0; i < KEPT; i++) {
        p = payload_frames(frame, 1, now_ns(), 0, i);
        conn_send(loop_conn(0), frame, p - frame);
    }

    free(frame);
}


static void
resume(void)
{
    char     name[CHANNEL_MAX];
    conn_t  *c;

    c = loop_conn(0);
    payload_channel(name, 0);

    if (epoch[0] == '\0') {
        answers = 0;
        ask(c, "{\"type\":\"history\",\"channel\":\"%s\",\"limit\":0}", name);

        if (wait_until(&answers, 1) != 0) {
            die("no answer to \"history\"");
        }
    }

    answers = 0;
    messages = 0;
    c->next = 0;

    ask(c, "{\"type\":\"subscribe\",\"channel\":\"%s\",\"epoch\":\"%s\","
        "\"seq\":0}", name, epoch);

    if (wait_until(&messages, KEPT) != 0) {
        faults.lost += KEPT - messages;
    }

    ask(c, "{\"type\":\"unsubscribe\",\"channel\":\"%s\"}", name);

    if (wait_until(&answers, 2) != 0) {
        die("no answer to \"unsubscribe\"");
    }
}


/*
 * Some connections with many channels each: what the server's processes have
 * of their own for each.
 */

int
workload_subscriptions(void)
{
    int        bad;
    unsigned   i, n;
    uint64_t   before, after;

    options.json = "message";

    payload_init();
    loop_init(options.clients, 2, options.size + PAYLOAD_ENVELOPE, &handlers);
    loop_open(0, options.clients, 8, no_channel);

    for (i = 0; i < options.clients; i++) {
        ask(loop_conn(i), "{\"type\":\"subscribe\",\"channel\":\"b%d\"}",
            (int) getpid());
    }

    bad = wait_until(&answers, options.clients);

    usleep(200000);
    before = server_own_memory();

    answers = 0;

    for (i = 0; i < options.clients; i++) {
        for (n = 0; n < CHANNELS && !bad; n++) {
            ask(loop_conn(i), "{\"type\":\"subscribe\",\"channel\":"
                "\"b%d-%u-%u\"}", (int) getpid(), i, n);

            /* answers that pile up would take memory, too */

            if (n % AHEAD == AHEAD - 1) {
                bad = wait_until(&answers, i * CHANNELS + n + 1);
            }
        }
    }

    bad |= wait_until(&answers, options.clients * CHANNELS);

    usleep(200000);
    after = server_own_memory();

    printf("workload=subscriptions clients=%u channels=%u"
           " bytes_per_channel=%.0f",
           options.clients, CHANNELS,
           ((double) after - before) / options.clients / CHANNELS);

    faults.lost += (bad != 0);
    bad = faults_print(&faults);
    printf("\n");

    return bad | (errors != 0);
}


static void
ask(conn_t *c, const char *fmt, ...)
{
    int       n;
    char      text[TEXT_MAX];
    u_char    frame[TEXT_MAX + 16], *p;
    va_list   args;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    p = payload_text(frame, text, n);

    conn_send(c, frame, p - frame);
}


static int
wait_until(unsigned *n, unsigned want)
{
    uint64_t  progress;

    progress = now_ns();

    while (*n < want) {
        if (!loop_goes_on(100, &progress)) {
            return -1;
        }
    }

    return 0;
}


static void
on_message(conn_t *c, u_char *data, size_t len)
{
    u_char    *p;
    uint32_t   group, seq;
    uint64_t   sent;

    if (payload_begins(data, len, "{\"type\":\"message\"")) {

        if (payload_read(data, len, &sent, &group, &seq) != 0) {
            faults.corrupt++;
            return;
        }

        if (payload_check(c, seq, &faults)) {
            messages++;
        }

        return;
    }

    if (payload_begins(data, len, "{\"type\":\"error\"")) {
        errors++;
        fprintf(stderr, "wsload: %.*s\n", (int) len, (char *) data);
        return;
    }

    p = memmem(data, len, "\"epoch\":\"", 9);

    if (p && epoch[0] == '\0'
        && payload_begins(data, len, "{\"type\":\"history\""))
    {
        memcpy(epoch, p + 9, 16);
    }

    answers++;
}


static void
on_closed(conn_t *c)
{
    (void) c;

    faults.closed++;
}


static void
no_channel(unsigned i, char *name)
{
    (void) i;

    name[0] = '\0';
}
