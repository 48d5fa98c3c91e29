/* SPDX-License-Identifier: Apache-2.0 */
#include <carom.h>
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "world";
    char answer[256];
    size_t length = 0;
    struct carom_client *client = NULL;

    int result = carom_client_open("hello", 5 * SECOND, NULL, &client);
    if (result == 0)
        result = carom_invoke(client, carom_client_method(client, "greet"), name, strlen(name),
                              answer, sizeof answer, &length, SECOND);
    if (result == CAROM_OK)
        printf("%.*s\n", (int)length, answer);
    else
        fprintf(stderr, "%s\n", carom_error_detail());
    carom_client_close(client);
    return result != CAROM_OK;
}
