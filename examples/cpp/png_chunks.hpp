// The chunks of a PNG that say how its pixels are shown, read as Pillow reads them: libpng judges them otherwise.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

struct PngChunks {
    /// gAMA as it is stored; it counts unless is_srgb or a profile overrides it.
    std::optional<std::int32_t> gamma;
    bool is_srgb = false;
    /// ICC profile and EXIF block, empty where there is none.
    std::string profile;
    std::string exif;
    /// The file ends inside the pixels' data, which may be there in full before its own checksum.
    bool is_cut = false;
};

/// Reads all chunks from the start of `file`; of several of a kind the last one counts.
///
/// Throws std::runtime_error where a chunk before the pixels is damaged, or one behind them is cut off.
PngChunks read_png_chunks(const std::string& path, std::FILE* file);
