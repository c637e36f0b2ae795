#include "image_input.hpp"

#include <chrono>

namespace glesam_ros {

namespace {

rclcpp::Node::SharedPtr companion_of(rclcpp_lifecycle::LifecycleNode& owner) {
    const auto options = rclcpp::NodeOptions()
                             .context(owner.get_node_base_interface()->get_context())
                             .use_global_arguments(false)
                             .start_parameter_services(false)
                             .start_parameter_event_publisher(false)
                             .use_intra_process_comms(owner.get_node_options().use_intra_process_comms());
    return std::make_shared<rclcpp::Node>(std::string(owner.get_name()) + "_image", owner.get_namespace(), options);
}

rclcpp::ExecutorOptions executor_options(rclcpp_lifecycle::LifecycleNode& owner) {
    rclcpp::ExecutorOptions options;
    options.context = owner.get_node_base_interface()->get_context();
    return options;
}

rmw_qos_profile_t qos(bool reliable) {
    rclcpp::QoS profile = rclcpp::SensorDataQoS();  // best effort, 5 frames
    if (reliable) profile.reliable();
    return profile.get_rmw_qos_profile();
}

}  // namespace

ImageInput::ImageInput(rclcpp_lifecycle::LifecycleNode& owner, const std::string& topic, const std::string& transport,
                       bool reliable, const Callback& callback)
    : node_(companion_of(owner)), executor_(executor_options(owner)) {
    const std::string resolved = owner.get_node_topics_interface()->resolve_topic_name(topic);
    subscriber_ = image_transport::create_subscription(node_.get(), resolved, callback, transport, qos(reliable));
    executor_.add_node(node_);
    thread_ = std::thread([this] { spin(); });
}

ImageInput::~ImageInput() {
    stopped_ = true;
    executor_.cancel();
    thread_.join();
}

/// Not executor_.spin(): a cancel() before spin() has begun would be lost.
void ImageInput::spin() {
    while (!stopped_) executor_.spin_once(std::chrono::milliseconds(100));
}

}  // namespace glesam_ros
