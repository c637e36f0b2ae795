#include "statistics.hpp"

#include <algorithm>
#include <utility>

namespace glesam_ros {

namespace {

double milliseconds(Statistics::Clock::duration duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

void Statistics::count_answer(const Segmentation& segmentation, Clock::duration latency) {
    const std::scoped_lock lock(mutex_);
    ++counts_.answers;
    ++counts_.total_answers;
    latency_sum_ += latency;
    latency_max_ = std::max(latency_max_, latency);
    for (const Instance& instance : segmentation.instances) {
        if (instance.refusal.empty()) continue;
        ++counts_.refused;
        counts_.last_line = instance.refusal;
    }
}

void Statistics::count_failure(const Failure& failure) {
    if (failure.kind == FailureKind::cancelled) return;
    const std::scoped_lock lock(mutex_);
    ++(failure.kind == FailureKind::refused ? counts_.refused : counts_.failed);
    counts_.last_line = failure.line;
}

Report Statistics::report(Clock::time_point now) {
    const std::scoped_lock lock(mutex_);
    Report report = std::exchange(counts_, Report{});
    counts_.total_answers = report.total_answers;
    const double seconds = std::chrono::duration<double>(now - std::exchange(since_, now)).count();
    const auto latency_sum = std::exchange(latency_sum_, {});
    report.max_latency_ms = milliseconds(std::exchange(latency_max_, {}));
    if (seconds > 0) report.answer_rate_hz = static_cast<double>(report.answers) / seconds;
    if (report.answers > 0) report.mean_latency_ms = milliseconds(latency_sum) / static_cast<double>(report.answers);
    return report;
}

}  // namespace glesam_ros
