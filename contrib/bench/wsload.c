
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wsload.h"


typedef struct {
    const char   *name;
    int         (*run)(void);
} workload_t;


static int usage(void);
static void pids_read(char *list);
static void hosts_read(char *list);


options_t  options = {
    .prefix = "/ws/",
    .publisher = "/ws/",
    .clients = 100,
    .window = 1,
    .size = 100,
    .publishers = 16,
    .processes = 1,
    .rate = 5,
    .seconds = 2,
    .timeout = 10
};


static const workload_t  workloads[] = {
    { "fanout", workload_fanout },
    { "echo", workload_echo },
    { "channels", workload_channels },
    { "post", workload_post },
    { "handshake", workload_handshake },
    { "idle", workload_idle },
    { "delay", workload_delay },
    { "replay", workload_replay },
    { "subscriptions", workload_subscriptions },
    { "hosts", workload_hosts },
    { "burst", workload_burst },
    { "outage", workload_outage },
    { NULL, NULL }
};


int
main(int argc, char **argv)
{
    int                ch;
    const workload_t  *w;

    signal(SIGPIPE, SIG_IGN);

    while ((ch = getopt(argc, argv, "p:P:u:n:w:s:k:j:J:r:d:c:t:bH:U:R:x")) != -1) {

        switch (ch) {

        case 'p':
            options.port = atoi(optarg);
            break;

        case 'P':
            pids_read(optarg);
            break;

        case 'u':
            options.prefix = optarg;
            break;

        case 'n':
            options.clients = atoi(optarg);
            break;

        case 'w':
            options.window = atoi(optarg);
            break;

        case 's':
            options.size = atoi(optarg);
            break;

        case 'k':
            options.publishers = atoi(optarg);
            break;

        case 'j':
            options.processes = atoi(optarg);
            break;

        case 'J':
            options.json = optarg;
            break;

        case 'r':
            options.rate = atoi(optarg);
            options.paced = 1;
            break;

        case 'd':
            options.seconds = atof(optarg);
            break;

        case 'c':
            options.count = strtoull(optarg, NULL, 10);
            break;

        case 't':
            options.timeout = atof(optarg);
            break;

        case 'b':
            options.spin = 1;
            break;

        case 'H':
            hosts_read(optarg);
            break;

        case 'U':
            options.publisher = optarg;
            break;

        case 'R':
            options.redis = atoi(optarg);
            break;

        case 'x':
            options.apart = 1;
            break;

        default:
            return usage();
        }
    }

    if (optind + 1 != argc
        || options.port == 0
        || options.clients == 0
        || options.window == 0 || options.window > WINDOW_MAX
        || options.size < PAYLOAD_MIN || options.size > 262144
        || options.publishers == 0
        || options.processes == 0 || options.processes > 200
        || options.rate == 0)
    {
        return usage();
    }

    for (w = workloads; w->name; w++) {
        if (strcmp(w->name, argv[optind]) == 0) {
            return w->run();
        }
    }

    return usage();
}


static int
usage(void)
{
    fputs("usage: wsload -p port [options] workload\n"
          "\n"
          "workloads: fanout echo channels post handshake idle delay replay\n"
          "           subscriptions hosts burst outage\n"
          "\n"
          "  -P pid,...  the server's processes, to account for\n"
          "  -u prefix   of a path, /ws/\n"
          "  -n number   clients, 100\n"
          "  -w number   messages, or handshakes, in flight, 1\n"
          "  -s bytes    size of a message, 100, at least 32\n"
          "  -k number   connections that POST (channels, post), 16\n"
          "  -j number   client processes (idle), 1\n"
          "  -J type     JSON, what messages come as: \"message\" from a server\n"
          "              that speaks ws-bus.v1.json, else \"publish\"\n"
          "  -r number   broadcasts per second (delay), 5\n"
          "  -d seconds  measured time, 2\n"
          "  -c number   windows, or batches, instead of a time\n"
          "  -t seconds  without progress until all is lost, 10\n"
          "  -b          wait busily: the server need not wake anybody\n"
          "\n"
          "hosts, burst, outage:\n"
          "\n"
          "  -H port=number,...  each host's subscribers; the first one's\n"
          "                      port is also where is published\n"
          "  -U prefix           of a publisher's path, /ws/; with -J it is the\n"
          "                      whole path\n"
          "  -R port             of Redis, to ask what it has sent\n"
          "  -r number           messages per second, instead of windows\n"
          "  -x                  a publisher for each host, for hosts that do\n"
          "                      not know each other\n",
          stderr);

    return 2;
}


static void
pids_read(char *list)
{
    char  *pid;

    for (pid = strtok(list, ","); pid; pid = strtok(NULL, ",")) {

        if (options.npids == PIDS_MAX) {
            die("more than %d server processes", PIDS_MAX);
        }

        options.pids[options.npids++] = atoi(pid);
    }
}


static void
hosts_read(char *list)
{
    char    *host;
    host_t  *h;

    for (host = strtok(list, ","); host; host = strtok(NULL, ",")) {
        h = &options.hosts[options.nhosts];

        if (options.nhosts == HOSTS_MAX
            || sscanf(host, "%u=%u", &h->port, &h->clients) != 2)
        {
            die("hosts are given as port=clients, at most %d", HOSTS_MAX);
        }

        options.nhosts++;
    }

    if (options.nhosts) {
        options.port = options.hosts[0].port;
    }
}
