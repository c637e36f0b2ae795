// TensorRT on an NVIDIA GPU: the engines that glesam-build made from a bundle.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bundle.hpp"
#include "engine.hpp"

namespace glesam::core {

/// The cached engine of graph `name`, on this thread's GPU. Throws BackendError where TensorRT's version, a GPU or the
/// engine is missing, and where the engine is refused.
std::shared_ptr<const Engine> open_tensorrt(const Bundle& bundle, const std::string& name);

/// Why "auto" takes TensorRT for a bundle; nothing where no GPU answers, or not all graphs have an engine for it.
std::optional<std::string> why_tensorrt(const Bundle& bundle);

}  // namespace glesam::core
