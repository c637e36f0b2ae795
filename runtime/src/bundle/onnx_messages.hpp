// ONNX files as plain values: the parts of onnx.proto that a bundle's graphs use, and no others.
//
// Functions, subgraphs, sparse tensors, sequences, training information and constants in attributes have no place in
// its tables: a file that holds one is refused where it is met. glesam_runtime/bundle/onnx_messages.py does the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glesam::core::onnx {

/// One attribute of a node: its ONNX type (1 float, 2 integer, 3 text, 6 floats, 7 integers), its value.
struct Attribute {
    std::string name;
    std::int64_t type;
    std::vector<std::int64_t> integers;
    std::string text;
};

/// One step of a graph.
struct Node {
    std::string name;
    std::string op_type;
    std::string domain;
    std::vector<std::string> inputs;
    std::vector<std::string> outputs;
    std::vector<Attribute> attributes;
};

using Sizes = std::vector<std::int64_t>;

/// Declared name, type and shape of a tensor; no shape: not declared; a size of -1 is left open.
struct Value {
    std::string name;
    std::int64_t data_type;
    std::optional<Sizes> shape;
};

/// An initializer: its data are `raw_data`, a part of the file, or where `external` says, pairs of key and value.
struct Constant {
    std::string name;
    std::int64_t data_type;
    Sizes shape;
    bool is_external;
    std::string_view raw_data;
    std::vector<std::pair<std::string, std::string>> external;
};

/// A whole ONNX file. opsets: pairs of domain and version.
struct Model {
    std::int64_t ir_version;
    std::vector<std::pair<std::string, std::int64_t>> opsets;
    std::vector<Node> nodes;
    std::vector<Constant> constants;
    std::vector<Value> inputs;
    std::vector<Value> outputs;
    std::vector<Value> values;
};

/// The model in an ONNX file. Throws Damaged where it is none, or holds what no bundle does.
Model read_model(std::string_view content);

}  // namespace glesam::core::onnx
