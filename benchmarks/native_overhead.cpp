// Measures predict without the decoder: prompts, candidates, the check for NaN, and masks of the picture's size.
//
// make cpp && build/release/benchmarks/native_overhead runtime/glesam_runtime/models/nano
//
// Each round calls predict once, with an engine that times itself; the overhead is the rest. Medians of all rounds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <vector>

#include "engines/backends.hpp"
#include "predictor/predictor.hpp"

namespace {

using namespace glesam::core;
using Clock = std::chrono::steady_clock;

double engine_ms = 0;

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class TimedRequest : public Request {
   public:
    explicit TimedRequest(std::unique_ptr<Request> request) : request_(std::move(request)) {}
    void run(const Tensor* inputs, Tensor* outputs) override {
        const auto start = Clock::now();
        request_->run(inputs, outputs);
        engine_ms = milliseconds_since(start);
    }

   private:
    std::unique_ptr<Request> request_;
};

class TimedEngine : public Engine {
   public:
    explicit TimedEngine(std::shared_ptr<const Engine> engine) : engine_(std::move(engine)) {}
    const GraphSpec& spec() const override { return engine_->spec(); }
    std::unique_ptr<Request> new_request() const override {
        return std::make_unique<TimedRequest>(engine_->new_request());
    }

   private:
    std::shared_ptr<const Engine> engine_;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void measure(Predictor& predictor, int width, int height) {
    const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, 90);
    predictor.set_image({pixels.data(), width, height, 0, GLESAM_RGB, GLESAM_HOST, nullptr});
    const glesam_box box{width * 0.1, height * 0.1, width * 0.9, height * 0.9};
    const glesam_prompt prompt{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0};
    std::vector<double> engine;
    std::vector<double> overhead;
    std::vector<double> masks;
    for (int round = 0; round < 60; ++round) {
        const auto start = Clock::now();
        predictor.predict(&prompt, 1, false);
        overhead.push_back(milliseconds_since(start) - engine_ms);
        engine.push_back(engine_ms);
        masks.push_back(predictor.timings().postprocess_ms);
    }
    std::printf("%5d x %-5d engine %7.2f ms   overhead %6.3f ms, of it mask upscaling %6.3f ms\n", width, height,
                median(engine), median(overhead), median(masks));
}

}  // namespace

int main(int, char** argv) {
    try {
        const Bundle bundle = open_bundle(argv[1]);
        Engines engines = open_engines("auto", bundle, true);
        engines.mask_decoder = std::make_shared<TimedEngine>(engines.mask_decoder);
        Predictor predictor(
            std::make_shared<const Model>(Model{bundle.manifest, bundle.hash, engines, Resize::longest_side}));
        measure(predictor, 512, 512);
        measure(predictor, 640, 480);
        measure(predictor, 1920, 1080);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    }
}
