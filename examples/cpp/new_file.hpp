// A file that replaces another whole or not at all, as glesam_runtime/output does it in Python.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

/// A new file beside its target, under a random name that did not exist; removed unless it replaces the target.
class NewFile {
   public:
    /// Removes what killed runs left beside `target`, too. Throws std::runtime_error.
    explicit NewFile(std::filesystem::path target);
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile();

    std::FILE* stream() const { return file_.get(); }

    /// Flushes the file to the disk and renames it: a power cut leaves the old file or the new one.
    void replace_target();

    /// Throws the error of the last system call.
    [[noreturn]] void fail() const;

   private:
    std::filesystem::path target_;
    std::filesystem::path temporary_;
    File file_;
    bool replaced_ = false;
};

/// Throws std::runtime_error where a file must not take the place of what is at `path`: a device, a pipe, a folder, or
/// a file of `bundle`, the folder that the model is read from.
void check_replaceable(const std::filesystem::path& path, const std::filesystem::path& bundle);
