// Colours as a viewer shows them, and pictures upright: the bits of glesam_runtime/image_io.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decoded.hpp"
#include "picture.hpp"

/// 8-bit sRGB on white, turned as EXIF says.
Picture shown(const Decoded& decoded);

/// gAMA where it is not sRGB's: numbers are light to this power.
std::optional<double> significant_gamma(std::int32_t hundred_thousandths);

/// Whether an ICC profile is for pixels of `space`.
bool is_profile_for(const std::string& profile, Space space);

/// The 8-bit value of every number up to `white`, which is scaled, or converted to sRGB where there is a gamma.
std::vector<std::uint8_t> byte_table(int white, std::optional<double> gamma);

/// Orientation in the first directory of an EXIF block, 1 to 8; 1 where it has none. No other field is looked at.
int orientation_of(const std::string& exif);
