// The error of a message that cannot be segmented.
#pragma once

#include <stdexcept>

namespace glesam_ros {

/// what() is one line: what was expected, what was found, what to do.
class InputError : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

}  // namespace glesam_ros
