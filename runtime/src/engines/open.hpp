// Opens engines of each backend's library, which this build may not have.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "bundle/bundle.hpp"
#include "engines/engine.hpp"

namespace glesam::core {

/// Compiles a bundle's graph for OpenVINO on the CPU; `precision` is its arithmetic: "fp32", "fp16", "bf16" or
/// "int8+...". `threads`: 0 for OpenVINO's own number, within the CPUs that this process may use. Throws BackendError
/// where OpenVINO refuses it or its tensors are not those of `spec`.
std::shared_ptr<const Engine> open_openvino(const GraphContent& graph, const GraphSpec& spec,
                                            const std::string& precision, int threads = 0);

/// Compiles a bundle's graph for ONNX Runtime on the CPU. `int8`: the graph has layers to be computed in int8;
/// in another graph int8 weights are restored once, here. `threads`: 0 for one on each physical core that this process
/// may use. Throws BackendError where ONNX Runtime refuses it or its tensors are not those of `spec`.
std::shared_ptr<const Engine> open_onnxruntime(const GraphContent& graph, const GraphSpec& spec, bool int8,
                                               int threads = 0);

/// Loads the TensorRT engine that glesam-build made of graph `name`, on this thread's GPU. Throws BackendError where
/// TensorRT's version, a GPU or the engine is missing, and where the engine is refused.
std::shared_ptr<const Engine> open_tensorrt(const Bundle& bundle, const std::string& name);

/// Why "auto" takes TensorRT for a bundle; nothing where no GPU answers, or not all graphs have an engine for it.
std::optional<std::string> why_tensorrt(const Bundle& bundle);

}  // namespace glesam::core
