#include "messages.hpp"

#include <algorithm>
#include <std_msgs/msg/header.hpp>
#include <utility>
#include <variant>

namespace glesam_ros {

namespace {

std::int64_t nanoseconds(const builtin_interfaces::msg::Time& stamp) {
    return std::int64_t{stamp.sec} * 1'000'000'000 + stamp.nanosec;
}

std_msgs::msg::Header header_of(const Frame& frame) {
    std_msgs::msg::Header header;
    header.stamp.sec = static_cast<std::int32_t>(frame.stamp_ns / 1'000'000'000);
    header.stamp.nanosec = static_cast<std::uint32_t>(frame.stamp_ns % 1'000'000'000);
    header.frame_id = frame.frame_id;
    return header;
}

CentredBox box_of(const vision_msgs::msg::BoundingBox2D& box) {
    return {box.center.position.x, box.center.position.y, box.size_x, box.size_y, box.center.theta};
}

vision_msgs::msg::BoundingBox2D box_message(const CentredBox& box) {
    vision_msgs::msg::BoundingBox2D message;
    message.center.position.x = box.center_x;
    message.center.position.y = box.center_y;
    message.size_x = box.size_x;
    message.size_y = box.size_y;
    return message;
}

std::string best_class(const vision_msgs::msg::Detection2D& detection) {
    const auto best =
        std::max_element(detection.results.begin(), detection.results.end(),
                         [](const auto& a, const auto& b) { return a.hypothesis.score < b.hypothesis.score; });
    return best == detection.results.end() ? "" : best->hypothesis.class_id;
}

std::vector<glesam::Point> points_of(const std::vector<vision_msgs::msg::Point2D>& messages) {
    std::vector<glesam::Point> points;
    for (const auto& message : messages) points.push_back({message.x, message.y});
    return points;
}

ObjectPrompt prompt_of(const glesam_interfaces::msg::ObjectPrompt& message) {
    ObjectPrompt prompt;
    if (message.box.size_x != 0 || message.box.size_y != 0) prompt.box = box_of(message.box);
    prompt.points = points_of(message.points);
    prompt.background_points = points_of(message.background_points);
    return prompt;
}

vision_msgs::msg::Detection2D detection_message(const std_msgs::msg::Header& header, const Instance& instance) {
    vision_msgs::msg::Detection2D detection;
    detection.header = header;
    detection.id = instance.id;
    if (!instance.box) return detection;
    detection.bbox = box_message(centred(*instance.box));
    detection.results.resize(1);
    detection.results[0].hypothesis.class_id = instance.class_id;
    detection.results[0].hypothesis.score = instance.score;
    return detection;
}

}  // namespace

Frame frame_of(const sensor_msgs::msg::Image::ConstSharedPtr& image) {
    const ImageFields fields{image->encoding, image->height,      image->width,
                             image->step,     image->data.data(), image->data.size()};
    return {nanoseconds(image->header.stamp), image->header.frame_id, {image, view_of(fields)}};
}

PromptSet prompts_of(const vision_msgs::msg::Detection2DArray& detections) {
    PromptSet set;
    set.stamp_ns = nanoseconds(detections.header.stamp);
    for (const auto& detection : detections.detections) {
        set.prompts.push_back({box_of(detection.bbox), {}, {}, detection.id, best_class(detection)});
    }
    return set;
}

std::vector<ObjectPrompt> prompts_of(const std::vector<glesam_interfaces::msg::ObjectPrompt>& messages) {
    std::vector<ObjectPrompt> prompts;
    for (const auto& message : messages) prompts.push_back(prompt_of(message));
    return prompts;
}

sensor_msgs::msg::Image labels_message(const Frame& frame, LabelImage&& labels) {
    const std::uint16_t one = 1;
    sensor_msgs::msg::Image image;
    image.header = header_of(frame);
    image.width = static_cast<std::uint32_t>(labels.width);
    image.height = static_cast<std::uint32_t>(labels.height);
    image.encoding = labels.type == LabelType::mono8 ? "mono8" : "16UC1";
    image.is_bigendian = *reinterpret_cast<const std::uint8_t*>(&one) == 0;
    image.step = image.width * static_cast<std::uint32_t>(labels.type);
    image.data = std::move(labels.data);
    return image;
}

vision_msgs::msg::Detection2DArray detections_message(const Frame& frame, const std::vector<Instance>& instances) {
    vision_msgs::msg::Detection2DArray message;
    message.header = header_of(frame);
    for (const Instance& instance : instances)
        message.detections.push_back(detection_message(message.header, instance));
    return message;
}

glesam_interfaces::srv::Segment::Response response_of(const Frame& frame, Outcome&& outcome) {
    glesam_interfaces::srv::Segment::Response response;
    if (const auto* failure = std::get_if<Failure>(&outcome)) {
        response.message = failure->line;
        return response;
    }
    auto& segmentation = std::get<Segmentation>(outcome);
    for (const Instance& instance : segmentation.instances) {
        if (!instance.refusal.empty()) response.message = instance.refusal;
    }
    response.success = true;
    response.detections = detections_message(frame, segmentation.instances);
    response.labels = labels_message(frame, std::move(segmentation.labels));
    return response;
}

}  // namespace glesam_ros
