// The exception of the library's inside; the C API turns it into a status and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "common/text.hpp"
#include "glesam/glesam.h"

namespace glesam::core {

/// An error whose message is one line: what was expected, what was found, what to do.
class Error : public std::runtime_error {
   public:
    /// Line breaks in `message` are escaped: paths and names in a bundle may hold some.
    Error(glesam_status status, const std::string& message) : std::runtime_error(one_line(message)), status_(status) {}

    glesam_status status() const noexcept { return status_; }

   private:
    glesam_status status_;
};

inline Error bundle_error(const std::string& message) { return {GLESAM_BUNDLE_ERROR, message}; }
inline Error backend_error(const std::string& message) { return {GLESAM_BACKEND_ERROR, message}; }
inline Error image_error(const std::string& message) { return {GLESAM_IMAGE_ERROR, message}; }
inline Error prompt_error(const std::string& message) { return {GLESAM_PROMPT_ERROR, message}; }
inline Error argument_error(const std::string& message) { return {GLESAM_ARGUMENT_ERROR, message}; }

}  // namespace glesam::core
