
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _FLEET_H_INCLUDED_
#define _FLEET_H_INCLUDED_


#include "wsload.h"


/*
 * Between the workloads with several hosts.  Connections are numbered:
 * publishers first, then the subscribers of one host after the other.
 */

extern unsigned    fleet_publishers;
extern unsigned    fleet_subscribers;    /* of all hosts */

/*
 * Opens the connections, publishers to the first host, or with -x one to
 * each; a connection's group is the number of its host.  "channel" names a
 * subscriber's channel, NULL: all have that of group 0, and so do the
 * publishers.  With "posting", publishers are HTTP connections.
 */
void fleet_open(unsigned publishers, int posting, const handlers_t *on,
    void (*channel)(unsigned i, char *name));

/* writes n messages for the publishers to send; returns the end */
u_char *fleet_frames(u_char *p, unsigned n, uint64_t time, uint32_t group,
    uint32_t seq);

/* bytes that fleet_frames() needs for n messages */
size_t fleet_room(unsigned n);

/* to be called for what a publisher is sent: exits if that is an error */
void fleet_answer(const u_char *data, size_t len);

/* takes the state of Redis and of the processes at both ends of a phase */
void fleet_begin(void);
void fleet_end(void);

/* what they used in between, " cpu0_us=... redis_bytes=..." per message */
void fleet_print(double messages);


#endif /* _FLEET_H_INCLUDED_ */
