// The memory of the device that an engine computes on, for code that knows nothing about the device.
#pragma once

#include <cstddef>
#include <memory>

#include "engines/tensor.hpp"
#include "image/pixels.hpp"

namespace glesam::core {

/// Alignment in bytes of CUDA's own allocations, for which TensorRT's kernels are tuned.
constexpr std::size_t device_alignment = 256;

/// One session's access to a device's memory. A stream is a queue of work for the device; null is its default stream.
/// A copy starts after the work queued on its source's stream, and is done when the call returns.
/// Every call throws BackendError where the device refuses.
class DeviceMemory {
   public:
    virtual ~DeviceMemory() = default;

    /// Returns `size` bytes of device memory, at a multiple of device_alignment.
    virtual std::shared_ptr<void> allocate(std::size_t size) = 0;

    /// Returns `size` bytes of host memory, which the device writes directly.
    virtual std::shared_ptr<void> allocate_on_host(std::size_t size) = 0;

    /// Throws BackendError where the device cannot access a caller's `data`. `name` is for the message.
    virtual void check(const char* name, const void* data) const = 0;

    /// Copies `source` to `target`, both on the device.
    virtual Tensor copy(void* target, const Tensor& source) = 0;

    /// Copies the rows of `source`, on the device, to `target`, on the host, without gaps.
    virtual void copy_to_host(void* target, const Pixels& source, void* stream) = 0;
};

}  // namespace glesam::core
