#include "bundle/spec.hpp"

#include <algorithm>
#include <utility>

#include "common/text.hpp"

namespace glesam::core {

namespace {

std::string dimension_text(const Dimension& dimension) {
    if (const auto* size = std::get_if<std::int64_t>(&dimension)) return std::to_string(*size);
    return std::get<std::string>(dimension);
}

TensorSpec floats(std::string name, std::vector<Dimension> shape) {
    return {std::move(name), "float32", std::move(shape)};
}

}  // namespace

std::string TensorSpec::text() const {
    std::vector<std::string> sizes;
    for (const Dimension& dimension : shape) sizes.push_back(dimension_text(dimension));
    return name + " " + dtype + " [" + joined(sizes, ",") + "]";
}

bool TensorSpec::is_dynamic() const {
    return std::any_of(shape.begin(), shape.end(),
                       [](const Dimension& size) { return std::holds_alternative<std::string>(size); });
}

bool TensorSpec::operator==(const TensorSpec& other) const {
    return name == other.name && dtype == other.dtype && shape == other.shape;
}

std::vector<GraphSpec> bundle_contract(std::int64_t image_size) {
    const std::vector<Dimension> embedding = {std::int64_t{1}, std::int64_t{256}, image_size / 16, image_size / 16};
    const Dimension one = std::int64_t{1};
    const Dimension four = std::int64_t{4};
    const Dimension low_res = image_size / 4;
    const Dimension prompts = "num_prompts";
    const Dimension points = "num_points";

    const TensorSpec embeddings = floats("image_embeddings", embedding);
    const TensorSpec image = floats("image", {one, std::int64_t{3}, image_size, image_size});
    return {
        {"image_encoder", {image}, {embeddings}},
        {"gle", {embeddings}, {floats("image_embeddings_enhanced", embedding)}},
        {"mask_decoder",
         {embeddings,
          floats("point_coords", {prompts, points, std::int64_t{2}}),
          {"point_labels", "int32", {prompts, points}},
          floats("mask_input", {prompts, one, low_res, low_res}),
          floats("has_mask_input", {prompts})},
         {floats("low_res_masks", {prompts, four, low_res, low_res}), floats("iou_predictions", {prompts, four})}},
    };
}

GraphSpec with_options(const GraphSpec& spec, const std::vector<TensorSpec>& listed) {
    GraphSpec result = spec;
    const auto is_listed = [&](const char* name) {
        return std::any_of(listed.begin(), listed.end(), [&](const TensorSpec& tensor) { return tensor.name == name; });
    };
    if (spec.name != "gle") return result;
    if (is_listed(auxiliary_image)) {
        const Dimension one = std::int64_t{1};
        const Dimension side = 16 * std::get<std::int64_t>(spec.inputs.front().shape.back());
        result.inputs.push_back(floats(auxiliary_image, {one, one, side, side}));
    }
    if (is_listed(degradation_level)) {
        result.outputs.push_back(floats(degradation_level, {std::int64_t{1}}));
    }
    return result;
}

std::string specs_text(const std::vector<TensorSpec>& specs, const std::string& separator) {
    std::vector<std::string> texts;
    for (const TensorSpec& spec : specs) texts.push_back(spec.text());
    return joined(texts, separator);
}

}  // namespace glesam::core
