#include "common/text.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace glesam::core {

namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

std::string escaped(char letter) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '\n') return "\\n";
    if (letter == '\r') return "\\r";
    if (letter == '\t') return "\\t";
    if (byte >= 0x20 && byte != 0x7f) return {letter};
    return {'\\', 'x', hex_digits[byte >> 4U], hex_digits[byte & 15U]};
}

/// std::to_chars into a string; `format` is a format and, optionally, a precision.
template <typename... Format>
std::string to_text(double value, Format... format) {
    std::array<char, 400> buffer{};  // the longest fixed double has 309 digits before its point
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format...).ptr;
    return {buffer.data(), end};
}

}  // namespace

std::string repr(std::string_view text) {
    const bool has_single = text.find('\'') != std::string_view::npos;
    const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
    std::string result(1, quote);
    for (const char letter : text) {
        if (letter == quote || letter == '\\') result += '\\';
        result += escaped(letter);
    }
    return result + quote;
}

std::string one_line(std::string_view text) {
    std::string result;
    for (const char letter : text) result += escaped(letter);
    return result;
}

std::string general(double value) {
    if (std::isnan(value)) return "nan";
    return to_text(value, std::chars_format::general, 6);
}

std::string shortest(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    std::string text = to_text(value, std::chars_format::scientific);
    const int exponent = std::stoi(text.substr(text.find('e') + 1));
    if (exponent < -4 || exponent >= 16) return text;
    text = to_text(value, std::chars_format::fixed);
    return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
    std::string result;
    for (const std::string& part : parts) {
        if (&part != &parts.front()) result += separator;
        result += part;
    }
    return result;
}

}  // namespace glesam::core
