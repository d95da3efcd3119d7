
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <hiredis/read.h>

#include "ngx_ws_bus_resp.h"


#define NGX_WS_BUS_RESP_BLOCK       4096
#define NGX_WS_BUS_RESP_BLOCK_MAX   (64 * 1024)

/* a type, the digits of a length, CR LF */
#define NGX_WS_BUS_RESP_HEAD        32

/* hiredis has RESP3 since 1.0, and another table of functions */
#if defined(REDIS_REPLY_DOUBLE)
#define NGX_WS_BUS_RESP_HIREDIS_1   1
typedef size_t  ngx_ws_bus_resp_count_t;
#else
#define NGX_WS_BUS_RESP_HIREDIS_1   0
typedef int     ngx_ws_bus_resp_count_t;
#endif


/* a reply is made in blocks, which all go at once */

typedef struct ngx_ws_bus_resp_block_s  ngx_ws_bus_resp_block_t;

struct ngx_ws_bus_resp_block_s {
    ngx_ws_bus_resp_block_t  *next;
    size_t                    size;
    size_t                    used;
    size_t                    unused;      /* for alignment */
};


typedef struct {
    ngx_ws_bus_reply_t        reply;       /* first: it is what others see */
    ngx_ws_bus_reply_t       *last;        /* element of an array */
} ngx_ws_bus_resp_node_t;


struct ngx_ws_bus_resp_s {
    redisReader              *reader;
    ngx_ws_bus_resp_block_t  *blocks;      /* the newest first */

    size_t                    max_size;
    ngx_uint_t                max_elements;

    size_t                    size;        /* strings of this reply */
    ngx_uint_t                elements;

    const char               *error;
    ngx_uint_t                given;       /* unsigned  given:1; */
};


static size_t ngx_ws_bus_resp_digits(size_t n);
static u_char *ngx_ws_bus_resp_head(u_char *p, u_char type, size_t n);
static ngx_str_t ngx_ws_bus_reply_refusal(const ngx_str_t *error);
static void *ngx_ws_bus_resp_alloc(ngx_ws_bus_resp_t *resp, size_t size);
static void ngx_ws_bus_resp_reset(ngx_ws_bus_resp_t *resp);
static ngx_int_t ngx_ws_bus_resp_bounded(ngx_ws_bus_resp_t *resp);
static ngx_ws_bus_resp_node_t *ngx_ws_bus_resp_node(const redisReadTask *task,
    ngx_ws_bus_reply_e type);
static void *ngx_ws_bus_resp_refuse(const redisReadTask *task,
    const char *error);
static void *ngx_ws_bus_resp_string(const redisReadTask *task, char *data,
    size_t len);
static void *ngx_ws_bus_resp_array(const redisReadTask *task,
    ngx_ws_bus_resp_count_t n);
static void *ngx_ws_bus_resp_integer(const redisReadTask *task,
    long long value);
static void *ngx_ws_bus_resp_nil(const redisReadTask *task);
static void ngx_ws_bus_resp_free(void *reply);

#if (NGX_WS_BUS_RESP_HIREDIS_1)
static void *ngx_ws_bus_resp_double(const redisReadTask *task, double value,
    char *data, size_t len);
static void *ngx_ws_bus_resp_bool(const redisReadTask *task, int value);
#endif


static redisReplyObjectFunctions  ngx_ws_bus_resp_functions = {
    ngx_ws_bus_resp_string,
    ngx_ws_bus_resp_array,
    ngx_ws_bus_resp_integer,
#if (NGX_WS_BUS_RESP_HIREDIS_1)
    ngx_ws_bus_resp_double,
#endif
    ngx_ws_bus_resp_nil,
#if (NGX_WS_BUS_RESP_HIREDIS_1)
    ngx_ws_bus_resp_bool,
#endif
    ngx_ws_bus_resp_free
};


size_t
ngx_ws_bus_resp_command_size(const ngx_str_t *argv, ngx_uint_t n)
{
    size_t      size;
    ngx_uint_t  i;

    size = sizeof("*\r\n") - 1 + ngx_ws_bus_resp_digits(n);

    for (i = 0; i < n; i++) {
        size += sizeof("$\r\n\r\n") - 1 + ngx_ws_bus_resp_digits(argv[i].len)
                + argv[i].len;
    }

    return size;
}


