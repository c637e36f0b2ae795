#include "png_chunks.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "decoded.hpp"

namespace {

constexpr std::size_t signature_bytes = 8;
constexpr std::size_t buffer_bytes = 65536;
/// Largest profile, and largest chunk that is kept: Pillow's limit for a profile, and more than EXIF may have.
constexpr std::size_t most_profile_bytes = std::size_t{1} << 20U;
constexpr std::size_t most_kept_bytes = std::size_t{64} << 20U;

std::uint32_t big_endian(const unsigned char* bytes) {
    return std::uint32_t{bytes[0]} << 24U | std::uint32_t{bytes[1]} << 16U | std::uint32_t{bytes[2]} << 8U | bytes[3];
}

struct Header {
    std::uint32_t length = 0;
    std::string name;
};

/// The next chunk's header; nothing at the end of the file, and where what follows is no chunk.
std::optional<Header> next_header(std::FILE* file) {
    std::array<unsigned char, 8> bytes{};
    if (std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) return std::nullopt;
    const std::string name(bytes.begin() + 4, bytes.end());
    const auto is_sound = [](unsigned char letter) { return letter < 0x80 && (std::isalnum(letter) || letter == '_'); };
    if (!std::all_of(name.begin(), name.end(), is_sound)) return std::nullopt;
    return Header{big_endian(bytes.data()), name};
}

/// Least sizes of chunks that Pillow checks.
const std::map<std::string, std::uint32_t>& least_sizes() {
    static const std::map<std::string, std::uint32_t> sizes = {
        {"IHDR", 13}, {"cHRM", 32}, {"gAMA", 4}, {"pHYs", 9}, {"sRGB", 1}};
    return sizes;
}

bool is_kept(const std::string& name) { return name == "gAMA" || name == "sRGB" || name == "iCCP" || name == "eXIf"; }

/// Reads the chunks of one file in their order.
class Walk {
   public:
    Walk(const std::string& path, std::FILE* file) : path_(path), file_(file) {}

    PngChunks chunks() {
        std::fseek(file_, signature_bytes, SEEK_SET);
        bool behind_pixels = false;
        while (true) {
            const auto header = next_header(file_);
            if (!header && !behind_pixels) throw_unreadable(path_, "a chunk is damaged, or the file ends too early");
            if (!header || header->name == "IEND") return chunks_;
            if (header->name == "IDAT") {
                behind_pixels = true;
                skip_pixels(header->length);
            } else if (behind_pixels && is_animated_ && header->name == "fcTL") {
                return chunks_;  // the next frame
            } else {
                take(*header, behind_pixels);
            }
        }
    }

   private:
    void skip_pixels(std::uint32_t length) {
        const long end = std::ftell(file_) + long{length};
        std::fseek(file_, 0, SEEK_END);
        if (std::ftell(file_) < end) chunks_.is_cut = true;
        std::fseek(file_, end + 4, SEEK_SET);
    }

    void take(const Header& header, bool behind_pixels) {
        const auto least = least_sizes().find(header.name);
        if (least != least_sizes().end() && header.length < least->second) {
            throw_unreadable(path_, "its chunk " + header.name + " is too short");
        }
        const bool is_sound = read_data(header);
        if (!behind_pixels && !is_sound) throw_unreadable(path_, "its chunk " + header.name + " is damaged");
        if (header.name == "acTL") is_animated_ = true;
        if (header.name == "gAMA") chunks_.gamma = static_cast<std::int32_t>(big_endian(bytes()));
        if (header.name == "sRGB") chunks_.is_srgb = true;
        if (header.name == "eXIf") chunks_.exif = data_;
        if (header.name == "iCCP") chunks_.profile = profile();
    }

    const unsigned char* bytes() const { return reinterpret_cast<const unsigned char*>(data_.data()); }

    /// Reads a chunk's data, into data_ where it is kept. Returns whether the checksum behind it is right.
    bool read_data(const Header& header) {
        data_.clear();
        uLong sum = crc32(0, reinterpret_cast<const Bytef*>(header.name.data()), 4);
        for (std::size_t left = header.length; left > 0;) {
            const std::size_t wanted = std::min(left, buffer_bytes);
            if (std::fread(buffer_.data(), 1, wanted, file_) != wanted) throw_unreadable(path_, "it ends too early");
            sum = crc32(sum, reinterpret_cast<const Bytef*>(buffer_.data()), static_cast<uInt>(wanted));
            if (is_kept(header.name)) data_.append(buffer_.data(), wanted);
            if (data_.size() > most_kept_bytes) throw_unreadable(path_, "its chunk " + header.name + " is too large");
            left -= wanted;
        }
        std::array<unsigned char, 4> stored{};
        return std::fread(stored.data(), 1, 4, file_) == 4 && big_endian(stored.data()) == sum;
    }

    /// The profile in data_: a name, a zero, a zero for deflate, and the compressed bytes; empty where these are
    /// broken.
    std::string profile() const {
        const std::size_t end = data_.find('\0');
        if (end == std::string::npos || end + 1 >= data_.size() || data_[end + 1] != '\0') {
            throw_unreadable(path_, "its chunk iCCP is damaged");
        }
        z_stream stream{};
        if (inflateInit(&stream) != Z_OK) throw std::bad_alloc();
        std::string profile(most_profile_bytes, '\0');
        stream.next_in = const_cast<Bytef*>(bytes() + end + 2);  // zlib only reads them
        stream.avail_in = static_cast<uInt>(data_.size() - end - 2);
        stream.next_out = reinterpret_cast<Bytef*>(profile.data());
        stream.avail_out = static_cast<uInt>(profile.size());
        const int status = inflate(&stream, Z_SYNC_FLUSH);
        const bool is_too_large = status == Z_OK && stream.avail_in > 0;
        profile.resize(stream.total_out);
        inflateEnd(&stream);
        if (is_too_large) throw_unreadable(path_, "its ICC profile is too large");
        const bool is_sound = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR;
        return is_sound ? profile : "";
    }

    const std::string& path_;
    std::FILE* file_;
    PngChunks chunks_;
    bool is_animated_ = false;
    std::string data_;
    std::string buffer_ = std::string(buffer_bytes, '\0');
};

}  // namespace

PngChunks read_png_chunks(const std::string& path, std::FILE* file) {
    PngChunks chunks = Walk(path, file).chunks();
    std::fseek(file, 0, SEEK_SET);
    return chunks;
}
