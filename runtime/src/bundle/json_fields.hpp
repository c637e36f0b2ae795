// A JSON object whose fields are read by name and type, with a refusal in one line.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/spec.hpp"
#include "common/error.hpp"

namespace glesam::core {

/// JSON that keeps the order of the file, in which the fields are checked.
using Json = nlohmann::ordered_json;

/// Parses bundle.json's text. Throws BundleError where it is not JSON.
Json parse_json(std::string_view text);

/// The text of Python's json.dumps: ", " and ": " between, everything beyond ASCII escaped.
std::string json_text(const Json& value);

/// The error "bundle.json: WHERE must be EXPECTED, found ACTUAL; export the bundle again".
Error refusal(const std::string& where, const std::string& expected, const Json& actual);

/// One object of bundle.json; `where` is its path in messages: "graphs.gle.".
class Fields {
   public:
    explicit Fields(const Json& values, std::string where = "");

    const Json& values() const { return values_; }
    const std::string& where() const { return where_; }

    Fields fields(const std::string& name) const;
    std::string text(const std::string& name) const;
    /// A text that is shown to people: without characters that a terminal acts on.
    std::string label(const std::string& name) const;
    bool boolean(const std::string& name) const;
    std::int64_t integer(const std::string& name, std::int64_t least = 0) const;
    double number(const std::string& name, bool positive = false) const;
    std::array<double, 3> rgb(const std::string& name, bool positive = false) const;
    std::vector<std::string> strings(const std::string& name) const;
    std::vector<TensorSpec> tensors(const std::string& name) const;

   private:
    using Is = bool (Json::*)() const;
    const Json& take(const std::string& name) const;
    const Json& get(const std::string& name, Is is, const char* expected) const;

    const Json& values_;
    std::string where_;
};

}  // namespace glesam::core
