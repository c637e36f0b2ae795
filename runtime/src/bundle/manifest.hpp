// bundle.json as typed, checked values; bundle.cpp reads the other files.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bundle/spec.hpp"

namespace glesam::core {

/// One ONNX graph of a bundle: its file in the folder, its precision, its tensors.
struct Graph {
    std::string file;
    std::string precision;
    GraphSpec spec;
    /// The runtime that its int8 layers were quantized for.
    std::string int8_target = "any";
};

/// Size [bytes] and sha256 (lower-case hex) of one file of the bundle.
struct FileRecord {
    std::int64_t size = 0;
    std::string sha256;
};

/// bundle.json. Fields are named and explained in docs/bundle.md.
struct Manifest {
    std::string name;
    std::string sam_type;
    bool multimask = false;
    Family family = Family::sam;
    /// Width of RobustSAM's image encoder; 0 for the other families.
    std::int64_t encoder_channels = 0;
    std::int64_t image_size = 0;
    /// How pictures are resized: a name that resize_from_name knows.
    std::string resize = "longest-side";
    std::array<double, 3> pixel_mean{};
    std::array<double, 3> pixel_std{};
    double mask_threshold = 0;
    /// 0 for RobustSAM, as timestep.
    double gamma = 0;
    std::int64_t timestep = 0;
    std::string precision;
    std::map<std::string, Graph> graphs;
    /// Every file, in the order of bundle.json, in which they are verified.
    std::vector<std::pair<std::string, FileRecord>> files;

    /// Whether the decoder reads only what the graph gle computes, never the encoder's own embedding.
    bool needs_gle() const { return family == Family::robustsam; }

    /// The bundle's graphs as its readers expect them.
    std::vector<GraphSpec> contract() const { return bundle_contract(image_size, family, encoder_channels); }
};

/// Parses bundle.json. Throws BundleError for whatever docs/bundle.md does not allow.
Manifest parse_manifest(std::string_view text);

}  // namespace glesam::core
