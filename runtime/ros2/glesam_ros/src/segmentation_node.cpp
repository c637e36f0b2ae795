#include "segmentation_node.hpp"

#include <rclcpp_components/register_node_macro.hpp>
#include <utility>
#include <variant>

#include "messages.hpp"

namespace glesam_ros {

namespace {

constexpr int log_period_ms = 5000;

template <typename Options>
Options with_qos_overrides() {
    Options options;
    options.qos_overriding_options = rclcpp::QosOverridingOptions::with_default_policies();
    return options;
}

}  // namespace

SegmentationNode::SegmentationNode(const rclcpp::NodeOptions& options)
    : LifecycleNode("glesam", options),
      updater_(this),
      pipeline_([this](const Frame& frame, Outcome&& outcome) { publish(frame, std::move(outcome)); }) {
    names_ = glesam_ros::declare_parameters(*this);
    parameter_guard_ = add_on_set_parameters_callback(
        [this](const std::vector<rclcpp::Parameter>& changes) { return check_change(changes); });
    updater_.setHardwareID("none");
    updater_.add("segmentation", [this](diagnostic_updater::DiagnosticStatusWrapper& status) {
        const std::scoped_lock lock(model_mutex_);
        fill_status(status, pipeline_.health(), model_);
    });
}

SegmentationNode::~SegmentationNode() { take_down(); }

SegmentationNode::CallbackReturn SegmentationNode::on_configure(const rclcpp_lifecycle::State&) {
    try {
        parameters_ = read_parameters(*this);
        const auto failure = pipeline_.configure(parameters_.settings, [this] { return open_model(); });
        if (failure) return failed(*failure);
        create_interfaces();
        return CallbackReturn::SUCCESS;
    } catch (...) {
        const Failure failure = caught_failure();
        take_down();
        return failed(failure);
    }
}

SegmentationNode::CallbackReturn SegmentationNode::on_activate(const rclcpp_lifecycle::State& state) {
    try {
        const auto failure = pipeline_.activate();
        if (failure) return failed(*failure);
        LifecycleNode::on_activate(state);  // the publishers
        images_ = std::make_unique<ImageInput>(
            *this, "~/image", parameters_.image_transport, parameters_.image_reliable,
            [this](const sensor_msgs::msg::Image::ConstSharedPtr& image) { on_image(image); });
        return CallbackReturn::SUCCESS;
    } catch (...) {
        const Failure failure = caught_failure();
        on_deactivate(state);
        return failed(failure);
    }
}

SegmentationNode::CallbackReturn SegmentationNode::on_deactivate(const rclcpp_lifecycle::State& state) {
    images_.reset();
    pipeline_.deactivate();
    LifecycleNode::on_deactivate(state);
    return CallbackReturn::SUCCESS;
}

SegmentationNode::CallbackReturn SegmentationNode::on_cleanup(const rclcpp_lifecycle::State&) {
    take_down();
    return CallbackReturn::SUCCESS;
}

SegmentationNode::CallbackReturn SegmentationNode::on_shutdown(const rclcpp_lifecycle::State&) {
    take_down();
    return CallbackReturn::SUCCESS;
}

SegmentationNode::CallbackReturn SegmentationNode::on_error(const rclcpp_lifecycle::State&) {
    take_down();
    return CallbackReturn::SUCCESS;
}

std::unique_ptr<Model> SegmentationNode::open_model() {
    auto predictor = glesam::Predictor::from_bundle(parameters_.bundle, parameters_.options);
    const auto info = predictor.info();
    const std::scoped_lock lock(model_mutex_);
    model_ = {info.name, info.precision, info.hash, parameters_.options.backend};
    return std::make_unique<GlesamModel>(std::move(predictor));
}

void SegmentationNode::create_interfaces() {
    const auto publisher_options = with_qos_overrides<rclcpp::PublisherOptions>();
    labels_ = create_publisher<sensor_msgs::msg::Image>("~/labels", rclcpp::QoS(2), publisher_options);
    detections_ =
        create_publisher<vision_msgs::msg::Detection2DArray>("~/detections", rclcpp::QoS(2), publisher_options);
    const auto subscription_options = with_qos_overrides<rclcpp::SubscriptionOptions>();
    prompts_ = create_subscription<vision_msgs::msg::Detection2DArray>(
        "~/prompts", rclcpp::QoS(10),
        [this](const vision_msgs::msg::Detection2DArray& message) { pipeline_.add_prompts(prompts_of(message)); },
        subscription_options);
    clicks_ = create_subscription<geometry_msgs::msg::Point>(
        "~/point", rclcpp::QoS(10),
        [this](const geometry_msgs::msg::Point& message) { pipeline_.click({message.x, message.y}); },
        subscription_options);
    service_ = create_service<Segment>(
        "~/segment", [this](SegmentService service, std::shared_ptr<rmw_request_id_t> id,
                            std::shared_ptr<Segment::Request> request) { on_call(service, id, request); });
}

/// Stops the inputs first, then the work, then the outputs.
void SegmentationNode::take_down() {
    images_.reset();
    prompts_.reset();
    clicks_.reset();
    pipeline_.cleanup();  // cancels calls: the service still answers
    service_.reset();
    labels_.reset();
    detections_.reset();
    const std::scoped_lock lock(model_mutex_);
    model_ = {};
}

SegmentationNode::CallbackReturn SegmentationNode::failed(const Failure& failure) {
    pipeline_.count_failure(failure);
    RCLCPP_ERROR(get_logger(), "%s", failure.line.c_str());
    return CallbackReturn::FAILURE;
}

void SegmentationNode::on_image(const sensor_msgs::msg::Image::ConstSharedPtr& image) {
    try {
        pipeline_.add_frame(frame_of(image));
    } catch (...) {
        const Failure failure = caught_failure();
        pipeline_.count_failure(failure);
        report(failure);
    }
}

void SegmentationNode::on_call(const SegmentService& service, const std::shared_ptr<rmw_request_id_t>& id,
                               const std::shared_ptr<Segment::Request>& request) {
    const auto reply = [this, service, id](const Frame& frame, Outcome&& outcome) {
        respond(*service, *id, frame, std::move(outcome));
    };
    try {
        std::optional<Frame> frame;
        if (!request->image.data.empty()) frame = frame_of({request, &request->image});
        pipeline_.call(frame, prompts_of(request->prompts), reply);
    } catch (...) {
        const Failure failure = caught_failure();
        pipeline_.count_failure(failure);
        reply({}, failure);
    }
}

/// Runs in the worker's thread, or in the executor's where a call is refused.
void SegmentationNode::respond(rclcpp::Service<Segment>& service, rmw_request_id_t id, const Frame& frame,
                               Outcome&& outcome) {
    try {
        auto response = response_of(frame, std::move(outcome));
        service.send_response(id, response);
    } catch (...) {  // the caller is gone
        report(caught_failure());
    }
}

/// Runs in the worker's thread.
void SegmentationNode::publish(const Frame& frame, Outcome&& outcome) {
    if (const auto* failure = std::get_if<Failure>(&outcome)) return report(*failure);
    auto& segmentation = std::get<Segmentation>(outcome);
    for (const Instance& instance : segmentation.instances) {
        if (!instance.refusal.empty()) report({FailureKind::refused, instance.refusal});
    }
    detections_->publish(detections_message(frame, segmentation.instances));
    labels_->publish(std::make_unique<sensor_msgs::msg::Image>(labels_message(frame, std::move(segmentation.labels))));
}

void SegmentationNode::report(const Failure& failure) {
    if (failure.kind == FailureKind::failed) {
        RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), log_period_ms, "%s", failure.line.c_str());
    } else {
        RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), log_period_ms, "%s", failure.line.c_str());
    }
}

/// Refuses changes that would have no effect: parameters are read by configure.
rcl_interfaces::msg::SetParametersResult SegmentationNode::check_change(const std::vector<rclcpp::Parameter>& changes) {
    rcl_interfaces::msg::SetParametersResult result;
    result.successful = true;
    for (const rclcpp::Parameter& change : changes) {
        if (pipeline_.state() == Pipeline::State::unconfigured || names_.count(change.get_name()) == 0) continue;
        result.successful = false;
        result.reason = change.get_name() + ": read by configure; deactivate and clean up the node first";
    }
    return result;
}

}  // namespace glesam_ros

RCLCPP_COMPONENTS_REGISTER_NODE(glesam_ros::SegmentationNode)
