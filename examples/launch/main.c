/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - a program that brings its Python workers along. They end when it does, however. */
#include <carom.h>
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "world";
    char answer[256];
    size_t length = 0;
    struct carom_pool *pool = NULL;
    struct carom_client *client = NULL;

    int result = carom_launch("hello:service", 2, NULL, &pool);
    if (result == 0)
        result = carom_client_open(carom_pool_service(pool), SECOND, NULL, &client);
    if (result == 0)
        result = carom_invoke(client, carom_client_method(client, "greet"), name, strlen(name),
                              answer, sizeof answer, &length, SECOND);
    if (result == CAROM_OK)
        printf("%.*s\n", (int)length, answer);
    else
        fprintf(stderr, "%s\n", carom_error_detail());
    carom_client_close(client);
    carom_pool_close(pool);
    return result != CAROM_OK;
}
