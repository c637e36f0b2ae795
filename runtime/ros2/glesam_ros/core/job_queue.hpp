// The work that waits for the model: the camera's newest frame, and a short queue of calls.
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

/// Many threads add jobs, one takes them. Calls go before the frame: somebody waits for them, and they are few.
template <typename Job>
class JobQueue {
   public:
    explicit JobQueue(std::size_t max_calls) : max_calls_(max_calls) {}

    /// Replaces the waiting frame, which is dropped and counted.
    void put_latest(Job job) {
        {
            const std::scoped_lock lock(mutex_);
            if (closed_) return;
            if (latest_) ++dropped_;
            latest_ = std::move(job);
        }
        changed_.notify_one();
    }

    /// Adds a call. False where too many wait or the queue is closed; the job is then untouched.
    bool push(Job&& job) {
        {
            const std::scoped_lock lock(mutex_);
            if (closed_ || calls_.size() >= max_calls_) return false;
            calls_.push_back(std::move(job));
        }
        changed_.notify_one();
        return true;
    }

    /// Waits for a job. Returns nothing once the queue is closed.
    std::optional<Job> take() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || latest_ || !calls_.empty(); });
        if (closed_) return std::nullopt;
        if (calls_.empty()) return std::exchange(latest_, std::nullopt);
        std::optional<Job> job(std::move(calls_.front()));
        calls_.pop_front();
        return job;
    }

    /// Ends take(). Returns the jobs that waited, calls first.
    std::vector<Job> close() {
        std::vector<Job> waiting;
        {
            const std::scoped_lock lock(mutex_);
            closed_ = true;
            for (Job& job : calls_) waiting.push_back(std::move(job));
            if (latest_) waiting.push_back(std::move(*latest_));
            calls_.clear();
            latest_.reset();
        }
        changed_.notify_all();
        return waiting;
    }

    /// Number of frames dropped since the queue was made.
    std::uint64_t dropped() const {
        const std::scoped_lock lock(mutex_);
        return dropped_;
    }

   private:
    const std::size_t max_calls_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<Job> latest_;
    std::deque<Job> calls_;
    std::uint64_t dropped_ = 0;
    bool closed_ = false;
};

}  // namespace glesam_ros
