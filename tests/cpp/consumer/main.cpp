// Draws a bright disc on a dark ground and segments it with an installed glesam.
#include <glesam/glesam.hpp>

#include <cstdio>
#include <vector>

extern "C" int c_program_refuses_null(void);

namespace {

constexpr int side = 300;

bool in_disc(int x, int y) { return (x - 150) * (x - 150) + (y - 140) * (y - 140) < 80 * 80; }

std::vector<std::uint8_t> drawn_bgr() {
    std::vector<std::uint8_t> pixels;
    for (int y = 0; y < side; ++y) {
        for (int x = 0; x < side; ++x) {
            if (in_disc(x, y)) {
                pixels.insert(pixels.end(), {40, 120, 230});
            } else {
                pixels.insert(pixels.end(), {60, 50, 40});
            }
        }
    }
    return pixels;
}

double iou_with_disc(const std::uint8_t* mask) {
    int both = 0;
    int either = 0;
    for (int i = 0; i < side * side; ++i) {
        const bool inside = in_disc(i % side, i / side);
        both += inside && mask[i] == 1;
        either += inside || mask[i] == 1;
    }
    return static_cast<double>(both) / either;
}

}  // namespace

int main(int, char** argv) {
    try {
        auto predictor = glesam::Predictor::from_bundle(argv[1]);
        const std::vector<std::uint8_t> picture = drawn_bgr();
        predictor.set_image({picture.data(), side, side, side * 3, GLESAM_BGR});
        const auto prediction = predictor.predict(glesam::Prompt::from_box({68, 58, 232, 222}));
        const double iou = iou_with_disc(prediction.mask());
        std::printf("glesam %s: IoU with the disc %.3f\n", glesam_version(), iou);
        return iou > 0.9 && c_program_refuses_null() ? 0 : 1;
    } catch (const glesam::Error& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
}
