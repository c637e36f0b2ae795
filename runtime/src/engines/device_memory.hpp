// The memory of the device that an engine computes on, for code that knows no such device.
#pragma once

#include <cstddef>
#include <memory>

#include "engines/tensor.hpp"
#include "image/pixels.hpp"

namespace glesam::core {

/// Bytes: where CUDA's own allocations begin, and what TensorRT's kernels are tuned for.
constexpr std::size_t device_alignment = 256;

/// One session's way to a device's memory. A stream is a queue of work for the device; a null one is its default
/// stream. A copy starts after the work that its source's stream has been given, and is done when the call returns.
/// Every call throws BackendError where the device refuses.
class DeviceMemory {
   public:
    virtual ~DeviceMemory() = default;

    /// `size` bytes of the device, at a multiple of device_alignment.
    virtual std::shared_ptr<void> allocate(std::size_t size) = 0;

    /// `size` bytes of the host, which the device writes by itself.
    virtual std::shared_ptr<void> allocate_on_host(std::size_t size) = 0;

    /// Throws BackendError where a caller's `data` is nothing that the device reaches. `name` is for the message.
    virtual void check(const char* name, const void* data) const = 0;

    /// `source` at `target`, both on the device.
    virtual Tensor copy(void* target, const Tensor& source) = 0;

    /// The rows of `source`, which is on the device, without gaps at `target`, which is on the host.
    virtual void copy_to_host(void* target, const Pixels& source, void* stream) = 0;
};

}  // namespace glesam::core
