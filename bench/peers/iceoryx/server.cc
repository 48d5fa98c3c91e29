// SPDX-License-Identifier: Apache-2.0
//
// server.cc - the iceoryx server: starts RouDi, the daemon that owns the shared memory, then takes
// requests by polling, reads them in place and answers in a loaned chunk.
#include "echo_service.h"

#include <fcntl.h>

#include "bench.h"
#include "work.h"

namespace
{

/* RouDi ends only after all that have joined it. So the server proper is a child of this process,
 * which ends first the child and then RouDi. */
volatile pid_t server;
volatile sig_atomic_t ended;

void end(int)
{
    ended = 1;
    if (server > 0)
        kill(server, SIGTERM);
}

/* Waits until RouDi has said that it is ready. The pipe stays open: RouDi may say more. */
void await_roudi(int output_fd)
{
    std::string output;
    char part[512];
    while (output.find("ready for clients") == std::string::npos) {
        ssize_t count = read(output_fd, part, sizeof(part));
        if (count <= 0) {
            for (char &byte : output)
                byte = byte < ' ' ? ' ' : byte;
            bench_die("iox-roudi did not start: %s", output.c_str());
        }
        output.append(part, static_cast<size_t>(count));
    }
}

/* Starts RouDi, which ends with this process. */
pid_t start_roudi(const char *config)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC))
        bench_die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(pipe_fds[1], STDOUT_FILENO);
        dup2(pipe_fds[1], STDERR_FILENO);
        execlp("iox-roudi", "iox-roudi", "-c", config, "-m", "off", "-k", "1", nullptr);
        _exit(127);
    }
    close(pipe_fds[1]);
    await_roudi(pipe_fds[0]);
    return pid;
}

/* Answers a request, if there is one. */
bool answer_one(iox::popo::UntypedServer &port, uint64_t iterations)
{
    auto request = port.take();
    if (request.has_error())
        return false;
    size_t bytes = echo_service::bytes_of(request.value());
    if (iterations)
        work_compute(iterations);
    auto answer = port.loan(iox::popo::RequestHeader::fromPayload(request.value()),
                            static_cast<uint32_t>(work_answer_bytes(bytes)),
                            echo_service::ALIGNMENT);
    if (answer.has_error())
        bench_die("iceoryx has no chunk for an answer left");
    if (work_answer(answer.value(), request.value(), bytes) == SIZE_MAX)
        bench_die("a request of %zu bytes is not of the pattern", bytes);
    (void)port.send(answer.value()).or_else([](auto &) {}); /* of a client that has left */
    port.releaseRequest(request.value());
    return true;
}

void serve(const char *at, uint64_t iterations)
{
    echo_service::join("server");
    iox::popo::UntypedServer port(echo_service::description(at));
    printf("ready\n");
    fflush(stdout);
    while (!ended)
        answer_one(port, iterations);
}

} // namespace

int main(int argc, char **argv)
{
    const char *at = "", *config = "";
    int64_t cpu = -1, compute = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        std::string name = argv[i];
        if (name == "--at")
            at = argv[i + 1];
        else if (name == "--config")
            config = argv[i + 1];
        else if (name == "--cpu")
            cpu = atoll(argv[i + 1]);
        else if (name == "--compute")
            compute = atoll(argv[i + 1]);
        else
            bench_die("unknown argument %s", argv[i]);
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* not SIGKILL: the shared memory has to be removed */
    signal(SIGTERM, end);
    bench_pin(cpu);
    work_prepare();
    pid_t roudi = start_roudi(config);
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        serve(at, static_cast<uint64_t>(compute));
        return 0;
    }
    while (waitpid(server, nullptr, 0) < 0 && errno == EINTR)
        continue;
    kill(roudi, SIGTERM);
    bench_join(roudi);
    return 0;
}
