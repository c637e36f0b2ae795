#include "bundle/shape_rules.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace glesam::core {

namespace {

constexpr std::int64_t most_parts = 1024;
constexpr std::int64_t to_the_end = std::int64_t{1} << 31U;  // the exporter writes 2^63 - 1
const Size one_element = {};

/// One node's inputs and attributes, as a rule sees them: all that is absent or unknown is Unclear.
class Operands {
   public:
    Operands(const onnx::Node& one, const Tensors& tensors) : node(one), tensors_(tensors) {}

    bool has(std::size_t index) const { return index < node.inputs.size() && !node.inputs[index].empty(); }

    const Shape& shape(std::size_t index = 0) const {
        require(has(index));
        const auto found = tensors_.shapes.find(node.inputs[index]);
        require(found != tensors_.shapes.end());
        return found->second;
    }

    /// The content of an input; nothing where it is not known.
    std::optional<Shape> known(std::size_t index) const {
        if (!has(index)) return std::nullopt;
        const auto found = tensors_.values.find(node.inputs[index]);
        if (found == tensors_.values.end()) return std::nullopt;
        return found->second;
    }

    Shape values(std::size_t index) const {
        const std::optional<Shape> known_values = known(index);
        require(known_values.has_value());
        return known_values.value_or(Shape{});
    }

    Numbers numbers(std::size_t index) const {
        Numbers numbers;
        for (const Size& value : values(index)) numbers.push_back(value.number());
        return numbers;
    }

    const std::vector<float>& scales(std::size_t index) const {
        require(has(index));
        const auto found = tensors_.scales.find(node.inputs[index]);
        require(found != tensors_.scales.end());
        return found->second;
    }

    std::int64_t integer(const char* name, std::int64_t otherwise) const {
        const onnx::Attribute* found = attribute(name);
        return found == nullptr ? otherwise : found->integers.front();
    }

    Numbers integers(const char* name, const Numbers& otherwise) const {
        const onnx::Attribute* found = attribute(name);
        return found == nullptr ? otherwise : found->integers;
    }

    bool has_attribute(const char* name) const { return attribute(name) != nullptr; }

    const onnx::Node& node;

   private:
    const onnx::Attribute* attribute(const char* name) const {
        const auto found = std::find_if(node.attributes.begin(), node.attributes.end(),
                                        [&](const onnx::Attribute& each) { return each.name == name; });
        return found == node.attributes.end() ? nullptr : &*found;
    }

