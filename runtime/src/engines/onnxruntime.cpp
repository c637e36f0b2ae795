// The only file that includes ONNX Runtime's header. Its options are those of engines/onnxruntime.py.
//
// It uses the C API: one header, which every distribution has, and the only interface that is kept stable.
#include "engines/open.hpp"

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/text.hpp"
#include "engines/cpus.hpp"
#include "engines/processor.hpp"

namespace glesam::core {

namespace {

constexpr const char* package = "onnxruntime";

std::string library() { return std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString(); }

/// The API of the version that this file was compiled for. Throws BackendError where the library is older.
const OrtApi& api() {
    static const OrtApi* const functions = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (functions != nullptr) return *functions;
    throw backend_error("backend onnxruntime: expected version 1." + std::to_string(ORT_API_VERSION) +
                        " or later, found " + OrtGetApiBase()->GetVersionString() +
                        "; upgrade it, or build libglesam with its headers");
}

struct Release {
    void operator()(OrtEnv* env) const { api().ReleaseEnv(env); }
    void operator()(OrtSession* session) const { api().ReleaseSession(session); }
    void operator()(OrtSessionOptions* options) const { api().ReleaseSessionOptions(options); }
    void operator()(OrtMemoryInfo* info) const { api().ReleaseMemoryInfo(info); }
    void operator()(OrtTypeInfo* info) const { api().ReleaseTypeInfo(info); }
    void operator()(OrtTensorTypeAndShapeInfo* info) const { api().ReleaseTensorTypeAndShapeInfo(info); }
    void operator()(OrtValue* value) const { api().ReleaseValue(value); }
    void operator()(OrtStatus* status) const { api().ReleaseStatus(status); }
};

template <typename Resource>
using Owned = std::unique_ptr<Resource, Release>;

/// Throws the first line of ONNX Runtime's message.
void checked(OrtStatus* status) {
    if (status == nullptr) return;
    const Owned<OrtStatus> owned(status);
    const std::string message = api().GetErrorMessage(status);
    throw std::runtime_error(message.substr(0, message.find('\n')));
}

/// The resource that `create` writes to its argument. Throws as checked() does.
template <typename Resource, typename Create>
Owned<Resource> make_owned(Create create) {
    Resource* resource = nullptr;
    checked(create(&resource));
    return Owned<Resource>(resource);
}

Owned<OrtSessionOptions> session_options(bool int8, int threads) {
    auto options = make_owned<OrtSessionOptions>([](auto** out) { return api().CreateSessionOptions(out); });
    const auto set = [&](const char* key, const char* value) {
        checked(api().AddSessionConfigEntry(options.get(), key, value));
    };
    // Always a number: with 0 ONNX Runtime pins its threads to all cores, also those that taskset forbids.
    checked(api().SetIntraOpNumThreads(options.get(), threads != 0 ? threads : usable_cores()));
    // At full size the second run plans one block for everything: 6.6 instead of 3.6 GiB, and no faster.
    checked(api().DisableMemPattern(options.get()));
    checked(api().SetSessionLogSeverityLevel(options.get(), ORT_LOGGING_LEVEL_ERROR));
    // Threads that spin between calls steal time from what runs there: 25 instead of 14 ms, measured in Python.
    set("session.intra_op.allow_spinning", "0");
    // A sum that is fused with the LayerNormalization after it is five times slower than both apart; an int8 MatMul
    // that is fused with its bias would be computed in float.
    set("optimization.disable_specified_optimizers",
        int8 ? "SkipLayerNormFusion;MatMulAddFusion" : "SkipLayerNormFusion");
    if (!int8) {
        // Else a decoder with int8 weights restores them in each call, and biases are quantized in fp16.
        set("session.disable_quant_qdq", "1");
    }
    // Else it quantizes the activations of a MatMul whose weights alone are int8: an attention was off by 0.8 % of its
    // largest value instead of 0.0001 % (1.32, Zen 4). Level 1 is float32.
    set("session.qdq_matmulnbits_accuracy_level", "1");
    // Else a CPU without VNNI saturates sums of int8 products; on one with VNNI it only doubles a convolution's time.
    if (!sums_int8_exactly()) set("session.x64quantprecision", "1");
    return options;
}

/// Turns off the reports that ONNX Runtime's Linux builds since 1.29 send, unless GLESAM_TELEMETRY is "1".
///
/// It reads the variable once, when the first environment is made; DisableTelemetryEvents() is too late to keep it from
/// writing a device id to the home folder.
void turn_off_telemetry() {
    static std::once_flag done;
    std::call_once(done, [] {
        const char* const wanted = std::getenv("GLESAM_TELEMETRY");
        if (wanted == nullptr || std::string(wanted) != "1") setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    });
}

/// numpy's name of an element type where we use it, else ONNX Runtime's own: "tensor(float16)".
std::string dtype_name(ONNXTensorElementDataType type) {
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) return "float32";
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32) return "int32";
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return "tensor(float16)";
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) return "tensor(int64)";
    return "type " + std::to_string(static_cast<int>(type));
}

