#include "bundle/file.hpp"

#include <array>
#include <cerrno>

#include "common/text.hpp"

namespace glesam::core {

File::File(const std::filesystem::path& path) : file_(std::fopen(path.c_str(), "rbe")) {
    if (!file_) throw std::system_error(errno, std::generic_category());
}

std::size_t File::read(char* data, std::size_t size) {
    const std::size_t count = std::fread(data, 1, size, file_.get());
    if (count == 0 && std::ferror(file_.get()) != 0) throw std::system_error(errno, std::generic_category());
    return count;
}

std::string system_text(const std::error_code& code, const std::filesystem::path& path) {
    return "[Errno " + std::to_string(code.value()) + "] " + code.message() + ": " + repr(path.string());
}

std::string read_file(const std::filesystem::path& path) {
    File file(path);
    std::string content;
    std::array<char, 1 << 16> chunk{};
    while (const std::size_t size = file.read(chunk.data(), chunk.size())) content.append(chunk.data(), size);
    return content;
}

}  // namespace glesam::core
