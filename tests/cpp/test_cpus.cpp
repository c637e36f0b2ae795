// How many threads an engine gets: within the CPUs and the quota of the process.
#include "engines/cpus.hpp"

#include <sched.h>

#include <fstream>
#include <map>
#include <string>

#include "check.hpp"
#include "common/error.hpp"

namespace fs = std::filesystem;
using glesam::core::check_threads;
using glesam::core::cpu_quota;
using glesam::core::Error;
using glesam_tests::contains;
using glesam_tests::thrown_by;

namespace {

std::optional<double> quota_of(const std::map<std::string, std::string>& files) {
    const fs::path root = fs::temp_directory_path() / "glesam_test_cpus";
    fs::remove_all(root);
    for (const auto& [name, text] : files) {
        fs::create_directories((root / name).parent_path());
        std::ofstream(root / name) << text << "\n";
    }
    const auto quota = cpu_quota(root / "proc", root);
    fs::remove_all(root);
    return quota;
}

void the_least_quota_of_a_group_and_those_around_it_counts() {
    CHECK(quota_of({{"proc", "0::/a/b"}, {"a/b/cpu.max", "max 100000"}, {"a/cpu.max", "150000 100000"}}) == 1.5);
    CHECK(quota_of({{"proc", "0::/a/b"}, {"a/b/cpu.max", "50000 100000"}, {"a/cpu.max", "150000 100000"}}) == 0.5);
    CHECK(quota_of({{"proc", "0::/"}, {"cpu.max", "200000 100000"}}) == 2.0);
    for (const char* text : {"max 100000", "nonsense", "", "-1 100000", "100000 0"}) {
        CHECK(!quota_of({{"proc", "0::/"}, {"cpu.max", text}}));
    }
    CHECK(!quota_of({}));
}

void version_1_of_cgroups_is_read_too() {
    CHECK(quota_of({{"proc", "9:name=systemd:/\n1:cpu,cpuacct:/a"},
                    {"cpu,cpuacct/a/cpu.cfs_quota_us", "300000"},
                    {"cpu,cpuacct/a/cpu.cfs_period_us", "100000"},
                    {"cpu,cpuacct/cpu.cfs_quota_us", "-1"},
                    {"cpu,cpuacct/cpu.cfs_period_us", "100000"}}) == 3.0);
}

void a_pinned_process_has_one_core() {
    cpu_set_t before;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    }
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(glesam::core::usable_cores() == 1);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
    CHECK(glesam::core::usable_cores() >= 1);
}

void other_numbers_of_threads_are_refused() {
    check_threads(0);
    check_threads(1024);
    for (const int threads : {-1, 1025, 2147483647}) {
        CHECK(
            contains(thrown_by<Error>([&] { check_threads(threads); }), "threads: expected a whole number from 1 to"));
    }
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"the least quota of a group and those around it counts",
         the_least_quota_of_a_group_and_those_around_it_counts},
        {"version 1 of cgroups is read, too", version_1_of_cgroups_is_read_too},
        {"a pinned process has one core", a_pinned_process_has_one_core},
        {"other numbers of threads are refused", other_numbers_of_threads_are_refused},
    });
}