ONNXTensorElementDataType type_of(const TensorSpec& spec) {
    return spec.dtype == "int32" ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

std::vector<std::int64_t> sizes_of(const OrtTensorTypeAndShapeInfo* info) {
    std::size_t rank = 0;
    checked(api().GetDimensionsCount(info, &rank));
    std::vector<std::int64_t> sizes(rank);
    checked(api().GetDimensions(info, sizes.data(), rank));
    return sizes;
}

/// The spec of one tensor of a graph; a size that the graph leaves open is "?".
TensorSpec tensor(const char* name, const OrtTypeInfo* type) {
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    checked(api().CastTypeInfoToTensorInfo(type, &info));
    if (info == nullptr) return {name, "no tensor", {}};
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    checked(api().GetTensorElementType(info, &element));
    std::vector<Dimension> shape;
    for (const std::int64_t size : sizes_of(info)) shape.push_back(size >= 0 ? Dimension(size) : Dimension("?"));
    return {name, dtype_name(element), std::move(shape)};
}

using Count = decltype(OrtApi::SessionGetInputCount);
using Name = decltype(OrtApi::SessionGetInputName);
using Type = decltype(OrtApi::SessionGetInputTypeInfo);

/// The specs of a session's inputs or outputs, by the three functions for them.
std::vector<TensorSpec> tensors(const OrtSession* session, Count count, Name name, Type type) {
    OrtAllocator* allocator = nullptr;  // ONNX Runtime's own, which nobody frees
    checked(api().GetAllocatorWithDefaultOptions(&allocator));
    std::size_t number = 0;
    checked(count(session, &number));
    std::vector<TensorSpec> specs;
    for (std::size_t i = 0; i < number; ++i) {
        const auto info = make_owned<OrtTypeInfo>([&](auto** out) { return type(session, i, out); });
        char* text = nullptr;
        checked(name(session, i, allocator, &text));
        const std::unique_ptr<char, void (*)(char*)> owned(text, [](char* memory) {
            OrtAllocator* same = nullptr;
            checked(api().GetAllocatorWithDefaultOptions(&same));
            checked(api().AllocatorFree(same, memory));
        });
        specs.push_back(tensor(text, info.get()));
    }
    return specs;
}

std::vector<const char*> names_of(const std::vector<TensorSpec>& specs) {
    std::vector<const char*> names;
    for (const TensorSpec& spec : specs) names.push_back(spec.name.c_str());
    return names;
}

class OnnxRuntimeRequest : public Request {
   public:
    OnnxRuntimeRequest(OrtSession& session, const GraphSpec& spec)
        : session_(session),
          spec_(spec),
          memory_(make_owned<OrtMemoryInfo>(
              [](auto** out) { return api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, out); })),
          input_names_(names_of(spec.inputs)),
          output_names_(names_of(spec.outputs)),
          inputs_(spec.inputs.size()),
          outputs_(spec.outputs.size()),
          raw_inputs_(spec.inputs.size()),
          raw_outputs_(spec.outputs.size()) {}

    void run(const Tensor* inputs, Tensor* outputs) override {
        try {
            for (std::size_t i = 0; i < inputs_.size(); ++i) give(i, inputs[i]);
            infer();
            for (std::size_t i = 0; i < outputs_.size(); ++i) outputs[i] = output_of(outputs_[i].get());
        } catch (const std::runtime_error& error) {
            throw cannot_run(spec_, library(), error.what());
        }
    }

   private:
    void give(std::size_t i, const Tensor& tensor) {
        const TensorSpec& spec = spec_.inputs[i];
        const std::size_t bytes = tensor.shape.elements() * sizeof(float);  // int32 is as wide
        inputs_[i] = make_owned<OrtValue>([&](auto** out) {
            // ONNX Runtime only reads inputs, though its API takes them without const.
            return api().CreateTensorWithDataAsOrtValue(memory_.get(), const_cast<void*>(tensor.data), bytes,
                                                        tensor.shape.sizes.data(), tensor.shape.rank, type_of(spec),
                                                        out);
        });
        raw_inputs_[i] = inputs_[i].get();
    }

    void infer() {
        for (auto& output : outputs_) output.reset();
        std::fill(raw_outputs_.begin(), raw_outputs_.end(), nullptr);
        OrtStatus* status = api().Run(&session_, nullptr, input_names_.data(), raw_inputs_.data(), raw_inputs_.size(),
                                      output_names_.data(), output_names_.size(), raw_outputs_.data());
        for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].reset(raw_outputs_[i]);
        checked(status);
    }

    static Tensor output_of(OrtValue* value) {
        const auto info =
            make_owned<OrtTensorTypeAndShapeInfo>([&](auto** out) { return api().GetTensorTypeAndShape(value, out); });
        Tensor result;
        // A rank above four is only counted: the check of the outputs refuses it.
        checked(api().GetDimensionsCount(info.get(), &result.shape.rank));
        const std::size_t shown = std::min(result.shape.rank, result.shape.sizes.size());
        checked(api().GetDimensions(info.get(), result.shape.sizes.data(), shown));
        void* data = nullptr;
        checked(api().GetTensorMutableData(value, &data));
        result.data = data;
        return result;
    }

    OrtSession& session_;
    const GraphSpec& spec_;
    Owned<OrtMemoryInfo> memory_;
    std::vector<const char*> input_names_;
    std::vector<const char*> output_names_;
    std::vector<Owned<OrtValue>> inputs_;
    std::vector<Owned<OrtValue>> outputs_;
    std::vector<const OrtValue*> raw_inputs_;
    std::vector<OrtValue*> raw_outputs_;
};

