// Converts a camera's picture, the fields of sensor_msgs/Image, to a glesam::ImageView.
#pragma once

#include <cstddef>
#include <cstdint>
#include <glesam/glesam.hpp>
#include <memory>
#include <string>

namespace glesam_ros {

/// The fields of sensor_msgs/Image. `is_bigendian` is not among them: a byte per channel has no byte order.
struct ImageFields {
    std::string encoding;
    std::uint32_t height = 0;
    std::uint32_t width = 0;
    std::uint32_t step = 0;  ///< bytes from one row to the next, padding included
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;  ///< bytes of data
};

/// A view of the same pixels, without a copy.
/// Throws InputError where the encoding is none of rgb8, bgr8, rgba8, bgra8 and mono8, or the fields contradict each
/// other.
glesam::ImageView view_of(const ImageFields& image);

/// A picture and the owner of its pixels, usually the message. Two with one owner are the same picture.
struct Picture {
    std::shared_ptr<const void> owner;
    glesam::ImageView view;
};

/// A picture with the stamp and the coordinate frame of its header.
struct Frame {
    std::int64_t stamp_ns = 0;
    std::string frame_id;
    Picture picture;
};

}  // namespace glesam_ros
