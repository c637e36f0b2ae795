// The auxiliary image of a second sensor as GLE's further input, with the same bits as the Python package.
#pragma once

#include <vector>

#include "glesam/glesam.h"

namespace glesam::core {

/// Throws an ImageError for a view that is no auxiliary image of a picture of height x width pixels.
void check_auxiliary(const glesam_auxiliary_view& view, int height, int width);

/// Fills `input` [S, S]: values in [0, 1] by the type's full range, resized to where the picture lies, zeros elsewhere.
void write_auxiliary(const glesam_auxiliary_view& view, const glesam_geometry& geometry, std::vector<float>& input);

}  // namespace glesam::core
