#include "engines/tensorrt/compiled.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "engines/engine.hpp"
#include "engines/tensorrt/cuda.hpp"

namespace glesam::core {

namespace {

static_assert(NV_TENSORRT_MAJOR == 10 || NV_TENSORRT_MAJOR == 11, "TensorRT 10.3 to 11.x is needed");

/// Keeps the first error of each thread, which causes the others. It must outlive every object made with it.
class Logger : public nvinfer1::ILogger {
   public:
    void log(Severity severity, const nvinfer1::AsciiChar* message) noexcept override {
        if (severity > Severity::kERROR || first_error().front() != '\0') return;
        std::strncpy(first_error().data(), message, first_error().size() - 1);
    }

    // Not a string: storing an error must not fail when memory has run out. The last byte stays zero.
    static std::array<char, 512>& first_error() {
        thread_local std::array<char, 512> error{};
        return error;
    }
};

Logger& logger() {
    static Logger instance;
    return instance;
}

std::string dtype_name(nvinfer1::DataType type) {
    if (type == nvinfer1::DataType::kFLOAT) return "float32";
    if (type == nvinfer1::DataType::kINT32) return "int32";
    if (type == nvinfer1::DataType::kHALF) return "float16";
    if (type == nvinfer1::DataType::kINT64) return "int64";
    return "type " + std::to_string(static_cast<int>(type));
}

/// The specs of an engine's inputs or outputs; a size that it leaves open is "?".
std::vector<TensorSpec> tensors(const nvinfer1::ICudaEngine& engine, nvinfer1::TensorIOMode mode) {
    std::vector<TensorSpec> specs;
    for (int i = 0; i < engine.getNbIOTensors(); ++i) {
        const char* name = engine.getIOTensorName(i);
        if (engine.getTensorIOMode(name) != mode) continue;
        const nvinfer1::Dims sizes = engine.getTensorShape(name);
        std::vector<Dimension> shape;
        for (int k = 0; k < sizes.nbDims; ++k) {
            shape.push_back(sizes.d[k] >= 0 ? Dimension(std::int64_t{sizes.d[k]}) : Dimension("?"));
        }
        specs.push_back({name, dtype_name(engine.getTensorDataType(name)), std::move(shape)});
    }
    return specs;
}

/// The largest size of each dynamic dimension, from the engine's profile.
Sizes limits_of(const nvinfer1::ICudaEngine& engine, const GraphSpec& spec) {
    Sizes limits;
    for (const TensorSpec& tensor : spec.inputs) {
        if (!tensor.is_dynamic()) continue;
        const auto most = engine.getProfileShape(tensor.name.c_str(), 0, nvinfer1::OptProfileSelector::kMAX);
        for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
            const auto* name = std::get_if<std::string>(&tensor.shape[i]);
            if (name == nullptr) continue;
            const std::int64_t size = most.d[i];
            const auto known = limits.emplace(*name, size).first;
            known->second = std::min(known->second, size);
        }
    }
    return limits;
}

}  // namespace

TensorRtVersion tensorrt_version() {
    const int number = getInferLibVersion();  // 10000 * major + 100 * minor + patch
    const int major = number / 10000;
    const int minor = number / 100 % 100;
    const std::string release =
        std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(number % 100);
    if (number < 100300 || number >= 120000) {
        throw backend_error("backend tensorrt: expected version 10.3 to 11.x, found " + release +
                            "; JetPack brings it on a Jetson; elsewhere install NVIDIA's TensorRT packages");
    }
    return {"tensorrt", release, std::to_string(getInferLibBuildVersion())};
}

std::string tensorrt_library() { return "tensorrt " + tensorrt_version().release; }

std::string take_error() {
    const std::string error = Logger::first_error().data();
    forget_error();
    return error.empty() ? "it does not say why" : error.substr(0, error.find('\n'));
}

void forget_error() { Logger::first_error().fill('\0'); }

std::shared_ptr<const Compiled> deserialize(const std::string& plan, const GraphSpec& spec,
                                            const std::filesystem::path& path) {
    auto compiled = std::make_shared<Compiled>();
    compiled->device = current_device();
    compiled->spec = spec;
    forget_error();
    compiled->runtime.reset(nvinfer1::createInferRuntime(logger()));
    if (compiled->runtime) compiled->engine.reset(compiled->runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!compiled->engine) {
        throw backend_error(path.string() + ": " + tensorrt_library() + " cannot open this graph's engine (" +
                            take_error() + "); build it again with glesam-build");
    }
    const nvinfer1::ICudaEngine& engine = *compiled->engine;
    check_graph(path, spec, tensors(engine, nvinfer1::TensorIOMode::kINPUT),
                tensors(engine, nvinfer1::TensorIOMode::kOUTPUT));
    compiled->limits = limits_of(engine, spec);
    return compiled;
}

}  // namespace glesam::core