u_char *
ngx_ws_bus_resp_command(u_char *p, const ngx_str_t *argv, ngx_uint_t n)
{
    ngx_uint_t  i;

    p = ngx_ws_bus_resp_head(p, '*', n);

    for (i = 0; i < n; i++) {
        p = ngx_ws_bus_resp_head(p, '$', argv[i].len);

        if (argv[i].len) {
            p = ngx_cpymem(p, argv[i].data, argv[i].len);
        }

        *p++ = CR;
        *p++ = LF;
    }

    return p;
}


static size_t
ngx_ws_bus_resp_digits(size_t n)
{
    size_t  digits;

    for (digits = 1; n >= 10; digits++) {
        n /= 10;
    }

    return digits;
}


static u_char *
ngx_ws_bus_resp_head(u_char *p, u_char type, size_t n)
{
    u_char  *digit;

    *p++ = type;

    p += ngx_ws_bus_resp_digits(n);
    digit = p;

    do {
        *--digit = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    *p++ = CR;
    *p++ = LF;

    return p;
}


ngx_ws_bus_resp_t *
ngx_ws_bus_resp_create(size_t max_size, ngx_uint_t max_elements)
{
    ngx_ws_bus_resp_t  *resp;

    resp = calloc(1, sizeof(ngx_ws_bus_resp_t));
    if (resp == NULL) {
        return NULL;
    }

    resp->reader = redisReaderCreateWithFunctions(&ngx_ws_bus_resp_functions);

    if (resp->reader == NULL) {
        free(resp);
        return NULL;
    }

    resp->reader->privdata = resp;

    resp->max_size = max_size;
    resp->max_elements = max_elements;

    return resp;
}


void
ngx_ws_bus_resp_destroy(ngx_ws_bus_resp_t *resp)
{
    ngx_ws_bus_resp_block_t  *block;

    redisReaderFree(resp->reader);

    while (resp->blocks) {
        block = resp->blocks;
        resp->blocks = block->next;

        free(block);
    }

    free(resp);
}


ngx_int_t
ngx_ws_bus_resp_feed(ngx_ws_bus_resp_t *resp, const u_char *data, size_t len)
{
    if (resp->error) {
        return NGX_ERROR;
    }

    if (redisReaderFeed(resp->reader, (const char *) data, len) != REDIS_OK) {
        resp->error = resp->reader->errstr;
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_ws_bus_resp_next(ngx_ws_bus_resp_t *resp, ngx_ws_bus_reply_t **reply)
{
    void  *value;

    if (resp->error) {
        return NGX_ERROR;
    }

    if (resp->given) {
        ngx_ws_bus_resp_reset(resp);
    }

    value = NULL;

    if (redisReaderGetReply(resp->reader, &value) != REDIS_OK) {

        /* a refusal of ours, which hiredis takes for a lack of memory */

        if (resp->error == NULL) {
            resp->error = resp->reader->errstr;
        }

        return NGX_ERROR;
    }

    if (value == NULL) {
        return ngx_ws_bus_resp_bounded(resp);
    }

    resp->given = 1;
    *reply = value;

    return NGX_OK;
}


const char *
ngx_ws_bus_resp_error(ngx_ws_bus_resp_t *resp)
{
    return resp->error ? resp->error : "";
}


ngx_uint_t
ngx_ws_bus_resp_pending(ngx_ws_bus_resp_t *resp)
{
    return resp->reader->len > resp->reader->pos
           || (resp->elements && !resp->given);
}


ngx_ws_bus_reply_t *
ngx_ws_bus_reply_at(const ngx_ws_bus_reply_t *reply, ngx_uint_t i)
{
    ngx_ws_bus_reply_t  *element;

    if (reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        return NULL;
    }

    for (element = reply->first; element && i; element = element->next) {
        i--;
    }

    return element;
}


ngx_uint_t
ngx_ws_bus_reply_is_error(const ngx_ws_bus_reply_t *reply, const char *code)
{
    size_t     len;
    ngx_str_t  text;

    if (reply->type != NGX_WS_BUS_REPLY_ERROR) {
        return 0;
    }

    len = ngx_strlen(code);
    text = ngx_ws_bus_reply_refusal(&reply->str);

    return text.len >= len
           && ngx_memcmp(text.data, code, len) == 0
           && (text.len == len || text.data[len] == ' ');
}


/*
 * Redis before 7 says in front of the code where in a script a command was
 * refused: "@user_script: 83: -OOM ...", and if the script ends by that,
 * "ERR Error running script (...): @user_script:83: @user_script: 83: -OOM".
 */

static ngx_str_t
ngx_ws_bus_reply_refusal(const ngx_str_t *error)
{
    size_t     i, n;
    ngx_str_t  text;

    static const ngx_str_t  begins[] = {
        ngx_string("@user_script: "),
        ngx_string("ERR Error running script ")
    };

    text = *error;

    for (n = 0; n < 2; n++) {
        if (text.len > begins[n].len
            && ngx_memcmp(text.data, begins[n].data, begins[n].len) == 0)
        {
            break;
        }
    }

    for (i = 0; n < 2 && i + 3 <= text.len; i++) {
        if (ngx_memcmp(text.data + i, ": -", 3) == 0) {
            text.data += i + 3;
            text.len -= i + 3;
            break;
        }
    }

    return text;
}


static void *
ngx_ws_bus_resp_alloc(ngx_ws_bus_resp_t *resp, size_t size)
{
    size_t                    room;
    u_char                   *p;
    ngx_ws_bus_resp_block_t  *block;

    size = ngx_align(size, sizeof(uint64_t));
    block = resp->blocks;

    if (block == NULL || block->size - block->used < size) {

        room = block ? ngx_min(block->size * 2, NGX_WS_BUS_RESP_BLOCK_MAX)
                     : NGX_WS_BUS_RESP_BLOCK;
        room = ngx_max(room, size);

        block = malloc(sizeof(ngx_ws_bus_resp_block_t) + room);
        if (block == NULL) {
            resp->error = "no memory for a reply";
            return NULL;
        }

        block->next = resp->blocks;
        block->size = room;
        block->used = 0;

        resp->blocks = block;
    }

    p = (u_char *) (block + 1) + block->used;
    block->used += size;

    return p;
}


static void
ngx_ws_bus_resp_reset(ngx_ws_bus_resp_t *resp)
{
    ngx_ws_bus_resp_block_t  *block;

    /* of what one reply needed, the next may use the first block */

    while (resp->blocks
           && (resp->blocks->next
               || resp->blocks->size > NGX_WS_BUS_RESP_BLOCK_MAX))
    {
        block = resp->blocks;
        resp->blocks = block->next;

        free(block);
    }

    if (resp->blocks) {
        resp->blocks->used = 0;
    }

    resp->given = 0;
    resp->size = 0;
    resp->elements = 0;
}


/*
 * hiredis keeps whatever it is fed until an element is complete, and looks
 * for the end of a line from its beginning each time.
 */

static ngx_int_t
ngx_ws_bus_resp_bounded(ngx_ws_bus_resp_t *resp)
{
    size_t       left, i;
    const char  *p;

    left = resp->reader->len - resp->reader->pos;

    if (left > resp->max_size || resp->size > resp->max_size - left) {
        resp->error = "reply is too large";
        return NGX_ERROR;
    }

    if (left <= NGX_WS_BUS_RESP_LINE) {
        return NGX_AGAIN;
    }

    /* a line that has ended and is still here is the length of a string */

    p = resp->reader->buf + resp->reader->pos;

    for (i = 0; i < NGX_WS_BUS_RESP_HEAD; i++) {
        if (p[i] == CR && p[i + 1] == LF) {
            return NGX_AGAIN;
        }
    }

    resp->error = "line without an end";

    return NGX_ERROR;
}


static void *
ngx_ws_bus_resp_refuse(const redisReadTask *task, const char *error)
{
    ngx_ws_bus_resp_t  *resp;

    resp = task->privdata;
    resp->error = error;

    return NULL;
}


static ngx_ws_bus_resp_node_t *
ngx_ws_bus_resp_node(const redisReadTask *task, ngx_ws_bus_reply_e type)
{
    ngx_ws_bus_resp_t       *resp;
    ngx_ws_bus_resp_node_t  *node, *parent;

    resp = task->privdata;

    if (resp->elements >= resp->max_elements) {
        return ngx_ws_bus_resp_refuse(task, "reply has too many elements");
    }

    node = ngx_ws_bus_resp_alloc(resp, sizeof(ngx_ws_bus_resp_node_t));
    if (node == NULL) {
        return NULL;
    }

    ngx_memzero(node, sizeof(ngx_ws_bus_resp_node_t));

    node->reply.type = type;
    resp->elements++;

    if (task->parent) {
        parent = task->parent->obj;

        if (parent->last) {
            parent->last->next = &node->reply;

        } else {
            parent->reply.first = &node->reply;
        }

        parent->last = &node->reply;
    }

    return node;
}


static void *
ngx_ws_bus_resp_string(const redisReadTask *task, char *data, size_t len)
{
    ngx_ws_bus_resp_t       *resp;
    ngx_ws_bus_reply_e       type;
    ngx_ws_bus_resp_node_t  *node;

    resp = task->privdata;

    switch (task->type) {

    case REDIS_REPLY_STRING:
        type = NGX_WS_BUS_REPLY_STRING;
        break;

    case REDIS_REPLY_STATUS:
        type = NGX_WS_BUS_REPLY_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        type = NGX_WS_BUS_REPLY_ERROR;
        break;

    default:
        return ngx_ws_bus_resp_refuse(task, "type of RESP3");
    }

    if (len > resp->max_size || resp->size > resp->max_size - len) {
        return ngx_ws_bus_resp_refuse(task, "reply is too large");
    }

    node = ngx_ws_bus_resp_node(task, type);
    if (node == NULL) {
        return NULL;
    }

    node->reply.str.data = ngx_ws_bus_resp_alloc(resp, len);
    if (node->reply.str.data == NULL) {
        return NULL;
    }

    ngx_memcpy(node->reply.str.data, data, len);
    node->reply.str.len = len;

    resp->size += len;

    return node;
}


static void *
ngx_ws_bus_resp_array(const redisReadTask *task, ngx_ws_bus_resp_count_t n)
{
    ngx_uint_t               depth;
    ngx_ws_bus_resp_t       *resp;
    const redisReadTask     *parent;
    ngx_ws_bus_resp_node_t  *node;

    resp = task->privdata;

    if (task->type != REDIS_REPLY_ARRAY) {
        return ngx_ws_bus_resp_refuse(task, "type of RESP3");
    }

    if ((ngx_uint_t) n > resp->max_elements) {
        return ngx_ws_bus_resp_refuse(task, "reply has too many elements");
    }

    depth = 1;

    for (parent = task->parent; parent; parent = parent->parent) {
        depth++;
    }

    if (depth > NGX_WS_BUS_RESP_DEPTH) {
        return ngx_ws_bus_resp_refuse(task, "arrays are nested too deep");
    }

    node = ngx_ws_bus_resp_node(task, NGX_WS_BUS_REPLY_ARRAY);
    if (node == NULL) {
        return NULL;
    }

    node->reply.n = n;

    return node;
}


static void *
ngx_ws_bus_resp_integer(const redisReadTask *task, long long value)
{
    ngx_ws_bus_resp_node_t  *node;

    node = ngx_ws_bus_resp_node(task, NGX_WS_BUS_REPLY_INTEGER);

    if (node) {
        node->reply.integer = value;
    }

    return node;
}


static void *
ngx_ws_bus_resp_nil(const redisReadTask *task)
{
    return ngx_ws_bus_resp_node(task, NGX_WS_BUS_REPLY_NIL);
}


static void
ngx_ws_bus_resp_free(void *reply)
{
    /* its memory is the reader's */
}


#if (NGX_WS_BUS_RESP_HIREDIS_1)

static void *
ngx_ws_bus_resp_double(const redisReadTask *task, double value, char *data,
    size_t len)
{
    return ngx_ws_bus_resp_refuse(task, "type of RESP3");
}


static void *
ngx_ws_bus_resp_bool(const redisReadTask *task, int value)
{
    return ngx_ws_bus_resp_refuse(task, "type of RESP3");
}

#endif
