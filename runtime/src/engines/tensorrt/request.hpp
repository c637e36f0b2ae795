// One thread's share of a TensorRT engine.
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engines/engine.hpp"
#include "engines/tensorrt/compiled.hpp"
#include "engines/tensorrt/cuda.hpp"

namespace glesam::core {

/// An execution context, a stream, and buffers for the profile's maximum.
class TensorRtRequest : public Request {
   public:
    explicit TensorRtRequest(std::shared_ptr<const Compiled> compiled);

    /// Runs in pieces where there are more prompts than the engine was built for.
    void run(const Tensor* inputs, Tensor* outputs) override;

    /// Takes at most as many prompts as the engine was built for: its buffers hold no more.
    void run_on_device(const Tensor* inputs, Tensor* outputs) override;

   private:
    /// A tensor's memory on the GPU, and the pinned memory of the host that it is copied through.
    struct Buffers {
        explicit Buffers(std::size_t size) : device(size), pinned(size) {}
        DeviceBuffer device;
        PinnedBuffer pinned;
    };

    const GraphSpec& spec() const { return compiled_->spec; }
    void make_context();
    Error refuses(const char* what, const std::string& name) const;

    void begin(const Tensor* inputs);
    void queue(const Tensor* inputs, std::int64_t start, std::int64_t count);
    void set_input(std::size_t i, const Tensor& tensor, std::int64_t start, std::int64_t count);
    const void* upload(std::size_t i, const void* source, std::size_t bytes) const;
    void download(std::size_t i, std::int64_t start, std::int64_t count);
    Tensor output(std::size_t i, const void* data) const;

    std::int64_t size_of(const char* dimension) const;
    std::int64_t limit_of(const char* dimension) const;

    // Freed from the last to the first: the context, then the memory that its work uses, then the engine.
    std::shared_ptr<const Compiled> compiled_;
    Stream stream_;
    std::vector<Buffers> inputs_;
    std::vector<Buffers> outputs_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Sizes sizes_;  // of this run's dynamic dimensions
};

}  // namespace glesam::core
