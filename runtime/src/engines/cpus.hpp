// CPUs that this process may use: its affinity (taskset, cpuset) and its cgroup's quota, as engines/cpus.py finds them.
#pragma once

#include <filesystem>
#include <optional>

namespace glesam::core {

constexpr int most_threads = 1024;

/// Throws BackendError for anything but 0 to most_threads.
void check_threads(int threads);

/// Number of physical cores that this process may use, at most its cgroup's quota.
int usable_cores();

/// Whether a cgroup's quota gives this process less than its CPUs could.
bool is_limited();

/// The CPUs' time that the cgroups of this process allow, in CPUs; nothing where no quota limits it. `self` lists the
/// groups, `root` is where they are mounted.
std::optional<double> cpu_quota(const std::filesystem::path& self = "/proc/self/cgroup",
                                const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace glesam::core
