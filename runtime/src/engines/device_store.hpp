// What a session keeps in a device's memory, and how a caller's pictures and tensors come to be used from there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "engines/device_memory.hpp"

namespace glesam::core {

/// Allocates on first use and where something larger comes; then uses the same memory again.
class DeviceStore {
   public:
    explicit DeviceStore(std::unique_ptr<DeviceMemory> memory) : memory_(std::move(memory)) {}

    /// A caller's picture on the host, its rows without gaps; valid until the next call. `stream`: see Tensor.
    Pixels on_host(const Pixels& picture, void* stream);

    /// A caller's tensor where it is; a copy where that is no multiple of device_alignment. `name` is for messages.
    Tensor taken(const char* name, const Tensor& tensor);

    /// A copy, in place of the one that was kept before; where copying fails, that one is as it was.
    Tensor kept(const Tensor& tensor);

   private:
    struct Buffer {
        std::shared_ptr<void> memory;
        std::size_t size = 0;
    };

    Tensor copied(Buffer& buffer, const Tensor& tensor);

    std::unique_ptr<DeviceMemory> memory_;
    Buffer picture_;
    Buffer aligned_;
    std::array<Buffer, 2> kept_;  // the second is the one in use
};

}  // namespace glesam::core
