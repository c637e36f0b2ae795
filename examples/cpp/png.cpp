#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "colours.hpp"
#include "png_chunks.hpp"

namespace {

constexpr std::size_t message_bytes = 128;

/// libpng leaves an error by a long jump: no object with a destructor may be created after the setjmp.
struct PngError {
    std::array<char, message_bytes> message;
    std::int64_t refused_width = 0;
    std::int64_t refused_height = 0;
};

void leave(png_structp png, png_const_charp message) {
    auto* error = static_cast<PngError*>(png_get_error_ptr(png));
    std::snprintf(error->message.data(), error->message.size(), "%s", message);
    png_longjmp(png, 1);
}

void stay_quiet(png_structp /*png*/, png_const_charp /*message*/) {}

/// Rows as libpng delivers them, and what of the header is needed to take them apart.
struct Raw {
    std::vector<std::uint8_t> bytes;
    std::vector<png_bytep> rows;
    int channels = 0;
    /// Grey of 16 bits.
    bool deep_grey = false;
    /// The transparent colour where libpng does not apply it: a grey of 16 bits, or the high bytes of red, green, blue.
    std::vector<int> key;
};

/// Asks for channels of 8 bits; a grey of 16 bits stays, so that it is rounded once.
void prepare(png_structp png, png_infop info, Raw& raw) {
    const bool is_deep = png_get_bit_depth(png, info) == 16;
    const int type = png_get_color_type(png, info);
    raw.deep_grey = is_deep && type == PNG_COLOR_TYPE_GRAY;
    png_color_16p key = nullptr;
    if (is_deep && png_get_tRNS(png, info, nullptr, nullptr, &key) != 0 && key != nullptr) {
        if (raw.deep_grey) {
            raw.key = {key->gray};
        } else {
            raw.key = {key->red >> 8, key->green >> 8, key->blue >> 8};
        }
    }
    if (!raw.deep_grey) png_set_strip_16(png);
    if (!is_deep) png_set_expand(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    raw.channels = png_get_channels(png, info);
}

/// Leaves the judgement of chunks and checksums to read_png_chunks, and sizes to is_readable_size.
void trust_chunks(png_structp png) {
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, PNG_UINT_31_MAX);
}

/// Whether every row is there: what follows in the stream may be damaged, or unpack to gigabytes.
bool has_all_rows(png_structp png, png_infop info) {
    const bool is_interlaced = png_get_interlace_type(png, info) != PNG_INTERLACE_NONE;
    constexpr int passes = 7;
    const png_uint_32 rows = png_get_image_height(png, info);  // 0 until the header is read
    return is_interlaced ? png_get_current_pass_number(png) >= passes
                         : rows > 0 && png_get_current_row_number(png) >= rows;
}

struct Source {
    std::FILE* file;
    png_infop info;
};

/// Ends libpng's reading with the last row, after which it would unpack the rest of the stream to discard it.
void read_until_all_rows(png_structp png, png_bytep to, std::size_t size) {
    const auto* source = static_cast<const Source*>(png_get_io_ptr(png));
    if (has_all_rows(png, source->info)) png_error(png, "all rows are read");
    if (std::fread(to, 1, size, source->file) != size) png_error(png, "Read Error");
}

bool decode(png_structp png, png_infop info, PngError& error, Decoded& decoded, Raw& raw) {
    if (setjmp(png_jmpbuf(png)) != 0) return !raw.rows.empty() && has_all_rows(png, info);
    png_read_info(png, info);
    decoded.width = static_cast<int>(png_get_image_width(png, info));
    decoded.height = static_cast<int>(png_get_image_height(png, info));
    if (!is_readable_size(decoded.width, decoded.height)) {
        error.refused_width = decoded.width;
        error.refused_height = decoded.height;
        return false;
    }
    prepare(png, info, raw);
    const std::size_t row_bytes = png_get_rowbytes(png, info);
    raw.bytes.resize(row_bytes * static_cast<std::size_t>(decoded.height));
    raw.rows.resize(static_cast<std::size_t>(decoded.height));
    for (std::size_t y = 0; y < raw.rows.size(); ++y) raw.rows[y] = &raw.bytes[y * row_bytes];
    png_read_image(png, raw.rows.data());
    return true;
}

void split_deep_grey(const Raw& raw, Decoded& decoded) {
    const auto table = byte_table(0xFFFF, decoded.gamma);
    decoded.gamma.reset();
    const std::size_t pixels = raw.bytes.size() / 2;
    decoded.colours.resize(pixels);
    if (!raw.key.empty()) decoded.alpha.resize(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        const int value = raw.bytes[2 * i] << 8 | raw.bytes[2 * i + 1];
        decoded.colours[i] = table[static_cast<std::size_t>(value)];
        if (!raw.key.empty()) decoded.alpha[i] = value == raw.key[0] ? 0 : 255;
    }
}

void split(const Raw& raw, Decoded& decoded) {
    if (raw.deep_grey) return split_deep_grey(raw, decoded);
    const auto channels = static_cast<std::size_t>(raw.channels);
    const auto colours = static_cast<std::size_t>(decoded.space);
    const std::size_t pixels = raw.bytes.size() / channels;
    decoded.colours.reserve(pixels * colours);
    for (std::size_t i = 0; i < pixels; ++i) {
        const std::uint8_t* from = &raw.bytes[i * channels];
        decoded.colours.insert(decoded.colours.end(), from, from + colours);
        if (channels > colours) decoded.alpha.push_back(from[colours]);
        if (!raw.key.empty()) decoded.alpha.push_back(std::equal(from, from + colours, raw.key.begin()) ? 0 : 255);
    }
}

}  // namespace

Decoded decode_png(const std::string& path, std::FILE* file) {
    PngChunks chunks = read_png_chunks(path, file);
    PngError error{};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, leave, stay_quiet);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) throw std::bad_alloc();
    trust_chunks(png);
    if (chunks.is_cut) png_set_compression_buffer_size(png, 1);  // else libpng refuses what it cannot read at once
    Source source{file, info};
    png_set_read_fn(png, &source, read_until_all_rows);
    Decoded decoded;
    Raw raw;
    const bool is_whole = decode(png, info, error, decoded, raw);
    png_destroy_read_struct(&png, &info, nullptr);
    if (error.refused_width > 0) check_size(path, error.refused_width, error.refused_height);
    if (!is_whole) throw_unreadable(path, error.message.data());
    decoded.space = raw.channels <= 2 ? Space::grey : Space::rgb;
    decoded.profile = std::move(chunks.profile);
    decoded.exif = std::move(chunks.exif);
    if (chunks.gamma && !chunks.is_srgb && !is_profile_for(decoded.profile, decoded.space)) {
        decoded.gamma = significant_gamma(*chunks.gamma);
    }
    split(raw, decoded);
    return decoded;
}
