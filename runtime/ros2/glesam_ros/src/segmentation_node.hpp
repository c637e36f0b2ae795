// The ROS node around the core's Pipeline: it converts, publishes and reports.
#pragma once

#include <diagnostic_updater/diagnostic_updater.hpp>
#include <geometry_msgs/msg/point.hpp>
#include <glesam_interfaces/srv/segment.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <rclcpp_lifecycle/lifecycle_node.hpp>
#include <rclcpp_lifecycle/lifecycle_publisher.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <set>
#include <string>
#include <vector>
#include <vision_msgs/msg/detection2_d_array.hpp>

#include "diagnostics.hpp"
#include "image_input.hpp"
#include "parameters.hpp"
#include "pipeline.hpp"

namespace glesam_ros {

/// configure: load and verify the bundle. activate: warm up, then take frames. deactivate, cleanup, shutdown: undo.
/// No callback waits for the model, and no exception leaves one: it becomes a diagnostic and a throttled log line.
/// A transition that fails says why in one line and returns FAILURE.
class SegmentationNode : public rclcpp_lifecycle::LifecycleNode {
   public:
    using CallbackReturn = rclcpp_lifecycle::node_interfaces::LifecycleNodeInterface::CallbackReturn;

    explicit SegmentationNode(const rclcpp::NodeOptions& options);
    ~SegmentationNode() override;

    CallbackReturn on_configure(const rclcpp_lifecycle::State& state) override;
    CallbackReturn on_activate(const rclcpp_lifecycle::State& state) override;
    CallbackReturn on_deactivate(const rclcpp_lifecycle::State& state) override;
    CallbackReturn on_cleanup(const rclcpp_lifecycle::State& state) override;
    CallbackReturn on_shutdown(const rclcpp_lifecycle::State& state) override;
    CallbackReturn on_error(const rclcpp_lifecycle::State& state) override;

   private:
    using Segment = glesam_interfaces::srv::Segment;
    using SegmentService = std::shared_ptr<rclcpp::Service<Segment>>;

    std::unique_ptr<Model> open_model();
    void create_interfaces();
    void take_down();
    CallbackReturn failed(const Failure& failure);

    void on_image(const sensor_msgs::msg::Image::ConstSharedPtr& image);
    void on_call(const SegmentService& service, const std::shared_ptr<rmw_request_id_t>& id,
                 const std::shared_ptr<Segment::Request>& request);
    void respond(rclcpp::Service<Segment>& service, rmw_request_id_t id, const Frame& frame, Outcome&& outcome);
    void publish(const Frame& frame, Outcome&& outcome);
    void report(const Failure& failure);
    rcl_interfaces::msg::SetParametersResult check_change(const std::vector<rclcpp::Parameter>& changes);

    std::mutex model_mutex_;
    LoadedModel model_;
    std::set<std::string> names_;
    Parameters parameters_;
    diagnostic_updater::Updater updater_;
    OnSetParametersCallbackHandle::SharedPtr parameter_guard_;
    rclcpp_lifecycle::LifecyclePublisher<sensor_msgs::msg::Image>::SharedPtr labels_;
    rclcpp_lifecycle::LifecyclePublisher<vision_msgs::msg::Detection2DArray>::SharedPtr detections_;
    Pipeline pipeline_;  // declared after its outputs and before its inputs
    rclcpp::Subscription<vision_msgs::msg::Detection2DArray>::SharedPtr prompts_;
    rclcpp::Subscription<geometry_msgs::msg::Point>::SharedPtr clicks_;
    SegmentService service_;
    std::unique_ptr<ImageInput> images_;
};

}  // namespace glesam_ros
