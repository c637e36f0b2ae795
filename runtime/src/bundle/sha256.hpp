// The sha256 of files and texts, by OpenSSL's libcrypto.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace glesam::core {

/// The sha256 of a text in lower-case hex.
std::string sha256_of(std::string_view text);

/// The sha256 of a file, which is read in pieces. Throws std::system_error where it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace glesam::core