    const Tensors& tensors_;
};

std::size_t axis_of(std::int64_t axis, std::size_t rank) {
    const auto axes = static_cast<std::int64_t>(rank);
    require(-axes <= axis && axis < axes);
    return static_cast<std::size_t>(axis < 0 ? axis + axes : axis);
}

std::set<std::size_t> axes_of(const Numbers& axes, std::size_t rank) {
    std::set<std::size_t> result;
    for (const std::int64_t axis : axes) result.insert(axis_of(axis, rank));
    return result;
}

Numbers zero_to(std::size_t count) {
    Numbers numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
}

Numbers numbers_of(const Shape& shape, std::size_t from) {
    Numbers numbers;
    for (std::size_t i = from; i < shape.size(); ++i) numbers.push_back(shape[i].number());
    return numbers;
}

/// The shape of what numpy would compute of both.
Shape broadcast(const Shape& one, const Shape& other) {
    const std::size_t rank = std::max(one.size(), other.size());
    Shape result(rank - one.size());
    result.insert(result.end(), one.begin(), one.end());
    for (std::size_t i = 0; i < other.size(); ++i) {
        Size& size = result[rank - other.size() + i];
        require(size == other[i] || size == one_element || other[i] == one_element);
        if (size == one_element) size = other[i];
    }
    return result;
}

/// Sums and products of known numbers.
std::optional<Shape> arithmetic(const Operands& operands) {
    const bool adds = operands.node.op_type == "Add";
    if ((!adds && operands.node.op_type != "Mul") || operands.node.inputs.size() != 2) return std::nullopt;
    const auto one = operands.known(0);
    const auto other = operands.known(1);
    if (!one || !other || (one->size() != other->size() && one->size() != 1 && other->size() != 1)) return std::nullopt;
    Shape result;
    for (std::size_t i = 0; i < std::max(one->size(), other->size()); ++i) {
        const Size& a = (*one)[i % one->size()];
        const Size& b = (*other)[i % other->size()];
        result.push_back(adds ? a + b : a * b);
    }
    return result;
}

Result same(const Operands& operands) { return {{operands.shape()}}; }

Result elementwise(const Operands& operands) {
    Shape shape = operands.shape();
    for (std::size_t i = 1; i < operands.node.inputs.size(); ++i) shape = broadcast(shape, operands.shape(i));
    return {{std::move(shape)}, 0, 0, arithmetic(operands)};
}

Result concat(const Operands& operands) {
    Shape shape = operands.shape();
    const std::size_t axis = axis_of(operands.integer("axis", static_cast<std::int64_t>(shape.size())), shape.size());
    std::optional<Shape> known = operands.known(0);
    for (std::size_t index = 1; index < operands.node.inputs.size(); ++index) {
        const Shape& other = operands.shape(index);
        require(other.size() == shape.size());
        for (std::size_t i = 0; i < shape.size(); ++i) require(i == axis || shape[i] == other[i]);
        shape[axis] = shape[axis] + other[axis];
        const auto values = operands.known(index);
        if (known && values) {
            known->insert(known->end(), values->begin(), values->end());
        } else {
            known.reset();
        }
        if (known && known->size() > most_values) known.reset();
    }
    return {{std::move(shape)}, 0, 0, std::move(known)};
}

Result matmul(const Operands& operands) {
    const Shape& one = operands.shape(0);
    const Shape& other = operands.shape(1);
    require(one.size() >= 2 && other.size() >= 2 && one.back() == other[other.size() - 2]);
    Shape shape = broadcast({one.begin(), one.end() - 2}, {other.begin(), other.end() - 2});
    shape.push_back(one[one.size() - 2]);
    shape.push_back(other.back());
    const std::int64_t multiply_adds = product({elements(shape), one.back().count()});
    return {{std::move(shape)}, multiply_adds};
}

Result gemm(const Operands& operands) {
    Shape one = operands.shape(0);
    Shape other = operands.shape(1);
    require(one.size() == 2 && other.size() == 2);
    if (operands.integer("transA", 0) != 0) std::swap(one[0], one[1]);
    if (operands.integer("transB", 0) != 0) std::swap(other[0], other[1]);
    require(one[1] == other[0]);
    const Shape shape = {one[0], other[1]};
    return {{shape}, product({elements(shape), one[1].count()})};
}

/// Kernels, strides and more of a convolution or a pooling, for each axis of the picture.
struct Window {
    Numbers kernel;
    Numbers strides;
    Numbers dilations;
    Numbers pads;

