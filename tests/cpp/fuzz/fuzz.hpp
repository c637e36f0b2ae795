// Shared by the fuzz targets: the function that libFuzzer, or replay.cpp, calls with each input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace glesam_tests {

/// Aborts where `holds` is false, which a fuzzer reports as a finding.
inline void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::abort();
}

}  // namespace glesam_tests
