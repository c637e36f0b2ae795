// The interface of an engine, the checks that every engine makes, and their errors.
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

/// One caller's access to a graph, with memory of its own: not for two threads at once.
class Request {
   public:
    virtual ~Request() = default;

    /// Runs the graph; inputs and outputs are in the order of its spec. The outputs are on the host, in the request's
    /// memory, valid until its next run. An input on the device must lie at a multiple of device_alignment; it is read
    /// in place, after the work of its stream and before this returns. Throws BackendError where the graph cannot run.
    virtual void run(const Tensor* inputs, Tensor* outputs) = 0;

    /// Runs the graph and leaves the outputs, computed, where the graph runs: on the device, if there is one.
    virtual void run_on_device(const Tensor* inputs, Tensor* outputs) { run(inputs, outputs); }
};

/// One compiled graph. Many threads may share it; each makes a request of its own.
class Engine {
   public:
    virtual ~Engine() = default;
    virtual const GraphSpec& spec() const = 0;
    virtual std::unique_ptr<Request> new_request() const = 0;

    /// The memory of the device that all of a bundle's engines compute on; null where that is the host.
    virtual std::unique_ptr<DeviceMemory> new_device_memory() const { return nullptr; }
};

/// A request whose outputs' shapes are checked; a dynamic dimension has one size in all tensors.
class CheckedRequest {
   public:
    explicit CheckedRequest(const Engine& engine);

    /// Runs with one tensor per input of the spec. The outputs are on the host, valid until the next run of either
    /// kind.
    const std::vector<Tensor>& run(const Tensor* inputs);

    /// As run(), but the outputs are where the graph runs.
    const std::vector<Tensor>& run_on_device(const Tensor* inputs);

   private:
    const std::vector<Tensor>& checked(const Tensor* inputs);

    const GraphSpec& spec_;
    std::unique_ptr<Request> request_;
    std::vector<Tensor> outputs_;
};

/// Throws BackendError where `inputs` and `outputs`, those of the graph at `path`, are not those of `spec`.
/// A size that the graph leaves open is the name "?".
void check_graph(const std::filesystem::path& path, const GraphSpec& spec, const std::vector<TensorSpec>& inputs,
                 const std::vector<TensorSpec>& outputs);

/// The error of a `library` that refuses the graph at `path`; `package` is its name for pip.
Error cannot_open(const std::filesystem::path& path, const std::string& library, const std::string& reason,
                  const std::string& package);

/// The error of a `library` that opened the graph but failed to run it.
Error cannot_run(const GraphSpec& spec, const std::string& library, const std::string& reason);

}  // namespace glesam::core
