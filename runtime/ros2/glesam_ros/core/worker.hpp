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

/// A picture, what to segment in it, and who wants to know. `reply` is called once, in the worker's thread, or in
/// stop()'s with a cancellation; never for a frame that was overtaken by a newer one.
struct Request {
    Frame frame;
    std::vector<ObjectPrompt> prompts;
    std::function<void(const Frame& frame, Outcome&& outcome)> reply;
};

/// Owns a segmenter and its thread. Frames and calls are answered one at a time.
class Worker {
   public:
    /// line_length: how many calls may wait.
    Worker(Segmenter& segmenter, LabelType label_type, std::size_t line_length);
    ~Worker() { stop(); }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// The newest frame wins.
    void offer(Request request) { queue_.put_latest(std::move(request)); }

    /// First come, first served. False where too many wait or the worker is stopped; the request is then untouched.
    bool push(Request&& request) { return queue_.push(std::move(request)); }

    /// Waits for the request that is being answered and cancels those that wait.
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
