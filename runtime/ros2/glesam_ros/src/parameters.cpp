#include "parameters.hpp"

#include <array>
#include <rcl_interfaces/msg/parameter_descriptor.hpp>

#include "error.hpp"

namespace glesam_ros {

namespace {

using rcl_interfaces::msg::ParameterDescriptor;

ParameterDescriptor described(const char* description, const char* constraints = "") {
    ParameterDescriptor descriptor;
    descriptor.description = description;
    descriptor.additional_constraints = constraints;
    return descriptor;
}

ParameterDescriptor whole(const char* description, std::int64_t from, std::int64_t to) {
    ParameterDescriptor descriptor = described(description);
    descriptor.integer_range.resize(1);
    descriptor.integer_range[0].from_value = from;
    descriptor.integer_range[0].to_value = to;
    descriptor.integer_range[0].step = 1;
    return descriptor;
}

ParameterDescriptor real(const char* description, double from, double to) {
    ParameterDescriptor descriptor = described(description);
    descriptor.floating_point_range.resize(1);
    descriptor.floating_point_range[0].from_value = from;
    descriptor.floating_point_range[0].to_value = to;
    return descriptor;
}

std::string text(const rclcpp_lifecycle::LifecycleNode& node, const char* name) {
    return node.get_parameter(name).as_string();
}

template <typename Value, std::size_t N>
Value choice(const rclcpp_lifecycle::LifecycleNode& node, const char* name,
             const std::array<std::pair<const char*, Value>, N>& choices) {
    const std::string actual = text(node, name);
    std::string expected;
    for (const auto& [known, value] : choices) {
        if (actual == known) return value;
        expected += (expected.empty() ? "" : ", ") + std::string(known);
    }
    throw InputError(std::string(name) + ": expected one of " + expected + ", found '" + actual +
                     "'; set the parameter");
}

MatchSettings match_settings(const rclcpp_lifecycle::LifecycleNode& node) {
    constexpr std::array<std::pair<const char*, MatchPolicy>, 3> policies{
        {{"exact", MatchPolicy::exact}, {"approximate", MatchPolicy::approximate}, {"latest", MatchPolicy::latest}}};
    MatchSettings match;
    match.policy = choice(node, "prompt_match", policies);
    match.tolerance_ns = static_cast<std::int64_t>(node.get_parameter("match_tolerance_ms").as_double() * 1e6);
    match.history = static_cast<std::size_t>(node.get_parameter("match_history").as_int());
    return match;
}

}  // namespace

std::set<std::string> declare_parameters(rclcpp_lifecycle::LifecycleNode& node) {
    std::set<std::string> names;
    const auto declare = [&](const char* name, const auto& value, const ParameterDescriptor& descriptor) {
        node.declare_parameter(name, rclcpp::ParameterValue(value), descriptor);
        names.insert(name);
    };
    declare("bundle", "", described("Folder of the bundle that glesam-export wrote", "required"));
    declare("backend", "auto", described("Library that runs the model", "auto, or one the library was built with"));
    declare("enhance", true, described("Repair the image embedding with GLE; false: plain SAM"));
    declare("resize", "",
            described("How pictures get the model's size; empty: as the bundle says",
                      "longest-side, squash or squash-512"));
    declare("image_transport", "raw", described("Transport of the image topic", "raw, or an installed plugin's name"));
    declare("image_reliable", false, described("Ask for a reliable image topic; false: best effort"));
    declare("prompt_match", "exact",
            described("Which frame prompts belong to: the one of their stamp, the one nearest to it, or the newest and "
                      "all later ones",
                      "exact, approximate or latest"));
    declare("match_tolerance_ms", 20.0, real("Largest distance of stamps with prompt_match approximate", 0, 10'000));
    declare("match_history", 30, whole("Frames that are kept for prompts that come later", 1, 1000));
    declare("label_encoding", "mono8",
            described("Pixels of the label image: up to 255 or up to 65535 objects", "mono8 or 16UC1"));
    declare("max_waiting_calls", 8, whole("Service calls and clicks that may wait for the model", 1, 64));
    return names;
}

Parameters read_parameters(const rclcpp_lifecycle::LifecycleNode& node) {
    constexpr std::array<std::pair<const char*, LabelType>, 2> label_types{
        {{"mono8", LabelType::mono8}, {"16UC1", LabelType::mono16}}};
    Parameters parameters;
    parameters.bundle = text(node, "bundle");
    if (parameters.bundle.empty()) throw InputError("bundle: expected a folder, found ''; set the parameter");
    parameters.options.backend = text(node, "backend");
    parameters.options.enhance = node.get_parameter("enhance").as_bool();
    parameters.options.resize = text(node, "resize");
    parameters.image_transport = text(node, "image_transport");
    parameters.image_reliable = node.get_parameter("image_reliable").as_bool();
    parameters.settings.match = match_settings(node);
    parameters.settings.label_type = choice(node, "label_encoding", label_types);
    parameters.settings.max_waiting_calls = static_cast<std::size_t>(node.get_parameter("max_waiting_calls").as_int());
    return parameters;
}

}  // namespace glesam_ros