    std::size_t axes() const { return kernel.size(); }
    std::int64_t extent(std::size_t axis) const { return dilations[axis] * (kernel[axis] - 1) + 1; }
};

Window window_of(const Operands& operands, const Numbers& kernel) {
    const std::size_t rank = operands.shape().size();
    require(rank >= 3);
    const std::size_t axes = rank - 2;
    const Numbers ones(axes, 1);
    Window window = {kernel, operands.integers("strides", ones), operands.integers("dilations", ones),
                     operands.integers("pads", Numbers(2 * axes, 0))};
    require(kernel.size() == axes && window.strides.size() == axes && window.dilations.size() == axes);
    require(window.pads.size() == 2 * axes && operands.integers("kernel_shape", kernel) == kernel);
    for (const std::int64_t size : kernel) require(1 <= size && size <= 1 << 16);
    return window;
}

struct Slid {
    Numbers sides;
    std::int64_t padded;
};

/// The size of what a window slides over to, and the number of padded elements that it slides over.
Slid slid(const Operands& operands, const Window& window) {
    const Shape& shape = operands.shape();
    const Numbers inside = numbers_of(shape, 2);
    Slid result = {{}, 0};
    Numbers counts = {elements({shape[0], shape[1]})};
    for (std::size_t i = 0; i < window.axes(); ++i) {
        const std::int64_t padded = inside[i] + window.pads[i] + window.pads[i + window.axes()];
        require(window.extent(i) <= padded);
        result.sides.push_back((padded - window.extent(i)) / window.strides[i] + 1);
        counts.push_back(padded);
    }
    result.padded = product(counts);
    return result;
}

Shape picture(const Size& count, std::int64_t channels, const Numbers& sides) {
    Shape shape = {count, {channels, {}, {}}};
    for (const std::int64_t side : sides) shape.push_back({side, {}, {}});
    return shape;
}

/// `counts` and then those of each of `more`.
std::int64_t product_with(Numbers counts, const std::vector<Numbers>& more) {
    for (const Numbers& each : more) counts.insert(counts.end(), each.begin(), each.end());
    return product(counts);
}

Result conv(const Operands& operands) {
    const Shape& image = operands.shape(0);
    const Shape& weight = operands.shape(1);
    require(image.size() == weight.size() && image.size() >= 3);
    const std::int64_t channels = weight[0].number();
    const std::int64_t depth = weight[1].number();
    const Numbers kernel = numbers_of(weight, 2);
    const std::int64_t group = operands.integer("group", 1);
    require(image[1].number() == depth * group && channels % group == 0);
    const Slid over = slid(operands, window_of(operands, kernel));
    const Shape shape = picture(image[0], channels, over.sides);
    const std::int64_t columns = product_with({depth * group}, {kernel, over.sides});
    return {{shape}, product_with({elements(shape), depth}, {kernel}), std::max(columns, over.padded)};
}

Result conv_transpose(const Operands& operands) {
    const Shape& image = operands.shape(0);
    const Shape& weight = operands.shape(1);
    require(image.size() == weight.size() && image.size() >= 3 && image[1] == weight[0]);
    const std::int64_t depth = weight[1].number();
    const Numbers kernel = numbers_of(weight, 2);
    const std::int64_t group = operands.integer("group", 1);
    const Window window = window_of(operands, kernel);
    const Numbers extra = operands.integers("output_padding", Numbers(window.axes(), 0));
    require(extra.size() == window.axes());
    const Numbers inside = numbers_of(image, 2);
    Numbers sides;
    Numbers whole;
    for (std::size_t i = 0; i < window.axes(); ++i) {
        whole.push_back(window.strides[i] * (inside[i] - 1) + window.extent(i) + extra[i]);
        sides.push_back(whole[i] - window.pads[i] - window.pads[i + window.axes()]);
    }
    for (const std::int64_t side : sides) require(side >= 1);
    const std::int64_t columns = product_with({depth * group}, {kernel, inside});
    return {{picture(image[0], depth * group, sides)},
            product_with({elements(image), depth}, {kernel}),
            std::max(columns, product_with({depth * group}, {whole}))};
}

Result average_pool(const Operands& operands) {
    const Shape& image = operands.shape();
    const Numbers kernel = operands.integers("kernel_shape", {});
    require(image.size() >= 3 && operands.integer("ceil_mode", 0) == 0);
    const Slid over = slid(operands, window_of(operands, kernel));
    Shape shape = {image[0], image[1]};
    for (const std::int64_t side : over.sides) shape.push_back({side, {}, {}});
    return {{shape}, product_with({elements(shape)}, {kernel}), over.padded};
}

Result depth_to_space(const Operands& operands) {
    const Shape& shape = operands.shape();
    const Size block = {operands.integer("blocksize", 1), {}, {}};
    require(shape.size() == 4);
    return {{{shape[0], shape[1] / (block * block), shape[2] * block, shape[3] * block}}};
}

Result expand(const Operands& operands) { return {{broadcast(operands.shape(), operands.values(1))}}; }

Result gather(const Operands& operands) {
    Shape shape = operands.shape(0);
    const Shape& indices = operands.shape(1);
    const auto axis = shape.begin() + static_cast<std::ptrdiff_t>(axis_of(operands.integer("axis", 0), shape.size()));
    shape.insert(shape.erase(axis), indices.begin(), indices.end());
    return {{std::move(shape)}};
}

Result pad(const Operands& operands) {
    Shape shape = operands.shape();
    const Numbers pads = operands.numbers(1);
    const Numbers axes = operands.has(3) ? operands.numbers(3) : zero_to(shape.size());
    require(pads.size() == 2 * axes.size());
    for (const std::int64_t each : pads) require(each >= 0);
    for (std::size_t i = 0; i < axes.size(); ++i) {
        Size& size = shape[axis_of(axes[i], shape.size())];
        size = size + Size{pads[i], {}, {}} + Size{pads[i + axes.size()], {}, {}};
    }
    return {{std::move(shape)}};
}

Result reduce(const Operands& operands) {
    const Shape& shape = operands.shape();
    const Numbers axes = operands.has(1) ? operands.numbers(1) : Numbers();
    if (axes.empty() && operands.integer("noop_with_empty_axes", 0) != 0) return {{shape}};
    const auto gone = axes_of(axes.empty() ? zero_to(shape.size()) : axes, shape.size());
    const bool keeps = operands.integer("keepdims", 1) != 0;
    Shape kept;
    for (std::size_t i = 0; i < shape.size(); ++i) {
        const bool is_gone = gone.count(i) != 0;
        if (!is_gone || keeps) kept.push_back(is_gone ? one_element : shape[i]);
    }
    return {{std::move(kept)}};
}

Result reshape(const Operands& operands) {
    const Shape& shape = operands.shape();
    Shape sizes = operands.values(1);
    const Size open = {-1, {}, {}};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        if (sizes[i].factor != 0 || operands.integer("allowzero", 0) != 0) continue;
        require(i < shape.size());
        sizes[i] = shape[i];
    }
    const auto open_axis = std::find(sizes.begin(), sizes.end(), open);
    require(std::count(sizes.begin(), sizes.end(), open) <= 1);
    if (open_axis != sizes.end()) {
        *open_axis = one_element;
        *open_axis = product_of(shape) / product_of(sizes);
    }
    for (const Size& size : sizes) require(size.factor >= 1);
    require(elements(shape) == elements(sizes));
    return {{std::move(sizes)}, 0, 0, operands.known(0)};
}

