#include "engines/tensorrt/cache.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>
#include <variant>

#include "bundle/file.hpp"
#include "bundle/sha256.hpp"
#include "common/error.hpp"
#include "common/text.hpp"

namespace fs = std::filesystem;

namespace glesam::core {

namespace {

using Json = nlohmann::json;
using Is = bool (*)(const Json&);

struct Field {
    const char* name;
    Is is;
};

using FieldList = std::array<Field, 8>;  // the key has as many fields as the record

bool is_text(const Json& value) { return value.is_string(); }
bool is_integer(const Json& value) { return value.is_number_integer() || value.is_boolean(); }  // Python's bool is one
bool is_number(const Json& value) { return value.is_number() || value.is_boolean(); }
bool is_object(const Json& value) { return value.is_object(); }

constexpr FieldList key_fields = {{{"bundle_hash", is_text},
                                   {"graph", is_text},
                                   {"graph_sha256", is_text},
                                   {"precision", is_text},
                                   {"library", is_text},
                                   {"version", is_text},
                                   {"gpu", is_text},
                                   {"compute_capability", is_integer}}};

constexpr FieldList record_fields = {{{"key", is_object},
                                      {"sha256", is_text},
                                      {"size", is_integer},
                                      {"profile", is_object},
                                      {"layers", is_object},
                                      {"seconds", is_number},
                                      {"peak_memory_mib", is_number},
                                      {"glesam", is_text}}};

bool has_exactly(const Json& value, const FieldList& fields) {
    return value.is_object() && value.size() == fields.size() &&
           std::all_of(fields.begin(), fields.end(), [&](const Field& field) { return value.contains(field.name); });
}

bool is_typed(const Json& value, const FieldList& fields) {
    return std::all_of(fields.begin(), fields.end(), [&](const Field& field) { return field.is(value[field.name]); });
}

/// Python's str() of a text or an integer.
std::string shown(const Json& value) {
    if (value.is_string()) return value;
    if (value.is_boolean()) return value ? "True" : "False";
    return value.dump();
}

EngineRecord record_of(const Json& document) {
    const Json& key = document["key"];
    const auto text = [&](const char* name) { return shown(key[name]); };
    return {{text("bundle_hash"), text("graph"), text("graph_sha256"), text("precision"), text("library"),
             text("version"), text("gpu"), text("compute_capability")},
            shown(document["sha256"]),
            shown(document["size"])};
}

/// The record in a file, or the reason why there is none.
std::variant<EngineRecord, std::string> read_record(const fs::path& path) {
    Json document;
    try {
        document = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    } catch (const std::system_error& error) {
        return system_text(error.code(), path);
    }
    const std::string name = path.filename().string();
    if (!has_exactly(document, record_fields) || !has_exactly(document["key"], key_fields)) {
        return name + ", which is no record of an engine";
    }
    if (!is_typed(document, record_fields) || !is_typed(document["key"], key_fields)) {
        return name + ", whose fields are of other types";
    }
    return record_of(document);
}

fs::path with_suffix(fs::path path, const char* suffix) { return path.replace_extension(suffix); }

/// `text` with every run of characters other than letters, digits and points replaced by one "-".
std::string plain(const std::string& text) {
    std::string result;
    bool replaced = false;
    for (const char letter : text) {
        const bool is_plain = (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
                              (letter >= '0' && letter <= '9') || letter == '.';
        if (is_plain) {
            result += letter;
        } else if (!replaced) {
            result += '-';
        }
        replaced = !is_plain;
    }
    return result;
}

fs::path home() {
    if (const char* folder = std::getenv("HOME")) return folder;
    const passwd* user = getpwuid(getuid());
    return user != nullptr ? user->pw_dir : "";
}

fs::path cache_root() {
    for (const char* name : {"GLESAM_CACHE", "XDG_CACHE_HOME"}) {
        const char* folder = std::getenv(name);
        if (folder != nullptr && *folder != '\0') return folder;
    }
    return home() / ".cache";
}

Error refused(const fs::path& path, const std::string& expected, const std::string& actual,
              const std::string& rebuild) {
    return backend_error("engine " + path.string() + ": expected " + expected + ", found " + actual + "; run " +
                         rebuild);
}

/// The error of a missing engine; it names those of the same graph that exist.
Error missing(const EngineKey& key, const std::string& rebuild) {
    std::vector<std::string> others;
    for (const EngineRecord& record : cached_engines(key.bundle_hash)) {
        if (record.key.graph == key.graph) others.push_back(record.key.path().filename().string());
    }
    const fs::path path = key.path();
    return backend_error("no engine " + path.filename().string() + " in " + path.parent_path().string() + ", found " +
                         (others.empty() ? "none of this graph" : joined(others, ", ")) + "; run " + rebuild);
}

void check(const std::string& what, const std::string& here, const std::string& there, const fs::path& path,
           const std::string& rebuild) {
    if (here != there) throw refused(path, what + " " + here, there, rebuild);
}

EngineRecord checked_record(const EngineKey& key, const std::string& rebuild) {
    const fs::path path = key.path();
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) throw missing(key, rebuild);
    const auto read = read_record(with_suffix(path, ".json"));
    if (const auto* why = std::get_if<std::string>(&read)) throw refused(path, "a record beside it", *why, rebuild);
    const auto& record = std::get<EngineRecord>(read);
    const auto here = key.fields();
    const auto there = record.key.fields();
    for (std::size_t i = 0; i < here.size(); ++i)
        check(here[i].first, *here[i].second, *there[i].second, path, rebuild);
    return record;
}

/// Python's shlex.quote.
std::string quoted(const std::string& word) {
    const char* safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
    if (!word.empty() && word.find_first_not_of(safe) == std::string::npos) return word;
    std::string result = "'";
    for (const char letter : word) {
        if (letter == '\'') {
            result += "'\"'\"'";
        } else {
            result += letter;
        }
    }
    return result + "'";
}

}  // namespace

bool TensorRtVersion::is(const std::string& version) const {
    return version == release || version == release + "." + build || version.rfind(release + ".post", 0) == 0;
}

fs::path EngineKey::path() const {
    const std::string name =
        plain(gpu) + "-sm" + compute_capability + "_" + library + "-" + plain(version) + "_" + precision + "_" + graph;
    return bundle_folder(bundle_hash) / (name + ".engine");
}

std::array<std::pair<const char*, const std::string*>, 8> EngineKey::fields() const {
    return {{{"bundle_hash", &bundle_hash},
             {"graph", &graph},
             {"graph_sha256", &graph_sha256},
             {"precision", &precision},
             {"library", &library},
             {"version", &version},
             {"gpu", &gpu},
             {"compute_capability", &compute_capability}}};
}

fs::path bundle_folder(const std::string& bundle_hash) { return cache_root() / "glesam" / bundle_hash; }

std::vector<EngineRecord> cached_engines(const std::string& bundle_hash) {
    std::vector<fs::path> paths;
    std::error_code ignored;  // a missing folder has no engines
    for (const auto& entry : fs::directory_iterator(bundle_folder(bundle_hash), ignored)) {
        if (entry.path().extension() == ".json") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    std::vector<EngineRecord> records;
    for (const fs::path& path : paths) {
        auto read = read_record(path);
        auto* record = std::get_if<EngineRecord>(&read);
        const fs::path engine = with_suffix(path, ".engine");
        if (record != nullptr && record->key.path() == engine && fs::is_regular_file(engine, ignored)) {
            records.push_back(std::move(*record));
        }
    }
    return records;
}

EngineKey engine_key(const TensorRtVersion& library, const Bundle& bundle, const std::string& graph, const Gpu& gpu) {
    const Graph& described = bundle.manifest.graphs.at(graph);
    const auto& files = bundle.manifest.files;
    const auto file =
        std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.first == described.file; });
    const auto cached = cached_engines(bundle.hash);
    const auto named = std::find_if(cached.begin(), cached.end(), [&](const EngineRecord& record) {
        return record.key.library == library.backend && library.is(record.key.version);
    });
    const std::string version = named != cached.end() ? named->key.version : library.release + "." + library.build;
    return {bundle.hash,
            graph,
            file->second.sha256,
            described.precision,
            library.backend,
            version,
            gpu.name,
            std::to_string(gpu.compute_capability)};
}

std::string build_command(const Bundle& bundle, const EngineKey& key) {
    return "glesam-build " + quoted(bundle.root.string()) + " --backend " + quoted(key.library) + " --force";
}

std::string load_engine(const EngineKey& key, const std::string& rebuild) {
    const EngineRecord record = checked_record(key, rebuild);
    const fs::path path = key.path();
    std::string plan;
    try {
        plan = read_file(path);
    } catch (const std::system_error& error) {
        throw refused(path, "a readable file", system_text(error.code(), path), rebuild);
    }
    check("bytes", record.size, std::to_string(plan.size()), path, rebuild);
    check("sha256", record.sha256, sha256_of(plan), path, rebuild);
    return plan;
}

}  // namespace glesam::core
