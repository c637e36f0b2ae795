#include "diagnostics.hpp"

#include <diagnostic_msgs/msg/diagnostic_status.hpp>

namespace glesam_ros {

namespace {

using diagnostic_msgs::msg::DiagnosticStatus;

const char* name_of(Pipeline::State state) {
    if (state == Pipeline::State::active) return "active";
    return state == Pipeline::State::inactive ? "inactive" : "unconfigured";
}

void fill_summary(diagnostic_updater::DiagnosticStatusWrapper& status, const Pipeline::Health& health) {
    if (health.work.failed > 0) {
        status.summary(DiagnosticStatus::ERROR, health.work.last_line);
    } else if (health.work.refused > 0) {
        status.summary(DiagnosticStatus::WARN, health.work.last_line);
    } else {
        status.summary(DiagnosticStatus::OK, name_of(health.state));
    }
}

}  // namespace

void fill_status(diagnostic_updater::DiagnosticStatusWrapper& status, const Pipeline::Health& health,
                 const LoadedModel& model) {
    fill_summary(status, health);
    status.add("state", name_of(health.state));
    status.add("model", model.name);
    status.add("precision", model.precision);
    status.add("bundle sha256", model.hash);
    status.add("backend", model.backend);
    status.add("answers per second", health.work.answer_rate_hz);
    status.add("latency mean (ms)", health.work.mean_latency_ms);
    status.add("latency max (ms)", health.work.max_latency_ms);
    status.add("answers", health.work.total_answers);
    status.add("frames dropped", health.dropped);
    status.add("prompts without a frame", health.unmatched);
    status.add("refused since the last report", health.work.refused);
    status.add("failed since the last report", health.work.failed);
}

}  // namespace glesam_ros
