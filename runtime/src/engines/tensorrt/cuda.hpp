// The part of CUDA's runtime that an engine needs. Every call is checked, every resource freed once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "engines/device_memory.hpp"
#include "engines/tensorrt/cache.hpp"

namespace glesam::core {

/// Throws BackendError with CUDA's own name of the error: "CUDA cannot ACTION (NAME: TEXT); CURE".
void checked(std::string_view action, cudaError_t error);

/// The index of this thread's GPU. Throws BackendError in one line where there is none.
int current_device();

/// The GPU of this thread. Throws BackendError in one line where there is none.
Gpu current_gpu();

/// Makes `device` this thread's GPU: every thread starts with GPU 0.
void use_device(int device);

/// `size` bytes of the current GPU's memory.
class DeviceBuffer {
   public:
    explicit DeviceBuffer(std::size_t size);
    void* data() const { return memory_.get(); }

   private:
    struct Free {
        void operator()(void* memory) const { cudaFree(memory); }
    };
    std::unique_ptr<void, Free> memory_;
};

/// Page-locked host memory, which a GPU reads and writes directly.
class PinnedBuffer {
   public:
    explicit PinnedBuffer(std::size_t size) { grow(size); }
    void* data() const { return memory_.get(); }

    /// Makes room for at least `size` bytes; the content is lost where it grows.
    void grow(std::size_t size);

   private:
    struct Free {
        void operator()(void* memory) const { cudaFreeHost(memory); }
    };
    std::size_t size_ = 0;
    std::unique_ptr<void, Free> memory_;
};

/// A queue of work for a GPU, which becomes this thread's GPU.
class Stream {
   public:
    explicit Stream(int device);
    cudaStream_t handle() const { return handle_.get(); }

    /// Makes later work on this stream wait for the work queued so far on `other`, a cudaStream_t.
    void follow(void* other) const;
    void copy(void* target, const void* source, std::size_t size, cudaMemcpyKind kind) const;
    void synchronize() const;

   private:
    struct Destroy {
        void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
        void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
    };
    std::unique_ptr<CUstream_st, Destroy> handle_;
    std::unique_ptr<CUevent_st, Destroy> mark_;
};

/// A session's access to the memory of one GPU.
class CudaMemory : public DeviceMemory {
   public:
    explicit CudaMemory(int device) : device_(device), stream_(device) {}

    std::shared_ptr<void> allocate(std::size_t size) override;
    std::shared_ptr<void> allocate_on_host(std::size_t size) override;
    void check(const char* name, const void* data) const override;
    Tensor copy(void* target, const Tensor& source) override;
    void copy_to_host(void* target, const Pixels& source, void* stream) override;

   private:
    int device_;
    Stream stream_;
};

}  // namespace glesam::core
