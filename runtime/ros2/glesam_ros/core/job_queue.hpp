// What waits for the model: the newest frame of the camera, and a short line of calls.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace glesam_ros {

/// Any number of threads put, one takes. Calls go before the frame: somebody waits for them, and they are few.
template <typename Job>
class JobQueue {
   public:
    explicit JobQueue(std::size_t line_length) : line_length_(line_length) {}

    /// The newest wins: a frame that still waits is dropped and counted.
    void put_latest(Job job) {
        {
            const std::scoped_lock lock(mutex_);
            if (closed_) return;
            if (latest_) ++dropped_;
            latest_ = std::move(job);
        }
        changed_.notify_one();
    }

    /// First come, first served. False where the line is full or the queue closed; the job is then untouched.
    bool push(Job&& job) {
        {
            const std::scoped_lock lock(mutex_);
            if (closed_ || line_.size() >= line_length_) return false;
            line_.push_back(std::move(job));
        }
        changed_.notify_one();
        return true;
    }

    /// Waits for a job; nothing once the queue is closed.
    std::optional<Job> take() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || latest_ || !line_.empty(); });
        if (closed_) return std::nullopt;
        if (line_.empty()) return std::exchange(latest_, std::nullopt);
        std::optional<Job> job(std::move(line_.front()));
        line_.pop_front();
        return job;
    }

    /// Ends take() and all waiting. What waited is handed back, the line first.
    std::vector<Job> close() {
        std::vector<Job> waiting;
        {
            const std::scoped_lock lock(mutex_);
            closed_ = true;
            for (Job& job : line_) waiting.push_back(std::move(job));
            if (latest_) waiting.push_back(std::move(*latest_));
            line_.clear();
            latest_.reset();
        }
        changed_.notify_all();
        return waiting;
    }

    /// Frames that were overtaken, since the queue was made.
    std::uint64_t dropped() const {
        const std::scoped_lock lock(mutex_);
        return dropped_;
    }

   private:
    const std::size_t line_length_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<Job> latest_;
    std::deque<Job> line_;
    std::uint64_t dropped_ = 0;
    bool closed_ = false;
};

}  // namespace glesam_ros
