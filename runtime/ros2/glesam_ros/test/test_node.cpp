// The node in a running ROS: its transitions, topics, service and diagnostics. test_node BUNDLE [intra]
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "check.hpp"
#include "running_node.hpp"

using namespace glesam_tests;

namespace {

std::string bundle;          // from main's arguments
bool intra_process = false;  // pass messages by pointer instead of through the middleware

/// A bright square on a dark ground, as a camera's bgr8 with 8 bytes of padding to each row.
Image picture(int stamp) {
    Image image;
    image.header.stamp.sec = stamp;
    image.header.frame_id = "camera_optical";
    image.width = 320;
    image.height = 240;
    image.encoding = "bgr8";
    image.step = 320 * 3 + 8;
    image.data.assign(std::size_t{image.step} * image.height, 30);
    for (int y = 60; y < 180; ++y) {
        const auto row = image.data.begin() + std::ptrdiff_t{y} * image.step;
        std::fill(row + 100 * 3, row + 220 * 3, 220);
    }
    return image;
}

/// A box around the square, and one beside the picture.
Detections boxes(int stamp) {
    Detections prompts;
    prompts.header.stamp.sec = stamp;
    prompts.detections.resize(2);
    auto& around = prompts.detections[0];
    around.id = "track 7";
    around.bbox.center.position.x = 160;
    around.bbox.center.position.y = 120;
    around.bbox.size_x = 124;
    around.bbox.size_y = 124;
    around.results.resize(1);
    around.results[0].hypothesis.class_id = "square";
    prompts.detections[1].bbox.center.position.x = 900;
    prompts.detections[1].bbox.size_x = 5;
    return prompts;
}

Point middle() {
    Point point;
    point.x = 160;
    point.y = 120;
    return point;
}

/// A point on the square of the newest picture.
Segment::Request request() {
    Segment::Request request;
    request.prompts.resize(1);
    request.prompts[0].points.resize(1);
    request.prompts[0].points[0].x = middle().x;
    request.prompts[0].points[0].y = middle().y;
    return request;
}

Segment::Request request_with(const Image& image) {
    auto with_image = request();
    with_image.image = image;
    return with_image;
}

/// Publishes pictures with the stamps 1 to `count` and returns when the node has the last.
void show(RunningNode& running, int count) {
    for (int stamp = 1; stamp <= count; ++stamp) running.publish(picture(stamp));
    CHECK(running.eventually([&] {
        const auto response = running.call(request());
        return response.success && response.labels.header.stamp.sec == count;
    }));
}

void a_missing_bundle_leaves_the_node_unconfigured_until_it_is_named() {
    RunningNode running("nowhere", intra_process);
    CHECK(running.node->configure().label() == "unconfigured");
    CHECK(running.node->set_parameter({"bundle", bundle}).successful);
    CHECK(running.node->configure().label() == "inactive");
}

void a_configured_node_refuses_changes_of_its_parameters() {
    RunningNode running(bundle, intra_process);
    CHECK(running.node->configure().label() == "inactive");
    const auto change = running.node->set_parameter({"enhance", false});
    CHECK(!change.successful && contains(change.reason, "enhance: read by configure"));
}

void calls_without_a_picture_are_answered_with_a_line() {
    RunningNode running(bundle, intra_process);
    CHECK(running.node->configure().label() == "inactive");
    const auto inactive = running.call(request());
    CHECK(!inactive.success && !inactive.message.empty());
    CHECK(running.node->activate().label() == "active");
    const auto active = running.call(request());
    CHECK(!active.success && contains(active.message, "no picture has come yet"));
}

void boxes_are_answered_with_the_frame_of_their_stamp() {
    RunningNode running(bundle, intra_process);
    running.start();
    show(running, 5);
    running.publish(boxes(3));
    CHECK(running.eventually([&] { return !running.labels().empty() && !running.detections().empty(); }));
    const auto labels = running.labels().at(0);
    CHECK(labels.header.stamp.sec == 3 && labels.header.frame_id == "camera_optical");
    CHECK(labels.encoding == "mono8" && labels.width == 320 && labels.height == 240 && labels.step == 320);
    CHECK(labels.data.at(120 * 320 + 160) == 1 && labels.data.at(0) == 0);
    const auto message = running.detections().at(0);
    CHECK(message.header.stamp.sec == 3 && message.header.frame_id == "camera_optical");
    CHECK(message.detections.size() == 2);
    CHECK(message.detections.at(0).id == "track 7");
    CHECK(message.detections.at(0).results.at(0).hypothesis.class_id == "square");
    CHECK(message.detections.at(1).results.empty());
}

void a_click_segments_the_newest_frame_once() {
    RunningNode running(bundle, intra_process);
    running.start();
    show(running, 5);
    running.publish(middle());
    CHECK(running.eventually([&] { return !running.labels().empty(); }));
    CHECK(running.labels().at(0).header.stamp.sec == 5);
    running.publish(picture(6));
    running.publish(boxes(6));
    CHECK(running.eventually([&] { return running.labels().size() > 1; }));
    CHECK(running.labels().size() == 2 && running.labels().at(1).header.stamp.sec == 6);
}

void calls_are_answered_on_the_newest_frame_or_on_their_own_picture() {
    RunningNode running(bundle, intra_process);
    running.start();
    show(running, 5);
    const auto newest = running.call(request());
    CHECK(newest.success && newest.labels.header.stamp.sec == 5 && newest.detections.detections.size() == 1);
    const auto own = running.call(request_with(picture(99)));
    CHECK(own.success && own.labels.header.stamp.sec == 99);
    auto strange = picture(99);
    strange.encoding = "yuv422";
    const auto refused = running.call(request_with(strange));
    CHECK(!refused.success && contains(refused.message, "found 'yuv422'"));
}

void a_refused_picture_is_a_warning_in_the_diagnostics() {
    RunningNode running(bundle, intra_process);
    running.start();
    auto strange = picture(6);
    strange.encoding = "16UC1";
    running.publish(strange);
    CHECK(running.eventually([&] {
        const auto statuses = running.statuses();
        return std::any_of(statuses.begin(), statuses.end(), [](const Status& status) {
            return status.level == Status::WARN && contains(status.message, "16UC1");
        });
    }));
}

void of_more_frames_than_the_model_can_take_the_newest_is_answered() {
    RunningNode running(bundle, intra_process);
    running.start();
    for (int stamp = 100; stamp < 130; ++stamp) {
        running.publish(picture(stamp));
        running.publish(boxes(stamp));
        std::this_thread::sleep_for(std::chrono::milliseconds(15));
    }
    CHECK(running.eventually([&] {
        const auto labels = running.labels();
        return !labels.empty() && labels.back().header.stamp.sec == 129;
    }));
    const auto labels = running.labels();
    CHECK(std::is_sorted(labels.begin(), labels.end(), [](const Image& left, const Image& right) {
        return left.header.stamp.sec < right.header.stamp.sec;
    }));
}

void a_deactivated_node_leaves_the_camera_and_comes_back() {
    RunningNode running(bundle, intra_process);
    running.start();
    CHECK(running.node->deactivate().label() == "inactive");
    CHECK(running.eventually([&] { return running.listeners_to_the_camera() == 0; }));
    CHECK(!running.call(request_with(picture(1))).success);
    CHECK(running.node->activate().label() == "active");
    CHECK(running.call(request_with(picture(1))).success);
}

void a_cleaned_up_node_is_configured_again_and_shut_down_while_active() {
    RunningNode running(bundle, intra_process);
    running.start();
    CHECK(running.node->deactivate().label() == "inactive");
    CHECK(running.node->cleanup().label() == "unconfigured");
    CHECK(running.node->configure().label() == "inactive");
    CHECK(running.node->activate().label() == "active");
    CHECK(running.node->shutdown().label() == "finalized");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return std::fputs("usage: test_node BUNDLE [intra]\n", stderr), 2;
    bundle = argv[1];
    intra_process = argc > 2 && std::string(argv[2]) == "intra";
    rclcpp::init(0, nullptr);
    const int status = run_all({
        {"a missing bundle leaves the node unconfigured until it is named",
         a_missing_bundle_leaves_the_node_unconfigured_until_it_is_named},
        {"a configured node refuses changes of its parameters", a_configured_node_refuses_changes_of_its_parameters},
        {"calls without a picture are answered with a line", calls_without_a_picture_are_answered_with_a_line},
        {"boxes are answered with the frame of their stamp", boxes_are_answered_with_the_frame_of_their_stamp},
        {"a click segments the newest frame once", a_click_segments_the_newest_frame_once},
        {"calls are answered on the newest frame or on their own picture",
         calls_are_answered_on_the_newest_frame_or_on_their_own_picture},
        {"a refused picture is a warning in the diagnostics", a_refused_picture_is_a_warning_in_the_diagnostics},
        {"of more frames than the model can take the newest is answered",
         of_more_frames_than_the_model_can_take_the_newest_is_answered},
        {"a deactivated node leaves the camera and comes back", a_deactivated_node_leaves_the_camera_and_comes_back},
        {"a cleaned up node is configured again and shut down while active",
         a_cleaned_up_node_is_configured_again_and_shut_down_while_active},
    });
    rclcpp::shutdown();
    return status;
}
