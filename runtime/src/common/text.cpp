#include "common/text.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace glesam::core {

namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

std::string escaped(unsigned char byte) {
    if (byte == '\n') return "\\n";
    if (byte == '\r') return "\\r";
    if (byte == '\t') return "\\t";
    if (byte >= 0x20 && byte < 0x7f) return {static_cast<char>(byte)};
    return {'\\', 'x', hex_digits[byte >> 4U], hex_digits[byte & 15U]};
}

/// A character beyond ASCII: its code point, and its bytes in UTF-8; 0 bytes where they are not UTF-8.
struct Character {
    std::uint32_t code = 0;
    std::size_t size = 0;
};

Character first_of(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t size = lead >= 0xf5 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
    if (size == 0 || size > text.size()) return {};
    std::uint32_t code = lead & (0x7fU >> size);
    for (std::size_t i = 1; i < size; ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte & 0xc0U) != 0x80) return {};
        code = code << 6U | (byte & 0x3fU);
    }
    const std::array<std::uint32_t, 5> least = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
    return {code, size};
}

/// Whether a terminal would act on a character, or show nothing: controls, and marks of the writing's direction.
bool is_hidden(std::uint32_t code) {
    return code <= 0xa0 || code == 0xad || code == 0x61c || (0x200b <= code && code <= 0x200f) ||
           (0x2028 <= code && code <= 0x202e) || (0x2060 <= code && code <= 0x206f) || code == 0xfeff;
}

std::string escaped(std::uint32_t code) {
    if (code < 0x100) return {'\\', 'x', hex_digits[code >> 4U], hex_digits[code & 15U]};
    std::string text = "\\u";
    for (unsigned shift = 16; shift > 0; shift -= 4) text += hex_digits[code >> (shift - 4) & 15U];
    return text;
}

/// Takes the character at the front of `rest`, escaped where Python's repr() would do so.
std::string take_escaped(std::string_view& rest) {
    const Character character = static_cast<unsigned char>(rest.front()) < 0x80 ? Character{} : first_of(rest);
    const std::size_t size = character.size == 0 ? 1 : character.size;
    const std::string_view bytes = rest.substr(0, size);
    rest.remove_prefix(size);
    if (character.size == 0) return escaped(static_cast<unsigned char>(bytes.front()));
    return is_hidden(character.code) ? escaped(character.code) : std::string(bytes);
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
    while (!text.empty()) {
        if (text.front() == quote || text.front() == '\\') result += '\\';
        result += take_escaped(text);
    }
    return result + quote;
}

std::string one_line(std::string_view text) {
    std::string result;
    while (!text.empty()) result += take_escaped(text);
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
