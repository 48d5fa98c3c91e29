// SPDX-License-Identifier: Apache-2.0
//
// echo_service.h - what client and server of the iceoryx peer share: the service's name, a runtime
// that says nothing, and the size of a chunk.
#ifndef CAROM_BENCH_ECHO_SERVICE_H
#define CAROM_BENCH_ECHO_SERVICE_H

#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_posh/mepoo/chunk_header.hpp>
#include <iceoryx_posh/popo/untyped_client.hpp>
#include <iceoryx_posh/popo/untyped_server.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include <cstring>
#include <string>

namespace echo_service
{

constexpr uint32_t ALIGNMENT = iox::CHUNK_DEFAULT_USER_PAYLOAD_ALIGNMENT;

/* Joins RouDi under a name of its own, without a word on stdout or stderr. */
inline void join(const char *role)
{
    std::string name = std::string("carom-bench-") + role + "-" + std::to_string(getpid());
    iox::log::LogManager::GetLogManager().SetDefaultLogLevel(
        iox::log::LogLevel::kOff, iox::log::LogLevelOutput::kHideLogLevel);
    iox::runtime::PoshRuntime::initRuntime(
        iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name.c_str()));
}

/* The service of one meeting place; of a long path the end, which is what differs. */
inline iox::capro::ServiceDescription description(const char *at)
{
    size_t length = strlen(at), most = iox::capro::IdString_t::capacity();
    const char *end = at + (length > most ? length - most : 0);
    return {"carom-bench", iox::capro::IdString_t(iox::cxx::TruncateToCapacity, end), "echo"};
}

inline size_t bytes_of(const void *payload)
{
    return iox::mepoo::ChunkHeader::fromUserPayload(payload)->userPayloadSize();
}

} // namespace echo_service

#endif
