#include "bundle/json_fields.hpp"

#include <algorithm>
#include <utility>

#include "common/text.hpp"

namespace glesam::core {

namespace {

constexpr double largest = 1e30;  // well inside float32, in which the graphs compute

/// Whether a number may stand in a bundle. False for NaN as well: no comparison with it holds.
bool is_sound(double number, bool positive) {
    return -largest < number && number < largest && (number > 0 || !positive);
}

double checked_number(const std::string& where, const Json& value, bool positive) {
    if (!value.is_number() || !is_sound(value.get<double>(), positive)) {
        throw refusal(where, positive ? "a positive number" : "a finite number", value);
    }
    return value.get<double>();
}

/// Whether `value` is an integer that fits in 64 bits with a sign.
bool is_integer(const Json& value) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX};
    return value.is_number_integer();
}

Dimension dimension(const std::string& where, const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (is_integer(value)) return value.get<std::int64_t>();
    throw refusal(where, "integers and names of dynamic dimensions", value);
}

}  // namespace

Fields::Fields(const Json& values, std::string where) : values_(values), where_(std::move(where)) {}

Error refusal(const std::string& where, const std::string& expected, const Json& actual) {
    std::string shown = json_text(actual);
    if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
    return bundle_error("bundle.json: " + where + " must be " + expected + ", found " + shown +
                        "; export the bundle again");
}

const Json& Fields::take(const std::string& name) const {
    const auto field = values_.find(name);
    if (field == values_.end()) {
        throw bundle_error("bundle.json: " + where_ + name + " is missing; export the bundle again");
    }
    return *field;
}

const Json& Fields::get(const std::string& name, Is is, const char* expected) const {
    const Json& value = take(name);
    if (!(value.*is)()) throw refusal(where_ + name, expected, value);
    return value;
}

Fields Fields::fields(const std::string& name) const {
    return Fields(get(name, &Json::is_object, "an object"), where_ + name + ".");
}

std::string Fields::text(const std::string& name) const { return get(name, &Json::is_string, "a string"); }

std::string Fields::label(const std::string& name) const {
    std::string value = text(name);
    if (one_line(name + value) == name + value) return value;
    throw refusal(where_ + name, "text without control characters", value);
}

bool Fields::boolean(const std::string& name) const { return get(name, &Json::is_boolean, "true or false"); }

std::int64_t Fields::integer(const std::string& name, std::int64_t least) const {
    const Json& value = take(name);
    if (!is_integer(value) || value.get<std::int64_t>() < least) {
        throw refusal(where_ + name, "an integer of at least " + std::to_string(least), value);
    }
    return value;
}

double Fields::number(const std::string& name, bool positive) const {
    return checked_number(where_ + name, take(name), positive);
}

std::array<double, 3> Fields::rgb(const std::string& name, bool positive) const {
    const Json& values = get(name, &Json::is_array, "a list");
    if (values.size() != 3) throw refusal(where_ + name, "three numbers (R, G, B)", values);
    std::array<double, 3> result{};
    for (std::size_t i = 0; i < 3; ++i) result[i] = checked_number(where_ + name, values[i], positive);
    return result;
}

std::vector<std::string> Fields::strings(const std::string& name) const {
    const Json& values = get(name, &Json::is_array, "a list");
    const auto is_string = [](const Json& value) { return value.is_string(); };
    if (!std::all_of(values.begin(), values.end(), is_string)) {
        throw refusal(where_ + name, "a list of strings", values);
    }
    return values;
}

std::vector<TensorSpec> Fields::tensors(const std::string& name) const {
    std::vector<TensorSpec> result;
    for (const Json& value : get(name, &Json::is_array, "a list")) {
        const std::string where = where_ + name + "[" + std::to_string(result.size()) + "]";
        if (!value.is_object()) throw refusal(where, "an object", value);
        const Fields tensor(value, where + ".");
        std::vector<Dimension> shape;
        for (const Json& size : tensor.get("shape", &Json::is_array, "a list")) {
            shape.push_back(dimension(where + ".shape", size));
        }
        result.push_back({tensor.text("name"), tensor.text("dtype"), std::move(shape)});
    }
    return result;
}

}  // namespace glesam::core
