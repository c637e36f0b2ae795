#include "bundle/manifest.hpp"

#include <algorithm>

#include "bundle/json_fields.hpp"
#include "common/text.hpp"

namespace glesam::core {

namespace {

constexpr std::int64_t most_bytes = std::int64_t{16} << 30U;  // of all files
// Picture sizes are ints, and S * S * 3 floats must fit in memory.
constexpr std::int64_t largest_image_size = 32768;
constexpr std::int64_t most_channels = 65536;  // of an image encoder

using Files = std::vector<std::pair<std::string, FileRecord>>;

std::int64_t checked_format_version(const Fields& root) {
    const std::int64_t actual = root.integer("format_version", 1);
    if (actual == 1 || actual == 2) return actual;
    throw bundle_error("bundle.json has format_version " + std::to_string(actual) +
                       ", this glesam_runtime reads 1 and 2; upgrade glesam, or export the bundle with this version");
}

Family checked_family(const Fields& model, std::int64_t version) {
    if (version == 1) return Family::sam;
    const std::string family = model.text("family");
    if (family == "sam2") return Family::sam2;
    if (family == "robustsam") return Family::robustsam;
    throw refusal("model.family", "sam2 or robustsam", family);
}

std::int64_t checked_encoder_channels(const Fields& model) {
    const std::int64_t channels = model.integer("encoder_channels", 1);
    if (channels > most_channels) throw refusal("model.encoder_channels", "at most 65536", channels);
    return channels;
}

std::string checked_resize(const Fields& root, std::int64_t version) {
    if (version == 1) return "longest-side";
    std::string resize = root.text("resize");
    if (resize != "longest-side" && resize != "squash") throw refusal("resize", "longest-side or squash", resize);
    return resize;
}

std::int64_t checked_image_size(const Fields& root) {
    const std::int64_t image_size = root.integer("image_size", 16);
    if (image_size % 16 != 0) throw refusal("image_size", "a multiple of 16", image_size);
    if (image_size > largest_image_size) throw refusal("image_size", "at most 32768", image_size);
    return image_size;
}

bool is_hash(const std::string& text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

FileRecord file_record(const Fields& record) {
    const std::string sha256 = record.text("sha256");
    if (!is_hash(sha256)) throw refusal(record.where() + "sha256", "64 lower-case hex digits", sha256);
    return {record.integer("size"), sha256};
}

Files file_records(const Fields& records) {
    Files files;
    for (const auto& item : records.values().items()) {
        files.emplace_back(item.key(), file_record(records.fields(item.key())));
    }
    std::int64_t left = most_bytes;
    for (const auto& [name, record] : files) {
        if (record.size > left) throw refusal("files", "of at most " + std::to_string(most_bytes) + " bytes", "more");
        left -= record.size;
    }
    return files;
}

bool same_tensors(const std::vector<TensorSpec>& actual, const std::vector<TensorSpec>& expected) {
    return std::is_permutation(actual.begin(), actual.end(), expected.begin(), expected.end());
}

void check_tensors(const Fields& graph, const char* side, const std::vector<TensorSpec>& actual,
                   const std::vector<TensorSpec>& expected) {
    if (same_tensors(actual, expected)) return;
    throw bundle_error("bundle.json: " + graph.where() + side + " must be " + specs_text(expected, "; ") + ", found " +
                       (actual.empty() ? "none" : specs_text(actual, "; ")) + "; export the bundle again");
}

/// Returns the target of a graph's int8 layers, and checks their names, which other readers show.
std::string int8_target(const Fields& int8) {
    int8.strings("layers");
    int8.strings("left");
    return int8.values().contains("target") ? int8.label("target") : "any";
}

Graph checked_graph(const Fields& graph, const Files& files, const GraphSpec& required) {
    const std::string file = graph.text("file");
    const auto listed = [&](const auto& entry) { return entry.first == file; };
    if (std::none_of(files.begin(), files.end(), listed)) {
        throw refusal(graph.where() + "file", "a path listed under files", file);
    }
    const Fields islands = graph.fields("fp32_islands");
    const std::vector<TensorSpec> inputs = graph.tensors("inputs");
    const std::vector<TensorSpec> outputs = graph.tensors("outputs");
    std::vector<TensorSpec> tensors = inputs;
    tensors.insert(tensors.end(), outputs.begin(), outputs.end());
    const GraphSpec expected = with_options(required, tensors);
    check_tensors(graph, "inputs", inputs, expected.inputs);
    check_tensors(graph, "outputs", outputs, expected.outputs);
    Graph result{file, graph.label("precision"), expected, "any"};
    for (const auto& island : islands.values().items()) islands.label(island.key());
    if (graph.values().contains("int8")) result.int8_target = int8_target(graph.fields("int8"));
    return result;
}

std::map<std::string, Graph> checked_graphs(const Fields& graphs, const Files& files,
                                            const std::vector<GraphSpec>& contract) {
    std::vector<std::string> expected;
    std::vector<std::string> actual;
    for (const GraphSpec& spec : contract) expected.push_back(spec.name);
    for (const auto& item : graphs.values().items()) actual.push_back(item.key());
    std::sort(actual.begin(), actual.end());
    if (!std::is_permutation(actual.begin(), actual.end(), expected.begin(), expected.end())) {
        throw refusal("graphs", "exactly " + joined(expected, ", "), actual);
    }
    std::map<std::string, Graph> result;
    for (const GraphSpec& spec : contract) {
        result.emplace(spec.name, checked_graph(graphs.fields(spec.name), files, spec));
    }
    return result;
}

/// Reads all fields in the order of the Python reader, so that both name the same field first.
Manifest checked_manifest(const Fields& root, std::int64_t version) {
    const Fields model = root.fields("model");
    Manifest manifest;
    manifest.image_size = checked_image_size(root);
    manifest.family = checked_family(model, version);
    const bool has_gle = manifest.family != Family::robustsam;
    if (!has_gle) manifest.encoder_channels = checked_encoder_channels(model);
    manifest.files = file_records(root.fields("files"));
    manifest.name = model.label("name");
    manifest.sam_type = model.label("sam_type");
    manifest.multimask = model.boolean("multimask");
    manifest.pixel_mean = root.rgb("pixel_mean");
    manifest.pixel_std = root.rgb("pixel_std", true);
    manifest.mask_threshold = root.number("mask_threshold");
    if (has_gle) {
        manifest.gamma = root.number("gamma", true);
        manifest.timestep = root.integer("timestep");
    }
    manifest.precision = root.label("precision");
    manifest.graphs = checked_graphs(root.fields("graphs"), manifest.files, manifest.contract());
    root.fields("made_from");
    root.fields("parity");
    manifest.resize = checked_resize(root, version);
    return manifest;
}

}  // namespace

Manifest parse_manifest(std::string_view text) {
    const Json document = parse_json(text);
    if (!document.is_object()) throw refusal("the document", "an object", document);
    const Fields root(document);
    return checked_manifest(root, checked_format_version(root));
}

}  // namespace glesam::core
