// Reads bundle.json's text, and quotes pieces of it in messages.
#include <algorithm>
#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "bundle/json_fields.hpp"
#include "common/text.hpp"

namespace glesam::core {

namespace {

// Python's reader gives up near here, and json_text() below calls itself once per level.
constexpr int deepest = 900;

// An object's names are searched one after the other.
constexpr std::size_t most_names = 2'000;
constexpr std::ptrdiff_t most_marks = 200'000;

/// Checks a text while it is parsed: values nested too deeply, names used twice, too many names.
class Check {
   public:
    bool operator()(int depth, Json::parse_event_t event, const Json& value) {
        if (depth > deepest) throw bundle_error("nested deeper than " + std::to_string(deepest) + " levels");
        if (event == Json::parse_event_t::object_start) objects_.emplace_back();
        if (event == Json::parse_event_t::object_end) objects_.pop_back();
        if (event == Json::parse_event_t::key) count(value.get<std::string>());
        return true;
    }

   private:
    void count(const std::string& name) {
        if (!objects_.back().insert(name).second) throw bundle_error("a name used twice in one object");
        if (objects_.back().size() > most_names) {
            throw bundle_error("an object of more than " + std::to_string(most_names) + " names");
        }
    }

    std::vector<std::unordered_set<std::string>> objects_;
};

/// Refuses texts of very many values, and what nlohmann's parser takes and Python's does not: a byte order mark, and a
/// NUL as the end.
void check_bytes(std::string_view text) {
    const auto is_mark = [](char x) { return x == ',' || x == ':' || x == '[' || x == '{'; };
    if (std::count_if(text.begin(), text.end(), is_mark) > most_marks) {
        throw bundle_error("more than " + std::to_string(most_marks) + " values and names");
    }
    if (text.substr(0, 3) == "\xef\xbb\xbf") throw bundle_error("a byte order mark before the text");
    if (text.find('\0') != std::string_view::npos) throw bundle_error("a NUL in the text");
}

/// `reason` in printable ASCII and at most 200 characters: the parser quotes any bytes, and numbers of any length.
std::string printable(std::string reason) {
    std::replace_if(reason.begin(), reason.end(), [](char letter) { return letter < ' ' || letter > '~'; }, '?');
    return reason.size() > 200 ? reason.substr(0, 197) + "..." : reason;
}

std::string array_text(const Json& values) {
    std::vector<std::string> parts;
    for (const Json& value : values) parts.push_back(json_text(value));
    return "[" + joined(parts, ", ") + "]";
}

std::string object_text(const Json& values) {
    std::vector<std::string> parts;
    for (const auto& [name, value] : values.items())
        parts.push_back(Json(name).dump(-1, ' ', true) + ": " + json_text(value));
    return "{" + joined(parts, ", ") + "}";
}

}  // namespace

Json parse_json(std::string_view text) {
    std::string reason;
    try {
        check_bytes(text);
        Check check;
        return Json::parse(text.begin(), text.end(), std::ref(check));
    } catch (const Json::exception& error) {
        reason = error.what();
    } catch (const Error& error) {
        reason = error.what();
    }
    throw bundle_error("bundle.json is not JSON (" + printable(reason) + "); export the bundle again");
}

std::string json_text(const Json& value) {
    if (value.is_array()) return array_text(value);
    if (value.is_object()) return object_text(value);
    if (value.is_number_float()) return shortest(value.get<double>());
    return value.dump(-1, ' ', true);
}

}  // namespace glesam::core
