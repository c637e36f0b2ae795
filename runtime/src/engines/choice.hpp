// Chooses the backend that runs a bundle, by the rules of engines/choice.py, among those in this build.
#pragma once

#include <string>
#include <vector>

#include "engines/processor.hpp"

namespace glesam::core {

struct Choice {
    std::string backend;
    std::string reason;
};

/// The backend that `backend`, a name or "auto", stands for with graphs of `precision`: {"onnxruntime", "as asked"}.
/// `built`: the names of this build's backends. `target`: the runtime that the int8 layers were quantized for.
/// Throws BackendError for a name that is unknown or not in this build, and for a backend that cannot compute in
/// `precision`.
Choice pick_backend(const std::string& backend, const std::string& precision, const std::vector<std::string>& built,
                    const std::string& target = "any", bool exact_int8 = sums_int8_exactly());

/// Whether ONNX Runtime runs the int8 layers of a graph of `precision` in int8, rather than in float.
/// 1.32 does where the rest is fp32, for MatMul and, of its own target, for convolutions: behind fp16 it fuses no Q/DQ.
bool onnxruntime_computes_int8(const std::string& precision);

}  // namespace glesam::core
