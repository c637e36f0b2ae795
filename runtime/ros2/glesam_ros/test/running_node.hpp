// The real node and a client of its topics and its service, in one process.
#pragma once

#include <chrono>
#include <diagnostic_msgs/msg/diagnostic_array.hpp>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <rclcpp/rclcpp.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "segmentation_node.hpp"

namespace glesam_tests {

using Detections = vision_msgs::msg::Detection2DArray;
using Image = sensor_msgs::msg::Image;
using Point = geometry_msgs::msg::Point;
using Segment = glesam_interfaces::srv::Segment;
using Status = diagnostic_msgs::msg::DiagnosticStatus;

class RunningNode {
   public:
    RunningNode(const std::string& bundle, bool intra_process) {
        auto options = rclcpp::NodeOptions().use_intra_process_comms(intra_process);
        client_ = std::make_shared<rclcpp::Node>("client", options);
        node = std::make_shared<glesam_ros::SegmentationNode>(options.append_parameter_override("bundle", bundle));
        images_ = client_->create_publisher<Image>("/glesam/image", rclcpp::SensorDataQoS());
        prompts_ = client_->create_publisher<Detections>("/glesam/prompts", 10);
        clicks_ = client_->create_publisher<Point>("/glesam/point", 10);
        labels_subscription_ = collect("/glesam/labels", labels_);
        detections_subscription_ = collect("/glesam/detections", detections_);
        diagnostics_subscription_ = collect("/diagnostics", diagnostics_);
        segment_ = client_->create_client<Segment>("/glesam/segment");
        executor_.add_node(node->get_node_base_interface());
        executor_.add_node(client_);
        spinner_ = std::thread([this] { executor_.spin(); });
    }

    ~RunningNode() {
        executor_.cancel();
        spinner_.join();
    }

    /// Waits until topics and service are connected. Throws std::runtime_error after 15 s.
    void start() {
        if (node->configure().label() != "inactive") throw std::runtime_error("the node could not be configured");
        if (node->activate().label() != "active") throw std::runtime_error("the node could not be activated");
        const bool connected = eventually([this] {
            return images_->get_subscription_count() == 1 && prompts_->get_subscription_count() == 1 &&
                   clicks_->get_subscription_count() == 1 && labels_subscription_->get_publisher_count() == 1 &&
                   detections_subscription_->get_publisher_count() == 1;
        });
        if (!connected) throw std::runtime_error("the node's topics were not found");
    }

    void publish(const Image& image) { images_->publish(std::make_unique<Image>(image)); }
    void publish(const Detections& prompts) { prompts_->publish(prompts); }
    void publish(const Point& click) { clicks_->publish(click); }

    /// Calls the service. Throws std::runtime_error where no response comes within 15 s.
    Segment::Response call(const Segment::Request& request) {
        if (!segment_->wait_for_service(patience)) throw std::runtime_error("the service was not found");
        auto response = segment_->async_send_request(std::make_shared<Segment::Request>(request));
        if (response.wait_for(patience) != std::future_status::ready) throw std::runtime_error("no answer");
        return *response.get();
    }

    /// Whether the condition becomes true within 15 s.
    static bool eventually(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        return true;
    }

    std::vector<Image> labels() { return copy_of(labels_); }
    std::vector<Detections> detections() { return copy_of(detections_); }

    std::vector<Status> statuses() {
        std::vector<Status> all;
        for (const auto& array : copy_of(diagnostics_)) all.insert(all.end(), array.status.begin(), array.status.end());
        return all;
    }

    std::size_t listeners_to_the_camera() const { return images_->get_subscription_count(); }

    std::shared_ptr<glesam_ros::SegmentationNode> node;

   private:
    static constexpr std::chrono::seconds patience{15};

    template <typename Message>
    typename rclcpp::Subscription<Message>::SharedPtr collect(const std::string& topic, std::vector<Message>& into) {
        return client_->create_subscription<Message>(topic, 100, [this, &into](const Message& message) {
            const std::scoped_lock lock(mutex_);
            into.push_back(message);
        });
    }

    template <typename Message>
    std::vector<Message> copy_of(const std::vector<Message>& messages) {
        const std::scoped_lock lock(mutex_);
        return messages;
    }

    std::mutex mutex_;
    std::vector<Image> labels_;
    std::vector<Detections> detections_;
    std::vector<diagnostic_msgs::msg::DiagnosticArray> diagnostics_;
    std::shared_ptr<rclcpp::Node> client_;
    rclcpp::Publisher<Image>::SharedPtr images_;
    rclcpp::Publisher<Detections>::SharedPtr prompts_;
    rclcpp::Publisher<Point>::SharedPtr clicks_;
    rclcpp::Subscription<Image>::SharedPtr labels_subscription_;
    rclcpp::Subscription<Detections>::SharedPtr detections_subscription_;
    rclcpp::Subscription<diagnostic_msgs::msg::DiagnosticArray>::SharedPtr diagnostics_subscription_;
    rclcpp::Client<Segment>::SharedPtr segment_;
    rclcpp::executors::MultiThreadedExecutor executor_{rclcpp::ExecutorOptions(), 2};
    std::thread spinner_;
};

}  // namespace glesam_tests
