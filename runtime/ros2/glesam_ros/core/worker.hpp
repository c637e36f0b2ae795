// The one thread that runs the model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "job_queue.hpp"
#include "outcome.hpp"

namespace glesam_ros {

/// A picture, its prompts, and the receiver of the result. `reply` is called once, in the worker's thread, or with a
/// cancellation in stop()'s; never for a frame that a newer one replaced.
struct Request {
    Frame frame;
    std::vector<ObjectPrompt> prompts;
    std::function<void(const Frame& frame, Outcome&& outcome)> reply;
};

/// Owns the thread that runs a segmenter. Frames and calls are segmented one at a time.
class Worker {
   public:
    /// max_waiting_calls: the most calls that may wait.
    Worker(Segmenter& segmenter, LabelType label_type, std::size_t max_waiting_calls);
    ~Worker() { stop(); }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Replaces the frame that waits.
    void offer(Request request) { queue_.put_latest(std::move(request)); }

    /// Queues a call. False where too many wait or the worker is stopped; the request is then untouched.
    bool push(Request&& request) { return queue_.push(std::move(request)); }

    /// Finishes the request in progress and cancels those that wait.
    void stop();

    std::uint64_t dropped() const { return queue_.dropped(); }

   private:
    void run();
    Outcome answer(const Request& request);

    Segmenter& segmenter_;
    const LabelType label_type_;
    JobQueue<Request> queue_;
    std::thread thread_;
};

}  // namespace glesam_ros
