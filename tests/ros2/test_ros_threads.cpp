// Frames, calls and transitions from many threads at once. Also run under ThreadSanitizer (preset tsan).
#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "fake_model.hpp"
#include "job_queue.hpp"
#include "pipeline.hpp"

using namespace glesam_ros;
using glesam_tests::contains;
using glesam_tests::FakeCalls;
using glesam_tests::FakeModel;
using glesam_tests::PixelBuffer;

namespace {

void the_newest_frame_wins_and_the_others_are_counted() {
    JobQueue<int> queue(8);
    for (int frame = 1; frame <= 5; ++frame) queue.put_latest(frame);
    CHECK(queue.take() == 5);
    CHECK(queue.dropped() == 4);
    queue.put_latest(6);
    CHECK(queue.take() == 6 && queue.dropped() == 4);
}

void calls_keep_their_order_and_go_before_the_frame() {
    JobQueue<int> queue(2);
    queue.put_latest(100);
    CHECK(queue.push(1) && queue.push(2));
    CHECK(!queue.push(3));  // full
    CHECK(queue.take() == 1 && queue.take() == 2 && queue.take() == 100);
}

void closing_hands_back_what_waited_and_wakes_the_taker() {
    JobQueue<int> queue(8);
    queue.push(1);
    queue.put_latest(100);
    CHECK(queue.close() == (std::vector<int>{1, 100}));
    CHECK(!queue.push(2));
    queue.put_latest(101);
    CHECK(!queue.take());
    JobQueue<int> empty(8);
    auto next_job = std::async(std::launch::async, [&] { return empty.take(); });
    empty.close();
    CHECK(!next_job.get());
}

void every_job_of_many_threads_is_done_or_counted() {
    JobQueue<int> queue(1000);
    std::atomic<int> frames{0};
    std::atomic<int> calls{0};
    std::thread taker([&] {
        while (const auto job = queue.take()) ++(*job == 0 ? frames : calls);
    });
    std::vector<std::thread> putters;
    for (int thread = 0; thread < 4; ++thread) {
        putters.emplace_back([&queue] {
            for (int i = 0; i < 200; ++i) {
                queue.put_latest(0);
                queue.push(1);
            }
        });
    }
    for (auto& putter : putters) putter.join();
    int waiting = 0;
    int waiting_calls = 0;
    for (const int job : queue.close()) ++(job == 0 ? waiting : waiting_calls);
    taker.join();
    CHECK(calls + waiting_calls == 800);
    CHECK(static_cast<std::uint64_t>(frames + waiting) + queue.dropped() == 800);
}

/// A pipeline on a fake model, and what it published.
class Fixture {
   public:
    Fixture()
        : pipeline([this](const Frame& frame, Outcome&& outcome) {
              const std::scoped_lock lock(mutex_);
              stamps_.push_back(frame.stamp_ns);
              if (const auto* failure = std::get_if<Failure>(&outcome)) lines_.push_back(failure->line);
              changed_.notify_all();
          }) {}

    std::optional<Failure> configure(MatchPolicy policy = MatchPolicy::latest, std::size_t max_waiting_calls = 8) {
        Settings settings;
        settings.match.policy = policy;
        settings.max_waiting_calls = max_waiting_calls;
        return pipeline.configure(settings, [this] {
            auto model = std::make_unique<FakeModel>();
            calls = model->calls();
            return model;
        });
    }

    std::vector<std::int64_t> wait_for(std::size_t answers) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stamps_.size() >= answers; });
        return stamps_;
    }

    std::vector<std::string> lines() {
        const std::scoped_lock lock(mutex_);
        return lines_;
    }

    /// Returns when the model holds a picture; it then waits for calls->waits to become false.
    void occupy() {
        const int before = calls->images;
        calls->waits = true;
        pipeline.call(frame_at(0), {boxed()}, [](const Frame&, Outcome&&) {});
        while (calls->images == before) std::this_thread::yield();
    }

    static Frame frame_at(std::int64_t stamp_ns) { return {stamp_ns, "camera", PixelBuffer(8, 4).picture()}; }

    static ObjectPrompt boxed() {
        ObjectPrompt prompt;
        prompt.box = CentredBox{1, 1, 2, 2, 0};
        return prompt;
    }

    std::string call_line(const std::optional<Frame>& frame) {
        std::promise<std::string> line;
        pipeline.call(frame, {boxed()}, [&line](const Frame&, Outcome&& outcome) {
            const auto* failure = std::get_if<Failure>(&outcome);
            line.set_value(failure != nullptr ? failure->line : "answered");
        });
        return line.get_future().get();
    }

    std::shared_ptr<FakeCalls> calls;

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::int64_t> stamps_;
    std::vector<std::string> lines_;

   public:
    Pipeline pipeline;  // last, so that its thread ends before the data it writes to
};

