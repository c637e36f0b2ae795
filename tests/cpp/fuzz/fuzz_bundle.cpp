// Fuzzes the bundle reader. An input is a bundle.json; the files that it may list lie beside it, with equal contents.
//
// The sidecar's hash is the input's own, so that parsing is reached; then the input is used as a sidecar, too.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "bundle/bundle.hpp"
#include "bundle/sha256.hpp"
#include "common/error.hpp"
#include "fuzz.hpp"

namespace fs = std::filesystem;
using glesam_tests::must;

namespace {

void write(const fs::path& path, std::string_view content) { std::ofstream(path, std::ios::binary) << content; }

/// A folder with files, a subfolder, and links that stay inside, leave it, are broken, or form a loop.
class Folder {
   public:
    Folder() : parent_(made()) {
        fs::create_directories(root() / "golden");
        for (const char* name : {"image_encoder.onnx", "gle.onnx", "mask_decoder.onnx", "golden/0.npz", "../out"}) {
            write(root() / name, "graph");
        }
        fs::create_symlink("gle.onnx", root() / "stays");
        fs::create_symlink("../out", root() / "leaves");
        fs::create_symlink("nothing", root() / "broken");
        fs::create_symlink("loop", root() / "loop");
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(parent_, ignored);
    }

    fs::path root() const { return parent_ / "bundle"; }

   private:
    static fs::path made() {
        std::string name = (fs::temp_directory_path() / "glesam-fuzz-XXXXXX").string();
        must(mkdtemp(name.data()) != nullptr, "a temporary folder can be made");
        return name;
    }

    fs::path parent_;
};

bool is_one_line(std::string_view message) {
    return !message.empty() && std::none_of(message.begin(), message.end(),
                                            [](char letter) { return static_cast<unsigned char>(letter) < ' '; });
}

/// Opens the bundle; a BundleError is fine, anything else aborts.
bool opens(const fs::path& root) {
    try {
        glesam::core::open_bundle(root);
        return true;
    } catch (const glesam::core::Error& error) {
        must(error.status() == GLESAM_BUNDLE_ERROR, "a bundle is refused with GLESAM_BUNDLE_ERROR");
        must(is_one_line(error.what()), "a refusal is one line");
        return false;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Folder folder;
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    write(folder.root() / "bundle.json", input);
    write(folder.root() / "bundle.json.sha256", glesam::core::sha256_of(input) + "  bundle.json\n");
    opens(folder.root());
    write(folder.root() / "bundle.json.sha256", input);
    must(!opens(folder.root()), "a sidecar that is not the hash is refused");
    return 0;
}
