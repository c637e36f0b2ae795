// Turns an 8-bit picture into the encoder's input, with the same bits as SAM and the Python package.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "bundle/manifest.hpp"
#include "image/geometry.hpp"
#include "image/pixels.hpp"
#include "image/resample.hpp"

namespace glesam::core {

/// Preprocesses pictures of one size: resizes, normalises, and pads with zeros at the bottom and right.
class Preprocessor {
   public:
    Preprocessor(const Manifest& manifest, int height, int width, Resize resize);

    const glesam_geometry& geometry() const { return geometry_; }

    /// Fills `input` [3, S, S].
    void operator()(const Pixels& picture, float* input);

   private:
    void write_channel(const Pixels& resized, int channel, float* plane) const;
    void squash(const Pixels& picture, float* input);

    glesam_geometry geometry_;
    std::vector<Resampler> steps_;
    std::optional<FloatResampler> unrounded_;  // in place of the steps
    std::array<float, 3> mean_{};
    std::array<float, 3> std_{};
    /// The normalised value of each of 256 grey levels, per channel: the same floats, and no division per pixel.
    std::array<std::array<float, 256>, 3> normalised_;
};

}  // namespace glesam::core
