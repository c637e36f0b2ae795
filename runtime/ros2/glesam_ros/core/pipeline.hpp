// The node without ROS: frames, prompts and calls in, results out, with the states of a lifecycle node.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "matcher.hpp"
#include "outcome.hpp"
#include "statistics.hpp"
#include "worker.hpp"

namespace glesam_ros {

struct Settings {
    MatchSettings match;
    LabelType label_type = LabelType::mono8;
    std::size_t max_waiting_calls = 8;  ///< calls and clicks that may wait for the model
};

/// Segments frames in a worker thread. Any thread may call any function; only configure, activate and deactivate wait
/// for the model.
///
///     unconfigured --configure--> inactive --activate--> active        configure fails: still unconfigured
///     unconfigured <--cleanup--- inactive <-deactivate-- active        activate fails: still inactive
///
/// A request that fails leaves the state as it is: the next one may succeed. The node's manager decides, from the
/// diagnostics, whether to shut it down.
class Pipeline {
   public:
    enum class State { unconfigured, inactive, active };
    using OpenModel = std::function<std::unique_ptr<Model>()>;
    /// Called in the worker's thread for frames and clicks.
    using Publish = std::function<void(const Frame& frame, Outcome&& outcome)>;
    using Reply = Publish;  ///< what it throws is counted as a failure

    explicit Pipeline(Publish publish) : publish_(std::move(publish)) {}
    ~Pipeline() { cleanup(); }

    // ---- transitions: they return nothing on success ----

    /// Loads the model. An exception of `open` becomes the failure.
    std::optional<Failure> configure(const Settings& settings, const OpenModel& open);
    /// Runs the model once, so that the first frame is not the slow one, and starts the worker.
    std::optional<Failure> activate();
    /// Finishes the request in progress and cancels those that wait.
    void deactivate();
    /// Frees the model, from any state.
    void cleanup();

    // ---- work: ignored unless active ----

    void add_frame(const Frame& frame);
    void add_prompts(PromptSet prompts);
    /// Segments the newest frame, once.
    void click(const glesam::Point& point);
    /// Segments `frame`, or the newest one. `reply` is called exactly once, possibly before this returns.
    void call(const std::optional<Frame>& frame, std::vector<ObjectPrompt> prompts, Reply reply);

    /// Counts the failure of a message that could not become a frame.
    void count_failure(const Failure& failure) { statistics_.count_failure(failure); }

    State state() const;

    struct Health {
        State state = State::unconfigured;
        Report work;
        std::uint64_t dropped = 0;    ///< frames overtaken by newer ones since activation
        std::uint64_t unmatched = 0;  ///< prompts replaced before their frame came, since activation
    };
    Health health();

   private:
    State locked_state() const;
    Reply counted(Reply reply);
    void count(const Outcome& outcome, Statistics::Clock::duration latency);
    void offer(std::optional<Match> match);
    std::optional<Failure> push(Request& request, bool on_newest_frame);

    const Publish publish_;
    Statistics statistics_;
    std::mutex transition_mutex_;  // one transition at a time; taken before mutex_
    mutable std::mutex mutex_;     // guards what follows, never held while the model works
    Settings settings_;
    std::unique_ptr<Segmenter> segmenter_;
    std::unique_ptr<Matcher> matcher_;  // where active
    std::unique_ptr<Worker> worker_;    // where active
};

}  // namespace glesam_ros
