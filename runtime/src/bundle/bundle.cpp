#include "bundle/bundle.hpp"

#include <algorithm>
#include <system_error>
#include <vector>

#include "bundle/file.hpp"
#include "bundle/graph_rules.hpp"
#include "bundle/protobuf.hpp"
#include "bundle/sha256.hpp"
#include "bundle/signature.hpp"
#include "common/error.hpp"
#include "common/text.hpp"

namespace fs = std::filesystem;

namespace glesam::core {

namespace {

constexpr std::size_t most_manifest_bytes = std::size_t{16} << 20U;

Error damaged(const fs::path& root, const std::string& name, const std::string& expected, const std::string& actual) {
    return bundle_error("bundle " + root.string() + ": " + name + ": expected " + expected + ", found " + actual +
                        "; copy or export the bundle again");
}

Error leaves(const fs::path& root, const std::string& name) {
    return bundle_error("bundle " + root.string() + ": files lists " + repr(name) +
                        ", expected a relative path with / that stays in the folder and passes no link; do not "
                        "use this bundle, or copy the real file into it");
}

/// Whether a path has an ending of official weights, which people give in place of a bundle.
bool names_weights(const fs::path& path) {
    const std::string suffix = path.extension().string();
    return suffix == ".pt" || suffix == ".pth" || suffix == ".ckpt" || suffix == ".safetensors";
}

void check_folder(const fs::path& root) {
    std::error_code ignored;
    const std::string expected = "bundle " + root.string() + ": expected a folder with bundle.json, found ";
    if (!fs::is_directory(root, ignored)) {
        const char* actual = fs::exists(root, ignored) ? "a file" : "nothing";
        const char* cure =
            names_weights(root)
                ? "glesam-convert makes a checkpoint of official weights, and glesam-export a bundle of that"
                : "give the folder that glesam-export wrote";
        throw bundle_error(expected + actual + "; " + cure);
    }
    const bool has_manifest = fs::symlink_status(root / "bundle.json", ignored).type() != fs::file_type::not_found;
    if (!has_manifest && fs::exists(root / "model.safetensors", ignored)) {
        throw bundle_error(expected + "a checkpoint; glesam-export makes a bundle of it");
    }
}

/// The content of bundle.json or its sidecar.
std::string read_text(const fs::path& root, const std::string& name) {
    std::string reason;
    try {
        File file = open_inside(root, name);
        std::string text = read_rest(file, most_manifest_bytes);
        if (text.size() <= most_manifest_bytes) return text;
        reason = "it has more than " + std::to_string(most_manifest_bytes) + " bytes";
    } catch (const LinkError& error) {
        reason = error.what();
    } catch (const NoFileError& error) {
        const std::string what = error.what();
        reason = what == "nothing" ? "No such file or directory" : "it is " + what;
    } catch (const std::system_error& error) {
        reason = error.code().message();
    }
    throw bundle_error("bundle " + root.string() + ": cannot read " + name + " (" + reason +
                       "); give the folder that glesam-export wrote");
}

/// The first 64 bytes of a sidecar's first line, with what is not ASCII replaced.
std::string first_line(std::string_view sidecar) {
    std::string line;
    for (const char letter : sidecar.substr(0, 64).substr(0, sidecar.find('\n'))) {
        if (static_cast<unsigned char>(letter) < 0x80) {
            line += letter;
        } else {
            line += "\xef\xbf\xbd";  // U+FFFD
        }
    }
    return line;
}

void check_sidecar(const std::string& sidecar, const std::string& digest) {
    if (sidecar == digest + "  bundle.json\n") return;
    throw bundle_error("bundle.json.sha256 says " + repr(first_line(sidecar)) + ", bundle.json hashes to " + digest +
                       "; one of them was changed: copy or export the bundle again");
}

void check_size(const fs::path& root, const std::string& name, std::int64_t expected, std::int64_t size,
                bool is_graph) {
    const std::string found = std::to_string(size) + " bytes";
    if (size != expected) throw damaged(root, name, std::to_string(expected) + " bytes", found);
    if (is_graph && size > most_graph_bytes) {
        throw damaged(root, name, "at most " + std::to_string(most_graph_bytes) + " bytes", found);
    }
}

/// The graphs whose ONNX file is `name`.
std::vector<const GraphSpec*> graphs_of(const Manifest& manifest, const std::string& name) {
    std::vector<const GraphSpec*> specs;
    for (const GraphSpec& each : manifest.contract()) {
        const Graph& graph = manifest.graphs.at(each.name);
        if (graph.file == name) specs.push_back(&graph.spec);
    }
    return specs;
}

void check_graphs(const fs::path& root, const std::string& name, const Manifest& manifest,
                  const std::vector<const GraphSpec*>& graphs, const std::string& content) {
    FileSizes sizes;
    for (const auto& [file, record] : manifest.files) sizes[file] = record.size;
    try {
        for (const GraphSpec* spec : graphs) check_graph_file(content, *spec, name, sizes);
    } catch (const Damaged& error) {
        throw bundle_error("bundle " + root.string() + ": " + name + ": " + error.what() +
                           "; do not use this bundle, or export it again");
    }
}

/// Checks a file's size and hash and, if it is a graph, what it holds. Returns its stamp.
Stamp check_open_file(const fs::path& root, const std::string& name, const FileRecord& record,
                      const Manifest& manifest) {
    const std::vector<const GraphSpec*> graphs = graphs_of(manifest, name);
    File file = open_inside(root, name);
    const Stamp stamp = file.stamp();
    check_size(root, name, record.size, stamp.size, !graphs.empty());
    std::string content;
    if (!graphs.empty()) content = read_rest(file);
    const std::string sha256 = graphs.empty() ? sha256_of_file(file) : sha256_of(content);
    if (sha256 != record.sha256) throw damaged(root, name, "sha256 " + record.sha256, sha256);
    if (!graphs.empty()) check_graphs(root, name, manifest, graphs, content);
    return stamp;
}

Stamp check_file(const fs::path& root, const std::string& name, const FileRecord& record, const Manifest& manifest) {
    if (!is_plain(name)) throw leaves(root, name);
    try {
        return check_open_file(root, name, record, manifest);
    } catch (const LinkError&) {
        throw leaves(root, name);
    } catch (const NoFileError& error) {
        throw damaged(root, name, "a file", error.what());
    } catch (const std::system_error& error) {
        throw damaged(root, name, "a readable file", system_text(error.code(), root / name));
    }
}

Error replaced(const fs::path& root, const std::string& name) {
    return bundle_error("bundle " + root.string() + ": " + name +
                        " was replaced after its hash was checked; open the bundle again");
}

/// What `use` returns of the open file `name`. Throws BundleError where there is no such file any more.
template <typename Use>
auto with_file(const fs::path& root, const std::string& name, Use use) {
    try {
        File file = open_inside(root, name);
        return use(file);
    } catch (const LinkError&) {
        throw replaced(root, name);
    } catch (const NoFileError&) {
        throw replaced(root, name);
    } catch (const std::system_error&) {
        throw replaced(root, name);
    }
}

Stamp stamp_of(const fs::path& root, const std::string& name) {
    return with_file(root, name, [](const File& file) { return file.stamp(); });
}

const FileRecord* record_of(const Manifest& manifest, const std::string& name) {
    const auto is_it = [&](const auto& each) { return each.first == name; };
    const auto row = std::find_if(manifest.files.begin(), manifest.files.end(), is_it);
    return row == manifest.files.end() ? nullptr : &row->second;
}

}  // namespace

fs::path Bundle::graph_path(const std::string& name) const {
    for (const auto& [file, stamp] : stamps) {
        if (!stamp_of(root, file).is_as(stamp)) throw replaced(root, file);
    }
    return root / manifest.graphs.at(name).file;
}

GraphContent Bundle::graph_content(const std::string& name) const {
    const std::string file = manifest.graphs.at(name).file;
    GraphContent content{graph_path(name), {}, nullptr, root, file + ".data", {}};
    content.model = with_file(root, file, [](File& opened) { return read_rest(opened); });
    if (sha256_of(content.model) != record_of(manifest, file)->sha256) throw replaced(root, file);
    const FileRecord* data = record_of(manifest, content.data_file);
    if (data == nullptr) return content;
    with_file(root, content.data_file, [&](const File& opened) {
        content.data_stamp = opened.stamp();
        content.weights = std::make_shared<const Mapping>(opened);
    });
    if (sha256_of(content.weights->content()) != data->sha256) throw replaced(root, content.data_file);
    return content;
}

void GraphContent::check() const {
    if (weights != nullptr && !(stamp_of(root, data_file) == data_stamp)) throw replaced(root, data_file);
}

Bundle open_bundle(const fs::path& root, const fs::path& public_key) {
    check_folder(root);
    const std::string text = read_text(root, "bundle.json");
    if (!public_key.empty()) check_signature(root, text, read_text(root, signature_file), public_key);
    const std::string digest = sha256_of(text);
    check_sidecar(read_text(root, "bundle.json.sha256"), digest);
    Manifest manifest = parse_manifest(text);
    std::map<std::string, Stamp> stamps;
    for (const auto& [name, record] : manifest.files) stamps[name] = check_file(root, name, record, manifest);
    return {root, digest, std::move(manifest), std::move(stamps)};
}

}  // namespace glesam::core
