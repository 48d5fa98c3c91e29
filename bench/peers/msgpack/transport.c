/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - calls as MessagePack maps over a Unix stream socket, in the manner of MessagePack's
 * own RPC: {"id", "method", "data"} there, {"id", "data"} back, where data is of type bin.
 *
 * What precedes the data is packed into an sbuffer; header and data leave by one sendmsg, so a
 * large request is written once and never copied here. Answers go through msgpack's streaming
 * unpacker, which receives into its own buffer. Blocking socket, default buffers.
 */
#include <msgpack.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define DEPTH_MAX 64
#define RECEIVE_BYTES 65536
#define METHOD "answer"

struct transport {
    int fd;
    unsigned depth;
    msgpack_sbuffer header;
    msgpack_packer packer;
    msgpack_unpacker unpacker;
    msgpack_unpacked answer;
    unsigned char *data;     /* of the request being sent */
    size_t bytes[DEPTH_MAX]; /* of the call in flight with this number, modulo DEPTH_MAX */
};

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (strlen(path) >= sizeof(address.sun_path))
        bench_die("path too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        bench_die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    if (!transport || !(transport->data = malloc(config->bytes_max + 1)) ||
        !msgpack_unpacker_init(&transport->unpacker, RECEIVE_BYTES))
        bench_die("out of memory");
    transport->fd = connect_to(config->at);
    transport->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    msgpack_sbuffer_init(&transport->header);
    msgpack_packer_init(&transport->packer, &transport->header, msgpack_sbuffer_write);
    msgpack_unpacked_init(&transport->answer);
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

static void pack_header(struct transport *transport, size_t bytes, uint64_t sequence)
{
    msgpack_packer *packer = &transport->packer;
    msgpack_sbuffer_clear(&transport->header);
    msgpack_pack_map(packer, 3);
    msgpack_pack_str_with_body(packer, "id", 2);
    msgpack_pack_uint64(packer, sequence);
    msgpack_pack_str_with_body(packer, "method", 6);
    msgpack_pack_str_with_body(packer, METHOD, strlen(METHOD));
    msgpack_pack_str_with_body(packer, "data", 4);
    if (msgpack_pack_bin(packer, bytes))
        bench_die("out of memory");
}

static void send_whole(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    while (message.msg_iovlen > 0) {
        ssize_t done = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (done < 0)
            bench_die("sendmsg: %s", strerror(errno));
        for (; message.msg_iovlen > 0 && (size_t)done >= message.msg_iov->iov_len;
             message.msg_iov++, message.msg_iovlen--)
            done -= (ssize_t)message.msg_iov->iov_len;
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + done;
            message.msg_iov->iov_len -= (size_t)done;
        }
    }
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    pack_header(transport, bytes, sequence);
    work_fill(transport->data, bytes, sequence);
    struct iovec parts[] = {
        {.iov_base = transport->header.data, .iov_len = transport->header.size},
        {.iov_base = transport->data, .iov_len = bytes},
    };
    transport->bytes[sequence % DEPTH_MAX] = bytes;
    send_whole(transport->fd, parts, 2);
}

static bool is_key(const msgpack_object_kv *pair, const char *name)
{
    return pair->key.type == MSGPACK_OBJECT_STR && pair->key.via.str.size == strlen(name) &&
           memcmp(pair->key.via.str.ptr, name, strlen(name)) == 0;
}

static uint64_t take_answer(const struct transport *transport, const msgpack_object *object)
{
    const msgpack_object *id = NULL, *data = NULL;
    if (object->type != MSGPACK_OBJECT_MAP)
        bench_die("an answer that is not a map");
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object_kv *pair = &object->via.map.ptr[i];
        if (is_key(pair, "id") && pair->val.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            id = &pair->val;
        else if (is_key(pair, "data") && pair->val.type == MSGPACK_OBJECT_BIN)
            data = &pair->val;
    }
    if (!id || !data)
        bench_die("an answer without id or data");
    if (!work_is_answer(data->via.bin.ptr, data->via.bin.size,
                        transport->bytes[id->via.u64 % DEPTH_MAX], id->via.u64))
        bench_die("the answer to call %" PRIu64 " is not what it should be", id->via.u64);
    return id->via.u64;
}

/** Receives into the unpacker; false when nothing is there and it should not wait. */
static bool receive_more(struct transport *transport, bool wait)
{
    msgpack_unpacker *unpacker = &transport->unpacker;
    if (!msgpack_unpacker_reserve_buffer(unpacker, RECEIVE_BYTES / 2))
        bench_die("out of memory");
    ssize_t got = recv(transport->fd, msgpack_unpacker_buffer(unpacker),
                       msgpack_unpacker_buffer_capacity(unpacker), wait ? 0 : MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0)
        bench_die("recv: %s", got < 0 ? strerror(errno) : "the server closed the connection");
    msgpack_unpacker_buffer_consumed(unpacker, (size_t)got);
    return true;
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    for (;;) {
        switch (msgpack_unpacker_next(&transport->unpacker, &transport->answer)) {
        case MSGPACK_UNPACK_SUCCESS:
            return take_answer(transport, &transport->answer.data);
        case MSGPACK_UNPACK_CONTINUE:
            if (!receive_more(transport, wait))
                return 0;
            break;
        default:
            bench_die("an answer that is not MessagePack");
        }
    }
}

void transport_close(struct transport *transport)
{
    close(transport->fd);
    msgpack_unpacked_destroy(&transport->answer);
    msgpack_unpacker_destroy(&transport->unpacker);
    msgpack_sbuffer_destroy(&transport->header);
    free(transport->data);
    free(transport);
}
