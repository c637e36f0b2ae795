// Reads files with an errno for every failure, which iostreams do not promise.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

namespace glesam::core {

/// A file opened for reading. Throws std::system_error.
class File {
   public:
    explicit File(const std::filesystem::path& path);

    /// Up to `size` bytes; 0 at the end.
    std::size_t read(char* data, std::size_t size);

   private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> file_;
};

/// Python's text for an error of `path`: [Errno 13] Permission denied: 'path'
std::string system_text(const std::error_code& code, const std::filesystem::path& path);

/// The whole content of a file. Throws std::system_error.
std::string read_file(const std::filesystem::path& path);

}  // namespace glesam::core
