// What a bundle's ONNX graphs may hold, checked before an engine sees them: see docs/bundle.md.
//
// glesam_runtime/bundle/graph_rules.py does the same, in the same order and the same words.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "bundle/spec.hpp"

namespace glesam::core {

/// Largest ONNX file [bytes], without the weights beside it.
constexpr std::int64_t most_graph_bytes = std::int64_t{512} << 20U;

/// Size [bytes] of every file that bundle.json lists.
using FileSizes = std::map<std::string, std::int64_t>;

/// Checks the ONNX file `file`, whose bytes are `content`, before an engine sees it. Throws Damaged where the graph
/// holds what docs/bundle.md does not allow, or has other tensors than `spec`.
void check_graph_file(std::string_view content, const GraphSpec& spec, const std::string& file, const FileSizes& sizes);

}  // namespace glesam::core
