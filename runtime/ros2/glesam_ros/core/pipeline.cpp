#include "pipeline.hpp"

#include <utility>

namespace glesam_ros {

namespace {

/// A black picture of a common camera's size with a box in it.
void warm_up(Segmenter& segmenter, LabelType type) {
    constexpr int width = 640;
    constexpr int height = 480;
    const std::vector<std::uint8_t> pixels(std::size_t{3} * width * height);
    ObjectPrompt prompt;
    prompt.box = CentredBox{width / 2.0, height / 2.0, width / 2.0, height / 2.0, 0};
    segmenter({nullptr, {pixels.data(), width, height}}, {prompt}, type);
}

Failure cancelled(const char* line) { return {FailureKind::cancelled, line}; }

}  // namespace

std::optional<Failure> Pipeline::configure(const Settings& settings, const OpenModel& open) {
    const std::scoped_lock transition(transition_mutex_);
    if (segmenter_) return cancelled("configure: expected an unconfigured node, found a configured one; clean it up");
    try {
        auto segmenter = std::make_unique<Segmenter>(open());
        const std::scoped_lock lock(mutex_);
        settings_ = settings;
        segmenter_ = std::move(segmenter);
        return std::nullopt;
    } catch (...) {
        return caught_failure();
    }
}

std::optional<Failure> Pipeline::activate() {
    const std::scoped_lock transition(transition_mutex_);
    if (!segmenter_ || worker_) return cancelled("activate: expected an inactive node; configure it first");
    try {
        warm_up(*segmenter_, settings_.label_type);
        auto worker = std::make_unique<Worker>(*segmenter_, settings_.label_type, settings_.max_waiting_calls);
        const std::scoped_lock lock(mutex_);
        matcher_ = std::make_unique<Matcher>(settings_.match);
        worker_ = std::move(worker);
        return std::nullopt;
    } catch (...) {
        return caught_failure();
    }
}

void Pipeline::deactivate() {
    const std::scoped_lock transition(transition_mutex_);
    std::unique_ptr<Worker> worker;
    {
        const std::scoped_lock lock(mutex_);
        worker = std::move(worker_);
        matcher_.reset();
    }
    // The worker's destructor waits, outside the lock.
}

void Pipeline::cleanup() {
    deactivate();
    const std::scoped_lock locks(transition_mutex_, mutex_);
    segmenter_.reset();
}

void Pipeline::add_frame(const Frame& frame) {
    const std::scoped_lock lock(mutex_);
    if (worker_) offer(matcher_->add_frame(frame));
}

void Pipeline::add_prompts(PromptSet prompts) {
    const std::scoped_lock lock(mutex_);
    if (worker_) offer(matcher_->add_prompts(std::move(prompts)));
}

void Pipeline::click(const glesam::Point& point) {
    ObjectPrompt prompt;
    prompt.points = {point};
    call(std::nullopt, {prompt}, publish_);
}

void Pipeline::call(const std::optional<Frame>& frame, std::vector<ObjectPrompt> prompts, Reply reply) {
    Request request{frame.value_or(Frame{}), std::move(prompts), counted(std::move(reply))};
    const auto failure = push(request, !frame);
    if (failure) request.reply(request.frame, *failure);
}

/// Queues a request. Returns nothing on success; after a failure only the request's frame may have changed.
std::optional<Failure> Pipeline::push(Request& request, bool on_newest_frame) {
    const std::scoped_lock lock(mutex_);
    if (!worker_) return cancelled("the node is not active; activate it first");
    if (on_newest_frame) {
        const auto newest = matcher_->newest_frame();
        if (!newest) return cancelled("no picture has come yet; check the image topic, or send a picture along");
        request.frame = *newest;
    }
    if (worker_->push(std::move(request))) return std::nullopt;
    return cancelled("too many calls wait for the model already; try again later");
}

void Pipeline::offer(std::optional<Match> match) {
    if (match) worker_->offer({std::move(match->frame), std::move(match->prompts), counted(publish_)});
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): a false alarm inside std::function

Pipeline::Reply Pipeline::counted(Reply reply) {
    return [this, reply = std::move(reply), start = Statistics::Clock::now()](const Frame& frame, Outcome&& outcome) {
        count(outcome, Statistics::Clock::now() - start);
        try {
            reply(frame, std::move(outcome));
        } catch (...) {  // no exception may end the worker's thread
            statistics_.count_failure(caught_failure());
        }
    };
}

void Pipeline::count(const Outcome& outcome, Statistics::Clock::duration latency) {
    if (const auto* failure = std::get_if<Failure>(&outcome)) {
        statistics_.count_failure(*failure);
    } else {
        statistics_.count_answer(std::get<Segmentation>(outcome), latency);
    }
}

Pipeline::State Pipeline::locked_state() const {
    if (!segmenter_) return State::unconfigured;
    return worker_ ? State::active : State::inactive;
}

Pipeline::State Pipeline::state() const {
    const std::scoped_lock lock(mutex_);
    return locked_state();
}

Pipeline::Health Pipeline::health() {
    Health health;
    health.work = statistics_.report();
    const std::scoped_lock lock(mutex_);
    health.state = locked_state();
    if (!worker_) return health;
    health.dropped = worker_->dropped();
    health.unmatched = matcher_->unmatched();
    return health;
}

}  // namespace glesam_ros
