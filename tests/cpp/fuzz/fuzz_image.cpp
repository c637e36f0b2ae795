// Fuzzes the checks of a caller's view, and preprocessing from a buffer that ends exactly where the view ends.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "bytes.hpp"
#include "common/error.hpp"
#include "fuzz.hpp"
#include "image/preprocess.hpp"
#include "image/resample.hpp"

using glesam::core::Pixels;
using glesam_tests::Bytes;
using glesam_tests::must;

namespace {

// Larger pictures are checked and not resized: that is slow and shows nothing new.
constexpr std::int64_t most_bytes = 1 << 12;

/// A view without pixels. The input's first byte selects any numbers or those of small pictures, no data, and any
/// memory. No pixel is read through this view, so no number of an input is ever used as a device address.
glesam_image_view read_view(Bytes& bytes) {
    static constexpr std::uint8_t somewhere = 0;
    const auto kind = bytes.take<std::uint8_t>();
    const std::uint8_t* data = (kind & 2) != 0 ? nullptr : &somewhere;
    const std::int32_t memory = (kind & 4) != 0 ? bytes.take<std::int32_t>() : GLESAM_HOST;
    if ((kind & 1) != 0) {
        return {data,
                bytes.take<std::int32_t>(),
                bytes.take<std::int32_t>(),
                bytes.take<std::int64_t>(),
                bytes.take<std::int32_t>(),
                memory,
                nullptr};
    }
    return {data,
            bytes.take<std::uint8_t>(),
            bytes.take<std::uint8_t>(),
            bytes.take<std::uint16_t>(),
            bytes.take<std::uint8_t>() % 5,
            memory,
            nullptr};
}

/// The view's pixels; nothing where it is refused with an ImageError, the only error allowed.
std::optional<Pixels> checked(const glesam_image_view& view) {
    try {
        return glesam::core::pixels_of(view);
    } catch (const glesam::core::Error& error) {
        must(error.status() == GLESAM_IMAGE_ERROR, "a view is refused with GLESAM_IMAGE_ERROR");
        return std::nullopt;
    }
}

/// Bytes of a picture whose last row ends with its last pixel; -1 for pictures too large to try.
std::int64_t bytes_of(const Pixels& pixels) {
    const std::int64_t row = std::int64_t{pixels.width} * pixels.step;
    if (pixels.stride > most_bytes / pixels.height || row > most_bytes) return -1;
    return (pixels.height - 1) * std::int64_t{pixels.stride} + row;
}

glesam::core::Manifest read_manifest(Bytes& bytes) {
    glesam::core::Manifest manifest;
    manifest.image_size = 16 * (1 + bytes.take<std::uint8_t>() % 8);
    manifest.pixel_mean = {123.675, 116.28, 103.53};
    manifest.pixel_std = {58.395, 57.12, 57.375};
    return manifest;
}

/// Resizes as "longest-side" does.
void preprocess(const glesam::core::Manifest& manifest, const Pixels& pixels) {
    const auto values = 3 * static_cast<std::size_t>(manifest.image_size * manifest.image_size);
    const auto input = std::make_unique<float[]>(values);
    glesam::core::Preprocessor(manifest, pixels.height, pixels.width, glesam::core::Resize::longest_side)(pixels,
                                                                                                          input.get());
    must(std::all_of(input.get(), input.get() + values, [](float value) { return std::isfinite(value); }),
         "every input is finite");
}

/// The first step of "squash-512", to smaller sizes: 512 x 512 takes a hundred times as long.
void resize_bicubic(Bytes& bytes, const Pixels& pixels) {
    const int height = 1 + bytes.take<std::uint8_t>() % 64;
    const int width = 1 + bytes.take<std::uint8_t>() % 64;
    const Pixels resized =
        glesam::core::Resampler(pixels.height, pixels.width, height, width, glesam::core::Filter::bicubic)(pixels);
    must(resized.height == height && resized.width == width, "a picture gets the output's size");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes({reinterpret_cast<const char*>(data), size});
    const glesam::core::Manifest manifest = read_manifest(bytes);
    const bool bicubic = bytes.take<std::uint8_t>() % 2 == 1;
    const glesam_image_view view = read_view(bytes);
    std::optional<Pixels> pixels = checked(view);
    must(!pixels || view.memory == GLESAM_HOST || view.memory == GLESAM_DEVICE, "memory of a kind that there is");
    if (!pixels || bytes_of(*pixels) < 0) return 0;

    const auto count = static_cast<std::size_t>(bytes_of(*pixels));
    const auto buffer = std::make_unique<std::uint8_t[]>(count);
    std::generate_n(buffer.get(), count, [&] { return bytes.take<std::uint8_t>(); });
    pixels->data = buffer.get();
    if (bicubic) {
        resize_bicubic(bytes, *pixels);
    } else {
        preprocess(manifest, *pixels);
    }
    return 0;
}
