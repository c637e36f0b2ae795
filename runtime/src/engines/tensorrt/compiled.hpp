// A deserialized engine: what all sessions of a graph share, and what TensorRT says when it refuses.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "bundle/spec.hpp"
#include "engines/tensorrt/cache.hpp"

namespace glesam::core {

/// The size of each dynamic dimension.
using Sizes = std::map<std::string, std::int64_t>;

/// Freed in the opposite order.
struct Compiled {
    int device;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    GraphSpec spec;
    Sizes limits;  // the engine's profile's
};

/// The engine in `plan`, which was built from the graph at `path`, on this thread's GPU. Throws BackendError where it
/// is refused.
std::shared_ptr<const Compiled> deserialize(const std::string& plan, const GraphSpec& spec,
                                            const std::filesystem::path& path);

/// The loaded library's own version, which may be another than the headers'. Throws where it is not 10.3 to 11.x.
TensorRtVersion tensorrt_version();

/// "tensorrt 10.3.0"
std::string tensorrt_library();

/// The first line of the first error that TensorRT told this thread since forget_error() or this was last called.
std::string take_error();
void forget_error();

}  // namespace glesam::core
