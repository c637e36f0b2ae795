// Writes the pixels that the glesam command reads: for each picture named, a line with its size or its error, and
// then the bytes.
#include <cstdio>
#include <exception>

#include "picture.hpp"

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        try {
            const Picture picture = read_picture(argv[i]);
            std::printf("%d %d\n", picture.width, picture.height);
            std::fwrite(picture.pixels.data(), 1, picture.pixels.size(), stdout);
        } catch (const std::exception& error) {
            std::printf("error: %s\n", error.what());
        }
    }
    return 0;
}
