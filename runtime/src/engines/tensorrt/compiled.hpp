// A deserialized engine, which all sessions of a graph share, and TensorRT's error messages.
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

/// An engine with what it needs; members are freed from the last to the first.
struct Compiled {
    int device;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    GraphSpec spec;
    Sizes limits;  // from the engine's profile
};

/// Deserializes `plan`, an engine built from the graph at `path`, on this thread's GPU. Throws BackendError where
/// TensorRT refuses it.
std::shared_ptr<const Compiled> deserialize(const std::string& plan, const GraphSpec& spec,
                                            const std::filesystem::path& path);

/// The loaded library's version, which may differ from the headers'. Throws where it is not 10.3 to 11.x.
TensorRtVersion tensorrt_version();

/// "tensorrt 10.3.0"
std::string tensorrt_library();

/// The first line of TensorRT's first error in this thread since the last call of this or of forget_error().
std::string take_error();
void forget_error();

}  // namespace glesam::core
