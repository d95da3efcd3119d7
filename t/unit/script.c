
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_script.c"

#include "tap.h"

#include <openssl/sha.h>


static int print(const char *what);
static void print_function(const ngx_ws_bus_script_t *script);
static void test_script(const ngx_ws_bus_script_t *script);


static const ngx_ws_bus_script_t  *scripts[] = {
    &ngx_ws_bus_script_publish,
    &ngx_ws_bus_script_history,
    &ngx_ws_bus_script_position,
    &ngx_ws_bus_script_delete
};


/* With an argument, what other tests need: the text of a script. */

int
main(int argc, char **argv)
{
    size_t  i;

    if (argc > 1) {
        return print(argv[1]);
    }

    for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        test_script(scripts[i]);
    }

    return tap_done();
}


static int
print(const char *what)
{
    size_t  i;

    if (strcmp(what, "functions") == 0) {
        printf("#!lua name=ws_bus\n");

        for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
            print_function(scripts[i]);
        }

        return 0;
    }

    for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        if (strcmp(what, (char *) scripts[i]->name.data) == 0) {
            printf("%s", scripts[i]->text.data);
            return 0;
        }
    }

    return 1;
}


/* as Redis 7 has it, to be loaded once and called by its name */

static void
print_function(const ngx_ws_bus_script_t *script)
{
    int          n;
    const char  *line;

    printf("\n\nlocal function %s(KEYS, ARGV)\n", script->name.data);

    for (line = (char *) script->text.data; *line; line += n + 1) {
        n = strcspn(line, "\n");
        printf("%s%.*s\n", n ? "    " : "", n, line);
    }

    printf("end\n\nredis.register_function('%s', %s)\n", script->name.data,
           script->name.data);
}


static void
test_script(const ngx_ws_bus_script_t *script)
{
    char           hex[2 * SHA_DIGEST_LENGTH + 1];
    size_t         i;
    unsigned char  digest[SHA_DIGEST_LENGTH];

    SHA1(script->text.data, script->text.len, digest);

    for (i = 0; i < SHA_DIGEST_LENGTH; i++) {
        sprintf(hex + 2 * i, "%02x", digest[i]);
    }

    tap_ok(script->sha1.len == 40
           && strcmp((char *) script->sha1.data, hex) == 0,
           "%s: the digest is %s", script->name.data, hex);

    tap_ok(strlen((char *) script->text.data) == script->text.len
           && script->text.data[script->text.len - 1] == '\n',
           "%s: the text", script->name.data);
}
