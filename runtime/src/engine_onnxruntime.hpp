// ONNX Runtime on the CPU.
#pragma once

#include <memory>

#include "engine.hpp"

namespace glesam::core {

/// Compile the ONNX graph at `path`. `int8`: the graph has layers to be computed in int8; in another graph int8
/// weights are restored once, here. Throws BackendError where ONNX Runtime refuses it or its tensors are not those
/// of `spec`.
std::shared_ptr<const Engine> open_onnxruntime(const std::filesystem::path& path, const GraphSpec& spec, bool int8);

}  // namespace glesam::core
