// Reads the cache of compiled engines that glesam-build writes; docs/nvidia.md describes it.
//
// An engine is machine code: a foreign or damaged one crashes the library that loads it. So load_engine returns bytes
// only where the record beside them matches the expected key in every field.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bundle/bundle.hpp"

namespace glesam::core {

/// A GPU: `name` as CUDA gives it, `compute_capability` 10 * major + minor, such as 86.
struct Gpu {
    std::string name;
    int compute_capability = 0;

    /// "NVIDIA RTX A2000 sm86"
    std::string text() const { return name + " sm" + std::to_string(compute_capability); }
};

/// A version of TensorRT: `backend` is "tensorrt"; `release` and `build` are as in 10.3.0 and 26.
struct TensorRtVersion {
    std::string backend;
    std::string release;
    std::string build;

    /// Whether `version`, as TensorRT's Python package writes it (10.3.0, 10.7.0.post1 or 11.4.0.12), is this one.
    bool is(const std::string& version) const;
};

/// Identity of an engine: its source and its target. One that differs in any field is another engine.
struct EngineKey {
    std::string bundle_hash;
    std::string graph;
    std::string graph_sha256;
    std::string precision;
    std::string library;
    std::string version;
    std::string gpu;
    std::string compute_capability;

    /// The engine's path in the cache, whether it exists or not.
    std::filesystem::path path() const;

    /// Every field with its name, in this order.
    std::array<std::pair<const char*, const std::string*>, 8> fields() const;
};

/// The JSON record beside an engine; numbers as Python writes them.
struct EngineRecord {
    EngineKey key;
    std::string sha256;
    std::string size;
};

/// The folder of a bundle's engines: below $GLESAM_CACHE, else $XDG_CACHE_HOME, else ~/.cache.
std::filesystem::path bundle_folder(const std::string& bundle_hash);

/// The engines that were built from a bundle, by file name. Their bytes are not checked; load_engine does.
std::vector<EngineRecord> cached_engines(const std::string& bundle_hash);

/// The key of an engine of this graph. Its version is written as in the record of a cached engine, if there is one.
EngineKey engine_key(const TensorRtVersion& library, const Bundle& bundle, const std::string& graph, const Gpu& gpu);

/// The command that builds the engine of `key` anew.
std::string build_command(const Bundle& bundle, const EngineKey& key);

/// The bytes of the engine of `key`. Throws BackendError, with the command `rebuild`, where it is missing or damaged.
std::string load_engine(const EngineKey& key, const std::string& rebuild);

}  // namespace glesam::core
