#include "matcher.hpp"

#include <cstdlib>
#include <utility>

namespace glesam_ros {

namespace {

/// Simplified settings: `exact` is `approximate` without tolerance, `latest` needs the newest frame only.
MatchSettings plain(MatchSettings settings) {
    if (settings.policy == MatchPolicy::exact) settings.tolerance_ns = 0;
    if (settings.policy == MatchPolicy::latest || settings.history == 0) settings.history = 1;
    return settings;
}

std::int64_t distance_ns(const Frame& frame, const PromptSet& set) { return std::abs(frame.stamp_ns - set.stamp_ns); }

}  // namespace

Matcher::Matcher(const MatchSettings& settings) : settings_(plain(settings)) {}

std::optional<Match> Matcher::add_frame(const Frame& frame) {
    frames_.push_back(frame);
    if (frames_.size() > settings_.history) frames_.pop_front();
    if (!waiting_ || !is_match(frame, *waiting_)) return std::nullopt;
    if (settings_.policy == MatchPolicy::latest) return Match{frame, waiting_->prompts};
    Match match{frame, std::move(waiting_->prompts)};
    waiting_.reset();
    return match;
}

std::optional<Match> Matcher::add_prompts(PromptSet set) {
    const bool keeps = settings_.policy == MatchPolicy::latest;
    if (waiting_ && !keeps) ++unmatched_;
    waiting_.reset();
    const Frame* frame = frame_for(set);
    if (frame != nullptr && !keeps) return Match{*frame, std::move(set.prompts)};
    waiting_ = std::move(set);
    if (frame == nullptr) return std::nullopt;
    return Match{*frame, waiting_->prompts};
}

std::optional<Frame> Matcher::newest_frame() const {
    if (frames_.empty()) return std::nullopt;
    return frames_.back();
}

bool Matcher::is_match(const Frame& frame, const PromptSet& set) const {
    return settings_.policy == MatchPolicy::latest || distance_ns(frame, set) <= settings_.tolerance_ns;
}

/// The frame nearest in time; of equally near ones the newest.
const Frame* Matcher::frame_for(const PromptSet& set) const {
    const Frame* best = nullptr;
    for (const Frame& frame : frames_) {
        if (!is_match(frame, set)) continue;
        const bool nearer = best == nullptr || distance_ns(frame, set) <= distance_ns(*best, set);
        if (nearer || settings_.policy == MatchPolicy::latest) best = &frame;
    }
    return best;
}

}  // namespace glesam_ros
