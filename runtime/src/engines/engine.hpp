// What an engine is, the checks that every engine makes, and what it says when they fail.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bundle/spec.hpp"
#include "common/error.hpp"
#include "engines/device_memory.hpp"
#include "engines/tensor.hpp"

namespace glesam::core {

/// One caller's run of a graph, with memory of its own: not for two threads at once.
class Request {
   public:
    virtual ~Request() = default;

    /// Both in the order of the graph's spec. The outputs are on the host, in memory of the request's, valid until
    /// its next run. An input on the device is read from where it is, at a multiple of device_alignment, after the
    /// work of its stream, and no more once this returns. Throws BackendError where the graph cannot run.
    virtual void run(const Tensor* inputs, Tensor* outputs) = 0;

    /// The same, and leaves the outputs where the graph is computed: done, on a device.
    virtual void run_on_device(const Tensor* inputs, Tensor* outputs) { run(inputs, outputs); }
};

/// One compiled graph. Many threads may share it; each makes a request of its own.
class Engine {
   public:
    virtual ~Engine() = default;
    virtual const GraphSpec& spec() const = 0;
    virtual std::unique_ptr<Request> new_request() const = 0;

    /// The memory of the device that all of a bundle's engines compute on; none where that is the host.
    virtual std::unique_ptr<DeviceMemory> new_device_memory() const { return nullptr; }
};

/// A request between two checks of what it answers; a dynamic dimension has one size in all tensors.
class CheckedRequest {
   public:
    explicit CheckedRequest(const Engine& engine);

    /// One tensor per input of the spec. The outputs are on the host, and valid until the next run of either kind.
    const std::vector<Tensor>& run(const Tensor* inputs);

    /// The outputs are where the graph is computed.
    const std::vector<Tensor>& run_on_device(const Tensor* inputs);

   private:
    const std::vector<Tensor>& checked(const Tensor* inputs);

    const GraphSpec& spec_;
    std::unique_ptr<Request> request_;
    std::vector<Tensor> outputs_;
};

/// Throws BackendError where the tensors found in the graph at `path` are not those of `spec`.
/// A size that the graph leaves open is found as the name "?".
void check_graph(const std::filesystem::path& path, const GraphSpec& spec, const std::vector<TensorSpec>& inputs,
                 const std::vector<TensorSpec>& outputs);

/// `library` refuses the graph at `path`; `package` is its name for pip.
Error cannot_open(const std::filesystem::path& path, const std::string& library, const std::string& reason,
                  const std::string& package);

/// `library` opened the graph but failed to run it.
Error cannot_run(const GraphSpec& spec, const std::string& library, const std::string& reason);

}  // namespace glesam::core
