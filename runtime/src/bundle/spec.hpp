// The inputs and outputs of graphs: names, dtypes, shapes.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace glesam::core {

/// A fixed size, or the name of a dynamic one.
using Dimension = std::variant<std::int64_t, std::string>;

/// One input or output of a graph; `dtype` is numpy's name, such as "float32".
struct TensorSpec {
    std::string name;
    std::string dtype;
    std::vector<Dimension> shape;

    /// "point_coords float32 [num_prompts,num_points,2]"
    std::string text() const;

    /// Whether a size has a name instead of a value.
    bool is_dynamic() const;

    bool operator==(const TensorSpec& other) const;
};

/// The inputs and outputs of one graph, in the graph's own order.
struct GraphSpec {
    std::string name;
    std::vector<TensorSpec> inputs;
    std::vector<TensorSpec> outputs;
};

/// Kinds of models, which differ in the tensors between their graphs: see docs/bundle.md.
enum class Family { sam, sam2, robustsam };

/// The three graphs of docs/bundle.md for a square input of `image_size` = S pixels.
///
/// encoder_channels: width of RobustSAM's image encoder, whose early features lie behind the embedding; 0 for the
/// other families.
std::vector<GraphSpec> bundle_contract(std::int64_t image_size, Family family = Family::sam,
                                       std::int64_t encoder_channels = 0);

/// The name of the output [1] of an adaptive GLE: 0 for a clean picture, 1 to 3 for LQ-1 to LQ-3.
constexpr const char* degradation_level = "degradation_level";

/// The name of the input [1, 1, S, S] of a GLE with a second sensor: values in [0, 1], 0 where nothing is known.
constexpr const char* auxiliary_image = "auxiliary_image";

/// A graph of the contract with its optional tensors among `listed`, those of bundle.json; others do not count.
GraphSpec with_options(const GraphSpec& spec, const std::vector<TensorSpec>& listed);

/// The text() of each, joined.
std::string specs_text(const std::vector<TensorSpec>& specs, const std::string& separator);

}  // namespace glesam::core
