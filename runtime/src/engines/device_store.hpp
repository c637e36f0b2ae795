// A session's buffers in device memory, and access to the callers' pictures and tensors there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engines/device_memory.hpp"

namespace glesam::core {

/// Buffers that are allocated on first use, grow when something larger comes, and are reused otherwise.
class DeviceStore {
   public:
    explicit DeviceStore(std::unique_ptr<DeviceMemory> memory) : memory_(std::move(memory)) {}

    /// Copies a caller's picture to the host, its rows without gaps; valid until the next call. `stream`: see Tensor.
    Pixels on_host(const Pixels& picture, void* stream);

    /// The first number of a tensor in device memory.
    float first(const Tensor& tensor);

    /// A caller's tensor itself, or a copy where its address is not aligned. `name` is for messages.
    Tensor aligned(const char* name, const Tensor& tensor);

    /// Replaces tensors by copies, and those copied before are free; they stay intact where copying fails.
    void keep(Tensor* tensors, std::size_t count);

   private:
    struct Buffer {
        std::shared_ptr<void> memory;
        std::size_t size = 0;
    };

    Tensor copy(Buffer& buffer, const Tensor& tensor);

    std::unique_ptr<DeviceMemory> memory_;
    Buffer picture_;
    Buffer number_;
    Buffer aligned_;
    std::array<std::vector<Buffer>, 2> kept_;  // the second is the one in use
};

}  // namespace glesam::core
