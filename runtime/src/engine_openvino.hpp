// OpenVINO on the CPU: Intel's and AMD's processors.
#pragma once

#include <memory>

#include "engine.hpp"

namespace glesam::core {

/// Compile the ONNX graph at `path`, whose arithmetic is `precision`: "fp32", "fp16", "bf16" or "int8+...".
/// Throws BackendError where OpenVINO refuses it or its tensors are not those of `spec`.
std::shared_ptr<const Engine> open_openvino(const std::filesystem::path& path, const GraphSpec& spec,
                                            const std::string& precision);

}  // namespace glesam::core
