// The result of a request, without exceptions: it crosses threads and ends in a message.
#pragma once

#include <string>
#include <variant>

#include "segmenter.hpp"

namespace glesam_ros {

/// refused: the input does not fit, the next one may. failed: the model or its backend failed.
/// cancelled: the node was busy or is not active.
enum class FailureKind { refused, failed, cancelled };

struct Failure {
    FailureKind kind = FailureKind::failed;
    std::string line;  ///< what was expected, what was found, what to do
};

using Outcome = std::variant<Segmentation, Failure>;

/// The failure of the exception that is being handled. For catch blocks only.
Failure caught_failure();

}  // namespace glesam_ros
