// Opens a bundle folder and trusts nothing in it: docs/bundle.md is the contract.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "bundle/file.hpp"
#include "bundle/manifest.hpp"

namespace glesam::core {

struct GraphContent;

/// A verified bundle. `hash` is the sha256 of bundle.json: the bundle's identity.
struct Bundle {
    std::filesystem::path root;
    std::string hash;
    Manifest manifest;

    /// The stamp of each file at the time it was hashed.
    std::map<std::string, Stamp> stamps;

    /// The path of graph `name`'s ONNX file. Throws BundleError where a file has changed since it was hashed.
    std::filesystem::path graph_path(const std::string& name) const;

    /// The bytes of graph `name`, hashed as they are, for an engine. Throws BundleError where a file has changed since
    /// the bundle was opened.
    GraphContent graph_content(const std::string& name) const;
};

/// The bytes of one graph that were hashed. An engine takes these and reads no file again.
struct GraphContent {
    /// For messages.
    std::filesystem::path path;

    std::string model;

    /// The content of the file `<path>.data`; nothing where there is none.
    std::shared_ptr<const Mapping> weights;

    std::filesystem::path root;
    std::string data_file;
    Stamp data_stamp;

    /// To be called once an engine has read `weights`: what is mapped changes with the file. Throws BundleError where
    /// that has happened.
    void check() const;
};

/// Reads and verifies the bundle in folder `root`. Every file is hashed once, and every graph is checked.
/// Throws BundleError in one line that names the file, what was expected, what was found and the cure.
/// public_key: a PEM file with the Ed25519 key of whoever must have signed the bundle; empty: anyone.
Bundle open_bundle(const std::filesystem::path& root, const std::filesystem::path& public_key = {});

}  // namespace glesam::core
