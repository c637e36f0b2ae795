// A picture as its file stores it, and the readers of files that make one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

/// Channels that a file stores: one, three, or four of 0 (no ink) to 255.
enum class Space : std::uint8_t { grey = 1, rgb = 3, cmyk = 4 };

struct Decoded {
    int width = 0;
    int height = 0;
    Space space = Space::rgb;
    std::vector<std::uint8_t> colours;
    /// A byte per pixel; empty where all are opaque.
    std::vector<std::uint8_t> alpha;
    /// ICC profile and EXIF block, empty where there is none.
    std::string profile;
    std::string exif;
    /// A PNG's gAMA that is yet to be applied.
    std::optional<double> gamma;
};

/// Both read from the start of `file`, of PNG or JPEG; `path` names it in errors. They throw std::runtime_error for
/// damaged files and, before pixels are decoded, for pictures of too many pixels.
Decoded decode_png(const std::string& path, std::FILE* file);
Decoded decode_jpeg(const std::string& path, std::FILE* file);

/// False for more pixels than Python reads, too.
bool is_readable_size(std::int64_t width, std::int64_t height);

/// Throws std::runtime_error where a picture has more pixels than Python reads.
void check_size(const std::string& path, std::int64_t width, std::int64_t height);

/// The error of a damaged or unknown file.
[[noreturn]] void throw_unreadable(const std::string& path, const std::string& reason);
