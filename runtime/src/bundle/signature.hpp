// Signatures of bundles: Ed25519 over bundle.json, which holds the hash of every other file.
#pragma once

#include <filesystem>
#include <string_view>

namespace glesam::core {

/// Name of the file with the 64 bytes of the signature.
constexpr const char* signature_file = "bundle.json.sig";

/// Checks the signature of the text of bundle.json in `root` with the public key in the PEM file `key`.
///
/// Throws BundleError where it is another key's or another text's, ArgumentError where the file is no Ed25519 key.
void check_signature(const std::filesystem::path& root, std::string_view text, std::string_view signature,
                     const std::filesystem::path& key);

}  // namespace glesam::core
