/* SPDX-License-Identifier: Apache-2.0
 *
 * board.c - the shared page, waiting and failing. And one change to survivors: their sleeps in
 * futexes have no end.
 *
 * The library sleeps in slices of 50 or 500 ms, after which it looks again whatever has happened.
 * That is for the death of a host; it would also hide a wake-up that was lost. So this program
 * wraps syscall(), through which the library calls futex, and takes the time limit away (or
 * shortens it, where the death of the host is what is tested). A wake that is lost is then a
 * survivor that hangs. */
#include "board.h"

#include "carom.h"
#include "wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct board *board;
double patience_s = 20;
char problem[1000];

void board_make(void)
{
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(board != MAP_FAILED);
}

uint32_t new_number(void)
{
    uint32_t number = add_to(&board->number, 1) % NUMBERS;
    set_to(&board->runs[number], 0);
    atomic_store_explicit(&board->ended[number], PENDING, memory_order_seq_cst); /* as add_to */
    return number;
}

bool bad(const char *format, ...)
{
    va_list arguments;
    if (problem[0] != '\0')
        return false;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    return false;
}

void pause_briefly(void)
{
    struct timespec briefly = {0, 20000};
    nanosleep(&briefly, NULL);
}

void give_up(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: required: %s (%s)\n", file, line, condition, carom_error_detail());
    _exit(99);
}

/* ---------------------------------------------------------------- futexes */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* A real deadline is nearer or further away. */
static bool is_slice(const struct timespec *time)
{
    return time != NULL && time->tv_sec == 0 &&
           (time->tv_nsec == CAROM__SLICE_NS || time->tv_nsec == CAROM__PARK_SLICE_NS);
}

long __wrap_syscall(long number, ...)
{
    long a[6];
    struct timespec slice;
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_futex && a[1] == FUTEX_WAIT && is_slice((const struct timespec *)a[3])) {
        int64_t ns = atomic_load_explicit(&board->slice_ns, memory_order_seq_cst); /* as add_to */
        slice = (struct timespec){ns / 1000000000, ns % 1000000000};
        a[3] = ns < 0 ? 0 : (long)&slice;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void word_wait(_Atomic uint32_t *word, uint32_t value)
{
    __real_syscall(SYS_futex, word, FUTEX_WAIT, value, 0L, 0L, 0L);
}

void word_wake(_Atomic uint32_t *word)
{
    __real_syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, 0L, 0L, 0L);
}

void gate_pass(uint32_t gate)
{
    uint32_t open;
    while ((int32_t)((open = value_of(&board->gate)) - gate) < 0)
        word_wait(&board->gate, open);
}

void gate_open(void)
{
    set_to(&board->gate, board->wanted);
    word_wake(&board->gate);
}
