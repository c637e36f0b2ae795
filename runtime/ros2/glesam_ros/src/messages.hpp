// Converts messages to the core's types and back.
#pragma once

#include <glesam_interfaces/msg/object_prompt.hpp>
#include <glesam_interfaces/srv/segment.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <string>
#include <vector>
#include <vision_msgs/msg/detection2_d_array.hpp>

#include "matcher.hpp"
#include "outcome.hpp"
#include "picture.hpp"
#include "segmenter.hpp"

namespace glesam_ros {

/// A frame that shares the message's pixels. Throws InputError for a picture that glesam cannot read.
Frame frame_of(const sensor_msgs::msg::Image::ConstSharedPtr& image);

/// One box per detection, with its id and its best hypothesis' class.
PromptSet prompts_of(const vision_msgs::msg::Detection2DArray& detections);

std::vector<ObjectPrompt> prompts_of(const std::vector<glesam_interfaces::msg::ObjectPrompt>& messages);

/// mono8 or 16UC1, with the frame's stamp and coordinate frame.
sensor_msgs::msg::Image labels_message(const Frame& frame, LabelImage&& labels);

/// One detection per instance, in their order: box and score, or neither where there is no mask.
vision_msgs::msg::Detection2DArray detections_message(const Frame& frame, const std::vector<Instance>& instances);

/// The response to a call. `message` says why a prompt was refused, while `success` stays true.
glesam_interfaces::srv::Segment::Response response_of(const Frame& frame, Outcome&& outcome);

}  // namespace glesam_ros
