// Feeds every file of a folder to a fuzz target, so that its seeds are tests without libFuzzer, too.
#include <cstdio>
#include <exception>
#include <filesystem>

#include "bundle/file.hpp"
#include "fuzz.hpp"

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s SEEDS\n", argv[0]);
        return 2;
    }
    try {
        int count = 0;
        for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
            std::printf("%s\n", entry.path().filename().c_str());
            std::fflush(stdout);  // the name of the seed that aborts
            const std::string input = glesam::core::read_file(entry.path());
            LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
            ++count;
        }
        glesam_tests::must(count > 0, "the folder has seeds");
    } catch (const std::exception& error) {
        glesam_tests::must(false, error.what());
    }
    return 0;
}
