#include <png.h>

#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <stdexcept>

#include "colours.hpp"

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
    /// Grey of 16 bits; the transparent one is -1 where there is none.
    bool deep_grey = false;
    int transparent_grey = -1;
};

void read_profile(png_structp png, png_infop info, Decoded& decoded) {
    png_charp name = nullptr;
    png_bytep profile = nullptr;
    png_uint_32 size = 0;
    int compression = 0;
    if (png_get_iCCP(png, info, &name, &compression, &profile, &size) != 0) {
        decoded.profile.assign(reinterpret_cast<const char*>(profile), size);
    }
    png_fixed_point gamma = 0;
    const bool overridden = png_get_valid(png, info, PNG_INFO_sRGB) != 0 || !decoded.profile.empty();
    if (!overridden && png_get_gAMA_fixed(png, info, &gamma) != 0) decoded.gamma = significant_gamma(gamma);
}

void read_exif(png_structp png, png_infop info, Decoded& decoded) {
#ifdef PNG_eXIf_SUPPORTED
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png, info, &size, &exif) != 0) decoded.exif.assign(reinterpret_cast<const char*>(exif), size);
#endif
}

/// Asks for channels of 8 bits; a grey of 16 bits stays, so that it is rounded once.
void prepare(png_structp png, png_infop info, Raw& raw) {
    const bool is_grey = png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY;
    raw.deep_grey = is_grey && png_get_bit_depth(png, info) == 16;
    if (raw.deep_grey) {
        png_color_16p key = nullptr;
        if (png_get_tRNS(png, info, nullptr, nullptr, &key) != 0 && key != nullptr) raw.transparent_grey = key->gray;
    } else {
        png_set_expand(png);
        png_set_strip_16(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    raw.channels = png_get_channels(png, info);
}

bool decode(png_structp png, png_infop info, PngError& error, Decoded& decoded, Raw& raw) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
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

/// Most bytes behind the pixels: libpng unpacks what is too much of them, which takes a second for a megabyte.
constexpr std::size_t most_rest = std::size_t{2} << 20U;

struct Rest {
    std::FILE* file;
    std::size_t left;
};

void read_some(png_structp png, png_bytep bytes, std::size_t size) {
    auto* rest = static_cast<Rest*>(png_get_io_ptr(png));
    if (size > rest->left || std::fread(bytes, 1, size, rest->file) != size) png_error(png, "no more");
    rest->left -= size;
}

/// Reads the chunks behind the pixels, of which EXIF may be one; damage there is no viewer's concern.
void read_rest(png_structp png, png_infop info) {
    Rest rest = {static_cast<std::FILE*>(png_get_io_ptr(png)), most_rest};
    png_set_read_fn(png, &rest, read_some);
    if (setjmp(png_jmpbuf(png)) != 0) return;
    png_read_end(png, info);
}

void split_deep_grey(const Raw& raw, Decoded& decoded) {
    const auto table = byte_table(0xFFFF, decoded.gamma);
    decoded.gamma.reset();
    const std::size_t pixels = raw.bytes.size() / 2;
    decoded.colours.resize(pixels);
    if (raw.transparent_grey >= 0) decoded.alpha.resize(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        const int value = raw.bytes[2 * i] << 8 | raw.bytes[2 * i + 1];
        decoded.colours[i] = table[static_cast<std::size_t>(value)];
        if (raw.transparent_grey >= 0) decoded.alpha[i] = value == raw.transparent_grey ? 0 : 255;
    }
}

void split(const Raw& raw, Decoded& decoded) {
    decoded.space = raw.channels <= 2 ? Space::grey : Space::rgb;
    if (raw.deep_grey) return split_deep_grey(raw, decoded);
    const auto channels = static_cast<std::size_t>(raw.channels);
    const auto colours = static_cast<std::size_t>(decoded.space);
    const std::size_t pixels = raw.bytes.size() / channels;
    decoded.colours.reserve(pixels * colours);
    for (std::size_t i = 0; i < pixels; ++i) {
        const std::uint8_t* from = &raw.bytes[i * channels];
        decoded.colours.insert(decoded.colours.end(), from, from + colours);
        if (channels > colours) decoded.alpha.push_back(from[colours]);
    }
}

}  // namespace

Decoded decode_png(const std::string& path, std::FILE* file) {
    PngError error{};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, leave, stay_quiet);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) throw std::bad_alloc();
    png_init_io(png, file);
    Decoded decoded;
    Raw raw;
    const bool is_whole = decode(png, info, error, decoded, raw);
    if (is_whole) {
        read_rest(png, info);
        read_profile(png, info, decoded);
        read_exif(png, info, decoded);
    }
    png_destroy_read_struct(&png, &info, nullptr);
    if (error.refused_width > 0) check_size(path, error.refused_width, error.refused_height);
    if (!is_whole) throw_unreadable(path, error.message.data());
    split(raw, decoded);
    return decoded;
}
