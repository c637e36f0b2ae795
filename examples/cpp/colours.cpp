#include "colours.hpp"

#include <lcms2.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace {

constexpr double srgb_gamma = 0.45455;
constexpr double gamma_tolerance = 0.05;
/// libpng's range of gAMA; other values are no gamma.
constexpr std::int32_t least_gamma = 16;
constexpr std::int32_t most_gamma = 625000000;
/// Pictures whose profile moves no colour of a grid by more keep their bits.
constexpr int rounding_of_profiles = 1;
constexpr int probe_step = 51;
constexpr std::size_t space_offset = 16;

std::uint8_t srgb_byte(double light) {
    const double encoded = light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055;
    return static_cast<std::uint8_t>(255 * encoded + 0.5);
}

/// x * y / 255, rounded as Pillow rounds.
int scaled(int x, int y) {
    const int product = x * y + 128;
    return ((product >> 8) + product) >> 8;
}

std::vector<std::uint8_t> rgb_of(const Decoded& decoded) {
    const std::size_t pixels = decoded.colours.size() / static_cast<std::size_t>(decoded.space);
    std::vector<std::uint8_t> rgb(pixels * 3);
    for (std::size_t i = 0; i < pixels; ++i) {
        const std::uint8_t* from = &decoded.colours[i * static_cast<std::size_t>(decoded.space)];
        for (std::size_t c = 0; c < 3; ++c) {
            const int paper = decoded.space == Space::cmyk ? 255 - from[3] : 0;
            rgb[i * 3 + c] =
                decoded.space == Space::grey
                    ? from[0]
                    : static_cast<std::uint8_t>(decoded.space == Space::rgb ? from[c] : paper - scaled(from[c], paper));
        }
    }
    return rgb;
}

struct CloseProfile {
    void operator()(void* profile) const { cmsCloseProfile(profile); }
};
struct DeleteTransform {
    void operator()(void* transform) const { cmsDeleteTransform(transform); }
};
using Profile = std::unique_ptr<std::remove_pointer_t<cmsHPROFILE>, CloseProfile>;
using Transform = std::unique_ptr<std::remove_pointer_t<cmsHTRANSFORM>, DeleteTransform>;

/// A transform to sRGB; null where the profile is broken or is for other pixels.
Transform transform_of(const std::string& profile, Space space) {
    if (!is_profile_for(profile, space)) return nullptr;
    const Profile from(cmsOpenProfileFromMem(profile.data(), static_cast<cmsUInt32Number>(profile.size())));
    const Profile srgb(cmsCreate_sRGBProfile());
    if (!from || !srgb) return nullptr;
    const cmsUInt32Number format = space == Space::grey ? TYPE_GRAY_8 : space == Space::rgb ? TYPE_RGB_8 : TYPE_CMYK_8;
    return Transform(cmsCreateTransform(from.get(), format, srgb.get(), TYPE_RGB_8, INTENT_PERCEPTUAL, 0));
}

std::vector<std::uint8_t> transformed(const Transform& transform, const std::vector<std::uint8_t>& from, Space space) {
    const std::size_t pixels = from.size() / static_cast<std::size_t>(space);
    std::vector<std::uint8_t> rgb(pixels * 3);
    cmsDoTransform(transform.get(), from.data(), rgb.data(), static_cast<cmsUInt32Number>(pixels));
    return rgb;
}

bool changes_little(const Transform& transform, Space space) {
    Decoded grid;
    grid.space = space;
    for (int r = 0; r < 256; r += probe_step) {
        for (int g = 0; g < 256; g += probe_step) {
            for (int b = 0; b < 256; b += probe_step) {
                for (const int value : {r, g, b}) {
                    if (space == Space::rgb || value == b) grid.colours.push_back(static_cast<std::uint8_t>(value));
                }
            }
        }
    }
    const auto before = rgb_of(grid);
    const auto after = transformed(transform, grid.colours, space);
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (std::abs(before[i] - after[i]) > rounding_of_profiles) return false;
    }
    return true;
}

std::vector<std::uint8_t> in_srgb(const Decoded& decoded) {
    if (const Transform transform = transform_of(decoded.profile, decoded.space)) {
        if (decoded.space == Space::cmyk || !changes_little(transform, decoded.space)) {
            return transformed(transform, decoded.colours, decoded.space);
        }
    }
    std::vector<std::uint8_t> rgb = rgb_of(decoded);
    if (!decoded.gamma) return rgb;
    const auto table = byte_table(255, decoded.gamma);
    for (auto& value : rgb) value = table[value];
    return rgb;
}

/// Blends with white as Pillow's alpha_composite does.
void lay_on_white(std::vector<std::uint8_t>& rgb, const std::vector<std::uint8_t>& alpha) {
    for (std::size_t i = 0; i < alpha.size(); ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
            const int sum = ((rgb[i * 3 + c] * alpha[i] + 255 * (255 - alpha[i])) << 7) + (0x80 << 7);
            rgb[i * 3 + c] = static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
        }
    }
}

Picture upright(Picture picture, int orientation) {
    if (orientation == 1) return picture;
    const int width = picture.width;
    const int height = picture.height;
    const bool lies = orientation >= 5;
    Picture turned{lies ? height : width, lies ? width : height, {}};
    turned.pixels.resize(picture.pixels.size());
    std::uint8_t* to = turned.pixels.data();
    for (int y = 0; y < turned.height; ++y) {
        for (int x = 0; x < turned.width; ++x, to += 3) {
            int column = lies ? y : x;
            int row = lies ? x : y;
            if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
                column = width - 1 - column;
            if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) row = height - 1 - row;
            const std::ptrdiff_t from = std::ptrdiff_t{row} * width + column;
            std::memcpy(to, picture.pixels.data() + 3 * from, 3);
        }
    }
    return turned;
}

}  // namespace

std::optional<double> significant_gamma(std::int32_t hundred_thousandths) {
    if (hundred_thousandths < least_gamma || hundred_thousandths > most_gamma) return std::nullopt;
    const double gamma = hundred_thousandths / 100000.0;
    if (std::abs(gamma / srgb_gamma - 1) <= gamma_tolerance) return std::nullopt;
    return gamma;
}

bool is_profile_for(const std::string& profile, Space space) {
    const char* name = space == Space::grey ? "GRAY" : space == Space::rgb ? "RGB " : "CMYK";
    return profile.size() > space_offset && profile.compare(space_offset, 4, name) == 0;
}

std::vector<std::uint8_t> byte_table(int white, std::optional<double> gamma) {
    std::vector<std::uint8_t> table(static_cast<std::size_t>(white) + 1);
    for (int i = 0; i <= white; ++i) {
        table[static_cast<std::size_t>(i)] =
            gamma ? srgb_byte(std::pow(static_cast<double>(i) / white, 1 / *gamma))
                  : static_cast<std::uint8_t>((std::int64_t{i} * 255 + white / 2) / white);
    }
    return table;
}

Picture shown(const Decoded& decoded) {
    std::vector<std::uint8_t> rgb = in_srgb(decoded);
    lay_on_white(rgb, decoded.alpha);
    return upright({decoded.width, decoded.height, std::move(rgb)}, orientation_of(decoded.exif));
}
