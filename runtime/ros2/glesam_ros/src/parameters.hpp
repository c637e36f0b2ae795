// The node's parameters: names, ranges, and their meaning for the core.
#pragma once

#include <glesam/glesam.hpp>
#include <rclcpp_lifecycle/lifecycle_node.hpp>
#include <set>
#include <string>

#include "pipeline.hpp"

namespace glesam_ros {

struct Parameters {
    std::string bundle;
    glesam::Options options;
    std::string image_transport;
    bool image_reliable = false;
    Settings settings;
};

/// Declares all parameters, with descriptions and ranges. Returns their names.
std::set<std::string> declare_parameters(rclcpp_lifecycle::LifecycleNode& node);

/// Reads all parameters. Throws InputError where one is not among its choices.
Parameters read_parameters(const rclcpp_lifecycle::LifecycleNode& node);

}  // namespace glesam_ros
