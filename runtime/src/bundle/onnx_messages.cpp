#include "bundle/onnx_messages.hpp"

#include "bundle/protobuf.hpp"

namespace glesam::core::onnx {

namespace {

const Schema& entry_schema() {
    static const Schema table = {"StringStringEntryProto", {{1, "key", Kind::bytes}, {2, "value", Kind::bytes}}};
    return table;
}

const Schema& opset_schema() {
    static const Schema table = {"OperatorSetIdProto", {{1, "domain", Kind::bytes}, {2, "version", Kind::integer}}};
    return table;
}

const Schema& model_schema() {
    static const Schema table = {"ModelProto",
                                 {{1, "ir_version", Kind::integer},
                                  {2, "producer_name", Kind::bytes},
                                  {3, "producer_version", Kind::bytes},
                                  {4, "domain", Kind::bytes},
                                  {5, "model_version", Kind::integer},
                                  {6, "doc_string", Kind::bytes},
                                  {7, "graph", Kind::bytes},
                                  {8, "opset_import", Kind::many},
                                  {14, "metadata_props", Kind::many}}};
    return table;
}

const Schema& graph_schema() {
    static const Schema table = {"GraphProto",
                                 {{1, "node", Kind::many},
                                  {2, "name", Kind::bytes},
                                  {5, "initializer", Kind::many},
                                  {10, "doc_string", Kind::bytes},
                                  {11, "input", Kind::many},
                                  {12, "output", Kind::many},
                                  {13, "value_info", Kind::many},
                                  {16, "metadata_props", Kind::many}}};
    return table;
}

const Schema& node_schema() {
    static const Schema table = {"NodeProto",
                                 {{1, "input", Kind::many},
                                  {2, "output", Kind::many},
                                  {3, "name", Kind::bytes},
                                  {4, "op_type", Kind::bytes},
                                  {5, "attribute", Kind::many},
                                  {6, "doc_string", Kind::bytes},
                                  {7, "domain", Kind::bytes},
                                  {9, "metadata_props", Kind::many}}};
    return table;
}

const Schema& attribute_schema() {
    static const Schema table = {"AttributeProto",
                                 {{1, "name", Kind::bytes},
                                  {2, "f", Kind::number},
                                  {3, "i", Kind::integer},
                                  {4, "s", Kind::bytes},
                                  {7, "floats", Kind::numbers},
                                  {8, "ints", Kind::integers},
                                  {13, "doc_string", Kind::bytes},
                                  {20, "type", Kind::integer}}};
    return table;
}

const Schema& tensor_schema() {
    static const Schema table = {"TensorProto",
                                 {{1, "dims", Kind::integers},
                                  {2, "data_type", Kind::integer},
                                  {8, "name", Kind::bytes},
                                  {9, "raw_data", Kind::bytes},
                                  {12, "doc_string", Kind::bytes},
                                  {13, "external_data", Kind::many},
                                  {14, "data_location", Kind::integer},
                                  {16, "metadata_props", Kind::many}}};
    return table;
}

const Schema& value_schema() {
    static const Schema table = {"ValueInfoProto",
                                 {{1, "name", Kind::bytes},
                                  {2, "type", Kind::bytes},
                                  {3, "doc_string", Kind::bytes},
                                  {4, "metadata_props", Kind::many}}};
    return table;
}

const Schema& type_schema() {
    static const Schema table = {"TypeProto", {{1, "tensor_type", Kind::bytes}, {6, "denotation", Kind::bytes}}};
    return table;
}

const Schema& tensor_type_schema() {
    static const Schema table = {"TypeProto.Tensor", {{1, "elem_type", Kind::integer}, {2, "shape", Kind::bytes}}};
    return table;
}

const Schema& shape_schema() {
    static const Schema table = {"TensorShapeProto", {{1, "dim", Kind::many}}};
    return table;
}

const Schema& dimension_schema() {
    static const Schema table = {
        "TensorShapeProto.Dimension",
        {{1, "dim_value", Kind::integer}, {2, "dim_param", Kind::bytes}, {3, "denotation", Kind::bytes}}};
    return table;
}

std::string name_of(const Message& message, std::uint64_t number) {
    return checked_name(message.bytes(number).value_or(""));
}

std::vector<std::string> names_of(const Message& message, std::uint64_t number) {
    std::vector<std::string> names;
    for (const std::string_view each : message.many(number)) names.push_back(checked_name(each));
    return names;
}

/// Reads each kind of message of one file.
class Messages {
   public:
    Model model(std::string_view content) {
        const Message message = reader_.message(model_schema(), content);
        const auto graph_content = message.bytes(7);
        if (!graph_content) throw Damaged("an ONNX graph", "none");
        skip(message, 14);
        Model model;
        model.ir_version = message.integer(1).value_or(0);
        for (const std::string_view each : message.many(8)) model.opsets.push_back(opset(each));
        const Message graph = reader_.message(graph_schema(), *graph_content);
        skip(graph, 16);
        for (const std::string_view each : graph.many(1)) model.nodes.push_back(node(each));
        for (const std::string_view each : graph.many(5)) model.constants.push_back(constant(each));
        for (const std::string_view each : graph.many(11)) model.inputs.push_back(value(each));
        for (const std::string_view each : graph.many(12)) model.outputs.push_back(value(each));
        for (const std::string_view each : graph.many(13)) model.values.push_back(value(each));
        return model;
    }