Size scaled(const Size& size, float scale) {
    require(scale > 0.0F && scale <= 65'536.0F);  // not for NaN
    if (scale == 1.0F) return size;
    return {
        static_cast<std::int64_t>(std::floor(static_cast<double>(size.number()) * static_cast<double>(scale))), {}, {}};
}

Result resize(const Operands& operands) {
    const Shape& shape = operands.shape();
    require(!operands.has(1) && !operands.has_attribute("axes"));
    Shape sizes;
    if (operands.has(3)) {
        require(!operands.has(2));
        sizes = operands.values(3);
    } else {
        const std::vector<float>& scales = operands.scales(2);
        require(scales.size() == shape.size());
        for (std::size_t i = 0; i < shape.size(); ++i) sizes.push_back(scaled(shape[i], scales[i]));
    }
    require(sizes.size() == shape.size());
    const std::int64_t multiply_adds = product({16, elements(shape)}) + product({16, elements(sizes)});  // cubic: 4 x 4
    return {{std::move(sizes)}, multiply_adds};
}

Result shape_itself(const Operands& operands) {
    const Shape& shape = operands.shape();
    const auto rank = static_cast<std::int64_t>(shape.size());
    const auto clamped = [&](std::int64_t x) { return std::clamp<std::int64_t>(x < 0 ? x + rank : x, 0, rank); };
    const std::int64_t start = clamped(operands.integer("start", 0));
    const std::int64_t end = std::max(start, clamped(operands.integer("end", rank)));
    Shape values(shape.begin() + start, shape.begin() + end);
    return {{{{end - start, {}, {}}}}, 0, 0, std::move(values)};
}

Size sliced(const Size& size, std::int64_t start, std::int64_t end, std::int64_t step) {
    require(1 <= step && step < to_the_end);
    if (!size.is_number()) {
        require(0 <= start && start < to_the_end && to_the_end <= end && step == 1);
        return size + Size{-start, {}, {}};
    }
    const std::int64_t most = size.factor;
    const auto clamped = [&](std::int64_t x) { return std::clamp<std::int64_t>(x < 0 ? x + most : x, 0, most); };
    require(clamped(start) < clamped(end));
    return {(clamped(end) - clamped(start) - 1) / step + 1, {}, {}};
}

Result slice(const Operands& operands) {
    Shape shape = operands.shape();
    const Numbers starts = operands.numbers(1);
    const Numbers ends = operands.numbers(2);
    const Numbers axes = operands.has(3) ? operands.numbers(3) : zero_to(starts.size());
    const Numbers steps = operands.has(4) ? operands.numbers(4) : Numbers(starts.size(), 1);
    require(starts.size() == ends.size() && ends.size() == axes.size() && axes.size() == steps.size());
    for (std::size_t i = 0; i < axes.size(); ++i) {
        Size& size = shape[axis_of(axes[i], shape.size())];
        size = sliced(size, starts[i], ends[i], steps[i]);
    }
    return {{std::move(shape)}};
}

Result split(const Operands& operands) {
    const Shape& shape = operands.shape();
    const auto count = static_cast<std::int64_t>(operands.node.outputs.size());
    require(1 <= count && count <= most_parts);
    const std::size_t axis = axis_of(operands.integer("axis", 0), shape.size());
    Shape sizes;
    if (operands.has(1)) {
        sizes = operands.values(1);
    } else {
        require(operands.integer("num_outputs", count) == count);
        const std::int64_t whole = shape[axis].number();
        const std::int64_t most = (whole - 1) / count + 1;
        sizes.assign(static_cast<std::size_t>(count - 1), {most, {}, {}});
        sizes.push_back({whole - most * (count - 1), {}, {}});
    }
    Size total = {0, {}, {}};
    for (const Size& size : sizes) total = total + size;
    require(static_cast<std::int64_t>(sizes.size()) == count && total == shape[axis]);
    Result result;
    for (const Size& size : sizes) {
        result.shapes.push_back(shape);
        result.shapes.back()[axis] = size;
    }
    return result;
}

Result squeeze(const Operands& operands) {
    const Shape& shape = operands.shape();
    std::set<std::size_t> gone;
    if (operands.has(1)) {
        gone = axes_of(operands.numbers(1), shape.size());
    } else {
        for (std::size_t i = 0; i < shape.size(); ++i) {
            if (shape[i] == one_element) gone.insert(i);
        }
    }
    Shape kept;
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (gone.count(i) == 0) {
            kept.push_back(shape[i]);
        } else {
            require(shape[i] == one_element);
        }
    }
    return {{std::move(kept)}, 0, 0, operands.known(0)};
}

