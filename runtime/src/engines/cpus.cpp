#include "engines/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "common/error.hpp"

namespace fs = std::filesystem;

namespace glesam::core {

namespace {

std::string first_line(const fs::path& path) {
    std::string line;
    std::ifstream file(path);
    std::getline(file, line);
    return line;
}

std::vector<int> affinity() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    std::vector<int> cpus;
    // It fails on a machine of more than 1024 CPUs: one core is then the careful answer.
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {0};
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
    }
    return cpus;
}

/// The limit of one group in version 2's form ("200000 100000", "max 100000") or version 1's.
std::optional<double> quota_of(const fs::path& group) {
    std::istringstream both(first_line(group / "cpu.max"));
    double quota = 0;
    double period = 0;
    if (!(both >> quota >> period)) {
        std::istringstream version_1(first_line(group / "cpu.cfs_quota_us") + " " +
                                     first_line(group / "cpu.cfs_period_us"));
        if (!(version_1 >> quota >> period)) return std::nullopt;
    }
    return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

bool names_cpu(const std::string& controllers) {
    std::istringstream words(controllers);
    for (std::string word; std::getline(words, word, ',');) {
        if (word == "cpu") return true;
    }
    return false;
}

/// The folders that may hold a limit of a line "NUMBER:CONTROLLERS:PATH": its group's and those around it.
std::vector<fs::path> groups_of(const std::string& line, const fs::path& root) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) return {};
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (line.substr(0, first) != "0" && !names_cpu(controllers)) return {};
    fs::path folder = controllers.empty() ? root : root / controllers;
    std::vector<fs::path> folders{folder};
    for (const fs::path& part : fs::path(line.substr(second + 1)).relative_path()) {
        folders.push_back(folder /= part);
    }
    return folders;
}

}  // namespace

void check_threads(int threads) {
    if (threads >= 0 && threads <= most_threads) return;
    throw backend_error("threads: expected a whole number from 1 to " + std::to_string(most_threads) +
                        ", or 0 for one on each core that this process may use, found " + std::to_string(threads));
}

std::optional<double> cpu_quota(const fs::path& self, const fs::path& root) {
    std::optional<double> least;
    std::ifstream lines(self);
    for (std::string line; std::getline(lines, line);) {
        for (const fs::path& folder : groups_of(line, root)) {
            const auto quota = quota_of(folder);
            if (quota) least = std::min(quota.value(), least.value_or(quota.value()));
        }
    }
    return least;
}

int usable_cores() {
    std::set<std::string> cores;
    for (const int cpu : affinity()) {
        const std::string name = std::to_string(cpu);
        const std::string siblings =
            first_line("/sys/devices/system/cpu/cpu" + name + "/topology/thread_siblings_list");
        cores.insert(siblings.empty() ? "cpu" + name : siblings);
    }
    const auto quota = cpu_quota();
    const int count = static_cast<int>(cores.size());
    return std::max(1, quota ? std::min(count, static_cast<int>(std::ceil(std::min<double>(*quota, count)))) : count);
}

bool is_limited() {
    const auto quota = cpu_quota();
    return quota && *quota < static_cast<double>(affinity().size());
}

}  // namespace glesam::core
