// Reads protobuf messages by a table of the fields that may occur; everything else is refused.
//
// It reads the wire format alone: no field is skipped unseen, none is copied but names, and the number of fields is
// limited, so that its time is linear in their number. glesam_runtime/bundle/protobuf.py does the same.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace glesam::core {

/// A file breaks a rule: "expected ..., found ...", or another verb in place of "expected".
class Damaged : public std::runtime_error {
   public:
    Damaged(const std::string& expected, const std::string& actual, const std::string& verb = "expected")
        : std::runtime_error(verb + " " + expected + ", found " + actual) {}
};

/// Kinds of fields: integer, number (a float) and bytes occur once, integers, numbers and many (bytes) often.
enum class Kind { integer, number, bytes, integers, numbers, many };

/// A field that a message may hold.
struct FieldRule {
    std::uint64_t number;
    const char* name;
    Kind kind;
};

/// A kind of message: its name in errors, and the fields that it may hold; their numbers are below 32.
struct Schema {
    const char* name;
    std::vector<FieldRule> fields;
};

/// The fields of one message, as the file has them.
class Message {
   public:
    /// The value of an integer; nothing where it is absent.
    std::optional<std::int64_t> integer(std::uint64_t number) const;

    /// The values of integers.
    std::vector<std::int64_t> integers(std::uint64_t number) const;

    /// The content of bytes; nothing where they are absent.
    std::optional<std::string_view> bytes(std::uint64_t number) const;

    /// The contents of many bytes.
    std::vector<std::string_view> many(std::uint64_t number) const;

   private:
    friend class ProtobufReader;
    struct Field {
        std::uint64_t number;
        std::int64_t value;
        std::string_view content;
    };
    std::vector<Field> fields_;
};

/// Reads messages of one file in memory, which must outlive them.
class ProtobufReader {
   public:
    /// Throws Damaged where the message holds anything that `schema` does not.
    Message message(const Schema& schema, std::string_view content);

   private:
    void read_field(Message& message, const FieldRule& rule, unsigned wire_type, std::string_view& rest);
    void read_bytes(Message& message, const FieldRule& rule, std::string_view content);
    void count_one();

    int fields_ = 0;
};

/// A name. Throws Damaged where it is long, or has other than ASCII's printable characters.
std::string checked_name(std::string_view content);

/// A name for a message: whole, or its start where it is long.
std::string quoted(const std::string& name);

}  // namespace glesam::core
