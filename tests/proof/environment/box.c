/* SPDX-License-Identifier: Apache-2.0
 *
 * box.c - runs a command in an environment of our making, so that any program can be put there,
 * C or Python, without knowing.
 *
 *   box [OPTION...] -- COMMAND...
 *
 *   --deny WHAT=ERRNO  the kernel lacks something: its system calls fail with that number, for the
 *                      command and all its children (seccomp; what is listed in `lacks`)
 *   --kill-at WHAT     the process is killed at the first of these system calls
 *   --container FROM   namespaces of its own (PID, mount, network, IPC, host name): the command is
 *                      process 1, /tmp and /dev/shm are empty but for FROM, which is /tmp/shared
 *   --keep PATH        seen in the container although it lies below /tmp
 *   --proc own|outer|none  /proc in the container: its own (the default), that of outside, nothing
 *   --shm none         no /dev/shm in the container
 *   --user             a user namespace in which the caller is root
 *   --uid N            the command runs as this user
 *   --folder PATH      $CAROM_DIR
 *
 * With --container the box stays, waits for the command and ends like it; when the box is killed,
 * so are the command and everything else in the container. Without it the box becomes the command.
 * Exit status 126: the environment cannot be made here, with a sentence on standard error. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0 /* nothing can be denied there */
#endif

#define CANNOT 126
#define RULES_MOST 64
#define INSTRUCTIONS_MOST (RULES_MOST * 8 + 8)
#define ANY (-1)

static _Noreturn void cannot(const char *what)
{
    fprintf(stderr, "box: %s: %s\n", what, strerror(errno));
    exit(CANNOT);
}

/* ---------------------------------------------------------------- what a kernel can lack */

/* A system call, all of it or where an argument has a value (mask 0) or a bit (mask 1). A kernel
 * answers what it does not know in an argument with EINVAL: such a rule has its own number. */
struct lack {
    const char *name;
    int call;
    int argument; /* ANY: whatever the arguments */
    bool is_bit;
    uint32_t value;
    int error; /* 0: the one that is asked for */
};

#define KILLED (-1) /* instead of an error */

static const struct lack lacks[] = {
    {"memfd", SYS_memfd_create, ANY, false, 0, 0},
    {"noexec_seal", SYS_memfd_create, 1, true, 0x8, EINVAL},
    {"pidfd", SYS_pidfd_open, ANY, false, 0, 0},
    {"pidfd", SYS_pidfd_send_signal, ANY, false, 0, 0},
    {"pidfd", SYS_pidfd_getfd, ANY, false, 0, 0},
    {"pidfd", SYS_waitid, 0, false, 3, EINVAL}, /* P_PIDFD */
    {"io_uring", SYS_io_uring_setup, ANY, false, 0, 0},
    {"io_uring", SYS_io_uring_enter, ANY, false, 0, 0},
    {"io_uring", SYS_io_uring_register, ANY, false, 0, 0},
    {"membarrier", SYS_membarrier, ANY, false, 0, 0},
    {"populate", SYS_madvise, 2, false, 22, EINVAL},
    {"populate", SYS_madvise, 2, false, 23, EINVAL},
    {"advice", SYS_madvise, 2, false, MADV_DONTDUMP, EINVAL},
    {"advice", SYS_madvise, 2, false, MADV_DONTFORK, EINVAL},
    {"advice", SYS_madvise, 2, false, MADV_REMOVE, EINVAL},
    {"getrandom", SYS_getrandom, ANY, false, 0, 0},
    {"renameat2", SYS_renameat2, ANY, false, 0, 0},
    {"affinity", SYS_sched_getaffinity, ANY, false, 0, 0},
    {"close_range", SYS_close_range, ANY, false, 0, 0},
    {"clone3", SYS_clone3, ANY, false, 0, ENOSYS}, /* the one that libc looks for */
    {"tmpfile", SYS_openat, 2, true, O_TMPFILE & ~O_DIRECTORY, EOPNOTSUPP},
#ifdef SYS_unlink
    {"unlink", SYS_unlink, ANY, false, 0, 0},
#endif
    {"unlink", SYS_unlinkat, ANY, false, 0, 0},
    {"timerslack", SYS_prctl, 0, false, PR_SET_TIMERSLACK, EINVAL},
};

struct program {
    struct sock_filter code[INSTRUCTIONS_MOST];
    unsigned short length;
};

static void add(struct program *program, struct sock_filter instruction)
{
    if (program->length == INSTRUCTIONS_MOST) {
        errno = E2BIG;
        cannot("too much denied");
    }
    program->code[program->length++] = instruction;
}

#define LOAD(offset) ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset)))
#define RETURN(what) ((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (uint32_t)(what)))

static void deny(struct program *program, const struct lack *lack, int error)
{
    const uint32_t refuse = error == KILLED
                                ? SECCOMP_RET_KILL_PROCESS
                                : SECCOMP_RET_ERRNO |
                                      (uint32_t)(lack->error != 0 ? lack->error : error);
    const uint16_t test = lack->is_bit ? BPF_JMP | BPF_JSET | BPF_K : BPF_JMP | BPF_JEQ | BPF_K;
    const bool any = lack->argument == ANY;
    add(program, LOAD(offsetof(struct seccomp_data, nr)));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)lack->call, 0,
                                              any ? 1 : 3));
    if (!any) {
        /* the low half, on machines that put it first; no value here needs more */
        add(program, LOAD(offsetof(struct seccomp_data, args) + 8 * (size_t)lack->argument));
        add(program, (struct sock_filter)BPF_JUMP(test, lack->value, 0, 1));
    }
    add(program, RETURN(refuse));
}

