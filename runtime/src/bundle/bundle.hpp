// Opens a bundle folder and trusts nothing in it: docs/bundle.md is the contract.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "bundle/manifest.hpp"

namespace glesam::core {

/// A file's size and when it was last changed.
using Stamp = std::pair<std::uintmax_t, std::filesystem::file_time_type>;

/// A verified bundle. `hash` is the sha256 of bundle.json: the bundle's identity.
struct Bundle {
    std::filesystem::path root;
    std::string hash;
    Manifest manifest;

    /// The stamp of each file at the time it was hashed.
    std::map<std::string, Stamp> stamps;

    /// The path of graph `name`'s ONNX file. Throws BundleError where a file has changed since it was hashed.
    std::filesystem::path graph_path(const std::string& name) const;
};

/// Reads and verifies the bundle in folder `root`. Every file is hashed once.
/// Throws BundleError in one line that names the file, what was expected, what was found and the cure.
Bundle open_bundle(const std::filesystem::path& root);

}  // namespace glesam::core
