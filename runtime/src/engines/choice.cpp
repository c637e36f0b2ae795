#include "engines/choice.hpp"

#include <algorithm>

#include "common/error.hpp"
#include "common/text.hpp"

namespace glesam::core {

namespace {

using Names = std::vector<std::string>;

/// A backend for "auto", whether it suits a bundle here, and why or why not.
struct Candidate {
    std::string backend;
    bool fits;
    std::string reason;
};

bool has(const Names& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_bf16(const std::string& precision) {
    return precision.size() >= 4 && precision.compare(precision.size() - 4, 4, "bf16") == 0;
}

bool is_int8(const std::string& precision) { return precision.rfind("int8", 0) == 0; }

Candidate openvino(const std::string& precision, const std::string& target, const Names& built, bool exact_int8) {
    if (!has(built, "openvino")) {
        return {"openvino", false, "it is not in this build; pip install openvino, then -DGLESAM_WITH_OPENVINO=ON"};
    }
    if (is_bf16(precision)) return {"openvino", true, "for bf16 graphs, which onnxruntime cannot compute on a CPU"};
    if (is_int8(precision) && exact_int8 && target == "onnxruntime" && has(built, "onnxruntime")) {
        return {"openvino", false, "the int8 layers are quantized for onnxruntime"};
    }
    if (is_int8(precision) && exact_int8) {
        return {"openvino", true, "for int8 graphs, of which onnxruntime computes much in float"};
    }
    if (!has(built, "onnxruntime")) return {"openvino", true, "onnxruntime is not in this build"};
    if (is_int8(precision)) {
        return {"openvino", false, "this CPU has no VNNI, so it computes int8 graphs in float"};
    }
    return {"openvino", false, "preferred for bf16 and int8 only"};
}

Candidate onnxruntime(const std::string& precision, const std::string& target, const Names& built) {
    if (is_bf16(precision)) return {"onnxruntime", false, "it cannot compute bf16 graphs on a CPU"};
    if (!has(built, "onnxruntime")) return {"onnxruntime", false, "it is not in this build"};
    if (target == "onnxruntime") return {"onnxruntime", true, "the int8 layers are quantized for it"};
    return {"onnxruntime", true, "it is part of this build"};
}

Choice automatic(const std::string& precision, const std::string& target, const Names& built, bool exact_int8) {
    std::vector<std::string> why;
    for (const Candidate& candidate :
         {openvino(precision, target, built, exact_int8), onnxruntime(precision, target, built)}) {
        if (candidate.fits) return {candidate.backend, "auto: " + candidate.reason};
        why.push_back(candidate.backend + ": " + candidate.reason);
    }
    if (has(built, "tensorrt")) {
        why.emplace_back("tensorrt: no engines of the bundle for a GPU here are cached; run glesam-build");
    }
    throw backend_error("backend auto: nothing here computes in " + precision + " (" + joined(why, "; ") +
                        "); install what is missing, or export with --precision fp32 or fp16");
}

Error not_here(const std::string& name, const Names& built) {
    // Every backend of this project, whether this build has it or not.
    const bool is_known = has({"onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"}, name);
    return backend_error("backend " + repr(name) + (is_known ? " is not in this build" : " is unknown") +
                         "; choose auto or " + joined(built, " or "));
}

}  // namespace

Choice pick_backend(const std::string& backend, const std::string& precision, const Names& built,
                    const std::string& target, bool exact_int8) {
    if (built.empty()) {
        throw backend_error("backend " + repr(backend) +
                            ": this libglesam was built without any; "
                            "install OpenVINO (pip install openvino), ONNX Runtime or TensorRT and build it again with "
                            "-DGLESAM_WITH_OPENVINO=ON or its like");
    }
    if (backend == "auto") return automatic(precision, target, built, exact_int8);
    if (!has(built, backend)) throw not_here(backend, built);
    if (backend == "onnxruntime" && is_bf16(precision)) {
        throw backend_error("backend onnxruntime has no bf16 arithmetic here, and the bundle is " + precision +
                            "; choose openvino, or export with --precision fp32 or fp16");
    }
    return {backend, "as asked"};
}

bool onnxruntime_computes_int8(const std::string& precision) { return precision == "int8+fp32"; }

}  // namespace glesam::core
