#include "picture.hpp"

#include <png.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "colours.hpp"
#include "decoded.hpp"
#include "new_file.hpp"

namespace {

/// Largest number of pixels of a picture: Pillow's limit, and so Python's.
constexpr std::int64_t max_pixels = 178956970;
constexpr std::size_t sniffed_bytes = 512;
/// Major brands of HEIF files with HEVC, in ISO/IEC 23008-12: what telephones write.
constexpr std::array<const char*, 8> heic_brands = {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"};

[[noreturn]] void throw_instead(const std::string& path, const std::string& instead) {
    throw std::runtime_error(path + ": expected a picture, found " + instead);
}

/// Throws std::runtime_error for what is no regular file: opening a pipe would wait for its other end.
void check_is_a_file(const std::string& path) {
    std::error_code failed;
    const auto status = std::filesystem::status(path, failed);
    if (std::filesystem::is_regular_file(status)) return;
    if (std::filesystem::is_directory(status)) throw_instead(path, "a folder; check the path");
    if (std::filesystem::is_fifo(status) || std::filesystem::is_socket(status)) {
        throw_instead(path, "a pipe; save the picture to a file first");
    }
    if (std::filesystem::is_other(status)) throw_instead(path, "a device; save the picture to a file first");
    throw_instead(path, "nothing readable; check the path");
}

File opened(const std::string& path) {
    check_is_a_file(path);
    File file(std::fopen(path.c_str(), "rb"));
    if (!file) throw_instead(path, "nothing readable; check the path");
    return file;
}

std::string start_of(std::FILE* file) {
    std::array<char, sniffed_bytes> start{};
    const std::size_t size = std::fread(start.data(), 1, start.size(), file);
    std::fseek(file, 0, SEEK_SET);
    return {start.data(), size};
}

bool starts_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

bool is_heic(const std::string& start) {
    if (start.size() < 12 || start.compare(4, 4, "ftyp") != 0) return false;
    return std::find(heic_brands.begin(), heic_brands.end(), start.substr(8, 4)) != heic_brands.end();
}

/// Throws std::runtime_error for what is downloaded in place of a file, or comes from a telephone.
void check_no_stand_in(const std::string& path, const std::string& start) {
    if (start.empty()) throw_instead(path, "an unknown format, for the file is empty; copy it again");
    if (starts_with(start, "version https://git-lfs.github.com/spec/")) {
        throw_instead(path, "a Git LFS pointer in its place; run git lfs pull");
    }
    if (is_heic(start)) throw_instead(path, "a HEIC file; save it as JPEG");
    std::string text = start.substr(std::min(start.size(), start.find_first_not_of(" \t\r\n\xef\xbb\xbf")));
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) { return std::tolower(letter); });
    const bool is_xhtml = starts_with(text, "<?xml") && text.find("<html") != std::string::npos;
    if (is_xhtml || starts_with(text, "<!doctype html") || starts_with(text, "<html") || starts_with(text, "<head")) {
        throw_instead(path, "a web page in its place; download the file itself");
    }
}

}  // namespace

bool is_readable_size(std::int64_t width, std::int64_t height) { return width <= max_pixels / height; }

void check_size(const std::string& path, std::int64_t width, std::int64_t height) {
    if (is_readable_size(width, height)) return;
    throw std::runtime_error(path + ": " + std::to_string(width) + " x " + std::to_string(height) +
                             " pixels exceed the limit of " + std::to_string(max_pixels) +
                             " pixels; make the picture smaller");
}

void throw_unreadable(const std::string& path, const std::string& reason) {
    throw std::runtime_error(path + ": cannot read the picture to its end (" + reason + "); copy it again");
}

Picture read_picture(const std::string& path) {
    const File file = opened(path);
    const std::string start = start_of(file.get());
    check_no_stand_in(path, start);
    if (starts_with(start, "\x89PNG\r\n\x1a\n")) return shown(decode_png(path, file.get()));
    if (starts_with(start, "\xff\xd8\xff")) return shown(decode_jpeg(path, file.get()));
    throw_instead(path, "an unknown format; give a PNG or JPEG file");
}

void write_mask(const std::string& path, const std::uint8_t* mask, int width, int height) {
    std::vector<std::uint8_t> grey(mask, mask + std::ptrdiff_t{width} * height);
    for (auto& value : grey) value = value != 0 ? 255 : 0;
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width);
    image.height = static_cast<png_uint_32>(height);
    image.format = PNG_FORMAT_GRAY;
    NewFile file(path);
    if (png_image_write_to_stdio(&image, file.stream(), 0, grey.data(), 0, nullptr) == 0) file.fail();
    file.replace_target();
}
