
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wsload.h"


static u_char *json_frame(u_char *p, uint64_t time, uint32_t group,
    uint32_t seq);
static int json_open(const u_char **data, size_t *len);
static u_char *hex_write(u_char *p, uint64_t value, unsigned digits);
static int hex_read(const u_char *p, unsigned digits, uint64_t *value);


/* one mask for all frames: the filler is masked once, not per message */
static const u_char  mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

static u_char        values[256];       /* of a digit; 0xff: it is none */
static u_char       *filler;            /* the whole payload, digits as '-' */
static u_char       *masked;            /* a frame of it */
static size_t        head_len;
static size_t        frame_len;


void
payload_init(void)
{
    u_char    *p;
    unsigned   i;

    memset(values, 0xff, sizeof(values));

    for (i = 0; i < 16; i++) {
        values[(u_char) "0123456789abcdef"[i]] = i;
    }

    filler = malloc(options.size);
    masked = malloc(options.size + 16);

    if (filler == NULL || masked == NULL) {
        die("no memory");
    }

    for (i = 0; i < options.size; i++) {
        filler[i] = i < PAYLOAD_MIN ? '-' : 'a' + i % 26;
    }

    p = frame_head(masked, OP_TEXT, options.size, mask);
    head_len = p - masked;
    frame_len = head_len + options.size;

    for (i = 0; i < options.size; i++) {
        p[i] = filler[i] ^ mask[i & 3];
    }
}


u_char *
payload_frames(u_char *p, unsigned n, uint64_t time, uint32_t group,
    uint32_t seq)
{
    u_char    *digits;
    uint64_t   word, wide;
    unsigned   i;

    memcpy(&wide, mask, 4);
    memcpy((u_char *) &wide + 4, mask, 4);

    while (n--) {

        if (options.json) {
            p = json_frame(p, time, group, seq++);
            continue;
        }

        memcpy(p, masked, frame_len);
        digits = p + head_len;

        hex_write(digits, time, 16);
        hex_write(digits + 16, group, 8);
        hex_write(digits + 24, seq++, 8);

        for (i = 0; i < PAYLOAD_MIN; i += 8) {
            memcpy(&word, digits + i, 8);
            word ^= wide;
            memcpy(digits + i, &word, 8);
        }

        p += frame_len;
    }

    return p;
}


u_char *
payload_text(u_char *p, const char *text, size_t len)
{
    size_t  i;

    p = frame_head(p, OP_TEXT, len, mask);

    for (i = 0; i < len; i++) {
        *p++ = (u_char) text[i] ^ mask[i & 3];
    }

    return p;
}


int
payload_begins(const u_char *data, size_t len, const char *text)
{
    return len >= strlen(text) && memcmp(data, text, strlen(text)) == 0;
}


/* a run never meets what an earlier one left in the server */

void
payload_channel(char *name, uint32_t group)
{
    snprintf(name, CHANNEL_MAX, "b%d-%u", (int) getpid(), group);
}


static u_char *
json_frame(u_char *p, uint64_t time, uint32_t group, uint32_t seq)
{
    int     n;
    char    name[CHANNEL_MAX];

    static char  *text;

    if (text == NULL) {
        text = malloc(options.size + PAYLOAD_ENVELOPE);

        if (text == NULL) {
            die("no memory");
        }
    }

    payload_channel(name, group);

    n = sprintf(text, "{\"type\":\"publish\",\"channel\":\"%s\",\"data\":\"",
                name);
    payload_write((u_char *) text + n, time, group, seq);
    n += options.size;
    n += sprintf(text + n, "\"}");

    return payload_text(p, text, n);
}


/* what is between the quotes of "data"; 0, or -1 if that is not a message */

static int
json_open(const u_char **data, size_t *len)
{
    u_char         type[32];
    const u_char  *p, *last;

    p = *data;
    last = p + *len;

    snprintf((char *) type, sizeof(type), "{\"type\":\"%s\",", options.json);

    if (!payload_begins(p, *len, (char *) type)) {
        return -1;
    }

    p = memmem(p, *len, ",\"data\":\"", sizeof(",\"data\":\"") - 1);

    if (p == NULL || last - p < 12 || memcmp(last - 2, "\"}", 2) != 0) {
        return -1;
    }

    p += sizeof(",\"data\":\"") - 1;

    *data = p;
    *len = last - 2 - p;

    return 0;
}


u_char *
payload_write(u_char *p, uint64_t time, uint32_t group, uint32_t seq)
{
    memcpy(p, filler, options.size);

    hex_write(p, time, 16);
    hex_write(p + 16, group, 8);
    hex_write(p + 24, seq, 8);

    return p + options.size;
}


int
payload_read(const u_char *data, size_t len, uint64_t *time, uint32_t *group,
    uint32_t *seq)
{
    uint64_t  value;

    if (options.json && json_open(&data, &len) != 0) {
        return -1;
    }

    if (len != options.size
        || hex_read(data, 16, time) != 0
        || hex_read(data + 16, 16, &value) != 0
        || memcmp(data + PAYLOAD_MIN, filler + PAYLOAD_MIN, len - PAYLOAD_MIN)
           != 0)
    {
        return -1;
    }

    *group = value >> 32;
    *seq = (uint32_t) value;

    return 0;
}


int
payload_check(conn_t *c, uint32_t seq, faults_t *faults)
{
    uint64_t  bit;
    uint32_t  ahead;

    ahead = seq - c->next;

    if (ahead == 0) {

        do {
            c->next++;
            bit = c->early & 1;
            c->early >>= 1;
        } while (bit);

        return 1;
    }

    if (ahead > WINDOW_MAX) {
        faults->duplicate++;
        return 0;
    }

    bit = 1ull << (ahead - 1);

    if (c->early & bit) {
        faults->duplicate++;
        return 0;
    }

    c->early |= bit;
    faults->order++;

    return 1;
}


int
faults_print(const faults_t *faults)
{
    printf(" lost=%llu duplicate=%llu order=%llu corrupt=%llu closed=%llu",
           (unsigned long long) faults->lost,
           (unsigned long long) faults->duplicate,
           (unsigned long long) faults->order,
           (unsigned long long) faults->corrupt,
           (unsigned long long) faults->closed);

    if (faults->closed) {
        printf(" close_code=%u", close_code);
    }

    return (faults->lost | faults->duplicate | faults->order | faults->corrupt
            | faults->closed)
           != 0;
}


static u_char *
hex_write(u_char *p, uint64_t value, unsigned digits)
{
    unsigned  i;

    for (i = digits; i > 0; i--) {
        p[i - 1] = "0123456789abcdef"[value & 0xf];
        value >>= 4;
    }

    return p + digits;
}


static int
hex_read(const u_char *p, unsigned digits, uint64_t *value)
{
    u_char    bad, digit;
    uint64_t  v;

    v = 0;
    bad = 0;

    while (digits--) {
        digit = values[*p++];
        bad |= digit;
        v = v << 4 | (digit & 0xf);
    }

    *value = v;

    return bad & 0xf0 ? -1 : 0;
}
