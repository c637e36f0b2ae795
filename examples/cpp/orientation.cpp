#include <algorithm>
#include <cstddef>

#include "colours.hpp"

namespace {

constexpr std::uint32_t orientation_tag = 274;
constexpr std::size_t entry_bytes = 12;

/// Numbers of an EXIF block; those behind its end are absent.
class Block {
   public:
    explicit Block(const std::string& bytes)
        : bytes_(bytes), is_little_(bytes.rfind(std::string("II*\0", 4), 0) == 0) {}

    bool is_tiff() const { return is_little_ || bytes_.rfind(std::string("MM\0*", 4), 0) == 0; }

    std::optional<std::uint32_t> number(std::size_t at, std::size_t size) const {
        if (at > bytes_.size() || size > bytes_.size() - at) return std::nullopt;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t place = is_little_ ? size - 1 - i : i;
            value = value << 8 | static_cast<unsigned char>(bytes_[at + place]);
        }
        return value;
    }

   private:
    const std::string& bytes_;
    bool is_little_;
};

/// Bytes of a BYTE, SHORT or LONG; 0 for other types.
std::size_t size_of_type(std::uint32_t type) { return type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0; }

}  // namespace

int orientation_of(const std::string& exif) {
    static const std::string prefix("Exif\0\0", 6);
    if (exif.rfind(prefix, 0) == 0) return orientation_of(exif.substr(prefix.size()));
    const Block block(exif);
    const auto start = block.number(4, 4);
    const auto count = block.is_tiff() && start ? block.number(*start, 2) : std::nullopt;
    for (std::size_t i = 0; i < count.value_or(0); ++i) {
        const std::size_t entry = std::size_t{start.value_or(0)} + 2 + entry_bytes * i;
        const auto tag = block.number(entry, 2);
        const auto type = block.number(entry + 2, 2);
        if (!tag || !type) return 1;
        if (*tag != orientation_tag || size_of_type(*type) == 0) continue;
        const std::uint32_t value = block.number(entry + 8, size_of_type(*type)).value_or(1);
        return 1 <= value && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}
