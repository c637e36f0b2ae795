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

/// The backend of this build that `backend`, a name or "auto", stands for with a bundle, and why. Throws as
/// pick_backend does.
Choice choose_backend(const std::string& backend, const Bundle& bundle);

/// Compiles the graphs of a bundle for `backend`; without `enhance`, all but GLE. Throws BackendError for a name that
/// is unknown or not in this build, and where a graph is refused. `threads`: of the CPU, 0 for one on each core that
/// this process may use.
Engines open_engines(const std::string& backend, const Bundle& bundle, bool enhance, int threads = 0);

}  // namespace glesam::core
