// Segments one picture with its prompts into labels, by way of glesam.
#pragma once

#include <glesam/glesam.hpp>
#include <optional>
#include <string>
#include <vector>

#include "labels.hpp"
#include "picture.hpp"
#include "prompts.hpp"

namespace glesam_ros {

/// The interface of a model. The real one is GlesamModel; tests have a fake.
class Model {
   public:
    virtual ~Model() = default;
    /// Throws glesam::Error.
    virtual void set_image(const glesam::ImageView& image) = 0;
    /// Computes one candidate per prompt, valid until the next call. Throws glesam::Error.
    virtual glesam::Prediction predict(const std::vector<glesam::Prompt>& prompts) = 0;
};

/// A model that is a predictor of the C++ library.
class GlesamModel : public Model {
   public:
    explicit GlesamModel(glesam::Predictor predictor) : predictor_(std::move(predictor)) {}

    void set_image(const glesam::ImageView& image) override { predictor_.set_image(image); }
    glesam::Prediction predict(const std::vector<glesam::Prompt>& prompts) override {
        return predictor_.predict(prompts);
    }

   private:
    glesam::Predictor predictor_;
};

/// The result of one prompt. Its label is its position among the prompts, counted from 1.
struct Instance {
    std::string id;                  ///< the prompt's
    std::string class_id;            ///< the prompt's
    std::optional<glesam::Box> box;  ///< around the mask; nothing where it is empty or the prompt was refused
    double score = 0;                ///< the model's own estimate of the mask's IoU
    std::string refusal;             ///< one line where the prompt did not fit the picture
};

struct Segmentation {
    LabelImage labels;                ///< of the picture's size
    std::vector<Instance> instances;  ///< one per prompt, in the prompts' order
};

/// Segments pictures with one model. Belongs to one thread.
class Segmenter {
   public:
    explicit Segmenter(std::unique_ptr<Model> model) : model_(std::move(model)) {}

    /// A prompt that does not fit the picture is refused, the others are segmented. Without prompts the labels are all
    /// 0 and the model is not called. A picture that is segmented again is not encoded again. Throws glesam::Error;
    /// InputError where there are more prompts than labels.
    Segmentation operator()(const Picture& picture, const std::vector<ObjectPrompt>& prompts, LabelType type);

   private:
    void set_picture(const Picture& picture);

    std::unique_ptr<Model> model_;
    std::shared_ptr<const void> encoded_;  // kept alive, so that no other picture can take its address
};

}  // namespace glesam_ros
