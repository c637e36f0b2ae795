// The backends of this build, opened by name.
#pragma once

#include <memory>
#include <string>

#include "bundle/bundle.hpp"
#include "engines/choice.hpp"
#include "engines/engine.hpp"

namespace glesam::core {

/// The compiled graphs of one bundle. Without `gle` the model is plain SAM.
struct Engines {
    std::shared_ptr<const Engine> image_encoder;
    std::shared_ptr<const Engine> gle;
    std::shared_ptr<const Engine> mask_decoder;
};

/// Which of this build's backends `backend` means for a bundle, and why. Throws as pick_backend does.
Choice choose_backend(const std::string& backend, const Bundle& bundle);

/// Compile the graphs of a bundle for `backend`; without `enhance`, all but GLE. Throws BackendError for a name that
/// is unknown or that this build has not, and where a graph is refused.
Engines open_engines(const std::string& backend, const Bundle& bundle, bool enhance);

}  // namespace glesam::core
