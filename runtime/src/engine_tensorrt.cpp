// The only file that includes TensorRT's headers: API 10.3 to 11.x. It does what engines/tensorrt/ does in Python.
#include "engine_tensorrt.hpp"

#include <NvInferRuntime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>

#include "cuda.hpp"
#include "engine_cache.hpp"

namespace glesam::core {

namespace {

static_assert(NV_TENSORRT_MAJOR == 10 || NV_TENSORRT_MAJOR == 11, "TensorRT 10.3 to 11.x is needed");

constexpr const char* prompts_dimension = "num_prompts";
constexpr const char* points_dimension = "num_points";

/// Keeps the first error of each thread, which is the others' cause. It must outlive all that is made with it.
class Logger : public nvinfer1::ILogger {
   public:
    void log(Severity severity, const nvinfer1::AsciiChar* message) noexcept override {
        if (severity > Severity::kERROR || first_error().front() != '\0') return;
        std::strncpy(first_error().data(), message, first_error().size() - 1);
    }

    static void forget() { first_error().fill('\0'); }

    /// The first line of the first error since it was last asked in this thread.
    std::string take_error() {
        const std::string error = first_error().data();
        forget();
        return error.empty() ? "it does not say why" : error.substr(0, error.find('\n'));
    }

   private:
    // Not a string: keeping an error must not fail where memory has run out. One byte more than is written.
    static std::array<char, 512>& first_error() {
        thread_local std::array<char, 512> error{};
        return error;
    }
};

Logger& logger() {
    static Logger instance;
    return instance;
}

/// The loaded library's own version, which may be another than the headers'. Throws where it is not 10.3 to 11.x.
TensorRtVersion version() {
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

std::string library() { return "tensorrt " + version().release; }

std::string dtype_name(nvinfer1::DataType type) {
    if (type == nvinfer1::DataType::kFLOAT) return "float32";
    if (type == nvinfer1::DataType::kINT32) return "int32";
    if (type == nvinfer1::DataType::kHALF) return "float16";
    if (type == nvinfer1::DataType::kINT64) return "int64";
    return "type " + std::to_string(static_cast<int>(type));
}

/// The inputs or the outputs of an engine; a size that it leaves open is "?".
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

bool is_dynamic(const TensorSpec& tensor) {
    return std::any_of(tensor.shape.begin(), tensor.shape.end(),
                       [](const Dimension& size) { return std::holds_alternative<std::string>(size); });
}

using Sizes = std::map<std::string, std::int64_t>;

/// The most of each dynamic dimension, from the engine's profile.
Sizes limits_of(const nvinfer1::ICudaEngine& engine, const GraphSpec& spec) {
    Sizes limits;
    for (const TensorSpec& tensor : spec.inputs) {
        if (!is_dynamic(tensor)) continue;
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

/// A deserialized engine: what all sessions of a graph share. Freed in the opposite order.
struct Compiled {
    int device;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    GraphSpec spec;
    Sizes limits;
};

/// Bytes of a tensor whose dynamic dimensions have `sizes`; float32 and int32 are four bytes wide.
std::size_t bytes_of(const TensorSpec& tensor, const Sizes& sizes) {
    std::size_t bytes = 4;
    for (const Dimension& size : tensor.shape) {
        const auto* fixed = std::get_if<std::int64_t>(&size);
        bytes *= static_cast<std::size_t>(fixed != nullptr ? *fixed : sizes.at(std::get<std::string>(size)));
    }
    return bytes;
}

/// A tensor's place on the GPU and the pinned one on the host that it is copied through.
struct Buffers {
    explicit Buffers(std::size_t size) : device(size), pinned(size) {}
    DeviceBuffer device;
    PinnedBuffer pinned;
};

/// One thread's share of an engine: an execution context, a stream, and buffers for the profile's maximum.
class TensorRtRequest : public Request {
   public:
    explicit TensorRtRequest(std::shared_ptr<const Compiled> compiled)
        : compiled_(std::move(compiled)), stream_(stream_on(compiled_->device)) {
        for (const TensorSpec& tensor : spec().inputs) inputs_.emplace_back(bytes_of(tensor, compiled_->limits));
        for (const TensorSpec& tensor : spec().outputs) outputs_.emplace_back(bytes_of(tensor, compiled_->limits));
        make_context();
        bind(spec().inputs, inputs_);
        bind(spec().outputs, outputs_);
        sizes_ = compiled_->limits;
    }

    /// More prompts than the engine was built for are asked in pieces, and answered as one.
    void run(const Tensor* inputs, Tensor* outputs) override {
        use_device(compiled_->device);
        Logger::forget();
        take_sizes(inputs);
        const std::int64_t prompts = size_of(prompts_dimension);
        const std::int64_t limit = limit_of(prompts_dimension);
        for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].pinned.grow(bytes_of(spec().outputs[i], sizes_));
        for (std::int64_t start = 0; start < prompts; start += limit) {
            run_piece(inputs, start, std::min(limit, prompts - start));
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) outputs[i] = taken(i, prompts);
    }

   private:
    const GraphSpec& spec() const { return compiled_->spec; }

    static Stream stream_on(int device) {
        use_device(device);
        return {};
    }

    void make_context() {
        Logger::forget();
        context_.reset(compiled_->engine->createExecutionContext());
        if (context_) return;
        throw backend_error(spec().name + ": TensorRT cannot make an execution context (" + logger().take_error() +
                            "); free GPU memory");
    }

    void bind(const std::vector<TensorSpec>& tensors, const std::vector<Buffers>& buffers) {
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            const char* name = tensors[i].name.c_str();
            if (!context_->setTensorAddress(name, buffers[i].device.data())) throw refuses("the address of ", name);
        }
    }

    Error refuses(const char* what, const std::string& name) const {
        return backend_error(spec().name + ": TensorRT refuses " + what + name + " (" + logger().take_error() +
                             "); build the engine for it with glesam-build");
    }

    /// What `inputs` give to the dynamic dimensions. Throws BackendError for more points than the engine takes.
    void take_sizes(const Tensor* inputs) {
        for (const TensorSpec& tensor : spec().inputs) {
            const std::int64_t* size = (inputs++)->shape.sizes.data();
            for (const Dimension& expected : tensor.shape) {
                const auto* name = std::get_if<std::string>(&expected);
                if (name != nullptr) sizes_.find(*name)->second = *size;
                ++size;
            }
        }
        const std::int64_t most = limit_of(points_dimension);
        if (size_of(points_dimension) <= most) return;
        throw backend_error(spec().name + ": this engine takes at most " + std::to_string(most) +
                            " points per prompt, found " + std::to_string(size_of(points_dimension)) +
                            "; give fewer, or build it again with glesam-build for more");
    }

    // 1 where the graph has no such dimension.
    std::int64_t size_of(const char* name) const { return value_of(sizes_, name); }
    std::int64_t limit_of(const char* name) const { return value_of(compiled_->limits, name); }

    static std::int64_t value_of(const Sizes& sizes, const char* name) {
        for (const auto& [known, size] : sizes) {
            if (known == name) return size;
        }
        return 1;
    }

    void run_piece(const Tensor* inputs, std::int64_t start, std::int64_t count) {
        for (std::size_t i = 0; i < inputs_.size(); ++i) give(i, inputs[i], start, count);
        if (!context_->enqueueV3(stream_.handle())) throw cannot_run(spec(), library(), logger().take_error());
        for (std::size_t i = 0; i < outputs_.size(); ++i) bring_back(i, start, count);
        stream_.synchronize();  // before the pinned memory is written or read again
    }

    /// Prompts start to start + count of a tensor that has them, all of another.
    void give(std::size_t i, const Tensor& tensor, std::int64_t start, std::int64_t count) {
        const TensorSpec& expected = spec().inputs[i];
        Shape shape = tensor.shape;
        const bool by_prompt = has_prompts(expected);
        if (by_prompt) shape.sizes[0] = count;
        if (is_dynamic(expected) && !context_->setInputShape(expected.name.c_str(), dims(shape))) {
            throw refuses("the shape of ", expected.name);
        }
        const std::size_t bytes = shape.elements() * 4;
        const std::size_t skipped =
            by_prompt ? bytes / static_cast<std::size_t>(count) * static_cast<std::size_t>(start) : 0;
        const Buffers& buffers = inputs_[i];
        std::memcpy(buffers.pinned.data(), static_cast<const char*>(tensor.data) + skipped, bytes);
        stream_.copy(buffers.device.data(), buffers.pinned.data(), bytes, cudaMemcpyHostToDevice);
    }

    void bring_back(std::size_t i, std::int64_t start, std::int64_t count) {
        const std::size_t all = bytes_of(spec().outputs[i], sizes_);
        const std::size_t one =
            has_prompts(spec().outputs[i]) ? all / static_cast<std::size_t>(size_of(prompts_dimension)) : all;
        const std::size_t bytes = has_prompts(spec().outputs[i]) ? one * static_cast<std::size_t>(count) : all;
        auto* target = static_cast<char*>(outputs_[i].pinned.data()) + one * static_cast<std::size_t>(start);
        stream_.copy(target, outputs_[i].device.data(), bytes, cudaMemcpyDeviceToHost);
    }

    static bool has_prompts(const TensorSpec& tensor) {
        const auto* name = std::get_if<std::string>(&tensor.shape.front());
        return name != nullptr && *name == prompts_dimension;
    }

    static nvinfer1::Dims dims(const Shape& shape) {
        nvinfer1::Dims result{};
        result.nbDims = static_cast<std::int32_t>(shape.rank);
        std::copy_n(shape.sizes.begin(), shape.rank, result.d);
        return result;
    }

    Tensor taken(std::size_t i, std::int64_t prompts) const {
        Tensor result;
        result.data = outputs_[i].pinned.data();
        for (const Dimension& size : spec().outputs[i].shape) {
            const auto* fixed = std::get_if<std::int64_t>(&size);
            result.shape.sizes[result.shape.rank++] = fixed != nullptr ? *fixed : prompts;
        }
        return result;
    }

    // Freed from the last to the first: the context, then the memory that its work uses, then the engine.
    std::shared_ptr<const Compiled> compiled_;
    Stream stream_;
    std::vector<Buffers> inputs_;
    std::vector<Buffers> outputs_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Sizes sizes_;
};

class TensorRtEngine : public Engine {
   public:
    explicit TensorRtEngine(std::shared_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}

    const GraphSpec& spec() const override { return compiled_->spec; }
    std::unique_ptr<Request> new_request() const override { return std::make_unique<TensorRtRequest>(compiled_); }

   private:
    std::shared_ptr<const Compiled> compiled_;
};

/// The engine in `plan`, which was built from the graph at `path`, on this thread's GPU.
std::shared_ptr<const Compiled> deserialize(const std::string& plan, const GraphSpec& spec,
                                            const std::filesystem::path& path) {
    auto compiled = std::make_shared<Compiled>();
    compiled->device = current_device();
    compiled->spec = spec;
    Logger::forget();
    compiled->runtime.reset(nvinfer1::createInferRuntime(logger()));
    if (compiled->runtime) compiled->engine.reset(compiled->runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!compiled->engine) {
        throw backend_error(path.string() + ": " + library() + " cannot open this graph's engine (" +
                            logger().take_error() + "); build it again with glesam-build");
    }
    const nvinfer1::ICudaEngine& engine = *compiled->engine;
    check_graph(path, spec, tensors(engine, nvinfer1::TensorIOMode::kINPUT),
                tensors(engine, nvinfer1::TensorIOMode::kOUTPUT));
    compiled->limits = limits_of(engine, spec);
    return compiled;
}

}  // namespace

std::shared_ptr<const Engine> open_tensorrt(const Bundle& bundle, const std::string& name) {
    const TensorRtVersion found = version();
    const EngineKey key = engine_key(found, bundle, name, current_gpu());
    const std::string plan = load_engine(key, build_command(bundle, key));
    return std::make_shared<TensorRtEngine>(
        deserialize(plan, bundle.manifest.graphs.at(name).spec, bundle.graph_path(name)));
}

std::optional<std::string> why_tensorrt(const Bundle& bundle) {
    const auto cached = cached_engines(bundle.hash);
    if (cached.empty()) return std::nullopt;  // then nothing of a GPU is even asked
    try {
        const TensorRtVersion found = version();
        const Gpu gpu = current_gpu();
        for (const auto& [name, graph] : bundle.manifest.graphs) {
            const auto path = engine_key(found, bundle, name, gpu).path();
            const auto is_it = [&](const EngineRecord& record) { return record.key.path() == path; };
            if (std::none_of(cached.begin(), cached.end(), is_it)) return std::nullopt;
        }
        return "auto: the bundle's engines for " + gpu.text() + " are cached";
    } catch (const Error&) {  // no GPU, no driver, another TensorRT
        return std::nullopt;
    }
}

}  // namespace glesam::core
