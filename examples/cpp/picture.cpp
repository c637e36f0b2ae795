#include "picture.hpp"

#include <jpeglib.h>
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "new_file.hpp"

namespace {

File opened(const std::string& path) {
    File file(std::fopen(path.c_str(), "rb"));
    if (!file) throw std::runtime_error(path + ": expected a picture, found nothing readable; check the path");
    return file;
}

bool is_png(std::FILE* file) {
    std::array<unsigned char, 8> signature{};
    const std::size_t size = std::fread(signature.data(), 1, signature.size(), file);
    std::fseek(file, 0, SEEK_SET);
    return size == signature.size() && png_sig_cmp(signature.data(), 0, signature.size()) == 0;
}

std::runtime_error unreadable(const std::string& path, const std::string& reason) {
    return std::runtime_error(path + ": cannot read the picture to its end (" + reason + "); give a PNG or JPEG file");
}

Picture read_png(const std::string& path, std::FILE* file) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_stdio(&image, file) == 0) throw unreadable(path, image.message);
    image.format = PNG_FORMAT_RGB;
    Picture picture{static_cast<int>(image.width), static_cast<int>(image.height), {}};
    picture.pixels.resize(PNG_IMAGE_SIZE(image));
    const png_color white{255, 255, 255};
    if (png_image_finish_read(&image, &white, picture.pixels.data(), 0, nullptr) == 0) {
        throw unreadable(path, image.message);
    }
    return picture;
}

/// libjpeg leaves an error by a long jump: no object with a destructor may be created after the setjmp.
struct JpegError {
    jpeg_error_mgr base;
    std::jmp_buf out;
    std::array<char, JMSG_LENGTH_MAX> message;
};

void leave(j_common_ptr decoder) {
    auto* error = reinterpret_cast<JpegError*>(decoder->err);
    error->base.format_message(decoder, error->message.data());
    std::longjmp(error->out, 1);
}

/// Fails on negative levels, too: those warn of damaged data, which libjpeg replaced. Nothing is printed.
void count_warnings(j_common_ptr decoder, int level) {
    if (level < 0) ++decoder->err->num_warnings;
}

bool decode(jpeg_decompress_struct& decoder, JpegError& error, std::FILE* file, Picture& picture) {
    if (setjmp(error.out) != 0) return false;
    jpeg_stdio_src(&decoder, file);
    jpeg_read_header(&decoder, TRUE);
    decoder.out_color_space = JCS_RGB;
    jpeg_start_decompress(&decoder);
    picture.width = static_cast<int>(decoder.output_width);
    picture.height = static_cast<int>(decoder.output_height);
    const std::size_t row_bytes = std::size_t{decoder.output_width} * 3;
    picture.pixels.resize(row_bytes * decoder.output_height);
    while (decoder.output_scanline < decoder.output_height) {
        JSAMPROW row = picture.pixels.data() + row_bytes * decoder.output_scanline;
        jpeg_read_scanlines(&decoder, &row, 1);
    }
    jpeg_finish_decompress(&decoder);
    return true;
}

Picture read_jpeg(const std::string& path, std::FILE* file) {
    jpeg_decompress_struct decoder{};
    JpegError error{};
    decoder.err = jpeg_std_error(&error.base);
    error.base.error_exit = leave;
    error.base.emit_message = count_warnings;
    jpeg_create_decompress(&decoder);
    Picture picture;
    const bool decoded = decode(decoder, error, file, picture);
    const bool complete = error.base.num_warnings == 0;
    jpeg_destroy_decompress(&decoder);
    if (!decoded) throw unreadable(path, error.message.data());
    if (!complete) throw unreadable(path, "damaged JPEG data");
    return picture;
}

}  // namespace

Picture read_picture(const std::string& path) {
    const File file = opened(path);
    return is_png(file.get()) ? read_png(path, file.get()) : read_jpeg(path, file.get());
}

void write_mask(const std::string& path, const std::uint8_t* mask, int width, int height) {
    std::vector<std::uint8_t> grey(mask, mask + std::ptrdiff_t{width} * height);
    for (auto& value : grey) value = value != 0 ? 255 : 0;
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width);
    image.height = static_cast<png_uint_32>(height);
    image.format = PNG_FORMAT_GRAY;
    NewFile file(path);
    if (png_image_write_to_stdio(&image, file.stream(), 0, grey.data(), 0, nullptr) == 0) file.fail();
    file.replace_target();
}
