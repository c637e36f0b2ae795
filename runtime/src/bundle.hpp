// Open a bundle folder and trust nothing in it: docs/bundle.md is the contract.
#pragma once

#include <filesystem>
#include <string>

#include "manifest.hpp"

namespace glesam::core {

/// A verified bundle. `hash` is the sha256 of bundle.json: the bundle's identity.
struct Bundle {
    std::filesystem::path root;
    std::string hash;
    Manifest manifest;

    /// Where the ONNX file of graph `name` lies.
    std::filesystem::path graph_path(const std::string& name) const { return root / manifest.graphs.at(name).file; }
};

/// Read and verify the bundle in folder `root`. Every file is hashed once.
/// Throws BundleError in one line that names the file, what was expected, what was found and the cure.
Bundle open_bundle(const std::filesystem::path& root);

}  // namespace glesam::core
