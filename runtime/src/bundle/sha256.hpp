// The sha256 of files and texts, by OpenSSL's libcrypto.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "bundle/file.hpp"

namespace glesam::core {

/// The sha256 of a text in lower-case hex.
std::string sha256_of(std::string_view text);

/// The sha256 of the rest of an open file, which is read in pieces. Throws std::system_error where it cannot be read.
std::string sha256_of_file(File& file);

}  // namespace glesam::core
