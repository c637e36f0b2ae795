// Reads values from the front of a fuzzer's input; zeros after its end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace glesam_tests {

class Bytes {
   public:
    explicit Bytes(std::string_view rest) : rest_(rest) {}

    template <typename T>
    T take() {
        T value{};
        const std::size_t size = std::min(sizeof value, rest_.size());
        std::memcpy(&value, rest_.data(), size);
        rest_.remove_prefix(size);
        return value;
    }

   private:
    std::string_view rest_;
};

}  // namespace glesam_tests