void while_the_model_works_only_the_newest_frame_waits() {
    Fixture fixture;
    CHECK(!fixture.configure() && !fixture.pipeline.activate());
    fixture.pipeline.add_prompts({0, {Fixture::boxed()}});
    fixture.occupy();
    for (int stamp = 1; stamp <= 5; ++stamp) fixture.pipeline.add_frame(Fixture::frame_at(stamp));
    fixture.calls->waits = false;
    CHECK(fixture.wait_for(1) == std::vector<std::int64_t>{5});
    CHECK(fixture.pipeline.health().dropped == 4);
}

void prompts_are_answered_with_their_own_frame() {
    Fixture fixture;
    CHECK(!fixture.configure(MatchPolicy::exact) && !fixture.pipeline.activate());
    for (int stamp = 1; stamp <= 3; ++stamp) fixture.pipeline.add_frame(Fixture::frame_at(stamp));
    fixture.pipeline.add_prompts({2, {Fixture::boxed()}});
    CHECK(fixture.wait_for(1) == std::vector<std::int64_t>{2});
}

void a_click_segments_the_newest_frame_once() {
    Fixture fixture;
    CHECK(!fixture.configure() && !fixture.pipeline.activate());
    fixture.pipeline.click({1, 1});
    fixture.wait_for(1);
    CHECK(contains(fixture.lines().at(0), "no picture has come yet"));
    fixture.pipeline.add_frame(Fixture::frame_at(1));
    fixture.pipeline.add_frame(Fixture::frame_at(2));
    fixture.pipeline.click({1, 1});
    CHECK(fixture.wait_for(2).back() == 2);
    fixture.pipeline.add_frame(Fixture::frame_at(3));
    CHECK(fixture.call_line(std::nullopt) == "answered");  // a frame behind it would be answered next
    CHECK(fixture.wait_for(2).size() == 2);
}

void a_broken_backend_fails_the_request_and_not_the_node() {
    Fixture fixture;
    CHECK(!fixture.configure() && !fixture.pipeline.activate());
    fixture.calls->fails = true;
    CHECK(fixture.call_line(Fixture::frame_at(1)) == "the backend broke");
    const auto health = fixture.pipeline.health();
    CHECK(health.state == Pipeline::State::active && health.work.failed == 1);
    CHECK(health.work.last_line == "the backend broke");
    fixture.calls->fails = false;
    CHECK(fixture.call_line(Fixture::frame_at(2)) == "answered");
}

void a_reply_that_throws_does_not_end_the_worker() {
    Fixture fixture;
    CHECK(!fixture.configure() && !fixture.pipeline.activate());
    fixture.pipeline.call(Fixture::frame_at(1), {Fixture::boxed()},
                          [](const Frame&, Outcome&&) { throw std::runtime_error("the caller is gone"); });
    CHECK(fixture.call_line(Fixture::frame_at(2)) == "answered");
    CHECK(fixture.pipeline.health().work.last_line == "the caller is gone");
}

void too_many_calls_are_sent_away_at_once() {
    Fixture fixture;
    CHECK(!fixture.configure(MatchPolicy::latest, 1) && !fixture.pipeline.activate());
    fixture.occupy();
    std::atomic<bool> answered{false};
    fixture.pipeline.call(Fixture::frame_at(1), {Fixture::boxed()}, [&](const Frame&, Outcome&&) { answered = true; });
    CHECK(contains(fixture.call_line(Fixture::frame_at(2)), "too many calls wait"));
    CHECK(!answered);
    fixture.calls->waits = false;
    while (!answered) std::this_thread::yield();
}

void deactivation_cancels_what_waits_and_finishes_what_runs() {
    Fixture fixture;
    CHECK(!fixture.configure() && !fixture.pipeline.activate());
    fixture.occupy();
    auto waiting = std::async(std::launch::async, [&] { return fixture.call_line(Fixture::frame_at(1)); });
    fixture.pipeline.click({1, 1});
    std::thread deactivation([&] { fixture.pipeline.deactivate(); });
    CHECK(contains(waiting.get(), "activate"));  // cancelled in the queue, or refused because it came too late
    fixture.calls->waits = false;
    deactivation.join();
    CHECK(fixture.pipeline.health().state == Pipeline::State::inactive);
    CHECK(contains(fixture.call_line(Fixture::frame_at(2)), "the node is not active"));
    CHECK(!fixture.pipeline.activate());
    CHECK(fixture.call_line(Fixture::frame_at(3)) == "answered");
}

