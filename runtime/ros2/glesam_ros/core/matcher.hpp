// Matches prompts with frames.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "picture.hpp"
#include "prompts.hpp"

namespace glesam_ros {

/// The frame that prompts belong to.
/// exact: that of the same stamp, as a detector copies it; it is often past when the prompts come.
/// approximate: the nearest in time, within the tolerance.
/// latest: the newest and every later one, until newer prompts replace them. Stamps are ignored.
enum class MatchPolicy { exact, approximate, latest };

struct MatchSettings {
    MatchPolicy policy = MatchPolicy::exact;
    std::int64_t tolerance_ns = 0;  ///< of `approximate`
    std::size_t history = 30;       ///< frames kept for prompts that come later, at least 1
};

/// The prompts of one message, one object each. An empty set is valid: nothing was detected.
struct PromptSet {
    std::int64_t stamp_ns = 0;
    std::vector<ObjectPrompt> prompts;
};

struct Match {
    Frame frame;
    std::vector<ObjectPrompt> prompts;
};

/// Matches prompts with frames. Belongs to one thread at a time.
class Matcher {
   public:
    explicit Matcher(const MatchSettings& settings);

    /// Adds a frame. Returns the match that it completes, if any.
    std::optional<Match> add_frame(const Frame& frame);

    /// Adds prompts. Returns the match that they complete; else they wait for their frame, until newer ones replace
    /// them.
    std::optional<Match> add_prompts(PromptSet set);

    std::optional<Frame> newest_frame() const;

    /// Number of prompt sets that were replaced before their frame came.
    std::uint64_t unmatched() const { return unmatched_; }

   private:
    bool is_match(const Frame& frame, const PromptSet& set) const;
    const Frame* frame_for(const PromptSet& set) const;

    const MatchSettings settings_;
    std::deque<Frame> frames_;  // oldest first
    std::optional<PromptSet> waiting_;
    std::uint64_t unmatched_ = 0;
};

}  // namespace glesam_ros
