#include "bundle/graph_cost.hpp"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "bundle/protobuf.hpp"
#include "bundle/shape_rules.hpp"
#include "bundle/sizes.hpp"

namespace glesam::core {

namespace {

/// Most elements of a computed tensor.
constexpr std::int64_t most_computed = std::int64_t{1} << 29U;
/// Most elements of all tensors that later nodes take, at any node.
constexpr std::int64_t most_live = std::int64_t{1} << 31U;
/// Most elements that all nodes together read and write.
constexpr std::int64_t most_moved = std::int64_t{1} << 37U;
/// Most multiplications of all nodes together.
constexpr std::int64_t most_multiply_adds = std::int64_t{1} << 43U;
/// Most elements and multiplications of nodes that take constants alone, beyond folded_per_element.
constexpr std::int64_t most_folded = std::int64_t{1} << 27U;
/// The same for each element of all constants, which a few steps may turn into other types and orders.
constexpr std::int64_t folded_per_element = 16;

Shape shape_of(const TensorSpec& tensor) {
    Shape shape;
    for (const Dimension& each : tensor.shape) {
        if (const auto* number = std::get_if<std::int64_t>(&each)) {
            shape.push_back({*number, {}, {}});
        } else if (std::get<std::string>(each) == "num_prompts") {
            shape.push_back({1, {0, 1}, {}});
        } else {
            shape.push_back({1, {}, {0, 1}});
        }
    }
    return shape;
}

/// The numbers in a constant's data.
template <typename Number>
std::vector<Number> numbers_in(const onnx::Constant& constant) {
    std::vector<Number> numbers(constant.raw_data.size() / sizeof(Number));
    std::copy_n(constant.raw_data.begin(), numbers.size() * sizeof(Number), reinterpret_cast<char*>(numbers.data()));
    return numbers;
}

std::string text_of(const onnx::Node& node) { return node.op_type + " " + quoted(node.name); }

/// The sums over all nodes so far.
class Cost {
   public:
    Cost(const onnx::Model& model, const GraphSpec& spec) {
        for (const TensorSpec& tensor : spec.inputs) tensors_.shapes[tensor.name] = shape_of(tensor);
        std::int64_t constant_elements = 0;
        for (const onnx::Constant& constant : model.constants) constant_elements += add(constant);
        most_folds_ = most_folded + folded_per_element * constant_elements;
        for (std::size_t i = 0; i < model.nodes.size(); ++i) {
            for (const std::string& name : model.nodes[i].inputs) last_use_[name] = i;
        }
        for (const TensorSpec& tensor : spec.outputs) last_use_[tensor.name] = model.nodes.size();
    }

    /// Adds what one node costs.
    void count(std::size_t index, const onnx::Node& node) {
        try {
            add(index, node, result_of(node, tensors_));
        } catch (const Unclear&) {
            throw Damaged("shapes that follow from the inputs'", "others at " + text_of(node));
        }
    }

    const Shape& shape(const std::string& name) const { return tensors_.shapes.at(name); }

   private:
    /// Notes a constant; returns its elements.
    std::int64_t add(const onnx::Constant& constant) {
        Shape& shape = tensors_.shapes[constant.name];
        for (const std::int64_t each : constant.shape) shape.push_back({each, {}, {}});
        folded_.insert(constant.name);
        const std::size_t bytes = constant.raw_data.size();
        if (constant.data_type == 7 && shape.size() <= 1 && bytes > 0 && bytes <= most_values * sizeof(std::int64_t)) {
            Shape& values = tensors_.values[constant.name];
            for (const auto each : numbers_in<std::int64_t>(constant)) values.push_back({each, {}, {}});
        }
        if (constant.data_type == 1 && !constant.is_external && bytes <= most_axes * sizeof(float)) {
            tensors_.scales[constant.name] = numbers_in<float>(constant);
        }
        return product(constant.shape);
    }

    void add(std::size_t index, const onnx::Node& node, const Result& result) {
        std::int64_t written = 0;
        for (std::size_t i = 0; i < node.outputs.size(); ++i) {
            written += define(index, node.outputs[i], result.shapes[i]);
        }
        if (result.values && !node.outputs[0].empty()) tensors_.values[node.outputs[0]] = *result.values;
        std::int64_t read = 0;
        bool is_folded = true;
        for (const std::string& name : node.inputs) {
            if (name.empty()) continue;
            read += elements(shape(name));
            is_folded = is_folded && folded_.count(name) != 0;
        }
        moved_ += read + written;
        multiply_adds_ += result.multiply_adds;
        if (node.op_type == "Shape" || is_folded) {
            folded_.insert(node.outputs.begin(), node.outputs.end());
            folds_ += read + written + result.multiply_adds;
        }
        check(node, result.buffer);
        live_ -= ending_[index];
    }

    /// Notes a computed tensor; returns its elements.
    std::int64_t define(std::size_t index, const std::string& name, const Shape& shape) {
        require(shape.size() <= most_axes);
        for (const Size& size : shape) require(size.factor >= 1);
        const std::int64_t count = elements(shape);
        if (count > most_computed) {
            throw Damaged("tensors of at most " + std::to_string(most_computed) + " elements",
                          "more in " + quoted(name));
        }
        const auto last_use = last_use_.find(name);
        ending_[name.empty() || last_use == last_use_.end() ? index : last_use->second] += count;
        if (!name.empty()) tensors_.shapes[name] = shape;
        live_ += count;
        return count;
    }

    void check(const onnx::Node& node, std::int64_t buffer) const {
        struct Limit {
            std::int64_t most;
            std::int64_t count;
            const char* what;
        };
        for (const auto& [most, count, what] :
             {Limit{most_live, live_ + buffer, "elements at once"}, Limit{most_moved, moved_, "elements in all"},
              Limit{most_multiply_adds, multiply_adds_, "multiplications"},
              Limit{most_folds_, folds_, "steps on constants alone"}}) {
            if (count <= most) continue;
            throw Damaged("at most " + std::to_string(most) + " " + what, "more at " + text_of(node));
        }
    }

    Tensors tensors_;
    std::unordered_set<std::string> folded_;
    std::unordered_map<std::string, std::size_t> last_use_;
    std::unordered_map<std::size_t, std::int64_t> ending_;  // elements of tensors that no node after this one takes
    std::int64_t live_ = 0;
    std::int64_t moved_ = 0;
    std::int64_t multiply_adds_ = 0;
    std::int64_t folds_ = 0;
    std::int64_t most_folds_ = 0;
};

}  // namespace

void check_cost(const onnx::Model& model, const GraphSpec& spec) {
    Cost cost(model, spec);
    for (std::size_t i = 0; i < model.nodes.size(); ++i) cost.count(i, model.nodes[i]);
    for (const TensorSpec& tensor : spec.outputs) {
        if (cost.shape(tensor.name) != shape_of(tensor)) {
            throw Damaged(tensor.text(), "another computed shape");
        }
    }
}

}  // namespace glesam::core
