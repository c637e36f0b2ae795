#include "bundle/protobuf.hpp"

#include <algorithm>

namespace glesam::core {

namespace {

constexpr int most_fields = 300'000;  // numbers in lists included
constexpr unsigned varint = 0;
constexpr unsigned length = 2;
constexpr unsigned fixed32 = 5;

Damaged cut_off() { return {"a whole file", "one that is cut off"}; }

bool fits(Kind kind, unsigned wire_type) {
    switch (kind) {
        case Kind::integer: return wire_type == varint;
        case Kind::number: return wire_type == fixed32;
        case Kind::bytes:
        case Kind::many: return wire_type == length;
        case Kind::integers:  // a list of numbers may be packed into one field
            return wire_type == varint || wire_type == length;
        case Kind::numbers: return wire_type == fixed32 || wire_type == length;
    }
    return false;
}

bool is_single(Kind kind) { return kind == Kind::integer || kind == Kind::number || kind == Kind::bytes; }

/// Takes the integer at the front of `rest`.
std::uint64_t take_varint(std::string_view& rest) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (rest.empty()) throw cut_off();
        const auto byte = static_cast<unsigned char>(rest.front());
        rest.remove_prefix(1);
        if (shift == 63 && byte > 1) break;
        value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
        if (byte < 0x80) return value;
    }
    throw rest.empty() ? cut_off() : Damaged("a whole file", "an endless number");
}

std::string_view take_bytes(std::string_view& rest, std::uint64_t size) {
    if (size > rest.size()) throw cut_off();
    const std::string_view content = rest.substr(0, size);
    rest.remove_prefix(size);
    return content;
}

}  // namespace

std::optional<std::int64_t> Message::integer(std::uint64_t number) const {
    for (const Field& field : fields_) {
        if (field.number == number) return field.value;
    }
    return std::nullopt;
}

std::vector<std::int64_t> Message::integers(std::uint64_t number) const {
    std::vector<std::int64_t> values;
    for (const Field& field : fields_) {
        if (field.number == number) values.push_back(field.value);
    }
    return values;
}

std::optional<std::string_view> Message::bytes(std::uint64_t number) const {
    for (const Field& field : fields_) {
        if (field.number == number) return field.content;
    }
    return std::nullopt;
}

std::vector<std::string_view> Message::many(std::uint64_t number) const {
    std::vector<std::string_view> contents;
    for (const Field& field : fields_) {
        if (field.number == number) contents.push_back(field.content);
    }
    return contents;
}

Message ProtobufReader::message(const Schema& schema, std::string_view content) {
    Message message;
    std::uint32_t seen = 0;
    while (!content.empty()) {
        const std::uint64_t tag = take_varint(content);
        const auto wire_type = static_cast<unsigned>(tag & 7U);
        const auto rule = std::find_if(schema.fields.begin(), schema.fields.end(),
                                       [&](const FieldRule& each) { return each.number == tag >> 3U; });
        if (rule == schema.fields.end() || !fits(rule->kind, wire_type)) {
            throw Damaged(std::string("the fields of ") + schema.name + " that bundles use",
                          "field " + std::to_string(tag >> 3U));
        }
        const std::uint32_t bit = 1U << rule->number;
        if (is_single(rule->kind) && (seen & bit) != 0) {
            throw Damaged(std::string("one ") + rule->name + " in " + schema.name, "several");
        }
        seen |= bit;
        read_field(message, *rule, wire_type, content);
    }
    return message;
}

void ProtobufReader::read_field(Message& message, const FieldRule& rule, unsigned wire_type, std::string_view& rest) {
    count_one();
    if (wire_type == length) {
        const std::uint64_t size = take_varint(rest);
        read_bytes(message, rule, take_bytes(rest, size));
    } else if (wire_type == fixed32) {
        take_bytes(rest, 4);
    } else {
        message.fields_.push_back({rule.number, static_cast<std::int64_t>(take_varint(rest)), {}});
    }
}

void ProtobufReader::read_bytes(Message& message, const FieldRule& rule, std::string_view content) {
    if (rule.kind == Kind::integers) {
        while (!content.empty()) {
            count_one();
            message.fields_.push_back({rule.number, static_cast<std::int64_t>(take_varint(content)), {}});
        }
    } else if (rule.kind == Kind::numbers) {
        if (content.size() % 4 != 0) throw cut_off();
    } else {
        message.fields_.push_back({rule.number, 0, content});
    }
}

void ProtobufReader::count_one() {
    if (++fields_ > most_fields) throw Damaged("at most " + std::to_string(most_fields) + " fields", "more");
}

std::string checked_name(std::string_view content) {
    if (content.size() > 1024) {
        throw Damaged("names of at most 1024 bytes", "one of " + std::to_string(content.size()));
    }
    const bool plain = std::all_of(content.begin(), content.end(), [](char x) { return x >= 0x20 && x < 0x7F; });
    if (!plain) throw Damaged("names of printable ASCII characters", "others");
    return std::string(content);
}

std::string quoted(const std::string& name) {
    return name.size() <= 80 ? "'" + name + "'" : "'" + name.substr(0, 77) + "...'";
}

}  // namespace glesam::core
