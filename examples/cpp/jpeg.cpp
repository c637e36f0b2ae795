#include <cstddef>
#include <cstdio>
// jpeglib.h needs both above.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdlib>
#include <numeric>
#include <stdexcept>

#include "decoded.hpp"

namespace {

constexpr int exif_marker = JPEG_APP0 + 1;
constexpr int profile_marker = JPEG_APP0 + 2;
constexpr unsigned whole_marker = 0xFFFF;

/// libjpeg leaves an error by a long jump: no object with a destructor may be created after the setjmp.
struct JpegError {
    jpeg_error_mgr base;
    std::jmp_buf out;
    std::array<char, JMSG_LENGTH_MAX> message;
    bool is_cut;
    bool is_too_large;
    bool has_more_scans;
};

void leave(j_common_ptr decoder) {
    auto* error = reinterpret_cast<JpegError*>(decoder->err);
    error->base.format_message(decoder, error->message.data());
    std::longjmp(error->out, 1);
}

/// Most scans of a picture, as in Python: each goes over all pixels once more, and a few bytes suffice for one.
constexpr int most_scans = 100;

void count_scans(j_common_ptr decoder) {
    if (reinterpret_cast<j_decompress_ptr>(decoder)->input_scan_number <= most_scans) return;
    auto* error = reinterpret_cast<JpegError*>(decoder->err);
    error->has_more_scans = true;
    std::longjmp(error->out, 1);
}

/// Notes where the file ends too early. What else libjpeg warns of and repairs, every viewer shows. Prints nothing.
void note_cut(j_common_ptr decoder, int level) {
    if (level < 0 && decoder->err->msg_code == JWRN_JPEG_EOF) reinterpret_cast<JpegError*>(decoder->err)->is_cut = true;
}

void choose_space(jpeg_decompress_struct& decoder, Decoded& decoded) {
    switch (decoder.jpeg_color_space) {
        case JCS_GRAYSCALE:
            decoder.out_color_space = JCS_GRAYSCALE;
            decoded.space = Space::grey;
            break;
        case JCS_CMYK:
        case JCS_YCCK:
            decoder.out_color_space = JCS_CMYK;
            decoded.space = Space::cmyk;
            break;
        default: decoder.out_color_space = JCS_RGB; decoded.space = Space::rgb;
    }
}

/// What follows `prefix` in the segments of one marker that start with it.
std::vector<std::string> segments(const jpeg_decompress_struct& decoder, int marker, const std::string& prefix) {
    std::vector<std::string> found;
    for (auto* each = decoder.marker_list; each != nullptr; each = each->next) {
        const std::string data(reinterpret_cast<const char*>(each->data), each->data_length);
        if (each->marker == marker && data.rfind(prefix, 0) == 0) found.push_back(data.substr(prefix.size()));
    }
    return found;
}

/// The EXIF block, which may go on in further segments.
std::string exif_of(const jpeg_decompress_struct& decoder) {
    const std::vector<std::string> parts = segments(decoder, exif_marker, std::string("Exif\0\0", 6));
    return std::accumulate(parts.begin(), parts.end(), std::string());
}

/// The profile, whose segments start with their number and how many there are; empty where some are missing.
std::string profile_of(const jpeg_decompress_struct& decoder) {
    std::vector<std::string> parts = segments(decoder, profile_marker, std::string("ICC_PROFILE\0", 12));
    std::sort(parts.begin(), parts.end());
    constexpr std::size_t numbers = 2;
    const bool is_whole =
        !parts.empty() && parts[0].size() >= numbers && static_cast<unsigned char>(parts[0][1]) == parts.size();
    std::string profile;
    for (const std::string& part : parts) {
        if (is_whole && part.size() > numbers) profile += part.substr(numbers);
    }
    return profile;
}

bool decode(jpeg_decompress_struct& decoder, JpegError& error, std::FILE* file, Decoded& decoded) {
    if (setjmp(error.out) != 0) return false;
    jpeg_stdio_src(&decoder, file);
    jpeg_save_markers(&decoder, exif_marker, whole_marker);
    jpeg_save_markers(&decoder, profile_marker, whole_marker);
    jpeg_read_header(&decoder, TRUE);
    decoded.width = static_cast<int>(decoder.image_width);
    decoded.height = static_cast<int>(decoder.image_height);
    error.is_too_large = !is_readable_size(decoded.width, decoded.height);
    if (error.is_too_large) return false;
    decoded.exif = exif_of(decoder);
    decoded.profile = profile_of(decoder);
    choose_space(decoder, decoded);
    jpeg_start_decompress(&decoder);
    const std::size_t row_bytes = std::size_t{decoder.output_width} * static_cast<std::size_t>(decoded.space);
    decoded.colours.resize(row_bytes * decoder.output_height);
    while (decoder.output_scanline < decoder.output_height) {
        JSAMPROW row = decoded.colours.data() + row_bytes * decoder.output_scanline;
        jpeg_read_scanlines(&decoder, &row, 1);
    }
    jpeg_finish_decompress(&decoder);
    return true;
}

}  // namespace

Decoded decode_jpeg(const std::string& path, std::FILE* file) {
    jpeg_decompress_struct decoder{};
    JpegError error{};
    decoder.err = jpeg_std_error(&error.base);
    error.base.error_exit = leave;
    error.base.emit_message = note_cut;
    jpeg_create_decompress(&decoder);
    jpeg_progress_mgr progress{};
    progress.progress_monitor = count_scans;
    decoder.progress = &progress;
    Decoded decoded;
    const bool is_whole = decode(decoder, error, file, decoded);
    jpeg_destroy_decompress(&decoder);
    if (error.is_too_large) check_size(path, decoded.width, decoded.height);
    if (error.has_more_scans) {
        throw std::runtime_error(path + ": expected a JPEG of at most " + std::to_string(most_scans) +
                                 " scans, found more; save the picture again");
    }
    if (!is_whole) throw_unreadable(path, error.message.data());
    if (error.is_cut) throw_unreadable(path, "it ends too early");
    // Files of four inks store them inverted, as Adobe's programs do.
    if (decoded.space == Space::cmyk) {
        for (auto& ink : decoded.colours) ink = static_cast<std::uint8_t>(255 - ink);
    }
    return decoded;
}
