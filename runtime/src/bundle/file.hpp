// Reads files with an errno for every failure, which iostreams do not promise; those of a bundle through no link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

namespace glesam::core {

/// A file's identity and size [bytes]; when its content and when anything of it changed last [ns].
///
/// A program can set the former time, and not the latter, which a second name of the file changes, too.
struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t modified = 0;
    std::int64_t changed = 0;

    /// Whether this is the same file with, as far as it says itself, the same content.
    bool is_as(const Stamp& other) const {
        return std::tie(device, inode, size, modified) ==
               std::tie(other.device, other.inode, other.size, other.modified);
    }

    bool operator==(const Stamp& other) const { return is_as(other) && changed == other.changed; }
};

/// A path passes through a link.
struct LinkError : std::runtime_error {
    LinkError() : std::runtime_error("it is a link") {}
};

/// A path names nothing, or something that is no regular file; what() says which.
struct NoFileError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A file opened for reading. Throws std::system_error.
class File {
   public:
    explicit File(const std::filesystem::path& path);

    /// Takes over a descriptor.
    explicit File(int descriptor);

    /// Up to `size` bytes; 0 at the end.
    std::size_t read(char* data, std::size_t size);

    Stamp stamp() const;
    int descriptor() const;

   private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> file_;
};

/// Whether `name` is a relative path of plain names, as bundle.json writes them.
bool is_plain(std::string_view name);

/// The regular file `name`, a plain path in `root`. Throws LinkError, NoFileError or std::system_error.
File open_inside(const std::filesystem::path& root, const std::string& name);

/// The content of a large file, which stays on the disk. Throws std::system_error.
class Mapping {
   public:
    explicit Mapping(const File& file);
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();

    std::string_view content() const { return content_; }

   private:
    std::string_view content_;
};

/// Python's text for an error of `path`: [Errno 13] Permission denied: 'path'
std::string system_text(const std::error_code& code, const std::filesystem::path& path);

/// The whole content of a file. Throws std::system_error.
std::string read_file(const std::filesystem::path& path);

/// The rest of an open file, at most `most` bytes and one more. Throws std::system_error.
std::string read_rest(File& file, std::size_t most = SIZE_MAX - 1);

}  // namespace glesam::core