   private:
    std::pair<std::string, std::int64_t> opset(std::string_view content) {
        const Message message = reader_.message(opset_schema(), content);
        return {name_of(message, 1), message.integer(2).value_or(0)};
    }

    Node node(std::string_view content) {
        const Message message = reader_.message(node_schema(), content);
        skip(message, 9);
        Node node{name_of(message, 3),  name_of(message, 4),  name_of(message, 7),
                  names_of(message, 1), names_of(message, 2), {}};
        for (const std::string_view each : message.many(5)) node.attributes.push_back(attribute(each));
        return node;
    }

    Attribute attribute(std::string_view content) {
        const Message message = reader_.message(attribute_schema(), content);
        std::vector<std::int64_t> integers = message.integers(8);
        if (const auto integer = message.integer(3)) integers.push_back(*integer);
        return {name_of(message, 1), message.integer(20).value_or(0), std::move(integers), name_of(message, 4)};
    }

    Constant constant(std::string_view content) {
        const Message message = reader_.message(tensor_schema(), content);
        skip(message, 16);
        std::vector<std::pair<std::string, std::string>> external;
        for (const std::string_view each : message.many(13)) external.push_back(entry(each));
        const std::int64_t location = message.integer(14).value_or(0);
        if (location != 0 && location != 1) throw Damaged("a data_location of 0 or 1", std::to_string(location));
        const auto raw_data = message.bytes(9);
        if (external.empty() == (location == 1) || (location == 1 && raw_data)) {
            throw Damaged("constants with raw_data or external_data", "a mixture");
        }
        return {name_of(message, 8), message.integer(2).value_or(0), message.integers(1),
                location == 1,       raw_data.value_or(""),          std::move(external)};
    }

    Value value(std::string_view content) {
        const Message message = reader_.message(value_schema(), content);
        skip(message, 4);
        Value value{name_of(message, 1), 0, std::nullopt};
        const Message outer = reader_.message(type_schema(), message.bytes(2).value_or(""));
        const Message inner = reader_.message(tensor_type_schema(), outer.bytes(1).value_or(""));
        value.data_type = inner.integer(1).value_or(0);
        const auto shape = inner.bytes(2);
        if (!shape) return value;
        Sizes sizes;
        const Message dimensions = reader_.message(shape_schema(), *shape);
        for (const std::string_view each : dimensions.many(1)) sizes.push_back(dimension(each));
        value.shape = std::move(sizes);
        return value;
    }

    std::int64_t dimension(std::string_view content) {
        const Message message = reader_.message(dimension_schema(), content);
        name_of(message, 2);
        const auto size = message.integer(1);
        if (size && *size < 0) throw Damaged("sizes of at least 0", std::to_string(*size));
        return size.value_or(-1);
    }

    std::pair<std::string, std::string> entry(std::string_view content) {
        const Message message = reader_.message(entry_schema(), content);
        return {name_of(message, 1), name_of(message, 2)};
    }

    /// Reads the entries that nobody needs, so that they hold nothing else.
    void skip(const Message& message, std::uint64_t metadata_props) {
        for (const std::string_view each : message.many(metadata_props)) reader_.message(entry_schema(), each);
    }

    ProtobufReader reader_;
};

}  // namespace

Model read_model(std::string_view content) { return Messages().model(content); }

}  // namespace glesam::core::onnx