Result unsqueeze(const Operands& operands) {
    const Shape& shape = operands.shape();
    const Numbers axes = operands.numbers(1);
    const std::size_t rank = shape.size() + axes.size();
    const auto added = axes_of(axes, rank);
    require(added.size() == axes.size());
    Shape result;
    auto rest = shape.begin();
    for (std::size_t i = 0; i < rank; ++i) result.push_back(added.count(i) != 0 ? one_element : *rest++);
    return {{std::move(result)}, 0, 0, operands.known(0)};
}

Result transpose(const Operands& operands) {
    const Shape& shape = operands.shape();
    Numbers reversed = zero_to(shape.size());
    std::reverse(reversed.begin(), reversed.end());
    const Numbers perm = operands.integers("perm", reversed);
    require(perm.size() == shape.size() && axes_of(perm, shape.size()).size() == shape.size());
    Shape result;
    for (const std::int64_t axis : perm) result.push_back(shape[static_cast<std::size_t>(axis)]);
    return {{std::move(result)}};
}

using Rule = Result (*)(const Operands&);
const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> table = {
        {"Add", elementwise},
        {"AveragePool", average_pool},
        {"Cast", same},
        {"Clip", same},
        {"Concat", concat},
        {"Conv", conv},
        {"ConvTranspose", conv_transpose},
        {"Cos", same},
        {"DepthToSpace", depth_to_space},
        {"DequantizeLinear", same},
        {"Div", elementwise},
        {"Equal", elementwise},
        {"Erf", same},
        {"Exp", same},
        {"Expand", expand},
        {"Gather", gather},
        {"Gemm", gemm},
        {"InstanceNormalization", same},
        {"LayerNormalization", same},
        {"Log", same},
        {"MatMul", matmul},
        {"Max", elementwise},
        {"Min", elementwise},
        {"Mul", elementwise},
        {"Neg", same},
        {"Pad", pad},
        {"QuantizeLinear", same},
        {"ReduceMax", reduce},
        {"ReduceMean", reduce},
        {"ReduceSum", reduce},
        {"Relu", same},
        {"Reshape", reshape},
        {"Resize", resize},
        {"Shape", shape_itself},
        {"Sigmoid", same},
        {"Sin", same},
        {"Slice", slice},
        {"Softmax", same},
        {"Split", split},
        {"Sqrt", same},
        {"Squeeze", squeeze},
        {"Sub", elementwise},
        {"Transpose", transpose},
        {"Unsqueeze", unsqueeze},
        {"Where", elementwise},
    };
    return table;
}

}  // namespace

Result result_of(const onnx::Node& node, const Tensors& tensors) {
    require(node.outputs.size() == 1 || node.op_type == "Split");
    return rules().at(node.op_type)(Operands(node, tensors));
}

}  // namespace glesam::core
