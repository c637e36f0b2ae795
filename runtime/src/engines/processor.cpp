#include "engines/processor.hpp"

#include <fstream>
#include <string>

namespace glesam::core {

bool sums_int8_exactly() {
#if defined(__x86_64__) || defined(_M_X64)
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);) {
        if (line.rfind("flags", 0) == 0) return line.find("vnni") != std::string::npos;
    }
    return false;
#else
    return true;
#endif
}

}  // namespace glesam::core
