#include "options.hpp"

#include <cstdlib>
#include <stdexcept>
#include <vector>

const char* const usage =
    "Usage: glesam-cpp IMAGE --bundle DIR [OPTIONS]\n"
    "\n"
    "Segments what a box or points mark in a PNG or JPEG picture, and writes the mask as a PNG file.\n"
    "Coordinates are pixels of the picture as a viewer shows it, upright by its EXIF.\n"
    "\n"
    "  --bundle DIR                a bundle folder that glesam-export wrote\n"
    "  --public-key FILE           take only a bundle that glesam-sign signed with this key's other half;\n"
    "                              default: $GLESAM_PUBLIC_KEY, where it is set\n"
    "  --box X0 Y0 X1 Y1           around the object; at most one\n"
    "  --point X Y                 on the object, may be repeated\n"
    "  --background-point X Y      beside the object, may be repeated\n"
    "  --multimask                 three candidates; the one with the best score is written\n"
    "  --backend NAME              auto, openvino, onnxruntime or tensorrt\n"
    "  --threads N                 threads of the CPU; default: one on each core that this process may use\n"
    "  --no-enhance                plain SAM, without GLE\n"
    "  --resize NAME               longest-side, squash or squash-512; default: as the bundle says\n"
    "  --out FILE                  where the mask goes (mask.png)\n";

namespace {

class Words {
   public:
    Words(int argc, char** argv) : words_(argv + 1, argv + argc) {}

    bool empty() const { return next_ == words_.size(); }
    const std::string& word() { return words_[next_++]; }

    const std::string& value(const std::string& option) {
        if (empty()) throw std::runtime_error(option + ": expected a value, found the end; see glesam-cpp --help");
        return word();
    }

    std::vector<double> numbers(const std::string& option, std::size_t count) {
        std::vector<double> result;
        while (result.size() < count) result.push_back(number(option, value(option)));
        return result;
    }

    int count(const std::string& option) {
        const std::string& text = value(option);
        const bool digits =
            !text.empty() && text.size() <= 4 && text.find_first_not_of("0123456789") == std::string::npos;
        if (!digits || std::stoi(text) == 0) {
            throw std::runtime_error(option + ": expected a whole number from 1 to 1024, found '" + text + "'");
        }
        return std::stoi(text);
    }

   private:
    static double number(const std::string& option, const std::string& text) {
        char* end = nullptr;
        const double result = std::strtod(text.c_str(), &end);
        if (text.empty() || *end != '\0') {
            throw std::runtime_error(option + ": expected numbers, found '" + text + "'; see glesam-cpp --help");
        }
        return result;
    }

    std::vector<std::string> words_;
    std::size_t next_ = 0;
};

glesam::Point point(const std::vector<double>& numbers) { return {numbers[0], numbers[1]}; }

void read_box(Words& words, CommandLine& line) {
    if (line.prompt.box) throw std::runtime_error("--box: expected one box, found two; run glesam once for each");
    const auto numbers = words.numbers("--box", 4);
    line.prompt.box = glesam::Box{numbers[0], numbers[1], numbers[2], numbers[3]};
}

void read_option(const std::string& name, Words& words, CommandLine& line) {
    if (name == "--bundle") {
        line.bundle = words.value(name);
    } else if (name == "--public-key") {
        line.public_key = words.value(name);
        if (line.public_key.empty()) throw std::runtime_error("--public-key: expected a file, found ''");
    } else if (name == "--out") {
        line.out = words.value(name);
    } else if (name == "--backend") {
        line.options.backend = words.value(name);
    } else if (name == "--threads") {
        line.options.threads = words.count(name);
    } else if (name == "--resize") {
        line.options.resize = words.value(name);
    } else if (name == "--box") {
        read_box(words, line);
    } else if (name == "--point") {
        line.prompt.points.push_back(point(words.numbers(name, 2)));
    } else if (name == "--background-point") {
        line.prompt.background_points.push_back(point(words.numbers(name, 2)));
    } else if (name == "--multimask") {
        line.multimask = true;
    } else if (name == "--no-enhance") {
        line.options.enhance = false;
    } else if (name == "--help") {
        line.help = true;
    } else {
        throw std::runtime_error("option " + name + " is unknown; see glesam-cpp --help");
    }
}

}  // namespace

CommandLine parse(int argc, char** argv) {
    CommandLine line;
    if (const char* key = std::getenv("GLESAM_PUBLIC_KEY")) line.public_key = key;
    Words words(argc, argv);
    while (!words.empty()) {
        const std::string word = words.word();
        if (word.rfind("--", 0) == 0) {
            read_option(word, words, line);
        } else if (line.image.empty()) {
            line.image = word;
        } else {
            throw std::runtime_error("expected one picture, found " + line.image + " and " + word +
                                     "; run glesam once for each");
        }
    }
    if (line.help) return line;
    if (line.image.empty()) throw std::runtime_error("expected a picture, found none; see glesam-cpp --help");
    if (line.bundle.empty()) throw std::runtime_error("expected --bundle DIR, found none; see glesam-cpp --help");
    return line;
}
