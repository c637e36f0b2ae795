#include "segmenter.hpp"

#include <cstddef>

#include "error.hpp"

namespace glesam_ros {

namespace {

/// The prompts that fit, and the index of each among all.
struct Fitted {
    std::vector<glesam::Prompt> prompts;
    std::vector<std::size_t> places;
};

void check_count(std::size_t count, LabelType type) {
    const auto most = static_cast<std::size_t>(max_label(type));
    if (count <= most) return;
    throw InputError("prompts: expected at most " + std::to_string(most) + ", found " + std::to_string(count) +
                     "; set label_encoding to 16UC1, or give fewer");
}

Fitted fit(const std::vector<ObjectPrompt>& prompts, const glesam::ImageView& view, std::vector<Instance>& instances) {
    Fitted result;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        instances.push_back({prompts[i].id, prompts[i].class_id, std::nullopt, 0, ""});
        try {
            result.prompts.push_back(fitted(prompts[i], view.width, view.height));
            result.places.push_back(i);
        } catch (const InputError& error) {
            instances.back().refusal = error.what();
        }
    }
    return result;
}

std::vector<LabelledMask> masks_of(const glesam::Prediction& prediction, const std::vector<std::size_t>& places,
                                   std::vector<Instance>& instances) {
    std::vector<LabelledMask> masks;
    for (std::size_t i = 0; i < places.size(); ++i) {
        const std::uint8_t* mask = prediction.mask(static_cast<int>(i));
        Instance& instance = instances[places[i]];
        instance.box = extent(mask, prediction.width, prediction.height);
        instance.score = double{prediction.score(static_cast<int>(i))};
        masks.push_back({mask, static_cast<int>(places[i]) + 1});
    }
    return masks;
}

}  // namespace

Segmentation Segmenter::operator()(const Picture& picture, const std::vector<ObjectPrompt>& prompts, LabelType type) {
    check_count(prompts.size(), type);
    Segmentation result;
    const Fitted fitting = fit(prompts, picture.view, result.instances);
    std::vector<LabelledMask> masks;
    if (!fitting.prompts.empty()) {
        set_picture(picture);
        masks = masks_of(model_->predict(fitting.prompts), fitting.places, result.instances);
    }
    result.labels = compose(masks, picture.view.width, picture.view.height, type);
    return result;
}

void Segmenter::set_picture(const Picture& picture) {
    if (picture.owner != nullptr && picture.owner == encoded_) return;
    encoded_.reset();  // a picture that fails is not encoded
    model_->set_image(picture.view);
    encoded_ = picture.owner;
}

}  // namespace glesam_ros
