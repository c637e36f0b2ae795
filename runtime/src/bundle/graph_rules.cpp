#include "bundle/graph_rules.hpp"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <vector>

#include "bundle/graph_cost.hpp"
#include "bundle/onnx_messages.hpp"
#include "bundle/protobuf.hpp"
#include "bundle/sizes.hpp"
#include "common/text.hpp"

namespace glesam::core {

namespace {

using onnx::Attribute;
using onnx::Constant;
using onnx::Model;
using onnx::Node;
using onnx::Value;

/// Least and largest value.
struct Limits {
    std::int64_t least;
    std::int64_t most;

    bool hold(std::int64_t value) const { return least <= value && value <= most; }
    std::string text() const { return std::to_string(least) + " to " + std::to_string(most); }
};

constexpr Limits opsets = {18, 20};
constexpr Limits ir_versions = {8, 10};
constexpr std::size_t most_nodes = 8'192;
constexpr std::int64_t most_elements = std::int64_t{1} << 31U;

const std::set<std::string>& operators() {
    static const std::set<std::string> table = {"Add",
                                                "AveragePool",
                                                "Cast",
                                                "Clip",
                                                "Concat",
                                                "Conv",
                                                "ConvTranspose",
                                                "Cos",
                                                "DepthToSpace",
                                                "Div",
                                                "Equal",
                                                "Erf",
                                                "Exp",
                                                "Expand",
                                                "Gather",
                                                "Gemm",
                                                "InstanceNormalization",
                                                "LayerNormalization",
                                                "Log",
                                                "MatMul",
                                                "Max",
                                                "Min",
                                                "Mul",
                                                "Neg",
                                                "Pad",
                                                "ReduceMax",
                                                "ReduceMean",
                                                "ReduceSum",
                                                "Relu",
                                                "Reshape",
                                                "Resize",
                                                "Shape",
                                                "Sigmoid",
                                                "Sin",
                                                "Slice",
                                                "Softmax",
                                                "Split",
                                                "Sqrt",
                                                "Squeeze",
                                                "Sub",
                                                "Transpose",
                                                "Unsqueeze",
                                                "Where",
                                                "QuantizeLinear",
                                                "DequantizeLinear"};
    return table;
}

struct ElementType {
    std::string name;
    std::int64_t size;
};
const std::map<std::int64_t, ElementType>& element_types() {
    static const std::map<std::int64_t, ElementType> table = {
        {1, {"float32", 4}}, {2, {"uint8", 1}}, {3, {"int8", 1}},     {6, {"int32", 4}},
        {7, {"int64", 8}},   {9, {"bool", 1}},  {10, {"float16", 2}}, {16, {"bfloat16", 2}},
    };
    return table;
}

constexpr std::int64_t float_type = 1;
constexpr std::int64_t integer_type = 2;
constexpr std::int64_t text_type = 3;
constexpr std::int64_t integers_type = 7;

struct IntegerRule {
    std::int64_t type;
    Limits limits;
};
constexpr Limits flag = {0, 1};
constexpr Limits axis = {-8, 7};
constexpr Limits size = {1, 65'536};
constexpr Limits pad = {0, 65'536};
const std::map<std::string, IntegerRule>& integer_attributes() {
    static const std::map<std::string, IntegerRule> table = {
        {"allowzero", {integer_type, flag}},
        {"antialias", {integer_type, flag}},
        {"axes", {integers_type, axis}},
        {"axis", {integer_type, axis}},
        {"blocksize", {integer_type, {1, 64}}},
        {"ceil_mode", {integer_type, flag}},
        {"count_include_pad", {integer_type, flag}},
        {"dilations", {integers_type, size}},
        {"end", {integer_type, axis}},
        {"exclude_outside", {integer_type, flag}},
        {"group", {integer_type, size}},
        {"keepdims", {integer_type, flag}},
        {"kernel_shape", {integers_type, size}},
        {"noop_with_empty_axes", {integer_type, flag}},
        {"num_outputs", {integer_type, {1, 1024}}},
        {"output_padding", {integers_type, pad}},
        {"pads", {integers_type, pad}},
        {"perm", {integers_type, {0, 7}}},
        {"saturate", {integer_type, flag}},
        {"start", {integer_type, axis}},
        {"stash_type", {integer_type, {1, 1}}},
        {"strides", {integers_type, size}},
        {"to", {integer_type, {1, 16}}},  // and among the element types
        {"transA", {integer_type, flag}},
        {"transB", {integer_type, flag}},
    };
    return table;
}

const std::set<std::string>& float_attributes() {
    static const std::set<std::string> table = {"alpha", "beta", "cubic_coeff_a", "epsilon", "extrapolation_value"};
    return table;
}

const std::map<std::string, std::set<std::string>>& text_attributes() {
    static const std::map<std::string, std::set<std::string>> table = {
        {"auto_pad", {"NOTSET"}},
        {"coordinate_transformation_mode", {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"}},
        {"keep_aspect_ratio_policy", {"stretch"}},
        {"mode", {"constant", "edge", "reflect", "nearest", "linear", "cubic", "CRD", "DCR"}},
        {"nearest_mode", {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}},
    };
    return table;
}

void check_domain(const std::string& domain) {
    if (!domain.empty() && domain != "ai.onnx") {
        throw Damaged("operators of ONNX's own domain", "domain " + quoted(domain));
    }
}

void check_versions(const Model& model) {
    if (!ir_versions.hold(model.ir_version)) {
        throw Damaged("an IR version of " + ir_versions.text(), std::to_string(model.ir_version));
    }
    for (const auto& [domain, version] : model.opsets) {
        check_domain(domain);
        if (!opsets.hold(version)) throw Damaged("an opset of " + opsets.text(), std::to_string(version));
    }
    if (model.opsets.size() != 1) throw Damaged("one opset", std::to_string(model.opsets.size()));
}

/// The product of sizes that are not negative; nothing where it is above the limit.
std::optional<std::int64_t> product(const onnx::Sizes& shape) {
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
    std::int64_t elements = 1;
    for (const std::int64_t each : shape) {
        if (each > most_elements / elements) return std::nullopt;
        elements *= each;
    }
    return elements;
}

/// The number of elements. Throws Damaged where no bundle has this type or shape.
std::int64_t elements_of(const std::string& name, std::int64_t type, const onnx::Sizes& shape) {
    if (element_types().count(type) == 0) {
        throw Damaged("types of elements that bundles use", "type " + std::to_string(type) + " of " + quoted(name));
    }
    if (shape.size() > most_axes) {
        throw Damaged("at most " + std::to_string(most_axes) + " axes",
                      std::to_string(shape.size()) + " of " + quoted(name));
    }
    const bool fit = std::all_of(shape.begin(), shape.end(), [](auto x) { return 0 <= x && x <= most_elements; });
    const auto elements = fit ? product(shape) : std::nullopt;
    if (elements) return *elements;
    throw Damaged("at most " + std::to_string(most_elements) + " elements", "a larger shape of " + quoted(name));
}

std::int64_t decimal(const std::string& text) {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || text.size() > 15) {
        throw Damaged("external data with a decimal offset and length", quoted(text));
    }
    return std::stoll(text);
}

void check_size(const Constant& constant, std::int64_t expected, std::int64_t actual) {
    if (actual == expected) return;
    throw Damaged("constant " + quoted(constant.name) + " of " + std::to_string(expected) + " bytes",
                  std::to_string(actual) + " bytes");
}

void check_external(const Constant& constant, std::int64_t bytes, const std::string& data_file,
                    const FileSizes& sizes) {
    std::map<std::string, std::string> entries;
    for (const auto& [key, value] : constant.external) entries[key] = value;
    const auto entry = [&](const char* key, const std::string& fallback) {
        return entries.count(key) == 0 ? fallback : entries.at(key);
    };
    const std::string location = entry("location", "");
    const auto listed = sizes.find(data_file);
    if (location != data_file.substr(data_file.rfind('/') + 1) || listed == sizes.end()) {
        throw Damaged("external data in " + quoted(data_file) + ", listed in bundle.json", quoted(location));
    }
    const bool known = std::all_of(entries.begin(), entries.end(), [](const auto& each) {
        return each.first == "location" || each.first == "offset" || each.first == "length";
    });
    if (!known || entries.size() != constant.external.size()) {
        throw Damaged("external data with location, offset and length", "other entries");
    }
    const std::int64_t offset = decimal(entry("offset", "0"));
    check_size(constant, bytes, decimal(entry("length", std::to_string(bytes))));
    if (offset + bytes > listed->second) {
        throw Damaged("external data inside " + quoted(data_file), "offset " + std::to_string(offset));
    }
}

void check_constants(const std::vector<Constant>& constants, const std::string& data_file, const FileSizes& sizes) {
    std::int64_t external_bytes = 0;  // at most 300,000 fields of 2^34 bytes: no overflow
    for (const Constant& constant : constants) {
        const std::int64_t elements = elements_of(constant.name, constant.data_type, constant.shape);
        const std::int64_t bytes = elements * element_types().at(constant.data_type).size;
        if (constant.is_external) {
            check_external(constant, bytes, data_file, sizes);
            external_bytes += bytes;
        } else {
            check_size(constant, bytes, static_cast<std::int64_t>(constant.raw_data.size()));
        }
    }
    // Without this, many constants may be the same bytes: a small file would fill the memory.
    const auto listed = sizes.find(data_file);
    if (external_bytes > (listed == sizes.end() ? 0 : listed->second)) {
        throw Damaged("constants in bytes of their own",
                      std::to_string(external_bytes) + " bytes in " + quoted(data_file));
    }
}

bool is_allowed(const Attribute& attribute) {
    const auto& numbers = attribute.integers;
    const auto integers = integer_attributes().find(attribute.name);
    if (integers != integer_attributes().end()) {
        const auto& [type, limits] = integers->second;
        const bool is_one = type == integer_type;
        if (attribute.type != type || (is_one ? numbers.size() != 1 : numbers.size() > 2 * most_axes)) return false;
        if (attribute.name == "to") return element_types().count(numbers.front()) != 0;
        return std::all_of(numbers.begin(), numbers.end(), [&, limits = limits](auto x) { return limits.hold(x); });
    }
    const auto texts = text_attributes().find(attribute.name);
    if (texts != text_attributes().end()) {
        return attribute.type == text_type && numbers.empty() && texts->second.count(attribute.text) != 0;
    }
    return float_attributes().count(attribute.name) != 0 && attribute.type == float_type && numbers.empty() &&
           attribute.text.empty();
}

void check_node(const Node& node) {
    check_domain(node.domain);
    if (operators().count(node.op_type) == 0) throw Damaged("the operators of docs/bundle.md", quoted(node.op_type));
    std::set<std::string> names;
    for (const Attribute& attribute : node.attributes) names.insert(attribute.name);
    if (names.size() != node.attributes.size()) throw Damaged("attributes of " + node.op_type + " once", "one twice");
    for (const Attribute& attribute : node.attributes) {
        if (is_allowed(attribute)) continue;
        throw Damaged("attributes of " + node.op_type + " as bundles use them", quoted(attribute.name));
    }
}

/// The names of the tensors that are known so far.
class Known {
   public:
    void define(const std::string& name) {
        if (!names_.insert(name).second) throw Damaged("one tensor of each name", quoted(name) + " twice");
    }
    bool has(const std::string& name) const { return names_.count(name) != 0; }

   private:
    std::unordered_set<std::string> names_ = {""};  // an input that is left out
};

void check_nodes(const Model& model) {
    if (model.nodes.size() > most_nodes) {
        throw Damaged("at most " + std::to_string(most_nodes) + " nodes", std::to_string(model.nodes.size()));
    }
    Known known;
    for (const Value& value : model.inputs) known.define(value.name);
    for (const Constant& constant : model.constants) known.define(constant.name);
    for (const Node& node : model.nodes) {
        check_node(node);
        for (const std::string& name : node.inputs) {
            if (!known.has(name)) throw Damaged("nodes in order", quoted(name) + " used before it is computed");
        }
        for (const std::string& name : node.outputs) {
            if (!name.empty()) known.define(name);
        }
    }
    for (const Value& value : model.outputs) {
        if (!known.has(value.name)) throw Damaged("a node that computes output " + quoted(value.name), "none");
    }
}

void check_declared(const Value& value) {
    if (!value.shape) throw Damaged("a shape of " + quoted(value.name), "none");
    onnx::Sizes least = *value.shape;
    for (std::int64_t& each : least) each = std::max<std::int64_t>(each, 1);
    elements_of(value.name, value.data_type, least);
}

bool fits(const TensorSpec& expected, const Value& actual) {
    const onnx::Sizes shape = actual.shape.value_or(onnx::Sizes{});
    if (shape.size() != expected.shape.size()) return false;
    if (element_types().at(actual.data_type).name != expected.dtype) return false;
    for (std::size_t i = 0; i < shape.size(); ++i) {
        const auto* required = std::get_if<std::int64_t>(&expected.shape[i]);
        if (shape[i] != -1 && (required == nullptr || shape[i] != *required)) return false;
    }
    return true;
}

std::string text_of(const Value& value) {
    std::vector<std::string> sizes;
    for (const std::int64_t each : value.shape.value_or(onnx::Sizes{}))
        sizes.push_back(each < 0 ? "?" : std::to_string(each));
    return value.name + " " + element_types().at(value.data_type).name + " [" + joined(sizes, ",") + "]";
}

/// Checks a graph's own inputs or outputs; sizes that either leaves open fit any.
void check_tensors(const char* side, const std::vector<TensorSpec>& expected, const std::vector<Value>& actual) {
    std::vector<std::string> names;  // in the file's order, each once
    std::unordered_set<std::string> known;
    for (const Value& value : actual) {
        if (known.insert(value.name).second) names.push_back(value.name);
    }
    std::vector<std::string> required;
    for (const TensorSpec& tensor : expected) required.push_back(tensor.name);
    if (names.size() != actual.size() ||
        !std::is_permutation(names.begin(), names.end(), required.begin(), required.end())) {
        const std::string found = joined(names, ", ").substr(0, 80);
        throw Damaged(joined(required, ", "), found.empty() ? "none" : found, std::string(side) + " must be");
    }
    for (const TensorSpec& tensor : expected) {
        const auto value =
            std::find_if(actual.begin(), actual.end(), [&](const Value& each) { return each.name == tensor.name; });
        if (!fits(tensor, *value)) throw Damaged(tensor.text(), text_of(*value));
    }
}

}  // namespace

void check_graph_file(std::string_view content, const GraphSpec& spec, const std::string& file,
                      const FileSizes& sizes) {
    const Model model = onnx::read_model(content);
    check_versions(model);
    check_constants(model.constants, file + ".data", sizes);
    check_nodes(model);
    for (const auto* values : {&model.inputs, &model.outputs, &model.values}) {
        for (const Value& value : *values) check_declared(value);
    }
    check_tensors("inputs", spec.inputs, model.inputs);
    check_tensors("outputs", spec.outputs, model.outputs);
    check_cost(model, spec);
}

}  // namespace glesam::core
