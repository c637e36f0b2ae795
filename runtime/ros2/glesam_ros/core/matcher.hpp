// Which prompts belong to which frame.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "picture.hpp"
#include "prompts.hpp"

namespace glesam_ros {

/// exact: prompts belong to the frame of the same stamp, as a detector's do, which is often past by then.
/// approximate: to the frame nearest in time, within the tolerance.
/// latest: to the newest frame and every later one, until newer prompts replace them. Stamps are not looked at.
enum class MatchPolicy { exact, approximate, latest };

struct MatchSettings {
    MatchPolicy policy = MatchPolicy::exact;
    std::int64_t tolerance_ns = 0;  ///< of `approximate`
    std::size_t history = 30;       ///< frames kept for prompts that come later, at least 1
};

/// One object per prompt. No prompts at all is an answer too: nothing was detected.
struct PromptSet {
    std::int64_t stamp_ns = 0;
    std::vector<ObjectPrompt> prompts;
};

struct Match {
    Frame frame;
    std::vector<ObjectPrompt> prompts;
};

/// Belongs to one thread at a time.
class Matcher {
   public:
    explicit Matcher(const MatchSettings& settings);

    /// The match that a new frame completes, if any.
    std::optional<Match> add_frame(const Frame& frame);

    /// The match that new prompts complete. Otherwise they wait for their frame, until newer ones replace them.
    std::optional<Match> add_prompts(PromptSet set);

    std::optional<Frame> newest_frame() const;

    /// Prompts that were replaced before their frame came.
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
