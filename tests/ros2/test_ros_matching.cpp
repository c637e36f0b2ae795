// The matching of prompts with frames, and the counts of diagnostics.
#include <chrono>

#include "check.hpp"
#include "fake_model.hpp"
#include "matcher.hpp"
#include "statistics.hpp"

using namespace glesam_ros;
using namespace std::chrono_literals;
using glesam_tests::contains;

namespace {

Frame frame_at(std::int64_t stamp_ns) { return {stamp_ns, "camera", {}}; }

PromptSet prompts_at(std::int64_t stamp_ns, const char* id = "") {
    ObjectPrompt prompt;
    prompt.id = id;
    return {stamp_ns, {prompt}};
}

void exact_finds_a_frame_that_is_past() {
    Matcher matcher({MatchPolicy::exact, 0, 30});
    for (int stamp = 1; stamp <= 5; ++stamp) CHECK(!matcher.add_frame(frame_at(stamp)));
    const auto match = matcher.add_prompts(prompts_at(3, "a"));
    CHECK(match && match->frame.stamp_ns == 3 && match->prompts[0].id == "a");
    CHECK(!matcher.add_frame(frame_at(6)));  // used up
}

void exact_waits_for_a_frame_that_is_late() {
    Matcher matcher({MatchPolicy::exact, 0, 30});
    CHECK(!matcher.add_prompts(prompts_at(3, "a")));
    CHECK(!matcher.add_frame(frame_at(2)));
    const auto match = matcher.add_frame(frame_at(3));
    CHECK(match && match->prompts[0].id == "a");
    CHECK(!matcher.add_frame(frame_at(3)));
}

void exact_takes_no_tolerance() {
    Matcher matcher({MatchPolicy::exact, 1000, 30});
    matcher.add_frame(frame_at(100));
    CHECK(!matcher.add_prompts(prompts_at(101)));
}

void prompts_whose_frame_never_came_are_counted() {
    Matcher matcher({MatchPolicy::exact, 0, 2});
    for (int stamp = 1; stamp <= 3; ++stamp) matcher.add_frame(frame_at(stamp));
    CHECK(!matcher.add_prompts(prompts_at(1)));  // no longer kept
    CHECK(matcher.unmatched() == 0);             // still waiting
    CHECK(matcher.add_prompts(prompts_at(2)).has_value());
    CHECK(matcher.unmatched() == 1);
}

void approximate_takes_the_nearest_frame_within_the_tolerance() {
    Matcher matcher({MatchPolicy::approximate, 10, 30});
    for (const int stamp : {100, 112, 130}) matcher.add_frame(frame_at(stamp));
    CHECK(matcher.add_prompts(prompts_at(107))->frame.stamp_ns == 112);
    CHECK(matcher.add_prompts(prompts_at(105))->frame.stamp_ns == 100);
    CHECK(matcher.add_prompts(prompts_at(121))->frame.stamp_ns == 130);  // 9 ns away on both sides: the newer wins
    CHECK(!matcher.add_prompts(prompts_at(89)));
    CHECK(!matcher.add_prompts(prompts_at(141)));
    CHECK(matcher.add_frame(frame_at(151)).has_value());
}

void latest_goes_with_every_later_frame() {
    Matcher matcher({MatchPolicy::latest, 0, 30});
    CHECK(!matcher.add_frame(frame_at(1)));
    CHECK(matcher.add_prompts(prompts_at(77, "a"))->frame.stamp_ns == 1);
    CHECK(matcher.add_frame(frame_at(2))->prompts[0].id == "a");
    CHECK(matcher.add_frame(frame_at(3))->prompts[0].id == "a");
    CHECK(matcher.add_prompts(prompts_at(0, "b"))->frame.stamp_ns == 3);
    CHECK(matcher.add_frame(frame_at(4))->prompts[0].id == "b");
    CHECK(matcher.unmatched() == 0);
}

void no_prompts_at_all_match_too() {
    Matcher matcher({MatchPolicy::exact, 0, 30});
    matcher.add_frame(frame_at(1));
    const auto match = matcher.add_prompts({1, {}});
    CHECK(match && match->prompts.empty());
}

void a_history_of_nothing_still_keeps_the_newest_frame() {
    Matcher matcher({MatchPolicy::exact, 0, 0});
    CHECK(!matcher.newest_frame());
    matcher.add_frame(frame_at(1));
    matcher.add_frame(frame_at(2));
    CHECK(matcher.newest_frame()->stamp_ns == 2);
}

void a_report_counts_since_the_last_one() {
    const Statistics::Clock::time_point start{};
    Statistics statistics(start);
    Segmentation answer;
    answer.instances.resize(2);
    answer.instances[1].refusal = "box: beside the picture";
    statistics.count_answer(answer, 10ms);
    statistics.count_answer({}, 30ms);
    statistics.count_failure({FailureKind::failed, "the backend broke"});
    statistics.count_failure({FailureKind::cancelled, "busy"});
    const auto first = statistics.report(start + 500ms);
    CHECK(first.answers == 2 && first.answer_rate_hz == 4 && first.mean_latency_ms == 20 && first.max_latency_ms == 30);
    CHECK(first.refused == 1 && first.failed == 1 && first.last_line == "the backend broke");
    const auto second = statistics.report(start + 1500ms);
    CHECK(second.answers == 0 && second.answer_rate_hz == 0 && second.mean_latency_ms == 0 && second.failed == 0);
    CHECK(second.total_answers == 2 && second.last_line.empty());
    CHECK(statistics.report(start + 1500ms).answer_rate_hz == 0);  // no time has passed
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"exact finds a frame that is past", exact_finds_a_frame_that_is_past},
        {"exact waits for a frame that is late", exact_waits_for_a_frame_that_is_late},
        {"exact takes no tolerance", exact_takes_no_tolerance},
        {"prompts whose frame never came are counted", prompts_whose_frame_never_came_are_counted},
        {"approximate takes the nearest frame within the tolerance",
         approximate_takes_the_nearest_frame_within_the_tolerance},
        {"latest goes with every later frame", latest_goes_with_every_later_frame},
        {"no prompts at all match too", no_prompts_at_all_match_too},
        {"a history of nothing still keeps the newest frame", a_history_of_nothing_still_keeps_the_newest_frame},
        {"a report counts since the last one", a_report_counts_since_the_last_one},
    });
}
