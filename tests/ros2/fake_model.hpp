// A fake model: the mask of a prompt is its box, or one pixel at its first point.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "picture.hpp"
#include "segmenter.hpp"

namespace glesam_tests {

/// The calls that a FakeModel received, and its behaviour; outlives it.
struct FakeCalls {
    std::atomic<int> images{0};
    std::atomic<int> predictions{0};
    std::atomic<bool> fails{false};
    std::atomic<bool> waits{false};  // set_image returns once it is false
};

class FakeModel : public glesam_ros::Model {
   public:
    const std::shared_ptr<FakeCalls>& calls() const { return calls_; }

    void set_image(const glesam::ImageView& image) override {
        ++calls_->images;
        while (calls_->waits) std::this_thread::yield();
        if (calls_->fails) throw glesam::Error(GLESAM_BACKEND_ERROR, "the backend broke");
        width_ = image.width;
        height_ = image.height;
    }

    glesam::Prediction predict(const std::vector<glesam::Prompt>& prompts) override {
        ++calls_->predictions;
        masks_.assign(prompts.size() * static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_), 0);
        scores_.assign(prompts.size(), 0.5F);
        for (std::size_t i = 0; i < prompts.size(); ++i) fill(prompts[i], i);
        glesam::Prediction prediction{};
        prediction.masks = masks_.data();
        prediction.iou_predictions = scores_.data();
        prediction.num_prompts = static_cast<int>(prompts.size());
        prediction.num_candidates = 1;
        prediction.height = height_;
        prediction.width = width_;
        return prediction;
    }

   private:
    static glesam::Box area_of(const glesam::Prompt& prompt) {
        if (prompt.box) return *prompt.box;
        const glesam::Point point = prompt.points.at(0);
        return {std::floor(point.x), std::floor(point.y), std::floor(point.x) + 1, std::floor(point.y) + 1};
    }

    void fill(const glesam::Prompt& prompt, std::size_t index) {
        const glesam::Box area = area_of(prompt);
        std::size_t i = index * static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_);
        for (int y = 0; y < height_; ++y) {
            for (int x = 0; x < width_; ++x) {
                masks_[i++] = area.x0 <= x && x < area.x1 && area.y0 <= y && y < area.y1 ? 1 : 0;
            }
        }
    }

    std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
    int width_ = 0;
    int height_ = 0;
    std::vector<std::uint8_t> masks_;
    std::vector<float> scores_;
};

/// A black RGB picture with its memory.
class PixelBuffer {
   public:
    PixelBuffer(int width, int height)
        : width_(width),
          height_(height),
          pixels_(std::make_shared<std::vector<std::uint8_t>>(static_cast<std::size_t>(width * height * 3))) {}

    glesam_ros::Picture picture() const { return {pixels_, {pixels_->data(), width_, height_}}; }

   private:
    int width_;
    int height_;
    std::shared_ptr<std::vector<std::uint8_t>> pixels_;
};

}  // namespace glesam_tests
