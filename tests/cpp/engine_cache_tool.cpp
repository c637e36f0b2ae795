// For the Python tests.
//
// engine_cache_tool KEY... COMMAND, with the key's eight fields and the command that builds its engine: prints the
// engine's path, then its sha256 or its refusal.
// engine_cache_tool BUNDLE GRAPH BACKEND RELEASE BUILD GPU CAPABILITY: prints a key's version, path and build command.
#include <cstdlib>
#include <iostream>

#include "bundle/sha256.hpp"
#include "common/error.hpp"
#include "engines/tensorrt/cache.hpp"

int main(int count, char** arguments) {
    using namespace glesam::core;
    const std::vector<std::string> words(arguments + 1, arguments + count);
    if (words.size() == 7) {
        const Bundle bundle = open_bundle(words[0]);
        const EngineKey key =
            engine_key({words[2], words[3], words[4]}, bundle, words[1], {words[5], std::stoi(words[6])});
        std::cout << key.version << "\n" << key.path().string() << "\n" << build_command(bundle, key) << "\n";
        return 0;
    }
    if (words.size() != 9) return 2;
    const EngineKey key{words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]};
    std::cout << key.path().string() << "\n";
    try {
        std::cout << sha256_of(load_engine(key, words[8])) << "\n";
    } catch (const Error& error) {
        std::cout << error.what() << "\n";
    }
    return 0;
}