class OnnxRuntimeEngine : public Engine {
   public:
    OnnxRuntimeEngine(Owned<OrtEnv> env, Owned<OrtSession> session, GraphSpec spec)
        : env_(std::move(env)), session_(std::move(session)), spec_(std::move(spec)) {}

    const GraphSpec& spec() const override { return spec_; }

    std::unique_ptr<Request> new_request() const override {
        try {
            return std::make_unique<OnnxRuntimeRequest>(*session_, spec_);  // Run is safe to call from many threads
        } catch (const std::runtime_error& error) {
            throw cannot_run(spec_, library(), error.what());
        }
    }

   private:
    Owned<OrtEnv> env_;  // reference-counted, one per process; it must outlive the session
    Owned<OrtSession> session_;
    GraphSpec spec_;
};

/// Gives ONNX Runtime the weights beside the graph, which it reads while the session is made.
void give_weights(OrtSessionOptions* options, const GraphContent& graph) {
    if (!graph.weights) return;
    const std::string name = graph.path.filename().string() + ".data";
    const char* names = name.c_str();
    // ONNX Runtime only reads them, though its API takes them without const.
    char* data = const_cast<char*>(graph.weights->content().data());
    const std::size_t size = graph.weights->content().size();
    checked(api().AddExternalInitializersFromFilesInMemory(options, &names, &data, &size, 1));
}

}  // namespace

std::shared_ptr<const Engine> open_onnxruntime(const GraphContent& graph, const GraphSpec& spec, bool int8,
                                               int threads) {
    const OrtApi& ort = api();
    Owned<OrtEnv> env;
    Owned<OrtSession> session;
    std::vector<TensorSpec> inputs;
    std::vector<TensorSpec> outputs;
    turn_off_telemetry();
    try {
        env = make_owned<OrtEnv>([&](auto** out) { return ort.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "glesam", out); });
        const auto options = session_options(int8, threads);
        give_weights(options.get(), graph);
        session = make_owned<OrtSession>([&](auto** out) {
            return ort.CreateSessionFromArray(env.get(), graph.model.data(), graph.model.size(), options.get(), out);
        });
        inputs = tensors(session.get(), ort.SessionGetInputCount, ort.SessionGetInputName, ort.SessionGetInputTypeInfo);
        outputs =
            tensors(session.get(), ort.SessionGetOutputCount, ort.SessionGetOutputName, ort.SessionGetOutputTypeInfo);
    } catch (const std::runtime_error& error) {
        throw cannot_open(graph.path, library(), error.what(), package);
    }
    graph.check();
    check_graph(graph.path, spec, inputs, outputs);
    return std::make_shared<OnnxRuntimeEngine>(std::move(env), std::move(session), spec);
}

}  // namespace glesam::core
