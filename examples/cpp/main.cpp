// glesam-cpp: a picture and prompts in, a mask out. segment() holds all use of the library.
#include <glesam/glesam.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

#include "new_file.hpp"
#include "options.hpp"
#include "picture.hpp"

namespace {

int best_candidate(const glesam::Prediction& prediction) {
    const float* scores = prediction.iou_predictions;
    return static_cast<int>(std::max_element(scores, scores + prediction.num_candidates) - scores);
}

void check_not_the_picture(const CommandLine& line) {
    std::error_code missing;  // the mask usually does not exist yet
    if (!std::filesystem::equivalent(line.image, line.out, missing)) return;
    throw std::runtime_error(line.out + " is the picture; choose another file with --out");
}

glesam::Bundle opened(const CommandLine& line) {
    return line.public_key.empty() ? glesam::Bundle::open(line.bundle)
                                   : glesam::Bundle::open(line.bundle, line.public_key);
}

/// `text` with the control characters of ASCII escaped: names of files may hold what a terminal acts on.
std::string printable(const std::string& text) {
    std::string result;
    for (const char letter : text) {
        const auto byte = static_cast<unsigned char>(letter);
        if (byte >= 0x20 && byte != 0x7f) {
            result += letter;
        } else {
            std::array<char, 5> escaped{};
            std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
            result += escaped.data();
        }
    }
    return result;
}

void segment(const CommandLine& line) {
    check_not_the_picture(line);
    check_replaceable(line.out, line.bundle);
    const Picture picture = read_picture(line.image);
    auto predictor = glesam::Predictor::from_bundle(opened(line), line.options);
    predictor.set_image({picture.pixels.data(), picture.width, picture.height});
    const glesam::Prediction prediction = predictor.predict(line.prompt, line.multimask);
    const int candidate = best_candidate(prediction);
    const std::uint8_t* mask = prediction.mask(0, candidate);
    check_replaceable(line.out, line.bundle);  // the model took its time
    write_mask(line.out, mask, prediction.width, prediction.height);

    const auto area = std::count(mask, mask + std::ptrdiff_t{prediction.width} * prediction.height, 1);
    const glesam::Timings ms = predictor.timings();
    std::printf(
        "%s: score %.3f, %td pixels; preprocess %.1f, encode %.1f, enhance %.1f, decode %.1f, postprocess %.1f ms\n",
        printable(line.out).c_str(), static_cast<double>(prediction.score(0, candidate)), area, ms.preprocess_ms,
        ms.encode_ms, ms.enhance_ms, ms.decode_ms, ms.postprocess_ms);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const CommandLine line = parse(argc, argv);
        if (line.help) {
            std::fputs(usage, stdout);
        } else {
            segment(line);
        }
        if (std::fflush(stdout) != 0)
            throw std::runtime_error("cannot write to the output; free some space on its disk");
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", printable(error.what()).c_str());
        return 2;
    }
}