static void deny_named(struct program *program, const char *name, size_t length, int error)
{
    bool found = false;
    for (size_t i = 0; i < sizeof lacks / sizeof lacks[0]; i++) {
        if (strlen(lacks[i].name) != length || strncmp(lacks[i].name, name, length) != 0)
            continue;
        deny(program, &lacks[i], error);
        found = true;
    }
    errno = EINVAL;
    if (!found)
        cannot(name);
}

/* what: NAME=ERRNO */
static void deny_with(struct program *program, const char *what)
{
    const char *sign = strchr(what, '=');
    errno = EINVAL;
    if (sign == NULL)
        cannot(what);
    deny_named(program, what, (size_t)(sign - what), (int)strtol(sign + 1, NULL, 10));
}

static void install(struct program *program)
{
    if (program->length == 0)
        return;
    errno = ENOSYS;
    if (ARCHITECTURE == 0)
        cannot("seccomp on this machine");
    add(program, RETURN(SECCOMP_RET_ALLOW));
    struct sock_filter whole[INSTRUCTIONS_MOST + 4] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
    };
    memcpy(whole + 3, program->code, program->length * sizeof program->code[0]);
    const struct sock_fprog filter = {(unsigned short)(program->length + 3), whole};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        cannot("seccomp");
}

/* ---------------------------------------------------------------- namespaces */

struct order {
    const char *from, *keep, *proc, *shm;
    bool user;
    long uid;
    struct program program;
};

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        cannot(path);
    close(fd);
}

static void become_root_inside(void)
{
    char map[64];
    const unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0)
        cannot("a user namespace");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
}

static void make_folders(const char *path)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        mkdir(part, 0755); /* those above exist */
        *at = '/';
    }
    if (mkdir(part, 0755) != 0 && errno != EEXIST)
        cannot(path);
}

static void bind_fd(int fd, const char *at)
{
    char from[64];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    make_folders(at);
    if (mount(from, at, NULL, MS_BIND | MS_REC, NULL) != 0)
        cannot(at);
    close(fd);
}

static void hide(const char *folder)
{
    if (mount("none", folder, "tmpfs", 0, "mode=1777") != 0)
        cannot(folder);
}

/* /proc last: until then descriptors are bound by it. */
static void arrange_mounts(const struct order *order)
{
    const int from = open(order->from, O_PATH | O_CLOEXEC);
    const int keep = order->keep != NULL ? open(order->keep, O_PATH | O_CLOEXEC) : -1;
    char here[PATH_MAX];
    if (getcwd(here, sizeof here) == NULL)
        cannot("the current folder");
    if (from < 0 || (order->keep != NULL && keep < 0))
        cannot("what is to be shared");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        cannot("mounts of its own");
    hide("/tmp");
    bind_fd(from, "/tmp/shared");
    if (keep >= 0)
        bind_fd(keep, order->keep);
    if (chdir(here) != 0 && chdir("/") != 0) /* the one of that name which is seen now */
        cannot("a current folder");
    hide("/dev/shm");
    if (strcmp(order->shm, "none") == 0 &&
        mount("none", "/dev/shm", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        cannot("/dev/shm");
    if (strcmp(order->proc, "own") == 0 && mount("proc", "/proc", "proc", 0, NULL) != 0)
        cannot("/proc");
    if (strcmp(order->proc, "none") == 0)
        hide("/proc");
}

/* ---------------------------------------------------------------- the command */

static void become_user(long uid)
{
    if (uid < 0)
        return;
    if (setgroups(0, NULL) != 0 || setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) != 0 ||
        setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) != 0)
        cannot("another user");
}

static _Noreturn void become_command(struct order *order, char **command)
{
    /* opened first: the way there may be closed to another user */
    const int program = strchr(command[0], '/') != NULL ? open(command[0], O_PATH | O_CLOEXEC) : -1;
    become_user(order->uid);
    install(&order->program);
    if (program >= 0)
        syscall(SYS_execveat, program, "", command, environ, AT_EMPTY_PATH);
    else
        execvp(command[0], command);
    cannot(command[0]);
}

static int wait_for(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            cannot("waiting");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int contain(struct order *order, char **command)
{
    if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
        cannot("namespaces");
    const pid_t child = fork();
    if (child < 0)
        cannot("fork");
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
            cannot("prctl");
        arrange_mounts(order);
        become_command(order, command);
    }
    return wait_for(child);
}

static char **read_options(struct order *order, char **word)
{
    for (; *word != NULL && strcmp(*word, "--") != 0; word++) {
        const char *name = *word;
        if (strcmp(name, "--user") == 0) {
            order->user = true;
            continue;
        }
        errno = EINVAL;
        if (*++word == NULL)
            cannot(name);
        if (strcmp(name, "--deny") == 0)
            deny_with(&order->program, *word);
        else if (strcmp(name, "--kill-at") == 0)
            deny_named(&order->program, *word, strlen(*word), KILLED);
        else if (strcmp(name, "--container") == 0)
            order->from = *word;
        else if (strcmp(name, "--keep") == 0)
            order->keep = *word;
        else if (strcmp(name, "--proc") == 0)
            order->proc = *word;
        else if (strcmp(name, "--shm") == 0)
            order->shm = *word;
        else if (strcmp(name, "--folder") == 0)
            setenv("CAROM_DIR", *word, 1);
        else if (strcmp(name, "--uid") == 0)
            order->uid = strtol(*word, NULL, 10);
        else
            cannot(name);
    }
    if (*word == NULL || word[1] == NULL) {
        errno = EINVAL;
        cannot("no command");
    }
    return word + 1;
}

int main(int argc, char **argv)
{
    static struct order order = {.proc = "own", .shm = "own", .uid = -1};
    char **command = read_options(&order, argv + (argc > 0));
    if (order.user)
        become_root_inside();
    if (order.from != NULL)
        return contain(&order, command);
    become_command(&order, command);
}
