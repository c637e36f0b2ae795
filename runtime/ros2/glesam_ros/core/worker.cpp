#include "worker.hpp"

namespace glesam_ros {

Worker::Worker(Segmenter& segmenter, LabelType label_type, std::size_t max_waiting_calls)
    : segmenter_(segmenter), label_type_(label_type), queue_(max_waiting_calls), thread_([this] { run(); }) {}

void Worker::stop() {
    for (const Request& request : queue_.close()) {
        request.reply(request.frame, Failure{FailureKind::cancelled, "the node was deactivated; activate it again"});
    }
    if (thread_.joinable()) thread_.join();
}

void Worker::run() {
    while (const auto request = queue_.take()) request->reply(request->frame, answer(*request));
}

Outcome Worker::answer(const Request& request) {
    try {
        return segmenter_(request.frame.picture, request.prompts, label_type_);
    } catch (...) {
        return caught_failure();
    }
}

}  // namespace glesam_ros
