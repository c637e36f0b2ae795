// What an engine is, the checks that every engine makes, and what it says when they fail.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "error.hpp"
#include "spec.hpp"

namespace glesam::core {

/// Sizes of a tensor of rank 4 at most, as all of ours are; without a heap.
struct Shape {
    std::array<std::int64_t, 4> sizes{};
    std::size_t rank = 0;

    Shape() = default;
    Shape(std::initializer_list<std::int64_t> values);
    std::size_t elements() const;
};

/// float32 or int32 values, as the spec says, in memory that somebody else owns.
struct Tensor {
    const void* data = nullptr;
    Shape shape;
};

/// One caller's run of a graph, with memory of its own: not for two threads at once.
class Request {
   public:
    virtual ~Request() = default;

    /// Both in the order of the graph's spec. The outputs' memory is the request's, valid until its next run.
    /// Throws BackendError where the graph cannot run.
    virtual void run(const Tensor* inputs, Tensor* outputs) = 0;
};

/// One compiled graph. Many threads may share it; each makes a request of its own.
class Engine {
   public:
    virtual ~Engine() = default;
    virtual const GraphSpec& spec() const = 0;
    virtual std::unique_ptr<Request> new_request() const = 0;
};

/// A request between two checks of what it answers; a dynamic dimension has one size in all tensors.
class CheckedRequest {
   public:
    explicit CheckedRequest(const Engine& engine);

    /// One tensor per input of the spec. The outputs are valid until the next run.
    const std::vector<Tensor>& run(std::initializer_list<Tensor> inputs);

   private:
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
