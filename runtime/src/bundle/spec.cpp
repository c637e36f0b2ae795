#include "bundle/spec.hpp"

#include <algorithm>
#include <utility>

#include "common/text.hpp"

namespace glesam::core {

namespace {

constexpr std::int64_t embedding_channels = 256;
/// The embedding, and 32 channels at stride 4 in blocks of 4 x 4.
constexpr std::int64_t robust_channels = embedding_channels + 32 * 4 * 4;
constexpr std::int64_t one = 1;
constexpr const char* prompts = "num_prompts";
constexpr const char* points = "num_points";

std::string dimension_text(const Dimension& dimension) {
    if (const auto* size = std::get_if<std::int64_t>(&dimension)) return std::to_string(*size);
    return std::get<std::string>(dimension);
}

TensorSpec floats(std::string name, std::vector<Dimension> shape) {
    return {std::move(name), "float32", std::move(shape)};
}

/// The decoder's inputs that say what to segment; masks are `low_res` pixels wide.
std::vector<TensorSpec> prompt_tensors(std::int64_t low_res) {
    return {floats("point_coords", {prompts, points, std::int64_t{2}}),
            {"point_labels", "int32", {prompts, points}},
            floats("mask_input", {prompts, one, low_res, low_res}),
            floats("has_mask_input", {prompts})};
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

std::vector<GraphSpec> bundle_contract(std::int64_t image_size, Family family, std::int64_t encoder_channels) {
    const std::int64_t side = image_size / 16;
    const std::int64_t low_res = image_size / 4;
    const auto embeddings = [&](std::string name, std::int64_t channels) {
        return floats(std::move(name), {one, channels, side, side});
    };

    const std::int64_t restored = family == Family::robustsam ? robust_channels : embedding_channels;
    std::vector<TensorSpec> encoded = {embeddings("image_embeddings", embedding_channels + encoder_channels)};
    std::vector<TensorSpec> decoder = {embeddings("image_embeddings", restored)};
    const GraphSpec gle = {"gle", encoded, {embeddings("image_embeddings_enhanced", restored)}};
    if (family == Family::sam2) {
        for (std::vector<TensorSpec>* tensors : {&encoded, &decoder}) {
            tensors->push_back(floats("high_res_s0", {one, std::int64_t{32}, low_res, low_res}));
            tensors->push_back(floats("high_res_s1", {one, std::int64_t{64}, 2 * side, 2 * side}));
        }
    }
    for (TensorSpec& tensor : prompt_tensors(low_res)) decoder.push_back(std::move(tensor));
    return {
        {"image_encoder", {floats("image", {one, std::int64_t{3}, image_size, image_size})}, encoded},
        gle,
        {"mask_decoder",
         decoder,
         {floats("low_res_masks", {prompts, std::int64_t{4}, low_res, low_res}),
          floats("iou_predictions", {prompts, std::int64_t{4}})}},
    };
}

GraphSpec with_options(const GraphSpec& spec, const std::vector<TensorSpec>& listed) {
    GraphSpec result = spec;
    const auto is_listed = [&](const char* name) {
        return std::any_of(listed.begin(), listed.end(), [&](const TensorSpec& tensor) { return tensor.name == name; });
    };
    if (spec.name != "gle") return result;
    if (is_listed(auxiliary_image)) {
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