void a_bundle_that_does_not_open_leaves_the_node_unconfigured() {
    Pipeline pipeline([](const Frame&, Outcome&&) {});
    const auto failure = pipeline.configure({}, []() -> std::unique_ptr<Model> {
        throw glesam::Error(GLESAM_BUNDLE_ERROR, "bundle.json: expected a bundle, found nothing");
    });
    CHECK(failure && failure->kind == FailureKind::failed);
    CHECK(failure && failure->line == "bundle.json: expected a bundle, found nothing");
    CHECK(pipeline.health().state == Pipeline::State::unconfigured);
    CHECK(pipeline.activate().has_value());
}

void a_model_that_does_not_warm_up_leaves_the_node_inactive() {
    Fixture fixture;
    CHECK(!fixture.configure());
    fixture.calls->fails = true;
    const auto failure = fixture.pipeline.activate();
    CHECK(failure && failure->line == "the backend broke");
    CHECK(fixture.pipeline.health().state == Pipeline::State::inactive);
    fixture.calls->fails = false;
    CHECK(!fixture.pipeline.activate());
}

void transitions_out_of_order_are_refused() {
    Fixture fixture;
    CHECK(contains(fixture.pipeline.activate()->line, "configure it first"));
    fixture.pipeline.deactivate();
    CHECK(!fixture.configure());
    CHECK(contains(fixture.configure()->line, "clean it up"));
    CHECK(!fixture.pipeline.activate() && fixture.pipeline.activate());
    fixture.pipeline.cleanup();
    fixture.pipeline.cleanup();
    CHECK(fixture.pipeline.health().state == Pipeline::State::unconfigured);
    CHECK(!fixture.configure());
}

void every_call_is_answered_while_the_node_goes_up_and_down() {
    Fixture fixture;
    CHECK(!fixture.configure());
    std::atomic<bool> stop{false};
    std::atomic<int> calls_made{0};
    std::atomic<int> replied{0};
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
        for (std::int64_t stamp = 0; !stop; ++stamp) fixture.pipeline.add_frame(Fixture::frame_at(stamp));
    });
    threads.emplace_back([&] {
        while (!stop) fixture.pipeline.add_prompts({0, {Fixture::boxed()}});
    });
    threads.emplace_back([&] {
        while (!stop) fixture.pipeline.health();
    });
    threads.emplace_back([&] {
        while (!stop) {
            ++calls_made;
            fixture.pipeline.call(std::nullopt, {Fixture::boxed()}, [&](const Frame&, Outcome&&) { ++replied; });
        }
    });
    for (int round = 0; round < 20; ++round) {
        CHECK(!fixture.pipeline.activate());
        fixture.call_line(std::nullopt);
        fixture.pipeline.deactivate();
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    CHECK(calls_made > 0 && calls_made == replied);
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"the newest frame wins and the others are counted", the_newest_frame_wins_and_the_others_are_counted},
        {"calls keep their order and go before the frame", calls_keep_their_order_and_go_before_the_frame},
        {"closing hands back what waited and wakes the taker", closing_hands_back_what_waited_and_wakes_the_taker},
        {"every job of many threads is done or counted", every_job_of_many_threads_is_done_or_counted},
        {"while the model works only the newest frame waits", while_the_model_works_only_the_newest_frame_waits},
        {"prompts are answered with their own frame", prompts_are_answered_with_their_own_frame},
        {"a click segments the newest frame once", a_click_segments_the_newest_frame_once},
        {"a broken backend fails the request and not the node", a_broken_backend_fails_the_request_and_not_the_node},
        {"a reply that throws does not end the worker", a_reply_that_throws_does_not_end_the_worker},
        {"too many calls are sent away at once", too_many_calls_are_sent_away_at_once},
        {"deactivation cancels what waits and finishes what runs",
         deactivation_cancels_what_waits_and_finishes_what_runs},
        {"a bundle that does not open leaves the node unconfigured",
         a_bundle_that_does_not_open_leaves_the_node_unconfigured},
        {"a model that does not warm up leaves the node inactive",
         a_model_that_does_not_warm_up_leaves_the_node_inactive},
        {"transitions out of order are refused", transitions_out_of_order_are_refused},
        {"every call is answered while the node goes up and down",
         every_call_is_answered_while_the_node_goes_up_and_down},
    });
}
