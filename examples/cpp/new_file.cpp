#include "new_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <random>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace fs = std::filesystem;

namespace {

constexpr std::size_t longest_name = 200;  // of 255 bytes that a file system allows, the rest for the ending

std::runtime_error unwritable(const fs::path& path, const std::string& reason) {
    return std::runtime_error("cannot write " + path.string() + " (" + reason +
                              "); choose another file with --out, or free some space");
}

std::string random_token() {
    std::random_device source;
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%08x%08x", source(), source());
    return text.data();
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Whether no living process holds the file: each locks its own, and a lock ends with its process.
bool is_leftover(const fs::path& path) {
    const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return false;
    const bool unlocked = flock(file, LOCK_EX | LOCK_NB) == 0;
    close(file);
    return unlocked;
}

void remove_leftovers(const fs::path& folder) {
    static const std::regex pattern(R"(\.[^]+\.[0-9a-f]{16}\.tmp)");
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
        const std::string name = entry.path().filename().string();
        if (!std::regex_match(name, pattern) || entry.symlink_status(ignored).type() != fs::file_type::regular)
            continue;
        if (is_leftover(entry.path())) fs::remove(entry.path(), ignored);
    }
}

}  // namespace

NewFile::NewFile(fs::path target) : target_(std::move(target)) {
    const fs::path folder = folder_of(target_);
    remove_leftovers(folder);
    const std::string name = target_.filename().string().substr(0, longest_name);
    int descriptor = -1;
    do {
        temporary_ = folder / ("." + name + "." + random_token() + ".tmp");
        descriptor = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    } while (descriptor < 0 && errno == EEXIST);
    if (descriptor < 0) throw unwritable(target_, std::generic_category().message(errno));
    flock(descriptor, LOCK_EX | LOCK_NB);
    file_.reset(fdopen(descriptor, "wb"));
    if (!file_) fail();
}

NewFile::~NewFile() {
    std::error_code ignored;
    if (!replaced_) fs::remove(temporary_, ignored);
}

void NewFile::replace_target() {
    if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) fail();
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail();
    replaced_ = true;
    const int folder = open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    fsync(folder);
    close(folder);
}

void NewFile::fail() const { throw unwritable(target_, std::generic_category().message(errno)); }

void check_replaceable(const fs::path& path, const fs::path& bundle) {
    std::error_code missing;  // the file usually does not exist yet
    const fs::file_status status = fs::status(path, missing);
    if (!fs::exists(status)) return;
    if (fs::is_directory(status)) throw unwritable(path, "it is a folder");
    if (!fs::is_regular_file(status)) throw unwritable(path, "it is no file");
    for (const auto& entry : fs::recursive_directory_iterator(bundle, missing)) {
        if (fs::equivalent(path, entry.path(), missing)) {
            throw unwritable(path, "it is a file of the bundle " + bundle.string());
        }
    }
}
