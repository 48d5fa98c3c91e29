/* SPDX-License-Identifier: Apache-2.0
 *
 * sites.c - which accesses of the library have an order, and giving one of them a weaker one. */
#include "memory_order.h"

#include "../model/accesses.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct sites *sites;

static struct site *find(const void *pc, bool is_failure, int order)
{
    for (uint32_t i = 0; i < sites->count; i++) {
        if (sites->site[i].pc == pc && sites->site[i].is_failure == is_failure)
            return &sites->site[i];
    }
    if (sites->count == SITES_MOST)
        model_bug("too many places with a memory order");
    struct site *site = &sites->site[sites->count++];
    *site = (struct site){.pc = pc, .is_failure = is_failure, .order = order};
    return site;
}

/* The same line may have been compiled in several places: they weaken together. */
static bool is_chosen(const struct site *site)
{
    return sites->chosen < sites->count && strcmp(site->name, sites->site[sites->chosen].name) == 0;
}

static int on_order(const void *pc, bool is_failure, int order)
{
    if (order == __ATOMIC_RELAXED || pc == NULL) /* litmus.c has no place in the library */
        return order;
    struct site *site = find(pc, is_failure, order);
    site->scenarios |= UINT64_C(1) << sites->scenario;
    return is_chosen(site) ? sites->weakened : order;
}

void sites_open(void)
{
    sites = mmap(NULL, sizeof *sites, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sites == MAP_FAILED)
        model_bug("no memory for the table of places");
    sites->chosen = SITES_MOST;
    accesses_order = on_order;
}

const char *sites_order_name(int order)
{
    static const char *const names[] = {"relaxed", "consume", "acquire",
                                        "release", "acq_rel", "seq_cst"};
    return names[order];
}

/* ---------------------------------------------------------------- names */

/* addr2line prints two lines an address: the function, and file:line (the innermost inlined). */
static bool symbolize(struct site *site, char *line, size_t bytes)
{
    char command[128], program[64], function[96] = "?", place[256] = "?";
    snprintf(program, sizeof program, "/proc/%d/exe", (int)getpid());
    snprintf(command, sizeof command, "addr2line -f -e %s %p", program,
             (const void *)((const char *)site->pc - 1));
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): a fixed command */
    if (pipe == NULL)
        return false;
    bool ok = fgets(function, sizeof function, pipe) != NULL &&
              fgets(place, sizeof place, pipe) != NULL;
    pclose(pipe);
    function[strcspn(function, "\n")] = '\0';
    const char *file = strrchr(place, '/');
    snprintf(line, bytes, "%s", file != NULL ? file + 1 : place);
    line[strcspn(line, " \n")] = '\0'; /* without "(discriminator 2)" */
    const char *colon = strrchr(line, ':');
    snprintf(site->name, sizeof site->name, "%.*s %s %s%s",
             (int)(colon != NULL ? colon - line : (long)strlen(line)), line, function,
             sites_order_name(site->order), site->is_failure ? " on failure" : "");
    return ok;
}

static int line_number(const char *line)
{
    const char *colon = strrchr(line, ':');
    return colon == NULL ? 0 : atoi(colon + 1);
}

/* Two accesses of one function and order differ by their place among its lines. */
void sites_name(void)
{
    static char lines[SITES_MOST][64];
    static int numbers[SITES_MOST];
    for (uint32_t i = 0; i < sites->count; i++) {
        if (!symbolize(&sites->site[i], lines[i], sizeof lines[i]))
            model_bug("addr2line does not work");
        numbers[i] = line_number(lines[i]);
    }
    for (uint32_t i = 0; i < sites->count; i++) {
        int seen[SITES_MOST], before = 0;
        for (uint32_t j = 0; j < sites->count; j++) {
            bool is_new = strncmp(sites->site[j].name, sites->site[i].name,
                                  strcspn(sites->site[i].name, "#")) == 0 &&
                          numbers[j] < numbers[i];
            for (int k = 0; is_new && k < before; k++)
                is_new = seen[k] != numbers[j];
            if (is_new)
                seen[before++] = numbers[j];
        }
        numbers[i] += before << 20;
    }
    for (uint32_t i = 0; i < sites->count; i++) {
        size_t used = strlen(sites->site[i].name);
        if (numbers[i] >> 20 > 0)
            snprintf(sites->site[i].name + used, sizeof sites->site[i].name - used, " #%d",
                     (numbers[i] >> 20) + 1);
    }
}

unsigned sites_weaker(const struct site *site, int weaker[2])
{
    switch (site->order) {
    case __ATOMIC_ACQUIRE:
    case __ATOMIC_RELEASE:
        weaker[0] = __ATOMIC_RELAXED;
        return 1;
    case __ATOMIC_ACQ_REL:
        weaker[0] = __ATOMIC_ACQUIRE;
        weaker[1] = __ATOMIC_RELEASE;
        return 2;
    case __ATOMIC_SEQ_CST: /* as much of acquire and release as the access can have */
        weaker[0] = __ATOMIC_ACQ_REL;
        return 1;
    default:
        return 0;
    }
}
