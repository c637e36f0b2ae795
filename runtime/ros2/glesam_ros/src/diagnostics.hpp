// Fills the node's status on /diagnostics.
#pragma once

#include <diagnostic_updater/diagnostic_updater.hpp>
#include <string>

#include "pipeline.hpp"

namespace glesam_ros {

/// The loaded model; empty while there is none.
struct LoadedModel {
    std::string name;
    std::string precision;
    std::string hash;
    std::string backend;
};

/// ERROR where the model failed since the last report, WARN where something was refused, OK otherwise.
void fill_status(diagnostic_updater::DiagnosticStatusWrapper& status, const Pipeline::Health& health,
                 const LoadedModel& model);

}  // namespace glesam_ros
