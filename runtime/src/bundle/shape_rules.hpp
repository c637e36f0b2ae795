// Shapes of what an operator computes, by ONNX's rules, and what they cost.
//
// A rule proves its shapes or throws Unclear: a shape that depends on pixels or on weights is refused.
// glesam_runtime/bundle/shape_rules.py does the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bundle/onnx_messages.hpp"
#include "bundle/sizes.hpp"

namespace glesam::core {

/// Most numbers of a tensor whose content may decide about a shape.
constexpr std::size_t most_values = 64;

using Numbers = std::vector<std::int64_t>;

/// What is known of the tensors of a graph so far, by their names.
struct Tensors {
    std::unordered_map<std::string, Shape> shapes;
    /// The content of those that a shape may be made of.
    std::unordered_map<std::string, Shape> values;
    /// The content of small constants of floats.
    std::unordered_map<std::string, std::vector<float>> scales;
};

/// What an operator computes.
struct Result {
    std::vector<Shape> shapes;
    std::int64_t multiply_adds = 0;
    /// Elements of memory that it needs meanwhile, beyond its outputs.
    std::int64_t buffer = 0;
    /// The content of the output where a shape may be made of it.
    std::optional<Shape> values = std::nullopt;
};

/// What a node with an operator that bundles use computes. Throws Unclear where that does not follow from its inputs'
/// shapes.
Result result_of(const onnx::Node& node, const Tensors& tensors);

}  // namespace glesam::core
