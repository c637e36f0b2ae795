// Subscribes to the image topic, by any transport.
#pragma once

#include <atomic>
#include <image_transport/image_transport.hpp>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_lifecycle/lifecycle_node.hpp>
#include <string>
#include <thread>

namespace glesam_ros {

/// image_transport of Humble and Jazzy needs an rclcpp::Node, not a lifecycle node. So this has its own node,
/// `<name>_image`, in the same context (intra-process messages are not copied), with a thread that only passes frames
/// on: they arrive while the main node's executor is busy.
class ImageInput {
   public:
    using Callback = image_transport::Subscriber::Callback;

    /// `topic` is resolved, and remapped, by the owner's names. Throws what image_transport throws.
    ImageInput(rclcpp_lifecycle::LifecycleNode& owner, const std::string& topic, const std::string& transport,
               bool reliable, const Callback& callback);
    ~ImageInput();
    ImageInput(const ImageInput&) = delete;
    ImageInput& operator=(const ImageInput&) = delete;

   private:
    void spin();

    rclcpp::Node::SharedPtr node_;
    rclcpp::executors::SingleThreadedExecutor executor_;
    image_transport::Subscriber subscriber_;
    std::atomic<bool> stopped_{false};
    std::thread thread_;
};

}  // namespace glesam_ros
