// The only file that includes OpenVINO's headers. Its options are those of engines/openvino.py.
#include "engines/open.hpp"

#include <algorithm>
#include <cmath>
#include <openvino/frontend/manager.hpp>
#include <openvino/op/clamp.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/divide.hpp>
#include <openvino/op/round.hpp>
#include <openvino/openvino.hpp>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "common/text.hpp"
#include "engines/cpus.hpp"
#include "engines/processor.hpp"

namespace glesam::core {

namespace {

constexpr const char* device = "CPU";
#if defined(__aarch64__) || defined(_M_ARM64)
constexpr bool on_arm = true;
#else
constexpr bool on_arm = false;
#endif

std::string library() {
    const std::string build = ov::get_openvino_version().buildNumber;
    return "OpenVINO " + build.substr(0, build.find('-'));
}

/// The line of OpenVINO's message that says what is wrong; those before it name its source files.
std::string reason(const std::exception& error) {
    std::istringstream lines(error.what());
    std::string first;
    for (std::string line; std::getline(lines, line);) {
        line.erase(0, line.find_first_not_of(" \t\r"));
        line.erase(line.find_last_not_of(" \t\r") + 1);
        if (line.empty()) continue;
        if (first.empty()) first = line;
        const bool is_source = line.rfind("Exception from", 0) == 0 || line.rfind("Check '", 0) == 0;
        if (!is_source && line.back() != ':') return line;
    }
    return first.empty() ? "no reason given" : first;
}

/// The inference precision for a graph of `precision`: its own where the CPU has it, else f32.
///
/// Always stated: by default OpenVINO computes an fp32 graph in bf16 on a CPU that can. Never f16 beside int8 layers:
/// OpenVINO 2026.4 then uses its reference kernel for an int8 MatMul, 7,000 times slower. Never f16 on Arm, where a
/// SAM encoder answers the same for every image; engines/openvino.py has the source.
ov::element::Type arithmetic(const std::string& precision, const std::vector<std::string>& capabilities) {
    const auto has = [&](const char* name) {
        return std::find(capabilities.begin(), capabilities.end(), name) != capabilities.end();
    };
    if ((precision == "bf16" || precision == "int8+bf16") && has("BF16")) return ov::element::bf16;
    if (precision == "fp16" && has("FP16") && !on_arm) return ov::element::f16;
    return ov::element::f32;
}

std::string dtype_name(const ov::element::Type& type) {
    if (type == ov::element::f32) return "float32";
    if (type == ov::element::i32) return "int32";
    return type.to_string();
}

/// The specs of a graph's tensors; a size that the graph leaves open is "?".
template <typename Ports>
std::vector<TensorSpec> tensors(const Ports& ports) {
    std::vector<TensorSpec> specs;
    for (const auto& port : ports) {
        std::vector<Dimension> shape;
        for (const ov::Dimension& size : port.get_partial_shape()) {
            shape.push_back(size.is_static() ? Dimension(size.get_length()) : Dimension("?"));
        }
        specs.push_back({port.get_any_name(), dtype_name(port.get_element_type()), std::move(shape)});
    }
    return specs;
}

/// Reads the bytes, or the path where weights lie beside the graph, which OpenVINO must find: the caller checks
/// afterwards that they are those that were hashed.
std::shared_ptr<ov::Model> read(const GraphContent& graph) {
    try {
        // Not Core::read_model: with a file that is not ONNX it tries, and prints, every other format.
        ov::frontend::FrontEndManager manager;
        const auto frontend = manager.load_by_framework("onnx");
        if (graph.weights) return frontend->convert(frontend->load(graph.path.string()));
        std::istringstream stream(graph.model);
        return frontend->convert(frontend->load(static_cast<std::istream*>(&stream)));
    } catch (const std::exception& error) {
        throw cannot_open(graph.path, library(), reason(error), "openvino");
    }
}

/// Whether the node's operation has this name, in any version.
bool is(const char* type, const ov::Node& node) { return std::string(node.get_type_name()) == type; }

/// Removes the casts to fp32 and back around every Softmax of a bf16 graph.
///
/// In bf16, OpenVINO computes a Softmax with and without them to the same bits; but only without them does it
/// recognize an attention and run it as one kernel (measurements/README.md).
void bypass_softmax_casts(const ov::Model& model) {
    for (const auto& node : model.get_ops()) {
        if (!is("Softmax", *node)) continue;
        const auto before = node->get_input_node_shared_ptr(0);
        if (is("Convert", *before)) node->input(0).replace_source_output(before->input_value(0));
        for (const auto& after : node->output(0).get_target_inputs()) {
            if (!is("Convert", *after.get_node())) continue;
            for (auto use : after.get_node()->output(0).get_target_inputs()) use.replace_source_output(node->output(0));
        }
    }
    model.validate_nodes_and_infer_types();
}

/// The value of input `i` of a FakeQuantize; NaN where there are several.
float number(const ov::Node& node, std::size_t i) {
    const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node.get_input_node_shared_ptr(i));
    const bool is_one = constant && ov::shape_size(constant->get_shape()) == 1;
    return is_one ? constant->cast_vector<float>().front() : std::nanf("");
}

/// Replaces each FakeQuantize, which came from a QuantizeLinear, by what it computes: divide, round, clamp.
///
/// Beside a FakeQuantize OpenVINO computes layers in int8. Without it they stay float, on the same quantized values.
/// Throws where a tensor has a zero point or several scales, which no bundle has.
void quantize_by_rounding(const ov::Model& model) {
    for (const auto& node : model.get_ops()) {
        if (!is("FakeQuantize", *node)) continue;
        const float low = number(*node, 1);
        const float least = number(*node, 3);
        const float most = number(*node, 4);
        const float scale = (number(*node, 2) - low) / (most - least);
        if (!(std::abs(low - scale * least) <= 1e-3F * std::abs(low))) {
            throw std::runtime_error("expected Q/DQ of one scale and zero point 0");
        }
        const auto divisor = ov::op::v0::Constant::create(ov::element::f32, ov::Shape{}, {scale});
        const auto divided = std::make_shared<ov::op::v1::Divide>(node->input_value(0), divisor);
        const auto rounded = std::make_shared<ov::op::v5::Round>(divided, ov::op::v5::Round::RoundMode::HALF_TO_EVEN);
        ov::replace_node(node, std::make_shared<ov::op::v0::Clamp>(rounded, least, most));
    }
    model.validate_nodes_and_infer_types();
}

/// The option that keeps activations in float beside int8 weights; empty where this OpenVINO knows none.
///
/// By default a CPU with VNNI quantizes them in groups of 32 before such a product: an attention is then off by 0.8 %
/// of its largest value instead of 0.0001 % (OpenVINO 2026.4, Zen 4). Q/DQ alone says what is int8. The other lossy
/// default, a KV cache of u8, is for graphs with a state: ours have none.
ov::AnyMap dynamic_quantization_off(const ov::Core& core) {
    const auto group_size = ov::hint::dynamic_quantization_group_size(0);
    const auto supported = core.get_property(device, ov::supported_properties);
    const bool is_known = std::find(supported.begin(), supported.end(), group_size.first) != supported.end();
    return is_known ? ov::AnyMap{group_size} : ov::AnyMap{};
}

ov::CompiledModel compile(const std::filesystem::path& path, const std::shared_ptr<ov::Model>& model,
                          const std::string& precision, int threads) {
    try {
        ov::Core core;
        const auto type = arithmetic(precision, core.get_property(device, ov::device::capabilities));
        if (type == ov::element::bf16) bypass_softmax_casts(*model);
        if (!sums_int8_exactly()) quantize_by_rounding(*model);
        ov::AnyMap options = dynamic_quantization_off(core);
        options.insert(ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
        options.insert(ov::hint::inference_precision(type));
        // OpenVINO keeps to the process's affinity by itself, but knows nothing of a cgroup's quota.
        if (threads == 0 && is_limited()) threads = usable_cores();
        if (threads != 0) options.insert(ov::inference_num_threads(threads));
        return core.compile_model(model, device, options);
    } catch (const std::exception& error) {
        throw cannot_open(path, library(), reason(error), "openvino");
    }
}

ov::element::Type type_of(const TensorSpec& spec) {
    return spec.dtype == "int32" ? ov::element::i32 : ov::element::f32;
}

class OpenVinoRequest : public Request {
   public:
    OpenVinoRequest(ov::InferRequest request, const GraphSpec& spec) : request_(std::move(request)), spec_(spec) {}

    void run(const Tensor* inputs, Tensor* outputs) override {
        try {
            for (std::size_t i = 0; i < spec_.inputs.size(); ++i) set_input(spec_.inputs[i], inputs[i]);
            request_.infer();
            for (std::size_t i = 0; i < spec_.outputs.size(); ++i) outputs[i] = output(spec_.outputs[i]);
        } catch (const std::exception& error) {
            throw cannot_run(spec_, library(), reason(error));
        }
    }

   private:
    void set_input(const TensorSpec& spec, const Tensor& tensor) {
        const auto* sizes = tensor.shape.sizes.data();
        const auto* end = sizes + static_cast<std::ptrdiff_t>(tensor.shape.rank);
        // OpenVINO only reads inputs, though its API takes them without const.
        request_.set_tensor(spec.name,
                            ov::Tensor(type_of(spec), ov::Shape(sizes, end), const_cast<void*>(tensor.data)));
    }

    Tensor output(const TensorSpec& spec) {
        const ov::Tensor tensor = request_.get_tensor(spec.name);
        Tensor result;
        result.data = tensor.data();
        for (const std::size_t size : tensor.get_shape()) {
            // A rank above four is only counted: the check of the outputs refuses it.
            if (result.shape.rank < 4) result.shape.sizes[result.shape.rank] = static_cast<std::int64_t>(size);
            ++result.shape.rank;
        }
        return result;
    }

    ov::InferRequest request_;
    const GraphSpec& spec_;
};

class OpenVinoEngine : public Engine {
   public:
    OpenVinoEngine(ov::CompiledModel compiled, GraphSpec spec)
        : compiled_(std::move(compiled)), spec_(std::move(spec)) {}

    const GraphSpec& spec() const override { return spec_; }

    std::unique_ptr<Request> new_request() const override {
        try {
            // create_infer_request() is not const, and safe to call from many threads.
            auto compiled = compiled_;
            return std::make_unique<OpenVinoRequest>(compiled.create_infer_request(), spec_);
        } catch (const std::exception& error) {
            throw cannot_run(spec_, library(), reason(error));
        }
    }

   private:
    ov::CompiledModel compiled_;
    GraphSpec spec_;
};

}  // namespace

std::shared_ptr<const Engine> open_openvino(const GraphContent& graph, const GraphSpec& spec,
                                            const std::string& precision, int threads) {
    const std::shared_ptr<ov::Model> model = read(graph);
    check_graph(graph.path, spec, tensors(model->inputs()), tensors(model->outputs()));
    auto compiled = compile(graph.path, model, precision, threads);
    graph.check();
    return std::make_shared<OpenVinoEngine>(std::move(compiled), spec);
}

}  // namespace glesam::core
