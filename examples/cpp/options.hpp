// The options of the glesam-cpp command.
#pragma once

#include <glesam/glesam.hpp>

#include <string>

extern const char* const usage;

struct CommandLine {
    std::string image;
    std::string bundle;
    /// PEM file of whoever must have signed the bundle; empty: anyone.
    std::string public_key;
    std::string out = "mask.png";
    glesam::Options options;
    glesam::Prompt prompt;
    bool multimask = false;
    bool help = false;
};

/// Throws std::runtime_error in one line.
CommandLine parse(int argc, char** argv);
