#include "bundle/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/text.hpp"

namespace glesam::core {

namespace {

std::system_error last_error() { return {errno, std::generic_category()}; }

/// A descriptor that closes itself.
class Descriptor {
   public:
    explicit Descriptor(int value) : value_(value) {
        if (value_ < 0) throw last_error();
    }
    Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    int get() const { return value_; }
    int release() { return std::exchange(value_, -1); }

   private:
    int value_;
};

const char* kind_name(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

void check_kind(mode_t mode, mode_t wanted) {
    const mode_t kind = mode & S_IFMT;
    if (kind == S_IFLNK) throw LinkError();
    if (kind != wanted) throw NoFileError(wanted == S_IFDIR ? "nothing" : kind_name(mode));
}

/// Opens one part of a path in `folder`. Its kind is checked first: a pipe or a device is not opened.
Descriptor open_part(int folder, const std::string& part, mode_t wanted, int flags) {
    struct stat status{};
    if (::fstatat(folder, part.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) throw NoFileError("nothing");
        throw last_error();
    }
    check_kind(status.st_mode, wanted);
    const int file = ::openat(folder, part.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);
    if (file < 0 && errno == ENOENT) throw NoFileError("nothing");
    Descriptor opened(file);
    if (::fstat(opened.get(), &status) != 0) throw last_error();
    check_kind(status.st_mode, wanted);  // again: it may have been replaced
    return opened;
}

std::vector<std::string> parts_of(std::string_view name) {
    std::vector<std::string> parts;
    for (std::size_t start = 0; start <= name.size();) {
        const std::size_t end = std::min(name.find('/', start), name.size());
        parts.emplace_back(name.substr(start, end - start));
        start = end + 1;
    }
    return parts;
}

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

}  // namespace

File::File(const std::filesystem::path& path) : file_(std::fopen(path.c_str(), "rbe")) {
    if (!file_) throw last_error();
}

File::File(int descriptor) : file_(::fdopen(descriptor, "rb")) {
    if (!file_) throw last_error();
}

std::size_t File::read(char* data, std::size_t size) {
    const std::size_t count = std::fread(data, 1, size, file_.get());
    if (count == 0 && std::ferror(file_.get()) != 0) throw last_error();
    return count;
}

int File::descriptor() const { return ::fileno(file_.get()); }

Stamp File::stamp() const {
    struct stat status{};
    if (::fstat(descriptor(), &status) != 0) throw last_error();
    return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

bool is_plain(std::string_view name) {
    if (name.find_first_of(std::string_view("\\:\0", 3)) != std::string_view::npos) return false;
    const std::vector<std::string> parts = parts_of(name);
    return std::none_of(parts.begin(), parts.end(),
                        [](const std::string& part) { return part.empty() || part == "." || part == ".."; });
}

File open_inside(const std::filesystem::path& root, const std::string& name) {
    Descriptor folder(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::vector<std::string> parts = parts_of(name);
    const std::string last = parts.back();
    parts.pop_back();
    for (const std::string& part : parts) folder = open_part(folder.get(), part, S_IFDIR, O_DIRECTORY);
    return File(open_part(folder.get(), last, S_IFREG, O_NONBLOCK | O_NOCTTY).release());
}

Mapping::Mapping(const File& file) {
    const auto size = static_cast<std::size_t>(file.stamp().size);
    if (size == 0) return;  // which cannot be mapped
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (data == MAP_FAILED) throw last_error();
    content_ = {static_cast<const char*>(data), size};
}

Mapping::~Mapping() {
    if (!content_.empty()) ::munmap(const_cast<char*>(content_.data()), content_.size());
}

std::string system_text(const std::error_code& code, const std::filesystem::path& path) {
    return "[Errno " + std::to_string(code.value()) + "] " + code.message() + ": " + repr(path.string());
}

std::string read_file(const std::filesystem::path& path) {
    File file(path);
    return read_rest(file);
}

std::string read_rest(File& file, std::size_t most) {
    std::string content;
    std::array<char, 1 << 16> chunk{};
    while (content.size() <= most) {
        const std::size_t size = file.read(chunk.data(), std::min(chunk.size(), most + 1 - content.size()));
        if (size == 0) break;
        content.append(chunk.data(), size);
    }
    return content;
}

}  // namespace glesam::core
