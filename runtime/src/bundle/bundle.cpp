#include "bundle/bundle.hpp"

#include <algorithm>
#include <sstream>
#include <system_error>

#include "bundle/file.hpp"
#include "bundle/sha256.hpp"
#include "common/error.hpp"
#include "common/text.hpp"

namespace fs = std::filesystem;

namespace glesam::core {

namespace {

Error damaged(const fs::path& root, const std::string& name, const std::string& expected, const std::string& actual) {
    return bundle_error("bundle " + root.string() + ": " + name + ": expected " + expected + ", found " + actual +
                        "; copy or export the bundle again");
}

Error leaves(const fs::path& root, const std::string& name) {
    return bundle_error("bundle " + root.string() + ": files lists " + repr(name) +
                        ", expected a relative path with / that stays in the folder, links included; do not use "
                        "this bundle, or copy the real file into it");
}

void check_folder(const fs::path& root) {
    std::error_code ignored;
    if (fs::is_directory(root, ignored)) return;
    const char* actual = fs::exists(root, ignored) ? "a file" : "nothing";
    throw bundle_error("bundle " + root.string() + ": expected a folder with bundle.json, found " + actual +
                       "; give the folder that glesam-export wrote");
}

std::string read_text(const fs::path& root, const std::string& name) {
    try {
        return read_file(root / name);
    } catch (const std::system_error& error) {
        throw bundle_error("bundle " + root.string() + ": cannot read " + name + " (" + error.code().message() +
                           "); give the folder that glesam-export wrote");
    }
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

/// Whether `name` is a relative path of plain names, with neither "." nor ".." among them.
bool is_plain(const std::string& name) {
    if (name.find_first_of(std::string("\\:\0", 3)) != std::string::npos) return false;
    std::istringstream parts(name + "/");
    std::string part;
    bool plain = true;
    while (std::getline(parts, part, '/')) plain = plain && !part.empty() && part != "." && part != "..";
    return plain;
}

/// The path of a listed file. A link is followed first: its target must lie in the folder, too.
fs::path inside(const fs::path& root, const std::string& name) {
    if (!is_plain(name)) throw leaves(root, name);
    const fs::path real_root = fs::canonical(root);
    const fs::path real = fs::weakly_canonical(root / name);
    const auto [end, rest] = std::mismatch(real_root.begin(), real_root.end(), real.begin(), real.end());
    if (end != real_root.end()) throw leaves(root, name);
    return root / name;
}

Stamp stamp_of(const fs::path& path) {
    std::error_code ignored;
    return {fs::file_size(path, ignored), fs::last_write_time(path, ignored)};
}

/// Checks a file's size and hash. Returns its stamp, read before the hash.
Stamp check_size_and_hash(const fs::path& root, const std::string& name, const FileRecord& record) {
    const fs::path path = inside(root, name);
    const Stamp stamp = stamp_of(path);
    if (!fs::is_regular_file(path)) throw damaged(root, name, "a file", fs::exists(path) ? "a folder" : "nothing");
    const auto size = static_cast<std::int64_t>(fs::file_size(path));
    if (size != record.size) {
        throw damaged(root, name, std::to_string(record.size) + " bytes", std::to_string(size) + " bytes");
    }
    const std::string sha256 = sha256_of_file(path);
    if (sha256 != record.sha256) throw damaged(root, name, "sha256 " + record.sha256, sha256);
    return stamp;
}

Stamp check_file(const fs::path& root, const std::string& name, const FileRecord& record) {
    try {
        return check_size_and_hash(root, name, record);
    } catch (const std::system_error& error) {
        throw damaged(root, name, "a readable file", system_text(error.code(), root / name));
    }
}

}  // namespace

fs::path Bundle::graph_path(const std::string& name) const {
    for (const auto& [file, stamp] : stamps) {
        if (stamp_of(root / file) == stamp) continue;
        throw bundle_error("bundle " + root.string() + ": " + file +
                           " was replaced after its hash was checked; open the bundle again");
    }
    return root / manifest.graphs.at(name).file;
}

Bundle open_bundle(const fs::path& root) {
    check_folder(root);
    const std::string text = read_text(root, "bundle.json");
    const std::string digest = sha256_of(text);
    check_sidecar(read_text(root, "bundle.json.sha256"), digest);
    Manifest manifest = parse_manifest(text);
    std::map<std::string, Stamp> stamps;
    for (const auto& [name, record] : manifest.files) stamps[name] = check_file(root, name, record);
    return {root, digest, std::move(manifest), std::move(stamps)};
}

}  // namespace glesam::core
