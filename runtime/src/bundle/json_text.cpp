// Reads bundle.json's text, and quotes pieces of it in messages.
#include <algorithm>
#include <string>

#include "bundle/json_fields.hpp"
#include "common/text.hpp"

namespace glesam::core {

namespace {

// Python's reader gives up near here, and json_text() below calls itself once per level.
constexpr int deepest = 900;

bool refuse_depth(int depth, Json::parse_event_t, Json&) {
    if (depth > deepest) throw bundle_error("nested deeper than " + std::to_string(deepest) + " levels");
    return true;
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
        return Json::parse(text.begin(), text.end(), refuse_depth);
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
