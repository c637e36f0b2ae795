// Counts the work for diagnostics.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "outcome.hpp"

namespace glesam_ros {

/// Counts since the last report, except the total.
struct Report {
    double answer_rate_hz = 0;
    double mean_latency_ms = 0;  ///< from the moment a picture and its prompts are together to the answer
    double max_latency_ms = 0;
    std::uint64_t answers = 0;
    std::uint64_t total_answers = 0;
    std::uint64_t refused = 0;  ///< pictures and single prompts that did not fit
    std::uint64_t failed = 0;
    std::string last_line;  ///< the newest refusal or failure since the last report
};

/// Counts results and failures. Any thread may count and report.
class Statistics {
   public:
    using Clock = std::chrono::steady_clock;

    explicit Statistics(Clock::time_point now = Clock::now()) : since_(now) {}

    void count_answer(const Segmentation& segmentation, Clock::duration latency);
    void count_failure(const Failure& failure);

    /// Returns the counts since the last report and resets them.
    Report report(Clock::time_point now = Clock::now());

   private:
    std::mutex mutex_;
    Clock::time_point since_;
    Clock::duration latency_sum_{};
    Clock::duration latency_max_{};
    Report counts_;
};

}  // namespace glesam_ros
