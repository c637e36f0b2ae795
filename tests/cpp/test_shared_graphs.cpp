// The shipped model in each backend: eight threads on one set of graphs compute the single-threaded masks.
#include <glesam/glesam.hpp>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "check.hpp"
#include "fake_engine.hpp"

namespace {

std::vector<std::uint8_t> mask_of(glesam::Predictor& predictor, unsigned seed) {
    const glesam_tests::Picture picture(160, 120, seed);
    predictor.set_image({picture.pixels.data(), picture.width, picture.height});
    const auto prediction = predictor.predict(glesam::Prompt::from_box({20.0 + seed, 10, 140, 110}));
    return {prediction.mask(), prediction.mask() + std::ptrdiff_t{160} * 120};
}

void eight_threads_share_compiled_graphs(const char* backend) {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO, {backend});
    std::vector<std::vector<std::uint8_t>> expected;
    for (unsigned seed = 0; seed < 8; ++seed) expected.push_back(mask_of(predictor, seed));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 8; ++seed) {
        threads.emplace_back([&, seed] {
            auto session = predictor.new_session();
            for (int round = 0; round < 2; ++round) {
                if (mask_of(session, seed) != expected[seed]) ++wrong;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
}

}  // namespace

int main() {
    return glesam_tests::run_all({
#ifdef GLESAM_HAS_OPENVINO
        {"eight threads share OpenVINO's graphs", [] { eight_threads_share_compiled_graphs("openvino"); }},
#endif
#ifdef GLESAM_HAS_ONNXRUNTIME
        {"eight threads share ONNX Runtime's graphs", [] { eight_threads_share_compiled_graphs("onnxruntime"); }},
#endif
    });
}
