// Compiled engines on disk, as engine_cache.py of the Python package keeps them; docs/nvidia.md describes it.
//
// An engine is machine code: the library that is given a foreign or damaged one crashes. So load_engine returns bytes
// only where everything that was recorded of them is what is asked for here. Written is the cache by glesam-build only.
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

/// A TensorRT: `backend` is "tensorrt"; `release` and `build` as in 10.3.0 and 26.
struct TensorRtVersion {
    std::string backend;
    std::string release;
    std::string build;

    /// Whether `version`, as the Python package of TensorRT names itself, is this one: 10.3.0, 10.7.0.post1 and
    /// 11.4.0.12 are all to be met with.
    bool is(const std::string& version) const;
};

/// Of what and for what an engine is. One that differs in any field is another engine.
struct EngineKey {
    std::string bundle_hash;
    std::string graph;
    std::string graph_sha256;
    std::string precision;
    std::string library;
    std::string version;
    std::string gpu;
    std::string compute_capability;

    /// Where the engine lies, whether it is there or not.
    std::filesystem::path path() const;

    /// Every field with its name, in this order.
    std::array<std::pair<const char*, const std::string*>, 8> fields() const;
};

/// What the JSON beside an engine says of it; numbers as Python writes them.
struct EngineRecord {
    EngineKey key;
    std::string sha256;
    std::string size;
};

/// Where a bundle's engines lie: below $GLESAM_CACHE, else $XDG_CACHE_HOME, else ~/.cache.
std::filesystem::path bundle_folder(const std::string& bundle_hash);

/// The engines that were built from a bundle, by file name. Their bytes are not checked; load_engine does.
std::vector<EngineRecord> cached_engines(const std::string& bundle_hash);

/// What the cache asks of an engine of this graph. The library's version is named as a cached engine of it has it.
EngineKey engine_key(const TensorRtVersion& library, const Bundle& bundle, const std::string& graph, const Gpu& gpu);

/// The command that builds the engine of `key` anew.
std::string build_command(const Bundle& bundle, const EngineKey& key);

/// The engine of `key`, whole. Throws BackendError, with the command `rebuild`, where there is none or it is not sound.
std::string load_engine(const EngineKey& key, const std::string& rebuild);

}  // namespace glesam::core
